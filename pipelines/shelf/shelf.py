"""The shelf: the checkpoints that are here - embedded, in folders that somebody named, and in the hub's cache.

Everything is told from configuration files and the heads of safetensors; no weights are read, nothing is fetched
(`hub.py` does that) and torch is not loaded. Pages call a checkpoint by its id and never by a path.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from models.checkpoint import BESIDE, EMBEDDED, MAX_HEADER, PICKLES, WEIGHTS, CheckpointError, Description, describe
from pipelines.files.atomic import write_bytes
from pipelines.files.kept import KEPT
from pipelines.measure import GPUS
from pipelines.refusal import Refusal, shown

if TYPE_CHECKING:
    from models.plan import TokenPlan

Place = Literal["embedded", "folder", "start", "cache"]

FILE = Path(KEPT, "shelf.json")  # among the outputs
MOST_FILE = 2**20  # bytes of it
INDEX = "model_index.json"
PARTS = (*WEIGHTS, *BESIDE)

NO_PATHS = (
    "expected a hub id: folders are named on this page only where the studio serves this machine alone; "
    "start it with --models FOLDER instead"
)
NO_FOLDER = "expected a folder in diffusers layout that is here, got {got}; check its name"
HAS_PICKLE = (
    "expected a checkpoint of safetensors alone, got {file}, a pickle, which can run code and is never read; "
    "take it out of the folder, or take a checkpoint without it"
)
NOT_SHELVED = "expected a model that is here ({here}), got {got}; choose one, or add it on the Models page"
NO_HEADS = "the safetensors of {part} have no readable head; fetch the checkpoint again"
UNWRITABLE = "the list of folders can not be written ({why}); nothing was changed"


@dataclass(frozen=True)
class Shelved:
    """One checkpoint.

    Attributes:
        id: what pages call it.
        model: what a job calls it: a name, a folder or a hub id.
        place: whether it is embedded, in a folder of the user's list, in one named at the start, or in the hub's cache.
        description: None where it can not be used.
        problem: why not, one sentence; else "".
        bytes: of its files.
        parameters: numbers in all its weights.
    """

    id: str
    model: str
    place: Place
    description: Description | None
    problem: str = ""
    bytes: int = 0
    parameters: int = 0

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks that it can render."""
        from pipelines.job import BUILT

        return tuple(task for task in BUILT if self.can(task))

    def can(self, task: str) -> bool:
        """Whether it can render a task. What it does badly, for it was not trained for it, is not told here."""
        if self.description is None:
            return False
        if task == "dubbing":
            return (self.description.folder / "speech").is_dir()
        return task != "layered" or self.description.vae.get("in_channels") == 4  # layers need alpha

    def memory(self, width: int, height: int, frames: int = 1) -> int | None:
        """Bytes that rendering a picture or video of this size needs at least; None for a size that it does not draw.

        Weights and the largest evaluation together, in float32 on processors and in bfloat16 on a GPU.
        """
        from pipelines.estimate import least_memory
        from pipelines.text import text_plan

        told = self.description
        if told is None or not all(told.sides[0] <= side <= told.sides[1] for side in (width, height)):
            return None
        across, down = (-(-side // told.scale) for side in (width, height))
        plan: TokenPlan = text_plan(told.prompt_tokens, down, across, frames)
        each = 2 if any(path.exists() for path in GPUS) else 4  # bytes of a number
        return self.parameters * each + least_memory(told, plan, not told.distilled) * each // 4


class Shelf:
    """The checkpoints that a studio, or a terminal, can see."""

    def __init__(self, folder: Path, roots: Sequence[Path] = (), by_path: bool = False) -> None:
        """The shelf of an output folder, which is not written to before something is added.

        Args:
            folder: the output folder; the list of added folders is kept in it.
            roots: further folders, each a checkpoint or a folder of some.
            by_path: whether folders may be added by their path.
        """
        self.by_path = by_path
        self._file, self._roots = folder / FILE, tuple(roots)

    def items(self) -> list[Shelved]:
        """All of them: embedded ones first, then folders, then the hub's cache. What is whole is found each time."""
        found: dict[str, Shelved] = {}
        for place, model, wish in self._places():
            if any(one.model == model for one in found.values()):
                continue
            id = next(name for number in range(1, 10**6) if (name := _numbered(wish, number)) not in found)
            found[id] = _shelved(id, model, place)
        return list(found.values())

    def get(self, id: str) -> Shelved | None:
        """The checkpoint that pages call `id`."""
        return next((one for one in self.items() if one.id == id), None)

    def choices(self, task: str) -> list[str]:
        """Ids of those that can render a task."""
        return [one.id for one in self.items() if one.can(task)]

    def model_of(self, id: object) -> str:
        """What a job calls the checkpoint that pages call `id`.

        Raises:
            Refusal: none is called so. Nothing is looked for on the disk by that name.
        """
        items = self.items()
        for one in items:
            if one.id == id and one.description is not None:
                return one.model
        here = ", ".join(one.id for one in items if one.description is not None)
        raise Refusal("model", NOT_SHELVED.format(here=here, got=shown(id)))

    def id_of(self, model: object) -> str:
        """What pages call the checkpoint that a job calls `model`; of one that is not here its last name."""
        known = next((one.id for one in self.items() if one.model == model), None)
        if known is not None:
            return known
        # A hub id is no path, and a path stays here.
        return str(model) if str(model).count("/") == 1 and str(model)[0] not in "/.~" else Path(str(model)).name

    # ------------------------------------------------------------ the list of folders

    def add(self, text: str) -> str:
        """Put a folder on the list, and return its id.

        Raises:
            Refusal: folders are not added by path here, or this is not a whole checkpoint of safetensors.
        """
        if not self.by_path:
            raise Refusal("folder", NO_PATHS)
        try:
            path = Path(text.strip()).expanduser().resolve()
            there = bool(text.strip()) and path.is_dir()
        except (OSError, ValueError, RuntimeError):  # such as a NUL, or the home of nobody
            there = False
        if not there:
            raise Refusal("folder", NO_FOLDER.format(got=shown(text)))
        if pickle := next((file for file in _files(path) if file.suffix.lower() in PICKLES), None):
            raise Refusal("folder", HAS_PICKLE.format(file=pickle.relative_to(path).as_posix()))
        found = _shelved(path.name, str(path), "folder")
        if found.problem:
            raise Refusal("folder", found.problem)
        if str(path) not in self._listed():
            self._keep([*self._listed(), str(path)])
        return self.id_of(str(path))

    def remove(self, id: str) -> bool:
        """Take a folder off the list; False when it is not on it. Its files stay where they are."""
        one = self.get(id)
        if one is None or one.place != "folder":
            return False
        self._keep([path for path in self._listed() if path != one.model])
        return True

    def _listed(self) -> list[str]:
        kept: Any = None
        with suppress(OSError, ValueError), self._file.open("rb") as file:
            kept = json.loads(file.read(MOST_FILE))
        folders = kept.get("folders") if isinstance(kept, dict) else None
        return [path for path in folders if isinstance(path, str)] if isinstance(folders, list) else []

    def _keep(self, folders: list[str]) -> None:
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(self._file, json.dumps({"folders": folders}, indent=1).encode())
        except OSError as error:
            raise Refusal("folder", UNWRITABLE.format(why=error.strerror)) from None

    # ------------------------------------------------------------ where they are

    def _places(self) -> Iterator[tuple[Place, str, str]]:
        """Where each stands, what a job calls it, and what pages would like to call it."""
        for index in sorted(EMBEDDED.glob(f"*/{INDEX}")):
            yield "embedded", index.parent.name, index.parent.name
        for name in self._listed():
            yield "folder", name, Path(name).name
        for root in self._roots:
            whole = (root / INDEX).exists()
            for path in [root] if whole else sorted(index.parent for index in root.glob(f"*/{INDEX}")):
                yield "start", str(path.resolve()), path.resolve().name
        for id in cached():
            yield "cache", id, id


def cached() -> list[str]:
    """Hub ids of what the local cache has with a file that says what it is."""
    from huggingface_hub import constants, try_to_load_from_cache

    names = [path.name for path in Path(constants.HF_HUB_CACHE).glob("models--*--*")]
    ids = sorted(name.removeprefix("models--").replace("--", "/", 1) for name in names)
    return [id for id in ids if isinstance(try_to_load_from_cache(id, INDEX), str)]


def _numbered(name: str, number: int) -> str:
    return name if number == 1 else f"{name}-{number}"


def _shelved(id: str, model: str, place: Place) -> Shelved:
    try:
        description = describe(model)
    except CheckpointError as error:
        return Shelved(id, model, place, None, str(error).replace(repr(model), repr(id)))
    files = list(_files(description.folder))
    stamp = tuple((str(path), stat.st_mtime_ns, stat.st_size) for path in files if (stat := _stat(path)))
    try:
        parameters = _parameters(stamp)
    except _Headless as error:
        return Shelved(id, model, place, None, NO_HEADS.format(part=error))
    return Shelved(id, model, place, description, "", sum(size for _, _, size in stamp), parameters)


class _Headless(ValueError):
    """Safetensors whose head can not be read; the text is their folder's name."""


@lru_cache(maxsize=64)
def _parameters(files: tuple[tuple[str, int, int], ...]) -> int:
    """Numbers in all weights; read again only when a file changed."""
    total = 0
    for path in (Path(name) for name, _, _ in files):
        if path.suffix == ".safetensors" and path.parent.name in PARTS:
            total += _numbers(path)
    return total


def _numbers(path: Path) -> int:
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            head: Any = json.loads(file.read(min(length, MAX_HEADER)))
        return sum(math.prod(each["shape"]) for name, each in head.items() if name != "__metadata__")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise _Headless(path.parent.name) from None


def _files(folder: Path) -> Iterator[Path]:
    """The files in a checkpoint's folder and in those of its parts; what lies deeper is never read."""
    with suppress(OSError):
        for path in sorted(folder.iterdir()):
            if path.is_dir():
                yield from sorted(file for file in path.iterdir() if file.is_file())
            elif path.is_file():
                yield path


def _stat(path: Path) -> Any:
    with suppress(OSError):
        return path.stat()
    return None
