"""The data of a run: examples, buckets, order and pixels together. What a trainer asks, and all it has to know.

    data = Dataset.open(run.data, batch=run.loop.batch, seed=run.seed)
    batch = data.order.at(step).share(rank, ranks)              # which samples; nothing is read yet
    loaded = [data.load(item, batch.bucket) for item in batch.items]

Shape letters: F frames, H and W pixels, K layers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from pipelines.files.audio import Sound
from pipelines.files.media import Pixels
from pipelines.refusal import Refusal

from . import clips, pixels, sources
from .assets import Asset
from .buckets import Bucket, boxes_in, place, windows
from .config import DataConfig
from .example import Box, Example
from .findings import Fault
from .order import Item, Order, Placed


@dataclass(frozen=True)
class Shape:
    """The size of an example before it is cut.

    Attributes:
        width: in pixels, upright.
        height: the same.
        there: frames of the file; 1 for a picture.
        rate: frames a second of a video; None for others, whose frames are taken as they are.
        frames: at the run's rate.
        sound: whether there is sound, beside it or in it.
    """

    width: int
    height: int
    there: int = 1
    rate: Fraction | None = None
    frames: int = 1
    sound: bool = False


@dataclass(frozen=True, eq=False)
class Loaded:
    """Pixels of one sample, fitted to its bucket.

    Attributes:
        frames: [F, H, W, 4] in uint8, straight RGBA.
        boxes: as they stand in what is shown.
        mask: [H, W] in uint8, white is learnt; None for all.
        layers: [K, H, W, 4] in uint8, bottom first; None where there are none.
        sound: while the frames last, of a single frame all of it; None where there is none or the run does not listen.
    """

    frames: Pixels
    boxes: tuple[Box, ...] = ()
    mask: Pixels | None = None
    layers: Pixels | None = None
    sound: Sound | None = None


class Dataset:
    """Examples with their shapes and buckets, in the order of a run.

    Args:
        config: the `data:` section.
        examples: what to train on.
        shapes: of each.
        batch: samples a step, of all processes together.
        seed: of the order.

    Raises:
        Refusal: no examples.
        Fault: an example that no bucket takes.
    """

    def __init__(
        self, config: DataConfig, examples: Sequence[Example], shapes: Sequence[Shape], batch: int, seed: int
    ) -> None:
        if not examples:
            raise Refusal("data.sources", "have no examples; run with --preflight to see why")
        self.config, self.examples, self.shapes = config, tuple(examples), tuple(shapes)
        self.batch, self.seed = batch, seed
        self.buckets = tuple(place(shape.width, shape.height, shape.frames, config) for shape in shapes)
        placed = [
            Placed(example.name, bucket, example.captions, example.weight, example.repeats)
            for example, bucket in zip(self.examples, self.buckets, strict=True)
        ]
        self.order = Order(placed, batch, seed, config.caption_drop, config.caption_choice, config.crops)

    @classmethod
    def open(cls, config: DataConfig, batch: int, seed: int) -> Dataset:
        """The data of a run whose preflight passed: listed and measured, no pixels read.

        Raises:
            Refusal: a source or an example that the preflight would have refused.
        """
        found = sources.index(config.sources)
        for finding in found.findings:
            if finding.level == "error":
                raise Refusal("data", f"{finding}; run with --preflight for all of them")
        shapes = []
        for example in found.examples:
            try:
                shapes.append(measure(example, config))
                place(shapes[-1].width, shapes[-1].height, shapes[-1].frames, config)
            except Fault as fault:
                told = f"{example.name}: {fault.reason}"
                raise Refusal("data", f"{told}; run with --preflight for all of them") from None
        return cls(config, found.examples, shapes, batch, seed)

    def split(self, share: float) -> tuple[Dataset, Dataset | None]:
        """What is trained on, and what is held out of it; None where the share comes to no example."""
        apart = held_out([example.name for example in self.examples], share)
        if not apart:
            return self, None
        pairs = list(zip(self.examples, self.shapes, strict=True))

        def part(chosen: bool) -> Dataset:
            kept = [pair for pair in pairs if (pair[0].name in apart) == chosen]
            # What is held out is looked at in its middle alone, so its other cuts need no latents.
            config = self.config.model_copy(update={"crops": 1}) if chosen else self.config
            return Dataset(config, [pair[0] for pair in kept], [pair[1] for pair in kept], self.batch, self.seed)

        return part(False), part(True)

    def load(self, item: Item, bucket: Bucket) -> Loaded:
        """The pixels of a sample, and what belongs to them, in the shape of its bucket.

        Raises:
            Refusal: a file that vanished or changed since the run began; one clear sentence.
        """
        example, shape = self.examples[item.example], self.shapes[item.example]
        try:
            return load(example, shape, bucket, self.config, item.crop)
        except Fault as fault:
            raise Refusal("data", f"{example.name}: {fault.reason}") from None


def held_out(names: Sequence[str], share: float) -> frozenset[str]:
    """The names that are held out: a share of all, rounded, always the same ones whatever their order is."""
    ranked = sorted(names, key=lambda name: hashlib.sha256(f"held out {name}".encode()).digest())
    return frozenset(ranked[: round(share * len(ranked))])


def measure(example: Example, config: DataConfig) -> Shape:
    """The size of an example, from headers and packets.

    Raises:
        Fault: media that can not be read.
    """
    sound = example.audio is not None
    if example.kind == "video":
        reel = clips.look(example.media[0])
        frames = clips.length(reel.frames, reel.rate, config.fps)
        return Shape(reel.width, reel.height, reel.frames, reel.rate, frames, sound or reel.sound)
    seen = pixels.look(example.media[0].read())
    count = len(example.media)
    return Shape(seen.width, seen.height, count, None, count, sound)


def load(example: Example, shape: Shape, bucket: Bucket, config: DataConfig, crop: int = 0) -> Loaded:
    """Pixels of an example in a bucket, cut around the middle or as `crop` of its `windows`; the same every time.

    Raises:
        Fault: a file that vanished or can not be decoded, or of another size than it was.
    """
    shown = windows(example.name, shape.width, shape.height, bucket, config)[crop]
    numbers = clips.choose(shape.there, shape.rate, bucket.frames, config.fps)

    def fitted(asset: Asset) -> Pixels:
        picture = pixels.read(asset.read())
        if picture.size != (shape.width, shape.height):
            raise Fault(
                "clip-size", f"{asset.name} has {picture.width} x {picture.height} pixels, expected "
                f"{shape.width} x {shape.height}; it changed since the run began"
            )  # fmt: skip
        return pixels.fit(picture, shown, bucket.size)

    if example.kind == "video":
        frames = np.stack([_fit_frame(frame, shown, bucket) for frame in clips.frames(example.media[0], numbers)])
    else:
        frames = np.stack([fitted(example.media[number]) for number in numbers])
    sound = None
    if config.audio and shape.sound:
        sound = clips.sound(example.audio or example.media[0])
        if bucket.frames > 1:
            fps = Fraction(config.fps).limit_denominator(1000)
            sound = sound.slice(numbers[0] / (shape.rate or fps), bucket.frames / fps)
    return Loaded(
        frames,
        boxes_in(example.boxes, shown),
        pixels.grey(fitted(example.mask)) if example.mask else None,
        np.stack([fitted(layer) for layer in example.layers]) if example.layers else None,
        sound,
    )


def _fit_frame(frame: Pixels, shown: pixels.Window, bucket: Bucket) -> Pixels:
    from PIL import Image

    return pixels.fit(Image.fromarray(frame).convert("RGBA"), shown, bucket.size)
