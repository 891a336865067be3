"""A whole transformer on multi-scene plans, dense against structural: `python -m benchmarks.scenes`, or `make bench`.

The embedded checkpoint's transformer predicts one step of 3, 6 and 12 scenes, three ways, interleaved in one run:

- dense: diffusers' own `Flux2Transformer2DModel` with the plan's N x N additive mask, built once, as `attention_mask`;
- structural: ours, with the plan; the same numbers, as the difference shows;
- by window: the passes that a render takes instead, one scene each with at most two earlier ones given. That is
  Mask2DiT's extension and another result, so its pairs and time are set beside the others and nothing is compared.
"""

from __future__ import annotations

import argparse
import platform

import diffusers
import numpy as np
import torch
from diffusers import Flux2Transformer2DModel
from torch import Tensor

from benchmarks.attention import fastest
from models.checkpoint import describe
from models.mmdit import MMDiT
from models.plan import TokenPlan
from pipelines.scenes import scenes_plan

WINDOW = 3
OPEN_PROMPT = 512  # tokens of a FLUX.2 [klein] prompt; long prompts are where the mask is sparse
Sizes = tuple[int, int, int, int]  # tokens of a prompt, tokens down and across a frame, frames of a scene


def inputs(model: MMDiT, plan: TokenPlan) -> tuple[Tensor, Tensor, Tensor]:
    """Picture tokens, context and a time for one evaluation."""
    draw = torch.Generator().manual_seed(1)
    picture = torch.randn(1, plan.tokens - plan.context_tokens, model.config.in_channels, generator=draw)
    context = torch.randn(1, plan.context_tokens, model.config.joint_attention_dim, generator=draw)
    return picture.to(model.device, model.dtype), context.to(model.device, model.dtype), torch.tensor([0.5]).to(picture)


def mask_of(plan: TokenPlan) -> Tensor:
    """[1, 1, N, N] the plan as an additive mask in request order."""
    seen = torch.from_numpy(plan.visibility[np.ix_(plan.classes, plan.classes)])
    return torch.zeros(1, 1, plan.tokens, plan.tokens).masked_fill(~seen, -torch.inf)


@torch.no_grad()
def measure(ours: MMDiT, stock: Flux2Transformer2DModel, sizes: Sizes, scenes: int, rounds: int) -> None:
    """Print the row of `scenes` scenes."""
    prompt, h, w, frames = sizes
    plan = scenes_plan(prompt, h, w, (frames,) * scenes)
    given = [tuple(i < n - 1 for i in range(n)) for n in (min(k + 1, WINDOW) for k in range(scenes))]
    passes = [scenes_plan(prompt, h, w, (frames,) * len(each), each) for each in given]
    picture, context, time = inputs(ours, plan)
    cuts = [inputs(ours, each) for each in passes]
    ids = torch.from_numpy(plan.positions).to(ours.device)
    mask = mask_of(plan).to(picture)

    def dense() -> Tensor:
        return stock(
            picture,
            context,
            time,
            img_ids=ids[plan.context_tokens :],
            txt_ids=ids[: plan.context_tokens],
            joint_attention_kwargs={"attention_mask": mask},
        ).sample

    def structural() -> Tensor:
        return ours(picture, context, time, plan=plan).sample

    def by_window() -> Tensor:
        return torch.cat([ours(*cut, plan=each).sample for cut, each in zip(cuts, passes, strict=True)], 1)

    gap = float((dense().float() - structural().float()).abs().max())
    times = fastest({"dense": dense, "structural": structural, "by window": by_window}, rounds)
    print(
        f"{scenes:>2} scenes, prompts of {prompt:>3}: {plan.tokens:>5} tokens,"
        f" pairs: dense {plan.tokens**2:>11,}, structural {plan.pairs:>11,} ({plan.density:.1%}),"
        f" by window {sum(each.pairs for each in passes):>11,}; dense {times['dense']:7.0f} ms,"
        f" structural {times['structural']:7.0f} ms, {times['dense'] / times['structural']:.2f}x faster"
        f" (differ by {gap:.0e}); by window {times['by window']:7.0f} ms"
    )


def main() -> None:
    """Print versions and shapes, then a row for each number of scenes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", type=int, default=64, help="pixels of a square frame (default: 64)")
    parser.add_argument("--frames", type=int, default=12, help="frames of a scene (default: 12)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.float32 if device == "cpu" else torch.bfloat16  # what a render takes
    checkpoint = describe("papercut")
    ours, stock = (
        kind.from_pretrained(checkpoint.folder, subfolder="transformer", torch_dtype=dtype).to(device).eval()
        for kind in (MMDiT, Flux2Transformer2DModel)
    )
    h = w = options.side // checkpoint.scale
    config = checkpoint.transformer
    print(
        f"torch {torch.__version__}, diffusers {diffusers.__version__}, Python {platform.python_version()}, {device},"
        f" {str(dtype).removeprefix('torch.')}, {options.threads} threads; scenes of {options.frames} frames of"
        f" {options.side} x {options.side} pixels ({h * w} tokens each);"
        f" {config['num_layers']} + {config['num_single_layers']} blocks, {config['num_attention_heads']} heads of"
        f" {config['attention_head_dim']}, batch 1, forward, minimum of {options.rounds} interleaved rounds"
    )
    for prompt in (checkpoint.prompt_tokens, OPEN_PROMPT):
        for scenes in (3, 6, 12):
            measure(ours.use_plans(), stock, (prompt, h, w, options.frames), scenes, options.rounds)


if __name__ == "__main__":
    main()
