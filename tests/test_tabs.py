"""The tabs without a browser: fields become jobs and come back, and what a job would be is told before it is."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipelines.job import Refusal, parse
from tests.paced import over, text, working
from tests.staged import picture, video
from tests.tabbed import SCENES, House, called, client, drawing, drawn, house_at, take, values
from tests.test_help import loaded_by
from ui import strip, table
from ui.desk import worded
from ui.fields import Unfinished
from ui.pace import measured
from ui.page import places
from ui.plan import cost_line, flops, plan_panel, spans
from ui.result import kind, marks
from ui.result import picture as result_of
from ui.table import BLANK


@pytest.fixture
def house(tmp_path: Path) -> House:
    return house_at(tmp_path / "out")


@pytest.fixture(scope="module")
def given_house(tmp_path_factory: pytest.TempPathFactory) -> House:
    """A house for tests that leave nothing behind."""
    return house_at(tmp_path_factory.mktemp("house"))


# ------------------------------------------------------------ fields and jobs


@pytest.mark.parametrize(
    ("tab", "job"),
    [
        ("text", {"task": "text", "prompt": "a star", "negative_prompt": "grey", "size": [96, 128], "seed": 5}),
        ("text", {"task": "text", "prompt": "a", "guidance_interval": [0.1, 0.9], "scheduler": "heun", "steps": 3}),
        ("video", {"task": "text", "prompt": "a star", "frames": 13, "fps": 5, "png_frames": True}),
        ("scenes", {"task": "scenes", "scenes": SCENES, "fps": 7, "cuts": False, "window": 2, "reuse": "never"}),
        (
            "scenes",
            {
                "task": "scenes",
                "scenes": [*SCENES, {"prompt": "x", "frames": 9, "transition": "black", "transition_frames": 2}],
            },
        ),
    ],
)
def test_settings_go_back_into_the_fields_they_came_from(given_house: House, tab: str, job: dict[str, Any]) -> None:
    form, wanted = given_house.form(tab), parse(job)
    shown = form.values(wanted.model_dump(mode="json"))
    if tab == "scenes":  # the table is drawn, and read off the page again
        shown[0] = json.dumps([table.row_of(part.model_dump(), wanted.fps) for part in wanted.scenes])  # type: ignore
        shown[2] = shown[2].value
    assert parse(form.job(shown)) == wanted


def test_a_masked_job_goes_back_into_its_fields(given_house: House) -> None:
    form, uploads = given_house.form("masked"), given_house.studio.uploads
    source, reference = take(given_house, picture()), take(given_house, picture(64, 64, seed=2))
    job = parse(form.job(values(
        form, source=source, mask=drawing(128, 96, (8, 8, 40, 40)), prompt="a star", reference=reference,
        **{"outpaint[1]": 16},
    )))  # fmt: skip
    assert (job.task, job.outpaint) == ("masked", (0, 16, 0, 0))  # type: ignore[union-attr]
    shown = dict(zip([field.name for field in form.fields], form.values(job.model_dump(mode="json")), strict=True))
    assert shown["mode"] == "part" and shown["prompt"] == "a star" and shown["outpaint[1]"] == 16
    assert f'data-upload="{source}"' in shown["source"] and f'data-upload="{reference}"' in shown["reference"]
    mask = uploads.of(job.mask)  # type: ignore[union-attr]
    assert mask is not None and f"uploads/{mask.id}/picture" in shown["mask"]


def test_seconds_become_frames(given_house: House) -> None:
    form = given_house.form("video")
    assert form.job(values(form, prompt="x", seconds=1.5, fps=12))["frames"] == 18
    with pytest.raises(Refusal, match="frames: expected 2 frames at least, got 1; make it longer"):
        form.job(values(form, seconds=0.25, fps=4))
    for wrong, sentence in (({"seconds": None}, "expected some seconds, got nothing"), ({"fps": 0}, "from 1 to 60")):
        with pytest.raises(Refusal, match=sentence):
            form.job(values(form, **wrong))


def test_not_a_number_is_refused(given_house: House) -> None:
    form = given_house.form("text")
    with pytest.raises(Refusal, match="guidance: expected a finite number, got nan"):
        parse(form.job(values(form, prompt="x", guidance=float("nan"))))


def test_a_drawn_mask_becomes_a_file_with_the_same_pixels(given_house: House) -> None:
    form = given_house.form("masked")
    source = take(given_house, picture())
    job = form.job(values(form, source=source, mask=drawing(128, 96, (10, 20, 30, 60)), prompt="a star"))
    levels = np.asarray(Image.open(job["mask"]))
    assert levels.shape == (96, 128) and levels.sum() == 255 * 20 * 40 and levels[20:60, 10:30].all()
    again = form.job(values(form, source=source, mask=drawing(128, 96, (10, 20, 30, 60)), prompt="a heart"))
    assert again["mask"] == job["mask"]  # the same drawing is the same file


def test_frames_to_keep_go_with_a_video_and_a_picture_begins_one(given_house: House) -> None:
    form = given_house.form("masked")
    clip, still_one = take(given_house, video()), take(given_house, picture())
    kept = form.job(values(form, source=clip, mode="frames", keep_frames="0, 8", frames="12"))
    assert (kept["keep_frames"], kept["frames"], kept.get("mask"), "fps" in kept) == ("0,8", 12, None, False)
    begun = form.job(values(form, source=still_one, mode="frames", keep_frames="0", frames="8", fps=5))
    assert (begun["frames"], begun["fps"]) == (8, 5)
    assert given_house.studio.check(parse(kept)).resolved["frames"] == 12
    assert given_house.studio.check(parse(begun)).resolved["frames"] == 8


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({}, "source"), ({"source": "../../etc"}, "source"), ({"source": "0" * 24}, "source"),
        ({"source": "PICTURE"}, "mask"), ({"source": "PICTURE", "mode": "border"}, "outpaint"),
        ({"source": "PICTURE", "mode": "frames", "keep_frames": ""}, "keep_frames"),
    ],
)  # fmt: skip
def test_a_form_says_what_it_still_needs(given_house: House, changes: dict[str, Any], field: str) -> None:
    if changes.get("source") == "PICTURE":
        changes = {**changes, "source": take(given_house, picture())}
    form = given_house.form("masked")
    with pytest.raises(Unfinished) as refused:
        form.job(values(form, **changes))
    assert refused.value.field == field


@pytest.mark.parametrize("mask", ["data:image/png;base64,AAAA", "data:text/html,x", "WRONG SIZE", "x" * 4_000_000])
def test_a_drawing_that_is_none_is_refused(given_house: House, mask: str) -> None:
    form, source = given_house.form("masked"), take(given_house, picture())
    mask = drawing(64, 64, (0, 0, 9, 9)) if mask == "WRONG SIZE" else mask
    with pytest.raises(Refusal, match="mask: expected a drawing of 128 x 96 pixels, got something else"):
        form.job(values(form, source=source, mask=mask))


# ------------------------------------------------------------ frames to keep


def test_presets_keep_what_they_say() -> None:
    kept = {name: strip.spelled(strip.preset(name, 9)) for name in strip.PRESETS}
    assert kept == {
        "first": "0", "last": "8", "ends": "0,8", "half": "0-4", "fourth": "0,4,8", "none": "",
    }  # fmt: skip
    assert strip.spelled(strip.preset("ends", 1)) == "0"


@given(st.sets(st.integers(0, 99)))
def test_frames_are_spelled_as_a_job_reads_them(frames: set[int]) -> None:
    assert strip.read(strip.spelled(frames), 100) == frames


def test_words_for_frames_that_are_not_there_keep_none() -> None:
    assert strip.read("0-3, 8,x,5-,999999-999999,9", 9) == {0, 1, 2, 3, 8}


# ------------------------------------------------------------ before the press, and the press


def test_plan_and_cost_stand_there_before_the_press(house: House) -> None:
    page, form = house.page(), house.form("scenes")
    rows = [BLANK | {"prompt": words, "seconds": "1"} for words in ("a star", "", "a ring", "a star")]
    plan, cost, *said = called(page, "plan_scenes")(*values(form, scenes=json.dumps(rows)))
    assert plan.count("data:image/png;base64,") == 3 and 'for="pass-scenes-2"' in plan  # two passes are alike
    assert "4 scenes, 32 frames, 4 s" in cost and "Model evaluations</dt><dd>192" in cost
    assert "told after a first render" in cost
    assert said == [gr.skip(), *[""] * (len(said) - 1)]  # a row without words yet is not wrong yet
    told = house.engine.check(parse(worded(form.job(values(form, scenes=json.dumps(rows))))))
    assert f"{told.pairs:,}" in plan and f"{told.dense_pairs:,}" in plan and flops(told.flops) in cost


def test_a_refusal_stands_beside_its_field_and_nothing_is_written(house: House) -> None:
    page, form = house.page(), house.form("video")
    changes = values(form, prompt="a star", **{"size[0]": 100})
    plan, cost, *said = called(page, "plan_video")(*changes)
    assert "while a field is wrong" in plan and cost == ""
    place = [names for names, _ in form.slots].index(("size",))
    assert [bool(html) for html in said] == [index == place for index in range(len(said))]
    assert "<b>Width:</b> expected a multiple of 16, got 100" in said[place]
    problem, id, *_ = called(page, "render_video")(*changes)
    assert "expected a multiple of 16" in problem and id == gr.skip() and house.studio.queue.rows() == []


def test_refusals_say_nothing_of_paths(house: House) -> None:
    page, form = house.page(), house.form("masked")
    source = take(house, video())
    changes = values(form, source=source, mode="frames", keep_frames="99", frames="")
    problem, *_ = called(page, "render_masked")(*changes)
    assert "<b>Frames to keep:</b>" in problem and str(house.studio.folder) not in problem
    (house.studio.folder / "uploads" / source / "source.video").write_bytes(b"broken")
    problem, *_ = called(page, "render_masked")(*values(form, source=source, mode="frames", keep_frames="0"))
    assert "<b>Picture or video:</b>" in problem and "/" not in problem.replace("</", "")


def test_an_unfinished_form_is_not_scolded(house: House) -> None:
    page = house.page()
    for tab, words in (
        ("text", "The plan"), ("masked", "Give a picture or a video first."), ("layout", "Draw a box on the canvas"),
        ("layered", "Draw a box for each layer"),
    ):  # fmt: skip
        plan, _, *said = called(page, f"plan_{tab}")(*values(house.form(tab)))
        # What Render said of the missing part stays until it is there.
        assert words in plan and sorted(map(str, said)) == [*[""] * (len(said) - 1), str(gr.skip())]
    form, blank = house.form("layout"), drawn({"box": [0, 0, 1, 1], "prompt": ""})
    plan, _, *notes = called(page, "plan_layout")(*values(form, boxes=blank))
    assert "The plan" in plan and notes == [gr.skip()] * 2 + [""] * (len(notes) - 2)  # words are still to come
    problem, *_ = called(page, "render_masked")(*values(house.form("masked")))
    assert "<b>Picture or video:</b> Give a picture or a video first." in problem


def test_a_press_writes_a_job_of_each_tab(house: House) -> None:
    page, source = house.page(), take(house, picture())
    changes: dict[str, dict[str, Any]] = {
        "text": {"prompt": "a star"},
        "video": {"prompt": "a star"},
        "masked": {"source": source, "mask": drawing(128, 96, (0, 0, 50, 50))},
        "scenes": {"scenes": json.dumps([BLANK | {"prompt": "a star"}])},
        "layout": {"prompt": "two things", "boxes": drawn(*({"box": [0, 0, 1, 1], "prompt": "a"},) * 2)},
        "layered": {"prompt": "a thing", "layers": drawn({"box": [0, 0, 1, 1], "prompt": ""})},
    }
    for tab, change in changes.items():
        problem, id, easel, *_ = called(page, f"render_{tab}")(*values(house.form(tab), **change))
        row = house.studio.queue.get(id)
        assert problem == "" and row is not None and kind(row.job) == tab and f'data-id="{id}"' in easel
    with working(house.studio.queue, house.studio.folder, house.engine):
        assert {over(house.studio.queue, row.id).state for row in house.studio.queue.rows()} == {"done"}
    for tab in changes:  # each easel shows its own
        easel = places(page.studio)[tab].draw(follows="").html
        assert ("<video" in easel) == (tab in ("video", "scenes")) and "stage done" in easel


def test_time_is_told_by_what_was_measured(house: House) -> None:
    assert house.studio.pace.seconds(1e9, "papercut") is None
    small, large = house.done(text(size=[64, 64])), house.done(text(size=[192, 192], steps=20))
    assert small.state == large.state == "done"
    assert house.studio.pace.seconds(3e10, "papercut") == pytest.approx(3.0)  # the fake's records say 1e10 a second
    assert house.studio.pace.seconds(3e10, "another") is None


@pytest.mark.parametrize(
    "told",
    [
        {}, {"flops": 1e9}, {"flops": 1e9, "seconds": 0}, {"flops": "1e9", "seconds": 1},
        {"flops": 1e9, "seconds": 1, "scenes": [{"reused": True}, {"reused": False}]},
    ],
)  # fmt: skip
def test_records_that_do_not_measure_tell_no_time(told: dict[str, Any]) -> None:
    assert measured(told) is None


# ------------------------------------------------------------ results


def test_a_story_is_shown_with_its_scenes(house: House) -> None:
    page, form = house.page(), house.form("scenes")
    rows = [BLANK | {"prompt": f"a {words}", "seconds": "0.5"} for words in ("<b>star", "heart")]
    _, id, *_ = called(page, "render_scenes")(*values(form, scenes=json.dumps(rows), png_frames=True))
    with working(house.studio.queue, house.studio.folder, house.engine):
        row = over(house.studio.queue, id)
    shown = result_of(row, house.studio.folder)
    assert "autoplay" in shown and "loop" in shown and "<b>star" not in shown
    assert 'data-seek="0.5"' in shown and "used again" in shown and "not rendered before" in shown
    assert "8 exact frames" in shown and f'href="outputs/{id}/frames.zip"' in shown
    first = shown.index(f'src="outputs/{id}/', shown.index('<div class="thumbs">'))
    place = int(shown[first:].split("/")[2].split('"')[0])
    assert row.files[place].endswith("0000.png")
    answer = client(house).get(f"/outputs/{id}/frames.zip")
    assert answer.headers["x-content-type-options"] == "nosniff"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as packed:
        assert packed.namelist() == [f"{number:04d}.png" for number in range(8)] and packed.testzip() is None
    assert client(house).get("/outputs/nobody/frames.zip").status_code == 404


def test_scenes_that_were_given_are_told_from_those_used_again() -> None:
    part = {"start": 0, "frames": 2}
    told = {"scenes": [part | {"given": True}, part | {"reused": True}, part | {"why": "prompt changed"}]}
    assert [how for _, _, how, _ in marks(told)] == ["given", "again", "fresh"]


@pytest.mark.parametrize("scenes", [None, "x", [1], [{}], [{"start": -1, "frames": 2}], [{"start": 0, "frames": "2"}]])
def test_records_of_others_are_read_with_care(scenes: object) -> None:
    assert marks({"scenes": scenes}) == []


def test_words_of_a_plan_and_of_its_cost_are_never_markup() -> None:
    evil = SimpleNamespace(tokens=4, pairs=8, dense_pairs=16, flops=1e9, warnings=["<script>"], resolved={}, plans=())
    assert "<script" not in plan_panel("text", evil) + cost_line(evil, "<script>", None)
    assert "50%" in plan_panel("text", evil)


def test_places_are_counted_from_one_with_neighbours_together() -> None:
    assert [spans([0]), spans([0, 2, 3, 4]), spans([1, 2])] == ["1", "1, 3-5", "2-3"]


def test_the_page_process_checks_every_task_without_torch() -> None:
    for module in ("ui.page, pipelines.masked, pipelines.scenes, pipelines.text, pipelines.layout, pipelines.layered",):
        assert not loaded_by(f"import app, {module}, pipelines.engine") & {"torch", "diffusers", "transformers"}
