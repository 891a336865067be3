"""The codec: pictures and frames to latent tokens and back, with the checkpoint's own normalisation.

Colours cross it premultiplied by alpha: where nothing is, there is no colour to bleed into an edge. A checkpoint
with three channels carries no alpha: it drops it on the way in and returns one on the way out.
Shape suffixes: B pictures, F frames, H and W pixels, h and w tokens, C numbers in a token.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

AT_ONCE = 16  # pictures in the decoder, so that its memory does not grow with a video's length

# Alpha below and above which a decoded pixel was meant to be clear or opaque. On true layers of the Papercut world the
# embedded autoencoder leaves 0.2 % of clear pixels above the first; composites over white, black and their own ground
# change by less than 0.1 dB.
CLEAR, SOLID = 3 / 255, 247 / 255


class Codec:
    """`AutoencoderKLFlux2` as tokens. Latents are patched 2x2 and normalised by the batch norm's statistics."""

    patch = 2

    def __init__(self, vae: Any, at_once: int | None = None) -> None:
        """Tokens by `vae`, a diffusers `AutoencoderKLFlux2`.

        Args:
            vae: loaded, and where it is to work.
            at_once: pictures in it at a time; None is AT_ONCE in the decoder, and as many as come in the encoder.
        """
        self.vae = vae
        self.at_once = at_once
        self.scale = self.patch * 2 ** (len(vae.config.block_out_channels) - 1)
        self.channels = vae.config.latent_channels * self.patch**2
        self.has_alpha = vae.config.in_channels == 4

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Tokens down and across for a size in pixels.

        Raises:
            ValueError: a side that is no multiple of the codec's scale.
        """
        if height % self.scale or width % self.scale:
            raise ValueError(f"sides must be multiples of {self.scale} pixels, got {width}x{height}")
        return height // self.scale, width // self.scale

    def _statistics(self, like: Tensor) -> tuple[Tensor, Tensor]:
        mean = self.vae.bn.running_mean
        std = torch.sqrt(self.vae.bn.running_var + self.vae.config.batch_norm_eps)
        return mean.to(like), std.to(like)

    def encode(self, pixels: Tensor) -> Tensor:
        """[B, 4, H, W] premultiplied RGBA in 0..1 to tokens [B, h*w, C]; frames [B, F, 4, H, W] to [B, F*h*w, C]."""
        if pixels.ndim == 5:
            tokens = self.encode(pixels.flatten(0, 1))
            return tokens.unflatten(0, pixels.shape[:2]).flatten(1, 2)
        self.grid(*pixels.shape[-2:])
        if not self.has_alpha:
            pixels = pixels[:, :3]
        parts = (pixels * 2 - 1).to(self.vae.dtype).split(self.at_once or len(pixels))
        latent = torch.cat([self.vae.encode(part).latent_dist.mode() for part in parts])
        tokens = F.pixel_unshuffle(latent, self.patch).flatten(2).transpose(1, 2)
        mean, std = self._statistics(tokens)
        return (tokens - mean) / std

    def decode(self, tokens: Tensor, height: int, width: int) -> Tensor:
        """Tokens [B, n*h*w, C] to premultiplied RGBA [B, n, 4, H, W] in 0..1; n frames or layers of one size."""
        h, w = self.grid(height, width)
        mean, std = self._statistics(tokens)
        tokens = (tokens * std + mean).unflatten(1, (-1, h * w))
        latent = F.pixel_shuffle(tokens.flatten(0, 1).transpose(1, 2).unflatten(2, (h, w)), self.patch)
        latents = latent.to(self.vae.dtype).split(self.at_once or AT_ONCE)
        parts = [self.vae.decode(part).sample.float() for part in latents]
        pixels = (torch.cat(parts) / 2 + 0.5).clamp(0, 1)
        if not self.has_alpha:
            pixels = torch.cat([pixels, torch.ones_like(pixels[:, :1])], 1)
        return pixels.unflatten(0, tokens.shape[:2])


def premultiply(rgba: Tensor) -> Tensor:
    """Straight [..., 4, H, W] to premultiplied."""
    return torch.cat([rgba[..., :3, :, :] * rgba[..., 3:, :, :], rgba[..., 3:, :, :]], -3)


def unpremultiply(rgba: Tensor) -> Tensor:
    """Premultiplied [..., 4, H, W] to straight; clear pixels become clear black.

    Colour cannot exceed alpha, which a decoder does not know: it is held to that here.
    """
    alpha = rgba[..., 3:, :, :]
    colour = torch.minimum(rgba[..., :3, :, :], alpha) / alpha.clamp(min=1 / 512)
    return torch.cat([torch.where(alpha < 1 / 512, 0.0, colour), alpha], -3)


def clean(rgba: Tensor) -> Tensor:
    """Decoded premultiplied [..., 4, H, W] with no haze where nothing is and no holes where something is.

    Colour is held to alpha, so what becomes clear has none left to show as a fringe.
    """
    alpha = rgba[..., 3:, :, :]
    alpha = torch.where(alpha < CLEAR, 0.0, torch.where(alpha > SOLID, 1.0, alpha))
    return torch.cat([torch.minimum(rgba[..., :3, :, :], alpha), alpha], -3)


def over(bottom: Tensor, top: Tensor) -> Tensor:
    """Porter-Duff "over" of premultiplied [..., 4, H, W] pictures."""
    return top + bottom * (1 - top[..., 3:, :, :])
