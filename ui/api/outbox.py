"""The outbox: which webhooks are to be sent, and how it went; an SQLite file beside the queue's.

A webhook is in it once its job is queued, also over a restart, and is off the list of those that wait only after it was
answered. So it is sent at least once; one that a kill let be sent twice has the same id both times.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipelines.files.database import Database

FILE = "outbox.sqlite3"
TABLE = """
CREATE TABLE IF NOT EXISTS hooks (
    id      TEXT PRIMARY KEY,
    job     TEXT NOT NULL,
    address TEXT NOT NULL,
    state   TEXT NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'delivered', 'failed')),
    tries   INTEGER NOT NULL DEFAULT 0,
    next    REAL NOT NULL DEFAULT 0,
    status  INTEGER,
    said    TEXT NOT NULL DEFAULT '',
    created REAL NOT NULL
) STRICT
"""
STATEMENTS = (
    TABLE,
    "CREATE INDEX IF NOT EXISTS waiting ON hooks (next) WHERE state = 'waiting'",
    "CREATE INDEX IF NOT EXISTS jobs ON hooks (job)",
)


@dataclass(frozen=True)
class Hook:
    """A webhook.

    Attributes:
        id: the same at every try, so that who gets it twice knows.
        job: id of the queue's row that it tells of.
        tries: how often it was tried.
        status: what the last try was answered with; None where nobody answered.
        said: why the last try did not succeed, or "".
    """

    id: str
    job: str
    address: str
    state: Literal["waiting", "delivered", "failed"]
    tries: int
    status: int | None
    said: str


class Outbox:
    """The webhooks of one folder; any thread may call."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = Database(folder / FILE)
        self._file.write_ahead()
        with self._file.transaction() as db:
            for statement in STATEMENTS:
                db.execute(statement)

    def expect(self, jobs: Sequence[str], address: str) -> None:
        """Have `address` told of each of these jobs once it is over."""
        with self._file.transaction() as db:
            for job in jobs:
                values = (f"msg_{secrets.token_hex(12)}", job, address, time.time())
                db.execute("INSERT INTO hooks (id, job, address, created) VALUES (?, ?, ?, ?)", values)

    def of(self, job: str) -> Hook | None:
        """The webhook of a job."""
        found = self._hooks("job = ?", job)
        return found[0] if found else None

    def waiting(self, now: float) -> list[Hook]:
        """Those whose next try is due by `now`, if their job is over."""
        return self._hooks("state = 'waiting' AND next <= ? ORDER BY next, created", now)

    def told(self, id: str, status: int | None, said: str, again: float | None) -> None:
        """Note how a try went.

        Args:
            id: of the webhook.
            status: what it was answered with, or None.
            said: why it did not succeed; "" when it did.
            again: when it is tried again, in seconds since 1970; None when it is not.
        """
        state = "delivered" if not said else "failed" if again is None else "waiting"
        change = "state = ?, tries = tries + 1, status = ?, said = ?, next = ?"
        with self._file.transaction() as db:
            db.execute(f"UPDATE hooks SET {change} WHERE id = ?", (state, status, said, again or 0.0, id))

    def _hooks(self, where: str, *values: object) -> list[Hook]:
        chosen = "SELECT id, job, address, state, tries, status, said FROM hooks WHERE"
        return [Hook(**dict(row)) for row in self._file.db.execute(f"{chosen} {where}", values)]
