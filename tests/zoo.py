"""Data sets that are broken in one way each, and the small files that they are made of.

`ZOO` has for each of them the name of what the preflight must find, a word of where, and a builder. A builder gets a
folder that has two healthy pictures already and returns what its run file says beyond that.
"""

from __future__ import annotations

import io
import json
import struct
import tarfile
import wave
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipelines.files.media import write_video
from training.data.config import DataConfig
from training.run.config import StepsConfig
from training.tune import TuneConfig

SIDE = 128
CAPTION = "a red circle on a white background"


def pixels(seed: int, width: int = SIDE, height: int = SIDE) -> NDArray[np.uint8]:
    """[H, W, 3] of large patches of colour, which no other seed has."""
    patches = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
    return np.asarray(Image.fromarray(patches).resize((width, height), Image.Resampling.BICUBIC))


def picture(path: Path, seed: int = 7, size: tuple[int, int] = (SIDE, SIDE), caption: str | None = CAPTION) -> Path:
    """A picture file with its caption beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels(seed, *size)).save(path)
    if caption is not None:
        path.with_suffix(".txt").write_text(caption)
    return path


def healthy(folder: Path, count: int = 2) -> None:
    """Pictures in which nothing is wrong."""
    for seed in range(count):
        picture(folder / f"fine{seed}.png", 100 + seed)


def video(path: Path, frames: int = 12, fps: int = 8, caption: str | None = CAPTION, seed: int = 50) -> Path:
    """A clip in which every frame is another."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stack = np.stack([np.roll(pixels(seed), 4 * k, axis=1) for k in range(frames)])
    write_video(path, stack, fps, {})
    if caption is not None:
        path.with_suffix(".txt").write_text(caption)
    return path


def sound(path: Path, samples: int = 8000, loud: bool = True) -> Path:
    """A WAV file of a tone, or of silence."""
    tone = (np.sin(np.arange(samples) / 10) * (20_000 if loud else 0)).astype("<i2")
    with wave.open(str(path), "wb") as stream:
        stream.setnchannels(1)
        stream.setsampwidth(2)
        stream.setframerate(16_000)
        stream.writeframes(tone.tobytes())
    return path


def png(array: NDArray[np.uint8]) -> bytes:
    """The bytes of a PNG."""
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


def tar(path: Path, members: Mapping[str, bytes], links: Mapping[str, str] | None = None) -> Path:
    """A plain tar."""
    with tarfile.open(path, "w") as opened:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            opened.addfile(info, io.BytesIO(data))
        for name, target in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            opened.addfile(info)
    return path


def lines(path: Path, *rows: Mapping[str, Any]) -> Path:
    """A file of JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def run(data: Mapping[str, Any], folder: Path, batch: int = 2) -> TuneConfig:
    """A run on these data."""
    return TuneConfig(folder=folder, data=DataConfig.model_validate(data), loop=StepsConfig(steps=10, batch=batch))


# ------------------------------------------------------------ what is broken

Build = Callable[[Path], Mapping[str, Any] | None]


@dataclass(frozen=True)
class Broken:
    """A broken data set: what must be found, a word of the place, and how it is made."""

    kind: str
    where: str
    build: Build


def _source(**fields: Any) -> Mapping[str, Any]:
    return {"sources": [fields]}


def _cut(path: Path, share: float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


def _truncated_tar(top: Path) -> Mapping[str, Any]:
    path = tar(top / "x.tar", {f"{k}.png": png(pixels(k)) for k in range(4)})
    _cut(path, 0.6)
    return _source(path=path)


def _packed_tar(top: Path) -> Mapping[str, Any]:
    (top / "x.tar.gz").write_bytes(zlib.compress(b"anything"))
    return _source(path=top / "x.tar.gz")


def _linked_tar(top: Path) -> Mapping[str, Any]:
    members = {"a.png": png(pixels(1)), "a.txt": CAPTION.encode(), "b.png": png(pixels(2)), "b.txt": CAPTION.encode()}
    return _source(path=tar(top / "x.tar", members, {"c.png": "/etc/hostname"}))


def _broken_line(top: Path) -> Mapping[str, Any]:
    lines(top / "metadata.jsonl", {"file_name": "fine0.png", "text": CAPTION})
    with (top / "metadata.jsonl").open("a") as stream:
        stream.write('{"file_name": "fine1.png", "text": \n')
    return _source(path=top)


def _broken_csv(top: Path) -> Mapping[str, Any]:
    (top / "metadata.csv").write_text(f"file_name,text\nfine0.png,{CAPTION}\nfine1.png,a red circle, a blue star\n")
    return _source(path=top)


def _rows(*extra: Mapping[str, Any]) -> Build:
    def build(top: Path) -> Mapping[str, Any]:
        first = {"file_name": "fine0.png", "text": CAPTION}
        second = {"file_name": "fine1.png", "text": CAPTION}
        lines(top / "metadata.jsonl", first, second, *extra)
        return _source(path=top)

    return build


def _bytes(data: bytes, name: str = "bad.png") -> Build:
    def build(top: Path) -> None:
        (top / name).write_bytes(data)
        (top / name).with_suffix(".txt").write_text(CAPTION)

    return build


def _half(name: str, share: float = 0.5) -> Build:
    def build(top: Path) -> None:
        path = video(top / name) if name.endswith(".mp4") else picture(top / name)
        _cut(path, share)

    return build


def _bomb() -> bytes:
    """A PNG of a few bytes that says it is 12,000 pixels a side."""
    head = struct.pack(">IIBBBBB", 12_000, 12_000, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


def _size(width: int, height: int) -> Build:
    def build(top: Path) -> None:
        picture(top / "bad.png", size=(width, height))

    return build


def _clip_of_sizes(top: Path) -> None:
    picture(top / "bad.frames" / "0.png", 1, caption=None)
    picture(top / "bad.frames" / "1.png", 2, (64, 64), caption=None)
    (top / "bad.txt").write_text(CAPTION)


def _short_clip(top: Path) -> Mapping[str, Any]:
    for number in range(2):
        video(top / "clips" / f"fine{number}.mp4", 12, seed=60 + number)
    video(top / "clips" / "bad.mp4", 4)
    return {**_source(path=top / "clips"), "frames": [8]}


def _sidecar(suffix: str, data: bytes) -> Build:
    def build(top: Path) -> None:
        picture(top / "bad.png", caption=None if suffix == ".txt" else CAPTION)
        (top / "bad.png").with_suffix(suffix).write_bytes(data)

    return build


def _box(*edges: float, label: str = "a red circle") -> Build:
    return _sidecar(".bbox", json.dumps([{"label": label, "bbox": edges}]).encode())


def _cut_box(top: Path) -> Mapping[str, Any]:
    picture(top / "bad.png", size=(160, 128))
    (top / "bad.bbox").write_text(json.dumps([{"label": "a red circle", "bbox": [0.0, 0.2, 0.06, 0.4]}]))
    return {**_source(path=top), "max_ratio": 1.0, "max_crop": 0.3}


def _mask(array: NDArray[np.uint8]) -> Build:
    def build(top: Path) -> None:
        picture(top / "bad.png")
        Image.fromarray(array).save(top / "bad.mask.png")

    return build


def _layers(*layers: NDArray[np.uint8]) -> Build:
    def build(top: Path) -> None:
        picture(top / "bad.png")
        (top / "bad.layers").mkdir()
        for number, layer in enumerate(layers):
            Image.fromarray(layer).save(top / "bad.layers" / f"{number}.png")

    return build


def _heard(samples: int, loud: bool) -> Build:
    def build(top: Path) -> Mapping[str, Any]:
        sound(picture(top / "bad.png").with_suffix(".wav"), samples, loud)
        return {**_source(path=top), "audio": True}

    return build


def _saved(array: NDArray[np.uint8], mode: str | None = None, name: str = "bad.png", **options: Any) -> Build:
    def build(top: Path) -> None:
        image = Image.fromarray(array)
        (image.convert(mode) if mode else image).save(top / name, **options)
        (top / name).with_suffix(".txt").write_text(CAPTION)

    return build


def _turned(top: Path) -> None:
    image = Image.fromarray(pixels(7))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(top / "bad.jpg", exif=exif)
    (top / "bad.txt").write_text(CAPTION)


def _animated(top: Path) -> None:
    frames = [Image.fromarray(pixels(seed)) for seed in (7, 8, 9)]
    frames[0].save(top / "bad.gif", save_all=True, append_images=frames[1:])
    (top / "bad.txt").write_text(CAPTION)


def _copied(top: Path) -> None:
    Image.fromarray(pixels(100)).resize((120, 120)).save(top / "bad.jpg", quality=85)
    (top / "bad.txt").write_text(CAPTION)


def _named_as_another(top: Path) -> None:
    Image.fromarray(pixels(7)).save(top / "bad.jpg", "PNG")
    (top / "bad.txt").write_text(CAPTION)


def _lonely_bucket(top: Path) -> None:
    picture(top / "bad.png", size=(256, 128))


def _of_two_suffixes(top: Path) -> None:
    picture(top / "bad.png", 7)
    Image.fromarray(pixels(8)).save(top / "bad.webp", lossless=True)


def _cases(top: Path) -> None:
    picture(top / "bad.png", 7)
    picture(top / "BAD.png", 8)


def _nothing(top: Path) -> Mapping[str, Any]:
    (top / "empty").mkdir()
    return _source(path=top / "empty")


def _untold(top: Path) -> None:
    picture(top / "bad.png", caption=None)


def _lost(top: Path) -> None:
    (top / "lost.txt").write_text(CAPTION)


CLEAR = np.zeros((SIDE, SIDE, 4), np.uint8)
DEEP = np.arange(SIDE * SIDE, dtype=np.uint16).reshape(SIDE, SIDE) * 4
LONG = "a red circle left of a blue star on a white background " * 6

ZOO: dict[str, Broken] = {
    "a folder that is not there": Broken("missing-source", "absent", lambda top: _source(path=top / "absent")),
    "a data set of the hub": Broken("missing-source", "", lambda top: _source(path=top, kind="huggingface")),
    "a folder without pictures": Broken("no-examples", "empty", _nothing),
    "a tar that ends early": Broken("archive", "x.tar", _truncated_tar),
    "a tar that is packed": Broken("archive", "x.tar.gz", _packed_tar),
    "a tar with a link": Broken("link", "c.png", _linked_tar),
    "a line that is no JSON": Broken("metadata", "line 2", _broken_line),
    "a row with a comma too many": Broken("metadata", "line 3", _broken_csv),
    "a row of a file that is not there": Broken("missing-file", "line 3", _rows({"file_name": "no.png"})),
    "a row of a file elsewhere": Broken("outside", "line 3", _rows({"file_name": "../../secret.png"})),
    "a row of no file": Broken("metadata", "line 3", _rows({"text": CAPTION})),
    "a weight below zero": Broken("number", "line 3", _rows({"file_name": "fine0.png", "weight": -1})),
    "a row that comes twice": Broken(
        "repeated-file", "fine0.png", _rows({"file_name": "fine0.png", "text": CAPTION})
    ),
    "a picture without bytes": Broken("empty-file", "bad.png", _bytes(b"")),
    "a page called picture": Broken("unreadable", "bad.png", _bytes(b"<html>not found</html>")),
    "half a PNG": Broken("truncated", "bad.png", _half("bad.png")),
    "half a JPEG": Broken("truncated", "bad.jpg", _half("bad.jpg")),
    "a picture that would fill the memory": Broken("too-large", "bad.png", _bytes(_bomb())),
    "a picture of a few pixels": Broken("too-small", "bad.png", _size(12, 12)),
    "a panorama": Broken("crop", "bad.png", _size(640, 64)),
    "half a video": Broken("video", "bad.mp4", _half("bad.mp4", 0.8)),
    "a text called video": Broken("video", "bad.mp4", _bytes(b"\0\0\0\x18ftypmp42 and nothing more", "bad.mp4")),
    "frames of two sizes": Broken("clip-size", "bad.frames", _clip_of_sizes),
    "a clip that is too short": Broken("frames", "bad.mp4", _short_clip),
    "a caption in Latin-1": Broken("caption-text", "bad.txt", _sidecar(".txt", "ein grüner Stern".encode("latin-1"))),
    "boxes that are no JSON": Broken("boxes", "bad.bbox", _sidecar(".bbox", b'[{"label": "a", "bbox": [0, 0, 1')),
    "a box without an edge": Broken("boxes", "bad.bbox", _sidecar(".bbox", b'[{"label": "a", "bbox": [0, 0, 1]}]')),
    "a box in pixels": Broken("box-outside", "bad.png", _box(10, 10, 90, 90)),
    "a box the wrong way round": Broken("box-reversed", "bad.png", _box(0.8, 0.2, 0.3, 0.6)),
    "a box without a name": Broken("box-unnamed", "bad.png", _box(0.1, 0.2, 0.3, 0.6, label="")),
    "a box that cropping takes": Broken("box-cut", "bad.png", _cut_box),
    "a mask of another size": Broken("mask-size", "bad.mask.png", _mask(np.full((64, 64), 255, np.uint8))),
    "a mask of nothing": Broken("mask-empty", "bad.mask.png", _mask(np.zeros((SIDE, SIDE), np.uint8))),
    "a layer of another size": Broken("layer-size", "1.png", _layers(CLEAR, CLEAR[:64])),
    "a layer that hides the others": Broken("layer-opaque", "1.png", _layers(CLEAR, pixels(3))),
    "a sound without samples": Broken("sound", "bad.wav", _heard(0, True)),
    "a sound that is silent": Broken("silent", "bad.wav", _heard(8000, False)),
    "a picture without a caption": Broken("missing-caption", "bad.png", _untold),
    "a caption without words": Broken("empty-caption", "bad.txt", _sidecar(".txt", b" \n\n")),
    "a caption that is too long": Broken("long-caption", "bad.png", _sidecar(".txt", LONG.encode())),
    "a picture to be enlarged": Broken("small", "bad.png", _size(40, 40)),
    "a shape that one picture has": Broken("small-bucket", "bad.png", _lonely_bucket),
    "a picture that is there twice": Broken("duplicate", "fine0.png", _copied),
    "a picture that lies on its side": Broken("turned", "bad.jpg", _turned),
    "a picture for printing": Broken("cmyk", "bad.jpg", _saved(pixels(7), "CMYK", "bad.jpg")),
    "a picture of 16 bits": Broken("sixteen-bit", "bad.png", _saved(DEEP)),
    "a picture that moves": Broken("animated", "bad.gif", _animated),
    "a picture that can not be seen": Broken("invisible", "bad.png", _saved(CLEAR)),
    "a picture of one colour": Broken("flat", "bad.png", _saved(np.full((SIDE, SIDE, 3), 90, np.uint8))),
    "a PNG called JPEG": Broken("other-format", "bad.jpg", _named_as_another),
    "two names of one spelling": Broken("case", "bad", _cases),
    "two pictures of one name": Broken("same-stem", "bad.png", _of_two_suffixes),
    "a caption of no picture": Broken("alone", "lost.txt", _lost),
}  # fmt: skip
