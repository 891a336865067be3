"""The words of the page: one catalogue, whole in every language, and nothing said past it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import get_args

import httpx
import pytest
from gradio_client import Client
from starlette.datastructures import Headers

from models.adapter.config import KINDS as ADAPTERS
from pipelines.dubbing import dubbing_plan
from pipelines.grid.grid import grid_of
from pipelines.grid.page import Words, page
from pipelines.job import KINDS
from pipelines.layered import layered_plan
from pipelines.layout import layout_plan
from pipelines.masked import masked_plan
from pipelines.queue.queue import Queue, State
from pipelines.refusal import Refusal
from pipelines.scenes import scenes_plan, shot_plan
from pipelines.text import text_plan
from tests.paced import PATIENCE, text
from tests.staged import Served, served
from training.data.findings import ERRORS, WARNINGS
from training.runs import STATES
from ui import boxscript, drop, keys, levels, login, masked, plan, restored, scenes, strip, table, words
from ui import page as whole
from ui.fields import refused
from ui.gridfiles import words_of_page
from ui.queuelist import drawn
from ui.status import stage, waiting
from ui.words import LANGUAGES, PLACE, catalogue, counted, for_script, numerals, preferred, say, speaking

UI = Path(words.__file__).parent
SAYING = {"say", "of", "counted", "for_script", "knows"}
# What a person reads of gradio's components, those whose first argument is it too, and whose second one is a reason.
READ = {"label", "info", "placeholder"}
TITLED = {"Button", "Tab", "Accordion"}
REFUSED = {"Refusal", "Unfinished"}
# Not words of the page: commands and constants for programs, English documents, names of things.
NO_PAGE = {"limits.py", "theme.py", "css.py"}
AS_THEY_ARE = {"Diorama"}
BASE = "task: text\nprompt: a star"  # of a grid
ENTITY = re.compile(r"&\w+;|&#\d+;")
SPOKEN_ATTRIBUTE = re.compile(r'(?:aria-label|title|alt|placeholder)="([^"{]*[A-Za-z]{2}[^"{]*)"')
BETWEEN_TAGS = re.compile(r">([^<>{}]*[A-Za-z]{2}[^<>{}]*)<")


def modules() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(UI.glob("*.py")):
        if path.name not in NO_PAGE:
            yield path.name, ast.parse(path.read_text())


def calls() -> Iterator[tuple[str, ast.Call]]:
    """Each call that says something, and the name that it is called by."""
    for name, tree in modules():
        if name != "words.py":
            for node in ast.walk(tree):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in SAYING:
                    yield node.func.id, node


def texts(node: ast.expr) -> list[str]:
    """A text that is written there, or both of which one is chosen."""
    if isinstance(node, ast.IfExp):
        return [*texts(node.body), *texts(node.orelse)]
    assert isinstance(node, ast.Constant), f"line {node.lineno}: a key is written where it is said"
    return [str(node.value)]


def used() -> tuple[set[str], set[str]]:
    """The keys, and the groups, that the code names."""
    found: set[str] = set()
    groups: set[str] = set()
    for name, call in calls():
        if name == "say":
            found.update(texts(call.args[0]))
        elif name == "counted":
            (key,) = texts(call.args[0])
            found.update(each for each in catalogue() if re.fullmatch(rf"{re.escape(key)}_(none|one|many)", each))
            found.add(f"{key}_many")
        elif name == "for_script":
            groups.update(texts(call.args[1]))
        elif isinstance(call.args[0], ast.Constant):
            group = call.args[0].value
            if isinstance(call.args[1], ast.Constant):
                found.add(f"{group}.{call.args[1].value}")
            else:
                groups.add(group)
    return found, groups


def places(text: str) -> set[str]:
    return {name for name, _ in PLACE.findall(text)}


def test_every_sentence_is_there_in_every_language_with_the_same_places() -> None:
    for key, said in catalogue().items():
        assert list(said) == list(LANGUAGES), key
        assert all(text and text == text.strip() for text in said.values()), key
        assert len({frozenset(places(text)) for text in said.values()}) == 1, key


def test_german_is_set_as_german_is() -> None:
    for key, said in catalogue().items():
        text = said["de"]
        if not key.endswith("_html"):
            assert not re.search(r"[\"'“](?=\w)|\w\"", text), key
        assert text.count("„") == text.count("“"), key
        assert not re.search(r"\b(?:Sie|Ihre?[nmrs]?|du|dein\w*)\b", text) or key == "boxes.given", key


def test_only_sentences_that_say_so_hold_markup() -> None:
    for key, said in catalogue().items():
        assert key.endswith("_html") == any(re.search(r"[<>&]", text) for text in said.values()), key
        assert not any('"' in text for text in said.values()), key  # for it may stand in an attribute


def test_every_key_in_use_is_there_and_every_key_there_is_used() -> None:
    found, groups = used()
    assert found <= catalogue().keys()
    known = {key.partition(".")[0] for key in catalogue()}
    assert groups <= known
    assert {key for key in catalogue() if key not in found and key.partition(".")[0] not in groups} == set()


# Names of the parts of all tasks' plans, without their numbers.
PARTS = {
    "prompt", "picture", "frame", "shot", "scene", "box", "composite", "background", "layer", "reference", "speech",
}  # fmt: skip
NAMES: Mapping[str, set[str]] = {
    "state": set(get_args(State)), "news": set(get_args(State)), "cell": set(get_args(State)),
    "task": set(KINDS), "can": set(KINDS), "kind": {*KINDS, "video"}, "hint": set(whole.TABS),
    "tab": {*(id for _, id in keys.TABS), *whole.TABS}, "level": set(levels.LEVELS), "pressed": set(keys.EVERYWHERE),
    "begins": set(table.TRANSITIONS), "preset": set(strip.PRESETS), "story": set(scenes.STORIES),
    "drawn_part": PARTS, "grid_page": {each.name for each in fields(Words)} - {"language"},
    "trained": set(ADAPTERS), "run_state": set(STATES), "run_ended": set(STATES) - {"running", "stopping", "failed"},
    "finding": {*ERRORS, *WARNINGS},
    "reuse": set(scenes.REUSE), "side": set(masked.BORDERS), "way": {"1", "2", "3"},
}  # fmt: skip


@pytest.mark.parametrize("group", NAMES)
def test_names_that_the_code_chooses_by_have_their_words_and_no_others(group: str) -> None:
    held = {key.partition(".")[2] for key in catalogue() if key.startswith(f"{group}.")}
    assert held == NAMES[group]


def test_no_word_is_said_past_the_catalogue() -> None:
    """Labels, titles and reasons come from calls; HTML has no words of its own between tags or in its attributes."""
    found: list[str] = []
    for name, tree in modules():
        about = {id(node.body[0].value) for node in ast.walk(tree) if documented(node)}  # type: ignore[attr-defined]
        for node in ast.walk(tree):
            said: list[str] = []
            if isinstance(node, ast.Call):
                said = [ast.unparse(each) for each in read(node) if written(each)]
            elif isinstance(node, ast.Constant | ast.JoinedStr) and id(node) not in about:
                text = flat(node)
                said = [
                    each for each in SPOKEN_ATTRIBUTE.findall(text) + BETWEEN_TAGS.findall(text) if not silent(each)
                ]
            found += [f"{name}:{node.lineno}: {each}" for each in said]
    assert found == []


def documented(node: ast.AST) -> bool:
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    return isinstance(node, kinds) and ast.get_docstring(node) is not None


def read(call: ast.Call) -> list[ast.expr]:
    """The arguments of a call that a person reads: those of gradio's components, and reasons of refusals."""
    made = call.func
    if isinstance(made, ast.Attribute) and isinstance(made.value, ast.Name) and made.value.id == "gr":
        first = call.args[:1] if made.attr in TITLED else []
        return [*first, *(each.value for each in call.keywords if each.arg in READ)]
    if isinstance(made, ast.Name) and made.id in REFUSED:
        return call.args[1:2]
    return []


def written(node: ast.expr) -> bool:
    """Whether an expression is words that are written there; one of a single word may be a value or a name."""
    if isinstance(node, ast.JoinedStr):
        return True
    return (
        isinstance(node, ast.Constant) and isinstance(node.value, str) and bool(re.search(r"[A-Za-z]{2}", node.value))
    )


def flat(node: ast.Constant | ast.JoinedStr) -> str:
    """HTML with braces where values stand in it; "" for other texts, and for styles and scripts."""
    if isinstance(node, ast.Constant):
        text = node.value if isinstance(node.value, str) else ""
    else:
        text = "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
    code = re.search(r"addEventListener|=>|\{\s*(?:display|margin|position|padding)", text)
    return (
        "" if "<" not in text or (code and "<h1>" not in text) else re.sub(r"<style>.*?</style>", "", text, flags=re.S)
    )


def silent(text: str) -> bool:
    return text.strip() in AS_THEY_ARE or not re.search(r"[A-Za-z]{2}", ENTITY.sub("", text))


def test_a_request_is_answered_in_the_language_that_was_chosen_or_is_liked_best() -> None:
    def asked(**headers: str) -> str:
        return preferred(Headers({name.replace("_", "-"): value for name, value in headers.items()}))

    assert asked() == "en"
    assert asked(accept_language="de-DE,de;q=0.9,en;q=0.8") == "de"
    assert asked(accept_language="fr, de;q=0.4, en;q=0.7") == "en"
    assert asked(accept_language="fr-FR, es") == "en"
    assert asked(accept_language="en;q=0, de;q=0.1") == "de"
    assert asked(accept_language="DE-at") == "de"
    assert asked(accept_language="de;q=nan, ;;;,=,de;q=9e9") == "en"
    assert asked(accept_language="de", cookie="diorama=x; diorama-language=en") == "en"
    assert asked(accept_language="de", cookie="diorama-language=xx") == "de"
    assert asked(cookie="diorama-language=de<script>") == "en"


def test_numbers_and_counts_are_written_as_the_language_does() -> None:
    assert (counted("history.found", 1), counted("history.found", 1234)) == ("One render.", "1,234 renders.")
    with speaking("de"):
        assert (counted("history.found", 1), counted("history.found", 1234)) == ("Eine Ausgabe.", "1.234 Ausgaben.")
        assert numerals("1,234.5 s") == "1.234,5 s"
    assert numerals("1,234.5 s") == "1,234.5 s"
    assert (counted("queue.all_cancelled", 0), counted("line.ahead", 0)) == ("Nothing waited.", "next")


def test_what_is_put_into_a_place_is_not_read_again() -> None:
    assert say("presets.renamed", name="{new}", new="{name}") == "“{new}” is now called “{name}”."
    with pytest.raises(KeyError, match=r"no value for \{new\}"):
        say("presets.renamed", name="a")


@pytest.mark.parametrize(
    ("script", "group"),
    [(drop.DROP, "drop_script"), (restored.DROP, "dropped"), (boxscript.SCRIPT, "editor_script")],
)
def test_a_script_says_every_sentence_of_its_group_and_no_other(script: str, group: str) -> None:
    held = {key.partition(".")[2] for key in catalogue() if key.startswith(f"{group}.")}
    assert script.count("WORDS") == 1 and set(re.findall(r"\bwords\.(\w+)", script)) == held
    with speaking("de"):
        assert all(catalogue()[f"{group}.{name}"]["de"] in for_script(script, group) for name in held)


# ------------------------------------------------------------ what is written in German


def test_what_the_server_writes_is_german_and_still_escaped(tmp_path: Path) -> None:
    evil = '"><img src=x onerror=alert(1)>'
    queue = Queue(tmp_path)
    id = queue.add(text(evil))
    row = queue.get(id)
    with speaking("de"):
        shown = [stage(row, 1, tmp_path, evil), waiting([row] if row else []), drawn(queue, evil)]
        refusal = refused(Refusal("size[0]", f"expected {evil}"))
        asked = login.form(say("login.wrong"))
    assert "Wartet. Ein Rendering ist vorher dran." in shown[0] and "Auch auf dem Tisch" in shown[1]
    assert "In der Reihe" in shown[2] and 'title="Bearbeiten"' in shown[2]
    assert refusal.startswith('<p class="note bad" role="alert"><b>Breite:</b> expected ')
    assert 'lang="de"' in asked and "Das ist nicht das Passwort." in asked
    assert not any("<img" in html for html in [*shown, refusal])


def test_the_parts_of_every_plan_have_a_name_in_german() -> None:
    """Of a plan of each task; drawn in German it is another picture."""
    box = (0, 0, 2, 2)
    plans = [
        text_plan(2, 2, 2), masked_plan(2, 2, 2, 1, bytes(4), (2, 2)), scenes_plan(2, 2, 2, (1, 1)),
        shot_plan(2, 2, 2, 1, 1), layout_plan(2, 2, 2, (box,), placed=True, regional=True),
        layered_plan(2, 2, 2, (box,), prompted=(True,), placed=True),
        dubbing_plan(2, 1, 2, 2, (box,), references=(box,)),
    ]  # fmt: skip
    assert {segment.name.partition(" ")[0] for plan in plans for segment in plan.segments} == PARTS
    assert plan.part_named("scene 3") == "scene 3"
    with speaking("de"):
        assert plan.part_named("scene 3") == "Szene 3" and plan.part_named("background") == "Hintergrund"
    assert plan.drawing(plans[2], "en") != plan.drawing(plans[2], "de")


def test_a_grid_that_is_downloaded_in_german_is_german() -> None:
    grid = grid_of({"job": {"task": "text", "prompt": "x", "name": "a"}, "axes": [{"guidance": [1, 2]}]})
    with speaking("de"):
        told = page(grid, {0: "a.png"}, words_of_page())
    assert '<html lang="de">' in told and "Was alle Zellen teilen" in told and "Schließen" in told
    assert "ist gescheitert" in told and '<html lang="en">' in page(grid, {})


def test_a_job_of_german_words_is_told_in_german_and_in_english() -> None:
    told = Refusal("scenes[1].negative_prompt", "too long")
    assert refused(told) == '<p class="note bad" role="alert"><b>Scene 2, leave out:</b> too long</p>'
    with speaking("de"):
        assert refused(told) == '<p class="note bad" role="alert"><b>Szene 2, Weglassen:</b> too long</p>'


# ------------------------------------------------------------ over the wire


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("studio")) as found:
        yield found


def get(studio: Served, path: str, language: str) -> httpx.Response:
    headers = {"Accept-Language": language}
    return httpx.get(f"{studio.url}/{path}", headers=headers, timeout=PATIENCE, trust_env=False)


def test_both_layouts_have_the_same_parts_and_listeners(studio: Served) -> None:
    english, german = (get(studio, "config", code).json() for code in LANGUAGES)
    for told in (english, german):
        told["parts"] = [(each["id"], each["type"]) for each in told["components"]]
        wires = ("id", "targets", "inputs", "outputs", "api_name", "queue", "trigger_mode")
        told["wires"] = [[each[name] for name in wires] for each in told["dependencies"]]
    assert english["parts"] == german["parts"] and english["wires"] == german["wires"]
    tabs = [
        [each["props"]["label"] for each in told["components"] if each["type"] == "tabitem"]
        for told in (english, german)
    ]
    assert "History" in tabs[0] and "Verlauf" in tabs[1]


def test_the_page_says_which_language_it_is_in(studio: Served) -> None:
    english, german = get(studio, "", "fr").text, get(studio, "", "de-CH").text
    assert re.search(r"<html\s+lang=\"en\"", english) and "Bilder, aus Worten geschnitten" not in english
    assert re.search(r"<html\s+lang=\"de\"", german) and "Bilder, aus Worten geschnitten" in german


def test_listeners_answer_in_the_language_of_their_request(studio: Served) -> None:
    """Those that answer at once, and those that gradio runs in tasks of its own."""
    at_once = httpx.post(
        f"{studio.url}/gradio_api/run/plan_grid",
        json={"data": [BASE, *[""] * 6]},
        headers={"Accept-Language": "de"},
        timeout=PATIENCE,
        trust_env=False,
    )
    assert "Ein Feld wählen" in at_once.json()["data"][0]
    axis = {"de": "Ein Feld wählen", "en": "Choose a field"}
    for code, words_of_it in axis.items():
        client = Client(
            studio.url, verbose=False, headers={"Accept-Language": code}, httpx_kwargs={"timeout": PATIENCE}
        )
        try:
            assert words_of_it in client.predict(BASE, *[""] * 6, api_name="/plan_grid")[0]
        finally:
            client.close()


def test_routes_answer_in_the_language_of_their_request(studio: Served) -> None:
    assert get(studio, "outputs/none/0", "de").text == "diese Ausgabe gibt es nicht"
    assert get(studio, "monitoring", "de").text == "unter dieser Adresse gibt es nichts"
    assert get(studio, "monitoring", "en").text == "there is nothing at this address"


def test_the_engine_s_reasons_come_in_the_language_of_their_request(studio: Served) -> None:
    """As a listener's HTML, and as what a route says of a file that is no picture."""
    reasons = {}
    for code in LANGUAGES:
        headers = {"Accept-Language": code}
        address = f"{studio.url}/uploads"
        sent = httpx.post(address, content=b"no picture", headers=headers, timeout=PATIENCE, trust_env=False)
        reasons[code] = sent.json()["reason"]
    assert reasons["en"].startswith("can not be read as") and reasons["de"].startswith("nicht als")
    for code, said in {"en": "unknown key; did you mean", "de": "unbekannter Schlüssel; ist"}.items():
        answer = httpx.post(
            f"{studio.url}/gradio_api/run/plan_grid",
            json={"data": [f"{BASE}\npromt: x", "steps", "1, 2", *[""] * 4]},
            headers={"Accept-Language": code},
            timeout=PATIENCE,
            trust_env=False,
        )
        assert said in str(answer.json()["data"])
