"""bfloat16 against float32 on this machine: `python -m benchmarks.precision`.

A matrix product, and the forward and backward pass of the embedded transformer as `diorama train` makes it, in turns.
What `precision: auto` takes here is printed beside them, which should be the faster one.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable

import torch

from models.attention import materialised
from models.checkpoint import describe, load
from models.precision import autocast, fast_bfloat16
from pipelines.text import text_plan

SIDE = 8  # tokens of a picture, down and across
KINDS = {"float32": False, "bfloat16": True}


def product(device: torch.device, half: bool) -> Callable[[], object]:
    """A product of 512 x 512 matrices."""
    one = torch.randn(512, 512, device=device, dtype=torch.bfloat16 if half else torch.float32)
    return lambda: one @ one


def training(device: torch.device, half: bool, batch: int) -> Callable[[], object]:
    """Gradients of all weights of the embedded transformer, for a batch of pictures."""
    checkpoint = load(describe("papercut"), device, torch.float32)
    model, length = checkpoint.transformer, checkpoint.prompts.length
    model.requires_grad_(True).use_plans(materialised)
    plan = text_plan(length, SIDE, SIDE)
    tokens = torch.randn(batch, SIDE * SIDE, model.config.in_channels, device=device)
    context = torch.randn(batch, length, model.config.joint_attention_dim, device=device)
    times = torch.rand(batch, device=device)

    def step() -> None:
        with autocast(device, half):
            loss = model(tokens, context, times, plan=plan).sample.float().square().mean()
        loss.backward()
        model.zero_grad()

    return step


def seconds(work: Callable[[], object], device: torch.device, least: float) -> float:
    """How long it takes once, of as many as fit into `least` seconds."""
    count, began = 0, time.monotonic()
    while count == 0 or time.monotonic() - began < least:
        work()
        count += 1
        if device.type == "cuda":
            torch.cuda.synchronize()
    return (time.monotonic() - began) / count


def main() -> None:
    """Time both in turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each in a turn, at least")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    print(
        f"torch {torch.__version__}, Python {platform.python_version()}, {device.type}, {options.threads} threads; "
        f"precision: auto takes {'bfloat16' if fast_bfloat16(device.type) else 'float32'}"
    )
    works = {
        "a product of 512 x 512": {name: product(device, half) for name, half in KINDS.items()},
        f"a training pass of {options.batch} pictures": {
            name: training(device, half, options.batch) for name, half in KINDS.items()
        },
    }
    for what, both in works.items():
        found: dict[str, list[float]] = {name: [] for name in both}
        for turn in range(options.turns + 1):
            for name, work in both.items():
                took = seconds(work, device, options.seconds if turn else 0)
                if turn:  # the first one warms up
                    found[name].append(took)
        ratio = statistics.median(x / y for x, y in zip(found["float32"], found["bfloat16"], strict=True))
        told = ", ".join(f"{name} {1e3 * statistics.median(each):.2f} ms" for name, each in found.items())
        print(f"{what}: {told}; bfloat16 has {ratio:.3g} times the speed of float32 in the median of turns")


if __name__ == "__main__":
    main()
