"""The preflight: every broken data set is caught by name before a model loads, and healthy ones pass."""

from __future__ import annotations

import json
import shutil
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines import cli
from pipelines.refusal import Refusal, Refused
from tests.test_help import HEAVY, loaded_by
from tests.zoo import CAPTION, ZOO, healthy, picture, run, sound, video
from training.data.findings import ERRORS, WARNINGS
from training.preflight import Report, preflight
from training.tune import read_tune

# What a broken data set may show beside what it is named after.
BESIDE = {
    "a line that is no JSON": {"small-bucket"},
    "a row that comes twice": {"duplicate"},
    "a row with a comma too many": {"small-bucket"},
}


def built(name: str, top: Path) -> dict[str, Any]:
    """The `data:` section of a member of the zoo."""
    healthy(top)
    return dict(ZOO[name].build(top) or {"sources": [{"path": str(top)}]})


def yaml_of(data: dict[str, Any], top: Path) -> Path:
    """A run file of these data."""
    path = top / "run.yaml"
    plain = json.loads(json.dumps(data, default=str))
    value = {"folder": str(top / "run"), "data": plain, "loop": {"steps": 10, "batch": 2}}
    path.write_text(yaml.safe_dump(value))
    return path


@pytest.mark.parametrize("name", ZOO)
def test_every_broken_data_set_is_caught_by_name_and_by_nothing_else(name: str, tmp_path: Path) -> None:
    broken, top = ZOO[name], tmp_path / "pictures"
    top.mkdir()
    report = preflight(run(built(name, top), tmp_path))
    found = [finding for finding in report.findings if finding.kind == broken.kind]
    assert found, [f"{finding.kind} {finding}" for finding in report.findings]
    assert any(broken.where in str(finding) for finding in found), found
    assert {finding.kind for finding in report.findings} - {broken.kind} <= BESIDE.get(name, set())
    assert all(finding.reason and "\n" not in str(finding) for finding in report.findings)
    assert (broken.kind in ERRORS) == bool(report.errors)


def test_the_zoo_has_every_finding_there_is() -> None:
    elsewhere = {"disk", "memory"}  # of the machine, see below
    assert {broken.kind for broken in ZOO.values()} | elsewhere == {*ERRORS, *WARNINGS}
    assert len(ZOO) >= 30 and not set(ERRORS) & set(WARNINGS)


@pytest.mark.parametrize("name", ["half a PNG", "a weight below zero", "a tar that ends early"])
def test_errors_stop_the_run_with_one_sentence(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    top = tmp_path / "pictures"
    top.mkdir()
    path = yaml_of(built(name, top), tmp_path)
    for more in ([], ["--preflight"]):
        assert cli.main(["train", str(path), *more]) == 2
        out, err = capsys.readouterr()
        assert ZOO[name].kind in out and ZOO[name].where in err
        assert err.startswith(f"diorama: {path}, field data: ") and err.count("\n") == 1
    assert not (tmp_path / "run").exists(), "nothing is written"


def test_warnings_stop_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    top = tmp_path / "pictures"
    top.mkdir()
    path = yaml_of(built("a picture for printing", top), tmp_path)
    assert cli.main(["train", str(path), "--preflight"]) == 0
    out, err = capsys.readouterr()
    assert "warnings  1" in out and "errors  none" in out and "bad.jpg" in out and not err
    assert cli.main(["train", str(path), "--preflight", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [each["kind"] for each in told["warnings"]] == ["cmyk"] and not told["errors"]
    assert told["buckets"] == [{"size": [128, 128], "frames": 1, "examples": 3}]
    assert told["costs"]["steps_an_epoch"] == 2 and told["costs"]["epochs"] == 5 and told["costs"]["samples"] == 15


def test_twenty_pictures_without_captions_pass_with_a_word_for_them(tmp_path: Path) -> None:
    for seed in range(20):
        picture(tmp_path / f"{seed}.png", seed, caption=None)
    data: dict[str, Any] = {"sources": [{"path": tmp_path}]}
    report = preflight(run(data, tmp_path / "run", batch=4))
    assert not report.errors and {finding.kind for finding in report.warnings} == {"missing-caption"}
    data["sources"][0]["caption"] = CAPTION
    report = preflight(run(data, tmp_path / "run", batch=4))
    assert not report.findings and report.captioned == report.usable == 20


def test_clips_sounds_and_shapes_that_are_fine_pass(tmp_path: Path) -> None:
    for number in range(2):
        sound(video(tmp_path / f"clip{number}.mp4", seed=number).with_suffix(".wav"))
        picture(tmp_path / f"wide{number}.png", 10 + number, (192, 128))
    data = {"sources": [{"path": tmp_path}], "frames": [1, 8], "audio": True}
    report = preflight(run(data, tmp_path / "run"))
    assert not report.findings
    assert {bucket.frames: count for bucket, count in report.buckets.items()} == {8: 2, 1: 2}
    assert report.kinds == {"video": 2, "picture": 2}


def test_cropping_is_told_and_never_more_than_stated(tmp_path: Path) -> None:
    for seed, size in enumerate([(128, 128), (131, 128), (200, 128), (128, 210)]):
        picture(tmp_path / f"{seed}.png", seed, size)
    report = preflight(run({"sources": [{"path": tmp_path}], "max_crop": 0.05}, tmp_path / "run", batch=1))
    assert not report.errors and len(report.crops) == 3 and all(0 < crop.share <= 0.05 for crop in report.crops)
    sides = {Path(crop.example).name: crop.sides for crop in report.crops}
    assert sides["1.png"] == "left and right" and f"3 of 4, at most {report.crops[0].share:.1%}" in report.text()


def test_a_machine_that_is_too_small_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    healthy(tmp_path)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10, 9, 1))
    monkeypatch.setattr("training.data.costs.machine_memory", lambda: 1000)
    report = preflight(run({"sources": [{"path": tmp_path}]}, tmp_path / "run"))
    assert {finding.kind for finding in report.warnings} == {"disk", "memory"} and not report.errors
    monkeypatch.setattr("training.data.costs.machine_memory", lambda: None)
    report = preflight(run({"sources": [{"path": tmp_path}]}, tmp_path / "run"))
    assert report.costs is not None and report.costs.seconds is None and "processors" not in report.text()


def test_the_preflight_loads_no_model(tmp_path: Path) -> None:
    healthy(tmp_path / "pictures")
    path = yaml_of({"sources": [{"path": str(tmp_path / "pictures")}]}, tmp_path)
    code = f"from pipelines.cli import main\nassert main(['train', {str(path)!r}, '--preflight']) == 0"
    assert loaded_by(code) & (HEAVY - {"av", "cv2"}) == set()


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        ({"data": {"sources": []}}, "data.sources", "at least 1"),
        ({"data": {"sources": [{"path": "x", "repeats": 0}]}}, "data.sources[0].repeats", "0.001"),
        ({"data": {"sources": [{"path": "x", "captoin": "y"}]}}, "data.sources[0].captoin", "did you mean 'caption'"),
        ({"data": {"sources": [{"path": "x"}], "resolution": 100}}, "data.resolution", "try 96 or 112"),
        ({"data": {"sources": [{"path": "x"}], "max_crop": 1}}, "data.max_crop", "less than 1"),
        ({"lop": {}}, "lop", "did you mean 'loop'"),
        ({"loop": {"steps": 5}}, "loop.batch", "is missing"),
        ({"data": 3}, "data", "a mapping"),
    ],
)
def test_a_slip_in_the_run_file_is_one_sentence(change: dict[str, Any], field: str, words: str, tmp_path: Path) -> None:
    value = {"folder": "f", "data": {"sources": [{"path": "x"}]}, "loop": {"steps": 5, "batch": 1}} | change
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(value))
    with pytest.raises(Refused) as caught:
        read_tune(path)
    assert caught.value.field == field and words in caught.value.reason, str(caught.value)


def test_a_run_of_the_papercut_world_has_no_preflight(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world = Path(__file__).parents[1] / "assets" / "papercut" / "train.yaml"
    assert read_tune(world) is None
    assert cli.main(["train", str(world), "--preflight"]) == 2
    assert "field data: is missing" in capsys.readouterr().err
    healthy(tmp_path)
    assert cli.main(["train", str(yaml_of({"sources": [{"path": str(tmp_path)}]}, tmp_path)), "--json"]) == 2
    assert "--preflight" in capsys.readouterr().err


def test_a_checkpoint_that_is_not_there_is_refused(tmp_path: Path) -> None:
    healthy(tmp_path)
    own = run({"sources": [{"path": tmp_path}]}, tmp_path / "run").model_copy(update={"start_from": "nowhere"})
    with pytest.raises(Refusal, match="start_from"):
        preflight(own)


def test_a_long_list_of_findings_is_cut_in_words_and_whole_in_json() -> None:
    from training.data.findings import Finding

    many = tuple(Finding("flat", f"{k}.png", "has one colour only") for k in range(30))
    report = Report(30, 30, {"picture": 30}, 0, {}, (), many, None)
    assert "and 10 more" in report.text() and len(report.to_json()["warnings"]) == 30


def test_a_name_can_not_move_the_terminals_cursor(tmp_path: Path) -> None:
    picture(tmp_path / "a\x1b[2J\nb.png", caption=None)
    report = preflight(run({"sources": [{"path": tmp_path}]}, tmp_path / "run", batch=1))
    assert report.findings and "\x1b" not in report.text() and "\\x1b[2J\\nb.png" in report.text()
