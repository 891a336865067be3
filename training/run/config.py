"""The sections of a run on own pictures beside `data:` and `train:`. Read without torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from training.loop import Strict


class LossConfig(Strict):
    """What is minimised: the squared distance of velocities at logit-normal times (SD3, 2403.03206)."""

    time_mean: float = Field(
        0.8, ge=-5, le=5, description="mean of the logit of the times; above 0 nearer to noise. Papercut has 0.8"
    )  # fmt: skip
    time_std: float = Field(1.0, gt=0, le=5, description="its standard deviation")
    outside: float = Field(0.0, ge=0, le=1, description="weight of the loss where a mask is black; 1 ignores masks")
    prior: float = Field(
        0.0, ge=0, le=10, allow_inf_nan=False,
        description="weight, where a mask is black, of the distance to what the untrained model predicts there",
    )  # fmt: skip


class StepsConfig(Strict):
    """Steps, batches and the optimiser."""

    steps: int = Field(gt=0, description="optimiser steps; the only field of this section that a later start may raise")
    batch: int = Field(gt=0, description="samples a batch, of all processes together; a clip counts as its frames")
    accumulate: int = Field(1, ge=1, le=1024, description="batches a step, each of one bucket")
    lr: float = Field(4e-4, gt=0, le=1, description="learning rate after the warm-up")
    warmup: int = Field(20, ge=0, description="steps over which the rate rises")
    decay: float = Field(0.3, ge=0, le=1, description="share of the steps over which it falls to zero at the end")
    optimizer: Literal["adamw", "adamw8bit"] = Field(
        "adamw", description="adamw8bit needs bitsandbytes or torchao, and is tried before the run begins"
    )
    beta1: float = Field(0.9, ge=0, lt=1, description="AdamW's decay of the mean of the gradients")
    beta2: float = Field(0.99, ge=0, lt=1, description="AdamW's decay of the mean of their squares")
    weight_decay: float = Field(0.0, ge=0, le=1, description="AdamW's")
    clip: float = Field(1.0, gt=0, description="the largest norm that the gradients of a step may have")
    ema: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = Field(
        (0.99,), description="decays of the moving averages of the weights; samples and result are of the first"
    )
    precision: Literal["auto", "bfloat16", "float32"] = Field(
        "auto",
        description="of the arithmetic, auto is bfloat16 where the machine is fast in it; what is trained is kept in "
        "float32",
    )
    checkpointing: bool = Field(
        False, description="computes each block again in the backward pass: less memory, a third more arithmetic"
    )
    compile: bool = Field(
        False,
        description="compiles the blocks, once for each bucket: minutes at the first start, faster steps after",
    )
    shard: bool = Field(
        False, description="every process holds a part of the weights and of the optimiser's state (FSDP2), not all"
    )
    device: Literal["auto", "cpu"] = Field("auto", description="auto takes a GPU where there is one")
    workers: int = Field(0, ge=0, description="processes that read samples ahead; 0 reads them in the run's own")


class KeepConfig(Strict):
    """When a checkpoint is written, and which stay. One is always written at the end and at Ctrl-C."""

    every: int = Field(0, ge=0, description="steps from one checkpoint to the next; 0 goes by time alone")
    seconds: float = Field(300.0, ge=1, description="the longest time without one")
    last: int = Field(2, ge=1, description="how many of the newest stay")
    best: bool = Field(True, description="whether the one with the lowest held-out loss is written and stays too")


class SamplesConfig(Strict):
    """Pictures that are drawn on the way, a row a prompt and a column a seed."""

    prompts: tuple[str, ...] = Field((), description="what is drawn; left out, nothing")
    seeds: tuple[Annotated[int, Field(ge=0, lt=2**63)], ...] = Field((1, 2), min_length=1, description="of the noise")
    every: int = Field(100, ge=1, description="steps from one sheet to the next; there is one before the first step")
    steps: int = Field(24, ge=1, le=1000, description="sampling steps")
    guidance: float = Field(2.0, ge=1, le=100, description="as in a job")
    size: tuple[int, int] | None = Field(None, description="width and height; left out, a square of data.resolution")


class HeldOutConfig(Strict):
    """The loss on examples that are not trained on, always with the same noises and times."""

    share: float = Field(0.1, ge=0, le=0.5, description="share of the examples that are kept apart, rounded")
    examples: int = Field(32, ge=1, description="how many of them are looked at")
    times: int = Field(4, ge=1, le=64, description="times for each, spread evenly")
    every: int = Field(100, ge=1, description="steps from one look to the next")


class LogConfig(Strict):
    """What is written down."""

    every: int = Field(10, ge=1, description="steps that a line of log.jsonl is the mean of")
    tensorboard: bool = Field(
        False, description="also for TensorBoard, in `tensorboard` in the run's folder; needs the extra `tensorboard`"
    )
