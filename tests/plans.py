"""Random token plans for property tests."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from models.plan import Segment, TokenPlan, grid, words


@st.composite
def plans(draw: st.DrawFn, most: int = 9) -> TokenPlan:
    """Up to five classes over ragged context and picture segments; some tokens see a single key, some are given."""
    count = draw(st.integers(1, 5))
    names = [f"c{i}" for i in range(count)]
    segments = []
    for kind in ("prompt", "frame"):
        for i in range(draw(st.integers(1, 4))):
            size = draw(st.integers(1, most))
            per_token = draw(st.booleans())
            sees = (
                draw(st.lists(st.sampled_from(names), min_size=size, max_size=size))
                if per_token
                else draw(st.sampled_from(names))
            )
            given = np.array(draw(st.lists(st.booleans(), min_size=size, max_size=size))) & (kind == "frame")
            positions = words(size) if kind == "prompt" else grid(1, 1, size, t=i)
            segments.append(Segment(f"{kind} {i}", kind, positions, given, sees))
    used = sorted({n for s in segments for n in ([s.sees_as] if isinstance(s.sees_as, str) else s.sees_as)})
    rows = {name: frozenset(draw(st.lists(st.sampled_from(used), min_size=1, unique=True))) for name in used}
    return TokenPlan(tuple(segments), rows)


def scene_plan(lengths: list[int], prompt: int, joined: bool = False, given: int = 0) -> TokenPlan:
    """Scenes of unequal length with a prompt each; the first `given` scenes are given."""
    n = len(lengths)
    prompts = [Segment(f"prompt {i}", "prompt", words(prompt), sees_as=f"p{i}") for i in range(n)]
    frames = [
        Segment(f"scene {i}", "frame", grid(1, 1, length, t=i), given=i < given, sees_as=f"f{i}")
        for i, length in enumerate(lengths)
    ]
    every = frozenset(f"f{i}" for i in range(n))
    table = {f"p{i}": frozenset({f"p{i}", f"f{i}"}) for i in range(n)}
    table |= {f"f{i}": frozenset({f"p{i}"}) | (every if joined else {f"f{i}"}) for i in range(n)}
    return TokenPlan((*prompts, *frames), table)
