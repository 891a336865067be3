"""The dry run against the record: `python -m benchmarks.estimate`, or `make bench`.

One process foretells, `diorama render --dry-run`, and another one renders the same file, as a person would do it. Every
job's estimated seconds and peak memory are divided by what its record says; PASS is within 30 %. A machine that does
other things in one of the two minutes and not in the other shows it in the seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipelines.files.output import versions

ROOT = Path(__file__).resolve().parent.parent
WITHIN = 0.3
SHAPE = {"size": [128, 128]}
PROMPT = "a red circle in a meadow"


def diorama(folder: Path, jobs: list[dict[str, Any]], *options: str) -> str:
    """Render `jobs` into `folder`/out with the command line; what it printed."""
    file = folder / "jobs.json"
    file.write_text(json.dumps(jobs))
    words = [sys.executable, "-m", "pipelines.cli", "render", str(file), "--out", str(folder / "out"), "--quiet"]
    surroundings = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run([*words, *options], env=surroundings, check=True, capture_output=True, text=True).stdout


def sources(folder: Path) -> dict[str, str]:
    """A picture, a video as PNG frames, and a mask with a hole in the middle; their paths."""
    text = {"task": "text", "prompt": PROMPT, "steps": 2, **SHAPE}
    diorama(folder, [{**text, "name": "picture"}, {**text, "name": "clip", "frames": 8, "png_frames": True}])
    mask = np.zeros((128, 128), np.uint8)
    mask[40:88, 40:88] = 255
    Image.fromarray(mask).save(folder / "mask.png")
    return {
        "picture": str(folder / "out" / "picture.png"),
        "clip": str(folder / "out" / "clip"),
        "mask": str(folder / "mask.png"),
    }


def jobs_of(paths: dict[str, str]) -> list[dict[str, Any]]:
    """One job of each kind, and four pictures that share a batch."""
    text = {"task": "text", "prompt": PROMPT, **SHAPE}
    masked = {"task": "masked", "prompt": PROMPT}
    scenes = [{"prompt": PROMPT, "frames": 8}, {"prompt": "a red circle by the sea", "frames": 12}] * 2
    return [
        *({**text, "name": f"picture of four {i}", "seed": i} for i in range(1, 5)),
        {**text, "name": "one large picture", "size": [192, 192], "steps": 50},
        {**text, "name": "a picture by heun", "scheduler": "heun", "guidance_interval": [0.2, 0.8], "size": [160, 128]},
        {**text, "name": "text to video", "frames": 16},
        {**masked, "name": "inpaint", "source": paths["picture"], "mask": paths["mask"]},
        {**masked, "name": "predict", "source": paths["clip"], "keep_frames": "0-3", "frames": 16},
        {"task": "scenes", "name": "four scenes", "scenes": scenes, "size": [96, 96]},
        {"task": "scenes", "name": "one shot", "cuts": False, "scenes": scenes, "size": [64, 64]},
    ]


def main() -> int:
    """Print a row for each job and the verdict; the exit status."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        jobs = jobs_of(sources(folder))
        foretold = [json.loads(line) for line in diorama(folder, jobs, "--dry-run").splitlines()]
        diorama(folder, jobs)
        records = [json.loads((folder / "out" / f"{line['name']}.json").read_text()) for line in foretold]
    told = ", ".join(f"{package} {number}" for package, number in versions().items())
    load = f", load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors" if hasattr(os, "getloadavg") else ""
    print(f"{told}; {platform.machine()}, {records[0]['device']}{load}")
    good = True
    for line, record in zip(foretold, records, strict=True):
        cells = []
        for key, unit in (("seconds", 1.0), ("peak_memory", 2**20)):
            ratio = line[key] / record[key]
            good &= abs(ratio - 1) <= WITHIN
            cells.append(f"{line[key] / unit:8.2f} of {record[key] / unit:8.2f} ({ratio:4.2f})")
        print(f"{line['name']:<18} {line['tokens']:>6} tokens   seconds {cells[0]}   MiB {cells[1]}")
    print(f"{'PASS' if good else 'NOT PASSED'}: estimate of measured (their ratio), within {WITHIN:.0%}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
