"""The studio's page: banner, tabs, and what gradio is told when it serves them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from pipelines.queue import Queue
from ui.css import CSS
from ui.files import route
from ui.gallery import gallery_tab
from ui.guard import Guard
from ui.scenery import BANNER, HEAD, LAMP
from ui.text import Check, text_tab
from ui.theme import Paper

TITLE = "Diorama"


def build(queue: Queue, folder: Path, check: Check, health: Callable[[], str] = str) -> gr.Blocks:
    """The page over `queue` and the output folder; see `ui.text.text_tab` for `check` and `health`."""
    page: gr.Blocks
    with gr.Blocks(title=TITLE, analytics_enabled=False, fill_width=True) as page:
        gr.HTML(BANNER, js_on_load=LAMP, apply_default_css=False)
        with gr.Tabs(elem_classes="tabs") as tabs:
            with gr.Tab("Text", id="text"):
                form = text_tab(queue, folder, check, health)
            with gr.Tab("Gallery", id="gallery") as gallery:
                gallery_tab(queue, folder, form, lambda: gr.Tabs(selected="text"), tabs, gallery)
    return page


def options(queue: Queue, folder: Path, guard: dict[str, Any]) -> dict[str, Any]:
    """Arguments for `Blocks.launch`; `guard` are those of `ui.guard.Guard`."""
    from starlette.middleware import Middleware

    return {
        "theme": Paper(),
        "css": CSS,
        "head": HEAD,
        "app_kwargs": {
            "routes": [route(queue, folder)],
            "middleware": [Middleware(Guard, **guard)],
            "openapi_url": None,
        },
        "footer_links": [],
        "quiet": True,
        "show_error": False,
        "strict_cors": True,
        "enable_monitoring": False,
        "run_history": False,
        "mcp_server": False,
        "ssr_mode": False,
        "pwa": False,
        # No field takes a file yet and outputs have a route of their own, so gradio's file routes get nothing to do.
        "max_file_size": 2**20,
        "allowed_paths": [],
        "blocked_paths": [str(folder.resolve())],
    }
