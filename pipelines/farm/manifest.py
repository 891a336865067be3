"""The manifest: `batch/manifest.jsonl` in an output folder, a line for each row of its batches and what became of it.

The driver of a batch alone writes it, a line at a time. The last line of a name counts, so that no kill leaves the file
anything but whole: at most its last line is cut, and that one is dropped. A batch that begins writes it anew, each name
once. What a row is asks for more than its job: `key_of` hashes the files that the job names and the weights as well.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TextIO

from filelock import FileLock, Timeout

from pipelines.files.atomic import write_bytes
from pipelines.job import Job, recipe
from pipelines.refusal import Refusal
from pipelines.story.scenecache import digest

FOLDER = "batch"  # among the outputs
FILE, LOCK = "manifest.jsonl", "lock"
State = Literal["waiting", "done", "failed"]


@dataclass(frozen=True)
class Entry:
    """One row of the manifest.

    Attributes:
        name: the stem of its files.
        key: says what is rendered, see `key_of`.
        file, document: where the row was read.
        state: waiting until it is done or failed.
        files: path relative to the output folder and SHA-256 of each of its files but the record, the shown one last.
        seconds: that its unit took, shared among the unit's rows.
        attempts: how often it was tried.
        reason: of a failed row, one sentence.
        finished: seconds since 1970, or None.
    """

    name: str
    key: str
    file: str
    document: int
    state: State = "waiting"
    files: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    attempts: int = 0
    reason: str = ""
    finished: float | None = None

    def done(self, files: Mapping[str, str], seconds: float) -> Entry:
        """The row after a render that went well."""
        return self._over("done", dict(files), seconds, "")

    def failed(self, reason: str, seconds: float) -> Entry:
        """The row after a render that did not."""
        return self._over("failed", {}, seconds, reason)

    def _over(self, state: State, files: Mapping[str, str], seconds: float, reason: str) -> Entry:
        attempts, now = self.attempts + 1, time.time()
        told = replace(self, state=state, files=files, seconds=round(seconds, 4))
        return replace(told, reason=reason, attempts=attempts, finished=now)


def key_of(job: Job, inputs: Mapping[str, str], weights: str) -> str:
    """Equal for rows that show the same: hash of the job, of the files that it names and of the model's weights."""
    return digest([recipe(job), dict(inputs), weights])


class Manifest:
    """The manifest of `folder`, held by one process at a time.

    Args:
        folder: the output folder.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FOLDER / FILE
        self._lock = FileLock(folder / FOLDER / LOCK)
        self._stream: TextIO | None = None

    def open(self) -> dict[str, Entry]:
        """Take the folder for this process, and the rows of earlier batches by name.

        Raises:
            Refusal: another batch is at work in the folder, or the file is not a manifest.
            OSError: it can not be read.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise Refusal(
                "--out", f"another batch is at work in {str(self.path.parent.parent)!r}; wait for it or choose another"
            ) from None
        return {entry.name: entry for entry in read_manifest(self.path)}

    def begin(self, entries: Iterable[Entry]) -> None:
        """Write the file anew with `entries`, whole or not at all."""
        write_bytes(self.path, "".join(map(_line, entries)).encode())
        self._stream = self.path.open("a", encoding="utf-8")

    def note(self, entry: Entry) -> None:
        """Add what became of a row.

        Raises:
            OSError: it can not be written; what stands there is whole.
        """
        assert self._stream is not None
        # Not waiting for the disk: a line that a power failure takes costs one row rendered again, to the same bytes.
        self._stream.write(_line(entry))
        self._stream.flush()

    def close(self) -> None:
        """Let others have the folder."""
        if self._stream is not None:
            with suppress(OSError):  # a full disk may still owe a line; its row is rendered again
                self._stream.close()
        self._lock.release()


def read_manifest(path: Path) -> list[Entry]:
    """The rows of a manifest in their order, each as its last line tells it; none where there is no file.

    Raises:
        Refusal: a line but the last is not a row.
        OSError: it can not be read.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    found: dict[str, Entry] = {}
    # The last piece is empty, or a line that a kill cut.
    for number, line in enumerate(lines[:-1], 1):
        try:
            entry = Entry(**json.loads(line))
        except (ValueError, TypeError):
            raise Refusal(
                "--out", f"{path}, line {number}: expected a row of a manifest; move the file away to begin anew"
            ) from None
        found[entry.name] = entry
    return list(found.values())


def _line(entry: Entry) -> str:
    values: dict[str, Any] = asdict(entry)
    return json.dumps(values, ensure_ascii=False, allow_nan=False) + "\n"
