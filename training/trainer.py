"""One training loop for every stage: learning rates, EMA tracks, atomic checkpoints, exact resume, progress.

A stage is a module with a `source` of batches, `source(step)`, and a `forward(batch)` that returns named losses.
Batches and noise are pure functions of (seed, step), so weights, optimiser, EMA tracks and the step are the whole
state: a run that was stopped and resumed is bit for bit the run that was not, whoever draws the batches.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from models.precision import autocast

from .config import LoopConfig
from .muon import StackedMuon

AHEAD = 8  # batches that each worker draws ahead


class Stage(nn.Module):
    """What a stage gives the loop. `total` among the losses is what is minimised, the rest is reported."""

    name: str
    source: Callable[[int], dict[str, Tensor]]

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Losses of one batch."""
        raise NotImplementedError

    def matrices(self) -> list[nn.Parameter]:
        """Hidden matrices that Muon may orthogonalise; the others go to AdamW."""
        return []

    def report(self, step: int, folder: Path) -> dict[str, float]:
        """Pictures into `folder` and scores to log, from the EMA weights that the loop has put in place."""
        return {}


@dataclass(frozen=True)
class Batches(Dataset[dict[str, Tensor]]):
    """The batches of steps `first` to `last`, for torch's loader."""

    source: Callable[[int], dict[str, Tensor]]
    first: int
    last: int

    def __len__(self) -> int:
        return self.last - self.first

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return self.source(self.first + index)


@dataclass
class EMA:
    """Exponential moving averages of all trainable weights, one track a decay."""

    decays: tuple[float, ...]
    tracks: dict[str, list[Tensor]] = field(default_factory=dict)

    def update(self, weights: list[Tensor], step: int) -> None:
        """Move every track towards `weights`. Early steps use a shorter horizon, so that the start is forgotten."""
        for decay in self.decays:
            track = self.tracks.setdefault(str(decay), [w.detach().clone() for w in weights])
            rate = 1 - min(decay, (1 + step) / (10 + step))
            torch._foreach_lerp_(track, weights, rate)

    def swap(self, weights: list[nn.Parameter], decay: float) -> None:
        """Exchange the weights with a track; a second call puts them back."""
        if decay not in self.decays:
            raise ValueError(f"no EMA track {decay}; the run keeps {self.decays}")
        for weight, average in zip(weights, self.tracks[str(decay)], strict=True):
            kept = weight.data.clone()
            weight.data.copy_(average)
            average.copy_(kept)


class Schedule(Protocol):
    """How long a run is, and over what its rate rises and falls."""

    @property
    def steps(self) -> int:
        """In all."""

    @property
    def warmup(self) -> int:
        """Steps over which it rises."""

    @property
    def decay(self) -> float:
        """Share of the steps over which it falls."""


def learning_rate(step: int, config: Schedule) -> float:
    """Warm-up, a constant middle, then linear to zero over the last `decay` share of the steps. A factor of 0..1."""
    warm = min(1.0, (step + 1) / max(1, config.warmup))
    left = (config.steps - step) / max(1, config.steps * config.decay)
    return min(warm, max(0.0, min(1.0, left)))


class Trainer:
    """Runs one stage in `folder`: `folder/state` is the newest checkpoint, `folder/log.jsonl` its history."""

    def __init__(self, stage: Stage, config: LoopConfig, folder: Path, say: Callable[[str], None] = print) -> None:
        self.config, self.folder, self.say = config, folder, say
        self.accelerator = Accelerator(cpu=config.device == "cpu")
        self.stage = stage.to(self.accelerator.device)
        self.names, self.weights = map(
            list, zip(*((n, p) for n, p in stage.named_parameters() if p.requires_grad), strict=True)
        )
        matrices = [p for p in stage.matrices() if p.requires_grad] if config.muon else []
        rest = [p for p in self.weights if not any(p is m for m in matrices)]
        # torch's Muon takes matrices only; it sees a convolution as (out, in * height * width) over the same memory.
        self.flat = [(p, nn.Parameter(p.data.flatten(1))) for p in matrices]
        self.optimizers: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(rest, lr=config.lr, betas=(0.9, config.beta2), weight_decay=0.0)
        ]
        if matrices:
            self.optimizers.append(StackedMuon([flat for _, flat in self.flat], config.lr))
        self.ema = EMA(config.ema)
        self.step = 0
        self.seconds = 0.0

    # ------------------------------------------------------------ state

    def state(self) -> dict[str, Tensor]:
        """Every tensor that the next step depends on, flat."""
        tensors = {f"weight/{n}": p.detach() for n, p in zip(self.names, self.weights, strict=True)}
        tensors |= {f"buffer/{n}": b for n, b in self.stage.named_buffers()}
        for decay, track in self.ema.tracks.items():
            tensors |= {f"ema/{decay}/{n}": t for n, t in zip(self.names, track, strict=True)}
        for k, optimizer in enumerate(self.optimizers):
            for index, slots in optimizer.state_dict()["state"].items():
                tensors |= {f"optimizer/{k}/{index}/{slot}": torch.as_tensor(t) for slot, t in slots.items()}
        return tensors

    def save(self) -> None:
        """Write the state beside the old one and swap by rename: a kill leaves one whole checkpoint."""
        folder = self.folder / f"state-{self.step:08d}"
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {n: t.contiguous().clone() for n, t in self.state().items()}
        save_file(tensors, folder / "state.safetensors.part")
        os.replace(folder / "state.safetensors.part", folder / "state.safetensors")
        note = {"step": self.step, "seconds": self.seconds, "config": self.config.model_dump(mode="json")}
        atomic_text(self.folder / "state.json", json.dumps({"folder": folder.name, **note}, indent=1))
        for other in self.folder.glob("state-*"):
            if other != folder:  # older ones, and what a kill left of a later one
                shutil.rmtree(other)

    def load(self) -> bool:
        """Take up the newest checkpoint, if there is one."""
        pointer = self.folder / "state.json"
        if not pointer.exists():
            return False
        note = json.loads(pointer.read_text())
        tensors = load_file(self.folder / note["folder"] / "state.safetensors", device=str(self.accelerator.device))
        with torch.no_grad():
            for name, weight in zip(self.names, self.weights, strict=True):
                weight.copy_(tensors[f"weight/{name}"])
            for name, buffer in self.stage.named_buffers():
                buffer.copy_(tensors[f"buffer/{name}"])
        for decay in self.config.ema:
            if f"ema/{decay}/{self.names[0]}" in tensors:
                self.ema.tracks[str(decay)] = [tensors[f"ema/{decay}/{n}"].clone() for n in self.names]
        for k, optimizer in enumerate(self.optimizers):
            state: dict[int, dict[str, Tensor]] = {}
            for key in (key for key in tensors if key.startswith(f"optimizer/{k}/")):
                _, _, index, slot = key.split("/")
                state.setdefault(int(index), {})[slot] = tensors[key].clone()
            optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
        self.step, self.seconds = note["step"], note["seconds"]
        return True

    # ------------------------------------------------------------ loop

    @property
    def rate(self) -> float:
        """Factor of the learning rate, 0..1: that of the steps, or of the minutes where fewer of these are left."""
        factor, minutes = learning_rate(self.step, self.config), self.config.minutes
        if minutes is None:
            return factor
        left = (1 - self.seconds / (60 * minutes)) / max(1e-9, self.config.decay)
        return min(factor, max(0.0, left))

    @property
    def finished(self) -> bool:
        """Whether the run's steps are done, or its minutes gone."""
        minutes = self.config.minutes
        return self.step >= self.config.steps or (minutes is not None and self.seconds >= 60 * minutes)

    def run(self, stop_after: int | None = None) -> None:
        """Train to the last step, or `stop_after` further steps. Ctrl-C saves and returns."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.load():
            self.say(f"{self.stage.name}: goes on at step {self.step}")
        last = self.config.steps if stop_after is None else min(self.config.steps, self.step + stop_after)
        saved = logged = time.monotonic()
        recent: list[dict[str, float]] = []
        workers = self.config.workers
        batches = DataLoader(
            Batches(self.stage.source, self.step, last if not self.finished else self.step),
            batch_size=None,
            num_workers=workers,
            prefetch_factor=AHEAD if workers else None,
            pin_memory=self.accelerator.device.type == "cuda",
        )
        began = time.monotonic()
        try:
            for batch in batches:
                recent.append(self.one_step(batch))
                now = time.monotonic()
                self.seconds += now - began
                if now - logged > self.config.log_seconds or self.step == last or self.finished:
                    self.log(recent)
                    recent, logged = [], now
                if self.config.report_every and self.step % self.config.report_every == 0:
                    self.report()
                if time.monotonic() - saved > self.config.save_seconds:
                    self.save()
                    saved = time.monotonic()
                if self.finished:
                    break
                began = time.monotonic()
        except KeyboardInterrupt:
            self.say(f"{self.stage.name}: stopped at step {self.step}, saved")
        self.save()

    def one_step(self, batch: dict[str, Any]) -> dict[str, float]:
        """One optimiser step; returns the losses."""
        batch = {
            name: value.to(self.accelerator.device, non_blocking=True) if isinstance(value, Tensor) else value
            for name, value in batch.items()
        }
        factor = self.rate
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self.config.lr * factor
        # Not accelerate's mixed precision, which is one setting a process: stages of a run may differ.
        with autocast(self.accelerator.device, self.config.bf16):
            losses = self.stage(batch)
        self.accelerator.backward(losses["total"])
        norm = torch.nn.utils.clip_grad_norm_(self.weights, self.config.clip)
        for weight, flat in self.flat:
            flat.grad = None if weight.grad is None else weight.grad.flatten(1)
        for optimizer in self.optimizers:
            optimizer.step()
        for weight in self.weights:
            weight.grad = None
        self.step += 1
        self.ema.update([p.data for p in self.weights], self.step)
        # In one piece: every number that is fetched by itself waits for the GPU once more.
        numbers = torch.stack([*(loss.detach().float() for loss in losses.values()), norm.float()]).tolist()
        values = dict(zip((*losses, "norm"), numbers, strict=True))
        if not math.isfinite(values["total"]):
            raise FloatingPointError(
                f"{self.stage.name}: the loss is {values['total']} at step {self.step}; the last checkpoint stays"
            )
        return values

    def report(self) -> None:
        """Score and draw with the EMA weights (the first track)."""
        self.ema.swap(self.weights, self.config.ema[0])
        self.stage.eval()
        try:
            scores = self.stage.report(self.step, self.folder)
        finally:
            self.stage.train()
            self.ema.swap(self.weights, self.config.ema[0])
        if scores:
            self.write({"step": self.step, "seconds": round(self.seconds), **scores})

    def log(self, recent: list[dict[str, float]]) -> None:
        """Means over the last seconds, samples a second and the time left."""
        columns: dict[str, list[float]] = {}
        for losses in recent:  # one that was switched off in between is the mean of the steps that had it
            for name, value in losses.items():
                columns.setdefault(name, []).append(value)
        mean = {name: sum(values) / len(values) for name, values in columns.items()}
        rate = self.step / max(self.seconds, 1e-9)
        left = (self.config.steps - self.step) / max(rate, 1e-9)
        if self.config.minutes is not None:
            left = min(left, 60 * self.config.minutes - self.seconds)
        row: dict[str, Any] = {
            "step": self.step,
            "seconds": round(self.seconds),
            "lr": self.rate,
        }
        row |= {name: round(value, 5) for name, value in mean.items()}
        row |= {"samples_per_second": round(rate * self.config.batch, 1), "minutes_left": round(left / 60, 1)}
        self.write(row)

    def write(self, row: dict[str, Any]) -> None:
        """One line to the terminal and to log.jsonl."""
        self.say(f"{self.stage.name}: " + "  ".join(f"{name} {value}" for name, value in row.items()))
        with (self.folder / "log.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")


def atomic_text(path: Path, text: str) -> None:
    """Write a small file so that readers see the old one or the new one."""
    part = path.with_name(path.name + ".part")
    with part.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)
