"""The batch renderer behind `diorama render`: checks all rows, renders what is not there yet, says what became of them.

It drives a crew (`farm/crew.py`) and keeps the manifest (`farm/manifest.py`) of the output folder, so that the same
command goes on where it was stopped.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TextIO

from pipelines.estimate import Estimate
from pipelines.farm.contact import write_sheets
from pipelines.farm.crew import Alone, Crew
from pipelines.farm.manifest import FILE, FOLDER, Entry, Manifest, key_of
from pipelines.farm.place import Place
from pipelines.farm.report import FILE as REPORT
from pipelines.farm.report import Report
from pipelines.farm.station import Outcome, Row
from pipelines.farm.units import USUAL, Sizes, cut
from pipelines.files.jobfile import Source
from pipelines.files.output import OutputFolder
from pipelines.job import Job, ScenesJob
from pipelines.progress import Progress, duration
from pipelines.refusal import Refusal, Refused, on_one_line
from pipelines.renderer import Groups, Renderer, Step

GOES_ON = "nothing is lost: the same command goes on when this is mended"
STATE = (f"{FOLDER}/{FILE}", f"{FOLDER}/sizes.json")  # what a batch goes on from
LISTED = 50  # outputs that are listed in the end; of more, the manifest and the contact sheets tell


@dataclass(frozen=True)
class Options:
    """How a batch is rendered.

    Attributes:
        batch: rows of a unit at most; None measures what is fastest.
        again: render also what is there already.
        only: names, or patterns such as `star-*`, of the rows to render; empty is all.
        limit: rows to render at most; None is all.
        retries: further tries of a row that failed.
        quiet: say only what went wrong.
    """

    batch: int | None = None
    again: bool = False
    only: Sequence[str] = ()
    limit: int | None = None
    retries: int = 0
    quiet: bool = False


def check_all(sources: Sequence[Source], renderer: Renderer) -> tuple[list[Estimate | None], list[Refused]]:
    """The cost of every job, None for one that can not be rendered; and why those can not."""
    estimates: list[Estimate | None] = []
    refused = []
    for source in sources:
        try:
            estimates.append(renderer.check(source.job))
        except Refusal as refusal:
            estimates.append(None)
            refused.append(Refused(source.file, source.document, refusal.field, refusal.reason))
    return estimates, refused


class Halted(Exception):
    """The folder takes no files now: one sentence. Nothing that was rendered is lost."""


@dataclass
class Batch:
    """The rows of one call on their way into a folder.

    Attributes:
        entries: of the manifest, by index.
        selected: the rows that this call renders unless they are there.
        failed: rows that failed in this call.
    """

    sources: Sequence[Source]
    renderer: Renderer
    crew: Crew
    place: Place
    options: Options
    manifest: Manifest
    entries: list[Entry]
    selected: list[int]
    report: Report
    progress: Progress
    failed: list[int] = field(default_factory=list)
    last_try: bool = True
    positions: dict[int, int] = field(default_factory=dict)  # of selected rows, in their order
    begun: int = 0
    working: Sequence[int] = ()  # positions of the unit at work

    @classmethod
    def begin(
        cls,
        sources: Sequence[Source],
        renderer: Renderer,
        place: Place,
        costs: Sequence[float],
        options: Options,
        err: TextIO,
        crew: Crew | None = None,
    ) -> Batch:
        """A batch with its names claimed and nothing rendered; `costs` are in proportion to one another.

        Raises:
            Refusal: no row is called as `only` says, or another batch is at work in the folder.
            Halted: the folder takes no files.
        """
        manifest = Manifest(place.folder)
        try:
            place.begin(STATE)
            known = manifest.open()
            entries = _entries(sources, renderer, place, known)
            selected = _selected(entries, options)
            kept = {entry.name for entry in entries}
            manifest.begin([*(entry for entry in known.values() if entry.name not in kept), *entries])
            place.back_up(STATE, now=True)
        except OSError as error:
            manifest.close()
            raise Halted(f"the manifest can not be written ({error.strerror})") from None
        except Refusal:
            manifest.close()
            raise
        return cls(
            sources,
            renderer,
            crew or Alone(renderer, place),
            place,
            options,
            manifest,
            entries,
            selected,
            Report(len(selected)),
            Progress(err, [costs[i] for i in selected], options.quiet),
        )

    def run(self, groups: Groups) -> None:
        """Render all that is selected and not there yet. A row that fails is told, and the others go on.

        Raises:
            Halted: the folder takes no files; what could not be written waits.
        """
        wanted = {i for i in self.selected if self.options.again or not self._is_there(i)}
        self.report.there = len(self.selected) - len(wanted)
        self.positions = {i: number for number, i in enumerate(self.selected)}
        for i in self.selected:
            if i not in wanted:
                self.progress.skip(self.positions[i])
        for tries_left in reversed(range(1 + self.options.retries)):
            self.failed, self.last_try = [], not tries_left
            self.crew.run(self._units(groups, wanted), self._deliver, self._steps)
            if not self.failed:
                break
            wanted = set(self.failed)

    def close(self) -> None:
        """Write the report and the contact sheets, and let others have the folder."""
        self.progress.clear()
        try:
            self.report.write(self.place.folder / FOLDER)
            sheets = self._sheets()
            beside = [f"{FOLDER}/{REPORT}", *(f"{FOLDER}/{sheet.name}" for sheet in sheets)]
            self.place.back_up([*STATE, *beside], now=True)
        except OSError as error:
            self.progress.say(f"the report can not be written: {error.strerror}", urgent=True)
        self.manifest.close()

    def _sheets(self) -> list[Path]:
        """Contact sheets of this call's rows; none where it rendered nothing and theirs are there already."""
        written = self.written
        newest = max((self.entries[i].finished or 0.0 for i in written), default=0.0)
        if not self.report.done and self.place.since(f"{FOLDER}/contact-1.png") >= newest:
            return []
        self.place.gather(list(self.entries[i].files)[-1] for i in written)
        return write_sheets([(self.entries[i].name, path) for i, path in written.items()], self.place.folder / FOLDER)

    @property
    def written(self) -> dict[int, Path]:
        """The picture or video of each selected row that is done, by index."""
        done = [i for i in self.selected if self.entries[i].state == "done"]
        return {i: self.place.folder / list(self.entries[i].files)[-1] for i in done}

    def _is_there(self, i: int) -> bool:
        entry = self.entries[i]
        names = [*entry.files, f"{entry.name}.json"]
        return entry.state == "done" and all(self.place.has(name) for name in names)

    def _units(self, groups: Groups, wanted: set[int]) -> Iterator[list[Row]]:
        """Units of all selected rows, without those of which nothing is wanted."""
        sizes = Sizes(self.place.folder / FOLDER / "sizes.json")
        for places in groups([self.sources[i].job for i in self.selected]):
            group = [self.selected[place] for place in places]
            if wanted.isdisjoint(group):
                continue
            for unit in self._cut(group, wanted, sizes):
                if not wanted.isdisjoint(unit):
                    yield [self._row(i, i in wanted) for i in unit]

    def _cut(self, group: Sequence[int], wanted: set[int], sizes: Sizes) -> Iterator[list[int]]:
        """The units of a group. Where their size is measured, that is not what somebody waits for first."""
        if self.options.batch:
            yield from cut(group, self.options.batch)
            return
        yield list(group[:USUAL])
        rest = group[USUAL:]
        if not wanted.isdisjoint(rest):
            keys, jobs = [self.entries[i].key for i in rest], [self.sources[i].job for i in rest]
            try:
                size = sizes.of(keys, jobs, self.crew.step_seconds)
                self.place.back_up(STATE, now=sizes.grown)
            except OSError as error:
                raise Halted(f"what was measured can not be written ({error.strerror})") from None
            yield from cut(rest, size)

    def _row(self, i: int, wanted: bool) -> Row:
        source = self.sources[i]
        return Row(i, source.job, self.entries[i].name, source.expanded_from, wanted)

    def _steps(self, rows: Sequence[Row]) -> Step:
        places = [self.positions[row.index] for row in rows if row.wanted]
        first = self.report.there + self.begun + 1
        self.begun += len(places)
        # What is denoised counts, though it may still be decoded and written while these rows are at work.
        for place in self.working:
            self.progress.finish(place)
        self.working = places

        def report(step: int, steps: int) -> bool:
            self.progress.step(first, places, step, steps)
            return True

        return report

    def _deliver(self, outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:
            if outcome.halt:
                raise Halted(outcome.halt)
            self._note(outcome, len(outcomes))

    def _note(self, outcome: Outcome, together: int) -> None:
        i = outcome.index
        source, before = self.sources[i], self.entries[i]
        if outcome.reason:
            self.entries[i] = before.failed(outcome.reason, outcome.seconds)
            self.failed.append(i)
        else:
            self.entries[i] = before.done(outcome.files, outcome.seconds)
        try:
            self.manifest.note(self.entries[i])
            self.place.back_up(STATE)
        except OSError as error:
            raise Halted(f"the manifest can not be written ({error.strerror})") from None
        if self.last_try or not outcome.reason:
            self.report.add(source.job, outcome, together)
        name = before.name
        if outcome.reason:
            place = f"{source.file}, document {source.document}"
            self.progress.say(f"{name} failed ({place}): {outcome.reason}", urgent=True)
            return
        for warning in outcome.warnings:
            self.progress.say(f"{name}: warning: {warning}")
        if not self.progress.moving:
            over = self.report.there + self.report.done + self.report.failed
            path = self.place.shown(list(outcome.files)[-1])
            self.progress.say(f"{over} of {len(self.selected)}: {path} in {duration(outcome.seconds)}")

    def pictures(self) -> Iterator[tuple[str, str]]:
        """What the pictures and videos are called, in the order of the rows, each with its prompt."""
        for i in self.written:
            yield self.place.shown(list(self.entries[i].files)[-1]), words_of(self.sources[i].job)


def _entries(sources: Sequence[Source], renderer: Renderer, place: Place, known: dict[str, Entry]) -> list[Entry]:
    """A row of the manifest for each source: the one it had, or a new one under a name that is free."""
    target = OutputFolder(place.folder)
    target.take(place.others())
    before: dict[str, list[Entry]] = {}
    for entry in known.values():
        before.setdefault(entry.key, []).append(entry)
    weights = {model: renderer.weights(model) for model in {source.job.model for source in sources}}
    keys = [key_of(source.job, renderer.inputs(source.job), weights[source.job.model]) for source in sources]
    found: list[Entry | None] = []
    for source, key in zip(sources, keys, strict=True):
        mine = before.get(key)
        found.append(mine.pop(0) if mine else None)
        if (had := found[-1]) is not None:
            target.reserve(source.job, had.name)
    return [
        entry or Entry(target.claim(source.job, source.document), key, source.file, source.document)
        for source, key, entry in zip(sources, keys, found, strict=True)
    ]


def _selected(entries: Sequence[Entry], options: Options) -> list[int]:
    """Indices of the rows that a call is about."""
    for pattern in options.only:
        if not any(fnmatchcase(entry.name, pattern) for entry in entries):
            raise Refusal("--only", f"expected the name of a row, or a pattern such as 'star-*', got {pattern!r}")
    found = [
        i
        for i, entry in enumerate(entries)
        if not options.only or any(fnmatchcase(entry.name, pattern) for pattern in options.only)
    ]
    if options.limit is None:
        return found
    # What is there does not count, so that one call after another takes the next ones.
    kept, left = [], options.limit
    for i in found:
        fresh = options.again or entries[i].state != "done"
        if fresh and not left:
            continue
        left -= fresh
        kept.append(i)
    return kept


def words_of(job: Job) -> str:
    """What a job shows, as a list of outputs says it: its prompt, or the first of several."""
    if isinstance(job, ScenesJob):
        more = len(job.scenes) - 1
        return on_one_line(job.scenes[0].prompt, 80) + (f" + {more} more" if more else "")
    return getattr(job, "prompt", "")


def render(
    sources: Sequence[Source],
    renderer: Renderer,
    groups: Groups,
    place: Place,
    *,
    costs: Sequence[float],
    options: Options = Options(),
    crew: Crew | None = None,
    out: TextIO | None = None,
    err: TextIO | None = None,
) -> int:
    """Render `sources` into `place` and say where the pictures are; the number of rows that failed or still wait.

    `costs` are what the rows cost in proportion to one another, such as their FLOPs: the time left is told by them.

    Raises:
        Refusal: see `Batch.begin`.
    """
    out, err = out or sys.stdout, err or sys.stderr
    try:
        work = Batch.begin(sources, renderer, place, costs, options, err, crew)
    except Halted as reason:
        print(f"diorama: {reason}; {GOES_ON}", file=err)
        return len(sources)
    try:
        work.run(groups)
    except Halted as reason:
        work.progress.clear()
        done = work.report.there + work.report.done
        print(f"diorama: {reason}; {done} of {len(work.selected)} are there, and {GOES_ON}", file=err)
        return len(work.selected) - done
    finally:
        work.close()
        if not options.quiet and work.written:
            _tell(work, out)
    return len(work.failed)


def _tell(work: Batch, out: TextIO) -> None:
    report, written = work.report, list(work.pictures())
    there = f", {report.there} of them by an earlier call" if report.there else ""
    took = duration(report.seconds)
    print(f"{len(written)} of {len(work.selected)} rendered in {took}{there}, in {work.place.name}:", file=out)
    for path, prompt in written[:LISTED]:
        print(f"  {path}  {on_one_line(prompt, 100)}".rstrip(), file=out)
    if len(written) > LISTED:
        print(
            f"  and {len(written) - LISTED} more; {work.place.shown(FOLDER)} has the manifest and contact sheets",
            file=out,
        )
    for line in report.words():
        print(line, file=out)
