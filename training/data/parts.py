"""What belongs together: files of one stem, or members of one key, become an example.

    a.png, a.mp4 ...        the picture or video; also a.frames/0000.png ... for a clip in files of its own
    a.txt, a.caption        captions, one a line
    a.bbox                  boxes, see `boxes.py`
    a.mask.png              white is learnt; also a-masklabel.png
    a.layers/0.png ...      RGBA layers, bottom first
    a.wav ...               sound

In a tar the key ends at the first dot, as WebDataset has it (a.mask.png, a.layers.0.png), and a.json is a row of
metadata; in a folder the suffix begins at the last one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from .assets import Asset
from .boxes import boxes_of_text
from .config import SourceConfig
from .example import Example
from .findings import Fault, Finding
from .rows import apply, with_default

PICTURES = ("png", "jpg", "jpeg", "webp", "bmp", "tif", "tiff", "gif")
VIDEOS = ("mp4", "m4v", "mov", "webm", "mkv")
SOUNDS = ("wav", "flac", "mp3", "m4a", "ogg", "opus")
CAPTIONS = ("txt", "caption")
MAX_TEXT = 2**20

Beside = Callable[[Asset, str], Asset]  # the asset of a name that a sidecar gives; may raise Fault

Role = Literal["picture", "video", "frame", "layer", "mask", "caption", "boxes", "sound", "row"]
IN_FOLDER = re.compile(
    r"(?P<key>.+?)(?:(?P<mask>\.mask|-masklabel)|\.(?P<many>layers|frames)/(?P<number>\d+))?\.(?P<end>\w+)", re.S
)
IN_TAR = re.compile(
    r"(?P<key>[^.]*)\.(?:(?P<mask>mask)\.|(?P<many>layers|frames)\.(?P<number>\d+)\.)?(?P<end>\w+)", re.S
)


@dataclass(frozen=True)
class Part:
    """An asset and what it is to its example.

    Attributes:
        key: what the parts of one example have in common.
        number: of a frame or a layer.
    """

    key: str
    role: Role
    asset: Asset
    number: int = 0


def part_of(name: str, asset: Asset, *, tar: bool = False) -> Part | None:
    """What a file is to an example by its name, with slashes; None for what is not read."""
    folder, slash, last = name.rpartition("/")
    if tar:
        found = IN_TAR.fullmatch(last)
    elif folder.rpartition("/")[2].endswith((".layers", ".frames")):
        found, slash = IN_FOLDER.fullmatch(name), ""
        folder = ""
    else:
        found = IN_FOLDER.fullmatch(last)
    if found is None or (folder != name.rpartition("/")[0] and not found["many"]):
        return None
    key, end, number = f"{folder}{slash}{found['key']}", found["end"].lower(), int(found["number"] or 0)
    if end in PICTURES:
        many: dict[str | None, Role] = {"layers": "layer", "frames": "frame"}
        return Part(key, "mask" if found["mask"] else many.get(found["many"], "picture"), asset, number)
    if found["mask"] or found["many"]:
        return None
    roles: Sequence[tuple[Role, Sequence[str]]] = (
        ("video", VIDEOS), ("sound", SOUNDS), ("caption", CAPTIONS), ("boxes", ("bbox",)),
        ("row", ("json",) if tar else ()),
    )  # fmt: skip
    return next((Part(key, role, asset) for role, ends in roles if end in ends), None)


def assemble(parts: Sequence[Part], source: SourceConfig, beside: Beside) -> tuple[list[Example], list[Finding]]:
    """The examples that parts of one key make, mostly one, and what was wrong with them.

    Two pictures of one stem are two examples that share the rest.

    Args:
        parts: all of one key.
        source: what holds for all of its examples.
        beside: finds what boxes and rows name.
    """
    media = [part for part in parts if part.role in ("picture", "video")]
    frames = sorted((part for part in parts if part.role == "frame"), key=lambda part: part.number)
    findings = []
    if not media and not frames:
        orphan = next((part for part in parts if part.role not in ("picture", "row")), parts[0])
        return [], [Finding("alone", orphan.asset.name, "stands beside no picture or video; rename it or take it away")]
    if len(media) + bool(frames) > 1:
        names = ", ".join(part.asset.name for part in media)
        findings.append(
            Finding("same-stem", media[0].asset.name, f"shares its captions with others of its stem ({names}); rename")
        )
    bare = [Example(part.asset.name, part.role, (part.asset,)) for part in media if part.role in ("picture", "video")]
    if frames:
        bare.append(Example(f"{parts[0].key}.frames", "frames", tuple(part.asset for part in frames)))
    examples = []
    for example in bare:
        found, wrong = _furnished(example, parts, source, beside)
        examples.append(found)
        findings += wrong
    return examples, findings


def text_of(asset: Asset) -> str:
    """The text of a sidecar.

    Raises:
        Fault: `caption-text`, or as `Asset.read`.
    """
    data = asset.read()
    if len(data) > MAX_TEXT:
        raise Fault(
            "caption-text", f"expected at most {MAX_TEXT:,} bytes of text, got {len(data):,}; that is no caption"
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Fault("caption-text", f"is not UTF-8 at byte {error.start}; save it as UTF-8") from None
    if "\0" in text:
        raise Fault("caption-text", "has zero bytes in it; save it as UTF-8 text")
    return text


def captions_in(text: str) -> tuple[str, ...]:
    """The captions in a text: one a line, empty lines left out."""
    return tuple(" ".join(line.split()) for line in text.splitlines() if line.strip())


def _furnished(
    example: Example, parts: Sequence[Part], source: SourceConfig, beside: Beside
) -> tuple[Example, list[Finding]]:
    """The example with what the other parts say of it."""
    findings: list[Finding] = []
    told = [part for part in parts if part.role in ("caption", "boxes", "row")]
    captions: tuple[str, ...] = ()
    broken = False
    example = replace(example, weight=source.weight, repeats=source.repeats)
    for part in told:
        try:
            text = text_of(part.asset)
            if part.role == "caption":
                lines = captions_in(text)
                captions += lines
                if not lines:
                    findings.append(Finding("empty-caption", part.asset.name, "is empty; write a caption or delete it"))
                    broken = True
            elif part.role == "boxes":
                example = replace(example, boxes=boxes_of_text(text, partial(beside, part.asset)))
            else:
                example = apply(example, _json(text), source, partial(beside, part.asset))
        except Fault as fault:
            findings.append(Finding(fault.kind, part.asset.name, fault.reason))
            broken = broken or part.role != "boxes"
    layers = sorted((part for part in parts if part.role == "layer"), key=lambda part: part.number)
    example = replace(
        example,
        captions=captions + example.captions,
        mask=next((part.asset for part in parts if part.role == "mask"), example.mask),
        layers=tuple(part.asset for part in layers) or example.layers,
        audio=next((part.asset for part in parts if part.role == "sound"), example.audio),
    )
    example, missing = with_default(example, source)
    return example, findings + ([] if broken else missing)


def _json(text: str) -> dict[str, object]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Fault("metadata", f"is not JSON: {str(error).splitlines()[0]}") from None
    if not isinstance(value, dict):
        raise Fault("metadata", "expected a JSON object")
    return value
