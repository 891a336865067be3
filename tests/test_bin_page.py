"""The bin on the page: outputs go there, come back, and are deleted only after a question."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from pipelines.history.history import Search
from pipelines.queue.queue import Queue
from tests.housed import NOTHING, House, house_of, names, said
from tests.outputs import output
from tests.paced import over, text, working
from ui.result import picture as result_of


@pytest.fixture
def house(tmp_path: Path) -> House:
    return house_of(tmp_path / "out")


def test_to_the_bin_and_back_and_out(house: House) -> None:
    output(house.folder, name="one")
    output(house.folder, name="two")
    id = house.id("one")
    assert said(house.call("discard", "click", id)["history-said"]) == "“one” is in the bin now."
    assert not (house.folder / "one.png").exists()
    assert names(house.call("history-search", "change", *NOTHING[:5])["wall"]) == ["two"]
    assert names(house.call("history-search", "change", "", "", 0, [], "bin")["wall"]) == ["one"]
    assert said(house.call("take-back", "click", id)["history-said"]) == "“one” is back among the renders."
    assert (house.folder / "one.png").exists()
    house.call("wall", "discard", id=id)
    asked = house.call("empty-bin", "click")
    assert "Delete 1 for good?" in str(asked) and names(
        house.call("history-search", "change", "", "", 0, [], "bin")["wall"]
    )
    time.sleep(0.01)
    house.call("discard", "click", house.id("two"))  # after it was asked
    assert "1 deleted" in str(house.call("delete", "click", list(asked.values())[-1]))
    assert names(house.call("history-search", "change", "", "", 0, [], "bin")["wall"]) == ["two"]
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
