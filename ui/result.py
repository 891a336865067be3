"""What became of a job, as HTML: the picture or video, its scenes, its frames, its facts and its files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from ui import dubbingresult
from ui.files import Output, address, all_address, frames_address, stored
from ui.overlay import obeyed, over
from ui.reasons import in_language
from ui.stack import SCRIPT as STACK
from ui.stack import panel
from ui.words import counted, moment, numerals, of, say

MAX_RECORD = 2**20  # bytes; a record of a picture has some thousand
# Files that have a link of their own, by how their names end.
FILES = {
    ".json": "record", ".psd": "psd", ".ora": "openraster", "-boxes.png": "with_boxes",
    "/composite.png": "as_generated",
}  # fmt: skip
LARGEST, MOST = 400, 3.0  # pixels on the page that a small picture is enlarged to, and how many times at most

# What a result does in the browser; a click on a scene lets its video go there. On the part itself, for what stands in
# it comes and goes.
ACT = (
    """
element.addEventListener('click', (event) => {
  const mark = event.target.closest('[data-seek]');
  const video = mark?.closest('.result')?.querySelector('video');
  if (!video) return;
  video.currentTime = Number(mark.dataset.seek) + 0.001;
  video.play().catch(() => {});
});
"""
    + STACK
    + dubbingresult.SCRIPT
)

CSS = """
.result { display: flex; flex-direction: column; align-items: center; gap: 12px; width: 100%; }
.reel { display: flex; gap: 3px; width: 100%; height: 12px; }
.reel span { flex: 1 1 0; border-radius: 4px; background: var(--slider-color); }
.reel span.again { background: #3a9d54; } .reel span.given { background: var(--border-color-accent); }
.marks { width: min(100%, 430px); text-align: left; } .marks ol { list-style: none; margin: 8px 0 0; padding: 0; }
.marks li { display: flex; align-items: baseline; gap: 10px; margin: 0; padding: 5px 0; }
.marks li + li { border-top: 1px dashed var(--border-color-primary); }
.marks button {
  display: flex; align-items: baseline; gap: 9px; flex: 1; min-width: 0; margin: 0; padding: 0; border: 0;
  background: none; color: inherit; text-align: left; cursor: pointer;
}
.marks button span {
  flex: 1; min-width: 0; overflow: hidden; text-overflow: ellipsis; white-space: nowrap;
  font: italic 15px/1.4 var(--serif);
}
.marks button:hover span { text-decoration: underline; }
.marks button i { font-style: normal; font-size: 13px; color: var(--body-text-color-subdued); }
.marks em {
  flex: none; max-width: 45%; padding: 1px 9px; border-radius: 999px; background: var(--faint); font-style: normal;
  font-size: 12.5px; color: var(--body-text-color-subdued);
}
.marks em.again { background: #2f8449; color: #fffdf8; }
.frames { width: 100%; text-align: center; }
.frames summary { cursor: pointer; color: var(--body-text-color-subdued); }
.thumbs {
  display: flex; flex-wrap: wrap; justify-content: center; gap: 6px; margin-top: 10px; max-height: 260px;
  overflow-y: auto;
}
.thumbs img {
  display: block; width: 64px; height: 64px; object-fit: contain; margin: 0 !important; background: var(--mat);
}
"""


def picture(row: Output, folder: Path, again: bool = False) -> str:
    """The picture or playing video of a finished row on its mount, with its scenes, boxes, layers or frames under it.

    `again` is whether one layer can be rendered again from here.
    """
    if stored(row, 0, folder) is None:
        return f'<p class="say">{say("result.gone")}</p>'
    told = record(row, folder)
    width, height = size(row, told)
    scale = enlarged(width, height)
    shape = f'width="{width}" height="{height}" style="width: {round(width * scale)}px"'
    source, words = address(row, 0), escape(prompt(row), quote=True)
    if stack := panel(row, told, shape, again):
        return f'<div class="result" data-picture="{source}">{stack}</div>'
    if is_video(row) and (pair := dubbingresult.panel(row, told, folder, shape)):
        return f'<div class="result" data-picture="{source}">{pair}{_frames(row)}</div>'
    if is_video(row):
        inner = (
            f'<video src="{source}" {shape} controls loop autoplay muted playsinline preload="auto" '
            f'aria-label="{words}"></video>'
        )
    else:
        inner = over(f'<img src="{source}" {shape} alt="{words}">', told)
    return (
        f'<div class="result" data-picture="{source}"><figure class="mount">{inner}</figure>{obeyed(told)}'
        f"{_scenes(row, folder)}{_frames(row)}</div>"
    )


def facts(row: Output, folder: Path) -> str:
    """The settings of a row, what rendering it took, and its files to download."""
    job, told = row.job, record(row, folder)
    width, height = size(row, told)
    guidance = job.get("guidance")
    whole, seconds, tokens = told.get("composite"), told.get("seconds"), told.get("tokens")
    against = whole.get("psnr") if isinstance(whole, dict) else None
    pairs = {
        "size": f"{width} x {height}" if width > 1 else None,
        "frames": count(row, told),
        "seed": job.get("seed"),
        "steps": job.get("steps"),
        "guidance": numerals(f"{guidance:g}") if isinstance(guidance, int | float) else None,
        "scheduler": job.get("scheduler"),
        "model": job.get("model"),
        "took": numerals(f"{seconds:.1f} s") if isinstance(seconds, int | float) else None,
        "device": told.get("device") or None,
        "tokens": numerals(f"{tokens:,}") if isinstance(tokens, int) else None,
        "against": numerals(f"{against:.1f} dB") if isinstance(against, int | float) else None,
        "made": moment(row.finished) if row.finished else None,
    }
    known = {name: value for name, value in pairs.items() if value is not None}
    cells = "".join(
        f"<div><dt>{of('fact', name)}</dt><dd>{escape(str(value))}</dd></div>" for name, value in known.items()
    )
    return f'<dl class="facts">{cells}</dl>{_downloads(row)}'


def kind(job: Any) -> str:
    """The tab that a job belongs to: its task, and `video` for text that moves."""
    task = str(job.get("task") or "")
    frames = job.get("frames")
    return "video" if task == "text" and isinstance(frames, int) and frames > 1 else task


def prompt(row: Output) -> str:
    """What the job asks for, in words."""
    job = row.job
    scenes = job.get("scenes")
    if isinstance(scenes, list):
        words = [str(scene.get("prompt")) for scene in scenes if isinstance(scene, dict)]
        return " / ".join(words) or of("kind", "scenes").lower()
    return str(job.get("prompt") or job.get("task") or "")


def is_video(row: Output) -> bool:
    """Whether the row's first file is a video."""
    return bool(row.files) and row.files[0].endswith(".mp4")


def size(row: Output, told: dict[str, Any] | None = None) -> tuple[int, int]:
    """Width and height in pixels; (1, 1) where nobody says."""
    resolved = (told or {}).get("resolved")
    known = row.job.get("size") or (resolved.get("size") if isinstance(resolved, dict) else None)
    try:
        width, height = (int(side) for side in known or ())
    except (TypeError, ValueError):
        return 1, 1
    return (width, height) if width > 0 and height > 0 else (1, 1)


def enlarged(width: int, height: int) -> float:
    """How many times a picture is enlarged on the page."""
    return max(1.0, min(LARGEST / max(width, height), MOST))


def count(row: Output, told: dict[str, Any]) -> int | None:
    """Frames of a video; None for a picture, and where nobody says."""
    marked = marks(told)
    if marked:
        return max(start + frames for start, frames, _, _ in marked)
    exact = len(png_frames(row))
    if exact:
        return exact
    resolved = told.get("resolved")
    known = (resolved.get("frames") if isinstance(resolved, dict) else None) or row.job.get("frames")
    return known if isinstance(known, int) and known > 1 else None


def record(row: Output, folder: Path) -> dict[str, Any]:
    """What the record beside the outputs tells; nothing when somebody took it away."""
    path = stored(row, len(row.files) - 1, folder)
    try:
        if path is None or path.suffix != ".json" or path.stat().st_size > MAX_RECORD:
            return {}
        told = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


def marks(told: dict[str, Any]) -> list[tuple[int, int, str, str]]:
    """Of each scene of a record its first frame, its frames, whether it is fresh, used again or given, and why."""
    found = []
    scenes = told.get("scenes")
    for scene in scenes if isinstance(scenes, list) else ():
        if not isinstance(scene, dict):
            return []
        start, frames = scene.get("start"), scene.get("frames")
        if not all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in (start, frames)):
            return []
        how = "given" if scene.get("given") is True else "again" if scene.get("reused") is True else "fresh"
        found.append((int(start or 0), int(frames or 0), how, str(scene.get("why") or "")))
    return found


def png_frames(row: Output) -> list[int]:
    """The places of a video's exact frames among its files, in the order of the frames."""
    if not is_video(row):
        return []
    return sorted((i for i, name in enumerate(row.files) if name.endswith(".png")), key=lambda i: row.files[i])


def bar(parts: Sequence[tuple[int, str, str]], label: str) -> str:
    """A bar of parts as wide as their frames: for each the frames, its class, and what it is called."""
    inner = "".join(
        f'<span class="{kind}" style="flex-grow: {max(frames, 1)}" title="{escape(name, quote=True)}"></span>'
        for frames, kind, name in parts
    )
    return f'<div class="reel" role="img" aria-label="{escape(label, quote=True)}">{inner}</div>'


def _scenes(row: Output, folder: Path) -> str:
    told = record(row, folder)
    marked = marks(told)
    if not marked:
        return ""
    fps = row.job.get("fps")
    rate = fps if isinstance(fps, int) and fps > 0 else 8
    end = max(start + frames for start, frames, _, _ in marked)
    ends = [*(start for start, _, _, _ in marked[1:]), end]
    words = [str(scene.get("prompt") or "") for scene in told["scenes"]]
    parts, items = [], []
    for number, ((start, frames, how, why), stop) in enumerate(zip(marked, ends, strict=True), 1):
        begins = numerals(f"{start / rate:g}")
        parts.append((stop - start, how, say("result.scene", number=number, seconds=begins)))
        why = in_language(why)
        said = of("made", how) if how != "fresh" else why or of("made", how)
        items.append(
            f'<li><button type="button" data-seek="{start / rate:g}" title="{say("result.play")}">'
            f"<b>{number}</b><i>{begins} s</i><span>{escape(words[number - 1])}</span></button>"
            f'<em class="{how}" title="{escape(why or said, quote=True)}, {counted("result.frames", frames)}">'
            f"{escape(said)}</em></li>"
        )
    strip = bar(parts, say("result.scenes", count=len(marked)))
    return f'<div class="marks">{strip}<ol>{"".join(items)}</ol></div>'


def _frames(row: Output) -> str:
    places = png_frames(row)
    if not places:
        return ""
    # Pictures in a closed part are not fetched: they are lazy and nobody sees them.
    thumbs = "".join(
        f'<a href="{address(row, index)}" download title="{say("result.frame", number=number)}">'
        f'<img src="{address(row, index)}" loading="lazy" alt="{say("result.frame", number=number)}"></a>'
        for number, index in enumerate(places)
    )
    return (
        f'<details class="frames"><summary>{counted("result.exact", len(places))}</summary><div class="thumbs">'
        f"{thumbs}</div>"
        f'<p class="links"><a href="{frames_address(row)}" download>{say("result.all_frames")}</a></p></details>'
    )


def _downloads(row: Output) -> str:
    links = []
    for index, name in enumerate(row.files):
        what = next((of("file", what) for end, what in FILES.items() if name.endswith(end)), None)
        if index == 0:
            what = say("result.get_video" if is_video(row) else "result.get_picture")
        if what:
            links.append(f'<a href="{address(row, index)}" download>{what}</a>')
    if row.job.get("task") == "layered":
        links.insert(1, f'<a href="{all_address(row)}" download>{say("result.get_all")}</a>')
    return f'<p class="links">{"".join(links)}</p>'
