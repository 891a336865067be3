"""The wall of the history without a browser: what hangs there, what is found, and how pages are turned."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from pipelines.history.history import History
from pipelines.queue.queue import Queue
from tests.housed import NOTHING, House, house_of, names, said
from tests.outputs import output, story
from tests.paced import over, text, working
from ui.history import PAGE, wanted_of


@pytest.fixture
def house(tmp_path: Path) -> House:
    return house_of(tmp_path / "out")


def test_what_was_rendered_here_and_elsewhere_hangs_on_the_wall(house: House) -> None:
    queue = Queue(house.folder)
    id = queue.add(text("a blue heart", name="from-the-studio", size=[64, 64]))
    with working(queue, house.folder, house.engine):
        over(queue, id)
    output(house.folder, "a red star", when=1_000_000, name="from-the-terminal")
    shown = house.call("history-search", "change", "", "", 0, [], "renders")
    assert names(shown["wall"]) == ["from-the-studio", "from-the-terminal"]
    assert said(shown["history-found"]) == "2 renders."


def test_an_old_folder_is_read_bit_by_bit_the_newest_first(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        output(house.folder, when=1_000_000 + number, name=f"old-{number}")
    whole = History.refresh
    monkeypatch.setattr(History, "refresh", lambda self, most=2: whole(self, 2))
    seen = [house.call("history-search", "change", *NOTHING[:5]) for _ in range(4)]
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
        return names(house.call("history-search", "change", *values)["wall"])

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
    first = house.call("history-search", "change", *NOTHING[:5])
    assert len(names(first["wall"])) == PAGE
    sought = first["1"]

    def wall(trail: str, *seek: Any) -> list[str]:
        return names(house.call("history-search", "change", *(seek or NOTHING[:5]), trail, sought)["wall"])

    trail = house.listener("older", "click").fn(*NOTHING)
    assert wall(trail) == ["n02", "n01", "n00"]
    assert len(wall(trail, "red", *NOTHING[1:5])) == PAGE, "another search begins at its first page"
    newer = next(each for each in house.page.fns.values() if each.fn and each.fn.__name__ == "newer")
    assert newer.fn(trail) == "" and wall("") == names(first["wall"])
    for odd in ("../x", "1-2-3", "x y z", "9" * 99):
        assert wall(newer.fn(f"{odd} 1-1")) == names(first["wall"])
