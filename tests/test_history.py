"""The history: what stands in the folder is found, and what was said of it stays."""

from __future__ import annotations

import json
import os
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.estimate import Rendered
from pipelines.files.output import OutputFolder
from pipelines.history import database
from pipelines.history.history import History, HistoryError, Search
from pipelines.job import Refusal, parse
from tests.outputs import LAYERED, content, id_of, output, stems, story

# ---------------------------------------------------------------- finding


def test_every_output_is_found_with_what_its_record_tells(tmp_path: Path) -> None:
    output(tmp_path, when=100, name="first", seed=2**63 - 1)
    output(tmp_path, "a whole scene", when=200, **LAYERED)
    story(tmp_path, name="tale")
    history = History(tmp_path)
    assert history.search().entries == []
    assert history.refresh() == history.refresh().__class__(3, 0, False)
    tale, layered, first = history.search().entries
    assert (first.stem, first.task, first.model, first.prompt) == ("first", "text", "papercut", "a red circle")
    assert (first.seed, first.width, first.height, first.kind, first.created) == (2**63 - 1, 32, 16, "picture", 100)
    assert (layered.kind, layered.prompt) == ("layers", "a whole scene\na green ring")
    assert (tale.kind, tale.prompt) == ("video", "a star spins\na ring grows")
    assert history.get(first.id) == first
    assert len(first.id) == 16 and int(first.id, 16) >= 0
    assert [path.name for path in history.files(tale.id)] == ["tale.mp4", "tale.json"]
    assert {path.name for path in history.files(layered.id)} == {
        "layered-001.png", "layered-001.psd", "00.png", "layered-001.json",
    }  # fmt: skip
    assert history.record(tale.id)["job"]["scenes"][1]["prompt"] == "a ring grows"


def test_only_what_changed_is_read_and_a_call_reads_no_more_than_it_is_told(tmp_path: Path) -> None:
    for number in range(5):
        output(tmp_path, when=100 + number, seed=number, name=f"n{number}")
    history = History(tmp_path)
    found = history.refresh(2)
    assert (found.read, found.more, stems(history)) == (2, True, ["n4", "n3"])
    assert [history.refresh(2).read for _ in range(3)] == [2, 1, 0]
    before = id_of(history, "n1")
    os.utime(tmp_path / "n1.json", (900, 900))
    (tmp_path / "n2.json").unlink()
    found = history.refresh()
    assert (found.read, found.gone, found.more) == (1, 1, False)
    assert stems(history) == ["n1", "n4", "n3", "n0"]
    assert id_of(history, "n1") == before


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", '"x"', '{"job": {}}', '{"job": {"task": "text"}}', '{"job": {"task": 3}, "outputs": {}}',
        '{"job": {"task": "text", "x": NaN}, "outputs": {}}', "[" * 100_000, '{"job": {"task": "text"}, "outputs": []}',
    ],
)  # fmt: skip
def test_what_is_no_record_is_passed_over_and_not_read_twice(tmp_path: Path, text: str) -> None:
    output(tmp_path, name="good")
    (tmp_path / "other.json").write_text(text)
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "link.json").symlink_to(tmp_path / "good.json")
    history = History(tmp_path)
    assert history.refresh().read == 2
    assert history.refresh().read == 0
    assert stems(history) == ["good"]


def test_odd_values_of_a_record_are_no_errors(tmp_path: Path) -> None:
    odd = {
        "task": "text\ud800",
        "model": 3,
        "prompt": "half \ud800",
        "seed": 2**70,
        "size": [1, "x"],
        "scenes": [1, {}],
    }
    told = {"job": {**odd, "boxes": 7}, "outputs": {"odd.png": 3, "../x.png": "0", "odd/../../x.png": "0", "y.png": ""}}
    (tmp_path / "odd.json").write_text(json.dumps(told))
    history = History(tmp_path)
    history.refresh()
    # The hash of a job with half a letter can not be told either: it is nobody's job.
    assert stems(history) == []
    (tmp_path / "odd.json").write_text(json.dumps({**told, "job": {**odd, "task": "new", "prompt": "x"}}))
    history.refresh()
    (entry,) = history.search().entries
    assert (entry.task, entry.model, entry.seed, entry.width, entry.prompt) == ("new", "", None, None, "x")
    assert [path.name for path in history.files(entry.id)] == ["odd.json"]
    assert history.thumbnail(entry.id) is None


def test_a_record_leads_to_no_file_that_is_not_its_own(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    mine, other = output(folder, name="mine"), output(folder, "another", name="other")
    (tmp_path / "secret.png").write_bytes(b"secret")
    (folder / "mine.mp4").symlink_to(tmp_path / "secret.png")
    told = json.loads((folder / "mine.json").read_text())
    strange = ["other.png", "queue.sqlite3", "../secret.png", str(tmp_path / "secret.png"), "mine/../../secret.png"]
    told["outputs"] |= dict.fromkeys([*strange, "mine.mp4", "mine/x\\y.png", "mine/.x.png"], "0")
    (folder / "mine.json").write_text(json.dumps(told))
    history = History(folder)
    history.refresh()
    id = id_of(history, mine)
    assert [path.name for path in history.files(id)] == ["mine.png", "mine.json"]
    history.discard(id)
    assert sorted(content(folder)) == ["mine.mp4", "other.json", "other.png"]
    assert (tmp_path / "secret.png").read_bytes() == b"secret"
    assert stems(history) == [other]


# ---------------------------------------------------------------- searching


@pytest.fixture(scope="module", params=[True, False], ids=["indexed", "plain"])
def searched(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> History:
    tmp_path = tmp_path_factory.mktemp("searched")
    prompts = {
        "one": "a red circle", "two": "a Red-Orange square, 100% wide", "three": "ein großer Käfer",
        "four": "赤い丸と星", "snake_case-5": "a red ★ star",
    }  # fmt: skip
    for number, (name, prompt) in enumerate(prompts.items()):
        output(tmp_path, prompt, when=1000 + number, name=name, seed=number, model="papercut" if number else "a/b")
    story(tmp_path, name="tale")
    os.utime(tmp_path / "tale.json", (2000, 2000))
    with pytest.MonkeyPatch.context() as patch:
        if not request.param:
            patch.setattr(database, "has_index", lambda db: False)
        history = History(tmp_path)
    history.refresh()
    history.annotate(id_of(history, "one"), rating=5, tags=["Best", "for print"], note="see the unicorn")
    history.annotate(id_of(history, "two"), rating=3, tags=["best"])
    return history


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", ["tale", "snake_case-5", "four", "three", "two", "one"]),
        ("  \t ", ["tale", "snake_case-5", "four", "three", "two", "one"]),
        ("red", ["snake_case-5", "two", "one"]), ("RED circ", ["one"]), ("circle red", ["one"]),
        ("red-orange", ["two"]), ("100%", ["two"]), ("großer", ["three"]), ("GROSSER", ["three"]), ("käf", ["three"]),
        ("星", ["four"]),
        ("★", ["snake_case-5"]), ("snake_case", ["snake_case-5"]), ("best", ["two", "one"]), ("print", ["one"]),
        ("unicorn", ["one"]), ("ring grows", ["tale"]), ("nothing", []), ('red" AND "a', []), ("red NOT circle", []),
        ("\ud800red\0", ["snake_case-5", "two", "one"]),
    ],
)  # fmt: skip
def test_any_words_are_a_search(searched: History, text: str, found: list[str]) -> None:
    assert stems(searched, text=text) == found
    assert searched.count(Search(text)) == len(found)


@given(text=st.text(st.characters(codec=None), max_size=40))
def test_no_text_is_a_mistake(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    history = _once(tmp_path_factory)
    history.search(Search(text))
    history.search(Search(f'"{text}" NEAR( * ^ : {text}-'))
    history.search(Search(task=text, model=text, tags=[text]))


_kept: list[History] = []


def _once(factory: pytest.TempPathFactory) -> History:
    if not _kept:
        folder = factory.mktemp("history")
        output(folder)
        _kept.append(History(folder))
        _kept[0].refresh()
    return _kept[0]


def test_filters_hold_together(searched: History) -> None:
    assert stems(searched, rating=3) == ["two", "one"]
    assert stems(searched, rating=4) == ["one"]
    assert stems(searched, tags=["best"]) == ["two"]
    assert stems(searched, tags=["Best", "for print"]) == ["one"]
    assert stems(searched, tags=["Bes"]) == []
    assert stems(searched, video=True) == stems(searched, task="scenes") == ["tale"]
    assert stems(searched, video=False, model="a/b") == ["one"]
    assert stems(searched, since=1001, until=1003) == ["three", "two"]
    assert stems(searched, since=float("-inf"), until=float("inf"), text="circle") == ["one"]
    assert stems(searched, text="red", rating=1, tags=["best"]) == ["two"]
    assert searched.words() == {
        "task": {"text": 5, "scenes": 1},
        "model": {"papercut": 5, "a/b": 1},
        "tag": {"Best": 1, "best": 1, "for print": 1},
    }


def test_pages_have_every_output_once_though_others_come_meanwhile(tmp_path: Path) -> None:
    for number in range(7):
        output(tmp_path, name=f"n{number}", when=100 + number // 3)  # several of one moment
    history = History(tmp_path)
    history.refresh()
    page, seen = history.search(limit=3), []
    seen += page.entries
    output(tmp_path, name="newer", when=900)
    history.refresh()
    while page.after:
        page = history.search(after=page.after, limit=3)
        seen += page.entries
    assert sorted(entry.stem for entry in seen) == [f"n{number}" for number in range(7)]
    assert [entry.created for entry in seen] == sorted((entry.created for entry in seen), reverse=True)
    for wrong in ("x", "1", "1-2-3", "-1-2", "1-" + "9" * 30, "1-2 OR 1"):
        with pytest.raises(Refusal, match="begin anew"):
            history.search(after=wrong)


# ---------------------------------------------------------------- what persons say


def test_what_was_said_survives_the_loss_of_the_database(tmp_path: Path) -> None:
    output(tmp_path, name="one")
    history = History(tmp_path)
    history.refresh()
    history.annotate(id_of(history, "one"), rating=4, tags=["sky", " sky ", "SKY", "two  words", ""], note='"quoted"\n')
    for path in tmp_path.glob("history.sqlite3*"):
        path.unlink()
    again = History(tmp_path)
    again.refresh()
    (entry,) = again.search().entries
    assert (entry.rating, entry.tags, entry.note) == (4, ("sky", "two words"), '"quoted"\n')


@pytest.mark.parametrize("harm", ["older", "broken", "cut", "other"])
def test_a_database_that_can_not_be_used_is_made_anew(tmp_path: Path, harm: str) -> None:
    output(tmp_path, name="one")
    history = History(tmp_path)
    history.refresh()
    history.annotate(id_of(history, "one"), rating=4)
    path = tmp_path / "history.sqlite3"
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        if harm == "older":
            db.execute("PRAGMA user_version = 1")
    if harm == "broken":
        path.write_bytes(b"\0" * 5000)
    if harm == "cut":
        path.write_bytes(path.read_bytes()[:3000])
    if harm == "other":
        path.unlink()
        with sqlite3.connect(path) as db:
            db.execute("CREATE TABLE outputs (x)")
    again = History(tmp_path)
    again.refresh()
    assert [(entry.stem, entry.rating) for entry in again.search().entries] == [("one", 4)]


def test_a_newer_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    History(tmp_path)
    with sqlite3.connect(tmp_path / "history.sqlite3") as db:
        db.execute("PRAGMA user_version = 98")
    with pytest.raises(HistoryError, match="expected a history of version 1 or older, got 49; update Diorama"):
        History(tmp_path)


def test_the_kind_of_index_may_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output(tmp_path, name="one")
    for there in (True, False, True):
        with monkeypatch.context() as patch:
            if not there:
                patch.setattr(database, "has_index", lambda db: False)
            history = History(tmp_path)
            history.refresh()
            assert stems(history, text="circle") == ["one"]


def test_what_was_said_follows_an_output_to_another_name_and_stays_with_one_rendered_again(tmp_path: Path) -> None:
    output(tmp_path, name="one")
    history = History(tmp_path)
    history.refresh()
    history.annotate(id_of(history, "one"), rating=2)
    output(tmp_path, name="one")  # the same job again
    history.refresh()
    assert history.search().entries[0].rating == 2
    told = json.loads((tmp_path / "one.json").read_text())
    told["outputs"] = {"new.png": told["outputs"]["one.png"]}
    (tmp_path / "one.png").rename(tmp_path / "new.png")
    (tmp_path / "new.json").write_text(json.dumps(told))
    (tmp_path / "one.json").unlink()
    history.refresh()
    assert [(entry.stem, entry.rating) for entry in history.search().entries] == [("new", 2)]


def test_another_job_under_an_old_name_does_not_inherit(tmp_path: Path) -> None:
    output(tmp_path, name="one")
    history = History(tmp_path)
    history.refresh()
    old = id_of(history, "one")
    history.annotate(old, rating=5)
    for path in tmp_path.glob("one.*"):
        path.unlink()
    output(tmp_path, "something else", name="one")
    history.refresh()
    (entry,) = history.search().entries
    assert (entry.prompt, entry.rating) == ("something else", 0)
    assert entry.id != old and history.get(old) is None


def test_equal_outputs_are_rated_one_by_one_and_a_rebuild_keeps_them_apart(tmp_path: Path) -> None:
    job = parse({"task": "text", "prompt": "x", "size": [16, 16]})
    target = OutputFolder(tmp_path)
    for number in (1, 2):
        target.save(job, target.claim(job, number), Rendered(np.zeros((1, 16, 16, 3), np.uint8), {}))
    history = History(tmp_path)
    history.refresh()
    history.annotate(id_of(history, "text-001"), rating=5)
    os.utime(tmp_path / "text-001.json", (1, 1))  # so that the other one is read first
    for path in tmp_path.glob("history.sqlite3*"):
        path.unlink()
    again = History(tmp_path)
    again.refresh()
    assert {entry.stem: entry.rating for entry in again.search().entries} == {"text-001": 5, "text-002": 0}


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"rating": 6}, "rating: expected a whole number from 0 to 5, got 6"),
        ({"rating": True}, "rating: expected a whole number from 0 to 5, got True"),
        ({"tags": ["x" * 41]}, "tags: expected tags of at most 40 letters"),
        ({"tags": ["a\nb"]}, "tags: expected tags of at most 40 letters on one line"),
        ({"tags": [str(number) for number in range(51)]}, "tags: expected at most 50 tags, got 51"),
        ({"note": "x" * 4001}, "note: expected a text of at most 4,000 characters"),
        ({"note": "\ud800"}, "note: expected a text"),
    ],
)
def test_what_can_not_be_kept_is_refused_and_changes_nothing(tmp_path: Path, said: Any, reason: str) -> None:
    output(tmp_path, name="one")
    history = History(tmp_path)
    history.refresh()
    before = history.annotate(id_of(history, "one"), rating=1, tags=["a"])
    with pytest.raises(Refusal) as refused:
        history.annotate(before.id, **said)
    assert str(refused.value).startswith(reason)
    assert history.get(before.id) == before
    with pytest.raises(Refusal, match="there is no output 'x'"):
        history.annotate("x", rating=1)


def test_annotations_that_can_not_be_read_are_laid_aside(tmp_path: Path) -> None:
    (tmp_path / ".diorama").mkdir()
    (tmp_path / ".diorama" / "annotations.json").write_text('{"annotations": [{"stem": "x"}]}')
    output(tmp_path, name="one")
    history = History(tmp_path)
    history.refresh()
    history.annotate(id_of(history, "one"), rating=1)
    assert (tmp_path / ".diorama" / "annotations.json.unread").read_text() == '{"annotations": [{"stem": "x"}]}'


def test_what_can_not_be_written_was_not_said(tmp_path: Path) -> None:
    output(tmp_path, name="one")
    history = History(tmp_path)
    history.refresh()
    (tmp_path / ".diorama").write_text("in the way")
    with pytest.raises(OSError):
        history.annotate(id_of(history, "one"), rating=1)
    assert history.search().entries[0].rating == 0


def test_many_may_look_and_rate_at_once(tmp_path: Path) -> None:
    for number in range(4):
        output(tmp_path, name=f"n{number}", seed=number)
    history = History(tmp_path)
    history.refresh()
    ids = [entry.id for entry in history.search().entries]

    def rate(number: int) -> None:
        own = History(tmp_path) if number % 2 else history
        for rating in (1, 2, 3):
            own.refresh()
            own.annotate(ids[number], rating=rating, tags=[f"{rating}"])
            own.search(Search(str(rating)))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(rate, range(4)))
    assert [(entry.rating, entry.tags) for entry in history.search().entries] == [(3, ("3",))] * 4
    told = json.loads((tmp_path / ".diorama" / "annotations.json").read_text())["annotations"]
    assert [(each["stem"], each["rating"]) for each in told] == [(f"n{number}", 3) for number in range(4)]
