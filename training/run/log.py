"""What a run writes down: log.jsonl, the terminal, and TensorBoard where it is asked for and installed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pipelines.files.atomic import write_bytes

from .config import LogConfig

BINS = 4  # equal parts of the time axis


class Log:
    """The log of a run, which goes on after `step`: what an earlier process wrote of later steps is taken out.

    Args:
        folder: the run's.
        config: how often, and where to.
        step: that the run is at.
        say: prints a sentence.
    """

    def __init__(self, folder: Path, config: LogConfig, step: int, say: Callable[[str], None]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path, self.say = folder / "log.jsonl", say
        self.board = _board(folder / "tensorboard", step, say) if config.tensorboard else None
        if self.path.exists():
            kept = [line for line in self.path.read_text().splitlines(keepends=True) if _step(line, step) <= step]
            write_bytes(self.path, "".join(kept).encode())

    def write(self, row: Mapping[str, Any]) -> None:
        """One line of numbers, of which `step` is one."""
        rounded = {name: round(value, 6) if isinstance(value, float) else value for name, value in row.items()}
        self.say("  ".join(f"{name} {value}" for name, value in rounded.items()))
        with self.path.open("a") as file:
            file.write(json.dumps(rounded) + "\n")
        if self.board is not None:
            for name, value in rounded.items():
                if name != "step":
                    self.board.add_scalar(name, value, rounded["step"])

    def picture(self, path: Path, step: int) -> None:
        """A sheet that was drawn."""
        self.say(f"drawn: {path}")
        if self.board is not None:
            import numpy as np
            from PIL import Image

            self.board.add_image("samples", np.asarray(Image.open(path)), step, dataformats="HWC")

    def close(self) -> None:
        """Write what is held back."""
        if self.board is not None:
            self.board.close()


def bin_of(time: float) -> str:
    """The name of the part of the time axis that a time is in, such as `loss_25_50` for 0.25 to 0.5."""
    part = min(BINS - 1, int(time * BINS))
    return f"loss_{100 * part // BINS}_{100 * (part + 1) // BINS}"


def _step(line: str, instead: int) -> int:
    """The step of a line; a line that a kill cut off is one of no step that counts."""
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return instead + 1


def _board(folder: Path, step: int, say: Callable[[str], None]) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        say("TensorBoard is not installed, so only log.jsonl is written; install diorama[tensorboard] for both")
        return None
    return SummaryWriter(str(folder), purge_step=step + 1)  # type: ignore[no-untyped-call]
