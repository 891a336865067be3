"""An engine for jobs whose files stand in shared storage: each is fetched once, and the engine sees a copy of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from pipelines.estimate import Estimate, Rendered
from pipelines.files.record import files_named
from pipelines.files.storage import Storage, StorageError, is_address
from pipelines.job import Job, parse, recipe
from pipelines.measure import Rehearsal
from pipelines.refusal import Refusal
from pipelines.renderer import Renderer, Step
from pipelines.story.scenecache import digest

FETCHED = "fetched"  # where copies are, in the folder that is kept among outputs
AT_ONCE = 16  # files on their way


class Fetching:
    """A renderer (`Renderer`) in front of another.

    Args:
        renderer: what renders.
        folder: where copies are kept, each under a name that is another when the file is another.
    """

    def __init__(self, renderer: Renderer, folder: Path) -> None:
        self._renderer, self._folder = renderer, folder
        self._copies: dict[str, Path] = {}

    def gather(self, jobs: Iterable[Job]) -> None:
        """Fetch what `jobs` name, many at a time. What can not be fetched is told by `check`."""
        names = {name for job in jobs for name in _addresses(job).values()}
        if not names:
            return
        with ThreadPoolExecutor(AT_ONCE, "fetch") as pool:
            for task in [pool.submit(self._copy, name) for name in names]:
                with suppress(Refusal, OSError):
                    task.result()

    def check(self, job: Job) -> Estimate:
        """See `Renderer`."""
        addresses = _addresses(job)
        try:
            return self._renderer.check(self._local(job))
        except Refusal as refusal:
            reason = refusal.reason
            for name in addresses.values():
                reason = reason.replace(str(self._copies.get(name, name)), name)
            raise Refusal(refusal.field, reason) from None

    def render(self, jobs: Sequence[Job], progress: Step, at_once: int | None = None) -> Sequence[Rendered]:
        """See `Renderer`."""
        return self._renderer.render([self._local(job) for job in jobs], progress, at_once)

    def begin(self, jobs: Sequence[Job], progress: Step) -> Callable[[], Sequence[Rendered]]:
        """See `Renderer`."""
        return self._renderer.begin([self._local(job) for job in jobs], progress)

    def rehearse(self, jobs: Sequence[Job]) -> Rehearsal:
        """See `Renderer`."""
        return self._renderer.rehearse([self._local(job) for job in jobs])

    def step_seconds(self, jobs: Sequence[Job]) -> float:
        """See `Renderer`."""
        return self._renderer.step_seconds([self._local(job) for job in jobs])

    def weights(self, model: str) -> str:
        """See `Renderer`."""
        return self._renderer.weights(model)

    def inputs(self, job: Job) -> dict[str, str]:
        """See `Renderer`."""
        return self._renderer.inputs(self._local(job))

    def _local(self, job: Job) -> Job:
        """The job with copies where it names storage."""
        addresses = _addresses(job)
        if not addresses:
            return job
        values = recipe(job)
        for field, name in addresses.items():
            try:
                _set(values, field, str(self._copies.get(name) or self._copy(name)))
            except FileNotFoundError:
                raise Refusal(field, f"there is no file {name!r}; check its name") from None
            except StorageError as error:
                raise Refusal(field, f"{name!r} can not be fetched: {error.strerror}") from None
            except Refusal as refusal:
                raise Refusal(field, refusal.reason) from None
        return parse(values)

    def _copy(self, name: str) -> Path:
        storage = Storage(name)
        path = self._folder / digest([name, storage.stamp()]) / (name.rstrip("/").rpartition("/")[2] or "file")
        if not path.exists():
            storage.fetch(path)
        self._copies[name] = path
        return path


def _addresses(job: Job) -> dict[str, str]:
    """The fields of a job that name storage, and what they name."""
    if "://" not in job.model_dump_json():  # as of nearly all, at a fraction of the time
        return {}
    return {field: name for field, name in files_named(recipe(job)).items() if is_address(name)}


def _set(values: Any, field: str, value: str) -> None:
    """Set a field such as `layers[1].source` of plain values."""
    *steps, last = [int(step) if step.isdecimal() else step for step in re.findall(r"\w+", field)]
    for step in steps:
        values = values[step]
    values[last] = value
