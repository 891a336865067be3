"""A step of the run on own pictures: what its inputs are, what is minimised, and what the untrained model is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from PIL import Image
from torch import Tensor

from models.checkpoint import describe, load
from pipelines.layout import layout_plan, token_box
from tests.running import LOOP, pictures, rows, run_file, train
from training.data.buckets import Bucket
from training.data.cache import Cache
from training.data.config import DataConfig
from training.data.dataset import Dataset
from training.data.order import Item
from training.run.chance import noise, seed_of, times
from training.run.config import LossConfig
from training.run.inputs import Batches, Inputs, Told, gathered
from training.run.loop import Run
from training.run.objective import Objective, weights
from training.run.store import Store, fill, white
from training.tune import read_tune

Capture = pytest.CaptureFixture[str]


def stored(top: Path, tiny: Path, batch: int = 3, **fields: object) -> tuple[Store, Any]:
    """A filled store of the pictures in a folder, and the checkpoint that filled it."""
    config = DataConfig.model_validate({"sources": [{"path": top}], "resolution": 64, **fields})
    data = Dataset.open(config, batch, 5)
    checkpoint, store = load(describe(str(tiny))), Store(data, Cache(top.parent / "cache"), "a", "b")
    fill(store, store.texts(), checkpoint, 0, 1, lambda text: None)
    return store, checkpoint


# ------------------------------------------------------------ a step's inputs


def test_times_are_logit_normal_and_fill_the_quantiles_of_every_step() -> None:
    drawn = np.array([times(7, step, 8, 0.8, 1.0) for step in range(200)])
    logits = np.log(drawn / (1 - drawn))
    assert abs(logits.mean() - 0.8) < 0.02 and abs(logits.std() - 1.0) < 0.03
    from statistics import NormalDist

    quantiles = np.array([[NormalDist(0.8, 1.0).cdf(logit) for logit in row] for row in logits])
    assert (np.sort(quantiles * 8, axis=1).astype(int) == np.arange(8)).all(), "one in each eighth"
    assert times(7, 3, 8, 0.8, 1.0) == drawn[3].tolist() != times(8, 3, 8, 0.8, 1.0)


def test_noise_is_a_samples_own_whatever_bits_differ() -> None:
    assert torch.equal(noise(5, 4, 3), noise(5, 4, 3))
    seeds = [5, 6, 5 + (1 << 32), 5 + (1 << 40), 5 + (1 << 62)]
    first = {float(noise(seed, 4, 3)[0, 0]) for seed in seeds}
    assert len(first) == len(seeds), "torch's generator would take the high ones for 5"
    many = noise(1, 1000, 16)
    assert abs(float(many.mean())) < 0.03 and abs(float(many.std()) - 1) < 0.02
    assert len({seed_of(1, 23), seed_of(12, 3), seed_of("1", 23)}) == 3


def test_two_processes_get_the_samples_of_one(tmp_path: Path, tiny: Path) -> None:
    store, _ = stored(pictures(tmp_path / "pictures", 5), tiny)
    one = Batches(store, LossConfig(), 2, 3, 5)
    for index in range(len(one)):
        alone = one[index]
        parts = [Batches(store, LossConfig(), 2, 3, 5, rank, 2)[index] for rank in range(2)]
        assert isinstance(alone, Inputs) and all(isinstance(part, Inputs) for part in parts)
        got = [
            (float(part.shares[k]), float(part.times[k]), float(part.noise[k].sum()), float(part.clean[k].sum()))
            for part in parts
            for k in range(len(part.times))
            if part.shares[k] > 0
        ]
        expected = [
            (float(alone.shares[k]), float(alone.times[k]), float(alone.noise[k].sum()), float(alone.clean[k].sum()))
            for k in range(len(alone.times))
        ]
        assert sorted(got) == sorted(expected)
    shares = [float(one[k].shares.sum()) for k in range(2)]
    assert sum(shares) == pytest.approx(1), "the batches of a step share one loss"


def test_what_is_read_back_is_what_the_encoders_made(tmp_path: Path, tiny: Path) -> None:
    store, checkpoint = stored(pictures(tmp_path / "pictures", 2), tiny)
    rgba = torch.from_numpy(np.asarray(Image.open(tmp_path / "pictures" / "0.png").convert("RGBA")).copy())
    expected = checkpoint.codec.encode(rgba.permute(2, 0, 1)[None].float() / 255)
    torch.testing.assert_close(store.clean(Item(0, "", 1.0, 0)), expected[0].detach())
    features, words = store.prompt("a red circle and 0 blipps")
    torch.testing.assert_close(features, checkpoint.prompts(["a red circle and 0 blipps"])[0])
    assert words.dtype == torch.bool and 0 < words.sum() < len(words)


def test_each_cut_of_a_picture_is_learnt_as_it_is_shown(tmp_path: Path, tiny: Path) -> None:
    top = pictures(tmp_path / "pictures", 1)
    Image.fromarray(np.kron(np.eye(32, dtype=np.uint8) * 255, np.ones((2, 2), np.uint8))).save(top / "0.mask.png")
    store, checkpoint = stored(top, tiny, crops=3, max_crop=0.3)
    data, cuts = store.data, [Item(0, "", 1.0, 0, crop) for crop in range(3)]
    for item in cuts:
        loaded = data.load(item, data.buckets[0])
        rgba = torch.from_numpy(loaded.frames).permute(0, 3, 1, 2).float() / 255
        torch.testing.assert_close(store.clean(item), checkpoint.codec.encode(rgba)[0].detach())
        assert np.array_equal(store.mask(item), white(loaded.mask))
    assert not torch.equal(store.clean(cuts[0]), store.clean(cuts[1]))
    assert len({store.clean(item).numpy().tobytes() for item in cuts}) == 3
    (middle,) = stored(top, tiny)[0].keys[0]
    assert middle == store.keys[0][0], "the middle one is what a run without other cuts has"
    seen = {item.crop for step in range(40) for item in data.order.at(step).items}
    assert seen == {0, 1, 2}
    read = gathered(store, cuts, [0.5] * 3, [1.0] * 3)
    assert torch.equal(read.clean[2], store.clean(cuts[2]))


# ------------------------------------------------------------ the loss


def fake(clean: Tensor, noise: Tensor, learnt: Tensor | None = None, prior: bool = False) -> Inputs:
    """One sample without a prompt."""
    return Inputs(
        Bucket(2, 2), clean, noise, torch.tensor([0.5]), torch.ones(1), learnt, torch.tensor([prior]),
        (Told(torch.zeros(1, 1, 1), torch.ones(1, 1, dtype=torch.bool), ()),),
    )  # fmt: skip


class Fixed(Objective):
    """An objective whose model predicts what it is given, and something else before it was trained."""

    def __init__(self, loss: LossConfig, now: Tensor, before: Tensor) -> None:
        from contextlib import contextmanager

        self.loss, self.now, self.before, self.trained = loss, now, before, True

        @contextmanager
        def untrained(whole: bool):  # type: ignore[no-untyped-def]
            self.trained = False
            yield
            self.trained = True

        self.untrained, self.most = untrained, int

    def velocity(self, inputs: Inputs) -> Tensor:
        return self.now if self.trained else self.before


def test_what_a_mask_hides_is_not_learnt_and_a_small_hole_counts_as_a_whole_picture() -> None:
    clean, drawn = torch.randn(1, 4, 3), torch.randn(1, 4, 3)
    now, learnt = torch.randn(1, 4, 3), torch.tensor([[1.0, 0.0, 0.0, 0.5]])
    objective = Fixed(LossConfig(), now, now)
    loss = objective(fake(clean, drawn, learnt))
    error = (now - (drawn - clean)).square().mean(-1)
    assert loss[0] == pytest.approx(float((error[0, 0] + 0.5 * error[0, 3]) / 1.5))
    other = clean.clone()
    other[0, 1:3] += 7
    assert torch.equal(objective(fake(other, drawn, learnt)), loss)
    half = Fixed(LossConfig(outside=1), now, now)(fake(clean, drawn, learnt))
    assert half[0] == pytest.approx(float(error.mean())), "outside: 1 ignores the mask"


def test_prior_preservation_holds_to_the_untrained_model_where_nothing_is_to_be_learnt() -> None:
    clean, drawn = torch.randn(1, 4, 3), torch.randn(1, 4, 3)
    now, before, learnt = torch.randn(1, 4, 3), torch.randn(1, 4, 3), torch.tensor([[1.0, 0.0, 0.0, 0.0]])
    away = (now - before).square().mean(-1)
    kept = Fixed(LossConfig(), now, before)(fake(clean, drawn, prior=True))
    assert kept[0] == pytest.approx(float(away.mean()))
    both = Fixed(LossConfig(prior=2), now, before)(fake(clean, drawn, learnt))
    error = (now - (drawn - clean)).square().mean(-1)[0, 0]
    assert both[0] == pytest.approx(float((error + 2 * away[0, 1:].sum()) / 7))
    told, prior = weights(fake(clean, drawn, prior=True), LossConfig())
    assert not told.any() and prior.all()


def test_of_a_batch_the_untrained_model_is_asked_only_about_samples_that_keep_what_it_knew(
    tmp_path: Path, tiny: Path
) -> None:
    new, old = ({"path": str(pictures(tmp_path / name, 6)), "prior": name == "old"} for name in ("new", "old"))
    config = read_tune(run_file(tmp_path, tiny, data={"sources": [new, old]}, loop=LOOP | {"batch": 8}))
    assert config is not None
    run = Run(config, Dataset.open(config.data, config.loop.batch, config.seed), Accelerator(cpu=True))
    with torch.no_grad():
        for weight in run.learner.weights:
            weight += 0.1 * torch.randn_like(weight)
    inputs = Batches(run.store, config.loss, 1, 0, 1)[0]
    assert isinstance(inputs, Inputs) and len(inputs.prior) == 8 and 0 < int(inputs.prior.sum()) < 8
    asked: list[int] = []
    velocity = run.objective.velocity
    run.objective.velocity = lambda inputs: (asked.append(len(inputs.clean)), velocity(inputs))[1]  # type: ignore
    losses = run.objective(inputs)
    assert asked == [8, int(inputs.prior.sum())]
    for row in range(8):
        alone = run.objective(inputs.rows(torch.tensor([row])))
        torch.testing.assert_close(losses[row], alone[0], atol=1e-6, rtol=1e-4)
    new_alone = inputs.rows((~inputs.prior).nonzero()[:, 0])
    expected = run.objective(new_alone)
    run.objective.most = lambda count: max(1, count)  # another process has a sample that keeps what it knew
    asked.clear()
    assert torch.equal(run.objective(new_alone), expected) and asked == [len(new_alone.clean), 1]


def test_a_run_that_only_keeps_what_it_knew_learns_nothing(tmp_path: Path, tiny: Path, capsys: Capture) -> None:
    source = {"path": str(pictures(tmp_path / "pictures")), "prior": True}
    path = run_file(tmp_path, tiny, data={"sources": [source]}, log={"every": 1}, loop=LOOP | {"steps": 2})
    assert train(path) == 0
    assert "6 examples keep what the model knew" in capsys.readouterr().out
    assert [row["loss"] for row in rows(tmp_path / "run")] == [0, 0]


def test_in_mixed_precision_too_the_untrained_model_is_the_one_that_the_run_began_with(
    tmp_path: Path, tiny: Path
) -> None:
    source = {"path": str(pictures(tmp_path / "pictures")), "prior": True}
    config = read_tune(run_file(tmp_path, tiny, data={"sources": [source]}, loop=LOOP | {"precision": "bfloat16"}))
    assert config is not None
    run = Run(config, Dataset.open(config.data, config.loop.batch, config.seed), Accelerator(cpu=True))
    inputs = Batches(run.store, config.loss, 1, 0, 1)[0]
    assert isinstance(inputs, Inputs)
    with run.steps.autocast(), torch.no_grad():
        before = run.objective.velocity(inputs)
    with torch.no_grad():
        for weight in run.learner.weights:
            weight += 0.1 * torch.randn_like(weight)
    with run.steps.autocast():
        losses = run.objective(inputs)
        now = run.objective.velocity(inputs)
    torch.testing.assert_close(losses, (now - before).square().mean((1, 2)))
    assert losses.min() > 0
    losses.sum().backward()
    assert all(weight.grad is not None and weight.grad.any() for weight in run.learner.weights)


def test_a_masks_whiteness_is_that_of_its_tokens() -> None:
    mask = np.zeros((32, 48), np.uint8)
    mask[:16, 16:24] = 255
    assert white(mask).tolist() == [0, 0.5, 0, 0, 0, 0]


def test_boxes_are_told_as_a_layout_job_tells_them_and_others_go_with_the_plain_plan(
    tmp_path: Path, tiny: Path
) -> None:
    pictures(tmp_path / "pictures", 3)
    (tmp_path / "pictures" / "1.bbox").write_text("blue star 0.25 0.25 0.5 0.5")
    store, checkpoint = stored(tmp_path / "pictures", tiny)
    items = [Item(k, f"a red circle and {k} blipps", 1.0, k) for k in range(3)]
    inputs = gathered(store, items, [0.2, 0.5, 0.8], [1, 1, 1])
    objective = Objective(checkpoint.transformer, None, checkpoint.description, LossConfig())  # type: ignore[arg-type]
    with torch.no_grad():
        together = objective.velocity(inputs)
        for k in range(3):
            alone = objective.velocity(gathered(store, items[k : k + 1], [0.2 + 0.3 * k], [1]))
            torch.testing.assert_close(together[k], alone[0], atol=1e-5, rtol=1e-4)
        box = token_box((0, 0, 0.5, 0.5), 4, 4)
        plan = layout_plan(
            checkpoint.prompts.length, 4, 4, (box,), placed=checkpoint.description.prompts_at_boxes, regional=True
        )
        noisy = torch.lerp(inputs.clean[1:2], inputs.noise[1:2], 0.5)
        context = checkpoint.prompts([items[1].caption, "blue star"]).flatten(0, 1)[None]
        expected = checkpoint.transformer(noisy, context, torch.tensor([0.5]), plan=plan).sample
    torch.testing.assert_close(together[1], expected[0], atol=1e-5, rtol=1e-4)
    dropped = gathered(store, [Item(1, "", 1.0, 1)], [0.5], [1]).told[0]
    assert torch.equal(dropped.features[0], dropped.features[1]), "who is told nothing is told nothing of the boxes"
