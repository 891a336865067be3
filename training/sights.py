"""One thing in the frames where it was seen, and what all of them together say it is.

A frame alone is read strictly (`fitting.py`). Where frames do not pass that, because an autoencoder or a model drew
outlines softly, they may still agree: if one shape fits best in nearly all of them, far better than any other.

Lengths are in short sides, angles clockwise in radians.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from training.fitting import Part, Seen, fit, least_match
from training.motion import ROUND
from training.moves import spins
from training.pixels import UNKNOWN, floats

ENOUGH = 0.8  # the share of frames that has to agree
TELLING_PX = 5.0  # a radius below that of anything that stands in a still of 64 pixels tells no shape
SOFT_PX, MARGIN = 0.25, 0.05  # what softness may take all along an outline, and how much worse other shapes have to fit
UPRIGHT = 0.08  # the range of angles of a thing that does not turn
REACH = 0.3  # and how far it may turn between two frames, beside going on as before

# After such a turn a shape looks the same; those left out have to go all the way round.
PERIODS = {"square": 90, "triangle": 120, "star": 72, "cross": 90, "hexagon": 60, "diamond": 180, "flower": 72}


def agreed(names: Iterable[str]) -> str:
    """The name that nearly all frames give, or "unknown"."""
    counts = Counter(names)
    name, count = counts.most_common(1)[0]
    return name if count >= ENOUGH * counts.total() else UNKNOWN


@dataclass(eq=False)
class Sights:
    """One thing in the frames where it was seen; `short_px` is the short side of the picture as it was given."""

    short_px: int
    frames: list[int] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)

    def add(self, frame: int, part: Part, seen: Seen) -> None:
        """See the thing in one more frame."""
        self.frames.append(frame)
        self.parts.append(part)
        self.seen.append(seen)

    def settle(self, shapes: Sequence[str]) -> tuple[str, list[Seen]]:
        """The thing's shape, or "unknown", and how it stands in each frame; angles are unwrapped where it turns."""
        shape = self._named({name: [one.matches[name] for one in self.seen] for name in shapes}, self.seen)
        seen = self.seen
        if shape != UNKNOWN:
            seen = [
                one if one.shape == shape else fit(part, (shape,)) for part, one in zip(self.parts, seen, strict=True)
            ]
        if shape in ROUND or (shape != UNKNOWN and np.ptp([one.angle for one in seen]) <= UPRIGHT):
            return shape, seen
        return self._turning(shapes) or (shape, seen)

    def _turning(self, shapes: Sequence[str]) -> tuple[str, list[Seen]] | None:
        """The same of a thing that goes round; None where none does."""
        turned = {shape: self._turned(shape) for shape in shapes if shape not in ROUND}
        matches = {shape: [one.match for one in seen] for shape, seen in turned.items()}
        # What is round fits anyhow.
        matches |= {shape: [one.matches[shape] for one in self.seen] for shape in shapes if shape in ROUND}
        going = [shape for shape in turned if spins(floats(self.frames), floats([one.angle for one in turned[shape]]))]
        going.sort(key=lambda shape: -sum(matches[shape]))
        for shape in going:
            if self._named(matches, turned[shape]) == shape:
                return shape, turned[shape]
        return None

    def _turned(self, shape: str) -> list[Seen]:
        """A shape fitted to each frame, turned from frame to frame, with angles unwrapped by its symmetry."""
        period = math.radians(PERIODS.get(shape, 360))
        count = math.ceil(period / 0.5)
        seen: list[Seen] = []
        for part in self.parts:
            last = seen[-1].angle if seen else 0.0
            expected = 2 * last - seen[-2].angle if len(seen) > 1 else last
            found = fit(part, (shape,), expected, REACH)
            if found.shape == UNKNOWN:
                others = [fit(part, (shape,), period * k / count, REACH) for k in range(count)]
                found = max((found, *others), key=lambda one: one.match)
            seen.append(replace(found, angle=found.angle - period * round((found.angle - expected) / period)))
        return seen

    def _named(self, matches: Mapping[str, Sequence[float]], seen: Sequence[Seen]) -> str:
        """The shape that fits: strictly in nearly all frames, or best in nearly all and well in all together.

        Args:
            matches: of each shape, in each frame.
            seen: how the thing stands in each frame, as far as a frame alone can tell.
        """
        large = [one.radius * self.short_px >= TELLING_PX for one in seen]
        # What shrinks ends as a speck that may be anything; what was never larger has to be told from specks.
        telling = [k for k, tells in enumerate(large) if tells or 2 * sum(large) < len(large)]
        if (strict := agreed(seen[k].shape for k in telling)) != UNKNOWN:
            return strict
        names = list(matches)
        table = np.array([[matches[name][k] for k in telling] for name in names])
        if (best := agreed(names[i] for i in table.argmax(0))) == UNKNOWN:
            return UNKNOWN
        mean = dict(zip(names, table.mean(1).tolist(), strict=True))
        short = self.parts[0].short
        off_px = SOFT_PX * short / self.short_px
        least = np.mean([least_match(best, seen[k].radius * short, off_px) for k in telling])
        rival = max((value for name, value in mean.items() if name != best), default=0.0)
        return best if mean[best] >= max(least, rival + MARGIN) else UNKNOWN
