"""The forms of training's batches: which task, how many tokens, and what plan they stand in.

A batch has one form, for its samples share a plan; the plan comes from the function that the task's pipeline calls.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from models.plan import TokenPlan
from pipelines.dubbing import dubbing_plan
from pipelines.layered import layered_plan
from pipelines.layout import layout_plan
from pipelines.masked import masked_plan
from pipelines.scenes import scenes_plan
from pipelines.text import text_plan
from pipelines.voice.region import Rectangle

from .arrangement import MOST, TokenBox, token_boxes
from .speaking import usual_region

if TYPE_CHECKING:
    from .config import FlowConfig

FPS = 8  # of all clips in training
HOME = (8, 8)  # tokens down and across of pictures: 128x128 pixels
# Of clips: 96x96 pixels, a second. At 64x64 a small shape is one token, and the autoencoder blurs its outline.
CLIP_HOME, CLIP_FRAMES = (6, 6), 8
CLIP_SIZES = ((4, 4), (8, 8), (6, 8), (8, 6))  # other sizes of clips
# Other sizes of pictures that training mixes in.
SIZES = ((4, 4), (6, 6), (10, 10), (12, 12), (8, 12), (12, 8), (6, 10), (10, 6), (4, 8), (8, 4), (4, 12), (12, 4))
LENGTHS = (4, 5, 6, 10, 12, 16)  # other lengths of clips
# Of windows of speech, at the size of clips: a mouth wide open is 13 of its 96 pixels tall, and 12 of its 36 tokens
# hold it wherever its head goes. At 64 pixels two by two tokens would, at 128 a window costs nearly twice as much.
SPOKEN_FRAMES, SPOKEN_LENGTHS, SPOKEN_SIZES = 10, (8, 9, 11, 12, 16), ((8, 8), (6, 8), (8, 6))
MOUTHS = 3  # references of a mouth
COUNTS = (1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 8, MOST)  # of boxes
MECHANISMS = ((True, False), (True, True), (False, True))  # a prompt for each box in the plan, and the siamese branch

Task = Literal["picture", "masked", "reference", "video", "scenes", "layout", "layered", "dubbing", "portrait"]
SPOKEN: tuple[Task, ...] = ("dubbing", "portrait")


@dataclass(frozen=True)
class Form:
    """What decides the plan of a batch.

    Attributes:
        task: what is learned.
        h: tokens down.
        w: tokens across.
        lengths: frames of each scene.
        boxes: of a layout or of layers, in tokens.
        prompted: whether the plan has a prompt for each box.
        own_boxes: of a layout that the siamese branch alone is told of, how many boxes a sample has, or fewer where no
            room is left. They are not in the plan, so each sample has its own.
        siamese: whether a layout's boxes go through the siamese branch.
        region: of speech, what is made in frames and shown by references, in tokens; for a portrait all.
        references: of speech, how many.
        per_frame: speech tokens of each frame.
    """

    task: Task
    h: int
    w: int
    lengths: tuple[int, ...] = (1,)
    boxes: tuple[TokenBox, ...] = ()
    prompted: bool = False
    siamese: bool = False
    own_boxes: int = 0
    region: Rectangle = (0, 0, 0, 0)
    references: int = 0
    per_frame: int = 0

    @classmethod
    def spoken(
        cls,
        task: Task,
        per_frame: int,
        size: tuple[int, int] = CLIP_HOME,
        frames: int = SPOKEN_FRAMES,
        mouths: int = MOUTHS,
    ) -> Form:
        """Somebody who speaks, in frames of `size` tokens down and across: `mouths` tell of it, or one portrait."""
        if task == "portrait":
            return cls(task, *size, (frames,), region=(0, 0, *size), references=1, per_frame=per_frame)
        return cls(task, *size, (frames,), region=usual_region(*size), references=mouths, per_frame=per_frame)

    @property
    def reference(self) -> tuple[int, int] | None:
        """Tokens down and across of the reference picture."""
        return (self.h, self.w) if self.task == "reference" else None

    @property
    def frames(self) -> int:
        """Whole pictures of a sample, the reference picture and a background among them."""
        return sum(self.lengths) + (self.task in ("reference", "layered"))

    @property
    def tokens(self) -> int:
        """Tokens of the picture stream."""
        layers = sum((y1 - y0) * (x1 - x0) for y0, x0, y1, x1 in self.boxes) if self.task == "layered" else 0
        y0, x0, y1, x1 = self.region
        return self.frames * self.h * self.w + layers + self.references * (y1 - y0) * (x1 - x0)

    @property
    def speech(self) -> int:
        """Speech tokens of the context stream."""
        return sum(self.lengths) * self.per_frame

    def context(self, prompt_tokens: int) -> int:
        """Tokens of the context stream."""
        told = len(self.lengths) + (len(self.boxes) if self.prompted else 0)
        return told * prompt_tokens + self.speech

    @property
    def prompts(self) -> int:
        """Captions of a sample: one a scene, or one for the whole and one a box."""
        return len(self.lengths) + self.own_boxes + (len(self.boxes) if self.prompted or self.siamese else 0)

    @property
    def home(self) -> bool:
        """Whether this is the shape that most batches of the task have, which is worth a compilation."""
        if self.task in ("video", "scenes"):
            return (self.h, self.w) == CLIP_HOME and set(self.lengths) == {CLIP_FRAMES} and len(self.lengths) < 4
        if self.task in SPOKEN:
            return self == Form.spoken(self.task, self.per_frame)
        return (self.h, self.w) == HOME and not self.boxes

    def plan(self, prompt_tokens: int) -> TokenPlan:
        """The plan as the task's pipeline makes it; which tokens are given differs between samples."""
        if self.task == "scenes":
            return scenes_plan(prompt_tokens, self.h, self.w, self.lengths)
        if self.task == "layout":
            if self.own_boxes:
                return text_plan(prompt_tokens, self.h, self.w)
            return layout_plan(prompt_tokens, self.h, self.w, self.boxes, placed=True, regional=self.prompted)
        if self.task == "layered":
            every = (self.prompted,) * len(self.boxes)
            return layered_plan(prompt_tokens, self.h, self.w, self.boxes, prompted=every, placed=True)
        if self.task in SPOKEN:
            regions, references = (self.region,) * self.frames, (self.region,) * self.references
            return dubbing_plan(prompt_tokens, self.per_frame, self.h, self.w, regions, references=references)
        if self.reference:
            return masked_plan(prompt_tokens, self.h, self.w, 1, bytes(self.h * self.w), self.reference)
        return text_plan(prompt_tokens, self.h, self.w, self.lengths[0])


def form_of(config: FlowConfig, seed: int, step: int) -> Form:
    """The task and the shape of a step: other sizes and lengths join once the home sizes stand."""
    rng = random.Random(f"{seed} form {step}")
    shares = {name: share for name, share in config.tasks.items() if share}
    task: Task = rng.choices(tuple(shares), tuple(shares.values()))[0]
    early = step < config.other_sizes_from * config.loop.steps
    usual = early or rng.random() >= config.other_sizes
    if task == "picture":
        return Form(task, *(HOME if usual else rng.choice(SIZES)))
    if task == "video":
        if usual:
            return Form(task, *CLIP_HOME, (CLIP_FRAMES,))
        if rng.random() < 0.5:
            return Form(task, *rng.choice(CLIP_SIZES), (CLIP_FRAMES,))
        return Form(task, *CLIP_HOME, (rng.choice(LENGTHS),))
    if task == "scenes":
        count = rng.choice((2, 3))
        return Form(task, *CLIP_HOME, (CLIP_FRAMES,) * count if usual else tuple(rng.choices(LENGTHS, k=count)))
    if task in ("layout", "layered"):
        return _arranged(task, rng)
    if task in SPOKEN:
        if usual:
            return Form.spoken(task, config.speech_tokens)
        size = rng.choice((CLIP_HOME, *SPOKEN_SIZES))
        return Form.spoken(task, config.speech_tokens, size, rng.choice(SPOKEN_LENGTHS), rng.randint(1, 5))
    return Form(task, *HOME)


def _arranged(task: Task, rng: random.Random) -> Form:
    """Where boxes are in the plan, a form of its own for nearly every step: samples share its boxes and little else."""
    overlap = rng.random() < 0.5
    count = rng.choice(COUNTS)
    boxes = token_boxes(rng, *HOME, count, overlap)
    if task == "layered":
        return Form(task, *HOME, boxes=boxes, prompted=rng.random() < 0.5)
    prompted, siamese = rng.choice(MECHANISMS)
    if not prompted:
        return Form(task, *HOME, siamese=siamese, own_boxes=count)
    return Form(task, *HOME, boxes=boxes, prompted=prompted, siamese=siamese)


def drawn_boxes(rng: random.Random, count: int) -> tuple[TokenBox, ...]:
    """At most `count` boxes of one layout or stack, half of the times some over others."""
    return token_boxes(rng, *HOME, count, overlap=rng.random() < 0.5)
