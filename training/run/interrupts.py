"""Ctrl-C and SIGTERM, heard between steps: a step is never left half done."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

HEARD = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """While it is entered, the first signal sets `asked`, and the second ends the process as ever."""

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():  # no other may hear signals
            self._before = {each: signal.signal(each, self._hear) for each in HEARD}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._put_back()

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        self._put_back()

    def _put_back(self) -> None:
        for each, handler in self._before.items():
            signal.signal(each, handler)
        self._before = {}
