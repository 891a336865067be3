"""The order of a run: which examples make which step, what each is told, and where a run stands in it.

Everything here is a pure function of (seed, step): no generator is carried along, so neither the number of processes
nor that of loader workers nor a stop in the middle can move anything. Each example is shown exactly its repeats in an
epoch; the last batch of a bucket may be small.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Literal

from .buckets import Bucket


@dataclass(frozen=True)
class Placed:
    """What the order has to know of an example; see `Example` for the fields."""

    name: str
    bucket: Bucket
    captions: tuple[str, ...] = ()
    weight: float = 1.0
    repeats: float = 1.0


@dataclass(frozen=True)
class Item:
    """A sample of a batch.

    Attributes:
        example: its number in the index.
        caption: what it is told; "" where nothing.
        weight: how much its loss counts; 0 fills a process's share up and must count nothing.
        draw: a whole number of 63 bits of its own, for noise and whatever else chance decides for this sample.
        crop: which cut of the example, from 0, the middle.
    """

    example: int
    caption: str
    weight: float
    draw: int
    crop: int = 0


@dataclass(frozen=True)
class Cursor:
    """Where a run stands: the next batch is number `position` of `epoch`, of the data that `fingerprint` tells."""

    epoch: int
    position: int
    fingerprint: str

    def to_json(self) -> dict[str, Any]:
        """Plain values for a checkpoint's note."""
        return {"epoch": self.epoch, "position": self.position, "fingerprint": self.fingerprint}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Cursor:
        """What `to_json` made."""
        return cls(int(value["epoch"]), int(value["position"]), str(value["fingerprint"]))


@dataclass(frozen=True)
class Batch:
    """One step of all processes together: samples of one bucket, and the place of the batch."""

    bucket: Bucket
    items: tuple[Item, ...]
    cursor: Cursor

    def share(self, rank: int, ranks: int) -> Batch:
        """What one process of `ranks` takes: every so many of the samples.

        All get the same number. Where they do not go round, some get one again with weight 0, so that no process
        waits for another and no sample counts twice.
        """
        if not 0 <= rank < ranks:
            raise ValueError(f"expected a rank from 0 to {ranks - 1}, got {rank}")
        most = -(-len(self.items) // ranks)
        own = self.items[rank::ranks]
        filler = replace(self.items[rank % len(self.items)], weight=0.0)
        return replace(self, items=own + (filler,) * (most - len(own)))


class Order:
    """The batches of all epochs.

    Args:
        placed: all examples, in the index's order; what order that is changes nothing.
        batch: samples a step of one frame; a clip of n frames counts n times, so that steps cost about the same.
        seed: of everything.
        drop: share of the samples that are told nothing.
        choice: which of several captions is told.
        crops: how many cuts of an example there are; a sample gets one of them.

    Raises:
        ValueError: no examples.
    """

    def __init__(
        self,
        placed: Sequence[Placed],
        batch: int,
        seed: int,
        drop: float = 0.1,
        choice: Literal["random", "first", "cycle"] = "random",
        crops: int = 1,
    ) -> None:
        if not placed:
            raise ValueError("expected examples to put in order, got none")
        self.placed, self.batch, self.seed, self.drop, self.choice = tuple(placed), batch, seed, drop, choice
        self.crops = crops
        self.fingerprint = self._fingerprint()
        self.ends: list[int] = []  # steps at which epochs that were looked at so far are over
        self._drawn: tuple[int, tuple[Batch, ...]] = (-1, ())

    def at(self, step: int) -> Batch:
        """The batch of a step, from 0."""
        while not self.ends or self.ends[-1] <= step:
            self.ends.append((self.ends[-1] if self.ends else 0) + self.length(len(self.ends)))
        epoch = bisect_right(self.ends, step)
        return self._epoch(epoch)[step - (self.ends[epoch - 1] if epoch else 0)]

    def cursor(self, step: int) -> Cursor:
        """Where a run stands before a step; `at(step)` and `after(cursor(step))` go on alike."""
        return self.at(step).cursor

    def after(self, cursor: Cursor) -> Iterator[Batch]:
        """The batches from a cursor on, for ever.

        Raises:
            ValueError: the cursor is of other data, another batch or another seed.
        """
        if cursor.fingerprint != self.fingerprint:
            raise ValueError(
                "expected the data, batch and seed that the checkpoint was made with, got others; "
                "put them back, or begin a run in another folder"
            )
        epoch, position = cursor.epoch, cursor.position
        while True:
            yield from self._epoch(epoch)[position:]
            epoch, position = epoch + 1, 0

    def length(self, epoch: int) -> int:
        """Steps of an epoch; 0 is possible where all repeats are below 1."""
        counts: dict[Bucket, int] = {}
        for each in self.placed:
            counts[each.bucket] = counts.get(each.bucket, 0) + self.copies(each, epoch)
        return sum(-(-count // self.size(bucket)) for bucket, count in counts.items())

    def size(self, bucket: Bucket) -> int:
        """Samples in a full batch of a bucket."""
        return max(1, round(self.batch / bucket.frames))

    def copies(self, placed: Placed, epoch: int) -> int:
        """How often an example is in an epoch. Repeats of 2.5 are 2 and 3 in turn, of 0.25 every fourth epoch."""
        repeats = max(Fraction(1, 1000), Fraction(placed.repeats).limit_denominator(1000))
        if repeats.denominator == 1:
            return int(repeats)
        phase = Fraction(self._hash("phase", placed.name) % 1000, 1000)
        return int((epoch + 1) * repeats + phase) - int(epoch * repeats + phase)

    def _epoch(self, epoch: int) -> tuple[Batch, ...]:
        """The batches of an epoch; the last one that was asked for is kept."""
        if self._drawn[0] != epoch:
            self._drawn = (epoch, self._draw(epoch))
        return self._drawn[1]

    def _draw(self, epoch: int) -> tuple[Batch, ...]:
        by_bucket: dict[Bucket, list[tuple[int, Item]]] = {}
        for number, placed in enumerate(self.placed):
            for copy in range(self.copies(placed, epoch)):
                place = self._hash("order", epoch, placed.name, copy)
                by_bucket.setdefault(placed.bucket, []).append((place, self._item(number, placed, epoch, copy)))
        cut = []
        for bucket, items in by_bucket.items():
            items.sort(key=lambda each: each[0])
            size = self.size(bucket)
            for start in range(0, len(items), size):
                chosen = items[start : start + size]
                cut.append((self._hash("batch", epoch, chosen[0][0]), bucket, tuple(item for _, item in chosen)))
        cut.sort(key=lambda each: each[0])
        return tuple(
            Batch(bucket, items, Cursor(epoch, position, self.fingerprint))
            for position, (_, bucket, items) in enumerate(cut)
        )

    def _item(self, number: int, placed: Placed, epoch: int, copy: int) -> Item:
        told = ""
        if placed.captions and self._hash("drop", epoch, placed.name, copy) / 2**63 >= self.drop:
            count = len(placed.captions)
            turn = {
                "first": 0,
                "cycle": (epoch + copy + self._hash("turn", placed.name)) % count,
                "random": self._hash("caption", epoch, placed.name, copy) % count,
            }
            told = placed.captions[turn[self.choice]]
        crop = self._hash("crop", epoch, placed.name, copy) % self.crops
        return Item(number, told, placed.weight, self._hash("draw", epoch, placed.name, copy), crop)

    def _hash(self, *parts: object) -> int:
        """63 bits that depend on the seed and on `parts`, the same on every machine."""
        text = json.dumps([self.seed, *parts], ensure_ascii=True)
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1

    def _fingerprint(self) -> str:
        rows = sorted(
            [each.name, [each.bucket.h, each.bucket.w, each.bucket.frames], each.captions, each.weight, each.repeats]
            for each in self.placed
        )
        value = [rows, self.batch, self.seed, self.drop, self.choice, *([self.crops] if self.crops > 1 else [])]
        return hashlib.sha256(json.dumps(value, ensure_ascii=True).encode()).hexdigest()[:16]
