"""Scores checkpoints on the Papercut world: what was asked, rendered through the engine, read back and judged.

`python -m training.evaluate papercut` does so for pictures from unseen captions; `--task` names the other tasks, whose
scores are those of the files `evaluate_*.py`. Reading pixels is `parser.py`, judging `judging.py`.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from models.checkpoint import describe
from training.evaluate_clips import evaluate_autoencoder, evaluate_extensions, evaluate_scenes, evaluate_video
from training.evaluate_dubbing import DUBBED, dubbing_cases, espeak, evaluate_dubbing, portrait_cases
from training.evaluate_layered import KINDS as STACKS
from training.evaluate_layered import evaluate_autoencoder as layers_through_autoencoder
from training.evaluate_layered import evaluate_layered, layered_cases
from training.evaluate_layout import KINDS as LAYOUTS
from training.evaluate_layout import MECHANISMS, evaluate_layout, layout_cases
from training.evaluate_layout import evaluate_autoencoder as layouts_through_autoencoder
from training.evaluate_masked import KINDS, evaluate_masked, masked_cases
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
PLACEMENTS: tuple[Literal["canonical", "anywhere"], ...] = ("canonical", "anywhere")
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


# ---------------------------------------------------------------- the command


def _pictures(options: argparse.Namespace, settings: Settings) -> Iterator[tuple[str, Scores]]:
    draw = drawer(settings)
    for split in ("unseen", "pairs"):
        world = World(options.world_seed, TWO, split=split)
        scenes = [world.scene(i, settings.aspect) for i in range(options.count)]
        yield split, evaluate(draw, scenes, batch=20)


def _clips(options: argparse.Namespace, settings: Settings) -> Iterator[tuple[str, Scores]]:
    """Single subjects alone, as the caption "a red star spins in a meadow" tells of; then clips with company."""
    world = World(options.world_seed, split="unseen", placement="canonical")
    drawn = [world.clip(i, settings.aspect) for i in range(12 * options.count)]
    for name, things, count in (("single", 1, options.count), ("company", 2, options.count // 4)):
        clips = [scene for scene in drawn if len(scene.things) == things][:count]
        yield f"{name}, autoencoder alone", evaluate_autoencoder(settings.model, clips, settings)
        yield name, evaluate_video(through_engine(), clips, settings)


def _stories(options: argparse.Namespace, settings: Settings) -> Iterator[tuple[str, Scores]]:
    world = World(options.world_seed, split="unseen", placement="canonical")
    stories = [world.story(i, 3, settings.aspect) for i in range(options.count)]
    yield "three scenes", evaluate_scenes(through_engine(), stories, settings)


def _extensions(options: argparse.Namespace, settings: Settings) -> Iterator[tuple[str, Scores]]:
    world = World(options.world_seed, split="unseen", placement="canonical")
    stories = [world.story(i, 1 + EXTENSIONS, settings.aspect) for i in range(options.count)]
    with tempfile.TemporaryDirectory() as folder:
        scores = evaluate_extensions(through_engine(), stories, settings, Path(folder))
    yield f"{EXTENSIONS} extensions", scores


def _masked(options: argparse.Namespace, settings: Settings) -> Iterator[tuple[str, Scores]]:
    """Holes over things in the places where captions put them, and over things anywhere."""
    for kind in KINDS:
        clips = kind in ("predict", "interpolate")
        here = settings if options.size else replace(settings, size=CLIP_SIZE if clips else PICTURE_SIZE)
        for placement in PLACEMENTS[:1] if clips else PLACEMENTS:
            with tempfile.TemporaryDirectory() as folder:
                cases = masked_cases(kind, options.count, here, Path(folder), options.world_seed, placement)
                yield f"{kind}, {placement}", evaluate_masked(through_engine(), cases, here)


def _layouts(options: argparse.Namespace, settings: Settings) -> Iterator[tuple[str, Scores]]:
    """All kinds by both mechanisms together; boxes apart also by each alone, and by neither."""
    for boxes in LAYOUTS[:2]:
        cases = layout_cases(boxes, options.count, settings, options.world_seed, "both")
        yield f"{boxes}, autoencoder alone", layouts_through_autoencoder(settings.model, cases, settings)
    runs: list[tuple[str, str | None]] = [(kind, "both") for kind in LAYOUTS]
    runs += [("apart", name) for name in MECHANISMS if name != "both"] + [("apart", None)]
    for kind, mechanism in runs:
        cases = layout_cases(kind, options.count, settings, options.world_seed, mechanism)  # type: ignore[arg-type]
        yield f"{kind}, {mechanism or 'neither'}", evaluate_layout(through_engine(), cases, settings)


def _layers(options: argparse.Namespace, settings: Settings) -> Iterator[tuple[str, Scores]]:
    for kind in STACKS:
        with tempfile.TemporaryDirectory() as folder:
            cases = layered_cases(kind, options.count, settings, Path(folder), options.world_seed)
            if kind == "named":
                yield "named, autoencoder alone", layers_through_autoencoder(settings.model, cases, settings)
            yield kind, evaluate_layered(through_engine(), cases, settings)


def _dubbed(options: argparse.Namespace, settings: Settings) -> Iterator[tuple[str, Scores]]:
    """Every kind of sound with the warp and without it."""
    warps: tuple[bool, ...] = (True, False)
    if not (describe(settings.model).folder / "warp").is_dir():
        print(f"{settings.model} has no mouth warp: scored without one", flush=True)
        warps = (False,)
    for kind in DUBBED:
        if kind == "recorded" and shutil.which("espeak-ng") is None:
            print("there is no espeak-ng on this machine: recorded speech is left out", flush=True)
            continue
        for warp in warps:
            with tempfile.TemporaryDirectory() as folder:
                where, seed = Path(folder), options.world_seed
                cases = dubbing_cases(kind, options.count, settings, where, seed, warp, espeak)
                yield f"{kind}, {'warp' if warp else 'no warp'}", evaluate_dubbing(through_engine(), cases, settings)


def _portraits(options: argparse.Namespace, settings: Settings) -> Iterator[tuple[str, Scores]]:
    with tempfile.TemporaryDirectory() as folder:
        cases = portrait_cases(options.count, settings, Path(folder), options.world_seed)
        yield "portrait", evaluate_dubbing(through_engine(), cases, settings)


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


def main() -> None:
    """Score a checkpoint on what it was never trained on: unseen captions, clips, stories and masks."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("checkpoint", nargs="?", default="papercut")
    parser.add_argument("--task", choices=TASKS, default="text")
    parser.add_argument("--count", type=int, help=f"cases of each part; unless given: {COUNTS}")
    parser.add_argument(
        "--size", type=int, nargs=2, metavar=("WIDTH", "HEIGHT"), help="unless given: pictures 128 128, videos 96 96"
    )
    parser.add_argument("--frames", type=int, default=8, help="of a clip, or of each scene")
    parser.add_argument("--fps", type=int, default=8)
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--guidance", type=float, default=2.0)
    parser.add_argument("--internal-guidance", type=float)
    parser.add_argument("--adapter", action="append", default=[], help="a file that acts on all of it; may be repeated")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--world-seed", type=int, default=2024, help="which captions; training reports use others")
    parser.add_argument("--sheets", type=Path, help="write a sheet of failures a part into this folder")
    options = parser.parse_args()
    options.count = options.count or COUNTS[options.task]
    settings = Settings(
        model=options.checkpoint,
        size=tuple(options.size or (CLIP_SIZE if options.task in CLIPS else PICTURE_SIZE)),
        frames=options.frames,
        fps=options.fps,
        steps=options.steps,
        guidance=options.guidance,
        internal_guidance=options.internal_guidance,
        seed=options.seed,
        adapters=tuple(options.adapter),
    )
    if options.task == "text":
        print(f"autoencoder, PSNR in dB: {reconstruction(options.checkpoint)}", flush=True)
    for name, scores in RUNS[options.task](options, settings):
        told = f"{scores.total} cases"
        if options.task == "text":
            told = f"{round(scores.exact_two * scores.total)} of {scores.total} right in every attribute"
        print(f"{name}: {told}   {scores.words}", flush=True)
        if options.sheets:
            columns, side = (6, 192) if options.task in ("text", "masked", "layout") else (4, 384)
            stem = name.replace(",", "").replace(" ", "-")
            write_sheet(options.sheets / f"failures-{stem}.png", scores, columns, side)


if __name__ == "__main__":
    main()
