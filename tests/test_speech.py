"""Speech tokens: at the time of their frame, the same in any window, from our encoder or from a model of others."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.checkpoint import CheckpointError
from models.plan import Segment, TokenPlan, grid, speech_words, words
from models.speech import (
    ADAPTER,
    RATE,
    SpeechAdapter,
    SpeechEncoder,
    Wav2Vec2Speech,
    WhisperSpeech,
    frame_time,
    load_speech,
    log_mels,
)

WIDTH = 24
RATES = (Fraction(24), Fraction(25), Fraction(30_000, 1001), Fraction(30))


def noise(seconds: float) -> np.ndarray:
    return (0.1 * np.random.default_rng(5).standard_normal(int(seconds * RATE))).astype(np.float32)


def click(seconds: float, at: float) -> np.ndarray:
    wave = np.zeros(int(seconds * RATE), np.float32)
    wave[int(at * RATE)] = 1
    return wave


def ours() -> SpeechEncoder:
    torch.manual_seed(0)
    return SpeechEncoder(WIDTH).eval()


def wav2vec2() -> Any:
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    torch.manual_seed(1)
    config = Wav2Vec2Config(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48, conv_dim=(16,) * 7,
        num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2, vocab_size=8,
    )  # fmt: skip
    return Wav2Vec2Model(config)


def whisper() -> Any:
    from transformers import WhisperConfig, WhisperModel

    torch.manual_seed(2)
    config = WhisperConfig(
        d_model=32, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2,
        encoder_ffn_dim=48, decoder_ffn_dim=48, num_mel_bins=40, max_source_positions=100, max_target_positions=8,
        vocab_size=16, pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1,
    )  # fmt: skip
    return WhisperModel(config)


def adapter(hidden: int = 32) -> SpeechAdapter:
    torch.manual_seed(3)
    return SpeechAdapter(hidden, WIDTH).eval()


KINDS = {
    "ours": ours,
    "wav2vec2": lambda: Wav2Vec2Speech(wav2vec2(), adapter(), window=2 * RATE),
    "whisper": lambda: WhisperSpeech(whisper(), adapter()),
}


@pytest.fixture(params=KINDS)
def speech(request: pytest.FixtureRequest) -> Any:
    return KINDS[request.param]()


# ---------------------------------------------------------------- every encoder


@pytest.mark.parametrize("fps", [Fraction(25), Fraction(30_000, 1001)])
def test_frames_have_the_same_bits_in_a_window_as_in_the_whole_clip(speech: Any, fps: Fraction) -> None:
    wave = noise(3)
    whole = speech.encode(wave, fps, 75).unflatten(0, (75, -1))
    assert whole.shape == (75, speech.per_frame, WIDTH)
    for offset, frames in ((10, 10), (0, 1), (31, 44), (74, 1)):
        assert torch.equal(speech.encode(wave, fps, frames, offset), whole[offset : offset + frames].flatten(0, 1))


def test_the_same_sound_gives_the_same_tokens(speech: Any) -> None:
    assert torch.equal(speech.encode(noise(1), 24, 24), speech.encode(noise(1), 24, 24))


def test_tokens_tell_sounds_and_the_moments_of_a_sound_apart(speech: Any) -> None:
    tokens = speech.encode(noise(1), 25, 25).unflatten(0, (25, -1))
    silent = speech.encode(np.zeros(RATE, np.float32), 25, 25)
    assert not torch.allclose(tokens.flatten(0, 1), silent, atol=1e-3)
    assert not torch.allclose(tokens[8], tokens[9], atol=1e-4)
    assert not torch.allclose(tokens[:, 0], tokens[:, 1], atol=1e-4)


def test_sound_is_padded_with_silence_and_its_end_is_not_dropped(speech: Any) -> None:
    wave = noise(0.99)  # ends within the last of 25 frames
    padded = np.concatenate([wave, np.zeros(RATE, np.float32)])
    assert torch.equal(speech.encode(wave, 25, 30), speech.encode(padded, 25, 30))
    without_end = wave.copy()
    without_end[-400:] = 0
    assert not torch.equal(speech.encode(wave, 25, 25)[-2:], speech.encode(without_end, 25, 25)[-2:])
    assert speech.encode(wave[:0], 25, 3).isfinite().all()


def test_null_tokens_repeat_for_each_frame(speech: Any) -> None:
    null = speech.null_tokens(3)
    assert null.shape == (3 * speech.per_frame, WIDTH)
    assert torch.equal(null[: speech.per_frame], null[-speech.per_frame :])
    assert null.any()


def test_no_frames_and_frames_before_the_clip_are_an_error_in_one_sentence(speech: Any) -> None:
    for frames, offset in ((0, 0), (3, -1)):
        with pytest.raises(ValueError, match=f"at least 1 frame from frame 0 or later, got {frames} from {offset}"):
            speech.encode(noise(1), 25, frames, offset)


# ---------------------------------------------------------------- ours


def test_ours_is_small_and_fits_the_transformer(tiny: Path) -> None:
    from models.checkpoint import describe, load

    transformer = load(describe(str(tiny))).transformer
    assert SpeechEncoder.of(transformer).width == transformer.config.joint_attention_dim
    assert SpeechEncoder(192).num_parameters() < 400_000


def test_training_in_a_batch_gives_the_tokens_of_encode() -> None:
    encoder, waves = ours(), [noise(1), click(1, 0.5)]
    mels = torch.stack([encoder.features(wave, 25, 20, 3) for wave in waves])
    batch = encoder(mels)
    assert batch.shape == (2, 40, WIDTH)
    for tokens, wave in zip(batch, waves, strict=True):
        assert torch.allclose(tokens, encoder.encode(wave, 25, 20, 3), atol=1e-5)
    (batch.square().sum() + encoder.null_tokens(2).square().sum()).backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in encoder.parameters())


@settings(max_examples=25)
@given(fps=st.fractions(1, 60, max_denominator=1001), offset=st.integers(0, 60), frames=st.integers(1, 40))
def test_any_window_at_any_rate_is_exact(fps: Fraction, offset: int, frames: int) -> None:
    encoder, wave = ours(), noise(1.5)
    whole = encoder.encode(wave, fps, 100).unflatten(0, (100, -1))
    assert torch.equal(encoder.encode(wave, fps, frames, offset), whole[offset : offset + frames].flatten(0, 1))


@pytest.mark.parametrize("fps", RATES)
@pytest.mark.parametrize("at", [0.51, 12.34, 59.71])
def test_a_click_is_loudest_in_the_frame_that_is_shown_then(fps: Fraction, at: float) -> None:
    wave, right = click(60, at), int(at * fps)
    frames = range(max(0, right - 5), right + 6)
    mels = log_mels(wave, [frame_time(fps, frame) for frame in frames], 64, 5)
    # The columns that stand within the frame's own time, weighted by how near they are to its middle.
    loudness = (mels + 1).mean(1) @ np.array([0, 1, 2, 1, 0])
    assert frames[int(loudness.argmax())] == right


def test_silence_is_minus_one_and_a_full_tone_about_one() -> None:
    tone = np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE).astype(np.float32)
    assert (log_mels(np.zeros(RATE, np.float32), [Fraction(1, 2)], 64, 33) == -1).all()
    loud = log_mels(tone, [Fraction(1, 2)], 64, 33)
    assert 0.8 < loud.max() < 1.3
    middle = log_mels(0.001 * tone, [Fraction(1, 2)], 64, 33).max()
    assert loud.max() - middle == pytest.approx(6 / 4, abs=0.01), "60 dB are 6 of the 8 decades"


def test_every_band_hears_some_tone() -> None:
    sweep = np.sin(2 * np.pi * np.cumsum(np.linspace(0, RATE / 2, 4 * RATE)) / RATE).astype(np.float32)
    heard = log_mels(sweep, [Fraction(frame, 50) for frame in range(200)], 64, 3)
    assert (heard.max((0, 2)) > 0).all()


def test_a_sound_beyond_the_window_changes_nothing() -> None:
    encoder = ours()
    quiet = encoder.encode(np.zeros(4 * RATE, np.float32), 25, 50)
    later = encoder.encode(click(4, 3.0), 25, 50)
    assert torch.equal(quiet, later)
    changed = (encoder.encode(click(4, 1.0), 25, 50) != quiet).any(1).unflatten(0, (50, -1)).any(1).nonzero()[:, 0]
    assert {24, 25} <= set(changed.tolist()) <= set(range(20, 30)), "172 ms to either side of 1 s"


def test_an_even_number_of_columns_has_no_middle() -> None:
    with pytest.raises(ValueError, match="expected an odd number of columns"):
        SpeechEncoder(WIDTH, columns=32)


# ---------------------------------------------------------------- models of others


@pytest.mark.parametrize("kind", ["wav2vec2", "whisper"])
def test_a_click_changes_hidden_states_at_its_own_time_most(kind: str) -> None:
    speech = KINDS[kind]()
    at = speech.window // 2
    wave = np.zeros(speech.window, np.float32)
    wave[at : at + 160] = 0.5 * np.sin(np.arange(160))
    with torch.no_grad():
        change = (speech.hidden(wave) - speech.hidden(np.roll(wave, 8_000))).norm(dim=-1)
    place = speech.first + speech.stride * int(change[: (at + 4_000) // speech.stride].argmax())
    assert abs(place - at) <= 2 * speech.stride


def test_an_adapter_reads_between_hidden_states() -> None:
    made = SpeechAdapter(2, WIDTH, per_frame=1, neighbours=1)
    states = torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    at = [made(states, torch.tensor([[place]])) for place in (0.0, 0.5, 1.0, -3.0, 9.0)]
    assert torch.allclose(at[1], (at[0] + at[2]) / 2, atol=1e-5)
    assert torch.equal(at[3], at[0])
    assert torch.equal(at[4], made(states, torch.tensor([[2.0]])))


def test_an_adapter_is_trained_and_the_model_is_not() -> None:
    speech = WhisperSpeech(whisper(), adapter())
    speech.tokens(noise(1), 25, 0, 10).square().sum().backward()
    assert all(p.grad is not None for name, p in speech.adapter.named_parameters() if name != "null")
    assert not any(parameter.requires_grad for parameter in speech.model.parameters())


# ---------------------------------------------------------------- folders


def saved(kind: str, folder: Path) -> Path:
    if kind == "ours":
        ours().save_pretrained(folder)
        return folder
    (whisper() if kind == "whisper" else wav2vec2()).save_pretrained(folder)
    adapter().save_pretrained(folder / ADAPTER)
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_gives_back_the_same_encoder(tmp_path: Path, kind: str) -> None:
    loaded = load_speech(saved(kind, tmp_path / "a folder ü"))
    made = {"ours": ours, "whisper": KINDS["whisper"], "wav2vec2": lambda: Wav2Vec2Speech(wav2vec2(), adapter())}[kind]
    assert torch.equal(loaded.encode(noise(1), 24, 24), made().encode(noise(1), 24, 24))
    assert (loaded.per_frame, loaded.width) == (2, WIDTH)


def test_a_pickle_a_stranger_and_a_missing_adapter_are_refused_in_one_sentence(tmp_path: Path) -> None:
    pickle = saved("whisper", tmp_path / "pickle")
    (pickle / "model.safetensors").rename(pickle / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="pickles can run code"):
        load_speech(pickle)
    bare = tmp_path / "bare"
    wav2vec2().save_pretrained(bare)
    with pytest.raises(CheckpointError, match="has no folder adapter: a wav2vec2 needs one"):
        load_speech(bare)
    (tmp_path / "bert").mkdir()
    (tmp_path / "bert" / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(CheckpointError, match="is a bert; expected a SpeechEncoder, a wav2vec2 or a whisper"):
        load_speech(tmp_path / "bert")
    with pytest.raises(CheckpointError, match=r"config.json is missing"):
        load_speech(tmp_path / "nowhere")
    wrong = saved("whisper", tmp_path / "wrong")
    adapter(hidden=20).save_pretrained(wrong / ADAPTER)
    with pytest.raises(CheckpointError, match="reads hidden states of 20 numbers, the model gives 32"):
        load_speech(wrong)


# ---------------------------------------------------------------- places in a plan


def test_speech_words_stand_at_the_time_of_their_frame() -> None:
    expected = [[4, 0, 0, 0], [4, 0, 0, 1], [5, 0, 0, 0], [5, 0, 0, 1], [6, 0, 0, 0], [6, 0, 0, 1]]
    assert speech_words(3, 2, start=4).tolist() == expected
    plan = TokenPlan((
        Segment("prompt", "prompt", words(3)),
        Segment("speech", "speech", speech_words(2, 2)),
        Segment("frames", "frame", grid(2, 2, 2)),
    ))  # fmt: skip
    assert plan.context_tokens == 7
