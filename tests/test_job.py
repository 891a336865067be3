"""The job schema: what is a job, and what a person is told about one that is not."""

from __future__ import annotations

import json
import math
import unicodedata
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.job import BUILT, Job, Refusal, TextJob, parse, recipe, require_built

TEXT: dict[str, Any] = {"task": "text", "prompt": "a red circle left of a blue star on a white background"}
ALL: dict[str, dict[str, Any]] = {
    "text": {
        **TEXT,
        "model": "papercut",
        "negative_prompt": "",
        "size": [128, 96],
        "frames": 1,
        "fps": 8,
        "png_frames": False,
        "steps": 24,
        "guidance": 3.0,
        "guidance_interval": [0.1, 0.9],
        "internal_guidance": 1.5,
        "scheduler": "dpm++",
        "seed": 7,
        "name": "first",
    },
    "scenes": {
        "task": "scenes",
        "size": [128, 128],
        "fps": 8,
        "scenes": [{"prompt": "a small red star bounces in a meadow", "frames": 12}],
        "continue_from": None,
    },
    "layout": {
        "task": "layout",
        "prompt": "a red circle and a blue square on a white background",
        "boxes": [{"box": [0.05, 0.1, 0.45, 0.5], "prompt": "a red circle"}],
    },
    "layered": {
        "task": "layered",
        "prompt": "two shapes in a meadow",
        "layers": [{"box": [0.1, 0.2, 0.5, 0.6], "prompt": "a red circle"}, {"box": [0.4, 0.4, 0.9, 0.9]}],
    },
    "masked": {"task": "masked", "prompt": "a yellow star", "source": "in.png", "mask": "mask.png"},
    "dubbing": {"task": "dubbing", "source": "face.mp4", "audio": "speech.wav", "face": None, "duration": "audio"},
}


def refusal(**changes: Any) -> Refusal:
    with pytest.raises(Refusal) as caught:
        parse({**TEXT, **changes})
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize("task", ALL)
def test_every_task_of_the_design_is_a_job_and_its_recipe_gives_an_equal_job(task: str) -> None:
    job = parse(ALL[task])
    assert job.task == task
    assert parse(json.loads(json.dumps(recipe(job)))) == job


@pytest.mark.parametrize("task", [task for task in ALL if task not in BUILT])
def test_a_task_that_is_not_built_is_refused_by_name(task: str) -> None:
    with pytest.raises(Refusal, match=rf"task '{task}' is not built yet; this version renders: {', '.join(BUILT)}"):
        require_built(parse(ALL[task]))


def test_a_job_is_a_value_that_can_not_be_changed() -> None:
    job = parse(TEXT)
    assert hash(job) == hash(parse(TEXT))
    with pytest.raises(ValueError, match="frozen"):
        job.steps = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("changes", "field", "reason"),
    [
        ({"stpes": 24}, "stpes", "did you mean 'steps'"),
        ({"zzz": 1}, "zzz", "expected one of model, steps"),
        ({"size": [100, 128]}, "size[0]", "expected a multiple of 16, got 100; try 96 or 112"),
        ({"size": [128, 2064]}, "size[1]", "less than or equal to 2048, got 2064"),
        ({"size": [0, 128]}, "size[0]", "greater than or equal to 16, got 0"),
        ({"size": [128]}, "size", "expected more values"),
        ({"size": [16, 16, 16]}, "size", "expected at most 2 entries, got 3"),
        ({"size": "128x128"}, "size", "expected a list, got the text '128x128'"),
        ({"steps": 0}, "steps", "greater than or equal to 1"),
        ({"steps": 201}, "steps", "less than or equal to 200, got 201"),
        ({"steps": "24"}, "steps", "expected a whole number, got the text '24'; write it without quotes"),
        ({"steps": 24.0}, "steps", "expected a whole number, got 24.0"),
        ({"steps": True}, "steps", "expected a whole number, got True"),
        ({"guidance": math.nan}, "guidance", "expected a finite number, got nan"),
        ({"guidance": math.inf}, "guidance", "expected a finite number, got inf"),
        ({"guidance": 30.1}, "guidance", "less than or equal to 30"),
        ({"guidance": "3"}, "guidance", "write it without quotes"),
        ({"guidance_interval": [0.8, 0.2]}, "guidance_interval", "low <= high"),
        ({"guidance_interval": [0.0, math.nan]}, "guidance_interval[1]", "finite"),
        ({"internal_guidance": -1}, "internal_guidance", "greater than or equal to 0"),
        ({"frames": 1001}, "frames", "less than or equal to 1000"),
        ({"fps": 0}, "fps", "greater than or equal to 1"),
        ({"fps": 61}, "fps", "less than or equal to 60"),
        ({"seed": -1}, "seed", "greater than or equal to 0"),
        ({"seed": 2**63}, "seed", "less than or equal to 9223372036854775807"),
        ({"png_frames": "no"}, "png_frames", "expected true or false"),
        ({"scheduler": "ddim"}, "scheduler", "expected 'euler', 'heun', 'unipc' or 'dpm++'"),
        ({"prompt": "red " * 10_000}, "prompt", "at most 2,000 words and 20,000 characters, got 10,000 words"),
        ({"prompt": "r" * 20_001}, "prompt", "got 1 words and 20,001 characters"),
        ({"prompt": "  "}, "prompt", "expected words, got an empty text"),
        ({"prompt": None}, "prompt", "expected text, got nothing"),
        ({"prompt": "\ud800"}, "prompt", "surrogate"),
        ({"negative_prompt": "red " * 10_000}, "negative_prompt", "at most 2,000 words"),
        ({"model": ""}, "model", "expected a name or path"),
        ({"model": "a\0b"}, "model", "without control characters"),
        ({"task": "txt"}, "task", "expected one of text"),
        ({"task": ["text"]}, "task", "expected one of text"),
    ],
)
def test_a_wrong_value_is_refused_with_its_field_and_reason(changes: dict[str, Any], field: str, reason: str) -> None:
    problem = refusal(**changes)
    assert problem.field == field
    assert reason in problem.reason


def test_what_is_missing_is_named() -> None:
    with pytest.raises(Refusal, match="prompt: is missing; a text job needs it"):
        parse({"task": "text"})
    with pytest.raises(Refusal, match="task: is missing; did you mean 'taks' to be 'task'"):
        parse({"taks": "text"})


@pytest.mark.parametrize("value", [None, 3, "text", [], [TEXT]])
def test_what_is_no_mapping_is_refused(value: object) -> None:
    with pytest.raises(Refusal, match="expected a mapping with a task"):
        parse(value)


@pytest.mark.parametrize(
    ("task", "changes", "field", "reason"),
    [
        ("scenes", {"scenes": []}, "scenes", "at least 1 entries, got 0"),
        ("scenes", {"scenes": [{"prompt": "a"}] * 51}, "scenes", "at most 50 entries, got 51"),
        ("scenes", {"scenes": [{"prompt": "a", "frmes": 3}]}, "scenes[0].frmes", "did you mean 'frames'"),
        ("layout", {"boxes": [{"box": [0.5, 0.1, 0.5, 0.6], "prompt": "a"}]}, "boxes[0].box", "x0 < x1"),
        ("layout", {"boxes": [{"box": [0.1, 0.1, 1.5, 0.6], "prompt": "a"}]}, "boxes[0].box[2]", "equal to 1, got 1.5"),
        ("layered", {"layers": [3]}, "layers[0]", "expected a mapping, got 3"),
        ("masked", {"mask": None}, "mask", "say which part to make new"),
        ("masked", {"keep_frames": "0-3"}, "keep_frames", "expected mask or keep_frames, got both"),
        ("masked", {"mask": None, "keep_frames": "first"}, "keep_frames", '"0-3"'),
        ("dubbing", {"duration": "both"}, "duration", "expected 'audio' or 'video'"),
        ("dubbing", {"promt": "a"}, "promt", "did you mean 'prompt'"),
        ("dubbing", {"window": 4, "overlap": 4}, "overlap", "less than the 4 frames of a window"),
        ("dubbing", {"region": "portrait", "warp": True}, "warp", "only a mouth is warped"),
        ("dubbing", {"face": [0.5, 0.1, 1.5, 0.6]}, "face[2]", "equal to 1, got 1.5"),
    ],
)
def test_tasks_to_come_are_checked_already(task: str, changes: dict[str, Any], field: str, reason: str) -> None:
    with pytest.raises(Refusal) as caught:
        parse({**ALL[task], **changes})
    assert caught.value.field == field
    assert reason in caught.value.reason


@pytest.mark.parametrize("name", ["first", "красный круг", "星", "a.b", "-x", "a" * 100, "é" * 100])
def test_a_plain_name_in_any_script_is_taken(name: str) -> None:
    assert parse({**TEXT, "name": name}).name == name


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", ".hid", "a/b", "../a", "/etc", "a\\b", "C:x", "a\0", "a\n", " a", "a.", "nul", "COM1.x", "a" * 101],
)
def test_a_name_that_leaves_its_folder_or_that_a_system_can_not_hold_is_refused(name: str) -> None:
    assert refusal(name=name).field == "name"


@given(st.text(max_size=120))
def test_no_accepted_name_is_more_than_one_plain_part_of_a_path(name: str) -> None:
    try:
        job = parse({**TEXT, "name": name})
    except Refusal as problem:
        assert problem.field == "name"
        return
    assert PurePosixPath(f"{name}.png").parts == PureWindowsPath(f"{name}.png").parts == (f"{name}.png",)
    assert len(f"{job.name}-999.json".encode()) <= 255
    assert not any(unicodedata.category(c) == "Cc" for c in name)


@given(st.integers(-64, 4096), st.integers(-64, 4096))
def test_a_size_is_taken_exactly_when_both_sides_are_multiples_of_16_in_range(width: int, height: int) -> None:
    good = all(16 <= side <= 2048 and side % 16 == 0 for side in (width, height))
    try:
        job: Job | None = parse({**TEXT, "size": [width, height]})
    except Refusal:
        job = None
    assert (job is not None) == good
    if isinstance(job, TextJob):
        assert job.size == (width, height)


@given(
    st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | st.text(), lambda s: st.lists(s, max_size=3))
)
def test_any_value_in_any_field_gives_a_job_or_a_refusal_of_one_line(value: object) -> None:
    for key in (*ALL["text"], "other"):
        try:
            parse({**TEXT, key: value})
        except Refusal as problem:
            assert "\n" not in str(problem)
            assert len(str(problem)) < 500
