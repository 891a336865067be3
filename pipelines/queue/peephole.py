"""The peephole: where the worker lays the preview of a running row, and where pages look for it.

Looking is noted, so that the worker makes previews for somebody and not for nobody. What lies here may be lost at any
moment; a file that can not be written or read is a preview less, and nothing else.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

from pipelines.files.atomic import TEMPORARY
from pipelines.files.kept import KEPT

FOLDER = Path(KEPT, "previews")  # among the outputs
LOOKED = "looked"
ATTENTION = 5.0  # seconds that a look counts for; pages look more often than once a second


class Peephole:
    """The previews of one output folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / FOLDER

    def look(self, id: str) -> bytes | None:
        """The latest preview of row `id`, a WebP file, or None; it is noted that somebody looks."""
        with suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            (self._folder / LOOKED).touch()
        with suppress(OSError):
            return (self._folder / f"{id}.webp").read_bytes()
        return None

    def watched(self) -> bool:
        """Whether somebody looked a moment ago."""
        with suppress(OSError):
            return time.time() - (self._folder / LOOKED).stat().st_mtime < ATTENTION
        return False

    def put(self, id: str, data: bytes) -> None:
        """Let `data` be the preview of row `id`, whole or not at all."""
        # Not `atomic.write_bytes`: that waits for the disk, which a picture of half a second is not worth.
        temporary = self._folder / f"{TEMPORARY}{id}.tmp"
        with suppress(OSError):
            temporary.write_bytes(data)
            os.replace(temporary, self._folder / f"{id}.webp")

    def clear(self) -> None:
        """Take all previews away."""
        with suppress(OSError):
            for path in self._folder.iterdir():
                if path.name != LOOKED:
                    path.unlink()
