"""Sound out: the audio track of a video, copied packet by packet where that loses nothing, and FLAC where it would.

Chromium plays FLAC of 16, 24 and 32 bits, AAC, MP3 and Opus from an MP4, and neither ALAC nor AC-3 (tried with
version 156). FLAC has no codec delay. A copied stream keeps the delay of its encoder, told by the MP4's edit list as it
was in the input, and is only taken where decoding gives the very samples of the input.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.files.audio import CLOSED, Sound, decode
from pipelines.files.recipe import MediaError

COPIED = ("aac", "flac", "mp3", "mp3float", "opus")  # decoders of what browsers play in an MP4
LAYOUTS = ("mono", "stereo", "3.0", "quad", "5.0", "5.1", "6.1", "7.1")  # the channels of FLAC, by their number
MAX_RATE = 655_350  # of FLAC
BLOCK = 4_608  # samples of a FLAC frame


@dataclass(frozen=True, eq=False)
class Soundtrack:
    """A sound as it will stand in a video.

    Attributes:
        mp4: an MP4 that holds nothing but the track.
        codec: the name of its codec.
        copied: whether its packets are those of the input file.
        exact: whether decoding gives the sound's samples bit for bit. 8-bit samples come as the same values in 16 bits.
            Not exact are floats between the steps of 24 bits, which are rounded, and floats beyond -1 to 1, which are
            clipped.
    """

    mp4: bytes
    codec: str
    copied: bool
    exact: bool

    @classmethod
    def of(cls, sound: Sound) -> Soundtrack:
        """The track of `sound`. The same sound gives the same bytes.

        Raises:
            MediaError: it has more channels or a higher rate than FLAC holds.
        """
        if (mp4 := _copy(sound)) is not None:
            return cls(mp4, sound.codec, copied=True, exact=True)
        if sound.channels > len(LAYOUTS):
            raise MediaError(
                f"{sound.origin or 'the sound'}: expected at most {len(LAYOUTS)} channels, got {sound.channels}; "
                "mix it down"
            )
        if sound.rate > MAX_RATE:
            raise MediaError(
                f"{sound.origin or 'the sound'}: expected at most {MAX_RATE:,} samples a second, got {sound.rate:,}; "
                "resample it"
            )
        samples, bits, exact = _whole_numbers(sound.samples)
        return cls(_flac(samples, sound.rate, bits), "flac", copied=False, exact=exact)

    def onto(self, container: Any) -> Track:
        """The track as a new stream of `container`, an MP4 that is open for writing."""
        import av

        source = av.open(io.BytesIO(self.mp4), "r", format="mp4")
        return Track(container, source)


class Track:
    """A stream of a video that is being written; closing it closes what it is read from."""

    def __init__(self, container: Any, source: Any) -> None:
        self._container, self._source = container, source
        self._stream = container.add_stream_from_template(source.streams.audio[0])
        self._packets = _packets(source)
        self._next = next(self._packets, None)

    def __enter__(self) -> Track:
        return self

    def __exit__(self, *error: object) -> None:
        self._source.close()

    def write(self, until: Fraction | None = None) -> None:
        """Write what is decoded before `until`, in seconds, or all the rest: streams stand interleaved in a file."""
        while (packet := self._next) is not None and (until is None or packet.dts * packet.time_base < until):
            packet.stream = self._stream
            self._container.mux(packet)
            self._next = next(self._packets, None)


def _packets(source: Any, shift: Fraction = Fraction(0)) -> Iterator[Any]:
    """Packets of the first audio stream, `shift` seconds earlier; the last, empty one of the demuxer is left out."""
    for packet in source.demux(source.streams.audio[0]):
        if packet.dts is not None:
            earlier = round(shift / packet.time_base)
            packet.dts, packet.pts = packet.dts - earlier, packet.pts - earlier
            yield packet


def _copy(sound: Sound) -> bytes | None:
    """The packets of the sound's file in an MP4, where an MP4 and a browser take them and they decode to this sound.

    That is tried and not assumed: an MP4 forgets, for one, how much of the last packet of an Opus file is meant.
    """
    import av

    if sound.origin is None or sound.codec not in COPIED:
        return None
    try:
        with sound.origin.open("rb") as stream, av.open(stream, "r", options=CLOSED) as source:
            first = next(source.decode(source.streams.audio[0]))
            begins = Fraction((first.pts or 0) * (first.time_base or 0))
        buffer = io.BytesIO()
        with (
            sound.origin.open("rb") as stream,
            av.open(stream, "r", options=CLOSED) as source,
            av.open(buffer, "w", format="mp4") as container,
        ):
            target = container.add_stream_from_template(source.streams.audio[0])
            for packet in _packets(source, begins):
                packet.stream = target
                container.mux(packet)
        found, _ = decode(io.BytesIO(buffer.getvalue()), "the copy")
    except Exception:  # a stream that can not be copied is encoded
        return None
    same = found.rate == sound.rate and found.samples.dtype == sound.samples.dtype
    return buffer.getvalue() if same and np.array_equal(found.samples, sound.samples) else None


def _whole_numbers(samples: NDArray[Any]) -> tuple[NDArray[Any], int, bool]:
    """The samples as int16 or int32, the bits of them that are used, and whether no value changed."""
    if samples.dtype == np.uint8:
        return (samples.astype(np.int16) - 128) << 8, 16, True
    if samples.dtype == np.int16:
        return samples, 16, True
    if samples.dtype == np.int32:
        return samples, 32 if (samples & 0xFF).any() else 24, True
    steps = samples.astype(np.float64) * 2**23
    rounded = steps.round().clip(-(2**23), 2**23 - 1)
    return rounded.astype(np.int32) << 8, 24, bool((steps == rounded).all())


def _flac(samples: NDArray[Any], rate: int, bits: int) -> bytes:
    """[C, T] int16 or int32 samples as FLAC in an MP4."""
    import av

    kind, layout = "s16" if bits == 16 else "s32", LAYOUTS[len(samples) - 1]
    options = {"bits_per_raw_sample": str(bits), "strict": "experimental"}  # the encoder calls 32 bits experimental
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("flac", rate=rate, options=options)
        stream.codec_context.layout, stream.codec_context.format = layout, kind
        for low in range(0, samples.shape[1], BLOCK):
            packed = np.ascontiguousarray(samples[:, low : low + BLOCK].T).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(packed, format=kind, layout=layout)
            frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), low
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return buffer.getvalue()
