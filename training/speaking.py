"""Takes of Papercut people who speak: a window of a performance, references from elsewhere in it, and its sound.

A performance is a portrait that follows a voice. A take is what a window of dubbing sees of it: the frames, what of
them is made, how many come from the window before, and which other frames are references. Both are pure functions of
(seed, index) and of the form. Frames show the middle of their time, as the speech encoder hears it.

Shape suffixes: B takes, F frames, R references, h and w tokens, H and W pixels, M mel bands, K columns.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.speech import frame_time, log_mels
from pipelines.blend import fill as paint_over
from pipelines.dubbing import given_tokens
from pipelines.voice.region import Cut, Rectangle, cuts_of, rectangle_of

from .face import draw
from .masks import Mask
from .portrait import MOUTH_BOX, NOD, SWAY, TILT, Box, Cast, Portrait
from .voice import Voice

if TYPE_CHECKING:
    from .forms import Form

RATES = (8, 10, 12, 15, 20, 25)  # frames a second
SECONDS = 3.0  # of a performance: at 8 frames a second it has twice as many frames as a window
BEFORE = (0, 0, 0, 1, 2, 3)  # how many frames come from the window before; half of the windows are a clip's first
TIGHT = 0.7  # share of the takes in which what is made follows the mouth from frame to frame
BANDS, COLUMNS = 64, 33  # what a `SpeechEncoder` hears unless it is told otherwise
DRAWN_BY = ("portrait", "face", "sheet", "voice", "speaking")  # the files that decide what a take shows
HAZE = (-2.5, 0.6)  # mean and deviation of ln sigma, the noise on the frames before (Hallo3, 2412.00733: -3 and 0.5)
DRIFT = 0.3  # at most this share of the frames before is somebody else's
RESPITE = 0.12  # seconds from the end of a phrase to the middle of the blink there
STEADY = 0.4  # share of the takes whose frames before have nothing of anybody else


@dataclass(frozen=True)
class Performance:
    """A portrait that follows a voice from its first to its last second, at a rate."""

    portrait: Portrait
    voice: Voice
    fps: int

    @property
    def frames(self) -> int:
        """How many there are."""
        return math.floor(self.voice.duration * self.fps)

    def times(self, numbers: Sequence[int]) -> list[float]:
        """When frames are, in seconds."""
        return [float(frame_time(self.fps, number)) for number in numbers]

    def track(self, numbers: Sequence[int]) -> NDArray[np.float32]:
        """[F, 3] opening, width and roundness of the mouth."""
        return self.voice.track(self.times(numbers))

    def draw(self, numbers: Sequence[int], height: int, width: int) -> Tensor:
        """[F, 3, height, width] in uint8."""
        frames = draw(self.portrait, self.times(numbers), self.track(numbers), height, width)
        return (frames * 255).round().byte()

    def mels(self, numbers: Sequence[int]) -> NDArray[np.float32]:
        """[F, M, K] what a `SpeechEncoder` hears of frames."""
        times = [frame_time(self.fps, number) for number in numbers]
        return log_mels(self.voice.audio(), times, BANDS, COLUMNS)

    def cuts(self, height: int, width: int) -> list[Cut]:
        """The mouth in every frame of `height` x `width` pixels, as the pipeline cuts it out of the box of a face."""
        short = min(height, width)
        faces: list[Box | None] = []
        for time in self.times(range(self.frames)):
            x0, y0, x1, y1 = self.portrait.face_box(time, (width / short, height / short))
            faces.append((x0 * width, y0 * height, x1 * width, y1 * height))
        return [cut for cut in cuts_of(faces, width, height) if cut is not None]

    def regions(self, numbers: Sequence[int], height: int, width: int) -> tuple[Rectangle, ...]:
        """What the pipeline makes new in frames of `height` x `width` tokens, in tokens."""
        cuts, view = self.cuts(16 * height, 16 * width), (0, 0, 16 * width, 16 * height)
        return tuple(rectangle_of(cuts[number], view, 16) for number in numbers)


@dataclass(frozen=True)
class Take:
    """What one window sees of a performance.

    Attributes:
        performance: who speaks.
        frames: numbers of the window's frames.
        references: numbers of the frames that references are from.
        regions: what is made in each frame, in tokens.
        before: how many frames at the beginning come from the window before.
    """

    performance: Performance
    frames: tuple[int, ...]
    references: tuple[int, ...]
    regions: tuple[Rectangle, ...]
    before: int = 0

    def given(self, form: Form) -> Mask:
        """[N] tokens of the picture stream that are given: frames, and then all of the references."""
        frames = given_tokens(form.h, form.w, self.regions, self.before)
        return np.concatenate([frames.reshape(-1), np.ones(form.tokens - frames.size, bool)])


def perform(seed: int, index: int, fps: int, split: str = "train", seconds: float = SECONDS) -> Performance:
    """Performance `index` of a seed, of people whose captions are those of a split (see `Cast`).

    Who speaks blinks where a phrase ends, as people tend to (Nakano and Kitazawa, 2010): a blink that hangs on nothing
    to be heard or seen is too rare for a small model to learn. Who says nothing blinks at times of their own.
    """
    portrait, voice = Cast(seed, split).portrait(index), Voice(seed, index, seconds)
    if ends := voice.phrase_ends:
        portrait = replace(portrait, blinks=tuple(end + RESPITE for end in ends))
    return Performance(portrait, voice, fps)


def take(form: Form, seed: int, index: int, split: str = "train") -> Take:
    """Take `index` of a seed. Its pictures, and what of them is given, depend on nothing else."""
    own = random.Random(f"{seed} {index} take")
    performance = perform(seed, index, own.choice(RATES), split)
    length = form.lengths[0]
    first = own.randint(0, performance.frames - length)
    window = tuple(range(first, first + length))
    elsewhere = [number for number in range(performance.frames) if number not in window]
    before = own.choice(BEFORE)
    references = spread(performance, elsewhere, form.references, own)
    regions = (form.region,) * length
    if form.task == "dubbing" and own.random() < TIGHT:
        regions = performance.regions(window, form.h, form.w)
    return Take(performance, window, references, regions, before)


def spread(performance: Performance, numbers: Sequence[int], count: int, rng: random.Random) -> tuple[int, ...]:
    """`count` of some frames, in order: any, or half of the time from the mouth most shut to the one most open."""
    if count == 1 or rng.random() < 0.5:
        return tuple(sorted(rng.sample(numbers, count)))
    opening = performance.track(numbers)[:, 0]
    order = [numbers[k] for k in opening.argsort(kind="stable")]
    return tuple(sorted(order[round(k * (len(order) - 1) / (count - 1))] for k in range(count)))


# ---------------------------------------------------------------- tensors


def pieces(takes: Sequence[Take], form: Form) -> tuple[Tensor, Tensor]:
    """Frames [B, F, 3, H, W] and what references show of the form's region, [B, R, 3, H', W'], in uint8."""
    y0, x0, y1, x1 = (16 * edge for edge in form.region)
    drawn = torch.stack(
        [one.performance.draw((*one.frames, *one.references), 16 * form.h, 16 * form.w) for one in takes]
    )
    length = form.lengths[0]
    return drawn[:, :length], drawn[:, length:, :, y0:y1, x0:x1]


def shown(frames: Tensor, takes: Sequence[Take]) -> Tensor:
    """[B, F, 3, H, W] frames with their regions painted over: what is kept knows nothing of what was there."""
    found = frames.clone()
    for b, one in enumerate(takes):
        for f, (y0, x0, y1, x1) in enumerate(one.regions):
            hole = np.zeros(frames.shape[-2:], bool)
            hole[16 * y0 : 16 * y1, 16 * x0 : 16 * x1] = True
            pixels = np.ascontiguousarray(frames[b, f].permute(1, 2, 0).numpy())
            found[b, f] = torch.from_numpy(paint_over(pixels, hole)).permute(2, 0, 1)
    return found


def kept(takes: Sequence[Take], form: Form) -> Tensor:
    """[B, F * h * w] the tokens outside of regions, which are those of what is shown.

    Frames from the window before are given whole. Their regions were made by that window, and are like its targets.
    """
    outside = [given_tokens(form.h, form.w, one.regions).reshape(-1) for one in takes]
    return torch.from_numpy(np.stack(outside))


def heard(takes: Sequence[Take]) -> Tensor:
    """[B, F, M, K] what a speech encoder hears."""
    return torch.from_numpy(np.stack([one.performance.mels(one.frames) for one in takes]))


def mouths(takes: Sequence[Take]) -> Tensor:
    """[B, F, 3] opening, width and roundness of the mouth in each frame."""
    return torch.from_numpy(np.stack([one.performance.track(one.frames) for one in takes]))


def lids(takes: Sequence[Take]) -> Tensor:
    """[B, F, 1] how far the eyes are open in each frame."""
    seen = [[[one.performance.portrait.lids(time)] for time in one.performance.times(one.frames)] for one in takes]
    return torch.tensor(seen)


def haze(takes: Sequence[Take], form: Form, generator: torch.Generator) -> Tensor:
    """[B, N] how much noise lies on tokens: a little on the frames that come from the window before, none elsewhere.

    Windows then do not take what the window before got wrong for the truth, and errors do not add up.
    """
    sigma = torch.exp(HAZE[0] + HAZE[1] * torch.randn(len(takes), generator=generator))
    found = torch.zeros(len(takes), form.tokens)
    for b, one in enumerate(takes):
        found[b, : one.before * form.h * form.w] = sigma[b]
    return found


def drift(takes: Sequence[Take], form: Form, generator: torch.Generator) -> Tensor:
    """[B, N] which share of tokens is somebody else's: of the frames that come from the window before, none elsewhere.

    Noise is another in every token, so from a whole frame of them a colour can be told all the same. Where a long
    portrait goes astray, it does so in all tokens at once: there references have to be believed.
    """
    most, steady = torch.rand((2, len(takes)), generator=generator)
    found = torch.zeros(len(takes), form.tokens)
    for b, one in enumerate(takes):
        if steady[b] >= STEADY:
            found[b, : one.before * form.h * form.w] = DRIFT * most[b]
    return found


# ---------------------------------------------------------------- places


def whole_tokens(box: Box, height: int, width: int) -> Rectangle:
    """The tokens that a box in 0..1 touches, of a frame of `height` x `width` of them."""
    x0, y0, x1, y1 = box
    top, left = min(math.floor(y0 * height), height - 1), min(math.floor(x0 * width), width - 1)
    return top, left, max(top + 1, math.ceil(y1 * height)), max(left + 1, math.ceil(x1 * width))


@lru_cache(maxsize=64)
def usual_region(height: int, width: int) -> Rectangle:
    """The tokens that any person's mouth may touch at any time, in a frame of `height` x `width` tokens."""
    short = min(height, width)
    aspect = (width / short, height / short)
    boxes = []
    for x, y, scale, turn in product((-1, 1), (-1, 1), (0.97, 1.03), (-1, 1)):
        home = Portrait("", "", "", x=x * 0.02, y=y * 0.02, scale=scale).home(aspect)
        stand = home._replace(x=home.x + x * SWAY, y=home.y + y * NOD, angle=turn * TILT)
        boxes.append(stand.around(MOUTH_BOX))
    (x0, y0), (x1, y1) = (
        (pick(b[k] for b in boxes) / aspect[0], pick(b[k + 1] for b in boxes) / aspect[1])
        for pick, k in ((min, 0), (max, 2))
    )
    return whole_tokens((max(x0, 0.0), max(y0, 0.0), min(x1, 1.0), min(y1, 1.0)), height, width)
