"""Paths to a field of a job, such as `guidance` or `scenes[0].prompt`: read, looked up and set in plain job values.

Whether a job has such a field is the schema's to say (`job.py`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.refusal import Place, Refusal, field_of, kind_of, shown

_PATH = re.compile(r"[A-Za-z_]\w*(?:\[\d{1,4}\]|\.\w+)*", re.ASCII)
_STEP = re.compile(r"\w+", re.ASCII)
MAX_DEPTH = 5  # boxes[0].adapters[1].weight
MAX_LENGTH = 100

# Fields that a text can stand for where only texts can be written: in a cell of a table, or as `{1..5}`.
SAMPLING = {"seed", "steps", "guidance", "internal_guidance", "siamese_until", "speech_guidance", "weight"}
IN_TIME = {"frames", "fps", "window", "transition_frames", "overlap", "start", "references"}
NUMBERS = frozenset(SAMPLING | IN_TIME)
SWITCHES = frozenset({"png_frames", "cuts"})
LISTS = frozenset({"size", "guidance_interval", "box", "face", "outpaint"})


def place_of(text: str) -> Place:
    """`scenes[0].prompt`, also written `scenes.0.prompt`, as `("scenes", 0, "prompt")`.

    Raises:
        Refusal: it is no path of a field; the reason alone, without a field.
    """
    steps = _STEP.findall(text) if len(text) <= MAX_LENGTH and _PATH.fullmatch(text) else []
    if not 1 <= len(steps) <= MAX_DEPTH:
        raise Refusal("", f"expected a field such as guidance or scenes[0].prompt, got {shown(text)}")
    return tuple(int(step) if step.isdecimal() else step for step in steps)


def value_at(values: Mapping[str, Any], place: Place) -> Any:
    """What stands at `place`; None where nothing does."""
    found: Any = values
    for step in place:
        try:
            found = found[step]
        except (KeyError, IndexError, TypeError):
            return None
    return found


def with_value(values: Mapping[str, Any], place: Place, value: object) -> dict[str, Any]:
    """A copy of `values` in which `value` stands at `place`. Parts of a list are added one after the other.

    Raises:
        Refusal: something on the way is no mapping or list, or the list is too short for the place.
    """
    result: dict[str, Any] = _set(values, place, value, 0)
    return result


def _set(holder: Any, place: Place, value: object, depth: int) -> Any:
    if depth == len(place):
        return value
    step = place[depth]
    if isinstance(step, str):
        if holder is not None and not isinstance(holder, Mapping):
            raise Refusal(field_of(place), f"expected a mapping around {step!r}, got {kind_of(holder)}")
        inside = dict(holder or {})
        inside[step] = _set(inside.get(step), place, value, depth + 1)
        return inside
    if holder is not None and not isinstance(holder, list | tuple):
        raise Refusal(field_of(place), f"expected a list around [{step}], got {kind_of(holder)}")
    parts = list(holder or ())
    if step > len(parts):
        raise Refusal(
            field_of(place), f"expected a place from [0] to [{len(parts)}], got [{step}]; give the ones before first"
        )
    parts[step : step + 1] = [_set(parts[step] if step < len(parts) else None, place, value, depth + 1)]
    return parts


def read_text(place: Place, text: str) -> Any:
    """The value that `text` stands for at `place`: a number, true or false, a list, or the text itself.

    A list is written `128x128`, or as numbers with spaces or commas between them.

    Raises:
        Refusal: the field takes no such value.
    """
    key = next(step for step in reversed(place) if isinstance(step, str))
    if key in LISTS and isinstance(place[-1], str):
        numbers = re.split(r"\s*[x×,;]\s*|\s+", text.strip().strip("[]").strip(), flags=re.IGNORECASE)
        return [_number(place, number, text) for number in numbers]
    if key in NUMBERS or key in LISTS:
        return _number(place, text, text)
    if key in SWITCHES:
        found = {"true": True, "false": False}.get(text.strip().lower())
        if found is None:
            raise Refusal(field_of(place), f"expected true or false, got {shown(text)}")
        return found
    return text


def _number(place: Place, text: str, whole: str) -> int | float:
    plain = text.strip()
    if re.fullmatch(r"[+-]?\d{1,20}", plain, re.ASCII):
        return int(plain)
    if re.fullmatch(r"[+-]?(?:\d{1,20}\.\d{0,20}|\.\d{1,20})(?:[eE][+-]?\d{1,3})?", plain, re.ASCII):
        return float(plain)
    key = next(step for step in reversed(place) if isinstance(step, str))
    form = "numbers such as 128x128" if key == "size" else "numbers" if key in LISTS else "a number"
    raise Refusal(field_of(place), f"expected {form}, got {shown(whole)}")


def overlaps(first: Place, second: Place) -> bool:
    """Whether one of two places lies inside the other."""
    short: Sequence[int | str] = min(first, second, key=len)
    return first[: len(short)] == second[: len(short)]
