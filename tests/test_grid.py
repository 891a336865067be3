"""Grids: every cell is checked before one runs, equal ones are rendered once, and the page needs only its folder."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines import cli, job
from pipelines.expansion.wildcards import Wildcards
from pipelines.grid.grid import Axis, Grid, grid_of, read_grid
from pipelines.grid.page import export, page
from pipelines.refusal import Refusal, Refused
from tests.fakes import FakeEngine, groups

JOB: dict[str, Any] = {"task": "text", "prompt": "a red ring", "size": [16, 16], "steps": 1, "name": "g"}
NASTY = "<script>alert('x')</script> & \"</title>' onerror=\u202e ring"


def made(*axes: tuple[Any, ...] | Axis, **fields: Any) -> Grid:
    return Grid({**JOB, **fields}, tuple(axis if isinstance(axis, Axis) else Axis(*axis) for axis in axes))


def refused(document: object) -> Refusal:
    with pytest.raises(Refusal) as caught:
        grid_of(document)
    assert "\n" not in str(caught.value)
    return caught.value


class Seen(HTMLParser):
    """What a browser would read in a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


# The grid.


def test_the_first_axis_goes_across_the_second_down_and_the_third_from_table_to_table() -> None:
    grid = made(("guidance", (1.0, 2.0, 3.0)), ("seed", (7, 8)), ("steps", (1, 2)))
    assert [cell.name for cell in grid.cells[:7]] == [
        "g-1-1-1", "g-2-1-1", "g-3-1-1", "g-1-2-1", "g-2-2-1", "g-3-2-1", "g-1-1-2",
    ]  # fmt: skip
    assert [(job.guidance, job.seed, job.steps) for job in grid.jobs] == [
        (guidance, seed, steps) for steps in (1, 2) for seed in (7, 8) for guidance in (1.0, 2.0, 3.0)
    ]
    assert [job.name for job in grid.jobs] == [cell.name for cell in grid.cells]


def test_names_sort_as_their_cells() -> None:
    grid = made(("seed", tuple(range(11))))
    assert [job.name for job in grid.jobs] == sorted(f"g-{n:02d}" for n in range(1, 12))


def test_equal_cells_are_one_job() -> None:
    grid = made(("guidance", (1, 1.0, 2.0)), Axis("prompt", ("red", "blue", "red"), "red"))
    assert len(grid.cells) == 9 and len(grid.jobs) == 4
    assert [cell.index for cell in grid.cells] == [0, 0, 1, 2, 2, 3, 0, 0, 1]
    assert [job.name for job in grid.jobs] == ["g-1-1", "g-3-1", "g-1-2", "g-3-2"]


@given(counts=st.lists(st.integers(1, 4), min_size=1, max_size=3))
def test_every_cell_shows_the_job_with_its_values(counts: list[int]) -> None:
    fields = ("seed", "steps", "frames")[: len(counts)]
    axes = tuple(Axis(field, tuple(range(1, count + 1))) for field, count in zip(fields, counts, strict=True))
    grid = Grid(JOB, axes)
    for cell in grid.cells:
        values = [getattr(grid.jobs[cell.index], field) for field in fields]
        assert values == [at + 1 for at in cell.at]


def test_search_and_replace_takes_whole_words_wherever_its_axis_stands() -> None:
    words = Axis("prompt", ("blue", r"\1 g"), "red")
    for axes in ((words, Axis("prompt", ("a red, red ring", "bored red"))), (Axis("prompt", ("red red",)), words)):
        prompts = {job.prompt for job in made(*axes).jobs}  # type: ignore[union-attr]
        assert all("red" not in prompt.replace("bored", "").split() for prompt in prompts)
    assert "bored blue" in {job.prompt for job in made(words, ("prompt", ("bored red",))).jobs}  # type: ignore[union-attr]


def test_two_words_of_one_prompt_may_be_two_axes() -> None:
    grid = made(Axis("prompt", ("red", "blue"), "red"), Axis("prompt", ("ring", "star"), "ring"))
    assert [job.prompt for job in grid.jobs] == ["a red ring", "a blue ring", "a red star", "a blue star"]  # type: ignore[union-attr]


def test_a_grid_file_says_all_this_in_yaml(tmp_path: Path) -> None:
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "colour.txt").write_text("green\nwhite")
    file = tmp_path / "g.yaml"
    file.write_text(
        "job: {task: scenes, scenes: [{prompt: a red ring}, {prompt: b}]}\n"
        "axes:\n  - scenes[0].prompt: red -> [red, dark blue]\n  - seed: '{1..3}'\n"
        "  - scenes.1.prompt: a __colour__ c\n"
    )
    grid = read_grid(file, Wildcards(tmp_path / "w"))
    assert [(axis.field, axis.search, axis.values) for axis in grid.axes] == [
        ("scenes[0].prompt", "red", ("red", "dark blue")),
        ("seed", None, (1, 2, 3)),
        ("scenes[1].prompt", None, ("a green c", "a white c")),
    ]
    assert grid.name == "grid" and len(grid.jobs) == 12
    last = grid.jobs[-1]
    assert [scene.prompt for scene in last.scenes] == ["a dark blue ring", "a white c"]  # type: ignore[union-attr]
    assert grid.sources("g.yaml")[-1].expanded_from == {
        "grid": "grid",
        "cell": [2, 3, 2],
        "fields": {"scenes[0].prompt: red": "dark blue", "seed": 3, "scenes[1].prompt": "a white c"},
    }


@pytest.mark.parametrize(
    ("document", "field", "words"),
    [
        (3, "", "expected a mapping with job and axes, got 3"),
        ({"job": JOB}, "axes", "is missing"),
        ({"job": JOB, "axis": []}, "axis", "did you mean 'axes'?"),
        ({"job": 3, "axes": []}, "job", "expected a mapping with a task"),
        ({"job": JOB, "axes": {"seed": [1]}}, "axes", "expected a list such as"),
        ({"job": JOB, "axes": []}, "axes", "expected 1 to 3 axes, got 0"),
        ({"job": JOB, "axes": [{"seed": [1]}] * 4}, "axes", "expected 1 to 3 axes, got 4"),
        ({"job": JOB, "axes": [{"seed": [1], "steps": [1]}]}, "axes[0]", "expected one field and its values"),
        ({"job": JOB, "axes": [{"seed": []}]}, "axes[0]", "expected a list of values"),
        ({"job": JOB, "axes": [{"seed": 3}]}, "axes[0]", "expected a list of values"),
        ({"job": JOB, "axes": [{"a b": [1]}]}, "axes[0]", "expected a field such as guidance"),
        ({"job": JOB, "axes": [{"seed": [1]}, {"seed": [2]}]}, "axes[1]", "seed is on an axis already"),
        ({"job": JOB, "axes": [{"size": [[16, 16]]}, {"size[0]": [16]}]}, "axes[1]", "size[0] is on an axis already"),
        ({"job": JOB, "axes": [{"name": ["a", "b"]}]}, "axes[0]", "expected a field that changes the picture"),
        ({"job": JOB, "axes": [{"seed": "{1..51}"}, {"steps": "{1..50}"}]}, "axes", "got 2,550 (51 x 50); shorten"),
        ({"job": JOB, "axes": [{"seed": "{1..9999}"}]}, "axes[0]", "expected at most 2,500 values"),
        ({"job": JOB, "axes": [{"seed": "{1..2"}]}, "axes[0]", "at character 1: this brace is not closed"),
        ({"job": JOB, "axes": [{"prompt": "red -> [a"}]}, "axes[0]", "is not YAML"),
        ({"job": JOB, "axes": [{"prompt": "red -> [a, [b]"}]}, "axes[0]", "is not YAML"),
        ({"job": JOB, "axes": [{"sed": [1]}]}, "sed", "unknown key; did you mean 'seed'? (in cell g-1)"),
        ({"job": JOB, "axes": [{"steps": [1, 999]}]}, "steps", "got 999 (in cell g-2)"),
        ({"job": JOB, "axes": [{"prompt": "blue -> [a]"}]}, "prompt", "expected the words 'blue' to replace, got"),
        ({"job": JOB, "axes": [{"scenes[0].prompt": ["a"]}]}, "scenes", "unknown key"),
        ({"job": {**JOB, "name": "a/b"}, "axes": [{"seed": [1]}]}, "name", "expected a plain file name"),
        ({"job": {**JOB, "name": "con"}, "axes": [{"seed": [1]}]}, "name", "keep that name for a device"),
        ({"job": {**JOB, "name": "x" * 100}, "axes": [{"seed": [1]}]}, "name", "longer than 100"),
        ({"job": {**JOB, "name": 7}, "axes": [{"seed": [1]}]}, "name", "expected text, got 7"),
    ],
)  # fmt: skip
def test_what_is_no_grid_is_refused_by_its_place(document: object, field: str, words: str) -> None:
    found = refused(document)
    assert found.field == field
    assert words in found.reason


def test_a_task_that_is_not_built_is_refused_in_a_grid_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "BUILT", ("scenes",))
    found = refused({"job": JOB, "axes": [{"seed": [1]}]})
    assert found.field == "task" and "'text' is not built yet" in found.reason


def test_a_grid_file_is_named_in_its_refusal(tmp_path: Path) -> None:
    (tmp_path / "g.yaml").write_text("job: {}\n---\njob: {}\n")
    with pytest.raises(Refused, match=r"g\.yaml, document 1: expected one grid, got 2 documents"):
        read_grid(tmp_path / "g.yaml")


# The page.


def test_a_page_is_a_table_with_its_headings_pictures_and_links(tmp_path: Path) -> None:
    grid = made(("guidance", (1.0, 2.0)), ("seed", (7, 8, 9)), ("size", ([16, 16], [32, 16])))
    seen = Seen(page(grid, {index: f"p%20{index}.png" for index in range(11)}))
    assert [tag for tag, _ in seen.tags].count("table") == 2
    assert len(seen.all("td")) == 12 and len([one for one in seen.all("th") if one.get("scope") == "row"]) == 6
    assert "g-2-3-2 failed" in seen.words and "32 x 16" in seen.words
    pictures = seen.all("img")
    assert len(pictures) == 22 and all(picture["alt"] for picture in pictures)
    assert pictures[0] == {
        "src": "p%200.png", "width": "16", "height": "16", "loading": "lazy",
        "alt": "a red ring; guidance 1.0; seed 7; size 16 x 16",
    }  # fmt: skip
    targets = {one["id"] for one in seen.all("div") if "popover" in one}
    assert {one["popovertarget"] for one in seen.all("button")} == targets and len(targets) == 11
    assert all(one["tabindex"] == "0" and one["aria-label"] for one in seen.all("div") if one.get("role") == "region")


def test_a_page_of_one_axis_is_one_row() -> None:
    seen = Seen(page(made(("seed", (1, 2, 3))), {0: "a.png", 1: "b.png", 2: "c.png"}))
    assert len(seen.all("tr")) == 2 and len(seen.all("td")) == 3 and seen.all("h2") == []


def test_a_video_plays_silently_and_has_controls_where_it_is_large() -> None:
    seen = Seen(page(made(("seed", (1,)), frames=4), {0: "a.mp4"}))
    small, large = seen.all("video")
    assert {"loop", "muted", "playsinline"} <= small.keys() & large.keys()
    assert "controls" not in small and "controls" in large


def test_words_of_a_person_are_never_markup() -> None:
    prompt = Axis("prompt", (NASTY, "ring"), "ring")
    grid = made(prompt, ("negative_prompt", (NASTY, "</style><b>")), prompt="a ring", name="it's & so")
    text = page(grid, {index: "a.png" for index in range(len(grid.jobs))})
    seen = Seen(text)
    assert [tag for tag, _ in seen.tags].count("script") == 1 and [tag for tag, _ in seen.tags].count("style") == 1
    assert {tag for tag, _ in seen.tags} <= {
        "html", "meta", "title", "style", "h1", "bdi", "details", "summary", "dl", "dt", "dd", "div", "table", "thead",
        "tr", "th", "br", "tbody", "td", "button", "img", "a", "script",
    }  # fmt: skip
    assert not any(name.startswith("on") for _, attributes in seen.tags for name in attributes)
    assert any(NASTY in (picture["alt"] or "") for picture in seen.all("img"))
    assert "<script>alert" not in text.replace(text[text.index("<script>\n") :], "")


@given(text=st.text(st.characters(exclude_categories=("Cs",)), min_size=1).filter(str.strip))
def test_any_prompt_makes_the_same_tags(text: str) -> None:
    plain = Seen(page(made(("seed", (1, 2))), {0: "a.png", 1: "b.png"}))
    seen = Seen(page(made(("seed", (1, 2)), prompt=text), {0: "a.png", 1: "b.png"}))
    assert [tag for tag, _ in seen.tags] == [tag for tag, _ in plain.tags]


def test_the_page_asks_nothing_of_any_other_place() -> None:
    text = page(made(("seed", (1, 2)), prompt="see http://example.org"), {0: "a.png"})
    seen = Seen(text)
    addresses = [value for _, attributes in seen.tags for key, value in attributes.items() if key in ("src", "href")]
    assert addresses and all(re.fullmatch(r"[\w%./-]+", address or "") for address in addresses)
    policy = seen.all("meta")[1]["content"] or ""
    assert policy.startswith("default-src 'none'; ") and "unsafe" not in policy and "http" not in policy
    assert "url(" not in text and "@import" not in text


# The command.


def call(folder: Path, document: dict[str, Any], *options: str) -> int:
    file = folder / "grid.json"
    file.write_text(json.dumps(document))
    return cli.main(["grid", str(file), "--out", str(folder / "out"), *options], engine=(FakeEngine(), groups))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "out").iterdir() if path.name != "batch")


def test_the_command_renders_one_batch_and_a_page_beside_the_pictures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = {"job": {**JOB, "name": "my grid"}, "axes": [{"seed": [7, 8, 7]}, {"prompt": "red -> [red, blue]"}]}
    assert call(tmp_path, document) == 0
    pictures = [f"my grid-{x}-{y}.png" for y in (1, 2) for x in (1, 2)]
    assert names(tmp_path) == sorted(["my grid.html", *pictures, *(name.replace(".png", ".json") for name in pictures)])
    said = capsys.readouterr().out
    assert said == f"4 of 4 rendered for 6 cells: {tmp_path / 'out' / 'my grid.html'}\n"
    seen = Seen((tmp_path / "out" / "my grid.html").read_text())
    shown = [unquote(one["src"] or "") for one in seen.all("img")][:6]
    assert shown == [f"my grid-{x}-{y}.png" for y in (1, 2) for x in (1, 2, 1)]
    assert all((tmp_path / "out" / name).is_file() for name in shown)
    record = json.loads((tmp_path / "out" / "my grid-2-2.json").read_text())
    assert record["expanded_from"] == {"grid": "my grid", "cell": [2, 2], "fields": {"seed": 8, "prompt: red": "blue"}}


def test_the_same_grid_again_is_the_same_bytes_and_another_gets_a_page_of_its_own(tmp_path: Path) -> None:
    first = {"job": JOB, "axes": [{"seed": [1, 2]}]}
    call(tmp_path, first)
    before = (tmp_path / "out" / "g.html").read_bytes()
    call(tmp_path, first)
    assert (tmp_path / "out" / "g.html").read_bytes() == before
    call(tmp_path, {"job": JOB, "axes": [{"seed": [3, 4]}]})
    assert (tmp_path / "out" / "g.html").read_bytes() == before
    assert [name for name in names(tmp_path) if name.endswith(".html")] == ["g-2.html", "g.html"]
    seen = Seen((tmp_path / "out" / "g-2.html").read_text())
    assert [one["src"] for one in seen.all("img")][:2] == ["g-1-2.png", "g-2-2.png"]  # where the claimed names are


def test_a_strangers_page_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "g.html").write_text("holiday")
    assert call(tmp_path, {"job": JOB, "axes": [{"seed": [1]}]}, "--quiet") == 0
    assert (tmp_path / "out" / "g.html").read_text() == "holiday" and (tmp_path / "out" / "g-2.html").exists()


def test_a_cell_that_fails_is_told_and_the_page_shows_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(tmp_path, {"job": JOB, "axes": [{"prompt": ["a", "fail"]}]}, "--quiet") == 1
    assert "g-2 failed" in capsys.readouterr().err
    assert "g-2 failed" in Seen((tmp_path / "out" / "g.html").read_text()).words
    assert call(tmp_path, {"job": {**JOB, "name": "h"}, "axes": [{"prompt": ["fail"]}]}, "--quiet") == 1
    assert not (tmp_path / "out" / "h.html").exists()


@pytest.mark.parametrize("axes", [[{"prompt": ["a", "refuse"]}], [{"steps": [1, 999]}], [{"stpes": [1]}]])
def test_a_wrong_cell_stops_the_whole_grid(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], axes: list[dict[str, Any]]
) -> None:
    assert call(tmp_path, {"job": JOB, "axes": axes}) == 2
    complaint = capsys.readouterr().err
    assert len(complaint.splitlines()) == 1 and "grid.json" in complaint and "cell g-" in complaint
    assert not (tmp_path / "out").exists()


def test_a_dry_run_of_a_grid_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(tmp_path, {"job": JOB, "axes": [{"seed": [1, 2, 1]}]}, "--dry-run", "--quiet") == 0
    assert [json.loads(line)["name"] for line in capsys.readouterr().out.splitlines()] == ["g-1", "g-2"]
    assert not (tmp_path / "out").exists()


def test_an_exported_page_is_named_after_the_files_that_it_shows(tmp_path: Path) -> None:
    grid = made(("seed", (1,)), name="größe #1")
    picture = tmp_path / "größe #1-1.png"
    picture.write_bytes(b"")
    path = export(grid, {0: picture}, tmp_path)
    links = [one["src"] for one in Seen(path.read_text()).all("img")]
    assert path.name == "größe #1.html" and [unquote(link or "") for link in links] == [picture.name] * 2
    assert all("#" not in (link or "") and "?" not in (link or "") for link in links)
