"""The file of an adapter: one safetensors file, whose header says what it is and what it was trained on.

    transformer.MODULE.lora_A.weight, .lora_B.weight    [R, I], [O, R]  LoRA and DoRA, as stock diffusers writes them
    transformer.MODULE.lora_magnitude_vector            [O]             DoRA
    transformer.MODULE.scale_shift.scale, .shift        [O]
    transformer.context_embedder.soft_prompt.tokens     [K, X]
    siamese.PARAMETER                                                   the whole branch

LoRA and DoRA files that stock diffusers wrote are read too, and it reads ours: `load_lora_weights` takes rank and alpha
from the same entry of the header. Until the weights are loaded, torch is not.
Shape suffixes: R rank, I numbers that go into a layer and O that come out, K vectors, X width of the prompt encoder.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .config import AdapterConfig, Kind
from .stream import stream_of

if TYPE_CHECKING:
    from torch import Tensor

    from models.checkpoint import Description

Shape = tuple[int, ...]

OURS, STOCK = "diorama", "lora_adapter_metadata"  # entries of a header
SUFFIX = ".safetensors"
FOLDER = Path("adapters")  # where names are looked up, seen from where the command is run
SOFT = "context_embedder.soft_prompt.tokens"
PARTS: dict[str, tuple[str, ...]] = {
    "lora": ("lora_A.weight", "lora_B.weight"),
    "dora": ("lora_A.weight", "lora_B.weight", "lora_magnitude_vector"),
    "scale_shift": ("scale_shift.scale", "scale_shift.shift"),
}


class AdapterError(ValueError):
    """Not an adapter that can be used here; one sentence."""


@dataclass(frozen=True)
class About:
    """What an adapter was trained on.

    Attributes:
        checkpoint: its name.
        base: hash of its files; with other weights an adapter of the right shapes may do anything.
        words: words that stand for what was learnt, such as a mascot's name.
        steps: of the training.
    """

    checkpoint: str
    base: str = ""
    words: tuple[str, ...] = ()
    steps: int = 0


@dataclass(frozen=True)
class AdapterFile:
    """An adapter by the header of its file.

    Attributes:
        path: the file.
        kind: what was trained.
        shapes: of each tensor.
        about: what it was trained on; None where another program wrote it.
        alpha: of LoRA and DoRA; None is the rank.
        root: whether alpha is divided by the root of the rank (rsLoRA, 2312.03732), as a stock file may ask for.
        branch: configuration of a siamese branch.
    """

    path: Path
    kind: Kind
    shapes: Mapping[str, Shape]
    about: About | None = None
    alpha: float | None = None
    root: bool = False
    branch: Mapping[str, Any] = field(default_factory=dict)

    @property
    def modules(self) -> tuple[str, ...]:
        """Linear layers of the transformer that it changes."""
        first = PARTS.get(self.kind, ("",))[0]
        names = (name.removeprefix("transformer.") for name in self.shapes)
        return tuple(name.removesuffix(f".{first}") for name in names if first and name.endswith(f".{first}"))

    @property
    def shared(self) -> tuple[str, ...]:
        """Those of them that no token goes through: what all tokens share can not be changed for some of them."""
        return tuple(module for module in self.modules if stream_of(module) == "shared")

    def scale(self, module: str) -> float:
        """What the product of a module's two matrices is multiplied by."""
        rank = self.shapes[f"transformer.{module}.lora_A.weight"][0]
        return 1.0 if self.alpha is None else self.alpha / (math.sqrt(rank) if self.root else rank)


def is_name(text: str) -> bool:
    """Whether a text means an adapter in the folder `adapters`, and not a file wherever: a name leads nowhere else."""
    return not text.startswith((".", "~")) and not set(text) & set("/\\:") and not text.endswith(SUFFIX)


def locate(text: str) -> Path:
    """The file that a name or a path means, whether it is there or not."""
    return FOLDER / f"{text}{SUFFIX}" if is_name(text) else Path(text).expanduser()


def names() -> list[str]:
    """Names of what lies in the folder of adapters; nothing is opened."""
    return sorted(path.stem for path in FOLDER.glob(f"*{SUFFIX}") if is_name(path.stem))


def read(path: Path) -> AdapterFile:
    """What the adapter at `path` is; its weights are not loaded.

    Raises:
        AdapterError: no file, not safetensors, or no adapter.
    """
    shapes, header = _header(path)
    try:
        ours, stock = (dict(json.loads(header.get(entry, "{}"))) for entry in (OURS, STOCK))
        file = AdapterFile(
            path,
            _kind(path, ours, shapes),
            shapes,
            _about(**ours["about"]) if ours else None,
            alpha=_number(stock.get("transformer.lora_alpha")),
            root=stock.get("transformer.use_rslora") is True,
            branch=dict(ours.get("branch", {})),
        )
    except AdapterError:
        raise
    except (KeyError, TypeError, ValueError, RecursionError):
        raise AdapterError(f"{path}: what its header says about itself can not be read; it is damaged") from None
    if stock.get("transformer.alpha_pattern"):
        raise AdapterError(f"{path}: expected one alpha for all layers, got one for each; save it with one")
    _check_parts(file)
    return file


def load(file: AdapterFile, device: Any = "cpu") -> dict[str, Tensor]:
    """The tensors of an adapter, in float32.

    Raises:
        AdapterError: the file can no longer be read, or has values that are no numbers.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load as parsed

    try:
        tensors = parsed(file.path.read_bytes())  # not mapped: somebody may write over the file while it is used
    except (OSError, SafetensorError) as error:
        raise AdapterError(f"{file.path}: can not be read: {' '.join(str(error).split())[:200]}") from None
    if {name: tuple(tensor.shape) for name, tensor in tensors.items()} != file.shapes:
        raise AdapterError(f"{file.path} was changed while it was read; render again")
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise AdapterError(f"{file.path}: {name} has values that are no numbers; the training went wrong")
    return {name: tensor.to(device, torch.float32) for name, tensor in tensors.items()}


def write(
    path: Path,
    tensors: Mapping[str, Tensor],
    config: AdapterConfig,
    about: About,
    branch: Mapping[str, Any] | None = None,
) -> None:
    """Keep an adapter; the file appears whole or not at all.

    Args:
        path: the file, which is written over.
        tensors: by their names in the file.
        config: how it was trained.
        about: on what.
        branch: configuration of a siamese branch.
    """
    from safetensors.torch import save_file

    ours: dict[str, Any] = {"kind": config.kind, "about": asdict(about)}
    if branch is not None:
        ours["branch"] = dict(branch)
    header = {"format": "pt", OURS: json.dumps(ours)}
    if config.kind in ("lora", "dora"):
        stock = {
            "r": config.rank,
            "lora_alpha": config.rank if config.alpha is None else config.alpha,
            "target_modules": sorted({name.removeprefix("transformer.").split(".lora_")[0] for name in tensors}),
            "use_dora": config.kind == "dora",
        }
        header[STOCK] = json.dumps({f"transformer.{key}": value for key, value in stock.items()})
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, temporary, header)
    os.replace(temporary, path)


def check_fits(file: AdapterFile, description: Description) -> None:
    """Raise AdapterError where an adapter was made for a transformer of other sizes; weights are not read."""
    if file.kind == "siamese":
        return _check_branch(file, description)
    if file.kind == "soft_prompt":
        tokens, width = file.shapes[f"transformer.{SOFT}"]
        expected = int(description.transformer["joint_attention_dim"])
        if width != expected or tokens > description.prompt_tokens:
            raise AdapterError(
                f"{file.path}: expected at most {description.prompt_tokens} vectors of {expected} numbers for "
                f"{description.name!r}, got {tokens} of {width}; it was trained on another checkpoint"
            )
        return None
    base = _shapes_in(description.folder / "transformer")
    for module in file.modules:
        there = base.get(f"{module}.weight")
        if there is None or len(there) != 2:
            raise AdapterError(
                f"{file.path}: {description.name!r} has no linear layer {module}; it was trained on another checkpoint"
            )
        for part in PARTS[file.kind]:
            got = file.shapes[f"transformer.{module}.{part}"]
            expected_shape = {"lora_A.weight": (got[0], there[1]), "lora_B.weight": (there[0], got[-1])}
            if got != expected_shape.get(part, (there[0],)):
                raise AdapterError(
                    f"{file.path}: {module}.{part} is {list(got)} and does not fit the {list(there)} of "
                    f"{description.name!r}; it was trained on another checkpoint"
                )


def _check_branch(file: AdapterFile, description: Description) -> None:
    from models.checkpoint import CheckpointError, check_siamese

    try:
        check_siamese(file.branch, description.transformer, description.name)
    except CheckpointError:
        raise AdapterError(
            f"{file.path}: the siamese branch does not fit {description.name!r}; it was trained on another checkpoint"
        ) from None


def _header(path: Path) -> tuple[dict[str, Shape], dict[str, str]]:
    """Shapes and metadata of a safetensors file."""
    from safetensors import SafetensorError, safe_open

    try:
        if not path.is_file():
            there = "a folder" if path.is_dir() else "nothing"
            raise AdapterError(f"{path}: expected a {SUFFIX} file, got {there} of that name")
    except OSError as error:  # a name that no file can have
        raise AdapterError(f"{path}: can not be read: {error.strerror}") from None
    if path.suffix != SUFFIX:
        raise AdapterError(f"{path}: expected a {SUFFIX} file; other formats can run code and are never read")
    try:
        with safe_open(path, "numpy") as file:
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
            return shapes, dict(file.metadata() or {})
    except (OSError, SafetensorError):
        raise AdapterError(f"{path} is not a safetensors file, whatever its name says, or can not be read") from None


def _shapes_in(folder: Path) -> dict[str, Shape]:
    """Shapes of the weights in a component's folder."""
    return {name: shape for path in sorted(folder.glob(f"*{SUFFIX}")) for name, shape in _header(path)[0].items()}


def _kind(path: Path, ours: Mapping[str, Any], shapes: Mapping[str, Shape]) -> Kind:
    """What a file is: what it says, or LoRA and DoRA by their names."""
    if ours:
        kind = AdapterConfig.model_validate({"kind": ours["kind"]}).kind
        if kind == "full":
            raise KeyError(kind)
        return kind
    names = list(shapes)
    if names and all(name.startswith("transformer.") and ".lora_" in name for name in names):
        return "dora" if any("lora_magnitude_vector" in name for name in names) else "lora"
    if any(".lora_" in name or ".lokr_" in name for name in names):
        raise AdapterError(
            f"{path}: expected names such as transformer.MODULE.lora_A.weight, got {names[0]}; "
            "load it in stock diffusers and save it again from there"
        )
    raise AdapterError(f"{path}: expected an adapter, got other weights; `model:` takes whole checkpoints")


def _about(checkpoint: object, base: object, words: object, steps: object) -> About:
    """What a header says of the training.

    Raises:
        TypeError: it says something else.
    """
    if not (isinstance(checkpoint, str) and isinstance(base, str) and isinstance(words, list) and type(steps) is int):
        raise TypeError
    return About(checkpoint, base, tuple(map(str, words)), steps)


def _check_parts(file: AdapterFile) -> None:
    """Every tensor is one of the kind's, none is missing, and those that belong together fit."""
    if file.kind == "siamese":
        expected = {name for name in file.shapes if name.startswith("siamese.")}
    elif file.kind == "soft_prompt":
        expected = {f"transformer.{SOFT}"}
    else:
        expected = {f"transformer.{module}.{part}" for module in file.modules for part in PARTS[file.kind]}
    got = set(file.shapes)
    if not expected or got != expected:
        odd = min(got ^ expected, default="nothing")
        raise AdapterError(
            f"{file.path}: it is no whole {file.kind} adapter, as {odd} shows; it is damaged or of another kind"
        )
    for name, shape in file.shapes.items():
        if name.endswith(".lora_A.weight"):
            other = file.shapes[name.replace(".lora_A.", ".lora_B.")]
            if len(shape) != 2 or len(other) != 2 or shape[0] != other[1] or not shape[0]:
                raise AdapterError(f"{file.path}: {name} is {list(shape)} beside {list(other)}; expected one rank")
    if file.kind == "soft_prompt" and len(file.shapes[f"transformer.{SOFT}"]) != 2:
        raise AdapterError(f"{file.path}: expected a soft prompt of [vectors, numbers], got {file.shapes}")


def _number(value: object) -> float | None:
    """A finite number above zero, or None where there is none.

    Raises:
        ValueError: it is something else.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ValueError
    return float(value)
