"""The losses of a run as a drawing: every look at it, a mean that shows where it goes, and the held-out loss."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from ui.words import numerals, say

Points = Sequence[tuple[int, float]]

WIDTH, HEIGHT = 640, 240
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 12, 30  # room for the numbers
MOST = 300  # points of a line that are drawn
SMOOTH = 0.12  # how much the mean follows one look

CSS = """
.curve { margin: 0; } .curve svg { display: block; width: 100%; height: auto; overflow: visible; }
.curve .axis { stroke: var(--border-color-primary); stroke-width: 1; }
.curve text { font: 12px var(--font); fill: var(--body-text-color-subdued); font-variant-numeric: tabular-nums; }
.curve polyline { fill: none; stroke-linejoin: round; stroke-linecap: round; }
.curve .raw { stroke: var(--border-color-accent); stroke-width: 1.2; opacity: 0.75; }
.curve .mean { stroke: #d63031; stroke-width: 2.4; } .dark .curve .mean { stroke: #e9716d; }
.curve .held { stroke: #305ccc; stroke-width: 2.2; stroke-dasharray: 7 4; } .dark .curve .held { stroke: #8eaae8; }
.curve circle { fill: #305ccc; } .dark .curve circle { fill: #8eaae8; }
.curve figcaption { display: flex; flex-wrap: wrap; gap: 4px 18px; margin-top: 6px; font-size: 13.5px;
  color: var(--body-text-color-subdued); }
.curve figcaption i { display: inline-block; width: 22px; height: 0; margin-right: 7px; vertical-align: middle;
  border-top: 2.4px solid #d63031; }
.curve figcaption i.held { border-top: 2.2px dashed #305ccc; }
.dark .curve figcaption i { border-color: #e9716d; } .dark .curve figcaption i.held { border-color: #8eaae8; }
"""


def curve(losses: Points, held_out: Points, steps: int) -> str:
    """The drawing as HTML; it says in words what it shows.

    Args:
        losses: by step, of what is trained on.
        held_out: by step, of what is kept apart.
        steps: that the run has in all.
    """
    drawn = [value for points in (losses, held_out) for _, value in points]
    if not drawn:
        return f'<p class="say">{say("train.no_losses")}</p>'
    low, high = _range(drawn)
    last = max(1, steps, *(step for points in (losses, held_out) for step, _ in points[-1:]))

    def at(step: float, value: float) -> str:
        x = LEFT + (WIDTH - LEFT - RIGHT) * step / last
        y = TOP + (HEIGHT - TOP - BOTTOM) * (high - min(max(value, low), high)) / (high - low)
        return f"{x:.1f},{y:.1f}"

    def line(points: Points, kind: str) -> str:
        return f'<polyline class="{kind}" points="{" ".join(at(*point) for point in _thinned(points))}"/>'

    ends = "".join(
        f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>'
        f'<text x="{LEFT - 8}" y="{y + 4}" text-anchor="end">{numerals(f"{value:.3g}")}</text>'
        for y, value in ((TOP, high), ((TOP + HEIGHT - BOTTOM) / 2, (low + high) / 2), (HEIGHT - BOTTOM, low))
    )
    ends += f'<text x="{LEFT}" y="{HEIGHT - 10}">0</text>'
    ends += f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 10}" text-anchor="end">{numerals(f"{last:,}")}</text>'
    dots = "".join('<circle cx="{}" cy="{}" r="3"/>'.format(*at(*point).split(",")) for point in _thinned(held_out))
    inner = ends + line(losses, "raw") + line(_mean(losses), "mean") + line(held_out, "held") + dots
    words = _words(losses, held_out)
    keys = f"<span><i></i>{say('train.loss')}</span>" if losses else ""
    keys += f'<span><i class="held"></i>{say("train.held_out")}</span>' if held_out else ""
    return (
        f'<figure class="curve"><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(words)}">{inner}'
        f"</svg><figcaption>{keys}</figcaption></figure>"
    )


def _words(losses: Points, held_out: Points) -> str:
    """What a person who does not see the drawing is told of it."""
    told = []
    if losses:
        (first, before), (step, now) = losses[0], losses[-1]
        told.append(say("train.curve_loss", first=first, before=_told(before), step=step, now=_told(now)))
    if held_out:
        step, now = held_out[-1]
        at, best = min(held_out, key=lambda point: point[1])
        told.append(say("train.curve_held", step=step, now=_told(now), at=at, best=_told(best)))
    return " ".join(told)


def _told(value: float) -> str:
    return numerals(f"{value:.4g}")


def _range(values: Sequence[float]) -> tuple[float, float]:
    """From where to where the drawing goes; a single peak of a long run does not flatten all the rest."""
    ordered = sorted(values)
    low, high = ordered[0], ordered[min(len(ordered) - 1, round(0.99 * len(ordered)))]
    room = (high - low) * 0.08 or abs(high) * 0.1 or 1.0
    return (max(0.0, low - room) if low >= 0 else low - room), high + room  # a loss that is never negative ends at 0


def _thinned(points: Points) -> Points:
    """At most MOST of them, the last one always."""
    step = -(-len(points) // MOST) or 1
    return [*points[: len(points) - 1 : step], *points[-1:]]


def _mean(points: Points) -> Points:
    """A moving mean, which has seen nothing before the first point."""
    found, total, weight = [], 0.0, 0.0
    for step, value in points:
        total, weight = total * (1 - SMOOTH) + value, weight * (1 - SMOOTH) + 1
        found.append((step, total / weight))
    return found
