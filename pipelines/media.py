"""Pictures and videos in and out, and the recipe inside them. What a file is called is decided in `output.py`.

Shape letters: F frames, H and W pixels.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.atomic import whole, write_bytes

Pixels = NDArray[np.uint8]
Recipe = Mapping[str, Any]

MAX_PIXELS = 50_000_000
MAX_RECIPE = 8 * 2**20  # bytes of JSON; the longest job has fifty prompts
MAX_RECORD = 64 * 2**20
TAG = "diorama"
PICTURES = ("PNG", "JPEG", "WEBP")


class MediaError(ValueError):
    """A picture, video or record that can not be read: one sentence."""


def write_picture(path: Path, pixels_HW: Pixels, recipe: Recipe) -> None:
    """Write [H, W, 3 or 4] pixels as a PNG with its recipe. The same pixels and recipe give the same bytes."""
    write_bytes(path, _png(pixels_HW, recipe))


def write_video(
    path: Path, frames_FHW: Pixels, fps: int | Fraction, recipe: Recipe, png_frames: bool = False
) -> list[Path]:
    """Write [F, H, W, 3] frames as H.264 with the recipe as its comment; returns the files written, the video last.

    H.264 rounds colours. `png_frames` also writes exact frames, as NAME/0000.png beside NAME.mp4.
    """
    written = []
    if png_frames:
        folder = path.parent / path.name.removesuffix(path.suffix)
        folder.mkdir(exist_ok=True)
        for number, frame in enumerate(frames_FHW):
            write_picture(folder / f"{number:04d}.png", frame, recipe)
            written.append(folder / f"{number:04d}.png")
    with whole(path) as temporary:
        _encode(temporary, frames_FHW, fps, _json(recipe))
    return [*written, path]


def write_record(path: Path, record: Recipe) -> None:
    """Write `record` as readable JSON."""
    write_bytes(path, json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False).encode() + b"\n")


def read_recipe(path: Path) -> dict[str, Any]:
    """The recipe of a PNG, MP4 or JSON record that Diorama wrote: a mapping with the job under "job".

    Raises:
        MediaError: the file can not be read or holds no recipe.
    """
    readers = {".png": _recipe_of_picture, ".mp4": _recipe_of_video, ".json": _recipe_of_record}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise MediaError(f"{path}: expected a file that ends in {', '.join(readers)}")
    if not path.is_file():
        raise MediaError(f"{path}: there is no such file")
    try:
        text = reader(path)
        recipe = json.loads(text) if text else None
    except Exception as error:  # decoders raise whatever a broken file makes them meet
        raise MediaError(f"{path}: can not be read as {path.suffix[1:].upper()}: {_first_line(error)}") from None
    if not isinstance(recipe, dict) or not isinstance(recipe.get("job"), dict):
        raise MediaError(f"{path}: expected a recipe that Diorama wrote, found none")
    return recipe


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
                return np.array(ImageOps.exif_transpose(picture).convert("RGBA"))
    except Exception as error:
        raise MediaError(f"{path}: can not be read as {', '.join(PICTURES)}: {_first_line(error)}") from None
    raise MediaError(f"{path}: expected at most {MAX_PIXELS:,} pixels, got {width} x {height}; make it smaller")


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


def _encode(path: Path, frames_FHW: Pixels, fps: int | Fraction, comment: str) -> None:
    import av
    from av.video.reformatter import ColorRange, Colorspace

    # "+faststart" puts the index first, so that a browser can play before it has the whole file.
    with av.open(str(path.absolute()), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        container.metadata["comment"] = comment
        # Threads change what x264 decides, so their number is fixed: equal frames are equal bytes.
        stream = container.add_stream("libx264", rate=fps, options={"crf": "14", "preset": "medium", "threads": "4"})
        stream.height, stream.width = frames_FHW.shape[1:3]
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.color_range, context.colorspace = ColorRange.MPEG, Colorspace.ITU709
        context.color_primaries = context.color_trc = 1  # BT.709
        for number, pixels in enumerate(frames_FHW):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            frame = frame.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG)
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _recipe_of_picture(path: Path) -> str | None:
    """The text of our chunk, found without decoding or inflating anything."""
    with path.open("rb") as stream:
        if stream.read(8) != b"\x89PNG\r\n\x1a\n":
            raise ValueError("it does not begin like a PNG")
        while (head := stream.read(8)) and head[4:] not in (b"IDAT", b"IEND"):
            length = int.from_bytes(head[:4], "big")
            if head[4:] == b"iTXt" and length <= MAX_RECIPE:
                # keyword, compressed or not, method, language, translated keyword, text
                keyword, _, rest = stream.read(length).partition(b"\0")
                if keyword == TAG.encode() and rest[:1] == b"\0":
                    return rest[2:].split(b"\0", 2)[2].decode()
                length = 0
            stream.seek(length + 4, io.SEEK_CUR)
    return None


def _recipe_of_video(path: Path) -> str | None:
    import av

    # An open file and not a name, so that nothing in a name is ever taken for a protocol.
    with path.open("rb") as stream, av.open(stream, "r", format="mp4") as container:
        return container.metadata.get("comment", "")[:MAX_RECIPE]


def _recipe_of_record(path: Path) -> str:
    with path.open("rb") as stream:
        data = stream.read(MAX_RECORD + 1)
    if len(data) > MAX_RECORD:
        raise ValueError(f"expected at most {MAX_RECORD // 2**20} MiB")
    return data.decode()


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:200]
