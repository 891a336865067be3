"""The stage: where one scene after another is generated, with the scenes before it given.

Shape suffixes: B jobs (always 1), F frames, h and w tokens down and across, N tokens, C numbers in a token, L tokens of
a prompt, X numbers in each of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pipelines.sampler import denoise, draw_noise, to_pixels
from pipelines.scenes import Story
from pipelines.story.scenecache import Stored

if TYPE_CHECKING:
    from pipelines.engine import Work

ENCODED = 8  # frames of a given video that are encoded at once


class Stage:
    """Generates the scenes of one story, each with the ones before it given."""

    def __init__(self, work: Work, story: Story) -> None:
        self.work, self.story = work, story
        self.codec, self.prompts = work.checkpoint.codec, work.checkpoint.prompts
        width, height = story.job.size
        self.h, self.w = self.codec.grid(height, width)
        self._tokens: dict[int, Tensor] = {}  # [F * h * w, C] clean, by scene
        self._features: dict[str, Tensor] = {}  # [1, L, X], by prompt

    def put(self, scene: int, stored: Stored) -> None:
        """Take a finished scene, to show it to the next ones."""
        self._tokens[scene] = torch.from_numpy(stored.tokens)

    def generate(self, scene: int, progress: Callable[[int, int], bool]) -> Stored:
        """Render one of the job's own scenes; all before it are there."""
        story, job, number = self.story, self.story.job, scene - self.story.given
        frames, prompt, negative = story.lengths[scene], job.scenes[number].prompt, job.negative_of(number)
        noise_BNC = draw_noise([job.seed_of(number)], self.codec.channels, self.h, self.w, frames)
        shown, clean_BNC = self._shown(scene), None
        if shown:
            before_BNC = torch.cat(shown)[None]
            clean_BNC = torch.cat([before_BNC, torch.zeros_like(noise_BNC)], 1)
            noise_BNC = torch.cat([before_BNC, noise_BNC], 1)
        # What is steered away from concerns the new scene alone; the given ones keep their prompts.
        told = [text for i in story.context(scene) if (text := story.prompts[i]) is not None] if job.cuts else []
        tokens_BNC = denoise(
            replace(self.work, progress=progress),
            job,
            story.plan(scene, self.prompts.length, self.h, self.w),
            noise_BNC,
            self._read([*told, prompt]),
            lambda: self._read([*told, negative]),
            clean=clean_BNC,
        )[:, -frames * self.h * self.w :]
        pixels = to_pixels(self.codec.decode(tokens_BNC, *reversed(job.size)))[0]
        return Stored(pixels, tokens_BNC[0].float().cpu().numpy())

    def _shown(self, scene: int) -> list[Tensor]:
        """[F * h * w, C] clean tokens of what the model is shown with a scene, in the order of its plan."""
        if self.story.job.cuts:
            return [self._clean(i) for i in self.story.context(scene)]
        found: list[Tensor] = []
        left = self.story.primed(scene)
        while left:
            scene -= 1
            frames = min(left, self.story.lengths[scene])
            found.insert(0, self._clean(scene)[-frames * self.h * self.w :])
            left -= frames
        return found

    def _clean(self, scene: int) -> Tensor:
        """[F * h * w, C] clean tokens of a scene: as it was generated, or encoded on its own."""
        earlier = self.story.earlier
        if scene not in self._tokens:
            assert earlier is not None, "only given scenes come without tokens"
            part = earlier.scenes[scene]
            rgb = torch.from_numpy(earlier.frames[part.start : part.end]).permute(0, 3, 1, 2) / 255
            rgba = torch.cat([rgb, torch.ones_like(rgb[:, :1])], 1).to(self.work.checkpoint.device)
            tokens = [self.codec.encode(frames[None])[0] for frames in rgba.split(ENCODED)]
            self._tokens[scene] = torch.cat(tokens).float().cpu()
        return self._tokens[scene]

    def _read(self, texts: Sequence[str]) -> Tensor:
        """[1, len(texts) * L, X]; each text is read on its own, whatever stands beside it."""
        for text in texts:
            if text not in self._features:
                self._features[text] = self.prompts([text])
        return torch.cat([self._features[text] for text in texts], 1)
