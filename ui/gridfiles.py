"""Serves a grid as a page that needs no server: a zip of its HTML file and its pictures, by the grid's id."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from pipelines.grid.page import Words, page
from pipelines.grid.store import GridStore, Kept, rows_of
from pipelines.queue.queue import Queue
from ui.past import HEADERS
from ui.within import opened
from ui.words import language, of, say

PIECE = 2**18  # bytes that are sent at a time
SHOWN = (".png", ".mp4")


def address(id: str) -> str:
    """Where the page finds the grid called `id` as a zip; relative, so that it also holds behind a proxy."""
    return f"grids/{id}.zip"


def routes(queue: Queue, folder: Path) -> list[Route]:
    """GET /grids/ID.zip."""
    store = GridStore(folder)

    def packed(request: Request) -> Response:
        kept = store.get(request.path_params["id"])
        if kept is None:
            return PlainTextResponse(say("grid.absent"), status_code=404, headers=HEADERS)
        disposition = f'attachment; filename="grid-{kept.id}.zip"'
        return StreamingResponse(
            _pieces(pack(kept, queue, folder)), media_type="application/zip",
            headers={**HEADERS, "Content-Disposition": disposition, "Cache-Control": "no-store"},  # it may still fill
        )  # fmt: skip

    return [Route("/grids/{id}.zip", packed, methods=["GET"])]


def pack(kept: Kept, queue: Queue, folder: Path) -> BinaryIO:
    """A zip of the grid's page and of what is rendered of it, open at its beginning. No link of `folder` counts."""
    sink: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115  # closed when it is sent
    links: dict[int, str] = {}
    # What a studio writes is packed already.
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as target:
        for index, row in rows_of(kept.grid, queue.batch(kept.id)).items():
            name = row.files[0] if row.state == "done" and row.files else ""
            stream = opened(folder, name) if name.endswith(SHOWN) else None
            if stream is not None:
                with stream, target.open(name, "w", force_zip64=True) as member:
                    while piece := stream.read(PIECE):
                        member.write(piece)
                links[index] = quote(name)
        target.writestr(f"{kept.grid.name}.html", page(kept.grid, links, words_of_page()))
    sink.seek(0)
    return sink


def words_of_page() -> Words:
    """What a downloaded page says of its own, in the language that is spoken."""
    return Words(language(), **{name: of("grid_page", name) for name in ("shared", "close", "file", "failed")})


def _pieces(stream: BinaryIO) -> Iterator[bytes]:
    with stream:
        while piece := stream.read(PIECE):
            yield piece
