"""Layered pictures after ART (2502.18364): a composite, a background and up to 50 RGBA layers, each cut to its box.

Layers have tokens in their boxes alone, at the canvas's own rows and columns, and a number of their own on the l axis;
so they cost what they cover. Any of them, and the composite, may be given: a finished picture becomes layers, and one
layer is made anew among the others. What a stack is in pixels is `layers.py`'s, the files are `layerfiles.py`'s.
Shape suffixes: B jobs, N picture tokens, L tokens of a prompt, h and w tokens, H and W pixels, C numbers in a token.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from models.plan import Kind, Segment, TokenPlan, grid, middle, words
from pipelines.adapters import blended, tokens_of
from pipelines.estimate import Attachment, Estimate, Finish, Output, check_size, estimate, sampling_key
from pipelines.files.media import Pixels
from pipelines.job import LayeredJob
from pipelines.refusal import Refusal
from pipelines.stack.givenlayers import Parts, read_given
from pipelines.stack.layers import Layer, PixelBox, Stack, paste, psnr, slug, titles

if TYPE_CHECKING:
    from torch import Tensor

    from models.checkpoint import Description
    from models.codec import Codec
    from models.prompt import PromptEncoder
    from pipelines.engine import Work

TokenBox = tuple[int, int, int, int]  # y0, x0, y1, x1 in whole tokens, half-open

BESIDE = 2  # composite and background, which come before the layers
FAITHFUL = 28.0  # dB by which composite and stack are one picture
SLACK = 1e-6  # of a token: what a tenth is in binary makes no box larger


def cover(box: tuple[float, float, float, float], height: int, width: int) -> TokenBox:
    """The tokens of a layer, as (y0, x0, y1, x1): all that its box touches, at least one.

    Args:
        box: x0, y0, x1, y1 in 0..1.
        height: tokens down the canvas.
        width: tokens across.
    """
    (top, bottom), (left, right) = _touched(box[1], box[3], height), _touched(box[0], box[2], width)
    return top, left, bottom, right


def _touched(low: float, high: float, tokens: int) -> tuple[int, int]:
    first = min(tokens - 1, math.floor(low * tokens + SLACK))
    return first, min(tokens, max(first + 1, math.ceil(high * tokens - SLACK)))


@lru_cache(maxsize=64)
def layered_plan(
    prompt_tokens: int,
    height: int,
    width: int,
    boxes: tuple[TokenBox, ...],
    *,
    prompted: tuple[bool, ...],
    placed: bool,
    given: tuple[bool, ...] | None = None,
) -> TokenPlan:
    """Prompt, composite, background and layers see each other; a layer's own prompt and the layer do, and nobody else.

    Composite, background and layers stand at 0, 1, 2, ... on l.

    Args:
        prompt_tokens: tokens of each prompt.
        height: tokens down the canvas.
        width: tokens across.
        boxes: of the layers, bottom first; see `cover`.
        prompted: which layers have a prompt of their own; the others are anonymous.
        placed: whether the words of a layer's prompt stand at the token in its middle, and not at the origin; see
            `Description.prompts_at_boxes`.
        given: of composite, background and layers, which are given; None is none.
    """
    given = given or (False,) * (BESIDE + len(boxes))
    named = [k for k, own in enumerate(prompted, 1) if own]
    prompts = [Segment("prompt", "prompt", words(prompt_tokens))]
    table = {"all": frozenset({"all", *(f"layer {k}" for k in named)})}
    for k in named:
        y, x = middle(boxes[k - 1]) if placed else (0, 0)
        prompts.append(Segment(f"prompt {k}", "prompt", words(prompt_tokens, y=y, x=x), sees_as=f"prompt {k}"))
        table[f"prompt {k}"] = frozenset({f"prompt {k}", f"layer {k}"})
        table[f"layer {k}"] = table["all"] | {f"prompt {k}"}
    parts: list[Segment] = []
    for l, (y0, x0, y1, x1) in enumerate([(0, 0, height, width)] * BESIDE + list(boxes)):
        name = ("composite", "background")[l] if l < BESIDE else f"layer {l - 1}"
        kind: Kind = "layer" if l else "picture"
        sees_as = name if name in table else "all"
        parts.append(Segment(name, kind, grid(1, y1 - y0, x1 - x0, y=y0, x=x0, l=l), given[l], sees_as))
    return TokenPlan((*prompts, *parts), table if named else None)


def _pixel_boxes(job: LayeredJob, scale: int) -> list[PixelBox]:
    """The layers' boxes in pixels, y0, x0, y1, x1, grown to whole tokens.

    Raises:
        Refusal: a box narrower or lower than a token.
    """
    width, height = job.size
    for k, layer in enumerate(job.layers):
        x0, y0, x1, y1 = layer.box
        across, down = (x1 - x0) * width, (y1 - y0) * height
        if min(across, down) < scale * (1 - SLACK):
            raise Refusal(
                f"layers[{k}].box",
                f"expected at least a token, {scale} x {scale} pixels, got {across:.3g} x {down:.3g}; make it larger",
            )
    return [_scaled(cover(layer.box, height // scale, width // scale), scale) for layer in job.layers]


def _scaled(box: TokenBox, scale: int) -> PixelBox:
    y0, x0, y1, x1 = (edge * scale for edge in box)
    return y0, x0, y1, x1


def batch_key(job: LayeredJob) -> Hashable:
    """Same checkpoint, adapters, shape, boxes and sampling share a batch; jobs with files go with equal ones alone."""
    if job.source or job.background or any(layer.source for layer in job.layers):
        return job
    layers = tuple((layer.box, layer.prompt is None, layer.adapters) for layer in job.layers)
    return (*sampling_key(job), job.size, layers)


def check(job: LayeredJob, description: Description) -> Estimate:
    """What a layered job costs with this checkpoint. Its files are read.

    Raises:
        Refusal: a checkpoint without alpha, a size, a box or a guidance that it does not have, or files that are not
            right.
    """
    check_size(job.size, description)
    if description.vae.get("in_channels") != 4:
        raise Refusal(
            "model", f"expected a checkpoint whose autoencoder knows alpha, got {description.name!r}; take papercut"
        )
    boxes = _pixel_boxes(job, description.scale)
    given = read_given(job, boxes)
    plan = _plan(job, given, description.prompt_tokens, description.scale, description.prompts_at_boxes)
    generated = int((~plan.given[plan.context_tokens :]).sum())
    return estimate(
        job,
        description,
        [plan],
        [*_texts(job), job.negative_prompt],
        canvas_tokens=math.prod(job.size) // description.scale**2,
        layer_tokens=[(y1 - y0) * (x1 - x0) // description.scale**2 for y0, x0, y1, x1 in boxes],
        given_tokens=plan.tokens - plan.context_tokens - generated,
        generated_tokens=generated,
    )


def render(work: Work, jobs: Sequence[LayeredJob]) -> Finish:
    """Render layered jobs of one group."""
    import torch

    from pipelines.sampler import denoise, draw_noise

    job, codec, prompts = jobs[0], work.checkpoint.codec, work.checkpoint.prompts
    width, height = job.size
    h, w = codec.grid(height, width)
    own = _pixel_boxes(job, codec.scale)
    given, boxes = read_given(job, own), [(0, 0, height, width)] * BESIDE + own
    plan = _plan(job, given, prompts.length, codec.scale, work.checkpoint.description.prompts_at_boxes)

    # Noise is drawn for whole canvases and cut: a layer's own stays what it is whatever the other boxes are.
    y, x, l = plan.positions[plan.context_tokens :, 1:].T
    noise = draw_noise([one.seed for one in jobs], codec.channels, h, w, len(boxes))
    tokens = denoise(
        work,
        job,
        plan,
        noise[:, torch.from_numpy((l * h + y) * w + x)],
        _context(prompts, [_texts(one) for one in jobs]),
        lambda: _context(prompts, [[one.negative_prompt] * len(_texts(one)) for one in jobs]),
        clean=_encode(codec, boxes, given, work.checkpoint.device).expand(len(jobs), -1, -1),
    )

    def finish() -> list[Output]:
        made = _decode(codec, boxes, given, tokens)
        outputs = []
        for b, one in enumerate(jobs):
            drawn = {n: paste(pixels[b], boxes[n], width, height) for n, pixels in made.items()}
            parts = [drawn[n] if part is None else part for n, part in enumerate(given)]
            outputs.append(_output(one, parts, boxes, _flags(given), prompts))
        return outputs

    return finish


def _flags(given: Parts) -> tuple[bool, ...]:
    return tuple(part is not None for part in given)


def _texts(job: LayeredJob) -> list[str]:
    """The job's prompt and those of its layers, in the order of the plan."""
    return [job.prompt, *(layer.prompt for layer in job.layers if layer.prompt is not None)]


def _plan(job: LayeredJob, given: Parts, prompt_tokens: int, scale: int, placed: bool) -> TokenPlan:
    width, height = (side // scale for side in job.size)
    plan = layered_plan(
        prompt_tokens,
        height,
        width,
        tuple(cover(layer.box, height, width) for layer in job.layers),
        prompted=tuple(layer.prompt is not None for layer in job.layers),
        placed=placed,
        given=_flags(given),
    )
    numbered = enumerate(job.layers, 1)
    own = [(layer.adapters, tokens_of(f"prompt {number}", f"layer {number}")) for number, layer in numbered]
    return blended(plan, job, own)


def _context(prompts: PromptEncoder, texts: Sequence[Sequence[str]]) -> Tensor:
    """[B, prompts * L, X] of equally many texts a job. Equal texts are encoded once."""
    import torch

    from models.codec import AT_ONCE

    apart = list(dict.fromkeys(text for row in texts for text in row))
    found: dict[str, Tensor] = {}
    for start in range(0, len(apart), AT_ONCE):
        some = apart[start : start + AT_ONCE]
        found |= zip(some, prompts(some), strict=True)
    return torch.stack([torch.cat([found[text] for text in row]) for row in texts])


def _alike(boxes: Sequence[PixelBox], wanted: Iterable[int]) -> list[list[int]]:
    """Numbers of the wanted parts, those of one shape together."""
    shapes: dict[tuple[int, int], list[int]] = {}
    for n in wanted:
        y0, x0, y1, x1 = boxes[n]
        shapes.setdefault((y1 - y0, x1 - x0), []).append(n)
    return list(shapes.values())


def _spans(codec: Codec, boxes: Sequence[PixelBox]) -> list[slice]:
    """Where each part's tokens stand in the picture stream."""
    counts = [math.prod(codec.grid(y1 - y0, x1 - x0)) for y0, x0, y1, x1 in boxes]
    ends = np.cumsum(counts).tolist()
    return [slice(end - count, end) for end, count in zip(ends, counts, strict=True)]


def _encode(codec: Codec, boxes: Sequence[PixelBox], given: Parts, device: object) -> Tensor:
    """[1, N, C] clean tokens; zeros where nothing is given."""
    import torch

    from models.codec import AT_ONCE, premultiply

    spans = _spans(codec, boxes)
    clean = torch.zeros(1, spans[-1].stop, codec.channels)
    cut = {
        n: part[y0:y1, x0:x1]
        for n, (part, (y0, x0, y1, x1)) in enumerate(zip(given, boxes, strict=True))
        if part is not None
    }
    for alike in _alike(boxes, cut):
        for start in range(0, len(alike), AT_ONCE):
            some = alike[start : start + AT_ONCE]
            pixels = torch.from_numpy(np.stack([cut[n] for n in some])).to(device)  # type: ignore[call-overload]
            straight = pixels.permute(0, 3, 1, 2).float() / 255
            for n, tokens in zip(some, codec.encode(premultiply(straight)).float().cpu(), strict=True):
                clean[0, spans[n]] = tokens
    return clean


def _decode(codec: Codec, boxes: Sequence[PixelBox], given: Parts, tokens: Tensor) -> dict[int, Pixels]:
    """[B, y1 - y0, x1 - x0, 4] by the number of each part that was made, straight alpha."""
    import torch

    from models.codec import clean, unpremultiply

    spans = _spans(codec, boxes)
    found: dict[int, Pixels] = {}
    for alike in _alike(boxes, [n for n, part in enumerate(given) if part is None]):
        y0, x0, y1, x1 = boxes[alike[0]]
        rgba = codec.decode(torch.cat([tokens[:, spans[n]] for n in alike], 1), y1 - y0, x1 - x0)
        for n, part in zip(alike, rgba.unbind(1), strict=True):
            if n < BESIDE:  # opaque but for rounding, so the premultiplied colours are the colours
                part = torch.cat([part[:, :3], torch.ones_like(part[:, 3:])], 1)
            found[n] = (unpremultiply(clean(part)) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    return found


def _output(
    job: LayeredJob, parts: Sequence[Pixels], boxes: Sequence[PixelBox], given: Sequence[bool], prompts: PromptEncoder
) -> Output:
    """What one job becomes; `parts` are composite, background and layers, [H, W, 4] each."""
    from pipelines.files.output import inside_of
    from pipelines.stack.layerfiles import openraster, psd

    composite, *rest = parts
    prompted = (None, *(layer.prompt for layer in job.layers))
    names = ("background", *titles(prompted[1:]))
    stack = Stack(tuple(Layer(*each) for each in zip(names, boxes[1:], rest, strict=True)))
    files = [f"{number:02d}-{slug(layer.title)}.png" for number, layer in enumerate(stack.layers)]
    recipe, fidelity = inside_of(job), round(psnr(stack.flat, composite[..., :3]), 2)
    warnings = prompts.too_long(job.prompt)
    for name, prompt in zip(names, prompted, strict=True):
        warnings += [f"{name}: {note}" for note in prompts.too_long(prompt or "")]
    if fidelity < FAITHFUL:
        warnings.append(
            f"the layers do not add up to the composite: expected {FAITHFUL:g} dB or more, got {fidelity:.1f} dB"
        )
    return Output(
        stack.flat[None],
        warnings,
        {
            "layers": [
                {
                    "name": layer.title,
                    "prompt": prompt,
                    "box": [layer.box[1], layer.box[0], layer.box[3], layer.box[2]],
                    "given": is_given,
                    "file": file,
                }
                for layer, prompt, is_given, file in zip(stack.layers, prompted, given[1:], files, strict=True)
            ],
            "composite": {"file": "composite.png", "given": given[0], "psnr": fidelity},
            "recomposed_within": stack.recomposed_within,
        },
        attachments=(
            *(Attachment(f"/{file}", layer.pixels) for file, layer in zip(files, stack.layers, strict=True)),
            Attachment("/composite.png", composite[..., :3]),
            Attachment(".psd", psd(stack, recipe)),
            Attachment(".ora", openraster(stack, recipe)),
        ),
    )
