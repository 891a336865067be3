"""How far a render is, on standard error: one moving line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from typing import TextIO

BAR = 24


class Progress:
    """Shows jobs done, the step of the current ones and the time left.

    A job counts as much as it costs, in whatever unit the caller has, so that the time left is right when jobs differ.
    """

    def __init__(self, stream: TextIO, costs: Sequence[float], quiet: bool = False) -> None:
        self.stream = stream
        self.costs = costs
        self.quiet = quiet
        self.moving = not quiet and stream.isatty()
        self.total = sum(costs) or 1.0
        self.before = self.done = 0.0  # costs of what was there, and of what was rendered since
        self.finished = 0  # jobs
        self.started = time.monotonic()

    def step(self, first: int, jobs: Sequence[int], step: int, steps: int) -> None:
        """The `jobs`, by index, took `step` of `steps` together; people read of them as `first` and following."""
        if not self.moving:
            return
        now = sum(self.costs[job] for job in jobs) * step / max(1, steps)
        share = min(1.0, (self.before + self.done + now) / self.total)
        made = self.done + now
        took = time.monotonic() - self.started
        left = took * (self.total - self.before - made) / made if made else 0.0
        bar = "#" * round(BAR * share)
        which = f"job {first}" if len(jobs) == 1 else f"jobs {first}-{first + len(jobs) - 1}"
        rate = f", {pace(self.finished / took)}" if self.finished and took else ""
        line = f"[{bar:<{BAR}}] {which} of {len(self.costs)}, step {step} of {steps}{rate}, {duration(left)} left"
        self._draw(line)

    def skip(self, job: int) -> None:
        """A job was there before."""
        self.before += self.costs[job]

    def finish(self, job: int) -> None:
        """A job took its last step."""
        self.done += self.costs[job]
        self.finished += 1

    def say(self, line: str, urgent: bool = False) -> None:
        """A line that stays; `urgent` ones are said even when quiet."""
        if self.quiet and not urgent:
            return
        self.clear()
        print(line, file=self.stream, flush=True)

    def clear(self) -> None:
        """Take the moving line away."""
        if self.moving:
            self._draw("")

    def _draw(self, line: str) -> None:
        width = shutil.get_terminal_size().columns - 1
        self.stream.write(f"\r\x1b[K{line[:width]}")
        self.stream.flush()


def pace(rate: float) -> str:
    """`3.2 a second`, `4.5 a minute`, `2 an hour`."""
    for unit, seconds in (("a second", 1), ("a minute", 60), ("an hour", 3600)):
        if rate * seconds >= 1 or seconds == 3600:
            return f"{rate * seconds:.{0 if rate * seconds >= 10 else 1}f} {unit}"
    raise AssertionError("an hour takes all that is left")


def duration(seconds: float) -> str:
    """`8 s`, `3 min 20 s`, `2 h 5 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
