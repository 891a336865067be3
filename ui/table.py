"""The table of scenes: a row a scene, drawn as HTML, read off the page as JSON, and what its buttons do."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from pipelines.job import MAX_CHARACTERS, MAX_PARTS
from pipelines.refusal import Refusal, shown
from ui.words import lowered, of, say

Row = dict[str, str]
FIELDS = ("prompt", "seconds", "seed", "transition", "transition_frames", "negative_prompt")
BLANK: Row = {
    "prompt": "", "seconds": "1.5", "seed": "", "transition": "cut", "transition_frames": "4", "negative_prompt": "",
}  # fmt: skip
TRANSITIONS = ("cut", "crossfade", "black")
# Drawn, for not every machine has letters for them.
ACTS = (
    ("up", "M8 13V3M4 7l4-4 4 4"), ("down", "M8 3v10M4 9l4 4 4-4"), ("copy", "M6 6h7v7H6zM10 6V3H3v7h3"),
    ("remove", "M4 4l8 8M12 4l-8 8"),
)  # fmt: skip

# What is typed stands in the attributes too, for gradio patches those and not what a person typed.
TABLE = """
const fields = () => [...element.querySelectorAll('[data-field]')];
const read = () => JSON.stringify([...element.querySelectorAll('[data-scene]')].map((row) => Object.fromEntries(
  [...row.querySelectorAll('[data-field]')].map((field) => [field.dataset.field, field.value]))));
const mark = (field) => {
  if (field.dataset.field === 'transition') field.closest('[data-scene]').dataset.scene = field.value;
};
const settle = () => fields().forEach((field) => {
  const value = field.getAttribute('value') ?? '';
  if (field.value !== value) field.value = value;
  mark(field);
});
let turn;
element.addEventListener('input', (event) => {
  const field = event.target.closest('[data-field]');
  if (!field) return;
  field.setAttribute('value', field.value);
  mark(field);
  clearTimeout(turn);
  turn = setTimeout(() => trigger('edit', {}), 250);
});
element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-act]');
  if (button) trigger('act', {act: button.dataset.act, row: Number(button.dataset.row), rows: read()});
});
watch('value', settle);
settle();
window.diorama = {...window.diorama, scenes: read};
"""
LIVE = "window.diorama?.scenes?.()"

ARROW = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' width='10' height='6'%3E"
    "%3Cpath d='M1 1l4 4 4-4' fill='none' stroke='%23938775' stroke-width='1.6'/%3E%3C/svg%3E"
)
CSS = """
.scenes { display: flex; flex-direction: column; gap: 12px; }
.scenes table, .scenes tbody { display: block; width: 100%; margin: 0; border: 0; }
.scenes tr {
  display: grid; gap: 8px 10px; grid-template-columns: 22px 78px 92px minmax(0, 1fr) minmax(0, 1fr);
  padding: 14px 0 16px; border: 0; border-top: 1px dashed var(--border-color-primary); background: none;
}
.scenes tr:first-child { border-top: 0; padding-top: 0; }
.scenes th, .scenes td { display: block; padding: 0; border: 0; min-width: 0; background: none; }
.scenes th { font: 600 20px/42px var(--serif); color: var(--body-text-color-subdued); text-align: left; }
.scenes .say-it { grid-column: 2 / -1; display: flex; gap: 8px; align-items: flex-start; }
.scenes .seconds { grid-column: 2; }
.scenes label { display: block; font-size: 12.5px; color: var(--body-text-color-subdued); }
.scenes textarea, .scenes input, .scenes select {
  box-sizing: border-box; width: 100%; margin: 0; padding: 8px 10px; font: inherit; font-size: 15px; color: inherit;
  color: var(--body-text-color); border: 1px solid var(--input-border-color); border-radius: 10px;
  background: var(--input-background-fill); box-shadow: var(--input-shadow);
}
.scenes textarea { flex: 1; min-width: 0; min-height: 64px; font: 17px/1.45 var(--serif); resize: vertical; }
.scenes textarea:focus, .scenes input:focus, .scenes select:focus {
  outline: none; border-color: var(--input-border-color-focus); box-shadow: var(--input-shadow-focus);
}
.scenes select {
  appearance: none; padding-right: 24px; background-repeat: no-repeat; background-position: right 9px center;
  background-image: url("ARROW");
}
.scenes .fade { display: flex; gap: 6px; align-items: center; margin-top: 6px; } .scenes .fade input { width: 62px; }
.scenes [data-scene="cut"] .fade { display: none; }
.scenes .acts { display: grid; grid-template-columns: 30px 30px; gap: 4px; }
.scenes .acts button, .scenes .add {
  margin: 0; padding: 0; border: 0; border-radius: 9px; background: var(--faint); color: var(--body-text-color);
  cursor: pointer; font-size: 16px; line-height: 1;
}
.scenes .acts button { width: 30px; height: 30px; } .scenes .acts button:hover, .scenes .add:hover {
  background: var(--button-secondary-background-fill-hover);
}
.scenes .acts svg {
  display: block; width: 16px; height: 16px; margin: auto; fill: none; stroke: currentColor; stroke-width: 1.6;
  stroke-linecap: round; stroke-linejoin: round;
}
.scenes ::placeholder { color: var(--input-placeholder-color); opacity: 1; }
.scenes .acts button:disabled { opacity: 0.35; cursor: default; }
.scenes .add { align-self: flex-start; padding: 10px 18px; font-weight: 600; font-size: 15px; }
/* One shot has no transitions, and nothing goes before the first scene unless it continues a video. */
#scenes-form:has(#scenes-cuts input:not(:checked)) .begins { visibility: hidden; }
#scenes-form:not(:has(.continues)) .scenes tr:first-child .begins { visibility: hidden; }
@media (max-width: 760px) {
  .scenes tr { grid-template-columns: 22px minmax(0, 1fr) minmax(0, 1fr); }
  .scenes .say-it { flex-direction: column; } .scenes .say-it textarea { width: 100%; flex: none; }
  .scenes .acts { grid-template-columns: repeat(4, 38px); } .scenes .acts button { width: 38px; height: 34px; }
  #scenes-form:has(#scenes-cuts input:not(:checked)) .begins { display: none; }
  #scenes-form:not(:has(.continues)) .scenes tr:first-child .begins { display: none; }
  #scenes-form:not(:has(.continues)) .scenes tr:first-child .leave { grid-column: 2 / 4; }
  .scenes .begins { grid-column: 2 / 3; } .scenes .leave { grid-column: 3 / 4; }
}
""".replace("ARROW", ARROW, 1)


def table(rows: Sequence[Row]) -> str:
    """The rows as a table with fields and buttons."""
    body = "".join(_row(number, row, len(rows)) for number, row in enumerate(rows))
    # The mark makes each drawing another one, so that the page also takes one that it has had before.
    return (
        f'<div class="scenes" data-turn="{secrets.token_hex(4)}"><table><tbody>{body}</tbody></table>'
        f'<button type="button" class="add" data-act="add" data-row="{len(rows) - 1}">{say("table.add")}</button></div>'
    )


def rows_of(text: Any) -> list[Row]:
    """The rows that the page sends: JSON, a list of texts by field.

    Raises:
        Refusal: something else.
    """
    if isinstance(text, str) and text.lstrip().startswith("<"):
        return [dict(BLANK)]  # the table as it was drawn: the page has not opened it yet
    try:
        rows = json.loads(text or "")
        return [{field: str(row.get(field, BLANK[field])) for field in FIELDS} for row in rows]
    except (ValueError, TypeError, AttributeError):
        raise Refusal("scenes", say("table.no_list")) from None


def edited(rows: Sequence[Row], act: str, index: int) -> list[Row]:
    """The rows after a button was pressed in row `index`: add, copy, remove, up or down."""
    rows = [dict(row) for row in rows] or [dict(BLANK)]
    index = min(max(index, 0), len(rows) - 1)
    other = index + {"up": -1, "down": 1}.get(act, 0)
    if act in ("up", "down") and 0 <= other < len(rows):
        rows[index], rows[other] = rows[other], rows[index]
    elif act == "add" and len(rows) < MAX_PARTS:
        rows.append({**BLANK, "seconds": rows[-1]["seconds"]})
    elif act == "copy" and len(rows) < MAX_PARTS:
        rows.insert(index + 1, dict(rows[index]))
    elif act == "remove":
        del rows[index]
    return rows or [dict(BLANK)]


def row_of(part: Mapping[str, Any], fps: float) -> Row:
    """A scene of a job as a row."""
    full = {"frames": 12, "transition": "cut", "transition_frames": 4, **part}
    return {
        "prompt": str(full.get("prompt") or ""),
        "seconds": f"{round(full['frames'] / fps, 3):g}",
        "seed": "" if full.get("seed") is None else str(full["seed"]),
        "transition": str(full["transition"]),
        "transition_frames": str(full["transition_frames"]),
        "negative_prompt": str(full.get("negative_prompt") or ""),
    }


def number_of(text: str, kind: type[int] | type[float], field: str) -> Any:
    """What was typed as a number.

    Raises:
        Refusal: it is none.
    """
    try:
        return kind(text)
    except ValueError:
        got = shown(text) if text.strip() else say("settings.nothing")
        raise Refusal(field, say("table.no_number" if kind is int else "settings.no_seconds", got=got)) from None


def _row(number: int, row: Row, count: int) -> str:
    name = of("part", "scenes", number=number + 1)
    value = {field: escape(row.get(field, BLANK[field]), quote=True) for field in FIELDS}
    options = "".join(f'<option value="{key}">{of("begins", key)}</option>' for key in TRANSITIONS)
    off = {"up": number == 0, "down": number == count - 1, "copy": count >= MAX_PARTS}
    acts = "".join(
        f'<button type="button" data-act="{act}" data-row="{number}" title="{of("act", act)}" '
        f'aria-label="{of("act", act)}: {name}"'
        f'{" disabled" if off.get(act) else ""}><svg viewBox="0 0 16 16" aria-hidden="true"><path d="{drawn}"/></svg>'
        "</button>"
        for act, drawn in ACTS
    )
    return (
        f'<tr data-scene="{value["transition"]}"><th scope="row" aria-label="{name}">{number + 1}</th>'
        f'<td class="say-it"><textarea data-field="prompt" rows="2" maxlength="{MAX_CHARACTERS}" '
        f'aria-label="{name}, {lowered(say("field.prompt"))}" placeholder="{say("table.shows")}" '
        f'value="{value["prompt"]}">'
        f'{value["prompt"]}</textarea><span class="acts">{acts}</span></td>'
        f'<td class="seconds"><label>{say("settings.seconds")}<input data-field="seconds" type="number" '
        'min="0.1" step="any" '
        f'value="{value["seconds"]}"></label></td>'
        f'<td><label>{say("field.seed")}<input data-field="seed" inputmode="numeric" placeholder="{say("table.same")}" '
        f'value="{value["seed"]}"></label></td>'
        f'<td class="begins"><label>{say("table.begins")}<select data-field="transition" '
        f'value="{value["transition"]}">{options}'
        f'</select></label><label class="fade"><input data-field="transition_frames" type="number" min="1" step="1" '
        f'aria-label="{name}, {say("table.transition")}" value="{value["transition_frames"]}">'
        f"{say('table.frames')}</label></td>"
        f'<td class="leave"><label>{say("field.negative_prompt")}<input data-field="negative_prompt" '
        f'maxlength="{MAX_CHARACTERS}" '
        f'placeholder="{say("table.as_all")}" value="{value["negative_prompt"]}"></label></td></tr>'
    )
