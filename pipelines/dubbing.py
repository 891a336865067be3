"""Dubbing: a face that is given, speech that is given, and between the two a mouth, or a whole head, that is made.

After IPTalker (2501.04586) a mouth is warped out of references and then refined by denoising; after Hallo3
(2412.00733) any length is made in windows that go on from the last frames of the window before, and a portrait from one
picture. What a timeline, a region and a reference are is told in the files of `voice/`; one window is made in
`voice/stage.py`. Outside the region everything is the source, and memory does not grow with the length.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from models.plan import Segment, TokenPlan, grid, middle, words
from pipelines.adapters import contents
from pipelines.canvas import told
from pipelines.estimate import Estimate, Finish, Output, estimate, frame_notes
from pipelines.files.audio import mono16k
from pipelines.files.media import is_clip, read_opaque, watch
from pipelines.files.output import versions
from pipelines.files.soundtrack import Soundtrack
from pipelines.job import DubbingJob
from pipelines.refusal import Refusal
from pipelines.story.scenecache import BrokenScene, SceneCache, Stored, digest, fingerprint
from pipelines.voice.footage import Footage, even
from pipelines.voice.overtime import loudness, moments, openings
from pipelines.voice.record import record_of
from pipelines.voice.region import Rectangle
from pipelines.voice.shots import Shots, read_shots, speech_tokens
from pipelines.voice.timeline import Window

MANNER = 4  # of making a window: one that was kept by another manner is not taken again

if TYPE_CHECKING:
    from models.checkpoint import Checkpoint, Description
    from pipelines.engine import Work
    from pipelines.voice.reel import Reel


def given_tokens(height: int, width: int, regions: tuple[Rectangle | None, ...], before: int = 0) -> NDArray[np.bool_]:
    """[F, h, w] which tokens of a window are given: all but those in the region of a frame after the first `before`."""
    given = np.ones((len(regions), height, width), np.bool_)
    for frame, region in enumerate(regions):
        if region is not None and frame >= before:
            y0, x0, y1, x1 = region
            given[frame, y0:y1, x0:x1] = False
    return given


@lru_cache(maxsize=64)
def dubbing_plan(
    prompt_tokens: int,
    per_frame: int,
    height: int,
    width: int,
    regions: tuple[Rectangle | None, ...],
    before: int = 0,
    references: tuple[Rectangle, ...] = (),
) -> TokenPlan:
    """One window of a dubbed clip: IPTalker's alignment (2501.04586) as joint attention, Hallo3's windows (2412.00733).

    The context stream is the prompt [prompt_tokens] and then the speech [F * per_frame], frame by frame. The picture
    stream is the frames [F * h * w] and then the references, one after another, each row by row. Frames are at t = 0,
    1, ... of the window; the speech of a frame has its t and stands at the middle of its region, its own numbers on l.
    References are given and stand on l = 1, 2, ... where they were seen, at t = 0.

    The speech of a frame sees the tokens of that frame, the references, the prompt and itself, and is seen by the same:
    no other frame hears it. Frames and references all see each other, and the prompt sees all and is seen by all.

    With per_frame = 0 there is no speech, and all see all. The same function serves a mouth, whose region is a part
    of each frame, and a portrait, whose region is all of it and whose one reference is a whole picture.

    Args:
        prompt_tokens: length of the prompt.
        per_frame: G, speech tokens of each frame.
        height: h, tokens down.
        width: w, tokens across.
        regions: [F] what is made in each frame; None where the frame is given whole, as one without a face is.
        before: how many frames are the last ones of the window before: given whole, whatever their region.
        references: where each reference was seen, which is also its size.

    Raises:
        ValueError: no frames, a rectangle that is empty or not in the frame, or more frames before than there are.
    """
    frames = len(regions)
    if not frames or not 0 <= before <= frames:
        raise ValueError(f"expected frames, and 0 to {frames} of them from the window before, got {before}")
    for y0, x0, y1, x1 in (*filter(None, regions), *references):
        if not (0 <= y0 < y1 <= height and 0 <= x0 < x1 <= width):
            raise ValueError(f"expected a part of {height} x {width} tokens, got y {y0} to {y1}, x {x0} to {x1}")
    given = given_tokens(height, width, regions, before)
    hear = per_frame > 0
    segments = [Segment("prompt", "prompt", words(prompt_tokens), sees_as="prompt")]
    for t, region in enumerate(regions if hear else ()):
        y, x = (0, 0) if region is None else middle(region)
        segments.append(Segment(f"speech {t}", "speech", words(per_frame, t=t, y=y, x=x), sees_as=f"speech {t}"))
    for t in range(frames):
        positions = grid(1, height, width, t=t)
        segments.append(Segment(f"frame {t}", "frame", positions, given[t].reshape(-1), f"frame {t}"))
    for l, (y0, x0, y1, x1) in enumerate(references, 1):
        positions = grid(1, y1 - y0, x1 - x0, y=y0, x=x0, l=l)
        segments.append(Segment(f"reference {l}", "reference", positions, True, "reference"))
    if not hear:
        return TokenPlan(tuple(segments), None)
    speech = frozenset(f"speech {t}" for t in range(frames))
    seen = frozenset({"prompt", "reference", *(f"frame {t}" for t in range(frames))})
    table = {"prompt": seen | speech, "reference": seen | speech}
    for t in range(frames):
        table[f"speech {t}"] = frozenset({f"speech {t}", f"frame {t}", "reference", "prompt"})
        table[f"frame {t}"] = seen | {f"speech {t}"}
    return TokenPlan(tuple(segments), table)


def plan_of(shots: Shots, window: Window, prompt_tokens: int, per_frame: int) -> TokenPlan:
    """The plan in which a window of a clip is made."""
    return dubbing_plan(
        prompt_tokens, per_frame, shots.height, shots.width, shots.regions_in(window), window.before, shots.looks
    )


def batch_key(job: DubbingJob) -> Hashable:
    """Only equal jobs go together: they are rendered once."""
    return job


def check(job: DubbingJob, description: Description) -> Estimate:
    """What a dubbing costs with this checkpoint when no window of it was made before. Its files are read.

    Raises:
        Refusal: a checkpoint that can not hear, files that can not be read or do not fit, no face, or a size or
            guidance that the checkpoint does not have.
    """
    per_frame = speech_tokens(description)
    shots, _ = read_shots(job, description)
    windows = [window for window in shots.timeline.windows(job.window, job.overlap) if not shots.passes(window)]
    footage, clip = shots.footage, shots.timeline
    found = estimate(
        plain(job),
        description,
        [plan_of(shots, window, description.prompt_tokens, per_frame) for window in windows],
        [job.prompt, job.negative_prompt],
        size=[footage.width, footage.height],
        frames=clip.frames,
        fps=str(clip.fps),
        source_frames=footage.count,
        region=job.region,
        warp=shots.warp,
        passed_frames=len(shots.passed),
    )
    if not windows:
        found.warnings.append("no frame of the result shows the face, so nothing is made")
    if footage.cropped:
        found.warnings.append("the last row or column of the source is left out: a video has even sides")
    if job.fps is not None and footage.fps not in (None, job.fps):
        found.warnings.append(f"the source has {float(clip.fps):g} frames a second, so fps: {job.fps} is not used")
    found.warnings.extend(frame_notes(max((window.end - window.begin for window in windows), default=1), description))
    if job.speech_guidance <= 1:
        return found
    halves = 2 if found.resolved["guided"] else 1
    calls = found.resolved["model_evaluations"] // halves * (halves + 1)
    resolved = {**found.resolved, "model_evaluations": calls, "guided": True}
    return replace(found, flops=found.flops / halves * (halves + 1), resolved=resolved)


def plain(job: DubbingJob) -> DubbingJob:
    """The job, without guidance where its prompt and negative prompt are the same: there is nothing to steer by."""
    return job.model_copy(update={"guidance": 1.0}) if job.prompt == job.negative_prompt else job


def render(work: Work, jobs: Sequence[DubbingJob]) -> Finish:
    """Render dubbing jobs of one group, which are equal."""
    outputs = [_render(work, jobs[0])] * len(jobs)
    return lambda: outputs


def _render(work: Work, job: DubbingJob) -> Output:
    import torch

    from pipelines.voice.reel import Dubbed, Reel
    from pipelines.voice.stage import Stage

    description = work.checkpoint.description
    shots, sound = read_shots(job, description)
    source, made = Reel(work.cache), Reel(work.cache)
    _read_source(job, shots.footage, source)
    wave = mono16k(sound)
    stage = Stage(work, job, shots, source, wave)
    cache = SceneCache(work.cache / "windows") if work.cache else None
    fixed = [_made_with(work.checkpoint, cache), _asked(job), shots.warp, stage.references_digest() if cache else ""]
    fixed += contents(job.adapters)
    windows = shots.timeline.windows(job.window, job.overlap)
    to_make = sum(not shots.passes(window) for window in windows)
    reused: list[int] = []
    warnings: list[str] = []
    tokens, done = None, 0

    def progress(step: int, steps: int) -> bool:
        return work.progress(done * steps + step, to_make * steps)

    for number, window in enumerate(windows):
        given = stage.given(window, tokens)
        if shots.passes(window):
            stored = stage.passed(given, window)
        else:
            key = digest([*fixed, number, shots.regions_in(window), window.before, given.digest()]) if cache else ""
            found = _kept(cache, key, warnings)
            stored = found or stage.make(number, window, given, progress)
            done += 1
            if found is not None:
                reused.append(number)
            elif cache:
                warnings += _keep(cache, key, stored, job, number)
        for frame in stored.frames:
            made.append(frame)
        tokens = torch.from_numpy(stored.tokens)
    warnings += work.checkpoint.prompts.too_long(job.prompt)
    soundtrack = told("audio", lambda _: Soundtrack.of(sound), job.audio)
    dubbed = Dubbed(source, made, shots.timeline, shots.view)
    seen = {"loud": loudness(wave, len(moments(len(dubbed)))), "open": openings(dubbed, shots)}
    return Output(
        dubbed,
        list(dict.fromkeys(warnings)),
        record_of(job, shots, windows, reused, sound, soundtrack, seen),
        shots.timeline.fps,
        sound=soundtrack,
    )


def _read_source(job: DubbingJob, footage: Footage, reel: Reel) -> None:
    """Put the frames of the source on a reel.

    Raises:
        Refusal: they are no longer those that were looked at.
    """
    if told("source", is_clip, job.source):
        told("source", lambda path: watch(path, lambda frame: reel.append(even(frame))), job.source)
    else:
        reel.append(even(told("source", read_opaque, job.source)))
    if reel.shape != (footage.count, footage.height, footage.width, 3):
        raise Refusal("source", f"{job.source} was changed while it was read; render it again")


def _made_with(checkpoint: Checkpoint, cache: SceneCache | None) -> dict[str, Any]:
    """What decides the pixels beside the job."""
    return {
        "model": fingerprint(checkpoint.description.folder) if cache else "",
        "device": checkpoint.device.type,
        "dtype": str(checkpoint.transformer.dtype),
        "manner": MANNER,
        "versions": [versions()["torch"], versions()["diffusers"]],
    }


def _asked(job: DubbingJob) -> dict[str, Any]:
    """What of a job decides a window's pixels, beside the files that it names."""
    left_out = {
        "task",
        "model",
        "adapters",
        "name",
        "source",
        "audio",
        "face",
        "duration",
        "start",
        "fps",
        "warp",
        "references",
    }
    return job.model_dump(mode="json", exclude=left_out | {"window", "png_frames"})


def _kept(cache: SceneCache | None, key: str, warnings: list[str]) -> Stored | None:
    """A window that was made before."""
    try:
        return cache.read(key) if cache else None
    except BrokenScene as error:
        warnings.append(f"a window that was kept could not be read and is made again: {error}")
        return None


def _keep(cache: SceneCache, key: str, stored: Stored, job: DubbingJob, number: int) -> list[str]:
    """Store a window; a sentence where that can not be done, for the video itself is well."""
    try:
        cache.write(key, stored, {"task": job.task, "window": number})
    except OSError as error:
        return [f"finished windows could not be kept for the next time: {error.strerror or error}"]
    return []
