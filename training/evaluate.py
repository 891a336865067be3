"""Scores checkpoints on the Papercut world: what was asked, rendered through the engine, read back and judged.

`python -m training.evaluate papercut` does so for pictures from unseen captions; `--task` names the other tasks, whose
scores are those of the files `evaluate_*.py`. Reading pixels is `parser.py`, judging `judging.py`.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from models.checkpoint import describe
from training.evaluate_clips import evaluate_autoencoder, evaluate_extensions, evaluate_scenes, evaluate_video
from training.evaluate_dubbing import DUBBED, LIVELY, LONG, dubbing_cases, espeak, evaluate_dubbing, portrait_cases
from training.evaluate_dubbing import Kind as Dub
from training.evaluate_layered import KINDS as STACKS
from training.evaluate_layered import Kind as Stack
from training.evaluate_layered import evaluate_autoencoder as layers_through_autoencoder
from training.evaluate_layered import evaluate_layered, layered_cases
from training.evaluate_layout import KINDS as LAYOUTS
from training.evaluate_layout import MECHANISMS, evaluate_layout, layout_cases
from training.evaluate_layout import evaluate_autoencoder as layouts_through_autoencoder
from training.evaluate_masked import KINDS, Kind, evaluate_masked, masked_cases
from training.judging import ATTRIBUTES, judge
from training.papercut import TWO, World, render
from training.parser import read
from training.pixels import to_pixels
from training.renders import CLIP_SIZE, PICTURE_SIZE, Settings, through_engine
from training.scene import Scene
from training.scores import Failure, Scores, write_sheet

Draw = Callable[[list[str]], Tensor]

TASKS = ("text", "video", "scenes", "masked", "extend", "layout", "layered", "dubbing", "portrait")
CLIPS = (
    "video",
    "scenes",
    "masked",
    "extend",
    "dubbing",
    "portrait",
)  # tasks that are scored on clips, the masked one in part
Placement = Literal["canonical", "anywhere"]
PLACEMENTS: tuple[Placement, ...] = ("canonical", "anywhere")
EXTENSIONS = 5


def evaluate(draw: Draw, scenes: Sequence[Scene], batch: int = 50) -> Scores:
    """Score `draw`, which takes captions and returns pictures [B, 3, H, W] in 0..1, on what its captions state."""
    names = (*ATTRIBUTES, "exact", "exact_two")
    counts: Counter[str] = Counter()
    failures: list[Failure] = []
    for start in range(0, len(scenes), batch):
        some = scenes[start : start + batch]
        pictures = draw([scene.caption for scene in some])
        for k, (scene, picture) in enumerate(zip(some, pictures, strict=True)):
            verdict = judge(read(picture), scene)
            counts.update(name for name in names if getattr(verdict, name))
            if not verdict.exact:
                failures.append(Failure(start + k, scene.caption, verdict.reason, to_pixels(picture)))
    return Scores(len(scenes), {name: counts[name] / max(len(scenes), 1) for name in names}, tuple(failures))


def evaluate_splits(
    draw: Draw, count: int, world: World, splits: Sequence[str] = ("unseen", "pairs")
) -> dict[str, Scores]:
    """`evaluate` apart for each split of `world`: held-out captions and held-out colour-shape pairs by default."""
    worlds = {split: replace(world, split=split) for split in splits}
    return {split: evaluate(draw, [one.scene(i) for i in range(count)]) for split, one in worlds.items()}


def drawer(settings: Settings) -> Draw:
    """Pictures through the engine, the way `diorama render` draws them; seeds count up from the settings' own."""
    render_jobs, drawn = through_engine(batch=50), 0

    def draw(captions: list[str]) -> Tensor:
        nonlocal drawn
        jobs = [
            settings.job("text", drawn + i, prompt=caption, size=settings.size) for i, caption in enumerate(captions)
        ]
        drawn += len(jobs)
        frames = np.stack([rendered.frames[0] for rendered in render_jobs(jobs)])
        return torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 255

    return draw


@torch.no_grad()
def reconstruction(checkpoint: str, count: int = 64) -> dict[str, float]:
    """PSNR in dB of the checkpoint's autoencoder on flat pictures and on clear layers, drawn from an unseen seed."""
    from pipelines.engine import Engine

    codec = Engine("cpu").checkpoint(checkpoint).codec
    world = World(2024, split="any")
    drawing = render([world.scene(i) for i in range(count)], 128, 128)
    flat = torch.cat([drawing.picture, torch.ones_like(drawing.picture[:, :1])], 1)
    found = {}
    for name, pixels in (("flat", flat), ("layers", drawing.layers[:, 1])):
        error = (codec.decode(codec.encode(pixels), 128, 128)[:, 0] - pixels).square().mean()
        found[name] = round(float(-10 * torch.log10(error)), 1)
    return found


# ---------------------------------------------------------------- the parts of each task

Part = tuple[str, Callable[[], Scores]]  # what it is called, and what scores it


def _pictures(options: argparse.Namespace, settings: Settings) -> Iterator[Part]:
    def score(split: str, settings: Settings) -> Scores:
        world = World(options.world_seed, TWO, split=split)
        scenes = [world.scene(i, settings.aspect) for i in range(options.count)]
        return evaluate(drawer(settings), scenes, batch=20)

    for number, split in enumerate(("unseen", "pairs")):
        yield split, partial(score, split, replace(settings, seed=settings.seed + number * options.count))


def _clips(options: argparse.Namespace, settings: Settings) -> Iterator[Part]:
    """Single subjects alone, as the caption "a red star spins in a meadow" tells of; then clips with company."""

    def clips(things: int, count: int) -> list[Scene]:
        world = World(options.world_seed, split="unseen", placement="canonical")
        some = (world.clip(i, settings.aspect) for i in range(12 * options.count))
        return [scene for scene in some if len(scene.things) == things][:count]

    def coded(some: Callable[[], list[Scene]]) -> Scores:
        return evaluate_autoencoder(settings.model, some(), settings)

    def drawn(some: Callable[[], list[Scene]]) -> Scores:
        return evaluate_video(through_engine(), some(), settings)

    for name, things, count in (("single", 1, options.count), ("company", 2, options.count // 4)):
        some = partial(clips, things, count)
        yield f"{name}, autoencoder alone", partial(coded, some)
        yield name, partial(drawn, some)


def _stories(options: argparse.Namespace, settings: Settings) -> Iterator[Part]:
    def score() -> Scores:
        world = World(options.world_seed, split="unseen", placement="canonical")
        stories = [world.story(i, 3, settings.aspect) for i in range(options.count)]
        return evaluate_scenes(through_engine(), stories, settings)

    yield "three scenes", score


def _extensions(options: argparse.Namespace, settings: Settings) -> Iterator[Part]:
    def score() -> Scores:
        world = World(options.world_seed, split="unseen", placement="canonical")
        stories = [world.story(i, 1 + EXTENSIONS, settings.aspect) for i in range(options.count)]
        with tempfile.TemporaryDirectory() as folder:
            return evaluate_extensions(through_engine(), stories, settings, Path(folder))

    yield f"{EXTENSIONS} extensions", score


def _masked(options: argparse.Namespace, settings: Settings) -> Iterator[Part]:
    """Holes over things in the places where captions put them, and over things anywhere."""

    def score(kind: Kind, placement: Placement, settings: Settings) -> Scores:
        with tempfile.TemporaryDirectory() as folder:
            cases = masked_cases(kind, options.count, settings, Path(folder), options.world_seed, placement)
            return evaluate_masked(through_engine(), cases, settings)

    for kind in KINDS:
        clips = kind in ("predict", "interpolate")
        here = settings if options.size else replace(settings, size=CLIP_SIZE if clips else PICTURE_SIZE)
        for placement in PLACEMENTS[:1] if clips else PLACEMENTS:
            yield f"{kind}, {placement}", partial(score, kind, placement, here)


def _layouts(options: argparse.Namespace, settings: Settings) -> Iterator[Part]:
    """All kinds by both mechanisms together; boxes apart also by each alone, and by neither."""

    def score(kind: str, mechanism: str | None) -> Scores:
        cases = layout_cases(kind, options.count, settings, options.world_seed, mechanism)  # type: ignore[arg-type]
        return evaluate_layout(through_engine(), cases, settings)

    def alone(boxes: str) -> Scores:
        cases = layout_cases(boxes, options.count, settings, options.world_seed, "both")  # type: ignore[arg-type]
        return layouts_through_autoencoder(settings.model, cases, settings)

    for boxes in LAYOUTS[:2]:
        yield f"{boxes}, autoencoder alone", partial(alone, boxes)
    runs: list[tuple[str, str | None]] = [(kind, "both") for kind in LAYOUTS]
    runs += [("apart", name) for name in MECHANISMS if name != "both"] + [("apart", None)]
    for kind, mechanism in runs:
        yield f"{kind}, {mechanism or 'neither'}", partial(score, kind, mechanism)


def _layers(options: argparse.Namespace, settings: Settings) -> Iterator[Part]:
    def score(kind: Stack, alone: bool) -> Scores:
        with tempfile.TemporaryDirectory() as folder:
            cases = layered_cases(kind, options.count, settings, Path(folder), options.world_seed)
            if alone:
                return layers_through_autoencoder(settings.model, cases, settings)
            return evaluate_layered(through_engine(), cases, settings)

    for kind in STACKS:
        if kind == "named":
            yield "named, autoencoder alone", partial(score, kind, True)
        yield kind, partial(score, kind, False)


def _dubbed(options: argparse.Namespace, settings: Settings) -> Iterator[Part]:
    """Every kind of sound with the warp and without it."""

    def score(kind: Dub, warp: bool) -> Scores:
        with tempfile.TemporaryDirectory() as folder:
            cases = dubbing_cases(kind, options.count, settings, Path(folder), options.world_seed, warp, espeak)
            return evaluate_dubbing(through_engine(), cases, settings)

    warps: tuple[bool, ...] = (True, False)
    if not (describe(settings.model).folder / "warp").is_dir():
        print(f"{settings.model} has no mouth warp: scored without one", flush=True)
        warps = (False,)
    for kind in DUBBED:
        if kind == "recorded" and shutil.which("espeak-ng") is None:
            print("there is no espeak-ng on this machine: recorded speech is left out", flush=True)
            continue
        for warp in warps:
            yield f"{kind}, {'warp' if warp else 'no warp'}", partial(score, kind, warp)


def _portraits(options: argparse.Namespace, settings: Settings) -> Iterator[Part]:
    """Portraits of a few seconds, and a tenth as many of a minute."""

    def score(count: int, seconds: float) -> Scores:
        with tempfile.TemporaryDirectory() as folder:
            cases = portrait_cases(count, settings, Path(folder), options.world_seed, seconds)
            return evaluate_dubbing(through_engine(), cases, settings)

    yield "portrait", partial(score, options.count, LIVELY)
    yield "a minute", partial(score, max(1, options.count // 10), LONG)


RUNS = {
    "text": _pictures,
    "video": _clips,
    "scenes": _stories,
    "masked": _masked,
    "extend": _extensions,
    "layout": _layouts,
    "layered": _layers,
    "dubbing": _dubbed,
    "portrait": _portraits,
}
COUNTS = {
    "text": 200, "video": 60, "scenes": 60, "masked": 100, "extend": 20, "layout": 100, "layered": 100, "dubbing": 40,
    "portrait": 40,
}  # fmt: skip


# ---------------------------------------------------------------- the command


def main(words: Sequence[str] | None = None) -> None:
    """Score a checkpoint on what it was never trained on: unseen captions, clips, stories and masks."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("checkpoint", nargs="?", default="papercut")
    parser.add_argument("--task", choices=TASKS, nargs="+", default=["text"])
    parser.add_argument("--part", help="one part alone, by the name that stands before its score")
    parser.add_argument("--processes", type=int, default=1, help="how many parts are scored at once, each by itself")
    parser.add_argument("--count", type=int, help=f"cases of each part; unless given: {COUNTS}")
    parser.add_argument(
        "--size", type=int, nargs=2, metavar=("WIDTH", "HEIGHT"), help="unless given: pictures 128 128, videos 96 96"
    )
    parser.add_argument("--frames", type=int, default=8, help="of a clip, or of each scene")
    parser.add_argument("--fps", type=int, default=8)
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--guidance", type=float, help="unless given: what a job of the task has, 2 or of faces 1")
    parser.add_argument("--internal-guidance", type=float)
    parser.add_argument("--speech-guidance", type=float, help="of faces; unless given: what their job has")
    parser.add_argument("--adapter", action="append", default=[], help="a file that acts on all of it; may be repeated")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--world-seed", type=int, default=2024, help="which captions; training reports use others")
    parser.add_argument("--sheets", type=Path, help="write a sheet of failures a part into this folder")
    words = sys.argv[1:] if words is None else list(words)
    options = parser.parse_args(words)
    asked = [(task, name, score) for task in options.task for name, score in _parts(options, task)]
    if options.part is not None:
        asked = [each for each in asked if each[1] == options.part]
        if not asked:
            parser.error(f"--part: no part of {' '.join(options.task)} is called {options.part!r}")
    elif options.processes > 1:
        _apart(words, options, [(task, name) for task, name, _ in asked])
        return
    for task, name, score in asked:
        if task == "text" and name == "unseen":
            print(f"autoencoder, PSNR in dB: {reconstruction(options.checkpoint)}", flush=True)
        scores = score()
        told = f"{scores.total} cases"
        if task == "text":
            told = f"{round(scores.exact_two * scores.total)} of {scores.total} right in every attribute"
        print(f"{name}: {told}   {scores.words}", flush=True)
        if options.sheets:
            columns, side = (6, 192) if task in ("text", "masked", "layout") else (4, 384)
            stem = name.replace(",", "").replace(" ", "-")
            write_sheet(options.sheets / f"failures-{stem}.png", scores, columns, side)


def _parts(options: argparse.Namespace, task: str) -> Iterator[Part]:
    """The parts of a task."""
    own = argparse.Namespace(**vars(options) | {"count": options.count or COUNTS[task]})
    settings = Settings(
        model=options.checkpoint,
        size=tuple(options.size or (CLIP_SIZE if task in CLIPS else PICTURE_SIZE)),
        frames=options.frames,
        fps=options.fps,
        steps=options.steps,
        guidance=options.guidance,
        internal_guidance=options.internal_guidance,
        speech_guidance=options.speech_guidance,
        seed=options.seed,
        adapters=tuple(options.adapter),
    )
    return RUNS[task](own, settings)


def _apart(words: Sequence[str], options: argparse.Namespace, parts: Sequence[tuple[str, str]]) -> None:
    """Each part in a process of its own, so many at once; what they print comes in the order of the parts.

    Raises:
        SystemExit: one of them failed; the others are finished first.
    """
    threads = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // options.processes))}

    def run(part: tuple[str, str]) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "training.evaluate", *words, "--processes", "1", "--task", part[0]]
        return subprocess.run([*command, "--part", part[1]], capture_output=True, text=True, env=threads | os.environ)

    failed = []
    with ThreadPoolExecutor(options.processes) as pool:
        for (task, name), done in zip(parts, pool.map(run, parts), strict=True):
            print(done.stdout, end="", flush=True)
            if done.returncode:
                failed.append(f"{task}, {name}: {(done.stderr.strip() or 'no reason').splitlines()[-1]}")
    if failed:
        raise SystemExit("\n".join(failed))


if __name__ == "__main__":
    main()
