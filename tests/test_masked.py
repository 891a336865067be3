"""A part is given, the rest is made: what is kept stays, what is hidden stays hidden, and no seam is between them."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import yaml
from diffusers import AutoencoderKLFlux2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from models.checkpoint import EMBEDDED
from models.codec import Codec
from pipelines.blend import blend, fill, unchanged
from pipelines.canvas import Canvas, kept, read_canvas
from pipelines.cli import main
from pipelines.engine import Engine, groups
from pipelines.estimate import Rendered
from pipelines.files.media import read_clip, read_picture, read_recipe, write_video
from pipelines.job import MaskedJob, Refusal, parse
from pipelines.masked import masked_plan
from tests.test_media import sound, video
from training.papercut import World, render

H, W = 64, 80


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine("cpu")


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), np.uint8)


def picture(path: Path, pixels: np.ndarray) -> Path:
    Image.fromarray(pixels).save(path)
    return path


def clip(folder: Path, frames: np.ndarray) -> Path:
    folder.mkdir()
    for number, frame in enumerate(frames):
        picture(folder / f"{number:03d}.png", frame)
    return folder


def hole(y: int, x: int, height: int, width: int, level: int = 255) -> np.ndarray:
    mask = np.zeros((H, W), np.uint8)
    mask[y : y + height, x : x + width] = level
    return mask


def soft() -> np.ndarray:
    """A ramp from kept to new, with every grey level on the way."""
    return np.linspace(0, 255, W).round().astype(np.uint8)[None].repeat(H, 0)


def job(tiny: Path, source: Path, **fields: Any) -> MaskedJob:
    base = {"task": "masked", "model": str(tiny), "source": str(source), "prompt": "a red star", "steps": 2, "seed": 3}
    named = {name: str(value) if isinstance(value, Path) else value for name, value in fields.items()}
    made = parse(base | {"guidance": 1.0} | named)
    assert isinstance(made, MaskedJob)
    return made


def rendered(engine: Engine, *jobs: MaskedJob) -> list[Rendered]:
    return engine.render(jobs, lambda step, steps: True)


def frames_of(engine: Engine, *jobs: MaskedJob) -> list[np.ndarray]:
    return [one.frames for one in rendered(engine, *jobs)]


# ---------------------------------------------------------------- what is kept


MODES = ["inpaint", "soft", "outpaint", "outpaint and mask", "predict", "backward", "interpolate", "complete", "border"]


def case(mode: str, folder: Path) -> tuple[dict[str, Any], np.ndarray, np.ndarray]:
    """A job's fields, its source [F, H, W, 3] on the canvas, and the mask [F, H, W] that it stands for."""
    still, frames = noise(1, H, W), noise(5, H, W, seed=1)
    cut = hole(10, 20, 30, 33)
    if mode in ("inpaint", "soft"):
        mask = cut if mode == "inpaint" else soft()
        fields = {"source": picture(folder / "s.png", still[0]), "mask": picture(folder / "m.png", mask)}
        return fields, still, mask[None]
    if mode.startswith("outpaint"):
        inside = cut if "mask" in mode else np.zeros_like(cut)
        fields = {"source": picture(folder / "s.png", still[0]), "outpaint": [16, 32, 0, 16]}
        if "mask" in mode:
            fields["mask"] = picture(folder / "m.png", inside)
        return (
            fields,
            np.pad(still, ((0, 0), (32, 16), (16, 0), (0, 0))),
            np.pad(inside, ((32, 16), (16, 0)), constant_values=255)[None],
        )
    fields = {"source": clip(folder / "s", frames)}
    mask = np.full((5, H, W), 255, np.uint8)
    if mode == "complete":
        mask[:] = 0
        mask[1:4] = np.stack([hole(0, 0, 20, 20), hole(5, 9, 40, 40, 77), hole(0, 0, H, W)])
        return fields | {"mask": clip(folder / "m", mask)}, frames, mask
    if mode == "border":
        mask[[0, 3]] = 0
        padded = np.pad(mask, ((0, 0), (0, 0), (0, 16)), constant_values=255)
        return (
            fields | {"keep_frames": "0,3", "outpaint": [0, 0, 16, 0]},
            np.pad(frames, ((0, 0), (0, 0), (0, 16), (0, 0))),
            padded,
        )
    keep = {"predict": "0-1", "backward": "3,4", "interpolate": "0,2-2,4"}[mode]
    mask[kept(keep, 5)] = 0
    return fields | {"keep_frames": keep}, frames, mask


@pytest.mark.parametrize("mode", MODES)
def test_kept_pixels_come_back_bit_for_bit_from_the_command_line(tiny: Path, tmp_path: Path, mode: str) -> None:
    fields, source, mask = case(mode, tmp_path)
    wanted = job(tiny, **fields, name="out", png_frames=True)
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(wanted.model_dump(mode="json")))
    assert main(["render", str(tmp_path / "job.yaml"), "--out", str(tmp_path / "out")]) == 0
    if len(source) > 1:
        result = read_clip(tmp_path / "out" / "out").frames
    else:
        result = read_picture(tmp_path / "out" / "out.png")[None, ..., :3]
    assert result.shape == source.shape
    assert np.array_equal(result[mask == 0], source[mask == 0])
    changed = (result != source).any(-1)
    assert changed[mask == 255].mean() > 0.9, "and what the mask shows is new"
    named = {"soft": "inpaint", "outpaint and mask": "outpaint", "border": "complete"}.get(mode, mode)
    assert read_recipe(tmp_path / "out" / "out.json")["resolved"]["mode"] == named


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    boxes=st.lists(
        st.tuples(
            st.integers(0, H - 1), st.integers(0, W - 1), st.integers(1, H), st.integers(1, W), st.integers(1, 255)
        ),
        min_size=1,
        max_size=3,
    )
)
def test_kept_pixels_come_back_bit_for_bit_whatever_the_mask(
    tiny: Path, engine: Engine, tmp_path_factory: pytest.TempPathFactory, boxes: list[tuple[int, int, int, int, int]]
) -> None:
    folder = tmp_path_factory.mktemp("mask")
    mask = np.maximum.reduce([hole(*box) for box in boxes])
    source = noise(H, W)
    wanted = job(
        tiny, picture(folder / "s.png", source), mask=picture(folder / "m.png", mask), steps=1, scheduler="heun"
    )
    result = frames_of(engine, wanted)[0][0]
    assert np.array_equal(result[mask == 0], source[mask == 0])
    new = mask == 255
    assert not new.any() or (result[new] != source[new]).mean() > 0.5


def test_what_was_drawn_as_it_was_is_the_source_and_what_is_new_is_what_was_drawn() -> None:
    rng = np.random.default_rng(3)
    source = rng.integers(110, 140, (64, 64, 3), dtype=np.uint8)
    blurred = cv2.blur(source, (5, 5)).astype(np.float32)  # an autoencoder that loses all texture
    drawn = blurred + rng.normal(0, 2, source.shape).astype(np.float32)
    drawn[24:40, 24:40] = (250, 10, 10)
    hole = np.zeros((64, 64), bool)
    hole[8:56, 8:56] = True
    found = unchanged(source, blurred, drawn, hole)
    assert np.array_equal(found[26:38, 26:38], drawn[26:38, 26:38]), "what is new stays as it was drawn"
    around = hole.copy()
    around[18:46, 18:46] = False
    assert np.abs(found - source)[around].max() < 1 < np.abs(drawn - source)[around].mean()
    fine = unchanged(source, source.astype(np.float32), drawn, hole)
    assert np.array_equal(fine[around], drawn[around]), "one that misses nothing is taken at its word"
    assert np.array_equal(unchanged(source, blurred, drawn, np.zeros_like(hole)), drawn)


@given(st.integers(0, 2**32 - 1))
def test_blending_keeps_at_level_0_takes_at_255_and_stays_between_the_two_elsewhere(seed: int) -> None:
    rng = np.random.default_rng(seed)
    source, drawn = noise(20, 24, seed=seed), rng.uniform(0, 255, (20, 24, 3)).astype(np.float32)
    mask = rng.choice(np.array([0, 1, 128, 254, 255], np.uint8), (20, 24))
    whole = blend(source, drawn, mask).astype(int)
    hard = blend(source, drawn, np.where(mask > 0, 255, 0).astype(np.uint8))
    assert np.array_equal(whole[mask == 0], source[mask == 0])
    assert np.array_equal(whole[mask == 255], hard[mask == 255])
    low, high = np.minimum(source, hard), np.maximum(source, hard)
    assert ((whole >= low.astype(int) - 1) & (whole <= high.astype(int) + 1)).all()


def test_a_mask_of_a_lossy_file_keeps_what_was_black_when_it_was_drawn(tiny: Path, tmp_path: Path) -> None:
    mask = hole(19, 21, 30, 31)
    write_video(tmp_path / "m.mp4", mask[None, ..., None].repeat(3, 0).repeat(3, 3), 8, {"job": {}})
    Image.fromarray(mask).save(tmp_path / "m.jpg")
    source = clip(tmp_path / "s", noise(3, H, W))
    for name, read in (("m.mp4", read_clip(tmp_path / "m.mp4").frames[0]), ("m.jpg", read_picture(tmp_path / "m.jpg"))):
        assert ((read[..., 0] > 0) & (mask == 0)).sum() > 10, "the file did blur"
        levels = read_canvas(job(tiny, source, mask=tmp_path / name), Engine().describe(str(tiny))).mask[0]
        assert np.abs(levels.astype(int) - mask).max() < 128 and (levels != mask).mean() < 0.01


# ---------------------------------------------------------------- what is hidden


def test_what_the_mask_hides_does_not_reach_the_result(tiny: Path, engine: Engine, tmp_path: Path) -> None:
    mask = hole(13, 21, 30, 33)
    first, second = noise(H, W), noise(H, W)
    second[mask > 0] = 255 - second[mask > 0]
    jobs = [
        job(tiny, picture(tmp_path / f"{name}.png", pixels), mask=picture(tmp_path / "m.png", mask), guidance=3.0)
        for name, pixels in (("a", first), ("b", second))
    ]
    (a,), (b,) = (frames_of(engine, one) for one in jobs)
    assert np.array_equal(a, b)
    second[0, 0] = 255 - second[0, 0]
    picture(tmp_path / "b.png", second)
    assert not np.array_equal(frames_of(engine, jobs[1])[0][0][mask > 0], a[0][mask > 0]), "what is kept does"


def test_frames_that_are_not_kept_do_not_reach_the_result(tiny: Path, engine: Engine, tmp_path: Path) -> None:
    first, second = noise(4, H, W), noise(4, H, W)
    second[1:3] = 255 - second[1:3]
    results = [
        frames_of(engine, job(tiny, clip(tmp_path / name, frames), keep_frames="0,3"))[0]
        for name, frames in (("a", first), ("b", second))
    ]
    assert np.array_equal(*results)


def test_a_mask_that_hides_everything_gives_what_the_text_job_draws(tiny: Path, engine: Engine, tmp_path: Path) -> None:
    white = picture(tmp_path / "m.png", hole(0, 0, H, W))
    for frames, source in ((1, picture(tmp_path / "s.png", noise(H, W))), (3, clip(tmp_path / "s", noise(3, H, W)))):
        wanted = job(tiny, source, mask=white)
        text = parse(
            {name: getattr(wanted, name) for name in ("model", "prompt", "steps", "seed", "guidance")}
            | {"task": "text", "size": [W, H], "frames": frames}
        )
        drawn = engine.render([text], lambda step, steps: True)[0].frames
        assert np.array_equal(frames_of(engine, wanted)[0], drawn)


# ---------------------------------------------------------------- tokens


@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 254, 255]))
def test_a_token_is_given_only_where_every_one_of_its_pixels_is_kept(seed: int, level: int) -> None:
    rng = np.random.default_rng(seed)
    mask = np.zeros((2, 48, 64), np.uint8)
    for _ in range(rng.integers(1, 5)):
        mask[rng.integers(2), rng.integers(48), rng.integers(64)] = level
    tokens = Canvas(np.zeros((2, 48, 64, 3), np.uint8), mask, None, "inpaint").given(16)
    touched = {(t, y // 16, x // 16) for t, y, x in np.argwhere(mask)}
    assert {tuple(index) for index in np.argwhere(~tokens)} == touched


@pytest.mark.parametrize("scheduler", ["euler", "heun", "unipc", "dpm++"])
def test_given_tokens_stay_as_they_are_at_timestep_0_in_every_step(
    tiny: Path, engine: Engine, tmp_path: Path, scheduler: str
) -> None:
    wanted = job(
        tiny, clip(tmp_path / "s", noise(4, H, W)), keep_frames="1,3", frames=5, steps=3, guidance=3.0,
        scheduler=scheduler, reference=picture(tmp_path / "r.png", noise(64, 64, seed=9)),
    )  # fmt: skip
    model = engine.checkpoint(str(tiny)).transformer
    seen: list[tuple[Any, ...]] = []
    watch = model.register_forward_hook(
        lambda _, args, kwargs, output: seen.append((*args, kwargs["plan"], output.sample)), with_kwargs=True
    )
    frames_of(engine, wanted)
    watch.remove()
    plan = seen[0][3]
    for hidden, context, time, _, sample in seen:  # the same call, with each token's time said aloud
        aloud = time[:, None].repeat(1, plan.tokens)
        aloud[:, torch.from_numpy(plan.given)] = 0
        assert torch.allclose(model(hidden, context, aloud, plan=plan).sample, sample, atol=1e-4)
    chosen = torch.from_numpy(plan.given[plan.context_tokens :])
    assert chosen.sum() == 2 * 20 + 16 and chosen.reshape(-1)[: 5 * 20].reshape(5, 20).any(1).tolist() == [
        False, True, False, True, False,
    ]  # fmt: skip
    for hidden, *_ in seen:
        assert torch.equal(hidden[:, chosen], seen[0][0][:1, chosen].expand(len(hidden), -1, -1))
    assert not torch.equal(seen[0][0][:, ~chosen], seen[-1][0][:, ~chosen])


def test_the_plan_has_words_frames_and_the_reference_on_its_own_layer() -> None:
    tokens = np.zeros((3, 4, 5), bool)
    tokens[0], tokens[2, 1, 1] = True, True
    plan = masked_plan(6, 4, 5, 3, tokens.tobytes(), (2, 3))
    assert [segment.kind for segment in plan.segments] == ["prompt", "frame", "reference"]
    assert plan.pairs == (6 + 60 + 6) ** 2
    assert np.array_equal(plan.given, [*[False] * 6, *tokens.reshape(-1), *[True] * 6])
    assert set(plan.segments[2].positions[:, 3]) == {1} and not plan.segments[1].positions[:, 3].any()
    assert masked_plan(6, 4, 5, 1, tokens[:1].tobytes()).segments[1].kind == "picture"
    with pytest.raises(ValueError, match="a byte for each of 60 tokens, got 20"):
        masked_plan(6, 4, 5, 3, tokens[:1].tobytes())


def test_the_reference_decides_what_fills_the_hole(tiny: Path, engine: Engine, tmp_path: Path) -> None:
    source, mask = picture(tmp_path / "s.png", noise(H, W)), picture(tmp_path / "m.png", hole(16, 16, 32, 32))
    shown = [picture(tmp_path / f"{n}.png", noise(64, 64, seed=n)) for n in (5, 6)]
    results = [frames_of(engine, job(tiny, source, mask=mask, prompt="", reference=name))[0] for name in (None, *shown)]
    for a, b in ((0, 1), (1, 2)):
        assert not np.array_equal(results[a][:, 16:48, 16:48], results[b][:, 16:48, 16:48])


# ---------------------------------------------------------------- batches and estimates


def test_a_batch_of_four_equals_four_singles_and_each_job_has_its_own_mask(
    tiny: Path, engine: Engine, tmp_path: Path
) -> None:
    source, mask = picture(tmp_path / "s.png", noise(H, W)), picture(tmp_path / "m.png", hole(10, 10, 40, 40))
    other = picture(tmp_path / "n.png", hole(0, 40, 30, 30))
    four = [job(tiny, source, mask=mask, seed=n, prompt=f"{n} rings", negative_prompt="a") for n in range(4)]
    others = [job(tiny, source, mask=other), job(tiny, source, mask=mask, reference=source)]
    assert groups([*four, *others]) == [[0, 1, 2, 3], [4], [5]]
    together, alone = frames_of(engine, *four), [frames_of(engine, one)[0] for one in four]
    assert max(int(np.abs(a.astype(int) - b).max()) for a, b in zip(together, alone, strict=True)) <= 1
    assert np.abs(alone[0].astype(int) - alone[1]).max() > 20, "the four are different pictures"
    moved = frames_of(engine, others[0])[0][0] != read_picture(source)[..., :3]
    assert moved[:30, 40:70].any() and not moved[30:].any()


def test_the_estimate_counts_given_and_generated_tokens_and_names_the_mode(tiny: Path, tmp_path: Path) -> None:
    source = clip(tmp_path / "s", noise(4, H, W))
    found = Engine("cpu").check(job(tiny, source, keep_frames="0-1", frames=6, reference=source / "000.png"))
    expected = {"mode": "predict", "size": [W, H], "frames": 6, "given_tokens": 60, "generated_tokens": 80, "fps": "8"}
    assert {name: found.resolved[name] for name in expected} == expected
    assert found.tokens == 24 + 7 * 20 and found.pairs == found.tokens**2


@pytest.mark.parametrize(
    ("keep", "frames", "mode"),
    [("0", 4, "predict"), ("3", 4, "backward"), ("2-3", 4, "backward"), ("0-2", 4, "predict"), ("0", 9, "predict"),
     ("0,3", 4, "interpolate"), ("1", 3, "interpolate"), ("1,3", 4, "interpolate"), ("3", 5, "interpolate")],
)  # fmt: skip
def test_kept_frames_at_either_end_leave_the_others_to_be_made(
    tiny: Path, tmp_path: Path, keep: str, frames: int, mode: str
) -> None:
    # An index counted from the end is a classic: at the very end it is zero, and the slice is empty.
    source = noise(4, H, W)
    canvas = read_canvas(
        job(tiny, clip(tmp_path / "s", source), keep_frames=keep, frames=frames), Engine().describe(str(tiny))
    )
    given = kept(keep, 4)
    assert canvas.mode == mode and len(canvas.mask) == frames
    assert [bool(level.any()) for level in canvas.mask] == [number not in given for number in range(frames)]
    assert np.array_equal(canvas.frames[given], source[given])


def test_a_first_picture_becomes_a_video(tiny: Path, engine: Engine, tmp_path: Path) -> None:
    source = noise(H, W)
    wanted = job(tiny, picture(tmp_path / "s.png", source), keep_frames="0", frames=4, fps=12)
    result = rendered(engine, wanted)[0]
    assert result.frames.shape == (4, H, W, 3) and result.fps == 12
    assert np.array_equal(result.frames[0], source)
    assert len({frame.tobytes() for frame in result.frames}) == 4


def test_the_result_has_the_frame_rate_of_its_source(tiny: Path, tmp_path: Path) -> None:
    rate = Fraction(30_000, 1001)
    write_video(tmp_path / "s.mp4", noise(3, H, W), rate, {"job": {}})
    wanted = job(tiny, tmp_path / "s.mp4", keep_frames="0-2", frames=5, fps=8, name="v", steps=1)
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(wanted.model_dump(mode="json")))
    assert main(["render", str(tmp_path / "job.yaml"), "--out", str(tmp_path / "out")]) == 0
    result = read_clip(tmp_path / "out" / "v.mp4")
    assert (len(result.frames), result.fps) == (5, rate)
    record = read_recipe(tmp_path / "out" / "v.json")
    assert "the source has 29.97 frames a second, so fps: 8 is not used" in record["warnings"]


def test_the_plan_and_the_check_load_no_torch(tiny: Path, tmp_path: Path) -> None:
    source, mask = picture(tmp_path / "s.png", noise(H, W)), picture(tmp_path / "m.png", hole(0, 0, 9, 9))
    code = (
        "import sys; from pipelines.job import parse; from pipelines.engine import Engine\n"
        f"Engine().check(parse({job(tiny, source, mask=mask).model_dump(mode='json')!r}))\n"
        "assert not {'torch', 'diffusers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1])


# ---------------------------------------------------------------- the seam


def steps_across(picture: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Absolute steps between neighbours of which one is kept and the other not."""
    found = []
    for axis in (0, 1):
        edge = np.diff((mask > 0).astype(int), axis=axis) != 0
        found.append(np.abs(np.diff(picture.astype(float), axis=axis)).mean(-1)[edge])
    return np.concatenate(found)


def test_the_step_across_the_edge_is_that_of_the_ground_truth() -> None:
    codec = Codec(AutoencoderKLFlux2.from_pretrained(EMBEDDED / "papercut" / "vae").eval().requires_grad_(False))
    world, rng = World(), np.random.default_rng(0)
    pictures = render([world.scene(10**7 + i) for i in range(8)], 128, 128, layered=False).picture
    drawn = codec.decode(codec.encode(torch.cat([pictures, torch.ones_like(pictures[:, :1])], 1)), 128, 128)[:, 0, :3]
    steps: dict[str, list[np.ndarray]] = {"truth": [], "plain": [], "blended": []}
    for number in range(8):
        truth = (pictures[number] * 255).round().byte().permute(1, 2, 0).numpy()
        made = (drawn[number] * 255).permute(1, 2, 0).numpy()
        mask = np.zeros((128, 128), np.uint8)
        (y, x), (height, width) = rng.integers(4, 60, 2), rng.integers(24, 60, 2)
        mask[y : y + height, x : x + width] = 255
        plain = np.where(mask[..., None] > 0, made.round().clip(0, 255), truth)
        for name, picture in (("truth", truth), ("plain", plain), ("blended", blend(truth, made, mask))):
            steps[name].append(steps_across(picture, mask))
    mean = {name: np.concatenate(found).mean() for name, found in steps.items()}
    assert mean["blended"] <= 1.5 * mean["truth"]
    assert mean["blended"] < mean["plain"], "the autoencoder alone leaves a seam"


def test_an_offset_of_what_was_made_vanishes_at_the_rim_and_stays_inside() -> None:
    source, mask = np.full((64, 64, 3), 100, np.uint8), np.zeros((64, 64), np.uint8)
    mask[8:56, 8:56] = 255
    drawn = np.full((64, 64, 3), 120, np.float32)
    result = blend(source, drawn, mask).astype(int)
    assert np.abs(result[8, 8:56] - 100).max() <= 1 and (result[28:36, 28:36] >= 118).all()
    assert np.abs(np.diff(result, axis=0)).max() <= 3, "and nothing jumps between"


def test_a_hole_is_painted_over_from_around_it() -> None:
    pixels, mask = np.full((37, 50, 3), (10, 200, 90), np.uint8), np.zeros((37, 50), bool)
    mask[5:30, 9:50] = True
    hidden = pixels.copy()
    hidden[mask] = noise(37, 50)[mask]
    assert np.array_equal(fill(hidden, mask), pixels)
    assert (fill(pixels, np.ones_like(mask)) == 128).all() and fill(pixels, np.zeros_like(mask)) is pixels
    halves = pixels.copy()
    halves[:, 25:] = (240, 20, 90)
    between = fill(halves, mask)[18, 9:25, 0].astype(int)
    assert (np.diff(between) >= -1).all() and between[0] < 40, "smooth, and near the left what is on the left"


# ---------------------------------------------------------------- what is refused


def refused(folder: Path, name: str) -> dict[str, Any]:
    """Fields of a job that can not be rendered."""
    plain, good = picture(folder / "s.png", noise(H, W)), picture(folder / "m.png", hole(0, 0, 20, 20))
    frames = clip(folder / "frames", noise(3, H, W))
    make: dict[str, Any] = {
        "mask of another size": lambda: {
            "source": plain, "mask": picture(folder / "bad.png", np.full((H, H), 255, np.uint8))},
        "mask all black": lambda: {"source": plain, "mask": picture(folder / "bad.png", np.zeros((H, W), np.uint8))},
        "mask transparent": lambda: {
            "source": plain, "mask": picture(folder / "bad.png", np.full((H, W, 4), 99, np.uint8))},
        "mask of other length": lambda: {"source": frames, "mask": clip(folder / "bad", noise(2, H, W))},
        "mask absent": lambda: {"source": plain, "mask": folder / "absent.png"},
        "mask and other frames": lambda: {"source": frames, "mask": good, "frames": 4},
        "outpaint and other frames": lambda: {"source": plain, "outpaint": [16, 0, 0, 0], "frames": 4},
        "kept outside": lambda: {"source": frames, "keep_frames": "0,2-3"},
        "kept outside a picture": lambda: {"source": plain, "keep_frames": "1", "frames": 4},
        "kept beyond the result": lambda: {"source": frames, "keep_frames": "2", "frames": 2},
        "kept backwards": lambda: {"source": frames, "keep_frames": "2-1"},
        "all kept": lambda: {"source": frames, "keep_frames": "0-2"},
        "picture kept": lambda: {"source": plain, "keep_frames": "0"},
        "no frames": lambda: {"source": video(folder / "bad.mp4", []), "keep_frames": "0"},
        "sound alone": lambda: {"source": sound(folder / "bad.mp4"), "keep_frames": "0"},
        "variable rate": lambda: {"source": video(folder / "bad.mp4", [0, 99, 300, 400], side=64), "keep_frames": "0"},
        "10,000 frames": lambda: {
            "source": video(folder / "bad.mp4", list(range(10_000)), side=64), "keep_frames": "0"},
        "10,000 frames to make": lambda: {"source": frames, "keep_frames": "0", "frames": 10_000},
        "odd size": lambda: {"source": picture(folder / "bad.png", noise(65, 80)), "outpaint": [16, 0, 0, 0]},
        "odd size of a video": lambda: {"source": clip(folder / "bad", noise(2, 64, 81)), "keep_frames": "0"},
        "too small": lambda: {"source": picture(folder / "bad.png", noise(32, 80)), "mask": good},
        "border too wide": lambda: {"source": plain, "outpaint": [128, 0, 0, 0]},
        "no picture": lambda: {"source": text(folder / "bad.png"), "mask": good},
        "folder without frames": lambda: {"source": clip(folder / "bad", noise(0, H, W)), "mask": good},
        "transparent": lambda: {"source": picture(folder / "bad.png", noise(H, W, 1)[..., 0, :].repeat(2, -1)[..., :4]),
                                "mask": good},
        "name too long": lambda: {"source": folder / ("a" * 300), "mask": good},
        "odd reference": lambda: {
            "source": plain, "mask": good, "reference": picture(folder / "bad.png", noise(70, 70))},
        "absent reference": lambda: {"source": plain, "mask": good, "reference": folder / "absent.png"},
    }  # fmt: skip
    return make[name]()


def text(path: Path) -> Path:
    path.write_text("not a picture")
    return path


REFUSALS = {
    "mask of another size": ("mask", "expected 80 x 64 pixels as the source has, got 64 x 64"),
    "mask all black": ("mask", "a mask that is all black"),
    "mask transparent": ("mask", "flatten it first"),
    "mask of other length": ("mask", "expected 3 frames as the source has, or one, got 2"),
    "mask absent": ("mask", "there is no such file"),
    "mask and other frames": ("frames", "expected 3, as the source has, got 4"),
    "outpaint and other frames": ("frames", "expected 1, as the source has, got 4"),
    "kept outside": ("keep_frames", "expected frames from 0 to 2, got '2-3'"),
    "kept outside a picture": ("keep_frames", "expected frames from 0 to 0, got '1'"),
    "kept beyond the result": ("keep_frames", "expected frames from 0 to 1, got '2'"),
    "kept backwards": ("keep_frames", "got '2-1'; write \"1-2\""),
    "all kept": ("keep_frames", "got all 3 kept"),
    "picture kept": ("keep_frames", "got all 1 kept; keep fewer or set frames to more"),
    "no frames": ("source", "no moving picture"),
    "sound alone": ("source", "no moving picture"),
    "variable rate": ("source", "expected one frame rate"),
    "10,000 frames": ("source", "expected at most 1,000 frames"),
    "10,000 frames to make": ("frames", "10000"),
    "odd size": ("source", "steps of 16 pixels, got [96, 65]"),
    "odd size of a video": ("source", "steps of 16 pixels, got [81, 64]"),
    "too small": ("source", "sides from 64 to 192 pixels, got [80, 32]"),
    "border too wide": ("outpaint", "sides from 64 to 192 pixels, got [208, 64]"),
    "no picture": ("source", "can not be read"),
    "folder without frames": ("source", "bad: expected a folder of PNG frames, found none in it"),
    "transparent": ("source", "expected an opaque picture"),
    "name too long": ("source", "can not be read"),
    "odd reference": ("reference", "steps of 16 pixels, got [70, 70]"),
    "absent reference": ("reference", "there is no such file"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_bad_input_is_refused_in_one_sentence_and_nothing_is_written(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    field, says = REFUSALS[name]
    fields = {key: str(value) if isinstance(value, Path) else value for key, value in refused(tmp_path, name).items()}
    good = {"task": "text", "model": str(tiny), "prompt": "a", "size": [64, 64], "steps": 1}
    bad = {"task": "masked", "model": str(tiny), "prompt": "a red star", "steps": 1} | fields
    (tmp_path / "job.yaml").write_text(yaml.safe_dump_all([good, bad]))
    assert main(["render", str(tmp_path / "job.yaml"), "--out", str(tmp_path / "out")]) == 2
    told = capsys.readouterr()
    assert told.err.count("\n") == 1 and not told.out
    assert told.err.startswith(f"diorama: {tmp_path / 'job.yaml'}, document 2, field {field}: ") and says in told.err
    assert not (tmp_path / "out").exists()


def test_which_frames_are_kept_is_read_from_words() -> None:
    assert kept("0-2,5,1", 6) == [0, 1, 2, 5]
    with pytest.raises(Refusal, match="from 0 to 3"):
        kept("0-999999", 4)


def test_the_jobs_of_the_manual_are_jobs() -> None:
    manual = (Path(__file__).parents[1] / "docs" / "masked.md").read_text()
    texts = [part.split("YAML\n", 1)[0] for part in manual.split("<<'YAML'\n")[1:]]
    jobs = [parse(value) for written in texts for value in yaml.safe_load_all(written)]
    assert [one.name for one in jobs] == ["star", "square", "wide", "again", "moving", "between"]
