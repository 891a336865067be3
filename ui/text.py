"""The Text tab: words become a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

from ui import settings
from ui.desk import Desk, desk
from ui.fields import Form
from ui.studio import Studio
from ui.words import say

EXAMPLES = (
    "three white circles in a meadow",
    "a large orange star under a night sky",
    "a yellow ring below a red heart by the sea",
)


def text_tab(studio: Studio, opened: Sequence[Any]) -> Desk:
    """Lay the tab out and wire it."""
    return desk(studio, "text", lay, opened)


def lay(_: Studio) -> Form:
    """The tab's fields."""
    form = Form("text", "text")
    settings.prompt(form, "a red circle left of a blue star on a white background", EXAMPLES, focus=True)
    settings.without(form)
    settings.size(form)
    settings.sampling(form)
    with gr.Accordion(say("settings.more"), open=False, elem_classes="more deep"):
        settings.more(form)
    return form
