"""The worker: one process that owns the model and renders a folder's queue, row by row.

    python -m pipelines.queue.worker FOLDER

It stops on SIGTERM, on Ctrl-C, and when the process that started it goes away. What a row is stands in `queue.py`, what
files are called in `output.py`. Torch is loaded with the engine, which a test replaces.
"""

from __future__ import annotations

import argparse
import os
import signal
import sqlite3
import stat
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeVar

from pipelines.files.atomic import CLOSED, FULL, write_bytes
from pipelines.files.kept import KEPT
from pipelines.history.reproductions import Reproductions, Verdict
from pipelines.job import Job, parse
from pipelines.preview import Preview
from pipelines.queue.loaded import Loaded, State
from pipelines.queue.peephole import Peephole
from pipelines.queue.queue import Queue, Row
from pipelines.refusal import Refusal, on_one_line

if TYPE_CHECKING:
    from pipelines.estimate import Estimate, Rendered
    from pipelines.files.output import OutputFolder
    from pipelines.renderer import Renderer

LOCK = "worker.lock"
IDLE = 0.1  # seconds between two looks at an empty queue
RETRY = 1.0  # seconds between two tries to write into the queue's file
RESERVE = "queue.reserve"  # given up when the disk is full, so that at least the queue can say so
ROOM = 2**18  # bytes of it
SMALLEST = 1  # frames or layers in the autoencoder at once, when a job is tried again with less memory
STOPPED = "interrupted: the studio was stopped while it was at work; resume it to render it from the beginning"
SMALLER = "there was not enough memory at first; it was rendered again with smaller chunks"

MEMORY = ("CUDA out of memory", "CUDA error: out of memory", "HIP out of memory", "DefaultCPUAllocator", "ALLOC_FAILED")

T = TypeVar("T")


class Unwritable(Exception):
    """The output folder takes no files now: one sentence."""


@dataclass(frozen=True)
class End:
    """How one try of a row ended: files, or a problem.

    Attributes:
        files: names relative to the output folder.
        problem: one sentence, or "".
        memory: whether the problem is that there was not enough of it.
        unwritable: whether it is that nothing can be written, which is not the job's fault.
        parts: frames or layers of the job, which the autoencoder may take fewer of at once.
    """

    files: Sequence[str] = ()
    problem: str = ""
    memory: bool = False
    unwritable: bool = False
    parts: int = 1


class Watch:
    """Tells the queue how far a row is, and the engine whether to go on and whom to show what it is at."""

    def __init__(self, queue: Queue, id: str, stop: threading.Event, preview: Preview) -> None:
        self.going = True
        self.preview = preview
        self._queue, self._id, self._stop = queue, id, stop

    def __call__(self, step: int, steps: int) -> bool:
        """What an engine calls after each step."""
        # A disk that is full for the moment ends no render: what was asked is then heard at a later step.
        with suppress(sqlite3.OperationalError):
            self.going = self.going and self._queue.progress(self._id, step, steps)
        self.going = self.going and not self._stop.is_set()
        return self.going


def serve(queue: Queue, folder: Path, engine: Renderer, stop: threading.Event) -> None:
    """Render rows into `folder` until `stop` is set. A row that fails is told so, and the next one runs.

    Between two rows an output is rendered again that somebody wants compared, also while the queue is paused.
    """
    wishes = Reproductions(folder)
    wishes.recover()
    loaded, peephole = Loaded(folder), Peephole(folder)
    while not stop.is_set():
        obey(engine, loaded)
        answered = answer(wishes, folder, engine, stop)
        row = noted(queue.claim, folder, stop)
        if row is None:
            if not answered:
                stop.wait(IDLE)
        else:
            reserve(folder)
            render(queue, row, folder, engine, stop)
            peephole.clear()
        loaded.tell(State(held(engine), problem=loaded.problem))


def obey(engine: Renderer, loaded: Loaded) -> None:
    """Load the checkpoint that a page asked for, or let go of the one that is loaded; then say how it went."""
    model = loaded.take()
    if model is None:
        return
    loaded.tell(State(held(engine), busy=model))
    problem = ""
    try:
        if not model:
            release(engine)
        elif load := getattr(engine, "checkpoint", None):
            load(model)
    except Exception as error:
        problem = sentence(error)
        if not isinstance(error, Refusal):
            traceback.print_exc()
    if problem:  # here what the exception's frames held is gone
        release(engine)
    loaded.tell(State(held(engine), problem=problem))


def held(engine: Renderer) -> str:
    """The checkpoint that the engine holds; one that says nothing of it holds none."""
    return str(getattr(engine, "loaded", ""))


def render(queue: Queue, row: Row, folder: Path, engine: Renderer, stop: threading.Event) -> None:
    """Render one claimed row; whatever the engine or the disk does, it runs no more afterwards.

    When memory does not suffice, the engine lets go of what it holds, and a job of several frames or layers is tried
    once more with one of them in the autoencoder at a time.
    """
    peephole = Peephole(folder)
    watch = Watch(queue, row.id, stop, Preview(lambda picture: peephole.put(row.id, picture), peephole.watched))
    end = attempt(queue, row, folder, engine, watch)
    # Here the exception and all tensors that its frames held are gone.
    if end.memory and watch.going:
        release(engine)
        if end.parts > SMALLEST:
            end = attempt(queue, row, folder, engine, watch, SMALLEST)
            if end.memory:
                release(engine)
    if not watch.going and stop.is_set():
        noted(lambda: queue.interrupted(row.id, STOPPED), folder, stop)
    elif not watch.going:
        noted(lambda: queue.stopped(row.id), folder, stop)
    elif end.unwritable:
        print(f"diorama: the queue pauses: {end.problem}", file=sys.stderr, flush=True)
        noted(lambda: queue.put_back(row.id, end.problem), folder, stop)
    elif end.problem:
        noted(lambda: queue.fail(row.id, end.problem), folder, stop)
    else:
        noted(lambda: queue.done(row.id, end.files), folder, stop)


def answer(wishes: Reproductions, folder: Path, engine: Renderer, stop: threading.Event) -> bool:
    """Render one output again that somebody wants compared; False when nobody wants one."""
    wish = wishes.next()
    if wish is None:
        return False
    from pipelines.history.reproduce import reproduce

    id, record = wish
    wanted, memory = True, False

    def progress(step: int, steps: int) -> bool:
        nonlocal wanted
        wanted = wanted and wishes.running(id, step, steps)
        return wanted and not stop.is_set()

    try:
        verdict = reproduce(engine, folder, record, progress)
    except Exception as error:
        if wanted and not stop.is_set() and not isinstance(error, Refusal):
            traceback.print_exc()
        verdict, memory = Verdict(False, reasons=(sentence(error),)), out_of_memory(error)
    if memory:  # the exception and all tensors that its frames held are gone by now
        release(engine)
    if not wanted:
        wishes.stopped(id)
    elif stop.is_set() and not verdict.rendered:
        wishes.interrupted(id)
    else:
        wishes.over(id, verdict)
    return True


def attempt(queue: Queue, row: Row, folder: Path, engine: Renderer, watch: Watch, at_once: int | None = None) -> End:
    """Try to render and write a row, with at most `at_once` frames or layers in the autoencoder where that is given."""
    parts = 1
    try:
        job = parse(row.job)
        estimate = engine.check(job)
        parts = parts_of(job, estimate)
        with suppress(sqlite3.OperationalError):
            queue.warn(row.id, estimate.warnings)
        with writing():  # before the work, so that none is thrown away for want of a place to put it
            _outputs(folder).probe()
        if at_once is None:
            rendered = engine.render([job], watch)[0]
        else:
            rendered = smaller(engine.render([job], watch, at_once)[0], at_once)
        return End(save(queue, row, job, folder, rendered) if watch.going else ())
    except Unwritable as error:
        return End(problem=str(error), unwritable=True)
    except Exception as error:
        # A render that was told to stop says so with an exception too, which is no problem.
        if watch.going and not isinstance(error, Refusal):
            traceback.print_exc()
        return End(problem=sentence(error), memory=out_of_memory(error), parts=parts)


def save(queue: Queue, row: Row, job: Job, folder: Path, rendered: Rendered) -> list[str]:
    """Write what was rendered; the names relative to `folder`, the record last.

    Raises:
        Unwritable: the disk is full, or can not be written to.
    """
    output = _outputs(folder)
    if row.expanded_from is not None:  # beside the job, which has the texts as they were used
        rendered = replace(rendered, record={**rendered.record, "expanded_from": dict(row.expanded_from)})
    with writing():
        stem = output.claim(job, row.number)
        files = output.save(job, stem, rendered)
    with suppress(sqlite3.OperationalError):
        queue.warn(row.id, [str(warning) for warning in rendered.record.get("warnings", ())])
    names = [file.relative_to(folder).as_posix() for file in reversed(files)]  # the video before its frames
    return [*names, f"{stem}.json"]


@contextmanager
def writing() -> Iterator[None]:
    """Tell what keeps every output from being written apart from what is wrong with one of them."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise Unwritable(
                f"the disk is full ({error.strerror}): nothing is lost; make room, then let the queue go on"
            ) from None
        if error.errno in CLOSED:
            raise Unwritable(
                f"the output folder can not be written to ({error.strerror}): nothing is lost; "
                "make it writable, then let the queue go on"
            ) from None
        raise


def noted(write: Callable[[], T], folder: Path, stop: threading.Event) -> T | None:
    """What `write` returns, tried until the queue's file takes it; None when `stop` was set first.

    A row that could not even be noted stays as it is, and is offered when the next worker starts.
    """
    told = False
    while True:
        try:
            return write()
        except sqlite3.OperationalError as error:  # such as: database or disk is full
            problem = error
        with suppress(OSError):
            (folder / RESERVE).unlink()
            continue
        if not told:
            print(f"diorama: the queue's file can not be written, trying again: {problem}", file=sys.stderr, flush=True)
        told = True
        if stop.wait(RETRY):
            return None


def reserve(folder: Path) -> None:
    """Put a little room aside on the disk, where there is some."""
    path = folder / RESERVE
    with suppress(OSError):
        if not path.exists():
            write_bytes(path, os.urandom(ROOM))  # which no file system packs


def parts_of(job: Job, estimate: Estimate) -> int:
    """Frames, or layers and what is behind them, that the autoencoder takes several of at once."""
    frames = estimate.resolved.get("frames") or getattr(job, "frames", None) or 1
    return max(int(frames), len(getattr(job, "layers", ())) + 1)


def smaller(rendered: Rendered, at_once: int) -> Rendered:
    """What was rendered, with a record that says how."""
    record = rendered.record
    more = {"warnings": [*record.get("warnings", ()), SMALLER], "retried_with": {"at_once": at_once}}
    return replace(rendered, record={**record, **more})


def release(engine: Renderer) -> None:
    """Have the engine let go of its checkpoint; one that holds nothing has nothing to let go of."""
    if letting_go := getattr(engine, "release", None):
        letting_go()


def out_of_memory(error: BaseException | None) -> bool:
    """Whether memory did not suffice: Python's, torch's, or that of a library which has no word of its own for it."""
    while error is not None:
        if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
            return True
        if isinstance(error, RuntimeError) and any(words in str(error) for words in MEMORY):
            return True
        error = error.__cause__
    return False


def sentence(error: Exception) -> str:
    """What went wrong, for the person who waits. The traceback goes to the terminal."""
    if isinstance(error, Refusal):
        return str(error)
    if out_of_memory(error):
        return "there was not enough memory for it; make it smaller or shorter"
    if isinstance(error, OSError) and error.strerror:
        return f"a file can not be read or written: {error.strerror}"
    return f"{type(error).__name__}: {on_one_line(' '.join(str(error).split()), 300)}"


def _outputs(folder: Path) -> OutputFolder:
    from pipelines.files.output import OutputFolder

    return OutputFolder(folder)


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
    parser = argparse.ArgumentParser(prog="python -m pipelines.queue.worker", description="Render a studio's queue.")
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
        noted(queue.recover, folder, stop)
        Peephole(folder).clear()  # what a killed worker left
        Loaded(folder).tell(State())
        serve(queue, folder, engine or _load_engine(folder), stop)
    return 0


def _load_engine(folder: Path) -> Renderer:
    from pipelines.engine import Engine

    return Engine(cache=folder / KEPT)


def _await_end(stop: threading.Event) -> None:
    sys.stdin.buffer.read()
    stop.set()


if __name__ == "__main__":
    sys.exit(main())
