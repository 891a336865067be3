"""The box editor: a canvas on which boxes are drawn, and beside it their list with a prompt each.

The server draws it empty or filled; what a person then does stays in the browser (`boxscript.py`) until it is read.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Sequence
from html import escape, unescape
from typing import Any

import gradio as gr

from pipelines.job import MAX_CHARACTERS
from pipelines.refusal import Refusal
from ui.boxscript import SCRIPT
from ui.fields import Form, refused
from ui.reasons import marked
from ui.settings import quick
from ui.words import for_script, lowered, of, say

Part = dict[str, Any]  # box, prompt, negative, given: see `parts_of`
# Drawn, for not every machine has letters for them.
ACTS = (
    ("back", "M8 13V3M4 7l4-4 4 4"), ("forward", "M8 3v10M4 9l4 4 4-4"), ("copy", "M6 6h7v7H6zM10 6V3H3v7h3"),
    ("remove", "M4 4l8 8M12 4l-8 8"),
)  # fmt: skip
HANDLES = ("nw", "n", "ne", "e", "se", "s", "sw", "w")
SIDES = ("left", "top", "right", "bottom")

CSS = """
.boxes { display: flex; flex-wrap: wrap; gap: 14px 18px; align-items: flex-start; }
.boxes .easel-of-boxes { flex: 1 1 300px; min-width: 0; display: flex; flex-direction: column; gap: 10px; }
.boxes .board {
  position: relative; width: 100%; margin: 0 auto; border-radius: 4px; background-color: var(--mat); outline: none;
  box-shadow: 0 0 0 1px var(--border-color-primary), var(--lift-small); touch-action: none; cursor: crosshair;
  user-select: none; -webkit-user-select: none;
  background-image: linear-gradient(var(--edge) 1px, transparent 1px),
    linear-gradient(90deg, var(--edge) 1px, transparent 1px);
}
.boxes .board:focus-visible { outline: 3px solid var(--input-border-color-focus); outline-offset: 3px; }
.boxes .board img {
  position: absolute; inset: 0; width: 100%; height: 100%; margin: 0 !important; border-radius: 4px; opacity: 0.86;
  pointer-events: none;
}
.boxes .board img:not([src]) { display: none; }
.boxes .invite {
  position: absolute; inset: 0; display: grid; place-items: center; margin: 0; padding: 12px; text-align: center;
  font: italic 17px/1.4 var(--serif); color: var(--body-text-color-subdued); pointer-events: none;
}
.boxes:not(.none) .invite { display: none; }
.boxes .box {
  position: absolute; box-sizing: border-box; border: 2px solid var(--tone); border-radius: 3px; outline: none;
  background-color: color-mix(in srgb, var(--tone) 20%, transparent); cursor: inherit;
}
.boxes .box.chosen { background-color: color-mix(in srgb, var(--tone) 32%, transparent); }
.boxes .box:focus-visible { outline: 3px solid var(--input-border-color-focus); outline-offset: 2px; }
.boxes .tag {
  position: absolute; left: 0; top: 0; max-width: 100%; display: flex; overflow: hidden; line-height: 19px;
}
.tag b, .boxes [data-row] > b {
  flex: none; min-width: 19px; padding: 0 4px; box-sizing: border-box; text-align: center; font-size: 12.5px;
  font-weight: 600; color: #fffdf8; background-color: var(--tone); border-radius: 0 0 4px 0;
}
.boxes .tag span {
  padding: 0 6px; font: italic 13px/19px var(--serif); color: #2c2723; background-color: rgba(255, 253, 248, 0.82);
  overflow: hidden; text-overflow: ellipsis; white-space: nowrap;
}
.boxes .tag span:empty { display: none; }
.boxes .box i { display: none; position: absolute; width: 9px; height: 9px; margin: -6px; border-radius: 2px;
  background-color: #fffdf8; border: 1.5px solid var(--tone); pointer-events: none; }
.boxes .box.chosen i { display: block; }
.boxes i[data-handle*="n"] { top: 0; } .boxes i[data-handle*="s"] { top: 100%; }
.boxes i[data-handle*="w"] { left: 0; } .boxes i[data-handle*="e"] { left: 100%; }
.boxes i[data-handle="n"], .boxes i[data-handle="s"] { left: 50%; }
.boxes i[data-handle="w"], .boxes i[data-handle="e"] { top: 50%; }
.boxes .tools button:disabled { opacity: 0.45; cursor: default; }
.proposing button { padding: 7px 14px; border-radius: 10px; font-size: 14.5px; font-weight: 400; }
.boxes .keys { font-size: 13px; color: var(--body-text-color-subdued); text-align: center; }
.boxes .keys summary { cursor: pointer; } .boxes .keys p { margin: 6px 0 0; text-align: left; line-height: 1.5; }
.boxes .seen-by-none, .sr { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
.boxes .rows {
  position: relative; flex: 1 1 240px; min-width: 0; max-height: 520px; overflow-y: auto; list-style: none; margin: 0;
  padding: 3px; display: flex; flex-direction: column; gap: 4px;
}
.boxes .rows:empty::before {
  content: attr(data-hint); padding: 6px; font: italic 15px/1.45 var(--serif); color: var(--body-text-color-subdued);
}
.boxes [data-row] {
  display: grid; grid-template-columns: 24px minmax(0, 1fr); gap: 8px; align-items: center; margin: 0; padding: 6px;
  border-radius: 10px; flex: none;
}
.boxes [data-row] > b { border-radius: 6px; line-height: 24px; }
.boxes [data-row].chosen { background-color: var(--faint); }
.boxes [data-row] > :nth-child(n + 3) { grid-column: 1 / -1; }
.boxes [data-row]:not(.chosen) > :nth-child(n + 3) { display: none; }
.boxes .rows input {
  box-sizing: border-box; width: 100%; margin: 0; padding: 7px 10px; font: 16px/1.4 var(--serif);
  color: var(--body-text-color); border: 1px solid var(--input-border-color); border-radius: 9px;
  background-color: var(--input-background-fill);
}
.boxes .rows input:focus { outline: none; border-color: var(--input-border-color-focus);
  box-shadow: var(--input-shadow-focus); }
.boxes .rows ::placeholder { color: var(--input-placeholder-color); opacity: 1; }
.boxes .acts { display: flex; gap: 6px; }
.boxes .acts button {
  width: 38px; height: 34px; margin: 0; padding: 0; border: 0; border-radius: 9px; background-color: var(--sheet);
  color: var(--body-text-color); cursor: pointer;
}
.boxes .acts button:disabled { opacity: 0.35; cursor: default; }
.boxes .acts svg {
  display: block; width: 16px; height: 16px; margin: auto; fill: none; stroke: currentColor; stroke-width: 1.6;
  stroke-linecap: round; stroke-linejoin: round;
}
.boxes .rows details { font-size: 13.5px; } .boxes .rows summary { cursor: pointer; padding: 2px 0; }
.boxes .rows label { display: block; margin-top: 6px; font-size: 12.5px; color: var(--body-text-color-subdued); }
.boxes .sides { display: grid; grid-template-columns: repeat(4, minmax(0, 1fr)); gap: 6px; }
.boxes .sides input { padding: 6px; font: 14px/1.3 var(--font); }
.boxes .is-given { display: none; align-items: center; gap: 10px; margin: 0; font-size: 13.5px; }
.boxes .given.chosen .is-given { display: flex; }
.boxes .is-given img, .checker {
  width: 44px; height: 44px; margin: 0 !important; object-fit: contain; border-radius: 4px; background-color: #fffdf8;
  background-image: conic-gradient(#ddd5c6 25%, transparent 0 50%, #ddd5c6 0 75%, transparent 0);
  background-size: 12px 12px;
}
.boxes .is-given button { margin-left: auto; padding: 5px 12px; border: 0; border-radius: 9px; cursor: pointer;
  background-color: var(--sheet); color: inherit; font: inherit; }
.boxes .given > b::after { content: " \\2713"; }
"""


class BoxField:
    """The editor as a field of a form, with a button that proposes boxes for the form's prompt.

    Args:
        form: the form.
        name: of the field that the job keeps boxes in; also of its slot.
        size: width and height of the canvas while the page does not say.
        noun: what one of them is: box or layer.
        anonymous: whether one may be without words, and has nothing to leave out.
    """

    def __init__(self, form: Form, name: str, size: tuple[int, int], noun: str, anonymous: bool = False) -> None:
        self._form, self._noun, self._anonymous = form, noun, anonymous
        self.part = gr.HTML(
            self.drawn((), size, turn=""),
            js_on_load=for_script(SCRIPT, "editor_script"),
            elem_id=f"{form.kind}-boxes",
            apply_default_css=False,
        )
        form.add(
            name, self.part, sent=lambda text: parts_of(text, name), shown=lambda shown: self.drawn(*shown),
            live=f"window.diorama?.boxes?.{form.kind}?.read()",
        )  # fmt: skip
        form.slot(name)
        with gr.Row(elem_classes="proposing"):
            self._ask = gr.Button(
                say("boxes.propose"), size="sm", scale=0, min_width=240, elem_classes="quiet",
                elem_id=f"{form.kind}-propose",
            )  # fmt: skip
        self._told = gr.HTML(elem_classes="slot", elem_id=f"{form.kind}-proposed", apply_default_css=False)

    def wire(self, *also: Any) -> None:
        """Once all fields are there: the canvas follows the size, the button the prompt.

        Args:
            *also: further parts whose change shows on the canvas.
        """
        prompt, width, height = (self._form.part(name) for name in ("prompt", "size[0]", "size[1]"))
        self._ask.click(self.propose, [prompt, width, height], [self.part, self._told], **quick)
        look = f"() => {{ setTimeout(() => window.diorama?.boxes?.{self._form.kind}?.look(), 60); }}"
        for part in (width, height, *also):
            part.change(None, None, None, js=look, api_visibility="private")

    def drawn(self, parts: Sequence[Part], size: tuple[int, int], turn: str | None = None) -> str:
        """The editor with these boxes."""
        return editor(self._form.kind, parts, size, self._noun, self._anonymous, turn)

    def propose(self, prompt: Any, width: Any, height: Any) -> tuple[Any, str]:
        """The editor with what is proposed for a prompt, and what there is to say about it."""
        from pipelines.designer import Task, propose

        try:
            size = (int(width or 0), int(height or 0))
        except (TypeError, ValueError, OverflowError):  # a slider hands on whatever was typed into it
            size = (0, 0)
        task: Task = "layered" if self._form.task == "layered" else "layout"
        try:
            proposal = propose(str(prompt or ""), task, size=size)
        except Refusal as refusal:
            return gr.skip(), refused(refusal)
        notes = "".join(f'<p class="note">{marked(note)}</p>' for note in proposal.notes)
        return self.drawn([part_of(each.box, each.prompt) for each in proposal.boxes], size), notes


def editor(
    kind: str, parts: Sequence[Part], size: tuple[int, int], noun: str, anonymous: bool = False, turn: str | None = None
) -> str:
    """The editor with these boxes, as HTML.

    Args:
        kind: the tab that it stands in.
        parts: the boxes, bottom first.
        size: the canvas's width and height, where the page does not say.
        noun: what one of them is: box or layer.
        anonymous: whether one may be without words.
        turn: tells one drawing from another; "" is the first one, which gives way to the browser's draft.
    """
    turn = secrets.token_hex(4) if turn is None else turn
    boxes, name = escape(json.dumps(list(parts)), quote=True), of("noun", noun)
    word = lowered(name)
    width, height = size
    hint = say("boxes.hint", word=word)
    return (
        f'<div class="boxes none" data-kind="{kind}" data-noun="{name}" data-turn="{turn}" data-width="{width}" '
        f'data-height="{height}" data-boxes="{boxes}"><div class="easel-of-boxes">'
        '<div class="board" data-part="board" role="application" tabindex="0" '
        f'aria-label="{say("boxes.canvas_of", word=word)}" '
        f'aria-describedby="{kind}-keys" style="aspect-ratio: {width} / {height}">'
        f'<img data-part="under" alt="" draggable="false"><p class="invite">{say("boxes.invite", word=word)}</p></div>'
        f'<div class="tools" role="group" aria-label="{say("boxes.canvas")}">'
        f'<button type="button" data-tool="add">{say("boxes.add", word=word)}</button>'
        f'<button type="button" data-tool="undo" disabled>{say("paint.undo")}</button>'
        f'<button type="button" data-tool="clear" disabled>{say("paint.clear")}</button></div>'
        f'<label class="lie"><input type="checkbox" data-part="under-too">{say("boxes.under")}</label>'
        f'<details class="keys"><summary>{say("tools.keys")}</summary><p id="{kind}-keys">{say("boxes.help")}</p>'
        "</details>"
        '<p class="seen-by-none" data-part="said" role="status"></p></div>'
        f'<ol class="rows" data-part="list" aria-label="{say("boxes.list", noun=name, word=word)}" '
        f'data-hint="{hint}"></ol>'
        f'<template data-part="box">{_box()}</template><template data-part="row">{_row(word, anonymous)}</template>'
        "</div>"
    )


def parts_of(text: Any, name: str) -> list[Part]:
    """The boxes that the page sends, each with box, prompt, negative and given (the id of an upload, or "").

    Raises:
        Refusal: on the field `name`, for something else.
    """
    if isinstance(text, str) and text.lstrip().startswith("<"):  # as it was drawn: the page has not opened it yet
        drawn = re.search(r'data-boxes="([^"]*)"', text)
        text = unescape(drawn[1]) if drawn else ""
    try:
        found = json.loads(text or "[]")
        return [
            {"box": list(each["box"]), **{key: str(each.get(key) or "") for key in ("prompt", "negative", "given")}}
            for each in found
        ]
    except (ValueError, TypeError, KeyError, AttributeError):
        raise Refusal(name, say("boxes.no_list")) from None


def part_of(box: Sequence[float], prompt: str | None, negative: str | None = None, given: str = "") -> Part:
    """A box as the editor takes it."""
    return {"box": list(box), "prompt": prompt or "", "negative": negative or "", "given": given}


def _box() -> str:
    handles = "".join(f'<i data-handle="{name}"></i>' for name in HANDLES)
    return (
        '<div class="box" role="button" tabindex="0" aria-pressed="false">'
        f'<div class="tag"><b></b><span></span></div>{handles}</div>'
    )


def _row(word: str, anonymous: bool) -> str:
    hint = say("boxes.empty") if anonymous else say("boxes.shows", word=word)
    acts = "".join(
        f'<button type="button" data-act="{act}" title="{of("act", act)}" aria-label="{of("act", act)}">'
        f'<svg viewBox="0 0 16 16" aria-hidden="true"><path d="{drawn}"/></svg></button>'
        for act, drawn in ACTS
    )
    sides = "".join(
        f'<label>{of("side", name)} %<input type="number" data-side="{edge}" min="0" max="100" step="1" '
        f'aria-label="{say("boxes.per_cent", side=of("side", name))}"></label>'
        for edge, name in enumerate(SIDES)
    )
    negative = "" if anonymous else (
        f'<label>{say("field.negative_prompt")}<input type="text" data-field="negative" '
        f'maxlength="{MAX_CHARACTERS}" autocomplete="off" '
        f'aria-label="{say("field.negative_prompt")}" placeholder="{say("boxes.as_whole")}"></label>'
    )  # fmt: skip
    given = (
        f'<p class="is-given"><img alt=""><span>{say("boxes.given")}</span>'
        f'<button type="button" data-act="renew" aria-label="{say("boxes.renew")}">{say("boxes.renew")}</button></p>'
    )
    return (
        f'<li><b></b><input type="text" data-field="prompt" maxlength="{MAX_CHARACTERS}" autocomplete="off" '
        f'aria-label="{say("field.prompt")}" placeholder="{hint}">{given if anonymous else ""}'
        f'<div class="acts" role="group" aria-label="{say("boxes.order")}">{acts}</div>'
        f"<details><summary>{say('boxes.place' if anonymous else 'boxes.out_and_place')}</summary>{negative}"
        f'<div class="sides">{sides}</div></details></li>'
    )
