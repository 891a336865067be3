"""Checkpoints: what is read, what is refused, and that a pickle is never opened."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from models.checkpoint import CheckpointError, describe, load
from models.prompt import PromptEncoder
from models.vocabulary import strangers
from tests.tiny import tiny_stage
from training.text_encoder import gather, spread


@pytest.fixture
def copy(tiny: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny, tmp_path / "copy"))


def test_a_folder_becomes_a_bundle(tiny: Path) -> None:
    description = describe(str(tiny))
    assert (description.scale, description.width, description.prompt_tokens) == (16, 32, 24)
    checkpoint = load(description)
    assert checkpoint.transformer.dtype == torch.float32
    assert checkpoint.auxiliary is not None and checkpoint.codec.has_alpha
    assert not any(p.requires_grad for p in checkpoint.transformer.parameters())


def test_describing_a_checkpoint_does_not_load_torch(tiny: Path) -> None:
    code = f"import sys; from models.checkpoint import describe; describe({str(tiny)!r}); print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"


class Trap:
    """A pickle that leaves a mark when it is opened."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):  # type: ignore[no-untyped-def]
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("disguise", ["diffusion_pytorch_model.bin", "diffusion_pytorch_model.safetensors"])
def test_a_pickle_where_weights_should_be_is_refused_and_never_opened(
    copy: Path, tmp_path: Path, disguise: str
) -> None:
    (copy / "transformer" / "diffusion_pytorch_model.safetensors").unlink()
    (copy / "transformer" / disguise).write_bytes(pickle.dumps(Trap(tmp_path / "mark")))
    with pytest.raises(CheckpointError, match=r"pickle|not a safetensors file"):
        describe(str(copy))
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda f: shutil.rmtree(f / "vae"), "folder vae is missing"),
        (lambda f: (f / "model_index.json").unlink(), "has no model_index.json"),
        (lambda f: (f / "model_index.json").write_text("{"), "can not be read"),
        (lambda f: (f / "model_index.json").write_text("[1]"), "not a JSON object"),
        (lambda f: (f / "model_index.json").write_text('{"_class_name": "SanaPipeline"}'), "is a SanaPipeline"),
        (lambda f: (f / "vae" / "config.json").unlink(), "vae/config.json is missing"),
        (lambda f: (f / "vae" / "config.json").write_text("{}"), "does not say block_out_channels"),
        (lambda f: (f / "vae" / "diffusion_pytorch_model.safetensors").write_bytes(b"\xff" * 64), "not a safetensors"),
        (lambda f: (f / "vae" / "diffusion_pytorch_model.safetensors").write_bytes(b""), "not a safetensors"),
    ],
)
def test_a_folder_that_is_no_checkpoint_is_refused_by_name(copy: Path, spoil, says: str) -> None:  # type: ignore[no-untyped-def]
    spoil(copy)
    with pytest.raises(CheckpointError, match=says) as caught:
        describe(str(copy))
    assert str(copy) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["nothing-here", "black-forest-labs/not-in-the-cache", "../..", "a/b/c", "/etc/passwd"]
)
def test_a_name_that_is_nowhere_is_refused_without_asking_the_network(name: str) -> None:
    with pytest.raises(CheckpointError):
        describe(name)


def test_weights_that_do_not_fit_their_configuration_are_refused(copy: Path) -> None:
    config = copy / "transformer" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"num_attention_heads": 3}))
    with pytest.raises(CheckpointError, match="can not be loaded"):
        load(describe(str(copy)))


@torch.no_grad()
def test_identity_layers_leave_the_trained_prompt_encoder_unchanged() -> None:
    stage = tiny_stage()
    deep = PromptEncoder(stage.tokenizer, spread(stage.text, stage.config), (9, 18, 27), 24)
    prompts = ["a red circle left of a blue star", ""]
    assert torch.allclose(deep(prompts), stage.prompts(prompts), atol=1e-5)
    other = tiny_stage()
    torch.nn.init.normal_(other.text.model.embed_tokens.weight)
    gather(other.text, deep.text_encoder, other.config)
    assert torch.allclose(other.prompts(prompts), stage.prompts(prompts), atol=1e-6)


def test_every_word_of_the_world_is_one_token_wherever_it_stands() -> None:
    stage = tiny_stage()
    ids, mask = stage.prompts.tokenize(["Red circle, red CIRCLE", "a red circle"])
    assert ids[0, 0] == ids[0, 3] == ids[1, 1] and ids[0, 1] == ids[0, 4] == ids[1, 2]
    assert mask.sum(1).tolist() == [5, 3]


def test_strange_words_are_named() -> None:
    assert strangers("A Red zebra, red Zebra!", ["a", "red"]) == strangers("zebra", ["a"])
    assert "'zebra'" in strangers("zebra", [])[0]
    assert strangers("anything", None) == strangers("a red", ["a", "red"]) == []


def test_a_prompt_longer_than_the_checkpoint_reads_is_told(tiny: Path) -> None:
    prompts = load(describe(str(tiny))).prompts
    assert prompts.too_long("red " * 24) == []
    assert "25 tokens" in prompts.too_long("red " * 25)[0]
