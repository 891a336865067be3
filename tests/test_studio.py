"""The studio as a program sees it: jobs go in, pictures come out, and nothing else does."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from gradio_client import Client

import app
from pipelines.job import parse
from pipelines.queue.queue import Queue
from tests.paced import PATIENCE, PacedEngine, free_port, over, text, until, working
from tests.test_help import loaded_by
from ui.files import stored
from ui.status import stage, waiting

# The fields of the Text tab, in their order on the page.
USUAL: dict[str, Any] = {
    "prompt": "a red circle", "negative": "", "width": 64, "height": 64, "steps": 3, "guidance": 2.0, "seed": 7,
    "low": 0.0, "high": 1.0, "internal": 0, "scheduler": "euler", "model": "papercut", "adapters": "",
}  # fmt: skip


@dataclass
class Studio:
    url: str
    queue: Queue
    folder: Path
    engine: PacedEngine

    def client(self) -> Client:
        return Client(self.url, verbose=False, httpx_kwargs={"timeout": PATIENCE})

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self.url + path, timeout=PATIENCE, trust_env=False)

    def render(self, **changes: object) -> tuple[str, str]:
        """Press Render; the message beside the button and the id of the row that was written."""
        client = self.client()
        try:
            message, id, *_ = client.predict(*(USUAL | changes).values(), api_name="/render_text")
        finally:
            client.close()  # as a closed tab: nothing of the page is left
        return message, id


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    folder = tmp_path_factory.mktemp("studio")
    queue, engine = Queue(folder), PacedEngine()
    page = app.serve(queue, folder, engine.check, "127.0.0.1", free_port())
    with working(queue, folder, engine):
        yield Studio(page.local_url.rstrip("/"), queue, folder, engine)
    page.close(verbose=False)


@pytest.fixture
def slow(studio: Studio) -> Iterator[Studio]:
    studio.engine.pace = 0.1
    yield studio
    studio.engine.pace = 0.0
    until(lambda: not studio.queue.active())


def test_render_writes_a_job_and_the_picture_is_served(studio: Studio) -> None:
    message, id = studio.render(prompt="odd", seed=11)
    row = over(studio.queue, id)
    assert (message, row.state) == ("", "done")
    assert parse(row.job) == text("odd", size=[64, 64], seed=11, steps=3)
    easel = studio.get(f"/watch/text?follows={id}").json()["html"]
    assert f'src="outputs/{id}/0"' in easel and "the word &#x27;odd&#x27; is unknown" in easel
    picture = studio.get(f"/outputs/{id}/0")
    assert picture.content == (studio.folder / row.files[0]).read_bytes()
    assert picture.headers["content-type"] == "image/png"
    assert picture.headers["x-content-type-options"] == "nosniff"
    assert picture.headers["content-disposition"].startswith("attachment")
    assert studio.get(f"/outputs/{id}/1").json()["job"] == row.job


def test_a_render_survives_a_closed_page_and_a_later_page_shows_it(slow: Studio) -> None:
    _, id = slow.render(steps=30)
    until(lambda: (row := slow.queue.get(id)) and row.step)
    told = slow.get("/watch/text?follows=").json()  # a page that knows of nothing
    assert f'data-id="{id}"' in told["html"] and re.search(r"Step \d+ of 30", told["live"][f"so-far:{id}"])
    slow.engine.pace = 0.0
    assert over(slow.queue, id).state == "done"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"prompt": "  "}, "<b>Prompt:</b> expected words, got an empty text; say what to draw"),
        ({"prompt": "word " * 2_100}, "<b>Prompt:</b> expected at most 2,000 words"),
        ({"width": 100}, "<b>Width:</b> expected a multiple of 16, got 100; try 96 or 112"),
        ({"seed": None}, "<b>Seed:</b> expected a whole number, got nothing"),
        ({"guidance": None}, "<b>Guidance:</b> expected a number, got nothing"),
        ({"steps": 201}, "<b>Steps:</b> expected less than or equal to 200, got 201"),
        ({"seed": 1.5}, "<b>Seed:</b> expected a whole number, got 1.5"),
        ({"low": 0.9, "high": 0.1}, "<b>Guided part:</b> expected [low, high] with low &lt;= high"),
        ({"prompt": "refuse"}, "<b>Model:</b> expected a checkpoint, got a folder without model_index.json"),
    ],
)
def test_what_is_wrong_is_told_and_not_written(studio: Studio, change: dict[str, object], words: str) -> None:
    before = studio.queue.rows()
    message, _ = studio.render(**change)
    assert words in message and studio.queue.rows() == before


def test_words_of_a_user_are_never_markup(studio: Studio) -> None:
    evil = '"><img src=x onerror=alert(1)><script>alert(2)</script>'
    queue = Queue(studio.folder / "evil")
    id = queue.add(text(evil))
    row = queue.get(id)
    assert row is not None
    queue.claim()
    queue.fail(id, evil)
    failed = queue.get(id)
    assert failed is not None
    easels = [stage(row, 0, studio.folder, evil), stage(failed, 0, studio.folder, "")]
    for html in [*easels, waiting([row])]:
        assert "<img" not in html and "<script" not in html


def test_only_files_of_the_queue_are_served(studio: Studio) -> None:
    _, id = studio.render()
    row = over(studio.queue, id)
    picture = studio.folder / row.files[0]
    assert studio.get(f"/outputs/{id}/0").status_code == 200
    ids = ("nobody", "..", "%2e%2e", "..%2f..", f"{id}%2f..", "%00")
    for path in [*(f"/outputs/{other}/0" for other in ids), *(f"/outputs/{id}/{index}" for index in ("2", "-1", "x"))]:
        assert studio.get(path).status_code == 404, path
    for path in (picture, studio.folder / "queue.sqlite3", Path(app.__file__), Path("/etc/passwd")):
        for route in ("/gradio_api/file=", "/file=", "/gradio_api/file/"):
            assert studio.get(f"{route}{path}").status_code in (403, 404), path


def test_a_name_that_leads_out_of_the_folder_is_not_served(tmp_path: Path) -> None:
    folder, outside = tmp_path / "out", tmp_path / "secret.png"
    queue = Queue(folder)
    outside.write_bytes(b"secret")
    (folder / "link.png").symlink_to(outside)
    (folder / "page.html").touch()
    (folder / "in.png").touch()
    id = queue.add(text())
    queue.claim()
    queue.done(id, ["../secret.png", str(outside), "link.png", "page.html", "queue.sqlite3", "absent.png", "in.png"])
    assert [bool(stored(queue.get(id), index, folder)) for index in range(-1, 8)] == [False] * 7 + [True, False]


def test_the_page_asks_nobody_else_for_anything(studio: Studio) -> None:
    page = studio.get("/")
    policy = page.headers["content-security-policy"]
    assert "default-src 'self'" in policy and "connect-src 'self'" in policy and "http" not in policy
    config = studio.get("/config").json()
    assert config["stylesheets"] == [] and config["analytics_enabled"] is False
    assert not re.findall(r"<(?:script|link|img|iframe)[^>]*(?:src|href)=[\"']?(?:https?:)?//", page.text)
    style = studio.get("/theme.css").text + config["css"] + config["head"]
    assert not re.findall(r"(?:@import|url\()[^)\n]{0,9}(?:https?:)?//", style)
    assert not re.findall(r"<script|(?:src|href)=[\"']?(?:https?:)?//", style)


def test_gradios_own_side_doors_are_shut(studio: Studio) -> None:
    for path in (
        "/monitoring",
        "/monitoring/summary",
        "/gradio_api/runs",
        "/docs",
        "/openapi.json",
        "/gradio_api/mcp/sse",
    ):
        assert studio.get(path).status_code >= 400, path
    big = {"files": ("x.png", b"0" * (3 * 2**20), "image/png")}  # ours takes more, gradio's own does not
    assert httpx.post(f"{studio.url}/gradio_api/upload", files=big, trust_env=False).status_code == 413


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ["--host", "0.0.0.0"],
            "--host 0.0.0.0: others could reach the studio; set DIORAMA_PASSWORD or give",
        ),
        (["--host", "studio.example"], "--host studio.example: others could reach the studio"),
        (["--share"], "--share: others could reach the studio"),
        (["--port", "0"], "--port: expected a number from 1 to 65535, got 0"),
        (["--password-file", "absent"], "--password-file: 'absent' can not be read: No such file or directory"),
        (["--out", "app.py/out"], "--out: expected a folder to write to"),
    ],
)
def test_a_start_that_would_harm_is_refused(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DIORAMA_PASSWORD", raising=False)
    assert app.main(words) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"diorama: {sentence}") and error.count("\n") == 1


def test_a_weak_password_and_a_taken_port_are_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DIORAMA_PASSWORD", "short")
    assert app.main(["--host", "0.0.0.0"]) == 2
    assert "expected a password of at least 8 characters, got 5" in capsys.readouterr().err
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert app.main(["--port", str(taken.getsockname()[1]), "--out", str(tmp_path)]) == 2
    assert "can not be listened on" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_studio_loads_no_torch_and_its_options_no_gradio() -> None:
    help = "import app\ntry: app.main(['--help'])\nexcept SystemExit: pass"
    assert not loaded_by(help) & {"gradio", "torch", "numpy"}
    assert not loaded_by("import app, ui.page, pipelines.engine") & {"torch", "diffusers", "transformers"}
