"""The wall of the history: outputs as small prints, each a button, and how one moves among them and takes two up."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from pipelines.history.history import Entry
from ui.past import thumbnail
from ui.words import of, say

EMPTY, NOT_FOUND, EMPTY_BIN = "empty", "not_found", "empty_bin"  # why there is nothing on the wall
MARKED = ("video", "layers")  # what a picture is not
LONGEST = 300  # characters of a prompt on the wall

# Two prints are taken up to be compared; a third one puts the first back. They stay taken while one turns pages.
WALL = """
let pair = [], last = '';
const prints = () => [...element.querySelectorAll('.print')];
const boxes = () => [...element.querySelectorAll('[data-pair]')];
const settle = () => {
  boxes().forEach((box) => { box.checked = pair.includes(box.dataset.pair); });
  // What had the focus may have been drawn anew.
  if (last && document.activeElement === document.body) element.querySelector(`.print[data-id="${last}"]`)?.focus();
};
element.addEventListener('click', (event) => {
  const print = event.target.closest('.print');
  if (print) trigger('pick', {id: print.dataset.id});
});
element.addEventListener('change', (event) => {
  const id = event.target.dataset.pair;
  if (!id) return;
  pair = event.target.checked ? [...pair, id].slice(-2) : pair.filter((other) => other !== id);
  settle();
  trigger('pair', {left: pair[0] ?? '', right: pair[1] ?? ''});
});
element.addEventListener('focusin', (event) => { last = event.target.closest('.print')?.dataset.id ?? ''; });
element.addEventListener('focusout', (event) => { if (event.relatedTarget) last = ''; });
element.addEventListener('keydown', (event) => {
  const print = event.target.closest('.print'), all = prints(), at = all.indexOf(print);
  if (at < 0 || event.ctrlKey || event.altKey || event.metaKey) return;
  const row = all.filter((other) => other.getBoundingClientRect().top === all[0].getBoundingClientRect().top).length;
  const by = {ArrowRight: 1, ArrowLeft: -1, ArrowDown: row, ArrowUp: -row, Home: -at, End: all.length - 1 - at};
  if (event.key in by) {
    event.preventDefault();
    all[at + by[event.key]]?.focus();
  } else if (event.key === 'Delete') {
    last = (all[at + 1] ?? all[at - 1])?.dataset.id ?? '';
    trigger('discard', {id: print.dataset.id});
  }
});
document.addEventListener('diorama-put-back', () => { pair = []; settle(); });
watch('value', settle);
"""

CSS = """
.wall li { display: flex; flex-direction: column; gap: 6px; }
.wall li .print { flex: 1; height: auto; }
.print .film img { object-fit: cover; object-position: 0 50%; }
.print:hover .film img, .print:focus-visible .film img { animation: film 1.6s steps(4, jump-none) infinite; }
@keyframes film { from { object-position: 0 50%; } to { object-position: 100% 50%; } }
.print .about {
  display: flex; flex-wrap: wrap; align-items: center; gap: 4px 6px; font-size: 12.5px; min-height: 18px;
}
.print .about i { color: #c98a12; font-style: normal; letter-spacing: 1px; }
.dark .print .about i { color: var(--sun); }
.print .about b {
  max-width: 100%; padding: 1px 8px; border-radius: 999px; background: var(--faint); font-weight: 400;
  color: var(--body-text-color-subdued); overflow: hidden; text-overflow: ellipsis; white-space: nowrap;
}
.wall .take-up {
  display: flex; align-items: center; gap: 7px; width: fit-content; padding: 2px 4px; font-size: 13.5px;
  color: var(--body-text-color-subdued); cursor: pointer;
}
.wall .take-up input {
  width: 17px; height: 17px; margin: 0; border: 1px solid var(--border-color-accent); border-radius: 5px;
  accent-color: var(--color-accent);
}
.wall .take-up input:checked { background-color: var(--color-accent); border-color: var(--color-accent); }
"""


def prints(entries: Sequence[Entry], nothing: str = EMPTY) -> str:
    """Outputs on the wall; `nothing` is why there are none."""
    if not entries:
        return f'<div class="stage empty"><p>{of("wall", nothing)}</p><p>{of("wall", f"{nothing}_hint")}</p></div>'
    return f'<ul class="wall">{"".join(_print(entry) for entry in entries)}</ul>'


def caption(entry: Entry) -> str:
    """What an output was asked for, on one line."""
    words = " / ".join(entry.prompt.splitlines()) or say("prints.no_words")
    return words if len(words) <= LONGEST else words[: LONGEST - 1] + "…"


def stars(rating: int) -> str:
    """A rating to look at; nothing where there is none."""
    if not rating:
        return ""
    return f'<i role="img" aria-label="{say("prints.stars", rating=rating)}">{"★" * rating}</i>'


def _print(entry: Entry) -> str:
    words = escape(caption(entry), quote=True)
    what = of("print", entry.kind) if entry.kind in MARKED else ""
    marks = [f"<b>{each}</b>" for each in ([what] if what else [])] + [f"<b>{escape(tag)}</b>" for tag in entry.tags]
    film = ' class="film"' if entry.kind == "video" else ""
    return (
        f'<li><button type="button" class="print" data-id="{entry.id}" data-name="{escape(entry.stem, quote=True)}">'
        f'<span{film}><img src="{thumbnail(entry)}" alt="{words}" loading="lazy"></span>'
        f'<em aria-hidden="true">{words}</em>'
        f'<small class="about">{stars(entry.rating)}{"".join(marks)}</small></button>'
        f'<label class="take-up"><input type="checkbox" data-pair="{entry.id}" '
        f'aria-label="{say("prints.compare_it", words=words)}">{say("prints.compare")}</label></li>'
    )
