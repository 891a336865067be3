"""What a run costs before a model is loaded: steps, tokens, arithmetic, memory and disk, from configuration files.

Like `pipelines/estimate.py`: memory is a bound that nothing stays under, and time is told for the machine's processors
only, from the speed of a matrix product.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.measure import machine_memory

from .buckets import Bucket
from .order import Order

if TYPE_CHECKING:
    from models.checkpoint import Description

BACKWARD = 3  # a step's arithmetic: forward, and twice as much backward
STATES = 4  # numbers a trained weight has: itself, its gradient and AdamW's two
HALF, FULL = 2, 4  # bytes
GIB = 2**30


@dataclass(frozen=True)
class Costs:
    """What a run will take.

    Attributes:
        samples: in the run's steps together.
        steps_an_epoch: of the first epoch.
        epochs: that the run's steps are.
        tokens: of the largest step, prompts included.
        flops: of all steps together.
        seconds: at least, on this machine's processors; None where a GPU trains.
        memory_all: bytes at least where every weight of the transformer is trained.
        memory_adapter: bytes at least where it is frozen.
        machine: bytes that this machine has; None where a GPU trains.
        latents: bytes of the caches.
        free: bytes that are free where they go.
    """

    samples: int
    steps_an_epoch: int
    epochs: float
    tokens: int
    flops: float
    seconds: float | None
    memory_all: int
    memory_adapter: int
    machine: int | None
    latents: int
    free: int

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def costs(
    description: Description,
    order: Order,
    steps: int,
    captions: Sequence[str],
    cache: Path,
    flops_a_second: float,
    accumulate: int = 1,
) -> Costs:
    """The costs of `steps` steps.

    Args:
        description: the checkpoint to go on from.
        order: the batches.
        steps: of the run.
        captions: all of them, each of which is encoded once.
        cache: where latents and encodings go.
        flops_a_second: of this machine's processors, see `speed`.
        accumulate: batches of a step.
    """
    from pipelines.text import text_plan

    config, width = description.transformer, description.width
    blocks = config["num_layers"], config["num_single_layers"]
    in_bucket: dict[Bucket, float] = {}
    for placed in order.placed:
        in_bucket[placed.bucket] = in_bucket.get(placed.bucket, 0.0) + placed.repeats
    samples_an_epoch = sum(in_bucket.values())
    flops, most = 0.0, 0
    for bucket, count in in_bucket.items():
        plan = text_plan(description.prompt_tokens, bucket.h, bucket.w, bucket.frames)
        once = plan.flops(width=width, double=blocks[0], single=blocks[1], mlp_ratio=config["mlp_ratio"])
        flops += BACKWARD * once * count
        most = max(most, plan.tokens * min(order.size(bucket), max(1, round(count))))
    mean_batches = sum(count / order.size(bucket) for bucket, count in in_bucket.items())
    batches = max(1, order.length(0))
    epochs = steps * accumulate / max(mean_batches, batches)
    numbers = (1 + 3 + 2 * float(config["mlp_ratio"])) * width  # of each token and block, see `least_memory`
    activations = int(most * numbers * sum(blocks) * FULL)
    weights = parameters(description.folder / "transformer")
    channels = int(config.get("in_channels", 64))
    kept = sum(bucket.tokens for bucket in (placed.bucket for placed in order.placed)) * channels * FULL * order.crops
    features = int(config.get("joint_attention_dim", 0)) * description.prompt_tokens * HALF
    machine = machine_memory()
    return Costs(
        samples=round(samples_an_epoch * epochs),
        steps_an_epoch=-(-batches // accumulate),
        epochs=epochs,
        tokens=most,
        flops=flops * epochs,
        seconds=None if machine is None else flops * epochs / flops_a_second,
        memory_all=weights * FULL * STATES + activations,
        memory_adapter=weights * FULL + activations,
        machine=machine,
        latents=kept + features * (len(set(captions)) + 1),
        free=shutil.disk_usage(_there(cache)).free,
    )


def parameters(folder: Path) -> int:
    """Weights in a component's safetensors files, counted in their headers."""
    found = 0
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as stream:
            header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
        found += sum(prod(each["shape"]) for name, each in header.items() if name != "__metadata__")
    return found


def speed() -> float:
    """Arithmetic operations a second of a float32 matrix product on this machine's processors, about."""
    one = np.ones((384, 384), np.float32)
    best = float("inf")
    for _ in range(24):  # the first one wakes the threads, and on a busy machine most are interrupted
        start = time.perf_counter()
        _ = one @ one
        best = min(best, time.perf_counter() - start)
    return 2 * 384**3 / max(best, 1e-9)


def _there(path: Path) -> Path:
    """The nearest folder above that exists."""
    path = path.absolute()
    while not path.is_dir():
        path = path.parent
    return path
