"""A run on pictures of one's own: a run file with a `data:` section. Read without torch, so that a slip costs nothing.

A run file without `data:` is a run on the Papercut world, see `config.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from models.adapter.config import AdapterConfig
from pipelines.files.yamlfile import documents
from pipelines.refusal import Place, Refusal, Refused, field_of, kind_of, reason_of, unknown_key

from .data.config import DataConfig
from .loop import Strict
from .run.config import HeldOutConfig, KeepConfig, LogConfig, LossConfig, SamplesConfig, StepsConfig

MAX_BYTES = 4 * 2**20


class TuneConfig(Strict):
    """A run that goes on from a checkpoint with pictures of one's own.

    `loop.batch` is the batch of all processes together: which examples make a step does not depend on how many
    processes there are.
    """

    seed: int = Field(1, ge=0, lt=2**63, description="of the order, the captions, the noise and new weights")
    folder: Path = Field(description="where the run keeps its checkpoints, log, pictures and result")
    start_from: str = Field("papercut", description="the checkpoint to go on from: a name, a folder or a hub id")
    data: DataConfig = Field(description="pictures and clips of one's own")
    train: AdapterConfig = Field(AdapterConfig(), description="what is trained; the rest stays as it is")
    loss: LossConfig = Field(LossConfig(), description="what is minimised")
    loop: StepsConfig = Field(description="steps, batch and optimiser")
    keep: KeepConfig = Field(KeepConfig(), description="which checkpoints are written and stay")
    samples: SamplesConfig = Field(SamplesConfig(), description="pictures that are drawn on the way")
    held_out: HeldOutConfig = Field(HeldOutConfig(), description="the loss on examples that are kept apart")
    log: LogConfig = Field(LogConfig(), description="what is written down")

    @property
    def cache(self) -> Path:
        """The folder of latents and prompt encodings."""
        return self.data.cache or self.folder / "cache"


def read_tune(path: Path) -> TuneConfig | None:
    """The run on own pictures that a YAML file describes; None where the file has no `data:` section.

    Raises:
        Refused: not a file that can be read, or with a `data:` section and not such a run.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise Refused(str(path), 0, "", f"expected at most {MAX_BYTES:,} bytes; this is no run file")
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise Refused(str(path), 0, "", f"can not be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Refused(str(path), 0, "", "expected text in UTF-8, got something else; save it as UTF-8") from None
    try:
        found = list(documents(text))
    except Refusal as refusal:
        # The Papercut world's files may use what YAML has beyond plain values; their own reader judges them.
        if not any(line.startswith("data:") for line in text.splitlines()):
            return None
        raise Refused(str(path), 0, refusal.field, refusal.reason) from None
    value = found[0] if found else None
    if not isinstance(value, dict) or "data" not in value:
        return None
    if len(found) > 1:
        raise Refused(str(path), 2, "", "expected one document, got more; a run file describes one run")
    return run_of(value, str(path))


def run_of(value: object, file: str = "") -> TuneConfig:
    """The run that plain values describe; `file` is named where they describe none.

    Raises:
        Refused: they describe no such run.
    """
    try:
        return TuneConfig.model_validate(value)
    except ValidationError as error:
        raise _refused(file, error) from None


def _refused(file: str, error: ValidationError) -> Refused:
    """The most telling finding of pydantic as one sentence."""
    findings = sorted(error.errors(include_url=False), key=lambda each: each["type"] != "extra_forbidden")
    finding = findings[0]
    place: Place = finding["loc"]
    if finding["type"] == "extra_forbidden":
        refusal = unknown_key(place, _keys_at(place[:-1]))
        return Refused(file, 0, refusal.field, refusal.reason)
    if finding["type"] == "missing":
        return Refused(file, 0, field_of(place), "is missing; a run with data needs it")
    if finding["type"] == "model_type":
        return Refused(file, 0, field_of(place), f"expected a mapping, got {kind_of(finding['input'])}")
    reason = reason_of(finding["type"], finding["msg"], finding["input"], finding.get("ctx", {}))
    return Refused(file, 0, field_of(place), reason)


def _keys_at(place: Sequence[str | int]) -> list[str]:
    """The keys of the model at a place of the run file."""
    model: Any = TuneConfig
    for part in place:
        if isinstance(part, int):
            continue
        annotation = model.model_fields[part].annotation
        inner = [*getattr(annotation, "__args__", ()), annotation]
        model = next(each for each in inner if isinstance(each, type) and issubclass(each, BaseModel))
    return list(model.model_fields)
