"""Watching a folder: which of its job files are new or were changed, as soon as they are written to the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from pipelines.files.jobfile import is_job_file

PAUSE = 1.0  # seconds between two looks
State = tuple[int, int]  # bytes, and time of change


def changed(folder: Path, sleep: Callable[[float], None] = time.sleep) -> Iterator[list[str]]:
    """The job files of `folder`, and then again and again those that came or changed since.

    A file counts once it was the same in two looks, for whoever writes it may not be done. A folder that can not be
    read for a while, as on a network, is looked at again.

    Args:
        folder: to look into; not below it.
        sleep: waits between two looks.
    """
    told: dict[Path, State] = {}
    before: dict[Path, State] = {}
    while True:
        now = dict(_states(folder))
        ready = [path for path, state in now.items() if before.get(path) == state != told.get(path)]
        if ready:
            told.update({path: now[path] for path in ready})
            yield [str(path) for path in sorted(ready)]
        before = now
        sleep(PAUSE)


def _states(folder: Path) -> Iterator[tuple[Path, State]]:
    try:
        paths = list(folder.iterdir())
    except OSError:
        return
    for path in paths:
        try:
            if is_job_file(path):
                status = path.stat()
                yield path, (status.st_size, status.st_mtime_ns)
        except OSError:  # it went meanwhile
            continue
