"""Reads portraits back from their pixels alone: who it is, where the face is, how the mouth is held, and blinks.

The eyes say where a head is (`eyes.py`). Seen from there, every pixel around the mouth is a mixture of skin, lips and
what is behind them, and their sums say how tall the opening is. A blur mixes pixels and leaves sums as they are.
What does not look like a portrait is "unknown", and NaN in numbers.

Colours are 0..255. Lengths are in short sides, or of the head (see `portrait.py`). Suffixes: F frames, h and w pixels
of a patch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from training.drawing import render
from training.eyes import DENSITY, find_head, grid_of, moment, patch_of
from training.face import NARROW, TALL, THICK, THIN, WIDE, draw, papers
from training.ground import palette
from training.pixels import UNKNOWN, Array, Pixels, floats, to_pixels
from training.portrait import HEAD, MOUTHS, SIZE, Box, Portrait, Stand
from training.scene import COLOURS, SCENERY, Scene
from training.sights import ENOUGH, agreed

COLOUR_REACH = 48.0  # the closest two palette colours are 74 apart
LIPS_BOX: Box = (-0.15, 0.068, 0.15, 0.25)
CROWN_BOX: Box = (-0.09, -0.27, 0.09, -0.215)
SKIN_BOX: Box = (-0.06, -0.005, 0.06, 0.09)
EDGES, SHOULDERS = 0.11, 0.3  # beside the hair, and above this height of the head, nothing but ground shows
SHUT = 0.1  # an opening below which a mouth counts as shut
GROUND_SIDE = 48  # pixels of the short side in which a ground is told


@dataclass(frozen=True, eq=False)
class PortraitReading:
    """All that the frames of a portrait show.

    Attributes:
        skin: the name that nearly all frames give, or "unknown".
        hair: the same of the hair.
        ground: the same of the ground.
        skins: [F] names.
        hairs: [F] names.
        faces: [F, 4] boxes x0, y0, x1, y1 in 0..1, as `Portrait.face_box` gives them; NaN where no face is.
        opening: [F] of the mouth, 0 shut and 1 wide open; NaN where no mouth is.
        width: [F] of the mouth, 0..1; NaN where no mouth is.
        eyes: [F] 0 shut and 1 open; NaN where no face is.
    """

    skin: str
    hair: str
    ground: str
    skins: tuple[str, ...]
    hairs: tuple[str, ...]
    faces: Array
    opening: Array
    width: Array
    eyes: Array

    @property
    def found(self) -> NDArray[np.bool_]:
        """[F] whether there is a face."""
        return ~np.isnan(self.eyes)

    @property
    def blinks(self) -> NDArray[np.bool_]:
        """[F] whether the eyes are shut."""
        return np.nan_to_num(self.eyes, nan=1.0) < 0.5

    @property
    def shut(self) -> NDArray[np.bool_]:
        """[F] whether the mouth is shut; a mouth that was not read is not."""
        return np.nan_to_num(self.opening, nan=1.0) < SHUT

    @property
    def words(self) -> str:
        """`yellow face with black hair | meadow`."""
        return f"{self.skin} face with {self.hair} hair | {self.ground}"


def read_portrait(frames: Pixels) -> PortraitReading:
    """Read the frames of one person, uint8 [F, H, W, 3] with at least one frame.

    Raises:
        ValueError: frames of another kind.
    """
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or not len(frames):
        raise ValueError(f"expected frames as uint8 [F, H, W, 3], got {frames.dtype} {list(frames.shape)}")
    looks = [_look(_sized(frame)) for frame in frames]
    found = [look.stand for look in looks if look.stand is not None]
    # A person does not grow: what single frames say of the scale is noise around one number.
    scale = float(np.median([stand.scale for stand in found])) if found else SIZE
    numbers = [_numbers(look, scale) for look in looks]
    faces, opening, width, eyes = (floats([number[k] for number in numbers]) for k in range(4))
    skins, hairs = tuple(look.skin for look in looks), tuple(look.hair for look in looks)
    return PortraitReading(
        agreed(skins),
        agreed(hairs),
        agreed(_ground(look.image) for look in looks),
        skins,
        hairs,
        faces,
        opening,
        width,
        eyes,
    )


# ---------------------------------------------------------------- one frame


@dataclass(frozen=True, eq=False)
class _Look:
    """One frame: its pixels [H, W, 3], who it shows, and where the head is and how far its eyes are open."""

    image: Array
    skin: str = UNKNOWN
    hair: str = UNKNOWN
    stand: Stand | None = None
    eyes: float = float("nan")


def _sized(frame: Pixels) -> Array:
    """A frame that is no larger than patches are."""
    short = min(frame.shape[:2])
    if short <= DENSITY:
        return frame.astype(np.float32)
    size = [round(side * DENSITY / short) for side in frame.shape[1::-1]]
    return floats(cv2.resize(frame, size, interpolation=cv2.INTER_AREA))


def _look(image: Array) -> _Look:
    height, width = image.shape[:2]
    short = min(height, width)
    usual = Portrait("", "", "").home((width / short, height / short))
    # The middle of a face is skin wherever its head may be.
    skin = _named(patch_of(image, usual, SKIN_BOX))
    if skin == UNKNOWN:
        return _Look(image)
    found = find_head(image, usual, skin)
    if found is None:
        return _Look(image)
    stand, open_ = found
    skin, hair = (_named(patch_of(image, stand, box)) for box in (SKIN_BOX, CROWN_BOX))
    # Whoever has the same colour above the brows as below has no hair, and people here have.
    return _Look(image, skin, hair, stand, open_) if hair != skin else _Look(image)


def _numbers(look: _Look, scale: float) -> tuple[Sequence[float], float, float, float]:
    """Face box, opening, width, and how far the eyes are open."""
    if look.stand is None:
        return [float("nan")] * 4, float("nan"), float("nan"), float("nan")
    stand = look.stand._replace(scale=scale)
    height, width = look.image.shape[:2]
    short = min(height, width)
    x0, y0, x1, y1 = stand.around((-HEAD[0], -HEAD[1], HEAD[0], HEAD[1]))
    box = floats((x0, y0, x1, y1)) * short / (width, height, width, height)
    opening, wide = float("nan"), float("nan")
    if look.skin != UNKNOWN:
        opening, wide = _mouth(look.image, stand, look.skin)
    return box.clip(0, 1).tolist(), opening, wide, float(np.clip(look.eyes, 0, 1))


def _named(patch: Array) -> str:
    """The colour that most pixels have, which may be none of the palette."""
    gaps = np.linalg.norm(patch.reshape(-1, 1, 3) - palette(), axis=-1)
    nearest = np.where(gaps.min(1) < COLOUR_REACH, gaps.argmin(1), len(COLOURS))
    return (*COLOURS, UNKNOWN)[int(np.bincount(nearest).argmax())]


# ---------------------------------------------------------------- the mouth


def _mouth(image: Array, stand: Stand, skin: str) -> tuple[float, float]:
    """Opening and width, 0..1; NaN where no lips are."""
    paint = floats(np.median(patch_of(image, stand, SKIN_BOX).reshape(-1, 3), axis=0))
    tall, thick, wide = _measured(patch_of(image, stand, LIPS_BOX), paint, skin)
    if not THIN < 2 * thick + tall < 2 * (THICK + TALL):
        return float("nan"), float("nan")
    opening = (tall - _shadow(skin)) / (2 * TALL)
    return float(np.clip(opening, 0, 1)), float(np.clip((wide - NARROW) / (WIDE - NARROW), 0, 1))


@lru_cache(maxsize=64)
def _shadow(skin: str) -> float:
    """What a shut mouth seems to be open: its lips' shadow is a little like the inside."""
    portrait, time = Portrait(skin, "black" if skin == "white" else "white", "grey"), moment(1.0)
    frame = to_pixels(draw(portrait, [time], [MOUTHS["closed"]], DENSITY, DENSITY)[0]).astype(np.float32)
    return _measured(patch_of(frame, portrait.stand(time), LIPS_BOX), floats(COLOURS[skin]), skin)[0]


def _measured(patch: Array, paint: Array, skin: str) -> tuple[float, float, float]:
    """Of the mouth in a patch: height of the opening, thickness of the lips, half the width of the opening."""
    _, lips, inside = (floats(colour) for colour in papers(skin))
    parts = (patch - paint) @ np.linalg.pinv(np.stack([lips - paint, inside - paint]))
    ys, xs = grid_of(LIPS_BOX)
    # Beside the mouth, cheeks begin right above it, and the face ends below.
    parts = parts * ((np.abs(xs) < 0.06) | (ys > 0.092) & (ys < 0.2))[..., None]
    columns = parts.sum(0) / DENSITY
    middle = np.abs(xs[0]) < 0.012
    lip, tall = columns[middle].mean(0)
    # Lips that a blur took away had some thickness all the same.
    thick = max(lip / 2, THIN / 2)
    # A round end is half as thick as the line where it has gone on for sqrt(3) / 2 of its radius.
    bare, half = columns.sum(1) <= thick, len(columns) // 2
    wide = sum(int(np.append(side, True).argmax()) for side in (bare[half:], bare[half - 1 :: -1])) / DENSITY / 2
    return float(tall), float(thick), float(wide - 0.866 * thick)


# ---------------------------------------------------------------- the ground


def _ground(image: Array) -> str:
    """The ground's name by the left and right edges of the picture, or "unknown"."""
    scale = GROUND_SIDE / min(image.shape[:2])
    size = [max(round(side * scale), 1) for side in image.shape[1::-1]]
    small = floats(cv2.resize(image, size, interpolation=cv2.INTER_AREA))
    width, height = size
    side = round(EDGES * GROUND_SIDE)
    home = Portrait("", "", "").home((width / GROUND_SIDE, height / GROUND_SIDE))
    above = round(home.place(0, SHOULDERS)[1] * GROUND_SIDE)
    names = (*COLOURS, *SCENERY)
    gaps = []
    for name in names:
        seen = _backdrop(name, height, width)
        # The wave of a scenery is not known: a row may look like those a little above or below.
        shifts = range(-2, 3) if name in SCENERY else (0,)
        off = np.minimum.reduce([np.linalg.norm(small - np.roll(seen, shift, axis=0), axis=-1) for shift in shifts])
        gaps.append(np.concatenate([off[:above, :side], off[:above, -side:]], 1))
    best = int(np.argmin([gap.clip(0, 60).mean() for gap in gaps]))
    return names[best] if (gaps[best] < 40).mean() > 0.75 else UNKNOWN


@lru_cache(maxsize=64)
def _backdrop(name: str, height: int, width: int) -> Array:
    picture = render([Scene((), name, wave=0.25)], height, width, layered=False).picture[0]
    return to_pixels(picture).astype(np.float32)


# ---------------------------------------------------------------- sync


@dataclass(frozen=True)
class Sync:
    """How well two tracks go together.

    Attributes:
        correlation: of the two as they are, -1..1.
        lag: frames by which the first has to be moved back for the best correlation; above zero it comes late.
        best: the correlation there.
    """

    correlation: float
    lag: int
    best: float


STILL, SAME = 0.02, 0.1  # a standard deviation below which a track is constant, and how alike two constants are


def sync(one: ArrayLike, other: ArrayLike, reach: int = 5) -> Sync:
    """Score a track [F] against another [F], both in 0..1, with lags of up to `reach` frames.

    Frames that are NaN in either are left out; where that leaves less than four in five, or less than three, nothing
    goes together and all is 0. So it is with one track that is constant and one that is not, for there is nothing to
    correlate; two constants correlate by 1 if they are the same, as the shut mouth of a silence is, and by 0 if not.

    Raises:
        ValueError: tracks of different lengths.
    """
    first, second = np.asarray(one, dtype=np.float64), np.asarray(other, dtype=np.float64)
    if first.shape != second.shape or first.ndim != 1:
        raise ValueError(f"expected two tracks of one length, got shapes {list(first.shape)} and {list(second.shape)}")
    count = len(first)
    known = ~np.isnan(first) & ~np.isnan(second)
    if known.sum() < max(3, ENOUGH * count):
        return Sync(0.0, 0, 0.0)
    still = [float(track[known].std()) < STILL for track in (first, second)]
    if any(still):
        alike = all(still) and abs(float(first[known].mean() - second[known].mean())) < SAME
        return Sync(float(alike), 0, float(alike))
    # Small lags first: among equals the smallest is meant.
    lags = sorted(range(-min(reach, count // 2), min(reach, count // 2) + 1), key=abs)
    scores = [
        _correlation(first[max(lag, 0) : count + min(lag, 0)], second[max(-lag, 0) : count - max(lag, 0)])
        for lag in lags
    ]
    best = int(np.argmax(scores))
    return Sync(scores[0], lags[best], scores[best])


def _correlation(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    known = ~np.isnan(one) & ~np.isnan(other)
    first, second = one[known], other[known]
    if len(first) < 3 or first.std() < STILL or second.std() < STILL:
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])
