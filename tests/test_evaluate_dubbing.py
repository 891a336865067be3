"""What scores of speech promise: the truth scores full marks, and each fault costs its own rate."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.warp import MouthWarp
from pipelines.estimate import Rendered
from pipelines.files.media import read_clip
from pipelines.job import Job
from tests.tiny import tiny_stage
from training.evaluate_dubbing import (
    END,
    RATE,
    SECONDS,
    Case,
    dubbing_cases,
    espeak,
    evaluate_dubbing,
    portrait_cases,
    read_wave,
    write_wave,
)
from training.export import export
from training.flow import FlowStage
from training.pixels import Pixels
from training.renders import Settings, through_engine

CLIPS = Settings(size=(96, 96), fps=8)


def scored(cases: Sequence[Case], result: Callable[[Case], Pixels]) -> dict[str, float]:
    def render(jobs: Sequence[Job]) -> list[Rendered]:
        return [Rendered(result(case), {}) for case in cases]

    return evaluate_dubbing(render, cases, CLIPS).rates


def source(case: Case) -> Pixels:
    return read_clip(Path(case.job.source)).frames  # type: ignore[union-attr]


@pytest.fixture(scope="module")
def swapped(tmp_path_factory: pytest.TempPathFactory) -> list[Case]:
    return dubbing_cases("swapped", 4, CLIPS, tmp_path_factory.mktemp("swapped"))


@pytest.fixture(scope="module")
def portraits(tmp_path_factory: pytest.TempPathFactory) -> list[Case]:
    return portrait_cases(3, CLIPS, tmp_path_factory.mktemp("portraits"))


def test_the_truth_scores_full_marks(swapped: list[Case]) -> None:
    rates = scored(swapped, lambda case: case.truth)
    assert rates["correlation"] > 0.97 and rates["lag"] == 0
    assert rates["follows"] == rates["identity"] == 1 and rates["bare"] == 60


def test_a_source_that_is_left_as_it_was_follows_nobody(swapped: list[Case]) -> None:
    rates = scored(swapped, source)
    assert rates["follows"] == 0 and rates["correlation"] < 0.5
    assert rates["identity"] == 1 and rates["bare"] == 60


def test_a_mouth_that_comes_late_is_told_by_how_much(swapped: list[Case]) -> None:
    rates = scored(swapped, lambda case: np.concatenate([case.truth[:1].repeat(2, 0), case.truth[:-2]]))
    assert rates["lag"] > 1 and rates["best"] > rates["correlation"] + 0.2


def test_each_fault_costs_its_own_rate(swapped: list[Case]) -> None:
    people = {id(case): other for case, other in zip(swapped, [*swapped[1:], swapped[0]], strict=True)}
    assert scored(swapped, lambda case: people[id(case)].truth)["identity"] < 0.5

    def smudged(case: Case) -> Pixels:
        return np.where(case.bare[..., None], 255 - case.truth, case.truth)

    assert scored(swapped, smudged)["bare"] < 15
    assert scored(swapped, lambda case: case.truth[:-1])["correlation"] == 0, "another length is no dubbing"


def test_silence_has_to_close_the_mouth(tmp_path: Path) -> None:
    cases = dubbing_cases("silence", 2, CLIPS, tmp_path)
    assert scored(cases, lambda case: case.truth)["shut"] == 1
    assert scored(cases, source)["shut"] < 0.6


def test_portraits_have_to_speak_blink_and_move(portraits: list[Case]) -> None:
    rates = scored(portraits, lambda case: case.truth)
    assert rates["correlation"] > 0.97
    assert rates["identity"] == rates["blinks"] == rates["moves"] == 1
    # A photograph: it is still the same person, and that is all.
    still = scored(portraits, lambda case: case.truth[:1].repeat(len(case.truth), 0))
    assert still["identity"] == 1 and still["moves"] == still["blinks"] == 0 and still["correlation"] == 0


def test_of_a_long_portrait_the_end_is_compared_with_the_beginning(tmp_path: Path) -> None:
    cases = portrait_cases(1, CLIPS, tmp_path, seconds=2 * END)
    rates = scored(cases, lambda case: case.truth)
    ends = [rates[f"{end} {what}"] for end in ("first", "last") for what in ("correlation", "colours")]
    assert min(ends) > 0.97 and rates["colours"] == 1

    def fades(case: Case) -> Pixels:
        half = len(case.truth) // 2
        return np.concatenate([case.truth[:half], 255 - case.truth[half:]])

    rates = scored(cases, fades)
    assert rates["first correlation"] > 0.97 and rates["first colours"] == 1
    assert rates["last correlation"] < 0.5 and rates["last colours"] == 0 and rates["colours"] == pytest.approx(0.5)


def test_jobs_are_given_the_other_sound_and_nothing_of_the_truth(swapped: list[Case], tmp_path: Path) -> None:
    for case in swapped:
        clip = read_clip(Path(case.job.source))  # type: ignore[union-attr]
        assert clip.fps == CLIPS.fps and len(clip.frames) == len(case.truth) == SECONDS * CLIPS.fps
        assert not np.array_equal(clip.frames, case.truth)
        samples, rate = read_wave(Path(case.job.audio))  # type: ignore[union-attr]
        assert rate == RATE and len(samples) == SECONDS * RATE and samples.any()
    warped = dubbing_cases("silence", 1, CLIPS, tmp_path, warp=True)
    assert warped[0].job.warp and not swapped[0].job.warp  # type: ignore[union-attr]
    told = dubbing_cases("silence", 1, replace(CLIPS, guidance=1.25, speech_guidance=2.5), tmp_path)[0].job
    assert (told.guidance, told.speech_guidance) == (1.25, 2.5)  # type: ignore[union-attr]
    assert replace(CLIPS, speech_guidance=2.5).job("text", 0, prompt="a star").task == "text", "which hears nothing"


def test_recorded_speech_is_scored_by_its_loudness(tmp_path: Path) -> None:
    def speak(sentence: str, path: Path) -> None:
        times = np.arange(int(SECONDS * RATE)) / RATE
        write_wave(path, (np.sin(2 * np.pi * 200 * times) * (times % 1 < 0.5) * 0.5).astype(np.float32), RATE)

    cases = dubbing_cases("recorded", 2, CLIPS, tmp_path, speak=speak)
    assert scored(cases, lambda case: case.truth)["correlation"] > 0.97
    assert scored(cases, source)["correlation"] < 0.6
    with pytest.raises(ValueError, match="recorded speech"):
        dubbing_cases("recorded", 1, CLIPS, tmp_path / "none")


def test_cases_go_through_the_pipeline_from_files_to_scores(tmp_path: Path) -> None:
    first = tiny_stage()
    config = first.config.model_copy(update={"tasks": {"dubbing": 1.0}})
    stage = FlowStage(config, first.frozen["codec"], first.world)
    warp = MouthWarp.of(stage.speech, size=16, inner_width=16)  # type: ignore[arg-type]
    export(stage, first.frozen["codec"].vae, tmp_path / "tiny", warp=warp)
    here = replace(CLIPS, model=str(tmp_path / "tiny"), steps=1, guidance=1.0)
    render = through_engine(device="cpu")
    for warps in (False, True):
        cases = dubbing_cases("silence", 1, here, tmp_path / f"files-{warps}", warp=warps)
        results: list[Rendered] = []

        def kept(jobs: Sequence[Job], results: list[Rendered] = results) -> list[Rendered]:
            results.extend(render(jobs))
            return results

        rates = evaluate_dubbing(kept, cases, here).rates
        assert 0 < rates["bare"] < 60
        made = (np.stack(list(results[0].frames)) != source(cases[0])).any(-1)
        assert made.any() and not made[:, :48].any(), "weights of chance spoil the mouth's region and nothing else"
    scores = evaluate_dubbing(render, portrait_cases(1, here, tmp_path / "portrait"), here)
    assert scores.total == len(scores.failures) == 1 and scores.rates["identity"] == 0


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")
def test_espeak_writes_a_sound_that_opens_mouths(tmp_path: Path) -> None:
    cases = dubbing_cases("recorded", 1, replace(CLIPS, fps=12), tmp_path, speak=espeak)
    assert cases[0].track.max() == 1 and cases[0].track.std() > 0.1
