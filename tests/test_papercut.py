"""What the procedural world promises to training and to the parser."""

from __future__ import annotations

import re

import pytest
import torch

from training.papercut import World, render
from training.scene import COLOURS, COUNTS, HELD_OUT_PAIRS, INVERSE, PLURALS, RELATIONS, SCENERY, SHAPES, Scene

ALL = World(seed=3, colours=tuple(COLOURS), shapes=SHAPES, split="any")


Statement = tuple[tuple[tuple[str, str, str], ...], str | None, str]  # things (size, colour, shape), relation, ground


def scenes(world: World, count: int) -> list[Scene]:
    return [world.scene(index) for index in range(count)]


def stated(scene: Scene) -> Statement:
    """The attributes that a caption has to state."""
    things = tuple((thing.size, thing.colour, thing.shape) for thing in scene.things)
    return things, scene.relation, scene.ground


def understood(caption: str) -> Statement:
    """`stated`, from the words alone: NOUNS (RELATION NOUNS | , NOUNS and NOUNS)? GROUND."""
    singular = {PLURALS.get(shape, shape + "s"): shape for shape in SHAPES}
    noun = rf"(?:(an?|{'|'.join(COUNTS)}) )(?:(small|large) )?({'|'.join(COLOURS)}) ({'|'.join([*singular, *SHAPES])})"
    link = rf", | and | (?:{'|'.join(RELATIONS)}) "
    ground = rf" (?:on an? ({'|'.join(COLOURS)}) background|({'|'.join(SCENERY.values())}))"
    whole = re.fullmatch(rf"({noun}(?:(?:{link}){noun})*){ground}", caption)
    assert whole, caption
    things = []
    for article, size, colour, shape in re.findall(noun, whole[1]):
        copies = COUNTS.index(article) + 1 if article in COUNTS else 1
        assert (copies > 1) == (shape in singular), caption
        things += [(size or "medium", colour, singular.get(shape, shape))] * copies
    relation = re.search(rf" ({'|'.join(RELATIONS)}) ", whole[1])
    scenery = {words: name for name, words in SCENERY.items()}
    colour, words = whole.groups()[-2:]
    return tuple(things), relation and relation[1], colour or scenery[words]


def test_a_sample_is_a_function_of_seed_and_index() -> None:
    forth, back = scenes(ALL, 40), [ALL.scene(index) for index in reversed(range(40))][::-1]
    assert forth == back
    assert torch.equal(render(forth, 48, 48).layers, render(back, 48, 48).layers)


def test_other_seeds_and_indices_give_other_scenes() -> None:
    assert len({*scenes(ALL, 50), *scenes(World(seed=4, split="any"), 50)}) == 100


@pytest.mark.parametrize("size", [(64, 64), (48, 80), (80, 48)])
def test_a_scene_looks_the_same_alone_and_in_a_batch(size: tuple[int, int]) -> None:
    """To a millionth: the last pixels of an odd batch take the scalar sigmoid, which rounds another way."""
    some = scenes(ALL, 24)
    together = render(some, *size)
    for k, scene in enumerate(some):
        alone, count = render([scene], *size), len(scene.things)
        assert torch.equal(alone.boxes[0], together.boxes[k, :count])
        torch.testing.assert_close(alone.picture[0], together.picture[k], atol=1e-6, rtol=0)
        torch.testing.assert_close(alone.layers[0], together.layers[k, : count + 1], atol=1e-6, rtol=0)


def test_leaving_layers_out_does_not_change_the_picture() -> None:
    some = scenes(ALL, 16)
    assert torch.equal(render(some, 64, 64).picture, render(some, 64, 64, layered=False).picture)


def test_layers_composite_to_the_picture() -> None:
    """Premultiplied over, bottom first; "inside" names its first thing first but shows it on top."""
    some = scenes(ALL, 40)
    drawing = render(some, 64, 64)
    for k, scene in enumerate(some):
        order = [1, 0] if scene.relation == "inside" else range(len(scene.things))
        over = drawing.layers[k, 0, :3]
        for n in order:
            layer = drawing.layers[k, n + 1]
            over = over * (1 - layer[3]) + layer[:3]
        assert (over - drawing.picture[k]).abs().max() <= 1 / 255


def test_premultiplied_colours_never_exceed_their_alpha() -> None:
    layers = render(scenes(ALL, 24), 64, 64).layers
    assert (layers[:, :, :3] <= layers[:, :, 3:] + 1e-6).all()
    assert layers.min() >= 0 and layers.max() <= 1


@pytest.mark.parametrize("size", [(64, 64), (48, 80)])
def test_boxes_contain_the_coverage_tightly(size: tuple[int, int]) -> None:
    height, width = size
    some = scenes(ALL, 30)
    drawing = render(some, height, width)
    for k, scene in enumerate(some):
        for n in range(len(scene.things)):
            rows, columns = torch.nonzero(drawing.coverage[k, n] > 0.5, as_tuple=True)
            x0, y0, x1, y1 = (drawing.boxes[k, n] * torch.tensor((width, height, width, height))).tolist()
            assert (columns.min(), rows.min()) == pytest.approx((x0, y0), abs=1e-3)
            assert (columns.max() + 1, rows.max() + 1) == pytest.approx((x1, y1), abs=1e-3)


def test_a_caption_states_everything() -> None:
    for scene in scenes(ALL, 400):
        assert understood(scene.caption) == stated(scene)


def test_a_paraphrase_tells_the_same_scene() -> None:
    for scene in scenes(ALL, 200):
        things, _relation, ground = stated(scene)
        if scene.relation in INVERSE:
            assert understood(scene.paraphrase) == (things[::-1], INVERSE[scene.relation], ground)
        else:
            assert scene.paraphrase == f"{scene.ground_words}, {scene.short}"


def test_splits_are_disjoint() -> None:
    split = {name: scenes(World(seed=5, split=name), 250) for name in ("train", "unseen", "pairs")}
    told = {
        name: {words for scene in some for words in (scene.caption, scene.paraphrase)} for name, some in split.items()
    }
    assert not told["train"] & told["unseen"]
    assert not told["train"] & told["pairs"]
    assert not told["unseen"] & told["pairs"]
    shown = {
        (thing.colour, thing.shape) for name in ("train", "unseen") for scene in split[name] for thing in scene.things
    }
    assert not shown & HELD_OUT_PAIRS
    assert all(scene.has_held_out_pair for scene in split["pairs"])


def test_things_smaller_than_a_pixel_still_have_a_box() -> None:
    drawing = render([World(split="any").scene(i) for i in range(200)], 16, 16)
    present = drawing.boxes.any(-1)
    assert present.sum() == sum(len(World(split="any").scene(i).things) for i in range(200))
    x0, y0, x1, y1 = drawing.boxes[present].T
    assert (x1 > x0).all() and (y1 > y0).all()
