"""What the parser promises: it reads clear pictures right, slightly damaged ones too, and lets no broken one pass."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.evaluate import evaluate, evaluate_splits
from training.fitting import Part, Seen
from training.judging import judge
from training.papercut import World, render
from training.parser import Reading, read
from training.pixels import UNKNOWN, Pixels, to_pixels
from training.remnant import Remnant, mended
from training.scene import COLOURS, INVERSE, RADII, SHAPES, Scene, Thing
from training.scores import contact_sheet

CORE = World(seed=101, split="any")
ALL = World(seed=102, split="any", colours=tuple(COLOURS), shapes=SHAPES)


def scenes(world: World, count: int, height: int = 128, width: int = 128) -> list[Scene]:
    short = min(height, width)
    return [world.scene(index, (width / short, height / short)) for index in range(count)]


def picture(scene: Scene, height: int = 128, width: int = 128) -> Pixels:
    return to_pixels(render([scene], height, width, layered=False).picture[0])


def exact(
    some: Sequence[Scene], height: int = 128, width: int = 128, damage: Callable[[Pixels], Pixels] | None = None
) -> float:
    """Share of ground-truth pictures, after `damage`, that are read exactly."""
    shown = (picture(scene, height, width) for scene in some)
    return sum(judge(read(damage(p) if damage else p), s).exact for p, s in zip(shown, some, strict=True)) / len(some)


# ---------------------------------------------------------------- clear pictures


def test_reads_clear_pictures() -> None:
    assert exact(scenes(CORE, 150)) >= 0.99


@pytest.mark.slow
def test_reads_two_thousand_clear_pictures() -> None:
    assert exact(scenes(World(seed=1, split="any"), 2000)) >= 0.99


@pytest.mark.parametrize(("height", "width"), [(64, 64), (96, 160), (160, 96), (192, 192)])
def test_reads_other_sizes(height: int, width: int) -> None:
    assert exact(scenes(CORE, 50, height, width), height, width) >= 0.98


def test_reads_the_joining_colours_and_shapes() -> None:
    assert exact(scenes(ALL, 100)) >= 0.98


def test_places_and_sizes_are_those_of_the_scene() -> None:
    for scene in scenes(CORE, 40):
        things = read(picture(scene)).things
        for thing in scene.things:
            seen = min(things, key=lambda seen: math.dist((seen.x, seen.y), (thing.x, thing.y)))
            assert (seen.x, seen.y) == pytest.approx((thing.x, thing.y), abs=0.01)
            assert seen.radius == pytest.approx(thing.radius, rel=0.06)


def test_boxes_are_those_of_the_drawing() -> None:
    for scene in [scene for scene in scenes(CORE, 40, 96, 160) if scene.relation != "inside"]:
        boxes = render([scene], 96, 160).boxes[0].tolist()
        for seen in read(picture(scene, 96, 160)).things:
            assert min(max(abs(a - b) for a, b in zip(seen.box, box, strict=True)) for box in boxes) < 0.025


def test_a_tensor_and_its_pixels_read_alike() -> None:
    for scene in scenes(CORE, 20):
        tensor = render([scene], 128, 128).picture
        assert judge(read(tensor), scene).exact
        assert read(tensor[0]).words == read(to_pixels(tensor[0])).words


def test_every_ground_without_things_reads_as_bare() -> None:
    for ground in (*COLOURS, "meadow", "night", "sea"):
        for wave in (0.0, 2.0, 4.0):
            reading = read(picture(Scene((), ground, wave=wave)))
            assert replace(reading, stray=0.0) == Reading((), ground)
            assert reading.stray < 0.001


# ---------------------------------------------------------------- slightly damaged pictures


def blurred(pixels: Pixels) -> Pixels:
    return np.asarray(cv2.GaussianBlur(pixels, (0, 0), 1.0), np.uint8)


def noisy(pixels: Pixels) -> Pixels:
    noise = np.random.default_rng(int(pixels.sum())).normal(0, 6, pixels.shape)
    return (pixels + noise).round().clip(0, 255).astype(np.uint8)


def shifted(pixels: Pixels) -> Pixels:
    shift = np.random.default_rng(int(pixels.sum())).uniform(-12, 12, 3)
    return (pixels + shift).round().clip(0, 255).astype(np.uint8)


def ringing(pixels: Pixels) -> Pixels:
    full_colour = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    _, code = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 75, *full_colour])
    return np.asarray(cv2.imdecode(code, cv2.IMREAD_COLOR), np.uint8)


@pytest.mark.parametrize("damage", [blurred, noisy, shifted, ringing])
def test_slight_damage_does_not_matter(damage: Callable[[Pixels], Pixels]) -> None:
    assert exact(scenes(CORE, 100), damage=damage) >= 0.97


def test_pictures_without_shadows_are_read() -> None:
    """What a model draws may have softer shadows than the world, or none."""
    for scene in scenes(CORE, 40):
        drawing = render([scene], 128, 128)
        flat = drawing.layers[0, 0, :3]
        for k in (1, 0) if scene.relation == "inside" else range(len(scene.things)):
            flat = flat * (1 - drawing.coverage[0, k]) + drawing.layers[0, k + 1, :3]
        assert judge(read(flat), scene).exact


# ---------------------------------------------------------------- broken pictures


def passed(pairs: Sequence[tuple[Pixels, Scene]]) -> list[str]:
    """Captions of those pictures that pass, sizes ignored."""
    assert len(pairs) >= 20
    return [scene.caption for pixels, scene in pairs if judge(read(pixels), scene).exact_two]


def without(scene: Scene, k: int) -> Scene:
    return replace(scene, things=scene.things[:k] + scene.things[k + 1 :], relation=None)


def changed(scene: Scene, k: int, **changes: object) -> Scene:
    things = list(scene.things)
    things[k] = replace(things[k], **changes)  # type: ignore[arg-type]
    return replace(scene, things=tuple(things))


def painted(pixels: Pixels, outline: NDArray[np.float64], colour: Sequence[int]) -> Pixels:
    """A polygon, corners in short sides, drawn with antialiasing."""
    side, fine = len(pixels), 8
    cover = np.zeros((side * fine, side * fine), np.uint8)
    cv2.fillPoly(cover, [np.int32(outline * side * fine)], (255,))
    alpha = cv2.resize(cover, (side, side), interpolation=cv2.INTER_AREA)[..., None] / 255
    return np.asarray((pixels * (1 - alpha) + np.array(colour) * alpha).round(), np.uint8)


def around(thing: Thing, radii: NDArray[np.float64]) -> NDArray[np.float64]:
    turns = np.linspace(0, 2 * math.pi, len(radii), endpoint=False)
    return np.stack([thing.x + thing.radius * radii * np.cos(turns), thing.y + thing.radius * radii * np.sin(turns)], 1)


def test_swapped_colours_do_not_pass() -> None:
    pairs = []
    for scene in scenes(CORE, 80):
        if (
            len(scene.things) == 2
            and len({t.colour for t in scene.things}) == len({t.shape for t in scene.things}) == 2
        ):
            a, b = scene.things
            swapped = (replace(a, colour=b.colour), replace(b, colour=a.colour))
            pairs.append((picture(replace(scene, things=swapped)), scene))
    assert passed(pairs) == []


def test_a_missing_thing_does_not_pass() -> None:
    assert (
        passed([(picture(without(scene, i % len(scene.things))), scene) for i, scene in enumerate(scenes(CORE, 60))])
        == []
    )


def test_an_additional_thing_does_not_pass() -> None:
    """Not even one that is smaller than any thing of the world."""
    pairs = []
    for scene in scenes(CORE, 60):
        extra = Thing("circle", "red" if scene.ground != "red" else "blue", "small", 0.07, 0.93, 0.05, 0.0)
        if all(math.dist((extra.x, extra.y), (t.x, t.y)) > t.radius + 0.08 for t in scene.things):
            ring = around(extra, np.ones(64))
            pairs.append((painted(picture(scene), ring, COLOURS[extra.colour]), scene))
    assert passed(pairs) == []


def test_another_shape_does_not_pass() -> None:
    pairs = []
    for i, scene in enumerate(scenes(CORE, 80)):
        shape = [shape for shape in SHAPES if shape != scene.things[0].shape][i % (len(SHAPES) - 1)]
        pairs.append((picture(changed(scene, 0, shape=shape)), scene))
    assert passed(pairs) == []


def test_a_blob_is_of_unknown_shape() -> None:
    random = np.random.default_rng(0)
    pairs = []
    for scene in [scene for scene in scenes(CORE, 80) if scene.relation != "inside"]:
        turns = np.linspace(0, 2 * math.pi, 128, endpoint=False)
        lumps = [random.uniform(0.1, 0.2) * np.cos(k * turns + random.uniform(0, 6.3)) for k in (2, 3, 4)]
        lumpy = np.clip(0.9 + np.sum(lumps, 0), 0.3, 1.5)
        thing = scene.things[0]
        pixels = painted(picture(without(scene, 0)), around(thing, lumpy), COLOURS[thing.colour])
        pairs.append((pixels, scene))
    assert passed(pairs) == []
    unknown = sum(any(thing.shape == UNKNOWN for thing in read(pixels).things) for pixels, _ in pairs)
    assert unknown >= 0.9 * len(pairs)


def test_an_ellipse_is_no_circle() -> None:
    random = np.random.default_rng(1)
    pairs = []
    for scene in [changed(scene, 0, shape="circle") for scene in scenes(CORE, 80) if scene.relation != "inside"]:
        turns = np.linspace(0, 2 * math.pi, 128, endpoint=False) + random.uniform(0, 6.3)
        flat = math.sqrt(random.uniform(1.3, 2.0))
        radii = 1 / np.hypot(np.cos(turns) / flat, np.sin(turns) * flat)
        thing = scene.things[0]
        pairs.append((painted(picture(without(scene, 0)), around(thing, radii), COLOURS[thing.colour]), scene))
    assert passed(pairs) == []


def test_a_broken_relation_does_not_pass() -> None:
    pairs = []
    for scene in scenes(CORE, 100):
        if scene.relation in INVERSE:
            a, b = scene.things
            swapped = (replace(a, x=b.x, y=b.y), replace(b, x=a.x, y=a.y))
            diagonal = (replace(a, x=0.26, y=0.26), replace(b, x=0.74, y=0.74))
            pairs += [(picture(replace(scene, things=things)), scene) for things in (swapped, diagonal)]
        elif scene.relation == "inside":
            a, b = scene.things
            beside = (replace(a, x=0.15, y=0.15), replace(b, x=0.7, y=0.7))
            pairs.append((picture(replace(scene, things=beside)), scene))
    assert passed(pairs) == []


def test_another_ground_does_not_pass() -> None:
    grounds = ("red", "green", "white", "black", "meadow", "night", "sea")
    pairs = []
    for i, scene in enumerate(scenes(CORE, 60)):
        others = [g for g in grounds if g != scene.ground and g not in {thing.colour for thing in scene.things}]
        pairs.append((picture(replace(scene, ground=others[i % len(others)])), scene))
    assert passed(pairs) == []


def test_a_stain_does_not_pass() -> None:
    """A patch of a colour that belongs to neither the ground nor a thing, in the palette or not."""
    random = np.random.default_rng(2)
    pairs = []
    for scene in scenes(CORE, 80):
        pixels = picture(scene)
        x, y = random.integers(4, 100, 2)
        patch = (slice(y, y + 20), slice(x, x + 20))
        here = pixels[patch].reshape(-1, 3).astype(float)
        colour = random.integers(0, 256, 3)
        shades = here.mean(0) * np.linspace(0.6, 1.0, 9)[:, None]
        if here.std(0).max() < 3 and np.linalg.norm(shades - colour, axis=1).min() > 35:
            pixels[patch] = colour
            pairs.append((pixels, scene))
    assert passed(pairs) == []


def test_a_line_across_does_not_pass() -> None:
    pairs = []
    for i, scene in enumerate(scenes(CORE, 60)):
        colour = "black" if scene.ground in ("white", "yellow", "meadow", "sea", "red", "orange") else "yellow"
        pixels = picture(scene).copy()
        cv2.line(pixels, (0, 17 * i % 128), (127, 29 * i % 128), COLOURS[colour], 2, cv2.LINE_AA)
        pairs.append((pixels, scene))
    assert passed(pairs) == []


def test_another_size_is_not_exact_but_may_be_right_otherwise() -> None:
    scene = Scene((Thing("star", "red", "medium", 0.5, 0.5, RADII["medium"], 0.0),), "white")
    for size in ("small", "large"):
        verdict = judge(read(picture(changed(scene, 0, radius=RADII[size]))), scene)
        assert verdict.exact_two and not verdict.sizes and not verdict.exact


def test_noise_is_nothing() -> None:
    static = np.random.default_rng(3).integers(0, 256, (128, 128, 3)).astype(np.uint8)
    assert not any(judge(read(static), scene).exact_two for scene in scenes(CORE, 30))


# ---------------------------------------------------------------- things that others hide


def half_hidden(shape: str, x: float, y: float) -> Scene:
    """A red thing with a blue square on it, whose middle is (x, y) off its own, in radii."""
    below = Thing(shape, "red", "large", 0.5, 0.5, 0.2, 0.0)
    return Scene((below, Thing("square", "blue", "medium", 0.5 + 0.2 * x, 0.5 + 0.2 * y, 0.14, 0.0)), "white")


CORNERS = ((0.75, 0.75), (-0.75, 0.75), (0.75, -0.75), (-0.75, -0.75), (0.95, 0.0), (-0.95, 0.0), (0.0, 0.95))


@pytest.mark.parametrize("shape", SHAPES[:6])
def test_what_is_partly_hidden_is_read_as_the_whole_it_is(shape: str) -> None:
    """Two shapes may look the same where little of them shows: then nothing is said, or what fits best."""
    named = 0
    for corner in CORNERS:
        scene = half_hidden(shape, *corner)
        things = read(picture(scene)).things
        assert [thing.pair for thing in scene.things if thing.colour == "blue"] == [
            (thing.colour, thing.shape) for thing in things if thing.colour == "blue"
        ]
        (red,) = (thing for thing in things if thing.colour == "red")
        assert red.shape in (shape, UNKNOWN), f"a {shape} below {corner} is no {red.shape}"
        if red.shape == shape:
            named += 1
            assert (red.x, red.y, red.radius) == pytest.approx((0.5, 0.5, 0.2), abs=0.012)
            drawn = render([scene], 128, 128).boxes[0, 0].tolist()
            assert red.box == pytest.approx(drawn, abs=0.02), "the box is that of the whole outline"
    assert named >= len(CORNERS) - 1


def test_what_a_thing_on_top_cuts_in_two_is_one_thing() -> None:
    for shape in ("circle", "square", "heart", "star"):
        scene = Scene((Thing(shape, "red", "large", 0.5, 0.5, 0.2, 0.0),), "white")
        bar = np.array([[0.46, 0.2], [0.56, 0.2], [0.56, 0.8], [0.46, 0.8]])
        things = read(painted(picture(scene), bar, COLOURS["blue"])).things
        assert [thing.words for thing in things if thing.colour == "red"] == [f"large red {shape}"]


def test_a_haze_that_something_hides_is_no_whole_thing() -> None:
    haze = Part(np.full((9, 9), 0.4, np.float32), np.ones((9, 9), np.float32), "red", (20, 20), (128, 128))
    lump = Seen(UNKNOWN, "red", "small", 0.2, 0.2, 0.03, 0.0, (0.16, 0.16, 0.23, 0.23), 0.5)
    assert mended([lump], [Remnant(haze, (0,))], SHAPES) == [lump]


def test_a_lump_or_an_ellipse_is_none_of_the_shapes_below_a_thing_either() -> None:
    random = np.random.default_rng(4)
    turns = np.linspace(0, 2 * math.pi, 128, endpoint=False)
    shapes = []
    for corner in CORNERS * 4:
        scene = half_hidden("circle", *corner)
        below, top = scene.things
        lumps = [random.uniform(0.1, 0.2) * np.cos(k * turns + random.uniform(0, 6.3)) for k in (2, 3, 4)]
        lumpy = np.clip(0.9 + np.sum(lumps, 0), 0.3, 1.5)
        flat = math.sqrt(random.uniform(1.4, 2.0))
        ellipse = 1 / np.hypot(np.cos(turns) / flat, np.sin(turns) * flat)
        for radii in (lumpy, ellipse):
            paper = painted(picture(Scene((), "white")), around(below, radii), COLOURS["red"])
            square = np.array([(-0.12, -0.12), (0.12, -0.12), (0.12, 0.12), (-0.12, 0.12)]) + np.array((top.x, top.y))
            shown = read(painted(paper, square, COLOURS["blue"])).things
            shapes += [thing.shape for thing in shown if thing.colour == "red"]
    assert shapes.count(UNKNOWN) >= 0.9 * len(shapes)


def test_a_lump_that_lies_on_a_thing_is_not_hidden_by_it() -> None:
    random = np.random.default_rng(5)
    turns = np.linspace(0, 2 * math.pi, 128, endpoint=False)
    for _ in range(8):
        lumps = [random.uniform(0.12, 0.2) * np.cos(k * turns + random.uniform(0, 6.3)) for k in (2, 3, 4)]
        below = Thing("square", "blue", "large", 0.5, 0.5, 0.2, 0.0)
        lump = around(replace(below, radius=0.1), np.clip(0.9 + np.sum(lumps, 0), 0.3, 1.5))
        shown = read(painted(picture(Scene((below,), "white")), lump, COLOURS["red"])).things
        assert [thing.shape for thing in shown if thing.colour == "red"] == [UNKNOWN]


# ---------------------------------------------------------------- relations and scores


def seen(x: float, y: float, radius: float = 0.14) -> Seen:
    return Seen("circle", "red", "medium", x, y, radius, 0.0, (0, 0, 0, 0), 1.0)


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        (seen(0.2, 0.5), seen(0.8, 0.5), {"left of"}),
        (seen(0.8, 0.6), seen(0.2, 0.5), {"right of"}),
        (seen(0.5, 0.2), seen(0.5, 0.8), {"above"}),
        (seen(0.5, 0.8), seen(0.6, 0.2), {"below"}),
        (seen(0.5, 0.5, 0.09), seen(0.52, 0.5, 0.2), {"inside"}),
        (seen(0.52, 0.5, 0.2), seen(0.5, 0.5, 0.09), set()),
        (seen(0.2, 0.2), seen(0.8, 0.8), set()),
    ],
)
def test_which_relations_hold(first: Seen, second: Seen, words: set[str]) -> None:
    assert first.relations_to(second) == words


@dataclass(frozen=True)
class Painter:
    """Draws what captions say, as a perfect model would; `wrong` captions get an empty picture."""

    known: dict[str, Scene]
    wrong: frozenset[str] = frozenset()

    def __call__(self, captions: list[str]) -> Tensor:
        drawn = [self.known[caption] for caption in captions]
        drawn = [replace(s, things=(), relation=None) if s.caption in self.wrong else s for s in drawn]
        return torch.cat([render([scene], 128, 128, layered=False).picture for scene in drawn])


def test_scores_count_what_is_right_and_say_what_is_not() -> None:
    some = list({scene.caption: scene for scene in scenes(CORE, 24)}.values())
    wrong = frozenset(scene.caption for scene in some[:6])
    scores = evaluate(Painter({scene.caption: scene for scene in some}, wrong), some, batch=7)
    assert scores.total == len(some)
    assert scores.exact == scores.exact_two == scores.rates["count"] == pytest.approx(1 - 6 / len(some))
    assert scores.rates["ground"] == 1
    assert [failure.index for failure in scores.failures] == list(range(6))
    assert all("count" in failure.reason for failure in scores.failures)


def test_held_out_splits_are_scored_apart() -> None:
    world = World(seed=5)
    known = {s.caption: s for split in ("unseen", "pairs") for s in scenes(replace(world, split=split), 12)}
    scores = evaluate_splits(Painter(known), 12, world)
    assert {split: score.exact for split, score in scores.items()} == {"unseen": 1.0, "pairs": 1.0}


def test_a_contact_sheet_shows_failures() -> None:
    some = scenes(CORE, 8)
    painter = Painter({scene.caption: scene for scene in some}, frozenset(scene.caption for scene in some))
    sheet = contact_sheet(evaluate(painter, some).failures, columns=4, side=128)
    assert sheet.dtype == np.uint8 and sheet.shape[1:] == (4 * 128, 3)
    assert sheet.shape[0] > 2 * 128
