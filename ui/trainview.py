"""A run as HTML: its state and what can be done with it, its losses, its newest pictures, and the other runs.

Only what the run wrote is read. Every word that may be somebody else's, such as a prompt or a name, is escaped.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from pipelines.progress import duration
from training.follow import Followed, followed, results, said, sheets
from training.runs import Kept
from training.tune import TuneConfig
from ui.losscurve import curve
from ui.reasons import marked
from ui.shown import live
from ui.status import bar
from ui.trainfiles import result_address, run_address, sheet_address
from ui.trainreport import seen, told
from ui.words import STANDARD, counted, moment, numerals, of, say

LINES = 12  # of what a run says
OTHERS = 12  # runs that are listed

CSS = """
.run { display: flex; flex-direction: column; gap: 16px; min-width: 0; }
.run header { display: flex; flex-wrap: wrap; align-items: baseline; gap: 6px 14px; }
.run h2 { margin: 0; font: 600 21px/1.25 var(--serif); color: var(--body-text-color); overflow-wrap: anywhere; }
.run .chip { padding: 1px 11px; border-radius: 999px; background: var(--faint); font-size: 13.5px;
  color: var(--body-text-color-subdued); }
.run .chip.on { background: #2f8449; color: #fffdf8; }
.run p { margin: 0; } .run .facts { justify-content: flex-start; margin: 0; } .run .bar { width: 100%; }
.run .acts { display: flex; flex-wrap: wrap; gap: 10px; }
.run .acts button, .run .acts a {
  margin: 0; padding: 8px 16px; border: 0; border-radius: 10px; cursor: pointer; font: inherit; font-weight: 600;
  text-decoration: none; background: var(--button-secondary-background-fill); color: var(--button-secondary-text-color);
}
.run .acts :is(button, a):hover { background: var(--button-secondary-background-fill-hover); }
.run .acts .main { background: var(--button-primary-background-fill); color: var(--button-primary-text-color); }
.run .acts .main:hover { background: var(--button-primary-background-fill-hover); }
.run .sheet-of { margin: 0; } .run .sheet-of .mount { margin: 0; width: fit-content; }
.run .sheet-of img { image-rendering: auto; }
.run .sheet-of ol { margin: 8px 0 0; padding-left: 20px; color: var(--body-text-color-subdued); font-size: 14.5px; }
.run .sheet-of li { overflow-wrap: anywhere; }
.run summary { cursor: pointer; font-weight: 600; color: var(--body-text-color-subdued); }
.run pre { max-height: 220px; margin: 8px 0 0; padding: 12px; overflow: auto; border-radius: 10px;
  background: var(--mat); font: 12.5px/1.5 var(--font-mono); white-space: pre-wrap; overflow-wrap: anywhere; }
.yaml textarea { font: 13.5px/1.5 var(--font-mono); }
.train-said:not(:has(p)) { display: none; } .train-said p { margin: 0; }
"""


def drawn(run: Kept | None, others: Sequence[Kept], rendering: bool, by_path: bool) -> str:
    """The run that a page follows, and the list of the others.

    Args:
        run: the one that is followed; None while there is none.
        others: all others, the newest first.
        rendering: whether a render is at work on this machine.
        by_path: whether paths of this machine may be seen.
    """
    if run is None:
        return f'<div class="run"><p class="say">{say("train.none")}</p></div>{_list(others)}'
    config, log = run.config, followed(run.folder)
    steps = config.loop.steps if config else 0
    chip = "chip on" if run.state in ("running", "done") else "chip"
    parts = [
        f'<header><h2>{escape(run.id)}</h2><span class="{chip}" role="status">{of("run_state", run.state)}</span>'
        "</header>",
        _how(run, log, steps, by_path),
        f'<p class="note" role="status">{say("train.competes")}</p>' if run.going and rendering else "",
        f'<div class="acts">{"".join(_acts(run, config))}</div>',
        _facts(run, config, log),
        _losses(log, steps),
        _sheet(run, config),
        _preflight(run, by_path),
        _words(run, by_path),
    ]
    return f'<article class="run" data-key="run-{run.id}" data-id="{run.id}">{"".join(parts)}</article>{_list(others)}'


def _how(run: Kept, log: Followed, steps: int, by_path: bool) -> str:
    """How far it is, or how it ended."""
    step = log.step
    share = live(f"train-bar:{run.id}", bar(min(1.0, step / steps) if steps else 0.0), "div")
    if run.state == "failed":
        why = marked(seen(run, run.said, by_path)) if run.said else escape(say("train.failed"))
        return f'<p class="note bad" role="alert">{why}</p>{share if step else ""}'
    if run.state == "stopping":
        words = escape(say("train.stopping"))
    elif run.state == "running" and not step:
        words = escape(say("train.preparing"))
    elif run.state == "running":
        words = escape(_left(log, step, steps))
    else:
        words = escape(of("run_ended", run.state, step=step, steps=steps))
    return live(f"train-how:{run.id}", words, "p", ' class="say"') + share


def _left(log: Followed, step: int, steps: int) -> str:
    minutes = log.last.get("minutes_left")
    if not isinstance(minutes, int | float) or not log.last:
        return say("train.at_step", step=step, steps=steps)
    return say("train.at_step_left", step=step, steps=steps, left=duration(60 * minutes))


def _acts(run: Kept, config: TuneConfig | None) -> list[str]:
    found = results(run.folder)
    full = config is not None and config.train.kind == "full"
    made = full and (run.folder / "checkpoint").is_dir()
    acts = []
    if run.state == "running":
        acts += [_button("pause", say("train.pause"), run), _button("stop", say("train.stop"), run)]
    elif run.state == "stopping":
        acts.append(_button("now", say("train.now"), run))
    elif run.state != "done":
        words = say("train.again") if run.state == "failed" else say("train.resume")
        acts.append(_button("resume", words, run, "main"))
    if found or made:
        acts.append(_button("try", say("train.try"), run, "main" if run.state == "done" else ""))
    for name in found:
        words = say("train.download") if name == "adapter" else say("train.download_best")
        acts.append(f'<a href="{result_address(run.id, name)}" download>{words}</a>')
    if not run.going:
        acts.append(_button("remove", say("train.remove"), run, sure=say("train.remove_sure")))
    return acts


def _button(act: str, words: str, run: Kept, kind: str = "", sure: str = "") -> str:
    """A button; one with `sure` asks before it acts."""
    look = f' class="{kind}"' if kind else ""
    look += f' data-ask="{escape(sure, quote=True)}"' if sure else ""
    label = escape(say("train.act_label", act=words, id=run.id), quote=True)
    return f'<button type="button" data-act="{act}" data-run="{run.id}" aria-label="{label}"{look}>{words}</button>'


def _facts(run: Kept, config: TuneConfig | None, log: Followed) -> str:
    """What is trained, and the newest numbers."""
    pairs: list[tuple[str, str]] = []
    if config is not None:
        pairs.append((say("train.fact_kind"), of("trained", config.train.kind)))
    if log.losses:
        pairs.append((say("train.loss"), numerals(f"{log.losses[-1][1]:.4g}")))
    if log.held_out:
        pairs.append((say("train.held_out"), numerals(f"{log.held_out[-1][1]:.4g}")))
    for name, label in (("lr", say("train.fact_rate")), ("samples_per_second", say("train.fact_speed"))):
        value = log.last.get(name)
        if isinstance(value, int | float):
            pairs.append((label, numerals(f"{value:.3g}")))
    seconds = log.last.get("seconds")
    if isinstance(seconds, int | float) and 0 <= seconds < 1e9:
        pairs.append((say("train.fact_took"), duration(seconds)))
    inner = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in pairs)
    return live(f"train-facts:{run.id}", inner, "dl", ' class="facts"') if inner else ""


def _losses(log: Followed, steps: int) -> str:
    return curve(log.losses, log.held_out, steps) if log.losses or log.held_out else ""


def _sheet(run: Kept, config: TuneConfig | None) -> str:
    """The newest pictures: a row a prompt, a column a seed."""
    found = sheets(run.folder)
    if not found:
        return ""
    prompts = config.samples.prompts if config else ()
    alt = escape(say("train.sheet_alt", step=found[-1], prompts="; ".join(prompts)), quote=True)
    rows = "".join(f"<li>{escape(prompt)}</li>" for prompt in prompts)
    earlier = "".join(
        f'<a href="{sheet_address(run.id, step)}" target="_blank" rel="noopener">{numerals(f"{step:,}")}</a> '
        for step in found[-9:-1]
    )
    before = f'<p class="say">{say("train.sheets_before")} {earlier}</p>' if earlier else ""
    return (
        f'<section class="sheet-of" data-key="sheet-{run.id}"><h3>{escape(say("train.sheet", step=found[-1]))}</h3>'
        f'<div class="mount"><img src="{sheet_address(run.id, found[-1])}" alt="{alt}"></div>'
        f'<ol aria-label="{say("train.rows")}">{rows}</ol>{before}</section>'
    )


def _preflight(run: Kept, by_path: bool) -> str:
    """The report of the run's own preflight, open where it has errors."""
    found = run.report
    if found is None:
        return ""
    wrong = " open" if found.get("errors") else ""
    return (
        f'<details data-key="preflight-{run.id}"{wrong}><summary>{say("train.report")}</summary>'
        f'<div class="report">{told(found, run, by_path)}</div></details>'
    )


def _words(run: Kept, by_path: bool) -> str:
    """The last lines of what it says, and its run file."""
    text = seen(run, "\n".join(said(run.folder).splitlines()[-LINES:]), by_path)
    file = f'<p><a href="{run_address(run.id)}" download>{say("train.run_file")}</a></p>' if by_path else ""
    inner = live(f"train-said:{run.id}", escape(text), "pre", f' lang="{STANDARD}" tabindex="0"')
    return f'<details data-key="said-{run.id}"><summary>{say("train.says")}</summary>{inner}{file}</details>'


def _list(others: Sequence[Kept]) -> str:
    if not others:
        return ""
    items = "".join(
        f'<li data-key="other-{run.id}"><button type="button" class="what" data-act="show" data-run="{run.id}">'
        f'{escape(run.id)}</button><span class="how">{of("run_state", run.state)} · {moment(run.began)}</span></li>'
        for run in others[:OTHERS]
    )
    more = len(others) - OTHERS
    rest = f'<li><span class="how">{escape(counted("train.others_more", more))}</span></li>' if more > 0 else ""
    return f'<section class="line" data-key="line"><h2>{say("train.others")}</h2><ul>{items}{rest}</ul></section>'
