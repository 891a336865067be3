"""Who a Papercut portrait shows, what it says of itself, and how it holds its head and blinks; drawing it is `face.py`.

A portrait is a pure function of (seed, index), and so is all that it does at a time: frames may be taken at any rate.
What its mouth does comes from outside, as a `Mouth` for each frame (see `voice.py`).

Lengths are in units of the picture's short side, origin top left, x to the right, y down. "Of the head" is a frame of
reference with its origin in the middle of the head, turned with it, in units of its scale.
"""

from __future__ import annotations

import math
import random
import zlib
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from .scene import CORE_COLOURS, SCENERY, Scene, article

CUTS = ("short", "long", "bun")
CHEEKS = ("blush", "freckles")
EYES = ("brown", "blue", "green")
SHIRTS = ("teal", "pink", "grey")
OUTDOORS = 0.25  # share of portraits with scenery
ALIKE = frozenset({("white", "sea")})  # a ground's name and a colour that is lost on it

Box = tuple[float, float, float, float]

# Of the head: half its width and height, and the box outside of which a mouth changes no pixel.
HEAD = (0.22, 0.28)
MOUTH_BOX: Box = (-0.165, 0.062, 0.165, 0.268)
SIZE = 1.15  # of a usual head, as a scale
HOME = 0.03  # how far below the middle of the picture the middle of the head is

# Seconds: one blink in each slot where nobody tells other times, how long it takes, and how long the eye is shut. A
# paper eye is slower than ours, so that a blink is seen in two frames at 8 a second.
SLOT, BLINK, SHUT = 2.5, 0.3, 0.2
SWAY, NOD, TILT = 0.014, 0.009, 0.035  # how far the head goes sideways, up and down, and turns (radians), at most


class Mouth(NamedTuple):
    """How a mouth is held, each number in 0..1: how far it is open, how wide it is, and how round."""

    opening: float
    width: float
    roundness: float


MOUTHS: dict[str, Mouth] = {
    "closed": Mouth(0.0, 0.5, 0.0),
    "ah": Mouth(1.0, 0.6, 0.3),
    "ee": Mouth(0.26, 1.0, 0.0),
    "oh": Mouth(0.66, 0.3, 1.0),
    "oo": Mouth(0.3, 0.0, 1.0),
}


class Stand(NamedTuple):
    """Where a head is: its middle in short sides, its scale, and its turn in radians, clockwise."""

    x: float
    y: float
    scale: float
    angle: float

    def place(self, x: float, y: float) -> tuple[float, float]:
        """A point of the head, in short sides of the picture."""
        cos, sin = math.cos(self.angle) * self.scale, math.sin(self.angle) * self.scale
        return self.x + x * cos - y * sin, self.y + x * sin + y * cos

    def around(self, box: Box) -> Box:
        """The upright box around a box of the head, in short sides."""
        x0, y0, x1, y1 = box
        xs, ys = zip(*(self.place(x, y) for x in (x0, x1) for y in (y0, y1)), strict=True)
        return min(xs), min(ys), max(xs), max(ys)


@dataclass(frozen=True)
class Portrait:
    """One person. Colours are names of `COLOURS`.

    Attributes:
        skin: colour of the face.
        hair: colour of hair and brows.
        ground: a colour or the name of a scenery.
        cut: of the hair, one of CUTS.
        cheeks: one of CHEEKS.
        eyes: colour of the irises, one of EYES.
        shirt: one of SHIRTS.
        x: how far the head's home is right of the usual place.
        y: how far below.
        scale: of head and shoulders, 1 is usual.
        wave: of the scenery, as `Scene.wave`.
        seed: of head motion, and of blinks where `blinks` says nothing.
        blinks: middles of blinks, in seconds; None is one in each slot.
    """

    skin: str
    hair: str
    ground: str
    cut: str = "short"
    cheeks: str = "blush"
    eyes: str = "brown"
    shirt: str = "teal"
    x: float = 0.0
    y: float = 0.0
    scale: float = 1.0
    wave: float = 0.25
    seed: int = 0
    blinks: tuple[float, ...] | None = None

    @property
    def backdrop(self) -> Scene:
        """The ground as a scene without things."""
        return Scene((), self.ground, wave=self.wave)

    @property
    def caption(self) -> str:
        """`a yellow face with black hair on a blue background`."""
        return f"{self.short} {self.backdrop.ground_words}"

    @property
    def paraphrase(self) -> str:
        """The same content in another order."""
        return f"{self.backdrop.ground_words}, {self.short}"

    @property
    def short(self) -> str:
        """The person without the ground."""
        return f"{article(self.skin)} face with {self.hair} hair"

    @property
    def is_held_out_caption(self) -> bool:
        """Whether the caption is kept for evaluation: one in sixteen, by a hash."""
        return zlib.crc32(self.caption.encode()) % 16 == 0

    def home(self, aspect: tuple[float, float] = (1.0, 1.0)) -> Stand:
        """Where the head is when it does not move, in a picture of width and height `aspect` in short sides."""
        return Stand(aspect[0] / 2 + self.x, aspect[1] / 2 + HOME + self.y, SIZE * self.scale, 0.0)

    def stand(self, time: float, aspect: tuple[float, float] = (1.0, 1.0)) -> Stand:
        """Where the head is at `time` seconds."""
        home, (dx, dy, angle) = self.home(aspect), _sway(self.seed, time)
        return Stand(home.x + dx, home.y + dy, home.scale, angle)

    def lids(self, time: float) -> float:
        """How far the eyes are open at `time` seconds, 0..1: a blink is 0 in its middle."""
        middles = self.blinks
        if middles is None:
            slot = math.floor(time / SLOT)
            middles = (slot * SLOT + _blink(self.seed, slot),)
        off = min((abs(time - middle) for middle in middles), default=math.inf)
        return _smooth((off - SHUT / 2) / ((BLINK - SHUT) / 2))

    def face_box(self, time: float, aspect: tuple[float, float] = (1.0, 1.0)) -> Box:
        """Box x0, y0, x1, y1 in 0..1 around the head, without hair and ears."""
        return _share(self.stand(time, aspect).around((-HEAD[0], -HEAD[1], HEAD[0], HEAD[1])), aspect)

    def mouth_box(self, time: float, aspect: tuple[float, float] = (1.0, 1.0)) -> Box:
        """Box x0, y0, x1, y1 in 0..1 that holds every pixel which the mouth may change, however it is held."""
        return _share(self.stand(time, aspect).around(MOUTH_BOX), aspect)


@dataclass(frozen=True)
class Cast:
    """The distribution of portraits. `portrait(index)` depends on nothing but the fields here and the index."""

    seed: int = 0
    split: str = "train"  # train | unseen (held-out captions) | any
    colours: tuple[str, ...] = CORE_COLOURS

    def portrait(self, index: int) -> Portrait:
        """Portrait `index`."""
        rng = random.Random((self.seed << 64) ^ (index << 8) ^ zlib.crc32(f"{self.split} portrait".encode()))
        while True:
            portrait = self._draw(rng)
            if self.split == "any" or portrait.is_held_out_caption == (self.split == "unseen"):
                return portrait

    def _draw(self, rng: random.Random) -> Portrait:
        skin, hair, ground = rng.sample(self.colours, 3)
        if rng.random() < OUTDOORS:
            fitting = [name for name in SCENERY if not {(skin, name), (hair, name)} & ALIKE]
            ground = rng.choice(fitting)
        return Portrait(
            skin,
            hair,
            ground,
            cut=rng.choice(CUTS),
            cheeks=rng.choice(CHEEKS),
            eyes=rng.choice(EYES),
            shirt=rng.choice(SHIRTS),
            x=rng.uniform(-0.02, 0.02),
            y=rng.uniform(-0.02, 0.02),
            scale=rng.uniform(0.97, 1.03),
            wave=rng.uniform(0, 0.5),
            seed=rng.getrandbits(32),
        )


def _share(box: Box, aspect: tuple[float, float]) -> Box:
    """A box in short sides as shares of the picture, held to it."""
    (x0, y0, x1, y1), (wide, tall) = box, aspect
    return max(x0 / wide, 0.0), max(y0 / tall, 0.0), min(x1 / wide, 1.0), min(y1 / tall, 1.0)


def _smooth(share: float) -> float:
    """0..1 to 0..1 with a soft start and end."""
    share = min(max(share, 0.0), 1.0)
    return share * share * (3 - 2 * share)


@lru_cache(maxsize=4096)
def _waves(seed: int) -> tuple[tuple[tuple[float, float, float], ...], ...]:
    """For sideways, up and down, and turning: strength, speed in radians a second, and phase of two waves each."""
    rng = random.Random(seed)
    return tuple(
        tuple((share, 2 * math.pi * rng.uniform(*speeds), rng.uniform(0, 2 * math.pi)) for share, speeds in waves)
        for waves in [((0.65, (0.12, 0.3)), (0.35, (0.4, 0.8)))] * 3
    )


def _sway(seed: int, time: float) -> tuple[float, float, float]:
    """Sideways, down and turn at a time."""
    dx, dy, turn = (
        sum(share * math.sin(speed * time + phase) for share, speed, phase in waves) for waves in _waves(seed)
    )
    return SWAY * dx, NOD * dy, TILT * turn


@lru_cache(maxsize=4096)
def _blink(seed: int, slot: int) -> float:
    """The middle of the blink of a slot, in seconds from the slot's beginning. Blinks never run into the next slot."""
    return random.Random((seed << 32) ^ (slot & 0xFFFFFFFF)).uniform(BLINK, SLOT - BLINK)
