"""Tokens: how programs are let in where a password guards the studio. Each has a name and an end.

A token is shown once, when it is made; what is kept is its SHA-256, in a file of its own that only the owner of the
folder can read. So making and revoking one are each a single change of one file, and a studio that is at work heeds it
at once.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipelines.files.atomic import TEMPORARY
from pipelines.files.kept import KEPT
from pipelines.refusal import Refusal, shown

FOLDER = Path(KEPT, "tokens")  # among the outputs
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}", re.ASCII)
PREFIX = "diorama_"  # so that who finds one somewhere knows what it opens
MOST_DAYS = 3_650
MOST_FILE = 2**12  # bytes of a token's file
DAY = 86_400.0

Verdict = Literal["known", "unknown", "expired"]


@dataclass(frozen=True)
class Token:
    """What is kept of a token.

    Attributes:
        name: what its owner calls it.
        sha256: of the token, in hexadecimal digits.
        created, expires: seconds since 1970.
    """

    name: str
    sha256: str
    created: float
    expires: float


class Tokens:
    """The tokens of one studio's folder.

    Args:
        folder: the output folder.
        clock: gives the time, in seconds since 1970.
    """

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        self._outputs, self._folder, self._clock = folder, folder / FOLDER, clock

    def new(self, name: str, days: int) -> str:
        """Make a token and return it; it is nowhere to be read afterwards.

        Raises:
            Refusal: a name that is none or is taken, or an end that is none.
        """
        if not NAME.fullmatch(name):
            raise Refusal("--name", f"expected up to 40 small letters, digits and hyphens, got {shown(name)}")
        if not 1 <= days <= MOST_DAYS:
            raise Refusal("--days", f"expected a number from 1 to {MOST_DAYS:,}, got {days}")
        token, now = PREFIX + secrets.token_urlsafe(32), self._clock()
        kept = {"sha256": _digest(token), "created": now, "expires": now + days * DAY}
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._hand_over(self._folder.parent)
        self._hand_over(self._folder)
        temporary = self._folder / f"{TEMPORARY}{secrets.token_hex(8)}.tmp"
        try:
            with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                json.dump(kept, file)
                file.flush()
                os.fsync(file.fileno())
            self._hand_over(temporary)
            os.link(temporary, self._folder / f"{name}.json")  # which fails where there is one, whoever is faster
        except FileExistsError:
            raise Refusal("--name", f"there is a token called {name!r}; revoke it first, or choose another") from None
        finally:
            with suppress(FileNotFoundError):
                temporary.unlink()
        return token

    def revoke(self, name: str) -> bool:
        """Let a token open nothing from now on; False where none is called so."""
        if not NAME.fullmatch(name):
            return False
        try:
            (self._folder / f"{name}.json").unlink()
        except FileNotFoundError:
            return False
        return True

    def all(self) -> list[Token]:
        """All of them by name, those that expired as well. A file that can not be read opens nothing."""
        return sorted(self._kept(), key=lambda token: token.name)

    def judge(self, token: str) -> Verdict:
        """Whether a token is one of these. How long that takes tells nothing of how near it is to one."""
        given = _digest(token)
        verdict: Verdict = "unknown"
        for kept in self._kept():
            if hmac.compare_digest(given, kept.sha256):
                verdict = "known" if self._clock() < kept.expires else "expired"
        return verdict

    def _hand_over(self, path: Path) -> None:
        """Let what the administrator makes be the folder's owner's: a service that could not read it lets nobody in."""
        if os.geteuid() == 0:
            owner = self._outputs.stat()
            os.chown(path, owner.st_uid, owner.st_gid)

    def _kept(self) -> Iterator[Token]:
        for path in self._folder.glob("*.json"):
            with suppress(OSError, ValueError, TypeError, KeyError), path.open("rb") as file:
                told = json.loads(file.read(MOST_FILE))
                yield Token(path.stem, str(told["sha256"]), float(told["created"]), float(told["expires"]))


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
