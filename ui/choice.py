"""Earlier videos as things to go on from: chosen by their id in the history, handed to jobs as a path."""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from pathlib import Path

from pipelines.history.history import Entry, Search
from pipelines.refusal import Refusal
from ui.past import Past, past
from ui.result import png_frames
from ui.studio import Studio
from ui.words import say

LOOKED_AT = 200  # the latest videos that are offered


def nothing() -> tuple[str, str]:
    """What a list of earlier videos offers first."""
    return say("choice.nothing"), ""


def choices(studio: Studio) -> list[tuple[str, str]]:
    """What a list of earlier videos offers: what each is called, and its id."""
    return [nothing(), *((_name(entry), entry.id) for entry in _videos(studio))]


def video(studio: Studio, id: str) -> Past | None:
    """The video called `id` that can be gone on from; None where there is none."""
    entry = studio.history.get(id)
    return past(studio.history, id) if entry and entry.kind == "video" and entry.binned is None else None


def continued(studio: Studio, id: str) -> str:
    """The path of an earlier video for a job: its exact frames where it has them.

    Raises:
        Refusal: no such video.
    """
    found = video(studio, id)
    if found is None:
        raise Refusal("continue_from", say("choice.no_video"))
    path = studio.folder / found.files[0]
    return str(path.with_suffix("") if png_frames(found) else path)


def video_at(studio: Studio, path: str | None) -> Entry | None:
    """The video that a job's path names, wherever the studio's folder was when the job was written."""
    if not path:
        return None
    stem = Path(path).name.removesuffix(".mp4")
    return next((entry for entry in _videos(studio) if entry.stem == stem), None)


def _videos(studio: Studio) -> list[Entry]:
    with suppress(OSError, sqlite3.Error):  # what is known already is offered
        studio.history.keep_up()
    return studio.history.search(Search(video=True), limit=LOOKED_AT).entries


def _name(entry: Entry) -> str:
    words = " / ".join(entry.prompt.splitlines())
    size = f", {entry.width} x {entry.height}" if entry.width else ""
    return f"{entry.stem}: {words[:60]}{'…' if len(words) > 60 else ''}{size}"
