"""Serves outputs by the id of their row and their place in it. A path never comes from outside."""

from __future__ import annotations

from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route

from pipelines.queue import Queue, Row

# What may leave, and as what: a list of what is allowed, for nothing else is ever needed.
TYPES = {".png": "image/png", ".mp4": "video/mp4", ".json": "application/json"}
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cache-Control": "private, max-age=3600",
}


def address(row: Row, index: int) -> str:
    """Where the page finds file `index` of `row`; relative, so that it also holds behind a proxy."""
    return f"outputs/{row.id}/{index}"


def stored(row: Row | None, index: int, folder: Path) -> Path | None:
    """The path of file `index` of `row`, or None when there is no such file inside `folder`."""
    if row is None or not 0 <= index < len(row.files):
        return None
    root = folder.resolve()
    path = (root / row.files[index]).resolve()  # first resolved, then judged: links may lead anywhere
    return path if path.is_relative_to(root) and path.suffix in TYPES and path.is_file() else None


def route(queue: Queue, folder: Path) -> Route:
    """GET /outputs/ID/INDEX."""

    def serve(request: Request) -> Response:
        path = stored(queue.get(request.path_params["id"]), request.path_params["index"], folder)
        if path is None:
            return PlainTextResponse("there is no such output", status_code=404, headers=HEADERS)
        # Always a download: an <img> or <video> shows it all the same, and a browser never runs it.
        return FileResponse(path, media_type=TYPES[path.suffix], filename=path.name, headers=HEADERS)

    return Route("/outputs/{id}/{index:int}", serve, methods=["GET"])
