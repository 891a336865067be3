"""Webhooks: they go where the owner allows, to the machine that was looked at, signed, and at least once."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import socket
import ssl
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from pipelines.queue.queue import Queue
from pipelines.refusal import Refusal
from tests.paced import text, until
from tests.programs import at_work, programs
from ui.api import postman
from ui.api.outbox import Hook, Outbox
from ui.api.postman import SECRET, Postman
from ui.api.webhooks import Allowed, Place, is_public, machine

TEST_NET = "https://hooks.example"


@dataclass
class Receiver:
    """A server of this machine that is told things."""

    address: str
    statuses: list[int] = field(default_factory=list)
    got: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)


@contextmanager
def receiving(*statuses: int, location: str = "", tls: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    """A receiver that answers with these statuses, and then with 200."""
    left = list(statuses)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            told.got.append((self.path, dict(self.headers.items()), body))
            self.send_response(left.pop(0) if left else 200)
            if location:
                self.send_header("Location", location)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        told = Receiver(f"http://127.0.0.1:{server.server_address[1]}")
        if tls is not None:
            told.address = f"https://localhost:{server.server_address[1]}"
            server.socket = tls.wrap_socket(server.socket, server_side=True)
            server.handle_error = lambda *_: None  # type: ignore[method-assign]  # a caller that does not believe it
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield told
        server.shutdown()


@dataclass
class Office:
    """A queue with one job that is over, and its postman."""

    folder: Path
    queue: Queue
    outbox: Outbox
    job: str
    now: float = 1_000_000.0

    def send(self, *allowed: str, resolve: Any = None) -> Hook:
        more = {"resolve": resolve} if resolve else {}
        man = Postman(self.queue, self.folder, self.outbox, Allowed(allowed), clock=lambda: self.now, **more)
        man.round()
        hook = self.outbox.of(self.job)
        assert hook is not None
        return hook


@pytest.fixture
def office(tmp_path: Path) -> Office:
    queue = Queue(tmp_path)
    job = queue.add(text())
    queue.claim()
    (tmp_path / "a.png").write_bytes(b"picture")
    queue.done(job, ["a.png"])
    return Office(tmp_path, queue, Outbox(tmp_path), job)


# ------------------------------------------------------------ where they may go


@pytest.mark.parametrize(
    "address",
    [
        "http://hooks.example/a", "https://hooks.example.evil.example/a", "https://hooks.example:444/a",
        "https://evil.example/a", "https://hooks.example@evil.example/a", "https://evil.example#hooks.example/a",
        "https://hooks.example/b", "https://hooks.example/ab", "https://hooks.example/a/../b",
        "https://hooks.example/a/%2e%2e/b", "https://hooks.example/a/..%2fb", "https://hooks.example\\@evil.example/a",
        "https://hooks.example/a b", "https://hooks.example/a\nX: y", "//hooks.example/a", "hooks.example/a", "",
        "https:///a", "file:///etc/passwd", "gopher://hooks.example/a", "https://hooks.example./a",
        "https://hook\u017f.example/a", "https://127.0.0.1/a", "https://2130706433/a", "https://[::1]/a",
        "https://hooks.example:99999/a", "https://user:password@hooks.example/a", "javascript:alert(1)",
    ],
)  # fmt: skip
def test_an_address_that_the_owner_does_not_allow_is_refused(address: str, tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="expected an address that the owner allows"):
        Allowed(["https://hooks.example/a"]).place(address)


def test_what_the_owner_allows_and_what_is_below_it_is_fine() -> None:
    allowed = Allowed(["https://hooks.example/a", "https://plain.example:8443", "http://127.0.0.1:9000/"])
    for address in ("https://HOOKS.example/a", "https://hooks.example:443/a/b?x=1", "https://plain.example:8443/c",
                    "http://127.0.0.1:9000/hook"):  # fmt: skip
        allowed.place(address)
    assert Place.of("https://HOOKS.example/A?b") == Place("https", "hooks.example", 443, "/A", "?b")


@pytest.mark.parametrize(
    "address",
    ["http://hooks.example", "http://192.168.1.20", "hooks.example", "https://a/?x=1", "ftp://a", "https://", "*", ""],
)
def test_the_owner_is_told_of_an_option_that_is_no_address(address: str) -> None:
    with pytest.raises(Refusal, match="--allow-webhook: expected https"):
        Allowed([address])


def test_a_job_with_an_address_that_is_not_allowed_is_not_queued(tmp_path: Path) -> None:
    job = {"task": "text", "prompt": "a star"}
    with programs(tmp_path / "none") as found:
        said = found.refused("POST", "/jobs", 422, json={"job": job, "webhook": "https://hooks.example/a"})
        assert said[1] == "webhook" and "the owner allows none" in said[0]
    with programs(tmp_path / "some", webhooks=["https://hooks.example/a"]) as found:
        for address in ("https://evil.example", "http://169.254.169.254/latest", f"file://{tmp_path}", "\ud800"):
            body = json.dumps({"jobs": [job, job], "webhook": address}).encode()
            headers = {"content-type": "application/json"}
            assert found.refused("POST", "/batches", 422, content=body, headers=headers)[1] == "webhook"
        assert found.queue.rows() == []


PRIVATE = (
    "10.0.0.1", "172.16.0.1", "192.168.0.1", "127.0.0.1", "127.9.9.9", "0.0.0.0", "169.254.169.254", "100.64.0.1",
    "224.0.0.1", "255.255.255.255", "240.0.0.1", "192.0.2.1", "198.18.0.1", "::", "::1", "fe80::1", "fc00::1",
    "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "2002:a00:1::", "2001:0:1::1",
    "2001:db8::1", "fec0::1",
)  # fmt: skip


@pytest.mark.parametrize("number", PRIVATE)
def test_a_name_that_leads_to_a_machine_of_the_own_network_gets_nothing(office: Office, number: str) -> None:
    assert not is_public(ip_address(number))
    for found in ([number], ["93.184.216.34", number]):
        with pytest.raises(Refusal, match="which is no public address"):
            machine(Place("https", "hooks.example", 443, ""), lambda host, port, found=found: found)
    office.outbox.expect([office.job], f"{TEST_NET}/a")
    hook = office.send(TEST_NET, resolve=lambda host, port: [number])
    assert (hook.state, hook.tries, hook.status) == ("failed", 1, None) and "no public address" in hook.said


def test_public_machines_and_those_that_the_owner_names_by_number_are_fine() -> None:
    for number in ("93.184.216.34", "2606:4700::1111", "::ffff:93.184.216.34"):
        assert is_public(ip_address(number))
        assert machine(Place("https", "hooks.example", 443, ""), lambda host, port, n=number: [n]) == number

    def never(host: str, port: int) -> list[str]:
        raise AssertionError("a number is not looked up")

    assert machine(Place("https", "192.168.1.20", 443, ""), never) == "192.168.1.20"
    assert machine(Place("http", "localhost", 80, ""), lambda host, port: ["127.0.0.1"]) == "127.0.0.1"
    with pytest.raises(Refusal):
        machine(Place("http", "localhost", 80, ""), lambda host, port: ["192.168.1.20"])


def test_a_name_is_looked_up_once_and_that_machine_is_told(office: Office) -> None:
    """A name that leads elsewhere the second time (DNS rebinding) finds nobody who asks a second time."""
    with receiving() as receiver:
        asked = []

        def rebinding(host: str, port: int) -> list[str]:
            asked.append(host)
            return ["127.0.0.1"] if len(asked) == 1 else ["192.0.2.1"]

        address = receiver.address.replace("127.0.0.1", "localhost")
        office.outbox.expect([office.job], f"{address}/a")
        assert office.send(address, resolve=rebinding).state == "delivered"
        ((path, headers, _),) = receiver.got
        assert asked == ["localhost"] and path == "/a" and headers["Host"] == address.removeprefix("http://")


@dataclass
class Authority:
    """An authority of certificates that nobody knows but who is given `file`."""

    folder: Path

    def __post_init__(self) -> None:
        self.file, self._key = self.folder / "authority.pem", ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "the test's authority")])
        own = self._certificate(self._name, self._key, [(x509.BasicConstraints(True, None), True)])
        self.file.write_bytes(own.public_bytes(Encoding.PEM))

    def server(self, host: str) -> ssl.SSLContext:
        """For a server that is called `host`."""
        key, path = ec.generate_private_key(ec.SECP256R1()), self.folder / f"{host}.pem"
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
        names = x509.SubjectAlternativeName([x509.DNSName(host)])
        path.write_bytes(
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            + self._certificate(subject, key, [(names, False)]).public_bytes(Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context

    def _certificate(self, subject: x509.Name, key: Any, more: list[tuple[Any, bool]]) -> x509.Certificate:
        now = datetime.now(UTC)
        made = x509.CertificateBuilder(self._name, subject, key.public_key(), x509.random_serial_number())
        made = made.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
        for extension, critical in more:
            made = made.add_extension(extension, critical)
        return made.sign(self._key, hashes.SHA256())


def test_a_webhook_goes_over_tls_to_a_name_whose_certificate_is_believed(
    office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority(tmp_path)
    here = {"resolve": lambda host, port: ["127.0.0.1"]}
    with receiving(tls=authority.server("localhost")) as receiver:
        office.outbox.expect([office.job], f"{receiver.address}/a")
        hook = office.send(receiver.address, **here)
        assert hook.state == "waiting" and "certificate verify failed" in hook.said and receiver.got == []
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))  # as the machine's own
        office.now += 3600
        assert office.send(receiver.address, **here).state == "delivered"
        ((path, headers, _),) = receiver.got
        assert path == "/a" and headers["Host"] == receiver.address.removeprefix("https://")


def test_a_certificate_of_another_name_is_not_believed(
    office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    with receiving(tls=authority.server("elsewhere.example")) as receiver:
        office.outbox.expect([office.job], f"{receiver.address}/a")
        hook = office.send(receiver.address, resolve=lambda host, port: ["127.0.0.1"])
        assert hook.state == "waiting" and "not valid for 'localhost'" in hook.said and receiver.got == []


def test_a_redirect_is_not_followed(office: Office) -> None:
    with receiving() as inner, receiving(302, 307, location=inner.address) as outer:
        office.outbox.expect([office.job], outer.address)
        hook = office.send(outer.address)
        assert (hook.state, hook.status) == ("waiting", 302) and "no other address is asked" in hook.said
        assert inner.got == [] and len(outer.got) == 1


def test_an_address_that_is_allowed_no_more_gets_nothing(office: Office) -> None:
    with receiving() as receiver:
        office.outbox.expect([office.job], receiver.address)
        hook = office.send("https://hooks.example")
        assert hook.state == "failed" and "the owner allows" in hook.said and receiver.got == []


# ------------------------------------------------------------ what they say


def test_a_webhook_is_small_signed_and_without_paths(office: Office) -> None:
    with receiving() as receiver:
        office.outbox.expect([office.job], f"{receiver.address}/a?b=1")
        assert office.send(receiver.address).state == "delivered"
        ((path, headers, body),) = receiver.got
        kept = (office.folder / SECRET).read_text().strip()
        key = base64.b64decode(kept.removeprefix("whsec_"))
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        mac = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        assert headers["webhook-signature"] == f"v1,{mac}" and headers["webhook-timestamp"] == "1000000"
        assert path == "/a?b=1" and len(key) == 32
        assert json.loads(body) == {
            "type": "job.done", "job": office.job, "state": "done",
            "files": [{"number": 0, "name": "a.png", "bytes": 7, "sha256": hashlib.sha256(b"picture").hexdigest(),
                       "type": "image/png"}],
        }  # fmt: skip
        assert str(office.folder) not in body.decode()
        assert stat.S_IMODE((office.folder / SECRET).stat().st_mode) == 0o600


def test_a_failed_try_is_made_twice_more_with_growing_pauses_and_the_same_id(office: Office) -> None:
    with receiving(500, 503, 500) as receiver:
        office.outbox.expect([office.job], receiver.address)
        hook = office.send(receiver.address)
        assert (hook.state, hook.tries, hook.status) == ("waiting", 1, 500)
        assert office.send(receiver.address).tries == 1  # it is not due
        for pause, state in zip(postman.PAUSES, ("waiting", "failed"), strict=True):
            office.now += pause
            assert office.send(receiver.address).state == state
        office.now += 1e6
        hook = office.send(receiver.address)
        assert (hook.tries, hook.said) == (3, "expected an answer of 2xx, got 500")
        assert len({headers["webhook-id"] for _, headers, _ in receiver.got}) == 1 and len(receiver.got) == 3


def test_nobody_there_is_a_failed_try_and_no_accident(office: Office) -> None:
    office.outbox.expect([office.job], "http://127.0.0.1:1")
    hook = office.send("http://127.0.0.1:1")
    assert (hook.state, hook.status) == ("waiting", None) and hook.said.startswith("nobody answered: ")


def test_a_receiver_that_never_answers_is_left_after_a_time(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postman, "LONGEST", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        office.outbox.expect([office.job], address)
        hook = office.send(address)
        assert hook.state == "waiting" and hook.said == "nobody answered within 0.2 seconds"


def test_a_webhook_outlives_a_restart_and_waits_for_its_job(tmp_path: Path) -> None:
    queue, job = Queue(tmp_path), ""
    with receiving() as receiver:
        job = queue.add(text())
        Outbox(tmp_path).expect([job], receiver.address)
        office = Office(tmp_path, Queue(tmp_path), Outbox(tmp_path), job)  # another process
        assert office.send(receiver.address).tries == 0 and receiver.got == []
        queue.cancel(job)
        assert office.send(receiver.address).state == "delivered"
        assert json.loads(receiver.got[0][2])["type"] == "job.cancelled"


def test_a_job_that_was_taken_from_the_list_is_told_to_nobody(office: Office) -> None:
    with receiving() as receiver:
        office.outbox.expect([office.job], receiver.address)
        office.queue.delete([office.job])
        assert office.send(receiver.address).state == "failed" and receiver.got == []


def test_the_studio_delivers_by_itself_and_the_job_tells_how_it_went(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postman, "LOOK", 0.02)
    with receiving() as receiver, at_work(tmp_path, webhooks=[receiver.address]) as found:
        id = found.add(webhook=f"{receiver.address}/done")
        until(lambda: found.ask("GET", f"/jobs/{id}")["webhook"]["state"] == "delivered")
        told = found.ask("GET", f"/jobs/{id}")["webhook"]
        assert told == {
            "address": f"{receiver.address}/done", "state": "delivered", "tries": 1, "status": 200, "said": "",
        }  # fmt: skip
        assert json.loads(receiver.got[0][2])["job"] == id
