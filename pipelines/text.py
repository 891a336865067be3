"""Text to picture and text to video: the plan in which prompt and frames all see all."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from models.plan import Segment, TokenPlan, grid, words
from pipelines.estimate import Estimate, Finish, Output, check_size, estimate, frame_notes, sampling_key
from pipelines.job import TextJob

if TYPE_CHECKING:
    from models.checkpoint import Description
    from pipelines.engine import Work


@lru_cache(maxsize=64)
def text_plan(prompt_tokens: int, height: int, width: int, frames: int = 1) -> TokenPlan:
    """One prompt and `frames` of `height` x `width` tokens; words on l, frames on t, y and x."""
    prompt = Segment("prompt", "prompt", words(prompt_tokens))
    return TokenPlan((prompt, Segment("picture", "frame" if frames > 1 else "picture", grid(frames, height, width))))


def batch_key(job: TextJob) -> Hashable:
    """Same checkpoint, shape and sampling share a batch; prompts and seeds are free."""
    return (*sampling_key(job), job.size, job.frames)


def check(job: TextJob, description: Description) -> Estimate:
    """What a text job costs with this checkpoint.

    Raises:
        Refusal: a size or a guidance that the checkpoint does not have.
    """
    check_size(job.size, description)
    w, h = (side // description.scale for side in job.size)
    plan = text_plan(description.prompt_tokens, h, w, job.frames)
    found = estimate(job, description, [plan], [job.prompt, job.negative_prompt])
    found.warnings.extend(frame_notes(job.frames, description))
    return found


def render(work: Work, jobs: Sequence[TextJob]) -> Finish:
    """Render text jobs of one group."""
    from pipelines.sampler import denoise, draw_noise, to_pixels

    job, codec, prompts = jobs[0], work.checkpoint.codec, work.checkpoint.prompts
    width, height = job.size
    h, w = codec.grid(height, width)
    tokens = denoise(
        work,
        job,
        text_plan(prompts.length, h, w, job.frames),
        draw_noise([job.seed for job in jobs], codec.channels, h, w, job.frames),
        prompts([job.prompt for job in jobs]),
        lambda: prompts([job.negative_prompt for job in jobs]),
    )

    def finish() -> list[Output]:
        frames = to_pixels(codec.decode(tokens, height, width))
        return [Output(pixels, prompts.too_long(job.prompt)) for job, pixels in zip(jobs, frames, strict=True)]

    return finish
