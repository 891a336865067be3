"""Units: which rows of a batch are rendered together, and how many that should be.

A picture may differ by 1/255 with the size of the unit that it is rendered in, so a unit is a pure function of the rows
and of its group's size. A size that was measured is kept, so that a batch that was killed goes on with the very units
that it had, on one machine or on many.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from pipelines.files.atomic import write_bytes
from pipelines.job import Job
from pipelines.renderer import Pace
from pipelines.story.scenecache import digest

SIZES = (1, 2, 4, 8, 16, 32)
USUAL = 4  # where a group is too small to measure one
GAIN = 0.05  # faster, or a larger unit is not worth its memory and the longer wait for a first picture
SHARE = 0.03  # of a group's steps that measuring its size may take
STEPS = 3  # of one measurement; see `Engine.step_seconds`


def cut(group: Sequence[int], size: int) -> Iterator[list[int]]:
    """The units of a group: its indices in order, `size` at a time."""
    for start in range(0, len(group), size):
        yield list(group[start : start + size])


def best_size(jobs: Sequence[Job], pace: Pace) -> int:
    """How many of a group's jobs are fastest together.

    Sizes double as long as a step then takes at least 5 % less a job, and as long as what is measured, all sizes
    together, is at most 3 % of the group's steps.
    """
    best, fastest = USUAL, float("inf")
    for number, size in enumerate(SIZES):
        if size > len(jobs) or not _affordable(jobs, max(2, number + 1)):
            break
        try:
            seconds = pace(jobs[:size])
        except Exception:  # more than this memory holds, or a job that fails: its unit tells that
            break
        if seconds > fastest * (1 - GAIN):
            break
        best, fastest = size, seconds
    return best


def _affordable(jobs: Sequence[Job], sizes: int) -> bool:
    """Whether a group is worth measuring the first `sizes` of the sizes."""
    return STEPS * sum(SIZES[:sizes]) <= SHARE * len(jobs) * jobs[0].steps


class Sizes:
    """The sizes that were measured for the groups of a folder, in a file of it.

    Attributes:
        grown: whether the last question was a new one.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.grown = path, False
        self._known: dict[str, int] = {}
        with suppress(OSError, ValueError):
            found = json.loads(path.read_bytes())
            self._known = {key: size for key, size in found.items() if size in SIZES}

    def of(self, keys: Sequence[str], jobs: Sequence[Job], pace: Pace) -> int:
        """The size for the group of rows `keys`, measured when it is first asked for.

        Raises:
            OSError: it can not be kept.
        """
        if not _affordable(jobs, 2):  # two are the least that can be compared
            return USUAL
        group = digest(list(keys))
        self.grown = group not in self._known
        if self.grown:
            self._known[group] = best_size(jobs, pace)
            write_bytes(self.path, json.dumps(self._known).encode())
        return self._known[group]
