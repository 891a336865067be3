"""The command line: what is rendered, what is refused, and what a call leaves behind."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipelines import cli
from pipelines.batch import words_of
from pipelines.farm.manifest import FOLDER
from pipelines.files import atomic, output
from pipelines.files.media import read_picture, read_recipe
from pipelines.job import parse
from pipelines.progress import BAR, Progress
from tests.fakes import FakeEngine, groups


class Call:
    """`diorama render` in a folder of its own, with the fake engine."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.capsys = folder, capsys
        self.out = folder / "out"
        self.engine = FakeEngine()

    def __call__(self, *jobs: dict[str, Any], options: tuple[str, ...] = (), out: Path | None = None) -> int:
        file = self.folder / "jobs.json"
        file.write_text(json.dumps([{"task": "text", "size": [16, 16], "steps": 2, **job} for job in jobs]))
        return self.raw(str(file), "--out", str(out or self.out), *options)

    def raw(self, *words: str) -> int:
        status = cli.main(["render", *words], engine=(self.engine, groups))
        captured = self.capsys.readouterr()
        self.said, self.complained = captured.out, captured.err
        return status

    @property
    def files(self) -> list[str]:
        """All files of the output folder but the batch's own."""
        names = (path.relative_to(self.out).as_posix() for path in self.out.rglob("*") if path.is_file())
        return sorted(name for name in names if not name.startswith(f"{FOLDER}/"))


@pytest.fixture
def call(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Call:
    return Call(tmp_path, capsys)


def assert_refused(call: Call, status: int, *words: str) -> None:
    """Status 2, one sentence, nothing rendered, nothing written."""
    assert status == 2
    assert len(call.complained.splitlines()) == 1
    assert "Traceback" not in call.complained
    for word in words:
        assert word in call.complained
    assert call.engine.batches == []
    assert not call.out.exists()


def test_pictures_and_their_records_stand_under_the_jobs_names(call: Call) -> None:
    assert call({"prompt": "a", "name": "first", "seed": 9}, {"prompt": "long " * 100 + "\x1b[2J"}) == 0
    assert call.files == ["first.json", "first.png", "text-002.json", "text-002.png"]
    assert (read_picture(call.out / "first.png")[..., :3] == 9).all()
    assert "2 of 2 rendered" in call.said
    assert str(call.out) in call.said
    assert f"  {call.out / 'first.png'}  a\n" in call.said
    assert "long lo...\n" in call.said


def test_the_record_tells_the_job_the_versions_and_the_hashes(call: Call) -> None:
    call({"prompt": "odd", "name": "first"})
    record = json.loads((call.out / "first.json").read_text())
    assert parse(record["job"]).name == "first"
    assert record["outputs"] == {"first.png": hashlib.sha256((call.out / "first.png").read_bytes()).hexdigest()}
    assert record["versions"].keys() >= {"diorama", "torch", "diffusers", "python"}
    assert (record["device"], record["warnings"]) == ("fake", ["the word 'odd' is unknown"])
    assert "warning: the word 'odd' is unknown" in call.complained


def test_a_video_is_an_mp4_with_exact_frames_when_asked(call: Call) -> None:
    assert call({"prompt": "a", "name": "v", "frames": 3, "png_frames": True}) == 0
    assert call.files == ["v.json", "v.mp4", "v/0000.png", "v/0001.png", "v/0002.png"]
    assert json.loads((call.out / "v.json").read_text())["outputs"].keys() == set(call.files) - {"v.json"}
    assert read_recipe(call.out / "v.mp4")["job"]["frames"] == 3


def test_the_same_job_twice_is_the_same_bytes_under_the_same_name(call: Call) -> None:
    call({"prompt": "a", "name": "first"})
    before = (call.out / "first.png").read_bytes()
    call({"prompt": "a", "name": "first"})
    assert call.files == ["first.json", "first.png"]
    assert (call.out / "first.png").read_bytes() == before


def test_another_job_never_overwrites_a_name(call: Call) -> None:
    call({"prompt": "a", "name": "first"})
    call({"prompt": "b", "name": "first"})
    call({"prompt": "b", "name": "first"})
    assert call.files == ["first-2.json", "first-2.png", "first.json", "first.png"]
    assert read_recipe(call.out / "first.png")["job"]["prompt"] == "a"


def test_a_strangers_file_is_not_overwritten(call: Call) -> None:
    call.out.mkdir()
    (call.out / "first.png").write_text("holiday photo")
    call({"prompt": "a", "name": "first"})
    assert (call.out / "first.png").read_text() == "holiday photo"
    assert "first-2.png" in call.files


def test_exact_frames_never_mix_with_another_jobs(call: Call) -> None:
    call({"prompt": "a", "name": "v", "frames": 3, "png_frames": True})
    for rest in ("v.json", "v.mp4"):
        (call.out / rest).unlink()  # as a kill while it rendered would leave it
    call({"prompt": "b", "name": "v", "frames": 2, "png_frames": True})
    assert [name for name in call.files if name.startswith("v-2")] == [
        "v-2.json",
        "v-2.mp4",
        "v-2/0000.png",
        "v-2/0001.png",
    ]


def test_nameless_jobs_of_two_files_get_two_names(call: Call) -> None:
    for name in ("a.yaml", "b.yaml"):
        (call.folder / name).write_text(f"{{task: text, prompt: {name}, size: [16, 16], steps: 1}}")
    assert call.raw(str(call.folder / "a.yaml"), str(call.folder / "b.yaml"), "--out", str(call.out)) == 0
    assert call.files == ["text-001-2.json", "text-001-2.png", "text-001.json", "text-001.png"]


def test_jobs_are_rendered_group_by_group_at_most_a_batch_at_once(call: Call) -> None:
    sizes = [[16, 16], [32, 16], [16, 16], [16, 16]]
    assert call(*({"prompt": f"p{i}", "size": size} for i, size in enumerate(sizes)), options=("--batch", "2")) == 0
    assert [[job.prompt for job in batch] for batch in call.engine.batches] == [["p0", "p2"], ["p3"], ["p1"]]  # type: ignore[union-attr]


def test_a_job_that_fails_is_told_and_the_others_go_on(call: Call) -> None:
    assert call({"prompt": "a"}, {"prompt": "fail", "name": "bad"}, {"prompt": "b"}, options=("--quiet",)) == 1
    assert call.files == ["text-001.json", "text-001.png", "text-003.json", "text-003.png"]
    line = call.complained.strip()
    assert line.startswith(
        f"bad failed ({call.folder / 'jobs.json'}, document 2): RuntimeError: out of memory (at fakes.py:"
    )
    assert "\n" not in line


def test_a_full_disk_fails_the_job_and_leaves_no_half_file(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic.os, "fsync", full)
    assert call({"prompt": "a"}) == 1
    assert "No space left on device" in call.complained
    assert call.files == []


def test_ctrl_c_keeps_what_was_finished(call: Call) -> None:
    assert call({"prompt": "a"}, {"prompt": "stop"}, options=("--batch", "1")) == 130
    assert call.files == ["text-001.json", "text-001.png"]
    assert "stopped" in call.complained


def test_a_dry_run_is_a_line_of_json_for_each_job_and_writes_nothing(call: Call) -> None:
    jobs = {"prompt": "odd", "name": "first"}, {"prompt": "a", "size": [32, 16], "frames": 3, "steps": 5}
    assert call(*jobs, options=("--dry-run",)) == 0
    first, second = map(json.loads, call.said.splitlines())
    assert first == {
        "file": str(call.folder / "jobs.json"), "document": 1, "name": "first", "task": "text", "size": [16, 16],
        "frames": 1, "steps": 2, "batch": 1, "tokens": 112, "pairs": 12544, "dense_pairs": 12544, "flops": 1.5e9,
        "seconds": 0.2, "peak_memory": 2**20, "warnings": ["the word 'odd' is unknown"], "resolved": {},
    }  # fmt: skip
    assert (second["name"], second["size"], second["frames"], second["seconds"]) == ("text-002", [32, 16], 3, 0.5)
    assert call.engine.batches == []
    assert not call.out.exists()


def test_a_dry_run_says_the_same_in_words_on_standard_error(call: Call) -> None:
    call({"prompt": "odd", "name": "first"}, options=("--dry-run",))
    assert (
        "first: text, 16 x 16, 1 frame, 2 steps: 112 tokens, 12,544 of 12,544 pairs, 1.5e+09 FLOPs, 0.2 s, "
        "0.00 GiB at most\n"
    ) in call.complained
    assert "first: warning: the word 'odd' is unknown\n" in call.complained
    call({"prompt": "odd", "name": "first"}, options=("--dry-run", "--quiet"))
    assert call.complained == "" and json.loads(call.said)["name"] == "first"


def test_a_dry_run_rehearses_the_batches_that_a_render_would_make_and_equal_ones_once(call: Call) -> None:
    sizes = [[16, 16], [32, 16]] + 4 * [[16, 16]]
    call(*({"prompt": f"p{i}", "size": size} for i, size in enumerate(sizes)), options=("--dry-run", "--batch", "2"))
    assert [[job.prompt for job in jobs] for jobs in call.engine.rehearsed] == [["p0", "p2"], ["p5"], ["p1"]]  # type: ignore[union-attr]
    told = [(line["document"], line["batch"], line["peak_memory"]) for line in map(json.loads, call.said.splitlines())]
    assert told == [(1, 2, 2**21), (2, 1, 2**20), *((n, 2, 2**21) for n in (3, 4, 5)), (6, 1, 2**20)]


def test_a_job_that_fails_its_rehearsal_is_told_and_the_others_have_their_cost(call: Call) -> None:
    jobs = {"prompt": "fail", "name": "bad"}, {"prompt": "a", "size": [32, 16]}
    assert call(*jobs, options=("--dry-run", "--quiet")) == 1
    bad, good = map(json.loads, call.said.splitlines())
    assert bad["seconds"] is bad["peak_memory"] is None and bad["tokens"] == 112
    assert good["seconds"] == 0.2
    assert call.complained.startswith("bad failed its rehearsal: RuntimeError: out of memory (at fakes.py:")
    assert len(call.complained.splitlines()) == 1


def test_too_many_at_once_are_rehearsed_alone(call: Call) -> None:
    assert call({"prompt": "a"}, {"prompt": "fail"}, options=("--dry-run",)) == 0
    assert [json.loads(line)["batch"] for line in call.said.splitlines()] == [1, 1]


def test_a_dry_run_of_something_wrong_is_refused_like_a_render(call: Call) -> None:
    status = call({"prompt": "good"}, {"prompt": "refuse"}, options=("--dry-run",))
    assert_refused(call, status, "document 2", "field model")
    assert call.said == "" and call.engine.rehearsed == []


def test_without_a_terminal_progress_is_plain_lines_and_quiet_says_nothing(call: Call) -> None:
    call({"prompt": "a"})
    assert "1 of 1: " in call.complained
    assert "\r" not in call.complained
    call({"prompt": "a"}, options=("--quiet",))
    assert call.said + call.complained == ""


def test_on_a_terminal_one_line_shows_job_step_and_time_left(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    call({"prompt": "a"}, {"prompt": "b"}, {"prompt": "c", "size": [32, 32]})
    assert "jobs 1-2 of 3, step 1 of 2, " in call.complained
    assert re.search(r"job 3 of 3, step 2 of 2, \d+ a second, 0 s left", call.complained)
    assert call.complained.endswith("\r\x1b[K")


def test_the_time_left_counts_jobs_by_what_they_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    shown = Progress(terminal, costs=[3.0, 1.0, 2.0])
    shown.step(1, [0, 2], 1, 2)
    for job in (0, 2):
        shown.finish(job)
    shown.step(3, [1], 1, 1)
    first, last = (re.search(r"\[(#*) *\]", line).group(1) for line in terminal.getvalue().split("\r")[1:])  # type: ignore[union-attr]
    assert len(first) == round(BAR * 2.5 / 6) and len(last) == BAR


def test_a_list_of_outputs_says_the_prompt_or_the_first_of_several() -> None:
    scenes = [{"prompt": "a red star " * 10}, {"prompt": "b"}, {"prompt": "c"}]
    assert words_of(parse({"task": "text", "prompt": "a ring"})) == "a ring"
    assert words_of(parse({"task": "scenes", "scenes": scenes[1:2]})) == "b"
    assert words_of(parse({"task": "scenes", "scenes": scenes})).endswith("... + 2 more")
    assert words_of(parse({"task": "masked", "source": "a.png", "mask": "b.png"})) == ""


def scene(**fields: Any) -> dict[str, Any]:
    return {"prompt": "a", "frames": 8, **fields}


@pytest.mark.parametrize(
    ("job", "field", "words"),
    [
        ({"prompt": "a", "frames": 0}, "frames", "greater than or equal to 1, got 0"),
        ({"prompt": "a", "frames": 10_000}, "frames", "less than or equal to 1000, got 10000"),
        ({"prompt": "a", "frames": 8, "fps": 0}, "fps", "greater than or equal to 1, got 0"),
        ({"prompt": "a", "frames": 8, "fps": 12.5}, "fps", "whole number"),
        ({"prompt": "a", "frames": 8, "size": [65, 64]}, "size[0]", "multiple of 16, got 65"),
        ({"task": "scenes"}, "scenes", "is missing"),
        ({"task": "scenes", "scenes": []}, "scenes", "at least 1"),
        ({"task": "scenes", "scenes": 51 * [scene()]}, "scenes", "at most 50"),
        ({"task": "scenes", "scenes": [scene(frames=0)]}, "scenes[0].frames", "greater than or equal to 1, got 0"),
        ({"task": "scenes", "scenes": [scene(), scene(frames=10_000)]}, "scenes[1].frames", "1000, got 10000"),
        ({"task": "scenes", "scenes": 11 * [scene(frames=100)]}, "scenes", "at most 1,000 frames"),
        ({"task": "scenes", "scenes": [scene(prompt=" ")]}, "scenes[0].prompt", "expected words"),
        ({"task": "scenes", "scenes": [scene(prmpt="a")]}, "scenes[0].prmpt", "did you mean 'prompt'"),
        ({"task": "scenes", "scenes": [scene()], "size": [64, 65]}, "size[1]", "multiple of 16, got 65"),
        ({"task": "scenes", "scenes": [scene()], "window": 0}, "window", "greater than or equal to 1, got 0"),
        (
            {"task": "scenes", "scenes": [scene(transition="crossfade"), scene()]},
            "scenes[0].transition", "expected the first scene to begin with a cut",
        ),
        (
            {"task": "scenes", "scenes": [scene(), scene(transition="crossfade", transition_frames=9)]},
            "scenes[1].transition_frames", "got 9; make it shorter",
        ),
        (
            {"task": "scenes", "scenes": [scene(), scene(transition="black", transition_frames=0)]},
            "scenes[1].transition_frames", "greater than or equal to 1, got 0",
        ),
        ({"task": "scenes", "scenes": [scene(), scene(transition="wipe")]}, "scenes[1].transition", "'crossfade'"),
        (
            {"task": "scenes", "cuts": False, "scenes": [scene(), scene(transition="crossfade")]},
            "scenes[1].transition", "one shot",
        ),
        ({"task": "masked", "mask": "m.png"}, "source", "is missing"),
        ({"task": "masked", "source": "a.mp4", "mask": "m.png", "keep_frames": "0"}, "keep_frames", "both"),
        ({"task": "masked", "source": "a.mp4"}, "mask", "got none"),
        ({"task": "masked", "source": "a.mp4", "keep_frames": "first"}, "keep_frames", 'such as "0-3"'),
        ({"task": "masked", "source": "a.mp4", "keep_frames": "0", "frames": 10_000}, "frames", "1000, got 10000"),
        ({"task": "masked", "source": "a.png", "outpaint": [8, 0, 0, 0]}, "outpaint[0]", "multiple of 16, got 8"),
        ({"task": "masked", "source": "a.png", "outpaint": [-16, 0, 0, 0]}, "outpaint[0]", "greater than or equal"),
        ({"task": "masked", "source": "", "mask": "m.png"}, "source", "expected a name or path"),
    ],
)  # fmt: skip
def test_a_video_that_can_not_be_is_refused_by_its_field(
    call: Call, job: dict[str, Any], field: str, words: str
) -> None:
    file = call.folder / "jobs.json"
    file.write_text(json.dumps([{"task": "text", "prompt": "good", "size": [16, 16]}, {"task": "text", **job}]))
    status = call.raw(str(file), "--out", str(call.out))
    assert_refused(call, status, f"{file}, document 2, field {field}: ", words)


@pytest.mark.parametrize(
    ("job", "words"),
    [
        ({"prompt": "a", "stpes": 3}, ("document 2", "field stpes", "did you mean 'steps'")),
        ({"prompt": "a", "size": [100, 16]}, ("document 2", "field size[0]", "expected a multiple of 16")),
        ({"prompt": "a", "steps": 500}, ("document 2", "field steps", "less than or equal to 200, got 500")),
        ({"prompt": "a " * 10_000}, ("document 2", "field prompt", "at most 2,000 words")),
        ({"prompt": "a", "guidance": float("nan")}, ("document 2", "field guidance", "expected a finite number")),
        ({"prompt": "a", "name": "../../etc/passwd"}, ("document 2", "field name", "plain file name")),
        ({"prompt": "refuse"}, ("document 2", "field model", "expected a checkpoint, got a folder")),
        ({"task": "layout"}, ("document 2", "field prompt", "is missing")),
    ],
)
def test_one_wrong_document_refuses_the_whole_call(call: Call, job: dict[str, Any], words: tuple[str, ...]) -> None:
    assert_refused(call, call({"prompt": "good"}, job), "jobs.json", *words)


def test_a_missing_file_is_refused_though_another_is_right(call: Call) -> None:
    (call.folder / "good.yaml").write_text("{task: text, prompt: a}")
    status = call.raw(str(call.folder / "good.yaml"), str(call.folder / "absent.yaml"), "--out", str(call.out))
    assert_refused(call, status, "absent.yaml: there is no such file")


def test_an_alias_bomb_is_refused(call: Call) -> None:
    (call.folder / "bomb.yaml").write_text("a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n")
    assert_refused(call, call.raw(str(call.folder / "bomb.yaml"), "--out", str(call.out)), "document 1", "alias *a")


def test_options_of_a_cluster_are_refused_without_one(call: Call) -> None:
    assert_refused(call, call({"prompt": "a"}, options=("--actors", "2")), "--actors: is of a Ray cluster")
    assert_refused(call, call({"prompt": "a"}, options=("--address", "auto")), "--address: is of a Ray cluster")


def test_an_output_folder_that_can_not_be_made_is_refused(call: Call) -> None:
    (call.folder / "file").write_text("")
    for out in (call.folder / "file", call.folder / "file" / "deep" / "er"):
        assert_refused(call, call({"prompt": "a"}, out=out), "--out", "expected a folder to write to")
    assert (call.folder / "file").read_text() == ""


def test_an_output_folder_that_turns_out_read_only_is_refused(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(output.tempfile, "TemporaryFile", denied)
    assert_refused(call, call({"prompt": "a"}), "--out", "Permission denied", "choose another")


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_an_output_folder_that_can_not_be_written_is_refused(call: Call) -> None:
    call.folder.chmod(0o755)
    locked = call.folder / "locked"
    locked.mkdir(mode=0o555)
    assert_refused(call, call({"prompt": "a"}, out=locked / "new"), "--out", "Permission denied")


def test_a_refused_call_leaves_no_folder_and_a_folder_that_was_there(call: Call) -> None:
    deep = call.folder / "a" / "b"
    call({"prompt": "refuse"}, out=deep)
    assert not (call.folder / "a").exists()
    call.out.mkdir()
    assert call({"prompt": "refuse"}) == 2
    assert call.files == [] and call.out.is_dir()


@pytest.mark.parametrize("words", [[], ["rendr"], ["render"], ["render", "a.yaml", "--batch", "0"], ["render", "--x"]])
def test_a_wrong_command_is_told_with_its_usage(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(words)
    assert caught.value.code == 2
    assert "usage: diorama" in capsys.readouterr().err


def test_a_training_run_that_is_not_there_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", "absent.yaml"]) == 2
    assert "absent.yaml: there is no such file" in capsys.readouterr().err


def test_train_and_studio_are_reached_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    training = SimpleNamespace(train=lambda run, **options: calls.append((run, options)))
    studio = SimpleNamespace(main=calls.append)
    monkeypatch.setitem(sys.modules, "training.main", training)  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "app", studio)  # type: ignore[arg-type]
    run = tmp_path / "run.yaml"
    run.write_text("")
    assert cli.main(["train", str(run), "--device", "cpu", "--stop-after", "5"]) == 0
    assert cli.main(["studio", "--port", "7861"]) == 0
    assert calls == [(run, {"device": "cpu", "stop_after": 5}), ["--port", "7861"]]
