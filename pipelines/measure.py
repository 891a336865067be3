"""What a render takes of this machine: its memory at most, and its time as a rehearsal of a few steps foretells it.

A rehearsal is the job itself with fewer steps, through the same pipeline. What grows with the steps is read from the
moments at which the model is called; the rest (prompts, encoding, decoding) is taken as it was. Who rehearses is the
engine. Importing this file does not load torch: pages ask for the machine's memory.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, get_args

if TYPE_CHECKING:
    import torch

    from models.checkpoint import Checkpoint

Clock = Callable[[], float]

# Steps of a rehearsal. The first call of the model makes plans, tables and kernels ready and is left out of the slope,
# so that four steps give two intervals in every pass.
STEPS = 4
MOMENT = 2.0  # seconds; what takes less is not rehearsed by steps but as a whole

PROCESS = Path("/proc/self")
GPUS = (Path("/proc/driver/nvidia/version"), Path("/dev/kfd"))  # NVIDIA's driver, AMD's


@dataclass(frozen=True)
class Rehearsal:
    """What rendering a batch will take on this machine, in the terms of the record.

    Attributes:
        seconds: of one job, the batch's time shared among its jobs.
        peak_memory: bytes of the whole batch, see `PeakMemory`.
    """

    seconds: float
    peak_memory: int


def slope(starts: Sequence[float], calls: int) -> float:
    """Seconds that one more model call in every pass takes.

    Args:
        starts: the moments at which the model was called, pass by pass.
        calls: model calls in each pass, at least 3. The first one of a pass is left out: it is not like the others.

    Raises:
        ValueError: calls that do not fill their passes.
    """
    if calls < 3 or not starts or len(starts) % calls:
        raise ValueError(f"expected passes of {calls} model calls, at least 3, got {len(starts)} calls in all")
    passes = (starts[first : first + calls] for first in range(0, len(starts), calls))
    return sum((each[-1] - each[1]) / (calls - 2) for each in passes)


class Calls:
    """Writes down when a transformer is called, while it is entered: the moments are in `starts`."""

    def __init__(self, transformer: torch.nn.Module, clock: Clock) -> None:
        self.starts: list[float] = []
        self._transformer, self._clock = transformer, clock

    def __enter__(self) -> Calls:
        self._hook = self._transformer.register_forward_pre_hook(self._note)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._hook.remove()

    def _note(self, transformer: Any, _inputs: Any) -> None:
        if transformer.device.type == "cuda":  # a GPU answers before it has worked
            import torch

            torch.cuda.synchronize(transformer.device)
        self.starts.append(self._clock())


class Spent:
    """Counts the seconds that a module is at work, while it is entered: `seconds` afterwards."""

    def __init__(self, module: torch.nn.Module, clock: Clock) -> None:
        self.seconds = 0.0
        self._module, self._clock = module, clock

    def __enter__(self) -> Spent:
        def begin(module: Any, _inputs: Any) -> None:
            self.seconds -= self._clock()

        def end(module: Any, _inputs: Any, _output: Any) -> None:
            if module.device.type == "cuda":  # a GPU answers before it has worked
                import torch

                torch.cuda.synchronize(module.device)
            self.seconds += self._clock()

        self._hooks = [self._module.register_forward_pre_hook(begin), self._module.register_forward_hook(end)]
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for hook in self._hooks:
            hook.remove()


class PeakMemory:
    """The most memory in use while it is entered, in bytes: `bytes` afterwards.

    On a GPU that of torch's tensors there; else the resident memory of this process, checkpoint and libraries included.
    Where a system can not start the count anew, it is the peak since the process began.
    """

    def __init__(self, device: torch.device) -> None:
        self.bytes = 0
        self._gpu = device if device.type == "cuda" else None

    def __enter__(self) -> PeakMemory:
        if self._gpu is None:
            _give_back()
            with suppress(OSError):
                (PROCESS / "clear_refs").write_text("5")  # Linux: the peak starts at what is resident now
        else:
            import torch

            torch.cuda.reset_peak_memory_stats(self._gpu)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._gpu is None:
            self.bytes = _process_peak()
        else:
            import torch

            self.bytes = int(torch.cuda.max_memory_allocated(self._gpu))


def _give_back() -> None:
    """Return what the C library kept of freed memory, so that a small job is not charged for the large one before."""
    import ctypes

    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # the GNU library's
    if trim is not None:
        trim(0)


def _process_peak() -> int:
    with suppress(OSError):
        for line in (PROCESS / "status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


@cache
def machine_memory() -> int | None:
    """Bytes that renders on this machine's processors have at most; None where that is unknown, or a GPU renders."""
    if any(path.exists() for path in GPUS):
        return None
    found: list[int] = []
    with suppress(OSError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        found += [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemTotal:")]
    with suppress(OSError, ValueError):  # a container's share; the file says "max" where there is no limit
        found.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return min(found, default=None)


def warm_up(checkpoint: Checkpoint) -> None:
    """Render the smallest picture, so that what only a process's first render costs is in no record's seconds.

    That is the import of the schedulers, the first touch of the weights, and the start of threads and kernels.
    """
    from pipelines.engine import Work, pipeline_of
    from pipelines.job import SIDE_STEP, TextJob, parse
    from pipelines.sampler import build_scheduler

    description = checkpoint.description
    for name in get_args(TextJob.model_fields["scheduler"].annotation):
        build_scheduler(name, description.scheduler, 2, 16)
    step = max(SIDE_STEP, description.scale)
    side = -(-description.sides[0] // step) * step
    job = parse({"task": "text", "model": description.name, "prompt": "a", "size": [side, side], "steps": 1})
    pipeline_of(job).render(Work(checkpoint, lambda step, steps: True), [job])()
