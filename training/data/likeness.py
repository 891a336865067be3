"""Which pictures look the same: a difference hash (dHash) of brightness, and a small picture against false alarms.

A difference hash tells how brightness goes from left to right, so a red ring and a green one are alike to it; pictures
count as the same only where their thumbnails are too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.Image import Image

SIDE = 8
MOST_BITS = 3  # of 64 in which two hashes may differ
BANDS = 4  # hashes that differ in 3 bits agree in one of 4 bands
NEAR = 5.0  # mean difference of thumbnails, of 255


@dataclass(frozen=True, eq=False)
class Likeness:
    """How a picture looks: 64 bits, and [8, 8, 3] colours over grey."""

    bits: int
    thumb: NDArray[np.float32]


def likeness(picture: Image) -> Likeness:
    """How an RGBA picture looks."""
    from PIL import Image as images

    flat = images.new("RGBA", picture.size, (128, 128, 128, 255))
    flat.alpha_composite(picture)
    rows = np.asarray(flat.convert("L").resize((SIDE + 1, SIDE), images.Resampling.BOX), np.int16)
    bits = (rows[:, 1:] > rows[:, :-1]).flatten()
    thumb = np.asarray(flat.convert("RGB").resize((SIDE, SIDE), images.Resampling.BOX), np.float32)
    return Likeness(int(np.packbits(bits).tobytes().hex(), 16), thumb)


def alike(one: Likeness, other: Likeness) -> bool:
    """Whether two pictures look the same."""
    if (one.bits ^ other.bits).bit_count() > MOST_BITS:
        return False
    return float(np.abs(one.thumb - other.thumb).mean()) <= NEAR


def pairs(seen: Sequence[Likeness]) -> Iterator[tuple[int, int]]:
    """For each picture that looks like an earlier one, (its number, the earlier one's)."""
    bands: dict[tuple[int, int], list[int]] = {}
    for number, one in enumerate(seen):
        keys = [(band, one.bits >> (band * 16) & 0xFFFF) for band in range(BANDS)]
        candidates = sorted({other for key in keys for other in bands.get(key, ())})
        first = next((other for other in candidates if alike(one, seen[other])), None)
        if first is not None:
            yield number, first
            continue  # the earlier one stands for both
        for key in keys:
            bands.setdefault(key, []).append(number)
