"""Where what was made meets what is kept: in pixels, without a seam, and without touching what is kept.

Shape letters: H and W pixels, X numbers in a pixel.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipelines.files.media import Pixels

Floats = NDArray[np.float32]

REACH = 8.0  # pixels over which the correction of a seam fades: half a token
DIFFERENT = 5.0  # times what an autoencoder misses on average: so much is another picture
AROUND = 5  # pixels, down and across, whose difference counts
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


def unchanged(source: Pixels, known: Floats, drawn: Floats, hole: NDArray[np.bool_]) -> Floats:
    """[H, W, 3] what was drawn, and the source's own pixels where the model drew the same as is there.

    An autoencoder blurs what it did not learn, so skin that nobody meant to change would lose its texture. Drawn is
    compared with what the autoencoder makes of the source, `known`: within what it itself misses of the source in the
    hole, on average, the two show the same; from five times that on they do not.

    Args:
        source: [H, W, 3].
        known: [H, W, 3] in 0..255, the source encoded and decoded.
        drawn: [H, W, 3] in 0..255.
        hole: [H, W] where something was drawn.
    """
    if not hole.any():
        return drawn
    missed = max(float(_gap(known, source.astype(np.float32))[hole].mean()), 1.0)
    same = ((DIFFERENT * missed - _gap(drawn, known)) / ((DIFFERENT - 1) * missed)).clip(0, 1)
    same = (same * same * (3 - 2 * same))[..., None]
    return drawn * (1 - same) + source * same


def _gap(one: Floats, other: Floats) -> Floats:
    """[H, W] how different two pictures are around a pixel, in levels of the channel that differs most."""
    import cv2

    gap: Floats = cv2.blur(np.abs(one - other).max(-1).astype(np.float32), (AROUND, AROUND))
    return gap


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
