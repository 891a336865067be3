"""The preflight's report as HTML: what was found, what is wrong, and what the run will cost. All of it is escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from pipelines.progress import duration
from training.runs import Kept
from ui.reasons import in_language, marked
from ui.words import counted, knows, numerals, of, say

GIB = 2**30
SHOWN = 50  # findings of one level
CSS = """
.report { display: flex; flex-direction: column; gap: 14px; min-width: 0; }
.report h3, .run h3, .train-report h3 { margin: 0; font: 600 17px/1.25 var(--serif); color: var(--body-text-color); }
.report p { margin: 0; } .report .facts { justify-content: flex-start; margin: 0; }
.findings { width: 100%; border-collapse: collapse; font-size: 14.5px; table-layout: fixed; }
.findings caption { text-align: left; font-weight: 600; padding: 0 0 4px; }
.findings th, .findings td { padding: 6px 10px 6px 0; text-align: left; vertical-align: top; border: 0;
  border-top: 1px dashed var(--border-color-primary); overflow-wrap: anywhere; font-weight: 400; }
.findings th { width: 34%; color: var(--body-text-color-subdued); }
.findings.errors caption { color: var(--bad-ink); } .findings.warnings caption { color: var(--note-ink); }
@media (max-width: 760px) { .findings th { width: 40%; } }
"""


def report(check: Kept, by_path: bool) -> str:
    """What a preflight found, or that it is under way."""
    if check.going:
        return f'<div class="report"><p class="say" role="status">{say("train.checking")}</p></div>'
    found = check.report
    if found is None:
        why = marked(seen(check, check.said, by_path)) if check.said else escape(say("train.check_lost"))
        return f'<div class="report"><p class="note bad" role="alert">{why}</p></div>'
    return f'<div class="report">{told(found, check, by_path)}</div>'


def seen(run: Kept, text: str, by_path: bool) -> str:
    """What a run says, as a page may show it: where paths may not be seen, files are named from their folder on."""
    if by_path:
        return text
    config = run.config
    sources = [each.path for each in config.data.sources] if config else []
    for folder in (run.folder.resolve(), run.folder, *sources):
        text = text.replace(f"{folder.parent}/", "")
    return text


def told(found: Mapping[str, Any], run: Kept, by_path: bool) -> str:
    """A report of a run, as `Report.to_json` has it, without what is around it."""
    errors, warnings = (
        [{name: seen(run, str(value), by_path) for name, value in each.items()} for each in _list(found.get(level))]
        for level in ("errors", "warnings")
    )
    if errors:
        verdict = f'<p class="note bad" role="alert">{escape(counted("train.errors", len(errors)))}</p>'
    else:
        verdict = f'<p class="note" role="status">{escape(counted("train.fine", len(warnings)))}</p>'
    facts = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in _facts(found))
    return (
        f'{verdict}<dl class="facts">{facts}</dl>{_table("errors", errors, say("train.errors_title"))}'
        f"{_table('warnings', warnings, say('train.warnings_title'))}"
    )


def first_error(found: Mapping[str, Any] | None) -> tuple[int, str]:
    """How many errors a report has, and the first one in words."""
    errors = _list((found or {}).get("errors"))
    return len(errors), f"{_place(errors[0])}: {in_language(str(errors[0].get('reason')))}" if errors else ""


def _facts(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    usable, examples = _whole(found.get("usable")), _whole(found.get("examples"))
    facts = [
        (say("train.fact_examples"), say("train.usable", usable=usable, count=examples)),
        (say("train.fact_captioned"), str(_whole(found.get("captioned")))),
    ]
    buckets = _list(found.get("buckets"))
    if buckets:
        sizes = [" x ".join(map(str, each.get("size") or [])) + _frames(each) for each in buckets]
        pairs = [f"{size}: {_whole(each.get('examples'))}" for size, each in zip(sizes, buckets, strict=True)]
        more = [] if len(pairs) <= 8 else ["…"]
        facts.append((say("train.fact_buckets"), " · ".join([*pairs[:8], *more])))
    crops = _list(found.get("cropped"))
    if crops:
        most = max(float(each.get("share") or 0) for each in crops)
        share = numerals(f"{100 * most:.1f} %")
        facts.append((say("train.fact_cropped"), say("train.cropped", count=len(crops), share=share)))
    costs = found.get("costs")
    return facts + _costs(costs) if isinstance(costs, Mapping) else facts


def _costs(costs: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Steps, time, memory and disk; the time is a lower bound, and of processors alone."""
    epochs = numerals(f"{float(costs['epochs']):.1f}")
    facts = [
        (say("train.fact_epoch"), say("train.epoch", steps=costs["steps_an_epoch"], epochs=epochs)),
        (say("train.fact_samples"), numerals(f"{int(costs['samples']):,}")),
    ]
    if costs.get("seconds") is not None:
        facts.append((say("train.fact_time"), say("train.at_least", what=duration(float(costs["seconds"])))))
    adapter, whole = (_gib(costs[name]) for name in ("memory_adapter", "memory_all"))
    facts.append((say("train.fact_memory"), say("train.memory", adapter=adapter, whole=whole)))
    if costs.get("machine"):
        facts.append((say("train.fact_machine"), _gib(costs["machine"])))
    facts.append((say("train.fact_cache"), say("train.cache", cache=_gib(costs["latents"]), free=_gib(costs["free"]))))
    return facts


def _table(level: str, findings: Sequence[Mapping[str, Any]], title: str) -> str:
    """Findings, each with its name in words, where it is and why."""
    if not findings:
        return ""
    rows = "".join(
        f'<tr><th scope="row">{escape(_named(str(each.get("kind"))))}<br><b>{escape(_place(each))}</b></th>'
        f"<td>{marked(str(each.get('reason')))}</td></tr>"
        for each in findings[:SHOWN]
    )
    more = len(findings) - SHOWN
    rest = f"<p>{escape(say('train.findings_more', count=more))}</p>" if more > 0 else ""
    return f'<table class="findings {level}"><caption>{escape(title)}</caption><tbody>{rows}</tbody></table>{rest}'


def _named(kind: str) -> str:
    return of("finding", kind) if knows("finding", kind) else kind


def _place(finding: Mapping[str, Any]) -> str:
    """Where it is: a line of a file, the cache, a step; one word is a name, even where the catalogue knows it."""
    where = str(finding.get("where"))
    return in_language(where) if " " in where else where


def _frames(bucket: Mapping[str, Any]) -> str:
    return f" x {bucket['frames']}" if _whole(bucket.get("frames")) > 1 else ""


def _list(value: Any) -> list[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []


def _whole(value: Any) -> int:
    return value if isinstance(value, int) else 0


def _gib(value: Any) -> str:
    return numerals(f"{float(value) / GIB:.2f} GiB")
