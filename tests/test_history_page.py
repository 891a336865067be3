"""The History tab without a browser: what is found, said, compared, thrown away, restored and rendered again."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import numpy as np
import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

import app
from pipelines.estimate import Rendered
from pipelines.files.output import OutputFolder
from pipelines.history.history import History, Search
from pipelines.history.reproductions import MOST, Again, Reproductions, Verdict
from pipelines.job import parse
from pipelines.queue.queue import Queue
from pipelines.queue.worker import answer
from tests.outputs import output, story
from tests.paced import free_port, over, text, until, working
from tests.staged import StagedEngine, picture
from tests.test_reproduce import Painter, rendered
from ui.chosen import verdict
from ui.files import routes
from ui.history import PAGE, wanted_of
from ui.page import build
from ui.past import thumbnail
from ui.prints import prints
from ui.remarks import remarks
from ui.result import picture as result_of
from ui.studio import Studio
from ui.uploads import Uploads

EVIL = '"><img src=x onerror=alert(1)><script>alert(2)</script>'
NOTHING = ("", "", 0, [], "renders", "")  # what stands in the search at the beginning, and the first page


@dataclass
class House:
    """A page that is not served: its listeners are called as they are."""

    folder: Path
    page: gr.Blocks
    engine: StagedEngine

    @property
    def history(self) -> History:
        history = History(self.folder)
        history.refresh()
        return history

    def id(self, stem: str, binned: bool = False) -> str:
        found = self.history.search(Search(binned=binned), limit=1000).entries
        return next(entry.id for entry in found if entry.stem == stem)

    def listener(self, of: str, event: str) -> Any:
        """The listener of a component's event; components are known by their `elem_id`."""
        for each in self.page.fns.values():
            for id, name in each.targets:
                block = self.page.blocks.get(id)
                if block is not None and name == event and getattr(block, "elem_id", None) == of:
                    return each
        raise AssertionError(f"{of} does not listen to {event}")

    def call(self, of: str, event: str, *values: Any, **told: Any) -> dict[str, Any]:
        """What a listener answers, by the `elem_id` of its outputs, or their place."""
        each = self.listener(of, event)
        found = each.fn(*([SimpleNamespace(**told)] if told else values))
        found = found if isinstance(found, tuple | list) else [found]
        named = {}
        for place, (block, value) in enumerate(zip(each.outputs, found, strict=True)):
            named[getattr(block, "elem_id", None) or str(place)] = value
        return named


@pytest.fixture
def house(tmp_path: Path) -> House:
    folder = tmp_path / "out"
    folder.mkdir()
    engine = StagedEngine()
    return House(folder, build(Queue(folder), folder, engine.check), engine)


def kept(house: House, path: Path) -> str:
    """The id of a file of ours that was dropped."""
    return Uploads(house.folder).keep_recipe(path).id


def client(folder: Path) -> TestClient:
    return TestClient(Starlette(routes=[*routes(Queue(folder), folder), *Uploads(folder).routes()]))


def names(html: str) -> list[str]:
    return re.findall(r'data-name="([^"]*)"', html)


def said(value: Any) -> str:
    """A part of the page as words."""
    return unescape(re.sub(r"<[^>]*>", "", str(value))).strip()


# ------------------------------------------------------------ finding


def test_what_was_rendered_here_and_elsewhere_hangs_on_the_wall(house: House) -> None:
    queue = Queue(house.folder)
    id = queue.add(text("a blue heart", name="from-the-studio", size=[64, 64]))
    with working(queue, house.folder, house.engine):
        over(queue, id)
    output(house.folder, "a red star", when=1_000_000, name="from-the-terminal")
    shown = house.call("history-search", "input", "", "", 0, [], "renders")
    assert names(shown["wall"]) == ["from-the-studio", "from-the-terminal"]
    assert said(shown["history-found"]) == "2 renders."


def test_an_old_folder_is_read_bit_by_bit_the_newest_first(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        output(house.folder, when=1_000_000 + number, name=f"old-{number}")
    whole = History.refresh
    monkeypatch.setattr(History, "refresh", lambda self, most=2: whole(self, 2))
    seen = [house.call("history-search", "input", *NOTHING[:5]) for _ in range(4)]
    assert [names(each["wall"]) for each in seen] == [
        [f"old-{number}" for number in range(4, 2 - 2 * at, -1) if number >= 0] for at in range(3)
    ] + [[f"old-{number}" for number in range(4, -1, -1)]]
    assert "still being read" in seen[0]["history-found"] and "still being read" not in seen[3]["history-found"]


def test_a_folder_is_looked_through_again_only_when_it_changed(tmp_path: Path) -> None:
    output(tmp_path, name="one")
    history = History(tmp_path)
    reads: list[int] = []
    refresh = history.refresh
    history.refresh = lambda most=500: (reads.append(most), refresh(most))[1]  # type: ignore[method-assign]
    history.keep_up()
    # The database was opened in the folder just now, so nothing is taken for granted yet.
    os.utime(tmp_path, (1_000_000, 1_000_000))
    history.keep_up()
    count = len(reads)
    history.keep_up()
    history.keep_up()
    assert len(reads) == count
    output(tmp_path, name="two")
    history.keep_up()
    assert len(reads) == count + 1 and history.count() == 2


def test_filters_hold_and_what_is_no_filter_counts_as_nothing(house: House) -> None:
    output(house.folder, "a red circle", name="circle")
    story(house.folder, name="story")
    house.history.annotate(house.id("circle"), rating=4, tags=["best"])

    def found(*values: Any) -> list[str]:
        return names(house.call("history-search", "input", *values)["wall"])

    assert found("", "scenes", 0, [], "renders") == ["story"]
    assert found("RED cir", "", 0, [], "renders") == ["circle"]
    assert found("", "", 4, ["best"], "renders") == ["circle"]
    assert found("", "", 5, [], "renders") == []
    assert found("", "", 0, [], "bin") == []
    assert set(found(None, 7, "x", "best", None)) == {"circle", "story"}
    assert wanted_of({}, [], True, [3, "a"], "..").tags == ("a",)


def test_pages_are_turned_and_a_foreign_page_is_the_first(house: House) -> None:
    for number in range(PAGE + 3):
        output(house.folder, when=1_000_000 + number, name=f"n{number:02d}")
    while house.history.refresh().more:
        pass
    first = house.call("history-search", "input", *NOTHING[:5])
    assert len(names(first["wall"])) == PAGE
    older = house.listener("older", "click")
    trail, wall, *_ = older.fn(*NOTHING)
    assert names(wall) == ["n02", "n01", "n00"]
    newer = next(each for each in house.page.fns.values() if each.fn and each.fn.__name__ == "newer")
    assert newer.fn(*NOTHING[:5], trail)[0] == "" and names(newer.fn(*NOTHING[:5], trail)[1]) == names(first["wall"])
    for odd in ("../x", "1-2-3", "x y z", "9" * 99):
        assert names(newer.fn(*NOTHING[:5], f"{odd} 1-1")[1]) == names(first["wall"])


# ------------------------------------------------------------ files


def test_thumbnails_and_files_are_served_by_id_alone(house: House) -> None:
    output(house.folder, name="one")
    id = house.id("one")
    entry = house.history.get(id)
    web = client(house.folder)
    thumb = web.get(thumbnail(entry))
    assert thumb.headers["content-type"] == "image/webp" and thumb.headers["x-content-type-options"] == "nosniff"
    assert web.get(f"outputs/{id}/0").content == (house.folder / "one.png").read_bytes()
    assert web.get(f"outputs/{id}/1").json()["job"]["name"] == "one"
    assert web.get(f"outputs/{id}/all.zip").content[:2] == b"PK"
    for other in ("nobody", "..", "%2e%2e", "one", "one.png", f"{id}0", "0" * 16):
        assert web.get(f"thumbs/{other}").status_code == 404, other
        assert web.get(f"outputs/{other}/0").status_code == 404, other
    assert web.get(f"outputs/{id}/2").status_code == 404


def test_what_is_in_the_bin_is_still_shown(house: House) -> None:
    output(house.folder, name="one")
    before, id = (house.folder / "one.png").read_bytes(), house.id("one")
    house.history.discard(id)
    web = client(house.folder)
    assert web.get(f"outputs/{id}/0").content == before and web.get(f"thumbs/{id}").status_code == 200
    shown = house.call("wall", "pick", id=id)
    assert f'src="outputs/{id}/0"' in str(shown)
    acts = {name: shown[name].visible for name in ("use", "change", "reproduce", "discard", "take-back")}
    assert acts == {"use": True, "change": False, "reproduce": False, "discard": False, "take-back": True}


def test_a_thumbnail_that_can_not_be_made_is_absent_and_no_error(house: House) -> None:
    output(house.folder, name="one")
    (house.folder / "one.png").write_bytes(b"no picture")
    assert client(house.folder).get(f"thumbs/{house.id('one')}").status_code == 404


# ------------------------------------------------------------ what a person says


def test_stars_tags_and_a_note_are_kept_where_they_are_given(house: House) -> None:
    output(house.folder, name="one")
    id = house.id("one")
    for what, value in (("rating", "5"), ("tags", " best, for the wall ,,best"), ("note", "look\nat it")):
        assert said(house.call("remarks", "say", id=id, what=what, value=value)["history-said"]) == "Kept."
    entry = house.history.get(id)
    assert entry is not None
    assert (entry.rating, entry.tags, entry.note) == (5, ("best", "for the wall"), "look\nat it")
    shown = house.call("wall", "pick", id=id)
    assert re.search(r'value="5"[^>]*checked', shown["remarks"]) and "best, for the wall" in shown["remarks"]
    wall = house.call("history-search", "input", *NOTHING[:5])["wall"]
    assert "5 of 5 stars" in wall and "for the wall" in wall


@pytest.mark.parametrize(
    ("what", "value", "reason"),
    [
        ("rating", "6", "expected a whole number from 0 to 5"),
        ("rating", "many", "expected a whole number from 0 to 5"),
        ("tags", "x" * 41, "expected tags of at most 40 letters"),
        ("tags", ",".join(map(str, range(99))), "expected at most 50 tags"),
        ("note", "x" * 4_001, "expected a text of at most 4,000 characters"),
    ],
)
def test_what_can_not_be_kept_is_said_in_a_sentence(house: House, what: str, value: str, reason: str) -> None:
    output(house.folder, name="one")
    told = house.call("remarks", "say", id=house.id("one"), what=what, value=value)["history-said"]
    assert reason in said(told)
    entry = house.history.get(house.id("one"))
    assert entry is not None and (entry.rating, entry.tags, entry.note) == (0, (), "")


def test_foreign_ids_change_nothing(house: House) -> None:
    output(house.folder, name="one")
    for id in ("", "nobody", "../one", "0" * 16, EVIL):
        assert house.call("wall", "pick", id=id)["0"] == ""
        assert "there is no output" in said(
            house.call("remarks", "say", id=id, what="rating", value="5")["history-said"]
        )
        assert house.call("discard", "click", id)["0"] == "" and house.call("take-back", "click", id)["0"] == ""
        assert house.call("reproduce", "click", id)["verdict"] == ""
        assert house.call("wall", "pair", left=id, right=id)["compare"] == ""
        for button in ("use", "use-seedless", "change", "go-on"):
            assert "is not there any more" in said(house.call(button, "click", id)["restored"])
        assert "did not arrive" in said(house.call("drop-job", "restore", id=id, name="x")["restored"])
    assert house.history.count() == 1 and not (house.folder / ".diorama" / "reproductions").exists()


def test_words_of_others_are_never_markup(house: House) -> None:
    output(house.folder, EVIL, name="one")
    id = house.id("one")
    record = json.loads((house.folder / "one.json").read_text())
    record["device"], record["job"]["negative_prompt"], record["job"]["model"] = EVIL, EVIL, EVIL
    (house.folder / "one.json").write_text(json.dumps(record))
    output(house.folder, "b", name="two", seed=3)
    history = house.history
    id, other = house.id("one"), house.id("two")
    history.annotate(id, tags=['"><img src=x onerror=alert(1)>'], note=EVIL)
    entries = [history.get(each) for each in (id, other)]
    shown = house.call("wall", "pick", id=id)
    studies = [house.call("wall", "pair", left=id, right=other)["compare"], *map(str, shown.values()), prints(entries)]
    studies += [house.call("use", "click", id)["restored"], remarks(entries[0], [EVIL])]
    studies += [house.call("drop-job", "restore", id=kept(house, house.folder / "one.json"), name=EVIL)["restored"]]
    for html in studies:
        assert "<img src=x" not in html and "<script" not in html


# ------------------------------------------------------------ two side by side


def test_two_are_compared_by_fields_and_then_by_pixels(house: House) -> None:
    output(house.folder, "a red circle", name="one", seed=1)
    output(house.folder, "a blue circle", name="two", seed=4)
    left, right = house.id("one"), house.id("two")
    first = house.call("wall", "pair", left=left, right="")
    assert "Take up another one" in first["compare"]
    both = house.call("wall", "pair", left=left, right=right)
    html, ids = both.values()
    rows = [said(cell) for cell in re.findall(r"<t[hd](?: [^>]*)?>(.*?)</t[hd]>", html)]
    assert rows[:3] == ["What", "one", "two"]
    assert sorted(rows[at : at + 3] for at in range(3, len(rows), 3)) == [
        ["Prompt", "a red circle", "a blue circle"], ["Seed", "1", "4"], ["name", "one", "two"],
    ]  # fmt: skip
    assert f'src="outputs/{left}/0"' in html and 'data-act="slider" aria-pressed="false">' in html
    measure = next(each for each in house.page.fns.values() if each.fn and each.fn.__name__ == "measure")
    assert "differ by at most 3 of 255" in measure.fn(ids)
    assert measure.fn("") == measure.fn("a b") == ""


def test_the_slider_wants_equal_sizes(house: House) -> None:
    output(house.folder, name="one")
    output(house.folder, name="two", size=[16, 16])
    html = house.call("wall", "pair", left=house.id("one"), right=house.id("two"))["compare"]
    assert "The slider needs two pictures" in html


# ------------------------------------------------------------ the bin


def test_to_the_bin_and_back_and_out(house: House) -> None:
    output(house.folder, name="one")
    output(house.folder, name="two")
    id = house.id("one")
    assert said(house.call("discard", "click", id)["history-said"]) == "“one” is in the bin now."
    assert not (house.folder / "one.png").exists()
    assert names(house.call("history-search", "input", *NOTHING[:5])["wall"]) == ["two"]
    assert names(house.call("history-search", "input", "", "", 0, [], "bin")["wall"]) == ["one"]
    assert said(house.call("take-back", "click", id)["history-said"]) == "“one” is back among the renders."
    assert (house.folder / "one.png").exists()
    house.call("wall", "discard", id=id)
    asked = house.call("empty-bin", "click")
    assert "Delete 1 for good?" in str(asked) and names(
        house.call("history-search", "input", "", "", 0, [], "bin")["wall"]
    )
    time.sleep(0.01)
    house.call("discard", "click", house.id("two"))  # after it was asked
    assert "1 deleted" in str(house.call("delete", "click", list(asked.values())[-1]))
    assert names(house.call("history-search", "input", "", "", 0, [], "bin")["wall"]) == ["two"]
    assert house.history.get(id) is None


def test_the_bin_is_not_emptied_unasked(house: House) -> None:
    output(house.folder, name="one")
    house.call("discard", "click", house.id("one"))
    for before in (None, 0, "now", -1):
        house.call("delete", "click", before)
    assert house.history.count(Search(binned=True)) == 1


def test_the_easel_says_that_a_picture_is_gone(house: House) -> None:
    queue = Queue(house.folder)
    id = queue.add(text("a heart", name="one", size=[64, 64]))
    with working(queue, house.folder, house.engine):
        row = over(queue, id)
    assert "<img" in result_of(row, house.folder)
    house.history.discard(house.id("one"))
    assert "Perhaps it is in the bin" in result_of(row, house.folder)


# ------------------------------------------------------------ back to the fields


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


# ------------------------------------------------------------ rendered again


def told_of(house: House, id: str) -> str:
    """What the page says of an output that was to be rendered again."""
    return str(house.call("wall", "pick", id=id)["verdict"])


def test_reproducing_is_asked_by_the_page_and_answered_by_the_worker(house: House) -> None:
    rendered(house.folder, Painter())
    id = house.id("one")
    assert "as soon as the renderer is free" in house.call("reproduce", "click", id)["verdict"]
    wishes = Reproductions(house.folder)
    assert answer(wishes, house.folder, Painter(), threading.Event())
    later = build(Queue(house.folder), house.folder, house.engine.check)  # another page
    told = House(house.folder, later, house.engine).call("wall", "pick", id=id)["verdict"]
    assert "Equal to the byte." in told and "good" in told
    house.call("reproduce", "click", id)
    assert answer(wishes, house.folder, Painter(shade=7), threading.Event())
    told = told_of(house, id)
    assert "its pixels differ by at most 7 of 255" in said(told) and "Why:" in said(told)
    assert not answer(wishes, house.folder, Painter(), threading.Event())


def test_a_worker_at_work_answers_between_its_rows_and_while_all_is_paused(house: House) -> None:
    queue = Queue(house.folder)
    rendered(house.folder, Painter())
    queue.pause_all()
    queue.add(text())
    wishes, id = Reproductions(house.folder), house.id("one")
    with working(queue, house.folder, Painter()):  # type: ignore[arg-type]
        house.call("reproduce", "click", id)
        until(lambda: (found := wishes.get(id)) and found.state == "over")
    assert wishes.get(id).verdict.equal and queue.counts()["queued"] == 1  # type: ignore[union-attr]


class Slow(Painter):
    """Calls back between its steps."""

    def __init__(self, between: Callable[[int], None]) -> None:
        super().__init__()
        self.between = between

    def render(self, jobs: Any, progress: Any, at_once: int | None = None) -> Any:
        for step in range(3):
            self.between(step)
            if not progress(step + 1, 3):
                raise RuntimeError("cancelled")
        return super().render(jobs, lambda step, steps: True)


def test_a_wish_is_taken_back_in_the_middle_and_nothing_is_left_of_it(house: House) -> None:
    rendered(house.folder, Painter())
    id, wishes, seen = house.id("one"), Reproductions(house.folder), []

    def between(step: int) -> None:
        seen.append(wishes.get(id).state)  # type: ignore[union-attr]
        if step == 1:
            assert "Rendering it again" in told_of(house, id)
            leave = next(each for each in house.page.fns.values() if each.fn and each.fn.__name__ == "leave")
            assert leave.fn(id) == ""

    house.call("reproduce", "click", id)
    assert answer(wishes, house.folder, Slow(between), threading.Event())
    assert seen == ["running", "running"] and wishes.get(id) is None and not [*wishes.folder.iterdir()]


def test_a_worker_that_ends_in_the_middle_says_so_and_does_not_begin_again(house: House) -> None:
    rendered(house.folder, Painter())
    id, wishes, stop = house.id("one"), Reproductions(house.folder), threading.Event()
    house.call("reproduce", "click", id)
    assert answer(wishes, house.folder, Slow(lambda step: stop.set()), stop)
    assert "ask for it again" in told_of(house, id)
    # A kill leaves it as if at work; the next worker says so.
    house.call("reproduce", "click", id)
    assert wishes.next() == (id, "one.json")
    Reproductions(house.folder).recover()
    assert "ask for it again" in told_of(house, id) and wishes.next() is None


def test_what_can_not_be_rendered_again_is_a_sentence_without_paths(house: House) -> None:
    rendered(house.folder, Painter(), model="finer")
    id, wishes = house.id("one"), Reproductions(house.folder)

    house.call("reproduce", "click", id)
    assert answer(wishes, house.folder, Painter(), threading.Event())
    assert "It can not be rendered again: model: no checkpoint 'finer'" in said(told_of(house, id))
    (house.folder / "one.json").unlink()
    wishes.ask(id, "one.json")
    assert answer(wishes, house.folder, Painter(), threading.Event())
    page = Studio(Queue(house.folder), house.folder, house.engine.check, str, Uploads(house.folder), None)  # type: ignore[arg-type]
    told = said(verdict(page, id))
    assert "one.json: can not be read" in told and str(house.folder) not in told
    wishes.ask("0" * 16, "absent.json")
    assert answer(wishes, house.folder, Painter(), threading.Event())
    absent = wishes.get("0" * 16)
    assert absent is not None and absent.verdict is not None and "can not be read" in absent.verdict.sentence


def test_not_enough_memory_is_said_and_the_worker_goes_on(house: House) -> None:
    rendered(house.folder, Painter())
    id, wishes = house.id("one"), Reproductions(house.folder)

    class Small(Painter):
        def render(self, *_: Any, **__: Any) -> Any:
            raise MemoryError

    house.call("reproduce", "click", id)
    assert answer(wishes, house.folder, Small(), threading.Event())
    assert "not enough memory" in told_of(house, id)


def test_verdicts_are_kept_as_they_were_and_not_for_ever(tmp_path: Path) -> None:
    wishes = Reproductions(tmp_path)
    verdict = Verdict(True, (Again("one.png", False, "its bytes differ"),), ("torch was 1 and is 2",), ("x is gone",))
    wishes.ask("a" * 16, "one.json")
    wishes.over("a" * 16, verdict)
    found = wishes.get("a" * 16)
    assert found is not None and found.verdict == verdict and found.state == "over"
    for number in range(MOST + 1):
        (wishes.folder / f"{number:016x}.told").write_text("{}")
        os.utime(wishes.folder / f"{number:016x}.told", (number + 1, number + 1))
    wishes.over("a" * 16, verdict)
    assert len([*wishes.folder.iterdir()]) == MOST and wishes.get("a" * 16) is not None


def test_wishes_of_others_lead_nowhere(tmp_path: Path) -> None:
    wishes = Reproductions(tmp_path)
    for id in ("", "..", "../x", "A" * 16, "a" * 17):
        wishes.ask(id, "x.json")
        wishes.leave(id)
        assert wishes.get(id) is None
    assert not wishes.folder.exists()
    wishes.ask("a" * 16, "x.json")
    for record in ("../x.json", 3, None):
        (wishes.folder / f"{'a' * 16}.asked").write_text(json.dumps({"record": record}))
        assert wishes.next() is None and not [*wishes.folder.iterdir()]


def test_a_history_of_a_newer_version_is_refused_at_the_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    History(tmp_path)
    with sqlite3.connect(tmp_path / "history.sqlite3") as db:
        db.execute("PRAGMA user_version = 99")
    assert app.main(["--out", str(tmp_path), "--port", str(free_port())]) == 2
    assert "expected a history of version 1 or older" in capsys.readouterr().err
