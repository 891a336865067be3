"""Two outputs side by side: what differs between their jobs and records, and by how much their pixels differ."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.files.media import MediaError, frames_of

# What of a record tells how an output came about; the rest is what it cost, or names files.
TOLD = ("resolved", "versions", "device", "dtype", "threads", "weights", "inputs", "batch", "retried_with", "diorama")
ROWS = 256  # compared at once: counting takes eight bytes a value


@dataclass(frozen=True)
class Difference:
    """A field that two records tell differently; None is what a record does not tell, or null."""

    field: str
    left: Any
    right: Any


@dataclass(frozen=True)
class PixelDifference:
    """How far two pictures or videos of one size are apart, over all frames and channels, in steps of 8 bits.

    Attributes:
        largest: 0..255.
        mean: of the absolute differences.
        psnr: in dB; None where they are equal.
    """

    largest: int
    mean: float
    psnr: float | None


@dataclass(frozen=True)
class Comparison:
    """What is different; `pixels` is None for pictures of different size and for files that can not be read."""

    differences: list[Difference]
    pixels: PixelDifference | None


def differences(left: Mapping[str, Any], right: Mapping[str, Any]) -> list[Difference]:
    """What two records tell differently: fields of the job by name, then others such as `versions.torch`."""
    a, b = dict(_told(left)), dict(_told(right))
    fields = dict.fromkeys([*a, *b])
    return [Difference(field, a.get(field), b.get(field)) for field in fields if a.get(field) != b.get(field)]


def pixels(left: Path, right: Path) -> PixelDifference | None:
    """How far the pixels of two picture or video files are apart; None for different sizes or numbers of frames.

    Raises:
        MediaError: one of them can not be read.
    """
    counts = np.zeros(256, np.int64)  # how many values are that far apart
    for a, b in zip_longest(frames_of(left), frames_of(right)):
        if a is None or b is None or a.shape != b.shape:
            return None
        if a.shape[2] == 4 and min(a[..., 3].min(), b[..., 3].min()) == 255:  # then alpha would only thin the mean
            a, b = a[..., :3], b[..., :3]
        for top in range(0, len(a), ROWS):
            rows, others = a[top : top + ROWS], b[top : top + ROWS]
            counts += np.bincount(np.where(rows > others, rows - others, others - rows).ravel(), minlength=256)
    steps = np.arange(256)
    total, squares, count = (int(counts @ weights) for weights in (steps, steps**2, np.ones_like(steps)))
    psnr = 10 * math.log10(255**2 * count / squares) if squares else None
    return PixelDifference(int(counts.nonzero()[0].max()), total / count, psnr)


def compare(
    left: Mapping[str, Any], right: Mapping[str, Any], left_file: Path | None, right_file: Path | None
) -> Comparison:
    """What differs between two records, and between their pictures or videos, where both are there."""
    apart = None
    if left_file is not None and right_file is not None:
        try:
            apart = pixels(left_file, right_file)
        except MediaError:  # the records still tell what they tell
            apart = None
    return Comparison(differences(left, right), apart)


def _told(record: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    yield from _leaves("", record.get("job"))
    for name in TOLD:
        yield from _leaves(name, record.get(name))


def _leaves(field: str, value: object) -> Iterator[tuple[str, Any]]:
    """Every value with its field. Lists of plain values, such as a size, stay whole."""
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            yield from _leaves(f"{field}.{name}" if field else str(name), inner)
    elif isinstance(value, list) and any(isinstance(inner, Mapping) for inner in value):
        for number, inner in enumerate(value):
            yield from _leaves(f"{field}[{number}]", inner)
    else:
        yield field, value
