"""What clips and stories promise: they move as they say, at any frame rate, and never out of the picture."""

from __future__ import annotations

import itertools
import math
import re
from dataclasses import replace

import pytest
import torch

from training.drawing import render
from training.motion import MOTIONS, PROGRAMS, ROUND
from training.papercut import COMPANY, MARGIN, World
from training.scene import COLOURS, HELD_OUT_PAIRS, RADII, SCENERY, SHAPES, Scene, Thing, frames_of, vocabulary

CANONICAL = World(seed=3, split="any", placement="canonical")
ANYWHERE = World(seed=4, split="any", colours=tuple(COLOURS), shapes=SHAPES)
WIDE, TALL = (1.5, 1.0), (1.0, 1.75)


def clips(world: World, count: int, aspect: tuple[float, float] = (1.0, 1.0)) -> list[Scene]:
    return [world.clip(index, aspect) for index in range(count)]


def stories(world: World, count: int) -> list[tuple[Scene, ...]]:
    return [world.story(index) for index in range(count)]


def moving(motion: str, shape: str = "star") -> Thing:
    return Thing(shape, "red", "medium", 0.5, 0.5, RADII["medium"], 0.0, motion)


# ---------------------------------------------------------------- programs


def test_every_frame_rate_samples_the_same_movement() -> None:
    for scene in clips(ANYWHERE, 40):
        slow, fast = frames_of(scene, 8, 8), frames_of(scene, 24, 24)
        assert slow == fast[::3]


def test_movement_is_continuous() -> None:
    for motion in MOTIONS:
        for duration in (0.5, 1.0, 1.5, 4.0):
            for step in range(200):
                now, then = (moving(motion).at(duration * k / 200, duration) for k in (step, step + 1))
                assert math.dist((now.x, now.y), (then.x, then.y)) <= 1.6 * duration / 200
                assert abs(now.radius - then.radius) < 0.002
                assert abs(now.angle - then.angle) <= 1.6 * duration / 200


@pytest.mark.parametrize("duration", [0.5, 1.0, 1.5, 2.4])
def test_things_do_what_the_word_says(duration: float) -> None:
    begin, middle, end = (
        {motion: moving(motion).at(share * duration, duration) for motion in MOTIONS} for share in (0, 0.5, 0.999)
    )
    travel = min(0.48, 0.5 * duration)
    for motion, dx, dy in (("left", -1, 0), ("right", 1, 0), ("up", 0, -1), ("down", 0, 1)):
        first, last = begin[f"moves {motion}"], end[f"moves {motion}"]
        assert (last.x - first.x, last.y - first.y) == pytest.approx((dx * travel, dy * travel), abs=0.01)
        assert (middle[f"moves {motion}"].x, middle[f"moves {motion}"].y) == pytest.approx((0.5, 0.5))
    assert end["grows"].radius / begin["grows"].radius == pytest.approx(1.4 / 0.6, rel=0.01)
    assert end["shrinks"].radius / begin["shrinks"].radius == pytest.approx(0.6 / 1.4, rel=0.01)
    assert end["spins"].angle == pytest.approx(math.pi / 2 * duration, rel=0.01)
    assert begin["stays still"] == middle["stays still"] == end["stays still"]
    heights = [moving("bounces").at(k / 100 * duration, duration).y for k in range(101)]
    assert heights[0] == max(heights) and max(heights) - min(heights) == pytest.approx(0.24, abs=0.001)


def test_a_turn_is_clockwise() -> None:
    """A triangle's tip points to the right after a quarter turn."""
    thing = moving("spins", "triangle").at(1.0, 4.0)
    cover = render([Scene((thing,), "white")], 64, 64).coverage[0, 0]
    widths = [(column > 0.5).sum().item() for column in cover.T]
    widths = [width for width in widths if width]
    assert widths == sorted(widths, reverse=True) and widths[0] > 5 * widths[-1]


def test_a_thing_without_motion_stands() -> None:
    scene = World(seed=1).scene(4)
    assert frames_of(scene, 4, 8) == [scene] * 4


# ---------------------------------------------------------------- clips


@pytest.mark.parametrize("world", [CANONICAL, ANYWHERE], ids=["canonical", "anywhere"])
@pytest.mark.parametrize("aspect", [(1.0, 1.0), WIDE, TALL], ids=["square", "wide", "tall"])
def test_nothing_leaves_the_picture_or_touches(world: World, aspect: tuple[float, float]) -> None:
    """Seen in the drawing, with half the margin left to antialiasing."""
    height, width = round(64 * aspect[1]), round(64 * aspect[0])
    pad = int(64 * MARGIN / 2)
    for scene in clips(world, 60, aspect):
        stills = [scene.at(share * 1.5, 1.5) for share in (0, 1 / 6, 1 / 3, 0.5, 2 / 3, 0.999)]
        cover = render(stills, height, width).coverage
        inside = cover[..., pad : height - pad, pad : width - pad]
        assert cover.sum() == inside.sum(), scene.caption
        assert (cover > 0).sum(1).max() == 1, scene.caption


def test_a_clip_is_a_function_of_seed_and_index() -> None:
    assert clips(CANONICAL, 20) == [CANONICAL.clip(index) for index in reversed(range(20))][::-1]
    assert len(set(clips(CANONICAL, 50))) == 50


def test_clips_do_not_disturb_stills() -> None:
    world = World(seed=9)
    before = [world.scene(index) for index in range(5)]
    world.clip(0), world.story(0)
    assert [world.scene(index) for index in range(5)] == before


def test_every_motion_and_some_company_occurs() -> None:
    some = clips(CANONICAL, 400)
    assert {scene.things[0].motion for scene in some} == set(MOTIONS)
    assert {scene.ground for scene in some} >= set(SCENERY)
    company = [scene for scene in some if len(scene.things) == 2]
    assert 0.5 * COMPANY < len(company) / len(some) < 1.5 * COMPANY
    assert all(scene.things[1].motion == "stays still" for scene in company)
    assert {scene.things[0].motion for scene in company} >= {"moves up", "moves down", "bounces", "spins"}
    assert not any(scene.things[0].motion == "spins" and scene.things[0].shape in ROUND for scene in some)


def test_a_caption_tells_motion_company_and_ground_in_known_words() -> None:
    known = {*vocabulary()}
    noun = rf"(?:an?) (?:small )?(?:{'|'.join(COLOURS)}) (?:{'|'.join(SHAPES)})"
    ground = rf"(?:on an? (?:{'|'.join(COLOURS)}) background|{'|'.join(SCENERY.values())})"
    for scene in clips(ANYWHERE, 200):
        subject = rf"{noun} (?:{'|'.join(PROGRAMS)})(?: and {noun} stays still)?"
        assert re.fullmatch(rf"{subject} {ground}", scene.caption), scene.caption
        assert re.fullmatch(rf"{ground}, {subject}", scene.paraphrase), scene.paraphrase
        assert re.fullmatch(subject, scene.short)
        for words in (scene.caption, scene.paraphrase, scene.short):
            tokens = re.findall(r"\w+|,", words)
            assert len(tokens) <= 24 and known >= {*tokens}


def test_examples_of_captions() -> None:
    scene = Scene((replace(moving("moves right"), size="small"),), "night")
    assert scene.caption == "a small red star moves right under a night sky"
    assert scene.paraphrase == "under a night sky, a small red star moves right"
    two = replace(scene, things=(*scene.things, replace(moving("stays still", "circle"), colour="blue")))
    assert two.short == "a small red star moves right and a blue circle stays still"


def test_splits_of_clips_are_disjoint() -> None:
    split = {name: clips(World(seed=5, split=name), 200) for name in ("train", "unseen", "pairs")}
    told = {name: {scene.caption for scene in some} for name, some in split.items()}
    assert not told["train"] & told["unseen"] and not (told["train"] | told["unseen"]) & told["pairs"]
    for scene in (*split["train"], *split["unseen"]):
        assert not {thing.pair for thing in scene.things} & HELD_OUT_PAIRS
    assert all(scene.has_held_out_pair for scene in split["pairs"])


# ---------------------------------------------------------------- stories


def test_a_story_keeps_its_subject_and_changes_the_rest() -> None:
    for story in stories(ANYWHERE, 60):
        assert len({(s.things[0].pair, s.things[0].size, s.things[0].radius) for s in story}) == 1
        for before, after in itertools.pairwise(story):
            assert before.ground != after.ground
            assert before.things[0].motion != after.things[0].motion
            assert not {t.pair for t in before.things[1:]} & {t.pair for t in after.things[1:]}


def test_all_scenes_of_a_story_are_of_its_split() -> None:
    for name in ("train", "unseen"):
        for story in stories(World(seed=5, split=name), 30):
            assert all(scene.is_held_out_caption == (name == "unseen") for scene in story)
            assert not any(scene.has_held_out_pair for scene in story)
    for story in stories(World(seed=5, split="pairs"), 10):
        assert all(scene.things[0].pair in HELD_OUT_PAIRS for scene in story)


def test_a_story_has_as_many_scenes_as_asked() -> None:
    assert [len(CANONICAL.story(0, scenes)) for scenes in (1, 2, 6)] == [1, 2, 6]


# ---------------------------------------------------------------- drawing what moves


def test_what_grows_and_turns_is_drawn_whole() -> None:
    """The window around a thing follows its radius and its turn, and not the size's name alone."""
    for shape in SHAPES:
        grown = replace(moving("grows", shape).at(1.0, 1.0), angle=0.6)
        large = replace(grown, size="large")
        pictures = render([Scene((grown,), "white"), Scene((large,), "white")], 96, 96).picture
        assert (pictures[0] - pictures[1]).abs().max() < 1 / 255


def test_a_frame_looks_the_same_alone_and_among_others() -> None:
    stills = [still for scene in clips(CANONICAL, 12) for still in frames_of(scene, 3, 2)]
    together = render(stills, 64, 64, layered=False).picture
    for still, picture in zip(stills, together, strict=True):
        torch.testing.assert_close(render([still], 64, 64, layered=False).picture[0], picture, atol=1e-6, rtol=0)
