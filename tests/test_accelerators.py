"""Accelerators: each against its closed form or an identity, and all of them as the run files of before have them."""

from __future__ import annotations

import json
import math
import re
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from models.checkpoint import describe
from models.codec import Codec
from tests.test_help import HEAVY, loaded_by
from tests.tiny import LOOP, tiny_stage
from training.accelerators import (
    Accelerators,
    DeferredMasking,
    InternalGuidance,
    LabelAlignment,
    LayerSync,
    LipAlignment,
    Seen,
    Spoken,
    StratifiedTimes,
)
from training.chance import generator
from training.config import FlowConfig
from training.export import export
from training.flow import FlowStage, spoken_of
from training.forms import CLIP_HOME, HOME, SPOKEN, Form
from training.papercut import World
from training.trainer import Trainer

PICTURE = Form("picture", *HOME)
STORY = Form("scenes", *CLIP_HOME, (5, 8, 4))
EVERY = (
    InternalGuidance(block=1),
    LayerSync(early=0, deep=2),
    DeferredMasking(tasks=("picture",), until=0.5),
    StratifiedTimes(),
    LabelAlignment(block=1, until=0.5),
)


def parts() -> tuple[FlowConfig, Codec]:
    made = tiny_stage()
    return made.config, made.frozen["codec"]


def stage(*accelerators: Any, form: Form | None = None, scratch: Path | None = None, **fields: Any) -> FlowStage:
    """A tiny stage with these accelerators, of which no output is zero but those that accelerators brought."""
    config, codec = parts()
    torch.manual_seed(3)
    made = FlowStage(config.model_copy(update={"accelerators": accelerators, **fields}), codec, World(), scratch)
    wake(made, ("auxiliary", "labels", "lips"))
    if form is not None:
        made.source.form = lambda step: form  # type: ignore[method-assign]
    return made


def wake(made: FlowStage, sleepers: tuple[str, ...] = ()) -> None:
    """Undo adaLN-Zero, but for some modules."""
    chance = torch.Generator().manual_seed(0)
    for name, parameter in made.named_parameters():
        if parameter.requires_grad and not parameter.any() and not name.startswith(sleepers):
            torch.nn.init.normal_(parameter, std=0.2, generator=chance)


def seen(taps: dict[int, torch.Tensor], made: torch.Tensor | None = None) -> Seen:
    first = next(iter(taps.values()))
    made = torch.ones(first.shape[:2], dtype=torch.bool) if made is None else made
    return Seen(torch.zeros(*first.shape[:2], 4), made, taps, {})


# ------------------------------------------------------------ Internal Guidance


def test_the_auxiliary_head_begins_with_the_loss_of_saying_nothing() -> None:
    made = stage(InternalGuidance(block=1), form=PICTURE)
    batch = made.source(0)
    losses = made(batch)
    target = batch["noise"] - made.clean(batch)
    assert torch.allclose(losses["auxiliary"], target.square().mean(), rtol=1e-5), "the head begins at zero"
    assert torch.allclose(losses["total"], losses["main"] + 0.5 * losses["auxiliary"])


def test_an_internal_guidance_of_one_draws_as_without_and_of_zero_as_the_head() -> None:
    made = stage(InternalGuidance(block=1)).eval()
    plain, one, none = (made.draw(["a red circle"], steps=2, internal=scale) for scale in (None, 1.0, 0.0))
    assert torch.allclose(plain, one, atol=1e-2) and not torch.allclose(plain, none, atol=1e-2)
    codec = made.frozen["codec"]
    noise = torch.randn(1, 64, codec.channels, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(none, codec.decode(noise, 128, 128)[:, :, :3]), "a head of zeros moves nothing"


# ------------------------------------------------------------ LayerSync


def test_layer_sync_is_minus_the_mean_cosine_and_moves_the_early_block_alone() -> None:
    early, deep = (torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(k)) for k in (1, 2))
    a, b = early.numpy().astype(np.float64), deep.numpy().astype(np.float64)
    cosines = (a * b).sum(-1) / (np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1))
    assert float(LayerSync(early=0, deep=2).loss(seen({0: early, 2: 3 * early}))) == pytest.approx(-1)
    early.requires_grad_()
    deep.requires_grad_()
    loss = LayerSync(early=0, deep=2).loss(seen({0: early, 2: deep}))
    assert float(loss.detach()) == pytest.approx(-cosines.mean(), abs=1e-6)
    loss.backward()
    assert deep.grad is None and early.grad is not None and early.grad.any()


def test_layer_sync_counts_only_what_is_made() -> None:
    early, deep = torch.ones(1, 4, 3), torch.ones(1, 4, 3)
    deep[:, 2:] *= -1
    made = torch.tensor([[True, True, False, False]])
    assert float(LayerSync(early=0, deep=2).loss(seen({0: early, 2: deep}, made))) == pytest.approx(-1)


def test_layer_sync_reaches_the_early_blocks_and_not_the_late_ones() -> None:
    made = stage(LayerSync(early=0, deep=2), form=PICTURE)
    made(made.source(0))["layer_sync"].backward()
    moved = {name for name, weight in made.transformer.named_parameters() if weight.grad is not None}
    assert any(name.startswith("transformer_blocks.0.") for name in moved)
    assert not any(name.startswith(("single_transformer_blocks", "proj_out")) for name in moved)


# ------------------------------------------------------------ deferred masking


def test_dropped_tokens_are_as_many_in_each_scene() -> None:
    keep = DeferredMasking(drop=0.75).keep(STORY, generator(1, 1))
    assert keep is not None and torch.equal(keep, keep.unique())
    ends = np.cumsum([0, *STORY.lengths]) * STORY.h * STORY.w
    assert [int(((keep >= a) & (keep < b)).sum()) for a, b in pairwise(ends)] == [45, 72, 36]
    assert DeferredMasking(drop=0.75).keep(PICTURE, generator(1, 1)) is None, "unless its task is named"


def test_dropping_nothing_is_plain_training() -> None:
    plain, masked = stage(form=PICTURE), stage(DeferredMasking(drop=0.0, tasks=("picture",)), form=PICTURE)
    assert masked.source(0)["keep"].tolist() == list(range(64))
    assert torch.allclose(masked(masked.source(0))["total"], plain(plain.source(0))["total"], rtol=1e-5)


def test_tokens_are_dropped_until_the_cut_off_and_others_in_each_step_and_seed() -> None:
    made = stage(DeferredMasking(tasks=("picture",), until=0.5), form=PICTURE)  # of four steps
    first, second, third = (made.source(step) for step in range(3))
    assert len(first["keep"]) == 16 and "keep" not in third
    assert not torch.equal(first["keep"], second["keep"])
    other = FlowStage(made.config, made.frozen["codec"], World(seed=made.world.seed + 1))
    assert not torch.equal(other.source.batch(PICTURE, [0, 1], 0)["keep"], first["keep"])
    assert all(torch.isfinite(made(batch)["total"]) for batch in (first, third))


# ------------------------------------------------------------ stratified times


def test_every_stratum_has_one_time_and_each_time_is_uniform() -> None:
    draws = torch.stack([StratifiedTimes().uniform(16, torch.Generator().manual_seed(s)) for s in range(2000)])
    assert (torch.sort((draws * 16).long(), 1).values == torch.arange(16)).all()
    # Kolmogorov-Smirnov, at a level of about 1 in 1,000.
    first = draws[:, 0].sort().values
    assert (first - torch.linspace(0, 1, 2000)).abs().max() < 1.95 / math.sqrt(2000)


def test_without_the_accelerator_times_are_independent() -> None:
    plain, spread = stage(), stage(StratifiedTimes())
    means = {}
    for name, made in (("plain", plain), ("spread", spread)):
        times = [
            made.source.times(64, torch.Generator().manual_seed(s), PICTURE, made.accelerators) for s in range(200)
        ]
        means[name] = torch.stack([each.mean() for each in times]).std() / torch.cat(times).std() * 8
    assert means["plain"] == pytest.approx(1, abs=0.15) and means["spread"] < 0.6


# ------------------------------------------------------------ label alignment


def test_the_label_layer_begins_with_the_loss_of_knowing_nothing() -> None:
    made = stage(LabelAlignment(block=1), form=PICTURE)
    labels = len(made.world.colours) + len(made.world.shapes)
    losses = made(made.source(0))
    assert losses["labels"].item() == pytest.approx(labels * math.log(2), rel=1e-5)
    assert torch.allclose(losses["total"], losses["main"] + 0.3 * losses["labels"])


def test_labels_end_with_the_cut_off_also_where_a_store_still_asks_for_them(tmp_path: Path) -> None:
    made = stage(LabelAlignment(block=1, until=0.5), form=PICTURE, scratch=tmp_path, pool=64)
    before, after = made.source(1), made.source(2)
    assert "labels" in made(before) and "labels" in after and "labels" not in made(after)


def test_a_run_without_labels_neither_draws_nor_stores_them(tmp_path: Path) -> None:
    plain, told = stage(scratch=tmp_path, pool=2), stage(LabelAlignment(block=1), scratch=tmp_path, pool=2)
    for made in (plain, told, plain):  # one folder for both
        batch = made.source.batch(PICTURE, [0, 1], 0)
        assert ("labels" in batch) == (made is told)
        made.clean(batch)
    assert "clean" in plain.source.batch(PICTURE, [0, 1], 0)


# ------------------------------------------------------------ lip alignment


@pytest.mark.parametrize("task", SPOKEN)
def test_the_lip_layers_begin_with_the_loss_of_knowing_nothing(task: Any) -> None:
    made = stage(LipAlignment(block=1), form=Form.spoken(task, 2), tasks={task: 1.0})
    losses = made(made.source(0))
    assert losses["lips"].item() == pytest.approx((3 + 4) * math.log(2), rel=1e-5), "of speech and of tokens"
    assert torch.allclose(losses["total"], losses["main"] + 0.3 * losses["lips"])
    losses["lips"].backward()
    assert made.lips_heard.weight.grad.any() and made.lips_shown.weight.grad.any()


def test_lips_are_asked_of_what_is_made_and_of_what_is_heard() -> None:
    chance = torch.Generator().manual_seed(4)
    tokens, track, lips, hidden = (
        torch.rand(shape, generator=chance) for shape in ((1, 2, 5), (1, 2, 3), (1, 4, 4), (1, 4, 8))
    )
    made = torch.tensor([[True, False, True, False]])
    layers = {"lips_heard": torch.nn.Linear(5, 3), "lips_shown": torch.nn.Linear(8, 4)}

    def entropy(layer: torch.nn.Linear, x: torch.Tensor, wanted: torch.Tensor) -> np.ndarray:
        z = x.numpy() @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()
        p, y = 1 / (1 + np.exp(-z)), wanted.numpy()
        return -(y * np.log(p) + (1 - y) * np.log(1 - p)).sum(-1)[0]

    heard, shown = entropy(layers["lips_heard"], tokens, track), entropy(layers["lips_shown"], hidden, lips)
    saw = Seen(torch.zeros(1, 4, 4), made, {3: hidden}, layers, spoken=Spoken(tokens, track, lips))
    loss = LipAlignment().loss(saw)
    assert loss is not None and loss.item() == pytest.approx(heard.mean() + shown[[0, 2]].mean(), rel=1e-5)


def test_every_token_of_a_frame_is_asked_for_its_mouth_and_eyes() -> None:
    form = Form.spoken("dubbing", 2)
    faces = torch.arange(float(4 * form.frames)).view(1, form.frames, 4)
    found = spoken_of(torch.zeros(1, form.speech, 6), faces, form)
    assert found.tokens.shape == (1, form.frames, 12) and found.lips.shape == (1, form.tokens, 4)
    assert (found.track == faces[..., :3]).all(), "no sound tells of eyes"
    each = form.h * form.w
    for frame in range(form.frames):
        assert (found.lips[0, frame * each : (frame + 1) * each] == faces[0, frame]).all()
    assert not found.lips[0, form.frames * each :].any(), "references are of no frame"


def test_nobody_who_speaks_is_no_lip_loss_and_a_deaf_stage_has_no_layer() -> None:
    made = stage(LipAlignment(block=1), form=PICTURE)
    assert "lips" not in made(made.source(0)) and not hasattr(made, "lips_heard")


# ------------------------------------------------------------ all of them


def test_a_run_of_all_resumes_bit_for_bit_across_their_cut_offs(tmp_path: Path) -> None:
    loop = LOOP.model_copy(update={"steps": 6, "muon": True, "save_seconds": 1e9})
    build = {"form": PICTURE, "loop": loop}
    whole = Trainer(stage(*EVERY, **build), loop, tmp_path / "whole", lambda text: None)
    whole.run()
    for stop in (2, None):
        part = Trainer(stage(*EVERY, **build), loop, tmp_path / "parts", lambda text: None)
        part.run(stop)
    assert part.step == 6
    expected, got = whole.state(), part.state()
    assert expected.keys() == got.keys() and [n for n in expected if not torch.equal(expected[n], got[n])] == []


def test_a_plain_run_has_no_head_and_makes_a_checkpoint_without_one(tmp_path: Path) -> None:
    made = stage()
    assert made.auxiliary is None and not made.beside()
    export(made, made.frozen["codec"].vae, tmp_path / "plain")
    assert not (tmp_path / "plain" / "auxiliary").exists() and describe(str(tmp_path / "plain")).prompt_tokens == 24
    assert set(stage(*EVERY).beside()) == {"auxiliary"}, "label layers are of training only"


def test_two_seeds_of_a_run_draw_different_noise_and_one_seed_the_same() -> None:
    first, second = (FlowStage(*parts(), World(seed=seed)) for seed in (1, 2))
    noises = [made.source.batch(PICTURE, [0, 1], step)["noise"] for made in (first, second) for step in (0, 1)]
    assert all(not torch.equal(a, b) for k, a in enumerate(noises) for b in noises[:k])
    assert torch.equal(first.source.batch(PICTURE, [0, 1], 1)["noise"], noises[1])


# ------------------------------------------------------------ run files of before

# Recorded before accelerators were objects: a tiny stage, six steps, noise and masks seeded by the step alone.
RECORDED = {
    "total": [6.39628, 6.20893, 6.16179, 6.01755, 2.95107, 2.79168],
    "auxiliary": [2.20842, 2.16998, 2.14959, 1.98558, 2.08232, 2.05186],
    "labels": [10.59955, 10.36076, 10.47526, 10.26712],
    "norm": [2.34499, 1.99606, 2.22340, 3.06997, 1.78668, 2.02346],
}
NAMES_AT_THE_END = [
    "auxiliary.modulation.weight",
    "auxiliary.proj_out.weight",
    "labels.weight",
    "labels.bias",
]


def test_the_older_fields_are_the_same_objects() -> None:
    config = FlowConfig(loop=LOOP, labels_until=1.0, auxiliary_weight=0.4, drop_tokens=0.5)
    assert config.chosen == (
        InternalGuidance(block=3, weight=0.4),
        LabelAlignment(block=3, weight=0.3, until=1.0),
        DeferredMasking(drop=0.5, tasks=("scenes",)),
        StratifiedTimes(),
    )


def test_run_files_of_before_compute_what_they_did(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def chance(seed: int, step: int, use: str = "") -> torch.Generator:
        return torch.Generator().manual_seed(step * 2 * 8 if use else step)

    monkeypatch.setattr("training.samples.generator", chance)
    loop = LOOP.model_copy(update={"steps": 6, "muon": True, "bf16": False, "batch": 8})
    config, codec = parts()
    torch.manual_seed(3)
    more = {"loop": loop, "tasks": {"picture": 1.0, "scenes": 1.0, "layered": 1.0}, "drop_tokens": 0.75}
    made = FlowStage(config.model_copy(update=more), codec, World())
    wake(made)
    trainer = Trainer(made, loop, tmp_path, lambda text: None)
    assert trainer.names[-4:] == NAMES_AT_THE_END
    losses = [trainer.one_step(made.source(step)) for step in range(6)]
    for name, values in RECORDED.items():
        assert [row[name] for row in losses if name in row] == pytest.approx(values, rel=1e-3), name


# ------------------------------------------------------------ configuration


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"accelerators": [], "labels_until": 1.0}, "either accelerators or labels_until"),
        ({"accelerators": [{"name": "layer_sync", "deep": 8}]}, "a block below 8 for layer_sync, got 8"),
        ({"accelerators": [{"name": "layer_sync", "early": 5}]}, "early before deep"),
        ({"accelerators": [{"name": "stratified_times"}] * 2}, "stratified_times 2 times"),
        ({"accelerators": [{"name": "stratified_times", "weight": 1}]}, "Extra inputs"),
        ({"accelerators": [{"name": "warp_drive"}]}, "warp_drive"),
        ({"accelerators": [{"name": "deferred_masking", "tasks": ["masked"]}]}, "'picture' or 'scenes'"),
        ({"auxiliary_block": 8}, "a block below 8 for internal_guidance"),
    ],
)
def test_accelerators_that_can_not_be_are_refused(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        FlowConfig(loop=LOOP, **fields)


def test_accelerators_are_read_without_torch() -> None:
    assert loaded_by("import training.accelerators") & HEAVY == set()


def test_the_page_has_every_accelerator_and_every_field() -> None:
    page = (Path(__file__).parents[1] / "docs" / "training.md").read_text()
    part = page[page.index("\n## Accelerators") + 1 :].partition("\n## ")[0]
    kinds = get_args(get_args(Accelerators)[0])
    rows = set()
    for kind in kinds:
        name = kind.model_fields["name"].default
        assert re.search(rf"^\| `{name}` \| ", part, re.M), name
        for field, about in kind.model_fields.items():
            if field != "name":
                rows.add(f"| `{name}` | `{field}` | {json.dumps(about.default)} | {about.description} |")
    assert rows == set(re.findall(r"^\| `\w+` \| `\w+` \| .* \|$", part, re.M))


def test_the_example_of_the_page_is_an_accelerator() -> None:
    page = (Path(__file__).parents[1] / "docs" / "training.md").read_text()
    (example,) = re.findall(r"^```python\n(.*?)^```$", page, re.M | re.S)
    there: dict[str, Any] = {}
    exec(compile(example, "dispersive.py", "exec", dont_inherit=True), there)
    dispersive = there["Dispersive"]()
    alike = torch.ones(3, 4, 8)
    assert float(dispersive.loss(seen({2: alike}))) == pytest.approx(0, abs=1e-6), "log of the mean of exp(0)"
    apart = torch.stack([0 * alike[0], alike[0]])
    assert float(dispersive.loss(seen({2: apart}))) == pytest.approx(math.log((1 + math.exp(-2)) / 2), abs=1e-6)
