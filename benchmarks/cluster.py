"""Batches on a cluster: `python -m benchmarks.cluster`. The same rows by this process, and by actors of a local Ray.

Both ways load their engines anew in each round, and that counts; a first round is not counted, which finds the files
on the disk. All share this machine's processors, so that the ratio tells what the cluster costs and not what it brings;
`--address` measures a real one, against one engine here. An actor of one thread adds in another order than an engine of
two, so that its pictures may differ by 1/255.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import platform
import tempfile
import time
from functools import partial
from pathlib import Path

import ray
import torch

from benchmarks.batch import jobs_of
from pipelines.batch import Options, render
from pipelines.engine import Engine, groups
from pipelines.farm.cluster import Actors, Cluster, begin
from pipelines.farm.crew import Crew
from pipelines.farm.place import Place
from pipelines.files.jobfile import Source
from pipelines.job import TextJob


def rate(crew: Crew | None, jobs: list[TextJob], folder: Path, unit: int) -> float:
    """Rows a second into `folder`."""
    sources = [Source(job, "bench", number) for number, job in enumerate(jobs, 1)]
    options = Options(unit, quiet=True)
    started = time.perf_counter()
    failed = render(
        sources, Engine("cpu"), groups, Place(folder), costs=[1.0] * len(jobs), options=options, crew=crew,
        out=io.StringIO(), err=io.StringIO(),
    )  # fmt: skip
    assert not failed
    return len(jobs) / (time.perf_counter() - started)


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of each picture."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("b*.png")}


def main() -> None:
    """Print versions, then the rate of each way and their ratio, in turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of the engine here")
    parser.add_argument("--actors", type=int, default=2)
    parser.add_argument("--rows", type=int, default=96)
    parser.add_argument("--unit", type=int, default=8)
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--address", help="a cluster that runs; --out must be a folder or an address that it shares")
    parser.add_argument("--out", help="where outputs go (default: a temporary folder)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    begin(options.address)
    print(
        f"ray {ray.__version__}, torch {torch.__version__}, Python {platform.python_version()};"
        f" {options.rows} rows of 128 x 128 pixels, {options.steps} steps, units of {options.unit}"
    )
    jobs = jobs_of(options.rows, options.steps)
    with tempfile.TemporaryDirectory() as temporary:
        top = Path(options.out or temporary)
        alone, many = [], []
        for number in range(options.rounds + 1):  # the first is not counted
            some = jobs if number else jobs[: 2 * options.unit]
            here, there = top / f"here-{number}", top / f"there-{number}"
            crew = Actors(Cluster(options.address, options.actors), Place(there), partial(Engine, None))
            alone.append(rate(None, some, here, options.unit))
            many.append(rate(crew, some, there, options.unit))
            if number:
                same = sum(hashes(here)[name] == found for name, found in hashes(there).items())
                print(
                    f"here {alone[-1]:.3f} rows a second, {options.actors} actors {many[-1]:.3f}:"
                    f" {many[-1] / alone[-1]:.2f}; {same} of {len(some)} pictures are the same bytes"
                )
    ray.shutdown()


if __name__ == "__main__":
    main()
