"""A page that is left open: it learns what changed, and a render pays next to nothing for who watches."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from pipelines.files.output import OutputFolder
from pipelines.queue.loaded import State
from pipelines.queue.queue import Queue
from tests.outputs import output
from tests.paced import text
from tests.staged import StagedEngine
from ui import watch
from ui.page import build, places
from ui.shown import BEGIN, Shown, live, unseen
from ui.studio import Studio
from ui.watch import Crowd, Place, Told, routes
from ui.words import speaking


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    return build(Queue(tmp_path / "out"), tmp_path / "out", StagedEngine().check).studio


@pytest.fixture
def queue(studio: Studio) -> Queue:
    return studio.queue


@pytest.fixture
def client(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    monkeypatch.setattr(watch, "FRESH", 0.0)
    with TestClient(Starlette(routes=routes(places(studio)))) as client:
        yield client


def asked(client: TestClient, address: str, mark: str = "") -> dict[str, Any] | None:
    """What a page is told that knows of `mark`; None where that is nothing."""
    answer = client.get(f"/watch/{address}{'&' if '?' in address else '?'}mark={mark}")
    assert answer.status_code in (200, 204) and answer.headers["cache-control"] == "no-store"
    return answer.json() if answer.status_code == 200 else None


def mark(client: TestClient, address: str) -> str:
    told = asked(client, address)
    assert told is not None
    return str(told["mark"])


def test_a_page_gets_the_html_once_and_then_nothing_while_nothing_changes(client: TestClient, queue: Queue) -> None:
    told = asked(client, "text?follows=")
    assert told is not None and "The table is clear." in told["html"] and told["live"] == {}
    assert asked(client, "text?follows=", told["mark"]) is None
    id = queue.add(text("a circle"))
    told = asked(client, "text?follows=", told["mark"])
    assert told is not None and f'data-id="{id}"' in told["html"] and 'data-act="stop"' in told["html"]
    assert asked(client, f"text?follows={id}", told["mark"]) is None


@pytest.mark.parametrize("address", ["text?follows=", "queue"])
def test_a_step_travels_alone(client: TestClient, queue: Queue, address: str) -> None:
    id = queue.add(text("a circle"))
    assert queue.claim() is not None
    before = mark(client, address)
    assert asked(client, address, before) is None
    queue.progress(id, 2, 7)
    told = asked(client, address, before)
    assert told is not None and "html" not in told and told["mark"].split("-")[0] == before.split("-")[0]
    words = " ".join(told["live"].values())
    assert "Step 2 of 7" in words and 'aria-valuenow="29"' in words
    assert asked(client, address, told["mark"]) is None


def test_whoever_shows_another_job_is_told_how_far_the_one_at_work_is(client: TestClient, queue: Queue) -> None:
    first, second = queue.add(text("a circle")), queue.add(text("a star"))
    assert queue.claim() is not None
    before = mark(client, f"text?follows={second}")
    queue.progress(first, 3, 7)
    told = asked(client, f"text?follows={second}", before)
    assert told is not None and told["live"] == {f"at:{first}": "step 3 of 7"} and "html" not in told


@pytest.mark.parametrize(
    "change", ["claim", "cancel", "pause", "pause_all", "finish", "another", "fail", "stop", "hold", "warn"]
)
def test_every_change_that_a_page_shows_reaches_it(client: TestClient, queue: Queue, change: str) -> None:
    id = queue.add(text("a circle"))
    if change in ("finish", "fail", "stop", "hold", "warn"):
        queue.claim()
    addresses = [f"text?follows={id}", "text?follows=", "queue"]
    before = [mark(client, address) for address in addresses]
    changes: dict[str, Callable[[], object]] = {
        "claim": queue.claim, "cancel": lambda: queue.cancel(id), "pause": lambda: queue.pause(id),
        "pause_all": lambda: queue.pause_all("the disk is full"), "another": lambda: queue.add(text("a star")),
        "finish": lambda: queue.done(id, ["a.png"]), "fail": lambda: queue.fail(id, "no memory"),
        "stop": lambda: queue.cancel(id), "hold": lambda: queue.pause(id), "warn": lambda: queue.warn(id, ["a word"]),
    }  # fmt: skip
    changes[change]()
    assert all(asked(client, address, known) for address, known in zip(addresses, before, strict=True))


def test_a_renderer_that_is_away_is_told_everywhere(tmp_path: Path) -> None:
    studio = build(Queue(tmp_path), tmp_path, StagedEngine().check, lambda: "It stopped.").studio
    studio.queue.add(text("a circle"))
    for name, words in (("text", {"follows": ""}), ("queue", {}), ("models", {"at": "64x64x1"})):
        assert "It stopped." in places(studio)[name].draw(**words).html


def test_the_history_tells_of_what_came_from_elsewhere_and_of_what_was_said(client: TestClient, studio: Studio) -> None:
    known = mark(client, "history")
    assert asked(client, "history", known) is None
    output(studio.folder, name="one")
    later = asked(client, "history", known)
    assert later is not None
    id = studio.history.search().entries[0].id
    studio.history.annotate(id, rating=3)
    last = asked(client, "history", later["mark"])
    assert last is not None and asked(client, "history", last["mark"]) is None
    studio.history.discard(id)
    assert asked(client, "history", last["mark"]) is not None


def test_an_open_output_is_told_what_came_of_rendering_it_again(client: TestClient, studio: Studio) -> None:
    output(studio.folder, name="one")
    studio.history.keep_up()
    id = studio.history.search().entries[0].id
    known = mark(client, f"verdict?id={id}")
    studio.reproductions.ask(id, "one.json")
    told = asked(client, f"verdict?id={id}", known)
    assert told is not None and "as soon as the renderer is free" in told["html"]


def test_the_models_page_is_told_of_the_worker_and_of_the_size_that_it_asks_for(
    client: TestClient, studio: Studio
) -> None:
    told = asked(client, "models?at=96x64x1")
    assert told is not None and "Memory at 96 x 64" in told["html"] and told["live"] == {"fetch": ""}
    studio.loaded.tell(State("papercut"))
    later = asked(client, "models?at=96x64x1", told["mark"])
    assert later is not None and "chip on" in later["html"]


def test_pages_that_ask_the_same_at_once_share_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "FRESH", 60.0)
    made: list[str] = []
    begun, go = threading.Event(), threading.Event()

    def draw(id: str) -> Shown:
        made.append(id)
        begun.set()
        assert go.wait(30)
        return Shown(f"<p>{id}</p>")

    with TestClient(Starlette(routes=routes({"place": Place(draw, {"id": watch.ID})}))) as client:
        with ThreadPoolExecutor(8) as pages:
            answers = [pages.submit(client.get, "/watch/place?id=a") for _ in range(8)]
            assert begun.wait(30)
            go.set()
            assert {answer.result().json()["html"] for answer in answers} == {"<p>a</p>"}
        client.get("/watch/place?id=b")
        client.get("/watch/place?id=a&id=c&other=d")
    assert made == ["a", "b", "c"]


def test_an_answer_is_shared_by_those_who_read_the_same_language_alone(studio: Studio) -> None:
    with TestClient(Starlette(routes=routes(places(studio)))) as client:
        english = asked(client, "text?follows=")
        with speaking("de"):
            german = places(studio)["text"].draw(follows="")
    assert english is not None and "The table is clear." in english["html"] and "Der Tisch ist leer." in german.html


def test_an_answer_that_failed_is_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "FRESH", 0.0)
    fails = [OSError("the disk is away")]

    def draw() -> Shown:
        if fails:
            raise fails.pop()
        return Shown("<p>here</p>")

    app = Starlette(routes=routes({"place": Place(draw)}))
    with TestClient(app, raise_server_exceptions=False) as client:
        assert client.get("/watch/place").status_code == 500
        assert client.get("/watch/place").json()["html"] == "<p>here</p>"


def test_answers_are_not_kept_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "FRESH", 0.0)
    monkeypatch.setattr(watch, "MOST_KEPT", 4)
    drawn: list[Any] = []

    class Drawn(Shown):
        """Can be counted."""

    import gc
    import weakref

    def draw(id: str) -> Shown:
        shown = Drawn(f"<p>{id}</p>")
        drawn.append(weakref.ref(shown))
        return shown

    with TestClient(Starlette(routes=routes({"place": Place(draw, {"id": watch.ID})}))) as client:
        for number in range(20):
            client.get(f"/watch/place?id={number}")
        gc.collect()
        assert sum(ref() is not None for ref in drawn) <= 4


@pytest.mark.parametrize(
    "path",
    [
        "/watch/nothing", "/watch/text?follows=../../etc", "/watch/text?follows=" + "a" * 65, "/watch/grid?id=%00",
        "/watch/models", "/watch/models?at=1x1", "/watch/models?at=99999x1x1", "/watch/verdict?id=<script>",
    ],
)  # fmt: skip
def test_a_foreign_question_is_answered_with_404(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404 and answer.json() == {"error": "there is no such place or job"}


def test_foreign_ids_show_nothing_of_anybody(client: TestClient, studio: Studio) -> None:
    OutputFolder(studio.folder)
    for address in ("grid?id=nobody", f"grid?id={'0' * 16}"):
        told = asked(client, address)
        assert told is not None and "No grid yet" in told["html"]
    assert mark(client, "verdict?id=nobody") == Shown("").mark


# ------------------------------------------------------------ what a place shows


def test_what_is_live_changes_the_second_half_of_the_mark_alone() -> None:
    first, second = (Shown.of(f"<p>{live('a:1', step)}</p>") for step in ("1", "2"))
    assert first.html == second.html == '<p><span data-live="a:1"></span></p>' and first.live == {"a:1": "1"}
    halves = [shown.mark.split("-") for shown in (first, second)]
    assert halves[0][0] == halves[1][0] and halves[0][1] != halves[1][1]


def test_a_first_drawing_is_whole() -> None:
    first, second = live("a", "<i>1</i>", "li", ' class="x"'), live("b", "2", "li")
    shown = Shown.of(f"<ul>{first}{second}</ul>")
    whole = shown.watched("queue")
    assert '<ul><li data-live="a" class="x"><i>1</i></li><li data-live="b">2</li></ul>' in whole and BEGIN not in whole
    assert f'data-mark="{shown.mark}"' in whole and 'data-mark=""' in unseen("queue")
    assert unescape(re.search('data-watch="([^"]*)"', shown.watched('a?b="c"&d'))[1]) == 'a?b="c"&d'  # type: ignore[index]


def test_words_of_a_user_are_never_taken_for_something_live(queue: Queue, client: TestClient) -> None:
    evil = 'data-live="x"><!--live--><img src=x><!--/live-->'
    queue.add(text(evil))
    queue.claim()
    for address in ("text?follows=", "queue"):
        told = asked(client, address)
        assert told is not None and "x" not in told["live"] and "<img" not in told["html"]


# ---------------------------------------------------------------- many pages


def crowd_of(pages: int, crowd: Crowd, begun: float = 0.0, seconds: float = 60.0) -> tuple[float, float]:
    """Questions a second in the last ten seconds, and how much slower pages were told to ask at the end."""
    turns, asked = [begun + 0.7 * number / pages for number in range(pages)], []
    while (now := min(turns)) < begun + seconds:
        turns[turns.index(now)] = now + 0.7 * crowd.asked(now)
        asked.append(now)
    return sum(now >= begun + seconds - 10 for now in asked) / 10, crowd.slower


def test_a_few_pages_ask_as_often_as_they_like() -> None:
    assert crowd_of(20, Crowd()) == (pytest.approx(20 / 0.7, rel=0.05), 1.0)


def test_a_crowd_asks_no_more_than_the_studio_has_time_for() -> None:
    rate, slower = crowd_of(100, Crowd())
    assert 24 <= rate <= 36 and slower == pytest.approx(100 / 0.7 / 30, rel=0.15)


def test_when_a_crowd_leaves_who_stays_is_served_as_before() -> None:
    crowd = Crowd()
    crowd_of(200, crowd)
    assert crowd.slower > 5
    assert crowd_of(3, crowd, begun=60.0)[1] == 1.0


def test_a_page_is_told_in_a_header_how_seldom_it_may_ask() -> None:
    told = Told.of(Shown.of("<p>a</p>"))
    assert "Diorama-Slower" not in told.since("", 1.0).headers
    assert told.since("", 2.4).headers["Diorama-Slower"] == "2.4"
    assert (
        told.since(told.mark, 2.4).status_code == 204 and told.since(told.mark, 2.4).headers["Diorama-Slower"] == "2.4"
    )
