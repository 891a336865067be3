"""What all tests share. Sockets are blocked but for 127.0.0.1: see addopts in pyproject.toml."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# Set before any library reads them: a test that would reach out fails at once and not after a timeout.
os.environ.update({"HF_HUB_OFFLINE": "1", "GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1"})

# Processes that test side by side share the cores.
if (processes := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))) > 1:
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))

# Tests do not judge time, and in continuous integration the same examples are drawn on every run.
settings.register_profile("diorama", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("diorama")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Side by side, a file's tests stay in one process, for they share what one of them made; pages of docs do not."""
    for item in items:
        group = item.path.stem
        if group == "test_docs" and "commands_of_a_page" in item.name:
            # `ray stop` on the page of clusters ends every cluster of the machine.
            group = "test_cluster" if item.name.endswith("[cluster]") else item.nodeid
        item.add_marker(pytest.mark.xdist_group(group))


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small checkpoint with random weights. Torch is loaded by the tests that ask for it."""
    from tests.tiny import tiny_checkpoint

    return tiny_checkpoint(tmp_path_factory.mktemp("checkpoint") / "tiny")
