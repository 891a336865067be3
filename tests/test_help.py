"""What is light stays light: help, schema and job files load no heavy library."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {"accelerate", "av", "cv2", "diffusers", "gradio", "peft", "torch", "transformers"}
ROOT = Path(__file__).parents[1]


def loaded_by(code: str) -> set[str]:
    """The top modules that a fresh Python has loaded after `code`."""
    code += "\nimport json, sys; print('\\n' + json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "words",
    [["--help"], ["--version"], ["render", "--help"], ["train", "--help"], ["caption", "--help"], ["ablate", "--help"]],
)
def test_help_loads_nothing_but_the_standard_library(words: list[str]) -> None:
    code = f"from pipelines.cli import main\ntry: main({words})\nexcept SystemExit: pass"
    assert loaded_by(code) & (HEAVY | {"numpy", "pydantic", "yaml", "PIL"}) == set()


def test_the_schema_and_job_files_load_nothing_heavy() -> None:
    code = "from pipelines.files.jobfile import read_jobs; read_jobs(['assets/examples/demo.yaml'])"
    assert loaded_by(code) & (HEAVY | {"numpy", "PIL"}) == set()


def test_a_refused_call_has_loaded_nothing_heavy() -> None:
    assert loaded_by("from pipelines.cli import main\nassert main(['render', 'absent.yaml']) == 2") & HEAVY == set()


def test_help_names_the_commands() -> None:
    done = subprocess.run([sys.executable, "-m", "pipelines.cli", "--help"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0
    assert all(command in done.stdout for command in ("render", "train", "studio"))
