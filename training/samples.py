"""Batches for the transformer: frames, captions, masks, times, noise and label maps, as pure functions of the step.

Every task of training is a `Form` of tokens and a way to draw samples for it; the plan comes from the pipelines'
own functions. Nothing here knows the model, so that other processes can draw batches ahead.
Shape suffixes: B samples, S prompts of a sample, F frames, N picture tokens, L prompt tokens, C numbers in a token.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pipelines.blend import fill as paint_over

from . import speaking
from .accelerators import Accelerator
from .accelerators.lip_alignment import FACE
from .arrangement import Box, contradicted, fill, global_prompt, named, overlapping, shaken, within
from .chance import generator
from .config import FlowConfig
from .forms import FPS, SPOKEN, Form, drawn_boxes, form_of
from .masks import Mask, clip_mask, hole, layer_mask, picture_mask
from .papercut import World, frames_of, render
from .portrait import Portrait
from .scene import Scene, Thing
from .store import TokenStore, fingerprint

STORED_LABELS = ("picture", "video", "layout", "layered")  # of the others labels are drawn anew, which is cheap


@dataclass(frozen=True)
class Sample:
    """One sample: what its pictures show, what it is told, and what of its picture stream is given.

    Attributes:
        frames: one scene a picture; the scene of a stack of layers.
        captions: one for each prompt.
        given: [N]; all False is plain generation.
        prompts_given: the same of each prompt in the plan.
        boxes: of a layout, in 0..1.
        take: of somebody who speaks, in place of `frames`.
        heard: whether the speech is.
    """

    frames: tuple[Scene, ...]
    captions: tuple[str, ...]
    given: Mask
    prompts_given: tuple[bool, ...] = (False,)
    boxes: tuple[Box, ...] = ()
    take: speaking.Take | None = None
    heard: bool = True


class Samples:
    """`samples(step)` is a batch.

    Args:
        config: shares of the tasks, sizes, caption and time distributions.
        world: where scenes come from.
        tokenize: captions to token ids and attention mask, [B, L] both.
        channels: C.
        scratch: folder of the stores, for runs with a `pool`.
    """

    def __init__(
        self,
        config: FlowConfig,
        world: World,
        tokenize: Callable[[Sequence[str]], tuple[Tensor, Tensor]],
        channels: int,
        scratch: Path | None = None,
    ) -> None:
        self.config, self.world, self.tokenize, self.channels, self.scratch = config, world, tokenize, channels, scratch
        # Where a picture is given in part, the given part tells where things are: every other one is of no usual place.
        self.anywhere = replace(world, placement="anywhere")
        self.names = (*world.colours, *world.shapes)
        self.stores: dict[tuple[Form, str], TokenStore] = {}
        self.accelerators = config.chosen
        self.labelled = any(one.labelled for one in self.accelerators)

    def __call__(self, step: int) -> dict[str, Any]:
        """One batch; samples of more tokens come in smaller batches.

        Returns:
            form; pieces, a tuple of [B, F, 3 or 4, H, W] in uint8, which together are the picture stream, or clean
            [B, N, C] where the store has all of them; shown [B, n, 3, H, W], where the first n pictures have holes: as
            the tokens that are given, or kept [B, n * h * w], are encoded; times [B]; noise [B, N, C]; ids and mask
            [B * S, L]; index [B]; step; labels [B, N, colours + shapes], while an accelerator needs them; keep [K],
            where one drops tokens; given [B, S * L + speech + N], but for plain pictures; boxes [B, K, 4] and present
            [B, K], where the siamese branch is trained; mels [B, F, M, K], faces [B, F, 4], heard [B], haze and drift
            [B, N], where somebody speaks.
        """
        form = self.form(step)
        context = form.context(self.config.prompt_tokens)
        count = max(1, round(self.config.loop.batch * 88 / (form.tokens + context)))
        return self.batch(form, self.indices(step, count), step)

    def batch(self, form: Form, indices: list[int], step: int) -> dict[str, Any]:
        """A batch of a form, see `__call__`; what chance decides is the step's."""
        tokens, count = form.tokens, len(indices)
        samples = [self.sample(form, index, random.Random(f"{self.world.seed} {step} {index}")) for index in indices]
        chance, on = generator(self.world.seed, step), self.on(step)
        ids, mask = self.tokenize([caption for sample in samples for caption in sample.captions])
        batch: dict[str, Any] = {
            "form": form,
            "index": torch.tensor(indices),
            "step": step,
            "times": self.times(count, chance, form, on),
            "noise": torch.randn((count, tokens, self.channels), generator=chance),
            "ids": ids,
            "mask": mask,
        }
        given = torch.from_numpy(np.stack([_given(sample, form, self.config.prompt_tokens) for sample in samples]))
        if form.task != "picture":  # also where nothing is given: one shape less to compile for
            batch["given"] = given
        for one in on:
            keep = one.keep(form, generator(self.world.seed, step, one.name))
            if keep is not None:
                batch["keep"] = keep
        labelled = any(one.labelled for one in on) and form.task not in SPOKEN
        store = self.store(form)
        kept = store.get(indices) if store else None
        if kept is not None:
            batch["clean"] = kept[..., : self.channels]
            if labelled:
                stored = kept.shape[-1] > self.channels
                batch["labels"] = kept[..., self.channels :] if stored else self.label_map(samples, form)
        else:
            batch["pieces"] = self.pieces(samples, form)
            if form.task in ("masked", "reference"):
                batch["shown"] = _filled(batch["pieces"][0][:, 0], given[:, -tokens:], form)
            if form.task in SPOKEN:
                batch["shown"] = speaking.shown(batch["pieces"][0], _takes(samples))
                batch["kept"] = speaking.kept(_takes(samples), form)
            if labelled or (store and store.rows.shape[-1] > self.channels):
                batch["labels"] = self.label_map(samples, form)
        if form.siamese:
            batch["boxes"] = torch.tensor([sample.boxes for sample in samples])
            told = torch.tensor([[bool(caption) for caption in sample.captions[1:]] for sample in samples])
            batch["present"] = told
        if form.speech:
            batch["mels"], batch["faces"] = self.sounds(samples, form, indices)
            batch["heard"] = torch.tensor([sample.heard for sample in samples])
            batch["haze"] = speaking.haze(_takes(samples), form, chance)
            batch["drift"] = speaking.drift(_takes(samples), form, chance)
        return batch

    # ------------------------------------------------------------ what a batch is of

    def form(self, step: int) -> Form:
        """The task and the shape of this step."""
        return form_of(self.config, self.world.seed, step)

    def indices(self, step: int, count: int) -> list[int]:
        """Which scenes a step draws: new ones for ever, or those of the pool, epoch by epoch."""
        if not self.config.pool:
            return [step * 2 * self.config.loop.batch + i for i in range(count)]
        return [(step * count + i) % self.config.pool for i in range(count)]

    def on(self, step: int) -> tuple[Accelerator, ...]:
        """The accelerators that act in a step."""
        return tuple(one for one in self.accelerators if one.on(step, self.config.loop.steps))

    def store(self, form: Form, what: Literal["shown", "heard"] = "shown") -> TokenStore | None:
        """The store of what samples of a form show or let hear, where the run keeps one."""
        if not (self.config.pool and self.scratch and form.home) or form.own_boxes:
            return None
        if (form, what) not in self.stores:
            more: tuple[str, ...] = ("masks",) if form.task in ("masked", "reference") else ()
            more = speaking.DRAWN_BY if form.task in SPOKEN else more
            labels = len(self.names) if self.labelled and form.task in STORED_LABELS else 0
            rows, told = (form.tokens, self.channels + labels), ""
            if what == "heard":
                rows, told = (form.frames, speaking.BANDS * speaking.COLUMNS + FACE), "-heard"
            elif form.task in STORED_LABELS and not labels:
                told = "-unlabelled"
            drawn = fingerprint(self.world, *more)
            name = f"{form.task}-{len(form.lengths)}-{drawn}-{self.config.pool}{told}.f16"
            self.stores[form, what] = TokenStore(self.scratch / "tokens" / name, (self.config.pool, *rows))
        return self.stores[form, what]

    def sounds(self, samples: Sequence[Sample], form: Form, indices: list[int]) -> tuple[Tensor, Tensor]:
        """[B, F, M, K] what is heard and [B, F, 4] how mouths and eyes are held, from a store where there is one."""
        shape, store = (speaking.BANDS, speaking.COLUMNS), self.store(form, "heard")
        kept = store.get(indices) if store else None
        if kept is None:
            takes = _takes(samples)
            # As a store gives it back.
            parts = (speaking.heard(takes).flatten(2), speaking.mouths(takes), speaking.lids(takes))
            kept = torch.cat(parts, 2).half().float()
            if store:
                store.put(indices, kept)
        return kept[..., :-FACE].unflatten(2, shape), kept[..., -FACE:]

    # ------------------------------------------------------------ what a sample is

    def sample(self, form: Form, index: int, rng: random.Random) -> Sample:
        """Sample `index`: its pictures depend on nothing else, its words and its mask on `rng` too."""
        short = min(form.h, form.w)
        aspect = (form.w / short, form.h / short)
        tokens = form.tokens
        if form.boxes or form.own_boxes:
            return self._of_boxes(form, index, rng, aspect)
        if form.task in SPOKEN:
            return self._spoken(form, index, rng)
        if form.task == "picture":
            scene = self.world.scene(index, aspect)
            return Sample((scene,), (self.tell(scene, rng),), np.zeros(tokens, bool))
        if form.task == "video":
            scene = self.world.clip(index, aspect)
            given = np.zeros(tokens, bool)
            if rng.random() < self.config.clips_masked:
                given = clip_mask(rng, form.frames, form.h, form.w).reshape(-1)
            return Sample(tuple(frames_of(scene, form.frames, FPS)), (self.tell(scene, rng),), given)
        if form.task == "scenes":
            return self._story(form, self.world.story(index, len(form.lengths), aspect), rng)
        scene = (self.world if index % 2 else self.anywhere).scene(index, aspect)
        # Neither pictures nor holes depend on `rng`: a store may hold them already.
        own = random.Random(index)
        thing = own.choice(scene.things)
        box = _box(thing, aspect)
        if form.task == "masked":
            given = picture_mask(own, form.h, form.w, box).reshape(-1)
            return Sample((scene,), (self.tell(scene, rng),), given)
        ground = random.Random(index + 1).choice([colour for colour in self.world.colours if colour != thing.colour])
        alone = Scene((replace(thing, x=aspect[0] / 2, y=aspect[1] / 2),), ground)
        told = "" if rng.random() < 0.6 else self.tell(scene, rng)
        given = np.concatenate([hole(own, form.h, form.w, box).reshape(-1), np.ones(form.h * form.w, bool)])
        return Sample((scene, alone), (told,), given)

    def _story(self, form: Form, story: tuple[Scene, ...], rng: random.Random) -> Sample:
        """Scenes of one subject: mostly the last is made and the others are given, as they are when one renders."""
        count = len(story)
        first = 0 if rng.random() < 0.3 else rng.choice((count - 1, count - 1, max(1, count - 2)))
        scenes_given = [i < first for i in range(count)]
        frames = [still for scene, f in zip(story, form.lengths, strict=True) for still in frames_of(scene, f, FPS)]
        given = np.repeat(scenes_given, [f * form.h * form.w for f in form.lengths])
        return Sample(tuple(frames), tuple(self.tell(scene, rng) for scene in story), given, tuple(scenes_given))

    def _of_boxes(self, form: Form, index: int, rng: random.Random, aspect: tuple[float, float]) -> Sample:
        """A layout or a stack of layers: what fills the boxes, what is said of the whole and of each."""
        own = random.Random(f"{self.world.seed} {index} {form.boxes}")
        grid = form.boxes or drawn_boxes(own, form.own_boxes)
        if form.task == "layered":
            boxes = tuple(within(box, form.h, form.w) for box in grid)
        else:
            boxes = tuple(shaken(own, box, form.h, form.w) for box in grid)
        scene = fill(own, self.world, boxes, overlapping(grid), aspect)
        dice = rng.random()
        if dice < self.config.caption_drop:
            told = ""
        elif form.prompts > 1 and dice < self.config.caption_drop + 0.15:
            told = contradicted(rng, scene, self.world)
        else:
            told = global_prompt(scene) if form.prompts == 1 or rng.random() < 0.5 else f"shapes {scene.ground_words}"
        each = [named(thing) for thing in scene.things] if form.prompts > 1 else []
        if dice < self.config.caption_drop:
            each = [""] * len(each)  # the unconditional half knows neither
        elif form.task == "layout":
            each = [caption if rng.random() >= self.config.box_drop else "" for caption in each]
        if form.own_boxes:  # to one length; a box that nothing is told of is not there
            each += [""] * (form.own_boxes - len(each))
            boxes += ((0.0,) * 4,) * (form.own_boxes - len(boxes))
        given = np.zeros(form.tokens, bool)
        if form.task == "layered":
            given = layer_mask(rng, form.h * form.w, [(y1 - y0) * (x1 - x0) for y0, x0, y1, x1 in form.boxes])
        prompts = 1 + len(form.boxes) if form.prompted else 1
        return Sample((scene,), (told, *each), given, (False,) * prompts, boxes)

    def _spoken(self, form: Form, index: int, rng: random.Random) -> Sample:
        """Somebody who speaks. Half of those of whom nothing is told are not heard either: guidance needs all three."""
        take = speaking.take(form, self.world.seed, index, "unseen" if self.world.split == "unseen" else "train")
        told = self.tell(take.performance.portrait, rng)
        both = min(self.config.caption_drop, self.config.speech_drop) / 2
        if told:
            unheard = (self.config.speech_drop - both) / (1 - self.config.caption_drop)
        else:
            unheard = both / self.config.caption_drop
        return Sample((), (told,), take.given(form), take=take, heard=rng.random() >= unheard)

    def tell(self, scene: Scene | Portrait, rng: random.Random) -> str:
        """What a sample is told: the whole, a paraphrase, the short form or nothing."""
        dice = rng.random()
        for share, text in (
            (self.config.caption_drop, ""),
            (self.config.paraphrase, scene.paraphrase),
            (self.config.short, scene.short),
        ):
            if dice < share:
                return text
            dice -= share
        return scene.caption

    # ------------------------------------------------------------ tensors

    def pieces(self, samples: Sequence[Sample], form: Form) -> tuple[Tensor, ...]:
        """[B, F, 3, H, W] in uint8; of a stack composite and background, then each layer's [B, 1, 4, H', W']."""
        if form.task == "layered":
            return self._stack(samples, form)
        if form.task in SPOKEN:
            return speaking.pieces(_takes(samples), form)
        stills = [still for sample in samples for still in sample.frames]
        drawn = render(stills, 16 * form.h, 16 * form.w, layered=False).picture
        return (_bytes(drawn).unflatten(0, (len(samples), -1)),)

    def _stack(self, samples: Sequence[Sample], form: Form) -> tuple[Tensor, ...]:
        """Layers are cut to their boxes, and the composite is what they then compose to."""
        layers = render([sample.frames[0] for sample in samples], 16 * form.h, 16 * form.w).layers
        composite = background = layers[:, 0, :3]
        cut = []
        for k, box in enumerate(form.boxes, 1):
            y0, x0, y1, x1 = (16 * edge for edge in box)
            layer = layers[:, k, :, y0:y1, x0:x1]
            composite = composite.clone()
            below = composite[:, :, y0:y1, x0:x1]
            composite[:, :, y0:y1, x0:x1] = layer[:, :3] + below * (1 - layer[:, 3:])
            cut.append(_bytes(layer)[:, None])
        return (_bytes(torch.stack([composite, background], 1)), *cut)

    def label_map(self, samples: Sequence[Sample], form: Form) -> Tensor:
        """[B, N, colours + shapes] the share of each token that things of each colour, and of each shape, cover.

        In a stack, composite and layers; nothing covers the background.
        """
        stills = [still for sample in samples for still in sample.frames]
        cover = render(stills, 4 * form.h, 4 * form.w).coverage
        cover = F.avg_pool2d(cover, 4)  # [stills, things, h, w]
        found = torch.zeros(len(stills), form.h, form.w, len(self.names))
        for b, still in enumerate(stills):
            for k, thing in enumerate(still.things):
                for name in (thing.colour, thing.shape):
                    found[b, ..., self.names.index(name)] += cover[b, k]
        found = found.clamp(max=1).unflatten(0, (len(samples), -1)).flatten(1, 3)
        if form.task != "layered":
            return found
        parts = [found, torch.zeros_like(found)]
        for k, (y0, x0, y1, x1) in enumerate(form.boxes):
            own = torch.zeros(len(samples), y1 - y0, x1 - x0, len(self.names))
            for b, sample in enumerate(samples):
                for name in (sample.frames[0].things[k].colour, sample.frames[0].things[k].shape):
                    own[b, ..., self.names.index(name)] = cover[b, k, y0:y1, x0:x1]
            parts.append(own.flatten(1, 2))
        return torch.cat(parts, 1)

    def times(
        self, count: int, generator: torch.Generator, form: Form, accelerators: Sequence[Accelerator] = ()
    ) -> Tensor:
        """[B] times: logit-normal (SD3, 2403.03206), one in ten uniform so that both ends are seen.

        Independent, unless one of the accelerators spreads them. Frames tell of each other, so a clip needs more noise
        to hide as much (the shift of SD3, section 5.3.2).
        """
        mean = self.config.time_mean + (self.config.clip_shift if form.task in ("video", "scenes", "portrait") else 0.0)
        spread = (one.uniform(count, generator) for one in accelerators)
        drawn = next((each for each in spread if each is not None), None)
        if drawn is None:
            drawn = torch.rand(count, generator=generator)
        normal = torch.special.ndtri(drawn.clamp(1e-4, 1 - 1e-4))
        logit_normal = torch.sigmoid(mean + self.config.time_std * normal)
        uniform = torch.rand(count, generator=generator)
        return torch.where(torch.rand(count, generator=generator) < 0.1, uniform, logit_normal)


def _filled(pictures: Tensor, given: Tensor, form: Form) -> Tensor:
    """[B, 1, 3, H, W] with what is made painted over, as the pipeline does: the encoder looks further than one token.

    `pictures` are [B, 3, H, W] in uint8, `given` [B, N].
    """
    shown = []
    for picture, row in zip(pictures, given, strict=True):
        made = ~row[: form.h * form.w].unflatten(0, (form.h, form.w)).numpy()
        pixels = np.ascontiguousarray(picture.permute(1, 2, 0).numpy())
        shown.append(torch.from_numpy(paint_over(pixels, made.repeat(16, 0).repeat(16, 1))).permute(2, 0, 1))
    return torch.stack(shown)[:, None]


def _bytes(colours: Tensor) -> Tensor:
    return (colours * 255).round().byte()


def _given(sample: Sample, form: Form, prompt_tokens: int) -> Mask:
    """[S * L + speech + N] which tokens of both streams stand at timestep 0."""
    prompts = np.repeat(sample.prompts_given, prompt_tokens)
    return np.concatenate([prompts, np.zeros(form.speech, bool), sample.given])


def _takes(samples: Sequence[Sample]) -> list[speaking.Take]:
    return [sample.take for sample in samples if sample.take is not None]


def _box(thing: Thing, aspect: tuple[float, float]) -> tuple[float, float, float, float]:
    """x0, y0, x1, y1 in 0..1 around a thing, with room for any shape."""
    reach = 1.1 * thing.radius
    return (
        max(0.0, (thing.x - reach) / aspect[0]),
        max(0.0, (thing.y - reach) / aspect[1]),
        min(1.0, (thing.x + reach) / aspect[0]),
        min(1.0, (thing.y + reach) / aspect[1]),
    )
