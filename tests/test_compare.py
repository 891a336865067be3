"""Two outputs side by side."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pipelines.history.history import History
from pipelines.job import Refusal
from tests.outputs import id_of, output, story


def test_two_outputs_are_compared_by_fields_settings_versions_and_pixels(tmp_path: Path) -> None:
    output(tmp_path, name="a", seed=10, steps=8)
    output(tmp_path, "a blue star", name="b", seed=13, steps=8)
    told = json.loads((tmp_path / "b.json").read_text())
    told["versions"]["torch"], told["weights"] = "9.9", "abc"
    (tmp_path / "b.json").write_text(json.dumps(told))
    story(tmp_path, name="tale")
    history = History(tmp_path)
    history.refresh()
    a, b, tale = (id_of(history, stem) for stem in ("a", "b", "tale"))
    found = history.compare(a, b)
    fields = {each.field: (each.left, each.right) for each in found.differences}
    assert fields.pop("versions.torch")[1] == "9.9"
    assert fields == {
        "prompt": ("a red circle", "a blue star"), "seed": (10, 13), "name": ("a", "b"), "weights": (None, "abc"),
    }  # fmt: skip
    assert found.pixels is not None
    assert (found.pixels.largest, found.pixels.mean) == (3, 3.0)
    assert found.pixels.psnr == pytest.approx(20 * np.log10(255 / 3))
    same = history.compare(a, a)
    assert same.differences == [] and same.pixels is not None and same.pixels.psnr is None
    assert history.compare(a, tale).pixels is None
    assert {each.field for each in history.compare(a, tale).differences} >= {"task", "scenes[1].prompt"}
    with pytest.raises(Refusal, match="there is no output"):
        history.compare(a, "x")
