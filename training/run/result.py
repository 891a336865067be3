"""What a run has made: an adapter, or for `full` a checkpoint, written from the tensors of a state."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from models.adapter.attach import Attached
from models.adapter.file import About
from pipelines.story.scenecache import fingerprint
from training.tune import TuneConfig

if TYPE_CHECKING:
    from models.checkpoint import Description


class Result:
    """Writes what a run makes into its folder.

    Args:
        config: the run file.
        attached: what is trained.
        description: the checkpoint that it is trained on.
        texts: all that the run tells.
    """

    def __init__(self, config: TuneConfig, attached: Attached, description: Description, texts: Iterable[str]) -> None:
        self.config, self.attached, self.description = config, attached, description
        self.words = _new_words(texts, description)

    @property
    def word(self) -> str:
        """What a run makes."""
        return "checkpoint" if self.config.train.kind == "full" else "adapter"

    def write(self, values: Mapping[str, Tensor], step: int, suffix: str = "") -> Path:
        """Write the values of `Learner.result` after `step` steps; where they are."""
        about = About(self.config.start_from, fingerprint(self.description.folder), self.words, step)
        name = f"{self.word}{suffix}"
        if self.config.train.kind != "full":
            path = self.config.folder / f"{name}.safetensors"
            self.attached.save(path, about, values)
            return path
        path, aside = self.config.folder / name, self.config.folder / f".{name}.tmp"
        for old in (aside, path):
            shutil.rmtree(old, ignore_errors=True)
        self.attached.save(aside, about, values)
        os.replace(aside, path)
        return path


def _new_words(texts: Iterable[str], description: Description) -> tuple[str, ...]:
    """Words of the captions that the checkpoint was not made with, and that jobs with this adapter may use."""
    if description.vocabulary is None:
        return ()
    words = {word for text in texts for word in re.findall(r"[^\W_]+", text.lower())}
    return tuple(sorted(words - set(description.vocabulary)))
