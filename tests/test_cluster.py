"""Units on a Ray cluster: the bytes of this machine, and nothing lost when an actor, a node or the driver dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pipelines.batch import Options, render
from pipelines.farm.cluster import Actors, Cluster, begin
from pipelines.farm.manifest import FOLDER, read_manifest
from pipelines.farm.place import Place
from pipelines.files.jobfile import Source
from pipelines.job import parse
from tests.fakes import FakeEngine, groups

ray = pytest.importorskip("ray", reason="the extra 'ray' is not here")
pytestmark = [pytest.mark.slow, pytest.mark.enable_socket]


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
