"""Stacks of layers: composing, names, PSD and OpenRaster as other programs read them, and whose file is whose."""

from __future__ import annotations

import io
import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from psd_tools import PSDImage
from psd_tools.constants import BlendMode

from pipelines.estimate import Attachment, Rendered
from pipelines.files.output import OutputFolder, inside_of
from pipelines.files.recipe import MediaError, read_recipe
from pipelines.job import LayeredJob, parse
from pipelines.stack.layerfiles import MAX_PSD_SIDE, openraster, psd
from pipelines.stack.layers import EQUAL, Layer, Stack, largest_gap, opaque, paste, psnr, slug, titles

RECIPE = {"diorama": "1", "job": {"task": "layered", "prompt": 'a <b> & "c" é\u0001\ud55c'}}
MAGICK = shutil.which("magick")
IDENTIFY, CONVERT = (
    ([MAGICK, "identify"], [MAGICK]) if MAGICK else ([shutil.which("identify")], [shutil.which("convert")])
)


def stack(boxes: list[tuple[int, int, int, int]], size: tuple[int, int], seed: int = 0, most: int = 255) -> Stack:
    """Random layers with clear and opaque pixels among them; `most` is the largest alpha between the two."""
    draw = np.random.default_rng(seed)
    width, height = size
    found = [Layer("background", (0, 0, height, width), opaque(draw.integers(0, 256, (height, width, 3), np.uint8)))]
    for number, box in enumerate(boxes, 1):
        y0, x0, y1, x1 = box
        part = draw.integers(0, 256, (y1 - y0, x1 - x0, 4), np.uint8)
        part[..., 3] = draw.choice([0, 255, 3, most, most // 2], part.shape[:2])
        part[part[..., 3] == 0] = 0
        found.append(Layer(f"layer {number}", box, paste(part, box, width, height)))
    return Stack(tuple(found))


@st.composite
def stacks(draw: st.DrawFn) -> Stack:
    height, width = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    boxes = []
    for _ in range(draw(st.integers(0, 5))):
        y0, x0 = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
        boxes.append((y0, x0, draw(st.integers(y0 + 1, height)), draw(st.integers(x0 + 1, width))))
    return stack(boxes, (width, height), draw(st.integers(0, 99)))


# ---------------------------------------------------------------- composing


def by_pillow(layers: Stack) -> np.ndarray:
    canvas = Image.fromarray(layers.layers[0].pixels)
    for layer in layers.layers[1:]:
        canvas = Image.alpha_composite(canvas, Image.fromarray(layer.pixels))
    return np.asarray(canvas)[..., :3]


def by_numpy(layers: Stack) -> np.ndarray:
    """Premultiplied, from the top down, rounded once: another way than the product's."""
    light, through = 0.0, 1.0
    for layer in reversed(layers.layers):
        straight = layer.pixels / 255
        light = light + through * straight[..., 3:] * straight[..., :3]
        through = through * (1 - straight[..., 3:])
    return np.rint(255 * np.asarray(light)).astype(np.uint8)


@given(stacks())
def test_viewers_that_round_each_layer_and_those_that_round_once_get_the_flat_picture(layers: Stack) -> None:
    assert largest_gap(layers.flat, by_pillow(layers)) <= 1
    assert largest_gap(layers.flat, by_numpy(layers)) <= 1
    assert layers.recomposed_within <= 1


@pytest.mark.parametrize("most", [255, 90])
def test_fifty_layers_over_one_another_recompose_within_one_level(most: int) -> None:
    layers = stack([(0, 0, 64, 64)] * 50, (64, 64), most=most)
    gaps = [largest_gap(layers.flat, other) for other in (by_pillow(layers), by_numpy(layers))]
    assert max(gaps) <= 1
    assert layers.recomposed_within == max(gaps), "the record tells what other arithmetic finds"


def test_where_the_two_kinds_of_viewer_differ_the_flat_picture_stands_between_them() -> None:
    layers = stack([(0, 0, 64, 64)] * 50, (64, 64), most=20)
    apart = largest_gap(by_pillow(layers), by_numpy(layers))
    assert apart > 1, "there is something to stand between"
    assert layers.recomposed_within <= (apart + 1) // 2


def test_a_layer_that_hides_everything_is_what_is_seen() -> None:
    top = np.random.default_rng(1).integers(0, 256, (8, 8, 3), np.uint8)
    below = stack([(0, 0, 8, 8)], (8, 8))
    layers = Stack((*below.layers, Layer("top", (0, 0, 8, 8), opaque(top))))
    assert np.array_equal(layers.flat, top)


def test_psnr_knows_equal_pictures_and_a_difference_of_one_level() -> None:
    grey = np.full((4, 4, 3), 100, np.uint8)
    assert psnr(grey, grey) == EQUAL
    assert psnr(grey, grey + 1) == pytest.approx(48.13, abs=0.01)


# ---------------------------------------------------------------- names


@given(st.lists(st.none() | st.text(max_size=120) | st.sampled_from(["a", "A", "layer 2", "background"]), max_size=9))
def test_layers_have_names_that_differ_and_can_be_files_anywhere(prompts: list[str | None]) -> None:
    names = titles(prompts)
    assert len({"background", *names}) == len(names) + 1
    for name in names:
        assert name and name.isprintable() and len(name) <= 90
        stem = f"01-{slug(name)}"
        assert not set(stem) & set('/\\:*?"<>|. \n') and len(stem.encode()) <= 64
        assert slug(slug(name)) == slug(name), "nothing is left to make safe"


def test_names_are_the_prompts_words() -> None:
    names = titles(["a red  circle\n", None, "a red circle", "☃", "x" * 200])
    assert names[:4] == ["a red circle", "layer 2", "a red circle (2)", "☃"]
    assert len(names[4]) == 80
    assert [slug(name) for name in names[:4]] == ["a-red-circle", "layer-2", "a-red-circle-2", "layer"]
    assert slug("Größe 円/../..") == "grösse-円"


# ---------------------------------------------------------------- PSD


def named(layers: Stack) -> Stack:
    """The stack with names that are hard to store."""
    names = ["background", "a réd ★ 円 🙂", "< & \" '", "x" * 80, *(f"n{i}" for i in range(9))]
    return Stack(tuple(Layer(name, one.box, one.pixels) for name, one in zip(names, layers.layers, strict=False)))


@settings(max_examples=30)
@given(stacks())
def test_psd_tools_reads_every_layer_of_a_psd_as_it_was(layers: Stack) -> None:
    layers = named(layers)
    document = PSDImage.open(io.BytesIO(psd(layers, RECIPE)))
    assert document.size == layers.size and document.has_preview()
    assert [layer.name for layer in document] == [layer.title for layer in layers.layers]
    for read, layer in zip(document, layers.layers, strict=True):
        assert (read.top, read.left, read.bottom, read.right) == layer.box
        assert (read.opacity, read.visible, read.blend_mode) == (255, True, BlendMode.NORMAL)
        assert np.array_equal(np.asarray(read.topil()), layer.inside)
    assert np.array_equal(np.asarray(document.topil()), layers.flat), "the stored merged picture"


@pytest.mark.skipif(not (IDENTIFY[0] and CONVERT[0]), reason="ImageMagick is not on the PATH")
def test_imagemagick_reads_the_same_psd(tmp_path: Path) -> None:
    layers = stack([(16, 32, 64, 96), (0, 0, 16, 16), (48, 64, 96, 128)], (128, 96))
    file = tmp_path / "stack.psd"
    file.write_bytes(psd(layers, RECIPE))

    def run(*words: str | None) -> bytes:
        return subprocess.run([str(word) for word in words], check=True, capture_output=True).stdout

    told = run(*IDENTIFY, "-format", r"%l %wx%h%O\n", str(file)).decode().splitlines()
    boxes = [layer.box for layer in layers.layers]
    assert told[1:] == [
        f"{layer.title} {x1 - x0}x{y1 - y0}+{x0}+{y0}"
        for layer, (y0, x0, y1, x1) in zip(layers.layers, boxes, strict=True)
    ]
    merged = run(*CONVERT, f"{file}[0]", "-depth", "8", "rgb:-")
    assert merged == layers.flat.tobytes()
    for number, layer in enumerate(layers.layers, 1):
        read = np.frombuffer(run(*CONVERT, f"{file}[{number}]", "-depth", "8", "rgba:-"), np.uint8)
        assert np.array_equal(read.reshape(layer.inside.shape), layer.inside)


def test_a_psd_holds_fifty_layers_in_order() -> None:
    layers = stack([(0, 0, 16, 16)] * 50, (32, 32))
    assert [layer.name for layer in PSDImage.open(io.BytesIO(psd(layers, RECIPE)))] == [
        "background", *(f"layer {number}" for number in range(1, 51)),
    ]  # fmt: skip


def test_a_psd_larger_than_the_format_allows_is_one_sentence() -> None:
    wide = Stack((Layer("background", (0, 0, 1, MAX_PSD_SIDE + 1), np.zeros((1, MAX_PSD_SIDE + 1, 4), np.uint8)),))
    with pytest.raises(ValueError, match="at most 30,000 pixels, got 30001 x 1; make it smaller"):
        psd(wide, RECIPE)


# ---------------------------------------------------------------- OpenRaster


def png(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


def test_an_openraster_file_is_as_its_specification_says() -> None:
    layers = named(stack([(16, 32, 64, 96), (0, 0, 300, 16)], (128, 300)))
    data = openraster(layers, RECIPE)
    # A reader may look at fixed places: the first member is stored, and says the type right after its name.
    assert data[30:54] == b"mimetypeimage/openraster"
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        image = ElementTree.fromstring(archive.read("stack.xml"))
        assert (image.tag, image.get("w"), image.get("h")) == ("image", "128", "300")
        listed = image.findall("stack/layer")
        for element, layer in zip(listed, reversed(layers.layers), strict=True):
            y0, x0, _, _ = layer.box
            assert (element.get("name"), element.get("x"), element.get("y")) == (layer.title, str(x0), str(y0))
            assert (element.get("opacity"), element.get("visibility")) == ("1.0", "visible")
            assert element.get("composite-op") == "svg:src-over"
            assert np.array_equal(png(archive.read(element.get("src") or "")), layer.inside)
        assert np.array_equal(png(archive.read("mergedimage.png")), layers.flat)
        assert png(archive.read("Thumbnails/thumbnail.png")).shape == (256, 109, 3)


def test_pyora_reads_the_same_openraster_file() -> None:
    pyora = pytest.importorskip("pyora", reason="pyora is not installed")
    layers = named(stack([(16, 32, 64, 96), (0, 0, 16, 16)], (128, 96)))
    project = pyora.Project.load(io.BytesIO(openraster(layers, RECIPE)))
    assert project.dimensions == (128, 96)
    for read, layer in zip(project.children, reversed(layers.layers), strict=True):
        assert read.name == layer.title and read.offsets == (layer.box[1], layer.box[0])
        assert np.array_equal(np.asarray(read.get_image_data()), layer.inside)
    assert np.array_equal(np.asarray(project.get_image_data(use_original=True).convert("RGB")), layers.flat)


# ---------------------------------------------------------------- both


@pytest.mark.parametrize("write", [psd, openraster])
def test_the_same_stack_is_the_same_bytes(write: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    first = write(stack([(0, 0, 9, 9)], (32, 16)), RECIPE)
    monkeypatch.setattr("time.time", lambda: 1e9)
    monkeypatch.setattr("time.localtime", lambda *_: (2031, 2, 3, 4, 5, 6, 0, 34, 0))
    assert write(stack([(0, 0, 9, 9)], (32, 16)), RECIPE) == first


@pytest.mark.parametrize(("suffix", "write"), [(".psd", psd), (".ora", openraster)])
def test_the_recipe_is_read_back_and_a_broken_file_is_one_sentence(tmp_path: Path, suffix: str, write: Any) -> None:
    data = write(stack([], (8, 8)), RECIPE)
    file = tmp_path / f"stack{suffix}"
    file.write_bytes(data)
    assert read_recipe(file) == RECIPE
    for broken in (b"", data[:40], b"\xff" * 200, data[:26] + b"\xff" * 400):
        file.write_bytes(broken)
        with pytest.raises(MediaError) as caught:
            read_recipe(file)
        assert "\n" not in str(caught.value)


# ---------------------------------------------------------------- whose file is whose


def job(**fields: Any) -> LayeredJob:
    base = {"task": "layered", "name": "first", "prompt": "a", "layers": [{"box": [0, 0, 1, 1]}]}
    made = parse(base | fields)
    assert isinstance(made, LayeredJob)
    return made


def outcome(wanted: LayeredJob, count: int = 1) -> Rendered:
    layers = stack([(0, 0, 8, 8)] * count, (8, 8), wanted.seed)
    return Rendered(
        layers.flat[None],
        {},
        attachments=(
            *(Attachment(f"/{number:02d}-x.png", layer.pixels) for number, layer in enumerate(layers.layers)),
            Attachment(".psd", psd(layers, inside_of(wanted))),
            Attachment(".ora", openraster(layers, inside_of(wanted))),
        ),
    )


def save(folder: Path, wanted: LayeredJob, count: int = 1) -> str:
    target = OutputFolder(folder)
    stem = target.claim(wanted, 1)
    target.save(wanted, stem, outcome(wanted, count))
    return stem


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_same_job_writes_the_same_files_again(tmp_path: Path) -> None:
    assert save(tmp_path, job()) == "first"
    before = contents(tmp_path)
    assert save(tmp_path, job()) == "first"
    assert contents(tmp_path) == before
    assert set(read_recipe(tmp_path / "first.json")["outputs"]) == before.keys() - {"first.json"}


@pytest.mark.parametrize("name", ["first.psd", "first.ora", "first/00-x.png", "first/99-mine.png", "first"])
def test_a_strangers_file_is_never_overwritten(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b"a drawing of mine")
    assert save(tmp_path, job()) == "first-2"
    assert (tmp_path / name).read_bytes() == b"a drawing of mine"


@pytest.mark.parametrize("name", ["first.psd", "first.ora", "first/01-x.png"])
def test_what_another_job_left_is_not_overwritten_either(tmp_path: Path, name: str) -> None:
    save(tmp_path, job(seed=1))
    for rest in contents(tmp_path).keys() - {name}:
        (tmp_path / rest).unlink()
    before = contents(tmp_path)
    assert save(tmp_path, job(seed=2)) == "first-2"
    assert contents(tmp_path)[name] == before[name]


def test_a_folder_called_like_the_psd_makes_another_name(tmp_path: Path) -> None:
    (tmp_path / "first.psd").mkdir(parents=True)
    assert save(tmp_path, job()) == "first-2"


def test_what_somebody_went_on_drawing_in_is_not_overwritten(tmp_path: Path) -> None:
    save(tmp_path, job())
    painted = psd(stack([(0, 0, 8, 8)], (8, 8), seed=77), inside_of(job()))  # the recipe is still in it
    (tmp_path / "first.psd").write_bytes(painted)
    assert save(tmp_path, job()) == "first-2"
    assert (tmp_path / "first.psd").read_bytes() == painted


@pytest.mark.parametrize("written", range(6))
def test_what_a_kill_left_behind_is_taken_over_by_the_same_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: int
) -> None:
    save(tmp_path / "whole", job())
    left = [written]

    def killed(*words: Any, real: Any = None) -> None:
        if left[0] == 0:
            raise KeyboardInterrupt
        left[0] -= 1
        real(*words)

    from pipelines.files import output

    for name in ("write_bytes", "write_picture", "write_record"):
        real = getattr(output, name)
        monkeypatch.setattr(output, name, lambda *words, real=real: killed(*words, real=real))
    with pytest.raises(KeyboardInterrupt):
        save(tmp_path / "cut", job())
    monkeypatch.undo()
    assert not (tmp_path / "cut" / "first.json").exists(), "only the record makes it complete"
    assert save(tmp_path / "cut", job()) == "first"
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


def test_files_of_an_earlier_render_are_left_alone_and_not_listed(tmp_path: Path) -> None:
    save(tmp_path, job(), count=3)
    assert save(tmp_path, job(), count=1) == "first"
    assert (tmp_path / "first" / "03-x.png").exists()
    listed = read_recipe(tmp_path / "first.json")["outputs"]
    assert "first/01-x.png" in listed and "first/03-x.png" not in listed


def test_two_jobs_of_one_call_never_write_one_file(tmp_path: Path) -> None:
    target = OutputFolder(tmp_path)
    box = {"box": [0, 0, 1, 1], "prompt": "a"}
    layout = parse({"task": "layout", "name": "a", "prompt": "a", "boxes": [box]})
    text = parse({"task": "text", "name": "a-boxes", "prompt": "a"})
    assert (target.claim(layout, 1), target.claim(text, 2)) == ("a", "a-boxes-2")
    assert target.claim(job(), 3) == "first"
    assert target.claim(job(seed=5), 4) == "first-2"
