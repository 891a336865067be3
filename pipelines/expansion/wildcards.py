"""Wildcards: lists in a folder of text files, for `__name__` in prompts. Where they may stand is `expand.py`'s.

A `Wildcards` reads them, and the functions below it write and remove them for a person who edits them.
"""

from __future__ import annotations

import re
from pathlib import Path

from pipelines.files.atomic import write_bytes
from pipelines.refusal import Refusal, nearest, on_one_line, shown

FOLDER = "wildcards"  # in the studio's output folder
SUFFIX = ".txt"
MAX_LIST_BYTES = 2**20
MAX_ENTRIES = 10_000
MAX_LISTS = 1_000  # that a message or a page names at most

# One file name without dot, separator or space, so that it can not lead anywhere.
NAME = re.compile(r"[^\W_](?:[\w-]{0,98}[^\W_])?")


class Wildcards:
    """The lists of one folder, a file NAME.txt each; a file is read when it is first asked for.

    A line is an entry, without the spaces around it. Empty lines and lines that begin with # are left out.
    """

    def __init__(self, folder: Path | None = None) -> None:
        """`folder` None has no lists.

        Raises:
            Refusal: there is no such folder.
        """
        if folder is not None and not folder.is_dir():
            raise Refusal("--wildcards", f"expected a folder of text files, got {shown(str(folder))}; check the path")
        self._folder = folder.resolve() if folder else None
        self._read: dict[str, tuple[str, ...]] = {}

    def names(self) -> list[str]:
        """What the lists are called, in order of the alphabet."""
        if self._folder is None:
            return []
        names = (path.stem for path in self._folder.iterdir() if path.suffix == SUFFIX)
        return sorted(name for name in names if NAME.fullmatch(name) and self._path(self._folder, name))[:MAX_LISTS]

    def entries(self, name: str) -> tuple[str, ...]:
        """The entries of the list called `name`, in their order; there is at least one.

        Raises:
            Refusal: there is no such list, or it can not be read; the reason alone, without a field.
        """
        if name not in self._read:
            self._read[name] = self._entries(name)
        return self._read[name]

    def text(self, name: str) -> str:
        """The file of the list called `name`, as it was written.

        Raises:
            Refusal: there is no such list, or it can not be read; the reason alone, without a field.
        """
        if not NAME.fullmatch(name):
            raise Refusal(
                "", f"expected a list's name of letters, digits, - and _, got {shown(name)}; rename it, or write \\__"
            )
        if self._folder is None:
            raise Refusal(
                "", f"__{on_one_line(name, 60)}__ is a list, and no folder was named; add --wildcards DIR or write \\__"
            )
        path = self._path(self._folder, name)
        if path is None:
            raise Refusal("", self._unknown(name))
        try:
            with path.open("rb") as stream:
                data = stream.read(MAX_LIST_BYTES + 1)
        except OSError as error:
            raise Refusal("", f"the list {name!r} can not be read: {error.strerror}") from None
        if len(data) > MAX_LIST_BYTES:
            raise Refusal(
                "", f"expected at most {MAX_LIST_BYTES // 2**20} MiB in the list {name!r}, got more; split it"
            )
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            got = f"the byte 0x{data[error.start]:02x} at {error.start:,}"
            raise Refusal("", f"expected UTF-8 in the list {name!r}, got {got}; save it as UTF-8") from None

    def _entries(self, name: str) -> tuple[str, ...]:
        entries = entries_of(self.text(name))
        if not 1 <= len(entries) <= MAX_ENTRIES:
            raise Refusal("", f"expected 1 to {MAX_ENTRIES:,} entries in the list {name!r}, got {len(entries):,}")
        return entries

    @staticmethod
    def _path(folder: Path, name: str) -> Path | None:
        # First resolved, then judged: a link may lead anywhere.
        path = (folder / f"{name}{SUFFIX}").resolve()
        return path if path.is_relative_to(folder) and path.is_file() else None

    def _unknown(self, name: str) -> str:
        known = self.names()
        near = nearest(name, known)
        if near:
            hint = f"did you mean {near!r}?"
        elif known:
            hint = f"expected one of {on_one_line(', '.join(known), 200)}"
        else:
            hint = f"the folder has no file that ends in {SUFFIX}"
        return f"there is no list {name!r}; {hint}"


def entries_of(text: str) -> tuple[str, ...]:
    """The entries in the text of a list."""
    # Not splitlines(): it also cuts at U+2028 and form feeds, which may stand in a text.
    lines = [line.strip() for line in text.split("\n")]
    return tuple(line for line in lines if line and not line.startswith("#"))


def save_list(folder: Path, name: str, text: str) -> int:
    """Write the list called `name` into `folder`, over the one that is there, and return how many entries it has.

    Raises:
        Refusal: a name or a text that no list can have; nothing is written.
        OSError: it can not be written.
    """
    if not NAME.fullmatch(name):
        raise Refusal("name", f"expected letters, digits, - and _ in the name of a list, got {shown(name)}; rename it")
    try:
        data = text.replace("\r\n", "\n").encode()
    except UnicodeEncodeError:
        raise Refusal("entries", "half of a surrogate pair, which no file can hold; take it out") from None
    if len(data) > MAX_LIST_BYTES:
        raise Refusal("entries", f"expected at most {MAX_LIST_BYTES // 2**20} MiB in a list, got more; split it")
    count = len(entries_of(text))
    if not 1 <= count <= MAX_ENTRIES:
        raise Refusal("entries", f"expected 1 to {MAX_ENTRIES:,} entries, one a line, got {count:,}")
    folder.mkdir(parents=True, exist_ok=True)
    write_bytes(folder / f"{name}{SUFFIX}", data)
    return count


def delete_list(folder: Path, name: str) -> None:
    """Remove the list called `name` from `folder`.

    Raises:
        Refusal: there is no such list.
        OSError: it can not be removed.
    """
    if not folder.is_dir() or name not in Wildcards(folder).names():
        raise Refusal("name", f"there is no list {shown(name)}")
    (folder / f"{name}{SUFFIX}").unlink()
