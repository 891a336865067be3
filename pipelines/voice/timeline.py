"""The timeline of a dubbed clip: how many frames, which source frame each shows, and in which windows they are made.

All times are exact fractions of a second, so nothing drifts at 30000/1001 frames a second. Nothing here reads a file.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from pipelines.files.audio import nearest


@dataclass(frozen=True)
class Window:
    """Frames that are made at once, by their numbers in the clip, half-open.

    Attributes:
        begin: the first frame that the model sees.
        first: the first frame that is made here; those before it are the last ones of the window before.
        end: after the last.
    """

    begin: int
    first: int
    end: int

    @property
    def before(self) -> int:
        """How many frames are given by the window before."""
        return self.first - self.begin


@dataclass(frozen=True)
class Timeline:
    """Frames of the result.

    Attributes:
        frames: F, how many.
        fps: of them a second, as the source has them.
        there: how many frames the source has; 1 is a still.
    """

    frames: int
    fps: Fraction
    there: int

    @property
    def seconds(self) -> Fraction:
        """The duration, exactly."""
        return self.frames / self.fps

    def source(self, frame: int) -> int:
        """The number of the source frame that a frame shows: forwards, and where the source is at its end backwards,
        and so on ("ping-pong"). Neighbours in time are neighbours in the source, so that nothing jumps.
        """
        if self.there == 1:
            return 0
        step = frame % (2 * self.there - 2)
        return min(step, 2 * self.there - 2 - step)

    def windows(self, size: int, overlap: int) -> list[Window]:
        """Windows of at most `size` frames that make every frame once; the last one is as long as what is left.

        Raises:
            ValueError: an overlap that leaves nothing to make.
        """
        if not 0 <= overlap < size:
            raise ValueError(f"expected an overlap below the {size} frames of a window, got {overlap}")
        found = [Window(0, 0, min(size, self.frames))]
        while (first := found[-1].end) < self.frames:
            begin = max(0, first - overlap)
            found.append(Window(begin, first, min(begin + size, self.frames)))
        return found


def timeline(
    decides: Literal["audio", "video"], there: int, fps: Fraction, sound: Fraction, start: Fraction = Fraction(0)
) -> Timeline:
    """The timeline of a clip whose length the audio or the video decides.

    Args:
        decides: audio: as many frames as last as long as the sound, to half a frame, so that its last word is said;
            video: as many as the source has.
        there: frames of the source.
        fps: of the source.
        sound: seconds of the sound.
        start: seconds into the clip at which the sound begins; below zero it is cut by so much.

    Raises:
        ValueError: a start that leaves no sound in the clip.
    """
    ends = sound + start
    if ends <= 0 or (decides == "video" and start >= there / fps):
        raise ValueError("nothing of the sound is in the clip")
    return Timeline(there if decides == "video" else max(1, nearest(ends * fps)), fps, there)
