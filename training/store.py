"""A file of clean tokens, so that what a run trains on is rendered and encoded once."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .papercut import World


class TokenStore:
    """Clean tokens and label maps of a pool of samples in a file, so that each is rendered and encoded once.

    A cache and nothing more: a run without it, or with another machine's, draws the same batches.

    Args:
        path: of the array; made where it is missing.
        shape: [pool, N, C + labels].
    """

    def __init__(self, path: Path, shape: tuple[int, int, int]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:  # several processes may come at once: none may empty what another has begun
            file.truncate(2 * math.prod(shape))
        self.rows = np.memmap(path, np.float16, "r+", shape=shape)

    def get(self, indices: Sequence[int]) -> Tensor | None:
        """[B, N, C + labels] in float32; None when one of them is not there."""
        found = self.rows[list(indices)]
        # Tokens are never all zero; a row is written at once, so its end tells of the whole.
        if not found[:, -1].any(axis=-1).all():
            return None
        return torch.from_numpy(found).float()

    def put(self, indices: Sequence[int], rows: Tensor) -> None:
        """Keep [B, N, C + labels]."""
        self.rows[list(indices)] = rows.cpu().numpy()


def fingerprint(world: World, *more: str) -> str:
    """Short hash of a world, of the code that draws it, and of the files `more`: other scenes are another store."""
    parts = [repr(world).encode()]
    parts += [
        (Path(__file__).parent / f"{name}.py").read_bytes()
        for name in ("papercut", "scene", "motion", "drawing", *more)
    ]
    return hashlib.sha256(b"".join(parts)).hexdigest()[:12]
