"""The Scenes tab without a browser: the rows of its table become scenes, and what is wrong names its row."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.job import MAX_PARTS, Refusal, parse
from tests.paced import text
from tests.tabbed import SCENES, House, house_at, values
from ui import table
from ui.fields import label_of
from ui.table import BLANK, edited, rows_of


@pytest.fixture
def house(tmp_path: Path) -> House:
    return house_at(tmp_path / "out")


@pytest.fixture(scope="module")
def given_house(tmp_path_factory: pytest.TempPathFactory) -> House:
    """A house for tests that leave nothing behind."""
    return house_at(tmp_path_factory.mktemp("house"))


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
