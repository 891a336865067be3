"""What files, models and sentences are called on the wire, and what they are here: ids go out and come in, never paths.

Pages do the same with text in `ui/wire.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path, PurePath
from typing import Any

from models.adapter.file import is_name
from pipelines.expansion.fieldpath import place_of, with_value
from pipelines.files.record import files_named
from pipelines.job import Job, parse
from pipelines.refusal import Refusal
from ui.api.wirejobs import OUTPUT, UPLOAD
from ui.files import stored
from ui.result import png_frames
from ui.studio import Studio

GONE = "gone"  # what a file of a job is called that is none of the studio's any more
NO_UPLOAD = "there is no upload of this id; give the file to POST /uploads"
NO_OUTPUT = "there is no such file of a job that is done; GET /jobs/ID/files lists them"


class Names:
    """The names of one request: what is looked up once is not looked up again.

    Args:
        studio: what they are names of.
    """

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        self._models: dict[str, str] = {}
        self._ids: dict[str, str] = {}

    # ------------------------------------------------------------ coming in

    def inward(self, jobs: Iterable[Job], at: str = "job") -> list[tuple[Job, Any]]:
        """Jobs of the wire as the engine takes them, each with what it costs.

        Args:
            jobs: each with names for files and models.
            at: what a job is called in a refusal; of several `jobs[{}]`, with the number of the job in it.

        Raises:
            Refusal: a name leads to nothing, or the engine would refuse the job.
        """
        found = []
        for number, wire in enumerate(jobs):
            try:
                job = self._inward(wire)
                found.append((job, self._studio.check(job)))
            except Refusal as refusal:
                field = ".".join(filter(None, (at.format(number), refusal.field)))
                raise Refusal(field, self.plain(refusal.reason)) from None
        return found

    def _inward(self, wire: Job) -> Job:
        values: Mapping[str, Any] = wire.model_dump(mode="json")
        for field, name in files_named(values).items():
            values = with_value(values, place_of(field), self._path(field, name))
        return parse({**values, "model": self._model(str(values["model"]))})

    def _model(self, id: str) -> str:
        if id not in self._models:
            self._models[id] = self._studio.shelf.model_of(id)
        return self._models[id]

    def _path(self, field: str, name: str) -> str:
        if found := UPLOAD.fullmatch(name):
            if self._studio.uploads.get(found[1]) is None:
                raise Refusal(field, NO_UPLOAD)
            return self._studio.uploads.path(found[1])
        told = OUTPUT.fullmatch(name)
        row = self._studio.queue.get(told[1]) if told else None
        path = stored(row, int(told[2]), self._studio.folder) if told and row and row.state == "done" else None
        if path is None or row is None:
            raise Refusal(field, NO_OUTPUT)
        # A video is gone on from by its exact frames, where it has them.
        exact = field == "continue_from" and path.suffix == ".mp4" and png_frames(row)
        return str(path.with_suffix("") if exact else path)

    # ------------------------------------------------------------ going out

    def outward(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """A row's job with names instead of paths."""
        values = dict(job)
        for field, path in files_named(job).items():
            values = with_value(values, place_of(field), self._name(field, path))
        return {**values, "model": self.id_of(str(values.get("model", "")))}

    def id_of(self, model: str) -> str:
        """What a checkpoint is called that a job calls `model`."""
        if model not in self._ids:
            self._ids[model] = self._studio.shelf.id_of(model)
        return self._ids[model]

    def plain(self, sentence: str) -> str:
        """A sentence without the paths of the studio's folder, which say nothing to who reads it elsewhere."""
        told = self._studio.uploads.plain(sentence)
        for folder in {str(self._studio.folder.resolve()), str(self._studio.folder)}:
            told = told.replace(f"{folder}/", "")
        return told

    def _name(self, field: str, path: str) -> str:
        if "adapters[" in field:  # only a job of the command line has one by its path
            name = PurePath(path).stem
            return name if is_name(name) else GONE
        if upload := self._studio.uploads.of(path):
            return f"upload:{upload.id}"
        place = Path(path) if Path(path).suffix else Path(f"{path}.mp4")  # else a folder of exact frames
        root = self._studio.folder.resolve()
        if not place.is_relative_to(root):
            return GONE
        found = self._studio.queue.of_file(place.relative_to(root).as_posix())
        return f"output:{found[0]}/{found[1]}" if found else GONE
