"""A run that was stopped, killed, interrupted or given other workers is bit for bit the run that was not."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load

from tests.running import LOOP, TWO, pictures, rows, run_file, state, train
from tests.test_help import ROOT
from training.run.learner import Learner

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> Path:
    """A folder whose `run` went to its end at once."""
    top = tmp_path_factory.mktemp("whole")
    assert train(run_file(top, tiny)) == 0
    return top


def test_stops_at_an_epochs_end_and_inside_one_change_nothing(whole: Path, tiny: Path) -> None:
    # Three batches an epoch, two a step: step 2 goes over the end of an epoch, step 3 ends with one.
    parts = whole / "parts"
    for steps, workers in ((1, 0), (1, 2), (1, 1), (2, 0)):
        path = run_file(whole, tiny, "parts", loop=LOOP | {"workers": workers})
        assert train(path, "--stop-after", str(steps)) == (0 if steps == 2 else 1)
    assert state(parts, 4) == state(whole / "run", 4)
    made, expected = (load((folder / "adapter.safetensors").read_bytes()) for folder in (parts, whole / "run"))
    assert made.keys() == expected.keys() and all(torch.equal(made[name], expected[name]) for name in made)
    assert train(path) == 0, "a run that is done says so again"


@pytest.mark.parametrize("kind", ["dora", "scale_shift", "soft_prompt", "siamese", "full"])
def test_every_kind_goes_on_exactly(kind: str, tmp_path: Path, tiny: Path) -> None:
    for number in range(6):
        pictures(tmp_path / "pictures")
        (tmp_path / "pictures" / f"{number}.bbox").write_text(f"blipp 0.5 0.5 0.5 {0.3 + number / 10}")
    sections = {"train": {"kind": kind}, "loop": LOOP | {"steps": 2, "precision": "float32", "checkpointing": True}}
    if kind not in ("dora",):
        sections["train"] = {"kind": kind, "rank": None}
    made = {}
    for folder, stops in (("whole", 1), ("parts", 2)):
        path = run_file(tmp_path, tiny, folder, **sections)
        for _ in range(stops):
            train(path, *(("--stop-after", "1") if stops == 2 else ()))
        made[folder] = state(tmp_path / folder, 2)
    assert made["whole"] == made["parts"]
    tensors = load(made["whole"])
    first = load(state(tmp_path / "parts", 1))
    assert any(not torch.equal(tensors[name], first[name]) for name in tensors if name.startswith("weight/"))


def test_ctrl_c_ends_the_step_saves_and_is_told_by_the_exit_status(
    whole: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    path, real = run_file(whole, tiny, "interrupted"), Learner.step

    def step(self: Learner, number: int, tally: torch.Tensor) -> tuple[float, torch.Tensor]:
        if number == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return real(self, number, tally)

    monkeypatch.setattr(Learner, "step", step)
    assert train(path) == 130
    assert (whole / "interrupted" / "adapter.safetensors").is_file(), "it can be tried at once"
    assert "stopped at step 2" in capsys.readouterr().out
    monkeypatch.undo()
    assert train(path) == 0
    assert state(whole / "interrupted", 4) == state(whole / "run", 4)


def test_a_broken_checkpoint_gives_way_to_the_one_before(whole: Path, tiny: Path, capsys: Capture) -> None:
    path, folder = run_file(whole, tiny, "broken", keep={"every": 1}), whole / "broken"
    assert train(path, "--stop-after", "3") == 1
    broken = folder / "state-00000003" / "state.safetensors"
    data = bytearray(broken.read_bytes())
    data[-1] ^= 1
    broken.write_bytes(data)
    capsys.readouterr()
    assert train(path) == 0
    out = capsys.readouterr().out
    assert "the checkpoint of step 3 is broken (state.safetensors is not what was written)" in out
    assert "goes on at step 2" in out
    assert state(folder, 4) == state(whole / "run", 4)
    for each in folder.glob("state-*"):
        (each / "manifest.json").unlink()
    assert train(path) == 1
    err = capsys.readouterr().err
    assert "none of the checkpoints" in err and err.count("\n") == 1


@pytest.mark.slow
def test_a_kill_at_a_random_moment_costs_only_what_came_after_the_last_checkpoint(whole: Path, tiny: Path) -> None:
    chance = random.Random(time.time_ns())
    path, folder = run_file(whole, tiny, "killed", keep={"every": 1}, log={"every": 1}), whole / "killed"
    for goal in sorted(chance.sample(range(1, 4), 2)):
        words = [sys.executable, "-m", "pipelines.cli", "train", str(path)]
        with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.DEVNULL) as process:
            while process.poll() is None and not ((folder / "log.jsonl").exists() and len(rows(folder)) >= goal):
                time.sleep(0.002)
            time.sleep(chance.random() * 0.1)
            process.kill()
    assert train(path) == 0
    assert state(folder, 4) == state(whole / "run", 4)
    assert [row["step"] for row in rows(folder)] == [1, 2, 3, 4], "steps that were done twice are told once"


@pytest.mark.slow
def test_two_processes_go_on_exactly_and_do_what_one_does(whole: Path, tiny: Path) -> None:
    def launch(path: Path, *more: str) -> None:
        words = [*TWO, "-m", "pipelines.cli", "train", str(path), *more]
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == (1 if more else 0), done.stderr[-2000:]
        assert done.stdout.count("2 processes train together") == 1, "one process speaks for all"

    # Five samples in batches of two: one of the processes gets a sample again, which must not count.
    odd, more = whole / "odd", {"loop": LOOP | {"precision": "float32"}}
    pictures(odd / "pictures", 5)
    assert train(run_file(odd, tiny, **more)) == 0
    launch(run_file(odd, tiny, "two", **more))
    parts = run_file(odd, tiny, "parts", **more)
    launch(parts, "--stop-after", "3")
    launch(parts)
    assert state(odd / "two", 4) == state(odd / "parts", 4)
    one, two = load(state(odd / "run", 4)), load(state(odd / "two", 4))
    assert one.keys() == two.keys()
    for name in one:
        if name.startswith("weight/"):
            torch.testing.assert_close(two[name], one[name], atol=2e-4, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("who", ["both", "one"])
def test_two_processes_go_on_exactly_after_a_kill(who: str, whole: Path, tiny: Path) -> None:
    command = [*TWO, "-m", "pipelines.cli", "train"]
    more: Any = {"loop": LOOP | {"steps": 12}, "keep": {"every": 1}}
    calm, killed = (run_file(whole, tiny, f"{name}-{who}", **more) for name in ("calm", "killed"))
    assert subprocess.run([*command, str(calm)], cwd=ROOT, capture_output=True).returncode == 0
    run = subprocess.Popen([*command, str(killed)], cwd=ROOT)
    while not (whole / f"killed-{who}" / "state-00000003").exists():
        assert run.poll() is None
        time.sleep(0.01)
    ranks = _ranks(run.pid)
    assert len(ranks) == 2
    for each in (run.pid, *ranks) if who == "both" else ranks[1:]:
        os.kill(each, signal.SIGKILL)
    assert run.wait(120) != 0, "the one that is left does not wait for the other for ever"
    assert not (whole / f"killed-{who}" / "state-00000012").exists()
    assert subprocess.run([*command, str(killed)], cwd=ROOT, capture_output=True).returncode == 0
    assert state(whole / f"killed-{who}", 12) == state(whole / f"calm-{who}", 12)


def _ranks(launcher: int) -> list[int]:
    """The processes that a launcher has started."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            with suppress(OSError):
                words = (folder / "stat").read_text().rpartition(")")[2].split()
                if int(words[1]) == launcher and b"pipelines.cli" in (folder / "cmdline").read_bytes():
                    found.append(int(folder.name))
    return found


# ------------------------------------------------------------ what may not be


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"loop": LOOP | {"lr": 0.02}}, "loop.lr: was 0.01"),
        ({"train": {"rank": 4}}, "train.rank: was 2"),
        ({"held_out": {"share": 0.3}}, "held_out.share: was 0.0"),
    ],
)
def test_another_run_in_the_same_folder_is_refused(
    change: dict[str, dict[str, object]], words: str, whole: Path, tiny: Path, capsys: Capture
) -> None:
    assert train(run_file(whole, tiny, **change)) == 2
    assert words in capsys.readouterr().err


def test_other_pictures_are_refused_and_more_steps_are_not(whole: Path, tiny: Path, capsys: Capture) -> None:
    top = whole / "longer"
    shutil.copytree(whole / "pictures", top / "pictures")
    assert train(run_file(top, tiny), "--stop-after", "1") == 1
    assert train(run_file(top, tiny, loop=LOOP | {"steps": 5}), "--stop-after", "1") == 1
    pictures(top / "other", 7)
    shutil.move(top / "other" / "6.png", top / "pictures" / "0.png")
    assert train(run_file(top, tiny)) == 2
    assert "field" not in capsys.readouterr().err
