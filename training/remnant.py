"""A remnant: what other things leave to be seen of one that they lie on, and the shape that it is a part of.

Only what is seen counts, and all of it: a template may go on below the things on top, but where the ground shows it
has to end as the paper does. Things that nothing hides are `fitting.py`'s.

Lengths are in pixels of a window but for those of a `Seen`. Suffix: S shapes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from training.fitting import HIDDEN, TURN, Part, Seen, least_match, named
from training.pixels import UNKNOWN, Array, bounds, floats
from training.templates import REACH, SIDE, Poses, Templates, align, overlap, templates_of

LARGER = (1.0, 1.25, 1.6)  # how much larger than what is seen of it a thing may be
TRIED = 3  # of the ways to begin, those that are followed
MARGIN = 0.005  # how much better than any other a shape has to fit: closer ones look the same as far as is seen
LEAST_SHOWN = 0.4  # of a thing's area and of its outline: what shows less of itself has nothing to be told by


@dataclass(frozen=True, eq=False)
class Remnant:
    """All that is seen of one colour where things touch; `pieces` are its parts as they are read without that."""

    part: Part  # its weight is zero where things may lie on it
    pieces: tuple[int, ...]

    @property
    def shows(self) -> bool:
        """Whether any of it is plainly seen: of a haze there is nothing to fit a template to."""
        weight = 1.0 if self.part.weight is None else self.part.weight
        return bool((self.part.alpha * weight > 0.5).any())


def mended(seen: Sequence[Seen], remnants: Sequence[Remnant], shapes: Sequence[str]) -> list[Seen]:
    """Things as read each for itself, but for those that are one whole below what lies on it."""
    kept: list[Seen | None] = list(seen)
    for remnant in remnants:
        pieces = remnant.pieces
        if not remnant.shows or not pieces or (len(pieces) == 1 and seen[pieces[0]].shape != UNKNOWN):
            continue
        whole = fit_remnant(remnant.part, shapes)
        if whole.shape != UNKNOWN:
            for k in pieces:
                kept[k] = None
            kept.append(whole)
    return [one for one in kept if one is not None]


def fit_remnant(part: Part, shapes: Sequence[str]) -> Seen:
    """The shape whose template covers all that is seen of a part, and nothing that is seen to be something else."""
    assert part.weight is not None
    pad = max(part.alpha.shape)
    # What lies beyond the window is seen, and is not the thing.
    alpha, weight = np.pad(part.alpha, pad), np.pad(part.weight, pad, constant_values=1)
    x, y = part.corner
    part = replace(part, alpha=alpha, weight=weight, corner=(x - pad, y - pad))
    templates = templates_of(tuple(shapes))
    total = float((alpha * weight).sum())
    count = len(templates.names)
    centre, radius, angle = np.zeros((count, 2)), np.ones(count), np.zeros(count)
    poses = Poses(floats(centre), floats(radius), floats(angle), (-TURN, TURN))
    matches = {s: _begin(alpha, weight, total, templates, poses, s) for s in range(count)}
    left = sorted(matches, key=lambda s: -matches[s])[:4]
    for keep in (2, 1):
        for s in left:
            for _ in range(3):
                align(alpha, weight, templates, poses, s)
            matches[s] = overlap(alpha, weight, total, templates, poses, s)
        left = sorted(left, key=lambda s: -matches[s])[:keep]
    best = left[0]
    solid, cover, seen = templates.solid_SP[best], templates.cover_SP[best], poses.sample(weight, best)
    shown = min(float((some * seen).sum() / some.sum()) for some in (solid, 4 * cover * (1 - cover)))
    least = least_match(templates.names[best], float(poses.radius_S[best])) - HIDDEN
    rival = max((match for s, match in matches.items() if s != best), default=0.0)
    sure = matches[best] >= max(least, rival + MARGIN) and shown >= LEAST_SHOWN
    shape = templates.names[best] if sure else UNKNOWN
    return named(part, shape, templates, poses, best, matches, _box(templates, poses, best))


def _begin(alpha: Array, weight: Array, total: float, templates: Templates, poses: Poses, s: int) -> float:
    """Let a template begin where it ends best, of all places where it covers what is seen up to two of its sides."""
    x0, y0, x1, y1 = bounds(alpha * weight > 0.5)
    left, top, right, bottom = templates.box_S4[s]
    least = max((x1 - x0) / (right - left), (y1 - y0) / (bottom - top))
    starts = []
    for radius in (least * larger for larger in LARGER):
        for x in (x0 - radius * left, x1 - radius * right):
            for y in (y0 - radius * top, y1 - radius * bottom):
                _set(poses, s, (x, y, radius, 0.0))
                starts.append((overlap(alpha, weight, total, templates, poses, s), (x, y, radius, 0.0)))
    found = []
    for _, start in sorted(starts, reverse=True)[:TRIED]:
        _set(poses, s, start)
        for _ in range(5):
            align(alpha, weight, templates, poses, s)
        end = (*poses.centre_S2[s].tolist(), float(poses.radius_S[s]), float(poses.angle_S[s]))
        found.append((overlap(alpha, weight, total, templates, poses, s), end))
    match, end = max(found)
    _set(poses, s, end)
    return match


def _set(poses: Poses, s: int, pose: tuple[float, float, float, float]) -> None:
    poses.centre_S2[s] = pose[:2]
    poses.radius_S[s], poses.angle_S[s] = pose[2:]


def _box(templates: Templates, poses: Poses, s: int) -> tuple[float, float, float, float]:
    """The bounds of a template where it lies."""
    rows, columns = np.nonzero(templates.solid_SP[s].reshape(SIDE, SIDE) > 0.5)
    step = 2 * REACH / SIDE
    x, y = ((columns + 0.5) * step - REACH, (rows + 0.5) * step - REACH)
    cos, sin = np.cos(poses.angle_S[s]), np.sin(poses.angle_S[s])
    across, down = x * cos - y * sin, x * sin + y * cos
    half = step / 2
    radius, (cx, cy) = float(poses.radius_S[s]), poses.centre_S2[s].tolist()
    ends = (across.min() - half, down.min() - half, across.max() + half, down.max() + half)
    x0, y0, x1, y1 = (float(end) * radius for end in ends)
    return cx + x0, cy + y0, cx + x1, cy + y1
