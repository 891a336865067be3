"""The queue: no job is lost, none is given out twice, and what is over stays over."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.job import parse
from pipelines.queue.queue import FILE, INTERRUPTED, Queue, QueueError
from pipelines.refusal import Refusal
from tests.paced import state, text
from tests.test_help import HEAVY, loaded_by

# The table as version 1 made it, and rows as it wrote them.
FIRST = """
CREATE TABLE IF NOT EXISTS jobs (
    number   INTEGER PRIMARY KEY AUTOINCREMENT,
    id       TEXT NOT NULL UNIQUE,
    job      TEXT NOT NULL,
    state    TEXT NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'running', 'done', 'failed', 'cancelled')),
    created  REAL NOT NULL,
    started  REAL,
    finished REAL,
    step     INTEGER NOT NULL DEFAULT 0,
    steps    INTEGER NOT NULL DEFAULT 0,
    message  TEXT NOT NULL DEFAULT '',
    files    TEXT NOT NULL DEFAULT '[]',
    stopping INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX IF NOT EXISTS active ON jobs (state, number);
INSERT INTO jobs VALUES
    (1, 'aaaa', 'JOB', 'done', 10.5, 11.0, 12.0, 2, 2, 'the word ''odd'' is unknown', '["a.png", "a.json"]', 0),
    (2, 'bbbb', 'JOB', 'failed', 10.6, 12.0, 13.0, 1, 2, 'RuntimeError: no', '[]', 0),
    (3, 'cccc', 'JOB', 'cancelled', 10.7, NULL, 13.5, 0, 2, '', '[]', 1),
    (4, 'dddd', 'JOB', 'running', 10.8, 14.0, NULL, 1, 2, '', '[]', 0),
    (5, 'eeee', 'JOB', 'queued', 10.9, NULL, NULL, 0, 2, '', '[]', 0),
    (6, 'ffff', 'JOB', 'queued', 11.0, NULL, NULL, 0, 2, '', '[]', 0);
PRAGMA journal_mode = WAL;
"""


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


def ask_to_stop(queue: Queue, id: str) -> None:
    queue.cancel(id)
    queue.stopped(id)


ENDS: dict[str, Callable[[Queue, str], object]] = {
    "done": lambda queue, id: queue.done(id, ["a.png"]),
    "failed": lambda queue, id: queue.fail(id, "x"),
    "cancelled": ask_to_stop,
}
MOVES: dict[str, Callable[[Queue, str], object]] = {
    "done": ENDS["done"],
    "failed": ENDS["failed"],
    "stopped": lambda queue, id: queue.stopped(id),
    "cancel": lambda queue, id: queue.cancel(id),
    "pause": lambda queue, id: queue.pause(id),
    "resume": lambda queue, id: queue.resume(id),
    "edit": lambda queue, id: queue.edit(id, text("another")),
    "move": lambda queue, id: queue.move(id),
    "priority": lambda queue, id: queue.set_priority(id, 3),
    "put back": lambda queue, id: queue.put_back(id, "full"),
    "interrupted": lambda queue, id: queue.interrupted(id, "x"),
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


def test_rows_left_running_by_a_dead_worker_are_offered_and_the_rest_wait_on(queue: Queue) -> None:
    ids = [queue.add(text(seed=seed)) for seed in range(4)]
    for _ in range(3):
        queue.claim()
    queue.progress(ids[0], 1, 2)
    queue.cancel(ids[1])
    queue.pause(ids[2])
    assert queue.recover() == ids[:3]
    assert [state(queue, id) for id in ids] == ["paused", "cancelled", "paused", "queued"]
    row = queue.get(ids[0])
    assert row is not None and (row.message, row.step) == (INTERRUPTED, 1)
    assert (claimed := queue.claim()) and claimed.id == ids[3] and queue.claim() is None
    assert queue.resume(ids[0])
    again = queue.claim()
    assert again is not None and (again.id, again.step, again.message) == (ids[0], 0, "")


def test_where_it_is_wished_an_interrupted_row_goes_on_by_itself_but_not_a_third_time(queue: Queue) -> None:
    queue.set_resume_interrupted(True)
    assert queue.settings().resume_interrupted
    id = queue.add(text())
    for after in ("queued", "paused"):
        assert queue.claim()
        queue.recover()
        assert state(queue, id) == after
    queue.resume(id)  # a person may ask again, and then it counts anew
    assert queue.claim()
    queue.recover()
    assert state(queue, id) == "queued"


def test_a_studio_that_ends_orderly_blames_no_row(queue: Queue) -> None:
    id = queue.add(text())
    queue.claim()
    queue.interrupted(id, "the studio was stopped")
    row = queue.get(id)
    assert row is not None and (row.state, row.message, row.attempts) == ("paused", "the studio was stopped", 0)
    queue.set_resume_interrupted(True)
    queue.resume(id)
    for _ in range(5):
        assert queue.claim()
        queue.interrupted(id, "the studio was stopped")
        assert state(queue, id) == "queued"


def test_a_paused_row_is_passed_over_until_it_is_resumed_into_its_place(queue: Queue) -> None:
    ids = [queue.add(text(seed=seed)) for seed in range(3)]
    assert queue.pause(ids[0]) and not queue.pause(ids[0])
    assert (row := queue.claim()) and row.id == ids[1]
    assert queue.resume(ids[0]) and not queue.resume(ids[0])
    assert (row := queue.claim()) and row.id == ids[0]


def test_a_running_row_that_is_paused_stops_after_its_step_and_waits_to_be_resumed(queue: Queue) -> None:
    id = queue.add(text())
    queue.claim()
    assert queue.pause(id) and state(queue, id) == "running"
    assert not queue.progress(id, 1, 2)
    queue.stopped(id)
    row = queue.get(id)
    assert row is not None and (row.state, row.step, row.held, row.finished) == ("paused", 1, False, None)


def test_a_pause_that_is_taken_back_stops_nothing(queue: Queue) -> None:
    id = queue.add(text())
    queue.claim()
    queue.pause(id)
    assert queue.resume(id) and queue.progress(id, 1, 2)
    queue.pause(id)
    assert not queue.progress(id, 2, 2)
    queue.resume(id)  # too late: the render has stopped
    queue.stopped(id)
    assert state(queue, id) == "queued"


def test_cancel_wins_over_pause(queue: Queue) -> None:
    ids = [queue.add(text()) for _ in range(2)]
    queue.claim()
    queue.pause(ids[0])
    queue.cancel(ids[0])
    queue.stopped(ids[0])
    queue.pause(ids[1])
    queue.cancel(ids[1])
    assert [state(queue, id) for id in ids] == ["cancelled", "cancelled"]


def test_while_all_is_paused_nothing_is_claimed_and_what_runs_goes_on(queue: Queue) -> None:
    first, second = queue.add(text()), queue.add(text())
    queue.claim()
    queue.pause_all("the person went home")
    assert queue.progress(first, 1, 2) and queue.claim() is None
    queue.done(first, [])
    assert (queue.settings().paused, queue.settings().why) == (True, "the person went home")
    queue.resume_all()
    assert (queue.settings().paused, queue.settings().why) == (False, "")
    assert (row := queue.claim()) and row.id == second


def test_a_row_that_can_not_be_written_now_waits_at_its_place_and_all_is_paused(queue: Queue) -> None:
    ids = [queue.add(text(seed=seed)) for seed in range(4)]
    queue.claim()
    queue.put_back(ids[0], "the disk is full")
    row = queue.get(ids[0])
    assert row is not None and (row.state, row.message, row.attempts) == ("queued", "the disk is full", 0)
    assert queue.settings().why == "the disk is full" and queue.claim() is None
    queue.resume_all()
    for ask, after in ((queue.cancel, "cancelled"), (queue.pause, "paused")):  # what was asked meanwhile is kept
        row = queue.claim()
        assert row is not None
        ask(row.id)
        queue.put_back(row.id, "the disk is full")
        assert state(queue, row.id) == after
        queue.resume_all()
    row = queue.claim()
    assert row is not None and row.id == ids[2]


def order(queue: Queue) -> list[str]:
    return [row.id for row in queue.line()]


def test_higher_priorities_go_first_and_each_in_its_own_order(queue: Queue) -> None:
    low, first, high, second = (queue.add(text(), priority) for priority in (-1, 0, 5, 0))
    assert order(queue) == [high, first, second, low]
    assert queue.set_priority(second, 7)
    claimed = [queue.claim() for _ in range(4)]
    assert [row.id for row in claimed if row] == [second, high, first, low]
    assert not queue.set_priority(low, 9), "it runs already"
    with pytest.raises(Refusal, match="from -100 to 100, got 101"):
        queue.add(text(), 101)


@settings(max_examples=40)
@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("move"), st.integers(0, 7), st.integers(0, 8)),
            st.tuples(st.just("priority"), st.integers(0, 7), st.integers(-2, 2)),
            st.tuples(st.just("pause"), st.integers(0, 7), st.just(0)),
        ),
        max_size=30,
    )
)
def test_rows_stand_where_they_were_put(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, int]]
) -> None:
    queue = Queue(tmp_path_factory.mktemp("queue"))
    ids = [queue.add(text()) for _ in range(8)]
    places, priorities = list(ids), dict.fromkeys(ids, 0)  # the same in the plainest words

    def expected() -> list[str]:
        return sorted(places, key=lambda id: -priorities[id])

    for what, which, value in steps:
        id = ids[which]
        if what == "priority":
            queue.set_priority(id, value)
            priorities[id] = value
        elif what == "pause":
            queue.pause(id)
        elif value == 8:
            queue.move(id)
            last = [other for other in expected() if other != id][-1]
            places.remove(id)
            places.append(id)
            priorities[id] = priorities[last]
        elif value != which:
            queue.move(id, before=ids[value])
            places.remove(id)
            places.insert(places.index(ids[value]), id)
            priorities[id] = priorities[ids[value]]
        assert order(queue) == expected()


def test_between_two_rows_there_is_always_room_for_another(queue: Queue) -> None:
    ids = [queue.add(text()) for _ in range(3)]
    for number in range(150):
        assert queue.move(ids[number % 2], before=ids[2])
        assert order(queue) == [ids[(number + 1) % 2], ids[number % 2], ids[2]]
    latest = queue.add(text())
    assert order(queue)[-1] == latest


def test_only_what_waits_is_moved_and_only_next_to_what_waits(queue: Queue) -> None:
    running, first, second = (queue.add(text()) for _ in range(3))
    queue.claim()
    assert not queue.move(running) and not queue.move(first, before=running) and not queue.move("nobody")
    assert not queue.move(first, before="nobody") and queue.move(first, before=first)
    assert order(queue) == [running, first, second]
    alone = queue.move(first) and queue.move(first)
    assert alone and order(queue) == [running, second, first]


def test_a_row_that_comes_back_has_its_place_for_itself(queue: Queue) -> None:
    first, second, third = (queue.add(text()) for _ in range(3))
    queue.claim()
    queue.move(third, before=second)  # where the running one was
    queue.interrupted(first, "")
    queue.resume(first)
    assert order(queue) == [first, third, second]
    assert queue.move(second, before=third) and order(queue) == [first, second, third]


def test_only_a_waiting_row_becomes_another_job(queue: Queue) -> None:
    first, second = queue.add(text()), queue.add(text())
    queue.claim()
    queue.pause(second)
    another = text("a blue star", steps=9)
    assert not queue.edit(first, another) and queue.edit(second, another) and not queue.edit("nobody", another)
    row = queue.get(second)
    assert row is not None and (parse(row.job), row.steps, row.state) == (another, 9, "paused")
    assert (row := queue.get(first)) and parse(row.job) == text()


def test_a_retry_and_a_duplicate_are_new_rows_that_name_the_old_one(queue: Queue) -> None:
    job = text("a blue star", steps=5)
    id = queue.add(job, 4)
    assert queue.retry(id) is None, "it waits still"
    copy = queue.duplicate(id)
    queue.claim()
    queue.progress(id, 1, 40)
    queue.fail(id, "no")
    again = queue.retry(id)
    assert copy and again and len({id, copy, again}) == 3
    for other in (copy, again):
        row = queue.get(other)
        assert row is not None and parse(row.job) == job
        assert (row.parent, row.state, row.priority, row.steps, row.attempts) == (id, "queued", 4, 5, 0)
    assert state(queue, id) == "failed" and queue.retry("nobody") is None and queue.duplicate("nobody") is None


def test_only_what_is_over_is_forgotten(queue: Queue) -> None:
    ids = [queue.add(text()) for _ in range(5)]
    for end in (lambda id: queue.done(id, []), lambda id: queue.fail(id, "no")):
        row = queue.claim()
        assert row is not None
        end(row.id)
    queue.claim()
    queue.pause(ids[4])
    assert queue.delete([*ids, "nobody"]) == 2
    assert order(queue) == ids[2:]
    assert queue.get(queue.add(text())).number == 6, "a number is never given twice"  # type: ignore[union-attr]


def test_rows_are_counted_by_state(queue: Queue) -> None:
    ids = [queue.add(text()) for _ in range(4)]
    queue.claim()
    queue.pause(ids[1])
    queue.cancel(ids[2])
    counts = {"queued": 1, "running": 1, "paused": 1, "done": 0, "failed": 0, "cancelled": 1}
    assert queue.counts() == counts


def test_a_number_grows_with_every_change_and_with_nothing_else(queue: Queue, tmp_path: Path) -> None:
    elsewhere, id = Queue(tmp_path), queue.add(text())
    second = queue.add(text())
    changes: list[Callable[[], object]] = [
        lambda: queue.add(text()), lambda: queue.edit(id, text("another")), lambda: queue.duplicate(id),
        lambda: queue.move(id), lambda: queue.set_priority(id, 1), lambda: queue.pause(id), lambda: queue.resume(id),
        queue.claim, lambda: queue.progress(id, 1, 2), lambda: queue.warn(id, ["odd"]), lambda: queue.fail(id, "no"),
        lambda: queue.retry(id), lambda: queue.delete([id]), lambda: queue.pause_all("x"), queue.resume_all,
        lambda: queue.set_resume_interrupted(True), queue.claim, lambda: queue.put_back(second, "x"),
        queue.resume_all, queue.claim, queue.recover, lambda: queue.cancel(second),
    ]  # fmt: skip
    for number, change in enumerate(changes):
        before = elsewhere.changed()
        change()
        assert elsewhere.changed() > before, number
    before = elsewhere.changed()
    for look in (queue.rows, queue.active, queue.line, queue.counts, queue.settings, queue.changed):
        look()
    queue.cancel("nobody")
    queue.progress("nobody", 1, 2)
    assert queue.delete(["nobody"]) == 0 and queue.recover() == [] and elsewhere.changed() == before


def test_rows_come_newest_first_page_by_page_and_by_state(queue: Queue) -> None:
    ids = [queue.add(text(seed=seed)) for seed in range(5)]
    queue.claim()
    queue.done(ids[0], ["text-001.png", "text-001.json"])
    assert [row.id for row in queue.rows(2)] == [ids[4], ids[3]]
    assert [row.id for row in queue.rows(2, 4)] == [ids[0]]
    assert [row.files for row in queue.rows(states=("done",))] == [("text-001.png", "text-001.json")]
    queue.claim()
    assert [row.id for row in queue.active()] == ids[1:]
    queue.pause(ids[2])
    assert [row.id for row in queue.active()] == [ids[1], *ids[3:]] and order(queue) == ids[1:]
    assert [row.id for row in queue.line(2, 1)] == ids[2:4]


def test_an_unknown_id_is_nobody(queue: Queue) -> None:
    queue.cancel("nobody")
    assert queue.get("nobody") is None and not queue.progress("nobody", 1, 2)


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


@pytest.mark.parametrize("told", [True, False], ids=["whole", "killed before it told its version"])
def test_a_file_of_version_1_is_brought_up_with_all_its_rows(tmp_path: Path, told: bool) -> None:
    job = text("a yellow star", seed=5)
    db = sqlite3.connect(tmp_path / FILE)
    db.executescript(FIRST.replace("JOB", job.model_dump_json()))
    if told:
        db.execute("PRAGMA user_version = 1")
    db.commit()
    db.close()
    queue = Queue(tmp_path)
    rows = queue.rows()
    assert [(row.number, row.state) for row in reversed(rows)] == [
        (1, "done"), (2, "failed"), (3, "cancelled"), (4, "running"), (5, "queued"), (6, "queued"),
    ]  # fmt: skip
    assert all(parse(row.job) == job and row.priority == 0 and row.parent is None for row in rows)
    done = queue.get("aaaa")
    assert done is not None and (done.created, done.started, done.finished, done.step) == (10.5, 11.0, 12.0, 2)
    assert (done.files, done.message) == (("a.png", "a.json"), "the word 'odd' is unknown")
    assert queue.recover() == ["dddd"] and state(queue, "dddd") == "paused"
    assert queue.resume("dddd") and queue.move("ffff", before="dddd")
    assert [row.id for row in (queue.claim(), queue.claim(), queue.claim()) if row] == ["ffff", "dddd", "eeee"]
    assert (new := queue.get(queue.add(job))) and new.number == 7
    assert len(Queue(tmp_path).rows()) == 7, "and it is not brought up twice"


# The table as version 2 made it.
SECOND = """
CREATE TABLE jobs (
    number   INTEGER PRIMARY KEY AUTOINCREMENT,
    id       TEXT NOT NULL UNIQUE,
    job      TEXT NOT NULL,
    state    TEXT NOT NULL DEFAULT 'queued'
             CHECK (state IN ('queued', 'running', 'paused', 'done', 'failed', 'cancelled')),
    created  REAL NOT NULL,
    started  REAL,
    finished REAL,
    step     INTEGER NOT NULL DEFAULT 0,
    steps    INTEGER NOT NULL DEFAULT 0,
    message  TEXT NOT NULL DEFAULT '',
    files    TEXT NOT NULL DEFAULT '[]',
    stopping INTEGER NOT NULL DEFAULT 0,
    held     INTEGER NOT NULL DEFAULT 0,
    priority INTEGER NOT NULL DEFAULT 0,
    place    REAL NOT NULL,
    parent   TEXT,
    attempts INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE settings (
    one                INTEGER PRIMARY KEY CHECK (one = 1),
    paused             INTEGER NOT NULL DEFAULT 0,
    why                TEXT NOT NULL DEFAULT '',
    resume_interrupted INTEGER NOT NULL DEFAULT 0,
    changes            INTEGER NOT NULL DEFAULT 0
) STRICT;
INSERT INTO settings (one, paused, why) VALUES (1, 1, 'the disk is full');
INSERT INTO jobs (id, job, state, created, steps, priority, place, parent) VALUES
    ('aaaa', 'JOB', 'done', 10.5, 2, 0, 1, NULL), ('bbbb', 'JOB', 'queued', 10.6, 2, 5, 2, 'aaaa');
PRAGMA user_version = 2;
PRAGMA journal_mode = WAL;
"""


def test_a_file_of_version_2_is_brought_up_and_keeps_its_settings(tmp_path: Path) -> None:
    job = text("a yellow star", seed=5)
    db = sqlite3.connect(tmp_path / FILE)
    db.executescript(SECOND.replace("JOB", job.model_dump_json()))
    db.close()
    queue = Queue(tmp_path)
    assert queue.settings().why == "the disk is full"
    assert [(row.id, row.priority, row.parent) for row in queue.rows()] == [("bbbb", 5, "aaaa"), ("aaaa", 0, None)]
    assert all(row.expanded_from is None and row.batch is None for row in queue.rows())
    queue.add_all([(job, {"expand": "all"})], batch="b")
    assert [row.expanded_from for row in Queue(tmp_path).batch("b")] == [{"expand": "all"}]


def test_a_batch_is_queued_whole_and_its_rows_know_what_they_came_from(queue: Queue) -> None:
    told = [{"expand": "all", "row": number, "fields": {"prompt": "{größe|<b>}"}} for number in (1, 2)]
    ids = queue.add_all([(text(seed=number), each) for number, each in enumerate(told)], batch="b")
    assert [(row.id, row.expanded_from) for row in queue.batch("b")] == list(zip(ids, told, strict=True))
    assert queue.batch("nobody") == [] and queue.batch("") == []
    with pytest.raises(Refusal):
        queue.add_all([(text(), None)], priority=1_000)
    assert len(queue.rows()) == 2


def test_a_retry_is_of_the_same_batch_and_an_edited_row_is_of_none(queue: Queue) -> None:
    first, second = queue.add_all([(text(), {"row": 1}), (text(seed=1), {"row": 2})], batch="b")
    queue.cancel(first)
    again = queue.retry(first)
    assert [(row.id, row.expanded_from) for row in queue.batch("b")] == [
        (first, {"row": 1}), (second, {"row": 2}), (again, {"row": 1})
    ]  # fmt: skip
    assert queue.edit(second, text("another"))
    row = queue.get(second)
    assert row is not None and row.expanded_from is None and row.batch is None


def test_many_open_a_new_file_at_once(tmp_path: Path) -> None:
    begin = threading.Barrier(8)

    def add(_: int) -> str:
        begin.wait()
        return Queue(tmp_path).add(text())

    with ThreadPoolExecutor(8) as pool:
        ids = set(pool.map(add, range(8)))
    assert {row.id for row in Queue(tmp_path).rows()} == ids and len(ids) == 8


def test_many_look_and_post_while_rows_are_rendered(tmp_path: Path) -> None:
    Queue(tmp_path)
    posted: list[str] = []
    ended = threading.Event()

    def look(_: int) -> int:
        queue, before = Queue(tmp_path), 0
        while not ended.is_set():
            now = queue.changed()
            assert now >= before
            if now > before:
                before = now
                assert all(row.state in ("running", "queued") for row in queue.active())
                queue.rows(24)
            ended.wait(0.02)
        return before

    def post(seed: int) -> None:
        queue = Queue(tmp_path)
        for _ in range(8):
            posted.append(queue.add(text(seed=seed)))

    def work() -> int:
        queue, rendered = Queue(tmp_path), 0
        while rendered < 40:
            if row := queue.claim():
                assert queue.progress(row.id, 1, 2) and queue.progress(row.id, 2, 2)
                queue.done(row.id, ["a.png"])
                rendered += 1
        return rendered

    with ThreadPoolExecutor(56) as pool:
        looking = [pool.submit(look, number) for number in range(50)]
        try:
            posting, working = [pool.submit(post, seed) for seed in range(5)], pool.submit(work)
            assert [each.result() for each in posting] == [None] * 5 and working.result() == 40
        finally:
            ended.set()
        assert all(each.result() for each in looking)
    assert {row.id for row in Queue(tmp_path).rows(100, 0, ("done",))} == set(posted) and len(posted) == 40


def test_what_is_asked_often_costs_the_same_in_a_long_queue(tmp_path: Path) -> None:
    """In steps of SQLite's machine, which do not depend on the clock."""

    def steps(count: int) -> dict[str, int]:
        folder = tmp_path / str(count)
        queue = Queue(folder)
        db = queue._file.db
        with queue._file.transaction():
            for number in range(count):
                state = "done" if number % 2 else "queued"
                db.execute(
                    "INSERT INTO jobs (id, job, state, created, place) VALUES (?, '{}', ?, 0, ?)",
                    (str(number), state, number),
                )
        asked: dict[str, Callable[[], object]] = {
            "changed": queue.changed, "settings": queue.settings, "get": lambda: queue.get("8"),
            "rows": lambda: queue.rows(24), "done rows": lambda: queue.rows(24, 0, ("done", "failed")),
            "add": lambda: queue.add(text()), "claim": queue.claim, "move": lambda: queue.move("8", before="4"),
            "pause": lambda: queue.pause("8"),
        }  # fmt: skip
        found = {}
        for name, ask in asked.items():
            taken = [0]

            def count_one(taken: list[int] = taken) -> int:
                taken[0] += 1
                return 0

            db.set_progress_handler(count_one, 1)
            ask()
            db.set_progress_handler(None, 1)
            found[name] = taken[0]
        return found

    few, many = steps(60), steps(3_000)
    assert {name: few[name] for name in few if many[name] > 1.5 * few[name]} == {}


def test_the_queue_loads_nothing_heavy() -> None:
    assert (
        loaded_by("import pipelines.queue.queue, pipelines.queue.worker, pipelines.queue.keeper") & (HEAVY | {"numpy"})
        == set()
    )
