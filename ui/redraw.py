"""What the page does with what it learns: it asks while it is seen, and a redraw disturbs nobody.

Gradio's own redraw goes by place, and shuts what a person opened. Here an element with a `data-key` is the same one in
the next drawing, so focus, open parts and what a screen reader stands on stay where they are; one with `data-still` is
let alone until it would be another one; and what is live changes where it stands, word by word.
"""

from __future__ import annotations

SHELL = '<div data-part="body"></div>'
SELDOM = 10  # how many beats a page in the background waits for each that one in front does

# Elements with a key are kept and moved, others go by their place.
FILL = """
const body = element.querySelector('[data-part="body"]') ?? element;
const sources = new WeakMap();  // what elements that are let alone were drawn of
const parsed = (html) => Object.assign(document.createElement('div'), {innerHTML: html});
const learn = (node) => {
  for (const each of node.querySelectorAll?.('[data-still]') ?? []) sources.set(each, each.outerHTML);
  if (node.dataset && 'still' in node.dataset) sources.set(node, node.outerHTML);
};
const patch = (old, next) => {
  if ('still' in next.dataset) {
    if (sources.get(old) === next.outerHTML) return;
    sources.set(old, next.outerHTML);
  }
  for (const {name} of [...old.attributes])
    if (!next.hasAttribute(name) && name !== 'open') old.removeAttribute(name);
  for (const {name, value} of next.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  if (old.nodeName === 'INPUT') old.checked = next.hasAttribute('checked');
  if (!('live' in next.dataset) || next.hasChildNodes()) fill(old, next);  // what is live comes alone
};
const fill = (old, next) => {
  const keyed = new Map([...old.children].filter((each) => each.dataset.key).map((each) => [each.dataset.key, each]));
  let at = old.firstChild;
  for (const node of [...next.childNodes]) {
    const key = node.dataset?.key;
    const same = at && !at.dataset?.key && at.nodeName === node.nodeName ? at : null;
    const mine = key ? keyed.get(key) : same;
    if (!mine || mine.nodeName !== node.nodeName) { learn(node); old.insertBefore(node, at); continue; }
    if (mine === at) at = at.nextSibling; else old.insertBefore(mine, at);
    if (mine.nodeType === Node.ELEMENT_NODE) patch(mine, node);
    else if (mine.data !== node.data) mine.data = node.data;
  }
  while (at) { const gone = at; at = at.nextSibling; gone.remove(); }
};
// An answer of gradio's, and one of our own.
const draw = () => { fill(body, parsed(props.value ?? '')); element.dispatchEvent(new Event('drawn')); };
const take = (told, watched) => {
  if ('html' in told) fill(watched, parsed(told.html));
  for (const [key, html] of Object.entries(told.live))
    for (const part of document.querySelectorAll(`[data-live="${key}"]`)) fill(part, parsed(html));
  watched.dataset.mark = told.mark;
  if ('html' in told) element.dispatchEvent(new Event('drawn'));
};
"""

# A part of a tab that is not open has no place on the page, and asks nothing.
ASK = """
let asking = false, beats = 0, slower = 1;
const away = new AbortController();
const ask = async () => {
  const watched = element.querySelector('.watched');
  if (asking || !watched || element.offsetParent === null) return;
  asking = true;
  const {watch: address, mark} = watched.dataset;
  try {
    const answer = await fetch(`watch/${address}${address.includes('?') ? '&' : '?'}mark=${mark}`);
    slower = Number(answer.headers.get('Diorama-Slower')) || 1;  // of many pages each asks seldom
    if (answer.status !== 200) return;
    const told = await answer.json();
    const {watch: now, mark: known} = watched.dataset;
    if (element.querySelector('.watched') === watched && now === address && known === mark) TAKE;
  } catch (error) {
    // The studio is away for a moment, or for good; the page stays as it is, and asks again.
  } finally {
    asking = false;
  }
};
const turn = () => {
  if (!element.isConnected) { sight.disconnect(); return away.abort(); }
  if (!document.hidden || ++beats % SELDOM === 0) ask();
  setTimeout(turn, PACE * slower);
};
setTimeout(turn, PACE);
const sight = new IntersectionObserver((found) => { if (found.some((each) => each.isIntersecting)) ask(); });
sight.observe(element);
document.addEventListener('visibilitychange', () => { if (!document.hidden) ask(); }, {signal: away.signal});
"""


def asking(pace: float, take: str = "take(told, watched)") -> str:
    """JavaScript that asks every `pace` seconds; `take` is done with an answer."""
    return ASK.replace("PACE", f"{pace * 1000:.0f}").replace("SELDOM", str(SELDOM)).replace("TAKE", take)


def redrawn(pace: float) -> str:
    """JavaScript of a part that shows what it is told, in SHELL."""
    return f"{FILL}\nwatch('value', draw);\ndraw();\n{asking(pace)}"


# A question before something is forgotten, in the page alone; Escape says no.
SURE = """
const sure = (open, focused) => {
  root.classList.toggle('asking', open);
  element.querySelector(`[data-act="${focused}"]`)?.focus();
};
element.addEventListener('click', (event) => {
  const act = event.target.closest('button[data-act]:not([aria-disabled="true"])')?.dataset.act;
  if (act === 'ask') sure(true, 'spare');
  else if (act === 'spare') sure(false, 'ask');
});
element.addEventListener('keydown', (event) => {
  if (event.key === 'Escape' && root.classList.contains('asking')) sure(false, 'ask');
});
"""
