"""Batches for the transformer: scenes as pictures, captions, times, noise and label maps; pure functions of the step.

Nothing here knows the model, so that other processes can draw batches ahead.
Shape suffixes: B samples, N picture tokens, L prompt tokens, C numbers in a token.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .config import FlowConfig
from .papercut import Scene, World, render

# Tokens down and across of the sizes that training mixes in; 8x8 is the home size of 128x128 pixels.
SIZES = ((4, 4), (6, 6), (10, 10), (12, 12), (8, 12), (12, 8), (6, 10), (10, 6), (4, 8), (8, 4), (4, 12), (12, 4))


class Samples:
    """`samples(step)` is a batch.

    Args:
        config: sizes, caption and time distributions.
        world: where scenes come from.
        tokenize: captions to token ids and attention mask, [B, L] both.
        channels: C.
    """

    def __init__(
        self,
        config: FlowConfig,
        world: World,
        tokenize: Callable[[Sequence[str]], tuple[Tensor, Tensor]],
        channels: int,
    ) -> None:
        self.config, self.world, self.tokenize, self.channels = config, world, tokenize, channels
        self.names = (*world.colours, *world.shapes)

    def __call__(self, step: int) -> dict[str, Tensor]:
        """One batch; larger pictures come in smaller batches.

        Returns:
            picture [B, 3, H, W] in uint8, times [B], noise [B, N, C], ids and mask [B, L], and while the label loss is
            on, labels [B, N, colours + shapes].
        """
        h, w = self.size(step)
        count = max(1, round(self.config.loop.batch * 88 / (h * w + 24)))
        short = min(h, w)
        first = step * 2 * self.config.loop.batch
        scenes = [self.world.scene(first + i, (w / short, h / short)) for i in range(count)]
        generator = torch.Generator().manual_seed((self.world.seed << 40) + step)
        ids, mask = self.tokenize(self.captions(scenes, step))
        batch = {
            "picture": (render(scenes, 16 * h, 16 * w, layered=False).picture * 255).round().byte(),
            "times": self.times(count, generator),
            "noise": torch.randn((count, h * w, self.channels), generator=generator),
            "ids": ids,
            "mask": mask,
        }
        # Alignment helps early and binds late (HASTE, 2505.16792), so it is switched off.
        if step < self.config.labels_until * self.config.loop.steps:
            batch["labels"] = self.label_map(scenes, h, w)
        return batch

    def size(self, step: int) -> tuple[int, int]:
        """Tokens down and across of this step's pictures: other sizes join once the home size stands."""
        rng = random.Random(step * 7919 + self.world.seed)
        early = step < self.config.other_sizes_from * self.config.loop.steps
        return (8, 8) if early or rng.random() >= self.config.other_sizes else rng.choice(SIZES)

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
