"""The Video tab: words become a video of some seconds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

from pipelines.refusal import Refusal
from ui import settings
from ui.desk import Desk, desk
from ui.fields import Form, Values
from ui.studio import Studio
from ui.words import say

EXAMPLES = (
    "a small red star moves right under a night sky",
    "a blue square spins in a meadow",
    "a yellow heart grows by the sea",
)
SECONDS = 1.0


def video_tab(studio: Studio, opened: Sequence[Any]) -> Desk:
    """Lay the tab out and wire it."""
    return desk(studio, "video", lay, opened)


def lay(_: Studio) -> Form:
    """The tab's fields."""
    form = Form("video", "text", join, split)
    settings.prompt(form, "a small red circle moves right on a white background", EXAMPLES)
    settings.without(form)
    settings.size(form)
    with gr.Row(elem_classes="pair"):
        seconds = gr.Slider(
            0.25,
            settings.MOST_SECONDS,
            SECONDS,
            step=0.125,
            label=say("settings.seconds"),
            min_width=130,
            elem_id="video-seconds",
        )
        form.add("seconds", seconds)
        settings.rate(form)
    form.slot("frames", "fps")
    settings.sampling(form)
    settings.exact(form)
    with gr.Accordion(say("settings.more"), open=False, elem_classes="more deep"):
        settings.more(form)
    return form


def join(page: Values) -> Values:
    """Seconds as frames.

    Raises:
        Refusal: fewer than two frames, which are no video.
    """
    frames = settings.frames_of(page.pop("seconds"), page["fps"])
    if frames < 2:
        raise Refusal("frames", say("settings.too_short"))
    return {**page, "frames": frames}


def split(job: Values) -> Values:
    """Frames as seconds."""
    return {**job, "seconds": round(job["frames"] / job["fps"], 3)}
