"""Reads clips and stories back from their pixels alone: what each thing is, how it moves, and where scenes change.

`read_clip` reads every frame as `parser.py` does, follows things from frame to frame and asks all frames together what
each one is (`sights.py`); `moves.py` names its motion. What frames do not agree on is "unknown".

Lengths are in short sides, angles clockwise in radians. Suffixes: F frames, H and W pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from torch import Tensor

from training.fitting import Part, Seen, fit, size_of
from training.motion import ROUND
from training.moves import Path, read_motion
from training.parser import survey
from training.pixels import UNKNOWN, Array, Pixels, floats, to_pixels
from training.scene import SHAPES
from training.sights import ENOUGH, Sights, agreed

REACH = 0.3  # how far a thing goes between two frames
OTHER_COLOUR = 0.15  # and how much further another thing may be that is taken for it before one of another colour
LOST = 2  # frames for which a thing may be out of sight
CHANGED, SHARE = 36.0, 0.25  # a cut changes this share of the picture by more than this; motion does not
JUMP, SUDDEN = 0.15, 3.0  # a cut moves all things this far, and this much further than just before and after


@dataclass(frozen=True)
class Track:
    """One thing through the frames `first` to `last` of a clip; `radius` is its median."""

    shape: str
    colour: str
    size: str
    motion: str
    first: int
    last: int
    radius: float

    @property
    def words(self) -> str:
        """`small red star moves right`; medium is not said."""
        size = self.size if self.size != "medium" else ""
        return " ".join(w for w in (size, self.colour, self.shape, self.motion) if w)


@dataclass(frozen=True)
class ClipReading:
    """All that a clip shows. `stray` is the median area of specks too small to be things, in squared short sides."""

    tracks: tuple[Track, ...]
    ground: str
    frames: int
    stray: float = 0.0

    @property
    def words(self) -> str:
        """`red star spins + blue circle stays still | meadow`."""
        return f"{' + '.join(track.words for track in self.tracks) or 'nothing'} | {self.ground}"

    @property
    def throughout(self) -> tuple[Track, ...]:
        """The things that are there from the beginning to the end."""
        return tuple(track for track in self.tracks if track.last - track.first + 1 >= ENOUGH * self.frames)


# ---------------------------------------------------------------- reading


def read_clip(frames: Tensor | Pixels, shapes: Sequence[str] = SHAPES) -> ClipReading:
    """Read the frames of one scene: a float tensor [F, 3, H, W] in 0..1, or a uint8 array [F, H, W, 3].

    `shapes` are the templates that are tried, as for `parser.read`.
    """
    return _reading(_looks(frames, shapes), shapes)


def cuts(frames: Tensor | Pixels) -> tuple[int, ...]:
    """The first frame of each new scene, but for the first scene's, of frames as `read_clip` takes them.

    Scenes change where the ground does, or where all things jump.
    """
    return _cuts(_looks(frames, SHAPES))


def read_story(
    frames: Tensor | Pixels, shapes: Sequence[str] = SHAPES, starts: Sequence[int] | None = None
) -> tuple[ClipReading, ...]:
    """Read each scene of a story, of frames as `read_clip` takes them.

    `starts` are the first frames of the scenes but the first one; left out, they are where `cuts` finds them.
    """
    looks = _looks(frames, shapes)
    bounds = [0, *(_cuts(looks) if starts is None else starts), len(looks)]
    return tuple(_reading(looks[a:b], shapes) for a, b in pairwise(bounds))


@dataclass(frozen=True, eq=False)
class _Look:
    """One frame: a small copy of its pixels, its height, and what it shows."""

    small: Array
    short_px: int
    ground: str
    stray: float
    things: tuple[tuple[Part, Seen], ...]


def _looks(frames: Tensor | Pixels, shapes: Sequence[str]) -> list[_Look]:
    looks = []
    for frame in frames:
        pixels = to_pixels(frame) if isinstance(frame, Tensor) else frame
        found = survey(pixels)
        small = cv2.resize(pixels, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32)
        things = tuple((part, fit(part, shapes)) for part in found.parts)
        looks.append(_Look(small, min(pixels.shape[:2]), found.ground, found.stray, things))
    return looks


def _reading(looks: Sequence[_Look], shapes: Sequence[str]) -> ClipReading:
    tracks = [_track(sights, shapes) for sights in _followed(looks)]
    tracks.sort(key=lambda track: (track.first, track.last - track.first, track.words))
    return ClipReading(
        tuple(tracks),
        agreed(look.ground for look in looks),
        len(looks),
        float(np.median([look.stray for look in looks])),
    )


# ---------------------------------------------------------------- cuts


def _cuts(looks: Sequence[_Look]) -> tuple[int, ...]:
    steps = [_step(before, after) for before, after in pairwise(looks)]
    found = []
    for k, (before, after) in enumerate(pairwise(looks)):
        changed = float((np.linalg.norm(after.small - before.small, axis=-1) > CHANGED).mean())
        around = max([step for step in steps[max(k - 1, 0) : k] + steps[k + 1 : k + 2] if step is not None], default=0)
        step = steps[k]
        jumped = step is not None and step > JUMP and step > SUDDEN * around
        if changed > SHARE or jumped:
            found.append(k + 1)
    return tuple(found)


def _step(before: _Look, after: _Look) -> float | None:
    """How far the thing went that went least; None where there was nothing."""
    gaps = [_gap(a, b) for _, a in before.things for _, b in after.things]
    return min(gaps, default=None)


def _gap(one: Seen, other: Seen) -> float:
    return math.dist((one.x, one.y), (other.x, other.y))


# ---------------------------------------------------------------- following things


def _followed(looks: Sequence[_Look]) -> list[Sights]:
    """Each thing through the frames. Where it is counts for more than what it looks like, which may change."""
    followed: list[Sights] = []
    for frame, look in enumerate(looks):
        pairs = sorted(
            (_gap(sights.seen[-1], seen) + OTHER_COLOUR * (sights.seen[-1].colour != seen.colour), i, j)
            for i, sights in enumerate(followed)
            if frame - sights.frames[-1] <= 1 + LOST
            for j, (_, seen) in enumerate(look.things)
        )
        taken: set[int] = set()
        for gap, i, j in pairs:
            if gap <= REACH and j not in taken and followed[i].frames[-1] < frame:
                followed[i].add(frame, *look.things[j])
                taken.add(j)
        for j, thing in enumerate(look.things):
            if j not in taken:
                followed.append(Sights(look.short_px))
                followed[-1].add(frame, *thing)
    return followed


# ---------------------------------------------------------------- what a followed thing is


def _track(sights: Sights, shapes: Sequence[str]) -> Track:
    shape, seen = sights.settle(shapes)
    radius = float(np.median([one.radius for one in seen]))
    path = Path(
        floats(sights.frames),
        floats([one.x for one in seen]),
        floats([one.y for one in seen]),
        floats([one.radius for one in seen]),
        floats([0.0 if shape in ROUND else one.angle for one in seen]),
    )
    first, last = sights.frames[0], sights.frames[-1]
    broken = len(sights.frames) < ENOUGH * (last - first + 1)
    colour = agreed(one.colour for one in seen)
    return Track(shape, colour, size_of(radius), UNKNOWN if broken else read_motion(path), first, last, radius)
