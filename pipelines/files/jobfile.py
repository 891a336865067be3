"""Files of jobs: YAML (many documents), JSON (an object or a list), JSON Lines and CSV become checked jobs.

All documents of all files are read and checked before the first job is returned, so a slip in the last one stops the
call before anything is rendered. The schema of one job is in `job.py`, the columns of a CSV file are `jobtable.py`'s,
and how a document becomes several jobs is `expand.py`'s.
"""

from __future__ import annotations

import json
import stat
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.expansion.expand import Row, rows
from pipelines.expansion.jobtable import TableRow, read_table
from pipelines.expansion.wildcards import Wildcards
from pipelines.files.storage import Storage, is_address
from pipelines.files.yamlfile import MAX_DEPTH, documents
from pipelines.job import Job, parse, require_built
from pipelines.refusal import Refusal, Refused, kind_of

MAX_BYTES = 16 * 2**20
MAX_DOCUMENTS = 100_000


@dataclass(frozen=True)
class Source:
    """A job and where it came from.

    Attributes:
        job: the job.
        file: the file, as it was given.
        document: the document's number in the file, from 1.
        expanded_from: what the record tells of the document that became several jobs; None where it is the job itself.
    """

    job: Job
    file: str
    document: int
    expanded_from: Mapping[str, Any] | None = None


def read_jobs(
    paths: Sequence[str | Path], *, template: str | Path | None = None, wildcards: Wildcards | None = None
) -> list[Source]:
    """The jobs of all files, in order; arguments as `read_rows` has them.

    Raises:
        Refused: a file can not be read, a document is not a job of this version, or two jobs have one name.
    """
    sources, refused = read_rows(paths, template=template, wildcards=wildcards)
    if refused:
        raise refused[0]
    return sources


def read_rows(
    paths: Sequence[str | Path], *, template: str | Path | None = None, wildcards: Wildcards | None = None
) -> tuple[list[Source], list[Refused]]:
    """The jobs of all files, in order, and what is wrong with those that are none.

    Args:
        paths: job files, and folders whose job files are meant.
        template: a job file of one document, which the rows of CSV files fill in; None is an empty one.
        wildcards: the lists that documents with `expand` may name.

    Raises:
        Refused: the template can not be read, or there are more jobs than one call takes.
    """
    files = [file for path in paths for file in _files(str(path))]
    sources: list[Source] = []
    refused: list[Refused] = []
    named: dict[str, Source] = {}
    base = _template(template, files) if template is not None else {}
    for file in files:
        before = len(sources) + len(refused)
        number = 0
        try:
            for number, value in enumerate(_values(file), 1):
                found, problem = jobs_of(file, number, value, named, base, wildcards)
                sources += found
                refused += problem
                if len(sources) > MAX_DOCUMENTS:
                    reason = f"expected at most {MAX_DOCUMENTS:,} documents in one call; render them in parts"
                    raise Refused(file, number, "", reason)
        except _Unreadable as problem:
            refused.append(Refused(file, problem.document, "", str(problem)))
        if len(sources) + len(refused) == before:
            reason = "expected at least one job, got an empty file; see assets/examples/demo.yaml"
            refused.append(Refused(file, 0, "", reason))
    return sources, refused


def _files(path: str) -> list[str]:
    """The job files that a path or an address stands for: itself, or those of a folder."""
    if is_address(path):
        return _files_at(path)
    if "\0" in path or not Path(path).is_dir():
        return [path]
    found = [file for file in sorted(Path(path).iterdir()) if is_job_file(file)]
    return [str(file) for file in found] or [path]  # which is refused as a folder


def _files_at(address: str) -> list[str]:
    """The same of an address. What can not be asked is told when it is read."""
    with suppress(Refusal, OSError):
        storage = Storage(address.rstrip("/"))
        if storage.is_folder():
            names = sorted(name for name in storage.names() if "/" not in name and is_job_name(name))
            return [f"{storage.address}/{name}" for name in names] or [address]
    return [address]


def is_job_file(path: Path) -> bool:
    """Whether a path is that of a job file."""
    return is_job_name(path.name) and path.is_file()


def is_job_name(name: str) -> bool:
    """Whether a name in a folder is that of a job file."""
    return Path(name).suffix.lower() in READERS and not name.startswith(".")


def jobs_of(
    file: str,
    number: int,
    value: object,
    named: dict[str, Source],
    base: Mapping[str, Any] | None = None,
    wildcards: Wildcards | None = None,
) -> tuple[list[Source], list[Refused]]:
    """The jobs of a document, and what is wrong with it or with its rows.

    Args:
        file: where it stands.
        number: which document of it.
        value: the document as plain values, or a row of a table.
        named: the jobs of the call that have a name already; those found here join them.
        base: what the rows of tables fill in.
        wildcards: the lists that documents with `expand` may name.
    """
    sources: list[Source] = []
    refused: list[Refused] = []

    def refuse(refusal: Refusal) -> None:
        told = value.told(refusal) if isinstance(value, TableRow) else refusal
        refused.append(Refused(file, number, told.field, told.reason))

    try:
        document = value.over(base or {}, number) if isinstance(value, TableRow) else value
        for row in rows(document, wildcards):
            try:
                job = parse(_named(row, number))
                require_built(job)
                source = Source(job, file, number, row.expanded_from)
                if not isinstance(row.values, Mapping) or row.values.get("name") is not None:
                    _claim(source, named)
                sources.append(source)
            except Refusal as refusal:
                refuse(refusal)
    except Refusal as refusal:
        refuse(refusal)
    return sources, refused


def read_values(file: str | Path) -> list[object]:
    """The documents of a file of plain values, whatever they mean.

    Raises:
        Refused: the file can not be read, or has no documents.
    """
    try:
        found = list(_values(str(file)))
    except _Unreadable as problem:
        raise Refused(str(file), problem.document, "", str(problem)) from None
    if not found:
        raise Refused(str(file), 0, "", "expected a document, got an empty file")
    return found


def _template(file: str | Path, paths: Sequence[str | Path]) -> Mapping[str, Any]:
    if not any(Path(path).suffix.lower() == ".csv" for path in paths):
        raise Refusal("--template", "is filled in by the rows of a CSV file, and none was given; add one")
    found = read_values(file)
    if len(found) != 1 or not isinstance(found[0], Mapping):
        got = kind_of(found[0]) if len(found) == 1 else f"{len(found)} documents"
        raise Refused(str(file), 0, "", f"expected one job as the template, got {got}")
    return found[0]


def _named(row: Row, document: int) -> object:
    """The values of a row, under a name of its own where its document has several."""
    if not isinstance(row.values, Mapping):
        return row.values
    stem = row.values.get("name") or f"{row.values.get('task')}-{document:03d}"
    name = row.named(stem) if isinstance(stem, str) else None
    return {**row.values, "name": name} if name else row.values


class _Unreadable(ValueError):
    """The text of a file, or of one `document` of it, is not what its suffix promises."""

    def __init__(self, reason: str, document: int = 0) -> None:
        super().__init__(reason)
        self.document = document


def _claim(source: Source, named: dict[str, Source]) -> None:
    """Refuse a name that an earlier job has. Names that differ in case alone are one file on some systems."""
    if source.job.name is None:
        return
    first = named.setdefault(unicodedata.normalize("NFC", source.job.name).casefold(), source)
    if first is not source:
        raise Refusal(
            "name", f"{source.job.name!r} is the name of {first.file}, document {first.document} already; rename one"
        )


def _values(file: str) -> Iterator[object]:
    reader = READERS.get(Path(file).suffix.lower())
    if reader is None:
        if Path(file).is_dir():
            raise _Unreadable(f"expected a folder with files that end in {', '.join(READERS)}, got one without")
        raise _Unreadable(f"expected a file that ends in {', '.join(READERS)}; rename it to say what it holds")
    return reader(_text(file))


def _text(file: str) -> str:
    if "\0" in file:
        raise _Unreadable("is not a path")
    return _decoded(_stored(file) if is_address(file) else _read(file))


def _stored(address: str) -> bytes:
    try:
        return Storage(address).read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise _Unreadable("there is no such file; check the address") from None
    except OSError as error:
        raise _Unreadable(f"can not be read: {error.strerror}") from None
    except Refusal as refusal:
        raise _Unreadable(refusal.reason) from None


def _read(file: str) -> bytes:
    try:
        status = Path(file).stat()
        if not stat.S_ISREG(status.st_mode):
            raise _Unreadable(
                f"expected a file, got {'a folder' if stat.S_ISDIR(status.st_mode) else 'a special file'}"
            )
        with open(file, "rb") as stream:
            return stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise _Unreadable("there is no such file; check the path") from None
    except OSError as error:
        raise _Unreadable(f"can not be read: {error.strerror}") from None


def _decoded(data: bytes) -> str:
    if len(data) > MAX_BYTES:
        raise _Unreadable(f"expected at most {MAX_BYTES // 2**20} MiB, got more; split the file")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _Unreadable(
            f"expected UTF-8 text, got the byte 0x{data[error.start]:02x} at {error.start:,}; save it as UTF-8"
        ) from None


def _yaml(text: str) -> Iterator[object]:
    number = 0
    try:
        for value in documents(text):
            number += 1
            yield value
    except Refusal as refusal:
        raise _Unreadable(refusal.reason, number + 1) from None


def _json(text: str) -> Iterator[object]:
    if not text.strip():
        return
    value = _json_value(text, 0)
    yield from value if isinstance(value, list) else [value]


def _json_lines(text: str) -> Iterator[object]:
    # Not splitlines(): it also cuts at U+2028, which may stand inside a string.
    for number, line in enumerate(filter(str.strip, text.split("\n")), 1):
        yield _json_value(line, number)


def _csv(text: str) -> Iterator[object]:
    try:
        yield from read_table(text)
    except Refusal as refusal:
        raise _Unreadable(refusal.reason) from None


def _json_value(text: str, document: int) -> object:
    try:
        return json.loads(text, object_pairs_hook=_once)
    except json.JSONDecodeError as error:
        raise _Unreadable(f"is not JSON: {error.msg} at line {error.lineno}, column {error.colno}", document) from None
    except RecursionError:
        raise _Unreadable(f"is nested deeper than {MAX_DEPTH} levels; a job needs four", document) from None
    except ValueError as error:  # a key twice, or a number of thousands of digits
        raise _Unreadable(str(error), document) from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise ValueError(f"the key {key!r} stands twice; keep one")
        result[key] = value
    return result


READERS = {
    ".yaml": _yaml, ".yml": _yaml, ".json": _json, ".jsonl": _json_lines, ".ndjson": _json_lines, ".csv": _csv
}  # fmt: skip
