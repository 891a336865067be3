"""Scores of the masked task on cases of which the truth is known: holes, references, seams and missing frames.

Nothing of the truth reaches a job: what it has to make is grey in the files, or not there.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from pipelines.job import Job
from training.clips import read_clip
from training.judging import judge, judge_clip
from training.papercut import TWO, World
from training.parser import read
from training.pixels import Mask, Pixels
from training.renders import Render, Settings
from training.scene import Scene, Thing, frames_of
from training.scores import Failure, Scores, tiled

Kind = Literal["inpaint", "reference", "seam", "predict", "interpolate"]
KINDS: tuple[Kind, ...] = ("inpaint", "reference", "seam", "predict", "interpolate")
FIRST = 3  # frames that a prediction is given
GREY = 128


@dataclass(frozen=True, eq=False)
class Case:
    """A job whose right result is known.

    Attributes:
        job: a masked job; its files are written.
        kind: what is asked.
        scene: what the result should show.
        thing: the thing that the hole hides; for clips the subject.
        truth: [F, H, W, 3] what the result may look like.
        made: [F, H, W] what of it is new.
    """

    job: Job
    kind: Kind
    scene: Scene
    thing: Thing
    truth: Pixels
    made: Mask


def masked_cases(
    kind: Kind,
    count: int,
    settings: Settings,
    folder: Path,
    seed: int = 2024,
    placement: Literal["canonical", "anywhere"] = "canonical",
) -> list[Case]:
    """`count` unseen cases of a kind, with their files in `folder`; `placement` of the things that holes hide."""
    folder.mkdir(parents=True, exist_ok=True)
    if kind in ("predict", "interpolate"):
        world = World(seed, split="unseen", placement="canonical")
        return [_clip_case(kind, i, world.clip(i, settings.aspect), settings, folder) for i in range(count)]
    world = World(seed, TWO, split="unseen", placement=placement)
    return [_hole_case(kind, i, world.scene(i, settings.aspect), settings, folder) for i in range(count)]


def _hole_case(kind: Kind, number: int, scene: Scene, settings: Settings, folder: Path) -> Case:
    """A hole over one thing, or for a seam over its left half, with all its shadow."""
    rng = random.Random(f"{kind} {number}")
    thing = rng.choice(scene.things)
    short, (width, height) = min(settings.size), settings.size
    reach = 1.15 * thing.radius + 0.06
    x1 = thing.x if kind == "seam" else thing.x + reach
    columns = slice(max(0, round((thing.x - reach) * short)), min(width, round(x1 * short)))
    rows = slice(max(0, round((thing.y - reach) * short)), min(height, round((thing.y + reach) * short)))
    made = np.zeros((height, width), bool)
    made[rows, columns] = True
    truth = settings.draw([scene])
    stem = f"{kind}-{number:03d}"
    _write(folder / f"{stem}-source.png", np.where(made[..., None], GREY, truth[0]))
    _write(folder / f"{stem}-mask.png", np.repeat(made[..., None], 3, -1) * 255)
    fields: dict[str, str] = {"prompt": scene.caption}
    if kind == "reference":
        ground = rng.choice([colour for colour in World().colours if colour != thing.colour])
        alone = replace(thing, x=settings.aspect[0] / 2, y=settings.aspect[1] / 2)
        _write(folder / f"{stem}-reference.png", settings.draw([Scene((alone,), ground)])[0])
        fields = {"prompt": "", "reference": str(folder / f"{stem}-reference.png")}
    job = settings.job(
        "masked",
        number,
        name=stem,
        source=str(folder / f"{stem}-source.png"),
        mask=str(folder / f"{stem}-mask.png"),
        **fields,
    )
    return Case(job, kind, scene, thing, truth, made[None])


def _clip_case(kind: Kind, number: int, scene: Scene, settings: Settings, folder: Path) -> Case:
    """The first frames of a clip, or its first and its last."""
    truth = settings.draw(frames_of(scene, settings.frames, settings.fps))
    last = settings.frames - 1
    kept = list(range(FIRST)) if kind == "predict" else [0, last]
    stem = f"{kind}-{number:03d}"
    for k in range(FIRST if kind == "predict" else settings.frames):
        frame = truth[k] if k in kept else np.full_like(truth[k], GREY)
        _write(folder / stem / f"{k:04d}.png", frame)
    job = settings.job(
        "masked",
        number,
        name=stem,
        prompt=scene.caption,
        source=str(folder / stem),
        keep_frames=f"0-{FIRST - 1}" if kind == "predict" else f"0,{last}",
        fps=settings.fps,
        **({"frames": settings.frames} if kind == "predict" else {}),
    )
    made = np.ones(truth.shape[:3], bool)
    made[kept] = False
    return Case(job, kind, scene, scene.things[0], truth, made)


def _write(path: Path, pixels: Pixels) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), pixels[..., ::-1].astype(np.uint8))


# ---------------------------------------------------------------- scores


def evaluate_masked(render: Render, cases: Sequence[Case], settings: Settings) -> Scores:
    """Score cases of one kind.

    The rates tell how many results are `right` (`RIGHT` says what that means) and keep all that was given to the bit
    (`kept`); `seam` is how much steeper the mean step across the edge of the new part is than in the truth.
    """
    results = [np.asarray(rendered.frames)[..., :3] for rendered in render([case.job for case in cases])]
    failures: list[Failure] = []
    kept, made_step, true_step = 0, 0.0, 0.0
    for number, (case, result) in enumerate(zip(cases, results, strict=True)):
        reason = RIGHT[case.kind](case, result, settings)
        if reason:
            failures.append(Failure(number, case.scene.caption, reason, tiled(result)))
        kept += np.array_equal(result[~case.made], case.truth[~case.made])
        made_step += seam(result, case.made)
        true_step += seam(case.truth, case.made)
    total = max(len(cases), 1)
    rates = {"right": 1 - len(failures) / total, "kept": kept / total}
    if true_step:
        rates["seam"] = made_step / true_step
    return Scores(len(cases), rates, tuple(failures))


def seam(frames: Pixels, made: Mask) -> float:
    """Mean absolute step, 0..255, between neighbours of a frame of which one is new and the other is not.

    `frames` are [F, H, W, 3] and `made` [F, H, W]; without such neighbours it is 0.
    """
    values = frames.astype(np.float64)
    steps = []
    for axis in (1, 2):
        across = np.diff(made.astype(np.int8), axis=axis) != 0
        steps.append(np.abs(np.diff(values, axis=axis)).mean(-1)[across])
    along = np.concatenate(steps)
    return float(along.mean()) if len(along) else 0.0


def _as_told(case: Case, result: Pixels, settings: Settings) -> str:
    """The finished picture is what the caption says, but for sizes."""
    verdict = judge(read(result[0], settings.shapes), case.scene)
    return "" if verdict.exact_two else verdict.reason


def _as_shown(case: Case, result: Pixels, settings: Settings) -> str:
    """A thing like the reference's stands in the hole."""
    height, width = case.made.shape[1:]
    reading = read(result[0], settings.shapes)
    for thing in reading.things:
        x, y = int(thing.x * min(width, height)), int(thing.y * min(width, height))
        inside = 0 <= x < width and 0 <= y < height and case.made[0, y, x]
        if inside and (thing.colour, thing.shape) == case.thing.pair:
            return ""
    return f"no {case.thing.colour} {case.thing.shape} in the hole: {reading.words}"


def _goes_on(case: Case, result: Pixels, settings: Settings) -> str:
    """The subject stays itself and moves as it did, in all frames together."""
    verdict = judge_clip(read_clip(result, settings.shapes), case.scene)
    return "" if verdict.subject and verdict.motion and verdict.ground else verdict.reason


RIGHT: dict[Kind, Callable[[Case, Pixels, Settings], str]] = {
    "inpaint": _as_told,
    "reference": _as_shown,
    "seam": _as_told,
    "predict": _goes_on,
    "interpolate": _goes_on,
}
