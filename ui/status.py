"""A row of the queue as HTML: how far it is, and what of it waits. Every word of a user is escaped."""

from __future__ import annotations

import time
from collections.abc import Sequence
from html import escape
from pathlib import Path

from pipelines.progress import duration
from pipelines.queue import Row
from ui.result import enlarged, facts, picture, prompt, size
from ui.scenery import EASEL

WORDS = {
    "queued": "waiting", "running": "rendering", "paused": "paused", "done": "done", "failed": "failed",
    "cancelled": "cancelled",
}  # fmt: skip


def stage(row: Row | None, ahead: int, folder: Path, health: str, hint: str = "") -> str:
    """The easel: nothing yet, a render on its way, a picture, or why there is none.

    Args:
        row: what is shown.
        ahead: how many rows are rendered before it.
        folder: the output folder.
        health: a sentence while no renderer is at work, else "".
        hint: what to do when there is nothing yet.
    """
    if row is None:
        return f'<div class="stage empty">{EASEL}<p>The table is clear.</p><p>{escape(hint)}</p>{_health(health)}</div>'
    body = {"queued": _waiting, "running": _running}.get(row.state)
    if body:
        inner = body(row, ahead) + _health(health) + _notes(row)
    elif row.state == "done":
        inner = picture(row, folder, again=True) + _notes(row) + facts(row, folder)
    elif row.state == "failed":
        inner = f'<p class="note bad" role="alert"><b>Not rendered:</b> {escape(row.message)}</p>'
    elif row.state == "paused":
        inner = f'{_blank(row)}<p class="say" role="status">Paused.</p>{_notes(row)}'
    else:
        inner = '<p class="say">Cancelled.</p>'
    return f'<div class="stage {row.state}" data-id="{row.id}">{inner}{_caption(row)}</div>'


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
    width, height = size(row)
    if width == 1:  # a job whose size is its source's
        width = height = 128
    scale = enlarged(width, height)
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
