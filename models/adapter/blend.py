"""Several adapters at work in one transformer, each with a weight for every token.

A token plan says how much each adapter acts on each of its tokens (`TokenPlan.adapters`); where it does not say, they
all act in full. With weight 1 everywhere this is the adapter and with 0 nothing is computed. The layers stay what they
are and get hooks: peft has one weight for an adapter and not one for a token, and a checkpoint must be as it was when
an adapter leaves it.
Shape suffixes: B batch, N tokens of both streams, L tokens of the context stream, X width of the prompt encoder.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from models.attention import compile_plan
from models.plan import TokenPlan

from .delta import Delta, Deltas

if TYPE_CHECKING:
    from models.mmdit import MMDiT

# The tokens that go through a layer and their order: both streams or one of them in plan order, one as it was asked
# for, or no tokens at all but what all of them share, such as their modulation.
Stream = Literal["joint", "context", "picture", "context asked", "picture asked", "shared"]
Weight = float | Tensor  # of all tokens, or [n, 1]


class Blend:
    """The hooks of some adapters; `remove` takes them off.

    Args:
        transformer: whose layers they change.
        adapters: what each of them adds, by the name that plans know it by.
    """

    def __init__(self, transformer: MMDiT, adapters: Mapping[str, Deltas]) -> None:
        self._plan: TokenPlan | None = None
        self._weights: Mapping[str, Mapping[Stream, Weight]] = {}
        hooks = [transformer.register_forward_pre_hook(self._begin, with_kwargs=True)]
        of_layer: dict[str, list[tuple[str, Delta]]] = {}
        for name, deltas in adapters.items():
            for layer, delta in deltas.linears.items():
                of_layer.setdefault(layer, []).append((name, delta))
        for layer, found in of_layer.items():
            add = partial(self._add, stream_of(layer), found)
            hooks.append(transformer.get_submodule(layer).register_forward_hook(add))
        soft = {name: deltas.soft.tokens for name, deltas in adapters.items() if deltas.soft is not None}
        if soft:
            hooks.append(transformer.context_embedder.register_forward_pre_hook(partial(self._say, soft)))
        self._hooks = hooks

    def remove(self) -> None:
        """Leave the transformer as it was."""
        for hook in self._hooks:
            hook.remove()

    def __enter__(self) -> Blend:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    def _begin(self, transformer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Note what the plan of a call says; without a plan all tokens have weight 1."""
        self._plan = kwargs.get("plan")
        self._weights = {}
        if self._plan is None or self._plan.adapters is None:
            return
        if kwargs.get("keep") is not None:
            raise ValueError("a plan with weights of adapters can not be thinned; take deferred masking off")
        self._weights = _spread(self._plan, next(transformer.parameters()))

    def _weight(self, name: str, stream: Stream) -> Weight:
        if self._plan is None or self._plan.adapters is None:
            return 1.0
        weights = self._weights.get(name)  # an adapter of which a plan says nothing has no part in it
        return 0.0 if weights is None else weights[stream]

    def _add(
        self, stream: Stream, found: list[tuple[str, Delta]], layer: nn.Module, args: tuple[Tensor], y: Tensor
    ) -> Tensor:
        """What a layer puts out, with what the adapters add to it."""
        total = y
        for name, delta in found:
            weight = self._weight(name, stream)
            if isinstance(weight, Tensor):
                total = total + (weight * delta(args[0], y)).to(y.dtype)
            elif weight:
                added = delta(args[0], y)
                total = total + (added if weight == 1 else weight * added).to(y.dtype)
        return total

    def _say(self, soft: Mapping[str, Tensor], layer: nn.Module, args: tuple[Tensor]) -> tuple[Tensor]:
        """Prompt features [B, L, X] with the vectors of soft prompts added."""
        features = args[0]
        for name, tokens in soft.items():
            weight = self._weight(name, "context asked")
            if isinstance(weight, Tensor) or weight:
                features = features + (self._placed(tokens, features.shape[1]) * weight).to(features.dtype)
        return (features,)

    def _placed(self, tokens: Tensor, length: int) -> Tensor:
        """[L, X] the vectors at the end of each prompt of the call, and zeros elsewhere."""
        placed = tokens.new_zeros(length, tokens.shape[1])
        end = 0
        for many in [length] if self._plan is None else _prompts(self._plan):
            end += many
            if many < len(tokens):
                raise ValueError(f"a soft prompt of {len(tokens)} vectors needs as many tokens, the prompt has {many}")
            placed[end - len(tokens) : end] = tokens
        return placed


def stream_of(layer: str) -> Stream:
    """Which tokens go through a linear layer of the transformer."""
    if layer.startswith("single_transformer_blocks."):
        return "joint"
    if layer.startswith("transformer_blocks."):
        in_context = any(part in layer for part in (".attn.add_", ".attn.to_add_out", ".ff_context."))
        return "context" if in_context else "picture"
    streams: dict[str, Stream] = {
        "proj_out": "picture",
        "x_embedder": "picture asked",
        "context_embedder": "context asked",
    }
    return streams.get(layer, "shared")


def _prompts(plan: TokenPlan) -> list[int]:
    """Tokens of each prompt; they stand first, before speech."""
    return [len(segment) for segment in plan.segments if segment.kind == "prompt"]


def _spread(plan: TokenPlan, like: Tensor) -> Mapping[str, Mapping[Stream, Weight]]:
    """The weights of a plan for each stream and in its order; kept with the plan.

    Where an adapter's weight is not the same for all tokens, what they share has none: see `check_parts`.
    """
    kept = plan.__dict__.setdefault("_adapter_weights", {})
    key = (str(like.device), like.dtype)
    if key not in kept:
        assert plan.adapters is not None
        program = compile_plan(plan, like.device)
        kept[key] = found = {}
        for name, own in plan.adapters.items():
            asked = torch.tensor(np.asarray(own), dtype=like.dtype, device=like.device)[:, None]
            context, picture = asked[: plan.context_tokens], asked[plan.context_tokens :]
            ordered: dict[Stream, Tensor] = {
                "joint": asked[program.order],
                "context": context[program.context_order],
                "picture": picture[program.picture_order],
                "context asked": context,
                "picture asked": picture,
            }
            found[name] = {stream: _simplest(weight) for stream, weight in ordered.items()}
            found[name]["shared"] = found[name]["joint"] if isinstance(found[name]["joint"], float) else 0.0
    spread: Mapping[str, Mapping[Stream, Weight]] = kept[key]
    return spread


def _simplest(weight: Tensor) -> Weight:
    """One number where all tokens have the same: then a whole picture costs no multiplication by token."""
    first = weight[0]
    return float(first) if bool((weight == first).all()) else weight
