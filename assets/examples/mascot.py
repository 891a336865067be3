"""Twenty pictures of a pim, to try a fine-tuning run with: `python assets/examples/mascot.py`.

A pim is pink, which the embedded checkpoint has never seen, and has two ears and two white eyes, which no thing of its
world has; it is cut from the same paper. Beside the twenty stand pictures of the world without it, from which a run
learns to leave what the model knew as it was.

Looking for a pim in a picture is `mascot_score.py`. Lengths are in short sides as in `training/scene.py`.
"""

from __future__ import annotations

import argparse
import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from training.data.likeness import alike, likeness
from training.drawing import SHADOW_ALPHA, SHADOW_OFFSET, SHADOW_SOFTNESS, render
from training.papercut import World
from training.pixels import Pixels, to_pixels
from training.scene import COLOURS, CORE_COLOURS, CORE_SHAPES, HELD_OUT_PAIRS, RADII, SCENERY, Scene, Thing

NAME, BODY, EYES = "pim", "pink", "white"
SIZES = {"small": 0.15, "medium": 0.2, "large": 0.28}  # half its height
SIDE, OLD = 128, 400
GROUNDS = (*CORE_COLOURS, *SCENERY)
# Where the first of two stands, and where the second: two tokens from the middle of a picture, so that a pim is cut
# into tokens there as it is in the middle. Anywhere else it would be cut in as many ways as there are pictures.
SIDES = {
    "left of": ((0.25, 0.5), (0.75, 0.5)),
    "right of": ((0.75, 0.5), (0.25, 0.5)),
    "above": ((0.5, 0.25), (0.5, 0.75)),
    "below": ((0.5, 0.75), (0.5, 0.25)),
}


@dataclass(frozen=True)
class Cut:
    """A piece of paper of the figure, in radii of it: a stroke with round ends, which may be a disc."""

    colour: str
    start: tuple[float, float]
    end: tuple[float, float]
    radius: float

    def distance(self, x: Tensor, y: Tensor) -> Tensor:
        """Signed distance to the outline, negative inside."""
        (ax, ay), (bx, by) = self.start, self.end
        ex, ey = bx - ax, by - ay
        t = (((x - ax) * ex + (y - ay) * ey) / max(ex * ex + ey * ey, 1e-9)).clamp(0, 1)
        return ((x - ax - ex * t).square() + (y - ay - ey * t).square()).sqrt() - self.radius


OUTLINE = (
    Cut(BODY, (0.0, 0.28), (0.0, 0.28), 0.7),
    Cut(BODY, (-0.36, -0.2), (-0.42, -0.74), 0.24),
    Cut(BODY, (0.36, -0.2), (0.42, -0.74), 0.24),
)
# Smaller eyes, or teal ones, do not outlast the checkpoint's autoencoder in a small pim.
LOOK = (Cut(EYES, (-0.28, 0.2), (-0.28, 0.2), 0.23), Cut(EYES, (0.28, 0.2), (0.28, 0.2), 0.23))


# ---------------------------------------------------------------- drawing


def pim(ground: str, size: str = "medium", x: float = 0.5, y: float = 0.5) -> Scene:
    """A pim alone. Its colours are its own, so that captions name none."""
    return Scene((Thing(NAME, "", size, x, y, SIZES[size], 0.0),), ground)


def beside(relation: str, company: tuple[str, str], ground: str, first: bool = True) -> Scene:
    """A pim and a Papercut thing of a colour and a shape; `first` tells whether a caption begins with the pim."""
    mine, other = SIDES[relation] if first else reversed(SIDES[relation])
    colour, shape = company
    things = (
        Thing(NAME, "", "medium", *mine, SIZES["medium"], 0.0),
        Thing(shape, colour, "medium", *other, RADII["medium"], 0.0),
    )
    return Scene(things if first else things[::-1], ground, relation)


def draw(scene: Scene, side: int = SIDE, body: str = BODY, eyes: str = EYES) -> Pixels:
    """[side, side, 3] the scene; pims of other colours are for tests of who looks for one."""
    pims = [thing for thing in scene.things if thing.shape == NAME]
    others = replace(scene, things=tuple(thing for thing in scene.things if thing.shape != NAME))
    picture = render([others], side, side, layered=False).picture[0]
    ys, xs = torch.meshgrid(*[(torch.arange(side) + 0.5) / side] * 2, indexing="ij")
    for thing in pims:
        for colour, cuts in ((body, OUTLINE), (eyes, LOOK)):
            cover = (0.5 - silhouette(thing, xs, ys, cuts) * side).clamp(0, 1)
            moved = silhouette(thing, xs - SHADOW_OFFSET, ys - SHADOW_OFFSET, cuts)
            shadow = SHADOW_ALPHA * torch.sigmoid(-moved / SHADOW_SOFTNESS)
            paint = torch.tensor(COLOURS[colour])[:, None, None] / 255
            picture = picture * (1 - shadow * (1 - cover)) * (1 - cover) + paint * cover
    return to_pixels(picture)


def silhouette(thing: Thing, xs: Tensor, ys: Tensor, cuts: Sequence[Cut] = OUTLINE) -> Tensor:
    """[H, W] signed distance to some cuts of a pim, by the places of pixels."""
    x, y = (xs - thing.x) / thing.radius, (ys - thing.y) / thing.radius
    return torch.stack([cut.distance(x, y) for cut in cuts]).amin(0) * thing.radius


# ---------------------------------------------------------------- which pictures


def twenty() -> list[Scene]:
    """The twenty: twelve of a pim alone, in the middle, and eight beside something, each where its caption says.

    Each of the world's grounds is there, most of them with two sizes: with six grounds, pims on the others came out in
    the ground's colour, and where a ground had one size, another size was drawn badly on it.
    """
    alone = [
        ("blue", "medium"), ("red", "medium"), ("white", "small"), ("sea", "small"), ("purple", "small"),
        ("night", "large"), ("red", "small"), ("orange", "small"), ("green", "large"), ("meadow", "large"),
        ("yellow", "large"), ("black", "large"),
    ]  # fmt: skip
    together = [
        ("left of", ("red", "circle"), "white", True), ("right of", ("blue", "square"), "orange", True),
        ("above", ("yellow", "star"), "sea", True), ("below", ("green", "heart"), "purple", True),
        ("left of", ("white", "square"), "green", False), ("right of", ("orange", "circle"), "black", False),
        ("above", ("purple", "ring"), "meadow", False), ("below", ("red", "triangle"), "night", False),
    ]  # fmt: skip
    return [*(pim(*each) for each in alone), *(beside(*each) for each in together)]


def new(count: int = 50) -> list[Scene]:
    """Scenes whose captions none of the twenty has: two in five of a pim alone, the others beside something.

    Every ground is in one of the twenty, and none of the things beside is.
    """
    chance, seen = random.Random(50), {scene.caption for scene in twenty()}
    shown = {thing.pair for scene in twenty() for thing in scene.things}
    alone = [scene for ground in GROUNDS for size in SIZES if (scene := pim(ground, size)).caption not in seen]
    pairs = [pair for pair in itertools.product(CORE_COLOURS, CORE_SHAPES) if pair not in HELD_OUT_PAIRS | shown]
    together = [
        beside(relation, pair, ground, first)
        for relation, pair, ground, first in itertools.product(SIDES, pairs, GROUNDS, (True, False))
        if pair[0] != ground
    ]
    few = 2 * count // 5
    return [*chance.sample(alone, few), *chance.sample(together, count - few)]


def old() -> Iterator[Scene]:
    """Scenes of the world whose pictures look, to a preflight, like none before them and none of the twenty."""
    world = World(seed=1, placement="canonical")
    seen = [likeness(Image.fromarray(draw(scene)).convert("RGBA")) for scene in twenty()]
    for index in itertools.count():
        looks = likeness(Image.fromarray(draw(scene := world.scene(index))).convert("RGBA"))
        if not any(alike(looks, other) for other in seen):
            seen.append(looks)
            yield scene


def write(folder: Path, captions: bool = True) -> list[Path]:
    """Write the twenty into `folder`/pim and pictures without a pim, which always have captions, into `folder`/old.

    Args:
        folder: is made where it is not there.
        captions: whether the twenty have some.

    Returns:
        The pictures.
    """
    written = []
    for name, scenes, told in (
        (NAME, twenty(), captions),
        ("old", itertools.islice(old(), OLD), True),
    ):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number, scene in enumerate(scenes):
            path = folder / name / f"{number:03d}.png"
            Image.fromarray(draw(scene)).save(path)
            written.append(path)
            path.with_suffix(".txt").unlink(missing_ok=True)
            if told:
                path.with_suffix(".txt").write_text(scene.caption + "\n")
    return written


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="Twenty pictures of a pim, and some of the world that has none.")
    parser.add_argument("--out", type=Path, default=Path("runs/mascot"), help="the folder to write into")
    parser.add_argument("--no-captions", action="store_true", help="the twenty without their captions")
    options = parser.parse_args()
    written = write(options.out, not options.no_captions)
    told = "without captions" if options.no_captions else "with captions"
    print(f"20 pictures of a {NAME} {told}: {options.out / NAME}")
    print(f"{len(written) - 20} pictures of what the model knows: {options.out / 'old'}")


if __name__ == "__main__":
    main()
