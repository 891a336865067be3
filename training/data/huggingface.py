"""A Hugging Face data set that is on this machine already. Nothing is ever fetched.

Two layouts: what `save_to_disk` writes, opened with the library datasets; and a snapshot of the hub's parquet files,
which needs pyarrow alone.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, Literal

from .assets import HeldAsset
from .config import SourceConfig
from .example import Example, Index
from .findings import Fault
from .rows import FILES, apply, column, index_of

MARKS = ("dataset_dict.json", "state.json")  # of save_to_disk: of all splits, and of one


def index(source: SourceConfig) -> Index:
    """What a data set's split has.

    Raises:
        Fault: `missing-source`, `metadata`.
    """
    if any((source.path / mark).is_file() for mark in MARKS):
        return _saved(source)
    files = sorted(source.path.rglob(f"{source.split}-*.parquet")) or sorted(source.path.rglob("*.parquet"))
    if not files:
        raise Fault(
            "missing-source", "expected a data set that save_to_disk wrote, or parquet files, found neither; "
            "nothing is fetched from the hub: download it first"
        )  # fmt: skip
    from .tables import index as of_table

    found = [of_table(source, file) for file in files]
    return Index([each for one in found for each in one.examples], [each for one in found for each in one.findings])


def _saved(source: SourceConfig) -> Index:
    try:
        import datasets
    except ImportError:
        raise Fault(
            "missing-source", "needs the library datasets, which is not installed; install diorama[datasets]"
        ) from None
    rows = _split(_loaded(datasets, source.path), source.split)
    name = column(dict.fromkeys(rows.column_names), source.file_column, FILES)
    if name is None:
        raise Fault("metadata", f"has no column {', '.join(FILES)}; set file_column to the one that holds pictures")
    # Undecoded: its bytes, and a name that tells a picture from a video.
    kind: Literal["video", "picture"] = "video" if type(rows.features[name]).__name__ == "Video" else "picture"
    rows = rows.cast_column(name, (datasets.Video if kind == "video" else datasets.Image)(decode=False))
    words = rows.remove_columns([name])

    def example(number: int) -> Example:
        asset = HeldAsset(rows, number, name, f"{source.path.name}/{number + 1}")
        return apply(Example(asset.name, kind, (asset,)), words[number], source, _no_file)

    listed = ((f"{source.path.name}/{number + 1}", partial(example, number)) for number in range(len(rows)))
    return index_of(listed, source)


def _loaded(datasets: Any, path: Path) -> Any:
    try:
        return datasets.load_from_disk(str(path))
    except Exception as error:  # the library raises whatever a broken folder makes it meet
        told = (str(error) or type(error).__name__).splitlines()[0][:200]
        raise Fault("metadata", f"is not a data set that can be opened: {told}") from None


def _split(found: Any, name: str) -> Any:
    """One split of a data set, or the data set where it has none."""
    if hasattr(found, "column_names") and not isinstance(found, dict):
        return found
    if name not in found:
        raise Fault("metadata", f"has the splits {', '.join(found)} and no {name!r}; set split")
    return found[name]


def _no_file(name: str) -> Any:
    raise Fault("metadata", f"names the file {name!r}; a data set holds pictures itself, use a metadata file for this")
