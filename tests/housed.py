"""The page over a folder of outputs, without a browser, and how its answers are read."""

from __future__ import annotations

import re
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
from starlette.applications import Starlette
from starlette.testclient import TestClient

from pipelines.history.history import History, Search
from pipelines.queue.queue import Queue
from tests.staged import StagedEngine
from ui.files import routes
from ui.page import build
from ui.uploads import Uploads

EVIL = '"><img src=x onerror=alert(1)><script>alert(2)</script>'
NOTHING = ("", "", 0, [], "renders", "")  # what stands in the search at the beginning, and the first page


@dataclass
class House:
    """A page that is not served: its listeners are called as they are."""

    folder: Path
    page: gr.Blocks
    engine: StagedEngine

    @property
    def history(self) -> History:
        history = History(self.folder)
        history.refresh()
        return history

    def id(self, stem: str, binned: bool = False) -> str:
        found = self.history.search(Search(binned=binned), limit=1000).entries
        return next(entry.id for entry in found if entry.stem == stem)

    def listener(self, of: str, event: str) -> Any:
        """The listener of a component's event; components are known by their `elem_id`."""
        for each in self.page.fns.values():
            for id, name in each.targets:
                block = self.page.blocks.get(id)
                if block is not None and name == event and getattr(block, "elem_id", None) == of:
                    return each
        raise AssertionError(f"{of} does not listen to {event}")

    def call(self, of: str, event: str, *values: Any, **told: Any) -> dict[str, Any]:
        """What a listener answers, by the `elem_id` of its outputs, or their place."""
        each = self.listener(of, event)
        found = each.fn(*([SimpleNamespace(**told)] if told else values))
        found = found if isinstance(found, tuple | list) else [found]
        named = {}
        for place, (block, value) in enumerate(zip(each.outputs, found, strict=True)):
            named[getattr(block, "elem_id", None) or str(place)] = value
        return named


def house_of(folder: Path) -> House:
    """The page over `folder`, which is made."""
    folder.mkdir()
    engine = StagedEngine()
    return House(folder, build(Queue(folder), folder, engine.check), engine)


def kept(house: House, path: Path) -> str:
    """The id of a file of ours that was dropped."""
    return Uploads(house.folder).keep_recipe(path).id


def client(folder: Path) -> TestClient:
    return TestClient(Starlette(routes=[*routes(Queue(folder), folder), *Uploads(folder).routes()]))


def names(html: str) -> list[str]:
    return re.findall(r'data-name="([^"]*)"', html)


def said(value: Any) -> str:
    """A part of the page as words."""
    return unescape(re.sub(r"<[^>]*>", "", str(value))).strip()
