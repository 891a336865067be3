"""Every task, in shapes and settings drawn by chance, rendered together in any order: each comes out as it does alone.

More rows: DIORAMA_ROWS=1000 pytest tests/test_mixture.py -s
"""

from __future__ import annotations

import os
import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests import speaking

SEED = int(os.environ.get("DIORAMA_SEED", "1"))
BOX = {"box": [0.0, 0.0, 0.5, 0.5], "prompt": "a red circle"}
STORY = [
    {"prompt": "a star", "frames": 2},
    {"prompt": "a ring", "frames": 3, "transition": "crossfade", "transition_frames": 1},
]
VIDEO = {"png_frames": True}
KINDS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("text", {"prompt": "a red circle"}),
    ("text", {"prompt": "a blue star", "negative_prompt": "a ring"}),
    ("text", {"prompt": "a star", "frames": 2, **VIDEO}),
    ("scenes", {"scenes": STORY, **VIDEO}),
    ("scenes", {"scenes": STORY[:1], "continue_from": "clip", "size": [64, 64], **VIDEO}),
    ("layout", {"prompt": "a circle", "boxes": [BOX, {**BOX, "box": [0.4, 0.4, 1.0, 1.0]}]}),
    ("layered", {"prompt": "a circle", "layers": [BOX]}),
    (
        "layered",
        {"prompt": "a", "source": "in.png", "size": [64, 64], "layers": [{"box": [0.25, 0.0, 0.75, 1.0]}]},
    ),
    ("masked", {"prompt": "a ring", "source": "in.png", "mask": "mask.png"}),
    ("masked", {"source": "in.png", "mask": "mask.png", "reference": "thing.png"}),
    ("masked", {"prompt": "a ring", "source": "other.png", "outpaint": [16, 0, 16, 16]}),
    ("masked", {"prompt": "a ring", "source": "clip", "keep_frames": "0,3", **VIDEO}),
    ("dubbing", {"source": "talk", "audio": "speech.wav", "window": 4, "overlap": 1, **VIDEO}),
    ("dubbing", {"source": "face.png", "audio": "speech.wav", "region": "portrait", **VIDEO}),
)
ROWS = int(os.environ.get("DIORAMA_ROWS", "0")) or 2 * len(KINDS)


def mixture(folder: Path, model: Path) -> list[dict[str, Any]]:
    """ROWS rows, every kind of KINDS as often as the others, in shapes, lengths and settings drawn by chance."""
    rng, chance = np.random.default_rng(5), random.Random(SEED)
    for name, side in (("in", (64, 64)), ("other", (64, 96)), ("thing", (64, 80))):
        Image.fromarray(rng.integers(0, 256, (*side, 3), np.uint8)).save(folder / f"{name}.png")
    half = np.zeros((64, 64), np.uint8)
    half[:, 32:] = 255
    Image.fromarray(half).save(folder / "mask.png")
    speaking.still(folder / "face.png", speaking.portrait(1)[0])
    speaking.folder_of(folder / "talk", speaking.portrait(5), 25)
    speaking.folder_of(folder / "clip", rng.integers(0, 256, (4, 64, 64, 3), np.uint8), 8)
    speaking.sound(folder / "speech.wav", 0.2)
    found = []
    for number in range(ROWS):
        task, fields = KINDS[number % len(KINDS)]
        row = {"task": task, "model": str(model), "name": f"r{number:05d}", "seed": chance.randrange(1000), **fields}
        if task in ("text", "scenes", "layout", "layered") and "source" not in fields and "continue_from" not in fields:
            row["size"] = chance.choice([[64, 64], [64, 96], [96, 64], [80, 64]])
        row |= {"steps": chance.choice((1, 2, 3)), "guidance": chance.choice((1.0, 2.0))}
        if task == "text" and "frames" in fields:
            row["frames"] = chance.choice((2, 3, 5))
        for field in ("source", "mask", "reference", "audio", "continue_from", "background"):
            if field in row:
                row[field] = str(folder / row[field])
        found.append(row)
    return found


def test_a_mixture_of_all_tasks_in_any_order_gives_what_each_gives_alone(tiny: Path, tmp_path: Path) -> None:
    from pipelines import Studio

    jobs = mixture(tmp_path, speaking.hearing(tiny, tmp_path / "model"))
    shuffled = random.Random(SEED).sample(jobs, len(jobs))
    together = Studio(tmp_path / "together", "cpu").render(shuffled, batch=4)
    assert [result.job.name for result in together] == [job["name"] for job in shuffled]
    compared: Counter[int] = Counter()
    alone = Studio(tmp_path / "alone", "cpu")
    others = {result.job.name: result for result in together}
    for job in jobs:
        (one,) = alone.render([job], batch=1)
        other = others[one.job.name]
        assert one.reason == other.reason == "" and [p.name for p in one.files] == [p.name for p in other.files]
        pictures = [(a, b) for a, b in zip(one.files, other.files, strict=True) if a.suffix == ".png"]
        assert pictures, "there is something to compare"
        for a, b in pictures:
            with Image.open(a) as left, Image.open(b) as right:
                assert left.mode == right.mode and left.size == right.size
                gap = int(np.abs(np.asarray(left).astype(int) - np.asarray(right).astype(int)).max())
            assert gap <= 1, f"{job['task']} {a.name} differs by {gap}"
            compared[gap] += 1
    print(f"{len(jobs)} rows, {compared[0]} pictures equal, {compared[1]} within 1/255")
