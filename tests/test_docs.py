"""README and docs: every command is run, every link leads somewhere, every number is the code's.

Commands stand in fences called `sh`. A comment before a fence, which readers do not see, says what a command needs:
`<!-- file: NAME -->` before a fence makes a file of it, and `<!-- file: NAME` with lines of its own makes one of those.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tests.paced import free_port
from tests.staged import served
from tests.standins import STANDINS
from ui import limits

TOP = Path(__file__).parents[1]
DOCS = [TOP / "README.md", *sorted((TOP / "docs").glob("*.md"))]
SHELLS = ("sh", "bash", "console", "shell")
FENCE = re.compile(r"^(?:<!-- file: (?P<file>\S+) -->\n)?```(?P<kind>\w*)\n(?P<text>.*?)^```$", re.M | re.S)
HIDDEN = re.compile(r"^<!-- file: (?P<file>\S+)\n(?P<text>.*?)-->$", re.M | re.S)
# Words that stand for what a reader has.
FILLED = {"FILE...": "assets/examples/demo.yaml", "=...": "=secret"}
BOXES = {"boxes": [{"box": [0.1, 0.2, 0.45, 0.6], "prompt": "a red circle"}]}


@dataclass(frozen=True)
class Page:
    """A document: the files that its commands need, and its commands, a fence each."""

    path: Path

    @property
    def text(self) -> str:
        return self.path.read_text()

    @property
    def files(self) -> dict[str, str]:
        found = [*HIDDEN.finditer(self.text), *(each for each in FENCE.finditer(self.text) if each["file"])]
        return {each["file"]: each["text"] for each in found}

    @property
    def commands(self) -> list[str]:
        return [each["text"] for each in FENCE.finditer(self.text) if each["kind"] in SHELLS]


PAGES = [Page(path) for path in DOCS]


def name_of(page: Page) -> str:
    return page.path.stem


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """A chat endpoint on this machine that always proposes the same boxes."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            answer = json.dumps({"choices": [{"message": {"content": json.dumps(BOXES)}}]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
        server.shutdown()


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served(tmp_path_factory.mktemp("studio")) as studio:
        yield f"{studio.url}/"


@pytest.fixture
def place(tmp_path: Path, endpoint: str, asked: str) -> Iterator[tuple[Path, dict[str, str]]]:
    """A folder that looks like the repository, and an environment in which its programs are stand-ins."""
    work, programs = tmp_path / "work", tmp_path / "programs"
    for folder in (work / ".venv" / "bin", work / "assets", programs, tmp_path / "root"):
        folder.mkdir(parents=True)
    shutil.copytree(TOP / "assets" / "examples", work / "assets" / "examples")
    (work / "assets" / "papercut").mkdir()
    for run in (TOP / "assets" / "papercut").glob("*.yaml"):
        shutil.copy(run, work / "assets" / "papercut")
    shutil.copytree(TOP / "assets" / "service", work / "assets" / "service")
    shutil.copy(TOP / "pyproject.toml", work)
    for name in STANDINS:
        folder = work / ".venv" / "bin" if name in ("diorama", "python", "torchrun", "ray") else programs
        (folder / name).write_text(f'#!/bin/sh\nPYTHONPATH={TOP} exec {sys.executable} -m tests.standins {name} "$@"\n')
        (folder / name).chmod(0o755)
    told = {
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "DIORAMA_TOP": str(TOP), "DIORAMA_ASKED": asked,
        "DIORAMA_ROOT": str(tmp_path / "root"), "HF_HUB_OFFLINE": "1", "NO_PROXY": "*",
    }  # fmt: skip
    yield work, {**os.environ, **told}
    if (tmp_path / "root" / "ray").exists():  # of a page that failed
        subprocess.run([str(work / ".venv" / "bin" / "ray"), "stop"], env={**os.environ, **told}, check=True)


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if page.commands], ids=name_of)
def test_every_command_of_a_page_does_what_it_says(
    page: Page, place: tuple[Path, dict[str, str]], endpoint: str
) -> None:
    work, environment = place
    machines = {"FIRST:6379": f"127.0.0.1:{(port := free_port())}", "--port 6379": f"--port {port}"}
    machines |= {"s3://studio": f"file://{work}/studio", "/mnt/shared": "shared"}
    endpoints = {"https://llm.example/v1": endpoint, "http://127.0.0.1:8080/v1": endpoint}
    for name, text in page.files.items():
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_text(_filled(text, endpoints))
    for commands in page.commands:
        script = _filled(commands, FILLED | endpoints | machines)
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script], cwd=work, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{script}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        assert "Traceback" not in done.stderr


def _filled(text: str, words: dict[str, str]) -> str:
    for word, stands_for in words.items():
        text = text.replace(word, stands_for)
    return text


def test_there_are_commands_to_run() -> None:
    assert {name_of(page) for page in PAGES if page.commands} >= {"README", "service", "masked", "scenes", "training"}
    for page in PAGES:
        fences = re.findall(r"^```(\w*)$", page.text, re.M)
        assert len(fences) % 2 == 0 and not any(fences[1::2]), f"{page.path.name}: a fence is not closed"
        assert "\n$ " not in page.text, f"{page.path.name}: a command that no fence of the shell holds"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_to_a_file_and_every_anchor_to_a_heading(page: Page) -> None:
    prose = FENCE.sub("", page.text)
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if re.match(r"https?://", target):
            continue
        file, _, anchor = target.partition("#")
        there = (page.path.parent / file).resolve() if file else page.path
        assert there.exists() and there.is_relative_to(TOP), target
        if anchor:
            assert anchor in {_slug(title) for title in re.findall(r"^#+ (.+)$", there.read_text(), re.M)}, target


def _slug(title: str) -> str:
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def test_files_that_the_pages_name_in_code_are_there() -> None:
    for page in PAGES:
        for name in re.findall(
            r"`((?:assets|benchmarks|docs|models|pipelines|tests|training|ui)/[\w./-]+\.\w+)`", page.text
        ):
            assert (TOP / name).exists(), f"{page.path.name}: {name}"
        for module in re.findall(r"`python -m ((?:benchmarks|training|ui|pipelines)\.\w+)", page.text):
            assert (TOP / f"{module.replace('.', '/')}.py").is_file(), f"{page.path.name}: {module}"


def test_the_page_of_limits_is_made_of_the_code() -> None:
    assert (TOP / "docs" / "limits.md").read_text() == limits.page(), "python -m ui.limits > docs/limits.md"


# ------------------------------------------------------------ files of a service


def test_the_unit_is_one_that_systemd_takes_and_that_lets_little_through(tmp_path: Path) -> None:
    unit = (TOP / "assets" / "service" / "diorama.service").read_text()
    sections = re.findall(r"^\[(\w+)\]$", unit, re.M)
    assert sections == ["Unit", "Service", "Install"]
    lines = [line for line in unit.splitlines() if line and not line.startswith(("#", "["))]
    assert all(re.fullmatch(r"[A-Z]\w+=.*", line) for line in lines)
    settings = dict(line.split("=", 1) for line in lines)
    assert settings["DynamicUser"] == settings["NoNewPrivileges"] == settings["PrivateTmp"] == "yes"
    assert settings["ProtectSystem"] == "strict" and settings["RestartPreventExitStatus"] == "2"
    assert f"/var/lib/{settings['StateDirectory']}/" in settings["ExecStart"]
    analyse = shutil.which("systemd-analyze")
    if analyse is None:
        pytest.skip("systemd-analyze is not here; the unit's form was checked")
    there = tmp_path / "diorama.service"
    there.write_text(unit.replace("/opt/diorama/.venv/bin/python", sys.executable))
    found = subprocess.run([analyse, "verify", str(there)], capture_output=True, text=True)
    assert not [line for line in found.stderr.splitlines() if "diorama.service" in line], found.stderr


def test_the_dockerfile_says_what_the_pages_say() -> None:
    import app

    text = (TOP / "assets" / "service" / "Dockerfile").read_text()
    index = re.search(r"--extra-index-url \S+", text)
    assert index is not None
    for path in (TOP / "README.md", TOP / "docs" / "development.md", TOP / "docs" / "service.md"):
        assert f'PIP_ARGS="{index[0]}"' in path.read_text(), path.name
    interpreter, program, *words = json.loads(text[text.rindex("\nCMD ") + 5 :])
    assert (interpreter, program) == ("python", "app.py")
    options = app._parser().parse_args(words)
    assert (options.host, str(options.port)) == ("0.0.0.0", re.findall(r"^EXPOSE (\d+)$", text, re.M)[0])
    home = re.findall(r"^WORKDIR (\S+)$", text, re.M)[0]
    assert re.findall(r"^VOLUME (\S+)$", text, re.M) == [f"{home}/{options.out.parts[0]}"]
    assert text.index("\nUSER diorama") > text.index("\nRUN pip install")


def test_the_containers_look_at_its_health_finds_a_studio(asked: str) -> None:
    text = (TOP / "assets" / "service" / "Dockerfile").read_text()
    look = json.loads(re.findall(r"^ +CMD (\[.*\])$", text, re.M)[0])
    port = asked.rstrip("/").rpartition(":")[2]
    words = [sys.executable, *(word.replace("7860", port) for word in look[1:])]
    assert subprocess.run(words).returncode == 0
    gone = [sys.executable, *(word.replace("7860", "1") for word in look[1:])]
    assert subprocess.run(gone, stderr=subprocess.DEVNULL).returncode != 0
