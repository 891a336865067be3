"""Ablations: variants are measured at equal steps and at equal seconds, once, and bad files are refused."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st

from models.checkpoint import describe, load
from pipelines import cli
from tests.test_trainer import TINY_RUN
from tests.tiny import tiny_checkpoint
from training import ablate
from training.ablate import Ablation, measured, patched, read_ablation, rows, table
from training.flow import FlowStage
from training.main import autoencoder_of

TOP = Path(__file__).parents[1]
LOOP = {"steps": 4, "batch": 2, "warmup": 1, "lr": 0.01}
PLAIN: dict[str, Any] = {"transformer": {"accelerators": [], "auxiliary_block": None, "other_sizes": 0.0, "loop": LOOP}}
GUIDED = {"transformer": {"accelerators": [{"name": "internal_guidance", "block": 1}]}}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("tiny") / "checkpoint")


def write(folder: Path, checkpoint: Path, **fields: Any) -> Path:
    """A tiny run and an ablation of it; the ablation's file."""
    run = TINY_RUN.format(folder=folder / "run", checkpoint=folder / "made", more="")
    (folder / "run.yaml").write_text(run)
    value = {
        "run": "run.yaml", "folder": str(folder / "found"), "autoencoder": str(checkpoint), "seeds": [1], "pictures": 2,
        "change": PLAIN, "variants": {"plain": {}, "guided": GUIDED},
    }  # fmt: skip
    path = folder / "ablation.yaml"
    path.write_text(yaml.safe_dump(value | fields, sort_keys=False))
    return path


# ------------------------------------------------------------ what is measured


def test_every_variant_is_measured_at_both_points_and_none_twice(
    tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, told = write(tmp_path, checkpoint, seeds=[1, 2]), []
    assert ablate.ablate(path, device="cpu", say=told.append) == 0
    found = json.loads((tmp_path / "found" / "table.json").read_text())
    for name in ("plain", "guided"):
        for seed in ("1", "2"):
            cell = found["cells"][name][seed]
            assert cell["equal_steps"]["step"] == 4 and cell["equal_seconds"]["step"] >= 1
            assert cell["equal_steps"]["held_out"] > 0 and 0 <= cell["equal_steps"]["parser"] <= 1
            assert ("guided_parser" in cell["equal_steps"]) == (name == "guided")
    plain = found["cells"]["plain"]
    assert plain["1"]["equal_steps"] == plain["1"]["equal_seconds"], "of the first variant they are one point"
    assert plain["1"]["equal_steps"]["held_out"] != plain["2"]["equal_steps"]["held_out"], "two seeds are two"
    assert found["rows"]["plain"]["speed"]["mean"] == 1
    assert [line for line in told if line.startswith("| guided |")]

    monkeypatch.setattr(ablate, "measured", lambda *_: pytest.fail("it was done"))
    again: list[str] = []
    assert ablate.ablate(path, device="cpu", say=again.append) == 0
    assert sum("done before" in line for line in again) == 4 and again[4:] == told[4:]


def test_only_what_was_changed_is_measured_again(
    tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    point = {"step": 4, "held_out": 0.5, "parser": 0.25}
    asked: list[tuple[str, int, float | None]] = []

    def fake(run: Any, codec: Any, scratch: Path, pictures: int, device: str, budget: Any, *_: Any) -> dict[str, Any]:
        names = [one.name for one in run.transformer.chosen]
        asked.append(("".join(names) or "plain", run.seed, budget))
        if names == ["layer_sync"]:
            raise FloatingPointError("the loss is nan")
        return {"seconds": 8.0, "samples_per_second": 16.0, "equal_steps": point, "equal_seconds": point}

    monkeypatch.setattr(ablate, "measured", fake)
    broken = {"transformer": {"accelerators": [{"name": "layer_sync", "early": 0, "deep": 1}]}}
    variants = {"plain": {}, "broken": broken, "guided": GUIDED}
    told: list[str] = []
    assert ablate.ablate(write(tmp_path, checkpoint, variants=variants), say=told.append) == 1
    assert asked == [("plain", 1, None), ("layer_sync", 1, 8.0), ("internal_guidance", 1, 8.0)]
    assert any("broken, seed 1: the loss is nan" in line for line in told)
    assert [line.split()[1] for line in told if line.startswith("| ")][1:] == ["plain", "guided"]

    asked.clear()
    variants = {
        "plain": {},
        "guided": GUIDED,
        "stratified": {"transformer": {"accelerators": [{"name": "stratified_times"}]}},
    }
    assert ablate.ablate(write(tmp_path, checkpoint, variants=variants, seeds=[1, 2]), say=told.append) == 0
    assert asked[0] == ("stratified_times", 1, 8.0), "of the first seed the others stand"
    assert [seed for _, seed, _ in asked[1:]] == [2, 2, 2] and asked[1] == ("plain", 2, None)
    asked.clear()
    assert ablate.ablate(write(tmp_path, checkpoint, variants=variants, pictures=3), say=told.append) == 0
    assert len(asked) == 3


def test_equal_seconds_are_those_of_the_budget(
    tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, runs = read_ablation(write(tmp_path, checkpoint))
    ticks = itertools.count()
    monkeypatch.setattr(ablate, "time", SimpleNamespace(monotonic=lambda: float(next(ticks))))  # a second a step
    measures = iter(range(9))
    monkeypatch.setattr(ablate, "_measure", lambda *_: {"order": next(measures)})
    codec = autoencoder_of(str(checkpoint))
    slow = measured(runs["plain"], codec, tmp_path, 2, "cpu", budget=3.0)
    assert slow["equal_steps"] == {"step": 4, "order": 0}
    assert slow["equal_seconds"] == {"step": ablate.UNTIMED + 3, "order": 1} and slow["samples_per_second"] == 2
    quick = measured(runs["plain"], codec, tmp_path, 2, "cpu", budget=1.0)
    assert quick["equal_seconds"] == quick["equal_steps"] == {"step": 4, "order": 2}


def test_a_text_encoder_that_is_named_is_taken_and_stays_as_it_is(
    tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, runs = read_ablation(write(tmp_path, checkpoint))
    stages: list[FlowStage] = []
    monkeypatch.setattr(ablate, "_measure", lambda trainer, stage, pictures: stages.append(stage) or {})
    codec = autoencoder_of(str(checkpoint))
    for name in (str(checkpoint), None):
        measured(runs["plain"], codec, tmp_path, 2, "cpu", text_encoder=name)
    taken, own = stages
    with torch.no_grad():
        expected = load(describe(str(checkpoint))).prompts(["a red circle"])
        assert torch.allclose(taken.prompts(["a red circle"]), expected, atol=1e-5)
        assert not torch.allclose(own.prompts(["a red circle"]), expected, atol=0.1)
    assert not any(weight.requires_grad for weight in taken.text.parameters())
    assert any(weight.requires_grad for weight in own.text.parameters())


def test_a_text_encoder_of_other_sizes_is_refused_in_one_sentence(
    tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change = {"transformer": PLAIN["transformer"] | {"text_mlp": 32}}
    path = write(tmp_path, checkpoint, change=change, text_encoder=str(checkpoint))
    assert cli.main(["ablate", str(path)]) == 2
    told = capsys.readouterr().err
    assert "text_encoder" in told and "has other sizes than those that the run asks for" in told
    assert told.count("\n") == 1


def test_only_a_text_encoder_that_is_named_makes_another_cell(
    tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    def stand_in(run: object, codec: object, folder: object, pictures: int, *more: object) -> dict[str, Any]:
        asked.append(more[-1])
        point = {"step": 4, "held_out": 0.5, "parser": 0.25}
        return {"seconds": 8.0, "samples_per_second": 16.0, "equal_steps": point, "equal_seconds": point}

    monkeypatch.setattr(ablate, "measured", stand_in)
    for more in ({}, {"text_encoder": str(checkpoint)}, {"text_encoder": str(checkpoint)}):
        assert ablate.ablate(write(tmp_path, checkpoint, variants={"plain": {}}, **more)) == 0
    assert asked == [None, str(checkpoint)]


# ------------------------------------------------------------ the table


def cell(rate: float, held_out: float) -> dict[str, Any]:
    point = {"held_out": held_out, "parser": 0.5}
    return {"samples_per_second": rate, "equal_steps": point, "equal_seconds": point}


def test_the_table_has_means_over_the_seeds_and_half_of_their_range() -> None:
    found = rows({"plain": {1: cell(10, 0.4), 2: cell(20, 0.6)}, "quick": {1: cell(20, 0.3), 2: cell(30, 0.3)}})
    assert found["quick"]["speed"]["mean"] == 1.75, "each seed against the same seed of the first"
    lines = list(table(found))
    assert lines[2].startswith("| plain | 15.0 ± 5.0 | 1.00x | 0.500 ± 0.100 | 0.500 ± 0.000 |")
    assert len({line.count("|") for line in lines}) == 1


# ------------------------------------------------------------ changes


KEYS = st.sampled_from("abc")
VALUES = st.recursive(st.integers() | st.lists(st.integers()), lambda inner: st.dictionaries(KEYS, inner))


@given(st.dictionaries(KEYS, VALUES), st.dictionaries(KEYS, VALUES))
def test_a_change_is_made_once_and_leaves_the_rest(base: dict[str, Any], change: dict[str, Any]) -> None:
    once = patched(base, change)
    assert patched(once, change) == once and patched(base, {}) == base
    assert all(once[key] == value for key, value in base.items() if key not in change)


def test_null_takes_a_field_away() -> None:
    assert patched({"a": {"b": 1, "c": 2}}, {"a": {"b": None}, "d": None}) == {"a": {"c": 2}}


# ------------------------------------------------------------ files


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"run": "absent.yaml"}, "field run: can not be read"),
        ({"variants": {}}, "field variants"),
        ({"variants": {"a b": {}}}, "field variants"),
        ({"seeds": [1, 1]}, "expected different seeds, got [1, 1]"),
        ({"sedes": [1]}, "field sedes: unknown key"),
        ({"autoencoder": "nowhere"}, "field autoencoder"),
        ({"text_encoder": "nowhere"}, "field text_encoder"),
        ({"change": {}, "variants": {"x": GUIDED}}, "either accelerators or auxiliary_block"),
        ({"variants": {"x": {"transformer": {"accelerators": [{"name": "warp"}]}}}}, "got 'warp'"),
        ({"variants": {"x": {"transformer": {"accelerators": [{"early": 1}]}}}}, "add name"),
        ({"variants": {"x": {"transformer": {"widht": 3}}}}, "transformer.widht: unknown key"),
        ({"variants": {"x": {"transformer": {"tasks": {"video": 1.0}}}}}, "expected the task picture"),
        ({"variants": {"x": {"transformer": None}}}, "transformer: is missing"),
        ({"variants": {"x": {"transformer": {"loop": {"steps": 3}}}}}, "more than 3 steps, got 3"),
        ({"variants": {"x": {"mixture": {"related": 0}}}}, "expected mixture.related above 0"),
    ],
)
def test_a_file_that_is_wrong_is_refused_in_one_sentence(
    tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str], fields: dict[str, Any], says: str
) -> None:
    path = write(tmp_path, checkpoint, **fields)
    assert cli.main(["ablate", str(path)]) == 2
    told = capsys.readouterr().err
    assert says in told and told.count("\n") == 1 and str(path) in told
    assert not (tmp_path / "found").exists(), "nothing was begun"


@pytest.mark.parametrize("text", ["a: [", "", "--- {}\n--- {}\n", "just words"])
def test_what_is_no_ablation_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
    path = tmp_path / "ablation.yaml"
    path.write_text(text)
    assert cli.main(["ablate", str(path)]) == 2
    assert cli.main(["ablate", str(tmp_path / "absent.yaml")]) == 2
    assert capsys.readouterr().err.count("\n") == 2


def test_the_list_of_the_accelerators_is_valid_and_has_unseen_pictures() -> None:
    ablation, runs = read_ablation(TOP / "assets" / "papercut" / "ablation.yaml")
    assert next(iter(runs)) == "plain" and len(runs) == 6
    assert len(ablation.seeds) == 2
    for name, run in runs.items():
        assert [one.name for one in run.transformer.chosen] == ([] if name == "plain" else [name])


def test_the_page_has_every_field() -> None:
    page = (TOP / "docs" / "training.md").read_text()
    for name, field in Ablation.model_fields.items():
        default = "needed" if field.is_required() else json.dumps(field.default)
        assert f"| `{name}` | {field.description} | {default} |" in page, name
