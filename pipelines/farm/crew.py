"""The crew: who renders the units of a batch. Here one station of this process; `cluster.py` has the one of many.

While a unit is denoised, the files of the one before it are decoded and written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

from pipelines.farm.place import Place
from pipelines.farm.station import Outcome, Row, Station
from pipelines.job import Job
from pipelines.renderer import Renderer, Step

Deliver = Callable[[Sequence[Outcome]], None]


class Crew(Protocol):
    """Stations at work."""

    def step_seconds(self, jobs: Sequence[Job]) -> float:
        """As `Renderer.step_seconds`, on one of the stations."""

    def run(self, units: Iterable[Sequence[Row]], deliver: Deliver, progress: Callable[[Sequence[Row]], Step]) -> None:
        """Render `units` and tell `deliver` what became of their rows, unit by unit as they come.

        Whatever ends it, `deliver` has been told of every row whose files were written.
        """


class Alone:
    """The one station of this process."""

    def __init__(self, renderer: Renderer, place: Place) -> None:
        self._renderer = renderer
        self._station = Station(renderer, place)

    def step_seconds(self, jobs: Sequence[Job]) -> float:
        """See `Crew`."""
        return self._renderer.step_seconds(jobs)

    def run(self, units: Iterable[Sequence[Row]], deliver: Deliver, progress: Callable[[Sequence[Row]], Step]) -> None:
        """See `Crew`."""
        with ThreadPoolExecutor(1, "writer") as writer:
            last: Future[list[Outcome]] | None = None
            try:
                for rows in units:
                    finish = self._station.begin(rows, progress(rows))
                    # One unit at most waits to be written, so that memory does not grow where writing is slow.
                    done, last = last, None
                    if done is not None:
                        deliver(done.result())
                    last = writer.submit(finish)
            finally:
                if last is not None:
                    deliver(last.result())
