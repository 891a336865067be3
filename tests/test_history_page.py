"""The History tab as a whole: foreign ids and words do nothing, and a newer file is left alone."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

import app
from pipelines.history.history import History
from tests.housed import EVIL, House, house_of, kept, said
from tests.outputs import output
from tests.paced import free_port
from ui.prints import prints
from ui.remarks import remarks


@pytest.fixture
def house(tmp_path: Path) -> House:
    return house_of(tmp_path / "out")


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


def test_a_history_of_a_newer_version_is_refused_at_the_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    History(tmp_path)
    with sqlite3.connect(tmp_path / "history.sqlite3") as db:
        db.execute("PRAGMA user_version = 99")
    assert app.main(["--out", str(tmp_path), "--port", str(free_port())]) == 2
    assert "expected a history of version 1 or older" in capsys.readouterr().err
