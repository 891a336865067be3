"""Arithmetic in bfloat16 where a machine is fast in it, and in float32 where it is not."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

import models.precision
from models.precision import autocast, fast_bfloat16
from tests.running import LOOP, run_file, state, train
from training.muon import orthogonal

Capture = pytest.CaptureFixture[str]
Machine = Callable[[bool], None]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Makes of this machine one that is fast in bfloat16, or one that is not."""

    def made(fast: bool) -> None:
        for module in ("training.run.loop", "training.muon", "models.precision"):
            monkeypatch.setattr(f"{module}.fast_bfloat16", lambda kind: fast)

    return made


@pytest.fixture
def asked_anew() -> Iterator[None]:
    fast_bfloat16.cache_clear()
    yield
    fast_bfloat16.cache_clear()


@pytest.mark.parametrize("has", [False, True])
@pytest.mark.usefixtures("asked_anew")
def test_a_processor_is_asked_for_its_instructions(monkeypatch: pytest.MonkeyPatch, has: bool) -> None:
    monkeypatch.setattr(models.precision.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: has)
    assert fast_bfloat16("cpu") is has


@pytest.mark.usefixtures("asked_anew")
def test_processors_of_another_kind_and_gpus_answer_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models.precision.platform, "machine", lambda: "aarch64")
    assert isinstance(fast_bfloat16("cpu"), bool)
    asked = []

    def supported(including_emulation: bool = True) -> bool:
        asked.append(including_emulation)
        return False

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    assert not fast_bfloat16("cuda") and asked == [False], "what is emulated is slow there too"


@pytest.mark.parametrize(("fast", "half", "expected"), [
    (False, None, torch.float32), (True, None, torch.bfloat16),
    (False, True, torch.bfloat16), (True, False, torch.float32),
])  # fmt: skip
def test_mixed_precision_is_what_is_asked_for_or_what_is_fast(
    machine: Machine, fast: bool, half: bool | None, expected: torch.dtype
) -> None:
    machine(fast)
    with autocast(torch.device("cpu"), half):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == expected


def test_muon_does_without_bfloat16_where_it_is_slow(machine: Machine) -> None:
    matrices, found = torch.randn(3, 8, 5, generator=torch.Generator().manual_seed(1)), {}
    for fast in (False, True):
        machine(fast)
        found[fast] = orthogonal(matrices, (3.4445, -4.775, 2.0315), 5, 1e-7)
    assert (found[False].dtype, found[True].dtype) == (torch.float32, torch.bfloat16)
    torch.testing.assert_close(found[False], found[True].float(), atol=0.05, rtol=0)


def test_a_run_takes_what_the_machine_is_fast_in(machine: Machine, tmp_path: Path, tiny: Path) -> None:
    made = {}
    for fast, asked in ((False, "auto"), (True, "float32"), (True, "auto"), (False, "bfloat16")):
        machine(fast)
        path = run_file(tmp_path, tiny, f"{asked}-{fast}", loop=LOOP | {"steps": 1, "precision": asked})
        assert train(path) == 0
        made[fast, asked] = state(tmp_path / f"{asked}-{fast}", 1)
    assert made[False, "auto"] == made[True, "float32"]
    assert made[True, "auto"] == made[False, "bfloat16"]
    assert made[True, "auto"] != made[False, "auto"]


def test_asked_for_and_slow_is_told(machine: Machine, tmp_path: Path, tiny: Path, capsys: Capture) -> None:
    machine(False)
    assert train(run_file(tmp_path, tiny, loop=LOOP | {"steps": 1, "precision": "bfloat16"})) == 0
    assert "many times slower; auto takes float32 here" in capsys.readouterr().out
    assert train(run_file(tmp_path, tiny, "other", loop=LOOP | {"steps": 1})) == 0
    assert "slower" not in capsys.readouterr().out


def test_a_run_that_comes_to_another_machine_goes_on_and_says_so(
    machine: Machine, tmp_path: Path, tiny: Path, capsys: Capture
) -> None:
    path = run_file(tmp_path, tiny)
    machine(True)
    assert train(path, "--stop-after", "1") == 1
    assert train(path, "--stop-after", "1") == 1
    assert "goes on at step 1\n" in capsys.readouterr().out
    machine(False)
    assert train(path, "--stop-after", "1") == 1
    assert "goes on at step 2 in float32, which is faster here, after bfloat16: close to it" in capsys.readouterr().out
    note = json.loads((tmp_path / "run" / "state-00000003" / "note.json").read_text())
    assert note["arithmetic"] == "float32"


def test_a_run_of_before_the_note_had_the_arithmetic_goes_on_as_it_was(
    machine: Machine, tmp_path: Path, tiny: Path, capsys: Capture
) -> None:
    machine(True)
    path = run_file(tmp_path, tiny, loop=LOOP | {"precision": "float32"})
    assert train(path, "--stop-after", "1") == 1
    folder = tmp_path / "run" / "state-00000001"
    note = json.loads((folder / "note.json").read_text())
    del note["arithmetic"]
    (folder / "note.json").write_text(json.dumps(note))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["note.json"] = hashlib.sha256((folder / "note.json").read_bytes()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert train(path, "--stop-after", "1") == 1
    assert "goes on at step 1\n" in capsys.readouterr().out


def test_a_run_can_be_held_to_the_arithmetic_that_it_began_in(
    machine: Machine, tmp_path: Path, tiny: Path, capsys: Capture
) -> None:
    machine(True)
    assert train(run_file(tmp_path, tiny)) == 0
    assert train(run_file(tmp_path, tiny, "moved"), "--stop-after", "2") == 1
    machine(False)
    assert train(run_file(tmp_path, tiny, "moved", loop=LOOP | {"precision": "float32"})) == 2
    assert "was 'bfloat16' when the run" in capsys.readouterr().err
    assert train(run_file(tmp_path, tiny, "moved", loop=LOOP | {"precision": "bfloat16"})) == 0
    assert state(tmp_path / "moved", 4) == state(tmp_path / "run", 4)
