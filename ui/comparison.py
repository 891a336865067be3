"""Two outputs side by side: in one zoom, under one slider, and a table of what differs between them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from typing import Any

from pipelines.history.compare import Comparison, Difference
from pipelines.history.history import Entry
from ui.fields import label_of
from ui.files import address
from ui.past import Past
from ui.words import say

NOTHING, LONGEST = "–", 200  # for what a record does not tell; characters of a value
MOST_ROWS = 60

# Both pictures read one zoom and one place, so what is seen of one is what is seen of the other.
COMPARE = """
let zoom = 1, x = 0, y = 0, held = null;
const root = () => element.querySelector('.compared');
const show = () => {
  const style = root()?.style;
  x = Math.max(-50, Math.min(50, x)); y = Math.max(-50, Math.min(50, y));
  if (zoom === 1) x = y = 0;
  style?.setProperty('--zoom', zoom); style?.setProperty('--x', `${x}%`); style?.setProperty('--y', `${y}%`);
  root()?.classList.toggle('near', zoom > 2);
};
const scale = (by) => { zoom = Math.max(1, Math.min(16, zoom * by)); show(); };
const films = () => [...element.querySelectorAll('video')];
const settle = () => { zoom = 1; show(); };
element.addEventListener('click', (event) => {
  const act = event.target.closest('[data-act]')?.dataset.act;
  if (act === 'closer') scale(1.5);
  if (act === 'farther') scale(1 / 1.5);
  if (act === 'whole') settle();
  if (act === 'beside' || act === 'slider') {
    root().classList.toggle('over', act === 'slider');
    for (const button of element.querySelectorAll('[data-act=beside], [data-act=slider]'))
      button.setAttribute('aria-pressed', button.dataset.act === act);
  }
  if (act === 'close') { document.dispatchEvent(new Event('diorama-put-back')); trigger('shut', {}); }
});
element.addEventListener('input', (event) => {
  if ('wipe' in event.target.dataset) root().style.setProperty('--wipe', `${event.target.value}%`);
});
element.addEventListener('keydown', (event) => {
  if (!event.target.closest('.pane')) return;
  const moves = {ArrowLeft: [5, 0], ArrowRight: [-5, 0], ArrowUp: [0, 5], ArrowDown: [0, -5]};
  if (event.key === '+' || event.key === '=') scale(1.5);
  else if (event.key === '-') scale(1 / 1.5);
  else if (event.key === '0') settle();
  else if (event.key in moves) { x += moves[event.key][0]; y += moves[event.key][1]; show(); }
  else return;
  event.preventDefault();
});
element.addEventListener('wheel', (event) => {
  if (!event.target.closest('.pane') || !(event.ctrlKey || zoom > 1)) return;  // else the page scrolls
  event.preventDefault();
  scale(event.deltaY < 0 ? 1.2 : 1 / 1.2);
}, {passive: false});
element.addEventListener('pointerdown', (event) => {
  const pane = event.target.closest('.pane');
  if (pane && zoom > 1 && !event.target.closest('input')) held = {pane, x: event.clientX, y: event.clientY};
});
element.addEventListener('pointermove', (event) => {
  if (!held) return;
  x += 100 * (event.clientX - held.x) / held.pane.clientWidth / zoom;
  y += 100 * (event.clientY - held.y) / held.pane.clientHeight / zoom;
  held.x = event.clientX; held.y = event.clientY;
  show();
});
for (const name of ['pointerup', 'pointercancel', 'pointerleave'])
  element.addEventListener(name, () => { held = null; });
for (const name of ['play', 'pause', 'seeked']) element.addEventListener(name, (event) => {
  const [left, right] = films();
  if (!right || event.target !== left) return;
  right.currentTime = left.currentTime;
  if (name === 'play') right.play().catch(() => {});
  if (name === 'pause') right.pause();
}, true);
watch('value', settle);
"""

CSS = """
.compared { --zoom: 1; --x: 0%; --y: 0%; --wipe: 50%; display: flex; flex-direction: column; gap: 14px; }
.compared h2 { margin: 0; font: 600 20px/1.2 var(--serif); }
.compared .tools { display: flex; flex-wrap: wrap; justify-content: flex-start; gap: 8px; }
.compared .tools button {
  margin: 0; padding: 7px 14px !important; border: 0; border-radius: 10px !important; font-weight: 600; cursor: pointer;
  background: var(--button-secondary-background-fill); color: var(--button-secondary-text-color);
}
.compared .tools button[aria-pressed="true"] { background: var(--color-accent); color: #fffaf2; }
.compared .tools button:disabled { opacity: 0.45; cursor: default; }
.compared .sides { display: grid; grid-template-columns: 1fr 1fr; gap: 14px; }
.compared figure { margin: 0; min-width: 0; } .compared figcaption {
  margin-top: 6px; font: italic 14.5px/1.4 var(--serif); overflow-wrap: anywhere;
  display: -webkit-box; -webkit-line-clamp: 3; -webkit-box-orient: vertical; overflow: hidden;
}
.compared .pane {
  overflow: hidden; border-radius: 6px; background: var(--mat); aspect-ratio: 1; touch-action: pan-y;
  display: grid; place-items: center;
}
.compared .pane img, .compared .pane video {
  display: block; width: 100%; height: 100%; margin: 0 !important; object-fit: contain; user-select: none;
  transform: scale(var(--zoom)) translate(var(--x), var(--y)); -webkit-user-drag: none;
}
.compared.near .pane img { image-rendering: pixelated; }
.compared .wipe { display: none; width: 100%; margin: 0; accent-color: var(--color-accent); }
.compared.over .sides { grid-template-columns: minmax(0, 1fr); width: min(100%, 620px); margin: 0 auto; }
.compared.over figure { grid-area: 1 / 1; } .compared.over figcaption { display: none; }
.compared.over figure:last-of-type .pane { clip-path: inset(0 0 0 var(--wipe)); background: none; }
.compared.over .wipe { display: block; width: min(100%, 620px); margin: 0 auto; }
.compared .table { overflow-x: auto; }
.compared table { width: 100%; margin: 0; border-collapse: collapse; font-size: 14.5px; }
.compared th, .compared td {
  padding: 7px 10px 7px 0 !important; border: 0; border-top: 1px dashed var(--border-color-primary); text-align: left;
  vertical-align: top; background: none; overflow-wrap: anywhere; font-weight: 400; min-width: 90px;
}
.compared thead th { border: 0; color: var(--body-text-color-subdued); font-size: 12.5px; }
.compared tbody th { font-weight: 600; }
@media (max-width: 760px) { .compared .sides { gap: 8px; } }
"""


def one_taken(entry: Entry) -> str:
    """What stands there while one output alone is taken up."""
    return f'<p class="say" role="status" data-taken="{entry.id}">{say("compare.one_more")}</p>'


def compared(sides: Sequence[tuple[Entry, Past]], differences: Sequence[Difference]) -> str:
    """Two outputs side by side, and what differs between their records."""
    (left, _), (right, _) = sides
    alike = (left.width, left.height, left.kind == "video") == (right.width, right.height, right.kind == "video")
    fits = "" if alike and left.width else f' disabled title="{say("compare.no_slider")}"'
    tools = (
        f'<button type="button" data-act="beside" aria-pressed="true">{say("compare.beside")}</button>'
        f'<button type="button" data-act="slider" aria-pressed="false"{fits}>{say("compare.slider")}</button>'
        f'<button type="button" data-act="closer">{say("compare.closer")}</button>'
        f'<button type="button" data-act="farther">{say("compare.farther")}</button>'
        f'<button type="button" data-act="whole">{say("compare.whole")}</button>'
        f'<button type="button" data-act="close">{say("compare.close")}</button>'
    )
    figures = "".join(_figure(entry, shown) for entry, shown in sides)
    return (
        f'<section class="compared" data-left="{left.id}" data-right="{right.id}" aria-label="{say("compare.title")}">'
        f'<h2>{say("compare.title")}</h2><div class="tools" role="toolbar" aria-label="{say("compare.title")}">'
        f"{tools}</div>"
        f'<div class="sides">{figures}</div>'
        '<input type="range" class="wipe" data-wipe min="0" max="100" value="50" '
        f'aria-label="{say("compare.how_much")}">'
        f"{_table(left.stem, right.stem, differences)}</section>"
    )


def measured(found: Comparison) -> str:
    """How far the pixels of two outputs are apart, in a sentence."""
    apart = found.pixels
    if apart is None:
        told = say("compare.pixels_other")
    elif apart.psnr is None:
        told = say("compare.pixels_equal")
    else:
        told = say("compare.pixels_apart", largest=apart.largest, mean=apart.mean, psnr=apart.psnr)
    return f'<p class="say" role="status">{told}</p>'


def _figure(entry: Entry, shown: Past) -> str:
    source, name = address(shown, 0), escape(entry.stem, quote=True)
    words = escape(" / ".join(entry.prompt.splitlines()), quote=True)
    if entry.kind == "video":
        inner = f'<video src="{source}" autoplay loop muted playsinline controls aria-label="{words}"></video>'
    else:
        inner = f'<img src="{source}" alt="{words}" draggable="false">'
    return (
        f'<figure><div class="pane" tabindex="0" role="group" aria-label="{say("compare.move", name=name)}">'
        f"{inner}</div>"
        f"<figcaption><b>{name}</b> {words}</figcaption></figure>"
    )


def _table(left: str, right: str, differences: Sequence[Difference]) -> str:
    if not differences:
        return f'<p class="say">{say("compare.same")}</p>'
    rows = "".join(
        f'<tr><th scope="row">{escape(label_of(each.field))}</th><td>{_value(each.left)}</td>'
        f"<td>{_value(each.right)}</td></tr>"
        for each in differences[:MOST_ROWS]
    )
    more = len(differences) - MOST_ROWS
    rest = f'<p class="say">{say("compare.more_rows", count=more)}</p>' if more > 0 else ""
    head = "".join(f'<th scope="col">{escape(words)}</th>' for words in (say("compare.field"), left, right))
    return f'<div class="table"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>{rest}'


def _value(value: Any) -> str:
    if value is None:
        return NOTHING
    words = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return escape(words if len(words) <= LONGEST else words[: LONGEST - 1] + "…")
