"""What a run has made, made ready to be tried: its adapter under a name in the folder `adapters`, or its checkpoint."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from models.adapter.file import FOLDER, SUFFIX, AdapterError, read
from pipelines.files.atomic import whole
from pipelines.refusal import Refusal
from pipelines.shelf.shelf import Shelf
from training.follow import results
from training.runs import Kept
from ui.studio import Studio
from ui.words import say

TABS = ("text", "layout")  # in which what was trained is tried


@dataclass(frozen=True)
class Tried:
    """What stands in the fields of a tab.

    Attributes:
        name: of the adapter, or of the checkpoint.
        tab: the tab's id.
        adapters: its field for adapters.
        model: the id of its model.
        prompt: words to begin with, or "".
    """

    name: str
    tab: str
    adapters: str
    model: str
    prompt: str


def ready(studio: Studio, id: str) -> Tried:
    """Make the newest result of a run ready to be tried.

    Raises:
        Refusal: the run, its result or its checkpoint is not here, or the file is no adapter.
        OSError: it can not be copied.
    """
    run = studio.runs.get(id)
    config = run.config if run else None
    if run is None or config is None:
        raise Refusal("", say("train.gone"))
    prompt = next(iter(config.samples.prompts), "")
    if config.train.kind == "full":
        folder = run.folder / "checkpoint"
        if not folder.is_dir():
            raise Refusal("", say("train.no_result"))
        model = Shelf(studio.folder, studio.roots, by_path=True).add(str(folder.resolve()))  # a folder of our own
        return Tried(model, "text", "", model, prompt)
    if not results(run.folder):
        raise Refusal("", say("train.no_result"))
    name = _kept(run)
    model = studio.shelf.id_of(config.start_from)
    if model not in studio.shelf.choices("text"):
        raise Refusal("", say("train.no_base", model=model))
    tab = "layout" if config.train.kind == "siamese" else "text"
    return Tried(name, tab, name, model, prompt)


def _kept(run: Kept) -> str:
    """The name in the folder `adapters` under which the run's adapter is found, where it is copied if need be.

    It says the step, and another file of that name stays what it is: records name adapters that way.
    """
    source = run.folder / f"{results(run.folder)[0]}{SUFFIX}"
    try:
        about = read(source).about
    except AdapterError as error:  # whose sentence names the file
        raise Refusal("", str(error).replace(str(source), source.name)) from None
    stem = f"{run.id}-{about.steps if about else 0}"
    FOLDER.mkdir(parents=True, exist_ok=True)
    for number in range(1, 1_000):
        name = stem if number == 1 else f"{stem}-{number}"
        target = FOLDER / f"{name}{SUFFIX}"
        if target.exists() and not _same(source, target):
            continue
        if not target.exists():
            with whole(target) as temporary:
                shutil.copyfile(source, temporary)
        return name
    raise Refusal("", say("train.no_result"))


def _same(one: Path, other: Path) -> bool:
    return one.stat().st_size == other.stat().st_size and one.read_bytes() == other.read_bytes()
