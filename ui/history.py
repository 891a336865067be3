"""The History tab: every output of the folder, to be found, rated, compared, rendered again and thrown away.

The wall is in `prints.py`, what a person says in `remarks.py`, two side by side in `comparison.py`, one output in
`chosen.py`, and the way back to the fields in `restored.py`.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from html import escape
from typing import Any

import gradio as gr

from pipelines.files.media import MediaError
from pipelines.history.annotation import MOST_RATING
from pipelines.history.compare import differences
from pipelines.history.history import Page, Search
from pipelines.job import KINDS
from pipelines.refusal import Refusal
from ui.chosen import LEAVE, about, buttons, judged_at, open_to, verdict
from ui.comparison import COMPARE, compared, measured, one_taken
from ui.desk import Desk
from ui.fields import refused
from ui.past import past
from ui.prints import EMPTY, EMPTY_BIN, NOT_FOUND, WALL, prints
from ui.reasons import cause
from ui.redraw import SHELL, asking, redrawn
from ui.remarks import REMARKS, remarks, tags_of
from ui.restored import SEE, WayBack, drop_place, script
from ui.result import ACT, picture
from ui.settings import quick
from ui.shown import Shown, unseen, watched
from ui.studio import Studio
from ui.words import counted, of, say

PAGE = 24
PACE = 1.5  # seconds between two looks, while the tab is open
MOST_TAGS = 100  # that are offered
BIN, LIVE = "bin", "renders"
WALL_AT = "history"  # where a page asks whether the wall is another one, behind /watch/

# After something was changed that the wall shows; heard by the wall.
LOOK = "() => document.dispatchEvent(new Event('diorama-look'))"
HEAR = "document.addEventListener('diorama-look', () => trigger('tick', {}), {signal: away.signal});"

CSS = """
.seek { gap: 14px !important; align-items: flex-end; margin: 4px 0 2px; }
.seek .block { overflow: visible; }
.seek > .form {
  display: flex; flex-wrap: wrap; gap: 14px; width: 100%; border: 0; box-shadow: none; background: none;
  overflow: visible;
}
.seek-help { margin: 0 2px 6px; font-size: 14px; color: var(--body-text-color-subdued); }
.seek-help summary { width: fit-content; cursor: pointer; } .seek-help p { margin: 6px 0 0; max-width: 70ch; }
/* No comma within :has, for gradio takes selectors apart at each. */
.history-said:not(:has(p)), .compare-place:not(:has(.compared)):not(:has(p)) { display: none; }
.history-said p { margin: 0 0 8px; }
.found { margin: 4px 2px 0; font-size: 14px; color: var(--body-text-color-subdued); }
.bin-row { align-items: center; gap: 12px !important; flex-wrap: wrap; }
"""


def history_tab(studio: Studio, desks: Sequence[Desk], tabs: gr.Tabs, tab: gr.Tab, bar: Any) -> None:
    """Lay the tab out and wire it.

    Args:
        studio: what it works with.
        desks: the tabs that a job can go back to.
        tabs: all tabs.
        tab: this one.
        bar: where it is said what came back; see `ui.restored.bar`.
    """
    history = studio.history
    way = WayBack(studio, desks, tabs, bar)

    # ------------------------------------------------------------ finding

    def look(
        text: Any, task: Any, rating: Any, tags: Any, where: Any, trail: Any = "", sought: Any = ""
    ) -> tuple[Any, ...]:
        """The wall, what of it is found, and which pages there are before and after.

        Where something else is looked for than `sought`, that is the first page of it.
        """
        wanted, more, problem = wanted_of(text, task, rating, tags, where), False, ""
        trail, sought = trail if repr(wanted) == sought else "", repr(wanted)
        mark = Shown(history.changed()).mark  # before anything is read, so that no change is missed
        try:
            more = history.keep_up()
        except (OSError, sqlite3.Error) as error:
            problem = _unread(error)
        page, count = _page(studio, wanted, str(trail or "")), history.count(wanted)
        nothing = EMPTY_BIN if wanted.binned else EMPTY if wanted == Search() else NOT_FOUND
        said = _counted(count, wanted.binned) + (f" {say('history.reading')}" if more else "")
        return (
            trail, sought, watched(WALL_AT, mark, prints(page.entries, nothing)),
            f'<p class="found" role="status">{said}</p>{problem}',
            gr.Button(visible=bool(trail)), gr.Button(visible=bool(page.after)),
            gr.Row(visible=wanted.binned and count > 0),
        )  # fmt: skip

    def older(*values: Any) -> str:
        *seek, trail = values
        return f"{trail} {_page(studio, wanted_of(*seek), str(trail or '')).after}".strip()

    def newer(trail: Any) -> str:
        return " ".join(str(trail or "").split()[:-1])

    def opened() -> Any:
        """The tags that there are."""
        return gr.Dropdown(choices=[*history.words()["tag"]][:MOST_TAGS])

    # ------------------------------------------------------------ one output

    def show(id: str, said: str = "") -> tuple[Any, ...]:
        """Everything about one output, or nothing where it is gone."""
        entry, found = history.get(id), past(history, id)
        if entry is None or found is None:
            return "", gr.Row(visible=False), "", "", "", "", said, *[gr.skip()] * len(acts)
        known = [*history.words()["tag"]][:MOST_TAGS]
        return (
            id, gr.Row(visible=True), picture(found, studio.folder), about(entry, found, studio.folder),
            remarks(entry, known), judgement(id), said, *open_to(entry),
        )  # fmt: skip

    def judgement(id: str) -> str:
        """What came of rendering an output again, and where a page asks for more of it."""
        return Shown(verdict(studio, id)).watched(judged_at(id)) if history.get(id) else ""

    def pick(event: gr.EventData) -> tuple[Any, ...]:
        return show(str(event.id))

    def remark(event: gr.EventData) -> str:
        """Keep what somebody says of an output; what was typed stays as it is."""
        what, value = str(event.what), str(event.value)
        kinds: dict[str, dict[str, Any]] = {
            "rating": {"rating": int(value) if value.isdecimal() and len(value) == 1 else value},
            "tags": {"tags": tags_of(value)},
            "note": {"note": value},
        }
        given = kinds.get(what, {})

        def keep() -> str:
            history.annotate(str(event.id), **given)
            return say("history.kept")

        return _tried(keep)

    def discard(id: str) -> tuple[Any, ...]:
        entry = history.get(id)

        def away() -> str:
            studio.reproductions.leave(id)
            history.discard(id)
            return say("history.discarded", name=entry.stem if entry else "")

        return show("", _tried(away))

    def delete_key(event: gr.EventData) -> tuple[Any, ...]:
        return discard(str(event.id))

    def take_back(id: str) -> tuple[Any, ...]:
        return show("", _tried(lambda: say("history.taken_back", name=history.take_back(id).stem)))

    def again(id: str) -> str:
        """Ask the worker to render an output again and compare it."""
        entry = history.get(id)
        if entry is not None and entry.binned is None:
            try:
                studio.reproductions.ask(id, f"{entry.stem}.json")
            except OSError as error:
                return _unread(error)
        return judgement(id)

    def leave(id: str) -> str:
        studio.reproductions.leave(id)
        return judgement(id)

    # ------------------------------------------------------------ two outputs

    def pair(event: gr.EventData) -> tuple[str, str]:
        """Two outputs side by side; how far their pixels are apart comes after, for it may take a while."""
        ids = [id for id in (str(event.left), str(event.right)) if id]
        found = [(entry, shown) for id in ids if (entry := history.get(id)) and (shown := past(history, id))]
        if len(found) < 2:
            return one_taken(found[0][0]) if found else "", ""
        told = [history.record(entry.id) for entry, _ in found]
        return compared(found, differences(*told)), " ".join(ids)

    def measure(ids: str) -> str:
        left, _, right = str(ids or "").partition(" ")
        if not right:
            return ""
        try:
            return measured(history.compare(left, right))
        except (Refusal, OSError, MediaError):
            return ""

    # ------------------------------------------------------------ the bin

    def ask() -> tuple[Any, ...]:
        count = history.count(Search(binned=True))
        return gr.Row(visible=True), f'<p class="note" role="alert">{say("history.sure", count=count)}</p>', time.time()

    def throw_out(before: Any) -> tuple[Any, ...]:
        """Empty the bin of what was in it when it was asked for."""
        moment = float(before) if isinstance(before, int | float) else 0.0
        said = _tried(lambda: say("history.thrown_out", count=history.empty(moment)))
        return gr.Row(visible=False), *show("", said)

    # ------------------------------------------------------------ the page

    place = gr.HTML(drop_place(), js_on_load=script(), elem_id="drop-job", apply_default_css=False)
    with gr.Row(elem_classes="seek", equal_height=False):
        text = gr.Textbox(
            label=say("history.search"), placeholder=say("history.search_hint"), elem_id="history-search",
            elem_classes="line-of-words", scale=4, min_width=220, max_length=500,
        )  # fmt: skip
        task = gr.Dropdown(
            [(say("history.any_task"), ""), *((of("task", name), name) for name in KINDS)], value="",
            label=say("history.task"), scale=2, min_width=120, elem_id="history-task",
        )  # fmt: skip
        rated = [
            (say("history.any_rating"), 0),
            *((say("history.at_least", stars="★" * count), count) for count in range(1, MOST_RATING + 1)),
        ]
        rating = gr.Dropdown(
            rated, value=0, label=say("history.rated"), scale=2, min_width=120, elem_id="history-stars"
        )
        tags = gr.Dropdown(
            [], value=[], multiselect=True, label=say("history.tagged"), scale=3, min_width=160, elem_id="history-tags",
        )  # fmt: skip
        where = gr.Radio(
            [(say("history.renders"), LIVE), (say("history.in_bin"), BIN)], value=LIVE,
            label=say("history.where"), scale=3, min_width=190, elem_classes="modes", elem_id="history-where",
        )  # fmt: skip
    for part in (task, rating, tags, where):
        part.preprocess = lambda value: value  # type: ignore[method-assign]  # what comes is judged by `wanted_of`
    how = (
        f'<details class="seek-help"><summary>{say("history.how")}</summary><p>{say("history.help_html")}</p></details>'
    )
    gr.HTML(how, apply_default_css=False)
    chosen, trail, sought, taken = (gr.Textbox("", visible=False) for _ in range(4))
    said = gr.HTML(elem_classes="history-said", elem_id="history-said", apply_default_css=False)
    with gr.Row(visible=False, elem_classes="sheet detail", elem_id="chosen") as panel:
        with gr.Column(scale=0, min_width=260):
            shown = gr.HTML(js_on_load=ACT, apply_default_css=False)
        with gr.Column(scale=1, min_width=240):
            told = gr.HTML(apply_default_css=False)
            own = gr.HTML(js_on_load=REMARKS, elem_id="remarks", apply_default_css=False)
            with gr.Row(elem_classes="actions"):
                acts = buttons()
                use_all, seedless, words_only, change, go_on, once_more, discarded, back, shut = acts
            judged = gr.HTML(
                "", html_template=SHELL, js_on_load=redrawn(PACE) + LEAVE, elem_id="verdict", apply_default_css=False
            )
    with gr.Column(elem_classes="compare-place"):
        beside = gr.HTML(js_on_load=COMPARE, elem_id="compare", apply_default_css=False)
        apart = gr.HTML(elem_id="compare-pixels", apply_default_css=False)
    found = gr.HTML(apply_default_css=False, elem_id="history-found")
    with gr.Row(visible=False, elem_classes="bin-row") as bin_row:
        empty = gr.Button(say("history.throw_out"), elem_classes="quiet", elem_id="empty-bin", scale=0, min_width=150)
    with gr.Row(visible=False, elem_classes="bin-row", elem_id="sure") as sure_row:
        sure = gr.HTML(apply_default_css=False)
        delete = gr.Button(say("history.delete"), variant="primary", elem_id="delete", scale=0, min_width=150)
        keep = gr.Button(say("history.keep"), elem_classes="quiet", scale=0, min_width=120)
    asked = gr.Number(0, visible=False)
    # Which of its outputs are found depends on this page's own search, so a listener draws it, when there is news.
    wall = gr.HTML(
        unseen(WALL_AT), js_on_load=WALL + asking(PACE, "trigger('tick', {})") + HEAR, elem_id="wall",
        apply_default_css=False,
    )  # fmt: skip
    with gr.Row(elem_classes="pages"):
        to_newer = gr.Button(say("history.newer"), visible=False, elem_classes="quiet", scale=0, min_width=110)
        to_older = gr.Button(
            say("history.older"), visible=False, elem_classes="quiet", scale=0, min_width=110, elem_id="older"
        )

    # ------------------------------------------------------------ what happens

    seek = [text, task, rating, tags, where]
    detail = [chosen, panel, shown, told, own, judged, said, *acts]
    always = {**quick, "trigger_mode": "always_last"}
    each_one = {**quick, "trigger_mode": "multiple"}  # what is said while an answer is on its way counts as well
    see = "() => document.getElementById('chosen')?.scrollIntoView({behavior: 'smooth', block: 'nearest'})"

    # One listener alone draws the wall: its answers come in the order of the questions, the last one last.
    # Words that are pasted or dictated are a change and no input.
    gr.on(
        [text.change, task.input, rating.input, tags.input, where.input, wall.tick], look, [*seek, trail, sought],
        [trail, sought, wall, found, to_newer, to_older, bin_row], **always,
    )  # fmt: skip
    tab.select(opened, None, tags, **quick)

    wall.pick(pick, None, detail, **always).then(None, js=see, api_visibility="private")
    changes = [
        to_older.click(older, [*seek, trail], trail, **quick),
        to_newer.click(newer, trail, trail, **quick),
        own.say(remark, None, said, **each_one),
        discarded.click(discard, chosen, detail, **quick),
        wall.discard(delete_key, None, detail, **each_one),
        back.click(take_back, chosen, detail, **quick),
        delete.click(throw_out, asked, [sure_row, *detail], **quick),
    ]
    for each in changes:
        each.then(None, js=LOOK, api_visibility="private")
    shut.click(lambda: show(""), None, detail, **quick)
    once_more.click(again, chosen, judged, **quick)
    judged.leave(leave, chosen, judged, **quick)

    wall.pair(pair, None, [beside, taken], **always).then(measure, taken, apart, **quick)
    beside.shut(lambda: ("", "", ""), None, [beside, taken, apart], **quick)

    empty.click(ask, None, [sure_row, sure, asked], **quick)
    keep.click(lambda: gr.Row(visible=False), None, sure_row, **quick)

    ways = [
        use_all.click(lambda id: way.use(id, "all"), chosen, way.outputs, **quick),
        seedless.click(lambda id: way.use(id, "all but the seed"), chosen, way.outputs, **quick),
        words_only.click(
            lambda id, *values: way.use(id, "prompt only", *values), [chosen, *way.inputs], way.outputs,
            js=way.live(1), **quick,
        ),
        change.click(way.change, chosen, way.outputs, **quick),
        go_on.click(way.go_on, chosen, way.outputs, **quick),
        place.restore(way.dropped, None, way.outputs, **quick),
    ]  # fmt: skip
    for each in ways:
        each.then(None, js=SEE, api_visibility="private")


def known(studio: Studio) -> Shown:
    """What tells one history from another, after a look for what is new in the folder."""
    with suppress(OSError, sqlite3.Error):  # which is said where the wall is drawn
        studio.history.keep_up()
    return Shown(studio.history.changed())


def wanted_of(text: Any, task: Any, rating: Any, tags: Any, where: Any) -> Search:
    """What is looked for, of what the page sends; what is none of its values counts as nothing."""
    return Search(
        text=text if isinstance(text, str) else "",
        task=task if isinstance(task, str) and task else None,
        rating=int(rating) if isinstance(rating, int | float) and 0 <= rating <= MOST_RATING else 0,
        tags=tuple(tag for tag in tags if isinstance(tag, str)) if isinstance(tags, list) else (),
        binned=where == BIN,
    )


def _page(studio: Studio, wanted: Search, trail: str) -> Page:
    """The page at the end of the way from the first one; the first where the way leads nowhere."""
    after = (trail.split() or [""])[-1]
    try:
        return studio.history.search(wanted, after, PAGE)
    except Refusal:
        return studio.history.search(wanted, "", PAGE)


def _counted(count: int, binned: bool) -> str:
    return counted("history.binned", count) if binned else counted("history.found", count)


def _tried(change: Callable[[], str]) -> str:
    """What a change says, or why there was none."""
    try:
        return f'<p class="say" role="status">{escape(change())}</p>'
    except Refusal as refusal:
        return refused(refusal)
    except (OSError, MediaError, sqlite3.Error) as error:
        return _unread(error)


def _unread(error: Exception) -> str:
    return f'<p class="note bad" role="alert">{escape(say("history.not_read", reason=cause(error)))}</p>'
