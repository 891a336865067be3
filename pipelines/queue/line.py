"""The line: in which order waiting rows of the queue are rendered, and how one of them is moved.

A row's place is a number between those of its neighbours, so a move writes one row, until no number is left between two
and all are numbered anew. No two rows that are not over share a place, whatever their priorities are.
"""

from __future__ import annotations

import sqlite3
from typing import Any

WAITING = "state IN ('queued', 'paused')"
ALIVE = "state IN ('queued', 'paused', 'running')"
IN_LINE = "priority DESC, place, number"  # the order in which waiting rows are rendered
LAST_PLACE = "(SELECT COALESCE(MAX(place), 0) + 1 FROM jobs)"


def move(db: sqlite3.Connection, id: str, before: str | None) -> bool:
    """Put a waiting row right before another one, or at the very end; False when one of them is not waiting.

    Args:
        db: a connection in a transaction.
        id: the row; it takes the priority of `before`, or at the end that of the last row.
        before: another row; None is the end.
    """
    if _waiting(db, "id = ?", id) is None:
        return False
    if before is None:
        last = _waiting(db, "id != ? ORDER BY priority, place DESC LIMIT 1", id)
        if last is not None:
            db.execute(f"UPDATE jobs SET place = {LAST_PLACE}, priority = ? WHERE id = ?", (last["priority"], id))
        return True
    after = _waiting(db, "id = ?", before)
    if after is None or before == id:
        return after is not None
    place = _between(db, id, after["place"])
    if place is None:
        _number_anew(db)
        place = _between(db, id, _waiting(db, "id = ?", before)["place"])
    db.execute("UPDATE jobs SET place = ?, priority = ? WHERE id = ?", (place, after["priority"], id))
    return True


def _waiting(db: sqlite3.Connection, where: str, id: str) -> Any:
    return db.execute(f"SELECT priority, place FROM jobs WHERE {WAITING} AND {where}", (id,)).fetchone()


def _between(db: sqlite3.Connection, id: str, place: float) -> float | None:
    """A place between `place` and the one before it; None where there is no number left."""
    # Among all rows: the running one may come back, and with those that are over the index answers at once.
    below = "SELECT place FROM jobs WHERE place < ? AND id != ? ORDER BY place DESC LIMIT 1"
    lower = db.execute(below, (place, id)).fetchone()
    if lower is None:
        return place - 1
    middle: float = (lower["place"] + place) / 2
    return middle if lower["place"] < middle < place else None


def _number_anew(db: sqlite3.Connection) -> None:
    ranks = f"SELECT number AS n, row_number() OVER (ORDER BY place, number) AS rank FROM jobs WHERE {ALIVE}"
    db.execute(f"UPDATE jobs SET place = ranks.rank FROM ({ranks}) AS ranks WHERE number = ranks.n")
