"""Units on a Ray cluster: the bytes of this machine, and nothing lost when an actor, a node or the driver dies."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pipelines import cli
from pipelines.batch import Options, render
from pipelines.farm.cluster import Actors, Cluster, begin
from pipelines.farm.manifest import FOLDER, read_manifest
from pipelines.farm.place import Place
from pipelines.files.jobfile import Source
from pipelines.job import parse
from tests.fakes import FakeEngine, groups

ray = pytest.importorskip("ray", reason="the extra 'ray' is not here")
pytestmark = [pytest.mark.slow, pytest.mark.enable_socket]


KILLS = int(os.environ.get("DIORAMA_KILLS", "6")) // 2
SEED = int(os.environ.get("DIORAMA_SEED", "1"))
DRIVER = """
import sys
from functools import partial
from pipelines import cli
from pipelines.farm.cluster import Actors, Cluster
from tests.fakes import groups
from tests.test_cluster import Deadly

cli._cluster = lambda args, place: Actors(Cluster(actors=2), place, partial(Deadly, None, 0.2))
words = ["render", *sys.argv[1:], "--engine", "ray", "--batch", "2", "--quiet"]
sys.exit(cli.main(words, engine=(Deadly(), groups)))
"""


class Deadly(FakeEngine):
    """Kills its process at the prompt "die", for good or until a file is there that says it did."""

    def __init__(self, mark: Path | None = None, pause: float = 0.0) -> None:
        super().__init__()
        self.mark, self.pause = mark, pause

    def render(self, jobs: Any, progress: Any) -> Any:
        time.sleep(self.pause)
        if any(job.prompt == "die" for job in jobs) and not (self.mark and self.mark.exists()):
            if self.mark:
                self.mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().render(jobs, progress)


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    begin(num_cpus=2)
    yield
    ray.shutdown()


def sources(*prompts: str) -> list[Source]:
    return [
        Source(
            parse({"task": "text", "prompt": p, "size": [16, 16], "steps": 1, "name": f"r{n}", "seed": n}), "rows", n
        )
        for n, p in enumerate(prompts, 1)
    ]


def rendered(folder: Path, rows: list[Source], crew: Actors | None = None) -> int:
    return render(
        rows, FakeEngine(), groups, Place(folder), costs=[1.0] * len(rows), options=Options(2, quiet=True), crew=crew
    )


def shown(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.png")}


def test_a_cluster_gives_the_bytes_and_the_manifest_of_this_machine(tmp_path: Path, cluster: None) -> None:
    rows = sources(*"abcdefg", "fail")
    assert rendered(tmp_path / "here", rows) == 1
    assert rendered(tmp_path / "there", rows, Actors(Cluster(actors=2), Place(tmp_path / "there"), FakeEngine)) == 1
    assert shown(tmp_path / "here") == shown(tmp_path / "there") and len(shown(tmp_path / "here")) == 7
    told = [
        [
            (entry.name, entry.state, entry.files)
            for entry in read_manifest(tmp_path / place / FOLDER / "manifest.jsonl")
        ]
        for place in ("here", "there")
    ]
    assert told[0] == told[1]


def test_an_actor_that_is_killed_loses_nothing(tmp_path: Path, cluster: None) -> None:
    rows = sources("a", "b", "die", "d", "e", "f")
    assert (
        rendered(
            tmp_path / "out",
            rows,
            Actors(Cluster(actors=2), Place(tmp_path / "out"), partial(Deadly, tmp_path / "mark")),
        )
        == 0
    )
    assert (tmp_path / "mark").exists() and len(shown(tmp_path / "out")) == 6
    assert {entry.state for entry in read_manifest(tmp_path / "out" / FOLDER / "manifest.jsonl")} == {"done"}


def test_a_row_that_kills_every_actor_fails_and_the_others_come_through(tmp_path: Path, cluster: None) -> None:
    rows = sources("a", "b", "die", "d", "e", "f")
    assert rendered(tmp_path / "out", rows, Actors(Cluster(actors=2), Place(tmp_path / "out"), Deadly)) == 2
    entries = {entry.name: entry for entry in read_manifest(tmp_path / "out" / FOLDER / "manifest.jsonl")}
    assert [name for name, entry in entries.items() if entry.state == "failed"] == ["r3", "r4"], (
        "the unit that it is in"
    )
    assert "its renderer died 3 times" in entries["r3"].reason


def test_the_command_reaches_a_cluster_and_goes_on_after_its_driver_is_killed(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    line = {"task": "text", "size": [16, 16], "steps": 1}
    rows.write_text("".join(json.dumps({**line, "prompt": "a", "name": f"r{n}", "seed": n}) + "\n" for n in range(24)))
    out = tmp_path / "out"
    command = [sys.executable, "-c", DRIVER, str(rows), "--out", str(out)]
    driver = subprocess.Popen(command, cwd=Path(__file__).parents[1])
    while len(shown(out)) < 4:
        assert driver.poll() is None
        time.sleep(0.05)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    assert 4 <= len(shown(out)) < 24
    assert subprocess.run(command, cwd=Path(__file__).parents[1]).returncode == 0
    assert len(shown(out)) == 24
    assert {entry.state for entry in read_manifest(out / FOLDER / "manifest.jsonl")} == {"done"}


class Nodes:
    """Nodes of a cluster as processes of this machine: one for drivers, and some that render."""

    def __init__(self, count: int) -> None:
        from ray.cluster_utils import Cluster as Local

        quick = {"health_check_period_ms": 500, "health_check_failure_threshold": 3, "health_check_timeout_ms": 2000}
        self._cluster = Local(
            initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, "_system_config": quick}
        )
        self._nodes = [self._cluster.add_node(num_cpus=1) for _ in range(count)]
        self._cluster.wait_for_nodes()
        self.address = str(self._cluster.address)

    def kill(self, number: int) -> None:
        """As when a machine loses its power."""
        self._cluster.remove_node(self._nodes.pop(number), allow_graceful=False)

    def join(self) -> None:
        self._nodes.append(self._cluster.add_node(num_cpus=1))

    def close(self) -> None:
        self._cluster.shutdown()


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    if ray.is_initialized():  # of the tests before
        ray.shutdown()
    found = Nodes(2)
    yield found
    ray.shutdown()
    found.close()


def test_a_cluster_that_is_there_is_joined_by_name_alone(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    def reached() -> bool:
        found = ray.get_runtime_context().gcs_address == nodes.address
        ray.shutdown()
        return bool(found)

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    begin(num_cpus=1)
    assert not reached()
    monkeypatch.setenv("RAY_ADDRESS", nodes.address)
    begin()
    assert reached()


def test_a_node_that_is_killed_loses_nothing_of_what_goes_to_storage(tmp_path: Path, nodes: Nodes) -> None:
    begin(nodes.address)
    rows, shared = sources(*"abcdefghijklmnop"), tmp_path / "shared"
    place = Place(f"file://{shared}")
    killed = []

    def kill() -> None:
        while len(shown(shared)) < 4:
            time.sleep(0.05)
        nodes.kill(0)
        killed.append(len(shown(shared)))

    killer = threading.Thread(target=kill)
    killer.start()
    crew = Actors(Cluster(actors=2), place, partial(Deadly, None, 0.3))
    assert render(rows, FakeEngine(), groups, place, costs=[1.0] * 16, options=Options(2, quiet=True), crew=crew) == 0
    killer.join()
    assert killed[0] < 16, "it was killed while rows were rendered"
    assert rendered(tmp_path / "here", rows) == 0
    assert shown(shared) == shown(tmp_path / "here")
    assert {entry.state for entry in read_manifest(shared / FOLDER / "manifest.jsonl")} == {"done"}


AT_ADDRESS = DRIVER.replace("Actors(Cluster(actors=2)", "Actors(Cluster(args.address, 2)").replace("0.2)", "0.1)")


def actors() -> list[int]:
    """Processes of actors that hold an engine."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            with suppress(OSError):
                if b"MapWorker" in (folder / "cmdline").read_bytes():
                    found.append(int(folder.name))
    return found


def test_drivers_actors_and_nodes_killed_at_random_change_no_byte(tmp_path: Path, nodes: Nodes) -> None:
    rows = tmp_path / "rows.jsonl"
    line = {"task": "text", "size": [16, 16], "steps": 1, "prompt": "a"}
    rows.write_text("".join(json.dumps({**line, "name": f"r{n}", "seed": n}) + "\n" for n in range(60)))
    here = ["render", str(rows), "--out", str(tmp_path / "here"), "--batch", "2", "--quiet"]
    assert cli.main(here, engine=(FakeEngine(), groups)) == 0
    expected = shown(tmp_path / "here")
    chance, left, round_ = random.Random(SEED), [("driver", "actor", "node")[n % 3] for n in range(KILLS)], 0
    chance.shuffle(left)
    hits = []
    while left:
        out, round_ = tmp_path / f"round-{round_}", round_ + 1
        words = [str(rows), "--out", str(out), "--address", nodes.address]
        command = [sys.executable, "-c", AT_ADDRESS, *words]
        driver = subprocess.Popen(command, cwd=Path(__file__).parents[1])
        while True:
            before, deadline = len(shown(out)), time.monotonic() + 60
            while driver.poll() is None and len(shown(out)) == before and time.monotonic() < deadline:
                time.sleep(0.01)  # kills that come before anything is rendered would say little
            if driver.poll() is not None:
                assert driver.returncode == 0
                break
            time.sleep(chance.uniform(0.0, 0.5))
            if not left:
                assert driver.wait() == 0
                break
            kind = left.pop()
            if kind == "driver":
                driver.send_signal(signal.SIGKILL)
                driver.wait()
                driver = subprocess.Popen(command, cwd=Path(__file__).parents[1])
            elif kind == "node":
                nodes.kill(chance.randrange(2))
                nodes.join()
            elif there := actors():
                os.kill(chance.choice(there), signal.SIGKILL)
            hits.append(kind)
            there = shown(out)
            assert all(expected[name] == data for name, data in there.items()), "whole, or not there"
        assert shown(out) == expected
        entries = read_manifest(out / FOLDER / "manifest.jsonl")
        assert len(entries) == 60 and {entry.state for entry in entries} == {"done"}
    print(f"seed {SEED}: {dict(Counter(hits))} in {round_} rounds")
    assert len(hits) == KILLS


def test_an_engine_on_the_cluster_draws_the_bytes_of_the_one_here(tmp_path: Path, tiny: Path, cluster: None) -> None:
    import torch

    from pipelines.engine import Engine
    from pipelines.engine import groups as real

    job = {"task": "text", "model": str(tiny), "size": [64, 64], "steps": 2}
    rows = [
        Source(parse({**job, "prompt": f"a {colour} star", "seed": n, "name": f"r{n}"}), "rows", n)
        for n, colour in enumerate(("red", "blue", "green", "white", "black"), 1)
    ]
    crew = Actors(Cluster(actors=1, threads=torch.get_num_threads()), Place(tmp_path / "there"), partial(Engine, "cpu"))
    for place, who in (("here", None), ("there", crew)):
        options = Options(2, quiet=True)
        assert (
            render(rows, Engine("cpu"), real, Place(tmp_path / place), costs=[1.0] * 5, options=options, crew=who) == 0
        )
    assert shown(tmp_path / "here") == shown(tmp_path / "there") and len(shown(tmp_path / "here")) == 5
