"""Annotations: the ratings, tags and notes of a person. They can not be told from any output, so they stand twice: in
the history's database, and in a file of plain JSON that is written with every change.
"""

from __future__ import annotations

import json
import sqlite3
import unicodedata
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from pipelines.files.atomic import write_bytes
from pipelines.refusal import Refusal, kind_of, shown

MOST_RATING, MOST_TAGS, MOST_LETTERS, MOST_NOTE = 5, 50, 40, 4_000
MAX_FILE = 256 * 2**20  # bytes

# Of an output: it is known by its name and its job, and where it was renamed by what it holds.
TABLES = (
    """CREATE TABLE IF NOT EXISTS annotations (
        stem    TEXT NOT NULL,
        job     TEXT NOT NULL,
        content TEXT NOT NULL,
        rating  INTEGER NOT NULL DEFAULT 0,
        tags    TEXT NOT NULL DEFAULT '',
        note    TEXT NOT NULL DEFAULT '',
        PRIMARY KEY (stem, job)
    ) STRICT""",
    "CREATE INDEX IF NOT EXISTS contents ON annotations (content)",
)
COLUMNS = ("stem", "job", "content", "rating", "tags", "note")


@dataclass(frozen=True)
class Annotation:
    """What a person says of one output."""

    rating: int = 0
    tags: tuple[str, ...] = ()
    note: str = ""


def checked(annotation: Annotation) -> Annotation:
    """The annotation with each tag once.

    Raises:
        Refusal: on `rating`, `tags` or `note`.
    """
    rating, note = annotation.rating, annotation.note
    if type(rating) is not int or not 0 <= rating <= MOST_RATING:
        raise Refusal("rating", f"expected a whole number from 0 to {MOST_RATING}, got {kind_of(rating)}")
    if not isinstance(note, str) or len(note) > MOST_NOTE or _has(note, "Cs") or "\0" in note:
        raise Refusal("note", f"expected a text of at most {MOST_NOTE:,} characters, got {kind_of(note)}; shorten it")
    tags: dict[str, str] = {}
    for tag in annotation.tags:
        if not isinstance(tag, str) or _has(tag, "Cs", "Cc") or len(tag.strip()) > MOST_LETTERS:
            raise Refusal("tags", f"expected tags of at most {MOST_LETTERS} letters on one line, got {kind_of(tag)}")
        plain = unicodedata.normalize("NFC", " ".join(tag.split()))
        if plain:
            tags.setdefault(plain.casefold(), plain)
    if len(tags) > MOST_TAGS:
        raise Refusal("tags", f"expected at most {MOST_TAGS} tags, got {len(tags)}; drop some")
    return Annotation(rating, tuple(tags.values()), note)


def put(db: sqlite3.Connection, stem: str, job: str, content: str, annotation: Annotation) -> None:
    """Annotate an output; `job` and `content` are its hashes."""
    said = (annotation.rating, packed(annotation.tags), annotation.note)
    db.execute("INSERT OR REPLACE INTO annotations VALUES (?, ?, ?, ?, ?, ?)", (stem, job, content, *said))


def adopt(db: sqlite3.Connection) -> list[int]:
    """Let outputs that came under a new name have what was said of them under one that is gone; their row numbers."""
    found = db.execute(
        "SELECT o.number, o.stem, a.stem, a.job FROM annotations AS a JOIN outputs AS o ON o.content = a.content "
        "WHERE NOT EXISTS (SELECT 1 FROM outputs WHERE stem = a.stem AND job = a.job) "
        "AND NOT EXISTS (SELECT 1 FROM annotations WHERE stem = o.stem AND job = o.job)"
    ).fetchall()
    for _, stem, old, job in found:
        db.execute("UPDATE OR IGNORE annotations SET stem = ? WHERE stem = ? AND job = ?", (stem, old, job))
    return [number for number, _, _, _ in found]


def copy(db: sqlite3.Connection, stem: str, job: str, to: str) -> None:
    """Say of an output called `to` what was said of the same one when it was called `stem`."""
    db.execute(
        "INSERT OR IGNORE INTO annotations SELECT ?, job, content, rating, tags, note FROM annotations "
        "WHERE stem = ? AND job = ?",
        (to, stem, job),
    )


def export(db: sqlite3.Connection, path: Path) -> None:
    """Write all annotations to `path`, whole or not at all.

    Raises:
        OSError: it can not be written.
    """
    found = db.execute(f"SELECT {', '.join(COLUMNS)} FROM annotations ORDER BY stem, job").fetchall()
    listed = [{**dict(zip(COLUMNS, row, strict=True)), "tags": unpacked(row[4])} for row in found]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, json.dumps({"annotations": listed}, indent=1, ensure_ascii=False).encode() + b"\n")


def load(db: sqlite3.Connection, path: Path) -> None:
    """Take in what `export` wrote, where the database does not know better. What can not be read is laid aside as
    NAME.unread, so that the next export does not write over it.
    """
    try:
        if path.stat().st_size > MAX_FILE:
            raise ValueError
        listed = json.loads(path.read_bytes())["annotations"]
        rows = [_row(entry) for entry in listed]
    except FileNotFoundError:
        return
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        with suppress(OSError):
            path.replace(path.with_name(f"{path.name}.unread"))
        return
    db.executemany("INSERT OR IGNORE INTO annotations VALUES (?, ?, ?, ?, ?, ?)", rows)


def packed(tags: Iterable[str]) -> str:
    """Tags as a database finds them: each between two line ends."""
    return "".join(f"\n{tag}" for tag in tags) + "\n" if tags else ""


def unpacked(tags: str) -> list[str]:
    """The tags that `packed` packed."""
    return tags.split("\n")[1:-1]


def _row(entry: dict[str, object]) -> tuple[object, ...]:
    said = Annotation(**{name: entry[name] for name in asdict(Annotation())})  # type: ignore[arg-type]
    try:
        said = checked(said)
    except Refusal as refusal:
        raise ValueError(shown(str(refusal))) from None
    return (str(entry["stem"]), str(entry["job"]), str(entry["content"]), said.rating, packed(said.tags), said.note)


def _has(text: str, *categories: str) -> bool:
    return any(unicodedata.category(letter) in categories for letter in text)
