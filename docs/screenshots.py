"""Takes the pictures of the studio's pages, at a desk and on a phone: `python -m docs.screenshots [FOLDER]`.

It serves a studio of its own with the embedded checkpoint, presses Render as a person would, and needs Chromium.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from PIL import Image

from pipelines.job import parse
from pipelines.queue.queue import Queue

TOP = Path(__file__).parents[1]
HERE = Path(__file__).parent / "screenshots"
PORT = 7871
SIZES = {"desktop": (1280, 860), "phone": (390, 844)}
WAITING = ("a yellow ring by the sea", "three white circles in a meadow", "a purple heart under a night sky")
TABS = (
    "Text",
    "Video",
    "Masked",
    "Scenes",
    "Layout",
    "Layers",
    "Dubbing",
    "Grid",
    "Queue",
    "History",
    "Models",
    "Train",
)
EXAMPLES = ("demo.yaml",)
PATIENCE = 90.0  # seconds that a render may take


def main() -> int:
    """Serve, render, and take every page at both sizes; 0 when all are there."""
    from playwright.sync_api import sync_playwright

    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE
    folder.mkdir(parents=True, exist_ok=True)
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with tempfile.TemporaryDirectory() as out:
        for name in EXAMPLES:
            jobs = TOP / "assets" / "examples" / name
            words = [sys.executable, "-m", "pipelines.cli", "render", str(jobs), "--out", out, "--quiet"]
            subprocess.run(words, cwd=TOP, check=True)
        studio = subprocess.Popen([sys.executable, "app.py", "--out", out, "--port", str(PORT)], cwd=TOP)
        try:
            _wait_for(f"http://127.0.0.1:{PORT}/")
            queue = Queue(Path(out))
            with sync_playwright() as playwright:
                chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
                for kind, (width, height) in SIZES.items():
                    page = chromium.new_page(viewport={"width": width, "height": height})
                    page.set_default_timeout(PATIENCE * 1000)
                    page.goto(f"http://127.0.0.1:{PORT}/")
                    for tab in TABS:
                        _take(page, tab, folder / f"{tab.lower()}-{kind}.webp", queue)
                dark = chromium.new_page(viewport={"width": 1280, "height": 860}, color_scheme="dark")
                dark.goto(f"http://127.0.0.1:{PORT}/")
                _take(dark, "History", folder / "history-dark.webp", queue)
                chromium.close()
        finally:
            studio.terminate()
            studio.wait()
    return 0


def _wait_for(url: str) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        with suppress(OSError):
            urllib.request.urlopen(url, timeout=5).close()
            return
        time.sleep(0.2)
    raise TimeoutError(f"{url} did not answer within a minute")


def _take(page: Any, tab: str, path: Path, queue: Queue) -> None:
    page.wait_for_selector("[role=tablist] [role=tab]")
    if page.get_by_role("tab", name=tab, exact=True).is_visible():
        page.get_by_role("tab", name=tab, exact=True).click()
    else:
        page.click("[aria-label='More tabs']")
        page.click(f".overflow-dropdown button >> text={tab}")
    page.wait_for_timeout(500)
    if tab in FILLED:
        FILLED[tab](page)
    waiting = _wait_in_line(queue) if tab == "Queue" else []
    for share in (0, 1, 2, 3):  # pictures that are out of sight are not loaded before they are
        page.evaluate(f"window.scrollTo(0, document.documentElement.scrollHeight * {share} / 3)")
        page.wait_for_timeout(300)
    page.evaluate("window.scrollTo(0, 0)")
    page.wait_for_timeout(1500)  # pictures settle, and the history is read
    with Image.open(io.BytesIO(page.screenshot(full_page=True))) as shot:
        shot.save(path, quality=80, method=6)
    for id in waiting:
        queue.cancel(id)
    queue.resume_all()
    print(path)


# ---------------------------------------------------------------- what a person does in a tab before it is taken


def _text(page: Any) -> None:
    page.fill("#text-prompt textarea", "a red circle left of a blue star on a white background")
    _render(page, "text")


def _video(page: Any) -> None:
    page.fill("#video-prompt textarea", "a yellow star moves right under a night sky")
    _render(page, "video")


def _masked(page: Any) -> None:
    page.set_input_files("#masked-source input[type=file]", str(TOP / "assets" / "examples" / "picture.png"))
    canvas = page.wait_for_selector("#masked-canvas canvas")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    for y in (0.36, 0.44, 0.52, 0.6):
        page.mouse.move(box["x"] + 0.55 * box["width"], box["y"] + y * box["height"])
        page.mouse.down()
        page.mouse.move(box["x"] + 0.95 * box["width"], box["y"] + y * box["height"], steps=6)
        page.mouse.up()
    page.fill("#masked-prompt textarea", "a red circle left of a green square on a white background")
    _render(page, "masked")


def _scenes(page: Any) -> None:
    for number, words in enumerate(("a red star spins in a meadow", "a red star grows by the sea")):
        if page.locator("[data-scene]").count() <= number:
            page.get_by_role("button", name="Add a scene").click()
        page.fill(f"[data-scene] >> nth={number} >> [data-field=prompt]", words)
        page.fill(f"[data-scene] >> nth={number} >> [data-field=seconds]", "1")
    _render(page, "scenes")


def _layout(page: Any) -> None:
    page.fill("#layout-prompt textarea", "a red circle left of a blue star on a white background")
    page.locator(f"button:visible >> text={PROPOSE}").first.click()
    page.wait_for_timeout(2000)
    _render(page, "layout")


def _layers(page: Any) -> None:
    page.fill("#layered-prompt textarea", "a yellow star above a purple heart in a meadow")
    page.locator(f"button:visible >> text={PROPOSE}").first.click()
    page.wait_for_timeout(2000)
    _render(page, "layered")


def _grid(page: Any) -> None:
    page.fill("#grid-base textarea", "task: text\nprompt: a red ring in a meadow\nseed: 7\n")
    page.fill("#grid-values-1 input, #grid-values-1 textarea", "1..3")
    page.wait_for_timeout(1000)
    page.click("#grid-render")
    page.wait_for_selector("#grid-table td img >> nth=8", state="attached")


def _render(page: Any, kind: str) -> None:
    page.wait_for_timeout(1000)
    page.click(f"#{kind}-render")
    page.wait_for_selector(f"#{kind}-easel .stage.running, #{kind}-easel .stage.queued")
    page.wait_for_selector(f"#{kind}-easel .stage.done", state="visible")


def _wait_in_line(queue: Queue) -> list[str]:
    queue.pause_all()
    return [queue.add(parse({"task": "text", "prompt": words})) for words in WAITING]


PROPOSE = "Propose boxes from the prompt"
FILLED: dict[str, Callable[[Any], None]] = {
    "Text": _text, "Video": _video, "Masked": _masked, "Scenes": _scenes, "Layout": _layout, "Layers": _layers,
    "Grid": _grid,
}  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
