"""Text to picture through the engine, against stock diffusers and against itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import Flux2KleinPipeline

from models.checkpoint import EMBEDDED
from pipelines.engine import Engine, groups
from pipelines.job import Refusal, TextJob, parse

PAPERCUT = EMBEDDED / "papercut"


def job(checkpoint: Path | str, **fields) -> TextJob:  # type: ignore[no-untyped-def]
    base = {
        "task": "text",
        "model": str(checkpoint),
        "prompt": "a red circle left of a blue star on a white background",
    }
    made = parse(base | {"size": [64, 96], "steps": 6, "seed": 5} | fields)
    assert isinstance(made, TextJob)
    return made


def draw(engine: Engine, *jobs: TextJob) -> list[np.ndarray]:
    return [rendered.frames[0] for rendered in engine.render(jobs, lambda step, steps: True)]


def gap(a: np.ndarray, b: np.ndarray) -> int:
    return int(np.abs(a.astype(int) - b.astype(int)).max())


def stock(folder: Path, wanted: TextJob, length: int) -> np.ndarray:
    """The picture that diffusers' own pipeline draws."""
    pipeline = Flux2KleinPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    picture = pipeline(
        prompt=wanted.prompt,
        width=wanted.size[0],
        height=wanted.size[1],
        num_inference_steps=wanted.steps,
        guidance_scale=wanted.guidance,
        generator=torch.Generator("cpu").manual_seed(wanted.seed),
        max_sequence_length=length,
    ).images[0]
    return np.asarray(picture)


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_stock_flux2_klein_draws_the_same_picture_from_a_checkpoint_of_ours(tiny: Path, guidance: float) -> None:
    wanted = job(tiny, guidance=guidance)
    ours = draw(Engine("cpu"), wanted)[0]
    assert ours.std() > 5, "there is something to compare"
    assert gap(ours, stock(tiny, wanted, 24)[..., :3]) <= 2


@pytest.mark.parametrize("size", [(128, 128), (96, 160)])
def test_stock_flux2_klein_draws_the_same_picture_from_the_embedded_checkpoint(size: tuple[int, int]) -> None:
    wanted = job("papercut", size=list(size), steps=24, seed=7)
    theirs = stock(PAPERCUT, wanted, 24)
    assert gap(draw(Engine("cpu"), wanted)[0], theirs[..., :3]) <= 2
    assert theirs[..., 3].mean() > 254 and theirs[..., 3].min() >= 240, "the picture is opaque but for rounding"


def test_the_same_job_twice_gives_the_same_bytes(tiny: Path) -> None:
    wanted = job(tiny)
    assert draw(Engine("cpu"), wanted)[0].tobytes() == draw(Engine("cpu"), wanted)[0].tobytes()


def test_a_batch_of_four_shows_the_pictures_of_four_singles(tiny: Path) -> None:
    engine = Engine("cpu")
    four = [
        job(tiny, seed=n, prompt=f"a {c} ring", negative_prompt="star")
        for n, c in enumerate(("red", "blue", "black", "green"))
    ]
    assert groups(four) == [[0, 1, 2, 3]]
    together, alone = draw(engine, *four), [draw(engine, one)[0] for one in four]
    assert max(gap(a, b) for a, b in zip(together, alone, strict=True)) <= 1
    assert gap(alone[0], alone[1]) > 20, "the four are different pictures"


def test_seed_prompt_negative_prompt_guidance_and_scheduler_all_count(tiny: Path) -> None:
    engine = Engine("cpu")
    base = draw(engine, job(tiny))[0]
    for change in (
        {"seed": 6}, {"prompt": "a black heart"}, {"negative_prompt": "star"}, {"guidance": 6.0}, {"steps": 7},
        {"scheduler": "heun"}, {"scheduler": "unipc"}, {"scheduler": "dpm++"}, {"internal_guidance": 2.0},
        {"guidance_interval": [0.4, 0.8]},
    ):  # fmt: skip
        assert not np.array_equal(draw(engine, job(tiny, **change))[0], base), change


def test_jobs_of_different_shape_or_sampling_do_not_share_a_batch(tiny: Path) -> None:
    jobs = [job(tiny), job(tiny, size=[64, 64]), job(tiny, seed=9), job(tiny, steps=7), job(tiny, guidance=2.5)]
    assert groups(jobs) == [[0, 2], [1], [3], [4]]


def test_the_estimate_counts_the_plan(tiny: Path) -> None:
    estimate = Engine("cpu").check(job(tiny, prompt="a red zebra"))
    assert (estimate.tokens, estimate.pairs) == (24 + 4 * 6, (24 + 4 * 6) ** 2)
    assert estimate.resolved["model_evaluations"] == 12 and estimate.flops > 0
    assert "'zebra'" in estimate.warnings[0]


@pytest.mark.parametrize(
    ("fields", "where", "says"),
    [
        ({"size": [32, 64]}, "size", "from 64 to 192"),
        ({"size": [64, 208]}, "size", "from 64 to 192"),
        ({"model": "nowhere"}, "model", "no checkpoint"),
    ],
)
def test_what_the_checkpoint_can_not_do_is_refused_before_rendering(tiny: Path, fields, where: str, says: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(Refusal, match=says) as caught:
        Engine("cpu").check(job(tiny, **fields))
    assert caught.value.field == where


def test_a_video_is_frames_on_the_time_axis_and_one_frame_is_a_picture(tiny: Path) -> None:
    engine = Engine("cpu")
    clip = engine.render([job(tiny, frames=3)], lambda step, steps: True)[0]
    assert clip.frames.shape == (3, 96, 64, 3)
    assert clip.record["tokens"] == 24 + 3 * 4 * 6
    assert len({frame.tobytes() for frame in clip.frames}) == 3
    assert groups([job(tiny), job(tiny, frames=3)]) == [[0], [1]]
