"""Deferred masking (MicroDiT, 2407.15811): all tokens are mixed, then most are dropped for the rest of the depth.

The double blocks are the patch mixer; the single blocks and the loss see what is kept. MicroDiT ends with all tokens,
which `until` does here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from .accelerator import Accelerator

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from training.forms import Form


class DeferredMasking(Accelerator):
    """Drops tokens at random, the same of every sample of a batch and as many of every scene."""

    name: Literal["deferred_masking"] = "deferred_masking"
    drop: float = Field(0.75, ge=0, lt=1, description="share of the tokens that is dropped after the double blocks")
    # Not where a sample is given in part: what is kept of it could be given all, and leave nothing to learn.
    tasks: tuple[Literal["picture", "scenes"], ...] = Field(("scenes",), description="the tasks that it is for")

    def keep(self, form: Form, generator: Generator) -> Tensor | None:
        """[K] the picture tokens that go on, in their order."""
        import torch

        if form.task not in self.tasks:
            return None
        found, start = [], 0
        for frames in form.lengths:
            tokens = frames * form.h * form.w
            count = max(1, round(tokens * (1 - self.drop)))
            found.append(start + torch.randperm(tokens, generator=generator)[:count].sort().values)
            start += tokens
        return torch.cat(found)
