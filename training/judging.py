"""Judges what pictures, clips and stories show against the scenes that were asked for. Reading them is the parser's.

Nothing unknown ever counts as right.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import permutations

from training.clips import ClipReading, Track
from training.fitting import Seen
from training.parser import MOST_STRAY, Reading
from training.pixels import UNKNOWN
from training.scene import Scene

ATTRIBUTES = ("count", "ground", "colours", "shapes", "binding", "sizes", "relation", "clean")
CLIP_ATTRIBUTES = ("subject", "motion", "ground", "company", "size", "clean")
SAME_SIZE = 1.35  # how much larger the largest of several radii of one thing may be; small and medium are 1.55 apart

# ---------------------------------------------------------------- pictures


@dataclass(frozen=True)
class Verdict:
    """Which parts of a picture are as asked, and in words what is not."""

    count: bool
    ground: bool
    colours: bool
    shapes: bool
    binding: bool
    sizes: bool
    relation: bool
    clean: bool
    reason: str

    @property
    def exact_two(self) -> bool:
        """Everything but the sizes."""
        return all(getattr(self, name) for name in ATTRIBUTES if name != "sizes")

    @property
    def exact(self) -> bool:
        """Everything, sizes included: a caption without a size word means medium."""
        return self.exact_two and self.sizes


def judge(reading: Reading, scene: Scene) -> Verdict:
    """Compare what a picture shows with the scene it should show."""
    seen, asked = reading.things, scene.things

    def same(*names: str) -> bool:
        return _tally(seen, names) == _tally(asked, names)

    parts = {
        "count": len(seen) == len(asked),
        "ground": reading.ground == scene.ground,
        "colours": same("colour"),
        "shapes": same("shape"),
        "binding": same("colour", "shape"),
        "sizes": same("colour", "shape", "size"),
        "relation": scene.relation is None or _relates(seen, scene),
        "clean": reading.stray <= MOST_STRAY,
    }
    return Verdict(**parts, reason=_reason(parts, reading.words))


def _reason(parts: dict[str, bool], words: str) -> str:
    wrong = [name for name, right in parts.items() if not right]
    return f"{', '.join(wrong)}: {words}" if wrong else ""


def _tally(things: Iterable[object], names: Sequence[str]) -> Counter[tuple[str, ...]]:
    return Counter(tuple(getattr(thing, name) for name in names) for thing in things)


def _relates(seen: Sequence[Seen], scene: Scene) -> bool:
    """Whether the relation holds between the two things that look most like the ones named."""

    def likeness(pair: tuple[Seen, ...]) -> list[int]:
        return [
            2 * (a.colour == b.colour) + 2 * (a.shape == b.shape) + (a.size == b.size)
            for a, b in zip(pair, scene.things, strict=False)
        ]

    best = max(permutations(seen, 2), key=lambda pair: sum(likeness(pair)), default=None)
    if best is None or min(likeness(best)) < 2:
        return False
    return scene.relation in best[0].relations_to(best[1])


# ---------------------------------------------------------------- clips


@dataclass(frozen=True)
class ClipVerdict:
    """Which parts of a clip are as asked, and in words what is not.

    Attributes:
        subject: colour and shape of the first thing, from the beginning to the end.
        motion: what that thing does.
        ground: the ground.
        company: the other things and what they do, and that there are no more of them.
        size: how large the subject is on the way.
        clean: nothing comes and goes, and there are few specks.
        reason: what is wrong, and what is seen.
    """

    subject: bool
    motion: bool
    ground: bool
    company: bool
    size: bool
    clean: bool
    reason: str

    @property
    def exact(self) -> bool:
        """Everything but the size."""
        return all(getattr(self, name) for name in CLIP_ATTRIBUTES if name != "size")


def judge_clip(reading: ClipReading, scene: Scene) -> ClipVerdict:
    """Compare what a clip shows with the scene it should show."""
    asked, track = scene.things[0], subject_of(reading, scene)
    others = [other for other in reading.throughout if other is not track]
    names = ("colour", "shape", "motion")
    parts = {
        "subject": track is not None and (track.colour, track.shape) == asked.pair,
        "motion": track is not None and track.motion == asked.motion,
        "ground": reading.ground == scene.ground,
        "company": _tally(others, names) == _tally(scene.things[1:], names),
        "size": track is not None and track.size == asked.size,
        "clean": reading.stray <= MOST_STRAY and len(reading.throughout) == len(reading.tracks),
    }
    return ClipVerdict(**parts, reason=_reason(parts, reading.words))


def subject_of(reading: ClipReading, scene: Scene) -> Track | None:
    """The track that looks most like a scene's subject, of those that last; None where none does in any way."""
    asked = scene.things[0]

    def likeness(track: Track) -> int:
        return 4 * (track.colour == asked.colour) + 4 * (track.shape == asked.shape) + (track.motion == asked.motion)

    best = max(reading.throughout, key=likeness, default=None)
    return best if best is not None and likeness(best) >= 4 else None


# ---------------------------------------------------------------- stories


@dataclass(frozen=True)
class StoryVerdict:
    """Which parts of a story are as asked.

    Attributes:
        scenes: each scene's verdict.
        kept: the subject is the same in all scenes, be it the one that was asked for or not.
        cuts: scenes change where they should, and nowhere else.
        reason: what is wrong, and what is seen.
    """

    scenes: tuple[ClipVerdict, ...]
    kept: bool
    cuts: bool
    reason: str

    @property
    def exact(self) -> bool:
        """Everything but the sizes."""
        return self.kept and self.cuts and all(scene.exact for scene in self.scenes)


def judge_story(
    readings: Sequence[ClipReading], cuts: Sequence[int], story: Sequence[Scene], starts: Sequence[int]
) -> StoryVerdict:
    """Compare what a story shows with the scenes it should show.

    Args:
        readings: of the frames of each scene, divided where they should be (`starts` of `clips.read_story`).
        cuts: where the picture does change, as `clips.cuts` finds it.
        story: the scenes that were asked for.
        starts: the first frames of all of them but the first.
    """
    scenes = tuple(judge_clip(reading, scene) for reading, scene in zip(readings, story, strict=True))
    tracks = [subject_of(reading, scene) for reading, scene in zip(readings, story, strict=True)]
    kept, at_cuts = _is_one(tracks), tuple(cuts) == tuple(starts)
    reasons = [
        *([] if at_cuts else [f"cuts at {', '.join(map(str, cuts)) or 'none'}"]),
        *([] if kept else ["subject not kept"]),
        *(f"scene {number}: {verdict.reason}" for number, verdict in enumerate(scenes, 1) if verdict.reason),
    ]
    return StoryVerdict(scenes, kept, at_cuts, "; ".join(reasons))


def _is_one(tracks: Sequence[Track | None]) -> bool:
    """Whether all scenes show one thing: of one colour, shape and size."""
    found = [track for track in tracks if track is not None and UNKNOWN not in (track.colour, track.shape)]
    if len(found) < len(tracks):
        return False
    radii = [track.radius for track in found]
    return len({(track.colour, track.shape) for track in found}) == 1 and max(radii) <= SAME_SIZE * min(radii)
