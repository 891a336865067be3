"""Stations on a Ray cluster: the same units through Ray Data's `map_batches`, a loaded engine in each actor.

The driver reads and checks the rows and keeps the manifest; an actor renders a unit and writes its files where the
driver would have: into a folder that all nodes share under one name, or into storage. A unit whose actor or node dies
is given to another actor, and writes the same bytes over whatever was written. Importing this file does not load Ray.
"""

from __future__ import annotations

import os
import pickle
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipelines.farm.crew import Deliver
from pipelines.farm.fetched import FETCHED, Fetching
from pipelines.farm.place import Place
from pipelines.farm.station import Outcome, Row, Station
from pipelines.files.kept import KEPT
from pipelines.job import Job
from pipelines.refusal import Refusal, on_one_line
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
        address: of a running cluster; None is what RAY_ADDRESS names, and without it a cluster begins on this machine
            and ends with the call.
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
        place: for outputs; a folder has the same name on every node.
        engine: makes the engine of an actor; pickled.

    Raises:
        Refusal: Ray is not here, or the cluster does not answer.
    """

    def __init__(self, cluster: Cluster, place: Place, engine: Engine) -> None:
        _quieten()
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
        self._cluster, self._out, self._engine = cluster, place.out, engine
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
        return float(ray.get(measure.remote(self._engine, self._out, os.getcwd(), self._threads, list(jobs))))

    def run(self, units: Iterable[Sequence[Row]], deliver: Deliver, progress: Callable[[Sequence[Row]], Step]) -> None:
        """See `Crew`. Steps are not told: a unit is either at work somewhere or over."""
        waiting = {number: list(rows) for number, rows in enumerate(units)}
        if not waiting:
            return
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
        tally = ray.remote(num_cpus=0)(Tally).options(scheduling_strategy=_here()).remote()
        items = [{"unit": number, "rows": pickle.dumps(rows)} for number, rows in units.items()]
        # A block for each unit, so that actors take them one at a time.
        return ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
            Actor,
            batch_size=1,
            batch_format="numpy",
            compute=ray.data.ActorPoolStrategy(size=self.count, max_tasks_in_flight_per_actor=2),
            fn_constructor_args=(self._engine, self._out, os.getcwd(), self._threads, tally),
            **({"num_gpus": 1} if self._gpus else {"num_cpus": self._processors}),
            max_restarts=-1,
            max_task_retries=-1,  # a unit that kills its actors gives itself up, see `Actor`
        )

    @property
    def _threads(self) -> int | None:
        return None if self._gpus else self._cluster.threads or max(1, int(self._processors))


class Tally:
    """Counts, where the driver is, how often each unit was begun and not ended."""

    def __init__(self) -> None:
        self._begun: Counter[int] = Counter()

    def begin(self, unit: int) -> int:
        """How many actors took it before and are gone."""
        self._begun[unit] += 1
        return self._begun[unit] - 1

    def end(self, unit: int) -> None:
        """It is over."""
        del self._begun[unit]


class Actor:
    """A station in a process of the cluster.

    It tells the tally that it takes a unit, and when the unit is over, so that one that killed its actors is known when
    Ray gives it to the next.
    """

    def __init__(self, engine: Engine, out: str, here: str, threads: int | None, tally: Any) -> None:
        _settle(here, threads)
        place = Place(out, keep=False)
        self._station, self._tally = Station(_fetching(engine, place), place), tally

    def __call__(self, batch: dict[str, np.ndarray[Any, Any]]) -> dict[str, Any]:
        """Render the unit of a batch of one."""
        import ray

        rows: list[Row] = pickle.loads(batch["rows"][0])
        unit = int(batch["unit"][0])
        if ray.get(self._tally.begin.remote(unit)) < DEATHS:
            outcomes = self._station(rows)
            self._tally.end.remote(unit)
        else:
            outcomes = [Outcome(row.index, reason=LOST) for row in rows if row.wanted]
        return {"unit": batch["unit"], "outcomes": [pickle.dumps(outcomes)]}


def begin(address: str | None = None, **options: Any) -> None:
    """Reach the cluster at `address`, or the one that RAY_ADDRESS names, as Ray's own jobs have it.

    With neither, begin one on this machine, whatever other clusters run on it.

    Raises:
        Refusal: it does not answer.
    """
    import logging

    _quieten()
    import ray

    address = address or os.environ.get("RAY_ADDRESS")
    try:
        ray.init(
            address=address or "local",  # with none Ray would join whatever it finds, even what a killed driver left
            include_dashboard=None if address else False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            configure_logging=False,
            **options,
        )
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        if address is None:
            raise
        said = on_one_line(" ".join(str(error).split()), 400)
        raise Refusal("--address", f"no cluster answers at {address!r}: {said}") from None


def _quieten() -> None:
    """Before Ray is loaded: it tells its makers nothing, and people only of errors."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_DATA_LOG_LEVEL", "ERROR")


def _settle(here: str, threads: int | None) -> None:
    """Names of files mean the same in this process as where the call was made."""
    if os.path.isdir(here):
        os.chdir(here)
    if threads:
        import torch

        torch.set_num_threads(threads)


def _here() -> Any:
    """The node of this process: what is placed there ends with the driver and not with another node."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)


def _fetching(engine: Engine, place: Place) -> Fetching:
    return Fetching(engine(), place.folder / KEPT / FETCHED)


def _measure(engine: Engine, out: str, here: str, threads: int | None, jobs: list[Job]) -> float:
    _settle(here, threads)
    return _fetching(engine, Place(out)).step_seconds(jobs)
