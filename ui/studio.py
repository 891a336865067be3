"""What every tab of the studio works with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pipelines.history.history import History
from pipelines.history.reproductions import Reproductions
from pipelines.job import Job
from pipelines.queue.loaded import Loaded
from pipelines.queue.queue import Queue
from pipelines.shelf.hub import Fetcher
from pipelines.shelf.shelf import Shelf
from training.runs import Runs
from ui.pace import Pace
from ui.uploads import Uploads

Check = Callable[[Job], Any]


@dataclass(frozen=True)
class Studio:
    """What every tab works with.

    Attributes:
        queue: where jobs are written and states read.
        folder: the output folder.
        check: gives a job's cost; raises Refusal for a job that the engine would refuse.
        health: a sentence while no renderer is at work, else "".
        uploads: what people gave.
        pace: how fast this machine renders.
        roots: folders of models beside those that the shelf keeps itself.
        by_path: whether the page may name folders of this machine.
    """

    queue: Queue
    folder: Path
    check: Check
    health: Callable[[], str]
    uploads: Uploads
    pace: Pace
    roots: Sequence[Path] = ()
    by_path: bool = False

    @cached_property
    def shelf(self) -> Shelf:
        """The models that are here."""
        return Shelf(self.folder, self.roots, self.by_path)

    @cached_property
    def loaded(self) -> Loaded:
        """Which model the worker holds."""
        return Loaded(self.folder)

    @cached_property
    def fetcher(self) -> Fetcher:
        """Fetches models from the hub, when somebody presses for it."""
        return Fetcher()

    @cached_property
    def history(self) -> History:
        """The outputs of the folder."""
        return History(self.folder)

    @cached_property
    def reproductions(self) -> Reproductions:
        """Outputs that are to be rendered again and compared."""
        return Reproductions(self.folder)

    @cached_property
    def runs(self) -> Runs:
        """Trainings that pages began."""
        return Runs(self.folder)

    def rendering(self) -> bool:
        """Whether a render is at work."""
        return any(row.state == "running" for row in self.queue.line(1))

    def training(self) -> bool:
        """Whether a training is at work, which takes from a render what it has of this machine."""
        return bool(self.runs.busy())
