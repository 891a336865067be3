"""The bin: nothing is lost on its way there and back."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.files.output import OutputFolder
from pipelines.history.bin import Bin
from pipelines.history.history import History, Search
from pipelines.job import Refusal, parse
from tests.outputs import LAYERED, content, id_of, output, stems


def test_an_output_goes_to_the_bin_whole_and_comes_back_as_it_was(tmp_path: Path) -> None:
    output(tmp_path, "kept", name="kept")
    output(tmp_path, "a whole scene", name="stack", **LAYERED)
    history = History(tmp_path)
    history.refresh()
    before, id = content(tmp_path), id_of(history, "stack")
    history.annotate(id, rating=3)
    thumb, entry = history.thumbnail(id), history.get(id)
    history.discard(id)
    history.discard(id)
    assert sorted(content(tmp_path)) == ["kept.json", "kept.png"]
    assert (stems(history), stems(history, binned=True)) == (["kept"], ["stack"])
    assert [path.name for path in history.files(id)] == ["stack.png", "stack.psd", "00.png", "stack.json"]
    assert history.thumbnail(id) == thumb
    assert history.refresh().read == 0
    assert history.take_back(id) == entry
    assert content(tmp_path) == before
    assert history.refresh().read == 0
    assert stems(history) == ["stack", "kept"]
    with pytest.raises(Refusal, match="expected an output in the bin"):
        history.take_back(id)


def test_where_the_name_is_taken_it_comes_back_under_another(tmp_path: Path) -> None:
    output(tmp_path, "a whole scene", name="stack", **LAYERED)
    old = json.loads((tmp_path / "stack.json").read_text())
    history = History(tmp_path)
    history.refresh()
    id = id_of(history, "stack")
    history.annotate(id, rating=3)
    history.discard(id)
    output(tmp_path, "another", name="stack")
    (tmp_path / "stack-2.psd").write_bytes(b"somebody's")
    others = content(tmp_path)
    history.refresh()
    entry = history.take_back(id)
    assert (entry.stem, entry.rating, entry.created) == ("stack-3", 3, pytest.approx(entry.created))
    assert others.items() <= content(tmp_path).items()
    new = json.loads((tmp_path / "stack-3.json").read_text())
    assert new["job"] == old["job"] and new["job"]["name"] == "stack"
    assert {name.replace("stack", "stack-3"): sha for name, sha in old["outputs"].items()} == new["outputs"]
    assert all(content(tmp_path)[name] == sha for name, sha in new["outputs"].items())
    # A render of the job finds its own files again, and lets alone what a painting program made of them.
    assert OutputFolder(tmp_path).claim(parse(old["job"]), 1) == "stack-3"
    with (tmp_path / "stack-3.psd").open("ab") as file:
        file.write(b"painted")
    assert OutputFolder(tmp_path).claim(parse(old["job"]), 1) == "stack-4"


def test_the_bin_is_found_again_without_the_database(tmp_path: Path) -> None:
    output(tmp_path, name="one")
    history = History(tmp_path)
    history.refresh()
    id = id_of(history, "one")
    history.annotate(id, rating=1)
    history.discard(id)
    for path in tmp_path.glob("history.sqlite3*"):
        path.unlink()
    again = History(tmp_path)
    again.refresh()
    entry = again.get(id)
    assert entry is not None and entry.binned is not None and entry.rating == 1
    assert again.take_back(id).stem == "one"


def test_a_kill_before_the_database_heard_of_a_move_is_made_good(tmp_path: Path) -> None:
    output(tmp_path, name="one")
    history = History(tmp_path)
    history.refresh()
    id = id_of(history, "one")
    history.annotate(id, rating=2)
    bin = Bin(tmp_path / ".diorama" / "bin", tmp_path)
    bin.put(id, "one")
    history.refresh()
    entry = history.get(id)
    assert entry is not None and entry.binned is not None and entry.rating == 2
    output(tmp_path, "another", name="one")
    bin.take(id)
    history.refresh()
    assert {(entry.stem, entry.rating, entry.binned) for entry in history.search().entries} == {
        ("one-2", 2, None), ("one", 0, None),
    }  # fmt: skip
    assert history.search(Search(binned=True)).entries == []
    assert stems(history, text="one", rating=2) == ["one-2"]


def test_the_bin_is_emptied_of_what_is_old(tmp_path: Path) -> None:
    for name in ("one", "two", "three"):
        output(tmp_path, name=name)
    history = History(tmp_path)
    history.refresh()
    one, two = id_of(history, "one"), id_of(history, "two")
    history.annotate(one, rating=5)
    history.discard(one)
    between = time.time()
    time.sleep(0.01)
    history.discard(two)
    assert history.empty(between) == 1
    assert (stems(history), stems(history, binned=True)) == (["three"], ["two"])
    assert sorted(path.name for path in (tmp_path / ".diorama" / "bin").iterdir()) == [two]
    assert history.get(one) is None
    assert "one" not in (tmp_path / ".diorama" / "annotations.json").read_text()


def test_what_was_written_anew_is_never_removed_with_the_old(tmp_path: Path) -> None:
    output(tmp_path, name="one")
    bin = Bin(tmp_path / "bin", tmp_path)
    binned = bin.put("0" * 16, "one")
    (binned.files.parent / "putting").touch()  # as if it had been killed before the old names were gone
    output(tmp_path, name="one")
    os.utime(tmp_path / "one.png", (5, 5))
    os.utime(tmp_path / "one.json", (5, 5))
    before = content(tmp_path)
    bin.recover()
    assert content(tmp_path) == {name: sha for name, sha in before.items() if name != "bin/0000000000000000/putting"}


def test_without_links_files_are_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object, **__: object) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    output(tmp_path, name="one", **LAYERED)
    history = History(tmp_path)
    history.refresh()
    before, id = content(tmp_path), id_of(history, "one")
    history.discard(id)
    assert content(tmp_path) == {}
    history.take_back(id)
    assert content(tmp_path) == before


STEPS = ("link", "rename", "replace", "unlink", "mkdir", "rmdir", "utime", "open")


def killed(step: int, act: Callable[[], object]) -> bool:
    """Whether a process that does `act` and is killed before its change number `step` to the disk dies of it."""
    pid = os.fork()
    if pid == 0:
        left = step

        def counted(name: str) -> Callable[..., Any]:
            change = getattr(os, name)

            def changed(*args: Any, **kwargs: Any) -> Any:
                nonlocal left
                if left == 0:
                    os._exit(9)
                left -= 1
                return change(*args, **kwargs)

            return changed

        for name in STEPS:
            setattr(os, name, counted(name))
        try:
            act()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9


@pytest.mark.slow
@pytest.mark.parametrize("task", ["discard", "take_back", "take_back as another"])
def test_a_kill_at_any_step_leaves_an_output_whole_in_one_place(tmp_path: Path, task: str) -> None:
    plain = tmp_path / "plain"
    output(plain, "a whole scene", name="stack", **LAYERED)
    first = History(plain)
    first.refresh()
    id = id_of(first, "stack")
    first.annotate(id, rating=4)
    if task != "discard":
        first.discard(id)
    if task == "take_back as another":
        output(plain, "another", name="stack")
        first.refresh()
    told = first.record(id)
    shas = sorted(told["outputs"].values())
    others = content(plain)  # of the other output; of this one too, before it is thrown away
    with sqlite3.connect(plain / "history.sqlite3") as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    died, step = True, 0
    while died:
        folder = tmp_path / "run"
        shutil.copytree(plain, folder, copy_function=shutil.copy2)
        died = killed(step, lambda folder=folder: getattr(History(folder), task.split()[0])(id))  # type: ignore[misc]
        assert _whole(folder, shas) or _whole(folder / ".diorama" / "bin" / id / "files", shas)
        history = History(folder)
        history.refresh()
        (entry,) = [e for binned in (False, True) for e in history.search(Search("scene", binned=binned)).entries]
        assert entry.rating == 4
        assert sorted(history.record(entry.id)["outputs"].values()) == shas
        assert len(history.files(entry.id)) == len(shas) + 1
        here = {path.relative_to(folder).as_posix() for path in history.files(entry.id)} if not entry.binned else set()
        ours = set() if task == "discard" else set(others)
        assert set(content(folder)) == here | ours
        assert len(list((folder / ".diorama" / "bin").glob("*"))) == (entry.binned is not None)
        assert not list(folder.rglob("put*")) + list(folder.rglob("taking*"))
        if not died:
            assert (entry.binned is not None) == (task == "discard")
        shutil.rmtree(folder)
        step += 1
    assert step > 12


def _whole(folder: Path, shas: list[str]) -> bool:
    """Whether some record in `folder` has all its outputs beside it."""
    for record in folder.glob("stack*.json"):
        outputs = json.loads(record.read_text())["outputs"]
        if sorted(outputs.values()) == shas:
            return outputs.items() <= content(folder).items()
    return False
