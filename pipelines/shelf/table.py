"""The shelf in a terminal: `diorama models`, as a table or as JSON; and how amounts are written for people."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, TextIO

from pipelines.shelf.shelf import Shelved

COLUMNS = ("MODEL", "KEPT", "TASKS", "PARAMETERS", "ON DISK", "MEMORY AT {size}")
PLACES = {"embedded": "embedded", "folder": "folder", "start": "folder", "cache": "hub cache"}
AT_LEAST = "{amount} or more"
NOT_DRAWN = "does not draw it"
UNUSABLE = "not usable: {problem}"


def listing(items: Sequence[Shelved], width: int, height: int, frames: int) -> list[dict[str, Any]]:
    """What is told of each checkpoint, as plain JSON values."""
    return [
        {
            "id": one.id,
            "model": one.model,
            "place": one.place,
            "usable": one.description is not None,
            "problem": one.problem,
            "tasks": list(one.tasks),
            "parameters": one.parameters,
            "bytes": one.bytes,
            "at": {"size": [width, height], "frames": frames, "memory": one.memory(width, height, frames)},
        }
        for one in items
    ]


def tell(items: Sequence[Shelved], width: int, height: int, frames: int, as_json: bool, out: TextIO) -> None:
    """Write the shelf to `out`."""
    if as_json:
        print(json.dumps(listing(items, width, height, frames), ensure_ascii=True, indent=1), file=out)
        return
    size = f"{width} x {height}" + (f" x {frames}" if frames > 1 else "")
    rows = [[column.format(size=size) for column in COLUMNS]]
    for one in items:
        memory = one.memory(width, height, frames)
        told = [", ".join(one.tasks), count_of(one.parameters), bytes_of(one.bytes)]
        last = NOT_DRAWN if memory is None else AT_LEAST.format(amount=bytes_of(memory))
        unusable = [UNUSABLE.format(problem=one.problem)]
        rows.append([one.id, PLACES[one.place], *(unusable if one.description is None else [*told, last])])
    widths = [max(len(row[at]) for row in rows if len(row) == len(COLUMNS)) for at in range(len(COLUMNS))]
    widths[0], widths[1] = (max(len(row[at]) for row in rows) for at in range(2))
    for row in rows:
        print("  ".join(f"{cell:<{wide}}" for cell, wide in zip(row, widths, strict=False)).rstrip(), file=out)


def bytes_of(amount: int) -> str:
    """`22 MB`, `8.1 GB`."""
    return f"{amount / 1e9:.1f} GB" if amount >= 1e9 else f"{max(1, round(amount / 1e6))} MB" if amount else "0 MB"


def count_of(amount: int) -> str:
    """`5.6 M`, `4.0 B`."""
    return f"{amount / 1e9:.1f} B" if amount >= 1e9 else f"{amount / 1e6:.1f} M"
