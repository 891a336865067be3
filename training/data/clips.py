"""Clips and sound: how long they are at a training run's rate, and the frames that are taken of them.

Shape letters: F frames, H and W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from pipelines.files.audio import Sound, read_audio
from pipelines.files.media import MediaError, Pixels, frames_of, size_of, watch
from pipelines.files.recipe import ALONE

from .assets import Asset, on_disk
from .findings import Fault


@dataclass(frozen=True)
class Reel:
    """A video by its packets.

    Attributes:
        width: in pixels, upright.
        height: the same.
        frames: of the file, not of the run.
        rate: frames a second; None where the file does not say.
        sound: whether it has a sound track.
    """

    width: int
    height: int
    frames: int
    rate: Fraction | None
    sound: bool


def look(asset: Asset) -> Reel:
    """What a video is. Packets are counted, and only the first frame is decoded.

    Raises:
        Fault: `video`, or as `Asset.read`.
    """
    import av

    with on_disk(asset) as path:
        try:
            width, height = size_of(path)
            with path.open("rb") as stream, av.open(stream, "r", options=ALONE) as opened:
                if not opened.streams.video:
                    raise Fault("video", "has no moving picture in it; convert it to MP4")
                video = opened.streams.video[0]
                count = sum(packet.size > 0 for packet in opened.demux(video))
                if count < video.frames:  # the header's number; 0 where it tells none
                    told = f"has {count} of the {video.frames} frames that its header tells"
                    raise Fault("video", f"{told}; it is cut off, fetch it again")
                rate = video.average_rate or video.guessed_rate
                return Reel(width, height, count, Fraction(rate) if rate else None, bool(opened.streams.audio))
        except MediaError as error:
            raise Fault("video", _without(path, error)) from None
        except (OSError, av.FFmpegError) as error:
            raise Fault("video", f"can not be read: {str(error).splitlines()[0][:120]}; convert it to MP4") from None


def decode_all(asset: Asset) -> tuple[int, Pixels]:
    """How many frames can be decoded, every one tried, and the first as [H, W, 3].

    Raises:
        Fault: `video`: a frame can not be decoded, or frames stand at uneven times.
    """
    first: list[Pixels] = []
    count = 0

    def each(frame: Pixels) -> None:
        nonlocal count
        count += 1
        if not first:
            first.append(frame)

    with on_disk(asset) as path:
        try:
            watch(path, each)
        except MediaError as error:
            raise Fault("video", _without(path, error)) from None
    return count, first[0]


def length(frames: int, rate: Fraction | None, fps: float) -> int:
    """Frames of a clip at `fps` a second. A clip that does not tell its rate is taken as it is."""
    if rate is None:
        return frames
    return max(1, int((frames - 1) / rate * Fraction(fps).limit_denominator(1000)) + 1)


def choose(there: int, rate: Fraction | None, count: int, fps: float) -> list[int]:
    """Numbers of the `count` frames that a run takes of a clip's `there`: at `fps` a second, from its middle.

    Always the same ones, so that their latents can be kept.
    """
    step = Fraction(1) if rate is None else rate / Fraction(fps).limit_denominator(1000)
    start = (there - 1 - step * (count - 1)) / 2
    return [min(there - 1, max(0, int(start + k * step))) for k in range(count)]


def frames(asset: Asset, numbers: Sequence[int]) -> list[Pixels]:
    """The frames [H, W, 3] of these numbers, in their order.

    Raises:
        Fault: `video`: there are fewer, or they can not be decoded.
    """
    wanted, last = set(numbers), max(numbers)
    found: dict[int, Pixels] = {}
    with on_disk(asset) as path:
        try:
            with closing(_iterator(path)) as decoded:
                for number, frame in enumerate(decoded):
                    if number in wanted:
                        found[number] = frame
                    if number == last:
                        break
        except MediaError as error:
            raise Fault("video", _without(path, error)) from None
    if last not in found:
        raise Fault("video", f"expected at least {last + 1} frames, got fewer; the file changed or is damaged")
    return [found[number] for number in numbers]


def sound(asset: Asset) -> Sound:
    """The samples of a sound file or of a video's own track.

    Raises:
        Fault: `sound`, or as `Asset.read`.
    """
    with on_disk(asset) as path:
        try:
            return read_audio(path)
        except MediaError as error:
            raise Fault("sound", _without(path, error)) from None


def silent(heard: Sound) -> bool:
    """Whether all of it is silence, to a hundredth of a per cent."""
    return bool(np.abs(heard.mono()).max(initial=0) < 1e-4)


def _iterator(path: Path):  # type: ignore[no-untyped-def]  # a generator, which `closing` needs to be
    yield from frames_of(path)


def _without(path: Path, error: MediaError) -> str:
    """What the house's readers said, without the path, which may be a temporary one."""
    return str(error).removeprefix(f"{path}: ")
