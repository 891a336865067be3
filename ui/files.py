"""Serves outputs by the id of their row, or of the history, and their place in it. A path never comes from outside."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from pipelines.history.history import History
from pipelines.queue.queue import Queue, Row
from ui.past import HEADERS, Past, past, thumbnails
from ui.within import OpenFile, opened
from ui.words import say

# What may leave, and as what: a list of what is allowed, for nothing else is ever needed.
TYPES = {
    ".png": "image/png", ".mp4": "video/mp4", ".json": "application/json", ".psd": "image/vnd.adobe.photoshop",
    ".ora": "image/openraster",
}  # fmt: skip
PIECE = 2**18  # bytes of a file that are packed at a time
Output = Row | Past  # what has files that pages show


def address(row: Output, index: int) -> str:
    """Where the page finds file `index` of `row`; relative, so that it also holds behind a proxy."""
    return f"outputs/{row.id}/{index}"


def frames_address(row: Output) -> str:
    """Where the page finds all exact frames of `row` in one file."""
    return f"outputs/{row.id}/frames.zip"


def all_address(row: Output) -> str:
    """Where the page finds all files of `row` in one."""
    return f"outputs/{row.id}/all.zip"


def stored(row: Output | None, index: int, folder: Path) -> Path | None:
    """The path of file `index` of `row`, or None when there is no such file inside `folder`."""
    if row is None or not 0 <= index < len(row.files):
        return None
    root = folder.resolve()
    try:
        path = (root / row.files[index]).resolve()  # first resolved, then judged: links may lead anywhere
        return path if path.is_relative_to(root) and path.suffix in TYPES and path.is_file() else None
    except (OSError, RuntimeError, ValueError):  # a link to itself, or no name at all
        return None


def _open(row: Output | None, index: int, folder: Path) -> BinaryIO | None:
    """File `index` of `row`, open; None where `stored` finds none. No link counts, not even one inside `folder`."""
    return None if row is None or stored(row, index, folder) is None else opened(folder, row.files[index])


def _is_open(row: Output, index: int, folder: Path) -> bool:
    stream = _open(row, index, folder)
    if stream is not None:
        stream.close()
    return stream is not None


def routes(queue: Queue, folder: Path) -> list[Route]:
    """GET /outputs/ID/INDEX, GET /outputs/ID/frames.zip and all.zip, and GET /thumbs/ID of the history."""
    history = History(folder)

    def output(id: str) -> Output | None:
        return queue.get(id) or past(history, id)

    def serve(request: Request) -> Response:
        row, index = output(request.path_params["id"]), request.path_params["index"]
        stream = _open(row, index, folder)
        if row is None or stream is None:
            return _absent()
        name = PurePosixPath(row.files[index])
        return OpenFile(stream, name.name, TYPES[name.suffix], HEADERS)

    def packed(request: Request, what: str) -> Response:
        row = output(request.path_params["id"])
        found = [index for index in range(len(row.files)) if _is_open(row, index, folder)] if row else []
        names = {index: PurePosixPath(row.files[index]) for index in found} if row else {}
        names = {index: name for index, name in names.items() if what == "all" or name.suffix == ".png"}
        if row is None or not names:
            return _absent()
        told = {index: name.name if what == "frames" else str(name) for index, name in names.items()}
        disposition = f'attachment; filename="{row.id}-{what}.zip"'
        return StreamingResponse(
            _zipped(row, told, folder),
            media_type="application/zip",
            headers={**HEADERS, "Content-Disposition": disposition},
        )

    return [
        Route("/outputs/{id}/{index:int}", serve, methods=["GET"]),
        Route("/outputs/{id}/frames.zip", lambda request: packed(request, "frames"), methods=["GET"]),
        Route("/outputs/{id}/all.zip", lambda request: packed(request, "all"), methods=["GET"]),
        *thumbnails(history),
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

    def taken_out(self) -> bytes:
        """What was written since the last time."""
        data = bytes(self.taken)
        self.taken.clear()
        return data


def _zipped(row: Output, names: Mapping[int, str], folder: Path) -> Iterator[bytes]:
    """Files of `row` under these names as one zip, never whole in memory. What a studio writes is packed already."""
    sink = _Sink()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as packed:
        for index, name in sorted(names.items(), key=lambda item: row.files[item[0]]):
            stream = _open(row, index, folder)
            if stream is None:  # it was taken away meanwhile
                continue
            with stream, packed.open(name, "w", force_zip64=True) as member:
                while piece := stream.read(PIECE):
                    member.write(piece)
                    yield sink.taken_out()
            yield sink.taken_out()
    yield sink.taken_out()


def _absent() -> Response:
    return PlainTextResponse(say("history.absent"), status_code=404, headers=HEADERS)
