"""The Scenes tab: a table of scenes becomes one video, after an earlier one if wanted."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import gradio as gr

from ui import settings
from ui.choice import choices, continued, nothing, video, video_at
from ui.desk import Desk, desk
from ui.fields import Form, Values, whole
from ui.result import prompt
from ui.studio import Studio
from ui.table import BLANK, LIVE, TABLE, edited, number_of, row_of, rows_of, table
from ui.words import of, say

STORIES = {  # what they are called is in the catalogue
    "star": (
        "a small red star moves right under a night sky",
        "a small red star bounces in a meadow",
        "a small red star stays still by the sea",
    ),
    "heart": (
        "a small blue heart spins in a meadow",
        "a blue heart grows on a yellow background",
    ),
}
REUSE = ("scene", "story", "never")


def scenes_tab(studio: Studio, opened: Sequence[Any]) -> Desk:
    """Lay the tab out and wire it."""
    return desk(studio, "scenes", lay, opened)


def lay(studio: Studio) -> Form:
    """The tab's fields."""

    def path_of(id: Any) -> str | None:
        return continued(studio, str(id)) if id else None

    def chosen(path: str | None) -> Any:
        found = video_at(studio, path)
        return gr.Dropdown(choices=choices(studio), value=found.id if found else "")

    def follow(id: str) -> str:
        found = video(studio, str(id or ""))
        if found is None:
            return ""
        return f'<p class="say continues">{escape(say("scenes.after", words=prompt(found)))}</p>'

    def fit(id: str) -> list[Any]:
        """Size and rate of the video that goes on, for they have to be the same."""
        found = video(studio, str(id or ""))
        size, fps = (found.job.get("size"), found.job.get("fps")) if found else (None, None)
        return [*(size or [gr.skip()] * 2), fps or gr.skip()]

    def act(event: gr.EventData) -> str:
        return table(edited(rows_of(event.rows), str(event.act), int(event.row)))

    def tell(event: gr.EventData) -> str:
        return table([{**BLANK, "prompt": words} for words in STORIES.get(str(event.words), ("",))])

    form = Form("scenes", "scenes", join, split)
    rows = gr.HTML(table([BLANK]), js_on_load=TABLE, elem_id="scenes-table", apply_default_css=False)
    form.add("scenes", rows, sent=rows_of, shown=lambda rows: table(rows or [BLANK]), live=LIVE)
    form.slot("scenes")
    chips = "".join(f'<button type="button" data-words="{name}">{of("story", name)}</button>' for name in STORIES)
    tries = gr.HTML(
        f'<div class="tries" role="group" aria-label="{say("settings.examples")}">{chips}</div>',
        js_on_load=settings.TRY, elem_id="scenes-tries", apply_default_css=False,
    )  # fmt: skip
    cuts = gr.Checkbox(
        True, label=say("field.cuts"), info=say("scenes.cuts_info"),
        elem_id="scenes-cuts",
    )  # fmt: skip
    form.add("cuts", cuts, sent=bool, deep=True)
    go_on = gr.Dropdown([nothing()], value="", label=say("scenes.continue"), elem_id="scenes-continue")
    form.add("continue_from", go_on, sent=path_of, shown=chosen, deep=True)
    form.slot("continue_from", "cuts")
    after = gr.HTML(apply_default_css=False, elem_classes="slot")
    settings.without(form)
    settings.size(form)
    settings.rate(form)
    form.slot("fps")
    settings.sampling(form)
    settings.exact(form)
    with gr.Accordion(say("settings.more"), open=False, elem_classes="more deep"):
        with gr.Row(elem_classes="pair"):
            window = gr.Slider(
                1, 8, 3, step=1, label=say("field.window"), info=say("scenes.window_info"), min_width=130
            )
            kinds = [(of("reuse", each), each) for each in REUSE]
            reuse = gr.Dropdown(kinds, value="scene", label=say("scenes.reuse"), min_width=130)
        form.add("window", window, sent=whole, deep=True)
        form.add("reuse", reuse, deep=True)
        settings.more(form)

    parts = {field.name: field.part for field in form.fields}
    rows.act(act, None, rows, **settings.quick)
    tries.pick(tell, None, rows, **settings.quick)
    go_on.change(follow, go_on, after, **settings.quick)
    go_on.input(fit, go_on, [parts["size[0]"], parts["size[1]"], parts["fps"]], **settings.quick)
    form.opened(go_on, lambda: gr.Dropdown(choices=choices(studio)))
    return form


def join(page: Values) -> Values:
    """The rows of the table as scenes: seconds as frames, and no transitions where there can be none.

    Raises:
        Refusal: something in a row that is not a number.
    """
    parts = []
    for index, row in enumerate(page["scenes"]):
        field = f"scenes[{index}]"
        part: Values = {
            "prompt": row["prompt"],
            "frames": settings.frames_of(
                number_of(row["seconds"], float, f"{field}.frames"), page["fps"], f"{field}.frames"
            ),
        }
        if row["negative_prompt"].strip():
            part["negative_prompt"] = row["negative_prompt"]
        if row["seed"].strip():
            part["seed"] = number_of(row["seed"], int, f"{field}.seed")
        if row["transition"] != "cut" and page["cuts"] and (index or page["continue_from"]):
            part["transition"] = row["transition"]
            part["transition_frames"] = number_of(row["transition_frames"], int, f"{field}.transition_frames")
        parts.append(part)
    return {**page, "scenes": parts}


def split(job: Values) -> Values:
    """A job's scenes as rows of the table."""
    return {**job, "scenes": [row_of(part, job["fps"]) for part in job.get("scenes") or ()]}
