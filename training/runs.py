"""The runs of a studio: where they are kept, what became of each, and how one is begun, paused and gone on with.

    FOLDER/.diorama/training/ID/     a run: what `hosted.py` and the run itself write
    FOLDER/.diorama/training.lock    held by the process that trains, and names its run
    FOLDER/.diorama/checks/ID/       a preflight that was asked for, by a hash of its run file
    FOLDER/.diorama/captions/        the captions that were asked for last; who writes them holds the lock of who trains

Everything is read from these files, so a studio that is started anew finds what it left. Nothing here loads torch.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import yaml

from pipelines.files.atomic import write_bytes
from pipelines.files.kept import KEPT
from pipelines.refusal import Refused

from .hosted import ASK, DONE, END, LOOKED, REPORT, RUN, STOPPED, WORDS
from .tune import TuneConfig, read_tune

ROOT = Path(__file__).resolve().parents[1]
LOCK, SAID = "training.lock", "said.txt"
ID = re.compile(r"[a-z0-9][a-z0-9-]{0,63}", re.ASCII)
MOST_NAME = 40  # characters of an id without its number
MOST_NOTE = 2**24  # bytes of a report
KEPT_CHECKS = 5
AT_ONCE = 2  # preflights
CAPTIONING = "(captions)"  # stands in the lock in place of a run's id, and can be none
PATIENCE = 0.5  # seconds for which a look at the lock may hold a start up

State = Literal["running", "stopping", "paused", "stopped", "done", "failed", "interrupted"]
Word = Literal["pause", "stop", "now"]
STATES: tuple[State, ...] = ("running", "stopping", "paused", "stopped", "done", "failed", "interrupted")


class Busy(Exception):
    """Another one is at work; its text is that one's id."""


@dataclass(frozen=True)
class Wanted:
    """Captions that are asked for, see `captioner.caption`.

    Attributes:
        pictures: a folder of them.
        words: captions with alternatives.
        model: the checkpoint that is asked.
        resolution: of the look.
        wildcards: a folder of lists, or "".
    """

    pictures: str
    words: tuple[str, ...]
    model: str = "papercut"
    resolution: int = 128
    wildcards: str = ""


@dataclass(frozen=True)
class Kept:
    """A run, a preflight or the writing of captions, as its files tell.

    Attributes:
        id: what pages call it.
        folder: where its files are.
        state: what it does, or how it ended. `interrupted` left no word: it was killed.
        asked: the word that it was given last, or "".
        said: the sentence that it ended with, or "".
    """

    id: str
    folder: Path
    state: State
    asked: str = ""
    said: str = ""

    @property
    def config(self) -> TuneConfig | None:
        """What is run; None where somebody spoilt the file."""
        with suppress(Refused):
            return read_tune(self.folder / RUN)
        return None

    @property
    def report(self) -> dict[str, Any] | None:
        """What the preflight found, as `Report.to_json` has it; None before it was made."""
        return _read(self.folder / REPORT)

    @property
    def wanted(self) -> dict[str, Any]:
        """The captions that were asked for, as `Wanted` has them; nothing of what is no such thing."""
        return _read(self.folder / WORDS) or {}

    @property
    def looked(self) -> list[dict[str, Any]]:
        """A line for each picture that was looked at, as `captioner.Looked` has it, the count alone in the first."""
        with suppress(OSError, ValueError, RecursionError), (self.folder / LOOKED).open("rb") as file:
            lines = file.read(MOST_NOTE).split(b"\n")[:-1]  # the last one may be half written
            return [line for each in lines if isinstance(line := json.loads(each), dict)]
        return []

    @property
    def began(self) -> float:
        """When it was made, in seconds since 1970."""
        with suppress(OSError):
            return (self.folder / RUN).stat().st_mtime
        return 0.0

    @property
    def going(self) -> bool:
        """Whether its process is at work."""
        return self.state in ("running", "stopping")


class Runs:
    """The runs of an output folder.

    Args:
        folder: the output folder, which is not written to before something is begun.
        command: what begins a process, for tests.
    """

    def __init__(self, folder: Path, command: tuple[str, ...] = (sys.executable, "-m", "training.hosted")) -> None:
        self._kept, self._command = folder / KEPT, command

    # ------------------------------------------------------------ what there is

    def busy(self) -> str:
        """The id of the run at work, or ""."""
        return _holder(self._kept / LOCK)

    def all(self) -> list[Kept]:
        """All runs, the newest first."""
        busy, top = self.busy(), self._kept / "training"
        with suppress(OSError):
            found = [_kept(path, busy == path.name) for path in top.iterdir() if ID.fullmatch(path.name)]
            return sorted((each for each in found if each.began), key=lambda each: (-each.began, each.id))
        return []

    def get(self, id: str) -> Kept | None:
        """The run called `id`."""
        path = self._kept / "training" / id
        return _kept(path, self.busy() == id) if ID.fullmatch(id) and (path / RUN).is_file() else None

    def check_of(self, id: str) -> Kept | None:
        """The preflight called `id`."""
        path = self._kept / "checks" / id
        if not ID.fullmatch(id) or not (path / RUN).is_file():
            return None
        return _kept(path, bool(_holder(path / LOCK)))

    def captions(self) -> Kept | None:
        """The captions that are being written, or were written last."""
        path = self._kept / "captions"
        return _kept(path, self.busy() == CAPTIONING) if (path / WORDS).is_file() else None

    # ------------------------------------------------------------ what is done

    def begin(self, name: str, config: TuneConfig) -> str:
        """Begin a run under a name that is made of `name`, in a process of its own; return its id.

        Raises:
            Busy: another one is at work.
            OSError: its folder can not be written, or its process not be started.
        """
        wish = slug(name)
        with _held(self._kept / LOCK, lambda: self.busy()) as lock:
            top = self._kept / "training"
            top.mkdir(parents=True, exist_ok=True)
            for number in range(1, 10_000):
                id = wish if number == 1 else f"{wish}-{number}"
                with suppress(FileExistsError):
                    (top / id).mkdir()
                    break
            folder = (top / id).resolve()
            _write_run(folder, config)
            self._go(folder, id, lock)
        return id

    def go_on(self, id: str, steps: int = 0) -> bool:
        """Go on with a run that is not at work; False where there is none of that name.

        Args:
            id: which one.
            steps: how many steps it is to have in all; fewer than it has changes nothing.

        Raises:
            Busy: a run is at work.
            OSError: a file can not be written, or its process not be started.
        """
        with _held(self._kept / LOCK, lambda: self.busy()) as lock:
            run = self.get(id)
            if run is None:
                return False
            config = run.config
            if config is not None and steps > config.loop.steps:
                loop = config.loop.model_copy(update={"steps": steps})
                _write_run(run.folder.resolve(), config.model_copy(update={"loop": loop}))
            self._go(run.folder.resolve(), id, lock)
        return True

    def ask(self, id: str, word: Word) -> bool:
        """Ask a run to save and end: for a while or for good. False where it is not at work.

        A run that was asked already ends at a second word without waiting for its step, as at a second Ctrl-C.

        Raises:
            OSError: the word can not be written.
        """
        run = self.get(id)
        if run is None or not run.going:
            return False
        write_bytes(run.folder / ASK, word.encode())
        return True

    def remove(self, id: str) -> bool:
        """Take a run that is not at work away, with all its files."""
        run = self.get(id)
        if run is None or run.going:
            return False
        shutil.rmtree(run.folder)
        return True

    def check(self, config: TuneConfig) -> str:
        """Begin the preflight of a run in a process of its own, where none is under way; return its id.

        Raises:
            Busy: enough others are under way.
            OSError: its folder can not be written, or its process not be started.
        """
        id = check_id(config)
        top = self._kept / "checks"
        folder = (top / id).absolute()
        others = [path for path in top.glob("*") if path.name != id]
        if sum(bool(_holder(path / LOCK)) for path in others) >= AT_ONCE:
            raise Busy("")
        folder.mkdir(parents=True, exist_ok=True)
        idle = [path for path in others if not _holder(path / LOCK)]
        for old in sorted(idle, key=lambda path: path.stat().st_mtime)[: -KEPT_CHECKS + 1]:
            shutil.rmtree(old, ignore_errors=True)
        try:
            with _held(folder / LOCK, lambda: id) as lock:
                (folder / REPORT).unlink(missing_ok=True)
                _write_run(folder, config)
                self._go(folder, id, lock, "--preflight")
        except Busy:  # this very one is under way
            pass
        return id

    def caption(self, wanted: Wanted) -> None:
        """Begin to write captions in a process of its own.

        Raises:
            Busy: a run is at work, or other captions are being written.
            OSError: a file can not be written, or the process not be started.
        """
        folder = (self._kept / "captions").absolute()
        with _held(self._kept / LOCK, lambda: self.busy()) as lock:
            folder.mkdir(parents=True, exist_ok=True)
            for name in (LOOKED, SAID):
                (folder / name).unlink(missing_ok=True)
            write_bytes(folder / WORDS, json.dumps(asdict(wanted), ensure_ascii=False).encode())
            self._go(folder, CAPTIONING, lock, "--captions")

    def ask_captions(self) -> bool:
        """Ask who writes captions to end; those that are written stay. False where nobody does.

        Raises:
            OSError: the word can not be written.
        """
        found = self.captions()
        if found is None or not found.going:
            return False
        write_bytes(found.folder / ASK, b"stop")
        return True

    def _go(self, folder: Path, id: str, lock: BinaryIO, *more: str) -> None:
        """Start the process of a run, which inherits the lock; what an earlier one left of its end goes."""
        for name in (END, ASK):
            (folder / name).unlink(missing_ok=True)
        lock.truncate(0)
        lock.write(id.encode())
        lock.flush()
        # So that the module is found wherever the studio was started from.
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        surroundings = {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}
        with (folder / SAID).open("ab") as said:
            process = subprocess.Popen(
                [*self._command, str(folder), *more], stdin=subprocess.DEVNULL, stdout=said, stderr=said,
                env=surroundings, pass_fds=(lock.fileno(),), process_group=0,
            )  # fmt: skip
        threading.Thread(target=process.wait, daemon=True).start()  # so that it is gone when it has ended


def check_id(config: TuneConfig) -> str:
    """What the preflight of a run is called: the same for the same values, wherever the run's folder is."""
    told = config.model_dump(mode="json", exclude={"folder"})
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:24]


def written(config: TuneConfig) -> str:
    """A run as the text of its file: what is as it would be anyway is left out."""
    told = config.model_dump(mode="json", exclude_defaults=True)
    return yaml.safe_dump(told, sort_keys=False, allow_unicode=True, width=110)


def _write_run(folder: Path, config: TuneConfig) -> None:
    write_bytes(folder / RUN, written(config.model_copy(update={"folder": folder})).encode())


class _held:
    """The lock of a file, while it is entered; a process that inherits it goes on to hold it.

    Raises:
        Busy: somebody else has it.
    """

    def __init__(self, path: Path, who: Callable[[], str]) -> None:
        self._path, self._who = path, who

    def __enter__(self) -> BinaryIO:
        import fcntl

        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._path.open("ab")
        end = time.monotonic() + PATIENCE
        while True:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return self._file
            except OSError as error:
                # Who only looks holds it for a moment, see `_holder`.
                if error.errno not in (errno.EWOULDBLOCK, errno.EACCES) or time.monotonic() > end:
                    self._file.close()
                    if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                        raise
                    raise Busy(self._who()) from None
            time.sleep(0.01)

    def __exit__(self, *_: object) -> None:
        self._file.close()


def _holder(path: Path) -> str:
    """What is written in a lock that somebody has; "" where nobody has it."""
    import fcntl

    with suppress(OSError), path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return file.read(100).decode("ascii", "replace") or "?"
    return ""


def _kept(folder: Path, busy: bool) -> Kept:
    asked = ""
    with suppress(OSError, ValueError):
        asked = (folder / ASK).read_text()[:20]
    if busy:
        return Kept(folder.name, folder, "stopping" if asked else "running", asked)
    end = _read(folder / END)
    if end is None:
        return Kept(folder.name, folder, "interrupted", asked)
    status, said = end.get("status"), str(end.get("said", ""))
    states: dict[Any, State] = {DONE: "done", STOPPED: "stopped" if asked in ("stop", "now") else "paused"}
    return Kept(folder.name, folder, states.get(status, "failed"), asked, said)


def slug(name: str) -> str:
    """A name as an id: small letters, digits and hyphens."""
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:MOST_NAME].strip("-")
    return plain or "run"


def _read(path: Path) -> dict[str, Any] | None:
    """The object in a small JSON file; None where there is none."""
    with suppress(OSError, ValueError, RecursionError), path.open("rb") as file:
        found = json.loads(file.read(MOST_NOTE))
        return found if isinstance(found, dict) else None
    return None
