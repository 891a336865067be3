"""The studio as a person sees it: the Text tab, the way back to its fields, and what holds on every page."""

from __future__ import annotations

from typing import Any

import pytest

from pipelines.queue.queue import Queue
from tests.browser.conftest import Open, keep, turn_to
from tests.paced import over, until

pytestmark = pytest.mark.slow


def newest(queue: Queue) -> str:
    return queue.rows(1)[0].id


def test_a_prompt_becomes_a_picture_and_its_settings_come_back(studio: Any, visit: Open) -> None:
    page = visit()
    page.fill("#text-prompt textarea", "a red circle left of a blue star")
    page.fill("#text-seed input", "77")
    page.click("#text-render")
    picture = page.wait_for_selector(".stage.done .mount img")
    until(lambda: page.evaluate("image => image.complete && image.naturalWidth", picture) == 128)
    keep(page, "done")
    page.fill("#text-prompt textarea", "something else")
    turn_to(page, "History")
    page.click(".print >> nth=0")
    page.wait_for_selector("#chosen .told")
    page.click("#use")
    page.wait_for_selector("#text-prompt textarea:visible")
    until(lambda: page.input_value("#text-prompt textarea") == "a red circle left of a blue star")
    assert page.input_value("#text-seed input") == "77"


def test_a_closed_tab_stops_nothing_and_another_page_shows_it(studio: Any, visit: Open) -> None:
    queue, engine = studio.queue, studio.engine
    engine.pace = 2.0  # so that it is at work until it is told to be quick
    page = visit()
    page.fill("#text-prompt textarea", "a green heart")
    page.click("#text-render")
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
    queue, engine = studio.queue, studio.engine
    engine.pace = 2.0  # so that it is at work until it is told to be quick
    page = visit()
    for prompt in ("a first star", "a second star", "a third star"):
        page.fill("#text-prompt textarea", prompt)
        page.click("#text-render")
        until(lambda said=prompt: queue.rows(1) and queue.rows(1)[0].job["prompt"] == said)
        page.wait_for_selector(f"#text-easel [data-id='{newest(queue)}']")
    page.wait_for_selector("#text-easel .line li >> nth=1")
    keep(page, "line")
    second = queue.rows(2)[1].id
    page.get_by_label("Cancel: a second star").click()
    assert over(queue, second).state == "cancelled"
    page.click("#text-easel .stop")  # the easel shows the third, which waits
    page.wait_for_selector("#text-easel .stage.cancelled")
    assert over(queue, newest(queue)).state == "cancelled"
    engine.pace = 0.0
    until(lambda: not queue.active())


def test_what_is_wrong_is_said_beside_the_button(studio: Any, visit: Open) -> None:
    queue = studio.queue
    before = len(queue.rows())
    page = visit()
    page.fill("#text-prompt textarea", " ")
    page.click("#text-render")
    page.wait_for_selector("#text-form .slot .note >> text=expected words, got an empty text")
    page.fill("#text-prompt textarea", "a red circle")
    page.fill("#text-width input[type=number]", "100")
    page.click("#text-render")
    page.wait_for_selector("#text-form .slot .note >> text=Width")
    assert len(queue.rows()) == before


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_a_phone(visit: Open, scheme: str) -> None:
    page = visit(390, 844, scheme)
    for tab in ("Text", "Video", "Masked", "Scenes", "Layout", "Layers", "History"):
        turn_to(page, tab)
        page.wait_for_timeout(500)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        keep(page, f"phone-{tab.lower()}-{scheme}")


def test_light_and_dark_are_switched_and_remembered(visit: Open) -> None:
    page = visit()
    page.click("[data-lamp]")
    assert page.evaluate("document.body.classList.contains('dark')")
    page.reload()
    page.wait_for_selector("#text-render")
    until(lambda: page.evaluate("document.body.classList.contains('dark')"))
