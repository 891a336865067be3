"""Recipes: the job inside a PNG, an MP4 or a record, found without decoding a picture. Written in `media.py`."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

MAX_RECIPE = 8 * 2**20  # bytes of JSON; the longest job has fifty prompts
MAX_RECORD = 64 * 2**20
TAG = "diorama"
PNG_START = b"\x89PNG\r\n\x1a\n"


class MediaError(ValueError):
    """A picture, video or record that can not be read: one sentence."""


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
        raise MediaError(f"{path}: can not be read as {path.suffix[1:].upper()}: {first_line(error)}") from None
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
    with path.open("rb") as stream, av.open(stream, "r", format="mp4") as container:
        return container.metadata.get("comment", "")[:MAX_RECIPE]


def _recipe_of_record(path: Path) -> str:
    with path.open("rb") as stream:
        data = stream.read(MAX_RECORD + 1)
    if len(data) > MAX_RECORD:
        raise ValueError(f"expected at most {MAX_RECORD // 2**20} MiB")
    return data.decode()
