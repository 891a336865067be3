"""The parts of a dubbing: times that do not drift, windows that leave nothing out, faces that are found."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.checkpoint import EMBEDDED, describe
from pipelines.files.media import read_clip, write_video
from pipelines.job import Refusal
from pipelines.voice import yunet
from pipelines.voice.footage import bridge, faces_in, read_footage
from pipelines.voice.overtime import MOMENTS, loudness, moments, openings
from pipelines.voice.papercut import PapercutLocator, overlap
from pipelines.voice.reel import Dubbed, Reel
from pipelines.voice.references import choose, openness
from pipelines.voice.region import cuts_of, mask_of, mouth_of, rectangle_of, view_of
from pipelines.voice.shots import Shots, read_shots
from pipelines.voice.timeline import Timeline, timeline
from tests.speaking import PERSON, SIDE, folder_of, job, people, portrait, sound, still
from training.face import draw
from training.papercut import World, render
from training.pixels import to_pixels
from training.portrait import BLINK, SLOT, Portrait
from training.voice import Voice

RATES = [Fraction(24), Fraction(25), Fraction(30_000, 1001), Fraction(30)]

# ---------------------------------------------------------------- time


@pytest.mark.parametrize("fps", RATES)
@given(samples=st.integers(1, 60 * 48_000), there=st.integers(1, 2_000), start=st.fractions(-30, 30))
def test_a_clip_lasts_as_long_as_its_sound_to_half_a_frame(
    fps: Fraction, samples: int, there: int, start: Fraction
) -> None:
    seconds = Fraction(samples, 48_000)
    if seconds + start <= 0:
        with pytest.raises(ValueError, match="nothing of the sound"):
            timeline("audio", there, fps, seconds, start)
        return
    clip = timeline("audio", there, fps, seconds, start)
    assert clip.fps == fps and clip.frames >= 1
    assert abs(clip.seconds - (seconds + start)) <= Fraction(1, 2) / fps or clip.frames == 1


@given(there=st.integers(2, 500), fps=st.sampled_from(RATES), seconds=st.fractions(Fraction(1, 100), 60))
def test_where_the_video_decides_it_keeps_its_frames_and_its_rate(there: int, fps: Fraction, seconds: Fraction) -> None:
    clip = timeline("video", there, fps, seconds)
    assert (clip.frames, clip.fps) == (there, fps)
    assert [clip.source(frame) for frame in range(there)] == list(range(there))


@given(there=st.integers(1, 40), frames=st.integers(1, 400))
def test_a_longer_clip_goes_backwards_and_forwards_without_a_jump_or_a_halt(there: int, frames: int) -> None:
    shown = [Timeline(frames, Fraction(25), there).source(frame) for frame in range(frames)]
    assert shown[:there] == list(range(there))[:frames]
    assert set(shown) <= set(range(there))
    if there > 1:
        assert {abs(a - b) for a, b in pairwise(shown)} <= {1}


@given(frames=st.integers(1, 300), size=st.integers(1, 40), overlap=st.integers(0, 39))
def test_windows_make_every_frame_once_and_go_on_from_frames_that_are_there(
    frames: int, size: int, overlap: int
) -> None:
    clip = Timeline(frames, Fraction(25), 7)
    if overlap >= size:
        with pytest.raises(ValueError, match="overlap"):
            clip.windows(size, overlap)
        return
    windows = clip.windows(size, overlap)
    assert [frame for window in windows for frame in range(window.first, window.end)] == list(range(frames))
    assert all(window.end - window.begin <= size for window in windows)
    assert windows[0].before == 0 and all(window.before == overlap for window in windows[1:])
    for earlier, later in pairwise(windows):
        assert earlier.begin <= later.begin < later.first == earlier.end or overlap == 0


# ---------------------------------------------------------------- place


faces = st.tuples(st.integers(0, 150), st.integers(0, 150), st.integers(24, 90)).map(
    lambda at: (at[0] - 10.0, at[1] - 10.0, at[0] - 10.0 + 0.8 * at[2], at[1] - 10.0 + at[2])
)


@given(found=st.lists(faces, min_size=1, max_size=5), scale=st.sampled_from([8, 16]))
def test_a_region_holds_its_mouth_and_all_regions_of_a_clip_are_of_one_size(
    found: list[tuple[float, float, float, float]], scale: int
) -> None:
    width, height = 208, 192
    cuts = cuts_of([*found, None], width, height)
    assert cuts.pop() is None
    view = view_of(cuts, width, height, (64, 512), scale)
    assert view == (0, 0, width, height), "a picture that the model draws is seen as a whole"
    regions = [rectangle_of(cut, view, scale) for cut in cuts if cut]
    assert len({(y1 - y0, x1 - x0) for y0, x0, y1, x1 in regions}) == 1
    assert len({(cut[2] - cut[0], cut[3] - cut[1]) for cut in cuts if cut}) == 1
    for cut, (y0, x0, y1, x1) in zip(cuts, regions, strict=True):
        assert cut is not None
        assert x0 * scale <= cut[0] and cut[2] <= x1 * scale and y0 * scale <= cut[1] and cut[3] <= y1 * scale
        assert 0 <= y0 < y1 <= height // scale and 0 <= x0 < x1 <= width // scale


def test_of_a_picture_that_is_too_large_the_model_sees_the_mouths_and_the_face_above() -> None:
    cuts = cuts_of([(700.0, 300.0, 780.0, 400.0), (720.0, 310.0, 800.0, 410.0)], 1920, 1080)
    view = view_of(cuts, 1920, 1080, (64, 256), 16)
    assert view is not None
    x0, y0, x1, y1 = view
    assert (x1 - x0, y1 - y0) == (256, 256)
    assert all(cut and x0 <= cut[0] and cut[2] <= x1 and y0 <= cut[1] and cut[3] <= y1 for cut in cuts)
    assert y0 < 300, "the forehead too"
    odd = view_of(cuts, 1910, 1079, (64, 2048), 16)
    assert odd is not None and (odd[2] - odd[0], odd[3] - odd[1]) == (1904, 1072), "whole tokens"
    assert view_of(cuts_of([(0.0, 0.0, 1900.0, 1000.0)], 1920, 1080), 1920, 1080, (64, 256), 16) is None
    assert view_of(cuts, 1920, 48, (64, 256), 16) is None


def test_a_mask_is_soft_inside_its_region_and_nothing_outside() -> None:
    mask = mask_of((1, 2, 3, 5), 6, 8, 16)
    outside = np.ones_like(mask, bool)
    outside[16:48, 32:80] = False
    assert not mask[outside].any()
    assert mask[16:48, 32:80].min() > 0 and mask[32, 56] == 255
    assert (np.diff(mask[32, 32:44].astype(int)) >= 0).all() and mask[32, 32] < 64
    corner = mask_of((0, 0, 2, 2), 6, 8, 16)
    assert (corner[:20, :20] == 255).all(), "at the edge of the picture nothing is met"


def test_the_mouth_is_where_the_drawn_world_has_it() -> None:
    for person in people(5):
        home = person.home()
        face = home.around((-0.22, -0.28, 0.22, 0.28))
        mouth = home.around((-0.165, 0.062, 0.165, 0.268))
        assert np.allclose(mouth_of(face), mouth, atol=1e-3)


# ---------------------------------------------------------------- faces


@pytest.mark.parametrize("side", [96, 128])
def test_papercut_faces_are_found_with_their_mouths(side: int) -> None:
    locator = PapercutLocator()
    for person in people(16):
        frame = portrait(1, person=person, height=side, width=side)[0]
        found = locator.find(frame)
        assert found, person
        true = [edge * side for edge in person.face_box(0.02)]
        assert overlap(found[0], (true[0], true[1], true[2], true[3])) > 0.75, person
        mouth = [edge * side for edge in person.mouth_box(0.02)]
        assert np.abs(np.subtract(mouth_of(found[0]), mouth)).max() < 0.035 * side, person
        assert len(locator.find(frame, found[0])) == 1, "and again near by"


def test_a_world_without_people_has_no_faces() -> None:
    locator, world = PapercutLocator(), World(seed=3)
    for index in range(12):
        picture = render([world.scene(index)], 96, 96, layered=False).picture[0]
        assert locator.find(to_pixels(picture)) == [], index
    assert locator.find(np.zeros((8, 300, 3), np.uint8)) == []


def two() -> np.ndarray:
    """A large face, and on its right a small one."""
    large = portrait(1, height=128, width=128)[0]
    small = portrait(1, person=Portrait("green", "white", "blue"), height=64, width=64)[0]
    frame = np.zeros((128, 208, 3), np.uint8)
    frame[:] = (48, 92, 204)
    frame[:, :128] = large
    frame[40:104, 136:200] = small
    return frame


def test_of_several_faces_the_largest_speaks_or_the_one_that_is_named(tmp_path: Path) -> None:
    source, audio = still(tmp_path / "two.png", two()), sound(tmp_path / "a.wav", 0.5)
    footage = read_footage(job(EMBEDDED / "papercut", source, audio), tmp_path)
    assert (footage.most, footage.found_by) == (2, "papercut")
    (large,) = footage.faces
    assert large is not None and large[2] < 128
    named = read_footage(job(EMBEDDED / "papercut", source, audio, face=[0.66, 0.3, 0.95, 0.8]), tmp_path)
    (small,) = named.faces
    assert small is not None and small[0] > 128
    assert faces_in(two(), tmp_path) == [large, small], "as a page offers them"


def test_a_face_in_a_video_is_followed_through_compression_and_blinks(tmp_path: Path) -> None:
    frames = portrait(int(25 * (SLOT + BLINK)))
    write_video(tmp_path / "v.mp4", frames, 25, {"job": {}})
    footage = read_footage(job(EMBEDDED / "papercut", tmp_path / "v.mp4", sound(tmp_path / "a.wav", 1)), tmp_path)
    assert (footage.count, footage.fps, footage.width, footage.height) == (len(frames), 25, SIDE, SIDE)
    for number, face in enumerate(footage.faces):
        true = [edge * SIDE for edge in PERSON.face_box((number + 0.5) / 25)]
        assert face is not None and overlap(face, (true[0], true[1], true[2], true[3])) > 0.65, number


def test_frames_without_a_face_are_known_and_short_gaps_are_bridged(tmp_path: Path) -> None:
    frames = portrait(20)
    frames[12:] = frames[0, 0, 0]
    source = folder_of(tmp_path / "leaves", frames, 25)
    footage = read_footage(job(EMBEDDED / "papercut", source, sound(tmp_path / "a.wav", 1)), tmp_path)
    assert [face is not None for face in footage.faces] == [True] * 12 + [False] * 8
    a, b = (0.0, 0.0, 10.0, 10.0), (4.0, 0.0, 14.0, 10.0)
    assert bridge([a, None, b, None, None, None, b, None], 2) == (
        [a, (2.0, 0.0, 12.0, 10.0), b, None, None, None, b, None],
        (1,),
    )


def test_where_nobody_is_found_the_box_is_asked_for_and_taken(tmp_path: Path) -> None:
    plain = still(tmp_path / "plain.png", np.full((96, 96, 3), 90, np.uint8))
    audio = sound(tmp_path / "a.wav", 0.5)
    with pytest.raises(Refusal, match=r"give its box as face: \[x0, y0, x1, y1\]") as caught:
        read_footage(job(EMBEDDED / "papercut", plain, audio), tmp_path)
    assert caught.value.field == "face" and "\n" not in str(caught.value)
    footage = read_footage(job(EMBEDDED / "papercut", plain, audio, face=[0.25, 0.25, 0.75, 1.0]), tmp_path)
    assert (footage.faces, footage.found_by) == (((24.0, 24.0, 72.0, 96.0),), "given")
    assert None not in footage.open_, "and its frames can be references"


def test_a_yunet_model_that_is_named_must_be_there_and_be_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert yunet.model_file(tmp_path) is None
    monkeypatch.setenv(yunet.VARIABLE, str(tmp_path / "gone.onnx"))
    with pytest.raises(Refusal, match="is no file"):
        yunet.model_file(tmp_path)
    (tmp_path / yunet.FILE).write_bytes(b"not a model")
    monkeypatch.delenv(yunet.VARIABLE)
    found = yunet.model_file(tmp_path)
    assert found == tmp_path / yunet.FILE
    with pytest.raises(Refusal, match="can not be read as a YuNet model"):
        yunet.YuNetLocator(found)


def test_yunets_boxes_come_as_ours_the_largest_first() -> None:
    class Detector:
        """What OpenCV's detector answers: x, y, width, height, ten landmarks, a score."""

        def setInputSize(self, size: tuple[int, int]) -> None:
            self.size = size

        def detect(self, bgr: np.ndarray) -> tuple[int, np.ndarray | None]:
            assert self.size == (bgr.shape[1], bgr.shape[0]) and tuple(bgr[0, 0]) == (3, 2, 1)
            rows = np.zeros((2, 15), np.float32)
            rows[0, :4], rows[1, :4] = (5, 6, 10, 10), (20, 10, 30, 40)
            return 1, rows if bgr.shape[0] > 50 else None

    locator = yunet.YuNetLocator.__new__(yunet.YuNetLocator)
    locator._detector = Detector()
    frame = np.zeros((60, 80, 3), np.uint8)
    frame[:] = (1, 2, 3)
    assert locator.find(frame) == [(20.0, 10.0, 50.0, 50.0), (5.0, 6.0, 15.0, 16.0)]
    assert locator.find(frame[:40]) == []


# ---------------------------------------------------------------- references


def test_references_show_the_mouth_from_shut_to_open_over_the_whole_clip() -> None:
    frames = portrait(15)
    face = PERSON.face_box(0.02)
    box = (face[0] * SIDE, face[1] * SIDE, face[2] * SIDE, face[3] * SIDE)
    open_ = [openness(frame, box) for frame in frames]
    assert max(open_[0::5]) < min(open_[1::5]), "a shut mouth seems less open than one that says ah"
    chosen = choose(open_, 3)
    assert any(number % 5 == 0 for number in chosen) and any(number % 5 == 1 for number in chosen)


@given(open_=st.lists(st.one_of(st.none(), st.floats(0, 99)), min_size=1, max_size=60), count=st.integers(1, 8))
def test_references_are_different_frames_with_a_face_and_hold_both_ends(open_: list[float | None], count: int) -> None:
    chosen, there = choose(open_, count), [value for value in open_ if value is not None]
    assert chosen == sorted(set(chosen)) and len(chosen) == min(count, len(there))
    values = [open_[number] for number in chosen]
    assert None not in values
    if there:
        assert max(there) in values and (count == 1 or min(there) in values)


# ---------------------------------------------------------------- over time


def shots_of(source: Path, audio: Path, **fields: object) -> Shots:
    described = describe("papercut")
    return read_shots(job(EMBEDDED / "papercut", source, audio, **fields), described)[0]


def test_how_open_a_mouth_seems_goes_with_how_open_it_is(tmp_path: Path) -> None:
    times = np.arange(48) / 25 + 0.02
    mouths = Voice(3, 1, 2.0).track(times).astype(np.float64)
    frames = np.stack([to_pixels(frame) for frame in draw(PERSON, times.tolist(), mouths, SIDE, SIDE)])
    source, audio = folder_of(tmp_path / "face", frames, 25), sound(tmp_path / "a.wav", 48 / 25)
    for region in ("mouth", "portrait"):
        seen = openings(frames, shots_of(source, audio, region=region))
        assert None not in seen and np.corrcoef(np.array(seen, float), mouths[:, 0])[0, 1] > 0.85, region


def test_what_is_in_a_box_that_was_only_given_is_not_taken_for_a_mouth(tmp_path: Path) -> None:
    frames = np.full((3, 96, 96, 3), 90, np.uint8)
    source, audio = folder_of(tmp_path / "plain", frames, 25), sound(tmp_path / "a.wav", 3 / 25)
    assert openings(frames, shots_of(source, audio, face=[0.25, 0.25, 0.75, 1.0])) == [None] * 3


def test_loudness_is_told_at_as_many_moments_as_openings() -> None:
    assert moments(3) == [0, 1, 2] and len(moments(5_000)) == MOMENTS
    spread = np.diff(moments(5_000))
    assert moments(5_000)[0] > 0 and spread.max() - spread.min() <= 1
    wave = np.concatenate([np.zeros(800), np.full(800, 0.5), np.full(800, -1.0)]).astype(np.float32)
    assert loudness(wave, 3) == [0.0, 0.5, 1.0]
    assert loudness(wave[:1], 3) == [0.0, 0.0, 0.0], "a sound shorter than its frames"


# ---------------------------------------------------------------- reels


def test_a_reel_gives_back_its_frames_and_a_dub_changes_its_view_alone(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    frames, parts = (random.integers(0, 256, shape, np.uint8) for shape in ((3, 8, 10, 3), (5, 4, 4, 3)))
    source, made = Reel(tmp_path), Reel()
    for frame in frames:
        source.append(frame)
    for part in parts:
        made.append(part)
    assert not list(tmp_path.iterdir()), "nothing is left behind, whatever happens"
    assert source.shape == (3, 8, 10, 3) and np.array_equal(np.stack(list(source)), frames)
    dubbed = Dubbed(source, made, Timeline(5, Fraction(25), 3), (2, 1, 6, 5))
    expected = frames[[0, 1, 2, 1, 0]].copy()
    expected[:, 1:5, 2:6] = parts
    assert dubbed.shape == (5, 8, 10, 3) and np.array_equal(np.stack(list(dubbed)), expected)
    with pytest.raises(ValueError, match="expected a frame of shape"):
        source.append(parts[0])


def test_clips_of_more_frames_than_a_job_makes_can_be_watched(tmp_path: Path) -> None:
    frames = np.zeros((1, 16, 16, 3), np.uint8).repeat(1_010, 0)
    write_video(tmp_path / "long.mp4", frames, 30, {"job": {}})
    with pytest.raises(ValueError, match="at most 1,000 frames"):
        read_clip(tmp_path / "long.mp4")
    footage = read_footage(
        job(EMBEDDED / "papercut", tmp_path / "long.mp4", tmp_path / "a.wav", region="portrait"), tmp_path
    )
    assert (footage.count, footage.fps) == (1_010, 30)
