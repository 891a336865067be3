"""Templates of the Papercut shapes, where they lie in a window, and how one moves until it covers a piece of paper.

What a piece is then called is `fitting.py`'s.

Lengths are in radii of a template unless a name ends in `_px`, angles clockwise in radians. Suffixes: S shapes,
P pixels of a template, H and W of a window.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
import torch

from training.drawing import DISTANCES
from training.pixels import Array, floats

SIDE, REACH = 48, 1.4  # a template is SIDE pixels across and shows -REACH..REACH radii


@dataclass(frozen=True, eq=False)
class Templates:
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
def templates_of(names: tuple[str, ...]) -> Templates:
    """The templates of some shapes, in their order."""
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
    return Templates(
        names, torch.stack(covers).numpy(), torch.stack(solids).numpy(), torch.stack(slopes).numpy(),
        floats(areas), floats(outlines), floats(middles), floats(boxes),
    )  # fmt: skip


@dataclass(eq=False)
class Poses:
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


def align(alpha: Array, weight: Array | None, templates: Templates, poses: Poses, s: int) -> None:
    """One Gauss-Newton step of template `s`."""
    slopes = templates.slopes_SP4[s]
    error = poses.sample(alpha, s) - templates.cover_SP[s]
    weighted = slopes if weight is None else slopes * poses.sample(weight, s)[:, None]
    # A circle has no angle: the small term keeps it where it is.
    normal = weighted.T @ slopes + 1e-2 * np.eye(4, dtype=np.float32)
    poses.step(s, np.linalg.solve(normal, weighted.T @ error))


def overlap(alpha: Array, weight: Array | None, total: float, templates: Templates, poses: Poses, s: int) -> float:
    """Intersection over union of the piece and template `s` where nothing hides them, the piece's far ends included."""
    seen, solid = poses.sample(alpha, s), templates.solid_SP[s]
    shown = np.ones_like(seen) if weight is None else poses.sample(weight, s)
    # Whole pixels would count an edge that falls between two of them as half a pixel off along all its length.
    mask = (2 * seen - 0.5).clip(0, 1)
    outside = total / float(2 * REACH / SIDE * poses.radius_S[s]) ** 2 - float((seen * shown).sum())
    common, either = np.minimum(mask, solid) * shown, np.maximum(mask, solid) * shown
    return float(common.sum() / (either.sum() + max(outside, 0.0)))
