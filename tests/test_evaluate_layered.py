"""What scores of stacks promise: true layers score full marks, and each fault its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines.estimate import Attachment, Rendered
from training.drawing import render
from training.evaluate_layered import (
    KINDS,
    Case,
    compose,
    evaluate_autoencoder,
    evaluate_layered,
    layered_cases,
)
from training.pixels import Pixels
from training.renders import Settings

PICTURES = Settings(size=(128, 128))


def stack(case: Case) -> list[Pixels]:
    """Straight-alpha truth: the background, then each layer cut to its box."""
    layers = render([case.scene], 128, 128).layers[0]
    alpha = layers[:, 3:]
    straight = torch.where(alpha > 0, layers[:, :3] / alpha.clamp(min=1e-6), 0.0)
    found = (torch.cat([straight, alpha], 1) * 255).round().byte().permute(0, 2, 3, 1).numpy()
    for layer, (y0, x0, y1, x1) in zip(found[1:], case.boxes, strict=True):
        outside = np.ones(layer.shape[:2], bool)
        outside[16 * y0 : 16 * y1, 16 * x0 : 16 * x1] = False
        layer[outside] = 0
    return list(found)


def rendered(case: Case, spoil: Callable[[list[Pixels]], None] = lambda parts: None) -> Rendered:
    parts = stack(case)
    spoil(parts)
    files = [Attachment(f"/{k:02d}-layer.png", part) for k, part in enumerate(parts)]
    flat = compose(parts)
    return Rendered(flat[None], {}, attachments=(*files, Attachment("/composite.png", flat)))


@pytest.mark.parametrize("kind", KINDS)
def test_true_layers_score_full_marks(kind: str, tmp_path: Path) -> None:
    cases = layered_cases(kind, 15, PICTURES, tmp_path)  # type: ignore[arg-type]
    scores = evaluate_layered(lambda jobs: [rendered(case) for case in cases], cases, PICTURES)
    assert scores.rates["layers"] > 0.97 and scores.rates["alpha"] > 0.95
    assert all(scores.rates[name] == 1 for name in ("inside", "recomposed", "matches"))


def test_the_autoencoder_alone_leaves_room_above_the_bar(tmp_path: Path) -> None:
    cases = layered_cases("named", 8, PICTURES, tmp_path)
    rates = evaluate_autoencoder("papercut", cases, PICTURES).rates
    assert rates["layers"] > 0.85 and rates["psnr"] > 28
    assert rates["inside"] == rates["recomposed"] == 1


def test_each_fault_costs_its_own_rate(tmp_path: Path) -> None:
    cases = layered_cases("named", 10, PICTURES, tmp_path)

    def scored(spoil: Callable[[list[Pixels]], None]) -> dict[str, float]:
        return evaluate_layered(lambda jobs: [rendered(case, spoil) for case in cases], cases, PICTURES).rates

    def swapped(parts: list[Pixels]) -> None:
        parts[1], parts[2] = parts[2], parts[1]

    def haze(parts: list[Pixels]) -> None:
        parts[1][..., 3] = np.maximum(parts[1][..., 3], 3)

    def swollen(parts: list[Pixels]) -> None:
        for part in parts[1:]:
            rows, columns = np.nonzero(part[..., 3])
            part[rows.min() : rows.max(), columns.min() : columns.max(), 3] = 255

    assert scored(swapped)["named"] < 0.7
    assert scored(haze)["inside"] == 0
    rates = scored(swollen)
    assert rates["layers"] < 0.3, "a square of paper around everything is not its outline"


def test_a_flat_picture_that_the_stack_does_not_make_is_told(tmp_path: Path) -> None:
    cases = layered_cases("named", 5, PICTURES, tmp_path)
    results = [rendered(case) for case in cases]
    grey = [replace(one, frames=np.full_like(one.frames, 128)) for one in results]
    rates = evaluate_layered(lambda jobs: grey, cases, PICTURES).rates
    assert rates["recomposed"] == 0 and rates["matches"] == 0 and rates["layers"] > 0.9
