"""A form: the fields of a tab, the job that they make, and the sentences beside them when they make none.

Which fields a tab has is decided in its own file; that values of a page become a job, and back, only here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import gradio as gr

from pipelines.expansion.expand import PARTS as LISTS
from pipelines.expansion.expand import TEXTS
from pipelines.expansion.expand import escape as braced
from pipelines.job import KINDS, usual
from pipelines.refusal import Refusal
from ui.reasons import in_language
from ui.words import knows, lowered, numerals, of, say

Convert = Callable[[Any], Any]
Values = dict[str, Any]

DEEP = "deep"  # the class of what only the level Everything shows (`levels.py`)
SHORT = 30  # characters of a value that is named in passing


class Unfinished(Refusal):
    """A form that wants something more before there is anything to judge, such as a picture."""


def same(value: Any) -> Any:
    """The value as it is."""
    return value


@dataclass(frozen=True)
class Field:
    """One field of a form.

    Attributes:
        name: where its value stands in the job, such as `seed` or `size[0]`, or a name of the tab's own.
        part: the gradio component.
        sent: from what the page sends to the job's value.
        shown: the way back.
        live: JavaScript for a value that only the page itself knows, such as what was typed into a table.
        deep: whether only the level Everything shows it.
    """

    name: str
    part: Any
    sent: Convert = same
    shown: Convert = same
    live: str = ""
    deep: bool = False

    def differs(self, value: Any) -> bool:
        """Whether `value` is another one than the page begins with."""
        if isinstance(self.part, gr.HTML):  # what it shows at first is a drawing, and what is sent a value
            return bool(self.sent(value) != self.sent(self.part.value))
        return bool((value or "") != (self.part.value or ""))  # an empty field begins as None, and is sent as ""

    def told(self, value: Any) -> str:
        """The field and its value in a few words."""
        label = lowered(label_of(self.name))
        if isinstance(value, bool) or isinstance(self.part, gr.HTML):
            return label if value is not False else say("form.off", label=label)
        chosen = {key: words for words, key in getattr(self.part, "choices", None) or ()}
        words = numerals(f"{value:g}") if isinstance(value, float) else str(chosen.get(value, value))
        words = of(self.name, value) if isinstance(value, str) and knows(self.name, value) else words
        return f"{label} {words if len(words) <= SHORT else words[: SHORT - 1] + '…'}"


class Form:
    """The fields of one tab.

    Args:
        kind: the tab's id.
        task: the jobs' task.
        join: makes the job's values of the page's, where a field is not simply one value.
        split: the way back; it gets a whole job, defaults included.
    """

    def __init__(
        self, kind: str, task: str, join: Callable[[Values], Values] = same, split: Callable[[Values], Values] = same
    ) -> None:
        self.kind, self.task = kind, task
        self.fields: list[Field] = []
        self.slots: list[tuple[tuple[str, ...], Any]] = []
        self.fresh: list[tuple[Any, Callable[[], Any]]] = []  # see `opened`
        self.kept: tuple[str, ...] = ()  # see `keep`
        self._join, self._split = join, split

    def add(
        self, name: str, part: Any, sent: Convert = same, shown: Convert = same, live: str = "", deep: bool = False
    ) -> Any:
        """Take a component in as a field, and return it."""
        if deep:
            part.elem_classes = [*(part.elem_classes or ()), DEEP]
        if isinstance(part, gr.Slider | gr.Number | gr.Dropdown | gr.Radio):
            # What was typed is handed on as it is, for the job's own sentence to say what is wrong with it. On the
            # instance, because gradio writes a stub file into the source folder for every subclass of a component.
            part.preprocess = same  # type: ignore[assignment, method-assign]
        self.fields.append(Field(name, part, sent, shown, live, deep))
        return part

    def slot(self, *names: str) -> None:
        """Make room for what is wrong with fields of these names; one without names takes what no other takes."""
        self.slots.append((names, gr.HTML(elem_classes="slot", apply_default_css=False)))

    def opened(self, part: Any, update: Callable[[], Any]) -> None:
        """Bring a component up to date with `update` whenever the tab is opened."""
        self.fresh.append((part, update))

    def keep(self, *names: str) -> None:
        """Keep what stands in these fields in the browser, for a page that is loaded again."""
        self.kept = names

    def part(self, name: str) -> Any:
        """The component of a field."""
        return next(field.part for field in self.fields if field.name == name)

    @property
    def parts(self) -> list[Any]:
        """The components, in the order in which `job` reads values."""
        return [field.part for field in self.fields]

    @property
    def notes(self) -> list[Any]:
        """The slots' components, in the order of `said`."""
        return [part for _, part in self.slots]

    @property
    def live(self) -> str | None:
        """JavaScript that puts into an event's values what only the page knows; None where there is no such field."""
        reads = [f"v[{index}] = {field.live} ?? v[{index}];" for index, field in enumerate(self.fields) if field.live]
        # A moment later, for gradio may still be drawing what changed.
        wait = "await new Promise(done => setTimeout(done, 30));"
        return f"async (...v) => {{ {wait} {' '.join(reads)} return v; }}" if reads else None

    def page(self, values: Sequence[Any]) -> Values:
        """What the fields hold, each converted alone and those of one list together, before they are a job.

        Raises:
            Refusal: a value that can not even be asked for.
        """
        page: Values = {}
        for field, value in zip(self.fields, values, strict=True):
            name, _, index = field.name.partition("[")
            sent = field.sent(value)
            if index:
                page.setdefault(name, []).append(sent)
            else:
                page[name] = sent
        return page

    def job(self, values: Sequence[Any]) -> Values:
        """The page's values as a job that is not yet checked; its texts may stand for several (`expand.py`).

        Raises:
            Refusal: a value that can not even be asked for.
        """
        return {"task": self.task, **self._join(self.page(values))}

    def values(self, job: Mapping[str, Any]) -> list[Any]:
        """A job as values of the fields; what it does not say is as it is by default."""
        page = self._split({**defaults(self.task, job), **_literal(job)})
        return [field.shown(_dig(page, field.name)) for field in self.fields]

    def unusual(self, values: Sequence[Any]) -> list[str]:
        """Fields that the level Essentials hides and that are not as at the beginning, in words."""
        pairs = zip(self.fields, values, strict=True)
        return [field.told(value) for field, value in pairs if field.deep and field.differs(value)]

    def said(self, refusal: Refusal | None = None, left: Sequence[str] = ()) -> list[Any]:
        """The HTML of all slots: the refusal in its own, those of fields `left` as they are, nothing in the others."""
        said: list[Any] = [""] * len(self.slots)
        if refusal is not None:
            said[self._slot_of(refusal.field)] = refused(refusal)
        for field in left:
            said[self._slot_of(field)] = gr.skip()
        return said

    def _slot_of(self, field: str) -> int:
        found = [
            index for index, (names, _) in enumerate(self.slots)
            if any(field == name or field.startswith((f"{name}[", f"{name}.")) for name in names)
        ]  # fmt: skip
        return found[0] if found else next(index for index, (names, _) in enumerate(self.slots) if not names)


def refused(refusal: Refusal) -> str:
    """What is wrong, as it stands beside a field."""
    label = label_of(refusal.field)
    place = f"<b>{escape(label)}:</b> " if label else ""
    return f'<p class="note bad" role="alert">{place}{escape(in_language(refusal.reason))}</p>'


def noted(sentence: str, bad: bool = False) -> str:
    """A sentence that answers a press; nothing where there is none."""
    if not sentence:
        return ""
    return f'<p class="note{" bad" if bad else ""}" role="{"alert" if bad else "status"}">{escape(sentence)}</p>'


def label_of(field: str) -> str:
    """What the page calls a field of a job: `scenes[1].prompt` is Scene 2, prompt."""
    if is_field(field):
        return of("field", _key(field))
    if inside := re.fullmatch(r"(scenes|boxes|layers)\[(\d+)\](?:\.(\w+).*)?", field):
        name = inside[3] or ""
        own = of("inside", name) if knows("inside", name) else of("field", name) if is_field(name) else name
        part = of("part", inside[1], number=int(inside[2]) + 1)
        return f"{part}, {lowered(own)}" if own else part
    name = field.partition("[")[0]
    return of("field", name) if is_field(name) else field


def is_field(name: str) -> bool:
    """Whether the page has a word for a field of this name."""
    return knows("field", _key(name))


def _key(field: str) -> str:
    return field.replace("[", "_").replace("]", "")  # size[0] as size_0


def defaults(task: str, said: Mapping[str, Any] | None = None) -> Values:
    """The values of a job's optional fields when nobody says anything, or no more than `said`, as JSON gives them."""
    fields = KINDS[task].model_fields.items()
    optional = {name: field.get_default() for name, field in fields if not field.is_required()}
    return dict(json.loads(json.dumps({**optional, **usual(task, said or {})})))


def whole(value: Any) -> Any:
    """A slider's 128.0 as 128; what is not a whole number goes on as it is, to be refused by name."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _literal(job: Mapping[str, Any]) -> Values:
    """The job with its texts written so that they stand for themselves: a brace in them is a brace."""

    def plain(part: Mapping[str, Any]) -> Values:
        return {key: braced(text) if key in TEXTS and isinstance(text, str) else text for key, text in part.items()}

    lists = {
        name: [plain(part) if isinstance(part, Mapping) else part for part in job[name]]
        for name in LISTS
        if isinstance(job.get(name), list | tuple)
    }
    return {**plain(job), **lists}


def _dig(page: Values, name: str) -> Any:
    base, _, index = name.partition("[")
    value = page.get(base)
    return value[int(index.rstrip("]"))] if index and value is not None else value
