"""Adapters on the page: names go out and come in, paths do neither, and what has no place there is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from pipelines.job import AdapterUse, Refusal, parse
from pipelines.queue.queue import Queue, Row
from tests.housed import House, house_of, kept, said
from tests.test_tabs import called, values
from ui import adapters
from ui.fields import Form
from ui.queue import not_editable
from ui.text import lay

SECRET = "/etc/passwd"


@pytest.fixture
def house(tmp_path: Path) -> House:
    return house_of(tmp_path / "out")


@pytest.fixture
def form() -> Form:
    with gr.Blocks():
        return lay(None)  # type: ignore[arg-type]


def test_lines_are_names_with_a_weight_behind_them() -> None:
    told = adapters.read(" ink 0.6 \n\nmy snarf\nold paper -1,5\n2 3\n")
    assert [(use["path"], use["weight"]) for use in told] == [
        ("ink", 0.6), ("my snarf", 1.0), ("old paper", -1.5), ("2", 3.0),
    ]  # fmt: skip
    assert adapters.read(adapters.written(told)) == told
    assert adapters.read("") == adapters.read(None) == []


@pytest.mark.parametrize("line", [SECRET, "../ink 0.5", "ink.safetensors", "~/ink", "a\\b", "0.5/x"])
def test_no_line_is_a_path(line: str) -> None:
    with pytest.raises(Refusal, match="expected the name of an adapter"):
        adapters.read(f"ink\n{line}")


def test_a_path_does_not_go_to_the_page() -> None:
    assert adapters.written([{"path": SECRET}, {"path": "ink", "weight": 0.5}]) == "ink 0.5"


def test_the_field_makes_a_job_and_says_what_is_wrong(house: House, form: Form) -> None:
    typed = values(form, prompt="a star", adapters="ink 0.5\nsnarf")
    assert parse(form.job(typed)).adapters == (AdapterUse(path="ink", weight=0.5), AdapterUse(path="snarf"))
    for lines, words in (
        ("ink", "got nothing of that name"), (SECRET, "expected the name of an adapter"),
        ("ink 9", "less than or equal to 4"),
    ):  # fmt: skip
        problem, *_ = called(house.page, "render_text")(*values(form, prompt="a star", adapters=lines))
        assert "<b>Adapters" in problem and words in problem
    assert not Queue(house.folder).rows()


def test_the_field_tells_what_is_in_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "which has none yet" in adapters._info()
    (tmp_path / "adapters").mkdir()
    for name in ("snarf.safetensors", "ink.safetensors", "notes.txt", ".hidden.safetensors"):
        (tmp_path / "adapters" / name).touch()
    assert adapters._info().endswith("Here are: ink, snarf")


def test_a_dropped_job_comes_back_with_its_names_and_without_its_paths(house: House, tmp_path: Path) -> None:
    job: dict[str, Any] = {
        "task": "layout", "prompt": "two", "adapters": [{"path": "ink", "weight": 0.5}, {"path": SECRET}],
        "boxes": [{"box": [0, 0, 1, 1], "prompt": "a star", "adapters": [{"path": "snarf"}]}],
    }  # fmt: skip
    path = tmp_path / "dropped.json"
    path.write_text(json.dumps({"job": job}))
    told = house.call("drop-job", "restore", id=kept(house, path), name="dropped.json")
    assert told["layout-adapters"] == "ink 0.5"
    notes = said(told["restored"])
    assert "Box 1, adapters: this page has adapters for the whole alone" in notes and "is not here" in notes


def test_a_waiting_job_whose_parts_have_adapters_is_not_edited_into_one_without(tmp_path: Path) -> None:
    def row(**fields: Any) -> Row:
        queue = Queue(tmp_path)
        found = queue.get(queue.add(parse({"task": "layered", "prompt": "a", **fields})))
        assert found is not None
        return found

    own = {"box": [0, 0, 1, 1], "adapters": [{"path": "ink"}]}
    assert "have adapters of their own" in not_editable(row(layers=[own]), ["layered"])
    whole = row(adapters=own["adapters"], layers=[{"box": [0, 0, 1, 1]}])
    assert not_editable(whole, ["layered"]) == ""
