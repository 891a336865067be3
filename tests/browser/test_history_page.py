"""The History tab as a person uses it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.estimate import Rendered
from pipelines.files.output import OutputFolder
from pipelines.history.history import History
from pipelines.job import parse
from tests.browser.conftest import Open, keep, turn_to
from tests.paced import until
from tests.staged import Served, _drawn

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def outputs(studio: Served) -> None:
    """Two pictures and a video, as `diorama render --out` writes them."""
    folder = OutputFolder(studio.folder)
    for seed, (name, prompt, frames) in enumerate(
        [("star", "a red star in a meadow", 1), ("ring", "a blue ring by the sea", 1), ("film", "a heart spins", 6)]
    ):
        job = parse({"task": "text", "prompt": prompt, "name": name, "seed": seed, "steps": 9, "frames": frames})
        shown = np.stack([_drawn(128, 128, number / frames, seed) for number in range(frames)])
        folder.save(job, name, Rendered(shown, {"resolved": {"size": [128, 128]}, "seconds": 1.0}))


def wall(page: Any) -> list[str]:
    return [print.get_attribute("data-name") for print in page.query_selector_all("#wall .print")]


def one(studio: Served, name: str) -> Any:
    return next((entry for entry in History(studio.folder).search(limit=100).entries if entry.stem == name), None)


def opened(page: Any, name: str) -> None:
    page.click(f".print[data-name='{name}']")
    page.wait_for_selector(f"#chosen .told h3 >> text={name}")
    # It glides into view, and a forced press would aim at where it was.
    top = "() => document.querySelector('#chosen').getBoundingClientRect().top"
    page.wait_for_function(
        f"async () => {{ const top = {top}, was = top(); await new Promise((done) => "
        "setTimeout(done, 200)); return top() === was; }"
    )


def pick(page: Any, label: str) -> None:
    """Choose a radio button, again where the wall was just drawn anew and the click went to the one before."""

    def chosen() -> bool:
        button = page.get_by_label(label, exact=True)
        button.click(force=True)
        return button.is_checked()

    until(chosen)


def test_an_output_is_found_rated_compared_thrown_away_and_taken_back(studio: Served, visit: Open) -> None:
    page = visit()
    turn_to(page, "History")
    until(lambda: set(wall(page)) == {"star", "ring", "film"})
    page.wait_for_function("() => [...document.querySelectorAll('.print img')].every((image) => image.naturalWidth)")
    keep(page, "history")

    page.fill("#history-search input, #history-search textarea", "blu rin")
    until(lambda: wall(page) == ["ring"])
    opened(page, "ring")
    # The stars are radios: a press, and then an arrow key.
    page.get_by_role("radio", name="3 of 5 stars").check(force=True)
    until(lambda: one(studio, "ring").rating == 3)
    page.keyboard.press("ArrowRight")
    until(lambda: one(studio, "ring").rating == 4)
    page.fill("#remarks [data-what=tags]", "best, for the wall")
    page.press("#remarks [data-what=tags]", "Enter")
    until(lambda: one(studio, "ring").tags == ("best", "for the wall"))
    page.wait_for_selector("#wall .about >> text=for the wall")
    keep(page, "history-chosen")

    page.fill("#history-search input, #history-search textarea", "")
    until(lambda: len(wall(page)) == 3)
    page.check(".print[data-name='star'] ~ .take-up input")
    page.wait_for_selector("#compare >> text=Take up another one")
    page.check(".print[data-name='ring'] ~ .take-up input")
    page.wait_for_selector("#compare .compared table >> text=a blue ring by the sea")
    page.wait_for_selector("#compare-pixels >> text=The pixels differ by at most")
    page.get_by_role("button", name="Closer").click()
    zooms = "() => [...document.querySelectorAll('.pane img')].map((image) => getComputedStyle(image).transform)"
    assert len(set(page.evaluate(zooms))) == 1 and "1.5" in page.evaluate(zooms)[0]
    page.get_by_role("button", name="Slider").click()
    page.locator("#compare .wipe").fill("20")
    assert "20%" in page.evaluate("() => getComputedStyle(document.querySelectorAll('.pane')[1]).clipPath")
    keep(page, "history-compared")
    page.get_by_role("button", name="Close the comparison").click()
    page.wait_for_selector("#compare .compared", state="detached")
    assert page.locator("#wall input:checked").count() == 0

    # Arrow keys move among the prints, and Delete throws one away.
    page.focus(".print >> nth=0")
    page.keyboard.press("ArrowRight")
    name = page.evaluate("() => document.activeElement.dataset.name")
    assert name == wall(page)[1]
    page.keyboard.press("Delete")
    page.wait_for_selector(f"#history-said >> text=“{name}” is in the bin now.")
    until(lambda: name not in wall(page))
    assert not (studio.folder / f"{name}.json").exists()
    pick(page, "The bin")
    until(lambda: wall(page) == [name])
    opened(page, name)
    keep(page, "history-bin")
    page.click("#take-back")
    until(lambda: (studio.folder / f"{name}.json").exists())
    pick(page, "Renders")
    until(lambda: len(wall(page)) == 3)


def test_a_dropped_picture_fills_the_fields_it_was_made_with(studio: Served, visit: Open) -> None:
    page = visit()
    turn_to(page, "History")
    page.set_input_files("#drop-job input[type=file]", str(studio.folder / "star.png"))
    page.wait_for_selector("#restored >> text=The job of “star.png” is back in its fields.")
    until(lambda: page.input_value("#text-prompt textarea") == "a red star in a meadow")
    assert page.input_value("#text-steps input[type=number]") == "9"
    keep(page, "history-restored")
    page.click("#restored [data-close]")
    page.wait_for_selector("#restored .restored", state="detached")
    turn_to(page, "History")
    page.set_input_files("#drop-job input[type=file]", {"name": "x.png", "mimeType": "image/png", "buffer": b"words"})
    page.wait_for_selector("#drop-job .bad >> text=expected a PNG, MP4")


def test_reproduce_is_answered_though_the_page_was_closed(studio: Served, visit: Open) -> None:
    page = visit()
    page.fill("#text-prompt textarea", "a green heart")
    page.click("#text-render")
    page.wait_for_selector("#text-easel .stage.done img")
    row = studio.queue.rows(1)[0]
    name = Path(row.files[0]).stem
    turn_to(page, "History")
    opened(page, name)
    page.click("#reproduce")
    page.wait_for_selector("#verdict .verdict")
    page.close()
    later = visit(390, 844, "dark")
    turn_to(later, "History")
    opened(later, name)
    later.wait_for_selector("#verdict .note.good >> text=Equal to the byte")
    assert later.evaluate("document.documentElement.scrollWidth") <= 390
    keep(later, "phone-history-chosen-dark")
