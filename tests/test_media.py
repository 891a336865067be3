"""Pictures and videos: exact, whole, and with their recipe inside."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipelines import atomic, media
from pipelines.media import MediaError, read_picture, read_recipe, write_picture, write_record, write_video

RECIPE: dict[str, Any] = {"diorama": "0.1.0", "job": {"prompt": 'a "red" circle; ünï = 🎨\n\\', "guidance": 3.0}}


def pixels(channels: int = 4, frames: int | None = None) -> np.ndarray:
    shape = (48, 64, channels) if frames is None else (frames, 48, 64, channels)
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def bomb(path: Path, side: int) -> None:
    """A small PNG whose header promises `side` x `side` pixels."""
    Image.new("L", (8, 8)).save(path)
    data = bytearray(path.read_bytes())
    data[16:24] = struct.pack(">II", side, side)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    path.write_bytes(data)


@pytest.mark.parametrize("channels", [3, 4])
def test_a_picture_comes_back_bit_for_bit_with_its_recipe(tmp_path: Path, channels: int) -> None:
    write_picture(tmp_path / "a.png", pixels(channels), RECIPE)
    assert np.array_equal(read_picture(tmp_path / "a.png")[..., :channels], pixels(channels))
    assert read_recipe(tmp_path / "a.png") == RECIPE


def test_the_same_pixels_and_recipe_are_the_same_bytes(tmp_path: Path) -> None:
    backwards = {"job": dict(reversed(RECIPE["job"].items())), "diorama": "0.1.0"}
    write_picture(tmp_path / "a.png", pixels(), RECIPE)
    write_picture(tmp_path / "b.png", pixels(), backwards)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    for name in ("a.mp4", "b.mp4"):
        write_video(tmp_path / name, pixels(3, 5), 8, RECIPE)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_a_video_is_h264_with_its_rate_its_recipe_and_its_colours(tmp_path: Path) -> None:
    frames = np.zeros((6, 48, 64, 3), np.uint8)
    frames[:, :, :32], frames[:, :, 32:] = (214, 48, 49), (48, 92, 204)
    assert write_video(tmp_path / "v.mp4", frames, 12, RECIPE) == [tmp_path / "v.mp4"]
    assert read_recipe(tmp_path / "v.mp4") == RECIPE
    with av.open(str(tmp_path / "v.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt, stream.average_rate) == ("h264", "yuv420p", 12)
        shown = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    assert shown.shape == frames.shape
    assert np.abs(shown.astype(int) - frames)[:, :, [8, 56]].max() <= 6


def test_png_frames_of_a_video_are_exact(tmp_path: Path) -> None:
    frames = pixels(3, 3)
    files = write_video(tmp_path / "a.b.mp4", frames, 8, RECIPE, png_frames=True)
    assert [file.relative_to(tmp_path).as_posix() for file in files] == [
        "a.b/0000.png",
        "a.b/0001.png",
        "a.b/0002.png",
        "a.b.mp4",
    ]
    assert all(np.array_equal(read_picture(file)[..., :3], frame) for file, frame in zip(files, frames, strict=False))


def test_a_record_is_readable_json_and_gives_its_recipe(tmp_path: Path) -> None:
    write_record(tmp_path / "a.json", {**RECIPE, "seconds": 1.5})
    assert json.loads((tmp_path / "a.json").read_text())["seconds"] == 1.5
    assert read_recipe(tmp_path / "a.json")["job"] == RECIPE["job"]


def test_a_long_recipe_survives(tmp_path: Path) -> None:
    recipe = {"job": {"scenes": ["слово " * 3_000] * 50}}
    write_picture(tmp_path / "a.png", pixels(), recipe)
    write_video(tmp_path / "a.mp4", pixels(3, 2), 8, recipe)
    assert read_recipe(tmp_path / "a.png") == read_recipe(tmp_path / "a.mp4") == recipe


@pytest.mark.parametrize("moment", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file_and_no_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    write_picture(tmp_path / "a.png", pixels(), RECIPE)
    before = (tmp_path / "a.png").read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic.os, moment, full)
    for write in (write_picture, lambda path, _, recipe: write_video(path, pixels(3, 2), 8, recipe)):
        with pytest.raises(OSError, match="No space left"):
            write(tmp_path / "a.png", pixels(3), RECIPE)
    assert (tmp_path / "a.png").read_bytes() == before
    assert os.listdir(tmp_path) == ["a.png"]


@pytest.mark.parametrize("moment", ["fsync", "replace"])
def test_a_process_killed_while_it_writes_leaves_nothing_under_the_final_name(tmp_path: Path, moment: str) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from pipelines import atomic\n"
        f"atomic.os.{moment} = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "atomic.write_bytes(Path(sys.argv[1]), b'x' * 100_000)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.png")], cwd=Path(__file__).parents[1])
    assert done.returncode == -9
    assert all(name.startswith(atomic.TEMPORARY) for name in os.listdir(tmp_path))


def test_a_picture_with_too_many_pixels_is_refused_before_it_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bomb(tmp_path / "bomb.png", 8_000)
    monkeypatch.setattr(Image.Image, "convert", None)
    with pytest.raises(MediaError, match=r"expected at most 50,000,000 pixels, got 8000 x 8000"):
        read_picture(tmp_path / "bomb.png")
    bomb(tmp_path / "bomb.png", 30_000)  # beyond Pillow's own limit
    with pytest.raises(MediaError, match="decompression bomb"):
        read_picture(tmp_path / "bomb.png")


def test_what_is_no_picture_is_refused_whatever_its_name(tmp_path: Path) -> None:
    (tmp_path / "page.png").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    Image.new("RGB", (4, 4)).save(tmp_path / "a.bmp")
    for name in ("page.png", "a.bmp", "absent.png"):
        with pytest.raises(MediaError, match=name):
            read_picture(tmp_path / name)


def test_a_photo_that_lies_on_its_side_is_read_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (30, 20)).save(tmp_path / "a.jpg", exif=exif)
    assert read_picture(tmp_path / "a.jpg").shape == (30, 20, 4)


def test_a_file_without_a_recipe_is_told(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "plain.png")
    (tmp_path / "list.json").write_text("[]")
    (tmp_path / "deep.json").write_text("[" * 100_000)
    (tmp_path / "broken.mp4").write_bytes(b"\0" * 100)
    for name in ("plain.png", "list.json", "deep.json", "broken.mp4", "absent.png", "a.gif"):
        with pytest.raises(MediaError, match=name) as caught:
            read_recipe(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_a_record_over_the_limit_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media, "MAX_RECORD", 10)
    write_record(tmp_path / "a.json", RECIPE)
    with pytest.raises(MediaError, match="expected at most"):
        read_recipe(tmp_path / "a.json")


@given(cut=st.integers(0, 400), flip=st.integers(0, 400))
def test_a_damaged_file_gives_a_recipe_or_one_sentence(
    tmp_path_factory: pytest.TempPathFactory, cut: int, flip: int
) -> None:
    path = tmp_path_factory.mktemp("damaged") / "a.png"
    write_picture(path, pixels()[:8, :8], RECIPE)
    data = bytearray(path.read_bytes())
    data[min(flip, len(data) - 1)] ^= 0x55
    path.write_bytes(data[: len(data) - cut])
    for read in (read_recipe, read_picture):
        try:
            read(path)
        except MediaError as error:
            assert len(str(error).splitlines()) == 1
