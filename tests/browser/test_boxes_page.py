"""The box editor as a person uses it: with a mouse, a finger and a keyboard."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from tests.browser.conftest import Open, keep, turn_to
from tests.paced import until
from tests.staged import Served

pytestmark = pytest.mark.slow

THREE = (
    ((0.1, 0.1), (0.45, 0.5), "a red circle"),
    ((0.55, 0.1), (0.9, 0.4), "a blue square"),
    ((0.3, 0.6), (0.7, 0.95), "a green heart"),
)


def boxes(page: Any, kind: str = "layout") -> list[dict[str, Any]]:
    return list(json.loads(page.evaluate(f"window.diorama.boxes.{kind}.read()")))


def places(page: Any, kind: str = "layout") -> list[list[float]]:
    return [each["box"] for each in boxes(page, kind)]


def prompts(page: Any, kind: str = "layout") -> list[str]:
    return [each["prompt"] for each in boxes(page, kind)]


def point(page: Any, place: tuple[float, float], kind: str = "layout") -> tuple[float, float]:
    """A place on the canvas in pixels of the window."""
    board = page.locator(f"#{kind}-boxes .board")
    board.evaluate("board => board.scrollIntoView({block: 'center'})")
    edge = board.bounding_box()
    return edge["x"] + place[0] * edge["width"], edge["y"] + place[1] * edge["height"]


def drag(page: Any, start: tuple[float, float], end: tuple[float, float], kind: str = "layout") -> None:
    page.mouse.move(*point(page, start, kind))
    page.mouse.down()
    page.mouse.move(*point(page, end, kind), steps=5)
    page.mouse.up()


def draw_three(page: Any) -> None:
    for start, end, words in THREE:
        drag(page, start, end)
        page.keyboard.type(words)
    assert prompts(page) == [words for _, _, words in THREE]


def near(found: Any, wanted: Any) -> bool:
    return bool(np.abs(np.array(found) - np.array(wanted)).max() < 0.02)


def test_three_boxes_are_drawn_edited_rendered_and_found_again(studio: Served, visit: Open) -> None:
    page = visit(tab="Layout")
    page.wait_for_selector("#layout-plan >> text=Draw a box on the canvas first.")
    keep(page, "layout-empty")
    page.fill("#layout-prompt textarea", "three things in a meadow")
    draw_three(page)
    assert near(places(page), [(*start, *end) for start, end, _ in THREE])
    drag(page, (0.7, 0.3), (0.6, 0.4))  # the second is moved
    assert near(places(page)[1], [0.45, 0.2, 0.8, 0.5])
    drag(page, (0.8, 0.5), (0.95, 0.58))  # and resized at its corner
    wanted = [[0.1, 0.1, 0.45, 0.5], [0.45, 0.2, 0.95, 0.58], [0.3, 0.6, 0.7, 0.95]]
    assert near(places(page), wanted)
    page.wait_for_selector("#layout-cost .cost")
    keep(page, "layout")
    before = len(studio.queue.rows())
    page.click("#layout-render")
    until(lambda: len(studio.queue.rows()) > before)
    job = studio.queue.rows(1)[0].job
    assert [part["prompt"] for part in job["boxes"]] == [words for _, _, words in THREE]
    assert near([part["box"] for part in job["boxes"]], wanted)
    page.wait_for_selector("#layout-easel .stage.done .mount img")
    assert page.locator("#layout-easel .marks-of-boxes i").count() == 3
    page.wait_for_selector("#layout-easel .obeyed >> text=0.40")
    assert [item.split("\n")[0] for item in page.locator("#layout-easel .obeyed em").all_inner_texts()] == [
        "0.90", "0.40", "\u22120.10",
    ]  # fmt: skip
    page.wait_for_selector("#layout-easel .obeyed li >> nth=2 >> text=rather “a red circle”")
    keep(page, "layout-done")
    page.get_by_label("Show the boxes").uncheck()
    assert not page.is_visible("#layout-easel .marks-of-boxes")
    assert near(places(page), wanted)  # they are still there to go on with
    turn_to(page, "Text")
    turn_to(page, "Layout")
    page.wait_for_selector("#layout-boxes .box >> nth=2")
    assert near(places(page), wanted)
    page.reload()
    page.wait_for_selector("#text-render")
    turn_to(page, "Layout")
    page.wait_for_selector("#layout-boxes .box >> nth=2")
    assert near(places(page), wanted) and prompts(page) == [words for _, _, words in THREE]
    until(lambda: page.input_value("#layout-prompt textarea") == "three things in a meadow")
    page.wait_for_selector("#layout-cost .cost")  # so Render renders what is seen
    page.click("#layout-render")
    until(lambda: len(studio.queue.rows()) > before + 1)
    assert studio.queue.rows(1)[0].job == job


def test_a_keyboard_is_enough(visit: Open) -> None:
    page = visit(tab="Layout")
    page.focus("#layout-boxes [data-tool=add]")
    page.keyboard.press("Enter")
    page.wait_for_selector("#layout-boxes .box.chosen:focus")
    start = places(page)[0]
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowDown")
    x0, y0, x1, y1 = start
    assert places(page)[0] == pytest.approx([x0 + 0.01, y0 + 0.1, x1 + 0.01, y1 + 0.1])
    page.keyboard.press("Alt+Shift+ArrowLeft")
    assert places(page)[0] == pytest.approx([x0 + 0.01, y0 + 0.1, x1 - 0.09, y1 + 0.1])
    page.wait_for_selector("#layout-boxes [role=status] >> text=Box 1")
    page.keyboard.press("Enter")  # on to its words
    page.keyboard.type("a red circle")
    page.keyboard.press("Escape")
    assert "Box 1: a red circle" in page.evaluate("document.activeElement.getAttribute('aria-label')")
    page.keyboard.press("Control+d")
    page.keyboard.press("Enter")
    page.keyboard.press("Control+a")
    page.keyboard.type("a blue square")
    page.keyboard.press("Enter")
    page.keyboard.press("[")  # behind the other one
    assert prompts(page) == ["a blue square", "a red circle"]
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.dataset.box") == "1"
    page.keyboard.press("Delete")
    assert prompts(page) == ["a blue square"]
    page.keyboard.press("Control+z")
    assert prompts(page) == ["a blue square", "a red circle"]
    page.keyboard.press("Escape")
    assert page.locator("#layout-boxes .box.chosen").count() == 0
    for _ in range(40):  # never over the edge
        page.keyboard.press("Escape")
    page.focus("#layout-boxes [data-box='0']")
    for _ in range(12):
        page.keyboard.press("Shift+ArrowRight")
    assert places(page)[0][2] == 1


def test_esc_lets_go_of_what_is_dragged(visit: Open) -> None:
    page = visit(tab="Layout")
    drag(page, (0.2, 0.2), (0.6, 0.6))
    before = boxes(page)
    for start, end in (((0.4, 0.4), (0.8, 0.8)), ((0.6, 0.6), (0.9, 0.9)), ((0.8, 0.1), (0.95, 0.15))):
        page.mouse.move(*point(page, start))
        page.mouse.down()
        page.mouse.move(*point(page, end), steps=4)
        assert boxes(page) != before
        page.keyboard.press("Escape")
        page.mouse.move(*point(page, (0.5, 0.9)), steps=2)
        page.mouse.up()
        assert boxes(page) == before
    page.mouse.click(*point(page, (0.9, 0.1)))  # a press beside it lets go of it
    assert page.locator("#layout-boxes .box.chosen").count() == 0 and boxes(page) == before


def test_a_box_below_another_can_be_reached(visit: Open) -> None:
    page = visit(tab="Layout")
    drag(page, (0.1, 0.1), (0.9, 0.9))
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    page.keyboard.down("Shift")  # draws over what is there
    drag(page, (0.3, 0.3), (0.7, 0.7))
    page.keyboard.up("Shift")
    assert len(boxes(page)) == 2
    chosen = "#layout-boxes .box.chosen"
    page.mouse.click(*point(page, (0.5, 0.5)))
    page.mouse.click(*point(page, (0.5, 0.5)))
    first = page.get_attribute(chosen, "data-box")
    page.mouse.click(*point(page, (0.5, 0.5)))
    assert {first, page.get_attribute(chosen, "data-box")} == {"0", "1"}


def test_the_canvas_follows_the_size_and_boxes_are_never_less_than_a_token(visit: Open) -> None:
    page = visit(tab="Layout")
    page.fill("#layout-width input[type=number]", "192")
    page.fill("#layout-height input[type=number]", "96")
    page.keyboard.press("Tab")

    def shape() -> float:
        edge = page.locator("#layout-boxes .board").bounding_box()
        return float(edge["width"] / edge["height"])

    until(lambda: abs(shape() - 2) < 0.02)
    drag(page, (0.5, 0.5), (0.52, 0.52))
    x0, y0, x1, y1 = places(page)[0]
    assert x1 - x0 == pytest.approx(16 / 192, abs=1e-3) and y1 - y0 == pytest.approx(16 / 96, abs=1e-3)
    page.keyboard.press("Escape")
    drag(page, (x1, y1), (0.1, 0.1))  # a corner does not go past the other one
    x0, y0, x1, y1 = places(page)[0]
    assert x1 - x0 == pytest.approx(16 / 192, abs=1e-3) and y1 - y0 == pytest.approx(16 / 96, abs=1e-3)
    page.reload()
    page.wait_for_selector("#text-render")
    turn_to(page, "Layout")
    until(lambda: abs(shape() - 2) < 0.02)


def test_the_list_says_leaves_out_places_and_orders(visit: Open) -> None:
    page = visit(tab="Layout")
    draw_three(page)
    row = page.locator("#layout-boxes [data-row='2']")
    row.locator("[data-field=prompt]").click()
    row.locator("summary").click()
    row.locator("[data-field=negative]").fill("grey")
    row.get_by_label("Left in per cent").fill("10")
    row.get_by_label("Left in per cent").press("Tab")
    assert boxes(page)[2]["negative"] == "grey" and places(page)[2][0] == 0.1
    row.get_by_label("Send back").click()
    assert prompts(page) == ["a red circle", "a green heart", "a blue square"]
    assert page.evaluate("document.activeElement.dataset.act") == "back"
    page.keyboard.press("Enter")
    assert prompts(page)[0] == "a green heart"
    page.locator("#layout-boxes [data-row='0']").get_by_label("Remove").click()
    assert prompts(page) == ["a red circle", "a blue square"]
    page.get_by_role("button", name="Undo").click()
    page.get_by_role("button", name="Clear").click()
    assert boxes(page) == []
    page.get_by_role("button", name="Undo").click()
    assert len(boxes(page)) == 3


def test_fifty_boxes_and_no_more(visit: Open) -> None:
    page = visit(tab="Layout")
    page.evaluate(
        "() => { for (let i = 0; i < 60; i++) document.querySelector('#layout-boxes [data-tool=add]').click(); }"
    )
    assert len(boxes(page)) == 50 and page.is_disabled("#layout-boxes [data-tool=add]")
    page.keyboard.press("Escape")
    drag(page, (0.02, 0.02), (0.15, 0.15))
    assert len(boxes(page)) == 50
    page.wait_for_selector("#layout-boxes [role=status] >> text=There are 50 already")


def test_a_finger_draws_moves_and_resizes(visit: Open) -> None:
    page = visit(390, 844, tab="Layout", touch=True)
    fingers = page.context.new_cdp_session(page)

    def swipe(start: tuple[float, float], end: tuple[float, float]) -> None:
        (x0, y0), (x1, y1) = point(page, start), point(page, end)
        for kind, share in (("touchStart", 0.0), ("touchMove", 0.4), ("touchMove", 1.0), ("touchEnd", None)):
            at = [] if share is None else [{"x": x0 + share * (x1 - x0), "y": y0 + share * (y1 - y0)}]
            fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": at})

    top = page.evaluate("scrollY")
    swipe((0.2, 0.2), (0.6, 0.5))
    until(lambda: len(boxes(page)) == 1)
    assert near(places(page)[0], [0.2, 0.2, 0.6, 0.5])
    assert page.evaluate("document.activeElement.tagName") != "INPUT"  # no keyboard comes up
    swipe((0.4, 0.35), (0.5, 0.55))
    until(lambda: near(places(page)[0], [0.3, 0.4, 0.7, 0.7]))
    swipe((0.72, 0.72), (0.92, 0.92))  # a finger need not hit the corner
    until(lambda: near(places(page)[0], [0.3, 0.4, 0.9, 0.9]))
    assert page.evaluate("document.documentElement.scrollWidth") <= 390 and top >= 0
    page.fill("#layout-boxes [data-field=prompt]", "a red circle")
    keep(page, "phone-layout-drawn")


def test_boxes_are_proposed_and_what_was_drawn_can_be_taken_back(visit: Open) -> None:
    page = visit(tab="Layout")
    page.fill("#layout-prompt textarea", "a red circle left of a blue star on a white background")
    drag(page, (0.1, 0.1), (0.4, 0.4))
    page.click("#layout-propose")
    until(lambda: prompts(page) == ["a red circle", "a blue star"])
    (left, right) = places(page)
    assert left[2] <= right[0] + 0.05
    keep(page, "layout-proposed")
    page.get_by_role("button", name="Undo").click()
    assert len(boxes(page)) == 1 and prompts(page) == [""]
    page.fill("#layout-prompt textarea", " ")
    page.click("#layout-propose")
    page.wait_for_selector("#layout-proposed .bad")


def test_the_last_picture_lies_under_the_boxes_if_wanted(studio: Served, visit: Open) -> None:
    page = visit(tab="Layout")
    page.fill("#layout-prompt textarea", "a thing")
    drag(page, (0.1, 0.1), (0.45, 0.5))
    page.keyboard.type("a red circle")
    before = len(studio.queue.rows())
    page.click("#layout-render")
    until(lambda: len(studio.queue.rows()) > before)
    id = studio.queue.rows(1)[0].id
    page.wait_for_selector(f"#layout-easel .stage.done[data-id='{id}'] img")
    assert page.get_attribute("#layout-boxes [data-part=under]", "src") is None
    page.get_by_label("The last picture lies under them").check()
    assert page.get_attribute("#layout-boxes [data-part=under]", "src") == f"outputs/{id}/0"
    keep(page, "layout-under")


def test_words_of_a_person_are_never_markup(visit: Open) -> None:
    page = visit(tab="Layout")
    drag(page, (0.1, 0.1), (0.6, 0.6))
    evil = '"><img src=x onerror=alert(1)>'
    page.keyboard.type(evil)
    page.reload()
    page.wait_for_selector("#text-render")
    turn_to(page, "Layout")
    page.wait_for_selector("#layout-boxes .box")
    assert prompts(page) == [evil] and page.inner_text("#layout-boxes .box span") == evil
    assert page.locator("#layout-boxes img[onerror]").count() == 0
