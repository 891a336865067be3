"""Pictures and videos: exact, whole, and with their recipe inside."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import zlib
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipelines.files import atomic, media, recipe
from pipelines.files.media import (
    MediaError,
    is_clip,
    is_exact,
    read_clip,
    read_opaque,
    read_picture,
    read_recipe,
    size_of,
    write_picture,
    write_record,
    write_video,
)

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


def test_a_video_is_the_same_bytes_whatever_memory_held_before(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    frames = random.integers(0, 256, (24, 12, 12, 3), np.uint8).repeat(8, 1).repeat(8, 2)
    found, rubbish = set(), []
    for _ in range(12):
        write_video(tmp_path / "a.mp4", frames, 8, RECIPE)
        found.add((tmp_path / "a.mp4").read_bytes())
        rubbish = [*rubbish[-4:], random.bytes(int(random.integers(1_000, 3_000_000)))]
    assert len(found) == 1


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
    long = {"job": {"scenes": ["слово " * 3_000] * 50}}
    write_picture(tmp_path / "a.png", pixels(), long)
    write_video(tmp_path / "a.mp4", pixels(3, 2), 8, long)
    assert read_recipe(tmp_path / "a.png") == read_recipe(tmp_path / "a.mp4") == long


@pytest.mark.parametrize("moment", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file_and_no_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    write_picture(tmp_path / "a.png", pixels(), RECIPE)
    before = (tmp_path / "a.png").read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic.os, moment, full)
    for write in (write_picture, lambda path, _, inside: write_video(path, pixels(3, 2), 8, inside)):
        with pytest.raises(OSError, match="No space left"):
            write(tmp_path / "a.png", pixels(3), RECIPE)
    assert (tmp_path / "a.png").read_bytes() == before
    assert os.listdir(tmp_path) == ["a.png"]


@pytest.mark.parametrize("moment", ["fsync", "replace"])
def test_a_process_killed_while_it_writes_leaves_nothing_under_the_final_name(tmp_path: Path, moment: str) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from pipelines.files import atomic\n"
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
    assert read_picture(tmp_path / "a.jpg").shape == (30, 20, 4) and size_of(tmp_path / "a.jpg") == (20, 30)


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
    monkeypatch.setattr(recipe, "MAX_RECORD", 10)
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


# ---------------------------------------------------------------- clips


def mosaic(frames: int, height: int = 48, width: int = 64) -> np.ndarray:
    """Flat squares of 16 pixels in colours that change from frame to frame."""
    colours = np.random.default_rng(1).integers(0, 256, (frames, height // 16, width // 16, 3), np.uint8)
    return colours.repeat(16, 1).repeat(16, 2)


def video(path: Path, times: list[int], *, side: int = 16, shape: str = "mp4") -> Path:
    """A video of grey frames at these times, in milliseconds."""
    with av.open(str(path), "w", format=shape) as container:
        stream = container.add_stream("mpeg4" if shape == "mp4" else "libvpx", rate=1000)
        stream.width = stream.height = side
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        container.start_encoding()
        for time in times:
            frame = av.VideoFrame.from_ndarray(np.full((side, side, 3), time % 256, np.uint8), format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def sound(path: Path) -> Path:
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=16_000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16_000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def turned(path: Path, matrix: tuple[float, float, float, float]) -> Path:
    """The same MP4 with another display matrix in its track header."""
    data = bytearray(path.read_bytes())
    start = data.find(b"tkhd") + 44
    a, b, c, d = (round(value * 65536) for value in matrix)
    data[start : start + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("fps", [1, 8, 60, Fraction(30_000, 1001), Fraction(7, 3)])
@pytest.mark.parametrize("count", [2, 9])
def test_rate_count_and_duration_of_a_video_are_what_the_job_said(tmp_path: Path, fps: Fraction, count: int) -> None:
    write_video(tmp_path / "a.mp4", mosaic(count), fps, RECIPE)
    clip = read_clip(tmp_path / "a.mp4")
    assert (len(clip.frames), clip.fps) == (count, fps)
    with av.open(str(tmp_path / "a.mp4")) as container:
        stream = container.streams.video[0]
        assert stream.average_rate == fps and stream.frames == count
        assert stream.duration * stream.time_base == Fraction(count) / fps
        assert [frame.pts * stream.time_base for frame in container.decode(stream)] == [
            k / Fraction(fps) for k in range(count)
        ]
        assert abs(Fraction(container.duration, 1_000_000) - count / Fraction(fps)) < Fraction(1, 100_000)


def test_colours_of_a_video_come_back_but_for_the_rounding_of_its_eight_bits(tmp_path: Path) -> None:
    frames = mosaic(1, 128, 128).repeat(4, 0)
    write_video(tmp_path / "a.mp4", frames, 8, RECIPE)
    off = read_clip(tmp_path / "a.mp4").frames.astype(int) - frames
    middles = off[:, 8::16, 8::16]
    assert np.abs(middles).max() <= 4 and np.abs(middles).mean() < 1, "another colour matrix is off by 7 on average"
    assert abs(middles.mean()) < 0.25, "and nothing drifts towards dark or bright"


def test_png_frames_come_back_as_the_clip_that_was_written(tmp_path: Path) -> None:
    frames = pixels(3, 12)
    write_video(tmp_path / "a.mp4", frames, Fraction(30_000, 1001), RECIPE, png_frames=True)
    clip = read_clip(tmp_path / "a")
    assert np.array_equal(clip.frames, frames) and clip.fps == Fraction(30_000, 1001)


def test_frames_from_elsewhere_stand_in_the_order_of_their_numbers_and_have_no_rate(tmp_path: Path) -> None:
    for number in (10, 9, 1):
        Image.new("RGB", (16, 16), (number, 0, 0)).save(tmp_path / f"{number}.png")
    (tmp_path / ".hidden.png").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("not a frame")
    clip = read_clip(tmp_path)
    assert clip.frames[:, 0, 0, 0].tolist() == [1, 9, 10] and clip.fps is None


def test_other_containers_and_rates_that_a_container_rounds_are_read(tmp_path: Path) -> None:
    even = [0, 33, 67, 100, 133, 167]  # thirty a second in whole milliseconds, as Matroska has them
    for shape in ("webm", "matroska"):
        clip = read_clip(video(tmp_path / f"a.{shape}", even, shape=shape))
        assert len(clip.frames) == 6 and clip.fps is not None and abs(clip.fps - 30) < 0.1


def test_a_video_that_lies_on_its_side_is_read_upright(tmp_path: Path) -> None:
    frames = mosaic(2)
    write_video(tmp_path / "a.mp4", frames, 8, RECIPE)
    plain = read_clip(tmp_path / "a.mp4").frames
    # The matrix of a phone held upright: rows of the file are columns of the picture, from the right.
    assert size_of(tmp_path / "a.mp4") == (64, 48)
    clockwise = read_clip(turned(tmp_path / "a.mp4", (0, 1, -1, 0))).frames
    assert np.array_equal(clockwise, np.rot90(plain, -1, (1, 2))) and size_of(tmp_path / "a.mp4") == (48, 64)
    assert np.array_equal(read_clip(turned(tmp_path / "a.mp4", (-1, 0, 0, -1))).frames, plain[:, ::-1, ::-1])
    for matrix in ((-1, 0, 0, 1), (0.866, 0.5, -0.5, 0.866)):
        with pytest.raises(MediaError, match="stands upright, got a tilted or mirrored one"):
            read_clip(turned(tmp_path / "a.mp4", matrix))


@pytest.mark.parametrize(
    "times",
    [[0, 125, 250, 500], [0, 125, 375, 500, 625], [0, 100, 225, 325, 450], [0, 125, 250, 375, 500, 635]],
)
@pytest.mark.parametrize("shape", ["mp4", "webm"])
def test_a_video_of_variable_rate_is_refused(tmp_path: Path, times: list[int], shape: str) -> None:
    with pytest.raises(MediaError, match="expected one frame rate"):
        read_clip(video(tmp_path / "a.video", times, shape=shape))


def test_a_file_without_moving_pictures_is_refused(tmp_path: Path) -> None:
    Image.new("RGB", (16, 16)).save(tmp_path / "a.mp4", "PNG")
    (tmp_path / "list.mp4").write_text("#EXTM3U\nhttp://127.0.0.1:1/a.ts\n")
    (tmp_path / "concat.mp4").write_text("ffconcat version 1.0\nfile /etc/hostname\n")
    (tmp_path / "broken.mp4").write_bytes(b"\0\0\0\x20ftypisom" + b"\0" * 100)
    (tmp_path / "none").mkdir()
    sound(tmp_path / "sound.mp4")
    video(tmp_path / "empty.mp4", [])
    for name, says in {
        "a.mp4": "expected a video", "list.mp4": "expected a video", "concat.mp4": "expected a video",
        "broken.mp4": "can not be read as a video", "sound.mp4": "no moving picture", "none": "found none in it",
        "empty.mp4": "no moving picture|without frames", "absent.mp4": "there is no such file",
    }.items():  # fmt: skip
        with pytest.raises(MediaError, match=says) as caught:
            read_clip(tmp_path / name)
        if name != "a.mp4":
            with pytest.raises(MediaError):
                size_of(tmp_path / name)
        assert name in str(caught.value) and "\n" not in str(caught.value)


def test_a_clip_that_is_too_long_or_too_large_is_refused_before_it_fills_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for shape in ("mp4", "webm"):  # the first tells its length, the second is counted
        with pytest.raises(MediaError, match="expected at most 1,000 frames"):
            read_clip(video(tmp_path / f"a.{shape}", list(range(0, 10_010, 10)), shape=shape))
    write_video(tmp_path / "b.mp4", mosaic(5), 8, RECIPE, png_frames=True)
    for limit, says in (("MAX_PIXELS", "64 x 48; make it smaller"), ("MAX_CLIP_PIXELS", "in all frames together")):
        with monkeypatch.context() as patch:
            patch.setattr(media, limit, 2_000)
            for name in ("b.mp4", "b"):
                with pytest.raises(MediaError, match=says):
                    read_clip(tmp_path / name)
    monkeypatch.setattr(media, "MAX_FRAMES", 4)
    with pytest.raises(MediaError, match="expected at most 4 frames"):
        read_clip(tmp_path / "b")


def test_frames_that_do_not_fit_together_are_refused(tmp_path: Path) -> None:
    Image.new("RGB", (16, 16)).save(tmp_path / "0.png")
    Image.new("RGB", (32, 16)).save(tmp_path / "1.png")
    with pytest.raises(MediaError, match=r"1\.png: expected 16 x 16 pixels as the frames before it, got 32 x 16"):
        read_clip(tmp_path)
    Image.new("RGBA", (16, 16), (9, 9, 9, 254)).save(tmp_path / "1.png")
    with pytest.raises(MediaError, match=r"1\.png: expected an opaque picture"):
        read_clip(tmp_path)
    with pytest.raises(MediaError, match="flatten it first"):
        read_opaque(tmp_path / "1.png")


def test_a_file_is_told_by_its_content(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", mosaic(2), 8, RECIPE)
    (tmp_path / "a.mp4").rename(tmp_path / "a.png")
    Image.new("RGB", (16, 16)).save(tmp_path / "b.mp4", "PNG")
    Image.new("RGB", (16, 16)).save(tmp_path / "c.png", "JPEG")
    assert [is_clip(tmp_path / name) for name in ("a.png", "b.mp4", "c.png", "")] == [True, False, False, True]
    assert [is_exact(tmp_path / name) for name in ("a.png", "b.mp4", "c.png", "")] == [False, True, False, True]


def test_sixteen_bits_of_grey_are_read_as_eight(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 257, 128 * 257, 65_535]], np.uint16)).save(tmp_path / "a.png")
    assert read_picture(tmp_path / "a.png")[0, :, 0].tolist() == [0, 1, 128, 255]
