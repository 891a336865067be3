"""Scores of stacks of layers: what each layer shows, how clean its alpha is, and whether the stack is the picture.

Takes a function that renders jobs (`renders.py`), so that a test can draw the truth, or something else, instead.
Shape suffixes: H and W pixels.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import cv2
import numpy as np

from pipelines.estimate import Attachment, Rendered
from pipelines.job import Job
from pipelines.layered import cover
from training.arrangement import LOOSE, Box, TokenBox, fill, global_prompt, named, unseen_grids, within
from training.drawing import DISTANCES
from training.drawing import render as draw
from training.fitting import Seen
from training.papercut import World
from training.parser import read
from training.pixels import Mask, Pixels
from training.renders import Render, Settings, through_autoencoder
from training.scene import COLOURS, Scene
from training.scores import Failure, Scores, tiled

if TYPE_CHECKING:
    from torch import Tensor

Kind = Literal["named", "anonymous", "taken apart"]
KINDS: tuple[Kind, ...] = ("named", "anonymous", "taken apart")
COUNTS = (2, 3, 4, 5, 6)
TOLD = (2, 3)  # where one prompt has to name all things: the embedded checkpoint reads no more than three
ENOUGH = 0.85  # intersection over union of a layer's alpha with the outline of the shape that it shows
LAYER = re.compile(r"/\d+-.*\.png")


@dataclass(frozen=True)
class Case:
    """A stack whose right layers are known; `boxes` are in tokens, bottom first."""

    job: Job
    scene: Scene
    boxes: tuple[TokenBox, ...]
    named: bool


def layered_cases(kind: Kind, count: int, settings: Settings, folder: Path, seed: int = 2024) -> list[Case]:
    """`count` unseen stacks of two to six layers.

    Args:
        kind: a prompt for each layer; one prompt for all, of two or three layers; or a finished picture, which is
            written into `folder`, and boxes alone.
        count: how many.
        settings: size and sampling.
        folder: for files that jobs name.
        seed: which stacks.
    """
    folder.mkdir(parents=True, exist_ok=True)
    world = World(seed, split="unseen", placement="canonical")
    w, h = (side // 16 for side in settings.size)
    found: list[Case] = []
    counts = TOLD if kind == "anonymous" else COUNTS
    for rng, grid in unseen_grids(f"{seed} {kind}", h, w, counts, lambda rng: rng.random() < 0.5):
        if len(found) == count:
            break
        scene = fill(rng, world, [within(box, h, w) for box in grid], True, settings.aspect)
        fields: dict[str, object] = {"prompt": global_prompt(scene)}
        if kind == "taken apart":
            picture = settings.draw([scene])[0]
            cv2.imwrite(str(folder / f"{len(found):03d}.png"), picture[..., ::-1])
            fields |= {"source": str(folder / f"{len(found):03d}.png"), "prompt": f"shapes {scene.ground_words}"}
        if kind == "anonymous":
            fields["prompt"] = scene.caption
        boxes = [_drawn(rng, box, h, w) for box in grid]
        layers = [
            {"box": box, **({"prompt": named(thing)} if kind == "named" else {})}
            for box, thing in zip(boxes, scene.things, strict=True)
        ]
        assert [cover(box, h, w) for box in boxes] == list(grid)
        job = settings.job("layered", len(found), size=settings.size, layers=layers, **fields)
        found.append(Case(job, scene, grid, kind != "anonymous"))
    return found


def _drawn(rng: random.Random, box: TokenBox, h: int, w: int) -> Box:
    """A box as somebody draws it, a little inside the tokens that it touches."""
    y0, x0, y1, x1 = box
    return (
        (x0 + rng.uniform(0, LOOSE)) / w, (y0 + rng.uniform(0, LOOSE)) / h,
        (x1 - rng.uniform(0, LOOSE)) / w, (y1 - rng.uniform(0, LOOSE)) / h,
    )  # fmt: skip


# ---------------------------------------------------------------- scores


def evaluate_layered(render: Render, cases: Sequence[Case], settings: Settings) -> Scores:
    """Score stacks.

    The rates: `layers`, the share of layers that show the right colour and shape with a clean alpha; `named`, the
    same without looking at the alpha; `alpha`, the mean overlap of alpha and outline where the shape is known;
    `inside`, of stacks with nothing outside their boxes; `recomposed`, of stacks that compose to the flat picture
    within 1/255; `matches`, of flat pictures within 28 dB of the composite; `psnr`, their mean in dB.
    """
    failures: list[Failure] = []
    right = shown = total = inside = recomposed = matches = 0
    overlaps: list[float] = []
    decibels: list[float] = []
    for number, (case, rendered) in enumerate(zip(cases, render([case.job for case in cases]), strict=True)):
        flat = rendered.frames[0][..., :3]
        background, *layers = stack_of(rendered)
        wrong = []
        asked = [thing.pair for thing in case.scene.things]
        for k, layer in enumerate(layers):
            seen = look(layer, asked[k] if case.named else None)
            fits = seen is not None and (seen.colour, seen.shape) in ([asked[k]] if case.named else asked)
            if not case.named and fits and seen is not None:
                asked.remove((seen.colour, seen.shape))
            clean = seen is not None and seen.shape in DISTANCES
            alpha = outline_overlap(layer, seen) if clean and seen is not None else 0.0
            overlaps += [alpha] * clean
            shown, right = shown + fits, right + (fits and alpha >= ENOUGH)
            if not (fits and alpha >= ENOUGH):
                wrong.append(f"layer {k + 1}: {seen.words if seen else 'nothing'} {alpha:.2f}")
        total += len(layers)
        inside += all(_nothing_outside(layer, box) for layer, box in zip(layers, case.boxes, strict=True))
        composed = compose([background, *layers])
        recomposed += int(np.abs(composed.astype(int) - flat).max()) <= 1
        composite = next(one.content for one in rendered.attachments if one.suffix == "/composite.png")
        error = float(np.square(np.asarray(composite, np.float64)[..., :3] - flat).mean())
        decibels.append(min(60.0, 10 * float(np.log10(255**2 / max(error, 1e-9)))))
        matches += decibels[-1] >= 28
        if wrong:
            shots = np.stack([flat, *(on_paper(layer)[0] for layer in layers)])
            failures.append(Failure(number, case.scene.caption, "; ".join(wrong), tiled(shots)))
    count = max(len(cases), 1)
    rates = {
        "layers": right / max(total, 1),
        "named": shown / max(total, 1),
        "alpha": float(np.mean(overlaps)) if overlaps else 0.0,
        "inside": inside / count,
        "recomposed": recomposed / count,
        "matches": matches / count,
        "psnr": float(np.mean(decibels)) if decibels else 0.0,
    }
    return Scores(len(cases), rates, tuple(failures))


def evaluate_autoencoder(checkpoint: str, cases: Sequence[Case], settings: Settings) -> Scores:
    """Score true stacks whose parts went through a checkpoint's autoencoder: no transformer can draw better ones."""
    import torch

    from models.codec import unpremultiply

    there_and_back = through_autoencoder(checkpoint)

    def pixels(premultiplied: Tensor) -> Pixels:
        straight = (unpremultiply(premultiplied) * 255).round().byte()
        return np.asarray(straight.permute(1, 2, 0).numpy())

    def render(jobs: Sequence[Job]) -> list[Rendered]:
        found = []
        for case in cases:
            drawn = draw([case.scene], settings.size[1], settings.size[0]).layers[0]
            stack = [pixels(there_and_back(drawn[:1])[0])]
            composite = drawn[0, :3]
            for layer, (y0, x0, y1, x1) in zip(drawn[1:], case.boxes, strict=True):
                here = (slice(None), slice(16 * y0, 16 * y1), slice(16 * x0, 16 * x1))
                whole = torch.zeros_like(layer)
                whole[here] = there_and_back(layer[here][None])[0]
                stack.append(pixels(whole))
                composite = composite.clone()
                composite[here] = layer[here][:3] + composite[here] * (1 - layer[here][3:])
            opaque = torch.cat([composite, torch.ones_like(composite[:1])])[None]
            files = [Attachment(f"/{k:02d}-layer.png", part) for k, part in enumerate(stack)]
            files.append(Attachment("/composite.png", pixels(there_and_back(opaque)[0])))
            found.append(Rendered(compose(stack)[None], {}, attachments=files))
        return found

    return evaluate_layered(render, cases, settings)


def stack_of(rendered: Rendered) -> list[Pixels]:
    """The background and the layers of an output, [H, W, 4] each, bottom first."""
    files = sorted((one for one in rendered.attachments if LAYER.fullmatch(one.suffix)), key=lambda one: one.suffix)
    return [np.asarray(one.content) for one in files]


def compose(stack: Sequence[Pixels]) -> Pixels:
    """[H, W, 3] what straight-alpha layers look like over one another."""
    below = np.zeros((*stack[0].shape[:2], 3))
    for layer in stack:
        alpha = layer[..., 3:] / 255
        below = layer[..., :3] * alpha + below * (1 - alpha)
    return np.asarray(below.round().astype(np.uint8))


def on_paper(layer: Pixels, colour: str | None = None) -> tuple[Pixels, str]:
    """[H, W, 3] a layer on paper of a colour that it does not have, and that colour."""
    paint = layer[..., :3][layer[..., 3] > 127]
    usual = np.median(paint, axis=0) if len(paint) else np.zeros(3)
    paper = max(COLOURS, key=lambda name: float(np.abs(np.array(COLOURS[name]) - usual).sum()) * (name != colour))
    background = np.empty_like(layer)
    background[..., :3], background[..., 3] = COLOURS[paper], 255
    return compose([background, layer]), paper


def look(layer: Pixels, asked: tuple[str, str] | None = None) -> Seen | None:
    """The one thing that a layer shows; None where there is none, or more than one."""
    picture, _ = on_paper(layer, asked[0] if asked else None)
    things = read(picture).things
    return things[0] if len(things) == 1 else None


def outline_overlap(layer: Pixels, seen: Seen) -> float:
    """Intersection over union of what a layer covers by more than a half and the outline of the shape seen in it."""
    import torch

    height, width = layer.shape[:2]
    short = min(height, width)
    y, x = torch.meshgrid(
        (torch.arange(height) + 0.5) / short - seen.y, (torch.arange(width) + 0.5) / short - seen.x, indexing="ij"
    )
    cos, sin = float(np.cos(seen.angle)), float(np.sin(seen.angle))
    shape = DISTANCES[seen.shape]((x * cos + y * sin) / seen.radius, (y * cos - x * sin) / seen.radius) < 0
    outline, solid = shape.numpy(), layer[..., 3] > 127
    return float((outline & solid).sum() / max(1, (outline | solid).sum()))


def _nothing_outside(layer: Pixels, box: TokenBox) -> bool:
    outside: Mask = np.ones(layer.shape[:2], bool)
    y0, x0, y1, x1 = (16 * edge for edge in box)
    outside[y0:y1, x0:x1] = False
    return not layer[..., 3][outside].any()
