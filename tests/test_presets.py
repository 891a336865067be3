"""Presets: what is kept, what is left out, and what happens to names and files that are not right."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.expansion.presets import _LEAST, BARRED, CONTENT, Preset, Presets
from pipelines.job import KINDS, parse, recipe
from pipelines.refusal import Refusal
from tests.test_help import HEAVY, loaded_by

JOB = recipe(
    parse({"task": "text", "prompt": "a red ring", "negative_prompt": "blur", "steps": 9, "guidance": 3.0, "name": "n"})
)


@pytest.fixture
def presets(tmp_path: Path) -> Presets:
    return Presets(tmp_path / "out" / "presets")


def refusal(action: Any, *words: Any, **options: Any) -> Refusal:
    with pytest.raises(Refusal) as caught:
        action(*words, **options)
    assert "\n" not in str(caught.value)
    return caught.value


def put(presets: Presets, name: str, text: str | bytes) -> Path:
    presets.folder.mkdir(parents=True, exist_ok=True)
    path = presets.folder / f"{name}.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_presets_expansion_and_grids_load_nothing_heavy() -> None:
    code = (
        "import pathlib, pipelines.grid.grid; "
        "from pipelines.expansion.presets import Presets; Presets(pathlib.Path('x')).all()"
    )
    assert loaded_by(code) & (HEAVY | {"numpy", "PIL"}) == set()


@pytest.mark.parametrize("task", KINDS)
def test_every_built_in_preset_fits_the_tasks_that_it_is_shown_for(presets: Presets, task: str) -> None:
    least = {"task": task, **_LEAST[task], **({"mask": "m"} if task == "masked" else {})}
    found = presets.all(task)
    assert {"draft", "as on the model card", "defaults"} <= {preset.name for preset in found}
    for preset in found:
        job = parse(preset.apply(least))
        assert preset.built_in and preset.about
        assert all(recipe(job)[key] == value for key, value in preset.fields.items())


def test_the_built_in_defaults_are_the_schemas(presets: Presets) -> None:
    job = recipe(parse({"task": "text", "prompt": "a"}))
    assert all(job[key] == value for key, value in presets.get("defaults").fields.items())


def test_a_folder_that_is_not_there_has_no_presets_and_is_not_made(presets: Presets) -> None:
    assert all(preset.built_in for preset in presets.all()) and presets.problems() == []
    assert not presets.folder.exists()


def test_a_saved_preset_keeps_how_and_not_what(presets: Presets) -> None:
    saved = presets.save("mine", JOB, about="soft")
    assert presets.get("MINE") == saved == next(one for one in presets.all("text") if one.name == "mine")
    assert saved.fields["steps"] == 9 and saved.about == "soft" and saved.task is None
    assert not saved.fields.keys() & (CONTENT | BARRED)
    assert JOB.keys() - saved.fields.keys() == {"task", "name", "prompt", "negative_prompt", "seed"}


def test_what_is_drawn_is_kept_when_asked_for(presets: Presets) -> None:
    assert presets.save("a", JOB, also=["negative_prompt"]).fields["negative_prompt"] == "blur"
    only = presets.save("b", JOB, only=["prompt", "steps"])
    assert dict(only.fields) == {"prompt": "a red ring", "steps": 9}
    assert refusal(presets.save, "c", JOB, only=["scenes"]).field == "scenes"
    assert "at least one field" in refusal(presets.save, "c", JOB, only=[]).reason
    assert refusal(presets.save, "c", JOB, only=["name"]).field == "name"


def test_applying_changes_the_fields_of_the_preset_alone(presets: Presets) -> None:
    presets.save("mine", JOB, only=["steps", "size"])
    before = {"task": "layout", "prompt": "p", "seed": 4, "steps": 1}
    assert presets.get("mine").apply(before) == {**before, "steps": 9, "size": [128, 128]}
    assert before["steps"] == 1


def test_a_preset_for_one_task_is_refused_by_another(presets: Presets) -> None:
    presets.save("video", {**JOB, "frames": 12}, only=["steps"], any_task=False)
    preset = presets.get("video")
    assert preset.tasks == ("text",) and preset in presets.all("text") and preset not in presets.all("scenes")
    found = refusal(preset.apply, {"task": "scenes"})
    assert found.field == "task" and "expected text, which the preset 'video' is for, got scenes" in found.reason


def test_fields_that_a_task_does_not_have_are_named(presets: Presets) -> None:
    presets.save("a", JOB, only=["steps", "frames", "fps"])
    assert (
        "a layout job has no fps, frames, which the preset 'a' sets"
        in refusal(presets.get("a").apply, {"task": "layout"}).reason
    )
    assert presets.get("a") not in presets.all("layout") and presets.get("a") in presets.all("text")


def test_a_value_that_one_task_takes_and_another_does_not_is_told_when_it_is_applied(presets: Presets) -> None:
    presets.save("a", {"task": "masked", "frames": None}, only=["frames"])
    assert presets.get("a").tasks == ("masked",)
    assert refusal(presets.get("a").apply, {"task": "text"}).field == "frames"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("stpes: 3\n", "field stpes: a job has no stpes; did you mean 'steps' by 'stpes'?"),
        ("stpes: 3\nzzz: 1\n", "a job has no stpes, zzz; did you mean"),
        ("task: text\nwindow: 3\n", "field window: a text job has no window"),
        ("task: txt\nsteps: 3\n", "field task: expected one of"),
        ("steps: 300\n", "field steps: expected less than or equal to 200, got 300"),
        ("steps: '3'\n", "field steps: expected a whole number"),
        ("size: [100, 16]\n", "field size[0]: expected a multiple of 16"),
        ("scenes: [{prompt: a}]\nboxes: []\n", "no task has all of scenes, boxes"),
        ("name: a\n", "field name: is of one output"),
        ("about: [1]\nsteps: 3\n", "field about: expected one line"),
        ("about: 'a\n\n  b'\nsteps: 3\n", "field about: expected one line"),
        ("[1]\n", "expected a mapping of fields, got [1]"),
        ("about: x\n", "expected at least one field"),
        ("", "expected one document, got 0"),
        ("steps: 3\n---\nsteps: 4\n", "expected one document, got 2"),
        ("steps: &a 3\nfps: *a\n", "got the alias *a"),
        (b"\xff", "expected UTF-8"),
        ("steps: 3\n" + "#" * 70_000, "expected at most 64 KiB"),
    ],
)
def test_a_broken_file_is_told_and_hides_no_other(presets: Presets, text: str | bytes, words: str) -> None:
    put(presets, "broken", text)
    put(presets, "good", "steps: 3\n")
    assert [one.name for one in presets.all() if not one.built_in] == ["good"]
    (problem,) = presets.problems()
    assert problem.startswith("preset broken") and words in problem and "\n" not in problem
    assert words in str(refusal(presets.get, "broken"))
    presets.delete("broken")
    assert presets.problems() == []


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "con", "x" * 101, "a\nb", "a\0b", " a"])
def test_no_name_leaves_the_folder(presets: Presets, name: str) -> None:
    presets.save("mine", JOB)
    before = sorted(presets.folder.parent.rglob("*"))
    assert refusal(presets.save, name, JOB).field == "name"
    assert refusal(presets.rename, "mine", name).field == "name"
    for action in (presets.get, presets.delete):
        assert "there is no preset" in refusal(action, name).reason
    assert sorted(presets.folder.parent.rglob("*")) == before


def test_a_link_that_leads_out_of_the_folder_is_not_read(presets: Presets, tmp_path: Path) -> None:
    (tmp_path / "secret.yaml").write_text("steps: 3\n")
    presets.folder.mkdir(parents=True)
    os.symlink(tmp_path / "secret.yaml", presets.folder / "link.yaml")
    assert "expected a file of the folder" in refusal(presets.get, "link").reason


def test_a_name_is_taken_once_whatever_its_case(presets: Presets) -> None:
    presets.save("Mine", JOB)
    assert "is the name of a preset already" in refusal(presets.save, "mine", JOB).reason
    presets.save("mine", {**JOB, "steps": 4}, replace=True)
    assert [path.name for path in presets.folder.iterdir()] == ["Mine.yaml"]
    assert presets.get("mine").fields["steps"] == 4
    presets.save("other", JOB)
    assert "already" in refusal(presets.rename, "other", "MINE").reason
    presets.rename("mine", "MINE")
    assert sorted(path.name for path in presets.folder.iterdir()) == ["MINE.yaml", "other.yaml"]
    presets.rename("other", "new")
    presets.delete("MINE")
    assert [path.name for path in presets.folder.iterdir()] == ["new.yaml"]


def test_a_built_in_preset_stays(presets: Presets) -> None:
    for action, words in ((presets.delete, ("Draft",)), (presets.rename, ("draft", "x"))):
        assert "is built in and stays" in refusal(action, *words).reason
    assert "built-in preset" in refusal(presets.save, "Draft", JOB, replace=True).reason
    presets.save("mine", JOB)
    assert "built-in preset" in refusal(presets.rename, "mine", "draft").reason


def test_what_is_not_there_is_told_with_the_nearest(presets: Presets) -> None:
    presets.save("watercolour", JOB)
    assert "did you mean 'watercolour'?" in refusal(presets.get, "watercolor").reason


def test_a_preset_that_can_not_be_a_job_is_not_written(presets: Presets) -> None:
    assert refusal(presets.save, "a", {**JOB, "steps": 999}).field == "steps"
    assert refusal(presets.save, "a", {"prompt": "a"}).field == "task"
    assert refusal(presets.save, "a", JOB, about="x\ny").field == "about"
    assert not presets.folder.exists()


@given(
    name=st.from_regex(r"[^\W_][\w .-]{0,20}\w", fullmatch=True),
    prompt=st.text(min_size=1, max_size=60),
    guidance=st.floats(0, 30),
    about=st.text(max_size=40),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_saved_is_read_back_equal_or_refused(
    presets: Presets, name: str, prompt: str, guidance: float, about: str
) -> None:
    values = {"task": "text", "prompt": prompt, "size": (32, 16), "guidance": guidance, "internal_guidance": None}
    try:
        saved = presets.save(name, values, also=["prompt"], about=about, replace=True)
    except Refusal as found:
        assert found.field in ("name", "prompt", "about")
        return
    read = presets.get(name)
    assert isinstance(read, Preset) and read.about == saved.about and presets.problems() == []
    assert parse(read.apply({"task": "text", "prompt": "x"})) == parse(values)
