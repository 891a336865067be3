"""The Designer: from a prompt alone it proposes boxes or layers, which the user sees and edits before anything renders.

By itself it reads the prompt with the grammar of `phrases.py` and places things as `places.py` does; nothing leaves
the machine. With an endpoint that the user named it asks a chat model through one typed contract.
"""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from pipelines.chat import Endpoint, Message, NoAnswer, ask
from pipelines.grammar.phrases import read
from pipelines.grammar.places import place
from pipelines.job import MAX_PARTS, SIDE_STEP, Box, LayeredJob, LayoutJob, Prompt, Size, parse
from pipelines.refusal import Refusal, field_of, kind_of, on_one_line, refusal_of

Task = Literal["layout", "layered"]
PARTS = {"layout": "boxes", "layered": "layers"}  # what a job calls them
TRIES = 3
SENT_BACK = 4_000  # characters of a bad reply that the model is shown again

ASKED = """\
You arrange pictures. Read a description and answer with a box for each thing that it names, as JSON of this form alone:
{{"boxes": [{{"box": [0.1, 0.2, 0.45, 0.6], "prompt": "a red circle"}}]}}
A box is [x0, y0, x1, y1] as fractions of the width and the height, from the top left, with x0 < x1 and y0 < y1, each
from 0 to 1. It is a little larger than its thing, at least {width:.4f} wide and {height:.4f} high. A prompt names that
one thing, with its article, in the description's words. Give 1 to {most} boxes, those at the back first: later ones lie
on top. Boxes overlap only where the description asks for it. What lies behind everything gets no box."""


class _Value(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class ProposedBox(_Value):
    """A box and what stands in it."""

    box: Box
    prompt: Prompt


class Reply(_Value):
    """What a chat model has to answer: the whole contract but for the least size of a box."""

    boxes: Annotated[tuple[ProposedBox, ...], Field(strict=False, min_length=1, max_length=MAX_PARTS)]


class Proposal(_Value):
    """Boxes for a prompt, bottom first, to be edited."""

    task: Task
    prompt: Prompt
    size: Size
    boxes: Annotated[tuple[ProposedBox, ...], Field(strict=False, min_length=1, max_length=MAX_PARTS)]
    by: str
    """`grammar`, or the name of the model that was asked."""
    notes: tuple[str, ...] = ()
    """Sentences: what got no box, and what was left to chance."""

    def values(self) -> dict[str, Any]:
        """The job as plain values: what a job file says."""
        parts = [{"box": list(part.box), "prompt": part.prompt} for part in self.boxes]
        return {"task": self.task, "prompt": self.prompt, "size": list(self.size), PARTS[self.task]: parts}

    def job(self) -> LayoutJob | LayeredJob:
        """The job of this proposal, with the usual settings."""
        job = parse(self.values())
        assert isinstance(job, LayoutJob | LayeredJob)
        return job

    def yaml(self, ascii_only: bool = False) -> str:
        """The job as a file to edit, with the notes as comments."""
        import yaml

        class Dumper(yaml.SafeDumper):
            pass

        # In quotes where plain text would not come back as it was: line breaks of every kind.
        Dumper.add_representer(
            str,
            lambda dumper, text: dumper.represent_scalar(
                "tag:yaml.org,2002:str", text, style=None if text.isprintable() else '"'
            ),
        )
        name = PARTS[self.task]
        lines = [
            f"Proposed by {'the grammar' if self.by == 'grammar' else self.by}; edit it, then: diorama render FILE"
        ]
        lines += [f"{name}: x0, y0, x1, y1 in 0..1 from the top left; later ones lie on top", *self.notes]
        told = yaml.dump(
            self.values(),
            Dumper=Dumper,
            sort_keys=False,
            default_flow_style=None,
            allow_unicode=not ascii_only,
            width=10**6,
        )
        return "".join(f"# {on_one_line(line)}\n" for line in lines) + told


_REPLY: TypeAdapter[dict[str, Reply]] = TypeAdapter(dict[str, Reply])


def propose(prompt: str, task: Task, *, size: tuple[int, int], endpoint: Endpoint | None = None) -> Proposal:
    """Boxes for the things that `prompt` names, bottom first.

    Args:
        prompt: the whole picture in words.
        task: what the boxes are for.
        size: width and height in pixels.
        endpoint: the chat endpoint to ask; None asks nobody.

    Raises:
        Refusal: prompt, task or size are not a job's, or the prompt names nothing to place.
        NoAnswer: the endpoint gave nothing that can be used.
    """
    if task not in get_args(Task):
        raise Refusal("task", f"expected layout or layered, got {kind_of(task)}")
    parse({"task": "text", "prompt": prompt, "size": size})
    if endpoint is None:
        return _read(prompt, task, size)
    boxes = _asked(prompt, size, endpoint)
    return Proposal(task=task, prompt=prompt, size=size, boxes=boxes, by=endpoint.model)


def _read(prompt: str, task: Task, size: tuple[int, int]) -> Proposal:
    reading = read(prompt)
    if not reading.groups:
        only = f", got only a ground ({on_one_line(reading.grounds[0], 60)!r})" if reading.grounds else ", got none"
        raise Refusal("prompt", f"expected a thing to place{only}; name one, as in 'a red circle in a meadow'")
    placed, notes = place(reading, size, task == "layered")
    parts = [{"box": one.box, "prompt": reading.groups[one.group].prompt} for one in placed]
    try:
        boxes = _REPLY.validate_python({"prompt": {"boxes": parts}})["prompt"].boxes
    except ValidationError as error:
        raise Refusal("prompt", f"can not be read: {_problem(error)}; make it shorter") from None
    return Proposal(task=task, prompt=prompt, size=size, boxes=boxes, by="grammar", notes=tuple(notes))


def _asked(prompt: str, size: tuple[int, int], endpoint: Endpoint) -> tuple[ProposedBox, ...]:
    """The boxes of the first of three replies that keeps the contract."""
    width, height = size
    asked = ASKED.format(width=SIDE_STEP / width, height=SIDE_STEP / height, most=MAX_PARTS)
    messages: list[Message] = [
        {"role": "system", "content": asked},
        {"role": "user", "content": f"{width} x {height} pixels.\n\n{prompt}"},
    ]
    problem = ""
    for _ in range(TRIES):
        text = ask(endpoint, messages)
        try:
            return _boxes(text, size)
        except Refusal as refusal:
            problem = on_one_line(str(refusal), 400)
        messages += [
            {"role": "assistant", "content": text[:SENT_BACK] or "(nothing)"},
            {"role": "user", "content": f"That can not be used: {problem}. Answer again, with the JSON alone."},
        ]
    raise NoAnswer(
        f"{endpoint.model} gave {TRIES} replies that can not be used, the last because {problem}; "
        "try another model, or leave the endpoint out"
    )


def _boxes(text: str, size: tuple[int, int]) -> tuple[ProposedBox, ...]:
    """The boxes in a reply: bare or fenced JSON, with or without words around it.

    Raises:
        Refusal: the reply breaks the contract.
    """
    starts = [found.start() for found in re.finditer(r'\{\s{0,100}"boxes"', text)]
    try:
        # The last one: before it a model may think aloud.
        value, _ = json.JSONDecoder().raw_decode(text, starts[-1] if starts else 0)
    except (ValueError, RecursionError):
        raise Refusal(
            "", 'expected JSON of the form {"boxes": [{"box": [...], "prompt": "..."}]}, got other text'
        ) from None
    try:
        boxes = _REPLY.validate_python({"reply": value})["reply"].boxes
    except ValidationError as error:
        raise refusal_of("layout", error, _keys_at) from None
    for i, part in enumerate(boxes):
        x0, y0, x1, y1 = part.box
        if (x1 - x0) * size[0] < SIDE_STEP - 1e-6 or (y1 - y0) * size[1] < SIDE_STEP - 1e-6:
            raise Refusal(
                field_of(("boxes", i, "box")),
                f"expected at least {SIDE_STEP / size[0]:.4f} wide and {SIDE_STEP / size[1]:.4f} high, "
                f"got {x1 - x0:.4f} and {y1 - y0:.4f}",
            )
    return boxes


def _keys_at(place: tuple[int | str, ...]) -> list[str]:
    return list((ProposedBox if place else Reply).model_fields)


def _problem(error: ValidationError) -> str:
    return str(refusal_of("layout", error, _keys_at))
