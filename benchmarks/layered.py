"""Layers cut to their boxes against whole canvases: `python -m benchmarks.layered`, or `make bench`.

The embedded checkpoint's transformer, in bfloat16 where the machine is fast in it, predicts one step of a composite, a
background and 5 to 50 layers of a tenth of the canvas each, two ways:

- cropped: the plan of a layered job, tokens only where layers are;
- whole: the same plan with every layer as large as the canvas, which is the sequence of QwenImageLayered.

Tokens and pairs are counted for every number of layers, at 1024 x 1024 pixels too; the largest number is timed, both
ways in turn in one run. Prompts are those of the embedded checkpoint, one for the whole picture.
"""

from __future__ import annotations

import argparse
import platform
import random
from collections.abc import Callable
from functools import partial

import diffusers
import torch
from torch import Tensor

from benchmarks.attention import fastest
from benchmarks.scenes import inputs
from models.checkpoint import describe
from models.mmdit import MMDiT
from models.plan import TokenPlan
from models.precision import fast_bfloat16
from pipelines.layered import TokenBox, layered_plan

COUNTS = (5, 10, 20, 50)
COVERED = 0.1  # of the canvas, by each layer
LARGE = 1024  # pixels; counted and not timed


def boxes_of(count: int, side: int) -> tuple[TokenBox, ...]:
    """`count` square boxes of about a tenth of the canvas, wherever chance lays them."""
    draw, edge = random.Random(12), round(COVERED**0.5 * side)
    corners = [(draw.randint(0, side - edge), draw.randint(0, side - edge)) for _ in range(count)]
    return tuple((y, x, y + edge, x + edge) for y, x in corners)


def plans(prompt: int, side: int, count: int) -> tuple[TokenPlan, TokenPlan]:
    """The cropped plan and the whole one, for `side` tokens a side."""
    cropped, whole = (
        layered_plan(prompt, side, side, boxes, prompted=(False,) * count, placed=False)
        for boxes in (boxes_of(count, side), ((0, 0, side, side),) * count)
    )
    return cropped, whole


def counted(prompt: int, side: int, count: int) -> str:
    """Tokens and pairs of both ways in words."""
    cropped, whole = plans(prompt, side, count)
    area = sum((y1 - y0) * (x1 - x0) for y0, x0, y1, x1 in boxes_of(count, side)) / side**2
    return (
        f"{count:>2} layers over {area:5.2f} canvases: cropped {cropped.tokens:>6,} tokens, {cropped.pairs:>13,} pairs;"
        f" whole {whole.tokens:>7,} tokens, {whole.pairs:>14,} pairs ({whole.pairs / cropped.pairs:.1f}x)"
    )


def predicted(model: MMDiT, picture: Tensor, context: Tensor, time: Tensor, plan: TokenPlan) -> Tensor:
    """What the model says of a plan's tokens."""
    sample: Tensor = model(picture, context, time, plan=plan).sample
    return sample


@torch.no_grad()
def measure(model: MMDiT, prompt: int, side: int, count: int, rounds: int) -> str:
    """Both ways timed, in words."""
    calls: dict[str, Callable[[], Tensor]] = {}
    for name, plan in zip(("cropped", "whole"), plans(prompt, side, count), strict=True):
        picture, context, time = inputs(model, plan)

        calls[name] = partial(predicted, model, picture, context, time, plan)
    times = fastest(calls, rounds)
    return (
        f"{count} layers, one step: cropped {times['cropped'] / 1e3:.2f} s, whole {times['whole'] / 1e3:.2f} s,"
        f" {times['whole'] / times['cropped']:.1f}x faster"
    )


def main() -> None:
    """Print versions and shapes, the counts, and the times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--side", type=int, default=384, help="pixels of the canvas that is timed (default: 384)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.bfloat16 if fast_bfloat16(device) else torch.float32
    arithmetic = str(dtype).removeprefix("torch.")
    checkpoint = describe("papercut")
    model = MMDiT.from_pretrained(checkpoint.folder, subfolder="transformer", torch_dtype=dtype)
    config, prompt = checkpoint.transformer, checkpoint.prompt_tokens
    print(
        f"torch {torch.__version__}, diffusers {diffusers.__version__}, Python {platform.python_version()}, {device},"
        f" {arithmetic}, {options.threads} threads; {config['num_layers']} + {config['num_single_layers']} blocks,"
        f" {config['num_attention_heads']} heads of {config['attention_head_dim']}, batch 1, forward, minimum of"
        f" {options.rounds} rounds after a warm-up; layers of {round(COVERED * 100)} % of the canvas"
    )
    for pixels in dict.fromkeys((options.side, LARGE)):
        print(f"{pixels} x {pixels} pixels, {pixels // checkpoint.scale} tokens a side, prompt of {prompt}:")
        for count in COUNTS:
            print(f"  {counted(prompt, pixels // checkpoint.scale, count)}")
    model = model.use_plans().to(device).eval()
    timed = measure(model, prompt, options.side // checkpoint.scale, COUNTS[-1], options.rounds)
    print(f"{options.side} x {options.side} pixels, {timed}")


if __name__ == "__main__":
    main()
