"""The history: every output of a folder, to be searched, rated, compared, thrown away and taken back.

The outputs and their records are the truth. The database beside them (`history/database.py`) only finds them quickly;
without it `History.refresh` makes it anew. What persons say of outputs is in `annotation.py`, the bin in `bin.py`, how
one searches in `search.py`. Pages ask by ids, and never by paths.
"""

from __future__ import annotations

import os
import re
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipelines.files.kept import KEPT
from pipelines.files.media import MediaError
from pipelines.files.record import Told, outputs_of, read_record, shown_of
from pipelines.history import annotation
from pipelines.history.annotation import Annotation
from pipelines.history.bin import Bin
from pipelines.history.compare import Comparison, compare
from pipelines.history.database import HistoryError as HistoryError
from pipelines.history.database import HistoryFile, plain
from pipelines.history.search import Search as Search  # callers take it from here, beside the history
from pipelines.history.search import where
from pipelines.history.thumbs import Thumbs
from pipelines.refusal import Refusal, shown

MOST_READ = 64 * 2**20  # bytes of records that one call reads
SETTLED = 2 * 10**9  # nanoseconds after which a folder's time of change tells of every change before
JOINED = "FROM outputs AS o LEFT JOIN annotations AS a ON a.stem = o.stem AND a.job = o.job"


@dataclass(frozen=True, kw_only=True)
class Entry(Told):
    """An output.

    Attributes:
        id: what it is called wherever others can see it.
        stem: the name of its files.
        created: when its record was written, in seconds since 1970.
        rating: 0, which is none, to 5.
        binned: when it was thrown away, in seconds since 1970; None where it was not.
    """

    id: str
    stem: str
    created: float
    rating: int
    tags: tuple[str, ...]
    note: str
    binned: float | None


@dataclass(frozen=True)
class Page:
    """Some of the outputs found, newest first; `after` is where the next page begins, "" when this is the last."""

    entries: list[Entry]
    after: str


@dataclass(frozen=True)
class Refreshed:
    """What one look at the folder found: records read, outputs that are gone, and whether there is more to read."""

    read: int
    gone: int
    more: bool


class History:
    """The outputs of one folder. Any thread may call, and any process: changes wait for one another."""

    def __init__(self, folder: Path) -> None:
        """Open the history of `folder`, or begin one, which is empty until `refresh`.

        Raises:
            HistoryError: its file can not be used, or is one of a newer version.
        """
        self.folder = folder
        self.thumbs = Thumbs(folder / KEPT / "thumbs")
        self._file = HistoryFile(folder, folder / KEPT / "annotations.json")
        self._bin = Bin(folder / KEPT / "bin", folder)
        self._seen = 0  # the folder's time of change when all of it was read

    # ------------------------------------------------------------ finding

    def refresh(self, most: int = 500) -> Refreshed:
        """Look which records are new, changed or gone, and read at most `most` of them, the newest first.

        Raises:
            OSError: the folder can not be read.
        """
        with self._moving() as db:
            found, binned = _records(self.folder), {each.id: each for each in self._bin.all()}
            known = {row["stem"]: (row["size"], row["changed"]) for row in db.execute("SELECT * FROM scanned")}
            gone = known.keys() - found.keys()
            for stem in gone:
                self._file.forget(stem)
            waiting = [stem for stem, stamp in found.items() if stamp != known.get(stem)]
            waiting.sort(key=lambda stem: found[stem][1], reverse=True)
            read, room = 0, MOST_READ
            for stem in waiting[:most]:
                room -= found[stem][0]
                if room < 0 and read:
                    break
                self._file.take(self.folder / f"{stem}.json", *found[stem])
                read += 1
            rows = db.execute("SELECT id, number FROM outputs WHERE binned IS NOT NULL").fetchall()
            for row in rows:
                if row["id"] not in binned:
                    self._file.drop(row["number"])
            thrown = [binned[id] for id in binned.keys() - {row["id"] for row in rows}]
            for each in thrown[:most]:
                self._file.take_binned(each)
            more = read < len(waiting) or len(thrown) > most
            if (waiting or thrown) and not more:  # only now is it known which names are gone
                for number in annotation.adopt(db):
                    self._file.index(number)
            return Refreshed(read + len(thrown[:most]), len(gone), more)

    def keep_up(self, most: int = 500) -> bool:
        """`refresh`, where something in the folder came or went since the last time; whether there is more to read.

        Raises:
            OSError: the folder can not be read.
        """
        changed = self.folder.stat().st_mtime_ns
        if changed == self._seen:
            return False
        # Two changes within one tick of the file system's clock look like one.
        settled = time.time_ns() - changed > SETTLED
        more = self.refresh(most).more
        self._seen = changed if settled and not more else 0
        return more

    def changed(self) -> str:
        """Differs after every change of what is kept here; what is new in the folder is looked for by `keep_up`."""
        told = []
        for path in (self._file.path, Path(f"{self._file.path}-wal")):
            with suppress(FileNotFoundError):
                found = path.stat()
                told.append(f"{found.st_mtime_ns}.{found.st_size}")
        return " ".join(told)

    def get(self, id: str) -> Entry | None:
        """The output called `id`."""
        row = self._row(id)
        return _entry(row) if row else None

    def search(self, wanted: Search | None = None, after: str = "", limit: int = 24) -> Page:
        """The newest `limit` outputs of those wanted; `after` is what the page before said.

        Raises:
            Refusal: `after` is nothing that a page said.
        """
        conditions, values = where(wanted or Search(), self._file.indexed)
        if after:
            if not re.fullmatch(r"[0-9]{1,18}-[0-9]{1,18}", after):
                raise Refusal("after", f"expected what the page before said, got {shown(after)}; begin anew")
            conditions.append("(o.created, o.number) < (?, ?)")
            values += [int(part) for part in after.split("-")]
        rows = self._file.db.execute(
            f"SELECT o.*, a.rating, a.tags, a.note {JOINED} WHERE {' AND '.join(conditions)} "
            "ORDER BY o.created DESC, o.number DESC LIMIT ?",
            (*values, limit + 1),
        ).fetchall()
        more, rows = len(rows) > limit, rows[:limit]
        return Page([_entry(row) for row in rows], f"{rows[-1]['created']}-{rows[-1]['number']}" if more else "")

    def count(self, wanted: Search | None = None) -> int:
        """How many outputs are wanted."""
        conditions, values = where(wanted or Search(), self._file.indexed)
        found = self._file.db.execute(f"SELECT count(*) {JOINED} WHERE {' AND '.join(conditions)}", values)
        return int(found.fetchone()[0])

    def words(self) -> dict[str, dict[str, int]]:
        """What one can filter by: each `task`, `model` and `tag` outside the bin, with how many outputs have it."""
        found: dict[str, dict[str, int]] = {}
        for name in ("task", "model"):
            query = f"SELECT {name}, count(*) FROM outputs WHERE binned IS NULL GROUP BY 1 ORDER BY 2 DESC, 1"
            found[name] = {row[0]: row[1] for row in self._file.db.execute(query)}
        tags: dict[str, int] = {}
        for row in self._file.db.execute(f"SELECT a.tags {JOINED} WHERE o.binned IS NULL AND a.tags > ''"):
            for tag in annotation.unpacked(row[0]):
                tags[tag] = tags.get(tag, 0) + 1
        return found | {"tag": dict(sorted(tags.items(), key=lambda item: (-item[1], item[0])))}

    # ------------------------------------------------------------ one output

    def record(self, id: str) -> dict[str, Any]:
        """The record of an output, with its job under "job"; nothing where somebody took it away."""
        row = self._row(id)
        try:
            return read_record(self._place(row) / f"{row['stem']}.json") if row else {}
        except MediaError:
            return {}

    def files(self, id: str) -> list[Path]:
        """The files of an output that are there: what is shown first, the record last."""
        row = self._row(id)
        if row is None:
            return []
        place = self._place(row)
        root = place.resolve()
        names = [*outputs_of(row["stem"], self.record(id)), f"{row['stem']}.json"]
        # First resolved, then judged: links may lead anywhere.
        return [place / name for name in names if (place / name).is_file() and (place / name).resolve() == root / name]

    def shown(self, id: str) -> Path | None:
        """The picture or video of an output."""
        row = self._row(id)
        name = shown_of(row["stem"], self.record(id)) if row else None
        return next((path for path in self.files(id) if path.name == name), None)

    def thumbnail(self, id: str) -> Path | None:
        """A small WebP of an output's picture, or of four frames side by side of its video; made when first asked for.

        Raises:
            OSError: it can not be written.
        """
        path = self.shown(id)
        return self.thumbs.of(path) if path else None

    def compare(self, left: str, right: str) -> Comparison:
        """What differs between two outputs.

        Raises:
            Refusal: there is no such output.
        """
        for id in (left, right):
            self._known(id)
        return compare(self.record(left), self.record(right), self.shown(left), self.shown(right))

    def annotate(
        self, id: str, rating: int | None = None, tags: Sequence[str] | None = None, note: str | None = None
    ) -> Entry:
        """Say something of an output; None leaves it as it is.

        Raises:
            Refusal: there is no such output, or a value that can not be kept.
            OSError: it can not be written; then nothing was said.
        """
        with self._file.transaction() as db:
            row = self._known(id)
            entry = _entry(row)
            said: dict[str, Any] = {"rating": rating, "tags": None if tags is None else tuple(tags), "note": note}
            before = Annotation(entry.rating, entry.tags, entry.note)
            new = replace(before, **{name: value for name, value in said.items() if value is not None})
            annotation.put(db, row["stem"], row["job"], row["content"], annotation.checked(new))
            self._file.index(row["number"])
            annotation.export(db, self._file.export)
            return _entry(self._known(id))

    # ------------------------------------------------------------ the bin

    def discard(self, id: str) -> None:
        """Throw an output away, into the bin; what is there already stays there.

        Raises:
            Refusal: there is no such output.
            OSError, MediaError: it can not be moved; then it is where it was.
        """
        with self._moving() as db:
            row = self._known(id)
            if row["binned"] is None:
                binned = self._bin.put(id, row["stem"])
                db.execute("UPDATE outputs SET binned = ? WHERE id = ?", (binned.when, id))
                db.execute("DELETE FROM scanned WHERE stem = ?", (row["stem"],))

    def take_back(self, id: str) -> Entry:
        """Take an output out of the bin; where its name is taken it gets another, with -2, -3, ...

        Raises:
            Refusal: there is no such output in the bin.
            OSError, MediaError: it can not be moved; then it is in the bin still.
        """
        with self._moving() as db:
            row = self._known(id)
            if row["binned"] is None or self._bin.get(id) is None:
                raise Refusal("id", "expected an output in the bin, got one that is not there; look again")
            stem = self._bin.take(id)
            self._file.forget(stem)  # what stood there once
            db.execute("UPDATE outputs SET binned = NULL, stem = ? WHERE id = ?", (stem, id))
            annotation.copy(db, row["stem"], row["job"], stem)
            path = self.folder / f"{stem}.json"
            self._file.take(path, path.stat().st_size, path.stat().st_mtime_ns)
            annotation.export(db, self._file.export)
            return _entry(self._known(id))

    def empty(self, before: float) -> int:
        """Drop for good what was thrown away before that moment, in seconds since 1970; how many outputs they were.

        What was said of them goes with them.
        """
        with self._moving() as db:
            old = [binned for binned in self._bin.all() if binned.when < before]
            for binned in old:
                self._bin.remove(binned.id)
                for row in db.execute("SELECT * FROM outputs WHERE id = ?", (binned.id,)).fetchall():
                    self._file.drop(row["number"])
                    db.execute(
                        "DELETE FROM annotations WHERE stem = :stem AND job = :job AND NOT EXISTS "
                        "(SELECT 1 FROM outputs WHERE stem = :stem AND job = :job)",
                        {"stem": row["stem"], "job": row["job"]},
                    )
            if old:
                annotation.export(db, self._file.export)
            return len(old)

    # ------------------------------------------------------------ inside

    @contextmanager
    def _moving(self) -> Iterator[sqlite3.Connection]:
        """A change in which files may move: what a killed process left half done is brought to its end first."""
        with self._file.transaction() as db:
            self._bin.recover()
            yield db

    def _row(self, id: str) -> sqlite3.Row | None:
        query = f"SELECT o.*, a.rating, a.tags, a.note {JOINED} WHERE o.id = ?"
        row: sqlite3.Row | None = self._file.db.execute(query, (plain(id),)).fetchone()
        return row

    def _known(self, id: str) -> sqlite3.Row:
        row = self._row(id)
        if row is None:
            raise Refusal("id", f"there is no output {shown(id)}; it may have been taken away")
        return row

    def _place(self, row: sqlite3.Row) -> Path:
        """The folder in which the files of an output stand."""
        binned = self._bin.get(row["id"]) if row["binned"] is not None else None
        return binned.files if binned else self.folder


def _records(folder: Path) -> dict[str, tuple[int, int]]:
    """Name, size in bytes and time of change in nanoseconds of every file of `folder` that may be a record."""
    found = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(".json") and not entry.name.startswith(".") and plain(entry.name) == entry.name:
                with suppress(OSError):  # it went meanwhile
                    status = entry.stat(follow_symlinks=False)
                    if entry.is_file(follow_symlinks=False):
                        found[entry.name.removesuffix(".json")] = (status.st_size, status.st_mtime_ns)
    return found


def _entry(row: sqlite3.Row) -> Entry:
    values = {name: row[name] for name in Entry.__dataclass_fields__}
    values |= {"created": row["created"] / 1e9, "rating": row["rating"] or 0, "note": row["note"] or ""}
    return Entry(**values | {"tags": tuple(annotation.unpacked(row["tags"] or ""))})
