"""From a run to a checkpoint: a FLUX.2 [klein] folder of stock components, and our own files beside them."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLFlux2, FlowMatchEulerDiscreteScheduler, Flux2KleinPipeline, Flux2Transformer2DModel

from .arrangement import MOST
from .flow import FlowStage
from .forms import LENGTHS
from .papercut import vocabulary
from .text_encoder import STOCK_LAYERS, spread

SHIFT = 1.5  # of the noise schedule; stock's resolution-dependent shift is far too much for 64 tokens
SIDES = (64, 192)


def export(stage: FlowStage, vae: AutoencoderKLFlux2, folder: Path, *, score: dict[str, Any] | None = None) -> None:
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
        head = type(stage.auxiliary).from_config(stage.auxiliary.config)
        head.load_state_dict(stage.auxiliary.state_dict())
        head.to(dtype=torch.bfloat16).save_pretrained(new / "auxiliary", safe_serialization=True)
        if stage.siamese is not None:
            branch = type(stage.siamese).from_config(stage.siamese.config)
            branch.load_state_dict(stage.siamese.state_dict())
            branch.to(dtype=torch.bfloat16).save_pretrained(new / "siamese", safe_serialization=True)
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
    scenes = [world.scene(i) for i in range(4000)]
    if tasks.get("video") or tasks.get("scenes"):
        scenes += [world.clip(i) for i in range(1000)]
    used = {word for scene in scenes for word in scene.caption.replace(",", "").split()}
    if tasks.get("layout") or tasks.get("layered"):
        used.add("shapes")
    return [word for word in vocabulary() if word in used]


def _frames(stage: FlowStage) -> int:
    """The most frames that the model was shown at once."""
    tasks = stage.config.tasks
    if tasks.get("scenes"):
        return 3 * max(LENGTHS)
    return max(LENGTHS) if tasks.get("video") else 1
