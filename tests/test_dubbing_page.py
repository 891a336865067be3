"""The Dubbing tab without a browser: faces and voices are taken in, one face is picked, and all of it is one job."""

from __future__ import annotations

import io
import json
import re
import wave
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import numpy as np
import pytest
import yaml
from PIL import Image
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.testclient import TestClient

from pipelines.expansion.presets import FOLDER, Presets
from pipelines.files import audio
from pipelines.files.audio import read_audio
from pipelines.files.media import read_picture, write_video
from pipelines.files.yamlfile import documents
from pipelines.job import DubbingJob, Refusal, parse, recipe
from pipelines.queue.queue import Queue, Row
from pipelines.shelf import shelf
from pipelines.shelf.shelf import Shelf
from pipelines.voice import footage
from pipelines.voice.overtime import MOMENTS
from tests.speaking import SIDE, hearing, portrait, samples, sound, still
from tests.staged import StagedEngine
from tests.tabbed import values
from tests.test_dubbing import mute, text_file
from tests.test_dubbing_parts import two
from ui import canvas, drop, dubbingface, dubbingvoice
from ui.desk import _length
from ui.dubbing import Dubbing, steered
from ui.dubbingfiles import film, keep_face, keep_voice, routes
from ui.dubbingresult import MOST, panel
from ui.fields import Form, Unfinished
from ui.guard import Guard
from ui.pace import Pace
from ui.page import build
from ui.presets import filling, settings_of, suiting
from ui.result import picture
from ui.settings import shelve
from ui.status import how_far
from ui.studio import Studio
from ui.uploads import Upload, Uploads
from ui.wire import inward, outward
from ui.words import catalogue, speaking

EVIL = '"><img src=x onerror=alert(1)>'
NOBODY = np.full((96, 96, 3), 90, np.uint8)


@dataclass
class House:
    """A studio that is not served, with a model that hears, and files that somebody may give."""

    studio: Studio
    files: Path

    @property
    def uploads(self) -> Uploads:
        return self.studio.uploads

    def form(self) -> Form:
        with gr.Blocks():
            form = Dubbing(self.studio).form
            shelve(form, self.studio.shelf)
        return form

    def face(self, frame: np.ndarray | None = None) -> str:
        shown = portrait(1)[0] if frame is None else frame
        return keep_face(self.uploads, still(self.files / "face.png", shown)).id

    def video(self, count: int = 5, fps: int | Fraction = 25) -> str:
        write_video(self.files / "face.mp4", portrait(count), fps, {"job": {}})
        return keep_face(self.uploads, self.files / "face.mp4").id

    def voice(self, seconds: float = 0.4) -> str:
        return keep_voice(self.uploads, sound(self.files / "voice.wav", seconds)).id

    def sent(self, **changes: Any) -> dict[str, Any]:
        """The job that the page sends when a face and a voice are given, and `changes` besides."""
        form = self.form()
        return form.job(values(form, **{"model": "hearing", "source": self.face(), "audio": self.voice(), **changes}))


@pytest.fixture(scope="module")
def model(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hearing(tiny, tmp_path_factory.mktemp("hearing") / "hearing")


def studio_at(folder: Path) -> Studio:
    queue, engine = Queue(folder), StagedEngine()
    return Studio(queue, folder, engine.check, str, Uploads(folder), Pace(queue, folder), (), True)


@pytest.fixture
def house(tmp_path: Path, model: Path) -> House:
    studio = studio_at(tmp_path / "out")
    Shelf(studio.folder, by_path=True).add(str(model))
    (tmp_path / "files").mkdir()
    return House(studio, tmp_path / "files")


# ------------------------------------------------------------ what is given


@pytest.fixture
def client(house: House) -> Iterator[TestClient]:
    app = Starlette(routes=[*house.uploads.routes(), *routes(house.uploads)], middleware=[Middleware(Guard)])
    with TestClient(app, "http://127.0.0.1:7860") as client:
        yield client


def test_a_face_stays_as_it_is_and_its_video_can_be_played(house: House, client: TestClient) -> None:
    write_video(house.files / "v.mp4", portrait(4), Fraction(30_000, 1001), {"job": {}})
    data = (house.files / "v.mp4").read_bytes()
    told = client.post("/uploads/face", content=data).json()
    assert (told["kind"], told["width"], told["frames"], told["fps"]) == ("video", SIDE, 4, "30000/1001")
    assert Path(house.uploads.path(told["id"])).read_bytes() == data
    upload = house.uploads.get(told["id"])
    assert upload is not None and film(upload) == f"uploads/{told['id']}/film"
    played = client.get(f"/{film(upload)}", headers={"range": "bytes=0-9"})
    assert (played.status_code, played.headers["content-type"], len(played.content)) == (206, "video/mp4", 10)
    # One that no checkpoint draws as a whole is not made smaller, for the mouth is all that is drawn.
    large = io.BytesIO()
    Image.new("RGBA", (701, 400), (0, 0, 0, 0)).save(large, "PNG")
    kept = client.post("/uploads/face", content=large.getvalue()).json()
    pixels = read_picture(Path(house.uploads.path(kept["id"])))
    assert pixels.shape == (400, 700, 4) and (pixels == 255).all(), "paper, and even sides"


def test_a_voice_keeps_every_sample_and_is_heard_as_the_model_hears_it(house: House, client: TestClient) -> None:
    data = sound(house.files / "a b.wav", 0.5, 44_100, channels=2).read_bytes()
    told = client.post("/uploads/voice", content=data).json()
    assert (told["kind"], told["seconds"]) == ("voice", 0.5)
    assert np.array_equal(read_audio(Path(house.uploads.path(told["id"]))).samples, samples(0.5, 44_100, 2))
    heard = client.get(f"/uploads/{told['id']}/voice")
    assert heard.headers["content-type"] == "audio/wav" and heard.headers["x-content-type-options"] == "nosniff"
    with wave.open(io.BytesIO(heard.content)) as file:
        assert (file.getnchannels(), file.getframerate(), file.getnframes()) == (1, 16_000, 8_000)
    assert client.get(f"/uploads/{told['id']}/picture").status_code == 404
    assert client.post("/uploads/voice", content=data).json()["id"] == told["id"]


@pytest.mark.parametrize(
    ("what", "make", "reason"),
    [
        ("voice", mute, "no audio stream"), ("voice", lambda path: sound(path, 0.5), "minutes of sound, got 0.0"),
        ("voice", text_file, "expected sound"), ("face", text_file, "can not be read"),
        ("face", mute, "at most 99 pixels in all frames together"),
    ],
)  # fmt: skip
def test_what_is_no_face_or_no_voice_is_refused_in_one_sentence_and_leaves_nothing(
    house: House, client: TestClient, monkeypatch: pytest.MonkeyPatch, what: str, make: Any, reason: str
) -> None:
    monkeypatch.setattr(footage, "MAX_SOURCE", 99)
    monkeypatch.setattr(audio, "MAX_SECONDS", 0.25)
    answer = client.post(f"/uploads/{what}", content=make(house.files / "bad.mp4").read_bytes())
    said = answer.json()["reason"]
    assert answer.status_code == 400 and reason in said and len(said.splitlines()) == 1
    assert str(house.studio.folder) not in said and list(house.uploads.folder.iterdir()) == []


def test_a_voice_that_is_shown_where_a_picture_belongs_breaks_nothing(house: House) -> None:
    upload = house.uploads.get(house.voice())
    assert "sound" in drop.place(upload, "a", "b", "c") and "canvas" in canvas.canvas(upload)
    assert dubbingface.picker(house.uploads, upload, None, house.files) == ""


# ------------------------------------------------------------ the form


def test_a_form_says_what_it_still_needs(house: House) -> None:
    form, face, voice = house.form(), house.face(), house.voice()
    for changes, field in (
        ({}, "source"), ({"source": face}, "audio"), ({"source": voice, "audio": voice}, "source"),
        ({"source": face, "audio": face}, "audio"), ({"source": "../../etc", "audio": voice}, "source"),
    ):  # fmt: skip
        with pytest.raises(Unfinished) as refused:
            form.job(values(form, **changes))
        assert refused.value.field == field


def test_what_the_tab_sends_is_the_same_job_as_yaml(house: House, model: Path) -> None:
    sent = house.sent(
        face=json.dumps([0.2, 0.1, 0.8, 0.9]), duration="audio", start=0.2, steps=3, seed=5, speech_guidance=2.5, fps=24
    )
    job = parse(sent)
    assert isinstance(job, DubbingJob) and job.model == str(model)
    assert (job.face, job.start, job.speech_guidance, job.warp, job.fps, job.prompt) == (
        (0.2, 0.1, 0.8, 0.9), 0.2, 2.5, None, 24, "",
    )  # fmt: skip
    (written,) = documents(yaml.safe_dump(recipe(job)))
    assert parse(written) == job
    # As the tab hands it on, files and model by their ids.
    desk: Any = SimpleNamespace(form=house.form())
    text = outward(house.studio, desk, sent)
    assert str(house.studio.folder) not in text and "model: hearing" in text and text.count("upload:") == 2
    assert parse(inward(house.studio, {"dubbing": desk}, text)) == job
    estimate = house.studio.check(job)
    assert (estimate.resolved["frames"], estimate.resolved["fps"]) == (14, "24")
    assert _length(job, estimate.resolved) == "14 frames, 0.58 s"


def test_settings_go_back_into_the_fields_they_came_from(house: House) -> None:
    for changes in (
        {"face": "[0.1, 0.1, 0.9, 0.95]", "warp": False, "prompt": "a yellow face", "window": 9, "overlap": 1},
        {"source": house.video(), "duration": "video", "start": -0.1, "references": 2, "png_frames": True},
        {"region": "portrait", "guidance": 2.0, "negative_prompt": "grey"},
    ):
        form = house.form()
        job = parse(house.sent(**changes))
        shown = form.values(job.model_dump(mode="json"))
        assert parse(form.job(shown)) == job, changes


def test_a_portrait_is_steered_otherwise_than_a_mouth_wherever_its_job_is_written(house: House) -> None:
    given = {"task": "dubbing", "source": "a.png", "audio": "a.wav"}

    def guided(**said: Any) -> tuple[float, float]:
        job = parse({**given, **said})
        assert isinstance(job, DubbingJob) and parse(recipe(job)) == job
        return job.guidance, job.speech_guidance

    assert guided() == guided(region="mouth") == steered("mouth") == (1.0, 1.5)
    assert guided(region="portrait") == steered("portrait") == (2.0, 1.0)
    assert guided(region="portrait", guidance=1.0) == (1.0, 1.0)
    assert guided(region="portrait", speech_guidance=1.5) == (2.0, 1.5)
    desk: Any = SimpleNamespace(form=house.form())
    for words, speech in ((2.0, 1.0), (1.0, 1.5)):
        sent = house.sent(region="portrait", guidance=words, speech_guidance=speech)
        text = outward(house.studio, desk, sent)
        assert ("guidance" in text) == (words == 1.0), "only what is not as usual is told"
        assert parse(inward(house.studio, {"dubbing": desk}, text)) == parse(sent)
    shown = dict(
        zip([field.name for field in desk.form.fields], desk.form.values({**given, "region": "portrait"}), strict=True)
    )
    assert (shown["guidance"], shown["speech_guidance"]) == (2.0, 1.0)


def test_a_preset_keeps_how_a_mouth_is_made_and_nothing_of_who_speaks(house: House) -> None:
    form, presets = house.form(), Presets(house.studio.folder / FOLDER)
    kept = settings_of(form, values(form, steps=7, warp=False, window=9, start=3, prompt="a secret", seed=9))
    assert (kept["steps"], kept["warp"], kept["window"]) == (7, False, 9)
    assert not {"source", "audio", "face", "start", "fps", "prompt", "seed"} & kept.keys()
    presets.save("mine", {"task": "dubbing", **kept})
    assert "mine" in {preset.name for preset in suiting(presets, form)}
    filled = filling(form, presets.get("mine"), values(form))
    shown = dict(zip([field.name for field in form.fields], filled, strict=True))
    assert (shown["steps"], shown["warp"], shown["source"]) == (7, False, gr.skip())


def test_a_video_that_tells_its_rate_keeps_it(house: House) -> None:
    sent = house.sent(source=house.video(), fps=50)
    assert "fps" not in sent and "fps: 50" not in str(house.studio.check(parse(sent)).warnings)


def test_a_portrait_is_of_a_size_that_is_drawn_and_needs_no_face(house: House) -> None:
    large = np.repeat(np.repeat(portrait(1)[0], 3, 0), 3, 1)
    sent = house.sent(source=house.face(large), region="portrait", face="[0.1, 0.1, 0.9, 0.9]", warp=True)
    assert (sent["face"], sent["warp"]) == (None, None)
    upload = house.uploads.of(sent["source"])
    assert upload is not None and (upload.width, upload.height) == (192, 192)
    form, job = house.form(), parse(sent)
    assert parse(form.job(form.values(job.model_dump(mode="json")))) == job, "it is fitted once"
    assert house.uploads.of(house.sent(source=house.face(large))["source"]).width == 288  # type: ignore[union-attr]


def test_while_no_model_hears_the_tab_says_so_in_one_sentence(
    house: House, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with gr.Blocks():
        able = Dubbing(house.studio)
    assert Dubbing.deaf(able) == "" and able.form.part("model").value == "papercut"
    job = parse({**house.sent(), "model": str(tiny)})
    with pytest.raises(Refusal, match="has no speech encoder"):
        house.studio.check(job)
    monkeypatch.setattr(shelf, "EMBEDDED", tmp_path)
    with gr.Blocks():
        unable = Dubbing(studio_at(tmp_path / "other"))
    assert "No model here can hear yet: dubbing needs a checkpoint with a folder called speech" in unable.deaf()


# ------------------------------------------------------------ the face


def test_every_face_of_the_first_frame_can_be_picked(house: House) -> None:
    upload = house.uploads.get(house.face(two()))
    shown = dubbingface.picker(house.uploads, upload, None, house.files)
    boxes = [json.loads(box) for box in re.findall(r'data-box="([^"]*)"', shown)]
    assert len(boxes) == 2 and "2 faces are found" in shown and boxes[1][0] > 0.6
    job = parse(house.sent(source=house.face(two()), face=json.dumps(boxes[1])))
    looked = footage.read_footage(job, house.files)  # type: ignore[arg-type]
    assert looked.faces[0] is not None and looked.faces[0][0] > 128, "the small one on the right speaks"
    again = dubbingface.picker(house.uploads, upload, boxes[1], house.files)
    assert dubbingface.face_of(again) == boxes[1], "the page has not opened it yet"


def test_where_no_face_is_found_a_box_is_asked_for(house: House) -> None:
    shown = dubbingface.picker(house.uploads, house.uploads.get(house.face(NOBODY)), None, house.files)
    assert "No face is found in the first frame. Draw a box around it" in shown and "data-box" not in shown
    with speaking("de"):
        assert "kein Gesicht" in dubbingface.picker(
            house.uploads, house.uploads.get(house.face(NOBODY)), None, house.files
        )
    assert dubbingface.picker(house.uploads, None, None, house.files) == ""


def test_a_model_file_that_can_not_be_read_is_said_beside_the_face(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIORAMA_YUNET", str(house.files / "gone.onnx"))
    shown = dubbingface.picker(house.uploads, house.uploads.get(house.face()), None, house.files)
    assert "is no file" in shown and "<img" in shown


@pytest.mark.parametrize("value", ["[1, 2]", "{}", '"x"', "[[]]", "[" * 100_000, "[1, 2, 3, null]", "0.5"])
def test_what_is_no_box_is_refused(value: str) -> None:
    with pytest.raises(Refusal, match="face: expected a box on the first frame"):
        dubbingface.face_of(value)


def test_no_box_is_the_largest_face() -> None:
    assert dubbingface.face_of("") is None and dubbingface.face_of(None) is None and dubbingface.face_of("null") is None


@pytest.mark.parametrize(
    ("script", "group"), [(dubbingface.SCRIPT, "face_script"), (dubbingvoice.RECORD, "record_script")]
)
def test_a_script_says_every_sentence_of_its_group_and_no_other(script: str, group: str) -> None:
    held = {key.partition(".")[2] for key in catalogue() if key.startswith(f"{group}.")}
    assert script.count("WORDS") == 1 and set(re.findall(r"\bwords\.(\w+)", script)) == held


# ------------------------------------------------------------ the result


def finished(house: House, over_time: Any, source: str | None = None) -> tuple[Row, dict[str, Any]]:
    """A row that is done, with a record of these tracks."""
    job = parse({**house.sent(), **({} if source is None else {"source": source})})
    id = house.studio.queue.add(job)
    told = {"resolved": {"size": [SIDE, SIDE], "fps": "25"}, "dubbing": {"over_time": over_time}}
    write_video(house.studio.folder / "out.mp4", portrait(2), 25, {"job": {}})
    (house.studio.folder / "out.json").write_text(json.dumps(told))
    row = house.studio.queue.get(id)
    assert row is not None
    return replace(row, state="done", files=("out.mp4", "out.json")), told


def test_a_result_stands_beside_its_source_with_what_was_loud_and_open(house: House) -> None:
    row, _ = finished(house, {"loud": [0.0, 0.5, 0.25, 0.1], "open": [0.1, 0.2, None, 0.1]})
    shown = picture(row, house.studio.folder)
    assert shown.count("<video") == 1 and "muted" not in shown, "a picture was given, and what is made has a sound"
    assert f'src="uploads/{row.job["source"].split("/")[-2]}/picture"' in shown and f"outputs/{row.id}/0" in shown
    assert 'data-fps="25" data-there="1"' in shown and "data-both" in shown and "data-head" in shown
    assert shown.count("<polyline") == 2, "where no mouth was seen the line is broken"
    filmed = house.uploads.path(house.video())
    moving, _ = finished(house, {"loud": [0.5], "open": [None]}, filmed)
    shown = picture(moving, house.studio.folder)
    assert shown.count("<video") == 2 and 'data-there="5"' in shown and "/film" in shown
    assert "<polyline" not in shown and "<polygon" in shown and "How loud it is, from beginning to end" in shown


@pytest.mark.parametrize(
    "tracks",
    [
        None, [], {"loud": "x"}, {"loud": []}, {"loud": [2]}, {"loud": [float("nan")]}, {"loud": [True]},
        {"loud": [0.1] * 5_000}, {"loud": [{}]}, {"loud": [None]},
    ],
)  # fmt: skip
def test_a_record_that_tells_something_else_draws_nothing(house: House, tracks: Any) -> None:
    row, told = finished(house, {})
    told["dubbing"]["over_time"] = tracks
    shown = panel(row, told, house.studio.folder, "")
    assert "<svg" not in shown and "data-made" in shown
    told["dubbing"] = tracks
    assert "<svg" not in panel(row, told, house.studio.folder, "")


def test_every_moment_that_a_record_tells_is_drawn(house: House) -> None:
    row, told = finished(house, {"loud": [0.5] * MOMENTS, "open": [0.25] * MOMENTS})
    line = re.search(r'<polyline class="open" points="([^"]*)"', panel(row, told, house.studio.folder, ""))
    assert MOMENTS <= MOST and line is not None and len(line[1].split()) == MOMENTS


def test_a_source_that_is_not_here_leaves_the_result_alone(house: House) -> None:
    row, _ = finished(house, {"loud": [0.5], "open": [0.5]}, "/elsewhere/face.mp4")
    shown = picture(row, house.studio.folder)
    assert shown.count("<video") == 1 and "<img" not in shown and "data-given" not in shown
    other = replace(row, job={**row.job, "task": "masked"})
    assert panel(other, {}, house.studio.folder, "") == ""


def test_words_of_others_stay_words(house: House) -> None:
    row, told = finished(house, {"loud": [0.5], "open": [0.5]})
    evil = replace(row, job={**row.job, "prompt": EVIL, "source": 5})
    shown = panel(evil, told, house.studio.folder, "")
    assert "<img" not in shown and "&lt;img src=x" in shown


def test_progress_is_told_by_window(house: House) -> None:
    row, _ = finished(house, {})

    def told(step: int, whole: int, **job: Any) -> str:
        return how_far(replace(row, state="running", job={**row.job, **job}, step=step, steps=whole))

    assert told(2, 60, steps=20) == "Window 1 of 3. Step 2 of 60"
    assert told(21, 60, steps=20).startswith("Window 2 of 3. Step 21 of 60, ")
    assert told(2, 20, steps=20) == "Step 2 of 20"
    assert told(1, 9, steps=2, scheduler="heun") == "Window 1 of 3. Step 1 of 9"


def test_the_page_has_the_tab_in_both_languages(house: House) -> None:
    page = build(house.studio.queue, house.studio.folder, house.studio.check)
    ids = {getattr(part, "elem_id", None) for part in page.blocks.values()}
    assert {"dubbing-source", "dubbing-face", "dubbing-audio", "dubbing-easel", "dubbing-plan"} <= ids
    names = {each.api_name for each in page.fns.values()}
    assert {"render_dubbing", "plan_dubbing"} <= names


def test_an_upload_of_another_kind_is_no_film() -> None:
    assert film(Upload("0" * 24, "picture", 8, 8)) == "" and film(Upload("0" * 24, "video", 8, 8, file="source")) == ""
