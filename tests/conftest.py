"""What all tests share. Sockets are blocked but for 127.0.0.1: see addopts in pyproject.toml."""

from __future__ import annotations

import os

from hypothesis import settings

# Set before any library reads them: a test that would reach out fails at once and not after a timeout.
os.environ.update({"HF_HUB_OFFLINE": "1", "GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1"})

# Tests do not judge time, and in continuous integration the same examples are drawn on every run.
settings.register_profile("diorama", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("diorama")
