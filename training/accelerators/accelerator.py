"""What an accelerator is: an entry of a run file that training asks at a few points. The stage holds its modules.

Shape suffixes: B samples, N picture tokens, K kept ones, D width, C numbers in a token, L labels,
F frames, G speech tokens of a frame, X numbers in one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from training.loop import Strict

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn

    from training.forms import Form


@dataclass(frozen=True)
class Sizes:
    """What the modules of an accelerator are built for."""

    width: int  # D
    channels: int  # C
    labels: int  # L
    speech: int = 0  # G * X, of all speech tokens of a frame; 0 where nothing is heard


@dataclass(frozen=True)
class Spoken:
    """What was heard in a forward pass, and how it holds mouths: opening, width and roundness, each 0..1.

    Attributes:
        tokens: [B, F, G * X] the speech tokens of each frame, also of the samples from which they were kept.
        track: [B, F, 3] the mouth in each frame.
        lips: [B, N, 4] the mouth of each token's frame, and how far its eyes are open.
    """

    tokens: Tensor
    track: Tensor
    lips: Tensor


@dataclass(frozen=True)
class Seen:
    """One forward pass, as its losses see it; of deferred masking the kept tokens alone.

    Attributes:
        target: [B, N, C] the velocity that was asked for.
        made: [B, N] which tokens count: those that are made.
        taps: block -> [B, N, D] hidden states after it.
        modules: those of the stage, by name.
        auxiliary: [B, N, C] the auxiliary head's velocity, where there is a head.
        labels: [B, N, L] what the renderer knows of each token, where it was asked.
        spoken: where somebody speaks.
    """

    target: Tensor
    made: Tensor
    taps: Mapping[int, Tensor]
    modules: Mapping[str, nn.Module]
    auxiliary: Tensor | None = None
    labels: Tensor | None = None
    spoken: Spoken | None = None

    def mean(self, error: Tensor) -> Tensor:
        """The mean of [B, N] over the tokens that are made, every sample counting alike."""
        from training.masks import masked_mean

        return masked_mean(error, self.made).mean()


class Accelerator(Strict):
    """One technique: its fields are its configuration, its methods are where training meets it.

    Each method is asked only while the accelerator is on, but for `modules`, and does nothing unless it is overridden.
    """

    name: str
    until: float = Field(1.0, ge=0, le=1, description="share of the steps after which it is off")

    labelled: ClassVar[bool] = False  # whether it needs `Seen.labels`

    def on(self, step: int, steps: int) -> bool:
        """Whether it acts in a step of a run of so many. What has no cut-off also acts after a run's last step."""
        return self.until == 1 or step < self.until * steps

    def taps(self) -> tuple[int, ...]:
        """Blocks whose hidden states it reads, double blocks counted first."""
        return ()

    def modules(self, sizes: Sizes) -> dict[str, nn.Module]:
        """What it trains beside the transformer, by name. A diffusers model becomes a folder of the checkpoint."""
        return {}

    def uniform(self, count: int, generator: Generator) -> Tensor | None:
        """[B] numbers in 0..1, each uniform, of which a batch's times are made; None leaves them independent."""
        return None

    def keep(self, form: Form, generator: Generator) -> Tensor | None:
        """[K] the picture tokens that go on after the double blocks; None for all."""
        return None


class AuxiliaryLoss(Accelerator):
    """An accelerator that adds `weight` times a loss of its own."""

    weight: float = Field(ge=0, description="of its loss in the total")

    term: ClassVar[str]  # what the loss is called in the log

    def loss(self, seen: Seen) -> Tensor | None:
        """Its loss, a scalar, before its weight; None where this pass has nothing for it."""
        raise NotImplementedError
