"""A page that somebody leaves open: it follows what happens, disturbs nobody, and asks for next to nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.browser.conftest import Open, turn_to
from tests.paced import over, text, until
from tests.staged import Served

pytestmark = pytest.mark.slow


def asked(page: Any) -> list[str]:
    """What the page asks the server for, from now on: paths that grow while the page is open."""
    found: list[str] = []
    page.on("request", lambda request: found.append(request.url.split("/", 3)[-1]))
    return found


def looks(found: list[str]) -> set[str]:
    return {path.partition("?")[0] for path in found if path.startswith("watch/")}


def settle(page: Any) -> None:
    """Wait until what a page asks listeners for as it begins is over."""
    found, before = asked(page), -1
    while (now := sum(path.startswith("gradio_api/") for path in found)) != before:
        before = now
        page.wait_for_timeout(1500)


def idle(studio: Served) -> None:
    until(lambda: not studio.queue.active())


def test_a_render_is_followed_without_a_listener(studio: Served, visit: Open) -> None:
    idle(studio)
    page = visit()
    page.wait_for_selector("#text-easel .stage")
    settle(page)
    found = asked(page)
    studio.engine.pace = 1.0
    id = studio.queue.add(text("a star from elsewhere", size=[64, 64], steps=4))
    page.wait_for_selector(f"#text-easel .stage.running[data-id='{id}'] >> text=/Step \\d of 4/")
    studio.engine.pace = 0.0
    page.wait_for_selector(f"#text-easel .stage.done[data-id='{id}'] img")
    assert looks(found) == {"watch/text"}
    assert not [path for path in found if path.startswith("gradio_api/") and "heartbeat" not in path]


def test_what_somebody_opened_stays_open_while_the_queue_goes_on(studio: Served, visit: Open) -> None:
    idle(studio)
    film = {"size": [64, 64], "frames": 4, "png_frames": True, "prompt": "a film"}
    id = studio.queue.add(text(**film))  # type: ignore[arg-type]
    over(studio.queue, id)
    page = visit(tab="Video")
    page.wait_for_selector(f"#video-easel .stage.done[data-id='{id}'] video")
    page.click("#video-easel summary")
    page.focus("#video-easel summary")
    page.evaluate("document.querySelector('#video-easel video').kept = true")
    studio.queue.pause_all()
    other = studio.queue.add(text("a star meanwhile", size=[64, 64]))
    page.wait_for_selector("#video-easel .line >> text=a star meanwhile")
    assert page.locator("#video-easel details[open]").count() == 1
    assert page.evaluate("document.activeElement.nodeName") == "SUMMARY"
    assert page.evaluate("document.querySelector('#video-easel video').kept") is True
    # A press in the line is answered by a listener, whose drawing disturbs no more than ours.
    page.click("#video-easel .line .drop")
    page.wait_for_selector("#video-easel .line", state="detached")
    assert page.locator("#video-easel details[open]").count() == 1
    assert page.evaluate("document.querySelector('#video-easel video').kept") is True
    studio.queue.resume_all()
    assert over(studio.queue, other).state == "cancelled"


def test_only_the_tab_that_is_open_asks_and_one_in_the_background_asks_seldom(studio: Served, visit: Open) -> None:
    idle(studio)
    page = visit()
    page.evaluate("Object.defineProperty(document, 'hidden', {get: () => window.away === true})")
    kinds: list[tuple[str, Callable[[], Any], str]] = [
        ("Queue", lambda: page.wait_for_selector("#queue .none, #queue .row"), "watch/queue"),
        ("Models", lambda: page.wait_for_selector("#models .model"), "watch/models"),
        ("Text", lambda: page.wait_for_selector("#text-easel .stage"), "watch/text"),
    ]
    for tab, there, address in kinds:
        turn_to(page, tab)
        there()
        page.wait_for_timeout(300)  # an answer may be on its way
        found = asked(page)
        page.wait_for_timeout(2500)
        assert looks(found) == {address}
        assert len([path for path in found if path.startswith("watch/")]) <= 5, "a beat is 0.7 seconds"
    page.evaluate("window.away = true")
    found = asked(page)
    page.wait_for_timeout(2500)
    assert len([path for path in found if path.startswith("watch/")]) <= 1
    page.evaluate("window.away = false; document.dispatchEvent(new Event('visibilitychange'))")
    until(lambda: page.wait_for_timeout(50) or looks(found) == {"watch/text"})


def test_a_grid_is_forgotten_only_after_a_question(studio: Served, visit: Open) -> None:
    idle(studio)
    page = visit()
    turn_to(page, "Grid")
    page.wait_for_selector("#grid-render")
    page.fill("#grid-base textarea", "task: text\nprompt: a ring\nsteps: 1\nsize: [64, 64]\nname: ring")
    page.fill("#grid-values-2 input, #grid-values-2 textarea", "")
    page.wait_for_selector("#grid-cost >> text=3 = 3 cells")
    page.click("#grid-render")
    page.wait_for_selector("#grid-table td img >> nth=2")
    page.get_by_role("button", name="Forget this grid").click()
    page.wait_for_selector("#grid-table .sure >> text=Forget “ring”? Its pictures stay.")
    assert page.evaluate("document.activeElement.dataset.act") == "spare"
    page.keyboard.press("Escape")
    page.wait_for_selector("#grid-table .sure", state="hidden")
    assert page.evaluate("document.activeElement.dataset.act") == "ask"
    assert page.locator("#grid-table td img").count() == 3
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Forget it").click()
    page.wait_for_selector("#grid-table >> text=No grid yet")
    assert len([row for row in studio.queue.rows() if row.batch]) >= 3, "its renders stay"
