"""The picture of a layout with its boxes drawn over it. What was rendered itself stays as it is."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont, ImageFont

    from pipelines.files.media import Pixels

Box = tuple[float, float, float, float]

LEGIBLE = 512  # pixels of the longer side that words can be read at
LETTERS = 13
MOST = 60  # characters of a prompt that are tried


def framed(picture: Pixels, boxes: Sequence[tuple[Box, str]]) -> Pixels:
    """A picture [H, W, 3] in uint8 with a thin frame, a number and the first words for each (box, prompt).

    A small picture is enlarged by a whole factor, so that its pixels are still those that were rendered.
    """
    from PIL import Image, ImageDraw, ImageFont

    factor = max(1, -(-LEGIBLE // max(picture.shape[:2])))
    canvas = Image.fromarray(picture.repeat(factor, 0).repeat(factor, 1))
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(LETTERS)
    width, height = canvas.size
    for number, ((x0, y0, x1, y1), prompt) in enumerate(boxes, 1):
        # Half-open in 0..1, inclusive in pixels.
        edges = (round(x0 * width), round(y0 * height), round(x1 * width) - 1, round(y1 * height) - 1)
        _frame(pen, edges, colour_of(number), f"{number} {' '.join(prompt[:1000].split())[:MOST]}", font)
    return np.asarray(canvas)


def colour_of(number: int) -> tuple[int, int, int]:
    """The colour of box `number`, from 1; neighbours in the order are far apart on the wheel."""
    red, green, blue = colorsys.hsv_to_rgb(number * 0.618034 % 1, 0.85, 0.75)
    return round(255 * red), round(255 * green), round(255 * blue)


def _frame(
    pen: ImageDraw,
    edges: tuple[int, int, int, int],
    colour: tuple[int, int, int],
    words: str,
    font: FreeTypeFont | ImageFont,
) -> None:
    """A coloured line between two of paper, so that it is seen on every ground, and a label inside its corner."""
    x0, y0, x1, _y1 = edges
    pen.rectangle(edges, outline=colour, width=3)
    pen.rectangle(edges, outline=(252, 252, 248), width=1)
    room = x1 - x0 - 8
    while pen.textlength(words, font) > room and " " in words:
        words = words.rsplit(" ", 1)[0]
    right, bottom = x0 + 7 + int(pen.textlength(words, font)), y0 + LETTERS + 6
    pen.rectangle((x0 + 1, y0 + 1, max(right, x0 + 8), bottom), fill=colour)
    pen.text((x0 + 4, y0 + 2), words, fill=(252, 252, 248), font=font)
