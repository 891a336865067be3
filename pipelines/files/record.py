"""Records: what NAME.json beside an output tells. It is read with care, for anybody may have written it.

How records are written is `output.py`'s. Nothing here opens a picture or loads torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from models.adapter.file import is_name
from pipelines.files.media import MediaError, read_recipe
from pipelines.job import MAX_SEED
from pipelines.story.scenecache import digest

Kind = Literal["picture", "video", "layers"]
MAX_RECORD = 8 * 2**20  # bytes; a record of a thousand frames has a hundred thousand
SUFFIXES = (".mp4", ".png", "-boxes.png", ".psd", ".ora")  # of files beside the record; the first two are shown
PARTS = ("scenes", "boxes", "layers")
# The fields of a job that name files, and of its parts.
FILES = ("source", "mask", "reference", "continue_from", "background", "audio")


@dataclass(frozen=True, kw_only=True)
class Told:
    """What a record tells people of its output; what it does not tell is "" or None.

    Attributes:
        prompt: of the job and then of its scenes, boxes or layers, a line each.
        width, height: in pixels.
        kind: a picture, a video, or a picture in layers.
    """

    task: str
    model: str
    prompt: str
    seed: int | None
    width: int | None
    height: int | None
    kind: Kind


@dataclass(frozen=True, kw_only=True)
class Facts(Told):
    """What of a record one searches and sorts by.

    Attributes:
        job: hash of the job.
        content: hash of the job and of all outputs, whatever they are called.
    """

    job: str
    content: str


def read_record(path: Path) -> dict[str, Any]:
    """The record at `path`: a mapping with the job under "job".

    Raises:
        MediaError: it can not be read, or is no record.
    """
    try:
        large = path.stat().st_size > MAX_RECORD
    except OSError as error:
        raise MediaError(f"{path}: can not be read: {error.strerror}") from None
    if large:
        raise MediaError(f"{path}: expected at most {MAX_RECORD // 2**20} MiB")
    told = read_recipe(path)
    if not isinstance(told["job"].get("task"), str) or not isinstance(told.get("outputs"), dict):
        raise MediaError(f"{path}: expected a record of outputs, found none in it")
    return told


def outputs_of(stem: str, told: Mapping[str, Any]) -> dict[str, str]:
    """SHA-256 by name of the outputs that a record called `stem` tells, what is shown first.

    Names that could not be this output's are left out: a record must not lead to another's files.
    """
    found = told.get("outputs")
    named = found.items() if isinstance(found, Mapping) else ()
    outputs = {str(name): str(sha) for name, sha in named if _belongs(str(name), stem) and isinstance(sha, str)}
    beside = [stem + suffix for suffix in SUFFIXES if stem + suffix in outputs]
    return {name: outputs[name] for name in [*beside, *sorted(outputs.keys() - set(beside))]}


def shown_of(stem: str, told: Mapping[str, Any]) -> str | None:
    """The picture or video among the outputs of a record called `stem`."""
    return next((name for name in outputs_of(stem, told) if name in (f"{stem}.mp4", f"{stem}.png")), None)


def facts_of(stem: str, told: Mapping[str, Any]) -> Facts:
    """What there is to know of the record called `stem`."""
    job, outputs = told["job"], outputs_of(stem, told)
    resolved = told.get("resolved")
    size = _size(job.get("size")) or _size(resolved.get("size") if isinstance(resolved, Mapping) else None)
    kind: Kind = "video" if f"{stem}.mp4" in outputs else "layers" if job["task"] == "layered" else "picture"
    seed = job.get("seed")
    return Facts(
        task=_text(job["task"]),
        model=_text(job.get("model")),
        prompt="\n".join(prompts_of(job)),
        seed=seed if type(seed) is int and 0 <= seed <= MAX_SEED else None,
        width=size[0] if size else None,
        height=size[1] if size else None,
        kind=kind,
        job=digest(job),
        content=digest([job, sorted(outputs.values())]),
    )


def prompts_of(job: Mapping[str, Any]) -> list[str]:
    """All that a job asks for in words: its own prompt, then those of its parts."""
    parts = [part for name in PARTS if isinstance(job.get(name), list) for part in job[name]]
    said = [_text(each.get("prompt")) for each in (job, *parts) if isinstance(each, Mapping)]
    return [prompt for prompt in said if prompt]


def files_named(job: Mapping[str, Any]) -> dict[str, str]:
    """The files that a job names, by field: `source`, `layers[1].source`, `boxes[0].adapters[0].path`.

    An adapter that is called by its name is no file, as a model is none: names lead into one folder alone.
    """
    found = {name: job[name] for name in FILES if isinstance(job.get(name), str)}
    for field, layer in _mappings(job, "layers"):
        if isinstance(layer.get("source"), str):
            found[f"{field}.source"] = layer["source"]
    for field, use in adapters_named(job):
        if isinstance(use.get("path"), str) and not is_name(use["path"]):
            found[f"{field}.path"] = use["path"]
    return found


def adapters_named(job: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """The adapters of a job and of its parts, each with its field, such as `scenes[1].adapters[0]`."""
    found = _mappings(job, "adapters")
    for part in PARTS:
        for field, each in _mappings(job, part):
            found += [(f"{field}.{inside}", use) for inside, use in _mappings(each, "adapters")]
    return found


def _mappings(values: Mapping[str, Any], name: str) -> list[tuple[str, Mapping[str, Any]]]:
    """The mappings in a list of plain values, whatever else stands in it, each with its field."""
    listed = values.get(name)
    entries = enumerate(listed if isinstance(listed, list | tuple) else ())
    return [(f"{name}[{number}]", entry) for number, entry in entries if isinstance(entry, Mapping)]


def _belongs(name: str, stem: str) -> bool:
    folder, slash, file = name.partition("/")
    if not slash:
        return name.removeprefix(stem) in SUFFIXES and name.startswith(stem)
    return folder == stem and file.endswith(".png") and not file.startswith(".") and not set(file) & set("/\\\0")


def _text(value: object) -> str:
    # Half a surrogate pair, which JSON can spell, fits into no database and on no page.
    return value.encode("utf-8", "ignore").decode() if isinstance(value, str) else ""


def _size(value: object) -> tuple[int, int] | None:
    if isinstance(value, list) and len(value) == 2 and all(type(side) is int and 0 < side < 2**31 for side in value):
        return value[0], value[1]
    return None
