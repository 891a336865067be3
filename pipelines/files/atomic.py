"""Files that appear whole or not at all, whatever kills the process."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# What keeps every file of a folder from being written: a disk without room, a folder without leave.
FULL = (errno.ENOSPC, errno.EDQUOT)
CLOSED = (errno.EROFS, errno.EACCES)
TEMPORARY = ".diorama-"  # what a killed process leaves behind begins so, and never has a final name


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A temporary path in the folder of `path`, which becomes `path` when the block ends well and vanishes when not."""
    # The same folder, for a rename is atomic only within one file system.
    temporary = path.parent / f"{TEMPORARY}{secrets.token_hex(8)}.tmp"
    try:
        yield temporary
        _sync(temporary)
        os.replace(temporary, path)
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()
    if os.name == "posix":  # the name itself is durable only once its folder is
        _sync(path.parent)


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path`, whole or not at all."""
    with whole(path) as temporary:
        temporary.write_bytes(data)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
