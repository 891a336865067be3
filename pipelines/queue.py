"""The queue: jobs as rows of an SQLite file, shared by the pages that write them and the one worker that renders them.

What lives here is who may change a row's state, and when. Rendering is `worker.py`'s; nothing here loads torch.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args

from pipelines.job import Job, recipe

State = Literal["queued", "running", "done", "failed", "cancelled"]
STATES: tuple[State, ...] = get_args(State)

FILE = "queue.sqlite3"
VERSION = 1  # of the table below; a newer file is refused rather than misread
PATIENCE = 30.0  # seconds that a call waits for another process's write
INTERRUPTED = "interrupted: the renderer stopped while it was at work; render it again"

TABLE = """
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
) STRICT
"""


class QueueError(OSError):
    """The queue's file can not be used: one sentence."""


@dataclass(frozen=True)
class Row:
    """A job on its way.

    Attributes:
        number: counts up from 1 in the order of arrival.
        id: what the row is called wherever others can see it.
        job: the job as plain JSON values; `pipelines.job.parse` reads it.
        created, started, finished: seconds since 1970; None when not yet.
        step, steps: how far the render is.
        message: of a failed job the reason, of the others warnings, one a line.
        files: names relative to the output folder, pictures and videos first, the record last.
        stopping: whether cancel was asked while it runs.
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


class Queue:
    """The jobs of one folder. Every call is one transaction on its thread's own connection, so any thread may call."""

    def __init__(self, folder: Path) -> None:
        """Open the queue of `folder`, or begin one.

        Raises:
            QueueError: the file is not a queue, or is one of a newer version.
        """
        self.path = folder / FILE
        folder.mkdir(parents=True, exist_ok=True)
        self._local = threading.local()
        try:
            db = self._connection()
            version = db.execute("PRAGMA user_version").fetchone()[0]
            if version > VERSION:
                raise QueueError(
                    f"{self.path}: expected a queue of version {VERSION} or older, got {version}; update Diorama"
                )
            db.execute("PRAGMA journal_mode = WAL")
            db.execute(TABLE)
            db.execute("CREATE INDEX IF NOT EXISTS active ON jobs (state, number)")
            db.execute(f"PRAGMA user_version = {VERSION}")
        except sqlite3.Error as error:
            raise QueueError(f"{self.path}: can not be used as a queue: {error}; move it away") from None

    def add(self, job: Job) -> str:
        """Put `job` at the end and return its id."""
        id = secrets.token_hex(8)
        values = (id, json.dumps(recipe(job), ensure_ascii=False), time.time(), job.steps)
        self._run("INSERT INTO jobs (id, job, created, steps) VALUES (?, ?, ?, ?)", values)
        return id

    def claim(self) -> Row | None:
        """The oldest waiting row, running from now on; None when nothing waits. No row is given out twice."""
        found = self._run(
            "UPDATE jobs SET state = 'running', started = ?, step = 0 WHERE number = "
            "(SELECT number FROM jobs WHERE state = 'queued' ORDER BY number LIMIT 1) RETURNING *",
            (time.time(),),
        )
        return found[0] if found else None

    def progress(self, id: str, step: int, steps: int) -> bool:
        """Note that `step` of `steps` are taken; False when the render is to stop."""
        # A step that a power cut forgets costs nothing, so this write alone does not wait for the disk.
        found = self._run(
            "UPDATE jobs SET step = ?, steps = ? WHERE id = ? AND state = 'running' RETURNING *",
            (step, steps, id),
            durable=False,
        )
        return bool(found) and not found[0].stopping

    def warn(self, id: str, warnings: Sequence[str]) -> None:
        """Note what the person who waits should know."""
        self._run("UPDATE jobs SET message = ? WHERE id = ? AND state = 'running'", ("\n".join(warnings), id))

    def done(self, id: str, files: Sequence[str]) -> None:
        """The running row is rendered; `files` are names relative to the output folder, the record last."""
        self._over(id, "done", "files = ?", json.dumps(list(files)))

    def fail(self, id: str, reason: str) -> None:
        """The running row can not be rendered, for `reason`: one sentence."""
        self._over(id, "failed", "message = ?", reason)

    def stopped(self, id: str) -> None:
        """The running row was cancelled, and its render has stopped."""
        self._over(id, "cancelled", "stopping = ?", 1)

    def cancel(self, id: str) -> None:
        """Take a waiting row out, or ask the running one to stop after its step. What is over stays as it is."""
        self._run(
            "UPDATE jobs SET stopping = 1, finished = CASE state WHEN 'queued' THEN ? END, "
            "state = CASE state WHEN 'queued' THEN 'cancelled' ELSE state END "
            "WHERE id = ? AND state IN ('queued', 'running')",
            (time.time(), id),
        )

    def recover(self) -> list[str]:
        """End the rows that a dead worker left running, and return their ids. For the worker alone, as it starts.

        They fail with a reason and are not rendered again unasked: what killed the worker may have been the job.
        """
        found = self._run(
            "UPDATE jobs SET finished = ?, state = CASE stopping WHEN 1 THEN 'cancelled' ELSE 'failed' END, "
            "message = CASE stopping WHEN 1 THEN message ELSE ? END WHERE state = 'running' RETURNING *",
            (time.time(), INTERRUPTED),
        )
        return [row.id for row in found]

    def get(self, id: str) -> Row | None:
        """The row called `id`."""
        found = self._run("SELECT * FROM jobs WHERE id = ?", (id,))
        return found[0] if found else None

    def rows(self, limit: int = 50, offset: int = 0, states: Sequence[State] = STATES) -> list[Row]:
        """At most `limit` rows in one of `states`, newest first, after the `offset` newest."""
        marks = ", ".join("?" * len(states))
        return self._run(
            f"SELECT * FROM jobs WHERE state IN ({marks}) ORDER BY number DESC LIMIT ? OFFSET ?",
            (*states, limit, offset),
        )

    def active(self) -> list[Row]:
        """The running row and then the waiting ones, in the order in which they will be rendered."""
        return self._run("SELECT * FROM jobs WHERE state IN ('running', 'queued') ORDER BY state = 'queued', number")

    def latest(self) -> Row | None:
        """The row that was over last."""
        found = self._run(
            "SELECT * FROM jobs WHERE state IN ('done', 'failed', 'cancelled') "
            "ORDER BY finished DESC, number DESC LIMIT 1"
        )
        return found[0] if found else None

    def _over(self, id: str, state: State, change: str, value: object) -> None:
        # Only a running row can end: what is over is never written over.
        self._run(
            f"UPDATE jobs SET state = ?, finished = ?, {change} WHERE id = ? AND state = 'running'",
            (state, time.time(), value, id),
        )

    def _run(self, statement: str, values: Sequence[object] = (), durable: bool = True) -> list[Row]:
        db = self._connection()
        db.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        return [_row(found) for found in db.execute(statement, values).fetchall()]

    def _connection(self) -> sqlite3.Connection:
        """This thread's connection. It stays open, for the last one to close makes SQLite write its log back."""
        db: sqlite3.Connection | None = getattr(self._local, "db", None)
        if db is None:
            # isolation_level None: each statement is its own transaction, begun and ended by SQLite.
            db = sqlite3.connect(self.path, timeout=PATIENCE, isolation_level=None)
            db.row_factory = sqlite3.Row
            self._local.db = db
        return db


def _row(found: sqlite3.Row) -> Row:
    values = dict(found)
    values["job"] = cast(dict[str, Any], json.loads(values["job"]))
    values["files"] = tuple(json.loads(values["files"]))
    values["stopping"] = bool(values["stopping"])
    return Row(**values)
