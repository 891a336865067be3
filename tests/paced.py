"""An engine that takes its time, so that tests can look at a render on its way, and what a studio's test needs."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pipelines.estimate import Rendered
from pipelines.job import Job, parse
from pipelines.queue.queue import Queue, Row
from pipelines.queue.worker import serve
from tests.fakes import FakeEngine

PATIENCE = 60.0  # seconds; how long a loaded machine may take, not how long anything should


class PacedEngine(FakeEngine):
    """Takes `pace` seconds a step, and stops as the engine does: with an exception."""

    def __init__(self, pace: float = 0.0) -> None:
        super().__init__()
        self.pace = pace

    def render(self, jobs: Sequence[Job], progress: Callable[[int, int], bool]) -> list[Rendered]:
        self.batches.append(list(jobs))
        for step in range(jobs[0].steps):
            time.sleep(self.pace)
            if not progress(step + 1, jobs[0].steps):
                raise RuntimeError("cancelled")
        return [self._one(job) for job in jobs]


def text(prompt: str = "a red circle", **more: object) -> Job:
    return parse({"task": "text", "prompt": prompt, "size": [16, 16], "steps": 2, **more})


def until(happened: Callable[[], object]) -> None:
    """Wait for it, and fail when it does not come."""
    end = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def over(queue: Queue, id: str) -> Row:
    """The row `id`, once it is done, failed or cancelled."""
    until(lambda: state(queue, id) in ("done", "failed", "cancelled"))
    row = queue.get(id)
    assert row is not None
    return row


def state(queue: Queue, id: str) -> str:
    row = queue.get(id)
    assert row is not None
    return row.state


@contextmanager
def working(queue: Queue, folder: Path, engine: FakeEngine) -> Iterator[FakeEngine]:
    """A worker on a thread of this process."""
    stop = threading.Event()
    worker = threading.Thread(target=serve, args=(queue, folder, engine, stop))
    worker.start()
    try:
        yield engine
    finally:
        stop.set()
        worker.join()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
