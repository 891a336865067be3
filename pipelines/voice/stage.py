"""The stage: where one window of a dubbed clip is made after another, in IPTalker's three steps where there is a warp.

    align      speech and references attend to each other: in the warp, and in the plan
    warp       a mouth is moved out of the references, and stands in the frame
    refine     denoising from there makes it whole; without a warp it starts from noise alone

What the model then drew as it was stays the source's, to the pixel (`pipelines/blend.py`).

Shape suffixes: B jobs (always 1), F frames of a window, R references, G speech tokens of a frame, X their width, N
tokens, C numbers in a token, H and W pixels of the view.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from models.checkpoint import CheckpointError, _check_weights
from models.speech import Speech, Wave, load_speech
from pipelines.blend import blend, fill, unchanged
from pipelines.dubbing import plain, plan_of
from pipelines.files.media import Pixels
from pipelines.refusal import Refusal
from pipelines.sampler import denoise, draw_noise
from pipelines.story.scenecache import Stored
from pipelines.voice.reel import Reel
from pipelines.voice.region import mask_of
from pipelines.voice.shots import Shots
from pipelines.voice.timeline import Window

if TYPE_CHECKING:
    from models.warp import MouthWarp
    from pipelines.engine import Work
    from pipelines.job import DubbingJob

CHUNK = 4  # frames in the encoder at once
WARP_START = 0.9  # the noise level from which a warped mouth is refined: skin stays, the shape is made anew


@dataclass(frozen=True, eq=False)
class Given:
    """What a window is made from, beside the words.

    Attributes:
        frames: [F, H, W, 3] of the source, in the view.
        speech: [F * G, X].
        tokens: [n * h * w, C] of the last frames of the window before, which this one goes on from.
    """

    frames: Pixels
    speech: Tensor
    tokens: Tensor

    def digest(self) -> str:
        """Hash of all of it."""
        found = hashlib.sha256(str((self.frames.shape, self.speech.shape, self.tokens.shape)).encode())
        for part in (self.frames, self.speech.float().cpu().numpy(), self.tokens.float().cpu().numpy()):
            found.update(np.ascontiguousarray(part).data)
        return found.hexdigest()


class Stage:
    """Makes the windows of one clip."""

    def __init__(self, work: Work, job: DubbingJob, shots: Shots, source: Reel, wave: Wave) -> None:
        """A stage with its speech encoder and, where it is wanted, its warp loaded.

        Args:
            work: the checkpoint, and whom to tell of progress.
            job: what is rendered.
            shots: timeline, regions and references.
            source: frames of the source.
            wave: [T] the speech at 16,000 a second; sample 0 sounds when frame 0 begins.

        Raises:
            Refusal: an encoder or a warp that can not be loaded, or do not fit.
        """
        self.work, self.job, self.shots, self.source, self.wave = work, job, shots, source, wave
        self.codec, self.device = work.checkpoint.codec, work.checkpoint.device
        self.speech, self.warp = load_parts(work, shots.warp)
        self._words: dict[str, Tensor] = {}  # [1, L, X], by prompt

    # ------------------------------------------------------------ what is given

    def given(self, window: Window, tokens: Tensor | None) -> Given:
        """What a window is made from; `tokens` are those of the window before."""
        frames = np.stack([self._seen(number) for number in range(window.begin, window.end)])
        count = window.end - window.begin
        speech = self.speech.encode(self.wave, self.shots.timeline.fps, count, window.begin)
        known = window.before * self.shots.height * self.shots.width
        before = torch.zeros(0, self.codec.channels) if tokens is None else tokens[len(tokens) - known :]
        return Given(frames, speech, before)

    def references_digest(self) -> str:
        """Hash of the pictures of the mouth that the model is shown."""
        found = hashlib.sha256()
        for part in (*self._looks, *self._mouths):
            found.update(str(part.shape).encode())
            found.update(np.ascontiguousarray(part).data)
        return found.hexdigest()

    def _seen(self, number: int) -> Pixels:
        """[H, W, 3] what the model sees of a frame of the result."""
        x0, y0, x1, y1 = self.shots.view
        return self.source[self.shots.timeline.source(number)][y0:y1, x0:x1]

    @cached_property
    def _looks(self) -> list[Pixels]:
        """[., ., 3] the region of each reference, in whole tokens."""
        scale, (left, top, _, _) = self.codec.scale, self.shots.view
        found = []
        for number, (y0, x0, y1, x1) in zip(self.shots.references, self.shots.looks, strict=True):
            frame = self.source[number][top:, left:]
            found.append(frame[y0 * scale : y1 * scale, x0 * scale : x1 * scale])
        return found

    @cached_property
    def _mouths(self) -> list[Pixels]:
        """[., ., 3] the mouth of each reference, to the pixel: what the warp moves."""
        cuts = [self.shots.cuts[number] for number in self.shots.references] if self.warp is not None else []
        return [
            self.source[number][cut[1] : cut[3], cut[0] : cut[2]]
            for number, cut in zip(self.shots.references, cuts, strict=False)
            if cut is not None
        ]

    # ------------------------------------------------------------ what is made

    def passed(self, given: Given, window: Window) -> Stored:
        """A window in which nothing is made: its frames as they are, and their tokens for the window after."""
        tokens = self._encode(given.frames)
        return Stored(given.frames[window.before :], self._last(tokens.flatten(0, 1)))

    def make(self, number: int, window: Window, given: Given, progress: Callable[[int, int], bool]) -> Stored:
        """One window, the last frames of the window before given."""
        work, job, shots, codec = self.work, self.job, self.shots, self.codec
        frames, regions = len(given.frames), shots.regions_in(window)
        h, w, scale = shots.height, shots.width, codec.scale
        masks = [None if region is None else mask_of(region, h, w, scale) for region in regions]
        clean = self._encode(self._hidden(given.frames, masks))  # [F, h * w, C]
        clean.flatten(0, 1)[: len(given.tokens)] = given.tokens
        references = [self._encode(look[None]).flatten(0, 1) for look in self._looks]
        plan = plan_of(shots, window, work.checkpoint.prompts.length, self.speech.per_frame)
        made_BNC = draw_noise([seed_of(job.seed, number)], codec.channels, h, w, frames)
        still = torch.zeros(1, sum(map(len, references)), codec.channels)
        begin = None
        if self.warp is not None:
            begin = self._encode(self._warped(given, window)).flatten(0, 1)
            begin = torch.cat([begin[None], still], 1)
        tokens = denoise(
            replace(work, progress=progress),
            plain(job),
            plan,
            torch.cat([made_BNC, still], 1),
            self._context(job.prompt, given.speech),
            lambda: self._context(job.negative_prompt, self._less(given.speech)),
            weaker=[(job.speech_guidance, self._context(job.prompt, self._null(frames)))]
            if job.speech_guidance > 1
            else (),
            clean=torch.cat([clean.flatten(0, 1), *references])[None],
            begin=begin,
            start=1.0 if begin is None else WARP_START,
        )[0, : frames * h * w]
        drawn, masks = self._decode(tokens.unflatten(0, (frames, h * w))[window.before :]), masks[window.before :]
        source = given.frames[window.before :]
        if job.region == "mouth":  # a portrait's source is another moment
            drawn = self._settled(source, drawn, masks)
        finished = [met(frame, new, mask) for frame, new, mask in zip(source, drawn, masks, strict=True)]
        return Stored(np.stack(finished), self._last(tokens))

    def _settled(self, source: Pixels, drawn: Any, masks: Sequence[Pixels | None]) -> Any:
        """[F, H, W, 3] what was drawn, with the source's own pixels where nothing was changed."""
        known = self._decode(self._encode(source))
        return [
            new if mask is None else unchanged(frame, there, new, mask > 0)
            for frame, there, new, mask in zip(source, known, drawn, masks, strict=True)
        ]

    def _less(self, speech: Tensor) -> Tensor:
        """What the half without its words hears: nothing where speech has a scale of its own, else the speech."""
        return self._null(len(speech) // self.speech.per_frame) if self.job.speech_guidance > 1 else speech

    def _null(self, frames: int) -> Tensor:
        return self.speech.null_tokens(frames)

    def _context(self, prompt: str, speech: Tensor) -> Tensor:
        """[1, L + F * G, X] prompt and speech."""
        if prompt not in self._words:
            self._words[prompt] = self.work.checkpoint.prompts([prompt])
        words = self._words[prompt]
        return torch.cat([words, speech[None].to(words)], 1)

    def _last(self, tokens: Tensor) -> Any:
        """[n * h * w, C] of the frames that the window after goes on from."""
        count = self.job.overlap * self.shots.height * self.shots.width
        kept = tokens[max(len(tokens) - count, 0) :] if count else tokens[:0]
        return kept.float().cpu().numpy()

    def _hidden(self, frames: Pixels, masks: Sequence[Pixels | None]) -> Pixels:
        """Frames with their regions painted over: the encoder looks further than one token."""
        if self.job.region == "portrait":  # nothing is kept that could be looked at
            return np.full_like(frames, 128)
        return np.stack([
            frame if mask is None else fill(frame, mask > 0) for frame, mask in zip(frames, masks, strict=True)
        ])  # fmt: skip

    def _warped(self, given: Given, window: Window) -> Pixels:
        """[F, H, W, 3] the frames with mouths that were moved out of the references."""
        assert self.warp is not None, "only asked where there is a warp"
        references = torch.cat([self._opaque(mouth[None]) for mouth in self._mouths])
        speech = given.speech.unflatten(0, (len(given.frames), -1))
        warped, _ = self.warp(references.to(self.device), speech.to(self.device))
        pixels = (warped[:, :3].float().clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
        frames, (left, top, right, bottom) = given.frames.copy(), self.shots.view
        for frame, mouth, cut in zip(frames, pixels, self.shots.cuts_in(window), strict=True):
            if cut is not None:
                x0, y0, x1, y1 = max(cut[0], left), max(cut[1], top), min(cut[2], right), min(cut[3], bottom)
                frame[y0 - top : y1 - top, x0 - left : x1 - left] = mouth[
                    y0 - cut[1] : y1 - cut[1], x0 - cut[0] : x1 - cut[0]
                ]
        return frames

    def _encode(self, frames: Pixels) -> Tensor:
        """[F, N, C] of [F, H, W, 3], on the CPU in float32."""
        chunks = [frames[start : start + CHUNK] for start in range(0, len(frames), CHUNK)]
        return torch.cat([self.codec.encode(self._opaque(chunk).to(self.device)).float().cpu() for chunk in chunks])

    def _decode(self, tokens: Tensor) -> Any:
        """[F, H, W, 3] in float32, 0..255, of [F, N, C]."""
        x0, y0, x1, y1 = self.shots.view
        parts = [
            self.codec.decode(tokens[start : start + CHUNK], y1 - y0, x1 - x0)[:, 0, :3]
            for start in range(0, len(tokens), CHUNK)
        ]
        return (torch.cat(parts) * 255).permute(0, 2, 3, 1).float().cpu().numpy()

    def _opaque(self, frames: Pixels) -> Tensor:
        """[F, 4, H, W] in 0..1 of [F, H, W, 3]."""
        rgb = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float() / 255
        return torch.cat([rgb, torch.ones_like(rgb[:, :1])], 1)


def load_parts(work: Work, warps: bool) -> tuple[Speech, MouthWarp | None]:
    """The checkpoint's speech encoder and, where it is wanted, its warp.

    Raises:
        Refusal: they can not be loaded, or the warp hears other speech than the encoder gives.
    """
    checkpoint = work.checkpoint
    folder, name, dtype = checkpoint.description.folder, checkpoint.description.name, checkpoint.transformer.dtype
    try:
        speech = load_speech(folder / "speech", checkpoint.device, dtype)
        if not warps:
            return speech, None
        from models.warp import MouthWarp

        _check_weights(folder / "warp", name)
        warp = MouthWarp.from_pretrained(
            folder, subfolder="warp", local_files_only=True, use_safetensors=True, dtype=dtype
        )
    except CheckpointError as error:
        raise Refusal("model", str(error)) from None
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise Refusal("model", f"{name!r}: warp can not be loaded: {' '.join(str(error).split())[:300]}") from None
    expected, got = (speech.per_frame, speech.width), (warp.config.per_frame, warp.config.width)
    if expected != got:
        raise Refusal(
            "model", f"{name!r}: warp hears {got[0]} tokens of {got[1]} a frame, the speech encoder gives {expected}"
        )
    return speech, warp.requires_grad_(False).eval().to(checkpoint.device)


def met(frame: Pixels, drawn: Any, mask: Pixels | None) -> Pixels:
    """[H, W, 3] a frame in whose region stands what was drawn; outside it is the frame bit for bit."""
    if mask is None:
        return frame
    return blend(frame, drawn, mask)


def seed_of(seed: int, window: int) -> int:
    """The seed of a window's noise: the job's for the first, and then others that no job has by chance."""
    if window == 0:
        return seed
    return int.from_bytes(hashlib.sha256(f"{seed} {window}".encode()).digest()[:8]) >> 1
