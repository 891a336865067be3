"""An engine that draws flat colours at once, and writes down what it was asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipelines.estimate import Rendered
from pipelines.files.provenance import inputs
from pipelines.job import Job, Refusal, TextJob
from pipelines.measure import Rehearsal


@dataclass
class FakeEstimate:
    tokens: int = 112
    pairs: int = 112 * 112
    dense_pairs: int = 112 * 112
    flops: float = 1.5e9
    warnings: list[str] = field(default_factory=list)
    resolved: dict[str, Any] = field(default_factory=dict)


class FakeEngine:
    """Prompts steer it: "refuse" is refused, "fail" fails, "odd" warns, "stop" is Ctrl-C."""

    def __init__(self) -> None:
        self.batches: list[list[Job]] = []
        self.rehearsed: list[list[Job]] = []

    def check(self, job: Job) -> FakeEstimate:
        assert isinstance(job, TextJob)
        if job.prompt == "refuse":
            raise Refusal("model", "expected a checkpoint, got a folder without model_index.json")
        return FakeEstimate(warnings=["the word 'odd' is unknown"] if job.prompt == "odd" else [])

    def render(self, jobs: Sequence[Job], progress: Callable[[int, int], bool]) -> list[Rendered]:
        self.batches.append(list(jobs))
        for step in range(jobs[0].steps):
            assert progress(step + 1, jobs[0].steps)
        return [self._one(job) for job in jobs]

    def begin(self, jobs: Sequence[Job], progress: Callable[[int, int], bool]) -> Callable[[], list[Rendered]]:
        results = self.render(jobs, progress)
        return lambda: results

    def step_seconds(self, jobs: Sequence[Job]) -> float:
        return 1.0

    def weights(self, model: str) -> str:
        return model

    def inputs(self, job: Job) -> dict[str, str]:
        return inputs(job)

    def rehearse(self, jobs: Sequence[Job]) -> Rehearsal:
        if any(isinstance(job, TextJob) and job.prompt == "fail" for job in jobs):
            raise RuntimeError("out of\nmemory")
        self.rehearsed.append(list(jobs))
        return Rehearsal(seconds=0.1 * jobs[0].steps, peak_memory=2**20 * len(jobs))

    def _one(self, job: Job) -> Rendered:
        assert isinstance(job, TextJob)
        if job.prompt == "fail":
            raise RuntimeError("out of\nmemory")
        if job.prompt == "stop":
            raise KeyboardInterrupt
        width, height = job.size
        frames = np.full((job.frames, height, width, 3), job.seed % 256, np.uint8)
        warnings = list(self.check(job).warnings)
        return Rendered(frames, {"resolved": {}, "warnings": warnings, "tokens": 112, "device": "fake", "seconds": 0.1})


def groups(jobs: Sequence[Job]) -> list[list[int]]:
    """Indices of jobs of one size."""
    found: dict[Any, list[int]] = {}
    for index, job in enumerate(jobs):
        assert isinstance(job, TextJob)
        found.setdefault((job.size, job.frames, job.steps), []).append(index)
    return list(found.values())
