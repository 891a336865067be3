"""The shelf: what is here, what is let in, what is fetched, and what the worker holds of it."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

import app
from models.checkpoint import EMBEDDED, WEIGHTS
from pipelines import cli
from pipelines.queue.loaded import Loaded, State
from pipelines.queue.queue import Queue
from pipelines.refusal import Refusal
from pipelines.shelf.hub import Fetcher, HuggingFace, Plan, wanted
from pipelines.shelf.shelf import FILE, Shelf
from pipelines.shelf.table import bytes_of, count_of
from tests.fakes import FakeEngine
from tests.paced import over, text, until, working
from tests.shelved import KLEIN, NUMBERS, FakeHub, cache, poison, skeleton
from tests.test_help import HEAVY, loaded_by


@pytest.fixture(autouse=True)
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, whatever this machine has."""
    root = tmp_path / "cache"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(root))
    return root


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "out", by_path=True)


# ------------------------------------------------------------ what is here


def test_the_shelf_has_what_is_embedded_in_folders_and_in_the_hubs_cache(tmp_path: Path, hub_cache: Path) -> None:
    added, beside = skeleton(tmp_path / "a" / "mine"), skeleton(tmp_path / "b" / "mine", channels=3)
    whole = skeleton(tmp_path / "whole")
    (tmp_path / "b" / "not a model").mkdir()
    cache(hub_cache, "me/model")
    (hub_cache / "models--half--fetched" / "refs").mkdir(parents=True)
    (hub_cache / "datasets--some--data").mkdir()
    shelf = Shelf(tmp_path / "out", [tmp_path / "b", whole], by_path=True)
    assert shelf.add(str(added)) == "mine"
    found = {one.id: (one.model, one.place) for one in shelf.items()}
    assert found == {
        "papercut": ("papercut", "embedded"), "mine": (str(added), "folder"), "mine-2": (str(beside), "start"),
        "whole": (str(whole), "start"), "me/model": ("me/model", "cache"),
    }  # fmt: skip
    assert shelf.choices("text") == list(found)
    assert shelf.choices("layered") == [id for id in found if id != "mine-2"], "layers need alpha"
    mine = shelf.get("mine")
    assert mine is not None and mine.parameters == NUMBERS * len(WEIGHTS)
    papercut = shelf.get("papercut")
    assert papercut is not None and papercut.parameters == sum(
        weights.numel()
        for path in EMBEDDED.glob("papercut/*/*.safetensors")
        for weights in load_file(path).values()
    ), "speech and warp are counted as well"  # fmt: skip
    assert mine.bytes == sum(path.stat().st_size for path in added.rglob("*") if path.is_file())


def test_what_can_not_be_used_says_why_and_is_offered_nowhere(tmp_path: Path, hub_cache: Path) -> None:
    root = tmp_path / "root"
    skeleton(root / "other", _class_name="StableDiffusionPipeline")
    shutil.rmtree(skeleton(root / "torn") / "vae")
    headless = skeleton(root / "headless")
    (headless / "vae" / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{a" + bytes(9))
    shelf = Shelf(tmp_path / "out", [root])
    problems = {one.id: one.problem for one in shelf.items() if one.description is None}
    assert problems == {
        "headless": "the safetensors of vae have no readable head; fetch the checkpoint again",
        "other": "'other' is a StableDiffusionPipeline; the layouts read here are Flux2KleinPipeline",
        "torn": "'torn' is not a whole checkpoint: its folder vae is missing",
    }
    assert shelf.choices("text") == ["papercut"]
    with pytest.raises(Refusal, match=r"model: expected a model that is here \(papercut\), got 'torn'; choose one"):
        shelf.model_of("torn")
    assert [one.tasks for one in shelf.items() if one.id == "torn"] == [()]


def test_a_page_names_models_by_id_and_never_by_path(tmp_path: Path) -> None:
    folder = skeleton(tmp_path / "root" / "mine")
    shelf = Shelf(tmp_path / "out", [tmp_path / "root"])
    assert shelf.model_of("mine") == str(folder) and shelf.id_of(str(folder)) == "mine"
    assert shelf.model_of("papercut") == "papercut" == shelf.id_of("papercut")
    for path in (str(folder), "/etc", "../root/mine", "~", "a/b", "", None, 7):
        with pytest.raises(Refusal, match="expected a model that is here"):
            shelf.model_of(path)
    assert [shelf.id_of(name) for name in ("/home/me/secret/x", "../y", "a/b", "z")] == ["x", "y", "a/b", "z"]


def test_memory_grows_with_the_size_and_is_told_only_for_sizes_that_are_drawn(shelf: Shelf) -> None:
    papercut = shelf.get("papercut")
    assert papercut is not None
    small, large, film = (papercut.memory(*size) for size in ((64, 64), (192, 192), (64, 64, 16)))
    assert small and large and film and papercut.parameters * 2 < small < large and small < film
    assert papercut.memory(1024, 64) is None


def test_the_shelf_loads_nothing_heavy() -> None:
    code = (
        "from pathlib import Path; from pipelines.shelf.shelf import Shelf; "
        "assert Shelf(Path('x')).items()[0].memory(64, 64)"
    )
    assert not loaded_by(code) & HEAVY
    assert not loaded_by("import pipelines.shelf.hub, pipelines.queue.loaded, pipelines.queue.peephole") & (
        HEAVY | {"huggingface_hub"}
    )


# ------------------------------------------------------------ the list of folders


@pytest.mark.parametrize("disguise", ["model.bin", "model.safetensors", "model.PT"])
def test_a_pickle_is_refused_and_never_opened(shelf: Shelf, tmp_path: Path, disguise: str) -> None:
    folder, mark = skeleton(tmp_path / "trap"), tmp_path / "mark"
    poison(folder, mark, disguise)
    with pytest.raises(Refusal, match=r"folder: .*(a pickle, which can run code|not a safetensors file)"):
        shelf.add(str(folder))
    assert not mark.exists() and len(shelf.items()) == 1 and not (tmp_path / "out").exists()
    assert Shelf(tmp_path / "out", [folder]).choices("text") == ["papercut"] and not mark.exists()


def test_a_pickle_beside_safetensors_is_refused_too(shelf: Shelf, tmp_path: Path) -> None:
    folder = skeleton(tmp_path / "both")
    (folder / "vae" / "old.ckpt").write_bytes(b"\x80\x04.")
    with pytest.raises(Refusal, match=r"got vae/old.ckpt, a pickle"):
        shelf.add(str(folder))


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(st.text(max_size=30), st.sampled_from(["", " ", "~nobody/x", "a\0b", "/etc", "/etc/passwd", "x" * 5000]))
)
def test_what_is_no_checkpoint_is_refused_with_one_sentence_and_nothing_is_written(shelf: Shelf, text: str) -> None:
    with pytest.raises(Refusal) as told:
        shelf.add(text)
    assert told.value.field == "folder" and "\n" not in told.value.reason
    assert not shelf._file.parent.exists()


def test_folders_are_added_once_kept_and_taken_off_again(shelf: Shelf, tmp_path: Path) -> None:
    folder = skeleton(tmp_path / "mine")
    (tmp_path / "link").symlink_to(folder)
    assert shelf.add(f" {folder} ") == shelf.add(str(tmp_path / "link")) == "mine"
    again = Shelf(tmp_path / "out")
    assert [one.id for one in again.items()] == ["papercut", "mine"]
    assert json.loads((tmp_path / "out" / FILE).read_text()) == {"folders": [str(folder)]}
    assert not again.remove("papercut") and not again.remove("nobody") and again.remove("mine")
    assert [one.id for one in shelf.items()] == ["papercut"] and folder.is_dir()


def test_a_shelf_that_others_reach_adds_no_paths(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="only where the studio serves this machine alone; start it with --models FOLDER"):
        Shelf(tmp_path / "out").add(str(skeleton(tmp_path / "mine")))


@pytest.mark.parametrize("kept", [b"", b"[]", b'{"folders": 3}', b'{"folders": [1, "/nowhere"]}', b"\xff"])
def test_a_list_that_can_not_be_read_counts_as_empty(tmp_path: Path, kept: bytes) -> None:
    (tmp_path / FILE).parent.mkdir(parents=True)
    (tmp_path / FILE).write_bytes(kept)
    shelf = Shelf(tmp_path)
    assert shelf.choices("text") == ["papercut"] and [one.id for one in shelf.items()][1:] in ([], ["nowhere"])


# ------------------------------------------------------------ the hub


def fetcher(tmp_path: Path, models: dict[str, Any] | None = None, layout: str = "Flux2KleinPipeline") -> Fetcher:
    return Fetcher(FakeHub(tmp_path, models or {"a/klein": KLEIN}, layout))


def test_only_what_is_read_is_planned_and_what_is_here_is_not_counted_twice(tmp_path: Path) -> None:
    hub = FakeHub(tmp_path, {"a/klein": KLEIN})
    hub.got.add(("a/klein", "vae/model.safetensors"))
    plan = Fetcher(hub).look_up(" a/klein ")
    left_out = {"README.md", "flux-2-klein.safetensors", "transformer/old.bin", "text_encoder/modeling.py"}
    assert set(plan.files) == set(KLEIN) - left_out
    assert plan.bytes == sum(KLEIN[name] for name in plan.files) and plan.missing == plan.bytes - 1_000_000
    assert hub.fetched == [], "looking it up fetches nothing"


@pytest.mark.parametrize(
    "id",
    ["", "klein", "a/b/c", "../etc", "a/..", "https://evil.example/x", "a/b?x", "a b/c", "a\n/b", "http://127.0.0.1/x"],
)
def test_what_is_no_id_is_refused_before_anybody_is_asked(tmp_path: Path, id: str) -> None:
    hub = FakeHub(tmp_path, {})
    with pytest.raises(Refusal, match="expected an id of the Hugging Face hub"):
        Fetcher(hub).look_up(id)
    assert hub.asked == []


@pytest.mark.parametrize(
    ("files", "layout", "words"),
    [
        ({"README.md": 1}, "", "a/klein is no checkpoint in diffusers layout"),
        (KLEIN, "FluxPipeline", "a/klein is a FluxPipeline; the layouts read here are Flux2KleinPipeline"),
        (
            {name: size for name, size in KLEIN.items() if name != "transformer/model-1.safetensors"}, "",
            "a/klein: transformer has only transformer/old.bin, a pickle, which can run code and is never read",
        ),
        (
            {name: size for name, size in KLEIN.items() if not name.startswith("vae/")}, "",
            "a/klein: vae has no safetensors",
        ),
    ],
)  # fmt: skip
def test_a_model_that_is_not_read_here_is_refused_before_it_is_fetched(
    tmp_path: Path, files: dict[str, int], layout: str, words: str
) -> None:
    with pytest.raises(Refusal, match=words):
        fetcher(tmp_path, {"a/klein": files}, layout).look_up("a/klein")


def test_a_fetch_goes_on_by_itself_and_says_how_it_ended(tmp_path: Path) -> None:
    hub = FakeHub(tmp_path, {"a/klein": KLEIN})
    found = Fetcher(hub)
    assert found.now() is None
    plan = found.look_up("a/klein")
    found.start(plan)
    until(lambda: (now := found.now()) and now.over)
    assert hub.fetched == [("a/klein", list(plan.files))] and found.look_up("a/klein").missing == 0
    hub.problem = ConnectionError("reset\nby peer")
    found.start(plan)
    until(lambda: (now := found.now()) and now.over)
    now = found.now()
    assert now is not None
    assert now.problem == (
        "fetching a/klein ended early (ConnectionError: reset by peer); fetch it again, it goes on where it stopped"
    )


def test_one_fetch_at_a_time_tells_how_far_it_is(tmp_path: Path) -> None:
    hub, going = FakeHub(tmp_path, {"a/klein": KLEIN}), threading.Event()
    hub.fetch = lambda id, files: going.wait() and None  # type: ignore[method-assign, assignment]
    found = Fetcher(hub)
    plan = found.look_up("a/klein")
    try:
        found.start(plan)
        (hub.folder("a/klein") / "blobs").mkdir(parents=True)
        (hub.folder("a/klein") / "blobs" / "x.incomplete").write_bytes(bytes(5000))
        now = found.now()
        assert now is not None and (now.over, now.done) == (False, 5000)
        with pytest.raises(Refusal, match="a/klein is being fetched; wait for it"):
            found.start(plan)
    finally:
        going.set()
    until(lambda: (now := found.now()) and now.over)


def test_a_model_that_does_not_fit_on_the_disk_is_not_begun(tmp_path: Path) -> None:
    hub = FakeHub(tmp_path, {})
    with pytest.raises(Refusal, match=r"expected 1000000\.0 GB of free space for a/klein, got \d+\.\d GB; make room"):
        Fetcher(hub).start(Plan("a/klein", (), 10**15, 10**15))
    assert hub.fetched == []


def test_without_a_network_the_sentence_says_so() -> None:
    with pytest.raises(Refusal, match=r"expected an answer from huggingface.co, got none \(OfflineModeIsEnabled"):
        HuggingFace().files("a/b")  # all tests are offline


def test_files_in_other_folders_are_not_wanted() -> None:
    assert not any(map(wanted, ["x/model_index.json", "transformer/x/y.json", "transformer/a.py", "a.safetensors", ""]))


def test_every_file_of_the_embedded_checkpoint_would_be_fetched_but_for_what_people_read() -> None:
    names = {path.relative_to(EMBEDDED / "papercut") for path in (EMBEDDED / "papercut").rglob("*") if path.is_file()}
    assert {str(name) for name in names if not wanted(name.as_posix())} == {"README.md"} | {
        name.name for name in names if name.suffix == ".yaml" and len(name.parts) == 1
    }


# ------------------------------------------------------------ what the worker holds


class HoldingEngine(FakeEngine):
    """Loads by name; one name is refused and one is too large."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded = ""
        self.loads: list[str] = []

    def checkpoint(self, name: str) -> None:
        self.loads.append(name)
        self.loaded = ""
        if name == "refused":
            raise Refusal("model", "expected a checkpoint, got none")
        if name == "large":
            raise MemoryError
        self.loaded = name

    def release(self) -> None:
        self.loaded = ""


def test_a_wish_is_fulfilled_between_two_jobs_and_the_worker_says_what_it_holds(tmp_path: Path) -> None:
    queue, loaded, engine = Queue(tmp_path), Loaded(tmp_path), HoldingEngine()
    assert loaded.state() == State() and loaded.wished() is None
    loaded.wish("a")
    loaded.wish("papercut")  # the last wish counts
    assert loaded.wished() == "papercut"
    with working(queue, tmp_path, engine):
        until(lambda: loaded.state() == State("papercut"))
        assert over(queue, queue.add(text())).state == "done"
        for model, problem in [
            ("refused", "model: expected a checkpoint, got none"),
            ("large", "there was not enough memory for it; make it smaller or shorter"),
        ]:
            loaded.wish(model)
            until(lambda problem=problem: loaded.state() == State("", "", problem))
        loaded.wish("b")
        until(lambda: loaded.state() == State("b"))
        loaded.wish("")
        until(lambda: loaded.state() == State())
    assert engine.loads == ["papercut", "refused", "large", "b"] and loaded.wished() is None


def test_what_a_render_loaded_is_told_too(tmp_path: Path) -> None:
    class Lazy(HoldingEngine):
        def render(self, jobs: Any, progress: Any) -> Any:
            self.loaded = jobs[0].model
            return super().render(jobs, progress)

    queue = Queue(tmp_path)
    with working(queue, tmp_path, Lazy()):
        over(queue, queue.add(text()))
        until(lambda: Loaded(tmp_path).state() == State("papercut"))


@pytest.mark.parametrize("data", [b"", b"[]", b'{"model": 3}', b"\xff", b'{"model"'])
def test_files_that_make_no_sense_are_no_wish(tmp_path: Path, data: bytes) -> None:
    loaded = Loaded(tmp_path)
    loaded.wish("a")
    for path in (tmp_path / ".diorama").iterdir():
        path.write_bytes(data)
    assert loaded.wished() is None and loaded.take() is None and loaded.take() is None


# ------------------------------------------------------------ the terminal


def test_the_terminal_lists_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    skeleton(tmp_path / "root" / "mine", channels=3)
    shutil.rmtree(skeleton(tmp_path / "root" / "torn") / "vae")
    words = ["models", "--out", str(tmp_path / "out"), "--models", str(tmp_path / "root"), "--size", "64", "96"]
    assert cli.main(words) == 0
    table = capsys.readouterr().out.splitlines()
    assert table[0].split() == ["MODEL", "KEPT", "TASKS", "PARAMETERS", "ON", "DISK", "MEMORY", "AT", "64", "x", "96"]
    assert [line.split()[0] for line in table[1:]] == ["papercut", "mine", "torn"]
    assert "text, masked, scenes, layout, layered" in table[1] and "or more" in table[1]
    assert table[3].endswith("not usable: 'torn' is not a whole checkpoint: its folder vae is missing")
    assert cli.main([*words, "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [one["id"] for one in listed] == ["papercut", "mine", "torn"]
    assert listed[0]["at"]["memory"] > 0 and listed[1]["tasks"] == ["text", "masked", "scenes", "layout"]
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_none_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (cli.main, app.main):
        words = ["models"] if command is cli.main else []
        assert command([*words, "--models", str(tmp_path / "no"), "--out", str(tmp_path / "out")]) == 2
        error = capsys.readouterr().err
        assert error.startswith("diorama: --models: expected a folder, got ") and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_amounts_are_written_for_people() -> None:
    assert [bytes_of(amount) for amount in (0, 1, 22_600_000, 8_100_000_000)] == ["0 MB", "1 MB", "23 MB", "8.1 GB"]
    assert [count_of(amount) for amount in (11_257_157, 4_020_000_000)] == ["11.3 M", "4.0 B"]
