"""Thumbnails: small WebP pictures of outputs, made when they are first asked for, under the hash of what they show."""

from __future__ import annotations

import io
import os
import threading
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image

from pipelines.files.atomic import write_bytes
from pipelines.files.media import MediaError, Pixels, frames_of, is_clip
from pipelines.files.provenance import content_of

SIDE = 256  # pixels; the longer side of a picture, and of each frame of a strip
FRAMES = 4  # of a video on its strip
MOST_BYTES = 64 * 2**20  # of all thumbnails together
QUALITY = 80


class Thumbs:
    """Thumbnails in `folder`, at most `most` bytes of them; those that were not used for longest go."""

    def __init__(self, folder: Path, most: int = MOST_BYTES) -> None:
        self.folder, self.most = folder, most
        self._turn = threading.Lock()  # one at a time: a picture of the largest size takes 200 MB to decode

    def of(self, path: Path) -> Path | None:
        """The thumbnail of a picture, or the strip of four frames side by side of a video; None for what can not be
        read, or is larger than what `media.py` decodes.

        Raises:
            OSError: it can not be written.
        """
        if (content := content_of(path)) is None:
            return None
        thumb = self.folder / f"{content}.webp"
        with suppress(FileNotFoundError):
            os.utime(thumb)
            return thumb
        with self._turn:
            if thumb.exists():  # another call made it meanwhile
                return thumb
            try:
                data = thumbnail(path)
            except MediaError:
                return None
            self.folder.mkdir(parents=True, exist_ok=True)
            write_bytes(thumb, data)
            self._prune(thumb)
        return thumb

    def _prune(self, newest: Path) -> None:
        found = []
        for path in self.folder.iterdir():
            with suppress(OSError):
                found.append((path != newest, -path.stat().st_mtime_ns, path.stat().st_size, path))
        room = self.most
        for not_newest, _, size, path in sorted(found):
            room -= size
            if room < 0 and not_newest:
                with suppress(OSError):
                    path.unlink()


def spread(count: int, most: int = FRAMES) -> list[int]:
    """Numbers of at most `most` of `count` frames, evenly spread from the first to the last."""
    if count <= most:
        return list(range(count))
    return [round(number * (count - 1) / (most - 1)) for number in range(most)]


def thumbnail(path: Path) -> bytes:
    """A WebP file of a picture, or of four frames of a video side by side.

    Raises:
        MediaError: it can not be read, or is larger than what `media.py` decodes.
    """
    small: list[tuple[int, Image.Image]] = []
    every, total, films = 1, 0, is_clip(path)
    for total, frame in enumerate(frames_of(path), 1):
        # How many frames come is known at the end: when there are many, every other one of those kept goes.
        if (total - 1) % every == 0:
            small.append((total - 1, _fit(frame)))
            if len(small) > 16 * FRAMES:
                every, small = every * 2, small[::2]
        last = frame
    if not films:
        return _webp(small[0][1])
    chosen = [min(small, key=lambda kept: abs(kept[0] - wanted))[1] for wanted in spread(total)[:-1]]
    chosen.append(_fit(last))
    width, height = chosen[0].size
    strip = Image.new("RGB", (width * len(chosen), height))
    for number, image in enumerate(chosen):
        strip.paste(image, (width * number, 0))
    return _webp(strip)


def _fit(frame: Pixels) -> Image.Image:
    image = Image.fromarray(np.ascontiguousarray(frame))
    scale = min(1.0, SIDE / max(image.size))
    width, height = (max(1, round(side * scale)) for side in image.size)
    return image if scale == 1.0 else image.resize((width, height), Image.Resampling.LANCZOS)


def _webp(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=QUALITY)
    return buffer.getvalue()
