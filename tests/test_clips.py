"""What the reader of clips promises: what moves is read right, and what only resembles it does not pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate

import numpy as np
import pytest

from training.clips import ClipReading, cuts, read_clip, read_story
from training.drawing import render
from training.judging import judge_clip, judge_story
from training.motion import MOTIONS
from training.papercut import World
from training.pixels import UNKNOWN, Pixels
from training.scene import COLOURS, RADII, SHAPES, Scene, Thing, frames_of

CANONICAL = World(seed=11, split="any", placement="canonical")
ANYWHERE = World(seed=12, split="any", colours=tuple(COLOURS), shapes=SHAPES)


def drawn(stills: Sequence[Scene], side: int = 64) -> Pixels:
    pictures = render(stills, side, side, layered=False).picture
    return np.asarray((pictures * 255).round().byte().permute(0, 2, 3, 1).numpy())


def clip(scene: Scene, frames: int = 8, fps: float = 8, side: int = 64) -> Pixels:
    return drawn(frames_of(scene, frames, fps), side)


def one(motion: str, shape: str = "star", colour: str = "red", ground: str = "white", size: str = "medium") -> Scene:
    return Scene((Thing(shape, colour, size, 0.5, 0.5, RADII[size], 0.0, motion),), ground)


def motion_of(frames: Pixels) -> str:
    (track,) = read_clip(frames).throughout
    return track.motion


def passes(frames: Pixels, motion: str) -> bool:
    return judge_clip(read_clip(frames), one(motion)).motion


def right(world: World, count: int, frames: int = 8, fps: float = 8, side: int = 64) -> float:
    """Share of true clips of which everything is read right, sizes included."""
    scenes = [world.clip(index) for index in range(count)]
    verdicts = [judge_clip(read_clip(clip(scene, frames, fps, side)), scene) for scene in scenes]
    return sum(verdict.exact and verdict.size for verdict in verdicts) / count


# ---------------------------------------------------------------- the truth


@pytest.mark.parametrize("motion", MOTIONS)
def test_every_motion_is_read(motion: str) -> None:
    assert motion_of(clip(one(motion))) == motion


def test_true_clips_are_read() -> None:
    assert right(CANONICAL, 16) == 1
    assert right(ANYWHERE, 8, side=128) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("world", "side", "least"), [(CANONICAL, 128, 0.99), (ANYWHERE, 128, 0.99), (CANONICAL, 64, 0.97)]
)
def test_nearly_all_true_clips_are_read(world: World, side: int, least: float) -> None:
    for frames, fps in ((8, 8), (12, 8), (8, 5), (12, 16)):
        assert right(world, 15, frames, fps, side) >= least, (frames, fps)


def test_a_tensor_and_its_pixels_read_alike() -> None:
    pictures = render(frames_of(one("grows"), 8, 8), 64, 64, layered=False).picture
    assert read_clip(pictures) == read_clip(clip(one("grows")))


def test_a_track_tells_size_and_first_and_last_frame() -> None:
    (track,) = read_clip(clip(one("moves up", size="small"), 6)).tracks
    assert (track.size, track.first, track.last, track.words) == ("small", 0, 5, "small red star moves up")


def test_a_quarter_turn_of_a_square_is_a_turn() -> None:
    """Though it ends as it began."""
    assert motion_of(clip(one("spins", "square"), 9)) == "spins"


def test_both_ways_round_are_spinning() -> None:
    """The word does not say which."""
    assert motion_of(clip(one("spins", "arrow"))[::-1]) == "spins"


def test_a_glitch_in_one_frame_of_twelve_is_forgiven() -> None:
    frames = clip(one("moves right"), 12)
    frames[5] = 255
    assert judge_clip(read_clip(frames), one("moves right")).motion


# ---------------------------------------------------------------- what does not pass


def test_a_frozen_clip_moves_nowhere() -> None:
    for motion in set(MOTIONS) - {"stays still"}:
        frames = clip(one(motion))
        assert motion_of(np.repeat(frames[3:4], 8, 0)) not in (motion, UNKNOWN)


def test_a_clip_that_freezes_half_way_does_not_pass() -> None:
    for motion in ("moves left", "grows", "spins", "moves down"):
        frames = clip(one(motion), 12)
        frames[6:] = frames[6]
        assert not passes(frames, motion)


def test_backwards_is_the_other_way() -> None:
    for motion, other in (("moves left", "moves right"), ("moves up", "moves down"), ("grows", "shrinks")):
        assert motion_of(clip(one(motion))[::-1]) == other


def test_a_jump_is_no_movement() -> None:
    frames = clip(one("moves right"))
    assert not passes(frames[[0] * 4 + [7] * 4], "moves right")
    assert motion_of(frames[[2] * 4 + [5] * 4]) == UNKNOWN


def test_frames_out_of_order_are_no_movement() -> None:
    for motion in ("moves right", "moves up", "grows"):
        assert not passes(clip(one(motion))[[4, 0, 6, 2, 7, 1, 5, 3]], motion)


def test_two_movements_at_once_are_neither() -> None:
    right_, up, grown, turned = (
        [still.things[0] for still in frames_of(one(motion), 8, 8)]
        for motion in ("moves right", "moves up", "grows", "spins")
    )
    for both in (
        [replace(a, y=b.y) for a, b in zip(right_, up, strict=True)],
        [replace(a, radius=b.radius) for a, b in zip(right_, grown, strict=True)],
        [replace(a, angle=b.angle) for a, b in zip(right_, turned, strict=True)],
    ):
        assert motion_of(drawn([Scene((thing,), "white") for thing in both])) == UNKNOWN


def test_a_zigzag_is_no_bounce() -> None:
    """Nor is what goes up and stays there."""
    thing = one("moves up").things[0]
    for heights in ([0.6, 0.4] * 4, [0.62] * 4 + [0.38] * 4):
        stills = [Scene((replace(thing, y=y),), "white") for y in heights]
        assert motion_of(drawn(stills)) == UNKNOWN


def changed(at: int, **changes: str) -> Pixels:
    """A red star that moves right, and is something else from frame `at` of 8 on."""
    stills = frames_of(one("moves right"), 8, 8)
    later = [replace(still, things=(replace(still.things[0], **changes),)) for still in stills]  # type: ignore[arg-type]
    return drawn([*stills[:at], *later[at:]])


@pytest.mark.parametrize("changes", [{"colour": "blue"}, {"shape": "circle"}, {"shape": "flower"}])
def test_a_subject_that_changes_half_way_is_not_kept(changes: dict[str, str]) -> None:
    frames = changed(4, **changes)
    verdict = judge_clip(read_clip(frames), one("moves right"))
    assert not verdict.subject and not verdict.exact
    assert UNKNOWN in read_clip(frames).words


def test_a_subject_that_goes_half_way_is_not_there() -> None:
    frames = clip(one("moves right"))
    frames[4:] = clip(Scene((), "white"), 4)
    verdict = judge_clip(read_clip(frames), one("moves right"))
    assert not (verdict.subject or verdict.motion or verdict.clean)


def test_a_ground_that_changes_half_way_is_unknown() -> None:
    frames = np.concatenate([clip(one("grows"))[:4], clip(one("grows", ground="sea"))[4:]])
    assert read_clip(frames).ground == UNKNOWN


def test_a_tilted_thing_that_does_not_turn_is_of_unknown_shape() -> None:
    tilted = replace(one("stays still").things[0], angle=0.5)
    assert read_clip(clip(Scene((tilted,), "white"))).tracks[0].shape == UNKNOWN


def test_a_blob_that_turns_is_of_unknown_shape() -> None:
    """Half a star and half a circle, turning."""
    stills = frames_of(one("spins"), 8, 8)
    with_disc = [
        replace(still, things=(*still.things, replace(still.things[0], shape="circle", x=0.56, radius=0.11)))
        for still in stills
    ]
    assert {track.shape for track in read_clip(drawn(with_disc, 128)).throughout} <= {UNKNOWN}


def test_a_stranger_is_no_company() -> None:
    scene = one("bounces")
    stranger = Thing("circle", "blue", "small", 0.15, 0.15, 0.09, 0.0, "stays still")
    verdict = judge_clip(read_clip(clip(replace(scene, things=(*scene.things, stranger)))), scene)
    assert verdict.subject and verdict.motion and not verdict.company and not verdict.exact


def test_company_that_moves_is_not_as_told() -> None:
    still = Thing("circle", "blue", "medium", 0.74, 0.5, 0.14, 0.0, "stays still")
    star = replace(one("spins").things[0], x=0.26)
    told, shown = (Scene((star, replace(still, motion=motion)), "white") for motion in ("stays still", "bounces"))
    assert judge_clip(read_clip(clip(told)), told).exact
    assert not judge_clip(read_clip(clip(shown)), told).company


def test_noise_is_nothing() -> None:
    static = np.random.default_rng(3).integers(0, 256, (8, 64, 64, 3)).astype(np.uint8)
    verdict = judge_clip(read_clip(static), one("stays still"))
    assert not (verdict.subject or verdict.motion or verdict.ground)


def test_slight_noise_does_not_matter() -> None:
    noise = np.random.default_rng(4).normal(0, 5, (8, 64, 64, 3))
    for index in range(6):
        scene = CANONICAL.clip(index)
        verdict = judge_clip(read_clip((clip(scene) + noise).round().clip(0, 255).astype(np.uint8)), scene)
        assert verdict.subject and verdict.motion and verdict.ground


# ---------------------------------------------------------------- stories


def film(story: Sequence[Scene], lengths: Sequence[int], fps: float = 8, side: int = 64) -> Pixels:
    return drawn([still for scene, n in zip(story, lengths, strict=True) for still in frames_of(scene, n, fps)], side)


def starts_of(lengths: Sequence[int]) -> tuple[int, ...]:
    return tuple(accumulate(lengths))[:-1]


def stories_are_read(world: World, count: int, fps: float = 8) -> None:
    for index in range(count):
        story, lengths = world.story(index), ((8, 8, 8), (6, 10, 8), (12, 5, 9))[index % 3]
        frames, starts = film(story, lengths, fps), starts_of(lengths)
        assert cuts(frames) == starts
        verdict = judge_story(read_story(frames), cuts(frames), story, starts)
        assert verdict.cuts and verdict.kept and all(scene.motion for scene in verdict.scenes), verdict.reason


def test_stories_are_read_and_cut_where_they_change() -> None:
    stories_are_read(CANONICAL, 3)


@pytest.mark.slow
def test_more_stories_are_read_and_cut_where_they_change() -> None:
    stories_are_read(CANONICAL, 24)
    stories_are_read(ANYWHERE, 12, fps=5)


def test_no_motion_is_a_cut() -> None:
    for motion in MOTIONS:
        assert cuts(clip(one(motion), 8, 5)) == ()


def test_a_jump_on_the_same_ground_is_a_cut() -> None:
    frames = np.concatenate([clip(one("moves right")), clip(one("moves right"))])
    assert cuts(frames) == (8,)


def test_a_missing_cut_and_one_too_many_are_noticed() -> None:
    story = CANONICAL.story(1)
    for lengths in ((8, 16), (8, 8, 4, 4)):
        other = [story[0], *CANONICAL.story(2, len(lengths) - 1)]
        frames = film(other, lengths)
        verdict = judge_story(read_story(frames, starts=(8, 16)), cuts(frames), story, (8, 16))
        assert not verdict.cuts and not verdict.exact and "cuts at" in verdict.reason


def test_another_subject_in_one_scene_is_not_kept() -> None:
    story = CANONICAL.story(3)
    subject = story[1].things[0]
    for change in (
        {"shape": "square" if subject.shape != "square" else "heart", "motion": "stays still"},
        {"radius": subject.radius * 1.6},
    ):
        scenes = [story[0], replace(story[1], things=(replace(subject, **change),)), story[2]]  # type: ignore[arg-type]
        frames = film(scenes, (8, 8, 8))
        assert not judge_story(read_story(frames), cuts(frames), story, (8, 16)).kept


def test_the_same_wrong_subject_throughout_is_kept_but_not_right() -> None:
    story = [replace(scene, things=scene.things[:1]) for scene in CANONICAL.story(3)]
    shape = "circle" if story[0].things[0].shape != "circle" else "square"
    other = [replace(one("stays still", shape, scene.things[0].colour), ground=scene.ground) for scene in story]
    frames = film(other, (8, 8, 8))
    verdict = judge_story(read_story(frames), cuts(frames), story, (8, 16))
    assert verdict.kept and not any(scene.subject for scene in verdict.scenes)


def test_nothing_is_kept_where_nothing_is_seen() -> None:
    readings = [ClipReading((), "white", 8)] * 3
    verdict = judge_story(readings, (8, 16), CANONICAL.story(0), (8, 16))
    assert not verdict.kept and not any(scene.subject or scene.motion for scene in verdict.scenes)
