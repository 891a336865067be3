"""The field for adapters: one a line, by its name in the folder, with its weight behind it. No path comes or goes."""

from __future__ import annotations

import re
from typing import Any

import gradio as gr

from models.adapter.file import is_name, names
from pipelines.job import MAX_ADAPTERS, MAX_PATH
from pipelines.refusal import Refusal, shown
from ui.fields import Form
from ui.words import say

LINE = re.compile(r"(?P<name>.*?)(?:\s+(?P<weight>[+-]?\d{1,3}(?:[.,]\d{1,6})?))?")


def field(form: Form) -> None:
    """The adapters that act on the whole."""
    part = gr.Textbox(
        label=say("field.adapters"), info=_info(), lines=1, max_lines=MAX_ADAPTERS, max_length=MAX_PATH,
        elem_id=f"{form.kind}-adapters",
    )  # fmt: skip
    form.add("adapters", part, sent=read, shown=written, deep=True)
    form.opened(part, lambda: gr.Textbox(info=_info()))


def read(text: Any) -> list[dict[str, Any]]:
    """The adapters that lines such as `ink 0.6` name.

    Raises:
        Refusal: a line that is no name.
    """
    found = []
    for line in str(text or "").splitlines():
        told = LINE.fullmatch(line.strip())
        if not line.strip() or told is None:
            continue
        if not told["name"] or not is_name(told["name"]):
            raise Refusal("adapters", say("adapters.no_name", got=shown(line.strip())))
        found.append({"path": told["name"], "weight": float((told["weight"] or "1").replace(",", "."))})
    return found


def written(adapters: Any) -> str:
    """The lines of a job's adapters; those that are given by a path are left out."""
    named = [use for use in adapters or () if is_name(use["path"])]
    return "\n".join(use["path"] if use.get("weight", 1) == 1 else f"{use['path']} {use['weight']:g}" for use in named)


def _info() -> str:
    here = ", ".join(names())
    return say("adapters.here", names=here) if here else say("adapters.none")
