"""Adapters: what is learnt begins as nothing, is kept in one file, and acts as much as each token says."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import Flux2KleinPipeline
from pydantic import ValidationError
from safetensors.torch import load as parsed
from safetensors.torch import load_file, save_file
from torch import Tensor

from models.adapter.attach import Attached, attach, linears
from models.adapter.blend import Blend
from models.adapter.config import BLOCKS, AdapterConfig
from models.adapter.delta import Deltas, deltas_of
from models.adapter.file import About, AdapterError, check_fits, load, read
from models.checkpoint import EMBEDDED, describe
from models.checkpoint import load as load_checkpoint
from models.mmdit import MMDiT
from models.plan import TokenPlan
from models.siamese import Layout, SiameseBranch
from pipelines.engine import Engine
from pipelines.job import parse
from pipelines.layout import layout_plan
from pipelines.scenes import scenes_plan

ABOUT = About("papercut", "base", ("a snarf",), 12)
SMALL = [
    AdapterConfig(kind="lora", rank=3, alpha=6),
    AdapterConfig(kind="dora", rank=2),
    AdapterConfig(kind="scale_shift"),
    AdapterConfig(kind="soft_prompt", tokens=2),
]
ALL = [*SMALL, AdapterConfig(kind="siamese")]


def transformer(seed: int = 0) -> MMDiT:
    """One block of each kind, with random weights."""
    torch.manual_seed(seed)
    return MMDiT(
        in_channels=4, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=12, axes_dims_rope=(4, 4, 4, 4), guidance_embeds=False,
    ).use_plans()  # fmt: skip


STORY = scenes_plan(6, 2, 2, (1, 2), (True, False))


def predict(model: MMDiT, plan: TokenPlan = STORY, siamese: SiameseBranch | None = None) -> Tensor:
    """[1, N_picture, 4] what the model makes of fixed inputs; twice, as a guided step asks, with the halves checked."""
    generator = torch.Generator().manual_seed(1)
    noisy = torch.randn(1, plan.tokens - plan.context_tokens, 4, generator=generator)
    context = torch.randn(1, plan.context_tokens, 12, generator=generator)
    noisy, context, time = (x.to(model.dtype) for x in (noisy, context, torch.full((2,), 0.7)))
    boxes = None
    if siamese is not None:
        features = torch.randn(2, 1, 12, generator=generator)
        boxes = Layout(siamese, torch.tensor([[[0.0, 0.0, 0.5, 0.5]]] * 2), features, torch.ones(2, 1).bool())
    out = model(noisy.expand(2, -1, -1), context.expand(2, -1, -1), time, plan=plan, siamese=boxes)
    sample: Tensor = out.sample[:1]
    return sample


def learnt(config: AdapterConfig, seed: int = 5) -> Attached:
    """An adapter of random weights, as if something had been learnt."""
    attached = attach(config, transformer())
    generator = torch.Generator().manual_seed(seed)
    for parameter in attached.trainable.values():
        parameter.data += (3 if config.kind == "soft_prompt" else 0.3) * torch.randn(
            parameter.shape, generator=generator
        )
    return attached


def kept(config: AdapterConfig, folder: Path, seed: int = 5) -> Path:
    path = folder / f"{config.kind}-{seed}.safetensors"
    learnt(config, seed).save(path, ABOUT)
    return path


def deltas(path: Path, model: MMDiT) -> Deltas:
    file = read(path)
    return deltas_of(file, load(file), model)


def acting(plan: TokenPlan, **weights: float | np.ndarray) -> TokenPlan:
    every = {name: np.broadcast_to(np.float32(weight), plan.tokens) for name, weight in weights.items()}
    return TokenPlan(plan.segments, plan.table, every)


def name(config: AdapterConfig) -> str:
    return config.kind


# ---------------------------------------------------------------- what is trained


@pytest.mark.parametrize("config", ALL, ids=name)
def test_before_a_step_is_taken_an_adapter_changes_nothing(config: AdapterConfig) -> None:
    model = transformer()
    branch = SiameseBranch.of(model) if config.kind == "siamese" else None
    before = predict(model)
    attached = attach(config, model, branch)
    assert torch.equal(predict(model, siamese=attached.siamese), before)


@pytest.mark.parametrize("config", ALL, ids=name)
def test_all_that_is_learnt_gets_a_gradient_and_all_else_is_frozen(config: AdapterConfig) -> None:
    attached = learnt(config)
    predict(attached.transformer, siamese=attached.siamese).square().sum().backward()
    free = [p for m in (attached.transformer, attached.siamese) if m for p in m.parameters() if p.requires_grad]
    assert {id(p) for p in free} == {id(p) for p in attached.trainable.values()} and free
    silent = [name for name, p in attached.trainable.items() if p.grad is None or not p.grad.any()]
    # The last double block's context stream ends nowhere but in the single block, so all of the transformer is reached.
    assert not [name for name in silent if not name.startswith("siamese")]


def test_full_trains_the_whole_transformer_and_nothing_beside_it() -> None:
    model = transformer()
    attached = attach(AdapterConfig(kind="full"), model, SiameseBranch.of(model))
    assert len(attached.trainable) == len(list(model.parameters()))
    assert not any(name.startswith("siamese") for name in attached.trainable)


def test_what_full_training_keeps_is_a_checkpoint(tiny: Path, tmp_path: Path) -> None:
    checkpoint = load_checkpoint(describe(str(tiny)))
    attached = attach(AdapterConfig(kind="full"), checkpoint.transformer)
    before = [parameter.detach().clone() for parameter in checkpoint.transformer.parameters()]
    averages = {name: 3 * parameter.detach() for name, parameter in attached.trainable.items()}
    for parameter in attached.trainable.values():
        parameter.data *= 2
    for name, values, factor in (("mine", None, 2), ("averaged", averages, 3)):
        attached.save(tmp_path / name, About(str(tiny)), values)
        found = load_checkpoint(describe(str(tmp_path / name)))
        pairs = zip(found.transformer.parameters(), before, strict=True)
        assert all(torch.equal(ours, factor * theirs) for ours, theirs in pairs)
    assert torch.equal(found.prompts(["a star"]), checkpoint.prompts(["a star"]))


def test_by_default_attention_and_mlp_of_both_kinds_of_blocks_are_taken() -> None:
    names = linears(transformer(), BLOCKS)
    assert len(names) == 12 + 2, "double blocks have twelve linear layers and single blocks two"
    assert all("blocks.0." in name for name in names)
    with pytest.raises(ValueError, match="no linear layer 'to_z'"):
        attach(AdapterConfig(modules=("to_q", "to_z")), transformer())


@pytest.mark.parametrize("value", [{"kind": "soft_prompt", "rank": 4}, {"kind": "lora", "tokens": 2}, {"kin": "lora"}])
def test_a_field_that_says_nothing_about_the_kind_is_an_error(value: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        AdapterConfig.model_validate(value)


# ---------------------------------------------------------------- its file


@pytest.mark.parametrize("config", SMALL, ids=name)
def test_a_file_does_what_the_trained_adapter_did(config: AdapterConfig, tmp_path: Path) -> None:
    trained = predict(learnt(config).transformer)
    model = transformer()
    plain = predict(model)
    path = kept(config, tmp_path)
    with Blend(model, {"a": deltas(path, model)}):
        assert torch.allclose(predict(model), trained, atol=1e-5)
    assert (trained - plain).abs().max() > 0.01, "it does something"
    assert torch.equal(predict(model), plain), "and leaves no trace"
    assert (read(path).kind, read(path).about) == (config.kind, ABOUT)


def test_a_siamese_branch_comes_back_from_its_file(tmp_path: Path) -> None:
    attached = learnt(AdapterConfig(kind="siamese"))
    attached.save(tmp_path / "branch.safetensors", ABOUT)
    file = read(tmp_path / "branch.safetensors")
    branch = SiameseBranch(**file.branch)
    branch.load_state_dict({name.removeprefix("siamese."): tensor for name, tensor in load(file).items()})
    model = transformer()
    assert torch.equal(predict(model, siamese=branch), predict(attached.transformer, siamese=attached.siamese))


def test_moving_averages_are_kept_in_place_of_the_weights(tmp_path: Path) -> None:
    attached = learnt(SMALL[0])
    zeros = {name: torch.zeros_like(parameter) for name, parameter in attached.trainable.items()}
    attached.save(tmp_path / "a.safetensors", ABOUT, zeros)
    assert not any(tensor.any() for tensor in load_file(tmp_path / "a.safetensors").values())


@pytest.mark.parametrize("config", [AdapterConfig(rank=4, alpha=8), AdapterConfig(kind="dora", rank=4)], ids=name)
def test_stock_flux2_klein_draws_the_same_with_an_adapter_of_ours(config: AdapterConfig, tmp_path: Path) -> None:
    engine, folder = Engine("cpu"), EMBEDDED / "papercut"
    model = MMDiT.from_pretrained(folder, subfolder="transformer").use_plans()
    attached = attach(config, model)
    generator = torch.Generator().manual_seed(2)
    for parameter in attached.trainable.values():
        parameter.data += 0.2 * torch.randn(parameter.shape, generator=generator)
    attached.save(tmp_path / "ours.safetensors", About("papercut"))

    wanted = {"task": "text", "prompt": "a red star on a white background", "size": [64, 64], "steps": 4, "seed": 3}
    plain = engine.render([parse(wanted)], lambda step, steps: True)[0].frames[0]
    drawing = engine.checkpoint("papercut").transformer
    with Blend(drawing, {"a": deltas(tmp_path / "ours.safetensors", drawing)}):
        ours = engine.render([parse(wanted)], lambda step, steps: True)[0].frames[0]

    pipeline = Flux2KleinPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.load_lora_weights(tmp_path, weight_name="ours.safetensors")
    theirs = pipeline(
        prompt=wanted["prompt"], width=64, height=64, num_inference_steps=4, guidance_scale=2.0,
        generator=torch.Generator("cpu").manual_seed(3), max_sequence_length=24,
    ).images[0]  # fmt: skip
    gap = np.abs(ours.astype(int) - np.asarray(theirs)[..., :3].astype(int)).max()
    assert gap <= 2
    assert np.abs(ours.astype(int) - plain.astype(int)).max() > 20, "the adapter changes the picture"


def test_a_file_that_stock_wrote_is_read(tmp_path: Path) -> None:
    attached = learnt(AdapterConfig(kind="lora", rank=3, alpha=6))
    from peft.utils import get_peft_model_state_dict

    layers = get_peft_model_state_dict(attached.transformer)
    said = {"r": 3, "lora_alpha": 6, "target_modules": ["to_q"], "use_dora": False}
    Flux2KleinPipeline.save_lora_weights(tmp_path, layers, transformer_lora_adapter_metadata=said)
    [path] = tmp_path.glob("*.safetensors")
    model = transformer()
    with Blend(model, {"a": deltas(path, model)}):
        assert torch.allclose(predict(model), predict(attached.transformer), atol=1e-5)
    assert read(path).about is None


def spoilt(folder: Path, change: str) -> Path:
    """A file with something wrong."""
    path = kept(AdapterConfig(rank=2, modules=("to_q",)), folder)
    whole = path.read_bytes()
    tensors = parsed(whole)
    header = json.loads(whole[8 : 8 + int.from_bytes(whole[:8], "little")])["__metadata__"]
    first = next(iter(tensors))
    match change:
        case "missing":
            return folder / "nowhere.safetensors"
        case "folder":
            (folder / "a.safetensors").mkdir()
            return folder / "a.safetensors"
        case "pickle":
            torch.save(tensors, folder / "a.bin")
            return folder / "a.bin"
        case "renamed pickle":
            torch.save(tensors, path)
        case "cut":
            path.write_bytes(path.read_bytes()[:-10])
        case "half":
            save_file({first: tensors[first]}, path, header)
        case "more":
            save_file(tensors | {"transformer.x": torch.zeros(1)}, path, header)
        case "checkpoint":
            save_file({"transformer_blocks.0.attn.to_q.weight": torch.zeros(2, 2)}, path)
        case "kohya":
            save_file({"lora_unet_x.lora_down.weight": torch.zeros(2, 2)}, path)
        case "header":
            save_file(tensors, path, header | {"diorama": '{"kind": "lora", "about": 3}'})
        case "alpha":
            save_file(tensors, path, header | {"lora_adapter_metadata": '{"transformer.lora_alpha": "1e999"}'})
        case "ranks":
            save_file({k: torch.zeros(2, 32) if "lora_A" in k else torch.zeros(32, 3) for k in tensors}, path, header)
        case "nan":
            save_file({k: v * torch.nan for k, v in tensors.items()}, path, header)
    return path


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("missing", "nothing of that name"), ("folder", "a folder of that name"), ("pickle", "can run code"),
        ("renamed pickle", "not a safetensors file"), ("cut", "not a safetensors file"), ("half", "no whole lora"),
        ("more", "no whole lora"), ("checkpoint", "`model:` takes whole checkpoints"), ("kohya", "expected names such"),
        ("header", "damaged"), ("alpha", "damaged"), ("ranks", "expected one rank"), ("nan", "no numbers"),
    ],
)  # fmt: skip
def test_what_is_no_adapter_is_told_in_one_sentence(change: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match=says) as caught:
        load(read(spoilt(tmp_path, change)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("config", ALL, ids=name)
def test_an_adapter_of_another_checkpoint_does_not_fit(config: AdapterConfig, tmp_path: Path) -> None:
    learnt(config).save(tmp_path / "a.safetensors", ABOUT)
    with pytest.raises(AdapterError, match="trained on another checkpoint"):
        check_fits(read(tmp_path / "a.safetensors"), describe("papercut"))


# ---------------------------------------------------------------- a weight for every token


@pytest.mark.parametrize("config", SMALL, ids=name)
def test_weight_one_is_the_adapter_and_weight_zero_is_none(config: AdapterConfig, tmp_path: Path) -> None:
    model = transformer()
    plain, path = predict(model), kept(config, tmp_path)
    with Blend(model, {"a": deltas(path, model)}):
        whole = predict(model)
        assert torch.equal(predict(model, acting(STORY, a=1.0)), whole)
        assert torch.equal(predict(model, acting(STORY, a=0.0)), plain)
        assert torch.equal(predict(model, acting(STORY, b=0.0)), whole), "a plan that names others says nothing of it"
    with Blend(model, {"a": deltas(path, model)}, {"a": 0.5}):
        half = predict(model)
        assert torch.equal(predict(model, acting(STORY, a=0.5)), half) and not torch.equal(half, whole)
    assert not torch.equal(whole, plain)


@pytest.mark.parametrize("config", SMALL, ids=name)
def test_a_model_in_bfloat16_stays_in_it(config: AdapterConfig, tmp_path: Path) -> None:
    model, path = transformer(), kept(config, tmp_path)
    with Blend(model, {"a": deltas(path, model)}):
        exact = predict(model, acting(STORY, a=0.3))
    rough = transformer().bfloat16()
    with Blend(rough, {"a": deltas(path, rough)}):
        found = predict(rough, acting(STORY, a=0.3))
    assert found.dtype == torch.bfloat16 and (found.float() - exact).abs().max() < 0.1


@pytest.mark.parametrize("config", SMALL, ids=name)
def test_two_adapters_on_halves_of_the_tokens_are_one_on_all(config: AdapterConfig, tmp_path: Path) -> None:
    """Every order of tokens is met here: streams apart and joined, regional classes, and a plan that sees all."""
    model, path = transformer(), kept(config, tmp_path)
    found = deltas(path, model)
    for plan in (STORY, layout_plan(6, 3, 3, ((0, 0, 2, 2), (1, 1, 3, 3)), placed=True, regional=True),
                 layout_plan(6, 3, 3, (), placed=False, regional=False)):  # fmt: skip
        generator = np.random.default_rng(0)
        weight = generator.random(plan.tokens).astype(np.float32).round(2)
        weight[: plan.context_tokens] = weight[0] if config.kind == "soft_prompt" else weight[: plan.context_tokens]
        with Blend(model, {"a": found, "b": found}):
            both = predict(model, acting(plan, a=weight, b=1 - weight))
            apart = predict(model, acting(plan, a=weight, b=0.0))
        with Blend(model, {"a": found}):
            assert torch.allclose(both, predict(model, plan), atol=1e-5)
            assert torch.equal(apart, predict(model, acting(plan, a=weight)))
            assert not torch.allclose(apart, both, atol=1e-3)


@pytest.mark.parametrize("layer", ["transformer_blocks.0.attn.to_q", "transformer_blocks.0.attn.add_k_proj",
                                   "transformer_blocks.0.ff.linear_in", "transformer_blocks.0.ff_context.linear_out",
                                   "single_transformer_blocks.0.attn.to_qkv_mlp_proj", "x_embedder",
                                   "context_embedder", "proj_out"])  # fmt: skip
def test_each_token_of_each_layer_gets_its_own_weight(layer: str) -> None:
    """The delta is the number of the token in the order of the request, read where the layer puts it."""
    model = transformer()
    plan = layout_plan(3, 2, 3, ((0, 1, 1, 2), (1, 0, 2, 3)), placed=False, regional=True)
    own = acting(plan, a=np.arange(1, plan.tokens + 1))
    seen: list[Tensor] = []
    model.get_submodule(layer).register_forward_hook(lambda module, args, y: seen.append(y))
    with Blend(model, {"a": Deltas({layer: lambda x, y: torch.ones_like(y)})}):
        model.get_submodule(layer).register_forward_hook(lambda module, args, y: seen.append(y))
        predict(model, own)
    added = (seen[1] - seen[0])[0, :, 0].round().int()
    requested = torch.arange(1, plan.tokens + 1)
    order = torch.from_numpy(plan.order)
    c = plan.context_tokens
    expected = {
        "x_embedder": requested[c:], "context_embedder": requested[:c],
        "proj_out": (order + 1)[order >= c],
    }.get(layer)  # fmt: skip
    if expected is None and layer.startswith("single"):
        expected = order + 1
    elif expected is None:
        in_context = "add_" in layer or "ff_context" in layer
        expected = (order + 1)[(order < c) if in_context else (order >= c)]
    assert added.tolist() == expected.tolist()


def test_a_soft_prompt_acts_on_the_prompts_that_its_weights_name(tmp_path: Path) -> None:
    model, path = transformer(), kept(AdapterConfig(kind="soft_prompt", tokens=2), tmp_path)
    seen: list[Tensor] = []
    model.context_embedder.register_forward_hook(lambda module, args, y: seen.append(args[0][0]))
    predict(model)
    with Blend(model, {"a": deltas(path, model)}):
        model.context_embedder.register_forward_hook(lambda module, args, y: seen.append(args[0][0]))
        second = np.zeros(STORY.tokens, np.float32)
        second[6:12] = 0.5
        predict(model, acting(STORY, a=second))
    changed = (seen[-1] - seen[0]).abs().sum(-1) > 0
    assert changed.tolist() == [False] * 10 + [True] * 2
