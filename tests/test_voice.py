"""What the procedural voice promises: sound and mouth that are known exactly and belong together."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from training.voice import CONSONANTS, RATE, VOWELS, Spoken, Voice, envelope

Samples = NDArray[np.float32]
RECORDING = Path(__file__).parent.parent / "assets" / "examples" / "speech.wav"


def voices(count: int, duration: float = 4.0) -> list[Voice]:
    """Voices that speak."""
    some = (Voice(5, index, duration) for index in range(2 * count))
    return [voice for voice in some if len(voice.sounds) > 2][:count]


def clean(count: int) -> list[Voice]:
    return [voice for voice in voices(6 * count) if voice.speaker.hiss == 0][:count]


def middle(voice: Voice, audio: Samples, sound: Spoken) -> Samples:
    """The samples of a sound, without its first and last quarter."""
    quarter = (sound.end - sound.start) / 4
    return audio[round((sound.start + quarter) * RATE) : round((sound.end - quarter) * RATE)]


def recording() -> Samples:
    with av.open(str(RECORDING)) as container:
        stream = container.streams.audio[0]
        assert (stream.rate, stream.channels) == (RATE, 1)
        return np.concatenate([frame.to_ndarray()[0] for frame in container.decode(stream)]).astype(
            np.float32
        ) / np.float32(2**15)


# ---------------------------------------------------------------- exactness


def test_a_voice_is_a_function_of_seed_index_and_duration() -> None:
    first = [Voice(5, index, 1.5) for index in range(6)]
    sounds = [voice.audio().tobytes() for voice in first]
    assert sounds == [Voice(5, index, 1.5).audio().tobytes() for index in reversed(range(6))][::-1]
    assert len({*sounds, *(Voice(6, index, 1.5).audio().tobytes() for index in range(6))}) == 12
    assert first[0].track([0.3, 0.9]).tobytes() == Voice(5, 0, 1.5).track([0.3, 0.9]).tobytes()


@pytest.mark.parametrize("duration", [0.01, 0.4, 1.0, 2.34567, 20.0])
def test_audio_lasts_as_long_as_asked(duration: float) -> None:
    audio = Voice(5, 1, duration).audio()
    assert audio.dtype == np.float32
    assert audio.shape == (round(duration * RATE),)
    assert np.isfinite(audio).all()
    assert np.abs(audio).max(initial=0) < 1


@pytest.mark.parametrize("duration", [0.0, -1.0, float("nan"), 1e6])
def test_refuses_impossible_durations(duration: float) -> None:
    with pytest.raises(ValueError, match="a voice lasts more than 0"):
        Voice(0, 0, duration)


def test_sounds_follow_each_other_without_gaps() -> None:
    for voice in voices(20):
        assert voice.sounds[0].start == 0
        assert voice.sounds[-1].end == voice.duration
        assert all(one.end == after.start for one, after in zip(voice.sounds, voice.sounds[1:], strict=False))
        assert all(one.end > one.start for one in voice.sounds)


def test_any_frame_rate_samples_the_same_track() -> None:
    voice = voices(1)[0]
    whole = voice.track(np.arange(400) / 100)
    assert np.array_equal(voice.track(np.arange(100) / 25), whole[::4])
    assert np.array_equal(voice.track([1.23]), whole[123:124])


def test_tracks_are_smooth_and_stay_between_0_and_1() -> None:
    for voice in voices(20):
        track = voice.track(np.arange(-100, 4100) / 1000)
        assert track.shape == (4200, 3)
        assert track.dtype == np.float32
        assert track.min() >= 0
        assert track.max() <= 1
        assert np.abs(np.diff(track, axis=0)).max() < 0.06


def test_the_mouth_is_shut_before_and_after_in_pauses_and_for_lips_that_meet() -> None:
    for voice in voices(20):
        assert np.all(voice.track([-1.0, 0.0, voice.duration, voice.duration + 9])[:, 0] == 0)
        shut = [(one.start + one.end) / 2 for one in voice.sounds if one.name in ("pause", "m", "b", "p")]
        assert np.all(voice.track(shut)[:, 0] == 0)


def test_vowels_open_the_mouth_and_all_of_them_differ() -> None:
    seen: dict[str, list[NDArray[np.float32]]] = {name: [] for name in VOWELS}
    for voice in voices(20):
        for one in voice.sounds:
            if one.name in VOWELS:
                seen[one.name].append(voice.track([(one.start + one.end) / 2])[0])
    means = {name: np.mean(poses, axis=0) for name, poses in seen.items()}
    assert all(mean[0] > 0.15 for mean in means.values())
    assert min(np.abs(means[a] - means[b]).max() for a in means for b in means if a != b) > 0.2


def test_some_voices_say_nothing_and_keep_their_mouths_shut() -> None:
    silent = [voice for voice in (Voice(5, index, 2.0) for index in range(200)) if len(voice.sounds) == 2]
    assert 10 <= len(silent) <= 40
    assert all(not voice.track(np.arange(50) / 25)[:, 0].any() for voice in silent)


def test_phrases_end_where_the_mouth_stays_shut_after_something_said() -> None:
    ends = [(voice, end) for voice in voices(10) for end in voice.phrase_ends]
    assert len(ends) >= 20
    for voice, end in ends:
        pause = next(one for one in voice.sounds if one.start == end)
        assert pause.name == "pause" and voice.sounds[voice.sounds.index(pause) - 1].name != "pause"
    for voice in {voice for voice, _ in ends}:
        assert {one.name for one in voice.sounds if one.start >= voice.phrase_ends[-1]} == {"pause"}, "the last one too"
    silent = next(voice for voice in (Voice(5, index, 2.0) for index in range(200)) if len(voice.sounds) == 2)
    assert silent.phrase_ends == ()


# ---------------------------------------------------------------- sound


def test_vowels_ring_at_their_first_formant() -> None:
    """The strongest harmonic below 1100 Hz lies within one and a half harmonics of it."""
    right = []
    for voice in clean(8):
        audio = voice.audio()
        for one in voice.sounds:
            if one.name in VOWELS and one.end - one.start > 0.12:
                part = middle(voice, audio, one)
                power = np.abs(np.fft.rfft(part * np.hanning(len(part)), 4096))[: 4096 * 1100 // RATE]
                formant = VOWELS[one.name].formants[0] * voice.speaker.reach
                right.append(abs(power.argmax() * RATE / 4096 - formant) < 1.5 * voice.speaker.pitch)
    assert len(right) > 40
    assert np.mean(right) > 0.9


def test_speakers_have_their_own_pitch() -> None:
    for voice in clean(6):
        audio, found = voice.audio(), []
        for one in voice.sounds:
            if one.name in VOWELS and one.end - one.start > 0.12:
                part = middle(voice, audio, one)
                same = np.correlate(part, part, "full")[len(part) - 1 :]
                delays = slice(RATE // 330, RATE // 70)
                found.append(RATE / (delays.start + same[delays].argmax()) / one.pitch)
        assert np.median(found) == pytest.approx(voice.speaker.pitch, rel=0.12)
    assert np.ptp([voice.speaker.pitch for voice in voices(20)]) > 80


def test_fricatives_are_bright_noise_and_pauses_are_silent() -> None:
    hissed = 0
    for voice in clean(8):
        audio = voice.audio()
        loud = float(np.sqrt(np.mean(audio**2)))
        for one in voice.sounds:
            part = middle(voice, audio, one)
            if one.name == "s":
                power = np.abs(np.fft.rfft(part)) ** 2
                assert power[len(power) * 3 // 8 :].sum() > 0.8 * power.sum()
                hissed += 1
            if one.name == "pause" and one.end - one.start > 0.3:
                assert np.sqrt(np.mean(part**2)) < 0.02 * loud
    assert hissed > 5


def test_noise_lies_under_most_voices_at_many_strengths() -> None:
    hisses = np.array([voice.speaker.hiss for voice in voices(100)])
    assert 0.1 < (hisses == 0).mean() < 0.5
    decibels = -20 * np.log10(hisses[hisses > 0])
    assert decibels.min() < 18
    assert decibels.max() > 40
    voice = next(voice for voice in voices(100) if voice.speaker.hiss > 0.1)
    pause = middle(voice, voice.audio(), voice.sounds[0])
    expected = voice.speaker.hiss * voice.speaker.loudness
    assert np.sqrt(np.mean(pause**2)) == pytest.approx(expected, rel=0.5)


def test_the_opening_goes_with_the_first_formant_and_with_loudness() -> None:
    kinds = {**VOWELS, **{name: CONSONANTS[name] for name in ("m", "n", "l")}}
    assert np.corrcoef([(one.mouth.opening, one.formants[0]) for one in kinds.values()], rowvar=False)[0, 1] > 0.9
    times, found = np.arange(100) / 25, []
    for voice in voices(30):
        loud = envelope(voice.audio(), RATE, times)
        found.append(np.corrcoef(voice.track(times)[:, 0], loud)[0, 1])
    assert min(found) > 0.6
    assert np.mean(found) > 0.8


# ---------------------------------------------------------------- envelopes


@pytest.mark.parametrize("rate", [8000, 16000, 44100, 48000])
def test_an_envelope_is_the_loudness_around_a_time(rate: int) -> None:
    seconds = np.arange(rate) / rate
    audio = 0.5 * np.sqrt(2) * np.sin(2 * np.pi * 400 * seconds) * ((seconds >= 0.4) & (seconds < 0.8))
    loud = envelope(audio, rate, [-1.0, 0.2, 0.4, 0.6, 0.9, 1.0, 5.0])
    assert loud == pytest.approx([0, 0, 0.5 / np.sqrt(2), 0.5, 0, 0, 0], abs=0.005)


def test_an_empty_recording_is_silent() -> None:
    assert envelope([], RATE, [0.0, 1.0]).tolist() == [0.0, 0.0]


def test_the_recording_of_speech_is_short_and_speaks_and_pauses() -> None:
    assert RECORDING.stat().st_size < 150_000
    audio = recording()
    assert 2 <= len(audio) / RATE <= 4
    loud = envelope(audio, RATE, np.arange(0, len(audio) / RATE, 0.04))
    assert loud.max() > 0.1
    assert (loud < 0.05 * loud.max()).mean() > 0.05
    assert (loud > 0.3 * loud.max()).mean() > 0.3
