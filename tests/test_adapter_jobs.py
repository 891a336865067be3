"""Adapters in jobs: as a whole and by part, exactly; with a record, refusals, and no trace in the next job."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.adapter.attach import attach
from models.adapter.config import AdapterConfig
from models.adapter.file import About, is_name, locate
from models.checkpoint import describe, load
from models.plan import TokenPlan
from pipelines.adapters import blended, tokens_of
from pipelines.cli import main
from pipelines.engine import Engine, groups
from pipelines.estimate import Rendered
from pipelines.files.record import files_named
from pipelines.history.restore import restore
from pipelines.job import Job, Refusal, parse, recipe
from pipelines.sampler import Cancelled
from pipelines.story.scenecache import fingerprint

KINDS = ("lora", "dora", "scale_shift", "soft_prompt")
TEXT = {"task": "text", "prompt": "a red star"}
SCENES = {"task": "scenes", "scenes": [{"prompt": "a red star", "frames": 1}, {"prompt": "a blue ring", "frames": 1}]}
LAYOUT = {
    "task": "layout", "prompt": "a red star and a blue ring",
    "boxes": [{"box": [0, 0, 0.5, 0.75], "prompt": "a red star"}, {"box": [0.25, 0.5, 1, 1], "prompt": "a blue ring"}],
}  # fmt: skip
LAYERED = {
    "task": "layered", "prompt": "a red star",
    "layers": [{"box": [0, 0, 0.5, 0.5], "prompt": "a red star"}, {"box": [0.5, 0.5, 1, 1]}],
}  # fmt: skip


@pytest.fixture(scope="module")
def shelf(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """A file of each kind of adapter for the tiny checkpoint, as if something had been learnt; by its kind."""
    folder = tmp_path_factory.mktemp("adapters")
    made = {kind: AdapterConfig(kind=kind) for kind in (*KINDS, "siamese")}
    made |= {"other": AdapterConfig(rank=2), "shared": AdapterConfig(modules=("double_stream_modulation_img.linear",))}
    for number, (name, config) in enumerate(made.items()):
        checkpoint = load(describe(str(tiny)))
        attached = attach(config, checkpoint.transformer)
        generator = torch.Generator().manual_seed(number)
        for parameter in attached.trainable.values():
            parameter.data += (20 if name == "soft_prompt" else 0.2) * torch.randn(parameter.shape, generator=generator)
        base = fingerprint(tiny) if name == "other" else "of another time"
        attached.save(folder / f"{name}.safetensors", About(str(tiny), base, ("a snarf",)))
    return {name: str(folder / f"{name}.safetensors") for name in made}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return Engine("cpu")


def job(tiny: Path, base: Mapping[str, Any], **fields: Any) -> Job:
    return parse({**base, "model": str(tiny), "size": [64, 64], "steps": 2, "seed": 4, **fields})


def draw(engine: Engine, *jobs: Job) -> list[Rendered]:
    return engine.render(jobs, lambda step, steps: True)


def pixels(engine: Engine, one: Job) -> bytes:
    return draw(engine, one)[0].frames.tobytes()


def act(*uses: tuple[str, float]) -> list[dict[str, Any]]:
    return [{"path": path, "weight": weight} for path, weight in uses]


def with_parts(base: Mapping[str, Any], *adapters: list[dict[str, Any]]) -> dict[str, Any]:
    """The job with adapters for each of its parts."""
    name = next(name for name in ("scenes", "boxes", "layers") if name in base)
    return {**base, name: [{**part, "adapters": own} for part, own in zip(base[name], adapters, strict=True)]}


def hooks(engine: Engine) -> int:
    assert engine._loaded is not None
    modules = engine._loaded.transformer.modules()
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in modules)


# ---------------------------------------------------------------- the whole


@pytest.mark.parametrize("kind", KINDS)
def test_weight_zero_is_no_adapter_and_the_next_job_has_no_trace_of_it(
    kind: str, tiny: Path, shelf: Mapping[str, str], engine: Engine
) -> None:
    plain, path = pixels(engine, job(tiny, TEXT)), shelf[kind]
    whole = pixels(engine, job(tiny, TEXT, adapters=[{"path": path}]))
    half = pixels(engine, job(tiny, TEXT, adapters=act((path, 0.5))))
    assert len({plain, whole, half}) == 3
    assert pixels(engine, job(tiny, TEXT, adapters=act((path, 0.0)))) == plain
    assert pixels(engine, job(tiny, TEXT, adapters=act((path, 1.0)))) == whole
    assert pixels(engine, job(tiny, TEXT)) == plain and hooks(engine) == 0


def test_a_render_that_fails_takes_its_adapters_off(tiny: Path, shelf: Mapping[str, str], engine: Engine) -> None:
    with pytest.raises(Cancelled):
        engine.render([job(tiny, TEXT, adapters=act((shelf["lora"], 1.0)))], lambda step, steps: False)
    assert hooks(engine) == 0


def test_a_rehearsal_has_the_adapters_at_work(tiny: Path, shelf: Mapping[str, str], engine: Engine) -> None:
    assert engine.rehearse([job(tiny, TEXT, adapters=act((shelf["lora"], 1.0)))]).seconds > 0
    assert hooks(engine) == 0


def test_two_adapters_add_up_in_any_order(tiny: Path, shelf: Mapping[str, str], engine: Engine) -> None:
    first, second = (shelf["lora"], 0.5), (shelf["scale_shift"], 1.0)
    both = draw(engine, job(tiny, TEXT, adapters=act(first, second)))[0].frames
    turned = draw(engine, job(tiny, TEXT, adapters=act(second, first)))[0].frames
    assert np.abs(both.astype(int) - turned).max() <= 1
    alone = [pixels(engine, job(tiny, TEXT, adapters=act(each))) for each in (first, second)]
    assert both.tobytes() not in alone


def test_a_siamese_branch_is_at_work_in_a_layout(tiny: Path, shelf: Mapping[str, str], engine: Engine) -> None:
    plain = draw(engine, job(tiny, LAYOUT))[0]
    branched = draw(engine, job(tiny, LAYOUT, adapters=[{"path": shelf["siamese"]}], mechanism="siamese"))[0]
    assert branched.record["resolved"]["mechanism"] == "siamese"
    assert plain.record["resolved"]["mechanism"] == "plan", "the checkpoint itself has none"
    assert branched.frames.tobytes() != plain.frames.tobytes()


# ---------------------------------------------------------------- parts


@pytest.mark.parametrize("base", [SCENES, LAYOUT, LAYERED], ids=lambda base: base["task"])
def test_what_parts_say_of_an_adapter_holds_in_them_alone(
    base: dict[str, Any], tiny: Path, shelf: Mapping[str, str], engine: Engine
) -> None:
    path = shelf["lora"]
    plain, whole = pixels(engine, job(tiny, base)), pixels(engine, job(tiny, base, adapters=act((path, 0.7))))
    silent = job(tiny, with_parts(base, act((path, 0.0)), act((path, 0.0))))
    assert pixels(engine, silent) == plain, "weight 0 in every part is no adapter"
    same = job(tiny, with_parts(base, act((path, 0.7)), act((path, 0.7))), adapters=act((path, 0.7)))
    assert pixels(engine, same) == whole, "the whole's weight in every part is the whole"
    one = pixels(engine, job(tiny, with_parts(base, act((path, 0.7)), [])))
    other = pixels(engine, job(tiny, with_parts(base, [], act((path, 0.7)))))
    assert len({plain, whole, one, other}) == 4
    assert hooks(engine) == 0


def test_a_scene_with_an_adapter_of_its_own_is_the_scene_of_a_job_with_it(
    tiny: Path, shelf: Mapping[str, str], engine: Engine
) -> None:
    """And the scene before it is as it was."""
    for kind in KINDS:
        path = shelf[kind]
        plain = draw(engine, job(tiny, SCENES))[0].frames
        last = draw(engine, job(tiny, with_parts(SCENES, [], act((path, 1.0)))))[0].frames
        assert np.array_equal(last[0], plain[0]) and not np.array_equal(last[1], plain[1])
        one = {**SCENES, "scenes": SCENES["scenes"][:1]}
        assert pixels(engine, job(tiny, with_parts(one, act((path, 1.0))))) == pixels(
            engine, job(tiny, one, adapters=act((path, 1.0)))
        )


def test_a_shot_without_cuts_has_adapters_where_it_is_made(
    tiny: Path, shelf: Mapping[str, str], engine: Engine
) -> None:
    shot = {**with_parts(SCENES, [], act((shelf["lora"], 1.0))), "cuts": False}
    plain = draw(engine, job(tiny, {**SCENES, "cuts": False}))[0].frames
    found = draw(engine, job(tiny, shot))[0].frames
    assert np.array_equal(found[0], plain[0]) and not np.array_equal(found[1], plain[1])


def weights_of(engine: Engine, one: Job, path: str) -> dict[str, set[float]]:
    """The weights that a job's last plan gives an adapter, by segment."""
    plan = engine.check(one).plans[-1]
    ends = np.cumsum([len(segment) for segment in plan.segments])
    own = np.split(plan.adapters[path], ends[:-1])
    return {segment.name: {round(float(w), 3) for w in each} for segment, each in zip(plan.segments, own, strict=True)}


def test_the_tokens_of_a_part_are_its_prompt_and_what_it_covers(
    tiny: Path, shelf: Mapping[str, str], engine: Engine
) -> None:
    path = shelf["lora"]
    scenes = job(tiny, with_parts(SCENES, act((path, 0.25)), act((path, -1.0))))
    assert weights_of(engine, scenes, path) == {
        "prompt 1": {0.25}, "prompt 2": {-1.0}, "scene 1": {0.25}, "scene 2": {-1.0},
    }  # fmt: skip
    layered = job(tiny, with_parts(LAYERED, [], act((path, 0.5))), adapters=act((path, 2.0)))
    assert weights_of(engine, layered, path) == {
        "prompt": {2.0}, "prompt 1": {2.0}, "composite": {2.0}, "background": {2.0}, "layer 1": {2.0}, "layer 2": {0.5},
    }  # fmt: skip
    layout = job(tiny, with_parts(LAYOUT, act((path, 0.25)), act((path, 0.5))))
    found = weights_of(engine, layout, path)
    assert (found["prompt"], found["box 1"], found["box 2"]) == ({0.0}, {0.25}, {0.5})
    plan = engine.check(layout).plans[0]
    assert plan.adapters[path][plan.context_tokens :].reshape(4, 4).tolist() == [
        [0.25, 0.25, 0.0, 0.0], [0.25, 0.25, 0.0, 0.0], [0.25, 0.5, 0.5, 0.5], [0.0, 0.5, 0.5, 0.5],
    ], "where boxes overlap the later one lies on top"  # fmt: skip


def test_a_job_without_adapters_of_parts_has_the_plan_that_it_had(tiny: Path, engine: Engine) -> None:
    plan = engine.check(job(tiny, LAYOUT)).plans[0]
    assert isinstance(plan, TokenPlan) and not plan.adapters
    assert blended(plan, job(tiny, LAYOUT), [((), tokens_of("box 1"))]) is plan


# ---------------------------------------------------------------- batches, records, names


def test_jobs_with_different_adapters_do_not_share_a_batch(tiny: Path) -> None:
    a, b = act(("a", 1.0)), act(("a", 0.5))
    for base in (TEXT, SCENES, LAYOUT, LAYERED):
        jobs = [job(tiny, base, adapters=adapters) for adapters in ([], a, b, a)]
        assert groups(jobs) == [[0], [1, 3], [2]]
    for base in (SCENES, LAYOUT, LAYERED):
        jobs = [job(tiny, base if own is None else with_parts(base, own, [])) for own in (None, a, b, a)]
        assert groups(jobs) == [[0], [1, 3], [2]]


def test_a_batch_with_adapters_shows_the_pictures_of_singles(
    tiny: Path, shelf: Mapping[str, str], engine: Engine
) -> None:
    adapted = with_parts(LAYOUT, act((shelf["dora"], 1.0)), act((shelf["soft_prompt"], 0.5)))
    jobs = [job(tiny, adapted, seed=seed) for seed in (1, 2)]
    together = draw(engine, *jobs)
    for one, found in zip(jobs, together, strict=True):
        assert np.abs(found.frames.astype(int) - draw(engine, one)[0].frames).max() <= 1


def test_the_record_tells_each_adapter(tiny: Path, shelf: Mapping[str, str], engine: Engine) -> None:
    adapted = job(tiny, with_parts(SCENES, [], act((shelf["dora"], 0.5))), adapters=act((shelf["other"], 1.0)))
    record = draw(engine, adapted)[0].record
    whole, part = record["resolved"]["adapters"]
    sha = hashlib.sha256(Path(shelf["dora"]).read_bytes()).hexdigest()
    assert (part["field"], part["kind"], part["weight"], part["sha256"]) == ("scenes[1].adapters[0]", "dora", 0.5, sha)
    assert (whole["path"], whole["words"]) == (shelf["other"], ["a snarf"])
    assert record["inputs"]["scenes[1].adapters[0].path"] == sha
    strange = [warning for warning in record["warnings"] if "other weights" in warning]
    assert len(strange) == 1 and shelf["dora"] in strange[0], "the other one was trained on these"
    assert "adapters" not in draw(engine, job(tiny, TEXT))[0].record["resolved"]


def test_what_an_adapter_was_trained_on_is_no_stranger(tiny: Path, shelf: Mapping[str, str], engine: Engine) -> None:
    assert "'snarf'" in engine.check(job(tiny, TEXT, prompt="a red snarf")).warnings[0]
    assert engine.check(job(tiny, TEXT, prompt="a red snarf", adapters=[{"path": shelf["lora"]}])).warnings == []
    other = engine.check(job(tiny, TEXT, prompt="a red gnome", adapters=[{"path": shelf["lora"]}])).warnings
    assert "'gnome'" in other[0]


def test_a_job_without_adapters_is_told_as_before_there_were_any(tiny: Path) -> None:
    for base in (TEXT, SCENES, LAYOUT, LAYERED):
        assert "adapters" not in json.dumps(recipe(job(tiny, base)))
    adapted = job(tiny, with_parts(LAYOUT, act(("a", 0.5)), []), adapters=act(("b.safetensors", 1.0)))
    told = recipe(adapted)
    assert parse(told) == adapted
    assert files_named(told) == {"adapters[0].path": "b.safetensors"}, "a name is no file"
    assert restore(json.dumps({"job": told, "outputs": {}}).encode(), has=lambda path: False).notes == (
        "adapters[0].path: the file 'b.safetensors' is not here; give it again",
    )


def test_a_name_is_looked_up_in_the_folder_of_adapters(
    tiny: Path, shelf: Mapping[str, str], engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "adapters").mkdir()
    (tmp_path / "adapters" / "snarf.safetensors").write_bytes(Path(shelf["lora"]).read_bytes())
    by_name = pixels(engine, job(tiny, TEXT, adapters=act(("snarf", 1.0))))
    assert by_name == pixels(engine, job(tiny, TEXT, adapters=act((shelf["lora"], 1.0))))


@pytest.mark.parametrize("text", ["../x", "/etc/x", "a/b", "~root", ".x", "x.safetensors", "c:x", "..", "a\\b"])
def test_no_path_is_a_name(text: str) -> None:
    assert not is_name(text)
    assert locate("snarf") == Path("adapters/snarf.safetensors")


def test_another_adapter_renders_its_scene_again_and_no_other(
    tiny: Path, shelf: Mapping[str, str], tmp_path: Path
) -> None:
    engine = Engine("cpu", cache=tmp_path)

    def scenes(*adapters: list[dict[str, Any]]) -> list[tuple[bool, str]]:
        record = draw(engine, job(tiny, with_parts(SCENES, *adapters), name="story"))[0].record
        return [(scene["reused"], scene["why"]) for scene in record["scenes"]]

    lora = act((shelf["lora"], 1.0))
    assert not any(reused for reused, _ in scenes([], []))
    assert scenes([], lora) == [(True, "unchanged"), (False, "adapters changed")]
    assert scenes([], lora) == [(True, "unchanged"), (True, "unchanged")]
    assert scenes([], act((shelf["lora"], 0.5)))[1] == (False, "adapters changed")
    assert scenes([], [])[1] == (True, "unchanged")


# ---------------------------------------------------------------- refusals


REFUSED: list[tuple[Mapping[str, Any], str, str]] = [
    ({**TEXT, "adapters": [{"path": "nowhere.safetensors"}]}, "adapters[0].path", "got nothing of that name"),
    ({**TEXT, "adapters": [{"path": "nowhere"}]}, "adapters[0].path", "adapters/nowhere.safetensors"),
    ({**TEXT, "adapters": [{"path": "/dev/zero"}]}, "adapters[0].path", "got nothing of that name"),
    ({**TEXT, "adapters": [{"path": "x" * 999}]}, "adapters[0].path", "got nothing of that name"),
    ({**TEXT, "model": "papercut", "adapters": [{"path": "LORA"}]}, "adapters[0].path", "trained on another"),
    ({**TEXT, "adapters": [{"path": "LORA"}, {"path": "LORA"}]}, "adapters", "once"),
    ({**TEXT, "adapters": [{"path": "LORA", "weight": 5}]}, "adapters[0].weight", "less than or equal to 4"),
    ({**TEXT, "adapters": [{"pth": "LORA"}]}, "adapters[0].pth", "did you mean 'path'"),
    ({**TEXT, "adapters": [{"path": "SIAMESE"}]}, "adapters[0].path", "acts on whole layouts"),
    ({**LAYOUT, "adapters": [{"path": "SIAMESE"}], "mechanism": "plan"}, "adapters[0].path", "acts on whole layouts"),
    ({**LAYOUT, "adapters": [{"path": "SIAMESE", "weight": 0.5}]}, "adapters[0].weight", "there or not"),
    (with_parts(LAYOUT, [{"path": "SIAMESE"}], []), "boxes[0].adapters[0].path", "acts on whole layouts"),
    (with_parts(LAYOUT, [], [{"path": "SHARED"}]), "boxes[1].adapters[0].path", "which all tokens share"),
    (with_parts(LAYERED, [], [{"path": "SOFT"}]), "layers[1].adapters[0].path", "this layer has no prompt"),
    (with_parts(SCENES, [], [{"pth": "x"}]), "scenes[1].adapters[0].pth", "did you mean 'path'"),
]  # fmt: skip


@pytest.mark.parametrize(("values", "field", "says"), REFUSED, ids=[f"{f} {s}" for _, f, s in REFUSED])
def test_what_can_not_act_is_refused_before_anything_is_rendered(
    values: Mapping[str, Any], field: str, says: str, tiny: Path, shelf: Mapping[str, str], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    short = {"LORA": "lora", "SIAMESE": "siamese", "SHARED": "shared", "SOFT": "soft_prompt"}
    text = json.dumps({"model": str(tiny), "size": [64, 64], "steps": 1, **values})
    for word, kind in short.items():
        text = text.replace(f'"{word}"', json.dumps(shelf[kind]))
    (tmp_path / "job.json").write_text(json.dumps([{**TEXT, "model": str(tiny)}, json.loads(text)]))
    assert main(["render", str(tmp_path / "job.json"), "--out", str(tmp_path / "out")]) == 2
    told = capsys.readouterr().err
    assert f"document 2, field {field}: " in told and says in told and told.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_an_adapter_whose_values_are_no_numbers_fails_its_job_alone(
    tiny: Path, shelf: Mapping[str, str], engine: Engine, tmp_path: Path
) -> None:
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    with safe_open(shelf["lora"], "pt") as file:
        header = file.metadata()
    broken = {name: tensor * torch.nan for name, tensor in load_file(shelf["lora"]).items()}
    save_file(broken, tmp_path / "nan.safetensors", header)
    with pytest.raises(Refusal, match="the training went wrong") as caught:
        draw(engine, job(tiny, TEXT, adapters=act((str(tmp_path / "nan.safetensors"), 1.0))))
    assert caught.value.field == "adapters[0].path" and hooks(engine) == 0
