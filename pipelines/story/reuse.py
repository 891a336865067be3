"""Reuse: which scenes of a job were rendered before, and why the others are rendered now.

A scene is known by two hashes: one of its own inputs, and one of these and of the scenes that the model was shown with
it. `reuse: scene` takes a scene whose own inputs are the same, so that an edit costs one scene. `reuse: story` asks for
both, so that the result depends on the job alone. Files are `scenecache.py`'s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from pipelines.adapters import contents
from pipelines.job import ScenesJob
from pipelines.story.scenecache import BrokenScene, SceneCache, Stored, digest

FORMAT = 1  # of the inputs below; another number makes every stored scene a stranger

# What a changed input is called; the rest are the settings.
WORDS = {
    "prompt": "prompt",
    "negative_prompt": "negative prompt",
    "frames": "length",
    "seed": "seed",
    "size": "size",
    "model": "model",
    "given": "video before it",
    "after": "part before it",
    "adapters": "adapters",
}


@dataclass(frozen=True)
class Slot:
    """One scene of a job on its way.

    Attributes:
        inputs: what it is made from, without the scenes that it is shown.
        own: hash of the inputs.
        key: the name under which it is stored.
        stored: the scene as it was rendered before, where it is taken.
        why: why it is taken, or why it is rendered.
        warning: a sentence about a stored file that is broken, or "".
    """

    inputs: Mapping[str, Any]
    own: str
    key: str
    stored: Stored | None
    why: str
    warning: str = ""


def find(
    job: ScenesJob, made_with: Mapping[str, Any], contexts: Sequence[Sequence[str | int]], cache: SceneCache | None
) -> list[Slot]:
    """What is known of each scene of `job`.

    Args:
        job: what is to be rendered.
        made_with: what decides the pixels beside the job, such as the model and the device.
        contexts: for each scene those that the model is shown with it: numbers of earlier scenes of the job, and
            names of parts of the video that it continues.
        cache: where scenes are kept; None is nowhere.
    """
    slots: list[Slot] = []
    before = cache.last(story_of(job)) if cache else []
    seen: dict[str, int] = {}
    for number, context in enumerate(contexts):
        inputs = _inputs(job, number, made_with, context, slots)
        # A scene that stands in a story twice is rendered twice: the second is shown the first and is not its copy.
        alike = digest(inputs)
        inputs["occurrence"] = seen[alike] = seen.get(alike, -1) + 1
        own = digest(inputs)
        shown = [slots[item].key if isinstance(item, int) else item for item in context]
        slots.append(_slot(job, number, inputs, own, f"{own}-{digest([own, shown])}", cache, before))
    return _with_new_scenes(slots, before)


def story_of(job: ScenesJob) -> str:
    """What a story is known by from one version of its job to the next."""
    return f"named {job.name}" if job.name else f"begins {job.scenes[0].prompt}"


def remember(cache: SceneCache, job: ScenesJob, finished: Sequence[Slot]) -> None:
    """Keep what the first scenes of a story were made from, to tell the next time what changed."""
    entries = [{"own": slot.own, "key": slot.key, "inputs": dict(slot.inputs)} for slot in finished]
    with suppress(OSError):  # then the reasons are vaguer, and nothing else
        rest = cache.last(story_of(job))[len(entries) : len(job.scenes)]
        cache.remember(story_of(job), [*entries, *rest])


def _inputs(
    job: ScenesJob,
    number: int,
    made_with: Mapping[str, Any],
    context: Sequence[str | int],
    before: Sequence[Slot],
) -> dict[str, Any]:
    scene = job.scenes[number]
    return {
        **made_with,
        "format": FORMAT,
        "size": list(job.size),
        "frames": scene.frames,
        "prompt": scene.prompt,
        "negative_prompt": job.negative_of(number),
        "seed": job.seed_of(number),
        "steps": job.steps,
        "scheduler": job.scheduler,
        "guidance": job.guidance,
        "guidance_interval": list(job.guidance_interval),
        "internal_guidance": job.internal_guidance,
        # How many scenes it is shown depends on its place; whether there are any decides what kind of scene it is.
        "window": (job.window if job.cuts else 0) if context else 1,
        "given": [name for name in context if isinstance(name, str)],
        # Without cuts a scene goes on from the very frames before it.
        "after": [before[item].key for item in context if isinstance(item, int)] if not job.cuts else [],
        # Left out where there are none, so that scenes from before there were adapters are still known.
        **({"adapters": contents((*job.adapters, *scene.adapters))} if job.adapters or scene.adapters else {}),
    }


def _slot(
    job: ScenesJob,
    number: int,
    inputs: Mapping[str, Any],
    own: str,
    key: str,
    cache: SceneCache | None,
    before: Sequence[Mapping[str, Any]],
) -> Slot:
    if cache is None:
        return Slot(inputs, own, key, None, "finished scenes are not kept here")
    if job.reuse == "never":
        return Slot(inputs, own, key, None, "the job says reuse: never")
    others = [other for other in cache.keys(own) if other != key] if job.reuse == "scene" else []
    warning = ""
    for candidate in (key, *others):
        try:
            stored = cache.read(candidate)
        except BrokenScene as error:
            warning = f"scene {number + 1} was stored, but its file is broken ({error}); it is rendered again"
            continue
        if stored is not None:
            why = "unchanged" if candidate == key else "unchanged itself; the scenes before it are others now"
            return Slot(inputs, own, candidate, stored, why)
    if warning:
        return Slot(inputs, own, key, None, "its stored file was broken", warning)
    return Slot(inputs, own, key, None, _change(inputs, own, key, before[number] if number < len(before) else {}))


def _change(inputs: Mapping[str, Any], own: str, key: str, last: Mapping[str, Any]) -> str:
    """What is different from the scene that stood here last."""
    old = last.get("inputs")
    if not isinstance(old, dict):
        return "not rendered before"
    if last.get("own") == own:
        return "no longer stored" if last.get("key") == key else "the scenes before it changed"
    changed = [name for name in (*inputs, *(old.keys() - inputs.keys())) if old.get(name) != inputs.get(name)]
    words = list(dict.fromkeys(WORDS.get(name, "settings") for name in changed)) or ["settings"]
    return f"{', '.join(words[:-1])} and {words[-1]} changed" if len(words) > 1 else f"{words[0]} changed"


def _with_new_scenes(slots: list[Slot], before: Sequence[Mapping[str, Any]]) -> list[Slot]:
    """Tell a scene that was put between others from one that changed: what stood in its place is still there."""
    here = {slot.own for slot in slots}
    return [
        replace(slot, why="not rendered before")
        if slot.why.endswith(" changed") and last.get("own") != slot.own and last.get("own") in here
        else slot
        for slot, last in zip(slots, [*before, *[{}] * len(slots)], strict=False)
    ]
