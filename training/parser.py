"""The parser: reads a Papercut picture back from its pixels alone. Judging and scoring are `evaluate.py`.

`read` finds the ground (`ground.py`), then whatever is neither ground nor its shadow, then the colour, the shape
(`fitting.py`) and the place of each piece, and of what others hide in part (`remnant.py`). A colour outside the palette
is "unknown", and so is a shape, so that neither can pass for what was asked. Several frames are `clips.py`'s.

Colours are 0..255, lengths in short sides as in `scene.py` unless a name ends in `_px`. Work pixels are those of the
picture after small ones were enlarged. Suffixes: H and W of a picture.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import cv2
import numpy as np
from torch import Tensor

from training.drawing import SHADOW_ALPHA
from training.fitting import Part, Seen, fit
from training.ground import DIM, from_surface, palette, read_ground
from training.pixels import UNKNOWN, Array, Mask, Pixels, bounds, work_image
from training.remnant import Remnant, mended
from training.scene import COLOURS, SHAPES

FAINT = 18.0  # what is this far off the ground over a large patch is a stain
LEAST_AREA = 0.0025  # of the squared short side; a quarter of the smallest shape, five times a dot of the night
MOST_STRAY = 0.004  # specks together, of the squared short side
COLOUR_REACH = 48.0  # the closest two palette colours are 74 apart


@dataclass(frozen=True)
class Reading:
    """All that a picture shows. `stray` is the area of specks too small to be things, in squared short sides."""

    things: tuple[Seen, ...]
    ground: str
    stray: float = 0.0

    @property
    def words(self) -> str:
        """`red circle + large blue star | meadow`."""
        return f"{' + '.join(thing.words for thing in self.things) or 'nothing'} | {self.ground}"


# ---------------------------------------------------------------- reading


@dataclass(frozen=True, eq=False)
class Survey:
    """A picture taken apart: its ground, the coverage of each thing on it, and the area that belongs to none."""

    ground: str
    parts: tuple[Part, ...]
    stray: float
    remnants: tuple[Remnant, ...] = ()  # of colours that touch others: parts that something may hide


def read(picture: Tensor | Pixels, shapes: Sequence[str] = SHAPES) -> Reading:
    """Read one picture: a float tensor [3, H, W] or [1, 3, H, W] in 0..1, or a uint8 array [H, W, 3].

    `shapes` are the templates that are tried. Leave all of them in unless the pictures are very small: a hexagon is
    no circle.
    """
    found = survey(picture)
    things = mended([fit(part, shapes) for part in found.parts], found.remnants, shapes)
    return Reading(tuple(sorted(things, key=lambda thing: (thing.y, thing.x))), found.ground, found.stray)


def survey(picture: Tensor | Pixels) -> Survey:
    """Take apart one picture as `read` takes it; shapes are not looked at yet."""
    image = work_image(picture)
    height, width = image.shape[:2]
    short = min(height, width)
    ground, paper = read_ground(image, short)
    off_ground, off_dim = paper.distances(image)
    contrast = max(paper.contrast, 2.5 * float(np.median(off_ground)))
    count, labels, stats, _ = cv2.connectedComponentsWithStats((off_ground > contrast).astype(np.uint8), connectivity=8)
    parts: list[Part] = []
    remnants: list[Remnant] = []
    stray = _stained(off_ground, labels > 0, contrast, short)
    for number in range(1, count):
        x, y, w, h, area = stats[number]
        if area < LEAST_AREA * short * short:
            stray += area
            continue
        pad = 3
        window = (slice(max(y - pad, 0), y + h + pad), slice(max(x - pad, 0), x + w + pad))
        piece = _Piece(image[window], off_dim[window], labels[window] == number, short)
        found, specks = piece.parts()
        stray += specks
        corner = (window[1].start, window[0].start)
        first = len(parts)
        parts += [Part(alpha, weight, colour, corner, (width, height)) for alpha, weight, colour in found]
        for alpha, weight, colour in piece.remnants():
            pieces = tuple(k for k in range(first, len(parts)) if parts[k].colour == colour)
            remnants.append(Remnant(Part(alpha, weight, colour, corner, (width, height)), pieces))
    return Survey(ground, tuple(parts), float(stray) / short**2, tuple(remnants))


def _stained(off_ground: Array, pieces: Mask, contrast: float, short: int) -> float:
    """Area of patches too faint for a thing and too far from one to be its halo, yet not the ground's colour."""
    faint = (off_ground > min(FAINT, contrast)).astype(np.uint8)
    patches = cv2.morphologyEx(faint, cv2.MORPH_OPEN, np.ones((5, 5), np.uint8))
    side = 2 * round(0.04 * short) + 1
    halo = cv2.dilate(pieces.astype(np.uint8), np.ones((side, side), np.uint8))
    return float(((patches == 1) & (halo == 0)).sum())


# ---------------------------------------------------------------- pieces of paper


@dataclass(frozen=True, eq=False)
class _Colour:
    """One colour of a piece."""

    name: str
    paint: Array  # [3] as measured
    core: Mask  # [H, W] where it fills some place, and does not only blend at an edge
    reach: tuple[int, int, int, int]  # bounds of all that looks like it, thin tips and shaded places too

    def lies_on(self, other: _Colour, slack: float) -> bool:
        """Whether it lies within another's much larger reach, or at most `slack` beyond."""
        x0, y0, x1, y1 = bounds(self.core)
        left, top, right, bottom = other.reach
        much_smaller = (x1 - x0) * (y1 - y0) < 0.6 * (right - left) * (bottom - top)
        return much_smaller and min(x0 - left, y0 - top, right - x1, bottom - y1) >= -slack

    def lies_amid(self, other: _Colour, slack: float) -> bool:
        """The same of where another surely is: blends that look like it may be anywhere in a crowd."""
        return self.lies_on(replace(other, reach=bounds(other.core)), slack)


@dataclass(frozen=True, eq=False)
class _Piece:
    """A connected region off the ground: one thing, or one on top of another, or things that touch."""

    image: Array  # [H, W, 3] a window of the picture
    off_ground: Array  # [H, W] colour distance to the ground, dimmed at most
    mask: Mask  # [H, W] the region
    short: int

    def parts(self) -> tuple[list[tuple[Array, Array | None, str]], float]:
        """Alpha, weight and colour of each thing of the region (see `Part`), and the area that belongs to none."""
        colours = self.colours
        grown = cv2.dilate(self.mask.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
        slack = 0.03 * self.short
        found: list[tuple[Array, Array | None, str]] = []
        claimed = np.zeros(self.mask.shape, dtype=np.uint8)
        for colour in colours:
            others = [other for other in colours if other is not colour]
            on_top = [other for other in others if other.lies_on(colour, slack)]
            own = from_surface(self.image, colour.paint, SHADOW_ALPHA if on_top else 0.0)
            # A thing shades what it lies on: a shaded yellow is closer to orange than to yellow.
            gaps = [
                from_surface(self.image, other.paint, DIM if colour.lies_on(other, slack) else 0.0) for other in others
            ]
            other = np.minimum.reduce([self.off_ground, *gaps])
            alpha = np.where(grown, other / (other + own + 1e-3), 0).astype(np.float32)
            parts: list[tuple[Array, Array | None]]
            if on_top:
                # What lies on top hides a part: that part says nothing about this shape.
                hidden = np.logical_or.reduce(
                    [_boxed(gaps[others.index(top)] < own, bounds(top.core), 3) for top in on_top]
                )
                parts = [(alpha, 1 - cv2.dilate(hidden.astype(np.float32), np.ones((3, 3), np.uint8)))]
            else:
                parts = [(part, None) for part in self._split(alpha, colour.core)]
            for part, weight in parts:
                claimed |= (part > 0.5).astype(np.uint8)
                found.append((part, weight, colour.name))
        claimed = cv2.dilate(claimed, np.ones((5, 5), np.uint8))
        return found, float((self.mask & (claimed == 0)).sum())

    def remnants(self) -> list[tuple[Array, Array, str]]:
        """Alpha, weight and colour of each colour that others may hide: all that touch it but what it lies on."""
        square = np.ones((3, 3), np.uint8)
        grown = cv2.dilate(self.mask.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
        found = []
        for colour in self.colours:
            own = from_surface(self.image, colour.paint, SHADOW_ALPHA)
            others = [other for other in self.colours if other is not colour]
            gaps = {other: from_surface(self.image, other.paint, SHADOW_ALPHA) for other in others}
            above = [gaps[other] for other in others if not colour.lies_amid(other, 0.03 * self.short)]
            if not above:
                continue
            off = np.minimum.reduce([self.off_ground, *gaps.values()])
            alpha = np.where(grown, off / (off + own + 1e-3), 0).astype(np.float32)
            covered = np.minimum.reduce(above)
            # Its own blend with the ground may look like another colour, but in no more than a line along the outline.
            hidden = (grown & (covered < own) & (covered <= off)).astype(np.uint8)
            hidden = cv2.morphologyEx(hidden, cv2.MORPH_OPEN, square) > 0
            # A blend of two other colours along an outline is nothing that is seen of this one.
            _, labels = cv2.connectedComponents((alpha > 0.5).astype(np.uint8), connectivity=8)
            hidden |= (labels > 0) & ~np.isin(labels, labels[colour.core])
            weight = 1 - cv2.dilate(hidden.astype(np.float32), square)
            found.append((alpha, weight, colour.name))
        return found

    @cached_property
    def colours(self) -> list[_Colour]:
        """The colours that fill some place. Red blends with yellow to orange, but in specks along an outline."""
        square = np.ones((3, 3), np.uint8)
        nearest = np.stack([from_surface(self.image, paint, SHADOW_ALPHA) for paint in palette()]).argmin(0)
        nearest[~self.mask] = -1
        colours = []
        for c, count in Counter(nearest[self.mask].tolist()).items():
            if count < LEAST_AREA * self.short**2 / 2:
                continue
            alike = nearest == c
            core = _patches(cv2.erode(alike.astype(np.uint8), square) > 0, 0.0009 * self.short**2)
            if core.any():
                colours.append(self._colour(core, alike))
        if not colours:
            # What has no inside at all is a sliver, such as an edge of the scenery, and no thing.
            core = cv2.erode(self.mask.astype(np.uint8), square) > 0
            return [self._colour(core, self.mask)] if core.any() else []
        return colours

    def _colour(self, core: Mask, alike: Mask) -> _Colour:
        paint = np.median(self.image[core], axis=0).astype(np.float32)
        gaps = np.linalg.norm(palette() - paint, axis=-1)
        name = list(COLOURS)[int(gaps.argmin())] if gaps.min() < COLOUR_REACH else UNKNOWN
        return _Colour(name, paint, core, bounds(alike))

    def _split(self, alpha: Array, core: Mask) -> list[Array]:
        """Each connected part of a coverage on its own, but for those too small to be things.

        A part that has nothing of the core is the blend of two other colours, along an outline.
        """
        _, labels, stats, _ = cv2.connectedComponentsWithStats((alpha > 0.5).astype(np.uint8), connectivity=8)
        parts = []
        for number in np.unique(labels[core]):
            if number == 0 or stats[number][4] < LEAST_AREA * self.short**2:
                continue
            here = cv2.dilate((labels == number).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
            here &= (labels == number) | (labels == 0)
            parts.append(np.where(here, alpha, 0).astype(np.float32))
        return parts


def _boxed(mask: Mask, box: tuple[int, int, int, int], pad: int) -> Mask:
    """What of a mask lies in a box or `pad` pixels around it."""
    kept = np.zeros_like(mask)
    here = (slice(max(box[1] - pad, 0), box[3] + pad), slice(max(box[0] - pad, 0), box[2] + pad))
    kept[here] = mask[here]
    return kept


def _patches(mask: Mask, least: float) -> Mask:
    """The connected parts of a mask that have at least `least` pixels."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    large = stats[:, 4] >= least
    large[0] = False
    return np.asarray(large[labels])
