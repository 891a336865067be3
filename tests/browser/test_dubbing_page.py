"""The Dubbing tab as a person uses it: a portrait and a voice are given, a face is picked, and the result plays."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.estimate import Rendered
from pipelines.files.media import write_video
from pipelines.job import Job
from tests.browser.conftest import Open, keep
from tests.paced import until
from tests.speaking import portrait, sound, still
from tests.staged import Served, StagedEngine, served
from tests.test_dubbing_parts import two

pytestmark = pytest.mark.slow

# A microphone that hums, for a machine that has none.
HUM = """
navigator.mediaDevices.getUserMedia = async () => {
  const context = new AudioContext(), out = context.createMediaStreamDestination(), tone = context.createOscillator();
  tone.connect(out); tone.start(); await context.resume();
  return out.stream;
};
"""


class HearingEngine(StagedEngine):
    """Renders dubbings for real."""

    def _one(self, job: Job) -> Rendered:
        return self._engine.render([job], lambda step, steps: True)[0]


@pytest.fixture(scope="module")
def studio(chromium: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("studio"), HearingEngine()) as studio:
        yield studio


def give(page: Any, face: Path, voice: Path | None = None) -> None:
    page.set_input_files("#dubbing-source input[type=file]", str(face))
    page.wait_for_selector("#dubbing-face .frame img")
    if voice is not None:
        page.set_input_files("#dubbing-audio input[type=file]", str(voice))
        page.wait_for_selector("#dubbing-audio audio")


def quick(page: Any) -> None:
    """As few steps as there can be."""
    page.fill("#dubbing-steps input[type=number]", "1")


def render(studio: Served, page: Any) -> dict[str, Any]:
    """Press Render, wait for the result, and return the job."""
    before = len(studio.queue.rows())
    page.click("#dubbing-render")
    until(lambda: len(studio.queue.rows()) > before)
    row = studio.queue.rows(1)[0]
    page.wait_for_selector(f"#dubbing-easel .stage.done[data-id='{row.id}'] [data-dubbed]")
    return dict(row.job)


def test_a_picked_face_says_what_a_voice_says(studio: Served, visit: Open, tmp_path: Path) -> None:
    page = visit(tab="Dubbing")
    page.wait_for_selector("#dubbing-plan >> text=Give a face first")
    assert not page.locator("#dubbing-deaf .note").count()
    give(page, still(tmp_path / "zwei Gesichter.png", two()))
    page.wait_for_selector("#dubbing-plan >> text=Give a voice")
    page.set_input_files("#dubbing-audio input[type=file]", str(sound(tmp_path / "a.wav", 0.4)))
    page.wait_for_selector("#dubbing-audio audio")
    until(lambda: abs(page.evaluate("document.querySelector('#dubbing-audio audio').duration || 0") - 0.4) < 0.01)
    faces = page.locator("#dubbing-face [data-box]")
    assert faces.count() == 2 and page.get_attribute("#dubbing-face [data-part=any]", "aria-pressed") == "true"
    faces.nth(1).focus()
    page.keyboard.press("Enter")
    assert faces.nth(1).get_attribute("aria-pressed") == "true"
    quick(page)
    page.wait_for_selector("#dubbing-plan .legend >> text=speech")
    until(lambda: "10 frames, 0.4 s" in page.inner_text("#dubbing-cost"))
    keep(page, "dubbing")
    job = render(studio, page)
    assert job["face"] is not None and job["face"][0] > 0.6 and job["model"] == "papercut"
    page.wait_for_selector("#dubbing-easel .over-time polyline")
    made = "document.querySelector('#dubbing-easel [data-made]')"
    until(lambda: page.evaluate(f"{made}.readyState") >= 1)
    assert page.evaluate(f"{made}.muted") is False and page.evaluate(f"{made}.paused") is True
    keep(page, "dubbing-done")


def test_a_box_is_drawn_by_hand_and_moved_by_the_keyboard(studio: Served, visit: Open, tmp_path: Path) -> None:
    page = visit(tab="Dubbing")
    give(page, still(tmp_path / "face.png", portrait(1)[0]), sound(tmp_path / "a.wav", 0.2))
    frame = page.locator("#dubbing-face .frame")
    frame.scroll_into_view_if_needed()
    edge = frame.bounding_box()
    assert edge is not None
    page.mouse.move(edge["x"] + 0.2 * edge["width"], edge["y"] + 0.3 * edge["height"])
    page.mouse.down()
    page.mouse.move(edge["x"] + 0.7 * edge["width"], edge["y"] + 0.9 * edge["height"], steps=5)
    page.mouse.up()

    def box() -> list[float]:
        return [round(side, 2) for side in page.evaluate("JSON.parse(window.diorama.face())")]

    assert all(abs(a - b) < 0.02 for a, b in zip(box(), [0.2, 0.3, 0.7, 0.9], strict=True))
    drawn = box()
    page.locator("#dubbing-face [data-part=own]").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Alt+ArrowUp")
    moved = [drawn[0] + 0.01, drawn[1], drawn[2] + 0.01, drawn[3] - 0.01]
    assert all(abs(a - b) < 0.006 for a, b in zip(box(), moved, strict=True))
    page.get_by_role("button", name="The largest face").click()
    assert page.evaluate("window.diorama.face()") == "" and not page.locator("[data-part=own]").is_visible()
    page.get_by_text("The whole picture", exact=True).click()
    until(lambda: not frame.is_visible())


def test_the_source_plays_along_with_the_result(studio: Served, visit: Open, tmp_path: Path) -> None:
    write_video(tmp_path / "face.mp4", portrait(15), 25, {"job": {}})
    page = visit(tab="Dubbing")
    give(page, tmp_path / "face.mp4", sound(tmp_path / "a.wav", 1.0))  # 25 frames: forwards, and back again
    quick(page)
    until(lambda: "25 frames, 1 s" in page.inner_text("#dubbing-cost"))
    render(studio, page)
    made, given = (f"document.querySelector('#dubbing-easel video[data-{name}]')" for name in ("made", "given"))
    until(lambda: page.evaluate(f"Math.min({made}.readyState, {given}.readyState)") >= 2)
    for at, shown in ((0.2, 5), (0.9, 28 - 22)):  # seconds of the result, and the frame of the source
        page.evaluate(f"{made}.currentTime = {at + 0.01}")
        until(lambda: abs(page.evaluate(f"{given}.currentTime") * 25 - shown - 0.5) < 0.6)  # noqa: B023 - at once
    page.evaluate(f"{made}.currentTime = 0")
    page.click("#dubbing-easel [data-both]")
    until(lambda: page.evaluate(f"{made}.currentTime > 0.1 && {given}.currentTime > 0.05"))
    page.click("#dubbing-easel [data-both]")
    until(lambda: page.evaluate(f"{made}.paused && {given}.paused"))
    assert float(page.evaluate("parseFloat(document.querySelector('[data-head]').style.left)")) > 0


def test_a_voice_is_recorded_on_the_page(studio: Served, visit: Open) -> None:
    page = visit(tab="Dubbing")
    page.evaluate(HUM)
    page.get_by_role("button", name="Record", exact=True).click()
    page.wait_for_selector("#dubbing-audio [data-record][aria-pressed=true]")
    until(lambda: page.inner_text("#dubbing-audio [data-record]") not in ("Stop (0 s)", "Record"))
    page.click("#dubbing-audio [data-record]")
    page.wait_for_selector("#dubbing-audio audio")
    assert "a voice of" in page.inner_text("#dubbing-audio")
    page.click("#dubbing-audio [data-away]")
    page.wait_for_selector("#dubbing-audio audio", state="detached")


def test_what_has_no_sound_is_said_where_it_was_dropped(studio: Served, visit: Open, tmp_path: Path) -> None:
    write_video(tmp_path / "mute.mp4", portrait(3), 25, {"job": {}})
    page = visit(390, 844, tab="Dubbing")
    page.set_input_files("#dubbing-audio input[type=file]", str(tmp_path / "mute.mp4"))
    page.wait_for_selector("#dubbing-audio .bad >> text=no audio stream")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    keep(page, "phone-dubbing")
