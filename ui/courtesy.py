"""The server stands back: where both want a core, what renders goes first.

Linux keeps a nice value for each thread, and a thread begins with that of the one that starts it. So the thread that
serves and those that it starts give way, and the renderer, whose process the keeper's thread starts, does not.
"""

from __future__ import annotations

import os
import sys
import threading
from contextlib import suppress

from starlette.types import ASGIApp, Receive, Scope, Send

BACK = 5  # what is added to the nice value: a third of the weight that the renderer has


class Courtesy:
    """ASGI middleware that lets the thread of the server give way, once, as it begins to serve."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything on."""
        if scope["type"] == "lifespan":
            stand_back()
        await self.app(scope, receive, send)


def stand_back() -> None:
    """Let this thread, and those that it starts from now on, give way.

    Elsewhere than on Linux a nice value is the whole process's, and the renderer would inherit it: nothing is done.
    """
    if sys.platform == "linux":
        with suppress(OSError):
            thread = threading.get_native_id()
            os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + BACK)
