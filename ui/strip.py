"""A strip of a video's frames: a press keeps a frame or lets it be made new; and the words for a set of frames."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ui.uploads import COLUMNS, Upload
from ui.words import of, say

# A page of buttons and no check boxes: gradio patches attributes, and not what a person ticked.
STRIP = """
const frames = () => [...element.querySelectorAll('[role="checkbox"]')];
element.addEventListener('click', (event) => {
  const preset = event.target.closest('[data-preset]'), frame = event.target.closest('[role="checkbox"]');
  if (preset) trigger('keep', {preset: preset.dataset.preset, frames: Number(preset.dataset.frames)});
  if (!frame) return;
  frame.setAttribute('aria-checked', frame.getAttribute('aria-checked') !== 'true');
  const kept = frames().flatMap((each, number) => each.getAttribute('aria-checked') === 'true' ? [number] : []);
  trigger('keep', {kept});
});
/* 'edit' */
"""

CSS = """
.strip { display: flex; flex-direction: column; gap: 10px; }
.strip .film { display: flex; flex-wrap: wrap; gap: 6px; max-height: 330px; overflow-y: auto; padding: 4px; }
.strip .film button {
  position: relative; margin: 0; padding: 0; border: 0; border-radius: 5px; cursor: pointer; opacity: 0.42;
  background-repeat: no-repeat; box-shadow: 0 0 0 1px var(--border-color-accent); transition: opacity 0.15s;
}
.strip .film button[aria-checked="true"] { opacity: 1; box-shadow: 0 0 0 3px #3a9d54; }
.strip .film button::after {
  content: attr(data-number); position: absolute; left: 3px; bottom: 3px; padding: 1px 5px; border-radius: 6px;
  font: 11px/1.3 var(--font); background: rgba(255, 253, 248, 0.86); color: #2c2723;
}
"""
PRESETS = ("first", "last", "ends", "half", "fourth", "none")
SPAN = re.compile(r"\d{1,6}(-\d{1,6})?")


def preset(name: str, frames: int) -> list[int]:
    """Which of `frames` frames a preset keeps."""
    kept = {
        "first": [0], "last": [frames - 1], "ends": [0, frames - 1], "half": range((frames + 1) // 2),
        "fourth": range(0, frames, 4),
    }  # fmt: skip
    return sorted(set(kept.get(name, ())))


def spelled(frames: Iterable[int]) -> str:
    """Frames as a job's `keep_frames`: neighbours as a span, `0-3,8`."""
    spans: list[list[int]] = []
    for frame in sorted(set(frames)):
        if spans and spans[-1][1] == frame - 1:
            spans[-1][1] = frame
        else:
            spans.append([frame, frame])
    return ",".join(f"{low}" if low == high else f"{low}-{high}" for low, high in spans)


def read(text: str, frames: int) -> set[int]:
    """The frames below `frames` that `text` names; what can not be read names none."""
    kept: set[int] = set()
    for span in text.replace(" ", "").split(","):
        if SPAN.fullmatch(span):
            low, _, high = span.partition("-")
            kept.update(range(int(low), min(int(high or low) + 1, frames)))
    return {frame for frame in kept if frame < frames}


def strip(upload: Upload | None, text: str) -> str:
    """The frames of a video with those of `text` kept, and buttons for what people mostly want."""
    if upload is None or upload.kind != "video":
        return ""
    kept, (width, height) = read(text, upload.frames), upload.thumb
    film = "".join(
        f'<button type="button" role="checkbox" aria-checked="{str(number in kept).lower()}" data-number="{number}" '
        f'aria-label="{say("strip.keep", number=number)}" style="width: {width}px; height: {height}px; '
        f"background-image: url(uploads/{upload.id}/strip); "
        f'background-position: -{width * (number % COLUMNS)}px -{height * (number // COLUMNS)}px"></button>'
        for number in range(upload.frames)
    )
    buttons = "".join(
        f'<button type="button" data-preset="{name}" data-frames="{upload.frames}">{of("preset", name)}</button>'
        for name in PRESETS
    )
    return (
        f'<div class="strip"><div class="tools" role="group" aria-label="{say("masked.keep")}">{buttons}</div>'
        f'<div class="film">{film}</div></div>'
    )
