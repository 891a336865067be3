"""Reproducing: a render is equal to the byte, or it is said what differs and why."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.estimate import Rendered
from pipelines.files.media import read_picture, write_picture
from pipelines.files.output import OutputFolder
from pipelines.files.provenance import content_of
from pipelines.history.reproduce import UNEXPLAINED, reproduce
from pipelines.history.reproductions import EQUAL
from pipelines.job import Job, Refusal, parse
from pipelines.story.scenecache import digest
from tests.fakes import FakeEstimate


class Painter:
    """Draws noise of the seed; what it is made of can be changed, as a machine can."""

    def __init__(self, weights: str = "w", shade: int = 0, inputs: dict[str, str] | None = None) -> None:
        self.weights, self.shade, self.inputs = weights, shade, inputs or {}
        self.asked: list[Any] = []

    def check(self, job: Job) -> FakeEstimate:
        if job.model != "papercut":
            raise Refusal("model", f"no checkpoint {job.model!r}")
        return FakeEstimate()

    def render(
        self, jobs: Sequence[Job], progress: Callable[[int, int], bool], at_once: int | None = None
    ) -> list[Rendered]:
        self.asked.append((jobs[0], at_once))
        if not progress(1, 1):
            raise RuntimeError("cancelled")
        job = jobs[0]
        count = getattr(job, "frames", None) or 3
        frames = np.random.default_rng(job.seed).integers(0, 200, (count, 32, 32, 3), np.uint8)
        frames[0, 0, 0] += np.uint8(self.shade)
        record = {"resolved": {}, "device": "cpu", "dtype": "float32", "weights": self.weights, "inputs": self.inputs}
        return [Rendered(frames, record)]

    def rehearse(self, jobs: Sequence[Job]) -> Any:
        raise AssertionError("nothing is rehearsed")


def rendered(folder: Path, engine: Painter, **values: Any) -> dict[str, Any]:
    """Render a job named `one`; returns its record."""
    job = parse({"task": "text", "prompt": "a red circle", "size": [32, 32], "name": "one", **values})
    result = engine.render([job], lambda step, steps: True)[0]
    OutputFolder(folder).save(job, "one", result)
    return dict(json.loads((folder / "one.json").read_text()))


def rewrite(folder: Path, record: dict[str, Any], **more: Any) -> None:
    (folder / "one.json").write_text(json.dumps({**record, **more}))


@pytest.mark.parametrize("values", [{}, {"frames": 3, "png_frames": True}])
def test_the_same_machine_draws_the_same_bytes_and_leaves_the_folder_alone(
    tmp_path: Path, values: dict[str, Any]
) -> None:
    rendered(tmp_path, Painter(), **values)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    verdict = reproduce(Painter(), tmp_path, "one.json")
    assert verdict.equal and verdict.sentence == EQUAL
    assert (verdict.reasons, verdict.changed) == ((), ())
    assert {file.name for file in verdict.files} == set(json.loads((tmp_path / "one.json").read_text())["outputs"])
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_other_pixels_are_measured_and_other_weights_named(tmp_path: Path) -> None:
    rendered(tmp_path, Painter())
    verdict = reproduce(Painter(weights="v", shade=7), tmp_path, "one.json")
    assert not verdict.equal
    assert verdict.sentence.startswith("one.png: its pixels differ by at most 7 of 255, 0.0068 on average (")
    assert verdict.reasons == ("the weights of the model 'papercut' are others than those it was rendered with",)


def test_a_difference_that_nothing_explains_is_called_that(tmp_path: Path) -> None:
    rendered(tmp_path, Painter())
    assert reproduce(Painter(shade=1), tmp_path, "one.json").reasons == (UNEXPLAINED,)


def test_another_version_is_named_and_what_only_it_changed_is_called_metadata(tmp_path: Path) -> None:
    record = rendered(tmp_path, Painter())
    # As an older Diorama would have written the same pixels: its version stands in the file.
    inside = (tmp_path / "one.png").read_bytes()
    write_picture(
        tmp_path / "one.png", read_picture(tmp_path / "one.png")[..., :3], {"diorama": "0.0.1", "job": record["job"]}
    )
    assert (tmp_path / "one.png").read_bytes() != inside
    versions = {**record["versions"], "diorama": "0.0.1", "torch": "1.0"}
    rewrite(tmp_path, record, diorama="0.0.1", versions=versions, outputs={"one.png": content_of(tmp_path / "one.png")})
    verdict = reproduce(Painter(), tmp_path, "one.json")
    assert verdict.files[0].told == "its pixels are equal, only what is written in it differs"
    assert verdict.reasons[0].startswith("diorama was 0.0.1 and is ")
    assert verdict.reasons[1].startswith("torch was 1.0 and is ")


def test_equal_bytes_stay_equal_though_a_library_is_another(tmp_path: Path) -> None:
    record = rendered(tmp_path, Painter())
    rewrite(tmp_path, record, versions={**record["versions"], "numpy": "1.0"}, device="cuda:0", dtype="bfloat16")
    verdict = reproduce(Painter(), tmp_path, "one.json")
    assert verdict.equal
    assert verdict.sentence.startswith("equal to the byte, although numpy was 1.0 and is ")
    assert "the device was cuda:0 and is cpu" in verdict.reasons
    assert "the number format was bfloat16 and is float32" in verdict.reasons


def test_a_changed_byte_in_the_folder_is_told(tmp_path: Path) -> None:
    rendered(tmp_path, Painter())
    data = bytearray((tmp_path / "one.png").read_bytes())
    data[-20] ^= 1
    (tmp_path / "one.png").write_bytes(data)
    verdict = reproduce(Painter(), tmp_path, "one.json")
    assert verdict.equal
    assert verdict.sentence == "equal to the byte; but one.png in the folder was changed after it was rendered"
    verdict = reproduce(Painter(shade=1), tmp_path, "one.json")
    assert verdict.files[0].told.endswith("can not be told, for the file in the folder was changed since")
    (tmp_path / "one.png").unlink()
    assert reproduce(Painter(), tmp_path, "one.json").changed == ("one.png is gone from the folder",)


def test_a_missing_source_is_named_and_nothing_is_rendered(tmp_path: Path) -> None:
    source = tmp_path / "source.png"
    source.write_bytes(b"x")
    painter = Painter(inputs={"source": digest("x")})
    values = {"task": "masked", "source": str(source), "outpaint": [16, 0, 0, 0], "frames": 1, "size": None}
    job = parse({name: value for name, value in values.items() if value is not None} | {"name": "one"})
    OutputFolder(tmp_path).save(job, "one", painter.render([job], lambda step, steps: True)[0])
    changed = reproduce(Painter(inputs={"source": digest("y")}, shade=1), tmp_path, "one.json")
    assert changed.reasons == (f"source: the file '{source}' was changed since",)
    source.unlink()
    painter.asked.clear()
    verdict = reproduce(painter, tmp_path, "one.json")
    assert not verdict.rendered and not verdict.equal and painter.asked == []
    why = f"source: the file '{source}' that it was made from is not here"
    assert verdict.sentence == f"it can not be rendered again: {why}"


@pytest.mark.parametrize(
    ("job", "reason"),
    [
        ({"model": "gone"}, "model: no checkpoint 'gone'"),
        ({"magic": 1}, "magic: unknown key"),
        ({"task": "dance"}, "task: expected one of"),
    ],
)
def test_a_job_that_can_not_be_rendered_here_is_told(tmp_path: Path, job: dict[str, Any], reason: str) -> None:
    record = rendered(tmp_path, Painter())
    rewrite(tmp_path, record, job={**record["job"], **job}, versions={**record["versions"], "diorama": "9.9"})
    verdict = reproduce(Painter(), tmp_path, "one.json")
    assert not verdict.rendered
    assert verdict.reasons[0].startswith(reason)
    assert verdict.reasons[1].startswith("diorama was 9.9 and is ")


def test_what_is_no_record_is_told(tmp_path: Path) -> None:
    (tmp_path / "one.json").write_text("{}")
    assert "expected a recipe that Diorama wrote" in reproduce(Painter(), tmp_path, "one.json").sentence
    assert "can not be read" in reproduce(Painter(), tmp_path, "two.json").sentence


def test_scenes_are_rendered_afresh_and_the_job_in_the_files_stays_as_it_is(tmp_path: Path) -> None:
    scenes = [{"prompt": "a star spins", "frames": 3}]
    job = parse({"task": "scenes", "size": [32, 32], "scenes": scenes, "reuse": "scene", "name": "one"})
    painter = Painter()
    result = painter.render([job], lambda step, steps: True)[0]
    taken = {"start": 0, "frames": 3, "reused": True, "why": "unchanged itself; the scenes before it are others now"}
    result = replace(result, record={**result.record, "scenes": [taken]})
    OutputFolder(tmp_path).save(job, "one", result)
    assert reproduce(painter, tmp_path, "one.json").equal
    assert painter.asked[-1][0].reuse == "never"
    verdict = reproduce(Painter(shade=50), tmp_path, "one.json")
    assert verdict.reasons == (
        "scene 1 was taken from an earlier render (unchanged itself; the scenes before it are others now)",
    )


def test_a_batch_is_a_reason_and_smaller_chunks_are_taken_again(tmp_path: Path) -> None:
    record = rendered(tmp_path, Painter())
    rewrite(tmp_path, record, batch=4, retried_with={"at_once": 2})
    painter = Painter(shade=1)
    assert reproduce(painter, tmp_path, "one.json").reasons[0].startswith("it was rendered in a batch of 4")
    assert painter.asked[-1][1] == 2
    assert reproduce(Painter(), tmp_path, "one.json").sentence == EQUAL


def test_files_that_came_or_went_are_told(tmp_path: Path) -> None:
    record = rendered(tmp_path, Painter())
    rewrite(tmp_path, record, outputs={"one-boxes.png": record["outputs"]["one.png"]})
    files = {file.name: file.told for file in reproduce(Painter(), tmp_path, "one.json").files}
    assert files == {
        "one-boxes.png": "it was written then and is not written now",
        "one.png": "it is written now and was not written then",
    }


def test_it_can_be_cancelled(tmp_path: Path) -> None:
    rendered(tmp_path, Painter())
    with pytest.raises(RuntimeError, match="cancelled"):
        reproduce(Painter(), tmp_path, "one.json", lambda step, steps: False)


@pytest.mark.slow
def test_a_real_render_is_reproduced_and_a_changed_weight_or_source_is_named(tmp_path: Path, tiny: Path) -> None:
    from safetensors.torch import load_file, save_file

    from pipelines.engine import Engine

    model, out = tmp_path / "model", tmp_path / "out"
    shutil.copytree(tiny, model)
    write_picture(tmp_path / "source.png", np.full((64, 64, 3), 90, np.uint8), {})
    common = {"model": str(model), "steps": 2, "prompt": "a red circle"}
    masked = {"task": "masked", "source": str(tmp_path / "source.png"), "outpaint": [16, 0, 0, 0], "name": "two"}
    engine = Engine("cpu", cache=out / ".diorama")
    for values in ({"task": "text", "size": [64, 64], "name": "one"}, masked):
        job = parse({**common, **values})
        OutputFolder(out).save(job, job.name or "", engine.render([job], lambda step, steps: True)[0])
    told = json.loads((out / "two.json").read_text())
    assert told["dtype"] == "float32" and len(told["weights"]) == 32 and told["threads"] >= 1
    assert list(told["inputs"]) == ["source"] and len(told["inputs"]["source"]) == 64

    assert reproduce(Engine("cpu"), out, "one.json").sentence == EQUAL
    assert reproduce(Engine("cpu"), out, "two.json").sentence == EQUAL

    write_picture(tmp_path / "source.png", np.full((64, 64, 3), 95, np.uint8), {})
    verdict = reproduce(Engine("cpu"), out, "two.json")
    assert not verdict.equal and len(verdict.reasons) == 1
    assert verdict.reasons[0].startswith("source: the file ") and verdict.reasons[0].endswith("was changed since")

    weights = next((model / "transformer").glob("*.safetensors"))
    tensors = load_file(weights)
    name = next(name for name, tensor in tensors.items() if "proj_out" in name and tensor.ndim == 2)
    tensors[name] = tensors[name] * 1.5
    save_file(tensors, weights, {"format": "pt"})
    verdict = reproduce(Engine("cpu"), out, "one.json")
    assert verdict.files[0].told.startswith("its pixels differ by at most ")
    assert "the weights of the model" in verdict.reasons[0]
