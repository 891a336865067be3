"""The fields of the Train page, the run that they make, and the way back from a run file into them.

What the page has no field for is YAML of its own, merged in: so every value of a run can be set here, and the run that
the page begins is the one that `diorama train` would begin with the same file.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gradio as gr
import yaml

from models.adapter.config import KINDS, MEANT_FOR
from pipelines.files.yamlfile import documents
from pipelines.job import MAX_CHARACTERS, MAX_PATH
from pipelines.refusal import Refusal, Refused, shown
from pipelines.shelf.shelf import NOT_SHELVED
from training.runs import slug, written
from training.tune import TuneConfig, run_of
from ui.fields import DEEP, Form, Values, whole
from ui.studio import Studio
from ui.words import of, say

SETS = "datasets"  # the folder, among the outputs, whose folders may be named where no paths may
PICTURES_EXAMPLE = "/home/me/pictures/mascot"
MOST_PROMPTS, MOST_YAML, MOST_NAME = 16, 20_000, 60
STEPS, BATCH = 400, 2  # at first
NOWHERE = "runs"  # where a run file that is only shown would keep its run

# Which value of a run file stands in which field; the rest is YAML.
PLACES: Mapping[str, tuple[str, ...]] = {
    "run_model": ("start_from",), "run_kind": ("train", "kind"), "run_rank": ("train", "rank"),
    "run_tokens": ("train", "tokens"), "run_steps": ("loop", "steps"), "run_batch": ("loop", "batch"),
    "run_lr": ("loop", "lr"), "run_resolution": ("data", "resolution"), "run_prompts": ("samples", "prompts"),
    "run_every": ("samples", "every"), "run_share": ("held_out", "share"), "run_seed": ("seed",),
}  # fmt: skip
SOURCE = {"run_pictures": "path", "run_caption": "caption"}  # of the first source
HIDDEN = {"run_rank": "rank", "run_tokens": "tokens"}  # fields that say nothing about some kinds


class TrainForm:
    """The fields, as they are laid out, and what they make."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        form = self.form = Form("train", "text")
        by_path = studio.by_path
        form.add("run_name", gr.Textbox(
            "", label=say("field.run_name"), placeholder=say("train.name_hint"), max_length=MOST_NAME,
            elem_id="train-name", elem_classes="line-of-words",
        ), sent=_text)  # fmt: skip
        form.add("run_pictures", gr.Textbox(
            "", label=say("field.run_pictures"), placeholder=PICTURES_EXAMPLE if by_path else None,
            info=say("train.pictures_info") if by_path else say("train.set_info", folder=SETS), max_length=MAX_PATH,
            elem_id="train-pictures", elem_classes="line-of-words",
        ), sent=_text)  # fmt: skip
        form.slot("run_pictures", "data")
        form.add("run_caption", gr.Textbox(
            "", label=say("field.run_caption"),
            info=say("train.caption_info_here" if by_path else "train.caption_info"), max_length=2_000,
            elem_id="train-caption", elem_classes="line-of-words",
        ), sent=_text)  # fmt: skip
        with gr.Row(elem_classes="pair"):
            model = gr.Dropdown(
                studio.shelf.choices("text"), value="papercut", label=say("field.run_model"), min_width=130,
                elem_id="train-model",
            )  # fmt: skip
            kind = gr.Dropdown(
                [(of("trained", each), each) for each in KINDS], value="lora", label=say("field.run_kind"),
                min_width=130, elem_id="train-kind",
            )  # fmt: skip
        form.add("run_model", model)
        form.add("run_kind", kind)
        form.opened(model, lambda: gr.Dropdown(choices=studio.shelf.choices("text")))
        form.slot("run_model", "run_kind")
        with gr.Row(elem_classes="pair"):
            form.add("run_steps", _number(STEPS, "run_steps", 1, 10**7), sent=whole)
            form.add("run_batch", _number(BATCH, "run_batch", 1, 4096), sent=whole)
        form.slot("run_steps", "run_batch")
        form.add("run_prompts", gr.Textbox(
            "", label=say("field.run_prompts"), info=say("train.prompts_info"), lines=2, max_lines=8,
            max_length=MAX_CHARACTERS, elem_id="train-prompts", elem_classes="words",
        ), sent=_lines, shown="\n".join)  # fmt: skip
        form.slot("run_prompts")
        with gr.Row(elem_classes="pair"):
            form.add("run_lr", _number(4e-4, "run_lr", 0, 1, precision=None, step=1e-4), deep=True)
            form.add("run_rank", _number(16, "run_rank", 1, 1024), sent=whole, deep=True)
            form.add("run_tokens", _number(4, "run_tokens", 1, 512), sent=whole, deep=True)
        with gr.Row(elem_classes="pair"):
            form.add("run_resolution", _number(128, "run_resolution", 32, 4096, step=16), sent=whole, deep=True)
            form.add("run_share", _number(0.1, "run_share", 0, 0.5, precision=None, step=0.05), deep=True)
        with gr.Row(elem_classes="pair"):
            form.add("run_every", _number(100, "run_every", 1, 10**7), sent=whole, deep=True)
            form.add("run_seed", _number(1, "run_seed", 0, 2**53), sent=whole, deep=True)
        form.slot("run_lr", "run_rank", "run_tokens", "run_resolution", "run_share", "run_every", "run_seed")
        with gr.Accordion(say("train.more"), open=False, elem_classes=f"more {DEEP}"):
            form.add("run_more", gr.Textbox(
                "", label=say("field.run_more"), info=say("train.more_info"), lines=4, max_lines=20,
                max_length=MOST_YAML, elem_id="train-more", elem_classes="yaml",
            ), sent=_text, deep=True)  # fmt: skip
        form.slot("run_more")
        form.keep(*(field.name for field in form.fields))

    # ------------------------------------------------------------ fields to a run

    def run(self, values: Any) -> TuneConfig:
        """The run that the fields describe; where it is kept is decided when it begins.

        Raises:
            Refusal: they describe none, or one that a page may not ask for.
        """
        page = self.form.page(values)
        told = _yaml_of(page["run_more"])
        for name, place in {**PLACES, "run_name": ("folder",)}.items():
            if _at(told, place) is not None:
                raise Refusal("run_more", say("train.twice", key=".".join(place), label=of("field", name)))
        value: Values = {"folder": NOWHERE, **copy.deepcopy(told)}
        kind = page["run_kind"]
        for name, place in PLACES.items():
            if name not in HIDDEN or kind in MEANT_FOR[HIDDEN[name]]:
                _put(value, place, page[name])
        value["start_from"] = self._model(page["run_model"])
        self._put_sources(value, page)
        if not self.studio.by_path and _at(value, ("data", "cache")) is not None:
            raise Refusal("run_more", say("train.no_paths", key="data.cache"))
        try:
            return run_of(value)
        except Refused as refused:
            raise _placed(refused) from None

    def looked_at(self, values: Any) -> tuple[Path, str, int]:
        """The folder that gets captions, the checkpoint that is asked, and the resolution at which it looks.

        Raises:
            Refusal: one of them is not here.
        """
        page = self.form.page(values)
        resolution = page["run_resolution"]
        if not isinstance(resolution, int):
            raise Refusal("run_resolution", say("captions.no_number", got=shown(resolution)))
        return self.pictures(page["run_pictures"]), self._model(page["run_model"]), resolution

    def name(self, values: Any) -> str:
        """What the run is to be called."""
        return str(self.form.page(values)["run_name"]).strip()

    def text(self, run: TuneConfig, name: str = "") -> str:
        """The run file of a run under a name, as it may be shown: where no paths may be, ids stand in their place."""
        told: Values = {"folder": Path(NOWHERE, slug(name))}
        if not self.studio.by_path:
            first = run.data.sources[0]
            sources = (first.model_copy(update={"path": Path(SETS, first.path.name)}), *run.data.sources[1:])
            told["start_from"] = self.studio.shelf.id_of(run.start_from)
            told["data"] = run.data.model_copy(update={"sources": sources})
        return written(run.model_copy(update=told))

    def _model(self, id: object) -> str:
        try:
            return self.studio.shelf.model_of(id)
        except Refusal as refusal:
            raise Refusal("run_model", refusal.reason) from None

    def _put_sources(self, value: Values, page: Values) -> None:
        """The folder of the page first, then those of the YAML."""
        data = value.setdefault("data", {})
        if not isinstance(data, dict):
            return  # the schema says it better
        more = data.get("sources", [])
        if not isinstance(more, list):
            raise Refusal("run_more", say("train.no_list", got=shown(more)))
        if more and not self.studio.by_path:
            raise Refusal("run_more", say("train.no_paths", key="data.sources"))
        first: list[Values] = []
        if page["run_pictures"].strip() or not more:
            source: Values = {"path": str(self.pictures(page["run_pictures"]))}
            if page["run_caption"].strip():
                source["caption"] = page["run_caption"].strip()
            first = [source]
        data["sources"] = [*first, *more]

    def pictures(self, text: str) -> Path:
        """The folder or file of pictures that was named.

        Raises:
            Refusal: it is not here, or may not be named by a page that others reach.
        """
        wish = text.strip()
        if not wish:
            raise Refusal("run_pictures", say("train.no_pictures"))
        if not self.studio.by_path:
            sets = self.studio.folder / SETS
            known = sorted(path.name for path in sets.iterdir() if path.is_dir()) if sets.is_dir() else []
            if wish not in known:
                here = ", ".join(known) or say("settings.nothing")
                raise Refusal("run_pictures", say("train.no_set", here=here, got=shown(wish), folder=SETS))
            return (sets / wish).resolve()
        try:
            path = Path(wish).expanduser().resolve()
            there = path.exists()
        except (OSError, ValueError, RuntimeError):  # such as a NUL, or the home of nobody
            there = False
        if not there:
            raise Refusal("run_pictures", say("train.no_folder", got=shown(wish)))
        return path

    # ------------------------------------------------------------ a run file into the fields

    def values(self, text: str) -> list[Any]:
        """The values of all fields that a run file fills in; what has no field becomes YAML.

        Raises:
            Refusal: it is no run on one's own pictures, or its checkpoint is not here.
        """
        told = _yaml_of(text)
        try:
            run = run_of({"folder": NOWHERE, **told})
        except Refused as refused:
            raise Refusal(refused.field, refused.reason) from None
        page: Values = {name: _at(run.model_dump(mode="json"), place) for name, place in PLACES.items()}
        page["run_model"] = self._id_of(run.start_from)
        folder = str(told.pop("folder", ""))
        page["run_name"] = Path(folder).name[:MOST_NAME]
        sources = told["data"]["sources"]
        first = sources[0] if isinstance(sources[0], dict) and set(sources[0]) <= set(SOURCE.values()) else {}
        for name, key in SOURCE.items():
            page[name] = str(first.get(key) or "")
        rest = copy.deepcopy(told)
        rest["data"]["sources"] = sources[1:] if first else sources
        for place in PLACES.values():
            _take(rest, place)
        page["run_more"] = _dumped(_pruned(rest))
        return [field.shown(page[field.name]) for field in self.form.fields]

    def _id_of(self, model: str) -> str:
        shelf = self.studio.shelf
        here = [one for one in shelf.items() if one.description is not None]
        found = next((one.id for one in here if model in (one.model, one.id)), None)
        if found is None:
            raise Refusal("run_model", NOT_SHELVED.format(here=", ".join(one.id for one in here), got=shown(model)))
        return found


def _number(start: float, name: str, low: float, high: float, precision: int | None = 0, **more: Any) -> Any:
    return gr.Number(
        start, label=of("field", name), precision=precision, minimum=low, maximum=high, min_width=110,
        elem_id=f"train-{name.removeprefix('run_')}", **more,
    )  # fmt: skip


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _lines(value: Any) -> list[str]:
    found = [line.strip() for line in _text(value).splitlines() if line.strip()]
    if len(found) > MOST_PROMPTS:
        raise Refusal("run_prompts", say("train.prompts_many", most=MOST_PROMPTS, count=len(found)))
    return found


def _yaml_of(text: str) -> Values:
    """The mapping that a text holds; an empty one where there is no text.

    Raises:
        Refusal: it is something else.
    """
    try:
        found = list(documents(text))
    except Refusal as refusal:
        raise Refusal("run_more", refusal.reason) from None
    if len(found) > 1 or (found and not isinstance(found[0], dict | None)):
        raise Refusal("run_more", say("train.no_mapping"))
    value = found[0] if found else None
    return dict(value) if isinstance(value, dict) else {}


def _dumped(value: Mapping[str, Any]) -> str:
    plain = json.loads(json.dumps(value, default=str))
    return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=110) if plain else ""


def _at(value: Any, place: tuple[str, ...]) -> Any:
    for part in place:
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _put(value: Values, place: tuple[str, ...], what: Any) -> None:
    for part in place[:-1]:
        inner = value.setdefault(part, {})
        if not isinstance(inner, dict):
            return  # the schema says it better
        value = inner
    value[place[-1]] = what


def _take(value: Values, place: tuple[str, ...]) -> None:
    inner = _at(value, place[:-1]) if place[:-1] else value
    if isinstance(inner, dict):
        inner.pop(place[-1], None)


def _pruned(value: Values) -> Values:
    """Without mappings and lists that are empty."""
    found = {key: _pruned(inner) if isinstance(inner, dict) else inner for key, inner in value.items()}
    return {key: inner for key, inner in found.items() if inner not in ({}, [])}


def _placed(refused: Refused) -> Refusal:
    """What is wrong with a run, beside the field of the page in which that value stands."""
    place = refused.field
    for name, each in PLACES.items():
        joined = ".".join(each)
        if place == joined or place.startswith((f"{joined}[", f"{joined}.")):
            return Refusal(name, refused.reason)
    if place.startswith("data.sources[0]"):
        return Refusal("run_pictures", refused.reason)
    return Refusal("run_more", f"{place}: {refused.reason}" if place else refused.reason)
