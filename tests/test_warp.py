"""The mouth warp: fresh it moves nothing, and what it learns is by whom and by what is said."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from models.speech import SpeechEncoder
from models.warp import AT_ONCE, MouthWarp

WIDTH, PER_FRAME, SIZE = 24, 2, 32


def warp(trained: bool = False) -> MouthWarp:
    torch.manual_seed(2)
    made = MouthWarp(WIDTH, PER_FRAME, SIZE, inner_width=32)
    if trained:
        torch.nn.init.normal_(made.motion.weight, std=0.3)
    return made.requires_grad_(False)


def mouths(count: int = 3, height: int = SIZE, width: int = SIZE, seed: int = 0) -> Tensor:
    """Smooth pictures, premultiplied and opaque."""
    coarse = torch.rand(count, 3, 5, 5, generator=torch.Generator().manual_seed(seed))
    colours = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear", align_corners=False)
    return torch.cat([colours, torch.ones_like(colours[:, :1])], 1)


def speech(frames: int = 5, seed: int = 1) -> Tensor:
    return torch.randn(frames, PER_FRAME, WIDTH, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("count", "height", "width"), [(1, SIZE, SIZE), (3, SIZE, SIZE), (4, 48, 64)])
def test_a_fresh_warp_moves_nothing_and_gives_the_mean_of_the_references(count: int, height: int, width: int) -> None:
    references = mouths(count, height, width)
    warped, flow = warp()(references, speech())
    assert warped.shape == (5, 4, height, width) and flow.shape == (5, count, 2, height, width)
    assert not flow.any()
    assert torch.allclose(warped, references.mean(0).expand_as(warped), atol=1e-5)


def test_a_trained_warp_follows_what_is_said_and_who_is_seen() -> None:
    made = warp(True)
    base, flow = made(mouths(), speech())
    assert flow.abs().amax() > 0.5, "pixels"
    assert (base[0] - base[1]).abs().amax() > 1e-3, "frames differ by their speech alone"
    assert (made(mouths(), speech(seed=9))[0] - base).abs().amax() > 1e-3
    assert (made(mouths(seed=9), speech())[0] - base).abs().amax() > 1e-3
    assert base.amin() >= 0 and base.amax() <= 1, "moved and blended, nothing is brighter than what was there"


def test_the_order_of_references_changes_nothing() -> None:
    made, references, order = warp(True), mouths(4), [2, 0, 3, 1]
    base, flow = made(references, speech())
    other, moved = made(references[order], speech())
    assert torch.allclose(base, other, atol=1e-4) and torch.allclose(flow[:, order], moved, atol=1e-3)


def test_a_batch_equals_its_singles() -> None:
    made = warp(True)
    references = torch.stack([mouths(seed=k) for k in range(3)])
    said = torch.stack([speech(seed=k) for k in range(3)])
    warped, flow = made(references, said)
    for k in range(3):
        alone, moved = made(references[k], said[k])
        assert torch.allclose(warped[k], alone, atol=1e-4) and torch.allclose(flow[k], moved, atol=1e-3)


def test_a_frame_hears_its_neighbours_and_nobody_else() -> None:
    made, said = warp(True), speech(AT_ONCE + 4)
    base = made(mouths(), said)[0]
    other = said.clone()
    other[AT_ONCE] *= -1  # at the seam between two parts that are computed apart
    changed = (made(mouths(), other)[0] - base).abs().amax((1, 2, 3)) > 1e-5
    assert changed.nonzero().flatten().tolist() == [AT_ONCE - 1, AT_ONCE, AT_ONCE + 1]


def test_a_flow_tells_in_pixels_where_the_colour_was_found() -> None:
    made = warp()
    with torch.no_grad():
        made.motion.bias[0] = 0.25  # an eighth of the width to the right
    references = mouths(1)
    warped, flow = made(references, speech(1))
    assert torch.allclose(flow[0, 0, 0], torch.tensor(SIZE / 8)) and not flow[0, 0, 1].any()
    assert torch.allclose(warped[0, :, :, : -SIZE // 8], references[0, :, :, SIZE // 8 :], atol=1e-5)


def test_losses_reach_every_weight() -> None:
    made = warp(True).requires_grad_(True)
    warped, _ = made(mouths(), speech())
    (warped - mouths(seed=5)[:1]).abs().mean().backward()
    assert [name for name, weight in made.named_parameters() if weight.grad is None or not weight.grad.any()] == []


def test_it_is_small_and_comes_back_from_its_folder(tmp_path: Path) -> None:
    torch.manual_seed(0)
    usual = MouthWarp.of(SpeechEncoder(384, per_frame=3))
    assert usual.config.width == 384 and usual.per_frame == 3
    assert sum(weight.numel() for weight in usual.parameters()) < 1_000_000
    usual.save_pretrained(tmp_path)
    again = MouthWarp.from_pretrained(tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(usual.state_dict().values(), again.state_dict().values(), strict=True))


def test_in_bfloat16_places_stay_exact() -> None:
    warped, flow = warp().to(torch.bfloat16)(mouths(2), speech(2).to(torch.bfloat16))
    assert warped.dtype == flow.dtype == torch.float32
    assert torch.allclose(warped, mouths(2).mean(0).expand_as(warped), atol=1e-5)


@pytest.mark.parametrize(
    ("references", "said", "names"),
    [
        (torch.zeros(2, 3, SIZE, SIZE), torch.zeros(5, PER_FRAME, WIDTH), "references"),
        (torch.zeros(0, 4, SIZE, SIZE), torch.zeros(5, PER_FRAME, WIDTH), "references"),
        (torch.zeros(2, 4, SIZE, SIZE), torch.zeros(5, PER_FRAME + 1, WIDTH), "speech"),
        (torch.zeros(2, 2, 4, SIZE, SIZE), torch.zeros(3, 5, PER_FRAME, WIDTH), "speech"),
    ],
)
def test_other_shapes_are_refused(references: Tensor, said: Tensor, names: str) -> None:
    with pytest.raises(ValueError, match=f"expected {names}"):
        warp()(references, said)


def test_a_size_that_patches_do_not_fill_is_refused() -> None:
    with pytest.raises(ValueError, match="multiples of 8"):
        MouthWarp(WIDTH, size=30)
