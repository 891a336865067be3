"""The files of a job as programs get them: by number, with what they are, and nothing but what that job made."""

from __future__ import annotations

import hashlib
import os
from functools import lru_cache
from pathlib import Path, PurePosixPath

from starlette.responses import Response

from pipelines.queue.queue import Row
from ui.api.shapes import OutputFile
from ui.files import PIECE, TYPES, stored
from ui.past import HEADERS
from ui.within import OpenFile, opened

KEPT_HASHES = 4_096


def listed(row: Row, folder: Path) -> list[OutputFile]:
    """The files of a row that are there. Each is read once for its hash."""
    found = []
    for number in range(len(row.files)):
        if told := facts(row, number, folder):
            found.append(told)
    return found


def facts(row: Row, number: int, folder: Path) -> OutputFile | None:
    """What file `number` of a row is; None where it is not there."""
    path = stored(row, number, folder)
    if path is None:
        return None
    name, stat = row.files[number], path.stat()
    sha256 = _hash(folder, name, stat.st_mtime_ns, stat.st_size)
    if sha256 is None:
        return None
    return OutputFile(number=number, name=name, bytes=stat.st_size, sha256=sha256, type=TYPES[path.suffix])


def served(row: Row, number: int, folder: Path) -> Response | None:
    """File `number` of a row as a download; None where it is not there."""
    stream = opened(folder, row.files[number]) if stored(row, number, folder) else None
    name = PurePosixPath(row.files[number]) if stream else None
    return OpenFile(stream, name.name, TYPES[name.suffix], HEADERS) if stream and name else None


@lru_cache(maxsize=KEPT_HASHES)
def _hash(folder: Path, name: str, changed: int, size: int) -> str | None:
    """The SHA-256 of a file that was `changed` then and has `size` bytes."""
    stream = opened(folder, name)
    if stream is None:
        return None
    with stream:
        if os.fstat(stream.fileno()).st_size != size:
            return None
        digest = hashlib.sha256()
        while piece := stream.read(PIECE):
            digest.update(piece)
        return digest.hexdigest()
