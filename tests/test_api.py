"""Jobs and results over HTTP: what is asked is done by the queue, and files and models have names and no paths."""

from __future__ import annotations

import asyncio
import hashlib
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from pipelines.job import KINDS, TextJob
from pipelines.queue.queue import Queue
from tests.paced import PATIENCE, free_port, over, text
from tests.programs import Programs, at_work, programs
from tests.staged import picture, video
from ui.api import progress
from ui.api.shapes import MOST_JOBS
from ui.api.wirejobs import TASKS
from ui.guard import API

STAR = {"task": "text", "prompt": "a yellow star", "size": [64, 64], "steps": 2}


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Programs]:
    with programs(tmp_path) as found:
        yield found


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Programs]:
    with at_work(tmp_path_factory.mktemp("studio")) as found:
        yield found


def given(house: Programs, data: bytes, what: str = "source") -> str:
    return str(house.ask("POST", f"/uploads?for={what}", content=data)["id"])


# ------------------------------------------------------------ jobs


def test_a_job_is_rendered_followed_and_fetched(busy: Programs) -> None:
    id = busy.add("a red circle", priority=3)
    events = busy.client.get(f"{API}/jobs/{id}/events")
    assert events.headers["content-type"].startswith("text/event-stream")
    told = [json.loads(line[6:]) for line in events.text.splitlines() if line.startswith("data: ")]
    assert told[-1] == {"id": id, "state": "done", "step": 2, "steps": 2, "message": told[-1]["message"], "files": 2}
    row = busy.ask("GET", f"/jobs/{id}")
    assert (row["state"], row["priority"], row["files"]) == ("done", 3, 2)
    files = busy.ask("GET", f"/jobs/{id}/files")["files"]
    assert [file["type"] for file in files] == ["image/png", "application/json"]
    for file in files:
        answer = busy.client.get(f"{API}/jobs/{id}/files/{file['number']}")
        assert hashlib.sha256(answer.content).hexdigest() == file["sha256"] and len(answer.content) == file["bytes"]
        assert answer.headers["content-type"] == file["type"] and answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-disposition"].startswith("attachment")
    assert str(busy.folder) not in json.dumps([row, files])


def test_a_job_on_the_wire_is_the_job_of_a_file(house: Programs) -> None:
    assert TASKS.keys() == KINDS.keys()
    for task, kind in KINDS.items():
        assert list(TASKS[task].model_fields) == list(kind.model_fields), task
    row = house.queue.get(house.add("a red circle"))
    assert row is not None and row.job == TextJob.model_validate({**STAR, "prompt": "a red circle"}).model_dump(
        mode="json"
    )


def test_a_batch_is_accepted_whole_or_not_at_all(house: Programs) -> None:
    refused = {"jobs": [STAR, {**STAR, "prompt": "refuse"}]}
    assert house.refused("POST", "/batches", 422, json=refused)[1] == "jobs[1].model"
    assert house.refused("POST", "/batches", 422, json={"jobs": [STAR, {"task": "text"}]})[1] == "jobs[1].prompt"
    house.refused("POST", "/batches", 422, json={"jobs": []})
    house.refused("POST", "/batches", 422, json={"jobs": [STAR] * (MOST_JOBS + 1)})
    assert house.queue.rows() == []
    told = house.ask("POST", "/batches", json={"jobs": [{**STAR, "seed": seed} for seed in range(3)], "priority": -2})
    assert [job["job"]["seed"] for job in told["jobs"]] == [0, 1, 2] and told["jobs"][0]["priority"] == -2
    assert house.ask("GET", f"/batches/{told['batch']}") == told
    house.refused("GET", "/batches/0123456789abcdef", 404)


def test_jobs_are_listed_by_state_a_page_at_a_time(house: Programs) -> None:
    ids = [house.add() for _ in range(5)]
    house.queue.cancel(ids[0])
    page = house.ask("GET", "/jobs?state=queued&limit=3")
    assert [job["id"] for job in page["jobs"]] == ids[:1:-1] and (page["total"], page["next"]) == (4, 3)
    rest = house.ask("GET", "/jobs?state=queued&limit=3&offset=3")
    assert [job["id"] for job in rest["jobs"]] == [ids[1]] and rest["next"] is None
    assert house.ask("GET", "/jobs?state=queued&state=cancelled")["total"] == 5
    assert house.ask("GET", "/jobs?offset=1000000000")["jobs"] == []
    for wrong in ("state=no", "limit=0", "limit=101", "offset=-1", f"offset={10**30}", "limit=x"):
        house.refused("GET", f"/jobs?{wrong}", 422)


def test_a_job_is_paused_resumed_cancelled_and_retried(house: Programs) -> None:
    id = house.add()
    assert house.ask("POST", f"/jobs/{id}/pause")["state"] == "paused"
    house.refused("POST", f"/jobs/{id}/pause", 409)
    assert house.ask("POST", f"/jobs/{id}/resume")["state"] == "queued"
    house.refused("POST", f"/jobs/{id}/resume", 409)
    house.refused("POST", f"/jobs/{id}/retry", 409)
    assert house.ask("DELETE", f"/jobs/{id}")["state"] == "cancelled"
    house.refused("DELETE", f"/jobs/{id}", 409)
    again = house.ask("POST", f"/jobs/{id}/retry")
    assert again["parent"] == id and again["id"] != id and again["state"] == "queued"
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/pause"), ("POST", "/retry"), ("GET", "/files"),
                         ("GET", "/files/0"), ("GET", "/events")):  # fmt: skip
        house.refused(method, f"/jobs/0123456789abcdef{path}", 404)


def test_a_cost_is_told_and_nothing_is_written(house: Programs) -> None:
    house.ask("GET", "/jobs")
    before = sorted(house.folder.rglob("*"))
    cost = house.ask("POST", "/jobs/check", json={"job": {**STAR, "prompt": "a zebra"}})
    assert cost["tokens"] > 0 and cost["flops"] > 0 and "zebra" in cost["warnings"][0]
    house.refused("POST", "/jobs/check", 422, json={"job": {**STAR, "prompt": "refuse"}})
    assert sorted(house.folder.rglob("*")) == before and house.queue.rows() == []


WRONG: list[tuple[Any, str, str]] = [
    ({"job": {**STAR, "size": [100, 64]}}, "job.size[0]", "expected a multiple of 16, got 100; try 96 or 112"),
    ({"job": {**STAR, "promt": "x"}}, "job.promt", "unknown key; did you mean 'prompt'?"),
    ({"job": {**STAR, "steps": "2"}}, "job.steps", "write it without quotes"),
    ({"job": {"task": "text"}}, "job.prompt", "is missing"),
    ({"job": {"task": "nothing"}}, "job.task", "expected a mapping whose task is one of text"),
    ({"job": "x"}, "job", "expected a mapping, got the text 'x'"),
    ({}, "job", "is missing"),
    ({"job": STAR, "priority": 101}, "priority", "expected less than or equal to 100, got 101"),
    ({"job": STAR, "more": 1}, "more", "unknown key"),
    ({"job": {"task": "masked", "source": "upload:0123456789abcdef01234567"}}, "job.mask", "got none"),
    ({"job": {**STAR, "prompt": "half \ud800"}}, "job.prompt", "half of a surrogate pair"),
    ({"job": {**STAR, "half \ud800": 1}}, "job", "half of a surrogate pair"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "field", "said"), WRONG)
def test_what_is_wrong_is_one_sentence_and_a_field(house: Programs, body: Any, field: str, said: str) -> None:
    headers = {"content-type": "application/json"}
    found = house.refused("POST", "/jobs", 422, content=json.dumps(body).encode(), headers=headers)
    assert found[1] == field and said in found[0]
    assert house.queue.rows() == []


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 422),
        (b"[" * 90_000, 400),
        (b'{"job": ' + b"9" * 5_000 + b"}", 400),
        (b"\xff\xfe", 422),
        (b"0" * 3 * 2**20, 413),
    ],
)
def test_a_body_that_is_no_json_is_refused_in_the_same_shape(house: Programs, body: bytes, status: int) -> None:
    house.refused("POST", "/jobs", status, content=body, headers={"content-type": "application/json"})


def test_addresses_that_there_are_not_are_answered_in_the_same_shape(house: Programs) -> None:
    house.refused("GET", "/nothing", 404)
    house.refused("GET", "/jobs/a%0Ab", 422)  # a line break leads nowhere else
    house.refused("PUT", "/jobs", 405)
    house.refused("POST", "/jobs", 422, content=b"task=text", headers={"content-type": "text/plain"})


# ------------------------------------------------------------ names


def test_a_file_that_was_given_is_named_by_its_id(busy: Programs) -> None:
    source = given(busy, picture(128, 96))
    mask = given(busy, picture(128, 96, seed=2), "exact")
    job = {"task": "masked", "source": source, "mask": mask, "prompt": "a star", "steps": 2}
    id = busy.ask("POST", "/jobs", json={"job": job})["id"]
    row = busy.queue.get(id)
    assert row is not None and Path(row.job["source"]).is_relative_to(busy.folder)
    told = busy.ask("GET", f"/jobs/{id}")["job"]
    assert (told["source"], told["mask"]) == (source, mask)
    assert over(busy.queue, id).state == "done"


def test_an_output_is_named_by_its_job(busy: Programs) -> None:
    first = busy.add()
    over(busy.queue, first)
    job = {"task": "masked", "source": f"output:{first}/0", "outpaint": [16, 0, 0, 0], "steps": 2}
    told = busy.ask("POST", "/jobs", json={"job": job})
    assert told["job"]["source"] == f"output:{first}/0" and over(busy.queue, told["id"]).state == "done"
    film = busy.ask("POST", "/jobs", json={"job": {**STAR, "frames": 4, "png_frames": True}})["id"]
    over(busy.queue, film)
    story = {"task": "scenes", "size": [64, 64], "scenes": [{"prompt": "a star", "frames": 4}], "steps": 2}
    told = busy.ask("POST", "/jobs", json={"job": {**story, "continue_from": f"output:{film}/0"}})
    assert told["job"]["continue_from"] == f"output:{film}/0"
    row = busy.queue.get(told["id"])
    assert row is not None and Path(row.job["continue_from"]).is_dir()  # its exact frames


SECRETS = [
    "/etc/passwd", "SECRET", "../secret.png", "file:///etc/passwd", "http://127.0.0.1:1/a.png", "uploads/x", "upload:",
    "upload:../../secret", "upload:0123456789abcdef01234567/../x", "output:0123456789abcdef/../0", "~/x", "-",
    "\\\\a\\b", "upload:0123456789ABCDEF01234567", "output:0123456789abcdef/0", "upload:0123456789abcdef01234567",
    "con", "a\0b",
]  # fmt: skip
FIELDS: list[dict[str, Any]] = [
    {"task": "masked", "source": "X", "outpaint": [16, 0, 0, 0]},
    {"task": "masked", "source": "PICTURE", "mask": "X"},
    {"task": "masked", "source": "PICTURE", "outpaint": [16, 0, 0, 0], "reference": "X"},
    {"task": "scenes", "scenes": [{"prompt": "a"}], "continue_from": "X"},
    {"task": "layered", "prompt": "a", "layers": [{"box": [0, 0, 1, 1], "source": "X"}]},
    {"task": "layered", "prompt": "a", "layers": [{"box": [0, 0, 1, 1]}], "background": "X"},
    {"task": "layered", "prompt": "a", "layers": [{"box": [0, 0, 1, 1]}], "source": "X"},
    {"task": "dubbing", "source": "PICTURE", "audio": "X"},
    {"task": "dubbing", "source": "X", "audio": "PICTURE"},
    {**STAR, "adapters": [{"path": "X"}]},
    {"task": "layout", "prompt": "a", "boxes": [{"box": [0, 0, 1, 1], "prompt": "a", "adapters": [{"path": "X"}]}]},
    {**STAR, "model": "X"},
]


@pytest.mark.parametrize("job", FIELDS)
def test_no_field_takes_a_path_or_an_address(busy: Programs, job: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(picture())
    source, before = given(busy, picture()), [row.id for row in busy.queue.rows()]
    for secret in SECRETS:
        secret = secret.replace("SECRET", str(tmp_path / "secret.png"))
        filled = json.loads(json.dumps(job).replace('"X"', json.dumps(secret)).replace("PICTURE", source))
        for path in ("/jobs", "/jobs/check"):
            said, field = busy.refused("POST", path, 422, json={"job": filled})
            assert field.startswith("job."), said
            assert str(busy.folder) not in said and "root:" not in said
    assert [row.id for row in busy.queue.rows()] == before


def test_an_upload_has_the_limits_of_the_page(house: Programs) -> None:
    assert house.ask("POST", "/uploads", content=video())["kind"] == "video"
    for what in ("source", "exact", "face", "voice"):
        house.refused("POST", f"/uploads?for={what}", 400, content=b"no picture")
    house.refused("POST", "/uploads?for=model", 422, content=picture())
    house.refused("POST", "/uploads", 413, content=b"", headers={"content-length": str(2**30)})


def test_only_files_of_the_job_itself_are_served(busy: Programs, tmp_path: Path) -> None:
    id = busy.add()
    files = over(busy.queue, id).files
    for number in ("2", "-1", "999999", "9999999999999999999999", "x", "%2e%2e"):
        assert 400 <= busy.client.get(f"{API}/jobs/{id}/files/{number}").status_code < 500
    (tmp_path / "secret.png").write_bytes(b"secret")
    picture = busy.folder / files[0]
    picture.unlink()
    picture.symlink_to(tmp_path / "secret.png")
    busy.refused("GET", f"/jobs/{id}/files/0", 404)
    assert [file["number"] for file in busy.ask("GET", f"/jobs/{id}/files")["files"]] == [1]


def test_models_are_told_by_id(house: Programs) -> None:
    (papercut,) = house.ask("GET", "/models")["models"]
    assert papercut["id"] == "papercut" and "text" in papercut["tasks"] and papercut["sides"] == [64, 192]


# ------------------------------------------------------------ events


def test_a_stream_ends_with_its_job_and_says_nothing_twice(busy: Programs) -> None:
    id = busy.add()
    over(busy.queue, id)
    told = busy.client.get(f"{API}/jobs/{id}/events").text
    assert told.count("event: job") == 1
    last = told.splitlines()[1].removeprefix("id: ")
    assert busy.client.get(f"{API}/jobs/{id}/events", headers={"last-event-id": last}).status_code == 204
    assert busy.client.get(f"{API}/jobs/{id}/events", headers={"last-event-id": "x"}).text == told


def test_the_stream_of_all_jobs_begins_with_those_that_are_not_over(
    house: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [house.add(), house.add()]
    events = progress.Progress(house.queue, str)._all()

    async def three() -> list[str]:
        found = [await anext(events)]
        house.queue.cancel(ids[0])
        while len(found) < 2:
            if event := await anext(events):
                found.append(event)
        return found

    monkeypatch.setattr(progress, "LOOK", 0.01)
    first, second = asyncio.run(three())
    assert first.startswith("event: jobs\n") and all(id in first for id in ids)
    assert second.startswith("event: job\n") and ids[0] in second and '"cancelled"' in second


def test_a_quiet_stream_says_that_it_is_there_and_ends_in_time(
    house: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "LOOK", 0.01)
    monkeypatch.setattr(progress, "ALIVE", 0.02)
    monkeypatch.setattr(progress, "LONGEST", 0.3)
    told = house.client.get(f"{API}/jobs/{house.add()}/events").text
    assert told.count("event: ") == 1 and told.count(": here\n\n") > 1


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_stream_that_is_open_does_not_keep_the_studio_from_ending(tmp_path: Path, how: signal.Signals) -> None:
    command = [sys.executable, "app.py", "--port", str(port := free_port()), "--out", str(tmp_path)]
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # also where the tests themselves do not hear it
    studio = subprocess.Popen(
        command, cwd=Path(__file__).parents[1], stdout=subprocess.PIPE, text=True, preexec_fn=heard
    )
    try:
        assert studio.stdout and "The studio is at" in studio.stdout.readline()
        with httpx.stream("GET", f"http://127.0.0.1:{port}{API}/events", timeout=PATIENCE) as events:
            lines = events.iter_lines()
            assert next(lines) == "event: jobs"
            studio.send_signal(how)
            assert studio.wait(PATIENCE) == 0
            with suppress(httpx.RemoteProtocolError):  # cut as by a network that fails, after which readers come again
                assert list(lines) == ['data: {"jobs": []}', ""]
    finally:
        studio.kill()


def test_not_more_streams_are_open_than_there_is_room_for(house: Programs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "MOST", 0)
    house.refused("GET", "/events", 429)
    monkeypatch.setattr(progress, "MOST", 1)
    monkeypatch.setattr(progress, "LONGEST", 0.0)
    for _ in range(3):
        assert house.client.get(f"{API}/events").status_code == 200


# ------------------------------------------------------------ the house


def test_the_routes_load_neither_torch_nor_diffusers() -> None:
    code = "import sys, ui.api.beside; print(*(name for name in ('torch', 'diffusers') if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_the_queue_finds_the_job_of_a_file_and_the_states_of_many(tmp_path: Path) -> None:
    queue = Queue(tmp_path)
    ids = [queue.add(text()) for _ in range(2)]
    queue.claim()
    queue.done(ids[0], ["é/a.png", "a.json"])
    assert queue.of_file("é/a.png") == (ids[0], 0) and queue.of_file("a.png") is None
    assert queue.states([*ids, "none"]) == {ids[0]: "done", ids[1]: "queued"}
