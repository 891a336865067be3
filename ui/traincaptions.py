"""Captions for pictures that have none, on the Train page: words are offered, and a checkpoint chooses among them.

They are written beside the pictures, as `diorama caption` writes them, by a process of its own that this page begins
and watches. Only where the studio serves its own machine: nobody else writes into folders of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from pipelines.expansion.wildcards import FOLDER
from pipelines.refusal import Refusal
from training.runs import CAPTIONING, Busy, Kept, Wanted
from ui.expansion import lists_of
from ui.fields import noted, refused
from ui.reasons import cause, in_language, marked
from ui.redraw import SHELL, redrawn
from ui.settings import quick
from ui.shown import Shown, live
from ui.status import bar
from ui.studio import Studio
from ui.trainreport import seen
from ui.words import STANDARD, counted, say

ADDRESS = "captions"  # behind /watch/
MOST_WAYS = 8  # lines of words
LISTED = 200  # pictures whose captions are shown
EXAMPLE = "{a pim|a pim {left of|right of} a {red|blue} circle} {on a white background|in a meadow}"
CSS = """
.captions ol { margin: 0; padding-left: 22px; max-height: 320px; overflow: auto; font-size: 14.5px; }
.captions li { overflow-wrap: anywhere; padding: 2px 0; }
.captions li span { color: var(--body-text-color-subdued); } .captions li.bad b { color: var(--bad-ink); }
"""


class Captions:
    """The part of the page: the words, the button, and what became of them.

    Args:
        studio: what it works with.
        press: JavaScript that hands presses of buttons on, see `train.py`.
        pace: seconds between two looks.
    """

    def __init__(self, studio: Studio, press: str, pace: float) -> None:
        self.studio = studio
        with gr.Accordion(say("captions.title"), open=False, elem_classes="more", visible=studio.by_path):
            self.words = gr.Textbox(
                "", label=say("captions.words"), info=say("captions.words_info"), placeholder=EXAMPLE, lines=2,
                max_lines=MOST_WAYS, max_length=8_000, elem_id="train-words", elem_classes="words",
            )  # fmt: skip
            self.button = gr.Button(
                say("captions.write"), size="sm", elem_id="train-caption-them", elem_classes="quiet"
            )
            self.said = gr.HTML("", elem_classes="train-said", elem_id="train-captions-said", apply_default_css=False)
            self.view = gr.HTML(
                shown(studio).watched(ADDRESS), html_template=SHELL, js_on_load=redrawn(pace) + press,
                elem_id="train-captions", apply_default_css=False,
            )  # fmt: skip

    def wire(self, opened: list[Any], fields: list[Any], page: Callable[[Any], tuple[Path, str, int]]) -> None:
        """Connect it.

        Args:
            opened: the events at which its tab is opened.
            fields: the components of the form.
            page: the folder, the checkpoint and the resolution that values of `fields` name.
        """
        gr.on(opened, self._again, self.words, self.words, **quick)
        self.button.click(
            lambda words, *values: self._begin(words, page, values), [self.words, *fields], [self.said, self.view],
            **quick,
        )  # fmt: skip
        self.view.act(self._end, None, [self.said, self.view], **quick)

    def _again(self, words: str | None) -> Any:
        """The words that were offered last, where there are none."""
        found = self.studio.runs.captions()
        last = found.wanted.get("words") if found and not (words or "").strip() else None
        return "\n".join(map(str, last)) if isinstance(last, list) else gr.skip()

    def _begin(self, words: str | None, page: Callable[[Any], tuple[Path, str, int]], values: Any) -> tuple[Any, ...]:
        if not self.studio.by_path:  # the part is not on the page, but its listener has a name
            return gr.skip(), gr.skip()
        try:
            ways = tuple(line.strip() for line in (words or "").splitlines() if line.strip())
            if not ways:
                raise Refusal("", say("captions.no_words"))
            if len(ways) > MOST_WAYS:
                raise Refusal("", say("captions.many_words", most=MOST_WAYS, count=len(ways)))
            folder, model, resolution = page(values)
            lists = self.studio.folder.absolute() / FOLDER if lists_of(self.studio.folder).names() else ""
            self.studio.runs.caption(Wanted(str(folder), ways, model, resolution, str(lists)))
        except Refusal as refusal:
            return refused(refusal), gr.skip()
        except Busy as busy:
            return noted(busy_with(str(busy)), bad=True), gr.skip()
        except OSError as error:
            return noted(say("train.unwritten", why=cause(error)), bad=True), gr.skip()
        return "", shown(self.studio).watched(ADDRESS)

    def _end(self) -> tuple[Any, ...]:
        try:
            ended = self.studio.by_path and self.studio.runs.ask_captions()
        except OSError as error:
            return noted(say("train.unwritten", why=cause(error)), bad=True), gr.skip()
        return noted("" if ended else say("captions.gone")), shown(self.studio).watched(ADDRESS)


def busy_with(id: str) -> str:
    """What is at work where something else was to begin: a run, or the writing of captions."""
    return say("captions.busy") if id == CAPTIONING else say("train.busy", id=id)


def shown(studio: Studio) -> Shown:
    """The captions that are being written, or were written last."""
    found = studio.runs.captions() if studio.by_path else None
    return Shown.of(drawn(found, studio.by_path)) if found else Shown("")


def drawn(found: Kept, by_path: bool) -> str:
    """Captions as HTML: how far it is or how it ended, and what each picture got."""
    lines = [line for line in found.looked if isinstance(line.get("name"), str)]
    count = next((line["count"] for line in lines if isinstance(line.get("count"), int)), 0)
    pictures = [line for line in lines if line["name"]]
    good = [line for line in pictures if not line.get("why")]
    if found.going:
        words = say("captions.going", done=len(pictures), count=count) if count else say("captions.loading")
        share = live("captions-bar", bar(len(pictures) / count if count else 0.0), "div")
        told = live("captions-how", escape(words), "p", ' class="say" role="status"')
        button = f'<button type="button" data-act="end" data-run="captions">{escape(say("captions.stop"))}</button>'
        how = f'{told}{share}<div class="acts">{button}</div>'
    elif found.state == "failed" and not (count and len(pictures) == count):
        why = marked(seen(found, found.said, by_path)) if found.said else escape(say("captions.lost"))
        how = f'<p class="note bad" role="alert">{why}</p>'
    elif not count and found.state == "done":
        how = f'<p class="note" role="status">{escape(say("captions.none"))}</p>'
    elif found.state in ("stopped", "paused", "interrupted"):
        how = f'<p class="note" role="status">{escape(say("captions.stopped", done=len(good), count=count))}</p>'
    else:
        words = counted("captions.written", len(good))
        if count > len(good):
            words += " " + counted("captions.unread", count - len(good))
        how = f'<p class="note" role="status">{escape(words)}</p>'
    items = "".join(map(_item, pictures[:LISTED]))
    more = len(pictures) - LISTED
    rest = f"<p>{escape(counted('train.others_more', more))}</p>" if more > 0 else ""
    return f'<div class="run captions">{how}<ol lang="{STANDARD}">{items}</ol>{rest}</div>'


def _item(line: Mapping[str, Any]) -> str:
    """A picture and its captions, or why it gets none."""
    name = escape(str(line["name"]))
    if line.get("why"):
        return f'<li class="bad"><b>{name}</b><br>{escape(in_language(str(line["why"])))}</li>'
    captions = line.get("captions")
    texts = "<br>".join(escape(str(each)) for each in captions) if isinstance(captions, list) else ""
    return f"<li><span>{name}</span><br>{texts}</li>"
