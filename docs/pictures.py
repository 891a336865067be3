"""Makes the pictures of these pages, by the embedded checkpoint, from the example jobs: `python -m docs.pictures`.

Nothing is chosen among seeds: each page shows what its jobs give.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import av
from PIL import Image, ImageOps

from pipelines.files.jobfile import read_jobs

TOP = Path(__file__).parents[1]
HERE = Path(__file__).parent / "pictures"
PAPER, GAP, TALL = (244, 240, 231), 8, 160  # the colour between pictures, its width, and the height of each, in pixels
MOST = 1_000  # pixels that a page is wide

# A page, its file of jobs (the template of a table where one of that name is there), and how many frames of each output
# are shown.
PAGES: dict[str, tuple[str, int]] = {
    "text": ("demo.yaml", 1),
    "video": ("video.yaml", 4),
    "masked": ("masked.yaml", 1),
    "scenes": ("scenes.yaml", 8),
    "layout": ("layout.yaml", 1),
    "layered": ("layered.yaml", 1),
    "dubbing": ("dubbing.yaml", 8),
}


def main() -> int:
    """Render every page's jobs and write its picture; 0 when all are there."""
    HERE.mkdir(exist_ok=True)
    for page, (file, shown) in PAGES.items():
        with tempfile.TemporaryDirectory() as folder:
            jobs = TOP / "assets" / "examples" / file
            table = jobs.with_suffix(".csv")
            files = [str(table), "--template", str(jobs)] if table.exists() else [str(jobs)]
            words = [sys.executable, "-m", "pipelines.cli", "render", *files, "--out", folder, "--quiet"]
            subprocess.run(words, cwd=TOP, check=True)
            rows = [of(Path(folder), stem, shown) for stem in names(jobs)]
        # Single pictures go into lines, and what belongs to one job stands in a line of its own.
        lines = rows if any(len(row) > 1 for row in rows) else [[row[0] for row in rows]]
        sheet(lines).save(HERE / f"{page}.webp", quality=88, method=6)
        print(HERE / f"{page}.webp")
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, str(TOP / "assets" / "examples" / "mascot.py"), "--out", folder]
        subprocess.run(words, cwd=TOP, check=True)
        sheet([[Image.open(path) for path in sorted((Path(folder) / "pim").glob("*.png"))]]).save(
            HERE / "finetune.webp", quality=88, method=6
        )
    return 0


def names(jobs: Path) -> list[str]:
    """The outputs' names, in the order of the jobs."""
    table = jobs.with_suffix(".csv")
    sources = read_jobs([table], template=jobs) if table.exists() else read_jobs([jobs])
    return [str(source.job.name) for source in sources]


def of(folder: Path, stem: str, shown: int) -> list[Image.Image]:
    """What is shown of one output: the picture with its boxes or layers, or `shown` of its frames, evenly spread."""
    if (folder / f"{stem}.png").exists():
        found = [folder / f"{stem}.png", folder / f"{stem}-boxes.png", *sorted((folder / stem).glob("*.png"))]
        return [on_paper(Image.open(path)) for path in found if path.exists()]
    with av.open(folder / f"{stem}.mp4") as video:
        frames = [frame.to_image() for frame in video.decode(video=0)]
    return [frames[number * len(frames) // shown] for number in range(shown)]


def on_paper(picture: Image.Image) -> Image.Image:
    """A picture without transparency."""
    whole = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", whole.size, (*PAPER, 255)), whole).convert("RGB")


def sheet(lines: Sequence[Sequence[Image.Image]]) -> Image.Image:
    """Lines of pictures of one height on paper, each line broken where the page ends."""
    broken: list[list[Image.Image]] = []
    for line in lines:
        row: list[Image.Image] = []
        for picture in line:
            small = ImageOps.contain(picture, (MOST, TALL), Image.Resampling.LANCZOS)
            small = small.resize((round(small.width * TALL / small.height), TALL), Image.Resampling.LANCZOS)
            if row and GAP + sum(each.width + GAP for each in (*row, small)) > MOST:
                broken.append(row)
                row = []
            row.append(small)
        broken.append(row)
    width = max(GAP + sum(each.width + GAP for each in row) for row in broken)
    page = Image.new("RGB", (width, GAP + len(broken) * (TALL + GAP)), PAPER)
    for number, row in enumerate(broken):
        x = GAP
        for picture in row:
            page.paste(picture, (x, GAP + number * (TALL + GAP)))
            x += picture.width + GAP
    return page


if __name__ == "__main__":
    sys.exit(main())
