"""Which words a checkpoint was trained on. Needs no weights, so that a page can warn while somebody types."""

from __future__ import annotations

import re
from collections.abc import Sequence


def strangers(text: str, vocabulary: Sequence[str] | None) -> list[str]:
    """A warning that names the words of `text` outside `vocabulary`, or nothing; with None any word is read."""
    if vocabulary is None:
        return []
    known = frozenset(vocabulary)
    found = dict.fromkeys(word for word in re.findall(r"[^\W_]+", text.lower()) if word not in known)
    if not found:
        return []
    listed = ", ".join(repr(word) for word in found)
    return [f"this checkpoint was not trained on {listed}; a FLUX.2 [klein] folder or hub id as model reads open text"]
