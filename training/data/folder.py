"""A folder of pictures and videos with what belongs to them beside them, see `parts.py`; folders in it count too."""

from __future__ import annotations

import os
from pathlib import Path

from .assets import Asset, FileAsset
from .config import SourceConfig
from .example import Example, Index
from .findings import Finding
from .metadata import beside
from .parts import Part, assemble, part_of


def index(source: SourceConfig) -> Index:
    """What a folder has. Only names and the small files beside pictures are read."""
    examples: list[Example] = []
    by_key: dict[str, list[Part]] = {}
    names, findings = _files(source.path)
    for name in names:
        part = part_of(name, FileAsset(source.path / name, f"{source.path.name}/{name}"))
        if part is not None:
            by_key.setdefault(part.key, []).append(part)
    for parts in by_key.values():
        found, wrong = assemble(parts, source, _beside)
        examples += found
        findings += wrong
    # A picture that a box names as its mask is no example of its own.
    masks = {box.mask.path for each in examples for box in each.boxes if isinstance(box.mask, FileAsset)}
    out = {each.name for each in examples if isinstance(each.media[0], FileAsset) and each.media[0].path in masks}
    examples = [each for each in examples if each.name not in out]
    findings = [finding for finding in findings if finding.where not in out]
    return Index(examples, findings + _cases(source.path.name, names))


def _beside(sidecar: Asset, name: str) -> Asset:
    """The file that a sidecar names, from the sidecar's folder."""
    assert isinstance(sidecar, FileAsset), "a folder has files"
    return beside(sidecar.path.parent, name)


def _files(top: Path) -> tuple[list[str], list[Finding]]:
    """Names of all files below a folder, with slashes and in order, and the folders that can not be listed."""
    names: list[str] = []
    findings: list[Finding] = []

    def closed(error: OSError) -> None:
        findings.append(Finding("missing-source", str(error.filename), f"can not be listed: {error.strerror}"))

    # Links to folders are not followed: one that leads upwards would never end.
    for folder, folders, files in os.walk(top, onerror=closed):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__MACOSX")))
        below = Path(folder).relative_to(top)
        names += [(below / name).as_posix() for name in sorted(files) if not name.startswith(".")]
    return names, findings


def _cases(top: str, names: list[str]) -> list[Finding]:
    """Names that are one name on a file system that does not tell upper from lower case."""
    first: dict[str, str] = {}
    findings = []
    for name in names:
        other = first.setdefault(name.lower(), name)
        if other != name:
            findings.append(
                Finding("case", f"{top}/{name}", f"differs from {other} by case only; many disks keep one, rename it")
            )
    return findings
