"""The easel: what a tab that renders shows of the job that its page follows, and of the others that are not over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

from pipelines.queue.queue import Queue, Row, Settings, State
from ui.result import kind
from ui.shown import Shown
from ui.status import stage, waiting
from ui.words import of, say

LOOKED_AT = 100  # rows that are searched for the latest one of a tab
LATEST: tuple[State, ...] = ("done", "failed", "cancelled", "paused")  # what is shown while nothing is at work

# One listener on the part itself, for what stands in it comes and goes.
PICK = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-job]');
  if (button) trigger('pick', {job: button.dataset.job, act: button.dataset.act});
});
"""


@dataclass(frozen=True)
class Seen:
    """What an easel shows.

    Attributes:
        row: of the queue; None while there is nothing to show.
        ahead: how many rows are rendered before it.
        others: the other rows that are not over.
        settings: the queue's.
        health: a sentence while no renderer is at work, else "".
    """

    row: Row | None
    ahead: int
    others: list[Row]
    settings: Settings
    health: str


def seen(queue: Queue, health: Callable[[], str], follows: str, tab: str) -> Seen:
    """What the easel of `tab` shows to a page that follows row `follows`, or "": what is at work, or the latest."""
    line = queue.line()
    row = queue.get(follows) if follows else None
    if row is None:
        row = next((row for row in line if row.state != "paused" and kind(row.job) == tab), None)
    if row is None:
        row = next((row for row in queue.rows(LOOKED_AT, 0, LATEST) if kind(row.job) == tab), None)
    going = [other.id for other in line if other.state != "paused"]
    ahead = going.index(row.id) if row and row.id in going else 0
    others = [other for other in line if not row or other.id != row.id]
    return Seen(row, ahead, others, queue.settings(), health())


def drawn(
    queue: Queue, folder: Path, health: Callable[[], str], tab: str, follows: str, training: bool = False
) -> Shown:
    """The easel of `tab` for a page that follows row `follows`, or "", and the line of the others under it.

    `training` is whether a training takes from the render what it has of this machine, which is told beside it.
    """
    now = seen(queue, health, follows, tab)
    shown = stage(now.row, now.ahead, folder, now.health, of("hint", tab), now.settings)
    slower = training and now.row is not None and now.row.state in ("queued", "running")
    note = f'<p class="note" data-key="training" role="status">{say("status.training")}</p>' if slower else ""
    return Shown.of(f"{shown}{note}{waiting(now.others)}")


def address(tab: str, follows: str = "") -> str:
    """Where a page that follows a row asks for the easel of `tab`."""
    return f"{tab}?{urlencode({'follows': follows})}"
