"""Rendering an output again: asked by the page, answered by the worker."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.history.reproductions import MOST, Again, Reproductions, Verdict
from pipelines.queue.queue import Queue
from pipelines.queue.worker import answer
from tests.housed import House, house_of, said
from tests.paced import text, until, working
from tests.test_reproduce import Painter, rendered
from ui.chosen import verdict
from ui.page import build
from ui.studio import Studio
from ui.uploads import Uploads


@pytest.fixture
def house(tmp_path: Path) -> House:
    return house_of(tmp_path / "out")


def told_of(house: House, id: str) -> str:
    """What the page says of an output that was to be rendered again."""
    return str(house.call("wall", "pick", id=id)["verdict"])


def test_reproducing_is_asked_by_the_page_and_answered_by_the_worker(house: House) -> None:
    rendered(house.folder, Painter())
    id = house.id("one")
    assert "as soon as the renderer is free" in house.call("reproduce", "click", id)["verdict"]
    wishes = Reproductions(house.folder)
    assert answer(wishes, house.folder, Painter(), threading.Event())
    later = build(Queue(house.folder), house.folder, house.engine.check)  # another page
    told = House(house.folder, later, house.engine).call("wall", "pick", id=id)["verdict"]
    assert "Equal to the byte." in told and "good" in told
    house.call("reproduce", "click", id)
    assert answer(wishes, house.folder, Painter(shade=7), threading.Event())
    told = told_of(house, id)
    assert "its pixels differ by at most 7 of 255" in said(told) and "Why:" in said(told)
    assert not answer(wishes, house.folder, Painter(), threading.Event())


def test_a_worker_at_work_answers_between_its_rows_and_while_all_is_paused(house: House) -> None:
    queue = Queue(house.folder)
    rendered(house.folder, Painter())
    queue.pause_all()
    queue.add(text())
    wishes, id = Reproductions(house.folder), house.id("one")
    with working(queue, house.folder, Painter()):  # type: ignore[arg-type]
        house.call("reproduce", "click", id)
        until(lambda: (found := wishes.get(id)) and found.state == "over")
    assert wishes.get(id).verdict.equal and queue.counts()["queued"] == 1  # type: ignore[union-attr]


class Slow(Painter):
    """Calls back between its steps."""

    def __init__(self, between: Callable[[int], None]) -> None:
        super().__init__()
        self.between = between

    def render(self, jobs: Any, progress: Any, at_once: int | None = None) -> Any:
        for step in range(3):
            self.between(step)
            if not progress(step + 1, 3):
                raise RuntimeError("cancelled")
        return super().render(jobs, lambda step, steps: True)


def test_a_wish_is_taken_back_in_the_middle_and_nothing_is_left_of_it(house: House) -> None:
    rendered(house.folder, Painter())
    id, wishes, seen = house.id("one"), Reproductions(house.folder), []

    def between(step: int) -> None:
        seen.append(wishes.get(id).state)  # type: ignore[union-attr]
        if step == 1:
            assert "Rendering it again" in told_of(house, id)
            leave = next(each for each in house.page.fns.values() if each.fn and each.fn.__name__ == "leave")
            assert said(leave.fn(id)) == ""

    house.call("reproduce", "click", id)
    assert answer(wishes, house.folder, Slow(between), threading.Event())
    assert seen == ["running", "running"] and wishes.get(id) is None and not [*wishes.folder.iterdir()]


def test_a_worker_that_ends_in_the_middle_says_so_and_does_not_begin_again(house: House) -> None:
    rendered(house.folder, Painter())
    id, wishes, stop = house.id("one"), Reproductions(house.folder), threading.Event()
    house.call("reproduce", "click", id)
    assert answer(wishes, house.folder, Slow(lambda step: stop.set()), stop)
    assert "ask for it again" in told_of(house, id)
    # A kill leaves it as if at work; the next worker says so.
    house.call("reproduce", "click", id)
    assert wishes.next() == (id, "one.json")
    Reproductions(house.folder).recover()
    assert "ask for it again" in told_of(house, id) and wishes.next() is None


def test_what_can_not_be_rendered_again_is_a_sentence_without_paths(house: House) -> None:
    rendered(house.folder, Painter(), model="finer")
    id, wishes = house.id("one"), Reproductions(house.folder)

    house.call("reproduce", "click", id)
    assert answer(wishes, house.folder, Painter(), threading.Event())
    assert "It can not be rendered again: model: no checkpoint 'finer'" in said(told_of(house, id))
    (house.folder / "one.json").unlink()
    wishes.ask(id, "one.json")
    assert answer(wishes, house.folder, Painter(), threading.Event())
    page = Studio(Queue(house.folder), house.folder, house.engine.check, str, Uploads(house.folder), None)  # type: ignore[arg-type]
    told = said(verdict(page, id))
    assert "one.json: can not be read" in told and str(house.folder) not in told
    wishes.ask("0" * 16, "absent.json")
    assert answer(wishes, house.folder, Painter(), threading.Event())
    absent = wishes.get("0" * 16)
    assert absent is not None and absent.verdict is not None and "can not be read" in absent.verdict.sentence


def test_not_enough_memory_is_said_and_the_worker_goes_on(house: House) -> None:
    rendered(house.folder, Painter())
    id, wishes = house.id("one"), Reproductions(house.folder)

    class Small(Painter):
        def render(self, *_: Any, **__: Any) -> Any:
            raise MemoryError

    house.call("reproduce", "click", id)
    assert answer(wishes, house.folder, Small(), threading.Event())
    assert "not enough memory" in told_of(house, id)


def test_verdicts_are_kept_as_they_were_and_not_for_ever(tmp_path: Path) -> None:
    wishes = Reproductions(tmp_path)
    verdict = Verdict(True, (Again("one.png", False, "its bytes differ"),), ("torch was 1 and is 2",), ("x is gone",))
    wishes.ask("a" * 16, "one.json")
    wishes.over("a" * 16, verdict)
    found = wishes.get("a" * 16)
    assert found is not None and found.verdict == verdict and found.state == "over"
    for number in range(MOST + 1):
        (wishes.folder / f"{number:016x}.told").write_text("{}")
        os.utime(wishes.folder / f"{number:016x}.told", (number + 1, number + 1))
    wishes.over("a" * 16, verdict)
    assert len([*wishes.folder.iterdir()]) == MOST and wishes.get("a" * 16) is not None


def test_wishes_of_others_lead_nowhere(tmp_path: Path) -> None:
    wishes = Reproductions(tmp_path)
    for id in ("", "..", "../x", "A" * 16, "a" * 17):
        wishes.ask(id, "x.json")
        wishes.leave(id)
        assert wishes.get(id) is None
    assert not wishes.folder.exists()
    wishes.ask("a" * 16, "x.json")
    for record in ("../x.json", 3, None):
        (wishes.folder / f"{'a' * 16}.asked").write_text(json.dumps({"record": record}))
        assert wishes.next() is None and not [*wishes.folder.iterdir()]
