"""What an installed Diorama has: every file of ours that it reads, also where nobody cloned the repository."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

TOP = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def packed() -> set[str]:
    """Files of a wheel, as setuptools lists them, relative to where it is installed."""
    pytest.importorskip("setuptools")
    from setuptools import Distribution
    from setuptools.config.pyprojecttoml import apply_configuration

    before = Path.cwd()
    os.chdir(TOP)
    try:
        command = apply_configuration(Distribution({"script_name": "setup.py"}), "pyproject.toml").get_command_obj(
            "build_py"
        )
        command.ensure_finalized()
        return {Path(name).relative_to(command.build_lib).as_posix() for name in command.get_outputs(False)}
    finally:
        os.chdir(before)


def files(folder: str, pattern: str = "*") -> set[str]:
    found = (path for path in (TOP / folder).rglob(pattern) if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(TOP).as_posix() for path in found}


def test_a_wheel_holds_the_words_of_the_page_and_all_assets(packed: set[str]) -> None:
    assert {"ui/words.yaml", "assets/presets.yaml", "assets/papercut/model_index.json"} <= packed
    assert files("assets") <= packed


def test_a_wheel_holds_all_code_and_nothing_else(packed: set[str]) -> None:
    code = {"app.py"}.union(*(files(folder, "*.py") for folder in ("models", "pipelines", "training", "ui")))
    assert code <= packed
    assert packed - code - files("assets") == {"ui/reasons.yaml", "ui/words.yaml"}
