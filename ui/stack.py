"""The layer panel of a finished layered picture: its layers, top first, and the stack composed live in the browser."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

from ui.files import Output, address
from ui.words import say

# The stack is composed as any viewer does it: bottom first, each over what is below, by its alpha and its opacity.
SCRIPT = """
let pictures = new Map();
const stack = () => element.querySelector('[data-stack]');
const compose = () => {
  const layers = [...stack()?.querySelectorAll('[data-layer]') ?? []].reverse();
  if (!layers.length || layers.some((layer) => !pictures.get(layer.dataset.src)?.naturalWidth)) return;
  const canvas = stack().querySelector('canvas'), pen = canvas.getContext('2d', {willReadFrequently: true});
  pen.clearRect(0, 0, canvas.width, canvas.height);
  for (const layer of layers) {
    if (layer.querySelector('[data-eye]').getAttribute('aria-pressed') !== 'true') continue;
    pen.globalAlpha = layer.querySelector('[data-opacity]').value / 100;
    pen.drawImage(pictures.get(layer.dataset.src), 0, 0, canvas.width, canvas.height);
  }
  pen.globalAlpha = 1;
};
let opened = null, named = '';
const open = () => {
  // Also told of drawings that left the layers as a person put them.
  if (stack() === opened && stack()?.dataset.stack === named) return;
  opened = stack(); named = opened?.dataset.stack ?? '';
  const layers = [...stack()?.querySelectorAll('[data-layer]') ?? []];
  pictures = new Map(layers.map((layer) => [layer.dataset.src, new Image()]));
  layers.forEach((layer) => { layer.querySelector('[data-opacity]').value = 100; });
  for (const [source, image] of pictures) { image.onload = compose; image.src = source; }
};
element.addEventListener('input', (event) => { if ('opacity' in event.target.dataset) compose(); });
element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-stack] button'), layer = button?.closest('[data-layer]');
  if (!button) return;
  if ('eye' in button.dataset) {
    button.setAttribute('aria-pressed', button.getAttribute('aria-pressed') !== 'true');
    layer.classList.toggle('hidden', button.getAttribute('aria-pressed') !== 'true');
  }
  if (button.dataset.move === 'up') layer.previousElementSibling?.before(layer);
  if (button.dataset.move === 'down') layer.nextElementSibling?.after(layer);
  if (button.dataset.move) button.focus();
  if ('again' in button.dataset) trigger('again', {job: stack().dataset.stack, layer: Number(layer.dataset.layer)});
  if ('shown' in button.dataset) stack().querySelector('canvas').toBlob((blob) => {
    const link = Object.assign(document.createElement('a'), {href: URL.createObjectURL(blob), download: 'stack.png'});
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });
  compose();
});
watch('value', open);
element.addEventListener('drawn', open);
open();
"""

EYE = '<path d="M1.5 8S4 3.5 8 3.5 14.5 8 14.5 8 12 12.5 8 12.5 1.5 8 1.5 8z"/><circle cx="8" cy="8" r="2"/>'
AGAIN = '<path d="M13 8a5 5 0 1 1-1.6-3.7M13 2v3.2h-3.2"/>'
UP, DOWN = '<path d="M8 13V3M4 7l4-4 4 4"/>', '<path d="M8 3v10M4 9l4 4 4-4"/>'

CSS = """
.mount canvas { display: block; max-width: 100%; height: auto; border-radius: 2px; box-shadow: 0 0 0 1px var(--edge);
  background-color: #fffdf8; background-size: 16px 16px;
  background-image: conic-gradient(#e9e2d5 25%, transparent 0 50%, #e9e2d5 0 75%, transparent 0); }
.stack-of-layers { display: flex; flex-direction: column; align-items: center; gap: 12px; width: 100%; }
.layers { list-style: none; width: min(100%, 430px); margin: 0; padding: 0; text-align: left; }
.layers li { display: flex; align-items: center; gap: 10px; margin: 0; padding: 8px 0; }
.layers li + li { border-top: 1px dashed var(--border-color-primary); }
.layers .checker { flex: none; }
.layers .what-layer { flex: 1; min-width: 0; }
.layers .what-layer span {
  display: block; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; font: italic 15px/1.4 var(--serif);
}
.layers em {
  margin-left: 7px; padding: 1px 8px; border-radius: 999px; background-color: var(--faint); font-style: normal;
  font-size: 12px; color: var(--body-text-color-subdued);
}
.layers input { display: block; width: 100%; max-width: 170px; margin: 4px 0 0; accent-color: var(--color-accent); }
.gradio-container .layers input::-webkit-slider-thumb { box-shadow: none; }
.layers li.hidden .checker, .layers li.hidden span { opacity: 0.4; }
.layers .small { display: flex; flex-wrap: wrap; gap: 4px; justify-content: flex-end; flex: none; }
.layers .small button {
  width: 34px; height: 34px; margin: 0; padding: 0; border: 0; border-radius: 9px; background-color: var(--faint);
  color: var(--body-text-color); cursor: pointer;
}
.layers .small button:hover { background-color: var(--button-secondary-background-fill-hover); }
.layers .small svg {
  display: block; width: 17px; height: 17px; margin: auto; fill: none; stroke: currentColor; stroke-width: 1.5;
  stroke-linecap: round; stroke-linejoin: round;
}
.layers [data-eye][aria-pressed="false"] svg { opacity: 0.3; }
.layers li:first-child [data-move="up"], .layers li:last-child [data-move="down"] { opacity: 0.35; }
"""


@dataclass(frozen=True)
class Layer:
    """A layer of a finished picture: what it is called, the place of its file among the row's, whether it was given."""

    name: str
    place: int
    given: bool


def layers_of(row: Output, told: Mapping[str, Any]) -> list[Layer]:
    """The layers that a record tells of, the background first; nothing where one has no file among the row's."""
    found: list[Layer] = []
    entries = told.get("layers")
    for entry in entries if isinstance(entries, list) else ():
        file = str(entry.get("file") or "") if isinstance(entry, dict) else ""
        # A record may name a file within the output's own folder.
        there = [place for place, name in enumerate(row.files) if f"/{name}".endswith(f"/{file}")]
        if not file.endswith(".png") or not there:
            return []
        other = say("stack.layer", number=len(found)) if found else say("stack.background")
        found.append(
            Layer(str(entry.get("prompt") or entry.get("name") or other), there[0], entry.get("given") is True)
        )
    return found


def panel(row: Output, told: Mapping[str, Any], shape: str, again: bool) -> str:
    """The stack on a canvas and its layers, top first; "" for a row without layers.

    Args:
        row: the finished row.
        told: its record.
        shape: width, height and style of the canvas, as attributes.
        again: whether one layer can be rendered again from here.
    """
    layers = layers_of(row, told)
    if not layers:
        return ""
    items = "".join(_item(row, number, layer, again) for number, layer in reversed(list(enumerate(layers))))
    words = escape(str(row.job.get("prompt") or ""), quote=True)
    return (
        f'<div class="stack-of-layers" data-stack="{row.id}"><figure class="mount">'
        f'<canvas {shape} role="img" aria-label="{words}"></canvas></figure>'
        f'<ol class="layers" aria-label="{say("stack.layers")}">{items}</ol>'
        f'<div class="tools"><button type="button" data-shown>{say("stack.save")}</button></div></div>'
    )


def _item(row: Output, number: int, layer: Layer, again: bool) -> str:
    name, source = escape(layer.name, quote=True), address(row, layer.place)
    given = f"<em>{say('stack.given')}</em>" if layer.given else ""
    acts = [
        ('data-eye aria-pressed="true"', EYE, say("stack.show")),
        ('data-move="up"', UP, say("stack.up")),
        ('data-move="down"', DOWN, say("stack.down")),
    ]
    if again:
        acts.append(("data-again", AGAIN, say("stack.again")))
    buttons = "".join(
        f'<button type="button" {marks} title="{words}" aria-label="{words}: {name}">'
        f'<svg viewBox="0 0 16 16" aria-hidden="true">{drawn}</svg></button>'
        for marks, drawn, words in acts
    )
    return (
        f'<li data-layer="{number}" data-src="{source}"><img class="checker" src="{source}" alt="" loading="lazy">'
        f'<div class="what-layer"><span title="{name}">{name}{given}</span>'
        f'<input type="range" data-opacity min="0" max="100" value="100" aria-label="{say("stack.opacity")}: '
        f'{name}"></div>'
        f'<div class="small">{buttons}</div></li>'
    )
