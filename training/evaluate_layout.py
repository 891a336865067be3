"""Scores of layouts: whether each box holds the thing that its prompt names.

Takes a function that renders jobs (`renders.py`), so that a test can draw the truth, or something else, instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pipelines.estimate import Rendered
from pipelines.job import Job
from training.arrangement import (
    Box,
    bounds_of,
    contradicted,
    fill,
    global_prompt,
    named,
    overlapping,
    shaken,
    unseen_grids,
)
from training.fitting import Seen
from training.papercut import World
from training.parser import Reading, read
from training.pixels import UNKNOWN
from training.renders import Render, Settings, through_autoencoder
from training.scene import Scene, Thing
from training.scores import Failure, Scores

Kind = Literal["apart", "overlapping", "contradicting"]
KINDS: tuple[Kind, ...] = ("apart", "overlapping", "contradicting")
COUNTS = (2, 3, 4, 5)
MECHANISMS = ("both", "plan", "siamese")
ENOUGH = 0.5  # intersection over union of a thing with its box


@dataclass(frozen=True)
class Case:
    """A layout whose right result is known; `boxes` in 0..1 belong to the scene's things, bottom first."""

    job: Job
    scene: Scene
    boxes: tuple[Box, ...]


def layout_cases(
    kind: Kind, count: int, settings: Settings, seed: int = 2024, mechanism: str | None = None
) -> list[Case]:
    """`count` unseen layouts of two to five boxes.

    Args:
        kind: boxes apart; at least two that overlap; or apart, under a global prompt that names other things.
        count: how many.
        settings: size and sampling.
        seed: which layouts.
        mechanism: of the jobs; None draws without any, from a caption of all things.
    """
    world = World(seed, split="unseen", placement="canonical")
    w, h = (side // 16 for side in settings.size)
    found: list[Case] = []
    for rng, grid in unseen_grids(f"{seed} {kind}", h, w, COUNTS, lambda rng: kind == "overlapping"):
        if len(found) == count:
            break
        if overlapping(grid) != (kind == "overlapping"):
            continue
        boxes = tuple(shaken(rng, box, h, w) for box in grid)
        # Things of one colour that touch are one piece of paper to the parser.
        scene = fill(rng, world, boxes, True, settings.aspect)
        prompt = contradicted(rng, scene, world) if kind == "contradicting" else global_prompt(scene)
        if mechanism is None:
            job = settings.job("text", len(found), prompt=scene.caption, size=settings.size)
        else:
            parts = [{"box": box, "prompt": named(thing)} for box, thing in zip(boxes, scene.things, strict=True)]
            job = settings.job(
                "layout", len(found), prompt=prompt, boxes=parts, size=settings.size, mechanism=mechanism
            )
        found.append(Case(job, scene, boxes))
    return found


def evaluate_layout(render: Render, cases: Sequence[Case], settings: Settings) -> Scores:
    """Score layouts.

    The rates: `boxes`, the share of boxes that are obeyed; `coloured`, of boxes that something of the right colour
    fills as well, whatever its outline is read as; `exact`, of pictures with all boxes obeyed.
    """
    results = [rendered.frames[0][..., :3] for rendered in render([case.job for case in cases])]
    failures: list[Failure] = []
    right = coloured = boxes = grounds = 0
    for number, (case, picture) in enumerate(zip(cases, results, strict=True)):
        reading = read(picture, settings.shapes)
        obeyed = [
            obeys(reading, thing, box, settings.aspect)
            for thing, box in zip(case.scene.things, case.boxes, strict=True)
        ]
        right, boxes = right + sum(obeyed), boxes + len(obeyed)
        coloured += sum(
            fills(reading, thing, box, settings.aspect)
            for thing, box in zip(case.scene.things, case.boxes, strict=True)
        )
        grounds += reading.ground == case.scene.ground
        if not all(obeyed):
            missed = ", ".join(thing.words for thing, good in zip(case.scene.things, obeyed, strict=True) if not good)
            failures.append(Failure(number, case.scene.caption, f"not {missed}; seen {reading.words}", picture))
    total = max(len(cases), 1)
    rates = {
        "boxes": right / max(boxes, 1),
        "coloured": coloured / max(boxes, 1),
        "exact": 1 - len(failures) / total,
        "ground": grounds / total,
    }
    return Scores(len(cases), rates, tuple(failures))


def evaluate_autoencoder(checkpoint: str, cases: Sequence[Case], settings: Settings) -> Scores:
    """Score true layouts that went through a checkpoint's autoencoder: no transformer can draw better ones."""
    import torch

    there_and_back = through_autoencoder(checkpoint)
    truth = torch.from_numpy(settings.draw([case.scene for case in cases]))
    opaque = torch.cat([truth, torch.full_like(truth[..., :1], 255)], -1).permute(0, 3, 1, 2).float() / 255
    pictures = (there_and_back(opaque)[:, :3] * 255).round().byte().permute(0, 2, 3, 1).numpy()
    return evaluate_layout(lambda jobs: [Rendered(one[None], {}) for one in pictures], cases, settings)


def obeys(reading: Reading, thing: Thing, box: Box, aspect: tuple[float, float]) -> bool:
    """Whether a picture shows a thing like `thing` where `box` is."""
    alike = [seen for seen in reading.things if (seen.colour, seen.shape) == thing.pair]
    return any(overlap(box, _whole(seen, aspect)) >= ENOUGH for seen in alike)


def fills(reading: Reading, thing: Thing, box: Box, aspect: tuple[float, float]) -> bool:
    """Whether something of the colour of `thing`, of any shape, is where `box` is."""
    alike = [seen for seen in reading.things if seen.colour == thing.colour]
    return any(overlap(box, _whole(seen, aspect)) >= ENOUGH for seen in alike)


def _whole(seen: Seen, aspect: tuple[float, float]) -> Box:
    """The box of a thing as it would be if nothing hid a part of it."""
    if seen.shape == UNKNOWN:
        return seen.box
    return bounds_of(Thing(seen.shape, seen.colour, seen.size, seen.x, seen.y, seen.radius, seen.angle), aspect)


def overlap(a: Box, b: Box) -> float:
    """Intersection over union of two boxes."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    common = max(0.0, width) * max(0.0, height)
    either = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)) - common
    return common / either if either > 0 else 0.0
