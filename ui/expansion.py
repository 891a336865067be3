"""Many jobs of one form: what the lists in its texts stand for, told before Render is pressed.

What `{a|b}` and `__name__` mean is said in `pipelines/expansion/expand.py`; here a page asks for it, within bounds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from pipelines.expansion import expand
from pipelines.expansion.expand import KEY, Row
from pipelines.expansion.fieldpath import place_of, value_at
from pipelines.expansion.wildcards import FOLDER, Wildcards
from pipelines.progress import duration
from pipelines.refusal import Refusal, shown
from ui.fields import label_of, whole
from ui.words import counted, numerals, of, say

MOST = 500  # jobs of one press
ALL, DRAWN = "all", "random"


CSS = """
.several { display: none !important; }
.form:has(.cost-line [data-several]) .several { display: flex !important; }
.several .wrap { gap: 8px; } .several label { padding: 6px 12px !important; border-radius: 10px !important; }
.jobs { margin: 0 0 10px; overflow-wrap: anywhere; } .jobs b { font-weight: 600; }
"""


def lay(tab: str) -> list[Any]:
    """Lay out how several readings are rendered; seen only while there are several. The values go after the form's."""
    with gr.Row(elem_classes="several", elem_id=f"{tab}-several"):
        mode = gr.Radio(
            [(of("readings", each), each) for each in (ALL, DRAWN)],
            value=ALL,
            label=say("several.how"),
            elem_id=f"{tab}-readings",
            min_width=220,
        )
        drawn = gr.Number(
            4, label=say("several.how_many"), minimum=1, maximum=MOST, precision=0, min_width=90, elem_id=f"{tab}-drawn"
        )
    for part in (mode, drawn):
        part.preprocess = _same  # type: ignore[assignment, method-assign]  # what was typed is judged here
    return [mode, drawn]


def lists_of(folder: Path) -> Wildcards:
    """The lists of words in the studio's output folder."""
    place = folder / FOLDER
    return Wildcards(place if place.is_dir() else None)


def rows(job: Mapping[str, Any], lists: Wildcards, how: Sequence[Any] = ()) -> Iterator[Row]:
    """The jobs that a form makes, as plain values, one after the other; one at least.

    Args:
        job: the form's, not yet checked.
        lists: what `__name__` may name.
        how: a mode and how many are drawn, as `lay`'s parts send them; without them it is every combination.

    Raises:
        Refusal: a text can not be read, or it would be too many jobs.
    """
    mode, drawn = how or (ALL, 1)
    found = expand.factors(job, lists)
    count = math.prod(found.values())
    if mode != DRAWN or count == 1:
        if count > MOST:
            raise Refusal("prompt", say("several.too_many", most=MOST, count=_told(count), factors=_factors(found)))
        yield from expand.rows({**job, KEY: ALL}, lists, MOST)
        return
    number = whole(drawn)
    if type(number) is not int or not 1 <= number <= MOST:
        raise Refusal("", say("several.no_count", most=MOST, got=shown(drawn)))
    for index in range(number):
        seed = job.get("seed", 0)
        own = {**job, KEY: DRAWN, "seed": seed + index if type(seed) is int else seed}
        row = next(expand.rows(own, lists))
        told = {**(row.expanded_from or {}), "row": index + 1, "of": number}
        yield replace(row, number=index + 1, count=number, expanded_from=told)


def line(first: Row, job: Mapping[str, Any], lists: Wildcards, seconds: float | None) -> str:
    """How many jobs a press makes, as HTML; "" for one that is as it is written.

    Args:
        first: the first of `rows`.
        job: the form's.
        lists: what `__name__` may name.
        seconds: that the first one takes, where that is known.
    """
    found = expand.factors(job, lists)
    if not found:
        return ""
    drawn = (first.expanded_from or {}).get(KEY) == DRAWN
    every = {"all": _told(math.prod(found.values())), "factors": _factors(found)}
    if not drawn:
        words = say("several.every", count=first.count, factors=_factors(found))
    else:
        words = counted("several.chance", first.count, **every)
    together = "" if seconds is None else f" {say('several.all_together', time=duration(seconds * first.count))}"
    text = escape(f"{words}{together} {say('several.first')}" if first.count > 1 else words)
    said = "; ".join(str(value_at(first.values, place_of(field))) for field in found)
    return f'<p class="jobs" data-several="{first.count}">{text} <b>{escape(said)}</b></p>'


def _factors(found: Mapping[str, int]) -> str:
    return " × ".join(
        say("several.factor", count=_told(count), field=label_of(field)) for field, count in found.items()
    )


def _told(count: int) -> str:
    return numerals(f"{count:,}") if count < 10**12 else say("several.about", power=f"{math.log10(count):.0f}")


def _same(value: Any) -> Any:
    return value
