"""The report of a batch: what was rendered, how fast, and where the time went; `batch/report.json` and a few lines."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.farm.station import Outcome
from pipelines.files.atomic import write_bytes
from pipelines.files.output import versions
from pipelines.job import Job
from pipelines.progress import duration, pace

FILE = "report.json"
SPANS = ("prompts", "denoising", "decoding", "writing")


@dataclass
class Report:
    """What a batch counts while it runs.

    Attributes:
        rows: all rows of the call.
        there: rows that an earlier call had rendered.
        started: on the clock that never goes back.
    """

    rows: int
    there: int = 0
    done: int = 0
    failed: int = 0
    started: float = field(default_factory=time.monotonic)
    spans: Counter[str] = field(default_factory=Counter)
    groups: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, job: Job, outcome: Outcome, together: int) -> None:
        """Count a row that is over."""
        good = not outcome.reason
        self.done += good
        self.failed += not good
        self.spans.update(outcome.spans)
        size = getattr(job, "size", None)
        shape = f" {size[0]} x {size[1]}" if size else ""
        name = f"{job.task}{shape}, {job.steps} steps, {job.model}"
        group = self.groups.setdefault(name, {"done": 0, "failed": 0, "seconds": 0.0, "together": 0})
        group["done"] += good
        group["failed"] += not good
        group["seconds"] += outcome.seconds
        group["together"] = max(group["together"], together)

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self.started

    @property
    def rate(self) -> float:
        """Rows a second."""
        return self.done / max(self.seconds, 1e-9)

    def values(self) -> dict[str, Any]:
        """The report as plain JSON values; seconds of spans are those of all rows together."""
        return {
            "rows": self.rows,
            "there_before": self.there,
            "done": self.done,
            "failed": self.failed,
            "waiting": self.rows - self.there - self.done - self.failed,
            "seconds": round(self.seconds, 3),
            "rows_per_second": round(self.rate, 4),
            "spans": {name: round(self.spans[name], 3) for name in SPANS},
            "groups": {
                name: {**group, "seconds": round(group["seconds"], 3)} for name, group in sorted(self.groups.items())
            },
            "versions": versions(),
        }

    def write(self, folder: Path) -> Path:
        """Write it into `folder`, which is there.

        Raises:
            OSError: it can not be written.
        """
        path = folder / FILE
        write_bytes(path, (json.dumps(self.values(), indent=2, ensure_ascii=False) + "\n").encode())
        return path

    def words(self) -> Sequence[str]:
        """Where the time went, a line; nothing where nothing was rendered."""
        spent = sum(self.spans.values())
        if not spent:
            return []
        shares = ", ".join(f"{name} {100 * self.spans[name] / spent:.0f} %" for name in SPANS)
        return [f"{pace(self.rate)}; {shares} of {duration(spent)} of work"]
