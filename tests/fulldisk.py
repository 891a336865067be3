"""Fills the file system of a folder to its last byte while rows are rendered into it, then makes room again.

python -m tests.fulldisk FOLDER
"""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

from pipelines.queue.queue import Queue
from tests.paced import PacedEngine, over, state, text, until, working


def main(folder: Path) -> None:
    """Print how many rows are done in the end."""
    queue, filler = Queue(folder), folder / "filler"
    ids = [queue.add(text(seed=seed)) for seed in range(6)]
    engine = PacedEngine(0.01)
    with working(queue, folder, engine):
        over(queue, ids[1])
        with suppress(OSError), filler.open("wb", 0) as stream:
            while stream.write(bytes(512)):
                pass
        until(lambda: queue.settings().paused)
        assert queue.settings().why.startswith("the disk is full"), queue.settings()
        told = [state(queue, id) for id in ids]
        assert set(told) == {"done", "queued"} and told == sorted(told), told
        filler.unlink()
        queue.resume_all()
        until(lambda: not queue.active())
    print(f"{sum(state(queue, id) == 'done' for id in ids)} done")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
