"""A run on own pictures against diffusers' own recipe for the same transformer: `python -m benchmarks.finetune`.

Twenty Papercut pictures with their captions; LoRA of the same rank on the same layers of the embedded checkpoint, the
same batch, rate and AdamW, bfloat16 (float32 on machines that are slow in it), latents and prompts from a cache.
`stock.py` says what a step of the recipe does; ours is the run that `diorama train` makes (`training/run/`), with its
moving average and its log.

With `loop.compile` and without, as the run file may say.

First both are given the same weights, order, noise and times, and their losses are compared step by step. Then they
train in turns, each as it does by itself, and samples a second are compared. What is written at a stop counts for
neither.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import accelerate
import diffusers
import peft
import torch
from accelerate import Accelerator
from diffusers import Flux2KleinPipeline
from PIL import Image

from benchmarks.stock import MODULES, Kept, Settings, StockRecipe, latent_statistics
from models.checkpoint import describe
from models.precision import fast_bfloat16
from training.data.dataset import Dataset
from training.data.order import Item
from training.drawing import render
from training.papercut import World
from training.run.inputs import Batches, Inputs
from training.run.interrupts import Interrupts
from training.run.loop import Run
from training.tune import TuneConfig

SIDE = 128
GOAL_RATIO = 1.5
STOCK = "diffusers' recipe"


def pictures(folder: Path, count: int) -> None:
    """So many Papercut pictures, each with its caption beside it."""
    folder.mkdir()
    world = World(seed=11, placement="canonical")
    scenes = [world.scene(number) for number in range(count)]
    drawn = (render(scenes, SIDE, SIDE, layered=False).picture * 255).round().byte().permute(0, 2, 3, 1).numpy()
    for number, (scene, pixels) in enumerate(zip(scenes, drawn, strict=True)):
        Image.fromarray(pixels[..., :3]).save(folder / f"{number:02d}.png")
        (folder / f"{number:02d}.txt").write_text(scene.caption)


def ours(top: Path, name: str, settings: Settings, log_every: int, accelerator: Accelerator, **more: Any) -> Run:
    """Our run, with the recipe's settings and what it does by itself beside them."""
    loop = {
        "steps": 10**6, "batch": settings.batch, "lr": settings.lr, "warmup": 0, "decay": 0, "beta1": settings.beta1,
        "beta2": settings.beta2, "weight_decay": settings.weight_decay, "clip": settings.clip, **more,
    }  # fmt: skip
    config = TuneConfig.model_validate({
        "seed": settings.seed, "folder": top / name,
        "data": {
            "sources": [{"path": top / "pictures"}], "resolution": SIDE, "caption_drop": 0, "cache": top / "cache",
        },
        "train": {"rank": settings.rank, "modules": MODULES},
        "loop": loop, "held_out": {"share": 0}, "log": {"every": log_every}, "keep": {"seconds": 10**6},
    })  # fmt: skip
    return Run(config, Dataset.open(config.data, settings.batch, settings.seed), accelerator)


def kept(run: Run) -> Kept:
    """What the recipe keeps of the same pictures: our latents as the autoencoder gives them, and our prompts."""
    mean, std = (table.to(run.device) for table in latent_statistics(run.description.folder))
    data = run.store.data
    pixels, latents, prompts = [], [], []
    for number, (example, bucket) in enumerate(zip(data.examples, data.buckets, strict=True)):
        item = Item(number, "", 1.0, 0)
        picture = torch.from_numpy(data.load(item, bucket).frames[0].copy())
        pixels.append(picture[..., :3].permute(2, 0, 1).float() / 127.5 - 1)
        tokens = run.store.clean(item).T.unflatten(1, (bucket.h, bucket.w))[None].to(run.device)
        latents.append(Flux2KleinPipeline._unpatchify_latents(tokens * std + mean))
        prompts.append(run.store.prompt(example.captions[0])[0][None].to(run.device))
    return Kept(pixels, latents, prompts)


def losses(run: Run, recipe: StockRecipe, count: int) -> list[tuple[float, float]]:
    """Losses of both, step by step, from the same weights and with the same order, noise and times."""
    names = {
        name.removeprefix("transformer."): weight.detach().clone() for name, weight in run.attached.trainable.items()
    }
    recipe.take_weights(names)
    batches = Batches(run.store, run.config.loss, 1, 0, count)
    theirs = []
    for step in range(count):
        found = batches[step]
        assert isinstance(found, Inputs)
        found = found.to(run.device)
        theirs.append(recipe.step([item.example for item in run.order.at(step).items], found.noise, found.times))
    run.go(Interrupts(), count)
    rows = [json.loads(line) for line in (run.config.folder / "log.jsonl").read_text().splitlines()]
    return list(zip([row["loss"] for row in rows if "loss" in row], theirs, strict=True))


def rates(runs: Mapping[str, Run], recipe: StockRecipe, steps: int, turns: int) -> dict[str, list[float]]:
    """Samples a second of each in each turn, after a turn that counts for nothing: in it blocks are compiled."""
    found: dict[str, list[float]] = {}
    samples = steps * recipe.settings.batch
    for _ in range(turns + 1):
        for name, run in runs.items():
            before = run.seconds
            run.go(Interrupts(), steps)
            found.setdefault(name, []).append(samples / (run.seconds - before))
        began = time.monotonic()
        recipe.steps(steps)
        found.setdefault(STOCK, []).append(samples / (time.monotonic() - began))
    return {name: each[1:] for name, each in found.items()}


def main() -> None:
    """Compare losses, then speed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--pictures", type=int, default=20)
    parser.add_argument("--batch", type=int, default=Settings.batch, help="the example's own is 4")
    parser.add_argument("--rank", type=int, default=Settings.rank, help="the example's own is 4")
    parser.add_argument("--check", type=int, default=40, help="steps whose losses are compared")
    parser.add_argument("--steps", type=int, default=60, help="of a turn")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--plain", action="store_true", help="leave the compiled run out, which needs a compiler")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    settings = Settings(options.batch, options.rank)
    folder = describe("papercut").folder
    half = fast_bfloat16("cuda" if torch.cuda.is_available() else "cpu")
    accelerator = Accelerator(cpu=not torch.cuda.is_available(), mixed_precision="bf16" if half else "no")
    with tempfile.TemporaryDirectory() as scratch:
        top = Path(scratch)
        pictures(top / "pictures", options.pictures)
        with contextlib.redirect_stdout(io.StringIO()):  # our run tells of each of its steps
            checked = ours(top, "checked", settings, 1, accelerator)
            runs = {"ours": ours(top, "plain", settings, 10, accelerator)}
            if not options.plain:
                runs["ours, compiled"] = ours(top, "compiled", settings, 10, accelerator, compile=True)
            data = kept(checked)
            pairs = losses(checked, StockRecipe(folder, data, settings, accelerator), options.check)
            speeds = rates(runs, StockRecipe(folder, data, settings, accelerator), options.steps, options.turns)
        about, prompt = checked.store.data.buckets[0], checked.description.prompt_tokens
        trained = sum(each.numel() for each in checked.attached.trainable.values())
    print(
        f"torch {torch.__version__}, diffusers {diffusers.__version__}, peft {peft.__version__}, accelerate"
        f" {accelerate.__version__}, Python {platform.python_version()}, {checked.device.type},"
        f" {options.threads} threads"
    )
    print(
        f"{options.pictures} pictures of {about} ({about.tokens} tokens) with prompts of {prompt}; batch"
        f" {settings.batch}, LoRA of rank {settings.rank}, {trained:,} weights,"
        f" {'bfloat16' if half else 'float32, for this machine is slow in bfloat16'}, AdamW, rate {settings.lr}"
    )
    gap = max(abs(one - other) for one, other in pairs)
    mean = statistics.mean(other for _, other in pairs)
    print(
        f"losses of {len(pairs)} steps from the same weights, order, noise and times: {mean:.4f} in the mean, differ by"
        f" at most {gap:.1e}, {gap / mean:.1%} of that"
    )
    for name, found in speeds.items():
        told = " ".join(f"{rate:.1f}" for rate in found)
        print(f"{name}: {statistics.median(found):.1f} samples a second in the median of turns ({told})")
    for name in runs:
        ratio = statistics.median(x / y for x, y in zip(speeds[name], speeds[STOCK], strict=True))
        met = "met" if ratio >= GOAL_RATIO else "NOT met"
        print(f"samples a second, {name} against {STOCK}: {ratio:.2f}x; goal {GOAL_RATIO}x: {met}")


if __name__ == "__main__":
    main()
