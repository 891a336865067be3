"""One person's afternoon with the studio as it is served: its own process, its own worker, the embedded checkpoint."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from pipelines.queue.queue import Queue
from tests.browser.conftest import turn_to
from tests.browser.test_boxes_page import drag
from tests.browser.test_queue_page import button
from tests.browser.test_tabs_page import paint
from tests.paced import free_port, over, text, until

pytestmark = pytest.mark.slow

TOP = Path(__file__).parents[2]
START = 120.0  # seconds that a loaded machine may take to serve
SMALL = {"width": "64", "height": "64", "steps": "4"}


@contextmanager
def studio(folder: Path, port: int) -> Iterator[str]:
    """The studio as `make studio` serves it, until it is ended."""
    words = [sys.executable, "app.py", "--out", str(folder), "--port", str(port)]
    process = subprocess.Popen(words, cwd=TOP, stdout=subprocess.DEVNULL)
    url, end = f"http://127.0.0.1:{port}", time.monotonic() + START
    try:
        while True:
            try:
                httpx.get(url, trust_env=False, timeout=5)
                break
            except httpx.HTTPError:
                assert process.poll() is None and time.monotonic() < end, "the studio did not start"
                time.sleep(0.2)
        yield url
    finally:
        process.terminate()  # a shell that runs tests in the background takes Ctrl-C away from them
        process.wait(START)


@pytest.fixture
def page(chromium: Any) -> Iterator[Any]:
    """A page that must not complain."""
    complaints: list[str] = []
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(START * 1000)
    page = context.new_page()
    page.on("console", lambda said: said.type == "error" and complaints.append(said.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    yield page
    context.close()
    # A server that is restarted cuts the page's streams, and the browser says so.
    cut = ("AbortError", "errored out", "ERR_CONNECTION_REFUSED", "ERR_INCOMPLETE_CHUNKED_ENCODING", "Failed to fetch")
    cut += ("ERR_CONNECTION_RESET", "ERR_EMPTY_RESPONSE", "Load failed", "network error")
    assert [said for said in complaints if not any(words in said for words in cut)] == []


def small(page: Any, tab: str, **more: str) -> None:
    for name, value in {**SMALL, **more}.items():
        field = page.locator(f"#{tab}-{name} input[type=number]")
        if field.count():
            field.first.fill(value)


def rendered(page: Any, queue: Queue, tab: str) -> Any:
    """Press Render, wait for the picture, and return the row."""
    before = len(queue.rows(1000))
    page.click(f"#{tab}-render")
    until(lambda: len(queue.rows(1000)) > before)
    id = queue.rows(1)[0].id
    page.wait_for_selector(f"#{tab}-easel .stage.done[data-id='{id}'] .mount")
    return over(queue, id)


def test_an_afternoon(tmp_path: Path, page: Any) -> None:
    folder, port = tmp_path / "out", free_port()
    queue = Queue(folder)
    with studio(folder, port) as url:
        # A prompt, its progress, its picture.
        page.goto(url)
        page.wait_for_selector("#text-render")
        page.fill("#text-prompt textarea", "a red circle on a white background")
        small(page, "text", width="128", height="128", steps="40")
        page.click("#text-render")
        page.wait_for_selector("#text-easel .stage.running .bar")
        page.wait_for_selector("#text-easel .stage.running >> text=/Step \\d+ of 40/")
        first = queue.rows(1)[0].id
        page.wait_for_selector(f"#text-easel .stage.done[data-id='{first}'] img")

        # The tab is closed in mid-render; a later one shows what came of it.
        page.fill("#text-prompt textarea", "a blue star in a meadow")
        page.click("#text-render")
        page.wait_for_selector("#text-easel .stage.running")
        second = queue.rows(1)[0].id
        assert second != first
        page.goto("about:blank")
        assert over(queue, second).state == "done"
        page.goto(url)
        page.wait_for_selector(f"#text-easel .stage.done[data-id='{second}'] img")

        # Ten in the queue: put in another order, the third cancelled, all paused.
        queue.pause_all()
        ids = [queue.add(text(f"a red star {n}", seed=n, size=[64, 64], steps=4, name=f"ten-{n}")) for n in range(10)]
        turn_to(page, "Queue")
        page.wait_for_selector(f"#queue [data-job='{ids[9]}']")
        page.focus(f"#queue [data-job='{ids[7]}']")
        page.keyboard.press("Alt+Shift+ArrowUp")
        until(lambda: [row.id for row in queue.line()] == [ids[n] for n in (7, 0, 1, 2, 3, 4, 5, 6, 8, 9)])
        button(page, ids[1], "cancel").click()
        until(lambda: len(queue.line()) == 9)
        page.wait_for_selector("#queue >> text=The queue is paused")

    # The server is another one; the rest comes out once each, in the order that was asked for.
    with studio(folder, port) as url:
        page.goto(url)
        turn_to(page, "Queue")
        page.wait_for_selector("#queue >> text=The queue is paused")
        assert len(queue.line()) == 9
        page.get_by_role("button", name="Go on").click()
        until(lambda: queue.counts().get("done", 0) == 11)
        rows = [row for row in queue.rows(1000) if row.id in ids and row.state == "done"]
        assert {row.id for row in rows} == set(ids) - {ids[1]}
        ordered = sorted(rows, key=lambda row: row.finished or 0.0)
        assert [ids.index(row.id) for row in ordered] == [7, 0, 2, 3, 4, 5, 6, 8, 9]
        assert sorted(path.name for path in folder.glob("ten-*.png")) == [f"ten-{n}.png" for n in range(10) if n != 1]

        # A mask is drawn, boxes are drawn, the table of scenes is filled.
        turn_to(page, "Masked")
        page.set_input_files("#masked-source input[type=file]", str(folder / rows[0].files[0]))
        page.wait_for_selector("#masked-source .drop-here img")
        page.wait_for_selector("#masked-canvas canvas")
        paint(page, (20, 30), (44, 30))
        page.fill("#masked-prompt textarea", "a red star on a white background")
        small(page, "masked")
        masked = rendered(page, queue, "masked")
        result, source = (np.asarray(Image.open(folder / row.files[0])) for row in (masked, rows[0]))
        mask = np.asarray(Image.open(masked.job["mask"]))
        assert mask.any() and np.array_equal(result[mask == 0], source[mask == 0])

        turn_to(page, "Layout")
        page.fill("#layout-prompt textarea", "two things on a white background")
        for start, end, words in (((0.1, 0.1), (0.5, 0.5), "a red circle"), ((0.6, 0.6), (0.9, 0.9), "a blue square")):
            drag(page, start, end)
            page.keyboard.type(words)
        small(page, "layout")
        assert [part["prompt"] for part in rendered(page, queue, "layout").job["boxes"]] == [
            "a red circle",
            "a blue square",
        ]

        turn_to(page, "Scenes")
        page.fill("[data-scene] >> nth=0 >> [data-field=prompt]", "a red star spins in a meadow")
        page.fill("[data-scene] >> nth=0 >> [data-field=seconds]", "0.5")
        page.get_by_role("button", name="Add a scene").click()
        page.fill("[data-scene] >> nth=1 >> [data-field=prompt]", "a red star grows by the sea")
        page.fill("[data-scene] >> nth=1 >> [data-field=seconds]", "0.5")
        small(page, "scenes")
        assert [part["frames"] for part in rendered(page, queue, "scenes").job["scenes"]] == [4, 4]
        page.wait_for_selector("#scenes-easel video")

        # An old picture is dropped, and its job is back; it is rendered again, and is equal.
        turn_to(page, "History")
        old = folder / f"{Path(over(queue, second).files[0]).stem}.png"
        page.set_input_files("#drop-job input[type=file]", str(old))
        page.wait_for_selector("#restored >> text=is back in its fields")
        until(lambda: page.input_value("#text-prompt textarea") == "a blue star in a meadow")
        turn_to(page, "History")
        before = hashlib.sha256(old.read_bytes()).hexdigest()
        page.click(f".print[data-name='{old.stem}']")
        page.wait_for_selector(f"#chosen .told h3 >> text={old.stem}")
        page.click("#reproduce")
        page.wait_for_selector("#verdict .note.good >> text=Equal to the byte")
        assert json.loads(old.with_suffix(".json").read_text())["outputs"][old.name] == before
