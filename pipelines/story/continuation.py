"""The video that a job continues: its frames, and what is known of its scenes."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from pipelines.files.media import MediaError, Pixels, read_clip, read_recipe
from pipelines.job import MAX_FRAMES, Job, Prompt, Refusal, ScenesJob, TextJob, parse
from pipelines.story.transitions import Transition, alone, into, starts_of

LOOKBACK = 16  # frames of a video of unknown origin that the model is shown, its last ones


class Known(BaseModel):
    """A scene of the given video, as records tell it: where it is, its prompt (None: unknown), how it begins."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    start: int = Field(ge=0)
    frames: int = Field(ge=1, le=MAX_FRAMES)
    prompt: Prompt | None = None
    transition: Literal["cut", "crossfade", "black"] = "cut"
    transition_frames: int = Field(default=0, ge=0, le=MAX_FRAMES)

    @property
    def begins(self) -> Transition:
        """How it begins."""
        return Transition(self.transition, 0 if self.transition == "cut" else self.transition_frames)


KNOWN = TypeAdapter(list[Known])


@dataclass(frozen=True)
class Given:
    """Frames [start, end) of the given video that show one scene, and its prompt, where it is known."""

    start: int
    end: int
    prompt: str | None


@dataclass(frozen=True)
class Earlier:
    """The video that a job continues.

    Attributes:
        frames: [F, H, W, 3].
        known: its scenes from the first frame to the last.
    """

    frames: Pixels
    known: tuple[Known, ...]

    @cached_property
    def scenes(self) -> tuple[Given, ...]:
        """What the model may be shown: of each scene the frames without transitions; scenes without any are left out.

        Of a scene whose prompt is unknown these are the last LOOKBACK frames.
        """
        found = []
        ends = [scene.begins for scene in self.known[1:]] + [Transition()]
        for scene, next_ in zip(self.known, ends, strict=True):
            start, end = alone(scene.start, scene.frames, scene.begins, next_)
            if scene.prompt is None:
                start = max(start, end - LOOKBACK)
            if start < end:
                found.append(Given(start, end, scene.prompt))
        return tuple(found)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the frames and of what is known of them."""
        told = json.dumps([self.frames.shape, [scene.model_dump() for scene in self.known]], sort_keys=True)
        return hashlib.sha256(told.encode() + self.frames.tobytes()).hexdigest()


def read_earlier(job: ScenesJob) -> Earlier | None:
    """The video that `job` continues; None where it begins anew.

    Raises:
        Refusal: on `continue_from`: no video, another size or frame rate; or too long a video altogether.
    """
    if job.continue_from is None:
        return None
    path = Path(job.continue_from).expanduser()
    try:
        clip = read_clip(path)
    except MediaError as error:
        raise Refusal("continue_from", str(error)) from None
    total, height, width = clip.frames.shape[:3]
    if (width, height) != job.size:
        raise Refusal(
            "continue_from",
            f"expected a video of {job.size[0]} x {job.size[1]} pixels as the job's size, got {width} x {height}; "
            "change one of the two",
        )
    if clip.fps is not None and clip.fps != Fraction(job.fps):
        raise Refusal(
            "continue_from",
            f"expected {job.fps} frames a second as the job's fps, got {float(clip.fps):g}; change one of the two",
        )
    first = into(job.scenes[0])
    if first.frames > total:
        raise Refusal(
            "scenes[0].transition_frames",
            f"expected no more than the {total} frames of the video before it, got {first.frames}; make it shorter",
        )
    transitions = [Transition(), *(into(scene) for scene in job.scenes)]
    finished = starts_of([total, *(scene.frames for scene in job.scenes)], transitions)[-1]
    if finished > MAX_FRAMES:
        raise Refusal(
            "continue_from",
            f"expected at most {MAX_FRAMES:,} frames with the new scenes, got {finished:,}; cut the given video",
        )
    return Earlier(clip.frames, tuple(_known(path, total)))


def _known(path: Path, total: int) -> list[Known]:
    """The scenes of the video at `path`, of `total` frames: by its record, by its recipe, or as one unknown scene."""
    unknown = [Known(start=0, frames=total)]
    try:
        job = parse(_recipe(path)["job"])
    except (MediaError, Refusal):
        return unknown
    return _from_record(path, job, total) or _from_job(job, total) or unknown


def _recipe(path: Path) -> dict[str, Any]:
    if not path.is_dir():
        return read_recipe(path)
    return read_recipe(min(path.glob("*.png"), default=path / "0000.png"))


def _from_record(path: Path, job: Job, total: int) -> list[Known] | None:
    """What NAME.json beside NAME.mp4 or the folder NAME tells, where it is about this very video."""
    try:
        record = read_recipe(path.parent / f"{path.name if path.is_dir() else path.stem}.json")
        known = KNOWN.validate_python(record["scenes"])
        if not known or parse(record["job"]) != job:
            return None
    except (MediaError, Refusal, ValidationError, KeyError):
        return None
    *starts, end = starts_of([scene.frames for scene in known], [scene.begins for scene in known])
    return known if end == total and starts == [scene.start for scene in known] else None


def _from_job(job: Job, total: int) -> list[Known] | None:
    """What the job tells that the video was rendered from; what it continued itself is one scene without a prompt."""
    if isinstance(job, TextJob):
        return [Known(start=0, frames=total, prompt=job.prompt)] if job.frames == total else None
    if not isinstance(job, ScenesJob):
        return None
    lengths = [scene.frames for scene in job.scenes]
    transitions = [into(scene) for scene in job.scenes]
    before = total - starts_of(lengths, transitions)[-1] + transitions[0].overlap
    if before < 0 or (before > 0) != (job.continue_from is not None):
        return None
    head = [Known(start=0, frames=before)] if before else []
    starts = starts_of([before, *lengths], [Transition(), *transitions])[1:-1]
    return head + [
        Known(
            start=start,
            frames=scene.frames,
            prompt=scene.prompt,
            transition=scene.transition,
            transition_frames=begins.frames,
        )
        for start, scene, begins in zip(starts, job.scenes, transitions, strict=True)
    ]
