"""The place of a batch: a folder of this machine, or one in shared storage with a folder here in which files are made.

Storage holds the truth: what stands in it is there, its manifest is read when a batch begins, and is sent again every
few seconds. What a kill takes of it costs rows that are rendered again, to the same bytes under the same names.
"""

from __future__ import annotations

import secrets
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from pipelines.files.output import OutputFolder
from pipelines.files.storage import Storage, StorageError, is_address
from pipelines.refusal import Refusal

PAUSE = 5.0  # seconds between two times that the manifest is sent
DRIVER = "driver"  # names the call that is at work in a folder of storage
MOST_TOLD = 1024  # bytes of it


class Place:
    """Where outputs go.

    Args:
        out: a folder, or an address.
        keep: whether what was sent to storage also stays here until this place is gone.

    Attributes:
        folder: of this machine; files are made in it.
        storage: where they are sent, or None.

    Raises:
        Refusal: the address is not right.
    """

    def __init__(self, out: str | Path, keep: bool = True) -> None:
        self._keep = keep
        self._there: set[str] = set()
        self._sent = 0.0
        self._mark = secrets.token_hex(8).encode()
        self.storage: Storage | None = None
        if is_address(str(out)):
            self.storage = Storage(str(out).rstrip("/"))
            self._made = tempfile.TemporaryDirectory(prefix="diorama-")  # goes with this object
            self.folder = Path(self._made.name)
        else:
            self.folder = Path(out)

    @property
    def out(self) -> str:
        """What another process calls it."""
        return self.storage.address if self.storage else str(self.folder.resolve())

    @property
    def name(self) -> str:
        """What people call it."""
        return self.storage.address if self.storage else str(self.folder)

    def shown(self, name: str) -> str:
        """What people call a file of it."""
        return f"{self.storage.address}/{name}" if self.storage else str(self.folder / name)

    def probe(self) -> None:
        """Try to write in it, and leave no trace.

        Raises:
            OSError: it can not be done.
        """
        if self.storage is None:
            OutputFolder(self.folder).probe()
            return
        trial = f".diorama-{self._mark.decode()}"
        self.storage.write(b"diorama", trial)
        self.storage.delete(trial)

    def begin(self, names: Sequence[str]) -> None:
        """Have the files `names` here as they are in storage, and know what else is there. A call before ends now.

        Raises:
            OSError: it can not be read or written.
        """
        if self.storage is None:
            return
        self._there = self.storage.names()
        for name in names:
            (self.folder / name).unlink(missing_ok=True)
            if name in self._there:
                self.storage.fetch(self.folder / name, name)
        self.storage.write(self._mark, f"{_folder_of(names[0])}{DRIVER}")

    def others(self) -> frozenset[str]:
        """Files that were in storage when the batch began; what stands in a folder here is looked at there."""
        return frozenset(self._there)

    def has(self, name: str) -> bool:
        """Whether a file was there when the batch began, or is now."""
        return name in self._there if self.storage else (self.folder / name).exists()

    def since(self, name: str) -> float:
        """When a file was written, in seconds since 1970; -1: never. Storage has clocks of its own: infinity."""
        if self.storage is not None:
            return float("inf") if name in self._there else -1.0
        try:
            return (self.folder / name).stat().st_mtime
        except OSError:
            return -1.0

    def deliver(self, names: Iterable[str]) -> None:
        """Send outputs that were made here, in this order.

        Raises:
            StorageError: it takes none.
        """
        for name in names if self.storage else ():
            assert self.storage is not None
            self.storage.send(self.folder / name, name)
            self._there.add(name)
            if not self._keep:
                (self.folder / name).unlink()

    def back_up(self, names: Sequence[str], now: bool = False) -> None:
        """Send the batch's own files, at most every few seconds.

        Raises:
            StorageError: it takes none, or another call is at work in it.
        """
        if self.storage is None or not (now or time.monotonic() - self._sent > PAUSE):
            return
        if self.storage.read(MOST_TOLD, f"{_folder_of(names[0])}{DRIVER}") != self._mark:
            raise StorageError("another batch has begun in it")
        for name in names:
            if (self.folder / name).exists():
                self.storage.send(self.folder / name, name)
        self._sent = time.monotonic()

    def gather(self, names: Iterable[str]) -> None:
        """Have outputs here, wherever they were made. What storage does not give stays away."""
        if self.storage is not None:
            try:
                self.storage.fetch_all(self.folder, [name for name in names if not (self.folder / name).exists()])
            except (StorageError, FileNotFoundError):
                return


def place_of(out: str | Path) -> Place:
    """The place that `--out` names, after a trial.

    Raises:
        Refusal: it can not be written to.
    """
    try:
        place = Place(out)
        place.probe()
    except Refusal as refusal:
        raise Refusal("--out", refusal.reason) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise Refusal("--out", f"expected a folder to write to, got {str(out)!r}: {reason}; choose another") from None
    return place


def _folder_of(name: str) -> str:
    return name[: name.rfind("/") + 1]
