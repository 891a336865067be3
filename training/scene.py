"""What the Papercut world is made of, and how it is said: colours, shapes, things, scenes and their captions.

Which scenes there are is `papercut.py`, how they move `motion.py`, how they look `drawing.py`.

Lengths are in units of the picture's short side, origin top left, x to the right, y down.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace

from .motion import PROGRAMS

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (214, 48, 49),
    "orange": (240, 138, 36),
    "yellow": (246, 207, 62),
    "green": (58, 157, 84),
    "blue": (48, 92, 204),
    "purple": (128, 72, 176),
    "white": (246, 246, 242),
    "black": (32, 32, 38),
    "pink": (238, 130, 172),
    "brown": (128, 84, 52),
    "teal": (36, 157, 159),
    "grey": (134, 138, 146),
}
CORE_COLOURS = tuple(COLOURS)[:8]
CORE_SHAPES = ("circle", "square", "triangle", "star", "heart", "ring")
SHAPES = (*CORE_SHAPES, "cross", "hexagon", "diamond", "crescent", "flower", "arrow")
PLURALS = {"cross": "crosses"}
RADII = {"small": 0.09, "medium": 0.14, "large": 0.20}
RELATIONS = ("left of", "right of", "above", "below", "inside")
INVERSE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
COUNTS = ("one", "two", "three")
SCENERY = {"meadow": "in a meadow", "night": "under a night sky", "sea": "by the sea"}

# Pairs that no training picture shows: what the model does with them measures composition, not memory.
HELD_OUT_PAIRS = frozenset({("purple", "triangle"), ("yellow", "heart"), ("black", "ring"), ("white", "star")})


@dataclass(frozen=True)
class Thing:
    """One paper shape. (x, y) is its centre and `radius` half its width, in short sides; `angle` in radians.

    With a motion they say where its home is (see `motion.py`); without one, nothing is said and nothing moves.
    """

    shape: str
    colour: str
    size: str
    x: float
    y: float
    radius: float
    angle: float
    motion: str | None = None

    @property
    def words(self) -> str:
        """`large red circle`: the noun phrase without its article; medium is not said."""
        return " ".join(w for w in (self.size if self.size != "medium" else "", self.colour, self.shape) if w)

    @property
    def pair(self) -> tuple[str, str]:
        """Colour and shape."""
        return self.colour, self.shape

    @property
    def told(self) -> str:
        """`a large red circle`, `a red circle bounces`."""
        return article(self.words) + (f" {self.motion}" if self.motion else "")

    def at(self, time: float, duration: float) -> Thing:
        """The thing at `time` seconds of a clip that lasts `duration` seconds, where it stands still."""
        if self.motion is None:
            return self
        pose = PROGRAMS[self.motion](time, duration)
        return replace(
            self,
            x=self.x + pose.dx,
            y=self.y + pose.dy,
            radius=self.radius * pose.factor,
            angle=self.angle + pose.angle,
            motion=None,
        )


@dataclass(frozen=True)
class Scene:
    """What is drawn, bottom first, and where. `relation` holds between the first and the second thing."""

    things: tuple[Thing, ...]
    ground: str
    relation: str | None = None
    counted: bool = False
    wave: float = 0.0

    @property
    def ground_words(self) -> str:
        """The ground in words: `on a blue background`, `in a meadow`."""
        return SCENERY.get(self.ground) or f"on {article(self.ground)} background"

    def subject(self, swap: bool = False) -> str:
        """The things in words. `swap` tells a relation from its other end."""
        first = self.things[0]
        if self.counted:
            noun = first.words.removesuffix(first.shape) + PLURALS.get(first.shape, first.shape + "s")
            return f"{COUNTS[len(self.things) - 1]} {noun}"
        names = [thing.told for thing in self.things]
        if self.relation:
            if swap and self.relation in INVERSE:
                return f"{names[1]} {INVERSE[self.relation]} {names[0]}"
            return f"{names[0]} {self.relation} {names[1]}"
        return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]

    @property
    def caption(self) -> str:
        """Everything that is drawn, in one sentence."""
        return f"{self.subject()} {self.ground_words}"

    @property
    def paraphrase(self) -> str:
        """The same content in another order."""
        if self.relation in INVERSE:
            return f"{self.subject(swap=True)} {self.ground_words}"
        return f"{self.ground_words}, {self.subject()}"

    @property
    def short(self) -> str:
        """The things without their ground."""
        return self.subject()

    @property
    def has_held_out_pair(self) -> bool:
        """Whether a thing shows a colour-shape pair that training never shows."""
        return any(thing.pair in HELD_OUT_PAIRS for thing in self.things)

    @property
    def is_held_out_caption(self) -> bool:
        """Whether the caption is kept for evaluation: one relation and one motion in sixteen, by a hash.

        Both tellings of a relation share it.
        """
        if not self.relation and not self.moves:
            return False
        told = min(self.caption, f"{self.subject(swap=True)} {self.ground_words}")
        return zlib.crc32(told.encode()) % 16 == 0

    @property
    def moves(self) -> bool:
        """Whether this is a clip, whose things have motions."""
        return any(thing.motion for thing in self.things)

    def at(self, time: float, duration: float) -> Scene:
        """The scene as a still, at `time` seconds of a clip that lasts `duration` seconds."""
        return replace(self, things=tuple(thing.at(time, duration) for thing in self.things))


def vocabulary() -> tuple[str, ...]:
    """Every word that captions use or, with motion and portraits, will use."""
    nouns = [name for shape in SHAPES for name in (shape, PLURALS.get(shape, shape + "s"))]
    places = " ".join((*SCENERY.values(), *RELATIONS, "in front of behind on a an background and ,"))
    later = "moves left right up down bounces spins grows shrinks stays still face with hair shape shapes"
    return tuple(dict.fromkeys([*COLOURS, *nouns, *RADII, *COUNTS, *places.split(), *later.split()]))


def article(words: str) -> str:
    """`a red circle`, `an orange star`."""
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def frames_of(scene: Scene, frames: int, fps: float) -> list[Scene]:
    """The stills of a clip at `fps` frames a second, to be drawn: frame k shows the time k / fps."""
    return [scene.at(k / fps, frames / fps) for k in range(frames)]
