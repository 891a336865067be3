"""Files of outputs, served by the id of the history alone, also of those in the bin."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.housed import House, client, house_of
from tests.outputs import output
from ui.past import thumbnail


@pytest.fixture
def house(tmp_path: Path) -> House:
    return house_of(tmp_path / "out")


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
