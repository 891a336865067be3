"""Sheets of paper for faces: windows on many frames at once, and signed distances for what is cut there.

Pixels are made by sums, products, roots and comparisons alone, which round the same way in any batch, so a frame has
the same bits alone and among others. What is cut for a face is `face.py`; the shapes of things are `drawing.py`'s.

Lengths are in short sides of the picture where nothing else is said, and "of the head" as in `portrait.py`. Shape
suffixes: F frames, h and w pixels of a window.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from .drawing import SHADOW_ALPHA, SHADOW_OFFSET, SHADOW_SOFTNESS
from .portrait import TILT, Box, Stand

Paint = tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class Window:
    """A part of each frame, and where its pixels are on the head.

    Attributes:
        pixels: [F, 3, h, w], painted in place.
        x: [F, h, w] to the right, of the head.
        y: [F, h, w] down.
        scales: [F] of the heads.
        short: pixels of the picture's short side.
        places: rows [F, h] and columns [F, w] of the window in the picture.
    """

    pixels: Tensor
    x: Tensor
    y: Tensor
    scales: NDArray[np.float64]
    short: int
    places: tuple[Tensor, Tensor]

    @classmethod
    def whole(cls, picture: Tensor, stands: Sequence[Stand], short: int) -> Window:
        """All of the picture, which is painted itself."""
        return cls._of(picture, stands, short, [(0, 0)] * len(stands), (picture.shape[2], picture.shape[3]), False)

    @classmethod
    def around(cls, picture: Tensor, stands: Sequence[Stand], short: int, box: Box) -> Window:
        """A copy of what is around a box of the head; `put` takes it back."""
        x0, y0, x1, y1 = (value * stands[0].scale for value in box)
        lean = math.sin(TILT)
        h = min(math.ceil((y1 - y0 + lean * (x1 - x0)) * short) + 2, picture.shape[2])
        w = min(math.ceil((x1 - x0 + lean * (y1 - y0)) * short) + 2, picture.shape[3])
        corners = []
        for stand in stands:
            x, y = stand.place((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
            top, left = round(y * short - h / 2), round(x * short - w / 2)
            corners.append((min(max(top, 0), picture.shape[2] - h), min(max(left, 0), picture.shape[3] - w)))
        return cls._of(picture, stands, short, corners, (h, w), True)

    @classmethod
    def _of(
        cls,
        picture: Tensor,
        stands: Sequence[Stand],
        short: int,
        corners: Sequence[tuple[int, int]],
        size: tuple[int, int],
        copied: bool,
    ) -> Window:
        device, (h, w) = picture.device, size
        tops, lefts = torch.tensor(corners, device=device).T
        rows, columns = tops[:, None] + torch.arange(h, device=device), lefts[:, None] + torch.arange(w, device=device)
        numbers = [(s.x, s.y, math.cos(s.angle) / s.scale, math.sin(s.angle) / s.scale) for s in stands]
        x, y, cos, sin = torch.tensor(numbers, dtype=torch.float64, device=device).T[..., None, None]
        dx, dy = ((columns + 0.5) / short)[:, None] - x, ((rows + 0.5) / short)[..., None] - y
        pixels = picture
        if copied:
            frames = torch.arange(len(stands), device=device)[:, None, None]
            pixels = picture[frames, :, rows[:, :, None], columns[:, None]].permute(0, 3, 1, 2).contiguous()
        return cls(
            pixels,
            (dx * cos + dy * sin).float(),
            (dy * cos - dx * sin).float(),
            np.array([stand.scale for stand in stands]),
            short,
            (rows, columns),
        )

    def put(self, picture: Tensor) -> None:
        """Take a copied window back to where it came from."""
        rows, columns = self.places
        frames = torch.arange(len(rows), device=picture.device)[:, None, None]
        picture[frames, :, rows[:, :, None], columns[:, None]] = self.pixels.permute(0, 2, 3, 1)

    def numbers(self, values: ArrayLike) -> Tensor:
        """[F, 1, 1] a number a frame."""
        return torch.as_tensor(np.asarray(values), dtype=self.x.dtype, device=self.x.device)[:, None, None]

    def lay(self, distance: Tensor, paint: Paint, shadow: float = 1.0, strength: Tensor | None = None) -> None:
        """Lay a piece of paper on top.

        Args:
            distance: [F, h, w] signed, of the head.
            paint: its colour, 0..255.
            shadow: 1 for one that lies as high as things do; less for a flatter one, with a closer shadow.
            strength: [F, 1, 1] factors of its opacity.
        """
        distance = distance * self.numbers(self.scales)
        cover = (0.5 - distance * self.short).clamp(0, 1)
        if strength is not None:
            cover = cover * strength
        left = 1 - cover
        if shadow:
            left = left * (1 - self._shadow(distance, shadow))
        colour = torch.tensor(paint, device=cover.device).float()[:, None, None] / 255
        self.pixels.mul_(left[:, None]).add_(cover[:, None] * colour)

    def _shadow(self, distance: Tensor, height: float) -> Tensor:
        """A soft shadow down and to the right, as `drawing.py` draws it but of finite reach."""
        shift = max(1, round(SHADOW_OFFSET * height * self.short))
        moved = torch.nn.functional.pad(distance[:, None], (shift, 0, shift, 0), mode="replicate")[:, 0]
        moved = moved[:, : distance.shape[1], : distance.shape[2]]
        soft = (0.5 - moved / (6 * SHADOW_SOFTNESS * height)).clamp(0, 1)
        return soft * soft * (3 - 2 * soft) * (SHADOW_ALPHA * math.sqrt(height))


# ---------------------------------------------------------------- signed distances, negative inside


def disc(x: Tensor, y: Tensor, radius: float) -> Tensor:
    """Round."""
    return (x * x + y * y).sqrt() - radius


def ellipse(x: Tensor, y: Tensor, rx: float, ry: float) -> Tensor:
    """Near its outline exact to second order, which is all that is seen."""
    u, v = x / rx, y / ry
    length = (u * u + v * v).sqrt()
    slope = ((u / rx).square() + (v / ry).square()).sqrt().clamp(min=1e-6)
    return length * (length - 1) / slope


def box(x: Tensor, y: Tensor, half_width: float, half_height: float, corner: float) -> Tensor:
    """With round corners."""
    dx, dy = x.abs() - (half_width - corner), y.abs() - (half_height - corner)
    outside = (dx.clamp(min=0).square() + dy.clamp(min=0).square()).sqrt()
    return outside + torch.maximum(dx, dy).clamp(max=0) - corner


def bar(x: Tensor, y: Tensor, half: float, thick: float) -> Tensor:
    """A line with round ends."""
    return disc((x.abs() - half).clamp(min=0), y, thick)
