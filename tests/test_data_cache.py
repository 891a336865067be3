"""Caches: nothing stale is ever read, and what is broken is made anew."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.checkpoint import Description
from pipelines.refusal import Refusal
from tests.zoo import picture
from training.data.assets import FileAsset
from training.data.buckets import Bucket
from training.data.cache import Cache, Key, identity, latent_key, prompt_key
from training.data.example import Example

BUCKET = Bucket(8, 8)
TOKENS = {"tokens": np.arange(12, dtype=np.float32).reshape(3, 4), "mask": np.ones(3, np.uint8)}


def example(path: Path, kind: str = "picture") -> Example:
    return Example(path.name, kind, (FileAsset(path, path.name),))  # type: ignore[arg-type]


def checkpoint(folder: Path) -> Description:
    """Folders of a checkpoint with a file each; nothing is ever loaded of them."""
    for part, name in (("vae", "w.safetensors"), ("text_encoder", "w.safetensors"), ("tokenizer", "tokenizer.json")):
        (folder / part).mkdir(parents=True)
        (folder / part / name).write_bytes(part.encode())
    house = {"prompt_tokens": 24, "text_layers": [9, 18, 27]}
    return Description("x", folder, False, {}, {}, {}, house)


def test_what_is_kept_comes_back_to_the_bit(tmp_path: Path) -> None:
    cache, key = Cache(tmp_path), prompt_key("a red circle", "c")
    assert cache.get(key) is None
    assert cache.get_or_make(key, lambda: TOKENS) is TOKENS

    def never() -> dict[str, np.ndarray]:
        raise AssertionError("made twice")

    found = cache.get_or_make(key, never)
    assert found.keys() == TOKENS.keys()
    assert all(np.array_equal(found[name], TOKENS[name]) and found[name].dtype == TOKENS[name].dtype for name in found)
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_change_of_anything_is_another_key(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png", 1)
    keys = [latent_key(example(path), BUCKET, 8, "c")]
    keys += [
        latent_key(example(path), Bucket(8, 9), 8, "c"),
        latent_key(example(path), Bucket(8, 8, 2), 8, "c"),
        latent_key(example(path), BUCKET, 8, "another"),
        latent_key(example(path, "video"), BUCKET, 8, "c"),
        latent_key(example(path, "video"), BUCKET, 12, "c"),
        latent_key(replace(example(path), layers=example(path).media), BUCKET, 8, "c", "layers"),
        keys[0].cut((0.0, 0.1, 0.9, 1.0)), keys[0].cut((0.1, 0.1, 1.0, 1.0)),
        prompt_key("a", "c"), prompt_key("b", "c"), prompt_key("a", "d"),
    ]  # fmt: skip
    picture(path, 2)
    keys.append(latent_key(example(path), BUCKET, 8, "c"))
    assert len({key.name for key in keys}) == len(keys)
    renamed = picture(tmp_path / "b.png", 2)
    assert latent_key(example(renamed), BUCKET, 8, "c") == keys[-1], "content decides, and no name"
    assert latent_key(example(renamed), BUCKET, 12, "c") == keys[-1], "a picture has no rate"


def test_a_checkpoint_is_known_by_the_weights_that_decide(tmp_path: Path) -> None:
    one = checkpoint(tmp_path / "one")
    latents, prompts = identity(one, "latents"), identity(one, "prompts")
    (one.folder / "text_encoder" / "w.safetensors").write_bytes(b"other")
    assert identity(one, "latents") == latents and identity(one, "prompts") != prompts
    (one.folder / "vae" / "w.safetensors").write_bytes(b"other")
    assert identity(one, "latents") != latents
    longer = replace(one, house={**one.house, "prompt_tokens": 48})
    assert identity(longer, "prompts") != identity(one, "prompts")
    two = checkpoint(tmp_path / "two")
    assert identity(two, "latents") == latents, "where it lies does not matter"


@pytest.mark.parametrize("harm", ["cut", "flip", "empty", "text", "moved"])
def test_a_broken_file_is_made_anew(harm: str, tmp_path: Path) -> None:
    cache, key = Cache(tmp_path), prompt_key("a", "c")
    cache.put(key, TOKENS)
    path = tmp_path / key.name
    data = path.read_bytes()
    if harm == "moved":  # a file of another key under this one's name
        cache.put(other := prompt_key("b", "c"), {"tokens": np.zeros(1, np.float32)})
        data = (tmp_path / other.name).read_bytes()
    changed = {
        "cut": data[:-3], "flip": data[:-1] + bytes([data[-1] ^ 1]), "empty": b"", "text": b"hello", "moved": data,
    }  # fmt: skip
    path.write_bytes(changed[harm])
    assert cache.get(key) is None
    made = cache.get_or_make(key, lambda: TOKENS)
    assert made is TOKENS and cache.get(key) is not None


def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pipelines.files.atomic.os.replace", full)
    key = Key("prompts", "{}")
    with pytest.raises(Refusal, match="the disk is full; free some"):
        Cache(tmp_path).put(key, TOKENS)
    monkeypatch.undo()
    assert Cache(tmp_path).get(key) is None and not [path for path in tmp_path.rglob("*") if path.is_file()]
