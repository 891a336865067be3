"""The server gives way to what renders, and to nothing that it starts does that spread."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from ui.courtesy import BACK, Courtesy

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a nice value is a thread's on Linux alone")


def nice() -> int:
    """Of the thread that asks."""
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


def test_the_thread_that_serves_gives_way_with_those_it_starts_and_no_other() -> None:
    before = nice()
    if before + BACK > 19:
        pytest.skip("there is nothing left to give")

    def work(request: Request) -> JSONResponse:  # in a thread that the server's starts
        return JSONResponse(nice())

    async def serve(request: Request) -> JSONResponse:
        return JSONResponse(nice())

    app = Starlette(routes=[Route("/", serve), Route("/work", work)], middleware=[Middleware(Courtesy)])
    with TestClient(app) as client:
        assert client.get("/").json() == client.get("/work").json() == before + BACK
        assert nice() == before
        with ThreadPoolExecutor(1) as other:  # as the keeper's
            asked = [sys.executable, "-c", "import os; print(os.getpriority(os.PRIO_PROCESS, 0))"]
            process: Any = other.submit(subprocess.run, asked, capture_output=True, text=True, check=True).result()
            assert int(process.stdout) == before
