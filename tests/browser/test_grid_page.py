"""The Grid tab as a person uses it: from a tab's job to a table that fills, and away from it and back."""

from __future__ import annotations

from typing import Any

import pytest

from tests.browser.conftest import Open, keep, turn_to
from tests.paced import until

pytestmark = pytest.mark.slow


def test_a_grid_of_a_tabs_job_fills_while_the_page_is_away_and_is_there_again(studio: Any, visit: Open) -> None:
    page = visit()
    page.fill("#text-prompt textarea", "a red ring in a meadow")
    page.fill("#text-steps input[type=number]", "2")
    page.click("#text-to-grid")
    page.wait_for_selector("#grid-render")
    until(lambda: "a red ring in a meadow" in page.input_value("#grid-base textarea"))
    page.fill("#grid-values-1 input, #grid-values-1 textarea", "1..3")
    page.fill("#grid-field-2 input", "prompt")
    page.keyboard.press("Enter")
    page.fill("#grid-values-2 input, #grid-values-2 textarea", "red -> [red, blue]")
    page.wait_for_selector("#grid-cost >> text=3 × 2 = 6 cells, 6 renders")
    studio.engine.pace = 0.5
    page.locator("#grid-values-2 input, #grid-values-2 textarea").press("Control+Enter")
    page.wait_for_selector("#grid-table .blank")
    keep(page, "grid-filling")
    page.close()
    studio.engine.pace = 0.0
    until(lambda: not studio.queue.active())

    later = visit()
    turn_to(later, "Grid")
    later.wait_for_selector("#grid-table td img >> nth=5")
    later.locator("#grid-table td button").first.focus()
    later.keyboard.press("ArrowRight")
    later.keyboard.press("ArrowDown")
    assert later.evaluate("document.activeElement.dataset.large") == ("a blue ring in a meadow; seed 2; prompt blue")
    later.keyboard.press("Enter")
    later.wait_for_selector("dialog[open] img")
    keep(later, "grid-large")
    later.keyboard.press("Escape")
    assert later.locator("dialog[open]").count() == 0
    keep(later, "grid")
    with later.expect_download() as taken:
        later.click("#grid-page")
    assert taken.value.suggested_filename.endswith(".zip")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_grid_fits_a_phone(visit: Open, scheme: str) -> None:
    page = visit(380, 844, scheme)
    turn_to(page, "Grid")
    page.wait_for_selector("#grid-render")
    page.wait_for_timeout(400)
    assert page.evaluate("document.documentElement.scrollWidth") <= 380
    keep(page, f"phone-grid-{scheme}")
