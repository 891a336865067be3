"""The Layers tab as a person uses it: boxes without words, the layer panel, one layer again, a picture taken apart."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.browser.conftest import Open, keep, name_of, turn_to
from tests.browser.test_boxes_page import boxes, drag, near, places, prompts
from tests.paced import over, until
from tests.staged import Served, picture

pytestmark = pytest.mark.slow

RED, BLUE, SKY = (214, 48, 49), (48, 92, 204), (184, 214, 232)  # the fake's first two layers and its ground


def render(studio: Served, page: Any) -> str:
    before = len(studio.queue.rows())
    page.click("#layered-render")
    until(lambda: len(studio.queue.rows()) > before)
    id = studio.queue.rows(1)[0].id
    page.wait_for_selector(f"#layered-easel .stage.done[data-id='{id}'] [data-stack]")
    return id


def stacked(studio: Served, visit: Open) -> tuple[Any, str]:
    """A page that shows a picture of two layers, the second over the lower right of the first; and its row's id."""
    page = visit(tab="Layers")
    page.fill("#layered-prompt textarea", "two things in a meadow")
    drag(page, (0.125, 0.125), (0.625, 0.625), "layered")
    page.keyboard.type("a red circle")
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    drag(page, (0.875, 0.875), (0.375, 0.375), "layered")
    page.fill("#layered-seed input", "0")
    page.wait_for_selector("#layered-cost .cost")
    return page, render(studio, page)


def pixel(page: Any, x: float, y: float) -> tuple[int, ...]:
    """[R, G, B] of the composed stack at a place in 0..1."""
    return tuple(page.evaluate(
        "([x, y]) => { const c = document.querySelector('#layered-easel [data-stack] canvas');"
        "return [...c.getContext('2d').getImageData(x * c.width, y * c.height, 1, 1).data].slice(0, 3); }", [x, y],
    ))  # fmt: skip


def test_order_visibility_and_opacity_change_what_is_seen(studio: Served, visit: Open) -> None:
    page, id = stacked(studio, visit)
    job = studio.queue.rows(1)[0].job
    assert [part["prompt"] for part in job["layers"]] == ["a red circle", None]
    assert near([part["box"] for part in job["layers"]], [[0.125, 0.125, 0.625, 0.625], [0.375, 0.375, 0.875, 0.875]])
    until(lambda: pixel(page, 0.2, 0.2) == RED)
    names = page.locator("#layered-easel .what-layer span").all_inner_texts()
    assert names == ["layer 2", "a red circle", "background"]  # top first
    assert (pixel(page, 0.5, 0.5), pixel(page, 0.8, 0.8)) == (BLUE, BLUE)
    keep(page, "layers-done")
    page.get_by_label("Down: layer 2").click()
    assert (pixel(page, 0.5, 0.5), pixel(page, 0.8, 0.8)) == (RED, BLUE)
    page.get_by_label("Show: a red circle").click()
    assert (pixel(page, 0.5, 0.5), pixel(page, 0.2, 0.2)) == (BLUE, SKY)
    keep(page, "layers-changed")
    page.get_by_label("Show: a red circle").click()
    page.get_by_label("Up: layer 2").focus()
    page.keyboard.press("Enter")
    assert pixel(page, 0.5, 0.5) == BLUE
    page.get_by_label("Opacity: layer 2").fill("50")
    assert pixel(page, 0.8, 0.8) == pytest.approx([(a + b) / 2 for a, b in zip(BLUE, SKY, strict=True)], abs=2)
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save what is shown").click()
    assert Image.open(saved.value.path()).getpixel((100, 100))[:3] == pixel(page, 100 / 128, 100 / 128)
    answer = studio.get(page.get_attribute("#layered-easel a[href$='all.zip']", "href"))
    with zipfile.ZipFile(io.BytesIO(answer.content)) as packed:
        names = packed.namelist()
    assert {Path(name).suffix for name in names} == {".png", ".psd", ".ora", ".json"} and len(names) == 8
    assert answer.headers["content-disposition"] == f'attachment; filename="{id}-all.zip"'
    for words in ("PSD", "OpenRaster"):
        href = page.get_by_role("link", name=words).get_attribute("href")
        assert studio.get(href).headers["x-content-type-options"] == "nosniff"


def test_one_layer_is_rendered_again_and_the_others_are_given(studio: Served, visit: Open) -> None:
    page, id = stacked(studio, visit)
    first = studio.queue.get(id)
    page.get_by_label("Render this one again: layer 2").click()
    until(lambda: studio.queue.rows(1)[0].id != id)
    row = over(studio.queue, studio.queue.rows(1)[0].id)
    assert row.state == "done"
    red, anonymous = row.job["layers"]
    assert anonymous["source"] is None and row.job["source"] is None and row.job["seed"] != first.job["seed"]
    for path, name in ((red["source"], "01.png"), (row.job["background"], "00.png")):
        stored = next(studio.folder / file for file in first.files if file.endswith(f"/{name}"))
        given = Image.open(path)
        assert list(given.getdata()) == list(Image.open(stored).convert(given.mode).getdata())
        assert (studio.folder / "uploads") in Path(path).parents
    page.wait_for_selector(f"#layered-easel .stage.done[data-id='{row.id}'] [data-stack]")
    until(lambda: pixel(page, 0.2, 0.2) == RED)
    # Its settings come back, with what is given marked as such.
    turn_to(page, "History")
    page.click(f".print[data-name='{name_of(studio, row.id)}']")
    page.wait_for_selector("#chosen [data-stack]")
    assert page.locator("#chosen [data-again]").count() == 0
    keep(page, "layers-history")
    page.click("#use")
    page.wait_for_selector("#layered-boxes [data-row].given")
    assert [bool(each["given"]) for each in boxes(page, "layered")] == [True, False]
    page.wait_for_selector("#layered-cost .cost")
    again = render(studio, page)
    assert studio.queue.get(again).job == row.job
    page.click("#layered-boxes [data-row='0'] [data-field=prompt]")
    page.get_by_role("button", name="Make it new").click()
    assert [each["given"] for each in boxes(page, "layered")] == ["", ""]


def test_a_finished_picture_is_taken_apart(studio: Served, visit: Open, tmp_path: Path) -> None:
    (tmp_path / "picture.png").write_bytes(picture(128, 96))
    page = visit(tab="Layers")
    page.fill("#layered-prompt textarea", "a red disc")
    page.get_by_text("From a finished picture").click()
    page.set_input_files("#layered-source input[type=file]", str(tmp_path / "picture.png"))
    page.wait_for_selector("#layered-source .drop-here img")
    until(lambda: page.input_value("#layered-height input[type=number]") == "96")
    until(lambda: (page.get_attribute("#layered-boxes [data-part=under]", "src") or "").startswith("uploads/"))
    drag(page, (0.3, 0.25), (0.7, 0.75), "layered")
    keep(page, "layers-apart")
    page.wait_for_selector("#layered-cost .cost")
    id = render(studio, page)
    job = studio.queue.get(id).job
    assert job["size"] == [128, 96] and job["layers"][0]["prompt"] is None
    assert Image.open(job["source"]).size == (128, 96)


def test_both_editors_keep_their_own_boxes(visit: Open) -> None:
    page = visit(tab="Layers")
    drag(page, (0.1, 0.1), (0.5, 0.5), "layered")
    page.keyboard.type("a star")
    turn_to(page, "Layout")
    page.wait_for_selector("#layout-boxes .board")
    drag(page, (0.6, 0.6), (0.9, 0.9))
    page.keyboard.type("a ring")
    page.reload()
    page.wait_for_selector("#text-render")
    turn_to(page, "Layers")
    page.wait_for_selector("#layered-boxes .box")
    turn_to(page, "Layout")
    page.wait_for_selector("#layout-boxes .box")
    assert (prompts(page, "layered"), prompts(page)) == (["a star"], ["a ring"])
    assert near(places(page), [[0.6, 0.6, 0.9, 0.9]])


def test_the_layer_panel_fits_a_phone(studio: Served, visit: Open) -> None:
    page, _ = stacked(studio, visit)
    page.set_viewport_size({"width": 390, "height": 844})
    page.wait_for_timeout(300)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    keep(page, "phone-layers-done")
