"""Sharded runs: two processes with a part of the weights each train what two with all of them do, and go on exactly."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load, load_file

from tests.running import LOOP, TWO, pictures, run_file, state, train
from tests.test_help import ROOT

EXACT = LOOP | {"precision": "float32"}

# What `Shards` promises, of two processes: run with the path of a transformer.
PROMISES = """
import sys
import torch
from accelerate import Accelerator
from models.checkpoint import describe, load
from pipelines.text import text_plan
from training.run.shards import Shards, like, whole

accelerator = Accelerator(cpu=True)
rank = accelerator.process_index
model = load(describe(sys.argv[1]), torch.device("cpu"), torch.float32).transformer
model.requires_grad_(True)
before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
chance = torch.Generator().manual_seed(1)
plan = text_plan(24, 4, 4)
x = torch.randn(2, 16, model.config.in_channels, generator=chance)
context = torch.randn(2, 24, model.config.joint_attention_dim, generator=chance)
expected = model(x, context, torch.tensor([0.3, 0.7]), plan=plan).sample
expected.square().sum().backward()
grads = {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}
model.zero_grad()
shards = Shards(True, accelerator)
shards.spread(model)
weights = dict(model.named_parameters())
held = sum(weight.to_local().numel() for weight in weights.values())
assert held < 0.6 * sum(weight.numel() for weight in before.values()), "about half of them"
assert all(torch.equal(whole(weight.detach()), before[name]) for name, weight in weights.items())
for name, weight in weights.items():
    again = like(before[name], weight)
    assert torch.equal(again.to_local(), weight.to_local()) and again.placements == weight.placements
assert shards.most(rank + 3) == 4
got = model(x[rank :: 2], context[rank :: 2], torch.tensor([0.3, 0.7])[rank :: 2], plan=plan).sample
torch.testing.assert_close(got, expected[rank :: 2].detach(), atol=1e-5, rtol=1e-4)
got.square().sum().backward()
for name, grad in grads.items():
    torch.testing.assert_close(whole(weights[name].grad), grad, atol=1e-3, rtol=1e-3)
print("kept", flush=True)
accelerator.end_training()
"""


def launch(path: Path, *more: str) -> str:
    words = [*TWO, "-m", "pipelines.cli", "train", str(path), *more]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == (1 if more else 0), done.stderr[-3000:]
    assert done.stdout.count("2 processes train together, each with its part of the weights") == 1
    return done.stdout


def close(one: bytes, other: bytes, atol: float) -> None:
    a, b = load(one), load(other)
    assert a.keys() == b.keys() and {n: t.shape for n, t in a.items()} == {n: t.shape for n, t in b.items()}
    for name in a:
        if name.startswith("weight/"):
            torch.testing.assert_close(a[name], b[name], atol=atol, rtol=0)


@pytest.mark.slow
def test_each_process_holds_its_part_and_the_model_and_its_gradients_are_the_same(tiny: Path, tmp_path: Path) -> None:
    program = tmp_path / "promises.py"
    program.write_text(PROMISES)
    words = [*TWO, str(program), str(tiny)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=600, env=_environment())
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("kept") == 2


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["lora", "full"])
def test_a_sharded_run_goes_on_exactly_and_does_what_one_process_does(kind: str, tiny: Path, tmp_path: Path) -> None:
    # Boxes of the examples: the processes have different plans in a step, and one has more of them than the other.
    pictures(tmp_path / "pictures", 5)
    for number in range(3):
        (tmp_path / "pictures" / f"{number}.bbox").write_text(f"blipp 0.5 0.5 0.5 {0.3 + number / 10}")
    sections: dict[str, Any] = {"train": {"kind": kind, "rank": 2 if kind == "lora" else None}, "loop": EXACT}
    sharded = sections | {"loop": EXACT | {"shard": True}}
    assert train(run_file(tmp_path, tiny, "one", **sections)) == 0
    launch(run_file(tmp_path, tiny, "sharded", **sharded))
    parts = run_file(tmp_path, tiny, "parts", **sharded)
    launch(parts, "--stop-after", "3")
    assert (tmp_path / "parts" / "samples").is_dir() == (tmp_path / "one" / "samples").is_dir()
    launch(parts)
    assert state(tmp_path / "parts", 4) == state(tmp_path / "sharded", 4)
    close(state(tmp_path / "sharded", 4), state(tmp_path / "one", 4), 2e-4)


@pytest.mark.slow
def test_one_process_goes_on_from_a_sharded_checkpoint_with_masks_and_what_was_known(
    tiny: Path, tmp_path: Path
) -> None:
    pictures(tmp_path / "pictures", 5)
    half = np.zeros((64, 64), np.uint8)
    half[:, 32:] = 255
    first = sorted((tmp_path / "pictures").glob("*.png"))[0]
    Image.fromarray(half).resize(Image.open(first).size).save(first.with_name(f"{first.stem}.mask.png"))
    sections: dict[str, Any] = {"loss": {"prior": 1.0}, "loop": EXACT}
    sharded = sections | {"loop": EXACT | {"shard": True}}
    assert train(run_file(tmp_path, tiny, "one", **sections)) == 0
    launch(run_file(tmp_path, tiny, "both", **sharded), "--stop-after", "2")
    assert train(run_file(tmp_path, tiny, "both", **sharded)) == 0, "alone a process holds all"
    close(state(tmp_path / "both", 4), state(tmp_path / "one", 4), 2e-4)
    assert load_file(tmp_path / "both" / "adapter.safetensors")


@pytest.mark.parametrize(
    ("sections", "says"),
    [
        (
            {"train": {"kind": "soft_prompt", "rank": None}},
            "loop.shard: goes with lora, dora, full, not with soft_prompt",
        ),
        ({"loop": {"optimizer": "adamw8bit"}}, "loop.shard: goes with the optimizer adamw"),
    ],
)
def test_what_can_not_be_sharded_is_refused(
    sections: dict[str, Any], says: str, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures(tmp_path / "pictures", 2)
    path = run_file(tmp_path, tiny, **sections | {"loop": LOOP | sections.get("loop", {}) | {"shard": True}})
    assert train(path) == 2
    assert says in (err := capsys.readouterr().err) and err.count("\n") == 1


def _environment() -> dict[str, str]:
    import os

    return os.environ | {"PYTHONPATH": str(ROOT)}
