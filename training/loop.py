"""The loop of a stage as configuration. Apart from `config.py`, so that reading a run file does not load torch."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Strict(BaseModel):
    """Unknown keys and values out of range are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class LoopConfig(Strict):
    """The loop of one stage."""

    steps: int = Field(gt=0)
    minutes: float | None = Field(
        None, gt=0, description="after which the run is over, whatever steps are left; the rate falls with them"
    )
    batch: int = Field(gt=0, description="samples a step")
    lr: float = Field(1e-3, gt=0)
    beta2: float = 0.99
    muon: bool = False
    warmup: int = 200
    decay: float = Field(0.3, ge=0, le=1, description="share of the steps over which the rate falls to zero")
    clip: float = 1.0
    ema: tuple[float, ...] = (0.998, 0.9995)
    bf16: bool | None = Field(None, description="arithmetic in bfloat16; null: where the machine is fast in it")
    device: Literal["auto", "cpu"] = "auto"
    workers: int = Field(0, ge=0, description="processes that draw batches ahead; 0 draws in the training process")
    log_seconds: float = 20.0
    save_seconds: float = 180.0
    report_every: int = Field(1000, description="steps between reports; 0 never")
