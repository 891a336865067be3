"""Presets in a tab: choose one and fill its fields in, keep the tab's own settings under a name, rename, delete.

What a preset is, and what it may be called, is `pipelines/expansion/presets.py`'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import gradio as gr

from pipelines.expansion.presets import BARRED, CONTENT, FOLDER, Preset, Presets
from pipelines.job import KINDS
from pipelines.refusal import Refusal
from ui.fields import DEEP, Form, Values, label_of, refused
from ui.reasons import cause
from ui.settings import frames_of, quick
from ui.studio import Studio
from ui.words import lowered, say

# Of these jobs some fields belong to what is given and not to how it is drawn.
GIVEN = {"masked": frozenset({"frames", "fps"}), "dubbing": frozenset({"start", "fps"})}

CSS = """
.presets .told-of { margin: 0; color: var(--body-text-color-subdued); }
.presets .row { align-items: flex-end; gap: 10px !important; } .presets button.quiet { height: 42px; }
"""


def presets_row(studio: Studio, form: Form) -> None:
    """Lay the row out and wire it; to be called when the form has all its fields."""
    presets = Presets(studio.folder / FOLDER)
    kind = form.kind

    def listed(chosen: str = "") -> Any:
        return gr.Dropdown(choices=[none(), *((one.name, one.name) for one in suiting(presets, form))], value=chosen)

    def choose(name: str) -> tuple[Any, ...]:
        """What is chosen in words, and its name to write over where it is the user's own."""
        try:
            preset = presets.get(name) if name else None
        except Refusal as refusal:
            return refused(refusal), gr.skip()
        if preset is None:
            return "", gr.skip()
        words = preset.about or _named(preset)
        return _told(words), gr.skip() if preset.built_in else preset.name

    def fill(name: str, *values: Any) -> list[Any]:
        try:
            preset = presets.get(_required(name))
            filled = filling(form, preset, values)
        except Refusal as refusal:
            return [refused(refusal), *[gr.skip()] * len(form.parts)]
        return [_told(say("presets.filled", name=preset.name, fields=_named(preset))), *filled]

    def keep(name: str, chosen: str, *values: Any) -> tuple[Any, ...]:
        def write() -> tuple[str, str]:
            new = (name or "").strip()
            preset = presets.save(new, {"task": form.task, **settings_of(form, values)}, replace=new == chosen)
            return preset.name, say("presets.kept", name=preset.name, fields=_named(preset))

        return change(write)

    def rename(name: str, chosen: str) -> tuple[Any, ...]:
        def write() -> tuple[str, str]:
            new = (name or "").strip()
            presets.rename(_required(chosen), new)
            return new, say("presets.renamed", name=chosen, new=new)

        return change(write)

    def delete(chosen: str) -> tuple[Any, ...]:
        def write() -> tuple[str, str]:
            presets.delete(_required(chosen))
            return "", say("presets.deleted", name=chosen)

        return change(write)

    def change(write: Any) -> tuple[Any, ...]:
        try:
            chosen, words = write()
        except Refusal as refusal:
            return refused(refusal), gr.skip()
        except OSError as error:
            return refused(Refusal("", say("presets.unwritable", reason=cause(error)))), gr.skip()
        return _told(words), listed(chosen)

    with gr.Accordion(say("presets.title"), open=False, elem_classes=f"more presets {DEEP}", elem_id=f"{kind}-presets"):
        with gr.Row():
            chosen = gr.Dropdown(
                [none()], value="", label=say("presets.choice"), elem_id=f"{kind}-preset", min_width=160
            )
            use = gr.Button(
                say("presets.fill"),
                elem_classes="quiet",
                scale=0,
                min_width=100,
                size="sm",
                elem_id=f"{kind}-preset-fill",
            )
        with gr.Row():
            name = gr.Textbox(
                label=say("presets.name"),
                max_length=200,
                elem_classes="line-of-words",
                elem_id=f"{kind}-preset-name",
                min_width=160,
            )
            save = gr.Button(
                say("presets.keep"),
                elem_classes="quiet",
                scale=0,
                min_width=170,
                size="sm",
                elem_id=f"{kind}-preset-keep",
            )
        with gr.Row():
            again = gr.Button(
                say("presets.rename"),
                elem_classes="quiet",
                scale=0,
                min_width=100,
                size="sm",
                elem_id=f"{kind}-preset-rename",
            )
            away = gr.Button(
                say("presets.delete"),
                elem_classes="quiet",
                scale=0,
                min_width=100,
                size="sm",
                elem_id=f"{kind}-preset-delete",
            )
        said = gr.HTML(elem_classes="slot", elem_id=f"{kind}-preset-said", apply_default_css=False)
    for part in (chosen, name):
        part.preprocess = _text  # type: ignore[assignment, method-assign]  # what is chosen may be gone, which has a sentence

    form.opened(
        chosen, lambda: gr.Dropdown(choices=[none(), *((one.name, one.name) for one in suiting(presets, form))])
    )
    chosen.input(choose, chosen, [said, name], **quick)
    use.click(fill, [chosen, *form.parts], [said, *form.parts], js=_live(form, 1), **quick)
    save.click(keep, [name, chosen, *form.parts], [said, chosen], js=_live(form, 2), **quick)
    again.click(rename, [name, chosen], [said, chosen], **quick)
    away.click(delete, chosen, [said, chosen], **quick)


def none() -> tuple[str, str]:
    """What the list of presets offers first."""
    return say("presets.none"), ""


def suiting(presets: Presets, form: Form) -> list[Preset]:
    """The presets all of whose fields the form has."""
    held = {field.name.partition("[")[0] for field in form.fields} - GIVEN.get(form.task, frozenset())
    held |= {"frames"} if "seconds" in held else set()
    return [preset for preset in presets.all(form.task) if preset.fields.keys() <= held]


def filling(form: Form, preset: Preset, values: Sequence[Any]) -> list[Any]:
    """What the form's parts show with the preset's fields in them; the others stay as they are.

    Raises:
        Refusal: the preset is for another task.
    """
    try:
        draft = form.job(values)
    except Refusal:  # a form that is not finished takes a preset as well
        draft = {"task": form.task}
    shown = form.values(preset.apply(draft))
    named = {*preset.fields, *(["seconds"] if "frames" in preset.fields else [])}
    pairs = zip(form.fields, shown, strict=True)
    return [value if field.name.partition("[")[0] in named else gr.skip() for field, value in pairs]


def settings_of(form: Form, values: Sequence[Any]) -> Values:
    """What of the page's values says how to draw, and not what.

    Raises:
        Refusal: a value that can not even be asked for.
    """
    page = form.page(values)
    barred = BARRED | CONTENT | GIVEN.get(form.task, frozenset())
    found = {name: page[name] for name in KINDS[form.task].model_fields if name in page and name not in barred}
    if "seconds" in page:
        found["frames"] = frames_of(page["seconds"], page["fps"])
    return found


def _live(form: Form, before: int) -> str | None:
    """The form's JavaScript for an event that has other values before the form's."""
    if form.live is None:
        return None
    return f"async (...v) => [...v.slice(0, {before}), ...await ({form.live})(...v.slice({before}))]"


def _required(name: str) -> str:
    if not name:
        raise Refusal("", say("presets.nothing_chosen"))
    return name


def _named(preset: Preset) -> str:
    return ", ".join(lowered(label_of(field)) for field in preset.fields)


def _told(words: str) -> str:
    return f'<p class="told-of" role="status">{escape(words)}</p>'


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
