"""The tensors of a batch: what a run's order says, read from the store, with noise and times.

Shape suffixes: B samples, N tokens, C numbers in a token; K boxes, L tokens of a prompt, X width of its features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.utils.data
from torch import Tensor

from training.data.buckets import Bucket
from training.data.example import Edges
from training.data.order import Item

from .chance import noise, times
from .config import LossConfig
from .stopped import Stopped
from .store import Store


@dataclass(frozen=True)
class Told:
    """What one sample is told.

    Attributes:
        features: [1 + K, L, X] of the caption and of each box's label.
        words: [1 + K, L] which of their tokens are words.
        boxes: x0, y0, x1, y1 in 0..1 of each.
        nothing: whether the sample is one of those that are told nothing though there are words.
    """

    features: Tensor
    words: Tensor
    boxes: tuple[Edges, ...]
    nothing: bool = False

    def to(self, device: torch.device) -> Told:
        """The same on a device."""
        return replace(self, features=self.features.to(device), words=self.words.to(device))


@dataclass(frozen=True)
class Inputs:
    """One batch of one process.

    Attributes:
        bucket: its shape.
        clean: [B, N, C] data.
        noise: [B, N, C].
        times: [B] in 0..1; 1 is noise.
        shares: [B] what each sample's loss counts in the step's.
        learnt: [B, N] how much of each token is learnt; None for all of them wholly.
        prior: [B] whether the target is what the untrained model predicts.
        told: of each sample.
        full: whether it has all the samples that a batch of its bucket has; the last one of an epoch may have fewer.
    """

    bucket: Bucket
    clean: Tensor
    noise: Tensor
    times: Tensor
    shares: Tensor
    learnt: Tensor | None
    prior: Tensor
    told: tuple[Told, ...]
    full: bool = True

    def to(self, device: torch.device) -> Inputs:
        """The same on a device."""
        tensors = {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}
        moved: dict[str, Any] = {name: value.to(device) for name, value in tensors.items()}
        return replace(self, **moved, told=tuple(each.to(device) for each in self.told))

    def rows(self, those: Tensor) -> Inputs:
        """The samples with the numbers `those`, [R]."""
        taken: dict[str, Any] = {name: value[those] for name, value in vars(self).items() if isinstance(value, Tensor)}
        return replace(self, **taken, told=tuple(self.told[row] for row in those.tolist()))


class Batches(torch.utils.data.Dataset[Inputs | Stopped]):
    """The batches of one process from step `first` to step `last`, for torch's loader.

    Which samples make a step, their noise and their times depend on seed and step alone: see `Order` and `chance`.

    Args:
        store: the data.
        loss: how times are distributed.
        accumulate: batches of a step.
        first: the first step, from 0.
        last: the step before which to end.
        rank: of this process.
        ranks: how many there are.
    """

    def __init__(
        self, store: Store, loss: LossConfig, accumulate: int, first: int, last: int, rank: int = 0, ranks: int = 1
    ) -> None:
        self.store, self.loss, self.accumulate = store, loss, accumulate
        self.first, self.last, self.rank, self.ranks = first, last, rank, ranks

    def __len__(self) -> int:
        return (self.last - self.first) * self.accumulate

    def __getitem__(self, index: int) -> Inputs | Stopped:
        """A batch, or why there is none: what a loader worker raises arrives as the text of a traceback."""
        try:
            return self._batch(index)
        except Stopped as stopped:
            return stopped

    def _batch(self, index: int) -> Inputs:
        step, turn = self.first + index // self.accumulate, index % self.accumulate
        order = self.store.data.order
        batches = [order.at(step * self.accumulate + k) for k in range(self.accumulate)]
        counts = [len(batch.items) for batch in batches]
        drawn = times(order.seed, step, sum(counts), self.loss.time_mean, self.loss.time_std)
        whole = sum(item.weight for batch in batches for item in batch.items)
        mine = batches[turn].share(self.rank, self.ranks)
        # As `share` chooses: every so many of the samples, and one again where they do not go round.
        places = [*range(self.rank, counts[turn], self.ranks), self.rank % counts[turn]][: len(mine.items)]
        before = sum(counts[:turn])
        found = gathered(
            self.store, mine.items, [drawn[before + place] for place in places], [i.weight / whole for i in mine.items]
        )
        return replace(found, full=counts[turn] == order.size(found.bucket))


def gathered(store: Store, items: Sequence[Item], at: Sequence[float], shares: Sequence[float]) -> Inputs:
    """Samples of one bucket as tensors.

    Args:
        store: the data.
        items: the samples.
        at: the time of each.
        shares: what the loss of each counts.

    Raises:
        Stopped: a file of the cache is gone.
    """
    clean = torch.stack([store.clean(item) for item in items])
    masks = [store.mask(item) for item in items]
    learnt = None
    if any(mask is not None for mask in masks):
        learnt = torch.stack([torch.ones(clean.shape[1]) if mask is None else mask for mask in masks])
    return Inputs(
        bucket=store.data.buckets[items[0].example],
        clean=clean,
        noise=torch.stack([noise(item.draw, *clean.shape[1:]) for item in items]),
        times=torch.tensor(list(at)),
        shares=torch.tensor(list(shares)),
        learnt=learnt,
        prior=torch.tensor([store.data.examples[item.example].prior for item in items]),
        told=tuple(_told(store, item) for item in items),
    )


def _told(store: Store, item: Item) -> Told:
    """The caption and the boxes of a sample. One that is told nothing is told nothing of its boxes either."""
    boxes = store.boxes(item)
    nothing = not item.caption and bool(store.data.examples[item.example].captions)
    texts = [item.caption, *("" if nothing else box.label for box in boxes)]
    read: list[Any] = [store.prompt(text) for text in texts]
    return Told(
        torch.stack([features for features, _ in read]),
        torch.stack([words for _, words in read]),
        tuple(box.edges for box in boxes),
        nothing,
    )
