"""Chance that is a pure function of a seed and a step."""

from __future__ import annotations

import hashlib

import torch


def generator(seed: int, step: int, use: str = "") -> torch.Generator:
    """A CPU generator of a step of a run, another one for each `use`.

    Torch's CPU generator takes 32 bits of its seed and drops the rest without a word, so the three are hashed to 32.
    """
    digest = hashlib.sha256(f"{seed} {step} {use}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:4], "big"))
