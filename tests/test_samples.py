"""What training draws: masks that always leave work, losses that weigh samples alike, pure batches."""

from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from models.codec import Codec
from tests.tiny import tiny_stage
from training.flow import FlowStage
from training.forms import CLIP_FRAMES, CLIP_HOME, HOME, Form
from training.masks import clip_mask, hole, masked_mean, picture_mask
from training.store import TokenStore

ALL = {name: 1.0 for name in ("picture", "masked", "reference", "video", "scenes", "layout", "layered")}
BOXES = ((0, 0, 3, 3), (4, 2, 8, 5), (2, 2, 5, 4))
FORMS = [
    Form("picture", *HOME),
    Form("masked", *HOME),
    Form("reference", *HOME),
    Form("video", *CLIP_HOME, (CLIP_FRAMES,)),
    Form("scenes", *CLIP_HOME, (5, 8, 4)),
    Form("layout", *HOME, boxes=BOXES, prompted=True, siamese=True),
    Form("layout", *HOME, siamese=True, own_boxes=8),
    Form("layered", *HOME, boxes=BOXES, prompted=True),
    Form("layered", *HOME, boxes=BOXES),
]


def stage(scratch: Path | None = None, **fields: object) -> FlowStage:
    """A tiny stage that trains on every task."""
    first = tiny_stage()
    config = first.config.model_copy(update={"tasks": ALL, **fields})
    torch.manual_seed(3)
    return FlowStage(config, Codec(first.frozen["codec"].vae), first.world, scratch)


def draw(made: FlowStage, form: Form, count: int = 64) -> list:  # type: ignore[type-arg]
    return [made.source.sample(form, i, random.Random(i)) for i in range(count)]


# ---------------------------------------------------------------- masks


def test_every_mask_leaves_something_to_make() -> None:
    for seed in range(4000):
        rng = random.Random(seed)
        frames = rng.randint(2, 16)
        for mask, shape in (
            (clip_mask(rng, frames, 4, 4), (frames, 4, 4)),
            (picture_mask(rng, 8, 6, (0.9, 0.9, 1.0, 1.0)), (1, 8, 6)),
            (hole(rng, 4, 4, (0.99, 0.0, 1.0, 0.01)), (1, 4, 4)),
        ):
            assert mask.shape == shape and not mask.all()


def test_clips_are_masked_in_all_modes_and_at_both_ends() -> None:
    masks = [clip_mask(random.Random(seed), 8, 4, 4) for seed in range(3000)]
    whole = [mask.all((1, 2)) for mask in masks]
    in_space = [mask.any() and not np.array_equal(mask.any((1, 2)), mask.all((1, 2))) for mask in masks]
    assert sum(in_space) / 3000 == pytest.approx(0.2, abs=0.05), "one in five is masked in space as well"
    # A block that is made up to the last frame is where a slice that ends at -0 would have made nothing.
    assert any(there and not mask[-1].all() for mask, there in zip(masks, in_space, strict=True))
    predict = [w for w in whole if w[0] and not w[-1] and not (np.diff(w.astype(int)) > 0).any()]
    backward = [w for w in whole if w[-1] and not w[0] and not (np.diff(w.astype(int)) < 0).any()]
    assert len(predict) > 200 and len(backward) > 200
    assert sum(not mask.any() for mask in masks) > 200, "plain generation is one of the modes"
    assert any(w[0] and w[-1] and w.sum() == 2 for w in whole), "first and last frame"


def test_a_sparse_mask_counts_as_much_as_a_full_one() -> None:
    error = torch.rand(3, 50)
    made = torch.zeros(3, 50, dtype=torch.bool)
    made[0], made[1, 7], made[2, :25] = True, True, True
    means = masked_mean(error, made)
    assert torch.allclose(means, torch.stack([error[0].mean(), error[1, 7], error[2, :25].mean()]))
    error[~made] = 1e6
    assert torch.equal(masked_mean(error, made), means), "what is given does not count"


def test_given_tokens_give_no_gradient_and_are_not_noised() -> None:
    made = stage().float()
    form = FORMS[1]
    made.source.form = lambda step: form  # type: ignore[method-assign]
    batch = made.source(0)
    assert batch["given"].any()
    loss = made(batch)["main"]
    given = batch["given"][:, 24:]
    batch["noise"] = torch.where(given[..., None], torch.randn_like(batch["noise"]), batch["noise"])
    assert torch.equal(made(batch)["main"], loss), "noise on given tokens is never seen, nor asked for"


# ---------------------------------------------------------------- samples


MASKED = [form for form in FORMS if form.task not in ("picture", "layout")]


@pytest.mark.parametrize("form", MASKED, ids=lambda form: form.task)
def test_samples_of_a_batch_differ_in_their_masks(form: Form) -> None:
    masks = {sample.given.tobytes() for sample in draw(stage(), form)}
    assert len(masks) >= {"scenes": 3, "layered": 5}.get(form.task, 10)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.task)
def test_captions_are_dropped_in_every_task(form: Form) -> None:
    told = [sample.captions[0] for sample in draw(stage(), form, 400)]
    share = sum(caption == "" for caption in told) / len(told)
    assert share == pytest.approx(0.1 if form.task != "reference" else 0.64, abs=0.06)


def test_captions_are_paraphrased_and_shortened_as_often_as_asked() -> None:
    made = stage()
    scenes = [made.world.scene(i) for i in range(3000)]
    told = [made.source.tell(scene, random.Random(i)) for i, scene in enumerate(scenes)]
    shares = {
        "drop": sum(t == "" for t in told) / 3000,
        "short": sum(t == s.short for t, s in zip(told, scenes, strict=True)) / 3000,
        "paraphrase": sum(t == s.paraphrase for t, s in zip(told, scenes, strict=True)) / 3000,
    }
    assert shares == pytest.approx({"drop": 0.1, "short": 0.03, "paraphrase": 0.1}, abs=0.02)


@pytest.mark.parametrize("form", FORMS[1:3], ids=lambda form: form.task)
def test_given_tokens_know_nothing_of_what_the_hole_hides(form: Form) -> None:
    made = stage()
    made.source.form = lambda step: form  # type: ignore[method-assign]
    batch = made.source(0)
    clean = made.clean(batch)
    given = batch["given"][:, 24:]
    hidden = (~given[:, :64]).unflatten(1, (8, 8)).repeat_interleave(16, 1).repeat_interleave(16, 2)
    other = {**batch, "pieces": tuple(piece.clone() for piece in batch["pieces"])}
    other["pieces"][0][:, 0] = torch.where(hidden[:, None], 255 - other["pieces"][0][:, 0], other["pieces"][0][:, 0])
    again = made.clean(other)
    assert torch.equal(clean[given], again[given]) and not torch.equal(clean[~given], again[~given])


def test_of_a_layout_some_boxes_are_not_spoken_of_and_with_the_whole_none_is() -> None:
    samples = draw(stage(box_drop=0.2), FORMS[5], 400)
    silent = [sample.captions[1:].count("") for sample in samples if sample.captions[0]]
    assert sum(silent) / (3 * len(silent)) == pytest.approx(0.2, abs=0.04)
    assert all(not any(sample.captions) for sample in samples if not sample.captions[0])


def test_boxes_that_only_the_branch_is_told_of_differ_from_sample_to_sample() -> None:
    made, form = stage(), FORMS[6]
    made.source.form = lambda step: form  # type: ignore[method-assign]
    batch = made.source.batch(form, list(range(32)), 0)
    assert batch["boxes"].shape == (32, 8, 4) and batch["ids"].shape[0] == 32 * 9
    assert len({sample.boxes for sample in draw(made, form)}) == 64
    fewer = [sample for sample in draw(made, form) if len(sample.frames[0].things) < 8]
    assert fewer, "eight boxes often find no room"
    for sample in fewer:
        there = len(sample.frames[0].things)
        assert not any(sample.captions[1 + there :]) and len(sample.captions) == 9
    tall = (batch["boxes"][..., 3] - batch["boxes"][..., 1])[batch["present"]]
    assert tall.min() > 0, "what has no room is not present"


def test_a_prompt_that_many_boxes_have_is_encoded_once_and_read_alike() -> None:
    made = stage()
    ids, mask = made.prompts.tokenize(["a red circle", "", "a blue star", "a red circle", "a blue star", "", "a"])
    seen: list[int] = []
    encode = made.prompts.encode
    made.prompts.encode = lambda ids, mask: seen.append(len(ids)) or encode(ids, mask)  # type: ignore[method-assign,func-returns-value]
    assert torch.allclose(made.told(ids, mask), encode(ids, mask), atol=1e-5) and seen == [4]


def test_the_pieces_of_a_stack_compose_to_its_composite() -> None:
    made, form = stage(), FORMS[7]
    whole, *layers = made.source.pieces(draw(made, form, 8), form)
    composite, below = whole[:, 0].float(), whole[:, 1].float()
    assert not torch.equal(composite, below)
    for (y0, x0, y1, x1), layer in zip(form.boxes, layers, strict=True):
        here = (slice(None), slice(None), slice(16 * y0, 16 * y1), slice(16 * x0, 16 * x1))
        assert layer.shape == (8, 1, 4, 16 * (y1 - y0), 16 * (x1 - x0))
        below[here] = layer[:, 0, :3] + below[here] * (1 - layer[:, 0, 3:] / 255)
    assert (below - composite).abs().max() <= 2, "each layer was rounded once"


def test_in_a_story_the_prompt_of_a_given_scene_is_given_too() -> None:
    form = FORMS[4]
    for sample in draw(stage(), form):
        ends = np.cumsum([0, *form.lengths]) * form.h * form.w
        parts = [sample.given[a:b] for a, b in pairwise(ends)]
        assert [bool(part.all()) for part in parts] == list(sample.prompts_given)
        assert not sample.prompts_given[-1], "the last scene is always made"


def test_a_reference_shows_what_is_in_the_hole() -> None:
    for sample in draw(stage(), FORMS[2]):
        scene, alone = sample.frames
        assert any((t.shape, t.colour) == (alone.things[0].shape, alone.things[0].colour) for t in scene.things)
        assert sample.given[64:].all() and not sample.given[:64].all()


def test_every_task_trains_and_reports_its_own_loss() -> None:
    made = stage()
    for form in FORMS:
        made.source.form = lambda step, form=form: form  # type: ignore[method-assign]
        losses = made(made.source(5))
        assert torch.isfinite(losses["total"])
        name = "siamese" if form.own_boxes else form.task
        assert {name, f"{name}_given"} & losses.keys()


def test_dropped_tokens_of_a_story_train() -> None:
    made = stage(drop_tokens=0.75)
    made.source.form = lambda step: FORMS[4]  # type: ignore[method-assign]
    assert torch.isfinite(made(made.source(1))["total"])


def test_a_store_that_another_process_opens_keeps_what_is_in_it(tmp_path: Path) -> None:
    first = TokenStore(tmp_path / "tokens" / "a.f16", (4, 3, 2))
    first.put([2], torch.ones(1, 3, 2))
    second = TokenStore(tmp_path / "tokens" / "a.f16", (4, 3, 2))
    kept = second.get([2])
    assert kept is not None and kept.eq(1).all() and second.get([1, 2]) is None
    second.put([1], torch.full((1, 3, 2), 2.0))
    assert first.get([1, 2]) is not None, "both see one file"


def test_a_store_changes_no_batch(tmp_path: Path) -> None:
    plain = stage(pool=3, labels_until=1.0)
    stored = stage(tmp_path, pool=3, labels_until=1.0)
    home = Form("video", *CLIP_HOME, (CLIP_FRAMES,))
    for made in (plain, stored):
        made.source.form = lambda step: home  # type: ignore[method-assign]
    for step in range(4):
        expected, batch = plain.source(step), stored.source(step)
        assert ("clean" in batch) == (step >= 3), "three samples are stored after three steps of one"
        assert torch.allclose(stored.clean(batch), plain.clean(expected), atol=2e-2)
        assert torch.allclose(batch["labels"].float(), expected["labels"], atol=1e-3)
        for name in ("times", "noise", "ids", "index"):
            assert torch.equal(batch[name], expected[name])


# ---------------------------------------------------------------- times


def test_times_are_spread_reach_both_ends_and_are_noisier_for_clips() -> None:
    made = stage()

    def drawn(form: Form) -> list[torch.Tensor]:
        return [made.source.times(64, torch.Generator().manual_seed(s), form, made.accelerators) for s in range(50)]

    pictures = drawn(FORMS[0])
    times = torch.cat(pictures)
    assert 0 <= times.min() < 0.01 and 0.99 < times.max() <= 1
    spread = torch.stack([each.mean() for each in pictures]).std()
    assert spread < 0.7 * float(times.std()) / 64**0.5, "strata vary less than independent draws"
    assert torch.cat(drawn(FORMS[3])).mean() > times.mean(), "clips are drawn noisier"
