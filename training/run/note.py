"""What a checkpoint says beside its tensors: the place in the data and the run file's values, to tell whose it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipelines.refusal import Refusal
from training.tune import TuneConfig

from .store import Store

# What may differ between two starts of a run; that the data are the same is told by their fingerprint.
FREE: Any = {
    "folder": True, "data": True, "keep": True, "samples": True, "log": True,
    "held_out": {"every"}, "loop": {"steps", "workers", "device", "shard"},
}  # fmt: skip


def note_of(config: TuneConfig, store: Store, step: int) -> dict[str, Any]:
    """The note of a checkpoint after `step` steps."""
    return {
        "cursor": store.data.order.cursor(step * config.loop.accumulate).to_json(),
        "content": store.content,
        "config": config.model_dump(mode="json", exclude=FREE),
    }


def check_same(found: Mapping[str, Any], config: TuneConfig, store: Store, step: int) -> None:
    """Whether a checkpoint's note is of this run.

    Raises:
        Refusal: it is of another.
    """
    now = note_of(config, store, step)
    loop = {"compile": False, **found["config"]["loop"]}  # some runs began before there was such a field
    auto = config.loop.precision == "auto"  # what that is may change with the machine, which the run tells
    loop["precision"] = "auto" if auto else found.get("arithmetic", loop["precision"])
    before: Any = {**found["config"], "loop": loop}
    if changed := _changed(before, now["config"]):
        field, before, after = changed
        raise Refusal(
            field,
            f"was {before!r} when the run in {config.folder} began and is {after!r} now; put it back, or set "
            "another folder to begin anew",
        )
    if (found["cursor"], found["content"]) != (now["cursor"], now["content"]):
        raise Refusal(
            "data",
            f"is not what the run in {config.folder} began with: pictures, captions or boxes were changed; "
            "put them back, or set another folder to begin anew",
        )


def _changed(before: Any, now: Any, place: str = "") -> tuple[str, Any, Any] | None:
    """The first value that differs, and where."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for key in (*now, *(key for key in before if key not in now)):
            found = _changed(before.get(key), now.get(key), f"{place}.{key}".lstrip("."))
            if found:
                return found
        return None
    return None if before == now else (place, before, now)
