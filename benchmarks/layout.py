"""A whole transformer on layout plans, dense against structural: `python -m benchmarks.layout`, or `make bench`.

The embedded checkpoint's transformer predicts one step of a picture of 1024 x 1024 pixels with 12 boxes, two ways,
interleaved in one run:

- dense: diffusers' own `Flux2Transformer2DModel` with the plan's N x N additive mask, built once, as `attention_mask`;
- structural: ours, with the plan; the same numbers, as the difference shows.

Prompts are as long as the embedded checkpoint's, and as long as FLUX.2 [klein]'s. Peaks are what the process holds at
most during a call, the mask among it.
"""

from __future__ import annotations

import argparse
import platform
import random

import diffusers
import torch
from diffusers import Flux2Transformer2DModel
from torch import Tensor

from benchmarks.attention import fastest
from benchmarks.scenes import OPEN_PROMPT, inputs, mask_of
from models.checkpoint import describe
from models.mmdit import MMDiT
from models.precision import fast_bfloat16
from pipelines.layout import TokenBox, layout_plan
from pipelines.measure import PeakMemory


def boxes_of(count: int, side: int) -> tuple[TokenBox, ...]:
    """`count` boxes of a sixth to a third of the side, wherever chance lays them; some overlap."""
    draw, found = random.Random(12), []
    for _ in range(count):
        tall, wide = (draw.randint(side // 6, side // 3) for _ in range(2))
        y, x = draw.randint(0, side - tall), draw.randint(0, side - wide)
        found.append((y, x, y + tall, x + wide))
    return tuple(found)


@torch.no_grad()
def measure(ours: MMDiT, stock: Flux2Transformer2DModel, prompt: int, side: int, count: int, rounds: int) -> None:
    """Print the row of prompts of `prompt` tokens, with `side` picture tokens a side and `count` boxes."""
    plan = layout_plan(prompt, side, side, boxes_of(count, side), placed=True, regional=True)
    picture, context, time = inputs(ours, plan)
    ids = torch.from_numpy(plan.positions).to(ours.device)
    mask: list[Tensor] = []

    def dense() -> Tensor:
        if not mask:
            mask.append(mask_of(plan).to(picture))
        return stock(
            picture,
            context,
            time,
            img_ids=ids[plan.context_tokens :],
            txt_ids=ids[: plan.context_tokens],
            joint_attention_kwargs={"attention_mask": mask[0]},
        ).sample

    def structural() -> Tensor:
        return ours(picture, context, time, plan=plan).sample

    with PeakMemory(ours.device) as ours_peak:
        found = structural()
    dense()  # the mask is made here, and stays
    with PeakMemory(ours.device) as their_peak:
        gap = float((dense().float() - found.float()).abs().max())
    times = fastest({"dense": dense, "structural": structural}, rounds)
    print(
        f"{count} boxes, prompts of {prompt:>3}: {plan.tokens:>6} tokens in {len(plan.class_names)} classes,"
        f" pairs: dense {plan.tokens**2:>11,}, structural {plan.pairs:>11,} ({plan.density:.1%});"
        f" dense {times['dense']:7.0f} ms, structural {times['structural']:7.0f} ms,"
        f" {times['dense'] / times['structural']:.2f}x faster (differ by {gap:.0e});"
        f" peak {their_peak.bytes / 2**20:,.0f} and {ours_peak.bytes / 2**20:,.0f} MiB"
    )


def main() -> None:
    """Print versions and shapes, then a row for each length of prompts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", type=int, default=1024, help="pixels of the square picture (default: 1024)")
    parser.add_argument("--boxes", type=int, default=12)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.bfloat16 if fast_bfloat16(device) else torch.float32
    arithmetic = str(dtype).removeprefix("torch.")
    checkpoint = describe("papercut")
    ours, stock = (
        kind.from_pretrained(checkpoint.folder, subfolder="transformer", torch_dtype=dtype).to(device).eval()
        for kind in (MMDiT, Flux2Transformer2DModel)
    )
    side = options.side // checkpoint.scale
    config = checkpoint.transformer
    print(
        f"torch {torch.__version__}, diffusers {diffusers.__version__}, Python {platform.python_version()}, {device},"
        f" {arithmetic}, {options.threads} threads; {options.side} x {options.side} pixels ({side * side} tokens);"
        f" {config['num_layers']} + {config['num_single_layers']} blocks, {config['num_attention_heads']} heads of"
        f" {config['attention_head_dim']}, batch 1, forward, minimum of {options.rounds} interleaved rounds"
    )
    for prompt in (checkpoint.prompt_tokens, OPEN_PROMPT):
        measure(ours.use_plans(), stock, prompt, side, options.boxes, options.rounds)


if __name__ == "__main__":
    main()
