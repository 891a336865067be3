"""Thirty ways for a row to be wrong: each is refused before anything renders, with its file, row, field and reason."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipelines import cli
from pipelines.engine import Engine, groups

GOOD = {"task": "text", "prompt": "a red circle on a white background", "size": [64, 64], "steps": 1}
BOX = {"box": [0.1, 0.1, 0.6, 0.6], "prompt": "a red circle"}
LAYOUT = {"task": "layout", "prompt": "a red circle", "size": [64, 64], "boxes": [BOX]}
MASKED = {"task": "masked", "prompt": "a red circle", "source": "here.png", "mask": "here.png"}
SCENES = {"task": "scenes", "size": [64, 64], "scenes": [{"prompt": "a red circle", "frames": 4}]}

# What is wrong, the row, the field that is named and a part of the reason.
BAD: dict[str, tuple[Any, str, str]] = {
    "no mapping": ([1, 2], "", "expected a mapping"),
    "no task": ({"prompt": "a"}, "task", "is missing"),
    "unknown task": (GOOD | {"task": "txt"}, "task", "expected one of"),
    "unknown field": (GOOD | {"promt": "a"}, "promt", "prompt"),
    "no prompt": ({"task": "text"}, "prompt", "missing"),
    "empty prompt": (GOOD | {"prompt": "  "}, "prompt", "got an empty text"),
    "prompt that is a number": (GOOD | {"prompt": 7}, "prompt", "expected text"),
    "half a surrogate": (GOOD | {"prompt": "a \ud800"}, "prompt", "surrogate"),
    "prompt of a novel": (GOOD | {"prompt": "a " * 3000}, "prompt", "shorten it"),
    "size of one number": (GOOD | {"size": [64]}, "size", ""),
    "size off the grid": (GOOD | {"size": [65, 64]}, "size", "16"),
    "size that the checkpoint does not draw": (GOOD | {"size": [1024, 1024]}, "size", "draws sides from"),
    "no steps": (GOOD | {"steps": 0}, "steps", ""),
    "steps as text": (GOOD | {"steps": "many"}, "steps", "whole number"),
    "negative seed": (GOOD | {"seed": -1}, "seed", ""),
    "guidance that is no number": (GOOD | {"guidance": "high"}, "guidance", "number"),
    "guidance out of bounds": (GOOD | {"guidance": 99}, "guidance", ""),
    "unknown scheduler": (GOOD | {"scheduler": "fast"}, "scheduler", "euler"),
    "name with a folder": (GOOD | {"name": "../up"}, "name", "plain file name"),
    "name of a device": (GOOD | {"name": "con"}, "name", "device"),
    "name of another row": (GOOD | {"name": "first"}, "name", "rename one"),
    "model that is not here": (GOOD | {"model": "no/such-model-here"}, "model", ""),
    "adapter that is not here": (GOOD | {"adapters": [{"path": "no.safetensors"}]}, "adapters[0]", ""),
    "box upside down": (LAYOUT | {"boxes": [BOX | {"box": [0.6, 0.1, 0.1, 0.6]}]}, "boxes[0].box", "x0 < x1"),
    "box outside": (LAYOUT | {"boxes": [BOX | {"box": [0.1, 0.1, 1.6, 0.6]}]}, "boxes[0].box", ""),
    "box that is no number": (LAYOUT | {"boxes": [BOX | {"box": [float("nan"), 0, 1, 1]}]}, "boxes[0].box", ""),
    "51 boxes": (LAYOUT | {"boxes": [BOX] * 51}, "boxes", "50"),
    "no scenes": (SCENES | {"scenes": []}, "scenes", ""),
    "source that is not here": (MASKED | {"source": "gone.png"}, "source", ""),
    "source that is no picture": (MASKED | {"source": "text.png"}, "source", ""),
    "mask of another size": (MASKED | {"mask": "small.png"}, "mask", ""),
    "nothing to make new": (MASKED | {"mask": None}, "mask", "say which part"),
    "brace that is not closed": (GOOD | {"expand": "all", "prompt": "a {red|blue star"}, "prompt", "not closed"),
    "unknown list": (GOOD | {"expand": "all", "prompt": "a __mood__ star"}, "prompt", ""),
    "unknown way to expand": (GOOD | {"expand": "some"}, "expand", "all or random"),
}


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    found = Engine("cpu")
    yield found
    assert found.loaded == "", "what is refused is refused without the weights"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, side in (("here.png", 64), ("small.png", 32)):
        Image.fromarray(np.full((side, side, 3), 255, np.uint8)).save(tmp_path / name)
    (tmp_path / "text.png").write_text("no picture")
    return tmp_path


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_row_is_refused_with_its_file_row_field_and_reason(
    kind: str, folder: Path, engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    row, field, reason = BAD[kind]
    first, last = (json.dumps(GOOD | {"name": name}) for name in ("first", "last"))
    (folder / "rows.jsonl").write_text(f"{first}\n{json.dumps(row)}\n{last}\n")
    assert cli.main(["render", "rows.jsonl", "--out", "out"], engine=(engine, groups)) == 2
    told = capsys.readouterr().err
    assert len(told.splitlines()) == 1 and "Traceback" not in told
    assert told.startswith("diorama: rows.jsonl, document 2" + (f", field {field}" if field else ""))
    assert reason in told and not (folder / "out").exists()


def test_there_are_thirty_kinds() -> None:
    assert len(BAD) >= 30


def test_keep_going_renders_the_good_ones_among_all_of_them_and_says_how_many_are_left_out(
    folder: Path, tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [GOOD | {"name": "first", "model": str(tiny)}, *(row for row, _, _ in BAD.values())]
    rows.append(GOOD | {"name": "last", "model": str(tiny)})
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ["render", "rows.jsonl", "--out", "out", "--keep-going"]
    assert cli.main(words, engine=(Engine("cpu"), groups)) == 1
    assert sorted(path.name for path in (folder / "out").glob("*.png")) == ["first.png", "last.png"]
    told = capsys.readouterr().err.splitlines()
    assert sum(line.endswith("it is left out") for line in told) + sum("more are refused" in line for line in told) > 29
