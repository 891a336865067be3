"""Jobs through the engine for evaluations, the way `diorama render` renders them; nothing is kept between jobs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.estimate import Rendered
from pipelines.job import Job, parse
from training.pixels import Pixels
from training.scene import CORE_SHAPES, SHAPES, Scene

if TYPE_CHECKING:
    from torch import Tensor

Render = Callable[[Sequence[Job]], list[Rendered]]

PICTURE_SIZE, CLIP_SIZE = (128, 128), (96, 96)  # what training mostly showed
SMALL = 96  # a short side below which a hexagon can not be told from a circle once an autoencoder drew it


@dataclass(frozen=True)
class Settings:
    """How an evaluation renders: checkpoint, sampling, and width and height in pixels. Seeds count up from `seed`.

    Without a guidance every task has its job's own; that on speech is of `dubbing` alone. `adapters` are the files that
    act on all of it, with weight 1.
    """

    model: str = "papercut"
    size: tuple[int, int] = CLIP_SIZE
    frames: int = 8  # of a clip, or of each scene
    fps: int = 8
    steps: int = 24
    guidance: float | None = None
    internal_guidance: float | None = None
    speech_guidance: float | None = None
    seed: int = 0
    adapters: tuple[str, ...] = ()

    @property
    def aspect(self) -> tuple[float, float]:
        """Width and height in short sides."""
        return self.size[0] / min(self.size), self.size[1] / min(self.size)

    @property
    def shapes(self) -> tuple[str, ...]:
        """The shapes that a reader of these pictures should try."""
        return SHAPES if min(self.size) >= SMALL else CORE_SHAPES

    def job(self, task: str, number: int, **fields: Any) -> Job:
        """Job `number` of an evaluation."""
        speech = self.speech_guidance if task == "dubbing" else None
        return parse(
            {
                "task": task,
                "name": f"{task}-{number:03d}",
                "model": self.model,
                "steps": self.steps,
                **({} if self.guidance is None else {"guidance": self.guidance}),
                **({} if speech is None else {"speech_guidance": speech}),
                "internal_guidance": self.internal_guidance,
                "seed": self.seed + number,
                "adapters": [{"path": path} for path in self.adapters],
                **fields,
            }
        )

    def draw(self, stills: Sequence[Scene]) -> Pixels:
        """[F, H, W, 3] of the size, as the world draws them."""
        from training.drawing import render

        pictures = render(stills, self.size[1], self.size[0], layered=False).picture
        return np.asarray((pictures * 255).round().byte().permute(0, 2, 3, 1).numpy())


def through_autoencoder(checkpoint: str) -> Callable[[Tensor], Tensor]:
    """A function that sends premultiplied RGBA [n, 4, H, W] in 0..1 through a checkpoint's autoencoder and back.

    The truth that went through it scores what no transformer can surpass.
    """
    import torch

    from pipelines.engine import Engine

    codec = Engine("cpu").checkpoint(checkpoint).codec

    def there_and_back(pixels: Tensor) -> Tensor:
        with torch.no_grad():
            return codec.decode(codec.encode(pixels), *pixels.shape[2:])[:, 0].clamp(0, 1)

    return there_and_back


def through_engine(batch: int = 8, device: str | None = None) -> Render:
    """A function that renders jobs of any kind, at most `batch` of them at once, in the order they came."""
    from pipelines.engine import Engine, groups

    engine = Engine(device)

    def render(jobs: Sequence[Job]) -> list[Rendered]:
        found: dict[int, Rendered] = {}
        for group in groups(jobs):
            for start in range(0, len(group), batch):
                some = group[start : start + batch]
                results = engine.render([jobs[i] for i in some], lambda step, steps: True)
                found.update(zip(some, results, strict=True))
        return [found[i] for i in range(len(jobs))]

    return render
