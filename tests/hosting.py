"""A process that stands in for a training: it writes what one writes, and hears what one hears, without torch."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from tests.paced import until
from training.runs import Kept, Runs
from training.tune import TuneConfig, run_of

SCRIPT = """
import json, os, struct, sys, time, zlib
from pathlib import Path
folder, preflight = Path(sys.argv[1]), "--preflight" in sys.argv
end = lambda status, said="": ((folder / "end.tmp").write_text(json.dumps({"status": status, "said": said})),
                               os.replace(folder / "end.tmp", folder / "end.json"), sys.exit(status))
if "--captions" in sys.argv:
    words = json.loads((folder / "words.json").read_text())["words"]
    if "{" not in words[0]:
        end(2, "WORDS: expected alternatives such as {red|blue}, got none; `caption` in a run file is one for all")
    count, wait = (500, 0.02) if "slowly" in words[0] else (3, 0)
    rows = [{"name": f"<b>{n}.png", "captions": words} for n in range(1, count)]
    rows = [{"name": ""}, {"name": "in/0.png", "why": "has no bytes; fetch or save it again"}, *rows]
    with (folder / "looked.jsonl").open("w") as lines:
        for row in rows:
            lines.write(json.dumps({"count": count, "captions": [], "why": "", **row}) + "\\n")
            lines.flush()
            time.sleep(wait)
            if (folder / "ask").exists():
                end(130)
    end(1)
report = {"examples": 3, "usable": 3, "kinds": {"picture": 3}, "captioned": 2, "cropped": [], "errors": [],
          "buckets": [{"size": [64, 64], "frames": 1, "examples": 3}],
          "warnings": [{"kind": "missing-caption", "where": "<b>a.png", "reason": "has no caption; write one"}],
          "costs": {"samples": 8, "steps_an_epoch": 2, "epochs": 2.0, "tokens": 100, "flops": 1e9, "seconds": 2.0,
                    "memory_all": 2**30, "memory_adapter": 2**29, "machine": 2**33, "latents": 100, "free": 2**34}}
if (folder / "broken").exists() or "broken" in (folder / "run.yaml").read_text():
    report["errors"] = [{"kind": "truncated", "where": "b.png", "reason": "ends early; copy it again"}]
(folder / "report.json").write_text(json.dumps(report))
if report["errors"]:
    end(2, "data: b.png: ends early; copy it again")
if preflight:
    end(0)
print("goes on", flush=True)
last = json.loads(os.environ.get("FAKE_STEPS", "1000000"))
step = len((folder / "log.jsonl").read_text().splitlines()) if (folder / "log.jsonl").exists() else 0
(folder / "samples").mkdir(exist_ok=True)
chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
header, pixels = struct.pack(">IIBBBBB", 64, 32, 8, 0, 0, 0, 0), zlib.compress((b"\\0" + bytes(range(0, 256, 4))) * 32)
sheet = b"\\x89PNG\\r\\n\\x1a\\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
(folder / "samples" / "step-00000000.png").write_bytes(sheet)
end_at = time.monotonic() + 120  # of a test that failed
while step < last and time.monotonic() < end_at:
    step += 1
    row = {"step": step, "loss": 1 / step, "lr": 0.001, "samples_per_second": 2.0, "minutes_left": 3.5, "seconds": step}
    with (folder / "log.jsonl").open("a") as log:
        log.write(json.dumps(row) + "\\n")
    if (folder / "ask").exists():
        end(130)
    time.sleep(0.02)
end(0)
"""
COMMAND = (sys.executable, "-c", SCRIPT)


def config_of(pictures: Path | str, **sections: Any) -> TuneConfig:
    """A small run on the pictures of a folder."""
    value: dict[str, Any] = {
        "folder": "runs/x", "data": {"sources": [{"path": str(pictures)}], "resolution": 64},
        "loop": {"steps": 4, "batch": 2},
    }  # fmt: skip
    return run_of({**value, **sections})


def runs_at(folder: Path) -> Runs:
    """The runs of an output folder, whose processes are stand-ins."""
    return Runs(folder, COMMAND)


def over(runs: Runs, id: str) -> Kept:
    """The run `id` once its process has ended."""
    until(lambda: not now(runs, id).going)
    return now(runs, id)


def captioned(runs: Runs) -> Kept:
    """The captions that were asked for last, once their process has ended."""
    until(lambda: (found := runs.captions()) is not None and not found.going)
    found = runs.captions()
    assert found is not None
    return found


def now(runs: Runs, id: str) -> Kept:
    """The run, or preflight, called `id`."""
    found = runs.get(id) or runs.check_of(id)
    assert found is not None
    return found


def adapter_at(path: Path, steps: int = 7) -> Path:
    """A LoRA of no layer that there is, as a run writes one."""
    told = {"kind": "lora", "about": {"checkpoint": "papercut", "base": "", "words": ["snarf"], "steps": steps}}
    weights = {f"transformer.a.lora_{part}.weight": np.ones((2, 2), np.float32) for part in "AB"}
    save_file(weights, path, {"format": "pt", "diorama": json.dumps(told)})
    return path
