"""What the engine says of a job before and after it renders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipelines.media import Pixels


@dataclass(frozen=True)
class Estimate:
    """What a job will cost and what to know before it runs.

    Attributes:
        tokens: tokens of the plan, context and picture stream.
        pairs: attended pairs of one head in one layer.
        flops: of all model evaluations together; an upper bound where a guidance interval saves some of them.
        warnings: sentences about what the checkpoint can not read or ignores.
        resolved: settings as they will be used.
    """

    tokens: int
    pairs: int
    flops: float
    warnings: Sequence[str]
    resolved: Mapping[str, Any]


@dataclass(frozen=True)
class Rendered:
    """Frames [F, H, W, C] in uint8 and the engine's part of the record."""

    frames: Pixels
    record: Mapping[str, Any]
