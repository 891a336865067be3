"""The engine: holds loaded checkpoints and renders jobs that share a batch.

One door for command line, studio, batch renderer and Python. It knows no task: each is a pipeline file of its own with
the functions of `Pipeline`. Files and records are `output.py`'s.
"""

from __future__ import annotations

import gc
import importlib
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol, cast

from models.checkpoint import CheckpointError, Description, describe, load
from pipelines import adapters
from pipelines.estimate import Estimate, Finish, Rendered, calls
from pipelines.files.provenance import computed, inputs
from pipelines.job import Job, require_built
from pipelines.measure import MOMENT, STEPS, Calls, Clock, PeakMemory, Rehearsal, Spent, slope, warm_up
from pipelines.refusal import Refusal
from pipelines.story.scenecache import fingerprint

if TYPE_CHECKING:
    from pathlib import Path

    from models.checkpoint import Checkpoint
    from pipelines.preview import Preview


@dataclass(frozen=True)
class Work:
    """What a pipeline renders with.

    Attributes:
        checkpoint: the loaded model.
        progress: called with (step, steps); False cancels.
        cache: a folder for what may be used again, such as finished scenes; None keeps nothing.
        preview: shows what the loop is at; None where nobody could see it.
    """

    checkpoint: Checkpoint
    progress: Callable[[int, int], bool]
    cache: Path | None = None
    preview: Preview | None = None


class Pipeline(Protocol):
    """What a pipeline file, `pipelines/TASK.py`, offers the engine."""

    def batch_key(self, job: Any) -> Hashable:
        """Jobs of equal key may share a batch."""

    def check(self, job: Any, description: Description) -> Estimate:
        """Cost and warnings. Raises Refusal for what the checkpoint can not do, and for files that are not right."""

    def render(self, work: Work, jobs: Sequence[Any]) -> Finish:
        """Denoise jobs, all of one key; what comes back makes of each what it becomes."""


def pipeline_of(job: Job) -> Pipeline:
    """The pipeline file of a job's task; loaded when it is first asked for.

    Raises:
        Refusal: the task is not built yet.
    """
    require_built(job)
    return cast(Pipeline, importlib.import_module(f"pipelines.{job.task}"))


def groups(jobs: Sequence[Job]) -> list[list[int]]:
    """Indices of jobs that may share a batch, in order of their first job."""
    found: dict[Hashable, list[int]] = {}
    for index, job in enumerate(jobs):
        found.setdefault((job.task, pipeline_of(job).batch_key(job)), []).append(index)
    return list(found.values())


class Engine:
    """Checks and renders jobs. The checkpoint used last stays loaded.

    Args:
        device: such as `cpu` or `cuda:1`; None takes a GPU where there is one.
        cache: folder for what renders may use again; None keeps nothing.
        clock: tells seconds.
    """

    def __init__(self, device: str | None = None, cache: Path | None = None, clock: Clock = time.monotonic) -> None:
        self._device, self._cache, self._clock = device, cache, clock
        self._described: dict[str, Description] = {}
        self._loaded: Checkpoint | None = None
        self._weights = ""  # hash of the files that the checkpoint was loaded from

    def check(self, job: Job) -> Estimate:
        """Cost and warnings of a job, from configuration files and the heads of its adapters alone.

        Raises:
            Refusal: a checkpoint or adapter that can not be read or does not fit, or a size or feature that the
                checkpoint does not have.
        """
        description, told = adapters.check(job, self.describe(job.model))
        found = pipeline_of(job).check(job, description)
        return replace(found, resolved={**found.resolved, "adapters": told}) if told else found

    def describe(self, name: str) -> Description:
        """The checkpoint's description, read once.

        Raises:
            Refusal: on the job's field `model`.
        """
        if name not in self._described:
            try:
                self._described[name] = describe(name)
            except CheckpointError as error:
                raise Refusal("model", str(error)) from None
        return self._described[name]

    def weights(self, model: str) -> str:
        """Hash of the files that decide what a model draws.

        Raises:
            Refusal: as `describe`.
        """
        return fingerprint(self.describe(model).folder)

    def inputs(self, job: Job) -> dict[str, str]:
        """Hash of each file or folder that a job names, by field; what can not be read is left out."""
        return inputs(job)

    @property
    def loaded(self) -> str:
        """The name of the checkpoint that is loaded, or ""."""
        return self._loaded.description.name if self._loaded else ""

    def checkpoint(self, name: str) -> Checkpoint:
        """The loaded checkpoint; another one's memory is freed first."""
        description = self.describe(name)
        if self._loaded is None or self._loaded.description is not description:
            import torch

            self._loaded = None
            device = self._device or ("cuda" if torch.cuda.is_available() else "cpu")
            try:
                self._loaded = load(description, device)
            except CheckpointError as error:
                raise Refusal("model", str(error)) from None
            self._weights = fingerprint(description.folder)
            warm_up(self._loaded)
        return self._loaded

    def release(self) -> None:
        """Let go of the loaded checkpoint and give its memory back; the next render loads one again."""
        import torch

        self._loaded = None
        gc.collect()  # a module and its hooks may hold each other
        torch.cuda.empty_cache()  # does nothing where no GPU was used

    def render(
        self, jobs: Sequence[Job], progress: Callable[[int, int], bool], at_once: int | None = None
    ) -> list[Rendered]:
        """Render jobs of one group (see `groups`) as one batch.

        Args:
            jobs: of one group.
            progress: called with (step, steps); False cancels. Where it has a `preview`, that one is shown the render.
            at_once: frames or layers in the autoencoder at a time, where memory is short; None is what is fast.

        Raises:
            Cancelled: `progress` returned False.
            Refusal: as `check`.
        """
        return self.begin(jobs, progress, at_once)()

    def begin(
        self, jobs: Sequence[Job], progress: Callable[[int, int], bool], at_once: int | None = None
    ) -> Callable[[], list[Rendered]]:
        """The first part of `render`, as far as the last step of the loop; what comes back is the rest.

        The rest may be called in another thread, and other jobs begun meanwhile. Arguments and errors are those of
        `render`.
        """
        estimates = [self.check(job) for job in jobs]
        checkpoint = self.checkpoint(jobs[0].model)
        if at_once is not None:
            from models.codec import Codec

            checkpoint = replace(checkpoint, codec=Codec(checkpoint.codec.vae, at_once))
        given, strange = [inputs(job) for job in jobs], adapters.notes(jobs[0], self._weights)
        weights = self._weights
        preview: Preview | None = getattr(progress, "preview", None)
        if preview is not None:
            preview.prepare(checkpoint.codec)
        started = self._clock()
        reading = Spent(checkpoint.prompts.text_encoder.model, self._clock)
        with PeakMemory(checkpoint.device) as memory, reading, adapters.at_work(jobs[0], checkpoint) as adapted:
            decode = pipeline_of(jobs[0]).render(Work(adapted, progress, self._cache, preview), jobs)
        spent = self._clock() - started

        def finish() -> list[Rendered]:
            began = self._clock()
            with PeakMemory(checkpoint.device) as later:
                outputs = decode()
            decoding = self._clock() - began
            spans = {"prompts": reading.seconds, "denoising": spent - reading.seconds, "decoding": decoding}
            told = {
                **computed(checkpoint),
                "weights": weights,
                "seconds": round((spent + decoding) / len(jobs), 3),
                "spans": {name: round(seconds / len(jobs), 4) for name, seconds in spans.items()},
                "peak_memory": max(memory.bytes, later.bytes),
                "batch": len(jobs),
            }
            return [
                Rendered(
                    output.frames,
                    {
                        "resolved": dict(estimate.resolved),
                        "warnings": list(dict.fromkeys([*estimate.warnings, *strange, *output.warnings])),
                        "tokens": estimate.tokens,
                        "pairs": estimate.pairs,
                        "dense_pairs": estimate.dense_pairs,
                        "flops": estimate.flops,
                        "inputs": files,
                        **told,
                        **output.record,
                    },
                    output.fps,
                    output.attachments,
                    output.sound,
                )
                for output, estimate, files in zip(outputs, estimates, given, strict=True)
            ]

        return finish

    def rehearse(self, jobs: Sequence[Job]) -> Rehearsal:
        """What the record of `jobs`, rendered as one batch and without a cache, will say of seconds and memory.

        A few steps are rendered and thrown away; nothing is read from the cache or written to it. Where guidance acts
        on some of the noise levels only, a second rehearsal without guidance tells what the other steps take. A job of
        a moment is rendered whole: of so little, a few steps tell nothing on a machine that does other things as well.

        Raises:
            Refusal: as `check`.
        """
        estimates = [self.check(job) for job in jobs]
        job, few = jobs[0], calls(jobs[0].model_copy(update={"steps": STEPS}))
        wanted = guided = calls(job)
        if estimates[0].resolved["guided"] and job.guidance_interval != (0.0, 1.0):
            guided = self._guided_calls(job, estimates[0].tokens)
        took, memory, starts = self._timed(jobs, steps=STEPS, guidance_interval=(0.0, 1.0))
        took += (guided - few) * slope(starts, few)
        if guided < wanted:
            took += (wanted - guided) * slope(self._timed(jobs, steps=STEPS, guidance=1.0)[2], few)
        if took < MOMENT:
            took, memory, _ = self._timed(jobs)
        return Rehearsal(round(took / len(jobs), 3), memory)

    def step_seconds(self, jobs: Sequence[Job]) -> float:
        """Seconds a job that one guided sampling step takes when `jobs` share a batch, from a render of three steps.

        Raises:
            Refusal: as `check`.
        """
        starts = self._timed(jobs, steps=3, scheduler="euler", guidance_interval=(0.0, 1.0))[2]
        return slope(starts, 3) / len(jobs)

    def _timed(self, jobs: Sequence[Job], **changes: object) -> tuple[float, int, list[float]]:
        """Seconds and bytes that a render of changed jobs takes, and the moments at which it called the model."""
        checkpoint = self.checkpoint(jobs[0].model)
        changed = [job.model_copy(update=changes) for job in jobs]
        started = self._clock()
        memory, seen = PeakMemory(checkpoint.device), Calls(checkpoint.transformer, self._clock)
        with memory, seen, adapters.at_work(jobs[0], checkpoint) as adapted:
            pipeline_of(jobs[0]).render(Work(adapted, lambda step, steps: True), changed)()
        # After the passes of the loop a pipeline may still ask the model about what it made.
        looped = calls(changed[0]) * len(self.check(changed[0]).plans)
        return self._clock() - started, memory.bytes, seen.starts[:looped]

    def _guided_calls(self, job: Job, tokens: int) -> int:
        """How many of a pass's model calls are guided; `tokens` counts where the schedule shifts with their number."""
        from pipelines.sampler import Guidance, build_scheduler

        schedule = build_scheduler(job.scheduler, self.describe(job.model).scheduler, job.steps, tokens)
        acts_at = Guidance(2.0, job.guidance_interval).acts_at
        return sum(acts_at(float(timestep) / 1000) for timestep in schedule.timesteps)
