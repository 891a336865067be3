"""A desk: what every tab that renders looks like and does. The form is on the left, easel and plan are on the right.

The Render button writes a row and returns; a timer reads what became of it. So a render needs no open page, and a page
that is opened later shows what is on its way. Plan and cost follow the fields, before anything is pressed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from pipelines.job import DEFAULT_FPS, Job, parse
from pipelines.queue import Row, State
from pipelines.refusal import Refusal
from ui.fields import Form, Unfinished, refused
from ui.plan import cost_line, no_plan, plan_panel
from ui.result import ACT, kind
from ui.settings import length, quick
from ui.status import stage, waiting
from ui.studio import Studio

FIRST = "text"  # the tab that is open at the beginning
PACE = 0.7  # seconds between two looks at the queue
LOOKED_AT = 100  # rows that are searched for the latest one of a tab
WORDED = ("scenes", "boxes")  # lists of a job whose parts each need a prompt
OVER: tuple[State, ...] = ("done", "failed", "cancelled")

# One listener on the part itself, for what stands in it comes and goes.
PICK = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-job]');
  if (button) trigger('pick', {job: button.dataset.job, act: button.dataset.act});
});
"""
# On a phone the easel stands below the form. What is wrong goes before what was rendered.
LOOK = """() => {
  const note = document.querySelector('#KIND-form .slot .note');
  const seen = note || document.getElementById('KIND-easel');
  seen?.scrollIntoView({behavior: 'smooth', block: note ? 'center' : 'nearest'});
}"""


@dataclass(frozen=True)
class Desk:
    """A tab that renders: its fields, its easel, and the timer that looks at the queue while the tab is open."""

    form: Form
    easel: gr.HTML
    timer: gr.Timer


def desk(
    studio: Studio,
    tab: str,
    lay: Callable[[Studio], Form],
    hint: str,
    opened: Sequence[Any],
    *,
    wide: bool = False,
    again: Callable[[str, int], Job] | None = None,
) -> Desk:
    """Lay a tab out and wire it.

    Args:
        studio: what it works with.
        tab: its id.
        lay: lays the fields out, and returns them.
        hint: what to do when there is nothing on the easel.
        opened: the events at which the tab is opened.
        wide: whether the fields need more room than the easel.
        again: makes a job of a row's id and the layer that is to be rendered again; raises Refusal.
    """

    def look(followed: str) -> tuple[Any, ...]:
        """What the easel shows, whether there is something to cancel, the other jobs."""
        row, active = _followed(studio, followed, tab)
        ahead = next((place for place, other in enumerate(active) if row and other.id == row.id), 0)
        others = [other for other in active if not row or other.id != row.id]
        busy = row is not None and row.state in ("queued", "running") and not row.stopping
        shown = stage(row, ahead, studio.folder, studio.health(), hint)
        # The row itself and not "the one that is followed" is named, so a page that follows none can cancel too.
        return shown, gr.Button(visible=busy), waiting(others), row.id if row else ""

    def preview(*values: Any) -> tuple[Any, ...]:
        """The plan, the cost, and what is wrong so far; what is still to come is not wrong before Render is pressed."""
        try:
            draft = form.job(values)
            filled = worded(draft)
            job = parse(filled)
            estimate = studio.check(job)
        except Unfinished as refusal:
            return no_plan(refusal.reason), "", *form.said(left=[refusal.field])
        except Refusal as refusal:
            return no_plan("There is none while a field is wrong."), "", *form.said(plain(refusal))
        except OSError as error:
            return no_plan(f"A file can not be read or written: {error.strerror}."), "", *form.said()
        seconds = studio.pace.seconds(estimate.flops, job.model)
        cost = cost_line(estimate, _length(job, estimate.resolved), seconds)
        blank = [name for name in ("prompt", *WORDED) if filled.get(name) != draft.get(name)]
        return plan_panel(tab, estimate), cost, *form.said(left=blank)

    def submit(*values: Any) -> tuple[Any, ...]:
        """Write the job; the id of its row and what the easel shows, or what is wrong."""
        return write(lambda: parse(form.job(values)))

    def redo(event: gr.EventData) -> tuple[Any, ...]:
        """Write the job that renders one layer of a result again."""
        assert again is not None
        return write(lambda: again(str(event.job), int(event.layer)))

    def write(make: Callable[[], Job]) -> tuple[Any, ...]:
        try:
            job = make()
            studio.check(job)
            id = studio.queue.add(job)
        except Refusal as refusal:
            problem = plain(refusal)
        except (sqlite3.Error, OSError) as error:
            problem = Refusal("", f"the job can not be written: {error}; nothing was queued")
        else:
            return ("", id, *look(id), *form.said())
        return (refused(problem), *[gr.skip()] * 5, *form.said(problem))

    def plain(refusal: Refusal) -> Refusal:
        return Refusal(refusal.field, studio.uploads.plain(refusal.reason))

    def cancel(shown: str, followed: str) -> tuple[Any, ...]:
        studio.queue.cancel(shown)
        return look(followed or shown)

    def pick(followed: str, event: gr.EventData) -> tuple[Any, ...]:
        if event.act == "cancel":
            studio.queue.cancel(str(event.job))
        else:
            followed = str(event.job)
        return (followed, *look(followed))

    with gr.Row(elem_classes="desk", equal_height=False):
        with gr.Column(scale=8 if wide else 6, min_width=300, elem_classes="sheet form", elem_id=f"{tab}-form"):
            form = lay(studio)
            cost = gr.HTML(elem_classes="cost-line", elem_id=f"{tab}-cost", apply_default_css=False)
            render = gr.Button("Render", variant="primary", size="lg", elem_id=f"{tab}-render", elem_classes="render")
            form.slot()
        with gr.Column(scale=6, min_width=300, elem_classes="side"):
            with gr.Column(elem_classes="sheet easel-side"):
                easel = gr.HTML(lambda: look("")[0], js_on_load=ACT, elem_id=f"{tab}-easel", apply_default_css=False)
                stop = gr.Button("Cancel", visible=False, elem_classes="quiet stop", elem_id=f"{tab}-cancel")
                line = gr.HTML(js_on_load=PICK, elem_id=f"{tab}-line", apply_default_css=False)
            with gr.Column(elem_classes="sheet plan-side"):
                plan = gr.HTML(elem_id=f"{tab}-plan", apply_default_css=False)

    followed = gr.Textbox(visible=False)  # the row that this page follows; "" is whatever is at work
    shown = gr.Textbox(visible=False)  # the row that the easel shows
    problem = gr.HTML(visible=False)  # what was wrong when Render was pressed, for programs; people see it in its slot
    timer = gr.Timer(PACE, active=tab == FIRST)

    parts = [easel, stop, line, shown]
    pressed = gr.on(
        [render.click, *(field.part.submit for field in form.fields if field.name == "prompt")], submit, form.parts,
        [problem, followed, *parts, *form.notes], api_name=f"render_{tab}", js=form.live, queue=False,
        show_progress="hidden",
    )  # fmt: skip
    if again:
        redone = easel.again(redo, None, [problem, followed, *parts, *form.notes], **quick)
        redone.then(None, js=LOOK.replace("KIND", tab), api_visibility="private")
    pressed.then(None, js=LOOK.replace("KIND", tab), api_visibility="private")
    # One listener for all of them: its answers come in the order of the questions.
    changes = [event for part in form.parts for event in _changes(part)]
    gr.on(
        [*opened, *changes], preview, form.parts, [plan, cost, *form.notes], js=form.live, queue=False,
        show_progress="hidden", trigger_mode="always_last", api_name=f"plan_{tab}",
    )  # fmt: skip
    for part, update in form.fresh:
        gr.on([*opened], update, None, part, **quick)
    stop.click(cancel, [shown, followed], parts, **quick)
    line.pick(pick, followed, [followed, *parts], **quick)
    timer.tick(look, followed, parts, api_name=f"watch_{tab}", queue=False, show_progress="hidden")
    return Desk(form, easel, timer)


def worded(job: Mapping[str, Any]) -> dict[str, Any]:
    """The job with a word where one is still to come: plan and cost do not depend on it."""
    filled = dict(job)
    if "prompt" in filled and filled["task"] != "masked":  # which may go without words
        filled["prompt"] = _or_a_word(filled["prompt"])
    for name in WORDED:
        if name in filled:
            filled[name] = [{**part, "prompt": _or_a_word(part["prompt"])} for part in filled[name]]
    return filled


def _or_a_word(words: Any) -> Any:
    return "a" if isinstance(words, str) and not words.strip() else words


def _length(job: Job, resolved: Mapping[str, Any]) -> str:
    """`a picture`, or `16 frames, 2 s`."""
    scenes = getattr(job, "scenes", None)
    asked = sum(scene.frames for scene in scenes) if scenes else getattr(job, "frames", None) or 1
    frames = resolved.get("frames", asked)
    if layers := getattr(job, "layers", None):
        return f"a picture of {len(layers)} layer{'s' if len(layers) > 1 else ''} and a background"
    if not isinstance(frames, int) or frames <= 1:
        return "a picture"
    told = f"{len(scenes)} scenes, " if scenes and len(scenes) > 1 else ""
    return told + length(frames, getattr(job, "fps", None) or DEFAULT_FPS)


def _changes(part: Any) -> list[Any]:
    # A part that is drawn by ourselves says itself when somebody types into it.
    own = [part.edit] if isinstance(part, gr.HTML) else []
    return [part.change, *own]


def _followed(studio: Studio, id: str, tab: str) -> tuple[Row | None, list[Row]]:
    """The row to show, and those on their way: the named one, or what is at work for the tab, or its latest."""
    active = studio.queue.active()
    row = studio.queue.get(id) if id else None
    if row is None:
        mine = (row for row in [*active, *studio.queue.rows(LOOKED_AT, 0, OVER)] if kind(row.job) == tab)
        row = next(mine, None)
    return row, active
