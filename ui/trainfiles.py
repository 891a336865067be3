"""Serves what a run made, by the run's id and a step or a name of ours. A path never comes from outside."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from training.follow import RESULTS, sheet_of
from training.hosted import RUN
from training.runs import Kept, Runs
from ui.past import HEADERS
from ui.within import OpenFile, opened
from ui.words import say

MOST_STEP = 10**12
# A run that goes on from an earlier step draws a sheet anew, so nothing here is kept by a browser for long.
FRESH = {**HEADERS, "Cache-Control": "private, no-cache"}


def sheet_address(id: str, step: int) -> str:
    """Where the page finds the sheet of a step; relative, so that it also holds behind a proxy."""
    return f"training/{id}/sheets/{step}"


def result_address(id: str, name: str) -> str:
    """Where the page finds an adapter of a run."""
    return f"training/{id}/{name}.safetensors"


def run_address(id: str) -> str:
    """Where the page finds the run file."""
    return f"training/{id}/{RUN}"


def routes(runs: Runs, by_path: bool) -> list[Route]:
    """GET /training/ID/sheets/STEP, ID/NAME.safetensors and, where paths may be seen, ID/run.yaml."""

    def sheet(request: Request) -> Response:
        run, step = runs.get(request.path_params["id"]), request.path_params["step"]
        if run is None or not 0 <= step < MOST_STEP:
            return _absent()
        return _sent(run, sheet_of(step), f"{run.id}-{step}.png", "image/png")

    def result(request: Request) -> Response:
        run, name = runs.get(request.path_params["id"]), request.path_params["name"]
        if run is None or name not in RESULTS:
            return _absent()
        called = f"{run.id}{name.removeprefix(RESULTS[0])}.safetensors"
        return _sent(run, f"{name}.safetensors", called, "application/octet-stream")

    def file(request: Request) -> Response:
        run = runs.get(request.path_params["id"])
        return _absent() if run is None or not by_path else _sent(run, RUN, f"{run.id}.yaml", "application/yaml")

    return [
        Route("/training/{id}/sheets/{step:int}", sheet, methods=["GET"]),
        Route("/training/{id}/{name}.safetensors", result, methods=["GET"]),
        Route(f"/training/{{id}}/{RUN}", file, methods=["GET"]),
    ]


def _sent(run: Kept, name: str, called: str, kind: str) -> Response:
    stream = opened(run.folder, name)
    return _absent() if stream is None else OpenFile(stream, called, kind, FRESH)


def _absent() -> Response:
    return PlainTextResponse(say("train.gone"), status_code=404, headers=HEADERS)
