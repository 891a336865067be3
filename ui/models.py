"""The Models tab: which checkpoints are here, what each can do and takes, which one is loaded, and how to add one.

Pages name a checkpoint by its id. Loading is the worker's, between two jobs; this page asks for it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from html import escape
from typing import Any

import gradio as gr

from models.checkpoint import Description
from pipelines.queue.loaded import State
from pipelines.refusal import Refusal
from pipelines.shelf.hub import Fetching, Plan
from pipelines.shelf.shelf import Shelved
from pipelines.shelf.table import bytes_of, count_of
from ui.settings import quick
from ui.studio import Studio

PACE = 1.5  # seconds between two looks, while the tab is open
SIZE, FRAMES = (128, 128), 1  # that the memory is told for at first
MOST_SIDE, MOST_FRAMES = 4096, 1000

# ------------------------------------------------------------ words

PLACES = {
    "embedded": "comes with the studio", "folder": "in a folder you added", "start": "in a folder named at the start",
    "cache": "in the hub's cache",
}  # fmt: skip
TASKS = {
    "text": "pictures and videos", "masked": "masked", "scenes": "scenes", "layout": "layouts", "layered": "layers",
    "dubbing": "dubbing",
}  # fmt: skip
LOADED, LOADING, ASKED = "loaded", "loading …", "asked for"
HERE, UNUSABLE = "Here", "Here, but not usable"
FACTS = {
    "tasks": "Can do", "place": "Kept", "bytes": "On disk", "parameters": "Weights", "memory": "Memory at {size}",
    "sides": "Draws sides of", "reads": "Reads", "frames": "Videos",
}  # fmt: skip
NUMBERS, AT_LEAST, NOT_DRAWN = "{amount} numbers", "{amount} or more", "not this size"
SIDES, OPEN_TEXT, WORDS = "{low} to {high} pixels", "open text", "{count} words of its own"
PICTURES, TRAINED = "trained on pictures alone", "trained on up to {count} frames"
DISTILLED = "Distilled: guidance has no effect on it."
LOAD, UNLOAD, REMOVE = "Load", "Unload", "Take off the list"
LABELS = {"load": "Load {id}", "unload": "Unload {id}", "remove": "Take {id} off the list"}
LOAD_SAID = "{id} is loaded before the next job."
UNLOAD_SAID = "Its memory is given back before the next job."
REMOVED = "{id} is off the list; its files stay where they are."
GONE = "That model is not here any more."
ADDED = "{id} is on the list."
UNWRITTEN = "The wish can not be written ({why}), so nothing was changed."
AT = "Memory is told for"
WIDTH, HEIGHT, LENGTH = "Width", "Height", "Frames"
ADD = "Add a model"
HUB_LABEL, HUB_EXAMPLE = "From the Hugging Face hub", "black-forest-labs/FLUX.2-klein-4B"
HUB_INFO = "Only when you press the button is huggingface.co asked; only safetensors and text files are fetched."
LOOK_UP, FETCH = "Look it up", "Fetch it"
PLANNED = "{id} would fetch {missing} in {count} files from huggingface.co. Press Fetch it to do so."
COMPLETE = "All of {id} is here already: {bytes} in {count} files."
FETCHING = "Fetching {id}: {done} of {missing}."
FETCHED = "{id} is here."
FOLDER_LABEL, FOLDER_EXAMPLE = "From a folder of this machine", "/home/me/models/my-checkpoint"
FOLDER_INFO = "A checkpoint in diffusers layout, of safetensors alone. It is used where it is, nothing is copied."
ADD_FOLDER = "Add the folder"

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
# A new drawing takes the focus away, which is put back on the button of the same model.
SCRIPT = """
let last = '';
element.addEventListener('focusin', (event) => {
  const button = event.target.closest('[data-act]');
  last = button ? `[data-model="${CSS.escape(button.dataset.model)}"]` : '';
});
element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-act]');
  if (button) trigger('act', {act: button.dataset.act, model: button.dataset.model});
});
new MutationObserver(() => {
  if (last && document.activeElement === document.body) element.querySelector(last)?.focus();
}).observe(element, {childList: true, subtree: true});
"""


def models_tab(studio: Studio, tab: gr.Tab) -> gr.Timer:
    """Lay the tab out and wire it; returns the timer that looks while it is open."""
    shelf, loaded, fetcher = studio.shelf, studio.loaded, studio.fetcher

    def look(width: Any, height: Any, frames: Any, seen: str = "") -> tuple[Any, ...]:
        """The list and its mark, nothing of it while that is as it was `seen`; and how far a fetch is."""
        size = (_whole(width, SIZE[0], MOST_SIDE), _whole(height, SIZE[1], MOST_SIDE))
        html = drawn(
            shelf.items(), loaded.state(), loaded.wished(), studio.health(), size, _whole(frames, 1, MOST_FRAMES)
        )
        mark = hashlib.sha256(html.encode()).hexdigest()
        fetched = fetch_said(fetcher.now())
        return (gr.skip() if mark == seen else html, mark, fetched)

    def act(width: Any, height: Any, frames: Any, event: gr.EventData) -> tuple[Any, ...]:
        told = press(studio, str(getattr(event, "act", "")), str(getattr(event, "model", "")))
        return (*look(width, height, frames), _said(told))

    def find(text: str) -> tuple[Any, ...]:
        try:
            plan = fetcher.look_up(text or "")
        except Refusal as refusal:
            return _said(refusal.reason, bad=True), None, gr.Button(visible=False)
        told = (PLANNED if plan.missing else COMPLETE).format(
            id=plan.id, missing=bytes_of(plan.missing), bytes=bytes_of(plan.bytes), count=len(plan.files)
        )
        return _said(told), plan, gr.Button(visible=plan.missing > 0)

    def fetch(plan: Plan | None) -> tuple[Any, ...]:
        try:
            if plan is not None:
                fetcher.start(plan)
        except Refusal as refusal:
            return _said(refusal.reason, bad=True), None, gr.Button(visible=False), gr.skip()
        return "", None, gr.Button(visible=False), fetch_said(fetcher.now())

    def add(text: str, width: Any, height: Any, frames: Any) -> tuple[Any, ...]:
        try:
            told = _said(ADDED.format(id=shelf.add(text or "")))
        except Refusal as refusal:
            return gr.skip(), gr.skip(), gr.skip(), _said(refusal.reason, bad=True)
        return (*look(width, height, frames), told)

    with gr.Column(elem_classes="sheet"):
        told = gr.HTML(_said(""), elem_classes="models-said", elem_id="models-said", apply_default_css=False)
        with gr.Accordion(AT, open=False, elem_classes="more"), gr.Row(elem_classes="pair models-at"):
            width = gr.Number(SIZE[0], label=WIDTH, precision=0, minimum=16, maximum=MOST_SIDE, min_width=100)
            height = gr.Number(SIZE[1], label=HEIGHT, precision=0, minimum=16, maximum=MOST_SIDE, min_width=100)
            frames = gr.Number(FRAMES, label=LENGTH, precision=0, minimum=1, maximum=MOST_FRAMES, min_width=100)
        rows = gr.HTML(
            lambda: look(*SIZE, FRAMES)[0], js_on_load=SCRIPT, elem_id="models", apply_default_css=False
        )  # fmt: skip
    with gr.Column(elem_classes="sheet form", elem_id="models-add"):
        gr.HTML(f"<h2>{ADD}</h2>", apply_default_css=False)
        id = gr.Textbox(label=HUB_LABEL, placeholder=HUB_EXAMPLE, info=HUB_INFO, max_length=200, elem_id="models-hub")
        with gr.Row(elem_classes="actions"):
            ask = gr.Button(LOOK_UP, elem_classes="quiet", elem_id="models-look", scale=0, min_width=140)
            get = gr.Button(FETCH, variant="primary", visible=False, elem_id="models-fetch", scale=0, min_width=140)
        found = gr.HTML(_said(""), elem_classes="models-said", elem_id="models-found", apply_default_css=False)
        coming = gr.HTML(_said(""), elem_classes="models-said", elem_id="models-coming", apply_default_css=False)
        if shelf.by_path:
            folder = gr.Textbox(
                label=FOLDER_LABEL, placeholder=FOLDER_EXAMPLE, info=FOLDER_INFO, max_length=4096,
                elem_id="models-folder",
            )  # fmt: skip
            with gr.Row(elem_classes="actions"):
                put = gr.Button(ADD_FOLDER, elem_classes="quiet", elem_id="models-put", scale=0, min_width=180)
            answer = gr.HTML(_said(""), elem_classes="models-said", elem_id="models-put-said", apply_default_css=False)
    plan = gr.State(None)
    seen = gr.Textbox(visible=False)
    timer = gr.Timer(PACE, active=False)

    at, parts = [width, height, frames], [rows, seen, coming]
    rows.act(act, at, [*parts, told], **quick)
    gr.on([ask.click, id.submit], find, id, [found, plan, get], **quick)
    get.click(fetch, plan, [found, plan, get, coming], **quick)
    if shelf.by_path:
        gr.on([put.click, folder.submit], add, [folder, *at], [*parts, answer], **quick)
    gr.on([timer.tick, tab.select, *(part.change for part in at)], look, [*at, seen], parts, **quick)
    return timer


def press(studio: Studio, act: str, id: str) -> str:
    """Do what a button of a model says, and return the sentence that answers it."""
    one = studio.shelf.get(id)
    if one is None:
        return GONE
    try:
        if act == "load" and one.description is not None:
            studio.loaded.wish(one.model)
            return LOAD_SAID.format(id=id)
        if act == "unload":
            studio.loaded.wish("")
            return UNLOAD_SAID
        if act == "remove" and studio.shelf.remove(id):
            return REMOVED.format(id=id)
    except OSError as error:
        return UNWRITTEN.format(why=error.strerror)
    except Refusal as refusal:
        return refusal.reason
    return GONE


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
    notes = "".join(f'<p class="note bad" role="alert">{escape(text)}</p>' for text in (health, state.problem) if text)
    usable = [_card(one, state, wished, size, frames) for one in items if one.description is not None]
    others = [_unusable(one) for one in items if one.description is None]
    more = f"<h2>{UNUSABLE}</h2>{''.join(others)}" if others else ""
    return f'<div class="models">{notes}<h2>{HERE}</h2>{"".join(usable)}{more}</div>'


def fetch_said(now: Fetching | None) -> str:
    """How far a fetch is, or how it ended."""
    if now is None:
        return _said("")
    if now.problem:
        return _said(now.problem, bad=True)
    if now.over:
        return _said(FETCHED.format(id=now.plan.id))
    return _said(FETCHING.format(id=now.plan.id, done=bytes_of(now.done), missing=bytes_of(now.plan.missing)))


def _card(one: Shelved, state: State, wished: str | None, size: tuple[int, int], frames: int) -> str:
    chip = ""
    if state.busy == one.model:
        chip = f'<span class="chip">{LOADING}</span>'
    elif wished == one.model:
        chip = f'<span class="chip">{ASKED}</span>'
    elif state.model == one.model:
        chip = f'<span class="chip on">{LOADED}</span>'
    acts = [_button("unload", UNLOAD, one) if state.model == one.model else _button("load", LOAD, one)]
    if one.place == "folder":
        acts.append(_button("remove", REMOVE, one))
    assert one.description is not None
    pairs = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>"
        for name, value in _facts(one, one.description, size, frames).items()
    )
    note = f'<p class="note">{DISTILLED}</p>' if one.description.distilled else ""
    return (
        f'<article class="model" data-id="{escape(one.id, quote=True)}"><header><h3>{escape(one.id)}</h3>{chip}'
        f'</header><dl class="facts">{pairs}</dl>{note}<div class="acts">{"".join(acts)}</div></article>'
    )


def _facts(one: Shelved, told: Description, size: tuple[int, int], frames: int) -> dict[str, str]:
    memory = one.memory(*size, frames)
    at = " x ".join(str(side) for side in (*size, *([frames] if frames > 1 else [])))
    low, high = told.sides
    words = told.vocabulary
    facts = {
        FACTS["tasks"]: ", ".join(TASKS[task] for task in one.tasks),
        FACTS["memory"].format(size=at): NOT_DRAWN if memory is None else AT_LEAST.format(amount=bytes_of(memory)),
        FACTS["bytes"]: bytes_of(one.bytes),
        FACTS["parameters"]: NUMBERS.format(amount=count_of(one.parameters)),
        FACTS["sides"]: SIDES.format(low=low, high=high),
        FACTS["reads"]: OPEN_TEXT if words is None else WORDS.format(count=len(words)),
    }
    if "frames" in told.house:
        most = int(told.house["frames"])
        facts[FACTS["frames"]] = TRAINED.format(count=most) if most > 1 else PICTURES
    facts[FACTS["place"]] = PLACES[one.place]
    return facts


def _unusable(one: Shelved) -> str:
    acts = f'<div class="acts">{_button("remove", REMOVE, one)}</div>' if one.place == "folder" else ""
    return (
        f'<article class="model" data-id="{escape(one.id, quote=True)}"><header><h3>{escape(one.id)}</h3>'
        f'<span class="chip">{PLACES[one.place]}</span></header><p>{escape(one.problem)}</p>{acts}</article>'
    )


def _button(act: str, words: str, one: Shelved) -> str:
    id = escape(one.id, quote=True)
    label = LABELS[act].format(id=id)
    return f'<button type="button" data-act="{act}" data-model="{id}" aria-label="{label}">{words}</button>'


def _said(text: str, bad: bool = False) -> str:
    if not text:
        return ""
    return f'<p class="note{" bad" if bad else ""}" role="{"alert" if bad else "status"}">{escape(text)}</p>'


def _whole(value: Any, otherwise: int, most: int) -> int:
    """What was typed as a number; an empty field counts as what stood there at first."""
    return (
        min(most, max(1, int(value))) if isinstance(value, int | float) and not isinstance(value, bool) else otherwise
    )
