"""Checkpoints from the Hugging Face hub: what fetching one would take, and fetching it, each on an explicit wish.

Only what is read is asked for: safetensors, JSON and text of the parts of a checkpoint. The hub's own client does the
work, with its own cache, its own token and its own way of going on where it was stopped.
"""

from __future__ import annotations

import re
import shutil
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from models.checkpoint import BESIDE, LAYOUTS, PICKLES, WEIGHTS
from pipelines.refusal import Refusal, on_one_line, shown

ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
PARTS = (*WEIGHTS, "tokenizer", "scheduler", *BESIDE)
SUFFIXES = (".safetensors", ".json", ".txt", ".jinja")  # the last is a tokenizer's chat template, which is text
TOP = ("model_index.json", "diorama.json")
SPARE = 2**30  # bytes of the disk that are left free

NO_ID = "expected an id of the Hugging Face hub such as black-forest-labs/FLUX.2-klein-4B, got {got}"
UNKNOWN = "expected a model on the Hugging Face hub, found none called {id} that is open to you; check its name"
GATED = "{id} is given only to those who accepted its terms; accept them on huggingface.co, then run `hf auth login`"
UNREACHABLE = (
    "expected an answer from huggingface.co, got none ({why}); check the network, or copy the folder here and add it"
)
OTHER_LAYOUT = "{id} is a {layout}; the layouts read here are {known}"
NO_INDEX = "{id} is no checkpoint in diffusers layout: it has no model_index.json"
NO_SAFETENSORS = "{id}: {part} has no safetensors; expected weights as .safetensors, nothing was fetched"
ONLY_PICKLE = "{id}: {part} has only {file}, a pickle, which can run code and is never read; nothing was fetched"
NO_ROOM = "expected {needed:.1f} GB of free space for {id}, got {free:.1f} GB; make room first"
AT_WORK = "{id} is being fetched; wait for it"
BROKEN = "fetching {id} ended early ({why}); fetch it again, it goes on where it stopped"


class Hub(Protocol):
    """What the hub is asked."""

    def files(self, id: str) -> tuple[Mapping[str, int], str]:
        """Names and bytes of all files of a model, and its pipeline's class or "". Raises Refusal."""

    def here(self, id: str, file: str) -> bool:
        """Whether a file was fetched before."""

    def fetch(self, id: str, files: list[str]) -> None:
        """Fetch these files into the cache."""

    def folder(self, id: str) -> Path:
        """Where the cache keeps what it fetches of a model."""


class HuggingFace:
    """The hub itself, through its own client."""

    def files(self, id: str) -> tuple[Mapping[str, int], str]:
        """Names and bytes of all files of a model, and its pipeline's class or "".

        Raises:
            Refusal: no such model, one that is not given to this user, or no answer.
        """
        from huggingface_hub import HfApi
        from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

        try:
            info = HfApi().model_info(id, files_metadata=True, timeout=20)
        except GatedRepoError:
            raise Refusal("id", GATED.format(id=id)) from None
        except RepositoryNotFoundError:
            raise Refusal("id", UNKNOWN.format(id=id)) from None
        except Exception as error:  # which ones is its HTTP library's affair, and changes with its versions
            raise Refusal("id", UNREACHABLE.format(why=_why(error))) from None
        layout = ((info.config or {}).get("diffusers") or {}).get("_class_name", "")
        return {file.rfilename: file.size or 0 for file in info.siblings or ()}, str(layout)

    def here(self, id: str, file: str) -> bool:
        """Whether a file was fetched before."""
        from huggingface_hub import try_to_load_from_cache

        return isinstance(try_to_load_from_cache(id, file), str)

    def fetch(self, id: str, files: list[str]) -> None:
        """Fetch these files into the cache."""
        from huggingface_hub import snapshot_download

        snapshot_download(id, allow_patterns=files)

    def folder(self, id: str) -> Path:
        """Where the cache keeps what it fetches of a model."""
        from huggingface_hub import constants

        return Path(constants.HF_HUB_CACHE) / f"models--{id.replace('/', '--')}"


@dataclass(frozen=True)
class Plan:
    """What fetching a model would take: its files that are read, their bytes, and the bytes that are not here yet."""

    id: str
    files: tuple[str, ...]
    bytes: int
    missing: int


@dataclass(frozen=True)
class Fetching:
    """A fetch: what of how many bytes is here, whether it is over, and what went wrong."""

    plan: Plan
    done: int = 0
    over: bool = False
    problem: str = ""
    before: int = field(default=0, repr=False)  # bytes in the cache when it began


class Fetcher:
    """Fetches one model at a time, on a thread; a page that is closed stops nothing."""

    def __init__(self, hub: Hub | None = None) -> None:
        self._hub = hub or HuggingFace()
        self._turn = threading.Lock()
        self._now: Fetching | None = None

    def look_up(self, text: str) -> Plan:
        """What fetching a model would take. This asks the hub.

        Raises:
            Refusal: not an id, no such model, one that is not read here, or no answer.
        """
        id = text.strip()
        if not ID.fullmatch(id) or ".." in id or "--" in id:
            raise Refusal("id", NO_ID.format(got=shown(text)))
        there, layout = self._hub.files(id)
        if "model_index.json" not in there:
            raise Refusal("id", NO_INDEX.format(id=id))
        if layout and layout not in LAYOUTS:
            raise Refusal("id", OTHER_LAYOUT.format(id=id, layout=layout, known=", ".join(LAYOUTS)))
        for part in WEIGHTS:
            own = [name for name in there if name.startswith(f"{part}/")]
            if not any(name.endswith(".safetensors") for name in own):
                pickle = next((name for name in own if name.lower().endswith(PICKLES)), None)
                sentence = ONLY_PICKLE if pickle else NO_SAFETENSORS
                raise Refusal("id", sentence.format(id=id, part=part, file=pickle))
        files = tuple(name for name in there if wanted(name))
        missing = sum(there[name] for name in files if not self._hub.here(id, name))
        return Plan(id, files, sum(there[name] for name in files), missing)

    def start(self, plan: Plan) -> None:
        """Begin to fetch what was looked up; `now` tells how far it is.

        Raises:
            Refusal: another one is being fetched, or there is not enough room.
        """
        folder = self._hub.folder(plan.id)
        with self._turn:
            if self._now is not None and not self._now.over:
                raise Refusal("id", AT_WORK.format(id=self._now.plan.id))
            free = shutil.disk_usage(next(path for path in folder.parents if path.is_dir())).free - SPARE
            if plan.missing > free:
                raise Refusal("id", NO_ROOM.format(id=plan.id, needed=plan.missing / 1e9, free=max(0, free) / 1e9))
            self._now = Fetching(plan, before=_bytes(folder))
        threading.Thread(target=self._fetch, args=(plan,), name="fetcher", daemon=True).start()

    def now(self) -> Fetching | None:
        """The fetch that is at work, or the last one; None when there was none."""
        found = self._now
        if found is None or found.over:
            return found
        grown = _bytes(self._hub.folder(found.plan.id)) - found.before
        return replace(found, done=max(0, min(grown, found.plan.missing)))

    def _fetch(self, plan: Plan) -> None:
        problem = ""
        try:
            self._hub.fetch(plan.id, list(plan.files))
        except Exception as error:  # as above; whatever it was, the page says so
            problem = BROKEN.format(id=plan.id, why=_why(error))
        with self._turn:
            assert self._now is not None
            self._now = replace(self._now, over=True, problem=problem, done=0 if problem else plan.missing)


def wanted(name: str) -> bool:
    """Whether a file of a repository is one that is read here."""
    folder, _, file = name.rpartition("/")
    return name in TOP or (folder in PARTS and file.endswith(SUFFIXES))


def _bytes(folder: Path) -> int:
    """Of what the cache has of a model, finished or not."""
    total = 0
    with suppress(OSError):
        for path in (folder / "blobs").iterdir():
            with suppress(OSError):
                total += path.stat().st_size
    return total


def _why(error: Exception) -> str:
    return on_one_line(f"{type(error).__name__}: {' '.join(str(error).split())}", 200)
