"""The queue's list as HTML: what runs, waits, is paused or was interrupted, and what is over lately.

Every word of a user is escaped. Elements with a key are the same ones in the next drawing (see `queuescript.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from pipelines.queue.queue import MOST_PRIORITY, Queue, Row, Settings, State
from ui.reasons import in_language, marked
from ui.result import kind, prompt
from ui.shown import live
from ui.status import bar, how_far, interrupted
from ui.words import counted, knows, numerals, of, say

SHOWN = 100  # rows that are not over
OVER: tuple[State, ...] = ("failed", "cancelled", "done")
OVER_SHOWN = 20  # the latest rows that are over
LONGEST, LONGEST_NAME = 240, 60  # characters of a prompt that are shown, and that name a button

COUNTED: tuple[State, ...] = ("running", "queued", "paused", "done")

# Drawn, for not every machine has letters for them.
ICONS = {
    "up": "M8 13V3M4 7l4-4 4 4", "down": "M8 3v10M4 9l4 4 4-4", "front": "M3 3h10M8 13V6M5 9l3-3 3 3",
    "less": "M4 8h8", "more": "M4 8h8M8 4v8", "pause": "M6 4v8M10 4v8", "resume": "M5 3.500l7 4.500-7 4.500z",
    "copy": "M6 6h7v7H6zM10 6V3H3v7h3", "take": "M3 13l1-3 7-7 2 2-7 7z", "cancel": "M4 4l8 8M12 4l-8 8",
    "menu": "M3 8h.01M8 8h.01M13 8h.01",
}  # fmt: skip

CSS = """
.queue [data-part="body"] > .watched { display: flex; flex-direction: column; gap: 22px; min-width: 0; }
.queue .sr { position: absolute; width: 1px; height: 1px; margin: 0; overflow: hidden; clip-path: inset(50%); }
.queue h2 { margin: 0 0 6px; font: 600 19px/1.2 var(--serif); color: var(--body-text-color); }
.queue .facts { justify-content: flex-start; margin: 0 0 14px; } .queue .facts dd { font: 600 22px/1.2 var(--serif); }
.queue .why, .queue .help { margin: 0 0 8px; color: var(--body-text-color-subdued); font-size: 14.5px; }
.queue .note { margin: 0 0 14px; }
.queue .tools, .queue .sure, .queue .under, .offer { display: flex; flex-wrap: wrap; align-items: center; gap: 10px; }
.queue .tools { justify-content: flex-start; }
.queue .tools button, .queue .under button, .offer button {
  margin: 0; padding: 8px 16px; border: 0; border-radius: 10px; cursor: pointer; font: inherit; font-weight: 600;
  background: var(--button-secondary-background-fill); color: var(--button-secondary-text-color);
}
.queue .tools button:hover, .queue .under button:hover, .offer button:hover {
  background: var(--button-secondary-background-fill-hover);
}
.queue button.main, .queue button.main:hover, .offer button.main, .offer button.main:hover {
  background: var(--button-primary-background-fill); color: var(--button-primary-text-color);
}
.queue button[aria-disabled="true"] { opacity: 0.35; cursor: default; }
.queue .sure { display: none; } .queue.asking .sure { display: flex; } .queue.asking [data-act="ask"] { display: none; }
.queue .switch { display: flex; align-items: center; gap: 9px; margin-left: auto; font-size: 14.5px; cursor: pointer; }
.gradio-container .queue .switch input {
  appearance: auto; flex: none; width: 18px; height: 18px; margin: 0; accent-color: var(--color-accent);
}
.queue .rows { list-style: none; margin: 0; padding: 0; }
.queue .row {
  display: grid; grid-template-columns: 22px minmax(0, 1fr) auto; gap: 4px 12px; align-items: center; margin: 0;
  padding: 11px 0; border-top: 1px dashed var(--border-color-primary); border-radius: 2px; color: inherit;
}
.queue .row:first-child { border-top-color: transparent; }
.queue .row:focus-visible, .queue summary:focus-visible, .queue input:focus-visible {
  outline: 3px solid var(--input-border-color-focus); outline-offset: 1px;
}
.queue .row.dragged { background: var(--mat); box-shadow: var(--lift-small); border-radius: 10px; }
.queue .grip {
  width: 22px; height: 34px; cursor: grab; touch-action: none; opacity: 0.55; background-position: center;
  background-image: radial-gradient(currentColor 1.3px, transparent 1.7px); background-size: 7px 7px;
}
.queue .dragged .grip { cursor: grabbing; }
.queue .body { grid-column: 2; min-width: 0; }
.queue .said {
  margin: 0; font: italic 16.5px/1.4 var(--serif); overflow-wrap: anywhere; overflow: hidden;
  display: -webkit-box; -webkit-line-clamp: 2; -webkit-box-orient: vertical;
}
.queue .how {
  margin: 2px 0 0; font-size: 13.5px; color: var(--body-text-color-subdued); font-variant-numeric: tabular-nums;
  white-space: normal;
}
.queue .how b { color: var(--body-text-color); font-weight: 600; }
.queue .body .note { margin: 6px 0 0; font-size: 14.5px; } .queue .body .bar { width: 100%; margin-top: 8px; }
.queue .acts { display: flex; gap: 4px; justify-content: flex-end; }
.queue .acts button, .queue summary {
  box-sizing: border-box; display: grid; place-items: center; width: 34px; height: 34px; margin: 0; padding: 0;
  border: 0; border-radius: 9px; background: var(--faint); color: var(--body-text-color); cursor: pointer;
  list-style: none;
}
.queue summary::-webkit-details-marker { display: none; }
.queue .acts button:hover, .queue summary:hover { background: var(--button-secondary-background-fill-hover); }
.queue .acts svg {
  width: 16px; height: 16px; fill: none; stroke: currentColor; stroke-width: 1.6; stroke-linecap: round;
  stroke-linejoin: round;
}
.queue .menu { position: relative; } .queue .menu summary svg { stroke-width: 2.4; }
.queue .menu > div {
  position: absolute; z-index: 5; right: 0; top: 40px; display: flex; flex-direction: column; gap: 4px; padding: 8px;
  border-radius: 12px; background: var(--sheet); border: 1px solid var(--border-color-primary); box-shadow: var(--lift);
}
.queue .menu > div button {
  width: auto; min-width: 190px; height: 36px; padding: 0 12px; display: flex; gap: 10px; justify-content: flex-start;
  align-items: center; font: inherit; white-space: nowrap;
}
.queue .under { gap: 8px; margin-top: 9px; }
.queue .lately .row, .queue .offered .row { grid-template-columns: minmax(0, 1fr); }
.queue .lately .body, .queue .offered .body { grid-column: 1; }
.queue .none { margin: 0; padding: 22px 0; font: italic 17px/1.5 var(--serif); color: var(--body-text-color-subdued); }
.queue-said .say { min-height: 1.5em; }
.editing {
  align-items: center !important; gap: 10px !important; padding: 12px 14px !important; border-radius: 12px;
  background: var(--note) !important; border: 1px solid var(--note-edge) !important;
}
.editing p { margin: 0; color: var(--note-ink); font-weight: 600; }
.offer { justify-content: center; }
@media (max-width: 760px) {
  .queue .row { grid-template-columns: 22px minmax(0, 1fr); }
  .queue .acts { grid-column: 1 / -1; justify-content: flex-start; flex-wrap: wrap; gap: 6px; margin-top: 6px; }
  .queue .acts button, .queue summary { width: 42px; height: 42px; }
  .queue .menu { position: static; } .queue .row { position: relative; }
  .queue .menu > div { top: auto; bottom: 58px; right: 4px; } .queue .menu > div button { height: 42px; }
  .queue .switch { margin-left: 0; }
}
"""


def drawn(queue: Queue, health: str = "") -> str:
    """The list over the rows as they are now.

    Args:
        queue: the rows.
        health: a sentence while no renderer is at work, else "".
    """
    settings, counts, line = queue.settings(), queue.counts(), queue.line(SHOWN + 1)
    over, more = queue.rows(OVER_SHOWN, 0, OVER), [row.id for row in line[SHOWN:]]
    line = line[:SHOWN]
    known = {row.id: row for row in (*line, *over)}
    parents = {row.parent: known.get(row.parent) or queue.get(row.parent) for row in known.values() if row.parent}
    sections = [_all(settings, counts, health)]
    if offered := [row for row in line if interrupted(row)]:
        items = "".join(_offered(row, parents) for row in offered)
        sections.append(
            _section(
                "offered", say("line.offered"), f'<p class="why">{say("line.offered_why")}</p>{_list("offered", items)}'
            )
        )
    standing, rest = [row for row in line if not interrupted(row)], ""
    if more:
        left = counts["running"] + counts["queued"] + counts["paused"] - len(line)
        rest = f'<p class="why">{counted("line.more", left)}</p>'
    sections.append(_section("line", say("line.line"), _line(standing, parents, settings, "".join(more)) + rest))
    if over:
        items = "".join(_over(row, parents) for row in over)
        sections.append(_section("lately", say("line.lately"), _list("lately", items) + _forget_all(over)))
    return "".join(sections)


def movable(rows: Sequence[Row]) -> list[Row]:
    """Those that stand in line and do not run."""
    return [row for row in rows if row.state in ("queued", "paused") and not interrupted(row)]


# ------------------------------------------------------------ sections


def _all(settings: Settings, counts: Mapping[State, int], health: str) -> str:
    """How many there are, why nothing is rendered where that is so, and what can be done with all."""
    told = "".join(
        f"<div><dt>{of('count', state)}</dt><dd>{numerals(f'{counts[state]:,}')}</dd></div>"
        for state in COUNTED
        if counts[state] or state == "queued"
    )
    notes = f'<p class="note bad" role="alert">{marked(health)}</p>' if health else ""
    if settings.paused and settings.why:
        notes += (
            f'<p class="note bad" role="alert">{escape(say("status.paused_itself", why=in_language(settings.why)))}</p>'
        )
    elif settings.paused:
        notes += f'<p class="note">{say("line.paused")}</p>'
    act, words, style = (
        ("go-on", say("line.go_on"), ' class="main"') if settings.paused else ("hold", say("line.pause_all"), "")
    )
    off, sure = ' aria-disabled="true"', ""
    if waits := counts["queued"]:
        off = ""
        sure = (
            f'<span class="sure" role="group" data-key="sure"><span>{counted("line.sure", waits)}</span>'
            f'<button type="button" data-act="cancel-all">{say("line.yes")}</button>'
            f'<button type="button" data-act="spare">{say("line.no")}</button></span>'
        )
    checked = " checked" if settings.resume_interrupted else ""
    return (
        f'<section class="all" data-key="all"><dl class="facts">{told}</dl>{notes}<div class="tools">'
        f'<button type="button" data-key="hold" data-act="{act}"{style}>{words}</button>'
        f'<button type="button" data-key="ask" data-act="ask"{off}>{say("line.cancel_all")}</button>{sure}'
        f'<label class="switch" data-key="again"><input type="checkbox" data-act="again"{checked}>'
        f"{say('line.again')}</label>"
        "</div></section>"
    )


def _section(key: str, title: str, inner: str) -> str:
    return (
        f'<section class="{key}" data-key="{key}" aria-labelledby="queue-{key}"><h2 id="queue-{key}">{title}</h2>'
        f"{inner}</section>"
    )


def _list(key: str, items: str, more: str = "") -> str:
    """A list; `more` is the id of the row that comes after the last one."""
    # The role again, for a list without marks is none to some screen readers.
    return f'<ul class="rows" role="list" data-key="{key}" data-list="{key}" data-more="{more}">{items}</ul>'


def _line(rows: Sequence[Row], parents: Mapping[str, Row | None], settings: Settings, more: str) -> str:
    if not rows:
        return f'<p class="none">{say("line.empty")}</p>'
    moving, items, ahead = movable(rows), [], 0
    for row in rows:
        waits = counted("line.ahead", ahead) if row.state == "queued" and not settings.paused else ""
        items.append(_standing(row, parents, waits, row in moving[:1], not more and row in moving[-1:]))
        ahead += row.state != "paused"
    return f'<p class="help" id="queue-help">{say("line.help")}</p>{_list("line", "".join(items), more)}'


def _forget_all(over: Sequence[Row]) -> str:
    if all(row.state == "done" for row in over):
        return ""
    return f'<div class="under"><button type="button" data-act="forget-all">{say("line.forget_all")}</button></div>'


# ------------------------------------------------------------ rows


def _standing(row: Row, parents: Mapping[str, Row | None], waits: str, first: bool, last: bool) -> str:
    """A row of the line. One that runs can not be moved or edited."""
    runs = row.state == "running"
    held = row.held if runs else row.state == "paused"
    if runs:
        state = live(f"far:{row.id}", escape(how_far(row)), "b")
        progress = live(f"bar:{row.id}", bar(row.step / row.steps if row.steps else 0.0), "div")
    else:
        state, progress = f"<b>{escape(of('state', row.state))}</b>", ""
    facts = _facts(row, parents, state, waits)
    notes = "".join(f'<p class="note">{marked(line)}</p>' for line in row.message.splitlines() if line)
    acts = "" if runs else _icon(row, "up", off=first) + _icon(row, "down", off=last)
    acts += _icon(row, "resume" if held else "pause", key="toggle", off=row.stopping)
    acts += "" if runs else _icon(row, "take")
    acts += _icon(row, "cancel", off=row.stopping) + _menu(row, first)
    grip = "<span></span>" if runs else '<span class="grip" data-grip aria-hidden="true"></span>'
    inner = f'{grip}{_body(row, facts, progress + notes)}<div class="acts">{acts}</div>'
    return _item(row, inner, "" if runs else ' data-moves aria-describedby="queue-help"')


def _menu(row: Row, first: bool) -> str:
    names = ("copy",) if row.state == "running" else ("front", "more", "less", "copy")
    off = {"front": first, "more": row.priority >= MOST_PRIORITY, "less": row.priority <= -MOST_PRIORITY}
    items = "".join(_icon(row, name, off=off.get(name, False), words=True) for name in names)
    # Of one name, so that opening one closes the other.
    return (
        f'<details class="menu" name="queue-menu"><summary aria-label="{_label(row, "menu")}" '
        f'title="{say("line.menu")}">'
        f"{_drawing('menu')}</summary><div>{items}</div></details>"
    )


def _offered(row: Row, parents: Mapping[str, Row | None]) -> str:
    got = say("line.got_to", step=row.step, steps=row.steps) if row.step else ""
    acts = _button(row, "resume", "again", main=True) + _button(row, "cancel", "remove")
    facts = _facts(row, parents, got, counted("line.started", row.attempts) if row.attempts > 1 else "")
    return _item(row, _body(row, facts, f'<div class="under">{acts}{_button(row, "take", "take")}</div>'))


def _over(row: Row, parents: Mapping[str, Row | None]) -> str:
    failed = f'<p class="note bad">{marked(row.message)}</p>' if row.state == "failed" else ""
    again = ("copy",) if row.state == "done" else ("retry", "forget")
    acts = "".join(_button(row, act, act) for act in again)
    facts = _facts(row, parents, f"<b>{of('state', row.state)}</b>")
    return _item(row, _body(row, facts, f'{failed}<div class="under">{acts}</div>'))


def _item(row: Row, inner: str, more: str = "") -> str:
    news = escape(of("news", row.state, number=row.number), quote=True)
    return (
        f'<li class="row {row.state}" data-key="{row.id}" data-job="{row.id}" data-state="{row.state}" '
        f'data-said="{news}" tabindex="0" aria-labelledby="queue-{row.id}"{more}>{inner}</li>'
    )


def _body(row: Row, facts: str, more: str) -> str:
    words = escape(_words(row), quote=True)
    return (
        f'<div class="body"><div id="queue-{row.id}"><p class="said" title="{words}">{words}</p>'
        f'<p class="how">{facts}</p></div>{more}</div>'
    )


def _facts(row: Row, parents: Mapping[str, Row | None], *more: str) -> str:
    """Its number, what kind of job it is, `more` (which is HTML), and where it comes from."""
    found = [str(row.number), escape(_kind(row)), *more]
    if row.priority and row.state in ("queued", "paused"):
        found.append(say("line.priority", priority=row.priority))
    if row.parent:
        parent = parents.get(row.parent)
        if parent is None:
            found.append(say("line.from_gone"))
        elif parent.state in ("failed", "cancelled"):
            found.append(say("line.once_more", parent=parent.number))
        else:
            found.append(say("line.copy_of", parent=parent.number))
    return " · ".join(filter(None, found))


def _kind(row: Row) -> str:
    name = kind(row.job)
    return of("kind", name) if knows("kind", name) else str(row.job.get("task", ""))


def _icon(row: Row, act: str, key: str = "", off: bool = False, words: bool = False) -> str:
    # Not `disabled`, which would take the focus from somebody who presses it again and again.
    state = ' aria-disabled="true"' if off else ""
    beside = f"<span>{of('act', act)}</span>" if words else ""
    return (
        f'<button type="button" data-key="{key or act}" data-act="{act}" title="{of("act", act)}" '
        f'aria-label="{_label(row, act)}"{state}>{_drawing(act)}{beside}</button>'
    )


def _button(row: Row, act: str, words: str, main: bool = False) -> str:
    style = ' class="main"' if main else ""
    label = _label(row, words)
    return f'<button type="button" data-act="{act}" aria-label="{label}"{style}>{of("act", words)}</button>'


def _drawing(name: str) -> str:
    return f'<svg viewBox="0 0 16 16" aria-hidden="true"><path d="{ICONS[name]}"/></svg>'


def _label(row: Row, words: str) -> str:
    shown = _words(row)[:LONGEST_NAME]
    return escape(say("line.label", button=of("act", words), number=row.number, prompt=shown), quote=True)


def _words(row: Row) -> str:
    words = prompt(row)
    return words if len(words) <= LONGEST else f"{words[:LONGEST]}…"
