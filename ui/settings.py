"""The fields that tabs have in common: words, size, length, and how the model is sampled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import gradio as gr

from pipelines.job import DEFAULT_FPS, MAX_CHARACTERS, MAX_FPS, SIDE_STEP
from pipelines.refusal import Refusal
from pipelines.shelf.shelf import Shelf
from ui import adapters
from ui.fields import Form, defaults, label_of, whole
from ui.words import counted, say

SIDES = (64, 192)  # pixels; what the embedded checkpoint draws
MOST_STEPS, MOST_GUIDANCE = 100, 15  # of the sliders; beyond them a picture only takes longer, or breaks
MOST_SECONDS = 12.0
RATE = DEFAULT_FPS  # frames a second, where nobody says
MODEL = "papercut"  # at first
SCHEDULERS = ("euler", "heun", "unipc", "dpm++")

# One listener on the part itself, for what stands in it comes and goes.
TRY = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('button');
  if (button) trigger('pick', {words: button.dataset.words ?? button.textContent});
});
"""
# 32 bits: more than anybody needs, and a number that a page shows without rounding.
DICE = "() => Math.floor(Math.random() * 2 ** 32)"

quick: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}


def prompt(form: Form, example: str, tries: Sequence[str] = (), label: str = "", focus: bool = False) -> Any:
    """What to draw, with examples to press, and what to leave out."""
    part = gr.Textbox(
        label=label or say("field.prompt"), lines=3, max_lines=8, max_length=MAX_CHARACTERS,
        elem_id=f"{form.kind}-prompt", elem_classes="words", autofocus=focus, placeholder=example,
    )  # fmt: skip
    form.add("prompt", part, sent=lambda value: value or "")
    form.slot("prompt")
    if tries:
        chips = "".join(f'<button type="button" lang="en">{words}</button>' for words in tries)
        group = f'<div class="tries" role="group" aria-label="{say("settings.examples")}">{chips}</div>'
        examples = gr.HTML(group, js_on_load=TRY, apply_default_css=False)
        examples.pick(_choose, None, part, **quick)
    return part


def without(form: Form) -> None:
    """What to steer away from."""
    part = gr.Textbox(
        label=say("field.negative_prompt"), lines=1, max_length=MAX_CHARACTERS, placeholder=say("settings.steer_away"),
        elem_id=f"{form.kind}-negative", elem_classes="line-of-words",
    )  # fmt: skip
    form.add("negative_prompt", part, sent=lambda value: value or "", deep=True)
    form.slot("negative_prompt")


def size(form: Form) -> None:
    """Width and height."""
    width, height = defaults(form.task)["size"]
    with gr.Row(elem_classes="pair"):
        for name, side, start in (("size[0]", "width", width), ("size[1]", "height", height)):
            part = gr.Slider(
                *SIDES, start, step=SIDE_STEP, label=label_of(name), min_width=130, elem_id=f"{form.kind}-{side}"
            )
            form.add(name, part, sent=whole)
    form.slot("size")


def rate(form: Form, label: str = "", **more: Any) -> None:
    """How many frames a second has."""
    part = gr.Slider(
        1, 30, RATE, step=1, label=label or say("settings.rate"), min_width=130, elem_id=f"{form.kind}-fps", **more
    )  # fmt: skip
    form.add("fps", part, sent=whole, deep=True)


def sampling(form: Form) -> None:
    """Steps, guidance and seed."""
    standard = defaults(form.task)
    with gr.Row(elem_classes="pair"):
        steps = gr.Slider(
            1,
            MOST_STEPS,
            standard["steps"],
            step=1,
            label=say("field.steps"),
            min_width=130,
            elem_id=f"{form.kind}-steps",
        )
        guidance = gr.Slider(
            0, MOST_GUIDANCE, standard["guidance"], step=0.1, label=say("field.guidance"), min_width=130,
            elem_id=f"{form.kind}-guidance",
        )  # fmt: skip
    form.add("steps", steps, sent=whole, deep=True)
    form.add("guidance", guidance, deep=True)
    form.slot("steps", "guidance")
    with gr.Row(elem_classes="seed"):
        seed = gr.Number(
            standard["seed"],
            label=say("field.seed"),
            precision=0,
            minimum=0,
            scale=1,
            min_width=120,
            elem_id=f"{form.kind}-seed",
        )
        dice = gr.Button(say("settings.roll"), size="sm", scale=0, min_width=76, elem_classes="quiet dice")
    form.add("seed", seed, sent=whole)
    form.slot("seed")
    dice.click(None, None, seed, js=DICE, api_visibility="private")


def more(form: Form) -> None:
    """What most people leave as it is; to be laid out inside an accordion.

    It has no slots of its own, for nobody would see them while it is shut: what is wrong is said below.
    """
    standard = defaults(form.task)
    low, high = standard["guidance_interval"]
    with gr.Row(elem_classes="pair"):
        for name, start in (("guidance_interval[0]", low), ("guidance_interval[1]", high)):
            form.add(name, gr.Slider(0, 1, start, step=0.05, label=label_of(name), min_width=130), deep=True)
    with gr.Row(elem_classes="pair"):
        internal = gr.Slider(
            0, MOST_GUIDANCE, 0, step=0.1, label=say("field.internal_guidance"), info=say("settings.off"), min_width=130
        )
        scheduler = gr.Dropdown(
            SCHEDULERS,
            value=standard["scheduler"],
            label=say("field.scheduler"),
            info=say("settings.step_taken"),
            min_width=130,
        )
    form.add("internal_guidance", internal, sent=lambda value: value or None, shown=lambda value: value or 0, deep=True)
    form.add("scheduler", scheduler, deep=True)
    model = gr.Dropdown((MODEL,), value=MODEL, label=say("field.model"), elem_id=f"{form.kind}-model")
    form.add("model", model, deep=True)
    adapters.field(form)


def shelve(form: Form, shelf: Shelf) -> None:
    """Let the model field offer what is on the shelf and can do the form's task; sizes follow what it draws.

    The page knows a model by its id alone, so that no path comes from it and none goes to it.
    """
    place = next(at for at, field in enumerate(form.fields) if field.name == "model")
    form.fields[place] = replace(form.fields[place], sent=shelf.model_of, shown=shelf.id_of)
    part = form.fields[place].part

    def offered() -> list[tuple[str, str]]:
        return [(id, id) for id in shelf.choices(form.task)]

    part.choices = offered()
    form.opened(part, lambda: gr.Dropdown(choices=offered()))
    sides = [field.part for field in form.fields if field.name in ("size[0]", "size[1]")]
    if not sides:
        return

    def fit(id: Any) -> Any:
        one = shelf.get(str(id))
        if one is None or one.description is None:
            return [gr.skip()] * len(sides)
        low, high = one.description.sides
        return [gr.Slider(minimum=low, maximum=high) for _ in sides]

    part.change(fit, part, sides, **quick)


def exact(form: Form) -> None:
    """Whether a video's frames are also written as they are."""
    part = gr.Checkbox(
        False, label=say("settings.exact"), info=say("settings.exact_info"), elem_id=f"{form.kind}-frames"
    )
    form.add("png_frames", part, sent=bool, deep=True)


def frames_of(seconds: Any, fps: Any, field: str = "frames") -> int:
    """How many frames `seconds` have.

    Raises:
        Refusal: not a length, or one without a frame.
    """
    if isinstance(fps, bool) or not isinstance(fps, int | float) or not 1 <= fps <= MAX_FPS:
        raise Refusal("fps", say("settings.no_rate", most=MAX_FPS, got=say("settings.nothing") if fps is None else fps))
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds > 0 or seconds > 1e6:
        raise Refusal(field, say("settings.no_seconds", got=say("settings.nothing") if seconds is None else seconds))
    frames = round(seconds * fps)
    if frames < 1:
        raise Refusal(field, say("settings.no_frame", seconds=seconds, fps=fps))
    return frames


def length(frames: int, fps: float) -> str:
    """`16 frames, 2 s`."""
    return counted("settings.length", frames, seconds=round(frames / fps, 2))


def _choose(event: gr.EventData) -> str:
    return str(event.words)
