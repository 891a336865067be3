"""Label alignment: a block is asked for what the renderer knows of each token, as REPA (2410.06940) asks an encoder.

The labels are the shares of a token that things of each colour, and of each shape, cover. Alignment helps early and
binds late (HASTE, 2505.16792), so it has a cut-off.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from .accelerator import AuxiliaryLoss, Seen, Sizes

if TYPE_CHECKING:
    from torch import Tensor, nn


class LabelAlignment(AuxiliaryLoss):
    """One linear layer on `block`, which starts at zero and is no part of the checkpoint."""

    name: Literal["label_alignment"] = "label_alignment"
    block: int = Field(3, ge=0, description="the block that is asked, double blocks first")
    weight: float = Field(0.3, ge=0, description="of the cross-entropy")
    until: float = Field(0.6, ge=0, le=1, description="share of the steps after which it is off")

    term: ClassVar[str] = "labels"
    labelled: ClassVar[bool] = True

    def taps(self) -> tuple[int, ...]:
        """The block that is asked."""
        return (self.block,)

    def modules(self, sizes: Sizes) -> dict[str, nn.Module]:
        """The layer. Zero also where a run begins from a checkpoint: a random one would shake what is there."""
        from torch import nn

        layer = nn.utils.skip_init(nn.Linear, sizes.width, sizes.labels)
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
        return {"labels": layer}

    def loss(self, seen: Seen) -> Tensor | None:
        """Binary cross-entropy summed over the labels; None where the renderer was not asked."""
        from torch.nn.functional import binary_cross_entropy_with_logits

        if seen.labels is None:
            return None
        guess = seen.modules["labels"](seen.taps[self.block]).float()
        return seen.mean(binary_cross_entropy_with_logits(guess, seen.labels, reduction="none").sum(-1))
