"""One output of the history: its picture, what it was asked for, what one can do with it, and what came of rendering
it again.
"""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import gradio as gr

from pipelines.history.history import Entry
from pipelines.history.reproductions import Reproduction
from ui.past import Past
from ui.reasons import in_language
from ui.result import facts, prompt
from ui.studio import Studio
from ui.words import moment, say

LEAVE = """
element.addEventListener('click', (event) => {
  if (event.target.closest('[data-leave]')) trigger('leave', {});
});
"""

CSS = """
.told h3 { margin: 0 0 6px; font: 600 14px/1.3 var(--sans, inherit); color: var(--body-text-color-subdued);
  overflow-wrap: anywhere; }
.detail .actions button {
  flex: 0 0 auto; width: auto; min-width: 0; padding: 9px 15px; font-size: 15px; white-space: nowrap;
}
.verdict { display: flex; flex-direction: column; gap: 9px; }
.verdict .note.good { background: #e4f3e2; border-color: #a9d3a4; color: #1d4d25; }
.dark .verdict .note.good { background: #243b2b; border-color: #3f6a4a; color: #cdeccd; }
.verdict .note ul { margin: 6px 0 0; padding-left: 20px; }
.verdict button {
  width: fit-content; margin: 0; padding: 6px 13px; border: 0; border-radius: 10px; font-weight: 600; cursor: pointer;
  background: var(--button-secondary-background-fill); color: var(--button-secondary-text-color);
}
"""


def about(entry: Entry, found: Past, folder: Path) -> str:
    """Its name, what it was asked for, its settings and its files."""
    said = f'<h3>{escape(entry.stem)}</h3><p class="words">{escape(prompt(found))}</p>'
    if found.job.get("negative_prompt"):
        said += f'<p class="without">{escape(say("chosen.without", words=found.job["negative_prompt"]))}</p>'
    return f'<div class="told" data-id="{entry.id}">{said}{facts(found, folder)}</div>'


def buttons() -> list[Any]:
    """What one can do with an output, in the order of `open_to`."""
    quiet: dict[str, Any] = {"elem_classes": "quiet", "scale": 0, "min_width": 110}
    return [
        gr.Button(say("chosen.use"), variant="primary", elem_id="use", scale=0, min_width=110),
        gr.Button(say("chosen.seedless"), elem_id="use-seedless", **quiet),
        gr.Button(say("chosen.words"), elem_id="use-words", **quiet),
        gr.Button(say("chosen.change"), elem_id="change", **quiet),
        gr.Button(say("chosen.go_on"), elem_id="go-on", **quiet),
        gr.Button(say("chosen.again"), elem_id="reproduce", **quiet),
        gr.Button(say("chosen.discard"), elem_id="discard", **quiet),
        gr.Button(say("chosen.take_back"), elem_id="take-back", **quiet),
        gr.Button(say("chosen.close"), elem_id="close-chosen", **quiet),
    ]


def open_to(entry: Entry) -> list[Any]:
    """Which of the buttons an output has; one in the bin can be used again, and be put back."""
    here = entry.binned is None
    shown = [True, True, True, here, here and entry.kind == "video", here, here, not here, True]
    return [gr.Button(visible=visible) for visible in shown]


def verdict(studio: Studio, id: str) -> str:
    """What came of rendering an output again, or how far it is; nothing where nobody asked."""
    found = studio.reproductions.get(id)
    if found is None:
        return ""
    inner = _judged(studio, found) if found.verdict else _on_its_way(studio, found)
    return f'<div class="verdict" data-state="{found.state}">{inner}</div>'


def judged_at(id: str) -> str:
    """Where a page asks for that, behind /watch/."""
    return f"verdict?{urlencode({'id': id})}"


def _on_its_way(studio: Studio, found: Reproduction) -> str:
    words = say("chosen.waiting")
    if found.state == "running":
        words = say("chosen.step", step=found.step, steps=found.steps) if found.step else say("chosen.starting")
    percent = round(100 * found.step / found.steps) if found.steps else 0
    health = studio.health()
    alarm = f'<p class="note bad" role="alert">{escape(health)}</p>' if health else ""
    return (
        f'<p class="say" role="status">{words}</p><div class="bar" role="progressbar" aria-valuemin="0" '
        f'aria-valuemax="100" aria-valuenow="{percent}" aria-label="{say("chosen.progress")}"><i style="width: '
        f'{percent}%"></i></div>'
        f'{alarm}<button type="button" data-leave>{say("chosen.stop")}</button>'
    )


def _judged(studio: Studio, found: Reproduction) -> str:
    assert found.verdict is not None
    # Names, and not where the folder is.
    sentence = studio.uploads.plain(found.verdict.in_words(in_language)).replace(f"{studio.folder}/", "")
    words = escape(sentence[:1].upper() + sentence[1:]) + ("" if sentence.endswith(".") else ".")
    tone = "good" if found.verdict.equal else "bad" if not found.verdict.rendered else ""
    when = moment(found.when)
    return f'<p class="note {tone}" role="status"><b>{say("chosen.judged", when=when)}</b> {words}</p>'
