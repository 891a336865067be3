"""What is asked over the wire and what is answered, as types; the job itself is `wirejobs.py`'s."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from pipelines.queue.queue import MOST_PRIORITY, State
from ui.api.wirejobs import WireJob

MOST_JOBS = 500  # of one batch
MOST_ADDRESS = 2_000  # characters of a webhook's address

Priority = Annotated[int, Field(ge=-MOST_PRIORITY, le=MOST_PRIORITY, description="Higher ones are rendered first.")]
Webhook = Annotated[
    str | None,
    Field(max_length=MOST_ADDRESS, description="An address that the owner allows; it is told when a job is over."),
]
Second = Annotated[float | None, Field(description="Seconds since 1970; null when not yet.")]


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Told(BaseModel):
    model_config = ConfigDict(extra="forbid")


class NewJob(_Asked):
    """A job to be put into the queue."""

    job: WireJob
    priority: Priority = 0
    webhook: Webhook = None

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"job": {"task": "text", "prompt": "a red circle"}, "priority": 0}]}
    )


class NewBatch(_Asked):
    """Jobs to be put into the queue together: all of them, or none."""

    jobs: Annotated[list[WireJob], Field(min_length=1, max_length=MOST_JOBS)]
    priority: Priority = 0
    webhook: Webhook = None

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"jobs": [{"task": "text", "prompt": "a red circle", "seed": 1}]}]}
    )


class Checked(_Asked):
    """A job whose cost is asked for."""

    job: WireJob


class Hook(_Told):
    """How a webhook went."""

    address: str
    state: Literal["waiting", "delivered", "failed"]
    tries: int = Field(description="How often it was tried.")
    status: int | None = Field(description="What the last try was answered with; null where nobody answered.")
    said: str = Field(description="Why the last try did not succeed; empty where it did.")


class JobRow(_Told):
    """A job on its way."""

    id: str
    state: State
    job: dict[str, Any] = Field(description="What is drawn, with names for files: upload:ID, output:JOB/NUMBER, gone.")
    priority: int
    step: int = Field(description="Sampling steps that are taken.")
    steps: int = Field(description="Sampling steps in all.")
    message: str = Field(description="Why it failed or is paused, else its warnings, one a line.")
    created: float = Field(description="Seconds since 1970.")
    started: Second
    finished: Second
    files: int = Field(description="How many files it has made.")
    parent: str | None = Field(description="The job that this one is a retry of.")
    batch: str | None = Field(description="What the jobs are called that were added together.")
    webhook: Hook | None


class Rows(_Told):
    """Some of the jobs, newest first."""

    jobs: list[JobRow]
    total: int = Field(description="How many there are in these states.")
    next: int | None = Field(description="The offset of what follows; null where nothing does.")


class Batch(_Told):
    """Jobs that were added together, and their retries."""

    batch: str
    jobs: list[JobRow]


class Cost(_Told):
    """What a job will cost."""

    tokens: int = Field(description="Tokens of all plans together.")
    pairs: int = Field(description="Attended pairs of one head in one layer.")
    flops: float = Field(description="Floating-point operations of all model evaluations.")
    seconds: float | None = Field(description="How long it will take here; null before anything was rendered.")
    warnings: list[str]


class OutputFile(_Told):
    """A file that a job made."""

    number: int
    name: str = Field(description="Its name among the outputs, with slashes.")
    bytes: int
    sha256: str
    type: str = Field(description="Its media type.")


class OutputFiles(_Told):
    """The files that a job made; pictures and videos first, the record last."""

    files: list[OutputFile]


class Uploaded(_Told):
    """A file that was given."""

    id: str = Field(description="What jobs call it.", examples=["upload:0123456789abcdef01234567"])
    kind: Literal["picture", "video", "voice"]
    width: int
    height: int
    frames: int
    seconds: float = Field(description="How long a voice lasts.")


class Model(_Told):
    """A model that is here."""

    id: str
    tasks: list[str] = Field(description="What it can render.")
    sides: tuple[int, int] = Field(description="The smallest and the largest side in pixels that it draws.")
    parameters: int
    bytes: int
    loaded: bool


class Models(_Told):
    """The models that are here."""

    models: list[Model]
