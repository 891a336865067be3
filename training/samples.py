"""Batches for the transformer: scenes as pictures, captions, times, noise and label maps; pure functions of the step.

Nothing here knows the model, so that other processes can draw batches ahead.
Shape suffixes: B samples, N picture tokens, L prompt tokens, C numbers in a token.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .config import FlowConfig
from .papercut import Scene, World, render

HOME = (8, 8)  # tokens down and across: 128x128 pixels
# Those of the sizes that training mixes in.
SIZES = ((4, 4), (6, 6), (10, 10), (12, 12), (8, 12), (12, 8), (6, 10), (10, 6), (4, 8), (8, 4), (4, 12), (12, 4))


class TokenStore:
    """Clean tokens of a pool of scenes in a file, so that each is rendered and encoded once.

    A cache and nothing more: a run without it, or with another machine's, draws the same batches.

    Args:
        path: of the array; made where it is missing.
        shape: [pool, N, C].
    """

    def __init__(self, path: Path, shape: tuple[int, int, int]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.tokens = np.memmap(path, np.float16, "r+" if path.exists() else "w+", shape=shape)

    def get(self, indices: Sequence[int]) -> Tensor | None:
        """[B, N, C] in float32; None when one of them is not there."""
        found = self.tokens[list(indices)]
        # Tokens are never all zero; a row is written at once, so its end tells of the whole.
        if not found[:, -1].any(axis=-1).all():
            return None
        return torch.from_numpy(found).float()

    def put(self, indices: Sequence[int], tokens: Tensor) -> None:
        """Keep [B, N, C]."""
        self.tokens[list(indices)] = tokens.cpu().numpy()


class Samples:
    """`samples(step)` is a batch.

    Args:
        config: sizes, caption and time distributions.
        world: where scenes come from.
        tokenize: captions to token ids and attention mask, [B, L] both.
        channels: C.
        store: clean tokens that an earlier epoch encoded, for runs with a `pool`.
    """

    def __init__(
        self,
        config: FlowConfig,
        world: World,
        tokenize: Callable[[Sequence[str]], tuple[Tensor, Tensor]],
        channels: int,
        store: TokenStore | None = None,
    ) -> None:
        self.config, self.world, self.tokenize, self.channels, self.store = config, world, tokenize, channels, store
        self.names = (*world.colours, *world.shapes)

    def __call__(self, step: int) -> dict[str, Tensor]:
        """One batch; larger pictures come in smaller batches.

        Returns:
            picture [B, 3, H, W] in uint8, or clean [B, N, C] where the store has all of them; times [B],
            noise [B, N, C], ids and mask [B, L]; for pools index [B]; and while the label loss is on,
            labels [B, N, colours + shapes].
        """
        h, w = self.size(step)
        count = max(1, round(self.config.loop.batch * 88 / (h * w + 24)))
        short = min(h, w)
        indices = self.indices(step, count)
        scenes = [self.world.scene(index, (w / short, h / short)) for index in indices]
        generator = torch.Generator().manual_seed((self.world.seed << 40) + step)
        ids, mask = self.tokenize(self.captions(scenes, step))
        kept = self.store.get(indices) if self.store and (h, w) == HOME else None
        batch = {
            **({"clean": kept} if kept is not None else {"picture": self.pictures(scenes, h, w)}),
            "index": torch.tensor(indices),
            "times": self.times(count, generator),
            "noise": torch.randn((count, h * w, self.channels), generator=generator),
            "ids": ids,
            "mask": mask,
        }
        # Alignment helps early and binds late (HASTE, 2505.16792), so it is switched off.
        if step < self.config.labels_until * self.config.loop.steps:
            batch["labels"] = self.label_map(scenes, h, w)
        return batch

    def indices(self, step: int, count: int) -> list[int]:
        """Which scenes a step draws: new ones for ever, or those of the pool, epoch by epoch."""
        if not self.config.pool:
            return [step * 2 * self.config.loop.batch + i for i in range(count)]
        return [(step * self.config.loop.batch + i) % self.config.pool for i in range(count)]

    def pictures(self, scenes: list[Scene], h: int, w: int) -> Tensor:
        """[B, 3, H, W] in uint8."""
        return (render(scenes, 16 * h, 16 * w, layered=False).picture * 255).round().byte()

    def size(self, step: int) -> tuple[int, int]:
        """Tokens down and across of this step's pictures: other sizes join once the home size stands."""
        rng = random.Random(step * 7919 + self.world.seed)
        early = step < self.config.other_sizes_from * self.config.loop.steps
        return HOME if early or rng.random() >= self.config.other_sizes else rng.choice(SIZES)

    def captions(self, scenes: list[Scene], step: int) -> list[str]:
        """What each sample is told: the whole, a paraphrase, the short form or nothing."""
        rng = random.Random(step * 104729 + self.world.seed)
        told = []
        for scene in scenes:
            dice = rng.random()
            for share, text in (
                (self.config.caption_drop, ""),
                (self.config.paraphrase, scene.paraphrase),
                (self.config.short, scene.short),
                (1.0, scene.caption),
            ):
                if dice < share:
                    told.append(text)
                    break
                dice -= share
        return told

    def label_map(self, scenes: list[Scene], h: int, w: int) -> Tensor:
        """[B, N, colours + shapes] the share of each token that things of each colour, and of each shape, cover."""
        cover = render(scenes, 4 * h, 4 * w).coverage
        cover = F.avg_pool2d(cover, 4).flatten(2)
        found = torch.zeros(len(scenes), h * w, len(self.names))
        for b, scene in enumerate(scenes):
            for k, thing in enumerate(scene.things):
                for name in (thing.colour, thing.shape):
                    found[b, :, self.names.index(name)] += cover[b, k]
        return found.clamp(max=1)

    def times(self, count: int, generator: torch.Generator) -> Tensor:
        """[B] stratified times: logit-normal (SD3, 2403.03206), one in ten uniform so that both ends are seen."""
        strata = (torch.randperm(count, generator=generator) + torch.rand(count, generator=generator)) / count
        normal = torch.special.ndtri(strata.clamp(1e-4, 1 - 1e-4))
        logit_normal = torch.sigmoid(self.config.time_mean + self.config.time_std * normal)
        uniform = torch.rand(count, generator=generator)
        return torch.where(torch.rand(count, generator=generator) < 0.1, uniform, logit_normal)
