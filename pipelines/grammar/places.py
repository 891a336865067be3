"""Places: a box for each thing of a reading, where a reader of the prompt would put it.

Sizes and places are the Papercut world's usual ones, for its checkpoint was trained on them. Boxes overlap only where
the prompt asks for it: inside, on top of, in front of, behind. Words are read in `phrases.py`.

Lengths are in pixels, origin top left.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from pipelines.grammar.ordering import Axis
from pipelines.grammar.phrases import Group, Kind, Reading, Relation, Spot
from pipelines.job import MAX_PARTS, SIDE_STEP

Corners = tuple[float, float, float, float]  # x0, y0, x1, y1

RADII = {"small": 0.09, "medium": 0.14, "large": 0.20}  # half a thing's width, in short sides
# Where one, two and three things stand, as fractions of the canvas, and the part of it that each has to itself.
USUAL: tuple[tuple[tuple[float, float, Corners], ...], ...] = (
    ((0.5, 0.5, (0, 0, 1, 1)),),
    ((0.26, 0.5, (0, 0, 0.5, 1)), (0.74, 0.5, (0.5, 0, 1, 1))),
    ((0.5, 0.27, (0, 0, 1, 0.5)), (0.26, 0.73, (0, 0.5, 0.5, 1)), (0.74, 0.73, (0.5, 0.5, 1, 1))),
)
INWARD = 0.96  # how much nearer to the middle things stand than an even grid has them: 0.26 and not 0.25
FILL = 0.94  # of a cell that its things may take
AROUND = 0.015  # short sides between a thing and its box: the usual places are that uncertain
EDGE, SHADE = 0.01, 0.052  # the same in a layer, whose box holds the soft shadow down and to the right as well
SPARE = 0.15  # tokens of a shadow's end that a layer's box may miss
INNER, STANDING = 0.5, 0.9  # a thing inside another is half as large; one on top sinks in by a tenth of its height
FRONT = (1.1, 0.5)  # radii by which what is in front stands to the right and lower


@dataclass(frozen=True)
class Cell:
    """A part of the canvas, and the point in it around which things are placed."""

    x: float
    y: float
    corners: Corners

    @property
    def room(self) -> tuple[float, float]:
        """Width and height."""
        x0, y0, x1, y1 = self.corners
        return x1 - x0, y1 - y0


@dataclass(frozen=True)
class Part:
    """One thing with its centre and half its width; `group` is the phrase that named it."""

    group: int
    x: float
    y: float
    radius: float


@dataclass(frozen=True)
class Placed:
    """A box in 0..1, and the group whose thing it holds."""

    group: int
    box: Corners


def place(reading: Reading, size: tuple[int, int], layered: bool) -> tuple[list[Placed], list[str]]:
    """A box for every thing, bottom first, and sentences about what was left out or left to chance.

    Args:
        reading: what to place; at least one thing.
        size: width and height of the canvas in pixels.
        layered: whether boxes hold shadows and lie on the grid of tokens, as those of layers do.
    """
    return _Placing(reading, size, layered).place()


class _Placing:
    def __init__(self, reading: Reading, size: tuple[int, int], layered: bool) -> None:
        self._size, self._short, self._layered = size, min(size), layered
        self._notes: list[str] = list(reading.notes)
        self._groups = self._at_most(reading.groups)
        known = [r for r in reading.relations if max(r.first, r.second) < len(self._groups)]
        self._host: dict[int, tuple[int, Kind]] = {}  # what a thing stands in, on or before
        self._columns, self._rows = Axis(len(self._groups)), Axis(len(self._groups))
        self._tied: set[int] = set()  # groups with a neighbour
        for relation in known:
            if relation.kind not in ("left", "above"):
                self._attach(relation)
        for relation in known:
            if relation.kind in ("left", "above"):
                self._order(relation)
        self._roots = [g for g in range(len(self._groups)) if g not in self._host]

    def place(self) -> tuple[list[Placed], list[str]]:
        units = [g for g in self._roots for _ in range(self._groups[g].count)]
        cells = self._arranged()
        if cells is None:
            self._notes.append("There is no room to keep the order that is asked for; things stand in rows instead.")
        elif not cells and len(units) > 1:
            self._notes.append("Where things stand is left open; they have the usual places.")
        cells = cells or self._in_rows(units)
        boxes, shrunk = [], False
        for g, cell in cells:
            parts, factor = self._fitted(self._unit(g), cell)
            shrunk |= factor < 0.99
            boxes += [Placed(part.group, self._box(part, cell.corners)) for part in parts]
        if shrunk:
            self._notes.append("Some things are smaller than usual, so that all have room.")
        if self._crowded(boxes):
            self._notes.append("Some boxes overlap though nothing asks for it: there is no room to part them.")
        return boxes, self._notes

    # ------------------------------------------------------------ relations

    def _at_most(self, groups: Sequence[Group]) -> list[Group]:
        """The groups up to as many things as a job may have."""
        kept: list[Group] = []
        total, free = sum(group.count for group in groups), MAX_PARTS
        for group in groups:
            if free:
                kept.append(replace(group, count=min(group.count, free)))
                free -= kept[-1].count
        if total > MAX_PARTS:
            self._notes.append(
                f"A job holds at most {MAX_PARTS} boxes; {total - MAX_PARTS:,} of {total:,} are left out."
            )
        return kept

    def _attach(self, relation: Relation) -> None:
        guest, host = relation.first, relation.second
        above: int | None = host
        while above is not None and above != guest:
            above = self._host[above][0] if above in self._host else None
        if above == guest or guest in self._host or self._groups[host].count > 1:
            self._drop(relation)
        else:
            self._host[guest] = (host, relation.kind)

    def _order(self, relation: Relation) -> None:
        first, second = self._root(relation.first), self._root(relation.second)
        along, across = (self._columns, self._rows) if relation.kind == "left" else (self._rows, self._columns)
        if first == second or not along.add(first, second):
            return self._drop(relation)
        across.align(first, second)  # side by side at one height, where nothing said before forbids it
        self._tied |= {first, second}

    def _root(self, group: int) -> int:
        while group in self._host:
            group = self._host[group][0]
        return group

    def _drop(self, relation: Relation) -> None:
        words = {"left": "beside", "above": "above", "inside": "inside", "on": "on", "front": "in front of"}
        first, second = (self._groups[g].prompt[:48] for g in (relation.first, relation.second))
        self._notes.append(f"{first!r} {words[relation.kind]} {second!r} goes with nothing else said and was not kept.")

    # ------------------------------------------------------------ cells

    def _arranged(self) -> list[tuple[int, Cell]] | None:
        """A cell for every unit where relations or places in the picture decide it; None where there is no room."""
        whole = (0.0, 0.0, float(self._size[0]), float(self._size[1]))
        if self._tied:
            if any(self._groups[g].spot for g in self._roots):
                self._notes.append("Places such as 'on the left' were not kept, for relations decide the places.")
            return self._in_blocks(whole)
        if any(self._groups[g].spot for g in self._roots):
            spots: list[Spot] = [self._groups[g].spot or (0, 0) for g in self._roots]
            columns, rows = ([spot[k] or 0 for spot in spots] for k in (0, 1))
            across, down = _spans(columns, whole[0], whole[2]), _spans(rows, whole[1], whole[3])
            return self._in_table(self._roots, dict(zip(self._roots, columns, strict=True)),
                                  dict(zip(self._roots, rows, strict=True)), across, down)  # fmt: skip
        return []

    def _in_blocks(self, whole: Corners) -> list[tuple[int, Cell]] | None:
        """What is tied together stands together; the rest stands beside it."""
        blocks: list[list[int]] = []
        for g in self._roots:
            joined = [block for block in blocks if any(self._together(g, other) for other in block)]
            blocks = [block for block in blocks if block not in joined] + [[*chain(*joined), g]]
        blocks.sort(key=min)
        parts = [[g] for block in blocks if block[0] not in self._tied for g in block for _ in range(self._count(g))]
        parts = sorted([block for block in blocks if block[0] in self._tied] + parts, key=min)
        grid = _grid(len(parts), whole)
        found: list[tuple[int, Cell]] = []
        for block, cell in zip(parts, grid or (), strict=bool(grid)):
            if block[0] not in self._tied:
                found.append((block[0], cell))
                continue
            columns, rows = self._columns.dense(block), self._rows.dense(block)
            x0, y0, x1, y1 = cell.corners
            across = _even(max(columns.values()) + 1, x0, x1)
            down = _even(max(rows.values()) + 1, y0, y1)
            table = self._in_table(block, columns, rows, across, down)
            if table is None:
                return None
            found += table
        return found if grid else None

    def _together(self, a: int, b: int) -> bool:
        return (a, b) in self._columns.tied or (a, b) in self._rows.tied

    def _count(self, g: int) -> int:
        return self._groups[g].count

    def _in_table(
        self, groups: Iterable[int], columns: dict[int, int], rows: dict[int, int],
        across: dict[int, tuple[float, float]], down: dict[int, tuple[float, float]],
    ) -> list[tuple[int, Cell]] | None:  # fmt: skip
        """A cell for each unit; the units of one entry of the table share it."""
        entries: dict[tuple[int, int], list[int]] = {}
        for g in groups:
            entries.setdefault((columns[g], rows[g]), []).extend([g] * self._groups[g].count)
        found: list[tuple[int, Cell]] = []
        edges_x, edges_y = [e for span in across.values() for e in span], [e for span in down.values() for e in span]
        middle = (min(edges_x) + max(edges_x)) / 2, (min(edges_y) + max(edges_y)) / 2
        for (column, row), units in entries.items():
            (x0, x1), (y0, y1) = across[column], down[row]
            grid = _grid(len(units), (x0, y0, x1, y1), middle)
            if grid is None:
                return None
            found += zip(units, grid, strict=True)
        return found

    def _in_rows(self, units: list[int]) -> list[tuple[int, Cell]]:
        """The usual places for up to three, rows for more; units for which there is no token are left out."""
        width, height = self._size
        if len(units) <= len(USUAL) and self._short >= 2 * SIDE_STEP:
            cells = [
                Cell(x * width, y * height, (a * width, b * height, c * width, d * height))
                for x, y, (a, b, c, d) in USUAL[len(units) - 1]
            ]
            return list(zip(units, cells, strict=True))
        fitting = min(len(units), (width // SIDE_STEP) * (height // SIDE_STEP))
        if fitting < len(units):
            self._notes.append(f"{len(units) - fitting} of {len(units)} things have no room and are left out.")
        return list(zip(units, _grid(fitting, (0.0, 0.0, float(width), float(height))) or (), strict=False))

    # ------------------------------------------------------------ units and boxes

    def _unit(self, group: int) -> list[Part]:
        """A thing at the origin with all that stands in, on or before it, bottom first."""
        guests = [(g, kind) for g, (host, kind) in self._host.items() if host == group]
        holds = any(kind == "inside" for _, kind in guests)
        radius = RADII[self._groups[group].size or ("large" if holds else "medium")] * self._short
        parts = [Part(group, 0.0, 0.0, radius)]
        inside = [g for g, kind in guests if kind == "inside" for _ in range(self._groups[g].count)]
        on = [g for g, kind in guests if kind == "on" for _ in range(self._groups[g].count)]
        columns = math.ceil(math.sqrt(len(inside)))
        for i, g in enumerate(inside):
            step = 2 * INNER * radius / columns if columns > 1 else 0.0
            rows = math.ceil(len(inside) / columns)
            x, y = (i % columns - (columns - 1) / 2) * step, (i // columns - (rows - 1) / 2) * step
            parts += _moved(self._unit(g), x, y, within=step / 2 * FILL if step else INNER * radius)
        wide = [self._unit(g) for g in on]
        left = -sum(_bounds(unit)[2] - _bounds(unit)[0] for unit in wide) * 1.05 / 2
        for unit in wide:
            x0, y0, x1, y1 = _bounds(unit)
            parts += _moved(unit, left + (x1 - x0) * 1.05 / 2, -radius - (y1 - y0) * (STANDING - 0.5))
            left += (x1 - x0) * 1.05
        before = [g for g, kind in guests if kind == "front" for _ in range(self._groups[g].count)]
        for k, g in enumerate(before):
            side = FRONT[0] * radius * (1 if k % 2 == 0 else -1) * (1 + k // 2)
            parts += _moved(self._unit(g), side, FRONT[1] * radius)
        return parts

    def _fitted(self, unit: list[Part], cell: Cell) -> tuple[list[Part], float]:
        """The unit around the cell's point and no larger than the cell, and by what factor it was made smaller."""
        x0, y0, x1, y1 = _bounds(unit)
        factor = min(1.0, FILL * cell.room[0] / (x1 - x0), FILL * cell.room[1] / (y1 - y0))
        parts = [
            Part(part.group, cell.x + (part.x - (x0 + x1) / 2) * factor, cell.y + (part.y - (y0 + y1) / 2) * factor,
                 part.radius * factor)
            for part in unit
        ]  # fmt: skip
        return parts, factor

    def _box(self, part: Part, corners: Corners) -> Corners:
        before, after = (k * self._short for k in ((EDGE, SHADE) if self._layered else (AROUND, AROUND)))
        edges: list[tuple[float, float]] = []
        for k, centre in enumerate((part.x, part.y)):
            low, high = centre - part.radius - before, centre + part.radius + after
            whole, cell = self._size[k], (corners[k], corners[k + 2])
            edges.append(_snapped(low, high, cell, whole) if self._layered else _rounded(low, high, cell, whole))
        (x0, x1), (y0, y1) = edges
        return x0, y0, x1, y1

    def _crowded(self, boxes: Sequence[Placed]) -> bool:
        """Whether things overlap that have no business with each other."""
        return any(
            _overlap(a.box, b.box) > 1e-3
            and not (self._stands_with(a.group, b.group) or self._stands_with(b.group, a.group))
            for i, a in enumerate(boxes)
            for b in boxes[:i]
        )

    def _stands_with(self, guest: int, host: int) -> bool:
        while guest in self._host:
            guest = self._host[guest][0]
            if guest == host:
                return True
        return False


def _even(count: int, low: float, high: float) -> dict[int, tuple[float, float]]:
    step = (high - low) / count
    return {k: (low + k * step, low + (k + 1) * step) for k in range(count)}


def _spans(used: Sequence[int], low: float, high: float) -> dict[int, tuple[float, float]]:
    """What -1, 0 and 1 take of an axis: halves, or thirds where something stands in the middle as well."""
    if not any(used):
        return {0: (low, high)}
    parts = _even(3 if 0 in used else 2, low, high)
    return {-1: parts[0], 0: parts[1], 1: parts[len(parts) - 1]}


def _grid(count: int, corners: Corners, middle: tuple[float, float] | None = None) -> list[Cell] | None:
    """`count` cells in rows that fill `corners`, as square as can be; None where they are smaller than a token."""
    x0, y0, x1, y1 = corners
    best: tuple[float, int, int] | None = None
    for rows in range(1, count + 1):
        columns = math.ceil(count / rows)
        cell = min((x1 - x0) / columns, (y1 - y0) / rows)
        if cell >= SIDE_STEP - 1e-6 and (best is None or cell > best[0] + 1e-6):
            best = (cell, rows, columns)
    if best is None:
        return None
    centre_x, centre_y = middle or ((x0 + x1) / 2, (y0 + y1) / 2)
    cells = []
    for r, (top, bottom) in _even(best[1], y0, y1).items():
        in_row = count // best[1] + (r < count % best[1])
        for left, right in _even(in_row, x0, x1).values():
            x, y = (left + right) / 2, (top + bottom) / 2
            x, y = centre_x + INWARD * (x - centre_x), centre_y + INWARD * (y - centre_y)
            cells.append(Cell(x, y, (left, top, right, bottom)))
    return cells


def _bounds(unit: Sequence[Part]) -> Corners:
    return (
        min(p.x - p.radius for p in unit), min(p.y - p.radius for p in unit),
        max(p.x + p.radius for p in unit), max(p.y + p.radius for p in unit),
    )  # fmt: skip


def _moved(unit: Sequence[Part], x: float, y: float, within: float = math.inf) -> list[Part]:
    """The unit with its middle at (x, y), at most `within` from its middle to its edges."""
    x0, y0, x1, y1 = _bounds(unit)
    factor = min(1.0, 2 * within / (x1 - x0), 2 * within / (y1 - y0))
    return [
        Part(p.group, x + (p.x - (x0 + x1) / 2) * factor, y + (p.y - (y0 + y1) / 2) * factor, p.radius * factor)
        for p in unit
    ]


def _rounded(low: float, high: float, cell: tuple[float, float], whole: int) -> tuple[float, float]:
    """Edges in 0..1 within the cell, at least a token apart, to four places."""
    width = min(max(high - low, SIDE_STEP), cell[1] - cell[0])
    low = min(max((low + high - width) / 2, cell[0]), cell[1] - width)
    first = max(0.0, math.floor(low / whole * 1e4 + 1e-6) / 1e4)
    end = min(1.0, math.ceil((low + width) / whole * 1e4 - 1e-6) / 1e4)
    while (end - first) * whole < SIDE_STEP:  # what four places cost
        first, end = (first, round(end + 1e-4, 4)) if end < 1 else (round(first - 1e-4, 4), end)
    return first, end


def _snapped(low: float, high: float, cell: tuple[float, float], whole: int) -> tuple[float, float]:
    """Edges in 0..1 on whole tokens: a layer's box grows to them, and what it shows grows with it."""
    tokens = whole // SIDE_STEP
    first, end = (math.floor(edge / SIDE_STEP + 0.5) for edge in cell)
    count = min(max(1, math.ceil((high - low) / SIDE_STEP - SPARE)), end - first)
    start = min(max(round((low + high) / 2 / SIDE_STEP - count / 2), first), end - count)
    return start / tokens, (start + count) / tokens


def _overlap(a: Corners, b: Corners) -> float:
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
