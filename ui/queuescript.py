"""What the queue's list does in the browser: presses, keys and drags become events, and a redraw disturbs nobody.

Its HTML is `queuelist.py`'s, and how it is drawn anew `redraw.py`'s: a row keeps its element from one drawing to the
next. What is said here besides is which row gets the focus when its own is gone, and what is told to who listens.
"""

from __future__ import annotations

from ui.redraw import FILL, SURE, asking

PACE = 0.7  # seconds between two looks, while the tab is open

SHELL = '<div class="queue"><div data-part="body"></div><p class="sr" data-part="said" role="status"></p></div>'

ACTS = """
const root = element.querySelector('.queue');
const said = root.querySelector('[data-part="said"]');
let drag = null, own = null, drawn = false, missed = false;

// ---- focus: on the same button of the same row, else on the row that took its place
const rows = () => [...body.querySelectorAll('[data-job]')];
const rowOf = (node) => node?.closest?.('[data-job]');
const listOf = (row) => row?.closest('[data-list]')?.dataset.list;
const spot = () => {
  const node = document.activeElement, row = rowOf(node);
  if (!body.contains(node)) return null;
  return {node, job: row?.dataset.job, list: listOf(row), act: node.dataset.act, place: rows().indexOf(row)};
};
const back = (was) => {
  if (!was || document.activeElement === was.node) return;
  const all = rows(), same = all.find((row) => row.dataset.job === was.job && listOf(row) === was.list);
  const row = same ?? (was.job ? all[Math.min(was.place, all.length - 1)] : null);
  const button = was.act && (row ?? body).querySelector(`[data-act="${was.act}"]`);
  const node = was.node.isConnected ? was.node : button || row || body.querySelector('button');
  node?.focus({preventScroll: true});
};

const states = () => new Map(rows().map((row) => [row.dataset.job, row.dataset.state]));
const redraw = (change) => {
  const was = spot(), before = states();
  change();
  back(was);
  const news = rows().filter(({dataset: {job, state}}) => before.has(job) && before.get(job) !== state && job !== own);
  // What somebody pressed is answered by a sentence of its own.
  if (drawn && news.length) said.textContent = news.slice(0, 3).map((row) => row.dataset.said).join(' ');
  own = null; drawn = true;
  if (!body.querySelector('[data-act="spare"]')) root.classList.remove('asking');
};
// What comes while a row is dragged is drawn when it is let go.
const show = () => { missed = Boolean(drag); if (!drag) redraw(draw); };
const learned = (told, watched) => {
  if (drag) return;  // it is asked for again
  if ('html' in told) redraw(() => take(told, watched)); else take(told, watched);
};

// ---- presses
const send = (act, job, more) => {
  own = job ?? null;
  if (act === 'take') trigger('take', {job}); else trigger('act', {act, job: job ?? '', ...more});
};
element.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-act]');
  if (!button || button.getAttribute('aria-disabled') === 'true') return;
  const act = button.dataset.act;
  if (act === 'ask' || act === 'spare') return;
  if (act === 'cancel-all') sure(false, 'ask');
  send(act, rowOf(button)?.dataset.job);
});
element.addEventListener('change', (event) => {
  if (event.target.dataset.act === 'again') send(event.target.checked ? 'again' : 'offer');
});
element.addEventListener('keydown', (event) => {
  const row = rowOf(event.target);
  if (event.key === 'Escape') {
    const menu = event.target.closest('details[open]');
    if (menu) { menu.open = false; menu.querySelector('summary').focus(); }
  } else if (row && event.altKey && (event.key === 'ArrowUp' || event.key === 'ArrowDown')) {
    event.preventDefault();
    if (!('moves' in row.dataset)) return;
    send(event.key === 'ArrowDown' ? 'down' : event.shiftKey ? 'front' : 'up', row.dataset.job);
  }
});

// ---- drags: the row goes along with the pointer, and is moved when it is let go
const drop = (kept) => {
  const {row, next, pointer} = drag, after = row.nextElementSibling;
  drag = null;
  row.classList.remove('dragged');
  if (root.hasPointerCapture(pointer)) root.releasePointerCapture(pointer);
  if (kept && after !== next) {
    send('place', row.dataset.job, {before: after?.dataset.job ?? row.parentNode.dataset.more ?? ''});
  } else row.parentNode.insertBefore(row, next);
  if (missed) show();
};
element.addEventListener('pointerdown', (event) => {
  const grip = event.target.closest('[data-grip]'), row = rowOf(grip);
  if (!row || event.button) return;
  event.preventDefault();
  root.setPointerCapture(event.pointerId);  // not the row, which loses it where it is put
  row.classList.add('dragged');
  drag = {row, pointer: event.pointerId, next: row.nextElementSibling};
});
element.addEventListener('pointermove', (event) => {
  if (event.pointerId !== drag?.pointer) return;
  const {row} = drag, others = [...row.parentNode.querySelectorAll(':scope > [data-moves]')].filter((o) => o !== row);
  const below = others.find((other) => {
    const {top, height} = other.getBoundingClientRect();
    return event.clientY < top + height / 2;
  });
  const next = below ?? others.at(-1)?.nextElementSibling ?? null;
  if (next !== row && next !== row.nextElementSibling) row.parentNode.insertBefore(row, next);
});
element.addEventListener('pointerup', (event) => { if (event.pointerId === drag?.pointer) drop(true); });
element.addEventListener('pointercancel', (event) => { if (event.pointerId === drag?.pointer) drop(false); });
document.addEventListener('keydown', (event) => { if (drag && event.key === 'Escape') drop(false); });

watch('value', show);
show();
"""

SCRIPT = f"{FILL}{ACTS}{SURE}{asking(PACE, 'learned(told, watched)')}"

# After a job was taken up to be edited: to the bar that saves it.
SHOW_BAR = """async () => {
  await new Promise((done) => setTimeout(done, 120));
  const bar = [...document.querySelectorAll('.editing')].find((each) => each.offsetParent);
  bar?.scrollIntoView({behavior: 'smooth', block: 'center'});
  bar?.querySelector('button')?.focus({preventScroll: true});
}"""
