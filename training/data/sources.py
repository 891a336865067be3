"""All sources of a run as one index. What a source can not give is a finding, never a traceback."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from . import folder, huggingface, metadata, tars
from .config import Kind, SourceConfig
from .example import Example, Index
from .findings import Fault, Finding

READERS: Mapping[Kind, Callable[[SourceConfig], Index]] = {
    "folder": folder.index,
    "metadata": metadata.index,
    "webdataset": tars.index,
    "huggingface": huggingface.index,
}


def index(sources: Sequence[SourceConfig]) -> Index:
    """The examples of all sources in order; names are unique, also between sources."""
    examples: list[Example] = []
    findings: list[Finding] = []
    taken: dict[str, int] = {}
    for source in sources:
        found = _index(source)
        findings += found.findings
        for example in found.examples:
            count = taken[example.name] = taken.get(example.name, 0) + 1
            name = example.name if count == 1 else f"{example.name} (source {count})"
            examples.append(replace(example, name=name, prior=source.prior))
    return Index(examples, findings)


def kind_of(source: SourceConfig) -> Kind:
    """The kind of a source by what is there.

    Raises:
        Fault: `missing-source`: there is nothing, or nothing that is read.
    """
    path = source.path
    if not path.exists():
        raise Fault("missing-source", "is not there; check the path, which is seen from where the command is run")
    if source.kind != "auto":
        return source.kind
    if path.is_file():
        if path.suffix.lower() in metadata.SUFFIXES:
            return "metadata"
        if path.name.lower().endswith((".tar", *tars.PACKED)):
            return "webdataset"
        raise Fault(
            "missing-source", f"is a file that is no source; expected a folder, {', '.join(metadata.SUFFIXES)} or .tar"
        )
    if any((path / name).is_file() for name in metadata.NAMES):
        return "metadata"
    if any((path / mark).is_file() for mark in huggingface.MARKS):
        return "huggingface"
    if any(path.glob("*.tar")) or any(path.glob("*.tar.gz")):
        return "webdataset"
    if any(path.glob("*.parquet")) or any(path.glob("data/*.parquet")):
        return "huggingface"
    return "folder"


def _index(source: SourceConfig) -> Index:
    """What one source has, and a finding where it has nothing."""
    try:
        kind = kind_of(source)
        _check(source, kind)
        found = READERS[kind](source)
    except Fault as fault:
        return Index((), [Finding(fault.kind, str(source.path), fault.reason)])
    except OSError as error:
        return Index((), [Finding("missing-source", str(source.path), f"can not be read: {error.strerror}")])
    if found.examples or any(finding.level == "error" for finding in found.findings):
        return found
    empty = Finding("no-examples", str(source.path), f"has no picture or video, read as {kind}; check path and kind")
    return Index((), [*found.findings, empty])


def _check(source: SourceConfig, kind: Kind) -> None:
    """Raise Fault where a kind was chosen that can not be read from what is there."""
    path = source.path
    if kind in ("folder", "huggingface") and not path.is_dir():
        raise Fault("missing-source", f"expected a folder for kind {kind}, got a file; set kind: auto")
    if kind == "metadata" and path.is_dir() and not any((path / name).is_file() for name in metadata.NAMES):
        raise Fault("missing-source", f"expected {', '.join(metadata.NAMES)} in the folder, found none of them")
    if kind == "metadata" and path.is_file() and path.suffix.lower() not in metadata.SUFFIXES:
        raise Fault("missing-source", f"expected a file that ends in {', '.join(metadata.SUFFIXES)}")
