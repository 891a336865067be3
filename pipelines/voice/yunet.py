"""Finds faces in photographs by OpenCV's YuNet, where its model file is given.

The file is not part of this project and is never fetched: the variable DIORAMA_YUNET names it, or it lies in the
checkpoint's folder as `yunet.onnx`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.files.media import Pixels
from pipelines.refusal import Refusal, on_one_line
from pipelines.voice.region import Box

VARIABLE, FILE = "DIORAMA_YUNET", "yunet.onnx"
SURE = 0.7  # of a detection, 0..1


def model_file(folder: Path) -> Path | None:
    """The model file for a checkpoint in `folder`, or None.

    Raises:
        Refusal: the variable names what is no file.
    """
    named = os.environ.get(VARIABLE)
    if named:
        path = Path(named).expanduser()
        if not path.is_file():
            raise Refusal("face", f"{VARIABLE} names {on_one_line(named)}, which is no file; correct it or unset it")
        return path
    beside = folder / FILE
    return beside if beside.is_file() else None


class YuNetLocator:
    """Faces in photographs."""

    name = "yunet"

    def __init__(self, model: Path) -> None:
        """A locator with the weights in a file.

        Raises:
            Refusal: the file is not what OpenCV's FaceDetectorYN reads.
        """
        import cv2

        try:
            self._detector: Any = cv2.FaceDetectorYN.create(str(model), "", (320, 320), SURE)
        except (cv2.error, AttributeError) as error:
            said = on_one_line(" ".join(str(error).split()), 200)
            raise Refusal("face", f"{model} can not be read as a YuNet model by OpenCV: {said}") from None

    def find(self, frame: Pixels, near: Box | None = None) -> list[Box]:
        """Boxes of the faces in a frame [H, W, 3], in pixels, the largest first; `near` is not needed here."""
        height, width = frame.shape[:2]
        self._detector.setInputSize((width, height))
        _, found = self._detector.detect(np.ascontiguousarray(frame[..., ::-1]))
        boxes = (
            [] if found is None else [(float(x), float(y), float(x + w), float(y + h)) for x, y, w, h in found[:, :4]]
        )
        return sorted(boxes, key=lambda box: (box[0] - box[2]) * (box[3] - box[1]))
