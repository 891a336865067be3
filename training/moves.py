"""Which motion a path shows: the programs of `motion.py` read back from where a thing was in each frame.

Frame rates are not known here: a word says which way and how, and not how fast. A path that fits no program, or two,
is of motion "unknown".

Lengths are in short sides, angles clockwise in radians and unwrapped. Suffix K: the frames in which the thing was seen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from training.pixels import UNKNOWN, Array, floats

FEWEST = 3  # frames; fewer show no course
TRAVEL, DRIFT = 0.13, 0.05  # what moves goes at least this far, and what does not at most this far
SWELL, STEADY = 0.3, 0.15  # the same for a radius, as a share of its median
SPIN, WOBBLE = 0.3, 0.2  # the same for an angle
HOP = (0.12, 0.4)  # how high bounces go
SLACK, LOOSE = 0.012, 0.1  # how far places may be off a course: so much, and this share of the course
MOST = 0.85  # the share of frames that have to keep to it: one in eight may be off


@dataclass(frozen=True, eq=False)
class Path:
    """Where a thing was, and how large and how turned, in the frames in which it was seen."""

    frame_K: Array
    x_K: Array
    y_K: Array
    radius_K: Array
    angle_K: Array


@dataclass(frozen=True)
class _Line:
    """The straight course of a number: its change from the first frame to the last, and how far frames are off it."""

    change: float
    off: float

    def is_course(self, least: float) -> bool:
        """Whether the number changes by at least `least`, steadily."""
        return abs(self.change) >= least and self.off <= SLACK + LOOSE * abs(self.change)

    def stays(self, most: float) -> bool:
        """Whether the number changes by no more than `most`, in any frame."""
        return abs(self.change) + self.off <= most


def read_motion(path: Path) -> str:
    """The motion's name, or "unknown"."""
    if len(path.frame_K) < FEWEST:
        return UNKNOWN
    x, y, angle = (_line(path.frame_K, values) for values in (path.x_K, path.y_K, path.angle_K))
    radius = _line(path.frame_K, path.radius_K / np.median(path.radius_K))
    still = {
        "x": x.stays(DRIFT),
        "y": y.stays(DRIFT),
        "radius": radius.stays(STEADY),
        "angle": angle.stays(WOBBLE),
    }
    moving = {name for name, is_still in still.items() if not is_still}
    if not moving:
        return "stays still"
    if moving == {"x"} and x.is_course(TRAVEL):
        return "moves right" if x.change > 0 else "moves left"
    if moving == {"y"} and y.is_course(TRAVEL):
        return "moves down" if y.change > 0 else "moves up"
    if moving == {"y"} and _hops(path.frame_K, path.y_K):
        return "bounces"
    if moving == {"radius"} and radius.is_course(SWELL):
        return "grows" if radius.change > 0 else "shrinks"
    if moving == {"angle"} and spins(path.frame_K, path.angle_K):
        return "spins"
    return UNKNOWN


def spins(frame_K: Array, angle_K: Array) -> bool:
    """Whether angles go steadily round, either way."""
    return len(frame_K) >= FEWEST and _line(frame_K, angle_K).is_course(SPIN)


def _line(frame_K: Array, value_K: Array) -> _Line:
    """The median of all slopes between two frames (Theil and Sen), so that a frame that is off bends nothing."""
    first, second = np.triu_indices(len(frame_K), 1)
    slope = float(np.median((value_K[second] - value_K[first]) / (frame_K[second] - frame_K[first])))
    rest = value_K - slope * frame_K
    return _Line(slope * float(frame_K[-1] - frame_K[0]), _spread(rest))


def _spread(rest_K: Array) -> float:
    """How far all but a few frames are off their median."""
    return float(np.sort(np.abs(rest_K - np.median(rest_K)))[math.ceil(MOST * len(rest_K)) - 1])


def _hops(frame_K: Array, y_K: Array) -> bool:
    """Whether heights are those of something that bounces: y = floor - hop |sin(pi (beats k / F + phase))|."""
    span = float(frame_K[-1] - frame_K[0]) + 1
    beats = np.linspace(0.8, max(0.8, span / 2.5), 48)[:, None, None]
    phases = np.linspace(0, 1, 32, endpoint=False)[None, :, None]
    arcs = np.abs(np.sin(math.pi * (beats * (frame_K - frame_K[0]) / span + phases))).reshape(-1, len(frame_K))
    middle = arcs - arcs.mean(1, keepdims=True)
    hop = -(middle * (y_K - y_K.mean())).sum(1) / np.maximum((middle * middle).sum(1), 1e-9)
    rest = floats(y_K + hop[:, None] * arcs)
    off = np.sort(np.abs(rest - np.median(rest, axis=1, keepdims=True)), axis=1)[:, math.ceil(MOST * len(y_K)) - 1]
    good = (off <= SLACK + LOOSE * hop) & (hop >= HOP[0]) & (hop <= HOP[1])
    return bool(good.any())
