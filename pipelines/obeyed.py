"""How well each box of a layout was obeyed, judged by the model itself: no parser, any checkpoint.

After diffusion classifiers (2303.16203): the finished tokens are noised again, and what explains them is what the model
predicts them better with. A box's prompt is compared with no prompt, and with the prompt of another box. The global
prompt is left out of all of it: where it says what the boxes say, it would explain them first.
Shape suffixes: B jobs, K boxes, N picture tokens, C numbers in a token, L tokens of a prompt, X width of its features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from models.plan import TokenPlan
from pipelines.job import MAX_SEED

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from models.mmdit import MMDiT

LEVELS = (0.3, 0.5, 0.7, 0.85)  # of noise: below, a picture explains itself; above, little of it is left

TokenBox = tuple[int, int, int, int]


def evaluations(prompts: Sequence[str]) -> int:
    """How often the model is evaluated to judge boxes with these prompts."""
    return len(LEVELS) * (3 if any(rival is not None for rival in rivals(prompts)) else 2)


def rivals(prompts: Sequence[str]) -> list[int | None]:
    """For each box the next one, round and round, whose prompt is another; None where all prompts are the same."""
    count = len(prompts)
    return [
        next((i % count for i in range(k + 1, k + count) if prompts[i % count] != prompt), None)
        for k, prompt in enumerate(prompts)
    ]


def judged_tokens(boxes: Sequence[TokenBox], height: int, width: int) -> NDArray[np.bool_]:
    """[K, N] the tokens by which each box is judged: those that no later box covers, or all if none is left.

    Later boxes lie on top, so what stands in an overlap is theirs.
    """
    inside = np.zeros((len(boxes), height, width), bool)
    for k, (y0, x0, y1, x1) in enumerate(boxes):
        inside[k, y0:y1, x0:x1] = True
    above = np.zeros((height, width), bool)
    found = np.zeros_like(inside)
    for k in reversed(range(len(boxes))):
        free = inside[k] & ~above
        found[k] = free if free.any() else inside[k]
        above |= inside[k]
    return found.reshape(len(boxes), -1)


def judge(
    model: MMDiT,
    plan: TokenPlan,
    tokens: Tensor,
    seeds: Sequence[int],
    prompts: Sequence[Sequence[str]],
    read: Callable[[Sequence[Sequence[str]]], Tensor],
    boxes: Sequence[TokenBox],
    goes_on: Callable[[], bool],
) -> list[list[dict[str, Any]]]:
    """For each job and each of its boxes `obeyed`, `rival` and `beats_rival`.

    `obeyed` is 1 - (error with the boxes' prompts) / (error with none), between -1 and 1: the share of what the model
    could not foresee in the box without any prompt that the box's prompt tells it. 0 is no better than no prompt.
    `beats_rival` tells whether the box's own prompt explains it better than `rival`, the prompt of another box; both
    are None where no box has another prompt.

    Args:
        model: predicts velocities.
        plan: `layout_plan` with prompts for boxes.
        tokens: [B, N, C] the finished picture.
        seeds: of the jobs; the noise is drawn from them, and the same for all that is compared.
        prompts: for each job those of its boxes.
        read: gives [B, (1 + K) * L, X] of rows of texts, a global prompt and then one for each box.
        boxes: in tokens, the same for all jobs.
        goes_on: asked after each level of noise; False cancels.

    Raises:
        Cancelled: `goes_on` said so.
    """
    import torch

    from pipelines.sampler import Cancelled, draw_noise

    _, height, width, _ = (plan.positions[plan.context_tokens :].max(0) + 1).tolist()
    others = [rivals(each) for each in prompts]
    asked = [[["", *each] for each in prompts], [[""] * (1 + len(each)) for each in prompts]]
    if any(rival is not None for found in others for rival in found):
        asked.append([
            ["", *(prompt if i is None else each[i] for prompt, i in zip(each, found, strict=True))]
            for each, found in zip(prompts, others, strict=True)
        ])  # fmt: skip
    contexts = [read(each).to(model.device, model.dtype) for each in asked]
    shares = torch.from_numpy(judged_tokens(boxes, height, width)).to(model.device, torch.float32)
    shares = shares / shares.sum(1, keepdim=True)
    errors = torch.zeros(len(asked), len(prompts), len(boxes), device=model.device)
    clean = tokens.to(model.device, torch.float32)
    with torch.no_grad():
        for number, level in enumerate(LEVELS, 1):
            # Not the noise that the picture was made from: the model would be asked for its own way back.
            fresh = [(seed + number) % (MAX_SEED + 1) for seed in seeds]
            noise = draw_noise(fresh, clean.shape[2], height, width).to(clean)
            noisy = torch.lerp(clean, noise, level).to(model.dtype)
            time = torch.full((len(clean),), level, device=model.device, dtype=model.dtype)
            for which, context in enumerate(contexts):
                velocity = model(noisy, context, time, plan=plan).sample.float()
                error = (velocity - (noise - clean)).square().mean(-1)  # [B, N]
                errors[which] += error @ shares.T
            if not goes_on():
                raise Cancelled
    told, silent = errors[0].cpu(), errors[1].cpu()
    obeyed = (1 - told / silent.clamp(min=1e-12)).clamp(-1, 1)
    return [
        [
            {
                "obeyed": round(float(obeyed[b, k]), 3),
                "rival": None if rival is None else each[rival],
                "beats_rival": None if rival is None else bool(told[b, k] < errors[2, b, k]),
            }
            for k, rival in enumerate(others[b])
        ]
        for b, each in enumerate(prompts)
    ]
