"""The store of finished scenes: files named by the hash of all that a scene was made from.

    FOLDER/OWN-STORY.safetensors    frames and clean tokens; OWN hashes the scene's own inputs, STORY also those of the
                                    scenes that it was shown
    FOLDER/stories/HASH.json        what the scenes of a story were made from when it was rendered last

Which of them a job may use is decided in `reuse.py`. Files appear whole or not at all, are checked when they are read,
and those that were not used for longest go when there are too many.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.files.atomic import whole, write_bytes
from pipelines.files.media import Pixels

MOST_BYTES = 2 * 2**30
DIGITS = 32  # of a hash in hexadecimal, 128 bits
SUFFIX = ".safetensors"
PARTS_OF_A_MODEL = ("*.safetensors", "*.json", "*.jinja", "*.txt")


class BrokenScene(ValueError):
    """A stored scene that can not be read; one clause."""


@dataclass(frozen=True)
class Stored:
    """A finished scene.

    Attributes:
        frames: [F, H, W, 3].
        tokens: [N, C] clean tokens in float32, as the scenes after it are shown them.
    """

    frames: Pixels
    tokens: NDArray[np.float32]


def digest(value: object) -> str:
    """Hash of a JSON value, equal for equal values."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]


class SceneCache:
    """Stored scenes in `folder`, which is made when the first is written; at most `most` bytes of them."""

    def __init__(self, folder: Path, most: int = MOST_BYTES) -> None:
        self.folder, self.most = folder, most

    def keys(self, own: str) -> list[str]:
        """Keys of the stored scenes with these own inputs, those used last first."""
        found = [(_used(path), path.name.removesuffix(SUFFIX)) for path in self.folder.glob(f"{own}-*{SUFFIX}")]
        return [key for _, key in sorted(found, reverse=True)]

    def read(self, key: str) -> Stored | None:
        """The scene stored under `key`; None where there is none.

        Raises:
            BrokenScene: the file is there and is not what was written.
        """
        from safetensors import SafetensorError, safe_open

        path = self.folder / f"{key}{SUFFIX}"
        try:
            with safe_open(path, "numpy") as file:
                stored = Stored(file.get_tensor("frames"), file.get_tensor("tokens"))
                told = (file.metadata() or {}).get("sha256")
        except FileNotFoundError:
            return None
        except (OSError, ValueError, SafetensorError) as error:
            raise BrokenScene(str(error).splitlines()[0][:200]) from None
        if told != _checksum(key, stored):
            raise BrokenScene("its checksum is wrong")
        with suppress(OSError):
            os.utime(path)
        return stored

    def write(self, key: str, stored: Stored, inputs: Mapping[str, Any]) -> None:
        """Store a scene and what it was made from.

        Raises:
            OSError: it can not be written.
        """
        from safetensors.numpy import save_file

        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{key}{SUFFIX}"
        tensors = {"frames": np.ascontiguousarray(stored.frames), "tokens": np.ascontiguousarray(stored.tokens)}
        with whole(path) as temporary:
            save_file(tensors, temporary, {"sha256": _checksum(key, stored), "inputs": json.dumps(inputs)})
        self._prune(path)

    def last(self, story: str) -> list[dict[str, Any]]:
        """What `remember` was told of a story; nothing where nothing can be read."""
        try:
            entries = json.loads(self._story(story).read_bytes())
        except (OSError, ValueError):
            return []
        good = isinstance(entries, list) and all(isinstance(entry, dict) for entry in entries)
        return entries if good else []

    def remember(self, story: str, entries: Sequence[Mapping[str, Any]]) -> None:
        """Keep what a story's scenes were made from, to tell next time what changed.

        Raises:
            OSError: it can not be written.
        """
        path = self._story(story)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, json.dumps(list(entries)).encode())

    def _story(self, story: str) -> Path:
        return self.folder / "stories" / f"{digest(story)}.json"

    def _prune(self, newest: Path) -> None:
        """Drop what was used longest ago until the rest fits; `newest` stays."""
        found = []
        for path in self.folder.rglob("*"):
            with suppress(OSError):  # another process may have dropped it
                if path != newest and path.is_file():
                    found.append((path.stat().st_mtime_ns, path.stat().st_size, path))
        room = self.most - newest.stat().st_size
        for _, size, path in sorted(found, reverse=True):
            room -= size
            if room < 0:
                with suppress(OSError):
                    path.unlink()


def fingerprint(folder: Path) -> str:
    """Hash of all files that decide what a checkpoint draws. Files are read once in a process unless they change."""
    parts = ("*", "*/*")  # a component may hold one of its own, as a speech encoder its adapter
    files = sorted(path for part in parts for pattern in PARTS_OF_A_MODEL for path in folder.glob(f"{part}/{pattern}"))
    files += sorted(path for path in (folder / "model_index.json", folder / "diorama.json") if path.exists())
    return digest([[path.relative_to(folder).as_posix(), _sha256(path, *_stamp(path))] for path in files])


@lru_cache(maxsize=256)
def _sha256(path: Path, size: int, modified: int) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _used(path: Path) -> int:
    with suppress(OSError):
        return path.stat().st_mtime_ns
    return 0


def _checksum(key: str, stored: Stored) -> str:
    shapes = f"{key} {stored.frames.dtype} {stored.frames.shape} {stored.tokens.dtype} {stored.tokens.shape}"
    found = hashlib.sha256(shapes.encode())
    for array in (stored.frames, stored.tokens):
        found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()
