"""Dubbing: `python -m benchmarks.dubbing`. Frames a second, and what a window and a longer clip cost.

A procedural person is dubbed with another's voice, by the embedded checkpoint or the one of `--model`, in one process
that is warm:

- windows: the same clip in windows of several lengths, with the seconds of one window and of one new frame;
- lengths: clips of several lengths with the same window, with the seconds of a frame, and the largest and smallest of
  these as a ratio: 1 is a cost that grows as the clip does.

Nothing is kept from one render to the next. Each figure is the fastest of the rounds, which are interleaved.
"""

from __future__ import annotations

import argparse
import platform
import resource
import tempfile
import time
from pathlib import Path

import diffusers
import torch

from pipelines.engine import Engine
from pipelines.files.media import write_picture
from pipelines.job import DubbingJob, parse
from training.evaluate_dubbing import write_wave
from training.speaking import perform
from training.voice import RATE

FPS, SIDE = 25, 96
WINDOWS = (4, 8, 16, 24)
SECONDS = (2, 4, 8, 16)


def clip(folder: Path, seconds: float) -> tuple[Path, Path]:
    """A folder of PNG frames of somebody who speaks, and somebody else's voice, of about as many seconds."""
    filmed, other = (perform(2024, index, FPS, "unseen", seconds) for index in (0, 1))
    frames, sound = folder / f"talk-{seconds}", folder / f"voice-{seconds}.wav"
    frames.mkdir()
    pictures = filmed.draw(range(filmed.frames), SIDE, SIDE).permute(0, 2, 3, 1).numpy()
    for number, pixels in enumerate(pictures):
        write_picture(frames / f"{number:04d}.png", pixels, {"job": {}, "fps": str(FPS)})
    write_wave(sound, other.voice.audio(), RATE)
    return frames, sound


def job(model: str, files: tuple[Path, Path], window: int, steps: int) -> DubbingJob:
    """The job of a clip."""
    told = {"task": "dubbing", "model": model, "source": str(files[0]), "audio": str(files[1]), "duration": "video"}
    made = parse({**told, "window": window, "overlap": 2, "steps": steps, "guidance": 1.0, "seed": 1})
    assert isinstance(made, DubbingJob)
    return made


def seconds_of(engine: Engine, wanted: DubbingJob) -> tuple[float, int, int]:
    """How long a job took, its frames, and its windows."""
    began = time.perf_counter()
    (done,) = engine.render([wanted], lambda step, steps: True)
    frames = sum(1 for _ in done.frames)
    took = time.perf_counter() - began
    new = wanted.window - wanted.overlap
    return took, frames, 1 + max(0, -(-(frames - wanted.window) // new))


def fastest(engine: Engine, jobs: list[DubbingJob], rounds: int) -> list[tuple[float, int, int]]:
    """The fastest of interleaved rounds of each job."""
    found = [[seconds_of(engine, one) for one in jobs] for _ in range(rounds)]
    return [min(column) for column in zip(*found, strict=True)]


def main() -> None:
    """Print versions, then a row for each window and for each length."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="papercut", help="a checkpoint that hears: a folder with a speech encoder")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=16)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    engine = Engine("cpu")
    with tempfile.TemporaryDirectory() as top:
        clips = {seconds: clip(Path(top), seconds) for seconds in SECONDS}
        seconds_of(engine, job(options.model, clips[SECONDS[0]], WINDOWS[0], 1))  # warm
        print(
            f"torch {torch.__version__}, diffusers {diffusers.__version__}, Python {platform.python_version()}, cpu,"
            f" {options.threads} threads; {SIDE} x {SIDE} pixels at {FPS} frames a second, {options.steps} steps, two"
            f" frames of the window before given; fastest of {options.rounds} interleaved rounds"
        )
        jobs = [job(options.model, clips[4], window, options.steps) for window in WINDOWS]
        for window, (took, frames, count) in zip(WINDOWS, fastest(engine, jobs, options.rounds), strict=True):
            print(
                f"windows of {window:>2} frames: {took / count:6.2f} s a window, {took / frames:.3f} s a frame,"
                f" {frames / took:5.1f} frames a second ({frames} frames in {count} windows)"
            )
        jobs = [job(options.model, clips[seconds], 16, options.steps) for seconds in SECONDS]
        each = []
        for seconds, (took, frames, count) in zip(SECONDS, fastest(engine, jobs, options.rounds), strict=True):
            each.append(took / frames)
            print(
                f"clips of {seconds:>2} seconds: {took:6.2f} s, {took / frames:.3f} s a frame in {count} windows of 16;"
                f" peak memory so far {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB"
            )
        print(f"the most seconds a frame against the fewest, from {SECONDS[0]} to {SECONDS[-1]} seconds: "
              f"{max(each) / min(each):.2f} times")  # fmt: skip


if __name__ == "__main__":
    main()
