"""The RGBA autoencoder of the embedded checkpoint: premultiplied colour and alpha to latents and back.

Trained on crops and whole pictures of the Papercut world, flat pictures and clear layers alike.
"""

from __future__ import annotations

import random
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKLFlux2
from torch import Tensor

from .chance import generator
from .config import AutoencoderConfig
from .face import draw
from .papercut import COLOURS, SHAPES, World, render
from .portrait import Cast
from .scene import Scene
from .trainer import Stage


def build_autoencoder(config: AutoencoderConfig) -> AutoencoderKLFlux2:
    """A small stock `AutoencoderKLFlux2` with four channels in and out."""
    return AutoencoderKLFlux2(
        in_channels=4,
        out_channels=4,
        block_out_channels=config.block_out_channels,
        decoder_block_out_channels=config.decoder_block_out_channels,
        layers_per_block=1,
        latent_channels=config.latent_channels,
        norm_num_groups=8,
        mid_block_add_attention=False,
        sample_size=128,
    )


FACE_SIZES = ((96, 96), (96, 96), (96, 96), (128, 128), (96, 128), (128, 96), (64, 64))
FRAMES = 3  # of each person
SIZES = ((128, 128), (64, 64), (192, 192), (96, 160), (160, 96), (128, 192), (80, 64), (192, 128))


class AutoencoderStage(Stage):
    """L1 on pixels and on their differences, plus a small KL term (LDM, 2112.10752, section 3.1)."""

    name = "autoencoder"

    def __init__(self, config: AutoencoderConfig, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        self.vae = build_autoencoder(config)
        self.world = World(seed=seed, split="any", colours=tuple(COLOURS), shapes=SHAPES)
        self.seed = seed

    def keep_latents(self) -> None:
        """Train the decoder alone, so that all that is known of latents stays true."""
        for part in (self.vae.encoder, self.vae.quant_conv, self.vae.bn):
            part.requires_grad_(False)

    def matrices(self) -> list[torch.nn.Parameter]:
        """All convolutions but the first and the last of each half, which face pixels and latents."""
        outer = ("conv_in", "conv_out", "quant_conv")
        return [p for n, p in self.vae.named_parameters() if p.ndim == 4 and not any(o in n for o in outer)]

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Losses on one batch of `source`."""
        target = batch["pixels"] * 2 - 1
        posterior = self.vae.encode(target).latent_dist
        output = self.vae.decode(posterior.mean + posterior.std * batch["noise"]).sample.float()
        kl = 0.5 * (posterior.mean.square() + posterior.var - 1 - posterior.logvar).float().mean()
        pixels = (output - target).abs().mean()
        edges = sum((output.diff(dim=axis) - target.diff(dim=axis)).abs().mean() for axis in (2, 3))
        mse = F.mse_loss(output.detach().clamp(-1, 1), target)
        return {
            "total": pixels + self.config.edges * edges + self.config.kl * kl,
            "pixels": pixels,
            "kl": kl,
            "psnr": -10 * torch.log10(mse / 4),
        }

    def source(self, step: int) -> dict[str, Tensor]:
        """Pixels [B, 4, H, W] and noise for their latents.

        Three batches of crops, then one of whole pictures with the same number of pixels.
        """
        pixels = self.pixels(step)
        shape = (len(pixels), self.config.latent_channels, pixels.shape[2] // 8, pixels.shape[3] // 8)
        noise = torch.randn(shape, generator=generator(self.seed, step))
        return {"pixels": pixels, "noise": noise}

    def pixels(self, step: int) -> Tensor:
        """[B, 4, H, W] premultiplied RGBA in 0..1, about a third of it clear layers."""
        if random.Random(f"{self.seed} faces {step}").random() < self.config.faces:
            return self.people(step)
        rng = random.Random((self.seed << 40) + step)
        whole = step % 4 == 3
        height, width = rng.choice(SIZES) if whole else (128, 128)
        count = max(1, round(self.config.loop.batch * 64 * 64 / (height * width)))
        short = min(height, width)
        scenes = [self.world.scene(step * 64 + i, (width / short, height / short)) for i in range(count)]
        drawing = render(scenes, height, width)
        flat = torch.cat([drawing.picture, torch.ones_like(drawing.picture[:, :1])], 1)
        if whole:
            return torch.stack([drawing.layers[b, 1] if rng.random() < 0.3 else flat[b] for b in range(count)])
        crops = []
        for b, scene in enumerate(scenes):
            for _ in range(4):
                source = flat[b] if rng.random() < 0.65 else drawing.layers[b, rng.randint(1, len(scene.things))]
                crops.append(_crop(rng, source, scene))
        return torch.stack(crops)

    def people(self, step: int, split: str = "train") -> Tensor:
        """[B, 4, H, W] opaque frames of people with their mouths and eyes at any time, a few of each person."""
        rng = random.Random(f"{self.seed} people {step}")
        height, width = rng.choice(FACE_SIZES)
        count = max(1, round(self.config.loop.batch * 64 * 64 / (height * width)))
        frames = []
        for number in range(-(-count // FRAMES)):
            portrait = Cast(self.seed, split).portrait(step * 4096 + number)
            times = [rng.uniform(0, 60) for _ in range(FRAMES)]
            mouths = [[rng.random() * rng.randint(0, 1), rng.random(), rng.random()] for _ in range(FRAMES)]
            frames.append(draw(portrait, times, mouths, height, width))
        pictures = torch.cat(frames)[:count]
        return torch.cat([pictures, torch.ones_like(pictures[:, :1])], 1)

    @torch.no_grad()
    def report(self, step: int, folder: Path) -> dict[str, float]:
        """PSNR on flat pictures, layers and people that training never sees; a sheet of the first two."""
        from PIL import Image

        world = World(seed=self.seed + 1, split="any", colours=tuple(COLOURS), shapes=SHAPES)
        drawing = render([world.scene(i) for i in range(32)], 128, 128)
        device = next(self.parameters()).device
        flat = torch.cat([drawing.picture, torch.ones_like(drawing.picture[:, :1])], 1)
        scores = {}
        sheets = []
        for name, target in (("flat", flat), ("layer", drawing.layers[:, 1])):
            latent = self.vae.encode(target.to(device) * 2 - 1).latent_dist.mode()
            output = (self.vae.decode(latent).sample.float().cpu() / 2 + 0.5).clamp(0, 1)
            scores[f"psnr_{name}"] = round(float(-10 * torch.log10(F.mse_loss(output, target))), 2)
            scores[f"latent_std_{name}"] = round(float(latent.float().std()), 3)
            rows = torch.cat([target[:8, :3], output[:8, :3]])
            sheets.append(rows.reshape(2, 8, 3, 128, 128).permute(0, 3, 1, 4, 2).reshape(256, 1024, 3))
        people = self.people(0, "unseen").to(device)
        output = self.vae.decode(self.vae.encode(people * 2 - 1).latent_dist.mode()).sample.float()
        output = (output / 2 + 0.5).clamp(0, 1)
        scores["psnr_people"] = round(float(-10 * torch.log10(F.mse_loss(output, people))), 2)
        sheet = (torch.cat(sheets) * 255).round().byte().numpy()
        Image.fromarray(sheet).save(folder / f"sheet-{step:06d}.png")
        return scores

    @torch.no_grad()
    def calibrate(self, count: int = 512) -> None:
        """Set the normalisation that FLUX.2 keeps in the batch norm: mean and variance of 2x2-patched latents."""
        patches = []
        for step in range(3, 4 * count // 16, 4):
            pixels = self.pixels(10_000_000 + step).to(next(self.parameters()).device) * 2 - 1
            latent = self.vae.encode(pixels).latent_dist.mode().float()
            patch = F.pixel_unshuffle(latent, 2)
            patches.append(patch.permute(1, 0, 2, 3).flatten(1))
        tokens = torch.cat(patches, 1)
        self.vae.bn.running_mean.copy_(tokens.mean(1))
        self.vae.bn.running_var.copy_(tokens.var(1))


def _crop(rng: random.Random, picture: Tensor, scene: Scene) -> Tensor:
    """A 64-pixel crop of a 128-pixel picture, half of the time around a thing."""
    limit = 64
    if rng.random() < 0.5:
        top, left = rng.randint(0, limit), rng.randint(0, limit)
    else:
        thing = rng.choice(scene.things)
        top = min(limit, max(0, round(thing.y * 128) - 32 + rng.randint(-20, 20)))
        left = min(limit, max(0, round(thing.x * 128) - 32 + rng.randint(-20, 20)))
    return picture[:, top : top + 64, left : left + 64]
