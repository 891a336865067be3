"""The grid: one job with one to three of its fields set against each other, as the jobs of one batch.

A grid file is a YAML, JSON or JSON Lines file of one document:

    job: {task: text, prompt: a red circle in a meadow, name: circle}
    axes:
      - guidance: [1.0, 2.0, 4.0]
      - prompt: red -> [red, blue]      # search and replace
      - seed: "{1..4}"                  # or a text of `expand.py`

The first axis goes across, the second down, the third from table to table. The page of a rendered grid is
`grid/page.py`'s.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from pipelines.expansion.expand import parse_template
from pipelines.expansion.fieldpath import overlaps, place_of, read_text, value_at, with_value
from pipelines.expansion.wildcards import Wildcards
from pipelines.files.jobfile import Source, read_values
from pipelines.files.yamlfile import documents
from pipelines.job import Job, parse, recipe, require_built
from pipelines.refusal import Place, Refusal, Refused, field_of, kind_of, nearest, on_one_line, shown

MAX_AXES = 3
MAX_CELLS = 2_500
STEM = "grid"  # of a job without a name

_REPLACE = re.compile(r"\s*(\S.*?)\s*->\s*(\[.*)", re.DOTALL)


@dataclass(frozen=True)
class Axis:
    """A field and the values that it takes, one after the other.

    Attributes:
        field: such as `guidance` or `scenes[0].prompt`.
        values: plain values of the field, or texts that each take the place of `search`.
        search: words in the field; None where the values are the whole field's.
    """

    field: str
    values: tuple[Any, ...]
    search: str | None = None

    @property
    def place(self) -> Place:
        """Where the field is."""
        return place_of(self.field)

    @property
    def title(self) -> str:
        """The axis in words."""
        return self.field if self.search is None else f"{self.field}: {self.search}"

    def label(self, index: int) -> str:
        """Value `index` in words."""
        value = self.values[index]
        if isinstance(value, str):
            return value
        if self.field == "size" and isinstance(value, list | tuple):
            return " x ".join(map(str, value))
        return json.dumps(value, ensure_ascii=False)

    def put(self, values: Mapping[str, Any], index: int) -> dict[str, Any]:
        """`values` with value `index` in its field.

        Raises:
            Refusal: the searched words do not stand there, or there is no such part.
        """
        value = self.values[index]
        if self.search is None:
            return with_value(values, self.place, value)
        text = value_at(values, self.place)
        # Whole words: "red" is not in "bored".
        pattern = rf"(?<!\w){re.escape(self.search)}(?!\w)"
        if not isinstance(text, str) or not re.search(pattern, text):
            got = kind_of(text)
            raise Refusal(field_of(self.place), f"expected the words {shown(self.search)} to replace, got {got}")
        return with_value(values, self.place, re.sub(pattern, lambda _: str(value), text))


@dataclass(frozen=True)
class Cell:
    """One place of a grid.

    Attributes:
        at: the value's number on each axis, from 0.
        name: NAME-X-Y-Z, from 1.
        index: which of the grid's jobs is shown there; equal cells share one.
    """

    at: tuple[int, ...]
    name: str
    index: int


@dataclass(frozen=True)
class Grid:
    """A job with one to three fields set against each other, checked by the schema when it is made.

    Attributes:
        values: the job as plain values; fields on axes may be absent.
        axes: across, down, and from table to table.
        name: the stem of all names.
        cells: all cells: table by table, row by row, from left to right.
        jobs: the different jobs, called as the first of their cells, in that order.

    Raises:
        Refusal: there is no such field, or a cell is no job; the cell is told.
    """

    values: Mapping[str, Any]
    axes: tuple[Axis, ...]
    name: str = field(init=False)
    cells: tuple[Cell, ...] = field(init=False)
    jobs: tuple[Job, ...] = field(init=False)

    def __post_init__(self) -> None:
        _check_axes(self.axes)
        stem = self.values.get("name")
        if stem is not None and not isinstance(stem, str):
            raise Refusal("name", f"expected text, got {kind_of(stem)}")
        name = stem or STEM
        cells: list[Cell] = []
        jobs: dict[Job, int] = {}  # without their names, and the number of each
        named: list[Job] = []
        counts = [len(axis.values) for axis in self.axes]
        for backwards in product(*(range(count) for count in reversed(counts))):
            at = backwards[::-1]
            marks = (f"{place + 1:0{len(str(count))}}" for place, count in zip(at, counts, strict=True))
            called = "-".join([name, *marks])
            if not cells:
                self._job(at, name, called)  # the page is called so
            job = self._job(at, called, called)
            index = jobs.setdefault(job.model_copy(update={"name": None}), len(jobs))
            if index == len(named):
                named.append(job)
            cells.append(Cell(at, called, index))
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "cells", tuple(cells))
        object.__setattr__(self, "jobs", tuple(named))

    def _job(self, at: Sequence[int], name: str, cell: str) -> Job:
        try:
            values = dict(self.values)
            # Whole fields first, so that what is searched is there whatever the order of the axes.
            for axis, index in sorted(zip(self.axes, at, strict=True), key=lambda pair: pair[0].search is not None):
                values = axis.put(values, index)
            job = parse({**values, "name": name})
            require_built(job)
        except Refusal as refusal:
            raise Refusal(refusal.field, f"{refusal.reason} (in cell {cell})") from None
        return job

    def sources(self, file: str) -> list[Source]:
        """The jobs as a batch takes them, each with its cell named and with what its record tells of the grid."""
        first = {cell.index: cell for cell in reversed(self.cells)}
        return [
            Source(job, f"{file}, cell {first[index].name}", 1, self._told(first[index]))
            for index, job in enumerate(self.jobs)
        ]

    def recipe(self) -> dict[str, Any]:
        """The grid as plain JSON values, for telling one grid from another."""
        axes = [{"field": axis.field, "search": axis.search, "values": list(axis.values)} for axis in self.axes]
        return {"name": self.name, "axes": axes, "jobs": [recipe(job) for job in self.jobs]}

    def _told(self, cell: Cell) -> dict[str, Any]:
        values = {axis.title: axis.values[index] for axis, index in zip(self.axes, cell.at, strict=True)}
        return {"grid": self.name, "cell": [index + 1 for index in cell.at], "fields": values}


def read_grid(file: str | Path, wildcards: Wildcards | None = None) -> Grid:
    """The grid of a file (see the top of this one).

    Raises:
        Refused: the file can not be read, holds no grid, or one of its cells is no job.
    """
    found = read_values(file)
    try:
        if len(found) != 1:
            raise Refusal("", f"expected one grid, got {len(found)} documents; give each a file")
        return grid_of(found[0], wildcards)
    except Refusal as refusal:
        raise Refused(str(file), 1, refusal.field, refusal.reason) from None


def grid_of(document: object, wildcards: Wildcards | None = None) -> Grid:
    """The grid that plain values describe: a mapping with `job` and `axes`.

    Raises:
        Refusal: they describe none.
    """
    keys = ("job", "axes")
    if not isinstance(document, Mapping):
        raise Refusal("", f"expected a mapping with job and axes, got {kind_of(document)}")
    for key in document:
        if key not in keys:
            near = nearest(str(key), keys)
            hint = f"did you mean {near!r}?" if near else "expected job and axes; fields of the job go under job"
            raise Refusal(on_one_line(str(key), 60), f"unknown key; {hint}")
    for key in keys:
        if key not in document:
            raise Refusal(key, "is missing; a grid has job and axes")
    job, axes = document["job"], document["axes"]
    if not isinstance(job, Mapping):
        raise Refusal("job", f"expected a mapping with a task, got {kind_of(job)}")
    if not isinstance(axes, list):
        raise Refusal("axes", f"expected a list such as [{{guidance: [1.0, 2.0]}}], got {kind_of(axes)}")
    return Grid(job, tuple(_axis(axis, number, wildcards) for number, axis in enumerate(axes)))


def _axis(written: object, number: int, wildcards: Wildcards | None) -> Axis:
    here = f"axes[{number}]"
    if not isinstance(written, Mapping) or len(written) != 1:
        raise Refusal(here, f"expected one field and its values, got {kind_of(written)}")
    ((name, values),) = written.items()
    try:
        place = place_of(str(name))
        path, search = field_of(place), None
        if isinstance(values, str) and (found := _REPLACE.fullmatch(values)):
            search, values = found[1], [str(value) for value in _listed(found[2])]
        elif isinstance(values, str):
            template = parse_template(values, wildcards)
            if template.count > MAX_CELLS:
                raise Refusal("", f"expected at most {MAX_CELLS:,} values, got more; shorten a list")
            values = [read_text(place, template.at(index)) for index in range(template.count)]
    except Refusal as refusal:
        raise Refusal(here, refusal.reason) from None
    if not isinstance(values, list) or not values:
        raise Refusal(here, f"expected a list of values or `words -> [words, words]`, got {kind_of(values)}")
    return Axis(path, tuple(values), search)


def _listed(text: str) -> list[Any]:
    found = list(documents(text))
    if len(found) != 1 or not isinstance(found[0], list):
        raise Refusal("", f"expected a list after ->, got {shown(text)}")
    return found[0]


def _check_axes(axes: Sequence[Axis]) -> None:
    if not 1 <= len(axes) <= MAX_AXES:
        raise Refusal("axes", f"expected 1 to {MAX_AXES} axes, got {len(axes)}")
    for number, axis in enumerate(axes):
        if axis.place[0] in ("name", "task"):
            raise Refusal(f"axes[{number}]", f"expected a field that changes the picture, got {axis.field}")
        for before in axes[:number]:
            # Of one text, different words may be on different axes.
            if axis.search == before.search and overlaps(axis.place, before.place):
                raise Refusal(f"axes[{number}]", f"{axis.field} is on an axis already; take another field")
    count = math.prod(len(axis.values) for axis in axes)
    if count > MAX_CELLS:
        factors = " x ".join(str(len(axis.values)) for axis in axes)
        raise Refusal("axes", f"expected at most {MAX_CELLS:,} cells, got {count:,} ({factors}); shorten an axis")
