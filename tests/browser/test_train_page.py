"""The Train tab as a person sees it; what trains is a stand-in that writes what a run writes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import Open, keep, turn_to
from tests.hosting import adapter_at, captioned, config_of, now, over, runs_at
from tests.paced import until
from tests.staged import Served, served
from training.follow import followed
from training.runs import Runs

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def studio(chromium: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    patch = pytest.MonkeyPatch()
    patch.setattr("ui.studio.Runs", runs_at)
    patch.chdir(tmp_path_factory.mktemp("beside"))  # where adapters are
    with served(tmp_path_factory.mktemp("studio")) as studio:
        yield studio
    patch.undo()


@pytest.fixture
def runs(studio: Served) -> Iterator[Runs]:
    runs = runs_at(studio.folder)
    yield runs
    if busy := runs.busy():
        runs.ask(busy, "stop")
        over(runs, busy)


def training(visit: Open, **how: Any) -> Any:
    page = visit(**how)
    turn_to(page, "Train")
    page.wait_for_selector("#train-view .run")
    return page


def fill(page: Any, name: str, text: str) -> None:
    page.fill(f"#train-{name} textarea, #train-{name} input", text)


def test_a_folder_is_checked_trained_on_paused_and_tried(
    studio: Served, runs: Runs, visit: Open, tmp_path: Path
) -> None:
    page = training(visit)
    keep(page, "train-empty")
    fill(page, "pictures", "/nowhere")
    page.click("#train-start")
    page.wait_for_selector("#train-form .slot >> text=expected a folder or file that is here")
    fill(page, "pictures", str(tmp_path))
    fill(page, "name", "My snarf")
    fill(page, "prompts", "a snarf\na <b>ring</b>")
    page.click("#train-check")
    page.wait_for_selector("#train-report >> text=The training can start; there is one warning.")
    assert page.locator("#train-report table.warnings").count() == 1
    page.click("#train-start")
    page.wait_for_selector("#train-view .run[data-id=my-snarf] >> text=training")
    page.wait_for_selector("#train-view svg .mean")
    page.wait_for_selector("#train-view >> text=left")
    picture = page.wait_for_selector("#train-view .sheet-of img")
    assert page.evaluate("image => image.decode().then(() => image.naturalWidth)", picture) == 64
    assert "a <b>ring</b>" in page.inner_text("#train-view ol")
    before = page.inner_text("#train-view [data-live^=train-how]")
    page.wait_for_function("before => document.querySelector('#train-view [data-live^=train-how]').innerText != before",
                           arg=before)  # fmt: skip
    keep(page, "train-running")

    page.reload()  # nothing is lost when the page goes
    page.wait_for_selector("#text-render")
    turn_to(page, "Train")
    page.wait_for_selector("#train-view .run[data-id=my-snarf] svg")
    assert page.input_value("#train-pictures textarea, #train-pictures input") == str(tmp_path)
    page.get_by_role("button", name="Pause: my-snarf").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("#train-view >> text=Paused at step")
    assert now(runs, "my-snarf").state == "paused"

    adapter_at(now(runs, "my-snarf").folder / "adapter.safetensors")
    page.get_by_role("button", name="Try it: my-snarf").click()
    page.wait_for_selector("#text-prompt textarea")
    until(lambda: page.input_value("#text-prompt textarea") == "a snarf" or page.wait_for_timeout(50))
    page.click("#text-form >> text=More options")  # where the adapters stand
    field = "#text-adapters textarea, #text-adapters input"
    until(lambda: page.input_value(field) == "my-snarf-7" or page.wait_for_timeout(50))

    turn_to(page, "Train")
    page.get_by_role("button", name="Go on: my-snarf").click()
    page.wait_for_selector("#train-view .run[data-id=my-snarf] .chip.on")
    step = followed(now(runs, "my-snarf").folder).step
    until(lambda: followed(now(runs, "my-snarf").folder).step > step)
    page.get_by_role("button", name="Stop: my-snarf").click()
    page.wait_for_selector("#train-view >> text=Stopped at step")
    page.get_by_role("button", name="Remove: my-snarf").click()
    assert now(runs, "my-snarf").state == "stopped", "it asks first"
    page.get_by_role("button", name="Remove: my-snarf").click()
    page.wait_for_selector("#train-view >> text=Nothing was trained yet")
    assert runs.all() == []


def test_captions_are_written_read_and_stopped(runs: Runs, visit: Open, tmp_path: Path) -> None:
    page = training(visit)
    page.click("#train-form >> text=Pictures without captions")
    page.click("#train-caption-them")
    page.wait_for_selector("#train-captions-said >> text=expected a caption with alternatives")
    fill(page, "pictures", str(tmp_path))
    fill(page, "words", "a pim {slowly|quickly} <b>going</b>")
    page.wait_for_timeout(500)  # gradio tells its server what was typed a moment later
    page.click("#train-caption-them")
    page.wait_for_selector("#train-captions li >> text=a pim {slowly|quickly} <b>going</b>")
    how = "#train-captions [data-live=captions-how]"
    before = page.inner_text(how)
    assert before.startswith("Looked at ")
    page.wait_for_function("([how, before]) => document.querySelector(how).innerText != before", arg=[how, before])
    keep(page, "train-captions")
    page.reload()
    page.wait_for_selector("#text-render")
    turn_to(page, "Train")
    page.click("#train-form >> text=Pictures without captions")
    until(lambda: "slowly" in page.input_value("#train-words textarea") or page.wait_for_timeout(50))
    page.click("#train-captions >> text=Stop")
    page.wait_for_selector("#train-captions >> text=Write captions goes on with the others.")
    assert captioned(runs).state == "stopped"


def test_a_run_file_goes_into_the_fields_and_essentials_hide_the_rest(visit: Open, tmp_path: Path) -> None:
    page = training(visit)
    page.wait_for_timeout(1000)  # the tab's first answer is still to come
    page.click("#train-form >> text=The run file")
    fill(page, "file", f"data: {{sources: [{{path: {tmp_path}}}]}}\nloop: {{steps: 33, batch: 3}}\ntrain: {{rank: 5}}")
    page.wait_for_timeout(500)  # gradio tells its server what was typed a moment later
    page.click("#train-use")
    page.wait_for_selector("#train-used >> text=The fields are filled in.")
    until(lambda: page.input_value("#train-steps input") == "33" or page.wait_for_timeout(50))
    page.click("[data-level=essentials]")
    page.wait_for_selector("#train-also >> text=rank 5")
    assert not page.is_visible("#train-rank") and page.is_visible("#train-steps")
    page.click("[data-level=everything]")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_train_page_fits_a_phone(runs: Runs, visit: Open, scheme: str, tmp_path: Path) -> None:
    id = runs.begin("the very long name of a mascot of ours", config_of(tmp_path))
    until(lambda: followed(now(runs, id).folder).step > 3)
    page = training(visit, width=390, height=844, scheme=scheme)
    page.wait_for_selector(f"#train-view .run[data-id={id}] svg")
    page.wait_for_selector("#train-view >> text=Pause")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    keep(page, f"phone-train-{scheme}")
