r"""Expansion: `{red|blue}`, `{1..5}` and `__colour__` in the texts of a job become rows of plain jobs.

    text        = what is between signs, and the signs `{` `}` `|` `__` after a backslash
    {a|b c|{d|e}}     alternatives, one inside another as well
    {1..5} {0.1..0.5..0.1}   numbers from, to and by
    __colour__        the entries of the list colour.txt (`wildcards.py`)

A text is read into a tree that can count its rows and write any one of them, so that nothing is built before the number
of rows is known. `docs/prompts.md` tells it to users.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import Any

from pipelines.expansion.fieldpath import NUMBERS, read_text, value_at, with_value
from pipelines.expansion.wildcards import Wildcards
from pipelines.refusal import Place, Refusal, field_of, kind_of, on_one_line, shown

KEY = "expand"  # of a document of a job file; no field of a job
MODES = ("all", "random")
MAX_ROWS = 10_000
MAX_NESTED = 16
MAX_CHARACTERS = 100_000  # of one template
TEXTS = frozenset({"prompt", "negative_prompt"})
PARTS = ("scenes", "boxes", "layers")

# A sign and the backslashes before it. The look back lets a search start at a run of backslashes and not in it.
_SIGN = re.compile(r"(?<!\\)\\*+([{}|]|__)")
_WILDCARD = re.compile(r"__([^\s_{}|\\][^\s{}|\\]*?)__")
_NUMBER = r"(-?\d{1,9}(?:\.\d{1,6})?)"
_RANGE = re.compile(rf"{_NUMBER}\.\.{_NUMBER}(?:\.\.{_NUMBER})?", re.ASCII)
_PICK = re.compile(r"[\d\s-]*\$\$")


@dataclass(frozen=True)
class Range:
    """Numbers from `first` on, each `step` further."""

    first: Decimal
    step: Decimal
    count: int

    def at(self, index: int) -> str:
        """Number `index`, with as many decimals as the first one or the step has."""
        places = max(0, *(-int(number.as_tuple().exponent) for number in (self.first, self.step)))
        return f"{self.first + index * self.step:.{places}f}"


@dataclass(frozen=True)
class Entries:
    """The lines of a list; they are taken as they are."""

    lines: tuple[str, ...]

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.lines)

    def at(self, index: int) -> str:
        """Line `index`."""
        return self.lines[index]


@dataclass(frozen=True)
class Choice:
    """One of several alternatives."""

    options: tuple[Template | Range, ...]

    @cached_property
    def count(self) -> int:
        """The rows of all alternatives together."""
        return sum(option.count for option in self.options)

    def at(self, index: int) -> str:
        """Row `index`, counted through the alternatives in their order."""
        for option in self.options:
            if index < option.count:
                return option.at(index)
            index -= option.count
        raise IndexError(index)


@dataclass(frozen=True)
class Template:
    """A text that was read: pieces of it in their order."""

    pieces: tuple[str | Choice | Entries, ...]

    @cached_property
    def count(self) -> int:
        """How many texts it stands for: the product of its pieces."""
        return math.prod(piece.count for piece in self.pieces if not isinstance(piece, str))

    def at(self, index: int) -> str:
        """Text `index`. The first choice changes slowest, as in loops written in reading order."""
        texts = []
        for piece in reversed(self.pieces):
            if isinstance(piece, str):
                texts.append(piece)
            else:
                index, inside = divmod(index, piece.count)
                texts.append(piece.at(inside))
        return "".join(reversed(texts))


def parse_template(text: str, wildcards: Wildcards | None = None) -> Template:
    """Read `text`; one without signs becomes itself, to the byte.

    Raises:
        Refusal: a brace is not closed, an alternative is empty, a list is unknown; with the character's number from 1.
    """
    if len(text) > MAX_CHARACTERS:
        raise Refusal("", f"expected at most {MAX_CHARACTERS:,} characters, got {len(text):,}; shorten it")
    if half := re.search("[\ud800-\udfff]", text):  # also where no draw would show it: the record has the whole text
        raise Refusal("", f"at character {half.start() + 1:,}: half of a surrogate pair, which no file can hold")
    return _Reader(text, wildcards or Wildcards()).template(0)


def draw(template: Template, text: str, seed: object) -> str:
    r"""The one of the texts of `template` that belongs to `seed`: a pure function of both, and each equally likely.

    It is number SHAKE-256("SEED\nTEXT") modulo the count, where `text` is what the template was read from.
    """
    # 16 bytes more than the count has make the unevenness of a modulo smaller than anyone could see.
    length = template.count.bit_length() // 8 + 16
    digest = hashlib.shake_256(f"{seed}\n{text}".encode("utf-8", "surrogatepass")).digest(length)
    return template.at(int.from_bytes(digest, "big") % template.count)


def escape(text: str) -> str:
    """`text` so that reading it as a template gives `text` again."""
    return _SIGN.sub(lambda found: "\\" * (2 * (len(found[0]) - len(found[1])) + 1) + found[1], text)


@dataclass(frozen=True)
class Row:
    """One job of a document.

    Attributes:
        values: the job as plain values, without `expand`.
        number: which row of the document it is, from 1.
        count: how many rows the document has.
        expanded_from: for the record: the mode, the row, and the texts as they were written, by field; None where
            nothing was expanded.
    """

    values: Any
    number: int = 1
    count: int = 1
    expanded_from: Mapping[str, Any] | None = None

    def named(self, stem: object) -> str | None:
        """The row's own name among the rows of a job called `stem`; None for an only row."""
        return f"{stem}-{self.number:0{len(str(self.count))}}" if self.count > 1 else None


def rows(document: object, wildcards: Wildcards | None = None, most: int = MAX_ROWS) -> Iterator[Row]:
    """The rows of a document of a job file: itself, unless it says `expand: all` or `expand: random`.

    Prompts and negative prompts of the job and of its parts are read as templates, and so are texts in number fields.
    `all` gives every combination, in reading order, the first choice slowest. `random` gives one row, or one for each
    number where the job's own seed is a template; texts are drawn by the row's seed (see `draw`).

    Raises:
        Refusal: the mode is unknown, a text can not be read, or there would be more than `most` rows; before the first
            row is built.
    """
    if not isinstance(document, Mapping) or KEY not in document:
        yield Row(document)
        return
    values = {key: value for key, value in document.items() if key != KEY}
    mode = document[KEY]
    if mode not in MODES:
        raise Refusal(KEY, f"expected {' or '.join(MODES)}, got {kind_of(mode)}")
    found = dict(_templates(values, wildcards or Wildcards()))
    listed = {place: found[place] for place in found if mode == "all" or place == ("seed",)}
    count = math.prod(template.count for template in listed.values())
    if count > most:
        factors = " x ".join(f"{_told(template.count)} of {field_of(place)}" for place, template in listed.items())
        got = on_one_line(f"{_told(count)} ({factors})", 200)
        raise Refusal(KEY, f"expected at most {most:,} rows, got {got}; shorten a list or write expand: random")
    written = {field_of(place): value_at(values, place) for place in found}
    for index in range(count):
        plain, rest = dict(values), index
        for place, template in reversed(listed.items()):
            rest, inside = divmod(rest, template.count)
            plain = _put(plain, place, template.at(inside))
        seed = plain.get("seed", 0)
        for place, template in found.items():
            if place not in listed:
                plain = _put(plain, place, draw(template, value_at(values, place), seed))
        told = {KEY: mode, "row": index + 1, "of": count, "fields": written} if found else None
        yield Row(plain, index + 1, count, told)


def factors(values: Mapping[str, Any], wildcards: Wildcards | None = None) -> dict[str, int]:
    """How many texts each field stands for that stands for several; their product is the number of combinations.

    Raises:
        Refusal: a text can not be read.
    """
    found = _templates(values, wildcards or Wildcards())
    return {field_of(place): template.count for place, template in found if template.count > 1}


def _templates(values: Mapping[Any, Any], wildcards: Wildcards) -> Iterator[tuple[Place, Template]]:
    """The fields that are more than plain texts, in reading order."""
    for place, text in _texts(values):
        try:
            template = parse_template(text, wildcards)
        except Refusal as refusal:
            raise Refusal(field_of(place), refusal.reason) from None
        if template.pieces not in ((), (text,)):
            yield place, template


def _texts(values: Mapping[Any, Any]) -> Iterator[tuple[Place, str]]:
    for key, value in values.items():
        if isinstance(value, str) and key in TEXTS | NUMBERS:
            yield (key,), value
        elif key in PARTS and isinstance(value, list | tuple):
            for number, part in enumerate(value):
                if isinstance(part, Mapping):
                    for name, text in part.items():
                        if isinstance(text, str) and name in TEXTS | NUMBERS:
                            yield (key, number, name), text


def _told(count: int) -> str:
    # Python writes no number of thousands of digits, and nobody would read one.
    return f"{count:,}" if count < 10**12 else f"about 10^{math.log10(count):.0f}"


def _put(values: Mapping[str, Any], place: Place, text: str) -> dict[str, Any]:
    return with_value(values, place, read_text(place, text))


class _Reader:
    """Reads one text from left to right."""

    def __init__(self, text: str, wildcards: Wildcards) -> None:
        self.text, self.wildcards = text, wildcards
        self.here = 0

    def template(self, depth: int) -> Template:
        """What stands here, up to the end of the text or, inside of a group, up to its next `|` or `}`."""
        pieces: list[str | Choice | Entries] = []
        plain: list[str] = []

        def add(piece: Choice | Entries) -> None:
            pieces.extend(filter(None, ["".join(plain)]))
            plain.clear()
            pieces.append(piece)

        while found := _SIGN.search(self.text, self.here):
            sign, at = found[1], found.start(1)
            slashes = at - found.start()
            plain += self.text[self.here : found.start()], "\\" * (slashes // 2)
            self.here = found.end()
            if slashes % 2:
                plain.append(sign)
            elif sign == "{":
                add(self._group(at, depth + 1))
            elif sign == "__" and (named := _WILDCARD.match(self.text, at)):
                self.here = named.end()
                add(self._entries(at, named[1]))
            elif sign == "__":  # one of them may still begin a name
                plain.append("_")
                self.here = at + 1
            elif depth:
                self.here = at
                break
            elif sign == "}":
                raise self._told(at, "this brace closes nothing; write \\} for a brace")
            else:
                plain.append(sign)
        else:
            plain.append(self.text[self.here :])
            self.here = len(self.text)
        pieces.extend(filter(None, ["".join(plain)]))
        return Template(tuple(pieces))

    def _group(self, start: int, depth: int) -> Choice:
        if depth > MAX_NESTED:
            raise self._told(start, f"expected braces nested at most {MAX_NESTED} deep")
        options: list[Template | Range] = []
        sign = "{"
        while sign != "}":
            begin = self.here
            inside = self.template(depth)
            if self.here == len(self.text):
                raise self._told(start, "this brace is not closed; add } or write \\{ for a brace")
            options.append(self._option(begin, inside))
            sign = self.text[self.here]
            self.here += 1
        if len(options) == 1 and not isinstance(options[0], Range):
            raise self._told(
                start,
                "expected alternatives such as {red|blue} or numbers such as {1..5}, "
                f"got {shown(self.text[start : self.here])}; write \\{{ for a brace",
            )
        return Choice(tuple(options))

    def _option(self, begin: int, inside: Template) -> Template | Range:
        text = self.text[begin : self.here]
        if numbers := _RANGE.fullmatch(text.strip()):
            return self._range(begin, *numbers.groups())
        if pick := _PICK.match(text):
            raise self._told(begin, f"{shown(pick[0])} is not read here; write the combinations out")
        pieces = list(inside.pieces)
        if pieces and isinstance(pieces[0], str):
            pieces[0] = pieces[0].lstrip()
        if pieces and isinstance(pieces[-1], str):
            pieces[-1] = pieces[-1].rstrip()
        if not any(pieces):
            raise self._told(
                begin, "expected words in every alternative, got an empty one; write it or leave out its |"
            )
        return Template(tuple(piece for piece in pieces if piece != ""))

    def _range(self, begin: int, low: str, high: str, by: str | None) -> Range:
        first, last, step = Decimal(low), Decimal(high), Decimal(by or 1)
        if by is None and (first - last) % 1:
            raise self._told(begin, f"expected a step, as in {{{low}..{high}..0.1}}, got none; add one")
        if step <= 0:
            raise self._told(begin, f"expected a step above 0, got {by}; the numbers themselves say up or down")
        count = int(abs(last - first) / step) + 1
        return Range(first, step if last >= first else -step, count)

    def _entries(self, at: int, name: str) -> Entries:
        try:
            return Entries(self.wildcards.entries(name))
        except Refusal as refusal:
            raise self._told(at, refusal.reason) from None

    def _told(self, at: int, reason: str) -> Refusal:
        return Refusal("", f"at character {at + 1:,}: {reason}")
