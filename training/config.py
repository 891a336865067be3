"""What a training run is: one pydantic model per part, read from YAML. Unknown keys are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from .forms import SPOKEN, Task
from .loop import LoopConfig as LoopConfig
from .loop import Strict
from .papercut import Mixture


class AutoencoderConfig(Strict):
    """Widths of the autoencoder and weights of its losses."""

    block_out_channels: tuple[int, ...] = (16, 32, 48, 64)
    decoder_block_out_channels: tuple[int, ...] = (16, 32, 64, 96)
    latent_channels: int = 16
    edges: float = 1.0
    kl: float = 3e-4
    loop: LoopConfig


class FlowConfig(Strict):
    """Sizes of the prompt encoder and the MM-DiT, and the objective."""

    heads: int = 3
    head_dim: int = 64
    double_blocks: int = 2
    single_blocks: int = 6
    mlp_ratio: float = 3.0
    text_width: int = 128
    text_layers: int = 4
    text_mlp: int = 256
    prompt_tokens: int = 24
    auxiliary_block: int = 3
    auxiliary_weight: float = 0.5
    labels_weight: float = 0.3
    labels_until: float = 0.6
    caption_drop: float = 0.1
    paraphrase: float = 0.1
    short: float = 0.03
    box_drop: float = Field(0.07, description="share of a layout's boxes of which nothing is said")
    time_mean: float = 0.8
    time_std: float = 1.1
    clip_shift: float = Field(0.4, description="added to time_mean for clips")
    tasks: dict[Task, float] = Field({"picture": 1.0}, description="shares of the steps")
    clips_masked: float = Field(0.5, description="share of the video samples that draw a mask of VDT's mixture")
    speech_tokens: int = Field(2, gt=0, description="of each frame of somebody who speaks")
    speech_drop: float = Field(0.1, ge=0, lt=1, description="share of the samples that hear nothing")
    drop_tokens: float = Field(
        0.0, ge=0, lt=1, description="share of the tokens that deferred masking drops in batches of scenes"
    )
    other_sizes: float = 0.25
    other_sizes_from: float = 0.7
    pool: int = Field(0, ge=0, description="distinct samples of each task; 0 draws new ones for ever")
    compile: bool = True
    loop: LoopConfig


class WarpConfig(Strict):
    """Sizes of the mouth warp, see `MouthWarp`, and weights of its losses."""

    size: int = 48
    inner_width: int = 96
    blocks: int = 2
    edges: float = Field(1.0, description="weight of the L1 between differences of neighbouring pixels")
    loop: LoopConfig


class RunConfig(Strict):
    """A training run.

    `folder` holds the run's state and pictures; `checkpoint` is written when the last stage ends. With `start_from`
    (a checkpoint of the same sizes) its weights are where the run begins, and its autoencoder is kept as it is. `warp`
    is trained last, on a speech encoder that stands by then.
    """

    seed: int = 1
    folder: Path
    checkpoint: Path
    start_from: str | None = None
    export_ema: float | None = None
    mixture: Mixture = Mixture()
    placement: Literal["anywhere", "canonical"] = "canonical"
    autoencoder: AutoencoderConfig
    transformer: FlowConfig
    warp: WarpConfig | None = None

    @model_validator(mode="after")
    def _hears(self) -> RunConfig:
        """A warp needs a speech encoder."""
        if self.warp is not None and not any(self.transformer.tasks.get(task) for task in SPOKEN):
            raise ValueError("warp needs a speech encoder: give the transformer the task dubbing or portrait")
        return self
