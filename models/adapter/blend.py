"""Several adapters at work in one transformer, each with a weight for every token.

An adapter has a weight for the whole, and a token plan may say how much it acts on each token instead
(`TokenPlan.adapters`). With weight 1 this is the adapter, and with 0 nothing is computed. The layers stay what they are
and get hooks: peft has one weight for an adapter and not one for a token, and a checkpoint must be as it was when an
adapter leaves it.
Shape suffixes: B batch, N tokens of both streams, L tokens of the context stream, X width of the prompt encoder.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from models.attention import compile_plan
from models.plan import TokenPlan

from .delta import Delta, Deltas, SoftPrompt
from .stream import Stream, stream_of

if TYPE_CHECKING:
    from models.mmdit import MMDiT

Weight = float | Tensor  # of all tokens, or [n, 1]


class Blend:
    """The hooks of some adapters; `remove` takes them off.

    Args:
        transformer: whose layers they change.
        adapters: what each of them adds, by the name that plans know it by.
        weights: how much each of them acts where a plan says nothing of it; 1 for those that are not named.
    """

    def __init__(
        self, transformer: MMDiT, adapters: Mapping[str, Deltas], weights: Mapping[str, float] | None = None
    ) -> None:
        self._whole = {name: (weights or {}).get(name, 1.0) for name in adapters}
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
        soft = {name: deltas.soft for name, deltas in adapters.items() if deltas.soft is not None}
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
        """Note what the plan of a call says."""
        self._plan, self._weights = kwargs.get("plan"), {}
        if self._plan is None or not self._plan.adapters:
            return
        if kwargs.get("keep") is not None:
            raise ValueError("a plan with weights of adapters can not be thinned; take deferred masking off")
        self._weights = _spread(self._plan, next(transformer.parameters()).device)

    def _weight(self, name: str, stream: Stream) -> Weight:
        told = self._weights.get(name)
        return self._whole[name] if told is None else told[stream]

    def _add(
        self, stream: Stream, found: list[tuple[str, Delta]], layer: nn.Module, args: tuple[Tensor], y: Tensor
    ) -> Tensor:
        """What a layer puts out, with what the adapters add to it."""
        total = y
        for name, delta in found:
            weight = self._weight(name, stream)
            if isinstance(weight, Tensor) or weight:
                total = total + _times(weight, delta(args[0], y)).to(y.dtype)
        return total

    def _say(self, soft: Mapping[str, SoftPrompt], layer: nn.Module, args: tuple[Tensor]) -> tuple[Tensor]:
        """Prompt features [B, L, X] with the vectors of soft prompts added."""
        features = args[0]
        for name, prompt in soft.items():
            weight = self._weight(name, "context asked")
            if isinstance(weight, Tensor) or weight:
                placed = self._placed(prompt.tokens, features.shape[1])
                features = features + _times(weight, placed).to(features.dtype)
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


def _times(weight: Weight, added: Tensor) -> Tensor:
    return added if isinstance(weight, float) and weight == 1 else weight * added


def _prompts(plan: TokenPlan) -> list[int]:
    """Tokens of each prompt; they stand first, before speech."""
    return [len(segment) for segment in plan.segments if segment.kind == "prompt"]


def _spread(plan: TokenPlan, device: torch.device) -> Mapping[str, Mapping[Stream, Weight]]:
    """The weights of a plan for each stream and in its order; kept with the plan.

    An adapter without one weight for all tokens has none for what they share: see `AdapterFile.shared`.
    """
    kept = plan.__dict__.setdefault("_adapter_weights", {})
    if str(device) not in kept:
        program = compile_plan(plan, device)
        kept[str(device)] = found = {}
        for name, own in plan.adapters.items():
            asked = torch.tensor(own, dtype=torch.float32, device=device)[:, None]
            context, picture = asked[: plan.context_tokens], asked[plan.context_tokens :]
            ordered: dict[Stream, Tensor] = {
                "joint": asked[program.order],
                "context": context[program.context_order],
                "picture": picture[program.picture_order],
                "context asked": context,
                "picture asked": picture,
            }
            found[name] = {stream: _simplest(weight) for stream, weight in ordered.items()}
            if isinstance(whole := found[name]["joint"], float):
                found[name]["shared"] = whole
    spread: Mapping[str, Mapping[Stream, Weight]] = kept[str(device)]
    return spread


def _simplest(weight: Tensor) -> Weight:
    """One number where all tokens have the same: then a whole picture costs no multiplication by token."""
    first = weight[0]
    return float(first) if bool((weight == first).all()) else weight
