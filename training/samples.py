"""Batches for the transformer: frames, captions, masks, times, noise and label maps, as pure functions of the step.

Every task of training is a `Layout` of tokens and a way to draw samples for it; the plan comes from the pipelines'
own functions. Nothing here knows the model, so that other processes can draw batches ahead.
Shape suffixes: B samples, S prompts of a sample, F frames, N picture tokens, L prompt tokens, C numbers in a token.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from models.plan import TokenPlan
from pipelines.masked import masked_plan
from pipelines.scenes import scenes_plan
from pipelines.text import text_plan

from .config import FlowConfig
from .masks import Mask, clip_mask, hole, picture_mask
from .papercut import Scene, Thing, World, frames_of, render

FPS = 8  # of all clips in training
HOME = (8, 8)  # tokens down and across of pictures: 128x128 pixels
# Of clips: 96x96 pixels, a second. At 64x64 a small shape is one token, and the autoencoder blurs its outline.
CLIP_HOME, CLIP_FRAMES = (6, 6), 8
CLIP_SIZES = ((4, 4), (8, 8), (6, 8), (8, 6))  # other sizes of clips
# Other sizes of pictures that training mixes in.
SIZES = ((4, 4), (6, 6), (10, 10), (12, 12), (8, 12), (12, 8), (6, 10), (10, 6), (4, 8), (8, 4), (4, 12), (12, 4))
LENGTHS = (4, 5, 6, 10, 12, 16)  # other lengths of clips


@dataclass(frozen=True)
class Layout:
    """What decides the plan of a batch: its task, tokens down and across, and frames of each scene."""

    task: Literal["picture", "masked", "reference", "video", "scenes"]
    h: int
    w: int
    lengths: tuple[int, ...] = (1,)

    @property
    def reference(self) -> tuple[int, int] | None:
        """Tokens down and across of the reference picture."""
        return (self.h, self.w) if self.task == "reference" else None

    @property
    def frames(self) -> int:
        """Pictures of a sample, the reference picture among them."""
        return sum(self.lengths) + (self.reference is not None)

    @property
    def home(self) -> bool:
        """Whether this is the shape that most batches of the task have: worth a compilation and a place in a store."""
        if self.task in ("video", "scenes"):
            return (self.h, self.w) == CLIP_HOME and set(self.lengths) == {CLIP_FRAMES} and len(self.lengths) < 4
        return (self.h, self.w) == HOME

    def plan(self, prompt_tokens: int) -> TokenPlan:
        """The plan as the task's pipeline makes it; which tokens are given differs between samples."""
        if self.task == "scenes":
            return scenes_plan(prompt_tokens, self.h, self.w, self.lengths)
        if self.reference:
            return masked_plan(prompt_tokens, self.h, self.w, 1, bytes(self.h * self.w), self.reference)
        return text_plan(prompt_tokens, self.h, self.w, self.lengths[0])


@dataclass(frozen=True)
class Sample:
    """One sample: what its pictures show, what it is told, and what of its picture stream is given."""

    frames: tuple[Scene, ...]
    captions: tuple[str, ...]
    given: Mask  # [N]; all False is plain generation
    prompts_given: tuple[bool, ...] = (False,)


class TokenStore:
    """Clean tokens and label maps of a pool of samples in a file, so that each is rendered and encoded once.

    A cache and nothing more: a run without it, or with another machine's, draws the same batches.

    Args:
        path: of the array; made where it is missing.
        shape: [pool, N, C + labels].
    """

    def __init__(self, path: Path, shape: tuple[int, int, int]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.rows = np.memmap(path, np.float16, "r+" if path.exists() else "w+", shape=shape)

    def get(self, indices: Sequence[int]) -> Tensor | None:
        """[B, N, C + labels] in float32; None when one of them is not there."""
        found = self.rows[list(indices)]
        # Tokens are never all zero; a row is written at once, so its end tells of the whole.
        if not found[:, -1].any(axis=-1).all():
            return None
        return torch.from_numpy(found).float()

    def put(self, indices: Sequence[int], rows: Tensor) -> None:
        """Keep [B, N, C + labels]."""
        self.rows[list(indices)] = rows.cpu().numpy()


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
        # Where a picture is given in part, the given part tells where things are: no place needs to be usual.
        self.anywhere = replace(world, placement="anywhere")
        self.names = (*world.colours, *world.shapes)
        self.stores: dict[Layout, TokenStore] = {}

    def __call__(self, step: int) -> dict[str, Any]:
        """One batch; samples of more tokens come in smaller batches.

        Returns:
            layout; frames [B, F, 3, H, W] in uint8, or clean [B, N, C] where the store has all of them; times [B];
            noise [B, N, C]; ids and mask [B * S, L]; index [B]; labels [B, N, colours + shapes], while the label loss
            is on and the task has them; given [B, S * L + N], but for plain pictures.
        """
        layout = self.layout(step)
        tokens = layout.frames * layout.h * layout.w
        prompts = len(layout.lengths)
        count = max(1, round(self.config.loop.batch * 88 / (tokens + prompts * self.config.prompt_tokens)))
        indices = self.indices(step, count)
        samples = [self.sample(layout, index, random.Random(f"{self.world.seed} {step} {index}")) for index in indices]
        generator = torch.Generator().manual_seed((self.world.seed << 40) + step)
        ids, mask = self.tokenize([caption for sample in samples for caption in sample.captions])
        batch: dict[str, Any] = {
            "layout": layout,
            "index": torch.tensor(indices),
            "times": self.times(count, generator, layout),
            "noise": torch.randn((count, tokens, self.channels), generator=generator),
            "ids": ids,
            "mask": mask,
        }
        given = torch.from_numpy(np.stack([_given(sample, self.config.prompt_tokens) for sample in samples]))
        if layout.task != "picture":  # also where nothing is given: one shape less to compile for
            batch["given"] = given
        # Alignment helps early and binds late (HASTE, 2505.16792), so it is switched off.
        labelled = layout.task in ("picture", "video") and step < self.config.labels_until * self.config.loop.steps
        store = self.store(layout)
        kept = store.get(indices) if store else None
        if kept is not None:
            batch["clean"] = kept[..., : self.channels]
            if labelled:
                batch["labels"] = kept[..., self.channels :]
        else:
            batch["frames"] = self.pictures(samples, layout)
            if labelled or (store and store.rows.shape[-1] > self.channels):
                batch["labels"] = self.label_map(samples, layout)
        return batch

    # ------------------------------------------------------------ what a batch is of

    def layout(self, step: int) -> Layout:
        """The task and the shape of this step: other sizes and lengths join once the home sizes stand."""
        rng = random.Random(f"{self.world.seed} layout {step}")
        shares = {name: share for name, share in self.config.tasks.items() if share}
        task: Any = rng.choices(tuple(shares), tuple(shares.values()))[0]
        early = step < self.config.other_sizes_from * self.config.loop.steps
        usual = early or rng.random() >= self.config.other_sizes
        if task == "picture":
            return Layout(task, *(HOME if usual else rng.choice(SIZES)))
        if task == "video":
            if usual:
                return Layout(task, *CLIP_HOME, (CLIP_FRAMES,))
            if rng.random() < 0.5:
                return Layout(task, *rng.choice(CLIP_SIZES), (CLIP_FRAMES,))
            return Layout(task, *CLIP_HOME, (rng.choice(LENGTHS),))
        if task == "scenes":
            count = rng.choice((2, 3))
            return Layout(task, *CLIP_HOME, (CLIP_FRAMES,) * count if usual else tuple(rng.choices(LENGTHS, k=count)))
        return Layout(task, *HOME)

    def indices(self, step: int, count: int) -> list[int]:
        """Which scenes a step draws: new ones for ever, or those of the pool, epoch by epoch."""
        if not self.config.pool:
            return [step * 2 * self.config.loop.batch + i for i in range(count)]
        return [(step * count + i) % self.config.pool for i in range(count)]

    def store(self, layout: Layout) -> TokenStore | None:
        """The store of a layout, where the run keeps one."""
        if not (self.config.pool and self.scratch and layout.home):
            return None
        if layout not in self.stores:
            labels = len(self.names) if layout.task in ("picture", "video") else 0
            shape = (self.config.pool, layout.frames * layout.h * layout.w, self.channels + labels)
            name = f"{layout.task}-{len(layout.lengths)}-{_fingerprint(self.world)}-{self.config.pool}.f16"
            self.stores[layout] = TokenStore(self.scratch / "tokens" / name, shape)
        return self.stores[layout]

    # ------------------------------------------------------------ what a sample is

    def sample(self, layout: Layout, index: int, rng: random.Random) -> Sample:
        """Sample `index`: its pictures depend on nothing else, its words and its mask on `rng` too."""
        short = min(layout.h, layout.w)
        aspect = (layout.w / short, layout.h / short)
        tokens = layout.frames * layout.h * layout.w
        if layout.task == "picture":
            scene = self.world.scene(index, aspect)
            return Sample((scene,), (self.tell(scene, rng),), np.zeros(tokens, bool))
        if layout.task == "video":
            scene = self.world.clip(index, aspect)
            given = np.zeros(tokens, bool)
            if rng.random() < self.config.clips_masked:
                given = clip_mask(rng, layout.frames, layout.h, layout.w).reshape(-1)
            return Sample(tuple(frames_of(scene, layout.frames, FPS)), (self.tell(scene, rng),), given)
        if layout.task == "scenes":
            return self._story(layout, self.world.story(index, len(layout.lengths), aspect), rng)
        scene = self.anywhere.scene(index, aspect)
        # The sample's pictures must not depend on `rng`: a store may hold them already.
        thing = random.Random(index).choice(scene.things)
        box = _box(thing, aspect)
        if layout.task == "masked":
            given = picture_mask(rng, layout.h, layout.w, box).reshape(-1)
            return Sample((scene,), (self.tell(scene, rng),), given)
        ground = random.Random(index + 1).choice([colour for colour in self.world.colours if colour != thing.colour])
        alone = Scene((replace(thing, x=aspect[0] / 2, y=aspect[1] / 2),), ground)
        told = "" if rng.random() < 0.6 else self.tell(scene, rng)
        given = np.concatenate([hole(rng, layout.h, layout.w, box).reshape(-1), np.ones(layout.h * layout.w, bool)])
        return Sample((scene, alone), (told,), given)

    def _story(self, layout: Layout, story: tuple[Scene, ...], rng: random.Random) -> Sample:
        """Scenes of one subject: mostly the last is made and the others are given, as they are when one renders."""
        count = len(story)
        first = 0 if rng.random() < 0.3 else rng.choice((count - 1, count - 1, max(1, count - 2)))
        scenes_given = [i < first for i in range(count)]
        frames = [still for scene, f in zip(story, layout.lengths, strict=True) for still in frames_of(scene, f, FPS)]
        given = np.repeat(scenes_given, [f * layout.h * layout.w for f in layout.lengths])
        return Sample(tuple(frames), tuple(self.tell(scene, rng) for scene in story), given, tuple(scenes_given))

    def tell(self, scene: Scene, rng: random.Random) -> str:
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

    def pictures(self, samples: Sequence[Sample], layout: Layout) -> Tensor:
        """[B, F, 3, H, W] in uint8."""
        stills = [still for sample in samples for still in sample.frames]
        drawn = render(stills, 16 * layout.h, 16 * layout.w, layered=False).picture
        return (drawn * 255).round().byte().unflatten(0, (len(samples), -1))

    def label_map(self, samples: Sequence[Sample], layout: Layout) -> Tensor:
        """[B, N, colours + shapes] the share of each token that things of each colour, and of each shape, cover."""
        stills = [still for sample in samples for still in sample.frames]
        cover = render(stills, 4 * layout.h, 4 * layout.w).coverage
        cover = F.avg_pool2d(cover, 4).flatten(2)
        found = torch.zeros(len(stills), layout.h * layout.w, len(self.names))
        for b, still in enumerate(stills):
            for k, thing in enumerate(still.things):
                for name in (thing.colour, thing.shape):
                    found[b, :, self.names.index(name)] += cover[b, k]
        return found.clamp(max=1).unflatten(0, (len(samples), -1)).flatten(1, 2)

    def times(self, count: int, generator: torch.Generator, layout: Layout) -> Tensor:
        """[B] stratified times: logit-normal (SD3, 2403.03206), one in ten uniform so that both ends are seen.

        Frames tell of each other, so a clip needs more noise to hide as much (the shift of SD3, section 5.3.2).
        """
        mean = self.config.time_mean + (self.config.clip_shift if layout.task in ("video", "scenes") else 0.0)
        strata = (torch.randperm(count, generator=generator) + torch.rand(count, generator=generator)) / count
        normal = torch.special.ndtri(strata.clamp(1e-4, 1 - 1e-4))
        logit_normal = torch.sigmoid(mean + self.config.time_std * normal)
        uniform = torch.rand(count, generator=generator)
        return torch.where(torch.rand(count, generator=generator) < 0.1, uniform, logit_normal)


def _fingerprint(world: World) -> str:
    """Short hash of a world and of the code that draws it: a store of other scenes is another store."""
    parts = [repr(world).encode()]
    parts += [
        (Path(__file__).parent / f"{name}.py").read_bytes() for name in ("papercut", "scene", "motion", "drawing")
    ]
    return hashlib.sha256(b"".join(parts)).hexdigest()[:12]


def _given(sample: Sample, prompt_tokens: int) -> Mask:
    """[S * L + N] which tokens of both streams stand at timestep 0."""
    return np.concatenate([np.repeat(sample.prompts_given, prompt_tokens), sample.given])


def _box(thing: Thing, aspect: tuple[float, float]) -> tuple[float, float, float, float]:
    """x0, y0, x1, y1 in 0..1 around a thing, with room for any shape."""
    reach = 1.1 * thing.radius
    return (
        max(0.0, (thing.x - reach) / aspect[0]),
        max(0.0, (thing.y - reach) / aspect[1]),
        min(1.0, (thing.x + reach) / aspect[0]),
        min(1.0, (thing.y + reach) / aspect[1]),
    )
