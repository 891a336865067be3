"""What evaluations promise: the truth scores full marks, and what is wrong scores none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from pipelines.engine import Engine
from pipelines.estimate import Rendered
from pipelines.files.media import read_clip as read_video
from pipelines.files.media import read_picture
from pipelines.job import Job, ScenesJob, TextJob
from training.evaluate import main
from training.evaluate_clips import evaluate_extensions, evaluate_scenes, evaluate_video
from training.evaluate_masked import GREY, KINDS, Case, Kind, evaluate_masked, masked_cases, seam
from training.papercut import World
from training.pixels import Pixels
from training.renders import Settings
from training.scene import Scene, frames_of
from training.scores import tiled

UNSEEN = World(seed=2024, split="unseen", placement="canonical")
SETTINGS = Settings()
PICTURES = Settings(size=(128, 128))


@dataclass(frozen=True)
class Filmmaker:
    """Renders jobs of known prompts, as a perfect model would; `spoil` is what it does to scenes first."""

    known: Sequence[Scene]
    spoil: Callable[[Scene], Scene] = lambda scene: scene

    def __call__(self, jobs: Sequence[Job]) -> list[Rendered]:
        return [Rendered(self.film(job), {}) for job in jobs]

    def film(self, job: Job) -> Pixels:
        if isinstance(job, TextJob):
            return self.scene(job.prompt, job.frames, job.size, job.fps)
        assert isinstance(job, ScenesJob) and job.reuse == "never"
        new = [self.scene(part.prompt, part.frames, job.size, job.fps) for part in job.scenes]
        earlier = [read_video(Path(job.continue_from)).frames] if job.continue_from else []
        return np.concatenate([*earlier, *new])

    def scene(self, prompt: str, frames: int, size: tuple[int, int], fps: int) -> Pixels:
        (scene,) = {scene.caption: scene for scene in self.known if scene.caption == prompt}.values()
        return replace(SETTINGS, size=size).draw(frames_of(self.spoil(scene), frames, fps))


def otherwise(scene: Scene) -> Scene:
    """A scene in which everything is another."""
    thing = scene.things[0]
    colour = "green" if "green" not in (thing.colour, scene.ground) else "blue"
    ground = "meadow" if scene.ground != "meadow" else "night"
    shape = "square" if thing.shape != "square" else "heart"
    motion = "grows" if thing.motion != "grows" else "moves left"
    return replace(scene, things=(replace(thing, colour=colour, shape=shape, motion=motion),), ground=ground)


# ---------------------------------------------------------------- clips and stories


def test_true_clips_score_full_marks() -> None:
    clips = [UNSEEN.clip(index) for index in range(4)]
    scores = evaluate_video(Filmmaker(clips), clips, SETTINGS)
    assert set(scores.rates.values()) == {1.0} and scores.failures == () and scores.total == 4


def test_wrong_clips_score_nothing_and_are_shown() -> None:
    clips = [UNSEEN.clip(index) for index in range(4)]
    scores = evaluate_video(Filmmaker(clips, otherwise), clips, SETTINGS)
    assert all(scores.rates[name] == 0 for name in ("subject", "motion", "ground", "exact"))
    assert [failure.index for failure in scores.failures] == [0, 1, 2, 3]
    assert "subject" in scores.failures[0].reason and scores.failures[0].picture.ndim == 3


def test_clips_that_do_not_move_score_only_for_what_they_show() -> None:
    clips = [scene for index in range(12) if (scene := UNSEEN.clip(index)).things[0].motion != "stays still"][:3]
    still = Filmmaker(clips, lambda scene: replace(scene, things=tuple(t.at(0.5, 1.0) for t in scene.things)))
    scores = evaluate_video(still, clips, SETTINGS)
    assert (scores.rates["subject"], scores.rates["ground"]) == (1, 1)
    assert (scores.rates["motion"], scores.rates["exact"]) == (0, 0)


def test_true_stories_score_full_marks_and_wrong_ones_none() -> None:
    stories = [UNSEEN.story(index) for index in range(2)]
    known = [scene for story in stories for scene in story]
    true = evaluate_scenes(Filmmaker(known), stories, SETTINGS)
    assert set(true.rates.values()) == {1.0} and true.total == 2
    wrong = evaluate_scenes(Filmmaker(known, otherwise), stories, SETTINGS)
    assert all(wrong.rates[name] == 0 for name in ("subject", "motion", "ground", "exact", "scene exact"))


def test_stories_without_cuts_are_not_cut() -> None:
    stories = [UNSEEN.story(index) for index in range(2)]
    known = [scene for story in stories for scene in story]
    flat = evaluate_scenes(Filmmaker(known, lambda scene: replace(scene, things=(), ground="red")), stories, SETTINGS)
    assert (flat.rates["cuts"], flat.rates["kept"]) == (0, 0)


def test_a_story_of_another_length_is_an_error() -> None:
    story = UNSEEN.story(0)
    with pytest.raises(ValueError, match="expected 24 frames of 3 scenes, got 23"):
        evaluate_scenes(
            lambda jobs: [Rendered(Filmmaker(story).film(job)[1:], {}) for job in jobs], [story], SETTINGS
        )  # fmt: skip


def test_extensions_continue_from_what_was_written(tmp_path: Path) -> None:
    stories = [UNSEEN.story(index, 3) for index in range(2)]
    maker = Filmmaker([scene for story in stories for scene in story])
    scores = evaluate_extensions(maker, stories, SETTINGS, tmp_path / "true")
    assert set(scores.rates.values()) == {1.0}
    assert len(list((tmp_path / "true" / "001-2").glob("*.png"))) == 24

    def forgets(jobs: Sequence[Job]) -> list[Rendered]:
        films = [maker.film(job) for job in jobs]
        return [Rendered(film // 2 if job.continue_from else film, {}) for job, film in zip(jobs, films, strict=True)]  # type: ignore[union-attr]

    assert evaluate_extensions(forgets, stories, SETTINGS, tmp_path / "dark").rates["given kept"] == 0


# ---------------------------------------------------------------- masked


def cases_of(kind: Kind, folder: Path, count: int = 4) -> tuple[list[Case], Settings]:
    settings = SETTINGS if kind in ("predict", "interpolate") else PICTURES
    return masked_cases(kind, count, settings, folder), settings


def painter(cases: Sequence[Case], finish: Callable[[Case], Pixels]) -> Callable[[Sequence[Job]], list[Rendered]]:
    known = {case.job.name: finish(case) for case in cases}
    return lambda jobs: [Rendered(known[job.name], {}) for job in jobs]


@pytest.mark.parametrize("kind", KINDS)
def test_the_truth_scores_full_marks(kind: Kind, tmp_path: Path) -> None:
    cases, settings = cases_of(kind, tmp_path)
    scores = evaluate_masked(painter(cases, lambda case: case.truth), cases, settings)
    assert (scores.rates["right"], scores.rates["kept"]) == (1, 1) and scores.failures == ()
    if kind not in ("predict", "interpolate"):
        assert scores.rates["seam"] == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_grey_hole_scores_nothing(kind: Kind, tmp_path: Path) -> None:
    cases, settings = cases_of(kind, tmp_path)
    grey = painter(cases, lambda case: np.where(case.made[..., None], np.uint8(GREY), case.truth))
    scores = evaluate_masked(grey, cases, settings)
    assert (scores.rates["right"], scores.rates["kept"]) == (0, 1) and len(scores.failures) == len(cases)
    if kind not in ("predict", "interpolate"):
        assert scores.rates["seam"] > 3


@pytest.mark.parametrize("kind", KINDS)
def test_another_thing_or_a_clip_that_stands_still_scores_nothing(kind: Kind, tmp_path: Path) -> None:
    cases, settings = cases_of(kind, tmp_path)

    def other(case: Case) -> Pixels:
        if kind in ("predict", "interpolate"):
            return np.repeat(case.truth[:1], len(case.truth), 0)
        (another,) = otherwise(Scene((case.thing,), case.scene.ground)).things
        things = [replace(another, motion=None) if thing is case.thing else thing for thing in case.scene.things]
        return settings.draw([replace(case.scene, things=tuple(things))])

    moving = [case for case in cases if case.thing.motion != "stays still"]
    assert evaluate_masked(painter(moving, other), moving, settings).rates["right"] == 0


@pytest.mark.parametrize("kind", KINDS)
def test_the_files_hold_nothing_of_what_is_made(kind: Kind, tmp_path: Path) -> None:
    cases, _ = cases_of(kind, tmp_path)
    for case in cases:
        source = Path(case.job.source)  # type: ignore[union-attr]
        if source.is_dir():
            frames = read_video(source).frames
            assert len(frames) == (3 if kind == "predict" else 8)
            assert all((frame == GREY).all() == made.all() for frame, made in zip(frames, case.made, strict=False))
        else:
            pixels = read_picture(source)[..., :3]
            assert (pixels[case.made[0]] == GREY).all()
            assert np.array_equal(pixels[~case.made[0]], case.truth[0][~case.made[0]])


def test_the_masked_pipeline_takes_the_jobs(tmp_path: Path) -> None:
    engine = Engine("cpu")
    for kind in KINDS:
        (case, *_), _ = cases_of(kind, tmp_path, 1)
        mode = engine.check(case.job).resolved["mode"]
        assert mode == {"predict": "predict", "interpolate": "interpolate"}.get(kind, "inpaint")


def test_a_seam_is_the_step_across_the_edge() -> None:
    frames = np.zeros((1, 4, 6, 3), np.uint8)
    frames[:, :, 3:] = 30
    made = np.zeros((1, 4, 6), bool)
    made[:, :, 3:] = True
    assert seam(frames, made) == 30
    made[:, :, 2:] = True
    assert seam(frames, made) == 0


def test_frames_are_shown_in_rows() -> None:
    frames = np.stack([np.full((4, 6, 3), 10 * k, np.uint8) for k in range(5)])
    picture = tiled(frames)
    assert picture.shape == (2 * 5, 3 * 7, 3)
    assert picture[0, 0, 0] == 0 and picture[0, 7, 0] == 10 and picture[5, 0, 0] == 30 and picture[9, 20, 0] == 255


# ---------------------------------------------------------------- the command


def test_parts_in_processes_print_what_one_process_prints(tiny: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = [str(tiny), "--task", "text", "layered", "--count", "1", "--steps", "1"]
    main(words)
    together = capfd.readouterr().out
    names = [
        "autoencoder, PSNR in dB",
        "unseen",
        "pairs",
        "named, autoencoder alone",
        "named",
        "anonymous",
        "taken apart",
    ]
    assert [line.split(":")[0] for line in together.splitlines()] == names
    main([*words, "--processes", "2"])
    assert capfd.readouterr().out == together
    main([*words, "--part", "taken apart"])
    assert capfd.readouterr().out == together.splitlines(keepends=True)[-1]
    with pytest.raises(SystemExit):
        main([*words, "--part", "no such"])
    assert "no part of text layered is called 'no such'" in capfd.readouterr().err
    with pytest.raises(SystemExit, match="three scenes: "):
        main([str(tiny / "absent"), "--task", "scenes", "--count", "1", "--processes", "2"])
