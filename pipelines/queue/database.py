"""The queue's file: its tables, and how an older file becomes one of today.

What a row may become, and when, is `queue.py`'s.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from pipelines.files.database import Database

VERSION = 3  # of the tables below; a newer file is refused rather than misread

# A row's `place` orders the line; between two places there is always another one, until they are numbered anew.
JOBS = """
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
    attempts INTEGER NOT NULL DEFAULT 0,
    expanded_from TEXT,
    batch    TEXT
) STRICT
"""
SETTINGS = """
CREATE TABLE settings (
    one                INTEGER PRIMARY KEY CHECK (one = 1),
    paused             INTEGER NOT NULL DEFAULT 0,
    why                TEXT NOT NULL DEFAULT '',
    resume_interrupted INTEGER NOT NULL DEFAULT 0,
    changes            INTEGER NOT NULL DEFAULT 0
) STRICT
"""
BATCHES = "CREATE INDEX batches ON jobs (batch, number) WHERE batch IS NOT NULL"
COUNT = "BEGIN UPDATE settings SET changes = changes + 1; END"
BESIDE = (
    SETTINGS,
    "INSERT INTO settings (one) VALUES (1)",
    # The claim, the line as a page shows it, and the last row of all.
    "CREATE INDEX line ON jobs (state, priority DESC, place, number)",
    "CREATE INDEX states ON jobs (state, number)",
    "CREATE INDEX places ON jobs (place)",
    BATCHES,
    # Counted by the file itself, so that no statement can forget to.
    f"CREATE TRIGGER added AFTER INSERT ON jobs {COUNT}",
    f"CREATE TRIGGER changed AFTER UPDATE ON jobs {COUNT}",
    f"CREATE TRIGGER deleted AFTER DELETE ON jobs {COUNT}",
    f"CREATE TRIGGER configured AFTER UPDATE OF paused, why, resume_interrupted ON settings {COUNT}",
)
FIRST = "number, id, job, state, created, started, finished, step, steps, message, files, stopping"  # version 1
FROM_FIRST = (
    "ALTER TABLE jobs RENAME TO first",  # its CHECK of the state can not be changed in place
    JOBS,
    f"INSERT INTO jobs ({FIRST}, place, attempts) SELECT {FIRST}, number, started IS NOT NULL FROM first",
    "DROP TABLE first",
)
FROM_SECOND = (
    "ALTER TABLE jobs ADD COLUMN expanded_from TEXT",
    "ALTER TABLE jobs ADD COLUMN batch TEXT",
    BATCHES,
)


class QueueError(OSError):
    """The queue's file can not be used: one sentence."""


class QueueFile(Database):
    """An SQLite file in WAL mode. A read or a write is one transaction on its thread's own connection."""

    def __init__(self, path: Path) -> None:
        """Open the file, make it where there is none, and bring an older one up to today's version.

        Raises:
            QueueError: the file is not a queue, or is one of a newer version.
        """
        super().__init__(path)
        try:
            version = self._version()
            if version < VERSION:
                self.write_ahead()
                self._bring_up()
        except sqlite3.Error as error:
            raise QueueError(f"{self.path}: can not be used as a queue: {error}; move it away") from None
        if version > VERSION:
            raise QueueError(
                f"{self.path}: expected a queue of version {VERSION} or older, got {version}; update Diorama"
            )

    def read(self, statement: str, values: Sequence[object] = ()) -> list[sqlite3.Row]:
        """What a SELECT finds. Nobody waits for it, and it waits for nobody."""
        return self.db.execute(statement, values).fetchall()

    def write(self, statement: str, values: Sequence[object] = (), durable: bool = True) -> list[sqlite3.Row]:
        """What a statement that changes rows returns; within `transaction` it is a part of that one.

        Args:
            statement: one of SQL.
            values: of its question marks.
            durable: whether it waits for the disk, so that a power cut does not undo it.
        """
        db = self.db
        if not db.in_transaction:
            db.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        return db.execute(statement, values).fetchall()

    def _version(self) -> int:
        return int(self.read("PRAGMA user_version")[0][0])

    def _bring_up(self) -> None:
        with self.transaction() as db:
            version = self._version()
            if version == VERSION:
                return  # another process was faster
            # Not by the version: the first one's was written after its table, and between the two it could be killed.
            older = db.execute("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'jobs'").fetchone()
            statements = FROM_SECOND if version == 2 else (*(FROM_FIRST if older else (JOBS,)), *BESIDE)
            for statement in (*statements, f"PRAGMA user_version = {VERSION}"):
                db.execute(statement)
