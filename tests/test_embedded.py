"""The embedded checkpoint: it is small, it is safe, and it draws what it is told."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from models.checkpoint import EMBEDDED, describe
from pipelines.cli import main
from pipelines.engine import Engine
from pipelines.files.jobfile import read_jobs
from pipelines.files.media import read_picture
from pipelines.job import parse
from training.evaluate import drawer
from training.evaluate_dubbing import read_wave
from training.lips import read_portrait, sync
from training.papercut import World
from training.renders import Settings
from training.voice import envelope

PAPERCUT = EMBEDDED / "papercut"
DEMO = EMBEDDED / "examples" / "demo.yaml"


def test_all_weights_in_the_tree_are_small_safetensors_in_half_precision() -> None:
    weights = [path for path in EMBEDDED.rglob("*") if path.stat().st_size > 500_000]
    assert weights and all(path.suffix == ".safetensors" for path in weights)
    assert sum(path.stat().st_size for path in weights) <= 30_000_000
    for path in weights:
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        types = {entry["dtype"] for name, entry in header.items() if name != "__metadata__"}
        assert types <= {"BF16", "F16", "I64"}, path


def test_the_demo_renders_with_sockets_blocked_and_twice_to_the_same_bytes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("one", "two"):
        assert main(["render", str(DEMO), "--out", str(tmp_path / name)]) == 0
    told = capsys.readouterr()
    first, second = (sorted((tmp_path / name).glob("*.png")) for name in ("one", "two"))
    assert len(first) == 12 and str(first[0]) in told.out, "the command says where the pictures are"
    assert "warning" not in told.out + told.err, "the demo uses no word that the checkpoint does not know"
    assert [a.read_bytes() for a in first] == [b.read_bytes() for b in second]
    record = json.loads(first[0].with_suffix(".json").read_text())
    assert record["job"]["prompt"] and record["tokens"] and record["pairs"] and record["versions"]["torch"]


@pytest.mark.parametrize("name", ["video", "masked", "scenes"])
def test_the_other_examples_render_too(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(EMBEDDED.parent)
    sources = read_jobs([str(EMBEDDED / "examples" / f"{name}.yaml")])
    few = [source.job.model_copy(update={"steps": 2}) for source in sources]
    engine = Engine()
    for job in few:
        assert engine.check(job).tokens > 0
        frames = engine.render([job], lambda step, steps: True)[0].frames
        assert frames.std() > 5


README = EMBEDDED.parent / "README.md"


@pytest.mark.parametrize("code", re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL))
def test_what_the_readme_says_in_python_runs(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(README.parent)
    exec(code, {})


def test_the_vocabulary_is_what_its_training_said() -> None:
    words = describe("papercut").vocabulary
    assert words is not None
    used = {w for i in range(500) for w in World(split="any").scene(i).caption.replace(",", "").split()}
    assert used <= set(words)


@pytest.mark.parametrize("size", [(64, 64), (192, 192), (64, 192), (176, 80)])
def test_every_size_in_its_range_gives_a_whole_picture(size: tuple[int, int]) -> None:
    draw = drawer(Settings(size=size, steps=12, guidance=3.0, seed=3))
    pictures = draw(["a red circle on a white background", "a blue square on a yellow background"])
    assert pictures.shape == (2, 3, size[1], size[0])
    corners = torch.stack([pictures[:, :, y, x] for y in (1, -2) for x in (1, -2)])
    paper = torch.tensor([[246, 246, 242], [246, 207, 62]]) / 255
    assert (corners - paper).abs().max() < 0.12, "the ground reaches every corner"


def test_it_dubs_a_portrait_whose_mouth_goes_with_recorded_speech() -> None:
    examples, fps = EMBEDDED / "examples", 10
    told = {
        "task": "dubbing",
        "source": str(examples / "portrait.png"),
        "audio": str(examples / "speech.wav"),
        "seed": 2,
    }
    job = parse({**told, "prompt": "a yellow face with black hair on a blue background", "fps": fps, "steps": 12})
    (rendered,) = Engine("cpu").render([job], lambda step, steps: True)
    frames = np.stack([frame[..., :3] for frame in rendered.frames])
    samples, rate = read_wave(examples / "speech.wav")
    loud = envelope(samples, rate, (np.arange(len(frames)) + 0.5) / fps)
    assert sync(read_portrait(frames).opening, loud, 1).best > 0.4
    source = read_picture(examples / "portrait.png")[..., :3]
    assert (frames[:, : source.shape[0] // 2] == source[: source.shape[0] // 2]).all(), "eyes and hair are the source's"
