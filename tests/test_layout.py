"""Layouts: whom a box's prompt reaches, what a layout job promises, and how well boxes were obeyed."""

from __future__ import annotations

import json
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.attention import compile_plan, oracle_attention, structural_attention
from models.checkpoint import EMBEDDED
from models.mmdit import MMDiT
from models.siamese import SiameseBranch
from pipelines import cli
from pipelines.engine import Engine, groups
from pipelines.estimate import Rendered
from pipelines.files.media import read_picture, read_recipe
from pipelines.framed import colour_of, framed
from pipelines.job import LayoutJob, Refusal, parse
from pipelines.layout import TokenBox, layout_plan, token_box
from pipelines.obeyed import evaluations, judge, judged_tokens, rivals
from pipelines.sampler import Cancelled
from pipelines.text import text_plan
from tests.test_attention import Largest

EXAMPLES = EMBEDDED / "examples"

edges = st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted).filter(lambda pair: pair[0] < pair[1])
shares = st.tuples(edges, edges).map(lambda pair: (pair[0][0], pair[1][0], pair[0][1], pair[1][1]))
sides = st.integers(1, 12)


def spans(most: int) -> st.SearchStrategy[tuple[int, int]]:
    return st.tuples(st.integers(0, most), st.integers(0, most)).filter(lambda pair: pair[0] < pair[1])


token_boxes = st.tuples(spans(5), spans(4)).map(lambda pair: (pair[0][0], pair[1][0], pair[0][1], pair[1][1]))


# ---------------------------------------------------------------- boxes in tokens


@given(shares, sides, sides)
def test_a_token_that_is_half_covered_belongs_to_the_box(box: tuple[float, ...], h: int, w: int) -> None:
    y0, x0, y1, x1 = token_box(box, h, w)  # type: ignore[arg-type]
    assert 0 <= y0 < y1 <= h and 0 <= x0 < x1 <= w, "there is at least one token, and all are on the canvas"

    def covered(low: float, high: float, tokens: int) -> np.ndarray:
        start = np.arange(tokens)
        return np.clip(np.minimum(high * tokens, start + 1) - np.maximum(low * tokens, start), 0, 1)

    down, across = covered(box[1], box[3], h), covered(box[0], box[2], w)
    inside = np.zeros((h, w), bool)
    inside[y0:y1, x0:x1] = True
    assert inside[np.outer(down, across) >= 0.5].all()
    for found, share in (((y0, y1), down), ((x0, x1), across)):
        assert found[1] - found[0] == 1 or (share[slice(*found)] >= 0.49).all(), "what is hardly covered is outside"


@pytest.mark.parametrize(
    ("box", "tokens"),
    [
        ((0, 0, 1, 1), (0, 0, 8, 8)),
        ((0.1, 0.1, 0.225, 0.225), (1, 1, 2, 2)),
        ((0.25, 0.5, 0.75, 1.0), (4, 2, 8, 6)),
        ((0.3, 0.3, 0.31, 0.31), (2, 2, 3, 3)),
        ((0.99, 0.0, 1.0, 0.01), (0, 7, 1, 8)),
    ],
)
def test_boxes_on_a_grid_of_eight(box: tuple[float, ...], tokens: TokenBox) -> None:
    assert token_box(box, 8, 8) == tokens  # type: ignore[arg-type]


# ---------------------------------------------------------------- the plan


@given(st.lists(token_boxes, min_size=1, max_size=6), st.booleans())
def test_a_boxs_prompt_and_the_tokens_in_the_box_see_each_other(boxes: list[TokenBox], placed: bool) -> None:
    plan = layout_plan(2, 5, 4, tuple(boxes), placed=placed, regional=True)
    seen = plan.visibility[np.ix_(plan.classes, plan.classes)]
    count, pictures = len(boxes), slice(plan.context_tokens, None)
    assert plan.context_tokens == 2 * (1 + count)
    assert seen[pictures, pictures].all() and seen[:2, pictures].all() and seen[pictures, :2].all()
    for k, (y0, x0, y1, x1) in enumerate(boxes):
        prompt = slice(2 + 2 * k, 4 + 2 * k)
        inside = np.zeros((5, 4), bool)
        inside[y0:y1, x0:x1] = True
        assert (seen[prompt, pictures] == inside.ravel()).all() and (
            seen[pictures, prompt] == inside.ravel()[:, None]
        ).all()
        assert (plan.positions[prompt, 3] == [0, 1]).all()
        where = plan.positions[prompt, :3]
        assert (where == ([0, (y0 + y1 - 1) // 2, (x0 + x1 - 1) // 2] if placed else 0)).all()
    among = np.kron(np.eye(1 + count, dtype=bool), np.ones((2, 2), bool))
    assert (seen[: plan.context_tokens, : plan.context_tokens] == among).all(), "prompts do not see each other"


@given(st.lists(token_boxes, min_size=1, max_size=5))
def test_the_plan_runs_as_its_dense_mask_says(boxes: list[TokenBox]) -> None:
    plan = layout_plan(3, 5, 4, tuple(boxes), placed=True, regional=True)
    generator = torch.Generator().manual_seed(1)
    tensors = [torch.randn(1, plan.tokens, 1, 8, generator=generator) for _ in range(3)]
    ours, theirs = structural_attention(*tensors, compile_plan(plan)), oracle_attention(*tensors, plan)
    assert torch.allclose(ours, theirs, atol=1e-5)


def test_fifty_boxes_on_one_another_are_no_more_classes_than_occur() -> None:
    nested = tuple((k // 8, k // 8, 64 - k, 64 - k) for k in range(50))
    plan = layout_plan(8, 64, 64, nested, placed=True, regional=True)
    assert len(plan.class_names) == 1 + 50 + len({tuple(row) for row in judged_cover(nested).T})
    assert plan.tokens == 51 * 8 + 4096


def judged_cover(boxes: tuple[TokenBox, ...]) -> np.ndarray:
    inside = np.zeros((len(boxes), 64, 64), bool)
    for k, (y0, x0, y1, x1) in enumerate(boxes):
        inside[k, y0:y1, x0:x1] = True
    return inside.reshape(len(boxes), -1)


def test_no_mask_of_n_times_n_is_made() -> None:
    boxes = tuple((4 * (k // 4), 4 * (k % 4), 4 * (k // 4) + 12, 4 * (k % 4) + 12) for k in range(12))
    plan = layout_plan(24, 24, 24, boxes, placed=True, regional=True)
    tensors = [torch.randn(1, plan.tokens, 1, 8) for _ in range(3)]
    with Largest() as largest:
        structural_attention(*tensors, compile_plan(plan))
    assert largest.numbers < plan.tokens**2 / 20


def test_without_prompts_for_boxes_it_is_the_plan_of_a_text_job() -> None:
    assert layout_plan(4, 3, 3, ((0, 0, 2, 2),), placed=True, regional=False) is text_plan(4, 3, 3)


# ---------------------------------------------------------------- rendering


@pytest.fixture(scope="module")
def branched(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny checkpoint with a siamese branch that does something."""
    folder = shutil.copytree(tiny, tmp_path_factory.mktemp("branched") / "tiny")
    shutil.rmtree(folder / "siamese", ignore_errors=True)
    torch.manual_seed(4)
    branch = SiameseBranch.of(MMDiT.from_pretrained(folder, subfolder="transformer"), inner_width=32)
    for weight in (branch.modulation.weight, *(part.out_picture.weight for part in branch.attentions)):
        torch.nn.init.normal_(weight, std=0.5)
    branch.save_pretrained(folder / "siamese")
    house = json.loads((folder / "diorama.json").read_text()) | {"boxes": 12, "prompts_at_boxes": True}
    (folder / "diorama.json").write_text(json.dumps(house))
    return folder


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine("cpu")


BOXES = [
    {"box": [0.0, 0.0, 0.5, 0.5], "prompt": "a red circle"},
    {"box": [0.25, 0.34, 1.0, 1.0], "prompt": "a blue star"},
]


def job(checkpoint: Path | str, **fields) -> LayoutJob:  # type: ignore[no-untyped-def]
    base = {"task": "layout", "prompt": "a red circle on a white background", "boxes": BOXES}
    made = parse(base | {"model": str(checkpoint), "size": [64, 96], "steps": 3, "seed": 5} | fields)
    assert isinstance(made, LayoutJob)
    return made


def draw(engine: Engine, *jobs: LayoutJob) -> list[Rendered]:
    return engine.render(jobs, lambda step, steps: True)


def gap(a: Rendered, b: Rendered) -> int:
    return int(np.abs(a.frames.astype(int) - b.frames.astype(int)).max())


def test_prompts_boxes_negatives_mechanism_and_share_all_count(branched: Path, engine: Engine) -> None:
    base = draw(engine, job(branched))[0]
    assert gap(draw(engine, job(branched))[0], base) == 0, "the same job twice is the same picture"
    moved = [{**BOXES[0], "box": [0.5, 0.0, 1.0, 0.5]}, BOXES[1]]
    renamed = [BOXES[0], {**BOXES[1], "prompt": "a green ring"}]
    against = [BOXES[0], {**BOXES[1], "negative_prompt": "a ring"}]
    for change in (
        {"boxes": moved}, {"boxes": renamed}, {"boxes": against}, {"negative_prompt": "a ring"},
        {"prompt": "a blue star"}, {"mechanism": "plan"}, {"mechanism": "siamese"}, {"siamese_until": 0.9}, {"seed": 6},
    ):  # fmt: skip
        assert gap(draw(engine, job(branched, **change))[0], base) > 0, change
    siamese = draw(engine, job(branched, mechanism="siamese"))[0]
    turned = draw(engine, job(branched, mechanism="siamese", boxes=BOXES[::-1]))[0]
    assert gap(turned, siamese) > 0, "the branch knows which box lies on top"
    for change in ({"boxes": moved}, {"boxes": renamed}, {"siamese_until": 0.9}):
        assert gap(draw(engine, job(branched, mechanism="siamese", **change))[0], siamese) > 0, change


def test_a_branch_that_acts_in_no_step_is_the_plan_alone(branched: Path, engine: Engine) -> None:
    pictures = draw(engine, job(branched, siamese_until=0.0))[0], draw(engine, job(branched, mechanism="plan"))[0]
    assert gap(*pictures) == 0


def test_a_batch_of_layouts_shows_the_pictures_of_singles(branched: Path, engine: Engine) -> None:
    other = [{**BOXES[0], "prompt": "a black heart"}, {**BOXES[1], "prompt": "a black heart"}]
    jobs = [job(branched), job(branched, seed=9, prompt="a ring", negative_prompt="a star"), job(branched, boxes=other)]
    assert groups(jobs) == [[0, 1, 2]]
    together, alone = draw(engine, *jobs), [draw(engine, one)[0] for one in jobs]
    for a, b in zip(together, alone, strict=True):
        assert gap(a, b) <= 1
        for one, two in zip(a.record["boxes"], b.record["boxes"], strict=True):
            assert one["obeyed"] == pytest.approx(two["obeyed"], abs=2e-3)
            assert (one["rival"], one["tokens"]) == (two["rival"], two["tokens"])
    assert gap(alone[0], alone[1]) > 20, "the three are different pictures"


def test_layouts_with_other_boxes_or_mechanisms_do_not_share_a_batch(tiny: Path) -> None:
    jobs = [
        job(tiny), job(tiny, boxes=BOXES[:1]), job(tiny, mechanism="plan"), job(tiny, siamese_until=0.5), job(tiny),
        job(tiny, boxes=[{**part, "prompt": "a ring"} for part in BOXES]),
    ]  # fmt: skip
    assert groups(jobs) == [[0, 4, 5], [1], [2], [3]]


def test_the_record_tells_of_each_box_and_the_boxes_are_drawn_beside_the_picture(
    branched: Path, engine: Engine
) -> None:
    rendered = draw(engine, job(branched))[0]
    assert [found.keys() for found in rendered.record["boxes"]] == [
        {"box", "tokens", "prompt", "obeyed", "rival", "beats_rival"}
    ] * 2
    first, second = rendered.record["boxes"]
    assert (first["box"], first["prompt"], first["tokens"]) == ([0.0, 0.0, 0.5, 0.5], "a red circle", 2 * 3)
    assert (first["rival"], second["rival"]) == ("a blue star", "a red circle")
    assert all(-1 <= found["obeyed"] <= 1 and isinstance(found["beats_rival"], bool) for found in (first, second))
    (drawn,) = rendered.attachments
    assert drawn.suffix == "-boxes.png" and rendered.frames.shape == (1, 96, 64, 3)
    assert isinstance(drawn.content, np.ndarray) and drawn.content.shape == (6 * 96, 6 * 64, 3)


def test_one_box_has_no_rival(tiny: Path, engine: Engine) -> None:
    (found,) = draw(engine, job(tiny, boxes=BOXES[:1], mechanism="plan"))[0].record["boxes"]
    assert found["rival"] is None and found["beats_rival"] is None


def test_a_render_can_be_cancelled_while_boxes_are_judged(tiny: Path, engine: Engine) -> None:
    asked: list[int] = []
    with pytest.raises(Cancelled):
        engine.render([job(tiny)], lambda step, steps: asked.append(step) or len(asked) < 5)  # type: ignore[func-returns-value]
    assert asked == [1, 2, 3, 3, 3], "three steps, and the second level of noise"


def test_a_rehearsal_tells_steps_from_the_judging_of_boxes(tiny: Path, engine: Engine) -> None:
    found = engine.rehearse([job(tiny, steps=2)])
    assert found.seconds > 0 and found.peak_memory > 0


# ---------------------------------------------------------------- estimates and refusals


def test_the_estimate_counts_the_plan_the_branch_and_the_report(tiny: Path, branched: Path) -> None:
    check = Engine("cpu").check
    plain, both = check(job(branched, mechanism="plan")), check(job(branched))
    assert plain.tokens == both.tokens == 3 * 24 + 4 * 6
    assert plain.pairs < plain.dense_pairs == plain.tokens**2
    assert check(job(branched, mechanism="siamese")).tokens == 24 + 4 * 6
    assert plain.flops < both.flops < check(job(branched, siamese_until=1.0)).flops
    assert (plain.resolved["report_evaluations"], plain.resolved["mechanism"]) == (12, "plan")
    assert check(job(branched, boxes=BOXES[:1])).resolved["report_evaluations"] == 8


def test_what_a_checkpoint_can_not_do_is_said_or_refused(tiny: Path, branched: Path) -> None:
    check = Engine("cpu").check
    shutil.rmtree(tiny / "siamese", ignore_errors=True)
    notes = " ".join(check(job(tiny)).warnings)
    assert "has no siamese branch: the plan alone" in notes and check(job(tiny)).resolved["mechanism"] == "plan"
    with pytest.raises(Refusal, match="has no siamese branch; take mechanism: plan") as caught:
        check(job(tiny, mechanism="siamese"))
    assert caught.value.field == "mechanism"
    assert check(job(branched)).warnings == [] and check(job(branched)).resolved["mechanism"] == "both"
    assert "was trained on up to 12 boxes, got 13" in check(job(branched, boxes=BOXES[:1] * 13)).warnings[0]
    with pytest.raises(Refusal, match="nothing would know the boxes") as caught:
        check(job(branched, mechanism="siamese", siamese_until=0.0))
    assert caught.value.field == "siamese_until"


GOOD = "task: layout\nprompt: a\n"
ONE = "{box: [0.1, 0.1, 0.9, 0.9], prompt: a}"


@pytest.mark.parametrize(
    ("text", "field", "says"),
    [
        ("boxes: [{box: [0.5, 0.1, 0.4, 0.6], prompt: a}]", "boxes[0].box", "expected x0 < x1 and y0 < y1"),
        ("boxes: [{box: [0.1, 0.6, 0.4, 0.6], prompt: a}]", "boxes[0].box", "expected x0 < x1 and y0 < y1"),
        ("boxes: [{box: [0.1, 0.1, 1.2, 0.6], prompt: a}]", "boxes[0].box[2]", "less than or equal to 1, got 1.2"),
        ("boxes: [{box: [-0.1, 0.1, 0.2, 0.6], prompt: a}]", "boxes[0].box[0]", "greater than or equal to 0"),
        (f"boxes: [{ONE}, {{box: [0.1, .nan, 0.2, 0.6], prompt: a}}]", "boxes[1].box[1]", "a finite number, got nan"),
        (f"boxes: [{ONE}, {{box: [0.1, 0.1, .inf, 0.6], prompt: a}}]", "boxes[1].box[2]", "got inf"),
        (f"boxes: [{ONE}, {{box: [0.1, 0.1, 0.9, 0.2], prompt: a}}]", "boxes[1].box", "at least one token, 16 x 16"),
        (f"boxes: [{', '.join([ONE] * 51)}]", "boxes", "expected at most 50 entries, got 51"),
        ("boxes: []", "boxes", "expected at least 1 entries, got 0"),
        ("boxes: [{box: [0, 0, 1, 1], prompt: ''}]", "boxes[0].prompt", "expected words, got an empty text"),
        ("boxes: [{box: [0, 0, 1, 1]}]", "boxes[0].prompt", "is missing"),
        ("boxes: [{box: [0, 0, 1], prompt: a}]", "boxes[0].box", "expected more values"),
        (f"boxes: [{ONE}]\nmechanism: mask", "mechanism", "expected 'both', 'plan' or 'siamese', got the text 'mask'"),
        (f"boxes: [{ONE}]\nsiamese_until: 1.5", "siamese_until", "less than or equal to 1, got 1.5"),
        (f"boxes: [{ONE}]\nframes: 4", "frames", "unknown key"),
    ],
)
def test_a_wrong_layout_is_one_sentence_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, field: str, says: str
) -> None:
    file = tmp_path / "jobs.yaml"
    file.write_text(f"task: text\nprompt: a\n---\n{GOOD}{text}\n")
    assert cli.main(["render", str(file), "--out", str(tmp_path / "out")]) == 2
    complained = capsys.readouterr().err
    assert len(complained.splitlines()) == 1 and "Traceback" not in complained
    assert f"{file}, document 2, field {field}: " in complained and says in complained
    assert [path.name for path in tmp_path.iterdir()] == ["jobs.yaml"]


def test_a_layout_is_written_with_its_boxes_and_its_record(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "jobs.json"
    file.write_text(json.dumps(job(tiny, name="first", size=[64, 64], steps=1).model_dump(mode="json")))
    assert cli.main(["render", str(file), "--out", str(tmp_path / "out")]) == 0
    capsys.readouterr()
    names = sorted(path.name for path in (tmp_path / "out").iterdir() if path.is_file())
    assert names == ["first-boxes.png", "first.json", "first.png"]
    record = json.loads((tmp_path / "out" / "first.json").read_text())
    assert len(record["boxes"]) == 2 and set(record["outputs"]) == {"first.png", "first-boxes.png"}
    assert read_picture(tmp_path / "out" / "first-boxes.png").shape[:2] == (512, 512)
    assert parse(read_recipe(tmp_path / "out" / "first-boxes.png")["job"]).name == "first"


def test_the_examples_are_jobs_of_the_embedded_checkpoint() -> None:
    from pipelines.files.jobfile import read_jobs

    jobs = [source.job for source in read_jobs([EXAMPLES / "layout.yaml"])]
    assert len(jobs) >= 2 and all(isinstance(one, LayoutJob) for one in jobs)
    for one in jobs:
        assert not [note for note in Engine("cpu").check(one).warnings if "vocabulary" in note]


# ---------------------------------------------------------------- how well boxes were obeyed


def test_rivals_are_prompts_of_other_words() -> None:
    assert rivals(["a"]) == [None] and rivals(["a", "a"]) == [None, None]
    assert rivals(["a", "b"]) == [1, 0] and rivals(["a", "a", "b"]) == [2, 2, 0]
    assert evaluations(["a", "a"]) == 8 and evaluations(["a", "b"]) == 12


def test_an_overlap_counts_for_the_box_on_top() -> None:
    found = judged_tokens([(0, 0, 2, 2), (1, 1, 3, 3), (0, 0, 1, 1)], 3, 3).reshape(3, 3, 3)
    assert found[0].tolist() == [[False, True, False], [True, False, False], [False] * 3]
    assert found[1].sum() == 4 and found[2].sum() == 1
    buried = judged_tokens([(0, 0, 1, 1), (0, 0, 2, 2)], 2, 2)
    assert buried.sum(1).tolist() == [1, 4], "a box that is wholly covered is judged by what is there"


class Literal:
    """A model that draws, in every box, the vector that its prompt stands for; and elsewhere what is there."""

    device, dtype = torch.device("cpu"), torch.float32

    def __init__(self, boxes: tuple[TokenBox, ...], side: int, clean: torch.Tensor) -> None:
        self.inside = judged_tokens(boxes, side, side)
        self.clean = clean

    def __call__(self, tokens, context, time, plan):  # type: ignore[no-untyped-def]
        guess = self.clean.clone()
        for k, inside in enumerate(self.inside):
            guess[:, inside] = context[:, 1 + k, None]
        return type("Output", (), {"sample": (tokens - guess) / time[:, None, None]})


VECTORS = {"": [0.0, 0.0], "a": [2.0, 0.0], "b": [0.0, 2.0], "c": [1.0, 1.0]}


def judged(prompts: list[str], drawn: list[list[float]]) -> list[dict]:  # type: ignore[type-arg]
    """What `judge` says of boxes with `prompts` in which the vectors `drawn` stand."""
    boxes = ((0, 0, 2, 2), (2, 2, 4, 4))[: len(prompts)]
    clean = torch.zeros(1, 16, 2)
    for inside, vector in zip(judged_tokens(boxes, 4, 4), drawn, strict=True):
        clean[:, inside] = torch.tensor(vector)

    def read(rows):  # type: ignore[no-untyped-def]
        return torch.tensor([[VECTORS[text] for text in row] for row in rows])

    model, plan = Literal(boxes, 4, clean), layout_plan(1, 4, 4, boxes, placed=True, regional=True)
    return judge(model, plan, clean, [3], [prompts], read, boxes, lambda: True)[0]  # type: ignore[arg-type]


def test_a_box_that_shows_its_prompt_is_obeyed_and_one_that_shows_another_is_not() -> None:
    first, second = judged(["a", "b"], [VECTORS["a"], VECTORS["a"]])
    assert first == {"obeyed": 1.0, "rival": "b", "beats_rival": True}
    assert second["obeyed"] == -1 and not second["beats_rival"], "no prompt at all explains it better"


def test_half_a_prompt_is_worth_what_it_explains() -> None:
    (found,) = judged(["a"], [[1.5, 0.0]])
    # With the prompt the model is off by 0.5, without it by 1.5.
    assert found == {"obeyed": pytest.approx(1 - 0.25 / 2.25, abs=1e-3), "rival": None, "beats_rival": None}
    (found,) = judged(["a"], [[1.0, 7.0]])
    assert found["obeyed"] == 0, "the prompt is as far off as none"


def test_boxes_are_judged_without_a_global_prompt() -> None:
    asked: list[str] = []
    boxes = ((0, 0, 2, 2),)

    def read(rows):  # type: ignore[no-untyped-def]
        asked.extend(row[0] for row in rows)
        return torch.tensor([[VECTORS[text] for text in row] for row in rows])

    clean, plan = torch.zeros(1, 16, 2), layout_plan(1, 4, 4, boxes, placed=True, regional=True)
    judge(Literal(boxes, 4, clean), plan, clean, [3], [["a"]], read, boxes, lambda: True)  # type: ignore[arg-type]
    assert asked and not any(asked)


def test_what_two_prompts_explain_goes_to_the_better_one() -> None:
    first, second = judged(["a", "c"], [[1.2, 0.8], [1.2, 0.8]])
    assert not first["beats_rival"] and second["beats_rival"]
    assert 0 < first["obeyed"] < second["obeyed"]


# ---------------------------------------------------------------- the picture with its boxes


def test_frames_are_drawn_on_an_enlarged_copy() -> None:
    picture = np.random.default_rng(1).integers(0, 255, (48, 64, 3), np.uint8)
    before = picture.copy()
    drawn = framed(picture, [((0.25, 0.5, 0.75, 1.0), "a red circle")])
    assert (picture == before).all()
    assert drawn.shape == (48 * 8, 64 * 8, 3)
    changed = (drawn != picture.repeat(8, 0).repeat(8, 1)).any(-1)
    assert not changed[: 24 * 8].any() and not changed[:, : 16 * 8].any() and not changed[:, 48 * 8 :].any()
    assert not changed[24 * 8 + 40 : -10, 16 * 8 + 10 : 48 * 8 - 10].any(), "frame and label are thin"
    assert (drawn[24 * 8 + 30 : -3, 16 * 8 + 1] == colour_of(1)).all() and changed[24 * 8 : 24 * 8 + 16, 160].any()


def test_a_large_picture_is_not_enlarged_and_odd_prompts_are_drawn_too() -> None:
    picture = np.zeros((512, 528, 3), np.uint8)
    words = ["a\nb\tc", "W" * 20_000, "한국어 العربية", "\x00\x1b[2J", "a b"] * 10
    boxes = [((0.02 * k, 0.0, 0.02 * k + 0.02, 0.03 + 0.019 * k), word) for k, word in enumerate(words)]
    assert framed(picture, boxes).shape == picture.shape  # type: ignore[arg-type]


def test_neighbours_have_different_colours() -> None:
    colours = [colour_of(number) for number in range(1, 51)]
    assert len(set(colours)) == 50
    assert min(sum(abs(a - b) for a, b in zip(one, two, strict=True)) for one, two in pairwise(colours)) > 100
