"""LayerSync (2510.12581): an early block's tokens are pulled towards a deeper block's, with no encoder to ask.

L_sync = -mean over tokens of cos(h_early, stopgrad(h_deep)), with no projector between them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator

from .accelerator import AuxiliaryLoss, Seen

if TYPE_CHECKING:
    from torch import Tensor


class LayerSync(AuxiliaryLoss):
    """Aligns block `early` with block `deep`; the paper takes them at about 1/3 and 2/3 of the depth."""

    name: Literal["layer_sync"] = "layer_sync"
    early: int = Field(2, ge=0, description="the block that is pulled, double blocks first")
    deep: int = Field(5, ge=0, description="the block that it is pulled towards, which the loss does not move")
    weight: float = Field(0.2, ge=0, description="of the alignment")

    term: ClassVar[str] = "layer_sync"

    @model_validator(mode="after")
    def _in_order(self) -> LayerSync:
        """The early block comes first."""
        if self.early >= self.deep:
            raise ValueError(f"expected early before deep, got block {self.early} and block {self.deep}; swap them")
        return self

    def taps(self) -> tuple[int, ...]:
        """Both blocks."""
        return (self.early, self.deep)

    def loss(self, seen: Seen) -> Tensor | None:
        """Minus the cosine between the two, so -1 where they are aligned."""
        from torch.nn.functional import cosine_similarity

        early, deep = seen.taps[self.early].float(), seen.taps[self.deep].float()
        return -seen.mean(cosine_similarity(early, deep.detach(), dim=-1))
