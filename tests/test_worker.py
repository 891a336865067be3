"""The worker: one process renders the rows, survives what a job does, and leaves nothing half done when it dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pipelines.keeper import Keeper
from pipelines.media import read_recipe
from pipelines.queue import INTERRUPTED, Queue
from pipelines.worker import STOPPED, hold
from tests.fakes import FakeEngine
from tests.paced import PacedEngine, over, state, text, until, working
from tests.test_help import ROOT


def start(folder: Path, pace: float) -> subprocess.Popen[bytes]:
    """A worker process with an engine that takes its time."""
    code = (
        "import sys; from pipelines.worker import main; from tests.paced import PacedEngine; "
        f"sys.exit(main([{str(folder)!r}], PacedEngine({pace})))"
    )
    return subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.PIPE)


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
    row = over(queue, second)
    assert (row.state, row.message) == ("failed", INTERRUPTED)
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
    row = over(queue, id)
    assert (row.state, row.message) == ("failed", STOPPED)


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
    words = [sys.executable, "-m", "pipelines.worker", str(tmp_path / "file")]
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
