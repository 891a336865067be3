"""What people give the studio: pictures and videos, kept in its folder under ids made of their content.

A file is measured before it is decoded and decoded before it is kept; of a picture only what it shows is kept, and not
where and with what it was taken. What the model can not take as it is becomes the nearest that it can.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import io
import json
import re
import secrets
import shutil
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from pipelines.files.atomic import TEMPORARY, write_bytes
from pipelines.files.kept import KEPT as HISTORY
from pipelines.files.media import MediaError, Pixels, is_clip, read_clip, read_picture, write_picture
from pipelines.files.record import read_record
from pipelines.history.restore import recipe_in
from pipelines.job import SIDE_STEP
from pipelines.queue.queue import Queue
from pipelines.refusal import Refusal
from ui.past import HEADERS
from ui.reasons import cause, in_language
from ui.settings import SIDES
from ui.within import OpenFile, opened
from ui.words import say

FOLDER = "uploads"
MAX_UPLOAD = 64 * 2**20  # bytes of a picture or video that somebody gives
MAX_MASK = 2 * 2**20  # bytes of a mask drawn on the page
AT_ONCE = 2  # files that are decoded at the same time
ARRIVING = 8  # files that are sent at the same time; more would only fill the disk
KEPT = 7 * 24 * 3600.0  # seconds that a file is kept which no job has named
ID = re.compile(r"[0-9a-f]{24}")
THUMB, COLUMNS = 72, 12  # the strip of a video: a thumbnail's longer side in pixels, and how many stand in a row
# What of an upload the page may see, and as what.
SHOWN = {
    "picture": ("picture.png", "image/png"), "strip": ("strip.jpg", "image/jpeg"),
    "film": ("source.video", "video/mp4"), "webm": ("source.webm", "video/webm"), "voice": ("voice.wav", "audio/wav"),
}  # fmt: skip
FACTS, SOURCE = "upload.json", "source"
MAX_FACTS = 2**16  # bytes of the former
RECIPE = "recipe.json"  # the job in a file of ours that somebody gave to get it back


@dataclass(frozen=True)
class Upload:
    """A picture, video or voice that somebody gave.

    Attributes:
        id: what it is called wherever others can see it.
        kind: a picture, a video, or a voice, which is a file with sound.
        width, height: in pixels, as jobs get it.
        frames: how many; 1 for a picture.
        fps: frames a second, as a fraction in words; "" where nobody says.
        given: width and height as it came.
        file: what jobs read, a name in the upload's folder.
        thumb: width and height of one thumbnail of the strip.
        seconds: how long a voice lasts.
    """

    id: str
    kind: Literal["picture", "video", "voice"]
    width: int
    height: int
    frames: int = 1
    fps: str = ""
    given: tuple[int, int] = (0, 0)
    file: str = f"{SOURCE}.png"
    thumb: tuple[int, int] = (0, 0)
    seconds: float = 0.0


@dataclass(frozen=True)
class Recipe:
    """The job in a file of ours; `id` is what it is called wherever others can see it."""

    id: str


class Uploads:
    """The uploads of one studio's folder."""

    def __init__(self, folder: Path, sides: tuple[int, int] = SIDES) -> None:
        """`sides` are the smallest and the largest side in pixels that jobs can have."""
        self.folder, self.sides = folder / FOLDER, sides
        self._turn = asyncio.Semaphore(AT_ONCE)
        self._arriving = 0

    # ------------------------------------------------------------ keeping

    def keep(self, path: Path) -> Upload:
        """Take in the file at `path`, which stays where it is.

        Raises:
            Refusal: it is no picture or video that can be read.
        """
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256")
        digest.update(f"{self.sides}".encode())  # for it is fitted to them
        id = digest.hexdigest()[:24]
        if (known := self.get(id)) is not None:
            return known
        try:
            return self._keep_video(id, path) if is_clip(path) else self._keep_picture(id, path)
        except MediaError as error:
            raise Refusal("", self.plain(str(error).replace(str(path), str(self.folder / path.name)))) from None

    def keep_mask(self, address: str, upload: Upload) -> str:
        """Take in a mask drawn over `upload`, as the page's canvas gives it, and return its path for a job.

        Raises:
            Refusal: it is no PNG of the upload's size.
        """
        start, _, data = address.partition(",")
        try:
            if start != "data:image/png;base64" or len(data) > MAX_MASK * 4 // 3:
                raise ValueError
            with Image.open(io.BytesIO(base64.b64decode(data, validate=True)), formats=["PNG"]) as picture:
                if picture.size != (upload.width, upload.height):
                    raise ValueError
                levels = np.asarray(picture.convert("L"))
        except (ValueError, OSError, binascii.Error, Image.DecompressionBombError):
            size = f"{upload.width} x {upload.height}"
            raise Refusal("mask", say("upload.no_drawing", size=size)) from None
        return self.path(self._keep_exact(levels, "").id)

    def keep_layer(self, path: Path) -> Upload:
        """Take in a picture as it is, with its alpha and at its size: a layer, or what lies behind all layers.

        Raises:
            Refusal: it is no picture that can be read.
        """
        try:
            pixels = read_picture(path)
        except MediaError as error:
            raise Refusal("", self.plain(str(error).replace(str(path), str(self.folder / path.name)))) from None
        return self._keep_exact(pixels, "layer ")

    def keep_recipe(self, path: Path) -> Recipe:
        """Take in the job of the output or record at `path`, and nothing else of it.

        Raises:
            Refusal: it is no file that Diorama wrote.
        """
        told = recipe_in(path)
        data = json.dumps({"diorama": told.get("diorama"), "job": told["job"]}).encode()
        id = hashlib.sha256(b"recipe " + data).hexdigest()[:24]
        with _Folder(self.folder, id) as folder:
            write_bytes(folder / RECIPE, data)
        return Recipe(id)

    def recipe(self, id: str) -> bytes | None:
        """What `keep_recipe` took in, for `pipelines.history.restore`."""
        try:
            return (self.folder / id / RECIPE).read_bytes() if ID.fullmatch(id) else None
        except OSError:
            return None

    def _keep_exact(self, pixels: Pixels, what: str) -> Upload:
        """Keep pixels [H, W] or [H, W, 4] as they are; `what` tells kinds of equal pixels apart."""
        height, width = pixels.shape[:2]
        id = hashlib.sha256(f"{what}{pixels.shape}".encode() + pixels.tobytes()).hexdigest()[:24]
        if (known := self.get(id)) is not None:
            return known
        upload = Upload(id, "picture", width, height, given=(width, height))
        with _Folder(self.folder, id) as folder:
            write_picture(folder / upload.file, pixels, {})
            shutil.copyfile(folder / upload.file, folder / SHOWN["picture"][0])
            _note(folder, upload)
        return upload

    def _keep_picture(self, id: str, path: Path) -> Upload:
        pixels = read_picture(path)
        height, width = pixels.shape[:2]
        picture = Image.new("RGB", (width, height), "white")  # what is transparent becomes paper
        picture.paste(Image.fromarray(pixels), mask=Image.fromarray(pixels[..., 3]))
        fitted = _fit(picture, fitting((width, height), self.sides))
        upload = Upload(id, "picture", *fitted.size, given=(width, height))
        with _Folder(self.folder, id) as folder:
            write_picture(folder / upload.file, np.asarray(fitted), {})
            shutil.copyfile(folder / upload.file, folder / SHOWN["picture"][0])
            _note(folder, upload)
        return upload

    def _keep_video(self, id: str, path: Path) -> Upload:
        clip = read_clip(path)
        count, height, width = clip.frames.shape[:3]
        size = fitting((width, height), self.sides)
        fps = "" if clip.fps is None else str(clip.fps)
        upload = Upload(id, "video", *size, count, fps, (width, height), "source.video")
        with _Folder(self.folder, id) as folder:
            frames = clip.frames
            if size == (width, height):
                shutil.copyfile(path, folder / upload.file)
            else:
                upload = replace(upload, file=SOURCE)
                frames = np.stack([np.asarray(_fit(Image.fromarray(frame), size)) for frame in frames])
                (folder / SOURCE).mkdir()
                told = {"job": {}, "fps": fps} if fps else {}  # where `read_clip` looks for a folder's rate
                for number, frame in enumerate(frames):
                    write_picture(folder / SOURCE / f"{number:04d}.png", frame, told)
            Image.fromarray(frames[0]).save(folder / SHOWN["picture"][0])
            strip, thumb = _strip(frames)
            strip.save(folder / SHOWN["strip"][0], quality=88)
            upload = replace(upload, thumb=thumb)
            _note(folder, upload)
        return upload

    # ------------------------------------------------------------ finding

    def get(self, id: str) -> Upload | None:
        """The upload called `id`."""
        if not isinstance(id, str) or not ID.fullmatch(id):  # what a page sends may be anything
            return None
        stream = opened(self.folder, f"{id}/{FACTS}")
        if stream is None:
            return None
        try:
            with stream:
                facts = json.loads(stream.read(MAX_FACTS))
            return Upload(**{**facts, "given": tuple(facts["given"]), "thumb": tuple(facts["thumb"])})
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def path(self, id: str) -> str:
        """The path of an upload's file, for a job.

        Raises:
            Refusal: there is no such upload.
        """
        upload = self.get(id)
        if upload is None:
            raise Refusal("", say("upload.no_file"))
        return str(self.folder / id / upload.file)

    def of(self, path: str | None) -> Upload | None:
        """The upload that a job's path names, wherever the studio's folder was when the job was written."""
        parts = Path(path or "").parts
        return self.get(parts[-2]) if len(parts) >= 3 and parts[-3] == FOLDER else None

    def plain(self, reason: str) -> str:
        """A sentence without the paths of uploads, which say nothing to the person who reads it."""
        path = re.escape(str(self.folder)) + r"/[^ :'\"]*"
        return re.sub(f"{path}: | ?['\"]?{path}['\"]?", "", reason)

    def sweep(self, queue: Queue) -> None:
        """Take away what no job names and nobody has used for a week, and what a kill left behind."""
        if not self.folder.is_dir():
            return
        named = {part for row in _rows(queue) for part in _parts(row.job)}
        old = [path for path in self.folder.iterdir() if path.name not in named and _is_old(path)]
        if old:  # only then, for it takes long: rows are forgotten, and their outputs stay
            named |= {part for job in _recorded(self.folder.parent) for part in _parts(job)}
        for path in old:
            with suppress(OSError):
                if path.name not in named:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()

    # ------------------------------------------------------------ the web

    def routes(self) -> list[Route]:
        """POST /uploads takes a file in, POST /uploads/recipe the job of one of ours; GET /uploads/ID/picture and
        /uploads/ID/strip show what was taken in.
        """

        async def take(request: Request) -> Response:
            return await self.take(request, self.keep)

        async def take_recipe(request: Request) -> Response:
            return await self.take(request, self.keep_recipe)

        return [
            Route("/uploads", take, methods=["POST"]),
            Route("/uploads/recipe", take_recipe, methods=["POST"]),
            Route("/uploads/{id}/{what}", self._show, methods=["GET"]),
        ]

    async def take(self, request: Request, keep: Callable[[Path], Upload | Recipe]) -> Response:
        """Answer a request whose body is a file: what `keep` says that it is, or one sentence why it is not kept."""
        if self._arriving >= ARRIVING:
            return _refused(say("upload.too_many"), 429)
        temporary = self.folder / f"{TEMPORARY}{secrets.token_hex(8)}.tmp"
        self._arriving += 1
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if not await _write(request.stream(), temporary):
                return _refused(say("upload.too_large", room=MAX_UPLOAD // 2**20), 413)
            async with self._turn:  # only now, so that a slow sender keeps nobody else waiting
                taken = await run_in_threadpool(keep, temporary)
        except Refusal as refusal:
            return _refused(in_language(refusal.reason), 400)
        except ClientDisconnect:
            return _refused(say("upload.cut_off"), 400)
        except OSError as error:
            return _refused(say("upload.not_kept", reason=cause(error)), 507)
        finally:
            self._arriving -= 1
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
        return JSONResponse(asdict(taken), headers=HEADERS)

    def _show(self, request: Request) -> Response:
        upload, what = self.get(request.path_params["id"]), SHOWN.get(request.path_params["what"])
        stream = opened(self.folder, f"{upload.id}/{what[0]}") if upload and what else None
        if stream is None or what is None:
            return PlainTextResponse(say("upload.absent"), status_code=404, headers=HEADERS)
        return OpenFile(stream, what[0], what[1], HEADERS)


def fitting(size: tuple[int, int], sides: tuple[int, int]) -> tuple[int, int]:
    """The size nearest in shape to `size` whose sides the model draws: within `sides`, in steps of SIDE_STEP."""
    low, high = sides
    longest, shortest = max(size), min(size)
    scale = high / longest if longest > high else max(1.0, low / shortest)
    near = (SIDE_STEP * round(side * scale / SIDE_STEP) for side in size)
    width, height = (min(max(side, low), high) for side in near)
    return width, height


def _fit(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The picture scaled to cover `size`, and what stands over on both sides cut off; as it is where it fits."""
    if picture.size == size:
        return picture
    scale = max(size[0] / picture.width, size[1] / picture.height)
    width, height = (side / scale for side in size)
    left, top = (picture.width - width) / 2, (picture.height - height) / 2
    return picture.resize(size, Image.Resampling.LANCZOS, (left, top, left + width, top + height))


def _strip(frames: Pixels) -> tuple[Image.Image, tuple[int, int]]:
    """All frames as thumbnails on one sheet, COLUMNS in a row, and the size of one."""
    count, height, width = frames.shape[:3]
    scale = THUMB / max(height, width)
    w, h = max(1, round(width * scale)), max(1, round(height * scale))
    sheet = Image.new("RGB", (w * min(count, COLUMNS), h * -(-count // COLUMNS)))
    for number, frame in enumerate(frames):
        thumb = Image.fromarray(frame).resize((w, h), Image.Resampling.LANCZOS)
        sheet.paste(thumb, (w * (number % COLUMNS), h * (number // COLUMNS)))
    return sheet, (w, h)


class _Folder:
    """A folder that is there with everything in it, or not at all."""

    def __init__(self, parent: Path, name: str) -> None:
        self._final = parent / name
        self._temporary = parent / f"{TEMPORARY}{secrets.token_hex(8)}.tmp"

    def __enter__(self) -> Path:
        self._temporary.mkdir(parents=True)
        return self._temporary

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._temporary.rename(self._final)
        except OSError:
            if not self._final.is_dir():  # else the same content was kept meanwhile
                raise
        finally:
            shutil.rmtree(self._temporary, ignore_errors=True)


def _note(folder: Path, upload: Upload) -> None:
    write_bytes(folder / FACTS, json.dumps(asdict(upload)).encode())


async def _write(chunks: AsyncIterator[bytes], path: Path) -> bool:
    """Write what comes, as long as it is not too much; False when it is."""
    taken = 0
    with path.open("wb") as stream:
        async for chunk in chunks:
            taken += len(chunk)
            if taken > MAX_UPLOAD:
                return False
            stream.write(chunk)
    return True


def _rows(queue: Queue, page: int = 500) -> Iterable[Any]:
    start = 0
    while rows := queue.rows(page, start):
        yield from rows
        start += page


def _recorded(folder: Path) -> Iterable[Any]:
    """The jobs of all outputs in a folder and in its bin."""
    for pattern in ("*.json", f"{HISTORY}/bin/*/files/*.json"):
        for path in folder.glob(pattern):
            with suppress(MediaError):
                yield read_record(path)["job"]


def _is_old(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime > KEPT
    except OSError:
        return False


def _parts(value: Any) -> Iterable[str]:
    """The parts of all paths that stand anywhere in a job."""
    if isinstance(value, str) and FOLDER in value:
        yield from Path(value).parts
    elif isinstance(value, Mapping | list):
        for inner in value.values() if isinstance(value, Mapping) else value:
            yield from _parts(inner)


def _refused(reason: str, status: int) -> Response:
    return JSONResponse({"reason": reason}, status_code=status, headers=HEADERS)


def rate_of(upload: Upload) -> Fraction | None:
    """Frames a second of a video, where it says."""
    try:
        return Fraction(upload.fps) if upload.fps else None
    except (ValueError, ZeroDivisionError):
        return None
