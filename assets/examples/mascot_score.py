"""Scores an adapter on the mascot: `python assets/examples/mascot_score.py runs/mascot/adapter.safetensors`.

Fifty prompts that none of the twenty pictures has are rendered and looked at for a pim, and captions of the Papercut
world are scored by `training/evaluate.py` with the adapter and without. What a pim is, is `mascot.py`.

A pim is told by its outline and by two eyes that are not of its body's colour; which colours they are is judged apart.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import torch
from mascot import BODY, EYES, LOOK, NAME, OUTLINE, SIZES, Cut, new, silhouette
from torch import Tensor

from training.evaluate import Draw, drawer, evaluate
from training.fitting import Part, fit
from training.ground import palette
from training.papercut import TWO, World
from training.parser import COLOUR_REACH, survey
from training.pixels import UNKNOWN, Array, Mask, Pixels, bounds, floats, to_pixels, work_image
from training.renders import PICTURE_SIZE, Settings
from training.scene import COLOURS, SHAPES, Scene, Thing
from training.scores import Failure, Scores, write_sheet

LEAST_MATCH = 0.8  # overlap with a pim's outline; no thing of the world comes near, see the tests
ALIKE = 40.0  # colours of body and eyes that are closer than this are one: there are no eyes
STRETCH = 1.15  # how much wider or higher than a pim something may be


@dataclass(frozen=True)
class Pim:
    """A pim as read. Centre and radius in short sides; a colour is "unknown" where it is none of the world's."""

    body: str
    eyes: tuple[str, str]
    x: float
    y: float
    radius: float
    match: float

    @property
    def right(self) -> bool:
        """Whether its colours are a pim's."""
        return self.body == BODY and self.eyes == (EYES, EYES)

    @property
    def words(self) -> str:
        """`pink pim with white and white eyes`."""
        return f"{self.body} {NAME} with {self.eyes[0]} and {self.eyes[1]} eyes"


@dataclass(frozen=True)
class Sight:
    """What a picture shows: pims, the colour and shape of all other things, the ground."""

    pims: tuple[Pim, ...]
    others: tuple[tuple[str, str], ...]
    ground: str

    @property
    def words(self) -> str:
        """In words."""
        told = [*(one.words for one in self.pims), *(" ".join(pair) for pair in self.others)]
        return f"{' + '.join(told) or 'nothing'} | {self.ground}"


# ---------------------------------------------------------------- looking


def look(picture: Pixels) -> Sight:
    """Find the pims, and what else there is, in a picture [H, W, 3]."""
    image, found = work_image(picture), survey(picture)
    pims: list[Pim] = []
    taken = np.zeros(image.shape[:2], bool)
    for part in sorted(found.parts, key=lambda part: -float(part.alpha.sum())):
        outline = _outline(part, found.parts)
        if not taken[outline].any() and (pim := _pim(image, outline)) is not None:
            pims.append(pim)
            taken |= cv2.dilate(outline.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    others = [part for part in found.parts if (_whole(part) & taken).sum() < 0.5 * _whole(part).sum()]
    seen = sorted((one.colour, one.shape) for one in (fit(part, SHAPES) for part in others))
    return Sight(tuple(pims), tuple(seen), found.ground)


def _whole(part: Part) -> Mask:
    """[H, W] where a part is, in the work image."""
    mask = np.zeros((part.size[1], part.size[0]), bool)
    left, top = part.corner
    mask[top : top + part.alpha.shape[0], left : left + part.alpha.shape[1]] = part.alpha > 0.5
    return mask


def _outline(part: Part, parts: Sequence[Part]) -> Mask:
    """[H, W] a part with what lies on it, and with its holes filled: eyes of the ground's colour look like holes."""
    mask = _whole(part)
    x0, y0, x1, y1 = bounds(mask)
    for other in parts:
        left, top, right, bottom = bounds(_whole(other))
        if left >= x0 - 2 and top >= y0 - 2 and right <= x1 + 2 and bottom <= y1 + 2:
            mask |= _whole(other)
    whole = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    edges, _ = cv2.findContours(whole, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return np.asarray(cv2.drawContours(whole, edges, -1, 1, cv2.FILLED) > 0)


def _pim(image: Array, outline: Mask) -> Pim | None:
    """The pim that a piece of paper is, or nothing."""
    x0, y0, x1, y1 = bounds(outline)
    wide, high = _extent()
    radius_px = ((x1 - x0) / wide + (y1 - y0) / high) / 2
    stretched = (x1 - x0) * high / ((y1 - y0) * wide)
    if not 1 / STRETCH < stretched < STRETCH:
        return None
    short = min(outline.shape)
    # The middle of the outline's box is not that of the figure, which stands on y = 0.98 radii.
    middle = (x0 + x1) / 2, y1 - 0.98 * radius_px
    poses = [
        Thing(NAME, "", "", (middle[0] + dx) / short, (middle[1] + dy) / short, radius_px * grown / short, 0.0)
        for dx in (-1, 0, 1)
        for dy in (-1, 0, 1)
        for grown in (0.95, 1.0, 1.05)
    ]
    matches = [_overlap(outline, _covered(pose, outline.shape, OUTLINE)) for pose in poses]
    best = int(np.argmax(matches))
    if matches[best] < LEAST_MATCH:
        return None
    pose = poses[best]
    eyes = [_covered(pose, outline.shape, (eye,), -0.06) for eye in LOOK]
    skin = outline & _covered(pose, outline.shape, OUTLINE, -0.06) & ~_covered(pose, outline.shape, LOOK, 0.08)
    body, *looks = [np.median(image[mask], axis=0) for mask in (skin, *eyes)]
    if min(float(np.linalg.norm(each - body)) for each in looks) < ALIKE:
        return None
    return Pim(_name(body), (_name(looks[0]), _name(looks[1])), pose.x, pose.y, pose.radius, matches[best])


@cache
def _extent() -> tuple[float, float]:
    """Width and height of a pim in radii."""
    x0, y0, x1, y1 = bounds(_covered(Thing(NAME, "", "", 0.5, 0.5, 0.4, 0.0), (500, 500), OUTLINE))
    return (x1 - x0) / 200, (y1 - y0) / 200


def _covered(pose: Thing, shape: tuple[int, ...], cuts: Sequence[Cut], grown: float = 0.0) -> Mask:
    """[H, W] where some cuts of a pim are, grown by some of its radii."""
    height, width = shape
    short = min(height, width)
    ys, xs = torch.meshgrid((torch.arange(height) + 0.5) / short, (torch.arange(width) + 0.5) / short, indexing="ij")
    return np.asarray((silhouette(pose, xs, ys, cuts) < grown * pose.radius).numpy())


def _overlap(one: Mask, other: Mask) -> float:
    return float((one & other).sum() / (one | other).sum())


def _name(paint: Array) -> str:
    """The world's colour that is closest to a measured one."""
    gaps = np.linalg.norm(palette() - floats(paint), axis=-1)
    return list(COLOURS)[int(gaps.argmin())] if gaps.min() < COLOUR_REACH else UNKNOWN


# ---------------------------------------------------------------- judging


def judge(sight: Sight, scene: Scene) -> dict[str, bool]:
    """Which parts of a picture are as asked.

    `mascot` is one pim and no more, `colours` that its colours are right: both together are what a run is for.
    """
    others = sorted(thing.pair for thing in scene.things if thing.shape != NAME)
    asked = next(thing for thing in scene.things if thing.shape == NAME)
    alone = len(sight.pims) == 1
    return {
        "mascot": alone,
        "colours": alone and sight.pims[0].right,
        "size": alone and min(SIZES, key=lambda size: abs(SIZES[size] - sight.pims[0].radius)) == asked.size,
        "ground": sight.ground == scene.ground,
        "company": list(sight.others) == others,
    }


def score(draw: Draw, scenes: Sequence[Scene], batch: int = 10) -> Scores:
    """Score `draw`, which takes captions and returns pictures [B, 3, H, W] in 0..1, on scenes with a pim.

    The rate `exact` is of pictures with one pim whose colours are right, whatever else they show.
    """
    counts: Counter[str] = Counter()
    failures: list[Failure] = []
    for start in range(0, len(scenes), batch):
        some = scenes[start : start + batch]
        for k, (scene, picture) in enumerate(zip(some, draw([scene.caption for scene in some]), strict=True)):
            pixels = to_pixels(picture)
            sight = look(pixels)
            parts = judge(sight, scene)
            parts["exact"] = parts["mascot"] and parts["colours"]
            counts.update(name for name, right in parts.items() if right)
            if not parts["exact"]:
                failures.append(Failure(start + k, scene.caption, sight.words, pixels))
    names = ("mascot", "colours", "size", "ground", "company", "exact")
    return Scores(len(scenes), {name: counts[name] / max(len(scenes), 1) for name in names}, tuple(failures))


def watched(draw: Draw) -> tuple[Draw, list[bool]]:
    """The same `draw`, and of each picture that it has drawn, whether there is a pim in it."""
    found: list[bool] = []

    def drawing(captions: list[str]) -> Tensor:
        pictures = draw(captions)
        found.extend(bool(look(to_pixels(picture)).pims) for picture in pictures)
        return pictures

    return drawing, found


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="How often an adapter draws a pim, and what it costs elsewhere.")
    parser.add_argument("adapter", help="a .safetensors file")
    parser.add_argument("--count", type=int, default=50, help="new prompts")
    parser.add_argument("--old", type=int, default=100, help="captions of the world that has no pim")
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--guidance", type=float, default=2.0)
    parser.add_argument("--internal-guidance", type=float, default=1.5, help="as the card's scores have it")
    parser.add_argument("--checkpoint", default="papercut", help="what the adapter was trained on")
    parser.add_argument("--sheets", type=Path, help="write sheets of failures into this folder")
    options = parser.parse_args()

    def drawing(*adapters: str) -> Draw:
        return drawer(
            Settings(
                options.checkpoint,
                PICTURE_SIZE,
                steps=options.steps,
                guidance=options.guidance,
                internal_guidance=options.internal_guidance,
                adapters=adapters,
            )
        )

    scores = score(drawing(options.adapter), new(options.count))
    print(f"{options.count} new prompts: {scores.words}", flush=True)
    if options.sheets:
        write_sheet(options.sheets / "mascot.png", scores)
    world = World(2024, TWO, split="unseen")
    old = [world.scene(index) for index in range(options.old)]
    rates = []
    for name, draw in (("without", drawing()), ("with", drawing(options.adapter))):
        draw, strays = watched(draw)
        scores = evaluate(draw, old, batch=20)
        rates.append(100 * scores.exact_two)
        told = f"{scores.words}  with a {NAME} that nobody asked for {sum(strays)}"
        print(f"{options.old} old prompts {name} the adapter: {told}", flush=True)
        if options.sheets:
            write_sheet(options.sheets / f"old-{name}.png", scores)
    print(f"old prompts fell by {rates[0] - rates[1]:.1f} points, from {rates[0]:.1f} to {rates[1]:.1f}", flush=True)


if __name__ == "__main__":
    main()
