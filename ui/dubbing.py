"""The Dubbing tab: a video of a face, or a picture of one, says what somebody else said."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from models.checkpoint import EMBEDDED
from ui import drop, dubbingface, dubbingvoice, settings
from ui.desk import Desk, desk
from ui.fields import Form, Unfinished, Values, defaults, label_of, whole
from ui.masked import PICTURES, VIDEOS
from ui.studio import Studio
from ui.uploads import Upload, fitting
from ui.words import of, say

REGIONS, DURATIONS = ("mouth", "portrait"), ("audio", "video")
MOST_PUSH = 6.0  # of the slider for guidance on speech
RATE = 25  # frames a second of a picture


def dubbing_tab(studio: Studio, opened: Sequence[Any]) -> Desk:
    """Lay the tab out and wire it."""
    return desk(studio, "dubbing", lambda studio: Dubbing(studio).form, opened)


class Dubbing:
    """The tab's fields; what was given, and how much of it is made new, decide which of them are open."""

    def __init__(self, studio: Studio) -> None:
        self.studio, self.uploads = studio, studio.uploads
        form, standard = Form("dubbing", "dubbing", self.join, self.split), defaults("dubbing")
        self.form = form
        deaf = gr.HTML(self.deaf(), apply_default_css=False, elem_classes="slot", elem_id="dubbing-deaf")
        form.opened(deaf, self.deaf)
        source = gr.HTML(self.source(None), js_on_load=drop.script(), elem_id="dubbing-source", apply_default_css=False)
        form.add("source", source, sent=drop.given, shown=self.source, live=drop.live("dubbing-source"))
        with gr.Column(elem_classes=_group(True)) as picking:
            face = gr.HTML("", js_on_load=dubbingface.script(), elem_id="dubbing-face", apply_default_css=False)
        form.add("face", face, sent=dubbingface.face_of, shown=self.picker, live=dubbingface.LIVE)
        form.slot("source", "face")
        audio = gr.HTML(
            self.voice(None), js_on_load=dubbingvoice.script(), elem_id="dubbing-audio", apply_default_css=False
        )
        form.add("audio", audio, sent=drop.given, shown=self.voice, live=drop.live("dubbing-audio"))
        form.slot("audio")
        regions = [(of("region", each), each) for each in REGIONS]
        region = gr.Radio(
            regions, value="mouth", label=say("field.region"), elem_id="dubbing-region", elem_classes="modes"
        )
        form.add("region", region)
        form.slot("region")
        with gr.Row(elem_classes="pair"):
            lengths = [(of("duration", each), each) for each in DURATIONS]
            duration = gr.Radio(
                lengths, value="audio", label=say("field.duration"), info=say("dubbing.duration_info"),
                elem_id="dubbing-duration", elem_classes="modes", min_width=150,
            )  # fmt: skip
            start = gr.Number(
                0, label=say("field.start"), info=say("dubbing.start_info"), step=0.1, min_width=130,
                elem_id="dubbing-start",
            )  # fmt: skip
        form.add("duration", duration)
        form.add("start", start, sent=lambda value: 0 if value is None else value)
        form.slot("duration", "start")
        settings.prompt(form, "a yellow face with black hair", label=say("dubbing.prompt"))
        settings.without(form)
        settings.sampling(form)
        with gr.Row(elem_classes="pair"):
            push = gr.Slider(
                1, MOST_PUSH, standard["speech_guidance"], step=0.1, label=say("field.speech_guidance"),
                info=say("dubbing.push_info"), min_width=130, elem_id="dubbing-push",
            )  # fmt: skip
            warp = gr.Checkbox(
                True, label=say("field.warp"), info=say("dubbing.warp_info"), elem_id="dubbing-warp", min_width=130
            )
        form.add("speech_guidance", push, deep=True)
        form.add("warp", warp, sent=_warp, shown=lambda value: value is not False, deep=True)
        form.slot("speech_guidance", "warp")
        settings.exact(form)
        with gr.Accordion(say("settings.more"), open=False, elem_classes="more deep"):
            with gr.Row(elem_classes="pair"):
                for name, low, high in (("references", 1, 8), ("window", 2, 48), ("overlap", 0, 8)):
                    part = gr.Slider(low, high, standard[name], step=1, label=label_of(name), min_width=110)
                    form.add(name, part, sent=whole, deep=True)
            rate = gr.Slider(
                1, 60, RATE, step=1, label=say("field.fps"), info=say("dubbing.rate_info"), elem_id="dubbing-fps"
            )
            form.add("fps", rate, sent=whole, shown=lambda value: value or RATE, deep=True)
            settings.more(form)
        model = form.part("model")
        model.value = next(iter(studio.shelf.choices("dubbing")), settings.MODEL)

        source.pick(self.took, model, [source, face], **settings.quick)
        audio.pick(self.heard, None, audio, **settings.quick)
        region.change(
            lambda value: gr.Column(elem_classes=_group(value != "portrait")), region, picking, **settings.quick
        )
        # By hand alone: a job that is opened brings its own.
        region.input(steered, region, [form.part("guidance"), push], **settings.quick)

    # ------------------------------------------------------------ from the page to a job, and back

    def join(self, page: Values) -> Values:
        """The fields that are open as a job.

        Raises:
            Unfinished: no face was given, or no voice.
        """
        source, audio = self.uploads.get(page["source"]), self.uploads.get(page["audio"])
        if source is None or source.kind == "voice":
            raise Unfinished("source", say("dubbing.give"))
        if audio is None or audio.kind != "voice":
            raise Unfinished("audio", say("dubbing.speak"))
        job = {**page, "source": self.uploads.path(source.id), "audio": self.uploads.path(audio.id)}
        if page["region"] == "portrait":  # all of it is made, so it has to be of a size that is drawn
            size = (source.width, source.height)
            if fitting(size, self.uploads.sides) != size:
                job["source"] = self.uploads.path(self.uploads.keep(Path(job["source"])).id)
            job |= {"face": None, "warp": None}
        if source.fps:
            del job["fps"]
        if not page["prompt"].strip():  # words are steered by, and nobody has to
            del job["prompt"]
        return job

    def split(self, job: Values) -> Values:
        """A job as the fields; a face stands in its source."""
        return {**job, "face": (job.get("source"), job["face"])}

    # ------------------------------------------------------------ what is drawn

    def deaf(self) -> str:
        """One sentence while no model here can hear; else nothing."""
        return "" if self.studio.shelf.choices("dubbing") else f'<p class="note">{say("dubbing.deaf")}</p>'

    def source(self, path: str | None) -> str:
        """The place for a face."""
        label, hint = say("dubbing.source"), say("dubbing.source_hint")
        return drop.place(self._upload(path), label, hint, f"{PICTURES},{VIDEOS}", "uploads/face")

    def voice(self, path: str | None) -> str:
        """The place for a voice."""
        upload = self.uploads.of(path)
        return dubbingvoice.place(upload if upload is not None and upload.kind == "voice" else None)

    def picker(self, shown: tuple[str | None, Sequence[float] | None], folder: Path | None = None) -> str:
        """The first frame of a source with its faces, one of them picked."""
        path, face = shown
        return dubbingface.picker(self.uploads, self._upload(path), face, folder or EMBEDDED / settings.MODEL)

    def took(self, model: Any, event: gr.EventData) -> tuple[str, str]:
        """The place and the picker once a face was given, or taken away."""
        upload = self.uploads.get(str(event.id))
        path = self.uploads.path(upload.id) if upload else None
        one = self.studio.shelf.get(str(model))
        folder = one.description.folder if one and one.description else None
        return self.source(path), self.picker((path, None), folder)

    def heard(self, event: gr.EventData) -> str:
        """The place once a voice was given, or taken away."""
        upload = self.uploads.get(str(event.id))
        return dubbingvoice.place(upload if upload is not None and upload.kind == "voice" else None)

    def _upload(self, path: str | None) -> Upload | None:
        upload = self.uploads.of(path)
        return upload if upload is not None and upload.kind != "voice" else None


def steered(region: str) -> tuple[float, float]:
    """Guidance on words and on speech that a job of a region has unless it says."""
    standard = defaults("dubbing", {"region": region})
    return standard["guidance"], standard["speech_guidance"]


def _warp(value: Any) -> bool | None:
    """Where the box is ticked the checkpoint decides, for not every one has a warp."""
    return None if value else False


def _group(open: bool) -> list[str]:
    return ["group"] if open else ["group", "shut"]
