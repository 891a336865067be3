"""The Masked tab: a part of a picture or video is kept, and the rest is made new."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

from pipelines.job import SIDE_STEP
from ui import canvas, drop, settings, strip
from ui.desk import Desk, desk
from ui.fields import Form, Unfinished, Values, whole
from ui.studio import Studio
from ui.table import number_of
from ui.words import of, say

PICTURES = "image/png,image/jpeg,image/webp"
VIDEOS = "video/mp4,video/quicktime,video/webm,video/x-matroska,.mkv"
BORDERS = ("left", "top", "right", "bottom")
WIDEST = 128  # pixels of a border's slider
PART, FRAMES, BORDER = "part", "frames", "border"
START = 8  # frames of a video that begins with a picture


def masked_tab(studio: Studio, opened: Sequence[Any]) -> Desk:
    """Lay the tab out and wire it."""
    return desk(studio, "masked", lambda studio: Masked(studio).form, opened)


class Masked:
    """The tab's fields; what was given decides which of them are open."""

    def __init__(self, studio: Studio) -> None:
        self.uploads = studio.uploads
        form = self.form = Form("masked", "masked", self.join, self.split)
        source = gr.HTML(self.source(None), js_on_load=drop.script(), elem_id="masked-source", apply_default_css=False)
        form.add("source", source, sent=drop.given, shown=self.source, live=drop.live("masked-source"))
        form.slot("source")
        modes = [(of("mode", each), each) for each in (PART, FRAMES, BORDER)]
        mode = gr.Radio(modes, value=PART, label=say("masked.mode"), elem_id="masked-mode", elem_classes="modes")
        form.add("mode", mode)
        with gr.Column(elem_classes=_group(True)) as painted:
            paint = gr.HTML("", js_on_load=canvas.CANVAS, elem_id="masked-canvas", apply_default_css=False)
        form.add("mask", paint, sent=_painted, shown=self.canvas, live=canvas.LIVE)
        form.slot("mask")
        with gr.Column(elem_classes=_group(False)) as timed:
            film = gr.HTML("", js_on_load=strip.STRIP, elem_id="masked-strip", apply_default_css=False)
            with gr.Row(elem_classes="pair"):
                kept = gr.Textbox(
                    "0", label=say("masked.keep"), info=say("masked.keep_info"), elem_id="masked-keep",
                    elem_classes="line-of-words", min_width=130, max_length=1_000,
                )  # fmt: skip
                frames = gr.Textbox(
                    "", label=say("masked.frames"), info=say("masked.frames_info"), elem_id="masked-length",
                    elem_classes="line-of-words", min_width=130, max_length=10,
                )  # fmt: skip
            form.add("keep_frames", kept, sent=lambda value: (value or "").replace(" ", ""), shown=lambda v: v or "")
            form.add("frames", frames, sent=_count, shown=lambda value: "" if value is None else str(value))
            settings.rate(form, say("masked.rate"))
        form.slot("keep_frames", "frames", "fps")
        with gr.Accordion(say("masked.extend"), open=False, elem_classes="more"), gr.Row(elem_classes="pair"):
            for number, side in enumerate(BORDERS):
                part = gr.Slider(
                    0, WIDEST, 0, step=SIDE_STEP, label=of("side", side), min_width=110, elem_id=f"masked-{side}"
                )
                form.add(f"outpaint[{number}]", part, sent=whole)
        form.slot("outpaint")
        settings.prompt(form, "a yellow star on a blue background", label=say("masked.prompt"))
        settings.without(form)
        with gr.Accordion(say("masked.show"), open=False, elem_classes="more deep"):
            reference = gr.HTML(
                self.reference(None), js_on_load=drop.script(), elem_id="masked-reference", apply_default_css=False
            )
            form.add(
                "reference", reference, sent=drop.given, shown=self.reference, live=drop.live("masked-reference"),
                deep=True,
            )  # fmt: skip
        form.slot("reference")
        settings.sampling(form)
        settings.exact(form)
        with gr.Accordion(say("settings.more"), open=False, elem_classes="more deep"):
            settings.more(form)

        source.pick(self.took, None, [source, mode, paint, film, kept, frames], **settings.quick)
        reference.pick(self.took_reference, None, reference, **settings.quick)
        mode.change(_open, mode, [painted, timed], **settings.quick)
        film.keep(_keep, None, kept, **{**settings.quick, "trigger_mode": "always_last"})
        live = f"async (...v) => {{ v[0] = {drop.live('masked-source')} ?? ''; return v; }}"
        kept.change(self.film, [source, kept], film, js=live, **settings.quick)

    # ------------------------------------------------------------ from the page to a job, and back

    def join(self, page: Values) -> Values:
        """The fields that are open as a job.

        Raises:
            Unfinished: nothing was given, or nothing is to be made new.
            Refusal: a drawing that is none.
        """
        upload = self.uploads.get(page["source"])
        if upload is None:
            raise Unfinished("source", say("masked.give"))
        job = {
            name: value for name, value in page.items() if name not in ("mode", "mask", "keep_frames", "frames", "fps")
        }
        job["source"] = self.uploads.path(upload.id)
        job["reference"] = self.uploads.path(page["reference"]) if page["reference"] else None
        if not any(page["outpaint"]):
            job["outpaint"] = None
        if page["mode"] == FRAMES:
            if not page["keep_frames"]:
                raise Unfinished("keep_frames", say("masked.choose"))
            job |= {"keep_frames": page["keep_frames"], "frames": page["frames"]}
            if not upload.fps:
                job["fps"] = page["fps"]
        elif page["mode"] == PART and page["mask"]:
            job["mask"] = self.uploads.keep_mask(page["mask"], upload)
        elif job["outpaint"] is None:
            if page["mode"] == PART:
                raise Unfinished("mask", say("masked.paint"))
            raise Unfinished("outpaint", say("masked.how_far"))
        return job

    def split(self, job: Values) -> Values:
        """A job as the fields; a mask stands over its source."""
        mode = FRAMES if job["keep_frames"] else PART if job["mask"] else BORDER
        if not job["keep_frames"] and not any(job["outpaint"] or ()):
            mode = PART
        return {
            **job, "mode": mode, "mask": (job.get("source"), job["mask"]), "outpaint": job["outpaint"] or [0, 0, 0, 0],
            "fps": job["fps"] or settings.RATE,
        }  # fmt: skip

    # ------------------------------------------------------------ what is drawn

    def source(self, path: str | None) -> str:
        """The place for what is given."""
        label, hint = say("field.source"), say("masked.source_hint")
        return drop.place(self.uploads.of(path), label, hint, f"{PICTURES},{VIDEOS}")

    def reference(self, path: str | None) -> str:
        """The place for a reference."""
        label, hint = say("field.reference"), say("masked.reference_hint")
        return drop.place(self.uploads.of(path), label, hint, PICTURES)

    def canvas(self, paths: tuple[str | None, str | None]) -> str:
        """The canvas over a source, with a mask painted."""
        source, mask = paths
        return canvas.canvas(self.uploads.of(source), self.uploads.of(mask))

    def film(self, id: str, text: str) -> str:
        """The frames of the video called `id`, those of `text` kept."""
        return strip.strip(self.uploads.get(id), text or "")

    def path(self, event: gr.EventData) -> str | None:
        """The path of the upload that an event names."""
        upload = self.uploads.get(str(event.id))
        return self.uploads.path(upload.id) if upload else None

    def took(self, event: gr.EventData) -> tuple[Any, ...]:
        """What the page shows once something was given, or taken away."""
        path = self.path(event)
        upload = self.uploads.of(path)
        moving = upload is not None and upload.kind == "video"
        return (
            self.source(path), FRAMES if moving else PART, canvas.canvas(upload), strip.strip(upload, "0"), "0",
            "" if moving else str(START),
        )  # fmt: skip

    def took_reference(self, event: gr.EventData) -> str:
        """The place for a reference once one was given, or taken away."""
        return self.reference(self.path(event))


def _painted(value: Any) -> str:
    """What the page read off the canvas; "" for the canvas as it was drawn, which the page has not opened yet."""
    text = str(value or "")
    return "" if text.lstrip().startswith("<") else text


def _count(value: Any) -> int | None:
    text = str(value or "").strip()
    return number_of(text, int, "frames") if text else None


def _open(mode: str) -> list[Any]:
    return [gr.Column(elem_classes=_group(mode == each)) for each in (PART, FRAMES)]


def _group(open: bool) -> list[str]:
    # Hidden by style, for what was painted stays on a canvas only while that is on the page.
    return ["group"] if open else ["group", "shut"]


def _keep(event: gr.EventData) -> str:
    name = getattr(event, "preset", None)
    return strip.spelled(strip.preset(name, int(event.frames)) if name else [int(frame) for frame in event.kept])
