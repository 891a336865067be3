"""A run in a process of its own, for a studio: `python -m training.hosted FOLDER` does what `diorama train` does.

    FOLDER/run.yaml      what is run
    FOLDER/report.json   what its preflight found
    FOLDER/ask           a word to it: the first one is heard as Ctrl-C, another one as the second Ctrl-C
    FOLDER/end.json      how it ended; a process that was killed leaves none

With `--captions` it does what `diorama caption` does:

    FOLDER/words.json    for which pictures, in which words
    FOLDER/looked.jsonl  a line for each picture, as `captioner.Looked` has it

Who starts it holds the lock that it inherits, see `runs.py`. So a studio may end, or be started anew, meanwhile.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TextIO

from pipelines.files.atomic import write_bytes
from pipelines.queue.worker import sentence
from pipelines.refusal import Refusal, Refused, on_one_line

from .preflight import Report
from .start import start

RUN, REPORT, ASK, END = "run.yaml", "report.json", "ask", "end.json"
WORDS, LOOKED = "words.json", "looked.jsonl"
DONE, FAILED, REFUSED, STOPPED = 0, 1, 2, 130  # as the command line ends
BEAT = 0.3  # seconds between two looks for a word
BACK = 5  # the nice value: where both want a core, what renders goes first
SAYS = "diorama: "  # how a sentence begins that ends a run


def main(words: Sequence[str] | None = None) -> int:
    """Run what the folder says, and leave a note of how it ended."""
    parser = argparse.ArgumentParser(prog="python -m training.hosted", description="Run a studio's training.")
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="the run's folder")
    parser.add_argument("--preflight", action="store_true", help="stop after the preflight")
    parser.add_argument("--captions", action="store_true", help="write captions, and train nothing")
    args = parser.parse_args(words)
    # A shell that starts the studio in the background lets it, and all that it starts, be deaf to Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a terminal that is shut ends no run
    with suppress(OSError, AttributeError):
        os.nice(max(0, BACK - os.nice(0)))
    threading.Thread(target=_listen, args=(args.folder / ASK,), daemon=True).start()
    status, said = captions(args.folder) if args.captions else go(args.folder, preflight=args.preflight)
    write_bytes(args.folder / END, json.dumps({"status": status, "said": said}).encode())
    return status


def go(folder: Path, *, preflight: bool = False) -> tuple[int, str]:
    """Do what `diorama train` does with the run of a folder, in this process.

    Returns:
        Its exit status, and the sentence that it ended with, or "".
    """

    def keep(report: Report) -> None:
        write_bytes(folder / REPORT, json.dumps(report.to_json(), ensure_ascii=False).encode())

    return _ended(lambda: start(folder / RUN, preflight=preflight, heard=keep) or DONE)


def captions(folder: Path) -> tuple[int, str]:
    """Do what `diorama caption` does with the words of a folder, in this process; see `go`."""

    def work() -> int:
        from .captioner import Looked, caption

        told = json.loads((folder / WORDS).read_text("utf-8"))
        lists = Path(told["wildcards"]) if told["wildcards"] else None
        with (folder / LOOKED).open("w", encoding="utf-8") as lines:

            def keep(looked: Looked) -> None:
                lines.write(json.dumps(asdict(looked), ensure_ascii=False) + "\n")
                lines.flush()

            how = {"model": told["model"], "resolution": told["resolution"], "wildcards": lists}
            return caption(Path(told["pictures"]), told["words"], **how, heard=keep)

    return _ended(work)


def _ended(work: Callable[[], int]) -> tuple[int, str]:
    """The exit status of `work`, and the sentence that it ended with, or ""."""
    before = sys.stderr
    heard = sys.stderr = _Heard(before)
    try:
        status = work()
        return status, heard.sentence if status else ""
    except (Refusal, Refused) as refusal:
        return REFUSED, f"{refusal.field}: {refusal.reason}" if refusal.field else refusal.reason
    except KeyboardInterrupt:
        return STOPPED, ""
    except Exception as error:
        import traceback

        traceback.print_exc()
        return FAILED, sentence(error)
    finally:
        sys.stderr = before


def _listen(ask: Path) -> None:
    """Hand words on to the main thread: a step is ended, and all is saved, as after Ctrl-C."""
    heard = ""
    while True:
        with suppress(OSError):
            word = ask.read_text()
            if word and word != heard:
                heard = word
                os.kill(os.getpid(), signal.SIGINT)
        threading.Event().wait(BEAT)


class _Heard:
    """Standard error, with the last sentence that was said on it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._line, self.sentence = stream, "", ""

    def write(self, text: str) -> int:
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            if line.startswith(SAYS):
                self.sentence = on_one_line(line.removeprefix(SAYS), 2_000)
        return self._stream.write(text)

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)


if __name__ == "__main__":
    sys.exit(main())
