"""What stands beside the page: the routes for programs, and what has to begin and end with the server."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from starlette.routing import BaseRoute, Mount

from ui.api.outbox import Outbox
from ui.api.postman import Postman
from ui.api.routes import api
from ui.api.webhooks import Allowed
from ui.guard import API
from ui.studio import Studio


@dataclass(frozen=True)
class Beside:
    """What the server is told of.

    Attributes:
        routes: of programs.
        lifespan: is entered as the server begins and left as it ends.
    """

    routes: Sequence[BaseRoute]
    lifespan: Callable[[Any], AbstractAsyncContextManager[None]]


def beside(studio: Studio, webhooks: Sequence[str] = (), mcp: bool = False) -> Beside:
    """The routes for programs of a studio.

    Args:
        studio: whose queue they write and read.
        webhooks: addresses that the owner allows.
        mcp: whether models may use the studio as a tool.

    Raises:
        Refusal: an address that is none, or MCP without its package.
    """
    allowed, outbox = Allowed(webhooks), Outbox(studio.folder)
    mount = Mount(API, app=api(studio, allowed, outbox))
    # A line break in a path would lead past the mount, to an answer that is no JSON.
    mount.path_regex = re.compile(mount.path_regex.pattern, re.DOTALL)
    routes: list[BaseRoute] = [mount]
    toolbox: Any = None
    if mcp:
        from ui.api.toolbox import Toolbox

        toolbox = Toolbox(studio)
        routes.append(toolbox.route)

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            if webhooks:
                postman = Postman(studio.queue, studio.folder, outbox, allowed)
                postman.start()
                stack.callback(postman.stop)
            if toolbox is not None:
                await stack.enter_async_context(toolbox.lifespan(app))
            yield

    return Beside(routes, lifespan)
