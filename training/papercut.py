"""Papercut: the procedural world that the embedded checkpoint is trained on.

A sample is a pure function of (seed, index). `World.scene` decides what is drawn and says it in words; `render` draws
scenes with signed distance functions, as ordered RGBA layers. Reading pictures back is `training/evaluate.py`.

Lengths are in units of the picture's short side, origin top left, x to the right, y down.
Shape suffixes: B scenes, N things of all scenes, L layers of a scene, H and W pixels.
"""

from __future__ import annotations

import math
import random
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (214, 48, 49),
    "orange": (240, 138, 36),
    "yellow": (246, 207, 62),
    "green": (58, 157, 84),
    "blue": (48, 92, 204),
    "purple": (128, 72, 176),
    "white": (246, 246, 242),
    "black": (32, 32, 38),
    "pink": (238, 130, 172),
    "brown": (128, 84, 52),
    "teal": (36, 157, 159),
    "grey": (134, 138, 146),
}
CORE_COLOURS = tuple(COLOURS)[:8]
CORE_SHAPES = ("circle", "square", "triangle", "star", "heart", "ring")
SHAPES = (*CORE_SHAPES, "cross", "hexagon", "diamond", "crescent", "flower", "arrow")
PLURALS = {"cross": "crosses"}
RADII = {"small": 0.09, "medium": 0.14, "large": 0.20}
RELATIONS = ("left of", "right of", "above", "below", "inside")
INVERSE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
COUNTS = ("one", "two", "three")
SCENERY = {"meadow": "in a meadow", "night": "under a night sky", "sea": "by the sea"}

# Pairs that no training picture shows: what the model does with them measures composition, not memory.
HELD_OUT_PAIRS = frozenset({("purple", "triangle"), ("yellow", "heart"), ("black", "ring"), ("white", "star")})

# Scenery is paper too: a sky and bands with a wavy edge, back to front: (colour, edge height, swing, waves across).
BANDS: dict[str, tuple[tuple[tuple[int, int, int], float, float, float], ...]] = {
    "meadow": (
        ((196, 226, 242), 0.0, 0.0, 0.0),
        ((176, 214, 136), 0.56, 0.035, 0.8),
        ((146, 196, 108), 0.76, 0.03, 1.1),
    ),
    "night": (((52, 56, 116), 0.0, 0.0, 0.0), ((74, 70, 142), 0.66, 0.035, 0.9), ((92, 84, 160), 0.84, 0.03, 0.7)),
    "sea": (((226, 238, 240), 0.0, 0.0, 0.0), ((152, 206, 224), 0.54, 0.02, 1.6), ((112, 180, 212), 0.74, 0.025, 1.3)),
}
NIGHT_DOTS = ((0.12, 0.10), (0.31, 0.24), (0.55, 0.08), (0.72, 0.30), (0.90, 0.14), (0.18, 0.44))
DOT_COLOUR, DOT_RADIUS = (214, 212, 196), 0.012

SHADOW_OFFSET, SHADOW_SOFTNESS, SHADOW_ALPHA = 0.016, 0.012, 0.34
MARGIN = 0.03


@dataclass(frozen=True)
class Thing:
    """One paper shape. (x, y) is its centre and `radius` half its width, in short sides; `angle` in radians."""

    shape: str
    colour: str
    size: str
    x: float
    y: float
    radius: float
    angle: float

    @property
    def words(self) -> str:
        """`large red circle`: the noun phrase without its article; medium is not said."""
        return " ".join(w for w in (self.size if self.size != "medium" else "", self.colour, self.shape) if w)


@dataclass(frozen=True)
class Scene:
    """What is drawn, bottom first, and where. `relation` holds between the first and the second thing."""

    things: tuple[Thing, ...]
    ground: str
    relation: str | None = None
    counted: bool = False
    wave: float = 0.0

    @property
    def ground_words(self) -> str:
        """The ground in words: `on a blue background`, `in a meadow`."""
        return SCENERY.get(self.ground) or f"on {article(self.ground)} background"

    def subject(self, swap: bool = False) -> str:
        """The things in words. `swap` tells a relation from its other end."""
        first = self.things[0]
        if self.counted:
            noun = first.words.removesuffix(first.shape) + PLURALS.get(first.shape, first.shape + "s")
            return f"{COUNTS[len(self.things) - 1]} {noun}"
        names = [article(thing.words) for thing in self.things]
        if self.relation:
            if swap and self.relation in INVERSE:
                return f"{names[1]} {INVERSE[self.relation]} {names[0]}"
            return f"{names[0]} {self.relation} {names[1]}"
        return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]

    @property
    def caption(self) -> str:
        """Everything that is drawn, in one sentence."""
        return f"{self.subject()} {self.ground_words}"

    @property
    def paraphrase(self) -> str:
        """The same content in another order."""
        if self.relation in INVERSE:
            return f"{self.subject(swap=True)} {self.ground_words}"
        return f"{self.ground_words}, {self.subject()}"

    @property
    def short(self) -> str:
        """The things without their ground."""
        return self.subject()

    @property
    def has_held_out_pair(self) -> bool:
        """Whether a thing shows a colour-shape pair that training never shows."""
        return any((thing.colour, thing.shape) in HELD_OUT_PAIRS for thing in self.things)

    @property
    def is_held_out_caption(self) -> bool:
        """Whether the caption is kept for evaluation: one relation in sixteen, by a hash both tellings share."""
        if not self.relation:
            return False
        told = min(self.caption, f"{self.subject(swap=True)} {self.ground_words}")
        return zlib.crc32(told.encode()) % 16 == 0


def vocabulary() -> tuple[str, ...]:
    """Every word that captions use or, with motion and portraits, will use."""
    nouns = [name for shape in SHAPES for name in (shape, PLURALS.get(shape, shape + "s"))]
    places = " ".join((*SCENERY.values(), *RELATIONS, "in front of behind on a an background and ,"))
    later = "moves left right up down bounces spins grows shrinks stays still face with hair shape shapes"
    return tuple(dict.fromkeys([*COLOURS, *nouns, *RADII, *COUNTS, *places.split(), *later.split()]))


def article(words: str) -> str:
    """`a red circle`, `an orange star`."""
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


@dataclass(frozen=True)
class Mixture:
    """Shares of the scene kinds; they need not add up to one."""

    single: float = 0.15
    related: float = 0.55
    listed: float = 0.08
    counted: float = 0.14
    three: float = 0.08


# What the embedded model is scored on: relation, two colours, two shapes, ground; sizes only where they are said.
TWO = Mixture(single=0, related=1, listed=0, counted=0, three=0)


@dataclass(frozen=True)
class World:
    """The distribution of scenes. `scene(index)` depends on nothing but the fields here and the index."""

    seed: int = 0
    mixture: Mixture = Mixture()
    colours: tuple[str, ...] = CORE_COLOURS
    shapes: tuple[str, ...] = CORE_SHAPES
    split: str = "train"  # train | unseen (held-out captions) | pairs (held-out colour-shape pairs) | any
    # A caption says "left of" and not how far: anywhere leaves the rest to chance, canonical leaves almost nothing
    # open, which is what a small model learns from in hours and not in days.
    placement: Literal["anywhere", "canonical"] = "anywhere"

    def scene(self, index: int, aspect: tuple[float, float] = (1.0, 1.0)) -> Scene:
        """Scene `index` for a picture of width and height `aspect` in short sides (the smaller is 1)."""
        rng = random.Random((self.seed << 64) ^ (index << 8) ^ zlib.crc32(self.split.encode()))
        while True:
            scene = self._draw(rng, aspect)
            if scene is not None and self._belongs(scene):
                return scene

    def _belongs(self, scene: Scene) -> bool:
        if self.split == "any":
            return True
        if self.split == "pairs":
            return scene.has_held_out_pair
        return not scene.has_held_out_pair and scene.is_held_out_caption == (self.split == "unseen")

    def _draw(self, rng: random.Random, aspect: tuple[float, float]) -> Scene | None:
        kinds = {"single": 1, "related": 2, "listed": 2, "counted": rng.choice((2, 3)), "three": 3}
        kind = rng.choices(tuple(kinds), [getattr(self.mixture, name) for name in kinds])[0]
        ground = rng.choice(tuple(SCENERY)) if rng.random() < 0.25 else rng.choice(self.colours)
        relation = rng.choice(RELATIONS) if kind == "related" else None
        palette = [colour for colour in self.colours if colour != ground]
        names = [(rng.choice(self.shapes), rng.choice(palette)) for _ in range(kinds[kind])]
        sizes = [_draw_size(rng, kind) for _ in names]
        if kind == "counted":
            names, sizes = [names[0]] * len(names), [sizes[0]] * len(sizes)
        elif len(set(names)) < len(names):
            return None
        if relation == "inside":
            sizes = ["small", "large"]
            if names[0][1] == names[1][1]:
                return None
        canonical = self.placement == "canonical"
        loose, tilt = (0.02, 0.0) if canonical else (0.05, 0.1)
        things = [
            Thing(shape, colour, size, 0, 0, RADII[size] * rng.uniform(1 - loose, 1 + loose), rng.uniform(-tilt, tilt))
            for (shape, colour), size in zip(names, sizes, strict=True)
        ]
        if canonical:
            places: list[tuple[float, float]] | None = _canonical(rng, len(things), relation, aspect)
        else:
            places = _place(rng, [thing.radius for thing in things], relation, aspect)
        if places is None:
            return None
        things = [replace(thing, x=x, y=y) for thing, (x, y) in zip(things, places, strict=True)]
        wave = rng.uniform(0, 0.5) if canonical else rng.uniform(0, 2 * math.pi)
        return Scene(tuple(things), ground, relation, kind == "counted", wave)


def _draw_size(rng: random.Random, kind: str) -> str:
    """Sizes are mostly medium, so that a caption without a size word has one meaning and few words."""
    large = {"single": 0.2, "related": 0.08, "listed": 0.05, "counted": 0.0, "three": 0.0}[kind]
    small = {"single": 0.2, "related": 0.12, "listed": 0.1, "counted": 0.4, "three": 0.3}[kind]
    return rng.choices(("small", "medium", "large"), (small, 1 - small - large, large))[0]


# Centres as fractions of width and height: one thing, two, three.
PLACES = (((0.5, 0.5),), ((0.26, 0.5), (0.74, 0.5)), ((0.5, 0.27), (0.26, 0.73), (0.74, 0.73)))


def _canonical(
    rng: random.Random, count: int, relation: str | None, aspect: tuple[float, float]
) -> list[tuple[float, float]]:
    """Centres where a caption's reader would put the things, and a little off."""
    places = list(PLACES[count - 1])
    if relation == "inside":
        places = [(0.5, 0.5)] * 2
    elif relation in ("above", "below"):
        places = [(y, x) for x, y in places]
    if relation in ("right of", "below"):
        places.reverse()
    # Two large triangles leave 0.04 between them.
    off = (rng.uniform(-0.02, 0.02), rng.uniform(-0.02, 0.02))
    return [
        (x * aspect[0] + off[0] + rng.uniform(-0.01, 0.01), y * aspect[1] + off[1] + rng.uniform(-0.01, 0.01))
        for x, y in places
    ]


def _place(
    rng: random.Random, radii: list[float], relation: str | None, aspect: tuple[float, float]
) -> list[tuple[float, float]] | None:
    """Centres that keep the margin, do not touch and obey the relation; None where no room was found."""

    def anywhere(radius: float) -> tuple[float, float]:
        pad = radius * 1.08 + MARGIN
        return rng.uniform(pad, aspect[0] - pad), rng.uniform(pad, aspect[1] - pad)

    if relation == "inside":
        x, y = anywhere(radii[1])
        slack = 0.1 * radii[1]
        return [(x + rng.uniform(-slack, slack), y + rng.uniform(-slack, slack)), (x, y)]
    for _ in range(40):
        places = [anywhere(radius) for radius in radii]
        gaps = [
            math.dist(places[i], places[j]) - (radii[i] + radii[j]) * 1.08 for i in range(len(radii)) for j in range(i)
        ]
        if gaps and min(gaps) < 0.03:
            continue
        if relation is None:
            return places
        dx, dy = places[1][0] - places[0][0], places[1][1] - places[0][1]
        along, across = {"left of": (dx, dy), "right of": (-dx, dy), "above": (dy, dx), "below": (-dy, dx)}[relation]
        if along > 1.6 * abs(across):
            return places
    return None


# ---------------------------------------------------------------- signed distances, in radii, negative inside


def _polygon(x: Tensor, y: Tensor, corners: Sequence[tuple[float, float]]) -> Tensor:
    """Exact signed distance to a simple polygon: nearest edge, with the sign from crossing parity."""
    nearest = torch.full_like(x, math.inf)
    inside = torch.zeros_like(x, dtype=torch.bool)
    for (ax, ay), (bx, by) in zip(corners, (*corners[1:], corners[0]), strict=True):
        ex, ey = bx - ax, by - ay
        px, py = x - ax, y - ay
        t = ((px * ex + py * ey) / (ex * ex + ey * ey)).clamp(0, 1)
        nearest = torch.minimum(nearest, (px - ex * t).square() + (py - ey * t).square())
        if ay != by:
            crosses = (y < max(ay, by)) & (y >= min(ay, by)) & (x < ax + (y - ay) * (ex / ey))
            inside ^= crosses
    distance = nearest.sqrt()
    return torch.where(inside, -distance, distance)


def _disc(x: Tensor, y: Tensor, radius: float = 1.0) -> Tensor:
    return (x * x + y * y).sqrt() - radius


def _box(x: Tensor, y: Tensor, half_width: float, half_height: float) -> Tensor:
    dx, dy = x.abs() - half_width, y.abs() - half_height
    outside = (dx.clamp(min=0).square() + dy.clamp(min=0).square()).sqrt()
    return outside + torch.maximum(dx, dy).clamp(max=0)


def _star_corners(points: int, inner: float) -> list[tuple[float, float]]:
    radii = (1.08, inner)
    turns = [math.pi * k / points for k in range(2 * points)]
    return [(radii[k % 2] * math.sin(a), -radii[k % 2] * math.cos(a) + 0.05) for k, a in enumerate(turns)]


def _heart(x: Tensor, y: Tensor) -> Tensor:
    lobe = 0.53
    lobes = torch.minimum(_disc(x - 0.47, y + 0.37, lobe), _disc(x + 0.47, y + 0.37, lobe))
    tip = _polygon(x, y, ((0.0, -0.35), (0.9, -0.06), (0.0, 0.98), (-0.9, -0.06)))
    return torch.minimum(lobes, tip)


def _flower(x: Tensor, y: Tensor) -> Tensor:
    petals = [_disc(x - 0.6 * math.sin(a), y + 0.6 * math.cos(a), 0.4) for a in (2 * math.pi * k / 5 for k in range(5))]
    distance = _disc(x, y, 0.5)
    for petal in petals:
        distance = torch.minimum(distance, petal)
    return distance


DISTANCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "circle": _disc,
    "square": lambda x, y: _box(x, y, 0.86, 0.86),
    "triangle": lambda x, y: _polygon(x, y, ((0.0, -0.98), (1.04, 0.8), (-1.04, 0.8))),
    "star": lambda x, y: _polygon(x, y, _star_corners(5, 0.46)),
    "heart": _heart,
    "ring": lambda x, y: _disc(x, y, 0.77).abs() - 0.23,
    "cross": lambda x, y: torch.minimum(_box(x, y, 0.95, 0.32), _box(x, y, 0.32, 0.95)),
    "hexagon": lambda x, y: _polygon(
        x, y, [(math.sin(math.pi * k / 3) * 1.02, math.cos(math.pi * k / 3) * 1.02) for k in range(6)]
    ),
    "diamond": lambda x, y: _polygon(x, y, ((0.0, -1.05), (0.72, 0.0), (0.0, 1.05), (-0.72, 0.0))),
    "crescent": lambda x, y: torch.maximum(_disc(x, y, 1.0), -_disc(x - 0.48, y + 0.18, 0.82)),
    "flower": _flower,
    "arrow": lambda x, y: torch.minimum(
        _box(x + 0.35, y, 0.62, 0.26), _polygon(x, y, ((0.1, -0.78), (1.0, 0.0), (0.1, 0.78)))
    ),
}


# ---------------------------------------------------------------- drawing


@dataclass(frozen=True)
class Drawing:
    """Rendered scenes. Colours are premultiplied by alpha and lie in 0..1."""

    picture: Tensor  # [B, 3, H, W] the flat, opaque picture
    layers: Tensor  # [B, 1+L, 4, H, W] RGBA, the background first, then one a thing as named; absent ones are clear
    coverage: Tensor  # [B, L, H, W] the shapes alone, without their shadows
    boxes: Tensor  # [B, L, 4] x0, y0, x1, y1 in 0..1 around each shape; absent things are zero


def render(
    scenes: Sequence[Scene], height: int, width: int, device: str | torch.device = "cpu", layered: bool = True
) -> Drawing:
    """Draw `scenes` at one size; `layered=False` leaves layers and coverage empty and is several times faster.

    Every thing is evaluated in a window around it and not over the whole picture. Its value at a pixel does not
    depend on the window, so a scene looks the same in any batch.
    """
    short = min(height, width)
    count = max((len(scene.things) for scene in scenes), default=0)
    ys_HW, xs_HW = torch.meshgrid(
        (torch.arange(height, device=device) + 0.5) / short,
        (torch.arange(width, device=device) + 0.5) / short,
        indexing="ij",
    )
    picture = _render_grounds(scenes, xs_HW, ys_HW, short)
    kept = count if layered else 0
    layers = torch.zeros(len(scenes), 1 + kept, 4, height, width, device=device)
    if layered:
        layers[:, 0, :3], layers[:, 0, 3] = picture, 1.0
    coverage = torch.zeros(len(scenes), kept, height, width, device=device)
    boxes = torch.zeros(len(scenes), count, 4, device=device)

    flat = [(b, k) for b, scene in enumerate(scenes) for k in _stacking(scene)]
    windows = _windows([scenes[b].things[k] for b, k in flat], short, device)
    for (b, k), (top, left, cover, shadow) in zip(flat, windows, strict=True):
        y0, x0 = max(top, 0), max(left, 0)
        y1, x1 = min(top + cover.shape[0], height), min(left + cover.shape[1], width)
        here = (slice(y0, y1), slice(x0, x1))
        cover = cover[y0 - top : y1 - top, x0 - left : x1 - left]
        alpha = cover + shadow[y0 - top : y1 - top, x0 - left : x1 - left] * (1 - cover)
        red, green, blue = COLOURS[scenes[b].things[k].colour]
        paint = cover * torch.tensor((red / 255, green / 255, blue / 255), device=device)[:, None, None]
        picture[b][:, *here] = picture[b][:, *here] * (1 - alpha) + paint
        boxes[b, k] = _box_of(cover, y0, x0, height, width)
        if layered:
            layers[b, k + 1, :3][:, *here], layers[b, k + 1, 3][here] = paint, alpha
            coverage[b, k][here] = cover
    return Drawing(picture, layers, coverage, boxes)


def _stacking(scene: Scene) -> tuple[int, ...]:
    """Things bottom first. "Inside" names its first thing first but shows it on top."""
    return (1, 0) if scene.relation == "inside" else tuple(range(len(scene.things)))


def _windows(things: Sequence[Thing], short: int, device: str | torch.device) -> list[tuple[int, int, Tensor, Tensor]]:
    """For each thing (top, left, coverage, shadow) of a square window in pixels. Each shape's formula runs once."""
    windows: list[tuple[int, int, Tensor, Tensor]] = [None] * len(things)  # type: ignore[list-item]
    for shape, size in sorted({(thing.shape, thing.size) for thing in things}):
        ids = [i for i, thing in enumerate(things) if (thing.shape, thing.size) == (shape, size)]
        group = [things[i] for i in ids]
        half = math.ceil((1.2 * RADII[size] + SHADOW_OFFSET + 5 * SHADOW_SOFTNESS) * short)
        corners = [(math.floor(t.y * short) - half, math.floor(t.x * short) - half) for t in group]
        numbers = torch.tensor(
            [
                (t.x, t.y, t.radius, math.cos(t.angle), math.sin(t.angle), left, top)
                for t, (top, left) in zip(group, corners, strict=True)
            ],
            dtype=torch.float64,
            device=device,
        )
        cx, cy, radius, cos, sin, left, top = (column[:, None, None] for column in numbers.T)
        steps = torch.arange(2 * half, dtype=torch.float64, device=device) + 0.5
        dx = (((left + steps[None, None, :]) / short - cx) / radius).float()
        dy = (((top + steps[None, :, None]) / short - cy) / radius).float()
        cos, sin, radius = cos.float(), sin.float(), radius.float()
        distance = DISTANCES[shape](dx * cos + dy * sin, dy * cos - dx * sin) * radius
        cover, shadow = (0.5 - distance * short).clamp(0, 1), _shadow(distance, short)
        for n, (i, (y, x)) in enumerate(zip(ids, corners, strict=True)):
            windows[i] = (y, x, cover[n], shadow[n])
    return windows


def _shadow(distance: Tensor, short: int) -> Tensor:
    """A soft shadow down and to the right. The field is moved by whole pixels: cheaper than evaluating it twice."""
    shift = max(1, round(SHADOW_OFFSET * short))
    padded = torch.nn.functional.pad(distance[:, None], (shift, 0, shift, 0), mode="replicate")[:, 0]
    moved = padded[:, : distance.shape[1], : distance.shape[2]]
    return SHADOW_ALPHA * torch.sigmoid(-moved / SHADOW_SOFTNESS)


def _box_of(cover: Tensor, top: int, left: int, height: int, width: int) -> Tensor:
    """[4] bounds of coverage over one half, as fractions of width and height."""
    # A thing smaller than a pixel reaches one half nowhere; its strongest pixel is its box then.
    solid = cover >= cover.max().clamp(max=0.5)
    rows, columns = solid.any(1).nonzero().flatten(), solid.any(0).nonzero().flatten()
    edges = (left + columns[0], top + rows[0], left + columns[-1] + 1, top + rows[-1] + 1)
    return torch.stack(edges) / torch.tensor((width, height, width, height), device=cover.device)


def _rgb(colours: Sequence[str], device: str | torch.device) -> Tensor:
    return torch.tensor([COLOURS[colour] for colour in colours], device=device).float() / 255


def _render_grounds(scenes: Sequence[Scene], xs: Tensor, ys: Tensor, short: int) -> Tensor:
    """[B, 3, H, W] flat colours and scenery."""
    picture = torch.empty(len(scenes), 3, *xs.shape, device=xs.device)
    plain = [b for b, scene in enumerate(scenes) if scene.ground not in SCENERY]
    picture[plain] = _rgb([scenes[b].ground for b in plain], xs.device).reshape(-1, 3, 1, 1)
    tall = xs.shape[0] / short
    for name, bands in BANDS.items():
        ids = [b for b, scene in enumerate(scenes) if scene.ground == name]
        if not ids:
            continue
        wave = torch.tensor([scenes[b].wave for b in ids], device=xs.device)[:, None, None]
        part = torch.zeros(len(ids), 3, *xs.shape, device=xs.device)
        for depth, (colour, height, swing, waves) in enumerate(bands):
            paint = torch.tensor(colour, device=xs.device).float()[:, None, None] / 255
            if depth == 0:
                part += paint
                if name == "night":
                    part = _with_dots(part, xs, ys, short)
                continue
            edge = height * tall + swing * torch.sin(2 * math.pi * waves * xs + wave * (1 + depth))
            distance = edge - ys
            cover = (0.5 - distance * short).clamp(0, 1)[:, None]
            shade = (SHADOW_ALPHA * torch.sigmoid(-(distance - SHADOW_OFFSET) / SHADOW_SOFTNESS))[:, None]
            part = part * (1 - shade * (1 - cover))
            part = part * (1 - cover) + paint * cover
        picture[ids] = part
    return picture


def _with_dots(part: Tensor, xs: Tensor, ys: Tensor, short: int) -> Tensor:
    """The night's dots stand at fixed fractions of the picture, so that a caption leaves nothing open."""
    wide, tall = xs.shape[1] / short, xs.shape[0] / short
    cover = torch.zeros_like(xs)
    for fx, fy in NIGHT_DOTS:
        distance = _disc(xs - fx * wide, ys - fy * tall, DOT_RADIUS)
        cover = torch.maximum(cover, (0.5 - distance * short).clamp(0, 1))
    paint = torch.tensor(DOT_COLOUR, device=xs.device).float()[:, None, None] / 255
    return part * (1 - cover) + paint * cover
