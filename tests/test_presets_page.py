"""Presets, levels and lists in prompts as the tabs have them, without a browser."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from pipelines.expansion.presets import FOLDER, Presets
from pipelines.expansion.wildcards import Wildcards
from pipelines.job import parse
from pipelines.queue.queue import Queue
from pipelines.refusal import Refusal
from tests.paced import over, working
from tests.staged import StagedEngine
from ui import expansion, keys, layered, layout, masked, scenes
from ui import text as still
from ui import video as moving
from ui.fields import DEEP, Form
from ui.levels import also
from ui.pace import Pace
from ui.page import build
from ui.presets import filling, settings_of, suiting
from ui.studio import Studio
from ui.uploads import Uploads

LAYS: dict[str, Callable[[Studio], Form]] = {
    "text": still.lay, "video": moving.lay, "scenes": scenes.lay, "layout": layout.lay,
    "masked": lambda studio: masked.Masked(studio).form, "layered": lambda studio: layered.Layered(studio).form,
}  # fmt: skip


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    folder = tmp_path / "out"
    queue = Queue(folder)
    return Studio(queue, folder, StagedEngine().check, str, Uploads(folder), Pace(queue, folder))


def form_of(studio: Studio, tab: str) -> Form:
    with gr.Blocks():
        return LAYS[tab](studio)


def values(form: Form, **changes: Any) -> list[Any]:
    sent = {field.name: field.part.value for field in form.fields} | changes
    assert set(changes) <= {field.name for field in form.fields}
    return list(sent.values())


def page_of(studio: Studio) -> gr.Blocks:
    return build(studio.queue, studio.folder, studio.check)


def called(page: gr.Blocks, name: str) -> Any:
    return next(each.fn for each in page.fns.values() if each.api_name == name)


def listener(page: gr.Blocks, elem_id: str, event: str) -> Any:
    """What the page does at an event of the part called `elem_id`."""
    part = next(block for block in page.blocks.values() if getattr(block, "elem_id", None) == elem_id)
    return next(each.fn for each in page.fns.values() if (part._id, event) in each.targets)


# ------------------------------------------------------------ presets


def test_a_preset_fills_the_fields_that_it_names_and_no_others(studio: Studio) -> None:
    form = form_of(studio, "video")
    clip = Presets(studio.folder / FOLDER).get("clip")
    filled = dict(zip([field.name for field in form.fields], filling(form, clip, values(form)), strict=True))
    assert (filled["seconds"], filled["fps"], filled["png_frames"]) == (1.5, 8, True)
    assert all(filled[name] == gr.skip() for name in ("prompt", "seed", "steps", "size[0]", "model"))


def test_an_unfinished_form_takes_a_preset(studio: Studio) -> None:
    for tab in ("masked", "layout", "layered"):
        form = form_of(studio, tab)
        draft = Presets(studio.folder / FOLDER).get("draft")
        filled = dict(zip([field.name for field in form.fields], filling(form, draft, values(form)), strict=True))
        assert filled["steps"] == 10 and filled["seed"] == gr.skip()


def test_a_tab_offers_what_all_its_fields_can_show(studio: Studio) -> None:
    presets = Presets(studio.folder / FOLDER)
    offered = {tab: {each.name for each in suiting(presets, form_of(studio, tab))} for tab in LAYS}
    assert "clip" in offered["video"] and "clip" not in offered["text"]
    assert "story from scratch" in offered["scenes"] and "story from scratch" not in offered["video"]
    assert all("draft" in names for names in offered.values())
    assert "wide" in offered["text"] and "wide" not in offered["masked"]


@pytest.mark.parametrize("tab", sorted(LAYS))
def test_settings_that_are_kept_come_back_and_the_words_are_not_among_them(studio: Studio, tab: str) -> None:
    form, presets = form_of(studio, tab), Presets(studio.folder / FOLDER)
    page = values(form, prompt="a secret", steps=7, seed=99) if tab != "scenes" else values(form, steps=7, seed=99)
    kept = settings_of(form, page)
    assert kept["steps"] == 7 and not {"prompt", "seed", "name", "task"} & kept.keys()
    presets.save("mine", {"task": form.task, **kept})
    assert "mine" in {preset.name for preset in suiting(presets, form)}
    filled = dict(
        zip([field.name for field in form.fields], filling(form, presets.get("mine"), values(form)), strict=True)
    )
    assert filled["steps"] == 7 and filled["seed"] == gr.skip()


def test_the_row_keeps_renames_and_deletes_and_says_so(studio: Studio) -> None:
    page, form = page_of(studio), form_of(studio, "text")
    keep, fill = (listener(page, f"text-preset-{what}", "click") for what in ("keep", "fill"))
    rename, delete = (listener(page, f"text-preset-{what}", "click") for what in ("rename", "delete"))
    said, chosen = keep("night work", "", *values(form, steps=9))
    assert "Kept as “night work”" in said and chosen.value == "night work"
    said, *shown = fill("night work", *values(form))
    assert "Filled in from “night work”" in said and 9 in shown
    again, _ = keep("night work", "", *values(form, steps=8))
    assert "is the name of a preset already" in again
    again, _ = keep("night work", "night work", *values(form, steps=8))  # the chosen one is written over
    assert "Kept as" in again and Presets(studio.folder / FOLDER).get("night work").fields["steps"] == 8
    said, chosen = rename("day work", "night work")
    assert "is now called “day work”" in said and chosen.value == "day work"
    said, chosen = delete("day work")
    assert "is deleted" in said and chosen.value == "" and not list((studio.folder / FOLDER).glob("*.yaml"))


@pytest.mark.parametrize("name", ["", "  ", "../evil", "a/b", "<b>x</b>", "draft", "CON", "." * 3, "x" * 300])
def test_a_bad_name_is_refused_with_one_sentence_and_nothing_is_written(studio: Studio, name: str) -> None:
    page, form = page_of(studio), form_of(studio, "text")
    said, chosen = listener(page, "text-preset-keep", "click")(name, "", *values(form))
    assert said.count('class="note bad"') == 1 and "<b>x" not in said and chosen == gr.skip()
    assert not (studio.folder / FOLDER).exists()


def test_built_in_presets_stay(studio: Studio) -> None:
    page = page_of(studio)
    for what, sent in (("rename", ("mine", "draft")), ("delete", ("draft",)), ("delete", ("",)), ("delete", ("no",))):
        said, chosen = listener(page, f"text-preset-{what}", "click")(*sent)
        assert 'class="note bad"' in said and chosen == gr.skip()


# ------------------------------------------------------------ levels


def test_what_essentials_hides_is_named_when_it_is_unusual(studio: Studio) -> None:
    form = form_of(studio, "text")
    assert form.unusual(values(form)) == [] and also([]) == ""
    assert form.unusual(values(form, prompt="", negative_prompt="")) == [], "an empty field is sent as an empty text"
    told = form.unusual(values(form, guidance=3.5, scheduler="heun", negative_prompt="<b>grey</b>", seed=4, prompt="x"))
    assert told == ["leave out <b>grey</b>", "guidance 3.5", "scheduler heun"]
    assert "&lt;b&gt;grey" in also(told) and "<b>" not in also(told)
    _, cost, *_ = called(page_of(studio), "plan_text")(*values(form, prompt="a star", guidance=3.5))
    assert "Also set: guidance 3.5." in cost and 'data-level="everything"' in cost


def test_every_tab_shows_words_size_length_and_seed_at_both_levels(studio: Studio) -> None:
    shown = {tab: {field.name for field in form_of(studio, tab).fields if not field.deep} for tab in LAYS}
    assert shown["text"] == {"prompt", "size[0]", "size[1]", "seed"}
    assert shown["video"] == {"prompt", "size[0]", "size[1]", "seed", "seconds"}
    assert all("seed" in names for names in shown.values())
    for tab in LAYS:
        hidden = [field for field in form_of(studio, tab).fields if field.deep]
        assert hidden and all(DEEP in field.part.elem_classes for field in hidden)


# ------------------------------------------------------------ lists in prompts


def test_the_number_of_jobs_is_told_before_the_press(studio: Studio) -> None:
    form, page = form_of(studio, "text"), page_of(studio)
    sent = values(form, prompt="a {red|<b>blue</b>} {star|ring|heart}", negative_prompt="{grey|white}")
    _, cost, *_ = called(page, "plan_text")(*sent)
    assert 'data-several="12"' in cost and "makes 12 jobs" in cost and "6 of Prompt × 2 of Leave out" in cost
    assert "a red star; grey" in cost and "<b>blue" not in cost
    _, cost, *_ = called(page, "plan_text")(*values(form, prompt="a star"))
    assert "data-several" not in cost


def test_render_queues_every_combination_as_one_batch_and_records_tell_of_it(studio: Studio) -> None:
    form, page = form_of(studio, "text"), page_of(studio)
    written = "a {red|blue} star"
    problem, id, *_ = called(page, "render_text")(*values(form, prompt=written, steps=1), "all", 4)
    rows = list(reversed(studio.queue.rows()))
    assert (problem, id) == ("", "") and [row.job["prompt"] for row in rows] == ["a red star", "a blue star"]
    assert len({row.batch for row in rows}) == 1 and rows[0].batch
    with working(studio.queue, studio.folder, StagedEngine()):
        done = [over(studio.queue, row.id) for row in rows]
    for number, row in enumerate(done, 1):
        told = json.loads((studio.folder / row.files[-1]).read_text())["expanded_from"]
        assert told == {"expand": "all", "row": number, "of": 2, "fields": {"prompt": written}}


def test_draws_by_chance_have_a_seed_each_and_are_the_same_again(studio: Studio) -> None:
    lists = expansion.lists_of(studio.folder)
    job = {"task": "text", "prompt": "{a|b|c|d} {e|f|g|h}", "seed": 40}
    drawn = [row.values for row in expansion.rows(job, lists, ("random", 6.0))]
    assert [row["seed"] for row in drawn] == list(range(40, 46))
    assert drawn == [row.values for row in expansion.rows(job, lists, ("random", 6))]
    assert len({row["prompt"] for row in drawn}) > 1 and all(
        re.fullmatch("[a-d] [e-h]", row["prompt"]) for row in drawn
    )
    plain = list(expansion.rows({"task": "text", "prompt": "a star"}, lists, ("random", 6)))
    assert len(plain) == 1, "what has one reading is one job"


@pytest.mark.parametrize(
    ("prompt", "how", "words"),
    [
        ("{" + "|".join(f"w{n}" for n in range(501)) + "}", ("all", 1), "at most 500 jobs of one press, got 501"),
        ("{a|b", ("all", 1), "not closed"),
        ("__nowhere__", ("all", 1), "nowhere"),
        ("{a|b}", ("random", 0), "from 1 to 500, got 0"),
        ("{a|b}", ("random", None), "from 1 to 500"),
    ],
)
def test_a_prompt_that_can_not_be_expanded_is_refused_and_nothing_is_queued(
    studio: Studio, prompt: str, how: tuple[str, Any], words: str
) -> None:
    form, page = form_of(studio, "text"), page_of(studio)
    problem, *_ = called(page, "render_text")(*values(form, prompt=prompt), *how)
    assert words in problem and problem.count('class="note bad"') == 1 and studio.queue.rows() == []


def test_braces_of_an_earlier_job_are_braces_again(studio: Studio) -> None:
    for tab, job in (
        ("text", {"task": "text", "prompt": "a {b|c} __d__ \\{", "negative_prompt": "}"}),
        ("layout", {"task": "layout", "prompt": "x", "boxes": [{"box": [0, 0, 1, 1], "prompt": "{1..3}"}]}),
    ):
        form, wanted = form_of(studio, tab), parse(job)
        shown = dict(
            zip([field.name for field in form.fields], form.values(wanted.model_dump(mode="json")), strict=True)
        )
        if tab == "layout":
            assert "\\\\{1..3\\\\}" in shown["boxes"] or "\\{1..3\\}" in shown["boxes"].replace("\\\\", "\\")
            continue
        first = next(expansion.rows(form.job(list(shown.values())), Wildcards()))
        assert first.count == 1 and parse(first.values) == wanted


def test_lists_are_written_used_and_deleted(studio: Studio) -> None:
    page, form = page_of(studio), form_of(studio, "text")
    save, delete = listener(page, "list-save", "click"), listener(page, "list-delete", "click")
    said, chosen = save("ground", "# grounds\nred\n\nblue\n")
    assert "has 2 entries" in said and chosen.value == "ground"
    assert listener(page, "list", "input")("ground")[:2] == ("ground", "# grounds\nred\n\nblue\n")
    _, cost, *_ = called(page, "plan_text")(*values(form, prompt="on __ground__"))
    assert "makes 2 jobs" in cost
    for name, text in (("../x", "a"), ("a b", "a"), ("empty", "# only\n"), ("", "a")):
        said, _ = save(name, text)
        assert said.count('class="note bad"') == 1
    assert [path.name for path in (studio.folder / "wildcards").iterdir()] == ["ground.txt"]
    assert "is deleted" in delete("ground")[0] and "there is no list" in delete("ground")[0]
    assert "there is no list" in listener(page, "list", "input")("ground")[2] or not list(
        (studio.folder / "wildcards").iterdir()
    )


def test_a_link_in_the_folder_of_lists_leads_nowhere(studio: Studio, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    page = page_of(studio)
    listener(page, "list-save", "click")("mine", "a\nb")
    (studio.folder / "wildcards" / "link.txt").symlink_to(secret)
    assert "secret" not in str(listener(page, "list", "input")("link"))
    assert "there is no list" in listener(page, "list-delete", "click")("link")[0]
    listener(page, "list-save", "click")("link", "mine")
    assert secret.read_text() == "secret"


# ------------------------------------------------------------ keys


def test_the_sheet_of_keys_lists_every_tab_and_those_of_the_boxes(studio: Studio) -> None:
    html = keys.sheet()
    tabs = {block.id for block in page_of(studio).blocks.values() if isinstance(block, gr.Tab)}
    assert tabs <= {id for _, id in keys.TABS}
    assert len({letter for letter, _ in keys.TABS}) == len(keys.TABS)
    assert "Delete removes it" in html and "<kbd>Ctrl</kbd> <kbd>Enter</kbd>" in html


def test_a_preset_of_another_task_is_refused(studio: Studio) -> None:
    form = form_of(studio, "text")
    with pytest.raises(Refusal, match="expected scenes"):
        filling(form, Presets(studio.folder / FOLDER).get("story from scratch"), values(form))
