"""What people give the studio: what is taken in, as what, and what is not."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.testclient import TestClient

from pipelines.files.media import read_clip, read_picture
from pipelines.job import SIDE_STEP, Refusal, parse
from pipelines.queue.queue import Queue
from tests.staged import picture, video
from ui import uploads as module
from ui.guard import Guard
from ui.uploads import KEPT, Uploads, fitting


@dataclass
class Place:
    uploads: Uploads
    client: TestClient
    folder: Path


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    uploads = Uploads(tmp_path)
    app = Starlette(routes=uploads.routes(), middleware=[Middleware(Guard)])
    with TestClient(app, "http://127.0.0.1:7860") as client:
        yield Place(uploads, client, tmp_path)


def jpeg(width: int, height: int, **more: object) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (200, 40, 40)).save(buffer, "JPEG", **more)
    return buffer.getvalue()


def test_a_picture_gets_an_id_and_comes_back_as_it_was(place: Place) -> None:
    told = place.client.post("/uploads", content=picture(128, 96)).json()
    assert (told["kind"], told["width"], told["height"], told["frames"]) == ("picture", 128, 96, 1)
    path = place.uploads.path(told["id"])
    (place.folder / "given.png").write_bytes(picture(128, 96))
    assert np.array_equal(read_picture(Path(path)), read_picture(place.folder / "given.png"))
    shown = place.client.get(f"/uploads/{told['id']}/picture")
    assert shown.headers["content-type"] == "image/png" and shown.headers["x-content-type-options"] == "nosniff"
    assert shown.headers["content-disposition"].startswith("attachment")
    assert place.client.post("/uploads", content=picture(128, 96)).json()["id"] == told["id"]
    assert [path.name for path in (place.folder / "uploads").iterdir()] == [told["id"]]  # and nothing is left over


def test_a_video_keeps_its_bytes_and_shows_its_frames(place: Place) -> None:
    data = video(64, 64, frames=13, fps=5)
    told = place.client.post("/uploads", content=data).json()
    assert (told["kind"], told["frames"], told["fps"]) == ("video", 13, "5")
    assert Path(place.uploads.path(told["id"])).read_bytes() == data
    sheet = Image.open(io.BytesIO(place.client.get(f"/uploads/{told['id']}/strip").content))
    assert sheet.size == (12 * told["thumb"][0], 2 * told["thumb"][1])
    assert Image.open(io.BytesIO(place.client.get(f"/uploads/{told['id']}/picture").content)).size == (64, 64)


def test_what_the_model_can_not_take_becomes_the_nearest_that_it_can(place: Place) -> None:
    photo = place.client.post("/uploads", content=jpeg(1200, 900)).json()
    assert (photo["width"], photo["height"], photo["given"]) == (192, 144, [1200, 900])
    film = place.client.post("/uploads", content=video(300, 200, frames=3, fps=6)).json()
    clip = read_clip(Path(place.uploads.path(film["id"])))
    assert clip.frames.shape == (3, 128, 192, 3) and clip.fps == 6


@given(st.tuples(st.integers(1, 9000), st.integers(1, 9000)))
def test_a_fitted_size_can_be_drawn_and_one_that_can_is_left_alone(size: tuple[int, int]) -> None:
    fitted = fitting(size, (64, 192))
    assert all(64 <= side <= 192 and side % SIDE_STEP == 0 for side in fitted)
    assert fitting(fitted, (64, 192)) == fitted


def test_what_is_transparent_becomes_paper_and_a_picture_stands_upright(place: Place) -> None:
    buffer = io.BytesIO()
    Image.new("RGBA", (64, 64), (0, 0, 0, 0)).save(buffer, "PNG")
    clear = place.client.post("/uploads", content=buffer.getvalue()).json()
    assert read_picture(Path(place.uploads.path(clear["id"])))[0, 0].tolist() == [255, 255, 255, 255]
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "a camera"
    turned = place.client.post("/uploads", content=jpeg(128, 64, exif=exif)).json()
    assert (turned["width"], turned["height"]) == (64, 128)
    assert b"a camera" not in Path(place.uploads.path(turned["id"])).read_bytes()


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"\x89PNG\r\n\x1a\nx"])
def test_what_is_no_picture_or_video_is_refused_and_leaves_nothing(place: Place, data: bytes) -> None:
    answer = place.client.post("/uploads", content=data)
    assert answer.status_code == 400 and "can not be read" in answer.json()["reason"]
    assert str(place.folder) not in answer.text
    assert list((place.folder / "uploads").iterdir()) == []


def test_a_bomb_is_refused_before_it_is_decoded(place: Place) -> None:
    buffer = io.BytesIO()
    Image.new("1", (9_000, 6_000)).save(buffer, "PNG")
    answer = place.client.post("/uploads", content=buffer.getvalue())
    assert answer.status_code == 400 and "expected at most 50,000,000 pixels" in answer.json()["reason"]


def test_too_much_is_refused_whatever_it_says_of_itself(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_UPLOAD", 1000)
    told = place.client.post("/uploads", content=picture(128, 128) + b"0" * 2000)
    chunked = place.client.post("/uploads", content=(b"0" * 600 for _ in range(9)))
    assert told.status_code == chunked.status_code == 413
    assert list((place.folder / "uploads").iterdir()) == []


def test_only_ids_lead_to_files(place: Place) -> None:
    id = place.client.post("/uploads", content=picture()).json()["id"]
    (place.folder / "uploads" / ("f" * 24)).symlink_to("/etc")
    for other in ("..", "%2e%2e", f"{id}%2f..", "f" * 24, id.upper(), f"{id}x"):
        assert place.client.get(f"/uploads/{other}/picture").status_code == 404, other
    for what in ("source.png", "upload.json", "strip", "%2fetc%2fpasswd"):
        assert place.client.get(f"/uploads/{id}/{what}").status_code == 404, what
    for name in ("../x", "", "f" * 24):
        with pytest.raises(Refusal, match="expected a file that was uploaded here"):
            place.uploads.path(name)
    assert place.uploads.of(f"elsewhere/uploads/{id}/source.png") == place.uploads.get(id)
    assert place.uploads.of(f"/etc/{id}/source.png") is None


def test_other_pages_can_not_give_files(place: Place) -> None:
    headers = {"origin": "http://evil.example"}
    assert place.client.post("/uploads", content=picture(), headers=headers).status_code == 403


def test_files_that_no_job_names_go_after_a_while(place: Place) -> None:
    ids = [place.client.post("/uploads", content=picture(seed=seed)).json()["id"] for seed in (0, 1, 2)]
    queue = Queue(place.folder)
    source = place.uploads.path(ids[0])
    queue.add(parse({"task": "masked", "source": source, "keep_frames": "0", "frames": 4}))
    for id in ids[:2]:
        os.utime(place.folder / "uploads" / id, (0, os.stat(source).st_mtime - 2 * KEPT))
    place.uploads.sweep(queue)
    assert [place.uploads.get(id) is not None for id in ids] == [True, False, True]
