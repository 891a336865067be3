"""Frames that wait on a disk, so that memory does not grow with the length of a clip."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pipelines.files.media import Pixels
from pipelines.voice.region import Cut
from pipelines.voice.timeline import Timeline


class Reel:
    """Frames of one shape in a file that has no name and goes with the reel, or with the process."""

    def __init__(self, folder: Path | None = None) -> None:
        """An empty reel.

        Args:
            folder: on whose disk the file lies; None is the system's for temporary files.
        """
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        self._file = tempfile.TemporaryFile(dir=folder, prefix=".diorama-")  # noqa: SIM115 - closed with the reel
        self._shape: tuple[int, ...] = ()
        self._count = 0

    def append(self, frame: Pixels) -> None:
        """Put a frame [H, W, C] at the end."""
        self._shape = self._shape or frame.shape
        if frame.shape != self._shape:
            raise ValueError(f"expected a frame of shape {self._shape} as those before it, got {frame.shape}")
        self._file.seek(0, 2)
        self._file.write(np.ascontiguousarray(frame).data)
        self._count += 1

    @property
    def shape(self) -> tuple[int, ...]:
        """F, H, W, C."""
        return self._count, *self._shape

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: int, /) -> Pixels:
        if not 0 <= number < self._count:
            raise IndexError(f"expected a frame from 0 to {self._count - 1}, got {number}")
        size = int(np.prod(self._shape))
        self._file.seek(number * size)
        return np.frombuffer(self._file.read(size), np.uint8).reshape(self._shape).copy()

    def __iter__(self) -> Iterator[Pixels]:
        return (self[number] for number in range(self._count))


class Dubbed:
    """The finished frames: those of the source along the timeline, and in the view what was made for them."""

    def __init__(self, source: Reel, made: Reel, timeline: Timeline, view: Cut) -> None:
        self._source, self._made, self._timeline, self._view = source, made, timeline, view

    @property
    def shape(self) -> tuple[int, ...]:
        """F, H, W, C."""
        return self._timeline.frames, *self._source.shape[1:]

    def __len__(self) -> int:
        return self._timeline.frames

    def __getitem__(self, number: int, /) -> Pixels:
        frame, (x0, y0, x1, y1) = self._source[self._timeline.source(number)], self._view
        frame[y0:y1, x0:x1] = self._made[number]
        return frame

    def __iter__(self) -> Iterator[Pixels]:
        return (self[number] for number in range(len(self)))
