"""Boxes beside a picture: `.bbox` files as other trainers write them, and the same in metadata.

Three spellings: a JSON array of {label, bbox, mask}, the same objects line by line, or lines of `LABEL cx cy w h` as
YOLO has them. `bbox` is x0, y0, x1, y1 in 0..1, `mask` the name of a picture.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

from .assets import Asset
from .example import Box, Edges
from .findings import Fault

MAX_BOXES = 256
HINT = 'expected {"label": TEXT, "bbox": [x0, y0, x1, y1]} with numbers in 0..1'

Find = Callable[[str], Asset]


def boxes_of_text(text: str, find: Find) -> tuple[Box, ...]:
    """The boxes in a sidecar's text.

    Args:
        text: in one of the three spellings; empty is no boxes.
        find: the asset of a mask's name; may raise Fault.

    Raises:
        Fault: `boxes`: not in one of them.
    """
    text = text.strip().removeprefix("\ufeff").strip()
    if not text:
        return ()
    if text[0] not in "[{":
        return _few([_of_line(line, number) for number, line in enumerate(text.splitlines(), 1) if line.strip()])
    try:
        if text[0] == "[":
            return boxes_of_value(json.loads(text), find)
        return boxes_of_value([json.loads(line) for line in text.splitlines() if line.strip()], find)
    except (ValueError, RecursionError) as error:
        if isinstance(error, Fault):
            raise
        raise Fault("boxes", f"is not JSON: {str(error).splitlines()[0]}; write an array or an object a line") from None


def boxes_of_value(value: Any, find: Find) -> tuple[Box, ...]:
    """The boxes in a JSON value: a list of objects; a cell of a table may hold it as text.

    Raises:
        Fault: `boxes`.
    """
    if isinstance(value, str):
        return boxes_of_text(value, find)
    if value is None:
        return ()
    if not isinstance(value, list):
        raise Fault("boxes", f"expected a list of boxes, got {type(value).__name__}; {HINT}")
    return _few([_of_object(each, number, find) for number, each in enumerate(value, 1)])


def whole(edges: Edges) -> bool:
    """Whether edges lie in the picture and in order; which of the two fails is told in `checks.py`."""
    x0, y0, x1, y1 = edges
    return 0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1


def _of_object(value: Any, number: int, find: Find) -> Box:
    if not isinstance(value, dict):
        raise Fault("boxes", f"box {number} is no object; {HINT}")
    edges = value.get("bbox", value.get("box"))
    if not isinstance(edges, list | tuple) or len(edges) != 4:
        raise Fault("boxes", f"box {number} has no bbox of four numbers; {HINT}")
    label = value.get("label", value.get("prompt", ""))
    if not isinstance(label, str):
        raise Fault("boxes", f"box {number} has a label that is no text; {HINT}")
    mask = value.get("mask")
    if mask is not None and not isinstance(mask, str):
        raise Fault("boxes", f"box {number} has a mask that is no file name; give the name of a picture")
    return Box(_numbers(edges, number), label.strip(), find(mask) if mask else None)


def _of_line(line: str, number: int) -> Box:
    """LABEL cx cy w h; the label may have several words, or be left out."""
    words = line.split()
    if len(words) < 4:
        raise Fault("boxes", f"line {number} has {len(words)} words; expected LABEL cx cy w h in 0..1")
    cx, cy, w, h = _numbers(words[-4:], number)
    edges = (cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2)
    # Half of a rounded width may reach past an edge by the rounding.
    near = [round(edge) if abs(edge - round(edge)) < 1e-5 else edge for edge in edges]
    return Box((near[0], near[1], near[2], near[3]), " ".join(words[:-4]))


def _numbers(values: Any, number: int) -> Edges:
    found = []
    for value in values:
        try:
            found.append(math.nan if isinstance(value, bool) else float(value))
        except (TypeError, ValueError):
            found.append(math.nan)
    if not all(map(math.isfinite, found)):
        raise Fault("boxes", f"box {number} has edges that are no numbers; {HINT}")
    return (found[0], found[1], found[2], found[3])


def _few(boxes: list[Box]) -> tuple[Box, ...]:
    if len(boxes) > MAX_BOXES:
        raise Fault("boxes", f"expected at most {MAX_BOXES} boxes, got {len(boxes):,}; leave the smallest out")
    return tuple(boxes)
