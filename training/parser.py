"""The parser: reads a Papercut picture back from its pixels alone. Judging and scoring are `evaluate.py`.

`read` finds the ground, then whatever is neither ground nor its shadow, then the colour, the shape and the place of
each piece. A piece that no template covers is a thing of shape "unknown" and a colour outside the palette is "unknown"
too, so that neither can pass for what was asked.

Colours are 0..255, lengths in short sides as in `training/papercut.py` unless a name ends in `_px`. Work pixels are
those of the picture after small ones were enlarged. Suffixes: S shapes, P pixels of a template, H and W of a picture.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.papercut import (
    BANDS,
    COLOURS,
    DISTANCES,
    DOT_COLOUR,
    DOT_RADIUS,
    NIGHT_DOTS,
    RADII,
    SHADOW_ALPHA,
    SHAPES,
)

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]

UNKNOWN = "unknown"

WORK_SIDE = 112  # smaller pictures are enlarged by a whole factor: a small ring's band must outlast an erosion
DARKEST = 0.34  # how much a shadow may darken the ground; grey is a white ground darkened by 0.45
DIM = 0.2  # the same at an outline, where a black thing's blend with the ground looks like a shadow of it
CONTRAST = (9.0, 28.0)  # half the distance to the faintest colour on a ground: white on the sea's sky .. most others
FAINT = 18.0  # what is this far off the ground over a large patch is a stain
LEAST_AREA = 0.0025  # of the squared short side; a quarter of the smallest shape, five times a dot of the night
LEAST_MATCH = 0.95  # overlap with the best template, less what a quarter pixel all along its outline takes
OUTLINE_PX, HIDDEN = 0.25, 0.03  # and a little less where a part is hidden
MOST_STRAY = 0.004  # specks together, of the squared short side
COLOUR_REACH = 48.0  # the closest two palette colours are 74 apart
TURN = 0.16  # things stand upright within 0.1 rad


@dataclass(frozen=True)
class Seen:
    """One thing as read. Centre and radius in short sides, `angle` in radians, box x0, y0, x1, y1 in 0..1."""

    shape: str
    colour: str
    size: str
    x: float
    y: float
    radius: float
    angle: float
    box: tuple[float, float, float, float]
    match: float  # overlap of the piece with its best template, 0..1

    @property
    def words(self) -> str:
        """`large red circle`; medium is not said."""
        return " ".join(w for w in (self.size if self.size != "medium" else "", self.colour, self.shape) if w)

    def relations_to(self, other: Seen) -> frozenset[str]:
        """The words that hold between this thing and another: `inside` alone, or at most one direction."""
        dx, dy = other.x - self.x, other.y - self.y
        if math.hypot(dx, dy) < 0.5 * max(self.radius, other.radius):
            return frozenset({"inside"} if self.radius < 0.75 * other.radius else ())
        if abs(dx) > 1.2 * abs(dy):
            return frozenset({"left of" if dx > 0 else "right of"})
        if abs(dy) > 1.2 * abs(dx):
            return frozenset({"above" if dy > 0 else "below"})
        return frozenset()


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


def read(picture: Tensor | NDArray[np.uint8], shapes: Sequence[str] = SHAPES) -> Reading:
    """Read one picture: a float tensor [3, H, W] or [1, 3, H, W] in 0..1, or a uint8 array [H, W, 3].

    `shapes` are the templates that are tried. Leave all of them in unless the pictures are very small: a hexagon is
    no circle.
    """
    image = _work_image(picture)
    height, width = image.shape[:2]
    short = min(height, width)
    ground, paper = _read_ground(image, short)
    off_ground, off_dim = paper.distances(image)
    contrast = max(paper.contrast, 2.5 * float(np.median(off_ground)))
    count, labels, stats, _ = cv2.connectedComponentsWithStats((off_ground > contrast).astype(np.uint8), connectivity=8)
    things: list[Seen] = []
    stray = _stained(off_ground, labels > 0, contrast, short)
    for number in range(1, count):
        x, y, w, h, area = stats[number]
        if area < LEAST_AREA * short * short:
            stray += area
            continue
        pad = 3
        window = (slice(max(y - pad, 0), y + h + pad), slice(max(x - pad, 0), x + w + pad))
        piece = _Piece(image[window], off_dim[window], labels[window] == number, short)
        found, specks = piece.things(shapes)
        stray += specks
        things += [_placed(thing, window[1].start, window[0].start, height, width) for thing in found]
    things.sort(key=lambda thing: (thing.y, thing.x))
    return Reading(tuple(things), ground, float(stray) / short**2)


def _stained(off_ground: Array, pieces: Mask, contrast: float, short: int) -> float:
    """Area of patches too faint for a thing and too far from one to be its halo, yet not the ground's colour."""
    faint = (off_ground > min(FAINT, contrast)).astype(np.uint8)
    patches = cv2.morphologyEx(faint, cv2.MORPH_OPEN, np.ones((5, 5), np.uint8))
    side = 2 * round(0.04 * short) + 1
    halo = cv2.dilate(pieces.astype(np.uint8), np.ones((side, side), np.uint8))
    return float(((patches == 1) & (halo == 0)).sum())


def _work_image(picture: Tensor | NDArray[np.uint8]) -> Array:
    """[H, W, 3] in 0..255, enlarged where small, with noise smoothed and edges kept."""
    if isinstance(picture, Tensor):
        pixels = picture.detach().reshape(3, *picture.shape[-2:]).permute(1, 2, 0).float().cpu().numpy() * 255
    else:
        pixels = picture.astype(np.float32)
    pixels = np.ascontiguousarray(pixels.clip(0, 255), dtype=np.float32)
    factor = math.ceil(WORK_SIDE / min(pixels.shape[:2]))
    if factor > 1:
        pixels = cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    return np.asarray(cv2.bilateralFilter(pixels, 5, 30.0, 1.5), dtype=np.float32)


def _from_surface(image: Array, paint: Array, darkest: float) -> Array:
    """[H, W] distance of each pixel to the colour `paint` under a shadow that takes 0..`darkest` of it."""
    lit = (image * paint).sum(-1) / np.maximum((paint * paint).sum(-1), 1.0)
    gap = image - paint * lit.clip(1 - darkest, 1.0)[..., None]
    return np.asarray(np.sqrt((gap * gap).sum(-1)), dtype=np.float32)


def _floats(values: object) -> Array:
    return np.asarray(values, dtype=np.float32)


@cache
def _palette() -> Array:
    return _floats(list(COLOURS.values()))


# ---------------------------------------------------------------- the ground


@dataclass(frozen=True, eq=False)
class _Paper:
    """The ground without things: its colours and where each of them shows."""

    colours: tuple[Array, ...]
    bands: NDArray[np.intp] | None = None  # [H, W] which colour; None where there is but one
    blends: tuple[tuple[Mask, int, Array], ...] = ()  # places where colour k blends with another one

    @property
    def contrast(self) -> float:
        """Colour distance above which a pixel is no ground: half of that to the palette's faintest colour on it."""
        gaps = np.concatenate([_from_surface(_palette()[None], paint, DARKEST)[0] for paint in self.colours])
        return float(np.clip(gaps[gaps > CONTRAST[0]].min() / 2, *CONTRAST))

    def distances(self, image: Array) -> tuple[Array, Array]:
        """[H, W] distances of pixels to the ground under shadows as deep as DARKEST, and as DIM."""
        paint = self.colours[0] if self.bands is None else np.stack(self.colours)[self.bands]
        dark, dim = _from_surface(image, paint, DARKEST), _from_surface(image, paint, DIM)
        for place, k, other in self.blends:
            here = image[place]
            for share in (0.25, 0.5, 0.75, 1.0):
                for shade in (1.0, 1 - 0.75 * SHADOW_ALPHA):
                    blend = self.colours[k] * (shade * (1 - share)) + other * share
                    dark[place] = np.minimum(dark[place], _from_surface(here, blend, DIM))
            dim[place] = np.minimum(dim[place], dark[place])
        return dark, dim


def _read_ground(image: Array, short: int) -> tuple[str, _Paper]:
    """The ground's name, and the ground without things."""
    small = cv2.resize(image, (32, 32), interpolation=cv2.INTER_AREA)
    rows = _floats(np.broadcast_to(((np.arange(32) + 0.5) / 32)[:, None], (32, 32)))
    gaps: dict[str, Array] = {}
    for name, paint in zip(COLOURS, _palette(), strict=True):
        gaps[name] = np.linalg.norm(small - paint, axis=-1)
    for name, bands in BANDS.items():
        # Near an edge either colour may show, for the wave is not known yet.
        parts = [np.linalg.norm(small - _floats(colour), axis=-1) for colour, *_ in bands]
        gaps[name] = np.minimum.reduce(
            [np.where(_may_show(bands, k, rows), part, np.float32(1e3)) for k, part in enumerate(parts)]
        )
    name = min(gaps, key=lambda name: float(gaps[name].clip(0, 60).mean()))
    close = gaps[name] < 40
    if name in COLOURS:
        paint = np.median(small[close], axis=0) if close.any() else _palette()[list(COLOURS).index(name)]
        paper = _Paper((_floats(paint),))
    else:
        paper = _scenery(image, small, rows, close, name, short)
    return (name if close.mean() > 0.5 else UNKNOWN), paper


def _may_show(bands: Sequence[tuple[object, float, float, float]], k: int, rows: Array) -> Mask:
    """Where band `k` may show, by height alone."""
    below = rows > bands[k][1] - bands[k][2] - 0.03 if k else np.ones_like(rows, dtype=bool)
    return below & (rows < bands[k + 1][1] + bands[k + 1][2] + 0.03) if k + 1 < len(bands) else below


def _scenery(image: Array, small: Array, rows: Array, close: Mask, name: str, short: int) -> _Paper:
    """The scenery with its measured colours and waves. A painted edge never lies exactly where the fitted one does."""
    bands = BANDS[name]
    height, width = image.shape[:2]
    paints = []
    for k, (colour, *_) in enumerate(bands):
        near = close & _may_show(bands, k, rows) & (np.linalg.norm(small - _floats(colour), axis=-1) < 40)
        paints.append(_floats(np.median(small[near], axis=0) if near.sum() > 10 else colour))
    xs, ys = (np.arange(width) + 0.5).astype(np.float32), (np.arange(height) + 0.5).astype(np.float32)[:, None]
    which = np.zeros((height, width), np.intp)
    blends: list[tuple[Mask, int, Array]] = []
    for k in range(1, len(bands)):
        _, level, swing, waves = bands[k]
        edge = _edge_px(image, paints[k - 1], paints[k], level * height, swing * short, waves, xs, short)
        which[ys > edge] = k
        blends.append((np.abs(ys - edge) < 0.025 * short, k - 1, paints[k]))
    if name == "night":
        dots = np.zeros((height, width), np.uint8)
        for fx, fy in NIGHT_DOTS:
            cv2.circle(dots, (int(fx * width), int(fy * height)), round(DOT_RADIUS * short) + 3, 1, -1)
        blends.append((dots > 0, 0, _floats(DOT_COLOUR)))
    return _Paper(tuple(paints), which, tuple(blends))


def _edge_px(
    image: Array, upper: Array, lower: Array, level_px: float, swing_px: float, waves: float, xs: Array, short: int
) -> Array:
    """[W] height of a band's wavy edge: the phase and the offset that fit the columns where no thing stands."""
    reach = swing_px + 0.06 * short
    top, bottom = max(int(level_px - reach), 0), min(int(level_px + reach) + 1, image.shape[0])
    strip = image[top:bottom]
    to_upper = _from_surface(strip, upper, DARKEST)
    to_lower = np.linalg.norm(strip - lower, axis=-1)
    free = (np.minimum(to_upper, to_lower) < 25).mean(0) > 0.8
    edges = top + (to_upper <= to_lower).sum(0)
    phases = np.linspace(0, 2 * math.pi, 96, endpoint=False)[:, None]
    curves = level_px + swing_px * np.sin(2 * math.pi * waves * xs[None] / short + phases)
    if free.sum() < 8:
        return np.asarray(np.full_like(xs, level_px))
    gaps = (edges - curves)[:, free]
    offset = np.median(gaps, axis=1, keepdims=True).clip(-0.01 * short, 0.01 * short)
    best = int(np.abs(gaps - offset).clip(0, 4).mean(1).argmin())
    return np.asarray(curves[best] + offset[best], dtype=np.float32)


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
        x0, y0, x1, y1 = _bounds(self.core)
        left, top, right, bottom = other.reach
        much_smaller = (x1 - x0) * (y1 - y0) < 0.6 * (right - left) * (bottom - top)
        return much_smaller and min(x0 - left, y0 - top, right - x1, bottom - y1) >= -slack


@dataclass(frozen=True, eq=False)
class _Piece:
    """A connected region off the ground: one thing, or one on top of another, or things that touch."""

    image: Array  # [H, W, 3] a window of the picture
    off_ground: Array  # [H, W] colour distance to the ground, dimmed at most
    mask: Mask  # [H, W] the region
    short: int

    def things(self, shapes: Sequence[str]) -> tuple[list[Seen], float]:
        """What the region shows, placed in work pixels of its window, and the area that belongs to none of it."""
        colours = self._colours()
        grown = cv2.dilate(self.mask.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
        slack = 0.03 * self.short
        found: list[Seen] = []
        claimed = np.zeros(self.mask.shape, dtype=np.uint8)
        for colour in colours:
            others = [other for other in colours if other is not colour]
            on_top = [other for other in others if other.lies_on(colour, slack)]
            own = _from_surface(self.image, colour.paint, SHADOW_ALPHA if on_top else 0.0)
            # A thing shades what it lies on: a shaded yellow is closer to orange than to yellow.
            gaps = [
                _from_surface(self.image, other.paint, DIM if colour.lies_on(other, slack) else 0.0) for other in others
            ]
            other = np.minimum.reduce([self.off_ground, *gaps])
            alpha = np.where(grown, other / (other + own + 1e-3), 0).astype(np.float32)
            parts: list[tuple[Array, Array | None]]
            if on_top:
                # What lies on top hides a part: that part says nothing about this shape.
                hidden = np.logical_or.reduce(
                    [_boxed(gaps[others.index(top)] < own, _bounds(top.core), 3) for top in on_top]
                )
                parts = [(alpha, 1 - cv2.dilate(hidden.astype(np.float32), np.ones((3, 3), np.uint8)))]
            else:
                parts = [(part, None) for part in self._split(alpha, colour.core)]
            for part, weight in parts:
                claimed |= (part > 0.5).astype(np.uint8)
                found.append(_fit(part, weight, colour.name, shapes, self.short))
        claimed = cv2.dilate(claimed, np.ones((5, 5), np.uint8))
        return found, float((self.mask & (claimed == 0)).sum())

    def _colours(self) -> list[_Colour]:
        """The colours that fill some place. Red blends with yellow to orange, but in specks along an outline."""
        square = np.ones((3, 3), np.uint8)
        nearest = np.stack([_from_surface(self.image, paint, SHADOW_ALPHA) for paint in _palette()]).argmin(0)
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
        gaps = np.linalg.norm(_palette() - paint, axis=-1)
        name = list(COLOURS)[int(gaps.argmin())] if gaps.min() < COLOUR_REACH else UNKNOWN
        return _Colour(name, paint, core, _bounds(alike))

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


def _bounds(mask: Mask) -> tuple[int, int, int, int]:
    """x0, y0, x1, y1 of a mask in pixels, the ends exclusive."""
    x, y, w, h = cv2.boundingRect(mask.astype(np.uint8))
    return x, y, x + w, y + h


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


def _placed(thing: Seen, left_px: int, top_px: int, height: int, width: int) -> Seen:
    """A thing of a window in picture units."""
    short = min(height, width)
    x0, y0, x1, y1 = thing.box
    box = ((x0 + left_px) / width, (y0 + top_px) / height, (x1 + left_px) / width, (y1 + top_px) / height)
    return replace(thing, x=(thing.x + left_px) / short, y=(thing.y + top_px) / short, box=box)


# ---------------------------------------------------------------- shapes


SIDE, REACH = 48, 1.4  # a template is SIDE pixels across and shows -REACH..REACH radii


@dataclass(frozen=True, eq=False)
class _Templates:
    """All shapes in one frame: unit radius, upright, centred."""

    names: tuple[str, ...]
    cover_SP: Array  # soft coverage
    solid_SP: Array  # the same with an edge half as soft
    slopes_SP4: Array  # of coverage by x, y, log radius and angle
    area_S: Array  # in squared radii
    outline_S: Array  # length of the outline, in radii
    middle_S2: Array  # centroid
    box_S4: Array  # x0, y0, x1, y1


@cache
def _templates(names: tuple[str, ...]) -> _Templates:
    axis = (torch.arange(SIDE) + 0.5) / SIDE * 2 * REACH - REACH
    y_HW, x_HW = torch.meshgrid(axis, axis, indexing="ij")
    step = 2 * REACH / SIDE
    covers, solids, slopes, areas, outlines, middles, boxes = [], [], [], [], [], [], []
    for name in names:
        distance = DISTANCES[name](x_HW, y_HW) / step
        solid = distance < 0
        # Two template pixels of softness are about one pixel of a small thing.
        cover, edge = (0.5 - distance / 2).clamp(0, 1), (0.5 - distance).clamp(0, 1)
        by_y, by_x = torch.gradient(cover, spacing=step)
        slopes.append(torch.stack([by_x, by_y, by_x * x_HW + by_y * y_HW, by_y * x_HW - by_x * y_HW], -1).flatten(0, 1))
        covers.append(cover.flatten())
        solids.append(edge.flatten())
        areas.append(float(solid.sum()) * step**2)
        outlines.append(float((distance.abs() < 1).sum()) * step / 2)
        middles.append((float(x_HW[solid].mean()), float(y_HW[solid].mean())))
        xs, ys = x_HW[solid], y_HW[solid]
        boxes.append(
            [float(v) for v in (xs.min() - step / 2, ys.min() - step / 2, xs.max() + step / 2, ys.max() + step / 2)]
        )
    return _Templates(
        names, torch.stack(covers).numpy(), torch.stack(solids).numpy(), torch.stack(slopes).numpy(),
        _floats(areas), _floats(outlines), _floats(middles), _floats(boxes),
    )  # fmt: skip


@dataclass(eq=False)
class _Poses:
    """Where each template lies, in pixels of a window."""

    centre_S2: Array
    radius_S: Array
    angle_S: Array

    def sample(self, image: Array, s: int) -> Array:
        """[P] the image as template `s` would see it."""
        step = 2 * REACH / SIDE * self.radius_S[s]
        a, b = step * math.cos(self.angle_S[s]), step * math.sin(self.angle_S[s])
        first = 0.5 - SIDE / 2
        x = self.centre_S2[s, 0] - 0.5 + first * (a - b)
        y = self.centre_S2[s, 1] - 0.5 + first * (b + a)
        matrix = np.array([[a, -b, x], [b, a, y]], dtype=np.float64)
        return np.asarray(
            cv2.warpAffine(image, matrix, (SIDE, SIDE), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
        ).ravel()

    def step(self, s: int, move: Array) -> None:
        """Compose with the inverse of a small move of the template: x, y in radii, log radius, angle."""
        self.radius_S[s] *= math.exp(-float(np.clip(move[2], -0.3, 0.3)))
        self.angle_S[s] = float(np.clip(self.angle_S[s] - move[3], -TURN, TURN))
        cos, sin = math.cos(self.angle_S[s]), math.sin(self.angle_S[s])
        dx, dy = np.clip(move[:2], -0.3, 0.3) * self.radius_S[s]
        self.centre_S2[s] -= (cos * dx - sin * dy, sin * dx + cos * dy)


def _fit(alpha: Array, weight: Array | None, colour: str, shapes: Sequence[str], short: int) -> Seen:
    """The shape whose template covers `alpha` best, by inverse compositional alignment (Baker and Matthews, 2004).

    `weight` is zero where something hides the thing. Lengths of the result are still pixels, but for the radius.
    """
    templates = _templates(tuple(shapes))
    poses = _first_poses(alpha, weight, templates)
    total = float((alpha if weight is None else alpha * weight).sum())
    left = list(range(len(templates.names)))
    matches: dict[int, float] = {}
    for keep, rounds in ((4, 2), (2, 3), (2, 3)):
        for s in left:
            for _ in range(rounds):
                _align(alpha, weight, templates, poses, s)
            matches[s] = _overlap(alpha, weight, total, templates, poses, s)
        left = sorted(left, key=lambda s: -matches[s])[:keep]
    best = left[0]
    radius = float(poses.radius_S[best]) / short
    sizes = list(RADII)
    borders = [(RADII[a] + RADII[b]) / 2 for a, b in itertools.pairwise(sizes)]
    size = sizes[sum(radius > border for border in borders)]
    x0, y0, x1, y1 = _bounds(alpha > 0.5)
    least = LEAST_MATCH - OUTLINE_PX * float(templates.outline_S[best] / templates.area_S[best] / poses.radius_S[best])
    shape = templates.names[best] if matches[best] >= least - HIDDEN * (weight is not None) else UNKNOWN
    x, y = (float(v) for v in poses.centre_S2[best])
    return Seen(shape, colour, size, x, y, radius, float(poses.angle_S[best]), (x0, y0, x1, y1), matches[best])


def _first_poses(alpha: Array, weight: Array | None, templates: _Templates) -> _Poses:
    """By area and centroid; by the box where a part is hidden, for hiding moves the centroid but seldom the ends."""
    count = len(templates.names)
    if weight is None:
        total = float(alpha.sum())
        rows, columns = alpha.sum(1), alpha.sum(0)
        y = float((rows * (np.arange(len(rows)) + 0.5)).sum()) / total
        x = float((columns * (np.arange(len(columns)) + 0.5)).sum()) / total
        radius = np.sqrt(total / templates.area_S)
        centre = _floats((x, y)) - radius[:, None] * templates.middle_S2
    else:
        x0, y0, x1, y1 = _bounds(alpha > 0.5)
        box = templates.box_S4
        radius = (x1 - x0 + y1 - y0) / (box[:, 2] - box[:, 0] + box[:, 3] - box[:, 1])
        centre = _floats(((x0 + x1) / 2, (y0 + y1) / 2)) - radius[:, None] * (box[:, :2] + box[:, 2:]) / 2
    return _Poses(centre.astype(np.float32), radius.astype(np.float32), np.zeros(count, np.float32))


def _align(alpha: Array, weight: Array | None, templates: _Templates, poses: _Poses, s: int) -> None:
    """One Gauss-Newton step of template `s`."""
    slopes = templates.slopes_SP4[s]
    error = poses.sample(alpha, s) - templates.cover_SP[s]
    weighted = slopes if weight is None else slopes * poses.sample(weight, s)[:, None]
    # A circle has no angle: the small term keeps it where it is.
    normal = weighted.T @ slopes + 1e-2 * np.eye(4, dtype=np.float32)
    poses.step(s, np.linalg.solve(normal, weighted.T @ error))


def _overlap(alpha: Array, weight: Array | None, total: float, templates: _Templates, poses: _Poses, s: int) -> float:
    """Intersection over union of the piece and template `s` where nothing hides them, the piece's far ends included."""
    seen, solid = poses.sample(alpha, s), templates.solid_SP[s]
    shown = np.ones_like(seen) if weight is None else poses.sample(weight, s)
    # Whole pixels would count an edge that falls between two of them as half a pixel off along all its length.
    mask = (2 * seen - 0.5).clip(0, 1)
    outside = total / float(2 * REACH / SIDE * poses.radius_S[s]) ** 2 - float((seen * shown).sum())
    common, either = np.minimum(mask, solid) * shown, np.maximum(mask, solid) * shown
    return float(common.sum() / (either.sum() + max(outside, 0.0)))
