"""The engine's sentences on a page: every one of them has its words in every language, and keeps its values."""

from __future__ import annotations

import errno
import os
import re
import sqlite3
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic_core import PydanticKnownError

from pipelines.history.reproductions import Again, Verdict
from pipelines.job import parse
from pipelines.queue.queue import Queue
from pipelines.queue.worker import sentence
from pipelines.refusal import Refusal
from tests.paced import text
from tests.sentences import ANY, NO_PAGE, NUMBER, PLACE, ROOT, SILENT, TELLING, WORDS, Sentences
from ui import reasons
from ui.fields import refused
from ui.reasons import MOST, QUOTED, Template, in_language, marked, template_of, templates
from ui.restored import _note
from ui.status import stage
from ui.words import LANGUAGES, STANDARD, numerals, speaking

ENTRIES: Mapping[str, list[dict[str, str]]] = yaml.safe_load(reasons.CATALOGUE.read_text("utf-8"))
NO_CODE = {"everywhere", "pydantic", "sqlite", "system"}  # groups of sentences that our own files do not hold
KINDS = {PLACE: {"", "number", "quoted", "words", "list"}, NUMBER: {"number"}, WORDS: {"words", "list"}}
PYDANTIC = {
    "greater_than_equal": "ge", "greater_than": "gt", "less_than_equal": "le", "less_than": "lt",
    "string_too_long": "max_length",
}  # fmt: skip
ERRORS = (
    errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOENT, errno.EEXIST, errno.EISDIR,
    errno.ENOTDIR, errno.ENAMETOOLONG, errno.EFBIG, errno.EMFILE, errno.EIO,
)  # fmt: skip


def entries() -> Iterator[tuple[str, dict[str, str]]]:
    for group, inner in ENTRIES.items():
        for entry in inner:
            yield group, entry


def key(template: Template) -> str:
    """A template as `Sentences.found` has it."""
    return PLACE.join(template.texts)


def shown(text: str) -> str:
    """A template of the code as the catalogue writes it."""
    kinds = {PLACE: "", NUMBER: ":number", WORDS: ":words"}
    places = iter(range(10))
    return ANY.sub(lambda place: f"{{{next(places)}{kinds[place[0]]}}}", text)


def listed(what: str, found: list[str]) -> str:
    return f"{what}:\n" + "\n".join(found)


@pytest.fixture(scope="module")
def code() -> Sentences:
    return Sentences()


# ------------------------------------------------------------ the catalogue and the code


def test_every_sentence_of_the_engine_has_its_words_in_every_language(code: Sentences) -> None:
    held = {key(template_of(entry)) for _, entry in entries()}
    missing = [f"{each.at}: {shown(each.text)}" for text, each in code.found.items() if text not in held]
    assert not missing, listed("add these to ui/reasons.yaml, or exempt their file in tests/sentences.py", missing)


def test_every_entry_is_a_sentence_of_the_engine(code: Sentences) -> None:
    """What the code says no more goes from the catalogue too."""
    stale = [
        f"{group}: {entry[STANDARD]}"
        for group, entry in entries()
        if group not in NO_CODE and key(template_of(entry)) not in code.found
    ]
    assert not stale, listed("no code says these: take them out of ui/reasons.yaml, or correct their English", stale)


def test_places_are_what_the_code_puts_into_them(code: Sentences) -> None:
    """Numbers that are written as numbers, and words that are chosen from ours."""
    wrong = []
    for group, entry in entries():
        template = template_of(entry)
        if group not in NO_CODE and (found := code.found.get(key(template))):
            pairs = zip(ANY.findall(found.text), template.kinds, strict=True)
            wrong += [f"{found.at}: {shown(found.text)}" for place, kind in pairs if kind not in KINDS[place]]
    assert not wrong, listed("write the places in ui/reasons.yaml so", wrong)


def test_every_error_of_the_engine_is_heard_or_silent_for_a_reason(code: Sentences) -> None:
    unheard = code.errors - TELLING.keys() - SILENT.keys()
    assert not unheard, f"say in tests/sentences.py which argument of these is told, or why none is: {unheard}"
    assert code.errors >= SILENT.keys() and code.modules.keys() >= NO_PAGE.keys()  # none of them is there for nothing


def test_groups_are_files(code: Sentences) -> None:
    assert all((ROOT / group).is_file() for group in ENTRIES if group not in NO_CODE)


def test_every_entry_is_whole() -> None:
    counts = Counter(key(template_of(entry)) for _, entry in entries())
    assert [text for text, count in counts.items() if count > 1] == []
    for _, entry in entries():
        assert list(entry) == list(LANGUAGES), entry
        assert all(text and text == text.strip() for text in entry.values()), entry
        places = [{number for number, _ in reasons.PLACE.findall(text)} for text in entry.values()]
        assert places[0] == places[1] and sorted(places[0]) == [str(n) for n in range(len(places[0]))], entry
        template = template_of(entry)
        assert all(template.texts[1:-1]), f"two places without a text between them: {entry}"
        assert any(map(str.isalpha, "".join(template.texts))) or key(template) == f"{PLACE}: {PLACE}", entry


def test_german_is_set_as_german_is() -> None:
    for _, entry in entries():
        german = entry["de"]
        assert german.count("„") == german.count("“"), german
        assert not re.search(r"\b(?:Sie|Ihre?[nmrs]?|du|dein\w*)\b", german), german
        assert not re.search(r"\b(?:expected|got|the|and|of|is)\b", re.sub("„[^“]*“", "", german)), german


def test_what_pydantic_says_of_a_value_is_in_the_catalogue() -> None:
    found = set()
    for kind, name in PYDANTIC.items():
        told = PydanticKnownError(kind, {name: 700}).message()  # type: ignore[arg-type]
        words = told.replace("Input should be ", "").replace("String should have ", "")
        found.add(words.replace("700", PLACE))
    held = {key(template_of(entry)) for entry in ENTRIES["pydantic"]}
    assert held == found | {f"'{PLACE}' or '{PLACE}'"}  # the last one of the choices of a field


@pytest.mark.skipif(sys.platform != "linux", reason="other systems call some of them otherwise")
def test_what_the_system_says_is_in_the_catalogue() -> None:
    assert {entry[STANDARD] for entry in ENTRIES["system"]} == {os.strerror(each) for each in ERRORS}


def test_what_sqlite_says_is_in_the_catalogue(tmp_path: Path) -> None:
    path = tmp_path / "names.sqlite"
    (tmp_path / "none.sqlite").write_bytes(b"no database " * 100)
    with closing(sqlite3.connect(path, isolation_level=None)) as busy:
        busy.execute("CREATE TABLE names (name)")
        full = sqlite3.connect(path)
        full.execute("PRAGMA max_page_count = 2")
        said = {failed(full, "INSERT INTO names VALUES (zeroblob(100000))")}
        busy.execute("BEGIN IMMEDIATE")
        said |= {
            failed(sqlite3.connect(path, timeout=0), "INSERT INTO names VALUES (1)"),
            failed(sqlite3.connect(f"file:{path}?mode=ro", uri=True), "INSERT INTO names VALUES (1)"),
            failed(sqlite3.connect(tmp_path / "none.sqlite"), "CREATE TABLE names (name)"),
        }
    with pytest.raises(sqlite3.Error) as told:
        sqlite3.connect(tmp_path / "nowhere" / "none.sqlite")
    assert {entry[STANDARD] for entry in ENTRIES["sqlite"]} == said | {str(told.value)}


def failed(database: sqlite3.Connection, statement: str) -> str:
    with pytest.raises(sqlite3.Error) as told:
        database.execute(statement)
    database.close()
    return str(told.value)


def test_sentences_are_found_wherever_they_are_put_together(tmp_path: Path) -> None:
    """In a file of which the catalogue knows nothing."""
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "pipelines" / "new.py").write_text(
        "from pipelines.refusal import Refusal\n"
        "NO_HAT = 'expected a hat of {size:.1f} cm'\n"
        "HATS = {'top': 'a top hat', 'sun': 'a sun hat'}\n"
        "class Hatless(Refusal): pass\n"
        "def hat_of(name):\n    return f'the hat {name}'\n"
        "def check(path, name, count, hat=None):\n"
        "    hint = f'; did you mean {name}?' if name else ''\n"
        "    if count:\n        raise Refusal('', f'{path}: no hat{hint}')\n"
        "    raise Refusal('', NO_HAT.format(size=2))\n"
        "def render(found, count):\n"
        "    found.warnings.append(f'{count:,} hats, such as {hat_of(count)}, are lost')\n"
        "    found.warnings.extend(notes_of(count))\n"
        "    for name in HATS:\n        found.warnings += [f'{HATS[name]} is worn out']\n"
        "def notes_of(count):\n    return [f'hat {count + 1} is old']\n"
        "def unsaid(path):\n    raise TypeError(f'{path} is no hat')\n"
    )
    (tmp_path / "training" / "data").mkdir(parents=True)
    (tmp_path / "training" / "data" / "words.py").write_text("HINT = 'try it on'\n")
    (tmp_path / "training" / "data" / "new.py").write_text(
        "from .findings import Fault, Finding\n"
        "from .words import HINT\n"
        "def fit(hat, number):\n"
        "    found = Finding('worn', f'rack {number}', 'is worn out')\n"
        "    if not hat:\n        raise Fault('missing', f'has no brim; {HINT}')\n"
        "    yield 'small', f'is {number} cm too small'\n"
    )
    made = Sentences(tmp_path)
    assert {shown(each.text) for each in made.found.values()} == {
        "no hat", "no hat; did you mean {0}?", "expected a hat of {0:number} cm", "a top hat", "a sun hat",
        "{0:words} is worn out", "{0:number} hats, such as {1:words}, are lost", "the hat {0}", "hat {0} is old",
        "rack {0}", "is worn out", "has no brim; try it on", "is {0} cm too small",
    }  # fmt: skip
    assert made.errors == {"Hatless"} and made.found[f"hat {PLACE} is old"].at == "pipelines/new.py:18"


# ------------------------------------------------------------ taking apart, and putting together


VALUES = st.text("äöüßÄ✂<&>#~\n0123456789", min_size=1, max_size=12)


@settings(max_examples=20)
@given(st.lists(VALUES, min_size=6, max_size=6), st.lists(st.integers(0, 10**9), min_size=6, max_size=6))
def test_every_instance_is_said_around_its_values(values: list[str], numbers: list[int]) -> None:
    with speaking("de"):
        for _, entry in entries():
            template = template_of(entry)
            given, told = [], []
            for kind, value, number in zip(template.kinds, values, numbers, strict=False):
                plain = {"number": f"{number:,}", "quoted": f"'{value}", "list": "prompt, seed"}.get(kind, value)
                given.append(plain)
                told.append({"number": numerals(plain), "list": "Prompt, Seed"}.get(kind, plain))
            if key(template) != f"{PLACE}: {PLACE}":
                assert in_language(put(entry[STANDARD], given)) == put(entry["de"], told)


def put(text: str, values: list[str]) -> str:
    return reasons.PLACE.sub(lambda place: values[int(place[1])], text)


@given(st.text(max_size=60), st.text(max_size=60))
def test_whatever_comes_is_said_somehow_and_as_it_is_in_english(one: str, two: str) -> None:
    for told in (one, f"{one}: {two}", f"expected {one}, got {two}", f"{one}... ({two} characters)"):
        assert in_language(told) == told
        with speaking("de"):
            assert isinstance(in_language(told), str)
            assert in_language("expected two, got one") == "two erwartet, one erhalten"


HOSTILE = [
    "expected ", ": ", "a: ", ", got ", "; ", "expected , got ", "... (1 characters)", "the text ", "prompt, ",
    " changed", " was  and is ", " (in cell ", "\n", "but but ", "at character 1: ",
]  # fmt: skip


@pytest.mark.parametrize("part", HOSTILE)
def test_a_hostile_sentence_takes_no_more_than_a_few_readings(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    read = 0
    values = Template.values

    def counted(template: Template, sentence: str) -> list[str] | None:
        nonlocal read
        read += len(sentence)
        return values(template, sentence)

    monkeypatch.setattr(Template, "values", counted)
    with speaking("de"):
        told = part * (MOST // len(part))
        in_language(told)
        assert read <= 3 * (reasons.DEEPEST + 1) * len(templates()) * len(told)
        read = 0
        assert in_language(part * 100_000) == part * 100_000 and read == 0  # 100 kB and more are nobody's sentence


# ------------------------------------------------------------ what people read


def refusal(**job: object) -> str:
    with pytest.raises(Refusal) as told:
        parse({"task": "text", "prompt": "a star"} | job)
    return str(told.value)


def test_refusals_are_german_on_a_german_page() -> None:
    with speaking("de"):
        said = [
            in_language(told)
            for told in (
                refusal(steps=0),
                refusal(steps="3"),
                refusal(task="txt"),
                refusal(scheduler="eular"),
                refusal(promt="x"),
                refusal(size=[17, 16]),
                refusal(model="m" * 5_000),
                refusal(prompt=None),
                refusal(prompt="x" * 30_000),
            )
        ]
    assert said == [
        "steps: mindestens 1 erwartet, 0 erhalten",
        "steps: eine ganze Zahl erwartet, den Text '3' erhalten; ohne Anführungszeichen schreiben",
        "task: eines von text, scenes, layout, layered, masked, dubbing erwartet, den Text 'txt' erhalten",
        "scheduler: 'euler', 'heun', 'unipc' oder 'dpm++' erwartet, den Text 'eular' erhalten",
        "promt: unbekannter Schlüssel; ist 'prompt' gemeint?",
        "size[0]: ein Vielfaches von 16 erwartet, 17 erhalten; 16 oder 32 versuchen",
        f"model: höchstens 4096 Zeichen erwartet, den Text '{'m' * 47}... (5.002 Zeichen) erhalten",
        "prompt: Text erwartet, nichts erhalten",
        "prompt: höchstens 2.000 Wörter und 20.000 Zeichen erwartet, 1 Wörter und 30.000 Zeichen erhalten; kürzen",
    ]


def test_sentences_within_sentences_are_german_too() -> None:
    with speaking("de"):
        assert in_language("a.yaml, document 2, field size: expected text, got nothing (in cell x-1)") == (
            "a.yaml, document 2, field size: Text erwartet, nichts erhalten (in Zelle x-1)"
        )
        assert in_language("scene 3: the prompt has 300 tokens and this checkpoint reads the first 256") == (
            "Szene 3: der Prompt hat 300 Tokens, und dieser Checkpoint liest die ersten 256"
        )
        assert in_language("prompt, seed and size changed") == "geändert: Prompt, Seed und Größe"
        assert in_language("the weather changed") == "the weather changed"
        full = OSError(errno.ENOSPC, "No space left on device")
        assert in_language(sentence(full)) == (
            "eine Datei lässt sich nicht lesen oder schreiben: kein Platz mehr auf dem Gerät"
        )


def test_a_verdict_is_german_and_in_english_as_it_was() -> None:
    files = tuple(Again(f"{n}.png", False, "its bytes differ") for n in range(5))
    apart = Verdict(True, files, ("torch was 2.9 and is 2.10", "the device was cpu and is cuda"))
    same = Verdict(True, (Again("a.png", True, "equal to the byte"),), ("torch was 1 and is 2",), ("a.png is gone",))
    assert apart.sentence == (
        "0.png: its bytes differ; 1.png: its bytes differ; 2.png: its bytes differ; and 2 more. "
        "Why: torch was 2.9 and is 2.10; the device was cpu and is cuda"
    )
    assert same.sentence == "equal to the byte, although torch was 1 and is 2; but a.png is gone"
    with speaking("de"):
        assert apart.in_words(in_language) == (
            "0.png: die Bytes unterscheiden sich; 1.png: die Bytes unterscheiden sich; "
            "2.png: die Bytes unterscheiden sich; und 2 weitere. "
            "Warum: torch war 2.9 und ist 2.10; Gerät: war cpu und ist cuda"
        )
        assert same.in_words(in_language) == (
            "Byte für Byte gleich, trotz dieser Unterschiede: torch war 1 und ist 2; aber a.png is gone"
        )
        never = Verdict(False, reasons=("source: the file 'a.png' that it was made from is not here",))
        assert never.in_words(in_language) == (
            "es lässt sich nicht noch einmal rendern: source: die Datei 'a.png', aus der es entstand, ist nicht hier"
        )


def test_what_no_template_knows_is_marked_as_english_and_all_of_it_is_escaped() -> None:
    evil = "<img src=x onerror=alert(1)>"
    told = f"RuntimeError: {evil}"
    assert marked(told) == "RuntimeError: &lt;img src=x onerror=alert(1)&gt;"
    with speaking("de"):
        assert marked(told) == '<span lang="en">RuntimeError: &lt;img src=x onerror=alert(1)&gt;</span>'
        assert marked(f"expected {evil}, got one") == "&lt;img src=x onerror=alert(1)&gt; erwartet, one erhalten"
        assert "<img" not in refused(Refusal("size", f"expected {evil}, got {evil}"))
        assert _note("scenes[0].prompt: this version does not know it; it is left out") == (
            "<b>Szene 1, Prompt:</b> diese Version kennt es nicht; es bleibt weg"
        )


def test_a_row_keeps_english_and_its_page_speaks_the_page_s_language(tmp_path: Path) -> None:
    queue = Queue(tmp_path)
    first, second = queue.add(text("one")), queue.add(text("two"))
    queue.claim()
    queue.warn(first, ["'papercut' is distilled: guidance 3.5 has no effect", "a word of nobody"])
    running = queue.get(first)
    queue.fail(first, "there was not enough memory for it; make it smaller or shorter")
    queue.claim()
    queue.recover()
    failed, paused = queue.get(first), queue.get(second)
    assert failed is not None and failed.message.startswith("there was not enough memory")
    with speaking("de"):
        assert "&#x27;papercut&#x27; ist destilliert: Guidance 3,5 wirkt hier nicht" in stage(running, 0, tmp_path, "")
        assert '<span lang="en">a word of nobody</span>' in stage(running, 0, tmp_path, "")
        assert "der Speicher reichte nicht; kleiner oder kürzer machen" in stage(failed, 0, tmp_path, "")
        assert "Beim Rendern unterbrochen." in stage(paused, 0, tmp_path, "")


def test_quotes_begin_what_is_shown_of_a_value() -> None:
    assert all(repr(value).startswith(QUOTED) for value in ("a", "it's", b"a", [1], (1,), {1: 2}, {1}))
