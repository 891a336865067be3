"""Checkpoints of a run: folders that are whole or not there, checked by a manifest of hashes before they are believed.

    FOLDER/state-00000120/state.safetensors     every tensor that the next step depends on
    FOLDER/state-00000120/note.json             the step, the place in the data, the run file's values
    FOLDER/state-00000120/manifest.json         SHA-256 of both

A folder is written beside, flushed to the disk, and then renamed: a kill at any moment leaves the ones before.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from pipelines.files.atomic import TEMPORARY

from .stopped import Stopped

TENSORS, NOTE, MANIFEST = "state.safetensors", "note.json", "manifest.json"
NAME = re.compile(r"state-(\d{8,})")


class Broken(ValueError):
    """A checkpoint that is not what was written."""


@dataclass(frozen=True)
class Saved:
    """A checkpoint that was read and is whole.

    Attributes:
        step: steps that were done.
        tensors: by name, on the CPU.
        note: plain values.
    """

    step: int
    tensors: dict[str, Tensor]
    note: dict[str, Any]


class Checkpoints:
    """The checkpoints in `folder`.

    Args:
        folder: the run's.
        last: how many of the newest stay.
        say: is told in a sentence of a checkpoint that is broken.
    """

    def __init__(self, folder: Path, last: int, say: Callable[[str], None]) -> None:
        self.folder, self.last, self.say = folder, last, say

    def steps(self) -> list[int]:
        """The steps of which there is a checkpoint, in order."""
        found = [NAME.fullmatch(path.name) for path in self.folder.glob("state-*") if path.is_dir()]
        return sorted(int(match[1]) for match in found if match)

    def save(self, step: int, tensors: Mapping[str, Tensor], note: Mapping[str, Any], best: int | None = None) -> None:
        """Write a checkpoint, and let go of all but the newest and that of step `best`.

        Raises:
            Stopped: the disk is full or the folder can not be written; what was there before stays.
        """
        target = self._path(step)
        aside = self.folder / f"{TEMPORARY}{secrets.token_hex(8)}.tmp"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for left in self.folder.glob(f"{TEMPORARY}*.tmp"):  # of a process that was killed
                shutil.rmtree(left)
            aside.mkdir()
            save_file({name: tensor.contiguous().cpu() for name, tensor in tensors.items()}, aside / TENSORS)
            (aside / NOTE).write_text(json.dumps({"step": step, **note}, indent=1))
            hashes = {name: _hash(aside / name) for name in (TENSORS, NOTE)}
            (aside / MANIFEST).write_text(json.dumps(hashes, indent=1))
            for path in (*aside.iterdir(), aside):
                _sync(path)
            if target.exists():  # one that was found broken and is made again
                shutil.rmtree(target)
            os.replace(aside, target)
            _sync(self.folder)
        except Exception as error:  # safetensors has its own error for a full disk
            shutil.rmtree(aside, ignore_errors=True)
            raise Stopped(self._unwritten(step, error)) from error
        for old in [each for each in self.steps() if each <= step][: -self.last]:  # a later one is a broken one
            if old != best:
                shutil.rmtree(self._path(old), ignore_errors=True)

    def newest(self) -> Saved | None:
        """The newest checkpoint that is whole; None where there has been none.

        A broken one is told of in a sentence, and the one before it is taken; it stays until it is made again.

        Raises:
            Stopped: there are checkpoints, and none is whole.
        """
        steps = self.steps()
        for step in reversed(steps):
            try:
                return self.read(step)
            except Broken as broken:
                self.say(f"the checkpoint of step {step} is broken ({broken}); the one before it is taken")
        if steps:
            raise Stopped(f"none of the checkpoints in {self.folder} is whole; choose another folder to begin anew")
        return None

    def read(self, step: int) -> Saved:
        """The checkpoint of a step.

        Raises:
            Broken: a file is not there, or is not what was written.
        """
        folder = self._path(step)
        try:
            manifest = json.loads((folder / MANIFEST).read_text())
            for name in (TENSORS, NOTE):
                if _hash(folder / name) != manifest[name]:
                    raise Broken(f"{name} is not what was written")
            return Saved(step, load_file(folder / TENSORS), json.loads((folder / NOTE).read_text()))
        except OSError as error:
            raise Broken(f"{Path(error.filename or folder).name} can not be read: {error.strerror}") from None
        except (ValueError, KeyError, TypeError) as error:
            raise error if isinstance(error, Broken) else Broken(f"{MANIFEST} is damaged") from None

    def left(self) -> str:
        """What there is to go on from, as part of a sentence."""
        kept = self.steps()
        return f"the checkpoint of step {kept[-1]} is whole" if kept else "there is no checkpoint yet"

    def _path(self, step: int) -> Path:
        return self.folder / f"state-{step:08d}"

    def _unwritten(self, step: int, error: Exception) -> str:
        full = getattr(error, "errno", None) == errno.ENOSPC or "No space left" in str(error)
        why = (
            "the disk is full; free some"
            if full
            else f"{(str(error).strip() or type(error).__name__).splitlines()[0][:160]}"
        )
        left = f"{self.left()}, start again to go on"
        return f"the checkpoint of step {step} can not be written to {self.folder}: {why}; {left}"


def _hash(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _sync(path: Path) -> None:
    """Wait until a file or folder is on the disk."""
    if path.is_dir() and os.name != "posix":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
