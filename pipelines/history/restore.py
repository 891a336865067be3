"""Restoring: from a file that Diorama wrote back to the job that made it, and a sentence for what can not be restored.

What the file says is what comes back. A value that is out of range comes back as it is, to be mended where it stands;
what has no place any more is left out, and never without a word.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ValidationError

from pipelines.files.media import MediaError, read_recipe
from pipelines.files.recipe import PNG_START
from pipelines.files.record import files_named
from pipelines.job import KINDS, SCHEMA, BoxPart, LayerPart, ScenePart, require_built
from pipelines.refusal import Place, Refusal, field_of, kind_of, on_one_line, reason_of, shown
from pipelines.version import __version__

Mode = Literal["all", "all but the seed", "prompt only"]
Values = dict[str, Any]

PARTS: dict[str, type[BaseModel]] = {"scenes": ScenePart, "boxes": BoxPart, "layers": LayerPart}
PROMPTS = ("prompt", "negative_prompt")
# Findings about values of the right kind; such values come back.
OUT_OF_RANGE = (
    "greater_than_equal", "less_than_equal", "multiple_of", "string_too_long", "string_pattern_mismatch", "value_error",
)  # fmt: skip
MOST_NOTES = 50


@dataclass(frozen=True)
class Restored:
    """A job as a file says it.

    Attributes:
        job: plain values, which `pipelines.job.parse` may still refuse; what the file does not say is not in it.
        notes: sentences about what could not be restored.
    """

    job: Values
    notes: tuple[str, ...]


def model_is_here(name: str) -> bool:
    """Whether a checkpoint of that name can be used on this machine."""
    from models.checkpoint import describe

    try:
        describe(name)
    except (ValueError, OSError, RuntimeError):  # not a checkpoint, or not even a path
        return False
    return True


def file_is_here(name: str) -> bool:
    """Whether there is a file or folder at that path."""
    try:
        return Path(name).expanduser().exists()
    except (ValueError, OSError, RuntimeError):
        return False


def within(folder: Path) -> Callable[[str], bool]:
    """Whether there is a file or folder at a path inside `folder`; nothing is said of what is elsewhere."""
    root = folder.resolve()

    def is_here(name: str) -> bool:
        try:
            path = Path(name).resolve()
            return path.is_relative_to(root) and path.exists()
        except (ValueError, OSError, RuntimeError):
            return False

    return is_here


def restore(
    file: Path | bytes, knows: Callable[[str], bool] = model_is_here, has: Callable[[str], bool] = file_is_here
) -> Restored:
    """The job in a PNG, an MP4, a PSD, an OpenRaster file or a record, told by its content and not by its name.

    Args:
        file: where it is, or what is in it.
        knows: whether a model can be used. What comes from the web must not be answered by a look at the disk: a page
            gives the names that it offers, and `within` its own folder.
        has: whether there is a file or folder at a path that the job names.

    Raises:
        Refusal: it is no such file, has no job in it, or one of a task that this version does not know.
    """
    told = recipe_in(file)
    job = told["job"]
    task = job.get("task")
    if not isinstance(task, str) or task not in KINDS:
        raise Refusal("task", f"expected one of {', '.join(KINDS)}, got {kind_of(task)}; a newer Diorama may read it")
    notes = _of_version(told.get("diorama"))
    values, more = _fitting(task, job)
    notes += more
    model = values.get("model")
    if isinstance(model, str) and not knows(model):
        notes.append(f"the model {shown(model)} is not here; choose another, or fetch it")
    for field, name in files_named(values).items():
        if not has(name):
            notes.append(f"{field}: the file '{on_one_line(name, 300)}' is not here; give it again")
    left = len(notes) - MOST_NOTES
    notes = [on_one_line(note, 500) for note in notes[:MOST_NOTES]]
    return Restored(values, tuple([*notes, f"there are {left} more such notes"] if left > 0 else notes))


def use(job: Mapping[str, Any], mode: Mode, current: Mapping[str, Any]) -> Values:
    """The job that a page shows after it took over `job`.

    Args:
        job: as it was restored, or as a record has it.
        mode: `all`; `all but the seed` keeps the seed of the page, and scenes then have none of their own;
            `prompt only` takes all texts, those of scenes, boxes and layers too, and a part that the page does not
            have comes whole.
        current: what the page shows now; of another task it tells nothing.
    """
    now = deepcopy(dict(current)) if current.get("task") == job.get("task") else {}
    new = deepcopy(dict(job))
    if mode == "all":
        return new
    if mode == "all but the seed":
        new.pop("seed", None)
        for scene in new.get("scenes") or ():
            scene.pop("seed", None)
        return new | {name: now[name] for name in ("seed",) if name in now}
    taken = now | {name: new[name] for name in ("task", *PROMPTS) if name in new}
    for name in PARTS:
        if name in new:
            taken[name] = _with_prompts(now.get(name) or [], new[name])
    return taken


def _with_prompts(now: list[Values], new: list[Values]) -> list[Values]:
    """As many parts as there are new ones, each with its new texts on what stands in its place now."""
    parts = [now[number] if number < len(now) else part for number, part in enumerate(new)]
    texts = [{name: part[name] for name in PROMPTS if name in part} for part in new]
    return [{**part, **text} for part, text in zip(parts, texts, strict=True)]


def recipe_in(file: Path | bytes) -> dict[str, Any]:
    """What a file that Diorama wrote tells of its job, with the job under "job"; told by its content.

    Raises:
        Refusal: it is no such file, or has no job in it.
    """
    if isinstance(file, bytes):
        with tempfile.TemporaryDirectory(prefix="diorama-") as folder:
            path = Path(folder) / "file"
            path.write_bytes(file)
            return recipe_in(path)
    try:
        with file.open("rb") as stream:
            suffix = _suffix_of(stream.read(64))
        return read_recipe(file, suffix)
    except MediaError as error:
        raise Refusal("", str(error).removeprefix(f"{file}: ").replace(str(file), "the file")) from None
    except OSError as error:
        raise Refusal("", f"the file can not be read: {error.strerror}") from None


def _suffix_of(start: bytes) -> str:
    if start.startswith(PNG_START):
        return ".png"
    if start[4:8] == b"ftyp":
        return ".mp4"
    if start.startswith(b"8BPS"):
        return ".psd"
    if start.startswith(b"PK\x03\x04"):
        return ".ora"
    if start.lstrip().startswith(b"{"):
        return ".json"
    raise Refusal("", "expected a PNG, MP4, PSD, OpenRaster file or record that Diorama wrote, got something else")


def _of_version(version: object) -> list[str]:
    numbers = [_numbers(text) for text in (version, __version__)]
    if numbers[0] is None or numbers[1] is None or numbers[0] <= numbers[1]:
        return []
    return [f"the file is of Diorama {version}, which is newer than this {__version__}; what is new in it is left out"]


def _numbers(version: object) -> tuple[int, ...] | None:
    parts = version.split(".") if isinstance(version, str) else []
    whole = parts and all(part.isascii() and part.isdecimal() and len(part) < 9 for part in parts)
    return tuple(map(int, parts)) if whole else None


def _fitting(task: str, job: Mapping[str, Any]) -> tuple[Values, list[str]]:
    """The job without what has no place in the schema, and a sentence for everything about it that is not right."""
    values, notes, drops = deepcopy(dict(job)), [], set()
    for finding in _findings(values):
        place: Place = finding["loc"][1:]
        field = on_one_line(field_of(place), 60)
        context = finding.get("ctx", {})
        if finding["type"] == "extra_forbidden":
            notes.append(f"{field}: this version does not know it; it is left out")
            drops.add(place)
        elif finding["type"] == "missing":
            drops.add(found := _bearable(place))
            whole = f"{field_of(found)} is left out" if found != place else "fill it in"
            notes.append(f"{field}: the file does not say it; {whole}")
        elif isinstance(context.get("error"), Refusal):  # a check of several fields knows best which of them it means
            notes.append(str(context["error"]))
        elif finding["type"] in OUT_OF_RANGE or (field in PARTS and finding["type"] in ("too_long", "too_short")):
            reason = reason_of(finding["type"], finding["msg"], finding["input"], context)
            notes.append(f"{field}: {reason}; it comes back as the file says it")
        else:
            drops.add(found := _bearable(place))
            what = "it" if found == place else field_of(found)
            reason = reason_of(finding["type"], finding["msg"], finding["input"], context)
            notes.append(f"{field}: {reason}; {what} is left out")
    for place in sorted(drops, key=lambda place: [str(part).rjust(9) for part in place], reverse=True):
        _drop(values, place)
    if drops:  # checks of several fields speak only once each of them is right
        errors = [finding.get("ctx", {}).get("error") for finding in _findings(values)]
        notes += [str(error) for error in errors if isinstance(error, Refusal)]
    try:
        require_built(KINDS[task].model_construct(task=task))  # type: ignore[call-arg, arg-type]
    except Refusal as refusal:
        notes.append(refusal.reason)
    return values, list(dict.fromkeys(notes))


def _findings(values: Values) -> list[Any]:
    try:
        SCHEMA.validate_python(values)
    except ValidationError as error:
        return error.errors(include_url=False)
    return []


def _bearable(place: Place) -> Place:
    """What is to go when the value at `place` goes: the whole list of numbers that it stands in, or the whole part that
    can not be without it.
    """
    if place and place[0] in PARTS and len(place) > 1:
        needed = len(place) == 2 or PARTS[str(place[0])].model_fields[str(place[2])].is_required()
        return place[:2] if needed else place[:3]
    return place[:1]


def _drop(values: Any, place: Place) -> None:
    *path, last = place
    try:
        for part in path:
            values = values[part]
        del values[last]
    except (KeyError, IndexError, TypeError):  # it went with what it stood in
        return
