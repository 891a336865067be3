"""Text to picture: the plan in which prompt and picture tokens all see all."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from models.plan import Segment, TokenPlan, grid, words
from models.vocabulary import strangers
from pipelines.estimate import Estimate
from pipelines.job import TextJob
from pipelines.refusal import Refusal

if TYPE_CHECKING:
    from torch import Tensor

    from models.checkpoint import Checkpoint, Description
    from pipelines.media import Pixels


@lru_cache(maxsize=64)
def text_plan(prompt_tokens: int, height: int, width: int) -> TokenPlan:
    """One prompt and one picture of `height` x `width` tokens; words on l, picture on y and x."""
    prompt = Segment("prompt", "prompt", words(prompt_tokens))
    picture = Segment("picture", "picture", grid(1, height, width))
    return TokenPlan((prompt, picture))


def batch_key(job: TextJob) -> Hashable:
    """Same checkpoint, shape and sampling share a batch; prompts and seeds are free."""
    return (
        job.model, job.size, job.frames, job.steps, job.scheduler,
        job.guidance, job.guidance_interval, job.internal_guidance,
    )  # fmt: skip


def check(job: TextJob, description: Description) -> Estimate:
    """What a text job costs with this checkpoint.

    Raises:
        Refusal: frames, a size or a guidance that the checkpoint does not have.
    """
    if job.frames > 1:
        raise Refusal(
            "frames", f"video is not built yet, got {job.frames} frames; this version renders pictures (frames: 1)"
        )
    check_size(job.size, description)
    if job.internal_guidance is not None and not (description.folder / "auxiliary").is_dir():
        raise Refusal("internal_guidance", f"{description.name!r} has no auxiliary head; leave the field out")
    notes = strangers(f"{job.prompt} {job.negative_prompt}", description.vocabulary)
    guided = job.guidance > 1 and not description.distilled
    if job.guidance > 1 and description.distilled:
        notes.append(f"{description.name!r} is distilled: guidance {job.guidance:g} has no effect")
    plan = text_plan(description.prompt_tokens, job.size[1] // description.scale, job.size[0] // description.scale)
    config = description.transformer
    once = plan.flops(
        width=description.width,
        double=config["num_layers"],
        single=config["num_single_layers"],
        mlp_ratio=config["mlp_ratio"],
    )
    evaluations = (2 * job.steps - 1 if job.scheduler == "heun" else job.steps) * (2 if guided else 1)
    resolved = {
        "checkpoint": description.name,
        "prompt_tokens": description.prompt_tokens,
        "model_evaluations": evaluations,
        "guided": guided,
    }
    return Estimate(plan.tokens, plan.pairs, once * evaluations, notes, resolved)


def check_size(size: tuple[int, int], description: Description) -> None:
    """Raise Refusal where a checkpoint does not draw this size."""
    low, high = description.sides
    if not all(low <= side <= high for side in size):
        raise Refusal("size", f"{description.name!r} draws sides from {low} to {high} pixels, got {list(size)}")
    if any(side % description.scale for side in size):
        raise Refusal(
            "size", f"{description.name!r} needs sides in steps of {description.scale} pixels, got {list(size)}"
        )


def render(
    checkpoint: Checkpoint, jobs: Sequence[TextJob], progress: Callable[[int, int], bool]
) -> tuple[list[Pixels], list[list[str]]]:
    """Render text jobs of one group: for each job its frames [1, H, W, 3] in uint8, and warnings."""
    from pipelines.sampler import Guidance, build_scheduler, draw_noise, sample

    job = jobs[0]
    description, codec, prompts = checkpoint.description, checkpoint.codec, checkpoint.prompts
    width, height = job.size
    h, w = codec.grid(height, width)
    plan = text_plan(prompts.length, h, w)
    scale = 1.0 if description.distilled else job.guidance
    tokens = sample(
        checkpoint.transformer,
        plan,
        draw_noise([job.seed for job in jobs], codec.channels, h, w),
        prompts([job.prompt for job in jobs]),
        build_scheduler(job.scheduler, description.scheduler, job.steps, h * w),
        Guidance(scale, job.guidance_interval, job.internal_guidance),
        negative=prompts([job.negative_prompt for job in jobs]) if scale > 1 else None,
        auxiliary=checkpoint.auxiliary,
        progress=progress,
    )
    return to_pixels(codec.decode(tokens, height, width)), [prompts.too_long(job.prompt) for job in jobs]


def to_pixels(rgba: Tensor) -> list[Pixels]:
    """[B, F, 4, H, W] in 0..1 to B opaque pictures [F, H, W, 3] in uint8.

    A picture of this task is opaque: its alpha is 1 but for rounding, so the premultiplied colours are the colours.
    """
    pixels: list[Pixels] = list((rgba[:, :, :3] * 255).round().byte().permute(0, 1, 3, 4, 2).cpu().numpy())
    return pixels
