"""The words that the grammar of prompts knows. How they are read is `phrases.py`'s.

Whatever is not here is taken for a noun or what describes one.
"""

from __future__ import annotations


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


def _phrases(text: str) -> list[tuple[str, ...]]:
    return [tuple(phrase.split()) for phrase in text.split("|")]


_TO_TWENTY = (
    "one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen|"
    "eighteen|nineteen|twenty"
)
COUNTS = {
    **{word: number for number, (word,) in enumerate(_phrases(_TO_TWENTY), 1)},
    **{"thirty": 30, "forty": 40, "fifty": 50, "both": 2},
}
PHRASED: dict[tuple[str, ...], int] = {
    ("a", "couple", "of"): 2,
    ("a", "pair", "of"): 2,
    ("half", "a", "dozen"): 6,
    ("a", "dozen"): 12,
}
GUESSES: dict[tuple[str, ...], int] = {("a", "few"): 3, ("several",): 3, ("some",): 3, ("many",): 5}
DETERMINERS = _set("a an the this that these those my your his her its our their another")
BACK = _set("the this that these those it they them")
SIZES = {
    **dict.fromkeys(("small", "tiny", "little"), "small"),
    **dict.fromkeys(("large", "big", "huge", "giant"), "large"),
}
COLOURS = _set("red orange yellow green blue purple white black pink brown teal grey gray gold silver violet")
IRREGULAR = {
    "men": "man",
    "women": "woman",
    "children": "child",
    "people": "person",
    "mice": "mouse",
    "geese": "goose",
    "feet": "foot",
    "teeth": "tooth",
    "leaves": "leaf",
    "wolves": "wolf",
    "knives": "knife",
    "shelves": "shelf",
}

# Each relation as its kind, and whether its ends are the other way round.
RELATIONS: dict[tuple[str, ...], tuple[str, bool]] = {
    words: (kind, swapped)
    for kind, swapped, text in (
        ("left", False, "left of|to the left of|on the left of|on the left side of|at the left of"),
        ("left", True, "right of|to the right of|on the right of|on the right side of|at the right of"),
        ("above", False, "above|over"),
        ("above", True, "below|beneath|underneath|under"),
        ("inside", False, "inside|inside of|within|in the middle of|in the center of|in the centre of"),
        ("on", False, "on top of|atop|on|upon|at the top of"),
        ("front", False, "in front of"),
        ("front", True, "behind"),
        ("beside", False, "next to|beside|near|close to|alongside"),
        ("between", False, "between"),
    )
    for words in _phrases(text)
}
LONGEST = max(map(len, RELATIONS))  # words of a relation
SETTING = _set("in at by against during along across through amid among")  # what follows is no thing but a place
# Where these end a phrase after "on", "under" and the like, it says where everything is and names no thing.
GROUNDS = _set(
    "background backdrop sky sea meadow ground grass sand snow beach shore water ocean lake river street road field "
    "lawn night moonlight sunlight rain sunset"
)
KNOWN_GROUNDS = _set("background backdrop sky sea meadow")
SIDES: dict[str, tuple[int | None, int | None]] = {
    "left": (-1, None),
    "right": (1, None),
    "top": (None, -1),
    "upper": (None, -1),
    "bottom": (None, 1),
    "lower": (None, 1),
    **dict.fromkeys(("middle", "center", "centre"), (0, 0)),
}
PARTS = _set("corner side half part edge")
PICTURES = _set(
    "picture image photo photograph drawing painting illustration rendering collage poster canvas frame page"
)
ORDERS = _set("draw show paint make create render generate please me")
AFTER_NOUN = _set("with without of wearing holding made from for that which who whose")
MOTIONS = _phrases("moves left|moves right|moves up|moves down|stays still|bounces|spins|grows|shrinks")
LEADING = _set("with and plus is are where featuring containing")  # before a thing, and no part of it
# Words that lead from a thing to its relation and say nothing of it.
HOLLOW = _set("is are was were that which who stands stand located placed positioned directly just exactly and plus")
