"""Draws Papercut portraits: paper cut by signed distances, like the rest of the world, many frames of a person at once.

A frame depends on nothing but the portrait, the time and the mouth, bit for bit (see `sheet.py`). Pieces are cut in
units of the head (see `portrait.py`). Shape suffixes: F frames, h and w pixels of a window.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from .drawing import render
from .portrait import HEAD, MOUTH_BOX, Box, Portrait
from .scene import COLOURS
from .sheet import Paint, Window, bar, box, disc, ellipse

MOUTH_Y, DROP = 0.128, 0.5  # the closed lips' height, and how much of half its opening a mouth opens downwards
NARROW, WIDE, TALL = 0.036, 0.115, 0.06  # half the width of a mouth's opening at width 0 and 1, and half its height
THIN, THICK = 0.015, 0.021  # of the lips, at roundness 0 and 1
SMILE = 1.0  # how far the corners go up, as a share of the squared width
EYE_X, EYE_Y, EYE = 0.092, -0.03, (0.048, 0.051)  # places and half sizes of the eyes
FEATURES_BOX: Box = (-0.19, -0.17, 0.19, 0.14)  # of brows, eyes, nose and cheeks
AT_ONCE = 24  # frames, so that memory does not grow with a clip's length

# Lips and what is behind them, where the skin would hide the usual ones.
LIPS, INSIDE = (196, 64, 84), (52, 16, 30)
MOUTH_PAPERS = {
    "red": ((250, 172, 150), INSIDE),
    "purple": ((242, 120, 138), INSIDE),
    "black": ((226, 120, 132), (132, 26, 50)),
}
BLUSH, SCLERA, PUPIL = (244, 104, 116), (250, 250, 248), (26, 24, 30)
FRECKLES = ((0.1, 0.052), (0.127, 0.038), (0.15, 0.054), (0.114, 0.073), (0.141, 0.076))


def papers(skin: str) -> tuple[Paint, Paint, Paint]:
    """Colours 0..255 of the skin, of the lips, and of the inside of the mouth."""
    lips, inside = MOUTH_PAPERS.get(skin, (LIPS, INSIDE))
    return COLOURS[skin], lips, inside


def shade(paint: Paint) -> Paint:
    """The paper of lids, nose and neck: a darker one, or a lighter one where the skin is very dark."""
    if sum(paint) < 180:
        return _mix(paint, (255, 255, 255), 0.2)
    return _mix(paint, (40, 16, 40), 0.2)


def draw(
    portrait: Portrait,
    times: Sequence[float],
    mouths: ArrayLike,
    height: int,
    width: int,
    device: str | torch.device = "cpu",
) -> Tensor:
    """Frames [F, 3, height, width] in 0..1 of one person.

    Args:
        portrait: who.
        times: [F] seconds, which decide head motion and blinks.
        mouths: [F, 3] opening, width and roundness, each held to 0..1.
        height: pixels.
        width: pixels.
        device: where to draw.

    Raises:
        ValueError: not one mouth a time.
    """
    mouths_F3 = np.clip(np.asarray(mouths, dtype=np.float64), 0, 1)
    if mouths_F3.shape != (len(times), 3):
        raise ValueError(f"expected mouths of shape ({len(times)}, 3), one a time, got {mouths_F3.shape}")
    short = min(height, width)
    aspect = (width / short, height / short)
    backdrop = render([portrait.backdrop], height, width, device, layered=False).picture
    home = Window.whole(backdrop, [portrait.home(aspect)], short)
    parts = [
        _draw(portrait, [float(time) for time in times[k : k + AT_ONCE]], mouths_F3[k : k + AT_ONCE], home, aspect)
        for k in range(0, len(times), AT_ONCE)
    ]
    return torch.cat(parts) if parts else backdrop[:0]


def _draw(
    portrait: Portrait,
    times: Sequence[float],
    mouths_F3: NDArray[np.float64],
    home: Window,
    aspect: tuple[float, float],
) -> Tensor:
    stands = [portrait.stand(time, aspect) for time in times]
    picture = home.pixels.repeat(len(times), 1, 1, 1)
    whole = Window.whole(picture, stands, home.short)
    skin, hair = COLOURS[portrait.skin], COLOURS[portrait.hair]
    _back_hair(whole, portrait.cut, hair)
    _body(whole, home, portrait)
    if portrait.cut != "long":
        _ears(whole, skin)
    whole.lay(_head(whole.x, whole.y), skin)

    features = Window.around(picture, stands, home.short, FEATURES_BOX)
    _cheeks(features, portrait.cheeks, skin)
    features.lay(ellipse(features.x, features.y - 0.04, 0.021, 0.016), shade(skin), 0.5)
    _eyes(features, portrait, [portrait.lids(time) for time in times])
    brows = bar(features.x.abs() - EYE_X, features.y + 0.109 + 2.2 * (features.x.abs() - EYE_X).square(), 0.036, 0.009)
    features.lay(brows, hair, 0.4)
    features.put(picture)

    mouth = Window.around(picture, stands, home.short, MOUTH_BOX)
    _mouth(mouth, mouths_F3, portrait.skin)
    mouth.put(picture)
    _front_hair(whole, portrait.cut, hair)
    return picture


# ---------------------------------------------------------------- pieces of paper


def _head(x: Tensor, y: Tensor) -> Tensor:
    """Narrower at the chin."""
    return ellipse(x * (1 + 0.3 * y), y, *HEAD)


def _back_hair(view: Window, cut: str, paint: Paint) -> None:
    x, y = view.x, view.y
    if cut == "long":
        view.lay(box(x, y - 0.02, 0.265, 0.36, 0.2), paint)
    else:
        if cut == "bun":
            view.lay(disc(x, y + 0.36, 0.085), paint)
        view.lay(ellipse(x, y + 0.06, 0.243, 0.243), paint)


def _front_hair(view: Window, cut: str, paint: Paint) -> None:
    """A cap on the head, with the hairline of the cut."""
    x, y = view.x, view.y
    cap = ellipse(x * (1 + 0.3 * y), y + 0.012, HEAD[0] + 0.022, HEAD[1] + 0.03)
    if cut == "short":
        line = torch.maximum(-disc(x - 0.09, y - 0.11, 0.285), y + 0.02)
    elif cut == "long":
        # A straight fringe, and a strand on either side.
        cap = torch.minimum(torch.maximum(cap, y + 0.135), box(x.abs() - 0.23, y, 0.038, 0.22, 0.04))
        line = y - 1.0
    else:
        line = torch.maximum(-ellipse(x, y - 0.06, 0.205, 0.235), y + 0.02)
    view.lay(torch.maximum(cap, line), paint)


def _body(view: Window, home: Window, portrait: Portrait) -> None:
    """Neck and shoulders. The shoulders do not move."""
    skin, shirt = COLOURS[portrait.skin], COLOURS[portrait.shirt]
    x, y = home.x.expand_as(view.x), home.y.expand_as(view.y)
    view.lay(box(x, y - 0.285, 0.078, 0.12, 0.03), shade(skin))
    view.lay(box(x, y - 4.35, 0.33, 4.0, 0.13), shirt)
    view.lay(torch.maximum(disc(x, y - 0.31, 0.115), 0.31 - y), _mix(shirt, (255, 255, 255), 0.45), 0.6)
    view.lay(torch.maximum(disc(x, y - 0.295, 0.088), 0.29 - y), shade(skin), 0.0)


def _ears(view: Window, skin: Paint) -> None:
    x, y = view.x.abs(), view.y
    view.lay(ellipse(x - 0.222, y - 0.005, 0.04, 0.048), skin)
    view.lay(ellipse(x - 0.228, y - 0.005, 0.02, 0.027), shade(skin), 0.0)


def _cheeks(view: Window, cheeks: str, skin: Paint) -> None:
    x, y = view.x.abs(), view.y
    if cheeks == "blush":
        paint = _mix(skin, BLUSH, 0.45) if math.dist(skin, BLUSH) > 90 else _mix(skin, (255, 214, 190), 0.3)
        view.lay(ellipse(x - 0.13, y - 0.06, 0.042, 0.025), paint, 0.0)
        return
    dots = disc(x - FRECKLES[0][0], y - FRECKLES[0][1], 0.0085)
    for fx, fy in FRECKLES[1:]:
        dots = torch.minimum(dots, disc(x - fx, y - fy, 0.0085))
    view.lay(dots, shade(shade(skin)), 0.0)


def _eyes(view: Window, portrait: Portrait, lids: Sequence[float]) -> None:
    """White, iris, pupil and glint, and a lid with a lash line that comes down over them."""
    x, y = view.x.abs() - EYE_X, view.y - EYE_Y
    glint = view.x + 0.008 - torch.where(view.x < 0, -EYE_X, EYE_X)
    socket = ellipse(x, y, *EYE)
    view.lay(socket, SCLERA, 0.5)
    for distance, paint in (
        (disc(x, y - 0.004, 0.031), COLOURS[portrait.eyes]),
        (disc(x, y - 0.004, 0.0185), PUPIL),
        (disc(glint, y + 0.007, 0.0075), SCLERA),
    ):
        view.lay(torch.maximum(distance, socket), paint, 0.0)
    down = [(1 - open_) * 1.55 * EYE[1] - 0.85 * EYE[1] for open_ in lids]
    # The edge bulges up while the eye is open and hangs down when it is shut.
    bulge = [(2 * open_ - 1) * 6.0 for open_ in lids]
    edge = view.numbers(down) + view.numbers(bulge) * x.square() - view.numbers([0.012 * open_ for open_ in lids])
    # What little is left under the lashes of a shut eye is the lower lid.
    lid = torch.maximum(socket - 0.004, y - edge - view.numbers([0.05 * max(0.0, 1 - 3 * open_) for open_ in lids]))
    view.lay(lid, shade(COLOURS[portrait.skin]), 0.0)
    view.lay(torch.maximum(socket - 0.006, (y - edge).abs() - 0.006), PUPIL, 0.0)


def _mouth(view: Window, mouths_F3: NDArray[np.float64], skin: str) -> None:
    """Lips around an opening: almond-shaped, or round; a line where it is shut."""
    opening, wide, round_ = mouths_F3.T
    half = TALL * opening
    x = view.x.abs()
    y = view.y - view.numbers(MOUTH_Y + DROP * half) + SMILE * view.x.square()
    distance = _opening(x, y.abs(), view.numbers(NARROW + (WIDE - NARROW) * wide), view.numbers(half), round_)
    _, lips, inside = papers(skin)
    view.lay(distance - view.numbers(THIN + (THICK - THIN) * round_), lips, 0.3)
    # Half a pixel of softness would show an opening where there is none: a slit shows as much as it is tall.
    tall = half * view.scales * view.short
    view.lay(distance, inside, 0.0, view.numbers(np.where(tall < 0.5, 2 * tall / (0.5 + tall) ** 2, 1.0)))


# A quarter of the outline, from the middle to the corner: along its width, and its height when almond-shaped and round.
_TURNS = [math.pi / 2 * k / 10 for k in range(11)]
_ALONG, _ALMOND, _ROUND = ([f(turn) for turn in _TURNS] for f in (math.sin, lambda a: math.cos(a) ** 2, math.cos))
_ALONG[-1], _ALMOND[-1], _ROUND[-1] = 1.0, 0.0, 0.0


def _opening(x: Tensor, y: Tensor, wide: Tensor, tall: Tensor, round_: NDArray[np.float64]) -> Tensor:
    """Signed distance [F, h, w] to the outline of an opening, from places in its first quarter."""
    soft = torch.as_tensor(round_, dtype=x.dtype, device=x.device)[:, None, None]
    corners = [
        (wide * along, tall * (almond * (1 - soft) + full * soft))
        for along, almond, full in zip(_ALONG, _ALMOND, _ROUND, strict=True)
    ]
    nearest = torch.full_like(x, math.inf)
    inside = torch.zeros_like(x, dtype=torch.bool)
    for (ax, ay), (bx, by) in pairwise(corners):
        ex, ey = bx - ax, by - ay
        px, py = x - ax, y - ay
        t = ((px * ex + py * ey) / (ex * ex + ey * ey)).clamp(0, 1)
        nearest = torch.minimum(nearest, (px - ex * t).square() + (py - ey * t).square())
        inside |= (x >= ax) & (x < bx) & (py * ex < px * ey)
    distance = nearest.sqrt()
    return torch.where(inside, -distance, distance)


def _mix(one: Paint, other: Paint, share: float) -> Paint:
    red, green, blue = ((1 - share) * a + share * b for a, b in zip(one, other, strict=True))
    return red, green, blue
