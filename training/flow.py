"""Flow matching on the Papercut world: prompt encoder and MM-DiT together, and the accelerators of the run.

Times are flow matching's: z_t = (1 - t) x + t e with data x and noise e, velocity v = e - x (SiT, 2401.08740).
Shape suffixes: B samples, N picture tokens, L prompt tokens, C numbers in a token.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from models.attention import materialised
from models.codec import Codec
from models.mmdit import MMDiT
from models.precision import autocast
from models.prompt import PromptEncoder
from models.siamese import Layout, SiameseBranch, mean_words
from models.speech import SpeechEncoder
from pipelines.text import text_plan

from .accelerators import AuxiliaryLoss, Seen, Sizes, Spoken
from .accelerators.lip_alignment import TRACK
from .clips import read_clip
from .config import FlowConfig
from .forms import CLIP_FRAMES, CLIP_HOME, SPOKEN, Form
from .judging import judge
from .masks import masked_mean
from .papercut import TWO, World, render
from .parser import read
from .samples import Samples
from .text_encoder import build_text_encoder, build_tokenizer
from .trainer import Stage


class FlowStage(Stage):
    """Velocity matching with caption drop, and what the accelerators add to it.

    Modules of accelerators are the stage's own, by their names; those that have a place in the checkpoint come first.
    """

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
        self.accelerators = config.chosen
        hears = any(config.tasks.get(task) for task in SPOKEN)
        spoken = 3 * config.text_width * config.speech_tokens if hears else 0
        sizes = Sizes(width, codec.channels, len(world.colours) + len(world.shapes), spoken)
        own = {name: module for one in self.accelerators for name, module in one.modules(sizes).items()}
        self.auxiliary: Any = None
        for name, module in own.items():
            if isinstance(module, ModelMixin):
                setattr(self, name, module)
        self.siamese = None
        if config.tasks.get("layout"):
            self.siamese = SiameseBranch.of(self.transformer)
            self.siamese.kernel = materialised
        self.speech = None
        if hears:
            self.speech = SpeechEncoder.of(self.transformer, per_frame=config.speech_tokens)
        for name, module in own.items():
            if not isinstance(module, ModelMixin):  # of training only
                setattr(self, name, module)
        self._initialise()
        self.frozen = {"codec": codec}  # in a dict, so that its weights are not the stage's
        self.source: Samples = Samples(config, world, self.prompts.tokenize, codec.channels, scratch)
        if config.compile:
            # A block is compiled once for each task's usual shape.
            torch._dynamo.config.recompile_limit = 4 * len(config.tasks) + 8
            self.transformer.compile_repeated_blocks(dynamic=False)

    def _initialise(self) -> None:
        """adaLN-Zero (DiT, 2212.09748): blocks start as identities and the output at zero."""
        dit = self.transformer
        for module in (
            dit.double_stream_modulation_img,
            dit.double_stream_modulation_txt,
            dit.single_stream_modulation,
        ):
            nn.init.zeros_(module.linear.weight)
        for module in (dit.proj_out, dit.norm_out.linear):
            nn.init.zeros_(module.weight)
        for layer in self.text.model.layers[self.config.text_layers :]:
            for parameter in layer.parameters():
                parameter.requires_grad_(False)
        self.text.model.norm.requires_grad_(False)

    def beside(self) -> dict[str, ModelMixin]:
        """What is trained with the transformer and stock has no place for, by its folder in the checkpoint."""
        children = self.named_children()
        return {name: one for name, one in children if isinstance(one, ModelMixin) and one is not self.transformer}

    def matrices(self) -> list[nn.Parameter]:
        """Matrices inside the blocks of both networks."""
        blocks = (*self.transformer.transformer_blocks, *self.transformer.single_transformer_blocks)
        beside = self.siamese.attentions if self.siamese is not None else ()
        inside = [p for block in (*blocks, *beside, *self.text.model.layers) for p in block.parameters()]
        return [p for p in inside if p.ndim == 2]

    # ------------------------------------------------------------ one batch

    def forward(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Velocity losses of one batch of `samples.py`, over the tokens that are made; `main` also by task."""
        form: Form = batch["form"]
        clean = self.clean(batch)
        plan, on = form.plan(self.config.prompt_tokens), self.source.on(batch["step"])
        given = batch.get("given")
        times = batch["times"][:, None]
        made = torch.ones_like(clean[..., 0], dtype=torch.bool)
        if given is not None:
            made = ~given[:, plan.context_tokens :]
            times = times * made
        keep = batch.get("keep")
        # Only the usual shapes are worth a compilation.
        with torch.compiler.set_stance("default" if form.home else "force_eager"):
            features = self.told(batch["ids"], batch["mask"]).unflatten(0, (len(clean), -1))  # [B, S, L, X]
            prompts = (plan.context_tokens - form.speech) // self.config.prompt_tokens
            context = features[:, :prompts].flatten(1, 2)
            spoken = None
            if self.speech is not None and form.speech:
                tokens = self.speech(batch["mels"])
                context = torch.cat([context, self.heard(self.speech, tokens, batch).to(context)], 1)
                spoken = spoken_of(tokens, batch["faces"], form)
            noisy = torch.lerp(clean, batch["noise"], times[..., None].expand_as(clean))
            if "haze" in batch:
                noisy = torch.lerp(noisy, clean.roll(1, 0), batch["drift"][..., None].expand_as(clean))
                noisy = noisy + batch["haze"][..., None] * batch["noise"]
            output = self.transformer(
                noisy,
                context,
                batch["times"],
                plan=plan,
                given=given,
                keep=keep,
                auxiliary=self.auxiliary,
                taps=sorted({block for one in on for block in one.taps()}),
                siamese=self.told_boxes(batch, features),
            )
        target = batch["noise"] - clean
        if keep is not None:
            target, made = target[:, keep], made[:, keep]
        each = masked_mean((output.sample.float() - target).square().mean(-1), made)
        main = each.mean()
        losses = {"total": main, "main": main}
        whole = made.all(1)
        task = "siamese" if form.own_boxes else form.task
        for name, chosen in ((task, whole), (f"{task}_given", ~whole)):
            if chosen.any():
                losses[name] = each[chosen].mean().detach()
        labels = batch.get("labels")
        if labels is not None and keep is not None:
            labels = labels[:, keep]
        if spoken is not None and keep is not None:
            spoken = replace(spoken, lips=spoken.lips[:, keep])
        seen = Seen(target, made, output.taps, dict(self.named_children()), output.auxiliary, labels, spoken)
        for one in on:
            if isinstance(one, AuxiliaryLoss) and (loss := one.loss(seen)) is not None:
                losses[one.term] = loss
                losses["total"] = losses["total"] + one.weight * loss
        return losses

    def told(self, ids: Tensor, mask: Tensor) -> Tensor:
        """[B * S, L, X] features of all prompts. Boxes are told the same few dozen things: each is encoded once."""
        both, place = torch.unique(torch.stack([ids, mask.to(ids)], 1), dim=0, return_inverse=True)
        return self.prompts.encode(both[:, 0], both[:, 1])[place]

    def heard(self, speech: SpeechEncoder, tokens: Tensor, batch: dict[str, Any]) -> Tensor:
        """[B, F * G, X] speech tokens; null tokens of the samples that hear nothing."""
        silent = speech.null_tokens(batch["mels"].shape[1]).to(tokens)
        return torch.where(batch["heard"][:, None, None], tokens, silent)

    def told_boxes(self, batch: dict[str, Any], features: Tensor) -> Layout | None:
        """A layout's boxes for the siamese branch; `features` [B, 1 + K, L, X] are of the whole and of each box."""
        if "boxes" not in batch or self.siamese is None:
            return None
        words = batch["mask"].unflatten(0, features.shape[:2])[:, 1:]
        return Layout(self.siamese, batch["boxes"], mean_words(features[:, 1:], words), batch["present"])

    @torch.no_grad()
    def clean(self, batch: dict[str, Any]) -> Tensor:
        """Clean tokens [B, N, C] of a batch, from the store or from its pictures."""
        if "clean" in batch:
            tokens: Tensor = batch["clean"]
            return tokens
        tokens = self.encoded(batch)
        store = self.source.store(batch["form"])
        if store:
            # What is trained on is what a later epoch reads back.
            tokens = tokens.half().float()
            rows = [tokens, *([batch["labels"].to(tokens)] if store.rows.shape[-1] > tokens.shape[-1] else [])]
            store.put(batch["index"].tolist(), torch.cat(rows, -1))
        return tokens

    def encoded(self, batch: dict[str, Any]) -> Tensor:
        """Clean tokens [B, N, C] of a batch's pictures; where they have holes, given tokens are of what is shown."""
        device = batch["noise"].device
        tokens = torch.cat([self.encode(piece.to(device).float() / 255) for piece in batch["pieces"]], 1)
        if "shown" in batch:
            shown = self.encode(batch["shown"].to(device).float() / 255)
            given = batch["given"][:, -tokens.shape[1] :][:, : shown.shape[1]]
            outside = batch.get("kept", given).to(device)[..., None]
            tokens[:, : shown.shape[1]] = torch.where(outside, shown, tokens[:, : shown.shape[1]])
        return tokens

    def encode(self, pictures: Tensor) -> Tensor:
        """[B, F, 3 or 4, H, W] in 0..1, premultiplied where there is an alpha, to clean tokens [B, N, C]."""
        if pictures.shape[2] == 3:
            pictures = torch.cat([pictures, torch.ones_like(pictures[:, :, :1])], 2)
        tokens: Tensor = self.frozen["codec"].encode(pictures)
        return tokens.float()

    # ------------------------------------------------------------ looking at it

    @torch.no_grad()
    def draw(
        self,
        captions: list[str],
        h: int = 8,
        w: int = 8,
        frames: int = 1,
        steps: int = 24,
        guidance: float = 2.0,
        shift: float = 1.5,
        seed: int = 1,
        internal: float | None = None,
    ) -> Tensor:
        """[B, F, 3, H, W] pictures in 0..1 by plain Euler steps with guidance; for reports during training.

        `internal` is the scale of Internal Guidance, for stages with an auxiliary head.
        """
        device = next(self.parameters()).device
        plan = text_plan(self.config.prompt_tokens, h, w, frames)
        ids, mask = self.prompts.tokenize([*captions, *[""] * len(captions)])
        sigmas = torch.linspace(1, 1 / steps, steps)
        sigmas = torch.cat([shift * sigmas / (1 + (shift - 1) * sigmas), torch.zeros(1)])
        codec, head = self.frozen["codec"], self.auxiliary if internal is not None else None
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(len(captions), frames * h * w, codec.channels, generator=generator).to(device)
        with autocast(device):
            context = self.prompts.encode(ids.to(device), mask.to(device))
            for now, then in pairwise(sigmas):
                time = now.expand(2 * len(x)).to(device)
                out = self.transformer(torch.cat([x, x]), context, time, plan=plan, auxiliary=head)
                velocity = out.sample.float()
                if internal is not None:
                    velocity = torch.lerp(out.auxiliary.float(), velocity, internal)
                with_prompt, without = velocity.chunk(2)
                x = x + (then - now) * (without + guidance * (with_prompt - without))
        return codec.decode(x, 16 * h, 16 * w)[:, :, :3]

    @torch.no_grad()
    def held_out_loss(self) -> dict[str, float]:
        """Loss on fixed samples, noises and times of unseen captions, by quarter of the time axis."""
        world = replace(self.world, seed=77, split="unseen")
        scenes = [world.scene(i) for i in range(64)]
        picture = render(scenes, 128, 128, layered=False).picture.to(next(self.parameters()).device)
        clean = self.encode(picture[:, None])
        noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(5)).to(clean)
        t = ((torch.arange(64) + 0.5) / 64).to(clean)
        ids, mask = self.prompts.tokenize([scene.caption for scene in scenes])
        plan = text_plan(self.config.prompt_tokens, 8, 8)
        with autocast(clean.device):
            context = self.prompts.encode(ids.to(clean.device), mask.to(clean.device))
            out = self.transformer(torch.lerp(clean, noise, t[:, None, None]), context, t, plan=plan)
        error = (out.sample.float() - (noise - clean)).square().mean((1, 2))
        return {f"held_out_{k}": round(float(part.mean()), 4) for k, part in enumerate(error.chunk(4))}

    @torch.no_grad()
    def worth_of_speech(self, count: int = 16) -> dict[str, float]:
        """By what factor the loss on unseen takes grows if everybody hears another's speech; 1 is nothing learnt."""
        found, world = {}, replace(self.world, seed=77, split="unseen")
        source = Samples(self.config, world, self.prompts.tokenize, self.frozen["codec"].channels)
        device = next(self.parameters()).device
        for task in SPOKEN:
            if not self.config.tasks.get(task):
                continue
            batch = source.batch(Form.spoken(task, self.config.speech_tokens), list(range(count)), 0)
            batch = {name: x.to(device) if isinstance(x, Tensor) else x for name, x in batch.items()}
            batch |= {"clean": self.encoded(batch), "heard": torch.ones_like(batch["heard"])}
            with autocast(device):
                own = self(batch)["main"]
                other = self({**batch, "mels": batch["mels"].roll(1, 0)})["main"]
            found[f"{task}_speech"] = round(float(other / own), 4)
        return found

    def report(self, step: int, folder: Path) -> dict[str, float]:
        """A sheet of fixed captions, held-out loss, and the parser's score on unseen captions."""
        world = replace(self.world, seed=99, split="unseen", mixture=TWO)
        scenes = [world.scene(i) for i in range(48)]
        pictures = torch.cat([self.draw([s.caption for s in scenes[k : k + 24]])[:, 0] for k in (0, 24)]).cpu()
        _save_sheet(pictures[:32].unflatten(0, (4, 8)), folder / f"sheet-{step:06d}.png")
        verdicts = [judge(read(picture), scene) for picture, scene in zip(pictures, scenes, strict=True)]
        names = ("ground", "colours", "shapes", "binding", "relation", "exact_two")
        rates = {name: round(sum(getattr(v, name) for v in verdicts) / len(verdicts), 3) for name in names}
        if self.config.tasks.get("video"):
            clips = [replace(self.world, seed=99, split="unseen").clip(i) for i in range(24)]
            drawn = self.draw([clip.caption for clip in clips], *CLIP_HOME, frames=CLIP_FRAMES).cpu()
            _save_sheet(drawn[:12], folder / f"clips-{step:06d}.png")
            readings = [read_clip(frames, self.world.shapes) for frames in drawn]
            for name in ("colour", "shape", "motion"):
                right = [
                    any(getattr(track, name) == getattr(clip.things[0], name) for track in reading.throughout)
                    for reading, clip in zip(readings, clips, strict=True)
                ]
                rates[f"clip_{name}"] = round(sum(right) / len(right), 3)
        return self.held_out_loss() | rates | self.worth_of_speech()


def spoken_of(tokens: Tensor, faces: Tensor, form: Form) -> Spoken:
    """Speech tokens [B, F * G, X] and how mouths and eyes are held [B, F, 4]; references are of no frame."""
    lips = faces.repeat_interleave(form.h * form.w, 1)
    lips = torch.nn.functional.pad(lips, (0, 0, 0, form.tokens - lips.shape[1]))
    return Spoken(tokens.unflatten(1, (faces.shape[1], -1)).flatten(2), faces[..., :TRACK], lips)


def _save_sheet(pictures: Tensor, path: Path) -> None:
    """[rows, columns, 3, H, W] in 0..1 as one PNG."""
    from PIL import Image

    sheet = pictures.permute(0, 3, 1, 4, 2).flatten(0, 1).flatten(1, 2)
    Image.fromarray((sheet * 255).round().byte().numpy()).save(path)
