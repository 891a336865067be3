"""Jobs as they come over the wire: the schema of `pipelines/job.py`, in which files, adapters and models are names.

A file is `upload:ID`, as POST /uploads told it, or `output:JOB/NUMBER`, a file of a job that is done. A path or an
address is neither, so nothing that is sent here can make anything be opened or asked. What a name leads to is
`names.py`'s.
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field, WithJsonSchema

from models.adapter.file import is_name
from pipelines.job import (
    MAX_ADAPTERS,
    MAX_PARTS,
    MAX_PATH,
    Adapters,
    AdapterUse,
    BoxPart,
    DubbingJob,
    LayeredJob,
    LayerPart,
    LayoutJob,
    MaskedJob,
    ScenePart,
    ScenesJob,
    TextJob,
)
from pipelines.refusal import shown

UPLOAD = re.compile(r"upload:([0-9a-f]{24})", re.ASCII)
OUTPUT = re.compile(r"output:([0-9a-f]{16})/([0-9]{1,6})", re.ASCII)
FILE = rf"^({UPLOAD.pattern}|{OUTPUT.pattern})$".replace("([0", "(?:[0")


def _check_file(text: str) -> str:
    if not (UPLOAD.fullmatch(text) or OUTPUT.fullmatch(text)):
        raise ValueError(f"expected upload:ID or output:JOB/NUMBER, got {shown(text)}; give the file to POST /uploads")
    return text


def _check_adapter(text: str) -> str:
    if not text.strip() or not is_name(text) or not text.isprintable():
        raise ValueError(f"expected the name of an adapter in the folder adapters, got {shown(text)}; paths stay here")
    return text


def _check_model(text: str) -> str:
    if not text.isprintable() or text.startswith(("/", "\\", "~", ".")) or ":" in text:
        raise ValueError(f"expected an id of GET /models, got {shown(text)}; paths stay here")
    return text


FileName = Annotated[str, AfterValidator(_check_file), WithJsonSchema({"type": "string", "pattern": FILE})]
AdapterName = Annotated[str, Field(min_length=1, max_length=MAX_PATH), AfterValidator(_check_adapter)]
ModelId = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_check_model)]

FILE_HELP = "`upload:ID` or `output:JOB/NUMBER`."


class NamedAdapter(AdapterUse):
    """An adapter at work."""

    path: AdapterName = Field(description="The name of an adapter in the folder adapters.")


Named = Annotated[
    tuple[NamedAdapter, ...], Field(strict=False, max_length=MAX_ADAPTERS), *Adapters.__metadata__[1:]
]  # each once, as everywhere


class _Wired(BaseModel):
    """What every job has, as names."""

    model: ModelId = Field("papercut", description="What draws it: an id of GET /models.")
    adapters: Named = Field((), description="Adapters that act on the whole.")


class WireText(_Wired, TextJob):
    """A picture, or a video when there is more than one frame, from words."""


class WireScene(ScenePart):
    """One scene of a multi-scene video."""

    adapters: Named = Field((), description="Adapters that act on this scene, beside the job's.")


class WireScenes(_Wired, ScenesJob):
    """A video of several scenes, each with its own prompt."""

    scenes: Annotated[tuple[WireScene, ...], Field(strict=False)] = Field(
        min_length=1, max_length=MAX_PARTS, description="The scenes in order."
    )
    continue_from: FileName | None = Field(None, description=f"A video to extend: {FILE_HELP}")


class WireBox(BoxPart):
    """A region of a layout and what it shows."""

    adapters: Named = Field((), description="Adapters that act in this box, beside the job's.")


class WireLayout(_Wired, LayoutJob):
    """A picture with a prompt for each box."""

    boxes: Annotated[tuple[WireBox, ...], Field(strict=False)] = Field(
        min_length=1, max_length=MAX_PARTS, description="The boxes; where they overlap, later ones lie on top."
    )


class WireLayer(LayerPart):
    """One layer of a layered picture."""

    source: FileName | None = Field(None, description=f"A picture with alpha that is the layer: {FILE_HELP}")
    adapters: Named = Field((), description="Adapters that act on this layer, beside the job's.")


class WireLayered(_Wired, LayeredJob):
    """A picture in RGBA layers, bottom first; the background is implied."""

    layers: Annotated[tuple[WireLayer, ...], Field(strict=False)] = Field(
        min_length=1, max_length=MAX_PARTS, description="The layers, bottom first."
    )
    source: FileName | None = Field(None, description=f"The finished picture, where layers are wanted: {FILE_HELP}")
    background: FileName | None = Field(None, description=f"The picture behind all layers: {FILE_HELP}")


class WireMasked(_Wired, MaskedJob):
    """A picture or video of which a part is given and the rest is made: inpaint, outpaint, predict, interpolate."""

    source: FileName = Field(description=f"The picture or video that is given: {FILE_HELP}")
    mask: FileName | None = Field(None, description=f"White = make new; a picture or a video: {FILE_HELP}")
    reference: FileName | None = Field(None, description=f"A picture of what the new part shows: {FILE_HELP}")


class WireDubbing(_Wired, DubbingJob):
    """A talking face that follows new speech."""

    source: FileName = Field(description=f"The video of a face, or a picture of one: {FILE_HELP}")
    audio: FileName = Field(description=f"The speech: {FILE_HELP}")


WireJob = Annotated[
    WireText | WireScenes | WireLayout | WireLayered | WireMasked | WireDubbing, Field(discriminator="task")
]
PARTS: dict[str, type[BaseModel]] = {"scenes": WireScene, "boxes": WireBox, "layers": WireLayer}
TASKS: dict[str, type[BaseModel]] = {
    "text": WireText, "scenes": WireScenes, "layout": WireLayout, "layered": WireLayered, "masked": WireMasked,
    "dubbing": WireDubbing,
}  # fmt: skip
