"""Which addresses are answered at all: the studio's own, and of gradio's those that its page can not do without.

Gradio has some ninety routes: uploads, files by path, a proxy, streams, component servers, monitoring, an editor. A new
version may bring more. So this is a list of what is open, and everything else is answered as if it did not exist.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from starlette.responses import PlainTextResponse
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Receive, Scope, Send

from ui.words import say

READS, WRITES = ("GET", "HEAD"), ("POST",)
# Gradio's routes by their path as a whole, and how they are asked.
GRADIO: Mapping[str, tuple[str, ...]] = {
    r"/": READS,  # the page
    r"/config/?": READS,  # the page again, for its script
    r"(/gradio_api)?/theme\.css": READS,
    r"/(static|assets|svelte)/.+": READS,  # files of gradio's own package
    r"/favicon\.ico": READS,
    r"/robots\.txt": READS,
    r"/manifest\.json": READS,
    r"/gradio_api/info/?": READS,  # which listeners programs may call
    r"/gradio_api/startup-events": READS,
    r"/gradio_api/heartbeat/[\w-]{1,64}": READS,  # tells when a page is closed
    r"/gradio_api/queue/data": READS,  # answers of what was joined
    r"/gradio_api/queue/join": WRITES,
    r"/gradio_api/run/\w{1,64}/?": WRITES,
    r"/gradio_api/(cancel|reset)/?": WRITES,
}


class Doors:
    """ASGI middleware.

    Args:
        app: what is behind the doors.
        own: routes of the studio's own, which are all open.
    """

    def __init__(self, app: ASGIApp, own: Sequence[BaseRoute]) -> None:
        self.app, self._own = app, list(own)
        self._gradio = [(re.compile(path, re.ASCII), methods) for path, methods in GRADIO.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass an open address on; answer any other with 404."""
        if scope["type"] != "http" or self.open(scope):
            return await self.app(scope, receive, send)
        await PlainTextResponse(say("guard.closed"), 404)(scope, receive, send)

    def open(self, scope: Scope) -> bool:
        """Whether a request may go on."""
        if any(route.matches(scope)[0] is not Match.NONE for route in self._own):
            return True
        path, method = scope["path"], scope["method"]
        return any(method in methods and pattern.fullmatch(path) for pattern, methods in self._gradio)
