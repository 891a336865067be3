"""A desk: what every tab that renders looks like and does. The form is on the left, easel and plan are on the right.

The Render button writes a row and returns; the easel asks what became of it (`easel.py`, `watch.py`). So a render needs
no open page, and a page that is opened later shows what is on its way. Plan and cost follow the fields, before anything
is pressed.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import gradio as gr

from pipelines.job import DEFAULT_FPS, Job, parse
from pipelines.queue.queue import Row
from pipelines.refusal import Refusal
from ui import easel, expansion, levels
from ui.fields import DEEP, Form, Unfinished, refused
from ui.plan import cost_line, no_plan, plan_panel
from ui.presets import presets_row
from ui.reasons import cause
from ui.redraw import SHELL, redrawn
from ui.result import ACT
from ui.settings import length, quick, shelve
from ui.shown import unseen
from ui.studio import Studio
from ui.words import counted, say

FIRST = "text"  # the tab that is open at the beginning
PACE = 0.7  # seconds between two questions of a page
WORDED = ("scenes", "boxes")  # lists of a job whose parts each need a prompt

Jobs = list[tuple[Job, Mapping[str, Any] | None]]  # each with what its record tells that it was expanded from

# On a phone the easel stands below the form. What is wrong goes before what was rendered.
LOOK = """() => {
  const note = document.querySelector('#KIND-form .slot .note');
  const seen = note || document.getElementById('KIND-easel');
  seen?.scrollIntoView({behavior: 'smooth', block: note ? 'center' : 'nearest'});
}"""


@dataclass(frozen=True)
class Desk:
    """A tab that renders.

    Attributes:
        form: its fields.
        easel: what shows the followed job.
        edited: the id of the waiting row whose job stands in the fields to be saved, or "".
        bar: what says so; seen while there is one.
        to_grid: takes the fields to the Grid tab.
    """

    form: Form
    easel: gr.HTML
    edited: gr.Textbox
    bar: gr.Row
    to_grid: gr.Button


def desk(
    studio: Studio,
    tab: str,
    lay: Callable[[Studio], Form],
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
        opened: the events at which the tab is opened.
        wide: whether the fields need more room than the easel.
        again: makes a job of a row's id and the layer that is to be rendered again; raises Refusal.
    """

    def look(followed: str) -> str:
        """What the easel shows."""
        health, training = studio.health, studio.training()
        shown = easel.drawn(studio.queue, studio.folder, health, tab, followed, training=training)
        return shown.watched(easel.address(tab, followed))

    def preview(*sent: Any) -> tuple[Any, ...]:
        """The plan, the cost, and what is wrong so far; what is still to come is not wrong before Render is pressed."""
        values, how = apart(sent)
        also = levels.also(form.unusual(values))
        try:
            draft = form.job(values)
            filled = worded(draft)
            lists = expansion.lists_of(studio.folder)
            first = next(expansion.rows(filled, lists, how))
            job = parse(first.values)
            estimate = studio.check(job)
        except Unfinished as refusal:
            return no_plan(refusal.reason), also, *form.said(left=[refusal.field])
        except Refusal as refusal:
            return no_plan(say("plan.none")), also, *form.said(plain(refusal))
        except OSError as error:
            return no_plan(say("plan.no_file", reason=cause(error))), also, *form.said()
        seconds = studio.pace.seconds(estimate.flops, job.model)
        cost = cost_line(estimate, _length(job, estimate.resolved), seconds)
        several = expansion.line(first, filled, lists, seconds)
        blank = [name for name in ("prompt", *WORDED) if filled.get(name) != draft.get(name)]
        return plan_panel(tab, estimate), also + several + cost, *form.said(left=blank)

    def apart(sent: Sequence[Any]) -> tuple[Sequence[Any], Sequence[Any]]:
        """The form's values, and how several readings of them are rendered."""
        return sent[: len(form.fields)], sent[len(form.fields) :]

    def jobs_of(draft: Mapping[str, Any], how: Sequence[Any] = ()) -> Jobs:
        """The jobs that a draft stands for."""
        found = expansion.rows(draft, expansion.lists_of(studio.folder), how)
        return [(parse(row.values), row.expanded_from) for row in found]

    def submit(*sent: Any) -> tuple[Any, ...]:
        """Write the jobs; the id of the row, where it is one, and what the easel shows, or what is wrong."""
        values, how = apart(sent)
        return write(lambda: jobs_of(form.job(values), how))

    def redo(event: gr.EventData) -> tuple[Any, ...]:
        """Write the job that renders one layer of a result again."""
        assert again is not None
        return write(lambda: [(again(str(event.job), int(event.layer)), None)])

    def save(id: str, *values: Any) -> tuple[Any, ...]:
        """Write the fields into the row that is edited; the bar goes unless something is wrong that can be mended."""

        def put(jobs: Jobs) -> str:
            if len(jobs) > 1:
                raise Refusal("", say("desk.several", count=len(jobs)))
            if not studio.queue.edit(id, *jobs[0]):
                raise Refusal("", say("desk.started"))
            return id

        answer = write(lambda: jobs_of(beside(studio.queue.get(id), form, form.job(values))), put)
        row = studio.queue.get(id)
        left = answer[0] != "" and row is not None and row.state in ("queued", "paused")
        return (*answer, id if left else "", gr.Row(visible=left))

    def queued(jobs: Jobs) -> str:
        """Queue them as one batch. Of several the easel shows the one that is at work, and then the last of them."""
        ids = studio.queue.add_all(jobs, batch=secrets.token_hex(8) if len(jobs) > 1 else None)
        return ids[0] if len(ids) == 1 else ""

    def write(make: Callable[[], Jobs], put: Callable[[Jobs], str] = queued) -> tuple[Any, ...]:
        try:
            jobs = make()
            for job, _ in jobs:
                studio.check(job)
            id = put(jobs)
        except Refusal as refusal:
            problem = plain(refusal)
        except (sqlite3.Error, OSError) as error:
            problem = Refusal("", say("desk.unwritten", reason=cause(error)))
        else:
            return ("", id, look(id), *form.said())
        return (refused(problem), gr.skip(), gr.skip(), *form.said(problem))

    def plain(refusal: Refusal) -> Refusal:
        return Refusal(refusal.field, studio.uploads.plain(refusal.reason))

    def pick(followed: str, event: gr.EventData) -> tuple[Any, ...]:
        queue, id = studio.queue, str(event.job)
        if event.act == "cancel":
            queue.cancel(id)
        elif event.act == "stop":  # the one that the easel shows, and goes on to show
            queue.cancel(id)
            followed = followed or id
        elif event.act == "resume":
            queue.resume(id)
        elif event.act == "go on":
            queue.resume_all()
        elif event.act == "retry":
            followed = queue.retry(id) or followed
        else:
            followed = id
        return followed, look(followed)

    with gr.Row(elem_classes="desk", equal_height=False):
        with gr.Column(scale=8 if wide else 6, min_width=300, elem_classes="sheet form", elem_id=f"{tab}-form"):
            with gr.Row(visible=False, elem_classes="editing", elem_id=f"{tab}-editing") as bar:
                gr.HTML(f'<p role="status">{say("desk.editing")}</p>', apply_default_css=False)
                keep = gr.Button(
                    say("desk.save"), variant="primary", size="sm", scale=0, min_width=170, elem_id=f"{tab}-save"
                )
                leave = gr.Button(say("desk.leave"), size="sm", scale=0, min_width=100, elem_id=f"{tab}-leave")
            form = lay(studio)
            shelve(form, studio.shelf)
            presets_row(studio, form)
            how = expansion.lay(tab)
            cost = gr.HTML(elem_classes="cost-line", elem_id=f"{tab}-cost", apply_default_css=False)
            render = gr.Button(
                say("desk.render"), variant="primary", size="lg", elem_id=f"{tab}-render", elem_classes="render"
            )
            form.slot()
            to_grid = gr.Button(
                say("desk.to_grid"), size="sm", elem_id=f"{tab}-to-grid", elem_classes=f"quiet to-grid {DEEP}"
            )
        with gr.Column(scale=6, min_width=300, elem_classes="side"):
            with gr.Column(elem_classes="sheet easel-side"):
                shown = gr.HTML(
                    unseen(easel.address(tab)), html_template=SHELL, js_on_load=f"{redrawn(PACE)}{{{ACT}}}{easel.PICK}",
                    elem_id=f"{tab}-easel", apply_default_css=False,
                )  # fmt: skip
            with gr.Column(elem_classes="sheet plan-side"):
                plan = gr.HTML(elem_id=f"{tab}-plan", apply_default_css=False)

    followed = gr.Textbox(visible=False)  # the row that this page follows; "" is whatever is at work
    edited = gr.Textbox(visible=False)  # the waiting row whose job is edited
    problem = gr.HTML(visible=False)  # what was wrong when Render was pressed, for programs; people see it in its slot

    pressed = gr.on(
        [render.click, *(field.part.submit for field in form.fields if field.name == "prompt")], submit,
        [*form.parts, *how], [problem, followed, shown, *form.notes], api_name=f"render_{tab}", js=form.live,
        queue=False, show_progress="hidden",
    )  # fmt: skip
    if again:
        redone = shown.again(redo, None, [problem, followed, shown, *form.notes], **quick)
        redone.then(None, js=LOOK.replace("KIND", tab), api_visibility="private")
    pressed.then(None, js=LOOK.replace("KIND", tab), api_visibility="private")
    # One listener for all of them: its answers come in the order of the questions.
    changes = [event for part in [*form.parts, *how] for event in _changes(part)]
    gr.on(
        [*opened, *changes], preview, [*form.parts, *how], [plan, cost, *form.notes], js=form.live, queue=False,
        show_progress="hidden", trigger_mode="always_last", api_name=f"plan_{tab}",
    )  # fmt: skip
    for part, update in form.fresh:
        gr.on([*opened], update, None, part, **quick)
    shown.pick(pick, followed, [followed, shown], **quick)
    written = [problem, followed, shown, *form.notes, edited, bar]
    saved = keep.click(save, [edited, *form.parts], written, js=_live_after(form), **quick)
    saved.then(None, js=LOOK.replace("KIND", tab), api_visibility="private")
    leave.click(lambda: ("", gr.Row(visible=False)), None, [edited, bar], **quick)
    return Desk(form, shown, edited, bar, to_grid)


def worded(job: Mapping[str, Any]) -> dict[str, Any]:
    """The job with a word where one is still to come: plan and cost do not depend on it."""
    filled = dict(job)
    if "prompt" in filled and filled["task"] != "masked":  # which may go without words
        filled["prompt"] = _or_a_word(filled["prompt"])
    for name in WORDED:
        if name in filled:
            filled[name] = [{**part, "prompt": _or_a_word(part["prompt"])} for part in filled[name]]
    return filled


def beside(row: Row | None, form: Form, job: Mapping[str, Any]) -> dict[str, Any]:
    """The job of a form with what the row's own job says of things that the form has no field for, such as its name."""
    fields = {field.name.partition("[")[0] for field in form.fields}
    return {**{name: value for name, value in (row.job if row else {}).items() if name not in fields}, **job}


def _or_a_word(words: Any) -> Any:
    return "a" if isinstance(words, str) and not words.strip() else words


def _length(job: Job, resolved: Mapping[str, Any]) -> str:
    """`a picture`, or `16 frames, 2 s`."""
    scenes = getattr(job, "scenes", None)
    asked = sum(scene.frames for scene in scenes) if scenes else getattr(job, "frames", None) or 1
    frames = resolved.get("frames", asked)
    if layers := getattr(job, "layers", None):
        return counted("desk.layers", len(layers))
    if not isinstance(frames, int) or frames <= 1:
        return say("desk.picture")
    told = f"{say('desk.scenes', count=len(scenes))}, " if scenes and len(scenes) > 1 else ""
    rate = resolved.get("fps") or getattr(job, "fps", None) or DEFAULT_FPS
    return told + length(frames, float(Fraction(str(rate))))


def _changes(part: Any) -> list[Any]:
    # A part that is drawn by ourselves says itself when somebody types into it.
    own = [part.edit] if isinstance(part, gr.HTML) else []
    return [part.change, *own]


def _live_after(form: Form) -> str | None:
    """`form.live` for values that stand after another one."""
    return f"async (first, ...rest) => [first, ...await ({form.live})(...rest)]" if form.live else None
