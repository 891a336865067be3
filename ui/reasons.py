"""The engine's sentences in the language of the page: refusals, warnings, messages of a job, verdicts.

The engine says them in English, and so the queue's rows and the records hold them. `reasons.yaml` has each of them as a
template with its words in the other languages; here a sentence is taken apart by the template that it is an instance
of, and put together anew. Values are kept as they are: what comes out is plain text, and whoever puts it into HTML
escapes it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from html import escape
from pathlib import Path

import yaml

from ui.words import STANDARD, language, numerals

CATALOGUE = Path(__file__).with_name("reasons.yaml")
PLACE = re.compile(r"\{(\d)(?::(number|quoted|words|list))?\}")
NUMBER = re.compile(r"[-+]?\d[\d,]{0,40}(?:\.\d{1,40})?(?:e[-+]?\d{1,3})?%?", re.ASCII)
QUOTED = ("'", '"', "[", "(", "{", "b")
ITEMS = re.compile(r"(, )")
MOST = 10_000  # characters of a sentence that is looked for; engines write hundreds
DEEPEST = 6  # sentences within sentences


@dataclass(frozen=True)
class Template:
    """A sentence of the engine: texts, and between each two of them a value.

    Attributes:
        texts: in English, one more than there are places; the first and the last one may be empty.
        kinds: of each place `number`, `quoted`, `words`, `list`, or "" for any value that is kept as it is.
        said: the sentence in the other languages, with {0} where the first place's value goes.
    """

    texts: tuple[str, ...]
    kinds: tuple[str, ...]
    said: Mapping[str, str]

    @property
    def weight(self) -> int:
        """How many characters of it are its own."""
        return sum(map(len, self.texts))

    def values(self, sentence: str) -> list[str] | None:
        """What stands in the places of `sentence`; None where it is no instance of this.

        Each text is looked for once, from where the one before it ends, so the time is that of reading the sentence.
        """
        first, *rest = self.texts
        if not sentence.startswith(first):
            return None
        if not rest:
            return [] if sentence == first else None
        end = len(sentence) - len(rest[-1])
        if not sentence.endswith(rest[-1]) or end < len(first):
            return None
        found, here = [], len(first)
        for text in rest[:-1]:
            at = sentence.find(text, here, end)
            if at < 0:
                return None
            found.append(sentence[here:at])
            here = at + len(text)
        return [*found, sentence[here:end]]


@cache
def templates() -> Sequence[Template]:
    """All of the catalogue, those with the most words of their own first."""
    groups = yaml.safe_load(CATALOGUE.read_text("utf-8"))
    found = [template_of(entry) for group in groups.values() for entry in group]
    return sorted(found, key=lambda template: template.weight, reverse=True)


def template_of(entry: Mapping[str, str]) -> Template:
    """The template of an entry of the catalogue."""
    english = entry[STANDARD]
    kinds = tuple(kind or "" for _, kind in PLACE.findall(english))
    # Between the texts PLACE's own two groups come along.
    return Template(tuple(PLACE.split(english)[::3]), kinds, {code: entry[code] for code in entry if code != STANDARD})


def in_language(sentence: str) -> str:
    """A sentence of the engine in the language that is spoken; what no template knows stays as it is."""
    spoken = language()
    return sentence if spoken == STANDARD else _said(sentence, spoken) or sentence


def marked(sentence: str) -> str:
    """A sentence of the engine in the language that is spoken, as HTML that says so where it stays English."""
    spoken = language()
    told = None if spoken == STANDARD else _said(sentence, spoken)
    if told is None and spoken != STANDARD:
        return f'<span lang="{STANDARD}">{escape(sentence)}</span>'
    return escape(told or sentence)


def cause(error: Exception) -> str:
    """What the system, a database or the engine says that an error is, in the language that is spoken."""
    return in_language(getattr(error, "strerror", None) or str(error))


@lru_cache(maxsize=512)  # the rows of a page are written again and again
def _said(sentence: str, spoken: str, depth: int = 0) -> str | None:
    """None where no template knows the sentence, or anything in it."""
    if len(sentence) > MOST or depth > DEEPEST:
        return None
    for template in templates():
        values = template.values(sentence)
        if values is not None and (told := _filled(template, values, spoken, depth)) is not None:
            return told
    return None


def _filled(template: Template, values: Sequence[str], spoken: str, depth: int) -> str | None:
    """The template in another language, around its values; None where one of them has no place in it."""
    told, known = list(values), any(map(str.isalpha, "".join(template.texts)))
    for number, (kind, value) in enumerate(zip(template.kinds, values, strict=True)):
        if kind == "number":
            if not NUMBER.fullmatch(value):
                return None
            told[number] = numerals(value.replace("%", " %"))
        elif kind == "quoted":
            if not value.startswith(QUOTED):
                return None
        elif kind == "words":
            inner = _said(value, spoken, depth + 1)
            told[number], known = inner or value, known or inner is not None
        elif kind == "list":
            items = [each if ITEMS.fullmatch(each) else _said(each, spoken, depth + 1) for each in ITEMS.split(value)]
            if any(each is None for each in items):
                return None
            told[number] = "".join(filter(None, items))
    return PLACE.sub(lambda place: told[int(place[1])], template.said[spoken]) if known else None
