"""Ctrl-C and SIGTERM as a wish: the loop saves at the next moment it can, then stops. A second Ctrl-C is a command."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any


class StopWish:
    """``with StopWish() as wish: … wish.made``. Does nothing outside the main thread, where signals are not heard."""

    def __init__(self) -> None:
        self.made = ""
        """The name of the signal that came, or nothing."""
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopWish:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._hear)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self.made and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.made = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
