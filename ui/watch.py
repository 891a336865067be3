"""What an easel shows, and how a page learns that it is another thing by now.

A page that is left open asks a small route of our own whether anything changed, and only then the listener that draws
the easel anew. How far a render is comes with the answer itself: it changes with every step, and fifty pages that each
drew their easel anew for it would leave the render no time.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import astuple, dataclass
from html import escape
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pipelines.queue.queue import Queue, Row, Settings, State
from ui.result import kind
from ui.status import LINES, at_step, interrupted, so_far
from ui.words import language

PACE = 0.7  # seconds between two questions of a page
FRESH = 0.2  # seconds for which an answer serves all pages that ask the same
LOOKED_AT = 100  # rows that are searched for the latest one of a tab
LATEST: tuple[State, ...] = ("done", "failed", "cancelled", "paused")  # what is shown while nothing is at work
ID = re.compile(r"[\w-]{0,64}", re.ASCII)
HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}

# In the easel. A part of a tab that is not open has no place on the page, and asks nothing.
ASK = f"""
let asking = false;
const ask = async () => {{
  if (!element.isConnected) return clearInterval(beat);
  const watched = element.querySelector('.watched');
  if (asking || !watched || element.offsetParent === null) return;
  asking = true;
  try {{
    const {{tab, follows, mark}} = watched.dataset;
    const answer = await fetch(`watch/${{tab}}?${{new URLSearchParams({{follows, mark}})}}`);
    if (answer.status !== 200) return;
    const told = await answer.json();
    if (element.querySelector('.watched') !== watched || watched.dataset.mark !== mark) return;
    if (told.mark !== mark) return trigger('look', {{}});
    const shown = watched.querySelector('.so-far');
    if (shown && told.so_far) shown.innerHTML = told.so_far;
    for (const part of document.querySelectorAll(`[data-at="${{told.id}}"]`)) part.textContent = told.at;
  }} catch (error) {{
    // The studio is away for a moment, or for good; the page stays as it is, and asks again.
  }} finally {{
    asking = false;
  }}
}};
const beat = setInterval(ask, {PACE * 1000:.0f});
"""


@dataclass(frozen=True)
class Seen:
    """What an easel shows.

    Attributes:
        row: of the queue; None while there is nothing to show.
        ahead: how many rows are rendered before it.
        others: the other rows that are not over.
        settings: the queue's.
        health: a sentence while no renderer is at work, else "".
    """

    row: Row | None
    ahead: int
    others: list[Row]
    settings: Settings
    health: str

    @property
    def mark(self) -> str:
        """Differs when the easel or the list of other rows would look otherwise, but for how far a render is."""
        told = [_state(self.row) if self.row else None, self.ahead, len(self.others), self.health]
        told += [_state(other) for other in self.others[:LINES]] + [list(astuple(self.settings))]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]

    def wrapped(self, html: str, tab: str, follows: str) -> str:
        """The easel's HTML with what its page asks by."""
        told = f'data-tab="{tab}" data-follows="{escape(follows)}" data-mark="{self.mark}"'
        return f'<div class="watched" {told}>{html}</div>'


def seen(queue: Queue, health: Callable[[], str], follows: str, tab: str) -> Seen:
    """What the easel of `tab` shows to a page that follows row `follows`, or "": what is at work, or the latest."""
    line = queue.line()
    row = queue.get(follows) if follows else None
    if row is None:
        active = (row for row in line if row.state != "paused")
        mine = (row for row in [*active, *queue.rows(LOOKED_AT, 0, LATEST)] if kind(row.job) == tab)
        row = next(mine, None)
    going = [other.id for other in line if other.state != "paused"]
    ahead = going.index(row.id) if row and row.id in going else 0
    others = [other for other in line if not row or other.id != row.id]
    return Seen(row, ahead, others, queue.settings(), health())


def routes(queue: Queue, folder: Path, health: Callable[[], str], tabs: Iterable[str]) -> list[Route]:
    """GET /watch/TAB?follows=ID&mark=MARK: the mark of what is seen now, and how far the render at work is.

    204 where both are as the page knows them: nothing changed, and nothing runs.
    """
    known = frozenset(tabs)
    answers: dict[tuple[str, str, str], tuple[float, dict[str, str]]] = {}

    def answer(tab: str, follows: str) -> dict[str, str]:
        found = seen(queue, health, follows, tab)
        told = {"mark": found.mark}
        if found.row is not None and found.row.state == "running":
            told["so_far"] = so_far(found.row, folder)
        if running := next((row for row in found.others if row.state == "running"), None):
            told |= {"id": running.id, "at": at_step(running)}
        return told

    async def serve(request: Request) -> Response:
        tab, follows = request.path_params["tab"], request.query_params.get("follows", "")
        if tab not in known or not ID.fullmatch(follows):
            return JSONResponse({"error": "there is no such tab or job"}, 404, HEADERS)
        now = time.monotonic()
        asked = (tab, follows, language())
        made, told = answers.get(asked, (-FRESH, {}))
        if now - made >= FRESH:
            told = await run_in_threadpool(answer, tab, follows)
            if len(answers) >= 1_000:
                answers.clear()
            answers[asked] = now, told
        if told == {"mark": request.query_params.get("mark")}:
            return Response(status_code=204, headers=HEADERS)
        return JSONResponse(told, headers=HEADERS)

    return [Route("/watch/{tab}", serve, methods=["GET"])]


def _state(row: Row) -> list[object]:
    return [row.id, row.state, row.stopping, row.held, row.message, list(row.files), interrupted(row)]
