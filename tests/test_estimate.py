"""What a job will cost, before it renders, and what the record of the render then says."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.checkpoint import describe
from pipelines import engine as engines
from pipelines import estimate as estimates
from pipelines import measure
from pipelines.engine import Engine, groups
from pipelines.estimate import calls, least_memory
from pipelines.job import Job, Refusal, parse
from pipelines.measure import Calls, PeakMemory, slope
from pipelines.text import text_plan


def job(checkpoint: Path, **fields: Any) -> Job:
    base = {"task": "text", "model": str(checkpoint), "steps": 20, "size": [64, 64], "guidance": 3.0}
    prompt = {} if fields.get("task") == "scenes" else {"prompt": "a red ring"}
    return parse(base | prompt | fields)


class WorkClock:
    """A clock that only work moves: a second for each evaluation of the model, half a second for each decoded frame."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def watch(self, engine: Engine, model: Path) -> None:
        checkpoint = engine.checkpoint(str(model))

        def move(seconds: float) -> Callable[..., None]:
            def hook(_module: object, inputs: tuple[torch.Tensor, ...], _output: object) -> None:
                self.now += seconds * len(inputs[0])

            return hook

        checkpoint.transformer.register_forward_hook(move(1.0))
        checkpoint.codec.vae.decoder.register_forward_hook(move(0.5))


@pytest.fixture
def paced(tiny: Path) -> Engine:
    clock = WorkClock()
    engine = Engine("cpu", clock=clock)
    clock.watch(engine, tiny)
    return engine


def agree(engine: Engine, *jobs: Job) -> float:
    """The seconds that a rehearsal foretells, which the record of the render then says."""
    assert groups(jobs) == [list(range(len(jobs)))]
    foretold = engine.rehearse(jobs).seconds
    record = engine.render(jobs, lambda step, steps: True)[0].record
    assert foretold == pytest.approx(record["seconds"], rel=1e-6)
    return foretold


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"frames": 3},
        {"guidance": 1.0},
        {"scheduler": "heun"},
        {"scheduler": "dpm++", "internal_guidance": 2.0},
        {"guidance_interval": [0.3, 0.8]},
        {"guidance_interval": [0.3, 0.8], "scheduler": "heun"},
        {"steps": 1},
        {"steps": 4, "scheduler": "unipc"},
    ],
)
def test_a_rehearsal_foretells_what_the_record_says(paced: Engine, tiny: Path, fields: dict[str, Any]) -> None:
    assert agree(paced, job(tiny, **fields)) > 0


def test_the_rehearsal_of_a_batch_is_that_of_its_jobs_together(paced: Engine, tiny: Path) -> None:
    assert agree(paced, *(job(tiny, seed=seed, steps=7) for seed in range(3))) == pytest.approx(2 * 7 + 0.5)


@pytest.mark.parametrize("fields", [{}, {"window": 1}, {"cuts": False}, {"scheduler": "heun", "steps": 6}])
def test_a_rehearsal_counts_every_scene_and_leaves_the_cache_alone(
    paced: Engine, tiny: Path, tmp_path: Path, fields: dict[str, Any]
) -> None:
    scenes = [{"prompt": "a red ring", "frames": n} for n in (2, 1, 3)]
    story = job(tiny, task="scenes", scenes=scenes, **fields)
    assert agree(paced, story) == pytest.approx(3 * 2 * calls(story) + 0.5 * 6)
    paced._cache = tmp_path / "cache"
    paced.rehearse([story])
    assert not (tmp_path / "cache").exists()
    paced.render([story], lambda step, steps: True)
    assert paced.rehearse([story]).seconds == pytest.approx(3 * 2 * calls(story) + 0.5 * 6), "nothing was taken from it"


def test_a_job_of_a_moment_is_rehearsed_whole(tiny: Path) -> None:
    clock = WorkClock()
    engine = Engine("cpu", clock=clock)
    clock.watch(engine, tiny)
    counted: list[int] = []
    engine.checkpoint(str(tiny)).transformer.register_forward_hook(lambda *_: counted.append(1))
    engine.rehearse([job(tiny, steps=9, guidance=1.0)])
    assert len(counted) == measure.STEPS, "nine seconds are foretold from four steps"
    counted.clear()
    engine.rehearse([job(tiny, steps=1, guidance=1.0)])
    assert len(counted) == measure.STEPS + 1, "a second and a half is not"


def test_the_slope_leaves_the_first_call_of_each_pass_out() -> None:
    assert slope([0.0, 9.0, 10.0, 11.0], 4) == 1.0
    assert slope([0.0, 9.0, 10.0, 11.0, 50.0, 80.0, 82.0, 84.0], 4) == 3.0, "one more step in both passes"
    for starts, count in (([], 4), ([0.0, 1.0], 2), ([0.0, 1.0, 2.0], 4)):
        with pytest.raises(ValueError, match="expected passes of"):
            slope(starts, count)


def test_only_calls_while_watching_are_written_down() -> None:
    class Still(torch.nn.Module):
        device = torch.device("cpu")

        def forward(self, x: int) -> int:
            return x

    still, times = Still(), iter((3.0, 5.0))
    still(0)
    with Calls(still, lambda: next(times)) as seen:
        still(1)
        still(2)
    still(3)
    assert seen.starts == [3.0, 5.0]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the peak is that of the whole process")
def test_peak_memory_is_that_of_the_block_and_not_of_what_was_before() -> None:
    def peak(megabytes: int) -> int:
        with PeakMemory(torch.device("cpu")) as memory:
            np.ones(megabytes * 2**17).sum()
        return memory.bytes

    large, small = peak(256), peak(16)
    assert 200 * 2**20 < large - small < 300 * 2**20


def test_memory_is_foretold_in_the_terms_of_the_record(tiny: Path) -> None:
    engine, wanted = Engine("cpu"), job(tiny, frames=4, steps=5)
    foretold = engine.rehearse([wanted]).peak_memory
    record = engine.render([wanted], lambda step, steps: True)[0].record
    assert isinstance(foretold, int) and isinstance(record["peak_memory"], int)
    assert foretold > 2**20 * 100, "bytes, with torch in memory"
    assert 0.7 < foretold / record["peak_memory"] < 1.3
    json.dumps(record)


def test_a_checkpoint_is_warmed_up_once_and_before_the_clock_is_read(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []

    def clock() -> float:
        events.append("clock")
        return 0.0

    monkeypatch.setattr(engines, "warm_up", lambda checkpoint: events.append("warm up"))
    engine = Engine("cpu", clock=clock)
    for _ in range(2):
        engine.render([job(tiny, steps=1)], lambda step, steps: True)
    assert events[0] == "warm up" and set(events[1:]) == {"clock"}


def test_warming_up_goes_once_through_every_component(tiny: Path) -> None:
    checkpoint = Engine("cpu").checkpoint(str(tiny))
    used: list[str] = []
    for name, module in (
        ("text", checkpoint.prompts.text_encoder.model),
        ("model", checkpoint.transformer),
        ("pixels", checkpoint.codec.vae.decoder),
    ):
        module.register_forward_hook(lambda *_, name=name: used.append(name))
    measure.warm_up(checkpoint)
    assert set(used) == {"text", "model", "pixels"}
    assert used.count("model") == 1


def test_least_memory_is_a_single_block_of_float32() -> None:
    papercut = describe("papercut")  # width 192, an MLP of 3
    assert least_memory(papercut, text_plan(24, 8, 8), guided=False) == 88 * 10 * 192 * 4
    assert least_memory(papercut, text_plan(24, 8, 8), guided=True) == 2 * 88 * 10 * 192 * 4


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"frames": 1000}, "frames"),
        ({"size": [192, 192]}, "size"),
        ({"task": "scenes", "scenes": [{"prompt": "a red ring", "frames": 500}]}, "scenes"),
    ],
)
def test_what_a_machine_can_not_hold_is_refused_before_it_is_tried(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], field: str
) -> None:
    engine = Engine("cpu")
    for memory, refused in ((2**18, True), (2**40, False), (None, False)):
        monkeypatch.setattr(estimates, "machine_memory", lambda memory=memory: memory)
        if not refused:
            engine.check(job(tiny, **fields))
            continue
        with pytest.raises(Refusal, match="expected a job that fits into this machine's") as caught:
            engine.check(job(tiny, **fields))
        assert caught.value.field == field


def test_this_machines_memory_is_known_where_it_renders_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    measure.machine_memory.cache_clear()
    there = measure.machine_memory()
    assert there is None or there > 2**28
    measure.machine_memory.cache_clear()
    monkeypatch.setattr(measure, "GPUS", (Path(__file__),))
    assert measure.machine_memory() is None, "then the processor's memory is no measure"
    measure.machine_memory.cache_clear()
