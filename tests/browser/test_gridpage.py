"""The page of a grid as a browser shows it, opened from its folder without a server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipelines import cli
from tests.fakes import FakeEngine, groups


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_grid_page_works_from_its_folder_and_by_keyboard(chromium: Any, tmp_path: Path, scheme: str) -> None:
    job = {"task": "text", "prompt": "<b>a red</b> ring", "size": [64, 64], "steps": 1, "name": "größe #1"}
    axes = [{"seed": [9, 90, 200]}, {"prompt": "red -> [red, blue]"}, {"frames": [1, 4]}]
    (tmp_path / "g.json").write_text(json.dumps({"job": job, "axes": axes}))
    words = ["grid", str(tmp_path / "g.json"), "--out", str(tmp_path / "out"), "--quiet"]
    assert cli.main(words, engine=(FakeEngine(), groups)) == 0

    context = chromium.new_context(viewport={"width": 800, "height": 600}, color_scheme=scheme)
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: request.url.startswith("file:") or complaints.append(request.url))
    page.goto((tmp_path / "out" / "größe #1.html").as_uri())

    assert page.locator("td img").evaluate_all("all => all.map(one => one.naturalWidth)")[:3] == [64] * 3
    page.locator("td button").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.querySelector('img').alt").endswith("seed 90; prompt: blue; frames 1")
    page.keyboard.press("Enter")
    shown = page.locator(":popover-open")
    shown.locator("img").wait_for()
    assert shown.get_attribute("aria-label") == "größe #1-2-2-1"
    page.keyboard.press("Escape")
    assert page.locator(":popover-open").count() == 0
    assert page.evaluate("document.activeElement.querySelector('img') !== null")

    page.locator("td video").first.scroll_into_view_if_needed()
    video = page.locator("td video").first
    for _ in range(200):  # not wait_for_function, which the page's content policy refuses
        if not video.evaluate("video => video.paused"):
            break
        page.wait_for_timeout(50)
    assert not video.evaluate("video => video.paused")
    style = "s => [s.backgroundColor, s.color].map(colour => +colour.match(/\\d+/)[0])"
    ground, ink = page.evaluate(f"({style})(getComputedStyle(document.body))")
    assert complaints == []
    assert (ground < ink) == (scheme == "dark")
    context.close()
