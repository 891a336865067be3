"""Masks of training: which tokens of a sample are given and which the model makes.

The unified mixture of VDT (2305.13311, section 3.3), drawn anew for each sample, and holes for pictures. Every mask
leaves something to make, and the loss of a sample is the mean over what it makes (`masked_mean`).
Shape letters: F frames, h and w tokens; B samples, N tokens.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Mask = NDArray[np.bool_]

MODES = ("predict", "backward", "interpolate", "unconditional", "one frame", "random frames")


def clip_mask(rng: random.Random, frames: int, h: int, w: int) -> Mask:
    """[F, h, w] given tokens of a clip: one in five in space and time, the others whole frames in six modes."""
    if rng.random() < 0.2:
        return _blocks(rng, frames, h, w)
    given = np.zeros(frames, bool)
    mode = rng.choice(MODES)
    some = rng.randint(1, max(1, frames // 2))
    if mode == "predict":
        given[:some] = True
    elif mode == "backward":
        given[frames - some :] = True
    elif mode == "interpolate":
        step = rng.choice((2, 3, 4, frames - 1))
        given[:: max(step, 2)] = True
    elif mode == "one frame":
        given[rng.randrange(frames)] = True
    elif mode == "random frames":
        given[:] = [rng.random() >= 0.8 for _ in range(frames)]
    if given.all():
        given[rng.randrange(frames)] = False
    return np.broadcast_to(given[:, None, None], (frames, h, w)).copy()


def _blocks(rng: random.Random, frames: int, h: int, w: int) -> Mask:
    """A box in space that is made over a stretch of time; up to three whole frames stay given at each end."""
    given = np.ones((frames, h, w), bool)
    first = rng.randint(0, min(3, frames - 1))
    last = rng.randint(max(first + 1, frames - 3), frames)  # a count from the start: no slice can end at zero
    rows, columns = rng.randint(1, h), rng.randint(1, w)
    top, left = rng.randint(0, h - rows), rng.randint(0, w - columns)
    given[first:last, top : top + rows, left : left + columns] = False
    return given


def picture_mask(rng: random.Random, h: int, w: int, box: tuple[float, float, float, float] | None = None) -> Mask:
    """[1, h, w] given tokens of a picture: a hole around `box` (x0, y0, x1, y1 in 0..1) or anywhere, or a border."""
    dice = rng.random()
    if box is not None and dice < 0.6:
        return hole(rng, h, w, box)
    given = np.ones((1, h, w), bool)
    rows, columns = rng.randint(1, max(1, h - 1)), rng.randint(1, max(1, w - 1))
    top, left = rng.randint(0, h - rows), rng.randint(0, w - columns)
    given[:, top : top + rows, left : left + columns] = False
    # Outpainting gives what a hole would make.
    return ~given if dice > 0.8 else given


def hole(rng: random.Random, h: int, w: int, box: tuple[float, float, float, float]) -> Mask:
    """[1, h, w] a hole of all tokens that `box` touches, up to one more on each side."""
    x0, y0, x1, y1 = box
    given = np.ones((1, h, w), bool)
    top, left = max(0, int(y0 * h) - rng.randint(0, 1)), max(0, int(x0 * w) - rng.randint(0, 1))
    # A thing's shadow reaches a little beyond its box.
    bottom = min(h, int(np.ceil((y1 + 0.03) * h)) + rng.randint(0, 1))
    right = min(w, int(np.ceil((x1 + 0.03) * w)) + rng.randint(0, 1))
    given[:, top : max(bottom, top + 1), left : max(right, left + 1)] = False
    return given


def layer_mask(rng: random.Random, canvas: int, layers: Sequence[int]) -> Mask:
    """[N] given tokens of a stack: composite and background of `canvas` tokens each, then the layers.

    Half of the time nothing is given; else the composite, or all but it and one of the rest, or the background.
    """
    parts = [canvas, canvas, *layers]
    dice = rng.random()
    given = [False] * len(parts)
    if 0.5 <= dice < 0.75:
        given[0] = True
    elif 0.75 <= dice < 0.9:
        given = [False] + [True] * (len(parts) - 1)
        given[rng.randrange(1, len(parts))] = False
    elif dice >= 0.9:
        given[1] = True
    return np.repeat(given, parts)


def masked_mean(error: Tensor, made: Tensor) -> Tensor:
    """[B] mean of `error` over the tokens `made`, both [B, N]: a sparse mask counts as much as a full one."""
    made = made.to(error)
    return (error * made).sum(1) / made.sum(1)
