"""An SQLite file that several processes and threads share: a connection for each thread, and changes that are whole.

What its tables are, and how an older file becomes one of today, is said by who keeps one: the queue and the history.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PATIENCE = 30.0  # seconds that a call waits for another process's write


class Database:
    """The file at `path`, opened by each thread when it first asks.

    Args:
        path: of the file; it is made with the first statement.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._local = threading.local()

    @property
    def db(self) -> sqlite3.Connection:
        """This thread's connection. It stays open, for the last one to close makes SQLite write its log back."""
        db: sqlite3.Connection | None = getattr(self._local, "db", None)
        if db is None:
            # isolation_level None: each statement is its own transaction, begun and ended by SQLite.
            db = sqlite3.connect(self.path, timeout=PATIENCE, isolation_level=None)
            db.row_factory = sqlite3.Row
            self._local.db = db
        return db

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """A connection whose statements happen all or not at all. Whoever else writes waits, in other processes too."""
        db = self.db
        db.execute("PRAGMA synchronous = FULL")
        db.execute("BEGIN IMMEDIATE")  # at once the writer, for one that reads first can not always become one
        try:
            yield db
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:  # a full disk ends some by itself
                db.execute("ROLLBACK")
            raise

    def write_ahead(self) -> None:
        """Put the file into WAL mode, in which readers and a writer do not wait for each other; it stays so.

        The change needs the file alone, and where another connection is about to make it too SQLite says at once that
        it is busy instead of waiting, so the waiting is done here.

        Raises:
            sqlite3.Error: it can not be done, or others were busy for PATIENCE seconds.
        """
        until = time.monotonic() + PATIENCE
        while True:
            try:
                self.db.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                busy = error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
                if not busy or time.monotonic() > until:
                    raise
            time.sleep(0.01)

    def close(self) -> None:
        """Close this thread's connection; the next use opens another."""
        if (db := getattr(self._local, "db", None)) is not None:
            db.close()
            del self._local.db
