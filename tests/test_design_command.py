"""The Designer: what an endpoint is asked, and what `diorama design` prints."""

from __future__ import annotations

import json
import shutil
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from pipelines import cli
from pipelines.chat import Endpoint, NoAnswer, endpoint_of, named_endpoint, read_endpoint
from pipelines.designer import Proposal, propose
from pipelines.files.yamlfile import documents
from pipelines.job import Refusal, parse
from tests.test_help import HEAVY, loaded_by

SQUARE = (128, 128)
KEY = "sk-Very+Secret/0123456789"
GOOD = {"boxes": [{"box": [0.1, 0.2, 0.4, 0.6], "prompt": "a red circle"}, {"box": [0, 0, 1, 1], "prompt": "a map"}]}

Box = tuple[float, float, float, float]


# ---------------------------------------------------------------- endpoints

Answer = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """Plays one answer of the script for each request, and the last one ever after."""

    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append((self.path, dict(self.headers), json.loads(body)))
        script = self.server.script
        (script.pop(0) if len(script) > 1 else script[0])(self)

    def do_GET(self) -> None:
        self.server.asked.append((self.path, dict(self.headers), None))
        self.answer(b"{}")

    def answer(self, body: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    """A chat endpoint of a test."""

    daemon_threads = True
    script: list[Answer]

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[tuple[str, dict[str, str], Any]] = []
        self.closing = threading.Event()

    def handle_error(self, *_: object) -> None:
        """A client that hangs up is what some tests are about."""


def says(text: object) -> Answer:
    content = text if isinstance(text, str | list) else json.dumps(text)
    body = json.dumps({"choices": [{"message": {"role": "assistant", "content": content}}]}).encode()
    return lambda handler: handler.answer(body)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.closing.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def ask(server: Server, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Proposal]:
    monkeypatch.setenv("CHAT_KEY", KEY)

    def asked(*script: Answer, timeout: float = 20.0) -> Proposal:
        server.script = list(script)
        url = f"http://127.0.0.1:{server.server_port}/v1"
        endpoint = Endpoint(url=url, model="m-7b", key_variable="CHAT_KEY", timeout=timeout)
        return propose("a red circle on a map", "layered", size=(128, 64), endpoint=endpoint)

    return asked


def refused(ask: Callable[..., Proposal], *script: Answer, timeout: float = 20.0) -> str:
    """The sentence of an answer that is of no use. The key is never in it."""
    with pytest.raises(NoAnswer) as problem:
        ask(*script, timeout=timeout)
    chain: BaseException | None = problem.value
    assert KEY not in repr(chain) and len(str(chain).splitlines()) == 1
    assert problem.value.__suppress_context__ or problem.value.__context__ is None
    return str(chain)


def test_a_good_reply_becomes_a_proposal(ask: Callable[..., Proposal], server: Server) -> None:
    proposal = ask(says(GOOD))
    assert proposal.by == "m-7b"
    assert [part.model_dump(mode="json") for part in proposal.boxes] == [
        {"box": [0.1, 0.2, 0.4, 0.6], "prompt": "a red circle"}, {"box": [0.0, 0.0, 1.0, 1.0], "prompt": "a map"},
    ]  # fmt: skip
    assert proposal.job().task == "layered"
    assert KEY not in proposal.model_dump_json() + proposal.yaml()


def test_what_is_sent_is_the_model_and_two_messages(ask: Callable[..., Proposal], server: Server) -> None:
    ask(says(GOOD))
    ((path, headers, sent),) = server.asked
    assert path == "/v1/chat/completions"
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert sent.keys() == {"model", "messages"}
    assert sent["model"] == "m-7b"
    system, user = sent["messages"]
    assert (system["role"], user["role"]) == ("system", "user")
    assert '{"boxes": [{"box": [' in system["content"] and "0.1250 wide and 0.2500 high" in system["content"]
    assert user["content"] == "128 x 64 pixels.\n\na red circle on a map"
    assert "gradio" not in str(headers).lower() and "python" not in str(headers).lower()


@pytest.mark.parametrize(
    "text",
    [
        "Here:\n```json\n{}\n```\nEnjoy {{it}}.",
        "```\n{}\n```",
        '<think>{{"boxes": [ ]}} no, that is wrong</think>{}',
        "\n {} ",
    ],
)
def test_a_reply_in_fences_or_among_words_is_found(ask: Callable[..., Proposal], text: str) -> None:
    assert len(ask(says(text.format(json.dumps(GOOD, indent=1)))).boxes) == 2


def test_a_reply_in_parts_is_joined(ask: Callable[..., Proposal]) -> None:
    half = json.dumps(GOOD)
    assert len(ask(says([{"type": "text", "text": half[:9]}, {"type": "text", "text": half[9:]}])).boxes) == 2


def test_two_bad_replies_are_sent_back_with_their_reasons(ask: Callable[..., Proposal], server: Server) -> None:
    upside = {"boxes": [{"box": [0.1, 0.6, 0.4, 0.2], "prompt": "a cup"}]}
    assert len(ask(says(upside), says("I can not."), says(GOOD)).boxes) == 2
    assert len(server.asked) == 3
    messages = server.asked[2][2]["messages"]
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "user", "assistant", "user"]
    assert json.loads(messages[2]["content"]) == upside
    assert "boxes[0].box: expected x0 < x1 and y0 < y1" in messages[3]["content"]
    assert messages[4]["content"] == "I can not." and "expected JSON" in messages[5]["content"]


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ({"boxes": []}, "at least 1"),
        ({"boxes": GOOD["boxes"] * 26}, "at most 50"),
        ({"boxes": [{"box": [0, 0, 0.1, 1], "prompt": "a"}]}, "at least 0.1250 wide and 0.2500 high"),
        ({"boxes": [{"box": [0, 0, 1.5, 1], "prompt": "a"}]}, "boxes[0].box[2]: expected less than or equal to 1"),
        ({"boxes": [{"box": [0, 0, 1], "prompt": "a"}]}, "a box 4"),
        ({"boxes": [{"box": [0, 0, 1, 1]}]}, "boxes[0].prompt: is missing"),
        ({"boxes": [{"box": [0, 0, 1, 1], "prompt": " "}]}, "boxes[0].prompt: expected words"),
        ({"boxes": [{"box": [0, 0, 1, 1], "prompt": "a", "colour": "red"}]}, "boxes[0].colour: unknown key"),
        ({"boxes": [{"box": ["0", 0, 1, 1], "prompt": "a"}]}, "expected a number"),
        ('{"boxes": [{"box": [0, NaN, 1, 1], "prompt": "a"}]}', "boxes[0].box[1]"),
        (json.dumps([GOOD["boxes"]]), "expected a mapping"),
        ('{"boxes": ' + "[" * 100_000, "expected JSON"),
        ("", "expected JSON"),
        (KEY, "expected JSON"),
    ],
)
def test_three_bad_replies_end_in_one_sentence(
    ask: Callable[..., Proposal], server: Server, reply: object, reason: str
) -> None:
    sentence = refused(ask, says(reply))
    assert "m-7b gave 3 replies" in sentence and reason in sentence
    assert len(server.asked) == 3


def test_a_server_that_does_not_answer_is_left(ask: Callable[..., Proposal], server: Server) -> None:
    sentence = refused(ask, lambda handler: handler.server.closing.wait(), timeout=0.2)  # type: ignore[arg-type,return-value]
    assert "did not answer within 0.2 seconds" in sentence
    assert len(server.asked) == 1


def test_a_server_that_answers_drop_by_drop_is_left(ask: Callable[..., Proposal], server: Server) -> None:
    def drip(handler: Handler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while not server.closing.wait(0.02):
            handler.wfile.write(b" ")

    assert "did not answer within 0.3 seconds" in refused(ask, drip, timeout=0.3)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(ask: Callable[..., Proposal], server: Server, status: int) -> None:
    elsewhere = f"http://127.0.0.1:{server.server_port}/elsewhere?{KEY}"
    assert f"redirect ({status})" in refused(ask, lambda h: h.answer(b"", status, Location=elsewhere))
    assert [path for path, _, _ in server.asked] == ["/v1/chat/completions"]


def test_a_huge_reply_is_not_read_to_its_end(ask: Callable[..., Proposal], server: Server) -> None:
    sent = 0

    def pour(handler: Handler) -> None:
        nonlocal sent
        handler.send_response(200)
        handler.end_headers()
        while sent < 64 * 2**20:
            handler.wfile.write(b" " * 2**16)
            sent += 2**16

    assert "at most 1,048,576 bytes" in refused(ask, pour)
    assert sent < 64 * 2**20


def test_a_packed_reply_is_not_unpacked(ask: Callable[..., Proposal], server: Server) -> None:
    assert "compressed" in refused(ask, lambda h: h.answer(b"\x1f\x8b", Content_Encoding="gzip"))
    assert server.asked[0][1]["Accept-Encoding"] == "identity"


def test_a_wrong_status_is_told_with_the_servers_words_and_without_the_key(ask: Callable[..., Proposal]) -> None:
    body = json.dumps({"error": {"message": f"Incorrect key {KEY}\n\x1b[2J" + "x" * 900 + KEY}}).encode()
    sentence = refused(ask, lambda h: h.answer(body, 401))
    assert "status 401: Incorrect key ..." in sentence and "\x1b" not in sentence and len(sentence) < 500
    assert refused(ask, lambda h: h.answer(b"<html>", 502)).endswith("status 502")


@pytest.mark.parametrize(
    "body", [b"{}", b"[]", b"<html>", b'{"choices": []}', b'{"choices": [{"message": null}]}', b"\xff"]
)
def test_an_answer_that_is_no_completion_is_told(ask: Callable[..., Proposal], body: bytes) -> None:
    assert "expected a chat completion" in refused(ask, lambda h: h.answer(body))


def test_a_key_that_the_model_repeats_gets_into_no_box(ask: Callable[..., Proposal]) -> None:
    reply = {"boxes": [{"box": [0, 0, 1, 1], "prompt": f"a note with {KEY}"}]}
    assert ask(says(reply)).boxes[0].prompt == "a note with ..."


def test_an_absent_server_is_told(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAT_KEY", KEY)
    with Server() as other:
        port = other.server_port
    endpoint = Endpoint(url=f"http://127.0.0.1:{port}", model="m", key_variable="CHAT_KEY")
    with pytest.raises(NoAnswer, match=f"127.0.0.1:{port} could not be asked"):
        propose("a cat", "layout", size=SQUARE, endpoint=endpoint)


def test_proxies_of_the_environment_are_not_used(ask: Callable[..., Proposal], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert ask(says(GOOD)).by == "m-7b"


@pytest.mark.parametrize("key", ["", "two words", "tab\there", "ключ"])
def test_a_key_that_is_none_is_told_before_anything_is_sent(
    ask: Callable[..., Proposal], server: Server, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("CHAT_KEY", key)
    with pytest.raises(Refusal, match="CHAT_KEY") as problem:
        ask(says(GOOD))
    assert server.asked == [] and (not key or key not in str(problem.value))


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate of this test")
def test_a_certificate_that_nobody_vouches_for_is_refused(server: Server, tmp_path: Path) -> None:
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", "-out", "cert.pem",
            "-days", "1", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]  # fmt: skip
    subprocess.run(made, cwd=tmp_path, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.script = [says(GOOD)]
    endpoint = Endpoint(url=f"https://127.0.0.1:{server.server_port}", model="m")
    with pytest.raises(NoAnswer, match=r"could not be asked: .*CERTIFICATE_VERIFY_FAILED"):
        propose("a cat", "layout", size=SQUARE, endpoint=endpoint)
    assert server.asked == []


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/v1", "http://localhost", "http://[::1]:8080", "https://a.example/v1"]
)
def test_http_is_for_this_machine(url: str) -> None:
    assert endpoint_of({"url": url, "model": "m"}).url == url


@pytest.mark.parametrize(
    "url", ["http://a.example/v1", "http://127.0.0.1.a.example", "http://10.0.0.1", "http://localhost.a.example"]
)
def test_http_elsewhere_has_to_be_allowed(url: str) -> None:
    with pytest.raises(Refusal, match="unencrypted") as problem:
        endpoint_of({"url": url, "model": "m"})
    assert problem.value.field == "url" and "--allow-http" in problem.value.reason
    assert endpoint_of({"url": url, "model": "m", "allow_http": True}).allow_http


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"url": "ftp://a.example"}, "url"), ({"url": "a.example/v1"}, "url"), ({"url": "https://"}, "url"),
        ({"url": f"https://me:{KEY}@a.example"}, "url"), ({"url": "https://a.example?k=" + KEY}, "url"),
        ({"url": "https://a.example:99999"}, "url"), ({"url": "https://a.example/\n"}, "url"), ({"url": None}, "url"),
        ({"model": " "}, "model"), ({"model": 3}, "model"), ({"key_variable": KEY}, "key_variable"),
        ({"timeout": 0.0}, "timeout"), ({"key": KEY}, "key"),
    ],
)  # fmt: skip
def test_what_is_no_endpoint_is_one_sentence_without_the_key(values: dict[str, Any], field: str) -> None:
    with pytest.raises(Refusal) as problem:
        endpoint_of({"url": "https://a.example/v1", "model": "m", **values})
    assert problem.value.field == field
    assert KEY not in str(problem.value) and len(str(problem.value).splitlines()) == 1


def test_a_base_url_may_be_written_with_its_path() -> None:
    assert endpoint_of({"url": "https://a.example/v1/chat/completions/", "model": "m"}).url == "https://a.example/v1"


def test_an_endpoint_is_read_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "chat.yaml"
    file.write_text("url: http://127.0.0.1:8080/v1\nmodel: m-7b\nkey_variable: CHAT_KEY\ntimeout: 300.0\n")
    assert read_endpoint(file) == named_endpoint(str(file))
    assert read_endpoint(file).key_variable == "CHAT_KEY"
    for text in ("", "- url", "url: http://127.0.0.1\n", "url: [\n", "x" * 70_000):
        file.write_text(text)
        with pytest.raises(Refusal, match=r"chat\.yaml: "):
            read_endpoint(file)
    with pytest.raises(Refusal, match="can not be read"):
        read_endpoint(tmp_path)


# ---------------------------------------------------------------- the command


def test_the_command_prints_a_job_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["design", "a cat left of a house, 4k", "--size", "192", "128"]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert (
        parse(next(iter(documents(said.out)))) == propose("a cat left of a house, 4k", "layout", size=(192, 128)).job()
    )
    assert "# '4k' has neither article nor number" in said.out


def test_the_command_writes_a_new_file_and_overwrites_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "job.yaml"
    words = ["design", "ein Käfer ‘x’: #1", "--task", "layered", "--out", str(file)]
    assert cli.main(words) == 0
    assert capsys.readouterr().out == ""
    assert parse(next(iter(documents(file.read_text(encoding="utf-8"))))).task == "layered"
    before = file.read_bytes()
    assert cli.main(words) == 2
    assert "expected a new file" in capsys.readouterr().err
    assert file.read_bytes() == before
    assert cli.main([*words[:-1], str(tmp_path / "absent" / "job.yaml")]) == 2


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["in a meadow"], "prompt: expected a thing"),
        ([""], "prompt: expected words"),
        (["a cat", "--size", "100", "128"], "size[0]: expected a multiple of 16"),
        (["a cat", "--endpoint-model", "m"], "--endpoint-model: goes with --endpoint"),
        (["a cat", "--endpoint", "http://127.0.0.1"], "--endpoint-model: is missing"),
        (["a cat", "--endpoint", "http://a.example", "--endpoint-model", "m"], "unencrypted"),
        (["a cat", "--endpoint", "absent.yaml"], "absent.yaml: can not be read"),
        (["a cat", "--endpoint", "absent.yaml", "--allow-http"], "--allow-http: goes with an --endpoint URL"),
        (
            ["a cat", "--endpoint", "http://127.0.0.1", "--endpoint-model", "m", "--key-variable", "NOT_SET_HERE"],
            "NOT_SET",
        ),
    ],
)
def test_bad_words_are_status_2_and_one_sentence(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["design", *words]) == 2
    said = capsys.readouterr()
    assert told in said.err and len(said.err.splitlines()) == 1 and said.out == ""


def test_the_command_asks_the_named_endpoint(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CHAT_KEY", KEY)
    named = ["--endpoint", f"http://127.0.0.1:{server.server_port}/v1", "--endpoint-model", "m-7b"]
    server.script = [says(GOOD)]
    assert cli.main(["design", "a map", *named, "--key-variable", "CHAT_KEY"]) == 0
    said = capsys.readouterr()
    assert parse(next(iter(documents(said.out)))).task == "layout"
    assert "m-7b" in said.out and KEY not in said.out + said.err
    server.script = [says("no")]
    assert cli.main(["design", "a map", *named]) == 1
    assert capsys.readouterr().err.startswith("diorama: endpoint: m-7b gave 3 replies")


def test_help_of_the_command_loads_nothing_heavy() -> None:
    code = "from pipelines.cli import main\ntry: main(['design', '--help'])\nexcept SystemExit: pass"
    assert loaded_by(code) & (HEAVY | {"httpx", "numpy", "pydantic", "yaml", "PIL"}) == set()


def test_a_terminal_without_unicode_gets_the_same_job() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.cli", "design", "ein Käfer"], capture_output=True, check=True,
        cwd=Path(__file__).parents[1], env={"PYTHONIOENCODING": "ascii", "PATH": ""},
    )  # fmt: skip
    assert parse(next(iter(documents(done.stdout.decode("ascii"))))).prompt == "ein Käfer"  # type: ignore[union-attr]
