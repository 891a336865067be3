"""Reproducing: a recorded job is rendered again, and what comes out is equal to the byte, or it is said what differs.

The sentences about why are from what the two records tell: versions, device, weights, files that the job was given.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pipelines.files.media import MediaError
from pipelines.files.output import OutputFolder, versions
from pipelines.files.provenance import content_of
from pipelines.files.record import files_named, outputs_of, read_record
from pipelines.history.compare import differences, pixels
from pipelines.history.reproductions import EQUAL, Again, Verdict
from pipelines.job import Job, ScenesJob, parse, require_built
from pipelines.refusal import Refusal, on_one_line, shown
from pipelines.renderer import Renderer

UNEXPLAINED = "nothing that the record tells is different; the machine or a library that it does not name may be"
NAMES = {"device": "device", "dtype": "number format", "threads": "number of threads"}


def reproduce(
    engine: Renderer,
    folder: Path,
    record: str,
    progress: Callable[[int, int], bool] = lambda step, steps: True,
) -> Verdict:
    """Render a recorded job again, in a temporary folder under the same name, and compare each file with the record.

    Scenes are rendered afresh, whatever is stored of them. Whatever else the engine raises goes on to the caller.

    Args:
        engine: what renders.
        folder: of the outputs; nothing is written there.
        record: the record's name in it, such as `first.json`.
        progress: called with (step, steps); False cancels.
    """
    path = folder / record
    try:
        told = read_record(path)
    except MediaError as problem:
        return Verdict(False, reasons=(str(problem),))
    if missing := tuple(_missing(told["job"])):
        return Verdict(False, reasons=missing)
    try:
        job = parse(told["job"])
        require_built(job)
        engine.check(job)
    except Refusal as refusal:  # by another version perhaps
        return Verdict(False, reasons=(str(refusal), *_versions(told, versions())))
    with tempfile.TemporaryDirectory(prefix="diorama-") as temporary:
        again = Path(temporary)
        _render(engine, job, told, again, path.stem, progress)
        new = read_record(again / path.name)
        files = tuple(_files(path, told, again / path.name, new))
    equal = all(file.equal for file in files)
    reasons = [*_different(told, new), *([] if equal else _loose(told, new))]
    if not equal and not reasons:
        reasons = [UNEXPLAINED]
    return Verdict(True, files, tuple(reasons), tuple(_changed(path, told)))


def _render(
    engine: Renderer, job: Job, told: Mapping[str, Any], folder: Path, stem: str, progress: Callable[[int, int], bool]
) -> None:
    afresh = job.model_copy(update={"reuse": "never"}) if isinstance(job, ScenesJob) else job
    retried = told.get("retried_with")
    at_once = retried.get("at_once") if isinstance(retried, Mapping) else None
    how = {"at_once": at_once} if type(at_once) is int and at_once > 0 else {}  # as it was rendered then
    rendered = engine.render([afresh], progress, **how)[0]
    OutputFolder(folder).save(job, stem, rendered)  # with the job as it is: it stands in the files


def _missing(job: Mapping[str, Any]) -> Iterator[str]:
    for field, name in files_named(job).items():
        if content_of(name) is None:
            yield f"{field}: the file '{on_one_line(name, 300)}' that it was made from is not here"


def _files(path: Path, told: Mapping[str, Any], again: Path, new: Mapping[str, Any]) -> Iterator[Again]:
    before, after = outputs_of(path.stem, told), outputs_of(path.stem, new)
    for name in dict.fromkeys([*before, *after]):
        if name not in after:
            yield Again(name, False, "it was written then and is not written now")
        elif name not in before:
            yield Again(name, False, "it is written now and was not written then")
        elif before[name] == after[name]:
            yield Again(name, True, EQUAL)
        else:
            yield Again(name, False, _apart(path.parent / name, before[name], again.parent / name))


def _apart(then: Path, recorded: str, now: Path) -> str:
    """How two files of one name differ."""
    content = content_of(then)
    if content != recorded:
        why = "is gone" if content is None else "was changed since"
        return f"it differs from the record; by how much can not be told, for the file in the folder {why}"
    if now.suffix not in (".png", ".mp4"):
        return "its bytes differ"
    try:
        apart = pixels(then, now)
    except MediaError as error:
        return f"its bytes differ; the pixels can not be compared: {error}"
    if apart is None:
        return "it has another size or number of frames"
    if apart.psnr is None:
        return "its pixels are equal, only what is written in it differs"
    return f"its pixels differ by at most {apart.largest} of 255, {apart.mean:.2g} on average ({apart.psnr:.1f} dB)"


def _changed(path: Path, told: Mapping[str, Any]) -> Iterator[str]:
    for name, recorded in outputs_of(path.stem, told).items():
        content = content_of(path.parent / name)
        if content is None:
            yield f"{name} is gone from the folder"
        elif content != recorded:
            yield f"{name} in the folder was changed after it was rendered"


def _different(told: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    """What is known to be another now."""
    yield from _versions(told, _mapping(new, "versions"))
    for name, called in NAMES.items():
        if name in told and told[name] != new.get(name):
            yield f"the {called} was {told[name]} and is {new.get(name)}"
    if told.get("weights") and told["weights"] != new.get("weights"):
        yield f"the weights of the model {shown(told['job'].get('model'))} are others than those it was rendered with"
    now = _mapping(new, "inputs")
    for field, name in files_named(told["job"]).items():
        if (content := _mapping(told, "inputs").get(field)) is not None and content != now.get(field):
            yield f"{field}: the file '{on_one_line(name, 300)}' was changed since"
    for each in differences({"resolved": told.get("resolved")}, {"resolved": new.get("resolved")}):
        yield f"{each.field.removeprefix('resolved.')} came to {shown(each.left)} and comes to {shown(each.right)}"


def _versions(told: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    for name, then in _mapping(told, "versions").items():
        if then != now.get(name):
            yield f"{name} was {then} and is {now.get(name, 'absent')}"


def _loose(told: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    """What may have made a difference, where there is one."""
    if type(told.get("batch")) is int and told["batch"] > 1:
        yield f"it was rendered in a batch of {told['batch']}, whose pictures may be 1 of 255 off those of a single one"
    scenes = told.get("scenes")
    for number, scene in enumerate(scenes if isinstance(scenes, list) else (), 1):
        if isinstance(scene, Mapping) and scene.get("reused") is True and scene.get("why") != "unchanged":
            yield f"scene {number} was taken from an earlier render ({scene.get('why')})"
    for name, called in (("weights", "weights"), ("versions", "versions")):
        if name in new and not told.get(name):
            yield f"the record does not tell the {called} that it was rendered with"


def _mapping(told: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = told.get(name)
    return found if isinstance(found, Mapping) else {}
