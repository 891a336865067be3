"""The words of the page: one catalogue (`words.yaml`), and which of its languages is spoken at the moment.

The page is laid out once in each language (`page.py`), and what the server writes later is written in the language of
the request in hand. So there is one way for all words: `say` where they are needed, never when a module is imported.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import yaml

CATALOGUE = Path(__file__).with_name("words.yaml")
LANGUAGES = {"en": "English", "de": "Deutsch"}  # what each calls itself; the first one is spoken where nobody asks
STANDARD = next(iter(LANGUAGES))
COOKIE = "diorama-language"  # holds one of the codes, where somebody chose on the page
MOST_HEADER = 500  # characters of a header that are read
CHOSEN = re.compile(rf"(?:^|;)\s*{COOKIE}=({'|'.join(LANGUAGES)})\s*(?:;|$)")
PLACE = re.compile(r"\{(\w+)(?::([^{}|]*))?\}")  # {name}, or {name:,} with a format as Python has it
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

_spoken: ContextVar[str | None] = ContextVar("spoken", default=None)


@cache
def catalogue() -> Mapping[str, Mapping[str, str]]:
    """Every sentence in every language, by keys such as `queue.gone`."""
    groups = yaml.safe_load(CATALOGUE.read_text("utf-8"))
    return {f"{group}.{name}": words for group, inner in groups.items() for name, words in inner.items()}


def say(key: str, /, **values: object) -> str:
    """The sentence called `key` with `values` in its places, in the language that is spoken.

    It is plain text: whoever puts it into HTML escapes what comes from people. Numbers in a place with a format of its
    own are written as the language does it.
    """
    spoken = language()

    def put(place: re.Match[str]) -> str:
        name, form = place.groups()
        if name not in values:
            raise KeyError(f"{key}: no value for {{{name}}}")
        return str(values[name]) if form is None else numerals(format(values[name], form))

    return PLACE.sub(put, catalogue()[key][spoken])


def of(group: str, name: str, /, **values: object) -> str:
    """A sentence of a group that is chosen by a name of the code, such as a state of the queue."""
    return say(f"{group}.{name}", **values)


def knows(group: str, name: str) -> bool:
    """Whether a group has a sentence for a name."""
    return f"{group}.{name}" in catalogue()


def counted(key: str, count: int, /, **values: object) -> str:
    """The sentence for a number: `KEY_none` for 0 where there is one, `KEY_one` for 1, else `KEY_many`."""
    end = "one" if count == 1 else "none" if count == 0 and f"{key}_none" in catalogue() else "many"
    return say(f"{key}_{end}", **{"count": count, **values})


def for_script(script: str, group: str) -> str:
    """JavaScript with the sentences of a group in place of WORDS, as an object; its places are left to the script."""
    spoken, start = language(), f"{group}."
    found = {key.removeprefix(start): words[spoken] for key, words in catalogue().items() if key.startswith(start)}
    return script.replace("WORDS", json.dumps(found, ensure_ascii=False))


def numerals(text: str) -> str:
    """Numbers and their units, `1,234.5 s`, as the language writes them."""
    return text.translate(str.maketrans(",.", ".,")) if language() == "de" else text


def moment(seconds: float) -> str:
    """A time of day, given in seconds since 1970: `21 Nov 2026, 06:44`, or `21.11.2026, 06:44`."""
    then = time.localtime(seconds)
    clock = f"{then.tm_hour:02d}:{then.tm_min:02d}"
    if language() == "de":
        return f"{then.tm_mday}.{then.tm_mon}.{then.tm_year}, {clock}"
    return f"{then.tm_mday} {MONTHS[then.tm_mon - 1]} {then.tm_year}, {clock}"


def lowered(label: str) -> str:
    """A label in the middle of a sentence, where German nouns keep their capital."""
    return label if language() == "de" else label[:1].lower() + label[1:]


# ------------------------------------------------------------ which language


def language() -> str:
    """The language that is spoken: of the request whose event runs, of the request in hand, or the standard one."""
    # Gradio runs some events in tasks of its own, which remember the request that they were started in.
    gradio = sys.modules.get("gradio.context")
    request = gradio.LocalContext.request.get(None) if gradio else None
    headers = getattr(request, "headers", None)
    if headers is not None:
        return preferred(headers)
    return _spoken.get() or STANDARD


@contextmanager
def speaking(language: str) -> Iterator[None]:
    """Speak a language for a while."""
    before = _spoken.set(language)
    try:
        yield
    finally:
        _spoken.reset(before)


def preferred(headers: Any) -> str:
    """The language of a request: what was chosen on the page, else what its browser likes best of those here."""
    chosen = CHOSEN.search(_header(headers, "cookie"))
    return chosen[1] if chosen else _liked(_header(headers, "accept-language")[:MOST_HEADER])


@lru_cache(maxsize=256)  # a page asks for hundreds of sentences
def _liked(accepted: str) -> str:
    best, most = STANDARD, 0.0
    for entry in accepted.split(","):
        tag, _, weight = entry.partition(";")
        code = tag.strip().lower().partition("-")[0]
        liked = _weight(weight)
        if code in LANGUAGES and liked > most:  # of two that are liked alike the first one counts
            best, most = code, liked
    return best


def _header(headers: Any, name: str) -> str:
    value = headers.get(name)
    return value if isinstance(value, str) else ""


def _weight(text: str) -> float:
    """`q=0.8` as a number; 1 where nothing is said, 0 for what is no number."""
    text = text.strip().lower()
    if not text:
        return 1.0
    found = re.fullmatch(r"q=(\d(?:\.\d{0,3})?)", text, re.ASCII)
    return float(found[1]) if found else 0.0
