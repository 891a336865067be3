"""What the files of a dubbing come to: how long the result is, what is made where, and what is shown of it.

Nothing here loads torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING

from models.checkpoint import CheckpointError, _read_json
from pipelines.canvas import told
from pipelines.estimate import check_size
from pipelines.files.audio import Sound, read_audio
from pipelines.files.soundtrack import LAYOUTS, MAX_RATE, Soundtrack
from pipelines.job import DubbingJob
from pipelines.refusal import Refusal
from pipelines.voice.footage import STILL_FPS, Footage, read_footage
from pipelines.voice.references import choose
from pipelines.voice.region import Cut, Rectangle, cuts_of, rectangle_of, view_of
from pipelines.voice.timeline import Timeline, Window, timeline

if TYPE_CHECKING:
    from models.checkpoint import Description


@dataclass(frozen=True, eq=False)
class Shots:
    """What a job's files come to: how long, what is made where, and what is shown.

    Attributes:
        footage: the source.
        timeline: of the result.
        view: the part of the frames that the model sees.
        height: h of the view, in tokens.
        width: w of it.
        cuts: the mouth in each source frame, to the pixel; None where there is none.
        regions: what is made in each source frame, in tokens of the view; None where nothing is.
        references: numbers of the source frames that references are taken from.
        looks: where each reference is, in tokens of the view.
        warp: whether mouths are warped before they are refined.
    """

    footage: Footage
    timeline: Timeline
    view: Cut
    height: int
    width: int
    cuts: tuple[Cut | None, ...]
    regions: tuple[Rectangle | None, ...]
    references: tuple[int, ...]
    looks: tuple[Rectangle, ...]
    warp: bool

    def regions_in(self, window: Window) -> tuple[Rectangle | None, ...]:
        """[F] the region of each frame that the model sees in a window."""
        return tuple(self.regions[self.timeline.source(number)] for number in range(window.begin, window.end))

    def cuts_in(self, window: Window) -> tuple[Cut | None, ...]:
        """[F] the mouth of each of them."""
        return tuple(self.cuts[self.timeline.source(number)] for number in range(window.begin, window.end))

    def passes(self, window: Window) -> bool:
        """Whether nothing is made in a window."""
        return not any(self.regions_in(window)[window.before :])

    @cached_property
    def passed(self) -> list[int]:
        """Numbers of the frames of the result that are the source's as they are."""
        return [n for n in range(self.timeline.frames) if self.regions[self.timeline.source(n)] is None]


def speech_tokens(description: Description) -> int:
    """Speech tokens that a checkpoint gives a frame.

    Raises:
        Refusal: it has no speech encoder, or one of another transformer.
    """
    name, folder = description.name, description.folder / "speech"
    if not folder.is_dir():
        raise Refusal(
            "model", f"{name!r} has no speech encoder; dubbing needs a checkpoint with a folder called speech"
        )
    try:
        config = _read_json(folder / "config.json", name)
        if config.get("_class_name") != "SpeechEncoder":
            config = _read_json(folder / "adapter" / "config.json", name)
    except CheckpointError as error:
        raise Refusal("model", str(error)) from None
    expected, got = description.transformer.get("joint_attention_dim"), config.get("width")
    per_frame = config.get("per_frame", 2)
    if got != expected or type(per_frame) is not int or per_frame < 1:
        raise Refusal(
            "model",
            f"{name!r}: speech gives {per_frame} tokens of {got} a frame; the transformer reads tokens of {expected}",
        )
    return per_frame


def read_shots(job: DubbingJob, description: Description) -> tuple[Shots, Sound]:
    """What a job's files come to, and its sound as it stands in the result.

    Raises:
        Refusal: files that can not be read or do not fit, no face, or a size that the checkpoint does not draw.
    """
    whole = read_sound(job.audio)
    footage = read_footage(job, description.folder)
    if footage.still and job.duration == "video":
        raise Refusal("duration", "got video, but a picture does not last; leave it out, and the audio decides")
    fps = footage.fps or Fraction(job.fps or STILL_FPS)
    start = Fraction(job.start)
    try:
        clip = timeline(job.duration, footage.count, fps, whole.seconds, start)
    except ValueError:
        raise Refusal(
            "start",
            f"expected some of the {float(whole.seconds):.2f} seconds of sound in the clip, got none from "
            f"{job.start:g}; take a number nearer to 0",
        ) from None
    sound = whole if start == 0 else whole.slice(-start, whole.seconds + start)
    warps = _warps(job, description)
    shots = (
        _portrait(footage, clip, description)
        if job.region == "portrait"
        else _mouth(job, footage, clip, description, warps)
    )
    return shots, sound.fitted(clip.frames, clip.fps)


def read_sound(audio: str) -> Sound:
    """The sound of a job, in channels and at a rate that a soundtrack holds.

    Raises:
        Refusal: it can not be read, or not be put into a video.
    """
    sound = told("audio", read_audio, audio)
    if sound.channels > len(LAYOUTS) or sound.rate > MAX_RATE:  # unless it is copied as it is
        told("audio", lambda _: Soundtrack.of(sound), audio)
    return sound


def _warps(job: DubbingJob, description: Description) -> bool:
    there = (description.folder / "warp").is_dir()
    if job.warp and not there:
        raise Refusal("warp", f"{description.name!r} has no warp; leave the field out, and mouths are made from noise")
    return there and job.warp is not False and job.region == "mouth"


def _mouth(job: DubbingJob, footage: Footage, clip: Timeline, description: Description, warps: bool) -> Shots:
    """Shots in which the mouth is made new."""
    scale = description.scale
    cuts = cuts_of(footage.faces, footage.width, footage.height)
    view = view_of(cuts, footage.width, footage.height, description.sides, scale)
    if view is None:
        low, high = description.sides
        raise Refusal(
            "source",
            f"{description.name!r} draws sides from {low} to {high} pixels, and the mouth of the face in "
            f"{footage.width} x {footage.height} pixels moves over more than that, or there are fewer; "
            "scale or crop the source",
        )
    regions = tuple(None if cut is None else rectangle_of(cut, view, scale) for cut in cuts)
    references = tuple(choose(footage.open_, job.references))
    looks = tuple(region for number in references if (region := regions[number]) is not None)
    height, width = (view[3] - view[1]) // scale, (view[2] - view[0]) // scale
    return Shots(footage, clip, view, height, width, tuple(cuts), regions, references, looks, warps)


def _portrait(footage: Footage, clip: Timeline, description: Description) -> Shots:
    """Shots that are made new as a whole, after the first frame."""
    check_size((footage.width, footage.height), description, "source")
    h, w = footage.height // description.scale, footage.width // description.scale
    whole, count = (0, 0, h, w), footage.count
    view = (0, 0, footage.width, footage.height)
    return Shots(footage, clip, view, h, w, (None,) * count, (whole,) * count, (0,), (whole,), False)
