"""Small runs on own pictures for tests: a run file, the command, and what a run leaves behind."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from pipelines import cli
from tests.zoo import picture

# Two processes on this machine. accelerate's own launcher starts a single one where it is told --cpu.
TWO = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
LOOP: dict[str, Any] = {"steps": 4, "batch": 2, "accumulate": 2, "warmup": 2, "lr": 0.01, "device": "cpu"}


def pictures(folder: Path, count: int = 6) -> Path:
    """So many small pictures, each with a caption of its own."""
    for number in range(count):
        picture(folder / f"{number}.png", 100 + number, (64, 64), f"a red circle and {number} blipps")
    return folder


def run_file(top: Path, tiny: Path, folder: str = "run", **sections: Mapping[str, Any]) -> Path:
    """A run of four steps of two batches on six pictures; three batches are an epoch.

    Sections are added to, and None takes a field out.
    """
    if not (top / "pictures").exists():
        pictures(top / "pictures")
    value: dict[str, Any] = {
        "folder": str(top / folder),
        "start_from": str(tiny),
        "data": {"sources": [{"path": str(top / "pictures")}], "resolution": 64, "cache": str(top / "cache")},
        "train": {"kind": "lora", "rank": 2},
        "loop": LOOP,
        "held_out": {"share": 0},
    }
    for name, fields in sections.items():
        both = {**value.get(name, {}), **fields}
        value[name] = {field: each for field, each in both.items() if each is not None}
    path = top / f"{folder}.yaml"
    path.write_text(yaml.safe_dump(json.loads(json.dumps(value, default=str))))
    return path


def train(path: Path, *more: str) -> int:
    """The command, in this process."""
    return cli.main(["train", str(path), *more])


def state(folder: Path, step: int) -> bytes:
    """All tensors of a checkpoint."""
    return (folder / f"state-{step:08d}" / "state.safetensors").read_bytes()


def rows(folder: Path) -> list[dict[str, Any]]:
    """The lines of the log."""
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
