"""One thing to train on, before any pixel of it was read, and the index of all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from .assets import Asset
from .findings import Finding

Kind = Literal["picture", "video", "frames"]
Edges = tuple[float, float, float, float]


@dataclass(frozen=True)
class Box:
    """A part of a picture and what is in it.

    Attributes:
        edges: x0, y0, x1, y1 in 0..1 of the upright picture, origin top left, as they were given: the preflight
            judges them.
        label: what is there, or "".
        mask: the exact outline, white inside; of the picture's size.
    """

    edges: Edges
    label: str
    mask: Asset | None = None


@dataclass(frozen=True)
class Example:
    """One picture or clip and what belongs to it.

    Attributes:
        name: unique in the index; the source's own name for it.
        kind: a picture, a video file, or frames in files of their own.
        media: one asset, or one a frame.
        captions: what it may be told; of several one is chosen for each sample.
        boxes: parts of it.
        mask: white is learnt, black is not; of the picture's size.
        layers: RGBA pictures of the same size, bottom first, which compose to it.
        audio: a sound file; None also where the sound is the video's own.
        weight: how much its loss counts.
        repeats: how often it is in an epoch.
        prior: whether its target is what the untrained model predicts.
    """

    name: str
    kind: Kind
    media: tuple[Asset, ...]
    captions: tuple[str, ...] = ()
    boxes: tuple[Box, ...] = ()
    mask: Asset | None = None
    layers: tuple[Asset, ...] = ()
    audio: Asset | None = None
    weight: float = 1.0
    repeats: float = 1.0
    prior: bool = False


@dataclass(frozen=True)
class Index:
    """What a source has, and what was wrong with it already when it was listed."""

    examples: Sequence[Example]
    findings: Sequence[Finding] = ()
