"""Makes an adapter of a checkpoint trainable: what is learnt is added, everything else is frozen.

LoRA and DoRA are peft's own layers. What peft has no layers for, scale-and-shift and soft prompts, is trained through
the hooks that also render it (`blend.py`); its parameters are registered inside of the layers that they belong to, so
that whatever shards or counts a module's parameters finds them.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from models.siamese import SiameseBranch

from .blend import Blend
from .config import AdapterConfig
from .delta import Deltas, ScaleShift, SoftPrompt
from .file import About, write

if TYPE_CHECKING:
    from models.mmdit import MMDiT

NAME = "default"  # what peft calls the adapter that is trained


@dataclass(frozen=True)
class Attached:
    """An adapter that is being trained.

    Attributes:
        config: what is trained.
        transformer: with the adapter in it.
        siamese: the layout branch that goes with it; a new one where the kind is `siamese` and there was none.
        trainable: the parameters to optimise, by name; all others are frozen.
    """

    config: AdapterConfig
    transformer: MMDiT
    siamese: SiameseBranch | None
    trainable: Mapping[str, nn.Parameter]

    def renewed(self) -> Attached:
        """The same after something, such as sharding, has put other parameters in the place of the transformer's."""
        return replace(self, trainable=_trainable({"transformer": self.transformer}))

    def tensors(self, values: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        """What is kept in a file, by its names there.

        Args:
            values: in place of the parameters by the names of `trainable`, such as their moving averages.
        """
        found = self.trainable if values is None else values
        return {_in_file(name): found[name] for name in self.trainable}

    def save(self, path: Path, about: About, values: Mapping[str, Tensor] | None = None) -> None:
        """Write the adapter to a safetensors file; for `full`, a whole checkpoint into a folder.

        Args:
            path: a file, or for `full` a folder that is not there.
            about: what it was trained on; for `full`, whose other components are copied.
            values: see `tensors`.
        """
        tensors = self.tensors(values)
        if self.config.kind == "full":
            return self._save_checkpoint(path, about, tensors)
        branch = None
        if self.config.kind == "siamese" and self.siamese is not None:
            branch = {key: value for key, value in self.siamese.config.items() if not key.startswith("_")}
        write(path, tensors, self.config, about, branch)

    def _save_checkpoint(self, folder: Path, about: About, tensors: Mapping[str, Tensor]) -> None:
        from models.checkpoint import describe

        def left_out(inside: str, names: list[str]) -> list[str]:
            return [name for name in names if Path(inside).name == "transformer" and name != "config.json"]

        shutil.copytree(describe(about.checkpoint).folder, folder, ignore=left_out)
        state = {name.removeprefix("transformer."): tensor.detach().cpu() for name, tensor in tensors.items()}
        # The transformer's own weights may be others, or spread over processes; diffusers writes no others than a
        # model's own, whatever it is given.
        with torch.device("meta"):
            copy = type(self.transformer).from_config(self.transformer.config)
        copy.load_state_dict(state, assign=True)
        copy.save_pretrained(folder / "transformer", safe_serialization=True)


def attach(config: AdapterConfig, transformer: MMDiT, siamese: SiameseBranch | None = None) -> Attached:
    """Add an adapter to a transformer and freeze the rest; until a step is taken nothing that it computes changes.

    Args:
        config: what is trained.
        transformer: is changed.
        siamese: the checkpoint's layout branch.

    Raises:
        ValueError: modules that the transformer does not have.
    """
    for module in (transformer, siamese):
        if module is not None:
            module.requires_grad_(False)
    if config.kind == "siamese":
        branch = siamese or SiameseBranch.of(transformer).to(transformer.device)
        branch.requires_grad_(True)
        return Attached(config, transformer, branch, _trainable({"siamese": branch}))
    if config.kind == "full":
        transformer.requires_grad_(True)
    elif config.kind == "soft_prompt":
        embedder = transformer.context_embedder
        embedder.soft_prompt = SoftPrompt(config.tokens, embedder.in_features).to(embedder.weight.device)
        Blend(transformer, {NAME: Deltas({}, embedder.soft_prompt)})
    elif config.kind == "scale_shift":
        deltas = {}
        for name in linears(transformer, config.modules):
            layer = transformer.get_submodule(name)
            layer.scale_shift = ScaleShift(layer.out_features).to(layer.weight.device)
            deltas[name] = layer.scale_shift
        Blend(transformer, {NAME: Deltas(deltas)})
    else:
        _attach_low_rank(config, transformer)
    return Attached(config, transformer, siamese, _trainable({"transformer": transformer}))


def linears(transformer: nn.Module, ends: tuple[str, ...]) -> list[str]:
    """Names of the linear layers that are called as one of `ends`, or end so after a dot.

    Raises:
        ValueError: one of them is no layer's.
    """
    names = [name for name, module in transformer.named_modules() if isinstance(module, nn.Linear)]
    found: dict[str, None] = {}
    for end in ends:
        own = [name for name in names if name == end or name.endswith(f".{end}")]
        if not own:
            raise ValueError(f"the transformer has no linear layer {end!r}; its last ones are {', '.join(names[-4:])}")
        found |= dict.fromkeys(own)
    return [name for name in names if name in found]


def _attach_low_rank(config: AdapterConfig, transformer: MMDiT) -> None:
    """Peft's layers, with B zero and DoRA's magnitudes those of the frozen rows: they begin as the identity."""
    from peft import LoraConfig

    low_rank = LoraConfig(
        r=config.rank,
        lora_alpha=config.rank if config.alpha is None else config.alpha,
        target_modules=linears(transformer, config.modules),
        use_dora=config.kind == "dora",
    )
    transformer.add_adapter(low_rank, NAME)
    for parameter in transformer.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()  # what is learnt in small steps is lost in 8 bits of mantissa


def _trainable(roots: Mapping[str, nn.Module]) -> dict[str, nn.Parameter]:
    """Parameters that are learnt, by their names below the names of `roots`."""
    return {
        f"{root}.{name}": parameter
        for root, module in roots.items()
        for name, parameter in module.named_parameters()
        if parameter.requires_grad
    }


def _in_file(name: str) -> str:
    """The name in a file: as peft and diffusers write it, without the adapter's own name."""
    return name.replace(f".{NAME}.weight", "" if ".lora_magnitude_vector." in name else ".weight")
