"""Multi-scene video: the plan against the paper, and the pipeline against text to video and against itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.attention import compile_plan
from models.checkpoint import EMBEDDED
from models.plan import TokenPlan
from pipelines.engine import Engine, groups
from pipelines.files.jobfile import read_jobs
from pipelines.job import Refusal, ScenesJob, parse
from pipelines.sampler import Cancelled
from pipelines.scenes import PRIMED, context_of, scenes_plan, shot_plan
from pipelines.text import text_plan
from tests.story import PROMPTS, asked, render, scenes, story
from tests.test_mmdit import SMALL, pair, tensors

EXAMPLES = EMBEDDED / "examples"
some_lengths = st.lists(st.integers(1, 6), min_size=1, max_size=6).map(tuple)


# ---------------------------------------------------------------- the plan


def of(plan: TokenPlan, kind: str) -> list[slice]:
    """Where the prompts, or the scenes, stand in their stream of request order."""
    found, at = [], 0
    for segment in plan.segments:
        if (segment.kind == "prompt") == (kind == "prompt"):
            found.append(slice(at, at + len(segment)))
            at += len(segment)
    return found


@given(some_lengths, st.integers(1, 9), st.integers(1, 3), st.integers(1, 3))
def test_attended_pairs_equal_the_closed_formula(lengths: tuple[int, ...], prompt: int, h: int, w: int) -> None:
    frames = np.array(lengths) * h * w
    plan = scenes_plan(prompt, h, w, lengths)
    assert plan.pairs == sum(prompt * (prompt + n) + n * prompt for n in frames) + frames.sum() ** 2


@given(some_lengths, st.integers(1, 4))
def test_two_tokens_see_each_other_when_both_are_frames_or_both_of_one_scene(
    lengths: tuple[int, ...], prompt: int
) -> None:
    plan = scenes_plan(prompt, 2, 1, lengths)
    scene = np.concatenate(
        [np.repeat(range(len(lengths)), prompt), np.repeat(range(len(lengths)), 2 * np.array(lengths))]
    )
    frame = np.arange(plan.tokens) >= plan.context_tokens
    expected = (frame[:, None] & frame) | (scene[:, None] == scene)
    assert np.array_equal(plan.visibility[np.ix_(plan.classes, plan.classes)], expected)


@given(some_lengths)
def test_time_runs_on_across_the_cuts_and_a_prompt_stands_where_its_scene_begins(lengths: tuple[int, ...]) -> None:
    plan = scenes_plan(5, 2, 3, lengths)
    time = plan.positions[:, 0]
    assert np.array_equal(time[plan.context_tokens :], np.repeat(range(sum(lengths)), 6))
    starts = np.cumsum((0, *lengths[:-1]))
    assert np.array_equal(time[: plan.context_tokens], np.repeat(starts, 5))


@pytest.mark.parametrize("frames", [1, 5])
def test_one_scene_runs_as_text_to_video(frames: int) -> None:
    ours, text = scenes_plan(7, 2, 3, (frames,)), text_plan(7, 2, 3, frames)
    assert np.array_equal(ours.positions, text.positions)
    assert (ours.pairs, ours.density, ours.given.any()) == (text.pairs, 1.0, False)
    one, other = compile_plan(ours), compile_plan(text)
    assert one.full and other.full and one.runs == other.runs and one.batches == other.batches
    assert torch.equal(one.order, other.order) and torch.equal(one.picture_order, other.picture_order)


def test_given_scenes_are_given_with_their_prompts_and_may_have_none() -> None:
    plan = scenes_plan(5, 2, 2, (2, 3, 1), (True, True, False), (False, True, True))
    assert [segment.name for segment in plan.segments] == ["prompt 2", "prompt 3", "scene 1", "scene 2", "scene 3"]
    assert [bool(segment.given) for segment in plan.segments] == [True, False, True, True, False]
    assert plan.pairs == 24**2 + 5 * (5 + 12) + 12 * 5 + 5 * (5 + 4) + 4 * 5


@pytest.mark.parametrize("given_scenes", [(False, False, False), (True, True, False)])
def test_in_the_first_block_no_gradient_flows_from_a_prompt_to_another_scene(given_scenes: tuple[bool, ...]) -> None:
    plan = scenes_plan(4, 2, 2, (3, 1, 2), given_scenes)
    model = pair(SMALL)[1]
    picture, context, time = tensors(plan, SMALL, batch=1)
    context.requires_grad_(True)
    after = model(picture, context, time, plan=plan, taps=(0,)).taps[0]
    prompts = of(plan, "prompt")
    for j, frames in enumerate(of(plan, "frames")):
        (gradient,) = torch.autograd.grad(after[:, frames].square().sum(), context, retain_graph=True)
        for i, prompt in enumerate(prompts):
            if i == j:
                assert gradient[:, prompt].abs().max() > 1e-6, "it does flow from its own"
            else:
                assert not gradient[:, prompt].any(), (i, j)


@given(st.integers(0, 40), st.integers(1, 8))
def test_the_model_is_shown_the_first_scene_and_the_latest(scene: int, window: int) -> None:
    shown = context_of(scene, window)
    assert len(shown) == min(scene, window - 1)
    assert list(shown) == sorted(set(shown)) and all(i < scene for i in shown)
    if shown:
        assert shown[0] == 0 and set(shown[1:]) == set(range(scene - len(shown) + 1, scene))


def test_a_shot_goes_on_from_given_frames_under_one_prompt() -> None:
    plan = shot_plan(3, 1, 2, 2, 3)
    assert plan.given.tolist() == [False] * 3 + [True] * 4 + [False] * 6
    assert plan.positions[3:, 0].tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4] and plan.density == 1


# ---------------------------------------------------------------- the pipeline


def split(job: Any, frames: np.ndarray) -> list[np.ndarray]:
    """The frames of each scene, where all begin with a cut."""
    return np.split(frames, np.cumsum([scene.frames for scene in job.scenes])[:-1])


@pytest.mark.parametrize(
    "changes", [{}, {"guidance": 1.0}, {"scheduler": "heun", "internal_guidance": 1.5, "negative_prompt": "star"}]
)
@pytest.mark.parametrize("frames", [1, 4])
def test_one_scene_is_text_to_video_bit_for_bit(tiny: Path, frames: int, changes: dict[str, Any]) -> None:
    engine = Engine("cpu")
    one = story(tiny, [{"prompt": PROMPTS[0], "frames": frames, "seed": 9}], **changes)
    text = {"task": "text", "model": str(tiny), "prompt": PROMPTS[0], "size": [64, 80], "steps": 3, "seed": 9}
    expected = render(engine, parse(text | {"frames": frames} | changes)).frames
    assert expected.std() > 5, "there is something to compare"
    assert render(engine, one).frames.tobytes() == expected.tobytes()


def test_a_window_of_one_renders_each_scene_as_if_it_were_alone(tiny: Path) -> None:
    engine, job = Engine("cpu"), story(tiny, scenes(3), window=1)
    alone = [render(engine, story(tiny, [part])).frames for part in scenes(3)]
    assert render(engine, job).frames.tobytes() == np.concatenate(alone).tobytes()


@pytest.mark.parametrize(
    "change", [{"prompt": "a black heart"}, {"seed": 77}, {"negative_prompt": "star"}, {"frames": 3}]
)
def test_what_a_scene_says_changes_it_and_none_before_it(tiny: Path, change: dict[str, Any]) -> None:
    engine = Engine("cpu")
    before, after = story(tiny, scenes(3)), story(tiny, scenes(3, s2=change))
    a, b = (split(job, render(engine, job).frames) for job in (before, after))
    assert np.array_equal(a[0], b[0])
    assert not np.array_equal(a[1], b[1])
    assert not np.array_equal(a[2], b[2]), "the last one is shown the second"


def test_a_scene_is_shown_the_first_and_the_latest_and_no_other(tiny: Path) -> None:
    engine = Engine("cpu")
    base, *others = (
        split(job, render(engine, job).frames)
        for job in (
            story(tiny, scenes(4, **change), window=2) for change in ({}, {"s1": {"seed": 9}}, {"s3": {"seed": 9}})
        )
    )
    assert not np.array_equal(base[3], others[0][3]), "the first scene is shown to the fourth"
    assert np.array_equal(base[3], others[1][3]), "in a window of two the third is not"


def test_given_scenes_are_shown_clean_at_every_step(tiny: Path) -> None:
    engine, job = Engine("cpu"), story(tiny, scenes(3), guidance=1.0)
    with asked(engine, tiny) as seen:
        render(engine, job)
    assert seen.calls == 9
    h, w = 5, 4
    for call in (6, 7, 8):
        frames = [segment for segment in seen.plans[call].segments if segment.kind == "frame"]
        assert [(len(segment), bool(segment.given)) for segment in frames] == [
            (3 * h * w, True), (2 * h * w, True), (4 * h * w, False),
        ]  # fmt: skip
        given_tokens = 5 * h * w
        assert torch.equal(seen.tokens[call][:, :given_tokens], seen.tokens[6][:, :given_tokens])
    assert not torch.equal(seen.tokens[7][:, given_tokens:], seen.tokens[6][:, given_tokens:])


def test_one_shot_goes_on_from_its_last_frames_under_each_prompt(tiny: Path) -> None:
    engine, job = Engine("cpu"), story(tiny, scenes(3), guidance=1.0, cuts=False)
    with asked(engine, tiny) as seen:
        rendered = render(engine, job)
    assert len(rendered.frames) == 3 + 2 + 4
    assert [int(plan.given.sum()) // 20 for plan in seen.plans[::3]] == [0, 3, PRIMED]
    assert {plan.context_tokens for plan in seen.plans} == {24}, "one prompt at a time"
    last = seen.tokens[6][0, : PRIMED * 20]
    assert torch.equal(last[2 * 20 :], seen.tokens[7][0, 2 * 20 : PRIMED * 20])
    assert render(engine, story(tiny, scenes(3), guidance=1.0)).frames.tobytes() != rendered.frames.tobytes()


def test_progress_counts_the_steps_of_all_scenes(tiny: Path) -> None:
    steps: list[tuple[int, int]] = []
    Engine("cpu").render([story(tiny, scenes(2))], lambda step, of: steps.append((step, of)) is None)
    assert steps == [(step, 6) for step in range(1, 7)]


def test_a_cancelled_story_keeps_the_scenes_that_were_finished(tiny: Path, tmp_path: Path) -> None:
    engine, job = Engine("cpu", tmp_path), story(tiny, scenes(3))
    with pytest.raises(Cancelled):
        engine.render([job], lambda step, steps: step < 8)
    again = render(engine, job).record["scenes"]
    assert [scene["reused"] for scene in again] == [True, True, False]


def test_the_record_tells_where_each_scene_is_and_what_it_was_made_from(tiny: Path) -> None:
    job = story(
        tiny,
        scenes(
            3,
            s2={"transition": "crossfade", "transition_frames": 1},
            s3={"transition": "black", "seed": None, "transition_frames": 1},
        ),
        seed=40,
    )
    rendered = render(Engine("cpu"), job)
    told = rendered.record["scenes"]
    assert [(s["start"], s["frames"], s["seed"]) for s in told] == [(0, 3, 0), (2, 2, 1), (4, 4, 40)]
    assert [(s["transition"], s["transition_frames"]) for s in told] == [("cut", 0), ("crossfade", 1), ("black", 1)]
    assert [s["prompt"] for s in told] == list(PROMPTS[:3])
    assert {s["why"] for s in told} == {"finished scenes are not kept here"}
    assert len(rendered.frames) == rendered.record["resolved"]["frames"] == 8


def test_the_estimate_counts_the_plan_of_every_scene(tiny: Path) -> None:
    engine = Engine("cpu")
    found = engine.check(story(tiny, scenes(3), window=2))
    plans = [
        scenes_plan(24, 5, 4, (3,)),
        scenes_plan(24, 5, 4, (3, 2), (True, False)),
        scenes_plan(24, 5, 4, (3, 4), (True, False)),
    ]
    assert (found.tokens, found.pairs) == (sum(p.tokens for p in plans), sum(p.pairs for p in plans))
    assert found.resolved["model_evaluations"] == 3 * 2 * 3
    assert found.resolved["starts"] == [0, 3, 5] and found.resolved["frames"] == 9
    assert "'zebra'" in engine.check(story(tiny, scenes(1, s1={"prompt": "a zebra"}))).warnings[0]


def test_only_equal_stories_share_a_batch_and_they_are_rendered_once(tiny: Path) -> None:
    engine, job = Engine("cpu"), story(tiny, scenes(1))
    assert groups([job, story(tiny, scenes(2)), job]) == [[0, 2], [1]]
    with asked(engine, tiny) as seen:
        one, other = engine.render([job, job], lambda step, steps: True)
    assert seen.calls == 3 and one.frames.tobytes() == other.frames.tobytes()


@pytest.mark.parametrize(
    ("fields", "where", "says"),
    [
        ({"scenes": []}, "scenes", "at least 1 entries, got 0"),
        ({"scenes": scenes(1, s1={"frames": 0})}, "scenes[0].frames", "greater than or equal to 1, got 0"),
        ({"scenes": scenes(1, s1={"frames": 10_000})}, "scenes[0].frames", "less than or equal to 1000, got 10000"),
        ({"scenes": scenes(2, s1={"frames": 600}, s2={"frames": 401})}, "scenes", "at most 1,000 frames in all"),
        ({"size": [72, 64]}, "size[0]", "multiple of 16, got 72; try 64 or 80"),
        ({"scenes": scenes(1, s1={"transition": "black"})}, "scenes[0].transition", "nothing is before it"),
        ({"cuts": False, "scenes": scenes(2, s2={"transition": "black"})}, "scenes[1].transition", "makes one shot"),
        (
            {"scenes": scenes(2, s2={"transition": "crossfade", "transition_frames": 3})},
            "scenes[1].transition_frames",
            "no more than the frames of its scenes (3 and 2), got 3; make it shorter",
        ),
        (
            {
                "scenes": scenes(
                    3,
                    s2={"frames": 3, "transition": "crossfade", "transition_frames": 2},
                    s3={"transition": "black", "transition_frames": 2},
                )
            },
            "scenes[1].frames",
            "room for the transitions at both ends (2 + 2 frames), got 3",
        ),
    ],
)
def test_a_story_that_can_not_be_is_refused(fields: dict[str, Any], where: str, says: str) -> None:
    with pytest.raises(Refusal) as caught:
        story("papercut", **{"parts": fields.pop("scenes", scenes(1)), **fields})
    assert (caught.value.field, says in caught.value.reason) == (where, True), str(caught.value)


def test_the_examples_are_stories() -> None:
    first, second = (read_jobs([EXAMPLES / name])[0].job for name in ("scenes.yaml", "extend.yaml"))
    assert isinstance(first, ScenesJob) and isinstance(second, ScenesJob)
    assert (first.size, first.fps) == (second.size, second.fps), "one can go on after the other"
    assert second.continue_from == f"out/{first.name}"
