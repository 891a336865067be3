"""Scores of what moves: clips from a caption, stories from a caption a scene, and videos that are extended.

Each takes a function that renders jobs (`renders.py`), so that a test can draw the truth, or something else, instead.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

import numpy as np

from pipelines.files.output import OutputFolder
from training.clips import cuts, read_clip, read_story
from training.judging import CLIP_ATTRIBUTES, ClipVerdict, StoryVerdict, judge_clip, judge_story
from training.pixels import Pixels
from training.renders import Render, Settings, through_autoencoder
from training.scene import Scene, frames_of
from training.scores import Failure, Scores, tiled

CLIP_RATES = (*CLIP_ATTRIBUTES, "exact")


def evaluate_video(render: Render, clips: Sequence[Scene], settings: Settings) -> Scores:
    """Score text to video on what its captions state."""
    jobs = [
        settings.job(
            "text", i, prompt=scene.caption, size=settings.size, frames=settings.frames, fps=settings.fps
        )
        for i, scene in enumerate(clips)
    ]  # fmt: skip
    videos = [np.asarray(rendered.frames)[..., :3] for rendered in render(jobs)]
    verdicts = [
        judge_clip(read_clip(video, settings.shapes), scene) for video, scene in zip(videos, clips, strict=True)
    ]
    failures = [
        Failure(i, scene.caption, verdict.reason, tiled(video))
        for i, (scene, verdict, video) in enumerate(zip(clips, verdicts, videos, strict=True))
        if not verdict.exact
    ]
    return Scores(len(clips), _clip_rates(verdicts), tuple(failures))


def evaluate_scenes(render: Render, stories: Sequence[Sequence[Scene]], settings: Settings) -> Scores:
    """Score multi-scene videos: the rates of a clip are over all scenes, the others over stories."""
    jobs = [
        settings.job(
            "scenes", i, scenes=_parts(story, settings), size=settings.size, fps=settings.fps, reuse="never"
        )
        for i, story in enumerate(stories)
    ]  # fmt: skip
    return _judged([np.asarray(rendered.frames) for rendered in render(jobs)], stories, settings)


def evaluate_extensions(render: Render, stories: Sequence[Sequence[Scene]], settings: Settings, folder: Path) -> Scores:
    """Score videos that begin with the first scene of a story and are extended by one scene at a time.

    Every video is written into `folder`, and the next job continues from the frames that are there.
    """
    videos: list[Pixels] = []
    given = 0.0
    for number in range(len(stories[0])):
        continued = [None if number == 0 else str(folder / f"{i:03d}-{number - 1}") for i in range(len(stories))]
        jobs = [
            settings.job(
                "scenes",
                i,
                scenes=_parts(story[number : number + 1], settings),
                size=settings.size,
                fps=settings.fps,
                reuse="never",
                png_frames=True,
                continue_from=source,
                name=f"{i:03d}-{number}",
            )
            for i, (story, source) in enumerate(zip(stories, continued, strict=True))
        ]
        results = render(jobs)
        output = OutputFolder(folder)
        for job, result in zip(jobs, results, strict=True):
            output.save(job, str(job.name), result)
        longer = [np.asarray(result.frames) for result in results]
        given += sum(np.array_equal(old, new[: len(old)]) for old, new in zip(videos, longer, strict=False))
        videos = longer
    scores = _judged(videos, stories, settings)
    extensions = max(1, len(stories) * (len(stories[0]) - 1))
    return Scores(scores.total, {**scores.rates, "given kept": given / extensions}, scores.failures)


def _parts(scenes: Sequence[Scene], settings: Settings) -> list[dict[str, object]]:
    return [{"prompt": scene.caption, "frames": settings.frames} for scene in scenes]


def _judged(videos: Sequence[Pixels], stories: Sequence[Sequence[Scene]], settings: Settings) -> Scores:
    verdicts = [_judge(video[..., :3], story, settings) for video, story in zip(videos, stories, strict=True)]
    names = ("kept", "cuts", "exact")
    counts = Counter(name for verdict in verdicts for name in names if getattr(verdict, name))
    scenes = _clip_rates([scene for verdict in verdicts for scene in verdict.scenes])
    scenes["scene exact"] = scenes.pop("exact")
    failures = [
        Failure(i, " / ".join(scene.caption for scene in story), verdict.reason, tiled(video[..., :3], settings.frames))
        for i, (story, verdict, video) in enumerate(zip(stories, verdicts, videos, strict=True))
        if not verdict.exact
    ]
    rates = {name: counts[name] / max(len(stories), 1) for name in names}
    return Scores(len(stories), scenes | rates, tuple(failures))


def _judge(video: Pixels, story: Sequence[Scene], settings: Settings) -> StoryVerdict:
    lengths = [settings.frames] * len(story)
    if len(video) != sum(lengths):
        raise ValueError(f"expected {sum(lengths)} frames of {len(story)} scenes, got {len(video)}")
    starts = tuple(accumulate(lengths))[:-1]
    return judge_story(read_story(video, settings.shapes, starts), cuts(video), story, starts)


def _clip_rates(verdicts: Sequence[ClipVerdict]) -> dict[str, float]:
    counts = Counter(name for verdict in verdicts for name in CLIP_RATES if getattr(verdict, name))
    return {name: counts[name] / max(len(verdicts), 1) for name in CLIP_RATES}


def evaluate_autoencoder(checkpoint: str, clips: Sequence[Scene], settings: Settings) -> Scores:
    """Score true clips that went through a checkpoint's autoencoder: no transformer can draw better ones."""
    import torch

    from pipelines.estimate import Rendered
    from pipelines.job import Job

    there_and_back = through_autoencoder(checkpoint)

    def render(jobs: Sequence[Job]) -> list[Rendered]:
        found = []
        for scene in clips:
            truth = torch.from_numpy(settings.draw(frames_of(scene, settings.frames, settings.fps)))
            opaque = torch.cat([truth, torch.full_like(truth[..., :1], 255)], -1).permute(0, 3, 1, 2).float() / 255
            frames = there_and_back(opaque)[:, :3]
            found.append(Rendered((frames * 255).round().byte().permute(0, 2, 3, 1).numpy(), {}))
        return found

    return evaluate_video(render, clips, settings)
