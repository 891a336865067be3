"""Which checkpoint the worker holds, and which one pages ask it to hold: two small files among the outputs.

The worker says what is so; a page may wish, and the last wish counts. The worker takes a wish between two jobs.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipelines.files.atomic import write_bytes
from pipelines.files.kept import KEPT

STATE, WISH, TAKEN = "loaded.json", "model.wish", "model.taken"
MOST = 2**16  # bytes of either file


@dataclass(frozen=True)
class State:
    """What the worker says.

    Attributes:
        model: the checkpoint that is loaded, as a job names it; "" is none.
        busy: the one that it is loading, or "".
        problem: why the last wish could not be fulfilled, in one sentence, or "".
    """

    model: str = ""
    busy: str = ""
    problem: str = ""


class Loaded:
    """The two files of one output folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / KEPT
        self._told: State | None = None  # what this process said last

    @property
    def problem(self) -> str:
        """The problem that this process told last: it stands until there is another wish."""
        return self._told.problem if self._told else ""

    # ------------------------------------------------------------ what pages do

    def state(self) -> State:
        """What the worker said last; nothing is loaded where it said nothing."""
        found = _read(self._folder / STATE)
        return State(**{name: str(found.get(name, "")) for name in ("model", "busy", "problem")})

    def wish(self, model: str) -> None:
        """Have the worker load `model`, or "" to let go of the one that it holds, once it is between two jobs.

        Raises:
            OSError: the wish can not be written.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        write_bytes(self._folder / WISH, json.dumps({"model": model}).encode())

    def wished(self) -> str | None:
        """The wish that still waits; None where there is none."""
        found = _read(self._folder / WISH)
        return found["model"] if isinstance(found.get("model"), str) else None

    # ------------------------------------------------------------ what the worker does

    def take(self) -> str | None:
        """The wish, which is gone afterwards; None where there is none."""
        taken = self._folder / TAKEN
        try:
            os.replace(self._folder / WISH, taken)  # so that a wish that comes now is not deleted unread
        except OSError:
            return None
        found = _read(taken)
        with suppress(OSError):
            taken.unlink()
        return found["model"] if isinstance(found.get("model"), str) else None

    def tell(self, state: State) -> None:
        """Say what is so. A disk that takes no files is told nothing."""
        if state == self._told:
            return
        with suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            write_bytes(self._folder / STATE, json.dumps(asdict(state)).encode())
            self._told = state


def _read(path: Path) -> dict[str, Any]:
    """The object in a small JSON file; an empty one where there is none."""
    with suppress(OSError, ValueError):
        with path.open("rb") as file:
            found = json.loads(file.read(MOST))
        if isinstance(found, dict):
            return found
    return {}
