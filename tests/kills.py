"""A studio to be killed: a server that posts jobs and keeps a worker, without the page; and the one who kills them.

    python -m tests.kills server FOLDER     posts what is not posted yet, and keeps a worker until its input ends
    python -m tests.kills worker FOLDER     renders with an engine that draws flat colours

The moments are counted in changes of the queue and not in seconds, so that a slow machine is killed at work too.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.files.kept import KEPT
from pipelines.job import Job
from pipelines.queue import keeper
from pipelines.queue.queue import INTERRUPTED, Queue
from pipelines.queue.worker import main as work
from tests.paced import PacedEngine, text, until
from tests.test_help import ROOT

JOBS = 20
PACE = 0.004  # seconds a step, so that a step can be hit
APART = 16  # changes of the queue from one kill to the next, at most; a row that is rendered makes seven
KILL_WORKER, KILL_BOTH = signal.SIGUSR1, signal.SIGUSR2
VICTIMS = ("worker", "server", "both")


def jobs() -> list[Job]:
    """Pictures, and videos of which each is several files."""
    video = {"frames": 3, "png_frames": True}
    return [text(seed=seed, steps=3, **(video if seed % 5 == 4 else {})) for seed in range(JOBS)]


def outputs(folder: Path) -> dict[str, bytes]:
    """Every output that has its final name; what the worker tells of itself is none."""
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.suffix in (".png", ".mp4", ".json"))
    return {path.as_posix(): (folder / path).read_bytes() for path in found if path.parts[0] != KEPT}


@dataclass
class Killer:
    """Renders the jobs in a folder with a server and a worker, which it kills at random moments.

    Args:
        folder: where they are rendered.
        expected: the outputs of a run that nobody disturbed.
        random: decides when and whom.
        left: how often it may still kill.
    """

    folder: Path
    expected: dict[str, bytes]
    random: random.Random
    left: int
    hits: dict[str, int] = field(default_factory=dict)
    offered: int = 0  # rows that came back from a dead worker, and that a person resumed

    def run(self, resume_interrupted: bool) -> None:
        """Render all, whatever happens on the way."""
        queue = Queue(self.folder)
        queue.set_resume_interrupted(resume_interrupted)
        server = self._start()
        try:
            while not self._finished(queue):
                if self.left:
                    self._wait(queue, queue.changed() + self.random.randrange(APART))
                    time.sleep(self.random.random() * 0.02)  # between two changes, as in the middle of a file
                    self._kill(server)
                    self._look()
                else:
                    self._wait(queue, None)
                if server.poll() is not None:
                    server = self._start()
            assert server.stdin is not None
            server.stdin.close()
            server.wait()
        finally:
            server.kill()  # its worker ends with it

    def _start(self) -> subprocess.Popen[bytes]:
        words = [sys.executable, "-m", "tests.kills", "server", str(self.folder)]
        server = subprocess.Popen(words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert server.stdout is not None and server.stdout.readline() == b"ready\n"
        return server

    def _wait(self, queue: Queue, goal: int | None) -> None:
        """Until the queue has changed so often, or all is done; what is offered meanwhile is resumed."""

        def reached() -> bool:
            for row in queue.rows(JOBS, 0, ("paused",)):
                self.offered += row.message == INTERRUPTED
                queue.resume(row.id)
            return self._finished(queue) or (goal is not None and queue.changed() >= goal)

        until(reached)

    def _kill(self, server: subprocess.Popen[bytes]) -> None:
        who = self.random.choice(VICTIMS)
        if who == "worker":
            server.send_signal(KILL_WORKER)
        else:
            server.send_signal(KILL_BOTH if who == "both" else signal.SIGKILL)
            assert server.wait() == -signal.SIGKILL
        self.left -= 1
        self.hits[who] = self.hits.get(who, 0) + 1

    def _look(self) -> None:
        """Whatever is there is whole, at any moment."""
        for name, data in outputs(self.folder).items():
            assert data == self.expected.get(name), f"{name} is not whole"

    def _finished(self, queue: Queue) -> bool:
        return queue.counts()["done"] >= JOBS


def server(folder: Path) -> None:
    """Post and keep a worker, as a studio does."""
    keeper.FIRST_PAUSE = 0.05  # a person would not notice, and a test would
    queue = Queue(folder)
    kept = keeper.Keeper(folder, [sys.executable, "-m", "tests.kills", "worker", str(folder)])

    def kill_worker(*_: object) -> None:
        # The server does it and not the test, for a parent never kills another process by an old number.
        if kept._worker is not None:
            with suppress(ProcessLookupError):
                kept._worker.kill()

    def kill_both(*_: object) -> None:
        kill_worker()
        os.kill(os.getpid(), signal.SIGKILL)

    signal.signal(KILL_WORKER, kill_worker)
    signal.signal(KILL_BOTH, kill_both)
    kept.start()
    print("ready", flush=True)
    for job in jobs()[len(queue.rows(JOBS)) :]:
        queue.add(job)
        time.sleep(PACE)
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    while not ended.wait(0.02):  # a signal just before a read without end would not be heard
        pass
    kept.stop()


if __name__ == "__main__":
    if sys.argv[1] == "server":
        server(Path(sys.argv[2]))
    else:
        sys.exit(work([sys.argv[2]], PacedEngine(PACE)))
