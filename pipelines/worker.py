"""The worker: one process that owns the model and renders a folder's queue, row by row.

    python -m pipelines.worker FOLDER

It stops on SIGTERM, on Ctrl-C, and when the process that started it goes away. What a row is stands in `queue.py`, what
files are called in `output.py`. Torch is loaded with the engine, which a test replaces.
"""

from __future__ import annotations

import argparse
import os
import signal
import stat
import sys
import threading
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from pipelines.job import Job, parse
from pipelines.queue import Queue, Row
from pipelines.refusal import Refusal, on_one_line

if TYPE_CHECKING:
    from pipelines.batch import Renderer
    from pipelines.estimate import Rendered

LOCK = "worker.lock"
IDLE = 0.1  # seconds between two looks at an empty queue
STOPPED = "interrupted: the studio was stopped while it was at work; render it again"


def serve(queue: Queue, folder: Path, engine: Renderer, stop: threading.Event) -> None:
    """Render rows into `folder` until `stop` is set. A row that fails is told so, and the next one runs."""
    while not stop.is_set():
        row = queue.claim()
        if row is None:
            stop.wait(IDLE)
        else:
            render(queue, row, folder, engine, stop)


def render(queue: Queue, row: Row, folder: Path, engine: Renderer, stop: threading.Event) -> None:
    """Render one claimed row; whatever the engine or the disk does, the row is over afterwards."""
    going = True

    def progress(step: int, steps: int) -> bool:
        nonlocal going
        going = going and queue.progress(row.id, step, steps) and not stop.is_set()
        return going

    files: list[str] = []
    problem = ""
    try:
        job = parse(row.job)
        queue.warn(row.id, engine.check(job).warnings)
        rendered = engine.render([job], progress)[0]
        if going:
            files = save(queue, row, job, folder, rendered)
    except Exception as error:
        if going:  # else it is the engine's way to say that it stopped when told to
            problem = sentence(error)
            if not isinstance(error, Refusal):
                traceback.print_exc()
    # Outside of the except block, where the exception and all tensors that its frames hold are gone.
    if going and not problem:
        queue.done(row.id, files)
    elif problem:
        queue.fail(row.id, problem)
    elif stop.is_set():
        queue.fail(row.id, STOPPED)
    else:
        queue.stopped(row.id)


def save(queue: Queue, row: Row, job: Job, folder: Path, rendered: Rendered) -> list[str]:
    """Write what was rendered; the names relative to `folder`, the record last."""
    from pipelines.output import OutputFolder

    output = OutputFolder(folder)
    stem = output.claim(job, row.number)
    files = output.save(job, stem, rendered)
    queue.warn(row.id, [str(warning) for warning in rendered.record.get("warnings", ())])
    names = [file.relative_to(folder).as_posix() for file in reversed(files)]  # the video before its frames
    return [*names, f"{stem}.json"]


def sentence(error: Exception) -> str:
    """What went wrong, for the person who waits. The traceback goes to the terminal."""
    if isinstance(error, Refusal):
        return str(error)
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return "there was not enough memory for this picture; make it smaller"
    if isinstance(error, OSError) and error.strerror:
        return f"a file can not be read or written: {error.strerror}"
    return f"{type(error).__name__}: {on_one_line(' '.join(str(error).split()), 300)}"


def hold(folder: Path, stop: threading.Event) -> BinaryIO | None:
    """The folder's lock, held until the file is closed, so that one folder has one worker.

    While another worker has it this waits, to take over when that one is gone; None when `stop` was set first.
    """
    import fcntl

    lock = (folder / LOCK).open("ab")
    told = False
    while not stop.is_set():
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return lock
        except BlockingIOError:
            if not told:
                print(f"diorama: {folder} has a worker already; this one waits", file=sys.stderr, flush=True)
            told = True
            stop.wait(1.0)
    lock.close()
    return None


def main(words: Sequence[str] | None = None, engine: Renderer | None = None) -> int:
    """Serve the folder named on the command line; 0 when told to stop, 2 when the folder can not be served.

    Args:
        words: the words after the program's name; None takes the process's own.
        engine: what renders instead of `pipelines.engine`, for tests.
    """
    parser = argparse.ArgumentParser(prog="python -m pipelines.worker", description="Render a studio's queue.")
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="the studio's output folder")
    folder: Path = parser.parse_args(words).folder

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    if stat.S_ISFIFO(os.fstat(0).st_mode):  # started by the studio, which holds the other end and never writes
        threading.Thread(target=_await_end, args=(stop,), daemon=True).start()
    try:
        queue = Queue(folder)
        lock = hold(folder, stop)
    except OSError as error:
        print(f"diorama: {error}", file=sys.stderr)
        return 2
    if lock is None:
        return 0
    with lock:
        queue.recover()
        serve(queue, folder, engine or _load_engine(folder), stop)
    return 0


def _load_engine(folder: Path) -> Renderer:
    from pipelines.engine import KEPT, Engine

    return Engine(cache=folder / KEPT)


def _await_end(stop: threading.Event) -> None:
    sys.stdin.buffer.read()
    stop.set()


if __name__ == "__main__":
    sys.exit(main())
