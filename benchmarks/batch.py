"""Batches against a loop over stock calls: `python -m benchmarks.batch`, or `make bench`.

The same text jobs, two ways in one run, with the same checkpoint, threads and number format, both loaded and warm:

- stock: a loop over calls of diffusers' `Flux2KleinPipeline`, each picture saved as a PNG;
- batch: `pipelines.batch.render`, with its manifest, records, hashes, report and contact sheets.

The stock loop is timed on some of the jobs, half of them before the batch and half after it.
"""

from __future__ import annotations

import argparse
import io
import json
import platform
import statistics
import tempfile
import time
from pathlib import Path

import diffusers
import numpy as np
import torch
from diffusers import Flux2KleinPipeline
from PIL import Image

from models.checkpoint import describe
from pipelines.batch import Options, render
from pipelines.engine import Engine, groups
from pipelines.farm.manifest import FOLDER
from pipelines.farm.place import Place
from pipelines.files.jobfile import Source
from pipelines.job import TextJob, parse
from training.papercut import World

COUNTS = (200, 8, 1)
LEAST = 8  # jobs; smaller batches are rendered several times


def jobs_of(count: int, steps: int) -> list[TextJob]:
    """`count` pictures of 128 x 128, each with a caption of its own."""
    world = World(7, split="unseen", placement="canonical")
    found = []
    for number in range(count):
        told = {"task": "text", "prompt": world.scene(number).caption, "size": [128, 128], "steps": steps}
        job = parse({**told, "guidance": 2.0, "seed": number, "name": f"b{number:04d}"})
        assert isinstance(job, TextJob)
        found.append(job)
    return found


class Stock:
    """diffusers' pipeline, loaded."""

    def __init__(self, folder: Path, length: int, dtype: torch.dtype) -> None:
        self.length = length
        self.pipeline = Flux2KleinPipeline.from_pretrained(folder, torch_dtype=dtype)
        self.pipeline.set_progress_bar_config(disable=True)

    def draw(self, job: TextJob, folder: Path) -> Path:
        """One call, and its picture as a PNG."""
        picture = self.pipeline(
            prompt=job.prompt,
            width=job.size[0],
            height=job.size[1],
            num_inference_steps=job.steps,
            guidance_scale=job.guidance,
            generator=torch.Generator("cpu").manual_seed(job.seed),
            max_sequence_length=self.length,
        ).images[0]
        path = folder / f"{job.name}.png"
        picture.convert("RGB").save(path)
        return path


def measure(engine: Engine, stock: Stock, jobs: list[TextJob], sample: int, top: Path) -> None:
    """Print the row of one size of batch."""
    ours, theirs = top / f"ours-{len(jobs)}", top / f"stock-{len(jobs)}"
    theirs.mkdir()
    taken = jobs[:: max(1, len(jobs) // sample)][:sample]
    times: list[float] = []

    def loop(some: list[TextJob]) -> None:
        for job in some:
            started = time.perf_counter()
            stock.draw(job, theirs)
            times.append(time.perf_counter() - started)

    sources = [Source(job, "bench", number) for number, job in enumerate(jobs, 1)]
    costs, quiet = [1.0] * len(jobs), Options(quiet=True)
    rounds = max(1, LEAST // len(jobs))
    seconds = 0.0
    loop(taken[: len(taken) // 2] or taken)
    for number in range(rounds):
        started = time.perf_counter()
        render(sources, engine, groups, Place(ours / str(number)), costs=costs, options=quiet, err=io.StringIO())
        seconds += (time.perf_counter() - started) / rounds
    loop(taken[len(taken) // 2 :])
    gaps = [
        int(np.abs(_pixels(theirs / f"{job.name}.png") - _pixels(_found(ours, job.name or ""))).max()) for job in taken
    ]
    once = statistics.median(times)
    print(
        f"{len(jobs):>4} jobs: batch {len(jobs) / seconds:.3f} a second, stock {1 / once:.3f} a second (median of"
        f" {len(times)} calls): {once * len(jobs) / seconds:.2f}x; pictures differ by at most {max(gaps)}/255"
    )
    told = json.loads((ours / "0" / FOLDER / "report.json").read_text())
    units = " and ".join(str(group["together"]) for group in told["groups"].values())
    spans = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in told["spans"].items())
    print(f"      units of {units}; {told['seconds']:.2f} s by the clock: {spans}")


def _found(folder: Path, name: str) -> Path:
    return next(folder.glob(f"*/{name}.png"))


def _pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


def main() -> None:
    """Print versions and shapes, then a row for each size of batch."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--counts", type=int, nargs="+", default=list(COUNTS))
    parser.add_argument("--sample", type=int, default=12, help="stock calls for each row (default: 12)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    checkpoint = describe("papercut")
    engine = Engine("cpu")
    dtype = engine.checkpoint("papercut").transformer.dtype
    stock = Stock(checkpoint.folder, checkpoint.prompt_tokens, dtype)
    print(
        f"torch {torch.__version__}, diffusers {diffusers.__version__}, Python {platform.python_version()}, cpu,"
        f" {dtype}, {options.threads} threads; 128 x 128 pixels, {options.steps} steps, guidance 2"
    )
    jobs = jobs_of(max(options.counts), options.steps)
    with tempfile.TemporaryDirectory() as top:
        stock.draw(jobs[0], Path(top))
        for count in options.counts:
            measure(engine, stock, jobs[:count], min(options.sample, 3 * count), Path(top))


if __name__ == "__main__":
    main()
