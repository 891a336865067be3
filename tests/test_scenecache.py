"""The store of finished scenes: what is read is what was written, or it is said that it is not."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from pipelines.story.scenecache import BrokenScene, SceneCache, Stored, digest, fingerprint


def scene(seed: int = 0, frames: int = 2) -> Stored:
    random = np.random.default_rng(seed)
    return Stored(
        random.integers(0, 256, (frames, 16, 32, 3), dtype=np.uint8),
        random.standard_normal((frames * 2, 8), np.float32),
    )


def files(cache: SceneCache) -> set[str]:
    return {path.name for path in cache.folder.iterdir()}


def test_a_stored_scene_comes_back_bit_for_bit(tmp_path: Path) -> None:
    cache = SceneCache(tmp_path / "deep" / "scenes")
    assert cache.read("a-1") is None and cache.keys("a") == [] and not cache.folder.exists()
    cache.write("a-1", scene(1), {"prompt": "a red star"})
    back = cache.read("a-1")
    assert back is not None
    assert back.frames.tobytes() == scene(1).frames.tobytes() and back.frames.shape == (2, 16, 32, 3)
    assert back.tokens.tobytes() == scene(1).tokens.tobytes() and back.tokens.dtype == np.float32


def test_the_scene_used_last_is_offered_first(tmp_path: Path) -> None:
    cache = SceneCache(tmp_path)
    for age, key in enumerate(("a-1", "a-2", "b-3", "a-4")):
        cache.write(key, scene(age), {})
        os.utime(tmp_path / f"{key}.safetensors", (1_000 + age, 1_000 + age))
    assert cache.keys("a") == ["a-4", "a-2", "a-1"]
    cache.read("a-2")
    assert cache.keys("a") == ["a-2", "a-4", "a-1"]


@pytest.mark.parametrize("where", [0, 20, -1, -5_000])
@pytest.mark.parametrize("how", ["flipped", "cut"])
def test_a_broken_file_is_told_and_never_used(tmp_path: Path, where: int, how: str) -> None:
    cache = SceneCache(tmp_path)
    cache.write("a-1", scene(frames=8), {})
    path = tmp_path / "a-1.safetensors"
    data = bytearray(path.read_bytes())
    if how == "flipped":
        data[where] ^= 1
    path.write_bytes(data[:where] if how == "cut" else data)
    with pytest.raises(BrokenScene):
        cache.read("a-1")


def test_a_file_under_another_name_is_another_scene_and_refused(tmp_path: Path) -> None:
    cache = SceneCache(tmp_path)
    cache.write("a-1", scene(), {})
    (tmp_path / "a-1.safetensors").rename(tmp_path / "a-2.safetensors")
    with pytest.raises(BrokenScene, match="checksum"):
        cache.read("a-2")


def test_what_was_not_used_for_longest_goes_when_there_is_too_much(tmp_path: Path) -> None:
    size = 4_096
    cache = SceneCache(tmp_path, most=3 * size)
    (tmp_path / ".diorama-left-by-a-kill.tmp").write_bytes(b"0" * size)
    os.utime(tmp_path / ".diorama-left-by-a-kill.tmp", (1, 1))
    for age, key in enumerate(("a-1", "a-2", "a-3", "a-4")):
        cache.write(key, scene(age), {})
        assert size * 0.7 < (tmp_path / f"{key}.safetensors").stat().st_size < size
        os.utime(tmp_path / f"{key}.safetensors", (1_000 + age, 1_000 + age))
        if key == "a-3":
            cache.read("a-1")
    assert files(cache) == {"a-1.safetensors", "a-3.safetensors", "a-4.safetensors"}
    small = SceneCache(tmp_path, most=1)
    small.write("b-1", scene(), {})
    assert files(small) == {"b-1.safetensors"}, "the newest stays, whatever the limit"


def test_a_story_that_can_not_be_read_is_one_of_which_nothing_is_known(tmp_path: Path) -> None:
    cache = SceneCache(tmp_path)
    assert cache.last("mine") == []
    cache.remember("mine", [{"own": "a"}])
    assert cache.last("mine") == [{"own": "a"}] and cache.last("yours") == []
    for text in ("", "{}", "[3]", "[", "\udcff"):
        (tmp_path / "stories" / f"{digest('mine')}.json").write_text(text, errors="surrogateescape")
        assert cache.last("mine") == []


def test_a_checkpoint_with_other_weights_or_another_configuration_is_another(tmp_path: Path) -> None:
    (tmp_path / "transformer").mkdir()
    weights, config = tmp_path / "transformer" / "model.safetensors", tmp_path / "transformer" / "config.json"
    weights.write_bytes(b"one"), config.write_text("{}")
    prints = [fingerprint(tmp_path), fingerprint(tmp_path)]
    (tmp_path / "README.md").write_text("about it")
    prints.append(fingerprint(tmp_path))
    assert len(set(prints)) == 1
    weights.write_bytes(b"two!")
    prints.append(fingerprint(tmp_path))
    config.write_text('{"num_layers": 2}')
    prints.append(fingerprint(tmp_path))
    assert len(set(prints)) == 3
