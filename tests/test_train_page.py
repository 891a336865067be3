"""The Train tab without a browser: fields become runs and back, and what a run wrote is drawn and served."""

from __future__ import annotations

import json
import re
from html import unescape
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import numpy as np
import pytest
import yaml
from PIL import Image
from starlette.applications import Starlette
from starlette.testclient import TestClient

from pipelines.queue.queue import Queue
from pipelines.refusal import Refusal
from tests.hosting import adapter_at, captioned, config_of, now, over, runs_at
from tests.paced import text as job
from tests.paced import until
from tests.staged import StagedEngine
from training.data import sources
from training.data.buckets import Bucket
from training.data.checks import check
from training.data.findings import Finding
from training.follow import followed
from training.preflight import Report
from training.runs import Kept, check_id, written
from training.tune import run_of
from ui import easel, train, traincaptions, trainfiles, trainreport, trainresult
from ui.losscurve import curve
from ui.pace import Pace
from ui.page import build
from ui.studio import Studio
from ui.traincaptions import Captions
from ui.trainform import PLACES, TrainForm
from ui.uploads import Uploads
from ui.words import say, speaking

EVIL = '"><img src=x onerror=alert(1)>'


def studio_of(folder: Path, by_path: bool = True) -> Studio:
    queue = Queue(folder)
    studio = Studio(queue, folder, StagedEngine().check, str, Uploads(folder), Pace(queue, folder), (), by_path)
    studio.__dict__["runs"] = runs_at(folder)  # the cached property: stand-ins instead of torch
    return studio


@pytest.fixture
def studio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Studio:
    monkeypatch.chdir(tmp_path)  # adapters lie beside where a studio is started
    (tmp_path / "pictures").mkdir()
    return studio_of(tmp_path / "out")


def form_of(studio: Studio) -> TrainForm:
    with gr.Blocks():
        return TrainForm(studio)


def sent(form: TrainForm, **changes: Any) -> list[Any]:
    """What the page sends when its fields are as at the beginning but for `changes`."""
    found = {field.name: field.part.value for field in form.form.fields}
    assert set(changes) <= set(found)
    return list({**found, **changes}.values())


def filled(tmp_path: Path, **more: Any) -> dict[str, Any]:
    return {"run_name": "Ink", "run_pictures": str(tmp_path / "pictures"), **more}


# ------------------------------------------------------------ fields and runs


def test_the_fields_make_the_run_that_the_command_line_would_read(studio: Studio, tmp_path: Path) -> None:
    form = form_of(studio)
    more = "loss: {outside: 0.2}\ndata:\n  max_crop: 0.3\n  sources: [{path: more, repeats: 2}]\n"
    run = form.run(sent(form, **filled(
        tmp_path, run_caption=" a snarf ", run_prompts="a snarf\n\n  a ring ", run_steps=12.0, run_kind="dora",
        run_rank=4, run_more=more,
    )))  # fmt: skip
    assert (run.loop.steps, run.loop.batch, run.train.kind, run.train.rank) == (12, 2, "dora", 4)
    assert run.samples.prompts == ("a snarf", "a ring") and run.loss.outside == 0.2 and run.data.max_crop == 0.3
    first, second = run.data.sources
    assert (first.path, first.caption) == (tmp_path / "pictures", "a snarf")
    assert (second.path, second.repeats) == (Path("more"), 2)
    text = form.text(run, "Ink!")
    assert run_of(yaml.safe_load(text)) == run.model_copy(update={"folder": Path("runs/ink")})


@pytest.mark.parametrize("kind", ["lora", "scale_shift", "soft_prompt", "siamese", "full"])
def test_every_kind_can_be_trained_whatever_stands_in_fields_of_others(
    studio: Studio, tmp_path: Path, kind: str
) -> None:
    form = form_of(studio)
    assert form.run(sent(form, **filled(tmp_path, run_kind=kind, run_rank=7, run_tokens=3))).train.kind == kind


def test_a_run_file_fills_the_fields_and_comes_out_as_it_went_in(studio: Studio, tmp_path: Path) -> None:
    form, folder = form_of(studio), str(tmp_path / "pictures")
    run = config_of(
        folder, start_from="papercut", train={"kind": "soft_prompt", "tokens": 3}, seed=9,
        samples={"prompts": ["a: b", "{x}"], "every": 7, "seeds": [1, 2, 3]}, held_out={"share": 0.2, "times": 2},
        loop={"steps": 30, "batch": 3, "accumulate": 2, "lr": 0.01},
    )  # fmt: skip
    values = form.values(written(run))
    assert form.run(values) == run.model_copy(update={"folder": Path("runs")})
    page = dict(zip([field.name for field in form.form.fields], values, strict=True))
    assert page["run_pictures"] == folder and page["run_prompts"] == "a: b\n{x}" and page["run_kind"] == "soft_prompt"
    assert yaml.safe_load(page["run_more"]) == {
        "samples": {"seeds": [1, 2, 3]}, "held_out": {"times": 2}, "loop": {"accumulate": 2}
    }  # fmt: skip
    several = run_of({**yaml.safe_load(written(run)), "data": {"sources": [{"path": folder, "weight": 2.0}] * 2}})
    again = form.run(form.values(written(several)))
    assert again.data == several.data


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"run_pictures": ""}, "run_pictures", "got nothing"),
        ({"run_pictures": "/nowhere/at all"}, "run_pictures", "expected a folder or file that is here"),
        ({"run_pictures": "a\0b"}, "run_pictures", "expected a folder or file that is here"),
        ({"run_model": "/etc"}, "run_model", "expected a model that is here"),
        ({"run_kind": "lokr"}, "run_kind", "expected"),
        ({"run_steps": 0}, "run_steps", "greater than 0"),
        ({"run_steps": None}, "run_steps", "expected a whole number"),
        ({"run_lr": float("nan")}, "run_lr", "expected"),
        ({"run_resolution": 100}, "run_resolution", "multiple of 16"),
        ({"run_prompts": "\n".join(map(str, range(17)))}, "run_prompts", "at most 16 prompts, got 17"),
        ({"run_more": "loop: {steps: 3}"}, "run_more", "has a field of its own, Steps"),
        ({"run_more": "folder: /tmp/x"}, "run_more", "has a field of its own, Name"),
        ({"run_more": "- 1"}, "run_more", "the values of one run file"),
        ({"run_more": "a: &b 1\nc: *b"}, "run_more", "alias"),
        ({"run_more": "los: {outside: 1}"}, "run_more", "unknown key; did you mean"),
        ({"run_more": "data: {sources: 3}"}, "run_more", "a list of sources"),
        ({"run_more": "loop: 3"}, "run_more", "expected a mapping"),
    ],
)
def test_what_is_wrong_is_one_sentence_beside_its_field(
    studio: Studio, tmp_path: Path, changes: dict[str, Any], field: str, words: str
) -> None:
    form = form_of(studio)
    with pytest.raises(Refusal) as told:
        form.run(sent(form, **{**filled(tmp_path), **changes}))
    assert told.value.field == field and words in told.value.reason and "\n" not in told.value.reason


def test_a_page_that_others_reach_names_no_paths(tmp_path: Path) -> None:
    shared = studio_of(tmp_path / "out", by_path=False)
    form = form_of(shared)
    for name in (str(tmp_path), "..", "snarfs/..", "snarfs"):
        with pytest.raises(Refusal, match="expected a folder in datasets"):
            form.run(sent(form, run_pictures=name))
    (tmp_path / "out" / "datasets" / "snarfs").mkdir(parents=True)
    run = form.run(sent(form, run_pictures="snarfs"))
    assert run.data.sources[0].path == (tmp_path / "out" / "datasets" / "snarfs").resolve()
    assert str(tmp_path) not in form.text(run)
    for more in ("data: {cache: /tmp/x}", "data: {sources: [{path: /etc}]}"):
        with pytest.raises(Refusal, match="names a path"):
            form.run(sent(form, run_pictures="snarfs", run_more=more))


def test_every_field_has_a_word_and_a_place(studio: Studio) -> None:
    form = form_of(studio)
    own = {"run_name", "run_pictures", "run_caption", "run_more"}
    assert {field.name for field in form.form.fields} == {*PLACES, *own}
    with speaking("de"):
        assert all(say(f"field.{name}") for name in PLACES)


# ------------------------------------------------------------ the presses


def listeners(studio: Studio) -> dict[str, Any]:
    """The tab's listeners by name, over the whole page."""
    page = build(studio.queue, studio.folder, studio.check, by_path=True)
    page.studio.__dict__["runs"] = studio.runs
    names = ("preview", "check", "begin", "act", "take", "use")
    found = {}
    for each in page.fns.values():
        if each.fn is not None and each.fn.__name__ in names and each.fn.__module__ == "ui.train":
            found[each.fn.__name__] = each.fn
    return found


def test_a_run_is_checked_started_watched_paused_and_gone_on_with(
    studio: Studio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ui.studio.Runs", lambda folder: studio.runs)
    calls, form = listeners(studio), form_of(studio)
    values = sent(form, **filled(tmp_path))
    also, file, *notes = calls["preview"](*values)
    assert "folder: runs/ink" in file and not any(notes) and also == ""
    *_, first = calls["preview"](*sent(form))
    assert first == "", "an empty page is not wrong yet"
    report, *notes = calls["check"](*values)
    id = check_id(form.run(values))
    assert f'data-watch="preflight?check={id}"' in report and not any(notes)
    over(studio.runs, id)
    html = train.checked(studio, id).html
    assert "The training can start; there is one warning." in html and "&lt;b&gt;a.png" in html and "<b>a" not in html
    for words in ("3 of 3 usable", "64 x 64: 3", "at least 2 s", "no caption", "2 steps; the run is 2.0 epochs"):
        assert words in html, words
    run, view, *notes = calls["begin"](*values)
    assert run == "ink" and 'data-id="ink"' in view and not any(notes)
    *_, wrong = calls["begin"](*values)
    assert "ink is being trained, and there is one training at a time" in wrong
    until(lambda: followed(now(studio.runs, "ink").folder).step > 3)
    shown = train.shown(studio, "")
    assert (
        shown.live["train-how:ink"].startswith("Step ")
        and "<svg" in shown.html
        and "3 min 30 s left" in str(shown.live)
    )
    _, view, told = calls["act"]("", SimpleNamespace(act="pause", run="ink"))
    assert "ink ends its step, saves and pauses." in told
    assert over(studio.runs, "ink").state == "paused"
    html = train.shown(studio, "ink").html
    assert 'data-act="resume"' in html and "Go on continues exactly there" in str(train.shown(studio, "ink").live)
    assert train.press(studio, "resume", "ink") == "ink goes on from where it was saved."
    assert train.press(studio, "remove", "ink") == say("train.gone"), "not while it is at work"
    assert train.press(studio, "stop", "ink") == "ink ends its step, saves and stops."
    over(studio.runs, "ink")
    assert train.press(studio, "stop", "ink") == train.press(studio, "burn", "ink") == say("train.gone")
    followed_id, view, told = calls["act"]("ink", SimpleNamespace(act="remove", run="ink"))
    assert followed_id == "" and "is gone, with all its files" in told and "Nothing was trained yet" in view


def test_nothing_starts_while_the_check_has_errors(
    studio: Studio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ui.studio.Runs", lambda folder: studio.runs)
    calls, form = listeners(studio), form_of(studio)
    (tmp_path / "broken").mkdir()
    values = sent(form, **filled(tmp_path, run_pictures=str(tmp_path / "broken")))
    calls["check"](*values)
    id = check_id(form.run(values))
    over(studio.runs, id)
    assert 'role="alert">One error; it has to be mended' in train.checked(studio, id).html
    *_, wrong = calls["begin"](*values)
    assert "the check found errors (1), the first: b.png: ends early" in wrong and studio.runs.all() == []


def test_a_run_file_on_the_page_fills_the_fields(
    studio: Studio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ui.studio.Runs", lambda folder: studio.runs)
    use = listeners(studio)["use"]
    told, *values = use(written(config_of(tmp_path / "pictures", seed=5)))
    assert "The fields are filled in." in told and 5 in values
    for text, words in (("x: [", "YAML"), ("loop: {steps: 1, batch: 1}", "data"), ("start_from: nobody\n" + written(
        config_of(tmp_path)), "expected a model that is here")):  # fmt: skip
        told, *values = use(text)
        assert 'role="alert"' in told and words in told


# ------------------------------------------------------------ captions


def test_captions_are_begun_watched_and_ended(studio: Studio, tmp_path: Path) -> None:
    form = form_of(studio)
    with gr.Blocks():
        part = Captions(studio, "", 1.0)
    values = sent(form, **filled(tmp_path))

    def begin(words: str) -> tuple[str, Any]:
        said, view = part._begin(words, form.looked_at, values)
        return said, view

    assert traincaptions.shown(studio).html == "" and part._again("") == gr.skip()
    assert "expected a caption with alternatives" in begin(" \n ")[0]
    assert "expected at most 8 lines of words, got 9" in begin("{a|b}\n" * 9)[0]
    nowhere = sent(form, **filled(tmp_path, run_pictures="/nowhere"))
    assert "expected a folder or file that is here" in part._begin("{a|b}", form.looked_at, nowhere)[0]
    odd = sent(form, **filled(tmp_path, run_resolution="wide"))
    assert "expected a whole number of pixels, got 'wide'" in unescape(part._begin("{a|b}", form.looked_at, odd)[0])
    assert "expected a caption with alternatives" in part._begin(None, form.looked_at, values)[0]
    said, view = begin(f"{{slowly|quickly}} {EVIL}\n{{a|b}}")
    assert said == "" and 'data-watch="captions"' in view
    until(lambda: "Looked at" in str(traincaptions.shown(studio).live))
    assert "captions are being written; wait for them" in begin("{a|b}")[0]
    assert "captions are being written" in train.press(studio, "resume", "ink")
    assert 'data-act="end"' in traincaptions.shown(studio).html
    said, view = part._end()
    assert said == "" and captioned(studio.runs).state == "stopped"
    assert "Write captions goes on with the others" in traincaptions.shown(studio).html
    assert "No captions are being written any more" in part._end()[0]
    found = studio.runs.captions()
    assert found is not None and found.wanted["pictures"] == str(tmp_path / "pictures")
    assert (found.wanted["model"], found.wanted["resolution"]) == ("papercut", 128)
    assert part._again("") == f"{{slowly|quickly}} {EVIL}\n{{a|b}}" and part._again("mine") == gr.skip()
    begin("{a|b}")
    captioned(studio.runs)
    with speaking("de"):
        text = unescape(re.sub("<[^>]*>", "|", traincaptions.shown(studio).html))
    assert "2 Bilder haben jetzt Beschreibungen" in text and "Eines ließ sich nicht lesen." in text
    assert "|in/0.png|" in text and "|{a|b}|" in text and "hat keine Bytes" in text
    assert "<b>1.png" not in traincaptions.shown(studio).html
    begin("a pim")
    captioned(studio.runs)
    assert "expected alternatives such as {red|blue}, got none" in traincaptions.shown(studio).html


def test_nobody_from_elsewhere_has_captions_written(tmp_path: Path) -> None:
    studio = studio_of(tmp_path, by_path=False)
    form = form_of(studio)
    with gr.Blocks():
        part = Captions(studio, "", 1.0)
    (tmp_path / "datasets" / "pictures").mkdir(parents=True)
    part._begin("{a|b}", form.looked_at, sent(form, run_pictures="pictures"))
    assert studio.runs.captions() is None and traincaptions.shown(studio).html == ""


# ------------------------------------------------------------ what is drawn and served


def finished(studio: Studio, **sections: Any) -> str:
    """A run that is over, with an adapter and a sheet."""
    id = studio.runs.begin("ink", config_of(studio.folder, **sections))
    until(lambda: followed(now(studio.runs, id).folder).step > 1)
    studio.runs.ask(id, "pause")
    run = over(studio.runs, id)
    adapter_at(run.folder / "adapter.safetensors")
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(run.folder / "samples" / "step-00000100.png")
    return id


def test_a_run_is_drawn_without_its_words_becoming_markup(studio: Studio) -> None:
    id = finished(studio, samples={"prompts": [EVIL, "b"]})
    (now(studio.runs, id).folder / "said.txt").write_text(EVIL)
    shown = train.shown(studio, id)
    told = shown.html + str(shown.live)
    assert "<img src=x" not in told and "&lt;img" in told
    assert f'src="training/{id}/sheets/100"' in told and f'href="training/{id}/adapter.safetensors" download' in told
    assert str(studio.folder) not in told, "no path goes to a page"
    with speaking("de"):
        assert "angehalten" in train.shown(studio, id).html and "Ausprobieren" in train.shown(studio, id).html


def findings_of(pictures: Path) -> Report:
    """What the preflight's own checks find in a folder of spoilt pictures, in a metadata file and on this machine."""
    Image.new("RGB", (400, 40)).save(pictures / "wide.png")
    (pictures / "wide.bbox").write_text(json.dumps([{"label": EVIL, "bbox": [0.25, 0, 9.5, 1]}]))
    (pictures / "wide.txt").write_bytes(b"\xff")
    (pictures / f"{EVIL}.png").write_bytes(b"")
    (pictures / "clip.frames").mkdir()
    Image.effect_noise((64, 64), 90).save(pictures / "clip.frames" / "0.png")
    (pictures / "clip.frames" / "1.png").write_bytes(b"no picture")
    rows = pictures.parent / "rows.jsonl"
    rows.write_text(json.dumps({"file_name": f"{EVIL}.png"}))
    config = config_of(pictures, data={"sources": [{"path": path} for path in (pictures, rows, Path("weights"))]}).data
    index = sources.index(config.sources)
    found = list(index.findings)
    for example in index.examples:
        found += check(example, config, lambda caption: None).findings
    found += [
        Finding("small-bucket", f"the bucket {Bucket(4, 8, 9)}", "has one example only (weights) for batches of 2; "
                "lower loop.batch, give repeats, or crop to a common shape"),
        Finding("disk", "the cache", "needs 1.5 GiB and 0.5 GiB are free; set data.cache"),
        Finding("video", "a.mp4", f"a word of nobody: {EVIL}"),
    ]  # fmt: skip
    return Report(3, 0, {"picture": 3}, 0, {}, (), tuple(found), None)


def test_what_a_preflight_found_is_german_on_a_german_page(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    found = findings_of(tmp_path / "pictures").to_json()
    run = Kept("ink", tmp_path, "done")
    with speaking("de"):
        shown = trainreport.told(found, run, True)
        assert trainreport.first_error({"errors": [found["errors"][-1]]})[1].startswith("a.mp4: a word of nobody")
        assert trainreport.first_error({"errors": [{"where": "rows.jsonl, line 1", "reason": "is not JSON: x"}]}) == (
            1, "rows.jsonl, Zeile 1: ist kein JSON: x"
        )  # fmt: skip
    assert "<img" not in shown and shown.count("&lt;img") >= 4
    assert shown.count("lang=") == 1 and '<span lang="en">a word of nobody: ' in shown  # all others are known
    text = unescape(re.sub("<[^>]*>", "|", shown))
    for words in (
        f"Box 1 ({EVIL!r}) ragt aus dem Bild hinaus (0,25; 0; 9,5; 1); 0..1 erwartet; das sieht nach Pixeln aus",
        "hat 400 x 40 Pixel und verlöre ",
        " % in der nächsten Größe, max_crop ist 10,0 %; max_ratio oder max_crop erhöhen oder selbst beschneiden",
        "|ist bei Byte 0 kein UTF-8; als UTF-8 speichern|",
        f"|pictures/{EVIL}.png|",
        "|hat keine Bytes; noch einmal holen oder speichern|",
        "|pictures/clip.frames/1.png ist kein Bild in PNG, JPEG, ",
        "|rows.jsonl, Zeile 1|",
        f"|nennt {f'{EVIL}.png'!r}, das nicht da ist; holen oder die Zeile weglassen|",
        "|weights|",  # a name, whatever the catalogue would make of the word
        "|ist nicht da; den Pfad prüfen",
        "|die Größe 128x64, 9 Bilder|",
        "hat nur ein Beispiel (weights) für Stapel von 2; ",
        "|der Zwischenspeicher|",
        "|braucht 1,5 GiB, und 0,5 GiB sind frei; data.cache setzen|",
    ):
        assert words in text, words
    english = trainreport.told(found, run, True)
    assert "is not UTF-8 at byte 0; save it as UTF-8</td>" in english and "lang=" not in english


def test_files_of_a_run_are_served_by_id_alone(studio: Studio, tmp_path: Path) -> None:
    id = finished(studio)
    client = TestClient(Starlette(routes=trainfiles.routes(studio.runs, by_path=True)))
    sheet = client.get(f"/training/{id}/sheets/100")
    assert sheet.status_code == 200 and sheet.headers["content-type"] == "image/png"
    adapter = client.get(f"/training/{id}/adapter.safetensors")
    assert adapter.status_code == 200 and "attachment" in adapter.headers["content-disposition"]
    assert client.get(f"/training/{id}/run.yaml").text.startswith("folder: ")
    (tmp_path / "secret.png").write_bytes(b"x")
    (now(studio.runs, id).folder / "samples" / "step-00000200.png").symlink_to(tmp_path / "secret.png")
    for path in (
        f"{id}/sheets/200", f"{id}/sheets/300", "nobody/sheets/100", f"{id}/log.safetensors", f"{id}/sheets/-1",
        "../adapter.safetensors", f"{id}/..%2F..%2Fqueue.sqlite3", f"{id}/state.safetensors", f"{id}/ask",
    ):  # fmt: skip
        assert client.get(f"/training/{path}").status_code == 404, path


def test_an_adapter_is_tried_under_a_name_that_says_its_step_and_writes_over_nothing(
    studio: Studio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ui.studio.Runs", lambda folder: studio.runs)
    id = finished(studio, samples={"prompts": ["a snarf"]})
    calls = listeners(studio)
    told, tabs, adapters, model, prompt, *_ = calls["take"]("", SimpleNamespace(run=id))
    assert "ink-7 stands in the fields" in told and tabs.selected == "text"
    assert (adapters, model.value, prompt) == ("ink-7", "papercut", "a snarf")
    assert (tmp_path / "adapters" / "ink-7.safetensors").is_file()
    *_, prompt, _, _, _ = calls["take"]("my words", SimpleNamespace(run=id))
    assert prompt == gr.skip() and len(list((tmp_path / "adapters").iterdir())) == 1
    (tmp_path / "adapters" / "ink-7.safetensors").write_bytes(b"another")
    assert trainresult.ready(studio, id).adapters == "ink-7-2"
    assert (tmp_path / "adapters" / "ink-7.safetensors").read_bytes() == b"another"
    (now(studio.runs, id).folder / "adapter.safetensors").unlink()
    told, *rest = calls["take"]("", SimpleNamespace(run=id))
    assert "has made nothing yet" in told and rest[0] == gr.skip()
    told, *_ = calls["take"]("", SimpleNamespace(run="../x"))
    assert say("train.gone") in told


def test_the_curve_says_in_words_what_it_shows() -> None:
    drawn = curve([(10, 2.0), (20, 1.0), (30, 1e9)], [(0, 3.0), (20, 1.5), (40, 1.75)], 100)
    assert "The loss was 2 at step 10 and is 1e+09 at step 30." in drawn
    assert "The held-out loss is 1.75 at step 40; the lowest was 1.5 at step 20." in drawn
    for points in re.findall(r'points="([^"]*)"', drawn):
        assert all(0 <= float(number) <= 640 for pair in points.split() for number in pair.split(","))
    many = curve([(step, 1.0) for step in range(1, 10_000)], [], 10_000)
    assert len(many) < 20_000 and "nan" not in many
    assert "<svg" not in curve([], [], 10)


def test_renders_and_trainings_tell_of_each_other(studio: Studio) -> None:
    id = studio.runs.begin("a", config_of(studio.folder))
    studio.queue.add(job("a star"))
    assert say("train.competes") not in train.shown(studio, id).html
    assert studio.queue.claim() is not None
    assert say("train.competes") in train.shown(studio, id).html
    drawn = easel.drawn(studio.queue, studio.folder, str, "text", "", training=studio.training())
    assert say("status.training") in drawn.html
    assert json.loads(json.dumps(studio.runs.ask(id, "stop")))
    over(studio.runs, id)
    assert not studio.training()
