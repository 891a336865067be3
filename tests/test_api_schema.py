"""Requests made at random from the OpenAPI description: nothing breaks, answers are as described, and nothing of this
machine is read or written but the studio's folder.

    DIORAMA_REQUESTS=10000 python -m pytest tests/test_api_schema.py
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import CHECKS

from tests.paced import over
from tests.programs import Programs, at_work
from tests.staged import picture
from ui.api import progress
from ui.guard import API

REQUESTS = int(os.environ.get("DIORAMA_REQUESTS", "300"))
SECRET = b"what nobody may read"
TOP = Path(__file__).parents[1]
# What the server may read besides: Python and its packages, our own code and model, what Linux tells of the machine.
OURS = (str(TOP), str(TOP.resolve()), sys.prefix, sys.base_prefix, str((TOP / ".venv").resolve()), "/proc/", "/sys/",
        "/dev/fd/", "/dev/null", "/dev/urandom", "/usr/share/zoneinfo", "/etc/mime.types", "/etc/localtime",
        "/etc/apache2", "/etc/httpd")  # fmt: skip
ASKED = ("not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance")


class Watch:
    """Which files are opened, made, moved or removed, and which addresses and programs are reached, while it is on."""

    def __init__(self) -> None:
        self.folder = ""
        self.strange: set[str] = set()
        sys.addaudithook(self._hear)  # it stays for as long as the process does

    @contextmanager
    def over(self, folder: Path) -> Iterator[None]:
        self.folder = str(folder)
        try:
            yield
        finally:
            self.folder = ""

    def _hear(self, event: str, args: tuple[Any, ...]) -> None:
        if not self.folder:
            return
        if event == "open":
            path, _, flags = args
            writes = bool((flags or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
            self._judge(event, path, writes)
        elif event in ("os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.link", "os.symlink", "os.truncate"):
            for path in args[:2] if event in ("os.rename", "os.link", "os.symlink") else args[:1]:
                self._judge(event, path, True)
        elif event in ("socket.connect", "socket.getaddrinfo", "subprocess.Popen", "os.system", "os.exec", "os.fork"):
            self.strange.add(f"{event} {args}")

    def _judge(self, event: str, path: Any, writes: bool) -> None:
        if not isinstance(path, str | bytes | os.PathLike) or not os.path.isabs(name := os.fsdecode(path)):
            return  # a number, or a name inside a folder that was opened before
        if not name.startswith(self.folder) and (writes or not name.startswith(OURS)) and name != "/dev/null":
            self.strange.add(f"{event} {name}")


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Programs]:
    around = tmp_path_factory.mktemp("around")
    (around / "secret.png").write_bytes(SECRET)
    with at_work(around / "studio") as found:
        yield found


def test_requests_at_random_break_nothing_and_reach_nothing(
    house: Programs, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    monkeypatch.setattr(progress, "LONGEST", 0.0)  # a stream is one look
    done = house.add()
    over(house.queue, done)
    batch = house.ask("POST", "/batches", json={"jobs": [{"task": "text", "prompt": "a", "steps": 1}]})["batch"]
    source = house.ask("POST", "/uploads", content=picture())["id"]
    schema = schemathesis.openapi.from_dict(house.ask("GET", "/openapi.json"))
    operations = [each.ok() for each in schema.get_all_operations()]
    checks = [each for each in CHECKS.get_all() if each.__name__ in ASKED]
    assert len(checks) == len(ASKED) and len(operations) == 16
    statuses: Counter[tuple[str, int]] = Counter()
    watch, each = Watch(), -(-REQUESTS // len(operations))
    known = {"id": done, "batch": batch, "number": 0}

    for operation in operations:
        made = operation.as_strategy(generation_mode=schemathesis.GenerationMode.POSITIVE)
        wild = operation.as_strategy(generation_mode=schemathesis.GenerationMode.NEGATIVE)

        @settings(
            max_examples=each, derandomize=True, deadline=None, database=None, phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(case=made | wild, real=st.booleans())
        def ask(case: Any, real: bool) -> None:
            if real:  # half of them ask for what there is, so that more than 404 is tried
                case.path_parameters = {name: known[name] for name in case.path_parameters or {}}
                _name_real(case.body, source)
            with watch.over(house.folder):  # and not over hypothesis, which keeps files of its own
                answer = sent(house, case)
            statuses[(case.operation.label, answer.status_code)] += 1
            assert SECRET not in answer.content
            case.validate_response(answer, checks=checks)

        ask()

    asked = sum(statuses.values())
    print(asked, "requests:", dict(statuses))
    assert not watch.strange, sorted(watch.strange)
    assert asked >= 0.9 * REQUESTS
    assert {status // 100 for _, status in statuses} <= {2, 4}
    names = {path.name for path in house.folder.parent.iterdir()}
    assert names == {"studio", "secret.png"}


def sent(house: Programs, case: Any) -> Any:
    """What a request of schemathesis is answered with."""
    told = case.as_transport_kwargs(base_url=f"{str(house.client.base_url).rstrip('/')}{API}")
    headers = {name: str(value).encode("utf-8", "replace") for name, value in told["headers"].items()}
    body = told.get("data") if "json" not in told else json.dumps(told["json"])
    return house.client.request(
        told["method"], told["url"], params=told.get("params"), headers=headers, content=body or None
    )  # fmt: skip


def _name_real(body: Any, source: str) -> None:
    """Let a job of a request name a file that there is, and a small size."""
    if isinstance(body, dict):
        for job in (body.get("job"), *(body.get("jobs") if isinstance(body.get("jobs"), list) else [])):
            if isinstance(job, dict):
                job.update({name: source for name in ("source", "mask", "background") if job.get(name)})
                job.update({"model": "papercut", "steps": 1})
                job.update({"size": [64, 64]} if "size" in job else {})
