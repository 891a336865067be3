"""Chance as pure functions: what a sample's noise and time are depends on seed, step and sample alone.

No generator is carried along, so that a run which was stopped, or has other processes, draws the same. Seeds are
hashed, and numpy's Philox takes all of their bits: torch's CPU generator keeps 32 of them, so that seeds which were
packed by shifting would meet.
Shape letters: N tokens, C numbers in a token.
"""

from __future__ import annotations

import hashlib
import json
from statistics import NormalDist

import numpy as np
import torch
from torch import Tensor


def seed_of(*parts: int | str) -> int:
    """63 bits that depend on all parts, the same on every machine."""
    return int.from_bytes(hashlib.blake2b(json.dumps(parts).encode(), digest_size=8).digest(), "big") >> 1


def noise(draw: int, tokens: int, channels: int) -> Tensor:
    """[N, C] standard normal numbers of a sample's own number, see `Item.draw`."""
    generator = np.random.Generator(np.random.Philox(key=seed_of("noise", draw)))
    return torch.from_numpy(generator.standard_normal((tokens, channels), np.float32))


def times(seed: int, step: int, count: int, mean: float, std: float) -> list[float]:
    """Times in 0..1 of a step's `count` samples, logit-normal and stratified: each takes its own part of the quantiles.

    Args:
        seed: of the run.
        step: from 0.
        count: samples of the step, of all its batches and processes.
        mean: of the logit.
        std: of the logit.
    """
    generator = np.random.Generator(np.random.Philox(key=seed_of("times", seed, step)))
    quantiles = (generator.permutation(count) + generator.random(count)) / count
    logits = [mean + std * NormalDist().inv_cdf(min(max(float(q), 1e-6), 1 - 1e-6)) for q in quantiles]
    return [float(1 / (1 + np.exp(-logit))) for logit in logits]
