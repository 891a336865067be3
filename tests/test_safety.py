"""The studio against somebody who means harm: what comes is refused with a sentence, and nothing else happens."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import os
import pickle
import re
import socket
import struct
import threading
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient

import app
from pipelines import cli
from pipelines.engine import Engine
from pipelines.files import media
from pipelines.files.audio import read_audio
from pipelines.files.media import MediaError, read_clip
from pipelines.job import parse
from pipelines.queue.queue import Queue
from pipelines.refusal import Refusal
from tests.paced import PATIENCE, free_port
from tests.staged import StagedEngine, picture, video
from ui import uploads
from ui.doors import Doors
from ui.page import build, options
from ui.uploads import Uploads
from ui.words import say

SECRET = b"what nobody may read"
HTML = "</script><img src=x onerror=alert(1)><svg onload=alert(2)>"


@dataclass
class House:
    """A studio that is served without a worker, and what lies around it."""

    url: str
    page: Any
    queue: Queue
    folder: Path
    secret: Path

    def raw(self, path: str, method: str = "GET", **headers: str) -> tuple[int, bytes]:
        """Status and body for a path as it stands: nothing on the way makes it straight."""
        place = urlsplit(self.url)
        connection = http.client.HTTPConnection(str(place.hostname), place.port, timeout=PATIENCE)
        with contextlib.closing(connection):
            connection.putrequest(method, path, skip_accept_encoding=True)
            for name, value in headers.items():
                connection.putheader(name, value)
            connection.endheaders()
            answer = connection.getresponse()
            return answer.status, answer.read()

    def post(self, path: str, **more: Any) -> httpx.Response:
        return httpx.post(f"{self.url}{path}", timeout=PATIENCE, trust_env=False, **more)

    def run(self, name: str, data: object, **more: object) -> httpx.Response:
        return self.post(f"/gradio_api/run/{name}", json={"data": data, **more})

    def everything(self) -> list[str]:
        """Names of all files around the studio, but for the queue's own."""
        files = self.secret.parent.rglob("*")
        return sorted(str(path) for path in files if path.is_file() and ".sqlite3" not in path.name)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    around = tmp_path_factory.mktemp("around")
    (around / "secret.png").write_bytes(SECRET)
    folder = around / "studio"
    queue = Queue(folder)
    page = app.serve(queue, folder, StagedEngine().check, "127.0.0.1", free_port())
    yield House(page.local_url.rstrip("/"), page, queue, folder, around / "secret.png")
    page.close(verbose=False)


@dataclass
class Trap:
    """A pickle that leaves a mark when it is opened."""

    mark: Path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.mark),)


@contextlib.contextmanager
def listening() -> Iterator[tuple[int, list[Any]]]:
    """A server on this machine that should never be asked: its port, and who came."""
    came: list[Any] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)
        over = threading.Event()

        def accept() -> None:
            while not over.is_set():
                with contextlib.suppress(TimeoutError):
                    came.append(server.accept())

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield server.getsockname()[1], came
        finally:
            over.set()
            thread.join()


# ------------------------------------------------------------ addresses


def every(routes: Iterable[Any]) -> Iterator[Any]:
    """All routes, those of included routers as well."""
    for route in routes:
        if hasattr(route, "path"):
            yield route
        else:
            yield from every(route.effective_candidates())


def test_of_gradios_routes_these_are_open_and_no_others(house: House) -> None:
    own = options(house.page.studio, {"password": None})["app_kwargs"]["routes"]
    doors = Doors(house.page.app, own)
    paths = {route.path for route in own}

    def reached(method: str, path: str) -> bool:
        filled = re.sub(r"\{[^}]*\}", "x", path)
        return Doors(house.page.app, ()).open({"type": "http", "method": method, "path": filled})

    found = {
        f"{method} {route.path}"
        for route in every(house.page.app.routes)
        if route.path not in paths
        for method in getattr(route, "methods", None) or ["GET"]
        if reached(method, route.path)
    }
    assert found == {
        "GET /", "HEAD /", "GET /config", "GET /config/", "GET /theme.css", "GET /gradio_api/theme.css",
        "GET /static/{path:path}", "GET /assets/{path:path}", "GET /svelte/{path:path}", "GET /favicon.ico",
        "GET /robots.txt", "GET /manifest.json", "GET /gradio_api/info", "GET /gradio_api/info/",
        "GET /gradio_api/startup-events", "GET /gradio_api/heartbeat/{session_hash}", "GET /gradio_api/queue/data",
        "POST /gradio_api/queue/join", "POST /gradio_api/run/{api_name}", "POST /gradio_api/run/{api_name}/",
        "POST /gradio_api/cancel", "POST /gradio_api/reset", "POST /gradio_api/reset/",
    }  # fmt: skip
    assert all(doors.open({"type": "http", "method": "GET", "path": path}) for path in ("/", "/outputs/x/0"))
    # No route of ours takes a path: what stands in an address is one word, or a number.
    inner = [each for route in own for each in (route.app.routes if isinstance(route, Mount) else [route])]
    assert len(inner) > len(own)
    found = [convertor.regex for route in inner for convertor in route.param_convertors.values()]
    assert set(found) == {"[^/]+", "[0-9]+"}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/gradio_api/file=SECRET"), ("GET", "/gradio_api/file/SECRET"), ("HEAD", "/gradio_api/file=SECRET"),
        ("GET", "/gradio_api/file=http://127.0.0.1:1/x"), ("GET", "/gradio_api/proxy=http://127.0.0.1:1/x"),
        ("POST", "/gradio_api/upload"), ("GET", "/gradio_api/upload_progress?upload_id=x"),
        ("POST", "/gradio_api/component_server"), ("POST", "/gradio_api/process_recording"),
        ("POST", "/gradio_api/vibe-edit"), ("GET", "/gradio_api/vibe-code"), ("GET", "/gradio_api/dev/reload"),
        ("GET", "/monitoring"), ("GET", "/monitoring/summary"), ("GET", "/gradio_api/runs"), ("GET", "/docs"),
        ("GET", "/openapi.json"), ("GET", "/gradio_api/openapi.json"), ("GET", "/gradio_api/mcp/sse"),
        ("GET", "/gradio_api/deep_link"), ("GET", "/gradio_api/token"), ("POST", "/gradio_api/stream/x"),
        ("GET", "/gradio_api/stream/a/b/1/playlist.m3u8"), ("POST", "/gradio_api/call/render_text"),
        ("POST", "/gradio_api/api/render_text"), ("GET", "/gradio_api/custom_component/1/client/a/b.js"),
        ("PUT", "/"), ("DELETE", "/outputs/x/0"), ("TRACE", "/"),
    ],
)  # fmt: skip
def test_every_other_door_is_shut(house: House, method: str, path: str) -> None:
    status, body = house.raw(path.replace("SECRET", str(house.secret)), method)
    assert status in (403, 404, 405), status
    assert SECRET not in body and len(body) < 100


UPS = ["..", "%2e%2e", "%252e%252e", "..%2f..", "%2e%2e%2f%2e%2e", "..%5c..", "..%c0%af..", "..%00", "....//", ".%2e"]
ROOTS = ["/outputs", "/outputs/x", "/uploads", "/uploads/x", "/static", "/assets", "/svelte", "/gradio_api", ""]


@pytest.mark.parametrize("root", ROOTS)
def test_no_path_leads_out_however_it_is_spelled(house: House, root: str) -> None:
    depth = len(house.secret.parts)
    for up in UPS:
        for tail in (str(house.secret).lstrip("/"), "etc/passwd", "studio/queue.sqlite3", "picture"):
            for times in (1, 2, depth):
                path = f"{root}/{'/'.join([up] * times)}/{tail}"
                for spelled in (path, path.replace("/", "%2f").replace("%2f", "/", 2)):
                    status, body = house.raw(spelled)
                    assert 400 <= status < 500, (spelled, status)
                    assert SECRET not in body and b"root:" not in body and b"SQLite" not in body, spelled


ANSWERS = [("/", 200), ("/nothing", 404), ("/outputs/x/0", 404), ("/uploads/x/picture", 404), ("/theme.css", 200)]


@pytest.mark.parametrize(("path", "status"), ANSWERS)
def test_every_answer_tells_browsers_to_take_it_for_what_it_says(house: House, path: str, status: int) -> None:
    answer = httpx.get(f"{house.url}{path}", trust_env=False, timeout=PATIENCE)
    assert answer.status_code == status
    assert answer.headers["x-content-type-options"] == "nosniff" and "content-security-policy" in answer.headers
    assert "svg" not in answer.headers["content-type"]
    if path != "/":
        assert "html" not in answer.headers["content-type"]


# ------------------------------------------------------------ calls


def test_calls_that_no_page_makes_are_refused_with_a_sentence(house: House) -> None:
    before = house.queue.rows()
    deep: Any = "x"
    for _ in range(60):
        deep = [deep]
    file = {"path": str(house.secret), "meta": {"_type": "gradio.FileData"}}
    for body, status in {
        b"": 400, b"[]": 400, b"null": 400, b"{}": 400, b'{"data": 1}': 400, b'{"data": []}': 400, b"[" * 90_000: 400,
        b'{"data": [' + b"9" * 5_000 + b"]}": 400, json.dumps({"data": [deep] * 30}).encode(): 400,
        json.dumps({"data": [file] * 30}).encode(): 400, b'{"data": ["\\ud800"]}': 400, b"\xff\xfe": 400,
        b'{"data": [], "fn_index": 100000}': 404, b'{"data": [], "fn_index": "0"}': 404,
        b'{"data": [], "session_hash": "../../x"}': 400, b'{"data": [], "session_hash": 5}': 400,
    }.items():  # fmt: skip
        answer = house.post("/gradio_api/run/render_text", content=body)
        assert answer.status_code == status, body[:60]
        assert list(answer.json()) == ["error"] and "\n" not in answer.json()["error"]
    assert house.run("nobody", []).status_code == 404
    assert house.queue.rows() == before


WRONG: list[Any] = [None, {"a": [1]}, "../../etc/passwd", -1]
EVENTS: list[Any] = [{}, {"id": "x", "job": {}, "kept": "x", "row": -1, "rows": [], "words": {}}]


@pytest.mark.slow
def test_no_listener_breaks_whatever_it_is_given(house: House) -> None:
    broken = set()
    with httpx.Client(trust_env=False, timeout=PATIENCE) as client:
        for index, listener in house.page.fns.items():
            calls = [([wrong] * len(listener.inputs), None) for wrong in WRONG if listener.inputs]
            calls += [(["x"] * len(listener.inputs), event) for event in EVENTS]
            for data, event in calls:
                call = {"data": data, "fn_index": index, "event_data": event}
                status = client.post(f"{house.url}/gradio_api/run/predict", json=call).status_code
                if status >= 500:
                    broken.add((listener.name, str(data[:1])))
    assert not broken, sorted(broken)


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.lists(plain, min_size=10, max_size=16), path=st.sampled_from(["run/render_text", "run/plan_masked"]))
def test_whatever_json_comes_is_answered_and_never_an_error_of_ours(house: House, data: Any, path: str) -> None:
    assert house.post(f"/gradio_api/{path}", json={"data": data}).status_code < 500


@pytest.mark.parametrize("name", ["/etc", "..", "../../etc", "http://127.0.0.1:1/x", "file:///etc", "SECRET", "a/b"])
def test_a_model_is_one_that_the_page_offers_and_never_a_path(house: House, name: str) -> None:
    listener = next(each for each in house.page.fns.values() if each.api_name == "render_text")
    values = [getattr(part, "value", None) for part in listener.inputs]
    values[0] = "a red circle"
    place = next(i for i, part in enumerate(listener.inputs) if getattr(part, "elem_id", None) == "text-model")
    values[place] = str(house.secret.parent) if name == "SECRET" else name
    before = len(house.queue.rows())
    answer = house.run("render_text", values)
    assert answer.status_code in (200, 400) and len(house.queue.rows()) == before
    if answer.status_code == 200:
        assert "<b>Model:</b>" in answer.text and "model_index.json" not in answer.text


# ------------------------------------------------------------ files that are given


def bomb_of_text() -> bytes:
    """A PNG whose text would be 200 MB."""
    info = PngImagePlugin.PngInfo()
    info.add(b"zTXt", b"Comment\0\0" + zlib.compress(b"0" * 200_000_000, 9))
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64)).save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


def png(width: int, height: int, pixels: bytes) -> bytes:
    """A PNG that says it is so large, with these bytes for its pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def million() -> bytes:
    """An MP4 whose index tells of a million frames."""
    data = bytearray(video(64, 64, frames=3))
    times = data.index(b"stts")
    data[times + 8 : times + 20] = struct.pack(">III", 1, 1_000_000, 1)
    sizes = data.index(b"stsz")
    data[sizes + 8 : sizes + 16] = struct.pack(">II", 10, 1_000_000)
    return bytes(data)


def hostile(port: int, secret: Path) -> dict[str, bytes]:
    """Files that would make a careless decoder open others, or fill the memory."""
    return {
        "a list": f"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:{port}/a.ts\n".encode(),
        "a list of lists": f"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nhttp://127.0.0.1:{port}/b.m3u8\n".encode(),
        "a concatenation": f"ffconcat version 1.0\nfile '{secret}'\nfile 'http://127.0.0.1:{port}/c'\n".encode(),
        "a session": f"v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=video {port} RTP/AVP 96\n".encode(),
        "a manifest": f'<?xml version="1.0"?><MPD><BaseURL>http://127.0.0.1:{port}/</BaseURL></MPD>'.encode(),
        "a drawing": f'<svg xmlns="http://www.w3.org/2000/svg"><image href="file://{secret}"/></svg>'.encode(),
        "a page": b"<!doctype html><script>alert(1)</script>",
        "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n(%pipe%touch /tmp/x) (w) file\n",
        "an archive": b"PK\3\4" + bytes(60),
        "text that swells": bomb_of_text(),
        "a size of its own": png(2**31 - 1, 2**31 - 1, zlib.compress(b"")),
        "sides without room": png(50_000, 50_000, zlib.compress(bytes(1000))),
        "no pixels": png(64, 64, zlib.compress(b"")),
        "a million frames": million(),
        "half a film": video()[:400],
        "zeros": bytes(100_000),
    }


def test_no_upload_makes_the_studio_open_another_file_or_ask_anybody(house: House, tmp_path: Path) -> None:
    before = house.everything()
    with listening() as (port, came):
        files = hostile(port, house.secret)
        files["a pickle"] = pickle.dumps(Trap(tmp_path / "mark"))
        for name, data in files.items():
            assert house.post("/uploads/recipe", content=data).status_code == 400, name
            answer = house.post("/uploads", content=data)
            assert answer.status_code == 400, name
            reason = answer.json()["reason"]
            assert reason and "\n" not in reason and str(house.folder) not in reason, name
    assert came == [] and not (tmp_path / "mark").exists()
    assert house.everything() == before


def test_pixels_that_swell_cost_no_more_than_the_size_they_say(house: House) -> None:
    swelling = zlib.compress(bytes(300_000_000), 9)  # a hundred thousand times the picture
    answer = house.post("/uploads", content=png(64, 64, swelling))
    assert answer.status_code in (200, 400)
    if answer.status_code == 200:
        assert (answer.json()["width"], answer.json()["height"]) == (64, 64)


def test_a_video_that_lasts_too_long_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.mp4").write_bytes(video(64, 64, frames=9, fps=4))
    monkeypatch.setattr(media, "MAX_CLIP_SECONDS", 2)
    with pytest.raises(MediaError, match="expected at most 0 minutes, got more; cut the video"):
        read_clip(tmp_path / "a.mp4")


def test_not_more_files_arrive_at_once_than_there_is_room_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "ARRIVING", 0)
    answer = TestClient(Starlette(routes=Uploads(tmp_path).routes())).post("/uploads", content=picture())
    assert (answer.status_code, answer.json()["reason"]) == (429, say("upload.too_many"))
    assert not list(tmp_path.iterdir())


def test_what_stands_in_a_files_text_is_not_kept(house: House) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", HTML)
    info.add_itxt("diorama", json.dumps({"job": {"task": "text", "prompt": HTML}}))
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(buffer, "PNG", pnginfo=info)
    answer = house.post("/uploads", content=buffer.getvalue())
    assert answer.status_code == 200 and "<" not in answer.text
    shown = httpx.get(f"{house.url}/uploads/{answer.json()['id']}/picture", trust_env=False)
    assert shown.status_code == 200 and b"onerror" not in shown.content


# ------------------------------------------------------------ jobs

TASKS: dict[str, dict[str, Any]] = {
    "source": {"task": "masked", "outpaint": [16, 0, 0, 0]},
    "mask": {"task": "masked", "source": "PICTURE", "prompt": "x"},
    "reference": {"task": "masked", "source": "PICTURE", "outpaint": [16, 0, 0, 0]},
    "continue_from": {"task": "scenes", "scenes": [{"prompt": "x", "frames": 4}]},
    "background": {"task": "layered", "prompt": "x", "layers": [{"box": [0, 0, 1, 1]}]},
    "layers[0].source": {
        "task": "layered", "prompt": "x", "layers": [{"box": [0, 0, 1, 1], "source": "ADDRESS"}, {"box": [0, 0, 1, 1]}]
    },
    "model": {"task": "text", "prompt": "x"},
}  # fmt: skip
ADDRESSES = [
    "http://127.0.0.1:PORT/a.png", "https://127.0.0.1:PORT/a.mp4", "ftp://127.0.0.1:PORT/a", "rtmp://127.0.0.1:PORT/a",
    "tcp://127.0.0.1:PORT", "file://SECRET", "file:SECRET", "data:image/png;base64,AAAA", "\\\\127.0.0.1\\share\\a.png",
    "//127.0.0.1:PORT/a", "concat:SECRET|SECRET", "subfile,,start,0,end,9,,:SECRET", "crypto:SECRET", "pipe:0",
    "cache:http://127.0.0.1:PORT/a", "async:SECRET", "fd:0", "/proc/self/environ", "/proc/self/fd/0", "/dev/zero",
    "/dev/stdin", "/etc/passwd", "SECRET", "PIPE", "-", "~/a.png",
]  # fmt: skip


@pytest.mark.parametrize("field", list(TASKS))
def test_no_field_of_a_job_reaches_for_an_address_or_a_strange_file(field: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(SECRET)
    (tmp_path / "picture.png").write_bytes(picture())
    os.mkfifo(tmp_path / "pipe")
    engine = Engine()
    with listening() as (port, came):
        for address in ADDRESSES:
            spelled = address.replace("PORT", str(port)).replace("SECRET", str(tmp_path / "secret"))
            spelled = spelled.replace("PIPE", str(tmp_path / "pipe"))
            filled = json.loads(
                json.dumps(TASKS[field])
                .replace("PICTURE", str(tmp_path / "picture.png"))
                .replace('"ADDRESS"', json.dumps(spelled))
            )
            if "[" not in field:
                filled[field] = spelled
            with pytest.raises(Refusal) as refused:
                engine.check(parse(filled))
            told = str(refused.value)
            assert "\n" not in told and SECRET.decode() not in told, address
    assert came == []


def test_sound_is_read_from_the_file_itself_and_from_nothing_else(tmp_path: Path) -> None:
    secret = tmp_path / "secret.wav"
    secret.write_bytes(SECRET)
    with listening() as (port, came):
        for name, data in hostile(port, secret).items():
            (tmp_path / "given").write_bytes(data)
            with pytest.raises(MediaError) as refused:
                read_audio(tmp_path / "given")
            assert "\n" not in str(refused.value) and SECRET.decode() not in str(refused.value), name
        for address in ADDRESSES:
            with pytest.raises(MediaError):
                read_audio(Path(address.replace("PORT", str(port)).replace("SECRET", str(secret))))
    assert came == []


@pytest.mark.parametrize("suffix", [".yaml", ".json", ".jsonl", ".csv", ".pkl"])
def test_a_pickle_or_code_in_a_job_file_is_never_run(
    suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mark, file = tmp_path / "mark", tmp_path / f"jobs{suffix}"
    tagged = f"!!python/object/apply:os.mkdir ['{mark}']".encode()
    for data in (pickle.dumps(Trap(mark)), pickle.dumps(Trap(mark), 0), tagged, b"task: text\nprompt: " + tagged):
        file.write_bytes(data)
        assert cli.main(["render", str(file), "--out", str(tmp_path / "out")]) == 2
        said = capsys.readouterr().err
        assert all(line.startswith(f"diorama: {file}") for line in said.splitlines()) and said  # a sentence a row
    assert not mark.exists() and not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["weights.bin", "weights.ckpt", "weights.safetensors", "model_index.json"])
def test_a_pickle_as_a_model_is_never_opened(name: str, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / name).write_bytes(pickle.dumps(Trap(tmp_path / "mark")))
    for model in (tmp_path / "model", tmp_path / "model" / name):
        with pytest.raises(Refusal) as refused:
            Engine().check(parse({"task": "text", "prompt": "x", "model": str(model)}))
        assert refused.value.field == "model" and "\n" not in refused.value.reason
    assert not (tmp_path / "mark").exists()


# ------------------------------------------------------------ who tells whom


def test_gradio_is_told_to_keep_quiet(tmp_path: Path) -> None:
    told = options(build(Queue(tmp_path), tmp_path, Engine().check).studio, {"password": None})
    assert told["enable_monitoring"] is False and told["strict_cors"] is True
    assert not any(told[name] for name in ("run_history", "mcp_server", "pwa", "show_error", "allowed_paths"))
    assert app.QUIET["GRADIO_ANALYTICS_ENABLED"] == "False" and app.QUIET["HF_HUB_DISABLE_TELEMETRY"] == "1"
