"""In which arithmetic a machine is fast: bfloat16 is a gift where it is built in, and a trap where it is emulated."""

from __future__ import annotations

import platform
from functools import cache

import torch


def autocast(device: torch.device, half: bool | None = None) -> torch.autocast:
    """Torch's mixed precision on `device`.

    Args:
        device: where the arithmetic is done.
        half: whether in bfloat16; None for where the machine is fast in it.
    """
    return torch.autocast(device.type, torch.bfloat16, enabled=fast_bfloat16(device.type) if half is None else half)


@cache
def fast_bfloat16(kind: str) -> bool:
    """Whether devices of a `kind` (cpu, cuda, mps) have instructions for matrix products in bfloat16.

    Without them torch is right and very slow: on two cores with AVX2 alone a training pass had a 19th of the speed of
    float32, and a single product less than a hundredth (benchmarks/precision.py). What a processor says of itself
    decides and not a measurement, so that a run that goes on takes the arithmetic that it had.
    """
    if kind == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if kind != "cpu":
        return True
    if platform.machine().lower() in ("x86_64", "amd64", "i686"):
        return torch.cpu._is_avx512_bf16_supported()  # processors with AMX have it too
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
