"""What every tab of the studio works with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.job import Job
from pipelines.queue import Queue
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
    """

    queue: Queue
    folder: Path
    check: Check
    health: Callable[[], str]
    uploads: Uploads
    pace: Pace
