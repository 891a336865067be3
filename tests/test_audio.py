"""Sound in and out: any file that can be decoded, sample for sample, on time, and closed to everything else."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.files import audio
from pipelines.files.audio import Sound, mono16k, read_audio
from pipelines.files.media import MediaError, read_clip, read_recipe, write_video
from pipelines.files.soundtrack import Soundtrack

RECIPE: dict[str, Any] = {"job": {"task": "dubbing"}}
NTSC = Fraction(30_000, 1001)
# file name: encoder, container, sample format, rate, channels
FILES: dict[str, tuple[str, str, str, int, int]] = {
    "plain.wav": ("pcm_s16le", "wav", "s16", 44_100, 2),
    "eight bits.wav": ("pcm_u8", "wav", "u8", 8_000, 1),
    "studio.wav": ("pcm_s24le", "wav", "s32", 96_000, 2),
    "wide.wav": ("pcm_s32le", "wav", "s32", 48_000, 1),
    "float.wav": ("pcm_f32le", "wav", "flt", 22_050, 1),
    "six.wav": ("pcm_s16le", "wav", "s16", 48_000, 6),
    "речь.flac": ("flac", "flac", "s16", 44_100, 2),
    "音声 a.mp3": ("libmp3lame", "mp3", "fltp", 44_100, 2),
    "naïve voice.opus": ("libopus", "ogg", "flt", 48_000, 2),
    "record.webm": ("libopus", "webm", "flt", 48_000, 1),
    "phone.m4a": ("aac", "ipod", "fltp", 48_000, 1),
    "stream.ts": ("aac", "mpegts", "fltp", 44_100, 2),
    "apple.m4a": ("alac", "ipod", "s16p", 44_100, 2),
    "film.mka": ("ac3", "matroska", "fltp", 48_000, 2),
    "big endian.aiff": ("pcm_s16be", "aiff", "s16", 11_025, 1),
}
LOSSLESS = [name for name, file in FILES.items() if file[0].startswith(("pcm", "flac", "alac"))]
TYPES = {"u8": np.uint8, "s16": np.int16, "s32": np.int32, "flt": np.float32}


def tone(seconds: float, rate: int, channels: int = 1) -> np.ndarray:
    """[C, T] in -1 to 1: a vowel-like sum, louder and softer, other in each channel."""
    time = np.arange(round(seconds * rate)) / rate
    loud = 0.6 + 0.3 * np.sin(2 * np.pi * 3 * time)
    return np.stack([loud * np.sin(2 * np.pi * (220 + 90 * c) * time) * 0.8 for c in range(channels)])


def as_format(wave: np.ndarray, format: str) -> np.ndarray:
    kind = TYPES[format.rstrip("p") if format != "fltp" else "flt"]
    if kind == np.float32:
        return wave.astype(np.float32)
    bits = 8 * np.dtype(kind).itemsize
    whole = np.round(wave * (2 ** (bits - 1) - 1)).astype(np.int64)
    return (whole + (128 if kind == np.uint8 else 0)).astype(kind)


def add_sound(container: Any, wave: np.ndarray, codec: str, format: str, rate: int) -> Callable[[], None]:
    """A stream for `wave` in `container`; calling what comes back writes it."""
    layout = {1: "mono", 2: "stereo", 6: "5.1", 9: "9 channels"}[len(wave)]
    stream = container.add_stream(codec, rate=rate)
    stream.codec_context.format, stream.codec_context.layout = format, layout

    def write(start: Fraction = Fraction(0)) -> None:
        samples = as_format(wave, format)
        stream.codec_context.open(strict=False)
        step = stream.codec_context.frame_size or 1_000
        for low in range(0, samples.shape[1], step):
            part = samples[:, low : low + step]
            part = part if format.endswith("p") else part.T.reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(part), format=format, layout=layout)
            frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
            frame.pts = low + round(start * rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())

    return write


def make(folder: Path, name: str, seconds: float = 1.1) -> Path:
    codec, container, format, rate, channels = FILES[name]
    with av.open(str(folder / name), "w", format=container) as opened:
        add_sound(opened, tone(seconds, rate, channels), codec, format, rate)()
    return folder / name


def film(path: Path, sound_at: Fraction | None, picture_at: int = 0, container: str = "mp4") -> Path:
    """A second of black video at 25 frames a second, and half a second of AAC that begins at `sound_at`."""
    with av.open(str(path), "w", format=container) as opened:
        stream = opened.add_stream("libx264", rate=25)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        write = None if sound_at is None else add_sound(opened, tone(0.5, 48_000), "aac", "fltp", 48_000)
        for number in range(25):
            frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
            frame.pts, frame.time_base = number + picture_at, Fraction(1, 25)
            opened.mux(stream.encode(frame))
        opened.mux(stream.encode())
        if write is not None and sound_at is not None:
            write(sound_at)
    return path


def decoded(path: Path) -> np.ndarray:
    """[C, T] as PyAV gives it, without any code of ours."""
    parts = []
    with av.open(str(path)) as opened:
        for frame in opened.decode(audio=0):
            samples = frame.to_ndarray()
            parts.append(samples if frame.format.is_planar else samples.reshape(-1, len(frame.layout.channels)).T)
    return np.concatenate(parts, 1)


def black(frames: int) -> np.ndarray:
    return np.zeros((frames, 16, 16, 3), np.uint8)


# ---------------------------------------------------------------- reading


@pytest.mark.parametrize("name", FILES)
def test_any_kind_of_file_gives_its_samples_with_its_rate_and_channels(tmp_path: Path, name: str) -> None:
    codec, _, format, rate, channels = FILES[name]
    sound = read_audio(make(tmp_path, name))
    assert (sound.rate, sound.channels) == (rate, channels)
    assert np.array_equal(sound.samples, decoded(tmp_path / name))
    wave = tone(1.1, rate, channels)
    if name in LOSSLESS:
        stored = as_format(wave, format)
        assert np.array_equal(sound.samples, stored & ~0xFF if codec == "pcm_s24le" else stored)
        assert sound.seconds == Fraction(wave.shape[1], rate)
    else:
        assert Fraction(11, 10) <= sound.seconds < Fraction(12, 10)


@pytest.mark.parametrize("codec", ["libmp3lame", "libopus", "aac"])
def test_the_delay_of_an_encoder_is_taken_off(tmp_path: Path, codec: str) -> None:
    name = next(name for name, file in FILES.items() if file[0] == codec)
    sound, wave = read_audio(make(tmp_path, name)), tone(1.1, FILES[name][3])[0]
    found = sound.floats()[0, : len(wave)]
    lags = range(-40, 41)
    match = [float(np.dot(found[4_000:40_000], wave[4_000 + lag : 40_000 + lag])) for lag in lags]
    assert abs(lags[int(np.argmax(match))]) <= 2


@pytest.mark.parametrize("container", ["mp4", "matroska"])
@pytest.mark.parametrize("at", [Fraction(0), Fraction(1, 4), Fraction(2)])
def test_in_a_video_sound_keeps_its_distance_from_the_first_frame(tmp_path: Path, at: Fraction, container: str) -> None:
    plain = read_audio(film(tmp_path / "a.mp4", Fraction(0), container=container))
    sound = read_audio(film(tmp_path / "b.mp4", at, container=container))
    begins = np.abs(sound.floats()[0] > 0.05).argmax() - np.abs(plain.floats()[0] > 0.05).argmax()
    # AAC stands in steps of 1/48 second and Matroska counts milliseconds.
    assert abs(begins / 48_000 - float(at)) < 0.022
    assert sound.seconds >= at + Fraction(1, 2) - Fraction(1, 50)


def test_what_sounds_before_the_first_frame_is_cut_off(tmp_path: Path) -> None:
    whole = read_audio(film(tmp_path / "a.mkv", Fraction(0), container="matroska"))
    late = read_audio(film(tmp_path / "b.mkv", Fraction(0), picture_at=5, container="matroska"))
    assert abs(float(whole.seconds - late.seconds) - 0.2) < 0.002
    count = late.samples.shape[1]
    assert np.array_equal(late.samples, whole.samples[:, -count:])


def test_a_hole_in_a_recording_is_silence_and_not_a_jump(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mka"), "w", format="matroska") as opened:
        stream = opened.add_stream("pcm_s16le", rate=8_000)
        stream.codec_context.layout = "mono"
        for start in (0, 12_000):
            samples = np.full((1, 4_000), 1_000, np.int16)
            frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            frame.sample_rate, frame.time_base, frame.pts = 8_000, Fraction(1, 8_000), start
            opened.mux(stream.encode(frame))
        opened.mux(stream.encode())
    sound = read_audio(tmp_path / "a.mka")
    expected = np.repeat(np.array([1_000, 0, 0, 1_000], np.int16), 4_000)
    assert np.array_equal(sound.samples[0], expected)


def test_a_cover_picture_is_no_video(tmp_path: Path) -> None:
    path = make(tmp_path, "音声 a.mp3")
    with av.open(str(path)) as source, av.open(str(tmp_path / "cover.mp3"), "w", format="mp3") as target:
        stream = target.add_stream_from_template(source.streams.audio[0])
        cover = target.add_stream("mjpeg", rate=1)
        cover.width = cover.height = 16
        cover.pix_fmt, cover.disposition = "yuvj420p", av.stream.Disposition.attached_pic
        frame = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24")
        target.mux([*cover.encode(frame), *cover.encode()])
        for packet in source.demux(audio=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    with av.open(str(tmp_path / "cover.mp3")) as opened:
        assert opened.streams.video and opened.streams.audio[0].start_time > 0, "the sound seems to begin later"
    sound = read_audio(tmp_path / "cover.mp3")
    assert np.array_equal(sound.samples, decoded(tmp_path / "cover.mp3")) and sound.origin is not None


# ---------------------------------------------------------------- refusals


def wav_header(seconds: int, rate: int = 8_000) -> bytes:
    size = seconds * rate
    return b"".join((
        b"RIFF", struct.pack("<I", size + 36), b"WAVEfmt ",
        struct.pack("<IHHIIHH", 16, 1, 1, rate, rate, 1, 8), b"data", struct.pack("<I", size),
    ))  # fmt: skip


def sparse_hours(path: Path) -> None:
    with path.open("wb") as file:
        file.write(wav_header(8 * 3_600))
        file.truncate(8 * 3_600 * 8_000 + 44)


def cut_off(path: Path) -> None:
    """The second half of the sound is missing, and the index, which stands first, does not know it."""
    write_video(path, black(25), 25, RECIPE, sound=Sound((1e4 * tone(2, 16_000)).astype(np.int16), 16_000))
    with av.open(str(path)) as opened:
        packets = [packet for packet in opened.demux(audio=0) if packet.size]
        middle = packets[len(packets) // 2].pos
    assert middle is not None
    path.write_bytes(path.read_bytes()[:middle])


def without_index(path: Path) -> None:
    with av.open(str(path), "w", format="mp4") as opened:
        add_sound(opened, tone(1, 48_000), "aac", "fltp", 48_000)()
    path.write_bytes(path.read_bytes().partition(b"moov")[0])


def bad_floats(path: Path) -> None:
    with av.open(str(path), "w", format="wav") as opened:
        add_sound(opened, np.full((1, 100), np.nan), "pcm_f32le", "flt", 8_000)()


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "silent film.mp4": (lambda path: film(path, None), "found no audio stream in it"),
    "no samples.wav": (lambda path: path.write_bytes(wav_header(0)), "found no samples in its audio stream"),
    "empty.wav": (lambda path: path.write_bytes(b""), "got an empty file"),
    "letter.txt": (lambda path: path.write_text("Dear all,\n" * 99), "another kind of file or a damaged one"),
    "letter.mp3": (lambda path: path.write_text("Dear all,\n" * 99), "another kind of file or a damaged one"),
    "noise.mp4": (lambda path: path.write_bytes(bytes(range(256)) * 40), "another kind of file or a damaged one"),
    "no index.mp4": (without_index, "another kind of file or a damaged one"),
    "cut off.mp4": (cut_off, "expected 2.0 seconds of sound as its header says, got 1.*cut off or damaged"),
    "hours.wav": (sparse_hours, "expected at most 30 minutes of sound, got 480.0 or more; cut it"),
    "infinite.wav": (bad_floats, "expected finite samples"),
    "absent.wav": (lambda path: None, "there is no such file"),
    "folder": (lambda path: path.mkdir(), "there is no such file"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_sound_is_refused_in_one_sentence(tmp_path: Path, name: str) -> None:
    spoil, reason = BAD[name]
    spoil(tmp_path / name)
    with pytest.raises(MediaError, match=reason) as refusal:
        read_audio(tmp_path / name)
    told = str(refusal.value)
    assert told.startswith(f"{tmp_path / name}: ")
    assert "\n" not in told and len(told) < 400


def test_a_length_that_no_header_tells_is_limited_while_it_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make(tmp_path, "stream.ts", seconds=3)
    monkeypatch.setattr(audio, "MAX_SECONDS", 1)
    with pytest.raises(MediaError, match=r"expected at most 0\.0166667 minutes of sound"):
        read_audio(path)
    monkeypatch.setattr(audio, "MAX_SECONDS", 10)
    assert read_audio(path).seconds >= 3
    monkeypatch.setattr(audio, "MAX_SAMPLES", 100_000)
    with pytest.raises(MediaError, match="expected at most 100,000 samples, got more in 2 channels at 44,100 a second"):
        read_audio(path)
    monkeypatch.setattr(audio, "MAX_BYTES", 1_000)
    with pytest.raises(MediaError, match="expected a file of at most 1,000 bytes"):
        read_audio(path)


@pytest.mark.parametrize("name", ["list.m3u8", "list.ffconcat", "list.wav", "list.sdp", "list.mpd"])
def test_a_file_that_names_other_files_opens_none_of_them(tmp_path: Path, name: str) -> None:
    make(tmp_path, "plain.wav")
    lists = (
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nplain.wav\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile plain.wav\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n",
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period/></MPD>',
    )
    for text in lists:
        (tmp_path / name).write_text(text)
        with pytest.raises(MediaError, match="another kind of file"):
            read_audio(tmp_path / name)


# ---------------------------------------------------------------- samples in time


def ramp(channels: int = 2, count: int = 1_000, rate: int = 1_000, kind: Any = np.int16) -> Sound:
    samples = np.arange(1, channels * count + 1).reshape(channels, count) % 200 + 1
    return Sound(samples.astype(kind), rate, origin=Path("a.wav"))


def test_a_slice_is_silent_where_there_is_no_sound() -> None:
    sound = ramp()
    late = sound.slice(-0.25, 1.5)
    assert late.seconds == Fraction(3, 2) and late.origin is None
    assert not late.samples[:, :250].any() and not late.samples[:, 1_250:].any()
    assert np.array_equal(late.samples[:, 250:1_250], sound.samples)
    assert (ramp(kind=np.uint8).slice(2, 1).samples == 128).all()
    assert sound.slice(0, 1) is sound
    with pytest.raises(ValueError, match="at least one sample"):
        sound.slice(0.5, 0)


@given(st.lists(st.fractions(0, 2, max_denominator=997), min_size=1, max_size=8), st.sampled_from([8_000, 44_100]))
def test_slices_side_by_side_are_the_sound(cuts: list[Fraction], rate: int) -> None:
    sound = ramp(1, 2 * rate, rate)
    edges = [Fraction(0), *sorted(cuts), Fraction(2)]
    parts = [
        sound.slice(low, high - low).samples
        for low, high in pairwise(edges)
        if audio.nearest(low * rate) < audio.nearest(high * rate)
    ]
    assert np.array_equal(np.concatenate(parts, 1), sound.samples)


@given(st.integers(1, 60 * 48_000), st.sampled_from([24, 25, NTSC, 30, 60]))
def test_frames_last_as_long_as_the_sound_to_half_a_frame(count: int, fps: int | Fraction) -> None:
    sound = Sound(np.zeros((1, count), np.int16), 48_000, origin=Path("a.wav"))
    frames = sound.frames(fps)
    assert frames == 1 or abs(sound.seconds - frames / Fraction(fps)) <= 1 / (2 * Fraction(fps))
    assert frames == 1 or sound.fitted(frames, fps) is sound
    longer = sound.fitted(frames + 7, fps)
    assert abs(longer.seconds - (frames + 7) / Fraction(fps)) <= Fraction(1, 96_000)


def test_an_envelope_holds_the_extremes_of_each_span() -> None:
    sound = Sound(np.array([[0, 16_384, 0, -16_384, -32_768, 0]], np.int16), 6)
    assert sound.envelope(3).tolist() == [[0, 0.5], [-0.5, 0], [-1, 0]]
    assert sound.envelope(12).shape == (12, 2)
    assert np.array_equal(ramp(kind=np.uint8, channels=1).envelope(1)[0], [(1 - 128) / 128, (200 - 128) / 128])


# ---------------------------------------------------------------- mono at 16 kHz


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.int32, np.float32, np.float64])
def test_speech_is_heard_at_its_own_time_at_any_rate(rate: int, kind: Any) -> None:
    wave = np.zeros((2, 2 * rate + 77))
    wave[:, rate // 2 : rate // 2 + rate // 100] = 0.5  # a pulse from 0.5 to 0.51 s
    wave[:, rate + rate // 2] = 0
    if np.dtype(kind).kind != "f":
        wave = (wave * 2.0 ** (8 * np.dtype(kind).itemsize - 1)).round() + (128 if kind == np.uint8 else 0)
    sound = Sound(wave.astype(kind), rate)
    heard = mono16k(sound)
    assert heard.dtype == np.float32 and len(heard) == audio.nearest(sound.seconds * 16_000)
    weight = np.clip(heard, 0, None).astype(np.float64)
    assert abs((weight @ np.arange(len(heard))) / weight.sum() / 16_000 - 0.505) < 2 / min(rate, 16_000)
    assert weight.sum() / 16_000 == pytest.approx(0.005, rel=0.03)
    assert np.array_equal(heard, mono16k(sound))


def test_channels_are_averaged_and_silence_stays_silent() -> None:
    two = Sound(np.stack([tone(0.5, 16_000)[0], np.zeros(8_000)]).astype(np.float32), 16_000)
    assert np.array_equal(mono16k(two), two.samples[0] / 2)
    for kind, level in ((np.uint8, 128), (np.int16, 0)):
        assert not mono16k(Sound(np.full((2, 44_100), level, kind), 44_100)).any()


# ---------------------------------------------------------------- writing


@pytest.mark.parametrize("name", FILES)
def test_a_video_has_the_sound_that_it_was_given(tmp_path: Path, name: str) -> None:
    sound = read_audio(make(tmp_path, name))
    track = Soundtrack.of(sound)
    write_video(tmp_path / "v.mp4", black(sound.frames(24)), 24, RECIPE, sound=sound)
    found = decoded(tmp_path / "v.mp4")
    with av.open(str(tmp_path / "v.mp4")) as opened:
        assert opened.streams.audio[0].codec_context.name.removesuffix("float") == track.codec.removesuffix("float")
        assert opened.streams.audio[0].rate == sound.rate
    assert found.shape == sound.samples.shape
    if track.copied:
        assert np.array_equal(found, sound.samples)
    # 24 bits hold all but what a lossy decoder computes behind them.
    assert track.exact == (sound.samples.dtype.kind != "f" or track.copied)
    off = np.abs(Sound(found, sound.rate).floats().astype(np.float64) - sound.floats())
    assert off.max() <= (0 if track.exact else 2**-24)
    assert read_recipe(tmp_path / "v.mp4") == RECIPE


def test_a_phones_sound_and_flac_are_copied_and_the_rest_is_flac(tmp_path: Path) -> None:
    tracks = {name: Soundtrack.of(read_audio(make(tmp_path, name))) for name in FILES}
    assert {name for name, track in tracks.items() if track.copied} == {"речь.flac", "phone.m4a", "stream.ts"}
    assert {track.codec for track in tracks.values()} == {"flac", "aac"}


def test_copied_packets_are_the_bytes_of_the_input(tmp_path: Path) -> None:
    path = make(tmp_path, "phone.m4a")
    write_video(tmp_path / "v.mp4", black(26), 24, RECIPE, sound=read_audio(path))
    packets = []
    for file in (path, tmp_path / "v.mp4"):
        with av.open(str(file)) as opened:
            packets.append([bytes(packet) for packet in opened.demux(audio=0) if packet.size])
    assert packets[0] == packets[1]


def test_every_sample_of_every_depth_comes_back(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for kind, shift in ((np.int16, 0), (np.int32, 8), (np.int32, 0)):
        info = np.iinfo(kind)
        samples = (random.integers(info.min >> shift, (info.max >> shift) + 1, (2, 9_999)) << shift).astype(kind)
        write_video(tmp_path / "v.mp4", black(5), 24, RECIPE, sound=Sound(samples, 48_000))
        assert np.array_equal(decoded(tmp_path / "v.mp4"), samples)
    eight = random.integers(0, 256, (1, 9_999)).astype(np.uint8)
    write_video(tmp_path / "v.mp4", black(5), 24, RECIPE, sound=Sound(eight, 8_000))
    assert np.array_equal(decoded(tmp_path / "v.mp4") / 256 + 128, eight)
    steps = Sound((random.integers(-(2**23), 2**23, (1, 999)) / 2**23).astype(np.float32), 8_000)
    assert Soundtrack.of(steps).exact
    assert not Soundtrack.of(Sound(np.array([[0.0, 1.5]], np.float32), 8_000)).exact, "it is clipped"


def check_durations(path: Path, seconds: int, fps: int | Fraction) -> None:
    sound = Sound((3e4 * tone(seconds, 44_100, 2)).astype(np.int16), 44_100)
    frames = sound.frames(fps)
    write_video(path, black(frames), fps, RECIPE, sound=sound)
    assert np.array_equal(decoded(path), sound.samples)
    with av.open(str(path)) as opened:
        picture, track = opened.streams.video[0], opened.streams.audio[0]
        assert picture.frames == frames and picture.average_rate == fps
        assert picture.start_time == track.start_time == 0
        lasts = [Fraction(stream.duration * stream.time_base) for stream in (picture, track)]
        assert lasts[1] == sound.seconds
        assert abs(lasts[0] - lasts[1]) < 1 / Fraction(fps)
        assert abs(Fraction(opened.duration, 1_000_000) - seconds) < 1 / Fraction(fps)


@pytest.mark.parametrize("fps", [24, 25, NTSC, 30])
@pytest.mark.parametrize("seconds", [1, 7])
def test_picture_and_sound_end_within_one_frame(tmp_path: Path, seconds: int, fps: int | Fraction) -> None:
    check_durations(tmp_path / "v.mp4", seconds, fps)


@pytest.mark.slow
@pytest.mark.parametrize("fps", [24, 25, NTSC, 30])
@pytest.mark.parametrize("seconds", [2, 31, 60])
def test_picture_and_sound_of_a_minute_end_within_one_frame(tmp_path: Path, seconds: int, fps: int | Fraction) -> None:
    check_durations(tmp_path / "v.mp4", seconds, fps)


def test_the_same_sound_is_the_same_bytes(tmp_path: Path) -> None:
    for name in ("phone.m4a", "plain.wav", "音声 a.mp3"):
        path = make(tmp_path, name)
        for copy in ("a.mp4", "b.mp4"):
            write_video(tmp_path / copy, black(26), 24, RECIPE, sound=read_audio(path))
        assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_sound_and_picture_stand_side_by_side_in_the_file(tmp_path: Path) -> None:
    sound = Sound((1e4 * tone(20, 16_000)).astype(np.int16), 16_000)
    write_video(tmp_path / "v.mp4", black(480), 24, RECIPE, sound=sound)
    with av.open(str(tmp_path / "v.mp4")) as opened:
        stored = sorted((p.pos, p.stream.type, float(p.dts * p.time_base)) for p in opened.demux() if p.dts is not None)
    times = {"audio": 0.0, "video": 0.0}
    for _, kind, time in stored:
        times[kind] = time
        assert abs(times["audio"] - times["video"]) < 2.5, "a player would have to jump in the file"


def test_a_video_with_sound_is_read_again_frame_by_frame_and_sample_by_sample(tmp_path: Path) -> None:
    sound = read_audio(make(tmp_path, "phone.m4a"))
    write_video(tmp_path / "v.mp4", black(33), NTSC, RECIPE, sound=sound)
    again, clip = read_audio(tmp_path / "v.mp4"), read_clip(tmp_path / "v.mp4")
    assert np.array_equal(again.samples, sound.samples)
    assert len(clip.frames) == 33 and clip.fps == NTSC
    assert Soundtrack.of(again).copied, "a second generation loses nothing either"


def test_sound_that_no_track_holds_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    for sound, reason in (
        (Sound(np.zeros((9, 100), np.int16), 8_000), "expected at most 8 channels, got 9"),
        (Sound(np.zeros((1, 100), np.int16), 2_822_400), "expected at most 655,350 samples a second"),
    ):
        with pytest.raises(MediaError, match=reason):
            write_video(tmp_path / "v.mp4", black(2), 24, RECIPE, png_frames=True, sound=sound)
    assert not list(tmp_path.iterdir())


def test_a_file_that_changed_after_it_was_read_is_not_copied(tmp_path: Path) -> None:
    path = make(tmp_path, "phone.m4a")
    sound = read_audio(path)
    make(tmp_path, "phone.m4a", seconds=0.7)
    track = Soundtrack.of(sound)
    assert not track.copied
    with av.open(io.BytesIO(track.mp4)) as opened:
        assert sum(frame.samples for frame in opened.decode(audio=0)) == sound.samples.shape[1]
    path.unlink()
    assert not Soundtrack.of(sound).copied
