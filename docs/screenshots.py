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
from contextlib import suppress
from pathlib import Path
from typing import Any

from PIL import Image

TOP = Path(__file__).parents[1]
HERE = Path(__file__).parent / "screenshots"
PORT = 7871
SIZES = {"desktop": (1280, 860), "phone": (390, 844)}
# A page, its tab, and what is typed there before Render is pressed.
PROMPTS = {
    "text": ("Text", "a red circle left of a blue star on a white background"),
    "video": ("Video", "a yellow star moves right under a night sky"),
    "layout": ("Layout", "a red circle left of a blue star on a white background"),
}
TABS = ("Text", "Video", "Masked", "Scenes", "Layout", "Layers", "Dubbing", "Grid", "Queue", "History", "Models")
EXAMPLES = ("demo.yaml", "scenes.yaml", "layered.yaml")
PATIENCE = 180.0  # seconds that a render may take


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
            with sync_playwright() as playwright:
                chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
                for kind, (width, height) in SIZES.items():
                    page = chromium.new_page(viewport={"width": width, "height": height})
                    page.set_default_timeout(PATIENCE * 1000)
                    page.goto(f"http://127.0.0.1:{PORT}/")
                    for tab in TABS:
                        _take(page, tab, folder / f"{tab.lower()}-{kind}.webp")
                dark = chromium.new_page(viewport={"width": 1280, "height": 860}, color_scheme="dark")
                dark.goto(f"http://127.0.0.1:{PORT}/")
                _take(dark, "History", folder / "history-dark.webp")
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


def _take(page: Any, tab: str, path: Path) -> None:
    page.wait_for_selector("[role=tablist] [role=tab]")
    if page.get_by_role("tab", name=tab, exact=True).is_visible():
        page.get_by_role("tab", name=tab, exact=True).click()
    else:
        page.click("[aria-label='More tabs']")
        page.click(f".overflow-dropdown button >> text={tab}")
    for kind, (title, words) in PROMPTS.items():
        if title == tab and not page.locator(f"#{kind}-prompt textarea").input_value():
            page.fill(f"#{kind}-prompt textarea", words)
            if kind == "layout":
                page.get_by_role("button", name="Propose boxes from the prompt").click()
                page.wait_for_timeout(1500)
            page.click(f"#{kind}-render")
            page.wait_for_timeout(1000)
            page.wait_for_selector(f"#{kind}-easel .stage.done", state="visible")
    page.wait_for_timeout(1500)  # pictures settle, and the history is read
    with Image.open(io.BytesIO(page.screenshot(full_page=True))) as shot:
        shot.save(path, quality=80, method=6)
    print(path)


if __name__ == "__main__":
    sys.exit(main())
