"""`diorama token`: make, list and revoke the tokens of a studio's folder."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from pipelines.refusal import Refusal
from ui.api.tokens import Tokens

DONE = 0


def main(words: Sequence[str]) -> int:
    """Run one of its commands; the exit status is 0.

    Raises:
        Refusal: a name, an end or a folder that is none.
    """
    args = _parser().parse_args(words)
    tokens = Tokens(args.out)
    if args.what == "new":
        try:
            print(tokens.new(args.name, args.days))
        except OSError as error:
            raise Refusal("--out", f"{str(args.out)!r} can not be written: {error.strerror}; choose another") from None
    elif args.what == "list":
        for token in tokens.all():
            print(f"{token.name}\tuntil {datetime.fromtimestamp(token.expires, UTC):%Y-%m-%d %H:%M} UTC")
    elif not tokens.revoke(args.name):
        raise Refusal("NAME", f"there is no token called {args.name!r}; diorama token list names them")
    return DONE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="diorama token", description="Let programs in where a password guards the studio.", allow_abbrev=False
    )
    commands = parser.add_subparsers(dest="what", required=True, metavar="COMMAND")
    new = commands.add_parser("new", help="make a token, and print it this once", allow_abbrev=False)
    new.add_argument("--name", required=True, metavar="NAME", help="what you call it")
    new.add_argument("--days", type=int, default=90, metavar="N", help="days until it expires (default: 90)")
    listed = commands.add_parser("list", help="list names and ends", allow_abbrev=False)
    revoke = commands.add_parser("revoke", help="let a token open nothing from now on", allow_abbrev=False)
    revoke.add_argument("name", metavar="NAME", help="the token's name")
    for each in (new, listed, revoke):
        each.add_argument(
            "--out", type=Path, default=Path("out/studio"), metavar="DIR",
            help="the studio's output folder (default: out/studio)",
        )  # fmt: skip
    return parser
