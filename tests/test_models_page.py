"""The Models tab without a browser, and the model field of the other tabs."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from models.checkpoint import describe
from pipelines.history.restore import restore
from pipelines.queue.loaded import State
from pipelines.queue.queue import Queue
from pipelines.refusal import Refusal
from pipelines.shelf.hub import Fetcher, Fetching, Plan
from pipelines.shelf.shelf import Shelf, Shelved
from tests.paced import until
from tests.shelved import KLEIN, FakeHub, skeleton
from tests.staged import StagedEngine
from tests.tabbed import LAYS, values
from ui import models
from ui.desk import shelve
from ui.models import drawn, fetch_said, models_tab, press
from ui.pace import Pace
from ui.page import build
from ui.studio import Studio
from ui.uploads import Uploads
from ui.words import say

EVIL = '"><img src=x onerror=alert(1)>'


@pytest.fixture(autouse=True)
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))


def studio_of(folder: Path, roots: tuple[Path, ...] = (), by_path: bool = True) -> Studio:
    queue = Queue(folder)
    return Studio(queue, folder, StagedEngine().check, str, Uploads(folder), Pace(queue, folder), roots, by_path)


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    skeleton(tmp_path / "root" / "mine", channels=3)
    return studio_of(tmp_path / "out", (tmp_path / "root",))


def listeners(studio: Studio) -> dict[str, Any]:
    """The tab's listeners by name."""
    with gr.Blocks() as page, gr.Tabs(), gr.Tab("Models"):
        models_tab(studio)
    return {each.fn.__name__: each.fn for each in page.fns.values() if each.fn is not None}


def html(studio: Studio, **changes: Any) -> str:
    told: dict[str, Any] = {
        "items": studio.shelf.items(), "state": State(), "wished": None, "health": "", "size": (128, 128), "frames": 1
    }  # fmt: skip
    return drawn(**{**told, **changes})


# ------------------------------------------------------------ the list


def test_every_model_says_what_it_can_and_takes(studio: Studio) -> None:
    shown = html(studio, size=(192, 64), frames=4)
    for words in (
        "<h3>papercut</h3>", "pictures and videos, masked, scenes, layouts, layers, dubbing", "Memory at 192 x 64 x 4",
        "or more", "26 MB", "12.9 M numbers", "64 to 192 pixels", "words of its own", "comes with the studio",
        "<h3>mine</h3>", "in a folder named at the start", "open text",
    ):  # fmt: skip
        assert words in shown, words
    assert str(studio.folder.parent) not in shown, "no path goes to a page"
    assert "not this size" in html(studio, size=(1024, 64))
    assert shown.count('data-act="load"') == 2 and "remove" not in shown


def test_what_the_worker_holds_loads_and_is_asked_for_is_shown(studio: Studio) -> None:
    shown = html(studio, state=State("papercut"))
    assert '<span class="chip on">loaded</span>' in shown and 'data-act="unload" data-model="papercut"' in shown
    assert "loading …" in html(studio, state=State(busy="papercut"))
    assert "asked for" in html(studio, wished="papercut")
    broken = html(studio, state=State(problem="a < b"), health="It stopped.")
    assert 'role="alert">a &lt; b</p>' in broken and "It stopped." in broken


def test_words_of_others_are_never_markup(studio: Studio) -> None:
    folder = describe("papercut")
    odd = [Shelved(EVIL, EVIL, "folder", folder), Shelved(EVIL, EVIL, "folder", None, EVIL)]
    for told in (html(studio, items=odd, health=EVIL), fetch_said(Fetching(Plan(EVIL, (), 1, 1), problem=EVIL))):
        assert "<img" not in told and "&lt;img" in told


def test_the_list_is_of_the_size_that_stands_in_the_fields_and_is_asked_for_by_it(studio: Studio) -> None:
    look = listeners(studio)["look"]
    assert "papercut" in look(128, 128, 1) and 'data-watch="models?at=128x128x1"' in look(128, 128, 1)
    other = look(None, 64, 1)  # an empty field is as at the beginning
    assert "Memory at 128 x 64" in other and 'data-watch="models?at=128x64x1"' in other
    for odd in ("x", [], 10**9, -3, True, 1e400):
        assert models.AT.fullmatch(re.search(r"models\?at=(\w+)", look(odd, odd, odd))[1])  # type: ignore[index]


# ------------------------------------------------------------ presses


def test_load_and_unload_are_wishes_for_the_worker(studio: Studio, tmp_path: Path) -> None:
    assert press(studio, "load", "mine") == "mine is loaded before the next job."
    assert studio.loaded.take() == str(tmp_path / "root" / "mine")
    assert press(studio, "unload", "mine") == say("models.unload_said") and studio.loaded.take() == ""
    for act, id in [
        ("load", "nobody"),
        ("load", str(tmp_path / "root" / "mine")),
        ("burn", "mine"),
        ("remove", "mine"),
    ]:
        assert press(studio, act, id) == say("models.gone")
    assert studio.loaded.wished() is None
    shutil.rmtree(tmp_path / "root" / "mine" / "vae")
    assert press(studio, "load", "mine") == say("models.gone") and studio.loaded.wished() is None


def test_a_press_answers_with_a_sentence(studio: Studio) -> None:
    event = SimpleNamespace(act="load", model="papercut")
    *_, told = listeners(studio)["act"](128, 128, 1, event)
    assert 'role="status">papercut is loaded before the next job.</p>' in told
    *_, told = listeners(studio)["act"](128, 128, 1, SimpleNamespace())
    assert say("models.gone") in told


def test_a_folder_is_added_and_taken_off_again(studio: Studio, tmp_path: Path) -> None:
    add = listeners(studio)["add"]
    rows, told = add(str(skeleton(tmp_path / "another")), 128, 128, 1)
    assert say("models.added", id="another") in told and "in a folder you added" in rows
    *_, told = add("/nowhere", 128, 128, 1)
    assert 'role="alert">expected a folder in diffusers layout that is here, got' in told
    assert press(studio, "remove", "another") == say("models.removed", id="another") and (tmp_path / "another").is_dir()


def test_a_page_that_others_reach_has_no_field_for_folders(tmp_path: Path) -> None:
    alone, shared = studio_of(tmp_path / "a"), studio_of(tmp_path / "b", by_path=False)
    assert "add" in listeners(alone) and "add" not in listeners(shared)


def test_a_hub_model_is_fetched_only_by_the_second_press(studio: Studio, tmp_path: Path) -> None:
    hub = FakeHub(tmp_path, {"a/klein": KLEIN})
    studio.__dict__["fetcher"] = Fetcher(hub)  # the cached property
    calls = listeners(studio)
    told, plan, button = calls["find"]("a/klein")
    assert "a/klein would fetch 8 MB in 9 files from huggingface.co" in told and button.visible and hub.fetched == []
    _, none, button, coming = calls["fetch"](plan)
    assert none is None and not button.visible and "a/klein" in coming
    until(lambda: (now := studio.fetcher.now()) and now.over)
    assert len(hub.fetched) == 1 and "a/klein is here." in models.shown(studio, "128x128x1").live["fetch"]
    told, plan, button = calls["find"]("a/klein")
    assert "All of a/klein is here already: 8 MB in 9 files." in told and not button.visible
    told, plan, button = calls["find"]("no id")
    assert "expected an id of the Hugging Face hub" in told and plan is None and not button.visible
    told, *_ = calls["fetch"](None)  # a page that was forgotten meanwhile
    assert say("models.look_again") in told and len(hub.fetched) == 1


# ------------------------------------------------------------ the model field of the other tabs


@pytest.mark.parametrize("tab", sorted(LAYS))
def test_the_model_field_offers_what_can_do_the_task_and_knows_no_paths(
    studio: Studio, tmp_path: Path, tab: str
) -> None:
    with gr.Blocks():
        form = LAYS[tab](studio)
        shelve(form, studio.shelf)
    able = ["papercut"] if tab == "layered" else ["papercut", "mine"]
    field = next(field for field in form.fields if field.name == "model")
    assert [id for _, id in field.part.choices] == able
    path = str(tmp_path / "root" / "mine")
    assert field.sent("mine") == path and field.shown(path) == "mine" and field.shown("papercut") == "papercut"
    with pytest.raises(Refusal, match="model: expected a model that is here"):
        field.sent(path)


def test_a_job_of_a_page_renders_with_the_model_that_was_chosen(studio: Studio, tmp_path: Path) -> None:
    with gr.Blocks():
        form = LAYS["text"](studio)
        shelve(form, studio.shelf)
    job = form.job(values(form, prompt="a star", model="mine"))
    assert job["model"] == str(tmp_path / "root" / "mine")
    assert form.values(job)[[field.name for field in form.fields].index("model")] == "mine"


def test_a_new_model_brings_the_sizes_that_it_draws(studio: Studio) -> None:
    page = build(studio.queue, studio.folder, studio.check, roots=studio.roots)
    fits = [each.fn for each in page.fns.values() if each.fn is not None and each.fn.__name__ == "fit"]
    assert fits
    wide, high = fits[0]("mine")
    assert (wide.minimum, wide.maximum, high.maximum) == (64, 2048, 2048)
    assert fits[0]("papercut")[0].maximum == 192 and fits[0]("nobody") == [gr.skip(), gr.skip()]


def test_a_dropped_job_of_a_model_that_is_on_the_shelf_comes_back(studio: Studio, tmp_path: Path) -> None:
    model = Shelf(studio.folder, studio.roots).model_of("mine")
    record = b'{"diorama": "0.1.0", "job": {"task": "text", "prompt": "a star", "model": "%s"}}' % model.encode()
    knows = {one.model for one in studio.shelf.items()}.__contains__
    assert restore(record, knows).notes == () or restore(record, knows).notes == []
