"""The way back: jobs of the history and of dropped files in the fields of their tabs."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest

from pipelines.estimate import Rendered
from pipelines.files.output import OutputFolder
from pipelines.job import parse
from pipelines.queue.queue import Queue
from tests.housed import House, client, house_of, kept, said
from tests.outputs import output, story
from tests.staged import picture
from ui.uploads import Uploads


@pytest.fixture
def house(tmp_path: Path) -> House:
    return house_of(tmp_path / "out")


def fields(house: House, told: dict[str, Any], tab: str) -> dict[str, Any]:
    """What an answer puts into the fields of a tab: those without an `elem_id` are left out."""
    found = {name.removeprefix(f"{tab}-"): value for name, value in told.items() if name.startswith(f"{tab}-")}
    return {name: value for name, value in found.items() if value != gr.skip()}


def opened(told: dict[str, Any]) -> Any:
    return told["0"].selected


def test_all_of_a_job_goes_back_into_the_fields_of_its_tab(house: House) -> None:
    output(house.folder, "a red {circle}", name="one", seed=9, steps=7, size=[96, 64])
    told = house.call("use", "click", house.id("one"))
    shown = fields(house, told, "text")
    assert opened(told) == "text" and said(told["restored"]).startswith("The job of “one” is back in its fields.")
    assert (shown["width"], shown["height"], shown["steps"], shown["seed"]) == (96, 64, 7, 9)
    assert "circle" in shown["prompt"]
    assert not fields(house, told, "video") and not fields(house, told, "layout")


def test_a_video_goes_to_the_video_tab_and_the_seed_stays(house: House) -> None:
    output(house.folder, "a star", name="film", frames=4, seed=9)
    told = house.call("use-seedless", "click", house.id("film"))
    shown = fields(house, told, "video")
    assert opened(told) == "video" and "seed" not in shown and "a star" in shown["prompt"]
    assert told["restored"] == ""


def test_prompt_only_leaves_the_rest_of_the_page_alone(house: House) -> None:
    output(house.folder, "a star", name="one", seed=9, steps=3)
    each = house.listener("use-words", "click")
    ids = [getattr(house.page.blocks[part._id], "elem_id", None) for part in each.inputs]
    values = [part.value for part in each.inputs]
    told = house.call("use-words", "click", house.id("one"), *values[1:])
    assert {"prompt"} <= set(fields(house, told, "text")) <= {"prompt", "negative"}
    # The second scene has no row on the page, and comes whole; the first keeps its seconds.
    story(house.folder, name="tale")
    table = ids.index("scenes-table")
    values[table] = json.dumps(
        [
            {
                "prompt": "x",
                "seconds": "3",
                "seed": "5",
                "transition": "cut",
                "transition_frames": "4",
                "negative_prompt": "",
            }
        ]
    )
    told = house.call("use-words", "click", house.id("tale"), *values[1:])
    shown = fields(house, told, "scenes")
    assert set(shown) <= {"table", "prompt", "negative"}
    seconds = re.findall(r'data-field="seconds"[^>]*value="([^"]*)"', shown["table"])
    assert "a star spins" in shown["table"] and "a ring grows" in shown["table"] and seconds[0] == "3"


def test_a_dropped_file_of_ours_fills_the_fields_and_says_what_is_missing(house: House, tmp_path: Path) -> None:
    other = tmp_path / "elsewhere"
    given = other / "in.png"
    other.mkdir()
    given.write_bytes(picture())
    job = {
        "task": "masked", "prompt": "a yellow star", "source": str(given), "outpaint": [16, 0, 0, 0], "model": "finer",
        "name": "one", "seed": 5,
    }  # fmt: skip
    OutputFolder(other).save(parse(job), "one", Rendered(np.zeros((1, 64, 64, 3), np.uint8), {}))
    web = client(house.folder)
    for name in ("one.png", "one.json"):
        answer = web.post("/uploads/recipe", content=(other / name).read_bytes())
        told = house.call("drop-job", "restore", id=answer.json()["id"], name=name)
        notes = said(told["restored"])
        assert opened(told) == "masked" and fields(house, told, "masked")["seed"] == 5
        assert "but not all of it" in notes and "the model 'finer' is not here" in notes
        assert "Picture or video: the file" in notes and notes.count("is not here") == 2
    assert str(other) not in answer.text


def test_what_was_given_here_comes_back_with_the_job(house: House, tmp_path: Path) -> None:
    path = tmp_path / "in.png"
    path.write_bytes(picture(64, 64))
    uploads = Uploads(house.folder)
    id = uploads.keep(path).id
    job = parse({"task": "masked", "prompt": "a", "source": uploads.path(id), "outpaint": [16, 0, 0, 0], "name": "one"})
    OutputFolder(house.folder).save(job, "one", Rendered(np.zeros((1, 64, 80, 3), np.uint8), {}))
    told = house.call("use", "click", house.id("one"))
    assert f'data-upload="{id}"' in fields(house, told, "masked")["source"]
    assert "but not all" not in told["restored"]


@pytest.mark.parametrize(
    ("data", "status", "reason"),
    [
        (b"words", 400, "expected a PNG, MP4, PSD, OpenRaster file or record that Diorama wrote"),
        (b'{"job": 3}', 400, "expected a recipe that Diorama wrote, found none"),
        (picture(16, 16), 400, "expected a recipe that Diorama wrote, found none"),
        (b"", 400, "expected a PNG, MP4"),
    ],
)
def test_what_is_not_ours_is_refused_and_leaves_nothing(house: House, data: bytes, status: int, reason: str) -> None:
    answer = client(house.folder).post("/uploads/recipe", content=data)
    assert answer.status_code == status and reason in answer.json()["reason"]
    assert str(house.folder) not in answer.text
    assert not [*(house.folder / "uploads").iterdir()]


@pytest.mark.parametrize(
    "job",
    [
        {"task": "scenes", "scenes": [{"prompt": "a", "frames": 3}], "fps": 0},
        {"task": "scenes"},
        {"task": "layout", "prompt": "a", "boxes": [{"box": [0, 0, 9, 9], "prompt": "b"}]},
        {"task": "layered", "prompt": "a", "layers": [{"box": [0.5, 0.5, 0.1, 0.1]}] * 60},
        {"task": "text", "prompt": "a", "size": [1, 99_999], "seed": -5, "guidance": 1e9},
        {"task": "masked", "source": "/etc/passwd", "mask": "/etc/shadow", "outpaint": [-1, 0, 0, 0]},
        {"task": "dubbing", "source": "a.mp4", "audio": "b.wav"},
        {"task": "text", "prompt": {"a": 1}, "frames": "many"},
    ],
)
def test_whatever_a_file_says_the_page_answers(house: House, tmp_path: Path, job: dict[str, Any]) -> None:
    path = tmp_path / "odd.json"
    path.write_text(json.dumps({"job": job}))
    told = house.call("drop-job", "restore", id=kept(house, path), name="odd.json")
    assert said(told["restored"]).startswith("The job of “odd.json”") and "root:" not in str(told)


def test_a_picture_of_the_history_is_changed_in_part_and_a_video_goes_on(house: House) -> None:
    output(house.folder, "a star", name="film", frames=4, fps=5, size=[96, 64])
    id = house.id("film")
    told = house.call("change", "click", id)
    assert opened(told) == "masked" and "data-upload=" in fields(house, told, "masked")["source"]
    told = house.call("go-on", "click", id)
    shown = fields(house, told, "scenes")
    assert opened(told) == "scenes" and shown["continue"].value == id
    assert (shown["width"], shown["height"], shown["fps"]) == (96, 64, 5)
    output(house.folder, "a star", name="still")
    assert "is not there any more" in house.call("go-on", "click", house.id("still"))["restored"]


def test_what_an_output_was_made_from_is_kept_as_long_as_the_output(house: House, tmp_path: Path) -> None:
    uploads, ids = Uploads(house.folder), []
    for seed in (1, 2, 3):
        (tmp_path / "in.png").write_bytes(picture(64, 64, seed))
        ids.append(uploads.keep(tmp_path / "in.png").id)
    for name, id in zip(("here", "binned"), ids, strict=False):
        values = {"task": "masked", "prompt": "a", "source": uploads.path(id), "outpaint": [16, 0, 0, 0]}
        OutputFolder(house.folder).save(parse(values), name, Rendered(np.zeros((1, 64, 80, 3), np.uint8), {}))
    house.history.discard(house.id("binned"))
    for id in ids:
        os.utime(house.folder / "uploads" / id, (1, 1))
    uploads.sweep(Queue(house.folder))
    assert [uploads.get(id) is not None for id in ids] == [True, True, False]
