"""Where what was made meets what is kept: in pixels, without a seam, and without touching what is kept.

Shape letters: H and W pixels, X numbers in a pixel.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipelines.files.media import Pixels

Floats = NDArray[np.float32]

REACH = 8.0  # pixels over which the correction of a seam fades: half a token
ROUNDS = 24  # of relaxation; the pyramid gives the slow part, so these only settle the last few pixels


def fill(pixels: Pixels, hole: NDArray[np.bool_]) -> Pixels:
    """[H, W, 3] with the hole [H, W] painted over smoothly from what is around it; grey where nothing is around."""
    if not hole.any():
        return pixels
    if hole.all():
        return np.full_like(pixels, 128)
    filled = _spread(pixels.astype(np.float32), (~hole).astype(np.float32))
    return np.where(hole[..., None], filled.round().clip(0, 255).astype(np.uint8), pixels)


def blend(source: Pixels, drawn: Floats, mask: Pixels) -> Pixels:
    """What is kept, and in the mask what was drawn.

    Args:
        source: [H, W, 3]; comes back bit for bit where the mask is 0.
        drawn: [H, W, 3] in 0..255.
        mask: [H, W]; 255 takes what was drawn, and levels between mix the two.
    """
    hole = mask > 0
    drawn = _agree(source, drawn, hole).clip(0, 255)
    share = (mask.astype(np.float32) / 255)[..., None]
    mixed = np.where(mask[..., None] == 255, drawn, source * (1 - share) + drawn * share)
    return np.where(hole[..., None], mixed.round().astype(np.uint8), source)


def _agree(source: Pixels, drawn: Floats, hole: NDArray[np.bool_]) -> Floats:
    """`drawn` corrected so that it meets the source at the rim of the hole.

    What the autoencoder misses at the kept pixels of the rim is spread into the hole as a membrane (the Laplace
    equation, as in Poisson image editing) and fades within a token, so that the inside stays as it was made.
    """
    import cv2

    cross = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], np.uint8)
    rim = ~hole & cv2.dilate(hole.astype(np.uint8), cross).astype(bool)
    if not rim.any():
        return drawn
    missed = np.where(rim[..., None], source - drawn, 0)
    membrane = _spread(missed, rim.astype(np.float32))
    for _ in range(ROUNDS):
        padded = np.pad(membrane, ((1, 1), (1, 1), (0, 0)), "edge")
        around = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]
        membrane = np.where(hole[..., None], around / 4, missed)
    depth = cv2.distanceTransform(hole.astype(np.uint8), cv2.DIST_L2, 3)
    return drawn + membrane * np.exp(-(depth - 1).clip(0) / REACH)[..., None]


def _spread(values: Floats, weight: Floats) -> Floats:
    """Values [H, W, X] known where the weight [H, W] is 1, spread smoothly to where it is 0 (a push-pull pyramid)."""
    import cv2

    height, width = weight.shape
    if weight.all() or max(height, width) == 1:
        return values
    even = ((0, height % 2), (0, width % 2))
    sums = np.pad(np.dstack([values * weight[..., None], weight]), (*even, (0, 0)))
    sums = sums.reshape(sums.shape[0] // 2, 2, sums.shape[1] // 2, 2, -1).sum((1, 3))
    total = sums[..., -1]
    coarse = sums[..., :-1] / np.maximum(total, 1e-6)[..., None]
    coarse = _spread(coarse, np.minimum(total, 1))
    finer = cv2.resize(coarse, (2 * coarse.shape[1], 2 * coarse.shape[0]), interpolation=cv2.INTER_LINEAR)
    finer = finer.reshape(2 * coarse.shape[0], 2 * coarse.shape[1], -1)[:height, :width]
    return np.where(weight[..., None] > 0, values * weight[..., None] + finer * (1 - weight[..., None]), finer)
