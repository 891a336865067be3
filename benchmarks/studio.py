"""What visitors cost the studio, and what a render costs them: `python -m benchmarks.studio`.

The studio is served as people serve it, with its worker and the embedded checkpoint, in a folder that is thrown away.
The worker has more to do than it can; it renders for a while alone, then with clients that ask and post as pages do,
then alone again, and what it finishes is counted. Then one page presses Render again and again while it works.
Clients run in this process and share the machine's cores, so what they cost here is the most that they can; what the
server and they took of a core is printed, to tell them apart.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import random
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gradio
import httpx

from pipelines.job import parse
from pipelines.queue.queue import Queue

ROOT = Path(__file__).resolve().parent.parent
LOOK = 0.7  # seconds between two looks of a page
THINK = 2.0  # seconds between two jobs of somebody who posts
CLICKS = 50
PATIENCE = 180.0  # seconds until the studio is there and has rendered something
WAITING = 20  # jobs that always wait, whoever is there
PROMPT = "a red circle on a white background"


@dataclass
class Seen:
    """What clients saw: seconds of each answer, and what went wrong."""

    seconds: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def add(self, taken: float, problem: str) -> None:
        """Take down one answer."""
        self.seconds.append(taken)
        if problem:
            self.errors.append(problem)

    def told(self) -> str:
        """The answers in one line."""
        if not self.seconds:
            return "no answers"
        ordered = sorted(self.seconds)
        late = ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]
        return (
            f"{len(ordered)} answers, {len(self.errors)} errors, median {statistics.median(ordered) * 1000:.0f} ms, "
            f"95 % within {late * 1000:.0f} ms, slowest {ordered[-1] * 1000:.0f} ms"
        )


class Page:
    """What a page sends to the listeners of a served studio."""

    def __init__(self, url: str, config: Mapping[str, Any]) -> None:
        self.url = url
        self._parts = {part["id"]: part.get("props", {}) for part in config["components"]}
        self._listeners = {each["api_name"]: each for each in config["dependencies"]}

    def call(self, name: str, **changes: Any) -> dict[str, Any]:
        """A call of a listener with its fields as they are at the beginning, but for `changes` by element id."""
        listener = self._listeners[name]
        parts = [self._parts[id] for id in listener["inputs"]]
        data = [changes.get((part.get("elem_id") or "").replace("-", "_"), part.get("value")) for part in parts]
        return {"data": data, "fn_index": listener["id"]}

    async def send(self, client: httpx.AsyncClient, call: Mapping[str, Any], seen: Seen) -> None:
        """Send a call and take down what came of it."""
        begun = time.perf_counter()
        try:
            answer = await client.post(f"{self.url}/gradio_api/run/predict", json=call)
            problem = "" if answer.status_code == 200 else f"status {answer.status_code}"
        except httpx.HTTPError as error:
            problem = type(error).__name__
        seen.add(time.perf_counter() - begun, problem)


class Watcher:
    """A page that is left open on the Text tab: it asks what is new, over a connection that it keeps.

    Not by httpx, which takes as long for a question as the studio for its answer.
    """

    def __init__(self, url: str) -> None:
        self._host, _, self._port = url.removeprefix("http://").partition(":")
        self._mark = ""
        self.slower = 1.0  # times that the server told this page to wait longer
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, seen: Seen) -> None:
        """Ask once, and remember what was told."""
        begun = time.perf_counter()
        try:
            status, body = await asyncio.wait_for(self._get(f"/watch/text?follows=&mark={self._mark}"), 60)
            problem = "" if status in (200, 204) else f"status {status}"
            if status == 200:
                self._mark = json.loads(body)["mark"]
        except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
            problem, self._streams = type(error).__name__, None
        seen.add(time.perf_counter() - begun, problem)

    async def _get(self, path: str) -> tuple[int, bytes]:
        reader, writer = self._streams = self._streams or await asyncio.open_connection(self._host, int(self._port))
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {self._host}:{self._port}\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = re.search(r"\r\ncontent-length: (\d+)", head)
        slower = re.search(r"\r\ndiorama-slower: ([\d.]+)", head)
        self.slower = float(slower[1]) if slower else 1.0
        return int(head.split(" ", 2)[1]), await reader.readexactly(int(length[1]) if length else 0)


def main() -> None:
    """Serve, render, visit, and print what it came to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=120.0, help="with clients, and alone as long (default: 120)")
    parser.add_argument("--polling", type=int, default=50, help="pages that look at the queue (default: 50)")
    parser.add_argument("--posting", type=int, default=5, help="pages that post jobs (default: 5)")
    parser.add_argument("--steps", type=int, default=8, help="sampling steps of a job of 64 x 64 pixels (default: 8)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        out, port = Path(folder) / "studio", _free_port()
        command = [sys.executable, str(ROOT / "app.py"), "--port", str(port), "--out", str(out)]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            asyncio.run(_measure(f"http://127.0.0.1:{port}", out, server, options))
        finally:
            server.terminate()
            server.wait()


async def _measure(url: str, out: Path, server: subprocess.Popen[bytes], options: argparse.Namespace) -> None:
    async with httpx.AsyncClient(trust_env=False, timeout=60, limits=httpx.Limits(max_connections=200)) as client:
        page = Page(url, await _config(client, url, server))
        queue = Queue(out)
        backlog = asyncio.ensure_future(_keep_busy(queue, options.steps))
        await _until(lambda: _finished(queue) >= 2, server)
        worker = _child(server.pid)
        print(
            f"gradio {gradio.__version__}, Python {platform.python_version()}, {os.cpu_count()} cores; jobs of 64 x 64"
            f" pixels and {options.steps} steps; {options.polling} pages that look every {LOOK} s,"
            f" or as seldom as they are told, {options.posting} that post every {THINK} s"
        )
        before = _memory(server.pid), _memory(worker)
        alone = await _rate(queue, options.seconds / 2, None)
        asked, posted = Seen(), Seen()
        busy, begun = {pid: _busy(pid) for pid in (server.pid, os.getpid())}, time.perf_counter()
        visited = await _rate(queue, options.seconds, _visitors(page, client, asked, posted, options))
        took = time.perf_counter() - begun
        of_server, of_clients = ((_busy(pid) - then) / took for pid, then in busy.items())
        alone = (alone + await _rate(queue, options.seconds / 2, None)) / 2
        after = _memory(server.pid), _memory(worker)
        clicks = Seen()
        for _ in range(CLICKS):
            await page.send(client, {**_press(page, options.steps), "session_hash": "clicks"}, clicks)
            await asyncio.sleep(0.05)
        backlog.cancel()
        alive = "at work" if server.poll() is None and _child(server.pid) == worker else "NOT THE ONE OF THE BEGINNING"
    print(f"asks    {asked.told()}")
    print(f"posts   {posted.told()}")
    for name, seen in (("asks", asked), ("posts", posted)):
        if seen.errors:
            print(f"        {name}: {', '.join(sorted(set(seen.errors)))}")
    ratio = f"{visited / alone:.2f} of it" if alone else "nothing to compare: too short"
    print(f"renders {alone:.2f} a second alone, {visited:.2f} with clients: {ratio}")
    print(f"cores   with clients: the server {of_server:.2f} of one, the clients themselves {of_clients:.2f}")
    for name, first, last in (("server", before[0], after[0]), ("worker", before[1], after[1])):
        print(f"memory  {name} {first / 2**20:.0f} MiB at first, {last / 2**20:.0f} MiB at last")
    print(f"clicks  on Render while it renders: {clicks.told()}; the worker is {alive}")


def _job(seed: int, steps: int) -> Any:
    return parse({"task": "text", "prompt": PROMPT, "size": [64, 64], "steps": steps, "seed": seed})


async def _keep_busy(queue: Queue, steps: int) -> None:
    """See to it that the worker never waits."""
    seed = 0
    while True:
        for _ in range(WAITING - queue.counts().get("queued", 0)):
            queue.add(_job(seed, steps))
            seed += 1
        await asyncio.sleep(0.2)


def _press(page: Page, steps: int) -> dict[str, Any]:
    size = {"text_width": 64, "text_height": 64}
    return page.call("render_text", text_prompt=PROMPT, text_steps=steps, **size)


async def _visitors(
    page: Page, client: httpx.AsyncClient, asked: Seen, posted: Seen, options: argparse.Namespace
) -> None:
    """Pages that come, and stay until they are sent away."""

    # A page calls itself something, and so keeps its session: without a name every call would begin one.
    async def visit(name: str, pause: float, seen: Seen) -> None:
        await asyncio.sleep(random.random() * pause)  # not all at one moment
        while True:
            await page.send(client, {**_press(page, options.steps), "session_hash": name}, seen)
            await asyncio.sleep(pause)

    async def watch() -> None:
        await asyncio.sleep(random.random() * LOOK)
        watcher = Watcher(page.url)
        while True:
            await watcher.ask(asked)
            await asyncio.sleep(LOOK * watcher.slower)

    visits = [watch() for _ in range(options.polling)]
    visits += [visit(f"posts{number}", THINK, posted) for number in range(options.posting)]
    await asyncio.gather(*visits)


async def _rate(queue: Queue, seconds: float, visitors: Any) -> float:
    """Jobs that are finished in a second, counted from one finished job to the last one of the time."""
    guests = asyncio.ensure_future(visitors) if visitors is not None else None
    first, begun = await _next(queue), time.perf_counter()
    count, last = first, begun
    while time.perf_counter() - begun < seconds:
        await asyncio.sleep(0.05)
        if (now := _finished(queue)) > count:
            count, last = now, time.perf_counter()
    if guests is not None:
        guests.cancel()
        await asyncio.gather(guests, return_exceptions=True)
    return (count - first) / (last - begun) if last > begun else 0.0


async def _next(queue: Queue) -> int:
    """How many are finished, right after one more is."""
    count = _finished(queue)
    while (now := _finished(queue)) == count:
        await asyncio.sleep(0.02)
    return now


def _finished(queue: Queue) -> int:
    return queue.counts().get("done", 0)


async def _config(client: httpx.AsyncClient, url: str, server: subprocess.Popen[bytes]) -> dict[str, Any]:
    found: dict[str, Any] = {}

    async def there() -> bool:
        try:
            found.update((await client.get(f"{url}/config")).json())
        except httpx.HTTPError:
            return False
        return True

    end = time.monotonic() + PATIENCE
    while not await there():
        _check(server, end)
        await asyncio.sleep(0.2)
    return found


async def _until(happened: Callable[[], bool], server: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + PATIENCE
    while not happened():
        _check(server, end)
        await asyncio.sleep(0.1)


def _check(server: subprocess.Popen[bytes], end: float) -> None:
    if server.poll() is not None or time.monotonic() > end:
        raise SystemExit("the studio did not start, or rendered nothing; its own words stand above")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as trial:
        return int(trial.getsockname()[1])


def _child(pid: int) -> int:
    """A child of a process; 0 where there is none, or where /proc does not tell."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            told = stat.read_text().rpartition(")")[2].split()  # after the name, which may hold anything
        except OSError:
            continue
        if int(told[1]) == pid:
            return int(stat.parent.name)
    return 0


def _busy(pid: int) -> float:
    """Seconds of a core that a process took so far; 0 where /proc does not tell."""
    try:
        told = (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()
        return (int(told[11]) + int(told[12])) / os.sysconf("SC_CLK_TCK")
    except OSError:
        return 0.0


def _memory(pid: int) -> int:
    """Bytes that a process holds itself; 0 where /proc does not tell."""
    try:
        lines = (Path("/proc") / str(pid) / "status").read_text().splitlines()
        return next(int(line.split()[1]) * 2**10 for line in lines if line.startswith("RssAnon"))
    except (OSError, StopIteration):
        return 0


if __name__ == "__main__":
    main()
