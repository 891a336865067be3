"""How far a mouth seems to be open, cheaply, and which frames of a clip show a mouth in all its ways."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipelines.files.media import Pixels
from pipelines.voice.region import Box, mouth_of

SIDE = 24  # pixels a side to which a mouth is brought before it is measured


def openness(frame: Pixels, face: Box) -> float:
    """A number that grows with the opening of a mouth: how far the pixels of the mouth's box are, on average, from
    their median colour, which is that of the skin. Lips alone differ little, and what is behind them much.

    It is only good to order the frames of one person by, and no more is asked of it.
    """
    import cv2

    height, width = frame.shape[:2]
    x0, y0, x1, y1 = mouth_of(face)
    rows = slice(max(round(y0), 0), max(min(round(y1), height), 1))
    columns = slice(max(round(x0), 0), max(min(round(x1), width), 1))
    part = frame[rows, columns]
    if not part.size:
        return 0.0
    small = cv2.resize(np.ascontiguousarray(part), (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float64)
    return float(np.abs(small - np.median(small, axis=(0, 1))).mean())


def choose(open_: Sequence[float | None], count: int) -> list[int]:
    """Numbers of at most `count` frames, in order, chosen over the whole clip.

    The most open mouth, the most shut one, and between the two at even ranks: a warp can only show what some reference
    does. Of equal mouths the earliest is taken.

    Args:
        open_: how far the mouth of each frame is open; None where there is none.
        count: how many are wanted.
    """
    there = sorted((value, number) for number, value in enumerate(open_) if value is not None)
    if count >= len(there):
        return sorted(number for _, number in there)
    if count == 1:
        return [there[-1][1]]
    return sorted({there[round(rank * (len(there) - 1) / (count - 1))][1] for rank in range(count)})
