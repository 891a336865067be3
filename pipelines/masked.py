"""Inpaint, outpaint, predict, interpolate, complete: a part of a picture or video is given, the rest is made.

Given tokens stand at timestep 0 and are written back clean after every step (the unified mask of VDT, 2305.13311). A
token that the mask cuts in two is made whole, and meets what is kept in pixels. What the files say is read in
`canvas.py`; the two are joined in `blend.py`.
Shape suffixes: B jobs, F frames, N picture tokens, h and w tokens, H and W pixels, C numbers in a token.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from models.plan import Kind, Segment, TokenPlan, grid, words
from pipelines.canvas import Canvas, read_canvas, read_reference
from pipelines.estimate import Estimate, Finish, Output, estimate, frame_notes, sampling_key
from pipelines.job import MaskedJob

if TYPE_CHECKING:
    from torch import Tensor

    from models.checkpoint import Description
    from models.codec import Codec
    from pipelines.engine import Work
    from pipelines.files.media import Pixels

CHUNK = 4  # frames in the autoencoder at once


@lru_cache(maxsize=64)
def masked_plan(
    prompt_tokens: int,
    height: int,
    width: int,
    frames: int,
    given: bytes,
    reference: tuple[int, int] | None = None,
) -> TokenPlan:
    """A prompt, frames of which some tokens are given, and what the rest may look like; all see all.

    Args:
        prompt_tokens: length of the prompt.
        height: tokens down.
        width: tokens across.
        frames: on the t axis; 1 is a picture.
        given: a byte for each of the frames * height * width tokens, not zero where the token is given.
        reference: tokens down and across of the reference picture, which stands on the l axis and is given.

    Raises:
        ValueError: as many bytes as there are tokens did not come.
    """
    kind: Kind = "frame" if frames > 1 else "picture"
    positions = grid(frames, height, width)
    if len(given) != len(positions):
        raise ValueError(f"expected a byte for each of {len(positions)} tokens, got {len(given)}")
    segments = [
        Segment("prompt", "prompt", words(prompt_tokens)),
        Segment("picture", kind, positions, given=np.frombuffer(given, np.bool_)),
    ]
    if reference is not None:
        segments.append(Segment("reference", "reference", grid(1, *reference, l=1), given=True))
    return TokenPlan(tuple(segments))


def batch_key(job: MaskedJob) -> Hashable:
    """Same checkpoint, sampling and files share a batch, so that files are read once; prompts and seeds are free."""
    return (*sampling_key(job), job.source, job.mask, job.keep_frames, job.outpaint, job.reference, job.frames, job.fps)


def check(job: MaskedJob, description: Description) -> Estimate:
    """What a masked job costs with this checkpoint. Its files are read.

    Raises:
        Refusal: files that can not be read or do not fit together, nothing to make, or a size or guidance that the
            checkpoint does not have.
    """
    canvas = read_canvas(job, description)
    reference = None if job.reference is None else read_reference(job.reference, description)
    plan = _plan(canvas, reference, description.prompt_tokens, description.scale)
    made = int((~canvas.given(description.scale)).sum())
    frames, height, width = canvas.mask.shape
    found = estimate(
        job,
        description,
        [plan],
        [job.prompt, job.negative_prompt],
        mode=canvas.mode,
        size=[width, height],
        frames=frames,
        given_tokens=plan.tokens - plan.context_tokens - made,
        generated_tokens=made,
        **({} if canvas.fps is None else {"fps": str(canvas.fps)}),
    )
    found.warnings.extend([*canvas.warnings, *frame_notes(frames, description)])
    return found


def render(work: Work, jobs: Sequence[MaskedJob]) -> Finish:
    """Render masked jobs of one group."""
    import torch

    from pipelines.blend import blend
    from pipelines.sampler import denoise, draw_noise

    job, codec, prompts = jobs[0], work.checkpoint.codec, work.checkpoint.prompts
    description, device = work.checkpoint.description, work.checkpoint.device
    canvas = read_canvas(job, description)
    reference = None if job.reference is None else read_reference(job.reference, description)
    frames, height, width = canvas.mask.shape
    h, w = codec.grid(height, width)

    clean = _encode(codec, canvas, device)
    noise = draw_noise([one.seed for one in jobs], codec.channels, h, w, frames)
    if reference is not None:
        tokens = codec.encode(_opaque(reference[None], device)).float()
        clean = torch.cat([clean, tokens.to(clean)], 1)
        noise = torch.cat([noise, torch.zeros(len(jobs), tokens.shape[1], codec.channels)], 1)
    tokens = denoise(
        work,
        job,
        _plan(canvas, reference, prompts.length, codec.scale),
        noise,
        prompts([one.prompt for one in jobs]),
        lambda: prompts([one.negative_prompt for one in jobs]),
        clean=clean.expand(len(jobs), -1, -1),
    )

    def finish() -> list[Output]:
        results = [canvas.frames.copy() for _ in jobs]
        for number, drawn in _decode(codec, tokens[:, : frames * h * w], canvas):
            for result, pixels in zip(results, drawn, strict=True):
                result[number] = blend(canvas.frames[number], pixels, canvas.mask[number])
        return [
            Output(result, prompts.too_long(one.prompt), fps=canvas.fps)
            for result, one in zip(results, jobs, strict=True)
        ]

    return finish


def _plan(canvas: Canvas, reference: Pixels | None, prompt_tokens: int, scale: int) -> TokenPlan:
    given = canvas.given(scale)
    beside = None if reference is None else (reference.shape[0] // scale, reference.shape[1] // scale)
    frames, h, w = given.shape
    return masked_plan(prompt_tokens, h, w, frames, given.tobytes(), beside)


def _encode(codec: Codec, canvas: Canvas, device: object) -> Tensor:
    """[1, N, C] clean tokens; zeros in frames of which no token is given.

    What the mask hides is painted over first, for the encoder looks further than one token.
    """
    import torch

    from pipelines.blend import fill

    given = canvas.given(codec.scale)
    frames, h, w = given.shape
    clean = torch.zeros(frames, h * w, codec.channels)
    for chunk in _chunks(np.flatnonzero(given.any((1, 2)))):
        filled = np.stack([fill(canvas.frames[i], canvas.mask[i] > 0) for i in chunk])
        clean[chunk] = codec.encode(_opaque(filled, device)).float().cpu()
    return clean.reshape(1, frames * h * w, codec.channels)


def _decode(codec: Codec, tokens: Tensor, canvas: Canvas) -> Iterator[tuple[int, Pixels]]:
    """The number of each frame that has something new, and its [B, H, W, 3] in float32, 0..255."""
    frames, height, width = canvas.mask.shape
    tokens = tokens.unflatten(1, (frames, -1))
    for chunk in _chunks(np.flatnonzero(canvas.mask.any((1, 2)))):
        rgba = codec.decode(tokens[:, chunk].flatten(1, 2), height, width)
        drawn = (rgba[:, :, :3] * 255).permute(1, 0, 3, 4, 2).float().cpu().numpy()
        yield from zip(chunk, drawn, strict=True)


def _opaque(frames: Pixels, device: object) -> Tensor:
    """[F, H, W, 3] in uint8 to opaque [F, 4, H, W] in 0..1."""
    import torch

    colours = torch.from_numpy(frames).to(device).permute(0, 3, 1, 2).float() / 255  # type: ignore[call-overload]
    return torch.cat([colours, torch.ones_like(colours[:, :1])], 1)


def _chunks(numbers: np.ndarray) -> Iterator[list[int]]:
    for start in range(0, len(numbers), CHUNK):
        yield numbers[start : start + CHUNK].tolist()
