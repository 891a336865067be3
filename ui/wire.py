"""Jobs as text on the page: files in them are named by ids and models as the shelf calls them, never by paths."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from pipelines.expansion.fieldpath import place_of, with_value
from pipelines.files.record import files_named
from pipelines.files.yamlfile import documents
from pipelines.job import KINDS
from pipelines.refusal import Refusal, kind_of, shown
from ui.choice import continued, video_at
from ui.desk import Desk
from ui.fields import Values, defaults
from ui.reasons import in_language
from ui.result import kind
from ui.studio import Studio
from ui.words import say

UPLOAD, RENDER = "upload:", "render:"


def outward(studio: Studio, desk: Desk, job: Mapping[str, Any]) -> str:
    """A job as YAML, without what is as usual.

    Raises:
        Refusal: a file in it is none of the studio's.
    """
    usual = defaults(str(job["task"]), job)
    values: Values = {key: value for key, value in job.items() if key not in usual or value != usual[key]}
    for field, path in files_named(job).items():
        upload = studio.uploads.of(path)
        video = None if upload else video_at(studio, path)
        name = f"{UPLOAD}{upload.id}" if upload else f"{RENDER}{video.id}" if video else ""
        if not name:
            raise Refusal(field, say("wire.gone"))
        values = with_value(values, place_of(field), name)
    if "model" in values:
        values["model"] = _model(desk).shown(values["model"])
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=10**6, default_flow_style=None)


def inward(studio: Studio, desks: Mapping[str, Desk], text: str) -> Values:
    """The plain values that `text` describes, with paths where it names files by ids.

    Raises:
        Refusal: it is no job, or names a file or a model otherwise.
    """
    found = list(documents(text))
    if len(found) != 1 or not isinstance(found[0], Mapping):
        got = in_language(kind_of(found[0])) if len(found) == 1 else say("wire.documents", count=len(found))
        raise Refusal("job", say("wire.no_job", got=got))
    values: Values = {str(key): value for key, value in found[0].items()}
    if values.get("task") not in KINDS:
        raise Refusal("task", say("wire.no_task", tasks=", ".join(KINDS), got=in_language(kind_of(values.get("task")))))
    for field, name in files_named(values).items():
        values = with_value(values, place_of(field), _path(studio, field, name))
    if "model" in values:
        values["model"] = model_of(desks, values, values["model"])
    return values


def model_of(desks: Mapping[str, Desk], job: Mapping[str, Any], name: Any) -> Any:
    """The model that the page calls `name`, as a job calls it.

    Raises:
        Refusal: it is not on the shelf.
    """
    desk = desks.get(kind(job))
    if desk is None or not isinstance(name, str):
        raise Refusal("model", say("wire.no_model", got=in_language(kind_of(name))))
    return _model(desk).sent(name)


def _model(desk: Desk) -> Any:
    return next(field for field in desk.form.fields if field.name == "model")


def _path(studio: Studio, field: str, name: str) -> str:
    if "adapters[" in field:
        raise Refusal(field, say("wire.no_adapter", got=shown(name)))
    try:
        if name.startswith(UPLOAD):
            return studio.uploads.path(name.removeprefix(UPLOAD))
        if name.startswith(RENDER) and field == "continue_from":
            return continued(studio, name.removeprefix(RENDER))
    except Refusal:
        raise Refusal(field, say("wire.gone")) from None
    raise Refusal(field, say("wire.no_file", got=shown(name)))
