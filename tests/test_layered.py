"""Layered pictures: the plan, layers cut to their boxes, clean transparency, what is given, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from diffusers import AutoencoderKLFlux2
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from psd_tools import PSDImage

from models.checkpoint import EMBEDDED, describe
from models.codec import Codec
from models.plan import TokenPlan
from pipelines.cli import main
from pipelines.engine import Engine, groups
from pipelines.estimate import Rendered
from pipelines.files.media import read_picture
from pipelines.job import LayeredJob, parse
from pipelines.layered import _decode, _encode, cover, layered_plan
from pipelines.stack.layers import Layer, Stack, largest_gap, opaque, paste, psnr
from training.papercut import World, render

SIZE = (96, 64)  # pixels across and down: 6 x 4 tokens
BOXES = ([0.1, 0.1, 0.5, 0.6], [0.35, 0.3, 0.9, 0.9])
TOKENS = ((0, 0, 3, 3), (1, 2, 4, 6))


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine("cpu")


def job(tiny: Path, *layers: dict[str, Any], **fields: Any) -> LayeredJob:
    base = {"task": "layered", "model": str(tiny), "prompt": "a red star", "size": SIZE, "steps": 2, "guidance": 1.0}
    made = parse(base | {"layers": list(layers or ({"box": box} for box in BOXES))} | fields)
    assert isinstance(made, LayeredJob)
    return made


def rendered(engine: Engine, *jobs: LayeredJob) -> list[Rendered]:
    return engine.render(jobs, lambda step, steps: True)


def files(one: Rendered) -> dict[str, Any]:
    return {attachment.suffix: attachment.content for attachment in one.attachments}


def layers_of(one: Rendered) -> list[np.ndarray]:
    """The background and the layers, bottom first."""
    return [files(one)[f"/{layer['file']}"] for layer in one.record["layers"]]


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def saved(path: Path, pixels: np.ndarray) -> str:
    Image.fromarray(pixels).save(path)
    return str(path)


def inside(box: tuple[int, int, int, int], pixels: np.ndarray | None = None) -> np.ndarray:
    """A canvas of `pixels`, or of noise with every alpha, whose colours go on where nothing is visible."""
    canvas = noise(SIZE[1], SIZE[0], 4, seed=9) if pixels is None else pixels.copy()
    y0, x0, y1, x1 = (16 * edge for edge in box)
    outside = np.ones(canvas.shape[:2], bool)
    outside[y0:y1, x0:x1] = False
    canvas[outside, 3] = 0
    return canvas


# ---------------------------------------------------------------- the plan


def seen_by(plan: TokenPlan, name: str) -> set[str]:
    """Names of the segments that a segment's tokens see."""
    starts = dict(zip((s.name for s in plan.segments), np.cumsum([0, *map(len, plan.segments)]), strict=False))
    row = plan.visibility[plan.classes[starts[name]]]
    return {other for other, start in starts.items() if row[plan.classes[start]]}


def test_layers_stand_at_the_canvass_rows_and_columns_with_a_number_of_their_own() -> None:
    plan = layered_plan(3, 4, 6, TOKENS, prompted=(False, False), placed=False)
    composite, background, first, second = (segment.positions for segment in plan.segments[1:])
    assert np.array_equal(composite[:, :3], background[:, :3]) and len(composite) == 24
    assert [set(p[:, 3].tolist()) for p in (composite, background, first, second)] == [{0}, {1}, {2}, {3}]
    assert [tuple(p[:, 1:3].min(0)) + tuple(p[:, 1:3].max(0) + 1) for p in (first, second)] == list(TOKENS)
    assert plan.tokens == 3 + 2 * 24 + 9 + 12 and plan.pairs == plan.tokens**2


def test_a_layers_prompt_and_the_layer_see_each_other_and_the_prompt_sees_nobody_else() -> None:
    plan = layered_plan(3, 4, 6, TOKENS, prompted=(False, True), placed=True)
    pictures = {"prompt", "composite", "background", "layer 1", "layer 2"}
    assert seen_by(plan, "prompt 2") == {"prompt 2", "layer 2"}
    assert seen_by(plan, "layer 2") == pictures | {"prompt 2"}
    assert all(seen_by(plan, name) == pictures for name in pictures - {"layer 2"})


def test_words_stand_in_the_middle_of_their_layer_where_the_checkpoint_learned_it_so() -> None:
    for placed, where in ((True, (2, 3)), (False, (0, 0))):
        plan = layered_plan(3, 4, 6, TOKENS, prompted=(False, True), placed=placed)
        words = plan.segments[1].positions
        assert words[:, 1:3].tolist() == [list(where)] * 3 and words[:, 3].tolist() == [0, 1, 2]
        assert not plan.segments[0].positions[:, :3].any()


def test_what_is_given_stands_at_timestep_zero() -> None:
    plan = layered_plan(3, 4, 6, TOKENS, prompted=(True, False), placed=True, given=(True, False, False, True))
    assert {s.name for s in plan.segments if s.given} == {"composite", "layer 2"}


@given(st.integers(1, 40), st.integers(1, 40), st.data())
def test_a_cover_holds_its_box_and_less_than_a_token_more_on_every_side(h: int, w: int, data: st.DataObject) -> None:
    x0, x1 = sorted(data.draw(st.tuples(st.floats(0, 1), st.floats(0, 1))))
    y0, y1 = sorted(data.draw(st.tuples(st.floats(0, 1), st.floats(0, 1))))
    top, left, bottom, right = cover((x0, y0, x1, y1), h, w)
    for low, high, first, end, most in ((y0, y1, top, bottom, h), (x0, x1, left, right, w)):
        assert 0 <= first < end <= most
        assert first <= low * most + 1e-5 and high * most <= end + 1e-5
        assert low * most < first + 1 + 1e-5 and end <= max(high * most, first) + 1 + 1e-5


def test_a_box_on_the_grid_is_its_own_cover() -> None:
    for n in (3, 7, 10, 12, 64):
        for k in range(n):
            assert cover((k / n, 0.0, (k + 1) / n, 1.0), 1, n) == (0, k, 1, k + 1)


def test_tokens_are_linear_in_the_area_that_layers_cover() -> None:
    canvas, tenth = 20 * 20, 10 * 4
    counts = [
        layered_plan(24, 20, 20, ((3, 5, 13, 9),) * n, prompted=(False,) * n, placed=False).tokens for n in (5, 10, 50)
    ]
    assert counts == [24 + 2 * canvas + n * tenth for n in (5, 10, 50)]


# ---------------------------------------------------------------- what comes out


@pytest.fixture(scope="module")
def one(engine: Engine, tiny: Path) -> Rendered:
    return rendered(engine, job(tiny, {"box": BOXES[0], "prompt": "a red star"}, {"box": BOXES[1]}))[0]


def test_an_output_has_a_png_a_layer_the_composite_a_psd_and_an_openraster_file(one: Rendered) -> None:
    names = ["/00-background.png", "/01-a-red-star.png", "/02-layer-2.png", "/composite.png", ".psd", ".ora"]
    assert list(files(one)) == names
    assert all(files(one)[name].shape == (64, 96, 4) for name in names[:3])
    assert files(one)["/composite.png"].shape == (64, 96, 3) and one.frames.shape == (1, 64, 96, 3)
    assert [layer["name"] for layer in one.record["layers"]] == ["background", "a red star", "layer 2"]
    assert [layer["box"] for layer in one.record["layers"]] == [[0, 0, 96, 64], [0, 0, 48, 48], [32, 16, 96, 64]]


def test_nothing_is_outside_the_boxes_and_clear_pixels_have_no_colour(one: Rendered) -> None:
    background, *layers = layers_of(one)
    assert (background[..., 3] == 255).all()
    for layer, box in zip(layers, TOKENS, strict=True):
        assert layer[..., 3].any()
        assert np.array_equal(layer[..., 3], inside(box, layer)[..., 3])
        assert not layer[layer[..., 3] == 0].any()


def test_the_stack_recomposes_to_the_flat_picture_and_the_record_says_how_close_all_is(one: Rendered) -> None:
    canvas = Image.fromarray(layers_of(one)[0])
    for layer in layers_of(one)[1:]:
        canvas = Image.alpha_composite(canvas, Image.fromarray(layer))
    gap = largest_gap(np.asarray(canvas)[..., :3], one.frames[0])
    assert gap <= one.record["recomposed_within"] <= 1
    told = one.record["composite"]
    assert told["psnr"] == pytest.approx(psnr(one.frames[0], files(one)["/composite.png"]), abs=0.01)
    assert told["psnr"] < 28 and any("do not add up" in warning for warning in one.record["warnings"])


def test_a_batch_of_jobs_shows_the_pictures_of_single_ones(engine: Engine, tiny: Path) -> None:
    layers = {"box": BOXES[0], "prompt": "a blue ring"}, {"box": BOXES[1]}
    jobs = [job(tiny, *layers, seed=seed, prompt=prompt) for seed, prompt in ((1, "a red star"), (2, "two hearts"))]
    assert groups(jobs) == [[0, 1]]
    together, apart = rendered(engine, *jobs), [rendered(engine, each)[0] for each in jobs]
    for both, alone in zip(together, apart, strict=True):
        for name, pixels in files(alone).items():
            if isinstance(pixels, np.ndarray):
                assert largest_gap(files(both)[name], pixels) <= 1
    assert largest_gap(together[0].frames, together[1].frames) > 9


def test_jobs_that_share_no_plan_share_no_batch(tiny: Path) -> None:
    named, other = {"box": BOXES[0], "prompt": "a"}, {"box": BOXES[1]}
    jobs = [
        job(tiny, other), job(tiny, named), job(tiny, {"box": BOXES[0]}), job(tiny, other, size=(64, 96)),
        job(tiny, other, seed=1), job(tiny, other, background="b.png"), job(tiny, other, background="b.png", seed=1),
    ]  # fmt: skip
    assert groups(jobs) == [[0, 4], [1], [2], [3], [5], [6]]


def test_a_layers_prompt_decides_what_is_drawn(engine: Engine, tiny: Path) -> None:
    first, second = (
        rendered(engine, job(tiny, {"box": BOXES[0], "prompt": words}, {"box": BOXES[1]}))[0]
        for words in ("a red star", "two small green hearts")
    )
    assert largest_gap(layers_of(first)[1], layers_of(second)[1]) > 0


def test_a_negative_prompt_steers_every_layer(engine: Engine, tiny: Path) -> None:
    layers = {"box": BOXES[0], "prompt": "a red star"}, {"box": BOXES[1]}
    plain, steered = (
        rendered(engine, job(tiny, *layers, guidance=4.0, negative_prompt=words))[0] for words in ("", "blue")
    )
    assert all(largest_gap(a, b) > 0 for a, b in zip(layers_of(plain), layers_of(steered), strict=True))


def test_a_prompt_that_is_too_long_is_told_with_its_layer(engine: Engine, tiny: Path) -> None:
    words = "red " * 60
    told = rendered(engine, job(tiny, {"box": BOXES[0]}, {"box": BOXES[1], "prompt": words}))[0].record["warnings"]
    assert [note for note in told if note.startswith("red red") and "reads the first 24" in note]


def test_fifty_layers_render(engine: Engine, tiny: Path) -> None:
    boxes = [[k % 5 / 5, 0, k % 5 / 5 + 0.2, 0.5] for k in range(50)]
    many = rendered(engine, job(tiny, *({"box": box, "prompt": "a red star"} for box in boxes), steps=1))[0]
    assert len(layers_of(many)) == 51 and many.record["recomposed_within"] <= 2
    assert len(files(many)) == 51 + 3
    told = many.record["resolved"]
    assert told["canvas_tokens"] == 24 and told["layer_tokens"] == [4] * 10 * 5
    assert many.record["tokens"] == 51 * 24 + 2 * 24 + sum(told["layer_tokens"])


# ---------------------------------------------------------------- true layers through the embedded autoencoder


@pytest.fixture(scope="module")
def papercut() -> Codec:
    folder = describe("papercut").folder
    vae = AutoencoderKLFlux2.from_pretrained(folder, subfolder="vae", local_files_only=True, use_safetensors=True)
    return Codec(vae.eval().requires_grad_(False))


@pytest.mark.parametrize("index", [0, 3, 4])
def test_true_layers_come_through_the_autoencoder_clean_and_compose_to_the_true_picture(
    papercut: Codec, index: int
) -> None:
    scene = World(7, split="any", placement="canonical").scene(index)
    drawn = render([scene], 128, 128)
    straight = straight_of(drawn.layers[0])
    boxes = [(0, 0, 128, 128)] * 2
    for layer in straight[1:]:
        ys, xs = np.nonzero(layer[..., 3])
        edges = ys.min() / 128, xs.min() / 128, (ys.max() + 1) / 128, (xs.max() + 1) / 128
        y0, x0, y1, x1 = (16 * edge for edge in cover((edges[1], edges[0], edges[3], edges[2]), 8, 8))
        boxes.append((y0, x0, y1, x1))
    parts = (opaque(rgb_of(drawn.picture[0])), *straight)
    with torch.no_grad():
        tokens = _encode(papercut, boxes, parts, "cpu")
        decoded = _decode(papercut, boxes, (None,) * len(parts), tokens)
    made = [paste(decoded[n][0], box, 128, 128) for n, box in enumerate(boxes)]
    stack = Stack(
        tuple(Layer(str(n), box, part) for n, (box, part) in enumerate(zip(boxes[1:], made[1:], strict=True)))
    )
    assert psnr(stack.flat, made[0][..., :3]) >= 28, "the stack is the composite"
    assert psnr(stack.flat, parts[0][..., :3]) >= 28, "and both are the true picture"
    for layer, true in zip(made[2:], straight[1:], strict=True):
        clear = true[..., 3] == 0
        assert (layer[..., 3][clear] > 0).mean() < 0.01, "no haze"
        assert (layer[..., 3][true[..., 3] == 255] > 215).mean() > 0.97, "no holes"
        # No fringe: along the edge the colour is the thing's, whatever it is laid over.
        for paper in (0, 255):
            over = [np.full((128, 128, 3), paper, np.uint8) for _ in range(2)]
            shown = [
                Stack((Layer("", boxes[0], opaque(p)), Layer("", boxes[0], x))).flat
                for p, x in zip(over, (layer, true), strict=True)
            ]
            assert psnr(*shown) >= 28


def rgb_of(picture: torch.Tensor) -> np.ndarray:
    return (picture * 255).round().byte().permute(1, 2, 0).numpy()


def straight_of(premultiplied: torch.Tensor) -> list[np.ndarray]:
    """[L, 4, H, W] as [H, W, 4] in bytes each, by arithmetic of its own."""
    found = []
    for layer in premultiplied.double().permute(0, 2, 3, 1).numpy():
        alpha = layer[..., 3:]
        colour = np.divide(layer[..., :3], alpha, out=np.zeros_like(layer[..., :3]), where=alpha > 0.5 / 255)
        found.append(np.rint(255 * np.concatenate([colour, alpha], -1).clip(0, 1)).astype(np.uint8))
        found[-1][found[-1][..., 3] == 0] = 0
    return found


# ---------------------------------------------------------------- what is given


def test_a_finished_picture_is_the_composite_bit_for_bit(engine: Engine, tiny: Path, tmp_path: Path) -> None:
    picture = noise(64, 96, 3)
    made = rendered(engine, job(tiny, source=saved(tmp_path / "p.png", picture)))[0]
    assert np.array_equal(files(made)["/composite.png"], picture)
    assert made.record["composite"]["given"] and made.record["resolved"]["given_tokens"] == 24
    other = rendered(engine, job(tiny, source=saved(tmp_path / "o.png", noise(64, 96, 3, seed=5))))[0]
    assert largest_gap(layers_of(made)[1], layers_of(other)[1]) > 0, "and the layers follow it"


def test_given_layers_and_backgrounds_come_back_bit_for_bit(engine: Engine, tiny: Path, tmp_path: Path) -> None:
    first, ground = inside(TOKENS[0]), noise(64, 96, 3, seed=4)
    wanted = job(
        tiny,
        {"box": BOXES[0], "source": saved(tmp_path / "l.png", first)},
        {"box": BOXES[1]},
        background=saved(tmp_path / "b.png", ground),
        name="out",
    )
    (tmp_path / "job.json").write_text(json.dumps(wanted.model_dump(mode="json")))
    assert main(["render", str(tmp_path / "job.json"), "--out", str(tmp_path / "out")]) == 0
    folder = tmp_path / "out" / "out"
    assert np.array_equal(read_picture(folder / "01-layer-1.png"), first), "with the colours of clear pixels"
    assert np.array_equal(read_picture(folder / "00-background.png"), opaque(ground))
    record = json.loads((tmp_path / "out" / "out.json").read_text())
    assert [layer["given"] for layer in record["layers"]] == [True, True, False]
    flat = read_picture(tmp_path / "out" / "out.png")[..., :3]
    assert np.array_equal(np.asarray(PSDImage.open(tmp_path / "out" / "out.psd").topil()), flat)
    clear = first[..., 3] == 0
    untouched = clear & (read_picture(folder / "02-layer-2.png")[..., 3] == 0)
    assert np.array_equal(flat[untouched], ground[untouched])


def test_one_layer_is_made_again_among_the_others(engine: Engine, tiny: Path, tmp_path: Path) -> None:
    before = rendered(engine, job(tiny))[0]
    kept, again, background = layers_of(before)[1], layers_of(before)[2], layers_of(before)[0]
    wanted = job(
        tiny,
        {"box": BOXES[0], "source": saved(tmp_path / "1.png", kept)},
        {"box": BOXES[1]},
        background=saved(tmp_path / "0.png", background[..., :3]),
        seed=8,
    )
    after = rendered(engine, wanted)[0]
    assert np.array_equal(layers_of(after)[1], kept) and np.array_equal(layers_of(after)[0], background)
    assert largest_gap(layers_of(after)[2], again) > 0


def test_a_layers_noise_does_not_depend_on_the_other_boxes(engine: Engine, tiny: Path, tmp_path: Path) -> None:
    """With everything else given and one step, the first layer is drawn from the same noise whatever the second is."""
    seen = []
    for box in (BOXES[1], [0.0, 0.5, 0.5, 1.0]):
        with pytest.MonkeyPatch.context() as patch:
            from pipelines import sampler

            real = sampler.denoise
            patch.setattr(sampler, "denoise", lambda *args, real=real, **kw: seen.append(args[3]) or real(*args, **kw))
            rendered(engine, job(tiny, {"box": BOXES[0]}, {"box": box}))
    assert torch.equal(seen[0][:, : 48 + 9], seen[1][:, : 48 + 9])
    assert seen[0].shape[1] == 48 + 9 + 12 and abs(float(seen[0].std()) - 1) < 0.1


# ---------------------------------------------------------------- what is refused


def small(tmp_path: Path) -> str:
    return saved(tmp_path / "small.png", noise(64, 80, 4))


def without_alpha(tmp_path: Path) -> dict[str, Any]:
    return {"layers": [{"box": BOXES[0], "source": saved(tmp_path / "rgb.png", noise(64, 96, 3))}, {"box": BOXES[1]}]}


def everything(tmp_path: Path) -> dict[str, Any]:
    opaque_one = saved(tmp_path / "rgb.png", noise(64, 96, 3))
    layer = saved(tmp_path / "l.png", inside(TOKENS[0]))
    return {"source": opaque_one, "background": opaque_one, "layers": [{"box": BOXES[0], "source": layer}]}


REFUSALS: dict[str, tuple[Any, str, str]] = {
    "outside": ({"layers": [{"box": [0.5, 0, 1.1, 1]}]}, "layers[0].box[2]", "less than or equal to 1, got 1.1"),
    "nan": ({"layers": [{"box": [float("nan"), 0, 1, 1]}]}, "layers[0].box[0]", "finite number"),
    "backwards": ({"layers": [{"box": [0.9, 0, 0.1, 1]}]}, "layers[0].box", "expected x0 < x1"),
    "narrow": (
        {"layers": [{"box": BOXES[0]}, {"box": [0, 0, 0.1, 1]}]}, "layers[1].box",
        "expected at least a token, 16 x 16 pixels, got 9.6 x 64; make it larger",
    ),
    "51": ({"layers": [{"box": list(BOXES[0])} for _ in range(51)]}, "layers", "expected at most 50 entries, got 51"),
    "none": ({"layers": []}, "layers", "at least 1"),
    "empty prompt": ({"layers": [{"box": BOXES[0], "prompt": " "}]}, "layers[0].prompt", "expected words"),
    "misspelt": ({"layers": [{"box": BOXES[0], "promt": "a"}]}, "layers[0].promt", "did you mean 'prompt'"),
    "layer of another size": (
        lambda tmp: {"layers": [{"box": BOXES[0]}, {"box": BOXES[1], "source": small(tmp)}]}, "layers[1].source",
        "expected 96 x 64 pixels as the job's size, got 80 x 64",
    ),
    "picture of another size": (lambda tmp: {"source": small(tmp)}, "source", "expected 96 x 64 pixels"),
    "background of another size": (lambda tmp: {"background": small(tmp)}, "background", "expected 96 x 64 pixels"),
    "transparent picture": (
        lambda tmp: {"source": saved(tmp / "t.png", noise(64, 96, 4))}, "source", "flatten it first",
    ),
    "layer without alpha": (without_alpha, "layers[0].source", "save the layer with an alpha channel"),
    "absent file": ({"background": "absent.png"}, "background", "there is no such file"),
    "nothing to make": (everything, "layers", "expected something to make"),
    "size": ({"size": [1024, 64]}, "size", "draws sides from"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSALS)
def test_bad_input_is_refused_in_one_sentence_and_nothing_is_written(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    fields, field, says = REFUSALS[name]
    good = job(tiny).model_dump(mode="json")
    bad = good | (fields(tmp_path) if callable(fields) else fields)
    (tmp_path / "job.yaml").write_text(yaml.safe_dump_all([good, bad]))
    assert main(["render", str(tmp_path / "job.yaml"), "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1 and "Traceback" not in said
    assert f"job.yaml, document 2, field {field}: " in said and says in said
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_without_alpha_is_refused(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = tmp_path / "plain"
    plain.mkdir()
    for part in tiny.iterdir():
        (plain / part.name).symlink_to(part)
    (plain / "vae").unlink()
    (plain / "vae").mkdir()
    for part in (tiny / "vae").iterdir():
        (plain / "vae" / part.name).symlink_to(part)
    (plain / "vae" / "config.json").unlink()
    config = json.loads((tiny / "vae" / "config.json").read_text())
    (plain / "vae" / "config.json").write_text(json.dumps(config | {"in_channels": 3, "out_channels": 3}))
    (tmp_path / "job.json").write_text(json.dumps(job(plain).model_dump(mode="json")))
    assert main(["render", str(tmp_path / "job.json"), "--out", str(tmp_path / "out")]) == 2
    assert "field model: expected a checkpoint whose autoencoder knows alpha" in capsys.readouterr().err


def test_a_check_loads_no_torch(tiny: Path) -> None:
    code = (
        "import json, sys\nfrom pipelines.job import parse\nfrom pipelines.engine import Engine\n"
        "found = Engine().check(parse(json.loads(sys.argv[1])))\nassert found.tokens\nassert 'torch' not in sys.modules"
    )
    words = json.dumps(job(tiny).model_dump(mode="json"))
    subprocess.run([sys.executable, "-c", code, words], check=True, cwd=Path(__file__).parents[1])


@settings(max_examples=20)
@given(st.lists(st.tuples(*[st.integers(0, 64)] * 4), min_size=1, max_size=50))
def test_any_boxes_are_checked_or_refused_by_their_field(corners: list[tuple[int, int, int, int]]) -> None:
    from pipelines import layered
    from pipelines.refusal import Refusal

    boxes = [[min(a, b) / 64, min(c, d) / 64, (max(a, b) + 1) / 65, (max(c, d) + 1) / 65] for a, b, c, d in corners]
    try:
        wanted = job(EMBEDDED / "papercut", *({"box": box} for box in boxes), size=(128, 128))
        found = layered.check(wanted, describe("papercut"))
    except Refusal as refusal:
        assert refusal.field.startswith("layers[") and refusal.field.endswith("].box")
    else:
        assert found.tokens == 24 + 2 * 64 + sum(found.resolved["layer_tokens"])


def test_the_examples_are_right() -> None:
    folder = EMBEDDED / "examples"
    assert main(["render", str(folder / "layered.yaml"), "--dry-run", "--quiet"]) == 0
