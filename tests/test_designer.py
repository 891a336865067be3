"""The Designer: what the grammar proposes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.designer import Proposal, Task, propose
from pipelines.files.yamlfile import documents
from pipelines.job import MAX_PARTS, Refusal, parse
from tests.test_help import HEAVY, loaded_by

SQUARE = (128, 128)
KEY = "sk-Very+Secret/0123456789"
GOOD = {"boxes": [{"box": [0.1, 0.2, 0.4, 0.6], "prompt": "a red circle"}, {"box": [0, 0, 1, 1], "prompt": "a map"}]}

Box = tuple[float, float, float, float]


def proposed(prompt: str, task: Task = "layout", size: tuple[int, int] = SQUARE) -> dict[str, Box]:
    """The boxes of a proposal by their prompts, which have to differ."""
    proposal = propose(prompt, task, size=size)
    boxes = {part.prompt: part.box for part in proposal.boxes}
    assert len(boxes) == len(proposal.boxes)
    return boxes


def prompts(text: str) -> list[str]:
    return [part.prompt for part in propose(text, "layout", size=SQUARE).boxes]


def middle(box: Box) -> tuple[float, float]:
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def common(a: Box, b: Box) -> float:
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))


def iou(a: Box, b: Box) -> float:
    return common(a, b) / (area(a) + area(b) - common(a, b))


def apart(boxes: list[Box]) -> bool:
    """Whether no two boxes share more than the last digit of their edges."""
    return all(common(a, b) < 1e-3 for i, a in enumerate(boxes) for b in boxes[:i])


# ---------------------------------------------------------------- captions of the Papercut world


@pytest.mark.parametrize("size", [(128, 128), (192, 128), (96, 160)])
@pytest.mark.parametrize("split", ["train", "unseen"])
def test_every_thing_of_a_caption_has_a_box_where_the_world_draws_it(split: str, size: tuple[int, int]) -> None:
    from training.arrangement import bounds_of
    from training.papercut import World

    aspect = size[0] / min(size), size[1] / min(size)
    world = World(seed=3, placement="canonical", split=split)
    for scene in (world.scene(i, aspect) for i in range(100)):
        for caption in (scene.caption, scene.paraphrase):
            free = list(propose(caption, "layout", size=size).boxes)
            assert len(free) == len(scene.things), caption
            for thing in scene.things:
                own = bounds_of(thing, aspect)
                best = max((part for part in free if part.prompt == thing.told), key=lambda part: iou(part.box, own))
                free.remove(best)
                assert iou(best.box, own) >= 0.5, (caption, thing)
                assert common(best.box, own) >= 0.8 * area(own), (caption, thing)


@pytest.mark.parametrize("size", [(128, 128), (96, 96), (192, 128)])
def test_a_layers_box_is_whole_tokens_with_room_for_the_thing_and_its_shadow(size: tuple[int, int]) -> None:
    from pipelines.layered import cover
    from training.arrangement import SHADE, bounds_of, extents
    from training.papercut import World

    aspect = size[0] / min(size), size[1] / min(size)
    world = World(seed=4, placement="canonical")
    # half a token, what a scene is off its usual place, and the shadow
    half = [0.5 * 16 / side + 0.055 / a for side, a in zip(size, aspect, strict=True)]
    for scene in (world.scene(i, aspect) for i in range(100)):
        free = list(propose(scene.caption, "layered", size=size).boxes)
        for thing in scene.things:
            own = bounds_of(thing, aspect)
            best = max((part for part in free if part.prompt == thing.told), key=lambda part: iou(part.box, own))
            free.remove(best)
            y0, x0, y1, x1 = cover(best.box, size[1] // 16, size[0] // 16)
            assert (x0 * 16, y0 * 16, x1 * 16, y1 * 16) == pytest.approx(
                [e * s for e, s in zip(best.box, size * 2, strict=True)]
            )
            left, _, right, _ = extents(thing.shape)
            across = thing.radius * (right - left) + SHADE
            assert (best.box[2] - best.box[0]) * aspect[0] >= across - 0.15 * 16 / min(size)
            home = thing.x / aspect[0], thing.y / aspect[1]
            off = [abs(a - b) for a, b in zip(middle(best.box), home, strict=True)]
            assert off[0] <= half[0] and off[1] <= half[1], (scene.caption, thing, best.box)


def test_a_proposal_is_a_job_that_the_schema_takes() -> None:
    for task, name in (("layout", "boxes"), ("layered", "layers")):
        proposal = propose("a red circle left of a blue star in a meadow", task, size=(192, 96))  # type: ignore[arg-type]
        job = proposal.job()
        assert (job.task, job.prompt, job.size) == (task, proposal.prompt, (192, 96))
        assert [(p.box, p.prompt) for p in getattr(job, name)] == [(p.box, p.prompt) for p in proposal.boxes]
        assert next(iter(documents(proposal.yaml()))) == proposal.values()
        assert parse(next(iter(documents(proposal.yaml(ascii_only=True))))) == job


def test_a_proposal_is_frozen_and_made_the_same_again() -> None:
    proposal = propose("two cats", "layout", size=SQUARE)
    assert proposal == propose("two cats", "layout", size=SQUARE)
    with pytest.raises(ValueError):
        proposal.by = "me"  # type: ignore[misc]
    with pytest.raises(ValueError):
        Proposal(**{**proposal.model_dump(), "colour": "red"})


# ---------------------------------------------------------------- English beyond it


@pytest.mark.parametrize(
    "prompt", ["a cat left of a house", "a house right of a cat", "a house, to the right of a cat",
               "draw me a picture of a cat to the left of a house", "a cat on the left, a house on the right",
               "On the left a cat, on the right a house.", "a cat is next to a house"],
)  # fmt: skip
def test_a_cat_stands_left_of_a_house(prompt: str) -> None:
    boxes = proposed(prompt)
    assert boxes.keys() == {"a cat", "a house"}
    assert boxes["a cat"][2] < boxes["a house"][0]
    assert middle(boxes["a cat"])[1] == pytest.approx(middle(boxes["a house"])[1])


@pytest.mark.parametrize("prompt", ["a bird above a tree", "a tree below a bird", "above a tree, a bird",
                                    "a bird at the top and a tree at the bottom"])  # fmt: skip
def test_a_bird_is_above_a_tree(prompt: str) -> None:
    boxes = proposed(prompt)
    assert boxes["a bird"][3] < boxes["a tree"][1]


def test_what_is_inside_lies_in_the_other_and_over_it() -> None:
    boxes = proposed("a coin inside a bowl")
    assert list(boxes) == ["a bowl", "a coin"]
    assert common(boxes["a coin"], boxes["a bowl"]) == pytest.approx(area(boxes["a coin"]))


@pytest.mark.parametrize(
    ("prompt", "order"),
    [("a dog in front of a house", ["a house", "a dog"]), ("a tree behind a house", ["a tree", "a house"]),
     ("a cat on top of a table", ["a table", "a cat"])],
)  # fmt: skip
def test_boxes_overlap_where_it_is_asked_for_and_the_front_one_is_last(prompt: str, order: list[str]) -> None:
    boxes = proposed(prompt)
    assert list(boxes) == order
    assert 0.02 * area(boxes[order[0]]) < common(*boxes.values()) < 0.5 * area(boxes[order[0]])


def test_relations_hold_together() -> None:
    boxes = proposed("a cat left of a dog and above a fish. The dog is above a cow. A moon is right of the dog")
    assert boxes["a cat"][2] <= boxes["a dog"][0] and boxes["a dog"][2] <= boxes["A moon"][0]
    assert boxes["a cat"][3] <= boxes["a fish"][1] and boxes["a dog"][3] <= boxes["a cow"][1]
    assert apart(list(boxes.values()))


def test_a_thing_between_two_others_stands_in_their_middle() -> None:
    boxes = proposed("a star between a cup and a hat")
    assert boxes["a cup"][2] < boxes["a star"][0] and boxes["a star"][2] < boxes["a hat"][0]
    assert prompts("a star between two hearts") == ["a star", "a heart", "a heart"]


def test_numbers_make_that_many_boxes() -> None:
    assert prompts("two small green hearts in a meadow") == ["a small green heart"] * 2
    assert prompts("12 red foxes") == ["a red fox"] * 12
    assert prompts("the three cherries and a couple of knives") == ["a cherry"] * 3 + ["a knife"] * 2
    assert prompts("one orange") == ["an orange"]
    assert prompts("cats and dogs") == ["cats", "dogs"]


def test_an_open_number_is_told() -> None:
    proposal = propose("a few birds above a tree", "layout", size=SQUARE)
    assert [part.prompt for part in proposal.boxes] == ["a bird"] * 3 + ["a tree"]
    assert any("'birds' is left open; 3" in note for note in proposal.notes)


@pytest.mark.parametrize(
    "ground", ["on a white background", "in a meadow", "under a night sky", "by the sea", "in an old kitchen",
               "on a beach at night", "on a blue and white background", "against a wall of flowers"],
)  # fmt: skip
@pytest.mark.parametrize("first", [False, True])
def test_a_ground_gets_no_box(ground: str, first: bool) -> None:
    assert prompts(f"{ground}, a red cat" if first else f"a red cat {ground}") == ["a red cat"]


def test_sizes_are_obeyed() -> None:
    boxes = proposed("a tiny mouse, a dog and a huge whale")
    assert area(boxes["a tiny mouse"]) < area(boxes["a dog"]) < area(boxes["a huge whale"])


def test_words_of_style_get_no_box_and_are_told() -> None:
    proposal = propose("a cat, highly detailed, 4k", "layout", size=SQUARE)
    assert [part.prompt for part in proposal.boxes] == ["a cat"]
    assert sum("got no box" in note for note in proposal.notes) == 2


def test_words_that_only_lead_to_a_thing_are_left_out() -> None:
    assert prompts("a poster with a star on mars") == ["a star"]
    assert prompts("there is a barn, with three cows in front of the barn") == ["a barn"] + ["a cow"] * 3


def test_a_contradiction_is_told_and_the_first_word_counts() -> None:
    proposal = propose("a cat left of a dog. The dog is left of the cat.", "layout", size=SQUARE)
    cat, dog = (part.box for part in proposal.boxes)
    assert cat[2] < dog[0]
    assert any("was not kept" in note for note in proposal.notes)


def test_motion_is_left_out_and_told() -> None:
    proposal = propose("a red circle moves right under a night sky", "layout", size=SQUARE)
    assert [part.prompt for part in proposal.boxes] == ["a red circle"]
    assert any("motion" in note for note in proposal.notes)


def test_fifty_things_have_boxes_apart_and_the_fifty_first_is_told() -> None:
    for task in ("layout", "layered"):
        proposal = propose("51 stars", task, size=SQUARE)  # type: ignore[arg-type]
        assert len(proposal.boxes) == MAX_PARTS == 50
        assert apart([part.box for part in proposal.boxes])
        assert any("1 of 51 are left out" in note for note in proposal.notes)


def test_what_finds_no_token_is_told() -> None:
    proposal = propose("six stars", "layout", size=(32, 32))
    assert len(proposal.boxes) == 4
    assert any("2 of 6 things have no room" in note for note in proposal.notes)


@pytest.mark.parametrize("prompt", ["in a meadow", "on a blue background", "...", "- , ;", "draw me a picture of"])
def test_nothing_to_place_is_one_sentence(prompt: str) -> None:
    with pytest.raises(Refusal, match=r"^prompt: expected a thing to place") as refused:
        propose(prompt, "layout", size=SQUARE)
    assert "\n" not in str(refused.value)


SAID = (
    "a an the two 3 fifty some small large red blue circle stars cats house left of right above below inside in on top "
    'front behind between near and , . it under sky meadow background "hm" moves ( ) - ’ 字'
)
WORDS = st.sampled_from(SAID.split())
SIZES = st.tuples(*[st.integers(1, 16).map(lambda n: 16 * n)] * 2)


@given(
    st.one_of(st.text(max_size=80), st.lists(WORDS, max_size=40).map(" ".join)),
    st.sampled_from(["layout", "layered"]),
    SIZES,
)
def test_any_text_gives_a_proposal_or_one_sentence(text: str, task: Task, size: tuple[int, int]) -> None:
    try:
        proposal = propose(text, task, size=size)
    except Refusal as refusal:
        assert len(str(refusal).splitlines()) == 1
        return
    assert 1 <= len(proposal.boxes) <= MAX_PARTS
    for part in proposal.boxes:
        x0, y0, x1, y1 = part.box
        assert 0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1
        assert (x1 - x0) * size[0] >= 16 - 1e-9 and (y1 - y0) * size[1] >= 16 - 1e-9
    assert all(note.endswith(".") and len(note.splitlines()) == 1 for note in proposal.notes)
    assert parse(next(iter(documents(proposal.yaml())))) == proposal.job()


@given(st.lists(st.tuples(st.integers(1, 9), st.sampled_from(["red cat", "small hat", "large blue egg"])), min_size=1,
                max_size=9), SIZES, st.sampled_from(["layout", "layered"]))  # fmt: skip
def test_things_that_are_only_listed_never_overlap(
    things: list[tuple[int, str]], size: tuple[int, int], task: Task
) -> None:
    proposal = propose(", ".join(f"{count} {noun}" for count, noun in things), task, size=size)
    edge = 2e-4 * 2  # four places, rounded outward at both sides
    boxes = [part.box for part in proposal.boxes]
    assert all(common(a, b) <= edge for i, a in enumerate(boxes) for b in boxes[:i])


@pytest.mark.parametrize(
    "unit", ["a cat left of ", "in ", "the ", "and ", ",", '"', "( ", "on the left ", "some ", "𝕏"]
)
def test_the_longest_prompts_are_read_or_refused(unit: str) -> None:
    text = " ".join((unit * 20_000)[:20_000].split()[:2_000])
    try:
        assert propose(text, "layout", size=SQUARE).boxes
    except Refusal as refusal:
        assert refusal.field == "prompt"


def test_bad_values_are_one_sentence() -> None:
    for values, field in (
        ({"prompt": " "}, "prompt"),
        ({"prompt": "cat " * 2_001}, "prompt"),
        ({"size": (100, 128)}, "size[0]"),
        ({"task": "text"}, "task"),
    ):
        words: Any = {"prompt": "a cat", "task": "layout", "size": SQUARE, **values}
        with pytest.raises(Refusal) as refused:
            propose(words["prompt"], words["task"], size=words["size"])
        assert refused.value.field == field


def test_proposing_by_grammar_loads_nothing_heavy() -> None:
    code = "from pipelines.designer import propose; propose('a cat', 'layout', size=(128, 128))"
    assert loaded_by(code) & (HEAVY | {"httpx", "numpy", "PIL"}) == set()
