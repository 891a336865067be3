"""The studio as a person sees it, in headless Chromium. Skipped where Playwright or Chromium is absent.

On Debian: `apt-get install chromium`. Set DIORAMA_SCREENSHOTS to a folder to keep what the pages look like.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import app
from pipelines.queue import Queue
from tests.paced import PATIENCE, PacedEngine, free_port, over, until, working

sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright (pip install '.[dev]')")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
QUIET = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (apt-get install chromium)"),
]

Open = Callable[..., Any]


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Queue, PacedEngine]]:
    folder = tmp_path_factory.mktemp("studio")
    queue, engine = Queue(folder), PacedEngine()
    page = app.serve(queue, folder, engine.check, "127.0.0.1", free_port())
    with working(queue, folder, engine):
        yield page.local_url, queue, engine
    page.close(verbose=False)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture
def visit(studio: tuple[str, Queue, PacedEngine], chromium: Any) -> Iterator[Open]:
    """Opens pages; at the end none may have complained or asked another machine for anything."""
    url, _, engine = studio
    complaints: list[str] = []
    contexts = []

    def complain(text: str) -> None:
        # A reload or a closed page cuts gradio's own event stream, and its client says so: no fault of the page.
        if not any(cut in text for cut in ("AbortError", "errored out")):
            complaints.append(text)

    def listen(page: Any) -> None:
        page.on("console", lambda said: said.type == "error" and complain(said.text))
        page.on("pageerror", lambda error: complain(str(error)))
        page.on("request", lambda asked: asked.url.startswith((url, "data:")) or complaints.append(asked.url))

    def open_page(width: int = 1280, height: int = 900, scheme: str = "light") -> Any:
        context = chromium.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        context.set_default_timeout(PATIENCE * 500)
        contexts.append(context)
        page = context.new_page()
        listen(page)
        page.goto(url)
        page.wait_for_selector("#render")
        return page

    yield open_page
    engine.pace = 0.0
    for context in contexts:
        context.close()
    assert complaints == []


def keep(page: Any, name: str) -> None:
    folder = os.environ.get("DIORAMA_SCREENSHOTS")
    if folder:
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


def newest(queue: Queue) -> str:
    return queue.rows(1)[0].id


def test_a_prompt_becomes_a_picture_and_its_settings_come_back(studio: Any, visit: Open) -> None:
    page = visit()
    page.fill("#prompt textarea", "a red circle left of a blue star")
    page.fill("#seed input", "77")
    page.click("#render")
    picture = page.wait_for_selector(".stage.done .mount img")
    until(lambda: page.evaluate("image => image.complete && image.naturalWidth", picture) == 128)
    keep(page, "done")
    page.fill("#prompt textarea", "something else")
    page.get_by_role("tab", name="Gallery").click()
    page.click(".print >> nth=0")
    page.wait_for_selector("#chosen .told")
    keep(page, "gallery")
    page.click("#use")
    page.wait_for_selector("#prompt textarea:visible")
    until(lambda: page.input_value("#prompt textarea") == "a red circle left of a blue star")
    assert page.input_value("#seed input") == "77"


def test_a_closed_tab_stops_nothing_and_another_page_shows_it(studio: Any, visit: Open) -> None:
    _, queue, engine = studio
    engine.pace = 0.15
    page = visit()
    page.fill("#prompt textarea", "a green heart")
    page.click("#render")
    page.wait_for_selector(".stage.running")
    id = newest(queue)
    page.close()
    later = visit(scheme="dark")
    later.wait_for_selector(f'.stage.running[data-id="{id}"] .bar')
    keep(later, "running-dark")
    engine.pace = 0.0
    assert over(queue, id).state == "done"
    later.wait_for_selector(f'.stage.done[data-id="{id}"] img')


def test_cancel_and_the_line_of_others(studio: Any, visit: Open) -> None:
    _, queue, engine = studio
    engine.pace = 0.15
    page = visit()
    for prompt in ("a first star", "a second star", "a third star"):
        page.fill("#prompt textarea", prompt)
        page.click("#render")
        until(lambda said=prompt: queue.rows(1) and queue.rows(1)[0].job["prompt"] == said)
    page.wait_for_selector(".line li >> nth=1")
    keep(page, "line")
    second = queue.rows(2)[1].id
    page.get_by_label("Cancel: a second star").click()
    assert over(queue, second).state == "cancelled"
    page.click("#cancel")  # the easel shows the third, which waits
    page.wait_for_selector(".stage.cancelled")
    assert over(queue, newest(queue)).state == "cancelled"
    engine.pace = 0.0
    until(lambda: not queue.active())


def test_what_is_wrong_is_said_beside_the_button(studio: Any, visit: Open) -> None:
    _, queue, _ = studio
    before = len(queue.rows())
    page = visit()
    page.fill("#prompt textarea", " ")
    page.click("#render")
    page.wait_for_selector("#problem .note >> text=expected words, got an empty text")
    page.fill("#prompt textarea", "a red circle")
    page.fill("#width input[type=number]", "100")
    page.click("#render")
    page.wait_for_selector("#problem .note >> text=Width")
    assert len(queue.rows()) == before


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_a_phone(visit: Open, scheme: str) -> None:
    page = visit(390, 844, scheme)
    for tab in ("Text", "Gallery"):
        page.get_by_role("tab", name=tab).click()
        page.wait_for_timeout(500)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        keep(page, f"phone-{tab.lower()}-{scheme}")


def test_light_and_dark_are_switched_and_remembered(visit: Open) -> None:
    page = visit()
    page.click("[data-lamp]")
    assert page.evaluate("document.body.classList.contains('dark')")
    page.reload()
    page.wait_for_selector("#render")
    until(lambda: page.evaluate("document.body.classList.contains('dark')"))
