"""What a job costs and what to know before it renders, from configuration files alone; and what a render brings.

Nothing here loads torch: pages ask before every press of a button.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from models.plan import TokenPlan
from models.vocabulary import strangers
from pipelines.measure import machine_memory
from pipelines.refusal import Refusal

if TYPE_CHECKING:
    from models.checkpoint import Description
    from pipelines.files.media import Frames, Pixels
    from pipelines.files.soundtrack import Soundtrack
    from pipelines.job import Job


@dataclass(frozen=True)
class Estimate:
    """What a job will cost and what to know before it runs.

    Attributes:
        tokens: tokens of the plan, context and picture stream; of all plans together where a job has several.
        pairs: attended pairs of one head in one layer.
        dense_pairs: pairs that attention under a dense mask computes for the same tokens.
        flops: of all model evaluations together; an upper bound where a guidance interval saves some of them.
        warnings: sentences about what the checkpoint can not read or ignores.
        resolved: settings as they will be used.
        plans: the token plan of each pass of the sampling loop.
    """

    tokens: int
    pairs: int
    dense_pairs: int
    flops: float
    warnings: list[str]
    resolved: Mapping[str, Any]
    plans: Sequence[TokenPlan] = ()


@dataclass(frozen=True)
class Attachment:
    """A further file of an output, called as the output and then `suffix`, such as `-boxes.png` or `.psd`.

    A suffix that begins with a slash is a file in a folder called as the output.
    """

    suffix: str
    content: Pixels | bytes  # [H, W, 3 or 4] in uint8, or a whole file


@dataclass(frozen=True)
class Output:
    """What a pipeline made of one job: frames [F, H, W, C] in uint8, warnings, and its own part of the record."""

    frames: Frames
    warnings: Sequence[str] = ()
    record: Mapping[str, Any] = field(default_factory=dict)
    fps: Fraction | None = None  # where the job itself does not say
    attachments: Sequence[Attachment] = ()
    sound: Soundtrack | None = None  # with it even one frame is a video


# What is left when the sampling loop is over: decoding, and all that is made of pixels. It may run in another thread,
# while other jobs are denoised.
Finish = Callable[[], list[Output]]


@dataclass(frozen=True)
class Rendered:
    """Frames [F, H, W, C] in uint8, the engine's part of the record, further files, and the sound of a video."""

    frames: Frames
    record: Mapping[str, Any]
    fps: Fraction | None = None
    attachments: Sequence[Attachment] = ()
    sound: Soundtrack | None = None


def estimate(
    job: Job, description: Description, plans: Sequence[TokenPlan], prompts: Sequence[str], **resolved: object
) -> Estimate:
    """The cost of rendering `plans` one after another with a checkpoint.

    Args:
        job: its steps, scheduler and guidance.
        description: the checkpoint.
        plans: one for each pass of the sampling loop.
        prompts: all texts that the checkpoint will read.
        **resolved: further settings to record.

    Raises:
        Refusal: guidance that the checkpoint does not have, or a plan that this machine can not hold.
    """
    if job.internal_guidance is not None and not (description.folder / "auxiliary").is_dir():
        raise Refusal("internal_guidance", f"{description.name!r} has no auxiliary head; leave the field out")
    notes = strangers(" ".join(prompts), description.vocabulary)
    guided = job.guidance > 1 and not description.distilled
    if job.guidance > 1 and description.distilled:
        notes.append(f"{description.name!r} is distilled: guidance {job.guidance:g} has no effect")
    check_memory(job, description, plans, guided)
    config = description.transformer
    once = sum(
        plan.flops(
            width=description.width,
            double=config["num_layers"],
            single=config["num_single_layers"],
            mlp_ratio=config["mlp_ratio"],
        )
        for plan in plans
    )
    evaluations = calls(job) * (2 if guided else 1)
    return Estimate(
        tokens=sum(plan.tokens for plan in plans),
        pairs=sum(plan.pairs for plan in plans),
        dense_pairs=sum(plan.tokens**2 for plan in plans),
        flops=once * evaluations,
        warnings=notes,
        resolved={
            "checkpoint": description.name,
            "prompt_tokens": description.prompt_tokens,
            "model_evaluations": evaluations * len(plans),
            "guided": guided,
            **resolved,
        },
        plans=tuple(plans),
    )


def calls(job: Job) -> int:
    """How often one pass of the sampling loop calls the model; a guided call is two evaluations in one batch."""
    return 2 * job.steps - 1 if job.scheduler == "heun" else job.steps


def least_memory(description: Description, plan: TokenPlan, guided: bool) -> int:
    """Bytes that one float32 evaluation of a plan can not do without, the weights left aside.

    A single block holds D numbers of each token beside the 3 D of its attention and the 2 r D of its SwiGLU, r being
    the MLP's ratio; guidance doubles the tokens. What a render takes is more, and what `diorama render --dry-run`
    tells: this bound only keeps a machine from trying what can not end well.
    """
    numbers = (1 + 3 + 2 * float(description.transformer["mlp_ratio"])) * description.width
    return int(plan.tokens * numbers * 4 * (2 if guided else 1))


def check_memory(job: Job, description: Description, plans: Sequence[TokenPlan], guided: bool) -> None:
    """Raise Refusal where the largest plan is beyond the memory of a machine that renders without a GPU."""
    there = machine_memory()
    needed = max((least_memory(description, plan, guided) for plan in plans), default=0)
    if there is None or needed <= there:
        return
    fields = ("scenes", "frames", "size", "source")
    field = next(name for name in fields if getattr(job, name, None) not in (None, 1))
    raise Refusal(
        field,
        f"expected a job that fits into this machine's {there / 2**30:.0f} GiB of memory, "
        f"got one that needs {needed / 2**30:,.0f} GiB and more; take fewer frames or a smaller size",
    )


def check_size(size: tuple[int, int], description: Description, field: str = "size") -> None:
    """Raise Refusal where a checkpoint does not draw this width and height."""
    low, high = description.sides
    if not all(low <= side <= high for side in size):
        raise Refusal(field, f"{description.name!r} draws sides from {low} to {high} pixels, got {list(size)}")
    if any(side % description.scale for side in size):
        raise Refusal(
            field, f"{description.name!r} needs sides in steps of {description.scale} pixels, got {list(size)}"
        )


def frame_notes(frames: int, description: Description) -> list[str]:
    """A sentence where a video is longer than what the checkpoint was trained on, or nothing."""
    longest = int(description.house.get("frames", 0))
    if frames <= 1 or "frames" not in description.house or frames <= longest:
        return []
    if longest <= 1:
        return [f"{description.name!r} was trained on pictures alone: its {frames} frames will hardly move"]
    return [f"{description.name!r} was trained on up to {longest} frames at once, got {frames}: late ones may drift"]


def sampling_key(job: Job) -> tuple[object, ...]:
    """What jobs of one batch have in common, beside their shapes: checkpoint, adapters of the whole, and sampling."""
    sampling = (job.steps, job.scheduler, job.guidance, job.guidance_interval, job.internal_guidance)
    return (job.model, job.adapters, *sampling)
