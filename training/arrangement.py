"""Arrangements: boxes on the grid of tokens, and Papercut scenes whose things fill them.

Layouts and stacks of layers are drawn from these. Here a box says where a thing is and how large, so captions say
neither.
Boxes are (y0, x0, y1, x1) in whole tokens, or (x0, y0, x1, y1) in 0..1 of width and height.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache

import torch

from .drawing import DISTANCES, SHADOW_OFFSET, SHADOW_SOFTNESS
from .papercut import World
from .scene import HELD_OUT_PAIRS, SCENERY, Scene, Thing, article

TokenBox = tuple[int, int, int, int]
Box = tuple[float, float, float, float]

MOST = 12  # things of one scene
ATTEMPTS = 60  # to find room for one more box
COVERED = 0.3  # the share of a box that the boxes over it may hide
LOOSE = 0.25  # tokens by which the edges of a layout's box are off the grid
EDGE, SHADE = 0.01, SHADOW_OFFSET + 3 * SHADOW_SOFTNESS  # room in a layer around a thing, and below it for its shadow


def token_boxes(rng: random.Random, h: int, w: int, count: int, overlap: bool) -> tuple[TokenBox, ...]:
    """At most `count` boxes of two to four tokens a side, later ones on top; with `overlap` some lie over others."""
    largest = 4 if count <= 3 else 3
    found: list[TokenBox] = []
    for _ in range(count):
        for _ in range(ATTEMPTS):
            side = rng.randint(2, min(largest, h, w))
            tall = min(h, max(2, side + rng.choice((0, 0, 0, 1, -1))))
            y, x = rng.randint(0, h - tall), rng.randint(0, w - side)
            box = (y, x, y + tall, x + side)
            if _fits(box, found, overlap):
                found.append(box)
                break
    return tuple(found)


def unseen_grids(
    name: str, h: int, w: int, counts: Sequence[int], overlap: Callable[[random.Random], bool]
) -> Iterator[tuple[random.Random, tuple[TokenBox, ...]]]:
    """Boxes of one case after another, for evaluations, each with the random numbers that go on from them.

    Args:
        name: what the cases are called; it decides them.
        h: tokens down.
        w: tokens across.
        counts: how many boxes a case may have; it has no fewer than were drawn.
        overlap: whether boxes of a case may overlap.
    """
    for number in itertools.count(1):
        rng = random.Random(f"{name} {number}")
        wanted = rng.choice(counts)
        boxes = token_boxes(rng, h, w, wanted, overlap(rng))
        if len(boxes) == wanted:
            yield rng, boxes


def _fits(box: TokenBox, others: Sequence[TokenBox], overlap: bool) -> bool:
    shares = [_common(box, other) / _area(other) for other in others]
    if not overlap:
        return not any(shares)
    return all(share <= COVERED for share in shares) and all(_common(box, o) / _area(box) <= COVERED for o in others)


def _area(box: TokenBox) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])


def _common(a: TokenBox, b: TokenBox) -> int:
    """Tokens that two boxes share."""
    return max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))


def overlapping(boxes: Sequence[TokenBox]) -> bool:
    """Whether any two boxes share a token."""
    return any(_common(a, b) for i, a in enumerate(boxes) for b in boxes[:i])


def shaken(rng: random.Random, box: TokenBox, h: int, w: int) -> Box:
    """A box of 0..1 whose edges are a little off the grid; rounded to tokens it is the same box again."""
    y0, x0, y1, x1 = (edge + rng.uniform(-LOOSE, LOOSE) for edge in box)
    return max(0.0, x0 / w), max(0.0, y0 / h), min(1.0, x1 / w), min(1.0, y1 / h)


def within(box: TokenBox, h: int, w: int) -> Box:
    """The part of a layer's box that a thing may fill, so that its shadow has room as well."""
    y0, x0, y1, x1 = box
    short = min(h, w)
    edge, shade = EDGE * short, SHADE * short
    return (x0 + edge) / w, (y0 + edge) / h, (x1 - shade) / w, (y1 - shade) / h


def fill(rng: random.Random, world: World, boxes: Sequence[Box], touching: bool, aspect: tuple[float, float]) -> Scene:
    """A scene with a thing in each box, as large as the box allows; where boxes touch, all colours differ.

    Args:
        rng: chooses colours, shapes and the ground.
        world: its colours, its shapes, and whether held-out pairs may occur.
        boxes: bottom first.
        touching: whether any two boxes overlap.
        aspect: width and height in short sides.
    """
    ground = rng.choice(tuple(SCENERY)) if rng.random() < 0.25 else rng.choice(world.colours)
    held_out = HELD_OUT_PAIRS if world.split in ("train", "unseen") else frozenset()
    shapes = {colour: [shape for shape in world.shapes if (colour, shape) not in held_out] for colour in world.colours}
    palette = [colour for colour in world.colours if colour != ground and shapes[colour]]
    colours = rng.choices(palette, k=len(boxes))
    if touching:
        # There are fewer colours than boxes may be: each differs from as many before it as it can.
        rounds = math.ceil(len(boxes) / len(palette))
        colours = [colour for _ in range(rounds) for colour in rng.sample(palette, len(palette))]
    things = tuple(
        inscribed(rng.choice(shapes[colour]), colour, box, aspect) for box, colour in zip(boxes, colours, strict=False)
    )
    return Scene(things, ground, wave=rng.uniform(0, 0.5))


def inscribed(shape: str, colour: str, box: Box, aspect: tuple[float, float]) -> Thing:
    """The largest upright thing in a box, in its middle. Its size has no word, for the box tells it."""
    left, top, right, bottom = extents(shape)
    x0, x1 = (edge * aspect[0] for edge in (box[0], box[2]))
    y0, y1 = (edge * aspect[1] for edge in (box[1], box[3]))
    radius = min((x1 - x0) / (right - left), (y1 - y0) / (bottom - top))
    x = (x0 + x1) / 2 - radius * (left + right) / 2
    y = (y0 + y1) / 2 - radius * (top + bottom) / 2
    return Thing(shape, colour, "medium", x, y, radius, 0.0)


def bounds_of(thing: Thing, aspect: tuple[float, float]) -> Box:
    """The box around an upright thing, in 0..1 and not cut at the picture's edge."""
    left, top, right, bottom = (edge * thing.radius for edge in extents(thing.shape))
    return (
        (thing.x + left) / aspect[0], (thing.y + top) / aspect[1],
        (thing.x + right) / aspect[0], (thing.y + bottom) / aspect[1],
    )  # fmt: skip


@cache
def extents(shape: str) -> Box:
    """Left, top, right and bottom of a shape of radius 1 around its centre."""
    axis = torch.linspace(-1.4, 1.4, 561)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    inside = DISTANCES[shape](x, y) <= 0
    return float(x[inside].min()), float(y[inside].min()), float(x[inside].max()), float(y[inside].max())


def named(thing: Thing) -> str:
    """`a red circle`: what a box's prompt says."""
    return article(thing.words)


def global_prompt(scene: Scene) -> str:
    """What is said of the whole: up to three things by name, more as "shapes on a blue background"."""
    return scene.caption if len(scene.things) <= 3 else f"shapes {scene.ground_words}"


def contradicted(rng: random.Random, scene: Scene, world: World) -> str:
    """A caption of the right ground and the wrong things: boxes have to win over it."""
    wrong = [
        replace(
            thing,
            shape=rng.choice([shape for shape in world.shapes if shape != thing.shape]),
            colour=rng.choice([colour for colour in world.colours if colour not in (thing.colour, scene.ground)]),
        )
        for thing in scene.things[:3]
    ]
    return replace(scene, things=tuple(wrong)).caption
