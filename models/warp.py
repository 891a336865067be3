"""The mouth warp, after the first two steps of IPTalker (2501.04586): align speech with references, then move them.

A few pictures of a mouth and the speech of a frame become that frame's mouth: tokens of both attend to each other
(the paper's audio-visual alignment unit), each reference gets a dense motion field and a weight at every pixel, and
what the moved references show there is blended. It makes nothing new: what no reference shows it can not show either.
Denoising repairs the rest, from this start.

References are a set: their order changes nothing. Fresh weights move nothing, and give the mean of the references.
Shape suffixes: B batch, F frames, R references, G speech tokens of a frame, X their width, D width inside, P patches
of a reference, H and W pixels.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from .speech import Speech

PATCH = 8  # pixels of a reference that one token sees: three halvings
WIDTHS = (24, 48)  # of the reference's features at a half and a quarter of its size
AT_ONCE = 16  # frames, so that memory does not grow with a clip's length


class MouthWarp(ModelMixin, ConfigMixin):
    """Moves and blends references of a mouth so that they speak.

    Args:
        width: X of the speech tokens.
        per_frame: G.
        size: pixels a side in which mouths are looked at; crops of another size are moved at their own.
        inner_width: D.
        blocks: of joint attention.
        num_heads: of it.
        neighbours: frames before and after whose speech is heard with a frame's own.
    """

    @register_to_config
    def __init__(
        self,
        width: int,
        per_frame: int = 2,
        size: int = 48,
        inner_width: int = 96,
        blocks: int = 2,
        num_heads: int = 4,
        neighbours: int = 1,
    ) -> None:
        super().__init__()
        if size % PATCH:
            raise ValueError(f"expected a size in multiples of {PATCH} pixels, got {size}")
        self.per_frame, self.size, self.neighbours = per_frame, size, neighbours
        half, quarter = WIDTHS
        self.fine = nn.Conv2d(4, half, 3, stride=2, padding=1)
        self.middle = nn.Conv2d(half, quarter, 3, stride=2, padding=1)
        self.coarse = nn.Conv2d(quarter, inner_width, 3, stride=2, padding=1)
        self.places = nn.Parameter(0.02 * torch.randn((size // PATCH) ** 2, inner_width))
        self.hear = nn.Linear(width, inner_width)
        self.slots = nn.Parameter(0.02 * torch.randn((2 * neighbours + 1) * per_frame, inner_width))
        self.alignment = nn.ModuleList(AlignmentBlock(inner_width, num_heads) for _ in range(blocks))
        self.up_quarter = nn.Conv2d(inner_width + quarter, quarter, 3, padding=1)
        self.up_half = nn.Conv2d(quarter + half, half, 3, padding=1)
        self.motion = nn.Conv2d(half, 3, 3, padding=1)  # right, down, and the blending weight's logarithm
        nn.init.zeros_(self.motion.weight)
        nn.init.zeros_(self.motion.bias)  # type: ignore[arg-type]

    @classmethod
    def of(cls, speech: Speech, **options: Any) -> MouthWarp:
        """A new warp that hears the tokens of `speech`."""
        return cls(width=speech.width, per_frame=speech.per_frame, **options)

    def forward(self, references: Tensor, speech: Tensor) -> tuple[Tensor, Tensor]:
        """The mouth of every frame, and how the references were moved for it.

        Args:
            references: [R, 4, H, W] crops of the mouth, premultiplied RGBA in 0..1; or [B, R, 4, H, W].
            speech: [F, G, X] tokens of consecutive frames; or [B, F, G, X]. Before the first frame and after the last
                one their own tokens are heard again.

        Returns:
            [F, 4, H, W] premultiplied RGBA, and [F, R, 2, H, W] by how many pixels to the right and down of a pixel
            what it shows was found; or [B, F, ...] of both.

        Raises:
            ValueError: other shapes.
        """
        single = references.ndim == 4
        if single:
            references, speech = references[None], speech[None]
        expected = (len(references), self.per_frame, self.config.width)
        if references.ndim != 5 or references.shape[2] != 4 or not references.shape[1]:
            raise ValueError(f"expected references [R, 4, H, W] or [B, R, 4, H, W], got {list(references.shape)}")
        if speech.ndim != 4 or (len(speech), *speech.shape[2:]) != expected:
            raise ValueError(
                f"expected speech [F, {expected[1]}, {expected[2]}] for each of {expected[0]} sets of references, "
                f"got {list(speech.shape)}"
            )
        heard = self._with_neighbours(speech)
        looks = self._look(references.flatten(0, 1))
        parts = [
            self._move(references, looks, heard[:, start : start + AT_ONCE])
            for start in range(0, heard.shape[1], AT_ONCE)
        ]
        warped, flow = (torch.cat([part[k] for part in parts], 1) for k in (0, 1))
        return (warped[0], flow[0]) if single else (warped, flow)

    # ------------------------------------------------------------ one, align

    def _with_neighbours(self, speech: Tensor) -> Tensor:
        """[B, F, (2 n + 1) G, X] the tokens of each frame and of those around it, the earliest first."""
        frames = torch.arange(speech.shape[1], device=speech.device)
        steps = range(-self.neighbours, self.neighbours + 1)
        return torch.cat([speech[:, (frames + step).clamp(0, speech.shape[1] - 1)] for step in steps], 2)

    def _look(self, references: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features [B R, ., ., .] of references [B R, 4, H, W] at a half, a quarter and an eighth of `size`."""
        x = references
        if x.shape[-2:] != (self.size, self.size):
            x = F.interpolate(x, (self.size, self.size), mode="bilinear", antialias=True, align_corners=False)
        fine = F.silu(self.fine((x * 2 - 1).to(self.places.dtype)))
        middle = F.silu(self.middle(fine))
        return fine, middle, self.coarse(middle)

    def _align(self, coarse: Tensor, heard: Tensor, count: int) -> Tensor:
        """[B F R, D, h, w] what each reference is told to do, from joint attention over all of them and the speech."""
        patches = coarse.flatten(2).transpose(1, 2) + self.places  # [B R, P, D]
        patches = patches.unflatten(0, (-1, count)).flatten(1, 2)  # [B, R P, D]
        words = F.layer_norm(heard.to(self.places.dtype), heard.shape[-1:])
        words = self.hear(words).flatten(0, 1) + self.slots  # [B F, n G, D]
        x = torch.cat([words, patches.repeat_interleave(heard.shape[1], 0).to(words)], 1)
        for block in self.alignment:
            x = block(x)
        side = self.size // PATCH
        told = x[:, words.shape[1] :].unflatten(1, (count, -1)).flatten(0, 1)
        return told.transpose(1, 2).unflatten(2, (side, side))

    # ------------------------------------------------------------ two, warp

    def _move(self, references: Tensor, looks: tuple[Tensor, Tensor, Tensor], heard: Tensor) -> tuple[Tensor, Tensor]:
        """[B, F, 4, H, W] and [B, F, R, 2, H, W] of some frames."""
        fine, middle, coarse = looks
        (batch, frames), count = heard.shape[:2], references.shape[1]
        height, width = references.shape[-2:]

        def for_frames(x: Tensor) -> Tensor:
            """[B R, ...] to [B F R, ...]."""
            return x.unflatten(0, (batch, 1, count)).expand(-1, frames, -1, *x.shape[1:]).flatten(0, 2)

        x = self._align(coarse, heard, count)
        x = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
        x = F.silu(self.up_quarter(torch.cat([x, for_frames(middle)], 1)))
        x = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
        x = F.silu(self.up_half(torch.cat([x, for_frames(fine)], 1)))
        # Places are told apart by less than bfloat16 can: from here on all is in float32.
        with torch.autocast(x.device.type, enabled=False):
            motion = F.conv2d(x.float(), self.motion.weight.float(), self.motion.bias.float(), padding=1)  # type: ignore[union-attr]
            motion = F.interpolate(motion, (height, width), mode="bilinear", align_corners=False)
            shift, weight = motion[:, :2], motion[:, 2:].unflatten(0, (-1, count)).softmax(1)
            at = _grid(height, width, shift.device) + shift.permute(0, 2, 3, 1)
            moved = F.grid_sample(
                for_frames(references.flatten(0, 1)).float(), at, padding_mode="border", align_corners=False
            )
            blended = (moved.unflatten(0, (-1, count)) * weight).sum(1).clamp(0, 1)  # weights add up to about 1
            pixels = shift * torch.tensor([width / 2, height / 2], device=shift.device)[:, None, None]
        return blended.unflatten(0, (batch, frames)), pixels.unflatten(0, (batch, frames, count))


class AlignmentBlock(nn.Module):
    """A transformer block, normed before each half, over speech and patches together."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attention, self.norm_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, D] to the same."""
        q, k, v = self.qkv(self.norm_attention(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        x = x + self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        grown: Tensor = x + self.down(F.silu(self.up(self.norm_mlp(x))))
        return grown


def _grid(height: int, width: int, device: torch.device) -> Tensor:
    """[H, W, 2] the middles of the pixels, x and y, in -1..1 from edge to edge."""
    y, x = ((2 * torch.arange(side, device=device) + 1) / side - 1 for side in (height, width))
    return torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], -1)
