"""Serves outputs by the id of their row and their place in it. A path never comes from outside."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from pipelines.queue import Queue, Row

# What may leave, and as what: a list of what is allowed, for nothing else is ever needed.
TYPES = {
    ".png": "image/png", ".mp4": "video/mp4", ".json": "application/json", ".psd": "image/vnd.adobe.photoshop",
    ".ora": "image/openraster",
}  # fmt: skip
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cache-Control": "private, max-age=3600",
}


def address(row: Row, index: int) -> str:
    """Where the page finds file `index` of `row`; relative, so that it also holds behind a proxy."""
    return f"outputs/{row.id}/{index}"


def frames_address(row: Row) -> str:
    """Where the page finds all exact frames of `row` in one file."""
    return f"outputs/{row.id}/frames.zip"


def all_address(row: Row) -> str:
    """Where the page finds all files of `row` in one."""
    return f"outputs/{row.id}/all.zip"


def stored(row: Row | None, index: int, folder: Path) -> Path | None:
    """The path of file `index` of `row`, or None when there is no such file inside `folder`."""
    if row is None or not 0 <= index < len(row.files):
        return None
    root = folder.resolve()
    path = (root / row.files[index]).resolve()  # first resolved, then judged: links may lead anywhere
    return path if path.is_relative_to(root) and path.suffix in TYPES and path.is_file() else None


def routes(queue: Queue, folder: Path) -> list[Route]:
    """GET /outputs/ID/INDEX, and GET /outputs/ID/frames.zip and all.zip."""

    def serve(request: Request) -> Response:
        path = stored(queue.get(request.path_params["id"]), request.path_params["index"], folder)
        if path is None:
            return _absent()
        # Always a download: an <img> or <video> shows it all the same, and a browser never runs it.
        return FileResponse(path, media_type=TYPES[path.suffix], filename=path.name, headers=HEADERS)

    def packed(request: Request, what: str) -> Response:
        row = queue.get(request.path_params["id"])
        found = [stored(row, index, folder) for index in range(len(row.files))] if row else []
        paths = [path for path in found if path and (what == "all" or path.suffix == ".png")]
        if row is None or not paths:
            return _absent()
        root = folder.resolve()
        names = {path: path.name if what == "frames" else path.relative_to(root).as_posix() for path in sorted(paths)}
        disposition = f'attachment; filename="{row.id}-{what}.zip"'
        return StreamingResponse(
            _zipped(names), media_type="application/zip", headers={**HEADERS, "Content-Disposition": disposition}
        )

    return [
        Route("/outputs/{id}/{index:int}", serve, methods=["GET"]),
        Route("/outputs/{id}/frames.zip", lambda request: packed(request, "frames"), methods=["GET"]),
        Route("/outputs/{id}/all.zip", lambda request: packed(request, "all"), methods=["GET"]),
    ]


class _Sink(io.RawIOBase):
    """Takes what is written, to be handed on piece by piece."""

    def __init__(self) -> None:
        self.taken = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self.taken += data
        return len(data)


def _zipped(names: Mapping[Path, str]) -> Iterator[bytes]:
    """The files under these names as one zip, never whole in memory. What a studio writes is packed already."""
    sink = _Sink()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as packed:
        for path, name in names.items():
            packed.write(path, name)
            yield bytes(sink.taken)
            sink.taken.clear()
    yield bytes(sink.taken)


def _absent() -> Response:
    return PlainTextResponse("there is no such output", status_code=404, headers=HEADERS)
