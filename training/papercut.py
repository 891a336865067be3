"""Papercut: the procedural world that the embedded checkpoint is trained on.

A sample is a pure function of (seed, index): `World.scene` is a picture, `World.clip` a video of one scene and
`World.story` several scenes of one subject. What scenes are and say is `scene.py`, how they are drawn `drawing.py`,
and reading pixels back `parser.py` and `clips.py`. The names that training needs can all be had from here.

Lengths are in units of the picture's short side, origin top left, x to the right, y down.
"""

from __future__ import annotations

import math
import random
import zlib
from dataclasses import dataclass, replace
from typing import Literal

from .drawing import render as render
from .motion import MOTIONS as MOTIONS
from .motion import possible, sweep
from .scene import COLOURS as COLOURS
from .scene import CORE_COLOURS, CORE_SHAPES, HELD_OUT_PAIRS, RADII, RELATIONS, SCENERY, Scene, Thing
from .scene import SHAPES as SHAPES
from .scene import frames_of as frames_of
from .scene import vocabulary as vocabulary

MARGIN = 0.03
COMPANY = 0.15  # share of clips in which something stands beside the subject
OUTDOORS = 0.4  # share of clips with scenery: a film needs places


@dataclass(frozen=True)
class Mixture:
    """Shares of the scene kinds; they need not add up to one."""

    single: float = 0.15
    related: float = 0.55
    listed: float = 0.08
    counted: float = 0.14
    three: float = 0.08


# What the embedded model is scored on: relation, two colours, two shapes, ground; sizes only where they are said.
TWO = Mixture(single=0, related=1, listed=0, counted=0, three=0)


@dataclass(frozen=True)
class World:
    """The distribution of scenes. `scene(index)` depends on nothing but the fields here and the index."""

    seed: int = 0
    mixture: Mixture = Mixture()
    colours: tuple[str, ...] = CORE_COLOURS
    shapes: tuple[str, ...] = CORE_SHAPES
    split: str = "train"  # train | unseen (held-out captions) | pairs (held-out colour-shape pairs) | any
    # A caption says "left of" and not how far: anywhere leaves the rest to chance, canonical leaves almost nothing
    # open, which is what a small model learns from in hours and not in days.
    placement: Literal["anywhere", "canonical"] = "anywhere"

    def scene(self, index: int, aspect: tuple[float, float] = (1.0, 1.0)) -> Scene:
        """Scene `index` for a picture of width and height `aspect` in short sides (the smaller is 1)."""
        rng = self._random(index, self.split)
        while True:
            scene = self._draw(rng, aspect)
            if scene is not None and self._belongs(scene):
                return scene

    def clip(self, index: int, aspect: tuple[float, float] = (1.0, 1.0)) -> Scene:
        """Clip `index`: one scene whose subject, the first thing, moves; sometimes beside something that does not."""
        return self._tell(self._random(index, f"{self.split} clip"), 1, aspect)[0]

    def story(self, index: int, scenes: int = 3, aspect: tuple[float, float] = (1.0, 1.0)) -> tuple[Scene, ...]:
        """Story `index`: scenes of one subject. From each to the next ground and motion change, and the company."""
        return self._tell(self._random(index, f"{self.split} story"), scenes, aspect)

    def _random(self, index: int, stream: str) -> random.Random:
        return random.Random((self.seed << 64) ^ (index << 8) ^ zlib.crc32(stream.encode()))

    def _belongs(self, scene: Scene) -> bool:
        if self.split == "any":
            return True
        if self.split == "pairs":
            return scene.has_held_out_pair
        return not scene.has_held_out_pair and scene.is_held_out_caption == (self.split == "unseen")

    def _draw(self, rng: random.Random, aspect: tuple[float, float]) -> Scene | None:
        kinds = {"single": 1, "related": 2, "listed": 2, "counted": rng.choice((2, 3)), "three": 3}
        kind = rng.choices(tuple(kinds), [getattr(self.mixture, name) for name in kinds])[0]
        ground = rng.choice(tuple(SCENERY)) if rng.random() < 0.25 else rng.choice(self.colours)
        relation = rng.choice(RELATIONS) if kind == "related" else None
        palette = [colour for colour in self.colours if colour != ground]
        names = [(rng.choice(self.shapes), rng.choice(palette)) for _ in range(kinds[kind])]
        sizes = [_draw_size(rng, kind) for _ in names]
        if kind == "counted":
            names, sizes = [names[0]] * len(names), [sizes[0]] * len(sizes)
        elif len(set(names)) < len(names):
            return None
        if relation == "inside":
            sizes = ["small", "large"]
            if names[0][1] == names[1][1]:
                return None
        canonical = self.placement == "canonical"
        loose, tilt = self._looseness
        things = [
            Thing(shape, colour, size, 0, 0, RADII[size] * rng.uniform(1 - loose, 1 + loose), rng.uniform(-tilt, tilt))
            for (shape, colour), size in zip(names, sizes, strict=True)
        ]
        if canonical:
            places: list[tuple[float, float]] | None = _canonical(rng, len(things), relation, aspect)
        else:
            places = _place(rng, [thing.radius for thing in things], relation, aspect)
        if places is None:
            return None
        things = [replace(thing, x=x, y=y) for thing, (x, y) in zip(things, places, strict=True)]
        return Scene(tuple(things), ground, relation, kind == "counted", self._wave(rng))

    def _tell(self, rng: random.Random, count: int, aspect: tuple[float, float]) -> tuple[Scene, ...]:
        """`count` scenes with one subject, each of which belongs to the split."""
        subject = self._paper(rng)
        while self.split != "any" and (subject.pair in HELD_OUT_PAIRS) != (self.split == "pairs"):
            subject = self._paper(rng)
        told: list[Scene] = []
        while len(told) < count:
            scene = self._act(rng, subject, told[-1] if told else None, aspect)
            if scene is not None and self._belongs(scene):
                told.append(scene)
        return tuple(told)

    def _act(
        self, rng: random.Random, subject: Thing, before: Scene | None, aspect: tuple[float, float]
    ) -> Scene | None:
        """A scene of the subject after the scene `before`; None where chance chose what does not go together."""
        ground = rng.choice(tuple(SCENERY)) if rng.random() < OUTDOORS else rng.choice(self.colours)
        others = (self._paper(rng),) if rng.random() < COMPANY else ()
        seen = {subject.pair, *(thing.pair for thing in (before.things[1:] if before else ()))}
        if ground in {thing.colour for thing in (subject, *others)} or any(other.pair in seen for other in others):
            return None
        if before and ground == before.ground:
            return None
        motion = rng.choice(
            [
                motion
                for motion in possible(subject.shape)
                if not (before and before.things[0].motion == motion) and (not others or _fits(subject, motion, aspect))
            ]
        )
        if self.placement == "canonical" or others:
            places = _canonical(rng, 1 + len(others), None, aspect)
        else:
            room = sweep(motion)
            pads = [by + room.reach * subject.radius + MARGIN for by in (room.dx, room.dy)]
            places = [(rng.uniform(pads[0], aspect[0] - pads[0]), rng.uniform(pads[1], aspect[1] - pads[1]))]
        acting = [replace(subject, motion=motion), *(replace(other, motion="stays still") for other in others)]
        things = [replace(thing, x=x, y=y) for thing, (x, y) in zip(acting, places, strict=True)]
        return Scene(tuple(things), ground, wave=self._wave(rng))

    def _paper(self, rng: random.Random) -> Thing:
        """Something small enough to move about."""
        size = rng.choices(("small", "medium"), (0.25, 0.75))[0]
        loose, tilt = self._looseness
        radius = RADII[size] * rng.uniform(1 - loose, 1 + loose)
        return Thing(rng.choice(self.shapes), rng.choice(self.colours), size, 0, 0, radius, rng.uniform(-tilt, tilt))

    @property
    def _looseness(self) -> tuple[float, float]:
        """How far a radius may be from its size's, as a share, and how far a thing leans, in radians."""
        return (0.02, 0.0) if self.placement == "canonical" else (0.05, 0.1)

    def _wave(self, rng: random.Random) -> float:
        return rng.uniform(0, 0.5) if self.placement == "canonical" else rng.uniform(0, 2 * math.pi)


def _fits(subject: Thing, motion: str, aspect: tuple[float, float]) -> bool:
    """Whether the left one of two can move so without leaving the picture or touching what stands at the right."""
    (left, middle), (right, _) = PLACES[1]
    room, loose = sweep(motion), 0.03
    reach = room.reach * subject.radius
    free = min(left * aspect[0] - MARGIN, (right - left) * aspect[0] - 1.08 * RADII["medium"] - MARGIN) - loose
    return room.dx + reach <= free and room.dy + reach <= middle * aspect[1] - MARGIN - loose


def _draw_size(rng: random.Random, kind: str) -> str:
    """Sizes are mostly medium, so that a caption without a size word has one meaning and few words."""
    large = {"single": 0.2, "related": 0.08, "listed": 0.05, "counted": 0.0, "three": 0.0}[kind]
    small = {"single": 0.2, "related": 0.12, "listed": 0.1, "counted": 0.4, "three": 0.3}[kind]
    return rng.choices(("small", "medium", "large"), (small, 1 - small - large, large))[0]


# Centres as fractions of width and height: one thing, two, three.
PLACES = (((0.5, 0.5),), ((0.26, 0.5), (0.74, 0.5)), ((0.5, 0.27), (0.26, 0.73), (0.74, 0.73)))


def _canonical(
    rng: random.Random, count: int, relation: str | None, aspect: tuple[float, float]
) -> list[tuple[float, float]]:
    """Centres where a caption's reader would put the things, and a little off."""
    places = list(PLACES[count - 1])
    if relation == "inside":
        places = [(0.5, 0.5)] * 2
    elif relation in ("above", "below"):
        places = [(y, x) for x, y in places]
    if relation in ("right of", "below"):
        places.reverse()
    # Two large triangles leave 0.04 between them.
    off = (rng.uniform(-0.02, 0.02), rng.uniform(-0.02, 0.02))
    return [
        (x * aspect[0] + off[0] + rng.uniform(-0.01, 0.01), y * aspect[1] + off[1] + rng.uniform(-0.01, 0.01))
        for x, y in places
    ]


def _place(
    rng: random.Random, radii: list[float], relation: str | None, aspect: tuple[float, float]
) -> list[tuple[float, float]] | None:
    """Centres that keep the margin, do not touch and obey the relation; None where no room was found."""

    def anywhere(radius: float) -> tuple[float, float]:
        pad = radius * 1.08 + MARGIN
        return rng.uniform(pad, aspect[0] - pad), rng.uniform(pad, aspect[1] - pad)

    if relation == "inside":
        x, y = anywhere(radii[1])
        slack = 0.1 * radii[1]
        return [(x + rng.uniform(-slack, slack), y + rng.uniform(-slack, slack)), (x, y)]
    for _ in range(40):
        places = [anywhere(radius) for radius in radii]
        gaps = [
            math.dist(places[i], places[j]) - (radii[i] + radii[j]) * 1.08 for i in range(len(radii)) for j in range(i)
        ]
        if gaps and min(gaps) < 0.03:
            continue
        if relation is None:
            return places
        dx, dy = places[1][0] - places[0][0], places[1][1] - places[0][1]
        along, across = {"left of": (dx, dy), "right of": (-dx, dy), "above": (dy, dx), "below": (-dy, dx)}[relation]
        if along > 1.6 * abs(across):
            return places
    return None
