"""The guard before every route: who may ask, from where, how much, and what the answer may make a browser do.

Without a password only this machine's own names are served, so that no page of the web can reach the studio through a
name that it points here. With a password every request needs the cookie that the login form gives, and those of
programs need a token instead.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import secrets
import time
from collections.abc import Mapping
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ui.api.tokens import Tokens
from ui.login import form
from ui.uploads import MAX_UPLOAD
from ui.words import say

LOCAL = frozenset({"127.0.0.1", "localhost", "::1"})
API, MCP = "/api/v1", "/gradio_api/mcp"  # where programs ask
COOKIE = "diorama"
MAX_BODY = 2 * 2**20  # bytes of a request; the longest prompts have some tens of thousand
MAX_LOGIN = 4 * 2**10  # bytes of a login
START, SLOWEST = 30.0, 16 * 2**10  # seconds that a body may take, and the bytes that buy it one second more
SECOND_THOUGHT = 1.0  # seconds that a wrong password costs, whoever else is guessing
OPEN = ("/gradio_api/startup-events",)  # gradio asks itself for it while it starts, and it tells nothing
# The page runs gradio's inline scripts, and fetches from nowhere else: no fonts, no frames, no reports.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; "
    "worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'self'"
)


class Guard:
    """ASGI middleware.

    Args:
        app: what is guarded.
        password: None where only this machine is served.
        tokens: let programs in where there is a password; None lets none in.
    """

    def __init__(self, app: ASGIApp, password: str | None = None, tokens: Tokens | None = None) -> None:
        self.app = app
        self._password, self._tokens = password, tokens
        self._token = secrets.token_urlsafe(32)  # of this process: a restart asks everybody again
        self._turn = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or pass it on."""
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        if scope["type"] != "http":  # the studio has no web sockets
            return await send({"type": "websocket.close"})
        body = _Body(receive, scope["path"])
        sealed = body.answering(_sealed(send))
        request = Request(scope, body.receive)
        answer = self._refusal(request)
        try:
            if answer is None and self._password is not None:
                answer = await (self._bearer(request) if for_programs(scope["path"]) else self._login(request))
            await (answer or self.app)(scope, body.receive, sealed)
        except Exception:  # what somebody behind us makes of a body that was cut off
            if body.problem is None:
                raise
        await body.told(scope, _sealed(send))

    def _refusal(self, request: Request) -> Response | None:
        """Why the request is turned away whoever sends it."""
        path = request.url.path
        length, most = request.headers.get("content-length", "0"), limit(path)
        if not length.isdecimal() or len(length) > 12 or int(length) > most:
            return _answer(path, say("guard.too_much", most=most), 413)
        host = request.headers.get("host", "")
        if self._password is None and _name_in(host) not in LOCAL:
            return _answer(path, say("guard.not_here"), 421)
        # A page of elsewhere gets nothing of what is for programs, not even to read.
        strict = self._password is None or for_programs(path)
        if request.method in ("GET", "HEAD", "OPTIONS") and not for_programs(path):
            return None
        # Writes come from the page itself: browsers say where a request was made, and programs need not.
        if request.headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
            return _answer(path, say("guard.not_ours"), 403)
        origin = request.headers.get("origin")
        if strict and origin is not None and origin.partition("://")[2].lower() != host.lower():
            return _answer(path, say("guard.not_ours"), 403)
        return None

    async def _bearer(self, request: Request) -> Response | None:
        """What is wrong with the token of a program; None when it is known."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip() or self._tokens is None:
            return _no_token(request.url.path, say("guard.no_token"))
        # In a thread, for it is looked up in files.
        verdict = await asyncio.to_thread(self._tokens.judge, token.strip())
        if verdict == "known":
            return None
        async with self._turn:  # as a wrong password
            await asyncio.sleep(SECOND_THOUGHT)
        expired = verdict == "expired"
        return _no_token(request.url.path, say("guard.expired_token" if expired else "guard.unknown_token"))

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
            return HTMLResponse(form(say("login.wrong")), 401)
        known = hmac.compare_digest(request.cookies.get(COOKIE, "").encode(), self._token.encode())
        if known or request.url.path in OPEN:
            return None
        if request.url.path == "/":
            return HTMLResponse(form(), 401)
        return PlainTextResponse(say("guard.locked"), 401)


def limit(path: str) -> int:
    """How many bytes a request for `path` may have."""
    if path in ("/uploads", "/uploads/recipe", "/uploads/face", "/uploads/voice", f"{API}/uploads"):
        return MAX_UPLOAD
    return {"/login": MAX_LOGIN}.get(path, MAX_BODY)


def for_programs(path: str) -> bool:
    """Whether an address is for programs, which carry a token where browsers carry a cookie."""
    return any(path == place or path.startswith(f"{place}/") for place in (API, MCP))


def _answer(path: str, sentence: str, status: int, headers: Mapping[str, str] | None = None) -> Response:
    """A sentence as an answer: to programs as JSON."""
    if for_programs(path):
        body = json.dumps({"error": sentence, "field": ""})
        return Response(body, status, headers, media_type="application/json")
    return PlainTextResponse(sentence, status, headers)


def _no_token(path: str, sentence: str) -> Response:
    return _answer(path, sentence, 401, {"WWW-Authenticate": "Bearer"})


def _name_in(host: str) -> str | None:
    """The name in a Host header, without its port; None where it is none."""
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:  # a bracket that is not closed
        return None


class _Body:
    """The body of a request as it comes, until it is too much or too slow: then it reads as a client that left.

    A client that sends a byte now and then would else keep its connection, and its turn, for days.
    """

    def __init__(self, receive: Receive, path: str) -> None:
        self.problem: Response | None = None
        self._receive, self._path, self._most = receive, path, limit(path)
        self._taken, self._waited = 0, 0.0
        self._whole = self._answered = False

    async def receive(self) -> Message:
        """The next message of the client."""
        if self.problem is not None:
            return {"type": "http.disconnect"}
        if self._whole:  # what comes now is that the client leaves, and there is no hurry
            return await self._receive()
        begun = time.monotonic()
        try:
            async with asyncio.timeout(START + self._taken / SLOWEST - self._waited):
                message = await self._receive()
        except TimeoutError:
            self.problem = _answer(self._path, say("guard.too_slow"), 408, {"Connection": "close"})
            return {"type": "http.disconnect"}
        self._waited += time.monotonic() - begun  # and not the time that we took between two pieces
        self._taken += len(message.get("body", b""))
        self._whole = not message.get("more_body", False)
        if self._taken > self._most:
            sentence = say("guard.too_much", most=self._most)
            self.problem = _answer(self._path, sentence, 413, {"Connection": "close"})
            return {"type": "http.disconnect"}
        return message

    def answering(self, send: Send) -> Send:
        """`send`, deaf to what is answered once there is a problem: the problem is the answer."""

        async def answering(message: Message) -> None:
            if self.problem is None or self._answered:
                self._answered = True
                await send(message)

        return answering

    async def told(self, scope: Scope, send: Send) -> None:
        """Answer with the problem, where there is one and nothing was answered before."""
        if self.problem is not None and not self._answered:
            await self.problem(scope, self.receive, send)


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
