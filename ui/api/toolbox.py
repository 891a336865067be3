"""The studio as tools of a language model: gradio's own MCP server, over a page of three listeners that nobody sees.

Gradio makes a tool of every named listener of a page. The studio's page has many, made for browsers, so the server is
given a page of its own, and of its transports only the one that needs no session is open: POST /gradio_api/mcp.
"""

from __future__ import annotations

import json
import time
from asyncio import sleep, to_thread
from typing import Any

import gradio as gr
from gradio.events import api as gr_api
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from pipelines.job import parse
from pipelines.refusal import Refusal
from ui.api.names import Names
from ui.api.outputs import listed
from ui.api.routes import models_of, told_row
from ui.guard import MCP
from ui.studio import Studio

ABSENT = "the package mcp is not installed; pip install 'diorama[mcp]', or leave the option out"
LONGEST_WAIT = 120.0  # seconds that a call may wait for a render
LOOK = 0.25  # seconds between two looks
OVER = ("done", "failed", "cancelled", "paused")


class Toolbox:
    """The MCP server.

    Attributes:
        route: where it is asked.
        lifespan: is entered as the web server begins.
    """

    def __init__(self, studio: Studio) -> None:
        """Make it over a studio.

        Raises:
            Refusal: the package mcp is not here.
        """
        try:
            import mcp  # noqa: F401
        except ImportError:
            raise Refusal("--mcp", ABSENT) from None
        from gradio.mcp import GradioMCPServer

        server = GradioMCPServer(_tools(studio))
        self.lifespan: Any = server.lifespan
        self.route: BaseRoute = Route(MCP, _Endpoint(server.handle_streamable_http), methods=["POST"])


class _Endpoint:
    """An ASGI application as a route takes it: a function would be called with a request."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)


def _tools(studio: Studio) -> Any:
    """A page whose listeners are the tools."""

    async def render_text(
        prompt: str, width: int = 128, height: int = 128, steps: int = 24, seed: int = 0, wait: int = 60
    ) -> str:
        """Draw a picture from words, and tell what became of it.

        The picture is rendered by the studio's queue. The answer is a JSON object with the job's id, its state and its
        files; when the state is neither done nor failed by then, ask get_job later.

        Args:
            prompt: What to draw, in English, such as "a red circle left of a blue star on a white background".
            width: Pixels, a multiple of 16.
            height: Pixels, a multiple of 16.
            steps: Sampling steps, from 1 to 200; 24 is usual.
            seed: The same seed draws the same picture.
            wait: Seconds to wait for the picture, from 0 to 120.
        """
        values = {"task": "text", "prompt": prompt, "size": [width, height], "steps": steps, "seed": seed}

        def queued() -> str:
            ((job, _),) = Names(studio).inward([parse(values)], "")
            return studio.queue.add(job)

        def waits() -> bool:
            row = studio.queue.get(id)
            return row is not None and row.state not in OVER

        try:
            id = await to_thread(queued)
        except Refusal as refusal:
            return _refused(refusal)
        end = time.monotonic() + min(max(wait, 0), LONGEST_WAIT)
        while time.monotonic() < end and await to_thread(waits):
            await sleep(LOOK)
        return await to_thread(get_job, id)

    def get_job(id: str) -> str:
        """Tell how far a job is: a JSON object with its state, steps, message and files.

        Args:
            id: The job's id, as render_text told it.
        """
        row = studio.queue.get(id)
        if row is None:
            return _refused(Refusal("id", "there is no job of this id; render_text tells the id of a new one"))
        told = told_row(row, Names(studio), None).model_dump(mode="json", exclude={"webhook", "files"})
        return json.dumps({**told, "files": [file.model_dump() for file in listed(row, studio.folder)]})

    def list_models() -> str:
        """Tell which models are here and what each can render: a JSON object."""
        return models_of(studio).model_dump_json()

    with gr.Blocks(title="Diorama", analytics_enabled=False) as page:
        for tool in (render_text, get_job, list_models):
            gr_api(tool, api_name=tool.__name__, queue=False)
    return page


def _refused(refusal: Refusal) -> str:
    return json.dumps({"error": refusal.reason, "field": refusal.field})
