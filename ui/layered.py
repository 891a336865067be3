"""The Layers tab: a picture in RGBA layers, each in its box; or a finished picture taken apart into them."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from pipelines.job import Job, parse
from pipelines.refusal import Refusal
from ui import drop, settings
from ui.boxes import BoxField, part_of
from ui.desk import Desk, desk
from ui.fields import Form, Unfinished, Values, defaults
from ui.files import stored
from ui.masked import PICTURES
from ui.result import record
from ui.stack import layers_of
from ui.studio import Studio
from ui.words import of, say


def layered_tab(studio: Studio, opened: Sequence[Any]) -> Desk:
    """Lay the tab out and wire it."""
    return desk(
        studio, "layered", lambda studio: Layered(studio).form, opened, wide=True,
        again=lambda id, layer: again(studio, id, layer),
    )  # fmt: skip


class Layered:
    """The tab's fields."""

    def __init__(self, studio: Studio) -> None:
        self.uploads = studio.uploads
        form, standard = Form("layered", "layered", self.join, self.split), defaults("layered")
        self.form = form
        settings.prompt(form, "a red circle and a blue square in a meadow", label=say("boxes.whole"))
        width, height = standard["size"]
        boxes = BoxField(form, "layers", (width, height), "layer", anonymous=True)
        with gr.Accordion(say("layered.finished"), open=False, elem_classes="more deep"):
            source, background = self._place("source"), self._place("background")
        form.slot("source", "background")
        settings.without(form)
        settings.size(form)
        settings.sampling(form)
        with gr.Accordion(say("settings.more"), open=False, elem_classes="more deep"):
            settings.more(form)
        form.keep("prompt", "negative_prompt", "size[0]", "size[1]")
        sides = [form.part("size[0]"), form.part("size[1]")]
        source.pick(self.took_source, None, [source, *sides], **settings.quick)
        background.pick(self.took_background, None, [background, *sides], **settings.quick)
        boxes.wire(source)

    def _place(self, name: str) -> Any:
        def shown(path: str | None) -> str:
            label, hint = of("apart", name), of("apart", f"{name}_hint")
            return drop.place(self.uploads.of(path), label, hint, PICTURES)

        id = f"layered-{name}"
        part = gr.HTML(shown(None), js_on_load=drop.script(), elem_id=id, apply_default_css=False)
        return self.form.add(name, part, sent=drop.given, shown=shown, live=drop.live(id), deep=True)

    # ------------------------------------------------------------ from the page to a job, and back

    def join(self, page: Values) -> Values:
        """The editor's boxes as the layers of a job.

        Raises:
            Unfinished: there are none.
            Refusal: a picture that is not there any more.
        """
        if not page["layers"]:
            raise Unfinished("layers", say("layered.draw_first"))
        layers = []
        for index, each in enumerate(page["layers"]):
            layer: Values = {"box": each["box"]}
            if each["prompt"].strip():
                layer["prompt"] = each["prompt"]
            if each["given"]:
                layer["source"] = self._path(each["given"], f"layers[{index}].source")
            layers.append(layer)
        given = {name: self._path(page[name], name) if page[name] else None for name in ("source", "background")}
        return {**page, "layers": layers, **given}

    def split(self, job: Values) -> Values:
        """A job's layers as the editor takes them, with the shape of the canvas."""
        parts = []
        for each in job.get("layers") or ():
            upload = self.uploads.of(each.get("source"))
            parts.append(part_of(each["box"], each.get("prompt"), given=upload.id if upload else ""))
        return {**job, "layers": (parts, tuple(job["size"]))}

    def _path(self, id: str, field: str) -> str:
        try:
            return self.uploads.path(id)
        except Refusal as refusal:
            raise Refusal(field, refusal.reason) from None

    # ------------------------------------------------------------ what is drawn

    def took_source(self, event: gr.EventData) -> tuple[Any, ...]:
        """The place once a finished picture was given or taken away, and the size that it asks for."""
        return self._took("source", str(event.id))

    def took_background(self, event: gr.EventData) -> tuple[Any, ...]:
        """The place once a background was given or taken away, and the size that it asks for."""
        return self._took("background", str(event.id))

    def _took(self, name: str, id: str) -> tuple[Any, ...]:
        upload = self.uploads.get(id)
        path = self.uploads.path(upload.id) if upload else None
        shown = next(field.shown for field in self.form.fields if field.name == name)
        sides = (upload.width, upload.height) if upload else (gr.skip(), gr.skip())
        return shown(path), *sides


def again(studio: Studio, id: str, layer: int) -> Job:
    """The job that makes one layer of a finished picture anew while the background and the others are given.

    Args:
        studio: where the row and its files are.
        id: the row.
        layer: which one; 0 is the background.

    Raises:
        Refusal: there is no such layer, or a file of the others is gone.
    """
    row = studio.queue.get(id)
    found = layers_of(row, record(row, studio.folder)) if row else []
    if row is None or row.job.get("task") != "layered" or not 0 <= layer < len(found) == len(row.job["layers"]) + 1:
        raise Refusal("", say("layered.no_layer"))

    def kept(index: int) -> str:
        path: Path | None = stored(row, found[index].place, studio.folder)
        if path is None:
            raise Refusal("", say("layered.file_gone", name=repr(found[index].name)))
        return studio.uploads.path(studio.uploads.keep_layer(path).id)

    parts = [
        {**part, "source": None if index == layer else kept(index)} for index, part in enumerate(row.job["layers"], 1)
    ]
    background = kept(0) if layer else None
    seed = secrets.randbelow(2**32)  # another one, else it would be the same layer again
    return parse({**row.job, "layers": parts, "background": background, "source": None, "seed": seed})
