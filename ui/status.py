"""A row of the queue as HTML: how far it is, and what of it waits. Every word of a user is escaped."""

from __future__ import annotations

import time
from base64 import b64encode
from collections.abc import Callable, Sequence
from functools import partial
from html import escape
from pathlib import Path

from pipelines.progress import duration
from pipelines.queue.peephole import Peephole
from pipelines.queue.queue import INTERRUPTED, Row, Settings
from ui.reasons import in_language, marked
from ui.result import enlarged, facts, picture, prompt, size
from ui.scenery import EASEL
from ui.shown import live
from ui.words import counted, of, say

LINES = 8  # other jobs that are named
MAIN = ' class="main"'


def stage(
    row: Row | None, ahead: int, folder: Path, health: str, hint: str = "", settings: Settings | None = None
) -> str:
    """The easel: nothing yet, a render on its way, a picture, or why there is none.

    Args:
        row: what is shown.
        ahead: how many rows are rendered before it.
        folder: the output folder.
        health: a sentence while no renderer is at work, else "".
        hint: what to do when there is nothing yet.
        settings: the queue's, which may be paused.
    """
    if row is None:
        return (
            f'<div class="stage empty">{EASEL}<p>{say("status.clear")}</p><p>{escape(hint)}</p>{_health(health)}</div>'
        )
    bodies: dict[str, Callable[[Row, int], str]] = {"queued": _waiting, "running": partial(_running, folder=folder)}
    body = bodies.get(row.state)
    if row.state == "queued" and settings is not None and settings.paused:
        inner = _standing(row, settings) + _health(health) + _notes(row) + _stop(row)
    elif body:
        inner = body(row, ahead) + _health(health) + _notes(row) + _stop(row)
    elif row.state == "done":
        inner = picture(row, folder, again=True) + _notes(row) + facts(row, folder)
    elif row.state == "failed":
        inner = (
            f'<p class="note bad" role="alert"><b>{say("status.not_rendered")}</b> {marked(row.message)}</p>'
            + _offer(row, ("retry", say("status.retry")))
        )
    elif row.state == "paused":
        broken = interrupted(row)
        again = ("resume", say("status.again") if broken else say("status.resume"))
        inner = (
            f'{_blank(row)}<p class="say" role="status">'
            f"{say('status.broken_off') if broken else say('status.paused')}</p>"
            + (("" if broken else _notes(row)) + _offer(row, again, ("cancel", say("status.remove"))))
        )
    else:
        inner = f'<p class="say">{say("status.cancelled")}</p>' + _offer(row, ("retry", say("status.retry")))
    # Let alone while it is the same: what a person opened in a result, or put in another order, stays so.
    still = " data-still" if row.state == "done" else ""
    key = f'data-id="{row.id}" data-key="{row.id}-{row.state}"{still}'
    return f'<div class="stage {row.state}" {key}>{inner}{_caption(row)}</div>'


def waiting(rows: Sequence[Row]) -> str:
    """The other jobs that are not over, each with a button that shows it and one that cancels it."""
    if not rows:
        return ""
    items = []
    for row in rows[:LINES]:
        how = say("status.interrupted_word") if interrupted(row) else of("state", row.state)
        told = f'<span class="how">{how}</span>'
        if row.state == "running":
            told = live(f"at:{row.id}", say("status.at_step", step=row.step, steps=row.steps), more=' class="how"')
        words = escape(prompt(row))
        items.append(
            f'<li data-key="line-{row.id}">'
            f'<button type="button" class="what" data-job="{row.id}" data-act="show">{words}</button>{told}'
            f'<button type="button" class="drop" data-job="{row.id}" data-act="cancel" '
            f'aria-label="{escape(say("status.cancel_it", words=prompt(row)), quote=True)}" '
            f'title="{say("status.cancel")}">&times;</button></li>'
        )
    if len(rows) > LINES:
        items.append(f'<li><span class="how">{say("status.more", count=len(rows) - LINES)}</span></li>')
    return f'<section class="line" data-key="line"><h2>{say("status.others")}</h2><ul>{"".join(items)}</ul></section>'


def interrupted(row: Row) -> bool:
    """Whether a row was at work when its worker ended, and is offered."""
    return row.state == "paused" and row.message.partition(":")[0] == INTERRUPTED.partition(":")[0]


def how_far(row: Row) -> str:
    """What a running row is at, and the time left where that can be told."""
    if row.stopping:
        return say("status.stopping")
    if row.held:
        return say("status.pausing")
    if not row.step:
        return say("status.first")
    # The first step also pays for the model's loading, so the time left is only told once it means something.
    share = row.step / row.steps if row.steps else 0.0
    if row.step < 3 or not 0 < share < 1:
        return _in_window(row, say("status.step", step=row.step, steps=row.steps))
    past = time.time() - (row.started or time.time())
    left = duration(past * (1 - share) / share)
    return _in_window(row, say("status.step_left", step=row.step, steps=row.steps, left=left))


def _in_window(row: Row, how: str) -> str:
    """How far a row is, and in which of its windows, where a clip is made in several."""
    each = row.job.get("steps")
    if row.job.get("task") != "dubbing" or not isinstance(each, int) or each < 1:
        return how
    each = 2 * each - 1 if row.job.get("scheduler") == "heun" else each  # evaluations of the model
    if row.steps <= each or row.steps % each:
        return how
    return say("status.in_window", window=-(-row.step // each), windows=row.steps // each, how=how)


def _waiting(row: Row, ahead: int) -> str:
    words = counted("status.ahead", ahead)
    return f'{_blank(row)}<p class="say" role="status">{words}</p>{bar(0.0)}'


def _standing(row: Row, settings: Settings) -> str:
    """A waiting row while all are paused."""
    why = f'<p class="note bad" role="alert">{escape(say("status.paused_itself", why=in_language(settings.why)))}</p>'
    return (
        f'{_blank(row)}<p class="say" role="status">{say("status.stands")}</p>{why if settings.why else ""}'
        f"{_offer(row, ('go on', say('status.go_on')))}"
    )


def _offer(row: Row, *acts: tuple[str, str]) -> str:
    """Buttons for what can be done with a row, the first one first."""
    buttons = "".join(
        f'<button type="button" data-job="{row.id}" data-act="{act}"{"" if number else MAIN}>{words}</button>'
        for number, (act, words) in enumerate(acts)
    )
    return f'<div class="offer">{buttons}</div>'


def _stop(row: Row) -> str:
    """A button that cancels a row, until that was asked."""
    if row.stopping:
        return ""
    return (
        f'<div class="offer"><button type="button" class="stop" data-job="{row.id}" data-act="stop">'
        f"{say('desk.cancel')}</button></div>"
    )


def _running(row: Row, ahead: int, folder: Path) -> str:
    share = row.step / row.steps if row.steps else 0.0
    preview = Peephole(folder).look(row.id)
    inner = f'{_blank(row, preview)}<p class="say" role="status">{how_far(row)}</p>{bar(share)}'
    return live(f"so-far:{row.id}", inner, "div", ' class="so-far"')


def bar(share: float) -> str:
    """A bar of progress, `share` of it full."""
    percent = round(100 * share)
    return (
        f'<div class="bar" role="progressbar" aria-valuemin="0" aria-valuemax="100" aria-valuenow="{percent}" '
        f'aria-label="{say("status.progress")}"><i style="width: {percent}%"></i></div>'
    )


def _blank(row: Row, preview: bytes | None = None) -> str:
    """A sheet of the picture's shape, where the picture will be, with what there is to see of it so far."""
    width, height = size(row)
    if width == 1:  # a job whose size is its source's
        width = height = 128
    scale = enlarged(width, height)
    across = f"width: {round(width * scale)}px"
    if preview is None:
        return f'<figure class="mount blank"><div style="{across}; aspect-ratio: {width} / {height}"></div></figure>'
    # In the page itself and not at an address: it is small, soon another one, and must not flicker on its way.
    source = f"data:image/webp;base64,{b64encode(preview).decode()}"
    return (
        f'<figure class="mount preview"><img src="{source}" style="{across}" alt="{say("status.so_far")}" '
        'decoding="sync"></figure>'
    )


def _caption(row: Row) -> str:
    return f'<p class="caption">{escape(prompt(row))}</p>'


def _notes(row: Row) -> str:
    lines = [f'<p class="note">{marked(line)}</p>' for line in row.message.splitlines() if line]
    return "".join(lines)


def _health(health: str) -> str:
    return f'<p class="note bad" role="alert">{marked(health)}</p>' if health else ""
