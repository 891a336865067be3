"""From an output, or a file of ours that was dropped, back to the fields of its tab, and what could not come back.

What stands in the files is read by `pipelines/history/restore.py`. Here is how it comes into the fields, and the
bar above the tabs that says how that went.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from pipelines.files.record import adapters_named
from pipelines.history.restore import PARTS, Mode, restore, use
from pipelines.refusal import Refusal
from ui.choice import continued, video_at
from ui.desk import Desk
from ui.fields import is_field, label_of, refused
from ui.result import kind
from ui.studio import Studio
from ui.uploads import MAX_UPLOAD
from ui.words import for_script, say

ACCEPT = ".png,.mp4,.json,.psd,.ora,image/png,video/mp4,application/json"

TEXTS = ("prompt", "negative_prompt", *PARTS)  # the fields that have words in them

CLOSER = """
element.addEventListener('click', (event) => {
  if (event.target.closest('[data-close]')) element.querySelector('.restored')?.remove();
});
"""
SEE = "() => document.querySelector('#restored .restored')?.scrollIntoView({behavior: 'smooth', block: 'nearest'})"

# Files go straight to the studio's own route. Anywhere on the tab counts, for who drags can not aim well.
DROP = """
const words = WORDS;
const tab = element.closest('[role=tabpanel]') ?? element;
const place = () => element.querySelector('.drop-here');
const say = (words, bad) => {
  const told = element.querySelector('[data-told]');
  if (told) { told.textContent = words; told.classList.toggle('bad', Boolean(bad)); }
};
const send = async (file) => {
  if (!file) return;
  if (file.size > MOST) return say(words.large, true);
  say(words.taking);
  try {
    const answer = await fetch('uploads/recipe', {method: 'POST', body: file,
      headers: {'Content-Type': 'application/octet-stream'}});
    const told = await answer.json();
    if (!answer.ok) return say(told.reason, true);
    say(words.hint);
    trigger('restore', {id: told.id, name: file.name});
  } catch (error) { say(words.lost, true); }
};
element.addEventListener('change', (event) => {
  if (event.target.type === 'file') { send(event.target.files[0]); event.target.value = ''; }
});
for (const name of ['dragover', 'dragleave', 'drop']) tab.addEventListener(name, (event) => {
  if (!event.dataTransfer?.types.includes('Files')) return;
  event.preventDefault();
  place()?.classList.toggle('over', name === 'dragover');
  if (name === 'drop') send(event.dataTransfer.files[0]);
});
"""

CSS = """
.restored { position: relative; margin: 10px 0 4px; padding: 12px 54px 12px 18px; }
.restored p { margin: 0; } .restored ul { margin: 6px 0 0; padding-left: 20px; } .restored li { margin: 2px 0; }
.restored button {
  position: absolute; right: 12px; top: 9px; width: 30px; height: 30px; margin: 0; padding: 0; border: 0;
  border-radius: 50%; background: none; color: inherit; font-size: 19px; line-height: 1; cursor: pointer;
}
.drop-here.over { border-style: solid; background: var(--note); }
"""


def bar() -> Any:
    """The place above the tabs where it is said what came back."""
    return gr.HTML(js_on_load=CLOSER, elem_id="restored", apply_default_css=False)


def script() -> str:
    """What the place for files of ours does in the browser."""
    room = str(MAX_UPLOAD // 2**20)
    return for_script(DROP, "dropped").replace("MOST", str(MAX_UPLOAD)).replace("{room}", room)


def drop_place() -> str:
    """The place on the tab to which files of ours are given."""
    field = f'<input type="file" accept="{ACCEPT}" aria-label="{say("restored.label")}">'
    return (
        f'<label class="drop-here">{field}<span><b>{say("restored.label")}</b><i data-told role="status">'
        f"{say('dropped.hint')}</i></span></label>"
    )


class WayBack:
    """Fills the fields of tabs. Every method answers with values for `outputs`.

    Args:
        studio: what the tabs work with.
        desks: the tabs that have fields.
        tabs: all tabs.
        bar: see `bar`.
    """

    def __init__(self, studio: Studio, desks: Sequence[Desk], tabs: Any, bar: Any) -> None:
        self._studio, self._desks = studio, desks
        self.outputs = [tabs, bar, *(part for desk in desks for part in (*desk.form.notes, *desk.form.parts))]
        self._listed = [desk for desk in desks if any(field.name in PARTS for field in desk.form.fields)]

    # ------------------------------------------------------------ what the page asks

    @property
    def inputs(self) -> list[Any]:
        """What `prompt_only` has to know of the page: the fields of tabs whose jobs are lists of parts."""
        return [part for desk in self._listed for part in desk.form.parts]

    def live(self, before: int) -> str:
        """JavaScript that reads what only the page knows of `inputs`, behind `before` other inputs."""
        fields = [field for desk in self._listed for field in desk.form.fields]
        reads = [f"v[{before + i}] = {field.live} ?? v[{before + i}];" for i, field in enumerate(fields) if field.live]
        return f"async (...v) => {{ {' '.join(reads)} return v; }}"

    def use(self, id: str, mode: Mode, *values: Any) -> list[Any]:
        """The job of an output, or some of it.

        Args:
            id: of the history.
            mode: what of it.
            values: of `inputs`, for `prompt only`.
        """
        entry = self._studio.history.get(id)
        record = next((path for path in reversed(self._studio.history.files(id)) if path.suffix == ".json"), None)
        if entry is None or record is None:
            return self.say(say("restored.gone"))
        return self.restored(record, entry.stem, mode, values)

    def dropped(self, event: gr.EventData) -> list[Any]:
        """The job of a file that was dropped."""
        data = self._studio.uploads.recipe(str(event.id))
        return self.restored(data, str(event.name)) if data is not None else self.say(say("restored.gone_file"))

    def change(self, id: str) -> list[Any]:
        """The picture or video itself, to make a part of it new."""
        path = self._studio.history.shown(id)
        if path is None:
            return self.say(say("restored.gone"))
        try:
            upload = self._studio.uploads.keep(path)
        except (Refusal, OSError):  # somebody took the file away, or there is no room to keep it
            return self.say(say("restored.gone"))
        return self._filled("masked", {"task": "masked", "source": self._studio.uploads.path(upload.id)}, "")

    def go_on(self, id: str) -> list[Any]:
        """The video itself, to be followed by new scenes."""
        try:
            path = continued(self._studio, id)
        except Refusal:
            return self.say(say("restored.gone"))
        job = self._studio.history.record(id)["job"]
        same = {name: job[name] for name in ("size", "fps") if job.get(name)}
        return self._filled("scenes", {"task": "scenes", **same, "continue_from": path}, "")

    # ------------------------------------------------------------ how it is answered

    def restored(self, file: Path | bytes, name: str, mode: Mode = "all", values: Sequence[Any] = ()) -> list[Any]:
        """The job in a file of ours, which is called `name`."""
        try:
            found = restore(file, self._knows, self._has)
        except Refusal as refusal:
            return self._nothing(refused(refusal))
        tab, notes = kind(found.job), [*found.notes]
        notes += [f"{field}: {say('restored.adapters')}" for field, _ in adapters_named(found.job) if "." in field]
        desk = next((desk for desk in self._desks if desk.form.kind == tab), None)
        if desk is None:
            return self.say(say("restored.no_tab", name=name, task=tab))
        job = use(found.job, mode, self._current(desk, values) if mode == "prompt only" else {})
        if mode == "prompt only":
            notes = [note for note in notes if note.startswith(TEXTS)]
        said = _said(say("restored.partly" if notes else "restored.restored", name=name), notes)
        return self._filled(tab, job, said if notes or mode == "all" else "", name, mode)

    def say(self, sentence: str) -> list[Any]:
        """One sentence in the bar, and nothing else changes."""
        return self._nothing(_said(sentence, (), bad=True))

    def _nothing(self, said: str) -> list[Any]:
        return [gr.skip(), said, *[gr.skip()] * (len(self.outputs) - 2)]

    def _filled(self, tab: str, job: Mapping[str, Any], said: str, name: str = "", mode: Mode = "all") -> list[Any]:
        """A job in the fields of its tab, which is opened; what the mode does not take stays as it is."""
        filled: list[Any] = [gr.Tabs(selected=tab), said]
        for desk in self._desks:
            values: list[Any] = [gr.skip()] * len(desk.form.fields)
            if desk.form.kind == tab:
                try:
                    values = desk.form.values(job)
                except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
                    return self.say(say("restored.odd", name=name))  # a file may say whatever it likes
                pairs = zip(desk.form.fields, values, strict=True)
                values = [value if _takes(mode, field.name) else gr.skip() for field, value in pairs]
            filled += [*desk.form.said(), *values]
        return filled

    def _current(self, desk: Desk, values: Sequence[Any]) -> Mapping[str, Any]:
        """The job that stands in the fields of a tab, as far as it makes one."""
        at = 0
        for each in self._listed:
            own = values[at : at + len(each.form.fields)]
            at += len(each.form.fields)
            if each is desk and len(own) == len(each.form.fields):
                try:
                    return each.form.job(own)
                except Refusal:
                    return {}
        return {}

    def _knows(self, model: str) -> bool:
        """Whether the page offers a model; a name that came from somewhere is never looked for on the disk."""
        return any(model == one.model for one in self._studio.shelf.items() if one.description is not None)

    def _has(self, path: str) -> bool:
        """Whether the page can show a file that a job names: it was given here, or is a video of the history."""
        return self._studio.uploads.of(path) is not None or video_at(self._studio, path) is not None


def _takes(mode: Mode, field: str) -> bool:
    if mode == "prompt only":
        return field in TEXTS
    return mode == "all" or field != "seed"


def _said(sentence: str, notes: Sequence[str], bad: bool = False) -> str:
    listed = "".join(f"<li>{_note(note)}</li>" for note in notes)
    close = (
        f'<button type="button" data-close aria-label="{say("restored.close")}" '
        f'title="{say("restored.close")}">&times;</button>'
    )
    return (
        f'<section class="note{" bad" if bad else ""} restored" role="status"><p>{escape(sentence)}</p>'
        f"{f'<ul>{listed}</ul>' if listed else ''}{close}</section>"
    )


def _note(note: str) -> str:
    """A note with its field as the page calls it."""
    field, colon, rest = note.partition(": ")
    if colon and is_field(field.partition("[")[0]):
        return f"<b>{escape(label_of(field))}:</b> {escape(rest)}"
    return escape(note)
