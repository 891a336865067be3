"""Presets: named sets of job fields, a YAML file each in a folder of the user's, and built-in ones.

A preset file holds fields as a job does, and may hold `about`, a sentence, and `task`, the one task that it is for.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pipelines.files.atomic import write_bytes
from pipelines.files.yamlfile import documents
from pipelines.job import KINDS, parse
from pipelines.refusal import Refusal, kind_of, nearest, on_one_line, shown

FOLDER = "presets"  # in the output folder, unless the user names another
BUILT_IN = Path(__file__).parents[2] / "assets" / "presets.yaml"
SUFFIX = ".yaml"
MAX_BYTES = 64 * 2**10
MAX_PRESETS = 1_000
MAX_ABOUT = 300

# Never part of a preset: a name is of one output.
BARRED = frozenset({"task", "name"})
# What is drawn and not how, and files of one job: left out of a preset unless asked for.
CONTENT = frozenset(
    {
        "prompt", "negative_prompt", "seed", "scenes", "boxes", "layers", "source", "mask", "reference", "background",
        "continue_from", "audio", "face", "keep_frames", "outpaint",
    }
)  # fmt: skip

# The least that makes a job of each task, so that a preset's fields can be checked by the schema.
_LEAST: dict[str, dict[str, Any]] = {
    "text": {"prompt": "a"},
    "scenes": {"scenes": [{"prompt": "a"}]},
    "layout": {"prompt": "a", "boxes": [{"box": [0, 0, 1, 1], "prompt": "a"}]},
    "layered": {"prompt": "a", "layers": [{"box": [0, 0, 1, 1]}]},
    "masked": {"source": "a"},
    "dubbing": {"source": "a", "audio": "a"},
}


@dataclass(frozen=True)
class Preset:
    """Fields of a job under a name.

    Attributes:
        name: as a job's name may be.
        fields: plain values by field.
        tasks: those whose jobs take all its fields, or the one that it is for.
        task: the one task that it is for, where its file says so.
        about: a sentence for people, or "".
        built_in: whether it came with Diorama; such a one can not be changed.
    """

    name: str
    fields: Mapping[str, Any]
    tasks: tuple[str, ...]
    task: str | None = None
    about: str = ""
    built_in: bool = False

    def apply(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """`values`, a job's, with the preset's fields over them.

        Raises:
            Refusal: the preset is for another task, or has fields that this task has not; they are named.
        """
        task = str(values.get("task"))
        if task not in KINDS:
            raise Refusal("task", f"expected one of {', '.join(KINDS)}, got {kind_of(values.get('task'))}")
        if self.task not in (None, task):
            raise Refusal("task", f"expected {self.task}, which the preset {self.name!r} is for, got {task}")
        strange = sorted(self.fields.keys() - KINDS[task].model_fields.keys())
        if strange:
            raise Refusal("task", f"a {task} job has no {', '.join(strange)}, which the preset {self.name!r} sets")
        if task not in self.tasks:
            _check_fields(task, self.fields)
        return {**values, **self.fields}


class Presets:
    """The presets of one folder and the built-in ones.

    Every call looks at the folder anew; it may be absent.
    """

    def __init__(self, folder: Path, built_in: Path = BUILT_IN) -> None:
        self.folder = folder
        self._built_in = _read_built_in(built_in)

    def all(self, task: str | None = None) -> list[Preset]:
        """The built-in presets, then the user's by name; those that suit `task`, or all. Broken files are left out."""
        found = [*self._built_in, *(one for one in map(self._read, self._files()) if isinstance(one, Preset))]
        return [preset for preset in found if task is None or task in preset.tasks]

    def problems(self) -> list[str]:
        """A sentence for each file of the folder that is no preset."""
        return [str(one) for one in map(self._read, self._files()) if isinstance(one, Refusal)]

    def get(self, name: str) -> Preset:
        """The preset called `name`; upper and lower case are one.

        Raises:
            Refusal: there is none, or its file is broken.
        """
        for preset in self._built_in:
            if _key(preset.name) == _key(name):
                return preset
        path = self._path(name)
        if path is None:
            near = nearest(name, [preset.name for preset in self.all()])
            hint = f"did you mean {near!r}?" if near else "save one of that name first"
            raise Refusal("preset", f"there is no preset {shown(name)}; {hint}")
        found = self._read(path)
        if isinstance(found, Refusal):
            raise found
        return found

    def save(
        self,
        name: str,
        values: Mapping[str, Any],
        *,
        also: Sequence[str] = (),
        only: Sequence[str] | None = None,
        any_task: bool = True,
        about: str = "",
        replace: bool = False,
    ) -> Preset:
        """Keep fields of the job `values` as `name`, and return the preset.

        Args:
            name: how the preset is called.
            values: a job's plain values, its task among them.
            also: fields such as `prompt` that belong to what is drawn and are left out unless named here.
            only: the fields to keep, and no others; None is all that say how to draw.
            any_task: false keeps the preset for the job's own task.
            about: a sentence for people.
            replace: whether a preset of that name is written over.

        Raises:
            Refusal: the name can not be used or is taken, nothing is left to keep, or the values are no job's.
            OSError: the file can not be written.
        """
        _check_name(name)
        self._check_free(name, except_for=name if replace else None)
        task = str(values.get("task"))
        if task not in KINDS:
            raise Refusal("task", f"expected one of {', '.join(KINDS)}, got {kind_of(values.get('task'))}")
        wanted = (values.keys() - BARRED - CONTENT) | set(also) if only is None else set(only)
        missing = sorted(wanted - values.keys())
        if missing:
            raise Refusal(missing[0], "expected a field that the job has; leave it out of the preset")
        fields = {key: value for key, value in values.items() if key in wanted}
        preset = _checked(name, {"about": about, **({} if any_task else {"task": task}), **fields})
        if task not in preset.tasks:
            _check_fields(task, fields)
        self.folder.mkdir(parents=True, exist_ok=True)
        write_bytes(self._path(name) or self.folder / f"{name}{SUFFIX}", _text(preset).encode())
        return preset

    def rename(self, name: str, new: str) -> None:
        """Call the user's preset `name` `new`.

        Raises:
            Refusal: there is no such preset, it is built in, or the new name can not be used or is taken.
            OSError: the file can not be renamed.
        """
        path = self._own(name)
        _check_name(new)
        self._check_free(new, except_for=name)
        os.replace(path, self.folder / f"{new}{SUFFIX}")

    def delete(self, name: str) -> None:
        """Remove the user's preset `name`, also where its file is broken.

        Raises:
            Refusal: there is no such preset, or it is built in.
            OSError: the file can not be removed.
        """
        self._own(name).unlink()

    def _own(self, name: str) -> Path:
        if any(_key(preset.name) == _key(name) for preset in self._built_in):
            raise Refusal("preset", f"{shown(name)} is built in and stays as it is; save a preset under another name")
        path = self._path(name)
        if path is None:
            raise Refusal("preset", f"there is no preset {shown(name)}")
        return path

    def _check_free(self, name: str, except_for: str | None) -> None:
        if any(_key(preset.name) == _key(name) for preset in self._built_in):
            raise Refusal("name", f"{shown(name)} is the name of a built-in preset; choose another")
        if self._path(name) is not None and (except_for is None or _key(name) != _key(except_for)):
            raise Refusal("name", f"{shown(name)} is the name of a preset already; choose another")

    def _files(self) -> list[Path]:
        try:
            found = [path for path in self.folder.iterdir() if path.suffix == SUFFIX and not path.name.startswith(".")]
        except OSError:
            return []
        return sorted(found, key=lambda path: (_key(path.stem), path.stem))[:MAX_PRESETS]

    def _path(self, name: str) -> Path | None:
        """The file of a preset, found in the folder's list: a name from outside never becomes a path."""
        return next((path for path in self._files() if _key(path.stem) == _key(name)), None)

    def _read(self, path: Path) -> Preset | Refusal:
        """The preset in a file, or what is wrong with it."""
        try:
            _check_name(path.stem)
            # First resolved, then judged: a link may lead anywhere.
            if not path.resolve().is_relative_to(self.folder.resolve()) or not path.is_file():
                raise Refusal("", "expected a file of the folder, got something else")
            with path.open("rb") as stream:
                data = stream.read(MAX_BYTES + 1)
            if len(data) > MAX_BYTES:
                raise Refusal("", f"expected at most {MAX_BYTES // 2**10} KiB, got more")
            return _checked(path.stem, _only_document(data))
        except Refusal as refusal:
            place = f"preset {path.stem}, field {refusal.field}" if refusal.field else f"preset {path.stem}"
            return Refusal(on_one_line(place), refusal.reason)
        except OSError as error:
            return Refusal(on_one_line(f"preset {path.stem}"), f"can not be read: {error.strerror}")


def _only_document(data: bytes) -> object:
    try:
        found = list(documents(data.decode("utf-8-sig")))
    except UnicodeDecodeError as error:
        raise Refusal("", f"expected UTF-8 text, got the byte 0x{data[error.start]:02x}; save it as UTF-8") from None
    if len(found) != 1:
        raise Refusal("", f"expected one document, got {len(found)}")
    return found[0]


def _checked(name: str, document: object, built_in: bool = False) -> Preset:
    """The preset that a document describes.

    Raises:
        Refusal: it has unknown fields, fields that no one task has together, or values that a job can not have.
    """
    if not isinstance(document, Mapping):
        raise Refusal("", f"expected a mapping of fields, got {kind_of(document)}")
    task, about = document.get("task"), document.get("about", "")
    if task is not None and task not in KINDS:
        raise Refusal("task", f"expected one of {', '.join(KINDS)}, got {kind_of(task)}")
    if not isinstance(about, str) or len(about) > MAX_ABOUT or not (about + "a").isprintable():
        raise Refusal("about", f"expected one line of at most {MAX_ABOUT} characters, got {kind_of(about)}")
    fields = {key: value for key, value in document.items() if key not in ("task", "about")}
    if not fields:
        raise Refusal("", "expected at least one field to set, got none")
    if "name" in fields:
        raise Refusal("name", "is of one output; leave it out of the preset")
    tasks = [str(task)] if task else list(KINDS)
    known = sorted({key for one in tasks for key in KINDS[one].model_fields} - BARRED)
    strange = [str(key) for key in fields if key not in known]
    if strange:
        near = nearest(strange[0], known)
        hint = f"; did you mean {near!r} by {strange[0]!r}?" if near else ""
        of = f"a {task} job" if task else "a job"
        raise Refusal(on_one_line(strange[0], 60), f"{of} has no {on_one_line(', '.join(strange), 200)}{hint}")
    having = [one for one in tasks if fields.keys() <= KINDS[one].model_fields.keys()]
    if not having:
        raise Refusal("", f"no task has all of {', '.join(fields)}; make two presets")
    taking = tuple(one for one in having if _takes(one, fields))
    if not taking:
        _check_fields(having[0], fields)
    return Preset(name, fields, taking, task, about, built_in)


def _takes(task: str, fields: Mapping[str, Any]) -> bool:
    try:
        _check_fields(task, fields)
    except Refusal:
        return False
    return True


def _check_fields(task: str, fields: Mapping[str, Any]) -> None:
    """Raise Refusal for values that a job of `task` can not have."""
    given = {"task": task, **_LEAST[task], **fields}
    if task == "masked" and not any(given.get(key) for key in ("mask", "keep_frames", "outpaint")):
        given["mask"] = "a"
    parse(given)


def _check_name(name: str) -> None:
    """Raise Refusal unless `name` may be a job's name: then every file system takes it, and it leaves no folder."""
    parse({"task": "text", "prompt": "a", "name": name})


def _text(preset: Preset) -> str:
    head = {"about": preset.about, "task": preset.task}
    values = {**{key: value for key, value in head.items() if value}, **preset.fields}

    class Plain(yaml.SafeDumper):
        def ignore_aliases(self, data: object) -> bool:  # `yamlfile.py` reads none
            return True

    return yaml.dump(_plain(values), Dumper=Plain, sort_keys=False, allow_unicode=True, width=10**6)


def _plain(value: Any) -> Any:
    """Tuples as lists, as YAML writes them."""
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value


def _read_built_in(path: Path) -> tuple[Preset, ...]:
    found = _only_document(path.read_bytes())
    assert isinstance(found, Mapping)
    return tuple(_checked(str(name), fields, built_in=True) for name, fields in found.items())


def _key(name: str) -> str:
    """Names of equal key are one file to some file system."""
    return unicodedata.normalize("NFC", name).casefold()
