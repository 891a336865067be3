"""The Models tab and the live preview as a person sees them."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipelines.queue.loaded import Loaded
from pipelines.queue.peephole import Peephole
from tests.browser.conftest import Open, keep, turn_to
from tests.paced import until
from tests.shelved import poison, skeleton
from tests.staged import Served, StagedEngine, served

pytestmark = pytest.mark.slow


class HoldingEngine(StagedEngine):
    """Loads by name at once."""

    loaded = ""

    def checkpoint(self, name: str) -> None:
        self.loaded = name

    def release(self) -> None:
        self.loaded = ""


@pytest.fixture(scope="module")
def studio(chromium: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    patch = pytest.MonkeyPatch()
    patch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path_factory.mktemp("cache")))
    with served(tmp_path_factory.mktemp("studio"), HoldingEngine()) as studio:
        yield studio
    patch.undo()


def models(visit: Open, **how: Any) -> Any:
    page = visit(**how)
    turn_to(page, "Models")
    page.wait_for_selector("#models .model")
    return page


def test_a_model_is_loaded_and_unloaded_by_keyboard(studio: Served, visit: Open) -> None:
    page = models(visit)
    keep(page, "models")
    page.get_by_role("button", name="Load papercut").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("#models-said >> text=papercut is loaded before the next job.")
    page.wait_for_selector("#models .chip.on >> text=loaded")
    assert Loaded(studio.folder).state().model == "papercut"
    until(lambda: page.evaluate("document.activeElement?.dataset.act") == "unload")  # the focus stays where it was
    keep(page, "models-loaded")
    page.keyboard.press("Enter")
    page.wait_for_selector("#models .chip.on", state="detached")
    assert Loaded(studio.folder).state().model == ""


def test_a_folder_is_added_and_chosen_and_a_pickle_is_not(studio: Served, visit: Open, tmp_path: Path) -> None:
    bad, mark = skeleton(tmp_path / "trap"), tmp_path / "mark"
    poison(bad, mark, "model.bin")
    page = models(visit)
    page.fill("#models-folder textarea, #models-folder input", str(bad))
    page.click("#models-put")
    page.wait_for_selector("#models-put-said >> text=a pickle, which can run code and is never read")
    assert not mark.exists()
    page.fill("#models-folder textarea, #models-folder input", str(skeleton(tmp_path / "mine")))
    page.click("#models-put")
    page.wait_for_selector("#models-put-said >> text=mine is on the list.")
    page.wait_for_selector("#models [data-id=mine]")
    assert str(tmp_path) not in page.inner_text("#models")
    page.get_by_role("button", name="Take mine off the list").click()
    page.wait_for_selector("#models [data-id=mine]", state="detached")


def test_a_hub_model_without_a_network_is_a_sentence(visit: Open) -> None:
    page = models(visit)
    page.fill("#models-hub textarea, #models-hub input", "somebody/something")
    page.click("#models-look")
    page.wait_for_selector("#models-found >> text=expected an answer from huggingface.co, got none")
    assert not page.is_visible("#models-fetch")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_models_fit_a_phone(visit: Open, scheme: str) -> None:
    page = models(visit, width=390, height=844, scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    keep(page, f"phone-models-{scheme}")


def test_the_easel_shows_what_the_render_looks_like_so_far(studio: Served, visit: Open) -> None:
    studio.engine.pace = 2.0
    page = visit()
    page.fill("#text-prompt textarea", "a green heart")
    page.click("#text-render")
    page.wait_for_selector("#text-easel .stage.running .mount.blank")
    peephole = Peephole(studio.folder)
    until(peephole.watched)  # the page asks for one by looking
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(1).integers(0, 255, (32, 32, 3), np.uint8)).save(buffer, "WEBP")
    peephole.put(studio.queue.active()[0].id, buffer.getvalue())
    shown = page.wait_for_selector("#text-easel .mount.preview img")
    assert page.evaluate("image => image.decode().then(() => image.naturalWidth)", shown) == 32
    assert page.evaluate("image => image.clientWidth", shown) > 128
    keep(page, "preview")
    studio.engine.pace = 0.0
    page.wait_for_selector("#text-easel .stage.done .mount img")
    until(lambda: peephole.look("any") is None and not list((studio.folder / ".diorama/previews").glob("*.webp")))
