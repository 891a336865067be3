"""The MM-DiT against the model it comes from, which nobody here wrote."""

from __future__ import annotations

import pytest
import torch
from diffusers import Flux2Transformer2DModel

from models.attention import dense_mask
from models.mmdit import AuxiliaryHead, MMDiT
from models.plan import Segment, TokenPlan, grid, words
from pipelines.text import text_plan
from tests.plans import scene_plan

# FLUX.2 [klein] 4B with 2 heads in place of 24 and short prompts' features; depth, axes and head width are its own.
KLEIN = {
    "in_channels": 128,
    "num_layers": 5,
    "num_single_layers": 20,
    "attention_head_dim": 128,
    "num_attention_heads": 2,
    "joint_attention_dim": 96,
    "axes_dims_rope": (32, 32, 32, 32),
    "rope_theta": 2000,
    "guidance_embeds": False,
}
SMALL = KLEIN | {
    "in_channels": 16,
    "num_layers": 2,
    "num_single_layers": 2,
    "attention_head_dim": 32,
    "axes_dims_rope": (8,) * 4,
}


def pair(config: dict, seed: int = 0) -> tuple[Flux2Transformer2DModel, MMDiT]:
    """The same random weights in the parent and in ours."""
    torch.manual_seed(seed)
    parent, ours = Flux2Transformer2DModel(**config).eval(), MMDiT(**config).eval()
    ours.load_state_dict(parent.state_dict())
    return parent, ours.use_plans()


def tensors(plan: TokenPlan, config: dict, batch: int = 2) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(7)
    picture = torch.randn(batch, plan.tokens - plan.context_tokens, config["in_channels"], generator=generator)
    context = torch.randn(batch, plan.context_tokens, config["joint_attention_dim"], generator=generator)
    return picture, context, torch.rand(batch, generator=generator)


def ids(plan: TokenPlan) -> dict[str, torch.Tensor]:
    positions = torch.from_numpy(plan.positions)
    return {"txt_ids": positions[: plan.context_tokens], "img_ids": positions[plan.context_tokens :]}


@torch.no_grad()
def test_all_see_all_equals_flux2_klein() -> None:
    parent, ours = pair(KLEIN)
    plan = text_plan(12, 4, 6)
    picture, context, time = tensors(plan, KLEIN)
    expected = parent(picture, context, time, **ids(plan), return_dict=False)[0]
    assert (ours(picture, context, time, plan=plan).sample - expected).abs().max() < 1e-5
    assert torch.equal(ours(picture, context, time, **ids(plan), return_dict=False)[0], expected), "as the parent, too"


@torch.no_grad()
@pytest.mark.parametrize("joined", [False, True])
def test_a_structured_plan_equals_the_parent_under_its_dense_mask(joined: bool) -> None:
    parent, ours = pair(SMALL)
    plan = scene_plan([5, 9, 5], 4, joined)
    picture, context, time = tensors(plan, SMALL)
    mask = dense_mask(plan)[plan.inverse][:, plan.inverse]
    masked = {"attention_mask": mask[None, None].expand(2, 1, -1, -1)}
    expected = parent(picture, context, time, **ids(plan), joint_attention_kwargs=masked, return_dict=False)[0]
    assert (ours(picture, context, time, plan=plan).sample - expected).abs().max() < 1e-5


@torch.no_grad()
def test_given_tokens_stand_at_timestep_zero() -> None:
    _, ours = pair(SMALL)
    plan = scene_plan([5, 7], 4, joined=True, given=1)
    picture, context, time = tensors(plan, SMALL)
    each = torch.where(torch.from_numpy(plan.given), 0.0, time[:, None])
    by_role = ours(picture, context, time, plan=plan).sample
    assert torch.allclose(by_role, ours(picture, context, each, plan=plan).sample, atol=1e-5)
    assert not torch.allclose(
        by_role, ours(picture, context, time[:, None].expand(-1, plan.tokens), plan=plan).sample, atol=1e-3
    )


@torch.no_grad()
def test_samples_of_a_batch_may_differ_in_what_is_given() -> None:
    _, ours = pair(SMALL)
    plan = scene_plan([5, 7], 4, joined=True)
    picture, context, time = tensors(plan, SMALL)
    given = torch.rand(2, plan.tokens, generator=torch.Generator().manual_seed(1)) < 0.5
    together = ours(picture, context, time, plan=plan, given=given).sample
    for b in range(2):
        each = torch.where(given[b], 0.0, time[b])[None]
        alone = ours(picture[b : b + 1], context[b : b + 1], each, plan=plan).sample
        assert torch.allclose(together[b : b + 1], alone, atol=1e-5)


@torch.no_grad()
def test_deferred_masking_drops_tokens_after_the_double_blocks() -> None:
    _, ours = pair(SMALL)
    plan = scene_plan([5, 7], 4)  # scenes that do not see each other
    picture, context, time = tensors(plan, SMALL)
    given = torch.rand(2, plan.tokens, generator=torch.Generator().manual_seed(1)) < 0.5
    head = AuxiliaryHead(width=64, out_channels=16, block=1)
    options = {"plan": plan, "given": given, "auxiliary": head, "taps": (0, 3)}
    whole = ours(picture, context, time, **options)
    everything = ours(picture, context, time, keep=torch.arange(12), **options)
    assert torch.equal(everything.sample, whole.sample) and torch.equal(everything.auxiliary, whole.auxiliary)
    keep = torch.tensor([0, 1, 2, 3, 4, 6, 9])  # the first scene whole, two tokens of the second
    some = ours(picture, context, time, keep=keep, **options)
    assert torch.allclose(some.sample[:, :5], whole.sample[:, :5], atol=1e-5), (
        "the first scene never saw what was dropped"
    )
    assert not torch.allclose(some.sample[:, 5:], whole.sample[:, [6, 9]], atol=1e-3), "the second one did"
    assert torch.allclose(some.auxiliary, whole.auxiliary[:, keep], atol=1e-5), "the double blocks see all tokens"
    assert torch.allclose(some.taps[0], whole.taps[0][:, keep], atol=1e-5)


@torch.no_grad()
def test_taps_and_auxiliary_head_are_in_request_order() -> None:
    _, ours = pair(SMALL)
    table = {"a": frozenset("ab"), "b": frozenset("b")}
    mixed = TokenPlan(
        (Segment("p", "prompt", words(4), sees_as="a"), Segment("x", "frame", grid(1, 1, 6), sees_as=list("ababab"))),
        table,
    )
    picture, context, time = tensors(mixed, SMALL)
    head = AuxiliaryHead(width=64, out_channels=16, block=1)
    out = ours(picture, context, time, plan=mixed, taps=(0, 1, 3), auxiliary=head)
    assert {k: tuple(v.shape) for k, v in out.taps.items()} == {k: (2, 6, 64) for k in (0, 1, 3)}
    embedding = ours.time_guidance_embed(time * 1000, None)[:, None]
    assert torch.allclose(out.auxiliary, head(out.taps[1], embedding), atol=1e-6)
    assert torch.allclose(out.sample, ours._head(out.taps[3], embedding), atol=1e-6)


def test_gradients_reach_every_weight_through_a_plan() -> None:
    _, ours = pair(SMALL)
    plan = scene_plan([5, 9], 4, given=1)
    ours.train().enable_gradient_checkpointing()
    ours(*tensors(plan, SMALL), plan=plan).sample.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in ours.parameters())


def test_a_call_that_does_not_fit_the_plan_is_refused() -> None:
    _, ours = pair(SMALL)
    plan = text_plan(4, 2, 2)
    picture, context, time = tensors(plan, SMALL)
    with pytest.raises(ValueError, match=r"\(4, 4\) context and picture tokens"):
        ours(picture[:, 1:], context, time, plan=plan)
    with pytest.raises(ValueError, match="timestep must be"):
        ours(picture, context, time[:, None], plan=plan)
    with pytest.raises(ValueError, match="given must be"):
        ours(picture, context, time, plan=plan, given=torch.zeros(2, 4, dtype=torch.bool))
