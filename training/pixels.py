"""Pixels as the parser takes them: arrays instead of tensors, and small pictures enlarged."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]
Pixels = NDArray[np.uint8]

UNKNOWN = "unknown"
WORK_SIDE = 112  # smaller pictures are enlarged by a whole factor: a small ring's band must outlast an erosion


def to_pixels(picture: Tensor) -> Pixels:
    """[3, H, W] in 0..1 as uint8 [H, W, 3]."""
    return (picture.detach().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()


def work_image(picture: Tensor | Pixels) -> Array:
    """[H, W, 3] in 0..255, enlarged where small, with noise smoothed and edges kept."""
    if isinstance(picture, Tensor):
        pixels = picture.detach().reshape(3, *picture.shape[-2:]).permute(1, 2, 0).float().cpu().numpy() * 255
    else:
        pixels = picture.astype(np.float32)
    pixels = np.ascontiguousarray(pixels.clip(0, 255), dtype=np.float32)
    factor = math.ceil(WORK_SIDE / min(pixels.shape[:2]))
    if factor > 1:
        pixels = cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    return np.asarray(cv2.bilateralFilter(pixels, 5, 30.0, 1.5), dtype=np.float32)


def floats(values: object) -> Array:
    """Numbers as float32."""
    return np.asarray(values, dtype=np.float32)


def bounds(mask: Mask) -> tuple[int, int, int, int]:
    """x0, y0, x1, y1 of a mask in pixels, the ends exclusive."""
    x, y, w, h = cv2.boundingRect(mask.astype(np.uint8))
    return x, y, x + w, y + h
