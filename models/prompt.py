"""Prompts to context tokens: tokenizer and text encoder of a checkpoint, called as stock FLUX.2 [klein] calls them.

Shape suffixes: B prompts, L tokens of a prompt (padding included), D width of the text encoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


class PromptEncoder:
    """Hidden states of a few text encoder layers, side by side.

    Args:
        tokenizer: a transformers tokenizer with a chat template.
        text_encoder: a transformers causal language model.
        layers: which hidden states to use; 0 are the embeddings.
        length: L. Prompts are padded to it, and the padding is seen, as in training.
    """

    def __init__(
        self,
        tokenizer: Any,
        text_encoder: Any,
        layers: Sequence[int],
        length: int,
    ) -> None:
        self.tokenizer, self.text_encoder = tokenizer, text_encoder
        self.layers, self.length = tuple(layers), length

    def text(self, prompt: str) -> str:
        """The prompt inside the checkpoint's chat template."""
        message = [{"role": "user", "content": prompt}]
        text: str = self.tokenizer.apply_chat_template(
            message, tokenize=False, add_generation_prompt=True, enable_thinking=False
        )
        return text

    def tokenize(self, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Token ids and attention mask, both [B, L]."""
        batch = self.tokenizer(
            [self.text(prompt) for prompt in prompts],
            return_tensors="pt",
            padding="max_length",
            truncation=True,
            max_length=self.length,
        )
        return batch["input_ids"], batch["attention_mask"]

    def encode(self, ids: Tensor, mask: Tensor) -> Tensor:
        """[B, L, layers * D] from token ids; differentiable."""
        device = self.text_encoder.device
        # Every layer up to the last one used is run; the language model's head is not.
        output = self.text_encoder.model(
            input_ids=ids.to(device), attention_mask=mask.to(device), output_hidden_states=True, use_cache=False
        )
        return torch.cat([output.hidden_states[layer] for layer in self.layers], -1)

    @torch.no_grad()
    def __call__(self, prompts: Sequence[str]) -> Tensor:
        """[B, L, layers * D] context tokens of `prompts`."""
        return self.encode(*self.tokenize(prompts))

    def too_long(self, prompt: str) -> list[str]:
        """A sentence where the end of `prompt` is cut off, or nothing."""
        count = len(self.tokenizer(self.text(prompt))["input_ids"])
        if count <= self.length:
            return []
        return [f"the prompt has {count} tokens and this checkpoint reads the first {self.length}"]
