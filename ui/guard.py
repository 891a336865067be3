"""The guard before every route: who may ask, from where, how much, and what the answer may make a browser do.

Without a password only this machine's own names are served, so that no page of the web can reach the studio through a
name that it points here. With a password every request needs the cookie that the login form gives.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ui.login import form
from ui.uploads import MAX_UPLOAD

LOCAL = frozenset({"127.0.0.1", "localhost", "::1"})
COOKIE = "diorama"
MAX_BODY = 2 * 2**20  # bytes of a request; the longest prompts have some tens of thousand
SECOND_THOUGHT = 1.0  # seconds that a wrong password costs, whoever else is guessing
OPEN = ("/gradio_api/startup-events",)  # gradio asks itself for it while it starts, and it tells nothing
# The page runs gradio's inline scripts, and fetches from nowhere else: no fonts, no frames, no reports.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; "
    "worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'self'"
)


class Guard:
    """ASGI middleware. `password` is None where only this machine is served."""

    def __init__(self, app: ASGIApp, password: str | None = None) -> None:
        self.app = app
        self._password = password
        self._token = secrets.token_urlsafe(32)  # of this process: a restart asks everybody again
        self._turn = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or pass it on."""
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        if scope["type"] != "http":  # the studio has no web sockets
            return await send({"type": "websocket.close"})
        request = Request(scope, receive)
        answer = self._refusal(request)
        if answer is None and self._password is not None:
            answer = await self._login(request)
        if answer is not None:
            return await answer(scope, receive, _sealed(send))
        await self.app(scope, _measured(receive, limit(request.url.path)), _sealed(send))

    def _refusal(self, request: Request) -> Response | None:
        """Why the request is turned away whoever sends it."""
        length, most = request.headers.get("content-length", "0"), limit(request.url.path)
        if not length.isdecimal() or int(length) > most:
            return PlainTextResponse(f"expected at most {most:,} bytes", 413)
        host = request.headers.get("host", "")
        if self._password is None and urlsplit(f"//{host}").hostname not in LOCAL:
            return PlainTextResponse("expected a name of this machine, such as 127.0.0.1, in the address", 421)
        if request.method in ("GET", "HEAD", "OPTIONS"):
            return None
        # Writes come from the page itself: browsers say where a request was made, and programs need not.
        if request.headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
            return PlainTextResponse("expected a request of the studio's own page", 403)
        origin = request.headers.get("origin")
        if self._password is None and origin is not None and urlsplit(origin).netloc != host:
            return PlainTextResponse("expected a request of the studio's own page", 403)
        return None

    async def _login(self, request: Request) -> Response | None:
        """The login form, or what came of it; None when the request carries the cookie."""
        if request.method == "POST" and request.url.path == "/login":
            fields = parse_qs((await request.body()).decode("utf-8", "replace"), keep_blank_values=True)
            async with self._turn:  # one guess at a time
                if hmac.compare_digest(fields.get("password", [""])[0].encode(), (self._password or "").encode()):
                    answer = RedirectResponse("./", 303)
                    secure = request.url.scheme == "https"
                    answer.set_cookie(COOKIE, self._token, httponly=True, samesite="strict", secure=secure)
                    return answer
                await asyncio.sleep(SECOND_THOUGHT)
            return HTMLResponse(form("That is not the password."), 401)
        known = hmac.compare_digest(request.cookies.get(COOKIE, "").encode(), self._token.encode())
        if known or request.url.path in OPEN:
            return None
        if request.url.path == "/":
            return HTMLResponse(form(), 401)
        return PlainTextResponse("expected the password first", 401)


def limit(path: str) -> int:
    """How many bytes a request for `path` may have."""
    return MAX_UPLOAD if path == "/uploads" else MAX_BODY


def _measured(receive: Receive, most: int) -> Receive:
    """`receive` for a body whose length nobody announced: past the limit it reads as a client that left."""
    taken = 0

    async def measured() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        return message if taken <= most else {"type": "http.disconnect"}

    return measured


def _sealed(send: Send) -> Send:
    """`send` with the headers that every answer carries, where the route did not set stricter ones."""

    async def sealed(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers.setdefault("Content-Security-Policy", POLICY)
            headers.setdefault("X-Content-Type-Options", "nosniff")
            headers.setdefault("Referrer-Policy", "same-origin")
            headers.setdefault("X-Frame-Options", "SAMEORIGIN")
        await send(message)

    return sealed
