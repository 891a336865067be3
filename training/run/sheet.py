"""A sheet of pictures on the way: a row a prompt, a column a seed, drawn as a text job with these settings is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pipelines.files.atomic import whole
from pipelines.sampler import Guidance, build_scheduler, draw_noise, sample, to_pixels
from pipelines.text import text_plan

from .config import SamplesConfig
from .store import Store

if TYPE_CHECKING:
    from models.checkpoint import Description
    from models.codec import Codec


class Sheet:
    """What is drawn, and where it goes.

    Args:
        config: prompts, seeds and settings.
        size: width and height of a picture in pixels.
        store: has the prompts' encodings.
        description: the checkpoint's scheduler.
        codec: the decoder.
        folder: of the sheets.
    """

    def __init__(
        self,
        config: SamplesConfig,
        size: tuple[int, int],
        store: Store,
        description: Description,
        codec: Codec,
        folder: Path,
    ) -> None:
        self.config, self.size, self.store = config, size, store
        self.description, self.codec, self.folder = description, codec, folder

    def draw(self, model: Any, step: int, kept: bool = True) -> Path:
        """Draw with a model as it is, and write the sheet of a step, unless another process does."""
        width, height = self.size
        h, w = self.codec.grid(height, width)
        plan = text_plan(self.description.prompt_tokens, h, w)
        config, seeds = self.config, list(self.config.seeds)
        scale = 1.0 if self.description.distilled else config.guidance
        nothing = self.store.prompt("")[0].expand(len(seeds), -1, -1)
        rows = []
        for prompt in config.prompts:
            tokens = sample(
                model,
                plan,
                draw_noise(seeds, self.codec.channels, h, w),
                self.store.prompt(prompt)[0].expand(len(seeds), -1, -1),
                build_scheduler("euler", self.description.scheduler, config.steps, h * w),
                Guidance(scale),
                negative=nothing if scale > 1 else None,
            )
            with torch.no_grad():
                frames = to_pixels(self.codec.decode(tokens, height, width))
            rows.append(np.concatenate([picture[0] for picture in frames], axis=1))
        path = self.folder / f"step-{step:08d}.png"
        if kept:
            self._write(np.concatenate(rows, axis=0), path)
        return path

    def _write(self, pixels: Any, path: Path) -> None:
        from PIL import Image

        self.folder.mkdir(parents=True, exist_ok=True)
        with whole(path) as temporary:
            Image.fromarray(pixels).save(temporary, "PNG")
