"""The sketch: what tokens look like, coarsely, without the autoencoder: a linear map from 3 x 3 tokens to the pixels of
the middle one.

The map is fitted by least squares to what the checkpoint's own encoder makes of drawings whose pixels are known. That
takes a moment once, and then a picture costs one small matrix product. An autoencoder is not linear, so colours are
a little off and edges soft; on pictures of the Papercut world the mean error is about 23 dB.
Shape suffixes: M tokens of all drawings, C numbers in a token and its neighbours, P coarse pixels of a token times
three colours.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from models.codec import Codec
    from pipelines.files.media import Pixels

COARSE = 4  # coarse pixels across a token
DRAWINGS, SIDE = 32, 128  # how many the map is fitted to, and their pixels across
SHAPES = 8  # on a drawing
AT_ONCE = 4  # drawings in the encoder
RIDGE = 1e-3  # of the fit, as a share of the tokens' own spread, so that few drawings do not mislead it

_fitted: WeakKeyDictionary[torch.nn.Module, Sketch] = WeakKeyDictionary()


class Sketch:
    """The map of one autoencoder."""

    def __init__(self, weight_CP: Tensor, bias_P: Tensor) -> None:
        self._weight, self._bias = weight_CP, bias_P

    def __call__(self, tokens: Tensor, height: int, width: int) -> Pixels:
        """Tokens [height * width, numbers] of one picture to pixels [height * COARSE, width * COARSE, 3] in uint8."""
        around = neighbours(tokens[None].to(self._weight), height, width)[0]
        colours = around @ self._weight + self._bias
        pixels = colours.reshape(height, width, COARSE, COARSE, 3).permute(0, 2, 1, 3, 4)
        flat = pixels.reshape(height * COARSE, width * COARSE, 3)
        found: Pixels = (flat.clamp(0, 1) * 255).round().byte().cpu().numpy()
        return found


def sketch_of(codec: Codec) -> Sketch:
    """The map of a codec's autoencoder, fitted when it is first asked for and forgotten with the autoencoder."""
    if codec.vae not in _fitted:
        _fitted[codec.vae] = fit(codec)
    return _fitted[codec.vae]


@torch.no_grad()
def fit(codec: Codec) -> Sketch:
    """Least squares from the encoder's tokens to the drawings' own coarse pixels."""
    pixels, device = drawings(DRAWINGS), codec.vae.device
    tokens = torch.cat([codec.encode(part.to(device)).double().cpu() for part in pixels.split(AT_ONCE)])
    side = SIDE // codec.scale
    x_MC = neighbours(tokens, side, side).flatten(0, 1)
    y_MP = coarse(pixels, codec.scale).flatten(0, 1).double()
    x_mean, y_mean = x_MC.mean(0), y_MP.mean(0)
    x_MC, y_MP = x_MC - x_mean, y_MP - y_mean
    square_CC = x_MC.T @ x_MC
    square_CC += RIDGE * square_CC.diagonal().mean().clamp(min=1e-12) * torch.eye(len(square_CC), dtype=torch.float64)
    weight_CP = torch.linalg.solve(square_CC, x_MC.T @ y_MP)
    return Sketch(weight_CP.float().to(device), (y_mean - x_mean @ weight_CP).float().to(device))


def neighbours(tokens: Tensor, height: int, width: int) -> Tensor:
    """[B, height * width, numbers] to [B, height * width, C]: each token with the eight around it.

    At an edge the tokens there stand in for those beyond it.
    """
    grid = F.pad(tokens.unflatten(1, (height, width)).permute(0, 3, 1, 2), (1, 1, 1, 1), mode="replicate")
    return F.unfold(grid, 3).transpose(1, 2)


def coarse(pixels: Tensor, scale: int) -> Tensor:
    """[B, 4, H, W] to [B, h * w, P]: the mean colours in each token's coarse pixels, row by row."""
    small = F.avg_pool2d(pixels[:, :3], scale // COARSE)
    return F.pixel_unshuffle(small, COARSE).unflatten(1, (3, -1)).permute(0, 3, 4, 2, 1).flatten(3).flatten(1, 2)


def drawings(count: int, seed: int = 0) -> Tensor:
    """[count, 4, SIDE, SIDE] opaque in 0..1: flat and soft grounds with turned squares and discs in flat colours."""
    chance = torch.Generator("cpu").manual_seed(seed)  # its own, so that no render's noise changes
    flat, soft = torch.rand(count, 3, 1, 1, generator=chance), torch.rand(count, 3, 3, 3, generator=chance)
    softness = (torch.arange(count) % 4 / 3)[:, None, None, None]
    ground = torch.lerp(flat.expand_as(soft), soft, softness)
    picture = F.interpolate(ground, size=(SIDE, SIDE), mode="bicubic").clamp(0, 1)
    y, x = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    for number in range(SHAPES):
        place = torch.rand(count, 4, 1, 1, generator=chance)
        down, across, turn = y - place[:, 0] * SIDE, x - place[:, 1] * SIDE, place[:, 3] * math.pi
        u, v = down * turn.cos() + across * turn.sin(), across * turn.cos() - down * turn.sin()
        far = torch.hypot(u, v) if number % 2 else torch.maximum(u.abs(), v.abs())
        inside = far < (0.04 + 0.16 * place[:, 2]) * SIDE
        picture = torch.where(inside[:, None], torch.rand(count, 3, 1, 1, generator=chance), picture)
    return torch.cat([picture, torch.ones_like(picture[:, :1])], 1)
