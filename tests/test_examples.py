"""The render scripts of assets/examples: their rows are right, their files are there, and they render."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from models.checkpoint import EMBEDDED
from pipelines import Studio, cli
from pipelines.engine import Engine
from pipelines.files.jobfile import read_jobs
from pipelines.job import DubbingJob, Job, LayeredJob, ScenesJob, TextJob
from tests.speaking import hearing

TOP = EMBEDDED.parent
SCRIPTS = {"products": 60, "storyboard": 13, "banner": 10, "dubbing": 3}


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths in job files are those of somebody who stands where the README does."""
    monkeypatch.chdir(TOP)


def rows(name: str) -> list[Job]:
    table, other = (EMBEDDED / "examples" / f"{name}.{suffix}" for suffix in ("csv", "yaml"))
    sources = read_jobs([table], template=other) if table.exists() else read_jobs([other])
    return [source.job for source in sources]


def quick(job: Job, model: Path) -> Job:
    """The job with a tiny checkpoint and two steps."""
    return job.model_copy(update={"model": str(model), "steps": 2, "internal_guidance": None})


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_has_the_rows_that_it_tells_of_and_each_has_a_name(name: str) -> None:
    found = rows(name)
    assert len(found) == len({job.name for job in found}) == SCRIPTS[name]
    assert len({job.model_dump_json(exclude={"name"}) for job in found}) == SCRIPTS[name], "no two rows are the same"


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_embedded_checkpoint_renders_every_row_without_a_warning(name: str) -> None:
    engine = Engine("cpu")
    assert [engine.check(job).warnings for job in rows(name)] == [[]] * SCRIPTS[name]


def test_products_storyboard_and_banner_render(tiny: Path, tmp_path: Path) -> None:
    board = rows("storyboard")
    chosen = [rows("products")[0], board[0], board[-1], rows("banner")[1]]
    assert [type(job) for job in chosen] == [TextJob, TextJob, ScenesJob, LayeredJob]
    results = Studio(tmp_path, "cpu").render([quick(job, tiny) for job in chosen])
    assert [result.reason for result in results] == [""] * 4
    suffixes = {file.suffix for file in results[-1].files}
    assert suffixes == {".png", ".psd", ".ora"} and results[2].path is not None and results[2].path.suffix == ".mp4"


def test_the_dubbing_list_is_refused_by_a_model_that_hears_nothing_and_renders_with_one_that_does(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    template = tmp_path / "dubbing.yaml"
    template.write_text(f"{Path('assets/examples/dubbing.yaml').read_text()}model: {tiny}\n")
    words = ["assets/examples/dubbing.csv", "--template", str(template), "--out", str(tmp_path / "out")]
    assert cli.main(["render", *words]) == 2
    assert "dubbing.csv, document 1, field model: " in capsys.readouterr().err
    speaks = hearing(tiny, tmp_path / "hearing")
    listed = [quick(job, speaks) for job in rows("dubbing")]
    result = Studio(tmp_path / "out", "cpu").render(listed[:1])[0]
    assert isinstance(listed[0], DubbingJob) and result.reason == "" and result.path is not None


def test_the_evaluation_counts_what_it_reads_and_goes_on_where_it_was(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(EMBEDDED / "examples"))
    import evaluation  # type: ignore[import-not-found]

    words = ["evaluation.py", str(tiny), "--count", "2", "--steps", "1", "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", words)
    evaluation.main()
    first = capsys.readouterr().out
    assert "exact: 0.000" in first and len(first.splitlines()) > 4
    before = {path.name: os.stat(path).st_mtime_ns for path in tmp_path.glob("case-*")}
    evaluation.main()
    assert capsys.readouterr().out == first
    assert {path.name: os.stat(path).st_mtime_ns for path in tmp_path.glob("case-*")} == before and len(before) == 4
    verdicts = [json.loads(line) for line in (tmp_path / "verdicts.jsonl").read_text().splitlines()]
    assert [verdict["exact"] for verdict in verdicts] == [False, False]
