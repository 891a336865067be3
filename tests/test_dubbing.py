"""Speech moves a mouth and nothing else: plans, windows, sound and pictures of a dubbing, from the command line too."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tracemalloc
import wave
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st

from models.mmdit import MMDiT
from pipelines.cli import main
from pipelines.dubbing import dubbing_plan, given_tokens
from pipelines.engine import Engine
from pipelines.files.audio import read_audio
from pipelines.files.kept import KEPT
from pipelines.files.media import MediaError, read_clip, write_video
from pipelines.job import DubbingJob, Refusal, recipe
from pipelines.sampler import Guidance, build_scheduler, sample
from pipelines.text import text_plan
from pipelines.voice.record import spans
from pipelines.voice.shots import read_shots
from pipelines.voice.stage import Stage
from tests.speaking import SIDE, echo, folder_of, hearing, job, portrait, samples, sound, still
from tests.test_help import ROOT
from tests.test_mmdit import SMALL, pair


@pytest.fixture(scope="module")
def model(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that hears."""
    return hearing(tiny, tmp_path_factory.mktemp("hearing") / "model")


@pytest.fixture(scope="module")
def warping(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that warps mouths as well."""
    return hearing(tiny, tmp_path_factory.mktemp("warping") / "model", warp=True)


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine("cpu")


def frames_of(engine: Engine, wanted: DubbingJob) -> tuple[np.ndarray, dict[str, Any]]:
    (rendered,) = engine.render([wanted], lambda step, steps: True)
    return np.stack(list(rendered.frames)), dict(rendered.record)


def outside(wanted: DubbingJob, engine: Engine) -> np.ndarray:
    """[F, H, W] the pixels of the result that are kept."""
    shots, _ = read_shots(wanted, engine.describe(wanted.model))
    kept = np.ones((shots.timeline.frames, shots.footage.height, shots.footage.width), bool)
    for number in range(shots.timeline.frames):
        if region := shots.regions[shots.timeline.source(number)]:
            y0, x0, y1, x1 = (16 * edge for edge in region)
            left, top = shots.view[:2]
            kept[number, top + y0 : top + y1, left + x0 : left + x1] = False
    return kept


# ---------------------------------------------------------------- the plan

rectangles = st.tuples(st.integers(0, 3), st.integers(0, 4), st.integers(1, 2), st.integers(1, 2)).map(
    lambda r: (r[0], r[1], min(r[0] + r[2], 4), min(r[1] + r[3], 5))
)


@given(
    regions=st.lists(st.one_of(st.none(), rectangles), min_size=1, max_size=5),
    before=st.integers(0, 5),
    references=st.lists(rectangles, max_size=3),
    per_frame=st.integers(1, 3),
)
def test_a_frame_hears_its_own_speech_alone_and_sees_all_that_is_to_be_seen(
    regions: list[Any], before: int, references: list[Any], per_frame: int
) -> None:
    before = min(before, len(regions))
    plan = dubbing_plan(7, per_frame, 4, 5, tuple(regions), before, tuple(references))
    kinds = np.concatenate([[part.kind] * len(part) for part in plan.segments])
    t, seen = plan.positions[:, 0], plan.visibility[np.ix_(plan.classes, plan.classes)]
    prompt, speech, frame, reference = (kinds == kind for kind in ("prompt", "speech", "frame", "reference"))
    assert np.array_equal(seen, seen.T)
    assert seen[prompt].all() and seen[reference].all()
    assert seen[np.ix_(frame, frame | reference | prompt)].all()
    assert np.array_equal(seen[np.ix_(frame, speech)], t[frame][:, None] == t[speech][None])
    assert np.array_equal(seen[np.ix_(speech, speech)], t[speech][:, None] == t[speech][None])
    assert speech.sum() == per_frame * len(regions) and plan.context_tokens == 7 + speech.sum()
    # The order in which tokens are laid out, and which of them are given.
    assert np.array_equal(plan.given[frame].reshape(-1, 4, 5), given_tokens(4, 5, tuple(regions), before))
    assert plan.given[reference].all() and not plan.given[prompt | speech].any()
    made = {tuple(place) for place in plan.positions[frame & ~plan.given]}
    assert made == {
        (number, y, x, 0)
        for number, region in enumerate(regions)
        if region is not None and number >= before
        for y in range(region[0], region[2])
        for x in range(region[1], region[3])
    }


def test_a_plan_says_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="expected a part of 4 x 5 tokens"):
        dubbing_plan(7, 2, 4, 5, ((0, 0, 5, 1),))
    with pytest.raises(ValueError, match="0 to 1 of them from the window before, got 2"):
        dubbing_plan(7, 2, 4, 5, ((0, 0, 1, 1),), 2)
    assert dubbing_plan(7, 0, 4, 5, ((0, 0, 1, 1),)).table is None, "without speech all see all"


# ---------------------------------------------------------------- guidance and start


NONE = Guidance()


@pytest.fixture(scope="module")
def small() -> MMDiT:
    return pair(SMALL)[1]


def test_each_condition_is_pushed_by_its_own_scale(small: MMDiT) -> None:
    plan = text_plan(4, 2, 2)
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(1, 4, 16, generator=generator)
    full, text, none = torch.randn(3, 1, 4, 96, generator=generator)

    def one(context: torch.Tensor, guidance: Guidance = NONE, **more: Any) -> torch.Tensor:
        return sample(small, plan, noise, context, build_scheduler("euler", {"shift": 1.0}, 1, 4), guidance, **more)

    alone = [one(context) for context in (full, text, none)]
    expected = alone[2] + 3 * (alone[1] - alone[2]) + 2 * (alone[0] - alone[1])
    pushed = one(full, Guidance(3.0, conditions=(2.0,)), between=[text], negative=none)
    assert torch.allclose(pushed, expected, atol=1e-4)
    speech_alone = one(full, Guidance(conditions=(2.0,)), between=[text])
    assert torch.allclose(speech_alone, alone[1] + 2 * (alone[0] - alone[1]), atol=1e-4)
    with pytest.raises(ValueError, match="a context for each of 1 conditions, got 0"):
        one(full, Guidance(conditions=(2.0,)))


@pytest.mark.parametrize("name", ["euler", "heun", "unipc", "dpm++"])
def test_a_start_below_one_takes_the_same_steps_over_what_is_left(name: str) -> None:
    whole, part = (build_scheduler(name, {"shift": 1.5}, 8, 16, start) for start in (1.0, 0.6))
    assert len(part.timesteps) == len(whole.timesteps)
    assert torch.allclose(part.sigmas, 0.6 * whole.sigmas) and float(part.sigmas[-1]) == 0

    class Straight:
        """A flow that is straight leads to its data from wherever it is entered."""

        device, dtype = torch.device("cpu"), torch.float32

        def __call__(self, tokens: torch.Tensor, context: Any, time: torch.Tensor, **more: Any) -> Any:
            return type("Output", (), {"sample": (tokens - data) / time[:, None, None].clamp(min=1e-3)})

    data = torch.randn(1, 4, 16)
    begun = torch.lerp(torch.randn_like(data), torch.randn_like(data), float(part.sigmas[0]))
    out = sample(Straight(), text_plan(4, 2, 2), begun, torch.zeros(1, 4, 8), part, Guidance())  # type: ignore[arg-type]
    assert (out - data).abs().max() < 0.02


# ---------------------------------------------------------------- what is kept, what is new


def test_outside_the_mouth_every_pixel_is_the_source_and_inside_speech_decides(
    model: Path, tmp_path: Path, engine: Engine
) -> None:
    source = folder_of(tmp_path / "face", frames := portrait(13), 25)
    wanted = job(model, source, sound(tmp_path / "a.wav", 13 / 25))
    found, record = frames_of(engine, wanted)
    kept = outside(wanted, engine)
    assert found.shape == frames.shape and np.array_equal(found[kept], frames[kept])
    assert 0.5 < kept.mean() < 0.95
    # A decoder of random weights draws nearly the same of everything, and what is drawn as it was is the source.
    assert (found != frames).any(-1)[~kept].mean() > 0.05
    told = record["dubbing"]
    assert told["windows"] == [[0, 6], [6, 10], [10, 13]] and told["face_found_by"] == "papercut"
    assert len(told["references"]) == 3 and told["passed_frames"] == "" and told["warp"] is False
    over_time = told["over_time"]
    assert len(over_time["loud"]) == len(over_time["open"]) == 13 and None not in over_time["open"]
    _, left_record = frames_of(engine, wanted.model_copy(update={"speech_guidance": 1.0}))
    pushed, _ = frames_of(engine, wanted.model_copy(update={"speech_guidance": 30.0}))
    assert not np.array_equal(pushed, found) and np.array_equal(pushed[kept], found[kept])
    quiet = job(model, source, quiet_sound(tmp_path / "q.wav", 13 / 25))
    silent, _ = frames_of(engine, quiet.model_copy(update={"speech_guidance": 30.0}))
    assert np.array_equal(silent[kept], found[kept]) and not np.array_equal(silent, pushed), "speech decides"
    evaluations = [one["resolved"]["model_evaluations"] for one in (left_record, record)]
    assert evaluations == [6, 12], "no words, no guidance on them; and on speech a second half"


def quiet_sound(path: Path, seconds: float) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(bytes(2 * round(seconds * 16_000)))
    return path


def test_frames_without_a_face_pass_through(model: Path, tmp_path: Path, engine: Engine) -> None:
    frames = portrait(30)
    frames[8:26] = frames[0, 0, 0]
    source = folder_of(tmp_path / "face", frames, 25)
    found, record = frames_of(engine, job(model, source, sound(tmp_path / "a.wav", 1.2)))
    assert record["dubbing"]["passed_frames"] == "8-25"
    assert np.array_equal(found[8:26], frames[8:26])
    assert all((found[number] != frames[number]).any() for number in [*range(8), *range(26, 30)])


def test_a_source_larger_than_what_the_model_draws_keeps_its_size_and_its_odd_edge(
    model: Path, tmp_path: Path, engine: Engine
) -> None:
    high = engine.describe(str(model)).sides[1]
    large = np.full((6, 101, high + 37, 3), 60, np.uint8)
    large[:, 3:99, high - 80 : high + 16] = portrait(6)
    wanted = job(model, folder_of(tmp_path / "wide", large, 25), sound(tmp_path / "a.wav", 0.24))
    found, record = frames_of(engine, wanted)
    kept, even = outside(wanted, engine), large[:, :100, : (high + 37) // 2 * 2]
    assert found.shape == even.shape and np.array_equal(found[kept], even[kept]) and (found != even).any()
    assert any("even sides" in warning for warning in record["warnings"]), "H.264 has no others"


def test_a_warped_start_changes_the_mouth_and_can_be_left_out(warping: Path, tmp_path: Path, engine: Engine) -> None:
    source = folder_of(tmp_path / "face", portrait(6), 25)
    wanted = job(warping, source, sound(tmp_path / "a.wav", 0.24))
    warped, record = frames_of(engine, wanted)
    without, plain = frames_of(engine, wanted.model_copy(update={"warp": False}))
    assert (record["dubbing"]["warp"], plain["dubbing"]["warp"]) == (True, False)
    kept = outside(wanted, engine)
    assert np.array_equal(warped[kept], without[kept]) and not np.array_equal(warped, without)


def test_a_portrait_is_made_from_one_picture_and_goes_on_for_as_long_as_the_speech(
    model: Path, tmp_path: Path, engine: Engine
) -> None:
    source = still(tmp_path / "portrait ünd 人.png", portrait(1)[0])
    wanted = job(model, source, sound(tmp_path / "речь a.wav", 0.6), region="portrait", prompt="a yellow face", fps=24)
    found, record = frames_of(engine, wanted)
    assert found.shape == (14, SIDE, SIDE, 3)
    assert len({frame.tobytes() for frame in found}) == 14, "every frame is another"
    assert record["dubbing"]["face"] is None and record["dubbing"]["windows"][-1] == [10, 14]
    only_mouth, _ = frames_of(engine, wanted.model_copy(update={"region": "mouth"}))
    kept = outside(wanted.model_copy(update={"region": "mouth"}), engine)
    assert (only_mouth[kept].reshape(14, -1) == portrait(1)[0][kept[0]].reshape(-1)).all()


# ---------------------------------------------------------------- from the command line


def call(folder: Path, wanted: DubbingJob) -> int:
    (folder / "job.yaml").write_text(yaml.safe_dump(recipe(wanted), allow_unicode=True))
    return main(["render", str(folder / "job.yaml"), "--out", str(folder / "out")])


def decoded(path: Path) -> np.ndarray:
    """[C, T] of the first audio stream, as PyAV gives it."""
    with av.open(str(path)) as opened:
        parts = [frame.to_ndarray().reshape(-1, len(frame.layout.channels)).T for frame in opened.decode(audio=0)]
    return np.concatenate(parts, 1)


def test_the_result_has_the_sound_sample_for_sample_and_frames_bit_for_bit(model: Path, tmp_path: Path) -> None:
    fps = Fraction(30_000, 1001)
    source = folder_of(tmp_path / "face", frames := portrait(8, float(fps)), fps)
    audio = sound(tmp_path / "two channels.wav", 0.5, 44_100, channels=2)
    wanted = job(model, source, audio, name="out", png_frames=True)
    assert call(tmp_path, wanted) == 0
    exact, film = read_clip(tmp_path / "out" / "out"), read_clip(tmp_path / "out" / "out.mp4")
    assert film.fps == exact.fps == fps and len(film.frames) == len(exact.frames) == 15
    kept = outside(wanted, Engine("cpu"))
    back = frames[[0, 1, 2, 3, 4, 5, 6, 7, 6, 5, 4, 3, 2, 1, 0]]
    assert np.array_equal(exact.frames[kept], back[kept])
    assert np.array_equal(decoded(tmp_path / "out" / "out.mp4"), samples(0.5, 44_100, 2))
    told = json.loads((tmp_path / "out" / "out.json").read_text())
    assert told["dubbing"]["length"].endswith("backwards and forwards")
    assert told["dubbing"]["audio"] | {"seconds": 0.5, "copied": False, "exact": True} == told["dubbing"]["audio"]
    assert set(told["inputs"]) == {"source", "audio"}


def test_start_moves_the_sound_and_the_video_can_decide(model: Path, tmp_path: Path, engine: Engine) -> None:
    source, audio = folder_of(tmp_path / "face", portrait(10), 25), sound(tmp_path / "a.wav", 1.0)
    described = engine.describe(str(model))

    def shots(**fields: Any) -> tuple[int, np.ndarray]:
        found, heard = read_shots(job(model, source, audio, **fields), described)
        return found.timeline.frames, heard.samples

    whole = samples(1.0)
    count, heard = shots(start=0.2)
    assert count == 30 and np.array_equal(heard[:, 3_200:], whole) and not heard[:, :3_200].any()
    count, heard = shots(start=-0.5)
    assert count == 13 and np.array_equal(heard, whole[:, 8_000:]), "12.5 frames of sound"
    count, heard = shots(duration="video")
    assert count == 10 and np.array_equal(heard, whole[:, :6_400])
    count, heard = shots(duration="video", start=-0.8)
    assert count == 10 and np.array_equal(heard[:, :3_200], whole[:, 12_800:]) and not heard[:, 3_200:].any()


def empty_wav(path: Path) -> Path:
    return quiet_sound(path, 0)


def eight_hours(path: Path) -> Path:
    """A WAV whose header promises eight hours; there is no need to write them."""
    seconds = 8 * 3600
    data = seconds * 8_000
    header = b"RIFF" + (36 + data).to_bytes(4, "little") + b"WAVEfmt " + (16).to_bytes(4, "little")
    header += (1).to_bytes(2, "little") + (1).to_bytes(2, "little") + (8_000).to_bytes(4, "little") * 2
    header += (1).to_bytes(2, "little") + (8).to_bytes(2, "little") + b"data" + data.to_bytes(4, "little")
    with path.open("wb") as file:
        file.write(header)
        file.truncate(len(header) + data)
    return path


def mute(path: Path) -> Path:
    write_video(path, portrait(3), 25, {"job": {}})
    return path


def corrupt(path: Path) -> Path:
    data = bytearray(mute(path).read_bytes())
    data[64:400] = bytes(range(84)) * 4  # where the index is
    path.write_bytes(bytes(data))
    return path


def empty_file(path: Path) -> Path:
    path.write_bytes(b"")
    return path


def text_file(path: Path) -> Path:
    path.write_text("no media\n" * 50)
    return path


def one_frame(path: Path) -> Path:
    write_video(path, portrait(1), 25, {"job": {}})
    return path


WRONG: list[tuple[str, Callable[[Path], Path] | Any, str]] = [
    ("audio", mute, "no audio stream"),
    ("audio", empty_wav, "no samples"),
    ("audio", empty_file, "got an empty file"),
    ("audio", corrupt, "expected sound"),
    ("audio", eight_hours, "at most 30 minutes"),
    ("audio", text_file, "expected sound"),
    ("audio", lambda path: path, "no such file"),
    ("source", corrupt, "expected a video"),
    ("source", one_frame, "two frames or more, got one"),
    ("source", text_file, "can not be read"),
    ("source", lambda path: path, "no such file"),
    ("source", empty_file, "can not be read"),
    ("face", [0.2, 0.2, 1.2, 0.9], "equal to 1"),
    ("face", [-0.1, 0.2, 0.5, 0.9], "equal to 0"),
    ("face", [0.6, 0.2, 0.2, 0.9], "x0"),
    ("start", 30, "got none from 30"),
    ("start", -1.0, "got none from -1"),
    ("warp", True, "has no warp"),
    ("model", None, "no speech encoder"),
]


@pytest.mark.parametrize(("field", "make", "reason"), WRONG, ids=[f"{field} {reason}" for field, _, reason in WRONG])
def test_bad_input_is_one_sentence_and_nothing_is_written(
    model: Path,
    tiny: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    field: str,
    make: Callable[[Path], Path] | Any,
    reason: str,
) -> None:
    good = {"source": folder_of(tmp_path / "face", portrait(3), 25), "audio": sound(tmp_path / "a.wav", 0.1)}
    wanted = recipe(job(model, good["source"], good["audio"], duration="video" if field == "start" else "audio"))
    if field == "model":
        wanted[field] = str(tiny)
    else:
        wanted[field] = str(make(tmp_path / "bad.mp4")) if callable(make) else make
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(wanted))
    assert main(["render", str(tmp_path / "job.yaml"), "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err.strip()
    assert len(said.splitlines()) == 1 and f"job.yaml, document 1, field {field}" in said and reason in said
    assert not (tmp_path / "out").exists()


def test_eight_hours_are_refused_by_their_header_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def decoded_at_all(*_: object) -> None:
        raise AssertionError("a sample was decoded")

    monkeypatch.setattr("pipelines.files.audio._pieces", decoded_at_all)
    with pytest.raises(MediaError, match=r"at most 30 minutes of sound, got 480\.0"):
        read_audio(eight_hours(tmp_path / "long.wav"))


def test_a_picture_does_not_decide_the_length(model: Path, tmp_path: Path, engine: Engine) -> None:
    wanted = job(model, still(tmp_path / "p.png", portrait(1)[0]), sound(tmp_path / "a.wav", 0.2), duration="video")
    with pytest.raises(Refusal, match="a picture does not last") as caught:
        engine.check(wanted)
    assert caught.value.field == "duration"


# ---------------------------------------------------------------- windows that are kept

KILLED = """
import json, os, signal, sys
from pathlib import Path
from pipelines.engine import Engine
from pipelines.files.kept import KEPT
from pipelines.job import parse
from pipelines.voice import stage

made = stage.Stage.make
def make(self, number, *rest):
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return made(self, number, *rest)
stage.Stage.make = make
folder = Path(sys.argv[1])
Engine("cpu", folder / KEPT).render([parse(json.loads(sys.argv[2]))], lambda step, steps: True)
"""


def test_after_a_kill_finished_windows_are_taken_again_and_the_bytes_are_the_same(model: Path, tmp_path: Path) -> None:
    source = folder_of(tmp_path / "face", portrait(13), 25)
    wanted = job(model, source, sound(tmp_path / "a.wav", 13 / 25), name="out", png_frames=True)
    (tmp_path / "undisturbed").mkdir()
    assert call(tmp_path / "undisturbed", wanted) == 0
    (tmp_path / "killed" / "out").mkdir(parents=True)
    words = [sys.executable, "-c", KILLED, str(tmp_path / "killed" / "out"), json.dumps(recipe(wanted))]
    run = subprocess.run(words, cwd=ROOT)
    assert run.returncode == -signal.SIGKILL
    assert not [path for path in (tmp_path / "killed" / "out").iterdir() if path.name != KEPT], "nothing half-written"
    assert call(tmp_path / "killed", wanted) == 0
    told = json.loads((tmp_path / "killed" / "out" / "out.json").read_text())
    assert told["dubbing"]["windows_reused"] == [0, 1]
    expected = json.loads((tmp_path / "undisturbed" / "out" / "out.json").read_text())["outputs"]
    assert told["outputs"] == expected and len(expected) == 14


def test_only_windows_whose_content_changed_are_made_again(model: Path, tmp_path: Path) -> None:
    source = folder_of(tmp_path / "face", portrait(13), 25)
    engine = Engine("cpu", tmp_path / "kept")
    longer, shorter = sound(tmp_path / "a.wav", 13 / 25), sound(tmp_path / "b.wav", 10 / 25)
    first, record = frames_of(engine, job(model, source, longer))
    again, repeated = frames_of(engine, job(model, source, longer))
    assert np.array_equal(first, again)
    assert (record["dubbing"]["windows_reused"], repeated["dubbing"]["windows_reused"]) == ([], [0, 1, 2])
    _, cut = frames_of(engine, job(model, source, shorter))
    assert cut["dubbing"]["windows_reused"] == [0], "the second hears the end of the sound"
    _, other = frames_of(engine, job(model, source, longer, seed=4))
    assert other["dubbing"]["windows_reused"] == []


# ---------------------------------------------------------------- long clips


@pytest.mark.parametrize(
    ("seconds", "fps"), [(1, 24), (10.02, 25), (60, Fraction(30_000, 1001)), (3.3, 30)], ids=["24", "25", "29.97", "30"]
)
def test_a_clip_of_a_second_or_a_minute_keeps_its_rate_its_length_and_every_sample(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, fps: int | Fraction
) -> None:
    monkeypatch.setattr(Stage, "make", echo)  # everything but the model
    source = folder_of(tmp_path / "face", portrait(3, float(fps)), fps)
    audio = sound(tmp_path / "a.wav", seconds, 44_100, channels=2)
    assert call(tmp_path, job(model, source, audio, name="out", window=16)) == 0
    film = tmp_path / "out" / "out.mp4"
    with av.open(str(film)) as opened:
        video = opened.streams.video[0]
        count, rate = sum(packet.size > 0 for packet in opened.demux(video)), video.average_rate
        lasts = video.duration * video.time_base
    assert rate == fps and lasts == count / Fraction(fps)
    assert abs(lasts - Fraction(round(seconds * 44_100), 44_100)) <= 1 / (2 * Fraction(fps))
    assert np.array_equal(decoded(film), samples(seconds, 44_100, 2))


def test_memory_does_not_grow_with_the_length_of_a_clip(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: Engine
) -> None:
    monkeypatch.setattr(Stage, "make", echo)
    source = folder_of(tmp_path / "face", portrait(4), 25)

    def peak(seconds: int) -> int:
        """Bytes that Python and NumPy hold at most while a clip is made and read back."""
        wanted = job(model, source, sound(tmp_path / f"{seconds}.wav", seconds), window=16)
        tracemalloc.start()
        (rendered,) = engine.render([wanted], lambda step, steps: True)
        assert sum(1 for _ in rendered.frames) == 25 * seconds
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(1)  # what is kept once for all
    short, long = peak(20), peak(60)
    further_frames = 40 * 25 * SIDE * SIDE * 3
    # The sound is held: as it came, and as speech is heard, each while another copy of it is made.
    further_sound = 40 * 16_000 * (2 * 2 + 2 * 4)
    assert long - short < further_sound + further_frames / 10


def test_frames_are_never_all_in_memory(model: Path, tmp_path: Path, engine: Engine) -> None:
    """What comes back waits on the disk: one frame at a time is read."""
    source = folder_of(tmp_path / "face", portrait(4), 25)
    (rendered,) = engine.render([job(model, source, sound(tmp_path / "a.wav", 0.6))], lambda step, steps: True)
    assert not isinstance(rendered.frames, np.ndarray) and rendered.frames.shape == (15, SIDE, SIDE, 3)
    assert np.array_equal(rendered.frames[14], list(rendered.frames)[14])


def test_the_sound_of_a_dubbing_lasts_as_long_as_its_frames(model: Path, tmp_path: Path) -> None:
    audio = sound(tmp_path / "a.wav", 0.03)
    wanted = job(model, still(tmp_path / "p.png", portrait(1)[0]), audio, name="out")
    assert call(tmp_path, wanted) == 0, "even one frame with sound is a video"
    assert len(read_clip(tmp_path / "out" / "out.mp4").frames) == 1
    assert read_audio(tmp_path / "out" / "out.mp4").samples.shape == (1, 480)


def test_numbers_are_told_as_spans() -> None:
    assert spans([0, 1, 2, 5, 7, 8]) == "0-2,5,7-8" and spans([]) == ""
