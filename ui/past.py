"""Outputs of the history as pages show and serve them: by id, with their files named as they stand in the folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from pipelines.history.history import Entry, History
from ui.within import OpenFile, opened
from ui.words import say

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cache-Control": "private, max-age=3600",
}


@dataclass(frozen=True)
class Past:
    """An output as it stands in the folder; pages show it as they show a row of the queue.

    Attributes:
        id: of the history.
        job: as the record has it.
        files: names relative to the output folder, what is shown first, the record last.
        finished: when its record was written, in seconds since 1970.
    """

    id: str
    job: Mapping[str, Any]
    files: tuple[str, ...]
    finished: float | None


def past(history: History, id: str) -> Past | None:
    """The output called `id`; None where there is none, or none of its files."""
    entry = history.get(id)
    files = history.files(id) if entry else []
    if entry is None or not files:
        return None
    job = history.record(id).get("job")
    names = tuple(file.relative_to(history.folder).as_posix() for file in files)
    return Past(id, job if isinstance(job, Mapping) else {}, names, entry.created)


def thumbnail(entry: Entry) -> str:
    """Where the page finds the thumbnail: elsewhere once it was rendered anew, for browsers keep what they got."""
    return f"thumbs/{entry.id}?{round(entry.created * 1000)}"


def thumbnails(history: History) -> list[Route]:
    """GET /thumbs/ID."""

    def serve(request: Request) -> Response:
        try:
            thumb = history.thumbnail(request.path_params["id"])
        except OSError:  # it can not be written
            thumb = None
        stream = opened(thumb.parent, thumb.name) if thumb else None
        if thumb is None or stream is None:
            return PlainTextResponse(say("history.absent"), status_code=404, headers=HEADERS)
        return OpenFile(stream, thumb.name, "image/webp", HEADERS)

    return [Route("/thumbs/{id}", serve, methods=["GET"])]
