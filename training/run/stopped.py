"""What ends a run before its last step."""

from __future__ import annotations


class Stopped(Exception):
    """A run that can not go on: one sentence of why, what is left, and what to do."""
