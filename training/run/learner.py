"""What learns: the weights that are trained, their optimiser and their moving averages. The same in every process.

Gradients are summed over all processes by hand and not by `DistributedDataParallel`: a step has several backward passes
of several plans, some of which may not touch some weights, and a sum in one fixed order goes on exactly after a stop.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from training.trainer import EMA, learning_rate

from . import optimizers
from .config import StepsConfig
from .shards import Shards, like, whole
from .stopped import Stopped


class Learner:
    """The trained weights of a run.

    Args:
        trainable: by name.
        config: rate and optimiser.
        shards: whether the weights are spread over the processes.
        remember: whether the weights as they are now will be asked for, see `untrained`.

    Raises:
        Refusal: an optimiser that is not to be had here.
    """

    def __init__(
        self, trainable: Mapping[str, nn.Parameter], config: StepsConfig, shards: Shards, remember: bool
    ) -> None:
        self.config, self.shards, self.accelerator = config, shards, shards.accelerator
        self.names, self.weights = list(trainable), list(trainable.values())
        self.optimizer = optimizers.build(self.weights, config)
        self.ema = EMA(config.ema)
        self._first = [weight.detach().clone() for weight in self.weights] if remember else None

    def step(self, number: int, tally: Tensor) -> tuple[float, Tensor]:
        """One optimiser step with the gradients that were gathered, unless they are no numbers.

        Args:
            number: of the step, from 0.
            tally: what else is summed over all processes.

        Returns:
            The norm of the gradients before clipping, and the sums. Where the norm is not finite nothing was changed.
        """
        for weight in self.weights:
            if weight.grad is None:  # of a part that no sample touched: the same in every process
                weight.grad = torch.zeros_like(weight)
        tally = self._summed(tally)
        norm = float(whole(nn.utils.clip_grad_norm_(self.weights, self.config.clip)))
        if norm < float("inf"):
            rate = self.config.lr * learning_rate(number, self.config)
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            self.optimizer.step()
            self.ema.update([weight.data for weight in self.weights], number + 1)
        self.optimizer.zero_grad()
        return norm, tally

    def state(self) -> dict[str, Tensor]:
        """Every tensor that the next step depends on, whole; all processes have to ask for it together."""
        found = {f"weight/{name}": weight.detach() for name, weight in zip(self.names, self.weights, strict=True)}
        for decay, track in self.ema.tracks.items():
            found |= {f"ema/{decay}/{name}": average for name, average in zip(self.names, track, strict=True)}
        found = {name: whole(tensor) for name, tensor in found.items()}
        return found | {f"optimizer/{name}": tensor for name, tensor in optimizers.state(self.optimizer).items()}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back what `state` gave."""
        with torch.no_grad():
            for name, weight in zip(self.names, self.weights, strict=True):
                weight.copy_(like(tensors[f"weight/{name}"], weight))
        for decay in self.config.ema:
            if f"ema/{decay}/{self.names[0]}" in tensors:
                track = [tensors[f"ema/{decay}/{name}"] for name in self.names]
                self.ema.tracks[str(decay)] = [
                    like(average, weight) for average, weight in zip(track, self.weights, strict=True)
                ]
        own = {name.removeprefix("optimizer/"): each for name, each in tensors.items() if name.startswith("optimizer/")}
        optimizers.restore(self.optimizer, own)

    def result(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The values of a state that are used: of the first moving average, or the weights where there is none."""
        averaged = [f"ema/{decay}" for decay in self.config.ema[:1]]
        part = next((each for each in averaged if f"{each}/{self.names[0]}" in tensors), "weight")
        return {name: tensors[f"{part}/{name}"] for name in self.names}

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The model is the one that `result` is of."""
        if not self.ema.tracks:
            yield
            return
        self.ema.swap(self.weights, self.config.ema[0])
        try:
            yield
        finally:
            self.ema.swap(self.weights, self.config.ema[0])

    @contextmanager
    def untrained(self) -> Iterator[None]:
        """The model is the one that the run began with."""
        assert self._first is not None, "a learner that was not told to remember"
        now = [weight.data.clone() for weight in self.weights]
        for weight, first in zip(self.weights, self._first, strict=True):
            weight.data.copy_(first)  # in place: shards are gathered from where they are
        try:
            yield
        finally:
            for weight, data in zip(self.weights, now, strict=True):
                weight.data.copy_(data)

    def _summed(self, tally: Tensor) -> Tensor:
        """Gradients, in place, and `tally` summed over all processes."""
        if self.accelerator.num_processes == 1:
            return tally
        summed = self.shards.on  # by the backward passes
        grads = [weight.grad for weight in self.weights if weight.grad is not None and not summed]
        flat = torch.cat([tally.to(self.accelerator.device), *(grad.flatten().float() for grad in grads)])
        try:
            flat = self.accelerator.reduce(flat, "sum")
        except RuntimeError:  # what torch raises where a process is gone
            raise Stopped("another process of this run has ended; its own words say why") from None
        sums, *parts = flat.split([len(tally), *(grad.numel() for grad in grads)])
        for grad, part in zip(grads, parts, strict=True):
            grad.copy_(part.view_as(grad))
        return sums.cpu()
