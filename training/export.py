"""From a run to a checkpoint: a FLUX.2 [klein] folder of stock components, and our own files beside them."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLFlux2, FlowMatchEulerDiscreteScheduler, Flux2KleinPipeline, Flux2Transformer2DModel
from transformers import Qwen3ForCausalLM

from .flow import LIVE_LAYERS, STOCK_DEPTH, STOCK_LAYERS, FlowStage, build_text_encoder
from .papercut import vocabulary

SHIFT = 1.5  # of the noise schedule; stock's resolution-dependent shift is far too much for 64 tokens
SIDES = (64, 192)


def spread_text_encoder(stage: FlowStage) -> Qwen3ForCausalLM:
    """The trained layers in a stock-deep text encoder.

    Stock reads hidden states 9, 18 and 27 by default. The trained layers stand in front of those, and each layer in
    between is an identity: its two output projections are zero.
    """
    deep = build_text_encoder(stage.config, len(stage.tokenizer), STOCK_DEPTH)
    with torch.no_grad():
        deep.model.embed_tokens.weight.copy_(stage.text.model.embed_tokens.weight)
        for index, layer in enumerate(deep.model.layers):
            if index in LIVE_LAYERS[: stage.config.text_layers]:
                layer.load_state_dict(stage.text.model.layers[LIVE_LAYERS.index(index)].state_dict())
            else:
                for parameter in layer.parameters():
                    if parameter.ndim == 2:
                        parameter.zero_()
    return deep


def gather_text_encoder(stage: FlowStage, deep: Qwen3ForCausalLM) -> None:
    """The inverse: the trained layers of a checkpoint into a stage, to train on from its weights."""
    stage.text.model.embed_tokens.load_state_dict(deep.model.embed_tokens.state_dict())
    for live, index in enumerate(LIVE_LAYERS[: stage.config.text_layers]):
        stage.text.model.layers[live].load_state_dict(deep.model.layers[index].state_dict())


def export(stage: FlowStage, vae: AutoencoderKLFlux2, folder: Path, *, score: dict[str, Any] | None = None) -> None:
    """Write the checkpoint in bfloat16, beside `folder` first and then over its components.

    Other files of `folder`, such as the model card, stay.
    """
    transformer = Flux2Transformer2DModel.from_config(stage.transformer.config)
    transformer.load_state_dict(stage.transformer.state_dict())
    pipeline = Flux2KleinPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=SHIFT, use_dynamic_shifting=False),
        vae=vae,
        text_encoder=spread_text_encoder(stage),
        tokenizer=stage.tokenizer,
        transformer=transformer,
    )
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        new = Path(scratch) / folder.name
        pipeline.to(dtype=torch.bfloat16).save_pretrained(new, safe_serialization=True)
        head = type(stage.auxiliary).from_config(stage.auxiliary.config)
        head.load_state_dict(stage.auxiliary.state_dict())
        head.to(dtype=torch.bfloat16).save_pretrained(new / "auxiliary", safe_serialization=True)
        house = {
            "prompt_tokens": stage.config.prompt_tokens,
            "text_layers": list(STOCK_LAYERS),
            "sides": list(SIDES),
            "vocabulary": trained_words(stage),
        } | ({"score": score} if score else {})
        (new / "diorama.json").write_text(json.dumps(house, indent=1) + "\n")
        for path in sorted(new.iterdir()):
            target = folder / path.name
            if target.is_dir():
                shutil.rmtree(target)
            path.replace(target)


def trained_words(stage: FlowStage) -> list[str]:
    """The words that captions of the stage's world use; the tokenizer knows more, for later training."""
    used = {word for i in range(4000) for word in stage.world.scene(i).caption.replace(",", "").split()}
    return [word for word in vocabulary() if word in used]
