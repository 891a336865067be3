"""What a training run is: one pydantic model per part, read from YAML. Unknown keys are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from .accelerators import (
    Accelerator,
    Accelerators,
    DeferredMasking,
    InternalGuidance,
    LabelAlignment,
    StratifiedTimes,
)
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
    faces: float = Field(0.0, ge=0, le=1, description="share of the batches that show people in place of scenes")
    further: Literal["nothing", "decoder", "all"] = Field(
        "nothing",
        description="what of the autoencoder of start_from is trained on; with its decoder alone all latents stay",
    )
    loop: LoopConfig


# What stood here before `accelerators` did, and says the same of four of them.
OLD_FIELDS = ("auxiliary_block", "auxiliary_weight", "labels_weight", "labels_until", "drop_tokens")


class FlowConfig(Strict):
    """Sizes of the prompt encoder and the MM-DiT, the objective, and what accelerates it.

    Without `accelerators` a run has those that the older fields describe: an auxiliary head and the renderer's labels
    at `auxiliary_block`, deferred masking of `drop_tokens` in stories, and stratified times.
    """

    heads: int = 3
    head_dim: int = 64
    double_blocks: int = 2
    single_blocks: int = 6
    mlp_ratio: float = 3.0
    text_width: int = 128
    text_layers: int = 4
    text_mlp: int = 256
    prompt_tokens: int = 24
    accelerators: tuple[Accelerators, ...] | None = Field(None, description="exactly these; [] is plain training")
    auxiliary_block: int = Field(3, ge=0)
    auxiliary_weight: float = Field(0.5, ge=0)
    labels_weight: float = Field(0.3, ge=0)
    labels_until: float = Field(0.6, ge=0, le=1)
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

    @property
    def chosen(self) -> tuple[Accelerator, ...]:
        """The run's accelerators, those of the older fields among them."""
        if self.accelerators is not None:
            return self.accelerators
        block = self.auxiliary_block
        stories = DeferredMasking(drop=self.drop_tokens, tasks=("scenes",))
        return (
            InternalGuidance(block=block, weight=self.auxiliary_weight),
            LabelAlignment(block=block, weight=self.labels_weight, until=self.labels_until),
            *((stories,) if self.drop_tokens else ()),
            StratifiedTimes(),
        )

    @model_validator(mode="after")
    def _agrees(self) -> FlowConfig:
        """One entry of each accelerator, blocks that are there, and nothing said twice."""
        twice = [name for name in OLD_FIELDS if name in self.model_fields_set]
        if self.accelerators is not None and twice:
            raise ValueError(f"expected either accelerators or {twice[0]}, got both; leave {twice[0]} out")
        names = [one.name for one in self.chosen]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"expected each accelerator once, got {name} {names.count(name)} times; keep one")
        blocks = self.double_blocks + self.single_blocks
        for one in self.chosen:
            for block in one.taps():
                if block >= blocks:
                    raise ValueError(
                        f"expected a block below {blocks} for {one.name}, got {block}; blocks are counted from 0"
                    )
        return self


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
    is trained last, on a speech encoder that stands by then, and from the warp of `start_from` where that has one.
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
    def _holds_out(self) -> RunConfig:
        """What a run is scored on are relations that it was not shown."""
        if self.mixture.related <= 0:
            raise ValueError("expected mixture.related above 0, got none; captions are held out by their relation")
        return self

    @model_validator(mode="after")
    def _goes_on(self) -> RunConfig:
        """What is trained on stands somewhere."""
        if self.autoencoder.further != "nothing" and not self.start_from:
            raise ValueError("autoencoder.further needs start_from: the checkpoint whose autoencoder is trained on")
        return self

    @model_validator(mode="after")
    def _hears(self) -> RunConfig:
        """A warp needs a speech encoder."""
        if self.warp is not None and not any(self.transformer.tasks.get(task) for task in SPOKEN):
            raise ValueError("warp needs a speech encoder: give the transformer the task dubbing or portrait")
        return self
