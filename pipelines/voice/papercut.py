"""Finds Papercut faces by their eyes: white, iris and pupil side by side on a skin of one colour, open or shut.

Eyes as the drawn world has them are compared with the picture at every place and at several sizes (normalised
correlation), for each colour of which there is enough to be a skin. Lengths "of the head" are those in which a face is
0.44 wide and 0.56 tall; a usual head is 1.15 short sides of the picture.

Shape letters: H and W pixels, h and w pixels of a template.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pipelines.files.media import Pixels
from pipelines.voice.region import Box

Array = NDArray[np.float32]
Colour = tuple[int, int, int]

SKINS: tuple[Colour, ...] = (
    (214, 48, 49), (240, 138, 36), (246, 207, 62), (58, 157, 84), (48, 92, 204), (128, 72, 176), (246, 246, 242),
    (32, 32, 38), (238, 130, 172), (128, 84, 52), (36, 157, 159), (134, 138, 146),
)  # fmt: skip
SCLERA, IRIS, PUPIL = (250, 250, 248), (78, 111, 113), (26, 24, 30)  # of irises the mean
EYE_X, EYE_Y, EYE = 0.092, -0.03, (0.048, 0.051)  # of the head: places and half sizes of the eyes
HEAD = (0.22, 0.28)  # of the head: half its width and height
SEEN: Box = (-0.15, -0.085, 0.15, 0.06)  # of the head: what a template shows; the nose tells up from down
BARE = ((0.0, -0.05), (0.0, 0.0), (-0.065, 0.05), (0.065, 0.05))  # of the head: where nothing but skin shows
USUAL = 1.15  # a head in short sides

DENSITY = 64  # pixels of a template in a head's unit
FINER = 4  # samples a side of each of its pixels
SIZES = (1.0, 1.05, 0.95, 1.1, 0.9, 0.82, 0.74, 0.67, 0.6, 0.54, 0.48, 0.43, 0.38)  # of heads, in usual ones
STEP = 0.05  # by how much a head that was just seen may have grown, and is looked for
ENOUGH = 0.012  # of the pixels: the share from which a colour may be a skin
NEAR = 48.0  # how far a pixel may be from its colour; the closest two colours are 74 apart
LIKENESS = 0.6  # correlation from which eyes are eyes
STEADY = 0.08  # by how much more another size has to be alike: nobody grows from frame to frame, nor in a blink
LEAST = 24  # pixels of the short side below which nothing can be told
ROOM = 0.25  # of a face's size: how far around its last place it is looked for first


class PapercutLocator:
    """Faces of the drawn world."""

    name = "papercut"

    def find(self, frame: Pixels, near: Box | None = None) -> list[Box]:
        """Boxes of the faces in a frame [H, W, 3], in pixels, the largest first.

        Args:
            frame: the picture.
            near: where the face was a moment ago: where it is still about there, nothing else is looked for.
        """
        if min(frame.shape[:2]) < LEAST:
            return []
        skins = _skins(frame)
        if near is not None and (found := _around(frame, near, skins)):
            return found
        unit = USUAL * min(frame.shape[:2])
        return _apart([face for size in SIZES for face in _faces(frame, unit * size, skins, (0, 0))])


def _around(frame: Pixels, near: Box, skins: tuple[Colour, ...]) -> list[Box]:
    """The face that was at `near`, or nothing."""
    height, width = frame.shape[:2]
    unit = (near[2] - near[0]) / (2 * HEAD[0])
    by = ROOM * (near[2] - near[0])
    x0, y0 = max(int(near[0] - by), 0), max(int(near[1] - by), 0)
    x1, y1 = min(int(near[2] + by) + 1, width), min(int(near[3] + by) + 1, height)
    part = frame[y0:y1, x0:x1]
    found = [
        (likeness + (STEADY if size == 1 else 0.0), box)
        for size in (1.0, 1 - STEP, 1 + STEP)
        for likeness, box in _faces(part, unit * size, skins, (x0, y0))
    ]
    return [box for _, box in sorted(found, reverse=True)[:1]]


def _faces(frame: Pixels, unit: float, skins: tuple[Colour, ...], at: tuple[int, int]) -> list[tuple[float, Box]]:
    """Likeness and box of each face of one size: `unit` pixels to a head's unit; boxes are moved by `at`."""
    import cv2

    factor = DENSITY / unit
    height, width = (round(side * factor) for side in frame.shape[:2])
    h, w = _template(SKINS[0], True).shape[:2]
    if height < h or width < w:
        return []
    smooth = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    small = cv2.resize(frame, (width, height), interpolation=smooth).astype(np.float32)
    scores = np.full((height - h + 1, width - w + 1), -1.0, np.float32)
    whose = np.zeros(scores.shape, np.int64)
    for number, skin in enumerate(skins):
        for open_ in (True, False):
            alike = cv2.matchTemplate(small, _template(skin, open_), cv2.TM_CCOEFF_NORMED)
            alike = np.nan_to_num(alike, posinf=0, neginf=0)  # where nothing at all is to be seen
            whose = np.where(alike > scores, number, whose)
            scores = np.maximum(scores, alike)
    found: list[tuple[float, Box]] = []
    while True:
        _, likeness, _, (left, top) = cv2.minMaxLoc(scores)
        if likeness < LIKENESS:
            return found
        skin = skins[whose[top, left]]
        # The middle of the head, and from there the face.
        x = (left + _peak(scores[top], left) - SEEN[0] * DENSITY) / factor
        y = (top + _peak(scores[:, left], top) - SEEN[1] * DENSITY) / factor
        scores[max(top - h, 0) : top + h, max(left - w // 2, 0) : left + w // 2] = -1
        if not _is_bare(small, skin, x * factor, y * factor):
            continue
        box = (x - HEAD[0] * unit, y - HEAD[1] * unit, x + HEAD[0] * unit, y + HEAD[1] * unit)
        found.append((likeness, (box[0] + at[0], box[1] + at[1], box[2] + at[0], box[3] + at[1])))


def _is_bare(small: Array, skin: Colour, x: float, y: float) -> bool:
    """Whether there is skin between the eyes and on the cheeks of a head with its middle at x and y."""
    height, width = small.shape[:2]
    seen = 0
    for px, py in BARE:
        column, row = int(x + px * DENSITY), int(y + py * DENSITY)
        if 0 <= column < width and 0 <= row < height:
            seen += int(np.linalg.norm(small[row, column] - skin) < NEAR)
    return seen >= len(BARE) - 1


def _peak(line: Array, at: int) -> float:
    """How far from `at` the top of the parabola is that goes through the value there and its neighbours."""
    if not 0 < at < len(line) - 1:
        return 0.0
    low, middle, high = (float(value) for value in line[at - 1 : at + 2])
    bend = low - 2 * middle + high
    return 0.0 if bend >= 0 else max(-0.5, min(0.5, 0.5 * (low - high) / bend))


def _apart(found: list[tuple[float, Box]]) -> list[Box]:
    """The likeliest of faces that lie on each other, by size."""
    kept: list[Box] = []
    for _, box in sorted(found, reverse=True):
        if all(_shared(box, other) < 0.3 for other in kept):
            kept.append(box)
    return sorted(kept, key=lambda box: box[0] - box[2])


def _shared(one: Box, other: Box) -> float:
    """The part that two boxes have in common, as a share of the smaller one."""
    smaller = min((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return _common(one, other) / smaller


def overlap(one: Box, other: Box) -> float:
    """The part that two boxes have in common, as a share of what they cover together."""
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    common = _common(one, other)
    return common / (areas - common)


def _common(one: Box, other: Box) -> float:
    wide = min(one[2], other[2]) - max(one[0], other[0])
    tall = min(one[3], other[3]) - max(one[1], other[1])
    return max(wide, 0.0) * max(tall, 0.0)


def _skins(frame: Pixels) -> tuple[Colour, ...]:
    """Colours of which there is enough to be a skin."""
    import cv2

    small = cv2.resize(frame, (48, 48), interpolation=cv2.INTER_AREA).astype(np.float32)
    off = np.linalg.norm(small[:, :, None] - np.array(SKINS, np.float32), axis=-1)
    nearest = np.where(off.min(-1) < NEAR, off.argmin(-1), -1)
    return tuple(skin for number, skin in enumerate(SKINS) if (nearest == number).mean() > ENOUGH)


@lru_cache(maxsize=64)
def _template(skin: Colour, open_: bool) -> Array:
    """[h, w, 3] two eyes and a nose on a skin, drawn as the world draws them, without their shadows."""
    dense = DENSITY * FINER
    w, h = (round((SEEN[k + 2] - SEEN[k]) * DENSITY) * FINER for k in (0, 1))
    ys, xs = np.meshgrid((np.arange(h) + 0.5) / dense + SEEN[1], (np.arange(w) + 0.5) / dense + SEEN[0], indexing="ij")
    picture = np.empty((h, w, 3), np.float32)
    picture[:] = skin
    shade = _shade(skin)
    picture[(xs / 0.021) ** 2 + ((ys - 0.04) / 0.016) ** 2 < 1] = shade
    x, y = np.abs(xs) - EYE_X, ys - EYE_Y
    socket = (x / EYE[0]) ** 2 + (y / EYE[1]) ** 2 < 1
    if open_:
        picture[socket] = SCLERA
        picture[socket & (x**2 + (y - 0.004) ** 2 < 0.031**2)] = IRIS
        picture[socket & (x**2 + (y - 0.004) ** 2 < 0.0185**2)] = PUPIL
        edge = 6 * x**2 - 0.85 * EYE[1] - 0.012
    else:
        picture[socket] = shade
        edge = 0.7 * EYE[1] - 6 * x**2
    picture[socket & (np.abs(y - edge) < 0.006)] = PUPIL
    return picture.reshape(h // FINER, FINER, w // FINER, FINER, 3).mean((1, 3)).astype(np.float32)


def _shade(skin: Colour) -> NDArray[np.float32]:
    """The paper of lids and nose: a darker one, or a lighter one where the skin is very dark."""
    towards = (255, 255, 255) if sum(skin) < 180 else (40, 16, 40)
    return 0.8 * np.array(skin, np.float32) + 0.2 * np.array(towards, np.float32)
