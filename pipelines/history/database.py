"""The database of the history: what of each record one searches and sorts by, and what was said of it.

All of it but the annotations can be told from the records again, so tables of an older version are simply made anew.
What pages ask is in `history.py`.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
import unicodedata
from contextlib import suppress
from pathlib import Path

from pipelines.files.database import Database
from pipelines.files.media import MediaError
from pipelines.files.record import Facts, facts_of, read_record
from pipelines.history import annotation
from pipelines.history.bin import Binned

FILE = "history.sqlite3"
VERSION = 1  # of the tables below; a newer file is refused rather than misread

TABLES = (
    """CREATE TABLE outputs (
        number  INTEGER PRIMARY KEY,
        id      TEXT NOT NULL UNIQUE,
        stem    TEXT NOT NULL,
        task    TEXT NOT NULL,
        model   TEXT NOT NULL,
        prompt  TEXT NOT NULL,
        seed    INTEGER,
        width   INTEGER,
        height  INTEGER,
        kind    TEXT NOT NULL,
        job     TEXT NOT NULL,
        content TEXT NOT NULL,
        created INTEGER NOT NULL,
        binned  REAL,
        text    TEXT NOT NULL DEFAULT ''
    ) STRICT""",
    "CREATE UNIQUE INDEX live ON outputs (stem) WHERE binned IS NULL",
    "CREATE INDEX newest ON outputs (created, number)",
    "CREATE INDEX named ON outputs (stem, job)",
    "CREATE INDEX holding ON outputs (content)",
    "CREATE TABLE scanned (stem TEXT PRIMARY KEY, size INTEGER NOT NULL, changed INTEGER NOT NULL) STRICT",
)
WORDS = "CREATE VIRTUAL TABLE words USING fts5 (text, tokenize = 'unicode61 remove_diacritics 2')"
COLUMNS = ("task", "model", "prompt", "seed", "width", "height", "kind", "job", "content")


class HistoryError(OSError):
    """The history's file can not be used: one sentence."""


class HistoryFile(Database):
    """The database of a folder of outputs. Each thread has a connection of its own.

    Args:
        folder: of the outputs.
        export: the file in which annotations stand a second time.

    Attributes:
        indexed: whether words are found by an index (SQLite's FTS5) and not by reading all texts.
    """

    def __init__(self, folder: Path, export: Path) -> None:
        """Open the database, or begin one.

        Raises:
            HistoryError: the file can not be used, or is one of a newer version.
        """
        super().__init__(folder / FILE)
        self.export = export
        folder.mkdir(parents=True, exist_ok=True)
        try:
            try:
                self.indexed = self._prepare()
            except sqlite3.OperationalError:
                raise
            except sqlite3.DatabaseError:  # no database any more: it is laid aside, and what was said stands twice
                self._lay_aside()
                self.indexed = self._prepare()
        except sqlite3.Error as error:
            raise HistoryError(f"{self.path}: can not be used as a history: {error}; move it away") from None

    # ------------------------------------------------------------ within a change

    def take(self, record: Path, size: int, changed: int) -> None:
        """Read a record that is new or was written anew; what is no record is noted, so that it is not read again.

        Args:
            record: the file.
            size: in bytes, as it was seen.
            changed: when it was written, in nanoseconds since 1970.
        """
        stem = record.stem
        self.db.execute("INSERT OR REPLACE INTO scanned VALUES (?, ?, ?)", (stem, size, changed))
        found = self.db.execute("SELECT * FROM outputs WHERE stem = ? AND binned IS NULL", (stem,)).fetchone()
        facts = _facts(record)
        if found and (facts is None or found["job"] != facts.job):  # another's now
            self.drop(found["number"])
            found = None
        if facts is not None:
            self._put(found["id"] if found else secrets.token_hex(8), stem, facts, changed, None)

    def take_binned(self, binned: Binned) -> None:
        """Read a record in the bin."""
        with suppress(OSError):
            if (facts := _facts(binned.record)) is not None:
                self._put(binned.id, binned.stem, facts, binned.record.stat().st_mtime_ns, binned.when)

    def forget(self, stem: str) -> None:
        """The record called `stem` is gone. What was said of it stays, for it may come back."""
        self.db.execute("DELETE FROM scanned WHERE stem = ?", (stem,))
        for row in self.db.execute("SELECT number FROM outputs WHERE stem = ? AND binned IS NULL", (stem,)).fetchall():
            self.drop(row["number"])

    def drop(self, number: int) -> None:
        """Drop a row."""
        self.db.execute("DELETE FROM outputs WHERE number = ?", (number,))
        if self.indexed:
            self.db.execute("DELETE FROM words WHERE rowid = ?", (number,))

    def index(self, number: int) -> None:
        """Bring what is searched for words up to date: prompt, name, tags and note."""
        row = self.db.execute(
            "SELECT o.prompt, o.stem, a.tags, a.note FROM outputs AS o "
            "LEFT JOIN annotations AS a ON a.stem = o.stem AND a.job = o.job WHERE o.number = ?",
            (number,),
        ).fetchone()
        text = folded("\n".join(part for part in row if part))
        self.db.execute("UPDATE outputs SET text = ? WHERE number = ?", (text, number))
        if self.indexed:
            self.db.execute("INSERT OR REPLACE INTO words (rowid, text) VALUES (?, ?)", (number, text))

    def _put(self, id: str, stem: str, facts: Facts, created: int, binned: float | None) -> None:
        values = {"id": id, "stem": stem, "created": created, "binned": binned}
        values |= {name: getattr(facts, name) for name in COLUMNS}
        marks, changes = ", ".join("?" * len(values)), ", ".join(f"{name} = excluded.{name}" for name in values)
        number = self.db.execute(
            f"INSERT INTO outputs ({', '.join(values)}) VALUES ({marks}) ON CONFLICT (id) DO UPDATE SET {changes} "
            "RETURNING number",
            tuple(values.values()),
        ).fetchone()["number"]
        # What was rendered again, by the same job under the same name, keeps what was said of it.
        again = (facts.content, stem, facts.job)
        self.db.execute("UPDATE annotations SET content = ? WHERE stem = ? AND job = ?", again)
        self.index(number)

    # ------------------------------------------------------------ opening

    def _prepare(self) -> bool:
        """Make the tables where they are not there or are others; whether words have an index."""
        indexed = has_index(self.db)
        kind = 2 * VERSION + indexed
        version = self.db.execute("PRAGMA user_version").fetchone()[0]
        if version > 2 * VERSION + 1:
            raise HistoryError(
                f"{self.path}: expected a history of version {VERSION} or older, got {version // 2}; update Diorama"
            )
        if version != kind:
            self.write_ahead()
            with self.transaction() as db:
                if db.execute("PRAGMA user_version").fetchone()[0] == kind:
                    return indexed  # another process was faster
                for table in ("outputs", "scanned", *(["words"] if indexed else [])):
                    db.execute(f"DROP TABLE IF EXISTS {table}")
                for statement in (*TABLES, *annotation.TABLES, *([WORDS] if indexed else [])):
                    db.execute(statement)
                annotation.load(db, self.export)
                db.execute(f"PRAGMA user_version = {kind}")
        return indexed

    def _lay_aside(self) -> None:
        self.close()
        os.replace(self.path, self.path.with_name(f"{FILE}.broken"))
        for suffix in ("-wal", "-shm"):
            self.path.with_name(FILE + suffix).unlink(missing_ok=True)


def has_index(db: sqlite3.Connection) -> bool:
    """Whether this SQLite was built with FTS5."""
    try:
        db.execute("CREATE VIRTUAL TABLE temp.trial USING fts5 (text)")
        db.execute("DROP TABLE temp.trial")
    except sqlite3.OperationalError:
        return False
    return True


def folded(text: str) -> str:
    """A text as it is compared: without case, and with one spelling of each letter."""
    return unicodedata.normalize("NFC", plain(text).casefold())


def plain(text: str) -> str:
    """A text without what no database holds: halves of surrogate pairs and the null character."""
    return text.encode("utf-8", "ignore").decode().replace("\0", "")


def _facts(record: Path) -> Facts | None:
    try:
        return facts_of(record.stem, read_record(record))
    except (MediaError, ValueError, RecursionError):
        return None
