"""Progress as server-sent events: what a job is at, told when it changes and not asked for again and again.

Every stream begins with all that there is to know, so one that broke off is simply opened again. It ends when its job
is over, or after an hour; then a browser opens it again by itself.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from starlette.responses import Response, StreamingResponse

from pipelines.queue.queue import Queue, Row
from ui.api.problems import Answer

LOOK = 0.25  # seconds between two looks at the queue
ALIVE = 15.0  # seconds of silence after which a comment says that the stream is
LONGEST = 3_600.0  # seconds of one stream
MOST = 64  # streams that are open at once
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
OVER = ("done", "failed", "cancelled")

T = TypeVar("T")


class Progress:
    """The streams of one queue.

    Args:
        queue: what they tell of.
        plain: takes paths out of a sentence.
    """

    def __init__(self, queue: Queue, plain: Callable[[str], str]) -> None:
        self._queue, self._plain = queue, plain
        self._open = 0
        # A thread of its own, which keeps one connection to the queue's file for all streams.
        self._thread = ThreadPoolExecutor(1, "progress")

    async def of_job(self, id: str, last: str) -> Response:
        """The stream of a job.

        Args:
            id: of the row.
            last: the id of the event that was got last, or "". Of a job that is over nothing else follows it: 204.

        Raises:
            Answer: there is no such job, or too many streams are open.
        """
        row = await self._ask(lambda: self._queue.get(id))
        if row is None:
            raise Answer(404, "there is no job of this id")
        if row.state in OVER and last == _mark(self._told(row)):
            return Response(status_code=204, headers=HEADERS)
        return self._stream(self._job(id, last))

    def of_all(self) -> Response:
        """The stream of all jobs that are not over, and of those that are over from now on.

        Raises:
            Answer: too many streams are open.
        """
        return self._stream(self._all())

    def _stream(self, events: AsyncIterator[str]) -> Response:
        if self._open >= MOST:
            raise Answer(429, f"{MOST} streams are open already; close one first")
        self._open += 1
        return _Closing(events, self._closed)

    def _closed(self) -> None:
        self._open -= 1

    async def _job(self, id: str, last: str) -> AsyncIterator[str]:
        async for changed in self._looks():
            row = await self._ask(lambda: self._queue.get(id)) if changed else None
            if changed and row is None:  # it was taken from the list
                yield _event("gone", {"id": id})
                return
            if row is None:
                yield ""
                continue
            told = self._told(row)
            if (mark := _mark(told)) != last:
                yield _event("job", told, mark)
                last = mark
            if row.state in OVER:
                return

    async def _all(self) -> AsyncIterator[str]:
        known: dict[str, dict[str, Any]] | None = None
        async for changed in self._looks():
            if not changed:
                yield ""
                continue
            rows = {row.id: self._told(row) for row in await self._ask(self._queue.line)}
            if known is None:
                yield _event("jobs", {"jobs": list(rows.values())})
                known = rows
            for id in known.keys() - rows.keys():  # over, or behind the first rows of the line by now
                row = await self._ask(lambda id=id: self._queue.get(id))  # type: ignore[misc]
                yield _event("job", self._told(row)) if row else _event("gone", {"id": id})
            for id, told in rows.items():
                if told != known.get(id):
                    yield _event("job", told)
            known = rows

    async def _looks(self) -> AsyncIterator[bool]:
        """Comes back at every look, with whether the queue changed since the one before."""
        end, seen = time.monotonic() + LONGEST, -1
        while True:
            before, seen = seen, await self._ask(self._queue.changed)
            yield seen != before
            left = end - time.monotonic()
            if left <= 0:
                return
            await asyncio.sleep(min(LOOK, left))

    async def _ask(self, question: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, question)

    def _told(self, row: Row) -> dict[str, Any]:
        return {
            "id": row.id, "state": row.state, "step": row.step, "steps": row.steps, "message": self._plain(row.message),
            "files": len(row.files),
        }  # fmt: skip


class _Closing(StreamingResponse):
    """A stream that says when it is over, also where the client left."""

    def __init__(self, events: AsyncIterator[str], closed: Callable[[], None]) -> None:
        async def pieces() -> AsyncIterator[str]:
            said = time.monotonic()
            async for event in events:
                if event or time.monotonic() - said >= ALIVE:
                    said = time.monotonic()
                    yield event or ": here\n\n"  # a comment, so that nobody in between takes the silence for an end

        super().__init__(pieces(), media_type="text/event-stream", headers=HEADERS)
        self._closed = closed

    async def __call__(self, *asgi: Any) -> None:
        """Send it."""
        try:
            await super().__call__(*asgi)
        finally:
            self._closed()


def _event(kind: str, data: dict[str, Any], id: str = "") -> str:
    return f"event: {kind}\n" + (f"id: {id}\n" if id else "") + f"data: {json.dumps(data)}\n\n"


def _mark(told: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]
