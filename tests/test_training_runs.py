"""The runs of a studio: processes of their own, one at a time, whose state is read from files alone."""

from __future__ import annotations

import json
import os
import re
import signal
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from models.adapter.file import load, read
from tests.hosting import captioned, config_of, now, over, runs_at
from tests.paced import until
from tests.running import pictures, rows, run_file, train
from training.follow import followed, results, said, sheets
from training.hosted import END, LOOKED, RUN, WORDS, captions, go
from training.runs import CAPTIONING, Busy, Runs, Wanted, check_id, written
from training.tune import read_tune, run_of


def test_a_run_is_found_by_another_studio_and_pauses_and_goes_on(tmp_path: Path) -> None:
    runs = runs_at(tmp_path)
    assert runs.all() == [] and runs.busy() == "" and not (tmp_path / ".diorama").exists()
    id = runs.begin("My Ink! ", config_of(tmp_path / "pictures"))
    assert id == "my-ink" and runs.busy() == id
    other = runs_at(tmp_path)  # as after a restart
    until(lambda: followed(now(other, id).folder).step >= 3)
    assert [each.id for each in other.all()] == [id] and now(other, id).state == "running"
    with pytest.raises(Busy, match="my-ink"):
        other.begin("second", config_of(tmp_path))
    assert len(other.all()) == 1 and not other.remove(id)
    assert other.ask(id, "pause") and now(runs, id).state in ("stopping", "paused")
    ended = over(other, id)
    assert (ended.state, ended.said) == ("paused", "") and not other.ask(id, "pause")
    before = followed(ended.folder).step
    assert not other.go_on("nobody") and other.go_on(id, steps=9)
    until(lambda: followed(ended.folder).step > before)
    config = now(other, id).config
    assert config is not None and config.loop.steps == 9 and config.folder == ended.folder.resolve()
    assert runs.ask(id, "stop") and over(runs, id).state == "stopped" and "goes on" in said(ended.folder)
    assert runs.remove(id) and runs.all() == []


def test_a_run_that_was_killed_is_interrupted_and_its_lock_is_free(tmp_path: Path) -> None:
    runs = runs_at(tmp_path)
    id = runs.begin("a", config_of(tmp_path))
    until(lambda: followed(now(runs, id).folder).step)
    found = [path for path in Path("/proc").glob("[0-9]*/cmdline") if str(now(runs, id).folder.resolve()) in text(path)]
    os.kill(int(found[0].parent.name), signal.SIGKILL)
    assert over(runs, id).state == "interrupted" and runs.busy() == ""
    other = runs.begin("a", config_of(tmp_path))
    assert other == "a-2" and runs.ask(other, "stop") and over(runs, other).state == "stopped"


def text(path: Path) -> str:
    try:
        return path.read_text().replace("\0", " ")
    except OSError:
        return ""


def test_a_preflight_is_kept_under_the_values_that_it_was_of(tmp_path: Path) -> None:
    runs = runs_at(tmp_path)
    config = config_of(tmp_path / "pictures")
    id = runs.check(config)
    assert id == check_id(config.model_copy(update={"folder": Path("elsewhere")})) != check_id(config_of("other"))
    report = over(runs, id).report
    assert now(runs, id).state == "done" and report is not None and report["usable"] == 3
    broken = over(runs, runs.check(config_of(tmp_path / "broken")))
    assert broken.state == "failed" and broken.said.startswith("data: b.png: ends early")
    for number in range(8):
        over(runs, runs.check(config_of(tmp_path / str(number))))
    assert len(list((tmp_path / ".diorama" / "checks").iterdir())) <= 6 and runs.all() == []


@pytest.mark.parametrize("id", ["..", "", "a/b", "A", "a" * 65, "\0", "a\n"])
def test_only_ids_name_runs(tmp_path: Path, id: str) -> None:
    runs = runs_at(tmp_path / "out")
    (tmp_path / RUN).write_text("x")
    assert runs.get(id) is None and runs.check_of(id) is None and not runs.ask(id, "stop") and not runs.remove(id)


def test_what_is_written_is_what_the_command_line_reads(tmp_path: Path) -> None:
    config = config_of(
        "bilder/ü", train={"kind": "soft_prompt", "tokens": 2}, samples={"prompts": ["a\nb: c"], "size": [64, 96]}
    )
    (tmp_path / RUN).write_text(written(config))
    assert read_tune(tmp_path / RUN) == config == run_of(yaml.safe_load(written(config)))
    assert "warmup" not in written(config), "what is as it would be anyway is left out"


def test_a_log_that_is_cut_off_or_odd_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    lines: list[Any] = [{"step": 0, "held_out": 2.0}, {"step": 1, "loss": 1.5, "lr": 0.1}, [], {"step": "x", "loss": 1}]
    torn = '{"step": 3, "lo'
    (tmp_path / "log.jsonl").write_text("\n".join(map(json.dumps, lines)) + '\n{"step": 2, "loss": NaN}\n' + torn)
    found = followed(tmp_path)
    assert (found.losses, found.held_out, found.last["lr"], found.step) == (((1, 1.5),), ((0, 2.0),), 0.1, 1)
    (tmp_path / "samples").mkdir()
    for name in ("step-00000100.png", "step-00000000.png", "step-1.png", "x.png", ".diorama-1.tmp"):
        (tmp_path / "samples" / name).touch()
    assert sheets(tmp_path) == [0, 100] and results(tmp_path) == [] and followed(tmp_path / "none").losses == ()


def test_captions_and_a_run_wait_for_each_other_and_captions_end_when_they_are_asked_to(tmp_path: Path) -> None:
    runs = runs_at(tmp_path)
    assert runs.captions() is None and not runs.ask_captions()
    runs.caption(Wanted(str(tmp_path), ("a {slowly|quickly} pim",)))
    until(lambda: len(found.looked) > 3 if (found := runs.captions()) else False)
    with pytest.raises(Busy, match=re.escape(CAPTIONING)):
        runs.begin("ink", config_of(tmp_path))
    with pytest.raises(Busy, match=re.escape(CAPTIONING)):
        runs.caption(Wanted(str(tmp_path), ("{a|b}",)))
    assert runs.all() == [] and runs_at(tmp_path).ask_captions(), "another studio of the folder may end them too"
    found = captioned(runs)
    assert found.state == "stopped" and 3 < len(found.looked) < 500
    id = runs.begin("ink", config_of(tmp_path))
    with pytest.raises(Busy, match="ink"):
        runs.caption(Wanted(str(tmp_path), ("{a|b}",)))
    assert not runs.ask_captions()
    runs.ask(id, "stop")
    over(runs, id)
    runs.caption(Wanted(str(tmp_path), ("{a|b}",)))
    assert len(captioned(runs).looked) == 4, "of those before nothing is left"


# ------------------------------------------------------------ the real ones


def test_hosted_captions_are_those_of_the_command_and_what_stops_them_is_a_sentence(tmp_path: Path, tiny: Path) -> None:
    folder = pictures(tmp_path / "pictures", 3)
    for path in folder.glob("*.txt"):
        path.unlink()
    (folder / "9.png").write_bytes(b"")
    lists = tmp_path / "lists"
    lists.mkdir()
    (lists / "colour.txt").write_text("red\nblue\n")
    wanted = Wanted(str(folder), ("a __colour__ pim", "{one|two}"), str(tiny), 64, str(lists))
    (tmp_path / WORDS).write_text(json.dumps(asdict(wanted)))
    assert captions(tmp_path) == (1, "")
    first, *rest = [json.loads(line) for line in (tmp_path / LOOKED).read_text().splitlines()]
    assert first == {"count": 4, "name": "", "captions": [], "why": ""}
    assert [line["name"] for line in rest] == [f"pictures/{n}.png" for n in (0, 1, 2, 9)]
    for number, line in enumerate(rest[:3]):
        assert (folder / f"{number}.txt").read_text().splitlines() == line["captions"] and not line["why"]
        assert line["captions"][0] in ("a red pim", "a blue pim") and line["captions"][1] in ("one", "two")
    assert not rest[3]["captions"] and rest[3]["why"] and not (folder / "9.txt").exists()
    (tmp_path / WORDS).write_text(json.dumps(asdict(replace(wanted, words=("a pim",)))))
    status, told = captions(tmp_path)
    assert status == 2 and told.startswith("WORDS: expected alternatives such as {red|blue}, got none")


@pytest.mark.slow
def test_a_real_process_writes_captions_and_trains_nothing(tmp_path: Path, tiny: Path) -> None:
    folder = pictures(tmp_path / "pictures", 2)
    (folder / "1.txt").unlink()
    runs = Runs(tmp_path / "out")
    runs.caption(Wanted(str(folder), ("a {red|blue} pim",), str(tiny), 64))
    done = captioned(runs)
    assert done.state == "done" and len(done.looked) == 2, said(done.folder)
    assert (folder / "1.txt").read_text() in ("a red pim\n", "a blue pim\n") and runs.all() == []


def test_a_hosted_run_does_what_the_command_does_and_says_how_it_ended(tmp_path: Path, tiny: Path) -> None:
    path = run_file(tmp_path, tiny, loop={"steps": 2, "batch": 2, "accumulate": 1, "device": "cpu"})
    assert train(path) == 0
    folder = tmp_path / "hosted"
    folder.mkdir()
    config = read_tune(path)
    assert config is not None
    (folder / RUN).write_text(written(config.model_copy(update={"folder": folder})))
    assert go(folder, preflight=True) == (0, "") and not (folder / "log.jsonl").exists()
    assert go(folder) == (0, "")
    one, other = (load(read(each / "adapter.safetensors")) for each in (folder, tmp_path / "run"))
    assert one.keys() == other.keys() and all(one[name].equal(other[name]) for name in one)
    report = json.loads((folder / "report.json").read_text())
    assert report["usable"] == 6 and not report["errors"]


def test_errors_of_the_preflight_and_what_stops_a_run_are_sentences(tmp_path: Path, tiny: Path) -> None:
    path = run_file(tmp_path, tiny, "run")
    (tmp_path / "pictures" / "0.png").write_bytes(b"")
    path.rename(tmp_path / RUN)
    status, told = go(tmp_path)
    assert status == 2 and told.startswith("data: ") and "0.png" in told
    assert json.loads((tmp_path / "report.json").read_text())["errors"]
    pictures(tmp_path / "pictures")
    good = read_tune(run_file(tmp_path, tiny, "run", loop={"lr": 1, "clip": 1e9, "steps": 3, "batch": 2}))
    assert good is not None
    (tmp_path / RUN).write_text(written(good.model_copy(update={"start_from": "nobody"})))
    status, told = go(tmp_path)
    assert status == 2 and "nobody" in told and str(tmp_path) not in told


@pytest.mark.slow
def test_a_real_process_pauses_between_two_steps_and_goes_on_to_its_end(tmp_path: Path, tiny: Path) -> None:
    config = read_tune(run_file(tmp_path, tiny, loop={"steps": 400, "batch": 2, "accumulate": 1, "device": "cpu"},
                                log={"every": 1}))  # fmt: skip
    assert config is not None
    runs = Runs(tmp_path / "out")
    id = runs.begin("ink", config)
    until(lambda: now(runs, id).state != "running" or followed(now(runs, id).folder).step >= 3)
    assert runs.ask(id, "pause"), said(now(runs, id).folder)
    paused = over(runs, id)
    assert paused.state == "paused" and results(paused.folder)[:1] == ["adapter"], said(paused.folder)
    step = rows(paused.folder)[-1]["step"]
    (paused.folder / RUN).write_text((paused.folder / RUN).read_text().replace("steps: 400", f"steps: {step + 2}"))
    assert runs.go_on(id)
    done = over(runs, id)
    assert (done.state, rows(done.folder)[-1]["step"]) == ("done", step + 2), said(done.folder)
    assert json.loads((done.folder / END).read_text()) == {"status": 0, "said": ""}
