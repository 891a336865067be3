"""Earlier renders as things to go on from: chosen by the id of their row, handed to jobs as a path."""

from __future__ import annotations

from pathlib import Path

from pipelines.queue import Row
from pipelines.refusal import Refusal
from ui.result import is_video, png_frames, prompt
from ui.studio import Studio

LOOKED_AT = 200  # the latest rows that are offered
NOTHING = ("begin anew", "")


def choices(studio: Studio) -> list[tuple[str, str]]:
    """What a list of earlier videos offers: what each is called, and its id."""
    return [NOTHING, *((_name(row), row.id) for row in _videos(studio))]


def continued(studio: Studio, id: str) -> str:
    """The path of a finished video for a job: its exact frames where it has them.

    Raises:
        Refusal: no such video.
    """
    row = studio.queue.get(id)
    if row is None or row.state != "done" or not is_video(row):
        raise Refusal("continue_from", "expected a video of the gallery, got something else; choose it again")
    return path_of(studio, row)


def path_of(studio: Studio, row: Row) -> str:
    """The path of a row's video: its exact frames where it has them."""
    path = studio.folder / row.files[0]
    return str(path.with_suffix("") if png_frames(row) else path)


def row_of_path(studio: Studio, path: str | None) -> Row | None:
    """The row whose video a job's path names."""
    if not path:
        return None
    stem = Path(path).name.removesuffix(".mp4")
    return next((row for row in _videos(studio) if Path(row.files[0]).stem == stem), None)


def _videos(studio: Studio) -> list[Row]:
    return [row for row in studio.queue.rows(LOOKED_AT, 0, ("done",)) if is_video(row)]


def _name(row: Row) -> str:
    words = prompt(row)
    size = " x ".join(str(side) for side in row.job.get("size") or ())
    return f"{row.number}: {words[:60]}{'…' if len(words) > 60 else ''}{f', {size}' if size else ''}"
