"""What `diorama caption FOLDER WORDS` does: writes a caption beside each picture that has none.

The words have alternatives as prompts have, such as `a pim on a {red|blue} background`, and which of them a picture
shows is asked of the checkpoint itself: with the right words it predicts the velocity best (Diffusion Classifier,
2303.16203). All candidates meet the same noise, so that their errors differ by their words alone.
Shape suffixes: T candidates, N tokens of a picture, C numbers in one, L tokens of a prompt, X width of its features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from models.precision import autocast
from pipelines.engine import Engine
from pipelines.estimate import check_size
from pipelines.expansion.expand import Template, parse_template
from pipelines.expansion.wildcards import Wildcards
from pipelines.files.atomic import write_bytes
from pipelines.refusal import Refusal, on_one_line
from pipelines.text import text_plan

from .data import sources
from .data.assets import FileAsset
from .data.buckets import place
from .data.config import DataConfig, SourceConfig
from .data.dataset import load, measure
from .data.example import Example
from .data.findings import Fault
from .run.chance import noise, seed_of
from .run.store import tokens_of

if TYPE_CHECKING:
    from models.checkpoint import Checkpoint

TIMES = (0.9, 0.95, 0.9, 0.95)  # of the noise: where it is decided what is there
# By how much an alternative has to be better than the first one. Of the mascot of docs/finetune.md, of 48 things on 11
# grounds, one that is there was better by 0.14 and more, and one that is not by 0.03 at most.
LEAST = 0.05
FINALISTS = 24  # of the alternatives of one choice, those that are looked at with more than the first noise
ROUNDS = 2  # what stands beside a thing is seen better once the ground is right, and the other way round
MOST = 1_000  # alternatives of one choice
AT_ONCE = 64  # candidates in a batch
REMEMBERED = 256  # prompts whose features are kept


@dataclass(frozen=True)
class Looked:
    """A picture that was looked at.

    Attributes:
        count: how many pictures have no caption.
        name: of this one; "" before the first.
        captions: that it gets.
        why: it gets none, or "".
    """

    count: int
    name: str = ""
    captions: tuple[str, ...] = ()
    why: str = ""


class Captioner:
    """Chooses the text of a template that fits a picture.

    One choice is made at a time, the last of the template first, while the others stay as they are: a template of
    choices with 193 and 11 alternatives stands for 2,123 texts, and about six hundred questions find the best. The
    first alternative of a choice is taken unless another is better by `LEAST`.

    Args:
        checkpoint: what is asked.
        template: the texts.

    Raises:
        Refusal: nothing to choose, or more than `MOST` alternatives in one place.
    """

    def __init__(self, checkpoint: Checkpoint, template: Template) -> None:
        check_template(template)
        self.checkpoint, self.template = checkpoint, template
        self.choices = {at: each.count for at, each in enumerate(template.pieces) if not isinstance(each, str)}
        self._read: dict[str, Tensor] = {}

    def __call__(self, clean: Tensor, h: int, w: int) -> str:
        """The text for a picture of `h` by `w` tokens, [N, C]."""
        clean = clean.to(self.checkpoint.device)
        chosen = dict.fromkeys(self.choices, 0)
        for _ in range(ROUNDS):
            before = dict(chosen)
            for at, count in reversed(self.choices.items()):
                texts = [self._text({**chosen, at: option}) for option in range(count)]
                chosen[at] = self._best(texts, clean, h, w)
            if chosen == before:
                break
        return self._text(chosen)

    def _text(self, chosen: dict[int, int]) -> str:
        pieces = enumerate(self.template.pieces)
        return "".join(each if isinstance(each, str) else each.at(chosen[at]) for at, each in pieces)

    def _best(self, texts: Sequence[str], clean: Tensor, h: int, w: int) -> int:
        """The number of the text with the smallest error, or 0 where that is hardly smaller than the first one's."""
        left, errors = list(range(len(texts))), torch.zeros(len(texts))
        for number, time in enumerate(TIMES):
            errors[left] += self._errors([texts[k] for k in left], clean, h, w, number, time)
            left = sorted(left, key=lambda k: float(errors[k]))[:FINALISTS]
            left = left if 0 in left else [*left, 0]  # it is asked to the end, to be compared with
        return left[0] if errors[left[0]] < (1 - LEAST) * errors[0] else 0

    @torch.no_grad()
    def _errors(self, texts: Sequence[str], clean: Tensor, h: int, w: int, number: int, time: float) -> Tensor:
        """[T] mean squared errors of the velocity that is predicted with each text, of noise `number` at a time."""
        model = self.checkpoint.transformer
        drawn = noise(seed_of("caption", number), *clean.shape).to(clean)
        noisy, velocity = torch.lerp(clean, drawn, time), drawn - clean
        found = []
        for start in range(0, len(texts), AT_ONCE):
            context = self._features(texts[start : start + AT_ONCE])
            count = len(context)
            with autocast(model.device):
                output = model(
                    noisy.expand(count, -1, -1).to(model.dtype),
                    context.to(model.dtype),
                    torch.full((count,), time, device=model.device, dtype=model.dtype),
                    plan=text_plan(self.checkpoint.prompts.length, h, w),
                )
            found.append((output.sample.float() - velocity).square().mean((1, 2)).cpu())
        return torch.cat(found)

    def _features(self, texts: Sequence[str]) -> Tensor:
        """[T, L, X] of texts; those of the last ones are kept, for another noise asks for the same."""
        if len(self._read) > REMEMBERED:
            self._read.clear()
        new = [text for text in texts if text not in self._read]
        if new:
            self._read |= zip(new, self.checkpoint.prompts(new), strict=True)
        return torch.stack([self._read[text] for text in texts])


def check_template(template: Template) -> None:
    """Raise Refusal where a template has nothing to choose, or too much in one place."""
    counts = [each.count for each in template.pieces if not isinstance(each, str)]
    if max(counts, default=1) == 1:
        raise Refusal(
            "WORDS",
            "expected alternatives such as {red|blue}, got none; `caption` in a run file is one for all",
        )
    if max(counts) > MOST:
        raise Refusal("WORDS", f"expected at most {MOST:,} alternatives in one place, got {max(counts):,}; write fewer")


def caption(
    folder: Path,
    words: Sequence[str],
    *,
    model: str = "papercut",
    resolution: int = 128,
    wildcards: Path | None = None,
    dry_run: bool = False,
    device: str = "auto",
    say: Callable[[str], None] = print,
    heard: Callable[[Looked], None] | None = None,
) -> int:
    """Write a caption, `a.txt` beside `a.png`, for each picture of a folder and its folders that has none.

    Args:
        folder: of pictures.
        words: captions with alternatives; several are several ways to say what is there, and each gives a line.
        model: the checkpoint that is asked.
        resolution: pictures are looked at with about as many pixels as a square of this side has.
        wildcards: the folder of lists for `__name__`.
        dry_run: say the captions and write none.
        device: auto | cpu.
        say: takes what is told.
        heard: is given each picture as well, once it was looked at, and before the first one how many there are.

    Returns:
        0, or 1 where a picture could not be read.

    Raises:
        Refusal: no such folder, checkpoint or size, words without alternatives, or a file that can not be written.
    """
    try:
        templates = [parse_template(each, Wildcards(wildcards)) for each in words]
    except Refusal as refusal:
        raise Refusal(refusal.field or "WORDS", refusal.reason) from None
    for template in templates:
        check_template(template)
    bare = _without_captions(folder)
    engine = Engine("cpu" if device == "cpu" else None)
    check_size((resolution, resolution), engine.describe(model), "--resolution")
    config = DataConfig(sources=(SourceConfig(path=folder),), resolution=resolution)
    hear = heard or (lambda looked: None)
    hear(Looked(len(bare)))
    if not bare:
        say("every picture has a caption; nothing was written")
        return 0
    checkpoint = engine.checkpoint(model)
    captioners, failed = [Captioner(checkpoint, template) for template in templates], 0
    for example in bare:
        try:
            shape = measure(example, config)
            bucket = place(shape.width, shape.height, shape.frames, config)
            clean = tokens_of(checkpoint, load(example, shape, bucket, config))
        except Fault as fault:
            say(on_one_line(f"{example.name}: {fault.reason}; it gets no caption"))
            hear(Looked(len(bare), example.name, why=fault.reason))
            failed += 1
            continue
        texts = list(dict.fromkeys(captioner(clean, bucket.h, bucket.w) for captioner in captioners))
        for text in texts:
            say(on_one_line(f"{example.name}: {text}"))
        asset = example.media[0]
        assert isinstance(asset, FileAsset), "a folder has files"
        if not dry_run:
            try:
                write_bytes(asset.path.with_suffix(".txt"), "".join(f"{text}\n" for text in texts).encode())
            except OSError as error:
                told = f"{str(asset.path.with_suffix('.txt'))!r} can not be written: {error.strerror}"
                raise Refusal("", f"{told}; those above are there") from None
        hear(Looked(len(bare), example.name, tuple(texts)))
    return 1 if failed else 0


def _without_captions(folder: Path) -> list[Example]:
    """The pictures of a folder that have no caption.

    Raises:
        Refusal: not a folder of pictures with captions in files of their own.
    """
    source = SourceConfig(path=folder)
    try:
        kind = sources.kind_of(source)
    except Fault as fault:
        raise Refusal(str(folder), fault.reason) from None
    if kind != "folder":
        raise Refusal(str(folder), f"expected a folder of pictures, got {kind}, whose captions stand in its own files")
    found = sources.index([source])
    for finding in found.findings:
        if finding.level == "error" or finding.kind == "same-stem":  # one's captions would go over the other's
            raise Refusal(finding.where, finding.reason)
    return [example for example in found.examples if example.kind == "picture" and not example.captions]
