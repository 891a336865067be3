"""Motion programs: how a thing of the Papercut world moves, as pure functions of time.

A program says where a thing is at `time` seconds of a clip that lasts `duration` seconds, relative to its home, which
is the middle of its path. Programs are continuous, so any frame rate samples the same movement. They leave nothing
open: the word alone, and the clip's length, decide all of it, which is what a small model can learn.

Lengths are in short sides of the picture, x to the right, y down, angles clockwise in radians.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

TRAVEL, SPEED = 0.48, 0.5  # the longest path of what moves, and how fast it goes where the clip is too short for it
HOP, BEAT = 0.24, 1.0  # how high a bounce goes, and seconds of one; a shorter clip shows one all the same
TURNING = math.pi / 2  # a second
LEAST, MOST = 0.6, 1.4  # radius factors of what grows and shrinks
ROUND = frozenset({"circle", "ring"})  # shapes that look alike however they are turned


@dataclass(frozen=True)
class Pose:
    """Where a moving thing is: its offset from home, a factor for its radius, and its turn."""

    dx: float = 0.0
    dy: float = 0.0
    factor: float = 1.0
    angle: float = 0.0


def _along(time: float, duration: float) -> float:
    """The way along a straight path that is centred on home."""
    return min(TRAVEL, SPEED * duration) * (time / duration - 0.5)


def _hop(time: float, duration: float) -> float:
    """The way down from home: half a hop below it on the floor, half a hop above it on top."""
    return HOP * (0.5 - abs(math.sin(math.pi * time / min(BEAT, duration))))


def _swollen(share: float) -> float:
    return LEAST + (MOST - LEAST) * share


PROGRAMS: dict[str, Callable[[float, float], Pose]] = {
    "moves left": lambda time, duration: Pose(dx=-_along(time, duration)),
    "moves right": lambda time, duration: Pose(dx=_along(time, duration)),
    "moves up": lambda time, duration: Pose(dy=-_along(time, duration)),
    "moves down": lambda time, duration: Pose(dy=_along(time, duration)),
    "bounces": lambda time, duration: Pose(dy=_hop(time, duration)),
    "spins": lambda time, duration: Pose(angle=TURNING * time),
    "grows": lambda time, duration: Pose(factor=_swollen(time / duration)),
    "shrinks": lambda time, duration: Pose(factor=_swollen(1 - time / duration)),
    "stays still": lambda time, duration: Pose(),
}
MOTIONS = tuple(PROGRAMS)


@dataclass(frozen=True)
class Sweep:
    """What a motion takes of the picture, whatever the clip's length: offsets either way, and the reach in radii."""

    dx: float
    dy: float
    reach: float


def sweep(motion: str | None) -> Sweep:
    """Room that a thing needs around its home; None is a thing that does not move."""
    dx = TRAVEL / 2 if motion in ("moves left", "moves right") else 0.0
    dy = TRAVEL / 2 if motion in ("moves up", "moves down") else HOP / 2 if motion == "bounces" else 0.0
    # No shape is wider than 1.08 radii, and no corner is further than 1.32 from the centre.
    reach = 1.32 if motion == "spins" else 1.08 * MOST if motion in ("grows", "shrinks") else 1.08
    return Sweep(dx, dy, reach)


def possible(shape: str) -> tuple[str, ...]:
    """Motions that can be seen of a shape: nobody sees a ring spin."""
    return tuple(motion for motion in MOTIONS if motion != "spins" or shape not in ROUND)
