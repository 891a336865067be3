"""Stations on a Ray cluster: the same units through Ray Data's `map_batches`, a loaded engine in each actor.

The driver reads and checks the rows and keeps the manifest; an actor renders a unit and writes its files where the
driver would have. A unit whose actor or node dies is given to another actor, and writes the same bytes over whatever
was written. Importing this file does not load Ray.
"""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.farm.crew import Deliver
from pipelines.farm.manifest import FOLDER
from pipelines.farm.station import Outcome, Row, Station
from pipelines.job import Job
from pipelines.refusal import Refusal
from pipelines.renderer import Renderer, Step

if TYPE_CHECKING:
    import numpy as np
    import ray.data

DEATHS = 3  # of its actor, before a unit is given up
LOST = f"its renderer died {DEATHS} times: out of memory, or a fault in a driver; render the row alone"
Engine = Callable[[], Renderer]


@dataclass(frozen=True)
class Cluster:
    """Which cluster, and how many actors on it.

    Attributes:
        address: of a running cluster; None begins one on this machine, which ends with the call.
        actors: how many, or None: as many as the cluster has GPUs, or processors where it has none.
        threads: of each actor on a processor; None is what its share of them comes to.
    """

    address: str | None = None
    actors: int | None = None
    threads: int | None = None


class Actors:
    """The crew of a cluster.

    Args:
        cluster: where.
        folder: for outputs, under the same name on every node.
        engine: makes the engine of an actor; pickled.

    Raises:
        Refusal: Ray is not here, or the cluster does not answer.
    """

    def __init__(self, cluster: Cluster, folder: Path, engine: Engine) -> None:
        try:
            import ray
            import ray.data  # which needs more than ray itself
        except ImportError as error:
            raise Refusal(
                "--engine", f"ray needs the package {error.name!r}, which is not here; pip install 'diorama[ray]'"
            ) from None
        self._mine = not ray.is_initialized()
        if self._mine:
            begin(cluster.address)
        self._cluster, self._folder, self._engine = cluster, folder, engine
        there = ray.cluster_resources()
        self._gpus = int(there.get("GPU", 0))
        processors = max(1, int(there.get("CPU", 1)))
        self.count = cluster.actors or self._gpus or processors
        self._processors = processors / self.count if not self._gpus else 1

    def close(self) -> None:
        """Let go of the cluster; one that was begun here ends."""
        import ray

        if self._mine:
            ray.shutdown()

    def step_seconds(self, jobs: Sequence[Job]) -> float:
        """See `Crew`; measured on one node, by a task that loads an engine for it."""
        import ray

        share = {"num_gpus": 1} if self._gpus else {"num_cpus": self._processors}
        measure = ray.remote(**share)(_measure)
        return float(ray.get(measure.remote(self._engine, os.getcwd(), self._threads, list(jobs))))

    def run(self, units: Iterable[Sequence[Row]], deliver: Deliver, progress: Callable[[Sequence[Row]], Step]) -> None:
        """See `Crew`. Steps are not told: a unit is either at work somewhere or over."""
        waiting = {number: list(rows) for number, rows in enumerate(units)}
        if not waiting:
            return
        shutil.rmtree(tries(self._folder), ignore_errors=True)
        for number, outcomes in self._outcomes(waiting):
            if waiting.pop(number, None) is not None:  # a unit that two actors had is told once
                deliver(outcomes)

    def _outcomes(self, units: dict[int, list[Row]]) -> Iterable[tuple[int, list[Outcome]]]:
        for row in self._dataset(units).iter_rows():
            yield int(row["unit"]), pickle.loads(row["outcomes"])

    def _dataset(self, units: dict[int, list[Row]]) -> ray.data.Dataset:
        import ray.data

        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        items = [{"unit": number, "rows": pickle.dumps(rows)} for number, rows in units.items()]
        # A block for each unit, so that actors take them one at a time.
        return ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
            Actor,
            batch_size=1,
            batch_format="numpy",
            compute=ray.data.ActorPoolStrategy(size=self.count, max_tasks_in_flight_per_actor=2),
            fn_constructor_args=(self._engine, self._folder.resolve(), os.getcwd(), self._threads),
            **({"num_gpus": 1} if self._gpus else {"num_cpus": self._processors}),
            max_restarts=-1,
            max_task_retries=-1,  # a unit that kills its actors gives itself up, see `Actor`
        )

    @property
    def _threads(self) -> int | None:
        return None if self._gpus else self._cluster.threads or max(1, int(self._processors))


class Actor:
    """A station in a process of the cluster.

    It notes in the folder that it takes a unit, and takes the note away afterwards, so that one that killed its actors
    is known when Ray gives it to the next.
    """

    def __init__(self, engine: Engine, folder: Path, here: str, threads: int | None) -> None:
        _settle(here, threads)
        self._station, self._tries = Station(engine(), folder), tries(folder)

    def __call__(self, batch: dict[str, np.ndarray[Any, Any]]) -> dict[str, Any]:
        """Render the unit of a batch of one."""
        rows: list[Row] = pickle.loads(batch["rows"][0])
        self._tries.mkdir(parents=True, exist_ok=True)
        note = self._tries / str(batch["unit"][0])
        deaths = note.stat().st_size if note.exists() else 0
        if deaths < DEATHS:
            with note.open("ab") as file:
                file.write(b".")
            outcomes = self._station(rows)
            note.unlink(missing_ok=True)
        else:
            outcomes = [Outcome(row.index, reason=LOST) for row in rows if row.wanted]
        return {"unit": batch["unit"], "outcomes": [pickle.dumps(outcomes)]}


def tries(folder: Path) -> Path:
    """Where the actors of an output folder note which units they have begun."""
    return folder / FOLDER / "tries"


def begin(address: str | None = None, **options: Any) -> None:
    """Reach the cluster at `address`, or begin one on this machine.

    Raises:
        Refusal: it does not answer.
    """
    import logging

    import ray

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing leaves the machine unasked
    try:
        ray.init(
            address=address,
            include_dashboard=None if address else False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            configure_logging=False,
            **options,
        )
    except ConnectionError as error:
        raise Refusal("--address", f"no cluster answers at {address!r}: {error}") from None


def _settle(here: str, threads: int | None) -> None:
    """Names of files mean the same in this process as where the call was made."""
    if os.path.isdir(here):
        os.chdir(here)
    if threads:
        import torch

        torch.set_num_threads(threads)


def _measure(engine: Engine, here: str, threads: int | None, jobs: list[Job]) -> float:
    _settle(here, threads)
    return engine().step_seconds(jobs)
