"""What an edit costs: a six-scene video, and again with one prompt changed: `python -m benchmarks.reuse`.

Both renders are one process with the embedded checkpoint and a store of its own, thrown away afterwards. Evaluations
are counted at the transformer, a guided call as two.
"""

from __future__ import annotations

import argparse
import platform
import tempfile
from pathlib import Path

import diffusers
import numpy as np
import torch

from pipelines.engine import Engine
from pipelines.job import Job, parse

SCENES = (
    "a small red star moves right in a meadow",
    "a small red star bounces by the sea",
    "a small red star spins under a night sky",
    "a small red star grows in a meadow",
    "a small red star moves up by the sea",
    "a small red star stays still under a night sky",
)
EDITED, INSTEAD = 3, "a small red star shrinks by the sea"


def story(prompts: list[str], options: argparse.Namespace) -> Job:
    """The job: a scene for each prompt."""
    return parse({
        "task": "scenes",
        "size": [options.side, options.side],
        "steps": options.steps,
        "scenes": [{"prompt": prompt, "frames": options.frames} for prompt in prompts],
    })  # fmt: skip


def main() -> None:
    """Render twice and print what both took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--side", type=int, default=64, help="pixels of a square frame (default: 64)")
    parser.add_argument("--frames", type=int, default=8, help="frames of a scene (default: 8)")
    parser.add_argument("--steps", type=int, default=24, help="sampling steps (default: 24)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    edited = [INSTEAD if i == EDITED else prompt for i, prompt in enumerate(SCENES)]
    rows: list[int] = []
    with tempfile.TemporaryDirectory() as folder:
        engine = Engine(cache=Path(folder))
        checkpoint = engine.checkpoint("papercut")
        checkpoint.transformer.register_forward_pre_hook(lambda _module, inputs: rows.append(len(inputs[0])))
        print(
            f"torch {torch.__version__}, diffusers {diffusers.__version__}, Python {platform.python_version()},"
            f" {checkpoint.device}, {options.threads} threads; {len(SCENES)} scenes of {options.frames} frames of"
            f" {options.side} x {options.side}, {options.steps} steps, guidance 3"
        )
        told = []
        for name, prompts in (("in full", list(SCENES)), ("one prompt changed", edited)):
            rows.clear()
            result = engine.render([story(prompts, options)], lambda step, steps: True)[0]
            told.append((sum(rows), float(result.record["seconds"]), np.asarray(result.frames)))
            print(
                f"{name:<20} {sum(rows):>5} model evaluations, {told[-1][1]:7.2f} s,"
                f" {result.record['scenes_rendered']} of {len(SCENES)} scenes rendered"
            )
    (full, long, before), (part, short, after) = told
    kept = [i for i in range(len(SCENES)) if i != EDITED]
    of = [slice(i * options.frames, (i + 1) * options.frames) for i in range(len(SCENES))]
    same = all(np.array_equal(before[of[i]], after[of[i]]) for i in kept)
    print(
        f"the edit took 1/{full / part:.1f} of the evaluations and 1/{long / short:.1f} of the time;"
        f" the other scenes are {'the same bytes' if same else 'NOT THE SAME'}"
    )


if __name__ == "__main__":
    main()
