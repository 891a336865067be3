"""The worker: one process renders the rows, survives what a job does, and leaves nothing half done when it dies."""

from __future__ import annotations

import errno
import gc
import json
import os
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from pipelines.estimate import Rendered
from pipelines.files import output
from pipelines.files.media import read_recipe
from pipelines.job import Job, TextJob
from pipelines.queue.keeper import Keeper
from pipelines.queue.queue import INTERRUPTED, Queue, Row
from pipelines.queue.worker import SMALLER, STOPPED, hold, out_of_memory
from tests.fakes import FakeEngine
from tests.paced import PacedEngine, over, state, text, until, working
from tests.test_help import ROOT

NO_MEMORY = "there was not enough memory for it; make it smaller or shorter"


def start(folder: Path, pace: float) -> subprocess.Popen[bytes]:
    """A worker process with an engine that takes its time."""
    code = (
        "import sys; from pipelines.queue.worker import main; from tests.paced import PacedEngine; "
        f"sys.exit(main([{str(folder)!r}], PacedEngine({pace})))"
    )
    return subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.PIPE)


class OutOfMemoryError(RuntimeError):
    """As torch calls its own."""


class ShortEngine(FakeEngine):
    """Has no memory for prompts that say so; for "short" ones it has when it takes one frame at a time."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error
        self.tried: list[tuple[str, int | None]] = []
        self.released = 0

    def release(self) -> None:
        self.released += 1

    def render(
        self, jobs: Sequence[Job], progress: Callable[[int, int], bool], at_once: int | None = None
    ) -> list[Rendered]:
        job = jobs[0]
        assert isinstance(job, TextJob)
        self.tried.append((job.prompt, at_once))
        if job.prompt == "huge" or (job.prompt == "short" and at_once is None):
            progress(1, 2)
            raise self.error
        return super().render(jobs, progress)


def row_of(queue: Queue, id: str) -> Row:
    row = queue.get(id)
    assert row is not None
    return row


def pictures(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.suffix in (".png", ".json"))


def test_rows_are_rendered_one_by_one_with_a_record_beside_each_picture(tmp_path: Path) -> None:
    queue = Queue(tmp_path)
    jobs = [text(seed=3), text("odd", seed=4)]
    ids = [queue.add(job) for job in jobs]
    with working(queue, tmp_path, FakeEngine()) as engine:
        rows = [over(queue, id) for id in ids]
    assert [row.files for row in rows] == [("text-001.png", "text-001.json"), ("text-002.png", "text-002.json")]
    assert [row.message for row in rows] == ["", "the word 'odd' is unknown"]
    assert [batch for batch in engine.batches] == [[job] for job in jobs]
    for row, job in zip(rows, jobs, strict=True):
        assert read_recipe(tmp_path / row.files[0])["job"] == json.loads(job.model_dump_json())
        assert set(json.loads((tmp_path / row.files[1]).read_text())["outputs"]) == {row.files[0]}


def test_a_job_that_fails_says_why_and_the_next_one_runs(tmp_path: Path) -> None:
    queue = Queue(tmp_path)
    ids = [queue.add(text(prompt)) for prompt in ("fail", "refuse", "a red circle")]
    with working(queue, tmp_path, FakeEngine()):
        rows = [over(queue, id) for id in ids]
    assert [row.state for row in rows] == ["failed", "failed", "done"]
    assert rows[0].message == "RuntimeError: out of memory"
    assert rows[1].message == "model: expected a checkpoint, got a folder without model_index.json"


def test_cancel_stops_a_render_between_two_steps_and_the_next_one_runs(tmp_path: Path) -> None:
    queue = Queue(tmp_path)
    first, second = queue.add(text(steps=200)), queue.add(text())
    with working(queue, tmp_path, PacedEngine(0.02)):
        until(lambda: (row := queue.get(first)) and row.step)
        queue.cancel(first)
        assert [over(queue, id).state for id in (first, second)] == ["cancelled", "done"]
    assert pictures(tmp_path) == ["text-002.json", "text-002.png"]


def test_a_row_that_is_paused_stops_between_two_steps_and_is_rendered_whole_when_resumed(tmp_path: Path) -> None:
    queue = Queue(tmp_path)
    first, second = queue.add(text(steps=200)), queue.add(text())
    engine = PacedEngine(0.02)
    with working(queue, tmp_path, engine):
        until(lambda: row_of(queue, first).step)
        queue.pause(first)
        assert over(queue, second).state == "done"
        row = row_of(queue, first)
        assert row.state == "paused" and 0 < row.step < 200 and pictures(tmp_path) == ["text-002.json", "text-002.png"]
        engine.pace = 0.0
        queue.resume(first)
        assert over(queue, first).step == 200


ERRORS: dict[str, Exception] = {
    "Python's": MemoryError(),
    "torch's": OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
    "a driver's": RuntimeError("CUDA error: out of memory"),
}


@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS)
def test_out_of_memory_fails_that_job_and_the_next_one_runs(tmp_path: Path, error: Exception) -> None:
    queue = Queue(tmp_path)
    ids = [queue.add(text("huge")), queue.add(text("huge", frames=4)), queue.add(text())]
    engine = ShortEngine(error)
    with working(queue, tmp_path, engine):
        rows = [over(queue, id) for id in ids]
    assert [(row.state, row.message) for row in rows] == [("failed", NO_MEMORY), ("failed", NO_MEMORY), ("done", "")]
    assert engine.tried == [("huge", None), ("huge", None), ("huge", 1), ("a red circle", None)], "a picture is in one"
    assert engine.released == 3, "after every try that ended so"


def test_a_video_is_tried_once_more_with_smaller_chunks_and_says_so(tmp_path: Path) -> None:
    queue = Queue(tmp_path)
    id = queue.add(text("short", frames=4))
    engine = ShortEngine(MemoryError())
    with working(queue, tmp_path, engine):
        row = over(queue, id)
    assert (row.state, row.message, engine.released) == ("done", SMALLER, 1)
    assert engine.tried == [("short", None), ("short", 1)]
    record = json.loads((tmp_path / row.files[-1]).read_text())
    assert record["retried_with"] == {"at_once": 1} and record["warnings"] == [SMALLER]


def test_a_job_that_was_cancelled_as_memory_ran_out_is_not_tried_again(tmp_path: Path) -> None:
    queue = Queue(tmp_path)
    id = queue.add(text("huge", frames=4))

    class Cancelling(ShortEngine):
        def render(self, jobs: Sequence[Job], *more: Any) -> list[Rendered]:
            queue.cancel(id)
            return super().render(jobs, *more)

    engine = Cancelling(MemoryError())
    with working(queue, tmp_path, engine):
        assert over(queue, id).state == "cancelled"
    assert len(engine.tried) == 1


def test_a_library_that_wraps_a_want_of_memory_is_understood() -> None:
    try:
        try:
            raise MemoryError
        except MemoryError as error:
            raise ValueError("decoder") from error
    except ValueError as error:
        assert out_of_memory(error)
    assert not out_of_memory(RuntimeError("a sentence about memory")) and not out_of_memory(ValueError("x"))


@pytest.mark.slow
def test_the_engine_renders_in_smaller_chunks_when_torch_itself_has_no_memory(
    tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import numpy as np
    import torch

    from models.codec import Codec
    from pipelines.engine import Engine
    from pipelines.files.media import read_clip

    queue, engine = Queue(tmp_path), Engine("cpu")
    vae = type(engine.checkpoint(str(tiny)).codec.vae)
    decode, seen = vae.decode, []

    def scarce(self: Any, latents: torch.Tensor, *more: Any, **most: Any) -> Any:
        seen.append(len(latents))
        if len(latents) > 1 and short:
            torch.empty(2**60)  # what the allocator says is not ours to copy
        return decode(self, latents, *more, **most)

    monkeypatch.setattr(vae, "decode", scarce)
    transformer = weakref.ref(engine.checkpoint(str(tiny)).transformer)
    video = {"model": str(tiny), "size": [64, 64], "frames": 3, "fps": 8, "png_frames": True, "guidance": 1.0}
    frames = []
    for short in (True, False):
        id = queue.add(text("a red circle", **video, name=f"short-{short}"))
        with working(queue, tmp_path, engine):
            row = over(queue, id)
        assert row.state == "done", row.message
        assert (SMALLER in row.message) == short
        assert ("retried_with" in json.loads((tmp_path / row.files[-1]).read_text())) == short
        frames.append(read_clip(tmp_path / f"short-{short}").frames.astype(int))
    assert seen == [3, 1, 1, 1, 1, 3], "all, the checkpoint that is loaded anew warms up, one by one, all"
    assert np.abs(frames[0] - frames[1]).max() <= 1
    gc.collect()
    assert transformer() is None, "what the engine held when memory ran out is gone"
    codec = engine.checkpoint(str(tiny)).codec
    pixels = torch.rand(3, 4, 32, 32)
    assert torch.allclose(Codec(codec.vae, 1).encode(pixels), codec.encode(pixels), atol=1e-5)


DISKS = {
    errno.ENOSPC: "the disk is full (No space left on device): nothing is lost; make room, then let the queue go on",
    errno.EDQUOT: "the disk is full (Disk quota exceeded): nothing is lost; make room, then let the queue go on",
    errno.EROFS: "the output folder can not be written to (Read-only file system): nothing is lost; "
    "make it writable, then let the queue go on",
    errno.EACCES: "the output folder can not be written to (Permission denied): nothing is lost; "
    "make it writable, then let the queue go on",
}


@pytest.mark.parametrize("number", DISKS, ids=errno.errorcode.get)
def test_a_disk_that_takes_nothing_pauses_the_queue_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    queue, write = Queue(tmp_path), output.write_picture

    def refused(path: Path, *more: Any) -> None:
        if "text-001" not in path.name and not room:
            raise OSError(number, os.strerror(number), str(path))
        write(path, *more)

    monkeypatch.setattr(output, "write_picture", refused)
    room = False
    ids = [queue.add(text(seed=seed)) for seed in range(3)]
    with working(queue, tmp_path, PacedEngine()):
        until(lambda: queue.settings().paused)
        rows = [row_of(queue, id) for id in ids]
        assert queue.settings().why == rows[1].message == DISKS[number]
        assert [row.state for row in rows] == ["done", "queued", "queued"]
        assert pictures(tmp_path) == ["text-001.json", "text-001.png"]
        queue.resume_all()  # nobody has made room
        until(lambda: queue.settings().paused)
        room = True
        queue.resume_all()
        assert [over(queue, id).state for id in ids] == ["done"] * 3
    assert len(pictures(tmp_path)) == 6 and [row_of(queue, id).attempts for id in ids] == [1, 1, 1]


def test_a_folder_that_is_read_only_is_noticed_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    queue, engine = Queue(tmp_path), PacedEngine()

    def refused(self: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(output.OutputFolder, "probe", refused)
    id = queue.add(text())
    with working(queue, tmp_path, engine):
        until(lambda: queue.settings().paused)
    assert state(queue, id) == "queued" and engine.batches == []


def test_a_wrong_file_of_one_job_pauses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    queue = Queue(tmp_path)

    class Reading(FakeEngine):
        def check(self, job: Job) -> Any:
            if job.seed == 1:
                raise PermissionError(errno.EACCES, "Permission denied", "source.png")
            return super().check(job)

    ids = [queue.add(text(seed=seed)) for seed in (1, 2)]
    with working(queue, tmp_path, Reading()):
        rows = [over(queue, id) for id in ids]
    assert [row.state for row in rows] == ["failed", "done"]
    assert rows[0].message == "a file can not be read or written: Permission denied"


@pytest.mark.slow
def test_a_disk_that_is_really_full_ends_no_worker_and_loses_no_row(tmp_path: Path) -> None:
    """On a file system of one megabyte, filled to its last byte, where even the queue itself finds no room."""
    alone = ["unshare", "--user", "--map-root-user", "--mount"]
    mount = f"mount -t tmpfs -o size=1m none '{tmp_path}'"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        try:
            subprocess.run([*alone, "sh", "-c", mount], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("this machine lets nobody mount a file system of its own")
        words = [sys.executable, "-m", "tests.fulldisk", str(tmp_path)]
        done = subprocess.run(
            [*alone, "sh", "-c", f'{mount} && exec "$@"', "sh", *words], cwd=ROOT, capture_output=True, text=True
        )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "6 done", done.stdout


def test_a_killed_worker_leaves_whole_files_and_a_row_that_says_so(tmp_path: Path) -> None:
    queue = Queue(tmp_path)
    first, second, third = queue.add(text()), queue.add(text(steps=200)), queue.add(text())
    worker = start(tmp_path, 0.02)
    until(lambda: (row := queue.get(second)) and row.step)
    worker.kill()
    worker.wait()
    assert [state(queue, id) for id in (first, second, third)] == ["done", "running", "queued"]
    assert pictures(tmp_path) == ["text-001.json", "text-001.png"]
    worker = start(tmp_path, 0.0)
    assert over(queue, third).state == "done"
    row = row_of(queue, second)
    assert (row.state, row.message) == ("paused", INTERRUPTED), "it is offered and not rendered again unasked"
    queue.resume(second)
    assert over(queue, second).state == "done"
    worker.stdin and worker.stdin.close()
    assert worker.wait() == 0


@pytest.mark.parametrize("how", ["the studio is gone", "SIGTERM"])
def test_a_worker_ends_with_the_studio(tmp_path: Path, how: str) -> None:
    queue = Queue(tmp_path)
    id = queue.add(text(steps=200))
    worker = start(tmp_path, 0.02)
    until(lambda: state(queue, id) == "running")
    if how == "SIGTERM":
        os.kill(worker.pid, signal.SIGTERM)
    assert worker.stdin is not None
    worker.stdin.close()
    assert worker.wait() == 0
    row = row_of(queue, id)
    assert (row.state, row.message) == ("paused", STOPPED)


def test_a_folder_has_one_worker_and_the_other_waits(tmp_path: Path) -> None:
    stop = threading.Event()
    first = hold(tmp_path, stop)
    assert first is not None
    stop.set()
    assert hold(tmp_path, stop) is None
    first.close()
    second = hold(tmp_path, threading.Event())
    assert second is not None
    second.close()


def test_a_folder_that_can_not_be_served_is_told_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    words = [sys.executable, "-m", "pipelines.queue.worker", str(tmp_path / "file")]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "Traceback" not in done.stderr


def test_a_worker_that_dies_is_started_again_and_the_page_is_told(tmp_path: Path) -> None:
    told = tmp_path / "starts"
    code = f"import sys; open({str(told)!r}, 'a').write('x'); sys.exit(3)"
    keeper = Keeper(tmp_path, [sys.executable, "-c", code])
    keeper.start()
    until(lambda: told.exists() and len(told.read_text()) >= 2)
    assert "exit status 3" in keeper.problem
    keeper.stop()


def test_the_keeper_ends_its_worker(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    code = f"import sys; sys.stdin.read(); open({str(gone)!r}, 'w')"
    keeper = Keeper(tmp_path, [sys.executable, "-c", code])
    keeper.start()
    until(lambda: keeper._worker is not None)
    keeper.stop()
    assert gone.exists()
