"""A batch: it goes on where it was stopped, tells what became of each row, and loses nothing."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipelines import cli
from pipelines.farm import station
from pipelines.farm.manifest import FOLDER, Entry, Manifest, read_manifest
from pipelines.farm.units import SIZES, STEPS, USUAL, Sizes, best_size, cut
from pipelines.farm.watch import changed
from pipelines.files import atomic
from pipelines.files.output import OutputFolder
from pipelines.job import Job, parse
from pipelines.refusal import Refusal, Refused
from tests.fakes import FakeEngine, groups

KILLS = int(os.environ.get("DIORAMA_KILLS", "6"))
SEED = int(os.environ.get("DIORAMA_SEED", "1"))


class Call:
    """`diorama render` of rows in a folder of its own."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.capsys, self.out = folder, capsys, folder / "out"
        self.engine = FakeEngine()

    def __call__(self, *prompts: str, options: Sequence[str] = ("--batch", "2"), **more: Any) -> int:
        rows = [row(prompt, number, **more) for number, prompt in enumerate(prompts, 1)]
        file = self.folder / "rows.jsonl"
        file.write_text("".join(json.dumps(one) + "\n" for one in rows))
        self.engine.batches.clear()
        status = cli.main(["render", str(file), "--out", str(self.out), *options], engine=(self.engine, groups))
        self.said, self.complained = self.capsys.readouterr()
        return status

    @property
    def rendered(self) -> list[list[str]]:
        """The names of the rows of each unit that the engine saw."""
        return [[job.name or "" for job in batch] for batch in self.engine.batches]

    @property
    def states(self) -> dict[str, str]:
        return {entry.name: entry.state for entry in read_manifest(self.out / FOLDER / "manifest.jsonl")}

    def shown(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.out.glob("*.png")}


def row(prompt: str, number: int, **more: Any) -> dict[str, Any]:
    return {
        "task": "text",
        "prompt": prompt,
        "size": [16, 16],
        "steps": 2,
        "name": f"r{number}",
        "seed": number,
        **more,
    }


@pytest.fixture
def call(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Call:
    return Call(tmp_path, capsys)


# ------------------------------------------------------------ going on


def test_the_same_command_renders_nothing_twice_and_says_so(call: Call) -> None:
    assert call("a", "b", "c") == 0 and call.rendered == [["r1", "r2"], ["r3"]]
    before = call.shown()
    assert call("a", "b", "c") == 0 and call.rendered == []
    assert call.shown() == before and "3 of 3 rendered" in call.said and "3 of them by an earlier call" in call.said
    assert call("a", "b", "c", options=("--again", "--batch", "2")) == 0 and len(call.rendered) == 2
    assert call.shown() == before


def test_what_failed_or_was_deleted_is_rendered_by_the_next_call_in_the_unit_that_it_had(call: Call) -> None:
    assert call("a", "b", "fail", "d") == 1
    assert call.states == {"r1": "done", "r2": "done", "r3": "failed", "r4": "done"}
    reason = read_manifest(call.out / FOLDER / "manifest.jsonl")[2].reason
    assert reason.startswith("RuntimeError: out of memory") and reason in call.complained
    (call.out / "r1.png").unlink()
    kept = (call.out / "r2.png").stat().st_ino
    call.engine._one = lambda job, one=call.engine._one: one(job.model_copy(update={"prompt": "mended"}))  # type: ignore[method-assign]
    assert call("a", "b", "fail", "d") == 0
    assert call.rendered == [["r1", "r2"], ["r3", "r4"]], "whole units, so that bytes are what they would have been"
    assert (call.out / "r2.png").stat().st_ino == kept, "what was there is not written again"
    assert set(call.states.values()) == {"done"}


def test_another_seed_another_picture_to_start_from_or_other_weights_are_another_row(
    call: Call, tmp_path: Path
) -> None:
    call("a")
    call("a", seed=5)
    assert call.rendered and call.states == {"r1": "done", "r1-2": "done"}
    call.engine.weights = lambda model: "trained further"  # type: ignore[method-assign]
    call("a", seed=5)
    assert call.rendered, "the same name, drawn by another model"


def test_rows_that_fail_have_further_tries(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    tries = []
    one = call.engine._one

    def at_third(job: Any) -> Any:
        if job.prompt == "b":
            tries.append(job)
            if len(tries) < 4:  # the unit's, its own, and again
                raise RuntimeError("busy")
        return one(job)

    monkeypatch.setattr(call.engine, "_one", at_third)
    assert call("a", "b", options=("--batch", "2", "--retries", "2")) == 0
    assert call.states == {"r1": "done", "r2": "done"} and "r2 failed" in call.complained


def test_only_and_limit_render_a_part(call: Call) -> None:
    assert call("a", "b", "c", "d", options=("--only", "r[24]", "--batch", "1")) == 0
    assert call.rendered == [["r2"], ["r4"]] and call.states["r1"] == "waiting"
    assert call("a", "b", "c", "d", options=("--limit", "1", "--batch", "1")) == 0 and call.rendered == [["r1"]]
    assert call("a", "b", "c", "d", options=("--limit", "1", "--batch", "1")) == 0 and call.rendered == [["r3"]]
    assert call("a", options=("--only", "nobody")) == 2
    assert "--only: expected the name of a row" in call.complained


def test_rows_that_are_wrong_are_refused_together_or_left_out(call: Call) -> None:
    file = call.folder / "mixed.jsonl"
    good, bad = row("a", 1), row("b", 2, steps=-1)
    file.write_text(f"{json.dumps(good)}\n{json.dumps(bad)}\n{json.dumps(row('refuse', 3))}\n[]\n")
    words = ["render", str(file), "--out", str(call.out)]
    assert cli.main(words, engine=(call.engine, groups)) == 2
    refused = call.capsys.readouterr().err.splitlines()
    assert len(refused) == 2 and not call.out.exists(), "those of the schema first: the others are not looked at yet"
    assert "document 2, field steps: " in refused[0] and "document 4: expected a mapping" in refused[1]
    assert cli.main([*words, "--keep-going"], engine=(call.engine, groups)) == 1
    refused = call.capsys.readouterr().err.splitlines()
    assert [line for line in refused if "document 3, field model" in line and line.endswith("it is left out")]
    assert [path.name for path in call.out.glob("*.png")] == ["r1.png"]


def test_a_folder_stands_for_its_job_files(call: Call) -> None:
    folder = call.folder / "jobs"
    folder.mkdir()
    for name in ("b.jsonl", "a.json", ".hidden.json", "notes.txt"):
        (folder / name).write_text(json.dumps(row(name, 1, name=None)))
    assert cli.main(["render", str(folder), "--out", str(call.out)], engine=(call.engine, groups)) == 0
    assert [job.prompt for batch in call.engine.batches for job in batch] == ["a.json", "b.jsonl"]  # type: ignore[union-attr]
    (call.folder / "none").mkdir()
    assert cli.main(["render", str(call.folder / "none")], engine=(call.engine, groups)) == 2
    assert "expected a folder with files that end in" in call.capsys.readouterr().err


# ------------------------------------------------------------ the folder's state


def test_a_disk_that_fills_up_pauses_the_batch_and_the_same_command_goes_on(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    save, full = OutputFolder.save, [False]

    def until_full(self: OutputFolder, job: Job, stem: str, rendered: Any) -> Any:
        if stem == "r3" and full[0]:
            raise OSError(28, "No space left on device")
        return save(self, job, stem, rendered)

    monkeypatch.setattr(OutputFolder, "save", until_full)
    full[0] = True
    assert call("a", "b", "c", "d") == 1
    assert "the disk is full (No space left on device); 2 of 4 are there, and nothing is lost" in call.complained
    assert call.states == {"r1": "done", "r2": "done", "r3": "waiting", "r4": "waiting"}, "nothing failed"
    full[0] = False
    assert call("a", "b", "c", "d") == 0 and call.rendered == [["r3", "r4"]]


def test_a_read_only_folder_is_told_and_a_full_one_is_no_traceback(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(atomic.os, "replace", closed)
    assert call("a") == 1
    assert call.complained.startswith("diorama: the manifest can not be written (Read-only file system); nothing is lo")


def test_a_manifest_whose_last_line_was_cut_is_read_and_a_broken_one_is_refused(tmp_path: Path) -> None:
    manifest = Manifest(tmp_path)
    assert manifest.open() == {}
    first, second = Entry("a", "1", "f", 1), Entry("b", "2", "f", 2)
    manifest.begin([first, second])
    manifest.note(first.done({"a.png": "0" * 64}, 1.0))
    manifest.close()
    whole = manifest.path.read_bytes()
    for end in range(whole.index(b"\n", 200) + 1, len(whole)):
        manifest.path.write_bytes(whole[:end])
        assert [entry.state for entry in read_manifest(manifest.path)] == ["waiting", "waiting"][
            : whole[:end].count(b"\n")
        ]
    manifest.path.write_bytes(whole)
    assert [(entry.name, entry.state) for entry in read_manifest(manifest.path)] == [("a", "done"), ("b", "waiting")]
    manifest.path.write_bytes(b"{}\n" + whole)
    with pytest.raises(Refusal, match="line 1: expected a row of a manifest"):
        read_manifest(manifest.path)


def test_a_manifest_on_a_full_disk_lets_go_of_its_folder(tmp_path: Path) -> None:
    manifest = Manifest(tmp_path)
    manifest.open()
    manifest.begin([Entry("a", "1", "f", 1)])
    stream = manifest._stream
    assert stream is not None
    manifest._stream = Path("/dev/full").open("a")  # noqa: SIM115 - what is written is not taken, and closing says so
    with pytest.raises(OSError, match="No space"):
        manifest.note(Entry("a", "1", "f", 1, "done"))
    manifest.close()
    stream.close()
    again = Manifest(tmp_path)
    assert [entry.state for entry in again.open().values()] == ["waiting"]
    again.close()


def test_two_batches_do_not_share_a_folder(call: Call) -> None:
    other = Manifest(call.out)
    other.open()
    assert call("a") == 2 and "another batch is at work" in call.complained and call.rendered == []
    other.close()
    assert call("a") == 0


def test_the_report_and_the_contact_sheet_tell_of_all_rows(call: Call) -> None:
    call("a", "fail", "c")
    report = json.loads((call.out / FOLDER / "report.json").read_text())
    assert (report["rows"], report["done"], report["failed"], report["waiting"]) == (3, 2, 1, 0)
    assert report["groups"]["text 16 x 16, 2 steps, papercut"]["done"] == 2
    assert report["spans"].keys() == {"prompts", "denoising", "decoding", "writing"} and report["rows_per_second"] > 0
    with Image.open(call.out / FOLDER / "contact-1.png") as sheet:
        assert sheet.size == (8 + 2 * 136, 8 + 150)
    before = (call.out / FOLDER / "contact-1.png").stat().st_ino
    assert call("a", "fail", "c", options=("--only", "r1")) == 0 and call.rendered == []
    assert (call.out / FOLDER / "contact-1.png").stat().st_ino == before, (
        "nothing was rendered, so it is not drawn anew"
    )


# ------------------------------------------------------------ units


@given(st.lists(st.integers(0, 3), max_size=40), st.integers(1, 7))
def test_units_hold_every_row_once_in_groups_and_no_more_than_their_size(kinds: list[int], size: int) -> None:
    jobs = [parse(row("a", number, steps=1 + kind)) for number, kind in enumerate(kinds)]
    units = [unit for group in groups(jobs) for unit in cut(group, size)]
    assert sorted(i for unit in units for i in unit) == list(range(len(kinds)))
    assert all(len(unit) <= size and len({kinds[i] for i in unit}) == 1 for unit in units)


def test_a_unit_grows_while_that_is_faster_and_measuring_is_cheap(tmp_path: Path) -> None:
    jobs = [parse(row("a", number, steps=24)) for number in range(200)]
    asked: list[int] = []

    def pace(some: Sequence[Job]) -> float:
        asked.append(len(some))
        return 1.0 / min(len(some), 8)  # no gain above eight

    assert best_size(jobs, pace) == 8 and asked == [1, 2, 4, 8, 16]
    assert STEPS * sum(asked) <= 0.03 * 200 * 24
    asked.clear()
    sizes = Sizes(tmp_path / "sizes.json")
    keys = [str(number) for number in range(200)]
    assert sizes.of(keys, jobs, pace) == 8 and sizes.of(keys, jobs, pace) == 8 and len(asked) == 5
    assert Sizes(tmp_path / "sizes.json").of(keys, jobs, pace) == 8 and len(asked) == 5, "kept for the next call"
    assert sizes.of(keys[:3], jobs[:3], pace) == USUAL and len(asked) == 5, "too few to be worth it"

    def tight(some: Sequence[Job]) -> float:
        if len(some) > 2:
            raise MemoryError
        return 1.0 / len(some)

    assert best_size(jobs, tight) == 2 and SIZES[0] == 1


def test_hundreds_of_rows_begin_with_a_small_unit_and_hold_every_row_once(call: Call) -> None:
    call.engine.step_seconds = lambda jobs: 1.0 / len(jobs)  # type: ignore[method-assign]
    assert call(*["a"] * 600, options=("--quiet",), steps=24) == 0
    sizes = [len(batch) for batch in call.engine.batches]
    assert sizes[0] == USUAL and set(sizes[1:-1]) == {SIZES[-1]} and sum(sizes) == 600
    assert len({job.name for batch in call.engine.batches for job in batch}) == 600
    assert call(*["a"] * 600, options=("--quiet",), steps=24) == 0 and call.rendered == []
    assert len(list((call.out / FOLDER).glob("contact-*.png"))) == 6


# ------------------------------------------------------------ kills

DRIVER = """
import sys, time
from pipelines import cli
from tests.fakes import FakeEngine, groups

class Slow(FakeEngine):
    def render(self, jobs, progress):
        time.sleep(0.02)
        return super().render(jobs, progress)

sys.exit(cli.main(["render", *sys.argv[1:]], engine=(Slow(), groups)))
"""


def test_kills_at_random_moments_leave_whole_files_and_the_final_set_is_the_same(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps(row("a", number)) + "\n" for number in range(1, 41)))

    def start(out: Path) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", DRIVER, str(rows), "--out", str(out), "--batch", "3", "--quiet"]
        return subprocess.Popen(command, cwd=Path(__file__).parents[1])

    def shown(out: Path) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in out.glob("*.png")}

    assert start(tmp_path / "calm").wait() == 0
    expected = shown(tmp_path / "calm")
    chance, left, round_, hits = random.Random(SEED), KILLS, 0, 0
    while left:
        out, round_ = tmp_path / f"round-{round_}", round_ + 1
        while True:
            driver = start(out)
            if not left:
                assert driver.wait() == 0
                break
            deadline = time.monotonic() + chance.uniform(0.0, 1.5)
            while time.monotonic() < deadline or not (out / FOLDER / "manifest.jsonl").exists():
                if driver.poll() is not None:
                    break
                time.sleep(0.005)
            if driver.poll() is not None:
                assert driver.returncode == 0
                break
            driver.send_signal(signal.SIGKILL)
            driver.wait()
            left, hits = left - 1, hits + 1
            there = shown(out)
            assert all(expected[name] == data for name, data in there.items()), "whole, or not there"
            read_manifest(out / FOLDER / "manifest.jsonl")
        assert shown(out) == expected
        entries = read_manifest(out / FOLDER / "manifest.jsonl")
        assert len(entries) == 40 and {entry.state for entry in entries} == {"done"}
        assert not [path for path in out.glob("*.png") if path.name not in expected]
    assert hits == KILLS


def test_an_error_is_told_in_one_line_with_its_place() -> None:
    try:
        raise ValueError("a\nb")
    except ValueError as error:
        assert station.told(error).startswith("ValueError: a b (at test_batch.py:")


# ------------------------------------------------------------ from Python


def test_ten_lines_of_python_render_a_list_of_jobs(tmp_path: Path) -> None:
    from pipelines import Studio

    engine = FakeEngine()
    studio = Studio(tmp_path, engine=(engine, groups))
    results = studio.render([row("a", 1, name=None), parse(row("fail", 2)), row("{a|b}", 3, expand="all")])
    assert [result.job.name for result in results] == [None, "r2", "r3-1", "r3-2"]
    assert [result.path and result.path.name for result in results] == ["text-001.png", None, "r3-1.png", "r3-2.png"]
    assert "out of memory" in results[1].reason and results[0].image.size == (16, 16)
    with pytest.raises(ValueError, match="expected a job that made a picture, got RuntimeError"):
        _ = results[1].image
    engine.batches.clear()
    assert studio.render([row("a", 1, name=None)])[0].path == results[0].path and not engine.batches
    with pytest.raises(Refused, match=r"jobs, document 2, field steps"):
        studio.render([row("a", 1), row("a", 2, steps=0)])


# ------------------------------------------------------------ watching


def test_a_file_counts_when_it_is_written_to_the_end_and_again_when_it_changed(tmp_path: Path) -> None:
    looks: list[Any] = [
        lambda: (tmp_path / "a.jsonl").write_text("half"),
        lambda: (tmp_path / "a.jsonl").write_text("half and the rest"),
        lambda: (tmp_path / "notes.txt").write_text("no jobs"),
        lambda: None,
        lambda: (tmp_path / "b.yaml").write_text("b"),
        lambda: None,
        lambda: (tmp_path / "a.jsonl").write_text("another"),
        lambda: None,
        lambda: tmp_path.rename(tmp_path.with_name("away")),
        lambda: tmp_path.with_name("away").rename(tmp_path),
        lambda: None,
    ]

    def sleep(seconds: float) -> None:
        if not looks:
            raise KeyboardInterrupt
        looks.pop(0)()

    found = []
    with pytest.raises(KeyboardInterrupt):
        for files in changed(str(tmp_path), sleep):
            found.append([Path(file).name for file in files])
    assert found == [["a.jsonl"], ["b.yaml"], ["a.jsonl"]]


def test_a_watch_renders_what_comes_tells_what_is_wrong_and_ends_by_ctrl_c(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = call.folder / "jobs"
    folder.mkdir()
    good, bad, more = (folder / name for name in ("good.jsonl", "bad.jsonl", "more.jsonl"))
    good.write_text(json.dumps(row("a", 1)))
    bad.write_text("{")
    more.write_text(json.dumps(row("b", 2)))

    def three(folder: Path) -> Any:
        yield from ([str(good)], [str(bad)], [str(more)])
        raise KeyboardInterrupt

    monkeypatch.setattr("pipelines.farm.watch.changed", three)
    words = ["render", str(folder), "--watch", "--out", str(call.out)]
    assert cli.main(words, engine=(call.engine, groups)) == 130
    assert sorted(path.name for path in call.out.glob("*.png")) == ["r1.png", "r2.png"]
    assert "bad.jsonl, document 1: is not JSON" in (told := call.capsys.readouterr().err)
    assert "looked at again when it changes" in told
    assert cli.main(["render", str(good), "--watch"], engine=(call.engine, groups)) == 2
    assert "--watch: expected one folder to watch" in call.capsys.readouterr().err
