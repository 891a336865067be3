"""The data front-end: sources tell the same, and pixels arrive upright and fitted with what is theirs."""

from __future__ import annotations

import json
import pickle
import re
import sys
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType, ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydantic import BaseModel

from pipelines.files.audio import read_audio
from pipelines.refusal import Refusal
from tests.zoo import CAPTION, SIDE, healthy, lines, picture, pixels, png, run, sound, tar, video
from training.data.boxes import boxes_of_text
from training.data.config import DataConfig, SourceConfig
from training.data.dataset import Dataset
from training.data.example import Example, Index
from training.data.findings import ERRORS, WARNINGS, Fault
from training.data.parts import part_of
from training.data.sources import index
from training.preflight import dataset, preflight
from training.run.config import StepsConfig
from training.tune import TuneConfig

BOXES = [{"label": "a red circle", "bbox": [0.25, 0.25, 0.5, 0.75]}]


def source(path: Path, **fields: Any) -> SourceConfig:
    return SourceConfig(path=path, **fields)


def opened(path: Path, batch: int = 4, **fields: Any) -> Dataset:
    config = DataConfig.model_validate({"sources": [{"path": path}], "caption_drop": 0.0, **fields})
    return Dataset.open(config, batch, 1)


def only(found: Index) -> Example:
    assert not found.findings and len(found.examples) == 1, found
    return found.examples[0]


def told(example: Example) -> tuple[Any, ...]:
    """What sources must agree on."""
    boxes = [(box.label, box.edges) for box in example.boxes]
    return example.kind, example.captions, boxes, example.weight, example.repeats


# ------------------------------------------------------------ sources


def test_a_folder_knows_what_belongs_to_a_picture(tmp_path: Path) -> None:
    picture(tmp_path / "sub" / "photo.2024.png", caption="a red circle\n\n a  blue star \n")
    beside = tmp_path / "sub"
    (beside / "photo.2024.bbox").write_text(json.dumps(BOXES))
    Image.fromarray(np.full((SIDE, SIDE), 255, np.uint8)).save(beside / "photo.2024.mask.png")
    for number in range(11):
        layer = beside / "photo.2024.layers" / f"{number}.png"
        layer.parent.mkdir(exist_ok=True)
        Image.fromarray(np.zeros((SIDE, SIDE, 4), np.uint8)).save(layer)
    sound(beside / "photo.2024.wav")
    (tmp_path / "notes.pdf").write_bytes(b"not read")
    (tmp_path / ".hidden.png").write_bytes(b"")
    found = only(index([source(tmp_path, repeats=2.5, weight=0.5)]))
    assert found.name.endswith("sub/photo.2024.png") and found.captions == ("a red circle", "a blue star")
    assert found.boxes[0].label == "a red circle" and found.mask is not None and found.audio is not None
    assert [Path(layer.name).stem for layer in found.layers] == [str(k) for k in range(11)], "2 stands before 10"
    assert (found.repeats, found.weight) == (2.5, 0.5)


def test_all_sources_tell_the_same_of_the_same_picture(tmp_path: Path) -> None:
    row = {"text": CAPTION, "boxes": BOXES, "weight": 2.0, "repeats": 3}
    folder, data = tmp_path / "folder", png(pixels(7))
    for name in ("folder", "jsonl", "csv"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.png").write_bytes(data)
    (folder / "a.txt").write_text(CAPTION)
    (folder / "a.bbox").write_text("\n".join(map(json.dumps, BOXES)))
    lines(tmp_path / "jsonl" / "metadata.jsonl", {"file_name": "a.png", **row})
    quoted = json.dumps(BOXES).replace('"', '""')
    (tmp_path / "csv" / "metadata.csv").write_text(
        f'\ufeffimage,caption,boxes,weight,repeats\na.png,{CAPTION},"{quoted}",2.0,3\n', encoding="utf-8"
    )
    tar(tmp_path / "x.tar", {"d/a.png": data, "d/a.json": json.dumps(row).encode()})
    expected = told(only(index([source(folder, weight=2.0, repeats=3)])))
    for path in (tmp_path / "jsonl", tmp_path / "jsonl" / "metadata.jsonl", tmp_path / "csv", tmp_path / "x.tar"):
        found = only(index([source(path)]))
        assert told(found) == expected and found.media[0].read() == data, path


def test_members_of_a_tar_belong_together_and_are_read_in_place(tmp_path: Path) -> None:
    layer = png(np.zeros((SIDE, SIDE, 4), np.uint8))
    mask = png(np.full((SIDE, SIDE), 255, np.uint8))
    members = {
        "../../a.png": png(pixels(1)), "../../a.txt": b"one\ntwo", "../../a.mask.png": mask,
        "../../a.layers.0.png": layer, "../../a.layers.1.png": layer, "../../a.seg.png": layer,
        "b.frames.1.png": png(pixels(2)), "b.frames.0.png": png(pixels(3)), "b.txt": b"a clip",
    }  # fmt: skip
    (tmp_path / "shards").mkdir()
    tar(tmp_path / "shards" / "0.tar", members)
    before = sorted(tmp_path.parent.rglob("*.png"))
    found = index([source(tmp_path / "shards")])
    first, second = found.examples
    assert not found.findings and first.captions == ("one", "two") and len(first.layers) == 2 and first.mask is not None
    assert second.kind == "frames" and [asset.read() for asset in second.media] == [png(pixels(3)), png(pixels(2))]
    data = opened(tmp_path / "shards", frames=[1, 2])
    assert sorted(data.buckets) == [data.buckets[0], data.buckets[1]]
    loaded = data.load(data.order.at(0).items[0], data.order.at(0).bucket)
    assert loaded.frames.shape[1:] == (SIDE, SIDE, 4)
    assert sorted(tmp_path.parent.rglob("*.png")) == before, "nothing is unpacked under a name of the tar"


def test_a_video_in_a_tar_is_the_video_on_disk(tmp_path: Path) -> None:
    path = video(tmp_path / "clips" / "a.mp4", 12)
    (tmp_path / "tars").mkdir()
    tar(tmp_path / "tars" / "0.tar", {"a.mp4": path.read_bytes(), "a.txt": CAPTION.encode()})
    found = []
    for place in ("clips", "tars"):
        data = opened(tmp_path / place, frames=[8])
        found.append(data.load(data.order.at(0).items[0], data.order.at(0).bucket).frames)
    assert found[0].shape == (8, SIDE, SIDE, 4) and np.array_equal(*found)


class Cells(list[Any]):
    """A column of a fake table."""

    def to_pylist(self) -> list[Any]:
        return list(self)


class Group:
    """Some rows of a fake table."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.rows = rows

    def to_pylist(self) -> list[dict[str, Any]]:
        return self.rows

    def __getitem__(self, name: str) -> Cells:
        return Cells(row[name] for row in self.rows)


class FakeTable:
    """Two row groups of a parquet file as pyarrow shows them, from rows in JSON."""

    kinds = MappingProxyType({"image": "struct<bytes: binary, path: string>", "text": "string", "seed": "int64"})

    def __init__(self, path: Path) -> None:
        rows = [
            row | {"image": {"bytes": png(pixels(row["seed"])), "path": None}} for row in json.loads(path.read_text())
        ]
        self.groups = [rows[:1], rows[1:]]
        self.num_row_groups = 2
        self.schema_arrow = SimpleNamespace(names=list(self.kinds), field=self.field)
        self.metadata = SimpleNamespace(row_group=lambda group: SimpleNamespace(num_rows=len(self.groups[group])))

    def field(self, name: str) -> Any:
        return SimpleNamespace(type=self.kinds[name])

    def read_row_group(self, group: int, columns: list[str]) -> Group:
        return Group([{name: row[name] for name in columns} for row in self.groups[group]])


@pytest.fixture
def pyarrow(monkeypatch: pytest.MonkeyPatch) -> None:
    module, package = ModuleType("pyarrow.parquet"), ModuleType("pyarrow")
    module.ParquetFile = FakeTable  # type: ignore[attr-defined]
    package.parquet = module  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pyarrow", package)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", module)


@pytest.mark.parametrize("name", ["metadata.parquet", "data/train-00000-of-00001.parquet"])
def test_pictures_in_a_table_are_read_when_asked_for(pyarrow: None, name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps([{"text": f"number {seed}", "seed": seed} for seed in (1, 2, 3)]))
    found = index([source(tmp_path)])
    assert not found.findings
    assert [example.captions for example in found.examples] == [(f"number {seed}",) for seed in (1, 2, 3)]
    assert [example.media[0].read() for example in found.examples] == [png(pixels(seed)) for seed in (1, 2, 3)]
    assert not preflight(run({"sources": [{"path": tmp_path}]}, tmp_path / "run", batch=1)).findings


class FakeRows(list[dict[str, Any]]):
    """A data set as the library datasets shows it."""

    column_names = ("image", "text")

    @property
    def features(self) -> dict[str, Any]:
        return {"image": SimpleNamespace(), "text": SimpleNamespace()}

    def cast_column(self, name: str, feature: Any) -> FakeRows:
        assert name == "image" and feature == "undecoded"
        return self

    def remove_columns(self, names: list[str]) -> FakeRows:
        return FakeRows({key: value for key, value in row.items() if key not in names} for row in self)


def test_a_saved_data_set_is_opened_by_its_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dataset_dict.json").write_text("{}")
    assert [finding.kind for finding in index([source(tmp_path)]).findings] == ["missing-source"], "not installed"
    rows = FakeRows({"image": {"bytes": png(pixels(seed)), "path": "/a"}, "text": f"number {seed}"} for seed in (1, 2))
    library = ModuleType("datasets")
    library.load_from_disk = lambda path: {"train": rows}  # type: ignore[attr-defined]
    library.Image = lambda decode: "decoded" if decode else "undecoded"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", library)
    found = index([source(tmp_path)])
    assert [example.captions for example in found.examples] == [("number 1",), ("number 2",)]
    assert found.examples[1].media[0].read() == png(pixels(2))
    wrong = index([source(tmp_path, split="test")])
    assert "has the splits train" in wrong.findings[0].reason


def test_without_its_library_a_table_is_one_clear_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "metadata.parquet").write_bytes(b"PAR1")
    (finding,) = index([source(tmp_path)]).findings
    assert finding.kind == "missing-source" and "install diorama[datasets], or use .jsonl or .csv" in finding.reason


def test_metadata_may_name_masks_layers_sound_and_other_columns(tmp_path: Path) -> None:
    for name in ("a.png", "m.png", "l0.png", "l1.png", "o.png"):
        (tmp_path / name).write_bytes(png(pixels(3)))
    sound(tmp_path / "s.wav")
    boxes = [{**BOXES[0], "mask": "o.png"}]
    row = {
        "photo": "a.png",
        "words": ["x", " y  z "],
        "mask": "m.png",
        "layers": ["l0.png", "l1.png"],
        "audio": "s.wav",
    }
    lines(tmp_path / "all.jsonl", {**row, "boxes": boxes})
    found = only(index([source(tmp_path / "all.jsonl", file_column="photo", caption_column="words")]))
    assert found.captions == ("x", "y z") and found.mask is not None and found.mask.name.endswith("m.png")
    assert len(found.layers) == 2 and found.audio is not None and found.boxes[0].mask is not None
    wrong = index([source(tmp_path / "all.jsonl", file_column="foto")])
    assert wrong.findings[0].kind == "metadata" and "'foto'" in wrong.findings[0].reason


@pytest.mark.parametrize("name", ["/etc/passwd", "../x.png", "a/../../x.png", "C:\\x.png", "link/x.png"])
def test_metadata_reaches_nothing_outside_its_folder(name: str, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "x.png").write_bytes(png(pixels(1)))
    (tmp_path / "set" / "link").symlink_to(tmp_path)
    lines(tmp_path / "set" / "metadata.jsonl", {"file_name": name, "text": "x"})
    found = index([source(tmp_path / "set")])
    assert [finding.kind for finding in found.findings] == ["outside"] and not found.examples


def test_the_mask_of_a_box_is_found_and_is_no_example(tmp_path: Path) -> None:
    boxes = json.dumps([{**BOXES[0], "mask": "a.outline.png"}]).encode()
    members = {"a.png": png(pixels(1)), "a.txt": b"x", "a.bbox": boxes, "a.outline.png": png(pixels(2))}
    (tmp_path / "set").mkdir()
    for name, data in members.items():
        (tmp_path / "set" / name).write_bytes(data)
    tar(tmp_path / "x.tar", {f"d/{name}": data for name, data in members.items()})
    for path in (tmp_path / "set", tmp_path / "x.tar"):
        found = only(index([source(path)]))
        assert found.boxes[0].mask is not None and found.boxes[0].mask.read() == png(pixels(2))
        assert found.media[0].read() == png(pixels(1))
    tar(tmp_path / "x.tar", {name: data for name, data in members.items() if "outline" not in name})
    assert [finding.kind for finding in index([source(tmp_path / "x.tar")]).findings] == ["missing-file"]


def test_names_are_unique_across_sources(tmp_path: Path) -> None:
    healthy(tmp_path)
    found = index([source(tmp_path), source(tmp_path)])
    assert len({example.name for example in found.examples}) == 4


@given(st.text(max_size=40))
def test_no_file_name_is_a_traceback(name: str) -> None:
    for in_tar in (False, True):
        found = part_of(name, SimpleNamespace(name=name), tar=in_tar)  # type: ignore[arg-type]
        assert found is None or found.key in name


# ------------------------------------------------------------ boxes


def no_mask(name: str) -> Any:
    raise Fault("boxes", "no masks here")


def test_boxes_are_read_in_all_three_spellings() -> None:
    expected = [("a red circle", (0.25, 0.25, 0.5, 0.75))]
    spellings = [json.dumps(BOXES), json.dumps(BOXES[0]), "a red circle 0.375 0.5 0.25 0.5\n"]
    for text in spellings:
        assert [(box.label, box.edges) for box in boxes_of_text(text, no_mask)] == expected
    assert boxes_of_text("0 0.5 0.5 1.0 1.0", no_mask)[0].edges == (0, 0, 1, 1)
    assert boxes_of_text("0.5 0.5 1 1", no_mask)[0].label == "" and boxes_of_text("\n", no_mask) == ()


@given(st.one_of(st.text(max_size=60), st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.sampled_from(["label", "bbox", "mask"]), inner),
    max_leaves=12,
).map(json.dumps)))  # fmt: skip
def test_boxes_of_any_text_are_boxes_or_one_sentence(text: str) -> None:
    try:
        for box in boxes_of_text(text, no_mask):
            assert len(box.edges) == 4 and all(np.isfinite(box.edges))
    except Fault as fault:
        assert fault.kind == "boxes" and fault.reason and "\n" not in fault.reason


# ------------------------------------------------------------ pixels


def test_a_picture_arrives_upright_cut_in_the_middle_with_its_boxes_and_mask(tmp_path: Path) -> None:
    wide = np.zeros((SIDE, 136, 3), np.uint8)
    wide[:, :68] = (214, 48, 49)
    image = Image.fromarray(wide).rotate(90, expand=True)  # stored standing; its note lays it down again
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "a.png", exif=exif)
    (tmp_path / "a.txt").write_text(CAPTION)
    (tmp_path / "a.bbox").write_text(json.dumps([{"label": "left", "bbox": [0, 0, 0.5, 1]}]))
    mask = np.zeros((SIDE, 136), np.uint8)
    mask[:, 68:] = 255
    Image.fromarray(mask).save(tmp_path / "a.mask.png")
    data = opened(tmp_path)
    batch = data.order.at(0)
    loaded = data.load(batch.items[0], batch.bucket)
    assert batch.bucket.size == (SIDE, SIDE) and loaded.frames.shape == (1, SIDE, SIDE, 4)
    assert loaded.mask is not None
    assert loaded.frames[0, 64, 10].tolist() == [214, 48, 49, 255] and loaded.mask[64, 10] == 0
    assert loaded.frames[0, 64, 118].tolist() == [0, 0, 0, 255] and loaded.mask[64, 118] == 255
    assert loaded.boxes[0].edges == pytest.approx((0, 0, 0.5, 1))


def test_another_cut_shows_its_part_of_everything(tmp_path: Path) -> None:
    slope = np.broadcast_to(np.arange(SIDE, dtype=np.uint8)[None, :, None], (SIDE, SIDE, 3)).copy()
    Image.fromarray(slope).save(tmp_path / "a.png")
    Image.fromarray(slope[..., 0]).save(tmp_path / "a.mask.png")
    (tmp_path / "a.bbox").write_text(json.dumps([{"label": "left", "bbox": [0, 0, 0.5, 1]}]))
    data = opened(tmp_path, crops=5, max_crop=0.4)
    item, bucket = data.order.at(0).items[0], data.order.at(0).bucket
    edges = []
    for crop in range(5):
        loaded = data.load(replace(item, crop=crop), bucket)
        assert loaded.mask is not None and loaded.frames.shape == (1, SIDE, SIDE, 4)
        row = loaded.frames[0, SIDE // 2, :, 0]
        edge = loaded.boxes[0].edges[2] * SIDE  # where the box ends, the slope has its middle
        assert abs(float(row[round(edge) - 1]) - SIDE / 2) < 3 and np.abs(loaded.mask[64].astype(int) - row).max() <= 1
        edges.append(round(edge))
    assert edges[0] == SIDE // 2 and len(set(edges)) > 1
    Image.fromarray(slope).rotate(90).save(tmp_path / "b.png")
    trained, apart = opened(tmp_path, crops=5).split(0.5)
    assert apart is not None and (trained.config.crops, apart.config.crops) == (5, 1)


def test_layers_keep_their_alpha_and_clear_pixels_do_not_bleed(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", size=(256, 256))
    layer = np.zeros((256, 256, 4), np.uint8)
    layer[..., :3] = (0, 255, 0)  # a colour that nobody sees
    layer[64:192, 64:192] = (255, 0, 0, 255)
    (tmp_path / "a.layers").mkdir()
    Image.fromarray(layer).save(tmp_path / "a.layers" / "0.png")
    data = opened(tmp_path)
    loaded = data.load(data.order.at(0).items[0], data.order.at(0).bucket)
    assert loaded.layers is not None and loaded.layers.shape == (1, SIDE, SIDE, 4)
    seen = loaded.layers[0][loaded.layers[0, ..., 3] > 0]
    assert seen[:, 0].min() >= 250 and seen[:, 1].max() <= 5


def test_sixteen_bits_and_printing_colours_become_eight_bits_of_rgb(tmp_path: Path) -> None:
    grey = np.full((SIDE, SIDE), 0x80FF, np.uint16)
    grey[:, :64] = 0xFFFF
    Image.fromarray(grey).save(tmp_path / "a.png")
    Image.fromarray(np.full((SIDE, SIDE, 3), (255, 0, 0), np.uint8)).convert("CMYK").save(tmp_path / "b.jpg")
    data = opened(tmp_path, batch=1)
    found = {}
    for step in range(2):
        batch = data.order.at(step)
        found[data.examples[batch.items[0].example].name[-5:]] = data.load(batch.items[0], batch.bucket).frames[0]
    assert found["a.png"][5, 5].tolist() == [255] * 4 and found["a.png"][5, 120].tolist() == [128, 128, 128, 255]
    assert found["b.jpg"][5, 5, 0] > 240 and found["b.jpg"][5, 5, 1:3].max() < 20


def test_frames_of_a_clip_are_taken_at_the_runs_rate_with_their_sound(tmp_path: Path) -> None:
    sound(video(tmp_path / "a.mp4", frames=24, fps=24).with_suffix(".wav"))
    data = opened(tmp_path, frames=[4], fps=8, audio=True)
    assert data.shapes[0].there == 24 and data.shapes[0].frames == 8 and data.buckets[0].frames == 4
    loaded = data.load(data.order.at(0).items[0], data.buckets[0])
    # The first frame that is taken is number 7 of 24 a second; after half a second the file is over.
    assert loaded.sound is not None and loaded.sound.samples.shape == (1, 8000)
    whole = read_audio(tmp_path / "a.wav").samples
    assert np.array_equal(loaded.sound.samples[:, :3333], whole[:, 4667:]) and not loaded.sound.samples[:, 3333:].any()
    # Frame k of the clip is its first one rolled by 4 k pixels.
    shifts = []
    base = pixels(50).astype(int)
    for frame in loaded.frames[..., :3].astype(int):
        off = [np.abs(np.roll(base, 4 * k, axis=1) - frame).mean() for k in range(24)]
        shifts.append(int(np.argmin(off)))
    assert shifts == [7, 10, 13, 16]


def test_other_processes_load_the_same_samples(tmp_path: Path) -> None:
    healthy(tmp_path)
    data = opened(tmp_path)
    other = pickle.loads(pickle.dumps(data))
    batch = other.order.at(3)
    assert batch == data.order.at(3)
    for item in batch.items:
        assert np.array_equal(other.load(item, batch.bucket).frames, data.load(item, batch.bucket).frames)


def test_a_file_that_vanishes_in_mid_run_is_one_sentence(tmp_path: Path) -> None:
    healthy(tmp_path, 1)
    data = opened(tmp_path)
    item, bucket = data.order.at(0).items[0], data.order.at(0).bucket
    picture(tmp_path / "fine0.png", size=(64, 64))
    with pytest.raises(Refusal, match="it changed since the run began"):
        data.load(item, bucket)
    (tmp_path / "fine0.png").unlink()
    with pytest.raises(Refusal, match=r"fine0\.png: is not there any more"):
        data.load(item, bucket)


def test_data_that_the_preflight_refuses_can_not_be_opened(tmp_path: Path) -> None:
    healthy(tmp_path)
    (tmp_path / "bad.png").write_bytes(b"")
    with pytest.raises(Refusal, match=r"bad\.png: has no bytes"):
        opened(tmp_path)
    with pytest.raises(Refusal, match="is not there"):
        opened(tmp_path / "absent")


def test_what_the_preflight_measured_is_what_a_run_measures(tmp_path: Path) -> None:
    healthy(tmp_path)
    video(tmp_path / "clip.mp4", 12)
    own = run({"sources": [{"path": tmp_path}], "frames": [1, 8]}, tmp_path / "run")
    data, again = dataset(own, preflight(own)), Dataset.open(own.data, own.loop.batch, own.seed)
    assert data.shapes == again.shapes and data.order.fingerprint == again.order.fingerprint


# ------------------------------------------------------------ the page

PAGE = (Path(__file__).parents[1] / "docs" / "training.md").read_text()


SECTIONS = [type(each.default) for each in TuneConfig.model_fields.values() if isinstance(each.default, BaseModel)]
MODELS = [TuneConfig, DataConfig, SourceConfig, StepsConfig, *SECTIONS]


@pytest.mark.parametrize("model", MODELS)
def test_the_page_has_every_field_with_its_default_and_meaning(model: type[BaseModel]) -> None:
    for name, field in model.model_fields.items():
        default = "needed" if field.is_required() else json.dumps(field.default, default=list)
        if isinstance(field.default, BaseModel):
            default = "below"
        row = f"| `{name}` | {default} | {field.description} |"
        assert row in PAGE, row
    written = set(re.findall(r"^\| `(\w+)` \| (?:needed|below|null|true|false|[\d\[\"])", PAGE, re.M))
    assert written == {name for each in MODELS for name in each.model_fields}


def test_the_page_has_every_finding() -> None:
    rows = [f"| `{kind}` | {meaning} |" for kind, meaning in (ERRORS | WARNINGS).items()]
    assert "\n".join(rows[: len(ERRORS)]) in PAGE and "\n".join(rows[len(ERRORS) :]) in PAGE
