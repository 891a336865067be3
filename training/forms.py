"""The forms of training's batches: which task, how many tokens, and what plan they stand in.

A batch has one form, for its samples share a plan; the plan comes from the function that the task's pipeline calls.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from models.plan import TokenPlan
from pipelines.layered import layered_plan
from pipelines.layout import layout_plan
from pipelines.masked import masked_plan
from pipelines.scenes import scenes_plan
from pipelines.text import text_plan

from .arrangement import TokenBox

FPS = 8  # of all clips in training
HOME = (8, 8)  # tokens down and across of pictures: 128x128 pixels
# Of clips: 96x96 pixels, a second. At 64x64 a small shape is one token, and the autoencoder blurs its outline.
CLIP_HOME, CLIP_FRAMES = (6, 6), 8
CLIP_SIZES = ((4, 4), (8, 8), (6, 8), (8, 6))  # other sizes of clips
# Other sizes of pictures that training mixes in.
SIZES = ((4, 4), (6, 6), (10, 10), (12, 12), (8, 12), (12, 8), (6, 10), (10, 6), (4, 8), (8, 4), (4, 12), (12, 4))
LENGTHS = (4, 5, 6, 10, 12, 16)  # other lengths of clips


Task = Literal["picture", "masked", "reference", "video", "scenes", "layout", "layered"]


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
        siamese: whether a layout's boxes go through the siamese branch.
    """

    task: Task
    h: int
    w: int
    lengths: tuple[int, ...] = (1,)
    boxes: tuple[TokenBox, ...] = ()
    prompted: bool = False
    siamese: bool = False

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
        return self.frames * self.h * self.w + layers

    @property
    def prompts(self) -> int:
        """Captions of a sample: one a scene, or one for the whole and one a box."""
        return len(self.lengths) + (len(self.boxes) if self.prompted or self.siamese else 0)

    @property
    def home(self) -> bool:
        """Whether this is the shape that most batches of the task have: worth a compilation and a place in a store."""
        if self.task in ("video", "scenes"):
            return (self.h, self.w) == CLIP_HOME and set(self.lengths) == {CLIP_FRAMES} and len(self.lengths) < 4
        return (self.h, self.w) == HOME and not self.boxes

    def plan(self, prompt_tokens: int) -> TokenPlan:
        """The plan as the task's pipeline makes it; which tokens are given differs between samples."""
        if self.task == "scenes":
            return scenes_plan(prompt_tokens, self.h, self.w, self.lengths)
        if self.task == "layout":
            return layout_plan(prompt_tokens, self.h, self.w, self.boxes, placed=True, regional=self.prompted)
        if self.task == "layered":
            every = (self.prompted,) * len(self.boxes)
            return layered_plan(prompt_tokens, self.h, self.w, self.boxes, prompted=every, placed=True)
        if self.reference:
            return masked_plan(prompt_tokens, self.h, self.w, 1, bytes(self.h * self.w), self.reference)
        return text_plan(prompt_tokens, self.h, self.w, self.lengths[0])
