"""Multi-scene jobs for tests, and a count of what the model is asked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from models.plan import TokenPlan
from pipelines.engine import Engine
from pipelines.estimate import Rendered
from pipelines.job import ScenesJob, parse

PROMPTS = (
    "a red star", "a blue ring in a meadow", "a green heart by the sea", "a black circle", "two white squares",
    "a large yellow triangle under a night sky",
)  # fmt: skip
LENGTHS = (3, 2, 4, 2, 3, 2)


def scenes(count: int, **changes: dict[str, Any]) -> list[dict[str, Any]]:
    """The first `count` scenes; `changes` such as s2={...} are of the scene of that number, from 1."""
    parts = [{"prompt": PROMPTS[i], "frames": LENGTHS[i], "seed": i} for i in range(count)]
    for name, change in changes.items():
        parts[int(name[1:]) - 1] |= change
    return parts


def story(checkpoint: Path | str, parts: Sequence[dict[str, Any]], **fields: Any) -> ScenesJob:
    base = {"task": "scenes", "model": str(checkpoint), "size": [64, 80], "steps": 3, "scenes": list(parts)}
    made = parse(base | fields)
    assert isinstance(made, ScenesJob)
    return made


def render(engine: Engine, job: Any) -> Rendered:
    return engine.render([job], lambda step, steps: True)[0]


@dataclass
class Asked:
    """Each call of the model: its plan, and the picture tokens that it was shown."""

    plans: list[TokenPlan] = field(default_factory=list)
    tokens: list[Any] = field(default_factory=list)

    @property
    def calls(self) -> int:
        return len(self.plans)


@contextmanager
def asked(engine: Engine, checkpoint: Path | str) -> Iterator[Asked]:
    """What the model is asked inside of the block."""
    found = Asked()

    def note(module: Any, args: tuple[Any, ...], options: dict[str, Any]) -> None:
        found.plans.append(options["plan"])
        found.tokens.append(args[0].clone())

    handle = engine.checkpoint(str(checkpoint)).transformer.register_forward_pre_hook(note, with_kwargs=True)
    try:
        yield found
    finally:
        handle.remove()
