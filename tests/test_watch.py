"""An easel that is left open: it learns what changed, and a render pays next to nothing for who watches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from pipelines.queue.queue import Queue
from tests.paced import text
from ui import watch
from ui.watch import routes, seen

TABS = ("text", "video")


@pytest.fixture
def queue(tmp_path: Path) -> Queue:
    return Queue(tmp_path)


@pytest.fixture
def client(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> TestClient:
    monkeypatch.setattr(watch, "FRESH", 0.0)
    return TestClient(Starlette(routes=routes(queue, queue.path.parent, str, TABS)))


def mark(queue: Queue, follows: str = "", tab: str = "text") -> str:
    return seen(queue, str, follows, tab).mark


def asked(client: TestClient, known: str = "", follows: str = "", tab: str = "text") -> dict[str, Any] | None:
    answer = client.get(f"/watch/{tab}", params={"follows": follows, "mark": known})
    assert answer.status_code in (200, 204) and answer.headers["cache-control"] == "no-store"
    return answer.json() if answer.status_code == 200 else None


def test_nothing_is_told_while_nothing_changes(client: TestClient, queue: Queue) -> None:
    assert asked(client, mark(queue)) is None
    id = queue.add(text("a circle"))
    told = asked(client, "")
    assert told == {"mark": mark(queue)}
    assert asked(client, mark(queue)) is None
    assert asked(client, mark(queue, id), follows=id) is None


def test_a_step_changes_what_is_told_and_not_the_mark(client: TestClient, queue: Queue) -> None:
    row = queue.add(text("a circle"))
    assert queue.claim() is not None
    before = mark(queue)
    queue.progress(row, 2, 7)
    told = asked(client, before)
    assert told is not None and told["mark"] == before == mark(queue)
    assert "Step 2 of 7" in told["so_far"] and 'aria-valuenow="29"' in told["so_far"]


def test_whoever_shows_another_job_is_told_how_far_the_one_at_work_is(client: TestClient, queue: Queue) -> None:
    first, second = queue.add(text("a circle")), queue.add(text("a star"))
    assert queue.claim() is not None
    queue.progress(first, 3, 7)
    told = asked(client, mark(queue, second), follows=second)
    assert told == {"mark": mark(queue, second), "id": first, "at": "step 3 of 7"}


@pytest.mark.parametrize(
    "change", ["claim", "cancel", "pause", "pause_all", "finish", "another", "fail", "stop", "hold", "warn"]
)
def test_every_change_that_a_page_shows_changes_the_mark(queue: Queue, change: str) -> None:
    id = queue.add(text("a circle"))
    before = mark(queue, id)
    if change == "claim":
        queue.claim()
    elif change == "cancel":
        queue.cancel(id)
    elif change == "pause":
        queue.pause(id)
    elif change == "pause_all":
        queue.pause_all("the disk is full")
    elif change == "another":
        queue.add(text("a star"))
    else:
        queue.claim()
        before = mark(queue, id)
        {
            "finish": lambda: queue.done(id, ["a.png"]), "fail": lambda: queue.fail(id, "no memory"),
            "stop": lambda: queue.cancel(id), "hold": lambda: queue.pause(id),
            "warn": lambda: queue.warn(id, ["a word"]),
        }[change]()  # fmt: skip
    assert mark(queue, id) != before
    assert seen(queue, lambda: "the renderer is away", id, "text").mark != mark(queue, id)


def test_pages_that_ask_the_same_at_once_share_an_answer(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    real = watch.seen
    monkeypatch.setattr(watch, "seen", lambda *words: made.append(words[3]) or real(*words))
    monkeypatch.setattr(watch, "FRESH", 60.0)
    client = TestClient(Starlette(routes=routes(queue, queue.path.parent, str, TABS)))
    for _ in range(20):
        asked(client)
    asked(client, tab="video")
    assert made == ["text", "video"]


@pytest.mark.parametrize("path", ["/watch/nothing", "/watch/text?follows=../../etc", "/watch/text?follows=" + "a" * 65])
def test_a_foreign_question_is_answered_with_404(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404 and answer.json() == {"error": "there is no such tab or job"}
