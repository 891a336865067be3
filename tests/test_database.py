"""A file that several share: where SQLite is busy it is asked again, and what it refuses otherwise is told at once."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from pipelines.files.database import Database


class Refusing:
    """A connection that refuses so many times, with an error code of SQLite's."""

    def __init__(self, times: int, code: int) -> None:
        self.times, self.code = times, code

    def execute(self, statement: str) -> None:
        if self.times:
            self.times -= 1
            error = sqlite3.OperationalError("database is locked")
            error.sqlite_errorcode = self.code
            raise error


def opened(path: Path, connection: Any) -> Database:
    database = Database(path)
    database._local.db = connection
    return database


def test_the_change_to_wal_waits_for_others(tmp_path: Path) -> None:
    busy = Refusing(3, sqlite3.SQLITE_BUSY)
    opened(tmp_path / "a", busy).write_ahead()
    assert busy.times == 0


def test_other_faults_are_told_at_once(tmp_path: Path) -> None:
    full = Refusing(3, sqlite3.SQLITE_FULL)
    with pytest.raises(sqlite3.OperationalError):
        opened(tmp_path / "a", full).write_ahead()
    assert full.times == 2
