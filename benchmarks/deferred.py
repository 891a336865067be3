"""Deferred masking against dense training on stories, at equal wall-clock: `python -m benchmarks.deferred`.

The same stage, weights, batches and optimiser twice, in turns of a minute so that both meet the machine's moods: once
with all tokens in every block, once with three in four dropped after the double blocks (MicroDiT, 2407.15811). Clean
tokens come from a store, so that rendering and encoding count for neither. The held-out loss is dense for both.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import diffusers
import torch

from models.checkpoint import describe
from models.precision import autocast, fast_bfloat16
from training.config import FlowConfig, LoopConfig
from training.flow import FlowStage
from training.forms import CLIP_FRAMES, CLIP_HOME, Form
from training.main import autoencoder_of, take_weights
from training.masks import masked_mean
from training.papercut import World
from training.trainer import Trainer

POOL = 96
FORM = Form("scenes", *CLIP_HOME, (CLIP_FRAMES,) * 3)


def build(drop: float, folder: Path, checkpoint: str, lr: float) -> Trainer:
    """A trainer that starts from the checkpoint and trains on stories alone."""
    loop = LoopConfig(steps=10**6, batch=64, lr=lr, muon=True, warmup=20, report_every=0, save_seconds=1e9)
    config = FlowConfig(tasks={"scenes": 1.0}, pool=POOL, drop_tokens=drop, other_sizes=0.0, loop=loop)
    stage = FlowStage(config, autoencoder_of(checkpoint), World(seed=5, placement="canonical"), folder)
    take_weights(stage, checkpoint)
    stage.source.form = lambda step: FORM  # type: ignore[method-assign]
    return Trainer(stage, loop, folder / f"drop-{drop}", lambda text: None)


def fixed_batch(trainer: Trainer) -> dict[str, Any]:
    """Stories of another seed, with fixed noise, times and masks."""
    stage: Any = trainer.stage
    other = FlowStage(
        stage.config.model_copy(update={"pool": 0, "compile": False}),
        stage.frozen["codec"],
        World(seed=6, split="unseen", placement="canonical"),
    )
    other.source.form = lambda step: FORM  # type: ignore[method-assign]
    return other.source(0)


@torch.no_grad()
def held_out(trainer: Trainer, batch: dict[str, Any]) -> float:
    """Dense velocity loss over what is made."""
    stage: Any = trainer.stage
    plan = FORM.plan(stage.config.prompt_tokens)
    clean = stage.encoded(batch)  # not `clean`, which would put them into the store that is trained on
    given = batch.get("given", torch.zeros(len(clean), plan.tokens, dtype=torch.bool))
    made = ~given[:, plan.context_tokens :]
    times = batch["times"][:, None] * made
    with autocast(torch.device("cpu")), torch.compiler.set_stance("force_eager"):
        context = stage.prompts.encode(batch["ids"], batch["mask"]).reshape(len(clean), plan.context_tokens, -1)
        noisy = torch.lerp(clean, batch["noise"], times[..., None].expand_as(clean))
        out = stage.transformer(noisy, context, batch["times"], plan=plan, given=given).sample.float()
    return float(masked_mean((out - (batch["noise"] - clean)).square().mean(-1), made).mean())


def main() -> None:
    """Train both for as long, and print samples a second and held-out losses."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--minutes", type=float, default=4.0, help="of training for each of the two")
    parser.add_argument("--drop", type=float, default=0.75)
    parser.add_argument("--lr", type=float, default=5e-4)
    parser.add_argument("--checkpoint", default="papercut")
    options = parser.parse_args()
    describe(options.checkpoint)
    threads = torch.get_num_threads()
    arithmetic = "bfloat16 autocast" if fast_bfloat16("cpu") else "float32"
    print(f"torch {torch.__version__}, diffusers {diffusers.__version__}, {threads} threads, {arithmetic}")
    with tempfile.TemporaryDirectory() as scratch:
        runs = {drop: build(drop, Path(scratch), options.checkpoint, options.lr) for drop in (0.0, options.drop)}
        batch = fixed_batch(runs[0.0])
        losses: dict[float, list[float]] = {}
        samples, spent = dict.fromkeys(runs, 0), dict.fromkeys(runs, 0.0)
        for drop, trainer in runs.items():
            for step in range(POOL):  # fills the store and compiles; not counted
                stage = trainer.stage
                assert isinstance(stage, FlowStage)
                stage.clean(stage.source(step))
            losses[drop] = [held_out(trainer, batch)]
            for step in range(3):
                trainer.one_step(trainer.stage.source(step))
        while min(spent.values()) < options.minutes * 60:
            for drop, trainer in runs.items():
                began = time.monotonic()
                while time.monotonic() - began < 60:
                    drawn = trainer.stage.source(trainer.step)
                    trainer.one_step(drawn)
                    samples[drop] += len(drawn["times"])
                spent[drop] += time.monotonic() - began
                losses[drop].append(held_out(trainer, batch))
        plan = FORM.plan(24)
        size = f"{16 * FORM.w}x{16 * FORM.h}"
        print(f"stories of 3 scenes of {CLIP_FRAMES} frames at {size}: {plan.tokens} tokens, {plan.pairs:,} pairs")
        for drop in runs:
            rate = samples[drop] / spent[drop]
            told = " ".join(f"{loss:.4f}" for loss in losses[drop])
            print(f"drop {drop:.0%}: {rate:.1f} stories a second; held-out loss at the start and a minute each: {told}")
        ratio = (samples[options.drop] / spent[options.drop]) / (samples[0.0] / spent[0.0])
        print(f"samples a second, deferred against dense: {ratio:.2f}x")
        print(
            f"held-out loss at equal wall-clock: deferred {losses[options.drop][-1]:.4f}, dense {losses[0.0][-1]:.4f}"
        )


if __name__ == "__main__":
    main()
