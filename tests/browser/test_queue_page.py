"""The Queue tab as a person uses it: by keyboard, by mouse, on a phone, and over a restart of the server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.browser.conftest import Open, keep, turn_to
from tests.paced import text, until
from tests.staged import Served, served

pytestmark = pytest.mark.slow

SHOWN = "#queue .row"


@pytest.fixture
def paused(studio: Served) -> Iterator[Served]:
    """A studio whose queue is empty and stands still."""
    studio.queue.pause_all()
    studio.queue.cancel_waiting()
    for row in studio.queue.line():
        studio.queue.cancel(row.id)
    until(lambda: not studio.queue.line())
    studio.queue.delete([row.id for row in studio.queue.rows(1000)])
    yield studio
    studio.queue.cancel_waiting()
    studio.queue.resume_all()


def fill(studio: Served, count: int = 10) -> list[str]:
    return [studio.queue.add(text(f"a star {number}", seed=number, size=[64, 64])) for number in range(count)]


def order(studio: Served, ids: list[str]) -> list[int]:
    """The rows that are not over, in their order, as places in `ids`."""
    return [ids.index(row.id) for row in studio.queue.line()]


def shown(page: Any, ids: list[str], key: str = "line") -> list[int]:
    """The same, as the page shows it."""
    return [ids.index(id) for id in page.eval_on_selector_all(
        f"#queue [data-list={key}] [data-job]", "rows => rows.map(row => row.dataset.job)"
    )]  # fmt: skip


def focused(page: Any) -> list[str]:
    """The row and the button that have the focus."""
    found = page.evaluate(
        "() => { const at = document.activeElement, row = at.closest('[data-job]');"
        " return [row?.dataset.job ?? '', at.dataset.act ?? '']; }"
    )
    return list(found)


def button(page: Any, id: str, act: str) -> Any:
    return page.locator(f"#queue [data-job='{id}'] button[data-act='{act}']")


def see(page: Any, studio: Served, ids: list[str], wanted: list[int]) -> None:
    """Wait until the queue has this order, and the page shows it."""
    until(lambda: order(studio, ids) == wanted and shown(page, ids) == wanted)


def test_ten_jobs_are_ordered_paused_edited_and_cancelled_and_outlive_the_server(
    paused: Served, visit: Open, chromium: Any
) -> None:
    studio, ids = paused, fill(paused)
    page = visit()
    turn_to(page, "Queue")
    see(page, studio, ids, list(range(10)))
    # Moved by keyboard, as fast as somebody types; the focus goes along with the row.
    page.focus(f"#queue [data-job='{ids[4]}']")
    for _ in range(2):
        page.keyboard.press("Alt+ArrowUp")
    see(page, studio, ids, [0, 1, 4, 2, 3, 5, 6, 7, 8, 9])
    assert focused(page) == [ids[4], ""]
    page.keyboard.press("Alt+Shift+ArrowUp")
    see(page, studio, ids, [4, 0, 1, 2, 3, 5, 6, 7, 8, 9])
    page.keyboard.press("Alt+ArrowDown")
    see(page, studio, ids, [0, 4, 1, 2, 3, 5, 6, 7, 8, 9])
    assert focused(page) == [ids[4], ""]
    page.wait_for_selector("#queue-said >> text=Job 5 is now in place 2 of 10.")
    # By its button, which keeps the focus where it is pressed again and again, also at the end.
    button(page, ids[9], "up").focus()
    page.keyboard.press("Enter")
    see(page, studio, ids, [0, 4, 1, 2, 3, 5, 6, 7, 9, 8])
    assert focused(page) == [ids[9], "up"]
    # The third is cancelled: the next one takes its place, and the focus.
    button(page, ids[1], "cancel").focus()
    page.keyboard.press("Enter")
    see(page, studio, ids, [0, 4, 2, 3, 5, 6, 7, 9, 8])
    until(lambda: focused(page) == [ids[2], "cancel"])
    assert shown(page, ids, "lately") == [1]
    # One is paused; the same button, with the focus, resumes it.
    button(page, ids[3], "pause").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector(f"#queue [data-job='{ids[3]}'][data-state=paused]")
    assert focused(page) == [ids[3], "resume"]
    # What changes elsewhere is drawn too, and told to who listens, and the focus stays.
    studio.queue.pause(ids[5])
    page.wait_for_selector(f"#queue [data-job='{ids[5]}'][data-state=paused]")
    until(lambda: page.inner_text("#queue [data-part=said]") == "Job 6 is paused.")
    assert focused(page) == [ids[3], "resume"]
    keep(page, "queue")
    # One is edited in its tab, and keeps its place.
    button(page, ids[6], "take").click()
    page.wait_for_selector("#text-editing:visible >> text=You edit a waiting job.")
    until(lambda: page.input_value("#text-prompt textarea") == "a star 6")
    keep(page, "queue-edit")
    page.fill("#text-prompt textarea", "a large heart")
    page.click("#text-save")
    page.wait_for_selector("#text-editing", state="hidden")
    page.wait_for_selector(f"#text-easel [data-id='{ids[6]}'] >> text=a large heart")
    page.wait_for_selector("#text-easel >> text=The queue is paused")
    turn_to(page, "Queue")
    page.wait_for_selector(f"#queue [data-job='{ids[6]}'] >> text=a large heart")
    wanted = [0, 4, 2, 3, 5, 6, 7, 9, 8]
    see(page, studio, ids, wanted)
    # Another server over the same folder.
    with served(studio.folder) as later:
        other = chromium.new_context().new_page()
        other.goto(later.url)
        turn_to(other, "Queue")
        until(lambda: shown(other, ids) == wanted)
        other.wait_for_selector("#queue >> text=The queue is paused")
        assert button(other, ids[3], "resume").is_visible()
        other.context.close()


def test_a_row_is_dragged_and_is_not_disturbed_meanwhile(paused: Served, visit: Open) -> None:
    studio, ids = paused, fill(paused, 4)
    page = visit()
    turn_to(page, "Queue")
    see(page, studio, ids, [0, 1, 2, 3])
    grip = page.locator(f"#queue [data-job='{ids[3]}'] [data-grip]").bounding_box()
    top = page.locator(f"#queue [data-job='{ids[1]}']").bounding_box()
    page.mouse.move(grip["x"] + 8, grip["y"] + 8)
    page.mouse.down()
    page.mouse.move(grip["x"] + 8, top["y"] + 4, steps=8)
    assert shown(page, ids) == [0, 3, 1, 2] and order(studio, ids) == [0, 1, 2, 3]
    studio.queue.pause(ids[0])
    page.wait_for_timeout(1500)  # two looks at the queue
    assert page.locator(f"#queue [data-job='{ids[0]}'][data-state=queued]").count() == 1
    page.mouse.up()
    see(page, studio, ids, [0, 3, 1, 2])
    page.wait_for_selector(f"#queue [data-job='{ids[0]}'][data-state=paused]")
    # A drag that is given up puts the row back.
    grip = page.locator(f"#queue [data-job='{ids[2]}'] [data-grip]").bounding_box()
    page.mouse.move(grip["x"] + 8, grip["y"] + 8)
    page.mouse.down()
    page.mouse.move(grip["x"] + 8, top["y"] - 60, steps=8)
    assert shown(page, ids) != [0, 3, 1, 2]
    page.keyboard.press("Escape")
    assert shown(page, ids) == [0, 3, 1, 2]
    page.mouse.up()
    page.wait_for_timeout(300)
    assert order(studio, ids) == [0, 3, 1, 2]


def test_all_are_cancelled_only_after_a_question(paused: Served, visit: Open) -> None:
    studio, ids = paused, fill(paused, 3)
    page = visit()
    turn_to(page, "Queue")
    see(page, studio, ids, [0, 1, 2])
    page.get_by_role("button", name="Cancel all waiting").click()
    page.wait_for_selector("#queue >> text=3 jobs wait. Cancel them all?")
    assert focused(page) == ["", "spare"]
    page.keyboard.press("Escape")
    assert focused(page) == ["", "ask"] and order(studio, ids) == [0, 1, 2]
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Cancel them").click()
    page.wait_for_selector("#queue-said >> text=3 jobs were cancelled.")
    until(lambda: order(studio, ids) == [])
    page.get_by_role("button", name="Go on").click()
    until(lambda: not studio.queue.settings().paused)
    page.get_by_label("Render interrupted jobs again without asking").check()
    until(lambda: studio.queue.settings().resume_interrupted)
    page.get_by_label("Render interrupted jobs again without asking").uncheck()
    until(lambda: not studio.queue.settings().resume_interrupted)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_queue_fits_a_phone(paused: Served, visit: Open, scheme: str) -> None:
    studio = paused
    ids = fill(studio, 4)
    studio.queue.resume_all()
    studio.engine.pace = 6.0  # so that one is at work all the while
    until(lambda: studio.queue.counts()["running"])
    studio.queue.add(text("an unbroken" + "ly" * 90 + " star", size=[64, 64]))
    studio.queue.pause(ids[2])
    page = visit(380, 800, scheme)
    turn_to(page, "Queue")
    page.wait_for_selector(f"{SHOWN}[data-state=running]")
    page.click(f"#queue [data-job='{ids[1]}'] summary")
    for act in ("front", "more", "less", "copy"):
        assert button(page, ids[1], act).is_visible()
    button(page, ids[1], "more").click()
    page.wait_for_selector("#queue-said >> text=has priority 1.")
    assert page.locator(f"#queue [data-job='{ids[1]}'] details[open]").count() == 1  # still open, to press it again
    assert page.evaluate("document.documentElement.scrollWidth") <= 380
    box = page.locator(f"#queue [data-job='{ids[1]}'] .menu > div").bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= 380
    keep(page, f"phone-queue-{scheme}")
    studio.engine.pace = 0.0
