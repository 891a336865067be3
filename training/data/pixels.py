"""Pictures: what a header tells, and pixels upright in RGBA. From bytes, for a picture may lie in a tar or a table.

Shape letters: H and W pixels, K layers.
"""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.files.media import MAX_PIXELS, Pixels

from .findings import Fault

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")
SUFFIXES = {"jpg": "JPEG", "jpeg": "JPEG", "tif": "TIFF", "tiff": "TIFF"}  # the others are called as their format
ORIENTATION = 0x0112
Window = tuple[float, float, float, float]


@dataclass(frozen=True)
class Look:
    """What the header of a picture tells.

    Attributes:
        width: of the upright picture, in pixels.
        height: the same.
        format: one of FORMATS.
        mode: Pillow's word for channels and bits, such as `CMYK`.
        frames: more than 1 in an animation.
        turned: whether it is stored in another orientation than it is shown.
    """

    width: int
    height: int
    format: str
    mode: str
    frames: int
    turned: bool


def look(data: bytes) -> Look:
    """What a picture is, from its header.

    Raises:
        Fault: `empty-file`, `unreadable`, `too-large`, `truncated`.
    """
    picture = _open(data)
    try:  # a PNG may tell its orientation after its pixels, so this can decode them
        orientation, frames = picture.getexif().get(ORIENTATION, 1), int(getattr(picture, "n_frames", 1))
    except Exception as error:  # decoders raise whatever a broken file makes them meet
        raise _broken(error) from None
    width, height = picture.size
    if orientation in (5, 6, 7, 8):
        width, height = height, width
    mode = "I;16" if picture.format == "PNG" and data[24:25] == b"\x10" else picture.mode
    return Look(width, height, str(picture.format), mode, frames, orientation in range(2, 9))


def read(data: bytes) -> Image:
    """The picture upright as RGBA; of an animation the first frame.

    Raises:
        Fault: as `look`, and `truncated`.
    """
    from PIL import ImageOps

    picture = _open(data)
    try:
        picture.load()
        upright = ImageOps.exif_transpose(picture)
        if upright.mode.startswith("I") or upright.mode == "F":  # 16 bits of grey, which Pillow would cut off at 255
            return _grey(np.asarray(upright, np.float64))
        return upright.convert("RGBA")
    except Exception as error:  # as above
        raise _broken(error) from None


def fit(picture: Image, window: Window, size: tuple[int, int]) -> Pixels:
    """[H, W, 4] straight RGBA: the window (x0, y0, x1, y1 in 0..1) of a picture at `size` (width, height).

    Pillow resizes RGBA premultiplied, so clear pixels have no colour that could bleed into an edge.
    """
    from PIL import Image as images

    x0, y0, x1, y1 = window
    box = (x0 * picture.width, y0 * picture.height, x1 * picture.width, y1 * picture.height)
    if (box, size) == ((0, 0, *picture.size), picture.size):
        return np.array(picture)
    return np.array(picture.resize(size, images.Resampling.LANCZOS, box=box))


def grey(pixels: Pixels) -> Pixels:
    """[H, W] how white [..., H, W, 4] is; clear is black."""
    weights = np.array([0.299, 0.587, 0.114])
    white: Pixels = ((pixels[..., :3] @ weights) * (pixels[..., 3] / 255)).round().astype(np.uint8)
    return white


def expected_format(suffix: str) -> str:
    """The format that a file's suffix promises."""
    return SUFFIXES.get(suffix, suffix.upper())


def _open(data: bytes) -> Any:
    from PIL import Image as images
    from PIL import UnidentifiedImageError

    if not data:
        raise Fault("empty-file", "has no bytes; fetch or save it again")
    try:
        with warnings.catch_warnings():  # of large pictures, which are refused below
            warnings.simplefilter("ignore", images.DecompressionBombWarning)
            picture = images.open(io.BytesIO(data), formats=FORMATS)
    except images.DecompressionBombError:
        raise Fault("too-large", f"expected at most {MAX_PIXELS:,} pixels, got far more; make it smaller") from None
    except UnidentifiedImageError:
        raise Fault("unreadable", f"is no picture in {', '.join(FORMATS)}; convert it to PNG") from None
    except Exception as error:  # as above
        raise _broken(error) from None
    if picture.width * picture.height > MAX_PIXELS:
        raise Fault(
            "too-large",
            f"expected at most {MAX_PIXELS:,} pixels, got {picture.width} x {picture.height}; make it smaller",
        )
    return picture


def _broken(error: Exception) -> Fault:
    told = (str(error) or type(error).__name__).splitlines()[0][:120]
    return Fault("truncated", f"ends early or is damaged ({told}); fetch or save it again")


def _grey(values: Any) -> Image:
    from PIL import Image as images

    top = 65535 if values.max(initial=0) > 1 else 1
    return images.fromarray((values * (255 / top)).round().clip(0, 255).astype(np.uint8)).convert("RGBA")
