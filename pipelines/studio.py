"""The Python door: `from pipelines import Studio`, and a list of jobs becomes files as on the command line."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.batch import Batch, Options, check_all
from pipelines.engine import Engine, groups
from pipelines.farm.fetched import FETCHED, Fetching
from pipelines.farm.manifest import Entry
from pipelines.farm.place import Place
from pipelines.files.jobfile import Source, jobs_of
from pipelines.files.kept import KEPT
from pipelines.job import Job, recipe
from pipelines.renderer import Groups, Renderer

if TYPE_CHECKING:
    from PIL import Image

PLACE = "jobs"  # what refusals call a list of jobs


@dataclass(frozen=True)
class Result:
    """What became of a job.

    Attributes:
        job: as it was rendered.
        path: the picture, the video or, of layers, the flat picture; None where the job failed.
        files: all files but the record, the shown one last.
        seconds: that it took, its share of its unit.
        reason: why it failed, or "".
    """

    job: Job
    path: Path | None
    files: tuple[Path, ...]
    seconds: float
    reason: str

    @property
    def image(self) -> Image.Image:
        """The picture.

        Raises:
            ValueError: the job failed, or made a video.
        """
        if self.path is None or self.path.suffix != ".png":
            raise ValueError(f"expected a job that made a picture, got {self.reason or self.path}")
        from PIL import Image

        return Image.open(self.path)


class Studio:
    """Renders lists of jobs into a folder; the checkpoint used last stays loaded between two calls.

    Args:
        out: the output folder, or an address of shared storage. What it has already is not rendered again.
        device: such as `cpu` or `cuda:1`; None takes a GPU where there is one.
        engine: what renders instead, and what groups its jobs; for tests.
    """

    def __init__(
        self, out: str | Path = "out", device: str | None = None, engine: tuple[Renderer, Groups] | None = None
    ) -> None:
        self.place = Place(out)
        kept = self.place.folder / KEPT
        renderer, self._groups = engine or (Engine(device, kept), groups)
        self._renderer = Fetching(renderer, kept / FETCHED)

    def render(self, jobs: Iterable[Mapping[str, Any] | Job], **options: Any) -> list[Result]:
        """Render jobs, each a mapping as in a job file or a `Job`; their results in the same order.

        Args:
            jobs: one with `expand` becomes several.
            **options: fields of `pipelines.batch.Options`, such as `batch=8` or `again=True`.

        Raises:
            Refused: a job is not right, or asks for more than its checkpoint has; nothing is rendered.
            Halted: the folder takes no files now.
        """
        sources: list[Source] = []
        named: dict[str, Source] = {}
        for number, job in enumerate(jobs, 1):
            found, refused = jobs_of(PLACE, number, job if isinstance(job, Mapping) else recipe(job), named)
            if refused:
                raise refused[0]
            sources += found
        self._renderer.gather(source.job for source in sources)
        estimates, refused = check_all(sources, self._renderer)
        if refused:
            raise refused[0]
        costs = [found.flops for found in estimates if found is not None]
        chosen = Options(**{"quiet": True, **options})
        work = Batch.begin(sources, self._renderer, self.place, costs, chosen, io.StringIO())
        try:
            work.run(self._groups)
        finally:
            work.close()
        return [self._result(source.job, entry) for source, entry in zip(sources, work.entries, strict=True)]

    def _result(self, job: Job, entry: Entry) -> Result:
        files = tuple(self.place.folder / name for name in entry.files)
        return Result(job, files[-1] if files else None, files, entry.seconds, entry.reason)
