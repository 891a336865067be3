"""The fine-tuning recipe that diffusers ships for this transformer, in our own words: what a step does there.

It is the LoRA example for FLUX.2 [klein] of diffusers' repository (examples/dreambooth), which is no part of the
package, with cached latents, a prompt for each picture, bfloat16 or float32, and no prior preservation. What a step
costs there it costs here: the loader's pictures though the latents are kept, latents patched and normalised and places
made anew in each step, times looked up in the scheduler's table, stock transformer and attention, accelerate around all
of it, the loss read back for the progress bar in each step. What it writes (checkpoints, TensorBoard, validation) is
left out.

Shape suffixes: B samples, N tokens, C numbers in a token, h and w tokens down and across, L tokens of a prompt.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from diffusers import AutoencoderKLFlux2, FlowMatchEulerDiscreteScheduler, Flux2KleinPipeline, Flux2Transformer2DModel
from diffusers.optimization import get_scheduler
from diffusers.training_utils import compute_density_for_timestep_sampling, compute_loss_weighting_for_sd3
from peft import LoraConfig
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm.auto import tqdm

# Which layers the example trains where nothing is said: attention of the picture stream in double blocks, and the fused
# projections of single ones. As ends of names, which is how both of us read them.
MODULES = ("to_q", "to_k", "to_v", "to_out.0", "to_qkv_mlp_proj", "attn.to_out")


@dataclass(frozen=True)
class Settings:
    """What both sides are told. The defaults are the example's own."""

    batch: int = 4
    rank: int = 4
    lr: float = 1e-4
    beta1: float = 0.9
    beta2: float = 0.999
    weight_decay: float = 1e-4
    clip: float = 1.0
    seed: int = 1


@dataclass(frozen=True)
class Kept(Dataset[dict[str, Any]]):
    """Twenty pictures or so with what is cached of each.

    Attributes:
        pixels: [3, H, W] of each, in -1..1.
        latents: [1, C / 4, 2h, 2w] of each, as the autoencoder makes them.
        prompts: [1, L, X] of each.
    """

    pixels: Sequence[Tensor]
    latents: Sequence[Tensor]
    prompts: Sequence[Tensor]

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"index": index, "pixels": self.pixels[index]}


class StockRecipe:
    """The example at work.

    Args:
        folder: the checkpoint.
        kept: the data.
        settings: batch, rank and optimiser.
        accelerator: with mixed precision "bf16", or without any, where all is in float32.
    """

    def __init__(self, folder: Path, kept: Kept, settings: Settings, accelerator: Accelerator) -> None:
        self.kept, self.settings, self.accelerator = kept, settings, accelerator
        device = accelerator.device
        self.scheduler = FlowMatchEulerDiscreteScheduler.from_pretrained(folder, subfolder="scheduler")
        self.mean, self.std = (table.to(device) for table in latent_statistics(folder))
        dtype = torch.bfloat16 if accelerator.mixed_precision == "bf16" else torch.float32
        model = Flux2Transformer2DModel.from_pretrained(folder, subfolder="transformer", torch_dtype=dtype)
        model.requires_grad_(False)
        model.to(device)
        modules = [name for name, part in model.named_modules() if isinstance(part, torch.nn.Linear) and _chosen(name)]
        rank = settings.rank
        model.add_adapter(LoraConfig(r=rank, lora_alpha=rank, init_lora_weights="gaussian", target_modules=modules))
        self.trainable = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
        optimizer = torch.optim.AdamW(
            list(self.trainable.values()), lr=settings.lr, betas=(settings.beta1, settings.beta2),
            weight_decay=settings.weight_decay, eps=1e-8,
        )  # fmt: skip
        loader = DataLoader(kept, settings.batch, shuffle=True, drop_last=True, collate_fn=_collated)
        rates = get_scheduler("constant", optimizer)
        self.model, self.optimizer, self.loader, self.rates = accelerator.prepare(model, optimizer, loader, rates)
        self.texts = [Flux2KleinPipeline._prepare_text_ids(prompt).to(device) for prompt in kept.prompts]
        self.bar = tqdm(desc="Steps", disable=None)
        self._batches = self._forever()

    def take_weights(self, values: Mapping[str, Tensor]) -> None:
        """Begin with these LoRA weights."""
        with torch.no_grad():
            for name, weight in self.trainable.items():
                weight.copy_(values[name])

    def steps(self, count: int) -> list[float]:
        """So many steps with its own order, noise and times; the loss of each."""
        return [self.step(next(self._batches)["indices"]) for _ in range(count)]

    def step(self, indices: Sequence[int], noise_BNC: Tensor | None = None, times: Tensor | None = None) -> float:
        """One step.

        Args:
            indices: which pictures.
            noise_BNC: in place of its own.
            times: [B] in 0..1, in place of those that it draws from its scheduler's table.
        """
        with self.accelerator.accumulate(self.model):
            prompts = torch.cat([self.kept.prompts[index] for index in indices])
            texts = torch.cat([self.texts[index] for index in indices])
            latents = torch.cat([self.kept.latents[index] for index in indices])
            clean = (Flux2KleinPipeline._patchify_latents(latents) - self.mean) / self.std  # [B, C, h, w]
            places = Flux2KleinPipeline._prepare_latent_ids(clean).to(clean.device)
            if noise_BNC is None:
                noise, (times, sigmas) = torch.randn_like(clean), self._times(len(clean), clean)
            else:
                assert times is not None
                noise, sigmas = noise_BNC.transpose(1, 2).unflatten(2, clean.shape[2:]), times.view(-1, 1, 1, 1)
            noisy = (1.0 - sigmas) * clean + sigmas * noise
            velocity = self.model(
                hidden_states=Flux2KleinPipeline._pack_latents(noisy), timestep=times, guidance=None,
                encoder_hidden_states=prompts, txt_ids=texts, img_ids=places, return_dict=False,
            )[0]  # fmt: skip
            velocity = Flux2KleinPipeline._unpack_latents_with_ids(velocity, places)
            weights = compute_loss_weighting_for_sd3("none", sigmas)
            distance = weights.float() * (velocity.float() - (noise - clean).float()) ** 2
            loss = distance.flatten(1).mean(1).mean()
            self.accelerator.backward(loss)
            if self.accelerator.sync_gradients:
                self.accelerator.clip_grad_norm_(self.model.parameters(), self.settings.clip)
            self.optimizer.step()
            self.rates.step()
            self.optimizer.zero_grad()
        told = loss.detach().item()
        self.bar.update(1)
        self.bar.set_postfix(loss=told, lr=self.rates.get_last_lr()[0])
        return told

    def _times(self, count: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """[B] times in 0..1 and [B, 1, 1, 1] how much of each sample is noise, from the scheduler's table."""
        drawn = compute_density_for_timestep_sampling("none", count, 0.0, 1.0, 1.29)
        rows = (drawn * self.scheduler.config.num_train_timesteps).long()
        steps = self.scheduler.timesteps[rows].to(like.device)
        table, sigmas = self.scheduler.timesteps.to(like.device), self.scheduler.sigmas.to(like.device, like.dtype)
        places = [int((table == step).nonzero().item()) for step in steps]
        return steps / 1000, sigmas[places].flatten()[:, None, None, None]

    def _forever(self) -> Iterator[dict[str, Any]]:
        while True:
            self.model.train()
            yield from self.loader


def latent_statistics(folder: Path) -> tuple[Tensor, Tensor]:
    """[1, C, 1, 1] mean and deviation of a checkpoint's patched latents."""
    vae = AutoencoderKLFlux2.from_pretrained(folder, subfolder="vae")
    std = torch.sqrt(vae.bn.running_var + vae.config.batch_norm_eps)
    return vae.bn.running_mean.view(1, -1, 1, 1), std.view(1, -1, 1, 1)


def _chosen(name: str) -> bool:
    return any(name == end or name.endswith(f".{end}") for end in MODULES)


def _collated(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A batch as the example's loader makes it: with its pictures, which nobody looks at once latents are kept."""
    pixels = torch.stack([each["pixels"] for each in found]).float()
    return {"indices": [each["index"] for each in found], "pixels": pixels}
