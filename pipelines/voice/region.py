"""Where the mouth of a face is, in pixels and in tokens, and how what is made there meets what is kept.

Boxes are x0, y0, x1, y1 in pixels of the source, rectangles y0, x0, y1, x1 in tokens, both half-open. Nothing here
knows a job or loads torch; training cuts its mouths with the same functions.

Shape letters: H and W pixels, h and w tokens.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Box = tuple[float, float, float, float]
Cut = tuple[int, int, int, int]  # a box of whole pixels
Rectangle = tuple[int, int, int, int]

# The part of a face's box in which a mouth moves, from the cheeks to the chin. A Papercut head reaches from -0.22 to
# 0.22 and from -0.28 to 0.28, and its mouth changes pixels within -0.165 to 0.165 and 0.062 to 0.268.
MOUTH: Box = (0.125, 0.6107, 0.875, 0.9786)
FEATHER = 6  # pixels inside the region over which what is made takes over from what is kept


def mouth_of(face: Box) -> Box:
    """The box of the mouth in the box of a face."""
    x0, y0, x1, y1 = face
    wide, tall = x1 - x0, y1 - y0
    return x0 + MOUTH[0] * wide, y0 + MOUTH[1] * tall, x0 + MOUTH[2] * wide, y0 + MOUTH[3] * tall


def cuts_of(faces: Sequence[Box | None], width: int, height: int) -> list[Cut | None]:
    """The mouth in each frame, all of one size, so that one mouth can be moved to the place of another.

    Args:
        faces: a box for each frame; None where there is no face.
        width: of the frames, in pixels.
        height: of them.
    """
    mouths = [None if face is None else mouth_of(face) for face in faces]
    there = [mouth for mouth in mouths if mouth is not None]
    wide = min(max((math.ceil(x1 - x0) for x0, _, x1, _ in there), default=1), width)
    tall = min(max((math.ceil(y1 - y0) for _, y0, _, y1 in there), default=1), height)
    found: list[Cut | None] = []
    for mouth in mouths:
        if mouth is None:
            found.append(None)
            continue
        x = _held(round((mouth[0] + mouth[2] - wide) / 2), width - wide)
        y = _held(round((mouth[1] + mouth[3] - tall) / 2), height - tall)
        found.append((x, y, x + wide, y + tall))
    return found


def view_of(cuts: Sequence[Cut | None], width: int, height: int, sides: tuple[int, int], scale: int) -> Cut | None:
    """The part of the frames that the model sees: all of them where it draws their size, else whole tokens around the
    mouths, and the faces above them as far as there is room; None where no such part holds every mouth.

    Args:
        cuts: of the mouths.
        width: of the frames, in pixels.
        height: of them.
        sides: the smallest and the largest side that the checkpoint draws.
        scale: pixels of a token.
    """
    low, high = sides
    wide, tall = (min(side, high) // scale * scale for side in (width, height))
    if min(wide, tall) < low:
        return None
    there = [cut for cut in cuts if cut is not None]
    if not there:
        return 0, 0, wide, tall
    x0, y0 = (min(cut[k] for cut in there) for k in (0, 1))
    x1, y1 = (max(cut[k] for cut in there) for k in (2, 3))
    if x1 - x0 > wide or y1 - y0 > tall:
        return None
    x = _held((x0 + x1 - wide) // 2, width - wide)
    y = _held(min((y0 + y1 - tall) // 2, y1 + (y1 - y0) // 2 - tall), height - tall)  # the face is above its mouth
    x, y = min(max(x, x1 - wide), x0), min(max(y, y1 - tall), y0)
    return x, y, x + wide, y + tall


def rectangle_of(cut: Cut, view: Cut, scale: int) -> Rectangle:
    """The tokens of a view that hold a mouth: as many for every mouth of a size, wherever it lies on their grid."""
    down, across = (view[3] - view[1]) // scale, (view[2] - view[0]) // scale
    tall = min((cut[3] - cut[1] + scale - 2) // scale + 1, down)
    wide = min((cut[2] - cut[0] + scale - 2) // scale + 1, across)
    y = _held((cut[1] - view[1]) // scale, down - tall)
    x = _held((cut[0] - view[0]) // scale, across - wide)
    return y, x, y + tall, x + wide


def mask_of(rectangle: Rectangle, height: int, width: int, scale: int) -> NDArray[np.uint8]:
    """[h * scale, w * scale] levels of a region: 0 outside, 255 inside, and a ramp of FEATHER pixels within its rim.

    Along the edge of the view there is no ramp, for nothing kept is behind it that could be met.

    Args:
        rectangle: the region.
        height: h of the view.
        width: w of the view.
        scale: pixels of a token.
    """
    y0, x0, y1, x1 = rectangle

    def ramp(low: int, high: int, most: int) -> NDArray[np.float64]:
        at = np.arange(low * scale, high * scale)
        rise = np.full(len(at), 1.0) if low == 0 else (at - low * scale + 1) / (FEATHER + 1)
        fall = np.full(len(at), 1.0) if high == most else (high * scale - at) / (FEATHER + 1)
        return np.minimum(np.minimum(rise, fall), 1.0)

    mask = np.zeros((height * scale, width * scale), np.uint8)
    levels = np.minimum(ramp(y0, y1, height)[:, None], ramp(x0, x1, width)[None])
    mask[y0 * scale : y1 * scale, x0 * scale : x1 * scale] = (255 * levels).round()
    return mask


def _held(value: int, most: int) -> int:
    return min(max(value, 0), most)
