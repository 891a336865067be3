"""The studio as tools of a language model: three tools, behind the same guard, and no other listener of the page."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from pipelines.refusal import Refusal
from tests.paced import working
from tests.programs import Programs, programs
from tests.staged import StagedEngine
from ui import guard
from ui.api.beside import beside
from ui.api.tokens import Tokens
from ui.guard import MCP

PASSWORD = "correct horse"
ACCEPTED = {"accept": "application/json, text/event-stream", "content-type": "application/json"}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Programs]:
    pytest.importorskip("mcp")
    folder = tmp_path_factory.mktemp("studio")
    with programs(folder, mcp=True) as found, working(found.queue, folder, StagedEngine()):
        yield found


def asked(client: TestClient, method: str, headers: dict[str, str] | None = None, **params: Any) -> Any:
    """The result of a call of the protocol, or its error."""
    call = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    answer = client.post(MCP, json=call, headers={**ACCEPTED, **(headers or {})})
    assert answer.status_code == 200, answer.text
    told = json.loads(next(line[6:] for line in answer.text.splitlines() if line.startswith("data: ")))
    return told.get("result") or told["error"]


def used(house: Programs, tool: str, **arguments: Any) -> Any:
    told = asked(house.client, "tools/call", name=tool, arguments=arguments)
    return json.loads(told["content"][0]["text"]) if not told.get("isError") else told


def test_there_are_three_tools_and_they_say_what_they_do(house: Programs) -> None:
    tools = {tool["name"]: tool for tool in asked(house.client, "tools/list")["tools"]}
    assert tools.keys() == {"render_text", "get_job", "list_models"}
    schema = tools["render_text"]["inputSchema"]
    assert schema["required"] == ["prompt"] and "multiple of 16" in schema["properties"]["width"]["description"]
    assert "JSON object" in tools["get_job"]["description"]


def test_a_picture_is_drawn_and_told(house: Programs) -> None:
    told = used(house, "render_text", prompt="a red circle", width=64, height=64, steps=2, wait=60)
    assert told["state"] == "done" and told["files"][0]["type"] == "image/png" and told["job"]["size"] == [64, 64]
    assert used(house, "get_job", id=told["id"]) == told
    assert used(house, "list_models")["models"][0]["id"] == "papercut"
    assert str(house.folder) not in json.dumps(told)


def test_what_is_wrong_is_a_sentence(house: Programs) -> None:
    before = house.queue.rows()
    assert used(house, "render_text", prompt="a", width=65) == {
        "error": "expected a multiple of 16, got 65; try 64 or 80", "field": "size[0]",
    }  # fmt: skip
    assert "no job of this id" in used(house, "get_job", id="../x")["error"]
    for tool, arguments in (
        ("render_text", {}),
        ("render_text", {"prompt": 5}),
        ("nothing", {}),
        ("render_layout", {}),
    ):
        assert used(house, tool, **arguments)["isError"]
    assert house.queue.rows() == before


@pytest.mark.parametrize(
    ("method", "path"), [("GET", ""), ("DELETE", ""), ("GET", "/sse"), ("POST", "/messages/"), ("GET", "/schema")]
)
def test_no_other_transport_is_open(house: Programs, method: str, path: str) -> None:
    assert house.client.request(method, f"{MCP}{path}", headers=ACCEPTED).status_code in (404, 405)


def test_the_guard_stands_before_the_tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mcp")
    monkeypatch.setattr(guard, "SECOND_THOUGHT", 0.0)
    with programs(tmp_path, password=PASSWORD, mcp=True, url="http://studio.example") as found:
        assert found.client.post(MCP, json={}, headers=ACCEPTED).status_code == 401
        bearer = {"Authorization": f"Bearer {Tokens(tmp_path).new('model', 1)}"}
        assert len(asked(found.client, "tools/list", bearer)["tools"]) == 3
        elsewhere = {**ACCEPTED, **bearer, "origin": "https://evil.example"}
        assert found.client.post(MCP, json={}, headers=elsewhere).status_code == 403


def test_without_the_option_there_are_no_tools(tmp_path: Path) -> None:
    with programs(tmp_path) as found:
        assert found.client.post(MCP, json={}, headers=ACCEPTED).status_code == 404


def test_without_the_package_the_option_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with programs(tmp_path) as found:
        monkeypatch.setitem(sys.modules, "mcp", None)
        with pytest.raises(Refusal, match=r"--mcp: the package mcp is not installed; pip install 'diorama\[mcp\]'"):
            beside(found.studio, mcp=True)
