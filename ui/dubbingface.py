"""The face picker: the first frame with the faces that are found in it. One is picked, or a box is drawn by hand.

A box is x0, y0, x1, y1 in 0..1, as a job has it; no box is the largest face, which the renderer finds for itself.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Sequence
from functools import lru_cache
from html import escape, unescape
from pathlib import Path
from typing import Any

from pipelines.files.media import MediaError, read_picture
from pipelines.refusal import Refusal
from pipelines.voice.footage import faces_in
from ui.reasons import in_language
from ui.uploads import SHOWN, Upload, Uploads
from ui.words import counted, for_script, say

LARGEST = 400  # pixels of the frame's longer side on the page
LIVE = "window.diorama?.face?.()"

SCRIPT = r"""
const words = WORDS;
const part = (name) => element.querySelector(`[data-part="${name}"]`);
const fill = (text, values) => text.replace(/\{(\w+)\}/g, (_, name) => values[name]);
let box = null, turn = null, drag = null, dragged = false;
const within = (value) => Math.round(Math.min(Math.max(value, 0), 1) * 1e4) / 1e4;
const same = (one, other) => one && other && one.every((side, edge) => Math.abs(side - other[edge]) < 1e-3);
const show = () => {
  let found = false;
  for (const face of element.querySelectorAll('[data-box]')) {
    const is = Boolean(same(JSON.parse(face.dataset.box), box));
    found ||= is;
    face.setAttribute('aria-pressed', is);
  }
  part('any').setAttribute('aria-pressed', box === null);
  const own = part('own');
  own.hidden = box === null || found;
  part('draw').setAttribute('aria-pressed', !own.hidden);
  if (own.hidden) return;
  const [left, top, right, bottom] = box.map((side) => side * 100);
  Object.assign(own.style, {left: `${left}%`, top: `${top}%`, width: `${right - left}%`, height: `${bottom - top}%`});
  const [l, t, r, b] = [left, top, right, bottom].map(Math.round);
  own.setAttribute('aria-label', fill(words.own, {left: l, top: t, right: r, bottom: b}));
};
let wait;
const take = (next) => { box = next; show(); clearTimeout(wait); wait = setTimeout(() => trigger('edit', {}), 150); };
const settle = () => {
  const root = element.querySelector('.face-picker');
  if (!root || root.dataset.turn === turn) return;
  turn = root.dataset.turn; drag = null;
  const told = JSON.parse(root.dataset.face);
  box = Array.isArray(told) ? told : null;
  show();
};
const at = (event) => {
  const edge = part('frame').getBoundingClientRect();
  return [(event.clientX - edge.left) / edge.width, (event.clientY - edge.top) / edge.height].map(within);
};
const spanned = (from, to) => [0, 1].map((axis) => Math.min(from[axis], to[axis]))
  .concat([0, 1].map((axis) => Math.max(from[axis], to[axis])));
const large = ([x0, y0, x1, y1]) => x1 - x0 > LEAST && y1 - y0 > LEAST;
element.addEventListener('pointerdown', (event) => {
  dragged = false;
  if (event.button || !part('frame')?.contains(event.target)) return;
  drag = {id: event.pointerId, from: at(event), x: event.clientX, y: event.clientY, before: box};
});
element.addEventListener('pointermove', (event) => {
  if (!drag || event.pointerId !== drag.id) return;
  if (!dragged && Math.hypot(event.clientX - drag.x, event.clientY - drag.y) < 5) return;
  if (!dragged) part('frame').setPointerCapture(drag.id);
  dragged = true;
  box = spanned(drag.from, at(event));
  show();
});
element.addEventListener('pointerup', (event) => {
  if (!drag || event.pointerId !== drag.id) return;
  const {before} = drag;
  drag = null;
  if (dragged) take(large(box) ? box : before);
  setTimeout(() => { dragged = false; }, 50);
});
element.addEventListener('pointercancel', () => {
  if (drag && dragged) { box = drag.before; show(); }
  drag = null;
});
element.addEventListener('click', (event) => {
  const face = event.target.closest('[data-box]'), which = event.target.closest('[data-part]')?.dataset.part;
  if (dragged) { dragged = false; return; }  // what was drawn ends in a click, and picks nothing
  if (face) take(JSON.parse(face.dataset.box));
  else if (which === 'any') take(null);
  else if (which === 'draw') { take([0.25, 0.2, 0.75, 0.85]); part('own').focus({preventScroll: true}); }
});
element.addEventListener('keydown', (event) => {
  const arrow = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]}[event.key];
  if (event.target !== part('own') || !arrow) return;
  event.preventDefault();
  const by = arrow.map((way) => way * (event.shiftKey ? 0.1 : 0.01)), next = [...box];
  for (const axis of [0, 1]) {
    const least = event.altKey ? LEAST - (box[axis + 2] - box[axis]) : -box[axis];
    const step = Math.min(Math.max(by[axis], least), 1 - box[axis + 2]);
    if (!event.altKey) next[axis] = within(box[axis] + step);
    next[axis + 2] = within(box[axis + 2] + step);
  }
  take(next);
});
const read = () => element.querySelector('.face-picker') ? box ? JSON.stringify(box) : '' : undefined;
watch('value', settle);
settle();
window.diorama = {...window.diorama, face: read};
""".replace("LEAST", "0.04")

CSS = """
.face-picker { display: flex; flex-direction: column; align-items: center; gap: 10px; }
.face-picker .frame {
  position: relative; max-width: 100%; line-height: 0; background: var(--mat); border-radius: 4px; cursor: crosshair;
  box-shadow: var(--lift-small); touch-action: none; user-select: none; -webkit-user-select: none;
}
.face-picker .frame img { display: block; width: 100%; height: auto; margin: 0 !important; border-radius: 4px; }
.face-picker .frame button {
  position: absolute; box-sizing: border-box; margin: 0; padding: 0; border: 2px solid #fffdf8; border-radius: 4px;
  background: none; box-shadow: 0 0 0 1px rgba(44, 39, 35, 0.65); cursor: pointer; line-height: 0; text-align: left;
}
.face-picker .frame button[hidden] { display: none; }
.face-picker .frame button[aria-pressed="true"], .face-picker .frame [data-part="own"] {
  border: 3px solid #3a9d54; background: rgba(58, 157, 84, 0.16);
}
.face-picker .frame b {
  position: absolute; left: 0; top: 0; min-width: 18px; padding: 0 4px; box-sizing: border-box; text-align: center;
  font: 600 12px/18px var(--font); color: #2c2723; background-color: #fffdf8;
}
.face-picker p { margin: 0; font-size: 14px; color: var(--body-text-color-subdued); text-align: center; }
"""


def script() -> str:
    """What the picker does in the browser."""
    return for_script(SCRIPT, "face_script")


def picker(uploads: Uploads, upload: Upload | None, face: Sequence[float] | None, folder: Path) -> str:
    """The first frame with its faces, one of them picked; "" while there is no frame.

    Args:
        uploads: where what was given is.
        upload: the picture or video.
        face: the box that is picked; None is the largest face.
        folder: the checkpoint's, see `faces_in`.
    """
    if upload is None or upload.kind == "voice":
        return ""
    try:
        found, note = boxes_in(uploads.folder / upload.id / SHOWN["picture"][0], folder), ""
    except Refusal as refusal:
        found, note = (), f"{in_language(refusal.reason)} "
    width, height = upload.width, upload.height
    shown = round(width * min(LARGEST / max(width, height), 3.0))
    faces = "".join(
        f'<button type="button" data-box="{json.dumps(list(box))}" aria-pressed="false" style="{_spot(box)}" '
        f'aria-label="{say("dubbing.face", number=number)}"><b>{number}</b></button>'
        for number, box in enumerate(found, 1)
    )
    told = json.dumps(None if face is None else list(face))
    return (
        f'<div class="face-picker" data-turn="{secrets.token_hex(4)}" data-face="{escape(told, quote=True)}">'
        f'<div class="frame" data-part="frame" role="group" aria-label="{say("field.face")}" style="width: {shown}px">'
        f'<img src="uploads/{upload.id}/picture" width="{width}" height="{height}" alt="{say("dubbing.first")}" '
        f'draggable="false">{faces}<button type="button" data-part="own" hidden></button></div>'
        f'<div class="tools" role="group" aria-label="{say("field.face")}">'
        f'<button type="button" data-part="any" aria-pressed="true">{say("dubbing.largest")}</button>'
        f'<button type="button" data-part="draw" aria-pressed="false">{say("dubbing.draw")}</button></div>'
        f'<p role="status">{escape(note)}{counted("dubbing.faces", len(found))}</p></div>'
    )


def boxes_in(path: Path, folder: Path) -> tuple[tuple[float, ...], ...]:
    """The faces in the picture at `path`, each a box in 0..1, the largest first; nothing where it can not be read.

    Raises:
        Refusal: see `faces_in`.
    """
    try:
        return _found(path, path.stat().st_mtime_ns, folder)
    except (MediaError, OSError):
        return ()


@lru_cache(maxsize=32)  # a picker is drawn more often than a face is given
def _found(path: Path, _stamp: int, folder: Path) -> tuple[tuple[float, ...], ...]:
    frame = read_picture(path)[..., :3]
    sides = (frame.shape[1], frame.shape[0]) * 2
    boxes = (
        tuple(round(min(max(edge / side, 0.0), 1.0), 4) for edge, side in zip(box, sides, strict=True))
        for box in faces_in(frame, folder)
    )
    return tuple(box for box in boxes if box[0] < box[2] and box[1] < box[3])


def face_of(value: Any) -> list[float] | None:
    """The box that the page sends, or None; also from the picker as it was drawn, which the page has not opened yet.

    Raises:
        Refusal: it is no box.
    """
    text = str(value or "")
    if text.lstrip().startswith("<"):
        drawn = re.search(r'data-face="([^"]*)"', text)
        text = unescape(drawn[1]) if drawn else ""
    try:
        found = json.loads(text or "null")
        if found is None:
            return None
        box = [float(side) for side in found]
        if len(box) != 4:
            raise ValueError
        return box
    except (ValueError, TypeError, OverflowError, RecursionError):
        raise Refusal("face", say("dubbing.no_box")) from None


def _spot(box: Sequence[float]) -> str:
    x0, y0, x1, y1 = (100 * side for side in box)
    return f"left: {x0:.2f}%; top: {y0:.2f}%; width: {x1 - x0:.2f}%; height: {y1 - y0:.2f}%"
