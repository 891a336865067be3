"""Layers as pixels: what stands in a stack and what it is called, pasting into a canvas, composing, comparing.

Alpha is straight here, as in files; inside the model it is premultiplied (`models/codec.py`). Files of stacks are
written in `layerfiles.py`. Nothing here loads torch.

Boxes are (y0, x0, y1, x1) in pixels. Shape letters: H and W pixels of the canvas.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pipelines.files.media import Pixels

PixelBox = tuple[int, int, int, int]

MAX_TITLE = 80  # characters of a layer's name; Photoshop shows about as many
MAX_SLUG = 60  # bytes of a file name's part that comes from words
EQUAL = 100.0  # dB that stand for "the same picture", for infinity has no JSON


@dataclass(frozen=True)
class Layer:
    """One layer of a stack.

    Attributes:
        title: its name, for people.
        box: nothing of it is visible outside.
        pixels: [H, W, 4] in canvas size, straight alpha.
    """

    title: str
    box: PixelBox
    pixels: Pixels

    @property
    def inside(self) -> Pixels:
        """[y1 - y0, x1 - x0, 4] the part in the box."""
        y0, x0, y1, x1 = self.box
        return self.pixels[y0:y1, x0:x1]


@dataclass(frozen=True)
class Stack:
    """Layers bottom first, the lowest of them opaque and as large as the canvas."""

    layers: tuple[Layer, ...]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        height, width = self.layers[0].pixels.shape[:2]
        return width, height

    @cached_property
    def flat(self) -> Pixels:
        """[H, W, 3] what the layers show together.

        Viewers that round after each layer and viewers that round once differ, by a level where a few translucent
        layers lie over one another and by more where many do. This stands between the two, so that both get it.
        """
        stepwise, once = self._stepwise.astype(np.int16), self._at_once.astype(np.int16)
        return ((stepwise + once + (once > stepwise)) // 2).astype(np.uint8)

    @property
    def recomposed_within(self) -> int:
        """Levels of 255 by which either kind of viewer misses `flat` at most."""
        return max(largest_gap(self.flat, self._stepwise), largest_gap(self.flat, self._at_once))

    @cached_property
    def _stepwise(self) -> Pixels:
        """[H, W, 3] composed as most viewers do: whole numbers, rounded after each layer."""
        canvas = self.layers[0].pixels[..., :3].astype(np.int32)
        for layer in self.layers[1:]:
            y0, x0, y1, x1 = layer.box
            part = layer.inside.astype(np.int32)
            alpha = part[..., 3:]
            below = canvas[y0:y1, x0:x1]
            canvas[y0:y1, x0:x1] = (part[..., :3] * alpha + below * (255 - alpha) + 127) // 255
        return canvas.astype(np.uint8)

    @cached_property
    def _at_once(self) -> Pixels:
        """[H, W, 3] composed exactly and rounded at the end."""
        canvas = self.layers[0].pixels[..., :3].astype(np.float64)
        for layer in self.layers[1:]:
            y0, x0, y1, x1 = layer.box
            part = layer.inside.astype(np.float64)
            alpha = part[..., 3:] / 255
            canvas[y0:y1, x0:x1] = part[..., :3] * alpha + canvas[y0:y1, x0:x1] * (1 - alpha)
        return np.floor(canvas + 0.5).astype(np.uint8)


def paste(part: Pixels, box: PixelBox, width: int, height: int) -> Pixels:
    """A clear [H, W, 4] canvas with `part` in its box."""
    canvas = np.zeros((height, width, 4), np.uint8)
    y0, x0, y1, x1 = box
    canvas[y0:y1, x0:x1] = part
    return canvas


def opaque(pixels: Pixels) -> Pixels:
    """[H, W, 3] as [H, W, 4] with nothing transparent."""
    return np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)])


def visible_outside(pixels: Pixels, box: PixelBox) -> int:
    """How many pixels of [H, W, 4] are visible outside of the box."""
    y0, x0, y1, x1 = box
    return int(np.count_nonzero(pixels[..., 3]) - np.count_nonzero(pixels[y0:y1, x0:x1, 3]))


def largest_gap(a: Pixels, b: Pixels) -> int:
    """The largest difference of two pictures in levels of 255."""
    return int(np.abs(a.astype(np.int16) - b.astype(np.int16)).max(initial=0))


def psnr(a: Pixels, b: Pixels) -> float:
    """Peak signal-to-noise ratio of two pictures in dB, at most EQUAL."""
    error = float(np.square(a.astype(np.float64) - b.astype(np.float64)).mean())
    return EQUAL if error == 0 else min(EQUAL, 10 * math.log10(255**2 / error))


# ---------------------------------------------------------------- names


def titles(prompts: Sequence[str | None]) -> list[str]:
    """A name for each layer: its prompt's words, or its number; no two are the same."""
    found: list[str] = []
    for number, prompt in enumerate(prompts, 1):
        plain = title = _plain(prompt or "") or f"layer {number}"
        copies = 1
        while title in ("background", *found):
            copies += 1
            title = f"{plain} ({copies})"
        found.append(title)
    return found


def slug(title: str) -> str:
    """`title` as part of a file name: letters and digits of any script, joined by hyphens."""
    folded = unicodedata.normalize("NFC", title.casefold())  # first: folding may leave marks that are no letters
    words = "".join(c if c.isalnum() else " " for c in folded).split()
    # Cut in bytes, for that is what file systems count, and never within a character.
    return "-".join(words).encode()[:MAX_SLUG].decode(errors="ignore").strip("-") or "layer"


def _plain(text: str) -> str:
    """Words on one line, without what is not printed, and not too long."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= MAX_TITLE else line[: MAX_TITLE - 3].rstrip() + "..."
