"""Extension: the given video comes back bit for bit, its scenes are known, and what can not be continued is refused."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from pipelines import cli
from pipelines.engine import Engine, groups
from pipelines.files.media import read_clip, read_picture, write_picture, write_video
from pipelines.job import Refusal, parse, recipe
from pipelines.story.continuation import LOOKBACK, read_earlier
from tests.story import PROMPTS, asked, render, scenes, story


def save(folder: Path, name: str, job: Any, frames: np.ndarray, record: dict[str, Any] | None = None) -> Path:
    """Write what `diorama render` would, with exact frames; the record only where it is given."""
    write_video(folder / f"{name}.mp4", frames, job.fps, {"job": recipe(job)}, png_frames=True)
    if record:
        (folder / f"{name}.json").write_text(json.dumps({"job": recipe(job), **record}))
    return folder / name


def noise(frames: int, size: tuple[int, int] = (64, 80)) -> np.ndarray:
    return np.random.default_rng(frames).integers(0, 256, (frames, size[1], size[0], 3), dtype=np.uint8)


def told(path: Path, **fields: Any) -> list[tuple[int, int, str | None]]:
    """Span and prompt of each scene that can be shown to the model when `path` is continued."""
    earlier = read_earlier(story("papercut", scenes(1), continue_from=str(path), **fields))
    assert earlier is not None
    return [(scene.start, scene.end, scene.prompt) for scene in earlier.scenes]


def test_an_extended_video_begins_with_the_given_frames_bit_for_bit(tiny: Path, tmp_path: Path) -> None:
    jobs = tmp_path / "jobs.json"
    engine = (Engine("cpu"), groups)
    shared = {"task": "scenes", "model": str(tiny), "size": [64, 80], "steps": 2, "png_frames": True}

    def run(**fields: Any) -> None:
        jobs.write_text(json.dumps(shared | fields))
        assert cli.main(["render", str(jobs), "--out", str(tmp_path), "--quiet"], engine=engine) == 0

    run(name="two", scenes=scenes(2))
    for name, source in (("exact", tmp_path / "two"), ("lossy", tmp_path / "two.mp4")):
        run(name=name, scenes=[{"prompt": "a black circle", "frames": 4}], continue_from=str(source))
        given, extended = read_clip(source).frames, read_clip(tmp_path / name).frames
        assert extended.shape[0] == 5 + 4
        assert np.array_equal(extended[:5], given)
    record = json.loads((tmp_path / "exact.json").read_text())["scenes"]
    assert [(s["start"], s["frames"], s["prompt"], s["given"]) for s in record] == [
        (0, 3, PROMPTS[0], True), (3, 2, PROMPTS[1], True), (5, 4, "a black circle", False),
    ]  # fmt: skip


def test_the_given_scenes_are_shown_to_the_model_with_their_prompts(tiny: Path, tmp_path: Path) -> None:
    engine, before = Engine("cpu"), story(tiny, scenes(2))
    path = save(tmp_path, "two", before, render(engine, before).frames)
    with asked(engine, tiny) as seen:
        render(engine, story(tiny, scenes(3)[2:], continue_from=str(path), guidance=1.0))
    segments = seen.plans[0].segments
    assert [(s.name, len(s), bool(s.given)) for s in segments] == [
        ("prompt 1", 24, True), ("prompt 2", 24, True), ("prompt 3", 24, False),
        ("scene 1", 60, True), ("scene 2", 40, True), ("scene 3", 80, False),
    ]  # fmt: skip


def test_five_extensions_in_a_row_know_all_their_scenes(tiny: Path, tmp_path: Path) -> None:
    engine = Engine("cpu")
    job = story(tiny, scenes(1), steps=1)
    rendered = render(engine, job)
    for n in range(5):
        path = save(tmp_path, f"v{n}", job, rendered.frames, {"scenes": rendered.record["scenes"]})
        part = {"prompt": PROMPTS[n + 1], "frames": 2, "transition": "crossfade", "transition_frames": 1}
        job = story(tiny, [part], steps=1, continue_from=str(path))
        before, rendered = rendered, render(engine, job)
        assert len(rendered.frames) == 3 + n + 1
        assert np.array_equal(rendered.frames[: 3 + n - 1], before.frames[:-1]), "all but the faded frame"
    assert [s["prompt"] for s in rendered.record["scenes"]] == list(PROMPTS)
    assert [s["start"] for s in rendered.record["scenes"]] == [0, 2, 3, 4, 5, 6]


def test_a_shot_is_gone_on_from_its_last_frames(tiny: Path, tmp_path: Path) -> None:
    engine, before = Engine("cpu"), story(tiny, scenes(2), cuts=False)
    path = save(tmp_path, "shot", before, render(engine, before).frames)
    with asked(engine, tiny) as seen:
        rendered = render(engine, story(tiny, scenes(1), cuts=False, continue_from=str(path), guidance=1.0))
    assert int(seen.plans[0].given.sum()) == 4 * 20 and len(rendered.frames) == 5 + 3


def test_a_videos_scenes_are_known_from_its_record_or_from_its_job(tmp_path: Path) -> None:
    fade = {"transition": "black", "transition_frames": 1}
    job = story("papercut", scenes(3, s2=fade, s3={**fade, "transition": "crossfade"}))
    spans = [(0, 2, PROMPTS[0]), (4, 4, PROMPTS[1]), (5, 8, PROMPTS[2])]  # frames without any transition
    spans = [span for span in spans if span[0] < span[1]]
    path = save(tmp_path, "three", job, noise(8))
    assert told(path) == told(path.with_suffix(".mp4")) == spans
    again = story("papercut", scenes(1), continue_from="gone.mp4")
    path = save(tmp_path, "extended", again, noise(8))
    assert told(path) == [(0, 5, None), (5, 8, PROMPTS[0])], "what came before is one scene of unknown prompt"
    entries = [{"start": 0, "frames": 5, "prompt": "a red star"}, {"start": 5, "frames": 3, "prompt": PROMPTS[0]}]
    path = save(tmp_path, "extended", again, noise(8), {"scenes": entries})
    assert told(path) == [(0, 5, "a red star"), (5, 8, PROMPTS[0])]


@pytest.mark.parametrize(
    "entries",
    [
        [], "no list", [{"start": 0}], [{"start": 1, "frames": 7}], [{"start": 0, "frames": 9}],
        [{"start": 0, "frames": 8, "prompt": 3}], [{"start": 0, "frames": 8, "prompt": "x " * 9_000}],
    ],
)  # fmt: skip
def test_a_record_that_is_not_about_the_video_is_not_believed(tmp_path: Path, entries: Any) -> None:
    path = save(tmp_path, "v", story("papercut", scenes(1), continue_from="gone.mp4"), noise(8), {"scenes": entries})
    assert told(path) == [(0, 5, None), (5, 8, PROMPTS[0])]


def test_of_a_video_from_elsewhere_the_last_frames_are_shown_without_a_prompt(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "frames").mkdir()
    for number, frame in enumerate(noise(LOOKBACK + 5)):
        write_picture(tmp_path / "frames" / f"{number}.png", frame, {})
    assert told(tmp_path / "frames") == [(5, LOOKBACK + 5, None)]
    text = parse({"task": "text", "prompt": "a red ring", "frames": 6, "size": [64, 80]})
    assert told(save(tmp_path, "text", text, noise(6))) == [(0, 6, "a red ring")]
    engine = Engine("cpu")
    rendered = render(engine, story(tiny, scenes(1), steps=1, continue_from=str(tmp_path / "frames")))
    assert np.array_equal(rendered.frames[: LOOKBACK + 5], noise(LOOKBACK + 5))
    assert rendered.record["scenes"][0]["prompt"] is None


def uneven(path: Path) -> None:
    """A video whose frames come at 0, 1, 2, 7 eighths of a second."""
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=8)
        stream.width, stream.height, stream.pix_fmt = 64, 80, "yuv420p"
        for time, pixels in zip((0, 1, 2, 7), noise(4), strict=True):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = time, Fraction(1, 8)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


@pytest.mark.parametrize(
    ("name", "where", "says"),
    [
        ("absent.mp4", "continue_from", "there is no such file"),
        ("note.mp4", "continue_from", "expected a video"),
        ("picture.png", "continue_from", "expected a video"),
        ("empty", "continue_from", "found none in it"),
        ("small.mp4", "continue_from", "expected a video of 64 x 80 pixels as the job's size, got 80 x 64"),
        ("fast.mp4", "continue_from", "expected 8 frames a second as the job's fps, got 12"),
        ("uneven.mp4", "continue_from", "expected one frame rate"),
        ("short.mp4", "scenes[0].transition_frames", "no more than the 2 frames of the video before it, got 3"),
        ("long.mp4", "continue_from", "at most 1,000 frames with the new scenes, got 1,001"),
    ],
)
def test_what_can_not_be_continued_is_refused_and_nothing_is_written(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, where: str, says: str
) -> None:
    path, job = tmp_path / name, story("papercut", scenes(1))
    parts = scenes(1)
    if name == "note.mp4":
        path.write_text("a note")
    elif name == "picture.png":
        write_picture(path, noise(1)[0], {})
    elif name == "empty":
        path.mkdir()
    elif name == "small.mp4":
        save(tmp_path, "small", job, noise(2, (80, 64)))
    elif name == "fast.mp4":
        save(tmp_path, "fast", job.model_copy(update={"fps": 12}), noise(3))
    elif name == "uneven.mp4":
        uneven(path)
    elif name == "short.mp4":
        save(tmp_path, "short", job, noise(2))
        parts = scenes(1, s1={"transition": "black", "transition_frames": 3})
    elif name == "long.mp4":
        save(tmp_path, "long", job, noise(4))
        parts = scenes(1, s1={"frames": 997})
    file, out = tmp_path / "jobs.json", tmp_path / "out"
    wrong = {"task": "scenes", "model": str(tiny), "size": [64, 80], "scenes": parts, "continue_from": str(path)}
    file.write_text(json.dumps([{**wrong, "continue_from": None, "scenes": scenes(1)}, wrong]))
    assert cli.main(["render", str(file), "--out", str(out)]) == 2
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1 and "Traceback" not in said
    assert f"{file}, document 2, field {where}: " in said and says in said
    assert not out.exists()


def test_frames_of_two_sizes_and_transparent_ones_are_refused(tmp_path: Path) -> None:
    write_picture(tmp_path / "0.png", noise(1)[0], {})
    write_picture(tmp_path / "1.png", noise(1, (64, 64))[0], {})
    with pytest.raises(Refusal, match=r"continue_from: .*1\.png"):
        told(tmp_path)
    write_picture(tmp_path / "1.png", np.zeros((80, 64, 4), np.uint8), {})
    with pytest.raises(Refusal, match="transparent"):
        told(tmp_path)
    assert read_picture(tmp_path / "0.png").shape == (80, 64, 4)
