"""Speech to context tokens: a few tokens for each video frame, from the sound around the frame's own time.

Frame i of a clip is shown from i / fps to (i + 1) / fps seconds, and its tokens hear a window around the middle of
that. Times are exact fractions, so nothing drifts at 30000/1001 frames a second. Sound is silent before its first and
after its last sample.

Windows are exact: frames 10 to 19 of a clip have bit for bit the tokens that they have in the whole clip. Kernels may
round a row of a large batch otherwise than one of a small batch, so encoders always run blocks of one size that begin
at multiples of it, and keep the frames that were asked for.

Shape suffixes: B batch, F frames, G tokens of a frame, X width of the context stream, T samples, M mel bands,
K columns of a spectrogram, L hidden states in time, H their width.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from numpy.typing import NDArray
from torch import Tensor, nn

from .checkpoint import CheckpointError, _check_weights, _read_json

if TYPE_CHECKING:
    from .mmdit import MMDiT

RATE = 16_000  # samples a second
HOP, SPAN = 160, 400  # samples from one column of a spectrogram to the next, and under each
QUIET, LOUD = -6.0, 2.0  # log10 of a band's power: what counts as silence, and about that of a full tone
BLOCK = 16  # frames that the small encoder runs at once
ADAPTER = "adapter"  # the folder of our projection beside a model of transformers

Wave = NDArray[np.float32]


class Speech(Protocol):
    """What gives speech tokens."""

    per_frame: int
    """G."""
    width: int
    """X."""

    def encode(self, samples: Wave, fps: int | Fraction, frames: int, offset: int = 0) -> Tensor:
        """[F * G, X] tokens, frame by frame.

        Args:
            samples: [T] at 16,000 a second, in -1 to 1. Sample 0 sounds when frame 0 of the clip begins.
            fps: frames a second of the clip.
            frames: F, how many frames to encode.
            offset: the first of them.
        """
        ...

    def null_tokens(self, frames: int) -> Tensor:
        """[F * G, X] learned tokens that stand for no speech: for dropping it in training, and for guidance."""
        ...


class SpeechEncoder(ModelMixin, ConfigMixin):
    """The small encoder of our own: log-mel columns around a frame, three convolutions over time, G tokens.

    Args:
        width: X, the transformer's joint_attention_dim.
        per_frame: G.
        bands: M.
        columns: K, an odd number; 33 columns of 10 ms hear 160 ms to either side.
        channels: of the convolutions.
    """

    @register_to_config
    def __init__(self, width: int, per_frame: int = 2, bands: int = 64, columns: int = 33, channels: int = 96) -> None:
        super().__init__()
        if columns % 2 == 0:
            raise ValueError(f"expected an odd number of columns, one of them at the frame's time, got {columns}")
        self.per_frame, self.width = per_frame, width
        self.convolutions = nn.ModuleList(
            nn.Conv1d(inner, channels, 3, stride=2, padding=1) for inner in (bands, channels, channels)
        )
        left = columns
        for _ in self.convolutions:
            left = (left + 1) // 2
        self.spread = nn.Linear(channels * left, per_frame * channels)
        self.out = nn.Linear(channels, width)
        self.null = nn.Parameter(0.02 * torch.randn(per_frame, width))

    @classmethod
    def of(cls, transformer: MMDiT, **options: Any) -> SpeechEncoder:
        """A new encoder for a transformer's context stream."""
        return cls(width=transformer.config.joint_attention_dim, **options)

    def features(self, samples: Wave, fps: int | Fraction, frames: int, offset: int = 0) -> Tensor:
        """[F, M, K] log-mel columns around frames, between about -1 and 1; arguments as those of `encode`."""
        times = [frame_time(fps, offset + frame) for frame in range(frames)]
        return torch.from_numpy(log_mels(samples, times, self.config.bands, self.config.columns))

    def forward(self, mels: Tensor) -> Tensor:
        """[B, F * G, X] tokens of columns [B, F, M, K]; for training, where batches are of any size."""
        x = mels.flatten(0, 1).to(self.null)
        for convolution in self.convolutions:
            x = F.silu(convolution(x))
        x = F.silu(self.spread(x.flatten(1)).unflatten(-1, (self.per_frame, -1)))
        tokens: Tensor = self.out(F.layer_norm(x, x.shape[-1:]))
        return tokens.flatten(0, 1).unflatten(0, (len(mels), -1))

    @torch.no_grad()
    def encode(self, samples: Wave, fps: int | Fraction, frames: int, offset: int = 0) -> Tensor:
        """See `Speech`."""

        def block(first: int) -> Tensor:
            return self(self.features(samples, fps, BLOCK, first)[None])[0].unflatten(0, (BLOCK, -1))

        return in_blocks(block, BLOCK, frames, offset)

    def null_tokens(self, frames: int) -> Tensor:
        """See `Speech`; differentiable."""
        return self.null.repeat(frames, 1)


class SpeechAdapter(ModelMixin, ConfigMixin):
    """Hidden states of a speech model to tokens: what our training adds to a Wav2Vec2 or a Whisper.

    A token hears `neighbours` hidden states, interpolated at times around its frame; the G tokens of a frame share the
    window of 2 `reach` seconds among them, the first one the earliest part.

    Args:
        hidden: H.
        width: X.
        per_frame: G.
        neighbours: hidden states of a token.
        reach: seconds to either side of the frame's time.
    """

    @register_to_config
    def __init__(self, hidden: int, width: int, per_frame: int = 2, neighbours: int = 3, reach: float = 0.12) -> None:
        super().__init__()
        self.per_frame, self.width = per_frame, width
        self.project = nn.Linear(neighbours * hidden, width)
        self.slots = nn.Parameter(torch.zeros(per_frame, width))
        self.null = nn.Parameter(0.02 * torch.randn(per_frame, width))
        count = per_frame * neighbours
        self.steps = tuple(reach * ((2 * step + 1) / count - 1) for step in range(count))

    def forward(self, states: Tensor, places: Tensor) -> Tensor:
        """[F, G, X] tokens from hidden states [L, H] and places among them, [F, G * neighbours]."""
        # Hidden states of large models have a few huge numbers: they are brought to one scale first.
        states = F.layer_norm(states.float(), states.shape[-1:])
        places = places.clamp(0, len(states) - 1)
        low = places.floor().long().clamp(max=len(states) - 2)
        near = torch.lerp(states[low], states[low + 1], (places - low)[..., None].float())
        joined = near.unflatten(1, (self.per_frame, -1)).flatten(2)
        tokens: Tensor = self.project(joined.to(self.null)) + self.slots
        return tokens

    def null_tokens(self, frames: int) -> Tensor:
        """See `Speech`; differentiable."""
        return self.null.repeat(frames, 1)


class _Pretrained(ABC):
    """A frozen speech model and our adapter. The model hears one window of fixed length at a time, and the frames
    around its middle are taken: their context is the quarter of a window before and behind them, and more.
    """

    window: int  # samples
    first: float  # sample of the first hidden state, from the window's beginning
    stride: int  # samples from one hidden state to the next

    def __init__(self, model: Any, adapter: SpeechAdapter) -> None:
        self.model, self.adapter = model.eval().requires_grad_(False), adapter
        self.per_frame, self.width = adapter.per_frame, adapter.width

    @abstractmethod
    def hidden(self, window: Wave) -> Tensor:
        """[L, H] hidden states of samples [self.window]."""

    def tokens(self, samples: Wave, fps: int | Fraction, first: int, frames: int) -> Tensor:
        """[F, G, X] tokens of one block of frames; differentiable in the adapter's weights."""
        begin = _nearest(Fraction(first) / Fraction(fps) * RATE) - self.window // 4
        with torch.no_grad():
            states = self.hidden(cut(samples, begin, self.window))
        middles = [float(frame_time(fps, first + frame) * RATE - begin) for frame in range(frames)]
        heard = np.array(middles)[:, None] + RATE * np.array(self.adapter.steps)
        return self.adapter(states, torch.from_numpy((heard - self.first) / self.stride).to(states.device))

    def frames_at_once(self, fps: int | Fraction) -> int:
        """Frames in the middle half of a window."""
        return max(1, math.floor(Fraction(self.window, 2 * RATE) * Fraction(fps)))

    @torch.no_grad()
    def encode(self, samples: Wave, fps: int | Fraction, frames: int, offset: int = 0) -> Tensor:
        """See `Speech`."""
        size = self.frames_at_once(fps)
        return in_blocks(lambda first: self.tokens(samples, fps, first, size), size, frames, offset)

    def null_tokens(self, frames: int) -> Tensor:
        """See `Speech`; differentiable."""
        return self.adapter.null_tokens(frames)


class Wav2Vec2Speech(_Pretrained):
    """Last hidden states of a `Wav2Vec2Model`, in windows of four seconds."""

    def __init__(self, model: Any, adapter: SpeechAdapter, window: int = 4 * RATE) -> None:
        from transformers import Wav2Vec2FeatureExtractor

        super().__init__(model, adapter)
        self.window, self.stride = window, math.prod(model.config.conv_stride)
        # A state hears `field` samples, and stands in the middle of them.
        field, step = 1, 1
        for kernel, stride in zip(model.config.conv_kernel, model.config.conv_stride, strict=True):
            field, step = field + (kernel - 1) * step, step * stride
        self.first = (field - 1) / 2
        self.extractor = Wav2Vec2FeatureExtractor(sampling_rate=RATE, do_normalize=True)

    def hidden(self, window: Wave) -> Tensor:
        """See `_Pretrained`."""
        values = self.extractor(window, sampling_rate=RATE, return_tensors="pt").input_values
        states: Tensor = self.model(values.to(self.model.device, self.model.dtype)).last_hidden_state[0]
        return states


class WhisperSpeech(_Pretrained):
    """Last hidden states of the encoder of a `WhisperModel`, in its own windows, which are of thirty seconds."""

    def __init__(self, model: Any, adapter: SpeechAdapter) -> None:
        from transformers import WhisperFeatureExtractor

        super().__init__(model, adapter)
        self.stride, self.first = 2 * HOP, 0.0
        self.window = model.config.max_source_positions * self.stride
        self.extractor = WhisperFeatureExtractor(
            feature_size=model.config.num_mel_bins, sampling_rate=RATE, chunk_length=self.window // RATE
        )

    def hidden(self, window: Wave) -> Tensor:
        """See `_Pretrained`."""
        values = self.extractor(window, sampling_rate=RATE, return_tensors="pt").input_features
        states: Tensor = self.model.encoder(values.to(self.model.device, self.model.dtype)).last_hidden_state[0]
        return states


def load_speech(folder: Path, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> Speech:
    """The speech encoder in a folder: ours, or a Wav2Vec2 or Whisper model with our trained adapter in `adapter/`.

    Raises:
        CheckpointError: weights that are not safetensors, another kind of model, no adapter, or parts that do not fit.
    """
    name = str(folder)
    config = _read_json(folder / "config.json", name)
    kind = config.get("model_type") or config.get("_class_name")
    if kind not in ("SpeechEncoder", "wav2vec2", "whisper"):
        raise CheckpointError(f"{name!r} is a {kind}; expected a SpeechEncoder, a wav2vec2 or a whisper")
    _check_weights(folder, name)
    options: dict[str, Any] = {"local_files_only": True, "use_safetensors": True, "dtype": dtype}
    try:
        if kind == "SpeechEncoder":
            encoder: SpeechEncoder = SpeechEncoder.from_pretrained(folder, **options)
            encoder.requires_grad_(False).eval().to(device)
            return encoder
        if not (folder / ADAPTER).is_dir():
            raise CheckpointError(f"{name!r} has no folder {ADAPTER}: a {kind} needs one that was trained with it")
        _check_weights(folder / ADAPTER, name)
        adapter = SpeechAdapter.from_pretrained(folder, subfolder=ADAPTER, **options).to(device)
        adapter.requires_grad_(False).eval()
        from transformers import Wav2Vec2Model, WhisperModel

        made = WhisperModel if kind == "whisper" else Wav2Vec2Model
        model = made.from_pretrained(folder, **options).to(device)
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{name!r} can not be loaded: {' '.join(str(error).split())[:300]}") from error
    if model.config.hidden_size != adapter.config.hidden:
        raise CheckpointError(
            f"{name!r}: {ADAPTER} reads hidden states of {adapter.config.hidden} numbers, "
            f"the model gives {model.config.hidden_size}"
        )
    return WhisperSpeech(model, adapter) if kind == "whisper" else Wav2Vec2Speech(model, adapter)


def frame_time(fps: int | Fraction, frame: int) -> Fraction:
    """The middle of a frame's showing, in seconds."""
    return (frame + Fraction(1, 2)) / Fraction(fps)


def in_blocks(block: Callable[[int], Tensor], size: int, frames: int, offset: int) -> Tensor:
    """[F * G, X] tokens of `frames` frames from `offset`.

    Args:
        block: gives the tokens [size, G, X] of the `size` frames from a multiple of `size` on.
        size: frames of a block.
        frames: F, at least 1.
        offset: the first frame, at least 0.
    """
    if frames < 1 or offset < 0:
        raise ValueError(f"expected at least 1 frame from frame 0 or later, got {frames} from {offset}")
    first = offset // size * size
    tokens = torch.cat([block(begin) for begin in range(first, offset + frames, size)])
    return tokens[offset - first : offset - first + frames].flatten(0, 1)


def cut(samples: Wave, begin: int, count: int) -> Wave:
    """[count] samples from sample `begin`, silent where there are none."""
    found = np.zeros(count, np.float32)
    low, high = max(begin, 0), min(begin + count, len(samples))
    if low < high:
        found[low - begin : high - begin] = samples[low:high]
    return found


def log_mels(samples: Wave, times: list[Fraction], bands: int, columns: int) -> NDArray[np.float32]:
    """[F, M, K] log-mel columns every 10 ms around each time, the middle one at the time itself.

    The scale is fixed and not that of the loudest part, so that a window does not depend on what lies outside of it:
    silence is -1, a full tone about 1.
    """
    filters, window = _mel_filters(bands)
    reach = (columns - 1) // 2 * HOP + SPAN // 2
    around = np.stack([cut(samples, _nearest(time * RATE) - reach, 2 * reach) for time in times]).astype(np.float64)
    pieces = np.lib.stride_tricks.sliding_window_view(around, SPAN, axis=1)[:, ::HOP]  # [F, K, SPAN]
    power = np.abs(np.fft.rfft(pieces * window)) ** 2
    log = np.log10(np.maximum(power @ filters, 10**QUIET))
    middle, half = (LOUD + QUIET) / 2, (LOUD - QUIET) / 2
    return np.ascontiguousarray(((log - middle) / half).transpose(0, 2, 1), np.float32)


@cache
def _mel_filters(bands: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """[SPAN // 2 + 1, M] triangles of Whisper's mel scale, and the [SPAN] window under which a spectrum is taken."""
    from transformers.audio_utils import mel_filter_bank, window_function

    filters = mel_filter_bank(SPAN // 2 + 1, bands, 0.0, RATE / 2, RATE, norm="slaney", mel_scale="slaney")
    return filters, window_function(SPAN, "hann")


def _nearest(value: Fraction) -> int:
    return math.floor(value + Fraction(1, 2))
