"""A row of metadata: captions, boxes, mask, layers, sound, weight and repeats of one example; and a list of rows.

The same keys stand in .jsonl, .csv and .parquet, in the columns of a Hugging Face data set and in a tar's .json.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from .boxes import Find, boxes_of_value
from .config import SourceConfig
from .example import Example, Index
from .findings import Fault, Finding

FILES = ("file_name", "file", "image", "video", "path")
CAPTIONS = ("text", "caption", "captions", "prompt")


def index_of(rows: Iterable[tuple[str, Callable[[], Example]]], source: SourceConfig) -> Index:
    """The examples of a list of rows, each with a name of its own and the source's caption where it has none.

    Args:
        rows: where a row stands, for people, and what makes its example and may raise Fault.
        source: what holds for all of them.
    """
    examples: list[Example] = []
    findings: list[Finding] = []
    for where, make in rows:
        try:
            example, missing = with_default(make(), source)
        except Fault as fault:
            findings.append(Finding(fault.kind, where, fault.reason))
            continue
        examples.append(example)
        findings += missing
    return Index(*_once(examples, findings))


def with_default(example: Example, source: SourceConfig) -> tuple[Example, list[Finding]]:
    """The example with the source's caption where it has none of its own."""
    if example.captions:
        return example, []
    if source.caption:
        return replace(example, captions=(source.caption,)), []
    reason = (
        "has no caption, so it teaches what pictures look like and no words; give `caption` to its source, or let "
        "`diorama caption` write one"
    )
    return example, [Finding("missing-caption", example.name, reason)]


def column(row: Mapping[str, Any], chosen: str | None, known: tuple[str, ...]) -> str | None:
    """The key of a row that is meant: the chosen one, or the first known one.

    Raises:
        Fault: `metadata`: the chosen one is not there.
    """
    if chosen is None:
        return next((name for name in known if name in row), None)
    if chosen not in row:
        raise Fault("metadata", f"expected the column {chosen!r}, found {', '.join(map(str, row)) or 'none'}")
    return chosen


def apply(example: Example, row: Mapping[str, Any], source: SourceConfig, find: Find) -> Example:
    """The example with what a row says of it.

    Args:
        example: its media.
        row: the row; keys that are not known are left alone.
        source: names the column of captions.
        find: the asset of a file's name; may raise Fault.

    Raises:
        Fault: `metadata`, `boxes`, `number`, or what `find` raises.
    """
    told = column(row, source.caption_column, CAPTIONS)
    example = replace(
        example,
        captions=_captions(row.get(told)) if told else (),
        boxes=boxes_of_value(row.get("boxes"), find),
        weight=_number(row, "weight", source.weight),
        repeats=_number(row, "repeats", source.repeats),
    )
    if mask := row.get("mask"):
        example = replace(example, mask=find(_name(mask, "mask")))
    if audio := row.get("audio"):
        example = replace(example, audio=find(_name(audio, "audio")))
    if layers := row.get("layers"):
        names = _list(layers, "layers")
        example = replace(example, layers=tuple(find(_name(name, "layers")) for name in names))
    return example


def _once(examples: list[Example], findings: list[Finding]) -> tuple[list[Example], list[Finding]]:
    """The same examples with a name each, and a finding for each file that was named before."""
    seen: dict[str, int] = {}
    kept = []
    for example in examples:
        count = seen[example.name] = seen.get(example.name, 0) + 1
        if count > 1:
            hint = "give one row repeats, or leave one out"
            findings.append(Finding("repeated-file", example.name, f"is named by {count} rows; {hint}"))
            example = replace(example, name=f"{example.name} ({count})")
        kept.append(example)
    return kept, findings


def _captions(value: Any) -> tuple[str, ...]:
    """One text or a list of texts; a cell of a table may hold the list as JSON."""
    if value is None:
        return ()
    if isinstance(value, str) and value.lstrip().startswith("["):
        with suppress(ValueError):  # a caption that begins with a bracket
            value = json.loads(value)
    texts = value if isinstance(value, list | tuple) else [value]
    if not all(isinstance(text, str) for text in texts):
        raise Fault("metadata", f"expected captions as text, got {type(value).__name__}")
    return tuple(" ".join(text.split()) for text in texts if text.strip())


def _number(row: Mapping[str, Any], key: str, default: float) -> float:
    """A number above zero, times the source's own."""
    value = row.get(key)
    if value is None or value == "":
        return default
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not (math.isfinite(number) and 0 < number <= 10_000):
        raise Fault("number", f"expected {key} above 0 and at most 10,000, got {value!r}")
    return default * number


def _name(value: Any, key: str) -> str:
    if not isinstance(value, str):
        raise Fault("metadata", f"expected {key} as the name of a file, got {type(value).__name__}")
    return value


def _list(value: Any, key: str) -> list[Any]:
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except ValueError:
            value = None
    if not isinstance(value, list | tuple):
        raise Fault("metadata", f"expected {key} as a list of file names, bottom first")
    return list(value)
