"""What `diorama ablate FILE` does: variants of a run, measured at equal steps and at equal wall-clock.

For each seed the first variant is trained for the steps of its run. Every other one is trained for as many steps and
for as many seconds as that took, and is measured when it gets to either. A file for each of these trainings is written
when it ends, so what is done is not done again.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any

import diffusers
import torch
import yaml
from pydantic import Field, ValidationError, model_validator

from models.checkpoint import CheckpointError, describe
from models.codec import Codec
from pipelines.files.atomic import write_bytes
from pipelines.files.yamlfile import documents
from pipelines.refusal import Refusal, Refused, field_of, reason_of

from .config import RunConfig
from .evaluate import evaluate
from .flow import FlowStage
from .judging import ATTRIBUTES
from .loop import Strict
from .main import autoencoder_of, take_text_encoder, take_weights
from .papercut import World
from .trainer import Trainer

UNTIMED = 3  # first steps, which compile and warm up: trained, and in no one's seconds
GUIDED = 1.4  # the scale of Internal Guidance that its paper renders with
POINTS = ("equal_steps", "equal_seconds")

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,40}$")]
Cell = dict[str, Any]  # of one variant and seed: steps, seconds, samples and what was measured, as its file has it


class Ablation(Strict):
    """Variants of a run that differ in a few fields."""

    run: Path = Field(description="the run file that the variants change, seen from the folder of this one")
    folder: Path = Field(description="where results and clean tokens are kept")
    autoencoder: str = Field("papercut", description="the checkpoint whose autoencoder all use")
    text_encoder: str | None = Field(
        None, description="the checkpoint whose text encoder all use as it is; left out, each trains its own"
    )
    seeds: tuple[int, ...] = Field((1, 2), min_length=1, description="seeds of the weights, the samples and the noise")
    pictures: int = Field(64, gt=0, description="unseen captions whose pictures the parser reads, each time")
    change: dict[str, Any] = Field({}, description="what every variant changes of the run; null takes a field away")
    variants: dict[Name, dict[str, Any]] = Field(
        min_length=1, description="what each changes beside that; the first is what the others are compared with"
    )

    @model_validator(mode="after")
    def _two_are_two(self) -> Ablation:
        """Each seed once."""
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"expected different seeds, got {list(self.seeds)}; one training is no second opinion")
        return self


def ablate(path: Path | str, *, device: str = "auto", say: Callable[[str], None] = print) -> int:
    """Measure what an ablation file describes, as far as that is not done, and print and write the table.

    Args:
        path: the file, see `Ablation`.
        device: auto | cpu.
        say: takes what is told on the way and the table.

    Returns:
        0, or 1 where a variant's loss was not a number.

    Raises:
        Refused: not an ablation, or a variant is not a run.
    """
    ablation, runs = read_ablation(Path(path))
    try:
        ablation.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Refused(str(path), 0, "folder", f"can not be made: {error.strerror}; choose another") from None
    cells: dict[str, dict[int, Cell]] = {name: {} for name in runs}
    failed = False
    for seed in ablation.seeds:
        budget: float | None = None
        for name, run in runs.items():
            own = run.model_copy(update={"seed": seed})
            try:
                cell = _kept(ablation, name, own, device, budget, say)
            except FloatingPointError as error:
                say(f"{name}, seed {seed}: {error}")
                failed = True
                if budget is None:  # there is nothing to compare with
                    break
                continue
            cells[name][seed] = cell
            budget = cell["seconds"] if budget is None else budget
    cuda = device != "cpu" and torch.cuda.is_available()
    report = {
        "ablation": ablation.model_dump(mode="json"),
        "versions": {"torch": torch.__version__, "diffusers": diffusers.__version__},
        "machine": {"device": torch.cuda.get_device_name() if cuda else "cpu", "threads": torch.get_num_threads()},
        "cells": cells,
        "rows": rows(cells),
    }
    write_bytes(ablation.folder / "table.json", (json.dumps(report, indent=1) + "\n").encode())
    for line in table(report["rows"]):
        say(line)
    return 1 if failed else 0


# ------------------------------------------------------------ reading


def read_ablation(path: Path) -> tuple[Ablation, dict[str, RunConfig]]:
    """The ablation that a YAML file describes and the runs of its variants, by name.

    Raises:
        Refused: a file can not be read, is not an ablation, or a variant is not a run on pictures.
    """
    file = str(path)
    try:
        found = list(documents(path.read_text(encoding="utf-8-sig")))
        if len(found) != 1:
            raise Refusal("", f"expected one document, got {len(found)}; a file describes one ablation")
        ablation = Ablation.model_validate(found[0])
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(file, 0, "", f"can not be read: {error}") from None
    except Refusal as refusal:
        raise Refused(file, 0, refusal.field, refusal.reason) from None
    except ValidationError as error:
        raise Refused(file, 0, *_told(error)) from None
    try:
        base = yaml.safe_load((path.parent / ablation.run).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise Refused(file, 0, "run", f"can not be read: {' '.join(str(error).split())}") from None
    if not isinstance(base, dict):
        raise Refused(file, 0, "run", f"expected the file of a run, got {ablation.run}, which is none")
    runs = {}
    for name, change in ablation.variants.items():
        try:
            runs[name] = RunConfig.model_validate(patched(patched(base, ablation.change), change))
        except ValidationError as error:
            told = ": ".join(part for part in _told(error) if part)
            raise Refused(file, 0, f"variants.{name}", f"makes no run, {told}") from None
        if not runs[name].transformer.tasks.get("picture"):
            raise Refused(file, 0, f"variants.{name}", "expected the task picture, which is what is measured; add it")
        if (steps := runs[name].transformer.loop.steps) <= UNTIMED:
            raise Refused(file, 0, f"variants.{name}", f"expected more than {UNTIMED} steps, got {steps}; give more")
    named = [("autoencoder", ablation.autoencoder), ("text_encoder", ablation.text_encoder)]
    for field, checkpoint in (*named, *(("run", run.start_from) for run in runs.values())):
        try:
            if checkpoint:
                describe(checkpoint)
        except CheckpointError as error:
            raise Refused(file, 0, field, str(error)) from None
    return ablation, runs


def patched(value: Any, change: Mapping[str, Any]) -> dict[str, Any]:
    """`value` with a merge patch (RFC 7396): mappings are merged, null takes a key away, all else replaces."""
    result = dict(value) if isinstance(value, Mapping) else {}
    for key, new in change.items():
        if isinstance(new, Mapping):
            result[key] = patched(result.get(key), new)
        elif new is None:
            result.pop(key, None)
        else:
            result[key] = new
    return result


def _told(error: ValidationError) -> tuple[str, str]:
    """Where and what the most telling finding of pydantic is."""
    findings = sorted(error.errors(include_url=False), key=lambda each: each["type"] != "extra_forbidden")
    kind, place, context = findings[0]["type"], findings[0]["loc"], findings[0].get("ctx", {})
    return field_of(place), {
        "extra_forbidden": "unknown key; docs/training.md names those that there are",
        "missing": "is missing",
        "union_tag_invalid": f"expected one of {context.get('expected_tags')}, got {context.get('tag')!r}",
        "union_tag_not_found": "expected an accelerator with its name, got one without; add name",
    }.get(kind) or reason_of(kind, findings[0]["msg"], findings[0]["input"], context)


# ------------------------------------------------------------ measuring


def _kept(
    ablation: Ablation, name: str, run: RunConfig, device: str, budget: float | None, say: Callable[[str], None]
) -> Cell:
    """The cell of a variant and a seed, from its file where that is of the same run, autoencoder and seconds."""
    weights = _hash(describe(run.start_from or ablation.autoencoder).folder / "vae")
    told = [run.model_dump(mode="json", exclude={"folder", "checkpoint"}), weights, ablation.pictures, budget]
    if ablation.text_encoder:
        told.append(_hash(describe(ablation.text_encoder).folder / "text_encoder"))
    key = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
    path = ablation.folder / f"{name}-seed-{run.seed}.json"
    if path.exists():
        cell: Cell = json.loads(path.read_text())
        if cell["key"] == key:
            say(f"{name}, seed {run.seed}: done before")
            return cell
    tokens = ablation.folder / f"tokens-{weights[:12]}"
    codec = autoencoder_of(run.start_from or ablation.autoencoder)
    cell = {"key": key, **measured(run, codec, tokens, ablation.pictures, device, budget, ablation.text_encoder)}
    write_bytes(path, (json.dumps(cell, indent=1) + "\n").encode())
    now = cell["equal_steps"]
    say(
        f"{name}, seed {run.seed}: {cell['samples_per_second']} samples a second, "
        f"at {now['step']} steps held-out loss {now['held_out']}, parser {now['parser']}"
    )
    return cell


def _hash(folder: Path) -> str:
    """Of the weights in a folder."""
    return hashlib.sha256(b"".join(file.read_bytes() for file in sorted(folder.glob("*.safetensors")))).hexdigest()


def measured(
    run: RunConfig,
    codec: Codec,
    scratch: Path,
    pictures: int,
    device: str = "auto",
    budget: float | None = None,
    text_encoder: str | None = None,
) -> Cell:
    """Train a run for its steps and for `budget` seconds, and measure it at both.

    The learning rate stays after its warm-up, so that no point is nearer to a schedule's end than another.

    Args:
        run: what is trained; its loop's steps are the equal steps.
        codec: of the pictures.
        scratch: folder of the store of clean tokens, where the run has a pool.
        pictures: how many the parser reads.
        device: auto | cpu.
        budget: seconds; None for those that the steps take.
        text_encoder: the checkpoint whose text encoder is used as it is; None trains one.

    Raises:
        FloatingPointError: the loss is not a number.
        Refusal: the text encoder has other sizes than the run's.
    """
    torch.manual_seed(run.seed)
    steps = run.transformer.loop.steps
    world = World(seed=run.seed, mixture=run.mixture, placement=run.placement)
    stage = FlowStage(run.transformer, codec, world, scratch)
    if run.start_from:
        take_weights(stage, run.start_from)
    if text_encoder:
        try:
            take_text_encoder(stage, text_encoder)
        except (RuntimeError, IndexError):
            other = "has other sizes than those that the run asks for; take another, or leave it out"
            raise Refusal("text_encoder", other) from None
        stage.text.requires_grad_(False)
    endless: dict[str, Any] = {"steps": 10**9, "decay": 0.0} | ({"device": "cpu"} if device == "cpu" else {})
    trainer = Trainer(stage, run.transformer.loop.model_copy(update=endless), scratch, lambda text: None)
    codec.vae.to(trainer.accelerator.device)
    _fill(stage, steps)
    seconds, samples, found = 0.0, 0, Cell()
    while len(found) < len(POINTS):
        began = time.monotonic()
        batch = stage.source(trainer.step)
        trainer.one_step(batch)
        if trainer.step > UNTIMED:
            seconds += time.monotonic() - began
            samples += len(batch["times"])
        through = trainer.step >= steps
        there = (through, through if budget is None else seconds >= budget)
        reached = [point for point, now in zip(POINTS, there, strict=True) if now and point not in found]
        if reached:
            measure = {"step": trainer.step, **_measure(trainer, stage, pictures)}
            found |= {point: measure for point in reached}
    return {"seconds": seconds, "samples_per_second": round(samples / max(seconds, 1e-9), 2), **found}


@torch.no_grad()
def _fill(stage: FlowStage, steps: int) -> None:
    """Draw and encode what the store has not, so that no variant pays for the others' tokens."""
    source, pool = stage.source, stage.config.pool
    for form in {source.form(step) for step in range(steps)}:
        if source.store(form) is not None:
            for first in range(0, pool, 64):
                batch = source.batch(form, list(range(first, min(first + 64, pool))), 0)
                if "clean" not in batch:
                    device = next(stage.parameters()).device
                    stage.clean({k: v.to(device) if isinstance(v, torch.Tensor) else v for k, v in batch.items()})


def _measure(trainer: Trainer, stage: FlowStage, pictures: int) -> dict[str, Any]:
    """Held-out loss and the parser's rates on unseen captions, by the first track of moving averages."""
    world = replace(stage.world, seed=99, split="unseen")
    scenes = [world.scene(i) for i in range(pictures)]
    trainer.ema.swap(trainer.weights, trainer.config.ema[0])
    stage.eval()
    try:
        held_out = fmean(stage.held_out_loss().values())
        scored = {"": evaluate(lambda told: stage.draw(told)[:, 0].cpu(), scenes)}
        if stage.auxiliary is not None:
            scored["guided_"] = evaluate(lambda told: stage.draw(told, internal=GUIDED)[:, 0].cpu(), scenes)
    finally:
        stage.train()
        trainer.ema.swap(trainer.weights, trainer.config.ema[0])
    parser = {f"{kind}parser": round(fmean(s.rates[name] for name in ATTRIBUTES), 4) for kind, s in scored.items()}
    rates = {name: round(rate, 4) for name, rate in scored[""].rates.items()}
    return {"held_out": round(held_out, 4), **parser, "rates": rates}


# ------------------------------------------------------------ the table


def rows(cells: Mapping[str, Mapping[int, Cell]]) -> dict[str, dict[str, Any]]:
    """For each variant the mean over its seeds, and half of their range, of every column."""
    found: dict[str, dict[str, Any]] = {}
    plain = next(iter(cells.values()))
    for name, seeds in cells.items():
        columns = {"samples_per_second": [cell["samples_per_second"] for cell in seeds.values()]}
        columns["speed"] = [
            cell["samples_per_second"] / max(plain[seed]["samples_per_second"], 1e-9) for seed, cell in seeds.items()
        ]
        for point in POINTS:
            for column in ("held_out", "parser", "guided_parser"):
                columns[f"{column}_{point}"] = [c[point][column] for c in seeds.values() if column in c[point]]
        found[name] = {
            column: {"mean": round(fmean(values), 4), "half_range": round((max(values) - min(values)) / 2, 4)}
            for column, values in columns.items()
            if values
        }
    return found


def table(found: Mapping[str, Mapping[str, Mapping[str, float]]]) -> Iterator[str]:
    """The rows as lines of Markdown; after ± half of the range over the seeds."""
    head = ["variant", "samples/s", "speed"]
    for point in ("equal steps", "equal seconds"):
        head += [f"held-out loss, {point}", f"parser, {point}"]
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    keys = [f"{column}_{point}" for point in POINTS for column in ("held_out", "parser")]
    for name, row in found.items():
        if row:
            told = [
                _value(row["samples_per_second"], 1),
                f"{row['speed']['mean']:.2f}x",
                *(_value(row[k], 3) for k in keys),
            ]
            yield f"| {' | '.join([name, *told])} |"
    for name, row in found.items():
        if f"guided_parser_{POINTS[0]}" in row:
            steps, seconds = (_value(row[f"guided_parser_{point}"], 3) for point in POINTS)
            words = f"parser {steps} at equal steps, {seconds} at equal seconds"
            yield f"{name}, drawn with an Internal Guidance of {GUIDED}: {words}"


def _value(of: Mapping[str, float], digits: int) -> str:
    return f"{of['mean']:.{digits}f} ± {of['half_range']:.{digits}f}"
