"""The output folder: what files are called, who owns a name, and the record beside each output."""

from __future__ import annotations

import hashlib
import os
import platform
import tempfile
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pipelines.estimate import Attachment, Rendered
from pipelines.files.atomic import TEMPORARY, write_bytes
from pipelines.files.media import MediaError, read_recipe, write_picture, write_record, write_video
from pipelines.job import DEFAULT_FPS, Job, parse, recipe
from pipelines.refusal import Refusal
from pipelines.version import __version__

PACKAGES = ("torch", "diffusers", "transformers", "numpy")
SUFFIXES = (".json", ".png", ".mp4")
ATTACHED = {"layout": ("-boxes.png",), "layered": (".psd", ".ora")}  # what else a task writes under its name


class OutputFolder:
    """A folder of outputs. A name belongs to the job that wrote it: that job writes it again, another gets NAME-2."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._taken: set[str] = set()

    def probe(self) -> None:
        """Try to make the folder and write in it, and leave no trace.

        Raises:
            OSError: it can not be done.
        """
        missing = [path for path in (self.folder, *self.folder.parents) if not path.exists()]
        made: list[Path] = []
        try:
            for path in reversed(missing):
                path.mkdir()
                made.append(path)
            with tempfile.TemporaryFile(dir=self.folder) as trial:
                trial.write(b"diorama")
        finally:
            for path in reversed(made):
                path.rmdir()

    def claim(self, job: Job, document: int) -> str:
        """The file stem for `job`: its name or TASK-NNN, with -2, -3, ... when another job's outputs stand there."""
        stem = job.name or f"{job.task}-{document:03d}"
        for candidate in _candidates(stem):
            keys = {_key(f"{candidate}{suffix}") for suffix in ("", *SUFFIXES, *_attached(job))}
            if not keys & self._taken and self._is_free_for(job, candidate):
                self._taken |= keys
                return candidate
        raise AssertionError("there is always a next number")

    def reserve(self, job: Job, stem: str) -> None:
        """Keep a name for `job` that an earlier call gave it, so that no other job claims it."""
        self._taken |= {_key(f"{stem}{suffix}") for suffix in ("", *SUFFIXES, *_attached(job))}

    def take(self, names: Iterable[str]) -> None:
        """Let nobody claim the names of these files, which stand where this folder is sent to."""
        for name in names:
            top = name.partition("/")[0]
            self._taken |= {_key(top), _key(Path(top).stem)}

    def save(self, job: Job, stem: str, rendered: Rendered) -> dict[Path, str]:
        """Write the outputs of `job` and, last, the record that makes them complete.

        Returns all files but the record, in the order in which they were written, each with its SHA-256.

        Args:
            job: what was rendered.
            stem: the name that `claim` gave.
            rendered: one frame is a picture, more are a video; it is the last of the files, attachments come before.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        inside = inside_of(job)
        files = [self._attach(stem, attachment, inside) for attachment in rendered.attachments]
        if len(rendered.frames) == 1 and rendered.sound is None:
            files.append(self.folder / f"{stem}.png")
            write_picture(files[-1], rendered.frames[0], inside)
        else:
            rate = rendered.fps or getattr(job, "fps", None) or DEFAULT_FPS
            exact = getattr(job, "png_frames", False)
            files += write_video(self.folder / f"{stem}.mp4", rendered.frames, rate, inside, exact, rendered.sound)
        hashes = {file: _sha256(file) for file in files}
        outputs = {file.relative_to(self.folder).as_posix(): digest for file, digest in hashes.items()}
        record = {**inside, **rendered.record, "versions": versions(), "outputs": outputs}
        write_record(self.folder / f"{stem}.json", record)
        return hashes

    def _attach(self, stem: str, attachment: Attachment, inside: Mapping[str, Any]) -> Path:
        path = self.folder / f"{stem}{attachment.suffix}"
        path.parent.mkdir(exist_ok=True)
        if isinstance(attachment.content, bytes):
            write_bytes(path, attachment.content)
        else:
            write_picture(path, attachment.content, inside)
        return path

    def _is_free_for(self, job: Job, stem: str) -> bool:
        written = self._written(job, stem)
        suffixes = (*SUFFIXES, *_attached(job))
        paths = [path for suffix in suffixes if (path := self.folder / f"{stem}{suffix}").exists()]
        folder = self.folder / stem
        if getattr(job, "png_frames", False) and folder.exists() and not _is_begun(folder):
            paths.append(folder / "0000.png")
        if job.task == "layered" and folder.exists():
            if not (folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)):
                return False
            paths += sorted(folder.glob("*.png"))
        return all(_holds(path, job) and _unchanged(path, written) for path in paths)

    def _written(self, job: Job, stem: str) -> Mapping[str, str]:
        """Paths and SHA-256 of the files of `job` that painting programs open, as its record tells them."""
        path = self.folder / f"{stem}.json"
        if not _attached(job) or not path.exists() or not _holds(path, job):
            return {}
        outputs = read_recipe(path).get("outputs")
        told = outputs if isinstance(outputs, dict) else {}
        return {str(self.folder / name): digest for name, digest in told.items()}


def inside_of(job: Job) -> dict[str, Any]:
    """The recipe that stands in every file of a job's outputs."""
    return {"diorama": __version__, "job": recipe(job)}


@cache
def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide what a picture looks like, without importing them."""
    found = {"diorama": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "absent"
    return found


def _candidates(stem: str) -> Iterator[str]:
    yield stem
    number = 1
    while True:
        number += 1
        yield f"{stem}-{number}"


def _attached(job: Job) -> tuple[str, ...]:
    return ATTACHED.get(job.task, ())


def _key(name: str) -> str:
    """Names of equal key are one file to some file system."""
    return unicodedata.normalize("NFC", name).casefold()


def _is_begun(folder: Path) -> bool:
    """Whether a folder holds nothing, or what a killed process left of its first file."""
    try:
        return all(path.name.startswith(TEMPORARY) for path in folder.iterdir())
    except OSError:
        return False


def _unchanged(path: Path, written: Mapping[str, str]) -> bool:
    """Whether a file is as it was written: a painting program may keep the recipe in what somebody went on with."""
    return str(path) not in written or _sha256(path) == written[str(path)]


def _holds(path: Path, job: Job) -> bool:
    """Whether `path` is an output of `job`. What can not be read is somebody else's."""
    try:
        return parse(read_recipe(path)["job"]) == job
    except (MediaError, Refusal):
        return False


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
