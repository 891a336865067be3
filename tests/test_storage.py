"""Job files, files that jobs name and outputs at addresses: `memory://` and `file://` stand for `s3://` here."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from PIL import Image

from pipelines import cli
from pipelines.estimate import Rendered
from pipelines.farm.fetched import Fetching
from pipelines.farm.manifest import Entry
from pipelines.farm.watch import changed
from pipelines.files.storage import Storage, StorageError, is_address
from pipelines.job import Job, MaskedJob, parse
from pipelines.refusal import Refusal
from tests.fakes import FakeEngine, FakeEstimate, groups

KILLS = int(os.environ.get("DIORAMA_KILLS", "6"))
SEED = int(os.environ.get("DIORAMA_SEED", "1"))


class Copier(FakeEngine):
    """Draws what a masked job's source shows."""

    def check(self, job: Job) -> FakeEstimate:
        if isinstance(job, MaskedJob) and not Path(job.source).is_file():
            raise Refusal("source", f"{job.source!r} is no picture")
        return FakeEstimate() if isinstance(job, MaskedJob) else super().check(job)

    def _one(self, job: Job) -> Rendered:
        if not isinstance(job, MaskedJob):
            return super()._one(job)
        with Image.open(job.source) as source:
            return Rendered(np.asarray(source.convert("RGB"))[None], {"resolved": {}, "warnings": []})


def together(jobs: Sequence[Job]) -> list[list[int]]:
    return [list(range(len(jobs)))]


class Bucket:
    """A folder in the memory of fsspec, which is as object stores are: no renaming, no folders without files."""

    def __init__(self) -> None:
        self.system, self.address = fsspec.filesystem("memory"), "memory://bucket"

    def put(self, name: str, data: bytes) -> str:
        self.system.pipe(f"/bucket/{name}", data)
        return f"{self.address}/{name}"

    def picture(self, name: str, level: int) -> str:
        path = fsspec.open(f"{self.address}/{name}", "wb")
        with path as stream:
            Image.new("RGB", (16, 16), (level,) * 3).save(stream, "PNG")
        return f"{self.address}/{name}"

    def under(self, folder: str, suffix: str = ".png") -> dict[str, bytes]:
        found = self.system.find(f"/bucket/{folder}")
        return {path.rpartition("/")[2]: self.system.cat(path) for path in found if path.endswith(suffix)}

    def manifest(self, folder: str) -> dict[str, Entry]:
        lines = self.system.cat(f"/bucket/{folder}/batch/manifest.jsonl").splitlines()
        return {entry.name: entry for entry in (Entry(**json.loads(line)) for line in lines)}


@pytest.fixture
def bucket() -> Iterator[Bucket]:
    found = Bucket()
    found.system.store.clear()
    yield found
    found.system.store.clear()


def row(number: int, **more: Any) -> dict[str, Any]:
    return {"task": "text", "prompt": "a", "size": [16, 16], "steps": 1, "name": f"r{number}", "seed": number, **more}


def lines(rows: Sequence[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(each) + "\n" for each in rows).encode()


def render(file: str, out: str | Path, *options: str, engine: FakeEngine | None = None) -> int:
    words = ["render", file, "--out", str(out), "--batch", "2", *options]
    return cli.main(words, engine=(engine or Copier(), together))


# ------------------------------------------------------------ one file


def test_what_is_an_address() -> None:
    assert is_address("s3://a/b") and is_address("memory://x") and is_address("file:///a")
    assert not any(map(is_address, ("a/b", "/a", "C:\\a", "a:b", "", "://a", "s3:/a")))


def test_a_password_in_an_address_and_a_chain_are_refused_and_not_told() -> None:
    with pytest.raises(Refusal) as refused:
        Storage("sftp://me:secret@host/folder")
    assert "password" in str(refused.value) and "secret" not in str(refused.value)
    with pytest.raises(Refusal, match="a chain"):
        Storage("zip://a.png::s3://bucket/all.zip")
    assert Storage("sftp://me@host/folder").address == "sftp://me@host/folder"


def test_files_are_read_written_listed_and_stamped(bucket: Bucket, tmp_path: Path) -> None:
    for storage in (Storage(bucket.address), Storage(f"file://{tmp_path}/shared")):
        assert storage.names() == set() and storage.stamps() == {} and not storage.is_folder()
        storage.write(b"first", "a/b.txt")
        (tmp_path / "c").write_bytes(b"second")
        storage.send(tmp_path / "c", "c.txt")
        assert storage.names() == {"a/b.txt", "c.txt"} and storage.is_folder()
        assert set(storage.stamps()) == {"c.txt"}
        assert storage.read(3, "a/b.txt") == b"fir"
        before = storage.stamp("c.txt")
        assert storage.stamp("c.txt") == before
        storage.write(b"longer than before", "c.txt")
        assert storage.stamp("c.txt") != before
        storage.fetch(tmp_path / "copy" / "c", "c.txt")
        assert (tmp_path / "copy" / "c").read_bytes() == b"longer than before"
        storage.delete("c.txt")
        assert storage.names() == {"a/b.txt"}
        with pytest.raises(FileNotFoundError):
            storage.read(1, "none")
        with pytest.raises(FileNotFoundError):
            storage.stamp("none")


def test_a_file_that_is_cut_while_it_is_written_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = Storage(f"file://{tmp_path}/shared")
    storage.write(b"before", "a")

    def cut(source: Any, stream: Any, length: int) -> None:
        stream.write(b"ha")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pipelines.files.storage.shutil.copyfileobj", cut)
    (tmp_path / "half").write_bytes(b"half")
    with pytest.raises(StorageError) as told:
        storage.send(tmp_path / "half", "a")
    assert told.value.strerror == "No space left on device"
    assert storage.read(9, "a") == b"before" and storage.names() == {"a"}


def test_a_protocol_whose_package_is_missing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(address: str) -> Any:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec.core, "url_to_fs", missing)
    with pytest.raises(StorageError) as told:
        Storage("s3://bucket").names()
    assert told.value.strerror == "needs a package that is not here: Install s3fs to access S3"


# ------------------------------------------------------------ jobs and what they name


def test_job_files_and_folders_of_them_are_read_from_storage(
    bucket: Bucket, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bucket.put("jobs/b.jsonl", lines([row(2)]))
    bucket.put("jobs/a.json", json.dumps(row(1)).encode())
    bucket.put("jobs/below/c.json", json.dumps(row(3)).encode())
    bucket.put("jobs/notes.txt", b"no jobs")
    assert render("memory://bucket/jobs", tmp_path / "folder") == 0
    assert sorted(path.name for path in (tmp_path / "folder").glob("*.png")) == ["r1.png", "r2.png"]
    assert render("memory://bucket/jobs/b.jsonl", tmp_path / "file") == 0
    capsys.readouterr()
    assert render("memory://bucket/none.jsonl", tmp_path / "none") == 2
    assert capsys.readouterr().err.endswith("memory://bucket/none.jsonl: there is no such file; check the address\n")
    assert render("nowhere://bucket/none.jsonl", tmp_path / "none") == 2
    assert "can not be read: Protocol not known: nowhere" in capsys.readouterr().err
    bucket.put("bad.jsonl", b"{}\n")
    assert render("memory://bucket/bad.jsonl", tmp_path / "none") == 2
    assert "memory://bucket/bad.jsonl, document 1, field task" in capsys.readouterr().err


def test_files_that_rows_name_are_fetched_and_the_record_tells_the_address(bucket: Bucket, tmp_path: Path) -> None:
    sources = [bucket.picture(f"in/{n}.png", 10 * n) for n in range(1, 4)]
    rows = [
        {"task": "masked", "keep_frames": "0", "source": source, "name": f"m{n}"} for n, source in enumerate(sources, 1)
    ]
    (tmp_path / "rows.jsonl").write_bytes(lines(rows))
    engine = Copier()
    assert render(str(tmp_path / "rows.jsonl"), tmp_path / "out", engine=engine) == 0
    assert np.asarray(Image.open(tmp_path / "out" / "m2.png")).mean() == 20
    record = json.loads((tmp_path / "out" / "m2.json").read_text())
    assert record["job"]["source"] == "memory://bucket/in/2.png"
    engine.batches.clear()
    assert render(str(tmp_path / "rows.jsonl"), tmp_path / "out", engine=engine) == 0 and not engine.batches
    bucket.picture("in/2.png", 99)
    assert render(str(tmp_path / "rows.jsonl"), tmp_path / "out", engine=engine) == 0
    assert engine.batches, "another picture is another row"
    assert np.asarray(Image.open(tmp_path / "out" / "m2.png")).mean() == 99, "the same job, so the same name"


def test_a_file_that_is_not_in_storage_is_refused_with_its_row_and_field(
    bucket: Bucket, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = bucket.picture("in.png", 1)
    rows = [
        {"task": "masked", "keep_frames": "0", "source": name}
        for name in (good, "memory://bucket/out.png", "nowhere://x/y.png")
    ]
    (tmp_path / "rows.jsonl").write_bytes(lines(rows))
    engine = Copier()
    assert render(str(tmp_path / "rows.jsonl"), tmp_path / "out", engine=engine) == 2 and not engine.batches
    told = capsys.readouterr().err.splitlines()
    assert "document 2, field source: there is no file 'memory://bucket/out.png'" in told[0]
    assert "document 3, field source: 'nowhere://x/y.png' can not be fetched: Protocol not known" in told[1]


def test_a_refusal_of_a_copy_tells_the_address(bucket: Bucket, tmp_path: Path) -> None:
    class Picky(Copier):
        def check(self, job: Job) -> FakeEstimate:
            assert isinstance(job, MaskedJob)
            raise Refusal("source", f"{job.source}: expected a picture")

    name = bucket.put("a.png", b"none")
    with pytest.raises(Refusal, match=r"memory://bucket/a\.png: expected a picture"):
        Fetching(Picky(), tmp_path).check(parse({"task": "masked", "keep_frames": "0", "source": name}))


def test_parts_of_jobs_and_folders_of_frames_are_fetched(bucket: Bucket, tmp_path: Path) -> None:
    seen: list[Job] = []

    class Seeing(Copier):
        def check(self, job: Job) -> FakeEstimate:
            seen.append(job)
            return FakeEstimate()

    layer, frame = bucket.picture("layer.png", 3), bucket.picture("frames/0000.png", 4)
    engine = Fetching(Seeing(), tmp_path)
    box = {"box": [0, 0, 0.5, 0.5], "prompt": "a star"}
    job = {"task": "layered", "prompt": "a", "layers": [box, {**box, "source": layer}]}
    engine.check(parse(job))
    found = seen[0].layers  # type: ignore[union-attr]
    assert found[0].source is None and Path(str(found[1].source)).read_bytes() == fsspec.open(layer).open().read()
    engine.check(
        parse(
            {"task": "masked", "keep_frames": "0", "source": frame.rpartition("/")[0], "prompt": "s3://is a word here"}
        )
    )
    assert [path.name for path in Path(seen[1].source).iterdir()] == ["0000.png"]  # type: ignore[arg-type,union-attr]


def test_a_folder_in_storage_is_watched(bucket: Bucket) -> None:
    bucket.put("jobs/a.jsonl", b"half")
    looks: list[Any] = [
        lambda: bucket.put("jobs/a.jsonl", b"half and the rest"),
        lambda: bucket.put("jobs/notes.txt", b"no jobs"),
        lambda: bucket.put("jobs/b.yaml", b"b"),
        lambda: None,
    ]

    def sleep(seconds: float) -> None:
        if not looks:
            raise KeyboardInterrupt
        looks.pop(0)()

    found: list[list[str]] = []
    with pytest.raises(KeyboardInterrupt):
        for files in changed("memory://bucket/jobs", sleep):
            found.append([file.rpartition("/")[2] for file in files])
    assert found == [["a.jsonl"], ["b.yaml"]]


# ------------------------------------------------------------ outputs


def test_outputs_in_storage_are_those_of_a_folder_and_go_on_from_another_machine(
    bucket: Bucket, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "rows.jsonl").write_bytes(lines([row(n) for n in range(1, 6)]))
    rows, engine = str(tmp_path / "rows.jsonl"), FakeEngine()
    assert render(rows, tmp_path / "here") == 0
    assert render(rows, "memory://bucket/out", "--limit", "3", engine=engine) == 0
    assert "memory://bucket/out/r1.png" in capsys.readouterr().out
    assert set(bucket.under("out")) == {"r1.png", "r2.png", "r3.png", "contact-1.png"}
    engine.batches.clear()
    assert render(rows, "memory://bucket/out/", engine=engine) == 0  # nothing of the first call is on this machine
    assert [[job.name for job in batch] for batch in engine.batches] == [["r3", "r4"], ["r5"]]
    there = bucket.under("out")
    assert {path.name: path.read_bytes() for path in (tmp_path / "here").glob("r*.png")} == {
        name: data for name, data in there.items() if name.startswith("r")
    }
    assert {entry.state for entry in bucket.manifest("out").values()} == {"done"}
    assert json.loads(bucket.under("out", "report.json")["report.json"])["done"] == 2
    with Image.open(fsspec.open("memory://bucket/out/batch/contact-1.png").open()) as sheet:
        assert sheet.size[0] == 8 + 5 * 136, "all five, three of them fetched for it"


def test_a_name_in_storage_that_is_another_jobs_is_left_alone(bucket: Bucket, tmp_path: Path) -> None:
    bucket.put("out/r1.png", b"somebody's")
    (tmp_path / "rows.jsonl").write_bytes(lines([row(1)]))
    assert render(str(tmp_path / "rows.jsonl"), "memory://bucket/out") == 0
    assert bucket.under("out")["r1.png"] == b"somebody's" and "r1-2.png" in bucket.under("out")
    assert render(str(tmp_path / "rows.jsonl"), "memory://bucket/out") == 0
    assert "r1-3.png" not in bucket.under("out")


def test_storage_that_takes_nothing_is_refused_or_pauses_the_batch(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "rows.jsonl").write_bytes(lines([row(n) for n in range(1, 5)]))
    rows, send = str(tmp_path / "rows.jsonl"), Storage.send
    assert render(rows, "nowhere://bucket/out") == 2
    assert "--out: expected a folder to write to, got 'nowhere://bucket/out'" in capsys.readouterr().err

    def closed(self: Storage, file: Path, name: str) -> None:
        if name == "r3.png":
            raise StorageError("quota exceeded")
        send(self, file, name)

    monkeypatch.setattr(Storage, "send", closed)
    assert render(rows, "memory://bucket/out") == 1
    told = capsys.readouterr().err
    assert "memory://bucket/out can not be written to (quota exceeded); 2 of 4 are there, and nothing is lost" in told
    monkeypatch.setattr(Storage, "send", send)
    assert {name: entry.state for name, entry in bucket.manifest("out").items()}["r3"] == "waiting"
    assert render(rows, "memory://bucket/out") == 0 and len(bucket.under("out")) == 5


def test_a_call_ends_when_another_begins_in_its_storage(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("pipelines.farm.place.PAUSE", 0.0)
    (tmp_path / "rows.jsonl").write_bytes(lines([row(n) for n in range(1, 9)]))

    class Late(FakeEngine):
        def render(self, jobs: Any, progress: Any) -> Any:
            if len(self.batches) == 2:
                bucket.put("out/batch/driver", b"another")
            return super().render(jobs, progress)

    assert render(str(tmp_path / "rows.jsonl"), "memory://bucket/out", engine=Late()) == 1
    assert "another batch has begun in it" in capsys.readouterr().err


def test_a_grid_wants_a_folder_of_this_machine(
    bucket: Bucket, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "grid.yaml"
    file.write_text("job: {task: text, prompt: a}\naxes: [{seed: [1, 2]}]\n")
    words = ["grid", str(file), "--out", "memory://bucket/out"]
    assert cli.main(words, engine=(FakeEngine(), groups)) == 2
    assert "--out: expected a folder of this machine" in capsys.readouterr().err


DRIVER = """
import sys, time
from pipelines import cli
from pipelines.farm import place
from tests.fakes import FakeEngine, groups

place.PAUSE = 0.2

class Slow(FakeEngine):
    def render(self, jobs, progress):
        time.sleep(0.02)
        return super().render(jobs, progress)

sys.exit(cli.main(["render", *sys.argv[1:]], engine=(Slow(), groups)))
"""


def test_kills_leave_whole_files_in_storage_and_the_final_set_is_the_same(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_bytes(lines([row(n) for n in range(1, 31)]))

    def start(out: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", DRIVER, str(tmp_path / "rows.jsonl"), "--out", out, "--batch", "3", "--quiet"]
        return subprocess.Popen(command, cwd=Path(__file__).parents[1])

    def shown(folder: Path) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in folder.glob("*.png")}

    assert start(str(tmp_path / "calm")).wait() == 0
    expected, out = shown(tmp_path / "calm"), tmp_path / "shared"
    chance, left = random.Random(SEED), KILLS
    while left:
        for path in sorted(out.rglob("*"), reverse=True):  # another round
            path.rmdir() if path.is_dir() else path.unlink()
        while True:
            driver = start(f"file://{out}")
            deadline = time.monotonic() + chance.uniform(0.3, 2.0)
            while left and driver.poll() is None and time.monotonic() < deadline:
                time.sleep(0.005)
            if not left or driver.poll() is not None:
                assert driver.wait() == 0
                break
            driver.send_signal(signal.SIGKILL)
            driver.wait()
            left -= 1
            assert all(expected[name] == data for name, data in shown(out).items()), "whole, or not there"
        assert shown(out) == expected
        entries = [Entry(**json.loads(line)) for line in (out / "batch/manifest.jsonl").read_text().splitlines()]
        assert {entry.name: entry.state for entry in entries} == {f"r{n}": "done" for n in range(1, 31)}
