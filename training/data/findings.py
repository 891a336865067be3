"""What can be wrong with examples, by name: errors stop a run, warnings do not. The checks are in `checks.py`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pipelines.refusal import on_one_line

Level = Literal["error", "warning"]

# Every name that a finding may have. The page on training lists them in this order.
ERRORS = {
    "missing-source": "a source is not there, can not be read, or needs a library that is not installed",
    "no-examples": "a source has nothing to train on",
    "archive": "a tar is compressed, cut off or damaged",
    "metadata": "a row or a column of metadata can not be read",
    "missing-file": "metadata names a file that is not there",
    "outside": "metadata names a file outside its own folder",
    "number": "a weight or a number of repeats is not above zero",
    "empty-file": "a file has no bytes",
    "unreadable": "a picture is in no format that is read, or may not be opened",
    "truncated": "a picture ends early or is damaged",
    "too-large": "a picture or clip has more pixels than are read",
    "too-small": "a picture is smaller than one token",
    "crop": "a picture would lose more than `max_crop` in every bucket",
    "video": "a video can not be decoded",
    "clip-size": "frames of one clip have several sizes",
    "frames": "a clip is shorter than every length in `frames`, or a picture meets lengths without 1",
    "caption-text": "a caption is not text in UTF-8",
    "boxes": "boxes can not be read",
    "box-outside": "a box leaves the picture",
    "box-reversed": "a box ends before it begins",
    "mask-size": "a mask is of another size than its picture",
    "mask-empty": "a mask leaves nothing to learn",
    "layer-size": "a layer is of another size than its picture",
    "sound": "sound can not be read or has no samples",
}
WARNINGS = {
    "missing-caption": "an example has no caption",
    "empty-caption": "a caption file or field is empty",
    "long-caption": "a caption or the label of a box has more tokens than the checkpoint reads",
    "small": "a picture is enlarged more than `max_enlarge`",
    "small-bucket": "a bucket has one example only, or too few to fill a batch in an epoch",
    "duplicate": "two examples look the same",
    "repeated-file": "two rows of metadata name the same file",
    "turned": "a picture is stored turned and trained upright",
    "cmyk": "a picture is in printing colours",
    "sixteen-bit": "a picture has more than 8 bits a channel",
    "animated": "a picture has several frames, of which the first is taken",
    "invisible": "a picture is transparent everywhere",
    "flat": "a picture has one colour only",
    "other-format": "a file is of another format than its name says",
    "case": "two names differ by upper and lower case only",
    "same-stem": "two pictures share their captions, for only their suffix differs",
    "alone": "a caption, a mask, boxes or a sound stand beside no picture",
    "box-cut": "cropping leaves less than half of a box",
    "box-unnamed": "a box has no label",
    "layer-opaque": "a layer hides all that is below it",
    "silent": "a sound is silence",
    "link": "an archive has a link, which is not followed",
    "disk": "the caches will not fit on the disk",
    "memory": "the run will hardly fit into this machine's memory",
}


class Fault(ValueError):
    """What is wrong with one example or source: `kind` is a key of ERRORS or WARNINGS, `reason` one clause."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind, self.reason = kind, reason


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        kind: a key of ERRORS or WARNINGS.
        where: the example, file or source.
        reason: what was expected, what came, what to do; one sentence without the place.
    """

    kind: str
    where: str
    reason: str

    @property
    def level(self) -> Level:
        """Whether it stops the run."""
        return "error" if self.kind in ERRORS else "warning"

    def __str__(self) -> str:
        return on_one_line(f"{self.where}: {self.reason}")  # names of files may hold anything
