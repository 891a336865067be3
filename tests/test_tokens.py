"""Tokens: programs are let in with one where a password guards the studio, and with nothing else."""

from __future__ import annotations

import json
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines import cli
from pipelines.refusal import Refusal
from tests.programs import Programs, programs
from ui import guard
from ui.api.tokens import DAY, FOLDER, Tokens
from ui.guard import API

PASSWORD = "correct horse"


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Programs]:
    monkeypatch.setattr(guard, "SECOND_THOUGHT", 0.0)
    with programs(tmp_path, password=PASSWORD, url="http://studio.example") as found:
        yield found


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_a_token_lets_a_program_in(house: Programs) -> None:
    token = Tokens(house.folder).new("renderer", 30)
    assert house.ask("GET", "/jobs", headers=bearer(token)) == {"jobs": [], "total": 0, "next": None}
    assert house.ask("GET", "/jobs", headers={"Authorization": f"bearer  {token}"})["total"] == 0
    assert house.ask("GET", "/openapi.json", headers=bearer(token))["openapi"].startswith("3.")


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", "Basic dTpw", "Bearer guess", "Bearer \xff", "Bearer a b", f"Bearer {PASSWORD}"]
)
@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/jobs"), ("POST", "/jobs"), ("GET", "/openapi.json"), ("GET", "/x")]
)
def test_without_a_known_token_every_route_is_shut(house: Programs, header: str, method: str, path: str) -> None:
    Tokens(house.folder).new("other", 1)
    answer = house.client.request(method, f"{API}{path}", headers={"Authorization": header.encode("latin-1")})
    assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"
    assert list(answer.json()) == ["error", "field"] and "token" in answer.json()["error"]


def test_an_expired_and_a_revoked_token_open_nothing(house: Programs) -> None:
    tokens = Tokens(house.folder)
    old = Tokens(house.folder, clock=lambda: time.time() - 2 * DAY).new("old", 1)
    assert house.refused("GET", "/jobs", 401, headers=bearer(old))[0].startswith("this token has expired")
    token = tokens.new("new", 1)
    assert house.ask("GET", "/jobs", headers=bearer(token))["total"] == 0
    assert tokens.revoke("new") and not tokens.revoke("new")
    assert "revoked" in house.refused("GET", "/jobs", 401, headers=bearer(token))[0]


def test_the_cookie_opens_nothing_for_programs_and_a_token_nothing_else(house: Programs) -> None:
    token = Tokens(house.folder).new("renderer", 30)
    house.client.post("/login", data={"password": PASSWORD}, follow_redirects=False)
    assert house.client.cookies and house.refused("GET", "/jobs", 401)
    house.client.cookies.clear()
    for path in ("/", "/outputs/x/0", "/uploads/x/picture", "/gradio_api/info", f"{API}x", f"/x{API}/jobs"):
        assert house.client.get(path, headers=bearer(token)).status_code == 401, path


def test_a_page_of_elsewhere_gets_nothing_with_a_token_either(house: Programs) -> None:
    token = Tokens(house.folder).new("renderer", 30)
    for origin in ("https://evil.example", "null", "http://studio.example:81", "http://studio.example.evil.example"):
        for method in ("GET", "POST"):
            house.refused(method, "/jobs", 403, headers={**bearer(token), "origin": origin})
    assert house.ask("GET", "/jobs", headers={**bearer(token), "origin": "http://studio.example"})["total"] == 0


def test_a_studio_without_a_password_asks_this_machine_for_no_token(tmp_path: Path) -> None:
    with programs(tmp_path) as found:
        assert found.ask("GET", "/jobs")["total"] == 0
        found.refused("GET", "/jobs", 421, headers={"host": "rebound.example"})
        found.refused("GET", "/jobs", 403, headers={"origin": "http://localhost:3000"})


def test_only_the_hash_of_a_token_is_kept_and_only_the_owner_may_read_it(tmp_path: Path) -> None:
    token = Tokens(tmp_path).new("renderer", 30)
    (file,) = (tmp_path / FOLDER).iterdir()
    assert token not in file.read_text() and token.removeprefix("diorama_") not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 and stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    (told,) = Tokens(tmp_path).all()
    assert told.name == "renderer" and told.expires - told.created == 30 * DAY


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b'{"sha256": 1}', b'{"sha256": "", "created": 0, "expires": "x"}'])
def test_a_broken_file_opens_nothing_and_breaks_nothing(tmp_path: Path, data: bytes) -> None:
    token = Tokens(tmp_path).new("good", 1)
    (tmp_path / FOLDER / "bad.json").write_bytes(data)
    assert Tokens(tmp_path).judge(token) == "known" and Tokens(tmp_path).judge("") == "unknown"


@pytest.mark.parametrize("name", ["", "..", "../x", "a/b", "A", "x" * 41, "-a", "a.json", "a\n"])
def test_a_name_is_a_name_and_never_a_path(tmp_path: Path, name: str) -> None:
    with pytest.raises(Refusal, match="expected up to 40 small letters"):
        Tokens(tmp_path).new(name, 1)
    assert not Tokens(tmp_path).revoke(name) and not list(tmp_path.iterdir())


def test_the_commands_make_list_and_revoke(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ["--out", str(tmp_path)]
    assert cli.main(["token", "new", "--name", "a", "--days", "3", *out]) == 0
    token = capsys.readouterr().out.strip()
    assert Tokens(tmp_path).judge(token) == "known"
    assert cli.main(["token", "new", "--name", "a", *out]) == 2
    assert "there is a token called 'a'" in capsys.readouterr().err
    assert cli.main(["token", "new", "--name", "b", "--days", "0", *out]) == 2
    assert cli.main(["token", "list", *out]) == 0
    listed = capsys.readouterr().out
    assert listed.startswith("a\tuntil 20") and token not in listed and json.dumps(token)[1:-1] not in listed
    assert cli.main(["token", "revoke", "a", *out]) == 0
    assert cli.main(["token", "revoke", "a", *out]) == 2
    assert Tokens(tmp_path).judge(token) == "unknown"
