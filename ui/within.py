"""Files inside a folder, opened so that no name and no link leads out of it, whatever happens between look and open.

A path that is judged and then opened can be another file by then. Here every step of the way is opened from the one
before it, links are refused by the system itself, and what is open is what is served.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from starlette.responses import FileResponse
from starlette.types import Receive, Scope, Send

STEP = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
LAST = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK  # a pipe that somebody put there must not keep us waiting


def opened(folder: Path, name: str) -> BinaryIO | None:
    """The file called `name` inside `folder`, open for reading; None where there is none.

    Args:
        folder: the folder itself may be reached through links, for its owner chose it.
        name: relative, with slashes. `..`, absolute names, links and what is no regular file count as absent.
    """
    path = PurePosixPath(name)
    if path.is_absolute() or not path.parts or ".." in path.parts:
        return None
    here = -1
    try:
        here = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        for part in path.parts[:-1]:
            inner = os.open(part, STEP, dir_fd=here)
            os.close(here)
            here = inner
        file = os.open(path.parts[-1], LAST, dir_fd=here)
    except (OSError, ValueError):  # ValueError: a character that no name can have
        return None
    finally:
        if here >= 0:
            os.close(here)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        return None
    return os.fdopen(file, "rb")


class OpenFile(FileResponse):
    """Sends a file that is open already, in parts where a player asks for some; closes it at the end.

    Always as a download: an <img> or <video> shows it all the same, and a browser never runs it.
    """

    def __init__(self, stream: BinaryIO, name: str, media_type: str, headers: Mapping[str, str]) -> None:
        number = stream.fileno()
        super().__init__(
            f"/dev/fd/{number}", media_type=media_type, filename=name, headers=headers, stat_result=os.fstat(number)
        )
        self._stream = stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, and close it also where the client left in the middle."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._stream.close()
