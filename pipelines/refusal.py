"""The refusal: what is wrong with a job, in one sentence. The schema itself is in `job.py`."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import ValidationError

Place = tuple[int | str, ...]

# pydantic's words for a kind of value, and ours: YAML and JSON have neither tuples nor dictionaries.
KINDS = {
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "text",
    "tuple_type": "a list",
    "model_type": "a mapping",
    "finite_number": "a finite number",
    "string_pattern_mismatch": 'frames such as "0-3" or "0,15"',
}


class Refusal(ValueError):
    """A job that can not be rendered: `field` is where (`boxes[1].box`, or "" for the whole), `reason` is why."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}" if field else reason)
        self.field = field
        self.reason = reason


class Refused(ValueError):
    """A job file that is not rendered. Its text is one sentence that names file, document, field and reason.

    Attributes:
        file: the file as it was given.
        document: the document's number in the file, from 1; 0 when the whole file is meant.
        field: where in the document, or "" when the whole document is meant.
        reason: what was expected, what came, what to do.
    """

    def __init__(self, file: str, document: int, field: str, reason: str) -> None:
        place = on_one_line(file)
        place += f", document {document}" if document else ""
        place += f", field {field}" if field else ""
        super().__init__(f"{place}: {reason}")
        self.file = file
        self.document = document
        self.field = field
        self.reason = reason


def shown(value: object) -> str:
    """`value` as it stands in an error: one short line."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:48]}... ({len(text):,} characters)"


def on_one_line(text: str, most: int = 4_096) -> str:
    """`text` without what would move a terminal's cursor, and cut where it is longer than `most` characters."""
    plain = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    return plain if len(plain) <= most else f"{plain[: most - 3]}..."


def kind_of(value: object) -> str:
    """`value` in the words of YAML: a mapping, a list, the text 'x', nothing, 3."""
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}" if len(repr(value)) > 60 else repr(list(value))
    if isinstance(value, str):
        return f"the text {shown(value)}"
    return "nothing" if value is None else shown(value)


def nearest(word: str, known: Sequence[str]) -> str | None:
    """The known word that `word` was probably meant to be."""
    return next(iter(difflib.get_close_matches(word, known, n=1, cutoff=0.6)), None)


def unknown_key(place: Place, known: Sequence[str]) -> Refusal:
    """The refusal of a key that the schema does not have, with the nearest one that it has."""
    near = nearest(str(place[-1]), known)
    hint = f"did you mean {near!r}?" if near else f"expected one of {', '.join(known)}"
    return Refusal(on_one_line(field_of(place), 60), f"unknown key; {hint}")


def field_of(place: Place) -> str:
    """`("boxes", 1, "box")` as it is written: `boxes[1].box`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).lstrip(".")


def refusal_of(task: str, error: ValidationError, keys_at: Callable[[Place], Sequence[str]]) -> Refusal:
    """The findings of pydantic about a job of `task` as one sentence about the most telling one.

    Args:
        task: the job's task, which pydantic puts first in every place.
        error: the findings.
        keys_at: gives the keys that the schema knows at a place.
    """
    # An unknown key goes first: it is often the reason why another key is missing.
    findings = sorted(
        error.errors(include_url=False), key=lambda e: e["type"] not in ("extra_forbidden", "invalid_key")
    )
    finding = findings[0]
    kind, place, got = finding["type"], finding["loc"][1:], finding["input"]
    told = finding.get("ctx", {}).get("error")
    if isinstance(told, Refusal):  # a check of several fields knows best which of them it means
        return told
    if kind in ("extra_forbidden", "invalid_key"):
        return unknown_key(place, keys_at(place[:-1]))
    if kind == "missing":
        if isinstance(place[-1], int):
            return Refusal(field_of(place[:-1]), "expected more values; a size has 2, an interval 2 and a box 4")
        return Refusal(field_of(place), f"is missing; a {task} job needs it")
    return Refusal(field_of(place), reason_of(kind, finding["msg"], got, finding.get("ctx", {})))


def reason_of(kind: str, message: str, got: Any, context: Mapping[str, Any]) -> str:
    """What was expected and what came, of one finding of pydantic: its kind, message, input and context."""
    if kind == "value_error":
        return str(context["error"])
    if kind == "multiple_of":
        step = context["multiple_of"]
        low, high = got // step * step, (got // step + 1) * step
        return f"expected a multiple of {step}, got {got}; try {low} or {high}"
    if kind in ("too_short", "too_long"):
        limit = context.get("min_length", context.get("max_length"))
        return f"expected {'at least' if kind == 'too_short' else 'at most'} {limit} entries, got {len(got)}"
    words = KINDS.get(kind) or message.replace("Input should be ", "").replace("String should have ", "")
    hint = (
        "; write it without quotes" if isinstance(got, str) and kind in ("int_type", "float_type", "bool_type") else ""
    )
    return f"expected {words}, got {kind_of(got)}{hint}"
