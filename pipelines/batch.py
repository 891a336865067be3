"""The batch renderer behind `diorama render`: checks every job, then renders them group by group.

It drives whatever renders behind the protocols below; the one that does is `engine.py`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol, TextIO

from pipelines.estimate import Estimate, Rendered
from pipelines.files.jobfile import Source
from pipelines.files.output import OutputFolder
from pipelines.job import Job, ScenesJob
from pipelines.measure import Rehearsal
from pipelines.progress import Progress, duration
from pipelines.refusal import Refusal, Refused, on_one_line


class Renderer(Protocol):
    """What renders jobs: the engine, or a fake in tests."""

    def check(self, job: Job) -> Estimate:
        """The cost of a job. Raises Refusal when the job can not be rendered."""

    def render(
        self, jobs: Sequence[Job], progress: Callable[[int, int], bool], at_once: int | None = None
    ) -> Sequence[Rendered]:
        """Render jobs that share a batch, calling `progress(step, steps)` after each step.

        `at_once` is given to spare memory: the most frames or layers that go through the autoencoder at a time.
        """

    def rehearse(self, jobs: Sequence[Job]) -> Rehearsal:
        """What rendering jobs that share a batch will take on this machine."""


Groups = Callable[[Sequence[Job]], Sequence[Sequence[int]]]


def check_all(sources: Sequence[Source], renderer: Renderer) -> list[Estimate]:
    """The cost of every job.

    Raises:
        Refused: the renderer can not render one of them.
    """
    estimates = []
    for source in sources:
        try:
            estimates.append(renderer.check(source.job))
        except Refusal as refusal:
            raise Refused(source.file, source.document, refusal.field, refusal.reason) from None
    return estimates


@dataclass
class Batch:
    """The jobs of one call on their way into a folder: files `written`, and those that `failed`, by index."""

    sources: Sequence[Source]
    renderer: Renderer
    folder: OutputFolder
    stems: Sequence[str]
    progress: Progress
    written: dict[int, list[Path]] = field(default_factory=dict)
    failed: list[int] = field(default_factory=list)

    @classmethod
    def begin(
        cls,
        sources: Sequence[Source],
        renderer: Renderer,
        folder: Path,
        costs: Sequence[float],
        quiet: bool,
        err: TextIO,
    ) -> Batch:
        """A batch with its names claimed and nothing rendered; `costs` are in proportion to one another."""
        target = OutputFolder(folder)
        stems = [target.claim(source.job, source.document) for source in sources]
        return cls(sources, renderer, target, stems, Progress(err, costs, quiet))

    def run(self, groups: Groups, size: int) -> None:
        """Render all jobs, at most `size` at once. A job that fails is told, and the others go on."""
        jobs = [source.job for source in self.sources]
        for group in groups(jobs):
            for start in range(0, len(group), size):
                self._render(list(group[start : start + size]))

    def _render(self, ids: list[int]) -> None:
        jobs = [self.sources[i].job for i in ids]
        first = len(self.written) + len(self.failed) + 1

        def report(step: int, steps: int) -> bool:
            self.progress.step(first, ids, step, steps)
            return True

        started = time.monotonic()
        problem = ""
        try:
            results = self.renderer.render(jobs, report)
        except Exception as error:
            problem = told(error)
        # Outside of the except block, where the exception and all tensors that its frames hold are gone.
        if problem and len(ids) == 1:
            return self._fail(ids[0], problem)
        if problem:  # one of them is to blame, or they were too many for the memory: alone, the others come through
            for i in ids:
                self._render([i])
            return
        seconds = (time.monotonic() - started) / len(ids)
        for i, result in zip(ids, results, strict=True):
            self._save(i, result, seconds)

    def _save(self, i: int, result: Rendered, seconds: float) -> None:
        source, stem = self.sources[i], self.stems[i]
        if source.expanded_from is not None:  # beside the job, which has the texts as they were used
            result = replace(result, record={**result.record, "expanded_from": source.expanded_from})
        try:
            self.written[i] = self.folder.save(source.job, stem, result)
        except Exception as error:
            return self._fail(i, told(error))
        self.progress.finish(i)
        for warning in result.record.get("warnings", ()):
            self.progress.say(f"{stem}: warning: {warning}")
        if not self.progress.moving:
            done = f"{len(self.written) + len(self.failed)} of {len(self.sources)}"
            self.progress.say(f"{done}: {self.written[i][-1]} in {duration(seconds)}")

    def _fail(self, i: int, problem: str) -> None:
        source = self.sources[i]
        self.failed.append(i)
        self.progress.finish(i)
        self.progress.say(f"{self.stems[i]} failed ({source.file}, document {source.document}): {problem}", urgent=True)

    def pictures(self) -> Iterator[tuple[Path, str]]:
        """The pictures and videos in the order of the jobs, each with its prompt."""
        for i in sorted(self.written):
            yield self.written[i][-1], words_of(self.sources[i].job)


def words_of(job: Job) -> str:
    """What a job shows, as a list of outputs says it: its prompt, or the first of several."""
    if isinstance(job, ScenesJob):
        more = len(job.scenes) - 1
        return on_one_line(job.scenes[0].prompt, 80) + (f" + {more} more" if more else "")
    return getattr(job, "prompt", "")


def render(
    sources: Sequence[Source],
    renderer: Renderer,
    groups: Groups,
    folder: Path,
    *,
    costs: Sequence[float],
    batch: int = 4,
    quiet: bool = False,
    out: TextIO | None = None,
    err: TextIO | None = None,
) -> int:
    """Render `sources` into `folder` and say where the pictures are; the number of jobs that failed.

    `costs` are what the jobs cost in proportion to one another, such as their FLOPs: the time left is told by them.
    """
    out, err = out or sys.stdout, err or sys.stderr
    work = Batch.begin(sources, renderer, folder, costs, quiet, err)
    try:
        work.run(groups, batch)
    finally:
        work.progress.clear()
        if not quiet and work.written:
            took = duration(time.monotonic() - work.progress.started)
            print(f"{len(work.written)} of {len(sources)} rendered in {took}, in {folder}:", file=out)
            for path, prompt in work.pictures():
                print(f"  {path}  {on_one_line(prompt, 100)}".rstrip(), file=out)
    return len(work.failed)


def told(error: Exception) -> str:
    """An exception as one line, with the place in the code where it was raised."""
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    at = f" (at {Path(place.tb_frame.f_code.co_filename).name}:{place.tb_lineno})" if place else ""
    message = on_one_line(" ".join(str(error).split()), 500)
    return f"{type(error).__name__}: {message}{at}"
