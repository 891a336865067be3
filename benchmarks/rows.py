"""Thousands of rows: `python -m benchmarks.rows`. How soon the first is rendered, and what memory the last ones take.

`diorama render` is run as a process of its own on a file of rows, all of them small pictures of one step so that there
are many. It tells when its first unit begins, since the process was started, and its resident memory at every unit.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from training.papercut import World

EDGE = 100  # rows at either end whose memory is compared
# The command with an eye on its engine: a line of JSON a unit, on standard error.
COMMAND = """
import json, sys, time
from pathlib import Path
import torch
torch.set_num_threads(int(sys.argv[1]))
from pipelines import cli
from pipelines.engine import Engine, groups

PAGE = 4096

class Watched(Engine):
    def begin(self, jobs, progress):
        resident = int(Path("/proc/self/statm").read_text().split()[1]) * PAGE
        print(json.dumps([time.time(), len(jobs), resident]), file=sys.stderr, flush=True)
        return super().begin(jobs, progress)

sys.exit(cli.main(["render", *sys.argv[2:], "--quiet"], engine=(Watched("cpu"), groups)))
"""


def rows(count: int, size: int) -> str:
    """`count` jobs as JSON Lines, each with a caption of its own."""
    world = World(7, split="unseen", placement="canonical")
    job = {"task": "text", "size": [size, size], "steps": 1, "guidance": 1.0}
    told = [{**job, "prompt": world.scene(number).caption, "seed": number} for number in range(count)]
    return "".join(json.dumps(one) + "\n" for one in told)


def render(file: Path, out: Path, threads: int) -> tuple[float, list[tuple[float, int, int]]]:
    """Run the command; when it was started, and its units: time, rows, bytes."""
    words = [sys.executable, "-c", COMMAND, str(threads), str(file), "--out", str(out)]
    started = time.time()
    done = subprocess.run(words, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    lines = [line for line in done.stderr.splitlines() if line.startswith("[")]
    return started, [tuple(json.loads(line)) for line in lines]


def edge(units: Sequence[tuple[float, int, int]]) -> float:
    """Mean resident memory, in MiB, over the first hundred rows of `units`."""
    taken, found = 0, []
    for _, together, resident in units:
        if taken >= EDGE:
            break
        taken += together
        found.append(resident / 2**20)
    return statistics.mean(found)


def main() -> None:
    """Print versions, the seconds to the first unit, and memory at both ends."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--size", type=int, default=64, help="pixels a side (default: 64)")
    options = parser.parse_args()
    print(
        f"torch {torch.__version__}, Python {platform.python_version()}, cpu, {options.threads} threads,"
        f" {os.cpu_count()} processors; {options.rows:,} rows of {options.size} x {options.size} pixels, one step"
    )
    with tempfile.TemporaryDirectory() as top:
        file, out = Path(top, "rows.jsonl"), Path(top, "out")
        file.write_text(rows(options.rows, options.size))
        started, units = render(file, out, options.threads)
        total = sum(together for _, together, _ in units)
        print(
            f"first unit {units[0][0] - started:.2f} s after the process began; {len(units):,} units of {total:,} rows,"
            f" the last {units[-1][0] - started:.1f} s after"
        )
        first, last = edge(units), edge(units[::-1])
        half = edge(units[len(units) // 2 :])
        print(
            f"resident memory: first {EDGE} rows {first:.0f} MiB, in the middle {half:.0f}, last {EDGE} {last:.0f}:"
            f" {last / first:.3f} times"
        )
        again, more = render(file, out, options.threads)
        assert not more
        print(f"the same command again: {time.time() - again:.2f} s, nothing rendered")


if __name__ == "__main__":
    main()
