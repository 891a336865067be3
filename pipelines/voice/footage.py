"""The source of a dubbing as one look at every frame tells it: size, rate, and where the face that speaks is.

Frames are seen one after another and never held. What a look found is remembered while the process lives, for a job is
checked more often than it is rendered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Protocol

from pipelines.canvas import told
from pipelines.files.media import MediaError, Pixels, is_clip, read_opaque, watch
from pipelines.job import DubbingJob
from pipelines.refusal import Refusal
from pipelines.voice.papercut import PapercutLocator, overlap
from pipelines.voice.references import openness
from pipelines.voice.region import Box
from pipelines.voice.yunet import VARIABLE, YuNetLocator, model_file

BRIDGED = Fraction(3, 10)  # seconds without a face that are taken for a blink, or a slip of the locator
LOST = 8  # frames after which a face that is gone is looked for anew, wherever it comes back
STILL_FPS = 25
MAX_SOURCE = 3_000_000_000  # pixels of all frames together, which wait on the disk while a clip is rendered: 9 GB


class Locator(Protocol):
    """What finds faces."""

    name: str

    def find(self, frame: Pixels, near: Box | None = None) -> list[Box]:
        """Boxes in pixels of the faces in a frame, the largest first; where one was a moment ago may help."""


@dataclass(frozen=True)
class Footage:
    """What a source shows.

    Attributes:
        width: of the frames, in pixels; an even number.
        height: of them; an even number.
        count: how many.
        fps: of them a second; None where the file does not say, as a picture.
        still: whether it is a picture.
        faces: [count] the box of the face that speaks, in pixels, or None; empty where no face was looked for.
        open_: [count] how far its mouth seems to be open, or None.
        found_by: a locator's name, or `given` where the job's box is all there is to go by.
        most: how many faces a frame has at most.
        bridged: frames without a face whose neighbours lend them one.
        cropped: whether the last row or column is left out, see `even`.
    """

    width: int
    height: int
    count: int
    fps: Fraction | None
    still: bool
    faces: tuple[Box | None, ...] = ()
    open_: tuple[float | None, ...] = ()
    found_by: str = ""
    most: int = 0
    bridged: tuple[int, ...] = ()
    cropped: bool = False


def even(frame: Pixels) -> Pixels:
    """A frame without its last row or column where their number is odd: a video that browsers play has even sides."""
    height, width = frame.shape[:2]
    return frame[: height // 2 * 2, : width // 2 * 2]


def read_footage(job: DubbingJob, folder: Path) -> Footage:
    """Look at a job's source.

    Args:
        job: its source, region and face.
        folder: the checkpoint's.

    Raises:
        Refusal: a source that can not be read, a video of one frame, or no face in it.
    """
    looks = job.region == "mouth"
    model = model_file(folder) if looks else None
    told("source", is_clip, job.source)  # a file that is not there has no stamp
    return _look(job.source, looks, job.face, model, _stamp(Path(job.source)))


def _stamp(path: Path) -> tuple[int, ...]:
    """What is another when a file, or one in a folder, was written again."""
    files = [path, *sorted(path.iterdir())] if path.is_dir() else [path]
    stats = [file.stat() for file in files]
    return tuple(number for stat in stats for number in (stat.st_ino, stat.st_size, stat.st_mtime_ns))


def faces_in(frame: Pixels, folder: Path) -> list[Box]:
    """The faces in one frame [H, W, 3], the largest first, as the first of those locators finds them that finds any.

    Args:
        frame: what is looked at.
        folder: the checkpoint's, which may have a locator's model file.

    Raises:
        Refusal: a model file that is named and can not be read.
    """
    model = model_file(folder)
    return next((found for locator in _locators(model) if (found := locator.find(frame))), [])


def check_room(source: str, frame: Pixels, count: int) -> None:
    """Raise MediaError where `count` frames like this one are more than may wait on the disk."""
    if count * frame.shape[0] * frame.shape[1] > MAX_SOURCE:
        raise MediaError(f"{source}: expected at most {MAX_SOURCE:,} pixels in all frames together; cut it")


def _locators(model: Path | None) -> list[Locator]:
    return [PapercutLocator(), *([] if model is None else [YuNetLocator(model)])]


@lru_cache(maxsize=8)
def _look(source: str, looks: bool, face: Box | None, model: Path | None, _stamp: tuple[int, ...]) -> Footage:
    search = _Search(source, _locators(model) if looks else [], face)
    still = not told("source", is_clip, source)
    if still:
        search.see(told("source", read_opaque, source))
        fps = None
    else:
        fps = told("source", lambda path: watch(path, search.see), source)
        if search.count == 1:
            raise Refusal("source", f"{source}: expected a video of two frames or more, got one; give it as a picture")
    return search.footage(fps, still, looks, model is not None)


@dataclass
class _Search:
    """Follows one face from frame to frame."""

    source: str
    locators: Sequence[Locator]
    wanted: Box | None  # in 0..1
    count: int = 0
    size: tuple[int, int] = (0, 0)
    faces: list[Box | None] = field(default_factory=list)
    open_: list[float | None] = field(default_factory=list)
    open_in_given: list[float | None] = field(default_factory=list)
    most: int = 0
    last: Box | None = None
    lost: int = 0
    found_by: str = ""
    cropped: bool = False

    def see(self, frame: Pixels) -> None:
        """Look at the next frame."""
        whole, frame = frame, even(frame)
        self.cropped = whole.shape != frame.shape
        size = frame.shape[1], frame.shape[0]
        if self.count and size != self.size:
            raise MediaError(f"{self.source}: expected frames of one size, got {self.size} and {size}")
        self.size = size
        self.count += 1
        check_room(self.source, frame, self.count)
        if not self.locators:
            return
        found: list[Box] = []
        for locator in self.locators:
            if found := locator.find(frame, self.last):
                # Who finds the first face goes on alone: two would not agree on what a face's box is.
                self.locators, self.found_by = [locator], locator.name
                break
        self.most = max(self.most, len(found))
        face = self._same(found)
        self.lost = 0 if face is not None else self.lost + 1
        self.last = face or (self.last if self.lost <= LOST else None)
        self.faces.append(face)
        self.open_.append(None if face is None else openness(frame, face))
        if self.wanted is not None:  # nobody may ever find a face, and then the box is all there is
            self.open_in_given.append(openness(frame, self._given))

    @property
    def _given(self) -> Box:
        width, height = self.size
        x0, y0, x1, y1 = self.wanted or (0, 0, 1, 1)
        return x0 * width, y0 * height, x1 * width, y1 * height

    def _same(self, found: Sequence[Box]) -> Box | None:
        """Of the faces in a frame the one that was followed so far; at first the wanted one, or the largest."""
        if self.last is None and self.wanted is None:
            return found[0] if found else None
        near = self.last or self._given
        return max((box for box in found if overlap(box, near) > 0.1), key=lambda box: overlap(box, near), default=None)

    def footage(self, fps: Fraction | None, still: bool, looks: bool, photographs: bool) -> Footage:
        """What was seen, once all was.

        Raises:
            Refusal: no face.
        """
        plain = Footage(*self.size, self.count, fps, still, cropped=self.cropped)
        if not looks:
            return plain
        if not any(self.faces):
            if self.wanted is None:
                how = "" if photographs else f" or name a YuNet model in {VARIABLE}, which finds faces in photographs,"
                raise Refusal(
                    "face",
                    f"{self.source}: expected a face, found none in it; "
                    f"give its box as face: [x0, y0, x1, y1] in 0..1,{how} or set region: portrait",
                )
            faces: list[Box | None] = [self._given] * self.count
            seen = tuple(self.open_in_given)
            return replace(plain, faces=tuple(faces), open_=seen, found_by="given", most=max(self.most, 1))
        longest = int(BRIDGED * (fps or STILL_FPS))
        faces, bridged = bridge(self.faces, longest)
        return replace(
            plain,
            faces=tuple(faces),
            open_=tuple(self.open_),
            found_by=self.found_by,
            most=self.most,
            bridged=bridged,
        )


def bridge(faces: Sequence[Box | None], longest: int) -> tuple[list[Box | None], tuple[int, ...]]:
    """Faces with gaps of at most `longest` frames between two of them filled, and the numbers of those frames.

    A face moves evenly through a gap. At the ends there is nothing to fill from, and longer gaps are frames that
    show no face.
    """
    found, filled = list(faces), []
    there = [number for number, face in enumerate(faces) if face is not None]
    for low, high in pairwise(there):
        if 1 < high - low <= longest + 1:
            one, other = faces[low], faces[high]
            assert one is not None and other is not None
            for number in range(low + 1, high):
                share = (number - low) / (high - low)
                x0, y0, x1, y1 = (a + share * (b - a) for a, b in zip(one, other, strict=True))
                found[number] = (x0, y0, x1, y1)
                filled.append(number)
    return found, tuple(filled)
