"""Pixels to tokens and back, as stock FLUX.2 does it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKLFlux2, Flux2KleinPipeline

from models.codec import AT_ONCE, CLEAR, SOLID, Codec, clean, over, premultiply, unpremultiply


def small_vae(channels: int) -> AutoencoderKLFlux2:
    torch.manual_seed(1)
    vae = AutoencoderKLFlux2(
        in_channels=channels, out_channels=channels, block_out_channels=(8,) * 4, layers_per_block=1, latent_channels=4,
        norm_num_groups=4, mid_block_add_attention=False,
    ).eval()  # fmt: skip
    vae.bn.running_mean.normal_()
    vae.bn.running_var.uniform_(0.5, 2)
    return vae


@torch.no_grad()
def test_tokens_are_the_ones_of_stock_flux2(tiny: Path) -> None:
    stock = Flux2KleinPipeline.from_pretrained(tiny, dtype=torch.float32)
    codec = Codec(stock.vae)
    pixels = torch.rand(2, 4, 32, 48)
    latents = stock._encode_vae_image(pixels * 2 - 1, generator=None)
    assert torch.allclose(codec.encode(pixels), stock._pack_latents(latents), atol=1e-6)


@torch.no_grad()
def test_decoding_undoes_patches_and_normalisation() -> None:
    codec = Codec(small_vae(4))
    pixels = torch.rand(2, 4, 32, 48)
    latent = codec.vae.encode(pixels * 2 - 1).latent_dist.mode()
    direct = (codec.vae.decode(latent).sample / 2 + 0.5).clamp(0, 1)
    assert torch.allclose(codec.decode(codec.encode(pixels), 32, 48)[:, 0], direct, atol=1e-5)


@torch.no_grad()
def test_frames_are_coded_one_by_one() -> None:
    codec = Codec(small_vae(4))
    frames = torch.rand(2, 3, 4, 32, 16)
    tokens = codec.encode(frames)
    assert tokens.shape == (2, 3 * 2 * 1, 16)
    assert torch.allclose(tokens[:, 2:4], codec.encode(frames[:, 1]), atol=1e-6)
    assert codec.decode(tokens, 32, 16).shape == (2, 3, 4, 32, 16)


@torch.no_grad()
def test_a_long_video_is_decoded_a_few_frames_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    codec = Codec(small_vae(4))
    tokens, seen, decode = torch.randn(1, 2 * AT_ONCE + 3, 16), [], codec.vae.decode

    def watched(latent: torch.Tensor) -> object:
        seen.append(len(latent))
        return decode(latent)

    monkeypatch.setattr(codec.vae, "decode", watched)
    assert codec.decode(tokens, 16, 16).shape == (1, 2 * AT_ONCE + 3, 4, 16, 16)
    assert seen == [AT_ONCE, AT_ONCE, 3]


def test_a_checkpoint_without_alpha_drops_it_and_returns_an_opaque_picture() -> None:
    codec = Codec(small_vae(3))
    pixels = torch.rand(1, 4, 16, 16)
    out = codec.decode(codec.encode(pixels), 16, 16)
    assert out.shape == (1, 1, 4, 16, 16) and (out[:, :, 3] == 1).all()


def test_sides_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="multiples of 16 pixels, got 40x32"):
        Codec(small_vae(4)).grid(32, 40)


def test_premultiplied_alpha_comes_back_and_clear_pixels_have_no_colour() -> None:
    straight = torch.rand(2, 4, 8, 8)
    straight[:, 3] = straight[:, 3] * 0.9 + 0.1
    assert torch.allclose(unpremultiply(premultiply(straight)), straight, atol=1e-5)
    straight[:, 3] = 0
    assert not unpremultiply(premultiply(straight)).any()
    glowing = torch.cat([torch.full((1, 3, 1, 1), 0.6), torch.full((1, 1, 1, 1), 0.5)], 1)
    assert unpremultiply(glowing)[:, :3].max() == 1, "colour is held to alpha"


def test_over_composites_premultiplied_pictures() -> None:
    red, blue = torch.tensor([1.0, 0, 0, 1]), torch.tensor([0, 0, 0.5, 0.5])
    mixed = over(red[:, None, None], blue[:, None, None])
    assert mixed.flatten().tolist() == [0.5, 0, 0.5, 1]


def test_what_was_meant_to_be_clear_or_opaque_becomes_so_and_colour_never_exceeds_alpha() -> None:
    alpha = torch.tensor([0.0, CLEAR * 0.9, CLEAR * 1.1, 0.5, SOLID * 0.99, SOLID * 1.01, 1.0])
    rgba = clean(torch.cat([torch.full((3, 1, 7), 0.3), alpha[None, None]]))
    assert torch.allclose(rgba[3, 0], torch.tensor([0.0, 0.0, CLEAR * 1.1, 0.5, SOLID * 0.99, 1.0, 1.0]))
    assert not rgba[:3, :, :2].any() and (rgba[:3] <= rgba[3:]).all()
    assert (rgba[:3, 0, 3:] == 0.3).all(), "what is well stays as it is"
