"""What a person says of an output: stars, tags and a note."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.housed import NOTHING, House, house_of, said
from tests.outputs import output


@pytest.fixture
def house(tmp_path: Path) -> House:
    return house_of(tmp_path / "out")


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
    wall = house.call("history-search", "change", *NOTHING[:5])["wall"]
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
