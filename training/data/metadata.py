"""A metadata file: .jsonl, .csv or .parquet, a row an example, with the files it names beside it or below."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from .assets import Asset, CellAsset, FileAsset, suffix
from .config import SourceConfig
from .example import Example, Index
from .findings import Fault
from .parts import PICTURES, VIDEOS
from .rows import FILES, apply, column, index_of

NAMES = ("metadata.jsonl", "metadata.csv", "metadata.parquet")
SUFFIXES = (".jsonl", ".csv", ".parquet")
Rows = Iterator[tuple[int, Any]]
Listed = Iterator[tuple[str, Callable[[], Example]]]


def index(source: SourceConfig) -> Index:
    """What a metadata file has; of a folder its `metadata.jsonl`, `.csv` or `.parquet`."""
    path = source.path
    if path.is_dir():
        path = next(path / name for name in NAMES if (path / name).is_file())
    if path.suffix.lower() == ".parquet":
        from .tables import index as of_table

        return of_table(source, path)
    rows = _json_lines(path) if path.suffix.lower() == ".jsonl" else _csv(path)

    def listed() -> Listed:
        try:
            for number, row in rows:
                where = f"{path.name}, line {number}"
                yield where, partial(example_of, row, source, path.parent)
        except Fault as fault:  # of the file as a whole
            yield path.name, partial(example_of, fault, source, path.parent)

    return index_of(listed(), source)


def example_of(row: Any, source: SourceConfig, top: Path, cell: CellAsset | None = None) -> Example:
    """The example that a row describes.

    Args:
        row: a mapping, or what is broken as its Fault.
        source: names the columns.
        top: the folder that files are named from.
        cell: the picture itself, where the table holds it.

    Raises:
        Fault: a row that can not be read, or names files that can not be had.
    """
    if isinstance(row, Fault):
        raise row
    if not isinstance(row, dict):
        raise Fault("metadata", f"expected an object, got {type(row).__name__}")
    asset: Asset
    if cell is not None:
        asset = cell
    else:
        key = column(row, source.file_column, FILES)
        name = row.get(key) if key else None
        if not isinstance(name, str) or not name.strip():
            raise Fault("metadata", f"names no file; expected a column {', '.join(FILES)}, or set file_column")
        asset = beside(top, name)
        if suffix(asset) not in (*PICTURES, *VIDEOS):
            raise Fault("unreadable", f"{name!r} is no picture or video by its suffix; convert it to PNG or MP4")
    moves = suffix(asset) in VIDEOS or (cell is not None and cell.column == "video")
    bare = Example(asset.name, "video" if moves else "picture", (asset,))
    return apply(bare, row, source, lambda name: beside(top, name))


def beside(top: Path, name: str) -> FileAsset:
    """A file that metadata names.

    Raises:
        Fault: `outside`, `missing-file`.
    """
    plain = PurePosixPath(name.replace("\\", "/"))
    inside = not plain.is_absolute() and ".." not in plain.parts and "\0" not in name and ":" not in plain.parts[0]
    path = top / plain
    if not inside or not path.resolve().is_relative_to(top.resolve()):
        raise Fault("outside", f"names {name!r}, which is not below {top.name or top}; move the file there")
    if not path.is_file():
        raise Fault("missing-file", f"names {name!r}, which is not there; fetch it or leave the row out")
    return FileAsset(path, f"{top.name}/{plain}")


def _json_lines(path: Path) -> Rows:
    for number, line in enumerate(_text(path).splitlines(), 1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except (ValueError, RecursionError) as error:
                yield number, Fault("metadata", f"is not JSON: {str(error).splitlines()[0]}; mend the line")


def _csv(path: Path) -> Rows:
    lines = _text(path).splitlines(keepends=True)
    reader = csv.DictReader(lines, strict=True)
    try:
        for row in reader:
            if None in row or any(value is None for value in row.values()):
                count = len(reader.fieldnames or ())
                wrong = Fault("metadata", f"expected {count} columns as the first line has; put commas into quotes")
                yield reader.line_num, wrong
            else:
                yield reader.line_num, dict(row)
    except csv.Error as error:
        raise Fault("metadata", f"is not CSV at line {reader.line_num}: {error}; mend the line") from None


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise Fault("missing-source", f"can not be read: {error.strerror}") from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Fault("metadata", f"is not UTF-8 at byte {error.start}; save it as UTF-8") from None
