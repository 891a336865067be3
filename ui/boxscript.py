"""What the box editor does in the browser: boxes are drawn, moved, resized and ordered there, and kept as a draft.

Its HTML is `boxes.py`'s. A box is {box: [x0, y0, x1, y1] in 0..1, prompt, negative, given}; later ones lie on top.
"""

from __future__ import annotations

from pipelines.job import MAX_PARTS, SIDE_STEP
from ui.overlay import PAINT

LARGEST = 460  # pixels of the canvas's longer side on the page

SCRIPT = r"""
const words = WORDS;
const fill = (text, values) => text.replace(/\{(\w+)\}/g, (_, name) => values[name]);
const EDGES = {w: 0, n: 1, e: 2, s: 3};
const part = (name) => element.querySelector(`[data-part="${name}"]`);
const root = () => element.querySelector('.boxes');
const kind = root().dataset.kind, noun = root().dataset.noun, key = `diorama-boxes-${kind}`;
let boxes = [], chosen = -1, deep = false, drag = null, under = false;
let past = [], typed = null, moment = 0, turn = null, wait;

// ---- what is kept: in this browser, so that a page that is loaded again finds it
const tell = () => {
  try { localStorage.setItem(key, JSON.stringify({turn, under, boxes})); } catch (error) { /* may be full or shut */ }
  clearTimeout(wait);
  wait = setTimeout(() => trigger('edit', {}), 250);
};
const draft = () => { try { return JSON.parse(localStorage.getItem(key)); } catch (error) { return null; } };
const within = (value) => Math.round(Math.min(Math.max(value, 0), 1) * 1e4) / 1e4;
const clean = (found) => (Array.isArray(found) ? found : []).slice(0, MOST).flatMap((each) => {
  const box = Array.isArray(each?.box) && each.box.length === 4 ? each.box.map(Number) : [NaN];
  if (!box.every(Number.isFinite)) return [];
  const text = (name) => typeof each[name] === 'string' ? each[name] : '';
  return [{box: box.map(within), prompt: text('prompt'), negative: text('negative'), given: text('given')}];
});
const note = (before = JSON.stringify(boxes)) => { past.push(before); if (past.length > 60) past.shift(); };
const settle = () => {
  const now = root().dataset.turn;
  if (now === turn) return draw();
  const first = turn === null, kept = first ? draft() : null, fromServer = clean(JSON.parse(root().dataset.boxes));
  if (!first) note(); else if (kept && now && kept.turn !== now) note(JSON.stringify(clean(kept.boxes)));
  boxes = first && kept && (now === '' || kept.turn === now) ? clean(kept.boxes) : fromServer;
  if (first) under = Boolean(kept?.under);
  turn = now; chosen = -1;
  draw();
  if (boxes.length || !first) tell();
};

// ---- what is seen
const size = () => ['width', 'height'].map((side) =>
  Number(document.querySelector(`#${kind}-${side} input[type="number"]`)?.value) || Number(root().dataset[side]));
const least = () => size().map((side) => Math.min(1, STEP / side));
const named = (index) => {
  const {box, prompt} = boxes[index], [left, top, right, bottom] = box.map((side) => Math.round(side * 100));
  return fill(words.named, {noun, number: index + 1, prompt: prompt || words.wordless, left, top, right, bottom});
};
const say = (text) => { part('said').textContent = text; };
const place = (index) => {
  const {box, prompt} = boxes[index], node = part('board').querySelector(`[data-box="${index}"]`);
  const [left, top, right, bottom] = box.map((side) => side * 100);
  Object.assign(node.style, {left: `${left}%`, top: `${top}%`, width: `${right - left}%`, height: `${bottom - top}%`});
  node.setAttribute('aria-label', named(index));
  node.querySelector('span').textContent = prompt;
  for (const side of part('list').querySelectorAll(`[data-row="${index}"] [data-side]`))
    if (side !== document.activeElement) side.value = Math.round(box[side.dataset.side] * 1000) / 10;
};
const mark = () => {
  for (const node of part('board').querySelectorAll('[data-box]')) {
    const is = Number(node.dataset.box) === chosen;
    node.classList.toggle('chosen', is); node.setAttribute('aria-pressed', is);
  }
  const list = part('list');
  for (const row of list.children) row.classList.toggle('chosen', Number(row.dataset.row) === chosen);
  const row = list.children[chosen];  // the list alone is scrolled to it, and not the page
  if (row) list.scrollTop = Math.min(
    Math.max(list.scrollTop, row.offsetTop + row.offsetHeight - list.clientHeight), row.offsetTop);
};
const choose = (index) => { if (chosen !== index) deep = false; chosen = index; mark(); };
const look = () => {
  const [width, height] = size(), board = part('board'), picture = part('under');
  board.style.aspectRatio = `${width} / ${height}`;
  board.style.maxWidth = `${Math.round(LARGEST * Math.min(1, width / height))}px`;
  board.style.backgroundSize = `${100 * STEP / width}% ${100 * STEP / height}%`;
  const source = document.querySelector(`#${kind}-source [data-upload]`)?.dataset.upload;
  const last = document.querySelector(`#${kind}-easel [data-picture]`)?.dataset.picture;
  const address = source ? `uploads/${source}/picture` : under && last || '';
  if (address) picture.setAttribute('src', address); else picture.removeAttribute('src');
  part('under-too').checked = under;
};
const draw = (focus = -1) => {
  look();
  const board = part('board'), list = part('list');
  board.querySelectorAll('[data-box]').forEach((node) => node.remove());
  list.replaceChildren();
  boxes.forEach((each, index) => {
    const tone = `tone-${index % TONES}`;
    const node = part('box').content.firstElementChild.cloneNode(true);
    node.dataset.box = index; node.classList.add(tone);
    node.querySelector('b').textContent = index + 1;
    board.append(node);
    const row = part('row').content.firstElementChild.cloneNode(true);
    row.dataset.row = index; row.classList.add(tone);
    row.querySelector('b').textContent = index + 1;
    for (const named of row.querySelectorAll('[aria-label]'))
      named.setAttribute('aria-label', `${named.getAttribute('aria-label')}: ${noun} ${index + 1}`);
    row.querySelectorAll('[data-field]').forEach((field) => { field.value = each[field.dataset.field]; });
    row.querySelector('[data-act="back"]').disabled = index === 0;
    row.querySelector('[data-act="forward"]').disabled = index === boxes.length - 1;
    row.classList.toggle('given', Boolean(each.given));
    if (each.given) row.querySelector('img')?.setAttribute('src', `uploads/${each.given}/picture`);
    list.append(row);
    place(index);
  });
  root().classList.toggle('none', !boxes.length);
  for (const tool of ['clear', 'undo'])
    element.querySelector(`[data-tool="${tool}"]`).disabled = tool === 'undo' ? !past.length : !boxes.length;
  element.querySelector('[data-tool="add"]').disabled = boxes.length >= MOST;
  mark();
  if (focus >= 0) at_box(focus);
};

// ---- what changes boxes
const change = (edit, focus = -1) => { note(); edit(); draw(focus); tell(); };
const blank = (box) => ({box: box.map(within), prompt: '', negative: '', given: ''});
const add = () => {
  const [least_x, least_y] = least(), step = 0.05 * (boxes.length % 6);
  const start = 0.2 + step, box = [start, start, start + Math.max(0.35, least_x), start + Math.max(0.35, least_y)];
  change(() => { boxes.push(blank(box)); chosen = boxes.length - 1; }, boxes.length);
  say(named(chosen));
};
const copy = (index) => {
  if (boxes.length >= MOST) return;
  const {box} = boxes[index], by = [0, 1].map((axis) => Math.min(0.05, 1 - box[axis + 2]));
  const moved = box.map((side, edge) => within(side + by[edge % 2]));
  const twin = {...boxes[index], box: moved, given: ''};
  change(() => { boxes.splice(index + 1, 0, twin); chosen = index + 1; }, index + 1);
};
const remove = (index) => {
  const next = Math.min(index, boxes.length - 2);
  change(() => { boxes.splice(index, 1); chosen = next; }, next);
  if (!boxes.length) part('board').focus({preventScroll: true});
  say(fill(words.removed, {noun, number: index + 1}));
};
const order = (index, by) => {
  const other = index + by;
  if (other < 0 || other >= boxes.length) return;
  change(() => { [boxes[index], boxes[other]] = [boxes[other], boxes[index]]; chosen = other; }, other);
};
const undo = () => {
  const before = past.pop();
  if (!before) return;
  boxes = JSON.parse(before); chosen = -1; draw(); tell();
};
const shift = (box, dx, dy) => {
  dx = Math.min(Math.max(dx, -box[0]), 1 - box[2]); dy = Math.min(Math.max(dy, -box[1]), 1 - box[3]);
  return [box[0] + dx, box[1] + dy, box[2] + dx, box[3] + dy].map(within);
};
const stretch = (box, handle, dx, dy) => {
  const next = [...box];
  for (const letter of handle) {
    const edge = EDGES[letter], axis = edge % 2, room = least()[axis], to = box[edge] + (axis ? dy : dx);
    next[edge] = edge < 2 ? Math.min(Math.max(to, 0), box[edge + 2] - room)
      : Math.max(Math.min(to, 1), box[edge - 2] + room);
  }
  return next.map(within);
};
const spanned = (from, to) => {  // never smaller than what the model can draw
  const box = [0, 0, 0, 0];
  [0, 1].forEach((axis) => {
    const [start, end] = [from[axis], to[axis]].map((place) => Math.min(Math.max(place, 0), 1));
    const long = Math.max(Math.abs(end - start), least()[axis]);
    const low = Math.min(Math.max(end < start ? start - long : start, 0), 1 - long);
    box[axis] = low; box[axis + 2] = low + long;
  });
  return box.map(within);
};

// ---- mouse, touch and pen
const at = (event) => {
  const edge = part('board').getBoundingClientRect();
  return [(event.clientX - edge.left) / edge.width, (event.clientY - edge.top) / edge.height];
};
const grip = (event) => {  // which edges of the chosen box are under the pointer; a finger is wider than a mouse
  if (chosen < 0) return '';
  const edge = part('board').getBoundingClientRect(), wide = event.pointerType === 'mouse' ? 8 : 22;
  const near = (where, low, high, first, last) => {
    const inner = Math.min(wide, (high - low) / 4);
    if (where < low - wide || where > high + wide) return null;
    return where <= low + inner ? first : where >= high - inner ? last : '';
  };
  const [x0, y0, x1, y1] = boxes[chosen].box;
  const across = near(event.clientX - edge.left, x0 * edge.width, x1 * edge.width, 'w', 'e');
  const down = near(event.clientY - edge.top, y0 * edge.height, y1 * edge.height, 'n', 's');
  return across === null || down === null ? '' : down + across;
};
const below = ([x, y]) => boxes  // the boxes at a place, the topmost first
  .flatMap(({box: [x0, y0, x1, y1]}, index) => x >= x0 && x <= x1 && y >= y0 && y <= y1 ? [index] : []).reverse();
const at_box = (index) => part('board').querySelector(`[data-box="${index}"]`)?.focus({preventScroll: true});
const cancel = () => { boxes = JSON.parse(drag.before); chosen = drag.was; drag = null; draw(chosen); };
element.addEventListener('pointerdown', (event) => {
  const board = part('board');
  if (drag || event.button || !board.contains(event.target)) return;
  event.preventDefault();
  const from = at(event), handle = event.shiftKey ? '' : grip(event), hit = event.shiftKey ? [] : below(from);
  const was = chosen, base = {id: event.pointerId, from, hit, was, before: JSON.stringify(boxes), moved: false};
  if (handle) drag = {...base, act: 'resize', handle, start: boxes[chosen].box};
  else if (hit.length) {
    const target = deep && hit.includes(chosen) ? chosen : hit[0], still = deep && target === chosen;
    choose(target); deep = still;
    drag = {...base, act: 'move', start: boxes[target].box};
  } else drag = {...base, act: 'draw'};
  board.setPointerCapture(event.pointerId);
  if (drag.act === 'draw') board.focus({preventScroll: true}); else at_box(chosen);
});
element.addEventListener('pointermove', (event) => {
  const board = part('board');
  if (!drag) {
    if (!board.contains(event.target) || event.pointerType !== 'mouse') return;
    const handle = grip(event);
    const way = {n: 'ns', s: 'ns', w: 'ew', e: 'ew', nw: 'nwse', se: 'nwse', ne: 'nesw', sw: 'nesw'}[handle];
    board.style.cursor = way ? `${way}-resize` : below(at(event)).length ? 'move' : 'crosshair';
    return;
  }
  if (event.pointerId !== drag.id) return;
  const to = at(event), edge = board.getBoundingClientRect(), [dx, dy] = [to[0] - drag.from[0], to[1] - drag.from[1]];
  if (!drag.moved && Math.hypot(dx * edge.width, dy * edge.height) < 4) return;
  if (!drag.moved && drag.act === 'draw') {
    if (boxes.length >= MOST) { drag = null; return say(fill(words.most, {most: MOST})); }
    boxes.push(blank(spanned(drag.from, to))); chosen = boxes.length - 1;
    draw();
  }
  drag.moved = true;
  boxes[chosen].box = drag.act === 'draw' ? spanned(drag.from, to)
    : drag.act === 'move' ? shift(drag.start, dx, dy) : stretch(drag.start, drag.handle, dx, dy);
  place(chosen);
});
element.addEventListener('pointerup', (event) => {
  if (!drag || event.pointerId !== drag.id) return;
  const {act, moved, hit, was, before} = drag;
  drag = null;
  if (moved) {
    note(before); draw(chosen); tell(); say(named(chosen));
    // With a mouse the words come next; on a phone that would bring the keyboard up over what is being drawn.
    if (act === 'draw' && event.pointerType === 'mouse') field_of(chosen)?.focus({preventScroll: true});
  } else if (act === 'draw') choose(-1);
  else if (act === 'move' && was === chosen && hit.length > 1) {  // once more on the same place: the one below
    at_box(hit[(hit.indexOf(chosen) + 1) % hit.length]);
    deep = true;
  }
});
element.addEventListener('pointercancel', (event) => { if (drag?.id === event.pointerId) cancel(); });

// ---- keyboard
const field_of = (index) => part('list').querySelector(`[data-row="${index}"] [data-field="prompt"]`);
element.addEventListener('focusin', (event) => {
  const owner = event.target.closest('[data-box], [data-row]');
  typed = JSON.stringify(boxes);
  if (owner && !drag) choose(Number(owner.dataset.box ?? owner.dataset.row));
});
element.addEventListener('keydown', (event) => {
  const board = part('board'), inside = board.contains(event.target);
  const arrow = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]}[event.key];
  const act = () => { event.preventDefault(); event.stopPropagation(); };
  if (event.key === 'Escape') {
    act();
    if (drag) cancel(); else if (inside) { choose(-1); board.focus({preventScroll: true}); }
    else if (event.target.closest('[data-row]')) at_box(chosen);
  } else if (!inside || drag) {
    if (event.key === 'Enter' && event.target.dataset.field === 'prompt') { act(); at_box(chosen); }
  } else if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === 'z') { act(); undo(); }
  else if (chosen < 0) return;
  else if (arrow) {
    act();
    const by = arrow.map((way) => way * (event.shiftKey ? 0.1 : 0.01)), now = Date.now();
    if (now - moment > 800) note();  // a run of presses is one thing to take back
    moment = now;
    boxes[chosen].box = event.altKey ? stretch(boxes[chosen].box, 'se', ...by) : shift(boxes[chosen].box, ...by);
    place(chosen); tell(); say(named(chosen));
    element.querySelector('[data-tool="undo"]').disabled = false;
  } else if (event.key === 'Delete' || event.key === 'Backspace') { act(); remove(chosen); }
  else if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === 'd') { act(); copy(chosen); }
  else if (event.key === ']') { act(); order(chosen, 1); }
  else if (event.key === '[') { act(); order(chosen, -1); }
  else if (event.key === 'Enter') { act(); field_of(chosen)?.focus(); }
});

// ---- the list and the tools
element.addEventListener('input', (event) => {
  const row = event.target.closest('[data-row]'), name = event.target.dataset.field;
  if (!row || !name) return;
  if (typed) { note(typed); typed = null; }
  boxes[row.dataset.row][name] = event.target.value;
  place(Number(row.dataset.row)); tell();
  element.querySelector('[data-tool="undo"]').disabled = false;
});
element.addEventListener('change', (event) => {
  const row = event.target.closest('[data-row]'), side = event.target.dataset.side;
  if (event.target === part('under-too')) { under = event.target.checked; look(); tell(); }
  if (!row || side === undefined) return;
  const index = Number(row.dataset.row), edge = Number(side);
  note();
  const by = (Number(event.target.value) || 0) / 100 - boxes[index].box[edge];
  boxes[index].box = stretch(boxes[index].box, 'wnes'[edge], by, by);
  event.target.value = Math.round(boxes[index].box[edge] * 1000) / 10;
  place(index); tell();
});
element.addEventListener('click', (event) => {
  const button = event.target.closest('button');
  if (!button) return;
  const index = Number(button.closest('[data-row]')?.dataset.row);
  ({
    back: () => order(index, -1), forward: () => order(index, 1), copy: () => copy(index), remove: () => remove(index),
    renew: () => change(() => { boxes[index].given = ''; }, index),
  })[button.dataset.act]?.();
  if (['back', 'forward'].includes(button.dataset.act))  // it can be pressed again where the row went
    part('list').querySelector(`[data-row="${chosen}"] [data-act="${button.dataset.act}"]`)?.focus();
  ({add, undo, clear: () => change(() => { boxes = []; chosen = -1; })})[button.dataset.tool]?.();
});

const read = () => JSON.stringify(boxes);
watch('value', settle);
settle();
// The fields of the size may come after the canvas, and their values a moment later still.
const fit = (times) => {
  look();
  if (times && element.isConnected) setTimeout(() => fit(times - 1), 200);
};
fit(20);
window.diorama = {...window.diorama, boxes: {...window.diorama?.boxes, [kind]: {read, look}}};
"""
SCRIPT = SCRIPT.replace("MOST", str(MAX_PARTS)).replace("STEP", str(SIDE_STEP))
SCRIPT = SCRIPT.replace("LARGEST", str(LARGEST)).replace("TONES", str(len(PAINT)))
