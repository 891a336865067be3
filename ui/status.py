"""A row of the queue as HTML: what it asks for, how far it is, what came of it. Every word of a user is escaped."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from datetime import datetime
from html import escape
from pathlib import Path
from typing import Any

from pipelines.progress import duration
from pipelines.queue import Row
from ui.files import address, stored
from ui.scenery import EASEL

MAX_RECORD = 2**20  # bytes; a record of a picture has some thousand
LARGEST, MOST = 400, 3.0  # pixels on the page that a small picture is enlarged to, and how many times at most
WORDS = {"queued": "waiting", "running": "rendering", "done": "done", "failed": "failed", "cancelled": "cancelled"}


def stage(row: Row | None, ahead: int, folder: Path, health: str) -> str:
    """The easel: nothing yet, a render on its way, a picture, or why there is none."""
    if row is None:
        return (
            f'<div class="stage empty">{EASEL}<p>The table is clear.</p>'
            f"<p>Say what to draw and press Render.</p>{_health(health)}</div>"
        )
    body = {"queued": _waiting, "running": _running}.get(row.state)
    if body:
        inner = body(row, ahead) + _health(health) + _notes(row)
    elif row.state == "done":
        inner = picture(row) + _notes(row) + facts(row, folder)
    elif row.state == "failed":
        inner = f'<p class="note bad" role="alert"><b>Not rendered:</b> {escape(row.message)}</p>'
    else:
        inner = '<p class="say">Cancelled.</p>'
    return f'<div class="stage {row.state}" data-id="{row.id}">{inner}{_caption(row)}</div>'


def picture(row: Row) -> str:
    """The picture or video of a finished row on its mount."""
    width, height = _size(row)
    scale = _scale(width, height)
    shape = f'width="{width}" height="{height}" style="width: {round(width * scale)}px"'
    source, words = address(row, 0), escape(prompt(row), quote=True)
    if row.files and row.files[0].endswith(".mp4"):
        inner = f'<video src="{source}" {shape} controls loop playsinline aria-label="{words}"></video>'
    else:
        inner = f'<img src="{source}" {shape} alt="{words}">'
    return f'<figure class="mount">{inner}</figure>'


def facts(row: Row, folder: Path) -> str:
    """The settings of a row, what rendering it took, and its files to download."""
    job, record = row.job, _record(row, folder)
    width, height = _size(row)
    pairs = {
        "Size": f"{width} x {height}",
        "Seed": job.get("seed"),
        "Steps": job.get("steps"),
        "Guidance": f"{job.get('guidance', 0):g}",
        "Scheduler": job.get("scheduler"),
        "Model": job.get("model"),
    }
    if isinstance(record.get("seconds"), int | float):
        pairs["Took"] = f"{record['seconds']:.1f} s"
    if record.get("device"):
        pairs["Device"] = record["device"]
    if isinstance(record.get("tokens"), int):
        pairs["Tokens"] = f"{record['tokens']:,}"
    if row.finished:
        pairs["Made"] = datetime.fromtimestamp(row.finished).strftime("%-d %b %Y, %H:%M")
    cells = "".join(f"<div><dt>{name}</dt><dd>{escape(str(value))}</dd></div>" for name, value in pairs.items())
    return f'<dl class="facts">{cells}</dl>{_downloads(row)}'


def waiting(rows: Sequence[Row]) -> str:
    """The other jobs that are on their way, each with a button that shows it and one that cancels it."""
    if not rows:
        return ""
    items = []
    for row in rows:
        how = f"step {row.step} of {row.steps}" if row.state == "running" else WORDS[row.state]
        words = escape(prompt(row))
        items.append(
            f'<li><button type="button" class="what" data-job="{row.id}" data-act="show">{words}</button>'
            f'<span class="how">{how}</span><button type="button" class="drop" data-job="{row.id}" data-act="cancel" '
            f'aria-label="Cancel: {escape(prompt(row), quote=True)}" title="Cancel">&times;</button></li>'
        )
    return f'<section class="line"><h2>Also on the table</h2><ul>{"".join(items)}</ul></section>'


def refused(field: str, reason: str) -> str:
    """Why nothing was written, beside the button that was pressed."""
    place = f"<b>{escape(field)}:</b> " if field else ""
    return f'<p class="note bad" role="alert">{place}{escape(reason)}</p>'


def prompt(row: Row) -> str:
    """What the job asks for, in words."""
    return str(row.job.get("prompt") or row.job.get("task") or "")


def _waiting(row: Row, ahead: int) -> str:
    before = {0: "It is next.", 1: "One render goes before it."}.get(ahead, f"{ahead} renders go before it.")
    return f'{_blank(row)}<p class="say" role="status">Waiting. {before}</p>{_bar(0.0)}'


def _running(row: Row, ahead: int) -> str:
    share = row.step / row.steps if row.steps else 0.0
    if row.stopping:
        words = "Stopping after this step."
    elif not row.step:
        words = "Setting out the paper."
    else:
        # The first step also pays for the model's loading, so the time left is only told once it means something.
        past = time.time() - (row.started or time.time())
        left = f", {duration(past * (1 - share) / share)} left" if row.step > 2 and share < 1 else ""
        words = f"Step {row.step} of {row.steps}{left}"
    return f'{_blank(row)}<p class="say" role="status">{words}</p>{_bar(share)}'


def _bar(share: float) -> str:
    percent = round(100 * share)
    return (
        f'<div class="bar" role="progressbar" aria-valuemin="0" aria-valuemax="100" aria-valuenow="{percent}" '
        f'aria-label="Progress"><i style="width: {percent}%"></i></div>'
    )


def _blank(row: Row) -> str:
    """A sheet of the picture's shape, where the picture will be."""
    width, height = _size(row)
    scale = _scale(width, height)
    return (
        f'<figure class="mount blank"><div style="width: {round(width * scale)}px; '
        f'aspect-ratio: {width} / {height}"></div></figure>'
    )


def _caption(row: Row) -> str:
    return f'<p class="caption">{escape(prompt(row))}</p>'


def _notes(row: Row) -> str:
    lines = [f'<p class="note">{escape(line)}</p>' for line in row.message.splitlines() if line]
    return "".join(lines)


def _health(health: str) -> str:
    return f'<p class="note bad" role="alert">{escape(health)}</p>' if health else ""


def _downloads(row: Row) -> str:
    links = []
    for index, name in enumerate(row.files):
        if name.endswith(".json"):
            links.append(f'<a href="{address(row, index)}" download>Record</a>')
        elif index == 0:
            kind = "video" if name.endswith(".mp4") else "picture"
            links.append(f'<a class="first" href="{address(row, index)}" download>Download {kind}</a>')
    return f'<p class="links">{"".join(links)}</p>'


def _size(row: Row) -> tuple[int, int]:
    size = row.job.get("size") or (1, 1)
    return int(size[0]), int(size[1])


def _scale(width: int, height: int) -> float:
    return max(1.0, min(LARGEST / max(width, height), MOST))


def _record(row: Row, folder: Path) -> dict[str, Any]:
    """What the record beside the outputs tells; nothing when somebody took it away."""
    path = stored(row, len(row.files) - 1, folder)
    try:
        if path is None or path.suffix != ".json" or path.stat().st_size > MAX_RECORD:
            return {}
        record = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}
