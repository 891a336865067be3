"""Buckets: the sizes that pictures are cut to, so that a batch has one shape.

A bucket's sides are whole tokens, its area is near the chosen one, and no picture loses more than `max_crop`.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from .config import TOKEN, DataConfig
from .example import Box, Edges
from .findings import Fault

AREA = 1.25  # a bucket has at most so many times the chosen area, or that much less
LEAST = 2  # tokens a side


@dataclass(frozen=True, order=True)
class Bucket:
    """A shape of samples: tokens down and across, and frames."""

    h: int
    w: int
    frames: int = 1

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.w * TOKEN, self.h * TOKEN

    @property
    def tokens(self) -> int:
        """Tokens of a sample."""
        return self.h * self.w * self.frames

    def __str__(self) -> str:
        width, height = self.size
        return f"{width}x{height}" + (f", {self.frames} frames" if self.frames > 1 else "")


@lru_cache(maxsize=64)
def grids(resolution: int, max_ratio: float) -> tuple[tuple[int, int], ...]:
    """All (h, w) in tokens whose area is within AREA of the square of `resolution` pixels."""
    target = (resolution // TOKEN) ** 2
    longest = math.isqrt(int(target * AREA * max_ratio)) + 1
    return tuple(
        (h, w)
        for h in range(LEAST, longest + 1)
        for w in range(LEAST, longest + 1)
        if target / AREA <= h * w <= target * AREA and max(h, w) / min(h, w) <= max_ratio
    )


def cropped(width: int, height: int, h: int, w: int) -> float:
    """The share of a picture that is cut off so that it has the shape of h by w tokens."""
    across, down = width * h, height * w
    return 1 - min(across, down) / max(across, down)


def place(width: int, height: int, frames: int, config: DataConfig) -> Bucket:
    """The bucket of a picture or clip: what is cut off and what the area is away from the chosen one weigh the same.

    Args:
        width: in pixels.
        height: the same.
        frames: at the run's rate; 1 for a picture.
        config: sizes, lengths and limits.

    Raises:
        Fault: `too-small`, `crop`, `frames`.
    """
    if min(width, height) < TOKEN:
        raise Fault("too-small", f"has {width} x {height} pixels, less than one token of {TOKEN}; use a larger one")
    fitting = [count for count in config.frames if count <= frames]
    if not fitting:
        needed = f"{config.frames[0]} frames at {config.fps:g} a second"
        got = "a picture" if frames == 1 else f"{frames} frames"
        raise Fault("frames", f"expected at least {needed}, got {got}; use a longer clip, or add {frames} to frames")
    target = (config.resolution // TOKEN) ** 2
    ranked = sorted(
        (cropped(width, height, h, w) + abs(math.log(h * w / target)), h, w)
        for h, w in grids(config.resolution, config.max_ratio)
        if cropped(width, height, h, w) <= config.max_crop
    )
    if not ranked:
        least = min(cropped(width, height, h, w) for h, w in grids(config.resolution, config.max_ratio))
        raise Fault(
            "crop",
            f"has {width} x {height} pixels and would lose {least:.1%} in the nearest bucket, max_crop is "
            f"{config.max_crop:.1%}; raise max_ratio or max_crop, or crop it yourself",
        )
    return Bucket(ranked[0][1], ranked[0][2], fitting[-1])


def window(width: int, height: int, bucket: Bucket) -> Edges:
    """x0, y0, x1, y1 in 0..1: the middle of a picture that has the bucket's shape."""
    across = min(1.0, height * bucket.w / (width * bucket.h))
    down = min(1.0, width * bucket.h / (height * bucket.w))
    return (1 - across) / 2, (1 - down) / 2, (1 + across) / 2, (1 + down) / 2


def windows(name: str, width: int, height: int, bucket: Bucket, config: DataConfig) -> tuple[Edges, ...]:
    """All cuts of a picture as `window` gives one: the middle, and `config.crops - 1` more.

    Those are of the bucket's shape too, of any size that `config.max_crop` allows and anywhere in the picture; the
    same for a name every time.
    """
    middle = window(width, height, bucket)
    across, down = middle[2] - middle[0], middle[3] - middle[1]
    least = min(1.0, math.sqrt((1 - config.max_crop) / (across * down)))
    found = [middle]
    for number in range(1, config.crops):
        chance = random.Random(f"cut {number} of {name}")
        scale = chance.uniform(least, 1)
        x, y = chance.uniform(0, 1 - scale * across), chance.uniform(0, 1 - scale * down)
        found.append((x, y, x + scale * across, y + scale * down))
    return tuple(found)


def enlarged(width: int, height: int, bucket: Bucket) -> float:
    """By how much a picture is enlarged for its bucket; below 1 it is made smaller."""
    return max(bucket.size[0] / width, bucket.size[1] / height)


def boxes_in(boxes: Sequence[Box], shown: Edges) -> tuple[Box, ...]:
    """Boxes as they stand in a window of their picture, cut at its edges; what lies outside of it is left out."""
    x0, y0, x1, y1 = shown
    found = []
    for box in boxes:
        left, top, right, bottom = box.edges
        cut = (
            min(1.0, max(0.0, (left - x0) / (x1 - x0))),
            min(1.0, max(0.0, (top - y0) / (y1 - y0))),
            min(1.0, max(0.0, (right - x0) / (x1 - x0))),
            min(1.0, max(0.0, (bottom - y0) / (y1 - y0))),
        )
        if cut[0] < cut[2] and cut[1] < cut[3]:
            found.append(Box(cut, box.label, box.mask))
    return tuple(found)


def left_of(box: Box, shown: Edges) -> float:
    """The share of a box's area that a window leaves."""
    x0, y0, x1, y1 = box.edges
    across = max(0.0, min(x1, shown[2]) - max(x0, shown[0]))
    down = max(0.0, min(y1, shown[3]) - max(y0, shown[1]))
    return across * down / ((x1 - x0) * (y1 - y0))
