"""The boxes of a finished picture: drawn over it, and how well each was obeyed. All of it read from its record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from ui.words import numerals, say

PAINT = ("#d63031", "#305ccc", "#2f8449", "#c96a12", "#8048b0", "#1c7f81", "#c2548b", "#80543c")  # taken in turn

CSS = (
    "".join(f".tone-{number} {{ --tone: {paint}; }}\n" for number, paint in enumerate(PAINT))
    + """
.over { position: relative; line-height: 0; }
.over .marks-of-boxes { position: absolute; inset: 0; }
.over .marks-of-boxes i {
  position: absolute; box-sizing: border-box; border: 2px solid var(--tone); border-radius: 2px;
  box-shadow: 0 0 0 1px rgba(255, 253, 248, 0.75), inset 0 0 0 1px rgba(255, 253, 248, 0.5); text-align: left;
}
.marks-of-boxes b, .obeyed b {
  display: inline-block; min-width: 18px; padding: 0 4px; box-sizing: border-box; text-align: center;
  font: 600 12px/18px var(--font); color: #fffdf8; background-color: var(--tone); border-radius: 0 0 4px 0;
}
.result:has(.show-boxes:not(:checked)) .marks-of-boxes { display: none; }
.lie { display: flex; align-items: center; justify-content: center; gap: 8px; font-size: 14.5px; cursor: pointer; }
.gradio-container .lie input { appearance: auto; width: 16px; height: 16px; accent-color: var(--color-accent); }
.obeyed { list-style: none; width: min(100%, 430px); margin: 0; padding: 0; text-align: left; }
.obeyed li { display: flex; align-items: center; gap: 10px; margin: 0; padding: 6px 0; }
.obeyed li + li { border-top: 1px dashed var(--border-color-primary); }
.obeyed b { flex: none; border-radius: 5px; }
.obeyed span {
  flex: 1; min-width: 0; overflow: hidden; text-overflow: ellipsis; white-space: nowrap;
  font: italic 15px/1.4 var(--serif);
}
.obeyed small { display: block; font: 12.5px/1.3 var(--font); color: var(--bad-ink); overflow: hidden;
  text-overflow: ellipsis; }
.obeyed i { flex: none; font: 600 15px/1 var(--font); color: var(--good-ink); }
.obeyed i.doubtful { color: var(--bad-ink); }
.obeyed em {
  flex: none; min-width: 44px; text-align: right; font-style: normal; font-size: 13.5px;
  font-variant-numeric: tabular-nums; color: var(--body-text-color-subdued);
}
"""
)


@dataclass(frozen=True)
class Box:
    """A box of a finished picture.

    Attributes:
        place: x0, y0, x1, y1 in 0..1.
        words: its prompt.
        obeyed: how well it was obeyed, -1..1; None where nobody says.
        instead: the prompt of another box that explains better what stands in it; "" where none is known.
    """

    place: list[float]
    words: str
    obeyed: float | None = None
    instead: str = ""


def boxes_of(told: dict[str, Any]) -> list[Box]:
    """The boxes of a record; nothing where one is none."""
    found = []
    entries = told.get("boxes")
    for entry in entries if isinstance(entries, list) else ():
        box = place_of(entry.get("box")) if isinstance(entry, dict) else None
        if box is None:
            return []
        instead = str(entry.get("rival") or "") if entry.get("beats_rival") is False else ""
        found.append(Box(box, str(entry.get("prompt") or ""), _number(entry.get("obeyed")), instead))
    return found


def place_of(value: Any) -> list[float] | None:
    """A box of a record: four numbers in 0..1, x0 < x1 and y0 < y1; None for something else."""
    if not isinstance(value, list) or len(value) != 4 or any(_number(side) is None for side in value):
        return None
    x0, y0, x1, y1 = (float(side) for side in value)
    return [x0, y0, x1, y1] if 0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1 else None


def over(picture: str, told: dict[str, Any]) -> str:
    """The picture's HTML with the boxes of its record laid over it."""
    boxes = boxes_of(told)
    if not boxes:
        return picture
    frames = "".join(
        f'<i class="{tone(index)}" style="{_spot(box.place)}"><b>{index + 1}</b></i>' for index, box in enumerate(boxes)
    )
    return f'<div class="over">{picture}<div class="marks-of-boxes" aria-hidden="true">{frames}</div></div>'


def obeyed(told: dict[str, Any]) -> str:
    """The boxes of a record as a list: the words of each, and how well they were obeyed."""
    boxes = boxes_of(told)
    if not boxes:
        return ""
    items = "".join(
        f'<li class="{tone(index)}"><b>{index + 1}</b><span title="{escape(box.words, quote=True)}">{escape(box.words)}'
        f"{_instead(box.instead)}</span>{_verdict(box)}</li>"
        for index, box in enumerate(boxes)
    )
    switch = f'<label class="lie"><input type="checkbox" class="show-boxes" checked>{say("boxes.show")}</label>'
    return f'{switch}<ol class="obeyed" aria-label="{say("boxes.how_well")}">{items}</ol>'


def tone(index: int) -> str:
    """The class of the colour that the box at `index` has."""
    return f"tone-{index % len(PAINT)}"


def _instead(words: str) -> str:
    return f"<small>{escape(say('boxes.rather', words=words))}</small>" if words else ""


def _verdict(box: Box) -> str:
    """A tick where the box's own words explain it best, else a question mark, and the number."""
    if box.obeyed is None:
        return ""
    words = numerals(f"{min(max(box.obeyed, -1.0), 1.0):.2f}").replace("-", "\u2212")
    good = box.obeyed > 0 and not box.instead
    mark = '<i aria-hidden="true">\u2713</i>' if good else '<i class="doubtful" aria-hidden="true">?</i>'
    told = say("boxes.obeyed_by" if good else "boxes.doubtful", score=words)
    return f'{mark}<em title="{say("boxes.obeyed")}" aria-label="{told}">{words}</em>'


def _number(value: Any) -> float | None:
    is_one = isinstance(value, int | float) and not isinstance(value, bool) and value == value
    return float(value) if is_one else None


def _spot(box: Sequence[float]) -> str:
    """Where a box stands over its picture, as style."""
    x0, y0, x1, y1 = (100 * side for side in box)
    return f"left: {x0:.2f}%; top: {y0:.2f}%; width: {x1 - x0:.2f}%; height: {y1 - y0:.2f}%"
