"""How `diorama train RUN.yaml` begins: which kind of run it is, and the preflight, before anything heavy is loaded."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipelines.refusal import Refusal, Refused

from .data.dataset import Dataset
from .preflight import Report, dataset, report_of
from .tune import TuneConfig, read_tune


def start(
    path: Path | str,
    *,
    device: str = "auto",
    stop_after: int | None = None,
    preflight: bool = False,
    as_json: bool = False,
    heard: Callable[[Report], None] | None = None,
) -> int | None:
    """Train what `path` describes, after the preflight where it has pictures of one's own.

    Args:
        path: the run file.
        device: auto | cpu.
        stop_after: stop each stage after so many further steps and save.
        preflight: stop after the preflight.
        as_json: the report as JSON.
        heard: is given the report as well, whether it has errors or not.

    Returns:
        0 when all went well, 1 when a stage was stopped before its end.

    Raises:
        KeyboardInterrupt: a run on pictures of one's own was asked to stop, and saved.
        Refused: not a run file, or the preflight found errors.
        Refusal: the same, where the whole file is meant.
    """
    path = Path(path)
    run = read_tune(path)
    if run is None:
        if preflight or as_json:
            raise Refused(str(path), 0, "data", "is missing; the preflight checks one's own pictures, name them there")
        found: int | None = importlib.import_module("training.main").train(path, device=device, stop_after=stop_after)
        return found
    if as_json and not preflight:
        raise Refusal("--json", "is a form of the preflight's report; add --preflight")
    if device == "cpu":
        run = run.model_copy(update={"loop": run.loop.model_copy(update={"device": "cpu"})})
    if int(os.environ.get("RANK", "0")):  # another process of the same run tells the preflight
        return 0 if preflight else _loop().train(run, Dataset.open(run.data, run.loop.batch, run.seed), stop_after)
    report = check(path, run, as_json=as_json, heard=heard)
    if preflight:
        return 0
    return _loop().train(run, dataset(run, report), stop_after)


def _loop() -> Any:
    """The loop, which loads torch."""
    return importlib.import_module("training.run.loop")


def check(
    path: Path, run: TuneConfig, *, as_json: bool = False, heard: Callable[[Report], None] | None = None
) -> Report:
    """Say the preflight's report and return it; `preflight.dataset` makes the run's data of it.

    Raises:
        Refused: it has errors.
    """
    report = report_of(run, as_json=as_json, progress=_tell)
    if heard is not None:
        heard(report)
    if report.errors:
        first, count = report.errors[0], len(report.errors)
        more = f", and {count - 1} more above" if count > 1 else ""
        raise Refused(str(path), 0, "data", f"{first}{more}")
    return report


def _tell(done: int, total: int) -> None:
    """A line for every thousand examples: a large set takes minutes."""
    if done % 1000 == 0:
        print(f"checked {done:,} of {total:,}", file=sys.stderr, flush=True)
