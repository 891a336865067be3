"""What a place of the page shows, and the mark by which an open page knows that it is another thing by now.

What changes with every step of a render, such as how far it is, travels alone, under a key: fifty pages that each had
their whole list drawn anew for a step would leave the render no time.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape

BEGIN, END = "<!--live-->", "<!--/live-->"  # no word of a user can hold them: those are escaped
SLOT = re.compile(r'data-live="([\w:-]+)"[^>]*>')
LIVE = re.compile(rf'data-live="([\w:-]+)"([^>]*)>{BEGIN}(.*?){END}', re.DOTALL)


def live(key: str, inner: str, tag: str = "span", more: str = "") -> str:
    """An element whose inside changes with every step; `key` names it on the page, `more` are further attributes."""
    return f'<{tag} data-live="{key}"{more}>{BEGIN}{inner}{END}</{tag}>'


@dataclass(frozen=True)
class Shown:
    """What a place shows.

    Attributes:
        html: its HTML, with nothing in the elements of `live`.
        live: what stands in them, by their keys.
    """

    html: str
    live: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, drawn: str) -> Shown:
        """HTML in which what is live was written by the function of that name."""
        parts = {key: inner for key, _, inner in LIVE.findall(drawn)}
        return cls(LIVE.sub(r'data-live="\1"\2>', drawn), parts)

    @property
    def mark(self) -> str:
        """Two halves: the first differs when the HTML does, the second when what is live does."""
        return f"{_digest(self.html)}-{_digest(json.dumps(self.live, sort_keys=True))}"

    def watched(self, address: str) -> str:
        """All of it, with what its page asks by: `address` is what stands behind /watch/."""
        return watched(address, self.mark, SLOT.sub(lambda slot: slot[0] + self.live.get(slot[1], ""), self.html))


def unseen(address: str) -> str:
    """A place that the page asks for as soon as it is seen."""
    return watched(address, "", "")


def watched(address: str, mark: str, inner: str) -> str:
    """HTML with what its page asks by."""
    return f'<div class="watched" data-watch="{escape(address)}" data-mark="{mark}">{inner}</div>'


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
