"""Layout: a picture with a prompt for each box, tied to it by the plan, by the siamese branch, or by both.

In the plan a box's prompt and the picture tokens inside the box see each other. The branch is `models/siamese.py`. How
well each box was obeyed is measured in `obeyed.py`, and drawn over the picture in `framed.py`.
Shape suffixes: B jobs, K boxes, N picture tokens, L tokens of a prompt, X width of the prompt encoder, h and w tokens.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from models.plan import Segment, TokenPlan, grid, middle, words
from pipelines.adapters import Inside, blended, tokens_of
from pipelines.estimate import (
    Attachment,
    Estimate,
    Finish,
    Output,
    calls,
    check_memory,
    check_size,
    estimate,
    sampling_key,
)
from pipelines.job import LayoutJob
from pipelines.obeyed import evaluations, judge
from pipelines.refusal import Refusal
from pipelines.text import text_plan

if TYPE_CHECKING:
    from torch import Tensor

    from models.checkpoint import Checkpoint, Description
    from models.prompt import PromptEncoder
    from models.siamese import Layout
    from pipelines.engine import Work

TokenBox = tuple[int, int, int, int]  # y0, x0, y1, x1 in whole tokens, half-open

HALF = 0.5 + 1e-6  # of a token; half a token is no less for what a tenth is in binary
AT_ONCE = 16  # prompts in the text encoder


def token_box(box: tuple[float, float, float, float], height: int, width: int) -> TokenBox:
    """The tokens of a box, as (y0, x0, y1, x1): the rows and the columns that it covers by half or more.

    Args:
        box: x0, y0, x1, y1 in 0..1.
        height: tokens down the canvas.
        width: tokens across.

    Returns:
        A rectangle of at least one token; of a box that covers no half of any it is the one in its middle.
    """
    (x0, y0, x1, y1) = box
    (top, bottom), (left, right) = _span(y0 * height, y1 * height, height), _span(x0 * width, x1 * width, width)
    return top, left, bottom, right


def _span(low: float, high: float, most: int) -> tuple[int, int]:
    first, end = max(0, math.ceil(low - HALF)), min(most, math.floor(high + HALF))
    if first < end:
        return first, end
    centre = min(most - 1, int((low + high) / 2))
    return centre, centre + 1


@lru_cache(maxsize=64)
def layout_plan(
    prompt_tokens: int, height: int, width: int, boxes: tuple[TokenBox, ...], *, placed: bool, regional: bool
) -> TokenPlan:
    """The global prompt and all picture tokens see each other, and so do a box's prompt and the tokens in the box.

    Prompts do not see each other. Tokens in several boxes see the prompts of all of them. Picture tokens are of as
    many classes as sets of boxes cover some, however many boxes there are.

    Args:
        prompt_tokens: tokens of each prompt.
        height: tokens down.
        width: tokens across.
        boxes: in tokens, see `token_box`.
        placed: whether the words of a box's prompt stand at the token in its middle, and not at the origin; see
            `Description.prompts_at_boxes`.
        regional: whether boxes have prompts in the plan. Without, it is `text_plan`.
    """
    if not regional or not boxes:
        return text_plan(prompt_tokens, height, width)
    covered = np.zeros((height, width, len(boxes)), bool)
    for k, (y0, x0, y1, x1) in enumerate(boxes):
        covered[y0:y1, x0:x1, k] = True
    sets, set_of = np.unique(covered.reshape(height * width, -1), axis=0, return_inverse=True)
    members = [tuple(int(k) + 1 for k in np.flatnonzero(row)) for row in sets]
    names = [" ".join(("picture", *map(str, numbers))) for numbers in members]
    pictures = frozenset(names)
    table = {"prompt": pictures | {"prompt"}}
    prompts = [Segment("prompt", "prompt", words(prompt_tokens), sees_as="prompt")]
    for number, box in enumerate(boxes, 1):
        name = f"box {number}"
        y, x = middle(box) if placed else (0, 0)
        prompts.append(Segment(name, "prompt", words(prompt_tokens, y=y, x=x), sees_as=name))
        table[name] = frozenset(inside for inside, of in zip(names, members, strict=True) if number in of) | {name}
    for name, of in zip(names, members, strict=True):
        table[name] = pictures | {"prompt"} | {f"box {number}" for number in of}
    picture = Segment("picture", "picture", grid(1, height, width), sees_as=[names[i] for i in set_of.reshape(-1)])
    return TokenPlan((*prompts, picture), table)


def batch_key(job: LayoutJob) -> Hashable:
    """Same checkpoint, adapters, sampling, boxes and mechanism share a batch; prompts and seeds are free."""
    boxes = tuple((part.box, part.adapters) for part in job.boxes)
    return (*sampling_key(job), job.size, boxes, job.mechanism, job.siamese_until)


def check(job: LayoutJob, description: Description) -> Estimate:
    """What a layout job costs with this checkpoint, the report on its boxes included.

    Raises:
        Refusal: a box smaller than a token, a mechanism, size or guidance that the checkpoint does not have.
    """
    check_size(job.size, description)
    _check_boxes(job, description)
    used, notes = _mechanism(job, description)
    plan, regional = _plans(job, description, used)
    texts = [text for k, part in enumerate(job.boxes) for text in (part.prompt, job.negative_of(k))]
    found = estimate(
        job,
        description,
        [plan],
        [job.prompt, job.negative_prompt, *texts],
        mechanism=used,
        siamese_until=None if used == "plan" else job.siamese_until,
    )
    check_memory(job, description, [regional], guided=False)
    found.warnings.extend([*notes, *_box_notes(job, description)])
    pictures, steps = plan.tokens - plan.context_tokens, found.resolved["model_evaluations"]
    flops = found.flops
    if used != "plan":
        flops += _branch_flops(description.siamese or {}, pictures, len(job.boxes)) * steps * job.siamese_until
    judged = evaluations([part.prompt for part in job.boxes])
    config = description.transformer
    flops += judged * regional.flops(
        width=description.width,
        double=config["num_layers"],
        single=config["num_single_layers"],
        mlp_ratio=config["mlp_ratio"],
    )
    return replace(found, flops=flops, resolved={**found.resolved, "report_evaluations": judged})


def render(work: Work, jobs: Sequence[LayoutJob]) -> Finish:
    """Render layout jobs of one group, and tell how well each of their boxes was obeyed."""
    from pipelines.framed import framed
    from pipelines.sampler import denoise, draw_noise, to_pixels

    job, codec, prompts = jobs[0], work.checkpoint.codec, work.checkpoint.prompts
    description = work.checkpoint.description
    width, height = job.size
    h, w = codec.grid(height, width)
    used, _ = _mechanism(job, description)
    plan, regional = _plans(job, description, used)
    reader = _Reader(prompts)
    told = None
    if used != "plan":
        told = _Early(_layout(work.checkpoint, jobs, reader), job.siamese_until)
    alone = used == "siamese"

    def negative() -> Tensor:
        rows = [[one.negative_prompt, *(one.negative_of(k) for k in range(len(one.boxes)))] for one in jobs]
        return reader.context([row[:1] if alone else row for row in rows])

    rows = [[one.prompt, *(part.prompt for part in one.boxes)] for one in jobs]
    tokens = denoise(
        work,
        job,
        plan,
        draw_noise([one.seed for one in jobs], codec.channels, h, w),
        reader.context([row[:1] if alone else row for row in rows]),
        negative,
        told=told,
    )
    boxes = _token_boxes(job, h, w)
    steps = calls(job)
    scores = judge(
        work.checkpoint.transformer,
        regional,
        tokens,
        [one.seed for one in jobs],
        [row[1:] for row in rows],
        reader.context,
        boxes,
        lambda: work.progress(steps, steps),
    )

    def finish() -> list[Output]:
        frames = to_pixels(codec.decode(tokens, height, width))
        outputs = []
        for one, pixels, found in zip(jobs, frames, scores, strict=True):
            notes = prompts.too_long(one.prompt)
            for number, part in enumerate(one.boxes, 1):
                notes += [f"box {number}: {note}" for note in prompts.too_long(part.prompt)]
            record = [
                {"box": list(part.box), "tokens": _area(box), "prompt": part.prompt, **score}
                for part, box, score in zip(one.boxes, boxes, found, strict=True)
            ]
            picture = framed(pixels[0], [(part.box, part.prompt) for part in one.boxes])
            outputs.append(Output(pixels, notes, {"boxes": record}, attachments=[Attachment("-boxes.png", picture)]))
        return outputs

    return finish


# ---------------------------------------------------------------- boxes and mechanisms


def _check_boxes(job: LayoutJob, description: Description) -> None:
    for k, part in enumerate(job.boxes):
        x0, y0, x1, y1 = part.box
        wide, tall = (x1 - x0) * job.size[0], (y1 - y0) * job.size[1]
        if min(wide, tall) < description.scale - 1e-3:
            raise Refusal(
                f"boxes[{k}].box",
                f"expected a box of at least one token, {description.scale} x {description.scale} pixels, "
                f"got {wide:.3g} x {tall:.3g}; make it larger",
            )


def _box_notes(job: LayoutJob, description: Description) -> list[str]:
    """A sentence where the checkpoint was trained on fewer boxes, or on none."""
    most = int(description.house.get("boxes", 0))
    if not most:
        return [f"{description.name!r} was not trained on layouts: it may not keep to the boxes"]
    if len(job.boxes) > most:
        return [f"{description.name!r} was trained on up to {most} boxes, got {len(job.boxes)}: some may be lost"]
    return []


def _mechanism(job: LayoutJob, description: Description) -> tuple[str, list[str]]:
    """The mechanism that will be used, and a sentence where it is not all that was asked for."""
    if job.mechanism == "plan":
        return "plan", []
    if description.siamese is None and job.mechanism == "siamese":
        raise Refusal("mechanism", f"{description.name!r} has no siamese branch; take mechanism: plan")
    if description.siamese is None:
        return "plan", [f"{description.name!r} has no siamese branch: the plan alone ties prompts to boxes"]
    if job.siamese_until == 0 and job.mechanism == "siamese":
        raise Refusal(
            "siamese_until", "expected more than 0 with mechanism: siamese, got 0; nothing would know the boxes"
        )
    return job.mechanism, []


def _token_boxes(job: LayoutJob, h: int, w: int) -> tuple[TokenBox, ...]:
    return tuple(token_box(part.box, h, w) for part in job.boxes)


def _area(box: TokenBox) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])


def _plans(job: LayoutJob, description: Description, used: str) -> tuple[TokenPlan, TokenPlan]:
    """The plan in which the picture is made, and the one with a prompt for each box, in which it is judged."""
    w, h = (side // description.scale for side in job.size)
    boxes, length = _token_boxes(job, h, w), description.prompt_tokens
    regional = layout_plan(length, h, w, boxes, placed=description.prompts_at_boxes, regional=True)
    plan = text_plan(length, h, w) if used == "siamese" else regional
    numbered = zip(job.boxes, boxes, strict=True)
    inside = [(part.adapters, _in_box(number, box)) for number, (part, box) in enumerate(numbered, 1)]
    return blended(plan, job, inside), blended(regional, job, inside)


def _in_box(number: int, box: TokenBox) -> Inside:
    """Says which tokens of a plan are a box's: those of its prompt, and those of the picture that it covers."""
    y0, x0, y1, x1 = box

    def inside(plan: TokenPlan) -> NDArray[np.bool_]:
        y, x = plan.positions[:, 1], plan.positions[:, 2]
        covered = (y0 <= y) & (y < y1) & (x0 <= x) & (x < x1)
        covered[: plan.context_tokens] = False
        return covered | tokens_of(f"box {number}")(plan)

    return inside


def _branch_flops(config: Mapping[str, Any], pictures: int, boxes: int) -> float:
    """Multiply-adds times two of the siamese branch; its layout stream is left out, for it is a token a box."""
    across = config["num_heads"] * config["head_dim"]
    linear, attention = 8 * pictures * config["width"] * across, 4 * (pictures + boxes) ** 2 * across
    return float(len(config["blocks"]) * (linear + attention))


# ---------------------------------------------------------------- what the model is told


class _Reader:
    """Reads texts, each once."""

    def __init__(self, prompts: PromptEncoder) -> None:
        self.prompts = prompts
        self._known: dict[str, Tensor] = {}  # [L, X]
        self._means: dict[str, Tensor] = {}  # [X]

    def context(self, rows: Sequence[Sequence[str]]) -> Tensor:
        """[B, texts of a row * L, X]."""
        import torch

        self._read(text for row in rows for text in row)
        return torch.stack([torch.cat([self._known[text] for text in row]) for row in rows])

    def means(self, rows: Sequence[Sequence[str]]) -> Tensor:
        """[B, texts of a row, X] the mean over the words of each text."""
        import torch

        self._read(text for row in rows for text in row)
        return torch.stack([torch.stack([self._means[text] for text in row]) for row in rows])

    def _read(self, texts: Iterable[str]) -> None:
        import torch

        from models.siamese import mean_words

        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        for start in range(0, len(new), AT_ONCE):
            some = new[start : start + AT_ONCE]
            ids, mask = self.prompts.tokenize(some)
            with torch.no_grad():
                features = self.prompts.encode(ids, mask)
            self._known.update(zip(some, features, strict=True))
            self._means.update(zip(some, mean_words(features, mask.to(features.device)), strict=True))


@dataclass(frozen=True)
class _Early:
    """Tells the model of the boxes in the first part of the steps; see `sampler.Told`."""

    layout: Layout
    until: float

    def __call__(self, share: float, guided: bool) -> Mapping[str, Any]:
        if share >= self.until:
            return {}
        return {"siamese": self.layout.guided() if guided else self.layout}


def _layout(checkpoint: Checkpoint, jobs: Sequence[LayoutJob], reader: _Reader) -> Layout:
    """The boxes of all jobs for the checkpoint's branch."""
    import torch

    from models.siamese import Layout

    assert checkpoint.siamese is not None, "a mechanism without its branch is refused before"
    boxes = torch.tensor([[part.box for part in job.boxes] for job in jobs], device=checkpoint.device)
    features = reader.means([[part.prompt for part in job.boxes] for job in jobs])
    return Layout(
        checkpoint.siamese, boxes, features, torch.ones(boxes.shape[:2], dtype=torch.bool, device=boxes.device)
    )
