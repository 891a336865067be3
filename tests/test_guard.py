"""The guard: who is let in, and with what every answer is sent."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

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
    assert client().post("/x", headers={"content-length": "-1"}).status_code == 413
    with pytest.raises(Exception, match=r"^$"):  # ClientDisconnect: nobody said how long it would be
        client().post("/x", content=(b"0" * 2**20 for _ in range(4)))


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
