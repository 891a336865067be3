"""The keeper: keeps one worker process alive for a folder, and ends it with the studio."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SETTLED = 5.0  # seconds after which a worker counts as well
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0  # seconds before a worker that stopped is started again
GRACE = 10.0  # seconds that a worker has to end its step


class Keeper:
    """Starts the worker of `folder`, and starts it again when it dies: out of memory, a fault in a driver."""

    def __init__(self, folder: Path, command: Sequence[str] | None = None) -> None:
        """`command` is what to run instead of the worker, for tests."""
        self.problem = ""  # one sentence for the pages while no worker is well
        self._command = list(command or (sys.executable, "-m", "pipelines.queue.worker", str(folder.resolve())))
        self._ending = threading.Event()
        self._worker: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._keep, name="keeper", daemon=True)

    def start(self) -> None:
        """Start the worker; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """End the worker: after its step, or by force when that takes too long."""
        self._ending.set()
        worker = self._worker
        if worker is not None:
            if worker.stdin:
                worker.stdin.close()  # how a worker is told, and what it sees when this process is killed
            for end in (None, worker.terminate, worker.kill):
                if end:
                    end()
                with suppress(subprocess.TimeoutExpired):
                    worker.wait(GRACE)
                    break
        self._thread.join(GRACE)

    def _keep(self) -> None:
        # So that "-m pipelines.queue.worker" is found wherever the studio was started from.
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        surroundings = {**os.environ, "PYTHONPATH": path}
        pause = FIRST_PAUSE
        while not self._ending.is_set():
            self._worker = subprocess.Popen(self._command, stdin=subprocess.PIPE, env=surroundings)
            try:
                status = self._worker.wait(SETTLED)
            except subprocess.TimeoutExpired:
                self.problem, pause = "", FIRST_PAUSE
                status = self._worker.wait()
            if self._ending.is_set():
                return
            self.problem = (
                f"The renderer stopped ({_told(status)}) and is started again; the terminal of the studio says more."
            )
            self._ending.wait(pause)
            pause = min(2 * pause, LONGEST_PAUSE)


def _told(status: int) -> str:
    if status >= 0:
        return f"exit status {status}"
    with suppress(ValueError):
        return f"killed by {signal.Signals(-status).name}"
    return f"killed by signal {-status}"
