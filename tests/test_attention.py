"""Structural attention equals its specification, the dense mask."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from models.attention import compile_plan, kernels, materialised, oracle_attention, plain, structural_attention
from models.plan import Segment, TokenPlan, grid
from tests.plans import plans, scene_plan


def inputs(plan: TokenPlan, batch: int, heads: int = 2, width: int = 8) -> list[torch.Tensor]:
    """Query, key and value in plan order."""
    generator = torch.Generator().manual_seed(plan.tokens)
    return [torch.randn(batch, plan.tokens, heads, width, generator=generator).requires_grad_() for _ in range(3)]


def largest_gaps(plan: TokenPlan, batch: int) -> tuple[float, float]:
    """Largest differences from the oracle: forward and gradient."""
    tensors = inputs(plan, batch)
    ours, theirs = structural_attention(*tensors, compile_plan(plan)), oracle_attention(*tensors, plan)
    weight = torch.randn(ours.shape, generator=torch.Generator().manual_seed(1))
    gradients = [torch.autograd.grad((out * weight).sum(), tensors) for out in (ours, theirs)]
    return (
        float((ours - theirs).abs().max()),
        max(float((a - b).abs().max()) for a, b in zip(*gradients, strict=True)),
    )


@given(plans(), st.integers(1, 3))
@settings(max_examples=200, deadline=None)
def test_structural_attention_equals_the_dense_mask_forward_and_gradient(plan: TokenPlan, batch: int) -> None:
    forward, gradient = largest_gaps(plan, batch)
    assert forward < 1e-5 and gradient < 1e-5


@pytest.mark.parametrize("joined", [False, True])
@pytest.mark.parametrize("lengths", [[7, 7, 7], [3, 11, 6, 1], [5]])
@pytest.mark.parametrize("batch", [1, 3])
def test_scenes_of_equal_and_unequal_length(lengths: list[int], joined: bool, batch: int) -> None:
    forward, gradient = largest_gaps(scene_plan(lengths, 4, joined), batch)
    assert forward < 1e-5 and gradient < 1e-5


def test_tokens_that_see_one_key_copy_its_value() -> None:
    table = {"one": frozenset({"two"}), "two": frozenset({"two"})}
    plan = TokenPlan((Segment("s", "frame", grid(1, 1, 6), sees_as=["one"] * 5 + ["two"]),), table)
    query, key, value = inputs(plan, 2)
    out = structural_attention(query, key, value, compile_plan(plan))
    assert torch.allclose(out, value[:, 5:].expand_as(out), atol=1e-6)


class Largest(TorchDispatchMode):
    """Remembers the most numbers that any operation returned."""

    numbers = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        out = function(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(tensor, torch.Tensor):
                # What is stored counts: an expanded row is a row.
                stored = tensor.untyped_storage().nbytes() // tensor.element_size()
                self.numbers = max(self.numbers, min(tensor.numel(), stored))
        return out


@pytest.mark.parametrize("joined", [False, True])
def test_nothing_of_n_times_n_is_made(joined: bool) -> None:
    plan = scene_plan([300, 300, 300, 300, 300, 300], 20, joined)
    program = compile_plan(plan)
    tensors = [x.detach() for x in inputs(plan, 1, heads=1)]
    with Largest() as largest:
        structural_attention(*tensors, program)
    assert largest.numbers < plan.tokens**2 / 20
    with Largest() as dense:
        oracle_attention(*tensors, plan)
    assert dense.numbers >= plan.tokens**2, "the probe sees the oracle's mask"


def test_equal_groups_run_as_one_call() -> None:
    calls = []

    def counting(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        calls.append(tuple(q.shape))
        return plain(q, k, v)

    plan = scene_plan([6, 6, 6], 4)
    structural_attention(*inputs(plan, 2), compile_plan(plan), counting)
    assert calls == [(6, 10, 2, 8)], "three scenes of a batch of two; prompt and frames see the same"


def test_full_visibility_is_one_plain_call_in_request_order() -> None:
    plan = TokenPlan((Segment("a", "frame", grid(1, 1, 5)), Segment("b", "frame", grid(1, 1, 4, t=1))))
    program = compile_plan(plan)
    tensors = inputs(plan, 2)
    assert program.full and program.order.tolist() == list(range(9))
    assert torch.equal(structural_attention(*tensors, program), plain(*tensors))


def test_written_out_scores_give_the_same_attention() -> None:
    plan = scene_plan([6, 3], 4)
    tensors = inputs(plan, 2)
    program = compile_plan(plan)
    ours = structural_attention(*tensors, program, materialised)
    assert torch.allclose(ours, structural_attention(*tensors, program), atol=1e-6)


def test_kernels_are_listed_only_where_they_gave_the_right_answer() -> None:
    found = kernels("cpu")
    query, key, value = (torch.randn(1, 40, 2, 64) for _ in range(3))
    for kernel in found.values():
        assert torch.allclose(kernel(query, key, value), plain(query, key, value), atol=1e-3)
    assert "sdpa" in found and "xformers" not in found, "xformers has no CPU kernels, whether it imports or not"
