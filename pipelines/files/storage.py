"""Shared storage: files and folders at an address such as `s3://bucket/folder`, through fsspec.

Only what a person names is asked: nothing here is reached by the studio or by its HTTP doors, whose files are names of
their own. What a protocol needs beside fsspec, such as s3fs, is installed by those who use it; keys and passwords stand
in fsspec's configuration or in the environment.
"""

from __future__ import annotations

import errno
import io
import re
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from pipelines.files.atomic import TEMPORARY, whole
from pipelines.refusal import Refusal, on_one_line

ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
# What shows an object only when all of it is there; elsewhere a file is written beside and then given its name.
OBJECTS = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oss", "oci", "memory"}


def is_address(name: str) -> bool:
    """Whether a name is an address of storage and not a path of this machine."""
    return ADDRESS.match(name) is not None


class StorageError(OSError):
    """Storage can not be reached, read or written; `strerror` says why, in a few words."""

    def __init__(self, reason: str) -> None:
        super().__init__(errno.EIO, reason)


@dataclass(frozen=True)
class Storage:
    """A file or a folder at an address; names below it are joined to it with a slash.

    Args:
        address: `PROTOCOL://...`, as fsspec has it.

    Raises:
        Refusal: the address holds a password, which would stand in every record, or is several in one.
    """

    address: str

    def __post_init__(self) -> None:
        if "::" in self.address:
            raise Refusal("", f"expected one address, got a chain, {self.address!r}; name the file itself")
        protocol, _, rest = self.address.partition("://")
        user, at, _ = rest.partition("/")[0].rpartition("@")
        if at and ":" in user:
            raise Refusal("", f"got a {protocol} address with a password; put it into fsspec's configuration")

    def read(self, most: int, name: str = "") -> bytes:
        """The first `most` bytes of a file.

        Raises:
            FileNotFoundError: there is none.
            StorageError: it can not be read.
        """
        with _telling():
            system, path = self._at(name)
            with system.open(path, "rb") as stream:
                return bytes(stream.read(most))

    def write(self, data: bytes, name: str) -> None:
        """Write a file, whole or not at all.

        Raises:
            StorageError: it can not be written.
        """
        self._put(io.BytesIO(data), name)

    def send(self, file: Path, name: str) -> None:
        """Copy a file of this machine to `name`, whole or not at all.

        Raises:
            StorageError: it can not be written.
        """
        with _telling(), file.open("rb") as source:
            self._put(source, name)

    def fetch(self, file: Path, name: str = "") -> None:
        """Copy a file, or the files of a folder, to a path of this machine, whole or not at all.

        Raises:
            FileNotFoundError: there is none.
            StorageError: it can not be read.
        """
        with _telling():
            system, path = self._at(name)
            if system.isdir(path):
                _fetch_folder(system, path, file)
                return
            file.parent.mkdir(parents=True, exist_ok=True)
            with whole(file) as temporary:
                system.get_file(path, str(temporary))

    def fetch_all(self, folder: Path, names: Sequence[str]) -> None:
        """Copy files to the same names in a folder of this machine, several at a time where the protocol can.

        Raises:
            StorageError: one can not be read.
        """
        with _telling():
            system, root = self._at("")
            for name in names:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
            if names:
                system.get([f"{root}/{name}" for name in names], [str(folder / name) for name in names])

    def delete(self, name: str) -> None:
        """Take a file away.

        Raises:
            StorageError: it can not be done.
        """
        with _telling():
            system, path = self._at(name)
            system.rm_file(path)

    def names(self) -> set[str]:
        """The names of all files in this folder and below it; none where there is no such folder.

        Raises:
            StorageError: they can not be read.
        """
        with _telling():
            system, root = self._at("")
            system.invalidate_cache()
            found = system.find(root) if system.isdir(root) else []
            return {path.removeprefix(root).lstrip("/") for path in found if path != root}

    def is_folder(self) -> bool:
        """Whether there is a folder at the address.

        Raises:
            StorageError: that can not be said.
        """
        with _telling():
            system, path = self._at("")
            return bool(system.isdir(path))

    def stamp(self, name: str = "") -> str:
        """Another text when the file, or a file of the folder, is another.

        Raises:
            FileNotFoundError: there is none.
            StorageError: that can not be said.
        """
        with _telling():
            system, path = self._at(name)
            system.invalidate_cache()
            if system.isdir(path):
                return " ".join(system.ukey(file) for file in sorted(system.find(path)))
            return str(system.ukey(path))

    def stamps(self) -> dict[str, str]:
        """The stamp of each file in this folder, not below it; none where there is no such folder.

        Raises:
            StorageError: they can not be read.
        """
        with _telling():
            system, root = self._at("")
            system.invalidate_cache()
            found = system.ls(root, detail=True) if system.isdir(root) else []
            files = [each for each in found if each["type"] == "file"]
            return {each["name"].rstrip("/").rpartition("/")[2]: str(sorted(each.items(), key=str)) for each in files}

    def _put(self, source: IO[bytes], name: str) -> None:
        with _telling():
            system, path = self._at(name)
            with _written(system, path) as temporary, system.open(temporary, "wb") as stream:
                shutil.copyfileobj(source, stream, 2**20)

    def _at(self, name: str) -> tuple[Any, str]:
        import fsspec

        # Kept by fsspec, one for each thread.
        system, root = fsspec.core.url_to_fs(self.address)
        root = root.rstrip("/")
        return system, f"{root}/{name}" if name else root


@contextmanager
def _telling() -> Iterator[None]:
    """What storage fails by, as one kind of error: each protocol has its own."""
    try:
        yield
    except (FileNotFoundError, StorageError):
        raise
    except ImportError as error:
        raise StorageError(f"needs a package that is not here: {error}") from None
    except Exception as error:
        said = " ".join(str(getattr(error, "strerror", None) or error).split()) or type(error).__name__
        raise StorageError(on_one_line(said, 300)) from None


@contextmanager
def _written(system: Any, path: str) -> Iterator[str]:
    """The path to write to, for a file that is whole or absent."""
    protocol = system.protocol if isinstance(system.protocol, str) else system.protocol[0]
    if protocol in OBJECTS:
        yield path
        return
    folder, _, _ = path.rpartition("/")
    system.makedirs(folder, exist_ok=True)
    temporary = f"{folder}/{TEMPORARY}{secrets.token_hex(8)}.tmp"
    try:
        yield temporary
        system.mv(temporary, path)
    except BaseException:
        with suppress(Exception):
            system.rm_file(temporary)
        raise


def _fetch_folder(system: Any, path: str, folder: Path) -> None:
    beside = folder.parent / f"{TEMPORARY}{secrets.token_hex(8)}.tmp"
    beside.mkdir(parents=True)
    try:
        files = [file for file in system.ls(path, detail=False) if not file.endswith("/")]
        for file in files:
            if not system.isdir(file):
                system.get_file(file, str(beside / file.rpartition("/")[2]))
        with suppress(OSError):  # another process may have been first
            beside.rename(folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
