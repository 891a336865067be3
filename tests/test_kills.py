"""SIGKILL at random moments: every output is whole or absent, and in the end nothing is lost, doubled or different.

Twelve kills by default. The long run, with another seed each time it is asked for:

    DIORAMA_KILLS=100 DIORAMA_SEED=7 pytest tests/test_kills.py
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from pipelines.files.output import OutputFolder
from pipelines.queue.queue import Queue
from tests.kills import JOBS, Killer, jobs, outputs
from tests.paced import PacedEngine, over, text, working

KILLS = int(os.environ.get("DIORAMA_KILLS", "12"))
SEED = int(os.environ.get("DIORAMA_SEED", "1"))


@pytest.mark.parametrize("left", [[], [".diorama-0123.tmp"]], ids=["empty", "with a part of the first frame"])
def test_frames_of_a_killed_video_go_where_they_were_begun(tmp_path: Path, left: list[str]) -> None:
    job = text(frames=2, png_frames=True)
    (tmp_path / "text-005").mkdir()
    for name in left:
        (tmp_path / "text-005" / name).touch()
    assert OutputFolder(tmp_path).claim(job, 5) == "text-005"
    (tmp_path / "text-005" / "notes.txt").touch()
    assert OutputFolder(tmp_path).claim(job, 5) == "text-005-2", "that is somebody else's folder"


@pytest.mark.slow
def test_kills_at_random_moments_lose_double_and_change_nothing(tmp_path: Path) -> None:
    undisturbed = tmp_path / "undisturbed"
    queue = Queue(undisturbed)
    ids = [queue.add(job) for job in jobs()]
    with working(queue, undisturbed, PacedEngine()):
        assert {over(queue, id).state for id in ids} == {"done"}
    expected = outputs(undisturbed)

    killer = Killer(tmp_path, expected, random.Random(SEED), KILLS)
    rounds = 0
    while killer.left:
        killer.folder = tmp_path / str(rounds)
        killer.run(resume_interrupted=rounds % 2 == 1)
        rounds += 1
        rows = Queue(killer.folder).rows(2 * JOBS)
        assert sorted(row.number for row in rows) == list(range(1, JOBS + 1)) and {row.state for row in rows} == {
            "done"
        }
        files = [name for row in rows for name in row.files]
        assert len(files) == len(set(files)) and set(files) == set(expected), "each output belongs to one row"
        assert outputs(killer.folder) == expected
    print(f"seed {SEED}: {killer.hits} in {rounds} rounds, {killer.offered} jobs were offered again")
    assert sum(killer.hits.values()) == KILLS and killer.offered, "some kill hit a render"
