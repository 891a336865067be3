"""Which language a request is answered in; `words.py` says which one it asks for."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ui.guard import for_programs
from ui.words import STANDARD, preferred, speaking

# Gradio's page is marked as English. Codes have two letters, so the page's length stays as it is.
MARK = b'lang="%s"'


class Spoken:
    """ASGI middleware: everything behind it speaks the language that the request asks for."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        # Programs are told everything in English, as the engine says it.
        language = STANDARD if for_programs(scope["path"]) else preferred(Headers(scope=scope))
        with speaking(language):
            marked = scope["path"] == "/" and language != STANDARD
            await self.app(scope, receive, _marked(send, language) if marked else send)


def _marked(send: Send, language: str) -> Send:
    """`send` for a page, whose first mark of a language is the true one."""
    done = False

    async def marked(message: Message) -> None:
        nonlocal done
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message["headers"], (b"content-language", language.encode())]}
        elif not done and MARK % STANDARD.encode() in message.get("body", b""):
            done = True
            body = message["body"].replace(MARK % STANDARD.encode(), MARK % language.encode(), 1)
            message = {**message, "body": body}
        await send(message)

    return marked
