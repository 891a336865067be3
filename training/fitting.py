"""Fits the shapes of the Papercut world to a piece of paper: which template covers it best, where, and how turned.

A piece that no template covers is a thing of shape "unknown", so that it can not pass for what was asked.

Lengths are in short sides as in `scene.py` unless a name ends in `_px`, angles clockwise in radians. Suffixes:
S shapes, P pixels of a template, H and W of a window.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

import cv2
import numpy as np
import torch

from training.drawing import DISTANCES
from training.pixels import UNKNOWN, Array, bounds, floats
from training.scene import RADII

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
    templates = _templates(tuple(shapes))
    poses = _first_poses(alpha, weight, templates, around, turn)
    total = float((alpha if weight is None else alpha * weight).sum())
    left = list(range(len(templates.names)))
    matches: dict[int, float] = {}
    for keep, rounds in ((4, 2), (2, 3), (2, 3)):
        for s in left:
            for _ in range(rounds):
                _align(alpha, weight, templates, poses, s)
            matches[s] = _overlap(alpha, weight, total, templates, poses, s)
        left = sorted(left, key=lambda s: -matches[s])[:keep]
    best = left[0]
    least = least_match(templates.names[best], float(poses.radius_S[best])) - HIDDEN * (weight is not None)
    shape = templates.names[best] if matches[best] >= least else UNKNOWN
    radius = float(poses.radius_S[best]) / part.short
    (left_px, top_px), (width, height) = part.corner, part.size
    x0, y0, x1, y1 = bounds(alpha > 0.5)
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
    templates = _templates((shape,))
    return LEAST_MATCH - off_px * float(templates.outline_S[0] / templates.area_S[0] / radius_px)


def size_of(radius: float) -> str:
    """The size whose radius is closest."""
    sizes = list(RADII)
    borders = [(RADII[a] + RADII[b]) / 2 for a, b in itertools.pairwise(sizes)]
    return sizes[sum(radius > border for border in borders)]


# ---------------------------------------------------------------- templates


SIDE, REACH = 48, 1.4  # a template is SIDE pixels across and shows -REACH..REACH radii


@dataclass(frozen=True, eq=False)
class _Templates:
    """All shapes in one frame: unit radius, upright, centred."""

    names: tuple[str, ...]
    cover_SP: Array  # soft coverage
    solid_SP: Array  # the same with an edge half as soft
    slopes_SP4: Array  # of coverage by x, y, log radius and angle
    area_S: Array  # in squared radii
    outline_S: Array  # length of the outline, in radii
    middle_S2: Array  # centroid
    box_S4: Array  # x0, y0, x1, y1


@cache
def _templates(names: tuple[str, ...]) -> _Templates:
    axis = (torch.arange(SIDE) + 0.5) / SIDE * 2 * REACH - REACH
    y_HW, x_HW = torch.meshgrid(axis, axis, indexing="ij")
    step = 2 * REACH / SIDE
    covers, solids, slopes, areas, outlines, middles, boxes = [], [], [], [], [], [], []
    for name in names:
        distance = DISTANCES[name](x_HW, y_HW) / step
        solid = distance < 0
        # Two template pixels of softness are about one pixel of a small thing.
        cover, edge = (0.5 - distance / 2).clamp(0, 1), (0.5 - distance).clamp(0, 1)
        by_y, by_x = torch.gradient(cover, spacing=step)
        slopes.append(torch.stack([by_x, by_y, by_x * x_HW + by_y * y_HW, by_y * x_HW - by_x * y_HW], -1).flatten(0, 1))
        covers.append(cover.flatten())
        solids.append(edge.flatten())
        areas.append(float(solid.sum()) * step**2)
        outlines.append(float((distance.abs() < 1).sum()) * step / 2)
        middles.append((float(x_HW[solid].mean()), float(y_HW[solid].mean())))
        xs, ys = x_HW[solid], y_HW[solid]
        boxes.append(
            [float(v) for v in (xs.min() - step / 2, ys.min() - step / 2, xs.max() + step / 2, ys.max() + step / 2)]
        )
    return _Templates(
        names, torch.stack(covers).numpy(), torch.stack(solids).numpy(), torch.stack(slopes).numpy(),
        floats(areas), floats(outlines), floats(middles), floats(boxes),
    )  # fmt: skip


@dataclass(eq=False)
class _Poses:
    """Where each template lies, in pixels of a window."""

    centre_S2: Array
    radius_S: Array
    angle_S: Array
    turns: tuple[float, float]  # the angles that are searched

    def sample(self, image: Array, s: int) -> Array:
        """[P] the image as template `s` would see it."""
        step = 2 * REACH / SIDE * self.radius_S[s]
        a, b = step * math.cos(self.angle_S[s]), step * math.sin(self.angle_S[s])
        first = 0.5 - SIDE / 2
        x = self.centre_S2[s, 0] - 0.5 + first * (a - b)
        y = self.centre_S2[s, 1] - 0.5 + first * (b + a)
        matrix = np.array([[a, -b, x], [b, a, y]], dtype=np.float64)
        return np.asarray(
            cv2.warpAffine(image, matrix, (SIDE, SIDE), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
        ).ravel()

    def step(self, s: int, move: Array) -> None:
        """Compose with the inverse of a small move of the template: x, y in radii, log radius, angle."""
        self.radius_S[s] *= math.exp(-float(np.clip(move[2], -0.3, 0.3)))
        self.angle_S[s] = float(np.clip(self.angle_S[s] - move[3], *self.turns))
        cos, sin = math.cos(self.angle_S[s]), math.sin(self.angle_S[s])
        dx, dy = np.clip(move[:2], -0.3, 0.3) * self.radius_S[s]
        self.centre_S2[s] -= (cos * dx - sin * dy, sin * dx + cos * dy)


def _first_poses(alpha: Array, weight: Array | None, templates: _Templates, around: float, turn: float) -> _Poses:
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
    return _Poses(centre.astype(np.float32), radius.astype(np.float32), angles, (around - turn, around + turn))


def _align(alpha: Array, weight: Array | None, templates: _Templates, poses: _Poses, s: int) -> None:
    """One Gauss-Newton step of template `s`."""
    slopes = templates.slopes_SP4[s]
    error = poses.sample(alpha, s) - templates.cover_SP[s]
    weighted = slopes if weight is None else slopes * poses.sample(weight, s)[:, None]
    # A circle has no angle: the small term keeps it where it is.
    normal = weighted.T @ slopes + 1e-2 * np.eye(4, dtype=np.float32)
    poses.step(s, np.linalg.solve(normal, weighted.T @ error))


def _overlap(alpha: Array, weight: Array | None, total: float, templates: _Templates, poses: _Poses, s: int) -> float:
    """Intersection over union of the piece and template `s` where nothing hides them, the piece's far ends included."""
    seen, solid = poses.sample(alpha, s), templates.solid_SP[s]
    shown = np.ones_like(seen) if weight is None else poses.sample(weight, s)
    # Whole pixels would count an edge that falls between two of them as half a pixel off along all its length.
    mask = (2 * seen - 0.5).clip(0, 1)
    outside = total / float(2 * REACH / SIDE * poses.radius_S[s]) ** 2 - float((seen * shown).sum())
    common, either = np.minimum(mask, solid) * shown, np.maximum(mask, solid) * shown
    return float(common.sum() / (either.sum() + max(outside, 0.0)))
