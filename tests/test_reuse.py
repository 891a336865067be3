"""Reuse: a scene that did not change is not rendered again, and the record says why the others were."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines import cli
from pipelines.engine import Engine, groups
from pipelines.farm.manifest import FOLDER
from pipelines.files.kept import KEPT
from pipelines.sampler import Cancelled
from pipelines.story.reuse import story_of
from pipelines.story.scenecache import SceneCache
from tests.story import LENGTHS, asked, render, scenes, story
from tests.test_continuation import noise, save
from tests.test_help import ROOT

SIX = np.cumsum(LENGTHS)[:-1]


def told(rendered: Any) -> list[tuple[bool, str]]:
    return [(scene["reused"], scene["why"]) for scene in rendered.record["scenes"] if not scene["given"]]


def why(rendered: Any) -> dict[int, str]:
    """Why scenes were rendered, by their number from 1; the others were reused."""
    return {number: why for number, (reused, why) in enumerate(told(rendered), 1) if not reused}


def stored(cache: Path) -> list[Path]:
    return sorted((cache / "scenes").glob("*.safetensors"))


def test_of_six_scenes_only_the_changed_one_is_rendered_again(tiny: Path, tmp_path: Path) -> None:
    engine = Engine("cpu", tmp_path)
    before = render(engine, story(tiny, scenes(6), name="six"))
    assert why(before) == dict.fromkeys(range(1, 7), "not rendered before")
    with asked(engine, tiny) as seen:
        after = render(engine, story(tiny, scenes(6, s3={"prompt": "a black heart"}), name="six"))
    assert seen.calls == 3 and why(after) == {3: "prompt changed"}
    old, new = np.split(before.frames, SIX), np.split(after.frames, SIX)
    assert [np.array_equal(a, b) for a, b in zip(old, new, strict=True)] == [True, True, False, True, True, True]
    with asked(engine, tiny) as seen:
        back = render(engine, story(tiny, scenes(6), name="six"))
    assert seen.calls == 0 and back.frames.tobytes() == before.frames.tobytes(), "and back again costs nothing"
    assert told(back) == [(True, "unchanged")] * 6


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"prompt": "a black heart"}, "prompt changed"),
        ({"negative_prompt": "star"}, "negative prompt changed"),
        ({"seed": 99}, "seed changed"),
        ({"frames": 5}, "length changed"),
        ({"prompt": "a black heart", "seed": 99, "frames": 5}, "length, prompt and seed changed"),
    ],
)
def test_the_record_says_what_changed(tiny: Path, tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    engine = Engine("cpu", tmp_path)
    render(engine, story(tiny, scenes(2), name="mine"))
    assert why(render(engine, story(tiny, scenes(2, s2=change), name="mine"))) == {2: reason}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"steps": 2}, "settings changed"),
        ({"guidance": 2.5}, "settings changed"),
        ({"scheduler": "heun"}, "settings changed"),
        ({"size": [80, 64]}, "size changed"), ({"negative_prompt": "star"}, "negative prompt changed"),
        ({"reuse": "never"}, "the job says reuse: never"),
    ],
)  # fmt: skip
def test_what_concerns_every_scene_renders_every_scene(
    tiny: Path, tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    engine = Engine("cpu", tmp_path)
    render(engine, story(tiny, scenes(2), name="mine"))
    assert why(render(engine, story(tiny, scenes(2), name="mine", **change))) == {1: reason, 2: reason}


def test_what_does_not_concern_the_pixels_of_a_scene_renders_none(tiny: Path, tmp_path: Path) -> None:
    engine = Engine("cpu", tmp_path)
    render(engine, story(tiny, scenes(2), name="mine"))
    fade = {"transition": "crossfade", "transition_frames": 1}
    for parts, fields in (
        (scenes(2, s2=fade), {}),
        (scenes(2), {"fps": 12, "png_frames": True, "seed": 7, "name": "other"}),
    ):
        assert why(render(engine, story(tiny, parts, **fields))) == {}


def test_scenes_that_come_go_or_move_are_told_from_scenes_that_changed(tiny: Path, tmp_path: Path) -> None:
    engine, parts = Engine("cpu", tmp_path), scenes(4)
    first, *rest = parts
    render(engine, story(tiny, parts, name="mine"))
    assert why(render(engine, story(tiny, [first, rest[2], rest[0]], name="mine"))) == {}
    new = {"prompt": "a black heart", "frames": 2}
    assert why(render(engine, story(tiny, [first, new, *rest], name="mine"))) == {2: "not rendered before"}


def test_reuse_story_depends_on_the_job_alone(tiny: Path, tmp_path: Path) -> None:
    edited = scenes(4, s2={"prompt": "a black heart"})
    fresh = render(Engine("cpu"), story(tiny, edited))
    engine = Engine("cpu", tmp_path)
    render(engine, story(tiny, scenes(4), name="mine"))
    kept = render(engine, story(tiny, edited, name="mine"))
    assert kept.frames.tobytes() != fresh.frames.tobytes(), "the third scene was shown the old second one"
    assert told(kept)[2] == (True, "unchanged itself; the scenes before it are others now")
    exact = render(engine, story(tiny, edited, name="mine", reuse="story"))
    assert exact.frames.tobytes() == fresh.frames.tobytes()
    assert why(exact) == {3: "the scenes before it changed", 4: "the scenes before it changed"}
    assert why(render(engine, story(tiny, edited, name="mine", reuse="story"))) == {}


def test_the_same_scene_twice_in_a_story_is_rendered_twice(tiny: Path, tmp_path: Path) -> None:
    engine, twice = Engine("cpu", tmp_path), [scenes(1)[0], *[{"prompt": "a blue ring", "frames": 2}] * 2]
    render(engine, story(tiny, twice[:2]))
    kept = render(engine, story(tiny, twice))
    assert why(kept) == {3: "not rendered before"}
    assert kept.frames.tobytes() == render(Engine("cpu"), story(tiny, twice)).frames.tobytes()
    assert not np.array_equal(kept.frames[3:5], kept.frames[5:7])


def test_in_one_shot_all_that_follows_a_change_is_rendered(tiny: Path, tmp_path: Path) -> None:
    engine = Engine("cpu", tmp_path)
    render(engine, story(tiny, scenes(4), name="mine", cuts=False))
    edited = story(tiny, scenes(4, s2={"seed": 99}), name="mine", cuts=False)
    assert why(render(engine, edited)) == {2: "seed changed", 3: "part before it changed", 4: "part before it changed"}


def test_another_video_to_continue_renders_what_continues_it(tiny: Path, tmp_path: Path) -> None:
    engine, before = Engine("cpu", tmp_path / "kept"), story(tiny, scenes(1))
    for name, frames in (("a", noise(3)), ("b", noise(4)[:3])):
        save(tmp_path, name, before, frames)
    for name, reasons in (("a", ["not rendered before"] * 2), ("a", []), ("b", ["video before it changed"] * 2)):
        job = story(tiny, scenes(3)[1:], name="mine", continue_from=str(tmp_path / name))
        assert list(why(render(engine, job)).values()) == reasons


def test_a_broken_scene_is_told_and_rendered_again(tiny: Path, tmp_path: Path) -> None:
    engine, job = Engine("cpu", tmp_path), story(tiny, scenes(3))
    before = render(engine, job)
    assert len(stored(tmp_path)) == 3
    for path in stored(tmp_path):
        if path.name.startswith(_own(tmp_path, job, 1)):
            path.write_bytes(path.read_bytes()[:-1])
    after = render(engine, job)
    assert why(after) == {2: "its stored file was broken"}
    assert any("scene 2 was stored, but its file is broken" in warning for warning in after.record["warnings"])
    assert after.frames.tobytes() == before.frames.tobytes()
    for path in stored(tmp_path):
        path.unlink()
    assert set(why(render(engine, job)).values()) == {"no longer stored"}


def _own(cache: Path, job: Any, number: int) -> str:
    return str(SceneCache(cache / "scenes").last(story_of(job))[number]["own"])


def test_other_weights_render_everything(tiny: Path, tmp_path: Path) -> None:
    mine = tmp_path / "checkpoint"
    shutil.copytree(tiny, mine)
    render(Engine("cpu", tmp_path), story(mine, scenes(1), name="mine"))
    assert why(render(Engine("cpu", tmp_path), story(tiny, scenes(1), name="mine"))) == {}, (
        "the same under another name"
    )
    config = json.loads((mine / "scheduler" / "scheduler_config.json").read_text())
    (mine / "scheduler" / "scheduler_config.json").write_text(json.dumps(config | {"shift": 2.0}))
    assert why(render(Engine("cpu", tmp_path), story(mine, scenes(1), name="mine"))) == {1: "model changed"}


def test_where_scenes_can_not_be_kept_the_video_is_rendered_all_the_same(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    rendered = render(Engine("cpu", tmp_path / "file"), story(tiny, scenes(2)))
    assert len(rendered.frames) == 5
    assert any("finished scenes could not be kept" in warning for warning in rendered.record["warnings"])


def test_a_folder_for_scenes_is_made_when_a_scene_is_finished_and_not_before(tiny: Path, tmp_path: Path) -> None:
    engine = Engine("cpu", tmp_path / KEPT)
    engine.check(story(tiny, scenes(1)))
    with pytest.raises(Cancelled):
        engine.render([story(tiny, scenes(1))], lambda step, steps: False)
    assert not (tmp_path / KEPT).exists()


PAUSED = """
import sys, time
from pathlib import Path
from pipelines import cli
from pipelines.engine import Engine, groups

class Paused(Engine):
    def begin(self, jobs, progress, at_once=None):
        def wait(step, steps):
            if step == 3 * 3 + 2:  # the second step of the fourth scene
                Path(sys.argv[3]).touch()
                time.sleep(1e6)
            return progress(step, steps)
        return super().begin(jobs, wait, at_once)

out = Path(sys.argv[2])
cli.main(["render", sys.argv[1], "--out", str(out)], engine=(Paused("cpu", out / ".diorama"), groups))
"""


@pytest.mark.slow
def test_after_kill_9_in_scene_four_of_six_three_are_not_rendered_again(tiny: Path, tmp_path: Path) -> None:
    jobs, there = tmp_path / "jobs.json", tmp_path / "there"
    job = {"task": "scenes", "model": str(tiny), "size": [64, 80], "steps": 3, "name": "six", "png_frames": True}
    jobs.write_text(json.dumps(job | {"scenes": scenes(6, s2={"transition": "crossfade", "transition_frames": 1})}))
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    render_process = subprocess.Popen([sys.executable, "-c", PAUSED, str(jobs), str(killed), str(there)], cwd=ROOT)
    try:
        while not there.exists():
            assert render_process.poll() is None, "it waits in scene four"
    finally:
        render_process.send_signal(signal.SIGKILL)
        render_process.wait()
    assert len(stored(killed / KEPT)) == 3
    assert {path.name for path in killed.iterdir()} == {KEPT, FOLDER}, "and nothing of the output is there"

    engine = Engine("cpu", killed / KEPT)
    with asked(engine, tiny) as seen:
        assert cli.main(["render", str(jobs), "--out", str(killed), "--quiet"], engine=(engine, groups)) == 0
    assert seen.calls == 3 * 3, "three scenes of three steps"
    record = json.loads((killed / "six.json").read_text())
    assert [scene["reused"] for scene in record["scenes"]] == [True] * 3 + [False] * 3
    assert cli.main(["render", str(jobs), "--out", str(whole), "--quiet"], engine=(Engine("cpu"), groups)) == 0
    outputs = json.loads((whole / "six.json").read_text())["outputs"]
    assert record["outputs"] == outputs and len(outputs) == 1 + sum(LENGTHS) - 1
    for name in outputs:
        assert (killed / name).read_bytes() == (whole / name).read_bytes()
