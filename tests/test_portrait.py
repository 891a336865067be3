"""What portraits promise: exact people, exact frames, and a mouth that changes nothing but the mouth."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from training.face import draw, papers
from training.portrait import BLINK, CHEEKS, CUTS, MOUTHS, SLOT, Cast, Mouth, Portrait
from training.scene import COLOURS, CORE_COLOURS, SCENERY, vocabulary

ANY = Cast(seed=11, split="any")
SHUT = MOUTHS["closed"]


def people(count: int) -> list[Portrait]:
    return [ANY.portrait(index) for index in range(count)]


def inside(picture: Tensor, box: tuple[float, float, float, float], grow: int = 0) -> tuple[slice, slice]:
    """Rows and columns of a box, whole pixels that it touches, and some more."""
    height, width = picture.shape[-2:]
    x0, y0, x1, y1 = box
    rows = slice(max(math.floor(y0 * height) - grow, 0), math.ceil(y1 * height) + grow)
    return rows, slice(max(math.floor(x0 * width) - grow, 0), math.ceil(x1 * width) + grow)


# ---------------------------------------------------------------- who


def test_a_portrait_is_a_function_of_seed_and_index() -> None:
    assert people(30) == [ANY.portrait(index) for index in reversed(range(30))][::-1]
    assert len({*people(50), *(Cast(seed=12, split="any").portrait(index) for index in range(50))}) == 100


def test_captions_say_what_is_drawn_in_known_words() -> None:
    colour, places = "|".join(COLOURS), "|".join(SCENERY.values())
    pattern = rf"an? ({colour}) face with ({colour}) hair (?:on an? ({colour}) background|({places}))"
    for portrait in people(200):
        said = re.fullmatch(pattern, portrait.caption)
        assert said, portrait.caption
        ground = said[3] or next(name for name, words in SCENERY.items() if words == said[4])
        assert (said[1], said[2], ground) == (portrait.skin, portrait.hair, portrait.ground)
        assert {*portrait.caption.split()} <= {*vocabulary()}
        assert sorted(portrait.paraphrase.replace(",", "").split()) == sorted(portrait.caption.split())


def test_skin_hair_and_ground_differ_and_every_kind_occurs() -> None:
    some = people(400)
    assert all(len({one.skin, one.hair, one.ground}) == 3 for one in some)
    assert {one.skin for one in some} == {one.hair for one in some} == {*CORE_COLOURS}
    assert {one.ground for one in some} == {*CORE_COLOURS, *SCENERY}
    assert {(one.cut, one.cheeks) for one in some} == {(cut, cheeks) for cut in CUTS for cheeks in CHEEKS}


def test_training_never_shows_the_captions_of_the_evaluation() -> None:
    seen = {Cast(seed=1).portrait(index).caption for index in range(500)}
    kept = {Cast(seed=1, split="unseen").portrait(index).caption for index in range(100)}
    assert not seen & kept
    assert len(kept) > 10


# ---------------------------------------------------------------- frames


@pytest.mark.parametrize(("height", "width"), [(96, 96), (64, 64), (64, 107), (131, 70)])
def test_frames_in_a_batch_equal_single_frames_bit_for_bit(height: int, width: int) -> None:
    mouths = np.random.default_rng(0).random((30, 3))
    times = [0.13 * k for k in range(30)]
    for portrait in people(3):
        batch = draw(portrait, times, mouths, height, width)
        for k in (0, 3, 23, 24, 29):
            assert torch.equal(batch[k], draw(portrait, times[k : k + 1], mouths[k : k + 1], height, width)[0])


def test_any_frame_rate_samples_the_same_movement() -> None:
    portrait = ANY.portrait(4)
    slow = draw(portrait, [k / 25 for k in range(12)], [SHUT] * 12, 64, 64)
    fast = draw(portrait, [k / 50 for k in range(24)], [SHUT] * 24, 64, 64)
    assert torch.equal(slow, fast[::2])


@pytest.mark.parametrize(("height", "width"), [(64, 64), (256, 256), (64, 256), (256, 64), (96, 160), (144, 112)])
def test_draws_at_any_size(height: int, width: int) -> None:
    for portrait in people(4):
        picture = draw(portrait, [0.0], [MOUTHS["ah"]], height, width)
        assert picture.shape == (1, 3, height, width)
        assert picture.min() >= 0
        assert picture.max() <= 1


def test_a_clip_without_frames_is_empty() -> None:
    assert draw(ANY.portrait(0), [], np.zeros((0, 3)), 64, 64).shape == (0, 3, 64, 64)


def test_refuses_mouths_that_do_not_match_the_times() -> None:
    with pytest.raises(ValueError, match=r"\(2, 3\), one a time"):
        draw(ANY.portrait(0), [0.0, 1.0], [SHUT], 64, 64)


# ---------------------------------------------------------------- the mouth


@pytest.mark.parametrize(("height", "width"), [(64, 64), (96, 96), (192, 128), (256, 256)])
def test_a_mouth_changes_no_pixel_outside_its_box(height: int, width: int) -> None:
    aspect = (width / min(height, width), height / min(height, width))
    extremes = [(a, b, c) for a in (0, 1) for b in (0, 1) for c in (0, 1)]
    for portrait in people(12):
        time = 0.7 * portrait.seed / 2**32 * SLOT
        frames = draw(portrait, [time] * 8, extremes, height, width)
        changed = (frames != frames[:1]).any(0).any(0)
        assert changed.any()
        changed[inside(changed, portrait.mouth_box(time, aspect))] = False
        assert not changed.any()


def test_the_mouth_is_inside_the_face_and_the_face_inside_the_picture() -> None:
    for portrait in people(100):
        for time in (0.0, 1.3, 7.9):
            for aspect in ((1.0, 1.0), (2.0, 1.0), (1.0, 1.7)):
                face, mouth = portrait.face_box(time, aspect), portrait.mouth_box(time, aspect)
                assert 0 < face[0] < mouth[0] < mouth[2] < face[2] < 1
                assert 0 < face[1] < mouth[1] < mouth[3] < face[3] < 1


def test_the_face_box_is_where_the_skin_is() -> None:
    """Right below the ears a face is a little narrower than its box, and the chin ends where the box does."""
    portrait = Portrait("yellow", "black", "blue", "bun")
    for time in (0.0, 2.2, 9.1):
        x0, y0, x1, y1 = (value * 256 for value in portrait.face_box(time))
        picture = draw(portrait, [time], [SHUT], 256, 256)[0]
        skin = (picture * 255 - torch.tensor(COLOURS["yellow"])[:, None, None]).norm(dim=0) < 30
        columns = skin[round(y0 + 0.62 * (y1 - y0)) : round(y1)].any(0).nonzero()
        rows = skin[:, round((x0 + x1) / 2)].nonzero()
        assert columns.max() - columns.min() == pytest.approx(0.93 * (x1 - x0), abs=4)
        assert (columns.max() + columns.min()) / 2 == pytest.approx((x0 + x1) / 2, abs=4)
        assert rows.max() == pytest.approx(y1, abs=2.5)


@pytest.mark.parametrize("skin", CORE_COLOURS)
def test_five_mouths_are_clearly_different_at_96_pixels(skin: str) -> None:
    """Every two differ by more than 40 of 255 in more than 20 pixels."""
    hair = "black" if skin != "black" else "red"
    frames = draw(Portrait(skin, hair, "grey"), [0.0] * 5, list(MOUTHS.values()), 96, 96) * 255
    for one in range(5):
        for other in range(one):
            assert ((frames[one] - frames[other]).norm(dim=0) > 40).sum() > 20, (one, other)


@pytest.mark.parametrize("side", [64, 96, 192])
def test_the_dark_inside_is_as_large_as_the_mouth_is_open(side: int) -> None:
    portrait = Portrait("white", "black", "blue")
    openings = np.linspace(0, 1, 11)
    frames = draw(portrait, [0.0] * 11, [Mouth(opening, 0.6, 0.5) for opening in openings], side, side) * 255
    dark = (frames - torch.tensor(papers("white")[2])[:, None, None].float()).norm(dim=1) < 60
    rows, columns = inside(frames, portrait.mouth_box(0.0))
    areas = dark[:, rows, columns].sum((1, 2)).tolist()
    assert areas[0] == 0
    assert areas == sorted(areas)
    assert np.corrcoef(openings, areas)[0, 1] > 0.98


# ---------------------------------------------------------------- head and eyes


def test_heads_move_a_little_and_never_jump() -> None:
    for portrait in people(20):
        stands = [portrait.stand(k / 100) for k in range(1000)]
        home = portrait.home()
        assert 0.005 < max(math.dist(stand[:2], home[:2]) for stand in stands) < 0.03
        assert max(abs(stand.angle) for stand in stands) < 0.04
        steps = [math.dist(a[:2], b[:2]) for a, b in pairwise(stands)]
        assert max(steps) < 0.0015


def test_eyes_blink_once_a_slot_at_irregular_times_for_a_short_time() -> None:
    for portrait in people(5):
        lids = np.array([portrait.lids(k / 500) for k in range(int(500 * SLOT * 8))])
        shut = lids < 0.5
        starts = np.flatnonzero(shut[1:] & ~shut[:-1]) / 500
        ends = np.flatnonzero(shut[:-1] & ~shut[1:]) / 500
        assert len(starts) == len(ends) == 8
        assert np.all(ends - starts == pytest.approx(0.25, abs=0.01))
        assert (lids < 0.999).mean() * SLOT == pytest.approx(BLINK, abs=0.01)
        assert np.diff(starts).std() > 0.2
        assert np.abs(np.diff(lids)).max() < 0.1
        assert lids.min() == 0


def test_blinks_that_are_told_are_the_only_ones() -> None:
    for portrait in people(5):
        told = replace(portrait, blinks=(0.5, 0.6, 3.0))
        shut = np.array([told.lids(k / 100) < 0.5 for k in range(1000)])
        assert shut[40:72].all() and shut[300] and not shut[np.r_[0:36, 74:286, 314:1000]].any()
        assert min(replace(portrait, blinks=()).lids(k / 100) for k in range(1000)) == 1


def test_people_blink_at_times_of_their_own() -> None:
    times = [k / 50 for k in range(500)]
    assert len({tuple(portrait.lids(time) < 0.5 for time in times) for portrait in people(20)}) == 20
