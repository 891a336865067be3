"""A procedural voice: babble of many speakers, and exactly what a mouth does that speaks it.

Source and filter (Fant, 1960): harmonics of a gliding pitch, weighed by formants, and noise where the breath is
narrowed. Sounds follow each other by smooth targets, and mouth and sound follow the same ones, so the track is not
measured but known. A voice is a pure function of (seed, index, duration), in numpy alone.

Times are in seconds, frequencies in hertz. Shape suffixes: T times, S samples, P sounds, K harmonics, B bins.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .portrait import MOUTHS, Mouth

Array = NDArray[np.float64]

RATE = 16_000
HOP = 80  # samples between two points of control
WINDOW = 320  # samples of a piece of noise
GLIDE = 0.09  # seconds from one sound to the next, at most
QUIET = 0.12  # share of voices that say nothing
LONGEST = 600.0  # seconds; a voice is held in memory
BANDS = (70.0, 90.0, 130.0, 180.0)  # widths of the four formants
HIGHER = (4500.0, 5500.0, 6500.0, 7500.0)  # resonances that no mouth moves, and their width
HIGH_BAND = 400.0


@dataclass(frozen=True)
class Sound:
    """One sound of speech, as all speakers make it.

    Attributes:
        mouth: how it is held.
        formants: four resonances.
        voiced: strength of the harmonics, 0..1.
        noise: strength of the noise, 0..1.
        bright: where in the spectrum the noise lies.
        burst: strength of the noise that follows a closure.
        firm: how little its width and roundness give way to the sounds beside it, 0..1.
    """

    mouth: Mouth
    formants: tuple[float, float, float, float]
    voiced: float = 0.0
    noise: float = 0.0
    bright: float = 1500.0
    burst: float = 0.0
    firm: float = 1.0


VOWELS: dict[str, Sound] = {
    "ah": Sound(MOUTHS["ah"], (730, 1090, 2440, 3400), 1.0),
    "eh": Sound(Mouth(0.6, 0.82, 0.1), (560, 1800, 2500, 3500), 0.9),
    "oh": Sound(MOUTHS["oh"], (500, 860, 2400, 3300), 0.9),
    "ee": Sound(MOUTHS["ee"], (280, 2250, 3000, 3600), 0.6),
    "oo": Sound(MOUTHS["oo"], (310, 800, 2240, 3200), 0.6),
}
SHUT = MOUTHS["closed"]
CONSONANTS: dict[str, Sound] = {
    "m": Sound(SHUT, (250, 1050, 2200, 3200), 0.3, firm=0.4),
    "b": Sound(SHUT, (230, 900, 2200, 3200), 0.12, burst=0.12, bright=900, firm=0.4),
    "p": Sound(SHUT, (400, 1000, 2200, 3200), 0.0, burst=0.3, bright=1200, firm=0.4),
    "s": Sound(Mouth(0.1, 0.75, 0.0), (320, 1700, 2600, 3600), 0.0, noise=0.4, bright=5800, firm=0.5),
    "f": Sound(Mouth(0.07, 0.6, 0.0), (340, 1200, 2300, 3400), 0.0, noise=0.16, bright=3800, firm=0.5),
    "l": Sound(Mouth(0.3, 0.6, 0.1), (370, 1250, 2700, 3400), 0.4, firm=0.3),
    "n": Sound(Mouth(0.2, 0.6, 0.1), (270, 1600, 2500, 3400), 0.35, firm=0.3),
}
PAUSE = Sound(SHUT, (500, 1500, 2500, 3500))


@dataclass(frozen=True)
class Speaker:
    """Who speaks.

    Attributes:
        pitch: the mean one.
        lively: how far pitch rises and falls, as a share.
        reach: factor of the formants; a shorter throat has higher ones.
        breath: strength of noise in voiced sounds, 0..1.
        tilt: decibels an octave that the source loses.
        pace: factor of how long sounds last.
        loudness: root mean square of a full vowel.
        hiss: strength of the noise around, as a share of the loudness; 0 is a clean recording.
    """

    pitch: float
    lively: float
    reach: float
    breath: float
    tilt: float
    pace: float
    loudness: float
    hiss: float


@dataclass(frozen=True)
class Spoken:
    """A sound as it was said: from when to when, how firmly (a factor), and how its voice is pitched (a factor)."""

    name: str
    start: float
    end: float
    stress: float = 1.0
    pitch: float = 1.0


@dataclass(frozen=True)
class Voice:
    """Voice `index` of those with a seed, for so many seconds. It begins and ends with its mouth shut.

    Raises:
        ValueError: a duration that is not above zero, or longer than ten minutes.
    """

    seed: int
    index: int
    duration: float

    def __post_init__(self) -> None:
        if not 0 < self.duration <= LONGEST:
            raise ValueError(f"a voice lasts more than 0 and at most {LONGEST:g} seconds, got {self.duration:g}")

    @cached_property
    def speaker(self) -> Speaker:
        """Who speaks."""
        rng = self._random("speaker")
        high = rng.random()
        return Speaker(
            pitch=95 + 140 * high,
            lively=rng.uniform(0.08, 0.25),
            reach=0.94 + 0.22 * high + rng.uniform(-0.03, 0.03),
            breath=rng.uniform(0.02, 0.15),
            tilt=rng.uniform(3, 8),
            pace=rng.uniform(0.85, 1.25),
            loudness=10 ** (rng.uniform(-27, -15) / 20),
            hiss=0.0 if rng.random() < 0.3 else 10 ** (-rng.uniform(14, 45) / 20),
        )

    @cached_property
    def sounds(self) -> tuple[Spoken, ...]:
        """What is said: phrases of syllables with pauses between them, from 0 to `duration` without a gap."""
        rng, pace = self._random("sounds"), self.speaker.pace
        said: list[Spoken] = []
        time = self._say(said, "pause", 0.0, min(rng.uniform(0.08, 0.4), 0.3 * self.duration))
        quiet = rng.random() < QUIET
        end = self.duration - rng.uniform(0.06, 0.12)
        while not quiet and time < end:
            firm, left = rng.uniform(0.75, 1.0), rng.randint(3, 9)
            for nth in range(left):
                stress = firm * rng.uniform(0.7, 1.05)
                # Pitch falls along a phrase and rises with stress.
                pitch = 1 + self.speaker.lively * (0.5 - nth / left + rng.uniform(-0.4, 0.4))
                for name, seconds in _syllable(rng):
                    if time + 0.05 < end:
                        time = self._say(said, name, time, min(time + pace * seconds, end), stress, pitch)
            pause = rng.uniform(0.15, 0.7)
            if time + 0.05 >= end:
                break
            time = self._say(said, "pause", time, min(time + pause, end))
        self._say(said, "pause", time, self.duration)
        return tuple(said)

    @cached_property
    def phrase_ends(self) -> tuple[float, ...]:
        """When a pause begins that follows something said, in seconds."""
        pairs = zip(self.sounds, self.sounds[1:], strict=False)
        return tuple(one.start for before, one in pairs if one.name == "pause" != before.name)

    def track(self, times: ArrayLike) -> NDArray[np.float32]:
        """[T, 3] opening, width and roundness of the mouth at any times; before and after the voice it is shut."""
        return self._curve(self._mouths, times).astype(np.float32)

    def audio(self) -> NDArray[np.float32]:
        """[S] samples at `RATE` in -1..1; as many as fit into the duration, rounded."""
        count = round(self.duration * RATE)
        points = -(-count // HOP) + 1
        times = np.arange(points) * HOP / RATE
        noise = np.random.Generator(np.random.PCG64([self.seed & (2**63 - 1), self.index]))
        strength = self._curve(self._strengths, times)
        higher = np.broadcast_to(HIGHER, (points, len(HIGHER)))
        formants = np.concatenate([self._curve(self._formants, times), higher], 1) * self.speaker.reach
        harmonics = self._harmonics(formants, strength[:, 0], self._curve(self._pitches, times)[:, 0], noise)
        breath = strength[:, 1] + self._bursts(times) + 0.25 * self.speaker.breath * strength[:, 0]
        hissing = _colour_noise(noise, breath, strength[:, 2])
        around = noise.standard_normal(len(harmonics))
        around[1:] += noise.uniform(0, 0.9) * around[:-1]
        mixed = harmonics + hissing + self.speaker.hiss * around
        return np.clip(mixed[:count] * self.speaker.loudness, -1, 1).astype(np.float32)

    # ---------------------------------------------------------------- targets

    def _random(self, stream: str) -> random.Random:
        return random.Random(f"{self.seed} {self.index} {stream}")

    @staticmethod
    def _say(said: list[Spoken], name: str, start: float, end: float, stress: float = 1.0, pitch: float = 1.0) -> float:
        said.append(Spoken(name, start, end, stress, pitch))
        return end

    @cached_property
    def _knots(self) -> Array:
        """[2P] where each sound's target is reached and left. Glides meet in the middle between two sounds."""
        starts, ends = np.array([(one.start, one.end) for one in self.sounds]).T
        half = np.minimum(GLIDE, ends - starts) / 2 * 0.9
        glides = np.minimum(half[1:], half[:-1])
        return np.stack([starts + np.append(0.0, glides), ends - np.append(glides, 0.0)], 1).ravel()

    def _curve(self, targets: Array, times: ArrayLike) -> Array:
        """[T, D] the smooth course of targets [P, D] at any times."""
        at, knots = np.asarray(times, dtype=np.float64), self._knots
        right = np.searchsorted(knots, at, side="right").clip(1, len(knots) - 1)
        before, after = knots[right - 1], knots[right]
        share = ((at - before) / np.maximum(after - before, 1e-9)).clip(0, 1)
        share = (share * share * (3 - 2 * share))[:, None]
        return np.asarray(targets[(right - 1) // 2] * (1 - share) + targets[right // 2] * share)

    @cached_property
    def _mouths(self) -> Array:
        """[P, 3] where the mouth goes. What is not firm about it, it takes from the sounds beside."""
        kinds = [_kind(one.name) for one in self.sounds]
        mouths = np.array([kind.mouth for kind in kinds])
        stress = np.array([one.stress if one.name in VOWELS else 1.0 for one in self.sounds])
        firm = np.array([kind.firm for kind in kinds])[:, None]
        beside = (np.roll(mouths, 1, 0) + 2 * np.roll(mouths, -1, 0)) / 3
        mouths[:, 1:] = (firm * mouths + (1 - firm) * beside)[:, 1:]
        mouths[:, 0] *= stress
        return mouths.clip(0, 1)

    @cached_property
    def _formants(self) -> Array:
        """[P, 4] before the speaker's reach. Stress raises the first one a little, as it opens the mouth."""
        formants = np.array([_kind(one.name).formants for one in self.sounds], dtype=np.float64)
        formants[:, 0] *= [0.85 + 0.15 * one.stress for one in self.sounds]
        # Silence has no formants of its own: the sounds beside it begin and end with theirs.
        names = [one.name for one in self.sounds]
        for k, name in enumerate(names):
            if name == "pause":
                formants[k] = formants[k - 1] if k else formants[min(1, len(names) - 1)]
        return formants

    @cached_property
    def _strengths(self) -> Array:
        """[P, 3] of harmonics and of noise, and how bright the noise is."""
        kinds = [_kind(one.name) for one in self.sounds]
        stress = np.array([one.stress for one in self.sounds])
        voiced = np.array([kind.voiced for kind in kinds]) * stress**1.5
        noise = np.array([kind.noise for kind in kinds]) * stress
        return np.stack([voiced, noise, [kind.bright for kind in kinds]], 1)

    @cached_property
    def _pitches(self) -> Array:
        """[P, 1]."""
        return np.array([[self.speaker.pitch * one.pitch] for one in self.sounds])

    # ---------------------------------------------------------------- sound

    def _harmonics(self, formants: Array, voiced: Array, pitch: Array, noise: np.random.Generator) -> Array:
        """[S] voiced sound: the powers of one turning number are all harmonics of the pitch."""
        trembling = 1 + 0.012 * _smoothed(noise.standard_normal(len(pitch)), 8)
        pitch = np.interp(np.arange((len(pitch) - 1) * HOP) / HOP, np.arange(len(pitch)), pitch * trembling)
        phase = 2 * np.pi * np.cumsum(pitch) / RATE
        turning = np.exp(1j * phase).astype(np.complex64)
        low = pitch[::HOP]
        low = np.append(low, low[-1])
        orders = np.arange(1, int(0.46 * RATE / low.min()) + 1)
        frequencies = low[:, None] * orders
        gains = _resonance(frequencies, formants) * (frequencies / 300) ** (-self.speaker.tilt / 6.02)
        gains *= frequencies < 0.47 * RATE
        # Formants shape the sound and do not decide how loud it is: that is the sound's and the stress's.
        gains *= (voiced / np.sqrt((gains**2).sum(1) / 2 + 1e-12))[:, None]
        gains = gains.astype(np.float32)
        rise = (np.arange(HOP, dtype=np.float32) / HOP)[None]
        power, total = np.ones_like(turning), np.zeros((len(low) - 1, HOP), dtype=np.float32)
        for k in range(len(orders)):
            power *= turning
            start, step = gains[:-1, k, None], gains[1:, k, None] - gains[:-1, k, None]
            total += power.imag.reshape(-1, HOP) * (start + step * rise)
        return total.ravel().astype(np.float64)

    def _bursts(self, times: Array) -> Array:
        """[T] strength of the noise with which a shut mouth comes open."""
        strength = np.zeros(len(times))
        for one, after in zip(self.sounds, self.sounds[1:], strict=False):
            if burst := _kind(one.name).burst * (after.name != "pause"):
                since = times - one.end + 0.01
                strength += np.where(since > 0, burst * one.stress * np.exp(-since.clip(0) / 0.018), 0.0)
        return strength


def envelope(audio: ArrayLike, rate: float, times: ArrayLike, window: float = 0.08) -> NDArray[np.float64]:
    """[T] how loud a recording is around each time: the root mean square of `window` seconds, silence outside.

    Args:
        audio: [S] samples.
        rate: samples a second.
        times: [T] seconds.
        window: seconds.
    """
    energy = np.append(0.0, np.cumsum(np.square(np.asarray(audio, dtype=np.float64))))
    at, places = np.asarray(times, dtype=np.float64), np.arange(len(energy)) / rate
    inside = np.interp(at + window / 2, places, energy) - np.interp(at - window / 2, places, energy)
    return np.asarray(np.sqrt(inside.clip(0) / (window * rate)))


def _kind(name: str) -> Sound:
    return PAUSE if name == "pause" else VOWELS.get(name) or CONSONANTS[name]


def _syllable(rng: random.Random) -> list[tuple[str, float]]:
    """Sounds and seconds: mostly a consonant and a vowel, sometimes a second consonant, or a vowel alone."""
    before = rng.choices((0, 1), (0.15, 0.85))[0]
    after = rng.choices((0, 1), (0.7, 0.3))[0]
    consonants = [(name, rng.uniform(0.07, 0.12)) for name in rng.sample(tuple(CONSONANTS), 2)]
    return [*consonants[:before], (rng.choice(tuple(VOWELS)), rng.uniform(0.13, 0.28)), *consonants[2 - after :]]


def _resonance(frequencies: Array, formants: Array) -> Array:
    """[T, K] gain of resonators in a row (Klatt, 1980) at frequencies [T, K], each 1 at zero."""
    gain = np.ones_like(frequencies)
    squared = frequencies**2
    for k, band in enumerate(BANDS + (HIGH_BAND,) * len(HIGHER)):
        centre = formants[:, k, None]
        gain *= (centre**2 + band**2 / 4) / np.sqrt((squared - centre**2 + band**2 / 4) ** 2 + (band * centre) ** 2)
    return gain


def _colour_noise(noise: np.random.Generator, strength: Array, bright: Array) -> Array:
    """[S] noise that lies around `bright` [T] and is as strong as `strength` [T], in overlapping windows."""
    points, step = len(strength), HOP
    count = points + WINDOW // HOP
    raw = noise.standard_normal((count * step + WINDOW,))
    starts = np.arange(points) * step
    pieces = np.lib.stride_tricks.sliding_window_view(raw, WINDOW)[starts] * np.hanning(WINDOW + 1)[:-1]
    spectrum = np.fft.rfft(pieces, axis=1)
    bins = np.fft.rfftfreq(WINDOW, 1 / RATE)
    shape = np.exp(-0.5 * ((bins - bright[:, None]) / (0.28 * bright[:, None] + 250)) ** 2)
    shape *= (strength / np.sqrt((shape**2).mean(1) * 1.5))[:, None]
    pieces = np.fft.irfft(spectrum * shape, WINDOW, axis=1)
    # A window begins half its length before its point.
    total = np.zeros((count, step))
    for k in range(WINDOW // step):
        total[k : k + points] += pieces[:, k * step : (k + 1) * step]
    return total.ravel()[WINDOW // 2 : WINDOW // 2 + (points - 1) * step]


def _smoothed(values: Array, width: int) -> Array:
    padded = np.pad(values, (width // 2, width - width // 2 - 1))
    return np.convolve(padded, np.hanning(width + 2)[1:-1] / np.sqrt(width), mode="valid")
