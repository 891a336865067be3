"""Levels, presets, lists in a prompt and keyboard shortcuts, as a person meets them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.browser.conftest import Open, keep, turn_to
from tests.paced import until

pytestmark = pytest.mark.slow

FOCUS = "document.activeElement"


def open_tab(page: Any) -> str:
    return str(page.evaluate("document.querySelector('[role=tab][aria-selected=true]').textContent.trim()"))


def test_essentials_hides_fields_names_the_unusual_ones_and_loses_nothing(visit: Open) -> None:
    page = visit()
    page.fill("#text-guidance input[type=number]", "3.5")
    page.fill("#text-prompt textarea", "a red star")
    page.get_by_role("button", name="Essentials").click()
    for hidden in ("#text-negative", "#text-steps", "#text-guidance", "#text-presets", "#text-to-grid"):
        assert not page.is_visible(hidden)
    for shown in ("#text-prompt", "#text-width", "#text-seed", "#text-render"):
        assert page.is_visible(shown)
    page.wait_for_selector("#text-cost >> text=Also set: guidance 3.5.")
    keep(page, "essentials")
    page.reload()
    page.wait_for_selector("#text-render")
    until(lambda: not page.is_visible("#text-steps"))
    assert page.get_by_role("button", name="Essentials").get_attribute("aria-pressed") == "true"
    page.fill("#text-prompt textarea", "a red star")
    turn_to(page, "Video")
    page.wait_for_selector("#video-render")
    assert page.is_visible("#video-form [id=video-seconds]") and not page.is_visible("#video-fps")
    page.get_by_role("button", name="Everything", exact=True).click()
    assert page.is_visible("#video-fps")
    turn_to(page, "Text")
    assert page.input_value("#text-prompt textarea") == "a red star" and page.is_visible("#text-steps")


def test_a_preset_is_kept_filled_in_and_a_prompt_with_lists_tells_how_many(studio: Any, visit: Open) -> None:
    page = visit()
    page.fill("#text-steps input[type=number]", "3")
    page.click("#text-presets > button")
    page.fill("#text-preset-name input, #text-preset-name textarea", "three steps")
    page.click("#text-preset-keep")
    page.wait_for_selector("#text-preset-said >> text=Kept as “three steps”")
    page.fill("#text-steps input[type=number]", "20")
    page.click("#text-preset-fill")
    until(lambda: page.input_value("#text-steps input[type=number]") == "3")
    page.fill("#text-prompt textarea", "a {red|blue|green} star")
    page.wait_for_selector("#text-cost .jobs >> text=makes 3 jobs")
    assert page.is_visible("#text-several")
    keep(page, "lists")
    before = len(studio.queue.rows())
    page.locator("#text-prompt textarea").press("Control+Enter")
    until(lambda: len(studio.queue.rows()) == before + 3)
    rows = studio.queue.rows(3)
    assert {row.job["prompt"] for row in rows} == {f"a {colour} star" for colour in ("red", "blue", "green")}
    assert all(row.job["steps"] == 3 for row in rows)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_keys_open_tabs_and_the_sheet_and_wait_while_one_types(visit: Open, scheme: str) -> None:
    page = visit(scheme=scheme)
    field = page.locator("#text-prompt textarea")
    field.fill("")
    field.press("?")
    field.press("g")
    field.press("v")
    assert field.input_value() == "?gv" and open_tab(page) == "Text"
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("g")
    page.keyboard.press("v")
    until(lambda: open_tab(page) == "Video")
    page.keyboard.press("Alt+1")
    until(lambda: open_tab(page) == "Text")
    page.keyboard.press("Alt+9")  # in the menu of tabs where the page is narrow
    until(lambda: open_tab(page) != "Text")
    page.keyboard.press("g")
    page.keyboard.press("t")
    until(lambda: open_tab(page) == "Text")
    page.keyboard.press("?")
    sheet = page.locator("dialog[open]")
    sheet.wait_for()
    assert sheet.get_by_role("heading", name="Keys").is_visible()
    for _ in range(6):  # it does not leave the sheet
        page.keyboard.press("Tab")
        assert page.evaluate(f"{FOCUS} === document.body || {FOCUS}.closest('dialog') !== null")
    keep(page, f"keys-{scheme}")
    page.keyboard.press("g")
    page.keyboard.press("v")
    assert open_tab(page) == "Text", "nothing happens behind it"
    sheet.get_by_label("Single keys").uncheck()
    page.keyboard.press("Escape")
    assert page.locator("dialog[open]").count() == 0
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("?")
    page.wait_for_timeout(100)
    assert page.locator("dialog[open]").count() == 0, "single keys are off"
    page.get_by_role("button", name="Keys", exact=True).click()
    page.locator("dialog[open]").get_by_label("Single keys").check()
    page.locator("dialog[open]").get_by_role("button", name="Close").click()


def test_the_tools_and_the_sheet_fit_a_phone(visit: Open) -> None:
    page = visit(380, 800)
    page.get_by_role("button", name="Keys", exact=True).click()
    box = page.locator("dialog[open]").bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= 380
    keep(page, "keys-phone")
    page.keyboard.press("Escape")
    assert page.evaluate("document.documentElement.scrollWidth") <= 380
    page.get_by_role("button", name="Essentials").click()
    keep(page, "essentials-phone")
