"""Calls of the page's listeners, judged before gradio reads them: is this something that the page could have sent?

Gradio takes whatever JSON comes and fails somewhere inside, with status 500. A call that no page makes is refused here
with one sentence; what a listener thinks of values that fit their fields is its own affair.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import gradio as gr
from gradio.utils import get_type_hints
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ui.words import say

CALL = re.compile(r"/gradio_api/(?:run/(\w+)/?|queue/join)", re.ASCII)
SESSION = re.compile(r"[\w-]{1,64}", re.ASCII)
MAX_DEPTH = 32  # of what is nested in a call; a table of scenes has three
ONE = (gr.Textbox, gr.Number, gr.Slider, gr.Checkbox, gr.Radio, gr.Dropdown)  # what holds one word or number
WORDS = (gr.Textbox, gr.HTML)


class Calls:
    """ASGI middleware in front of gradio's own routes for listeners."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a call on that could be the page's, with its body; answer any other."""
        found = CALL.fullmatch(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        if found is None:
            return await self.app(scope, receive, send)
        try:
            body = await Request(scope, receive).body()
        except ClientDisconnect:
            return None
        blocks = scope["app"].get_blocks()
        try:
            body, eventful = _judged(blocks, found[1], body)
        except _Wrong as wrong:
            return await _refused(*wrong.args)(scope, receive, send)
        pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def again() -> Message:
            return pending.pop() if pending else await receive()

        await self.app(scope, again, _mended(send) if eventful else send)


class _Wrong(ValueError):
    """A call that the page does not make: a sentence and a status."""


def _judged(blocks: Any, api_name: str | None, body: bytes) -> tuple[bytes, bool]:
    """The call as gradio gets it, and whether the listener reads an event.

    Raises:
        _Wrong: the call is none of the page's.
    """
    try:
        call = json.loads(body)
    except (ValueError, RecursionError):
        raise _Wrong(say("calls.no_call"), 400) from None
    if not isinstance(call, dict) or not isinstance(call.get("data"), list):
        raise _Wrong(say("calls.no_call"), 400)
    _check_plain(call)
    session, index, event = call.get("session_hash"), call.get("fn_index"), call.get("event_data")
    if session is not None and not (isinstance(session, str) and SESSION.fullmatch(session)):
        raise _Wrong(say("calls.no_call"), 400)
    listeners = blocks.fns
    if index is None:
        listener = next((each for each in listeners.values() if each.api_name == api_name), None)
    else:
        listener = listeners.get(index) if type(index) is int else None
    if listener is None or listener.fn is None:
        raise _Wrong(say("calls.no_listener"), 404)
    if len(call["data"]) < len(listener.inputs):
        raise _Wrong(say("calls.too_few", wanted=len(listener.inputs), got=len(call["data"])), 400)
    session_state = blocks.state_holder.session_data.get(session) if session else None
    for part, value in zip(listener.inputs, call["data"], strict=False):
        _check_value(part if session_state is None else session_state.blocks_config.blocks.get(part._id, part), value)
    hints = get_type_hints(listener.fn).values()
    eventful = any(isinstance(hint, type) and issubclass(hint, gr.EventData) for hint in hints)
    if eventful and not isinstance(event, dict):
        raise _Wrong(say("calls.no_event"), 400)
    for at, part in enumerate(listener.inputs):
        if isinstance(part, WORDS) and call["data"][at] is None:
            call["data"][at] = ""  # nothing in a field for words is no words, to every listener
    return json.dumps(call).encode(), eventful


def _check_plain(call: Mapping[str, Any]) -> None:
    """Raise _Wrong for a call that is nested too deep, has half of a surrogate pair in a text, or names a file."""
    open_ones: list[tuple[Any, int]] = [(call, 0)]
    while open_ones:
        value, depth = open_ones.pop()
        if depth > MAX_DEPTH or (isinstance(value, str) and not _encodes(value)):
            raise _Wrong(say("calls.no_call"), 400)
        if isinstance(value, dict):
            if "path" in value and "meta" in value:  # how gradio tells a file from other values
                raise _Wrong(say("calls.no_files"), 400)
            open_ones += [(key, depth) for key in value] + [(inner, depth + 1) for inner in value.values()]
        elif isinstance(value, list):
            open_ones += [(inner, depth + 1) for inner in value]


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _check_value(part: Any, value: Any) -> None:
    """Raise _Wrong where a component can not read a value that gradio would hand to it."""
    if part.stateful:  # its value is kept here, and what the page sends for it is not read
        return
    try:
        if isinstance(part, ONE) and not getattr(part, "multiselect", None) and isinstance(value, dict | list):
            raise TypeError
        if value is not None and getattr(part, "data_model", None):
            value = part.data_model.model_validate(value)
        part.preprocess(value)
    except Exception:  # components raise what their conversions raise
        label = getattr(part, "label", None) or type(part).__name__
        raise _Wrong(say("calls.no_value", label=label), 400) from None


def _mended(send: Send) -> Send:
    """`send` for a listener that reads an event: which keys an event needs is known to the listener alone.

    Its values have been checked, so what makes it fail is the event. Gradio has written down how.
    """
    failed = False

    async def mended(message: Message) -> None:
        nonlocal failed
        if message["type"] == "http.response.start" and message["status"] == 500:
            failed = True
            answer = _refused(say("calls.no_event"), 422)
            await send({"type": "http.response.start", "status": 422, "headers": answer.raw_headers})
            await send({"type": "http.response.body", "body": answer.body})
        elif not failed:
            await send(message)

    return mended


def _refused(reason: str, status: int) -> Response:
    return JSONResponse({"error": reason}, status)
