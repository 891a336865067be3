"""The training loop: exact resume, EMA, and that the world can be learnt at all."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from models.checkpoint import describe
from pipelines.refusal import Refusal
from tests.tiny import LOOP, tiny_stage
from training.autoencoder import AutoencoderStage
from training.config import AutoencoderConfig, LoopConfig
from training.main import read_run, train
from training.muon import StackedMuon
from training.trainer import EMA, Trainer, learning_rate


def quiet(text: str) -> None:
    """Nobody reads a test's progress."""


def loop(**fields) -> LoopConfig:  # type: ignore[no-untyped-def]
    return LOOP.model_copy(update={"steps": 6, "muon": True, "save_seconds": 1e9} | fields)


def autoencoder(config: LoopConfig) -> AutoencoderStage:
    torch.manual_seed(0)
    widths = {"block_out_channels": (8,) * 4, "decoder_block_out_channels": (8,) * 4, "latent_channels": 4}
    return AutoencoderStage(AutoencoderConfig(loop=config.model_copy(update={"batch": 8}), **widths))


@pytest.mark.parametrize("build", [lambda c: tiny_stage(loop=c), autoencoder], ids=["transformer", "autoencoder"])
def test_a_resumed_run_is_bit_for_bit_the_run_that_was_not_stopped(build, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    config = loop()
    whole = Trainer(build(config), config, tmp_path / "whole", quiet)
    whole.run()
    for stop in (2, 1, None):
        part = Trainer(build(config), config, tmp_path / "parts", quiet)
        part.run(stop)
    expected, got = whole.state(), part.state()
    assert part.step == 6 and expected.keys() == got.keys()
    assert any(name.startswith("optimizer/1/") for name in got), "Muon's momentum is part of the state"
    assert [name for name in expected if not torch.equal(expected[name], got[name])] == []


def test_batches_drawn_by_other_processes_are_the_same(tmp_path: Path) -> None:
    states = []
    for workers in (0, 2):
        config = loop(steps=3, workers=workers)
        trainer = Trainer(tiny_stage(loop=config), config, tmp_path / str(workers), quiet)
        trainer.run()
        states.append(trainer.state())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_a_kill_while_saving_leaves_the_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = loop()
    Trainer(tiny_stage(loop=config), config, tmp_path, quiet).run(2)

    def killed(*args: object) -> None:
        raise KeyboardInterrupt

    trainer = Trainer(tiny_stage(loop=config), config, tmp_path, quiet)
    assert trainer.load()
    trainer.one_step(trainer.stage.source(2))
    monkeypatch.setattr("training.trainer.os.replace", killed)
    with pytest.raises(KeyboardInterrupt):
        trainer.save()
    monkeypatch.undo()
    after = Trainer(tiny_stage(loop=config), config, tmp_path, quiet)
    assert after.load() and after.step == 2
    after.save()
    again = Trainer(tiny_stage(loop=config), config, tmp_path, quiet)
    assert again.load() and again.step == 2, "what the kill left behind is not taken for the newest checkpoint"
    assert [path.name for path in tmp_path.glob("state-*")] == ["state-00000002"]


def test_ctrl_c_saves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = loop()
    trainer = Trainer(tiny_stage(loop=config), config, tmp_path, quiet)
    real = trainer.one_step

    def step(batch: dict[str, torch.Tensor]) -> dict[str, float]:
        if trainer.step == 2:
            raise KeyboardInterrupt
        return real(batch)

    monkeypatch.setattr(trainer, "one_step", step)
    trainer.run()
    assert json.loads((tmp_path / "state.json").read_text())["step"] == 2


def test_a_loss_that_is_not_a_number_stops_the_run_and_keeps_the_checkpoint(tmp_path: Path) -> None:
    config = loop()
    Trainer(tiny_stage(loop=config), config, tmp_path, quiet).run(1)
    broken = tiny_stage(loop=config)
    trainer = Trainer(broken, config, tmp_path, quiet)
    trainer.load()
    with torch.no_grad():
        broken.transformer.proj_out.weight.fill_(math.nan)
    with pytest.raises(FloatingPointError, match="step 2"):
        trainer.one_step(broken.source(1))
    assert json.loads((tmp_path / "state.json").read_text())["step"] == 1


def test_ema_follows_its_closed_form_and_swaps_back() -> None:
    ema = EMA((0.9,))
    values = [torch.tensor([float(k)]) for k in range(300)]
    expected = values[0].clone()
    for step, value in enumerate(values, start=1):
        ema.update([value], step)
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
    assert torch.allclose(ema.tracks["0.9"][0], expected, atol=1e-4)
    assert float(expected) == pytest.approx(299 - 9, abs=0.01), "a ramp is followed 1/(1-decay) - 1 steps behind"
    weight = torch.nn.Parameter(torch.tensor([7.0]))
    ema.swap([weight], 0.9)
    assert float(weight) == pytest.approx(290, abs=0.01)
    ema.swap([weight], 0.9)
    assert float(weight) == 7
    with pytest.raises(ValueError, match="keeps"):
        ema.swap([weight], 0.5)


def test_learning_rate_warms_up_stays_and_falls_to_zero() -> None:
    config = LOOP.model_copy(update={"steps": 100, "warmup": 10, "decay": 0.2})
    rates = [learning_rate(step, config) for step in range(101)]
    assert rates[0] == pytest.approx(0.1) and rates[9] == rates[79] == 1
    assert rates[90] == pytest.approx(0.5) and rates[100] == 0


def test_a_run_ends_with_its_minutes_and_its_rate_falls_with_them(tmp_path: Path) -> None:
    config = loop(steps=1000, warmup=1, decay=0.5, minutes=1.0)
    trainer = Trainer(tiny_stage(loop=config), config, tmp_path, quiet)
    trainer.seconds = 30
    assert trainer.rate == 1 and not trainer.finished
    trainer.seconds = 45
    assert trainer.rate == pytest.approx(0.5)
    trainer.step = 900
    assert trainer.rate == pytest.approx(0.2), "fewer steps are left than minutes"
    trainer.seconds = 60
    assert trainer.rate == 0 and trainer.finished

    config = loop(steps=1000, minutes=1e-6)
    trainer = Trainer(tiny_stage(loop=config), config, tmp_path / "short", quiet)
    trainer.run()
    assert trainer.step == 1 and trainer.finished
    again = Trainer(tiny_stage(loop=config), config, tmp_path / "short", quiet)
    again.run()
    assert again.step == 1 and again.finished, "what is over does not go on"


def test_muon_in_stacks_steps_as_torch_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.muon.fast_bfloat16", lambda kind: True)  # torch's is in bfloat16 everywhere
    torch.manual_seed(0)
    shapes = ((24, 24), (24, 24), (48, 24), (24, 48), (24, 24), (48, 24))
    ours = [torch.nn.Parameter(torch.randn(shape)) for shape in shapes]
    theirs = [torch.nn.Parameter(one.detach().clone()) for one in ours]
    stacked = StackedMuon(ours, 1e-2)
    single = torch.optim.Muon(theirs, 1e-2, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")
    for step in range(5):
        before = [one.detach().clone() for one in theirs]
        for number, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            one.grad = other.grad = None if (step, number) == (2, 1) else torch.randn_like(one)
        stacked.step()
        single.step()
        for one, other, old in zip(ours, theirs, before, strict=True):
            moved = (other - old).norm()
            assert (one - other).norm() <= 0.02 * moved, "kernels may round a stack of products otherwise"
            assert bool(moved) == (other.grad is not None)
    assert stacked.state_dict()["state"].keys() == single.state_dict()["state"].keys()


def test_an_autoencoder_learns_faces_for_a_share_of_its_batches() -> None:
    mixed, scenes = autoencoder(loop()), autoencoder(loop())
    mixed.config = mixed.config.model_copy(update={"faces": 0.5})
    same = [torch.equal(mixed.source(step)["pixels"], scenes.source(step)["pixels"]) for step in range(24)]
    assert 6 < sum(same) < 18, "the batches that show no faces are those of a run without them"
    people = mixed.source(same.index(False))["pixels"]
    assert people.shape[1] == 4 and (people[:, 3] == 1).all() and people[:, :3].std() > 0.05
    assert torch.equal(people, mixed.source(same.index(False))["pixels"]), "a batch is a function of the step"


TINY_RUN = """
seed: 3
folder: {folder}
checkpoint: {checkpoint}
{more}
autoencoder:
  block_out_channels: [8, 8, 8, 8]
  decoder_block_out_channels: [8, 8, 8, 8]
  latent_channels: 4
  loop: &loop {{steps: 2, batch: 4, device: cpu, muon: true, report_every: 2}}
transformer:
  {{heads: 1, head_dim: 16, double_blocks: 1, single_blocks: 1, text_width: 64, text_mlp: 64, auxiliary_block: 1,
   compile: false, loop: *loop}}
"""


def write_run(folder: Path, name: str, more: str = "") -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(TINY_RUN.format(folder=folder / name, checkpoint=folder / f"{name}-checkpoint", more=more))
    return path


def test_a_run_file_becomes_a_checkpoint_and_another_run_starts_from_it(tmp_path: Path) -> None:
    first = write_run(tmp_path, "first")
    assert train(first, stop_after=1) == 1, "a rehearsal stops before the end"
    assert train(first) == 0
    assert describe(str(tmp_path / "first-checkpoint")).prompt_tokens == 24
    second = write_run(tmp_path, "second", f"start_from: {tmp_path / 'first-checkpoint'}")
    assert train(second) == 0
    assert not (tmp_path / "second" / "autoencoder").exists(), "the autoencoder is kept"
    vae = "vae/diffusion_pytorch_model.safetensors"
    assert (tmp_path / "second-checkpoint" / vae).read_bytes() == (tmp_path / "first-checkpoint" / vae).read_bytes()


@pytest.mark.parametrize("further", ["decoder", "all"])
def test_an_autoencoder_is_trained_on_from_where_it_stood(further: str, tmp_path: Path) -> None:
    assert train(write_run(tmp_path, "first")) == 0
    then = write_run(tmp_path, "then", f"start_from: {tmp_path / 'first-checkpoint'}")
    more = f"latent_channels: 4\n  further: {further}\n  faces: 0.5"
    then.write_text(then.read_text().replace("latent_channels: 4", more))
    assert train(then) == 0
    one, other = (
        load_file(tmp_path / f"{name}-checkpoint" / "vae/diffusion_pytorch_model.safetensors")
        for name in ("first", "then")
    )
    moved = {name for name, weight in one.items() if not torch.equal(weight, other[name])}
    assert {name.split(".")[0] for name in moved} >= {"decoder"}
    assert any(name.startswith(("encoder", "bn")) for name in moved) == (further == "all")
    assert max(float((other[name].float() - one[name].float()).abs().max()) for name in moved) < 1


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: [", "can not be read as YAML"),
        (TINY_RUN.replace("latent_channels: 4", "further: all"), "needs start_from"),
        ("seed: 1", "Field required"),
        (TINY_RUN + "extra: 1", "Extra inputs"),
    ],
)
def test_a_run_file_that_is_wrong_is_refused(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(text.format(folder="a", checkpoint="b", more="") if text.startswith("\nseed") else text)
    with pytest.raises(Refusal, match=says):
        read_run(path)


@pytest.mark.slow
def test_a_small_model_overfits_eight_samples(tmp_path: Path) -> None:
    config = loop(steps=150, batch=8, lr=3e-3, warmup=10, bf16=False)
    stage = tiny_stage(loop=config)
    fixed = stage.source(0)
    trainer = Trainer(stage, config, tmp_path, quiet)
    losses = [trainer.one_step(fixed)["main"] for _ in range(150)]
    assert sum(losses[-20:]) < 0.5 * sum(losses[:20])


def test_the_run_file_of_the_embedded_checkpoint_is_valid() -> None:
    run = read_run(Path(__file__).parent.parent / "assets" / "papercut" / "train.yaml")
    assert run.transformer.loop.muon and run.checkpoint == Path("assets/papercut")
    joint = read_run(Path(__file__).parent.parent / "assets" / "papercut" / "joint.yaml")
    assert joint.start_from == "papercut" and len(joint.transformer.tasks) == 5
