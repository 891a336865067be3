"""Takes of people who speak: pure, without leaks, in the plan of the pipeline, and learnt from."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models.checkpoint import describe
from models.codec import Codec
from models.speech import SpeechEncoder, load_speech
from models.warp import MouthWarp
from pipelines.dubbing import dubbing_plan, given_tokens
from pipelines.refusal import Refusal
from tests.test_trainer import TINY_RUN
from tests.tiny import tiny_stage
from training.config import FlowConfig, LoopConfig, WarpConfig
from training.export import export
from training.flow import FlowStage
from training.forms import CLIP_HOME, SPOKEN, SPOKEN_LENGTHS, SPOKEN_SIZES, Form
from training.main import read_run, take_weights, train
from training.portrait import BLINK, MOUTHS, Cast
from training.speaking import (
    COLUMNS,
    DRIFT,
    RATES,
    RESPITE,
    Performance,
    heard,
    perform,
    pieces,
    shown,
    take,
    usual_region,
    whole_tokens,
)
from training.trainer import Trainer
from training.warping import WarpStage, crop

FORMS = [Form.spoken(task, 2) for task in SPOKEN]
MOUTH, PORTRAIT = FORMS


def stage(scratch: Path | None = None, **fields: object) -> FlowStage:
    """A tiny stage that trains on both tasks; adaLN-Zero is undone, so that what it hears reaches its losses."""
    first = tiny_stage()
    tasks = dict.fromkeys(SPOKEN, 1.0)
    config: FlowConfig = first.config.model_copy(update={"tasks": tasks, **fields})
    torch.manual_seed(3)
    made = FlowStage(config, Codec(first.frozen["codec"].vae), first.world, scratch)
    for parameter in made.parameters():
        if parameter.requires_grad and not parameter.any():
            torch.nn.init.normal_(parameter, std=0.2)
    return made


def batch_of(made: FlowStage, form: Form, count: int = 4) -> dict:  # type: ignore[type-arg]
    return made.source.batch(form, list(range(count)), 0)


# ---------------------------------------------------------------- takes


@pytest.mark.parametrize("form", FORMS, ids=SPOKEN)
def test_a_take_is_a_function_of_seed_and_index(form: Form) -> None:
    takes = [take(form, 4, index) for index in range(300)]
    assert takes == [take(form, 4, index) for index in range(300)]
    assert len({one.performance.portrait for one in takes}) > 290 and len(set(takes)) == 300
    assert takes[0] != take(form, 5, 0)
    assert {one.performance.fps for one in takes} == set(RATES)
    shares = np.bincount([one.before for one in takes], minlength=4) / 300
    assert shares == pytest.approx([0.5, 1 / 6, 1 / 6, 1 / 6], abs=0.08)


@pytest.mark.parametrize("form", FORMS, ids=SPOKEN)
def test_references_are_other_frames_of_the_same_performance(form: Form) -> None:
    for index in range(100):
        one = take(form, 4, index)
        assert len(set(one.references)) == form.references and not set(one.references) & set(one.frames)
        assert list(one.references) == sorted(one.references), "as the pipeline orders them"
        assert all(0 <= number < one.performance.frames for number in (*one.frames, *one.references))
        assert one.frames == tuple(range(one.frames[0], one.frames[0] + form.lengths[0]))


def test_the_longest_window_at_the_lowest_rate_leaves_enough_references() -> None:
    form = Form.spoken("dubbing", 2, frames=max(SPOKEN_LENGTHS), mouths=5)
    assert min(RATES) == 8
    assert {len(take(form, 0, index).references) for index in range(60)} == {5}


@pytest.mark.parametrize("size", [CLIP_HOME, *SPOKEN_SIZES])
def test_no_mouth_leaves_the_region_however_it_is_held(size: tuple[int, int]) -> None:
    h, w = size
    for index in range(12):
        one = perform(9, index, 8)
        number = 2 * index
        frames = [
            replace_mouth(one, number, np.float32(MOUTHS[name]), 16 * h, 16 * w) for name in ("closed", "ah", "ee")
        ]
        moved = (frames[0] != frames[1]).any(0) | (frames[0] != frames[2]).any(0)
        assert moved.any()
        for y0, x0, y1, x1 in (usual_region(h, w), *one.regions([number], h, w)):
            changed = moved.clone()
            changed[16 * y0 : 16 * y1, 16 * x0 : 16 * x1] = False
            assert not changed.any()


def replace_mouth(one: Performance, number: int, mouth: np.ndarray, height: int, width: int) -> torch.Tensor:  # type: ignore[type-arg]
    from training.face import draw

    return draw(one.portrait, one.times([number]), mouth[None], height, width)[0]


def test_the_region_at_the_usual_size_is_a_third_of_the_frame() -> None:
    assert MOUTH.region == (3, 1, 6, 5) and MOUTH.tokens == 10 * 36 + 3 * 12
    assert PORTRAIT.region == (0, 0, 6, 6) and PORTRAIT.tokens == 11 * 36


def test_a_box_is_grown_to_the_tokens_it_touches() -> None:
    assert whole_tokens((0.25, 0.5, 0.75, 1.0), 4, 4) == (2, 1, 4, 3)
    assert whole_tokens((0.26, 0.49, 0.74, 0.51), 4, 4) == (1, 1, 3, 3)
    assert whole_tokens((1.0, 1.0, 1.0, 1.0), 4, 4) == (3, 3, 4, 4), "never empty, never outside"


def test_what_is_heard_are_the_columns_that_the_encoder_hears_in_the_whole_recording() -> None:
    torch.manual_seed(0)
    encoder = SpeechEncoder(16)
    assert encoder.config.columns == COLUMNS
    for index in range(3):
        one = take(MOUTH, 2, index)
        whole = encoder.features(one.performance.voice.audio(), one.performance.fps, one.performance.frames)
        assert torch.equal(heard([one])[0], whole[list(one.frames)])


@pytest.mark.parametrize("form", FORMS, ids=SPOKEN)
def test_a_batch_tells_how_mouths_and_eyes_are_held_in_each_frame(form: Form) -> None:
    samples = stage().source
    faces = samples.batch(form, list(range(40)), 0)["faces"]
    for index in range(40):
        one = take(form, samples.world.seed, index)
        assert torch.allclose(faces[index, :, :3], torch.from_numpy(one.performance.track(one.frames)), atol=1e-3)
        open_ = [one.performance.portrait.lids(time) for time in one.performance.times(one.frames)]
        assert torch.allclose(faces[index, :, 3], torch.tensor(open_), atol=1e-3)
    assert (faces[..., 3] < 0.5).any(), "somebody blinks"


def test_who_speaks_blinks_where_a_phrase_ends_and_who_is_silent_at_times_of_their_own() -> None:
    silent = 0
    for index in range(40):
        one = perform(3, index, 25)
        shut = np.array([one.portrait.lids(k / 100) < 0.5 for k in range(300)])
        ends = one.voice.phrase_ends
        silent += not ends
        if ends:
            near = np.abs(np.arange(300)[:, None] / 100 - np.array(ends) - RESPITE).min(1) < BLINK / 2
            assert not shut[~near].any()
            assert all(shut[min(round(100 * (end + RESPITE)), 299)] for end in ends if end + RESPITE < 3)
        else:
            assert shut.any() and one.portrait.blinks is None
    assert 0 < silent < 15


def test_people_of_the_evaluation_are_never_trained_on() -> None:
    trained = {take(MOUTH, 3, index).performance.portrait.caption for index in range(400)}
    unseen = {take(MOUTH, 3, index, "unseen").performance.portrait.caption for index in range(100)}
    assert not trained & unseen
    assert Cast(3, "unseen").portrait(0).caption in unseen


# ---------------------------------------------------------------- batches


@pytest.mark.parametrize("form", FORMS, ids=SPOKEN)
def test_the_plan_and_what_it_gives_are_the_pipelines(form: Form) -> None:
    made = stage()
    batch = batch_of(made, form, 12)
    plan = form.plan(24)
    assert plan.context_tokens == 24 + form.speech and plan.tokens == 24 + form.speech + form.tokens
    for index, row in enumerate(batch["given"]):
        one = take(form, made.world.seed, index)
        places = (form.region,) * form.references
        own = dubbing_plan(24, 2, form.h, form.w, one.regions, before=one.before, references=places)
        assert np.array_equal(row.numpy(), own.given)
        seen = plan.visibility[np.ix_(plan.classes, plan.classes)]
        assert np.array_equal(seen, own.visibility[np.ix_(own.classes, own.classes)])


@pytest.mark.parametrize("form", FORMS, ids=SPOKEN)
def test_given_tokens_know_nothing_of_the_mouth_that_is_made(form: Form) -> None:
    made = stage()
    batch = batch_of(made, form)
    takes = [take(form, made.world.seed, index) for index in range(4)]
    frames, references = pieces(takes, form)
    assert torch.equal(batch["pieces"][0], frames) and torch.equal(batch["pieces"][1], references)
    hidden = np.stack([~given_tokens(form.h, form.w, one.regions) for one in takes])
    hidden = torch.from_numpy(hidden.repeat(16, 2).repeat(16, 3))[:, :, None]
    other = torch.where(hidden, 255 - frames, frames)
    assert torch.equal(shown(frames, takes), shown(other, takes))
    clean = made.encoded(batch)
    again = made.encoded({**batch, "pieces": (other, references), "shown": shown(other, takes)})
    outside = torch.nn.functional.pad(batch["kept"], (0, form.tokens - batch["kept"].shape[1]), value=True)
    assert torch.equal(clean[outside], again[outside]) and not torch.equal(clean[~outside], again[~outside])
    given = batch["given"][:, -form.tokens :]
    known = given & ~outside
    assert all(row.any() == (one.before > 0) for row, one in zip(known, takes, strict=True)), "made a window ago"


def test_text_and_speech_are_each_dropped_and_half_of_the_time_together() -> None:
    made = stage()
    samples = [made.source.sample(MOUTH, 0, random.Random(seed)) for seed in range(4000)]
    mute, deaf = np.array([(not one.captions[0], not one.heard) for one in samples]).T
    assert mute.mean() == pytest.approx(0.1, abs=0.02) and deaf.mean() == pytest.approx(0.1, abs=0.02)
    assert (mute & deaf).mean() == pytest.approx(0.05, abs=0.015)


def test_frames_from_the_window_before_are_lightly_noised_and_nothing_else_is() -> None:
    made = stage()
    batch = batch_of(made, MOUTH, 24)
    for index, row in enumerate(batch["haze"]):
        before = take(MOUTH, made.world.seed, index).before * 36
        assert not row[before:].any() and len(row[:before].unique()) == bool(before)
    sigmas = batch["haze"][batch["haze"] > 0]
    assert sigmas.min() > 0.005 and sigmas.max() < 0.8
    noised, clear = made(batch)["main"], made({**batch, "haze": torch.zeros_like(batch["haze"])})["main"]
    assert noised != clear


def test_frames_from_the_window_before_have_something_of_somebody_else_at_most_three_tenths() -> None:
    made = stage()
    batch = batch_of(made, MOUTH, 48)
    shares = []
    for index, row in enumerate(batch["drift"]):
        before = take(MOUTH, made.world.seed, index).before * 36
        assert not row[before:].any() and len(row[:before].unique()) == bool(before)
        shares += row[:1].tolist() if before else []
    assert 0 in shares and len(set(shares)) > 5 and max(shares) <= DRIFT
    steady = made({**batch, "drift": torch.zeros_like(batch["drift"])})["main"]
    assert made(batch)["main"] != steady


def test_other_noise_on_given_tokens_is_seen_only_through_the_haze() -> None:
    made = stage().float()
    batch = batch_of(made, MOUTH) | {"haze": torch.zeros(4, MOUTH.tokens)}
    given = batch["given"][:, -MOUTH.tokens :]
    other = torch.where(given[..., None], torch.randn_like(batch["noise"]), batch["noise"])
    assert torch.equal(made(batch)["main"], made({**batch, "noise": other})["main"])


@pytest.mark.parametrize("form", FORMS, ids=SPOKEN)
def test_losses_hear_and_reach_the_speech_encoder_and_its_null_tokens(form: Form) -> None:
    made = stage()
    batch = batch_of(made, form) | {"heard": torch.tensor([True, True, True, False])}
    losses = made(batch)
    assert torch.isfinite(losses["total"]) and f"{form.task}_given" in losses and "labels" not in losses
    losses["total"].backward()
    silent = [name for name, weight in made.speech.named_parameters() if weight.grad is None or not weight.grad.any()]  # type: ignore[union-attr]
    assert silent == []
    with torch.no_grad():
        swapped = made({**batch, "mels": batch["mels"].roll(1, 0)})["main"]
        deaf = made({**batch, "heard": torch.zeros(4, dtype=torch.bool)})["main"]
    assert len({losses["main"].item(), swapped.item(), deaf.item()}) == 3


def test_a_store_changes_no_batch(tmp_path: Path) -> None:
    plain, stored = stage(pool=2), stage(tmp_path, pool=2)
    for made in (plain, stored):
        made.source.form = lambda step: MOUTH  # type: ignore[method-assign]
    for step in range(3):
        expected, batch = plain.source(step), stored.source(step)
        assert ("clean" in batch) == (step >= 2), "two samples are stored after two steps of one"
        assert torch.allclose(stored.clean(batch), plain.clean(expected), atol=2e-2)
        for name in ("times", "noise", "ids", "index", "given", "mels", "faces", "heard", "haze", "drift"):
            assert torch.equal(batch[name], expected[name])


def test_other_sizes_and_numbers_of_references_join() -> None:
    made = stage(other_sizes=1.0, other_sizes_from=0.0)
    forms = {made.source.form(step) for step in range(200)}
    assert {(form.h, form.w) for form in forms} == {CLIP_HOME, *SPOKEN_SIZES}
    assert {form.references for form in forms if form.task == "dubbing"} == {1, 2, 3, 4, 5}
    assert {form.lengths[0] for form in forms} == set(SPOKEN_LENGTHS)
    for form in random.Random(1).sample(sorted(forms, key=repr), 2):
        assert torch.isfinite(made(batch_of(made, form, 1))["total"])


def test_the_report_tells_what_speech_is_worth() -> None:
    found = stage().worth_of_speech(3)
    assert found.keys() == {"dubbing_speech", "portrait_speech"} and all(value > 0 for value in found.values())


# ---------------------------------------------------------------- checkpoints


def test_what_is_trained_beside_the_transformer_is_saved_and_comes_back(tmp_path: Path) -> None:
    made = stage(tasks={"dubbing": 1.0, "layout": 1.0})
    assert made.beside().keys() == {"auxiliary", "siamese", "speech"}
    warp = MouthWarp.of(made.speech, size=16, inner_width=32)  # type: ignore[arg-type]
    export(made, made.frozen["codec"].vae, tmp_path / "made", warp=warp)
    assert "hair" in describe(str(tmp_path / "made")).house["vocabulary"]
    assert describe(str(tmp_path / "made")).house["frames"] == max(SPOKEN_LENGTHS)
    loaded = load_speech(tmp_path / "made" / "speech")
    assert (loaded.per_frame, loaded.width) == (made.speech.per_frame, made.speech.width)  # type: ignore[union-attr]
    again = MouthWarp.from_pretrained(tmp_path / "made" / "warp")
    assert again.config.width == loaded.width
    other = stage(tasks={"dubbing": 1.0, "layout": 1.0})
    with torch.no_grad():
        for module in other.beside().values():
            for weight in module.parameters():
                weight.zero_()
    take_weights(other, str(tmp_path / "made"))
    for name, module in made.beside().items():
        for weight, stored in zip(module.parameters(), other.beside()[name].parameters(), strict=True):
            assert torch.equal(weight.to(torch.bfloat16).float(), stored)


def test_a_run_without_speakers_saves_no_speech_encoder() -> None:
    assert tiny_stage().speech is None and tiny_stage().beside().keys() == {"auxiliary"}


def test_the_run_file_of_voices_is_valid_and_a_warp_alone_is_refused(tmp_path: Path) -> None:
    run = read_run(Path(__file__).parent.parent / "assets" / "papercut" / "voices.yaml")
    assert run.warp is not None and set(SPOKEN) < set(run.transformer.tasks)
    path = tmp_path / "run.yaml"
    path.write_text(TINY_RUN.format(folder="a", checkpoint="b", more="") + "warp: {loop: {steps: 1, batch: 1}}\n")
    with pytest.raises(Refusal, match="dubbing or portrait"):
        read_run(path)


def test_a_run_file_with_a_warp_becomes_a_checkpoint_that_hears(tmp_path: Path) -> None:
    text = TINY_RUN.replace("compile: false,", "compile: false, tasks: {{dubbing: 1.0}},")
    text += "warp: {{size: 16, inner_width: 16, blocks: 1, loop: *loop}}\n"
    path = tmp_path / "run.yaml"
    path.write_text(text.format(folder=tmp_path / "run", checkpoint=tmp_path / "made", more=""))
    assert train(path) == 0
    speech, warp = load_speech(tmp_path / "made" / "speech"), MouthWarp.from_pretrained(tmp_path / "made" / "warp")
    assert (warp.config.width, warp.per_frame) == (speech.width, speech.per_frame)
    assert (tmp_path / "run" / "warp" / "sheet-000002.png").exists()
    told = (tmp_path / "run" / "transformer" / "log.jsonl").read_text()
    assert "dubbing_speech" in told and "dubbing_given" in told
    further = text.replace("loop: *loop}}\n", "loop: {{steps: 1, batch: 1, device: cpu, lr: 1.0e-20}}}}\n")
    further = further.format(folder=tmp_path / "then", checkpoint=tmp_path / "further", more="start_from: FIRST")
    path.write_text(further.replace("FIRST", str(tmp_path / "made")))
    assert train(path) == 0
    for name, weight in MouthWarp.from_pretrained(tmp_path / "further" / "warp").named_parameters():
        assert torch.equal(weight, warp.get_parameter(name)), f"{name} begins where it was"
    path.write_text(path.read_text().replace("inner_width: 16", "inner_width: 32").replace("then", "other"))
    with pytest.raises(Refusal, match="start_from: expected a checkpoint of this file's sizes"):
        train(path)


# ---------------------------------------------------------------- the warp's stage


def warping(**fields: object) -> WarpStage:
    torch.manual_seed(1)
    loop = LoopConfig(steps=4, batch=2, warmup=1, device="cpu", report_every=0)
    config = WarpConfig(size=32, inner_width=32, loop=loop)
    return WarpStage(config.model_copy(update=fields), SpeechEncoder(32, channels=16))


def test_crops_hold_the_mouth_and_are_the_same_part_of_every_frame() -> None:
    for index in range(6):
        one = take(MOUTH, 0, index)
        first, again = (crop(one, MOUTH, 32, random.Random(index)) for _ in range(2))
        assert torch.equal(first, again) and first.shape == (13, 4, 32, 32) and (first[:, 3] == 255).all()
        shut = replace(one, performance=replace(one.performance, voice=replace(one.performance.voice, index=999)))
        other = crop(shut, MOUTH, 32, random.Random(index))
        changed = (first[:, :3].int() - other[:, :3].int()).abs().float()
        edges = torch.ones(32, 32, dtype=torch.bool)
        edges[2:-2, 2:-2] = False
        assert changed[..., edges].mean() < 0.1 * changed[..., ~edges].mean(), "a mouth is in the middle"


def test_the_warp_begins_as_the_mean_of_the_references_and_gradients_reach_it() -> None:
    made = warping()
    batch = made.source(0)
    losses = made(batch)
    assert losses["moved"] == pytest.approx(float(losses["stood"]), abs=1e-3)
    assert torch.equal(batch["truth"], warping().source(0)["truth"])
    assert not torch.equal(batch["mels"], made.source(1)["mels"])
    losses["total"].backward()
    assert made.warp.motion.weight.grad.any() and made.frozen["speech"].out.weight.grad is None


@pytest.mark.slow
def test_a_small_warp_learns_to_move_eight_takes(tmp_path: Path) -> None:
    loop = LoopConfig(
        steps=200, batch=8, lr=3e-3, warmup=10, bf16=False, device="cpu", report_every=0, save_seconds=1e9
    )
    made = warping(loop=loop)
    fixed = made.batch(Form.spoken("dubbing", 2), range(8), random.Random(0))
    trainer = Trainer(made, loop, tmp_path, lambda text: None)
    losses = [trainer.one_step(fixed) for _ in range(150)]
    assert losses[-1]["total"] < 0.75 * losses[0]["total"]
    assert losses[-1]["moved"] > losses[-1]["stood"] + 1.5


@pytest.mark.slow
def test_a_small_model_overfits_eight_takes(tmp_path: Path) -> None:
    loop = LoopConfig(
        steps=200, batch=8, lr=3e-3, warmup=10, bf16=False, device="cpu", report_every=0, save_seconds=1e9
    )
    made = stage(loop=loop)
    fixed = batch_of(made, MOUTH, 8)
    fixed["clean"] = made.encoded(fixed)
    trainer = Trainer(made, loop, tmp_path, lambda text: None)
    losses = [trainer.one_step(fixed)["main"] for _ in range(150)]
    assert sum(losses[-20:]) < 0.6 * sum(losses[:20])
