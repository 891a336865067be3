"""The checks of one example: every file of it is decoded once, and what is wrong becomes findings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from pipelines.files.media import Pixels

from . import clips, pixels
from .assets import Asset, suffix
from .boxes import whole
from .buckets import Bucket, cropped, enlarged, left_of, place, window
from .config import DataConfig
from .dataset import Shape, measure
from .example import Example
from .findings import Fault, Finding
from .likeness import Likeness, likeness


@dataclass(frozen=True)
class Checked:
    """What the checks found of an example.

    Attributes:
        example: the example.
        findings: what is wrong with it.
        shape: its size; None where it can not be read.
        bucket: where it goes; None where it goes nowhere.
        crop: the share of it that is cut off.
        looks: how it looks.
    """

    example: Example
    findings: tuple[Finding, ...]
    shape: Shape | None = None
    bucket: Bucket | None = None
    crop: float = 0.0
    looks: Likeness | None = None

    @property
    def usable(self) -> bool:
        """Whether it can be trained on."""
        return self.bucket is not None and all(finding.level == "warning" for finding in self.findings)


def check(example: Example, config: DataConfig, too_long: Callable[[str], str | None]) -> Checked:
    """All checks of one example.

    Args:
        example: what to check.
        config: sizes and limits.
        too_long: a clause where a caption is cut off by the checkpoint, or None.
    """
    findings: list[Finding] = []

    def note(kind: str, reason: str, where: str = example.name) -> None:
        findings.append(Finding(kind, where, reason))

    for caption in dict.fromkeys((*example.captions, *(box.label for box in example.boxes))):
        if clause := too_long(caption):
            note("long-caption", clause)
    try:
        shape, looks = _media(example, config, note)
    except Fault as fault:
        note(fault.kind, fault.reason)
        return Checked(example, tuple(findings))
    found = Checked(example, (), shape, looks=looks)
    try:
        bucket = place(shape.width, shape.height, shape.frames, config)
        found = replace(found, bucket=bucket, crop=cropped(shape.width, shape.height, bucket.h, bucket.w))
        if (factor := enlarged(shape.width, shape.height, bucket)) > config.max_enlarge:
            size = f"{shape.width} x {shape.height} pixels"
            note("small", f"has {size} and is enlarged {factor:.1f} times for {bucket}; use a larger one")
    except Fault as fault:
        note(fault.kind, fault.reason)
    for kind, reason in _boxes(example, shape, found.bucket):
        note(kind, reason)
    for number, box in enumerate(example.boxes, 1):
        if box.mask is not None:
            _beside(box.mask, shape, note, "mask-size", f"the mask of box {number}")
    if example.mask is not None:
        white = _beside(example.mask, shape, note, "mask-size", "the mask")
        if white is not None and not pixels.grey(white).any():
            note("mask-empty", "is black everywhere, so nothing is learnt; paint white what is", example.mask.name)
    for number, layer in enumerate(example.layers):
        drawn = _beside(layer, shape, note, "layer-size", "the layer")
        if number and drawn is not None and drawn[..., 3].min() == 255:
            note("layer-opaque", "hides all layers below it; save it with transparency", layer.name)
    if config.audio and shape.sound:
        _sound(example.audio or example.media[0], note)
    return replace(found, findings=tuple(findings))


Note = Callable[..., None]


def _media(example: Example, config: DataConfig, note: Note) -> tuple[Shape, Likeness]:
    """Size and looks of the pictures or the video, all of it decoded.

    Raises:
        Fault: it can not be trained on.
    """
    from PIL import Image

    if example.kind == "video":
        shape = measure(example, config)
        count, first = clips.decode_all(example.media[0])
        frames = clips.length(count, shape.rate, config.fps)
        looks = likeness(Image.fromarray(first).convert("RGBA"))
        return replace(shape, there=count, frames=frames), looks
    measured: tuple[Shape, Likeness] | None = None
    for asset in example.media:
        try:
            data = asset.read()
            seen = pixels.look(data)
            picture = pixels.read(data)
        except Fault as fault:
            raise Fault(fault.kind, f"{_named(asset, example)}{fault.reason}") from None
        for kind, reason in _habits(seen, asset):
            note(kind, reason, asset.name)
        if measured is None:
            many = len(example.media)
            shape = Shape(*picture.size, many, None, many, example.audio is not None)
            measured = shape, likeness(picture)
            for kind, reason in _emptiness(np.asarray(picture)):
                note(kind, reason, asset.name)
        elif picture.size != (shape.width, shape.height):
            raise Fault(
                "clip-size", f"{asset.name} has {picture.width} x {picture.height} pixels, expected "
                f"{shape.width} x {shape.height} as the frames before it; make them one size"
            )  # fmt: skip
    assert measured is not None, "an example has media"
    return measured


def _named(asset: Asset, example: Example) -> str:
    return "" if asset.name == example.name else f"{asset.name} "


def _habits(seen: pixels.Look, asset: Asset) -> Iterator[tuple[str, str]]:
    """What is unusual about how a picture is stored."""
    if seen.turned:
        yield "turned", "is stored turned, with a note to show it upright; it is trained upright"
    if seen.mode == "CMYK":
        yield "cmyk", "is in printing colours (CMYK), which are converted roughly; save it as RGB"
    if seen.mode.startswith(("I", "F")):
        yield "sixteen-bit", "has more than 8 bits a channel, of which 8 are used"
    if seen.frames > 1:
        yield "animated", f"has {seen.frames} frames, of which the first is taken; convert it to MP4 to train on all"
    promised = pixels.expected_format(suffix(asset))
    if promised in pixels.FORMATS and promised != seen.format:
        yield "other-format", f"is {seen.format} by its content; it is read as that, rename it"


def _emptiness(rgba: Pixels) -> Iterator[tuple[str, str]]:
    """Whether there is anything to see."""
    if not rgba[..., 3].any():
        yield "invisible", "is transparent everywhere; save it again"
    elif (rgba == rgba[0, 0]).all():
        yield "flat", "has one colour only; take it away unless that is meant"


def _boxes(example: Example, shape: Shape, bucket: Bucket | None) -> Iterator[tuple[str, str]]:
    """What is wrong with boxes."""
    for number, box in enumerate(example.boxes, 1):
        x0, y0, x1, y1 = box.edges
        named = f"box {number}" + (f" ({box.label!r})" if box.label else "")
        edges = f"{x0:g}, {y0:g}, {x1:g}, {y1:g}"
        if x1 <= x0 or y1 <= y0:
            yield "box-reversed", f"{named} ends before it begins ({edges}); expected x0 < x1 and y0 < y1"
        if min(box.edges) < 0 or max(box.edges) > 1:
            hint = "; these look like pixels, divide them by the size" if max(box.edges) > 2 else ""
            yield "box-outside", f"{named} leaves the picture ({edges}); expected 0..1{hint}"
        if not box.label:
            yield "box-unnamed", f"{named} has no label, so nothing is said of it"
        if bucket is not None and whole(box.edges):
            left = left_of(box, window(shape.width, shape.height, bucket))
            if left < 0.5:
                yield "box-cut", f"cropping leaves {left:.0%} of {named}"


def _beside(asset: Asset, shape: Shape, note: Note, kind: str, what: str) -> Pixels | None:
    """[H, W, 4] of a mask or a layer; None where it can not be used, which is noted."""
    try:
        picture = pixels.read(asset.read())
    except Fault as fault:
        note(fault.kind, fault.reason, asset.name)
        return None
    if picture.size != (shape.width, shape.height):
        note(
            kind,
            f"{what} has {picture.width} x {picture.height} pixels, its picture {shape.width} x {shape.height}; "
            "make them one size",
            asset.name,
        )
        return None
    return np.asarray(picture)


def _sound(asset: Asset, note: Note) -> None:
    try:
        heard = clips.sound(asset)
    except Fault as fault:
        note(fault.kind, fault.reason, asset.name)
        return
    if clips.silent(heard):
        note("silent", "is silence from beginning to end; take it away unless that is meant", asset.name)
