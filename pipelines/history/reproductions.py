"""Reproductions: which outputs are to be rendered again and compared, and what came of it.

    ID.asked    the name of the record; a page writes it, and takes it away to take the wish back
    ID.told     how far the worker is, then its verdict

So neither an open page nor a running worker is needed for a wish to be kept. Nothing here renders; the worker does, and
what it compares is in `reproduce.py`.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from pipelines.files.atomic import write_bytes
from pipelines.files.kept import KEPT
from pipelines.history.notes import noted

FOLDER = "reproductions"
ASKED, TOLD = ".asked", ".told"
ID = re.compile(r"[0-9a-f]{16}")
MOST = 500  # verdicts that are kept; the oldest go first
OFTEN = 0.5  # seconds between two notes of how far a render is
EQUAL = "equal to the byte"
SAID = 3  # files that the verdict's one sentence names
INTERRUPTED = "the renderer stopped while it was at work; ask for it again"


@dataclass(frozen=True)
class Again:
    """One file of an output, rendered again: whether it is equal to the byte, and else what differs."""

    name: str
    equal: bool
    told: str


@dataclass(frozen=True)
class Verdict:
    """What came of rendering an output again.

    Attributes:
        rendered: whether it could be rendered; else `reasons` say why not.
        files: of the recorded output and of the new one.
        reasons: what is different from when it was rendered first, a sentence each without its full stop.
        changed: what became since of the files in the folder, a sentence each.
    """

    rendered: bool
    files: tuple[Again, ...] = ()
    reasons: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()

    @property
    def equal(self) -> bool:
        """Whether every file is equal to the byte to what was recorded."""
        return self.rendered and bool(self.files) and all(file.equal for file in self.files)

    @property
    def sentence(self) -> str:
        """The verdict in one sentence."""
        return self.in_words(str)

    def in_words(self, tell: Callable[[str], str]) -> str:
        """The verdict in one sentence, each clause as `tell` says it: in another language perhaps."""
        reasons = "; ".join(map(tell, self.reasons))
        if not self.rendered:
            return tell(f"it can not be rendered again: {reasons}")
        if self.equal:
            begin = tell(f"equal to the byte, although {reasons}") if reasons else tell(EQUAL)
            return "; ".join([begin, *(tell(f"but {tell(told)}") for told in self.changed)])
        others = [f"{file.name}: {tell(file.told)}" for file in self.files if not file.equal]
        more = [tell(f"and {len(others) - SAID} more")] if len(others) > SAID else []
        return f"{'; '.join([*others[:SAID], *more])}. {tell('Why')}: {reasons}"


@dataclass(frozen=True)
class Reproduction:
    """What is known of an output that somebody wanted rendered again.

    Attributes:
        state: whether it waits for the worker, is at work, or has a verdict.
        step, steps: how far it is.
        verdict: what came of it, once it is over.
        when: the verdict's moment in seconds since 1970.
    """

    state: Literal["waiting", "running", "over"]
    step: int = 0
    steps: int = 0
    verdict: Verdict | None = None
    when: float = 0.0


class Reproductions:
    """The wishes of one folder of outputs. Pages ask, one worker answers."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """`folder` is that of the outputs, `clock` tells seconds."""
        self.folder, self._clock = folder / KEPT / FOLDER, clock
        self._noted = 0.0

    # ------------------------------------------------------------ what a page asks

    def ask(self, id: str, record: str) -> None:
        """Have the output called `id` rendered again; an earlier verdict is forgotten.

        Raises:
            OSError: it can not be written; then nothing is asked.
        """
        if not ID.fullmatch(id) or self._path(id, ASKED).exists():
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        self._path(id, TOLD).unlink(missing_ok=True)
        write_bytes(self._path(id, ASKED), json.dumps({"record": record}).encode())

    def leave(self, id: str) -> None:
        """Take a wish back; one that is at work stops after its step."""
        if ID.fullmatch(id):
            self._path(id, ASKED).unlink(missing_ok=True)

    def get(self, id: str) -> Reproduction | None:
        """What is known of `id`; None where nobody asked."""
        if not ID.fullmatch(id):
            return None
        told = self._told(id)
        if isinstance(verdict := told.get("verdict"), dict):
            return Reproduction("over", verdict=_verdict(verdict), when=float(told.get("when", 0)))
        if not self._path(id, ASKED).exists():
            return None
        if told:
            return Reproduction("running", int(told.get("step", 0)), int(told.get("steps", 0)))
        return Reproduction("waiting")

    # ------------------------------------------------------------ what the worker says

    def next(self) -> tuple[str, str] | None:
        """The oldest wish: its id and the name of its record; it is at work from now on."""
        found: list[tuple[int, Path]] = []
        for path in self._all(ASKED):
            with suppress(FileNotFoundError):  # it was taken back meanwhile
                found.append((path.stat().st_mtime_ns, path))
        for _, path in sorted(found):
            record = noted(path).get("record")
            if isinstance(record, str) and not set(record) & set("/\\\0"):
                self._noted = 0.0
                self.running(path.stem, 0, 0)
                return path.stem, record
            path.unlink(missing_ok=True)
        return None

    def running(self, id: str, step: int, steps: int) -> bool:
        """Note how far it is; False when it is not wanted any more."""
        if not self._path(id, ASKED).exists():
            return False
        if self._clock() - self._noted >= OFTEN or not self._noted:
            self._noted = self._clock()
            with suppress(OSError):  # a full disk ends no render
                write_bytes(self._path(id, TOLD), json.dumps({"step": step, "steps": steps}).encode())
        return True

    def over(self, id: str, verdict: Verdict) -> None:
        """Say what came of it."""
        told = {"verdict": asdict(verdict), "when": time.time()}
        with suppress(OSError):  # then it looks as if nobody had asked
            write_bytes(self._path(id, TOLD), json.dumps(told).encode())
        self._path(id, ASKED).unlink(missing_ok=True)
        self._prune()

    def interrupted(self, id: str) -> None:
        """The worker ends while it is at work. It is not rendered again unasked: what ended the worker may be it."""
        self.over(id, Verdict(False, reasons=(INTERRUPTED,)))

    def stopped(self, id: str) -> None:
        """The wish was taken back while it was at work."""
        self._path(id, TOLD).unlink(missing_ok=True)

    def recover(self) -> None:
        """Say of what a killed worker had at work that it was interrupted. For the worker alone, as it starts."""
        for path in self._all(TOLD):
            if "verdict" not in noted(path):
                if self._path(path.stem, ASKED).exists():
                    self.interrupted(path.stem)
                else:
                    path.unlink(missing_ok=True)

    # ------------------------------------------------------------ inside

    def _path(self, id: str, suffix: str) -> Path:
        return self.folder / f"{id}{suffix}"

    def _all(self, suffix: str) -> list[Path]:
        try:
            names = os.listdir(self.folder)
        except FileNotFoundError:
            return []
        return [self.folder / name for name in names if name.endswith(suffix) and ID.fullmatch(name[: -len(suffix)])]

    def _told(self, id: str) -> dict[str, Any]:
        return noted(self._path(id, TOLD))

    def _prune(self) -> None:
        told = self._all(TOLD)
        for path in sorted(told, key=lambda path: path.stat().st_mtime_ns)[: max(0, len(told) - MOST)]:
            path.unlink(missing_ok=True)


def _verdict(told: dict[str, Any]) -> Verdict:
    return Verdict(
        told["rendered"], tuple(Again(**file) for file in told["files"]), tuple(told["reasons"]), tuple(told["changed"])
    )
