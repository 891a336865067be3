"""The engine: holds loaded checkpoints and renders jobs that share a batch.

One door for command line, studio, batch renderer and Python. What a task is stands in its own pipeline file; files
and records are `output.py`'s.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from models.checkpoint import CheckpointError, Description, describe, load
from pipelines.job import Job, TextJob
from pipelines.refusal import Refusal

if TYPE_CHECKING:
    from models.checkpoint import Checkpoint
    from pipelines.media import Pixels


@dataclass(frozen=True)
class Estimate:
    """What a job will cost and what to know before it runs."""

    tokens: int
    pairs: int
    flops: float
    warnings: Sequence[str]
    resolved: Mapping[str, Any]


@dataclass(frozen=True)
class Rendered:
    """Frames [F, H, W, C] in uint8 and the engine's part of the record."""

    frames: Pixels
    record: Mapping[str, Any] = field(default_factory=dict)


def groups(jobs: Sequence[Job]) -> list[list[int]]:
    """Indices of jobs that may share a batch: same checkpoint, shape and sampling; prompts and seeds are free."""
    found: dict[tuple[Any, ...], list[int]] = {}
    for index, job in enumerate(jobs):
        if isinstance(job, TextJob):
            key: tuple[Any, ...] = (
                job.task, job.model, job.size, job.frames, job.steps, job.scheduler,
                job.guidance, job.guidance_interval, job.internal_guidance,
            )  # fmt: skip
        else:
            key = (job.task, index)
        found.setdefault(key, []).append(index)
    return list(found.values())


class Engine:
    """Checks and renders jobs. The checkpoint used last stays loaded."""

    def __init__(self, device: str | None = None) -> None:
        self._device = device
        self._described: dict[str, Description] = {}
        self._loaded: Checkpoint | None = None

    def check(self, job: Job) -> Estimate:
        """Cost and warnings of a job, from configuration files alone.

        Raises:
            Refusal: a checkpoint that can not be read, or a size or feature it does not have.
        """
        from pipelines.text import check_text

        if not isinstance(job, TextJob):
            raise Refusal("task", f"task {job.task!r} is not built yet")
        return check_text(job, self.describe(job.model))

    def describe(self, name: str) -> Description:
        """The checkpoint's description, read once.

        Raises:
            Refusal: on the job's field `model`.
        """
        if name not in self._described:
            try:
                self._described[name] = describe(name)
            except CheckpointError as error:
                raise Refusal("model", str(error)) from None
        return self._described[name]

    def checkpoint(self, name: str) -> Checkpoint:
        """The loaded checkpoint; another one's memory is freed first."""
        description = self.describe(name)
        if self._loaded is None or self._loaded.description is not description:
            import torch

            self._loaded = None
            device = self._device or ("cuda" if torch.cuda.is_available() else "cpu")
            try:
                self._loaded = load(description, device)
            except CheckpointError as error:
                raise Refusal("model", str(error)) from None
        return self._loaded

    def render(self, jobs: Sequence[Job], progress: Callable[[int, int], bool]) -> list[Rendered]:
        """Render jobs of one group (see `groups`) as one batch.

        Raises:
            Cancelled: `progress` returned False.
            Refusal: as `check`.
        """
        from pipelines.text import render_text

        estimates = [self.check(job) for job in jobs]
        checkpoint = self.checkpoint(jobs[0].model)
        started = time.monotonic()
        frames, warnings = render_text(checkpoint, [job for job in jobs if isinstance(job, TextJob)], progress)
        seconds = round((time.monotonic() - started) / len(jobs), 3)
        rendered = []
        for pixels, estimate, noted in zip(frames, estimates, warnings, strict=True):
            record = {
                "resolved": dict(estimate.resolved),
                "warnings": list(dict.fromkeys([*estimate.warnings, *noted])),
                "tokens": estimate.tokens,
                "pairs": estimate.pairs,
                "flops": estimate.flops,
                "device": str(checkpoint.device),
                "seconds": seconds,
                "batch": len(jobs),
            }
            rendered.append(Rendered(pixels, record))
        return rendered
