"""Grids that were queued, kept in the output folder so that a page that is opened later still knows them.

A grid is kept as it was read: its job, and its axes with their values, so that a list that changes later changes
nothing. Its renders are rows of the queue whose batch is the grid's id; what came of them stands there.
"""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from pipelines.files.atomic import write_bytes
from pipelines.grid.grid import Axis, Grid
from pipelines.queue.queue import Row
from pipelines.refusal import Refusal

FOLDER = "grids"
SUFFIX = ".json"
ID = re.compile(r"[0-9a-f]{16}")
MAX_BYTES = 16 * 2**20
MAX_GRIDS = 1_000  # that are listed, the newest


@dataclass(frozen=True)
class Kept:
    """A grid that was queued.

    Attributes:
        id: what it is called wherever others can see it, and the batch of its rows.
        created: seconds since 1970.
        grid: the grid.
    """

    id: str
    created: float
    grid: Grid


class GridStore:
    """The grids of one output folder. Every call looks at the folder anew; it may be absent."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / FOLDER

    def save(self, grid: Grid) -> str:
        """Keep a grid and return its id.

        Raises:
            OSError: it can not be written.
        """
        id = secrets.token_hex(8)
        axes = [{"field": axis.field, "search": axis.search, "values": list(axis.values)} for axis in grid.axes]
        told = {"created": time.time(), "job": grid.values, "axes": axes}
        self.folder.mkdir(parents=True, exist_ok=True)
        write_bytes(self.folder / f"{id}{SUFFIX}", json.dumps(told, ensure_ascii=False).encode())
        return id

    def get(self, id: str) -> Kept | None:
        """The grid called `id`; None where there is none, or its file is none of ours."""
        if not ID.fullmatch(id):
            return None
        path = self.folder / f"{id}{SUFFIX}"
        try:
            status = path.stat()
            return _read(path, status.st_mtime_ns) if status.st_size <= MAX_BYTES else None
        except (OSError, ValueError, KeyError, TypeError, Refusal):
            return None

    def ids(self) -> list[str]:
        """The grids' ids, newest first."""
        try:
            found = [path for path in self.folder.iterdir() if path.suffix == SUFFIX and ID.fullmatch(path.stem)]
            timed = sorted(((path.stat().st_mtime_ns, path.stem) for path in found), reverse=True)
        except OSError:
            return []
        return [stem for _, stem in timed[:MAX_GRIDS]]

    def forget(self, id: str) -> None:
        """Keep a grid no longer; its rows and their outputs stay.

        Raises:
            OSError: its file can not be removed.
        """
        if ID.fullmatch(id):
            (self.folder / f"{id}{SUFFIX}").unlink(missing_ok=True)


def rows_of(grid: Grid, rows: Sequence[Row]) -> dict[int, Row]:
    """The row of each job of a grid, by the job's index: of several the latest that is done, else the latest.

    Args:
        grid: the grid.
        rows: those of its batch, in the order of arrival; retries are among them.
    """
    places = {tuple(index + 1 for index in cell.at): cell.index for cell in grid.cells}
    found: dict[int, Row] = {}
    for row in rows:
        told = (row.expanded_from or {}).get("cell")
        index = places.get(tuple(told)) if isinstance(told, list) else None
        if index is not None and (index not in found or row.state == "done" or found[index].state != "done"):
            found[index] = row
    return found


@lru_cache(maxsize=16)  # a grid of many cells is checked by the schema when it is made
def _read(path: Path, changed: int) -> Kept:
    told: Mapping[str, Any] = json.loads(path.read_bytes())
    axes = tuple(Axis(axis["field"], tuple(axis["values"]), axis["search"]) for axis in told["axes"])
    return Kept(path.stem, float(told["created"]), Grid(told["job"], axes))
