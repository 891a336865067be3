"""Reads the ground of a Papercut picture: which one it is, its measured colours, and how far each pixel is off it.

Colours are 0..255; lengths are pixels of the work image (see `pixels.py`). Suffixes: H and W of a picture.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from training.drawing import BANDS, DOT_COLOUR, DOT_RADIUS, NIGHT_DOTS, SHADOW_ALPHA
from training.pixels import UNKNOWN, Array, Mask, floats
from training.scene import COLOURS

DARKEST = 0.34  # how much a shadow may darken the ground; grey is a white ground darkened by 0.45
DIM = 0.2  # the same at an outline, where a black thing's blend with the ground looks like a shadow of it
CONTRAST = (9.0, 28.0)  # half the distance to the faintest colour on a ground: white on the sea's sky .. most others


def from_surface(image: Array, paint: Array, darkest: float) -> Array:
    """[H, W] distance of each pixel to the colour `paint` under a shadow that takes 0..`darkest` of it."""
    lit = (image * paint).sum(-1) / np.maximum((paint * paint).sum(-1), 1.0)
    gap = image - paint * lit.clip(1 - darkest, 1.0)[..., None]
    return np.asarray(np.sqrt((gap * gap).sum(-1)), dtype=np.float32)


@cache
def palette() -> Array:
    """[12, 3] the colours of the world."""
    return floats(list(COLOURS.values()))


@dataclass(frozen=True, eq=False)
class Paper:
    """The ground without things: its colours and where each of them shows."""

    colours: tuple[Array, ...]
    bands: NDArray[np.intp] | None = None  # [H, W] which colour; None where there is but one
    blends: tuple[tuple[Mask, int, Array], ...] = ()  # places where colour k blends with another one

    @property
    def contrast(self) -> float:
        """Colour distance above which a pixel is no ground: half of that to the palette's faintest colour on it."""
        gaps = np.concatenate([from_surface(palette()[None], paint, DARKEST)[0] for paint in self.colours])
        return float(np.clip(gaps[gaps > CONTRAST[0]].min() / 2, *CONTRAST))

    def distances(self, image: Array) -> tuple[Array, Array]:
        """[H, W] distances of pixels to the ground under shadows as deep as DARKEST, and as DIM."""
        paint = self.colours[0] if self.bands is None else np.stack(self.colours)[self.bands]
        dark, dim = from_surface(image, paint, DARKEST), from_surface(image, paint, DIM)
        for place, k, other in self.blends:
            here = image[place]
            for share in (0.25, 0.5, 0.75, 1.0):
                for shade in (1.0, 1 - 0.75 * SHADOW_ALPHA):
                    blend = self.colours[k] * (shade * (1 - share)) + other * share
                    dark[place] = np.minimum(dark[place], from_surface(here, blend, DIM))
            dim[place] = np.minimum(dim[place], dark[place])
        return dark, dim


def read_ground(image: Array, short: int) -> tuple[str, Paper]:
    """The ground's name, and the ground without things."""
    small = cv2.resize(image, (32, 32), interpolation=cv2.INTER_AREA)
    rows = floats(np.broadcast_to(((np.arange(32) + 0.5) / 32)[:, None], (32, 32)))
    gaps: dict[str, Array] = {}
    for name, paint in zip(COLOURS, palette(), strict=True):
        gaps[name] = np.linalg.norm(small - paint, axis=-1)
    for name, bands in BANDS.items():
        # Near an edge either colour may show, for the wave is not known yet.
        parts = [np.linalg.norm(small - floats(colour), axis=-1) for colour, *_ in bands]
        gaps[name] = np.minimum.reduce(
            [np.where(_may_show(bands, k, rows), part, np.float32(1e3)) for k, part in enumerate(parts)]
        )
    name = min(gaps, key=lambda name: float(gaps[name].clip(0, 60).mean()))
    close = gaps[name] < 40
    if name in COLOURS:
        paint = np.median(small[close], axis=0) if close.any() else palette()[list(COLOURS).index(name)]
        paper = Paper((floats(paint),))
    else:
        paper = _scenery(image, small, rows, close, name, short)
    return (name if close.mean() > 0.5 else UNKNOWN), paper


def _may_show(bands: Sequence[tuple[object, float, float, float]], k: int, rows: Array) -> Mask:
    """Where band `k` may show, by height alone."""
    below = rows > bands[k][1] - bands[k][2] - 0.03 if k else np.ones_like(rows, dtype=bool)
    return below & (rows < bands[k + 1][1] + bands[k + 1][2] + 0.03) if k + 1 < len(bands) else below


def _scenery(image: Array, small: Array, rows: Array, close: Mask, name: str, short: int) -> Paper:
    """The scenery with its measured colours and waves. A painted edge never lies exactly where the fitted one does."""
    bands = BANDS[name]
    height, width = image.shape[:2]
    paints = []
    for k, (colour, *_) in enumerate(bands):
        near = close & _may_show(bands, k, rows) & (np.linalg.norm(small - floats(colour), axis=-1) < 40)
        paints.append(floats(np.median(small[near], axis=0) if near.sum() > 10 else colour))
    xs, ys = (np.arange(width) + 0.5).astype(np.float32), (np.arange(height) + 0.5).astype(np.float32)[:, None]
    which = np.zeros((height, width), np.intp)
    blends: list[tuple[Mask, int, Array]] = []
    for k in range(1, len(bands)):
        _, level, swing, waves = bands[k]
        edge = _edge_px(image, paints[k - 1], paints[k], level * height, swing * short, waves, xs, short)
        which[ys > edge] = k
        blends.append((np.abs(ys - edge) < 0.025 * short, k - 1, paints[k]))
    if name == "night":
        dots = np.zeros((height, width), np.uint8)
        for fx, fy in NIGHT_DOTS:
            cv2.circle(dots, (int(fx * width), int(fy * height)), round(DOT_RADIUS * short) + 3, 1, -1)
        blends.append((dots > 0, 0, floats(DOT_COLOUR)))
    return Paper(tuple(paints), which, tuple(blends))


def _edge_px(
    image: Array, upper: Array, lower: Array, level_px: float, swing_px: float, waves: float, xs: Array, short: int
) -> Array:
    """[W] height of a band's wavy edge: the phase and the offset that fit the columns where no thing stands."""
    reach = swing_px + 0.06 * short
    top, bottom = max(int(level_px - reach), 0), min(int(level_px + reach) + 1, image.shape[0])
    strip = image[top:bottom]
    to_upper = from_surface(strip, upper, DARKEST)
    to_lower = np.linalg.norm(strip - lower, axis=-1)
    free = (np.minimum(to_upper, to_lower) < 25).mean(0) > 0.8
    edges = top + (to_upper <= to_lower).sum(0)
    phases = np.linspace(0, 2 * math.pi, 96, endpoint=False)[:, None]
    curves = level_px + swing_px * np.sin(2 * math.pi * waves * xs[None] / short + phases)
    if free.sum() < 8:
        return np.asarray(np.full_like(xs, level_px))
    gaps = (edges - curves)[:, free]
    offset = np.median(gaps, axis=1, keepdims=True).clip(-0.01 * short, 0.01 * short)
    best = int(np.abs(gaps - offset).clip(0, 4).mean(1).argmin())
    return np.asarray(curves[best] + offset[best], dtype=np.float32)
