"""What a job would be before it is rendered: its token plan as a picture and in counts, and what it costs."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from functools import lru_cache
from html import escape
from typing import Any

from models.plan import TokenPlan
from pipelines.progress import duration
from ui.reasons import marked
from ui.words import language, numerals, of, say, speaking

MOST = 8  # plans that are drawn; a job of more passes shows its first and last ones
SIDE = 320  # pixels of a drawing's square

# What the colours of `TokenPlan.draw` mean.
KINDS = {
    "prompt": "#f08a24", "speech": "#ee82ac", "picture": "#305ccc", "frame": "#3a9d54", "layer": "#8048b0",
    "reference": "#249d9f",
}  # fmt: skip
UNITS = ((1e15, "PFLOP"), (1e12, "TFLOP"), (1e9, "GFLOP"), (1e6, "MFLOP"))

# Which pass is shown: that of the radio button before it that is pressed.
PASSES = "\n".join(
    f".passes > input:nth-of-type({n}):checked ~ .sheet-of-plan:nth-of-type({n + 1}) {{ display: block; }}\n"
    f".passes > input:nth-of-type({n}):checked ~ .labels label:nth-of-type({n}) "
    "{ background: var(--color-accent); color: #fffaf2; }\n"
    f".passes > input:nth-of-type({n}):focus-visible ~ .labels label:nth-of-type({n}) "
    "{ outline: 3px solid var(--input-border-color-focus); }"
    for n in range(1, MOST + 1)
)
CSS = (
    """
.plan h2 { margin: 0 0 14px; font: 600 19px/1.2 var(--serif); }
.plan .facts { justify-content: flex-start; margin-top: 16px; }
.plan img { display: block; width: 100%; max-width: 454px; height: auto; margin: 0 !important; border-radius: 6px; }
.legend {
  display: flex; flex-wrap: wrap; gap: 6px 16px; list-style: none; margin: 12px 0 0; padding: 0; font-size: 14px;
}
.legend li { display: flex; align-items: center; gap: 7px; margin: 0; }
.legend i { width: 12px; height: 12px; border-radius: 3px; }
.legend .given {
  background-image: repeating-linear-gradient(135deg, #8a8073 0 3px, #fffdf8 3px 6px); box-shadow: 0 0 0 1px #8a807366;
}
.plan details { margin-top: 10px; font-size: 14px; } .plan summary { cursor: pointer; }
.plan pre {
  margin: 8px 0 0; padding: 10px 12px; border-radius: 8px; background: var(--mat); color: inherit; font-size: 12px;
  line-height: 1.5; overflow-x: auto;
}
.passes > input { position: absolute; opacity: 0; width: 1px; height: 1px; }
.passes .labels { display: flex; flex-wrap: wrap; align-items: center; gap: 6px; margin-bottom: 12px; font-size: 14px; }
.passes .labels span { margin-right: 4px; color: var(--body-text-color-subdued); }
.passes .labels label { padding: 3px 11px; border-radius: 8px; background: var(--faint); cursor: pointer; }
.passes:not(.one) .sheet-of-plan { display: none; }
.passes:not(.one):not(:has(> input:checked)) .sheet-of-plan:last-of-type { display: block; }
.share { height: 8px; margin-top: 12px; border-radius: 6px; background: var(--faint); overflow: hidden; }
.share i { display: block; height: 100%; border-radius: 6px; background: #3a9d54; }
"""
    + PASSES
)


def plan_panel(kind: str, estimate: Any) -> str:
    """The plans of a job, drawn and counted; `kind` is the tab that they stand in."""
    plans: Sequence[TokenPlan] = tuple(getattr(estimate, "plans", ()))
    return (
        f'<section class="plan"><h2>{say("plan.title")}</h2>'
        f"{_drawings(kind, plans)}{_counts(estimate, len(plans))}</section>"
    )


def no_plan(why: str) -> str:
    """The panel while there is no plan, and why."""
    return f'<section class="plan"><h2>{say("plan.title")}</h2><p class="say">{escape(why)}</p></section>'


def cost_line(estimate: Any, length: str, seconds: float | None) -> str:
    """What a render takes: its length, model evaluations, FLOPs, and seconds where this machine was measured."""
    resolved = dict(getattr(estimate, "resolved", {}) or {})
    pairs = {
        "makes": length,
        "evaluations": numerals(f"{resolved['model_evaluations']:,}") if "model_evaluations" in resolved else None,
        "work": flops(estimate.flops),
        "takes": duration_of(seconds) if seconds is not None else say("plan.later"),
    }
    cells = "".join(
        f"<div><dt>{of('cost', name)}</dt><dd>{escape(value)}</dd></div>" for name, value in pairs.items() if value
    )
    notes = "".join(f'<p class="note">{marked(str(note))}</p>' for note in estimate.warnings)
    return f'<div class="cost"><dl class="facts">{cells}</dl>{notes}</div>'


def flops(number: float) -> str:
    """`45.2 GFLOP`."""
    scale, unit = next((each for each in UNITS if number >= each[0]), UNITS[-1])
    return numerals(f"{number / scale:.3g} {unit}")


def duration_of(seconds: float) -> str:
    """`0.4 s`, `8 s`, `3 min 20 s`."""
    return numerals(f"{seconds:.1f} s") if seconds < 3 else duration(seconds)


@lru_cache(maxsize=64)  # plans are kept by their pipelines and compare by identity, so typing words draws nothing anew
def drawing(plan: TokenPlan, language: str) -> str:
    """The address of a plan's picture, the picture itself in it, with names of its parts in a language."""
    buffer = io.BytesIO()
    with speaking(language):
        picture = plan.draw(SIDE, part_named)
    picture.quantize(64).save(buffer, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def part_named(name: str) -> str:
    """The name of a plan's part, `scene 3`, in the language that is spoken."""
    word, _, number = name.partition(" ")
    return f"{of('drawn_part', word)} {number}".rstrip()


def _drawings(kind: str, plans: Sequence[TokenPlan]) -> str:
    """Each different plan once, behind a row of buttons where there are several: radio buttons, without a script."""
    where: dict[int, list[int]] = {}
    for index, plan in enumerate(plans):
        where.setdefault(id(plan), []).append(index)
    passes = list(where.values())
    if len(passes) > MOST:
        passes = [*passes[: MOST - 1], passes[-1]]
    chosen = max(range(len(passes)), key=lambda i: plans[passes[i][0]].tokens, default=0)
    inputs, labels, sheets = [], [], []
    for number, places in enumerate(passes):
        plan, name = plans[places[0]], f"pass-{kind}-{number}"
        checked = " checked" if number == chosen else ""
        inputs.append(f'<input type="radio" name="pass-{kind}" id="{name}"{checked}>')
        labels.append(f'<label for="{name}">{spans(places)}</label>')
        words = escape(repr(plan))
        sheets.append(
            f'<div class="sheet-of-plan"><img src="{drawing(plan, language())}" alt="{say("plan.who")}">'
            f"{_legend(plan)}<details><summary>{say('plan.in_words')}</summary><pre lang='en'>{words}</pre>"
            "</details></div>"
        )
    if not sheets:
        return ""
    if len(sheets) == 1:
        return f'<div class="passes one">{sheets[0]}</div>'
    row = (
        f'<div class="labels" role="group" aria-label="{say("plan.pass_of")}"><span>{say("plan.pass")}</span>'
        f"{''.join(labels)}</div>"
    )
    return f'<div class="passes">{"".join(inputs)}{row}{"".join(sheets)}</div>'


def spans(places: Sequence[int]) -> str:
    """Places counted from 1, neighbours together: `1, 3-5`."""
    found: list[list[int]] = []
    for place in places:
        if found and found[-1][1] == place - 1:
            found[-1][1] = place
        else:
            found.append([place, place])
    return ", ".join(f"{low + 1}" if low == high else f"{low + 1}-{high + 1}" for low, high in found)


def _legend(plan: TokenPlan) -> str:
    kinds = dict.fromkeys(segment.kind for segment in plan.segments if len(segment))
    chips = "".join(f'<li><i style="background: {KINDS[kind]}"></i>{of("seen", kind)}</li>' for kind in kinds)
    given = f'<li><i class="given"></i>{say("plan.given")}</li>' if plan.given.any() else ""
    return f'<ul class="legend">{chips}{given}</ul>'


def _counts(estimate: Any, passes: int) -> str:
    pairs, dense = estimate.pairs, getattr(estimate, "dense_pairs", None) or estimate.pairs
    share = pairs / dense if dense else 1.0
    tokens, percent = numerals(f"{estimate.tokens:,}"), say("plan.percent", number=f"{100 * share:.0f}")
    if passes > 1:
        tokens = say("plan.in_passes", tokens=tokens, count=passes)
    told = {
        "tokens": tokens,
        "pairs": numerals(f"{pairs:,}"),
        "dense": numerals(f"{dense:,}"),
        "share": percent,
    }
    cells = "".join(f"<div><dt>{of('counts', name)}</dt><dd>{value}</dd></div>" for name, value in told.items())
    return (
        f'<dl class="facts">{cells}</dl><div class="share" role="img" '
        f'aria-label="{escape(say("plan.share", share=percent), quote=True)}"><i style="width: '
        f'{100 * share:.1f}%"></i></div>'
    )
