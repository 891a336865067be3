"""What training promises of boxes: they fit the grid, things fill them, and scores know a filled box from an empty."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.estimate import Rendered
from pipelines.layered import cover
from pipelines.layout import token_box
from training.arrangement import (
    bounds_of,
    contradicted,
    fill,
    named,
    overlapping,
    shaken,
    token_boxes,
    within,
)
from training.drawing import render
from training.evaluate_layout import KINDS, evaluate_autoencoder, evaluate_layout, layout_cases
from training.papercut import World
from training.renders import Settings
from training.scene import SHAPES, Scene, Thing

PICTURES = Settings(size=(128, 128))
WORLD = World(5, placement="canonical")


@given(st.integers(0, 10_000), st.integers(1, 12), st.booleans(), st.sampled_from([(8, 8), (6, 12), (12, 6)]))
def test_boxes_lie_on_the_grid_and_share_tokens_only_where_they_may(
    seed: int, count: int, overlap: bool, grid: tuple[int, int]
) -> None:
    h, w = grid
    boxes = token_boxes(random.Random(seed), h, w, count, overlap)
    assert 1 <= len(boxes) <= count
    for y0, x0, y1, x1 in boxes:
        assert 0 <= y0 < y1 <= h and 0 <= x0 < x1 <= w
    assert overlap or not overlapping(boxes)


@given(st.integers(0, 10_000))
def test_a_shaken_box_and_what_fills_a_layer_belong_to_the_same_tokens(seed: int) -> None:
    rng = random.Random(seed)
    for box in token_boxes(rng, 8, 8, 5, overlap=True):
        assert token_box(shaken(rng, box, 8, 8), 8, 8) == box
        assert cover(within(box, 8, 8), 8, 8) == box


@pytest.mark.parametrize("shape", SHAPES)
def test_a_thing_fills_its_box(shape: str) -> None:
    rng = random.Random(shape)
    world = World(5, shapes=(shape,))
    boxes = [(0.1, 0.2, 0.45, 0.6), (0.5, 0.5, 0.98, 0.9)]
    scene = fill(rng, world, boxes, False, (1.0, 1.0))
    drawn = render([scene], 256, 256).boxes[0]
    for box, thing, seen in zip(boxes, scene.things, drawn, strict=True):
        assert seen.tolist() == pytest.approx(bounds_of(thing, (1.0, 1.0)), abs=0.008)
        assert box[0] - 0.01 <= seen[0] and box[1] - 0.01 <= seen[1]
        assert seen[2] <= box[2] + 0.01 and seen[3] <= box[3] + 0.01
        width, height = seen[2] - seen[0], seen[3] - seen[1]
        assert max(width / (box[2] - box[0]), height / (box[3] - box[1])) > 0.96


def test_colours_differ_where_boxes_touch_and_no_held_out_pair_is_trained() -> None:
    for seed in range(300):
        scene = fill(random.Random(seed), WORLD, [(0.1, 0.1, 0.5, 0.5)] * 5, True, (1.0, 1.0))
        colours = [thing.colour for thing in scene.things]
        assert len(set(colours)) == 5 and scene.ground not in colours
        assert not scene.has_held_out_pair


def test_a_contradicting_caption_is_wrong_about_every_thing_and_right_about_the_ground() -> None:
    for seed in range(100):
        rng = random.Random(seed)
        scene = fill(rng, WORLD, [(0.1, 0.1, 0.5, 0.5), (0.5, 0.5, 0.9, 0.9)], True, (1.0, 1.0))
        caption = contradicted(rng, scene, WORLD)
        assert caption.endswith(scene.ground_words)
        assert not any(named(thing) in caption.split(" and ")[k] for k, thing in enumerate(scene.things))


def truth(scene: Scene) -> Rendered:
    return Rendered(PICTURES.draw([scene]), {})


@pytest.mark.parametrize("kind", KINDS)
def test_the_truth_of_a_layout_scores_nearly_full_marks_and_an_empty_picture_none(kind: str) -> None:
    cases = layout_cases(kind, 40, PICTURES, mechanism="both")  # type: ignore[arg-type]
    scores = evaluate_layout(lambda jobs: [truth(case.scene) for case in cases], cases, PICTURES)
    assert scores.rates["boxes"] > 0.97, "what others hide in part is read as the whole it is"
    assert scores.rates["ground"] == 1 and scores.rates["coloured"] >= scores.rates["boxes"]
    empty = evaluate_layout(lambda jobs: [truth(Scene((), case.scene.ground)) for case in cases], cases, PICTURES)
    assert empty.rates["boxes"] == empty.rates["coloured"] == empty.rates["exact"] == 0
    others = {"circle": "square", "square": "circle"}

    def changed(change: Callable[[Thing, str], Thing]) -> dict[str, float]:
        scenes = [Scene(tuple(change(t, c.scene.ground) for t in c.scene.things), c.scene.ground) for c in cases]
        return dict(evaluate_layout(lambda jobs: [truth(scene) for scene in scenes], cases, PICTURES).rates)

    reshaped = changed(lambda thing, ground: replace(thing, shape=others.get(thing.shape, "circle")))
    assert reshaped["boxes"] == 0 and reshaped["coloured"] > (0.6 if kind == "overlapping" else 0.9)
    recoloured = changed(
        lambda thing, ground: replace(thing, colour=next(c for c in WORLD.colours if c not in (thing.colour, ground)))
    )
    assert recoloured["boxes"] == recoloured["coloured"] == 0


def test_the_autoencoder_alone_leaves_room_above_the_bars() -> None:
    for kind, bar in (("apart", 0.8), ("overlapping", 0.8)):
        cases = layout_cases(kind, 20, PICTURES, mechanism="both")  # type: ignore[arg-type]
        assert bar < evaluate_autoencoder("papercut", cases, PICTURES).rates["boxes"] <= 1


def test_things_of_the_wrong_boxes_do_not_count() -> None:
    cases = layout_cases("apart", 20, PICTURES, mechanism="plan")
    rolled = [
        Scene(fill(random.Random(1), WORLD, case.boxes, True, (1.0, 1.0)).things, case.scene.ground) for case in cases
    ]
    scores = evaluate_layout(lambda jobs: [truth(scene) for scene in rolled], cases, PICTURES)
    assert scores.rates["boxes"] < 0.2


def test_cases_ask_for_what_their_kind_says(tmp_path: Path) -> None:
    for case in layout_cases("overlapping", 20, PICTURES, mechanism="both"):
        shares = [np.array(box) for box in case.boxes]
        assert any(
            (np.minimum(a[2:], b[2:]) > np.maximum(a[:2], b[:2])).all()
            for i, a in enumerate(shares)
            for b in shares[:i]
        )
    for case in layout_cases("apart", 20, PICTURES, mechanism=None):
        assert case.job.task == "text" and case.job.prompt == case.scene.caption
