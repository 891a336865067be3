"""Latents and prompt encodings on disk, by what they were made from, so that nothing stale is ever read.

    FOLDER/KI/KIND-HASH.safetensors     KI: the hash's first two digits

The hash is of the content, the checkpoint's weights and the transform; a change of any is another file. The key stands
in the file as well, with a hash of its tensors, and both are checked on every reading: a broken file is made anew.
"""

from __future__ import annotations

import errno
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipelines.files.atomic import whole
from pipelines.refusal import Refusal

from .assets import digest
from .buckets import Bucket
from .example import Edges, Example

if TYPE_CHECKING:
    from models.checkpoint import Description

VERSION = 1  # of how pixels are fitted and tokens are stored; a change of either is another key
Arrays = Mapping[str, NDArray[Any]]
PARTS = {"latents": ("vae",), "prompts": ("text_encoder", "tokenizer")}  # folders of a checkpoint that decide
NAMES = ("*.safetensors", "*.json", "*.jinja", "*.txt")


@dataclass(frozen=True)
class Key:
    """What a cached file was made from.

    Attributes:
        kind: what is kept.
        parts: JSON of everything that decides what is kept.
    """

    kind: Literal["latents", "prompts"]
    parts: str

    @property
    def name(self) -> str:
        """The file below the cache's folder."""
        name = hashlib.sha256(f"{VERSION} {self.kind} {self.parts}".encode()).hexdigest()[:40]
        return f"{name[:2]}/{self.kind}-{name}.safetensors"

    def cut(self, shown: Edges) -> Key:
        """The key of the same content where not the middle of the picture is shown but this part of it."""
        value = json.loads(self.parts)
        value["transform"]["window"] = list(shown)
        return _key(self.kind, value["content"], value["checkpoint"], value["transform"])


def identity(description: Description, kind: Literal["latents", "prompts"]) -> str:
    """Hash of the part of a checkpoint that makes what is kept: its weights and configuration, and how it is called.

    Every byte is read, so this is for the start of a run: seconds for a large text encoder.
    """
    told = hashlib.sha256()
    for part in PARTS[kind]:
        folder = description.folder / part
        for path in sorted({file for name in NAMES for file in folder.glob(name)}):
            told.update(f"{part}/{path.name}\n".encode())
            with path.open("rb") as stream:
                told.update(hashlib.file_digest(stream, "sha256").digest())
    if kind == "prompts":
        told.update(json.dumps([description.text_layers, description.prompt_tokens]).encode())
    return told.hexdigest()[:32]


def latent_key(
    example: Example, bucket: Bucket, fps: float, checkpoint: str, part: Literal["media", "layers", "mask"] = "media"
) -> Key:
    """The key of an example's clean tokens in a bucket. Its files are read and hashed as they are now.

    Args:
        example: its media, its layers or its mask.
        bucket: the size, and which frames.
        fps: the rate that frames are taken at; of a picture it decides nothing.
        checkpoint: `identity(description, "latents")`.
        part: which pictures of the example.

    Raises:
        Fault: a file vanished or can not be read.
    """
    masks = () if example.mask is None else (example.mask,)
    assets = {"media": example.media, "layers": example.layers, "mask": masks}[part]
    transform: dict[str, Any] = {"h": bucket.h, "w": bucket.w, "frames": bucket.frames, "part": part}
    if example.kind != "picture":
        transform["fps"] = fps
    return _key("latents", [digest(asset) for asset in assets], checkpoint, transform)


def prompt_key(prompt: str, checkpoint: str) -> Key:
    """The key of a prompt's context tokens; `checkpoint` is `identity(description, "prompts")`."""
    return _key("prompts", [prompt], checkpoint, {})


class Cache:
    """Arrays in `folder`, which is made when the first is written. Several processes may use it at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, key: Key) -> Arrays | None:
        """The arrays of a key; None where they are not there, not whole, or of something else."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self.folder / key.name, "np") as opened:
                note = opened.metadata() or {}
                if note.get("parts") != key.parts or note.get("version") != str(VERSION):
                    return None
                found = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - not a mapping
        except (OSError, SafetensorError, ValueError):
            return None
        return found if _sum(found) == note.get("sum") else None

    def put(self, key: Key, arrays: Arrays) -> None:
        """Keep arrays, whole or not at all; readers see the old file or the new one.

        Raises:
            Refusal: the disk is full or the folder can not be written.
        """
        from safetensors.numpy import save_file

        path = self.folder / key.name
        held = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        note = {"parts": key.parts, "version": str(VERSION), "sum": _sum(held)}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with whole(path) as temporary:
                save_file(held, temporary, note)
        except Exception as error:
            full = getattr(error, "errno", None) == errno.ENOSPC or "No space left" in str(error)
            reason = "the disk is full; free some" if full else f"{str(error).splitlines()[0][:120]}; make it writable"
            raise Refusal("data.cache", f"{self.folder} can not be written: {reason}, or set another folder") from None

    def get_or_make(self, key: Key, make: Callable[[], Arrays]) -> Arrays:
        """The arrays of a key, made and kept where they are not there.

        What is returned is what a later run will read: the same arrays, to the bit.
        """
        found = self.get(key)
        if found is None:
            found = make()
            self.put(key, found)
        return found


def _key(
    kind: Literal["latents", "prompts"], content: Sequence[str], checkpoint: str, transform: Mapping[str, Any]
) -> Key:
    value = {"content": list(content), "checkpoint": checkpoint, "transform": dict(transform)}
    return Key(kind, json.dumps(value, sort_keys=True, ensure_ascii=True, allow_nan=False))


def _sum(arrays: Arrays) -> str:
    """Hash of names, kinds, shapes and bytes."""
    told = hashlib.blake2b(digest_size=16)
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        told.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        told.update(array.tobytes())
    return told.hexdigest()
