"""The queue: no job is lost, none is given out twice, and what is over stays over."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.job import parse
from pipelines.queue import FILE, INTERRUPTED, Queue, QueueError
from tests.paced import state, text
from tests.test_help import HEAVY, loaded_by


@pytest.fixture
def queue(tmp_path: Path) -> Queue:
    return Queue(tmp_path)


def test_a_job_comes_back_as_it_went_in(queue: Queue) -> None:
    job = text("ein roter Kreis, größer als <b>0</b> {{x}} ${y}", seed=2**63 - 1, guidance=2.5)
    row = queue.get(queue.add(job))
    assert row is not None
    assert (row.state, row.step, row.steps, row.files, parse(row.job)) == ("queued", 0, 2, (), job)


def test_rows_are_claimed_in_the_order_of_arrival(queue: Queue) -> None:
    ids = [queue.add(text(seed=seed)) for seed in range(3)]
    claimed = [queue.claim() for _ in range(4)]
    assert [row.id if row else None for row in claimed] == [*ids, None]
    assert all(row.state == "running" and row.started for row in claimed if row)


def test_many_claimants_get_each_row_once(tmp_path: Path) -> None:
    ids = {Queue(tmp_path).add(text(seed=seed)) for seed in range(40)}

    def claim_all(_: int) -> list[str]:
        queue, mine = Queue(tmp_path), []  # as another process would: nothing shared but the file
        while row := queue.claim():
            mine.append(row.id)
        return mine

    with ThreadPoolExecutor(4) as pool:
        claimed = [id for mine in pool.map(claim_all, range(4)) for id in mine]
    assert len(claimed) == 40 and set(claimed) == ids


def test_progress_is_kept_and_says_when_to_stop(queue: Queue) -> None:
    id = queue.add(text())
    assert queue.claim()
    assert queue.progress(id, 1, 2)
    row = queue.get(id)
    assert row is not None and (row.step, row.steps) == (1, 2)
    queue.cancel(id)
    assert not queue.progress(id, 2, 2)
    queue.stopped(id)
    assert state(queue, id) == "cancelled"


def test_a_waiting_row_is_cancelled_at_once_and_never_claimed(queue: Queue) -> None:
    id = queue.add(text())
    queue.cancel(id)
    assert state(queue, id) == "cancelled" and queue.claim() is None


ENDS = {
    "done": lambda queue, id: queue.done(id, ["a.png"]),
    "failed": lambda queue, id: queue.fail(id, "x"),
    "cancelled": lambda queue, id: queue.stopped(id),
}
MOVES = ENDS | {
    "cancel": lambda queue, id: queue.cancel(id),
    "progress": lambda queue, id: queue.progress(id, 1, 2),
    "recover": lambda queue, id: queue.recover(),
}


@settings(max_examples=25)
@given(end=st.sampled_from(sorted(ENDS)), later=st.lists(st.sampled_from(sorted(MOVES))))
def test_what_is_over_stays_as_it_is(tmp_path_factory: pytest.TempPathFactory, end: str, later: list[str]) -> None:
    queue = Queue(tmp_path_factory.mktemp("queue"))
    id = queue.add(text())
    queue.claim()
    ENDS[end](queue, id)
    before = queue.get(id)
    for step in later:
        MOVES[step](queue, id)
    assert queue.get(id) == before and before is not None and before.state == end


def test_rows_left_running_by_a_dead_worker_fail_and_the_rest_wait_on(queue: Queue) -> None:
    ids = [queue.add(text(seed=seed)) for seed in range(3)]
    queue.claim()
    queue.claim()
    queue.cancel(ids[1])
    assert queue.recover() == ids[:2]
    assert [state(queue, id) for id in ids] == ["failed", "cancelled", "queued"]
    row = queue.get(ids[0])
    assert row is not None and row.message == INTERRUPTED


def test_rows_come_newest_first_page_by_page_and_by_state(queue: Queue) -> None:
    ids = [queue.add(text(seed=seed)) for seed in range(5)]
    queue.claim()
    queue.done(ids[0], ["text-001.png", "text-001.json"])
    assert [row.id for row in queue.rows(2)] == [ids[4], ids[3]]
    assert [row.id for row in queue.rows(2, 4)] == [ids[0]]
    assert [row.files for row in queue.rows(states=("done",))] == [("text-001.png", "text-001.json")]
    queue.claim()
    assert [row.id for row in queue.active()] == ids[1:]
    latest = queue.latest()
    assert latest is not None and latest.id == ids[0]


def test_an_unknown_id_is_nobody(queue: Queue) -> None:
    queue.cancel("nobody")
    assert queue.get("nobody") is None and queue.latest() is None and not queue.progress("nobody", 1, 2)


def test_a_file_that_is_no_queue_or_is_too_new_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("these are not rows, and long enough to be read as a broken file" * 20)
    with pytest.raises(QueueError, match="can not be used as a queue"):
        Queue(tmp_path)
    new = tmp_path / "new"
    new.mkdir()
    with sqlite3.connect(new / FILE) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(QueueError, match="got 99; update Diorama"):
        Queue(new)


def test_the_queue_loads_nothing_heavy() -> None:
    assert loaded_by("import pipelines.queue, pipelines.worker, pipelines.keeper") & (HEAVY | {"numpy"}) == set()
