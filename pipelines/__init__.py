"""Job schema, plan per task, the sampling loop, media in and out, queue, batch, command line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipelines.studio import Studio as Studio


def __getattr__(name: str) -> Any:
    """`from pipelines import Studio`; loaded when it is first asked for, for `diorama --help` needs none of it."""
    if name == "Studio":
        from pipelines.studio import Studio

        return Studio
    raise AttributeError(f"module 'pipelines' has no attribute {name!r}")
