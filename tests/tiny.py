"""A checkpoint of random weights, small and quick: the real layout without the training."""

from __future__ import annotations

from pathlib import Path

import torch

from models.codec import Codec
from training.autoencoder import build_autoencoder
from training.config import AutoencoderConfig, FlowConfig, LoopConfig
from training.export import export
from training.flow import FlowStage
from training.papercut import World

LOOP = LoopConfig(steps=4, batch=2, warmup=1, device="cpu", report_every=0)


def tiny_stage(world: World | None = None, loop: LoopConfig = LOOP) -> FlowStage:
    """A transformer stage that a test can train; adaLN-Zero is undone, so that its outputs are not zero."""
    torch.manual_seed(3)
    config = AutoencoderConfig(
        block_out_channels=(8, 8, 8, 8), decoder_block_out_channels=(8, 8, 8, 8), latent_channels=4, loop=loop
    )
    vae = build_autoencoder(config).eval().requires_grad_(False)
    flow = FlowConfig(
        heads=2, head_dim=16, double_blocks=1, single_blocks=2, text_width=64, text_mlp=64, auxiliary_block=1,
        compile=False, loop=loop,
    )  # fmt: skip
    stage = FlowStage(flow, Codec(vae), world or World())
    for parameter in stage.parameters():
        if parameter.requires_grad and not parameter.any():
            torch.nn.init.normal_(parameter, std=0.2)
    return stage


def tiny_checkpoint(folder: Path) -> Path:
    """Write the tiny checkpoint and return its folder."""
    stage = tiny_stage()
    export(stage, stage.frozen["codec"].vae, folder)
    return folder
