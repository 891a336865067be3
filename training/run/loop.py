"""The loop of a run on own pictures: step, look, keep, until the last step or a word to stop.

Weights, optimiser, moving averages and the number of the step are all that the next step depends on. Order, captions,
noise and times are pure functions of seed and step, and no generator is drawn from, so that a run which was stopped,
killed or given other loader workers is bit for bit the run that was not.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from accelerate import Accelerator
from safetensors import SafetensorError
from torch import Tensor
from torch.utils.data import DataLoader

from models.adapter.attach import Attached, attach
from models.attention import materialised
from models.checkpoint import CheckpointError, Description, describe, load
from models.precision import fast_bfloat16
from pipelines.estimate import check_size
from pipelines.refusal import Refusal
from training.data.cache import Cache, identity
from training.data.dataset import Dataset
from training.trainer import learning_rate
from training.tune import TuneConfig

from .checkpoints import Broken, Checkpoints
from .heldout import HeldOut
from .inputs import Batches
from .interrupts import Interrupts
from .learner import Learner
from .log import Log
from .note import check_same, note_of
from .objective import Objective
from .result import Result
from .shards import Shards
from .sheet import Sheet
from .speed import Speed
from .steps import Steps
from .stopped import Stopped
from .store import Store, fill

MODULES = ("lora", "dora", "full")  # kinds whose blocks are nothing but modules; others hang hooks into them


def train(config: TuneConfig, data: Dataset, stop_after: int | None = None) -> int:
    """Train, or go on with, a run whose preflight passed.

    Args:
        config: the run file.
        data: all its examples.
        stop_after: stop after so many further steps and save.

    Returns:
        0 when the last step was done, 1 when it was not.

    Raises:
        Refusal: the run file asks for what is not to be had, or its folder holds another run.
        KeyboardInterrupt: somebody asked to stop; all was saved.
    """
    cpu = config.loop.device == "cpu" or not torch.cuda.is_available()
    accelerator = Accelerator(cpu=cpu, mixed_precision="no")  # see `Steps.autocast`
    try:
        run = Run(config, data, accelerator)
        with Interrupts() as interrupts, warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Mismatch dtype")  # torch's, of norms in mixed precision: it does well
            done = run.go(interrupts, stop_after)
        # A launcher ends all processes when the first one has ended other than well: none does before all are done.
        accelerator.wait_for_everyone()
        if interrupts.asked:
            raise KeyboardInterrupt
        return 0 if done else 1
    except Stopped as stopped:
        print(f"diorama: {stopped}", file=sys.stderr)
        return 1
    except (OSError, SafetensorError) as error:  # the second is a full disk too
        why = " ".join(str(error).split())[:200]
        print(f"diorama: a file of the run can not be read or written: {why}; start again to go on", file=sys.stderr)
        return 1
    finally:
        accelerator.end_training()


class Run:
    """A run in one of its processes.

    Args:
        config: the run file.
        data: all its examples.
        accelerator: the processes.

    Raises:
        Refusal: see `train`.
        Stopped: there are checkpoints, and none is whole.
    """

    def __init__(self, config: TuneConfig, data: Dataset, accelerator: Accelerator) -> None:
        self.config, self.accelerator = config, accelerator
        self.device = accelerator.device
        trained, apart = data.split(config.held_out.share)
        self.order = trained.order
        try:
            self.description = describe(config.start_from)
        except CheckpointError as error:
            raise Refusal("start_from", str(error)) from None
        size = _check(config, trained, self.description)
        self._tell(trained)
        half = self._half()
        loaded_half = half and self.device.type != "cpu" and config.train.kind != "full"
        dtype = torch.bfloat16 if loaded_half else torch.float32
        checkpoint = load(self.description, self.device, dtype)
        cache, precision = Cache(config.cache), str(dtype).removeprefix("torch.")
        latents, prompts = (f"{identity(self.description, kind)} {precision}" for kind in ("latents", "prompts"))
        self.store = Store(trained, cache, latents, prompts)
        aside = None if apart is None else Store(apart, cache, latents, prompts)
        rank, ranks = accelerator.process_index, accelerator.num_processes
        fill(self.store, self.store.texts() | set(config.samples.prompts), checkpoint, rank, ranks, self.say)
        if aside is not None:
            fill(aside, aside.texts(), checkpoint, rank, ranks, self.say)
        accelerator.wait_for_everyone()

        transformer = checkpoint.transformer
        if self.device.type == "cpu":
            transformer.use_plans(materialised)
        if config.loop.checkpointing:
            transformer.enable_gradient_checkpointing()
        torch.manual_seed(config.seed)  # of weights that begin at random
        try:
            self.attached: Attached = attach(config.train, transformer, checkpoint.siamese)
        except ValueError as error:
            raise Refusal("train", str(error)) from None
        branch = self.attached.siamese if config.train.kind == "siamese" else None
        remember = any(each.prior for each in trained.examples) or bool(config.loss.prior and any(self.store.masks))
        self.shards = Shards(config.loop.shard and ranks > 1, accelerator)
        if self.shards.on:
            self.shards.spread(transformer)
            self.attached = self.attached.renewed()
        self.learner = Learner(self.attached.trainable, config.loop, self.shards, remember)
        self.objective = Objective(
            transformer, self._untrained, self.description, config.loss, branch, self.shards.most
        )
        self.held_out = None if aside is None else HeldOut(aside, config.held_out)
        self.sheet = None
        if config.samples.prompts:
            folder = config.folder / "samples"
            self.sheet = Sheet(config.samples, size, self.store, self.description, checkpoint.codec, folder)
        self.checkpoints = Checkpoints(config.folder, config.keep.last, self.say)
        self.speed = Speed(transformer, half and not self.shards.on, config.loop.compile, self.say)
        self.steps = Steps(config.loop, half, self.objective, self.learner, self.checkpoints, self.speed, self.device)
        self.result = Result(config, self.attached, self.description, self.store.texts())
        self.step, self.seconds = 0, 0.0
        self.best: dict[str, Any] | None = None
        self.saved = -1
        self._resume()
        self.log = Log(config.folder, config.log, self.step, self.say) if accelerator.is_main_process else None

    # ------------------------------------------------------------ the loop

    def go(self, interrupts: Interrupts, stop_after: int | None = None) -> bool:
        """Train to the last step, or `stop_after` further ones, or until somebody asks to stop; then save.

        Returns:
            Whether the last step was done.

        Raises:
            Stopped: the disk is full, a file of the cache is gone, or the loss is no number.
        """
        loop = self.config.loop
        last = loop.steps if stop_after is None else min(loop.steps, self.step + stop_after)
        ranks = {"rank": self.accelerator.process_index, "ranks": self.accelerator.num_processes}
        source = Batches(self.store, self.config.loss, loop.accumulate, self.step, last, **ranks)
        batches = iter(DataLoader(source, batch_size=None, num_workers=loop.workers))
        recent: list[dict[str, float]] = []
        # Several processes have to agree on a step: a word to one of them is heard by all in the next one.
        alone, stop = self.accelerator.num_processes == 1, False
        saved = began = time.monotonic()
        if self.step == 0:
            self._look()
        while self.step < last and not (interrupts.asked if alone else stop):
            row, stop = self.steps.one(self.step, batches, interrupts.asked)
            self.step += 1
            now = time.monotonic()
            recent.append(row | {"took": now - began})
            self.seconds, began = self.seconds + now - began, now
            if self.step % self.config.log.every == 0 or self.step == last:
                self._write(recent)
                recent = []
            self._look()
            keep = self.config.keep
            late = self.shards.most(int(now - saved > keep.seconds))
            if late or (keep.every and self.step % keep.every == 0):
                self._save()
                saved = time.monotonic()
        if not alone:
            interrupts.asked = stop
        self._save()
        self._finish()
        return self.step >= loop.steps

    # ------------------------------------------------------------ looking at it

    def _look(self) -> None:
        """Held-out loss and a sheet, where it is time for them.

        By one process, while the others wait at their sum, unless it takes all of them to ask the model.
        """
        if self.log is None and not self.shards.on:
            return
        step, last = self.step, self.config.loop.steps
        if self.held_out is not None and (step % self.config.held_out.every == 0 or step == last):
            with self.learner.averaged(), self.speed.looking(), self.steps.autocast():
                found = self.held_out.loss(self.objective, self.device)
            if self.log is not None:
                self.log.write({"step": step, **found})
            if self.config.keep.best and step and (self.best is None or found["held_out"] < self.best["held_out"]):
                self.best = {"step": step, "held_out": found["held_out"]}
                self._save()
        if self.sheet is not None and (step % self.config.samples.every == 0 or step == last):
            half = self.steps.autocast() if self.device.type != "cpu" else nullcontext()
            with self.learner.averaged(), self.speed.looking(), half:
                path = self.sheet.draw(self.attached.transformer, step, kept=self.log is not None)
            if self.log is not None:
                self.log.picture(path, step)
            self._show(self.learner.state())

    def _write(self, recent: list[dict[str, float]]) -> None:
        """A line of the log: means over steps, samples a second of this process and its like, minutes left."""
        if self.log is None:
            return
        columns: dict[str, list[float]] = {}
        for row in recent:
            for name, value in row.items():
                columns.setdefault(name, []).append(value)
        mean = {name: sum(values) / len(values) for name, values in columns.items()}
        samples, took = mean.pop("samples"), mean.pop("took")
        self.log.write({
            "step": self.step, "epoch": self.order.cursor(self.step * self.config.loop.accumulate).epoch,
            "lr": self.config.loop.lr * learning_rate(self.step - 1, self.config.loop), **mean,
            "seconds": self.seconds, "samples_per_second": samples / max(took, 1e-9),
            "minutes_left": (self.config.loop.steps - self.step) * took / 60,
        })  # fmt: skip

    @contextmanager
    def _untrained(self, whole: bool) -> Iterator[None]:
        """The model is the one that the run began with; parts of batches have too many sizes to compile for."""
        with self.learner.untrained(), nullcontext() if whole else self.speed.looking():
            yield

    def _half(self) -> bool:
        """Whether the arithmetic is in bfloat16; where that was asked for and is slow, a sentence says so."""
        precision, fast = self.config.loop.precision, fast_bfloat16(self.device.type)
        if precision == "bfloat16" and not fast:
            self.say("loop.precision is bfloat16, in which this machine is many times slower; auto takes float32 here")
        return fast if precision == "auto" else precision == "bfloat16"

    def say(self, text: str) -> None:
        """A line on the terminal, of one process for all."""
        if self.accelerator.is_main_process:
            print(text, flush=True)

    def _tell(self, data: Dataset) -> None:
        """What of the examples this run does with, and without."""
        examples, loss = data.examples, self.config.loss
        if (count := self.accelerator.num_processes) > 1:
            part = ", each with its part of the weights" if self.config.loop.shard else ""
            self.say(f"{count} processes train together{part}")
        if masked := sum(each.mask is not None for each in examples):
            self.say(f"{masked} examples have masks: where they are black the data count {loss.outside:g} and the "
                     f"untrained model's prediction {loss.prior:g}")  # fmt: skip
        if kept := sum(each.prior for each in examples):
            self.say(f"{kept} examples keep what the model knew: their target is the untrained model's prediction")
        if layered := sum(bool(each.layers) for each in examples):
            self.say(f"{layered} examples have layers, which are not trained on: the flat pictures are")
        if any(shape.sound for shape in data.shapes) and self.config.data.audio:
            self.say("sound is not trained on: the frames are")

    # ------------------------------------------------------------ keeping it

    def _resume(self) -> None:
        """Take up the newest whole checkpoint.

        Raises:
            Refusal: it is of another run.
        """
        found = self.checkpoints.newest()
        if found is None:
            return
        check_same(found.note, self.config, self.store, found.step)
        self.learner.restore(found.tensors)
        self.step, self.seconds, self.best = found.step, found.note["seconds"], found.note["best"]
        self.saved = self.step
        told = found.note["config"]["loop"]["precision"]  # of runs that began before the note had the arithmetic
        before, now = found.note.get("arithmetic", told), self.steps.arithmetic
        other = "" if before == now else f" in {now}, which is faster here, after {before}: close to it, not to the bit"
        self.say(f"goes on at step {self.step}{other}")

    def _save(self) -> None:
        """Write a checkpoint of this step, where there is none yet."""
        if self.saved == self.step or not (self.accelerator.is_main_process or self.shards.on):
            return
        state, self.saved = self.learner.state(), self.step
        if not self.accelerator.is_main_process:
            return
        note = {"seconds": self.seconds, "best": self.best, "arithmetic": self.steps.arithmetic}
        note |= note_of(self.config, self.store, self.step)
        best = None if self.best is None or not self.config.keep.best else self.best["step"]
        self.checkpoints.save(self.step, state, note, best)
        self._show(state)

    def _show(self, state: Mapping[str, Tensor]) -> None:
        """Write the adapter as it stands, so that it can be tried while the run goes on; checkpoints are too large."""
        if self.log is not None and self.step and self.config.train.kind != "full":
            self.result.write(self.learner.result(state), self.step)

    def _finish(self) -> None:
        """Write what the run has made, ready to be used, and say where it is."""
        if self.log is None and not self.shards.on:
            return
        state = self.learner.state()
        if self.log is None:
            return
        self.log.close()
        if self.step == 0:
            return
        whole = self.step >= self.config.loop.steps
        path = self.result.write(self.learner.result(state), self.step)
        self.say(f"{'done' if whole else 'stopped'} at step {self.step}; the {self.result.word} is {path}")
        if self.best is not None and self.config.keep.best and self.best["step"] != self.step:
            try:
                tensors = self.checkpoints.read(self.best["step"]).tensors
            except Broken as broken:
                self.say(f"the checkpoint of the lowest held-out loss can not be used: {broken}")
                return
            path = self.result.write(self.learner.result(tensors), self.best["step"], "-best")
            self.say(f"that of step {self.best['step']}, where the held-out loss was lowest, is {path}")


def _check(config: TuneConfig, data: Dataset, description: Description) -> tuple[int, int]:
    """The size of the sheets' pictures.

    Raises:
        Refusal: what the run file asks for does not go together.
    """
    side = config.data.resolution
    size = config.samples.size or (side, side)
    if config.samples.prompts:
        check_size(size, description, "samples.size")
    if config.train.kind == "siamese" and not any(example.boxes for example in data.examples):
        raise Refusal(
            "train.kind", "siamese learns from boxes, and no example has any; give them, or train another kind"
        )
    for name in ("compile", "shard"):
        if getattr(config.loop, name) and config.train.kind not in MODULES:
            raise Refusal(f"loop.{name}", f"goes with {', '.join(MODULES)}, not with {config.train.kind}; take it out")
    if config.loop.shard and config.loop.optimizer != "adamw":
        raise Refusal("loop.shard", "goes with the optimizer adamw, whose state can be spread; take that one")
    return size
