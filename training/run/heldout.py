"""Held-out loss: always the same examples, noises and times, so that two steps of a run, and two runs, can be compared.

Shape letters: T times.
"""

from __future__ import annotations

import torch

from training.data.order import Item

from .chance import seed_of
from .config import HeldOutConfig
from .inputs import gathered
from .objective import Objective
from .store import Store


class HeldOut:
    """The examples that are held out.

    Args:
        store: their latents and prompts.
        config: how many, and at how many times.
    """

    def __init__(self, store: Store, config: HeldOutConfig) -> None:
        self.store = store
        self.times = [(k + 0.5) / config.times for k in range(config.times)]
        self.count = min(config.examples, len(store.data.examples))

    @torch.no_grad()
    def loss(self, objective: Objective, device: torch.device) -> dict[str, float]:
        """The mean loss, and that at each time, such as `held_out_38` at 0.375; told the first caption of each."""
        sums = torch.zeros(len(self.times))
        for number in range(self.count):
            example = self.store.data.examples[number]
            caption = example.captions[0] if example.captions else ""
            items = [Item(number, caption, 1.0, seed_of("held out", example.name, k)) for k in range(len(self.times))]
            inputs = gathered(self.store, items, self.times, [1.0] * len(items))
            sums += objective(inputs.to(device)).float().cpu()  # [T]
        means = (sums / self.count).tolist()
        at_times = {f"held_out_{round(100 * time)}": mean for time, mean in zip(self.times, means, strict=True)}
        return {"held_out": sum(means) / len(means), **at_times}
