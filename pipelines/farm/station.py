"""The station: one loaded engine that renders units of rows and writes their files.

A batch on this machine has one, a batch on a cluster one in each actor. What it is given and what it answers are plain
values, so that both can be sent to another process.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pipelines.estimate import Rendered
from pipelines.farm.place import Place
from pipelines.files.atomic import CLOSED, FULL
from pipelines.files.output import OutputFolder
from pipelines.files.storage import StorageError
from pipelines.job import Job
from pipelines.refusal import on_one_line
from pipelines.renderer import Renderer, Step


@dataclass(frozen=True)
class Row:
    """A row on its way to a station: the job, the stem of its files, and what its record tells beside."""

    index: int
    job: Job
    stem: str
    expanded_from: Mapping[str, Any] | None = None
    wanted: bool = (
        True  # whether its files are written; a unit is rendered whole, so that its bytes are always the same
    )


@dataclass(frozen=True)
class Outcome:
    """What became of a row.

    Attributes:
        index: the row's.
        files: path relative to the output folder and SHA-256; empty where it failed.
        reason: why it failed, or "".
        halt: why no row can be written now, or "".
        seconds: of its unit, shared among the unit's rows.
        warnings: for a person.
        spans: what `seconds` were spent on.
    """

    index: int
    files: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""
    halt: str = ""
    seconds: float = 0.0
    warnings: Sequence[str] = ()
    spans: Mapping[str, float] = field(default_factory=dict)


Finish = Callable[[], list[Outcome]]


class Station:
    """Renders units of rows that share a batch.

    Args:
        renderer: the engine.
        place: where outputs go.
    """

    def __init__(self, renderer: Renderer, place: Place) -> None:
        self.renderer, self.place, self.folder = renderer, place, OutputFolder(place.folder)

    def __call__(self, rows: Sequence[Row], progress: Step = lambda step, steps: True) -> list[Outcome]:
        """Render and write a unit."""
        return self.begin(rows, progress)()

    def begin(self, rows: Sequence[Row], progress: Step = lambda step, steps: True) -> Finish:
        """Denoise a unit. What comes back decodes it and writes its files, in this thread or in another.

        A unit that fails is taken apart: alone, all rows but the one to blame come through, and so do those that were
        too many for the memory.
        """
        started = time.monotonic()
        problem = ""
        try:
            finish = self.renderer.begin([row.job for row in rows], progress)
        except Exception as error:
            problem = told(error)
        # Outside of the except block, where the exception and all tensors that its frames hold are gone.
        if problem and len(rows) == 1:
            outcome = Outcome(rows[0].index, reason=problem, seconds=time.monotonic() - started)
            return lambda: [outcome]
        if problem:
            return self._one_by_one(rows, progress)
        spent = time.monotonic() - started
        return lambda: self._finish(rows, finish, spent, progress)

    def _one_by_one(self, rows: Sequence[Row], progress: Step) -> Finish:
        outcomes = [outcome for row in rows if row.wanted for outcome in self([row], progress)]
        return lambda: outcomes

    def _finish(
        self, rows: Sequence[Row], finish: Callable[[], Sequence[Rendered]], spent: float, progress: Step
    ) -> list[Outcome]:
        started = time.monotonic()
        problem = ""
        try:
            results = finish()
        except Exception as error:
            problem = told(error)
        if problem:
            if len(rows) > 1:
                return self._one_by_one(rows, progress)()
            return [Outcome(rows[0].index, reason=problem, seconds=spent + time.monotonic() - started)]
        share = (spent + time.monotonic() - started) / len(rows)
        return [self._save(row, result, share) for row, result in zip(rows, results, strict=True) if row.wanted]

    def _save(self, row: Row, result: Rendered, seconds: float) -> Outcome:
        if row.expanded_from is not None:  # beside the job, which has the texts as they were used
            result = replace(result, record={**result.record, "expanded_from": row.expanded_from})
        started = time.monotonic()
        try:
            files = self.folder.save(row.job, row.stem, result)
            names = {file.relative_to(self.folder.folder).as_posix(): digest for file, digest in files.items()}
            self.place.deliver([*names, f"{row.stem}.json"])
        except StorageError as error:
            return Outcome(row.index, halt=f"{self.place.name} can not be written to ({error.strerror})")
        except OSError as error:
            if error.errno in (*FULL, *CLOSED):  # what is wrong with the folder, and not with this row
                what = "the disk is full" if error.errno in FULL else "the folder can not be written to"
                return Outcome(row.index, halt=f"{what} ({error.strerror})")
            return Outcome(row.index, reason=told(error), seconds=seconds)
        except Exception as error:
            return Outcome(row.index, reason=told(error), seconds=seconds)
        spans = {**result.record.get("spans", {}), "writing": time.monotonic() - started}
        return Outcome(row.index, names, "", "", seconds, tuple(result.record.get("warnings", ())), spans)


def told(error: Exception) -> str:
    """An exception as one line, with the place in the code where it was raised."""
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    at = f" (at {Path(place.tb_frame.f_code.co_filename).name}:{place.tb_lineno})" if place else ""
    message = on_one_line(" ".join(str(error).split()), 500)
    return f"{type(error).__name__}: {message}{at}"
