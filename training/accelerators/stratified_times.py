"""Low-discrepancy times: one in each of B equal strata, so that a batch's loss depends less on which times it drew.

The low-discrepancy sampler of Variational Diffusion Models (2107.00630), with chance of its own in every stratum.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from .accelerator import Accelerator

if TYPE_CHECKING:
    from torch import Generator, Tensor


class StratifiedTimes(Accelerator):
    """Each time keeps its distribution; only together they are spread evenly."""

    name: Literal["stratified_times"] = "stratified_times"

    def uniform(self, count: int, generator: Generator) -> Tensor | None:
        """[B] one number in each stratum [k / B, (k + 1) / B), in random order."""
        import torch

        return (torch.randperm(count, generator=generator) + torch.rand(count, generator=generator)) / count
