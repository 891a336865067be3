"""What the tests in headless Chromium share. They are skipped where Playwright or Chromium is absent.

On Debian: `apt-get install chromium`. Set DIORAMA_SCREENSHOTS to a folder to keep what the pages look like.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.paced import PATIENCE
from tests.staged import Served, served

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
QUIET = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip

IDS = {"Layers": "layered"}  # of tabs that are called otherwise

Open = Callable[..., Any]


@pytest.fixture(scope="package")
def chromium() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright (pip install '.[dev]')")
    if CHROMIUM is None:
        pytest.skip("needs Chromium (apt-get install chromium)")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def studio(chromium: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("studio")) as studio:
        yield studio


@pytest.fixture
def visit(studio: Served, chromium: Any) -> Iterator[Open]:
    """Opens pages; at the end none may have complained or asked another machine for anything."""
    complaints: list[str] = []
    contexts = []

    def complain(text: str) -> None:
        # A reload or a closed page cuts gradio's own event stream, and its client says so: no fault of the page. And
        # Chromium tells of every answer that refuses, here of an upload that is no picture.
        if not any(cut in text for cut in ("AbortError", "errored out", "status of 400")):
            complaints.append(text)

    def listen(page: Any) -> None:
        own = (studio.url, "data:", "blob:")
        page.on("console", lambda said: said.type == "error" and complain(said.text))
        page.on("pageerror", lambda error: complain(str(error)))
        page.on("request", lambda asked: asked.url.startswith(own) or complaints.append(asked.url))

    def open_page(
        width: int = 1280,
        height: int = 900,
        scheme: str = "light",
        tab: str = "",
        touch: bool = False,
        locale: str = "en-US",
    ) -> Any:
        size = {"width": width, "height": height}
        context = chromium.new_context(viewport=size, color_scheme=scheme, has_touch=touch, locale=locale)
        context.set_default_timeout(PATIENCE * 1000)
        contexts.append(context)
        page = context.new_page()
        listen(page)
        page.goto(studio.url)
        page.wait_for_selector("#text-render")
        if tab:
            turn_to(page, tab)
            page.wait_for_selector(f"#{IDS.get(tab, tab.lower())}-render")
        return page

    yield open_page
    studio.engine.pace = 0.0
    for context in contexts:
        context.close()
    assert complaints == []


def turn_to(page: Any, tab: str) -> None:
    """Open a tab; on a phone some stand in a menu."""
    page.wait_for_selector("[role=tablist] [role=tab]")
    if not page.get_by_role("tab", name=tab, exact=True).is_visible():
        page.click("[aria-label='More tabs']")
        page.click(f".overflow-dropdown button >> text={tab}")
    else:
        page.get_by_role("tab", name=tab, exact=True).click()


def name_of(studio: Served, id: str) -> str:
    """What the output of a finished row is called."""
    row = studio.queue.get(id)
    assert row is not None and row.files
    return Path(row.files[0]).stem


def keep(page: Any, name: str) -> None:
    folder = os.environ.get("DIORAMA_SCREENSHOTS")
    if folder:
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)
