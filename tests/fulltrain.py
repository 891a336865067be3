"""Fills the file system of a run to its last byte before its third checkpoint, then makes room and starts again.

python -m tests.fulltrain RUN.yaml FOLDER
"""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

from torch import Tensor

from tests.running import train
from training.run import checkpoints


def main(path: Path, folder: Path) -> None:
    """Print what both starts returned and, between the two, which checkpoints there are."""
    filler, real, filled = folder / "filler", checkpoints.save_file, []

    def save(tensors: dict[str, Tensor], file: Path) -> None:
        if (folder / "state-00000002").exists() and not filled:
            filled.append(True)
            with suppress(OSError), filler.open("wb", 0) as stream:
                while stream.write(bytes(512)):
                    pass
        real(tensors, file)

    checkpoints.save_file = save
    first = train(path)
    kept = sorted(each.name for each in folder.glob("*state*"))
    left = [each.name for each in folder.glob(".diorama-*")]
    filler.unlink()
    print(first, *kept, *left, train(path))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
