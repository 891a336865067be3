"""What the parser of portraits promises: exact frames read right, damaged ones nearly so, and nothing made up."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from tests.test_voice import recording
from training import face as drawing
from training.face import draw
from training.lips import Sync, read_portrait, sync
from training.papercut import World, render
from training.pixels import UNKNOWN, Pixels, to_pixels
from training.portrait import MOUTHS, SLOT, Cast, Portrait
from training.voice import RATE, Voice, envelope

CAST = Cast(seed=21, split="any")
FRAMES = 8
Damage = Callable[[Pixels], Pixels]


def clip(index: int, height: int = 96, width: int = 96) -> tuple[Portrait, list[float], NDArray[np.float64], Pixels]:
    """Who, when, mouths [F, 3] and frames: every second clip speaks, the others hold their mouths anyhow."""
    portrait = CAST.portrait(index)
    steps = np.arange(FRAMES) / 8
    spoken = Voice(3, index, 1.0).track(steps).astype(np.float64)
    mouths = spoken if index % 2 else np.random.default_rng(index).random((FRAMES, 3))
    times = [index * 0.37 + step for step in steps.tolist()]
    return portrait, times, mouths, pixels(draw(portrait, times, mouths, height, width))


def pixels(frames: torch.Tensor) -> Pixels:
    return np.stack([to_pixels(frame) for frame in frames])


def blurred(radius: float) -> Damage:
    return lambda frame: np.array(Image.fromarray(frame).filter(ImageFilter.GaussianBlur(radius)))


def compressed(frame: Pixels) -> Pixels:
    file = io.BytesIO()
    Image.fromarray(frame).save(file, "JPEG", quality=90)
    return np.array(Image.open(file))


@dataclass
class Score:
    """What was read of many frames: the share in which all was right, and mouths as they were and as they were read."""

    right: list[bool] = field(default_factory=list)
    named: list[bool] = field(default_factory=list)
    true: list[NDArray[np.float64]] = field(default_factory=list)
    read: list[NDArray[np.float64]] = field(default_factory=list)

    def correlation(self, k: int) -> float:
        """Of openings (0) or of widths (1)."""
        return float(np.corrcoef(np.array(self.true)[:, k], np.array(self.read)[:, k])[0, 1])

    def error(self, k: int) -> float:
        """The root mean square."""
        return float(np.sqrt(np.mean((np.array(self.true)[:, k] - np.array(self.read)[:, k]) ** 2)))


def score(clips: range, height: int = 96, width: int = 96, damage: Damage | None = None) -> Score:
    """Right is: three names, whether the eyes are shut where they are not half shut, opening, width and face."""
    result = Score()
    short = min(height, width)
    for index in clips:
        portrait, times, mouths, frames = clip(index, height, width)
        reading = read_portrait(np.stack([damage(frame) for frame in frames]) if damage else frames)
        for k, time in enumerate(times):
            box = portrait.face_box(time, (width / short, height / short))
            named = (reading.skins[k], reading.hairs[k], reading.ground) == (
                portrait.skin,
                portrait.hair,
                portrait.ground,
            )
            result.named.append(named)
            result.right.append(
                named
                and (0.35 < (lids := portrait.lids(time)) < 0.65 or bool(reading.blinks[k]) == (lids < 0.5))
                and abs(reading.opening[k] - mouths[k, 0]) < 0.06
                and abs(reading.width[k] - mouths[k, 1]) < 0.12
                and np.abs(reading.faces[k] - box).max() < 0.015
            )
            result.true.append(mouths[k, :2])
            result.read.append(np.array([reading.opening[k], reading.width[k]], dtype=np.float64))
    return result


# ---------------------------------------------------------------- what was drawn


@pytest.mark.slow
def test_reads_more_than_five_hundred_frames() -> None:
    found = score(range(70))
    assert len(found.right) >= 500
    assert np.mean(found.right) >= 0.99
    assert min(found.correlation(0), found.correlation(1)) > 0.98
    assert found.error(0) < 0.015
    assert found.error(1) < 0.03


@pytest.mark.parametrize(("height", "width"), [(96, 96), (64, 64), (64, 112), (160, 96), (256, 256)])
def test_reads_any_size(height: int, width: int) -> None:
    found = score(range(6), height, width)
    assert np.mean(found.right) >= 0.97
    assert min(found.correlation(0), found.correlation(1)) > 0.98


@pytest.mark.parametrize("damage", [blurred(0.8), blurred(1.2), compressed], ids=["blur", "more blur", "jpeg"])
def test_reads_blurred_and_compressed_frames(damage: Damage) -> None:
    found = score(range(10), damage=damage)
    assert np.mean(found.named) == 1
    assert found.correlation(0) > 0.98
    assert found.correlation(1) > 0.96
    assert found.error(0) < 0.05


@pytest.mark.slow
def test_reads_what_the_embedded_autoencoder_leaves_of_a_face() -> None:
    """It was not trained on faces and takes much of them away, but how far a mouth is open can still be seen."""
    from training.main import autoencoder_of

    codec = autoencoder_of("papercut")

    def through(frame: Pixels) -> Pixels:
        picture = torch.from_numpy(frame).permute(2, 0, 1)[None] / 255
        with torch.no_grad():
            rgba = torch.cat([picture, torch.ones_like(picture[:, :1])], 1)
            return to_pixels(codec.decode(codec.encode(rgba), *picture.shape[-2:])[0, 0, :3])

    found = score(range(12), 128, 128, through)
    assert np.mean(found.named) >= 0.95
    assert found.correlation(0) > 0.95


def test_heads_that_move_far_are_followed() -> None:
    portrait = replace(CAST.portrait(2), x=0.0, y=0.0)
    for x, y, scale in ((0.05, 0.0, 1.0), (-0.05, 0.03, 1.05), (0.0, -0.05, 0.95)):
        moved = replace(portrait, x=x, y=y, scale=scale)
        reading = read_portrait(pixels(draw(moved, [0.1, 0.6], [MOUTHS["oh"]] * 2, 96, 96)))
        assert np.abs(reading.faces - [moved.face_box(time) for time in (0.1, 0.6)]).max() < 0.015
        assert reading.opening == pytest.approx(MOUTHS["oh"].opening, abs=0.05)


def test_blinks_are_found_where_they_are() -> None:
    portrait = CAST.portrait(5)
    times = [k / 30 for k in range(int(30 * SLOT))]
    reading = read_portrait(pixels(draw(portrait, times, [MOUTHS["closed"]] * len(times), 96, 96)))
    lids = np.array([portrait.lids(time) for time in times])
    clear = (lids < 0.35) | (lids > 0.65)
    assert (lids < 0.35).sum() >= 2
    assert np.array_equal(reading.blinks[clear], lids[clear] < 0.5)


def test_a_silence_is_read_as_a_shut_mouth() -> None:
    for index in range(16):
        portrait = CAST.portrait(index)
        reading = read_portrait(pixels(draw(portrait, [0.2, 1.0], [MOUTHS["closed"]] * 2, 96, 96)))
        assert reading.opening.max() < 0.03
        assert reading.shut.all()
        reading = read_portrait(pixels(draw(portrait, [0.2, 1.0], [MOUTHS["oo"], MOUTHS["ee"]], 96, 96)))
        assert not reading.shut.any()


@pytest.mark.parametrize("fps", [8, 25])
def test_clips_of_the_procedural_voice_are_read_in_time_with_it(fps: int) -> None:
    for index in range(4):
        times = (np.arange(2 * fps) / fps).tolist()
        track = Voice(8, index, 2.0).track(times)
        frames = pixels(draw(Cast(seed=8, split="unseen").portrait(index), times, track, 64, 64))
        found = sync(read_portrait(frames).opening, track[:, 0])
        assert found.correlation > 0.98
        assert found.lag == 0


def test_a_mouth_that_follows_real_speech_is_read_in_time_with_it() -> None:
    audio = recording()
    times = np.arange(0, len(audio) / RATE, 1 / 12)
    loud = envelope(audio, RATE, times)
    mouths = np.stack([loud / loud.max(), np.full_like(loud, 0.5), np.full_like(loud, 0.3)], 1)
    frames = pixels(draw(CAST.portrait(9), times.tolist(), mouths, 64, 64))
    found = sync(read_portrait(frames).opening, loud / loud.max())
    assert found.correlation > 0.98
    assert found.lag == 0


# ---------------------------------------------------------------- what was not


def test_what_is_no_portrait_is_unknown() -> None:
    world = World(seed=4, split="any")
    scenes = render([world.scene(index) for index in range(12)], 96, 96, layered=False).picture
    noise = np.random.default_rng(0).integers(0, 256, (4, 96, 96, 3), dtype=np.uint8)
    plain = np.full((4, 96, 96, 3), (240, 138, 36), dtype=np.uint8)
    for frames in (pixels(scenes), noise, plain):
        reading = read_portrait(frames)
        assert not reading.found.any()
        assert (reading.skin, reading.hair) == (UNKNOWN, UNKNOWN)
        assert np.isnan(reading.opening).all()
        assert np.isnan(reading.faces).all()
        assert not reading.blinks.any()


def test_colours_outside_the_palette_are_unknown() -> None:
    portrait = Portrait("orange", "green", "white", "bun")
    frames = pixels(draw(portrait, [0.1], [MOUTHS["closed"]], 96, 96))
    near = np.linalg.norm(frames.astype(float) - (58, 157, 84), axis=-1) < 40
    frames[near] = (150, 190, 20)
    reading = read_portrait(frames)
    assert (reading.skin, reading.hair, reading.ground) == ("orange", UNKNOWN, "white")


def test_a_face_without_a_mouth_has_no_opening() -> None:
    portrait = Portrait("yellow", "black", "blue")
    frames = draw(portrait, [0.1], [MOUTHS["ee"]], 96, 96)
    x0, y0, x1, y1 = (round(value * 96) for value in portrait.mouth_box(0.1))
    skin = torch.tensor(drawing.papers("yellow")[0])[:, None, None] / 255
    frames[0, :, y0:y1, x0 + 4 : x1 - 4] = skin
    reading = read_portrait(pixels(frames))
    assert reading.found.all()
    assert np.isnan(reading.opening).all()
    assert np.isnan(reading.width).all()


def test_frames_that_do_not_agree_have_no_name() -> None:
    one, other = (Portrait(skin, "black", "blue") for skin in ("yellow", "white"))
    frames = torch.cat([draw(who, [0.1, 0.2], [MOUTHS["ah"]] * 2, 96, 96) for who in (one, other)])
    reading = read_portrait(pixels(frames))
    assert reading.skins == ("yellow", "yellow", "white", "white")
    assert (reading.skin, reading.hair, reading.ground) == (UNKNOWN, "black", "blue")


@pytest.mark.parametrize(
    "frames",
    [
        np.zeros((96, 96, 3), np.uint8),
        np.zeros((2, 96, 96, 4), np.uint8),
        np.zeros((2, 96, 96, 3), np.float32),
        np.zeros((0, 96, 96, 3), np.uint8),
    ],
)
def test_refuses_what_are_no_frames(frames: Pixels) -> None:
    with pytest.raises(ValueError, match=r"expected frames as uint8 \[F, H, W, 3\], got"):
        read_portrait(frames)


# ---------------------------------------------------------------- sync

TRACK = Voice(3, 1, 6.0).track(np.arange(150) / 25)[:, 0].astype(np.float64)


def test_a_track_goes_with_itself() -> None:
    found = sync(TRACK, TRACK)
    assert (found.correlation, found.best) == pytest.approx((1, 1))
    assert found.lag == 0
    assert sync(0.3 + 0.5 * TRACK, TRACK).correlation == pytest.approx(1)
    assert sync(1 - TRACK, TRACK).correlation == pytest.approx(-1)


@pytest.mark.parametrize("lag", [-3, -1, 1, 4])
def test_the_best_lag_is_how_many_frames_the_first_comes_late(lag: int) -> None:
    times = np.arange(150) / 25
    late = Voice(3, 1, 6.0).track(times - lag / 25)[:, 0]
    found = sync(late, TRACK)
    assert found.lag == lag
    assert found.best > 0.999 > found.correlation


def test_silence_goes_with_a_shut_mouth_and_with_nothing_else() -> None:
    silence = np.zeros(150)
    assert sync(silence, silence) == Sync(1.0, 0, 1.0)
    assert sync(silence + 0.03, silence) == Sync(1.0, 0, 1.0)
    assert sync(silence + 0.6, silence) == Sync(0.0, 0, 0.0)
    assert sync(TRACK, silence) == sync(silence, TRACK) == Sync(0.0, 0, 0.0)


def test_frames_that_were_not_read_are_left_out_unless_they_are_many() -> None:
    some, many = TRACK.copy(), TRACK.copy()
    some[::10], many[::3] = np.nan, np.nan
    assert sync(some, TRACK).correlation == pytest.approx(1)
    assert sync(many, TRACK) == Sync(0.0, 0, 0.0)
    assert sync([], []) == sync([0.1, 0.9], [0.1, 0.9]) == Sync(0.0, 0, 0.0)


def test_refuses_tracks_of_different_lengths() -> None:
    with pytest.raises(ValueError, match="expected two tracks of one length"):
        sync(TRACK, TRACK[1:])
