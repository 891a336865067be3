"""The prompt encoder of the embedded checkpoint: tokenizer, small Qwen3, and its place in a stock-deep one."""

from __future__ import annotations

import json

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import Qwen2TokenizerFast, Qwen3Config, Qwen3ForCausalLM

from .config import FlowConfig
from .papercut import vocabulary

# Stock FLUX.2 [klein] reads hidden states 9, 18 and 27 of its text encoder. Ours lives in these of its 28 layers;
# the others start as identities (zero output projections), so that stock's defaults hold and later training may
# wake them.
STOCK_LAYERS, STOCK_DEPTH, LIVE_LAYERS = (9, 18, 27), 28, (0, 1, 9, 18)


def build_tokenizer(prompt_tokens: int) -> Qwen2TokenizerFast:
    """A byte-level BPE in which every word of the world is one token; the chat template is the bare prompt.

    The template lowers the prompt and puts a space before it, so that a word is one token wherever it stands.
    """
    base = Tokenizer(models.BPE())
    base.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    base.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=4000,
        min_frequency=1,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        special_tokens=["<|endoftext|>"],
        show_progress=False,
    )
    base.train_from_iterator([f" {word}" for word in vocabulary()], trainer)
    learnt = json.loads(base.to_str())["model"]
    tokenizer = Qwen2TokenizerFast(
        vocab=learnt["vocab"],
        merges=[tuple(merge) for merge in learnt["merges"]],
        pad_token="<|endoftext|>",
        eos_token="<|endoftext|>",
        model_max_length=prompt_tokens,
    )
    tokenizer.chat_template = "{{ ' ' ~ (messages[0]['content'] | lower | trim) }}"
    return tokenizer


def build_text_encoder(config: FlowConfig, tokens: int, depth: int) -> Qwen3ForCausalLM:
    """A small stock Qwen3; `depth` is the live layers and one more while training, 28 in the checkpoint."""
    return Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=tokens,
            hidden_size=config.text_width,
            intermediate_size=config.text_mlp,
            num_hidden_layers=depth,
            num_attention_heads=config.text_width // 32,
            num_key_value_heads=config.text_width // 64,
            head_dim=32,
            max_position_embeddings=512,
            tie_word_embeddings=True,
        )
    )


def spread(live: Qwen3ForCausalLM, config: FlowConfig) -> Qwen3ForCausalLM:
    """The trained layers in a stock-deep text encoder.

    Stock reads hidden states 9, 18 and 27 by default. The trained layers stand in front of those, and each layer in
    between is an identity: its two output projections are zero.
    """
    deep = build_text_encoder(config, live.config.vocab_size, STOCK_DEPTH)
    with torch.no_grad():
        deep.model.embed_tokens.weight.copy_(live.model.embed_tokens.weight)
        for index, layer in enumerate(deep.model.layers):
            if index in LIVE_LAYERS[: config.text_layers]:
                layer.load_state_dict(live.model.layers[LIVE_LAYERS.index(index)].state_dict())
            else:
                for parameter in layer.parameters():
                    if parameter.ndim == 2:
                        parameter.zero_()
    return deep


def gather(live: Qwen3ForCausalLM, deep: Qwen3ForCausalLM, config: FlowConfig) -> None:
    """The inverse: the trained layers of a checkpoint into the training model, to train on from its weights."""
    live.model.embed_tokens.load_state_dict(deep.model.embed_tokens.state_dict())
    for at, index in enumerate(LIVE_LAYERS[: config.text_layers]):
        live.model.layers[at].load_state_dict(deep.model.layers[index].state_dict())
