"""What renders jobs, as those who ask it see it: the engine, or a fake in tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from pipelines.estimate import Estimate, Rendered
from pipelines.job import Job
from pipelines.measure import Rehearsal

Step = Callable[[int, int], bool]
Pace = Callable[[Sequence[Job]], float]
Groups = Callable[[Sequence[Job]], Sequence[Sequence[int]]]


class Renderer(Protocol):
    """An engine."""

    def check(self, job: Job) -> Estimate:
        """The cost of a job. Raises Refusal when the job can not be rendered."""

    def render(self, jobs: Sequence[Job], progress: Step, at_once: int | None = None) -> Sequence[Rendered]:
        """Render jobs that share a batch, calling `progress(step, steps)` after each step.

        `at_once` is given to spare memory: the most frames or layers that go through the autoencoder at a time.
        """

    def begin(self, jobs: Sequence[Job], progress: Step) -> Callable[[], Sequence[Rendered]]:
        """The first part of `render`. What comes back does the rest, in any thread, while this one begins others."""

    def rehearse(self, jobs: Sequence[Job]) -> Rehearsal:
        """What rendering jobs that share a batch will take on this machine."""

    def step_seconds(self, jobs: Sequence[Job]) -> float:
        """Seconds a job that one sampling step of jobs that share a batch takes."""

    def weights(self, model: str) -> str:
        """Hash of the files that decide what a model draws. Raises Refusal when there is no such model."""

    def inputs(self, job: Job) -> dict[str, str]:
        """Hash of each file or folder that a job names, by field."""
