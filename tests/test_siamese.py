"""The siamese branch: it changes nothing until it is trained, and then it tells where things go."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from models.checkpoint import CheckpointError, describe, load
from models.mmdit import AuxiliaryHead, MMDiT
from models.plan import Segment, TokenPlan, grid, words
from models.siamese import Layout, SiameseBranch, fourier, mean_words
from pipelines.layout import layout_plan
from pipelines.sampler import Guidance, build_scheduler, sample
from pipelines.text import text_plan
from tests.test_mmdit import SMALL, pair, tensors
from tests.test_sampler import STATIC

BOXES = ((0, 0, 2, 3), (1, 1, 4, 4))
PLAN = layout_plan(4, 4, 4, BOXES, placed=True, regional=True)


@pytest.fixture(scope="module")
def model() -> MMDiT:
    return pair(SMALL)[1].requires_grad_(False)


def branch_of(model: MMDiT, trained: bool, **options) -> SiameseBranch:  # type: ignore[no-untyped-def]
    torch.manual_seed(4)
    branch = SiameseBranch.of(model, **{"inner_width": 32} | options)
    if trained:
        for weight in (branch.modulation.weight, *(part.out_picture.weight for part in branch.attentions)):
            torch.nn.init.normal_(weight, std=0.3)
    return branch


def layout(branch: SiameseBranch, batch: int = 2, boxes: int = 3) -> Layout:
    draw = torch.Generator().manual_seed(8)
    corners = torch.rand(batch, boxes, 2, 2, generator=draw).sort(2).values
    features = 30 * torch.randn(batch, boxes, SMALL["joint_attention_dim"], generator=draw)
    return Layout(branch, corners.flatten(2), features, torch.ones(batch, boxes, dtype=torch.bool))


def part(whole: Layout, rows: slice) -> Layout:
    return Layout(whole.branch, whole.boxes[rows], whole.features[rows], whole.present[rows])


# ---------------------------------------------------------------- at initialisation, and after it


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_fresh_branch_changes_nothing_bit_for_bit(dtype: torch.dtype) -> None:
    model = pair(SMALL)[1].to(dtype)
    fresh = layout(branch_of(model, False).to(dtype))
    head = AuxiliaryHead(width=64, out_channels=16, block=2).to(dtype)
    given = Segment("picture", "picture", grid(1, 4, 4), given=torch.arange(16).numpy() < 5)
    for plan in (PLAN, text_plan(4, 4, 4), TokenPlan((Segment("prompt", "prompt", words(4)), given))):
        inputs = [x.to(dtype) for x in tensors(plan, SMALL)]
        for keep in (None, torch.tensor([0, 3, 7, 8, 15])):
            options = {"plan": plan, "keep": keep, "auxiliary": head, "taps": (0, 3)}
            with_it, without = model(*inputs, siamese=fresh, **options), model(*inputs, **options)
            assert torch.equal(with_it.sample, without.sample)
            assert torch.equal(with_it.auxiliary, without.auxiliary)
            assert all(torch.equal(with_it.taps[i], without.taps[i]) for i in (0, 3))


@torch.no_grad()
def test_a_trained_branch_changes_the_picture_by_box_and_by_prompt(model: MMDiT) -> None:
    inputs, trained = tensors(PLAN, SMALL), layout(branch_of(model, True))
    plain = model(*inputs, plan=PLAN).sample
    base = model(*inputs, plan=PLAN, siamese=trained).sample
    moved = Layout(trained.branch, trained.boxes * 0.7, trained.features, trained.present)
    renamed = Layout(trained.branch, trained.boxes, trained.features.flip(1), trained.present)
    fewer = Layout(trained.branch, trained.boxes, trained.features, torch.tensor([[True, True, False]] * 2))
    for other in (None, moved, renamed, fewer):
        found = model(*inputs, plan=PLAN, siamese=other).sample
        assert (found - base).abs().max() > 1e-4
    assert torch.equal(model(*inputs, plan=PLAN).sample, plain), "the branch leaves nothing behind"


@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradients_reach_every_weight_of_the_branch(model: MMDiT, checkpointing: bool) -> None:
    trained = layout(branch_of(model, True))
    told = Layout(trained.branch, trained.boxes, trained.features, torch.tensor([[True, True, False]] * 2))
    model.train(checkpointing)
    if checkpointing:
        model.enable_gradient_checkpointing()
    try:
        picture, context, time = tensors(PLAN, SMALL)
        model(picture.requires_grad_(), context, time, plan=PLAN, siamese=told).sample.square().sum().backward()
    finally:
        model.disable_gradient_checkpointing()
        model.eval()
    for name, weight in trained.branch.named_parameters():
        assert weight.grad is not None and weight.grad.any(), name


def test_the_first_step_of_training_moves_the_projections_alone(model: MMDiT) -> None:
    fresh = layout(branch_of(model, False))
    model(*tensors(PLAN, SMALL), plan=PLAN, siamese=fresh).sample.square().sum().backward()
    moved = {name for name, weight in fresh.branch.named_parameters() if weight.grad is not None and weight.grad.any()}
    assert moved == {f"attentions.{i}.out_picture.weight" for i in range(4)}


# ---------------------------------------------------------------- boxes


@torch.no_grad()
def test_samples_of_a_batch_have_boxes_of_their_own(model: MMDiT) -> None:
    both = layout(branch_of(model, True))
    picture, context, time = tensors(PLAN, SMALL)
    together = model(picture, context, time, plan=PLAN, siamese=both).sample
    for row in (slice(0, 1), slice(1, 2)):
        alone = model(picture[row], context[row], time[row], plan=PLAN, siamese=part(both, row)).sample
        assert torch.allclose(alone, together[row], atol=1e-5)


@torch.no_grad()
def test_where_no_box_is_nothing_of_it_is_told(model: MMDiT) -> None:
    some = layout(branch_of(model, True))
    present = torch.tensor([[True, False, False], [True, True, False]])
    inputs = tensors(PLAN, SMALL)
    noise = torch.where(present[..., None], some.boxes, torch.rand_like(some.boxes))
    other = torch.where(present[..., None], some.features, torch.randn_like(some.features))
    one = model(*inputs, plan=PLAN, siamese=Layout(some.branch, some.boxes, some.features, present)).sample
    two = model(*inputs, plan=PLAN, siamese=Layout(some.branch, noise, other, present)).sample
    assert torch.equal(one, two)


@torch.no_grad()
def test_the_unconditional_half_has_null_boxes(model: MMDiT) -> None:
    some = layout(branch_of(model, True))
    assert some.guided().present.tolist() == [[True] * 3] * 2 + [[False] * 3] * 2
    twice = [torch.cat([x, x]) for x in tensors(PLAN, SMALL)]
    halves = model(*twice, plan=PLAN, siamese=some.guided()).sample.chunk(2)
    none = Layout(some.branch, some.boxes, some.features, torch.zeros_like(some.present))
    for half, told in zip(halves, (some, none), strict=True):
        alone = model(*tensors(PLAN, SMALL), plan=PLAN, siamese=told).sample
        assert torch.allclose(half, alone, atol=1e-5)


@torch.no_grad()
def test_the_plans_order_does_not_matter_to_the_branch(model: MMDiT) -> None:
    """A token that only sees itself makes the plan sort its tokens; nothing else may change."""
    told = layout(branch_of(model, True))
    plain = text_plan(4, 3, 4)
    table = {"a": frozenset("ab"), "b": frozenset("ab"), "blind": frozenset({"blind"})}
    prompt = Segment("prompt", "prompt", words(4), sees_as="b")
    blind = Segment("blind", "prompt", words(1), sees_as="blind")
    sorted_ = TokenPlan(
        (prompt, blind, Segment("picture", "picture", grid(1, 3, 4), sees_as=list("abbabaabbaab"))), table
    )
    picture, context, time = tensors(plain, SMALL)
    longer = torch.cat([context, torch.randn(2, 1, context.shape[2])], 1)
    for keep in (None, torch.tensor([1, 2, 6, 11])):
        one = model(picture, context, time, plan=plain, siamese=told, keep=keep).sample
        two = model(picture, longer, time, plan=sorted_, siamese=told, keep=keep).sample
        assert torch.allclose(one, two, atol=1e-5)


@torch.no_grad()
def test_a_time_for_each_token_is_the_same_as_one_for_all(model: MMDiT) -> None:
    told = layout(branch_of(model, True))
    picture, context, time = tensors(PLAN, SMALL)
    each = time[:, None].expand(-1, PLAN.tokens)
    one, two = (model(picture, context, t, plan=PLAN, siamese=told).sample for t in (time, each))
    assert torch.allclose(one, two, atol=1e-5)


def test_a_box_stands_at_its_middle_token_and_its_number(model: MMDiT) -> None:
    branch = branch_of(model, False)
    boxes = torch.tensor([[[0.25, 0.0, 1.0, 0.75], [0.0, 0.0, 1.0, 1.0]]])  # columns 1 to 3, rows 0 to 2
    told = Layout(branch, boxes, torch.zeros(1, 2, 96), torch.tensor([[True, False]]))
    cosines, sines = told._rotary(model, PLAN)
    expected = model.pos_embed(torch.tensor([[0, 1, 2, 1], [0, 0, 0, 0]]))
    assert torch.allclose(cosines[0], expected[0]) and torch.allclose(sines[0], expected[1])


def test_coordinates_become_sines_and_cosines_of_eight_frequencies() -> None:
    vector = fourier(torch.tensor([0.5, 0.0, 1.0, 0.25]))
    assert vector.shape == (64,)
    assert torch.allclose(vector[:2], torch.tensor([0.5, 0.5 * 100 ** (1 / 8)]).sin())
    assert torch.allclose(vector[32:34], torch.tensor([0.5, 0.5 * 100 ** (1 / 8)]).cos())


def test_a_prompts_feature_is_the_mean_of_its_words_and_not_of_the_padding() -> None:
    features = torch.tensor([[[1.0], [3.0], [100.0]], [[5.0], [100.0], [100.0]]])
    mask = torch.tensor([[1, 1, 0], [1, 0, 0]])
    assert mean_words(features, mask).tolist() == [[2.0], [5.0]]


# ---------------------------------------------------------------- sampling


class Told:
    """The branch in the first steps, and a list of when it was asked."""

    def __init__(self, layout: Layout, until: float) -> None:
        self.layout, self.until, self.asked = layout, until, []  # type: ignore[var-annotated]

    def __call__(self, share: float, guided: bool):  # type: ignore[no-untyped-def]
        self.asked.append((round(share, 3), guided))
        return {"siamese": self.layout.guided() if guided else self.layout} if share < self.until else {}


def test_the_loop_asks_at_every_step_what_the_model_is_told(model: MMDiT) -> None:
    told = layout(branch_of(model, True))

    def run(until: float | None) -> tuple[torch.Tensor, list[tuple[float, bool]]]:
        asked = None if until is None else Told(told, until)
        noise, context = torch.ones(2, 16, 16), torch.ones(2, PLAN.context_tokens, 96)
        scheduler = build_scheduler("euler", STATIC, 4, 16)
        high = float(scheduler.timesteps[1]) / 1000 + 1e-3
        guidance = Guidance(2.0, (0.0, high))
        out = sample(model, PLAN, noise, context, scheduler, guidance, negative=0 * context, told=asked)
        return out, [] if asked is None else asked.asked

    never, asked = run(0.0)
    assert asked == [(0.0, False), (0.25, True), (0.5, True), (0.75, True)]
    assert torch.equal(never, run(None)[0]), "a branch that acts in no step is no branch, bit for bit"
    assert not torch.equal(run(0.25)[0], never)
    assert not torch.equal(run(0.5)[0], run(0.25)[0])


# ---------------------------------------------------------------- the checkpoint


def test_the_embedded_transformers_branch_is_small() -> None:
    with torch.device("meta"):
        branch = SiameseBranch.of(MMDiT.from_config(describe("papercut").transformer))
    assert branch.blocks == (0, 1, 2, 3, 4)
    assert sum(weight.numel() for weight in branch.parameters()) <= 1_200_000


@pytest.fixture
def with_branch(tiny: Path, tmp_path: Path) -> Path:
    folder = shutil.copytree(tiny, tmp_path / "tiny")
    shutil.rmtree(folder / "siamese", ignore_errors=True)
    transformer = MMDiT.from_pretrained(folder, subfolder="transformer")
    branch_of(transformer, True, blocks=(0, 2)).save_pretrained(folder / "siamese")
    return folder


def test_a_branch_is_saved_and_loaded_with_its_checkpoint(with_branch: Path) -> None:
    description = describe(str(with_branch))
    assert description.siamese is not None and description.siamese["blocks"] == [0, 2]
    checkpoint = load(description)
    saved = branch_of(checkpoint.transformer, True, blocks=(0, 2))
    assert checkpoint.siamese is not None and checkpoint.siamese.blocks == (0, 2)
    for (name, weight), (_, expected) in zip(
        checkpoint.siamese.named_parameters(), saved.named_parameters(), strict=True
    ):
        assert torch.equal(weight, expected) and not weight.requires_grad, name


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"width": 999}, "of another transformer: expected"),
        ({"head_dim": 999}, "of another transformer: expected"),
        ({"blocks": [0, 3]}, "names the blocks \\[0, 3\\]; expected some of 0 to 2 in order"),
        ({"blocks": [2, 0]}, "names the blocks"),
        ({"blocks": []}, "names the blocks"),
        ({"blocks": "all"}, "names the blocks"),
    ],
)
def test_a_branch_of_another_transformer_is_refused(with_branch: Path, change: dict, says: str) -> None:  # type: ignore[type-arg]
    config = with_branch / "siamese" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | change))
    with pytest.raises(CheckpointError, match=says):
        describe(str(with_branch))


def test_a_branch_that_is_no_safetensors_file_is_refused(with_branch: Path) -> None:
    (weights,) = (with_branch / "siamese").glob("*.safetensors")
    weights.rename(weights.with_name("diffusion_pytorch_model.bin"))
    with pytest.raises(CheckpointError, match="a pickle"):
        describe(str(with_branch))
