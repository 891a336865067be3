"""Dense against structural attention: `python -m benchmarks.attention`, or `make bench`.

Every row compares two ways of computing the same numbers in one run, interleaved, and prints the ratio of the
minimum times. Dense is one `scaled_dot_product_attention` call with the plan's N x N additive mask, built once.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable

import diffusers
import torch
import torch.nn.functional as F
from torch import Tensor

from models.attention import compile_plan, dense_mask, plain, structural_attention
from models.plan import Segment, TokenPlan, grid, words


def scenes(count: int, frames: int, prompt: int, joined: bool = False) -> TokenPlan:
    """`count` scenes of `frames` picture tokens and `prompt` prompt tokens; joined: frames see all frames."""
    names = [str(i) for i in range(count)]
    prompts = tuple(Segment(f"prompt {i}", "prompt", words(prompt), sees_as=f"p{i}") for i in names)
    parts = tuple(Segment(f"scene {i}", "frame", grid(1, 1, frames, t=int(i)), sees_as=f"f{i}") for i in names)
    every = frozenset(f"f{i}" for i in names)
    table = {f"p{i}": frozenset({f"p{i}", f"f{i}"}) for i in names}
    table |= {f"f{i}": frozenset({f"p{i}"}) | (every if joined else {f"f{i}"}) for i in names}
    return TokenPlan((*prompts, *parts), table)


def full(tokens: int) -> TokenPlan:
    """One class: all see all."""
    return TokenPlan((Segment("prompt", "prompt", words(64)), Segment("picture", "picture", grid(1, 1, tokens - 64))))


def fastest(candidates: dict[str, Callable[[], Tensor]], rounds: int) -> dict[str, float]:
    """Milliseconds of each candidate: the minimum over interleaved rounds, after one warm-up."""
    best = dict.fromkeys(candidates, float("inf"))
    for turn in range(rounds + 1):
        for name, run in candidates.items():
            started = time.perf_counter()
            run()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if turn:
                best[name] = min(best[name], 1e3 * (time.perf_counter() - started))
    return best


def measure(
    title: str, plan: TokenPlan, dtype: torch.dtype, device: str, rounds: int, heads: int = 8, width: int = 64
) -> None:
    """Print one row."""
    query, key, value = (
        torch.randn(1, plan.tokens, heads, width, generator=torch.Generator().manual_seed(i)).to(device, dtype)
        for i in range(3)
    )
    program = compile_plan(plan, device)
    structural = lambda: structural_attention(query, key, value, program)  # noqa: E731
    if program.full:
        other, against = "plain", lambda: plain(query, key, value)
    else:
        mask = torch.zeros(plan.tokens, plan.tokens, dtype=dtype).masked_fill(~dense_mask(plan), -torch.inf).to(device)
        q, k, v = (x.transpose(1, 2) for x in (query, key, value))
        other, against = "dense", lambda: F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2)
    gap = float((structural().float() - against().float()).abs().max())
    times = fastest({other: against, "structural": structural}, rounds)
    ratio = times["structural"] / times[other] if program.full else times[other] / times["structural"]
    unit = f"{ratio:.2f}x the plain call" if program.full else f"{ratio:.1f}x faster"
    print(
        f"{title:<34} {str(dtype).removeprefix('torch.'):<9} {plan.tokens:>5} tokens"
        f" {plan.pairs:>11,} of {plan.tokens**2:>11,} pairs"
        f"   {other} {times[other]:8.1f} ms   structural {times['structural']:8.1f} ms   {unit}   (differ by {gap:.0e})"
    )


def main() -> None:
    """Print versions, then a row for each plan and dtype."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    print(
        f"torch {torch.__version__}, diffusers {diffusers.__version__}, Python {platform.python_version()}, {device},"
        f" {options.threads} threads, batch 1, 8 heads of 64, forward, minimum of {options.rounds} interleaved rounds"
    )
    for dtype in (torch.bfloat16, torch.float32):
        measure("6 isolated scenes of 512+64", scenes(6, 512, 64), dtype, device, options.rounds)
        measure("12 isolated scenes of 512+64", scenes(12, 512, 64), dtype, device, options.rounds)
        measure("6 scenes, frames see all frames", scenes(6, 512, 64, joined=True), dtype, device, options.rounds)
        measure("full visibility, 3456 tokens", full(3456), dtype, device, options.rounds)


if __name__ == "__main__":
    main()
