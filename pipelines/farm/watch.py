"""Watching a folder: which of its job files are new or were changed, as soon as they are written to the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from pipelines.files.jobfile import is_job_file, is_job_name
from pipelines.files.storage import Storage, is_address

PAUSE = 1.0  # seconds between two looks
State = str | tuple[int, int]  # bytes and time of change, or what storage says instead


def changed(folder: str, sleep: Callable[[float], None] = time.sleep) -> Iterator[list[str]]:
    """The job files of `folder`, and then again and again those that came or changed since.

    A file counts once it was the same in two looks, for whoever writes it may not be done. A folder that can not be
    read for a while, as on a network, is looked at again.

    Args:
        folder: a folder or an address, to look into; not below it.
        sleep: waits between two looks.
    """
    states = _states_at if is_address(folder) else _states
    told: dict[str, State] = {}
    before: dict[str, State] = {}
    while True:
        now = dict(states(folder))
        ready = [path for path, state in now.items() if before.get(path) == state != told.get(path)]
        if ready:
            told.update({path: now[path] for path in ready})
            yield sorted(ready)
        before = now
        sleep(PAUSE)


def _states(folder: str) -> Iterator[tuple[str, State]]:
    try:
        paths = list(Path(folder).iterdir())
    except OSError:
        return
    for path in paths:
        try:
            if is_job_file(path):
                status = path.stat()
                yield str(path), (status.st_size, status.st_mtime_ns)
        except OSError:  # it went meanwhile
            continue


def _states_at(address: str) -> Iterator[tuple[str, State]]:
    storage = Storage(address.rstrip("/"))
    try:
        stamps = storage.stamps()
    except OSError:
        return
    for name, stamp in stamps.items():
        if is_job_name(name):
            yield f"{storage.address}/{name}", stamp
