"""The Text tab: words and settings on the left, the easel with what becomes of them on the right.

The Render button writes a row and returns; a timer reads what became of it. So a render needs no open page, and a page
that is opened later shows what is on its way.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from pipelines.job import MAX_CHARACTERS, SIDE_STEP, Job, Refusal, TextJob, parse
from pipelines.queue import Queue, Row
from ui.status import refused, stage, waiting

SIDES = (64, 192)  # pixels; what the embedded checkpoint draws
MOST_STEPS, MOST_GUIDANCE = 100, 15  # of the sliders; beyond them a picture only takes longer, or breaks
MODELS = ("papercut",)
SCHEDULERS = ("euler", "heun", "unipc", "dpm++")
PACE = 0.7  # seconds between two looks at the queue
EXAMPLES = (
    "three white circles in a meadow",
    "a large orange star under a night sky",
    "a yellow ring below a red heart by the sea",
)

# One listener on the part itself, for what stands in it comes and goes.
PICK = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-job]');
  if (button) trigger('pick', {job: button.dataset.job, act: button.dataset.act});
});
"""
TRY = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('button');
  if (button) trigger('pick', {words: button.textContent});
});
"""
# 32 bits: more than anybody needs, and a number that a page shows without rounding.
DICE = "() => Math.floor(Math.random() * 2 ** 32)"

# On a phone the easel stands below the form.
LOOK = """() => {
  if (!document.querySelector('#problem .note'))
    document.getElementById('easel')?.scrollIntoView({behavior: 'smooth', block: 'nearest'});
}"""

# What a refusal calls a field, and what the page does.
LABELS = {
    "prompt": "Prompt", "negative_prompt": "Leave out", "size": "Size", "size[0]": "Width", "size[1]": "Height",
    "seed": "Seed", "steps": "Steps", "guidance": "Guidance", "guidance_interval": "Guided part",
    "guidance_interval[0]": "Guided from", "guidance_interval[1]": "Guided to",
    "internal_guidance": "Internal guidance", "scheduler": "Scheduler", "model": "Model",
}  # fmt: skip

Check = Callable[[Job], Any]


@dataclass(frozen=True)
class Form:
    """The fields of the tab, in the order in which `job_of` reads them and `values_of` fills them."""

    fields: list[Any]
    problem: gr.HTML


def job_of(
    prompt: str, negative: str, width: float, height: float, seed: float, steps: float, guidance: float,
    low: float, high: float, internal: float | None, scheduler: str, model: str,
) -> dict[str, Any]:  # fmt: skip
    """The fields as a job that is not yet checked."""
    return {
        "task": "text",
        "prompt": prompt,
        "negative_prompt": negative or "",
        "size": [_whole(width), _whole(height)],
        "seed": _whole(seed),
        "steps": _whole(steps),
        "guidance": guidance,
        "guidance_interval": [low, high],
        "internal_guidance": internal or None,
        "scheduler": scheduler,
        "model": model,
    }


def values_of(job: Mapping[str, Any]) -> list[Any]:
    """The job as values of the fields; what an older job does not say is as it is by default."""
    standard = parse({"task": "text", "prompt": "-"}).model_dump(mode="json")
    full = {**standard, **job}
    return [
        full["prompt"], full["negative_prompt"], *full["size"], full["seed"], full["steps"], full["guidance"],
        *full["guidance_interval"], full["internal_guidance"] or 0, full["scheduler"], full["model"],
    ]  # fmt: skip


def text_tab(queue: Queue, folder: Path, check: Check, health: Callable[[], str]) -> Form:
    """Lay the tab out and wire it.

    Args:
        queue: where jobs are written and states read.
        folder: the output folder.
        check: raises Refusal for a job that the engine would refuse.
        health: a sentence while no renderer is at work, else "".
    """

    def look(followed: str) -> tuple[Any, ...]:
        """What the tab shows: the easel, whether there is something to cancel, the other jobs."""
        row, active = _followed(queue, followed)
        ahead = next((place for place, other in enumerate(active) if row and other.id == row.id), 0)
        others = [other for other in active if not row or other.id != row.id]
        busy = row is not None and row.state in ("queued", "running") and not row.stopping
        # The row itself and not "the one that is followed" is named, so a page that follows none can cancel too.
        return stage(row, ahead, folder, health()), gr.Button(visible=busy), waiting(others), row.id if row else ""

    def submit(*values: Any) -> tuple[Any, ...]:
        try:
            job = parse(job_of(*values))
            check(job)
            id = queue.add(job)
        except Refusal as refusal:
            return (refused(LABELS.get(refusal.field, refusal.field), refusal.reason), *[gr.skip()] * 5)
        except sqlite3.Error as error:
            return (refused("", f"the job can not be written: {error}; nothing was queued"), *[gr.skip()] * 5)
        return ("", id, *look(id))

    def cancel(shown: str, followed: str) -> tuple[Any, ...]:
        queue.cancel(shown)
        return look(followed or shown)

    def pick(followed: str, event: gr.EventData) -> tuple[Any, ...]:
        if event.act == "cancel":
            queue.cancel(str(event.job))
        else:
            followed = str(event.job)
        return (followed, *look(followed))

    followed = gr.Textbox(visible=False)  # the row that this page follows; "" is whatever is at work
    shown = gr.Textbox(visible=False)  # the row that the easel shows
    with gr.Row(elem_classes="desk", equal_height=False):
        with gr.Column(scale=5, min_width=300, elem_classes="sheet form"):
            fields, render, problem = _form()
        with gr.Column(scale=6, min_width=300, elem_classes="sheet easel-side"):
            easel = gr.HTML(lambda: look("")[0], elem_id="easel", apply_default_css=False)
            stop = gr.Button("Cancel", visible=False, elem_classes="quiet", elem_id="cancel")
            line = gr.HTML(js_on_load=PICK, elem_id="line", apply_default_css=False)

    parts = [easel, stop, line, shown]
    timer = gr.Timer(PACE)
    quick: dict[str, Any] = {"queue": False, "show_progress": "hidden"}  # a click never waits behind another event
    written = [problem, followed, *parts]
    pressed = gr.on([render.click, fields[0].submit], submit, fields, written, api_name="render", **quick)
    pressed.then(None, js=LOOK, api_visibility="private")
    stop.click(cancel, [shown, followed], parts, api_visibility="private", **quick)
    line.pick(pick, followed, [followed, *parts], api_visibility="private", **quick)
    timer.tick(look, followed, parts, api_name="watch", **quick)
    return Form(fields, problem)


def _form() -> tuple[list[Any], gr.Button, gr.HTML]:
    """The fields in the order of `job_of`, the Render button, and where a refusal stands."""
    standard = TextJob.model_validate({"task": "text", "prompt": "-"})
    prompt = gr.Textbox(
        label="Prompt", lines=3, max_lines=8, max_length=MAX_CHARACTERS, elem_id="prompt", autofocus=True,
        placeholder="a red circle left of a blue star on a white background",
    )  # fmt: skip
    chips = "".join(f'<button type="button">{words}</button>' for words in EXAMPLES)
    tries = gr.HTML(
        f'<div class="tries" role="group" aria-label="Examples">{chips}</div>',
        js_on_load=TRY, elem_id="tries", apply_default_css=False,
    )  # fmt: skip
    negative = gr.Textbox(
        label="Leave out", lines=1, max_length=MAX_CHARACTERS, placeholder="what to steer away from", elem_id="negative"
    )
    with gr.Row(elem_classes="pair"):
        low, high = SIDES
        width = gr.Slider(low, high, standard.size[0], step=SIDE_STEP, label="Width", min_width=130, elem_id="width")
        height = gr.Slider(low, high, standard.size[1], step=SIDE_STEP, label="Height", min_width=130, elem_id="height")
    with gr.Row(elem_classes="pair"):
        steps = gr.Slider(1, MOST_STEPS, standard.steps, step=1, label="Steps", min_width=130, elem_id="steps")
        guidance = gr.Slider(
            0, MOST_GUIDANCE, standard.guidance, step=0.1, label="Guidance", min_width=130, elem_id="guidance"
        )
    with gr.Row(elem_classes="seed"):
        seed = gr.Number(standard.seed, label="Seed", precision=0, minimum=0, scale=1, min_width=120, elem_id="seed")
        dice = gr.Button("Roll", size="sm", scale=0, min_width=76, elem_id="dice", elem_classes="quiet")
    with gr.Accordion("More options", open=False, elem_classes="more"):
        with gr.Row(elem_classes="pair"):
            start = gr.Slider(0, 1, standard.guidance_interval[0], step=0.05, label="Guided from", min_width=130)
            end = gr.Slider(0, 1, standard.guidance_interval[1], step=0.05, label="Guided to", min_width=130)
        with gr.Row(elem_classes="pair"):
            internal = gr.Slider(
                0, MOST_GUIDANCE, 0, step=0.1, label="Internal guidance", info="0 is off", min_width=130
            )
            scheduler = gr.Dropdown(
                SCHEDULERS, value=standard.scheduler, label="Scheduler", info="how a step is taken", min_width=130
            )
        model = gr.Dropdown(MODELS, value=MODELS[0], label="Model")
    render = gr.Button("Render", variant="primary", size="lg", elem_id="render")
    problem = gr.HTML(elem_id="problem", apply_default_css=False)

    def choose(event: gr.EventData) -> str:
        return str(event.words)

    tries.pick(choose, None, prompt, queue=False, show_progress="hidden", api_visibility="private")
    dice.click(None, None, seed, js=DICE, api_visibility="private")
    fields = [prompt, negative, width, height, seed, steps, guidance, start, end, internal, scheduler, model]
    for field in (width, height, seed, steps, guidance, start, end, internal):
        # What was typed is handed on as it is, for the job's own sentence to say what is wrong with it. On the
        # instance, because gradio writes a stub file into the source folder for every subclass of a component.
        field.preprocess = _as_sent  # type: ignore[assignment, method-assign]
    return fields, render, problem


def _as_sent(value: Any) -> Any:
    return value


def _followed(queue: Queue, id: str) -> tuple[Row | None, list[Row]]:
    """The row to show, and those on their way: the named one, or what is at work, or what was over last."""
    active = queue.active()
    row = queue.get(id) if id else None
    return row or (active[0] if active else queue.latest()), active


def _whole(value: Any) -> Any:
    # A slider's 128 may come as 128.0; what is not a whole number goes on as it is, to be refused by name.
    return int(value) if isinstance(value, float) and value.is_integer() else value
