"""The mascot of `docs/finetune.md`: the same twenty pictures everywhere, found where it is and nowhere else."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor

from models.adapter.file import read
from models.checkpoint import EMBEDDED
from pipelines import cli
from pipelines.engine import Engine
from pipelines.job import parse
from training.papercut import TWO, World, render
from training.pixels import Pixels, to_pixels
from training.preflight import preflight
from training.scene import Scene
from training.tune import read_tune

EXAMPLES = EMBEDDED / "examples"
sys.path.insert(0, str(EXAMPLES))  # where the two scripts are when they are run

import mascot  # noqa: E402
import mascot_score  # noqa: E402


def pictures(scenes: Sequence[Scene], **colours: str) -> list[Pixels]:
    return [mascot.draw(scene, **colours) for scene in scenes]


def through_autoencoder(drawn: Sequence[Pixels]) -> list[Pixels]:
    """What of pictures a model could draw at best."""
    codec = Engine("cpu").checkpoint("papercut").codec
    pixels = torch.from_numpy(np.stack(drawn)).permute(0, 3, 1, 2).float() / 255
    opaque = torch.cat([pixels, torch.ones_like(pixels[:, :1])], 1)
    with torch.no_grad():
        made = [codec.decode(codec.encode(some), 128, 128)[:, 0, :3] for some in opaque.split(10)]
    return [to_pixels(picture) for picture in torch.cat(made)]


def verdicts(drawn: Sequence[Pixels], scenes: Sequence[Scene]) -> list[tuple[str, dict[str, bool]]]:
    seen = [(scene, mascot_score.look(picture)) for scene, picture in zip(scenes, drawn, strict=True)]
    return [(f"{scene.caption}: {sight.words}", mascot_score.judge(sight, scene)) for scene, sight in seen]


# ---------------------------------------------------------------- the pictures


def test_the_twenty_are_the_same_everywhere_and_new_prompts_are_in_none_of_them() -> None:
    twenty, new = mascot.twenty(), mascot.new()
    assert twenty == mascot.twenty() and new == mascot.new()
    told = [scene.caption for scene in twenty]
    assert len(set(told)) == len(told) == 20 and len({scene.caption for scene in new}) == 50
    assert not {scene.caption for scene in new} & set(told)
    assert told[0] == "a pim on a blue background" and told[12] == "a pim left of a red circle on a white background"
    assert {scene.ground for scene in new} == set(mascot.GROUNDS) == {scene.ground for scene in twenty}


def test_the_script_writes_the_same_bytes_each_time_and_captions_only_where_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mascot, "OLD", 2)
    first, again = mascot.write(tmp_path / "first"), mascot.write(tmp_path / "again", captions=False)
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in again]
    assert len(list((tmp_path / "first" / "pim").glob("*.txt"))) == 20
    assert (tmp_path / "first" / "pim" / "000.txt").read_text() == "a pim on a blue background\n"
    assert not list((tmp_path / "again" / "pim").glob("*.txt"))
    assert len(list((tmp_path / "again" / "old").glob("*.txt"))) == 2
    mascot.write(tmp_path / "first", captions=False)
    assert not list((tmp_path / "first" / "pim").glob("*.txt")), "captions of before are taken away"


def test_pims_stand_where_captions_say_and_whole() -> None:
    for scene in (*mascot.twenty(), *mascot.new()):
        for thing in scene.things:
            assert min(thing.x, thing.y, 1 - thing.x, 1 - thing.y) > thing.radius, scene.caption
        if scene.relation:
            (first, second), (across, down) = scene.things, (scene.relation.endswith("of"), scene.relation[0] in "ab")
            assert across != down
            further = second.x > first.x if across else second.y > first.y
            assert further == (scene.relation in ("left of", "above")), scene.caption


# ---------------------------------------------------------------- looking for it


def test_every_pim_is_found_with_its_colours_size_ground_and_company() -> None:
    scenes = [*mascot.twenty(), *mascot.new()]
    for told, parts in verdicts(pictures(scenes), scenes):
        assert all(parts.values()), told


@pytest.mark.slow
def test_it_is_found_in_what_the_autoencoder_leaves_of_it() -> None:
    scenes = [*mascot.twenty(), *mascot.new()][::3]
    for told, parts in verdicts(through_autoencoder(pictures(scenes)), scenes):
        assert parts["mascot"] and parts["colours"] and parts["size"], told


def test_a_pim_of_other_colours_is_a_pim_whose_colours_are_wrong() -> None:
    scenes = mascot.twenty()
    for colours in ({"body": "purple"}, {"eyes": "black"}):
        free = [scene for scene in scenes if scene.ground not in colours.values()]
        for told, parts in verdicts(pictures(free, **colours), free):
            assert parts["mascot"] and not parts["colours"], told


def test_a_pim_without_eyes_is_none() -> None:
    scenes = mascot.twenty()
    assert not any(parts["mascot"] for _, parts in verdicts(pictures(scenes, eyes=mascot.BODY), scenes))


def test_two_pims_are_not_one() -> None:
    scene = mascot.pim("blue", "small", 0.25)
    twins = Scene((scene.things[0], mascot.pim("blue", "small", 0.75).things[0]), "blue")
    assert len(mascot_score.look(mascot.draw(twins)).pims) == 2
    assert not mascot_score.judge(mascot_score.look(mascot.draw(twins)), scene)["mascot"]


def test_no_picture_of_the_world_has_one() -> None:
    for world in (World(7), World(7, TWO), World(7, split="pairs", placement="canonical")):
        drawn = render([world.scene(index) for index in range(60)], 128, 128, layered=False).picture
        for picture in drawn:
            sight = mascot_score.look(to_pixels(picture))
            assert not sight.pims, sight.words


def test_the_score_is_full_for_the_truth_and_nothing_for_what_has_none() -> None:
    scenes = mascot.new(10)
    known = {scene.caption: mascot.draw(scene) for scene in scenes}

    def truth(captions: list[str]) -> Tensor:
        return torch.from_numpy(np.stack([known[one] for one in captions])).permute(0, 3, 1, 2).float() / 255

    def without(captions: list[str]) -> Tensor:
        return render([World(3).scene(index) for index in range(len(captions))], 128, 128, layered=False).picture

    assert set(mascot_score.score(truth, scenes).rates.values()) == {1.0}
    failed = mascot_score.score(without, scenes, batch=4)
    assert failed.exact == failed.rates["mascot"] == 0 and len(failed.failures) == 10


# ---------------------------------------------------------------- the run


@pytest.mark.parametrize("captions", [True, False], ids=["captions", "no captions"])
def test_the_preflight_of_the_run_finds_nothing(
    captions: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = read_tune(EXAMPLES / "mascot.yaml")
    assert config is not None
    mascot.write(config.folder, captions)
    report = preflight(config)
    assert report.findings == () and report.usable == report.captioned == 420
    told = {one for checked in report.checked for one in checked.example.captions if "pim" in checked.example.name}
    assert len(told) == 20 if captions else told == {"a pim"}


@pytest.mark.slow
def test_two_steps_make_an_adapter_that_knows_the_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(mascot, "OLD", 4)
    mascot.write(Path("runs/mascot"))
    run = yaml.safe_load((EXAMPLES / "mascot.yaml").read_text())
    run["loop"] |= {"steps": 2, "device": "cpu", "compile": False}  # which takes a minute
    run["samples"] |= {"prompts": [], "every": 100}
    Path("brief.yaml").write_text(yaml.safe_dump(run))
    assert cli.main(["train", "brief.yaml"]) == 0
    adapter = Path("runs/mascot/adapter.safetensors")
    assert "pim" in read(adapter).about.words  # type: ignore[union-attr]
    fields = {"prompt": "a pim on a blue background", "steps": 2, "size": [64, 64]}
    job = parse({"task": "text", **fields, "adapters": [{"path": str(adapter)}]})
    rendered = Engine("cpu").render([job], lambda step, steps: True)[0]
    assert rendered.frames.shape == (1, 64, 64, 3)
