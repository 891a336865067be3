"""The Queue tab without a browser: each press changes the rows as it says, and foreign ids change nothing."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.job import parse
from pipelines.queue.queue import INTERRUPTED, MOST_PRIORITY, Queue, Row
from tests.paced import state, text
from tests.staged import StagedEngine
from ui.page import build, places
from ui.queue import FOR_ALL, FOR_ONE, press
from ui.queuelist import OVER_SHOWN, SHOWN, drawn
from ui.shown import Shown
from ui.status import LINES, stage, waiting

EVIL = '"><img src=x onerror=alert(1)><script>alert(2)</script>'


@pytest.fixture
def queue(tmp_path: Path) -> Queue:
    return Queue(tmp_path)


def rows_of(queue: Queue, count: int = 4) -> list[str]:
    return [queue.add(text(f"a star {seed}", seed=seed)) for seed in range(count)]


def order(queue: Queue, ids: list[str]) -> str:
    """The line as places in `ids`."""
    return "".join(str(ids.index(row.id)) for row in queue.line())


def row(queue: Queue, id: str) -> Row:
    found = queue.get(id)
    assert found is not None
    return found


def running(queue: Queue, step: int = 0, steps: int = 8) -> str:
    claimed = queue.claim()
    assert claimed is not None
    queue.progress(claimed.id, step, steps)
    return claimed.id


def part(html: str, key: str) -> str:
    """What stands in one section of the list."""
    found = re.search(f'<section class="{key}".*?</section>', html)
    return found[0] if found else ""


def item(html: str, id: str) -> str:
    found = re.search(f'<li class="row [a-z]+" data-key="{id}".*?</li>', html)
    assert found is not None
    return found[0]


def off(html: str, act: str) -> bool:
    found = re.search(f'<button[^>]*data-act="{act}"[^>]*>', html)
    assert found is not None, act
    return 'aria-disabled="true"' in found[0]


# ------------------------------------------------------------ presses


def test_rows_are_moved_by_one_and_to_the_front(queue: Queue) -> None:
    ids = rows_of(queue)
    assert press(queue, "up", ids[2]) == "Job 3 is now in place 2 of 4." and order(queue, ids) == "0213"
    assert press(queue, "down", ids[0]) == "Job 1 is now in place 2 of 4." and order(queue, ids) == "2013"
    assert press(queue, "front", ids[3]) == "Job 4 is now in place 1 of 4." and order(queue, ids) == "3201"
    press(queue, "down", ids[0])
    assert order(queue, ids) == "3210"
    before = queue.changed()
    assert press(queue, "down", ids[0]) == "Job 1 is now in place 4 of 4."
    assert press(queue, "up", ids[3]) == press(queue, "front", ids[3]) == "Job 4 is now in place 1 of 4."
    assert order(queue, ids) == "3210" and queue.changed() <= before + 2


def test_a_row_is_put_where_it_was_let_go(queue: Queue) -> None:
    ids = rows_of(queue)
    assert press(queue, "place", ids[3], ids[1]) == "Job 4 is now in place 2 of 4." and order(queue, ids) == "0312"
    assert press(queue, "place", ids[0]) == "Job 1 is now in place 4 of 4." and order(queue, ids) == "3120"
    press(queue, "place", ids[0])
    assert order(queue, ids) == "3120"
    assert "nothing was changed" in press(queue, "place", ids[0], "nobody") and order(queue, ids) == "3120"


def test_moves_leave_out_what_runs_and_what_is_offered(queue: Queue) -> None:
    ids = rows_of(queue)
    first = running(queue)
    queue.recover()  # the first is offered, above the line
    running(queue)
    assert [state(queue, id) for id in ids] == ["paused", "running", "queued", "queued"] and first == ids[0]
    assert press(queue, "up", ids[3]) == "Job 4 is now in place 1 of 2."
    assert [each.id for each in queue.line()].index(ids[3]) < [each.id for each in queue.line()].index(ids[2])
    for id in ids[:2]:
        assert "nothing was changed" in press(queue, "down", id)


@given(st.lists(st.tuples(st.sampled_from(["up", "down", "front", "less", "more"]), st.integers(0, 3))))
def test_moves_and_priorities_lose_nobody(
    tmp_path_factory: pytest.TempPathFactory, presses: list[tuple[str, int]]
) -> None:
    queue = Queue(tmp_path_factory.mktemp("queue"))
    ids = rows_of(queue)
    for act, index in presses:
        was = order(queue, ids).index(str(index))
        press(queue, act, ids[index])
        now = order(queue, ids).index(str(index))
        assert sorted(order(queue, ids)) == sorted("0123")
        wanted = {"up": max(0, was - 1), "down": min(3, was + 1), "front": 0}
        assert now == wanted.get(act, now)


def test_priorities_go_up_and_down_and_no_further_than_they_can(queue: Queue) -> None:
    ids = rows_of(queue)
    assert press(queue, "more", ids[2]) == "Job 3 has priority 1." and order(queue, ids) == "2013"
    press(queue, "less", ids[2])
    assert press(queue, "less", ids[2]) == "Job 3 has priority -1." and order(queue, ids) == "0132"
    queue.set_priority(ids[0], MOST_PRIORITY)
    assert f"stays at priority {MOST_PRIORITY}" in press(queue, "more", ids[0])
    assert off(item(drawn(queue), ids[0]), "more") and not off(item(drawn(queue), ids[0]), "less")


def test_a_row_is_paused_resumed_cancelled_tried_again_copied_and_forgotten(queue: Queue) -> None:
    ids = rows_of(queue)
    assert press(queue, "pause", ids[1]) == "Job 2 is paused." and state(queue, ids[1]) == "paused"
    assert press(queue, "pause", ids[1]) == "Job 2 is paused by now, so nothing was changed."
    assert press(queue, "resume", ids[1]) == "Job 2 waits again." and state(queue, ids[1]) == "queued"
    assert press(queue, "cancel", ids[2]) == "Job 3 was cancelled." and state(queue, ids[2]) == "cancelled"
    assert press(queue, "cancel", ids[2]) == "Job 3 is cancelled by now, so nothing was changed."
    assert press(queue, "retry", ids[2]) == "It is tried again as job 5."
    assert "nothing was changed" in press(queue, "retry", ids[0])
    assert press(queue, "copy", ids[0]) == "Its copy waits at the end as job 6."
    again, copy = queue.rows(2)[::-1]
    assert (again.parent, copy.parent) == (ids[2], ids[0]) and again.job == row(queue, ids[2]).job
    assert "nothing was changed" in press(queue, "forget", ids[0])
    assert press(queue, "forget", ids[2]) == "Job 3 is forgotten." and queue.get(ids[2]) is None


def test_what_is_done_is_not_forgotten_here(queue: Queue) -> None:
    id, failed = rows_of(queue, 2)
    queue.done(running(queue), ["a.png", "a.json"])
    queue.fail(running(queue), "no")
    assert "nothing was changed" in press(queue, "forget", id)
    assert press(queue, "forget-all") == "One job is forgotten."
    assert queue.get(id) is not None and queue.get(failed) is None


def test_what_runs_stops_or_pauses_after_its_step(queue: Queue) -> None:
    rows_of(queue, 2)
    id = running(queue)
    assert press(queue, "pause", id) == "Job 1 pauses after this step." and row(queue, id).held
    assert "Pausing after this step." in drawn(queue)
    assert press(queue, "resume", id) == "Job 1 goes on." and not row(queue, id).held
    assert press(queue, "cancel", id) == "Job 1 stops after this step." and row(queue, id).stopping
    shown = item(drawn(queue), id)
    assert "Stopping after this step." in shown and off(shown, "cancel") and off(shown, "pause")


def test_all_are_paused_go_on_and_are_cancelled_but_for_what_runs_and_what_is_paused(queue: Queue) -> None:
    ids = rows_of(queue)
    running(queue)
    queue.pause(ids[1])
    press(queue, "hold")
    assert queue.settings().paused and 'data-act="go-on"' in drawn(queue)
    press(queue, "go-on")
    assert not queue.settings().paused and 'data-act="hold"' in drawn(queue)
    assert "2 jobs wait. Cancel them all?" in drawn(queue)
    assert press(queue, "cancel-all") == "2 jobs were cancelled."
    assert [state(queue, id) for id in ids] == ["running", "paused", "cancelled", "cancelled"]
    assert press(queue, "cancel-all") == "Nothing waited."
    assert off(drawn(queue), "ask") and "cancel-all" not in drawn(queue)


def test_interrupted_jobs_are_rendered_again_unasked_only_where_that_was_wished(queue: Queue) -> None:
    press(queue, "again")
    assert queue.settings().resume_interrupted and re.search(r'data-act="again" checked', drawn(queue))
    press(queue, "offer")
    assert not queue.settings().resume_interrupted and not re.search(r'data-act="again" checked', drawn(queue))


@pytest.mark.parametrize("id", ["", "nobody", "../../etc/passwd", "' OR 1=1 --", "\x00", "0" * 10_000])
def test_foreign_ids_and_unknown_buttons_change_nothing(queue: Queue, id: str) -> None:
    ids = rows_of(queue)
    before, mark = [row(queue, each) for each in ids], queue.changed()
    for act in FOR_ONE:
        assert press(queue, act, id, ids[0]) == "That job is not in the queue any more."
    for act in ("", "drop table", id):
        assert press(queue, act, id) == "That job is not in the queue any more."
        assert "nothing was changed" in press(queue, act, ids[0])
    assert [row(queue, each) for each in ids] == before and queue.changed() == mark


@given(
    st.lists(st.tuples(st.sampled_from([*FOR_ONE, *FOR_ALL]), st.integers(0, 4), st.integers(0, 4)), max_size=12),
    st.integers(0, 3),
)
def test_every_press_is_answered_by_a_sentence_and_the_list_can_be_drawn(
    tmp_path_factory: pytest.TempPathFactory, presses: list[tuple[str, int, int]], claimed: int
) -> None:
    queue = Queue(tmp_path_factory.mktemp("queue"))
    ids = [*rows_of(queue), "nobody"]
    for _ in range(claimed):
        queue.claim()
    queue.recover()
    queue.claim()
    for act, index, before in presses:
        assert press(queue, act, ids[index], ids[before]).endswith(".")
    html = drawn(queue)
    # Each row that is not over stands there once.
    assert sorted(re.findall(r'<li class="row (?:queued|paused|running)" data-key="(\w+)"', html)) == sorted(
        each.id for each in queue.line()
    )


# ------------------------------------------------------------ what is drawn


def test_a_row_tells_its_task_words_state_progress_and_where_it_comes_from(queue: Queue) -> None:
    ids = rows_of(queue, 3)
    queue.add(parse({"task": "scenes", "scenes": [{"prompt": "a heart", "frames": 4}], "size": [64, 64]}))
    running(queue, 4, 8)
    press(queue, "cancel", ids[1])
    press(queue, "retry", ids[1])
    press(queue, "copy", ids[2])
    html = drawn(queue)
    first = item(html, ids[0])
    assert "Picture" in first and "a star 0" in first and "Step 4 of 8" in first and 'aria-valuenow="50"' in first
    assert "data-grip" not in first and 'data-act="take"' not in first  # neither moved nor edited while it runs
    assert "one goes before it" in item(html, ids[2]) and "Scenes" in html
    assert "job 2 once more" in html and "a copy of job 3" in html
    assert "cancelled" in part(html, "lately")
    queue.delete([ids[1]])
    assert "made from an earlier job" in drawn(queue)


def test_an_interrupted_job_is_offered_on_top_and_no_more_once_it_was_taken_up(queue: Queue) -> None:
    ids = rows_of(queue, 2)
    running(queue, 3, 8)
    queue.recover()
    html = drawn(queue)
    offered = part(html, "offered")
    assert ids[0] in offered and ids[0] not in part(html, "line") and html.index("offered") < html.index('"line"')
    assert "Interrupted while rendering" in offered and "Render again" in offered and "Remove" in offered
    assert "got to step 3 of 8" in offered
    press(queue, "resume", ids[0])
    assert not part(drawn(queue), "offered") and state(queue, ids[0]) == "queued"


def test_a_queue_that_paused_itself_says_why(queue: Queue) -> None:
    rows_of(queue, 1)
    queue.put_back(running(queue), "the disk is full (<b>): nothing is lost")
    html = drawn(queue)
    assert "The queue paused itself: the disk is full (&lt;b&gt;): nothing is lost." in html
    assert re.search(r'data-act="go-on" class="main">Go on<', html)
    press(queue, "go-on")
    assert "paused itself" not in drawn(queue)


def test_the_first_and_the_last_row_can_be_moved_only_one_way(queue: Queue) -> None:
    ids = rows_of(queue, 3)
    html = drawn(queue)
    assert [off(item(html, id), "up") for id in ids] == [True, False, False]
    assert [off(item(html, id), "front") for id in ids] == [True, False, False]
    assert [off(item(html, id), "down") for id in ids] == [False, False, True]


def test_words_of_a_user_are_never_markup_and_never_endless(queue: Queue) -> None:
    ids = [queue.add(text(EVIL)) for _ in range(4)]
    press(queue, "pause", ids[1])
    queue.fail(running(queue), EVIL)
    running(queue)
    queue.recover()
    html = drawn(queue, EVIL)
    for shown in (html, waiting(queue.line()), stage(row(queue, ids[1]), 0, queue.path.parent, "")):
        assert "<img" not in shown and "<script" not in shown
    assert EVIL in unescape(html)
    queue.add(text("a " * 900))
    assert len(item(drawn(queue), queue.rows(1)[0].id)) < 6_000


def test_a_long_line_is_cut_and_says_so(queue: Queue) -> None:
    ids = rows_of(queue, SHOWN + 2)
    html = drawn(queue)
    assert html.count('<li class="row') == SHOWN and "2 more jobs stand after these." in html
    assert f'data-more="{ids[SHOWN]}"' in html and not off(item(html, ids[SHOWN - 1]), "down")
    press(queue, "cancel-all")
    assert drawn(queue).count('<li class="row') == OVER_SHOWN


def test_every_button_of_a_row_has_a_name_of_its_own(queue: Queue) -> None:
    rows_of(queue, 2)
    running(queue)
    queue.recover()
    rows_of(queue, 2)
    running(queue)
    press(queue, "cancel", rows_of(queue, 1)[0])
    html = drawn(queue)
    buttons = re.findall(r"<(?:button|summary)([^>]*)>(.*?)</(?:button|summary)>", html)
    names = [found[1] for found in (re.search('aria-label="([^"]*)"', each) for each, _ in buttons) if found]
    assert len(names) == len(set(names)) > 12
    assert all("aria-label" in attributes or (words and "<" not in words) for attributes, words in buttons)
    ids = re.findall(r'\bid="([^"]*)"', html)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'aria-(?:labelledby|describedby)="([^"]*)"', html)) <= set(ids)


# ------------------------------------------------------------ the page's listeners


class Page:
    """The page over a queue; its listeners are called as they are."""

    def __init__(self, folder: Path) -> None:
        self.queue = Queue(folder)
        self.page = build(self.queue, folder, StagedEngine().check)

    def listener(self, name: str, module: str = "ui.queue") -> Any:
        """The first one of a name that a module has."""
        return next(each for each in self._all(name, module))

    def call(self, name: str, event: SimpleNamespace) -> dict[str, Any]:
        """What it answers, by the id of the part in the page, or its number where it has none."""
        listener = self.listener(name)
        answer = listener.fn(event)
        assert len(answer) == len(listener.outputs)
        named = enumerate(zip(listener.outputs, answer, strict=True))
        return {part.elem_id or str(number): value for number, (part, value) in named}

    def shown(self) -> Shown:
        """The list as an open page is told of it."""
        return places(self.page.studio)["queue"].draw()

    def easel(self, follows: str) -> str:
        """The easel of the Text tab on a page that follows a row."""
        return str(places(self.page.studio)["text"].draw(follows=follows).html)

    def taken(self, id: str) -> dict[str, Any]:
        """What the page shows once a job was taken up to be edited."""
        return self.call("take", SimpleNamespace(job=id))

    def values(self, tab: str, answer: dict[str, Any]) -> list[Any]:
        """What the page sends of a tab to be saved, once it shows an answer of `take`."""
        shown = dict(zip(self.listener("take").outputs, answer.values(), strict=True))
        return [shown[part] for part in self._saving(tab).inputs]

    def save(self, tab: str, values: list[Any]) -> tuple[Any, ...]:
        return tuple(self._saving(tab).fn(*values))

    def _saving(self, tab: str) -> Any:
        saving = self._all("save", "ui.desk")
        return next(each for each in saving if f"{tab}-prompt" in [part.elem_id for part in each.inputs])

    def _all(self, name: str, module: str) -> list[Any]:
        listeners = [each for each in self.page.fns.values() if each.fn]
        return [each for each in listeners if (each.fn.__name__, each.fn.__module__) == (name, module)]


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    yield Page(tmp_path / "out")


def test_the_list_is_another_one_only_when_something_changed(page: Page) -> None:
    first = page.shown()
    assert "Nothing waits." in first.html and page.shown().mark == first.mark
    id = page.queue.add(text())
    later = page.shown()
    assert id in later.html and later.mark != first.mark
    html, *_ = page.call("act", SimpleNamespace(act="pause", job=id)).values()
    assert 'data-state="paused"' in html and f'data-mark="{page.shown().mark}"' in html
    again, *_ = page.call("act", SimpleNamespace(act="pause", job=id)).values()
    assert again != html, "a row that was dragged in vain goes back"


def test_a_press_that_can_not_be_written_is_answered_by_a_sentence(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    id = page.queue.add(text())

    def full(self: Queue, id: str) -> bool:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(Queue, "pause", full)
    *_, said = page.call("act", SimpleNamespace(act="pause", job=id)).values()
    assert "The queue can not be written (database or disk is full), so nothing was changed." in said


def test_events_without_their_words_change_nothing(page: Page) -> None:
    page.queue.add(text())
    mark = page.queue.changed()
    for event in (SimpleNamespace(), SimpleNamespace(act=None, job=["x"]), SimpleNamespace(act={}, job={}, before=1)):
        page.call("act", event)
        page.call("take", event)
    assert page.queue.changed() == mark


@pytest.mark.parametrize(
    ("tab", "job"),
    [
        ("text", {"task": "text", "prompt": "a star", "seed": 5, "name": "mine"}),
        ("video", {"task": "text", "prompt": "a star", "frames": 9, "fps": 4, "name": "mine"}),
        ("layout", {"task": "layout", "prompt": "two", "boxes": [{"box": [0, 0, 1, 1], "prompt": "a star"}]}),
    ],
)
def test_a_waiting_job_is_edited_in_its_tab_and_keeps_its_place(page: Page, tab: str, job: dict[str, Any]) -> None:
    first, id, last = page.queue.add(text("first")), page.queue.add(parse(job)), page.queue.add(text("last"))
    was, answer = row(page.queue, id).job, page.taken(id)
    assert answer[f"{tab}-editing"].visible is True and answer[f"{tab}-prompt"] == job["prompt"]
    others = {"text", "video", "masked", "scenes", "layout", "layered"} - {tab}
    assert all(answer[f"{other}-editing"] == gr.skip() for other in others)
    values = page.values(tab, answer)
    assert values[0] == id
    values[values.index(job["prompt"])] = "a heart"
    problem, followed, easel, *_, edited, bar = page.save(tab, values)
    assert (problem, followed, edited, bar.visible) == ("", id, "", False) and f'data-id="{id}"' in easel
    assert row(page.queue, id).job == {**was, "prompt": "a heart"}
    assert [each.id for each in page.queue.line()] == [first, id, last]


def test_what_is_wrong_with_an_edit_is_said_and_the_bar_stays(page: Page) -> None:
    id = page.queue.add(text("a star"))
    values = page.values("text", page.taken(id))
    values[values.index("a star")] = " "
    problem, followed, *_, edited, bar = page.save("text", values)
    assert "expected words" in problem and followed == gr.skip() and (edited, bar.visible) == (id, True)
    assert row(page.queue, id).job["prompt"] == "a star"


def test_a_job_that_started_meanwhile_stays_as_it_is_and_the_fields_keep_the_edit(page: Page) -> None:
    id = page.queue.add(text("a star", size=[64, 64]))
    values = page.values("text", page.taken(id))
    values[values.index("a star")] = "a heart"
    running(page.queue)
    problem, followed, *_, edited, bar = page.save("text", values)
    assert "is not waiting any more" in problem and followed == gr.skip() and (edited, bar.visible) == ("", False)
    assert row(page.queue, id).job["prompt"] == "a star" and len(page.queue.rows()) == 1
    assert "is rendering by now" in page.taken(id)["queue-said"]
    problem, *_ = page.save("text", ["nobody", *values[1:]])
    assert "is not waiting any more" in problem and len(page.queue.rows()) == 1


# ------------------------------------------------------------ the other tabs


def test_a_tab_shows_paused_and_interrupted_jobs_and_can_take_them_up(page: Page) -> None:
    ids = rows_of(page.queue, 3)
    running(page.queue)
    page.queue.recover()
    press(page.queue, "pause", ids[1])
    look = page.easel
    easel, _, line = look(ids[1]).partition('<section class="line"')
    assert (
        f'data-id="{ids[1]}"' in easel
        and "Paused." in easel
        and f'data-job="{ids[1]}" data-act="resume" class="main">Resume<' in easel
    )
    assert ">interrupted<" in line and ">waiting<" in line
    easel = look(ids[0])
    assert "Interrupted while rendering." in easel and ">Render again<" in easel and INTERRUPTED not in easel
    pick = page.listener("pick", "ui.desk").fn
    pick(ids[1], SimpleNamespace(job=ids[1], act="resume"))
    assert state(page.queue, ids[1]) == "queued"
    assert "It is next." in look(ids[1]) and "One render goes before it." in look(ids[2])
    press(page.queue, "hold")
    assert "The queue is paused" in look(ids[1])
    pick(ids[1], SimpleNamespace(job=ids[1], act="go on"))
    assert not page.queue.settings().paused
    pick(ids[1], SimpleNamespace(job=ids[1], act="cancel"))
    followed, easel = pick(ids[1], SimpleNamespace(job=ids[1], act="retry"))
    assert row(page.queue, followed).parent == ids[1] and f'data-id="{followed}"' in easel


def test_what_is_cancelled_at_the_easel_stays_there_and_what_is_cancelled_in_the_line_changes_nothing(
    page: Page,
) -> None:
    ids = rows_of(page.queue, 3)
    pick = page.listener("pick", "ui.desk").fn
    assert f'data-job="{ids[0]}" data-act="stop"' in page.easel("")
    followed, easel = pick("", SimpleNamespace(job=ids[0], act="stop"))
    assert followed == ids[0] and state(page.queue, ids[0]) == "cancelled" and f'data-id="{ids[0]}"' in easel
    assert 'data-act="stop"' not in easel and f"follows={ids[0]}" in easel
    followed, easel = pick(ids[1], SimpleNamespace(job=ids[2], act="cancel"))
    assert followed == ids[1] and f'data-id="{ids[1]}"' in easel and state(page.queue, ids[2]) == "cancelled"
    claimed = running(page.queue)
    page.queue.cancel(claimed)
    assert 'data-act="stop"' not in page.easel(claimed), "it was asked already"


def test_a_tab_names_some_of_many_jobs(queue: Queue) -> None:
    rows_of(queue, LINES + 5)
    shown = waiting(queue.line())
    assert shown.count("<li") == LINES + 1 and "and 5 more in the queue" in shown
