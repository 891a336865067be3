"""Recipes: the job inside a PNG, an MP4, a PSD, an OpenRaster file or a record, found without decoding a picture.

Written in `media.py` and `layerfiles.py`.
"""

from __future__ import annotations

import io
import json
import zipfile
from html import unescape
from pathlib import Path
from typing import Any, BinaryIO

MAX_RECIPE = 8 * 2**20  # bytes of JSON; the longest job has fifty prompts
MAX_RECORD = 64 * 2**20
TAG = "diorama"
# What the decoder is told of a video: it is one of these, and whatever it refers to is not opened, here or elsewhere.
ALONE = {"format_whitelist": "mov,matroska", "protocol_whitelist": "none"}
PNG_START = b"\x89PNG\r\n\x1a\n"
PSD_START = b"8BPS\0\1"
XMP_ID, XMP_RECIPE = 1060, f"{TAG}:recipe"  # the resource of a PSD, and the property in it
ORA_RECIPE = f"{TAG}.json"  # the member of an OpenRaster file


class MediaError(ValueError):
    """A picture, video or record that can not be read: one sentence."""


def read_recipe(path: Path, suffix: str | None = None) -> dict[str, Any]:
    """The recipe of a file that Diorama wrote: a mapping with the job under "job".

    Args:
        path: the file.
        suffix: says what it is, such as `.png`; None is its own.

    Raises:
        MediaError: the file can not be read or holds no recipe.
    """
    readers = {
        ".png": _recipe_of_picture,
        ".mp4": _recipe_of_video,
        ".psd": _recipe_of_psd,
        ".ora": _recipe_of_openraster,
        ".json": _recipe_of_record,
    }
    suffix = suffix or path.suffix
    reader = readers.get(suffix.lower())
    if reader is None:
        raise MediaError(f"{path}: expected a file that ends in {', '.join(readers)}")
    if not path.is_file():
        raise MediaError(f"{path}: there is no such file")
    try:
        text = reader(path)
        recipe = json.loads(text) if text else None
    except Exception as error:  # decoders raise whatever a broken file makes them meet
        raise MediaError(f"{path}: can not be read as {suffix[1:].upper()}: {first_line(error)}") from None
    if not isinstance(recipe, dict) or not isinstance(recipe.get("job"), dict):
        raise MediaError(f"{path}: expected a recipe that Diorama wrote, found none")
    return recipe


def first_line(error: Exception) -> str:
    """What a decoder said, short enough for one sentence."""
    return (str(error) or type(error).__name__).splitlines()[0][:200]


def _recipe_of_picture(path: Path) -> str | None:
    """The text of our chunk, found without decoding or inflating anything."""
    with path.open("rb") as stream:
        if stream.read(8) != PNG_START:
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
    with path.open("rb") as stream, av.open(stream, "r", format="mp4", options=ALONE) as container:
        return container.metadata.get("comment", "")[:MAX_RECIPE]


def _recipe_of_psd(path: Path) -> str | None:
    """The property in the XMP resource; layers are not read."""
    with path.open("rb") as stream:
        if stream.read(26)[:6] != PSD_START:
            raise ValueError("it does not begin like a PSD")
        stream.seek(_length(stream), io.SEEK_CUR)  # the palette
        end = _length(stream) + stream.tell()
        while stream.tell() < end and stream.read(4) == b"8BIM":
            number, name = int.from_bytes(stream.read(2), "big"), stream.read(1)
            stream.seek(sum(name) // 2 * 2 + 1, io.SEEK_CUR)  # its length and itself are padded to an even number
            length = _length(stream)
            if number == XMP_ID and length <= MAX_RECIPE:
                after = stream.read(length).decode().partition(f'{XMP_RECIPE}="')[2]
                return unescape(after.partition('"')[0])
            stream.seek(length + length % 2, io.SEEK_CUR)
    return None


def _length(stream: BinaryIO) -> int:
    return int.from_bytes(stream.read(4), "big")


def _recipe_of_openraster(path: Path) -> str | None:
    with zipfile.ZipFile(path) as archive:
        if ORA_RECIPE not in archive.namelist() or archive.getinfo(ORA_RECIPE).file_size > MAX_RECIPE:
            return None
        with archive.open(ORA_RECIPE) as member:
            return member.read(MAX_RECIPE).decode()


def _recipe_of_record(path: Path) -> str:
    with path.open("rb") as stream:
        data = stream.read(MAX_RECORD + 1)
    if len(data) > MAX_RECORD:
        raise ValueError(f"expected at most {MAX_RECORD // 2**20} MiB")
    return data.decode()
