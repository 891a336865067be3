"""The guard: who is let in, and with what every answer is sent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Message

from ui import guard
from ui.guard import MAX_BODY, Guard

PASSWORD = "correct horse"


async def echo(request: Request) -> PlainTextResponse:
    return PlainTextResponse(str(len(await request.body())))


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Callable[..., TestClient]:
    monkeypatch.setattr(guard, "SECOND_THOUGHT", 0.0)

    def make(password: str | None = None, url: str = "http://127.0.0.1:7860") -> TestClient:
        routes = [Route("/{path:path}", echo, methods=["GET", "POST"])]
        return TestClient(Starlette(routes=routes, middleware=[Middleware(Guard, password=password)]), url)

    return make


@pytest.mark.parametrize("url", ["http://127.0.0.1:7860", "http://localhost:7860", "http://[::1]:7860"])
def test_this_machine_is_served_without_a_password(client: Callable[..., TestClient], url: str) -> None:
    answer = client(url=url).get("/")
    assert answer.status_code == 200
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_name_that_somebody_points_here_is_not(client: Callable[..., TestClient]) -> None:
    assert client(url="http://rebound.example:7860").get("/").status_code == 421


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "http://127.0.0.1:3000"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:7860.evil.example"},
        {"origin": "http://127.0.0.1:7860@evil.example"},
        {"origin": "http://[127.0.0.1:7860"},
        {"origin": ""},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_only_the_page_itself_may_write(client: Callable[..., TestClient], headers: dict[str, str]) -> None:
    assert client().post("/x", headers=headers).status_code == 403


def test_the_page_and_plain_programs_may_write(client: Callable[..., TestClient]) -> None:
    same = {"origin": "http://127.0.0.1:7860", "sec-fetch-site": "same-origin"}
    assert client().post("/x", headers=same, content=b"12345").text == "5"
    assert client().post("/x", content=b"12345").text == "5"


def test_a_body_without_measure_is_not_read(client: Callable[..., TestClient]) -> None:
    assert client().post("/x", content=b"0" * (MAX_BODY + 1)).status_code == 413
    for length in ("-1", "1e9", "9" * 5_000, ""):
        assert client().post("/x", headers={"content-length": length}).status_code == 413, length
    said = client().post("/x", content=(b"0" * 2**20 for _ in range(4)))  # nobody said how long it would be
    assert (said.status_code, said.text) == (413, f"expected at most {MAX_BODY:,} bytes")
    assert client(PASSWORD).post("/login", content=(b"0" * 2**10 for _ in range(9))).status_code == 413


def asked(app: ASGIApp, pieces: list[bytes], path: str = "/x") -> list[Message]:
    """What the app answers to somebody who sends these pieces of a body and then falls silent."""
    answers: list[Message] = []
    waiting = list(pieces)

    async def receive() -> Message:
        if not waiting:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": waiting.pop(0), "more_body": True}

    async def send(message: Message) -> None:
        answers.append(message)

    headers = [(b"host", b"127.0.0.1"), (b"transfer-encoding", b"chunked")]
    scope = {
        "type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b"",
        "headers": headers, "root_path": "", "scheme": "http", "server": ("127.0.0.1", 80), "http_version": "1.1",
    }  # fmt: skip
    asyncio.run(app(scope, receive, send))
    return answers


@pytest.mark.parametrize("pieces", [[], [b"a"], [b"a"] * 50])
def test_a_body_that_trickles_is_cut_after_a_time(monkeypatch: pytest.MonkeyPatch, pieces: list[bytes]) -> None:
    monkeypatch.setattr(guard, "START", 0.05)
    app = Starlette(routes=[Route("/x", echo, methods=["POST"])], middleware=[Middleware(Guard)])
    start, *rest = asked(app, pieces)
    assert start["status"] == 408
    assert (
        b"".join(part["body"] for part in rest) == b"the request came too slowly; try it again on a better connection"
    )


@pytest.mark.parametrize("host", ["[::1", "127.0.0.1.evil.example", "evil.example:7860", "", "127.0.0.1@evil.example"])
def test_a_strange_name_is_refused_and_breaks_nothing(client: Callable[..., TestClient], host: str) -> None:
    assert client().get("/", headers={"host": host}).status_code == 421


def test_nothing_is_served_before_the_password(client: Callable[..., TestClient]) -> None:
    stranger = client(PASSWORD, "http://studio.example")
    page = stranger.get("/")
    assert page.status_code == 401 and 'type="password"' in page.text
    assert stranger.get("/outputs/x/0").status_code == 401
    assert stranger.post("/gradio_api/queue/join").status_code == 401
    assert stranger.get("/", cookies={"diorama": "guess"}).status_code == 401
    wrong = stranger.post("/login", data={"password": "wrong"})
    assert wrong.status_code == 401 and "That is not the password." in wrong.text and not stranger.cookies


def test_the_password_opens_the_studio(client: Callable[..., TestClient]) -> None:
    guest = client(PASSWORD, "http://studio.example")
    answer = guest.post("/login", data={"password": PASSWORD}, follow_redirects=False)
    assert answer.status_code == 303
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=strict" in cookie
    assert guest.get("/outputs/x/0").status_code == 200
