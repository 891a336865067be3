"""The command line: `diorama render`, `grid`, `design`, `caption`, `train`, `ablate`, `models`, `studio` and `token`.

Nothing heavy is imported at the top, so that `diorama --help` answers at once.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.refusal import Refusal, Refused
from pipelines.version import __version__

if TYPE_CHECKING:
    from pipelines.farm.cluster import Actors
    from pipelines.farm.crew import Crew
    from pipelines.farm.fetched import Fetching
    from pipelines.farm.place import Place
    from pipelines.renderer import Groups, Renderer

Load = Callable[[], "tuple[Fetching, Groups]"]
DONE, FAILED, REFUSED, STOPPED = 0, 1, 2, 130
MAX_BATCH, MAX_RETRIES = 64, 100
USUAL_BATCH = 4  # of a dry run, which measures the jobs and not the batch
MOST_TOLD = 30  # refusals of one call


def main(argv: Sequence[str] | None = None, engine: tuple[Renderer, Groups] | None = None) -> int:
    """Run one command; the exit status: 0 done, 1 some job failed, 2 the input was refused, 130 stopped by Ctrl-C.

    Args:
        argv: the words after `diorama`; None takes the process's own.
        engine: what renders instead of `pipelines.engine`, for tests.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a name that the terminal can not show must not end a render
            stream.reconfigure(errors="backslashreplace")
    try:
        if words[:1] == ["studio"]:  # its options are the studio's own
            return _studio(words[1:])
        if words[:1] == ["token"]:
            return int(importlib.import_module("ui.api.tokencommand").main(words[1:]))  # by name, as the studio
        args = _parser().parse_args(words)
        if args.command == "train":
            return _train(args)
        if args.command == "ablate":
            return _ablate(args)
        if args.command == "caption":
            return _caption(args)
        if args.command == "design":
            return _design(args)
        if args.command == "grid":
            return _grid(args, engine)
        if args.command == "models":
            return _models(args)
        return _render(args, engine)
    except (Refusal, Refused) as refusal:
        print(f"diorama: {refusal}", file=sys.stderr)
        return REFUSED
    except KeyboardInterrupt:
        print("diorama: stopped; what was finished is kept", file=sys.stderr)
        return STOPPED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="diorama", description="Make pictures and videos with diffusion transformers.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"diorama {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    render = commands.add_parser("render", help="render job files (YAML, JSON, JSON Lines or CSV)", allow_abbrev=False)
    render.add_argument(
        "files", nargs="+", metavar="FILE", help="job file: .yaml, .json, .jsonl or .csv, many jobs each"
    )
    render.add_argument(
        "--template", type=Path, metavar="FILE", help="job file of one job that the rows of a .csv fill in"
    )
    render.add_argument("--engine", choices=("local", "ray"), default="local", help="where to render (default: local)")
    render.add_argument("--address", metavar="ADDRESS", help="the Ray cluster (default: one that begins here and ends)")
    render.add_argument(
        "--actors", type=_count, metavar="N", help="engines on the cluster (default: one for each GPU or processor)"
    )

    grid = commands.add_parser(
        "grid", help="render a job with fields set against each other, and a page of them", allow_abbrev=False
    )
    grid.add_argument("file", metavar="FILE", help="grid file: a job and one to three axes")

    for both in (render, grid):
        both.add_argument("--out", default="out", metavar="DIR", help="output folder or address (default: out)")
        both.add_argument("--wildcards", type=Path, metavar="DIR", help="folder of NAME.txt, for __NAME__ in prompts")
        both.add_argument(
            "--dry-run",
            action="store_true",
            help="check everything and tell each job's cost, a line of JSON a job; write nothing",
        )
        both.add_argument(
            "--batch",
            type=lambda text: _count(text, MAX_BATCH),
            metavar="N",
            help="jobs rendered at once (default: as many as are measured to be fastest)",
        )
        both.add_argument("--again", action="store_true", help="render also what the folder has already")
        both.add_argument(
            "--retries", type=lambda text: _count(text, MAX_RETRIES, 0), default=0, metavar="N",
            help="further tries of a job that fails (default: 0)",
        )  # fmt: skip
        both.add_argument("--quiet", action="store_true", help="say only what went wrong")
    render.add_argument(
        "--only", action="append", default=[], metavar="NAME", help="render jobs of this name, or pattern such as 'a-*'"
    )
    render.add_argument("--limit", type=_count, metavar="N", help="render at most N jobs; the next call goes on")
    render.add_argument(
        "--watch", action="store_true", help="stay, and render job files that come into the folder FILE, until Ctrl-C"
    )
    render.add_argument(
        "--keep-going", action="store_true", help="render the jobs that are right though others are refused"
    )

    design = commands.add_parser(
        "design", help="propose boxes or layers for a prompt, as a job file to edit", allow_abbrev=False
    )
    design.add_argument("prompt", metavar="PROMPT", help="the whole picture in words")
    design.add_argument("--task", choices=("layout", "layered"), default="layout", help="what for (default: layout)")
    design.add_argument(
        "--size", nargs=2, type=_count, default=(128, 128), metavar=("W", "H"), help="pixels (default: 128 128)"
    )
    design.add_argument(
        "--endpoint", metavar="URL", help="OpenAI-compatible base URL to ask, or a YAML file that has it"
    )
    design.add_argument("--endpoint-model", metavar="NAME", help="the endpoint's model")
    design.add_argument("--key-variable", metavar="NAME", help="environment variable that holds the endpoint's key")
    design.add_argument("--allow-http", action="store_true", help="let prompt and key go over a network unencrypted")
    design.add_argument("--out", type=Path, metavar="FILE", help="new job file (default: standard output)")

    train = commands.add_parser("train", help="train a checkpoint", allow_abbrev=False)
    train.add_argument("run", type=Path, metavar="RUN.yaml", help="the run: data, stages, schedule")
    train.add_argument("--device", choices=("auto", "cpu"), default="auto", help="where to train (default: auto)")
    train.add_argument("--stop-after", type=_count, metavar="N", help="stop after N steps; the same command goes on")
    train.add_argument("--preflight", action="store_true", help="check the run's own pictures, tell its cost and stop")
    train.add_argument("--json", action="store_true", help="the preflight's report as JSON")

    caption = commands.add_parser(
        "caption", help="write a caption beside each picture of a folder that has none", allow_abbrev=False
    )
    caption.add_argument("folder", type=Path, metavar="FOLDER", help="pictures; captions go beside them, as .txt")
    caption.add_argument(
        "words", nargs="+", metavar="WORDS",
        help="a caption with alternatives such as {red|blue}, of which a picture gets those it shows; of several WORDS "
        "each gives a line",
    )  # fmt: skip
    caption.add_argument("--model", default="papercut", metavar="NAME", help="the model that looks (default: papercut)")
    caption.add_argument(
        "--resolution", type=lambda text: _count(text, 4096), default=128, metavar="N",
        help="look at about N x N pixels (default: 128)",
    )  # fmt: skip
    caption.add_argument("--wildcards", type=Path, metavar="DIR", help="folder of NAME.txt, for __NAME__ in WORDS")
    caption.add_argument("--dry-run", action="store_true", help="say the captions, and write none")
    caption.add_argument("--device", choices=("auto", "cpu"), default="auto", help="where to look (default: auto)")

    ablate = commands.add_parser("ablate", help="train variants of a run and compare them", allow_abbrev=False)
    ablate.add_argument("file", type=Path, metavar="RUN.yaml", help="a run file's name, and variants that change it")
    ablate.add_argument("--device", choices=("auto", "cpu"), default="auto", help="where to train (default: auto)")

    models = commands.add_parser("models", help="list the models that are here", allow_abbrev=False)
    models.add_argument(
        "--out", type=Path, default=Path("out/studio"), metavar="DIR",
        help="the studio's folder, whose added models are listed (default: out/studio)",
    )  # fmt: skip
    models.add_argument(
        "--models", type=Path, action="append", default=[], metavar="FOLDER", help="a further folder of models"
    )
    models.add_argument(
        "--size", nargs=2, type=lambda text: _count(text, 8192), default=(128, 128), metavar=("W", "H"),
        help="pixels that the memory is told for (default: 128 128)",
    )  # fmt: skip
    models.add_argument(
        "--frames", type=lambda text: _count(text, 10_000), default=1, metavar="N", help="frames, the same (default: 1)"
    )
    models.add_argument("--json", action="store_true", help="as JSON")

    commands.add_parser("studio", help="serve the web studio; its options: diorama studio --help", add_help=False)
    commands.add_parser("token", help="let programs into a studio; more: diorama token --help", add_help=False)
    return parser


def _count(text: str, most: int = 10**9, least: int = 1) -> int:
    if not (text.isdecimal() and len(text) < 20 and least <= int(text) <= most):
        raise argparse.ArgumentTypeError(f"expected a whole number from {least} to {most:,}, got {text[:40]!r}")
    return int(text)


def _render(args: argparse.Namespace, engine: tuple[Renderer, Groups] | None) -> int:
    if args.engine != "ray" and (args.address or args.actors):
        raise Refusal("--address" if args.address else "--actors", "is of a Ray cluster; add --engine ray")
    from pipelines.farm.place import place_of

    place = place_of(args.out)
    load = cache(lambda: _load(place, engine))  # once, and not before the files were read
    crew = _cluster(args, place) if args.engine == "ray" and not args.dry_run else None
    try:
        if args.watch:
            return _watch(args, place, load, crew)
        return _render_files(args, args.files, place, load, crew)
    finally:
        if crew is not None:
            crew.close()


def _watch(args: argparse.Namespace, place: Place, load: Load, crew: Crew | None) -> int:
    """Render what stands in a folder and what comes into it, until Ctrl-C."""
    from pipelines.farm.watch import changed
    from pipelines.files.storage import is_address

    folder = args.files[0]
    if len(args.files) != 1 or args.dry_run or not (is_address(folder) or Path(folder).is_dir()):
        raise Refusal("--watch", "expected one folder to watch, and no --dry-run")
    if not args.quiet:
        print(f"watching {folder} for job files; Ctrl-C ends it", file=sys.stderr, flush=True)
    for files in changed(folder):
        try:
            _render_files(args, files, place, load, crew)
        except (Refusal, Refused) as refusal:
            print(f"diorama: {refusal}; it is looked at again when it changes", file=sys.stderr, flush=True)
    raise AssertionError("a watch ends by an exception")


def _render_files(args: argparse.Namespace, files: Sequence[str], place: Place, load: Load, crew: Crew | None) -> int:
    from pipelines.batch import Options, check_all, render
    from pipelines.dryrun import dry_run
    from pipelines.expansion.wildcards import Wildcards
    from pipelines.files.jobfile import read_rows
    from pipelines.files.output import OutputFolder

    sources, refused = read_rows(files, template=args.template, wildcards=Wildcards(args.wildcards))
    _require(refused, bool(sources) and args.keep_going)
    renderer, groups = load()
    renderer.gather(source.job for source in sources)
    checked, more = check_all(sources, renderer)
    right = [(source, estimate) for source, estimate in zip(sources, checked, strict=True) if estimate is not None]
    _require(more, bool(right) and args.keep_going)
    sources, estimates = [source for source, _ in right], [estimate for _, estimate in right]
    if args.dry_run:
        how = {"batch": args.batch or USUAL_BATCH, "quiet": args.quiet, "out": sys.stdout, "err": sys.stderr}
        failed = dry_run(sources, estimates, renderer, groups, OutputFolder(place.folder), **how)
    else:
        options = Options(args.batch, args.again, tuple(args.only), args.limit, args.retries, args.quiet)
        costs = [found.flops for found in estimates]
        failed = render(sources, renderer, groups, place, costs=costs, options=options, crew=crew)
    return FAILED if failed or refused or more else DONE


def _require(refused: Sequence[Refused], going_on: bool) -> None:
    """Stop where rows are refused, unless the call goes on with the others; then say what is left out.

    Raises:
        Refused: the last of them; the others were told.
    """
    if not refused:
        return
    told = refused[:MOST_TOLD]
    if going_on:
        for one in told:
            print(f"diorama: {one}; it is left out", file=sys.stderr)
    else:
        for one in told[:-1]:
            print(f"diorama: {one}", file=sys.stderr)
    if len(refused) > len(told):
        print(f"diorama: and {len(refused) - len(told):,} more are refused", file=sys.stderr)
    if not going_on:
        raise told[-1]


def _grid(args: argparse.Namespace, engine: tuple[Renderer, Groups] | None) -> int:
    from pipelines.expansion.wildcards import Wildcards
    from pipelines.grid.grid import read_grid

    grid = read_grid(args.file, Wildcards(args.wildcards))
    sources = grid.sources(args.file)

    from pipelines.batch import GOES_ON, Batch, Halted, Options, check_all
    from pipelines.dryrun import dry_run
    from pipelines.farm.place import place_of
    from pipelines.files.output import OutputFolder
    from pipelines.files.storage import is_address
    from pipelines.grid.page import export

    if is_address(args.out):
        raise Refusal("--out", "expected a folder of this machine, where the page of a grid can be opened")
    place = place_of(args.out)
    renderer, groups = _load(place, engine)
    renderer.gather(source.job for source in sources)
    checked, refused = check_all(sources, renderer)
    _require(refused, False)
    estimates = [found for found in checked if found is not None]
    if args.dry_run:
        how = {"batch": args.batch or USUAL_BATCH, "quiet": args.quiet, "out": sys.stdout, "err": sys.stderr}
        failed = dry_run(sources, estimates, renderer, groups, OutputFolder(place.folder), **how)
        return FAILED if failed else DONE
    options = Options(args.batch, args.again, retries=args.retries, quiet=args.quiet)
    costs = [found.flops for found in estimates]
    try:
        work = Batch.begin(sources, renderer, place, costs, options, sys.stderr)
        try:
            work.run(groups)
        finally:
            work.close()
    except Halted as reason:
        print(f"diorama: {reason}; {GOES_ON}", file=sys.stderr)
        return FAILED
    if not work.written:
        return FAILED
    try:
        page = export(grid, work.written, place.folder)
    except OSError as error:
        print(f"diorama: the page of the grid can not be written: {error.strerror}", file=sys.stderr)
        return FAILED
    if not args.quiet:
        print(f"{len(work.written)} of {len(sources)} rendered for {len(grid.cells)} cells: {page}")
    return FAILED if work.failed else DONE


def _cluster(args: argparse.Namespace, place: Place) -> Actors:
    from functools import partial

    from pipelines.engine import Engine
    from pipelines.farm.cluster import Actors, Cluster
    from pipelines.files.kept import KEPT

    # Nodes that share a folder share its finished scenes.
    scenes = None if place.storage else place.folder.resolve() / KEPT
    return Actors(Cluster(args.address, args.actors), place, partial(Engine, None, scenes))


def _load(place: Place, engine: tuple[Renderer, Groups] | None) -> tuple[Fetching, Groups]:
    from pipelines.farm.fetched import FETCHED, Fetching
    from pipelines.files.kept import KEPT

    kept = place.folder / KEPT
    renderer, groups = engine or _load_engine(kept)
    return Fetching(renderer, kept / FETCHED), groups


def _load_engine(kept: Path) -> tuple[Renderer, Groups]:
    from pipelines.engine import Engine, groups

    return Engine(cache=kept), groups


def _train(args: argparse.Namespace) -> int:
    if not args.run.is_file():
        raise Refusal(str(args.run), "there is no such file; a run of the embedded model is assets/papercut/train.yaml")
    # By name at run time: imports point down only, and training stands above pipelines. The command line is the one
    # place from which a person reaches both.
    training = importlib.import_module("training.start")
    options = {"device": args.device, "stop_after": args.stop_after}
    return int(training.start(args.run, **options, preflight=args.preflight, as_json=args.json) or DONE)


def _ablate(args: argparse.Namespace) -> int:
    if not args.file.is_file():
        raise Refusal(str(args.file), "there is no such file; the accelerators' is assets/papercut/ablation.yaml")
    # By name, for the same reason.
    return int(importlib.import_module("training.ablate").ablate(args.file, device=args.device) or DONE)


def _caption(args: argparse.Namespace) -> int:
    options = {"model": args.model, "resolution": args.resolution, "wildcards": args.wildcards, "device": args.device}
    # By name, for the same reason.
    training = importlib.import_module("training.captioner")
    return int(training.caption(args.folder, args.words, **options, dry_run=args.dry_run) or DONE)


def _models(args: argparse.Namespace) -> int:
    from pipelines.shelf.shelf import Shelf
    from pipelines.shelf.table import tell

    if missing := next((str(path) for path in args.models if not path.is_dir()), None):
        raise Refusal("--models", f"expected a folder, got {missing!r}, which is none; check its name")
    width, height = args.size
    tell(Shelf(args.out, args.models).items(), width, height, args.frames, args.json, sys.stdout)
    return DONE


def _design(args: argparse.Namespace) -> int:
    from pipelines.chat import NoAnswer, named_endpoint
    from pipelines.designer import propose
    from pipelines.files.atomic import write_bytes

    endpoint = named_endpoint(args.endpoint, args.endpoint_model, args.key_variable, args.allow_http)
    if args.out is not None and (args.out.exists() or not args.out.parent.is_dir()):
        raise Refusal("--out", f"expected a new file in a folder that is there, got {str(args.out)!r}; choose another")
    try:
        proposal = propose(args.prompt, args.task, size=tuple(args.size), endpoint=endpoint)
    except NoAnswer as problem:  # the input was fine
        print(f"diorama: {problem}", file=sys.stderr)
        return FAILED
    if args.out is None:
        print(proposal.yaml(ascii_only=(sys.stdout.encoding or "").lower() not in ("utf-8", "utf8")), end="")
        return DONE
    try:
        write_bytes(args.out, proposal.yaml().encode())
    except OSError as error:
        raise Refusal("--out", f"{str(args.out)!r} can not be written: {error.strerror}; choose another") from None
    return DONE


def _studio(words: Sequence[str]) -> int:
    # By name, for the same reason: the studio stands above pipelines.
    return int(importlib.import_module("app").main(words) or DONE)


if __name__ == "__main__":
    sys.exit(main())
