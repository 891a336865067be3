"""A studio whose tabs are called as they are, without a server or a browser, for the tests of the tabs."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image
from starlette.applications import Starlette
from starlette.testclient import TestClient

from pipelines.queue.queue import Queue, Row
from tests.paced import over, working
from tests.staged import StagedEngine
from ui import boxes, layered, layout, masked, scenes
from ui import text as still
from ui import video as moving
from ui.fields import Form
from ui.files import routes
from ui.pace import Pace
from ui.page import build
from ui.studio import Studio
from ui.uploads import Uploads

Lay = Callable[[Studio], Form]
LAYS: Mapping[str, Lay] = {
    "text": still.lay, "video": moving.lay, "scenes": scenes.lay, "masked": lambda studio: masked.Masked(studio).form,
    "layout": layout.lay, "layered": lambda studio: layered.Layered(studio).form,
}  # fmt: skip
SCENES = [{"prompt": "a red star", "frames": 12}, {"prompt": "a blue heart", "frames": 4, "seed": 5}]


@dataclass
class House:
    """A studio that is not served: its forms and its listeners are called as they are."""

    studio: Studio
    engine: StagedEngine

    def form(self, tab: str) -> Form:
        with gr.Blocks():
            return LAYS[tab](self.studio)

    def page(self) -> gr.Blocks:
        return build(self.studio.queue, self.studio.folder, self.engine.check)

    def done(self, job: Any) -> Row:
        id = self.studio.queue.add(job)
        with working(self.studio.queue, self.studio.folder, self.engine):
            return over(self.studio.queue, id)


def house_at(folder: Path) -> House:
    """A house over `folder`, which is made."""
    queue, engine = Queue(folder), StagedEngine()
    return House(Studio(queue, folder, engine.check, str, Uploads(folder), Pace(queue, folder)), engine)


def take(house: House, data: bytes) -> str:
    path = house.studio.folder / "given"
    path.write_bytes(data)
    return house.studio.uploads.keep(path).id


def drawing(width: int, height: int, box: tuple[int, int, int, int]) -> str:
    """What the page's canvas sends: white where something is painted."""
    levels = np.zeros((height, width), np.uint8)
    left, top, right, bottom = box
    levels[top:bottom, left:right] = 255
    buffer = io.BytesIO()
    Image.fromarray(levels).save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def values(form: Form, **changes: Any) -> list[Any]:
    """What the page sends when its fields are as at the beginning but for `changes`."""
    sent = {field.name: field.part.value for field in form.fields} | changes
    assert set(changes) <= {field.name for field in form.fields}
    return list(sent.values())


def client(house: House) -> TestClient:
    return TestClient(Starlette(routes=routes(house.studio.queue, house.studio.folder)))


def called(page: gr.Blocks, name: str) -> Any:
    return next(each.fn for each in page.fns.values() if each.api_name == name)


def drawn(*rows: dict[str, Any]) -> str:
    """What the page sends of an editor with these boxes."""
    return json.dumps([boxes.part_of(**row) for row in rows])
