"""The run on own pictures: what a step is made of, what it leaves behind, and how it ends when something is wrong."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load as unpacked
from torch import Tensor

from models.adapter.file import check_fits, read
from models.checkpoint import describe, load
from pipelines.engine import Engine
from pipelines.files.atomic import TEMPORARY
from pipelines.job import parse
from pipelines.refusal import Refusal
from tests.running import LOOP, pictures, rows, run_file, state, train
from tests.zoo import video
from training.run import checkpoints, optimizers
from training.run.config import LogConfig, StepsConfig
from training.run.inputs import Inputs
from training.run.log import Log
from training.run.objective import Objective
from training.run.steps import Steps

Capture = pytest.CaptureFixture[str]


def quiet(text: str) -> None:
    """Nobody reads it."""


# ------------------------------------------------------------ what a run leaves behind


def test_a_run_leaves_an_adapter_a_log_sheets_and_the_checkpoints_that_were_asked_for(
    tmp_path: Path, tiny: Path, capsys: Capture
) -> None:
    path = run_file(
        tmp_path, tiny, loop=LOOP | {"steps": 5}, log={"every": 2}, keep={"every": 1, "last": 2},
        held_out={"share": 0.34, "times": 2, "every": 2, "examples": 1},
        samples={"prompts": ["a red circle", "a blue star"], "seeds": [1, 2, 3], "every": 4, "steps": 2},
    )  # fmt: skip
    assert train(path) == 0
    folder, out = tmp_path / "run", capsys.readouterr().out
    adapter = read(folder / "adapter.safetensors")
    check_fits(adapter, describe(str(tiny)))
    assert adapter.about is not None and adapter.about.steps == 5 and "blipps" in adapter.about.words
    assert str(folder / "adapter.safetensors") in out.splitlines()[-2] + out.splitlines()[-1]
    log = rows(folder)
    losses = [row for row in log if "loss" in row]
    assert [row["step"] for row in losses] == [2, 4, 5] and all(row["samples_per_second"] > 0 for row in losses)
    assert any("loss_50_75" in row for row in losses)
    looks = {row["step"]: row["held_out"] for row in log if "held_out" in row}
    assert list(looks) == [0, 2, 4, 5] and all("held_out_25" in row for row in log if "held_out" in row)
    best = min([step for step in looks if step], key=looks.__getitem__)
    kept = {int(each.name.removeprefix("state-")) for each in folder.glob("state-*")}
    assert kept == {4, 5, best}
    assert (folder / "adapter-best.safetensors").exists() == (best != 5)
    assert sorted(each.name for each in (folder / "samples").iterdir()) == [
        f"step-{step:08d}.png" for step in (0, 4, 5)
    ]
    assert Image.open(folder / "samples" / "step-00000004.png").size == (3 * 64, 2 * 64)


def test_the_adapter_can_be_tried_while_the_run_goes_on(
    tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = run_file(tmp_path, tiny, samples={"prompts": ["a red circle"], "every": 2, "steps": 1})
    one, seen = Steps.one, {}

    def looking(self: Steps, step: int, *more: Any) -> Any:
        adapter = tmp_path / "run" / "adapter.safetensors"
        seen[step] = about.steps if adapter.exists() and (about := read(adapter).about) else None
        return one(self, step, *more)

    monkeypatch.setattr(Steps, "one", looking)
    assert train(path) == 0
    assert seen == {0: None, 1: None, 2: 2, 3: 2}


def test_the_newest_and_the_best_checkpoints_stay_and_what_a_kill_left_goes(tmp_path: Path) -> None:
    kept = checkpoints.Checkpoints(tmp_path, 2, quiet)
    left = tmp_path / f"{TEMPORARY}0123.tmp"
    left.mkdir()
    for step in range(1, 7):
        kept.save(step, {"weight": torch.full((2,), float(step))}, {"seconds": 0}, best=2 if step > 1 else None)
    assert kept.steps() == [2, 5, 6] and not left.exists()
    assert kept.read(2).tensors["weight"].tolist() == [2, 2]
    (tmp_path / "state-00000006" / "note.json").write_text("{}")
    newest = kept.newest()
    assert newest is not None and newest.step == 5
    kept.save(5, {"weight": torch.zeros(2)}, {"seconds": 0})
    assert kept.steps() == [2, 5, 6], "a later one is a broken one, and takes no whole one's place"


def test_the_same_held_out_loss_is_found_by_every_start(tmp_path: Path, tiny: Path) -> None:
    sections: dict[str, Any] = {"held_out": {"share": 0.34, "every": 1}, "loop": LOOP | {"steps": 2}}
    assert train(run_file(tmp_path, tiny, "one", **sections)) == 0
    two = run_file(tmp_path, tiny, "two", **sections)
    assert train(two, "--stop-after", "1") == 1 and train(two) == 0
    one, other = ([row for row in rows(tmp_path / name) if "held_out" in row] for name in ("one", "two"))
    assert one == other and len(one) == 3


def test_a_job_with_the_adapter_draws_what_the_last_sheet_shows(tmp_path: Path, tiny: Path) -> None:
    samples = {"prompts": ["a red circle"], "seeds": [4], "steps": 3}
    assert train(run_file(tmp_path, tiny, samples=samples, loop=LOOP | {"lr": 0.05})) == 0
    first, last = (np.asarray(Image.open(tmp_path / "run" / "samples" / f"step-{step:08d}.png")) for step in (0, 4))
    values = {"prompt": "a red circle", "size": [64, 64], "seed": 4, "steps": 3, "model": str(tiny)}
    job = parse({"task": "text", **values, "adapters": [{"path": str(tmp_path / "run" / "adapter.safetensors")}]})
    drawn = Engine("cpu").render([job], lambda done, of: True)[0].frames[0]
    assert np.abs(drawn.astype(int) - last).max() <= 1
    assert np.abs(drawn.astype(int) - first).max() > 1, "the adapter does something"


def test_everything_trained_is_a_checkpoint_that_renders(tmp_path: Path, tiny: Path) -> None:
    path = run_file(tmp_path, tiny, loop=LOOP | {"steps": 1, "ema": []})
    path.write_text(path.read_text().replace("kind: lora", "kind: full").replace("  rank: 2\n", ""))
    assert train(path) == 0
    made = load(describe(str(tmp_path / "run" / "checkpoint")))
    before = load(describe(str(tiny)))
    moved = [
        not torch.equal(new, old)
        for new, old in zip(made.transformer.parameters(), before.transformer.parameters(), strict=True)
    ]
    assert any(moved)


def test_clips_train_with_pictures_and_what_is_not_trained_on_is_told(
    tmp_path: Path, tiny: Path, capsys: Capture
) -> None:
    pictures(tmp_path / "pictures", 2)
    layers = tmp_path / "pictures" / "0.layers"
    layers.mkdir()
    Image.new("RGBA", (64, 64), (255, 0, 0, 255)).save(layers / "0.png")
    Image.new("L", (64, 64), 255).save(tmp_path / "pictures" / "1.mask.png")
    video(tmp_path / "pictures" / "clip.mp4")
    assert train(run_file(tmp_path, tiny, data={"frames": [1, 3]}, loop=LOOP | {"steps": 2})) == 0
    out = capsys.readouterr().out
    assert "1 examples have layers" in out and "1 examples have masks" in out


# ------------------------------------------------------------ how it ends when something is wrong


def ends(path: Path, capsys: Capture, *words: str) -> None:
    """The run stops with one sentence that has these words."""
    capsys.readouterr()
    assert train(path) == 1
    err = capsys.readouterr().err
    assert err.startswith("diorama: ") and err.count("\n") == 1 and "Traceback" not in err, err
    assert all(word in err for word in words), err


def test_a_full_disk_stops_the_run_and_leaves_the_checkpoint_before(
    tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    path, folder, real = run_file(tmp_path, tiny, keep={"every": 1}), tmp_path / "run", checkpoints.save_file

    def full(tensors: dict[str, Tensor], file: Path) -> None:
        if (folder / "state-00000002").exists():
            file.write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        real(tensors, file)

    monkeypatch.setattr(checkpoints, "save_file", full)
    ends(path, capsys, "the disk is full", "the checkpoint of step 2 is whole")
    assert {each.name for each in folder.glob("*state*")} == {"state-00000001", "state-00000002"}
    assert not list(folder.glob(".diorama-*"))
    monkeypatch.undo()
    assert train(path) == 0


@pytest.mark.slow
def test_a_disk_that_is_really_full_stops_the_run_and_leaves_the_checkpoint_before(tmp_path: Path, tiny: Path) -> None:
    """On a file system of eight megabytes, filled to its last byte before the third checkpoint."""
    path, folder = run_file(tmp_path, tiny, keep={"every": 1}), tmp_path / "run"
    folder.mkdir()
    alone = ["unshare", "--user", "--map-root-user", "--mount"]
    mount = f"mount -t tmpfs -o size=8m none '{folder}'"
    try:
        subprocess.run([*alone, "sh", "-c", mount], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this machine lets nobody mount a file system of its own")
    words = [sys.executable, "-m", "tests.fulltrain", str(path), str(folder)]
    root = Path(__file__).parents[1]
    done = subprocess.run(
        [*alone, "sh", "-c", f'{mount} && exec "$@"', "sh", *words],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "1 state-00000001 state-00000002 0", done.stdout
    told = [line for line in done.stderr.splitlines() if line.startswith("diorama: ")]
    assert len(told) == 1 and "the disk is full" in told[0] and "step 2 is whole" in told[0], done.stderr


@pytest.mark.parametrize("workers", [0, 1])
def test_a_file_that_vanishes_in_mid_run_stops_it_with_its_name(
    workers: int, tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    from training.run.learner import Learner

    path, real = run_file(tmp_path, tiny, keep={"every": 1}, loop=LOOP | {"workers": workers, "steps": 9}), Learner.step

    def step(self: Learner, number: int, tally: Tensor) -> tuple[float, Tensor]:
        if number == 1:
            shutil.rmtree(tmp_path / "cache")
        return real(self, number, tally)

    monkeypatch.setattr(Learner, "step", step)
    ends(path, capsys, ".png", "is gone from", "start again")
    monkeypatch.undo()
    assert train(path, "--stop-after", "1") == 1, "what is gone is made again"
    shutil.rmtree(tmp_path / "pictures")
    assert train(path) == 2
    assert "pictures" in capsys.readouterr().err


def test_a_loss_that_is_no_number_stops_the_run_before_it_does_harm(
    tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    path, folder, calls, real = run_file(tmp_path, tiny, keep={"every": 1}), tmp_path / "run", [0], Objective.__call__

    def broken(self: Objective, inputs: Inputs) -> Tensor:
        calls[0] += 1
        return real(self, inputs) * (float("nan") if calls[0] == 6 else 1)

    monkeypatch.setattr(Objective, "__call__", broken)
    ends(path, capsys, "the loss is nan at step 3", "the checkpoint of step 2 is whole")
    assert not (folder / "state-00000003").exists()
    about = read(folder / "adapter.safetensors").about
    assert about is not None and about.steps == 2, "of the last whole checkpoint"
    assert all(values.isfinite().all() for values in unpacked((folder / "adapter.safetensors").read_bytes()).values())
    monkeypatch.undo()
    assert train(path) == 0
    other = run_file(tmp_path, tiny, "other")
    assert train(other) == 0 and state(tmp_path / "other", 4) == state(folder, 4)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"train": {"modules": ["to_nothing"]}}, "train: the transformer has no linear layer 'to_nothing'"),
        ({"samples": {"prompts": ["a"], "size": [70, 64]}}, "samples.size"),
        ({"loop": LOOP | {"optimizer": "adamw8bit"}}, "loop.optimizer: adamw8bit is not to be had here"),
    ],
)
def test_what_can_not_be_is_refused_before_the_first_step(
    change: dict[str, Any], words: str, tmp_path: Path, tiny: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, _ in optimizers.EIGHT_BIT:
        monkeypatch.setitem(sys.modules, module, None)  # as if it was not installed
    assert train(run_file(tmp_path, tiny, **change)) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "run" / "log.jsonl").exists()


# ------------------------------------------------------------ optimisers and logs


class Forgetful(torch.optim.AdamW):
    """One that loses its state when it is loaded."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict({**state_dict, "state": {}})


class Eight(torch.optim.AdamW):
    """One that keeps something in 8 bits, in a slot of slots as bitsandbytes does."""

    def state_dict(self) -> dict[str, Any]:
        found = super().state_dict()
        codes = {"codes": torch.zeros(1, dtype=torch.uint8)}
        return {**found, "state": {each: {"quantised": {**slots, **codes}} for each, slots in found["state"].items()}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        state = {each: dict(slots["quantised"]) for each, slots in state_dict["state"].items()}
        for slots in state.values():
            del slots["codes"]
        super().load_state_dict({**state_dict, "state": state})


class Idle(torch.optim.AdamW):
    """One that does nothing."""

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        return None


def library(monkeypatch: pytest.MonkeyPatch, module: str, optimizer: type) -> None:
    fake = ModuleType(module)
    fake.AdamW8bit = optimizer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.partition(".")[0], ModuleType(module.partition(".")[0]))
    monkeypatch.setitem(sys.modules, module, fake)


def test_eight_bits_are_taken_only_where_they_pass_a_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    config = StepsConfig(steps=1, batch=1, optimizer="adamw8bit")
    weight = torch.nn.Parameter(torch.ones(3))
    for broken in (Forgetful, Idle, torch.optim.AdamW):
        library(monkeypatch, "bitsandbytes.optim", broken)
        monkeypatch.setitem(sys.modules, "torchao.optim", None)
        with pytest.raises(Refusal, match=r"bitsandbytes was tried on cpu: .*; torchao is not installed"):
            optimizers.build([weight], config)
    library(monkeypatch, "torchao.optim", Eight)
    assert isinstance(optimizers.build([weight], config), Eight), "the next one that works"


def test_bitsandbytes_where_it_is_installed_goes_on_exactly_or_is_refused(
    tmp_path: Path, tiny: Path, capsys: Capture
) -> None:
    pytest.importorskip("bitsandbytes")
    sections: dict[str, Any] = {"loop": LOOP | {"optimizer": "adamw8bit", "steps": 2}, "train": {"rank": 64}}
    whole, parts = (run_file(tmp_path, tiny, name, **sections) for name in ("whole", "parts"))
    if train(whole) == 2:
        assert "bitsandbytes was tried on cpu" in capsys.readouterr().err
        return
    assert train(parts, "--stop-after", "1") == 1 and train(parts) == 0
    made = state(tmp_path / "parts", 2)
    assert made == state(tmp_path / "whole", 2)
    assert any(tensor.dtype == torch.uint8 for tensor in unpacked(made).values()), "some of it is in 8 bits"


def test_without_tensorboard_one_sentence_and_with_it_every_number(
    tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    sections: dict[str, Any] = {"log": {"every": 1, "tensorboard": True}, "loop": LOOP | {"steps": 1}}
    assert train(run_file(tmp_path, tiny, "without", **sections)) == 0
    assert capsys.readouterr().out.count("TensorBoard is not installed") == 1

    told: list[tuple[str, Any, int]] = []

    class Board:
        def __init__(self, folder: str, purge_step: int) -> None:
            assert folder == str(tmp_path / "with" / "tensorboard") and purge_step == 1

        def add_scalar(self, name: str, value: float, step: int) -> None:
            told.append((name, value, step))

        def add_image(self, name: str, picture: Any, step: int, dataformats: str) -> None:
            told.append((name, picture.shape, step))

        def close(self) -> None:
            told.append(("closed", None, -1))

    there = ModuleType("torch.utils.tensorboard")
    there.SummaryWriter = Board  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", there)
    sections["samples"] = {"prompts": ["a"], "steps": 1, "seeds": [1]}
    assert train(run_file(tmp_path, tiny, "with", **sections)) == 0
    names = [name for name, _, step in told if step == 1]
    assert {"loss", "lr", "norm", "samples"} <= set(names) and told[-1][0] == "closed"
    assert ("samples", (64, 64, 3), 1) in told
    assert json.loads((tmp_path / "with" / "log.jsonl").read_text().splitlines()[0])["step"] == 1


def test_what_tensorboard_reads_is_what_was_logged_each_step_once(tmp_path: Path) -> None:
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    Image.new("RGB", (8, 8), (255, 0, 0)).save(tmp_path / "sheet.png")
    for start in (0, 2):  # stopped after step 3, whose checkpoint is gone: it goes on after step 2
        log = Log(tmp_path, LogConfig(tensorboard=True), start, quiet)
        for step in range(start + 1, 4):
            log.write({"step": step, "loss": 1 / (step + start)})
        log.picture(tmp_path / "sheet.png", 3)
        log.close()
    found = accumulators.EventAccumulator(str(tmp_path / "tensorboard"))
    found.Reload()
    losses = {each.step: each.value for each in found.Scalars("loss")}
    assert losses == pytest.approx({1: 1, 2: 0.5, 3: 0.2}, abs=1e-6)
    assert len(found.Scalars("loss")) == 3
    assert [(each.step, each.width) for each in found.Images("samples")] == [(3, 8)]
