"""How soon a page is usable and a click is answered, in a real browser: `python -m benchmarks.page`.

The studio is served as people serve it, with its worker and the embedded checkpoint, in a folder that is thrown away.
Pages are opened one after the other, each in a new browser profile, so that nothing is cached but by the server. A page
counts as usable once it has answered somebody: a prompt is typed as soon as its field is there, and the page warns of a
word in it that the model does not know. Then Render is pressed again and again while renders go on, and each press is
timed until the page shows the new job. The browser shares the machine's cores with the studio and with the renderer.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

from benchmarks.studio import _free_port
from pipelines.job import parse
from pipelines.queue.queue import Queue

TOP = Path(__file__).parents[1]
PROMPT = "a red circle left of a blue star on a white background"
STRANGE = "quokka"  # no word of Papercut's
PATIENCE = 120.0  # seconds
GOAL_USABLE, GOAL_CLICK = 2.5, 0.2  # seconds

# In the page, so that no message between processes counts: from the press to the easel of another job.
PRESS = """
() => new Promise((done) => {
  const easel = document.querySelector('#text-easel');
  const shown = () => easel.querySelector('.stage')?.dataset.id;
  const before = shown(), begun = performance.now();
  const watch = new MutationObserver(() => {
    if (shown() !== before) { watch.disconnect(); done(performance.now() - begun); }
  });
  watch.observe(easel, {childList: true, subtree: true, attributes: true});
  document.querySelector('#text-render').click();
})
"""


def main() -> None:
    """Open pages, press Render, and print both times."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--pages", type=int, default=10, help="opened, after one that counts for nothing")
    parser.add_argument("--clicks", type=int, default=50)
    options = parser.parse_args()
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise SystemExit("needs playwright: pip install '.[dev]'") from None
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        raise SystemExit("needs Chromium: apt-get install chromium")
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory() as folder:
        url = f"http://127.0.0.1:{_free_port()}/"
        words = [sys.executable, "app.py", "--out", folder, "--port", url.rsplit(":", 1)[1].strip("/")]
        studio = subprocess.Popen(words, cwd=TOP, stdout=subprocess.DEVNULL)
        try:
            _wait_for(url)
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
                opened = [_usable(browser, url) for _ in range(1 + options.pages)][1:]
                _tell("page usable after", opened, GOAL_USABLE)
                _tell("click answered after", _clicks(browser, url, Queue(Path(folder)), options.clicks), GOAL_CLICK)
                browser.close()
        finally:
            studio.terminate()
            studio.wait()


def _usable(browser: Any, url: str) -> float:
    """Seconds from asking for a page to its first answer."""
    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(PATIENCE * 1000)
    begun = time.perf_counter()
    page.goto(url, wait_until="commit")
    page.fill("#text-prompt textarea", f"a red {STRANGE}")
    page.wait_for_function(f"() => document.body.innerText.includes({STRANGE!r})")
    took = time.perf_counter() - begun
    context.close()
    return took


def _clicks(browser: Any, url: str, queue: Queue, count: int) -> list[float]:
    """Seconds of each press, while the worker has more to do than it can."""
    job = parse({"task": "text", "prompt": PROMPT, "steps": 200})
    for _ in range(count):
        queue.add(job)
    end = time.monotonic() + PATIENCE
    while not queue.counts().get("running"):
        if time.monotonic() > end:
            raise SystemExit("nothing was rendered; the studio's own words stand above")
        time.sleep(0.1)
    page = browser.new_page()
    page.set_default_timeout(PATIENCE * 1000)
    page.goto(url)
    page.fill("#text-prompt textarea", PROMPT)
    page.wait_for_selector("#text-easel .stage")
    found = []
    for _ in range(count):
        found.append(float(page.evaluate(PRESS)) / 1000)
        page.wait_for_timeout(500)
    if not queue.counts().get("running"):
        raise SystemExit("the renderer had nothing to do any more, so the clicks prove nothing")
    return found


def _wait_for(url: str) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        with suppress(OSError):
            urllib.request.urlopen(url, timeout=5).close()
            return
        time.sleep(0.2)
    raise SystemExit("the studio did not answer; its own words stand above")


def _tell(what: str, seconds: list[float], goal: float) -> None:
    middle, worst = statistics.median(seconds), max(seconds)
    met = "met" if middle <= goal else "NOT met"
    print(f"{what}: median {middle:.3f} s, worst {worst:.3f} s, of {len(seconds)}; goal {goal} s: {met}")


if __name__ == "__main__":
    main()
