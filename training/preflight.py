"""The preflight: before a model is loaded, every example is decoded once and everything wrong is told in one report.

Errors stop a run, warnings do not. What can be wrong is in `data/findings.py`, the checks of one example in
`data/checks.py`; here are those that look at several, the estimates, and the report. Nothing here loads torch.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from models.checkpoint import CheckpointError, describe
from pipelines.refusal import Refusal, on_one_line

from .data import sources
from .data.buckets import Bucket
from .data.checks import Checked, check
from .data.config import DataConfig
from .data.costs import GIB, Costs, costs, speed
from .data.dataset import Dataset, held_out
from .data.example import Example
from .data.findings import ERRORS, WARNINGS, Finding
from .data.likeness import pairs
from .data.order import Order, Placed
from .data.wordcount import too_long
from .tune import TuneConfig

SHOWN = 20  # findings of one kind in the text; JSON has all


@dataclass(frozen=True)
class Crop:
    """What cropping takes of an example: `share` of it, at its `sides`."""

    example: str
    share: float
    sides: str  # left and right | top and bottom


@dataclass(frozen=True)
class Report:
    """What the preflight found.

    Attributes:
        examples: how many there are.
        usable: how many can be trained on.
        kinds: how many there are of each kind.
        captioned: how many have captions.
        buckets: how many usable examples each has.
        crops: of the examples that lose anything, the most first.
        findings: errors first, in the order of ERRORS and WARNINGS.
        costs: None where nothing is usable.
        checked: the examples themselves; those that are usable have a shape, so that a run need not measure again.
    """

    examples: int
    usable: int
    kinds: dict[str, int]
    captioned: int
    buckets: dict[Bucket, int]
    crops: tuple[Crop, ...]
    findings: tuple[Finding, ...]
    costs: Costs | None
    checked: tuple[Checked, ...] = ()

    @property
    def errors(self) -> list[Finding]:
        """What stops the run."""
        return [finding for finding in self.findings if finding.level == "error"]

    @property
    def warnings(self) -> list[Finding]:
        """What does not."""
        return [finding for finding in self.findings if finding.level == "warning"]

    def to_json(self) -> dict[str, Any]:
        """Plain values, for programs."""
        return {
            "examples": self.examples,
            "usable": self.usable,
            "kinds": self.kinds,
            "captioned": self.captioned,
            "buckets": [
                {"size": list(bucket.size), "frames": bucket.frames, "examples": count}
                for bucket, count in sorted(self.buckets.items())
            ],
            "cropped": [asdict(crop) for crop in self.crops],
            "errors": [_plain(finding) for finding in self.errors],
            "warnings": [_plain(finding) for finding in self.warnings],
            "costs": None if self.costs is None else self.costs.to_json(),
        }

    def text(self) -> str:
        """The report for people."""
        kinds = ", ".join(f"{count} {_counted(kind, count)}" for kind, count in sorted(self.kinds.items()))
        lines = [f"{self.examples} examples ({kinds or 'none'}), {self.captioned} with captions, {self.usable} usable"]
        if self.buckets:
            told = " · ".join(f"{bucket}: {count}" for bucket, count in sorted(self.buckets.items()))
            lines.append(f"buckets  {told}")
            most = ", ".join(f"{crop.share:.1%} of {crop.example} ({crop.sides})" for crop in self.crops[:3])
            lines.append(f"cropped  {len(self.crops)} of {self.usable}, at most {most}" if most else "cropped  none")
        if self.costs is not None:
            lines += _costs_in_words(self.costs)
        for title, found in (("errors", self.errors), ("warnings", self.warnings)):
            lines.append(f"{title}  {len(found) or 'none'}")
            for kind, count in Counter(finding.kind for finding in found).items():
                shown = [finding for finding in found if finding.kind == kind][:SHOWN]
                lines += [f"  {kind:<16} {finding}" for finding in shown]
                if count > SHOWN:
                    lines.append(f"  {kind:<16} and {count - SHOWN} more; --json tells all")
        return "\n".join(map(on_one_line, lines))  # names of files may hold anything


def preflight(run: TuneConfig, progress: Callable[[int, int], None] = lambda done, total: None) -> Report:
    """Check everything that a run will read.

    Args:
        run: the run.
        progress: is told how many examples of how many are checked.

    Raises:
        Refusal: the checkpoint to start from can not be had.
    """
    try:
        description = describe(run.start_from)
    except CheckpointError as error:
        raise Refusal("start_from", str(error)) from None
    found = sources.index(run.data.sources)
    findings, judge = list(found.findings), too_long(description)
    checked = []
    for number, example in enumerate(found.examples, 1):
        checked.append(check(example, run.data, judge))
        progress(number, len(found.examples))
    findings += [finding for each in checked for finding in each.findings]
    findings += _duplicates(checked)
    usable = [each for each in checked if each.usable]
    order = _order(run, usable)
    estimate = None
    if order is not None:
        findings += _small_buckets(order)
        captions = [caption for each in usable for caption in each.example.captions]
        estimate = costs(description, order, run.loop.steps, captions, run.cache, speed(), run.loop.accumulate)
        findings += _room(run.data, estimate)
    return Report(
        examples=len(checked),
        usable=len(usable),
        kinds=dict(Counter(each.example.kind for each in checked)),
        captioned=sum(bool(each.example.captions) for each in checked),
        buckets=dict(Counter(each.bucket for each in usable if each.bucket is not None)),
        crops=_crops(usable),
        findings=tuple(sorted(findings, key=lambda finding: RANK[finding.kind])),
        costs=estimate,
        checked=tuple(checked),
    )


def dataset(run: TuneConfig, report: Report) -> Dataset:
    """The data of a run whose preflight has no errors, without looking at any file again.

    Raises:
        Refusal: there are no examples.
    """
    usable = [(each.example, each.shape) for each in report.checked if each.usable and each.shape is not None]
    examples, shapes = [example for example, _ in usable], [shape for _, shape in usable]
    return Dataset(run.data, examples, shapes, run.loop.batch, run.seed)


def report_of(run: TuneConfig, *, as_json: bool, progress: Callable[[int, int], None]) -> Report:
    """The preflight of a run, printed in words or as JSON; for `progress` see `preflight`."""
    report = preflight(run, progress)
    print(json.dumps(report.to_json(), ensure_ascii=False, indent=1) if as_json else report.text())
    return report


RANK = {kind: rank for rank, kind in enumerate((*ERRORS, *WARNINGS))}


def _order(run: TuneConfig, usable: Sequence[Checked]) -> Order | None:
    apart = held_out([each.example.name for each in usable], run.held_out.share)
    placed = [
        Placed(each.example.name, each.bucket, each.example.captions, each.example.weight, each.example.repeats)
        for each in usable
        if each.bucket is not None and each.example.name not in apart
    ]
    return Order(placed, run.loop.batch, run.seed, crops=run.data.crops) if placed else None


def _duplicates(checked: Sequence[Checked]) -> list[Finding]:
    """Examples that look like an earlier one."""
    seen: list[tuple[Example, Any]] = [(each.example, each.looks) for each in checked if each.looks is not None]
    told = []
    for number, earlier in pairs([looks for _, looks in seen]):
        hint = "it counts twice; take one away unless that is meant"
        told.append(Finding("duplicate", seen[number][0].name, f"looks like {seen[earlier][0].name}, so {hint}"))
    return told


def _small_buckets(order: Order) -> list[Finding]:
    """Buckets that do not fill a batch in an epoch."""
    names: dict[Bucket, list[str]] = {}
    shown: dict[Bucket, float] = {}
    for placed in order.placed:
        names.setdefault(placed.bucket, []).append(placed.name)
        shown[placed.bucket] = shown.get(placed.bucket, 0.0) + placed.repeats
    found = []
    for bucket, those in sorted(names.items()):
        if shown[bucket] < order.size(bucket):
            few = f"one example only ({those[0]})" if len(those) == 1 else f"{len(those)} examples only"
            hint = "lower loop.batch, give repeats, or crop to a common shape"
            found.append(
                Finding(
                    "small-bucket", f"the bucket {bucket}", f"has {few} for batches of {order.size(bucket)}; {hint}"
                )
            )
    return found


def _room(config: DataConfig, estimate: Costs) -> list[Finding]:
    """Whether disk and memory will do."""
    found = []
    if estimate.latents > estimate.free:
        reason = f"needs {estimate.latents / GIB:.1f} GiB and {estimate.free / GIB:.1f} GiB are free; set data.cache"
        found.append(Finding("disk", "the cache", reason))
    if estimate.machine is not None and estimate.memory_adapter > estimate.machine:
        reason = (
            f"needs {estimate.memory_adapter / GIB:.1f} GiB and more, this machine has {estimate.machine / GIB:.1f}; "
            f"lower loop.batch or resolution ({config.resolution})"
        )
        found.append(Finding("memory", "a step", reason))
    return found


def _crops(usable: Sequence[Checked]) -> tuple[Crop, ...]:
    """What is cut off of which examples."""
    found = []
    for each in usable:
        if each.crop > 0 and each.shape is not None and each.bucket is not None:
            wide = each.shape.width * each.bucket.h > each.shape.height * each.bucket.w
            found.append(Crop(each.example.name, each.crop, "left and right" if wide else "top and bottom"))
    return tuple(sorted(found, key=lambda crop: (-crop.share, crop.example)))


def _plain(finding: Finding) -> dict[str, str]:
    return {"kind": finding.kind, "where": finding.where, "reason": finding.reason}


def _counted(kind: str, count: int) -> str:
    words = {"picture": "picture", "video": "video", "frames": "clip of frames"}
    many = {"picture": "pictures", "video": "videos", "frames": "clips of frames"}
    return words[kind] if count == 1 else many[kind]


def _costs_in_words(found: Costs) -> list[str]:
    memory = f"{found.memory_all / GIB:.2f} GiB to train every weight, {found.memory_adapter / GIB:.2f} GiB an adapter"
    seconds = "" if found.seconds is None else f", at least {_duration(found.seconds)} on this machine's processors"
    return [
        f"steps    {found.steps_an_epoch} an epoch; the run's are {found.epochs:.1f} epochs, {found.samples} samples",
        f"time     {found.flops / 1e12:,.1f} Tflop in all{seconds}",
        f"memory   at least {memory}",
        f"disk     {found.latents / GIB:.2f} GiB of caches, {found.free / GIB:.1f} GiB free",
    ]


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
