"""The Queue tab: what its presses do to the queue's rows. Every row is named by its id, and nothing here renders.

What is drawn is `queuelist.py`'s, what the list does in the browser `queuescript.py`'s.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

import gradio as gr

from pipelines.files.record import adapters_named
from pipelines.queue.queue import MOST_PRIORITY, Queue, Row
from ui.desk import Desk
from ui.queuelist import drawn, movable
from ui.queuescript import SCRIPT, SHELL, SHOW_BAR
from ui.result import kind
from ui.settings import quick
from ui.shown import Shown, unseen
from ui.studio import Studio
from ui.words import counted, of, say

ADDRESS = "queue"  # of the list, behind /watch/
ALL_OVER = 100_000  # rows that are forgotten at once


def queue_tab(studio: Studio, desks: Sequence[Desk], tabs: gr.Tabs) -> None:
    """Lay the tab out and wire it.

    Args:
        studio: what it works with.
        desks: the tabs in which a job can be edited.
        tabs: all tabs.
    """
    queue = studio.queue

    def act(event: gr.EventData) -> tuple[Any, ...]:
        words = (str(getattr(event, name, None) or "") for name in ("act", "job", "before"))
        try:
            answer = press(queue, *words)
        except sqlite3.Error as error:
            answer = say("queue.unwritten", problem=error)
        # The turn makes each answer another one, so that a row which was dragged in vain goes back.
        return f'{shown(studio).watched(ADDRESS)}<i hidden data-turn="{secrets.token_hex(4)}"></i>', _said(answer)

    def take(event: gr.EventData) -> list[Any]:
        """A waiting job in the fields of its tab, which is opened, to be saved into its row."""
        row = queue.get(str(getattr(event, "job", None) or ""))
        why = not_editable(row, [desk.form.kind for desk in desks])
        if row is None or why:
            return [_said(why), *[gr.skip()] * (len(filled) - 1)]
        answer: list[Any] = [_said(""), gr.Tabs(selected=kind(row.job))]
        for desk in desks:
            if desk.form.kind == kind(row.job):
                answer += [*desk.form.said(), *desk.form.values(row.job), row.id, gr.Row(visible=True)]
            else:
                answer += [gr.skip()] * (len(desk.form.notes) + len(desk.form.parts) + 2)
        return answer

    with gr.Column(elem_classes="sheet"):
        told = gr.HTML(_said(""), elem_classes="queue-said", elem_id="queue-said", apply_default_css=False)
        rows = gr.HTML(
            unseen(ADDRESS), html_template=SHELL, js_on_load=SCRIPT, elem_id="queue", apply_default_css=False
        )

    parts = ((*desk.form.notes, *desk.form.parts, desk.edited, desk.bar) for desk in desks)
    filled = [told, tabs, *(part for some in parts for part in some)]
    # Each press counts, also one that comes before the last one was answered.
    rows.act(act, None, [rows, told], **{**quick, "trigger_mode": "multiple"})
    rows.take(take, None, filled, **quick).then(None, js=SHOW_BAR, api_visibility="private")


def shown(studio: Studio) -> Shown:
    """The list as it is now."""
    return Shown.of(drawn(studio.queue, studio.health()))


def press(queue: Queue, act: str, id: str = "", before: str = "") -> str:
    """Do what a button of the page says, and return the sentence that answers it.

    Args:
        queue: the rows.
        act: which button.
        id: of the row that it stands in; one that is not there changes nothing.
        before: of the row that another one is put before; "" is the end of the line.
    """
    if act in FOR_ALL:
        return FOR_ALL[act](queue)
    row = queue.get(id)
    answer = FOR_ONE[act](queue, row, before) if row is not None and act in FOR_ONE else None
    if answer is not None:
        return answer
    now = queue.get(id)
    return say("queue.late", number=now.number, state=of("state", now.state)) if now else say("queue.gone")


def not_editable(row: Row | None, tabs: Sequence[str]) -> str:
    """Why a row can not be edited in one of `tabs`; "" when it can."""
    if row is None:
        return say("queue.gone")
    if row.state not in ("queued", "paused"):
        return say("queue.late", number=row.number, state=of("state", row.state))
    if any("." in field for field, _ in adapters_named(row.job)):
        return say("queue.adapters", number=row.number)
    return "" if kind(row.job) in tabs else say("queue.no_tab", number=row.number)


# ------------------------------------------------------------ on one row: a sentence, or None when nothing was changed


def _move(queue: Queue, row: Row, to: Callable[[Sequence[str], int], str | None]) -> str | None:
    """Move a row; `to` gets the ids of those in the list and its place there, and says before whom it goes."""
    ids = [each.id for each in movable(queue.line())]
    if row.id not in ids:
        return None
    before = to(ids, ids.index(row.id))
    if before != row.id and not queue.move(row.id, before):
        return None
    ids = [each.id for each in movable(queue.line())]
    return say("queue.moved", number=row.number, place=ids.index(row.id) + 1, count=len(ids)) if row.id in ids else None


def _up(queue: Queue, row: Row, _: str) -> str | None:
    return _move(queue, row, lambda ids, place: ids[max(0, place - 1)])


def _down(queue: Queue, row: Row, _: str) -> str | None:
    # Before the one after the next; None is the end, and itself no move.
    return _move(queue, row, lambda ids, place: row.id if row.id == ids[-1] else [*ids, None][place + 2])


def _front(queue: Queue, row: Row, _: str) -> str | None:
    return _move(queue, row, lambda ids, _: ids[0])


def _place(queue: Queue, row: Row, before: str) -> str | None:
    return _move(queue, row, lambda ids, _: before or (row.id if row.id == ids[-1] else None))


def _pause(queue: Queue, row: Row, _: str) -> str | None:
    return (
        say("queue.pausing" if row.state == "running" else "queue.paused", number=row.number)
        if queue.pause(row.id)
        else None
    )


def _resume(queue: Queue, row: Row, _: str) -> str | None:
    return (
        say("queue.unheld" if row.state == "running" else "queue.resumed", number=row.number)
        if queue.resume(row.id)
        else None
    )


def _cancel(queue: Queue, row: Row, _: str) -> str | None:
    if row.state not in ("queued", "paused", "running"):
        return None
    queue.cancel(row.id)
    now = queue.get(row.id)
    return (
        say("queue.cancelled" if now.state == "cancelled" else "queue.stopping", number=row.number)
        if now and now.stopping
        else None
    )


def _less(queue: Queue, row: Row, _: str) -> str | None:
    return _priority(queue, row, row.priority - 1)


def _more(queue: Queue, row: Row, _: str) -> str | None:
    return _priority(queue, row, row.priority + 1)


def _priority(queue: Queue, row: Row, wanted: int) -> str | None:
    if abs(wanted) > MOST_PRIORITY:
        return say("queue.most", number=row.number, priority=row.priority)
    return say("queue.priority", number=row.number, priority=wanted) if queue.set_priority(row.id, wanted) else None


def _copy(queue: Queue, row: Row, _: str) -> str | None:
    return _new(queue, "copied", queue.duplicate(row.id))


def _retry(queue: Queue, row: Row, _: str) -> str | None:
    return _new(queue, "retried", queue.retry(row.id))


def _new(queue: Queue, what: str, id: str | None) -> str | None:
    row = queue.get(id) if id else None
    return of("new_job", what, number=row.number) if row else None


def _forget(queue: Queue, row: Row, _: str) -> str | None:
    # What is done has files, which are not the queue's to forget.
    return (
        say("queue.forgotten", number=row.number)
        if row.state in ("failed", "cancelled") and queue.delete([row.id])
        else None
    )


FOR_ONE: Mapping[str, Callable[[Queue, Row, str], str | None]] = {
    "up": _up, "down": _down, "front": _front, "place": _place, "pause": _pause, "resume": _resume, "cancel": _cancel,
    "less": _less, "more": _more, "copy": _copy, "retry": _retry, "forget": _forget,
}  # fmt: skip

# ------------------------------------------------------------ on all of them


def _hold(queue: Queue) -> str:
    queue.pause_all()
    return say("queue.all_paused")


def _go_on(queue: Queue) -> str:
    queue.resume_all()
    return say("queue.all_on")


def _cancel_all(queue: Queue) -> str:
    return counted("queue.all_cancelled", queue.cancel_waiting())


def _forget_all(queue: Queue) -> str:
    return counted(
        "queue.all_forgotten", queue.delete([row.id for row in queue.rows(ALL_OVER, 0, ("failed", "cancelled"))])
    )


def _again(queue: Queue) -> str:
    queue.set_resume_interrupted(True)
    return say("queue.again_on")


def _offer(queue: Queue) -> str:
    queue.set_resume_interrupted(False)
    return say("queue.again_off")


FOR_ALL: Mapping[str, Callable[[Queue], str]] = {
    "hold": _hold, "go-on": _go_on, "cancel-all": _cancel_all, "forget-all": _forget_all, "again": _again,
    "offer": _offer,
}  # fmt: skip


def _said(sentence: str) -> str:
    return f'<p class="say" role="status">{escape(sentence)}</p>'
