"""The token plan: what each token is, where it is, how noisy it is and whom it sees.

Every task is one of these. A plan holds no tensors and knows no model; `models/attention.py` executes it and
`models/mmdit.py` runs it. This file imports nothing of ours.

Shape suffixes: N tokens, C visibility classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.Image import Image

Kind = Literal["prompt", "speech", "picture", "frame", "layer", "reference"]
CONTEXT: frozenset[str] = frozenset({"prompt", "speech"})
AXES = ("t", "y", "x", "l")


def grid(frames: int, height: int, width: int, *, t: int = 0, y: int = 0, x: int = 0, l: int = 0) -> NDArray[np.int64]:
    """[frames * height * width, 4] positions of a block of picture tokens, t outermost and x innermost."""
    axes = np.meshgrid(np.arange(frames) + t, np.arange(height) + y, np.arange(width) + x, [l], indexing="ij")
    return np.stack(axes, -1).reshape(-1, 4)


def words(count: int, *, t: int = 0, y: int = 0, x: int = 0, start: int = 0) -> NDArray[np.int64]:
    """[count, 4] positions of prompt tokens: word by word on the l axis, as FLUX.2 was trained, from t, y and x."""
    positions = np.zeros((count, 4), np.int64)
    positions[:, :3], positions[:, 3] = (t, y, x), np.arange(start, start + count)
    return positions


def speech_words(frames: int, per_frame: int, start: int = 0) -> NDArray[np.int64]:
    """[frames * per_frame, 4] positions of speech tokens: t of their frame, from `start`; on l their number in it."""
    return grid(frames, 1, 1, t=start).repeat(per_frame, 0) + np.tile(words(per_frame), (frames, 1))


def middle(box: tuple[int, int, int, int]) -> tuple[int, int]:
    """(y, x) of the token in the middle of a rectangle (y0, x0, y1, x1) of tokens, the upper left of four."""
    y0, x0, y1, x1 = box
    return (y0 + y1 - 1) // 2, (x0 + x1 - 1) // 2


@dataclass(frozen=True, eq=False)
class Segment:
    """A run of tokens of one kind. `given` and `sees_as` hold for all of them, or one value a token.

    Args:
        name: for people, such as `scene 2` or `red circle`.
        kind: what the tokens are; prompt and speech go to the model's context stream, the rest to its picture stream.
        positions: [N, 4] integers on t, y, x, l.
        given: whether the tokens stand at timestep 0 and are written back clean after each step.
        sees_as: the visibility class, a key of the plan's table.
    """

    name: str
    kind: Kind
    positions: NDArray[np.int64]
    given: bool | NDArray[np.bool_] = False
    sees_as: str | Sequence[str] = "all"

    def __len__(self) -> int:
        return len(self.positions)


@dataclass(frozen=True, eq=False)
class TokenPlan:
    """Segments in request order and the table of who sees whom.

    Args:
        segments: context segments (prompt, speech) first, then the picture stream's.
        table: for each visibility class the classes that its tokens see. None: all see all.
        adapters: by the name of an adapter how much it acts on each token, [N]. Those that are not named act on all
            tokens alike; see `models/adapter/blend.py`.

    Raises:
        ValueError: a picture segment before a context segment, an unknown class, tokens that see nothing, or weights
            that are not one for each token.
    """

    segments: tuple[Segment, ...]
    table: Mapping[str, frozenset[str]] | None = None
    adapters: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        streams = [segment.kind in CONTEXT for segment in self.segments]
        if streams != sorted(streams, reverse=True):
            raise ValueError("a plan lists its prompt and speech segments before its picture segments")
        for segment in self.segments:
            if segment.positions.shape != (len(segment), 4):
                raise ValueError(f"segment {segment.name!r} needs positions [N, 4], got {segment.positions.shape}")
        used = set(self.class_names)
        if self.table is not None:
            if missing := used - set(self.table):
                raise ValueError(f"visibility classes without a row in the table: {', '.join(sorted(missing))}")
            for name in used:
                if not self.table[name] & used:
                    raise ValueError(f"tokens of class {name!r} would see no token at all")
        for name, weights in self.adapters.items():
            if weights.shape != (self.tokens,):
                raise ValueError(f"adapter {name!r} needs weights [{self.tokens}], got {list(weights.shape)}")

    # ------------------------------------------------------------ per token

    @cached_property
    def tokens(self) -> int:
        """Number of tokens in both streams."""
        return sum(len(segment) for segment in self.segments)

    @cached_property
    def context_tokens(self) -> int:
        """Number of tokens in the context stream."""
        return sum(len(segment) for segment in self.segments if segment.kind in CONTEXT)

    @cached_property
    def positions(self) -> NDArray[np.int64]:
        """[N, 4] in request order."""
        return np.concatenate([segment.positions for segment in self.segments])

    @cached_property
    def given(self) -> NDArray[np.bool_]:
        """[N] timestep role: True stands at 0, False at the step's own time."""
        return np.concatenate([np.broadcast_to(np.asarray(s.given, bool), len(s)) for s in self.segments])

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """Visibility classes that have tokens, in order of first use."""
        seen: dict[str, None] = {}
        for segment in self.segments:
            names = [segment.sees_as] if isinstance(segment.sees_as, str) else segment.sees_as
            seen |= dict.fromkeys(names if len(segment) else ())
        return tuple(seen)

    @cached_property
    def classes(self) -> NDArray[np.int64]:
        """[N] index into `class_names`."""
        index = {name: i for i, name in enumerate(self.class_names)}
        parts = []
        for segment in self.segments:
            names = [segment.sees_as] * len(segment) if isinstance(segment.sees_as, str) else segment.sees_as
            if len(names) != len(segment):
                raise ValueError(f"segment {segment.name!r} has {len(segment)} tokens and {len(names)} classes")
            parts.append(np.array([index[name] for name in names], np.int64))
        return np.concatenate(parts)

    @cached_property
    def visibility(self) -> NDArray[np.bool_]:
        """[C, C] row sees column."""
        names = self.class_names
        if self.table is None:
            return np.ones((len(names), len(names)), bool)
        return np.array([[other in self.table[name] for other in names] for name in names])

    def with_pictures(self, keep: NDArray[np.int64]) -> TokenPlan:
        """The plan with only these tokens of the picture stream, by ascending index in it; the context stays whole."""
        kept = np.zeros(self.tokens, bool)
        kept[: self.context_tokens] = True
        kept[self.context_tokens + np.asarray(keep)] = True
        segments, start = [], 0
        for segment in self.segments:
            here = kept[start : start + len(segment)]
            start += len(segment)
            given = segment.given if isinstance(segment.given, bool) else segment.given[here]
            sees_as = segment.sees_as
            if not isinstance(sees_as, str):
                sees_as = [name for name, stays in zip(sees_as, here, strict=True) if stays]
            segments.append(replace(segment, positions=segment.positions[here], given=given, sees_as=sees_as))
        adapters = {name: weights[kept] for name, weights in self.adapters.items()}
        return TokenPlan(tuple(segments), self.table, adapters)

    # ------------------------------------------------------------ plan order

    @cached_property
    def class_order(self) -> tuple[int, ...]:
        """Classes in the order of the execution: those that see the same stand together, so that groups are slices."""
        rows = self.visibility
        first = {row.tobytes(): i for i, row in reversed(list(enumerate(rows)))}
        return tuple(sorted(range(len(rows)), key=lambda i: (first[rows[i].tobytes()], i)))

    @cached_property
    def order(self) -> NDArray[np.int64]:
        """[N] request index of each token in plan order: by class, and by request order within a class."""
        rank = np.empty(len(self.class_names), np.int64)
        rank[list(self.class_order)] = np.arange(len(rank))
        return np.argsort(rank[self.classes], kind="stable")

    @cached_property
    def inverse(self) -> NDArray[np.int64]:
        """[N] plan index of each token in request order; `x[order][inverse] == x`."""
        inverse = np.empty_like(self.order)
        inverse[self.order] = np.arange(self.tokens)
        return inverse

    # ------------------------------------------------------------ counts

    @cached_property
    def pairs(self) -> int:
        """Attended (query, key) pairs of one head in one layer."""
        sizes = np.bincount(self.classes, minlength=len(self.class_names))
        return int(sizes @ self.visibility.astype(np.int64) @ sizes)

    @property
    def density(self) -> float:
        """Attended pairs as a share of all pairs."""
        return self.pairs / self.tokens**2

    def flops(self, *, width: int, double: int, single: int, mlp_ratio: float) -> float:
        """Multiply-adds times two of one forward pass of the blocks, attention counted by attended pairs.

        A double block has 4 square matrices and a SwiGLU of 3 `mlp_ratio` squares a stream; a single block the same
        number, fused. Embedders and heads are left out: they are under one per cent.
        """
        linear = 2 * self.tokens * (4 + 3 * mlp_ratio) * width**2
        attention = 4 * self.pairs * width
        return float((double + single) * (linear + attention))

    # ------------------------------------------------------------ for people

    def __repr__(self) -> str:
        lines = [f"TokenPlan: {self.tokens} tokens, {self.pairs} pairs ({self.density:.0%} of full)"]
        for segment in self.segments:
            if not len(segment):
                continue
            spans = []
            for axis, low, high in zip(AXES, segment.positions.min(0), segment.positions.max(0), strict=True):
                if low or high:
                    spans.append(f"{axis} {low}" if low == high else f"{axis} {low}..{high}")
            given = int(np.broadcast_to(np.asarray(segment.given), len(segment)).sum())
            role = "given" if given == len(segment) else f"{given} given" if given else "generated"
            names = sorted({segment.sees_as} if isinstance(segment.sees_as, str) else set(segment.sees_as))
            seen = sorted(set().union(*(self.table[n] for n in names))) if self.table is not None else ["everything"]
            lines.append(
                f"  {segment.name:<16} {segment.kind:<9} {len(segment):>5}  {role:<10}"
                f" {', '.join(spans) or 'origin':<24} {'/'.join(names)} sees {', '.join(seen)}"
            )
        return "\n".join(lines)

    def draw(self, side: int = 480, name: Callable[[str], str] = str) -> Image:
        """A picture of the plan: rows are queries, columns keys, both in request order; paper marks who sees whom.

        The bar on the left and on top is coloured by kind; hatched means given.

        Args:
            side: of the square, in pixels.
            name: what a segment's name is written as, for readers of other languages.
        """
        from PIL import Image, ImageDraw

        paint = {
            "prompt": (240, 138, 36), "speech": (238, 130, 172), "picture": (48, 92, 204),
            "frame": (58, 157, 84), "layer": (128, 72, 176), "reference": (36, 157, 159),
        }  # fmt: skip
        bar, label = 14, 120
        pick = np.minimum((np.arange(side) * self.tokens) // side, self.tokens - 1)
        seen = self.visibility[np.ix_(self.classes[pick], self.classes[pick])]
        kinds = np.concatenate([np.full(len(s), i) for i, s in enumerate(self.segments)])[pick]
        colour = np.array([paint[segment.kind] for segment in self.segments], np.float64)
        body = np.where(seen[..., None], 0.65 * colour[kinds][None] + 0.35 * 255, 244.0)
        canvas = np.full((side + bar + 2, side + bar + 2 + label, 3), 252.0)
        canvas[bar + 2 :, label + bar + 2 :] = body
        strip = np.where((self.given[pick] & (np.arange(side) % 6 < 3))[:, None], 255.0, colour[kinds])
        canvas[bar + 2 :, label : label + bar] = strip[:, None]
        canvas[:bar, label + bar + 2 :] = strip[None]
        picture = Image.fromarray(canvas.astype(np.uint8))
        pen, start, free = ImageDraw.Draw(picture), 0, 0
        for segment in self.segments:
            top = bar + 2 + start * side // self.tokens
            pen.line([(label - 16, top), (label - 2, top)], fill=(210, 210, 206))
            free = max(free, top + 1)  # names of thin segments stand under each other
            pen.text((2, free), f"{name(segment.name)[:14]} {len(segment)}", fill=(32, 32, 38))
            start, free = start + len(segment), free + 11
        return picture
