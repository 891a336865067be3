"""Flow matching on the Papercut world: prompt encoder and MM-DiT together, with an Internal Guidance head.

Times are flow matching's: z_t = (1 - t) x + t e with data x and noise e, velocity v = e - x (SiT, 2401.08740).
Shape suffixes: B samples, N picture tokens, L prompt tokens, C numbers in a token.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.attention import materialised
from models.codec import Codec
from models.mmdit import AuxiliaryHead, MMDiT
from models.prompt import PromptEncoder
from pipelines.text import text_plan

from .config import FlowConfig
from .evaluate import judge, read
from .papercut import TWO, World, render
from .samples import HOME, Samples, TokenStore
from .text_encoder import build_text_encoder, build_tokenizer
from .trainer import Stage


class FlowStage(Stage):
    """Velocity matching with caption drop; the auxiliary head has the same target."""

    name = "transformer"

    def __init__(self, config: FlowConfig, codec: Codec, world: World, scratch: Path | None = None) -> None:
        super().__init__()
        self.config, self.world = config, world
        self.tokenizer = build_tokenizer(config.prompt_tokens)
        self.text = build_text_encoder(config, len(self.tokenizer), config.text_layers + 1)
        taps = (config.text_layers - 2, config.text_layers - 1, config.text_layers)
        self.prompts = PromptEncoder(self.tokenizer, self.text, taps, config.prompt_tokens)
        width = config.heads * config.head_dim
        self.transformer = MMDiT(
            in_channels=codec.channels,
            num_layers=config.double_blocks,
            num_single_layers=config.single_blocks,
            attention_head_dim=config.head_dim,
            num_attention_heads=config.heads,
            joint_attention_dim=3 * config.text_width,
            mlp_ratio=config.mlp_ratio,
            axes_dims_rope=(config.head_dim // 4,) * 4,
            guidance_embeds=False,
        ).use_plans(materialised)
        self.auxiliary = AuxiliaryHead(width=width, out_channels=codec.channels, block=config.auxiliary_block)
        # Training only: what the renderer knows of each token, read from the auxiliary head's block.
        self.labels = nn.Linear(width, len(world.colours) + len(world.shapes))
        self._initialise()
        self.frozen = {"codec": codec}  # in a dict, so that its weights are not the stage's
        store = None
        if config.pool and scratch:
            shape = (config.pool, HOME[0] * HOME[1], codec.channels)
            store = TokenStore(scratch / f"tokens-{world.seed}-{config.pool}.f16", shape)
        self.source = Samples(config, world, self.prompts.tokenize, codec.channels, store)
        if config.compile:
            self.transformer.compile_repeated_blocks(dynamic=False)

    def _initialise(self) -> None:
        """adaLN-Zero (DiT, 2212.09748): blocks start as identities and heads at zero."""
        dit = self.transformer
        for module in (
            dit.double_stream_modulation_img,
            dit.double_stream_modulation_txt,
            dit.single_stream_modulation,
        ):
            nn.init.zeros_(module.linear.weight)
        for module in (dit.proj_out, dit.norm_out.linear, self.auxiliary.proj_out, self.auxiliary.modulation):
            nn.init.zeros_(module.weight)
        for layer in self.text.model.layers[self.config.text_layers :]:
            for parameter in layer.parameters():
                parameter.requires_grad_(False)
        self.text.model.norm.requires_grad_(False)

    def matrices(self) -> list[nn.Parameter]:
        """Matrices inside the blocks of both networks."""
        blocks = (*self.transformer.transformer_blocks, *self.transformer.single_transformer_blocks)
        inside = [p for block in (*blocks, *self.text.model.layers) for p in block.parameters()]
        return [p for p in inside if p.ndim == 2]

    # ------------------------------------------------------------ one batch

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Velocity losses of one batch of `samples.py`."""
        clean, (h, w) = self.clean(batch)
        home = (h, w) == HOME
        # Only the home size is worth a compilation.
        with torch.compiler.set_stance("default" if home else "force_eager"):
            context = self.prompts.encode(batch["ids"], batch["mask"])
            noisy = torch.lerp(clean, batch["noise"], batch["times"][:, None, None])
            plan, tap = text_plan(self.config.prompt_tokens, h, w), self.config.auxiliary_block
            output = self.transformer(noisy, context, batch["times"], plan=plan, auxiliary=self.auxiliary, taps=(tap,))
        target = batch["noise"] - clean
        main = F.mse_loss(output.sample.float(), target)
        auxiliary = F.mse_loss(output.auxiliary.float(), target)
        losses = {"total": main + self.config.auxiliary_weight * auxiliary, "main": main, "auxiliary": auxiliary}
        if "labels" in batch:
            guess = self.labels(output.taps[tap]).float()
            entropy = F.binary_cross_entropy_with_logits(guess, batch["labels"], reduction="none")
            losses["labels"] = entropy.sum(-1).mean()
            losses["total"] = losses["total"] + self.config.labels_weight * losses["labels"]
        return losses

    @torch.no_grad()
    def clean(self, batch: dict[str, Tensor]) -> tuple[Tensor, tuple[int, int]]:
        """Clean tokens [B, N, C] of a batch, from the store or from its pictures, and tokens down and across."""
        if "clean" in batch:
            return batch["clean"], HOME
        clean = self.encode(batch["picture"].float() / 255)
        h, w = (side // 16 for side in batch["picture"].shape[-2:])
        if self.source.store and (h, w) == HOME:
            # What is trained on is what a later epoch reads back.
            clean = clean.half().float()
            self.source.store.put(batch["index"].tolist(), clean)
        return clean, (h, w)

    def encode(self, picture: Tensor) -> Tensor:
        """[B, 3, H, W] opaque pictures in 0..1 to clean tokens [B, N, C]."""
        tokens: Tensor = self.frozen["codec"].encode(torch.cat([picture, torch.ones_like(picture[:, :1])], 1))
        return tokens.float()

    # ------------------------------------------------------------ looking at it

    @torch.no_grad()
    def draw(
        self,
        captions: list[str],
        h: int = 8,
        w: int = 8,
        steps: int = 24,
        guidance: float = 3.0,
        shift: float = 1.5,
        seed: int = 1,
    ) -> Tensor:
        """[B, 3, H, W] pictures in 0..1 by plain Euler steps with guidance; for reports during training."""
        device = next(self.parameters()).device
        plan = text_plan(self.config.prompt_tokens, h, w)
        ids, mask = self.prompts.tokenize([*captions, *[""] * len(captions)])
        sigmas = torch.linspace(1, 1 / steps, steps)
        sigmas = torch.cat([shift * sigmas / (1 + (shift - 1) * sigmas), torch.zeros(1)])
        codec = self.frozen["codec"]
        x = torch.randn(len(captions), h * w, codec.channels, generator=torch.Generator().manual_seed(seed)).to(device)
        with torch.autocast(device.type, torch.bfloat16):
            context = self.prompts.encode(ids.to(device), mask.to(device))
            for now, then in pairwise(sigmas):
                time = now.expand(2 * len(x)).to(device)
                with_prompt, without = (
                    self.transformer(torch.cat([x, x]), context, time, plan=plan).sample.float().chunk(2)
                )
                x = x + (then - now) * (without + guidance * (with_prompt - without))
        return codec.decode(x, 16 * h, 16 * w)[:, 0, :3]

    @torch.no_grad()
    def held_out_loss(self) -> dict[str, float]:
        """Loss on fixed samples, noises and times of unseen captions, by quarter of the time axis."""
        world = replace(self.world, seed=77, split="unseen")
        scenes = [world.scene(i) for i in range(64)]
        picture = render(scenes, 128, 128, layered=False).picture.to(next(self.parameters()).device)
        clean = self.encode(picture)
        noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(5)).to(clean)
        t = ((torch.arange(64) + 0.5) / 64).to(clean)
        ids, mask = self.prompts.tokenize([scene.caption for scene in scenes])
        plan = text_plan(self.config.prompt_tokens, 8, 8)
        with torch.autocast(clean.device.type, torch.bfloat16):
            context = self.prompts.encode(ids.to(clean.device), mask.to(clean.device))
            out = self.transformer(torch.lerp(clean, noise, t[:, None, None]), context, t, plan=plan)
        error = (out.sample.float() - (noise - clean)).square().mean((1, 2))
        return {f"held_out_{k}": round(float(part.mean()), 4) for k, part in enumerate(error.chunk(4))}

    def report(self, step: int, folder: Path) -> dict[str, float]:
        """A sheet of fixed captions, held-out loss, and the parser's score on unseen captions."""
        from PIL import Image

        world = replace(self.world, seed=99, split="unseen", mixture=TWO)
        scenes = [world.scene(i) for i in range(48)]
        pictures = torch.cat([self.draw([s.caption for s in scenes[k : k + 24]]) for k in (0, 24)]).cpu()
        sheet = pictures[:32].reshape(4, 8, 3, 128, 128).permute(0, 3, 1, 4, 2).reshape(512, 1024, 3)
        Image.fromarray((sheet * 255).round().byte().numpy()).save(folder / f"sheet-{step:06d}.png")
        verdicts = [judge(read(picture), scene) for picture, scene in zip(pictures, scenes, strict=True)]
        names = ("ground", "colours", "shapes", "binding", "relation", "exact_two")
        rates = {name: round(sum(getattr(v, name) for v in verdicts) / len(verdicts), 3) for name in names}
        return self.held_out_loss() | rates
