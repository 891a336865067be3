"""Transitions: how the frames of one scene give way to those of the next, with exact counts.

Shape letters: F frames, H and W pixels. Colours are mixed in whole numbers, so equal scenes give equal bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

import numpy as np

from pipelines.files.media import Pixels
from pipelines.job import ScenePart


@dataclass(frozen=True)
class Transition:
    """How a scene begins; `frames` are those of either side that take part, 0 for a cut."""

    kind: Literal["cut", "crossfade", "black"] = "cut"
    frames: int = 0

    @property
    def overlap(self) -> int:
        """By how many frames the new scene begins before the old one ends."""
        return self.frames if self.kind == "crossfade" else 0


def into(scene: ScenePart) -> Transition:
    """The transition with which a job's scene begins."""
    return Transition() if scene.transition == "cut" else Transition(scene.transition, scene.transition_frames)


def starts_of(lengths: Sequence[int], transitions: Sequence[Transition]) -> list[int]:
    """The first frame of each scene in the finished video, and last the number of frames of the whole."""
    steps = [n - next_.overlap for n, next_ in zip(lengths, [*transitions[1:], Transition()], strict=True)]
    return list(accumulate(steps, initial=0))


def alone(start: int, frames: int, begins: Transition, ends: Transition) -> tuple[int, int]:
    """The half-open span of frames of a finished video that show one scene and nothing of its transitions."""
    return start + begins.frames, start + frames - ends.frames


def join(clips: Sequence[Pixels], transitions: Sequence[Transition]) -> Pixels:
    """The finished video [F, H, W, 3] of scenes [F_i, H, W, 3], of which scene i begins with transition i.

    In a crossfade of n frames the last n of the old scene lie over the first n of the new one, whose share is
    1/(n+1), 2/(n+1) ... n/(n+1). Through black, the last n frames of the old scene darken in equal steps until the
    last one is black, and the first n of the new scene have 1/(n+1) ... n/(n+1) of their light.
    """
    *starts, total = starts_of([len(clip) for clip in clips], transitions)
    frames = np.empty((total, *clips[0].shape[1:]), np.uint8)
    for clip, start, transition in zip(clips, starts, transitions, strict=True):
        n = transition.frames
        old = frames[start - n : start] if transition.kind == "black" else frames[start : start + n]
        old = old.copy()
        frames[start : start + len(clip)] = clip
        steps = range(1, n + 1)
        if transition.kind == "crossfade":
            for k in steps:
                frames[start + k - 1] = _mix(old[k - 1], clip[k - 1], k, n + 1)
        elif transition.kind == "black":
            for k in steps:
                frames[start - n + k - 1] = _mix(old[k - 1], np.zeros_like(old[k - 1]), k, n)
                frames[start + k - 1] = _mix(np.zeros_like(clip[k - 1]), clip[k - 1], k, n + 1)
    return frames


def _mix(old: Pixels, new: Pixels, part: int, whole: int) -> Pixels:
    """`part / whole` of the new frame and the rest of the old one, rounded."""
    mixed = old.astype(np.int32) * (whole - part) + new.astype(np.int32) * part
    return ((mixed + whole // 2) // whole).astype(np.uint8)
