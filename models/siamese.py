"""The siamese layout branch, after SiamLayout of CreatiLayout (2412.03859): a second joint attention beside the first.

Beside the attention over picture and prompts, some blocks get one over picture and layout tokens, a token a box, with
weights of its own. It reads the same normed picture tokens, and a zero-initialised projection adds what it finds to
what the block's own attention found: h = h + gate (A_prompt + W0 A_layout). At initialisation it changes nothing. The
paper adds W0 A_layout outside of the gate; here it is inside, so that blocks stay diffusers' own and take it as an
argument.

Shape suffixes: B batch, N picture tokens, K boxes, D width of the transformer, W width of the layout stream, X width of
the prompt encoder, H heads, E head width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from .attention import Kernel, plain
from .plan import TokenPlan

if TYPE_CHECKING:
    from .mmdit import MMDiT

FREQUENCIES = 8
Rotary = tuple[Tensor, Tensor]  # cosines and sines


class SiameseBranch(ModelMixin, ConfigMixin):
    """The branch of one transformer: an encoder of boxes, and an attention for each chosen block.

    Args:
        width: D of the transformer.
        features: X, width of the prompt encoder's features.
        head_dim: E of the transformer, so that its rotary positions serve here too.
        blocks: the transformer's blocks that it stands beside, ascending, double blocks counted first.
        num_heads: heads of its attention; fewer than the transformer's keep it small.
        inner_width: W of the layout stream.
        mlp_ratio: width of the layout stream's feed-forward over W.
    """

    @register_to_config
    def __init__(
        self,
        width: int,
        features: int,
        head_dim: int,
        blocks: Sequence[int],
        num_heads: int = 2,
        inner_width: int = 96,
        mlp_ratio: float = 2.0,
    ) -> None:
        super().__init__()
        self.blocks = tuple(blocks)
        self.kernel: Kernel = plain
        self.embed_in = nn.Linear(features + 8 * FREQUENCIES, 2 * inner_width)
        self.embed_out = nn.Linear(2 * inner_width, inner_width)
        self.null = nn.Parameter(0.02 * torch.randn(inner_width))
        # Shift, scale and gate of attention and feed-forward; shared by all blocks, as FLUX.2 shares its own.
        self.modulation = nn.Linear(width, 6 * inner_width, bias=False)
        nn.init.zeros_(self.modulation.weight)
        self.attentions = nn.ModuleList(
            SiameseAttention(width, inner_width, num_heads, head_dim, int(mlp_ratio * inner_width), block == blocks[-1])
            for block in blocks
        )

    @classmethod
    def of(cls, transformer: MMDiT, **options: Any) -> SiameseBranch:
        """A new branch for a transformer, beside all its double blocks and the first three single ones."""
        config = transformer.config
        chosen = range(config.num_layers + min(3, config.num_single_layers))
        return cls(
            width=config.num_attention_heads * config.attention_head_dim,
            features=config.joint_attention_dim,
            head_dim=config.attention_head_dim,
            **{"blocks": tuple(chosen)} | options,
        )

    def embed(self, boxes: Tensor, features: Tensor, present: Tensor) -> Tensor:
        """[B, K, W] layout tokens; where no box is present, the null token. Arguments as those of `Layout`."""
        # Hidden states of large text encoders have a few huge numbers: they are brought to one scale first.
        known = F.layer_norm(features.float(), features.shape[-1:])
        joined = torch.cat([known, fourier(boxes.float())], -1).to(self.null.dtype)
        token = self.embed_out(F.silu(self.embed_in(joined)))
        return torch.where(present[..., None], token, self.null.to(token))


class SiameseAttention(nn.Module):
    """Joint attention over picture and layout tokens beside one block, and the layout stream's update.

    Beside the last block the layout tokens are keys and values only: nobody reads them any more.
    """

    def __init__(self, width: int, inner: int, heads: int, head_dim: int, hidden: int, last: bool) -> None:
        super().__init__()
        self.head_dim, self.last = head_dim, last
        across = heads * head_dim
        self.qkv_picture = nn.Linear(width, 3 * across, bias=False)
        self.qkv_layout = nn.Linear(inner, (2 if last else 3) * across, bias=False)
        self.norm_q, self.norm_k = nn.RMSNorm(head_dim, eps=1e-6), nn.RMSNorm(head_dim, eps=1e-6)
        self.norm_layout_k = nn.RMSNorm(head_dim, eps=1e-6)
        self.out_picture = nn.Linear(across, width, bias=False)
        nn.init.zeros_(self.out_picture.weight)
        if not last:
            self.norm_layout_q = nn.RMSNorm(head_dim, eps=1e-6)
            self.out_layout = nn.Linear(across, inner, bias=False)
            self.ff_in = nn.Linear(inner, hidden, bias=False)
            self.ff_out = nn.Linear(hidden, inner, bias=False)

    def forward(
        self,
        picture: Tensor,
        layout: Tensor,
        modulation: Tensor,
        of_picture: Rotary,
        of_layout: Rotary,
        kernel: Kernel,
    ) -> tuple[Tensor, Tensor]:
        """What the block's attention gains, [B, N, D], and the layout tokens after it, [B, K, W].

        Args:
            picture: [B, N, D] normed and modulated, as the block's own attention reads them.
            layout: [B, K, W] layout tokens.
            modulation: [B, 1, 6 W].
            of_picture: rotary tables [N, E].
            of_layout: rotary tables [B, K, E].
            kernel: computes the attention.
        """
        shift, scale, gate, ff_shift, ff_scale, ff_gate = modulation.chunk(6, -1)
        normed = F.layer_norm(layout, layout.shape[-1:]) * (1 + scale) + shift
        q, k, v = self._heads(self.qkv_picture(picture), 3)
        q, k = turned(self.norm_q(q), of_picture), turned(self.norm_k(k), of_picture)
        *layout_q, layout_k, layout_v = self._heads(self.qkv_layout(normed), 2 if self.last else 3)
        if not self.last:
            q = torch.cat([q, turned(self.norm_layout_q(layout_q[0]), of_layout)], 1)
        k = torch.cat([k, turned(self.norm_layout_k(layout_k), of_layout)], 1)
        out = kernel(q, k, torch.cat([v, layout_v], 1)).flatten(2).to(v.dtype)
        gained = self.out_picture(out[:, : picture.shape[1]])
        if not self.last:
            layout = layout + gate * self.out_layout(out[:, picture.shape[1] :])
            normed = F.layer_norm(layout, layout.shape[-1:]) * (1 + ff_scale) + ff_shift
            layout = layout + ff_gate * self.ff_out(F.silu(self.ff_in(normed)))
        return gained, layout

    def _heads(self, x: Tensor, parts: int) -> list[Tensor]:
        """[B, n, parts * H * E] to `parts` of [B, n, H, E]."""
        return [part.unflatten(-1, (-1, self.head_dim)) for part in x.chunk(parts, -1)]


@dataclass(frozen=True)
class Layout:
    """A branch and the boxes that it tells the model of, for each sample of a batch its own.

    Attributes:
        branch: the weights.
        boxes: [B, K, 4] x0, y0, x1, y1 in 0..1, bottom first.
        features: [B, K, X] the mean of each prompt's words, see `mean_words`.
        present: [B, K] False where there is no box: padding, and the unconditional half of a guided batch.
    """

    branch: SiameseBranch
    boxes: Tensor
    features: Tensor
    present: Tensor

    def guided(self) -> Layout:
        """The batch twice: with its boxes, and then with null tokens in their place."""
        return replace(
            self,
            boxes=torch.cat([self.boxes, self.boxes]),
            features=torch.cat([self.features, self.features]),
            present=torch.cat([self.present, torch.zeros_like(self.present)]),
        )

    def begin(self, transformer: MMDiT, plan: TokenPlan, embedding: Tensor) -> Run:
        """A pass of the transformer; `embedding` [B, 1, D] is of the step's time."""
        modulation = self.branch.modulation(F.silu(embedding))
        tokens = self.branch.embed(self.boxes, self.features, self.present)
        return Run(self.branch, modulation, tokens, self._rotary(transformer, plan))

    def _rotary(self, transformer: MMDiT, plan: TokenPlan) -> Rotary:
        """[B, K, E] tables of the boxes' middles, and on l of their numbers, from 1.

        A picture token then sees by the distance of two positions whether it is inside, wherever the box is and
        however large the canvas; without a position it could only compare contents. The number tells which of two
        boxes lies on top, which nothing else tells the model. Null tokens are nowhere: they stand at the origin.
        """
        canvas = plan.positions[plan.context_tokens :].max(0) + 1  # t, y, x, l
        x0, y0, x1, y1 = self.boxes.float().unbind(-1)
        y, x = (y0 + y1) / 2 * int(canvas[1]) - 0.5, (x0 + x1) / 2 * int(canvas[2]) - 0.5
        number = torch.arange(1, y.shape[1] + 1, device=y.device).expand_as(y)
        places = torch.stack([torch.zeros_like(y), y, x, number], -1) * self.present[..., None]
        cosines, sines = transformer.pos_embed(places.flatten(0, 1))
        return cosines.unflatten(0, y.shape), sines.unflatten(0, y.shape)


class Run:
    """One pass of the transformer: the layout tokens as they go from block to block."""

    def __init__(self, branch: SiameseBranch, modulation: Tensor, tokens: Tensor, rotary: Rotary) -> None:
        self.branch, self.modulation, self.tokens, self.rotary = branch, modulation, tokens, rotary

    def __contains__(self, block: int) -> bool:
        return block in self.branch.blocks

    def inputs(self, block: int, picture: Tensor, of_picture: Rotary) -> tuple[Any, ...]:
        """The module beside `block`, and what it is called with; what it returns goes to `take`."""
        module = self.branch.attentions[self.branch.blocks.index(block)]
        return module, picture, self.tokens, self.modulation, of_picture, self.rotary, self.branch.kernel

    def take(self, found: tuple[Tensor, Tensor]) -> Tensor:
        """What the block's attention gains; the layout tokens stay here."""
        gained, self.tokens = found
        return gained


def fourier(boxes: Tensor) -> Tensor:
    """[..., 4] coordinates in 0..1 to [..., 64]: sines and cosines of frequencies 100^(j/8)."""
    frequencies = 100 ** (torch.arange(FREQUENCIES, device=boxes.device) / FREQUENCIES)
    angles = (boxes[..., None] * frequencies).flatten(-2)
    return torch.cat([angles.sin(), angles.cos()], -1)


def mean_words(features: Tensor, mask: Tensor) -> Tensor:
    """[..., X] the mean of features [..., L, X] over the words that the attention mask [..., L] marks."""
    weight = mask.to(features)[..., None]
    return (features * weight).sum(-2) / weight.sum(-2).clamp(min=1)


def turned(x: Tensor, rotary: Rotary) -> Tensor:
    """[B, n, H, E] with rotary positions, tables [n, E] or [B, n, E]; numbers pair up as in diffusers."""
    cosines, sines = (table.unsqueeze(-2) for table in rotary)
    even, odd = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    return (x.float() * cosines + torch.stack([-odd, even], -1).flatten(-2) * sines).to(x.dtype)
