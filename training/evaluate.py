"""Judges Papercut pictures against the scenes that were asked for, and scores checkpoints.

`python -m training.evaluate papercut` renders unseen captions with a checkpoint and prints its rates. Reading pixels
is `parser.py`.
"""

from __future__ import annotations

import argparse
import math
import textwrap
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import permutations
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.papercut import TWO, Scene, World, render
from training.parser import MOST_STRAY, Reading, Seen, read

Draw = Callable[[list[str]], Tensor]

ATTRIBUTES = ("count", "ground", "colours", "shapes", "binding", "sizes", "relation", "clean")

# ---------------------------------------------------------------- judging


@dataclass(frozen=True)
class Verdict:
    """Which parts of a picture are as asked, and in words what is not."""

    count: bool
    ground: bool
    colours: bool
    shapes: bool
    binding: bool
    sizes: bool
    relation: bool
    clean: bool
    reason: str

    @property
    def exact_two(self) -> bool:
        """Everything but the sizes."""
        return all(getattr(self, name) for name in ATTRIBUTES if name != "sizes")

    @property
    def exact(self) -> bool:
        """Everything, sizes included: a caption without a size word means medium."""
        return self.exact_two and self.sizes


def judge(reading: Reading, scene: Scene) -> Verdict:
    """Compare what a picture shows with the scene it should show. Nothing unknown ever counts as right."""
    seen, asked = reading.things, scene.things

    def same(*names: str) -> bool:
        return _tally(seen, names) == _tally(asked, names)

    parts = {
        "count": len(seen) == len(asked),
        "ground": reading.ground == scene.ground,
        "colours": same("colour"),
        "shapes": same("shape"),
        "binding": same("colour", "shape"),
        "sizes": same("colour", "shape", "size"),
        "relation": scene.relation is None or _relates(seen, scene),
        "clean": reading.stray <= MOST_STRAY,
    }
    wrong = [name for name, right in parts.items() if not right]
    return Verdict(**parts, reason=f"{', '.join(wrong)}: {reading.words}" if wrong else "")


def _tally(things: Iterable[object], names: Sequence[str]) -> Counter[tuple[str, ...]]:
    return Counter(tuple(getattr(thing, name) for name in names) for thing in things)


def _relates(seen: Sequence[Seen], scene: Scene) -> bool:
    """Whether the relation holds between the two things that look most like the ones named."""

    def likeness(pair: tuple[Seen, ...]) -> list[int]:
        return [
            2 * (a.colour == b.colour) + 2 * (a.shape == b.shape) + (a.size == b.size)
            for a, b in zip(pair, scene.things, strict=False)
        ]

    best = max(permutations(seen, 2), key=lambda pair: sum(likeness(pair)), default=None)
    if best is None or min(likeness(best)) < 2:
        return False
    return scene.relation in best[0].relations_to(best[1])


# ---------------------------------------------------------------- scores


@dataclass(frozen=True)
class Failure:
    """A picture that is not exactly as asked."""

    index: int
    caption: str
    reason: str
    picture: NDArray[np.uint8]  # [H, W, 3]


@dataclass(frozen=True)
class Scores:
    """Shares of `total` pictures, 0..1."""

    total: int
    rates: dict[str, float]
    failures: tuple[Failure, ...] = field(repr=False)

    @property
    def exact(self) -> float:
        """Share of pictures with everything right."""
        return self.rates["exact"]

    @property
    def exact_two(self) -> float:
        """Share of pictures with everything but the sizes right."""
        return self.rates["exact_two"]


def evaluate(draw: Draw, scenes: Sequence[Scene], batch: int = 50) -> Scores:
    """Score `draw`, which takes captions and returns pictures [B, 3, H, W] in 0..1, on what its captions state."""
    names = (*ATTRIBUTES, "exact", "exact_two")
    counts: Counter[str] = Counter()
    failures: list[Failure] = []
    for start in range(0, len(scenes), batch):
        some = scenes[start : start + batch]
        pictures = draw([scene.caption for scene in some])
        for k, (scene, picture) in enumerate(zip(some, pictures, strict=True)):
            verdict = judge(read(picture), scene)
            counts.update(name for name in names if getattr(verdict, name))
            if not verdict.exact:
                failures.append(Failure(start + k, scene.caption, verdict.reason, to_pixels(picture)))
    return Scores(len(scenes), {name: counts[name] / max(len(scenes), 1) for name in names}, tuple(failures))


def evaluate_splits(
    draw: Draw, count: int, world: World, splits: Sequence[str] = ("unseen", "pairs")
) -> dict[str, Scores]:
    """`evaluate` apart for each split of `world`: held-out captions and held-out colour-shape pairs by default."""
    worlds = {split: replace(world, split=split) for split in splits}
    return {split: evaluate(draw, [one.scene(i) for i in range(count)]) for split, one in worlds.items()}


def to_pixels(picture: Tensor) -> NDArray[np.uint8]:
    """[3, H, W] in 0..1 as uint8 [H, W, 3]."""
    return (picture.detach().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()


def contact_sheet(failures: Sequence[Failure], columns: int = 6, side: int = 192) -> NDArray[np.uint8]:
    """Failures with caption and reason as one picture, uint8 RGB [H, W, 3]; white where there is none."""
    line, lines = 13, 6
    rows = max(1, math.ceil(len(failures) / columns))
    sheet = np.full((rows * (side + line * lines), columns * side, 3), 255, np.uint8)
    for k, failure in enumerate(failures):
        top, left = k // columns * (side + line * lines), k % columns * side
        height, width = failure.picture.shape[:2]
        scale = side / max(height, width)
        shown = cv2.resize(
            failure.picture, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_NEAREST
        )
        sheet[top : top + shown.shape[0], left : left + shown.shape[1]] = shown
        words = textwrap.wrap(failure.caption, 30)[:3] + textwrap.wrap(failure.reason, 30)[:3]
        for n, text in enumerate(words):
            at = (left + 2, top + side + line * (n + 1) - 3)
            cv2.putText(sheet, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.33, (0, 0, 0), 1, cv2.LINE_AA)
    return sheet


def drawer(
    checkpoint: str, steps: int, guidance: float, internal: float | None, size: tuple[int, int], seed: int
) -> Draw:
    """Pictures by a checkpoint through the engine, the way `diorama render` draws them; seeds count up from `seed`."""
    from pipelines.engine import Engine
    from pipelines.job import TextJob

    engine, drawn = Engine(), 0

    def draw(captions: list[str]) -> Tensor:
        nonlocal drawn
        jobs = []
        for caption in captions:
            job = TextJob(
                task="text", model=checkpoint, prompt=caption, size=size, steps=steps, guidance=guidance,
                internal_guidance=internal, seed=seed + drawn,
            )  # fmt: skip
            jobs.append(job)
            drawn += 1
        frames = [rendered.frames[0] for rendered in engine.render(jobs, lambda step, steps: True)]
        return torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2).float() / 255

    return draw


@torch.no_grad()
def reconstruction(checkpoint: str, count: int = 64) -> dict[str, float]:
    """PSNR in dB of the checkpoint's autoencoder on flat pictures and on clear layers, drawn from an unseen seed."""
    from pipelines.engine import Engine

    codec = Engine("cpu").checkpoint(checkpoint).codec
    world = World(2024, split="any")
    drawing = render([world.scene(i) for i in range(count)], 128, 128)
    flat = torch.cat([drawing.picture, torch.ones_like(drawing.picture[:, :1])], 1)
    found = {}
    for name, pixels in (("flat", flat), ("layers", drawing.layers[:, 1])):
        error = (codec.decode(codec.encode(pixels), 128, 128)[:, 0] - pixels).square().mean()
        found[name] = round(float(-10 * torch.log10(error)), 1)
    return found


def main() -> None:
    """Score a checkpoint on unseen two-object captions and on held-out colour-shape pairs."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("checkpoint", nargs="?", default="papercut")
    parser.add_argument("--count", type=int, default=200, help="captions of each split")
    parser.add_argument("--size", type=int, nargs=2, default=(128, 128), metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--guidance", type=float, default=3.0)
    parser.add_argument("--internal-guidance", type=float)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--world-seed", type=int, default=2024, help="which captions; training reports use others")
    parser.add_argument("--sheets", type=Path, help="write a sheet of failures a split into this folder")
    options = parser.parse_args()
    size = (options.size[0], options.size[1])
    draw = drawer(options.checkpoint, options.steps, options.guidance, options.internal_guidance, size, options.seed)
    print(f"autoencoder, PSNR in dB: {reconstruction(options.checkpoint)}", flush=True)
    short = min(size)
    for split in ("unseen", "pairs"):
        world = World(options.world_seed, TWO, split=split)
        scenes = [world.scene(i, (size[0] / short, size[1] / short)) for i in range(options.count)]
        scores = evaluate(draw, scenes, batch=20)
        right = round(scores.exact_two * scores.total)
        rates = "  ".join(f"{name} {rate:.3f}" for name, rate in scores.rates.items())
        print(f"{split}: {right} of {scores.total} right in every attribute   {rates}", flush=True)
        if options.sheets:
            options.sheets.mkdir(parents=True, exist_ok=True)
            sheet = contact_sheet(scores.failures[:36])
            cv2.imwrite(str(options.sheets / f"failures-{split}.png"), sheet[..., ::-1])


if __name__ == "__main__":
    main()
