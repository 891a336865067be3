"""YAML without its traps: plain values only, no aliases, no tags, no key twice, bounded depth.

PyYAML's own composer recurses and expands aliases, so values are built here from its stream of parsing events.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from pipelines.refusal import Refusal, kind_of

MAX_DEPTH = 32
LIBYAMLS_DEPTH = "exceeded maximum nesting depth"  # newer ones look ahead, and give up before we do


def documents(text: str) -> Iterator[object]:
    """The values of all documents in `text`, one by one.

    Raises:
        Refusal: the next document is not YAML, or uses what is not read here.
    """
    parser = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml is ten times faster where PyYAML has it
    events = yaml.parse(text, Loader=parser)
    builder = _Builder(events)
    try:
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                yield builder.value(next(events), MAX_DEPTH)
    except yaml.MarkedYAMLError as error:
        if error.problem == LIBYAMLS_DEPTH and error.problem_mark:
            raise _too_deep(error.problem_mark.line + 1) from None
        line = f" at line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise Refusal("", f"is not YAML: {error.problem or error.context}{line}") from None
    except yaml.YAMLError as error:
        raise Refusal("", f"is not YAML: {str(error).splitlines()[0]}") from None


def _too_deep(line: int) -> Refusal:
    return Refusal("", f"is nested deeper than {MAX_DEPTH} levels at line {line}; a job needs four")


class _Builder:
    """Builds one value at a time from parsing events."""

    def __init__(self, events: Iterator[Any]) -> None:
        self.events = events
        self.plain = yaml.SafeLoader("")  # resolves plain scalars: 24, true, null

    def value(self, event: Any, depth: int) -> object:
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent):
            raise Refusal(
                "", f"expected plain values, got the alias *{event.anchor} at line {line}; write the value out"
            )
        if depth == 0:
            raise _too_deep(line)
        if event.tag not in (None, "!"):
            raise Refusal("", f"expected plain values, got the tag {event.tag!r} at line {line}; leave it out")
        if isinstance(event, yaml.SequenceStartEvent):
            return [self.value(item, depth - 1) for item in self._until(yaml.SequenceEndEvent)]
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(depth)
        return self._scalar(event, line)

    def _until(self, end: type) -> Iterator[Any]:
        while not isinstance(event := next(self.events), end):
            yield event

    def _mapping(self, depth: int) -> dict[object, object]:
        result: dict[object, object] = {}
        for event in self._until(yaml.MappingEndEvent):
            key = self.value(event, depth - 1)
            line = event.start_mark.line + 1
            if not isinstance(key, str | int | float | bool | None):
                raise Refusal("", f"expected a word as a key, got {kind_of(key)} at line {line}")
            if key in result:
                raise Refusal("", f"the key {key!r} stands twice, again at line {line}; keep one")
            result[key] = self.value(next(self.events), depth - 1)
        return result

    def _scalar(self, event: Any, line: int) -> object:
        tag = self.plain.resolve(yaml.ScalarNode, event.value, event.implicit)
        if tag in ("tag:yaml.org,2002:merge", "tag:yaml.org,2002:value"):  # "<<" and "=": plain text here
            return event.value
        try:
            return self.plain.construct_document(yaml.ScalarNode(tag, event.value))
        except (ValueError, OverflowError):  # 2026-13-45, or a number of thousands of digits
            raise Refusal(
                "", f"expected a value, got {kind_of(event.value)} at line {line}; put quotes around text"
            ) from None
