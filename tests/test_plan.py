"""The token plan: orders, counts, refusals, and what people see of it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

from models.attention import dense_mask
from models.plan import Segment, TokenPlan, grid, words
from tests.plans import plans, scene_plan


@given(plans())
@settings(max_examples=60, deadline=None)
def test_plan_order_is_a_permutation_and_its_inverse_undoes_it(plan: TokenPlan) -> None:
    assert sorted(plan.order) == list(range(plan.tokens))
    assert (plan.order[plan.inverse] == np.arange(plan.tokens)).all()
    assert (np.diff([list(plan.class_order).index(c) for c in plan.classes[plan.order]]) >= 0).all()


@given(plans())
@settings(max_examples=60, deadline=None)
def test_counted_pairs_are_the_ones_of_the_dense_mask(plan: TokenPlan) -> None:
    assert plan.pairs == int(dense_mask(plan).sum())
    assert plan.density == pytest.approx(float(dense_mask(plan).float().mean()))


def test_classes_that_see_the_same_stand_together() -> None:
    table = {"a": frozenset("ab"), "b": frozenset("b"), "c": frozenset("ab")}
    plan = TokenPlan((Segment("s", "frame", grid(1, 1, 6), sees_as=list("abcabc")),), table)
    assert "".join(plan.class_names[c] for c in plan.classes[plan.order]) == "aaccbb"


def test_positions_stand_on_the_four_axes() -> None:
    assert grid(2, 1, 2, y=5).tolist() == [[0, 5, 0, 0], [0, 5, 1, 0], [1, 5, 0, 0], [1, 5, 1, 0]]
    assert words(3, t=2).tolist() == [[2, 0, 0, 0], [2, 0, 0, 1], [2, 0, 0, 2]]


def test_flops_count_blocks_by_hand() -> None:
    plan = scene_plan([2, 3], prompt=1)
    linear = 2 * 7 * (4 + 9) * 8**2
    assert plan.flops(width=8, double=1, single=2, mlp_ratio=3) == 3 * (linear + 4 * plan.pairs * 8)


@pytest.mark.parametrize(
    ("segments", "table", "says"),
    [
        ((Segment("p", "frame", grid(1, 1, 2)), Segment("w", "prompt", words(2))), None, "before its picture"),
        ((Segment("p", "frame", grid(1, 1, 2), sees_as="x"),), {"y": frozenset("y")}, "without a row"),
        ((Segment("p", "frame", grid(1, 1, 2), sees_as="x"),), {"x": frozenset("y"), "y": frozenset()}, "see no token"),
        ((Segment("p", "frame", np.zeros((2, 3), np.int64)),), None, r"positions \[N, 4\]"),
    ],
)
def test_a_plan_that_can_not_be_executed_is_refused(segments, table, says) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=says):
        TokenPlan(segments, table)


def test_the_text_of_a_plan_names_segments_roles_and_views() -> None:
    text = repr(scene_plan([4, 5], prompt=2, joined=True, given=1))
    assert "13 tokens" in text and "scene 1" in text
    assert "given" in text.splitlines()[3] and "generated" in text.splitlines()[4]
    assert "sees f0, f1, p1" in text.splitlines()[4]


def test_the_picture_of_a_plan_marks_who_sees_whom() -> None:
    picture = np.asarray(scene_plan([8, 8], prompt=4).draw(side=240))
    body = picture[16:, 136:]
    white = (body == 244).all(-1)
    assert not white[:30, :30].any(), "a prompt sees itself"
    assert white[:38, 42:78].all(), "and not the other prompt"
    assert white.mean() == pytest.approx(0.5, abs=0.02)
