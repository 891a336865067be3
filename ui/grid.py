"""The Grid tab: a job with up to three of its fields set against each other, rendered as one batch of the queue.

How a grid is written and what its cells are is `pipelines/grid/grid.py`'s. Queued grids are kept (`grid/store.py`), so
the page may be closed while one fills; its table is `gridtable.py`'s.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from html import escape
from typing import Any
from urllib.parse import urlencode

import gradio as gr

from pipelines.expansion.expand import TEXTS
from pipelines.expansion.fieldpath import place_of
from pipelines.files.record import FILES, files_named
from pipelines.files.yamlfile import documents
from pipelines.grid.grid import STEM, Grid, grid_of
from pipelines.grid.store import GridStore, rows_of
from pipelines.job import Job, parse, recipe
from pipelines.progress import duration
from pipelines.refusal import Refusal
from ui import expansion, wire
from ui.desk import Desk
from ui.fields import Form, label_of, refused
from ui.gridtable import SCRIPT, SHELL, SHUT, large, sheet
from ui.lists import lists_of_words
from ui.plan import flops
from ui.reasons import cause, in_language
from ui.settings import quick
from ui.shown import Shown
from ui.studio import Studio
from ui.words import moment, of, say

SOURCE = "Grid"  # what the jobs of a grid are said to come from
MOST = 500  # renders of one press
JUDGED = 40  # jobs that are looked at for the cost before the press; the others count as these do

START = "task: text\nprompt: a red circle in a meadow\nseed: 7"

# What of a job is offered; any other, such as boxes[0].prompt, can be typed.
OFFERED = (
    "prompt", "negative_prompt", "seed", "steps", "guidance", "size", "scheduler", "internal_guidance",
    "guidance_interval", "frames", "fps", "model",
)  # fmt: skip

CSS = """
.grid-hint { margin: 0; font-size: 14px; color: var(--body-text-color-subdued); line-height: 1.5; }
.grid-hint code, .grid-base textarea { font-family: var(--font-mono); font-size: 14px; }
.axis { align-items: flex-end; gap: 12px !important; }
"""


class GridTab:
    """The tab: its form, and what becomes of its grids."""

    def __init__(self, studio: Studio, desks: Sequence[Desk], tabs: gr.Tabs, opened: Sequence[Any]) -> None:
        """Lay the tab out and wire it.

        Args:
            studio: what it works with.
            desks: the tabs whose jobs can become a grid.
            tabs: all tabs.
            opened: the events at which this one is opened.
        """
        self.studio, self.store = studio, GridStore(studio.folder)
        self.desks = {desk.form.kind: desk for desk in desks}
        form = self.form = Form("grid", "text")
        with gr.Row(elem_classes="desk", equal_height=False):
            with gr.Column(scale=5, min_width=300, elem_classes="sheet form", elem_id="grid-form"):
                base = gr.Textbox(
                    START, label=say("grid.base"), lines=7, max_lines=24, max_length=100_000,
                    placeholder=say("grid.base_hint"), info=say("grid.base_hint"), elem_id="grid-base",
                    elem_classes="grid-base",
                )  # fmt: skip
                form.add("base", base)
                for number in (1, 2, 3):
                    with gr.Row(elem_classes="axis"):
                        field = gr.Dropdown(
                            [none(), *((label_of(name), name) for name in OFFERED)], allow_custom_value=True,
                            value=("seed", "guidance", "")[number - 1], label=say("grid.field", number=number),
                            info=of("way", str(number)),
                            elem_id=f"grid-field-{number}", min_width=140, scale=2,
                        )  # fmt: skip
                        values = gr.Textbox(
                            ("1..3", "1, 2, 4", "")[number - 1], label=say("grid.values"),
                            elem_id=f"grid-values-{number}", elem_classes="line-of-words", max_length=20_000,
                            min_width=140, scale=3,
                        )  # fmt: skip
                    form.add(f"field[{number}]", field)
                    form.add(f"values[{number}]", values)
                gr.HTML(f'<p class="grid-hint">{say("grid.hint_html")}</p>', apply_default_css=False)
                cost = gr.HTML(elem_classes="cost-line", elem_id="grid-cost", apply_default_css=False)
                render = gr.Button(
                    say("grid.render"), variant="primary", size="lg", elem_id="grid-render", elem_classes="render"
                )
                form.slot()
                lists_of_words(studio.folder, opened)
            with gr.Column(scale=7, min_width=300, elem_classes="side"), gr.Column(elem_classes="sheet form"):
                kept = gr.Dropdown([none()], value="", label=say("grid.kept"), elem_id="grid-kept")
                table = gr.HTML(
                    "", html_template=SHELL, js_on_load=SCRIPT, elem_id="grid-table", apply_default_css=False
                )
                gr.HTML(large(), js_on_load=SHUT, apply_default_css=False)
        form.keep(*(field.name for field in form.fields))
        kept.preprocess = _text  # type: ignore[assignment, method-assign]

        changes = [part.change for part in form.parts]
        gr.on(
            [*opened, *changes], self.preview, form.parts, [cost, *form.notes], queue=False, show_progress="hidden",
            trigger_mode="always_last", api_name="plan_grid",
        )  # fmt: skip
        render.click(
            self.submit, form.parts, [kept, table, *form.notes], queue=False, show_progress="hidden",
            api_name="render_grid",
        )  # fmt: skip
        gr.on([*opened], self.choose, kept, [kept, table], **quick)
        kept.input(self.look, kept, table, **quick)
        table.act(self.act, kept, [kept, table], **quick)
        for desk in desks:
            desk.to_grid.click(
                self.taking(desk), desk.form.parts, [tabs, base, *desk.form.notes], js=desk.form.live, **quick
            )

    # ------------------------------------------------------------ before the press

    def grid(self, values: Sequence[Any]) -> Grid | None:
        """The grid that the fields describe; None while there is no axis.

        Raises:
            Refusal: they describe none, or one that may not come from a page.
        """
        base = wire.inward(self.studio, self.desks, _text(values[0]))
        axes = []
        pairs = list(zip(values[1::2], values[2::2], strict=True))
        for number, (field, written) in enumerate(pairs, 1):
            name, text = _text(field).strip(), _text(written).strip()
            if not name or not text:
                continue
            try:
                place = place_of(name)
                if any(part in FILES for part in place):
                    raise Refusal("", say("grid.no_files", field=name))
                found = spelled(name, text)
                if place[0] == "model":
                    listed = found if isinstance(found, list) else [each.strip() for each in text.split(",")]
                    found = [wire.model_of(self.desks, base, each) for each in listed]
            except Refusal as refusal:
                raise Refusal(f"axes[{number - 1}]", refusal.reason) from None
            axes.append((number, {name: found}))
        if not axes:
            return None
        document = {"job": base, "axes": [axis for _, axis in axes]}
        try:
            grid = grid_of(document, expansion.lists_of(self.studio.folder))
        except Refusal as refusal:
            if inside := re.fullmatch(r"axes\[(\d+)\]", refusal.field):  # an empty row counts on the page
                refusal = Refusal(f"axes[{axes[int(inside[1])][0] - 1}]", refusal.reason)
            raise refusal from None
        if len(grid.jobs) > MOST:
            raise Refusal("axes", say("grid.too_many", most=MOST, count=len(grid.jobs)))
        # Whole parts can be values too, such as layers, and no path comes from a page.
        known = set(files_named(base).values())
        for job in grid.jobs:
            for field, path in files_named(recipe(job)).items():
                if path not in known:
                    raise Refusal("axes", say("grid.no_files", field=field))
        return grid

    def preview(self, *values: Any) -> tuple[Any, ...]:
        """What the grid will cost, or what is wrong with it."""
        try:
            grid = self.grid(values)
            return (self.cost(grid) if grid else f'<p class="cost jobs">{say("grid.no_axis")}</p>', *self.form.said())
        except Refusal as refusal:
            return "", *self.said(refusal)
        except OSError as error:
            return "", *self.said(Refusal("", say("grid.unreadable", reason=cause(error))))

    def cost(self, grid: Grid) -> str:
        """How many renders the grid has and what they take, as HTML."""
        step = max(1, len(grid.jobs) // JUDGED)
        judged = grid.jobs[::step]
        work = sum(self.studio.check(job).flops for job in judged) * len(grid.jobs) / len(judged)
        seconds = self.studio.pace.seconds(work / len(grid.jobs), grid.jobs[0].model)
        shape = " × ".join(str(len(axis.values)) for axis in grid.axes)
        told = say("grid.cost", shape=shape, cells=len(grid.cells), jobs=len(grid.jobs))
        took = say("grid.later") if seconds is None else say("grid.time", time=duration(seconds * len(grid.jobs)))
        return (
            f'<p class="cost jobs">{escape(told)}; {escape(say("grid.work", flops=flops(work)))}; {escape(took)}.</p>'
        )

    def taking(self, desk: Desk) -> Any:
        """What “Grid of this” in a tab does: its job stands in the Grid tab, which opens."""

        def take(*values: Any) -> list[Any]:
            try:
                draft = desk.form.job(values)
                first = next(expansion.rows(draft, expansion.lists_of(self.studio.folder)))
                job: Job = parse(first.values)
                text = wire.outward(self.studio, desk, recipe(job))
            except Refusal as refusal:
                plain = Refusal(refusal.field, self.studio.uploads.plain(refusal.reason))
                return [gr.skip(), gr.skip(), *desk.form.said(plain)]
            return [gr.Tabs(selected="grid"), text, *desk.form.said()]

        return take

    # ------------------------------------------------------------ the press, and what comes of it

    def submit(self, *values: Any) -> tuple[Any, ...]:
        """Queue the grid as one batch; what the page shows then, or what is wrong."""
        try:
            grid = self.grid(values)
            if grid is None:
                raise Refusal("axes", say("grid.no_axis"))
            grid = self.named(grid)
            for job in grid.jobs:
                self.studio.check(job)
            id = self.store.save(grid)
            try:
                jobs = [(source.job, source.expanded_from) for source in grid.sources(SOURCE)]
                self.studio.queue.add_all(jobs, batch=id)
            except BaseException:
                self.store.forget(id)
                raise
        except Refusal as refusal:
            return gr.skip(), gr.skip(), *self.said(refusal)
        except (sqlite3.Error, OSError) as error:
            return gr.skip(), gr.skip(), *self.said(Refusal("", say("grid.unwritable", reason=cause(error))))
        return (*self.choose(id), *self.form.said())

    def named(self, grid: Grid) -> Grid:
        """The grid under a name that no other grid of the folder has, where it has none of its own."""
        if grid.values.get("name"):
            return grid
        taken = {kept.grid.name for id in self.store.ids() if (kept := self.store.get(id))}
        number = next(number for number in range(1, len(taken) + 2) if f"{STEM} {number}" not in taken)
        return Grid({**grid.values, "name": f"{STEM} {number}"}, grid.axes)

    def choose(self, id: str) -> tuple[Any, ...]:
        """The list of grids, and the table of the one called `id`, or of the newest where there is none."""
        found = [(self.called(each), each) for each in self.store.ids()]
        known = [each for _, each in found]
        chosen = id if id in known else (known[0] if known else "")
        return gr.Dropdown(choices=found or [none()], value=chosen), self.look(chosen)

    def called(self, id: str) -> str:
        """A grid in the list: its name and when it was queued."""
        kept = self.store.get(id)
        if kept is None:
            return id
        return f"{kept.grid.name}, {moment(kept.created)}"

    def look(self, id: str) -> str:
        """The table of a grid, and what can be done with it."""
        return shown(self.studio, _text(id)).watched(address(_text(id)))

    def act(self, id: str, event: gr.EventData) -> tuple[Any, ...]:
        """Cancel what of a grid is not rendered yet, or drop it from the list; its pictures stay."""
        id, act = _text(id), getattr(event, "act", None)
        if act == "stop":
            for row in self.studio.queue.batch(id):
                self.studio.queue.cancel(row.id)
        elif act == "forget":
            self.store.forget(id)
            return self.choose("")
        return gr.skip(), self.look(id)

    def said(self, refusal: Refusal) -> list[Any]:
        """The refusal in its slot, with the page's own words for the rows of fields."""
        plain = Refusal(refusal.field, self.studio.uploads.plain(refusal.reason))
        if inside := re.fullmatch(r"axes\[(\d+)\]", plain.field):
            label = say("grid.field", number=int(inside[1]) + 1)
            return [f'<p class="note bad" role="alert"><b>{label}:</b> {escape(in_language(plain.reason))}</p>']
        field = {"axes": "", "job": ""}.get(plain.field, plain.field)
        return [refused(Refusal(field, plain.reason))]


def shown(studio: Studio, id: str) -> Shown:
    """What stands under the list of grids for the one called `id`."""
    kept = GridStore(studio.folder).get(id)
    return Shown.of(sheet(kept, rows_of(kept.grid, studio.queue.batch(kept.id)) if kept else {}))


def address(id: str) -> str:
    """Where a page asks for it, behind /watch/."""
    return f"grid?{urlencode({'id': id})}"


def none() -> tuple[str, str]:
    """What a list offers where there is nothing."""
    return say("grid.none"), ""


def spelled(field: str, text: str) -> Any:
    """The values of an axis as `grid_of` takes them: a list, or a text of its language.

    Raises:
        Refusal: a list that is none.
    """
    words = next(str(step) for step in reversed(place_of(field)) if isinstance(step, str)) in TEXTS
    if text.startswith("["):
        found = list(documents(text))
        if len(found) != 1 or not isinstance(found[0], list):
            raise Refusal("", say("grid.no_list", got=text[:60]))
        return found[0]
    if "{" in text or "__" in text or "->" in text:
        return text
    if words:
        return f"{{{text}}}" if "|" in text else text
    parts = [part.strip() for part in re.split(r"[,;|]", text) if part.strip()]
    return f"{{{'|'.join(parts)}}}" if len(parts) > 1 or ".." in text else text


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else str(value)
