"""From a run to a checkpoint: a FLUX.2 [klein] folder of stock components, and our own files beside them."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLFlux2, FlowMatchEulerDiscreteScheduler, Flux2KleinPipeline, Flux2Transformer2DModel

from models.warp import MouthWarp

from .arrangement import MOST
from .flow import FlowStage
from .forms import LENGTHS, SPOKEN, SPOKEN_LENGTHS
from .papercut import vocabulary
from .portrait import Cast
from .text_encoder import STOCK_LAYERS, spread

SHIFT = 1.5  # of the noise schedule; stock's resolution-dependent shift is far too much for 64 tokens
SIDES = (64, 192)


def export(
    stage: FlowStage,
    vae: AutoencoderKLFlux2,
    folder: Path,
    *,
    warp: MouthWarp | None = None,
    score: dict[str, Any] | None = None,
) -> None:
    """Write the checkpoint in bfloat16, beside `folder` first and then over its components.

    Other files of `folder`, such as the model card, stay.
    """
    transformer = Flux2Transformer2DModel.from_config(stage.transformer.config)
    transformer.load_state_dict(stage.transformer.state_dict())
    pipeline = Flux2KleinPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=SHIFT, use_dynamic_shifting=False),
        vae=vae,
        text_encoder=spread(stage.text, stage.config),
        tokenizer=stage.tokenizer,
        transformer=transformer,
    )
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        new = Path(scratch) / folder.name
        pipeline.to(dtype=torch.bfloat16).save_pretrained(new, safe_serialization=True)
        # transformers loads in the type that a configuration names, diffusers in float32: name the one that both take.
        config = new / "text_encoder" / "config.json"
        config.write_text(json.dumps(json.loads(config.read_text()) | {"dtype": "float32"}, indent=2) + "\n")
        for name, module in (stage.beside() | ({"warp": warp} if warp is not None else {})).items():
            stored = type(module).from_config(module.config)
            stored.load_state_dict(module.state_dict())
            stored.to(dtype=torch.bfloat16).save_pretrained(new / name, safe_serialization=True)
        for path in new.glob("*/config.json"):  # where a component was loaded from is nobody's business
            fields = json.loads(path.read_text())
            fields.pop("_name_or_path", None)
            path.write_text(json.dumps(fields, indent=2) + "\n")
        house = {
            "prompt_tokens": stage.config.prompt_tokens,
            "text_layers": list(STOCK_LAYERS),
            "sides": list(SIDES),
            "frames": _frames(stage),
            "vocabulary": trained_words(stage),
            "prompts_at_boxes": True,
            **({"boxes": MOST} if stage.config.tasks.get("layout") else {}),
        } | ({"score": score} if score else {})
        (new / "diorama.json").write_text(json.dumps(house, indent=1) + "\n")
        for path in sorted(new.iterdir()):
            target = folder / path.name
            if target.is_dir():
                shutil.rmtree(target)
            path.replace(target)


def trained_words(stage: FlowStage) -> list[str]:
    """The words that the stage's captions use; the tokenizer knows more, for later training."""
    world, tasks = stage.world, stage.config.tasks
    captions = [world.scene(i).caption for i in range(4000)]
    if tasks.get("video") or tasks.get("scenes"):
        captions += [world.clip(i).caption for i in range(1000)]
    if any(tasks.get(task) for task in SPOKEN):
        captions += [Cast(world.seed).portrait(i).caption for i in range(1000)]
    used = {word for caption in captions for word in caption.replace(",", "").split()}
    if tasks.get("layout") or tasks.get("layered"):
        used.add("shapes")
    return [word for word in vocabulary() if word in used]


def _frames(stage: FlowStage) -> int:
    """The most frames that the model was shown at once."""
    tasks = stage.config.tasks
    if tasks.get("scenes"):
        return 3 * max(LENGTHS)
    clips = max(LENGTHS) if tasks.get("video") else 1
    return max(clips, *(max(SPOKEN_LENGTHS) if tasks.get(task) else 1 for task in SPOKEN))
