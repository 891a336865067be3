"""What `diorama train RUN.yaml` does: autoencoder, prompt encoder and transformer, mouth warp, then the checkpoint."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import yaml
from diffusers import AutoencoderKLFlux2
from pydantic import ValidationError
from transformers import Qwen3ForCausalLM
from transformers.utils import logging as transformers_logging

from models.checkpoint import CheckpointError, describe
from models.codec import Codec
from models.speech import SpeechEncoder
from models.warp import MouthWarp
from pipelines.refusal import Refusal

from .autoencoder import AutoencoderStage
from .config import RunConfig, WarpConfig
from .export import export
from .flow import FlowStage
from .papercut import World
from .text_encoder import gather
from .trainer import Trainer
from .warping import WarpStage


def read_run(path: Path) -> RunConfig:
    """The run that a YAML file describes.

    Raises:
        Refusal: not YAML, or not a run.
    """
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise Refusal("", f"{path} can not be read as YAML: {' '.join(str(error).split())}") from None
    try:
        return RunConfig.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise Refusal(place, f"{path}: {first['msg']}") from None


def train(path: Path | str, *, device: str = "auto", stop_after: int | None = None) -> int:
    """Run, or go on with, the training that `path` describes.

    Args:
        path: a YAML file, see `RunConfig`.
        device: auto | cpu.
        stop_after: stop each stage after so many further steps and save; for rehearsals.

    Returns:
        0 when the checkpoint was written, 1 when a stage was stopped before its end.
    """
    run = read_run(Path(path))
    if device == "cpu":
        run = run.model_copy(
            update={
                part: getattr(run, part).model_copy(
                    update={"loop": getattr(run, part).loop.model_copy(update={"device": "cpu"})}
                )
                for part in ("autoencoder", "transformer", "warp")
                if getattr(run, part) is not None
            }
        )
    torch.manual_seed(run.seed)
    vae = _autoencoder(run, stop_after)
    if vae is None:
        return 1
    world = World(seed=run.seed, mixture=run.mixture, placement=run.placement)
    stage = FlowStage(run.transformer, Codec(vae), world, run.folder)
    if run.start_from:
        with _sizes_of(run):
            take_weights(stage, run.start_from)
    trainer = Trainer(stage, run.transformer.loop, run.folder / "transformer")
    vae.to(trainer.accelerator.device)
    trainer.run(stop_after)
    if not trainer.finished:
        return 1
    trainer.ema.swap(trainer.weights, run.export_ema or run.transformer.loop.ema[0])
    warp = None
    if run.warp is not None:
        warp = _warp(run, run.warp, stage, stop_after)
        if warp is None:
            return 1
    export(stage.cpu(), vae.cpu(), run.checkpoint, warp=warp)
    trainer.say(f"the checkpoint is in {run.checkpoint}; score it with `python -m training.evaluate {run.checkpoint}`")
    return 0


def _autoencoder(run: RunConfig, stop_after: int | None) -> AutoencoderKLFlux2 | None:
    """The autoencoder in the precision it will be stored in; None where its training was stopped."""
    done = before = run.folder / "vae"
    if run.start_from:
        try:
            before = describe(run.start_from).folder / "vae"
        except CheckpointError as error:
            raise Refusal("start_from", str(error)) from None
    further = run.autoencoder.further
    if run.start_from and further == "nothing":
        done = before
    elif not (done / "config.json").exists():
        stage = AutoencoderStage(run.autoencoder, run.seed)
        if run.start_from:
            with _sizes_of(run):
                stage.vae.load_state_dict(_frozen(before).state_dict())
            if further == "decoder":
                stage.keep_latents()
        trainer = Trainer(stage, run.autoencoder.loop, run.folder / "autoencoder")
        trainer.run(stop_after)
        if not trainer.finished:
            return None
        trainer.ema.swap(trainer.weights, run.autoencoder.loop.ema[0])
        # Latents must be those of the stored bfloat16 weights, so rounding comes before calibration.
        stage.vae.to(torch.bfloat16).to(torch.float32)
        if further != "decoder":
            stage.calibrate()
        stage.vae.to(torch.bfloat16).save_pretrained(done)
    return _frozen(done)


def _warp(run: RunConfig, config: WarpConfig, stage: FlowStage, stop_after: int | None) -> MouthWarp | None:
    """The mouth warp, on the speech encoder as it will be stored; None where its training was stopped."""
    assert stage.speech is not None, "a RunConfig has no warp without a task that hears"
    stored = SpeechEncoder.from_config(stage.speech.config)
    stored.load_state_dict(stage.speech.state_dict())
    stored.to(torch.bfloat16).to(torch.float32)
    torch.manual_seed(run.seed)
    warping = WarpStage(config, stored, run.seed)
    if run.start_from and (before := describe(run.start_from).folder / "warp").is_dir():
        with _sizes_of(run):
            warping.warp.load_state_dict(MouthWarp.from_pretrained(before, use_safetensors=True).float().state_dict())
    trainer = Trainer(warping, config.loop, run.folder / "warp")
    trainer.run(stop_after)
    if not trainer.finished:
        return None
    trainer.ema.swap(trainer.weights, config.loop.ema[0])
    return warping.warp.cpu()


@contextmanager
def _sizes_of(run: RunConfig) -> Iterator[None]:
    """Torch tells in many lines that weights have other sizes; a run tells it in one."""
    try:
        yield
    except RuntimeError:
        raise Refusal("start_from", f"expected a checkpoint of this file's sizes, got {run.start_from!r}") from None


def autoencoder_of(name: str) -> Codec:
    """The codec of a checkpoint, in the precision that training encodes with."""
    return Codec(_frozen(describe(name).folder / "vae"))


def _frozen(folder: Path) -> AutoencoderKLFlux2:
    vae = AutoencoderKLFlux2.from_pretrained(folder, dtype=torch.float32, use_safetensors=True)
    # Convolutions on CPU are nearly twice as fast with channels last (64 pictures of 128x128: .22 s against .37).
    return vae.eval().requires_grad_(False).to(memory_format=torch.channels_last)


def take_weights(stage: FlowStage, name: str) -> None:
    """Weights of a checkpoint into a stage that has not begun."""
    folder = describe(name).folder
    options = {"use_safetensors": True, "local_files_only": True}
    transformer = type(stage.transformer).from_pretrained(
        folder, subfolder="transformer", dtype=torch.float32, **options
    )
    stage.transformer.load_state_dict(transformer.state_dict())
    take_text_encoder(stage, name)
    for name, module in stage.beside().items():
        if (folder / name).is_dir():
            stored = type(module).from_pretrained(folder, subfolder=name, dtype=torch.float32, **options)
            module.load_state_dict(stored.state_dict())


def take_text_encoder(stage: FlowStage, name: str) -> None:
    """The text encoder of a checkpoint into a stage that has not begun."""
    folder = describe(name).folder / "text_encoder"
    transformers_logging.disable_progress_bar()  # a bar for each of many runs says nothing
    deep = Qwen3ForCausalLM.from_pretrained(folder, dtype=torch.float32, use_safetensors=True, local_files_only=True)
    gather(stage.text, deep, stage.config)
