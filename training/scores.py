"""What an evaluation found: rates, and the failures as a picture."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from training.pixels import Pixels


@dataclass(frozen=True)
class Failure:
    """What is not exactly as asked."""

    index: int
    caption: str
    reason: str
    picture: Pixels  # [H, W, 3]


@dataclass(frozen=True)
class Scores:
    """Shares of `total` pictures or clips, 0..1."""

    total: int
    rates: dict[str, float]
    failures: tuple[Failure, ...] = field(repr=False)

    @property
    def exact(self) -> float:
        """Share with everything right."""
        return self.rates["exact"]

    @property
    def exact_two(self) -> float:
        """Share of pictures with everything but the sizes right."""
        return self.rates["exact_two"]

    @property
    def words(self) -> str:
        """`subject 0.983  motion 0.967`."""
        return "  ".join(f"{name} {rate:.3f}" for name, rate in self.rates.items())


def contact_sheet(failures: Sequence[Failure], columns: int = 6, side: int = 192) -> Pixels:
    """Failures with caption and reason as one picture, uint8 RGB [H, W, 3]; white where there is none."""
    line, lines = 13, 6
    rows = max(1, math.ceil(len(failures) / columns))
    sheet = np.full((rows * (side + line * lines), columns * side, 3), 255, np.uint8)
    for k, failure in enumerate(failures):
        top, left = k // columns * (side + line * lines), k % columns * side
        height, width = failure.picture.shape[:2]
        scale = side / max(height, width)
        shown = cv2.resize(
            failure.picture, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_NEAREST
        )
        sheet[top : top + shown.shape[0], left : left + shown.shape[1]] = shown
        letters = side * 30 // 192
        words = textwrap.wrap(failure.caption, letters)[:3] + textwrap.wrap(failure.reason, letters)[:3]
        for n, text in enumerate(words):
            at = (left + 2, top + side + line * (n + 1) - 3)
            cv2.putText(sheet, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.33, (0, 0, 0), 1, cv2.LINE_AA)
    return sheet


def write_sheet(path: Path, scores: Scores, columns: int = 6, side: int = 192) -> None:
    """Write the first failures as a PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), contact_sheet(scores.failures[: 6 * columns], columns, side)[..., ::-1])


def tiled(frames: Pixels, columns: int | None = None) -> Pixels:
    """[F, H, W, 3] frames as one picture, row by row, as many columns as rows by default; a white line between them."""
    columns = columns or math.ceil(math.sqrt(len(frames)))
    rows = math.ceil(len(frames) / columns)
    _, height, width, _ = frames.shape
    tile = np.full((rows * columns, height + 1, width + 1, 3), 255, np.uint8)
    tile[: len(frames), :height, :width] = frames
    tile = tile.reshape(rows, columns, height + 1, width + 1, 3).transpose(0, 2, 1, 3, 4)
    return np.ascontiguousarray(tile.reshape(rows * (height + 1), columns * (width + 1), 3))
