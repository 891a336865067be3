"""An engine that checks jobs as the real one does, plans and all, and draws flat colours at once."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from gradio_client import Client
from PIL import Image

import app
from pipelines.engine import Engine
from pipelines.estimate import Attachment, Rendered
from pipelines.files.media import read_picture, write_picture, write_video
from pipelines.job import Job, LayeredJob, LayoutJob, Refusal, ScenesJob, TextJob
from pipelines.queue.queue import Queue
from tests.paced import PATIENCE, PacedEngine, free_port, working


class StagedEngine(PacedEngine):
    """Its records tell what a real one's do, so that pages have something to show."""

    def __init__(self, pace: float = 0.0) -> None:
        super().__init__(pace)
        self._engine = Engine()

    def check(self, job: Job) -> Any:
        if getattr(job, "prompt", "") == "refuse":
            raise Refusal("model", "expected a checkpoint, got a folder without model_index.json")
        return self._engine.check(job)

    def _one(self, job: Job) -> Rendered:
        if getattr(job, "prompt", "") == "fail":
            raise RuntimeError("out of\nmemory")
        told = self.check(job)
        width, height = told.resolved.get("size") or job.size  # type: ignore[union-attr]
        count = told.resolved.get("frames") or (job.frames if isinstance(job, TextJob) else 1)
        frames = np.stack([_drawn(width, height, number / count, job.seed) for number in range(count)])
        record: dict[str, Any] = {
            "resolved": dict(told.resolved), "warnings": told.warnings, "tokens": told.tokens, "pairs": told.pairs,
            "flops": told.flops, "device": "fake", "seconds": told.flops / 1e10,
        }  # fmt: skip
        if isinstance(job, ScenesJob):
            starts = told.resolved["starts"]
            record["scenes"] = [
                {
                    "start": start, "frames": part.frames, "prompt": part.prompt, "reused": number == 1,
                    "why": "unchanged" if number == 1 else "not rendered before",
                }
                for number, (start, part) in enumerate(zip(starts, job.scenes, strict=True))
            ]  # fmt: skip
        if isinstance(job, LayoutJob):
            record["boxes"] = [
                {
                    "box": list(part.box),
                    "prompt": part.prompt,
                    "obeyed": round(0.9 - 0.5 * number, 3),
                    "rival": job.boxes[0].prompt,
                    "beats_rival": number < 2,
                }
                for number, part in enumerate(job.boxes)
            ]
            return Rendered(frames, record, None, [Attachment("-boxes.png", 255 - frames[0])])
        if isinstance(job, LayeredJob):
            layers = _layers(job, frames[0])
            flat = Image.fromarray(layers[0])
            for layer in layers[1:]:
                flat.alpha_composite(Image.fromarray(layer))
            names = ["background", *(part.prompt or f"layer {number}" for number, part in enumerate(job.layers, 1))]
            suffixes = [f"/{number:02d}.png" for number in range(len(layers))]
            record["layers"] = [
                {"name": name, "prompt": None, "box": [0, 0, 1, 1], "file": suffix[1:]}
                for name, suffix in zip(names, suffixes, strict=True)
            ]
            files = [Attachment(suffix, layer) for suffix, layer in zip(suffixes, layers, strict=True)]
            more = [Attachment("/composite.png", frames[0]), Attachment(".psd", b"8BPS"), Attachment(".ora", b"PK")]
            return Rendered(np.asarray(flat.convert("RGB"))[None], record, None, [*files, *more])
        return Rendered(frames, record, Fraction(8) if job.task == "masked" else None)


@dataclass
class Served:
    """A studio at work."""

    url: str
    queue: Queue
    folder: Path
    engine: StagedEngine

    def client(self) -> Client:
        return Client(self.url, verbose=False, httpx_kwargs={"timeout": PATIENCE})

    def get(self, path: str) -> httpx.Response:
        return httpx.get(f"{self.url}/{path}", timeout=PATIENCE, trust_env=False)

    def post(self, data: bytes) -> httpx.Response:
        return httpx.post(f"{self.url}/uploads", content=data, timeout=PATIENCE, trust_env=False)

    def call(self, name: str, *values: object) -> Any:
        """What a listener of the page answers, after which the page is closed."""
        client = self.client()
        try:
            return client.predict(*values, api_name=name)
        finally:
            client.close()


@contextmanager
def served(folder: Path, engine: StagedEngine | None = None) -> Iterator[Served]:
    """A studio over `folder` with a worker of its own, and the engine that it drives where it is not the usual one."""
    queue, engine = Queue(folder), engine or StagedEngine()
    page = app.serve(queue, folder, engine.check, "127.0.0.1", free_port())
    with working(queue, folder, engine):
        yield Served(page.local_url.rstrip("/"), queue, folder, engine)
    page.close(verbose=False)


def picture(width: int = 128, height: int = 96, seed: int = 1) -> bytes:
    """A PNG."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "picture.png"
        write_picture(path, _drawn(width, height, 0.5, seed), {})
        return path.read_bytes()


def video(width: int = 64, height: int = 64, frames: int = 9, fps: int = 8) -> bytes:
    """An MP4."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "video.mp4"
        shown = np.stack([_drawn(width, height, number / frames, 2) for number in range(frames)])
        write_video(path, shown, fps, {})
        return path.read_bytes()


def _layers(job: LayeredJob, ground: np.ndarray) -> list[np.ndarray]:
    """[H, W, 4] the background and each layer, a flat colour in its box; what is given is as it is given."""
    height, width = ground.shape[:2]
    layers = [np.dstack([ground, np.full((height, width), 255, np.uint8)])]
    if job.background:
        layers = [read_picture(Path(job.background))]
    for number, part in enumerate(job.layers):
        if part.source:
            layers.append(read_picture(Path(part.source)))
            continue
        x0, y0, x1, y1 = (round(side * size) for side, size in zip(part.box, (width, height) * 2, strict=True))
        layer = np.zeros((height, width, 4), np.uint8)
        layer[y0:y1, x0:x1] = [(214, 48, 49, 255), (48, 92, 204, 255), (58, 157, 84, 255)][(number + job.seed) % 3]
        layers.append(layer)
    return layers


def _drawn(width: int, height: int, time: float, seed: int) -> np.ndarray:
    """[H, W, 3] a disc on its way across a coloured ground."""
    y, x = np.mgrid[:height, :width]
    ground = np.array([(184, 214, 232), (240, 226, 196), (196, 226, 186)][seed % 3], np.uint8)
    disc = (x - width * (0.2 + 0.6 * time)) ** 2 + (y - height / 2) ** 2 < (0.16 * min(width, height)) ** 2
    frame = np.broadcast_to(ground, (height, width, 3)).copy()
    frame[disc] = (214, 48, 49)
    return frame
