"""The page of a rendered grid: one HTML file beside its pictures, which needs no server, no network and no program.

Links are relative, so the folder may be moved. All words in it come from jobs and are escaped; the one script has its
hash in the page's content policy, so no other would run. The same grid and files give the same bytes.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from urllib.parse import quote, unquote

from pipelines.batch import words_of
from pipelines.files.atomic import write_bytes
from pipelines.grid.grid import Axis, Cell, Grid
from pipelines.job import recipe

SUFFIX = ".html"
MARK = "diorama-grid"

STYLE = """
:root { color-scheme: light dark; --ground: #f3ecdf; --sheet: #fffdf8; --ink: #2c2723; --faint: #6f6457;
  --line: #d9ccb8; --mark: #c0282b; }
@media (prefers-color-scheme: dark) { :root { --ground: #1d1b29; --sheet: #282536; --ink: #efe9dd; --faint: #aaa3b4;
  --line: #46415a; --mark: #ee9a94; } }
* { box-sizing: border-box; }
body { margin: 0; padding: 1.5rem; background: var(--ground); color: var(--ink);
  font: 1rem/1.45 system-ui, sans-serif; }
h1 { margin: 0 0 .5rem; font-size: 1.4rem; overflow-wrap: anywhere; }
h2 { margin: 1.5rem 0 .5rem; font-size: 1.1rem; overflow-wrap: anywhere; }
dl { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: .1rem 1rem; margin: .75rem 0;
  max-width: 60rem; }
dt { color: var(--faint); } dd { margin: 0; overflow-wrap: anywhere; white-space: pre-wrap; }
summary { cursor: pointer; }
:focus-visible { outline: 3px solid var(--mark); outline-offset: 2px; }
.table { overflow: auto; max-height: 92vh; border: 1px solid var(--line); background: var(--sheet); width: fit-content;
  max-width: 100%; }
table { border-collapse: separate; border-spacing: 0; }
th, td { padding: .4rem; border-right: 1px solid var(--line); border-bottom: 1px solid var(--line); }
th { background: var(--sheet); font-weight: 600; text-align: left; vertical-align: top; overflow-wrap: anywhere;
  min-width: 6rem; max-width: 16rem; }
thead th { position: sticky; top: 0; z-index: 2; }
tbody th { position: sticky; left: 0; z-index: 1; }
thead th:first-child { left: 0; z-index: 3; color: var(--faint); font-weight: 400; }
.cell { display: block; padding: 0; border: 0; background: none; color: inherit; font: inherit; cursor: zoom-in; }
.cell img, .cell video { display: block; width: max(6rem, min(16rem, 22vw)); height: auto; }
.absent { color: var(--mark); }
[popover] { margin: auto; padding: 1rem; max-width: 96vw; max-height: 96vh; overflow: auto;
  border: 1px solid var(--line); background: var(--sheet); color: var(--ink); }
[popover]::backdrop { background: rgb(0 0 0 / .7); }
[popover] img, [popover] video { display: block; margin: 0 auto; width: min(90vw, 75vh); height: auto; max-height: 78vh;
  object-fit: contain; }
[popover] button { display: block; margin: 0 0 .5rem auto; font: inherit; }
"""

# Videos play while they are seen, unless the reader wants no motion; arrows go from cell to cell.
SCRIPT = """
const still = matchMedia('(prefers-reduced-motion: reduce)').matches;
const seen = new IntersectionObserver(found => found.forEach(one => {
  if (one.isIntersecting && !still) one.target.play().catch(() => {}); else one.target.pause();
}));
document.querySelectorAll('video').forEach(video => seen.observe(video));
addEventListener('keydown', event => {
  const step = {ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0]}[event.key];
  const cell = event.target.closest('td');
  if (!step || !cell) return;
  const row = cell.closest('table').rows[cell.parentElement.rowIndex + step[0]];
  const next = row?.cells[cell.cellIndex + step[1]]?.querySelector('button, a');
  if (next) { event.preventDefault(); next.focus(); }
});
"""


@dataclass(frozen=True)
class Words:
    """What the page says of its own, and the code of the language that it is in."""

    language: str = "en"
    shared: str = "What all cells share"
    close: str = "Close"
    file: str = "file"
    failed: str = "failed"  # after the name of a cell that has no picture


ENGLISH = Words()


def export(grid: Grid, files: Mapping[int, Path], folder: Path) -> Path:
    """Write the page of `grid` into `folder` as NAME.html, and return its path.

    A page of the same grid is written again; another file of that name stays, and the page becomes NAME-2.html.

    Args:
        grid: what was rendered.
        files: the picture or video of each job, by its index, inside of `folder`; a job that failed has none.
        folder: where the pictures are.

    Raises:
        OSError: the page can not be written.
    """
    mark = _mark(grid)
    number = 1
    path = folder / f"{grid.name}{SUFFIX}"
    while path.exists() and not _is_page_of(path, mark):
        number += 1
        path = folder / f"{grid.name}-{number}{SUFFIX}"
    links = {index: quote(file.relative_to(folder).as_posix()) for index, file in files.items()}
    write_bytes(path, page(grid, links).encode())
    return path


def page(grid: Grid, links: Mapping[int, str], words: Words = ENGLISH) -> str:
    """The page's text; `links` are relative addresses of pictures and videos by the index of their job."""
    policy = (
        f"default-src 'none'; img-src 'self' file:; media-src 'self' file:; style-src 'sha256-{_digest(STYLE)}'; "
        f"script-src 'sha256-{_digest(SCRIPT)}'; base-uri 'none'; form-action 'none'"
    )
    parts = [
        "<!doctype html>",
        f'<html lang="{words.language}">',
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f'<meta name="{MARK}" content="{_mark(grid)}">',
        f"<title>{escape(grid.name)}</title>",
        f"<style>{STYLE}</style>",
        f"<h1><bdi>{escape(grid.name)}</bdi></h1>",
        _settings(grid, words),
    ]
    across, down = grid.axes[0], grid.axes[1] if len(grid.axes) > 1 else None
    size = len(across.values) * (len(down.values) if down else 1)
    for start in range(0, len(grid.cells), size):
        parts += _table(grid, across, down, start, size, links, words)
    parts += [_popover(grid, number, links[cell.index], words) for number, cell in _shown(grid, links)]
    parts.append(f"<script>{SCRIPT}</script>")
    return "\n".join([*parts, "</html>", ""])


def _settings(grid: Grid, words: Words) -> str:
    """What all cells have in common, folded away."""
    recipes = [recipe(job) for job in grid.jobs]
    pairs = [
        f"<dt>{escape(key)}<dd>{_words(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))}"
        for key, value in recipes[0].items()
        if key != "name" and value not in (None, "") and all(other[key] == value for other in recipes)
    ]
    return f"<details><summary>{escape(words.shared)}</summary>\n<dl>{''.join(pairs)}</dl></details>"


def _shown(grid: Grid, links: Mapping[int, str]) -> list[tuple[int, Cell]]:
    """The cells that have a picture, each with its number."""
    return [(number, cell) for number, cell in enumerate(grid.cells) if cell.index in links]


def _table(
    grid: Grid, across: Axis, down: Axis | None, start: int, size: int, links: Mapping[int, str], words: Words
) -> list[str]:
    name = f"t{start // size + 1}"
    deep = grid.axes[2] if len(grid.axes) > 2 else None
    title = _value(deep, grid.cells[start].at[2]) if deep else ""
    corner = f"{_words(across.title)}&nbsp;&rarr;" + (f"<br>{_words(down.title)}&nbsp;&darr;" if down else "")
    heads = "".join(f'<th scope="col">{_words(across.label(index))}</th>' for index in range(len(across.values)))
    label = f"{grid.name}: {title}" if title else grid.name
    parts = [f'<h2 id="{name}">{_words(title)}</h2>'] if title else []
    parts += [
        # A region that takes the focus, so that the keyboard scrolls it.
        f'<div class="table" role="region" tabindex="0" aria-label="{escape(label)}">',
        f"<table><thead><tr><th>{corner}</th>{heads}</tr></thead><tbody>",
    ]
    width = len(across.values)
    for first in range(start, start + size, width):
        head = _words(down.label(grid.cells[first].at[1])) if down else ""
        parts.append(f'<tr><th scope="row">{head}</th>')
        parts += [f"<td>{_cell(grid, number, links, words)}</td>" for number in range(first, first + width)]
        parts.append("</tr>")
    return [*parts, "</tbody></table></div>"]


def _cell(grid: Grid, number: int, links: Mapping[int, str], words: Words) -> str:
    cell = grid.cells[number]
    if cell.index not in links:
        return f'<span class="absent">{_words(cell.name)} {escape(words.failed)}</span>'
    media = _media(grid, cell, links[cell.index], False)
    return f'<button class="cell" popovertarget="c{number + 1}">{media}</button>'


def _popover(grid: Grid, number: int, link: str, words: Words) -> str:
    """The large picture: opened by its cell's button, closed by Escape, a click beside it, or its own button."""
    cell = grid.cells[number]
    pairs = "".join(
        f"<dt>{_words(axis.title)}<dd>{_words(axis.label(at))}" for axis, at in zip(grid.axes, cell.at, strict=True)
    )
    return (
        f'<div popover id="c{number + 1}" role="dialog" aria-label="{escape(cell.name)}">'
        f'<button popovertarget="c{number + 1}" popovertargetaction="hide">{escape(words.close)}</button>'
        f"{_media(grid, cell, link, True)}"
        f'<dl>{pairs}<dt>{escape(words.file)}<dd><a href="{escape(link)}">{_words(unquote(link))}</a></dl></div>'
    )


def _media(grid: Grid, cell: Cell, link: str, large: bool) -> str:
    job = grid.jobs[cell.index]
    values = [_value(axis, at) for axis, at in zip(grid.axes, cell.at, strict=True)]
    words = escape("; ".join(filter(None, [words_of(job), *values])))
    size = getattr(job, "size", None)
    shape = f' width="{size[0]}" height="{size[1]}"' if size else ""
    if link.endswith(".mp4"):
        controls = " controls" if large else ""
        return (
            f'<video src="{escape(link)}"{shape} loop muted playsinline preload="metadata"{controls} '
            f'aria-label="{words}"></video>'
        )
    return f'<img src="{escape(link)}"{shape} loading="lazy" alt="{words}">'


def _value(axis: Axis, index: int) -> str:
    return f"{axis.title} {axis.label(index)}" if axis.search is None else f"{axis.field}: {axis.label(index)}"


def _words(text: str) -> str:
    """Words of a person: escaped, and kept from turning the direction of what is around them."""
    return f"<bdi>{escape(text)}</bdi>"


def _mark(grid: Grid) -> str:
    return hashlib.sha256(json.dumps(grid.recipe(), sort_keys=True).encode()).hexdigest()


def _is_page_of(path: Path, mark: str) -> bool:
    """Whether `path` is a page of the same grid. What can not be read is somebody else's."""
    try:
        with path.open("rb") as stream:
            return f'<meta name="{MARK}" content="{mark}">'.encode() in stream.read(4096)
    except OSError:
        return False


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
