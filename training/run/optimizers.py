"""The optimiser: AdamW, or its 8-bit form where an installed library really has one for this machine."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from pipelines.refusal import Refusal

from .config import StepsConfig
from .shards import like, whole

# Where an AdamW of 8 bits may come from, the first that works.
EIGHT_BIT = (("bitsandbytes.optim", "AdamW8bit"), ("torchao.optim", "AdamW8bit"))
TRIAL = (64, 64)  # both libraries keep the state of small tensors in full


def build(parameters: Sequence[nn.Parameter], config: StepsConfig) -> torch.optim.Optimizer:
    """The optimiser that a run file asks for.

    Raises:
        Refusal: 8 bits, and no library here has them.
    """
    # One kernel for all weights: the loop over them costs more than the numbers where they are as small as LoRA's.
    make: Callable[..., Any] = partial(torch.optim.AdamW, fused=True)
    if config.optimizer == "adamw8bit":
        make = _eight_bit(parameters[0].device)
    optimizer: torch.optim.Optimizer = make(
        parameters, lr=config.lr, betas=(config.beta1, config.beta2), weight_decay=config.weight_decay
    )
    return optimizer


def state(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Every tensor of an optimiser, by PARAMETER/SLOT; bitsandbytes has slots within a slot, PARAMETER/SLOT/SLOT."""
    found: dict[str, Tensor] = {}
    for index, slots in optimizer.state_dict()["state"].items():
        for slot, value in slots.items():
            if isinstance(value, dict):  # its tables are shared by all weights, and a checkpoint has each tensor once
                found |= {f"{index}/{slot}/{name}": each.clone() for name, each in value.items() if each is not None}
            elif value is not None:
                found[f"{index}/{slot}"] = whole(torch.as_tensor(value))
    return found


def restore(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put back what `state` gave."""
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    slots: dict[int, dict[str, Any]] = {}
    for name, tensor in tensors.items():
        index, slot, *inner = name.split("/")
        place = slots.setdefault(int(index), {})
        if inner:
            place, slot = place.setdefault(slot, {}), inner[0]
        plain = tensor.dtype == torch.int64 and tensor.ndim == 0  # bitsandbytes counts its steps in Python's numbers
        if plain:
            place[slot] = int(tensor)
        else:
            place[slot] = like(tensor, weights[int(index)]) if tensor.ndim else tensor.clone()
    optimizer.load_state_dict({**optimizer.state_dict(), "state": slots})


def _eight_bit(device: torch.device) -> Callable[..., Any]:
    """The class of the first library that passes the trial."""
    found = []
    for module, name in EIGHT_BIT:
        library = module.partition(".")[0]
        try:
            make: Callable[..., Any] = getattr(importlib.import_module(module), name)
        except Exception:  # a library for another machine may fail in any way
            found.append(f"{library} is not installed or does not load")
            continue
        try:
            wrong = _trial(make, device)
        except Exception as error:  # the same
            wrong = (str(error) or type(error).__name__).splitlines()[0][:120]
        if not wrong:
            return make
        found.append(f"{library} was tried on {device.type}: {wrong}")
    raise Refusal("loop.optimizer", f"adamw8bit is not to be had here ({'; '.join(found)}); take adamw")


def _trial(make: Callable[..., Any], device: torch.device) -> str:
    """What is wrong with an optimiser here, or "": it must lower a loss, and go on exactly from its state."""
    goal = torch.linspace(-1, 1, TRIAL[0] * TRIAL[1], device=device).view(TRIAL)

    def stepped(weight: nn.Parameter, optimizer: Any, count: int) -> Tensor:
        for _ in range(count):
            weight.grad = weight.detach() - goal
            optimizer.step()
        return weight.detach().clone()

    whole = nn.Parameter(torch.zeros(TRIAL, device=device))
    first = make([whole], lr=0.05)
    halfway = stepped(whole, first, 3)
    kept = state(first)
    if any(type(tensor) not in (Tensor, nn.Parameter) for tensor in kept.values()):
        return "its state is not of plain tensors, which checkpoints are made of"
    kept = {name: tensor.clone() for name, tensor in kept.items()}
    part = nn.Parameter(halfway.clone())
    second = make([part], lr=0.05)
    restore(second, kept)
    end = stepped(whole, first, 3)
    if not end.isfinite().all() or float((end - goal).square().mean()) >= float(goal.square().mean()):
        return "its steps lead nowhere"
    if not torch.equal(end, stepped(part, second, 3)):
        return "it does not go on exactly from a state that was saved"
    if all(tensor.dtype != torch.uint8 for tensor in kept.values()):
        return "it keeps nothing in 8 bits"
    return ""
