"""The queue: jobs as rows of an SQLite file, shared by the pages that write them and the one worker that renders them.

What lives here is who may change a row's state, and when. The file itself is `database.py`'s, the order of rows is
`line.py`'s and rendering is `worker.py`'s; nothing here loads torch.

    queued -> running -> done, failed, cancelled        what is over stays over; `retry` writes a new row
    queued <-> paused <- running                        paused by a person, or offered after an interruption
"""

from __future__ import annotations

import json
import secrets
import sqlite3
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args

from pipelines.job import Job, recipe
from pipelines.queue.database import QueueError as QueueError  # callers take it from here
from pipelines.queue.database import QueueFile
from pipelines.queue.line import ALIVE, IN_LINE, LAST_PLACE, WAITING, move
from pipelines.refusal import Refusal

State = Literal["queued", "running", "paused", "done", "failed", "cancelled"]
STATES: tuple[State, ...] = get_args(State)

FILE = "queue.sqlite3"
STARTS = 2  # of a job that kills its worker each time, before it is left to a person
MOST_PRIORITY = 100
INTERRUPTED = "interrupted: the renderer stopped while it was at work; resume it to render it from the beginning"

OVER = "state IN ('done', 'failed', 'cancelled')"
AGAIN = "(SELECT resume_interrupted FROM settings)"


@dataclass(frozen=True)
class Row:
    """A job on its way.

    Attributes:
        number: counts up from 1 in the order of arrival.
        id: what the row is called wherever others can see it.
        job: the job as plain JSON values; `pipelines.job.parse` reads it.
        created, started, finished: seconds since 1970; None when not yet.
        step, steps: how far the render is, or was when it was paused.
        message: of a failed job the reason, of a paused one why, of the others warnings, one a line.
        files: names relative to the output folder, pictures and videos first, the record last.
        stopping: whether cancel was asked while it runs.
        held: whether pause was asked while it runs.
        priority: higher ones are rendered first.
        place: lower ones of one priority are rendered first.
        parent: id of the row that this one was duplicated from, or is a retry of.
        attempts: how often it was started since a person last asked for it.
        expanded_from: for the record: what the job was written as, where a text of it stood for several; else None.
        batch: what the rows that were added together are called; None for a single one.
    """

    number: int
    id: str
    job: Mapping[str, Any]
    state: State
    created: float
    started: float | None
    finished: float | None
    step: int
    steps: int
    message: str
    files: tuple[str, ...]
    stopping: bool
    held: bool
    priority: int
    place: float
    parent: str | None
    attempts: int
    expanded_from: Mapping[str, Any] | None
    batch: str | None


@dataclass(frozen=True)
class Settings:
    """What holds for all rows.

    Attributes:
        paused: whether no row is started.
        why: one sentence, or "" when a person just wanted it so.
        resume_interrupted: whether what an interruption ended is rendered again unasked.
    """

    paused: bool
    why: str
    resume_interrupted: bool


class Queue:
    """The jobs of one folder. Every call is one transaction on its thread's own connection, so any thread may call."""

    def __init__(self, folder: Path) -> None:
        """Open the queue of `folder`, or begin one.

        Raises:
            QueueError: the file is not a queue, or is one of a newer version.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / FILE
        self._file = QueueFile(self.path)

    # ------------------------------------------------------------ what a person asks

    def add(self, job: Job, priority: int = 0) -> str:
        """Put `job` at the end of its priority and return its id.

        Raises:
            Refusal: a priority that is none.
        """
        return self.add_all([(job, None)], priority)[0]

    def add_all(
        self, jobs: Sequence[tuple[Job, Mapping[str, Any] | None]], priority: int = 0, batch: str | None = None
    ) -> list[str]:
        """Put jobs at the end of a priority, all or none, and return their ids.

        Args:
            jobs: each with what it was expanded from, as its record is to tell it, or None.
            priority: of all of them.
            batch: what they are called together, or None.

        Raises:
            Refusal: a priority that is none.
        """
        priority = _priority(priority)
        rows = [(_text(job), job.steps, _told(told)) for job, told in jobs]
        with self._file.transaction() as db:
            return [_insert(db, job, steps, priority, None, told, batch) for job, steps, told in rows]

    def edit(self, id: str, job: Job, expanded_from: Mapping[str, Any] | None = None) -> bool:
        """Let a waiting or paused row be another job, at the same place; False when it is neither.

        It is none of its batch any more.
        """
        change = "job = ?, steps = ?, step = 0, message = '', attempts = 0, batch = NULL, expanded_from = ?"
        return self._change(id, WAITING, change, _text(job), job.steps, _told(expanded_from))

    def duplicate(self, id: str) -> str | None:
        """Put the job of any row at the end once more, and return the new row's id."""
        return self._copy(id, "TRUE")

    def retry(self, id: str) -> str | None:
        """Put a job that failed or was cancelled at the end once more, and return the new row's id."""
        return self._copy(id, "state IN ('failed', 'cancelled')")

    def cancel(self, id: str) -> None:
        """Take a waiting or paused row out, or ask the running one to stop after its step.

        What is over stays as it is, and so does what a render has finished by then: scenes are kept for the next time.
        """
        waits = f"CASE WHEN {WAITING} THEN"
        self._change(
            id,
            ALIVE,
            f"stopping = 1, finished = {waits} ? END, state = {waits} 'cancelled' ELSE state END",
            time.time(),
        )

    def cancel_waiting(self) -> int:
        """Take all waiting rows out, and return how many they were. The running one and paused ones stay."""
        change = "state = 'cancelled', stopping = 1, finished = ?"
        return len(self._file.write(f"UPDATE jobs SET {change} WHERE state = 'queued' RETURNING 1", (time.time(),)))

    def pause(self, id: str) -> bool:
        """Keep a row from being rendered until it is resumed; False when it is over, or paused already.

        A running one stops after its step and is then paused. Its step is noted but can not be taken up again: it is
        rendered from the beginning, except for finished scenes, which are kept.
        """
        return self._change(
            id,
            "state = 'queued' OR state = 'running' AND NOT held",
            "held = state = 'running', state = CASE state WHEN 'queued' THEN 'paused' ELSE state END",
        )

    def resume(self, id: str) -> bool:
        """Put a paused or interrupted row back into its place; False when it is neither and no pause was asked."""
        return self._change(
            id,
            "state = 'paused' OR state = 'running' AND held",
            "held = 0, state = CASE state WHEN 'paused' THEN 'queued' ELSE state END, "
            "message = CASE state WHEN 'paused' THEN '' ELSE message END, "
            "attempts = CASE state WHEN 'paused' THEN 0 ELSE attempts END",
        )

    def pause_all(self, why: str = "") -> None:
        """Start no more rows, for a reason; what runs comes to its end."""
        self._file.write("UPDATE settings SET paused = 1, why = ?", (why,))

    def resume_all(self) -> None:
        """Start rows again. Rows that were paused one by one stay paused."""
        self._file.write("UPDATE settings SET paused = 0, why = ''")

    def set_resume_interrupted(self, on: bool) -> None:
        """Whether what an interruption ended is rendered again unasked, or is offered."""
        self._file.write("UPDATE settings SET resume_interrupted = ?", (int(on),))

    def set_priority(self, id: str, priority: int) -> bool:
        """Let a waiting or paused row go before those of lower priority; False when it is neither.

        Raises:
            Refusal: a priority that is none.
        """
        return self._change(id, WAITING, "priority = ?", _priority(priority))

    def move(self, id: str, before: str | None = None) -> bool:
        """Put a waiting or paused row right before another one, or at the very end; False when one of them is neither.

        It takes that row's priority (at the end, the last row's), for a place orders rows of one priority alone.
        """
        with self._file.transaction() as db:
            return move(db, id, before)

    def delete(self, ids: Sequence[str]) -> int:
        """Forget rows that are over, and return how many that were. Their outputs stay."""
        with self._file.transaction() as db:
            return sum(db.execute(f"DELETE FROM jobs WHERE id = ? AND {OVER}", (id,)).rowcount for id in ids)

    # ------------------------------------------------------------ what the worker says

    def claim(self) -> Row | None:
        """The first waiting row, running from now on; None when nothing waits or all is paused. None is given twice."""
        first = (
            f"SELECT number FROM jobs WHERE state = 'queued' AND NOT (SELECT paused FROM settings) ORDER BY {IN_LINE}"
        )
        if not self._file.read(f"{first} LIMIT 1"):
            return None  # so that a worker that waits never keeps others from writing
        found = self._file.write(
            "UPDATE jobs SET state = 'running', started = ?, step = 0, message = '', attempts = attempts + 1 "
            f"WHERE number = ({first} LIMIT 1) RETURNING *",
            (time.time(),),
        )
        return _row(found[0]) if found else None

    def progress(self, id: str, step: int, steps: int) -> bool:
        """Note that `step` of `steps` are taken; False when the render is to stop."""
        # A step that a power cut forgets costs nothing, so this write alone does not wait for the disk.
        found = self._file.write(
            "UPDATE jobs SET step = ?, steps = ? WHERE id = ? AND state = 'running' RETURNING stopping OR held",
            (step, steps, id),
            durable=False,
        )
        return bool(found) and not found[0][0]

    def warn(self, id: str, warnings: Sequence[str]) -> None:
        """Note what the person who waits should know."""
        self._change(id, "state = 'running'", "message = ?", "\n".join(warnings))

    def done(self, id: str, files: Sequence[str]) -> None:
        """The running row is rendered; `files` are names relative to the output folder, the record last."""
        self._over(id, "done", "files = ?", json.dumps(list(files)))

    def fail(self, id: str, reason: str) -> None:
        """The running row can not be rendered, for `reason`: one sentence."""
        self._over(id, "failed", "message = ?", reason)

    def stopped(self, id: str) -> None:
        """The running row's render stopped as it was asked to: it is cancelled, or paused, or waits again.

        The last is what becomes of a pause that was taken back when the render had stopped already.
        """
        self._leave("id = ?", (id,), "'queued'", "message", blamed=False)

    def interrupted(self, id: str, why: str) -> None:
        """The running row's render was ended with the worker. It is offered, or waits again where that was wished."""
        self._leave("id = ?", (id,), _offered(blamed=False), "?", why, blamed=False)

    def put_back(self, id: str, why: str) -> None:
        """The running row's output can not be written now, which is not its fault: it waits again and all is paused."""
        with self._file.transaction():
            self.pause_all(why)
            self._leave("id = ?", (id,), "'queued'", "?", why, blamed=False)

    def recover(self) -> list[str]:
        """Offer the rows that a dead worker left running, and return their ids. For the worker alone, as it starts.

        They are paused and not rendered again unasked: what killed the worker may have been the job. Where it was
        wished (`set_resume_interrupted`) they wait again, unless they were at work when a worker died before.
        """
        return self._leave("TRUE", (), _offered(blamed=True), "?", INTERRUPTED, blamed=True)

    # ------------------------------------------------------------ what pages read

    def changed(self) -> int:
        """A number that grows with every change: while it is the same, there is nothing new to read."""
        return int(self._file.read("SELECT changes FROM settings")[0][0])

    def settings(self) -> Settings:
        """What holds for all rows."""
        paused, why, resume = self._file.read("SELECT paused, why, resume_interrupted FROM settings")[0]
        return Settings(bool(paused), why, bool(resume))

    def counts(self) -> dict[State, int]:
        """How many rows there are in each state."""
        found = dict(tuple(row) for row in self._file.read("SELECT state, COUNT(*) FROM jobs GROUP BY state"))
        return {state: found.get(state, 0) for state in STATES}

    def get(self, id: str) -> Row | None:
        """The row called `id`."""
        found = self._rows("SELECT * FROM jobs WHERE id = ?", (id,))
        return found[0] if found else None

    def rows(self, limit: int = 50, offset: int = 0, states: Sequence[State] = STATES) -> list[Row]:
        """At most `limit` rows in one of `states`, newest first, after the `offset` newest."""
        marks = ", ".join("?" * len(states))
        return self._rows(
            f"SELECT * FROM jobs WHERE state IN ({marks}) ORDER BY number DESC LIMIT ? OFFSET ?",
            (*states, limit, offset),
        )

    def batch(self, name: str) -> list[Row]:
        """All rows of a batch, in the order of arrival; retries and duplicates of them are among them."""
        return self._rows("SELECT * FROM jobs WHERE batch = ? ORDER BY number", (name,))

    def states(self, ids: Sequence[str]) -> dict[str, State]:
        """The states of the rows of these ids that are there."""
        found: dict[str, State] = {}
        for start in range(0, len(ids), 500):  # SQLite takes so many values at once, and many more
            some = ids[start : start + 500]
            marks = ", ".join("?" * len(some))
            found.update(
                tuple(row) for row in self._file.read(f"SELECT id, state FROM jobs WHERE id IN ({marks})", some)
            )
        return found

    def of_file(self, name: str) -> tuple[str, int] | None:
        """The id of the row whose output is called `name`, relative to the output folder, and its number there."""
        rows = self._rows(
            "SELECT * FROM jobs WHERE state = 'done' AND instr(files, ?) ORDER BY number DESC LIMIT 1",
            (json.dumps(name),),
        )
        return (rows[0].id, rows[0].files.index(name)) if rows else None

    def active(self) -> list[Row]:
        """The running row and then the waiting ones, in the order in which they will be rendered."""
        return self._rows(
            f"SELECT * FROM jobs WHERE state IN ('running', 'queued') ORDER BY state = 'queued', {IN_LINE}"
        )

    def line(self, limit: int = 500, offset: int = 0) -> list[Row]:
        """At most `limit` rows that are not over, after `offset`: the running one, then waiting and paused ones."""
        return self._rows(
            f"SELECT * FROM jobs WHERE {ALIVE} ORDER BY state != 'running', {IN_LINE} LIMIT ? OFFSET ?", (limit, offset)
        )

    # ------------------------------------------------------------ how rows change

    def _rows(self, statement: str, values: Sequence[object] = ()) -> list[Row]:
        return [_row(found) for found in self._file.read(statement, values)]

    def _change(self, id: str, where: str, change: str, *values: object) -> bool:
        found = self._file.write(f"UPDATE jobs SET {change} WHERE id = ? AND ({where}) RETURNING 1", (*values, id))
        return bool(found)

    def _over(self, id: str, state: State, change: str, value: object) -> None:
        # Only a running row can end: what is over is never written over.
        self._change(id, "state = 'running'", f"state = ?, finished = ?, {change}", state, time.time(), value)

    def _leave(
        self, where: str, values: Sequence[object], state: str, message: str, *why: str, blamed: bool
    ) -> list[str]:
        """End running rows that are not rendered: as was asked of them, else in `state` with `message` (SQL)."""
        found = self._file.write(
            f"UPDATE jobs SET state = CASE WHEN stopping THEN 'cancelled' WHEN held THEN 'paused' ELSE {state} END, "
            f"message = CASE WHEN stopping OR held THEN message ELSE {message} END, "
            f"finished = CASE WHEN stopping THEN ? END, held = 0, attempts = attempts - {int(not blamed)} "
            f"WHERE state = 'running' AND {where} RETURNING id",
            (*why, time.time(), *values),
        )
        return [row[0] for row in found]

    def _copy(self, id: str, where: str) -> str | None:
        with self._file.transaction() as db:
            found = db.execute(f"SELECT * FROM jobs WHERE id = ? AND {where}", (id,)).fetchone()
            if found is None:
                return None
            steps = json.loads(found["job"])["steps"]
            return _insert(db, found["job"], steps, found["priority"], id, found["expanded_from"], found["batch"])


def _insert(
    db: sqlite3.Connection, job: str, steps: int, priority: int, parent: str | None, told: str | None, batch: str | None
) -> str:
    id = secrets.token_hex(8)
    db.execute(
        "INSERT INTO jobs (id, job, created, steps, priority, parent, expanded_from, batch, place) "
        f"VALUES (?, ?, ?, ?, ?, ?, ?, ?, {LAST_PLACE})",
        (id, job, time.time(), steps, priority, parent, told, batch),
    )
    return id


def _offered(blamed: bool) -> str:
    """SQL of what becomes of an interrupted row; `blamed` when it may have been what killed the worker."""
    starts = "attempts" if blamed else "attempts - 1"
    return f"CASE WHEN {AGAIN} AND {starts} < {STARTS} THEN 'queued' ELSE 'paused' END"


def _priority(priority: int) -> int:
    if not -MOST_PRIORITY <= priority <= MOST_PRIORITY:
        raise Refusal("priority", f"expected a number from {-MOST_PRIORITY} to {MOST_PRIORITY}, got {priority}")
    return int(priority)


def _text(job: Job) -> str:
    return json.dumps(recipe(job), ensure_ascii=False)


def _told(expanded_from: Mapping[str, Any] | None) -> str | None:
    return json.dumps(expanded_from, ensure_ascii=False) if expanded_from else None


def _row(found: sqlite3.Row) -> Row:
    values = dict(found)
    values["job"] = cast(dict[str, Any], json.loads(values["job"]))
    values["files"] = tuple(json.loads(values["files"]))
    values["expanded_from"] = json.loads(values["expanded_from"]) if values["expanded_from"] else None
    for flag in ("stopping", "held"):
        values[flag] = bool(values[flag])
    return Row(**values)
