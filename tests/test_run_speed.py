"""What makes a step of a run take less time changes none of its numbers, or says that it does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load
from torch import Tensor

from tests.running import LOOP, run_file, state, train
from tests.zoo import picture
from training.data.dataset import Dataset
from training.run.inputs import Batches, Inputs
from training.run.loop import Run
from training.run.speed import Speed
from training.tune import read_tune


def started(path: Path) -> Run:
    config = read_tune(path)
    assert config is not None
    return Run(config, Dataset.open(config.data, config.loop.batch, config.seed), Accelerator(cpu=True))


def test_frozen_weights_in_bfloat16_give_the_numbers_that_autocast_gives_to_the_bit(tmp_path: Path, tiny: Path) -> None:
    run = started(run_file(tmp_path, tiny, loop=LOOP | {"precision": "bfloat16"}))
    inputs = Batches(run.store, run.config.loss, 1, 0, 1)[0]
    assert isinstance(inputs, Inputs)
    frozen = run.attached.transformer.proj_out.weight

    def gradients() -> list[Tensor]:
        with run.steps.autocast():
            losses = run.objective(inputs)
        losses.sum().backward()
        found = [losses.detach(), *(weight.grad.clone() for weight in run.learner.weights if weight.grad is not None)]
        run.learner.optimizer.zero_grad()
        return found

    plain = gradients()
    with run.speed.training():
        assert frozen.dtype == torch.bfloat16
        quick = gradients()
    assert frozen.dtype == torch.float32, "pictures and held-out losses are looked at with the weights as they were"
    assert len(plain) > 1 and all(torch.equal(one, other) for one, other in zip(plain, quick, strict=True))


def test_what_is_trained_is_never_rounded(tmp_path: Path, tiny: Path) -> None:
    run = started(run_file(tmp_path, tiny, loop=LOOP | {"precision": "bfloat16"}))
    with run.speed.training():
        assert all(weight.dtype == torch.float32 for weight in run.learner.weights)


def test_without_a_compiler_one_sentence_and_the_run_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any, **more: Any) -> Any:
        raise RuntimeError("no C++ compiler\nand so on")

    monkeypatch.setattr(torch, "compile", broken)
    told: list[str] = []
    speed = Speed(torch.nn.Linear(2, 2), half=False, compiled=True, say=told.append)
    assert not speed.compiled
    assert len(told) == 1 and told[0].startswith("blocks are not compiled") and "(no C++ compiler)" in told[0]


def test_kinds_that_hang_hooks_into_blocks_are_not_compiled(
    tmp_path: Path, tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = run_file(tmp_path, tiny, train={"kind": "soft_prompt"}, loop=LOOP | {"compile": True})
    path.write_text(path.read_text().replace("  rank: 2\n", ""))
    assert train(path) == 2
    assert "loop.compile: goes with lora, dora, full, not with soft_prompt" in capsys.readouterr().err


def test_small_batches_at_the_end_of_an_epoch_are_not_compiled_for(tmp_path: Path, tiny: Path) -> None:
    source = {"path": str(tmp_path / "pictures"), "prior": True}
    loop = LOOP | {"batch": 4, "accumulate": 1, "compile": True}
    run = started(run_file(tmp_path, tiny, data={"sources": [source]}, loop=loop))  # six pictures: four, and then two
    batches = Batches(run.store, run.config.loss, 1, 0, 4)
    found = [batches[step] for step in range(4)]
    assert sorted((len(one.clean), one.full) for one in found) == [(2, False), (2, False), (4, True), (4, True)]  # type: ignore[union-attr]
    for full, stance in ((True, "default"), (False, "force_eager")):
        with run.speed.training(full):
            assert torch._dynamo.eval_frame._stance.stance == (stance if run.speed.compiled else "default")
    for whole, stance in ((True, "default"), (False, "force_eager")):  # as what is asked of a part of a batch is
        with run._untrained(whole):
            assert torch._dynamo.eval_frame._stance.stance == (stance if run.speed.compiled else "default")
    assert torch._dynamo.eval_frame._stance.stance == "default"


@pytest.mark.slow
def test_a_compiled_run_goes_on_exactly_and_does_what_a_plain_one_does(tmp_path: Path, tiny: Path) -> None:
    for number in range(6):  # two buckets: the code of one must not depend on which of the two came first
        size, name = (128, 64) if number % 2 else (64, 64), "old" if number in (2, 3) else "new"
        picture(tmp_path / name / f"{number}.png", 100 + number, size, f"a red circle and {number} blipps")
    # Of some batches a part is asked of the untrained model, which is not compiled for.
    sources = [{"path": str(tmp_path / name), "prior": name == "old"} for name in ("new", "old")]
    loop = LOOP | {"compile": True, "precision": "float32"}
    assert train(run_file(tmp_path, tiny, "whole", data={"sources": sources}, loop=loop)) == 0
    parts = run_file(tmp_path, tiny, "parts", data={"sources": sources}, loop=loop)
    for expected in (1, 1, 1, 0):
        torch._dynamo.reset()
        assert train(parts, "--stop-after", "1") == expected
    assert state(tmp_path / "parts", 4) == state(tmp_path / "whole", 4)
    plain = run_file(tmp_path, tiny, "plain", data={"sources": sources}, loop=loop | {"compile": False})
    assert train(plain) == 0
    one, other = (load(state(tmp_path / name, 4)) for name in ("whole", "plain"))
    for name in one:
        if name.startswith("weight/"):
            torch.testing.assert_close(one[name], other[name], atol=2e-4, rtol=0)
