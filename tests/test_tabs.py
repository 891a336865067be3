"""The tabs without a browser: fields become jobs and come back, and what a job would be is told before it is."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
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
from starlette.applications import Starlette
from starlette.testclient import TestClient

from pipelines.files.media import read_picture
from pipelines.job import MAX_PARTS, Refusal, parse, recipe
from pipelines.queue.queue import Queue, Row
from tests.paced import over, text, working
from tests.staged import StagedEngine, picture, video
from tests.test_help import loaded_by
from ui import boxes, layered, layout, masked, scenes, strip, table
from ui import text as still
from ui import video as moving
from ui.desk import worded
from ui.fields import Form, Unfinished, label_of
from ui.files import routes
from ui.overlay import Box, boxes_of, obeyed
from ui.pace import Pace, measured
from ui.page import build, places
from ui.plan import cost_line, flops, plan_panel, spans
from ui.result import facts, kind, marks
from ui.result import picture as result_of
from ui.stack import layers_of
from ui.studio import Studio
from ui.table import BLANK, edited, rows_of
from ui.uploads import Uploads

Lay = Callable[[Studio], Form]
LAYS: Mapping[str, Lay] = {
    "text": still.lay, "video": moving.lay, "scenes": scenes.lay, "masked": lambda studio: masked.Masked(studio).form,
    "layout": layout.lay, "layered": lambda studio: layered.Layered(studio).form,
}  # fmt: skip
SCENES = [{"prompt": "a red star", "frames": 12}, {"prompt": "a blue heart", "frames": 4, "seed": 5}]


@dataclass
class House:
    """A studio that is not served: its forms and its listeners are called as they are."""

    studio: Studio
    engine: StagedEngine

    def form(self, tab: str) -> Form:
        with gr.Blocks():
            return LAYS[tab](self.studio)

    def page(self) -> gr.Blocks:
        return build(self.studio.queue, self.studio.folder, self.engine.check)

    def done(self, job: Any) -> Row:
        id = self.studio.queue.add(job)
        with working(self.studio.queue, self.studio.folder, self.engine):
            return over(self.studio.queue, id)


@pytest.fixture
def house(tmp_path: Path) -> House:
    folder = tmp_path / "out"
    queue, engine = Queue(folder), StagedEngine()
    return House(Studio(queue, folder, engine.check, str, Uploads(folder), Pace(queue, folder)), engine)


@pytest.fixture(scope="module")
def given_house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A house for tests that leave nothing behind."""
    folder = tmp_path_factory.mktemp("house")
    queue, engine = Queue(folder), StagedEngine()
    yield House(Studio(queue, folder, engine.check, str, Uploads(folder), Pace(queue, folder)), engine)


def take(house: House, data: bytes) -> str:
    path = house.studio.folder / "given"
    path.write_bytes(data)
    return house.studio.uploads.keep(path).id


def drawing(width: int, height: int, box: tuple[int, int, int, int]) -> str:
    """What the page's canvas sends: white where something is painted."""
    levels = np.zeros((height, width), np.uint8)
    left, top, right, bottom = box
    levels[top:bottom, left:right] = 255
    buffer = io.BytesIO()
    Image.fromarray(levels).save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def values(form: Form, **changes: Any) -> list[Any]:
    """What the page sends when its fields are as at the beginning but for `changes`."""
    sent = {field.name: field.part.value for field in form.fields} | changes
    assert set(changes) <= {field.name for field in form.fields}
    return list(sent.values())


def client(house: House) -> TestClient:
    return TestClient(Starlette(routes=routes(house.studio.queue, house.studio.folder)))


def called(page: gr.Blocks, name: str) -> Any:
    return next(each.fn for each in page.fns.values() if each.api_name == name)


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


# ------------------------------------------------------------ scenes


def test_the_rows_of_the_table_become_scenes(given_house: House) -> None:
    form = given_house.form("scenes")
    rows = [
        BLANK | {"prompt": "a", "seconds": "1", "transition": "black"},  # nothing is before it, so nothing fades
        BLANK | {"prompt": "b", "seconds": "0.5", "seed": "7", "transition": "crossfade", "transition_frames": "2"},
        BLANK | {"prompt": "c", "negative_prompt": "grey"},
    ]
    job = form.job(values(form, scenes=json.dumps(rows)))
    assert job["scenes"] == [
        {"prompt": "a", "frames": 8},
        {"prompt": "b", "frames": 4, "seed": 7, "transition": "crossfade", "transition_frames": 2},
        {"prompt": "c", "frames": 12, "negative_prompt": "grey"},
    ]
    shot = form.job(values(form, scenes=json.dumps(rows), cuts=False))
    assert all("transition" not in part for part in shot["scenes"])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"seconds": "long"}, "scenes[1].frames: expected some seconds, got 'long'"),
        ({"seconds": ""}, "scenes[1].frames: expected some seconds, got nothing"),
        ({"seconds": "nan"}, "scenes[1].frames: expected some seconds, got nan"),
        ({"seconds": "0.01"}, "scenes[1].frames: expected a frame at least, got 0.01 s at 8 frames a second"),
        ({"seed": "1.5"}, "scenes[1].seed: expected a whole number, got '1.5'"),
        ({"prompt": " "}, "scenes[1].prompt: expected words, got an empty text"),
        ({"transition": "melt"}, "scenes[1].transition: expected"),
        ({"transition": "black", "transition_frames": "99"}, "scenes[1].transition_frames: expected no more than"),
    ],
)
def test_what_is_wrong_in_a_row_names_the_row(given_house: House, change: dict[str, str], sentence: str) -> None:
    form = given_house.form("scenes")
    rows = [BLANK | {"prompt": "a"}, BLANK | {"prompt": "b"} | change]
    with pytest.raises(Refusal) as refused:
        parse(form.job(values(form, scenes=json.dumps(rows))))
    assert str(refused.value).startswith(sentence)
    assert [bool(html) for html in form.said(refused.value)].index(True) == 0  # beside the table
    assert "Scene 2" in label_of(refused.value.field)


def test_buttons_of_the_table_add_copy_move_and_remove_rows() -> None:
    rows = [BLANK | {"prompt": words} for words in "abc"]

    def said(act: str, index: int) -> str:
        return "".join(row["prompt"] or "-" for row in edited(rows, act, index))

    assert [said("add", 2), said("copy", 0), said("remove", 1)] == ["abc-", "aabc", "ac"]
    assert [said("up", 1), said("down", 1), said("up", 0), said("down", 2)] == ["bac", "acb", "abc", "abc"]
    assert edited([BLANK], "remove", 0) == [BLANK]
    full = [dict(BLANK)] * MAX_PARTS
    assert len(edited(full, "add", 0)) == len(edited(full, "copy", 0)) == MAX_PARTS


@given(st.lists(st.tuples(st.sampled_from(["add", "copy", "remove", "up", "down", "?"]), st.integers(-3, 60))))
def test_a_table_always_has_a_row_and_never_too_many(presses: list[tuple[str, int]]) -> None:
    rows = [dict(BLANK)]
    for act, index in presses:
        rows = edited(rows, act, index)
        assert 1 <= len(rows) <= MAX_PARTS


@given(st.lists(st.dictionaries(st.sampled_from(sorted(BLANK)), st.text(max_size=9)), min_size=1, max_size=3))
def test_a_table_says_what_its_rows_say_and_words_are_never_markup(said: list[dict[str, str]]) -> None:
    rows = rows_of(json.dumps(said))
    assert [{**BLANK, **row} for row in said] == rows
    drawn = table.table([{**row, "prompt": '"><script>' + row["prompt"]} for row in rows])
    assert "<script" not in drawn and drawn.count("data-scene=") == len(rows)


@pytest.mark.parametrize("sent", ["", "{}x", "[1]", "null", '{"a": 1}'])
def test_rows_that_are_none_are_refused(sent: str) -> None:
    with pytest.raises(Refusal, match="scenes: expected a list of scenes"):
        rows_of(sent)


def test_only_a_video_of_the_history_can_be_gone_on_from(house: House) -> None:
    form = house.form("scenes")
    rows = json.dumps([BLANK | {"prompt": "a"}])
    flat = house.done(text(size=[64, 64]))
    film = house.done(text("a star", frames=8, size=[64, 64], fps=5))
    exact = house.done(text("a heart", frames=4, size=[64, 64], png_frames=True))
    assert form.job(values(form, scenes=rows))["continue_from"] is None
    house.studio.history.refresh()
    ids = {entry.stem: entry.id for entry in house.studio.history.search().entries}
    still, moving, frames = (ids[Path(row.files[0]).stem] for row in (flat, film, exact))
    path = form.job(values(form, scenes=rows, continue_from=moving))["continue_from"]
    assert path == str(house.studio.folder / film.files[0])
    assert Path(form.job(values(form, scenes=rows, continue_from=frames))["continue_from"]).is_dir()
    for id in (still, film.id, "nobody", "../x"):
        with pytest.raises(Refusal, match="continue_from: expected a video of the history"):
            form.job(values(form, scenes=rows, continue_from=id))
    shown = form.values({"task": "scenes", "scenes": SCENES, "continue_from": path})[2]
    assert shown.value == moving and {id for _, id in shown.choices} == {"", moving, frames}
    house.studio.history.discard(str(moving))
    with pytest.raises(Refusal, match="continue_from: expected a video of the history"):
        form.job(values(form, scenes=rows, continue_from=moving))


# ------------------------------------------------------------ boxes and layers

BOXES = [
    {"box": [0.1, 0.1, 0.5, 0.5], "prompt": "a red circle", "negative_prompt": "grey"},
    {"box": [0.4, 0.4, 1, 0.9], "prompt": "a blue square"},
]


def read_off(drawn: str) -> str:
    """What the page reads off an editor that nobody touched."""
    found = re.search(r'data-boxes="([^"]*)"', drawn)
    assert found is not None
    return unescape(found[1])


def drawn(*rows: dict[str, Any]) -> str:
    """What the page sends of an editor with these boxes."""
    return json.dumps([boxes.part_of(**row) for row in rows])


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


def test_a_box_that_was_not_obeyed_has_an_empty_meter() -> None:
    entries = [{"box": [0, 0, 1, 1], "prompt": "a", "obeyed": score} for score in (-0.25, 7, float("nan"))]
    entries[1] |= {"rival": "a <b>", "beats_rival": False}
    entries[2] |= {"rival": "a star", "beats_rival": True}
    drawn = obeyed({"boxes": entries})
    assert "rather “a &lt;b&gt;”" in drawn and "a star" not in drawn
    assert "width: 0%" in drawn and "\u22120.25" in drawn and "width: 100%" in drawn and drawn.count("<em") == 2


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
