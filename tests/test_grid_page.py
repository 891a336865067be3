"""The Grid tab without a browser: what its fields describe, what a press queues, and what the page shows of it."""

from __future__ import annotations

import io
import json
import re
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.testclient import TestClient

from pipelines.grid.store import GridStore, rows_of
from pipelines.job import parse
from pipelines.queue.queue import Queue
from tests.paced import over, text, until, working
from tests.staged import StagedEngine, picture
from tests.test_presets_page import called, form_of, listener, page_of, values
from ui import gridtable, wire
from ui.grid import spelled
from ui.gridfiles import routes
from ui.gridtable import table
from ui.pace import Pace
from ui.page import places
from ui.studio import Studio
from ui.uploads import Uploads

BASE = "task: text\nprompt: a red ring in a meadow\nsteps: 1\nsize: [64, 64]"


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    folder = tmp_path / "out"
    queue = Queue(folder)
    return Studio(queue, folder, StagedEngine().check, str, Uploads(folder), Pace(queue, folder))


def fields(*axes: tuple[str, str], base: str = BASE) -> list[str]:
    padded = [*axes, *[("", "")] * (3 - len(axes))]
    return [base, *(part for axis in padded for part in axis)]


def press(studio: Studio, *axes: tuple[str, str], base: str = BASE) -> tuple[Any, ...]:
    return tuple(called(page_of(studio), "render_grid")(*fields(*axes, base=base)))


def watched(studio: Studio, id: str) -> str:
    """What an open page is told of a grid."""
    return str(places(studio)["grid"].draw(id=id).html)


# ------------------------------------------------------------ what is typed


@pytest.mark.parametrize(
    ("field", "typed", "wanted"),
    [
        ("seed", "1, 2,4", "{1|2|4}"), ("seed", "1..4", "{1..4}"), ("seed", "1..3; 9", "{1..3|9}"), ("seed", "7", "7"),
        ("guidance", "[1.0, 2.5]", [1.0, 2.5]), ("size", "64x64, 128x96", "{64x64|128x96}"),
        ("prompt", "a ring, a star", "a ring, a star"), ("prompt", "a ring | a star", "{a ring | a star}"),
        ("prompt", "red -> [red, blue]", "red -> [red, blue]"), ("boxes[0].prompt", "__colour__", "__colour__"),
    ],
)  # fmt: skip
def test_values_are_typed_as_lists_ranges_and_words(field: str, typed: str, wanted: Any) -> None:
    assert spelled(field, typed) == wanted


def test_the_page_counts_cells_and_costs_before_the_press(studio: Studio) -> None:
    plan = called(page_of(studio), "plan_grid")
    cost, said = plan(*fields(("seed", "1..3"), ("prompt", "red -> [red, blue]")))
    assert "3 × 2 = 6 cells, 6 renders" in cost and "FLOP in all" in cost and said == ""
    cost, said = plan(*fields())
    assert "Choose a field" in cost and said == ""
    assert studio.queue.rows() == [] and GridStore(studio.folder).ids() == []


@pytest.mark.parametrize(
    ("axes", "base", "words"),
    [
        ([("", ""), ("seed", "x")], BASE, "<b>Field 2:</b> expected a number"),
        ([("seed", "-1, 2")], BASE, "<b>Seed:</b>"),
        ([("", ""), ("nothing here", "1")], BASE, "<b>Field 2:</b> expected a field such as guidance"),
        ([("prompt", "green -> [red, blue]")], BASE, "expected the words"),
        ([("seed", "1..501")], BASE, "expected at most 500 renders"),
        ([("seed", "1..9999999")], BASE, "<b>Field 1:</b> expected at most 2,500 values"),
        ([("seed", "1, 2")], "- 1", "expected one job, a mapping with a task"),
        ([("seed", "1, 2")], "task: nothing", "<b>Task:</b> expected one of text"),
        ([("seed", "1, 2")], "a: [", "is not YAML"),
        ([("size", "64x65")], BASE, "multiple of 16"),
        ([("seed", "[1")], BASE, "is not YAML"),
        ([("name", "a, b")], BASE, "expected a field that changes the picture"),
        ([("seed", "1"), ("seed", "2")], BASE, "<b>Field 2:</b> seed is on an axis already"),
    ],
)
def test_a_grid_that_is_none_is_refused_with_one_sentence_and_nothing_is_written(
    studio: Studio, axes: list[tuple[str, str]], base: str, words: str
) -> None:
    *_, said = press(studio, *axes, base=base)
    assert words in said and said.count('class="note bad"') == 1
    assert studio.queue.rows() == [] and GridStore(studio.folder).ids() == []


# ------------------------------------------------------------ files and models


SECRET = "/etc/passwd"


@pytest.mark.parametrize(
    ("base", "axis"),
    [
        (f"task: masked\nprompt: a\nsource: {SECRET}\noutpaint: [16, 0, 0, 0]", ("seed", "1, 2")),
        (f"task: masked\nprompt: a\nsource: upload:{SECRET}\noutpaint: [16, 0, 0, 0]", ("seed", "1, 2")),
        (f"task: scenes\nscenes: [{{prompt: a}}]\ncontinue_from: 'render:../{SECRET}'", ("seed", "1, 2")),
        (f"task: text\nprompt: a\nmodel: {SECRET}", ("seed", "1, 2")),
        (BASE, ("model", f"papercut, {SECRET}")),
        (BASE, ("model", f"[{SECRET}]")),
        ("task: masked\nprompt: a\noutpaint: [16, 0, 0, 0]", ("source", f"[{SECRET}]")),
        (
            "task: layered\nprompt: a\nlayers: [{box: [0, 0, 1, 1]}]",
            ("layers", f"[[{{box: [0, 0, 1, 1], source: {SECRET}}}]]"),
        ),
        ("task: layered\nprompt: a\nlayers: [{box: [0, 0, 1, 1]}]", ("layers[0].source", f"[{SECRET}]")),
        (f"{BASE}\nadapters: [{{path: {SECRET}}}]", ("seed", "1, 2")),
        (f"{BASE}\nadapters: [{{path: 'upload:x'}}]", ("seed", "1, 2")),
        (f"{BASE}\nadapters: [{{path: ink}}]", ("adapters[0].path", f"[{SECRET}]")),
        (f"task: scenes\nscenes: [{{prompt: a, adapters: [{{path: {SECRET}}}]}}]", ("seed", "1, 2")),
    ],
)
def test_no_path_comes_from_the_page(studio: Studio, base: str, axis: tuple[str, str]) -> None:
    *_, said = press(studio, axis, base=base)
    assert said.count('class="note bad"') == 1 and "No such file" not in said and "Permission" not in said
    assert studio.queue.rows() == [] and GridStore(studio.folder).ids() == []


def test_a_job_with_files_goes_out_by_ids_and_comes_back_as_it_was(studio: Studio) -> None:
    given_file = studio.folder / "given"
    given_file.write_bytes(picture(64, 64))
    upload = studio.uploads.keep(given_file)
    page, form = page_of(studio), form_of(studio, "masked")
    sent = values(form, source=upload.id, mode="border", prompt="a {star|ring}", **{"outpaint[0]": 16})
    tabs, base, *said = listener(page, "masked-to-grid", "click")(*sent)
    assert tabs.selected == "grid" and f"upload:{upload.id}" in base and str(studio.folder) not in base
    assert "prompt: a star" in base and not any(said)
    shown, *_ = called(page, "plan_grid")(*fields(("seed", "1..2"), base=base))
    assert "2 cells" in shown
    tabs, base, *said = listener(page, "masked-to-grid", "click")(*values(form))
    assert base == gr.skip() and "Give a picture or a video first." in "".join(map(str, said))


# ------------------------------------------------------------ the press


def test_a_press_queues_one_batch_and_the_page_shows_it_fill(studio: Studio) -> None:
    page = page_of(studio)
    kept, shown, said = called(page, "render_grid")(*fields(("seed", "1, 2"), ("guidance", "1, 3")))
    (id,) = GridStore(studio.folder).ids()
    rows = studio.queue.batch(id)
    assert said == "" and kept.value == id and [row.job["name"] for row in rows] == [
        "grid 1-1-1", "grid 1-2-1", "grid 1-1-2", "grid 1-2-2"
    ]  # fmt: skip
    assert shown.count('class="blank queued"') == 4 and "0 of 4 rendered." in shown
    assert "grid-page" not in shown and 'data-act="stop"' in shown
    with working(studio.queue, studio.folder, StagedEngine()):
        assert {over(studio.queue, row.id).state for row in rows} == {"done"}
    later = page_of(studio)  # a page that was opened afterwards
    for shown in (watched(studio, id), listener(later, "grid-kept", "input")(id)):
        assert "4 of 4 rendered." in shown and shown.count("<img") == 4 and 'data-act="stop"' not in shown
        assert f'href="grids/{id}.zip"' in shown
    told = json.loads((studio.folder / "grid 1-2-1.json").read_text())["expanded_from"]
    assert told == {"grid": "grid 1", "cell": [2, 1], "fields": {"seed": 2, "guidance": 1}}


def test_a_retry_takes_the_place_of_what_failed_and_equal_cells_share_a_render(studio: Studio) -> None:
    page = page_of(studio)
    called(page, "render_grid")(*fields(("prompt", "[a ring, fail, a ring]")))
    (id,) = GridStore(studio.folder).ids()
    rows = studio.queue.batch(id)
    assert len(rows) == 2, "two cells are one job"
    with working(studio.queue, studio.folder, StagedEngine()):
        until(lambda: not studio.queue.active())
    shown = watched(studio, id)
    assert "1 of 2 rendered. 1 failed" in shown and shown.count("<img") == 2
    again = studio.queue.retry(rows[1].id)
    kept = GridStore(studio.folder).get(id)
    assert kept is not None and rows_of(kept.grid, studio.queue.batch(id))[1].id == again


def test_the_rest_is_cancelled_and_a_forgotten_grid_leaves_its_pictures(studio: Studio) -> None:
    page = page_of(studio)
    press(studio, ("seed", "1..3"))
    press(studio, ("seed", "1..2"))
    store = GridStore(studio.folder)
    second, first = store.ids()
    act = listener(page, "grid-table", "act")
    _, shown = act(second, SimpleNamespace(act="stop"))
    assert shown.count('class="blank cancelled"') == 2 and studio.queue.counts()["queued"] == 3
    assert store.get(second).grid.name == "grid 2", "each has a name of its own"  # type: ignore[union-attr]
    kept, _ = act(second, SimpleNamespace(act="forget"))
    assert kept.value == first and store.ids() == [first] and len(studio.queue.rows()) == 5
    for id in ("", "nobody", "../../x", "0" * 16):
        for event in (
            SimpleNamespace(act="stop"),
            SimpleNamespace(act="forget"),
            SimpleNamespace(),
            SimpleNamespace(act=3),
        ):
            act(id, event)
        assert "No grid yet" in watched(studio, id)
    assert store.ids() == [first] and studio.queue.counts()["queued"] == 3


def test_a_grid_is_forgotten_only_after_a_question(studio: Studio) -> None:
    """The button asks, in the page alone; what forgets stands in the question, which is seen once it was asked."""
    press(studio, ("seed", "1..2"))
    shown = watched(studio, GridStore(studio.folder).ids()[0])
    question = re.search(r'<span class="sure".*?</span></span>|<span class="sure".*?</button></span>', shown)
    assert question and "Forget “grid 1”? Its pictures stay." in question[0]
    assert 'data-act="forget"' in question[0] and 'data-act="spare"' in question[0]
    assert 'data-act="forget"' not in shown.replace(question[0], "") and 'data-act="ask"' in shown
    assert ".grid-acts .sure { display: none;" in gridtable.CSS and ".asking .grid-acts .sure" in gridtable.CSS


def test_a_step_changes_no_more_than_its_cell(studio: Studio) -> None:
    press(studio, ("seed", "1..2"))
    id = GridStore(studio.folder).ids()[0]
    claimed = studio.queue.claim()
    assert claimed is not None
    studio.queue.progress(claimed.id, 1, 3)
    first = places(studio)["grid"].draw(id=id)
    studio.queue.progress(claimed.id, 2, 3)
    second = places(studio)["grid"].draw(id=id)
    assert first.html == second.html and second.live == {"cell:0": "step 2 of 3"}


def test_a_list_that_changes_later_changes_no_grid(studio: Studio) -> None:
    page = page_of(studio)
    listener(page, "list-save", "click")("colour", "red\nblue")
    press(studio, ("prompt", "a __colour__ ring"))
    listener(page, "list-save", "click")("colour", "green")
    store = GridStore(studio.folder)
    kept = store.get(store.ids()[0])
    assert kept is not None and kept.grid.axes[0].values == ("a red ring", "a blue ring")


def test_a_file_that_is_no_grid_is_left_out(studio: Studio, tmp_path: Path) -> None:
    store = GridStore(studio.folder)
    store.folder.mkdir(parents=True)
    for number, words in enumerate(("", "[]", "{}", '{"created": 1, "job": {}, "axes": []}', "nonsense")):
        (store.folder / f"{number:016x}.json").write_text(words)
        assert store.get(f"{number:016x}") is None
    shown = listener(page_of(studio), "grid-kept", "input")("0" * 16)
    assert "No grid yet" in shown and "grid-page" not in shown


# ------------------------------------------------------------ the page of it


def test_the_download_is_a_page_with_its_pictures(studio: Studio) -> None:
    press(studio, ("seed", "1, 2"), ("prompt", "[<b>a</b>, fail]"))
    (id,) = GridStore(studio.folder).ids()
    with working(studio.queue, studio.folder, StagedEngine()):
        until(lambda: not studio.queue.active())
    client = TestClient(Starlette(routes=routes(studio.queue, studio.folder)))
    answer = client.get(f"/grids/{id}.zip")
    assert answer.headers["content-disposition"].startswith("attachment")
    assert answer.headers["x-content-type-options"] == "nosniff"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as found:
        assert sorted(found.namelist()) == ["grid 1-1-1.png", "grid 1-2-1.png", "grid 1.html"]
        html = found.read("grid 1.html").decode()
        assert "<b>a" not in html and html.count("failed") >= 2
        for source in set(re.findall(r'src="([^"]+)"', html)):
            assert source.replace("%20", " ") in found.namelist()
    for other in ("nobody", "0" * 16, "..", "%2e%2e%2fqueue.sqlite3", "../queue.sqlite3"):
        assert client.get(f"/grids/{other}.zip").status_code == 404


def test_a_link_among_the_outputs_is_not_packed(studio: Studio, tmp_path: Path) -> None:
    press(studio, ("seed", "1"))
    (id,) = GridStore(studio.folder).ids()
    with working(studio.queue, studio.folder, StagedEngine()):
        until(lambda: not studio.queue.active())
    secret = tmp_path / "secret.png"
    secret.write_bytes(b"secret")
    shown = studio.folder / studio.queue.batch(id)[0].files[0]
    shown.unlink()
    shown.symlink_to(secret)
    answer = TestClient(Starlette(routes=routes(studio.queue, studio.folder))).get(f"/grids/{id}.zip")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as found:
        assert found.namelist() == ["grid 1.html"]


@given(st.text(max_size=40), st.text(max_size=20))
def test_words_in_a_grid_are_never_markup(words: str, name: str) -> None:
    from pipelines.grid.grid import Axis, Grid

    try:
        grid = Grid({**text("x").model_dump(mode="json"), "name": None}, (Axis("prompt", (f"<script>{words}", "b")),))
    except ValueError:
        return
    html = table(grid, {})
    assert "<script" not in html and parse(grid.jobs[0].model_dump(mode="json")) == grid.jobs[0]


def test_ids_on_the_wire_are_those_of_the_studio(studio: Studio) -> None:
    with pytest.raises(ValueError, match="expected a file of this studio"):
        wire.inward(studio, {}, "task: masked\nsource: 'file:///etc/passwd'")
