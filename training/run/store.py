"""What a run reads of its data: latents, masks, boxes and prompt encodings, from the caches.

A `Store` holds no model, so that loader workers can have it; `fill` makes what is missing before the run begins, after
which the encoders can go. Pictures are hashed once, at the start: what the run began with is what it ends with.
Shape letters: F frames, H and W pixels; N tokens, C numbers in a token; L tokens of a prompt, X width of its features.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.codec import premultiply
from pipelines.refusal import Refusal
from training.data.buckets import boxes_in, windows
from training.data.cache import Cache, Key, latent_key, prompt_key
from training.data.config import TOKEN
from training.data.dataset import Dataset, Loaded, load
from training.data.example import Box, Edges
from training.data.findings import Fault
from training.data.order import Item

from .stopped import Stopped

if TYPE_CHECKING:
    from models.checkpoint import Checkpoint
    from models.prompt import PromptEncoder


class Store:
    """The caches of a data set.

    Args:
        data: the examples and their buckets.
        cache: where the files are.
        latents: what encodes pictures: `identity(description, "latents")` and its precision.
        prompts: what encodes prompts, likewise.

    Raises:
        Refusal: a picture that can not be read any more.
    """

    def __init__(self, data: Dataset, cache: Cache, latents: str, prompts: str) -> None:
        self.data, self.cache, self.prompts = data, cache, prompts
        self.keys: list[tuple[Key, ...]] = []  # of each example the latents of its cuts
        self.masks: list[tuple[Key, ...]] = []
        self.shown: list[tuple[Edges, ...]] = []
        for example, shape, bucket in zip(data.examples, data.shapes, data.buckets, strict=True):
            fps = data.config.fps
            self.shown.append(windows(example.name, shape.width, shape.height, bucket, data.config))
            try:
                self.keys.append(self._cuts(latent_key(example, bucket, fps, latents)))
                mask = latent_key(example, bucket, fps, latents, "mask") if example.mask else None
                self.masks.append(self._cuts(mask) if mask else ())
            except Fault as fault:
                raise Refusal("data", f"{example.name}: {fault.reason}") from None

    @property
    def content(self) -> str:
        """Hash of all that is learnt from: a run goes on with the same pictures, masks, boxes and encoders only."""
        told = hashlib.sha256(self.prompts.encode())

        def parts(keys: tuple[Key, ...]) -> str:
            return " ".join(key.parts for key in keys)

        for example, key, mask in zip(self.data.examples, self.keys, self.masks, strict=True):
            boxes = [(box.edges, box.label) for box in example.boxes]
            told.update(repr((parts(key), parts(mask) or None, boxes, example.prior)).encode())
        return told.hexdigest()[:16]

    def texts(self) -> set[str]:
        """All that is told: captions, labels of boxes, and nothing."""
        examples = self.data.examples
        return {"", *(text for each in examples for text in (*each.captions, *(box.label for box in each.boxes)))}

    def clean(self, item: Item) -> Tensor:
        """[N, C] the clean tokens of a sample."""
        key = self.keys[item.example][item.crop]
        return torch.from_numpy(self._get(key, self.data.examples[item.example].name)["tokens"])

    def mask(self, item: Item) -> Tensor | None:
        """[N] how much of each token is white in a sample's mask; None where it has none."""
        keys = self.masks[item.example]
        if not keys:
            return None
        white = torch.from_numpy(self._get(keys[item.crop], self.data.examples[item.example].name)["white"])
        return white.repeat(self.data.buckets[item.example].frames)

    def boxes(self, item: Item) -> tuple[Box, ...]:
        """The boxes of a sample as they stand in what is shown of it."""
        return boxes_in(self.data.examples[item.example].boxes, self.shown[item.example][item.crop])

    def prompt(self, text: str) -> tuple[Tensor, Tensor]:
        """[L, X] features of a prompt and [L] which of its tokens are words."""
        found = self._get(prompt_key(text, self.prompts), repr(text))
        features = torch.from_numpy(found["features"])
        return features.view(torch.bfloat16) if features.dtype == torch.int16 else features, torch.from_numpy(
            found["words"]
        )

    def _cuts(self, key: Key) -> tuple[Key, ...]:
        """The keys of all cuts of the example whose middle cut has `key`, and which is shown last so far."""
        return (key, *(key.cut(shown) for shown in self.shown[-1][1:]))

    def _get(self, key: Key, name: str) -> Any:
        found = self.cache.get(key)
        if found is None:
            raise Stopped(
                f"what was made of {name} is gone from {self.cache.folder} or damaged; start again to make it"
            )
        return found


def fill(
    store: Store, texts: Iterable[str], checkpoint: Checkpoint, rank: int, ranks: int, say: Callable[[str], None]
) -> None:
    """Make what is missing in the caches: every process of `ranks` a part of it.

    Each is encoded by itself, so that what is kept does not depend on what else is there.

    Raises:
        Refusal: a picture that can not be read any more, or a cache that can not be written.
    """
    data = store.data
    for number in range(rank, len(data.examples), ranks):
        example, bucket = data.examples[number], data.buckets[number]
        new = False
        for crop, key in enumerate(store.keys[number]):

            @cache
            def loaded(number: int = number, crop: int = crop) -> Loaded:
                return load(data.examples[number], data.shapes[number], data.buckets[number], data.config, crop)

            try:
                store.cache.get_or_make(key, partial(_tokens, checkpoint, loaded))
                for mask in store.masks[number][crop : crop + 1]:
                    store.cache.get_or_make(mask, partial(_white, loaded))
            except Fault as fault:
                raise Refusal("data", f"{example.name}: {fault.reason}") from None
            new = new or loaded.cache_info().currsize > 0
        if new and (number + ranks) // 100 > number // 100:
            say(f"encoded {number + 1:,} of {len(data.examples):,} ({bucket})")
    for text in sorted(texts)[rank::ranks]:
        store.cache.get_or_make(prompt_key(text, store.prompts), partial(_prompt, checkpoint.prompts, text))


def white(mask: NDArray[np.uint8] | None) -> NDArray[np.float32]:
    """[h * w] how much of each token is white in a mask [H, W]."""
    assert mask is not None, "asked for examples with masks only"
    h, w = mask.shape[0] // TOKEN, mask.shape[1] // TOKEN
    tokens: NDArray[np.float32] = mask.reshape(h, TOKEN, w, TOKEN).mean((1, 3), np.float32).reshape(-1) / 255
    return tokens


@torch.no_grad()
def tokens_of(checkpoint: Checkpoint, loaded: Loaded) -> Tensor:
    """[N, C] of a sample's pictures [F, H, W, 4], in float32 and on the processor."""
    rgba = torch.from_numpy(loaded.frames).to(checkpoint.device).permute(0, 3, 1, 2).float() / 255
    return checkpoint.codec.encode(premultiply(rgba)[None])[0].float().cpu()


def _tokens(checkpoint: Checkpoint, loaded: Callable[[], Loaded]) -> dict[str, NDArray[Any]]:
    return {"tokens": tokens_of(checkpoint, loaded()).numpy()}


def _white(loaded: Callable[[], Loaded]) -> dict[str, NDArray[Any]]:
    return {"white": white(loaded().mask)}


@torch.no_grad()
def _prompt(prompts: PromptEncoder, text: str) -> dict[str, NDArray[Any]]:
    """Features, which are kept as they come: numpy has no bfloat16, so its bits are stored as whole numbers."""
    ids, words = prompts.tokenize([text])
    features = prompts.encode(ids, words)[0].cpu()
    if features.dtype == torch.bfloat16:
        features = features.view(torch.int16)
    return {"features": features.numpy(), "words": words[0].bool().numpy()}
