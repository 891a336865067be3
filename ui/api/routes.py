"""The routes of /api/v1: rows of the queue are written and read, and nothing is rendered here.

Who may come in at all is the guard's (`ui/guard.py`); what is asked and answered is in `shapes.py`.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Header, Path, Query, Request, Security
from fastapi.security import HTTPBearer
from starlette.responses import JSONResponse, Response

from pipelines.queue.queue import STATES, Row, State
from pipelines.version import __version__
from ui.api.names import Names
from ui.api.outbox import Outbox
from ui.api.outputs import listed, served
from ui.api.problems import Answer, documented, hear, told
from ui.api.progress import Progress
from ui.api.shapes import (
    Batch,
    Checked,
    Cost,
    Hook,
    JobRow,
    Model,
    Models,
    NewBatch,
    NewJob,
    OutputFiles,
    Rows,
    Uploaded,
)
from ui.api.webhooks import Allowed
from ui.dubbingfiles import keep_face, keep_voice
from ui.files import TYPES
from ui.studio import Studio
from ui.uploads import Upload

ABOUT = """Jobs and results of a Diorama studio. A job is written into the queue and rendered by the studio's worker;
what it makes is listed and fetched by number. Files that a job reads go to POST /uploads first and are named by id."""
NO_JOB = "there is no job of this id"
MOST_ROWS = 100  # of one page

JobId = Annotated[str, Path(pattern="^[0-9a-f]{16}$", description="The job's id.")]
BatchId = Annotated[str, Path(pattern="^[0-9a-f]{16}$", description="The batch's id.")]
Number = Annotated[int, Path(ge=0, le=999_999, description="The file's number.")]
What = Literal["source", "exact", "face", "voice"]
BINARY: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}
STREAM: dict[int | str, dict[str, Any]] = {200: {"description": "Events.", "content": {"text/event-stream": {}}}}
FILE: dict[int | str, dict[str, Any]] = {
    200: {"description": "The file, as a download.", "content": {kind: BINARY for kind in TYPES.values()}}
}

USES = (
    "What for: `source` is fitted to sizes that the model draws, `exact` is a mask, a layer or a background and stays "
    "as it is, `face` and `voice` are for dubbing."
)
NOTHING_NEW: dict[int | str, dict[str, Any]] = {
    204: {"description": "The job is over, and the event of Last-Event-ID was its last one."}
}


def api(studio: Studio, allowed: Allowed, outbox: Outbox) -> FastAPI:
    """The application behind /api/v1.

    Args:
        studio: whose queue, uploads and models these are.
        allowed: where webhooks may go.
        outbox: where they are kept.
    """
    app = FastAPI(
        title="Diorama", version=__version__, description=ABOUT, docs_url=None, redoc_url=None,
        redirect_slashes=False, responses=documented(), dependencies=[Security(HTTPBearer(auto_error=False))],
        servers=[{"url": "/api/v1"}], root_path_in_servers=False,
    )  # fmt: skip
    hear(app)
    _Jobs(studio, allowed, outbox).add_to(app)
    _Results(studio).add_to(app)
    return app


class _Jobs:
    """Routes of rows."""

    def __init__(self, studio: Studio, allowed: Allowed, outbox: Outbox) -> None:
        self._studio, self._queue = studio, studio.queue
        self._allowed, self._outbox = allowed, outbox

    def add_to(self, app: FastAPI) -> None:
        """Add them."""
        app.get("/jobs", responses=documented())(self.rows)
        app.post("/jobs", status_code=201, responses=documented())(self.add)
        app.post("/jobs/check", responses=documented())(self.check)
        app.get("/jobs/{id}", responses=documented(404))(self.get)
        app.delete("/jobs/{id}", responses=documented(404, 409))(self.cancel)
        app.post("/jobs/{id}/pause", responses=documented(404, 409))(self.pause)
        app.post("/jobs/{id}/resume", responses=documented(404, 409))(self.resume)
        app.post("/jobs/{id}/retry", status_code=201, responses=documented(404, 409))(self.retry)
        app.post("/batches", status_code=201, responses=documented())(self.add_batch)
        app.get("/batches/{batch}", responses=documented(404))(self.batch)

    # ------------------------------------------------------------ adding

    def add(self, new: NewJob) -> JobRow:
        """Put a job into the queue."""
        return self._added([new.job], "job", new.priority, new.webhook, None)[0]

    def add_batch(self, new: NewBatch) -> Batch:
        """Put jobs into the queue, all of them or none."""
        batch = secrets.token_hex(8)
        return Batch(batch=batch, jobs=self._added(new.jobs, "jobs[{}]", new.priority, new.webhook, batch))

    def check(self, asked: Checked) -> Cost:
        """Tell what a job would cost, or why it would be refused; nothing is written."""
        names = Names(self._studio)
        ((job, estimate),) = names.inward([asked.job])
        return Cost(
            tokens=estimate.tokens,
            pairs=estimate.pairs,
            flops=float(estimate.flops),
            seconds=self._studio.pace.seconds(estimate.flops, job.model),
            warnings=[names.plain(warning) for warning in estimate.warnings],
        )

    def _added(
        self, wires: Sequence[Any], at: str, priority: int, webhook: str | None, batch: str | None
    ) -> list[JobRow]:
        if webhook is not None:
            self._allowed.place(webhook)
        jobs = Names(self._studio).inward(wires, at)
        ids = self._queue.add_all([(job, None) for job, _ in jobs], priority, batch)
        if webhook is not None:
            self._outbox.expect(ids, webhook)
        return self._told([row for row in map(self._queue.get, ids) if row])

    # ------------------------------------------------------------ looking

    def rows(
        self,
        state: Annotated[list[State] | None, Query(description="Only these; all where it is left out.")] = None,
        limit: Annotated[int, Query(ge=1, le=MOST_ROWS)] = 50,
        offset: Annotated[int, Query(ge=0, le=10**9)] = 0,
    ) -> Rows:
        """List jobs, newest first."""
        states = tuple(each for each in STATES if each in state) if state else STATES
        counts = self._queue.counts()
        rows = self._queue.rows(limit, offset, states)
        total = sum(counts[each] for each in states)
        following = offset + len(rows)
        return Rows(jobs=self._told(rows), total=total, next=following if rows and following < total else None)

    def get(self, id: JobId) -> JobRow:
        """Look at a job."""
        return self._told([self._row(id)])[0]

    def batch(self, batch: BatchId) -> Batch:
        """Look at the jobs of a batch, and at their retries."""
        rows = self._queue.batch(batch)
        if not rows:
            raise Answer(404, "there is no batch of this id")
        return Batch(batch=batch, jobs=self._told(rows))

    # ------------------------------------------------------------ steering

    def cancel(self, id: JobId) -> JobRow:
        """Take a job out of the queue, or have it stop after its step."""
        row = self._row(id)
        if row.state in ("done", "failed", "cancelled"):
            raise Answer(409, f"expected a job that is not over, got one that is {row.state}")
        self._queue.cancel(id)
        return self.get(id)

    def pause(self, id: JobId) -> JobRow:
        """Keep a job from being rendered until it is resumed."""
        return self._steered(id, self._queue.pause, "expected a job that waits or runs")

    def resume(self, id: JobId) -> JobRow:
        """Put a paused job back into its place."""
        return self._steered(id, self._queue.resume, "expected a job that is paused")

    def retry(self, id: JobId) -> JobRow:
        """Put a job that failed or was cancelled into the queue once more, as a new one with the same webhook."""
        row = self._row(id)
        again = self._queue.retry(id)
        if again is None:
            raise Answer(409, f"expected a job that failed or was cancelled, got one that is {row.state}")
        if hook := self._outbox.of(id):
            self._outbox.expect([again], hook.address)
        return self.get(again)

    def _steered(self, id: str, act: Callable[[str], bool], expected: str) -> JobRow:
        row = self._row(id)
        if not act(id):
            raise Answer(409, f"{expected}, got one that is {row.state}")
        return self.get(id)

    def _row(self, id: str) -> Row:
        row = self._queue.get(id)
        if row is None:
            raise Answer(404, NO_JOB)
        return row

    def _told(self, rows: Sequence[Row]) -> list[JobRow]:
        names = Names(self._studio)
        return [told_row(row, names, self._hook(row.id)) for row in rows]

    def _hook(self, job: str) -> Hook | None:
        kept = self._outbox.of(job)
        if kept is None:
            return None
        return Hook(address=kept.address, state=kept.state, tries=kept.tries, status=kept.status, said=kept.said)


class _Results:
    """Routes of files, of events and of models."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        self._progress = Progress(studio.queue, Names(studio).plain)

    def add_to(self, app: FastAPI) -> None:
        """Add them."""
        app.get("/jobs/{id}/files", responses=documented(404))(self.files)
        app.get("/jobs/{id}/files/{number}", response_class=Response, responses=documented(404) | FILE)(self.file)
        app.get("/jobs/{id}/events", response_class=Response, responses=documented(404, 429) | STREAM | NOTHING_NEW)(
            self.events
        )
        app.get("/events", response_class=Response, responses=documented(429) | STREAM)(self.all_events)
        app.post(
            "/uploads", status_code=201, response_model=Uploaded, responses=documented(429),
            openapi_extra={"requestBody": {"required": True, "content": {"application/octet-stream": BINARY}}},
        )(self.upload)  # fmt: skip
        app.get("/models", responses=documented())(self.models)

    def files(self, id: JobId) -> OutputFiles:
        """List the files that a job made."""
        return OutputFiles(files=listed(self._row(id), self._studio.folder))

    def file(self, id: JobId, number: Number) -> Response:
        """Fetch a file that a job made."""
        answer = served(self._row(id), number, self._studio.folder)
        if answer is None:
            raise Answer(404, "this job has no file of this number; GET /jobs/ID/files lists them")
        return answer

    async def events(self, id: JobId, last_event_id: Annotated[str, Header(max_length=64)] = "") -> Response:
        """Follow a job until it is over: server-sent events called `job`, with state, step and steps."""
        return await self._progress.of_job(id, last_event_id)

    async def all_events(self) -> Response:
        """Follow all jobs: one event called `jobs` with those that are not over, then a `job` for each change."""
        return self._progress.of_all()

    async def upload(
        self,
        request: Request,
        what: Annotated[What, Query(alias="for", description=USES)] = "source",
    ) -> Response:
        """Give a file that jobs read: the body is the file itself."""
        uploads = self._studio.uploads
        keep: Callable[[Any], Upload] = {
            "source": uploads.keep,
            "exact": uploads.keep_layer,
            "face": lambda path: keep_face(uploads, path),
            "voice": lambda path: keep_voice(uploads, path),
        }[what]
        answer = await uploads.take(request, keep)
        facts = json.loads(bytes(answer.body))
        if answer.status_code != 200:
            return told(answer.status_code, facts["reason"])
        taken = Uploaded(
            id=f"upload:{facts['id']}", kind=facts["kind"], width=facts["width"], height=facts["height"],
            frames=facts["frames"], seconds=facts["seconds"],
        )  # fmt: skip
        return JSONResponse(taken.model_dump(), 201)

    def models(self) -> Models:
        """List the models that are here."""
        return models_of(self._studio)

    def _row(self, id: str) -> Row:
        row = self._studio.queue.get(id)
        if row is None:
            raise Answer(404, NO_JOB)
        return row


def told_row(row: Row, names: Names, hook: Hook | None) -> JobRow:
    """A row as programs see it."""
    return JobRow(
        id=row.id,
        state=row.state,
        job=names.outward(row.job),
        priority=row.priority,
        step=row.step,
        steps=row.steps,
        message=names.plain(row.message),
        created=row.created,
        started=row.started,
        finished=row.finished,
        files=len(row.files),
        parent=row.parent,
        batch=row.batch,
        webhook=hook,
    )


def models_of(studio: Studio) -> Models:
    """The models of a studio that can be used."""
    loaded = studio.loaded.state().model
    return Models(
        models=[
            Model(
                id=one.id, tasks=list(one.tasks), sides=one.description.sides, parameters=one.parameters,
                bytes=one.bytes, loaded=one.model == loaded,
            )
            for one in studio.shelf.items()
            if one.description is not None
        ]
    )  # fmt: skip
