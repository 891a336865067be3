"""The loop of a run on own pictures: step, look, keep, until the last step or a word to stop.

Weights, optimiser, moving averages and the number of the step are all that the next step depends on. Order, captions,
noise and times are pure functions of seed and step, and no generator is drawn from, so that a run which was stopped,
killed or given other loader workers is bit for bit the run that was not.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from safetensors import SafetensorError
from torch import Tensor
from torch.utils.data import DataLoader

from models.adapter.attach import Attached, attach
from models.adapter.file import About
from models.attention import materialised
from models.checkpoint import CheckpointError, Description, describe, load
from pipelines.estimate import check_size
from pipelines.refusal import Refusal
from pipelines.story.scenecache import fingerprint
from training.data.cache import Cache, identity
from training.data.dataset import Dataset
from training.trainer import learning_rate
from training.tune import TuneConfig

from .checkpoints import Broken, Checkpoints
from .heldout import HeldOut
from .inputs import Batches, Inputs
from .interrupts import Interrupts
from .learner import Learner
from .log import BINS, Log, bin_of
from .objective import Objective
from .sheet import Sheet
from .stopped import Stopped
from .store import Store, fill

# What may differ between two starts of a run; that the data are the same is told by their fingerprint.
FREE: Any = {
    "folder": True, "data": True, "keep": True, "samples": True, "log": True,
    "held_out": {"every"}, "loop": {"steps", "workers", "device"},
}  # fmt: skip


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
    accelerator = Accelerator(cpu=cpu, mixed_precision="no")  # see `Run._autocast`
    try:
        run = Run(config, data, accelerator)
        with Interrupts() as interrupts, warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Mismatch dtype")  # torch's, of norms in mixed precision: it does well
            done = run.go(interrupts, stop_after)
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
        half = self.device.type != "cpu" and config.loop.precision == "bfloat16" and config.train.kind != "full"
        dtype = torch.bfloat16 if half else torch.float32
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
        self.learner = Learner(self.attached.trainable, config.loop, accelerator, remember)
        self.objective = Objective(transformer, self.learner.untrained, self.description, config.loss, branch)
        self.held_out = None if aside is None else HeldOut(aside, config.held_out)
        self.sheet = None
        if config.samples.prompts:
            folder = config.folder / "samples"
            self.sheet = Sheet(config.samples, size, self.store, self.description, checkpoint.codec, folder)
        self.checkpoints = Checkpoints(config.folder, config.keep.last, self.say)
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
            row, stop = self._one_step(batches, interrupts.asked)
            now = time.monotonic()
            recent.append(row | {"took": now - began})
            self.seconds, began = self.seconds + now - began, now
            if self.step % self.config.log.every == 0 or self.step == last:
                self._write(recent)
                recent = []
            self._look()
            keep = self.config.keep
            if (keep.every and self.step % keep.every == 0) or now - saved > keep.seconds:
                self._save()
                saved = time.monotonic()
        if not alone:
            interrupts.asked = stop
        self._save()
        self._finish()
        return self.step >= loop.steps

    def _one_step(self, batches: Iterator[Inputs | Stopped], asked: bool) -> tuple[dict[str, float], bool]:
        """One optimiser step.

        Returns:
            What is logged of it, and whether any process was asked to stop.
        """
        tally = torch.zeros(2 + 2 * BINS)
        tally[0] = float(asked)
        for _ in range(self.config.loop.accumulate):
            found = next(batches)
            if isinstance(found, Stopped):
                raise found
            inputs = found.to(self.device)
            with self._autocast():
                losses = self.objective(inputs)
                loss = (losses * inputs.shares).sum()
            loss.backward()
            tally[1] += loss.detach().cpu()
            counted = inputs.shares.cpu() > 0
            parts = (inputs.times.cpu() * BINS).long().clamp(max=BINS - 1)[counted]
            tally[2 : 2 + BINS].index_add_(0, parts, losses.detach().float().cpu()[counted])
            tally[2 + BINS :].index_add_(0, parts, torch.ones(len(parts)))
        norm, tally = self.learner.step(self.step, tally)
        loss = float(tally[1])
        if not (abs(loss) < float("inf") and norm < float("inf")):
            raise Stopped(self._no_number(loss))
        self.step += 1
        sums, counts = tally[2 : 2 + BINS].tolist(), tally[2 + BINS :].tolist()
        bins = {bin_of((k + 0.5) / BINS): sums[k] / counts[k] for k in range(BINS) if counts[k]}
        return {"loss": loss, "norm": norm, "samples": sum(counts), **bins}, bool(tally[0])

    def _autocast(self) -> AbstractContextManager[Any]:
        # Not accelerate's, which is one setting a process. Without torch's cache of cast weights: it would give the
        # untrained model the trained one's, see `Learner.untrained`.
        half = self.config.loop.precision == "bfloat16"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=half, cache_enabled=False)

    # ------------------------------------------------------------ looking at it

    def _look(self) -> None:
        """Held-out loss and a sheet, where it is time for them; by one process, while the others wait at their sum."""
        if self.log is None:
            return
        step, last = self.step, self.config.loop.steps
        if self.held_out is not None and (step % self.config.held_out.every == 0 or step == last):
            with self.learner.averaged(), self._autocast():
                found = self.held_out.loss(self.objective, self.device)
            self.log.write({"step": step, **found})
            if self.config.keep.best and step and (self.best is None or found["held_out"] < self.best["held_out"]):
                self.best = {"step": step, "held_out": found["held_out"]}
                self._save()
        if self.sheet is not None and (step % self.config.samples.every == 0 or step == last):
            with self.learner.averaged(), self._autocast() if self.device.type != "cpu" else nullcontext():
                path = self.sheet.draw(self.attached.transformer, step)
            self.log.picture(path, step)

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

    def say(self, text: str) -> None:
        """A line on the terminal, of one process for all."""
        if self.accelerator.is_main_process:
            print(text, flush=True)

    def _tell(self, data: Dataset) -> None:
        """What of the examples this run does with, and without."""
        examples, loss = data.examples, self.config.loss
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
        settled = self.config.model_dump(mode="json", exclude=FREE)
        if changed := _changed(found.note["config"], settled):
            field, before, now = changed
            raise Refusal(
                field,
                f"was {before!r} when the run in {self.config.folder} began and is {now!r} now; put it back, or set "
                "another folder to begin anew",
            )
        cursor = self.order.cursor(found.step * self.config.loop.accumulate).to_json()
        if (found.note["cursor"], found.note["content"]) != (cursor, self.store.content):
            raise Refusal(
                "data",
                f"is not what the run in {self.config.folder} began with: pictures, captions or boxes were changed; "
                "put them back, or set another folder to begin anew",
            )
        self.learner.restore(found.tensors)
        self.step, self.seconds, self.best = found.step, found.note["seconds"], found.note["best"]
        self.saved = self.step
        self.say(f"goes on at step {self.step}")

    def _save(self) -> None:
        """Write a checkpoint of this step, where there is none yet."""
        if self.saved == self.step or not self.accelerator.is_main_process:
            return
        note = {
            "seconds": self.seconds,
            "cursor": self.order.cursor(self.step * self.config.loop.accumulate).to_json(),
            "content": self.store.content,
            "best": self.best,
            "config": self.config.model_dump(mode="json", exclude=FREE),
        }
        best = None if self.best is None or not self.config.keep.best else self.best["step"]
        self.checkpoints.save(self.step, self.learner.state(), note, best)
        self.saved = self.step

    def _finish(self) -> None:
        """Write what the run has made, ready to be used, and say where it is."""
        if self.log is None:
            return
        self.log.close()
        if self.step == 0:
            return
        whole = self.step >= self.config.loop.steps
        path = self._result("", self.learner.result(self.learner.state()), self.step)
        self.say(f"{'done' if whole else 'stopped'} at step {self.step}; the {_word(self.config)} is {path}")
        if self.best is not None and self.config.keep.best and self.best["step"] != self.step:
            try:
                tensors = self.checkpoints.read(self.best["step"]).tensors
            except Broken as broken:
                self.say(f"the checkpoint of the lowest held-out loss can not be used: {broken}")
                return
            path = self._result("-best", self.learner.result(tensors), self.best["step"])
            self.say(f"that of step {self.best['step']}, where the held-out loss was lowest, is {path}")

    def _result(self, suffix: str, values: dict[str, Tensor], step: int) -> Path:
        """Write the adapter, or for `full` the checkpoint, of a state."""
        words = _new_words(self.store.texts(), self.description)
        about = About(self.config.start_from, fingerprint(self.description.folder), words, step)
        name = f"{_word(self.config)}{suffix}"
        if self.config.train.kind != "full":
            path = self.config.folder / f"{name}.safetensors"
            self.attached.save(path, about, values)
            return path
        path, aside = self.config.folder / name, self.config.folder / f".{name}.tmp"
        for old in (aside, path):
            shutil.rmtree(old, ignore_errors=True)
        self.attached.save(aside, about, values)
        os.replace(aside, path)
        return path

    def _no_number(self, loss: float) -> str:
        kept = self.checkpoints.steps()
        left = f"the checkpoint of step {kept[-1]} is whole" if kept else "there is no checkpoint yet"
        return f"the loss is {loss} at step {self.step + 1}; {left}: lower loop.lr, in another folder"


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
    return size


def _changed(before: Any, now: Any, place: str = "") -> tuple[str, Any, Any] | None:
    """The first value that differs, and where."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for key in (*now, *(key for key in before if key not in now)):
            found = _changed(before.get(key), now.get(key), f"{place}.{key}".lstrip("."))
            if found:
                return found
        return None
    return None if before == now else (place, before, now)


def _new_words(texts: Iterable[str], description: Description) -> tuple[str, ...]:
    """Words of the captions that the checkpoint was not made with, and that jobs with this adapter may use."""
    if description.vocabulary is None:
        return ()
    words = {word for text in texts for word in re.findall(r"[^\W_]+", text.lower())}
    return tuple(sorted(words - set(description.vocabulary)))


def _word(config: TuneConfig) -> str:
    """What a run makes."""
    return "checkpoint" if config.train.kind == "full" else "adapter"
