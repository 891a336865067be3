"""Multi-scene video: a prompt a scene, frames that see all frames, and one scene generated at a time.

Rendering scene by scene is Mask2DiT's extension: the scenes before it are given. So a kill costs one scene, an edit
costs one scene, and there may be any number of them. One is generated in `stage.py`; which need no rendering is decided
in `reuse.py`.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from models.plan import Segment, TokenPlan, grid, words
from pipelines.adapters import blended, tokens_of
from pipelines.estimate import Estimate, Finish, Output, check_size, estimate, frame_notes
from pipelines.files.output import versions
from pipelines.job import AdapterUse, ScenesJob
from pipelines.story.continuation import Earlier, read_earlier
from pipelines.story.scenecache import SceneCache, Stored, fingerprint
from pipelines.story.transitions import Transition, into, join, starts_of

if TYPE_CHECKING:
    from models.checkpoint import Checkpoint, Description
    from pipelines.engine import Work
    from pipelines.story.reuse import Slot

PRIMED = 4  # frames that a shot without cuts is gone on from, under its next prompt


@lru_cache(maxsize=64)
def scenes_plan(
    prompt_tokens: int,
    height: int,
    width: int,
    lengths: tuple[int, ...],
    given: tuple[bool, ...] | None = None,
    prompted: tuple[bool, ...] | None = None,
) -> TokenPlan:
    """Mask2DiT's symmetric mask (2503.19881): prompt i and frames i see each other, and all frames see all frames.

    The time axis runs on across the cuts, and a prompt stands at its scene's first frame. With one scene the plan
    runs as `text_plan`.

    Args:
        prompt_tokens: tokens of each prompt.
        height: tokens down.
        width: tokens across.
        lengths: frames of each scene.
        given: which scenes are given, frames and prompt; None is none.
        prompted: which scenes have a prompt; None is all.
    """
    count = len(lengths)
    given, prompted = given or (False,) * count, prompted or (True,) * count
    starts = [sum(lengths[:i]) for i in range(count)]
    prompts = [
        Segment(f"prompt {i + 1}", "prompt", words(prompt_tokens, t=starts[i]), given[i], f"prompt {i + 1}")
        for i in range(count)
        if prompted[i]
    ]
    frames = [
        Segment(f"scene {i + 1}", "frame", grid(n, height, width, t=starts[i]), given[i], f"scene {i + 1}")
        for i, n in enumerate(lengths)
    ]
    every = frozenset(segment.name for segment in frames)
    table = {f"prompt {i + 1}": frozenset({f"prompt {i + 1}", f"scene {i + 1}"}) for i in range(count)}
    table |= {f"scene {i + 1}": every | {f"prompt {i + 1}"} for i in range(count)}
    return TokenPlan((*prompts, *frames), table)


@lru_cache(maxsize=64)
def shot_plan(prompt_tokens: int, height: int, width: int, primed: int, frames: int) -> TokenPlan:
    """Phenaki's time-variable prompts (2210.02399): one shot goes on from `primed` given frames under a new prompt."""
    shot = grid(primed + frames, height, width)
    before = np.arange(len(shot)) < primed * height * width
    return TokenPlan((Segment("prompt", "prompt", words(prompt_tokens)), Segment("shot", "frame", shot, before)))


def context_of(scene: int, window: int) -> tuple[int, ...]:
    """The earlier scenes that the model is shown with scene number `scene`: the first, who fixes what the subject looks
    like, and then the latest; `window` counts them and the scene itself.
    """
    if scene == 0 or window == 1:
        return ()
    return (0, *range(max(1, scene - window + 2), scene))


@dataclass(frozen=True)
class Story:
    """A job's scenes, after those of the video that it continues; all are numbered together, from 0."""

    job: ScenesJob
    earlier: Earlier | None

    @cached_property
    def given(self) -> int:
        """How many scenes of the given video can be shown to the model."""
        return len(self.earlier.scenes) if self.earlier else 0

    @cached_property
    def lengths(self) -> tuple[int, ...]:
        """Frames of each scene as it stands in a plan."""
        before = [scene.end - scene.start for scene in self.earlier.scenes] if self.earlier else []
        return (*before, *(scene.frames for scene in self.job.scenes))

    @cached_property
    def prompts(self) -> tuple[str | None, ...]:
        """The prompt of each scene; None where a given video does not tell it."""
        before = [scene.prompt for scene in self.earlier.scenes] if self.earlier else []
        return (*before, *(scene.prompt for scene in self.job.scenes))

    @property
    def new(self) -> range:
        """Numbers of the job's own scenes."""
        return range(self.given, len(self.lengths))

    def context(self, scene: int) -> tuple[int, ...]:
        """Numbers of the scenes whose frames the model is shown with this one."""
        return context_of(scene, self.job.window) if self.job.cuts else tuple(range(max(0, scene - 1), scene))

    def primed(self, scene: int) -> int:
        """Frames that this scene of a shot without cuts goes on from."""
        return min(PRIMED, sum(self.lengths[:scene]))

    def plan(self, scene: int, prompt_tokens: int, height: int, width: int) -> TokenPlan:
        """The plan in which this scene is generated, with sides in tokens."""
        if not self.job.cuts:
            shot = shot_plan(prompt_tokens, height, width, self.primed(scene), self.lengths[scene])
            return blended(shot, self.job, [(self.adapters(scene), lambda plan: ~plan.given)])
        shown = (*self.context(scene), scene)
        plan = scenes_plan(
            prompt_tokens,
            height,
            width,
            tuple(self.lengths[i] for i in shown),
            tuple(i != scene for i in shown),
            tuple(self.prompts[i] is not None for i in shown),
        )
        names = [(f"prompt {number}", f"scene {number}") for number in range(1, len(shown) + 1)]
        return blended(
            plan, self.job, [(self.adapters(i), tokens_of(*own)) for i, own in zip(shown, names, strict=True)]
        )

    def adapters(self, scene: int) -> tuple[AdapterUse, ...]:
        """The adapters that a scene has of its own; those of a given video were at work before."""
        return self.job.scenes[scene - self.given].adapters if scene in self.new else ()

    def timeline(self) -> list[dict[str, Any]]:
        """Every scene of the finished video, the given ones first: first frame, frames, prompt, transition."""
        job, known = self.job, self.earlier.known if self.earlier else ()
        begins = [*(scene.begins for scene in known), *(into(scene) for scene in job.scenes)]
        lengths = [*(scene.frames for scene in known), *(scene.frames for scene in job.scenes)]
        told = [*((scene.prompt, True) for scene in known), *((scene.prompt, False) for scene in job.scenes)]
        return [
            {
                "start": start,
                "frames": frames,
                "prompt": prompt,
                "transition": transition.kind,
                "transition_frames": transition.frames,
                "given": given,
            }
            for start, frames, transition, (prompt, given) in zip(
                starts_of(lengths, begins)[:-1], lengths, begins, told, strict=True
            )
        ]

    @property
    def total(self) -> int:
        """Frames of the finished video."""
        last = self.timeline()[-1]
        return int(last["start"] + last["frames"])


def batch_key(job: ScenesJob) -> Hashable:
    """Only equal jobs go together: they are rendered once."""
    return job


def check(job: ScenesJob, description: Description) -> Estimate:
    """What a multi-scene job costs with this checkpoint when no scene of it was rendered before.

    Raises:
        Refusal: a size or a guidance that the checkpoint does not have, or a video that can not be continued.
    """
    check_size(job.size, description)
    story = Story(job, read_earlier(job))
    w, h = (side // description.scale for side in job.size)
    plans = [story.plan(scene, description.prompt_tokens, h, w) for scene in story.new]
    texts = [text for i, scene in enumerate(job.scenes) for text in (scene.prompt, job.negative_of(i))]
    timeline = story.timeline()
    found = estimate(
        job,
        description,
        plans,
        texts,
        frames=story.total,
        window=job.window if job.cuts else None,
        starts=[scene["start"] for scene in timeline if not scene["given"]],
        given_frames=len(story.earlier.frames) if story.earlier else 0,
    )
    at_once = [sum(len(part) for part in plan.segments if part.kind == "frame") // (h * w) for plan in plans]
    found.warnings.extend(frame_notes(max(at_once), description))
    return found


def render(work: Work, jobs: Sequence[ScenesJob]) -> Finish:
    """Render multi-scene jobs of one group, which are equal."""
    outputs = [_render(work, jobs[0])] * len(jobs)
    return lambda: outputs


def _render(work: Work, job: ScenesJob) -> Output:
    from pipelines.story import reuse
    from pipelines.story.stage import Stage

    story = Story(job, read_earlier(job))
    cache = SceneCache(work.cache / "scenes") if work.cache else None
    slots = reuse.find(job, _made_with(work.checkpoint, cache), _contexts(story, cache), cache)
    warnings = [slot.warning for slot in slots if slot.warning]
    missing = sum(slot.stored is None for slot in slots)
    stage, clips, made = Stage(work, story), [], 0

    def progress(step: int, steps: int) -> bool:
        return work.progress(made * steps + step, missing * steps)

    try:
        for scene, slot in zip(story.new, slots, strict=True):
            stored = slot.stored
            if stored is None:
                stored = stage.generate(scene, progress)
                made += 1
                warnings += _keep(cache, slot, stored)
            stage.put(scene, stored)
            clips.append(stored.frames)
    finally:  # cancelled or not: what is finished is kept, and what it was made from is known
        if cache and clips:
            reuse.remember(cache, job, slots[: len(clips)])
    for number, part in enumerate(job.scenes, 1):
        warnings += [f"scene {number}: {note}" for note in work.checkpoint.prompts.too_long(part.prompt)]
    begins = [into(part) for part in job.scenes]
    if story.earlier:
        clips, begins = [story.earlier.frames, *clips], [Transition(), *begins]
    return Output(join(clips, begins), list(dict.fromkeys(warnings)), _record(story, slots))


def _made_with(checkpoint: Checkpoint, cache: SceneCache | None) -> dict[str, Any]:
    """What decides the pixels beside the job."""
    return {
        "model": fingerprint(checkpoint.description.folder) if cache else "",
        "device": checkpoint.device.type,
        "dtype": str(checkpoint.transformer.dtype),
        "versions": [versions()["torch"], versions()["diffusers"]],
    }


def _contexts(story: Story, cache: SceneCache | None) -> list[list[str | int]]:
    """For each new scene those that it is shown: new ones by their number in the job, given ones by their content."""
    digest = story.earlier.digest if story.earlier and cache else ""
    return [
        [i - story.given if i in story.new else f"{digest} {i}" for i in story.context(scene)] for scene in story.new
    ]


def _keep(cache: SceneCache | None, slot: Slot, stored: Stored) -> list[str]:
    """Store a scene; a sentence where that can not be done, for the video itself is well."""
    try:
        if cache:
            cache.write(slot.key, stored, slot.inputs)
    except OSError as error:
        return [f"finished scenes could not be kept for the next time: {error.strerror or error}"]
    return []


def _record(story: Story, slots: Sequence[Slot]) -> dict[str, Any]:
    """Every scene of the finished video: where it is, what it was made from, and whether it was rendered now."""
    told: list[dict[str, Any]] = []
    for number, scene in enumerate(story.timeline(), -len(story.earlier.known) if story.earlier else 0):
        if number < 0:
            told.append({**scene, "reused": False, "why": "given by continue_from"})
        else:
            slot = slots[number]
            told.append({
                **scene,
                "negative_prompt": story.job.negative_of(number),
                "seed": story.job.seed_of(number),
                "reused": slot.stored is not None,
                "why": slot.why,
            })  # fmt: skip
    return {"scenes": told, "scenes_rendered": sum(slot.stored is None for slot in slots)}
