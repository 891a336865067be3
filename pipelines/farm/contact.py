"""Contact sheets of a batch: its pictures small, in rows, each with its name."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from PIL import Image, ImageDraw

from pipelines.files.atomic import write_bytes
from pipelines.files.media import MediaError
from pipelines.history.thumbs import thumbnail

ACROSS, DOWN = 10, 10  # pictures on a sheet
SIDE, GAP, LABEL = 128, 8, 14  # pixels
PAPER, INK, FRAME = (250, 247, 240), (60, 56, 52), (224, 218, 206)


def write_sheets(pictures: Sequence[tuple[str, Path]], folder: Path) -> list[Path]:
    """Write `contact-1.png`, `contact-2.png`, ... of named pictures and videos; those that can not be read stay empty.

    Sheets of an earlier and larger batch are taken away.

    Raises:
        OSError: one can not be written.
    """
    written = []
    for number, start in enumerate(range(0, len(pictures), ACROSS * DOWN), 1):
        path = folder / f"contact-{number}.png"
        buffer = io.BytesIO()
        _sheet(pictures[start : start + ACROSS * DOWN]).save(buffer, "PNG")
        write_bytes(path, buffer.getvalue())
        written.append(path)
    for old in folder.glob("contact-*.png"):
        if old not in written:
            old.unlink()
    return written


def _sheet(pictures: Sequence[tuple[str, Path]]) -> Image.Image:
    across = min(ACROSS, len(pictures))
    down = -(-len(pictures) // across)
    sheet = Image.new("RGB", (GAP + across * (SIDE + GAP), GAP + down * (SIDE + LABEL + GAP)), PAPER)
    draw = ImageDraw.Draw(sheet)
    for (name, path), (left, top) in zip(pictures, _places(across), strict=False):
        draw.rectangle((left - 1, top - 1, left + SIDE, top + SIDE), outline=FRAME)
        with suppress(MediaError, OSError), Image.open(io.BytesIO(thumbnail(path))) as small:
            small.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
            sheet.paste(small.convert("RGB"), (left + (SIDE - small.width) // 2, top + (SIDE - small.height) // 2))
        draw.text((left, top + SIDE + 1), _short(draw, name), fill=INK)
    return sheet


def _places(across: int) -> Iterator[tuple[int, int]]:
    number = 0
    while True:
        down, right = divmod(number, across)
        yield GAP + right * (SIDE + GAP), GAP + down * (SIDE + LABEL + GAP)
        number += 1


def _short(draw: ImageDraw.ImageDraw, name: str) -> str:
    """The name, or what of it fits: the end, where numbers stand, is kept."""
    shown = name
    while draw.textlength(shown) > SIDE and len(shown) > 4:
        name = name[1:]
        shown = f"...{name}"
    return shown
