"""Restoring: what a file says is what comes back, and what can not come back is told."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.estimate import Attachment, Rendered
from pipelines.files.output import OutputFolder, inside_of
from pipelines.history.restore import Restored, model_is_here, restore, use, within
from pipelines.job import Job, Refusal, parse, recipe
from pipelines.stack.layerfiles import openraster, psd
from pipelines.stack.layers import Layer, Stack

TEXT = {"task": "text", "prompt": "a red circle", "seed": 7, "steps": 5, "name": "one", "size": [32, 32]}
SCENES = {
    "task": "scenes", "size": [32, 32], "seed": 3, "negative_prompt": "rain",
    "scenes": [
        {"prompt": "a star", "frames": 2, "seed": 9},
        {"prompt": "a ring", "frames": 3, "negative_prompt": "fog"},
    ],
}  # fmt: skip
BOXES = {
    "task": "layout", "prompt": "all",
    "boxes": [{"box": [0, 0, 1, 0.5], "prompt": "x"}, {"box": [0, 0.5, 1, 1], "prompt": "y"}],
}  # fmt: skip


def written(folder: Path, values: dict[str, Any]) -> Job:
    job = parse({**values, "name": "one"})
    stack = Stack((Layer("background", (0, 0, 32, 32), np.full((32, 32, 4), 255, np.uint8)),))
    inside = inside_of(job)
    files = [Attachment(".psd", psd(stack, inside)), Attachment(".ora", openraster(stack, inside))]
    frames = np.zeros((5 if job.task == "scenes" else 1, 32, 32, 3), np.uint8)
    OutputFolder(folder).save(job, "one", Rendered(frames, {}, None, files if job.task == "layered" else []))
    return job


def told(job: Any, **more: Any) -> Restored:
    """What a record with this job restores."""
    return restore(json.dumps({"diorama": "0.1.0", "job": job, **more}).encode(), lambda name: name == "papercut")


LAYERED = {"task": "layered", "size": [32, 32], "prompt": "all", "layers": [{"box": [0, 0, 1, 1], "prompt": "x"}]}


@pytest.mark.parametrize(
    ("values", "suffix"),
    [(TEXT, "png"), (TEXT, "json"), (SCENES, "mp4"), (SCENES, "json"), (LAYERED, "psd"), (LAYERED, "ora")],
)
def test_every_file_of_an_output_restores_its_job_whatever_it_is_called(
    tmp_path: Path, values: dict[str, Any], suffix: str
) -> None:
    job = written(tmp_path, values)
    path = (tmp_path / f"one.{suffix}").rename(tmp_path / "dropped")
    expected = Restored(recipe(job), ())
    assert restore(path) == expected
    assert restore(path.read_bytes()) == expected


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "expected a PNG, MP4, PSD, OpenRaster file or record that Diorama wrote, got something else"),
        (b"GIF89a", "expected a PNG, MP4, PSD"),
        (b"\x89PNG\r\n\x1a\n", "expected a recipe that Diorama wrote, found none"),
        (b"8BPS\0\1", "can not be read as PSD|expected a recipe"),
        (b"PK\x03\x04", "can not be read as ORA"),
        (b"\0\0\0\x20ftypisom", "can not be read as MP4"),
        (b"{", "can not be read as JSON"),
        (b'{"job": 3}', "expected a recipe"),
        (b'{"job": {}}', "task: expected one of text, .* got nothing"),
        (b'{"job": {"task": "dance"}}', "task: expected one of .* got the text 'dance'; a newer Diorama"),
        (b'{"job":' + b"[" * 100_000, "can not be read as JSON"),
    ],
)
def test_what_is_no_file_of_ours_is_refused_in_one_sentence(data: bytes, reason: str) -> None:
    with pytest.raises(Refusal, match=reason) as refused:
        restore(data)
    assert "\n" not in str(refused.value) and "/" not in str(refused.value)


def test_a_zip_bomb_is_not_inflated(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.ora", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("diorama.json", b" " * (9 * 2**20))
    with pytest.raises(Refusal, match="found none"):
        restore(tmp_path / "bomb.ora")


def test_a_model_and_files_that_are_not_here_are_told_and_stay_in_the_job(tmp_path: Path) -> None:
    (tmp_path / "here.png").write_bytes(b"")
    masked = {
        "task": "masked", "model": "gone/model", "source": str(tmp_path / "here.png"), "mask": "lost.png",
        "reference": "x\0y",
    }  # fmt: skip
    found = restore(json.dumps({"job": masked}).encode())
    assert found.job == masked
    assert found.notes[-3:] == (
        "the model 'gone/model' is not here; choose another, or fetch it",
        "mask: the file 'lost.png' is not here; give it again",
        "reference: the file 'x\\x00y' is not here; give it again",
    )
    layered = {**LAYERED, "layers": [{"box": [0, 0, 1, 1], "source": "a.png"}], "background": "b.png"}
    assert [note.split(":")[0] for note in told(layered).notes] == ["background", "layers[0].source"]
    assert told({**SCENES, "continue_from": "no.mp4"}).notes == (
        "continue_from: the file 'no.mp4' is not here; give it again",
    )


def test_a_page_answers_nothing_about_files_elsewhere(tmp_path: Path) -> None:
    inside, outside = tmp_path / "uploads", tmp_path / "secret.png"
    inside.mkdir()
    outside.touch()
    (inside / "a.png").touch()
    (inside / "link.png").symlink_to(outside)
    has = within(inside)
    assert has(str(inside / "a.png"))
    for name in (
        str(outside),
        str(inside / "../secret.png"),
        str(inside / "link.png"),
        str(inside / "b"),
        "/etc",
        "~",
        "\0",
    ):
        assert not has(name)


@pytest.mark.parametrize("name", ["papercut", "", "nobody", "~nobody/x", "x" * 5000, "a\0b", "/etc", "a/b", "../.."])
def test_any_name_of_a_model_is_here_or_not(name: str) -> None:
    assert model_is_here(name) == (name == "papercut")


def test_a_newer_version_is_told() -> None:
    assert told(TEXT, diorama="9.0").notes == (
        "the file is of Diorama 9.0, which is newer than this 0.1.0; what is new in it is left out",
    )
    for version in ("0.1.0", "0.0.9", "x", None, 3, "1.x", "9" * 5000):
        assert told(TEXT, diorama=version).notes == ()


def test_unknown_fields_are_left_out_and_told() -> None:
    found = told({**SCENES, "magic": 3, "scenes": [{"prompt": "a", "spell": 1}, {"prompt": "b"}]})
    assert found.job == {**SCENES, "scenes": [{"prompt": "a"}, {"prompt": "b"}]}
    assert set(found.notes) == {
        "magic: this version does not know it; it is left out",
        "scenes[0].spell: this version does not know it; it is left out",
    }


def test_values_out_of_range_come_back_as_the_file_says_them() -> None:
    found = told({**TEXT, "steps": 900, "size": [33, 64], "name": "a/b", "seed": -1})
    assert found.job == {**TEXT, "steps": 900, "size": [33, 64], "name": "a/b", "seed": -1}
    assert len(found.notes) == 4
    assert all(note.endswith("; it comes back as the file says it") for note in found.notes)
    assert any(note.startswith("size[0]: expected a multiple of 16, got 33; try 32 or 48") for note in found.notes)


def test_values_of_another_kind_are_left_out_and_told() -> None:
    found = told({**TEXT, "steps": "many", "size": ["x", 64], "scheduler": "magic", "guidance": float("nan")})
    assert found.job == {name: TEXT[name] for name in ("task", "prompt", "seed", "name")}
    assert len(found.notes) == 4 and all(
        note.endswith("it is left out") or "size is left out" in note for note in found.notes
    )
    scenes = [3, {"prompt": "a", "frames": "x"}, {"frames": 3}, {"prompt": 5}, {"prompt": "b"}]
    found = told({**SCENES, "scenes": scenes})
    assert found.job["scenes"] == [{"prompt": "a"}, {"prompt": "b"}]
    assert found.notes == (
        "scenes[0]: expected a mapping, got 3; it is left out",
        "scenes[1].frames: expected a whole number, got the text 'x'; write it without quotes; it is left out",
        "scenes[2].prompt: the file does not say it; scenes[2] is left out",
        "scenes[3].prompt: expected text, got 5; scenes[3] is left out",
    )
    assert told({**SCENES, "scenes": "none"}).job == {name: SCENES[name] for name in SCENES if name != "scenes"}
    box = {"box": [0, 0, 1], "prompt": "z"}
    assert told({**BOXES, "boxes": [box, BOXES["boxes"][0]]}).job["boxes"] == [BOXES["boxes"][0]]  # type: ignore[index]


def test_fields_that_do_not_fit_together_are_told() -> None:
    found = told({"task": "masked", "source": "/", "magic": 1})
    assert "mask: expected mask, keep_frames or outpaint, got none; say which part to make new" in found.notes
    assert told({"task": "text"}).notes == ("prompt: the file does not say it; fill it in",)


def test_a_task_that_is_not_built_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.job.BUILT", ("text",))
    found = told(SCENES)
    assert found.job == SCENES
    assert found.notes == ("task 'scenes' is not built yet; this version renders: text",)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)
FIELDS = [
    "prompt",
    "size",
    "seed",
    "steps",
    "scenes",
    "boxes",
    "layers",
    "source",
    "mask",
    "model",
    "name",
    "frames",
    "x",
]


@given(
    task=st.sampled_from(["text", "masked", "scenes", "layout", "layered", "dubbing"]),
    more=st.dictionaries(st.sampled_from(FIELDS), VALUES),
)
def test_whatever_a_file_says_nothing_vanishes_without_a_word(task: str, more: dict[str, Any]) -> None:
    job = json.loads(json.dumps({**more, "task": task}))
    found = restore(json.dumps({"job": job}).encode(), lambda name: True, lambda name: True)
    if found.notes == ():
        assert json.dumps(found.job) == json.dumps(job)
        parse(found.job)
    elif "scenes" in found.job:
        assert all(isinstance(scene, dict) and isinstance(scene["prompt"], str) for scene in found.job["scenes"])
    for name in job.keys() - found.job.keys():
        assert any(note.startswith(name) or f" {name} is left out" in note for note in found.notes)


# ---------------------------------------------------------------- what a page takes over


def test_all_is_the_whole_job_whatever_the_page_shows() -> None:
    assert use(TEXT, "all", {**TEXT, "seed": 99, "prompt": "mine", "fps": 3}) == TEXT
    assert use(TEXT, "all", SCENES) == TEXT


def test_all_but_the_seed_keeps_the_seed_of_the_page() -> None:
    assert use(TEXT, "all but the seed", {"task": "text", "seed": 99, "prompt": "mine"}) == {**TEXT, "seed": 99}
    without = {name: value for name, value in TEXT.items() if name != "seed"}
    assert use(TEXT, "all but the seed", {"task": "layout", "seed": 99}) == without
    used = use(SCENES, "all but the seed", {"task": "scenes", "seed": 99})
    assert used["seed"] == 99 and [scene.get("seed") for scene in used["scenes"]] == [None, None]
    assert SCENES["scenes"][0]["seed"] == 9  # type: ignore[index]


def test_prompt_only_takes_all_texts_and_nothing_else() -> None:
    mine = {"task": "text", "prompt": "mine", "negative_prompt": "blur", "seed": 99, "steps": 50}
    assert use({**TEXT, "negative_prompt": ""}, "prompt only", mine) == {
        **mine, "prompt": "a red circle", "negative_prompt": "",
    }  # fmt: skip
    page = {"task": "scenes", "scenes": [{"prompt": "mine", "frames": 20, "seed": 1}], "seed": 5}
    assert use(SCENES, "prompt only", page) == {
        "task": "scenes", "seed": 5, "negative_prompt": "rain",
        "scenes": [{"prompt": "a star", "frames": 20, "seed": 1}, SCENES["scenes"][1]],
    }  # fmt: skip
    page = {"task": "layout", "boxes": [{"box": [0, 0, 0.1, 0.1], "prompt": "q"}] * 3, "prompt": "q"}
    used = use(BOXES, "prompt only", page)
    assert [(part["box"], part["prompt"]) for part in used["boxes"]] == [
        ([0, 0, 0.1, 0.1], "x"),
        ([0, 0, 0.1, 0.1], "y"),
    ]
    assert use(TEXT, "prompt only", SCENES) == {"task": "text", "prompt": "a red circle"}
