"""Pictures and videos in and out, and the recipe inside them. What a file is called is decided in `output.py`.

Shape letters: F frames, H and W pixels.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pipelines.files.atomic import whole, write_bytes
from pipelines.files.audio import Sound
from pipelines.files.recipe import ALONE, PNG_START, TAG, first_line
from pipelines.files.recipe import MediaError as MediaError  # callers take these from here, beside the media
from pipelines.files.recipe import read_recipe as read_recipe
from pipelines.files.soundtrack import Soundtrack
from pipelines.job import MAX_FRAMES

Pixels = NDArray[np.uint8]
Recipe = Mapping[str, Any]

MAX_PIXELS = 50_000_000
MAX_CLIP_PIXELS = 500_000_000  # of all frames together: 1.5 GB
MAX_READ_FRAMES = 120_000  # of a video whose frames are read one after another and never held together
MAX_CLIP_SECONDS = 30 * 60  # by its header or its frames; a thousand frames are seldom more than two minutes
PICTURES = ("PNG", "JPEG", "WEBP")


class Frames(Protocol):
    """Frames [F, H, W, C] in uint8 that are written: an array, or frames that wait on a disk."""

    @property
    def shape(self) -> tuple[int, ...]:
        """F, H, W, C."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int, /) -> Pixels: ...

    def __iter__(self) -> Iterator[Pixels]: ...


@dataclass(frozen=True)
class Clip:
    """Frames and how many of them make a second.

    Attributes:
        frames: [F, H, W, 3].
        fps: None where the files do not say, as a folder of pictures from elsewhere.
    """

    frames: Pixels
    fps: Fraction | None


def write_picture(path: Path, pixels_HW: Pixels, recipe: Recipe) -> None:
    """Write [H, W, 3 or 4] pixels as a PNG with its recipe. The same pixels and recipe give the same bytes."""
    write_bytes(path, _png(pixels_HW, recipe))


def write_video(
    path: Path,
    frames_FHW: Frames,
    fps: int | Fraction,
    recipe: Recipe,
    png_frames: bool = False,
    sound: Sound | Soundtrack | None = None,
) -> list[Path]:
    """Write [F, H, W, 3] frames as H.264 with the recipe as its comment; returns the files written, the video last.

    H.264 rounds colours. `png_frames` also writes exact frames, as NAME/0000.png beside NAME.mp4; they also hold
    the rate, so that the folder can be read as the same clip. `sound` becomes the audio track, whole, however long the
    frames last: see `Sound.frames` and `Sound.fitted`.

    Raises:
        MediaError: the sound has more channels than an audio track holds; nothing is written.
    """
    soundtrack = Soundtrack.of(sound) if isinstance(sound, Sound) else sound
    written = []
    if png_frames:
        recipe_and_rate = {**recipe, "fps": str(Fraction(fps))}
        folder = path.parent / path.name.removesuffix(path.suffix)
        folder.mkdir(exist_ok=True)
        for number, frame in enumerate(frames_FHW):
            write_picture(folder / f"{number:04d}.png", frame, recipe_and_rate)
            written.append(folder / f"{number:04d}.png")
    with whole(path) as temporary:
        _encode(temporary, frames_FHW, fps, _json(recipe), soundtrack)
    return [*written, path]


def write_record(path: Path, record: Recipe) -> None:
    """Write `record` as readable JSON."""
    write_bytes(path, json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False).encode() + b"\n")


def read_picture(path: Path) -> Pixels:
    """The [H, W, 4] pixels of a PNG, JPEG or WebP file, upright; its size is checked before it is decoded.

    Raises:
        MediaError: the file can not be read, or has more than MAX_PIXELS pixels.
    """
    from PIL import Image, ImageOps

    if not path.is_file():
        raise MediaError(f"{path}: there is no such file")
    try:
        with Image.open(path, formats=PICTURES) as picture:
            width, height = picture.size
            if width * height <= MAX_PIXELS:
                upright = ImageOps.exif_transpose(picture)
                if upright.mode.startswith("I"):  # 16 bits of grey, which Pillow would cut off at 255
                    upright = Image.fromarray((np.asarray(upright, np.float64) / 257).round().astype(np.uint8))
                return np.array(upright.convert("RGBA"))
    except Exception as error:
        raise MediaError(f"{path}: can not be read as {', '.join(PICTURES)}: {first_line(error)}") from None
    raise MediaError(f"{path}: expected at most {MAX_PIXELS:,} pixels, got {width} x {height}; make it smaller")


def read_opaque(path: Path) -> Pixels:
    """The [H, W, 3] pixels of a picture in which nothing is transparent.

    Raises:
        MediaError: as `read_picture`, and where some pixel is transparent.
    """
    pixels = read_picture(path)
    if pixels[..., 3].min(initial=255) < 255:
        raise MediaError(f"{path}: expected an opaque picture, got one with transparent pixels; flatten it first")
    return pixels[..., :3]


def read_clip(path: Path) -> Clip:
    """The clip in an MP4, MOV, WebM or MKV file, upright, or in a folder of PNG frames in the order of their names.

    Only the file itself is opened, whatever it refers to. Limits are checked before frames are decoded, and again
    while they come.

    Raises:
        MediaError: not a clip that can be read: no video in it, no frames, frames of several sizes or at uneven times,
            more than MAX_FRAMES or than MAX_CLIP_PIXELS, transparent or mirrored ones.
    """
    if path.is_dir():
        return _clip_of_folder(path)
    container = _container(path)
    if container is None:
        raise MediaError(f"{path}: expected a video (MP4, MOV, WebM, MKV) or a folder of PNG frames")
    try:
        return _clip_of_video(path, container)
    except MediaError:
        raise
    except Exception as error:  # decoders raise whatever a broken file makes them meet
        raise MediaError(f"{path}: can not be read as a video: {first_line(error)}") from None


def frames_of(path: Path) -> Iterator[Pixels]:
    """The frames of a picture or a video file, [H, W, 3 or 4] each, decoded one after another under the same limits.

    Raises:
        MediaError: it can not be read; of a video perhaps only after some frames.
    """
    container = _container(path)
    if container is None:
        yield read_picture(path)
        return
    try:
        for frame, _, _ in _frames_of(path, container, held=False):
            yield frame
    except MediaError:
        raise
    except Exception as error:  # decoders raise whatever a broken file makes them meet
        raise MediaError(f"{path}: can not be read as a video: {first_line(error)}") from None


def watch(path: Path, each: Callable[[Pixels], None]) -> Fraction | None:
    """Call `each` with every frame [H, W, 3] of a clip, in order; none is held. The same files are read as by
    `read_clip`, and of any length up to MAX_READ_FRAMES.

    Returns:
        Frames a second; None where the files do not say.

    Raises:
        MediaError: as `read_clip`, perhaps only after some frames.
    """
    if path.is_dir():
        for file in (files := _files_of(path)):
            each(read_opaque(file))
        return _rate_in(files[0])
    container = _container(path)
    if container is None:
        raise MediaError(f"{path}: expected a video (MP4, MOV, WebM, MKV) or a folder of PNG frames")
    times, clock = [], None
    try:
        for frame, time, clock in _frames_of(path, container, held=False):  # noqa: B007 - the last one is read below
            times.append(time)
            each(frame)
    except MediaError:
        raise
    except Exception as error:  # decoders raise whatever a broken file makes them meet
        raise MediaError(f"{path}: can not be read as a video: {first_line(error)}") from None
    assert clock is not None, "a video without frames was refused"
    return _rate(path, times, clock)


def size_of(path: Path) -> tuple[int, int]:
    """Width and height in pixels of a picture or clip, upright, from its first bytes or its first frame.

    Raises:
        MediaError: it can not be read.
    """
    from PIL import Image

    if path.is_dir():
        return size_of(_files_of(path)[0])
    try:
        if (container := _container(path)) is not None:
            with closing(_frames_of(path, container, held=False)) as frames:
                height, width = next(frames)[0].shape[:2]
            return width, height
        with Image.open(path, formats=PICTURES) as picture:
            lies = picture.getexif().get(0x0112, 1) >= 5
            return (picture.height, picture.width) if lies else (picture.width, picture.height)
    except MediaError:
        raise
    except Exception as error:
        raise MediaError(f"{path}: can not be read as a picture or video: {first_line(error)}") from None


def is_clip(path: Path) -> bool:
    """Whether `path` is a folder or a video, by its content; anything else may be a picture.

    Raises:
        MediaError: there is no such file.
    """
    return path.is_dir() or _container(path) is not None


def is_exact(path: Path) -> bool:
    """Whether the file holds the very pixels that were drawn: a PNG or a folder of them, and no lossy format."""
    if path.is_dir():
        return True
    with path.open("rb") as stream:
        return stream.read(8) == PNG_START


def _json(recipe: Recipe) -> str:
    """JSON with one spelling, so that equal recipes are equal bytes."""
    return json.dumps(recipe, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _png(pixels_HW: Pixels, recipe: Recipe) -> bytes:
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_itxt(TAG, _json(recipe))
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels_HW)).save(buffer, "PNG", pnginfo=info, compress_level=6)
    return buffer.getvalue()


def _encode(
    path: Path, frames_FHW: Frames, fps: int | Fraction, comment: str, soundtrack: Soundtrack | None = None
) -> None:
    import av
    from av.video.reformatter import ColorRange, Colorspace

    # "+faststart" puts the index first, so that a browser can play before it has the whole file. Durations are told in
    # the movie's own ticks: in the default milliseconds 1/30 second could not be said.
    options = {"movflags": "+faststart", "movie_timescale": str(Fraction(fps).numerator * 1000)}
    with av.open(str(path.absolute()), "w", format="mp4", options=options) as container:
        container.metadata["comment"] = comment
        # Equal frames are equal bytes: threads change what x264 decides, so their number is fixed, and its macroblock
        # tree reads memory that nobody wrote where the width is no multiple of 128, so it is off.
        quality = {"crf": "14", "preset": "medium", "threads": "4", "x264-params": "mbtree=0"}
        stream = container.add_stream("libx264", rate=fps, options=quality)
        stream.height, stream.width = frames_FHW.shape[1:3]
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.color_range, context.colorspace = ColorRange.MPEG, Colorspace.ITU709
        context.color_primaries = context.color_trc = 1  # BT.709
        with nullcontext() if soundtrack is None else soundtrack.onto(container) as track:
            for number, pixels in enumerate(frames_FHW):
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
                frame = frame.reformat(
                    format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
                )
                frame.pts = number
                container.mux(stream.encode(frame))
                if track is not None:
                    track.write(until=(number + 1) / Fraction(fps))
            container.mux(stream.encode())
            if track is not None:
                track.write()


def _container(path: Path) -> str | None:
    """The demuxer for a video file by its first bytes; None for what is no video.

    Chosen here and not by the decoder, which would also take playlists and lists of other files.
    """
    if not path.is_file():
        raise MediaError(f"{path}: there is no such file")
    try:
        with path.open("rb") as stream:
            start = stream.read(12)
    except OSError as error:
        raise MediaError(f"{path}: can not be read: {error.strerror}") from None
    if start[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
        return "mp4"
    return "matroska" if start[:4] == b"\x1a\x45\xdf\xa3" else None


@dataclass(frozen=True)
class _Clock:
    """What a stream says about its times: one tick in seconds, and rates that it names."""

    tick: Fraction
    rates: tuple[Fraction, ...]


def _frames_of(path: Path, container: str, held: bool = True) -> Generator[tuple[Pixels, Fraction, _Clock]]:
    """Upright frames of one size, each with its time in seconds and the stream's clock; closing it closes the file.

    `held` tells whether they will be in memory together.
    """
    import av

    with path.open("rb") as stream, av.open(stream, "r", format=container, options=ALONE) as opened:
        if not opened.streams.video:
            raise MediaError(f"{path}: expected a video, found no moving picture in it")
        video, size, first = opened.streams.video[0], None, None
        _check_room(path, video.width, video.height, video.frames, held)
        _check_seconds(path, Fraction(opened.duration or 0, av.time_base))
        video.codec_context.options = {"max_pixels": str(MAX_PIXELS)}  # frames may be larger than the header says
        if video.sample_aspect_ratio not in (None, 0, 1):
            raise MediaError(f"{path}: expected square pixels, got {video.sample_aspect_ratio}; scale the video first")
        rates = tuple(rate for rate in (video.average_rate, video.guessed_rate) if rate)
        clock = _Clock(video.time_base or Fraction(1, 1000), rates)
        for number, frame in enumerate(opened.decode(video)):
            _check_room(path, frame.width, frame.height, number + 1, held)
            if frame.pts is None or frame.time_base is None:
                raise MediaError(f"{path}: expected a time for each frame, frame {number} has none")
            time = frame.pts * frame.time_base
            first = time if first is None else first
            _check_seconds(path, time - first)
            size = size or (frame.width, frame.height)
            if size != (frame.width, frame.height):
                raise MediaError(f"{path}: expected frames of one size, frame {number} has another")
            yield _upright(path, frame), time, clock
        if size is None:
            raise MediaError(f"{path}: expected a video, got one without frames")


def _clip_of_video(path: Path, container: str) -> Clip:
    frames, times, clocks = zip(*_frames_of(path, container), strict=True)
    return Clip(np.stack(frames), _rate(path, times, clocks[0]))


def _rate(path: Path, times: Sequence[Fraction], clock: _Clock) -> Fraction | None:
    """Frames a second of evenly spaced presentation times; one that the stream names where it agrees with them."""
    if len(times) == 1:
        return clock.rates[0] if clock.rates else None
    step = (times[-1] - times[0]) / (len(times) - 1)
    # Containers round times to their tick, and a fiftieth of a frame is nothing that an eye sees.
    slack = max(clock.tick, step / 50)
    if step <= 0 or any(abs(time - times[0] - k * step) > slack for k, time in enumerate(times)):
        raise MediaError(f"{path}: expected one frame rate, got frames at uneven times; convert it to a constant rate")
    for rate in clock.rates:
        if abs(1 / rate - step) * (len(times) - 1) <= 2 * clock.tick:
            return rate
    return (1 / step).limit_denominator(1001)


def _upright(path: Path, frame: Any) -> Pixels:
    """[H, W, 3] pixels of a decoded frame: the inverse of `_encode`, turned as the video asks."""
    from av.video.reformatter import ColorRange, Colorspace, Interpolation

    # Where a file does not say, the custom is BT.709 for HD and BT.601 below.
    space = frame.colorspace if frame.colorspace in (1, 4, 5, 6, 7, 9) else 1 if frame.height >= 720 else 5
    pixels: Pixels = frame.to_ndarray(
        format="rgb24",
        src_colorspace=space,
        dst_colorspace=Colorspace.ITU709,
        src_color_range=ColorRange.JPEG if frame.color_range == ColorRange.JPEG else ColorRange.MPEG,
        dst_color_range=ColorRange.JPEG,
        # Full chroma and exact rounding: half the error of the default.
        interpolation=Interpolation.BILINEAR | 0x2000 | 0x4000 | 0x40000,
    )
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is not None:
        a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].astype(float)
        if frame.rotation % 90 or a * d - b * c < 0:
            raise MediaError(f"{path}: expected a video that stands upright, got a tilted or mirrored one; convert it")
        pixels = np.rot90(pixels, frame.rotation // 90)
    return pixels


def _files_of(path: Path) -> list[Path]:
    """The PNG files of a folder. Numbers count as numbers, so that 2.png stands before 10.png."""
    try:
        files = [file for file in path.iterdir() if file.suffix.lower() == ".png" and not file.name.startswith(".")]
    except OSError as error:
        raise MediaError(f"{path}: can not be read: {error.strerror}") from None
    if not files:
        raise MediaError(f"{path}: expected a folder of PNG frames, found none in it")
    return sorted(files, key=lambda file: [int(p) if p.isdecimal() else p for p in re.split(r"(\d+)", file.name)])


def _clip_of_folder(path: Path) -> Clip:
    files = _files_of(path)
    frames: list[Pixels] = []
    for file in files:
        if frames:
            _check_room(path, frames[0].shape[1], frames[0].shape[0], len(files))
        frames.append(read_opaque(file))
        if frames[-1].shape != frames[0].shape:
            (h, w), (height, width) = frames[-1].shape[:2], frames[0].shape[:2]
            raise MediaError(f"{file}: expected {width} x {height} pixels as the frames before it, got {w} x {h}")
    return Clip(np.stack(frames), _rate_in(files[0]))


def _rate_in(file: Path) -> Fraction | None:
    """The rate that a PNG frame tells, if it does."""
    try:
        fps = Fraction(str(read_recipe(file)["fps"]))
    except (MediaError, KeyError, ValueError, ZeroDivisionError):
        fps = Fraction(0)
    return fps if fps > 0 else None


def _check_room(path: Path, width: int, height: int, frames: int, held: bool = True) -> None:
    if width * height > MAX_PIXELS:
        raise MediaError(f"{path}: expected at most {MAX_PIXELS:,} pixels, got {width} x {height}; make it smaller")
    most = MAX_FRAMES if held else MAX_READ_FRAMES
    if frames > most:
        raise MediaError(f"{path}: expected at most {most:,} frames, got more; cut the video")
    if held and width * height * frames > MAX_CLIP_PIXELS:
        raise MediaError(
            f"{path}: expected at most {MAX_CLIP_PIXELS:,} pixels in all frames together, "
            f"got {width} x {height} in {frames:,} frames or more; cut the video or make it smaller"
        )


def _check_seconds(path: Path, seconds: Fraction) -> None:
    if seconds > MAX_CLIP_SECONDS:
        raise MediaError(f"{path}: expected at most {MAX_CLIP_SECONDS // 60} minutes, got more; cut the video")
