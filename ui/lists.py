"""The user's lists of words, for `__name__` in prompts: chosen, written, deleted (`expansion/wildcards.py`)."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from pipelines.expansion.wildcards import FOLDER, MAX_LIST_BYTES, Wildcards, delete_list, save_list
from pipelines.refusal import Refusal
from ui.fields import DEEP, refused
from ui.reasons import cause
from ui.settings import quick
from ui.words import say


def lists_of_words(folder: Path, opened: Sequence[Any]) -> None:
    """Lay the part out and wire it; `folder` is the studio's output folder."""
    place = folder / FOLDER

    def found() -> Wildcards:
        return Wildcards(place if place.is_dir() else None)

    def listed(chosen: str = "") -> Any:
        return gr.Dropdown(choices=[new(), *((name, name) for name in found().names())], value=chosen)

    def choose(name: str) -> tuple[Any, ...]:
        try:
            return name, found().text(name) if name else "", ""
        except Refusal as refusal:
            return gr.skip(), gr.skip(), refused(refusal)

    def save(name: str, text: str) -> tuple[Any, ...]:
        try:
            count = save_list(place, name.strip(), text)
        except Refusal as refusal:
            return refused(refusal), gr.skip()
        except OSError as error:
            return refused(Refusal("", say("lists.unwritable", reason=cause(error)))), gr.skip()
        return _told(say("lists.saved", name=name.strip(), count=count)), listed(name.strip())

    def delete(name: str) -> tuple[Any, ...]:
        try:
            if not name:
                raise Refusal("", say("lists.nothing_chosen"))
            delete_list(place, name)
        except Refusal as refusal:
            return refused(refusal), gr.skip()
        except OSError as error:
            return refused(Refusal("", say("lists.unwritable", reason=cause(error)))), gr.skip()
        return _told(say("lists.deleted", name=name)), listed()

    with gr.Accordion(say("lists.title"), open=False, elem_classes=f"more {DEEP}", elem_id="lists"):
        chosen = gr.Dropdown([new()], value="", label=say("lists.list"), elem_id="list")
        name = gr.Textbox(label=say("lists.name"), max_length=100, elem_classes="line-of-words", elem_id="list-name")
        text = gr.Textbox(
            label=say("lists.entries"), lines=5, max_lines=14, max_length=MAX_LIST_BYTES, elem_id="list-entries"
        )
        with gr.Row(elem_classes="actions"):
            write = gr.Button(say("lists.save"), size="sm", scale=0, min_width=140, elem_id="list-save")
            away = gr.Button(
                say("lists.delete"), size="sm", scale=0, min_width=140, elem_classes="quiet", elem_id="list-delete"
            )
        said = gr.HTML(elem_classes="slot", elem_id="list-said", apply_default_css=False)
    for part in (chosen, name, text):
        part.preprocess = _text  # type: ignore[assignment, method-assign]

    gr.on([*opened], listed, chosen, chosen, **quick)
    chosen.input(choose, chosen, [name, text, said], **quick)
    write.click(save, [name, text], [said, chosen], **quick)
    away.click(delete, chosen, [said, chosen], **quick)


def new() -> tuple[str, str]:
    """What the choice of lists offers first."""
    return say("lists.new"), ""


def _told(words: str) -> str:
    return f'<p class="told-of" role="status">{escape(words)}</p>'


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
