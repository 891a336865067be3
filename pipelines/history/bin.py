"""The bin: outputs that were thrown away and can be taken back.

    FOLDER/ID/bin.json      what was thrown away and when
    FOLDER/ID/files/        its record and its files, under their names
    FOLDER/.ID.part, .gone  on its way in, on its way out

Several files can not move in one step, so they are never moved: they are linked into the other place, a last step makes
the output whole there (the renaming of a folder, the record), and only then their old names are removed. Whatever kills
the process, an output is whole in one place or the other; `Bin.recover` removes what is then too much.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from pipelines.files.atomic import whole, write_bytes
from pipelines.files.media import MediaError
from pipelines.files.record import SUFFIXES, outputs_of, read_record
from pipelines.history.notes import noted

ID = re.compile(r"[0-9a-f]{16}")
ON_ITS_WAY = re.compile(r"\.[0-9a-f]{16}\.(part|gone)")
ABOUT, FILES = "bin.json", "files"
PUTTING, TAKING = "putting", "taking.json"  # marks of a change that is not at its end


@dataclass(frozen=True)
class Binned:
    """An output in the bin.

    Attributes:
        id: what it is called here.
        stem: what it was called.
        when: seconds since 1970.
        files: the folder with its record and its files.
    """

    id: str
    stem: str
    when: float
    files: Path

    @property
    def record(self) -> Path:
        """Its record."""
        return self.files / f"{self.stem}.json"


class Bin:
    """The bin of a folder of outputs. One call at a time: the history holds its lock around them."""

    def __init__(self, folder: Path, outputs: Path) -> None:
        self.folder, self.outputs = folder, outputs

    def put(self, id: str, stem: str) -> Binned:
        """Throw the output called `stem` away; a file that its record tells and that is gone stays gone.

        Raises:
            MediaError: it has no record that can be read.
            OSError: it can not be moved; then it is where it was.
        """
        told = read_record(self.outputs / f"{stem}.json")
        part = self.folder / f".{id}.part"
        (part / FILES).mkdir(parents=True)
        for name in (*outputs_of(stem, told), f"{stem}.json"):
            if self._is_here(name):
                _link(self.outputs / name, part / FILES / name)
        binned = Binned(id, stem, time.time(), self.folder / id / FILES)
        write_bytes(part / PUTTING, b"")
        write_bytes(part / ABOUT, json.dumps({"stem": stem, "when": binned.when}).encode())
        part.rename(self.folder / id)
        self._clear(binned)
        return binned

    def take(self, id: str) -> str:
        """Take an output back and return its name: its own, or with -2, -3, ... where that is taken.

        Under another name the record tells the files by their new names; the job in it and in the files keeps its own.

        Raises:
            KeyError: nothing of that id is in the bin.
            OSError: it can not be moved; then it is where it was.
        """
        binned = self.get(id)
        if binned is None:
            raise KeyError(id)
        told = read_record(binned.record)
        for stem in _candidates(binned.stem):
            if any(os.path.lexists(self.outputs / f"{stem}{suffix}") for suffix in ("", ".json", *SUFFIXES)):
                continue
            write_bytes(binned.files.parent / TAKING, json.dumps({"stem": stem}).encode())
            try:
                for name in outputs_of(binned.stem, told):
                    if (binned.files / name).exists():
                        _link(binned.files / name, self.outputs / _renamed(name, binned.stem, stem))
                self._put_record(binned, stem)
            except FileExistsError:  # somebody took the name meanwhile
                self._undo(binned, stem)
                continue
            self.remove(id)
            return stem
        raise AssertionError("there is always a next number")

    def get(self, id: str) -> Binned | None:
        """The output called `id`; None where there is none."""
        about = noted(self.folder / id / ABOUT) if ID.fullmatch(id) else {}
        stem, when = about.get("stem"), about.get("when")
        if not isinstance(stem, str) or not isinstance(when, int | float) or {"/", "\\", "\0"} & set(stem):
            return None
        return Binned(id, stem, when, self.folder / id / FILES)

    def all(self) -> list[Binned]:
        """What is in the bin."""
        return [binned for name in self._names() if (binned := self.get(name)) is not None]

    def remove(self, id: str) -> None:
        """Drop an output for good."""
        gone = self.folder / f".{id}.gone"
        (self.folder / id).rename(gone)  # at once for whoever looks, however long the files take
        shutil.rmtree(gone, ignore_errors=True)

    def recover(self) -> None:
        """Finish or undo what a killed process left half done; before every other call, and harmless at any time."""
        for name in self._names():
            if ON_ITS_WAY.fullmatch(name):
                shutil.rmtree(self.folder / name, ignore_errors=True)
                continue
            if (binned := self.get(name)) is None:
                continue
            with suppress(OSError, MediaError):  # then the next time: what is whole elsewhere does not wait for it
                if (self.folder / name / PUTTING).exists():
                    self._clear(binned)
                if (stem := noted(self.folder / name / TAKING).get("stem")) is None:
                    continue
                if self._has_record(binned, str(stem)):
                    self.remove(name)
                else:
                    self._undo(binned, str(stem))

    def _names(self) -> list[str]:
        try:
            return sorted(os.listdir(self.folder))
        except FileNotFoundError:
            return []

    def _is_here(self, name: str) -> bool:
        """Whether it is a file in the folder of outputs, and no link that leads elsewhere."""
        path = self.outputs / name
        return path.is_file() and path.resolve() == self.outputs.resolve() / name

    def _clear(self, binned: Binned) -> None:
        """Remove the old names of what is whole in the bin: the record first, so that no record tells too much."""
        names = {binned.record.name: None} | dict.fromkeys(outputs_of(binned.stem, read_record(binned.record)))
        for name in names:
            _unlink_copy(self.outputs / name, binned.files / name)
        _remove_empty(self.outputs / binned.stem)
        (binned.files.parent / PUTTING).unlink()

    def _undo(self, binned: Binned, stem: str) -> None:
        """Remove the names that `take` made before it came to the record."""
        for name in outputs_of(binned.stem, read_record(binned.record)):
            _unlink_copy(self.outputs / _renamed(name, binned.stem, stem), binned.files / name)
        _remove_empty(self.outputs / stem)
        (binned.files.parent / TAKING).unlink()

    def _put_record(self, binned: Binned, stem: str) -> None:
        if stem == binned.stem:
            return _link(binned.record, self.outputs / binned.record.name)
        new = binned.files.parent / "record.json"
        write_bytes(new, _record_as(binned, stem))
        status = binned.record.stat()
        os.utime(new, ns=(status.st_atime_ns, status.st_mtime_ns))  # which tells when the output was made
        _link(new, self.outputs / f"{stem}.json")

    def _has_record(self, binned: Binned, stem: str) -> bool:
        try:
            return (self.outputs / f"{stem}.json").read_bytes() == _record_as(binned, stem)
        except (OSError, MediaError):
            return False


def _record_as(binned: Binned, stem: str) -> bytes:
    """The record of an output that is called `stem` from now on."""
    data = binned.record.read_bytes()
    if stem == binned.stem:
        return data
    told = json.loads(data)
    outputs = outputs_of(binned.stem, told)
    told["outputs"] = {_renamed(name, binned.stem, stem): sha for name, sha in outputs.items()}
    return json.dumps(told, indent=2, ensure_ascii=False).encode() + b"\n"


def _renamed(name: str, old: str, new: str) -> str:
    return new + name.removeprefix(old)


def _candidates(stem: str) -> Iterator[str]:
    yield stem
    yield from (f"{stem}-{number}" for number in count(2))


def _link(path: Path, to: Path) -> None:
    """Let the file at `path` stand at `to` as well, or a copy of it where a file system has no links.

    Raises:
        FileExistsError: something stands there.
    """
    to.parent.mkdir(exist_ok=True)
    try:
        os.link(path, to)
    except FileExistsError:
        raise
    except OSError:
        if os.path.lexists(to):
            raise FileExistsError(str(to)) from None
        with whole(to) as temporary:
            shutil.copy2(path, temporary)


def _unlink_copy(path: Path, copy: Path) -> None:
    """Remove `path` where it is still the file that stands at `copy` too, and was not written anew."""
    with suppress(FileNotFoundError):
        here, there = path.stat(follow_symlinks=False), copy.stat()
        if (here.st_size, here.st_mtime_ns) == (there.st_size, there.st_mtime_ns):
            path.unlink()


def _remove_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()
