"""What is looked for in the history, and the conditions in SQL that say so. Any text is a search."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.history.annotation import packed
from pipelines.history.database import folded, plain

MOST_WORDS, MOST_LETTERS = 20, 500
MOMENTS = 2**62  # nanoseconds; no output was made before or after
# Scripts without spaces between words: what one looks for may stand inside of what the index takes for one word.
UNSPACED = re.compile("[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff]")


@dataclass(frozen=True)
class Search:
    """What outputs are looked for: all conditions hold.

    Attributes:
        text: words, each of which begins a word of prompt, name, tags or note. Any text is a search.
        rating: at least so many.
        tags: it has all of them.
        video: whether it moves.
        since, until: seconds since 1970, the first inclusive and the last exclusive.
        binned: what is in the bin, instead of what is not.
    """

    text: str = ""
    task: str | None = None
    model: str | None = None
    rating: int = 0
    tags: Sequence[str] = ()
    video: bool | None = None
    since: float | None = None
    until: float | None = None
    binned: bool = False


def where(wanted: Search, indexed: bool) -> tuple[list[str], list[Any]]:
    """Conditions on the tables `outputs AS o` and `annotations AS a`, and the values in them.

    Args:
        wanted: what is looked for.
        indexed: whether there is an index of words; without one they are found anywhere in a text.
    """
    found: list[tuple[str, Any]] = []
    for name, value in (("task", wanted.task), ("model", wanted.model)):
        if value is not None:
            found.append((f"o.{name} = ?", plain(value)))
    if wanted.rating > 0:
        found.append(("coalesce(a.rating, 0) >= ?", wanted.rating))
    found += [("instr(coalesce(a.tags, ''), ?) > 0", packed([plain(tag)])) for tag in wanted.tags]
    if wanted.video is not None:
        found.append(("(o.kind = 'video') = ?", wanted.video))
    if wanted.since is not None:
        found.append(("o.created >= ?", _moment(wanted.since)))
    if wanted.until is not None:
        found.append(("o.created < ?", _moment(wanted.until)))
    found += _texts(folded(wanted.text)[:MOST_LETTERS], indexed)
    held = "NOT NULL" if wanted.binned else "NULL"
    return [f"o.binned IS {held}", *(condition for condition, _ in found)], [value for _, value in found]


def _texts(text: str, indexed: bool) -> list[tuple[str, str]]:
    """Conditions for the words of a search; where it has none, such as a row of stars, for what stands there."""
    words = re.findall(r"\w+", text)[:MOST_WORDS] or text.split()[:MOST_WORDS]
    inside = [word for word in words if not indexed or not word.isalnum() or UNSPACED.search(word)]
    conditions = [("instr(o.text, ?) > 0", word) for word in inside]
    # Words of letters and digits alone, and quoted: nothing in them means anything to the index.
    begun = " AND ".join(f'"{word}"*' for word in words if word not in inside)
    if begun:
        conditions.append(("o.number IN (SELECT rowid FROM words WHERE words MATCH ?)", begun))
    return conditions


def _moment(seconds: float) -> int:
    return int(max(-MOMENTS, min(MOMENTS, seconds * 1e9)))
