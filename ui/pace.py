"""How fast this machine renders, from the records of what it rendered before."""

from __future__ import annotations

import math
from pathlib import Path
from statistics import median
from typing import Any

from pipelines.queue.queue import Queue, Row
from ui.result import record

LOOKED_AT = 40  # the latest rows that may tell
NEAREST = 3  # how many records a guess is made of


class Pace:
    """Seconds that a job will take. Records of other models tell nothing, nor do those that used scenes again."""

    def __init__(self, queue: Queue, folder: Path) -> None:
        self._queue, self._folder = queue, folder
        self._known: dict[str, tuple[float, float] | None] = {}  # by the row's id: FLOPs and seconds

    def seconds(self, flops: float, model: str) -> float | None:
        """The time of `flops` with `model`, by the records nearest in size; None while nothing was measured."""
        rows = self._queue.rows(LOOKED_AT, 0, ("done",))
        self._known = {row.id: self._measured(row) for row in rows}  # and none that is older
        measured = [found for row in rows if row.job.get("model") == model and (found := self._known[row.id])]
        if not measured or flops <= 0:
            return None
        near = sorted(measured, key=lambda each: abs(math.log(each[0] / flops)))[:NEAREST]
        return flops * median(seconds / done for done, seconds in near)

    def _measured(self, row: Row) -> tuple[float, float] | None:
        return self._known[row.id] if row.id in self._known else measured(record(row, self._folder))


def measured(told: dict[str, Any]) -> tuple[float, float] | None:
    """FLOPs and seconds of a record that tells both."""
    flops, seconds = told.get("flops"), told.get("seconds")
    if not all(isinstance(value, int | float) and value > 0 for value in (flops, seconds)):
        return None
    scenes = told.get("scenes")
    if isinstance(scenes, list) and any(isinstance(scene, dict) and scene.get("reused") for scene in scenes):
        return None
    return float(flops or 0), float(seconds or 0)
