"""What an adapter adds to a linear layer: a function of what goes in, x, and of what comes out, y = W x.

Two lines of algebra each, apart from the layers, so that several can act on one layer at once, each with a weight for
every token.
Shape suffixes: I numbers in, O numbers out, R rank, K vectors, X width of the prompt encoder.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.siamese import SiameseBranch

from .file import SOFT, AdapterError, AdapterFile

Delta = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class LowRank:
    """LoRA (2106.09685): s B A x.

    Attributes:
        a: [R, I].
        b: [O, R].
        scale: s.
    """

    a: Tensor
    b: Tensor
    scale: float

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """[..., O]."""
        return F.linear(F.linear(x.to(self.a), self.a), self.b) * self.scale


@dataclass(frozen=True)
class Directed:
    """DoRA (2402.09353, 5): rows of length m in the direction of W + s B A, so that y becomes
    m / |W + s B A| (W + s B A) x.

    Attributes:
        product: s B A.
        ratio: [O] m / |W + s B A|.
        bias: [O] of the layer, which the length of the rows does not concern.
    """

    product: LowRank
    ratio: Tensor
    bias: Tensor | None

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """[..., O]."""
        turned = y if self.bias is None else y - self.bias
        return (self.ratio - 1) * turned + self.ratio * self.product(x, y)


class ScaleShift(nn.Module):
    """Diffscaler (2404.09976): a y + b, for each number that a layer puts out, zero at first.

    The paper's third term, a small network beside each layer, is what LoRA is and is left out.
    """

    def __init__(self, out_features: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(out_features))
        self.shift = nn.Parameter(torch.zeros(out_features))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """[..., O]."""
        return self.scale * y + self.shift


class SoftPrompt(nn.Module):
    """Vectors that are added to the last K tokens of a prompt, zero at first; in SoftREPA's manner (2503.08250).

    A prompt is padded to one length and its padding is seen, so its last tokens are free places unless it is long. The
    paper has vectors for several layers and times; here there is one set, before the first layer.
    """

    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        self.tokens = nn.Parameter(torch.zeros(tokens, width))


@dataclass(frozen=True)
class Deltas:
    """What one adapter adds: to linear layers, by their names in the transformer, and to prompts."""

    linears: Mapping[str, Delta]
    soft: SoftPrompt | None = None


def branch_of(file: AdapterFile, tensors: Mapping[str, Tensor]) -> SiameseBranch:
    """A siamese branch that was loaded; it fits, see `file.check_fits`.

    Raises:
        AdapterError: its tensors are not those of its configuration.
    """
    with torch.device("meta"):  # nothing is allocated by what a header says
        try:
            branch = SiameseBranch(**file.branch)
        except TypeError:
            raise AdapterError(f"{file.path}: the branch's configuration is of another version") from None
    try:
        branch.load_state_dict({name.removeprefix("siamese."): tensor for name, tensor in tensors.items()}, assign=True)
    except RuntimeError as error:
        raise AdapterError(f"{file.path}: {' '.join(str(error).split())[:300]}") from None
    found: SiameseBranch = branch.requires_grad_(False).eval()
    return found


def deltas_of(file: AdapterFile, tensors: Mapping[str, Tensor], transformer: nn.Module) -> Deltas:
    """An adapter that was loaded for `transformer`, see `file.load`; it fits, see `file.check_fits`."""
    if file.kind == "soft_prompt":
        soft = SoftPrompt(*file.shapes[f"transformer.{SOFT}"])
        soft.tokens.data = tensors[f"transformer.{SOFT}"]
        return Deltas({}, soft.requires_grad_(False))
    found: dict[str, Delta] = {}
    for module in file.modules:
        own = f"transformer.{module}"
        layer = transformer.get_submodule(module)
        assert isinstance(layer, nn.Linear)
        if file.kind == "scale_shift":
            delta = ScaleShift(layer.out_features)
            delta.scale.data, delta.shift.data = (
                tensors[f"{own}.scale_shift.scale"],
                tensors[f"{own}.scale_shift.shift"],
            )
            found[module] = delta.requires_grad_(False)
            continue
        a, b, scale = tensors[f"{own}.lora_A.weight"], tensors[f"{own}.lora_B.weight"], file.scale(module)
        low = LowRank(a.to(layer.weight), b.to(layer.weight), scale)
        found[module] = low
        if file.kind == "dora":
            # In float32: that of bfloat16 can not tell a ratio of 1.001 from 1.
            length = torch.linalg.norm(layer.weight.float() + scale * (b @ a), dim=1)
            found[module] = Directed(low, tensors[f"{own}.lora_magnitude_vector"] / length, layer.bias)
    return Deltas(found)
