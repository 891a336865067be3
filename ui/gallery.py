"""The Gallery tab: earlier renders, newest first, and the way from one of them back to its settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from pipelines.queue import Row, State
from pipelines.refusal import Refusal
from ui.choice import path_of
from ui.desk import PICK, Desk
from ui.files import address
from ui.result import ACT, facts, is_video, kind, picture, prompt
from ui.settings import quick
from ui.studio import Studio

PAGE = 24
PACE = 3.0  # seconds between two looks, while the tab is open
SHOWN: tuple[State, ...] = ("done", "failed")


def gallery_tab(studio: Studio, desks: Sequence[Desk], tabs: gr.Tabs, tab: gr.Tab) -> gr.Timer:
    """Lay the tab out and wire it; returns the timer that looks while it is open.

    Args:
        studio: what it works with.
        desks: the tabs that a render can go back to.
        tabs: all tabs.
        tab: this one.
    """
    queue, folder = studio.queue, studio.folder

    def look(offset: float) -> tuple[Any, ...]:
        first = max(0, int(offset))
        rows = queue.rows(PAGE + 1, first, SHOWN)
        return prints(rows[:PAGE]), gr.Button(visible=first > 0), gr.Button(visible=len(rows) > PAGE)

    def turn(offset: float, by: int) -> tuple[Any, ...]:
        offset = max(0, int(offset) + by)
        return (offset, *look(offset))

    def pick(event: gr.EventData) -> tuple[Any, ...]:
        row = queue.get(str(event.job))
        if row is None:
            return "", "", "", gr.Row(visible=False), gr.skip(), gr.skip()
        shown = picture(row, folder) if row.files else ""
        films = bool(row.files) and is_video(row)
        return (
            shown, words(row, folder), row.id, gr.Row(visible=True), gr.Button(visible=bool(row.files)),
            gr.Button(visible=films),
        )  # fmt: skip

    def to(tab: str, job: Mapping[str, Any]) -> list[Any]:
        """A job in the fields of its tab, which is opened."""
        filled: list[Any] = [gr.Tabs(selected=tab)]
        for desk in desks:
            there = desk.form.kind == tab
            filled += [*desk.form.said(), *(desk.form.values(job) if there else [gr.skip()] * len(desk.form.fields))]
        return filled

    def use(id: str) -> list[Any]:
        row = queue.get(id)
        return to(kind(row.job), row.job) if row else _nothing

    def change(id: str) -> list[Any]:
        row = queue.get(id)
        if row is None or not row.files:
            return _nothing
        try:
            upload = studio.uploads.keep(folder / row.files[0])
        except (Refusal, OSError):  # somebody took the file away
            return _nothing
        return to("masked", {"task": "masked", "source": studio.uploads.path(upload.id)})

    def go_on(id: str) -> list[Any]:
        row = queue.get(id)
        if row is None or not row.files:
            return _nothing
        same = {name: row.job[name] for name in ("size", "fps") if row.job.get(name)}
        return to("scenes", {"task": "scenes", **same, "continue_from": path_of(studio, row)})

    offset = gr.Number(0, visible=False)
    chosen = gr.Textbox(visible=False)
    with gr.Row(visible=False, elem_classes="sheet detail", elem_id="chosen") as panel:
        with gr.Column(scale=0, min_width=260):
            large = gr.HTML(js_on_load=ACT, apply_default_css=False)
        with gr.Column(scale=1, min_width=240):
            told = gr.HTML(apply_default_css=False)
            with gr.Row(elem_classes="actions"):
                take = gr.Button("Use these settings", variant="primary", elem_id="use", scale=0, min_width=180)
                part = gr.Button("Change a part", elem_classes="quiet", elem_id="change", scale=0, min_width=140)
                more = gr.Button("Go on from it", elem_classes="quiet", elem_id="go-on", scale=0, min_width=140)
                shut = gr.Button("Close", elem_classes="quiet", scale=0, min_width=90)
    wall = gr.HTML(lambda: look(0)[0], js_on_load=PICK, elem_id="wall", apply_default_css=False)
    with gr.Row(elem_classes="pages"):
        newer = gr.Button("Newer", visible=False, elem_classes="quiet", scale=0, min_width=110)
        older = gr.Button("Older", visible=False, elem_classes="quiet", scale=0, min_width=110)
    timer = gr.Timer(PACE, active=False)

    parts = [wall, newer, older]
    filled = [tabs, *(part for desk in desks for part in (*desk.form.notes, *desk.form.parts))]
    _nothing = [gr.skip()] * len(filled)
    show = "() => document.getElementById('chosen')?.scrollIntoView({behavior: 'smooth', block: 'nearest'})"
    picked = wall.pick(pick, None, [large, told, chosen, panel, part, more], **quick)
    picked.then(None, js=show, api_visibility="private")
    shut.click(lambda: gr.Row(visible=False), None, panel, **quick)
    take.click(use, chosen, filled, **quick)
    part.click(change, chosen, filled, **quick)
    more.click(go_on, chosen, filled, **quick)
    newer.click(lambda at: turn(at, -PAGE), offset, [offset, *parts], **quick)
    older.click(lambda at: turn(at, PAGE), offset, [offset, *parts], **quick)
    gr.on([timer.tick, tab.select], look, offset, parts, **quick)
    return timer


def prints(rows: list[Row]) -> str:
    """The renders as small prints, each a button."""
    if not rows:
        return '<div class="stage empty"><p>Nothing was rendered yet.</p><p>What you render hangs here.</p></div>'
    return f'<ul class="wall">{"".join(f"<li>{_print(row)}</li>" for row in rows)}</ul>'


def words(row: Row, folder: Path) -> str:
    """What one render was asked for, its settings, and its files."""
    said = f'<p class="words">{escape(prompt(row))}</p>'
    if row.job.get("negative_prompt"):
        said += f'<p class="without">without {escape(str(row.job["negative_prompt"]))}</p>'
    if row.state == "failed":
        said += f'<p class="note bad">{escape(row.message)}</p>'
    return f'<div class="told" data-id="{row.id}">{said}{facts(row, folder)}</div>'


def _print(row: Row) -> str:
    caption = escape(prompt(row), quote=True)
    if is_video(row):
        inner = f'<video src="{address(row, 0)}" muted preload="metadata"></video>'
    elif row.files:
        inner = f'<img src="{address(row, 0)}" alt="" loading="lazy">'
    else:
        inner = '<span class="lost">not rendered</span>'
    return (
        f'<button type="button" class="print" data-job="{row.id}" data-act="show">'
        f"<span>{inner}</span><em>{caption}</em></button>"
    )
