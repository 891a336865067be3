"""Finds a Papercut portrait's head by its eyes, and says how far they are open.

Eyes are fitted to how they look in the world: first where a coarse copy of them is most alike, then to a fraction of a
pixel, by Gauss-Newton steps along the slopes of the template (after Baker and Matthews, 2004). What else a portrait
shows is `lips.py`.

Colours are 0..255. Lengths are of the head (see `portrait.py`) but for those of a `Stand`. Suffixes: h and w pixels of
a patch.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import cv2
import numpy as np

from training.face import EYE_X, draw
from training.pixels import Array, floats, to_pixels
from training.portrait import CUTS, EYES, MOUTHS, SIZE, SLOT, Box, Portrait, Stand

DENSITY, COARSE = 256, 96  # pixels of a patch in a head's unit, and where eyes are only looked for
EYES_BOX: Box = (-0.15, -0.09, 0.15, 0.065)  # the nose is seen too: it tells up from down
SEARCH = 0.08  # how far a head may be from its usual place
LIKENESS = 0.65  # correlation with a portrait's eyes below which there are none
LIDS = (0.0, 0.25, 0.5, 0.75, 1.0)
BLURS = (0.008, 0.016)  # through which eyes may be seen, beside clearly


def find_head(image: Array, usual: Stand, skin: str) -> tuple[Stand, float] | None:
    """Where the head is and how far its eyes are open, 0..1; None where nothing looks like a portrait's eyes.

    Args:
        image: [H, W, 3].
        usual: where heads are.
        skin: the colour's name.
    """
    stand = _aligned(image, _coarsely(image, usual, skin), skin)
    open_, likeness = _eyes(image, stand, skin)
    if likeness < LIKENESS or max(abs(stand.x - usual.x), abs(stand.y - usual.y)) > SEARCH:
        return None
    return stand, open_


def patch_of(image: Array, stand: Stand, box: Box, density: float = DENSITY) -> Array:
    """[h, w, 3] what is in a box of the head, upright and of one size whatever the picture's."""
    height, width = image.shape[:2]
    short = min(height, width)
    w, h = round((box[2] - box[0]) * density), round((box[3] - box[1]) * density)
    corner, right, down = (
        np.multiply(stand.place(box[0] + x / density, box[1] + y / density), short) - 0.5
        for x, y in ((0.5, 0.5), (1.5, 0.5), (0.5, 1.5))
    )
    matrix = np.stack([right - corner, down - corner, corner], 1)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return floats(cv2.warpAffine(image, matrix, (w, h), flags=flags, borderMode=cv2.BORDER_REPLICATE))


def grid_of(box: Box) -> tuple[Array, Array]:
    """[h, w] y and x of a patch's pixels."""
    w, h = round((box[2] - box[0]) * DENSITY), round((box[3] - box[1]) * DENSITY)
    ys, xs = np.meshgrid(
        (np.arange(h) + 0.5) / DENSITY + box[1], (np.arange(w) + 0.5) / DENSITY + box[0], indexing="ij"
    )
    return floats(ys), floats(xs)


@dataclass(frozen=True, eq=False)
class _Model:
    """How eyes of a skin look in the world.

    Attributes:
        sides: [h, w, 3] with lids as far open as LIDS says.
        weight: [h, w, 1] how much each pixel tells.
    """

    sides: tuple[Array, ...]
    weight: Array

    def blurred(self, by: float) -> _Model:
        """The same seen through a blur of `by` of the head."""
        return _Model(tuple(floats(cv2.GaussianBlur(side, (0, 0), by * DENSITY)) for side in self.sides), self.weight)

    def fitted(self, patch: Array) -> tuple[float, Array]:
        """How far the eyes of a patch are open, and how eyes that are look: the closest between two sides."""
        found: list[tuple[float, float, Array]] = []
        for low, high, shut, open_ in zip(LIDS, LIDS[1:], self.sides, self.sides[1:], strict=False):
            way = (open_ - shut) * self.weight
            share = float(np.clip(((patch - shut) * way).sum() / ((open_ - shut) * way).sum(), 0, 1))
            target = shut + share * (open_ - shut)
            found.append((float(((patch - target) ** 2 * self.weight).sum()), low + share * (high - low), target))
        _, share, target = min(found, key=lambda one: one[0])
        return share, target


@lru_cache(maxsize=64)
def _model(skin: str) -> _Model:
    """Of all people with a skin; where they differ, by their irises and fringes, little is told."""
    times = [moment(lids) for lids in LIDS]
    seen = []
    for k, (cut, hair) in enumerate(product(CUTS, ("white", "black"))):
        portrait = Portrait(skin, hair, "grey", cut, "blush", EYES[k % len(EYES)])
        drawn = draw(portrait, times, [MOUTHS["closed"]] * len(times), DENSITY, DENSITY)
        frames = [to_pixels(frame).astype(np.float32) for frame in drawn]
        seen.append(
            [patch_of(frame, portrait.stand(time), EYES_BOX) for frame, time in zip(frames, times, strict=True)]
        )
    sides = [floats(np.mean(side, axis=0)) for side in zip(*seen, strict=True)]
    doubt = np.max([np.std(side, axis=0).max(-1, keepdims=True) for side in zip(*seen, strict=True)], axis=0)
    ys, xs = grid_of(EYES_BOX)
    # Cheeks are not told apart here.
    weight = ((np.abs(xs) < EYE_X) | (ys < 0.02))[..., None] / (1 + np.square(doubt / 12))
    return _Model(tuple(sides), floats(weight))


@lru_cache(maxsize=16)
def moment(lids: float) -> float:
    """A time at which the eyes of a `Portrait` by default are so far open."""
    portrait, times = Portrait("", "", ""), np.linspace(0, SLOT, 5000)
    return float(times[int(np.argmin([abs(portrait.lids(time) - lids) for time in times]))])


def _coarsely(image: Array, usual: Stand, skin: str) -> Stand:
    """Where eyes are most likely, to the pixel."""
    x0, y0, x1, y1 = EYES_BOX
    around = patch_of(image, usual, (x0 - SEARCH, y0 - SEARCH, x1 + SEARCH, y1 + SEARCH), COARSE)
    best = (-2.0, 0, 0)
    for eyes in _model(skin).sides[::2]:
        small = cv2.resize(eyes, None, fx=COARSE / DENSITY, fy=COARSE / DENSITY, interpolation=cv2.INTER_AREA)
        scores = cv2.matchTemplate(around, small, cv2.TM_CCOEFF_NORMED)
        _, score, _, (left, top) = cv2.minMaxLoc(scores)
        best = max(best, (score, left, top))
    x, y = usual.place(best[1] / COARSE - SEARCH, best[2] / COARSE - SEARCH)
    return usual._replace(x=x, y=y)


def _aligned(image: Array, stand: Stand, skin: str) -> Stand:
    """The stand from which the eyes look most like those of the model: place, scale and turn."""
    model = _model(skin)
    ys, xs = grid_of(EYES_BOX)
    for _ in range(8):
        patch = patch_of(image, stand, EYES_BOX)
        _, target = model.fitted(patch)
        down, right = np.gradient(target, 1 / DENSITY, axis=(0, 1))
        # How the patch changes when it is taken from further right, further down, larger, and turned.
        steps = [
            right,
            down,
            right * xs[..., None] + down * ys[..., None],
            down * xs[..., None] - right * ys[..., None],
        ]
        slopes = np.stack([(step * model.weight).ravel() for step in steps])
        gap = ((patch - target) * model.weight).ravel()
        moves = np.linalg.lstsq(slopes @ slopes.T, slopes @ gap, rcond=None)[0]
        dx, dy, grown, turned = moves.clip(-0.05, 0.05).tolist()
        x, y = stand.place(-dx, -dy)
        scale = float(np.clip(stand.scale * (1 - grown), 0.9 * SIZE, 1.1 * SIZE))
        stand = Stand(x, y, scale, float(np.clip(stand.angle - turned, -0.12, 0.12)))
    return stand


def _eyes(image: Array, stand: Stand, skin: str) -> tuple[float, float]:
    """How far eyes are open, and how much they look like eyes: a correlation."""
    patch = patch_of(image, stand, EYES_BOX)
    seen = []
    for model in (_model(skin), *(_model(skin).blurred(by) for by in BLURS)):
        share, target = model.fitted(patch)
        seen.append((_likeness(patch, target, model.weight), share))
    likeness, share = max(seen)
    return share, likeness


def _likeness(one: Array, other: Array, weight: Array) -> float:
    """Correlation of what two patches show on their skins, whose colours are left out."""
    first, second = ((side - (side * weight).sum((0, 1)) / weight.sum()) for side in (one, other))
    norms = np.sqrt((first**2 * weight).sum() * (second**2 * weight).sum())
    return float((first * second * weight).sum() / max(norms, 1e-6))
