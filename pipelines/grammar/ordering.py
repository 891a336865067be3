"""An order of things along one axis, grown from sentences such as "left of", each of which must fit those before."""

from __future__ import annotations

from collections.abc import Sequence


class Axis:
    """An order of groups along one axis, from "before" and "level with", which never contradicts itself."""

    def __init__(self, count: int) -> None:
        self._before: list[tuple[int, int]] = []
        self._level: list[tuple[int, int]] = []
        self._count = count
        self.tied: set[tuple[int, int]] = set()
        self._ranks = dict.fromkeys(range(count), 0)

    def add(self, first: int, second: int) -> bool:
        """Put `first` before `second`, unless that contradicts what was said before."""
        return self._keep(self._before, first, second)

    def align(self, first: int, second: int) -> bool:
        """Put both at one place of this axis, unless that contradicts what was said before."""
        return self._keep(self._level, first, second)

    def _keep(self, pairs: list[tuple[int, int]], first: int, second: int) -> bool:
        pairs.append((first, second))
        ranks = _ranks(self._count, self._before, self._level)
        if ranks is None:
            pairs.pop()
            return False
        self._ranks = ranks
        self.tied |= {(first, second), (second, first)}
        return True

    def dense(self, groups: Sequence[int]) -> dict[int, int]:
        """Where each of `groups` stands, counted from 0 and without gaps."""
        order = sorted({self._ranks[g] for g in groups})
        return {g: order.index(self._ranks[g]) for g in groups}


def _ranks(count: int, before: Sequence[tuple[int, int]], level: Sequence[tuple[int, int]]) -> dict[int, int] | None:
    """The longest chain before each; None where there is a circle."""
    same = list(range(count))
    for a, b in level:
        a, b = same[a], same[b]
        same = [a if k == b else k for k in same]
    follows = [(same[a], same[b]) for a, b in before]
    ranks = dict.fromkeys(same, 0)
    waiting = {k: {a for a, b in follows if b == k} for k in ranks}
    while waiting:
        ready = [k for k, needed in waiting.items() if not needed]
        if not ready:
            return None
        for k in ready:
            del waiting[k]
        for k, needed in waiting.items():
            ranks[k] = max([ranks[k], *(ranks[r] + 1 for r in ready if r in needed)])
            needed.difference_update(ready)
    return {g: ranks[same[g]] for g in range(count)}
