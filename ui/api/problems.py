"""What a program is told when it is not done as asked: one sentence, and the field that it is about.

Every error has this shape, whoever finds it: the guard, the schema, the engine's check, the disk.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response

from pipelines.refusal import Refusal, field_of, on_one_line, reason_of, unknown_key
from ui.api.wirejobs import PARTS, TASKS
from ui.reasons import cause

MISSING = "is missing; the description at /api/v1/openapi.json tells what is needed"


class Problem(BaseModel):
    """Why something was not done."""

    model_config = ConfigDict(extra="forbid")

    error: str = Field(description="One sentence: what was expected, what came, what to do.")
    field: str = Field("", description="Where in the request, such as `job.size[0]`; empty where it is the whole.")


class Answer(Exception):
    """An answer that is a problem: its status, the sentence and the field."""

    def __init__(self, status: int, error: str, field: str = "") -> None:
        super().__init__(error)
        self.status, self.problem = status, Problem(error=error, field=field)


def told(status: int, error: str, field: str = "", headers: Mapping[str, str] | None = None) -> Response:
    """A problem as an answer."""
    # In ASCII: a sentence may quote half of a surrogate pair, which UTF-8 does not have.
    body = json.dumps({"error": error, "field": field})
    return Response(body, status, headers, media_type="application/json")


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """These statuses for the description of a route, beside those that every route can have."""
    return {status: {"model": Problem, "description": DESCRIBED[status]} for status in sorted({*ALWAYS, *statuses})}


DESCRIBED = {
    400: "It can not be read.",
    401: "The token is missing, unknown or expired.",
    403: "It comes from a page of elsewhere.",
    404: "There is nothing of that name.",
    405: "It can not be asked so.",
    408: "It came too slowly.",
    409: "The job is in another state.",
    413: "It is too large.",
    421: "It was sent to another name than this machine's.",
    422: "It is not what was expected, or the engine refuses it.",
    429: "Too many at once; try again in a moment.",
    507: "It can not be written.",
}
ALWAYS = (400, 401, 403, 408, 413, 421, 422, 507)


def hear(app: FastAPI) -> None:
    """Have `app` tell every problem in this shape."""

    async def answered(_: Request, problem: Exception) -> Response:
        assert isinstance(problem, Answer)
        return told(problem.status, problem.problem.error, problem.problem.field)

    async def refused(_: Request, problem: Exception) -> Response:
        assert isinstance(problem, Refusal)
        return told(422, problem.reason, problem.field)

    async def unlike(_: Request, problem: Exception) -> Response:
        assert isinstance(problem, RequestValidationError)
        refusal = refusal_of(problem.errors())
        return told(422, refusal.reason, refusal.field)

    async def elsewhere(_: Request, problem: Exception) -> Response:
        assert isinstance(problem, HTTPException)
        sentence = {
            400: "expected JSON, got what can not be read as it; look at its brackets and quotes",
            404: "there is nothing at this address; /api/v1/openapi.json tells what there is",
            405: "this address can not be asked so; /api/v1/openapi.json tells how",
        }.get(problem.status_code, str(problem.detail))
        return told(problem.status_code, sentence, headers=problem.headers)

    async def unwritten(_: Request, problem: Exception) -> Response:
        return told(507, f"the studio's folder can not be read or written: {cause(problem)}")

    app.add_exception_handler(Answer, answered)
    app.add_exception_handler(Refusal, refused)
    app.add_exception_handler(RequestValidationError, unlike)
    app.add_exception_handler(HTTPException, elsewhere)
    app.add_exception_handler(sqlite3.Error, unwritten)
    app.add_exception_handler(OSError, unwritten)


def refusal_of(findings: Sequence[Any]) -> Refusal:
    """What FastAPI found in a request as one sentence about the most telling finding."""
    # An unknown key goes first: it is often the reason why another one is missing.
    found = sorted(findings, key=lambda each: each["type"] not in ("extra_forbidden", "invalid_key"))[0]
    kind, place, context = found["type"], _place(found["loc"]), found.get("ctx", {})
    field = on_one_line(field_of(place), 100)
    inner = context.get("error")
    if isinstance(inner, Refusal):  # a check of several fields knows best which of them it means
        return Refusal(".".join(filter(None, (field, inner.field))), inner.reason)
    if kind in ("extra_forbidden", "invalid_key"):
        refusal = unknown_key(place, _keys_beside(found["loc"]))
        return Refusal(field, refusal.reason)
    if kind == "missing":
        return Refusal(field, MISSING)
    if kind == "json_invalid":
        return Refusal("", "expected JSON, got what can not be read as it; look at its brackets and quotes")
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        return Refusal(f"{field}.task".lstrip("."), f"expected a mapping whose task is one of {', '.join(TASKS)}")
    if kind == "string_unicode":
        return Refusal(field, "expected text, got half of a surrogate pair, which no file can hold")
    if kind == "model_attributes_type":
        kind = "model_type"  # FastAPI would take objects as well
    if kind == "string_pattern_mismatch" and "keep_frames" not in field:
        return Refusal(field, f"expected text of the form {context['pattern']}, got another")
    return Refusal(field, on_one_line(reason_of(kind, found["msg"], found["input"], context)))


def _place(loc: Sequence[int | str]) -> tuple[int | str, ...]:
    """Where a finding is, without where FastAPI looked (`body`, `query`) and which member of the union it tried."""
    inner = tuple(loc[1:])
    return tuple(part for at, part in enumerate(inner) if not (part in TASKS and _is_job(inner[:at])))


def _is_job(place: Sequence[int | str]) -> bool:
    """Whether a job stands at `place` of a body."""
    return tuple(place) == ("job",) or (len(place) == 2 and place[0] == "jobs" and isinstance(place[1], int))


def _keys_beside(loc: Sequence[int | str]) -> list[str]:
    """The keys that the schema has where an unknown one was found."""
    names = [part for part in loc if isinstance(part, str)]
    part = next((PARTS[name] for name in names[:-1] if name in PARTS), None)
    task = next((TASKS[name] for name in names[:-1] if name in TASKS), None)
    if "adapters" in names[:-1]:
        return ["path", "weight"]
    model: type[BaseModel] | None = part or task
    return list(model.model_fields) if model else ["job", "jobs", "priority", "webhook"]
