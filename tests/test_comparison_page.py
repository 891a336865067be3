"""Two outputs side by side."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.housed import House, house_of, said
from tests.outputs import output


@pytest.fixture
def house(tmp_path: Path) -> House:
    return house_of(tmp_path / "out")


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
