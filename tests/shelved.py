"""Checkpoints that can be told but not loaded: the embedded one's configuration and weights of a few numbers."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Mapping
from pathlib import Path

from models.checkpoint import EMBEDDED, WEIGHTS
from pipelines.refusal import Refusal
from pipelines.shelf.shelf import INDEX

NUMBERS = 6  # in each part of a skeleton


class Trap:
    """A pickle that leaves a mark when it is opened."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):  # type: ignore[no-untyped-def]
        return os.mkdir, (str(self.mark),)


def weights() -> bytes:
    """A safetensors file of NUMBERS numbers."""
    head = {"__metadata__": {}, "a": {"dtype": "F32", "shape": [2, NUMBERS // 2], "data_offsets": [0, 4 * NUMBERS]}}
    text = json.dumps(head).encode()
    return len(text).to_bytes(8, "little") + text + bytes(4 * NUMBERS)


def skeleton(folder: Path, channels: int = 4, **index: object) -> Path:
    """Write a checkpoint and return its folder.

    Args:
        folder: where.
        channels: of its autoencoder; 4 has alpha.
        **index: what its model_index.json says besides.
    """
    source = EMBEDDED / "papercut"
    for part in (*WEIGHTS, "tokenizer", "scheduler"):
        (folder / part).mkdir(parents=True)
        for file in (source / part).glob("*.json"):
            shutil.copy(file, folder / part)
        if part in WEIGHTS:
            (folder / part / "model.safetensors").write_bytes(weights())
    vae = json.loads((folder / "vae" / "config.json").read_text())
    (folder / "vae" / "config.json").write_text(json.dumps({**vae, "in_channels": channels}))
    told = json.loads((source / INDEX).read_text())
    (folder / INDEX).write_text(json.dumps({**told, **index}))
    return folder


def cache(root: Path, id: str) -> Path:
    """A skeleton as the hub's cache at `root` keeps it."""
    place, commit = root / f"models--{id.replace('/', '--')}", "0" * 40
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text(commit)
    return skeleton(place / "snapshots" / commit)


def poison(folder: Path, mark: Path, disguise: str) -> None:
    """Put a pickle that makes the folder `mark` where the transformer's weights should be."""
    (folder / "transformer" / "model.safetensors").unlink()
    (folder / "transformer" / disguise).write_bytes(pickle.dumps(Trap(mark)))


class FakeHub:
    """A hub of some models, in a folder."""

    def __init__(self, root: Path, models: Mapping[str, Mapping[str, int]], layout: str = "Flux2KleinPipeline") -> None:
        self.root, self.models, self.layout = root, models, layout
        self.asked: list[str] = []
        self.fetched: list[tuple[str, list[str]]] = []
        self.got: set[tuple[str, str]] = set()
        self.problem: Exception | None = None

    def files(self, id: str) -> tuple[Mapping[str, int], str]:
        self.asked.append(id)
        if id not in self.models:
            raise Refusal("id", f"no {id}")
        return self.models[id], self.layout

    def here(self, id: str, file: str) -> bool:
        return (id, file) in self.got

    def fetch(self, id: str, files: list[str]) -> None:
        if self.problem:
            raise self.problem
        self.fetched.append((id, files))
        self.got |= {(id, file) for file in files}

    def folder(self, id: str) -> Path:
        return self.root / id.replace("/", "--")


KLEIN = {
    "model_index.json": 1_000, "README.md": 5_000, "flux-2-klein.safetensors": 8_000_000_000,
    "transformer/config.json": 1_000, "transformer/model-1.safetensors": 5_000_000, "transformer/old.bin": 9_000_000,
    "vae/config.json": 1_000, "vae/model.safetensors": 1_000_000, "text_encoder/model.safetensors": 2_000_000,
    "text_encoder/modeling.py": 3_000, "tokenizer/merges.txt": 2_000, "tokenizer/chat_template.jinja": 500,
    "scheduler/scheduler_config.json": 400,
}  # fmt: skip
