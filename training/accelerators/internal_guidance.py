"""Internal Guidance (2512.24176): an output head on an early block learns the same velocity as the last one.

L = L_final + weight * L_auxiliary. It needs no teacher and no second pass, and leaves a weaker model inside the model,
which guides it at render time (`internal_guidance` of a job).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from .accelerator import AuxiliaryLoss, Seen, Sizes

if TYPE_CHECKING:
    from torch import Tensor, nn


class InternalGuidance(AuxiliaryLoss):
    """The auxiliary head after `block`; it starts at zero and becomes the checkpoint's folder `auxiliary`."""

    name: Literal["internal_guidance"] = "internal_guidance"
    block: int = Field(3, ge=0, description="the block whose hidden states the head reads, double blocks first")
    weight: float = Field(0.5, ge=0, description="of the head's loss")

    term: ClassVar[str] = "auxiliary"

    def taps(self) -> tuple[int, ...]:
        """The block that the head reads."""
        return (self.block,)

    def modules(self, sizes: Sizes) -> dict[str, nn.Module]:
        """The head, which the transformer runs."""
        from torch.nn import init

        from models.mmdit import AuxiliaryHead

        head = AuxiliaryHead(width=sizes.width, out_channels=sizes.channels, block=self.block)
        init.zeros_(head.proj_out.weight)
        init.zeros_(head.modulation.weight)
        return {"auxiliary": head}

    def loss(self, seen: Seen) -> Tensor | None:
        """The mean squared error of the head's velocity."""
        assert seen.auxiliary is not None, "the stage runs the head that this made"
        return seen.mean((seen.auxiliary.float() - seen.target).square().mean(-1))
