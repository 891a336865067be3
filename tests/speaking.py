"""What dubbing is tried with: a small checkpoint that hears, portraits, clips and sounds."""

from __future__ import annotations

import shutil
import wave
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from models.checkpoint import describe
from models.speech import SpeechEncoder
from models.warp import MouthWarp
from pipelines.files.media import Pixels, write_picture
from pipelines.job import DubbingJob, parse
from pipelines.story.scenecache import Stored
from pipelines.voice.stage import Given, Stage
from pipelines.voice.timeline import Window
from training.face import draw
from training.pixels import to_pixels
from training.portrait import MOUTHS, Cast, Portrait

SIDE = 96
PERSON = Portrait("yellow", "black", "blue", seed=4)
SPOKEN = ("closed", "ah", "ee", "oh", "oo")


def hearing(tiny: Path, folder: Path, warp: bool = False) -> Path:
    """A copy of a checkpoint with a speech encoder of random weights, and with a warp that moves nothing."""
    shutil.copytree(tiny, folder)
    torch.manual_seed(5)
    width = int(describe(str(tiny)).transformer["joint_attention_dim"])
    speech = SpeechEncoder(width, per_frame=2, bands=16, columns=9, channels=8)
    speech.save_pretrained(folder / "speech")
    if warp:
        MouthWarp.of(speech, size=16, inner_width=16, blocks=1, num_heads=2).save_pretrained(folder / "warp")
    return folder


def portrait(frames: int, fps: float = 25, person: Portrait = PERSON, height: int = SIDE, width: int = SIDE) -> Pixels:
    """[F, H, W, 3] a person who says all five vowels, one a frame."""
    times = [(frame + 0.5) / fps for frame in range(frames)]
    mouths = [MOUTHS[SPOKEN[frame % len(SPOKEN)]] for frame in range(frames)]
    drawn = draw(person, times, mouths, height, width)
    return np.stack([to_pixels(frame) for frame in drawn]) if frames else np.zeros((0, height, width, 3), np.uint8)


def people(count: int) -> list[Portrait]:
    return [Cast(seed=21, split="any").portrait(index) for index in range(count)]


def still(path: Path, pixels: Pixels) -> Path:
    Image.fromarray(pixels).save(path)
    return path


def folder_of(path: Path, frames: Pixels, fps: int | Fraction) -> Path:
    """A folder of exact PNG frames that tells its rate."""
    path.mkdir()
    for number, frame in enumerate(frames):
        write_picture(path / f"{number:04d}.png", frame, {"job": {}, "fps": str(Fraction(fps))})
    return path


def samples(seconds: float, rate: int = 16_000, channels: int = 1) -> np.ndarray:
    """[C, T] int16, a hum that grows and falls, other in each channel."""
    time = np.arange(round(seconds * rate)) / rate
    loud = 0.4 + 0.3 * np.sin(2 * np.pi * 2.5 * time)
    tones = [loud * np.sin(2 * np.pi * (180 + 70 * channel) * time) for channel in range(channels)]
    return (np.stack(tones) * 30_000).astype(np.int16)


def sound(path: Path, seconds: float, rate: int = 16_000, channels: int = 1) -> Path:
    """A WAV file of `samples`."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.ascontiguousarray(samples(seconds, rate, channels).T).tobytes())
    return path


def job(model: Path, source: Path, audio: Path, **fields: Any) -> DubbingJob:
    base = {"task": "dubbing", "model": str(model), "source": str(source), "audio": str(audio), "steps": 2, "seed": 3}
    made = parse(base | {"window": 6, "overlap": 2} | fields)
    assert isinstance(made, DubbingJob)
    return made


def echo(stage: Stage, number: int, window: Window, given: Given, progress: object) -> Stored:
    """Stands in for `Stage.make`: what the model would see is what comes out, at once."""
    kept = stage.job.overlap * stage.shots.height * stage.shots.width
    return Stored(given.frames[window.before :], np.zeros((kept, stage.codec.channels), np.float32))
