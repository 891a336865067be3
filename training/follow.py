"""What a run has written so far, for those who watch it: its log, its sheets, its results. Only reads."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from .runs import SAID

LOG, SHEETS = "log.jsonl", "samples"
RESULTS = ("adapter", "adapter-best")  # of which the first is as it ended
SHEET = re.compile(r"step-(\d{8,12})\.png", re.ASCII)
MOST = 2**23  # bytes of a log that are read, from its end
TAIL = 4_000  # bytes of what it says
Points = tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class Followed:
    """The log of a run.

    Attributes:
        losses: by step.
        held_out: the loss on examples that are kept apart, by step.
        last: the newest line with a loss; empty where there is none yet.
    """

    losses: Points
    held_out: Points
    last: Mapping[str, Any]

    @property
    def step(self) -> int:
        """The last step that is known of."""
        return max([0, *(step for points in (self.losses, self.held_out) for step, _ in points[-1:])])


def followed(folder: Path) -> Followed:
    """The log of the run in `folder`, as far as it is whole."""
    with suppress(OSError):
        stat = (folder / LOG).stat()
        return _followed(folder / LOG, stat.st_size, stat.st_mtime_ns)
    return Followed((), (), {})


@lru_cache(maxsize=8)  # pages ask again and again, and a log changes seldom
def _followed(path: Path, size: int, _: int) -> Followed:
    losses, held_out = [], []
    last: Mapping[str, Any] = {}
    with path.open("rb") as file:
        file.seek(max(0, size - MOST))
        lines = file.read(MOST).splitlines()
    for line in lines:
        row = _row(line)
        step = row.get("step")
        if isinstance(step, int) and not isinstance(step, bool):
            if (loss := _number(row.get("loss"))) is not None:
                losses.append((step, loss))
                last = row
            if (loss := _number(row.get("held_out"))) is not None:
                held_out.append((step, loss))
    return Followed(tuple(losses), tuple(held_out), last)


def sheets(folder: Path) -> list[int]:
    """The steps of which there is a sheet of pictures, in order."""
    with suppress(OSError):
        found = [SHEET.fullmatch(path.name) for path in (folder / SHEETS).iterdir()]
        return sorted(int(match[1]) for match in found if match)
    return []


def sheet_of(step: int) -> str:
    """The file of a sheet, seen from the run's folder."""
    return f"{SHEETS}/step-{step:08d}.png"


def results(folder: Path) -> list[str]:
    """Names of the adapters that a run has written, without their suffix."""
    return [name for name in RESULTS if (folder / f"{name}.safetensors").is_file()]


def said(folder: Path) -> str:
    """The last lines that a run said, and none that is cut off."""
    with suppress(OSError), (folder / SAID).open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - TAIL))
        text = file.read(TAIL).decode("utf-8", "replace")
        return text if size <= TAIL else text.partition("\n")[2]
    return ""


def _row(line: bytes) -> Mapping[str, Any]:
    with suppress(ValueError, RecursionError):
        row = json.loads(line)
        if isinstance(row, dict):
            return row
    return {}


def _number(value: object) -> float | None:
    """A finite number; None for all else."""
    known = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < float("inf")
    return float(value) if known else None  # type: ignore[arg-type]
