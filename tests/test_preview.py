"""The live preview: shows what comes, changes nothing, and costs next to nothing."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from models.checkpoint import Checkpoint, describe, load
from models.codec import Codec
from models.plan import Segment, TokenPlan, grid, words
from pipelines.engine import Engine
from pipelines.job import Job, parse
from pipelines.layered import layered_plan
from pipelines.masked import masked_plan
from pipelines.preview import EVERY, SHARE, Preview, shown, webp
from pipelines.queue.peephole import FOLDER, LOOKED, Peephole
from pipelines.queue.queue import Queue
from pipelines.queue.worker import SMALLEST, Watch
from pipelines.sampler import Guidance, build_scheduler, sample
from pipelines.sketch import COARSE, coarse, drawings, fit, sketch_of
from pipelines.text import text_plan
from tests.fakes import FakeEngine
from tests.paced import over, text, working
from training.papercut import World, render
from ui.status import stage
from ui.words import say


@pytest.fixture(scope="module")
def small(tiny: Path) -> Checkpoint:
    return load(describe(str(tiny)))


class Shower:
    """A progress that shows: it keeps the pictures, and tells a time that goes on by itself."""

    def __init__(self, wanted: bool = True, pace: float = EVERY) -> None:
        self.pictures: list[bytes] = []
        self.steps: list[int] = []
        self.now, self.pace, self.wanted = 0.0, pace, wanted
        self.preview = Preview(self.show, lambda: self.wanted, lambda: self.now)

    def show(self, picture: bytes) -> None:
        self.pictures.append(picture)

    def __call__(self, step: int, steps: int) -> bool:
        self.steps.append(step)
        self.now += self.pace
        return True


def opened(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def jobs_of(model: Path, tmp_path: Path) -> dict[str, Job]:
    source = tmp_path / "source.png"
    Image.fromarray(np.full((64, 96, 3), 120, np.uint8)).save(source)
    common: dict[str, Any] = {"model": str(model), "steps": 3, "guidance": 2.0}
    sized = {**common, "prompt": "a red circle", "size": [80, 64]}
    scene = {"prompt": "a red circle", "frames": 2}
    return {
        "picture": parse({"task": "text", **sized}),
        "video": parse({"task": "text", "frames": 3, **sized}),
        "heun": parse({"task": "text", "scheduler": "heun", **sized}),
        "unipc": parse({"task": "text", "scheduler": "unipc", **sized}),
        "masked": parse({"task": "masked", "source": str(source), "outpaint": [0, 0, 16, 0], **common}),
        "scenes": parse({"task": "scenes", "size": [80, 64], "scenes": [scene, scene], **common}),
        "layout": parse({"task": "layout", "boxes": [{"box": [0, 0, 0.5, 1], "prompt": "a blue star"}], **sized}),
        "layered": parse({"task": "layered", "layers": [{"box": [0, 0, 0.5, 1]}], **sized}),
    }


SHAPES = {"masked": (16, 28)}  # coarse pixels of what is not 80 x 64 pixels in tokens of 16


@pytest.mark.parametrize("kind", ["picture", "video", "heun", "unipc", "masked", "scenes", "layout", "layered"])
def test_a_preview_changes_no_bit_of_any_task_and_has_its_pictures_shape(tiny: Path, tmp_path: Path, kind: str) -> None:
    job = jobs_of(tiny, tmp_path)[kind]
    engine, shower = Engine("cpu"), Shower()
    unseen = engine.render([job], lambda step, steps: True)[0]
    seen = engine.render([job], shower)[0]
    assert np.array_equal(unseen.frames, seen.frames)
    for before, after in zip(unseen.attachments, seen.attachments, strict=True):
        assert np.array_equal(before.content, after.content)
    assert len(shower.pictures) >= 3
    assert {opened(picture).shape for picture in shower.pictures} == {(*SHAPES.get(kind, (16, 20)), 3)}


def test_the_estimate_is_the_data_when_the_flow_is_straight_and_given_tokens_stay(small: Checkpoint) -> None:
    data = torch.randn(1, 6, 16)
    plan = masked_plan(4, 2, 3, 1, bytes([1, 0, 0, 0, 0, 0]))
    noise = torch.randn(1, 6, 16)
    clean = torch.where(torch.arange(6)[:, None] == 0, 7.0, 0.0).expand(1, 6, 16)

    class Straight:
        device, dtype = torch.device("cpu"), torch.float32

        def __call__(self, *_: object, **__: object) -> Any:
            return type("Output", (), {"sample": noise - data, "auxiliary": None})

    estimates: list[torch.Tensor] = []
    sample(
        Straight(), plan, noise, torch.zeros(1, 4, 8), build_scheduler("euler", {"shift": 3.0}, 4, 6), Guidance(),
        clean=clean, seen=lambda estimate: estimates.append(estimate()),
    )  # type: ignore[arg-type]  # fmt: skip
    assert len(estimates) == 4
    for estimate in estimates:
        torch.testing.assert_close(estimate[:, 1:], data[:, 1:], atol=1e-4, rtol=0)
        assert torch.equal(estimate[:, 0], clean[:, 0])


def test_what_is_shown_of_a_plan_is_one_frame_in_reading_order() -> None:
    def tokens(plan: TokenPlan) -> list[list[int]]:
        places, height, width = shown(plan)
        assert len(places) == height * width
        return [list(map(int, row)) for row in plan.positions[plan.context_tokens :][places]]

    assert tokens(text_plan(5, 2, 3)) == grid(1, 2, 3).tolist()
    assert tokens(text_plan(5, 2, 2, frames=5)) == grid(1, 2, 2, t=2).tolist()
    given = bytes([1] * 4 + [1] * 4 + [0] * 4 + [0] * 4)  # two frames are there, two are made
    assert tokens(masked_plan(5, 2, 2, 4, given, reference=(3, 3))) == grid(1, 2, 2, t=3).tolist()
    boxes = ((0, 0, 1, 2), (1, 1, 2, 3))
    for parts in [(False,) * 4, (True, True, False, False)]:  # the second has a given composite
        plan = layered_plan(5, 2, 3, boxes, prompted=(True, True), placed=False, given=parts)
        assert tokens(plan) == grid(1, 2, 3).tolist()
    turned = TokenPlan((Segment("p", "prompt", words(1)), Segment("a", "picture", grid(1, 2, 3, y=4, x=9)[::-1])))
    assert tokens(turned) == grid(1, 2, 3, y=4, x=9).tolist()


@pytest.fixture(scope="module")
def papercut() -> Codec:
    from diffusers import AutoencoderKLFlux2

    folder = describe("papercut").folder / "vae"
    return Codec(AutoencoderKLFlux2.from_pretrained(folder).eval().requires_grad_(False))


def test_the_embedded_autoencoders_sketch_is_like_the_picture(papercut: Codec) -> None:
    sketch = sketch_of(papercut)
    assert sketch_of(papercut) is sketch
    with torch.no_grad():
        for pixels in [drawings(2, seed=9), _world(World(7))]:
            tokens = papercut.encode(pixels)
            h, w = papercut.grid(*pixels.shape[-2:])
            for one, picture in zip(tokens, pixels, strict=True):
                small = torch.nn.functional.avg_pool2d(picture[:3], papercut.scale // COARSE).permute(1, 2, 0)
                error = sketch(one, h, w) / 255 - small.numpy()
                assert -10 * np.log10((error**2).mean()) > 19  # dB; their mean colours alone have about 10


def _world(world: World) -> torch.Tensor:
    picture = render([world.scene(index) for index in (3, 4)], 128, 128).picture
    return torch.cat([picture[:, :3], torch.ones_like(picture[:, :1])], 1)


def test_a_map_that_exists_is_found(small: Checkpoint) -> None:
    class Linear:
        """Tokens that are their own coarse pixels in another order."""

        scale = 16

        class vae:
            device = torch.device("cpu")

        def encode(self, pixels: torch.Tensor) -> torch.Tensor:
            return 3 * coarse(pixels, self.scale).flip(-1) - 1

    pixels = drawings(1, seed=5)
    found = fit(Linear())(Linear().encode(pixels)[0], 8, 8)  # type: ignore[arg-type]
    expected = torch.nn.functional.avg_pool2d(pixels[0, :3], 4).permute(1, 2, 0).numpy() * 255
    assert np.abs(found - expected).max() < 8


def test_nobody_looks_and_nothing_is_made(tiny: Path, tmp_path: Path) -> None:
    engine, shower = Engine("cpu"), Shower(wanted=False)
    engine.render([jobs_of(tiny, tmp_path)["picture"]], shower)
    assert shower.steps == [1, 2, 3] and shower.pictures == []


def test_previews_come_no_sooner_than_twice_a_second_and_dear_ones_seldom(small: Checkpoint) -> None:
    def seconds(price: float) -> list[float]:
        """When pictures were made in 100 steps of a tenth of a second, each picture costing `price`."""
        shower, made = Shower(), []

        def show(_: bytes) -> None:
            made.append(shower.now)
            shower.now += price

        seen = Preview(show, lambda: True, lambda: shower.now).of(text_plan(4, 1, 1), small.codec)
        for _ in range(100):
            seen(lambda: torch.zeros(1, 1, small.codec.channels))
            shower.now += 0.1
        return made

    cheap, dear = seconds(0.0), seconds(0.09)
    assert 15 <= len(cheap) <= 20 and min(np.diff(cheap)) >= EVERY - 1e-6
    assert len(dear) == 2 and dear[1] - dear[0] >= 0.09 / SHARE


def test_looking_is_noted_and_forgotten(tmp_path: Path) -> None:
    peephole = Peephole(tmp_path)
    peephole.clear()  # nothing there is nothing to clear
    assert not peephole.watched()
    assert peephole.look("a") is None and peephole.watched()
    peephole.put("a", b"one")
    peephole.put("a", b"two")
    assert peephole.look("a") == b"two" and peephole.look("b") is None
    assert sorted(path.name for path in (tmp_path / FOLDER).iterdir()) == ["a.webp", LOOKED]
    peephole.clear()
    assert peephole.look("a") is None and peephole.watched()
    os.utime(tmp_path / FOLDER / LOOKED, (1, 1))
    assert not peephole.watched()
    (tmp_path / "file").write_text("in the way of a folder")
    blocked = Peephole(tmp_path / "file")
    blocked.put("a", b"one")
    assert blocked.look("a") is None and not blocked.watched()


class Drawing(FakeEngine):
    """Shows a picture at each step, and what the page makes of it meanwhile."""

    def __init__(self, queue: Queue, folder: Path) -> None:
        super().__init__()
        self.queue, self.folder, self.pages = queue, folder, list[str]()

    def render(self, jobs: Any, progress: Any, at_once: int | None = None) -> Any:
        assert isinstance(progress, Watch) and at_once != SMALLEST
        row = self.queue.active()[0]
        self.pages.append(stage(row, 0, self.folder, ""))  # which is also a look
        seen = progress.preview.of(text_plan(1, 1, 1), _Flat())  # type: ignore[arg-type]
        seen(lambda: torch.zeros(1, 1, 48))
        self.pages.append(stage(row, 0, self.folder, ""))
        return super().render(jobs, progress)


class _Flat:
    """A codec that the map of is grey."""

    scale = 16

    class vae(torch.nn.Module):
        device = torch.device("cpu")

    vae = vae()  # type: ignore[assignment, misc]

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        return coarse(pixels, self.scale)


def test_the_easel_shows_the_preview_while_the_row_runs_and_it_is_gone_afterwards(tmp_path: Path) -> None:
    queue = Queue(tmp_path)
    id = queue.add(text())
    engine = Drawing(queue, tmp_path)
    with working(queue, tmp_path, engine):
        assert over(queue, id).state == "done"
    before, after = engine.pages
    assert "mount blank" in before and "data:image/webp" not in before
    assert f'alt="{say("status.so_far")}"' in after and 'src="data:image/webp;base64,UklG' in after
    assert [path.name for path in (tmp_path / FOLDER).iterdir()] == [LOOKED]


def test_a_preview_is_a_small_webp() -> None:
    assert opened(webp(np.full((8, 12, 3), 200, np.uint8))).shape == (8, 12, 3)
