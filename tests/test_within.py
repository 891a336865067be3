"""Files inside a folder: no name and no link leads out, and no swap in between."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.testclient import TestClient

from pipelines.queue.queue import Queue
from tests.paced import text
from ui import files
from ui.within import opened

SECRET = b"what nobody may read"
PARTS = [
    "a.png", "deep", "b.png", "out", "loop", "near", "pipe", "gone", "secret.png", "house", "..", ".", "", "...",
    "%2e%2e", "..\\", "\\", "~", "a.png ", "A.PNG", "/", "\0", "é.png", "\udce9.png", "C:", "x" * 300,
]  # fmt: skip


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with everything in it that could lead out."""
    outside = tmp_path_factory.mktemp("outside")
    folder = outside / "house"
    (folder / "deep").mkdir(parents=True)
    (outside / "secret.png").write_bytes(SECRET)
    (outside / "a.png").write_bytes(SECRET)
    for name in ("a.png", "deep/b.png", "deep/a.png", "é.png", "..."):
        (folder / name).write_bytes(f"inside {name}".encode())
    (folder / "out").symlink_to(outside)
    (folder / "deep" / "out").symlink_to(outside / "secret.png")
    (folder / "loop").symlink_to(folder / "loop")
    (folder / "near").symlink_to(folder / "a.png")
    (folder / "gone").symlink_to(folder / "nothing")
    os.mkfifo(folder / "pipe")
    yield folder


def judged(folder: Path, name: str) -> bytes | None:
    """What may be read by another way of thinking: the real path of every step of the way, looked up and compared."""
    if name.startswith("/") or "\0" in name or ".." in name.split("/"):
        return None
    here = os.path.realpath(folder)
    for part in name.split("/"):
        if part in ("", "."):
            continue
        there = os.path.join(here, part)
        if os.path.realpath(there) != there:
            return None
        here = there
    if not os.path.isfile(here):
        return None
    with open(here, "rb") as stream:
        return stream.read()


names = st.lists(st.sampled_from(PARTS), max_size=5).map("/".join) | st.text(max_size=20)


@given(name=names)
def test_what_is_opened_is_what_another_judge_allows(house: Path, name: str) -> None:
    stream = opened(house, name)
    if stream is None:
        assert judged(house, name) is None
        return
    with stream:
        assert os.path.realpath(f"/dev/fd/{stream.fileno()}").startswith(f"{os.path.realpath(house)}{os.sep}")
        assert stream.read() == judged(house, name) != SECRET


@given(name=names)
def test_what_is_served_is_what_another_judge_allows(house: Path, served: tuple[Queue, TestClient], name: str) -> None:
    queue, client = served
    if any("\ud800" <= letter <= "\udfff" for letter in name):
        return  # a row can not hold it
    id = queue.add(text())
    queue.claim()
    queue.done(id, [name])
    answer = client.get(f"/outputs/{id}/0")
    allowed = judged(house, name) if Path(name).suffix in files.TYPES else None
    assert (answer.status_code, answer.content if answer.status_code == 200 else None) == (
        (200, allowed) if allowed is not None else (404, None)
    )
    packed = client.get(f"/outputs/{id}/all.zip")
    assert packed.status_code == answer.status_code and SECRET not in packed.content


@pytest.fixture(scope="module")
def served(house: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Queue, TestClient]]:
    queue = Queue(tmp_path_factory.mktemp("queue"))
    with TestClient(Starlette(routes=files.routes(queue, house))) as client:
        yield queue, client


@pytest.mark.parametrize("swapped", ["a.png", "."])
@pytest.mark.parametrize("what", ["0", "all.zip"])
def test_a_file_that_is_swapped_for_a_link_after_it_was_judged_is_not_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, swapped: str, what: str
) -> None:
    folder, outside = tmp_path / "house", tmp_path / "outside"
    (folder / "deep").mkdir(parents=True)
    outside.mkdir()
    (outside / "a.png").write_bytes(SECRET)
    (folder / "deep" / "a.png").write_bytes(b"inside")
    queue = Queue(tmp_path / "queue")
    id = queue.add(text())
    queue.claim()
    queue.done(id, ["deep/a.png"])
    judge = files.stored

    def swap(*words: object) -> Path | None:
        found = judge(*words)  # type: ignore[arg-type]
        place = folder / "deep" / swapped
        if not place.is_symlink():
            place.rename(tmp_path / "away")
            place.symlink_to(outside / swapped)
        return found

    monkeypatch.setattr(files, "stored", swap)
    with TestClient(Starlette(routes=files.routes(queue, folder))) as client:
        answer = client.get(f"/outputs/{id}/{what}")
    assert SECRET not in answer.content
    assert answer.status_code == 404 or what == "all.zip"


def test_a_player_gets_the_part_it_asks_for_and_the_file_is_closed(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(bytes(range(256)))
    queue = Queue(tmp_path)
    id = queue.add(text())
    queue.claim()
    queue.done(id, ["a.mp4"])
    with TestClient(Starlette(routes=files.routes(queue, tmp_path))) as client:
        for _ in range(20):
            part = client.get(f"/outputs/{id}/0", headers={"range": "bytes=10-19"})
            assert (part.status_code, part.content) == (206, bytes(range(10, 20)))
            assert part.headers["content-disposition"] == 'attachment; filename="a.mp4"'
    held = [os.path.realpath(f"/dev/fd/{number}") for number in os.listdir("/dev/fd")]
    assert os.path.realpath(tmp_path / "a.mp4") not in held
