"""How loud a finished dubbing is and how open its mouth seems, moment by moment: enough to draw the two together.

Both are seen at the same few moments, however long a clip is. Nothing here loads torch.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pipelines.files.media import Frames
from pipelines.voice.papercut import PapercutLocator
from pipelines.voice.references import openness
from pipelines.voice.region import Box
from pipelines.voice.shots import Shots

MOMENTS = 160  # at most; a drawing has no room for more
LEVELS = 255.0


def moments(frames: int) -> list[int]:
    """The frames in the middle of at most MOMENTS spans of one length."""
    count = min(frames, MOMENTS)
    return [(2 * moment + 1) * frames // (2 * count) for moment in range(count)]


def loudness(wave: NDArray[np.float32], count: int) -> list[float]:
    """The root mean square of each of `count` equal spans of a sound [T] in -1 to 1."""
    edges = np.linspace(0, len(wave), count + 1).astype(int)
    spans = [wave[low : max(high, low + 1)] for low, high in pairwise(edges.tolist())]
    return [
        round(float(np.sqrt(np.mean(np.square(span, dtype=np.float64)))), 4) if len(span) else 0.0 for span in spans
    ]


def openings(frames: Frames, shots: Shots) -> list[float | None]:
    """How open the mouth seems at each of `moments`, in 0..1 of what `openness` can say; None where no face is.

    Where nobody found a face, and a box is all there is, nothing is said: what is in a box need not be a mouth.
    """
    numbers = moments(len(frames))
    if shots.footage.found_by == "given":
        return [None] * len(numbers)
    locator = PapercutLocator()
    last: Box | None = None
    found: list[float | None] = []
    for number in numbers:
        frame = frames[number]
        face: Box | None
        if shots.footage.found_by:
            face = shots.footage.faces[shots.timeline.source(number)]
        else:  # a portrait's head moves, and nobody looked for it before
            face = last = next(iter(locator.find(frame, last)), None)
        found.append(None if face is None else round(openness(frame, face) / LEVELS, 4))
    return found
