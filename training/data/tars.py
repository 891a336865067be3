"""WebDataset: tars whose members of one key, up to the first dot, are one example. Read where they lie.

Members are read by their place in the tar; their names are words and never paths, so no name can leave a folder.
"""

from __future__ import annotations

import tarfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from .assets import Asset, TarAsset
from .config import SourceConfig
from .example import Example, Index
from .findings import Fault, Finding
from .parts import Part, assemble, part_of

PACKED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")


def index(source: SourceConfig) -> Index:
    """What a tar has, or all tars of a folder in the order of their names."""
    tars = _tars(source.path)
    examples: list[Example] = []
    findings: list[Finding] = []
    for tar in tars:
        try:
            if tar.name.lower().endswith(PACKED):
                raise Fault("archive", "is compressed, and members are read in place; decompress it to a plain .tar")
            parts, wrong, members = _members(tar)
            findings += wrong
        except Fault as fault:
            findings.append(Finding(fault.kind, tar.name, fault.reason))
            continue
        by_key: dict[str, list[Part]] = {}
        for part in parts:
            by_key.setdefault(part.key, []).append(part)
        for group in by_key.values():
            found, wrong = assemble(group, source, partial(_named, members))
            examples += found
            findings += wrong
    return Index(examples, findings)


def _tars(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    return sorted(file for file in path.iterdir() if file.name.lower().endswith((".tar", *PACKED)))


def _named(members: Mapping[str, TarAsset], sidecar: Asset, name: str) -> Asset:
    """The member that another one names, from its own folder in the tar.

    Raises:
        Fault: `missing-file`.
    """
    folder, slash, _ = sidecar.name.partition("/")[2].rpartition("/")
    if f"{folder}{slash}{name}" not in members:
        raise Fault("missing-file", f"names {name!r}, which is not in the archive; pack it or leave it out")
    return members[f"{folder}{slash}{name}"]


def _members(tar: Path) -> tuple[list[Part], list[Finding], dict[str, TarAsset]]:
    """The parts in one tar, what is left out, and all members by name.

    Raises:
        Fault: `archive`, `missing-source`.
    """
    parts: list[Part] = []
    findings: list[Finding] = []
    seen: dict[str, TarAsset] = {}
    try:
        size = tar.stat().st_size
        with tarfile.open(tar, "r:") as opened:
            for member in opened:
                opened.members = []  # type: ignore[attr-defined]  # else the library keeps all of them
                name = f"{tar.name}/{member.name}"
                if member.issym() or member.islnk():
                    findings.append(Finding("link", name, "is a link, which is left out; pack the file itself"))
                    continue
                if not member.isreg() or member.issparse() or member.name.rpartition("/")[2].startswith("."):
                    continue
                if member.offset_data + member.size > size:
                    raise Fault("archive", f"ends in the middle of {member.name!r}; fetch the archive again")
                if member.name in seen:
                    findings.append(Finding("repeated-file", name, "is in the archive twice; the first one is taken"))
                    continue
                seen[member.name] = TarAsset(tar, member.offset_data, member.size, name)
                part = part_of(member.name, seen[member.name], tar=True)
                if part is not None:
                    parts.append(part)
    except OSError as error:
        raise Fault("missing-source", f"can not be read: {error.strerror}") from None
    except tarfile.TarError as error:
        raise Fault("archive", f"is not a whole tar: {error}; fetch the archive again") from None
    return parts, findings, seen
