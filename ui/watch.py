"""How an open page learns what changed: it asks a small route of our own, and gets what is another thing by now.

No listener of gradio's runs for a page that only looks. What is asked by the same words within a moment is answered
once, for all pages. What the page does with an answer is `redraw.py`'s.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ui.shown import Shown
from ui.words import language

FRESH = 0.3  # seconds for which an answer serves all pages that ask the same
SLOWER, SLOWEST = "Diorama-Slower", 10.0  # the header that tells a page to ask seldom, and how seldom at most
MOST_KEPT = 64  # answers that are kept before the old ones are let go
ID = re.compile(r"[\w-]{0,64}", re.ASCII)
HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


@dataclass(frozen=True)
class Place:
    """Something on the page that is kept up to date.

    Attributes:
        draw: what it shows; it gets the words that the page asks with.
        asks: which words those are, and how each may look.
        slow: whether drawing it may take longer than a page should wait for another place.
    """

    draw: Callable[..., Shown]
    asks: Mapping[str, re.Pattern[str]] = field(default_factory=dict)
    slow: bool = False


@dataclass(frozen=True)
class Told:
    """An answer as it is sent: its mark, and its bytes for a page that has other HTML, or only other live parts."""

    mark: str
    whole: bytes
    live: bytes

    @classmethod
    def of(cls, shown: Shown) -> Told:
        """What is told of a place."""
        live = {"mark": shown.mark, "live": shown.live}
        return cls(shown.mark, _bytes({**live, "html": shown.html}), _bytes(live))

    def since(self, mark: str, slower: float) -> Response:
        """What a page that knows of `mark` does not know: 204 where that is nothing. And how seldom it may ask."""
        headers = HEADERS if slower == 1 else {**HEADERS, SLOWER: f"{slower:.1f}"}
        if mark == self.mark:
            return Response(status_code=204, headers=headers)
        same = mark.partition("-")[0] == self.mark.partition("-")[0]
        return Response(self.live if same else self.whole, headers=headers, media_type="application/json")


class Crowd:
    """How many times slower than they would pages may ask, so that all together take little from the render.

    Args:
        most: questions a second that are meant to come, at most.
        window: seconds over which they are counted.
    """

    def __init__(self, most: float = 30.0, window: float = 2.0) -> None:
        self._most, self._window = most, window
        self._begun, self._count = -math.inf, 0
        self.slower = 1.0

    def asked(self, now: float) -> float:
        """Count a question of `now`, in seconds of any clock; how many times slower pages may ask from now on."""
        passed = now - self._begun
        if passed >= self._window:
            # What comes is what would come, over what pages were told; one that was told nothing yet comes sooner.
            rate = self._count / passed
            self.slower = min(SLOWEST, max(1.0, self.slower * rate / self._most))
            self._begun, self._count = now, 0
        self._count += 1
        return round(self.slower, 1)


def routes(places: Mapping[str, Place]) -> list[Route]:
    """GET /watch/PLACE?WORDS&mark=MARK: what PLACE shows, where that is not what the page knows by its mark."""
    answers: dict[tuple[str, ...], tuple[float, Future[Told]]] = {}
    # Threads of their own: each keeps its connections to the databases, and one is enough for all pages together.
    quick, slow = ThreadPoolExecutor(1, "watch"), ThreadPoolExecutor(1, "watch-slow")
    crowd = Crowd()

    def told(place: Place, words: Mapping[str, str]) -> Told:
        return Told.of(place.draw(**words))

    async def serve(request: Request) -> Response:
        name, query = request.path_params["place"], request.query_params
        place = places.get(name)
        words = {word: query.get(word, "") for word in place.asks} if place else {}
        if place is None or not all(place.asks[word].fullmatch(value) for word, value in words.items()):
            return JSONResponse({"error": "there is no such place or job"}, 404, HEADERS)
        key, now = (name, language(), *words.values()), time.monotonic()
        made, answer = answers.get(key, (0.0, None))
        if answer is None or now - made >= FRESH:
            if len(answers) >= MOST_KEPT:
                for old in [each for each, (then, _) in answers.items() if now - then >= FRESH]:
                    del answers[old]
            answer = (slow if place.slow else quick).submit(copy_context().run, told, place, words)
            answers[key] = now, answer
        # Shielded, for a page that leaves must not take the answer away from the others.
        return (await asyncio.shield(asyncio.wrap_future(answer))).since(query.get("mark", ""), crowd.asked(now))

    return [Route("/watch/{place}", serve, methods=["GET"])]


def _bytes(told: Mapping[str, object]) -> bytes:
    return json.dumps(told, ensure_ascii=False, separators=(",", ":")).encode()
