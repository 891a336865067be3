"""Sound in: the first audio stream of any file that PyAV reads, and what is done with its samples.

How sound gets into a video is in `soundtrack.py`. Nothing here loads torch.

Shape letters: C channels, T samples of one channel.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from math import floor
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from pipelines.files.recipe import MediaError, first_line

MAX_SECONDS = 30 * 60
MAX_SAMPLES = 2**28  # of all channels together; a gigabyte as float32
MAX_BYTES = 2**31  # of the file, which may be a video
SPEECH_RATE = 16_000  # samples a second that speech encoders read
GAP = Fraction(1, 10)  # seconds; a longer hole between two pieces is silence, a shorter one is a container's rounding

# Containers of sound and of video. Playlists and lists of other files are not among them, so that only the file itself
# is ever opened; the decoder asks this list before it reads anything but the first bytes.
CONTAINERS = (
    "aac", "ac3", "aiff", "amr", "amrnb", "amrwb", "ape", "asf", "au", "avi", "caf", "dts", "eac3", "flac", "flv",
    "matroska", "mov", "mp3", "mpeg", "mpegts", "ogg", "tta", "w64", "wav", "wv",
)  # fmt: skip
CLOSED = {"format_whitelist": ",".join(CONTAINERS), "protocol_whitelist": "none"}
TELLING = ("mov", "flac", "wav", "aiff", "caf")  # containers whose headers count samples; elsewhere it is an estimate


@dataclass(frozen=True, eq=False)
class Sound:
    """Samples as the decoder gave them.

    Attributes:
        samples: [C, T] uint8, int16, int32, float32 or float64; integers use their whole range, floats -1 to 1.
        rate: samples of one channel a second.
        codec: the decoder's name, such as `pcm_s16le` or `aac`.
        origin: the file whose whole sound this is, so that its packets can be copied; None for a changed sound.
    """

    samples: NDArray[Any]
    rate: int
    codec: str = "pcm"
    origin: Path | None = None

    @property
    def channels(self) -> int:
        """C."""
        return len(self.samples)

    @property
    def seconds(self) -> Fraction:
        """The duration, exactly."""
        return Fraction(self.samples.shape[1], self.rate)

    def slice(self, start: Fraction | float, duration: Fraction | float) -> Sound:
        """`duration` seconds from `start`, to the nearest sample. What lies outside of the sound is silence.

        So a negative start delays the sound, and a long duration pads it.

        Raises:
            ValueError: a duration of less than one sample.
        """
        first = nearest(Fraction(start) * self.rate)
        count = nearest((Fraction(start) + Fraction(duration)) * self.rate) - first
        if count < 1:
            raise ValueError(f"expected a duration of at least one sample, got {float(duration):g} seconds")
        total = self.samples.shape[1]
        if (first, count) == (0, total):
            return self
        low, high = min(max(first, 0), total), min(max(first + count, 0), total)
        before = min(max(-first, 0), count)
        samples = np.full((self.channels, count), silence(self.samples.dtype), self.samples.dtype)
        samples[:, before : before + high - low] = self.samples[:, low:high]
        return replace(self, samples=samples, origin=None)

    def frames(self, fps: int | Fraction) -> int:
        """The number of video frames that lasts as long as the sound, to half a frame; at least 1."""
        return max(1, nearest(self.seconds * Fraction(fps)))

    def fitted(self, frames: int, fps: int | Fraction) -> Sound:
        """The sound for `frames` video frames: itself where it ends within half a frame of them, else cut or padded."""
        off = abs(self.seconds * Fraction(fps) - frames)
        return self if off <= Fraction(1, 2) else self.slice(0, frames / Fraction(fps))

    def floats(self, low: int = 0, high: int | None = None) -> NDArray[np.float32]:
        """[C, high - low] samples as float32 in -1 to 1."""
        part = self.samples[:, low:high]
        if part.dtype.kind == "f":
            return part.astype(np.float32)
        middle = float(silence(part.dtype))
        return ((part.astype(np.float64) - middle) / 2.0 ** (8 * part.dtype.itemsize - 1)).astype(np.float32)

    def mono(self) -> NDArray[np.float32]:
        """[T] the mean of the channels, in -1 to 1."""
        total = self.samples.shape[1]
        mixed = np.empty(total, np.float32)
        for low in range(0, total, self.rate):  # by the second, so that no second copy of all channels is made
            mixed[low : low + self.rate] = self.floats(low, low + self.rate).mean(0)
        return mixed

    def envelope(self, count: int) -> NDArray[np.float32]:
        """[count, 2] the lowest and the highest sample of each of `count` equal spans of time, for a drawing."""
        wave = self.mono()
        edges = np.linspace(0, len(wave), count + 1).astype(int)
        starts = np.minimum(edges[:-1], len(wave) - 1)  # a span shorter than a sample shows the sample it lies in
        spans = [wave[low : max(high, low + 1)] for low, high in zip(starts, edges[1:], strict=True)]
        return np.array([(span.min(), span.max()) for span in spans], np.float32)


def read_audio(path: Path) -> Sound:
    """The first audio stream of a file. In a video, time 0 is its first frame: what sounds earlier is cut off, and
    what begins later has silence before it.

    Only the file itself is opened, whatever it refers to. Limits are checked before samples are decoded where the
    container tells the duration, and again while they come.

    Raises:
        MediaError: no such file, nothing that can be decoded, no audio stream or no samples in it, a damaged file,
            more than MAX_SECONDS, MAX_SAMPLES or MAX_BYTES.
    """
    if not path.is_file():
        raise MediaError(f"{path}: there is no such file")
    if (size := path.stat().st_size) > MAX_BYTES:
        raise MediaError(f"{path}: expected a file of at most {MAX_BYTES:,} bytes, got {size:,}; cut it")
    if not size:
        raise MediaError(f"{path}: expected sound, got an empty file")
    try:
        with path.open("rb") as stream:
            sound, start = decode(stream, str(path))
    except MediaError:
        raise
    except Exception as error:  # decoders raise whatever a broken file makes them meet
        raise MediaError(
            f"{path}: expected sound (WAV, FLAC, MP3, M4A, Ogg, or a video with sound), got another kind of file or a "
            f"damaged one: {_reason(error)}; convert it to WAV first"
        ) from None
    if not start:
        return replace(sound, origin=path)
    if start <= -sound.seconds:
        raise MediaError(f"{path}: expected sound, found none after the first frame of the video")
    _check_length(str(path), sound.seconds + start, sound.channels, sound.rate)
    return sound.slice(-start, sound.seconds + start)


def mono16k(sound: Sound) -> NDArray[np.float32]:
    """[T] the mean of the channels at 16,000 samples a second, as speech encoders read it; sample 0 is at time 0."""
    import av

    wave = sound.mono()
    if sound.rate == SPEECH_RATE:
        return wave
    resampler = av.AudioResampler(format="flt", layout="mono", rate=SPEECH_RATE)
    parts = []
    for low in range(0, len(wave), sound.rate):
        frame = av.AudioFrame.from_ndarray(wave[None, low : low + sound.rate], format="flt", layout="mono")
        frame.sample_rate, frame.time_base, frame.pts = sound.rate, Fraction(1, sound.rate), low
        parts += [piece.to_ndarray()[0] for piece in resampler.resample(frame)]
    parts += [piece.to_ndarray()[0] for piece in resampler.resample(None)]
    found = np.concatenate(parts) if parts else np.zeros(0, np.float32)
    # The filter's tail decides how many samples come out; the duration decides how many there are.
    count = max(1, nearest(sound.seconds * SPEECH_RATE))
    return np.pad(found[:count], (0, max(0, count - len(found)))).astype(np.float32)


def decode(stream: BinaryIO, name: str) -> tuple[Sound, Fraction]:
    """The sound in an open file, and the time of its first sample in seconds after the first frame of a video.

    Raises:
        MediaError: as `read_audio`, with `name` for the file. Decoders may raise others.
    """
    import av

    with av.open(stream, "r", options=CLOSED) as opened:
        if not opened.streams.audio:
            raise MediaError(f"{name}: expected sound, found no audio stream in it; choose another file")
        audio = opened.streams.audio[0]
        told = _told_seconds(opened, audio)
        _check_length(name, told, audio.channels, audio.rate)
        pieces: list[NDArray[Any]] = []
        start = Fraction(0)
        for piece, time in _pieces(name, opened, audio):
            start = start if pieces else time
            pieces.append(piece)
        if not sum(piece.shape[1] for piece in pieces):
            raise MediaError(f"{name}: expected sound, found no samples in its audio stream")
        sound = Sound(np.concatenate(pieces, 1), audio.rate, audio.codec_context.name)
        if sound.seconds < told - max(GAP, told / 100):
            raise MediaError(
                f"{name}: expected {float(told):.1f} seconds of sound as its header says, "
                f"got {float(sound.seconds):.1f}; the file is cut off or damaged"
            )
        return sound, _after_picture(opened, audio, start)


def nearest(value: Fraction) -> int:
    """The nearest whole number; halves go up."""
    return floor(value + Fraction(1, 2))


def silence(kind: np.dtype[Any]) -> int:
    """The sample of silence: unsigned 8-bit sound has it in its middle."""
    return 128 if kind == np.uint8 else 0


def _pieces(name: str, opened: Any, audio: Any) -> Iterator[tuple[NDArray[Any], Fraction]]:
    """[C, T] samples of one decoded frame after the other, each with its time in seconds; holes become silence."""
    count, first, shape = 0, Fraction(0), None
    for frame in opened.decode(audio):
        piece = frame.to_ndarray()
        channels = len(frame.layout.channels)
        if not frame.format.is_planar:
            piece = piece.reshape(-1, channels).T
        shape = shape or (channels, frame.sample_rate, piece.dtype)
        if shape != (channels, frame.sample_rate, piece.dtype):
            raise MediaError(f"{name}: expected one sample rate and channel layout, got several; convert it to WAV")
        if piece.dtype.kind == "f" and not np.isfinite(piece).all():
            raise MediaError(f"{name}: expected finite samples, got some that are no numbers; convert it to WAV")
        time = first + Fraction(count, frame.sample_rate)
        if frame.pts is not None and frame.time_base is not None:
            if not count:
                first = time = frame.pts * frame.time_base
            hole = frame.pts * frame.time_base - time
            if hole > GAP:
                _check_length(name, time + hole - first, channels, frame.sample_rate)
                still = np.full((channels, nearest(hole * frame.sample_rate)), silence(piece.dtype), piece.dtype)
                count += still.shape[1]
                yield still, time
        count += piece.shape[1]
        _check_length(name, Fraction(count, frame.sample_rate), channels, frame.sample_rate)
        yield piece, time


def _told_seconds(opened: Any, audio: Any) -> Fraction:
    """The duration in the header of a container that counts samples; 0 where it would be an estimate."""
    if not set(opened.format.name.split(",")) & set(TELLING) or not audio.duration:
        return Fraction(0)
    return Fraction(audio.duration * audio.time_base)


def _after_picture(opened: Any, audio: Any, start: Fraction) -> Fraction:
    """How long after the first frame of a video the sound begins; 0 for files without one.

    A cover picture has no time, and the decoder tells the beginning of the file for it.
    """
    for video in opened.streams.video:
        if video.start_time is not None:
            later = start - video.start_time * video.time_base
            # Containers round times to their tick, often a millisecond, and the two streams round apart.
            slack = max(Fraction(1, 1000), video.time_base, audio.time_base)
            return Fraction(later) if abs(later) > slack else Fraction(0)
    return Fraction(0)


def _check_length(name: str, seconds: Fraction, channels: int, rate: int) -> None:
    if seconds > MAX_SECONDS:
        raise MediaError(
            f"{name}: expected at most {MAX_SECONDS / 60:g} minutes of sound, got {float(seconds) / 60:.1f} or more; "
            "cut it"
        )
    if seconds * channels * rate > MAX_SAMPLES:
        raise MediaError(
            f"{name}: expected at most {MAX_SAMPLES:,} samples, got more in {channels} channels at {rate:,} a second; "
            "cut it or mix it down"
        )


def _reason(error: Exception) -> str:
    """What a decoder said, without the file's name, which stands before it."""
    told = getattr(error, "strerror", None)
    return str(told) if told else first_line(error)
