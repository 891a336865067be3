"""Checkpoints: a name, a folder in diffusers layout or a hub id becomes a bundle of components.

What a checkpoint is can be told from its JSON files (`describe`); weights come later (`load`), and from safetensors
alone. Nothing is fetched: a hub id is looked up in the local cache.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from .codec import Codec
    from .mmdit import AuxiliaryHead, MMDiT
    from .prompt import PromptEncoder
    from .siamese import SiameseBranch

EMBEDDED = Path(__file__).resolve().parent.parent / "assets"
LAYOUTS = ("Flux2KleinPipeline",)
WEIGHTS = ("transformer", "vae", "text_encoder")
BESIDE = ("auxiliary", "siamese", "speech", "warp")  # folders of weights that a checkpoint may have, too
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
MAX_HEADER = 100_000_000  # bytes; the limit of the safetensors format itself
MAX_CONFIG = 4_000_000
NEEDED = {
    "transformer": ("attention_head_dim", "num_attention_heads", "num_layers", "num_single_layers", "mlp_ratio"),
    "vae": ("block_out_channels", "latent_channels"),
}


class CheckpointError(ValueError):
    """Not a checkpoint that can be read; one sentence."""


@dataclass(frozen=True)
class Description:
    """A checkpoint by its configuration files.

    `house` is our own file `diorama.json`, where there is one: prompt_tokens, text_layers, sides, vocabulary,
    frames, boxes, prompts_at_boxes. Checkpoints without it get FLUX.2 [klein]'s values.
    """

    name: str
    folder: Path
    distilled: bool
    transformer: Mapping[str, Any]
    vae: Mapping[str, Any]
    scheduler: Mapping[str, Any]
    house: Mapping[str, Any] = field(default_factory=dict)
    siamese: Mapping[str, Any] | None = None  # the configuration of the siamese layout branch, where there is one

    @property
    def prompt_tokens(self) -> int:
        """Length that prompts are padded to."""
        return int(self.house.get("prompt_tokens", 512))

    @property
    def text_layers(self) -> tuple[int, ...]:
        """Hidden states of the text encoder that the transformer reads."""
        return tuple(self.house.get("text_layers", (9, 18, 27)))

    @property
    def sides(self) -> tuple[int, int]:
        """Smallest and largest side in pixels that the checkpoint draws."""
        low, high = self.house.get("sides", (64, 2048))
        return int(low), int(high)

    @property
    def vocabulary(self) -> tuple[str, ...] | None:
        """Words of the training captions; None for checkpoints that read open text."""
        words = self.house.get("vocabulary")
        return None if words is None else tuple(words)

    @property
    def prompts_at_boxes(self) -> bool:
        """Whether the words of a box's or a layer's prompt stand at its middle token; else at the origin, as FLUX.2's.

        This is the dialect of the checkpoint: it must be what it was trained on.
        """
        return bool(self.house.get("prompts_at_boxes", False))

    @property
    def scale(self) -> int:
        """Pixels a token is wide."""
        return int(2 * 2 ** (len(self.vae["block_out_channels"]) - 1))

    @property
    def width(self) -> int:
        """D of the transformer."""
        return int(self.transformer["attention_head_dim"] * self.transformer["num_attention_heads"])


@dataclass
class Checkpoint:
    """Loaded components, ready to render with."""

    description: Description
    transformer: MMDiT
    codec: Codec
    prompts: PromptEncoder
    auxiliary: AuxiliaryHead | None
    siamese: SiameseBranch | None = None

    @property
    def device(self) -> torch.device:
        """Where the transformer is."""
        device: torch.device = self.transformer.device
        return device


def describe(name: str) -> Description:
    """What the checkpoint is, from its configuration files alone; torch is not loaded.

    Raises:
        CheckpointError: not found, not in a layout that is read, or weights that are not safetensors.
    """
    folder = _find(name)
    index = _read_json(folder / "model_index.json", name)
    layout = index.get("_class_name")
    if layout not in LAYOUTS:
        raise CheckpointError(f"{name!r} is a {layout}; the layouts read here are {', '.join(LAYOUTS)}")
    for component in (*WEIGHTS, "tokenizer", "scheduler"):
        if not (folder / component).is_dir():
            raise CheckpointError(f"{name!r} is not a whole checkpoint: its folder {component} is missing")
    for component in WEIGHTS:
        _check_weights(folder / component, name)
    configs = {part: _read_json(folder / part / "config.json", name) for part in NEEDED}
    for part, keys in NEEDED.items():
        if missing := [key for key in keys if configs[part].get(key) is None]:
            raise CheckpointError(f"{name!r}: {part}/config.json does not say {', '.join(missing)}")
    house = _read_json(folder / "diorama.json", name) if (folder / "diorama.json").exists() else {}
    siamese = None
    if (folder / "siamese").is_dir():
        _check_weights(folder / "siamese", name)
        siamese = _read_json(folder / "siamese" / "config.json", name)
        check_siamese(siamese, configs["transformer"], name)
    return Description(
        name=name,
        folder=folder,
        distilled=bool(index.get("is_distilled", False)),
        transformer=configs["transformer"],
        vae=configs["vae"],
        scheduler=_read_json(folder / "scheduler" / "scheduler_config.json", name),
        house=house,
        siamese=siamese,
    )


def load(description: Description, device: torch.device | str = "cpu", dtype: torch.dtype | None = None) -> Checkpoint:
    """Read the weights of a described checkpoint.

    Args:
        description: from `describe`.
        device: where the components go.
        dtype: None is float32 on CPU, so that pictures do not depend on kernels, and bfloat16 elsewhere.

    Raises:
        CheckpointError: components that do not fit their configuration.
    """
    import torch
    from diffusers import AutoencoderKLFlux2
    from diffusers.utils import logging as diffusers_logging
    from transformers import Qwen2TokenizerFast, Qwen3ForCausalLM
    from transformers.utils import logging as transformers_logging

    from .codec import Codec
    from .mmdit import AuxiliaryHead, MMDiT
    from .prompt import PromptEncoder
    from .siamese import SiameseBranch

    for library in (diffusers_logging, transformers_logging):
        library.disable_progress_bar()  # a bar for each component says nothing that the job's own bar does not
    device = torch.device(device)
    dtype = dtype or (torch.float32 if device.type == "cpu" else torch.bfloat16)
    folder = description.folder
    options: dict[str, Any] = {"local_files_only": True, "use_safetensors": True}
    try:
        transformer = MMDiT.from_pretrained(folder, subfolder="transformer", dtype=dtype, **options)
        vae = AutoencoderKLFlux2.from_pretrained(folder, subfolder="vae", dtype=dtype, **options)
        text_encoder = Qwen3ForCausalLM.from_pretrained(folder / "text_encoder", dtype=dtype, **options)
        tokenizer = Qwen2TokenizerFast.from_pretrained(folder / "tokenizer", local_files_only=True)
        auxiliary = None
        if (folder / "auxiliary").is_dir():
            _check_weights(folder / "auxiliary", description.name)
            auxiliary = AuxiliaryHead.from_pretrained(folder, subfolder="auxiliary", dtype=dtype, **options)
        siamese = None
        if description.siamese is not None:
            siamese = SiameseBranch.from_pretrained(folder, subfolder="siamese", dtype=dtype, **options)
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise CheckpointError(
            f"{description.name!r} can not be loaded: {' '.join(str(error).split())[:300]}"
        ) from error
    for module in (transformer, vae, text_encoder, auxiliary, siamese):
        if module is not None:
            module.requires_grad_(False).eval().to(device)
    prompts = PromptEncoder(tokenizer, text_encoder, description.text_layers, description.prompt_tokens)
    return Checkpoint(description, transformer.use_plans(), Codec(vae), prompts, auxiliary, siamese)


def _find(name: str) -> Path:
    """The folder of a checkpoint: embedded, on disk, or in the hub's local cache."""
    embedded = EMBEDDED / name
    if name.isidentifier() and (embedded / "model_index.json").exists():
        return embedded
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not (folder / "model_index.json").exists():
            raise CheckpointError(f"{name!r} is a folder but not a checkpoint: it has no model_index.json")
        return folder
    if folder.exists():
        raise CheckpointError(f"{name!r} is a file; expected a folder in diffusers layout, a name or a hub id")
    if name.count("/") == 1 and not name.startswith((".", "/", "~")):
        from huggingface_hub import try_to_load_from_cache
        from huggingface_hub.errors import HFValidationError

        try:
            cached = try_to_load_from_cache(name, "model_index.json")
        except HFValidationError:
            cached = None
        if isinstance(cached, str):
            return Path(cached).parent
        raise CheckpointError(
            f"{name!r} is neither a folder nor in the local hub cache; fetch it with `hf download {name}`"
        )
    known = ", ".join(sorted(path.parent.name for path in EMBEDDED.glob("*/model_index.json"))) or "none"
    raise CheckpointError(f"no checkpoint {name!r}; embedded here: {known}; or give a folder or a hub id")


def _read_json(path: Path, name: str) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_CONFIG:
            raise CheckpointError(f"{name!r}: {path.name} is larger than a configuration can be")
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(
            f"{name!r} is not a whole checkpoint: {path.parent.name}/{path.name} is missing"
        ) from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise CheckpointError(f"{name!r}: {path.parent.name}/{path.name} can not be read: {error}") from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{name!r}: {path.parent.name}/{path.name} is not a JSON object")
    return value


def check_siamese(siamese: Mapping[str, Any], transformer: Mapping[str, Any], name: str) -> None:
    """The branch was made for this transformer."""
    expected = {
        "width": transformer["attention_head_dim"] * transformer["num_attention_heads"],
        "features": transformer.get("joint_attention_dim"),
        "head_dim": transformer["attention_head_dim"],
    }
    got = {key: siamese.get(key) for key in expected}
    if got != expected:
        raise CheckpointError(
            f"{name!r}: siamese/config.json is of another transformer: expected {expected}, got {got}"
        )
    blocks, most = siamese.get("blocks"), transformer["num_layers"] + transformer["num_single_layers"]
    whole = isinstance(blocks, list) and all(type(block) is int and 0 <= block < most for block in blocks)
    if not whole or not blocks or blocks != sorted(set(blocks)):
        raise CheckpointError(
            f"{name!r}: siamese/config.json names the blocks {blocks}; expected some of 0 to {most - 1} in order"
        )


def _check_weights(folder: Path, name: str) -> None:
    """Weights are there, and are safetensors by content and not by name."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        pickles = [path.name for path in folder.iterdir() if path.suffix in PICKLES]
        what = f"only {pickles[0]}, a pickle; pickles can run code and are never read" if pickles else "none"
        raise CheckpointError(f"{name!r}: {folder.name} needs weights as .safetensors and has {what}")
    for path in files:
        with path.open("rb") as file:
            head = file.read(8)
            length = int.from_bytes(head, "little")
            start = file.read(1)
        if len(head) < 8 or start != b"{" or not 2 <= length <= min(MAX_HEADER, path.stat().st_size - 8):
            raise CheckpointError(
                f"{name!r}: {folder.name}/{path.name} is not a safetensors file, whatever its name says"
            )
