"""A finished dubbing: the result beside its source, playing together, and how open the mouth is over how loud it is.

The drawing is made of what the record tells (`pipelines/voice/overtime.py`). The source shows in every moment the frame
that the result shows: forwards, and where the result is longer backwards and forwards again, as the timeline has it.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from html import escape
from pathlib import Path
from typing import Any

from ui.dubbingfiles import film
from ui.files import Output, address
from ui.uploads import Upload, Uploads, rate_of
from ui.words import say

WIDE, TALL = 640, 120  # of the drawing, in its own units
QUIET, STILL = 0.02, 0.03  # what the drawing's height is at least: else nothing but noise would fill it
MOST = 1_000  # moments that are drawn

# The result plays, and the source goes along. On the part itself, for what stands in it comes and goes.
SCRIPT = """
{
  let beat = 0;
  const follow = () => {
    const root = element.querySelector('[data-dubbed]'), made = root?.querySelector('[data-made]');
    if (!made) return;
    const fps = Number(root.dataset.fps), there = Number(root.dataset.there);
    const frame = Math.floor(made.currentTime * fps + 0.001), source = root.querySelector('video[data-given]');
    const share = made.duration ? 100 * made.currentTime / made.duration : 0;
    root.querySelector('[data-head]')?.style.setProperty('left', `${share}%`);
    root.querySelector('[data-both]').setAttribute('aria-pressed', !made.paused);
    if (source && there > 1) {
      const step = frame % (2 * there - 2), back = step > there - 1;
      const want = ((back ? 2 * there - 2 - step : step) + 0.5) / fps;
      const off = Math.abs(source.currentTime - want);
      if (back || made.paused) {  // no browser plays backwards: it is shown frame by frame
        source.pause();
        if (off > 0.5 / fps && !source.seeking) source.currentTime = want;
      } else {
        if (off > Math.max(0.1, 2 / fps) && !source.seeking) source.currentTime = want;
        source.playbackRate = made.playbackRate;
        if (source.paused && !source.ended) source.play().catch(() => {});
      }
    }
    cancelAnimationFrame(beat);
    if (!made.paused && element.isConnected) beat = requestAnimationFrame(follow);
  };
  for (const name of ['play', 'pause', 'seeked', 'timeupdate', 'loadedmetadata'])
    element.addEventListener(name, ({target: {dataset}}) => {
      if (dataset && ('made' in dataset || (name === 'seeked' && 'given' in dataset))) follow();
    }, true);
  element.addEventListener('click', (event) => {
    const made = event.target.closest('[data-both]')?.closest('[data-dubbed]').querySelector('[data-made]');
    if (made) made.paused ? made.play().catch(() => {}) : made.pause();
  });
}
"""

CSS = """
.dubbed { display: flex; flex-direction: column; align-items: center; gap: 12px; width: 100%; }
.dubbed .pair { display: flex; flex-wrap: wrap; justify-content: center; gap: 12px; width: 100%; }
.dubbed .pair figure { flex: 0 1 auto; min-width: 0; }
.dubbed .pair img { display: block; max-width: 100%; height: auto; margin: 0 !important; }
.dubbed figcaption { margin-top: 6px; font-size: 13px; text-align: center; color: var(--body-text-color-subdued); }
.dubbed.two .pair figure { flex: 1 1 130px; max-width: calc(50% - 6px); box-sizing: border-box; }
.dubbed .over-time { position: relative; width: 100%; max-width: 454px; }
.dubbed .over-time svg { display: block; width: 100%; height: auto; border-radius: 8px; background: var(--mat); }
.dubbed .over-time .loud { fill: var(--border-color-accent); } .dubbed .over-time .open { fill: none; stroke: #d63031;
  stroke-width: 2.5; stroke-linejoin: round; stroke-linecap: round; vector-effect: non-scaling-stroke; }
.dubbed .over-time .head {
  position: absolute; top: 0; bottom: 0; left: 0; width: 2px; background: var(--body-text-color); opacity: 0.55;
}
.dubbed .legend { justify-content: center; margin: 0; }
"""


def panel(row: Output, told: Mapping[str, Any], folder: Path, shape: str) -> str:
    """A dubbing's result as HTML; "" for a row of another task.

    Args:
        row: the finished row, whose first file is a video.
        told: its record.
        folder: the studio's.
        shape: width, height and style of the video, as attributes.
    """
    if row.job.get("task") != "dubbing":
        return ""
    words = escape(str(row.job.get("prompt") or say("dubbed.result")), quote=True)
    made = (
        f'<figure class="mount"><video src="{address(row, 0)}" {shape} controls loop playsinline preload="auto" '
        f'data-made aria-label="{words}"></video><figcaption>{say("dubbed.result")}</figcaption></figure>'
    )
    source = row.job.get("source")
    upload = Uploads(folder).of(source if isinstance(source, str) else None)
    given = _given(upload, shape) if upload else ""
    rate = (rate_of(upload) if upload else None) or _rate(told)
    there = upload.frames if upload else 1
    both = (
        f'<div class="tools"><button type="button" data-both aria-pressed="false">{say("dubbed.play")}</button></div>'
    )
    return (
        f'<div class="dubbed{" two" if given else ""}" data-dubbed data-fps="{float(rate):g}" data-there="{there}">'
        f'<div class="pair">{given}{made}</div>{both}{_over_time(told)}</div>'
    )


def _given(upload: Upload, shape: str) -> str:
    words, first = say("dubbed.source"), f"uploads/{upload.id}/picture"
    address = film(upload)
    shown = (
        f'<video src="{address}" {shape} muted playsinline preload="auto" poster="{first}" data-given '
        f'aria-label="{words}"></video>'
        if address
        else f'<img src="{first}" {shape} alt="{words}">'
    )
    return f'<figure class="mount">{shown}<figcaption>{words}</figcaption></figure>'


def _rate(told: Mapping[str, Any]) -> Fraction:
    """Frames a second of the result, as its record tells them."""
    resolved = told.get("resolved")
    try:
        rate = Fraction(str(resolved.get("fps"))) if isinstance(resolved, Mapping) else Fraction(0)
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    return rate if rate > 0 else Fraction(25)


def _over_time(told: Mapping[str, Any]) -> str:
    """The drawing; "" where the record does not tell."""
    dubbing = told.get("dubbing")
    tracks = dubbing.get("over_time") if isinstance(dubbing, Mapping) else None
    loud = _track(tracks, "loud")
    if not any(value is not None for value in loud):
        return ""
    open_ = _track(tracks, "open")
    reads = len(open_) == len(loud) and any(value is not None for value in open_)
    top = max(QUIET, *(value or 0.0 for value in loud))
    step = WIDE / len(loud)
    heights = [TALL - 2 - (TALL - 8) * (value or 0.0) / top for value in loud]
    edge = " ".join(f"{(k + 0.5) * step:.1f},{y:.1f}" for k, y in enumerate(heights))
    area = f'<polygon class="loud" points="0,{TALL} 0,{heights[0]:.1f} {edge} {WIDE},{heights[-1]:.1f} {WIDE},{TALL}"/>'
    line = "".join(f'<polyline class="open" points="{points}"/>' for points in (_lines(open_, step) if reads else ()))
    label = say("dubbed.open_over_loud") if reads else say("dubbed.loud_alone")
    chips = f'<li><i style="background: var(--border-color-accent)"></i>{say("dubbed.loud")}</li>'
    chips += f'<li><i style="background: #d63031"></i>{say("dubbed.open")}</li>' if reads else ""
    return (
        f'<div class="over-time"><svg viewBox="0 0 {WIDE} {TALL}" role="img" aria-label="{label}">{area}{line}</svg>'
        f'<span class="head" data-head aria-hidden="true"></span></div><ul class="legend">{chips}</ul>'
    )


def _lines(open_: list[float | None], step: float) -> list[str]:
    """The points of each run of moments in which a mouth was read, from the most shut one at the bottom."""
    known = [value for value in open_ if value is not None]
    low, span = min(known), max(STILL, max(known) - min(known))
    runs: list[list[str]] = [[]]
    for k, value in enumerate(open_):
        if value is None:
            runs.append([])
        else:
            runs[-1].append(f"{(k + 0.5) * step:.1f},{TALL - 6 - (TALL - 16) * (value - low) / span:.1f}")
    return [" ".join(run) for run in runs if run]


def _track(tracks: Any, name: str) -> list[float | None]:
    """A track of the record, 0..1 or None at each moment; nothing where it is something else."""
    found = tracks.get(name) if isinstance(tracks, Mapping) else None
    if not isinstance(found, list) or not 0 < len(found) <= MOST:
        return []
    numbers = (int, float)
    if any(value is not None and (type(value) not in numbers or not 0 <= value <= 1) for value in found):
        return []
    return [None if value is None else float(value) for value in found]
