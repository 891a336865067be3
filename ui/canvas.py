"""A canvas over a picture on which a mask is drawn: what is painted is made new.

It is drawn in the picture's own pixels, however large it stands on the page. What is painted is the canvas's alpha,
which a browser keeps exact; the page sends it as a grey PNG when it is asked.
"""

from __future__ import annotations

import secrets

from ui.uploads import Upload
from ui.words import say

LARGEST = 460  # pixels on the page

CANVAS = """
const part = (name) => element.querySelector(`[data-part="${name}"]`);
let turn = null, brush = 22, erasing = false, last = null, past = [], wait;
const pen = () => part('mask')?.getContext('2d', {willReadFrequently: true});
const tell = () => { clearTimeout(wait); wait = setTimeout(() => trigger('edit', {}), 200); };
const paint = (image) => {  // white of a grey picture becomes paint
  const canvas = part('mask'), context = pen();
  context.clearRect(0, 0, canvas.width, canvas.height);
  context.drawImage(image, 0, 0, canvas.width, canvas.height);
  const pixels = context.getImageData(0, 0, canvas.width, canvas.height), data = pixels.data;
  for (let i = 0; i < data.length; i += 4) {
    const level = (data[i] + data[i + 1] + data[i + 2]) / 3 * data[i + 3] / 255;
    data[i] = 226; data[i + 1] = 0; data[i + 2] = 140; data[i + 3] = Math.round(level);
  }
  context.putImageData(pixels, 0, 0);
};
const keep = () => {
  const canvas = part('mask');
  past.push(pen().getImageData(0, 0, canvas.width, canvas.height));
  if (past.length > 20) past.shift();
};
const load = (address, then) => {
  const image = new Image();
  image.onload = () => { paint(image); then(); };
  image.src = address;
};
const settle = () => {
  const stack = part('stack');
  if (!stack || stack.dataset.turn === turn) return;
  turn = stack.dataset.turn; past = []; last = null;
  const canvas = part('mask');
  pen().clearRect(0, 0, canvas.width, canvas.height);
  if (stack.dataset.mask) load(stack.dataset.mask, tell);
};
const at = (event) => {
  const box = part('mask').getBoundingClientRect(), canvas = part('mask');
  const across = canvas.width / box.width, down = canvas.height / box.height;
  return [(event.clientX - box.left) * across, (event.clientY - box.top) * down];
};
const stroke = (from, to) => {
  const context = pen();
  context.globalCompositeOperation = erasing ? 'destination-out' : 'source-over';
  context.strokeStyle = 'rgb(226, 0, 140)';
  context.lineCap = context.lineJoin = 'round';
  context.lineWidth = brush;
  context.beginPath(); context.moveTo(...from); context.lineTo(to[0] + 0.01, to[1]); context.stroke();
  context.globalCompositeOperation = 'source-over';
};
element.addEventListener('pointerdown', (event) => {
  if (event.target !== part('mask') || event.button) return;
  event.preventDefault();
  event.target.setPointerCapture(event.pointerId);
  keep(); last = at(event); stroke(last, last);
});
element.addEventListener('pointermove', (event) => {
  if (!last) return;
  for (const each of event.getCoalescedEvents?.() ?? [event]) { const to = at(each); stroke(last, to); last = to; }
});
for (const name of ['pointerup', 'pointercancel']) element.addEventListener(name, () => {
  if (last) { last = null; tell(); }
});
const act = {
  draw: () => { erasing = false; }, erase: () => { erasing = true; },
  undo: () => { const before = past.pop(); if (before) pen().putImageData(before, 0, 0); },
  clear: () => { const c = part('mask'); keep(); pen().clearRect(0, 0, c.width, c.height); },
  invert: () => {
    const c = part('mask'); keep();
    const pixels = pen().getImageData(0, 0, c.width, c.height), data = pixels.data;
    for (let i = 0; i < data.length; i += 4) {
      data[i] = 226; data[i + 1] = 0; data[i + 2] = 140; data[i + 3] = 255 - data[i + 3];
    }
    pen().putImageData(pixels, 0, 0);
  },
};
element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-tool]');
  if (!button) return;
  act[button.dataset.tool]();
  element.querySelectorAll('[aria-pressed]').forEach((other) =>
    other.setAttribute('aria-pressed', (other.dataset.tool === 'erase') === erasing));
  tell();
});
element.addEventListener('input', (event) => {
  if (event.target.dataset.tool === 'brush') brush = Number(event.target.value);
});
element.addEventListener('change', async (event) => {
  if (event.target.type !== 'file' || !event.target.files[0]) return;
  const address = URL.createObjectURL(event.target.files[0]);
  event.target.value = '';
  keep(); load(address, () => { URL.revokeObjectURL(address); tell(); });
});
const read = () => {  // '' where nothing is painted
  const canvas = part('mask');
  if (!canvas) return '';
  const pixels = pen().getImageData(0, 0, canvas.width, canvas.height), data = pixels.data;
  let any = false;
  for (let i = 0; i < data.length; i += 4) {
    const level = data[i + 3];
    any ||= level > 0;
    data[i] = data[i + 1] = data[i + 2] = level; data[i + 3] = 255;
  }
  if (!any) return '';
  const grey = document.createElement('canvas');
  grey.width = canvas.width; grey.height = canvas.height;
  grey.getContext('2d').putImageData(pixels, 0, 0);
  return grey.toDataURL('image/png');
};
watch('value', settle);
settle();
window.diorama = {...window.diorama, mask: read};
"""
LIVE = "window.diorama?.mask?.()"

CSS = """
.canvas { display: flex; flex-direction: column; gap: 12px; }
.canvas .stack {
  position: relative; align-self: center; max-width: 100%; padding: 0; background: var(--mat); border-radius: 4px;
  box-shadow: var(--lift-small); line-height: 0;
}
.canvas .stack img { display: block; width: 100%; height: auto; margin: 0 !important; border-radius: 4px; }
.canvas canvas {
  position: absolute; inset: 0; width: 100%; height: 100%; border-radius: 4px; opacity: 0.62; cursor: crosshair;
  touch-action: none;
}
.tools { display: flex; flex-wrap: wrap; justify-content: center; align-items: center; gap: 8px; }
.tools button, .tools .file {
  margin: 0; padding: 7px 14px; border: 0; border-radius: 10px; font: inherit; font-size: 14.5px; cursor: pointer;
  background: var(--button-secondary-background-fill); color: var(--button-secondary-text-color);
}
.tools button:hover, .tools .file:hover { background: var(--button-secondary-background-fill-hover); }
.tools [aria-pressed="true"], .tools [aria-checked="true"] { background: var(--color-accent); color: #fffaf2; }
.tools .file input { position: absolute; width: 1px; height: 1px; opacity: 0; }
.tools .file:focus-within { outline: 3px solid var(--input-border-color-focus); }
.tools .brush { display: flex; align-items: center; gap: 8px; font-size: 14.5px; }
.tools .brush input { width: 110px; accent-color: var(--color-accent); }
.gradio-container .tools .brush input::-webkit-slider-thumb { box-shadow: none; }
"""


def canvas(upload: Upload | None, mask: Upload | None = None) -> str:
    """The picture, or a video's first frame, with a canvas over it; `mask` is what is painted already."""
    if upload is None:
        return ""
    width, height = upload.width, upload.height
    shown = round(width * min(LARGEST / max(width, height), 3.0))
    painted = f"uploads/{mask.id}/picture" if mask else ""
    return (
        f'<div class="canvas"><div class="stack" data-part="stack" data-turn="{secrets.token_hex(4)}" '
        f'data-mask="{painted}" style="width: {shown}px">'
        f'<img src="uploads/{upload.id}/picture" width="{width}" height="{height}" alt="{say("paint.kept")}" '
        f'draggable="false"><canvas data-part="mask" width="{width}" height="{height}" '
        f'aria-label="{say("paint.canvas")}"></canvas></div>'
        f'<div class="tools" role="group" aria-label="{say("field.mask")}">'
        f'<button type="button" data-tool="draw" aria-pressed="true">{say("paint.draw")}</button>'
        f'<button type="button" data-tool="erase" aria-pressed="false">{say("paint.erase")}</button>'
        f'<label class="brush">{say("paint.brush")}'
        '<input type="range" data-tool="brush" min="2" max="64" value="22"></label>'
        f'<button type="button" data-tool="undo">{say("paint.undo")}</button>'
        f'<button type="button" data-tool="clear">{say("paint.clear")}</button>'
        f'<button type="button" data-tool="invert">{say("paint.invert")}</button>'
        f'<label class="file">{say("paint.from_file")}<input type="file" accept="image/*"></label></div></div>'
    )
