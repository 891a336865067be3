"""An evaluation run: captions that no training run has seen, rendered in batches, read back and counted by attribute.

    python assets/examples/evaluation.py papercut --count 100 --out out/evaluation

What the folder has already is not rendered again, so a run that was stopped goes on; `out/evaluation/batch` has the
manifest and the contact sheets. Every row's caption, verdict and reading go to `verdicts.jsonl`.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path

import numpy as np

from pipelines import Studio
from training.judging import ATTRIBUTES, judge
from training.papercut import World
from training.parser import read


def main() -> None:
    """Print the share of pictures that are right in each attribute."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="papercut")
    parser.add_argument("--count", type=int, default=100, help="captions (default: 100)")
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--out", type=Path, default=Path("out/evaluation"))
    options = parser.parse_args()
    world = World(2024, split="unseen", placement="canonical")
    scenes = [world.scene(number) for number in range(options.count)]
    told = {"task": "text", "model": options.model, "size": [128, 128], "steps": options.steps, "guidance": 2.0}
    jobs = [
        {**told, "prompt": scene.caption, "seed": number, "name": f"case-{number:04d}"}
        for number, scene in enumerate(scenes)
    ]
    right: Counter[str] = Counter()
    lines = []
    for scene, result in zip(scenes, Studio(options.out).render(jobs), strict=True):
        reading = read(np.asarray(result.image.convert("RGB")))
        verdict = judge(reading, scene)
        right.update(name for name in (*ATTRIBUTES, "exact") if getattr(verdict, name))
        lines.append(json.dumps({"caption": scene.caption, "exact": verdict.exact, "read": reading.words}) + "\n")
    (options.out / "verdicts.jsonl").write_text("".join(lines))
    for name in (*ATTRIBUTES, "exact"):
        print(f"{name:>10}: {right[name] / options.count:.3f}")


if __name__ == "__main__":
    main()
