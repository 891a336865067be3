"""Parquet: files that rows name, or pictures in the table itself. Read with pyarrow where it is installed."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from .assets import CellAsset
from .config import SourceConfig
from .example import Index
from .findings import Fault
from .metadata import Listed, example_of
from .rows import FILES, column, index_of


def index(source: SourceConfig, path: Path) -> Index:
    """What a parquet file has. Pictures in the table are found and not read."""
    table = _open(path)
    names = [str(name) for name in table.schema_arrow.names]
    held = _held(table, column(dict.fromkeys(names), source.file_column, FILES))
    wanted = [name for name in names if name != held]

    def listed() -> Listed:
        number = 0
        for group in range(table.num_row_groups):
            rows = table.read_row_group(group, columns=wanted).to_pylist() if wanted else []
            count = len(rows) or int(table.metadata.row_group(group).num_rows)
            for place in range(count):
                number += 1
                cell = CellAsset(path, group, place, held, f"{path.name}/{number}") if held else None
                row = rows[place] if rows else {}
                yield f"{path.name}, row {number}", partial(example_of, row, source, path.parent, cell)

    return index_of(listed(), source)


def column_of(path: Path, group: int, name: str) -> list[Any]:
    """A column of one row group."""
    found: list[Any] = _open(path).read_row_group(group, columns=[name])[name].to_pylist()
    return found


def _held(table: Any, name: str | None) -> str | None:
    """The column that holds pictures themselves: bytes, or a structure with bytes in it."""
    if name is None:
        return None
    kind = str(table.schema_arrow.field(name).type)
    return name if kind.startswith(("binary", "large_binary", "struct<bytes")) else None


def _open(path: Path) -> Any:
    """The parquet file.

    Raises:
        Fault: `missing-source`: pyarrow is not installed; `metadata`: not a parquet file.
    """
    try:
        import pyarrow.parquet as parquet
    except ImportError:
        raise Fault(
            "missing-source", "needs pyarrow, which is not installed; install diorama[datasets], or use .jsonl or .csv"
        ) from None
    try:
        return parquet.ParquetFile(path)
    except Exception as error:  # pyarrow has its own family of errors
        raise Fault("metadata", f"is not parquet: {(str(error) or 'unreadable').splitlines()[0][:200]}") from None
