"""What a render was made from, beside its job: the weights, the files that the job names, and how it was computed.

It stands in every record, so that one can say later why a render is another now. Nothing here loads torch.
"""

from __future__ import annotations

import hashlib
import os
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.files.record import files_named
from pipelines.job import Job, recipe
from pipelines.story.scenecache import digest

if TYPE_CHECKING:
    from models.checkpoint import Checkpoint


def inputs(job: Job) -> dict[str, str]:
    """Hash of each file or folder that the job names, by field; what can not be read is left out."""
    found = {field: content_of(name) for field, name in files_named(recipe(job)).items()}
    return {field: content for field, content in found.items() if content is not None}


def content_of(name: str | Path) -> str | None:
    """SHA-256 of a file, or hash of the PNG files in a folder; None where it is not there or can not be read.

    A file is read once in a process, unless its size or its time of change is another.
    """
    try:
        path = Path(name).expanduser()
        if path.is_dir():
            frames = sorted(file for file in path.iterdir() if file.suffix.lower() == ".png" and file.name[0] != ".")
            return digest([[file.name, _sha256(file, *_stamp(file))] for file in frames])
        return _sha256(path, *_stamp(path))
    except (OSError, ValueError, RuntimeError):  # a name that no file can have, or a home that nobody has
        return None


def computed(checkpoint: Checkpoint) -> dict[str, Any]:
    """Device, number format and, on a CPU, threads: what the sums of a render depend on."""
    import torch

    told = {"device": str(checkpoint.device), "dtype": str(checkpoint.transformer.dtype).removeprefix("torch.")}
    return told | ({"threads": torch.get_num_threads()} if checkpoint.device.type == "cpu" else {})


@lru_cache(maxsize=4096)
def _sha256(path: Path, size: int, modified: int) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _stamp(path: Path) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_size, status.st_mtime_ns
