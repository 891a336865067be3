"""The tabs for video, masked and scenes as a person uses them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.browser.conftest import Open, keep, name_of, turn_to
from tests.paced import until
from tests.staged import Served, picture, video

pytestmark = pytest.mark.slow


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "picture.png").write_bytes(picture(128, 96))
    (tmp_path / "video.mp4").write_bytes(video(64, 64, frames=9))
    mask = np.zeros((96, 128), np.uint8)
    mask[:, :32], mask[:, 32:48] = 255, 128
    Image.fromarray(mask).save(tmp_path / "mask.png")
    return tmp_path


def job_of(studio: Served) -> dict[str, Any]:
    return dict(studio.queue.rows(1)[0].job)


def render(studio: Served, page: Any, tab: str) -> str:
    """Press Render, wait until the easel shows what came of it, and return the row's id."""
    before = len(studio.queue.rows())
    page.click(f"#{tab}-render")
    until(lambda: len(studio.queue.rows()) > before)
    id = studio.queue.rows(1)[0].id
    page.wait_for_selector(f"#{tab}-easel .stage.done[data-id='{id}'] .mount")
    return id


def give(page: Any, path: Path) -> None:
    page.set_input_files("#masked-source input[type=file]", str(path))
    page.wait_for_selector("#masked-source .drop-here img")


def paint(page: Any, start: tuple[int, int], end: tuple[int, int]) -> None:
    """Draw a line between two places, in the picture's pixels."""
    canvas = page.wait_for_selector("#masked-canvas canvas")
    canvas.scroll_into_view_if_needed()
    box, width = canvas.bounding_box(), int(canvas.get_attribute("width"))
    scale = box["width"] / width
    (left, top), (right, bottom) = ((box["x"] + x * scale, box["y"] + y * scale) for x, y in (start, end))
    page.mouse.move(left, top)
    page.mouse.down()
    page.mouse.move(right, bottom, steps=6)
    page.mouse.up()


def shown(page: Any, tab: str, words: str) -> None:
    """Wait until plan and cost say `words`."""
    until(lambda: words in page.inner_text(f"#{tab}-plan") + page.inner_text(f"#{tab}-cost"))


def test_words_become_a_video_that_plays(studio: Served, visit: Open) -> None:
    page = visit(tab="Video")
    page.fill("#video-prompt textarea", "a red star in a meadow")
    page.fill("#video-seconds input[type=number]", "0.5")
    page.check("#video-frames input")
    shown(page, "video", "4 frames, 0.5 s")
    page.wait_for_selector("#video-plan img")
    render(studio, page, "video")
    film = page.wait_for_selector("#video-easel video")
    until(
        lambda: page.evaluate("film => !film.paused && film.loop && film.currentTime && film.videoWidth", film) == 128
    )
    page.click("#video-easel summary")
    assert page.locator("#video-easel .thumbs img").count() == 4
    keep(page, "video")
    packed = studio.get(page.get_attribute("#video-easel a[href$='frames.zip']", "href"))
    assert packed.content[:2] == b"PK" and packed.headers["content-disposition"].startswith("attachment")


def test_what_is_painted_is_what_is_made_new(studio: Served, visit: Open, files: Path) -> None:
    page = visit(tab="Masked")
    page.wait_for_selector("#masked-plan >> text=Give a picture or a video first.")
    give(page, files / "picture.png")
    page.wait_for_selector("#masked-plan >> text=Paint over what is to be made new.")
    paint(page, (20, 30), (60, 30))
    page.wait_for_selector("#masked-plan .legend >> text=given")
    page.fill("#masked-prompt textarea", "a yellow star on a blue background")
    keep(page, "masked")
    render(studio, page, "masked")
    keep(page, "masked-done")
    job = job_of(studio)
    levels = np.asarray(Image.open(job["mask"]))
    assert levels.shape == (96, 128) and levels[30, 20:60].min() == 255
    ys, xs = np.nonzero(levels)  # a brush of 22 pixels around the line
    assert np.abs(np.array([xs.min(), xs.max(), ys.min(), ys.max()]) - [9, 71, 19, 41]).max() <= 2
    assert job["prompt"] == "a yellow star on a blue background"


def test_strokes_can_be_erased_taken_back_and_turned_round(studio: Served, visit: Open, files: Path) -> None:
    page = visit(tab="Masked")
    give(page, files / "picture.png")

    def painted() -> int:
        return int(page.evaluate(
            "() => { const c = document.querySelector('#masked-canvas canvas');"
            "const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; let n = 0;"
            "for (let i = 3; i < d.length; i += 4) n += d[i] > 127; return n; }"
        ))  # fmt: skip

    paint(page, (20, 30), (100, 30))
    whole = painted()
    page.get_by_role("button", name="Erase").click()
    paint(page, (60, 30), (100, 30))
    assert 0 < painted() < whole
    page.get_by_role("button", name="Undo").click()
    assert painted() == whole
    page.get_by_role("button", name="Invert").click()
    assert painted() == 128 * 96 - whole
    page.get_by_role("button", name="Clear").click()
    assert painted() == 0
    page.wait_for_selector("#masked-plan >> text=Paint over what is to be made new.")


def test_a_mask_from_a_file_keeps_its_levels(studio: Served, visit: Open, files: Path) -> None:
    page = visit(tab="Masked")
    give(page, files / "picture.png")
    page.set_input_files("#masked-canvas input[type=file]", str(files / "mask.png"))
    page.wait_for_selector("#masked-plan .legend >> text=given")
    render(studio, page, "masked")
    levels = np.asarray(Image.open(job_of(studio)["mask"]))
    assert np.array_equal(levels, np.asarray(Image.open(files / "mask.png")))


def test_frames_are_kept_by_a_press(studio: Served, visit: Open, files: Path) -> None:
    page = visit(tab="Masked")
    give(page, files / "video.mp4")
    page.wait_for_selector("#masked-strip [role=checkbox] >> nth=8")
    page.get_by_role("button", name="First and last").click()
    until(lambda: page.input_value("#masked-keep textarea, #masked-keep input") == "0,8")
    page.wait_for_selector("#masked-strip [data-number='8'][aria-checked=true]")
    page.get_by_label("Keep frame 7").click()
    until(lambda: page.input_value("#masked-keep textarea, #masked-keep input") == "0,7-8")
    shown(page, "masked", "9 frames")
    keep(page, "masked-video")
    render(studio, page, "masked")
    job = job_of(studio)
    assert (job["keep_frames"], job["mask"]) == ("0,7-8", None)


def test_what_is_no_picture_is_said_where_it_was_dropped(studio: Served, visit: Open, files: Path) -> None:
    page = visit(tab="Masked")
    (files / "words.png").write_text("these are words")
    page.set_input_files("#masked-source input[type=file]", str(files / "words.png"))
    page.wait_for_selector("#masked-source .bad >> text=can not be read")


def test_a_table_of_scenes_becomes_a_video_with_its_scenes_marked(studio: Served, visit: Open) -> None:
    page = visit(tab="Scenes")
    page.fill("[data-scene] >> nth=0 >> [data-field=prompt]", "a red star in a meadow")
    page.fill("[data-scene] >> nth=0 >> [data-field=seconds]", "1")
    page.get_by_role("button", name="Add a scene").click()
    page.fill("[data-scene] >> nth=1 >> [data-field=prompt]", "a blue heart by the sea")
    page.select_option("[data-scene] >> nth=1 >> [data-field=transition]", "crossfade")
    page.fill("[data-scene] >> nth=1 >> [data-field=transition_frames]", "2")
    page.fill("[data-scene] >> nth=1 >> [data-field=seed]", "7")
    page.get_by_role("button", name="Duplicate: Scene 2").click()
    page.wait_for_selector("[data-scene] >> nth=2")
    page.fill("[data-scene] >> nth=2 >> [data-field=prompt]", "a yellow ring under a night sky")
    page.get_by_role("button", name="Move up: Scene 3").click()
    until(lambda: page.input_value("[data-scene] >> nth=1 >> [data-field=prompt]") == "a yellow ring under a night sky")
    shown(page, "scenes", "3 scenes, 20 frames, 2.5 s")
    page.wait_for_selector("#scenes-plan .passes .labels >> text=3")
    page.get_by_text("1", exact=True).locator("visible=true").last.click()
    keep(page, "scenes")
    render(studio, page, "scenes")
    film = page.wait_for_selector("#scenes-easel video")
    scenes = [(part["prompt"], part["frames"], part["transition"], part["seed"]) for part in job_of(studio)["scenes"]]
    assert scenes == [
        ("a red star in a meadow", 8, "cut", None), ("a yellow ring under a night sky", 8, "crossfade", 7),
        ("a blue heart by the sea", 8, "crossfade", 7),
    ]  # fmt: skip
    assert page.locator("#scenes-easel .marks li").count() == 3
    page.wait_for_selector("#scenes-easel .marks >> text=used again")
    keep(page, "scenes-done")
    page.evaluate("film => film.pause()", film)
    page.click("#scenes-easel [data-seek] >> nth=2")
    until(lambda: page.evaluate("film => film.currentTime >= 1.4", film))


def test_what_was_typed_last_is_what_is_rendered(studio: Served, visit: Open) -> None:
    page = visit(tab="Scenes")
    page.fill("[data-scene] >> nth=0 >> [data-field=seconds]", "0.5")
    page.fill("[data-scene] >> nth=0 >> [data-field=prompt]", "a first thought")
    page.fill("[data-scene] >> nth=0 >> [data-field=prompt]", "a second thought")
    render(studio, page, "scenes")  # at once, before anything typed can have been sent
    assert job_of(studio)["scenes"][0]["prompt"] == "a second thought"


def test_what_is_wrong_in_a_row_is_said_under_the_table(studio: Served, visit: Open) -> None:
    before = len(studio.queue.rows())
    page = visit(tab="Scenes")
    page.fill("[data-scene] >> nth=0 >> [data-field=prompt]", "a red star")
    page.fill("[data-scene] >> nth=0 >> [data-field=seed]", "seven")
    page.wait_for_selector("#scenes-form .slot .note >> text=Scene 1, seed: expected a whole number, got 'seven'")
    page.click("#scenes-render")
    page.wait_for_timeout(300)
    page.wait_for_selector("#scenes-form .slot .note >> text=Scene 1, seed")
    assert len(studio.queue.rows()) == before


def test_an_earlier_video_goes_on_and_a_part_of_it_is_changed(studio: Served, visit: Open) -> None:
    page = visit(tab="Video")
    page.fill("#video-prompt textarea", "a green square in a meadow")
    page.fill("#video-width input[type=number]", "96")
    page.fill("#video-seconds input[type=number]", "0.5")
    name = name_of(studio, render(studio, page, "video"))
    turn_to(page, "History")
    page.click(f".print[data-name='{name}']")
    page.click("#go-on")
    page.wait_for_selector("#scenes-form .continues >> text=a green square in a meadow")
    shown(page, "scenes", "16 frames, 2 s")  # four that were there, and twelve
    assert page.input_value("#scenes-width input[type=number]") == "96"
    page.fill("[data-scene] >> nth=0 >> [data-field=prompt]", "a green square by the sea")
    render(studio, page, "scenes")
    assert Path(job_of(studio)["continue_from"]).is_file()
    turn_to(page, "History")
    page.click(f".print[data-name='{name}']")
    page.click("#change")
    page.wait_for_selector("#masked-source .drop-here img")
    page.wait_for_selector("#masked-canvas canvas")


def test_settings_of_every_tab_come_back_from_the_history(studio: Served, visit: Open, files: Path) -> None:
    page = visit(tab="Masked")
    give(page, files / "picture.png")
    paint(page, (20, 30), (60, 30))
    page.fill("#masked-prompt textarea", "a yellow star")
    render(studio, page, "masked")
    job = job_of(studio)
    later = visit()
    turn_to(later, "History")
    later.click(".print >> nth=0")
    later.click("#use")
    later.wait_for_selector("#masked-canvas canvas")
    later.wait_for_selector("#masked-plan .legend >> text=given")
    render(studio, later, "masked")
    assert job_of(studio) == job


def test_a_mask_is_painted_with_a_finger(studio: Served, visit: Open, files: Path) -> None:
    page = visit(390, 844, tab="Masked")
    give(page, files / "picture.png")
    paint(page, (20, 30), (60, 60))
    page.wait_for_selector("#masked-plan .legend >> text=given")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    keep(page, "phone-masked-painted")
