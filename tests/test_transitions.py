"""Transitions: exact counts, exact mixtures, and nothing else touched."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipelines.story.transitions import Transition, alone, join, starts_of

kinds = st.sampled_from(["cut", "crossfade", "black"])


@st.composite
def videos(draw: st.DrawFn) -> tuple[list[np.ndarray], list[Transition]]:
    """Scenes of flat random frames, with room for the transitions at both ends."""
    count = draw(st.integers(1, 5))
    transitions = [Transition()]
    for _ in range(count - 1):
        kind = draw(kinds)
        transitions.append(Transition(kind, 0 if kind == "cut" else draw(st.integers(1, 4))))
    seed = draw(st.integers(0, 2**32 - 1))
    random = np.random.default_rng(seed)
    clips = []
    for begins, ends in zip(transitions, [*transitions[1:], Transition()], strict=True):
        frames = max(1, begins.frames + ends.frames + draw(st.integers(0, 3)))
        clips.append(random.integers(0, 256, (frames, 2, 2, 3), dtype=np.uint8))
    return clips, transitions


@given(videos())
def test_a_crossfade_shortens_the_whole_by_its_frames_and_nothing_else_does(
    video: tuple[list[np.ndarray], list[Transition]],
) -> None:
    clips, transitions = video
    shorter = sum(t.frames for t in transitions if t.kind == "crossfade")
    total = sum(map(len, clips)) - shorter
    assert len(join(clips, transitions)) == starts_of([len(clip) for clip in clips], transitions)[-1] == total


@given(videos())
def test_frames_outside_of_transitions_stay_bit_for_bit_where_the_record_says(
    video: tuple[list[np.ndarray], list[Transition]],
) -> None:
    clips, transitions = video
    whole = join(clips, transitions)
    starts = starts_of([len(clip) for clip in clips], transitions)
    nexts = [*transitions[1:], Transition()]
    for clip, start, begins, ends in zip(clips, starts[:-1], transitions, nexts, strict=True):
        first, last = alone(start, len(clip), begins, ends)
        assert np.array_equal(whole[first:last], clip[first - start : last - start])


def flat(*values: int) -> np.ndarray:
    return np.array(values, np.uint8)[:, None, None, None].repeat(3, 3)


def seen(*transitions: Transition) -> list[int]:
    old, new = flat(100, 100, 100, 100), flat(200, 200, 200, 200)
    return [int(frame[0, 0, 0]) for frame in join([old, new], [Transition(), *transitions])]


def test_a_cut_changes_nothing() -> None:
    assert seen(Transition()) == [100] * 4 + [200] * 4


def test_a_crossfade_mixes_in_equal_steps() -> None:
    assert seen(Transition("crossfade", 3)) == [100, 125, 150, 175, 200]
    assert seen(Transition("crossfade", 1)) == [100, 100, 100, 150, 200, 200, 200]


def test_a_fade_through_black_is_black_once() -> None:
    assert seen(Transition("black", 4)) == [75, 50, 25, 0, 40, 80, 120, 160]
    assert seen(Transition("black", 1)) == [100, 100, 100, 0, 100, 200, 200, 200]


def test_mixtures_are_rounded_and_stay_in_range() -> None:
    for n in (1, 2, 3, 50):
        ends = join([flat(*[0] * n), flat(*[255] * n)], [Transition(), Transition("crossfade", n)])
        assert [int(frame[0, 0, 0]) for frame in ends] == [(255 * k + (n + 1) // 2) // (n + 1) for k in range(1, n + 1)]
        same = join([flat(*[255] * n), flat(*[255] * n)], [Transition(), Transition("crossfade", n)])
        assert (same == 255).all()
