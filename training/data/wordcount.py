"""How many tokens a caption has for a checkpoint, from its tokenizer's file alone: neither torch nor transformers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from models.checkpoint import Description


def too_long(description: Description) -> Callable[[str], str | None]:
    """A function that tells of a caption, in a clause, that its end is cut off; None where it fits.

    A checkpoint whose tokenizer is not one file is not judged.
    """
    from tokenizers import Tokenizer

    file = description.folder / "tokenizer" / "tokenizer.json"
    if not file.is_file():
        return lambda caption: None
    tokenizer, inside = Tokenizer.from_file(str(file)), _template(description.folder / "tokenizer")
    tokenizer.no_truncation()  # the file may ask for both
    tokenizer.no_padding()
    most = description.prompt_tokens

    def told(caption: str) -> str | None:
        count = len(tokenizer.encode(inside(caption)).ids)
        if count <= most:
            return None
        reads = f"{description.name!r} reads {most}"
        return f"has words of {count} tokens ({_start(caption)}), of which {reads}; shorten it"

    return told


def _template(folder: Path) -> Callable[[str], str]:
    """The checkpoint's chat template as a function of a prompt."""
    file = folder / "chat_template.jinja"
    if not file.is_file():
        return lambda caption: caption
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    template = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True).from_string(file.read_text("utf-8"))

    def inside(caption: str) -> str:
        messages = [{"role": "user", "content": caption}]
        return template.render(messages=messages, add_generation_prompt=True, enable_thinking=False)

    return inside


def _start(caption: str) -> str:
    return repr(caption if len(caption) <= 40 else f"{caption[:37]}...")
