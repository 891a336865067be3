"""What the server keeps of the pages that are open: little, never more than a number of them, and nothing they need."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
import httpx
import pytest

import app
from pipelines.queue.queue import Queue
from tests.paced import PATIENCE, free_port
from tests.staged import StagedEngine
from ui import page as pages
from ui.page import build

FEW = 2


@dataclass
class Served:
    page: Any
    queue: Queue
    url: str

    def sessions(self) -> list[str]:
        """The pages that are kept in mind, the oldest first."""
        return [*self.page.state_holder.session_data]

    def press(self, session: str, name: str, **changes: Any) -> list[Any]:
        """What a listener answers to a page whose fields are as at the beginning but for `changes`, by element id."""
        listener = next(each for each in self.page.fns.values() if each.api_name == name)
        ids = [(part.elem_id or "").replace("-", "_") for part in listener.inputs]
        assert set(changes) <= set(ids)
        data = [changes.get(id, part.value) for id, part in zip(ids, listener.inputs, strict=True)]
        answer = httpx.post(
            f"{self.url}/gradio_api/run/predict",
            json={"data": data, "fn_index": listener._id, "session_hash": session},
            timeout=PATIENCE,
            trust_env=False,
        )
        assert answer.status_code == 200, answer.text
        return list(answer.json()["data"])


@pytest.fixture
def studio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setattr(pages, "SESSIONS", FEW)
    queue, engine = Queue(tmp_path / "out"), StagedEngine()
    page = app.serve(queue, tmp_path / "out", engine.check, "127.0.0.1", free_port())
    yield Served(page, queue, page.local_url.rstrip("/"))
    page.close(verbose=False)


def test_a_page_that_only_looks_is_not_kept_in_mind(studio: Served) -> None:
    for place in ("text?follows=", "queue", "history", "models?at=64x64x1", "grid?id=", "verdict?id="):
        answer = httpx.get(f"{studio.url}/watch/{place}", timeout=PATIENCE, trust_env=False)
        assert answer.status_code == 200 and answer.json()["mark"]
    assert studio.sessions() == []


def test_a_page_whose_place_another_took_goes_on_as_if_nothing_had_been(studio: Served) -> None:
    problem, first, easel, *_ = studio.press("page1", "render_text", text_prompt="a star")
    assert problem == "" and f'data-id="{first}"' in easel
    for number in range(2, 6):
        studio.press(f"page{number}", "plan_text", text_prompt="a ring")
    assert studio.sessions() == ["page4", "page5"]
    problem, again, easel, *_ = studio.press("page1", "render_text", text_prompt="a star", text_steps=3)
    assert problem == "" and f'data-id="{again}"' in easel and studio.sessions() == ["page5", "page1"]
    assert [row.id for row in studio.queue.active()] == [first, again]


def test_no_field_is_judged_by_what_the_server_remembers_of_a_page(tmp_path: Path) -> None:
    """A list that was brought up to date for a page is as at the beginning once the page was forgotten."""
    page = build(Queue(tmp_path), tmp_path, StagedEngine().check)
    judged = (gr.Dropdown, gr.Radio, gr.Slider)
    read = {part._id: part for each in page.fns.values() if each.fn for part in each.inputs if isinstance(part, judged)}
    assert len(read) > 20
    for part in read.values():
        part.preprocess(10**6 if isinstance(part, gr.Slider) else "one that came later")


def test_no_press_goes_through_gradios_queue(tmp_path: Path) -> None:
    """It remembers every event for as long as the server runs."""
    page = build(Queue(tmp_path), tmp_path, StagedEngine().check)
    queued = [each.name for each in page.fns.values() if each.fn is not None and each.queue]
    assert queued == []
