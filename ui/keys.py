"""Keyboard shortcuts of the whole page, and the sheet that lists them with those of boxes, masks and rows.

Single letters only act while nobody types, and can be switched off, for speech input and for fingers that slip.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape

from ui.words import knows, of, say

# A letter for each tab that may be there, by its id.
TABS = (
    ("t", "text"), ("v", "video"), ("m", "masked"), ("s", "scenes"), ("b", "layout"), ("l", "layered"),
    ("d", "dubbing"), ("x", "grid"), ("q", "queue"), ("h", "history"), ("o", "models"),
    ("r", "train"),
)  # fmt: skip
# What is pressed; what it does stands in the catalogue under the same name.
EVERYWHERE = {"render": "CTRL Enter", "nth": "Alt 1 … Alt 9", "escape": "Esc", "sheet": "?", "rows": "Alt ↑ ↓",
              "cells": "← ↑ ↓ →"}  # fmt: skip

# It stands in for one of an earlier page, should gradio load the part again.
SCRIPT = """
const sheet = element.querySelector('dialog'), single = element.querySelector('[data-single]');
const LETTERS = TABS_AND_LETTERS;
const kept = () => { try { return localStorage.getItem('diorama-keys') !== 'off'; } catch (error) { return true; } };
single.checked = kept();
single.addEventListener('change', () => {
  try { localStorage.setItem('diorama-keys', single.checked ? 'on' : 'off'); } catch (error) { /* may refuse */ }
});

const seen = (node) => node && node.offsetParent !== null;
const list = () => document.querySelector('.tabs [role="tablist"]');
const tabs = () => [...(list()?.querySelectorAll('[role="tab"]') ?? [])].filter(seen);
const folded = () => [...document.querySelectorAll('.tabs .overflow-dropdown button')];
const open = (button) => { if (button) { button.click(); if (seen(button)) button.focus(); } };
// On a narrow page some tabs stand in a menu, whose buttons are there once it is open.
const unfold = (choose) => {
  const ready = choose(folded());
  if (ready) return open(ready);
  document.querySelector('.tabs [aria-label="More tabs"]')?.click();
  setTimeout(() => open(choose(folded())), 60);
};
const named = (button, label) => button.textContent.trim() === label;
const go = ([, id, label]) => {
  const there = tabs().find((tab) => tab.dataset.tabId === id);
  if (there) open(there); else unfold((all) => all.find((button) => named(button, label)));
};
const nth = (number) => {
  const all = tabs();
  if (number < all.length) open(all[number]); else unfold((more) => more[number - all.length]);
};
const known = ([, id, label]) => tabs().some((tab) => tab.dataset.tabId === id) ||
  [...document.querySelectorAll('.tabs button')].some((button) => named(button, label));
const show = () => {
  for (const row of sheet.querySelectorAll('[data-tab]'))
    row.hidden = !known(LETTERS.find((each) => each[1] === row.dataset.tab));
  sheet.showModal();
};
const typing = (node) => node.closest?.('textarea, select, [contenteditable="true"], [role="listbox"], ' +
  '[role="combobox"], input:not([type="range"], [type="checkbox"], [type="radio"], [type="button"], [type="file"])');
const apple = /Mac|iP/.test(navigator.platform);

// Before anybody else hears it: Enter alone means something in a box's words.
const render = (event) => {
  if (event.key !== 'Enter' || !(event.ctrlKey || event.metaKey) || event.altKey || event.shiftKey) return;
  const button = [...document.querySelectorAll('button.render')].find(seen);
  if (!button || button.disabled || document.querySelector('dialog[open]')) return;
  event.preventDefault(); event.stopPropagation();
  button.click();
};

let waiting = 0;
const press = (event) => {
  if (event.defaultPrevented || event.isComposing) return;
  const modal = document.querySelector('dialog[open]');
  if (event.key === 'Escape') {
    if (modal || event.target.closest?.('[role="combobox"], [role="listbox"]')) return;
    [...document.querySelectorAll('button[id$="-leave"]')].find(seen)?.click();
    return;
  }
  if (modal) return;
  const digit = /^Digit([1-9])$/.exec(event.code);
  if (digit && event.altKey && !event.ctrlKey && !event.metaKey && !event.shiftKey) {
    if (apple && typing(event.target)) return;  // there Option makes a sign of it
    event.preventDefault();
    return nth(Number(digit[1]) - 1);
  }
  if (!single.checked || typing(event.target) || event.ctrlKey || event.altKey || event.metaKey) return;
  if (event.key === '?') { event.preventDefault(); return show(); }
  const after = Date.now() - waiting < 1500;
  waiting = 0;
  if (after) {
    const found = LETTERS.find((each) => each[0] === event.key);
    if (found) { event.preventDefault(); go(found); }
  } else if (event.key === 'g') waiting = Date.now();
};
window.dioramaKeys?.abort();
window.dioramaKeys = new AbortController();
const {signal} = window.dioramaKeys;
document.addEventListener('keydown', render, {capture: true, signal});
document.addEventListener('keydown', press, {signal});
document.addEventListener('click', (event) => { if (event.target.closest('[data-keys]')) show(); }, {signal});
sheet.addEventListener('click', (event) => {
  if (event.target === sheet || event.target.closest('[data-close]')) sheet.close();
});
"""

CSS = """
#keys { position: absolute; width: 0; height: 0; }
.keys-sheet {
  box-sizing: border-box; width: min(640px, 94vw); max-height: 88vh; margin: auto; padding: 26px 28px; overflow: auto;
  border: 1px solid var(--edge); border-radius: 18px; background: var(--sheet); color: var(--body-text-color);
  box-shadow: var(--lift);
}
.keys-sheet::backdrop { background: rgba(30, 24, 18, 0.5); }
.keys-sheet header { display: flex; align-items: center; justify-content: space-between; gap: 12px; }
.keys-sheet h2 { margin: 0; font: 600 24px/1.2 var(--serif); }
.keys-sheet h3 { margin: 18px 0 6px; font: 600 16px/1.3 var(--serif); color: var(--body-text-color-subdued); }
.keys-sheet p { margin: 6px 0; line-height: 1.5; }
.keys-sheet header + dl { margin-top: 14px; }
.keys-sheet dl { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: 6px 16px; margin: 0; }
.keys-sheet dl div { display: contents; } .keys-sheet dl div[hidden] { display: none; }
.keys-sheet dt { white-space: nowrap; } .keys-sheet dd { margin: 0; }
.keys-sheet kbd {
  display: inline-block; padding: 1px 7px; border: 1px solid var(--border-color-primary); border-radius: 6px;
  background: var(--mat); font: 13px/1.5 var(--font-mono); color: inherit;
}
.keys-sheet label { display: flex; align-items: center; gap: 9px; margin-top: 18px; cursor: pointer; }
.keys-sheet header button {
  margin: 0; padding: 7px 16px; border: 0; border-radius: 10px; background: var(--faint); color: inherit;
  cursor: pointer;
}
.keys-sheet :focus-visible { outline: 3px solid var(--input-border-color-focus); outline-offset: 2px; }
@media (max-width: 480px) {
  .keys-sheet { padding: 20px 18px; } .keys-sheet dl { grid-template-columns: minmax(0, 1fr); gap: 2px; }
  .keys-sheet dd { margin-bottom: 8px; }
}
"""


def script() -> str:
    """What the keys do on a page whose tabs are called as they are in the language that is spoken."""
    return SCRIPT.replace("TABS_AND_LETTERS", json.dumps([(letter, id, of("tab", id)) for letter, id in TABS]))


def sheet() -> str:
    """The sheet as HTML; it is shut."""
    tabs = [
        (f"g {letter}", of("key_to", id) if knows("key_to", id) else of("tab", id), id)  # some say what is there
        for letter, id in TABS
    ]
    everywhere = [
        (keys.replace("CTRL", say("keys.ctrl")), of("pressed", name), "") for name, keys in EVERYWHERE.items()
    ]
    parts = ((say("keys.boxes"), say("boxes.help")), (say("keys.masked"), say("keys.masks")))
    return (
        '<dialog class="keys-sheet" aria-labelledby="keys-title"><header>'
        f'<h2 id="keys-title">{say("keys.title")}</h2><button type="button" data-close>'
        f"{say('keys.close')}</button></header>"
        f"{_pairs(everywhere)}"
        f"<h3>{say('keys.tabs')}</h3><p>{say('keys.about')}</p>{_pairs(tabs)}"
        + "".join(f"<h3>{title}</h3><p>{escape(words)}</p>" for title, words in parts)
        + f'<label><input type="checkbox" data-single checked>{say("keys.single")}</label></dialog>'
    )


def _pairs(found: Sequence[tuple[str, str, str]]) -> str:
    rows = "".join(
        f"<div{f' data-tab={id}' if id else ''}><dt>{_keys(keys)}</dt><dd>{escape(words)}</dd></div>"
        for keys, words, id in found
    )
    return f"<dl>{rows}</dl>"


def _keys(keys: str) -> str:
    return " ".join(key if key == "…" else f"<kbd>{escape(key)}</kbd>" for key in keys.split(" "))
