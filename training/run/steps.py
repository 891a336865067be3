"""One optimiser step: its batches through the objective, their gradients to the learner, and what is told of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import torch

from .checkpoints import Checkpoints
from .config import StepsConfig
from .inputs import Inputs
from .learner import Learner
from .log import BINS, bin_of
from .objective import Objective
from .speed import Speed
from .stopped import Stopped


class Steps:
    """What makes a step.

    Args:
        config: batches of a step.
        half: whether the arithmetic is in bfloat16.
        objective: the losses of a batch.
        learner: the weights that are trained.
        checkpoints: of the run, to be told of where the loss is no number.
        speed: what is done so that a step takes less time.
        device: where the model is.
    """

    def __init__(
        self,
        config: StepsConfig,
        half: bool,
        objective: Objective,
        learner: Learner,
        checkpoints: Checkpoints,
        speed: Speed,
        device: torch.device,
    ) -> None:
        self.config, self.half, self.objective, self.learner = config, half, objective, learner
        self.checkpoints, self.speed, self.device = checkpoints, speed, device

    @property
    def arithmetic(self) -> str:
        """In what the model is computed."""
        return "bfloat16" if self.half else "float32"

    def one(self, number: int, batches: Iterator[Inputs | Stopped], asked: bool) -> tuple[dict[str, float], bool]:
        """Step `number`, from 0.

        Args:
            number: of the step.
            batches: those of the steps from this one on.
            asked: whether this process was asked to stop.

        Returns:
            What is logged of it, and whether any process was asked to stop.

        Raises:
            Stopped: a file of the cache is gone, or the loss is no number.
        """
        tally = torch.zeros(2 + 2 * BINS)
        tally[0] = float(asked)
        for _ in range(self.config.accumulate):
            found = next(batches)
            if isinstance(found, Stopped):
                raise found
            inputs = found.to(self.device)
            with self.speed.training(inputs.full):
                with self.autocast():
                    losses = self.objective(inputs)
                    loss = (losses * inputs.shares).sum()
                loss.backward()
            tally[1] += loss.detach().cpu()
            counted = inputs.shares.cpu() > 0
            parts = (inputs.times.cpu() * BINS).long().clamp(max=BINS - 1)[counted]
            tally[2 : 2 + BINS].index_add_(0, parts, losses.detach().float().cpu()[counted])
            tally[2 + BINS :].index_add_(0, parts, torch.ones(len(parts)))
        norm, tally = self.learner.step(number, tally)
        mean = float(tally[1])
        if not (abs(mean) < float("inf") and norm < float("inf")):
            left = self.checkpoints.left()
            raise Stopped(f"the loss is {mean} at step {number + 1}; {left}: lower loop.lr, in another folder")
        sums, counts = tally[2 : 2 + BINS].tolist(), tally[2 + BINS :].tolist()
        bins = {bin_of((k + 0.5) / BINS): sums[k] / counts[k] for k in range(BINS) if counts[k]}
        return {"loss": mean, "norm": norm, "samples": sum(counts), **bins}, bool(tally[0])

    def autocast(self) -> AbstractContextManager[Any]:
        """The run's precision. Not accelerate's, which is one setting a process.

        Without torch's cache of cast weights: it would give the untrained model the trained one's, see
        `Learner.untrained`.
        """
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.half, cache_enabled=False)
