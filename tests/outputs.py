"""Outputs of a folder, written as a render writes them."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.estimate import Attachment, Rendered
from pipelines.files.output import OutputFolder, inside_of
from pipelines.history.history import History, Search
from pipelines.job import parse
from pipelines.stack.layerfiles import psd
from pipelines.stack.layers import Layer, Stack

LAYERED = {"task": "layered", "layers": [{"box": [0, 0, 1, 1], "prompt": "a green ring"}]}
SCENES = {
    "task": "scenes",
    "scenes": [{"prompt": "a star spins", "frames": 2}, {"prompt": "a ring grows", "frames": 3}],
}


def output(folder: Path, prompt: str = "a red circle", when: int | None = None, **more: Any) -> str:
    """Write an output as a render does; returns its name."""
    job = parse({"task": "text", "prompt": prompt, "size": [32, 16], **more})
    frames = np.full((getattr(job, "frames", 1), 16, 32, 3), job.seed % 256, np.uint8)
    attachments = []
    if job.task == "layered":
        layer = np.full((16, 32, 4), 255, np.uint8)
        painting = psd(Stack((Layer("background", (0, 0, 16, 32), layer),)), inside_of(job))
        attachments = [Attachment("/00.png", layer), Attachment(".psd", painting)]
    target = OutputFolder(folder)
    stem = target.claim(job, 1)
    target.save(job, stem, Rendered(frames, {"resolved": {"size": [32, 16]}}, None, attachments))
    if when is not None:
        os.utime(folder / f"{stem}.json", (when, when))
    return stem


def story(folder: Path, **more: Any) -> str:
    job = parse({**SCENES, "size": [32, 16], **more})
    target = OutputFolder(folder)
    stem = target.claim(job, 1)
    shades = np.arange(5, dtype=np.uint8)[:, None, None, None] * 50
    target.save(job, stem, Rendered(np.broadcast_to(shades, (5, 16, 32, 3)).copy(), {}))
    return stem


def id_of(history: History, stem: str, **wanted: Any) -> str:
    return next(entry.id for entry in history.search(Search(**wanted), limit=1000).entries if entry.stem == stem)


def stems(history: History, **wanted: Any) -> list[str]:
    return [entry.stem for entry in history.search(Search(**wanted), limit=1000).entries]


def content(folder: Path) -> dict[str, str]:
    """Hash of every file of the outputs, without what the history keeps."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    names = {path.relative_to(folder).as_posix(): path for path in files}
    return {
        name: hashlib.sha256(path.read_bytes()).hexdigest()
        for name, path in names.items()
        if not name.startswith((".diorama", "history.sqlite3"))
    }
