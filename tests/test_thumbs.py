"""Thumbnails: small, made once, and absent where there is nothing to show."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from pipelines.files.media import MAX_PIXELS
from pipelines.history.history import History
from pipelines.history.thumbs import Thumbs
from tests.outputs import id_of, story


def test_a_thumbnail_shows_the_picture_small_and_is_made_once(tmp_path: Path) -> None:
    gradient = np.repeat(np.arange(255, -1, -1, dtype=np.uint8)[:, None], 512, axis=1)
    Image.fromarray(np.repeat(gradient, 2, axis=0)).save(tmp_path / "a.png")
    shutil.copy(tmp_path / "a.png", tmp_path / "b.png")
    thumbs = Thumbs(tmp_path / "thumbs")
    thumb = thumbs.of(tmp_path / "a.png")
    assert thumb is not None and thumb == thumbs.of(tmp_path / "b.png")
    with Image.open(thumb) as image:
        assert (image.format, image.size) == ("WEBP", (256, 256))
        pixels = np.asarray(image.convert("L")).astype(int)
    assert pixels[5].mean() > 230 and pixels[250].mean() < 25
    made = thumb.stat().st_ino
    assert thumbs.of(tmp_path / "a.png") == thumb and thumb.stat().st_ino == made
    Image.fromarray(255 - gradient).save(tmp_path / "a.png")
    assert thumbs.of(tmp_path / "a.png") != thumb


def test_a_video_has_a_strip_of_four_of_its_frames_the_first_and_the_last_among_them(tmp_path: Path) -> None:
    story(tmp_path, name="tale")
    history = History(tmp_path)
    history.refresh()
    thumb = history.thumbnail(id_of(history, "tale"))
    assert thumb is not None
    with Image.open(thumb) as image:
        assert image.size == (4 * 32, 16)
        shades = np.asarray(image.convert("L"))[8, 16::32]
    assert np.abs(shades.astype(int) - [0, 50, 150, 200]).max() < 12  # of 0, 50, 100, 150, 200


def test_what_can_not_be_decoded_or_is_too_large_has_no_thumbnail(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"0" * 100)
    (tmp_path / "words.mp4").write_text("no video")
    side = int(MAX_PIXELS**0.5) + 1
    Image.new("1", (side, side)).save(tmp_path / "bomb.png")
    thumbs = Thumbs(tmp_path / "thumbs")
    assert [thumbs.of(tmp_path / name) for name in ("broken.png", "words.mp4", "bomb.png", "none.png")] == [None] * 4
    assert not (tmp_path / "thumbs").exists()


def test_thumbnails_take_no_more_room_than_they_may(tmp_path: Path) -> None:
    noise = np.random.default_rng(0)
    for number in range(6):
        Image.fromarray(noise.integers(0, 255, (64, 64, 3), np.uint8)).save(tmp_path / f"{number}.png")
    size = (Thumbs(tmp_path / "one").of(tmp_path / "0.png") or tmp_path).stat().st_size
    thumbs = Thumbs(tmp_path / "thumbs", most=int(3.5 * size))
    for number in range(6):
        thumb = thumbs.of(tmp_path / f"{number}.png")
        assert thumb is not None and thumb.exists()
        os.utime(thumb, (number, number))
    assert 2 <= len(list((tmp_path / "thumbs").iterdir())) <= 3
