"""Reading a prompt: which things it names, how many of each, and how they stand to each other.

This is a small grammar of noun phrases, counts and relations. It knows the captions of the Papercut world and makes
something sensible of other English: what it does not know is a noun. Its words are `words.py`'s, where things go is
`places.py`'s.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, cast

from pipelines.grammar.words import (
    AFTER_NOUN,
    BACK,
    COLOURS,
    COUNTS,
    DETERMINERS,
    GROUNDS,
    GUESSES,
    HOLLOW,
    IRREGULAR,
    KNOWN_GROUNDS,
    LEADING,
    LONGEST,
    MOTIONS,
    ORDERS,
    PARTS,
    PHRASED,
    PICTURES,
    RELATIONS,
    SETTING,
    SIDES,
    SIZES,
)

Kind = Literal["left", "above", "inside", "on", "front"]
Spot = tuple[int | None, int | None]  # column and row of three: -1, 0, 1; None is not said

COMMA, STOP = ",", "."


@dataclass(frozen=True)
class Group:
    """Things of one noun phrase.

    Attributes:
        prompt: the words for one of them, such as "a small green heart".
        count: how many there are.
        size: "small" or "large" where that is said.
        spot: where in the picture, where that is said.
        tag: whether it stands after a comma without article or number, as words of style do.
    """

    prompt: str
    count: int = 1
    size: str | None = None
    spot: Spot | None = None
    tag: bool = False


@dataclass(frozen=True)
class Relation:
    """Group `first` is left of, above, inside, on or in front of group `second`."""

    kind: Kind
    first: int
    second: int


@dataclass(frozen=True)
class Reading:
    """What a prompt says: its things, their relations, the ground in words, and sentences about the rest."""

    groups: tuple[Group, ...]
    relations: tuple[Relation, ...]
    grounds: tuple[str, ...]
    notes: tuple[str, ...]


def read(prompt: str) -> Reading:
    """What `prompt` says."""
    return _Reader(_tokens(prompt)).read()


def _tokens(text: str) -> list[str]:
    """Words, commas and stops. What stands in quotes is one word."""
    found: list[str] = []
    for piece in re.split(r'("[^"]*")', text.translate({0x201C: '"', 0x201D: '"', 0x3001: ", ", 0xFF0C: ", "})):
        if len(piece) > 1 and piece[0] == '"':
            found.append(piece)
            continue
        for line in re.sub(r",(?=[^\d\s])", ", ", piece).split("\n"):
            for chunk in line.split():
                bare = chunk.lstrip("([{")
                word = bare.rstrip(",;:.!?)]}。")
                found += [COMMA] * (bare != chunk) + [word] * bool(word)
                if word != bare:
                    found.append(STOP if any(c in ".!?;。" for c in bare[len(word) :]) else COMMA)
            found.append(STOP)
        if found:
            found.pop()
    return found


class _Reader:
    """Goes through the words once. `_words` is the phrase that is being read."""

    def __init__(self, tokens: Sequence[str]) -> None:
        self._tokens, self._plain = tokens, [token.casefold() for token in tokens]
        self._words: list[str] = []
        self._groups: list[Group] = []
        self._relations: list[Relation] = []
        self._grounds: list[str] = []
        self._notes: dict[str, None] = {}  # a set in the order of reading
        self._last: int | None = None  # the thing that a relation's first end would be
        self._subject: int | None = None  # the first end of the relation before
        self._waiting: tuple[str, bool, int | None] | None = None  # a relation whose second end comes next
        self._leading: tuple[str, bool, int] | None = None  # one that was said before its first end
        self._between: tuple[int, int] | None = None  # the thing between, and the one at its left
        self._spot: Spot | None = None  # said before its thing
        self._after_comma = False

    def read(self) -> Reading:
        i = self._lead_in()
        while i < len(self._tokens):
            i = self._step(i)
        self._flush()
        return self._finished()

    def _step(self, i: int) -> int:
        """Read what begins at token `i`; the token after it."""
        token = self._plain[i]
        if token in (COMMA, STOP):
            self._flush()
            self._after_comma = token == COMMA
            if self._subject is not None:
                self._last = self._subject
            if token == STOP:
                self._last = self._subject = self._waiting = self._leading = self._between = self._spot = None
            return i + 1
        if token in ("and", "&", "plus") and not self._joins_colours(i):
            self._flush()
            self._after_comma = False
            if self._relation_at(i + 1) and self._subject is not None:
                self._last = self._subject
            return i + 1
        if (found := self._spot_at(i)) is not None:
            spot, i = found
            empty = not self._flush()
            if self._last is None or (empty and self._groups[self._last].spot):
                self._spot = spot
            else:
                self._groups[self._last] = replace(self._groups[self._last], spot=spot)
            return i
        relation = self._relation_at(i)
        bare = relation == ("on",) and self._at(i + 1) not in DETERMINERS and _number(self._at(i + 1)) is None
        if relation and not bare and not (len(relation) == 1 and self._ground_at(i)):
            self._flush()
            kind, swapped = RELATIONS[relation]
            self._waiting, self._subject = (kind, swapped, self._last), self._last
            return i + len(relation)
        if token in SETTING or relation:
            self._flush()
            end = self._end_of_ground(i)
            words = " ".join(self._tokens[i:end])
            self._grounds.append(words)
            if not KNOWN_GROUNDS & set(self._plain[i:end]):
                self._note(f"{_cut(words)!r} was read as where everything is, and has no box.")
            return end
        self._words.append(self._tokens[i])
        return i + 1

    # ------------------------------------------------------------ what begins at a token

    def _lead_in(self) -> int:
        """How many words at the start only say that a picture is wanted: "draw me a picture of", "there are"."""
        i, plain = 0, self._plain
        while i < len(plain) and plain[i] in ORDERS:
            i += 1
        for k in range(i, min(i + 5, len(plain) - 1)):
            if plain[k] in PICTURES and plain[k + 1] in ("of", "showing", "with"):
                i = k + 2
                break
        if plain[i : i + 1] == ["there"] and plain[i + 1 : i + 2] in (["is"], ["are"]):
            i += 2
        return i

    def _joins_colours(self, i: int) -> bool:
        """Whether "and" stands within one thing, as in "a black and white cat"."""
        return bool(self._words) and self._words[-1].casefold() in COLOURS and self._at(i + 1) in COLOURS

    def _at(self, i: int) -> str:
        return self._plain[i] if i < len(self._plain) else STOP

    def _relation_at(self, i: int) -> tuple[str, ...] | None:
        for length in range(LONGEST, 0, -1):
            words = tuple(self._plain[i : i + length])
            if words in RELATIONS:
                return words
        return None

    def _spot_at(self, i: int) -> tuple[Spot, int] | None:
        """A place in the picture, such as "on the left" or "in the top right corner", and the token after it."""
        if self._plain[i] not in ("in", "at", "on", "to"):
            return None
        i += 1 + (self._at(i + 1) == "the")
        column: int | None = None
        row: int | None = None
        start = i
        while i < len(self._plain) and all(part in SIDES for part in self._plain[i].split("-")):
            for part in self._plain[i].split("-"):
                x, y = SIDES[part]
                column, row = column if x is None else x, row if y is None else y
            i += 1
        if i == start:
            return None
        i += self._at(i) in PARTS
        if self._at(i) == "of":
            i += 1 + (self._at(i + 1) in DETERMINERS)
            if self._at(i) not in PICTURES:  # "at the left of a house" is a relation
                return None
            i += 1
        return (column, row), i

    def _ground_at(self, i: int) -> bool:
        """Whether the phrase after the preposition at `i` is a ground, as in "on a blue background"."""
        words = self._plain[i + 1 : self._end_of_ground(i)]
        return bool(words) and words[_head(words)] in GROUNDS

    def _end_of_ground(self, i: int) -> int:
        end = i + 1
        while end < len(self._plain) and self._plain[end] not in (COMMA, STOP):
            named = any(word not in DETERMINERS for word in self._plain[i + 1 : end])
            new = self._plain[end] in DETERMINERS or _number(self._plain[end]) is not None
            if named and new and self._plain[end - 1] not in AFTER_NOUN:
                break
            following = self._at(end + 1)
            if self._plain[end] == "and" and (following in DETERMINERS or _number(following) is not None):
                break
            if named and (self._relation_at(end) or self._plain[end] in SETTING or self._spot_at(end)):
                break
            end += 1
        return end

    # ------------------------------------------------------------ what was read

    def _note(self, sentence: str) -> None:
        self._notes[sentence] = None

    def _flush(self) -> bool:
        """End the phrase that is being read; whether there was one."""
        words = self._without_hollow(self._words)
        self._words = []
        if not words:
            return False
        index = self._named_before(words)
        if index is None:
            self._groups.append(self._group(words))
            index = len(self._groups) - 1
        self._relate(index)
        self._last, self._after_comma = index, False
        return True

    def _without_hollow(self, words: list[str]) -> list[str]:
        while words and words[-1].casefold() in HOLLOW:
            words = words[:-1]
        for motion in MOTIONS:
            if len(words) > len(motion) and tuple(word.casefold() for word in words[-len(motion) :]) == motion:
                self._note(f"{' '.join(motion)!r} is a motion; here nothing moves.")
                words = words[: -len(motion)]
        while words and words[0].casefold() in LEADING:
            words = words[1:]
        return words if any(any(c.isalnum() or ord(c) > 127 for c in word) for word in words) else []

    def _named_before(self, words: Sequence[str]) -> int | None:
        """The group that "the house" or "it" means."""
        first, rest = words[0].casefold(), {word.casefold() for word in words[1:]}
        if first not in BACK:
            return None
        if not rest:
            return len(self._groups) - 1 if self._groups and first not in ("the", "a") else None
        for index in reversed(range(len(self._groups))):
            if rest <= set(self._groups[index].prompt.casefold().split()):
                return index
        return None

    def _group(self, words: Sequence[str]) -> Group:
        plain = [word.casefold() for word in words]
        count, used, guessed = _count(plain)
        kept = list(words[used:])
        if guessed:
            self._note(f"How many {_cut(' '.join(kept))!r} is left open; {count} are proposed.")
        if used and kept:
            head = _head([word.casefold() for word in kept])
            if count != 1:
                kept[head] = _singular(kept[head])
            kept.insert(0, "an" if kept[0][0].casefold() in "aeiou" else "a")
        described = [word.casefold() for word in kept[: _head([word.casefold() for word in kept]) + 1]]
        size = next((SIZES[word] for word in described if word in SIZES), None)
        bare = not used and plain[0] not in DETERMINERS
        tag = bare and self._after_comma and self._waiting is None and self._spot is None
        spot, self._spot = self._spot, None
        return Group(" ".join(kept), count, size, spot, tag)

    def _relate(self, index: int) -> None:
        """Tie the thing just read to the relation that waits for it."""
        if self._between is not None:
            middle, left = self._between
            self._between = None
            self._add("left", False, left, middle)
            self._add("left", False, middle, index)
        elif self._waiting is not None:
            kind, swapped, subject = self._waiting
            self._waiting = None
            if subject is None:
                self._leading = (kind, swapped, index)
            else:
                self._add(kind, swapped, subject, index)
        elif self._leading is not None:
            kind, swapped, second = self._leading
            self._leading = None
            self._add(kind, swapped, index, second)

    def _add(self, kind: str, swapped: bool, first: int, second: int) -> None:
        if first == second:
            return
        if kind == "between":
            pair = self._groups[second]
            if pair.count == 1:
                self._between = (first, second)
                return
            self._groups[second] = replace(pair, count=pair.count - pair.count // 2)
            self._groups.append(replace(pair, count=pair.count // 2))
            self._add("left", False, second, first)
            self._add("left", False, first, len(self._groups) - 1)
            return
        if kind == "beside":
            self._note(f"On which side of {_cut(self._groups[second].prompt)!r} "
                       f"{_cut(self._groups[first].prompt)!r} stands is left open; it is the left.")  # fmt: skip
            kind = "left"
        ends = (second, first) if swapped else (first, second)
        self._relations.append(Relation(cast(Kind, kind), *ends))

    def _finished(self) -> Reading:
        """The reading, without words of style: bare phrases after a comma where other things have articles."""
        related = {end for relation in self._relations for end in (relation.first, relation.second)}
        tags = {i for i, group in enumerate(self._groups) if group.tag and i not in related and group.spot is None}
        if any(group.tag is False for group in self._groups) and len(tags) < len(self._groups):
            for i in sorted(tags):
                self._note(f"{_cut(self._groups[i].prompt)!r} has neither article nor number and got no box.")
        else:
            tags = set()
        return _reading(self._groups, self._relations, self._grounds, self._notes, tags)


def _reading(
    groups: Sequence[Group], relations: Iterable[Relation], grounds: Iterable[str], notes: Mapping[str, None],
    left_out: set[int],
) -> Reading:  # fmt: skip
    new = {old: i for i, old in enumerate(i for i in range(len(groups)) if i not in left_out)}
    kept = [Relation(r.kind, new[r.first], new[r.second]) for r in relations if r.first in new and r.second in new]
    return Reading(tuple(groups[i] for i in new), tuple(kept), tuple(grounds), tuple(notes))


def _number(word: str) -> int | None:
    if word in COUNTS:
        return COUNTS[word]
    return int(word) if word.isascii() and word.isdecimal() and 0 < len(word) < 5 and int(word) else None


def _count(plain: Sequence[str]) -> tuple[int, int, bool]:
    """How many a phrase names, how many words say so, and whether that is a guess."""
    for table, guessed in ((PHRASED, False), (GUESSES, True)):
        for words, many in table.items():
            if tuple(plain[: len(words)]) == words and len(plain) > len(words):
                return many, len(words), guessed
    skipped = int(len(plain) > 2 and plain[0] in DETERMINERS - {"a", "an"})
    number = _number(plain[skipped]) if len(plain) > skipped + 1 else None
    return (1, 0, False) if number is None else (number, skipped + 1, False)


def _head(plain: Sequence[str]) -> int:
    """Where the noun of a phrase stands: "cats" in "two cats with hats"."""
    ends = [i for i, word in enumerate(plain) if i and word in AFTER_NOUN]
    return (ends[0] if ends else len(plain)) - 1


def _singular(noun: str) -> str:
    plain = noun.casefold()
    if plain in IRREGULAR:
        return IRREGULAR[plain]
    if plain.endswith("ies") and len(plain) > 4:
        return noun[:-3] + "y"
    if re.search(r"(ch|sh|x|ss|zz)es$", plain):
        return noun[:-2]
    return noun[:-1] if plain.endswith("s") and not plain.endswith(("ss", "us")) and len(plain) > 2 else noun


def _cut(words: str, most: int = 48) -> str:
    return words if len(words) <= most else f"{words[: most - 3]}..."
