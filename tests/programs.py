"""The routes for programs behind their guard, without the page, and a worker that draws flat colours at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.testclient import TestClient

from pipelines.queue.queue import Queue
from tests.paced import working
from tests.staged import StagedEngine
from ui.api.beside import beside
from ui.api.tokens import Tokens
from ui.guard import API, Guard
from ui.pace import Pace
from ui.spoken import Spoken
from ui.studio import Studio
from ui.uploads import Uploads

LOCAL = "http://127.0.0.1:7860"


@dataclass
class Programs:
    """What a test asks: `client` asks below /api/v1."""

    folder: Path
    queue: Queue
    studio: Studio
    app: Starlette
    client: TestClient

    def ask(self, method: str, path: str, **more: Any) -> Any:
        """An answer's JSON, of an answer that is fine."""
        answer = self.client.request(method, f"{API}{path}", **more)
        assert answer.is_success, answer.text
        return answer.json()

    def refused(self, method: str, path: str, status: int, **more: Any) -> tuple[str, str]:
        """The sentence and the field of an answer of this status, which is of the one shape."""
        answer = self.client.request(method, f"{API}{path}", **more)
        assert answer.status_code == status, answer.text
        told = answer.json()
        assert set(told) == {"error", "field"} and told["error"] and "\n" not in told["error"]
        return told["error"], told["field"]

    def add(self, prompt: str = "a red circle", **more: Any) -> str:
        """The id of a new text job."""
        job = {"task": "text", "prompt": prompt, "size": [64, 64], "steps": 2}
        return str(self.ask("POST", "/jobs", json={"job": job, **more})["id"])


@contextmanager
def programs(
    folder: Path,
    password: str | None = None,
    webhooks: Sequence[str] = (),
    url: str = LOCAL,
    mcp: bool = False,
) -> Iterator[Programs]:
    """The routes over a folder, as they are served beside the page."""
    queue = Queue(folder)
    studio = Studio(queue, folder, StagedEngine().check, str, Uploads(folder), Pace(queue, folder))
    told = beside(studio, webhooks, mcp)
    guard = Middleware(Guard, password=password, tokens=Tokens(folder))
    app = Starlette(routes=told.routes, middleware=[Middleware(Spoken), guard], lifespan=told.lifespan)
    with TestClient(app, url) as client:
        yield Programs(folder, queue, studio, app, client)


@contextmanager
def at_work(folder: Path, **more: Any) -> Iterator[Programs]:
    """The same with a worker."""
    with programs(folder, **more) as found, working(found.queue, folder, StagedEngine()):
        yield found
