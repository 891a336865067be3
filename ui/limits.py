"""The table of limits in docs/limits.md, made of the constants that the code goes by: `python -m ui.limits`."""

from __future__ import annotations

from collections.abc import Iterable

HEAD = """# Limits

What is beyond a limit is refused with one sentence, and nothing is rendered or kept of it. This page is made by
`python -m ui.limits` from the constants that the code goes by; a test compares the two. What a checkpoint draws is its
own affair: the embedded one takes sides from 64 to 192 pixels. What fits into memory depends on the machine, and
`diorama render FILE... --dry-run` tells it.
"""
Rows = Iterable[tuple[str, str]]


def page() -> str:
    """The whole page as Markdown."""
    parts = [HEAD]
    for title, rows in (
        ("A job", _job()), ("Files of jobs", _files()), ("Pictures, videos and sound", _media()),
        ("The studio", _studio()), ("Programs", _programs()), ("The designer's endpoint", _endpoint()),
    ):  # fmt: skip
        table = "\n".join(f"| {name} | {limit} |" for name, limit in rows)
        parts.append(f"## {title}\n\n| what | limit |\n|---|---|\n{table}\n")
    return "\n".join(parts)


def _job() -> Rows:
    from pipelines import job

    yield "width, height", f"{job.MIN_SIDE} to {job.MAX_SIDE:,} pixels, in steps of {job.SIDE_STEP}"
    yield "frames", f"1 to {job.MAX_FRAMES:,}"
    yield "frames a second", f"1 to {job.MAX_FPS}"
    yield "steps", f"1 to {job.MAX_STEPS}"
    yield "guidance, Internal Guidance", f"0 to {job.MAX_GUIDANCE:g}"
    yield "seed", f"0 to {job.MAX_SEED}"
    yield "a prompt", f"{job.MAX_WORDS:,} words, {job.MAX_CHARACTERS:,} characters"
    yield "scenes, boxes or layers", f"{job.MAX_PARTS}"
    yield "adapters of a job, and of each scene, box or layer", f"{job.MAX_ADAPTERS}"
    yield "an adapter's weight", f"{-job.MAX_WEIGHT:g} to {job.MAX_WEIGHT:g}"
    yield "a path", f"{job.MAX_PATH:,} characters"
    yield "a name", f"{job.MAX_NAME} characters, {job.MAX_NAME_BYTES} bytes"


def _files() -> Rows:
    from pipelines.expansion import expand, presets, wildcards
    from pipelines.files import jobfile, yamlfile
    from pipelines.grid import grid

    yield "a file of jobs", f"{_size(jobfile.MAX_BYTES)}, nested {yamlfile.MAX_DEPTH} levels deep"
    yield "jobs in one call", f"{jobfile.MAX_DOCUMENTS:,}"
    yield "rows of one document with `expand`", f"{expand.MAX_ROWS:,}"
    yield "a preset", _size(presets.MAX_BYTES)
    yield "a wildcard list", f"{wildcards.MAX_ENTRIES:,} entries, {_size(wildcards.MAX_LIST_BYTES)}"
    yield "cells of a grid", f"{grid.MAX_CELLS:,} in {grid.MAX_AXES} axes"


def _media() -> Rows:
    from pipelines.files import audio, media, recipe
    from pipelines.job import MAX_FRAMES

    yield "kinds of pictures", f"{', '.join(media.PICTURES)}"
    yield "a picture, and a frame of a video", f"{media.MAX_PIXELS:,} pixels"
    yield "a video", f"{MAX_FRAMES:,} frames, {media.MAX_CLIP_SECONDS // 60} minutes"
    yield "all frames of a video together", f"{media.MAX_CLIP_PIXELS:,} pixels"
    yield "sound", f"{audio.MAX_SECONDS // 60} minutes, {audio.MAX_SAMPLES:,} samples, {_size(audio.MAX_BYTES)}"
    yield "a recipe inside a file", _size(recipe.MAX_RECIPE)
    yield "a record", _size(recipe.MAX_RECORD)


def _studio() -> Rows:
    import app
    from ui import guard, uploads

    yield "an upload", _size(uploads.MAX_UPLOAD)
    yield "uploads that arrive at once", f"{uploads.ARRIVING}; more are answered with status 429"
    yield "uploads that are decoded at once", f"{uploads.AT_ONCE}; more wait"
    yield "an upload that no job has named", f"kept {uploads.KEPT / 86_400:g} days"
    yield "a mask drawn on the page", _size(uploads.MAX_MASK)
    yield "any other request", _size(guard.MAX_BODY)
    yield (
        "how long a request may take to arrive",
        f"{guard.START:g} seconds, and one more for every {_size(guard.SLOWEST)} that came",
    )
    yield "a password, where others can reach the studio", f"at least {app.SHORTEST} characters"


def _programs() -> Rows:
    from ui.api import postman, progress, routes, shapes, tokens

    yield "jobs of one batch", f"{shapes.MOST_JOBS}"
    yield "jobs of one list", f"{routes.MOST_ROWS}"
    yield "streams of events at once", f"{progress.MOST}; more are answered with status 429"
    yield "one stream of events", f"{progress.LONGEST / 3_600:g} hour; then it is opened again"
    yield "a token", f"1 to {tokens.MOST_DAYS:,} days"
    yield "a webhook's address", f"{shapes.MOST_ADDRESS:,} characters"
    pauses = " and ".join(f"{pause:g}" for pause in postman.PAUSES)
    yield "tries of a webhook", f"{len(postman.PAUSES) + 1}, {postman.LONGEST:g} seconds each, {pauses} seconds apart"


def _endpoint() -> Rows:
    from pipelines import chat

    yield "an answer", _size(chat.MAX_REPLY)


def _size(count: int) -> str:
    """`64 MiB`, `16 KiB`."""
    for unit, name in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if count >= unit:
            return f"{count / unit:g} {name}"
    return f"{count} bytes"


if __name__ == "__main__":
    print(page(), end="")
