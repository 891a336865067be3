"""The Layout and Layers tabs without a browser: boxes go into the editor and come back, and results are shown."""

from __future__ import annotations

import io
import json
import os
import re
import zipfile
from html import unescape
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipelines.files.media import read_picture
from pipelines.job import MAX_PARTS, Refusal, parse, recipe
from tests.staged import picture
from tests.tabbed import House, client, drawn, house_at, take, values
from ui import boxes, layered
from ui.fields import Form, label_of
from ui.overlay import Box, boxes_of, obeyed
from ui.result import facts
from ui.result import picture as result_of
from ui.stack import layers_of


@pytest.fixture
def house(tmp_path: Path) -> House:
    return house_at(tmp_path / "out")


@pytest.fixture(scope="module")
def given_house(tmp_path_factory: pytest.TempPathFactory) -> House:
    """A house for tests that leave nothing behind."""
    return house_at(tmp_path_factory.mktemp("house"))


BOXES = [
    {"box": [0.1, 0.1, 0.5, 0.5], "prompt": "a red circle", "negative_prompt": "grey"},
    {"box": [0.4, 0.4, 1, 0.9], "prompt": "a blue square"},
]


def read_off(drawn: str) -> str:
    """What the page reads off an editor that nobody touched."""
    found = re.search(r'data-boxes="([^"]*)"', drawn)
    assert found is not None
    return unescape(found[1])


def test_boxes_go_back_into_the_editor_they_came_from(given_house: House) -> None:
    form = given_house.form("layout")
    wanted = parse({
        "task": "layout", "prompt": "two things", "boxes": BOXES, "size": [96, 128], "mechanism": "plan",
        "siamese_until": 0.5, "negative_prompt": "blur",
    })  # fmt: skip
    shown = dict(zip([field.name for field in form.fields], form.values(recipe(wanted)), strict=True))
    assert 'data-width="96" data-height="128"' in shown["boxes"]
    assert parse(form.job([*shown.values()])) == wanted  # as drawn
    assert parse(form.job([*(shown | {"boxes": read_off(shown["boxes"])}).values()])) == wanted  # as the page reads it


def test_layers_and_what_is_given_go_back_into_the_editor(given_house: House) -> None:
    form, uploads = given_house.form("layered"), given_house.studio.uploads
    path = given_house.studio.folder / "layer.png"
    Image.new("RGBA", (128, 128), (9, 8, 7, 6)).save(path)
    given, source = uploads.path(uploads.keep_layer(path).id), uploads.path(take(given_house, picture(128, 128)))
    wanted = parse({
        "task": "layered", "prompt": "two things", "source": source, "background": source,
        "layers": [{"box": [0, 0, 0.5, 0.5]}, {"box": [0.25, 0, 1, 1], "prompt": "a star", "source": given}],
    })  # fmt: skip
    shown = dict(zip([field.name for field in form.fields], form.values(recipe(wanted)), strict=True))
    assert parse(form.job([*shown.values()])) == wanted


@pytest.mark.parametrize(
    ("tab", "name", "row", "sentence"),
    [
        ("layout", "boxes", {"box": [0, 0, 1, 1], "prompt": " "}, "boxes[0].prompt: expected words, got an empty text"),
        ("layout", "boxes", {"box": [0.5, 0, 0.2, 1], "prompt": "a"}, "boxes[0].box: expected x0 < x1 and y0 < y1"),
        ("layout", "boxes", {"box": [0, 0, 2, 1], "prompt": "a"}, "boxes[0].box[2]: expected less than or equal to 1"),
        ("layout", "boxes", {"box": ["x", 0, 1, 1], "prompt": "a"}, "boxes[0].box[0]: expected a number, got the text"),
        ("layered", "layers", {"box": [0, 0, 1, 1], "prompt": "", "given": "../../x"}, "layers[0].source: expected a"),
    ],
)
def test_what_is_wrong_with_a_box_names_it(
    given_house: House, tab: str, name: str, row: dict[str, Any], sentence: str
) -> None:
    form = given_house.form(tab)
    with pytest.raises(Refusal) as refused:
        parse(form.job(values(form, prompt="a", **{name: drawn(row)})))
    assert str(refused.value).startswith(sentence)
    assert label_of(refused.value.field).startswith("Box 1" if tab == "layout" else "Layer 1")
    beside = [names for names, _ in form.slots].index((name,))
    assert [bool(html) for html in form.said(refused.value)].index(True) == beside


@pytest.mark.parametrize("sent", ["{}x", "[1]", "null x", '{"a": 1}', '[{"prompt": "a"}]', '[{"box": 3}]'])
def test_boxes_that_are_none_are_refused(sent: str) -> None:
    with pytest.raises(Refusal, match="boxes: expected a list of boxes, got something else"):
        boxes.parts_of(sent, "boxes")


def test_more_than_fifty_boxes_are_refused(given_house: House) -> None:
    form = given_house.form("layout")
    rows = [{"box": [0, 0, 1, 1], "prompt": "a"}] * (MAX_PARTS + 1)
    with pytest.raises(Refusal, match="boxes: expected at most 50 entries, got 51"):
        parse(form.job(values(form, prompt="a", boxes=drawn(*rows))))


@given(st.text(max_size=40))
def test_words_in_an_editor_are_never_markup(words: str) -> None:
    drawn = boxes.editor("layout", [boxes.part_of([0, 0, 1, 1], f'"><script>{words}')], (64, 64), "box")
    assert "<script" not in drawn
    assert json.loads(read_off(drawn))[0]["prompt"] == f'"><script>{words}'


def test_a_layout_shows_its_boxes_and_how_well_they_were_obeyed(house: House) -> None:
    evil = [BOXES[0], {**BOXES[1], "prompt": "<script>"}]
    row = house.done(parse({"task": "layout", "prompt": "two things", "boxes": evil, "size": [64, 64]}))
    shown = result_of(row, house.studio.folder)
    assert shown.count('<i class="tone-') == 2 and "left: 40.00%; top: 40.00%; width: 60.00%" in shown
    assert ">0.90<" in shown and ">0.40<" in shown and "<script>" not in shown
    assert f'href="outputs/{row.id}/1"' in facts(row, house.studio.folder)  # the picture with its boxes drawn


@pytest.mark.parametrize(
    "entries",
    [None, "x", [1], [{}], [{"box": [0, 0, 1]}], [{"box": [0, 0, 2, 1]}], [{"box": [1, 0, 0, 1]}], [{"box": "0011"}]],
)
def test_boxes_of_other_records_are_read_with_care(entries: object) -> None:
    assert boxes_of({"boxes": entries}) == []
    whole = boxes_of({"boxes": [{"box": [0, 0, 1, 1], "obeyed": "much", "prompt": None}]})
    assert whole == [Box([0, 0, 1, 1], "", None)]


def test_a_box_that_was_obeyed_has_a_tick_and_another_a_question_mark() -> None:
    entries = [{"box": [0, 0, 1, 1], "prompt": "a", "obeyed": score} for score in (-0.25, 7, float("nan"), 0.1)]
    entries[1] |= {"rival": "a <b>", "beats_rival": False}
    entries[2] |= {"rival": "a star", "beats_rival": True}
    drawn = obeyed({"boxes": entries})
    assert "rather “a &lt;b&gt;”" in drawn and "a star" not in drawn
    assert drawn.count("doubtful") == 2 and drawn.count("\u2713") == 1 and "\u22120.25" in drawn
    assert drawn.count("<em") == 3 and 'aria-label="obeyed 0.10"' in drawn


STACK = {
    "task": "layered", "prompt": "two things", "size": [64, 64], "seed": 0,
    "layers": [{"box": [0, 0, 0.5, 0.5], "prompt": "a red circle"}, {"box": [0.25, 0.25, 1, 1]}],
}  # fmt: skip


def test_a_layered_picture_has_a_panel_with_its_files(house: House) -> None:
    row = house.done(parse(STACK))
    shown = result_of(row, house.studio.folder, again=True)
    places = [int(place) for place in re.findall(r'data-layer="\d" data-src="outputs/\w+/(\d+)"', shown)]
    assert [Path(row.files[place]).name for place in places] == ["02.png", "01.png", "00.png"]  # top first
    assert shown.count("data-again") == 3 and "data-again" not in result_of(row, house.studio.folder)
    told = facts(row, house.studio.folder)
    assert "PSD</a>" in told and "OpenRaster</a>" in told and f'href="outputs/{row.id}/all.zip"' in told
    answer = client(house).get(f"/outputs/{row.id}/all.zip")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as packed:
        assert sorted(packed.namelist()) == sorted(row.files) and packed.testzip() is None
    psd = client(house).get(f"/outputs/{row.id}/{[Path(name).suffix for name in row.files].index('.psd')}")
    assert psd.headers["content-type"] == "image/vnd.adobe.photoshop"
    assert psd.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("layers", [None, "x", [1], [{}], [{"file": "../x.png"}], [{"file": "queue.sqlite3"}]])
def test_layers_of_other_records_are_read_with_care(house: House, layers: object) -> None:
    assert layers_of(house.done(parse(STACK)), {"layers": layers}) == []


def test_one_layer_again_gives_the_others_and_not_the_whole(house: House) -> None:
    row = house.done(parse(STACK))
    job = layered.again(house.studio, row.id, 2)
    first, second = job.layers  # type: ignore[union-attr]
    assert second.source is None and job.source is None and job.seed != 0  # type: ignore[union-attr]
    for path, name in ((first.source, "01.png"), (job.background, "00.png")):  # type: ignore[union-attr]
        file = next(house.studio.folder / file for file in row.files if file.endswith(f"/{name}"))
        assert np.array_equal(read_picture(Path(str(path))), read_picture(file))
    behind = layered.again(house.studio, row.id, 0)
    assert behind.background is None  # type: ignore[union-attr]
    assert all(part.source for part in behind.layers)  # type: ignore[union-attr]
    given = house.studio.uploads.folder / Path(str(first.source)).parent.name
    os.utime(given, (0, 0))
    id = house.studio.queue.add(job)
    house.studio.uploads.sweep(house.studio.queue)  # what a job gives deep inside is kept too
    assert given.is_dir()
    house.studio.queue.cancel(id)
    for id, layer in (("nobody", 1), (row.id, 3), (row.id, -1)):
        with pytest.raises(Refusal, match="expected a layer of a finished picture"):
            layered.again(house.studio, id, layer)
    (house.studio.folder / next(file for file in row.files if file.endswith("/01.png"))).unlink()
    with pytest.raises(Refusal, match="the file of 'a red circle' is gone"):
        layered.again(house.studio, row.id, 2)


def test_a_press_in_the_panel_writes_that_job(house: House) -> None:
    row, page = house.done(parse(STACK)), house.page()
    redo = next(each.fn for each in page.fns.values() if each.fn and each.fn.__name__ == "redo")
    problem, id, *_ = redo(SimpleNamespace(job=row.id, layer=1))
    made = house.studio.queue.get(id)
    assert problem == "" and made is not None and made.job["layers"][1]["source"]
    problem, *_ = redo(SimpleNamespace(job="nobody", layer=1))
    assert "expected a layer of a finished picture" in problem


def test_proposed_boxes_go_into_the_editor_and_nothing_is_rendered(house: House) -> None:
    with gr.Blocks():
        form = Form("layout", "layout")
        field = boxes.BoxField(form, "boxes", (128, 128), "box")
    drawn, notes = field.propose("a red circle left of a blue star on a white background", 128, 96.0)
    found = json.loads(read_off(drawn))
    assert [each["prompt"] for each in found] == ["a red circle", "a blue star"]
    assert 'data-height="96"' in drawn and "bad" not in notes
    skipped, why = field.propose("", 128, 128)
    assert skipped == gr.skip() and "<b>Prompt:</b>" in why
    assert house.studio.queue.rows() == []
