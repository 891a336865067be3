"""Captions that a checkpoint chooses: the right alternatives, never over somebody's own words, nothing lost."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from pipelines import cli
from pipelines.expansion.expand import parse_template
from tests.tiny import tiny_checkpoint
from training.captioner import LEAST, MOST, Captioner

EXAMPLES = Path(__file__).parents[1] / "assets" / "examples"
sys.path.insert(0, str(EXAMPLES))
import mascot  # noqa: E402

WORDS = (
    "{a pim|a pim {left of|right of|above|below} __thing__} __ground__",
    "{a pim|__thing__ {left of|right of|above|below} a pim} __ground__",
)


class Judge(torch.nn.Module):
    """A checkpoint whose prediction of the velocity of a picture is off as much as `error` says of the text."""

    def __init__(self, clean: Tensor, error: Callable[[str], float]) -> None:
        super().__init__()
        self.clean, self.error, self.asked = clean, error, 0
        self.device, self.dtype = torch.device("cpu"), torch.float32
        self.texts: list[str] = []

    def read(self, texts: Sequence[str]) -> Tensor:
        """[T, 1, 1] their numbers."""
        self.texts += texts
        return torch.arange(len(self.texts) - len(texts), len(self.texts), dtype=torch.float32)[:, None, None]

    def forward(self, noisy: Tensor, context: Tensor, times: Tensor, plan: Any) -> SimpleNamespace:
        """The velocity, and the error beside it."""
        self.asked += len(noisy)
        time = times[:, None, None]
        velocity = (noisy - (1 - time) * self.clean) / time - self.clean
        off = torch.tensor([self.error(self.texts[int(each)]) ** 0.5 for each in context[:, 0, 0]])
        return SimpleNamespace(sample=velocity + off[:, None, None])


def captioner(words: str, error: Callable[[str], float]) -> tuple[Captioner, Judge]:
    judge = Judge(torch.linspace(-1, 1, 12).view(4, 3), error)

    class Prompts:
        length = 1
        __call__ = staticmethod(judge.read)

    return Captioner(
        SimpleNamespace(transformer=judge, prompts=Prompts(), device=judge.device), parse_template(words)
    ), judge  # type: ignore[arg-type]


# ---------------------------------------------------------------- choosing


@given(st.integers(0, 4), st.integers(0, 59), st.integers(0, 3))
def test_each_choice_gets_what_fits_best(size: int, thing: int, ground: int) -> None:
    kinds = {"s": 5, "t": 60, "g": 4}
    sizes, things, grounds = ("|".join(f"{kind}{k}" for k in range(count)) for kind, count in kinds.items())
    words = f"{{{sizes}}} {{{things}}} on {{{grounds}}}"
    right = [f"s{size}", f"t{thing}", f"g{ground}"]

    def error(text: str) -> float:
        # The ground is seen with the right size alone, which is chosen after it, and the thing on the right ground
        # alone: both take the second round.
        found = [one == other for one, other in zip(text.replace(" on", "").split(), right, strict=True)]
        return 2.0 - 0.2 * found[0] - 0.6 * (found[0] and found[2]) - 0.4 * (found[1] and found[2])

    choose, judge = captioner(words, error)
    assert choose(judge.clean, 2, 2) == f"{right[0]} {right[1]} on {right[2]}"
    assert judge.asked < 5 * 60 * 4, "not every text is asked"


@pytest.mark.parametrize(("better", "chosen"), [(0.9 * LEAST, "plain"), (1.1 * LEAST, "red")])
def test_the_first_alternative_stays_unless_another_is_clearly_better(better: float, chosen: str) -> None:
    choose, judge = captioner("{plain|blue|red}", lambda text: 1 - better if text == "red" else 1.0)
    assert choose(judge.clean, 2, 2) == chosen


@pytest.mark.slow
def test_the_embedded_checkpoint_sees_ground_and_company_of_a_thing_it_does_not_know(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scenes = [mascot.twenty()[number] for number in (4, 9, 16)]
    for number, scene in enumerate(scenes):
        Image.fromarray(mascot.draw(scene)).save(tmp_path / f"{number}.png")
    assert cli.main(["caption", str(tmp_path), *WORDS, "--wildcards", str(EXAMPLES / "wildcards")]) == 0
    told = [line for path in sorted(tmp_path.glob("*.txt")) for line in path.read_text().splitlines()]
    assert told == [
        "a pim on a purple background",  # its caption calls it small, which these words do not
        "a pim in a meadow",
        "a pim right of a white square on a green background",
        "a white square left of a pim on a green background",
    ]
    assert [line.split(": ")[1] for line in capsys.readouterr().out.splitlines()] == told


# ---------------------------------------------------------------- the command


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_checkpoint(tmp_path_factory.mktemp("tiny") / "checkpoint"))


def pictures(folder: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (96, 64), (40 * number, 90, 120)).save(folder / name)
    return folder


def test_only_pictures_without_a_caption_get_one(
    tmp_path: Path, checkpoint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = pictures(tmp_path / "in", "a.png", "b.jpg", "deeper/c.png", "empty.png")
    (folder / "a.txt").write_text("my own words\n")
    (folder / "empty.txt").write_text("\n")
    call = ["caption", str(folder), "a {red|blue} thing", "--model", checkpoint, "--resolution", "64"]
    assert cli.main([*call, "--dry-run"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 3 and not (folder / "b.txt").exists()
    assert cli.main(call) == 0
    assert capsys.readouterr().out.splitlines() == said, "the same every time"
    assert (folder / "a.txt").read_text() == "my own words\n"
    for path in (folder / "b.txt", folder / "deeper" / "c.txt", folder / "empty.txt"):
        assert path.read_text() in ("a red thing\n", "a blue thing\n")
    assert cli.main(call) == 0
    assert capsys.readouterr().out == "every picture has a caption; nothing was written\n"


def test_a_broken_picture_is_told_and_the_others_get_theirs(
    tmp_path: Path, checkpoint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = pictures(tmp_path / "in", "a.png", "c.png")
    (folder / "b.png").write_bytes(b"no picture")
    assert cli.main(["caption", str(folder), "{red|blue}", "--model", checkpoint, "--resolution", "64"]) == 1
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 3 and said[1].startswith("in/b.png: ") and said[1].endswith("; it gets no caption")
    assert sorted(path.name for path in folder.glob("*.txt")) == ["a.txt", "c.txt"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"folder": "absent"}, "absent: is not there; check the path"),
        ({"words": "a pim"}, "WORDS: expected alternatives such as {red|blue}, got none"),
        ({"words": "{red|blue"}, "WORDS: at character 1: this brace is not closed"),
        ({"words": "__colour__"}, "WORDS: at character 1: __colour__ is a list, and no folder was named"),
        ({"words": f"{{1..{MOST + 1}}}"}, "WORDS: expected at most 1,000 alternatives in one place, got 1,001"),
        ({"--model": "absent"}, "model: "),
        ({"--resolution": "72"}, "--resolution: "),
        ({"--resolution": "4096"}, "--resolution: "),
        ({"table": True}, "expected a folder of pictures, got metadata"),
        ({"latin": True}, "is not UTF-8"),
        ({"twin": True}, "in/a"),
    ],
)
def test_bad_input_is_one_sentence_and_nothing_is_written(
    change: dict[str, Any], told: str, tmp_path: Path, checkpoint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = pictures(tmp_path / "in", "a.png", "b.png")
    if change.get("table"):
        (folder / "metadata.jsonl").write_text('{"file_name": "a.png"}\n')
    if change.get("twin"):
        pictures(folder, "a.jpg")
    if change.get("latin"):
        (folder / "b.txt").write_bytes(b"caf\xe9")
    before = sorted(path.name for path in folder.iterdir())
    options = {"--model": checkpoint, "--resolution": "64"} | {k: v for k, v in change.items() if k.startswith("--")}
    where = str(tmp_path / change["folder"]) if "folder" in change else str(folder)
    words = [where, "{red|blue}", change.get("words", "{1..3}"), *(part for pair in options.items() for part in pair)]
    assert cli.main(["caption", *words]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("diorama: ") and told in err and len(err.splitlines()) == 1
    assert sorted(path.name for path in folder.iterdir()) == before
