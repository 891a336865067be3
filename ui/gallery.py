"""The Gallery tab: earlier renders, newest first, and the way from one of them back to its settings."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from pipelines.queue import Queue, Row, State
from ui.files import address
from ui.status import facts, picture, prompt
from ui.text import PICK, Form, values_of

PAGE = 24
PACE = 3.0  # seconds between two looks, while the tab is open
SHOWN: tuple[State, ...] = ("done", "failed")


def gallery_tab(queue: Queue, folder: Path, form: Form, go: Callable[[], Any], tabs: gr.Tabs, tab: gr.Tab) -> None:
    """Lay the tab out and wire it.

    Args:
        queue: what was rendered.
        folder: the output folder.
        form: the fields of the Text tab, which "Use these settings" fills.
        go: gives the update of `tabs` that shows the Text tab.
        tabs: all tabs.
        tab: this one.
    """

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
            return "", "", "", gr.Row(visible=False)
        return picture(row) if row.files else "", words(row, folder), row.id, gr.Row(visible=True)

    def use(id: str) -> list[Any]:
        row = queue.get(id)
        return [gr.skip()] * (len(form.fields) + 2) if row is None else [go(), "", *values_of(row.job)]

    offset = gr.Number(0, visible=False)
    chosen = gr.Textbox(visible=False)
    with gr.Row(visible=False, elem_classes="sheet detail", elem_id="chosen") as panel:
        with gr.Column(scale=0, min_width=260):
            large = gr.HTML(apply_default_css=False)
        with gr.Column(scale=1, min_width=240):
            told = gr.HTML(apply_default_css=False)
            with gr.Row(elem_classes="actions"):
                take = gr.Button("Use these settings", variant="primary", elem_id="use", scale=0, min_width=190)
                shut = gr.Button("Close", elem_classes="quiet", scale=0, min_width=90)
    wall = gr.HTML(lambda: look(0)[0], js_on_load=PICK, elem_id="wall", apply_default_css=False)
    with gr.Row(elem_classes="pages"):
        newer = gr.Button("Newer", visible=False, elem_classes="quiet", scale=0, min_width=110)
        older = gr.Button("Older", visible=False, elem_classes="quiet", scale=0, min_width=110)
    timer = gr.Timer(PACE, active=False)

    quick: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
    parts = [wall, newer, older]
    show = "() => document.getElementById('chosen')?.scrollIntoView({behavior: 'smooth', block: 'nearest'})"
    wall.pick(pick, None, [large, told, chosen, panel], **quick).then(None, js=show, api_visibility="private")
    shut.click(lambda: gr.Row(visible=False), None, panel, **quick)
    take.click(use, chosen, [tabs, form.problem, *form.fields], **quick)
    newer.click(lambda at: turn(at, -PAGE), offset, [offset, *parts], **quick)
    older.click(lambda at: turn(at, PAGE), offset, [offset, *parts], **quick)
    timer.tick(look, offset, parts, **quick)
    tab.select(lambda at: (gr.Timer(active=True), *look(at)), offset, [timer, *parts], **quick)


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
    if row.files and row.files[0].endswith(".mp4"):
        inner = f'<video src="{address(row, 0)}" muted preload="metadata"></video>'
    elif row.files:
        inner = f'<img src="{address(row, 0)}" alt="" loading="lazy">'
    else:
        inner = '<span class="lost">not rendered</span>'
    return (
        f'<button type="button" class="print" data-job="{row.id}" data-act="show">'
        f"<span>{inner}</span><em>{caption}</em></button>"
    )
