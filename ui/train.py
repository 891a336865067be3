"""The Train tab: own pictures become an adapter, in a process of its own that this page begins and only watches.

The fields are `trainform.py`'s, what is drawn of a run `trainview.py`'s. Runs and preflights are named by ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any
from urllib.parse import urlencode

import gradio as gr

from pipelines.refusal import Refusal
from training.runs import Busy, check_id
from ui import levels, trainresult, trainview
from ui.desk import LOOK, Desk
from ui.fields import noted, refused
from ui.reasons import cause, in_language
from ui.redraw import SHELL, redrawn
from ui.settings import quick
from ui.shown import Shown, unseen
from ui.studio import Studio
from ui.traincaptions import Captions, busy_with
from ui.trainform import MOST_YAML, TrainForm
from ui.trainreport import first_error, report, seen
from ui.words import say

PACE = 1.5  # seconds between two looks, while the tab is open

# One listener on the part itself, for what stands in it comes and goes. What is taken away is asked about first.
PRESS = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-act]');
  if (!button) return;
  const {act, run, ask} = button.dataset;
  if (ask && button.dataset.sure !== 'yes') {
    const words = button.textContent;
    button.dataset.sure = 'yes';
    button.textContent = ask;
    setTimeout(() => { delete button.dataset.sure; button.textContent = words; }, 5000);
    return;
  }
  trigger(act === 'try' ? 'take' : 'act', {act, run});
});
"""


def train_tab(studio: Studio, desks: Sequence[Desk], tabs: gr.Tabs, opened: Sequence[Any]) -> TrainForm:
    """Lay the tab out and wire it.

    Args:
        studio: what it works with.
        desks: the tabs in which what was trained can be tried.
        tabs: all tabs.
        opened: the events at which this one is opened.
    """
    runs = studio.runs

    def preview(*values: Any) -> tuple[Any, ...]:
        """The run file, what is hidden and not as usual, and what is wrong so far."""
        also = levels.also(form.form.unusual(values))
        try:
            run = form.run(values)
        except Refusal as refusal:
            # An empty page is not wrong yet.
            unfinished = refusal.field == "run_pictures" and not str(values[1] or "").strip()
            return also, gr.skip(), *form.form.said(None if unfinished else refusal)
        return also, form.text(run, form.name(values)), *form.form.said()

    def check(*values: Any) -> tuple[Any, ...]:
        try:
            id = runs.check(form.run(values))
        except Refusal as refusal:
            return gr.skip(), *form.form.said(refusal)
        except Busy:
            return gr.skip(), *form.form.said(Refusal("", say("train.checks_busy")))
        except OSError as error:
            return gr.skip(), *form.form.said(Refusal("", say("train.unwritten", why=cause(error))))
        return checked(studio, id).watched(check_address(id)), *form.form.said()

    def begin(*values: Any) -> tuple[Any, ...]:
        """Begin the run; nothing is begun while its preflight is known to have errors."""
        try:
            run = form.run(values)
            known = runs.check_of(check_id(run))
            count, first = first_error(known.report if known else None)
            if known and count:
                first = seen(known, first, studio.by_path)
                raise Refusal("", say("train.has_errors", count=count, first=first))
            id = runs.begin(form.name(values), run)
        except Refusal as refusal:
            return gr.skip(), gr.skip(), *form.form.said(refusal)
        except Busy as busy:
            return gr.skip(), gr.skip(), *form.form.said(Refusal("", busy_with(str(busy))))
        except OSError as error:
            return gr.skip(), gr.skip(), *form.form.said(Refusal("", say("train.unwritten", why=cause(error))))
        return id, look(id), *form.form.said()

    def look(id: str) -> str:
        return shown(studio, id).watched(address(id))

    def act(followed: str, event: gr.EventData) -> tuple[Any, ...]:
        word, id = (str(getattr(event, name, None) or "") for name in ("act", "run"))
        if word == "show":
            return id, look(id), noted("")
        answer = press(studio, word, id)
        followed = "" if word == "remove" and followed == id else followed or id
        return followed, look(followed), noted(answer)

    def take(prompt: str, event: gr.EventData) -> tuple[Any, ...]:
        """What a run has made in the fields of a tab that renders, which is opened."""
        id = str(getattr(event, "run", None) or "")
        try:
            tried = trainresult.ready(studio, id)
        except Refusal as refusal:
            return noted(in_language(refusal.reason), bad=True), *[gr.skip()] * (len(filled) - 1)
        except OSError as error:
            return noted(say("train.unwritten", why=cause(error)), bad=True), *[gr.skip()] * (len(filled) - 1)
        answer: list[Any] = [noted(say("train.ready", name=tried.name)), gr.Tabs(selected=tried.tab)]
        for desk in tasters:
            if desk.form.kind == tried.tab:
                choices = studio.shelf.choices(desk.form.task)
                words = tried.prompt if tried.prompt and not prompt.strip() else gr.skip()
                answer += [tried.adapters, gr.Dropdown(choices=choices, value=tried.model), words]
            else:
                answer += [gr.skip()] * 3
        return tuple(answer)

    def use(text: str) -> tuple[Any, ...]:
        """A run file in the fields."""
        try:
            values = form.values(text)
        except Refusal as refusal:
            return refused(refusal), *[gr.skip()] * len(form.form.parts)
        return noted(say("train.used")), *values

    with gr.Row(elem_classes="desk", equal_height=False):
        with gr.Column(scale=6, min_width=300, elem_classes="sheet form", elem_id="train-form"):
            form = TrainForm(studio)
            captions = Captions(studio, PRESS, PACE)
            with gr.Accordion(say("train.file"), open=False, elem_classes="more deep"):
                file = gr.Textbox(
                    "", label=say("train.file_label"), info=say("train.file_info"), lines=8, max_lines=24,
                    max_length=2 * MOST_YAML, elem_id="train-file", elem_classes="yaml",
                )  # fmt: skip
                put = gr.Button(say("train.use_file"), size="sm", elem_id="train-use", elem_classes="quiet")
                answer = gr.HTML("", elem_classes="train-said", elem_id="train-used", apply_default_css=False)
            also = gr.HTML(elem_classes="also-line", elem_id="train-also", apply_default_css=False)
            ask = gr.Button(say("train.check"), size="lg", elem_id="train-check", elem_classes="quiet")
            start = gr.Button(
                say("train.start"), variant="primary", size="lg", elem_id="train-start", elem_classes="render"
            )
            form.form.slot()
        with gr.Column(scale=6, min_width=300, elem_classes="side"):
            with gr.Column(elem_classes="sheet"):
                told = gr.HTML("", elem_classes="train-said", elem_id="train-said", apply_default_css=False)
                view = gr.HTML(
                    unseen(address("")), html_template=SHELL, js_on_load=redrawn(PACE) + PRESS, elem_id="train-view",
                    apply_default_css=False,
                )  # fmt: skip
            with gr.Column(elem_classes="sheet train-report"):
                found = gr.HTML(
                    checked(studio, "").watched(check_address("")), html_template=SHELL, js_on_load=redrawn(PACE),
                    elem_id="train-report", apply_default_css=False,
                )  # fmt: skip

    followed = gr.Textbox(visible=False)  # the run that this page shows; "" is the one at work, or the newest
    parts, notes = form.form.parts, form.form.notes
    tasters = [desk for desk in desks if desk.form.kind in trainresult.TABS]
    filled = [told, tabs, *(desk.form.part(name) for desk in tasters for name in ("adapters", "model", "prompt"))]
    prompts = next(desk.form.part("prompt") for desk in tasters if desk.form.kind == "text")

    gr.on(
        [*opened, *(part.change for part in parts)], preview, parts, [also, file, *notes],
        trigger_mode="always_last", **quick,
    )  # fmt: skip
    for part, update in form.form.fresh:
        gr.on([*opened], update, None, part, **quick)
    pressed = start.click(begin, parts, [followed, view, *notes], **quick)
    asked = ask.click(check, parts, [found, *notes], **quick)
    for button, place in ((pressed, "train-view"), (asked, "train-report")):
        script = LOOK.replace("KIND-easel", place).replace("KIND", "train")
        button.then(None, js=script, api_visibility="private")
    view.act(act, followed, [followed, view, told], **quick)
    view.take(take, prompts, filled, **quick)
    captions.wire(list(opened), parts, form.looked_at)
    put.click(use, file, [answer, *parts], **quick)
    return form


def shown(studio: Studio, id: str) -> Shown:
    """The run called `id`, or the one at work, or the newest; and the others."""
    found = studio.runs.all()
    busy = studio.runs.busy()
    run = next((each for each in found if each.id == id), None)
    run = run or next((each for each in found if each.id == busy), None) or next(iter(found), None)
    others = [each for each in found if run is None or each.id != run.id]
    return Shown.of(trainview.drawn(run, others, studio.rendering(), studio.by_path))


def checked(studio: Studio, id: str) -> Shown:
    """The preflight called `id`, or what one is for."""
    check = studio.runs.check_of(id)
    if check is None:
        return Shown(f'<div class="report"><p class="say">{escape(say("train.no_check"))}</p></div>')
    return Shown(f"<h3>{escape(say('train.report'))}</h3>{report(check, studio.by_path)}")


def address(id: str) -> str:
    """Where a page that follows a run asks for it, behind /watch/."""
    return f"train?{urlencode({'run': id})}"


def check_address(id: str) -> str:
    """Where a page asks for a preflight, behind /watch/."""
    return f"preflight?{urlencode({'check': id})}"


def press(studio: Studio, act: str, id: str) -> str:
    """Do what a button of a run says, and return the sentence that answers it."""
    runs = studio.runs
    try:
        if act == "pause" and runs.ask(id, "pause"):
            return say("train.pausing", id=id)
        if act == "stop" and runs.ask(id, "stop"):
            return say("train.stops", id=id)
        if act == "now" and runs.ask(id, "now"):
            return say("train.ends", id=id)
        if act == "resume" and runs.go_on(id):
            return say("train.resumed", id=id)
        if act == "remove" and runs.remove(id):
            return say("train.removed", id=id)
    except Busy as busy:
        return busy_with(str(busy))
    except OSError as error:
        return say("train.unwritten", why=cause(error))
    return say("train.gone")
