"""Flow matching on the Papercut world: prompt encoder and MM-DiT together, with an Internal Guidance head.

Times are flow matching's: z_t = (1 - t) x + t e with data x and noise e, velocity v = e - x (SiT, 2401.08740).
Shape suffixes: B samples, N picture tokens, L prompt tokens, C numbers in a token.
"""

from __future__ import annotations

import itertools
import json
import random
from pathlib import Path

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor, nn
from transformers import Qwen2TokenizerFast, Qwen3Config, Qwen3ForCausalLM

from models.attention import materialised
from models.codec import Codec
from models.mmdit import AuxiliaryHead, MMDiT
from models.prompt import PromptEncoder
from pipelines.text import text_plan

from .config import LoopConfig, Strict
from .evaluate import judge, read
from .papercut import TWO, Scene, World, render, vocabulary
from .trainer import Stage


class FlowConfig(Strict):
    """Sizes of the prompt encoder and the MM-DiT, and the objective."""

    heads: int = 3
    head_dim: int = 64
    double_blocks: int = 2
    single_blocks: int = 6
    mlp_ratio: float = 3.0
    text_width: int = 128
    text_layers: int = 4
    text_mlp: int = 256
    prompt_tokens: int = 24
    auxiliary_block: int = 3
    auxiliary_weight: float = 0.5
    labels_weight: float = 0.3
    labels_until: float = 0.6
    caption_drop: float = 0.1
    paraphrase: float = 0.1
    short: float = 0.03
    time_mean: float = 0.8
    time_std: float = 1.1
    other_sizes: float = 0.25
    other_sizes_from: float = 0.7
    compile: bool = True
    loop: LoopConfig


# Tokens down and across of the sizes that training mixes in; 8x8 is the home size of 128x128 pixels.
SIZES = ((4, 4), (6, 6), (10, 10), (12, 12), (8, 12), (12, 8), (6, 10), (10, 6), (4, 8), (8, 4), (4, 12), (12, 4))

# Stock FLUX.2 [klein] reads hidden states 9, 18 and 27 of its text encoder. Ours lives in these of its 28 layers;
# the others start as identities (zero output projections), so that stock's defaults hold and later training may
# wake them.
STOCK_LAYERS, STOCK_DEPTH, LIVE_LAYERS = (9, 18, 27), 28, (0, 1, 9, 18)


def build_tokenizer(prompt_tokens: int) -> Qwen2TokenizerFast:
    """A byte-level BPE in which every word of the world is one token; the chat template is the bare prompt.

    The template lowers the prompt and puts a space before it, so that a word is one token wherever it stands.
    """
    base = Tokenizer(models.BPE())
    base.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    base.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=4000,
        min_frequency=1,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        special_tokens=["<|endoftext|>"],
        show_progress=False,
    )
    base.train_from_iterator([f" {word}" for word in vocabulary()], trainer)
    learnt = json.loads(base.to_str())["model"]
    tokenizer = Qwen2TokenizerFast(
        vocab=learnt["vocab"],
        merges=[tuple(merge) for merge in learnt["merges"]],
        pad_token="<|endoftext|>",
        eos_token="<|endoftext|>",
        model_max_length=prompt_tokens,
    )
    tokenizer.chat_template = "{{ ' ' ~ (messages[0]['content'] | lower | trim) }}"
    return tokenizer


def build_text_encoder(config: FlowConfig, tokens: int, depth: int) -> Qwen3ForCausalLM:
    """A small stock Qwen3; `depth` is the live layers and one more while training, 28 in the checkpoint."""
    return Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=tokens,
            hidden_size=config.text_width,
            intermediate_size=config.text_mlp,
            num_hidden_layers=depth,
            num_attention_heads=config.text_width // 32,
            num_key_value_heads=config.text_width // 64,
            head_dim=32,
            max_position_embeddings=512,
            tie_word_embeddings=True,
        )
    )


class FlowStage(Stage):
    """Velocity matching with caption drop; the auxiliary head has the same target."""

    name = "transformer"

    def __init__(self, config: FlowConfig, codec: Codec, world: World) -> None:
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

    @torch.no_grad()
    def batch(self, step: int) -> tuple[Tensor, list[Scene], tuple[int, int]]:
        """Clean tokens [B, N, C], their scenes and the size in tokens. Larger pictures come in smaller batches."""
        h, w = self.size(step)
        count = max(1, round(self.config.loop.batch * 88 / (h * w + 24)))
        device = next(self.parameters()).device
        short = min(h, w)
        first = step * 2 * self.config.loop.batch
        scenes = [self.world.scene(first + i, (w / short, h / short)) for i in range(count)]
        picture = render(scenes, 16 * h, 16 * w, device, layered=False).picture
        opaque = torch.cat([picture, torch.ones_like(picture[:, :1])], 1)
        return self.frozen["codec"].encode(opaque).float(), scenes, (h, w)

    def label_map(self, scenes: list[Scene], h: int, w: int) -> Tensor:
        """[B, N, colours + shapes] the share of each token that things of each colour, and of each shape, cover."""
        cover = render(scenes, 4 * h, 4 * w).coverage
        cover = F.avg_pool2d(cover, 4).flatten(2)
        found = torch.zeros(len(scenes), h * w, self.labels.out_features)
        names = (*self.world.colours, *self.world.shapes)
        for b, scene in enumerate(scenes):
            for k, thing in enumerate(scene.things):
                for name in (thing.colour, thing.shape):
                    found[b, :, names.index(name)] += cover[b, k]
        return found.clamp(max=1)

    def times(self, count: int, generator: torch.Generator) -> Tensor:
        """[B] stratified times: logit-normal (SD3, 2403.03206), one in ten uniform so that both ends are seen."""
        strata = (torch.randperm(count, generator=generator) + torch.rand(count, generator=generator)) / count
        normal = torch.special.ndtri(strata.clamp(1e-4, 1 - 1e-4))
        logit_normal = torch.sigmoid(self.config.time_mean + self.config.time_std * normal)
        uniform = torch.rand(count, generator=generator)
        return torch.where(torch.rand(count, generator=generator) < 0.1, uniform, logit_normal)

    def forward(self, step: int) -> dict[str, Tensor]:
        """Velocity losses of one batch."""
        clean, scenes, (h, w) = self.batch(step)
        generator = torch.Generator().manual_seed((self.world.seed << 40) + step)
        t = self.times(len(clean), generator).to(clean)
        noise = torch.randn(clean.shape, generator=generator).to(clean)
        ids, mask = self.prompts.tokenize(self.captions(scenes, step))
        # Only the home size is worth a compilation.
        with torch.compiler.set_stance("default" if (h, w) == (8, 8) else "force_eager"):
            main, auxiliary, hidden = self._denoise(clean, noise, t, ids.to(clean.device), mask.to(clean.device), h, w)
        losses = {"total": main + self.config.auxiliary_weight * auxiliary, "main": main, "auxiliary": auxiliary}
        if step < self.config.labels_until * self.config.loop.steps:
            # Alignment helps early and binds late (HASTE, 2505.16792), so it is switched off.
            wanted = self.label_map(scenes, h, w).to(clean)
            guess = self.labels(hidden).float()
            losses["labels"] = F.binary_cross_entropy_with_logits(guess, wanted, reduction="none").sum(-1).mean()
            losses["total"] = losses["total"] + self.config.labels_weight * losses["labels"]
        return losses

    def _denoise(
        self, clean: Tensor, noise: Tensor, t: Tensor, ids: Tensor, mask: Tensor, h: int, w: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        context = self.prompts.encode(ids, mask)
        noisy = torch.lerp(clean, noise, t[:, None, None])
        plan = text_plan(self.config.prompt_tokens, h, w)
        tap = self.config.auxiliary_block
        output = self.transformer(noisy, context, t, plan=plan, auxiliary=self.auxiliary, taps=(tap,))
        target = noise - clean
        main = F.mse_loss(output.sample.float(), target)
        return main, F.mse_loss(output.auxiliary.float(), target), output.taps[tap]

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
            for now, then in itertools.pairwise(sigmas):
                time = now.expand(2 * len(x)).to(device)
                with_prompt, without = (
                    self.transformer(torch.cat([x, x]), context, time, plan=plan).sample.float().chunk(2)
                )
                x = x + (then - now) * (without + guidance * (with_prompt - without))
        return codec.decode(x, 16 * h, 16 * w)[:, 0, :3]

    @torch.no_grad()
    def held_out_loss(self) -> dict[str, float]:
        """Loss on fixed samples, noises and times of unseen captions, by quarter of the time axis."""
        world = World(seed=77, split="unseen", colours=self.world.colours, shapes=self.world.shapes)
        scenes = [world.scene(i) for i in range(64)]
        picture = render(scenes, 128, 128, layered=False).picture.to(next(self.parameters()).device)
        clean = self.frozen["codec"].encode(torch.cat([picture, torch.ones_like(picture[:, :1])], 1)).float()
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

        world = World(seed=99, split="unseen", mixture=TWO, colours=self.world.colours, shapes=self.world.shapes)
        scenes = [world.scene(i) for i in range(48)]
        pictures = torch.cat([self.draw([s.caption for s in scenes[k : k + 24]]) for k in (0, 24)]).cpu()
        sheet = pictures[:32].reshape(4, 8, 3, 128, 128).permute(0, 3, 1, 4, 2).reshape(512, 1024, 3)
        Image.fromarray((sheet * 255).round().byte().numpy()).save(folder / f"sheet-{step:06d}.png")
        verdicts = [judge(read(picture), scene) for picture, scene in zip(pictures, scenes, strict=True)]
        names = ("ground", "colours", "shapes", "binding", "relation", "exact_two")
        rates = {name: round(sum(getattr(v, name) for v in verdicts) / len(verdicts), 3) for name in names}
        return self.held_out_loss() | rates
