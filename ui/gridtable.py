"""A grid of the queue as HTML, as it fills: a table, or one for each value of a third axis. All words are escaped."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from pipelines.batch import words_of
from pipelines.grid.grid import Axis, Cell, Grid
from pipelines.grid.store import Kept
from pipelines.queue.queue import Row
from ui import gridfiles
from ui.files import address
from ui.reasons import in_language
from ui.redraw import SURE, redrawn
from ui.result import is_video
from ui.shown import live
from ui.words import of, say

PACE = 1.0  # seconds between two looks, while the tab is open
SHELL = '<div class="grid-shown"><div data-part="body"></div></div>'
ACTS = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-large]'), sheet = document.querySelector('.grid-large');
  if (!button || !sheet) return;
  const media = button.querySelector('img, video').cloneNode();
  media.removeAttribute('loading');
  if (media.tagName === 'VIDEO') media.controls = media.autoplay = true;
  sheet.querySelector('[data-media]').replaceChildren(media);
  sheet.querySelector('p').textContent = button.dataset.large;
  sheet.showModal();
});
element.addEventListener('click', (event) => {
  const act = event.target.closest('[data-act]')?.dataset.act;
  if (act === 'stop') trigger('act', {act});
  if (act === 'forget') trigger('act', {act});
});
// What was asked of one grid is not asked of the next.
let asked = '';
element.addEventListener('drawn', () => {
  const grid = body.querySelector('[data-key]')?.dataset.key ?? '';
  if (grid !== asked) root.classList.remove('asking');
  asked = grid;
});
element.addEventListener('keydown', (event) => {
  const step = {ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0]}[event.key];
  const cell = event.target.closest('td');
  if (!step || !cell || event.altKey || event.ctrlKey || event.metaKey) return;
  const row = cell.closest('table').rows[cell.parentElement.rowIndex + step[0]];
  const next = row?.cells[cell.cellIndex + step[1]]?.querySelector('button');
  if (next) { event.preventDefault(); next.focus(); }
});
"""
SCRIPT = f"const root = element.querySelector('.grid-shown');{redrawn(PACE)}{SURE}{ACTS}"
SHUT = """
const sheet = element.querySelector('dialog');
sheet.addEventListener('click', (event) => {
  if (event.target === sheet || event.target.closest('[data-close]')) sheet.close();
});
sheet.addEventListener('close', () => sheet.querySelector('[data-media]').replaceChildren());
"""

CSS = """
.grid-acts { display: flex; flex-wrap: wrap; align-items: center; gap: 10px; margin: 0 0 14px; }
.grid-acts :is(a, button) {
  margin: 0; padding: 8px 16px; border: 0; border-radius: 10px; cursor: pointer; font: inherit; font-weight: 600;
  text-decoration: none; background: var(--button-secondary-background-fill); color: var(--button-secondary-text-color);
}
.grid-acts :is(a, button):hover { background: var(--button-secondary-background-fill-hover); }
.grid-acts .sure { display: none; flex-wrap: wrap; align-items: center; gap: 10px; }
.asking .grid-acts .sure { display: flex; } .asking .grid-acts [data-act="ask"] { display: none; }
.grid-empty { margin: 0; padding: 30px 6px; font: italic 17px/1.5 var(--serif); text-align: center;
  color: var(--body-text-color-subdued); }
.grid-of { display: flex; flex-direction: column; gap: 12px; }
.grid-of h3 { margin: 8px 0 0; font: 600 16px/1.3 var(--serif); overflow-wrap: anywhere; }
.grid-of .counted { margin: 0; color: var(--body-text-color-subdued); }
.grid-of .table {
  max-width: 100%; max-height: 80vh; overflow: auto; border: 1px solid var(--border-color-primary); border-radius: 8px;
  width: fit-content;
}
.grid-of table { margin: 0; border-collapse: separate; border-spacing: 0; width: auto; }
.grid-of th, .grid-of td {
  padding: 7px; border: 0; border-right: 1px solid var(--border-color-primary); vertical-align: top;
  border-bottom: 1px solid var(--border-color-primary); background: var(--sheet); text-align: left;
}
.grid-of th { min-width: 70px; max-width: 200px; font-weight: 600; overflow-wrap: anywhere; }
.grid-of thead th { position: sticky; top: 0; z-index: 2; } .grid-of tbody th { position: sticky; left: 0; z-index: 1; }
.grid-of thead th:first-child { font-weight: 400; color: var(--body-text-color-subdued); }
.grid-of td button { display: block; margin: 0; padding: 0; border: 0; background: none; cursor: zoom-in; }
.grid-of td :is(img, video) { display: block; width: 120px; height: auto; margin: 0 !important; border-radius: 2px; }
.grid-of .blank {
  display: grid; place-items: center; width: 120px; min-height: 60px; padding: 6px; box-sizing: border-box;
  border-radius: 2px; background: var(--mat); color: var(--body-text-color-subdued); font-size: 13.5px;
  text-align: center; overflow-wrap: anywhere;
}
.grid-of .blank.failed { background: var(--bad); color: var(--bad-ink); }
.grid-large {
  box-sizing: border-box; margin: auto; padding: 18px; max-width: 96vw; max-height: 96vh; border-radius: 12px;
  border: 1px solid var(--edge); background: var(--sheet); color: var(--body-text-color);
}
.grid-large::backdrop { background: rgba(20, 16, 12, 0.7); }
.grid-large :is(img, video) {
  display: block; margin: 0 auto; width: min(88vw, 72vh); height: auto; max-height: 74vh; object-fit: contain;
}
.grid-large button {
  display: block; margin: 0 0 10px auto; padding: 6px 14px; border: 0; border-radius: 9px; background: var(--faint);
  color: inherit; cursor: pointer;
}
.grid-large p { margin: 10px 0 0; overflow-wrap: anywhere; }
"""


def sheet(kept: Kept | None, rows: Mapping[int, Row]) -> str:
    """A grid's table and what can be done with the grid; `rows` are by the index of their job."""
    if kept is None:
        return f'<p class="grid-empty">{say("grid.empty")}</p>'
    acts = ""
    if any(row.state == "done" for row in rows.values()):
        acts = f'<a id="grid-page" data-key="page" href="{gridfiles.address(kept.id)}" download>{say("grid.page")}</a>'
    if any(row.state in ("queued", "running", "paused") for row in rows.values()):
        acts += f'<button type="button" data-key="stop" data-act="stop">{say("grid.stop")}</button>'
    acts += (
        f'<button type="button" data-key="ask" data-act="ask">{say("grid.forget")}</button>'
        f'<span class="sure" role="group" data-key="sure"><span>{say("grid.sure", name=escape(kept.grid.name))}</span>'
        f'<button type="button" data-act="forget">{say("grid.yes")}</button>'
        f'<button type="button" data-act="spare">{say("grid.no")}</button></span>'
    )
    return f'<div data-key="{kept.id}"><div class="grid-acts">{acts}</div>{table(kept.grid, rows)}</div>'


def table(grid: Grid, rows: Mapping[int, Row]) -> str:
    """The grid with what became of each of its jobs; `rows` are by the index of the job."""
    across, down = grid.axes[0], grid.axes[1] if len(grid.axes) > 1 else None
    size = len(across.values) * (len(down.values) if down else 1)
    parts = [f'<p class="counted" role="status">{escape(how_full(grid, rows))}</p>']
    for start in range(0, len(grid.cells), size):
        parts += _table(grid, rows, across, down, start, size)
    return f'<section class="grid-of">{"".join(parts)}</section>'


def large() -> str:
    """The sheet that shows one cell; it stands outside of the table, which is drawn anew while it fills."""
    return (
        f'<dialog class="grid-large" aria-labelledby="grid-large-words"><button type="button" data-close>'
        f'{say("cells.close")}</button><div data-media></div><p id="grid-large-words"></p></dialog>'
    )


def how_full(grid: Grid, rows: Mapping[int, Row]) -> str:
    """How much of the grid is rendered, in a sentence or two."""
    states = [row.state for row in rows.values()]
    words = [say("cells.counted", done=states.count("done"), all=len(grid.jobs))]
    words += [say("cells.failed", failed=states.count("failed"))] if "failed" in states else []
    words += [say("cells.paused", paused=states.count("paused"))] if "paused" in states else []
    return " ".join(words)


def _table(grid: Grid, rows: Mapping[int, Row], across: Axis, down: Axis | None, start: int, size: int) -> list[str]:
    deep = grid.axes[2] if len(grid.axes) > 2 else None
    title = f"{deep.title} {deep.label(grid.cells[start].at[2])}" if deep else ""
    corner = f"{escape(across.title)}&nbsp;&rarr;" + (f"<br>{escape(down.title)}&nbsp;&darr;" if down else "")
    heads = "".join(f'<th scope="col">{escape(across.label(index))}</th>' for index in range(len(across.values)))
    label = escape(f"{grid.name}: {title}" if title else grid.name, quote=True)
    width = len(across.values)
    body = []
    for first in range(start, start + size, width):
        head = escape(down.label(grid.cells[first].at[1])) if down else ""
        cells = "".join(f"<td>{_cell(grid, cell, rows)}</td>" for cell in grid.cells[first : first + width])
        body.append(f'<tr><th scope="row">{head}</th>{cells}</tr>')
    return [
        f"<h3>{escape(title)}</h3>" if title else "",
        # A region that takes the focus, so that the keyboard scrolls it.
        f'<div class="table" role="region" tabindex="0" aria-label="{label}">',
        f"<table><thead><tr><th>{corner}</th>{heads}</tr></thead><tbody>{''.join(body)}</tbody></table></div>",
    ]


def _cell(grid: Grid, cell: Cell, rows: Mapping[int, Row]) -> str:
    row = rows.get(cell.index)
    if row is None:
        return f'<span class="blank">{say("cells.gone")}</span>'
    if row.state != "done" or not row.files:
        words = escape(of("cell", row.state, step=row.step, steps=row.steps))
        told = "\n".join(map(in_language, row.message.splitlines()))
        why = f' title="{escape(told, quote=True)}"' if told else ""
        if row.state == "running":
            return live(f"cell:{cell.index}", words, more=f' class="blank running"{why}')
        return f'<span class="blank {row.state}"{why}>{words}</span>'
    values = [f"{axis.field} {axis.label(at)}" for axis, at in zip(grid.axes, cell.at, strict=True)]
    words = "; ".join(filter(None, [words_of(grid.jobs[cell.index]), *values]))
    said, source = escape(words, quote=True), address(row, 0)
    if is_video(row):
        media = f'<video src="{source}" muted loop playsinline preload="metadata" aria-label="{said}"></video>'
    else:
        media = f'<img src="{source}" loading="lazy" alt="{said}">'
    name = escape(say("cells.open", cell=words), quote=True)
    return f'<button type="button" data-large="{said}" aria-label="{name}">{media}</button>'
