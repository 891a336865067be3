"""The Models tab: which checkpoints are here, what each can do and takes, which one is loaded, and how to add one.

Pages name a checkpoint by its id. Loading is the worker's, between two jobs; this page asks for it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from typing import Any
from urllib.parse import urlencode

import gradio as gr

from models.checkpoint import Description
from pipelines.queue.loaded import State
from pipelines.refusal import Refusal
from pipelines.shelf.hub import Fetching, Plan
from pipelines.shelf.shelf import Shelved
from pipelines.shelf.table import bytes_of, count_of
from ui.fields import noted
from ui.reasons import cause, in_language, marked
from ui.redraw import SHELL, redrawn
from ui.settings import quick
from ui.shown import Shown, unseen
from ui.studio import Studio
from ui.words import numerals, of, say

PACE = 1.5  # seconds between two looks, while the tab is open
SIZE, FRAMES = (128, 128), 1  # that the memory is told for at first
MOST_SIDE, MOST_FRAMES = 4096, 1000

# ------------------------------------------------------------ words

HUB_EXAMPLE = "black-forest-labs/FLUX.2-klein-4B"
FOLDER_EXAMPLE = "/home/me/models/my-checkpoint"

# ------------------------------------------------------------ how it looks and what it does in the browser

CSS = """
.models { display: flex; flex-direction: column; gap: 16px; min-width: 0; }
.models h2, #models-add h2 { margin: 4px 0 0; font: 600 19px/1.2 var(--serif); color: var(--body-text-color); }
.model {
  display: flex; flex-direction: column; gap: 12px; min-width: 0; padding: 18px 20px 20px; border-radius: 12px;
  background: var(--mat); border: 1px solid var(--edge); box-shadow: var(--lift-small);
}
.model header { display: flex; flex-wrap: wrap; align-items: baseline; gap: 6px 14px; }
.model h3 { margin: 0; font: 600 20px/1.25 var(--serif); color: var(--body-text-color); overflow-wrap: anywhere; }
.model .facts { justify-content: flex-start; margin: 0; }
.model .chip {
  padding: 1px 11px; border-radius: 999px; background: var(--faint); font-size: 13.5px;
  color: var(--body-text-color-subdued);
}
.model .chip.on { background: #2f8449; color: #fffdf8; }
.model .acts { display: flex; flex-wrap: wrap; gap: 10px; }
.model .acts button {
  margin: 0; padding: 8px 16px; border: 0; border-radius: 10px; cursor: pointer; font: inherit; font-weight: 600;
  background: var(--button-secondary-background-fill); color: var(--button-secondary-text-color);
}
.model .acts button:hover { background: var(--button-secondary-background-fill-hover); }
.model p { margin: 0; }
.models-at { align-items: flex-end; }
.models-said:not(:has(p)) { display: none; }
.models-said p { margin: 0; }
"""
PRESS = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-act]');
  if (button) trigger('act', {act: button.dataset.act, model: button.dataset.model});
});
"""
AT = re.compile(r"\d{1,4}x\d{1,4}x\d{1,4}", re.ASCII)  # width, height and frames, as a page asks for the list


def models_tab(studio: Studio) -> None:
    """Lay the tab out and wire it."""
    shelf, fetcher = studio.shelf, studio.fetcher

    def look(width: Any, height: Any, frames: Any) -> str:
        """The list."""
        size = (_whole(width, SIZE[0], MOST_SIDE), _whole(height, SIZE[1], MOST_SIDE), _whole(frames, 1, MOST_FRAMES))
        at = "x".join(map(str, size))
        return shown(studio, at).watched(address(at))

    def act(width: Any, height: Any, frames: Any, event: gr.EventData) -> tuple[Any, ...]:
        told = press(studio, str(getattr(event, "act", "")), str(getattr(event, "model", "")))
        return look(width, height, frames), noted(told)

    def find(text: str) -> tuple[Any, ...]:
        try:
            plan = fetcher.look_up(text or "")
        except Refusal as refusal:
            return noted(in_language(refusal.reason), bad=True), None, gr.Button(visible=False)
        missing, size, count = bytes_of(plan.missing), bytes_of(plan.bytes), len(plan.files)
        if plan.missing:
            told = say("models.planned", id=plan.id, missing=numerals(missing), count=count)
        else:
            told = say("models.complete", id=plan.id, bytes=numerals(size), count=count)
        return noted(told), plan, gr.Button(visible=plan.missing > 0)

    def fetch(plan: Plan | None) -> tuple[Any, ...]:
        if plan is None:  # the server keeps only so many pages in mind
            return noted(say("models.look_again"), bad=True), None, gr.Button(visible=False), gr.skip()
        try:
            fetcher.start(plan)
        except Refusal as refusal:
            return noted(in_language(refusal.reason), bad=True), None, gr.Button(visible=False), gr.skip()
        return "", None, gr.Button(visible=False), coming_said(fetch_said(fetcher.now()))

    def add(text: str, width: Any, height: Any, frames: Any) -> tuple[Any, ...]:
        try:
            told = noted(say("models.added", id=shelf.add(text or "")))
        except Refusal as refusal:
            return gr.skip(), noted(in_language(refusal.reason), bad=True)
        return look(width, height, frames), told

    with gr.Column(elem_classes="sheet"):
        told = gr.HTML(noted(""), elem_classes="models-said", elem_id="models-said", apply_default_css=False)
        with gr.Accordion(say("models.at"), open=False, elem_classes="more"), gr.Row(elem_classes="pair models-at"):
            width = gr.Number(
                SIZE[0], label=say("models.width"), precision=0, minimum=16, maximum=MOST_SIDE, min_width=100
            )
            height = gr.Number(
                SIZE[1], label=say("models.height"), precision=0, minimum=16, maximum=MOST_SIDE, min_width=100
            )
            frames = gr.Number(
                FRAMES, label=say("models.length"), precision=0, minimum=1, maximum=MOST_FRAMES, min_width=100
            )
        rows = gr.HTML(
            unseen(address("x".join(map(str, (*SIZE, FRAMES))))), html_template=SHELL, js_on_load=redrawn(PACE) + PRESS,
            elem_id="models", apply_default_css=False,
        )  # fmt: skip
    with gr.Column(elem_classes="sheet form", elem_id="models-add"):
        gr.HTML(f"<h2>{say('models.add')}</h2>", apply_default_css=False)
        id = gr.Textbox(
            label=say("models.hub_label"),
            placeholder=HUB_EXAMPLE,
            info=say("models.hub_info"),
            max_length=200,
            elem_id="models-hub",
        )
        with gr.Row(elem_classes="actions"):
            ask = gr.Button(say("models.look_up"), elem_classes="quiet", elem_id="models-look", scale=0, min_width=140)
            get = gr.Button(
                say("models.fetch"), variant="primary", visible=False, elem_id="models-fetch", scale=0, min_width=140
            )
        found = gr.HTML(noted(""), elem_classes="models-said", elem_id="models-found", apply_default_css=False)
        coming = gr.HTML(coming_said(""), elem_classes="models-said", elem_id="models-coming", apply_default_css=False)
        if shelf.by_path:
            folder = gr.Textbox(
                label=say("models.folder_label"), placeholder=FOLDER_EXAMPLE, info=say("models.folder_info"),
                max_length=4096, elem_id="models-folder",
            )  # fmt: skip
            with gr.Row(elem_classes="actions"):
                put = gr.Button(
                    say("models.add_folder"), elem_classes="quiet", elem_id="models-put", scale=0, min_width=180
                )
            answer = gr.HTML(noted(""), elem_classes="models-said", elem_id="models-put-said", apply_default_css=False)
    plan = gr.State(None)

    at = [width, height, frames]
    rows.act(act, at, [rows, told], **quick)
    gr.on([ask.click, id.submit], find, id, [found, plan, get], **quick)
    get.click(fetch, plan, [found, plan, get, coming], **quick)
    if shelf.by_path:
        gr.on([put.click, folder.submit], add, [folder, *at], [rows, answer], **quick)
    gr.on([part.change for part in at], look, at, rows, **quick)


def shown(studio: Studio, at: str) -> Shown:
    """The list for a size such as 128x128x1, and how far a fetch is."""
    width, height, frames = (max(1, int(number)) for number in at.split("x"))
    loaded = studio.loaded
    html = drawn(studio.shelf.items(), loaded.state(), loaded.wished(), studio.health(), (width, height), frames)
    return Shown(html, {"fetch": fetch_said(studio.fetcher.now())})


def address(at: str) -> str:
    """Where a page asks for the list, behind /watch/."""
    return f"models?{urlencode({'at': at})}"


def press(studio: Studio, act: str, id: str) -> str:
    """Do what a button of a model says, and return the sentence that answers it."""
    one = studio.shelf.get(id)
    if one is None:
        return say("models.gone")
    try:
        if act == "load" and one.description is not None:
            studio.loaded.wish(one.model)
            return say("models.load_said", id=id)
        if act == "unload":
            studio.loaded.wish("")
            return say("models.unload_said")
        if act == "remove" and studio.shelf.remove(id):
            return say("models.removed", id=id)
    except OSError as error:
        return say("models.unwritten", why=cause(error))
    except Refusal as refusal:
        return in_language(refusal.reason)
    return say("models.gone")


def drawn(
    items: Sequence[Shelved], state: State, wished: str | None, health: str, size: tuple[int, int], frames: int
) -> str:
    """The list. Every word that may be somebody else's is escaped.

    Args:
        items: the checkpoints.
        state: what the worker says.
        wished: what it is asked to load, "" to unload, None for nothing.
        health: a sentence while no worker is well, else "".
        size: width and height that the memory is told for.
        frames: the same.
    """
    notes = "".join(f'<p class="note bad" role="alert">{marked(text)}</p>' for text in (health, state.problem) if text)
    usable = [_card(one, state, wished, size, frames) for one in items if one.description is not None]
    others = [_unusable(one) for one in items if one.description is None]
    more = f"<h2>{say('models.unusable')}</h2>{''.join(others)}" if others else ""
    return f'<div class="models">{notes}<h2>{say("models.here")}</h2>{"".join(usable)}{more}</div>'


def fetch_said(now: Fetching | None) -> str:
    """How far a fetch is, or how it ended."""
    if now is None:
        return noted("")
    if now.problem:
        return noted(in_language(now.problem), bad=True)
    if now.over:
        return noted(say("models.fetched", id=now.plan.id))
    return noted(
        say(
            "models.fetching",
            id=now.plan.id,
            done=numerals(bytes_of(now.done)),
            missing=numerals(bytes_of(now.plan.missing)),
        )
    )


def coming_said(inner: str) -> str:
    """Where it is said how far a fetch is; the list's answers go on with it."""
    return f'<div data-live="fetch">{inner}</div>'


def _card(one: Shelved, state: State, wished: str | None, size: tuple[int, int], frames: int) -> str:
    chip = ""
    if state.busy == one.model:
        chip = f'<span class="chip">{say("models.loading")}</span>'
    elif wished == one.model:
        chip = f'<span class="chip">{say("models.asked")}</span>'
    elif state.model == one.model:
        chip = f'<span class="chip on">{say("models.loaded")}</span>'
    acts = [
        _button("unload", say("models.unload"), one)
        if state.model == one.model
        else _button("load", say("models.load"), one)
    ]
    if one.place == "folder":
        acts.append(_button("remove", say("models.remove"), one))
    assert one.description is not None
    pairs = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>"
        for name, value in _facts(one, one.description, size, frames).items()
    )
    note = f'<p class="note">{say("models.distilled")}</p>' if one.description.distilled else ""
    return (
        f'<article class="model" data-id="{escape(one.id, quote=True)}" data-key="{escape(one.id, quote=True)}">'
        f"<header><h3>{escape(one.id)}</h3>{chip}"
        f'</header><dl class="facts">{pairs}</dl>{note}<div class="acts">{"".join(acts)}</div></article>'
    )


def _facts(one: Shelved, told: Description, size: tuple[int, int], frames: int) -> dict[str, str]:
    memory = one.memory(*size, frames)
    at = " x ".join(str(side) for side in (*size, *([frames] if frames > 1 else [])))
    low, high = told.sides
    words = told.vocabulary
    facts = {
        say("models.fact_tasks"): ", ".join(of("can", task) for task in one.tasks),
        say("models.memory", size=at): say("models.not_drawn")
        if memory is None
        else say("models.at_least", amount=numerals(bytes_of(memory))),
        say("models.fact_bytes"): numerals(bytes_of(one.bytes)),
        say("models.fact_parameters"): say("models.numbers", amount=numerals(count_of(one.parameters))),
        say("models.fact_sides"): say("models.sides", low=low, high=high),
        say("models.fact_reads"): say("models.open_text") if words is None else say("models.words", count=len(words)),
    }
    if "frames" in told.house:
        most = int(told.house["frames"])
        facts[say("models.fact_frames")] = say("models.trained", count=most) if most > 1 else say("models.pictures")
    facts[say("models.fact_place")] = of("place", one.place)
    return facts


def _unusable(one: Shelved) -> str:
    acts = f'<div class="acts">{_button("remove", say("models.remove"), one)}</div>' if one.place == "folder" else ""
    return (
        f'<article class="model" data-id="{escape(one.id, quote=True)}"><header><h3>{escape(one.id)}</h3>'
        f'<span class="chip">{of("place", one.place)}</span></header><p>{marked(one.problem)}</p>{acts}</article>'
    )


def _button(act: str, words: str, one: Shelved) -> str:
    id = escape(one.id, quote=True)
    label = of("model", act, id=id)
    return f'<button type="button" data-act="{act}" data-model="{id}" aria-label="{label}">{words}</button>'


def _whole(value: Any, otherwise: int, most: int) -> int:
    """What was typed as a number; an empty field counts as what stood there at first."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return int(min(most, max(1, value))) if number else otherwise  # an infinite one is the most
