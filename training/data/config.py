"""The `data:` section of a run file: where one's own pictures are and how they are cut, repeated and captioned."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator

from training.loop import Strict

TOKEN = 16  # pixels a side; the size of a token of every checkpoint of the house

Kind = Literal["auto", "folder", "metadata", "webdataset", "huggingface"]


class SourceConfig(Strict):
    """One place that examples come from."""

    path: Path = Field(description="a folder, a metadata file, a tar or a folder of tars")
    kind: Kind = Field(
        "auto",
        description="folder (captions beside the pictures), metadata (.jsonl, .csv, .parquet), webdataset (.tar), "
        "huggingface (a data set on disk); auto tells by what is there",
    )
    caption: str | None = Field(None, description="the caption of examples that have none of their own")
    repeats: float = Field(
        1.0, ge=0.001, le=10_000, allow_inf_nan=False, description="how often in an epoch; 0.5 is every second epoch"
    )
    weight: float = Field(
        1.0, gt=0, le=1_000, allow_inf_nan=False, description="how much the loss of its examples counts against others'"
    )
    prior: bool = Field(
        False,
        description="learns what the untrained model predicts of these examples and not them: keeps what it knew",
    )
    file_column: str | None = Field(
        None,
        description="the column of pictures; left out, the first of file_name, file, image, video, path",
    )
    caption_column: str | None = Field(
        None, description="the column of captions; left out, the first of text, caption, captions, prompt"
    )
    split: str = Field("train", description="the part of a Hugging Face data set")


class DataConfig(Strict):
    """Pictures and clips of one's own."""

    sources: tuple[SourceConfig, ...] = Field(min_length=1, description="where the examples come from")
    resolution: int = Field(
        128, ge=2 * TOKEN, le=4096, multiple_of=TOKEN,
        description="a bucket has about as many pixels as a square of this side",
    )  # fmt: skip
    max_ratio: float = Field(3.0, ge=1, le=16, description="the longest bucket: its long side over its short side")
    max_crop: float = Field(
        0.1, ge=0, lt=1, description="the share of a picture that may be cut off so that it fits its bucket"
    )
    crops: int = Field(
        1, ge=1, le=64,
        description="how many cuts of each example there are, of which a sample gets one: the middle, then others that "
        "chance has placed; none leaves less than `max_crop` allows",
    )  # fmt: skip
    max_enlarge: float = Field(
        2.0, ge=1, le=64, description="how much a small picture may be enlarged before the preflight warns"
    )
    frames: tuple[Annotated[int, Field(ge=1, le=1000)], ...] = Field(
        (1,), min_length=1, description="lengths of clips; a video takes the longest that it fills, a picture takes 1"
    )
    fps: float = Field(8.0, gt=0, le=240, description="frames a second that clips are read at")
    audio: bool = Field(False, description="whether sound belongs to the examples: a file beside, or a video's own")
    caption_choice: Literal["random", "first", "cycle"] = Field(
        "random", description="which of several captions an example is told: any, the first, or one after the other"
    )
    caption_drop: float = Field(
        0.1, ge=0, le=1, description="share of the samples that are told nothing, for guidance at render time"
    )
    cache: Path | None = Field(
        None, description="the folder of latents and prompt encodings; left out, `cache` in the run's folder"
    )

    @field_validator("frames")
    @classmethod
    def _each_once(cls, frames: tuple[int, ...]) -> tuple[int, ...]:
        """Lengths in order, each once."""
        return tuple(sorted(set(frames)))
