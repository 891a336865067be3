"""The Layout tab: a picture with a box for each thing, and a prompt for each box."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

from ui import settings
from ui.boxes import BoxField, part_of
from ui.desk import Desk, desk
from ui.fields import Form, Unfinished, Values, defaults
from ui.studio import Studio
from ui.words import of, say

MECHANISMS = ("both", "plan", "siamese")


def layout_tab(studio: Studio, opened: Sequence[Any]) -> Desk:
    """Lay the tab out and wire it."""
    return desk(studio, "layout", lay, opened, wide=True)


def lay(_: Studio) -> Form:
    """The tab's fields."""
    form, standard = Form("layout", "layout", join, split), defaults("layout")
    settings.prompt(form, "a red circle and a blue square on a white background", label=say("boxes.whole"))
    width, height = standard["size"]
    boxes = BoxField(form, "boxes", (width, height), "box")
    settings.without(form)
    settings.size(form)
    settings.sampling(form)
    with gr.Accordion(say("settings.more"), open=False, elem_classes="more deep"):
        with gr.Row(elem_classes="pair"):
            mechanism = gr.Dropdown(
                [(of("mechanism", each), each) for each in MECHANISMS], value=standard["mechanism"],
                label=say("field.mechanism"), min_width=130, elem_id="layout-mechanism",
            )  # fmt: skip
            until = gr.Slider(
                0, 1, standard["siamese_until"], step=0.05, label=say("field.siamese_until"), min_width=130,
                info=say("layout.until_info"), elem_id="layout-until",
            )  # fmt: skip
        form.add("mechanism", mechanism, deep=True)
        form.add("siamese_until", until, deep=True)
        settings.more(form)
    form.keep("prompt", "negative_prompt", "size[0]", "size[1]")
    boxes.wire()
    return form


def join(page: Values) -> Values:
    """The editor's boxes as those of a job.

    Raises:
        Unfinished: there are none.
    """
    if not page["boxes"]:
        raise Unfinished("boxes", say("layout.draw_first"))
    parts = []
    for each in page["boxes"]:
        own = {"negative_prompt": each["negative"]} if each["negative"].strip() else {}
        parts.append({"box": each["box"], "prompt": each["prompt"], **own})
    return {**page, "boxes": parts}


def split(job: Values) -> Values:
    """A job's boxes as the editor takes them, with the shape of the canvas."""
    parts = [part_of(each["box"], each["prompt"], each.get("negative_prompt")) for each in job.get("boxes") or ()]
    return {**job, "boxes": (parts, tuple(job["size"]))}
