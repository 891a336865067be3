"""Faces and voices that people give for a dubbing: uploads like all others, under ids made of their content.

A dubbing shows its source as it is and keeps every sample of its sound. So nothing is fitted here, as it is for other
tasks; a file is read once as a whole, within the limits of a dubbing, and then kept as it came. A page sees the first
frame, the video itself, and of a voice what the model will hear.
"""

from __future__ import annotations

import hashlib
import shutil
import wave
from pathlib import Path

import numpy as np
from PIL import Image
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pipelines.files.audio import SPEECH_RATE, mono16k, read_audio
from pipelines.files.media import MediaError, Pixels, is_clip, read_picture, watch, write_picture
from pipelines.refusal import Refusal
from pipelines.voice.footage import check_room, even
from ui.uploads import SHOWN, SOURCE, Upload, Uploads, _Folder, _note

LONGEST = 1024  # pixels of a side of what the page sees of a face
MATROSKA = b"\x1a\x45\xdf\xa3"  # how WebM begins, which browsers want to be told


def keep_face(uploads: Uploads, path: Path) -> Upload:
    """Take in the picture or video of a face at `path`, which stays where it is.

    Raises:
        Refusal: it is neither, or more than a dubbing reads.
    """
    id = _id(path, b"face")
    if (known := uploads.get(id)) is not None:
        return known
    try:
        return _keep_film(uploads, id, path) if is_clip(path) else _keep_portrait(uploads, id, path)
    except MediaError as error:
        raise _refused(uploads, path, error) from None


def keep_voice(uploads: Uploads, path: Path) -> Upload:
    """Take in the file at `path`, which has sound and stays where it is.

    Raises:
        Refusal: it has none that can be read, or more than a dubbing reads.
    """
    id = _id(path, b"voice")
    if (known := uploads.get(id)) is not None:
        return known
    try:
        sound = read_audio(path)
    except MediaError as error:
        raise _refused(uploads, path, error) from None
    upload = Upload(id, "voice", 1, 1, file=f"{SOURCE}.sound", seconds=float(sound.seconds))
    with _Folder(uploads.folder, id) as folder:
        shutil.copyfile(path, folder / upload.file)
        with wave.open(str(folder / SHOWN["voice"][0]), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(SPEECH_RATE)
            file.writeframes((mono16k(sound).clip(-1, 1) * 32_767).round().astype("<i2").tobytes())
        _note(folder, upload)
    return upload


def routes(uploads: Uploads) -> list[Route]:
    """POST /uploads/face and /uploads/voice take files in."""

    async def face(request: Request) -> Response:
        return await uploads.take(request, lambda path: keep_face(uploads, path))

    async def voice(request: Request) -> Response:
        return await uploads.take(request, lambda path: keep_voice(uploads, path))

    return [Route("/uploads/face", face, methods=["POST"]), Route("/uploads/voice", voice, methods=["POST"])]


def film(upload: Upload) -> str:
    """Where the page finds the video of a face; "" where it has none, but a picture or a folder of frames."""
    what = next((what for what in ("film", "webm") if SHOWN[what][0] == upload.file), "")
    return f"uploads/{upload.id}/{what}" if what else ""


def _keep_portrait(uploads: Uploads, id: str, path: Path) -> Upload:
    pixels = even(read_picture(path))
    height, width = pixels.shape[:2]
    if not min(width, height):
        raise MediaError(f"{path}: expected a picture of two pixels or more a side")
    picture = Image.new("RGB", (width, height), "white")  # what is transparent becomes paper
    picture.paste(Image.fromarray(pixels), mask=Image.fromarray(pixels[..., 3]))
    upload = Upload(id, "picture", width, height, given=(width, height))
    with _Folder(uploads.folder, id) as folder:
        write_picture(folder / upload.file, np.asarray(picture), {})
        _show(folder, picture)
        _note(folder, upload)
    return upload


def _keep_film(uploads: Uploads, id: str, path: Path) -> Upload:
    first: list[Pixels] = []
    count = 0

    def see(frame: Pixels) -> None:
        nonlocal count
        count += 1
        check_room(str(path), frame, count)
        if not first:
            first.append(even(frame).copy())

    fps = watch(path, see)
    height, width = first[0].shape[:2]
    with path.open("rb") as stream:
        name = SHOWN["webm" if stream.read(4) == MATROSKA else "film"][0]
    upload = Upload(id, "video", width, height, count, "" if fps is None else str(fps), (width, height), name)
    with _Folder(uploads.folder, id) as folder:
        shutil.copyfile(path, folder / name)
        _show(folder, Image.fromarray(first[0]))
        _note(folder, upload)
    return upload


def _show(folder: Path, picture: Image.Image) -> None:
    """Write what the page sees of a face."""
    seen = picture.copy()
    seen.thumbnail((LONGEST, LONGEST))
    seen.save(folder / SHOWN["picture"][0])


def _id(path: Path, what: bytes) -> str:
    """A name made of a file's content, and of what it was given as: the same video can be a face and a voice."""
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256")
    digest.update(what)
    return digest.hexdigest()[:24]


def _refused(uploads: Uploads, path: Path, error: MediaError) -> Refusal:
    return Refusal("", uploads.plain(str(error).replace(str(path), str(uploads.folder / path.name))))
