"""What is given of a layered job: the pictures in its files, checked against its size and its boxes.

Nothing here loads torch. Shape letters: H and W pixels of the canvas.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.canvas import told
from pipelines.files.media import Pixels, read_opaque, read_picture, size_of
from pipelines.job import LayeredJob
from pipelines.refusal import Refusal
from pipelines.stack.layers import PixelBox, opaque, visible_outside

Parts = tuple[Pixels | None, ...]


def read_given(job: LayeredJob, boxes: Sequence[PixelBox]) -> Parts:
    """Composite, background and layers, [H, W, 4] with straight alpha each; None where a part is to be made.

    Args:
        job: names the files.
        boxes: of its layers, grown to whole tokens.

    Raises:
        Refusal: a file that can not be read, has another size than the job, is transparent where it must not be, or
            is a layer that is visible outside its box; or nothing is left to make.
    """
    found = [
        None if job.source is None else _read(job, "source", job.source),
        None if job.background is None else _read(job, "background", job.background),
    ]
    for k, (layer, box) in enumerate(zip(job.layers, boxes, strict=True)):
        found.append(None if layer.source is None else _read(job, f"layers[{k}].source", layer.source, box))
    if all(part is not None for part in found):
        raise Refusal("layers", "expected something to make, got picture, background and all layers; leave one out")
    return tuple(found)


def _read(job: LayeredJob, field: str, path: str, box: PixelBox | None = None) -> Pixels:
    """[H, W, 4] of one file; with a box it is a layer's."""
    found = told(field, size_of, path)
    if found != job.size:
        width, height = job.size
        raise Refusal(
            field, f"{path}: expected {width} x {height} pixels as the job's size, got {found[0]} x {found[1]}"
        )
    if box is None:
        return opaque(told(field, read_opaque, path))
    pixels = told(field, read_picture, path)
    if outside := visible_outside(pixels, box):
        y0, x0, y1, x1 = box
        raise Refusal(
            field,
            f"{path}: expected nothing visible outside the layer's box (x {x0} to {x1}, y {y0} to {y1}), got "
            f"{outside:,} such pixels; make the box larger, or save the layer with an alpha channel",
        )
    return pixels
