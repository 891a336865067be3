"""The page in the language of its reader: German for a German browser, English where somebody chose it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.browser.conftest import Open, keep, turn_to
from tests.paced import until

pytestmark = pytest.mark.slow


def test_a_german_browser_gets_a_german_page(studio: Any, visit: Open) -> None:
    page = visit(locale="de-DE")
    until(lambda: page.get_attribute("html", "lang") == "de")
    page.wait_for_selector("[role=tab] >> text=Szenen")
    assert page.inner_text("#text-render") == "Rendern"
    assert page.get_by_label("Schritte").first.is_visible()
    page.click("[data-keys]")
    page.wait_for_selector(".keys-sheet h2 >> text=Tasten")
    assert "Rendern, was im offenen Reiter steht" in page.inner_text(".keys-sheet")
    assert page.is_visible(".keys-sheet kbd >> text=Strg")
    page.keyboard.press("Escape")
    page.fill("#text-prompt textarea", "a red circle")
    page.wait_for_selector("#text-plan >> text=Der Plan")
    page.click("#text-render")
    page.wait_for_selector(".stage.done .facts >> text=Entstanden")
    page.wait_for_selector(".stage.done .links >> text=Bild herunterladen")
    keep(page, "german")
    turn_to(page, "Warteschlange")
    page.wait_for_selector("#queue h2 >> text=In der Reihe")
    turn_to(page, "Verlauf")
    page.wait_for_selector("#history-found >> text=Eine Ausgabe.")
    page.keyboard.press("g")  # the keys know the tabs by their German names too
    page.keyboard.press("q")
    page.wait_for_selector("#queue h2 >> text=Zuletzt >> visible=true")


def test_who_chooses_english_keeps_it(studio: Any, visit: Open) -> None:
    page = visit(locale="de-DE")
    page.click("[data-language=en]")
    until(lambda: page.get_attribute("html", "lang") == "en")
    page.wait_for_selector("#text-render >> text=Render")
    page.wait_for_selector("[data-language=en][aria-pressed=true]")
    page.reload()
    page.wait_for_selector("#text-render >> text=Render")
    until(lambda: page.get_attribute("html", "lang") == "en")
    kept = [cookie["value"] for cookie in page.context.cookies() if cookie["name"] == "diorama-language"]
    assert kept == ["en"]


def test_a_language_that_is_not_here_is_answered_in_english(studio: Any, visit: Open) -> None:
    page = visit(locale="fr-FR")
    assert page.inner_text("#text-render") == "Render"
    until(lambda: page.get_attribute("html", "lang") == "en")
    page.wait_for_timeout(500)  # gradio says otherwise once it knows the browser's language
    assert page.get_attribute("html", "lang") == "en"
