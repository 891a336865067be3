"""Fits the shapes of the Papercut world to a piece of paper: which template covers it best, where, and how turned.

A piece that no template covers is a thing of shape "unknown", so that it can not pass for what was asked.

Lengths are in short sides as in `scene.py` unless a name ends in `_px`, angles clockwise in radians. Suffixes:
S shapes, H and W of a window.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from training.pixels import UNKNOWN, Array, bounds, floats
from training.scene import RADII
from training.templates import Poses, Templates, align, overlap, templates_of

LEAST_MATCH = 0.95  # overlap with the best template, less what a quarter pixel all along its outline takes
OUTLINE_PX, HIDDEN = 0.25, 0.03  # and a little less where a part is hidden
TURN = 0.16  # things stand upright within 0.1 rad


@dataclass(frozen=True)
class Seen:
    """One thing as read. Centre and radius in short sides, `angle` in radians, box x0, y0, x1, y1 in 0..1."""

    shape: str
    colour: str
    size: str
    x: float
    y: float
    radius: float
    angle: float
    box: tuple[float, float, float, float]
    match: float  # overlap of the piece with its best template, 0..1
    matches: Mapping[str, float] = field(default_factory=dict, compare=False, repr=False)  # and with the others

    @property
    def words(self) -> str:
        """`large red circle`; medium is not said."""
        return " ".join(w for w in (self.size if self.size != "medium" else "", self.colour, self.shape) if w)

    def relations_to(self, other: Seen) -> frozenset[str]:
        """The words that hold between this thing and another: `inside` alone, or at most one direction."""
        dx, dy = other.x - self.x, other.y - self.y
        if math.hypot(dx, dy) < 0.5 * max(self.radius, other.radius):
            return frozenset({"inside"} if self.radius < 0.75 * other.radius else ())
        if abs(dx) > 1.2 * abs(dy):
            return frozenset({"left of" if dx > 0 else "right of"})
        if abs(dy) > 1.2 * abs(dx):
            return frozenset({"above" if dy > 0 else "below"})
        return frozenset()


@dataclass(frozen=True, eq=False)
class Part:
    """The coverage of one thing, in a window of the work image.

    Attributes:
        alpha: [H, W] coverage in 0..1.
        weight: [H, W] zero where something hides the thing; None where nothing does.
        colour: its name, or "unknown".
        corner: left and top of the window, in pixels.
        size: width and height of the work image, in pixels.
    """

    alpha: Array
    weight: Array | None
    colour: str
    corner: tuple[int, int]
    size: tuple[int, int]

    @property
    def short(self) -> int:
        """The short side of the work image."""
        return min(self.size)


def fit(part: Part, shapes: Sequence[str], around: float = 0.0, turn: float = TURN) -> Seen:
    """The shape whose template covers a part best, by inverse compositional alignment (Baker and Matthews, 2004).

    Args:
        part: the coverage.
        shapes: the templates to try.
        around: the angle where the search begins.
        turn: how far from it the angle may be.
    """
    alpha, weight = part.alpha, part.weight
    templates = templates_of(tuple(shapes))
    poses = _first_poses(alpha, weight, templates, around, turn)
    total = float((alpha if weight is None else alpha * weight).sum())
    left = list(range(len(templates.names)))
    matches: dict[int, float] = {}
    for keep, rounds in ((4, 2), (2, 3), (2, 3)):
        for s in left:
            for _ in range(rounds):
                align(alpha, weight, templates, poses, s)
            matches[s] = overlap(alpha, weight, total, templates, poses, s)
        left = sorted(left, key=lambda s: -matches[s])[:keep]
    best = left[0]
    least = least_match(templates.names[best], float(poses.radius_S[best])) - HIDDEN * (weight is not None)
    shape = templates.names[best] if matches[best] >= least else UNKNOWN
    return named(part, shape, templates, poses, best, matches, bounds(alpha > 0.5))


def named(
    part: Part,
    shape: str,
    templates: Templates,
    poses: Poses,
    best: int,
    matches: Mapping[int, float],
    box_px: Sequence[float],
) -> Seen:
    """A part as a thing of a shape, or of an unknown one, where the template that covers it best lies.

    Args:
        part: what was fitted.
        shape: what it is called.
        templates: all that were tried.
        poses: where they lie.
        best: the template that covers it best.
        matches: of the templates.
        box_px: the thing's bounds in pixels of the window.
    """
    radius = float(poses.radius_S[best]) / part.short
    (left_px, top_px), (width, height) = part.corner, part.size
    x0, y0, x1, y1 = box_px
    return Seen(
        shape,
        part.colour,
        size_of(radius),
        (float(poses.centre_S2[best, 0]) + left_px) / part.short,
        (float(poses.centre_S2[best, 1]) + top_px) / part.short,
        radius,
        float(poses.angle_S[best]),
        ((x0 + left_px) / width, (y0 + top_px) / height, (x1 + left_px) / width, (y1 + top_px) / height),
        matches[best],
        {templates.names[s]: match for s, match in matches.items()},
    )


def least_match(shape: str, radius_px: float, off_px: float = OUTLINE_PX) -> float:
    """The overlap from which a piece is of a shape, if its outline may be off by `off_px` all along."""
    templates = templates_of((shape,))
    return LEAST_MATCH - off_px * float(templates.outline_S[0] / templates.area_S[0] / radius_px)


def size_of(radius: float) -> str:
    """The size whose radius is closest."""
    sizes = list(RADII)
    borders = [(RADII[a] + RADII[b]) / 2 for a, b in itertools.pairwise(sizes)]
    return sizes[sum(radius > border for border in borders)]


def _first_poses(alpha: Array, weight: Array | None, templates: Templates, around: float, turn: float) -> Poses:
    """By area and centroid; by the box where a part is hidden, for hiding moves the centroid but seldom the ends."""
    count = len(templates.names)
    if weight is None:
        total = float(alpha.sum())
        rows, columns = alpha.sum(1), alpha.sum(0)
        y = float((rows * (np.arange(len(rows)) + 0.5)).sum()) / total
        x = float((columns * (np.arange(len(columns)) + 0.5)).sum()) / total
        radius = np.sqrt(total / templates.area_S)
        cos, sin = math.cos(around), math.sin(around)
        centre = floats((x, y)) - radius[:, None] * (templates.middle_S2 @ floats(((cos, sin), (-sin, cos))))
    else:
        x0, y0, x1, y1 = bounds(alpha > 0.5)
        box = templates.box_S4
        radius = (x1 - x0 + y1 - y0) / (box[:, 2] - box[:, 0] + box[:, 3] - box[:, 1])
        centre = floats(((x0 + x1) / 2, (y0 + y1) / 2)) - radius[:, None] * (box[:, :2] + box[:, 2:]) / 2
    angles = np.full(count, around, np.float32)
    return Poses(centre.astype(np.float32), radius.astype(np.float32), angles, (around - turn, around + turn))
