"""The dry run: what each job would cost here, as a line of JSON on standard output and in words on standard error.

The counts come from the plans; seconds and memory from a rehearsal, one for each shape of batch that a render of the
same files would have. Nothing is written.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from pipelines.estimate import Estimate
from pipelines.farm.station import told
from pipelines.files.jobfile import Source
from pipelines.files.output import OutputFolder
from pipelines.job import Job, ScenesJob
from pipelines.measure import Rehearsal
from pipelines.progress import duration
from pipelines.renderer import Groups, Renderer


def dry_run(
    sources: Sequence[Source],
    estimates: Sequence[Estimate],
    renderer: Renderer,
    groups: Groups,
    folder: OutputFolder,
    *,
    batch: int,
    quiet: bool,
    out: TextIO,
    err: TextIO,
) -> int:
    """Print what `sources` would cost, in their order; the number of those whose rehearsal failed.

    Args:
        sources: the jobs.
        estimates: what `check_all` found for them.
        renderer: rehearses.
        groups: tells which jobs share a batch.
        folder: where they would be written; only asked for their names.
        batch: jobs rendered at once, at most.
        quiet: say only what went wrong on `err`.
        out: where the JSON goes, an object a line.
        err: where the words go.
    """
    jobs = [source.job for source in sources]
    stems = [folder.claim(source.job, source.document) for source in sources]
    waiting: dict[int, dict[str, Any]] = {}
    failed = done = 0
    for group in groups(jobs):
        known: dict[int, tuple[Rehearsal | None, int, str]] = {}
        for start in range(0, len(group), batch):
            ids = group[start : start + batch]
            if len(ids) not in known:
                if not quiet:
                    many = f" and {len(ids) - 1} more" if len(ids) > 1 else ""
                    print(f"rehearsing {stems[ids[0]]}{many}", file=err, flush=True)
                known[len(ids)] = _rehearse(renderer, [jobs[i] for i in ids])
            found, together, problem = known[len(ids)]
            for i in ids:
                waiting[i] = cost(sources[i], stems[i], estimates[i], found, together)
                if problem:
                    print(f"{stems[i]} failed its rehearsal: {problem}", file=err)
                    failed += 1
        while done in waiting:  # as soon as all before it are known, so that a reader in a pipe sees them come
            line = waiting.pop(done)
            print(json.dumps(line, allow_nan=False), file=out, flush=True)
            if not quiet:
                print(describe(line), file=err, flush=True)
            done += 1
    if not quiet:
        print(f"{len(sources)} of {len(sources)} right; a dry run writes nothing", file=err)
    return failed


def _rehearse(renderer: Renderer, jobs: list[Job]) -> tuple[Rehearsal | None, int, str]:
    """What rendering `jobs` at once would take, how many that are, and what went wrong."""
    problem = ""
    try:
        return renderer.rehearse(jobs), len(jobs), ""
    except Exception as error:
        problem = told(error)
    # As in a render: those that are too many at once go alone.
    return _rehearse(renderer, jobs[:1]) if len(jobs) > 1 else (None, 1, problem)


def cost(source: Source, stem: str, estimate: Estimate, found: Rehearsal | None, together: int) -> dict[str, Any]:
    """A dry run's object about one job; `found` is of a batch of `together` jobs."""
    job, resolved = source.job, dict(estimate.resolved)
    size, frames = shape(job, resolved)
    return {
        "file": source.file,
        "document": source.document,
        "name": stem,
        "task": job.task,
        "size": size,
        "frames": frames,
        "steps": job.steps,
        "batch": together,
        "tokens": estimate.tokens,
        "pairs": estimate.pairs,
        "dense_pairs": estimate.dense_pairs,
        "flops": estimate.flops,
        "seconds": found and found.seconds,
        "peak_memory": found and found.peak_memory,
        "warnings": list(estimate.warnings),
        "resolved": resolved,
    }


def shape(job: Job, resolved: Mapping[str, Any]) -> tuple[list[int] | None, int | None]:
    """Width and height, and frames of the result: as the pipeline found them, or as the job says."""
    size = resolved.get("size", getattr(job, "size", None))
    frames = getattr(job, "frames", None)
    if isinstance(job, ScenesJob):
        frames = sum(scene.frames for scene in job.scenes)
    return None if size is None else list(size), resolved.get("frames", frames)


def describe(line: Mapping[str, Any]) -> str:
    """The object of `cost` in words."""
    what = [line["task"]]
    if line["size"]:
        what.append(f"{line['size'][0]} x {line['size'][1]}")
    if line["frames"]:
        what.append(f"{line['frames']:,} frame{'s' * (line['frames'] > 1)}")
    what.append(f"{line['steps']} step{'s' * (line['steps'] > 1)}")
    counts = f"{line['tokens']:,} tokens, {line['pairs']:,} of {line['dense_pairs']:,} pairs, {line['flops']:.3g} FLOPs"
    words = f"{line['name']}: {', '.join(what)}: {counts}"
    if line["seconds"] is not None:
        words += f", {_time(line['seconds'])}, {line['peak_memory'] / 2**30:.2f} GiB at most"
        if line["batch"] > 1:
            words += f" ({line['batch']} at once)"
    return "\n".join([words, *(f"{line['name']}: warning: {warning}" for warning in line["warnings"])])


def _time(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 10 else duration(seconds)
