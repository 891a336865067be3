"""Draws Papercut scenes with signed distance functions, as ordered RGBA layers.

Lengths are in units of the picture's short side, origin top left, x to the right, y down.
Shape suffixes: B scenes, N things of all scenes, L layers of a scene, H and W pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .scene import COLOURS, RADII, SCENERY, Scene, Thing

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
    kinds = [(thing.shape, _reach(thing)) for thing in things]
    for shape, reach in sorted(set(kinds)):
        ids = [i for i, kind in enumerate(kinds) if kind == (shape, reach)]
        group = [things[i] for i in ids]
        half = math.ceil((reach + SHADOW_OFFSET + 5 * SHADOW_SOFTNESS) * short)
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


def _reach(thing: Thing) -> float:
    """How far from its centre a thing is drawn: few distances, for each is an evaluation of its own.

    That of a thing must not depend on what is drawn beside it.
    """
    nominal = 1.2 * RADII[thing.size]
    # A turned corner reaches further than an upright one.
    needed = thing.radius * (1.32 if abs(thing.angle) > 0.11 else 1.14)
    return nominal * 1.2 ** max(0, math.ceil(math.log(needed / nominal) / math.log(1.2)))


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
        # The frames of a clip share one scenery.
        waves_seen = list(dict.fromkeys(scenes[b].wave for b in ids))
        wave = torch.tensor(waves_seen, device=xs.device)[:, None, None]
        part = torch.zeros(len(waves_seen), 3, *xs.shape, device=xs.device)
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
        picture[ids] = part[[waves_seen.index(scenes[b].wave) for b in ids]]
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
