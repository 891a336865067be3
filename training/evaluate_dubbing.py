"""Scores of people who speak: mouths that were dubbed with another sound, and portraits that came alive.

What a mouth has to do is known, for the procedural voice knows its own track; of recorded speech its loudness is taken
instead. Every case is rendered by a job, from files, as a user's is; reading faces is `lips.py`.
"""

from __future__ import annotations

import subprocess
import wave
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipelines.files.media import write_picture
from pipelines.job import DubbingJob, Job
from training.lips import PortraitReading, read_portrait, sync
from training.pixels import Mask, Pixels
from training.portrait import MOUTHS, Portrait
from training.renders import Render, Settings
from training.scores import Failure, Scores, tiled
from training.speaking import Performance, perform
from training.voice import RATE, Voice, envelope

Kind = Literal["swapped", "silence", "recorded", "portrait", "long"]
DUBBED: tuple[Kind, ...] = ("swapped", "silence", "recorded")
SECONDS, LIVELY = 3.0, 5.0  # of a dubbed clip, and of a portrait: in five seconds people blink twice
LONG, END = 60.0, 10.0  # of a long portrait, and of its beginning and end, which are compared
SPEAKS = 0.08  # standard deviation of an opening below which a voice says too little to be scored on
ENOUGH_SYNC, ENOUGH_SHUT = 0.7, 0.95  # of a case, below which it is a failure
WANDERS = (0.0015, 0.04)  # standard deviation of a face's place, in short sides: less is a statue, more a jump
REACH = 3  # frames by which a mouth may come early or late and still be recognised
SENTENCES = (
    "the cat saw a bowl of milk and ran across the open yard",
    "my mother bought five apples and a warm brown loaf",
    "we are going home before the moon is over the hill",
    "a small boat may carry no more than three of you",
)
Speak = Callable[[str, Path], None]


@dataclass(frozen=True, eq=False)
class Case:
    """A job whose right result is known.

    Attributes:
        job: its files are written.
        kind: what is asked.
        portrait: who speaks.
        track: [F] how far the sound opens a mouth, 0..1.
        before: [F] the same of the sound that the source was filmed with; None where there was none.
        truth: [F, H, W, 3] what the result may look like; of recorded speech a guess.
        bare: [F, H, W] skin in the mouth's region that no mouth touches.
    """

    job: Job
    kind: Kind
    portrait: Portrait
    track: NDArray[np.float32]
    before: NDArray[np.float32] | None
    truth: Pixels
    bare: Mask


# ---------------------------------------------------------------- cases


def dubbing_cases(
    kind: Kind,
    count: int,
    settings: Settings,
    folder: Path,
    seed: int = 2024,
    warp: bool = False,
    speak: Speak | None = None,
) -> list[Case]:
    """`count` unseen people who are given another's sound (swapped), none (silence), or recorded speech.

    Args:
        kind: one of DUBBED.
        count: how many.
        settings: size and frames a second.
        folder: where files go.
        seed: which people and voices.
        warp: whether references are moved first.
        speak: writes a sentence as a WAV file; needed for recorded speech.
    """
    folder.mkdir(parents=True, exist_ok=True)
    people = _speakers(count, settings, seed, SECONDS)
    return [
        _dubbed(kind, number, one, people[(number + 1) % len(people)].voice, settings, folder, warp, speak)
        for number, one in enumerate(people)
    ]


def portrait_cases(
    count: int, settings: Settings, folder: Path, seed: int = 2024, seconds: float = LIVELY
) -> list[Case]:
    """`count` pictures of unseen people who do not speak yet, and a sound of some seconds for each.

    Those that last twice `END` or longer are long ones, of which the beginning is compared with the end.
    """
    folder.mkdir(parents=True, exist_ok=True)
    kind: Kind = "long" if seconds >= 2 * END else "portrait"
    cases = []
    for number, one in enumerate(_speakers(count, settings, seed, seconds)):
        stem = f"{kind}-{number:03d}"
        numbers = range(one.frames)
        write_picture(folder / f"{stem}.png", _still(one, settings), {})
        write_wave(folder / f"{stem}.wav", one.voice.audio(), RATE)
        job = settings.job(
            "dubbing",
            number,
            name=stem,
            prompt=one.portrait.caption,
            source=str(folder / f"{stem}.png"),
            audio=str(folder / f"{stem}.wav"),
            region="portrait",
            fps=settings.fps,
        )
        truth = _pixels(one, settings)
        bare = np.zeros(truth.shape[:3], bool)
        cases.append(Case(job, kind, one.portrait, one.track(numbers)[:, 0], None, truth, bare))
    return cases


def _speakers(count: int, settings: Settings, seed: int, seconds: float) -> list[Performance]:
    """The first performances in which something is said."""
    found: list[Performance] = []
    index = 0
    while len(found) < count:
        one = perform(seed, index, settings.fps, "unseen", seconds)
        if one.track(range(one.frames))[:, 0].std() > SPEAKS:
            found.append(one)
        index += 1
    return found


def _dubbed(
    kind: Kind,
    number: int,
    filmed: Performance,
    other: Voice,
    settings: Settings,
    folder: Path,
    warp: bool,
    speak: Speak | None,
) -> Case:
    stem = f"{kind}-{number:03d}"
    numbers = range(filmed.frames)
    for frame, pixels in enumerate(_pixels(filmed, settings)):
        (folder / stem).mkdir(exist_ok=True)
        write_picture(folder / stem / f"{frame:04d}.png", pixels, {"job": {}, "fps": str(settings.fps)})
    sound = folder / f"{stem}.wav"
    if kind == "recorded":
        if speak is None:
            raise ValueError("recorded speech needs somebody who speaks it")
        speak(SENTENCES[number % len(SENTENCES)], sound)
        mouths = _by_loudness(sound, filmed)
    elif kind == "silence":
        write_wave(sound, np.zeros(round(SECONDS * RATE), np.float32), RATE)
        mouths = np.tile(np.array(MOUTHS["closed"], np.float32), (filmed.frames, 1))
    else:
        write_wave(sound, other.audio(), RATE)
        mouths = other.track(filmed.times(numbers))
    job = settings.job(
        "dubbing",
        number,
        name=stem,
        prompt=filmed.portrait.caption,
        source=str(folder / stem),
        audio=str(sound),
        duration="video",
        warp=warp,
    )
    truth = _pixels(filmed, settings, mouths)
    before = filmed.track(numbers)[:, 0]
    return Case(job, kind, filmed.portrait, mouths[:, 0], before, truth, _bare(filmed, settings))


def _by_loudness(sound: Path, filmed: Performance) -> NDArray[np.float32]:
    """[F, 3] mouths that open as far as it is loud: of a recording no more is known."""
    samples, rate = read_wave(sound)
    loud = envelope(samples, rate, filmed.times(range(filmed.frames)))
    mouths = np.tile(np.array(MOUTHS["ah"], np.float32), (len(loud), 1))
    mouths[:, 0] = loud / max(float(loud.max()), 1e-9)
    return mouths


def _bare(filmed: Performance, settings: Settings) -> Mask:
    """[F, H, W] the pixels of the mouth's region that are the same however the mouth is held."""
    width, height = settings.size
    held = [
        _pixels(filmed, settings, np.tile(np.array(MOUTHS[name], np.float32), (filmed.frames, 1))) for name in MOUTHS
    ]
    same = np.logical_and.reduce([(held[0] == other).all(-1) for other in held[1:]])
    inside = np.zeros_like(same)
    for number, region in enumerate(filmed.regions(range(filmed.frames), height // 16, width // 16)):
        y0, x0, y1, x1 = (16 * edge for edge in region)
        inside[number, y0:y1, x0:x1] = True
    return np.asarray(same & inside)


def _pixels(one: Performance, settings: Settings, mouths: ArrayLike | None = None) -> Pixels:
    """[F, H, W, 3] a performance, with its own mouths or others."""
    from training.face import draw

    numbers = range(one.frames)
    width, height = settings.size
    frames = draw(one.portrait, one.times(numbers), one.track(numbers) if mouths is None else mouths, height, width)
    return np.asarray((frames * 255).round().byte().permute(0, 2, 3, 1).numpy())


def _still(one: Performance, settings: Settings) -> Pixels:
    """[H, W, 3] the person with open eyes and a shut mouth."""
    from training.face import draw

    width, height = settings.size
    open_eyed = next(time for time in one.times(range(one.frames)) if one.portrait.lids(time) == 1)
    frame = draw(one.portrait, [open_eyed], [MOUTHS["closed"]], height, width)[0]
    return np.asarray((frame * 255).round().byte().permute(1, 2, 0).numpy())


# ---------------------------------------------------------------- scores


def evaluate_dubbing(render: Render, cases: Sequence[Case], settings: Settings) -> Scores:
    """Score cases of one kind.

    Rates of speech: mean `correlation` of the mouth's opening with the sound's track, `best` the same at the lag where
    it is best, the mean `lag` in frames (above zero the mouth comes late), `follows` how many go with the new sound
    rather than with the one they were filmed with. Of silence: `shut`, the share of frames with a shut mouth. Of all:
    `identity`, how many keep their colours and the ground's, `colours`, the share of frames in which skin and hair have
    theirs, and for dubbed mouths `bare`, the PSNR in dB of skin around them. Of long portraits: correlation and colours
    of the first and the last ten seconds.
    """
    videos = [np.stack([frame[..., :3] for frame in result.frames]) for result in render([case.job for case in cases])]
    readings = [read_portrait(video) for video in videos]
    judged = [_judge(case, reading) for case, reading in zip(cases, readings, strict=True)]
    failures = tuple(
        Failure(number, case.portrait.caption, reason, tiled(video))
        for number, (case, video, (_, reason)) in enumerate(zip(cases, videos, judged, strict=True))
        if reason
    )
    rates = {name: float(np.mean([found[name] for found, _ in judged])) for name in (judged[0][0] if judged else ())}
    if judged and cases[0].kind not in ("portrait", "long"):
        rates["bare"] = float(np.mean([bare(case, video) for case, video in zip(cases, videos, strict=True)]))
    return Scores(len(cases), rates, failures)


def _judge(case: Case, reading: PortraitReading) -> tuple[dict[str, float], str]:
    """Numbers of one case, and what is wrong with it or nothing."""
    portrait = case.portrait
    same = (reading.skin, reading.hair, reading.ground) == (portrait.skin, portrait.hair, portrait.ground)
    reason = "" if same else f"somebody else: {reading.words}"
    if len(reading.opening) != len(case.track):
        reason = f"{len(reading.opening)} frames for {len(case.track)}"
        return dict.fromkeys(_names(case), 0.0), reason
    if case.kind == "silence":
        shut = float(reading.shut.mean())
        if shut < ENOUGH_SHUT:
            reason = reason or f"shut in {shut:.0%} of the frames"
        return {"shut": shut, "identity": float(same), "colours": _colours(case, reading)}, reason
    found = sync(reading.opening, case.track, REACH)
    if found.best < ENOUGH_SYNC:
        reason = reason or f"goes with the sound by {found.best:.2f}"
    rates = {"correlation": found.correlation, "best": found.best, "lag": float(found.lag)}
    if case.before is not None:
        own = sync(reading.opening, case.before, REACH)
        rates["follows"] = float(found.correlation > own.correlation)
    rates |= {"identity": float(same), "colours": _colours(case, reading)}
    if case.kind == "long":
        assert isinstance(case.job, DubbingJob) and case.job.fps is not None
        count = round(END * case.job.fps)
        for name, part in (("first", slice(0, count)), ("last", slice(-count, None))):
            rates[f"{name} correlation"] = sync(reading.opening[part], case.track[part], REACH).correlation
            rates[f"{name} colours"] = _colours(case, reading, part)
    if case.kind == "portrait":
        rates["blinks"] = float(reading.blinks.any())
        rates["moves"] = float(WANDERS[0] < wandering(reading, case) < WANDERS[1])
    return rates, reason


def _colours(case: Case, reading: PortraitReading, part: slice = slice(None)) -> float:
    """Share of frames in which skin and hair are the person's."""
    right = (case.portrait.skin, case.portrait.hair)
    return float(np.mean([pair == right for pair in zip(reading.skins[part], reading.hairs[part], strict=True)]))


def _names(case: Case) -> tuple[str, ...]:
    alike = ("identity", "colours")
    if case.kind == "silence":
        return "shut", *alike
    synced = ("correlation", "best", "lag")
    if case.kind == "long":
        ends = (f"{end} {what}" for end in ("first", "last") for what in ("correlation", "colours"))
        return *synced, *alike, *ends
    return (*synced, *alike, "blinks", "moves") if case.kind == "portrait" else (*synced, "follows", *alike)


def wandering(reading: PortraitReading, case: Case) -> float:
    """Standard deviation of the face's middle over the frames where it was found, in short sides."""
    faces = reading.faces[reading.found]
    if len(faces) < 2:
        return 0.0
    height, width = case.truth.shape[1:3]
    middles = np.stack([faces[:, 0] + faces[:, 2], faces[:, 1] + faces[:, 3]], 1) / 2
    middles *= np.array([width, height]) / min(width, height)
    return float(np.sqrt(middles.var(0).sum()))


def bare(case: Case, video: Pixels) -> float:
    """PSNR in dB, at most 60, of the skin in the mouth's region that no mouth touches."""
    if video.shape != case.truth.shape or not case.bare.any():
        return 0.0
    error = (video[case.bare].astype(np.float64) - case.truth[case.bare]) / 255
    return float(min(-10 * np.log10(max(float(np.square(error).mean()), 1e-12)), 60.0))


# ---------------------------------------------------------------- sound files


def espeak(sentence: str, path: Path) -> None:
    """Speak a sentence into a WAV file with espeak-ng, which has to be installed."""
    command = ["espeak-ng", "-w", str(path), sentence]
    subprocess.run(command, check=True, capture_output=True, timeout=60)


def write_wave(path: Path, samples: NDArray[np.float32], rate: int) -> None:
    """Samples [T] in -1..1 as 16-bit mono."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((np.clip(samples, -1, 1) * 32767).round().astype("<i2").tobytes())


def read_wave(path: Path) -> tuple[NDArray[np.float32], int]:
    """Samples [T] in -1..1 of a 16-bit mono WAV file, and how many make a second."""
    with wave.open(str(path), "rb") as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        return samples.astype(np.float32) / np.float32(32767), file.getframerate()
