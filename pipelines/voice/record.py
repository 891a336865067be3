"""What the record of a dubbing tells beside what every record does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pipelines.files.audio import Sound
from pipelines.files.soundtrack import Soundtrack
from pipelines.job import DubbingJob
from pipelines.voice.footage import Footage
from pipelines.voice.shots import Shots
from pipelines.voice.timeline import Timeline, Window


def record_of(
    job: DubbingJob,
    shots: Shots,
    windows: Sequence[Window],
    reused: Sequence[int],
    sound: Sound,
    soundtrack: Soundtrack,
    over_time: Mapping[str, Any],
) -> dict[str, Any]:
    """What was found in the files, and what was done with it."""
    footage, clip = shots.footage, shots.timeline
    first = next((number for number, face in enumerate(footage.faces) if face is not None), None)
    face = None if first is None else footage.faces[first]
    sides = (footage.width, footage.height) * 2
    return {
        "dubbing": {
            "face": None if face is None else [round(edge / side, 4) for edge, side in zip(face, sides, strict=True)],
            "face_frame": first,
            "face_found_by": footage.found_by or None,
            "faces_at_most": footage.most,
            "faces_bridged": spans(footage.bridged),
            "passed_frames": spans(shots.passed),
            "view": list(shots.view),
            "references": list(shots.references),
            "warp": shots.warp,
            "windows": [[window.first, window.end] for window in windows],
            "windows_reused": list(reused),
            "length": _length(job, footage, clip),
            "audio": {
                "seconds": float(sound.seconds),
                "rate": sound.rate,
                "channels": sound.channels,
                "codec": soundtrack.codec,
                "copied": soundtrack.copied,
                "exact": soundtrack.exact,
            },
            "over_time": dict(over_time),
        }
    }


def _length(job: DubbingJob, footage: Footage, clip: Timeline) -> str:
    """In words, what the length came from."""
    if job.duration == "video":
        return "the video's; the audio was cut or ends in silence where it lasts otherwise"
    if footage.still:
        return "the audio's"
    if clip.frames > footage.count:
        return "the audio's; the video goes on backwards and forwards"
    return "the audio's" if clip.frames == footage.count else "the audio's; the video was cut"


def spans(numbers: Iterable[int]) -> str:
    """Numbers in ascending order as `0-3,8`."""
    found: list[list[int]] = []
    for number in numbers:
        if found and found[-1][1] == number - 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in found)
