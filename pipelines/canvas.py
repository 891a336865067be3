"""The canvas of a masked job: what its files give, and what is to be made. Nothing here loads torch.

Shape letters: F frames, H and W pixels, h and w tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipelines.estimate import check_size
from pipelines.files.media import Clip, MediaError, Pixels, is_clip, is_exact, read_clip, read_opaque, size_of
from pipelines.job import DEFAULT_FPS, MaskedJob
from pipelines.refusal import Refusal, on_one_line

if TYPE_CHECKING:
    from models.checkpoint import Description

Mode = Literal["inpaint", "outpaint", "predict", "backward", "interpolate", "complete"]
T = TypeVar("T")

NOISE = 16  # grey levels by which JPEG and H.264 miss black and white


@dataclass(frozen=True)
class Canvas:
    """What is given and what is made.

    Attributes:
        frames: [F, H, W, 3]; black where nothing is given.
        mask: [F, H, W]; 0 keeps, 255 is made new, and between them the two are blended.
        fps: frames a second; None for a picture.
        mode: in one word.
        warnings: sentences about what is not used.
    """

    frames: Pixels
    mask: Pixels
    fps: Fraction | None
    mode: Mode
    warnings: tuple[str, ...] = ()

    def given(self, scale: int) -> NDArray[np.bool_]:
        """[F, h, w] tokens of `scale` pixels of which all pixels are kept."""
        frames, height, width = self.mask.shape
        blocks = self.mask.reshape(frames, height // scale, scale, width // scale, scale)
        return np.equal(blocks.max((2, 4)), 0)


def read_canvas(job: MaskedJob, description: Description) -> Canvas:
    """Read source and mask of a job and lay them out.

    Raises:
        Refusal: a file that can not be read or does not fit, a size that the checkpoint does not draw, frames that are
            not there, or nothing to make.
    """
    width, height = told("source", size_of, job.source)
    left, top, right, bottom = job.outpaint or (0, 0, 0, 0)
    size = (left + width + right, top + height + bottom)
    uneven = width % description.scale or height % description.scale
    check_size(size, description, "outpaint" if any(job.outpaint or ()) and not uneven else "source")

    source = told("source", _frames, job.source)
    there = len(source.frames)
    frames = job.frames or there
    if job.keep_frames is None and frames != there:
        raise Refusal(
            "frames",
            f"expected {there}, as the source has, got {frames}; leave it out, or say in keep_frames which are given",
        )
    mask = np.full((frames, size[1], size[0]), 255, np.uint8)
    inside = mask[:, top : top + height, left : left + width]
    if job.keep_frames is not None:
        inside[kept(job.keep_frames, min(there, frames))] = 0
        if not mask.any():
            raise Refusal(
                "keep_frames", f"expected frames left to make, got all {frames} kept; keep fewer or set frames to more"
            )
    else:
        inside[:] = 0 if job.mask is None else _levels(job.mask, source.frames.shape)

    canvas = np.zeros((*mask.shape, 3), np.uint8)
    canvas[:there, top : top + height, left : left + width] = source.frames[:frames]
    rate = None if frames == 1 else source.fps or Fraction(job.fps or DEFAULT_FPS)
    warnings = []
    if rate is not None and job.fps not in (None, rate):
        warnings.append(f"the source has {float(rate):g} frames a second, so fps: {job.fps} is not used")
    return Canvas(canvas, mask, rate, _mode(job, mask), tuple(warnings))


def read_reference(path: str, description: Description) -> Pixels:
    """[H, W, 3] the picture of what the new part shows.

    Raises:
        Refusal: it can not be read, or has a size that the checkpoint does not draw.
    """
    check_size(told("reference", size_of, path), description, "reference")
    return told("reference", read_opaque, path)


def kept(text: str, frames: int) -> list[int]:
    """Indices that "0-3,8" names, of `frames` frames.

    Raises:
        Refusal: a range that runs backwards, or frames that are not there.
    """
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        low, high = int(first), int(last or first)
        if low > high:
            raise Refusal("keep_frames", f'expected "first-last", got {part!r}; write "{high}-{low}"')
        if high >= frames:
            raise Refusal(
                "keep_frames", f"expected frames from 0 to {frames - 1}, got {part!r}; the first frame is number 0"
            )
        found.update(range(low, high + 1))
    return sorted(found)


def told(field: str, read: Callable[[Path], T], path: str) -> T:
    """What `read` finds in a file of the job; what is wrong with it is the job's field's."""
    try:
        return read(Path(path))
    except MediaError as error:
        raise Refusal(field, on_one_line(str(error), 8_192)) from None
    except OSError as error:  # a name that is too long, or a folder that is closed to us
        raise Refusal(field, on_one_line(f"{path}: can not be read: {error.strerror}", 8_192)) from None


def _frames(path: Path) -> Clip:
    """A clip, or a picture as a clip of one frame."""
    return read_clip(path) if is_clip(path) else Clip(read_opaque(path)[None], None)


def _levels(path: str, shape: tuple[int, ...]) -> Pixels:
    """[1 or F, H, W] the grey levels of a mask for a source of `shape` [F, H, W, 3]."""
    frames, height, width = shape[:3]
    wide, high = told("mask", size_of, path)
    if (wide, high) != (width, height):
        raise Refusal("mask", f"{path}: expected {width} x {height} pixels as the source has, got {wide} x {high}")
    pixels = told("mask", _frames, path).frames
    if len(pixels) not in (1, frames):
        raise Refusal("mask", f"{path}: expected {frames} frames as the source has, or one, got {len(pixels)}")
    # Rec. 601 luma in whole numbers: grey stays what it is.
    levels = (pixels.astype(np.uint32) @ np.array([299, 587, 114], np.uint32) + 500) // 1000
    if not told("mask", is_exact, path):
        levels = np.where(levels < NOISE, 0, np.where(levels > 255 - NOISE, 255, levels))
    if not levels.any():
        raise Refusal("mask", f"{path}: expected white where to make new, got a mask that is all black; paint the part")
    return levels.astype(np.uint8)


def _mode(job: MaskedJob, mask: Pixels) -> Mode:
    """What the job does, in a word of the field."""
    border = any(job.outpaint or ())
    if job.keep_frames is None:
        return "outpaint" if border else "inpaint" if (mask == mask[:1]).all() else "complete"
    if border:
        return "complete"
    made = np.flatnonzero(mask.any((1, 2)))
    if made[0] == len(mask) - len(made):
        return "predict"
    return "backward" if made[-1] == len(made) - 1 else "interpolate"
