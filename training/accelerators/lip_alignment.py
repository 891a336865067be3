"""Lip alignment: speech, and a block's tokens, are asked how the mouth is held, and the tokens how the eyes are.

A mouth that is learnt from velocities alone has to find out at once what sounds mean and where they are to be heard.
As in label alignment (REPA, 2410.06940) there is something to ask instead of an encoder: the track of the procedural
voice. A blink is in few frames and small, so velocities alone are well served by eyes that never shut; so the lids are
asked for too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from .accelerator import AuxiliaryLoss, Seen, Sizes

if TYPE_CHECKING:
    from torch import Tensor, nn

TRACK = 3  # opening, width and roundness of the mouth, each 0..1
FACE = TRACK + 1  # and how far the eyes are open, 0..1, which no sound tells


class LipAlignment(AuxiliaryLoss):
    """A linear layer on each frame's speech tokens and one on the picture tokens of `block`.

    Both start at zero, and neither is a part of the checkpoint.
    """

    name: Literal["lip_alignment"] = "lip_alignment"
    block: int = Field(3, ge=0, description="the block that is asked, double blocks first")
    weight: float = Field(0.3, ge=0, description="of both cross-entropies")

    term: ClassVar[str] = "lips"

    def taps(self) -> tuple[int, ...]:
        """The block that is asked."""
        return (self.block,)

    def modules(self, sizes: Sizes) -> dict[str, nn.Module]:
        """The two layers; none for a stage that hears nothing."""
        from torch import nn

        if not sizes.speech:
            return {}
        layers = {}
        for name, width, asked in (("lips_heard", sizes.speech, TRACK), ("lips_shown", sizes.width, FACE)):
            layers[name] = nn.utils.skip_init(nn.Linear, width, asked)
            nn.init.zeros_(layers[name].weight)
            nn.init.zeros_(layers[name].bias)
        return dict(layers)

    def loss(self, seen: Seen) -> Tensor | None:
        """Binary cross-entropies summed over what is asked; None where nobody speaks."""
        from torch.nn.functional import binary_cross_entropy_with_logits

        if seen.spoken is None:
            return None
        heard = seen.modules["lips_heard"](seen.spoken.tokens).float()
        shown = seen.modules["lips_shown"](seen.taps[self.block]).float()
        from_speech = binary_cross_entropy_with_logits(heard, seen.spoken.track, reduction="none").sum(-1).mean()
        return from_speech + seen.mean(
            binary_cross_entropy_with_logits(shown, seen.spoken.lips, reduction="none").sum(-1)
        )
