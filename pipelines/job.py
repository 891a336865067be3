"""The job: one typed value for one render, the same in the studio, on the command line and in the Python API.

What lives here is the schema and its limits. What is wrong with a value is worded in `refusal.py`, files of jobs are
read in `jobfile.py`, and limits that depend on a checkpoint are the engine's. Nothing here loads torch.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    TypeAdapter,
    ValidationError,
    model_serializer,
    model_validator,
)

from pipelines.refusal import Place, kind_of, nearest, refusal_of, shown
from pipelines.refusal import Refusal as Refusal  # callers take it from here, beside the schema

SIDE_STEP = 16
MIN_SIDE, MAX_SIDE = 16, 2048
MAX_STEPS = 200
MAX_GUIDANCE = 30.0
MAX_FRAMES = 1_000
MAX_FPS = 60
DEFAULT_FPS = 8
MAX_SEED = 2**63 - 1
MAX_WORDS, MAX_CHARACTERS = 2_000, 20_000
MAX_PARTS = 50  # boxes, layers or scenes of one job
MAX_ADAPTERS = 8  # of one job, or of one of its parts
MAX_WEIGHT = 4.0
MAX_PATH = 4_096
MAX_NAME = 100
MAX_NAME_BYTES = 200  # file systems allow 255 bytes; suffixes such as "-12.json" and a temporary name need room

BUILT = ("text", "masked", "scenes", "layout", "layered", "dubbing")

# Names that Windows keeps for devices, whatever the suffix.
RESERVED_NAMES = frozenset(
    {"con", "prn", "aux", "nul"} | {f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10)}
)


def _check_text(text: str) -> str:
    if any(unicodedata.category(c) == "Cs" for c in text):
        raise ValueError(f"expected text, got half of a surrogate pair in {shown(text)}, which no file can hold")
    words = len(text.split())
    if words > MAX_WORDS or len(text) > MAX_CHARACTERS:
        raise ValueError(
            f"expected at most {MAX_WORDS:,} words and {MAX_CHARACTERS:,} characters, "
            f"got {words:,} words and {len(text):,} characters; shorten it"
        )
    return text


def _check_said(text: str) -> str:
    if not text.strip():
        raise ValueError("expected words, got an empty text; say what to draw")
    return text


def _check_path(text: str) -> str:
    if not text.strip() or any(unicodedata.category(c) in ("Cc", "Cs") for c in text):
        raise ValueError(f"expected a name or path without control characters, got {shown(text)}")
    return text


def _check_name(name: str) -> str:
    """A file stem that every file system takes and that can not leave its folder."""
    if name != name.strip() or not name or name.startswith(".") or name.endswith("."):
        problem = "it is empty, or begins or ends with a dot or a space"
    elif any(c in '/\\:*?"<>|' or unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") for c in name):
        problem = "it has a path separator or a character that file names can not hold"
    elif len(name) > MAX_NAME or len(name.encode()) > MAX_NAME_BYTES:
        problem = f"it is longer than {MAX_NAME} characters or {MAX_NAME_BYTES} bytes"
    elif name.split(".")[0].strip().casefold() in RESERVED_NAMES:
        problem = "some systems keep that name for a device"
    else:
        return name
    raise ValueError(f"expected a plain file name without folder, got {shown(name)}: {problem}")


def _check_box(box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = box
    if not (x0 < x1 and y0 < y1):
        raise ValueError(f"expected x0 < x1 and y0 < y1, got {list(box)}; boxes are [x0, y0, x1, y1] from the top left")
    return box


def _check_interval(interval: tuple[float, float]) -> tuple[float, float]:
    if not interval[0] <= interval[1]:
        raise ValueError(f"expected [low, high] with low <= high, got {list(interval)}")
    return interval


# `strict=False` lets a list become the tuple that a frozen value needs; what stands in it stays strict.
Unit = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False, strict=True)]
Side = Annotated[int, Field(ge=MIN_SIDE, le=MAX_SIDE, multiple_of=SIDE_STEP, strict=True)]
Border = Annotated[int, Field(ge=0, le=MAX_SIDE, multiple_of=SIDE_STEP, strict=True)]
Size = Annotated[tuple[Side, Side], Field(strict=False)]
Box = Annotated[tuple[Unit, Unit, Unit, Unit], Field(strict=False), AfterValidator(_check_box)]
Interval = Annotated[tuple[Unit, Unit], Field(strict=False), AfterValidator(_check_interval)]
Text = Annotated[str, AfterValidator(_check_text)]
Prompt = Annotated[str, AfterValidator(_check_text), AfterValidator(_check_said)]
Path = Annotated[str, Field(max_length=MAX_PATH), AfterValidator(_check_path)]
Name = Annotated[str, AfterValidator(_check_name)]
Guidance = Annotated[float, Field(ge=0, le=MAX_GUIDANCE, allow_inf_nan=False)]
Weight = Annotated[float, Field(ge=-MAX_WEIGHT, le=MAX_WEIGHT, allow_inf_nan=False)]
Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
Frames = Annotated[int, Field(ge=1, le=MAX_FRAMES)]
Fps = Annotated[int, Field(ge=1, le=MAX_FPS)]


class _Value(BaseModel):
    # Strict: "24" is not 24 and true is not 1, so a slip of the pen is told and not guessed at.
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class AdapterUse(_Value):
    """An adapter at work; what it is stands in `models/adapter/`."""

    path: Path = Field(description="A .safetensors file, or the name of one in the folder adapters.")
    weight: Weight = Field(1.0, description="How much it acts: 1 is as it was trained, 0 is not at all.")


def _check_adapters(adapters: tuple[AdapterUse, ...]) -> tuple[AdapterUse, ...]:
    for number, use in enumerate(adapters):
        if use.path in [before.path for before in adapters[:number]]:
            raise ValueError(f"expected each adapter once, got {shown(use.path)} twice; add their weights")
    return adapters


Adapters = Annotated[
    tuple[AdapterUse, ...], Field(strict=False, max_length=MAX_ADAPTERS), AfterValidator(_check_adapters)
]


class _Adapted(_Value):
    """What may have adapters."""

    @model_serializer(mode="wrap")
    def _told(self, told: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without the field where there are none: such a job is told, and hashed, as before there were adapters."""
        found: dict[str, Any] = told(self)
        return found if found.get("adapters") else {key: value for key, value in found.items() if key != "adapters"}


class _Sampled(_Adapted):
    """What the one sampling loop needs, whatever the task."""

    model: Path = Field("papercut", description="Checkpoint: a name, a folder in diffusers layout, or a hub id.")
    steps: int = Field(24, ge=1, le=MAX_STEPS, description="Sampling steps.")
    guidance: Guidance = Field(2.0, description="Classifier-free guidance scale; 1 is none.")
    guidance_interval: Interval = Field((0.0, 1.0), description="The part of the noise levels that is guided.")
    internal_guidance: Guidance | None = Field(None, description="Internal Guidance scale; null is off.")
    scheduler: Literal["euler", "heun", "unipc", "dpm++"] = Field("euler", description="How a step is taken.")
    seed: Seed = Field(0, description="Seed of the noise.")
    adapters: Adapters = Field((), description="Adapters that act on the whole.")
    name: Name | None = Field(None, description="File stem of the outputs; null is TASK-NNN.")


class _Prompted(_Sampled):
    negative_prompt: Text = Field("", description="What to steer away from.")


class TextJob(_Prompted):
    """A picture, or a video when there is more than one frame, from words."""

    task: Literal["text"]
    prompt: Prompt = Field(description="What to draw.")
    size: Size = Field((128, 128), description="Width and height in pixels.")
    frames: Frames = Field(1, description="More than 1 makes a video.")
    fps: Fps = Field(DEFAULT_FPS, description="Frames a second of a video.")
    png_frames: bool = Field(False, description="Also write a video's frames as NAME/0000.png.")


class ScenePart(_Adapted):
    """One scene of a multi-scene video."""

    prompt: Prompt = Field(description="What this scene shows.")
    frames: Frames = Field(12, description="How many frames it lasts.")
    negative_prompt: Text | None = Field(None, description="What to steer away from; null is the job's.")
    seed: Seed | None = Field(None, description="Seed of this scene's noise; null is the job's.")
    transition: Literal["cut", "crossfade", "black"] = Field("cut", description="How the scene before gives way.")
    transition_frames: int = Field(4, ge=1, le=MAX_FRAMES, description="Frames of a crossfade or a fade through black.")
    adapters: Adapters = Field((), description="Adapters that act on this scene, beside the job's.")


class ScenesJob(_Prompted):
    """A video of several scenes, each with its own prompt."""

    task: Literal["scenes"]
    size: Size = Field((128, 128), description="Width and height in pixels.")
    fps: Fps = Field(DEFAULT_FPS, description="Frames a second.")
    png_frames: bool = Field(False, description="Also write the frames as NAME/0000.png.")
    scenes: Annotated[tuple[ScenePart, ...], Field(strict=False)] = Field(
        min_length=1, max_length=MAX_PARTS, description="The scenes in order."
    )
    cuts: bool = Field(True, description="false makes one shot whose prompt changes as it goes on.")
    window: int = Field(3, ge=1, le=8, description="Scenes that the model sees at once; earlier ones are given.")
    continue_from: Path | None = Field(None, description="A video to extend: its scenes are given.")
    reuse: Literal["scene", "story", "never"] = Field(
        "scene",
        description="Take scenes rendered before: where they are unchanged, where all before them is, or never.",
    )

    def seed_of(self, scene: int) -> int:
        """The seed of one scene's noise."""
        own = self.scenes[scene].seed
        return self.seed if own is None else own

    def negative_of(self, scene: int) -> str:
        """What one scene steers away from."""
        own = self.scenes[scene].negative_prompt
        return self.negative_prompt if own is None else own

    @model_validator(mode="after")
    def _transitions_fit(self) -> ScenesJob:
        first = self.scenes[0].transition
        if first != "cut" and self.continue_from is None:
            raise Refusal(
                "scenes[0].transition",
                f"expected the first scene to begin with a cut, got {first!r}; nothing is before it",
            )
        for i, scene in enumerate(self.scenes):
            around = [part.frames for part in self.scenes[max(0, i - 1) : i + 1]]
            if scene.transition != "cut" and not self.cuts:
                raise Refusal(
                    f"scenes[{i}].transition", f"got {scene.transition!r}, but cuts: false makes one shot; leave it out"
                )
            if scene.transition != "cut" and scene.transition_frames > min(around):
                raise Refusal(
                    f"scenes[{i}].transition_frames",
                    f"expected no more than the frames of its scenes ({' and '.join(map(str, around))}), "
                    f"got {scene.transition_frames}; make it shorter",
                )
        for i, scene in enumerate(self.scenes):
            ends = [part.transition_frames for part in self.scenes[i : i + 2] if part.transition != "cut"]
            if sum(ends) > scene.frames:
                raise Refusal(
                    f"scenes[{i}].frames",
                    f"expected room for the transitions at both ends ({' + '.join(map(str, ends))} frames), "
                    f"got {scene.frames}; make the scene longer or a transition shorter",
                )
        total = sum(scene.frames for scene in self.scenes)
        if total > MAX_FRAMES:
            raise Refusal("scenes", f"expected at most {MAX_FRAMES:,} frames in all scenes together, got {total:,}")
        return self


class BoxPart(_Adapted):
    """A region of a layout and what it shows."""

    box: Box = Field(description="x0, y0, x1, y1 in 0..1, origin top left.")
    prompt: Prompt = Field(description="What the box shows.")
    negative_prompt: Text | None = Field(None, description="What to steer away from in it; null is the job's.")
    adapters: Adapters = Field((), description="Adapters that act in this box, beside the job's.")


class LayoutJob(_Prompted):
    """A picture with a prompt for each box."""

    task: Literal["layout"]
    prompt: Prompt = Field(description="The whole picture in words.")
    size: Size = Field((128, 128), description="Width and height in pixels.")
    boxes: Annotated[tuple[BoxPart, ...], Field(strict=False)] = Field(
        min_length=1, max_length=MAX_PARTS, description="The boxes; where they overlap, later ones lie on top."
    )
    mechanism: Literal["both", "plan", "siamese"] = Field(
        "both",
        description="What ties prompts to boxes: who sees whom in the plan, the siamese branch, or both.",
    )
    siamese_until: Unit = Field(0.3, description="The share of the steps in which the siamese branch acts.")

    def negative_of(self, box: int) -> str:
        """What one box steers away from."""
        own = self.boxes[box].negative_prompt
        return self.negative_prompt if own is None else own


class LayerPart(_Adapted):
    """One layer of a layered picture."""

    box: Box = Field(description="x0, y0, x1, y1 in 0..1, origin top left.")
    prompt: Prompt | None = Field(None, description="What the layer shows; null lets the model decide.")
    source: Path | None = Field(None, description="A picture with alpha, as large as the whole: the layer is given.")
    adapters: Adapters = Field((), description="Adapters that act on this layer, beside the job's.")


class LayeredJob(_Prompted):
    """A picture in RGBA layers, bottom first; the background is implied."""

    task: Literal["layered"]
    prompt: Prompt = Field(description="The whole picture in words.")
    size: Size = Field((128, 128), description="Width and height in pixels.")
    layers: Annotated[tuple[LayerPart, ...], Field(strict=False)] = Field(
        min_length=1, max_length=MAX_PARTS, description="The layers, bottom first."
    )
    source: Path | None = Field(None, description="The finished picture, where it is there and layers are wanted.")
    background: Path | None = Field(None, description="The picture behind all layers, where it is given.")


class MaskedJob(_Prompted):
    """A picture or video of which a part is given and the rest is made: inpaint, outpaint, predict, interpolate."""

    task: Literal["masked"]
    prompt: Text = Field("", description="What the new part shows.")
    source: Path = Field(description="The picture, video or folder of PNG frames that is given.")
    mask: Path | None = Field(None, description="White = make new; a picture, a video or a folder of PNG frames.")
    keep_frames: str | None = Field(
        None,
        max_length=1_000,
        pattern=r"^\d{1,6}(-\d{1,6})?(,\d{1,6}(-\d{1,6})?)*$",
        description='Such as "0-3" or "0,15".',
    )
    outpaint: Annotated[tuple[Border, Border, Border, Border] | None, Field(strict=False)] = Field(
        None, description="Pixels to add at left, top, right, bottom."
    )
    reference: Path | None = Field(None, description="A picture of what the new part shows.")
    frames: Frames | None = Field(None, description="Frames of the result; null is as many as the source has.")
    fps: Fps | None = Field(None, description="Frames a second where the source does not say; null is 8.")
    png_frames: bool = Field(False, description="Also write a video's frames as NAME/0000.png.")

    @model_validator(mode="after")
    def _says_what_is_new(self) -> MaskedJob:
        if self.mask is not None and self.keep_frames is not None:
            raise Refusal("keep_frames", "expected mask or keep_frames, got both; keep the one you mean")
        if self.mask is None and self.keep_frames is None and not any(self.outpaint or ()):
            raise Refusal("mask", "expected mask, keep_frames or outpaint, got none; say which part to make new")
        return self


class DubbingJob(_Prompted):
    """A talking face that follows new speech."""

    task: Literal["dubbing"]
    prompt: Text = Field("", description="Who speaks, and how.")
    guidance: Guidance = Field(
        1.0, description="Classifier-free guidance scale on the words; 1 is none. Of a portrait 2."
    )
    source: Path = Field(description="The video of a face, or a picture of one.")
    audio: Path = Field(description="The speech: a sound file, or a video with sound.")
    region: Literal["mouth", "portrait"] = Field("mouth", description="Make the mouth new, or the whole picture.")
    face: Box | None = Field(None, description="x0, y0, x1, y1 in 0..1 of the face that speaks; null is the largest.")
    duration: Literal["audio", "video"] = Field("audio", description="Which one decides the length.")
    start: float = Field(
        0.0,
        ge=-1_800,
        le=1_800,
        allow_inf_nan=False,
        description="Seconds into the clip at which the audio begins; below 0 so much of it is cut off.",
    )
    fps: Fps | None = Field(None, description="Frames a second where the source does not say; null is 25.")
    speech_guidance: Guidance = Field(
        1.5, description="How far lips are pushed to the speech; 1 is none, as for a portrait."
    )
    warp: bool | None = Field(None, description="Start from moved references; null does where the checkpoint can.")
    references: int = Field(3, ge=1, le=8, description="How many pictures of the mouth the model is shown.")
    window: int = Field(16, ge=2, le=MAX_FRAMES, description="Frames that are made at once.")
    overlap: int = Field(2, ge=0, le=MAX_FRAMES, description="Frames of the window before that a window goes on from.")
    png_frames: bool = Field(False, description="Also write the frames as NAME/0000.png.")

    @model_validator(mode="before")
    @classmethod
    def _portraits_go_by_words(cls, value: Any) -> Any:
        """A portrait's guidance where none is said: of a whole picture words tell much, of a mouth nothing."""
        return {**usual("dubbing", value), **value} if isinstance(value, Mapping) else value

    @model_validator(mode="after")
    def _windows_go_on(self) -> DubbingJob:
        if self.overlap >= self.window:
            raise Refusal(
                "overlap", f"expected less than the {self.window} frames of a window, got {self.overlap}; make it less"
            )
        if self.region == "portrait" and self.warp:
            raise Refusal("warp", "got true, but only a mouth is warped; leave it out, or set region: mouth")
        if self.region == "portrait" and self.face is not None:
            raise Refusal("face", "got a box, but region: portrait makes the whole picture new; leave it out")
        return self


Job = TextJob | ScenesJob | LayoutJob | LayeredJob | MaskedJob | DubbingJob
SCHEMA: TypeAdapter[Job] = TypeAdapter(Annotated[Job, Field(discriminator="task")])
KINDS: dict[str, type[_Sampled]] = {get_args(kind.model_fields["task"].annotation)[0]: kind for kind in get_args(Job)}


def parse(value: object) -> Job:
    """The job that `value` (a mapping, as YAML or JSON give it) describes.

    Raises:
        Refusal: the value breaks the schema; the first problem is named.
    """
    if not isinstance(value, Mapping):
        raise Refusal("", f"expected a mapping with a task, got {kind_of(value)}; write `task: text` and its fields")
    if "task" not in value:
        near = nearest("task", [key for key in value if isinstance(key, str)])
        hint = f"did you mean {near!r} to be 'task'?" if near else f"expected one of {', '.join(KINDS)}"
        raise Refusal("task", f"is missing; {hint}")
    task = value["task"]
    if not isinstance(task, str) or task not in KINDS:
        raise Refusal("task", f"expected one of {', '.join(KINDS)}, got {kind_of(task)}")
    try:
        return SCHEMA.validate_python(dict(value))
    except ValidationError as error:
        raise refusal_of(task, error, lambda place: _keys_at(task, place)) from None


def usual(task: str, said: Mapping[str, Any]) -> dict[str, Any]:
    """Fields that are otherwise by default than their kind of job has them, because of what a job says."""
    if task == "dubbing" and said.get("region") == "portrait":
        return {"guidance": 2.0, "speech_guidance": 1.0}
    return {}


def require_built(job: Job) -> None:
    """Raise Refusal for a task that the schema knows and this version does not render."""
    if job.task not in BUILT:
        raise Refusal("task", f"task {job.task!r} is not built yet; this version renders: {', '.join(BUILT)}")


def recipe(job: Job) -> dict[str, Any]:
    """The job as plain JSON values; `parse` reads it back to an equal job."""
    return job.model_dump(mode="json")


def _keys_at(task: str, place: Place) -> list[str]:
    if "adapters" in place:
        return list(AdapterUse.model_fields)
    parts: dict[str, type[_Value]] = {"scenes": ScenePart, "boxes": BoxPart, "layers": LayerPart}
    return list((parts[str(place[0])] if place else KINDS[task]).model_fields)
