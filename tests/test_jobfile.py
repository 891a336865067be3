"""Files of jobs: every way to get one wrong is told in one sentence, and nothing is read half."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.files import jobfile
from pipelines.files.jobfile import Source, read_jobs
from pipelines.job import TextJob
from pipelines.refusal import Refused

GOOD = "task: text\nprompt: a red circle on a white background\n"
JOB = {"task": "text", "prompt": "a red circle on a white background"}


def write(folder: Path, text: str | bytes, name: str = "jobs.yaml") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def refused(*paths: Path | str) -> Refused:
    with pytest.raises(Refused) as caught:
        read_jobs(paths)
    assert "\n" not in str(caught.value)
    return caught.value


def test_yaml_json_and_json_lines_give_the_same_jobs(tmp_path: Path) -> None:
    files = [
        write(tmp_path, f"{GOOD}---\n{GOOD}"),
        write(tmp_path, json.dumps([JOB, JOB]), "jobs.json"),
        write(tmp_path, f"{json.dumps(JOB)}\n\n{json.dumps(JOB)}\n", "jobs.jsonl"),
    ]
    sources = read_jobs(files)
    assert [(source.file, source.document) for source in sources] == [(str(f), n) for f in files for n in (1, 2)]
    assert len({source.job for source in sources}) == 1


def test_a_json_object_is_one_job(tmp_path: Path) -> None:
    assert len(read_jobs([write(tmp_path, json.dumps(JOB), "job.json")])) == 1


def test_a_byte_order_mark_and_windows_line_ends_are_read(tmp_path: Path) -> None:
    assert len(read_jobs([write(tmp_path, b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())])) == 1


def test_the_example_file_is_a_dozen_jobs_that_show_the_range() -> None:
    jobs = [source.job for source in read_jobs([Path(__file__).parents[1] / "assets/examples/demo.yaml"])]
    texts = [job for job in jobs if isinstance(job, TextJob)]
    said = " ".join(job.prompt for job in texts)
    assert len(texts) == 12
    for words in ("left of", "right of", "above", "below", "inside", "two", "three", "meadow", "night", "sea", "small"):
        assert words in said
    assert any(job.size[0] > job.size[1] for job in texts) and any(job.size[0] < job.size[1] for job in texts)


def test_a_refusal_names_file_document_field_and_reason(tmp_path: Path) -> None:
    path = write(tmp_path, f"{GOOD}---\n{GOOD}size: [100, 128]\n")
    problem = refused(path)
    assert (problem.file, problem.document, problem.field) == (str(path), 2, "size[0]")
    assert str(problem) == f"{path}, document 2, field size[0]: expected a multiple of 16, got 100; try 96 or 112"


@pytest.mark.parametrize(
    ("text", "document", "reason"),
    [
        (GOOD + "seed: 1\nseed: 2\n", 1, "the key 'seed' stands twice, again at line 4"),
        (GOOD + "---\n" + GOOD + "stpes: 3\n", 2, "did you mean 'steps'"),
        (GOOD + "---\n- a\n", 2, "expected a mapping with a task, got ['a']"),
        (GOOD + "---\n", 2, "got nothing"),
        (GOOD + "name: [\n", 1, "is not YAML"),
        (GOOD + "---\na: b: c\n", 2, "is not YAML: mapping values are not allowed in this context at line 4"),
        ("task: &a text\nprompt: *a\n", 1, "got the alias *a at line 2; write the value out"),
        ("task: !!python/object/apply:os.system ['touch pwned']\n", 1, "expected plain values, got the tag"),
        ("task: !!str text\n", 1, "expected plain values, got the tag"),
        ("task: " + "[" * 100_000, 1, "is nested deeper than 32 levels"),
        ("? [1]\n: 2\n", 1, "expected a word as a key"),
        ("<<: {task: text}\nprompt: a\n", 1, "task: is missing"),
        (GOOD + "seed: " + "9" * 5000, 1, "expected a value"),
        (GOOD + "name: 2026-99-99\n", 1, "put quotes around text"),
        (GOOD + "guidance: .nan\n", 1, "guidance: expected a finite number, got nan"),
        (GOOD + "steps: '24'\n", 1, "write it without quotes"),
        (GOOD + "prompt: \x00\n", 1, "is not YAML"),
        ("", 0, "expected at least one job, got an empty file"),
        ("# nothing\n", 0, "expected at least one job, got an empty file"),
        (b"\xff\xfe" + GOOD.encode("utf-16-le"), 0, "expected UTF-8 text, got the byte 0xff at 0"),
    ],
)
def test_a_wrong_yaml_file_is_refused(tmp_path: Path, text: str | bytes, document: int, reason: str) -> None:
    problem = refused(write(tmp_path, text))
    assert problem.document == document
    assert reason in str(problem)
    assert not Path("pwned").exists()


def test_an_alias_bomb_is_refused_before_it_grows(tmp_path: Path) -> None:
    lines = ["a0: &a0 [lol, lol, lol, lol]"] + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 30)]
    assert "alias" in refused(write(tmp_path, "\n".join(lines))).reason


@pytest.mark.parametrize(
    ("name", "text", "document", "reason"),
    [
        ("a.json", "", 0, "an empty file"),
        ("a.json", "[]", 0, "an empty file"),
        ("a.json", "{", 0, "is not JSON"),
        ("a.json", "[" * 100_000, 0, "nested deeper"),
        ("a.json", '{"task": "text", "task": "text"}', 0, "the key 'task' stands twice"),
        ("a.json", '{"task": "text", "prompt": "a", "guidance": NaN}', 1, "expected a finite number, got nan"),
        ("a.json", '{"task": "text", "prompt": "\\ud800"}', 1, "surrogate"),
        ("a.json", '[{"task": "text", "prompt": "a"}, 3]', 2, "expected a mapping with a task, got 3"),
        ("a.jsonl", json.dumps(JOB) + "\n{", 2, "is not JSON"),
        ("a.txt", GOOD, 0, "expected a file that ends in .yaml, .yml, .json, .jsonl, .ndjson"),
        ("a", GOOD, 0, "expected a file that ends in"),
    ],
)
def test_a_wrong_file_of_another_kind_is_refused(
    tmp_path: Path, name: str, text: str, document: int, reason: str
) -> None:
    problem = refused(write(tmp_path, text, name))
    assert problem.document == document
    assert reason in str(problem)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.yaml").mkdir()
    assert "there is no such file" in str(refused(tmp_path / "absent.yaml"))
    assert "expected a file, got a folder" in str(refused(tmp_path / "folder.yaml"))
    assert "is not a path" in str(refused("a\0b.yaml"))


def test_a_file_over_the_limit_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "huge.yaml"
    with path.open("wb") as stream:
        stream.truncate(jobfile.MAX_BYTES + 1)
    assert "expected at most 16 MiB, got more" in str(refused(path))


def test_too_many_documents_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobfile, "MAX_DOCUMENTS", 3)
    path = write(tmp_path, "---\n".join([GOOD] * 4))
    assert "expected at most 3 documents" in str(refused(path))


def test_two_jobs_with_one_name_are_refused_and_both_places_are_told(tmp_path: Path) -> None:
    first = write(tmp_path, GOOD + "name: sun\n")
    second = write(tmp_path, f"{GOOD}---\n{GOOD}name: SUN\n", "more.yaml")
    problem = refused(first, second)
    assert (problem.file, problem.document, problem.field) == (str(second), 2, "name")
    assert f"'SUN' is the name of {first}, document 1 already" in problem.reason


@given(text=st.text(max_size=200) | st.binary(max_size=200))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_file_gives_jobs_or_one_sentence(tmp_path: Path, text: str | bytes) -> None:
    for suffix in ("yaml", "json", "jsonl"):
        data = text.encode("utf-8", "replace") if isinstance(text, str) else text
        try:
            assert all(isinstance(source, Source) for source in read_jobs([write(tmp_path, data, f"any.{suffix}")]))
        except Refused as problem:
            assert len(str(problem).splitlines()) == 1
