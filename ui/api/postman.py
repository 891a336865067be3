"""The postman: a thread of the studio that sends the outbox's webhooks, signed, and only where the owner allows it.

How a webhook is signed is that of the Standard Webhooks specification, so that a receiver can take a library for it:
the headers webhook-id, webhook-timestamp and webhook-signature, which is `v1,` and the base64 of an HMAC-SHA256 of
`ID.TIMESTAMP.BODY`.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import os
import secrets
import ssl
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import certifi
import httpx

from pipelines.files.kept import KEPT
from pipelines.queue.queue import Queue
from pipelines.refusal import Refusal, on_one_line
from ui.api.outbox import Hook, Outbox
from ui.api.outputs import listed
from ui.api.webhooks import Allowed, Place, Resolve, machine, resolved

SECRET = Path(KEPT, "webhook.secret")  # among the outputs
MARK = "whsec_"  # how such a secret begins
LONGEST = 10.0  # seconds that a try may take, from the look at the name to the answer's status
PAUSES = (5.0, 60.0)  # seconds before the second try and the third one, which is the last
LOOK = 0.5  # seconds between two looks at the outbox
AT_ONCE = 8  # webhooks that are sent at the same time
OVER = ("done", "failed", "cancelled")


def secret(folder: Path) -> bytes:
    """The studio's secret, which is made when it is first asked for; only the folder's owner can read it.

    Raises:
        Refusal: the file holds none.
    """
    path = folder / SECRET
    with suppress(FileExistsError):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{MARK}{base64.b64encode(secrets.token_bytes(32)).decode()}\n")
    try:
        return base64.b64decode(path.read_text("ascii").strip().removeprefix(MARK), validate=True)
    except ValueError:
        raise Refusal("--allow-webhook", f"{path} holds no secret; take it away, and a new one is made") from None


def signature(key: bytes, id: str, timestamp: int, body: bytes) -> str:
    """The header webhook-signature."""
    digest = hmac.digest(key, f"{id}.{timestamp}.".encode() + body, hashlib.sha256)
    return f"v1,{base64.b64encode(digest).decode()}"


def trusted() -> ssl.SSLContext:
    """Whose certificates are believed: the machine's own authorities, and those that browsers believe."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


class Postman:
    """Sends what is due, until it is stopped.

    Args:
        queue: its rows say which jobs are over.
        folder: the output folder.
        outbox: what is to be sent.
        allowed: the owner's addresses; one that was allowed once and is no more gets nothing.
        resolve: what a name leads to, for tests.
        clock: gives the time, in seconds since 1970.
    """

    def __init__(
        self, queue: Queue, folder: Path, outbox: Outbox, allowed: Allowed, resolve: Resolve = resolved,
        clock: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        self._queue, self._folder, self._outbox, self._allowed = queue, folder, outbox, allowed
        self._resolve, self._clock, self._key = resolve, clock, secret(folder)
        self._trusted = trusted()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="postman", daemon=True)

    def start(self) -> None:
        """Begin to send; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """Send no more. A try that is at work is ended with the process, and made again by the next one."""
        self._stop.set()
        self._thread.join(LOOK * 4)

    def round(self) -> int:
        """Send what is due now, and return how many that were."""
        hooks = self._outbox.waiting(self._clock())
        states = self._queue.states([hook.job for hook in hooks])
        for hook in hooks:
            if hook.job not in states:
                self._outbox.told(hook.id, None, "the job was taken from the list before it was told of", None)
        due = [hook for hook in hooks if states.get(hook.job) in OVER]
        for start in range(0, len(due), AT_ONCE):
            asyncio.run(self._send_all(due[start : start + AT_ONCE]))
            if self._stop.is_set():
                break
        return len(due)

    def _work(self) -> None:
        while not self._stop.wait(LOOK):
            try:
                self.round()
            except Exception:  # a disk that is full for the moment ends no deliveries
                traceback.print_exc()
                self._stop.wait(10 * LOOK)

    async def _send_all(self, hooks: list[Hook]) -> None:
        await asyncio.gather(*(self._send(hook) for hook in hooks))

    async def _send(self, hook: Hook) -> None:
        status, again = None, None
        try:
            place = self._allowed.place(hook.address)
            async with asyncio.timeout(LONGEST):
                status = await self._post(hook, place)
            said = "" if 200 <= status < 300 else f"expected an answer of 2xx, got {status}"
            if 300 <= status < 400:
                said += "; no other address is asked instead"
        except Refusal as refusal:  # the next try would be no better
            return self._outbox.told(hook.id, None, refusal.reason, None)
        except (TimeoutError, httpx.TimeoutException):
            said = f"nobody answered within {LONGEST:g} seconds"
        except (OSError, httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            said = on_one_line(f"nobody answered: {str(error) or type(error).__name__}", 300)
        if said and hook.tries < len(PAUSES):
            again = self._clock() + PAUSES[hook.tries]
        self._outbox.told(hook.id, status, said, again)

    async def _post(self, hook: Hook, place: Place) -> int:
        """The status that a webhook is answered with; the rest of the answer is not read."""
        number = await asyncio.to_thread(machine, place, self._resolve)
        body = await asyncio.to_thread(self._body, hook)
        timestamp = int(self._clock())
        headers = {
            "Host": place.netloc, "Content-Type": "application/json", "User-Agent": "diorama", "webhook-id": hook.id,
            "webhook-timestamp": str(timestamp), "webhook-signature": signature(self._key, hook.id, timestamp, body),
        }  # fmt: skip
        # The machine by its number: its name is not looked up again, and only its certificate is for that name.
        host = f"[{number}]" if ":" in number else number
        url = f"{place.scheme}://{host}:{place.port}{place.path or '/'}{place.query}"
        async with (
            httpx.AsyncClient(verify=self._trusted, trust_env=False, follow_redirects=False, timeout=LONGEST) as client,
            client.stream("POST", url, content=body, headers=headers, extensions={"sni_hostname": place.host}) as told,
        ):
            return told.status_code

    def _body(self, hook: Hook) -> bytes:
        row = self._queue.get(hook.job)
        state = row.state if row else "gone"
        files = [file.model_dump(mode="json") for file in listed(row, self._folder)] if row else []
        return json.dumps({"type": f"job.{state}", "job": hook.job, "state": state, "files": files}).encode()
