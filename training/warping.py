"""The stage of the mouth warp: references of a mouth are moved until they look like frames of the same performance.

The speech encoder is the transformer's and stands still.
Shape suffixes: B takes, F frames, R references, S pixels a side.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.speech import SpeechEncoder
from models.warp import MouthWarp

from .config import WarpConfig
from .forms import CLIP_HOME, Form
from .speaking import Take, heard, take
from .trainer import Stage

SIZES = (CLIP_HOME, (8, 8))  # tokens of the pictures that crops are from
REFERENCES = (1, 2, 3, 3, 4, 5)
OFF = 2  # pixels
BATCHES = 1 << 20  # takes of a step's batch are numbered from its own multiple of this on, so that none comes twice


class WarpStage(Stage):
    """L1 on pixels and on their differences, between the moved references and the frames."""

    name = "warp"

    def __init__(self, config: WarpConfig, speech: SpeechEncoder, seed: int = 0) -> None:
        super().__init__()
        self.config, self.seed = config, seed
        options = {"size": config.size, "inner_width": config.inner_width, "blocks": config.blocks}
        self.warp = MouthWarp.of(speech, **options)
        # In a dict, so that its weights are not the stage's.
        self.frozen = {"speech": speech.eval().requires_grad_(False)}

    def matrices(self) -> list[nn.Parameter]:
        """Those inside the blocks."""
        return [p for p in self.warp.alignment.parameters() if p.ndim == 2]

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Losses of one batch of `source`; `moved` and `stood` are the PSNR of the warp and of the references' mean."""
        references, truth = batch["references"].float() / 255, batch["truth"].float() / 255
        warped, _ = self.warp(references, self.tokens(batch["mels"]))
        pixels, edges = (warped - truth).abs().mean(), differences(warped, truth)
        mean = references.mean(1, keepdim=True).expand_as(truth)
        return {
            "total": pixels + self.config.edges * edges,
            "pixels": pixels,
            "edges": edges,
            "moved": _decibels(warped.detach(), truth),
            "stood": _decibels(mean, truth),
        }

    @torch.no_grad()
    def tokens(self, mels: Tensor) -> Tensor:
        """[B, F, G, X] speech of columns [B, F, M, K]."""
        speech = self.frozen["speech"].to(mels.device)
        return speech(mels).unflatten(1, (mels.shape[1], -1))

    def source(self, step: int) -> dict[str, Tensor]:
        """References [B, R, 4, S, S] and truth [B, F, 4, S, S] in uint8, and mels [B, F, M, K]."""
        rng = random.Random(f"{self.seed} warp {step}")
        form = Form.spoken("dubbing", self.warp.per_frame, rng.choice(SIZES), mouths=rng.choice(REFERENCES))
        return self.batch(form, [step * BATCHES + k for k in range(self.config.loop.batch)], rng)

    def batch(self, form: Form, indices: Sequence[int], rng: random.Random, split: str = "train") -> dict[str, Tensor]:
        """A batch of takes, see `source`."""
        takes = [take(form, self.seed, index, split) for index in indices]
        crops = torch.stack([crop(one, form, self.config.size, rng) for one in takes])
        length = form.lengths[0]
        return {"references": crops[:, length:], "truth": crops[:, :length], "mels": heard(takes)}

    @torch.no_grad()
    def report(self, step: int, folder: Path) -> dict[str, float]:
        """PSNR on unseen takes, also if everybody hears another's speech; a sheet of truth over what was made."""
        from PIL import Image

        form = Form.spoken("dubbing", self.warp.per_frame)
        batch = self.batch(form, range(16), random.Random(7), "unseen")
        device = next(self.parameters()).device
        batch = {name: value.to(device) for name, value in batch.items()}
        references, truth = batch["references"].float() / 255, batch["truth"].float() / 255
        warped, _ = self.warp(references, self.tokens(batch["mels"]))
        other, _ = self.warp(references, self.tokens(batch["mels"].roll(1, 0)))
        rows = torch.stack([truth[:8, :, :3], warped[:8, :, :3]], 1).flatten(0, 1)  # [16, F, 3, S, S]
        sheet = rows.permute(0, 3, 1, 4, 2).flatten(0, 1).flatten(1, 2)
        Image.fromarray((sheet * 255).round().byte().cpu().numpy()).save(folder / f"sheet-{step:06d}.png")
        mean = references.mean(1, keepdim=True).expand_as(truth)
        scores = {"unseen": warped, "unseen_stood": mean, "unseen_other_speech": other}
        return {name: round(float(_decibels(pictures, truth)), 2) for name, pictures in scores.items()}


def crop(one: Take, form: Form, size: int, rng: random.Random) -> Tensor:
    """[F + R, 4, S, S] in uint8: the mouth in a take's frames and references, opaque, cut as the pipeline cuts it.

    All cuts of a take are off by the same, for a face is not always found to the pixel.
    """
    numbers = (*one.frames, *one.references)
    height, width = 16 * form.h, 16 * form.w
    pictures, cuts = one.performance.draw(numbers, height, width), one.performance.cuts(height, width)
    off_x, off_y = (rng.randint(-OFF, OFF) for _ in range(2))
    found = []
    for picture, (x0, y0, x1, y1) in zip(pictures, (cuts[number] for number in numbers), strict=True):
        top, left = min(max(y0 + off_y, 0), height - (y1 - y0)), min(max(x0 + off_x, 0), width - (x1 - x0))
        part = picture[None, :, top : top + y1 - y0, left : left + x1 - x0].float()
        found.append(F.interpolate(part, (size, size), mode="bilinear", antialias=True, align_corners=False)[0])
    colours = torch.stack(found).round().clamp(0, 255).byte()
    return torch.cat([colours, torch.full_like(colours[:, :1], 255)], 1)


def differences(one: Tensor, other: Tensor) -> Tensor:
    """L1 between the steps from pixel to pixel, down and across, of [..., H, W]."""
    down, across = ((one.diff(dim=axis) - other.diff(dim=axis)).abs().mean() for axis in (-2, -1))
    return down + across


def _decibels(one: Tensor, other: Tensor) -> Tensor:
    """PSNR of pictures in 0..1."""
    return -10 * torch.log10((one - other).square().mean())
