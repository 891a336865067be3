"""Where bytes are: a file, a stretch of a tar, a cell of a table. Nothing is read before it is asked for."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from .findings import Fault

MAX_BYTES = 2**31  # of one picture, video or sound


class Asset(Protocol):
    """Bytes with a name."""

    @property
    def name(self) -> str:
        """As people read it, suffix included."""

    def read(self) -> bytes:
        """All of them.

        Raises:
            Fault: `missing-file`, `unreadable`, `archive` or `too-large`.
        """


@dataclass(frozen=True)
class FileAsset:
    """A file on disk."""

    path: Path
    name: str

    def read(self) -> bytes:
        """The file's bytes, see `Asset`."""
        try:
            if self.path.stat().st_size > MAX_BYTES:
                raise Fault("too-large", f"expected a file of at most {MAX_BYTES:,} bytes; cut it or make it smaller")
            return self.path.read_bytes()
        except FileNotFoundError:
            raise Fault("missing-file", "is not there any more; put it back or leave its row out") from None
        except OSError as error:
            raise Fault("unreadable", f"can not be read: {error.strerror}; check its permissions") from None


@dataclass(frozen=True)
class TarAsset:
    """A member of an uncompressed tar, read where it lies: nothing is ever unpacked to a name that a tar gives."""

    tar: Path
    offset: int
    length: int
    name: str

    def read(self) -> bytes:
        """The member's bytes, see `Asset`."""
        if self.length > MAX_BYTES:
            raise Fault("too-large", f"expected a member of at most {MAX_BYTES:,} bytes; cut it or make it smaller")
        try:
            with self.tar.open("rb") as stream:
                stream.seek(self.offset)
                data = stream.read(self.length)
        except OSError as error:
            raise Fault("archive", f"{self.tar} can not be read: {error.strerror}") from None
        if len(data) < self.length:
            raise Fault("archive", f"{self.tar} ends in the middle of this member; fetch the archive again")
        return data


@dataclass(frozen=True)
class CellAsset:
    """A cell of a parquet file: bytes, or {bytes, path} as Hugging Face's pictures are kept."""

    table: Path
    group: int
    row: int
    column: str
    name: str

    def read(self) -> bytes:
        """The cell's bytes, see `Asset`."""
        return cell_bytes(_group(self.table, self.group, self.column)[self.row])


@dataclass(frozen=True, eq=False)
class HeldAsset:
    """A cell of a data set that a library holds open; read by its row."""

    rows: Any  # rows[number] is a mapping
    row: int
    column: str
    name: str

    def read(self) -> bytes:
        """The cell's bytes, see `Asset`."""
        return cell_bytes(self.rows[self.row][self.column])


def cell_bytes(cell: Any) -> bytes:
    """The bytes in a cell.

    Raises:
        Fault: `missing-file`: there are none. A path in a cell is not followed: it is the writer's, not this machine's.
    """
    data = cell.get("bytes") if isinstance(cell, dict) else cell
    if not isinstance(data, bytes):
        raise Fault("missing-file", "expected a picture's bytes in the table, found none; save the data set with them")
    return data


@lru_cache(maxsize=2)
def _group(table: Path, group: int, column: str) -> list[Any]:
    """A column of one row group; neighbours are mostly read together in the preflight."""
    from .tables import column_of

    return column_of(table, group, column)


def suffix(asset: Asset) -> str:
    """The last suffix of an asset's name in lower case, without the dot."""
    return PurePosixPath(asset.name).suffix.lower().lstrip(".")


def digest(asset: Asset) -> str:
    """SHA-256 of an asset's bytes. Always of what is there now, never remembered."""
    return hashlib.sha256(asset.read()).hexdigest()


@contextmanager
def on_disk(asset: Asset) -> Iterator[Path]:
    """A file with the asset's bytes, for decoders that seek; a temporary one, under a name of ours, where it has none.

    Raises:
        Fault: as `Asset.read`.
    """
    if isinstance(asset, FileAsset):
        yield asset.path
        return
    with tempfile.TemporaryDirectory(prefix="diorama-") as folder:
        path = Path(folder) / "asset"
        path.write_bytes(asset.read())
        yield path
