"""The live preview: now and then, what a render will become so far, as a small picture for whoever looks.

It reads what the loop has anyway and writes nothing back, so that not one bit of a result depends on it. It costs next
to nothing: none is made while nobody looks, nor sooner than the last one's price allows. What turns tokens into pixels
is `sketch.py`, and where the pictures wait for the pages is `peephole.py`.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from torch import Tensor

    from models.codec import Codec
    from models.plan import TokenPlan
    from pipelines.files.media import Pixels

Clock = Callable[[], float]
Seen = Callable[[Callable[[], "Tensor"]], None]  # is handed what makes the estimate [B, N, C], and may leave it unmade

EVERY = 0.5  # seconds between two pictures, at least
SHARE = 0.015  # of a render's time that its pictures may take together
QUALITY = 85


class Preview:
    """Shows a render on its way."""

    def __init__(
        self, show: Callable[[bytes], object], wanted: Callable[[], bool], clock: Clock = time.monotonic
    ) -> None:
        """A preview for one render.

        Args:
            show: takes a picture, a whole WebP file.
            wanted: whether somebody looks.
            clock: tells seconds.
        """
        self._show, self._wanted, self._clock = show, wanted, clock
        self._next = -float("inf")

    def prepare(self, codec: Codec) -> None:
        """Do what has to be done once for a checkpoint, if somebody looks already."""
        if self._wanted():
            from pipelines.sketch import sketch_of

            sketch_of(codec)

    def of(self, plan: TokenPlan, codec: Codec) -> Seen:
        """What the sampling loop calls after each step of a plan."""
        from pipelines.sketch import sketch_of

        places, height, width = shown(plan)

        def seen(estimate: Callable[[], Tensor]) -> None:
            if self._clock() < self._next or not self._wanted():
                return
            sketch = sketch_of(codec)  # fitted once for a checkpoint, which is no price of this picture
            _settle(codec.vae.device)
            started = self._clock()
            self._show(webp(sketch(estimate()[0][places], height, width)))
            ended = self._clock()
            self._next = ended + max(EVERY, (ended - started) / SHARE)

        return seen


def shown(plan: TokenPlan) -> tuple[NDArray[np.int64], int, int]:
    """Which picture tokens of a plan are shown, in reading order, and how many stand down and across.

    They are one frame: of those that are being made the middle one. Of layers, which stand further up on the l axis,
    and of references there is none: a layered picture is shown by its composite.
    """
    import numpy as np

    t, y, x, l = plan.positions[plan.context_tokens :].T
    made = (l == 0) & ~plan.given[plan.context_tokens :]
    times = np.unique(t[made] if made.any() else t[l == 0])  # a composite may be given, and only its layers made
    places = np.flatnonzero((l == 0) & (t == times[len(times) // 2]))
    places = places[np.lexsort((x[places], y[places]))]
    return places, len(np.unique(y[places])), len(np.unique(x[places]))


def webp(pixels: Pixels) -> bytes:
    """[H, W, 3] in uint8 as a file."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "WEBP", quality=QUALITY)
    return buffer.getvalue()


def _settle(device: torch.device) -> None:
    """Let a GPU finish the step, so that a preview is not charged for it."""
    if device.type == "cuda":
        import torch

        torch.cuda.synchronize(device)
